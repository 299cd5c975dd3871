// SPDX-License-Identifier: GPL-2.0

//! What C code calls: `vfio_pci_lu.h`.

use super::{
    apply,
    ffi, //
};
use kernel::{
    bindings,
    prelude::*, //
};

/// Lets files of vfio-pci be preserved and retrieved.
///
/// To be called before vfio-pci can bind to a device. May sleep. If that is not possible, devices
/// can be used as if there were no live update; the reason is logged, unless it is that the Live
/// Update Orchestrator does not run.
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

/// Undoes [`vfio_pci_liveupdate_init`]. May sleep.
///
/// # Safety
///
/// vfio-pci was initialised and cannot bind to devices any more.
#[export]
pub(crate) unsafe extern "C" fn vfio_pci_liveupdate_cleanup() {
    apply::unregister();
}

/// Stops and resets a device that user space was shut out of for a kexec; leaves others alone.
///
/// To be called when the machine goes down and the kexec cannot be called off any more. May sleep.
/// Afterwards the device does no DMA until somebody sets bus mastering, which user space cannot.
///
/// # Safety
///
/// `pdev` is bound to vfio-pci, and the lock of the device is held.
#[export]
pub(crate) unsafe extern "C" fn vfio_pci_liveupdate_shutdown(pdev: *mut bindings::pci_dev) {
    // SAFETY: By function requirement.
    unsafe { ffi::shutdown(pdev) };
}

/// Returns whether a device that is being unbound is to stay registered with vfio, as its files are
/// handed over.
///
/// To be called first when vfio-pci is unbound. Waits while user space is shut out of the device for
/// a kexec that may still be called off. If it is, or if the device is another one, this returns
/// false. Otherwise the device is as [`vfio_pci_liveupdate_shutdown`] leaves it, and unregistering it
/// would wait for ever. May sleep.
///
/// # Safety
///
/// `pdev` is bound to vfio-pci, and the lock of the device is held.
#[export]
pub(crate) unsafe extern "C" fn vfio_pci_liveupdate_remove(pdev: *mut bindings::pci_dev) -> bool {
    // SAFETY: By function requirement.
    unsafe { ffi::keeps_registered(pdev) }
}
