// SPDX-License-Identifier: GPL-2.0

//! Keeps the machine from being put to sleep while devices are preserved.
//!
//! Suspend and hibernation stop devices, and turn translation off under those that go on.

use core::cell::UnsafeCell;
use kernel::{
    bindings,
    ffi::{
        c_int,
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
        barrier::smp_mb,
        SetOnce, //
    },
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

/// Returns whether the machine has to stay awake now. There from when the notifier is registered.
static IS_REFUSED: SetOnce<fn() -> bool> = SetOnce::new();

static IS_REGISTERED: AtomicFlag = AtomicFlag::new(false);

/// Whether the machine is being put to sleep, and nothing was preserved when that began.
static IS_ASLEEP: AtomicFlag = AtomicFlag::new(false);

/// Has the machine stay awake from now on, whenever `is_refused` says so at that time. May sleep.
///
/// The first question that is given here counts, for good.
pub(crate) fn refuse_if(is_refused: fn() -> bool) {
    if IS_REGISTERED.load(Relaxed) || IS_REGISTERED.xchg(true, Relaxed) {
        return;
    }
    IS_REFUSED.populate(is_refused);
    // SAFETY: A static, which is registered once. The callback has no requirements.
    unsafe { bindings::register_pm_notifier(NOTIFIER.0.get()) };
}

/// Returns whether the machine is being put to sleep, to be asked once something is preserved.
pub(crate) fn has_begun() -> bool {
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
    if is_over || !IS_REFUSED.copy().is_some_and(|is_refused| is_refused()) {
        return bindings::NOTIFY_OK as c_int;
    }
    // Nobody says that it is over to those who refuse.
    IS_ASLEEP.store(false, Relaxed);
    pr_warn!("the machine is not put to sleep: devices are preserved for a live update\n");

    // As `notifier_from_errno()`, which is inline. CAST: lossless, these are small numbers.
    bindings::NOTIFY_STOP_MASK as c_int | (bindings::NOTIFY_OK as c_int - EBUSY.to_errno())
}
