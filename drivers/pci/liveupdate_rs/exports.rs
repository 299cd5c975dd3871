// SPDX-License-Identifier: GPL-2.0

//! What C code calls: `include/linux/pci_liveupdate.h`.

use super::{
    apply::{
        self,
        DEVICES,
        DRIVERS, //
    },
    entries::Format, //
};
use kernel::{
    bindings,
    error::{
        from_result,
        to_result, //
    },
    ffi::{
        c_char,
        c_int, //
    },
    liveupdate::pci as lu_pci,
    prelude::*, //
};

/// Has the files of a handler share the records of preserved PCI devices.
///
/// To be called after the handler was registered and before any file is preserved with it. May
/// sleep.
///
/// # Errors
///
/// - `EOPNOTSUPP` if the Live Update Orchestrator does not run.
/// - `EEXIST` if it was called for this handler before, or if there is another FLB of that name.
/// - `ENOSPC` if there are too many FLBs, `ENOMEM` if memory is short.
///
/// Then nothing is registered.
///
/// # Safety
///
/// `fh` is a handler that is registered with LUO.
#[export]
pub(crate) unsafe extern "C" fn pci_liveupdate_register_flb(
    fh: *mut bindings::liveupdate_file_handler,
) -> c_int {
    from_result(|| {
        // SAFETY: By function requirement; the FLB is a static, and so is its pointer.
        to_result(unsafe { bindings::liveupdate_register_flb(fh, DEVICES.as_raw()) })?;

        // SAFETY: As above.
        to_result(unsafe { bindings::liveupdate_register_flb(fh, DRIVERS.as_raw()) })
            .inspect_err(|_| {
                // SAFETY: Just registered for this handler.
                unsafe { bindings::liveupdate_unregister_flb(fh, DEVICES.as_raw()) }
            })
            .map(|()| 0)
    })
}

/// Undoes [`pci_liveupdate_register_flb`]. May sleep.
///
/// Unregistering the handler does so, too.
///
/// # Safety
///
/// `fh` is a handler that [`pci_liveupdate_register_flb`] succeeded for.
#[export]
pub(crate) unsafe extern "C" fn pci_liveupdate_unregister_flb(
    fh: *mut bindings::liveupdate_file_handler,
) {
    // SAFETY: By function requirement.
    unsafe { bindings::liveupdate_unregister_flb(fh, DRIVERS.as_raw()) };

    // SAFETY: By function requirement.
    unsafe { bindings::liveupdate_unregister_flb(fh, DEVICES.as_raw()) };
}

/// Preserves a device, and with it the bridges above it.
///
/// To be called from the `preserve` callback of a handler that shares the record. May sleep. The
/// caller keeps the device from going away until it is unpreserved. `data` is what the handler hands
/// over for the file, and tells it from others: it does not change, and no other file has it.
///
/// # Errors
///
/// Nothing changes, with
///
/// - `EINVAL` for a virtual function, or if the driver of the device declares no format in
///   `liveupdate_compatible`,
/// - `EBUSY` if the device is preserved already,
/// - `ENOENT` if no file is being preserved,
/// - `EOPNOTSUPP` if the Live Update Orchestrator does not run,
/// - `EOVERFLOW` if too many devices below one bridge are preserved,
/// - `ENOSPC` if too many devices are preserved,
/// - `ENOMEM` if memory is short.
///
/// # Safety
///
/// `dev` is a device that is bound to a driver, and stays so until the call is over.
#[export]
pub(crate) unsafe extern "C" fn pci_liveupdate_preserve(
    dev: *mut bindings::pci_dev,
    data: u64,
) -> c_int {
    // SAFETY: By function requirement.
    let device = unsafe { lu_pci::from_raw(dev) };

    // SAFETY: By function requirement.
    let driver = unsafe { (*dev).driver };

    // SAFETY: By function requirement.
    let format = unsafe { format((*driver).liveupdate_compatible) };

    from_result(|| {
        // The numbers of virtual functions depend on the registers of the physical one.
        if lu_pci::is_virtual_function(device) {
            return Err(EINVAL);
        }
        apply::preserve(device, format.ok_or(EINVAL)?, data).map(|()| 0)
    })
}

/// Returns the format that a driver declares to know, if any.
///
/// # Safety
///
/// `name` is null, or a string.
unsafe fn format(name: *const c_char) -> Option<Format> {
    if name.is_null() {
        return None;
    }

    // SAFETY: By function requirement.
    Format::new(unsafe { CStr::from_char_ptr(name) }.to_bytes())
}

/// Undoes [`pci_liveupdate_preserve`]. May sleep, does not fail.
///
/// # Safety
///
/// `dev` is a device that [`pci_liveupdate_preserve`] succeeded for.
#[export]
pub(crate) unsafe extern "C" fn pci_liveupdate_unpreserve(dev: *mut bindings::pci_dev) {
    // SAFETY: By function requirement.
    let device = unsafe { lu_pci::from_raw(dev) };

    if let Err(err) = apply::unpreserve(device) {
        dev_err!(device, "cannot be unpreserved: {err:?}\n");
    }
}

/// Ends the passage of a device that the previous kernel preserved, and of the bridges above it
/// that no other such device needs.
///
/// To be called from the `finish` callback of a handler that shares the record. May sleep. Does
/// nothing for a device that was not preserved or that was finished.
///
/// # Safety
///
/// `dev` is a device.
#[export]
pub(crate) unsafe extern "C" fn pci_liveupdate_finish(dev: *mut bindings::pci_dev) {
    // SAFETY: By function requirement.
    let device = unsafe { lu_pci::from_raw(dev) };

    if let Err(err) = apply::finish(device) {
        dev_err!(device, "cannot be finished: {err:?}\n");
    }
}

/// Returns whether a device, or one below a bridge, was preserved by the previous kernel and is not
/// finished yet. May sleep.
///
/// # Safety
///
/// `dev` is a device.
#[export]
pub(crate) unsafe extern "C" fn pci_liveupdate_is_incoming(dev: *mut bindings::pci_dev) -> bool {
    // SAFETY: By function requirement.
    apply::is_incoming(unsafe { lu_pci::from_raw(dev) })
}

/// Returns whether a device was preserved by the previous kernel with the file that has this data,
/// and is not finished yet. May sleep.
///
/// What one file's record says does not get at the device of another file that way. If the previous
/// kernel did not write down the files, it is so for each device that was preserved for its own sake.
///
/// # Safety
///
/// `dev` is a device.
#[export]
pub(crate) unsafe extern "C" fn pci_liveupdate_is_incoming_for(
    dev: *mut bindings::pci_dev,
    data: u64,
) -> bool {
    // SAFETY: By function requirement.
    apply::belongs_to(unsafe { lu_pci::from_raw(dev) }, data)
}

/// Returns whether the previous kernel preserved devices, or may have. May sleep.
///
/// Once it is so it remains so, though all of them are finished: the addresses of devices, and where
/// their resources are, are not to change for those who use them.
///
/// # Safety
///
/// None: C functions are unsafe to call.
#[export]
pub(crate) unsafe extern "C" fn pci_liveupdate_had_incoming() -> bool {
    apply::had_incoming()
}

/// Notes that a device was found. Called once for each, before any driver can match. May sleep.
///
/// # Safety
///
/// `dev` is a device whose address is known.
#[export]
pub(crate) unsafe extern "C" fn pci_liveupdate_setup_device(dev: *mut bindings::pci_dev) {
    // SAFETY: By function requirement.
    let device = unsafe { lu_pci::from_raw(dev) };

    apply::enumerated(device);
}

/// Decides whether a driver may bind to a device. Asked before it is probed. May sleep.
///
/// `compatible` is the format of preserved devices that the driver knows, or null. A device that was
/// preserved is kept out of low power states from here on, until it is finished.
///
/// # Errors
///
/// - `EBUSY` if the previous kernel preserved the device in another format, or if what it says of the
///   device cannot be believed.
/// - `ENOMEM` if memory is short.
///
/// # Safety
///
/// `dev` is a device, and `compatible` is null or a string.
#[export]
pub(crate) unsafe extern "C" fn pci_liveupdate_bind(
    dev: *mut bindings::pci_dev,
    compatible: *const c_char,
) -> c_int {
    // SAFETY: By function requirement.
    let device = unsafe { lu_pci::from_raw(dev) };

    // SAFETY: By function requirement.
    let format = unsafe { format(compatible) };

    from_result(|| apply::bind(device, format).map(|()| 0))
}
