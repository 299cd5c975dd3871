// SPDX-License-Identifier: GPL-2.0

//! Keeps PCI devices where they are while a kexec takes some of them along.
//!
//! Who removes a device has its lock, and waits for files of it that go along: shutting devices down
//! would wait for that for ever. So nobody adds or removes devices while files are frozen. Those who
//! want to wait, and go on if the kexec is called off. If it is not, they leave the devices alone.

use super::{
    super::ffi,
    DRIVERS, //
};
use kernel::{
    prelude::*,
    sync::atomic::{
        Atomic,
        AtomicFlag,
        Relaxed, //
    },
    time::{
        delay::fsleep,
        Delta,
        Instant,
        Monotonic, //
    }, //
};

/// How long others may take to end what they began before.
const PATIENCE: Delta = Delta::from_millis(1000);

/// How long to sleep until looking whether they did.
const PAUSE: Delta = Delta::from_millis(1);

/// How many preserved devices are frozen. Only the reboot writes it: there is one at a time.
static FROZEN: Atomic<u64> = Atomic::new(0);

/// Whether the kexec cannot be called off any more. Never cleared.
static PROCEEDS: AtomicFlag = AtomicFlag::new(false);

/// Counts a preserved device as frozen. No devices come or go once all of them are, at the latest.
///
/// Somebody may be removing a preserved device, and wait for its file. That device is the one to
/// refuse the kexec, for it can be named: so only after all others it matters who has the lock.
pub(crate) fn freeze() -> Result {
    let preserved = DRIVERS.outgoing()?.lock().count();
    let frozen = FROZEN.load(Relaxed).saturating_add(1);
    let is_last = frozen >= u64::try_from(preserved)?;

    if !lock(if is_last { PATIENCE } else { Delta::ZERO }) && is_last {
        return Err(EBUSY);
    }
    FROZEN.store(frozen, Relaxed);
    Ok(())
}

/// Counts a device less as frozen, for which [`freeze`] succeeded.
pub(crate) fn unfreeze() {
    let frozen = FROZEN.load(Relaxed).saturating_sub(1);

    FROZEN.store(frozen, Relaxed);
    if frozen == 0 {
        ffi::unlock_topology();
    }
}

/// Notes that the kexec cannot be called off any more.
///
/// Those who wait go on now, since shutting devices down waits for some of them, and see that it is so.
pub(super) fn proceed() {
    // ORDERING: Before the lock is released, with which others look at it.
    PROCEEDS.store(true, Relaxed);
    ffi::unlock_topology();
}

/// Returns whether the kexec takes devices along and cannot be called off any more.
pub(crate) fn proceeds() -> bool {
    PROCEEDS.load(Relaxed)
}

/// Waits for so long until nobody adds or removes devices, and keeps everybody from it then.
fn lock(patience: Delta) -> bool {
    let start = Instant::<Monotonic>::now();

    while !ffi::try_lock_topology() {
        if start.elapsed() >= patience {
            return false;
        }
        fsleep(PAUSE);
    }
    true
}
