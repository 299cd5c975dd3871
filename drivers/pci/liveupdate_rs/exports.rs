// SPDX-License-Identifier: GPL-2.0

//! What C code calls, which finds it documented in `include/linux/pci_liveupdate.h`.

use super::{
    apply::{
        self,
        DEVICES,
        DRIVERS,
        PROBES, //
    },
    entries::Format,
    ffi,
    writes::Write, //
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

/// See `include/linux/pci_liveupdate.h`.
///
/// # Safety
///
/// None: C functions are unsafe to call.
#[export]
pub(crate) unsafe extern "C" fn pci_liveupdate_has_missing() -> bool {
    apply::has_missing()
}

/// See `include/linux/pci_liveupdate.h`.
///
/// # Safety
///
/// `fh` is a handler that is registered with LUO.
#[export]
pub(crate) unsafe extern "C" fn pci_liveupdate_register_flb(
    fh: *mut bindings::liveupdate_file_handler,
) -> c_int {
    // The FLBs are statics, and so are their pointers.
    let flbs = [DEVICES.as_raw(), DRIVERS.as_raw(), PROBES.as_raw()];

    from_result(|| {
        for (index, &flb) in flbs.iter().enumerate() {
            // SAFETY: By function requirement.
            to_result(unsafe { bindings::liveupdate_register_flb(fh, flb) }).inspect_err(|_| {
                for &flb in flbs[..index].iter().rev() {
                    // SAFETY: Just registered for this handler.
                    unsafe { bindings::liveupdate_unregister_flb(fh, flb) }
                }
            })?;
        }
        ffi::sleep::refuse_if(apply::is_anything_preserved);
        Ok(0)
    })
}

/// See `include/linux/pci_liveupdate.h`.
///
/// # Safety
///
/// `fh` is a handler that [`pci_liveupdate_register_flb`] succeeded for.
#[export]
pub(crate) unsafe extern "C" fn pci_liveupdate_unregister_flb(
    fh: *mut bindings::liveupdate_file_handler,
) {
    for flb in [PROBES.as_raw(), DRIVERS.as_raw(), DEVICES.as_raw()] {
        // SAFETY: By function requirement.
        unsafe { bindings::liveupdate_unregister_flb(fh, flb) };
    }
}

/// See `include/linux/pci_liveupdate.h`.
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
        apply::preserve(device, format.ok_or(EINVAL)?, data)?;
        if ffi::sleep::has_begun() {
            apply::unpreserve(device)?;
            return Err(EBUSY);
        }
        Ok(0)
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

/// See `include/linux/pci_liveupdate.h`.
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

/// See `include/linux/pci_liveupdate.h`.
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

/// See `include/linux/pci_liveupdate.h`.
///
/// # Safety
///
/// `dev` is a device.
#[export]
pub(crate) unsafe extern "C" fn pci_liveupdate_is_incoming(dev: *mut bindings::pci_dev) -> bool {
    // SAFETY: By function requirement.
    apply::is_incoming(unsafe { lu_pci::from_raw(dev) })
}

/// See `include/linux/pci_liveupdate.h`.
///
/// # Safety
///
/// `dev` is a device.
#[export]
pub(crate) unsafe extern "C" fn pci_liveupdate_is_preserved(dev: *mut bindings::pci_dev) -> bool {
    // SAFETY: By function requirement.
    apply::is_preserved(unsafe { lu_pci::from_raw(dev) })
}

/// See `include/linux/pci_liveupdate.h`.
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

/// See `include/linux/pci_liveupdate.h`.
///
/// # Safety
///
/// `dev` is a device, and `compatible` is null or a string.
#[export]
pub(crate) unsafe extern "C" fn pci_liveupdate_may_bind(
    dev: *mut bindings::pci_dev,
    compatible: *const c_char,
) -> bool {
    // SAFETY: By function requirement.
    let device = unsafe { lu_pci::from_raw(dev) };

    // SAFETY: By function requirement.
    let format = unsafe { format(compatible) };

    apply::may_bind(device, format)
}

/// See `include/linux/pci_liveupdate.h`.
///
/// # Safety
///
/// `dev` is a device, which the caller keeps awake, and whose locks it does not hold.
#[export]
pub(crate) unsafe extern "C" fn pci_liveupdate_end(dev: *mut bindings::pci_dev) -> c_int {
    // SAFETY: By function requirement.
    let device = unsafe { lu_pci::from_raw(dev) };

    from_result(|| apply::end(&ffi::ResetLocks::new(device)).map(|()| 0))
}

/// See `include/linux/pci_liveupdate.h`.
///
/// # Safety
///
/// None: C functions are unsafe to call.
#[export]
pub(crate) unsafe extern "C" fn pci_liveupdate_has_incoming() -> bool {
    apply::has_incoming()
}

/// See `include/linux/pci_liveupdate.h`.
///
/// # Safety
///
/// None: C functions are unsafe to call.
#[export]
pub(crate) unsafe extern "C" fn pci_liveupdate_had_incoming() -> bool {
    apply::had_incoming()
}

/// See `include/linux/pci_liveupdate.h`.
///
/// # Safety
///
/// `dev` is a bridge.
#[export]
pub(crate) unsafe extern "C" fn pci_liveupdate_refuse_bus_numbers(
    dev: *mut bindings::pci_dev,
) -> bool {
    // SAFETY: By function requirement.
    apply::refuse_bus_numbers(unsafe { lu_pci::from_raw(dev) })
}

/// See `include/linux/pci_liveupdate.h`.
///
/// # Safety
///
/// `bus` is null, or a bus.
#[export]
pub(crate) unsafe extern "C" fn pci_liveupdate_check_reset(bus: *mut bindings::pci_bus) -> c_int {
    // SAFETY: By function requirement.
    let bus = unsafe { ffi::Bus::from_raw(bus) };

    from_result(|| bus.map_or(Ok(()), apply::check_reset).map(|()| 0))
}

/// See `include/linux/pci_liveupdate.h`.
///
/// # Safety
///
/// None: C functions are unsafe to call.
#[export]
pub(crate) unsafe extern "C" fn pci_liveupdate_check_resources() {
    apply::check_resources();
}

/// See `include/linux/pci_liveupdate.h`.
///
/// # Safety
///
/// `dev` is a device whose address is known.
#[export]
pub(crate) unsafe extern "C" fn pci_liveupdate_setup_device(dev: *mut bindings::pci_dev) {
    // SAFETY: By function requirement.
    let device = unsafe { lu_pci::from_raw(dev) };

    // Sessions are shown without a driver, too: whoever drops one has to know its name.
    apply::publish();
    apply::enumerated(device);
    if apply::had_incoming() {
        ffi::sleep::refuse_if(apply::is_anything_preserved);
    }
}

/// See `include/linux/pci_liveupdate.h`.
///
/// # Safety
///
/// `dev` is a device.
#[export]
pub(crate) unsafe extern "C" fn pci_liveupdate_keep_mastering(
    dev: *mut bindings::pci_dev,
) -> c_int {
    // SAFETY: By function requirement.
    let device = unsafe { lu_pci::from_raw(dev) };

    from_result(|| apply::keep_mastering(device).map(|()| 0))
}

/// See `include/linux/pci_liveupdate.h`.
///
/// # Safety
///
/// `dev` is a device.
#[export]
pub(crate) unsafe extern "C" fn pci_liveupdate_stop_mastering(dev: *mut bindings::pci_dev) {
    // SAFETY: By function requirement.
    let device = unsafe { lu_pci::from_raw(dev) };

    if let Err(err) = apply::stop_mastering(device) {
        dev_err!(device, "cannot be stopped: {err:?}\n");
    }
}

/// See `include/linux/pci_liveupdate.h`.
///
/// # Safety
///
/// `dev` is a device.
#[export]
pub(crate) unsafe extern "C" fn pci_liveupdate_keeps_mastering(
    dev: *mut bindings::pci_dev,
) -> bool {
    // SAFETY: By function requirement.
    apply::keeps_mastering(unsafe { lu_pci::from_raw(dev) })
}

/// See `include/linux/pci_liveupdate.h`.
///
/// # Safety
///
/// The caller is the task that freezes all files.
#[export]
pub(crate) unsafe extern "C" fn pci_liveupdate_freeze() -> c_int {
    from_result(|| apply::freeze().map(|()| 0))
}

/// See `include/linux/pci_liveupdate.h`.
///
/// # Safety
///
/// The caller is the task that froze the device.
#[export]
pub(crate) unsafe extern "C" fn pci_liveupdate_unfreeze() {
    apply::unfreeze();
}

/// See `include/linux/pci_liveupdate.h`.
///
/// # Safety
///
/// None: C functions are unsafe to call.
#[export]
pub(crate) unsafe extern "C" fn pci_liveupdate_proceeds() -> bool {
    apply::proceeds()
}

/// See `include/linux/pci_liveupdate.h`.
///
/// # Safety
///
/// `dev` is a device.
#[export]
pub(crate) unsafe extern "C" fn pci_liveupdate_take_over(dev: *mut bindings::pci_dev) {
    // SAFETY: By function requirement.
    apply::take_over(unsafe { lu_pci::from_raw(dev) });
}

/// See `include/linux/pci_liveupdate.h`.
///
/// # Safety
///
/// `dev` is a device.
#[export]
pub(crate) unsafe extern "C" fn pci_liveupdate_goes_on(dev: *mut bindings::pci_dev) -> bool {
    // SAFETY: By function requirement.
    apply::goes_on(unsafe { lu_pci::from_raw(dev) })
}

/// See `include/linux/pci_liveupdate.h`.
///
/// # Safety
///
/// `dev` is a device that nobody uses any more.
#[export]
pub(crate) unsafe extern "C" fn __pci_liveupdate_release_device(dev: *mut bindings::pci_dev) {
    // SAFETY: By function requirement.
    unsafe { ffi::release(dev) };
}

/// See `include/linux/pci_liveupdate.h`.
///
/// # Safety
///
/// `dev` is a device.
#[export]
pub(crate) unsafe extern "C" fn __pci_liveupdate_is_held(dev: *const bindings::pci_dev) -> bool {
    // SAFETY: By function requirement.
    apply::is_held(unsafe { lu_pci::from_raw(dev.cast_mut()) })
}

/// See `include/linux/pci_liveupdate.h`.
///
/// # Safety
///
/// `dev` is a device.
#[export]
pub(crate) unsafe extern "C" fn __pci_liveupdate_drops_write(
    dev: *const bindings::pci_dev,
    offset: c_int,
    size: c_int,
    value: u32,
) -> bool {
    let (Ok(offset), Ok(size)) = (offset.try_into(), size.try_into()) else {
        // The access itself fails.
        return false;
    };

    // SAFETY: By function requirement.
    let device = unsafe { lu_pci::from_raw(dev.cast_mut()) };

    apply::drops_write(
        device,
        Write {
            offset,
            size,
            value,
        },
    )
}

/// See `include/linux/pci_liveupdate.h`.
///
/// # Safety
///
/// `dev` is a device, and `value` can be written to.
#[export]
pub(crate) unsafe extern "C" fn __pci_liveupdate_probed(
    dev: *mut bindings::pci_dev,
    offset: c_int,
    value: *mut u32,
) -> bool {
    // SAFETY: By function requirement.
    let device = unsafe { lu_pci::from_raw(dev) };

    let Some(probed) = offset
        .try_into()
        .ok()
        .and_then(|register| apply::probed(device, register))
    else {
        return false;
    };

    // SAFETY: By function requirement.
    unsafe { *value = probed };
    true
}

/// See `include/linux/pci_liveupdate.h`.
///
/// # Safety
///
/// `dev` is a device that is set up.
#[export]
pub(crate) unsafe extern "C" fn __pci_liveupdate_adopts_acs(dev: *mut bindings::pci_dev) -> bool {
    // SAFETY: By function requirement.
    apply::adopt_acs(unsafe { lu_pci::from_raw(dev) })
}

/// See `include/linux/pci_liveupdate.h`.
///
/// # Safety
///
/// `bridge` is a bridge that is set up, whose secondary bus is being scanned.
#[export]
pub(crate) unsafe extern "C" fn __pci_liveupdate_adopts_ari(
    bridge: *mut bindings::pci_dev,
) -> bool {
    // SAFETY: By function requirement.
    let bridge = unsafe { lu_pci::from_raw(bridge) };

    // SAFETY: By function requirement.
    apply::adopt_ari(unsafe { ffi::ScannedBridge::new(bridge) })
}

/// See `include/linux/pci_liveupdate.h`.
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
