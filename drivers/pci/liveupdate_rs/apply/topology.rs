// SPDX-License-Identifier: GPL-2.0

//! Keeps PCI devices where they are while a kexec takes some of them along.
//!
//! Who removes a device has its lock, and waits for files of it that go along: shutting devices down
//! would wait for that for ever. So nobody adds or removes devices while files are frozen. Those who
//! want to wait, and go on if the kexec is called off. If it is not, they leave the devices alone.

use super::{
    super::ffi::Topology,
    DRIVERS, //
};
use kernel::{
    liveupdate::pci as lu_pci,
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

/// Counts a preserved device as frozen. No devices come or go from the first one on.
pub(crate) fn freeze() -> Result {
    if !Topology::is_kept() {
        lock().inspect_err(|_| report_busy())?.keep();
    }
    FROZEN.store(FROZEN.load(Relaxed).saturating_add(1), Relaxed);
    Ok(())
}

/// Counts a device less as frozen, for which [`freeze`] succeeded.
pub(crate) fn unfreeze() {
    let frozen = FROZEN.load(Relaxed).saturating_sub(1);

    FROZEN.store(frozen, Relaxed);
    if frozen == 0 {
        drop(Topology::kept());
    }
}

/// Notes that the kexec cannot be called off any more.
///
/// Those who wait go on now, since shutting devices down waits for some of them, and see that it is so.
pub(super) fn proceed() {
    // ORDERING: Before the lock is released, with which others look at it.
    PROCEEDS.store(true, Relaxed);
    drop(Topology::kept());
}

/// Returns whether the kexec takes devices along and cannot be called off any more.
pub(crate) fn proceeds() -> bool {
    PROCEEDS.load(Relaxed)
}

/// Names preserved devices that somebody has the lock of: whoever removes one waits for its file.
fn report_busy() {
    let Ok(drivers) = DRIVERS.outgoing() else {
        return;
    };

    for address in drivers.lock().addresses() {
        let Some(device) = lu_pci::find(address) else {
            continue;
        };

        if lu_pci::Locked::try_new(&device).is_none() {
            dev_warn!(
                device,
                "is being unbound or removed, and a kexec waits for that: close its session\n"
            );
        }
    }
}

/// Waits until nobody adds or removes devices, and keeps everybody from it then. Not for ever: somebody
/// may be removing another preserved device, and wait for its file.
///
/// # Errors
///
/// `EBUSY` if so.
fn lock() -> Result<Topology> {
    let start = Instant::<Monotonic>::now();

    loop {
        if let Some(topology) = Topology::try_lock() {
            return Ok(topology);
        }
        if start.elapsed() >= PATIENCE {
            return Err(EBUSY);
        }
        fsleep(PAUSE);
    }
}
