// SPDX-License-Identifier: GPL-2.0

//! What C code calls, which finds it documented in `vfio_pci_lu.h`.

use super::{
    apply,
    ffi, //
};
use kernel::{
    bindings,
    prelude::*, //
};

/// See `vfio_pci_lu.h`.
///
/// # Safety
///
/// `ops` and `driver` are those of vfio-pci.
#[export]
pub(crate) unsafe extern "C" fn vfio_pci_liveupdate_init(
    ops: *const bindings::vfio_device_ops,
    driver: *const bindings::pci_driver,
) {
    // SAFETY: By function requirement.
    unsafe { ffi::set_vfio_pci(ops, driver) };

    if let Err(err) = apply::register() {
        if err != EOPNOTSUPP {
            pr_warn!("devices cannot be preserved: {err:?}\n");
        }
    }
}

/// See `vfio_pci_lu.h`.
///
/// # Safety
///
/// vfio-pci was initialised and cannot bind to devices any more.
#[export]
pub(crate) unsafe extern "C" fn vfio_pci_liveupdate_cleanup() {
    apply::unregister();
}

/// See `vfio_pci_lu.h`.
///
/// # Safety
///
/// `vdev` is a device of vfio-pci.
#[export]
pub(crate) unsafe extern "C" fn vfio_pci_liveupdate_is_incoming(
    vdev: *mut bindings::vfio_device,
) -> bool {
    // SAFETY: By function requirement.
    unsafe { ffi::is_incoming(vdev) }
}

/// See `vfio_pci_lu.h`.
///
/// # Safety
///
/// `pdev` is bound to vfio-pci, and the lock of the device is held.
#[export]
pub(crate) unsafe extern "C" fn vfio_pci_liveupdate_shutdown(pdev: *mut bindings::pci_dev) {
    // SAFETY: By function requirement.
    unsafe { ffi::shutdown(pdev) };
}

/// See `vfio_pci_lu.h`.
///
/// # Safety
///
/// `pdev` is bound to vfio-pci, and the lock of the device is held.
#[export]
pub(crate) unsafe extern "C" fn vfio_pci_liveupdate_remove(pdev: *mut bindings::pci_dev) -> bool {
    // SAFETY: By function requirement.
    unsafe { ffi::keeps_registered(pdev) }
}
