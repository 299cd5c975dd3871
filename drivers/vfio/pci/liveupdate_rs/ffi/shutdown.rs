// SPDX-License-Identifier: GPL-2.0

//! Stops frozen devices when a kexec proceeds, and keeps them where they are.

use super::{
    passage::report_reset,
    PAUSE, //
};
use kernel::{
    bindings,
    liveupdate::pci as lu_pci,
    sync::atomic::{
        atomic_load,
        Relaxed, //
    },
    time::delay::fsleep, //
};

/// Returns whether the previous kernel preserved a device that is not finished. May sleep.
///
/// # Safety
///
/// `vdev` is a device of vfio-pci.
pub(crate) unsafe fn is_incoming(vdev: *mut bindings::vfio_device) -> bool {
    // SAFETY: By function requirement, it is a part of one of these.
    let device = unsafe { kernel::container_of!(vdev, bindings::vfio_pci_core_device, vdev) };
    // SAFETY: By function requirement. Never changes.
    let pdev = unsafe { (*device).pdev };

    // SAFETY: The device that vfio-pci is bound to.
    unsafe { bindings::pci_liveupdate_is_incoming(pdev) }
}

/// Returns whether user space is shut out of a device.
///
/// # Safety
///
/// `pdev` is bound to vfio-pci, and the lock of the device is held.
unsafe fn is_frozen(pdev: *mut bindings::pci_dev) -> bool {
    // SAFETY: By function requirement.
    let dev = unsafe { &raw mut (*pdev).dev };

    // SAFETY: By function requirement: what vfio-pci has as driver data.
    let vdev = unsafe { bindings::dev_get_drvdata(dev).cast::<bindings::vfio_pci_core_device>() };

    // SAFETY: As above.
    let frozen = unsafe { &raw mut (*vdev).vdev.liveupdate_frozen };

    // SAFETY: Valid, and accessed atomically, for it may change at any time.
    unsafe { atomic_load(frozen, Relaxed) }
}

/// Waits while a device that is being unbound is frozen, and returns whether the kexec proceeds.
///
/// If so, the device was shut down. Its vfio device is to stay registered, and so are its files: none
/// of them can be used, and LUO does not close its own.
///
/// # Safety
///
/// As [`shutdown`].
pub(crate) unsafe fn keeps_registered(pdev: *mut bindings::pci_dev) -> bool {
    // A device that is not frozen here is not frozen later: that takes the lock, which is held.
    //
    // SAFETY: By function requirement.
    while unsafe { is_frozen(pdev) } {
        // SAFETY: Has no requirements.
        if unsafe { bindings::pci_liveupdate_proceeds() } {
            // SAFETY: By function requirement.
            unsafe { shutdown(pdev) };
            return true;
        }
        fsleep(PAUSE);
    }
    false
}

/// Stops a device for good, if user space was shut out of it for a kexec that will happen.
///
/// # Safety
///
/// `pdev` is bound to vfio-pci, and the lock of the device is held.
pub(crate) unsafe fn shutdown(pdev: *mut bindings::pci_dev) {
    // Nobody changes it: LUO froze the file and does not unfreeze it.
    //
    // SAFETY: By function requirement.
    if !unsafe { is_frozen(pdev) } {
        return;
    }

    // What it does DMA with is handed over.
    //
    // SAFETY: `pdev` is a device.
    if unsafe { bindings::pci_liveupdate_keeps_mastering(pdev) } {
        return;
    }

    // First, so that the reset does not restore it.
    //
    // SAFETY: `pdev` is a device.
    unsafe { bindings::pci_clear_master(pdev) };

    // Nobody reads or writes registers through sysfs meanwhile.
    //
    // SAFETY: `pdev` is a device.
    unsafe { bindings::pci_cfg_access_lock(pdev) };

    // SAFETY: By function requirement, the lock of the device is held.
    let result = unsafe { bindings::pci_reset_function_locked(pdev) };

    // SAFETY: The lock was just taken.
    unsafe { bindings::pci_cfg_access_unlock(pdev) };

    // SAFETY: By function requirement.
    report_reset(unsafe { lu_pci::from_raw(pdev) }, result);
}
