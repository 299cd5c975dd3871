// SPDX-License-Identifier: GPL-2.0

//! What C code calls: `include/linux/pci_liveupdate.h`.

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

/// Keeps the machine from being put to sleep while devices are preserved.
///
/// Suspend and hibernation stop devices, and turn translation off under those that go on.
#[cfg(CONFIG_PM_SLEEP)]
mod sleep {
    use super::{
        apply,
        bindings,
        c_int, //
    };
    use core::cell::UnsafeCell;
    use kernel::{
        ffi::{
            c_ulong,
            c_void, //
        },
        prelude::*,
        sync::{
            atomic::{
                AtomicFlag,
                Full,
                Relaxed, //
            },
            barrier::smp_mb, //
        }, //
    };

    /// What is called before the machine is put to sleep.
    struct Notifier(UnsafeCell<bindings::notifier_block>);

    // SAFETY: Only those who have the lock of the list of notifiers, which it is in, access it.
    unsafe impl Sync for Notifier {}

    static NOTIFIER: Notifier = Notifier(UnsafeCell::new(bindings::notifier_block {
        notifier_call: Some(asked),
        next: core::ptr::null_mut(),
        priority: 0,
    }));

    static IS_REGISTERED: AtomicFlag = AtomicFlag::new(false);

    /// Whether the machine is being put to sleep, and nothing was preserved when that began.
    static IS_ASLEEP: AtomicFlag = AtomicFlag::new(false);

    /// Refuses from now on, whenever anything is preserved at that time. May sleep.
    pub(super) fn refuse() {
        if IS_REGISTERED.load(Relaxed) || IS_REGISTERED.xchg(true, Relaxed) {
            return;
        }
        // SAFETY: A static, which is registered once. The callback has no requirements.
        unsafe { bindings::register_pm_notifier(NOTIFIER.0.get()) };
    }

    /// Returns whether the machine is being put to sleep, to be asked once something is preserved.
    pub(super) fn has_begun() -> bool {
        // ORDERING: Pairs with the full barrier of `asked()`: one of both sees what the other did.
        smp_mb(Full);
        IS_ASLEEP.load(Relaxed)
    }

    /// Says whether the machine may be put to sleep, and notes that it is.
    ///
    /// # Safety
    ///
    /// Has no requirements: what it is given is only a number.
    unsafe extern "C" fn asked(
        _notifier: *mut bindings::notifier_block,
        action: c_ulong,
        _data: *mut c_void,
    ) -> c_int {
        // CAST: lossless, these are small numbers.
        let is_over = [
            bindings::PM_POST_SUSPEND as c_ulong,
            bindings::PM_POST_HIBERNATION as c_ulong,
            bindings::PM_POST_RESTORE as c_ulong,
        ]
        .contains(&action);

        // ORDERING: Pairs with `has_begun()`.
        IS_ASLEEP.xchg(!is_over, Full);
        if is_over || !apply::is_anything_preserved() {
            return bindings::NOTIFY_OK as c_int;
        }
        // Nobody says that it is over to those who refuse.
        IS_ASLEEP.store(false, Relaxed);
        pr_warn!("the machine is not put to sleep: devices are preserved for a live update\n");

        // As `notifier_from_errno()`, which is inline. CAST: lossless, these are small numbers.
        bindings::NOTIFY_STOP_MASK as c_int | (bindings::NOTIFY_OK as c_int - EBUSY.to_errno())
    }
}

#[cfg(not(CONFIG_PM_SLEEP))]
mod sleep {
    /// Has nothing to refuse.
    pub(super) fn refuse() {}

    /// Never.
    pub(super) fn has_begun() -> bool {
        false
    }
}

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
        apply::publish();
        sleep::refuse();
        Ok(0)
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
    for flb in [PROBES.as_raw(), DRIVERS.as_raw(), DEVICES.as_raw()] {
        // SAFETY: By function requirement.
        unsafe { bindings::liveupdate_unregister_flb(fh, flb) };
    }
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
/// - `EINVAL` for a virtual function, if the driver of the device declares no format in
///   `liveupdate_compatible`, or if ACS of the device or a bridge above it is enabled by
///   device-specific code,
/// - `EBUSY` if the device is preserved already, or somebody binds, resets or configures it just now,
///   or the machine is being put to sleep,
/// - `ENOENT` if no file is being preserved,
/// - `EOPNOTSUPP` if virtual functions of the device are enabled, or if the Live Update Orchestrator
///   does not run,
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
        apply::preserve(device, format.ok_or(EINVAL)?, data)?;
        if sleep::has_begun() {
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

/// Returns whether a device, or one below a bridge, is preserved for the next kernel, or was preserved
/// by the previous kernel and is not finished yet. May sleep.
///
/// # Safety
///
/// `dev` is a device.
#[export]
pub(crate) unsafe extern "C" fn pci_liveupdate_is_preserved(dev: *mut bindings::pci_dev) -> bool {
    // SAFETY: By function requirement.
    apply::is_preserved(unsafe { lu_pci::from_raw(dev) })
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

/// Returns whether a driver that knows this format may bind to a device, as [`pci_liveupdate_bind`]
/// decides it. May sleep.
///
/// Tells a device that waits for its driver from one that gets none before it is finished: what the
/// previous kernel says of that one cannot be believed, or names another format.
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

/// Stops a device that the previous kernel preserved and that has no driver, and ends its passage: for the
/// administrator, when nothing else is there that could.
///
/// The device does no DMA afterwards. It is reset if it can be, its IOMMU loses what was handed over of it,
/// and it is an ordinary device. Its file cannot be retrieved any more. May sleep.
///
/// # Errors
///
/// - `ENOENT` if the device was not preserved, or is finished.
/// - `EBUSY` if a driver is bound to it, which is then to be unbound first, or if its IOMMU group is in use:
///   it is stopped then, and remains preserved.
///
/// # Safety
///
/// `dev` is a device, and the caller holds its lock and that of the bridge above it.
#[export]
pub(crate) unsafe extern "C" fn pci_liveupdate_end(dev: *mut bindings::pci_dev) -> c_int {
    // SAFETY: By function requirement.
    let device = unsafe { lu_pci::from_raw(dev) };

    from_result(|| apply::end(device).map(|()| 0))
}

/// Returns whether a device is there that the previous kernel preserved, and that is not finished. May
/// sleep.
///
/// Bridges do not count. One such device is named in the log.
///
/// # Safety
///
/// None: C functions are unsafe to call.
#[export]
pub(crate) unsafe extern "C" fn pci_liveupdate_has_incoming() -> bool {
    apply::has_incoming()
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

/// Returns whether a bridge that has no bus numbers is to get none, and says so.
///
/// That is so for a bridge that was preserved and lost them, and for others on its bus, which might
/// get those that it had. May sleep. The caller keeps buses from being added or removed.
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

/// Decides whether all devices on a bus, and below it, may be reset.
///
/// To be called before anything is done to them, for whoever asks: the line in the log that says why
/// not is rate-limited. A device that goes on doing DMA in this kernel would be stopped, and its owner
/// does not have it yet. May sleep. The caller keeps the bus from going away; it may hold locks of
/// devices.
///
/// # Errors
///
/// `EBUSY` if there is a device that was preserved, is not finished, and that its owner did not open
/// yet.
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

/// Looks which BARs and windows of what was preserved this kernel could not claim.
///
/// A device that has some is stopped and quarantined, which the log says. Nobody else gets the
/// addresses, which the device goes on answering at: they are reserved for good.
///
/// To be called when resources were claimed, before any are assigned. May sleep.
///
/// # Safety
///
/// None: C functions are unsafe to call.
#[export]
pub(crate) unsafe extern "C" fn pci_liveupdate_check_resources() {
    apply::check_resources();
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
    if apply::had_incoming() {
        sleep::refuse();
    }
}

/// Has a device that is preserved go on doing DMA across the kexec.
///
/// Neither it nor the bridges above it lose bus mastering then when devices are shut down, and the
/// next kernel leaves it on. To be called by whoever hands over all that the device does DMA with:
/// what the device writes to otherwise is anybody's. The driver of the device does not stop it in its
/// `shutdown` callback then. May sleep.
///
/// It is stopped all the same if the kernel that is booted does not declare that it takes devices
/// over, see `liveupdate_stops_devices()`.
///
/// Ends when the device is unpreserved.
///
/// # Errors
///
/// Nothing changes, with
///
/// - `ENOENT` if the device is not preserved,
/// - `EBUSY` if it goes on already,
/// - `EOPNOTSUPP` if the next kernel would write to its registers, since they cannot be described,
/// - `EOVERFLOW` if there are too many such devices below one bridge,
/// - `ENOMEM` if memory is short.
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

/// Undoes [`pci_liveupdate_keep_mastering`]. May sleep, does not fail.
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

/// Returns whether a device, or one below a bridge, goes on doing DMA across the kexec. May sleep.
///
/// To be asked when devices are shut down, as what is booted is known then. From the first time on
/// that it declares too little, no device does, nor is one handed over that does.
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

/// Counts a preserved device as frozen, for a kexec that takes it along.
///
/// To be called from the `freeze` callback of a handler that shares the record, once for each device
/// that it preserved, when nothing else is in the way of the kexec. No PCI device is added or removed
/// once all devices are frozen, and mostly from the first one on: `pci_lock_rescan_remove()` waits
/// until the kexec proceeds or all devices are unfrozen. May sleep, for a second if somebody adds or
/// removes devices.
///
/// # Errors
///
/// `EBUSY` if all other preserved devices are frozen, and somebody adds or removes devices; `ENOENT`
/// if no device is preserved. Then the device does not count.
///
/// # Safety
///
/// The caller is the task that freezes all files.
#[export]
pub(crate) unsafe extern "C" fn pci_liveupdate_freeze() -> c_int {
    from_result(|| apply::freeze().map(|()| 0))
}

/// Undoes [`pci_liveupdate_freeze`], if it succeeded. Does not sleep, and does not fail.
///
/// # Safety
///
/// The caller is the task that froze the device.
#[export]
pub(crate) unsafe extern "C" fn pci_liveupdate_unfreeze() {
    apply::unfreeze();
}

/// Returns whether a kexec that takes devices along cannot be called off any more. In any context.
///
/// From then on, whoever has `pci_lock_rescan_remove()` does not remove devices, nor cut the power of
/// their slots: files of some devices stay open, so that removal would not end, and the next kernel
/// expects the devices where they are. Virtual functions can be removed, as they are not preserved.
///
/// # Safety
///
/// None: C functions are unsafe to call.
#[export]
pub(crate) unsafe extern "C" fn pci_liveupdate_proceeds() -> bool {
    apply::proceeds()
}

/// Lets a device that was preserved be written to: its next owner has it from here on.
///
/// To be called once its file was retrieved, or before the device is reset if nobody retrieves it.
/// Does nothing for other devices. In any context.
///
/// # Safety
///
/// `dev` is a device.
#[export]
pub(crate) unsafe extern "C" fn pci_liveupdate_take_over(dev: *mut bindings::pci_dev) {
    // SAFETY: By function requirement.
    apply::take_over(unsafe { lu_pci::from_raw(dev) });
}

/// Frees what is kept of a device that is about to be freed itself.
///
/// # Safety
///
/// `dev` is a device that nobody uses any more.
#[export]
pub(crate) unsafe extern "C" fn __pci_liveupdate_release_device(dev: *mut bindings::pci_dev) {
    // SAFETY: By function requirement.
    unsafe { ffi::release(dev) };
}

/// Returns whether a device was preserved and its registers are to stay as they are. In any context.
///
/// # Safety
///
/// `dev` is a device.
#[export]
pub(crate) unsafe extern "C" fn __pci_liveupdate_is_held(dev: *const bindings::pci_dev) -> bool {
    // SAFETY: By function requirement.
    apply::is_held(unsafe { lu_pci::from_raw(dev.cast_mut()) })
}

/// Returns whether a write to configuration space is not to be done. In any context.
///
/// That is so for a device that was preserved and has no new owner yet, and for a bridge above it
/// unless a service of the bridge needs it; and for neither if it gives a register back what that
/// lost. `value` is what is to be written to the `size` bytes at `offset`. A write that is dropped is
/// traced and counted.
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

/// Gets what writing all ones to a register would tell, or the like, from what the previous kernel
/// handed over. In any context.
///
/// Returns false, and leaves `value` alone, unless the device is one whose registers cannot be
/// written to. See `struct pci_probe_ser` for the registers, and what is known of them.
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

/// Sets the ACS controls of a device that was preserved, or of a bridge above it, to what they were
/// when it was found: also after a reset, and after it was finished. In any context.
///
/// Returns false, and does nothing, for all others and for those without such controls.
///
/// # Safety
///
/// `dev` is a device that is set up.
#[export]
pub(crate) unsafe extern "C" fn __pci_liveupdate_adopts_acs(dev: *mut bindings::pci_dev) -> bool {
    // SAFETY: By function requirement.
    apply::adopt_acs(unsafe { lu_pci::from_raw(dev) })
}

/// Leaves ARI Forwarding as it is on a bridge that was preserved, and notes whether it is on.
///
/// Returns false, and does nothing, for all other bridges. In any context.
///
/// # Safety
///
/// `bridge` is a bridge that is set up, whose secondary bus is being scanned.
#[export]
pub(crate) unsafe extern "C" fn __pci_liveupdate_adopts_ari(
    bridge: *mut bindings::pci_dev,
) -> bool {
    // SAFETY: By function requirement.
    apply::adopt_ari(unsafe { lu_pci::from_raw(bridge) })
}

/// Decides whether a driver may bind to a device. Asked before it is probed. May sleep.
///
/// `compatible` is the format of preserved devices that the driver knows, or null. A device that was
/// preserved is kept out of low power states from here on, until it is finished.
///
/// # Errors
///
/// `EBUSY` if the previous kernel preserved the device in another format, or if what it says of the
/// device cannot be believed.
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
