// SPDX-License-Identifier: GPL-2.0

//! Locks of the PCI core.

use core::ptr;
use kernel::{
    bindings,
    error::to_result,
    liveupdate::pci as lu_pci,
    pci,
    prelude::*,
    sync::atomic::{
        Atomic,
        Relaxed, //
    },
    task::Task,
    types::NotThreadSafe, //
};

/// The lock without which nobody adds or removes PCI devices. Dropping it releases the lock.
///
/// # Invariants
///
/// The current task holds the lock, which nothing else will release.
pub(crate) struct Topology {
    /// A mutex is released by whoever took it.
    _not_send: NotThreadSafe,
}

/// The task that keeps the lock from one callback to another, or null.
static KEEPER: Atomic<*mut bindings::task_struct> = Atomic::new(ptr::null_mut());

impl Topology {
    /// Takes the lock, unless somebody has it: another task, or this one.
    pub(crate) fn try_lock() -> Option<Self> {
        // SAFETY: Has no requirements.
        let locked = unsafe { bindings::pci_liveupdate_trylock_rescan_remove() };

        if !locked {
            return None;
        }
        // INVARIANT: Just taken.
        Some(Self {
            _not_send: NotThreadSafe,
        })
    }

    /// Keeps the lock for this task, which takes it back with [`Topology::kept`].
    pub(crate) fn keep(self) {
        core::mem::forget(self);
        KEEPER.store(Task::current_raw(), Relaxed);
    }

    /// Returns whether this task keeps the lock.
    pub(crate) fn is_kept() -> bool {
        // A task that finds itself here wrote that itself, and has not taken the lock back since.
        ptr::eq(KEEPER.load(Relaxed), Task::current_raw())
    }

    /// Takes the lock back that this task keeps, if it does.
    pub(crate) fn kept() -> Option<Self> {
        if !Self::is_kept() {
            return None;
        }
        KEEPER.store(ptr::null_mut(), Relaxed);

        // INVARIANT: This task holds the lock since `keep()`, which forgot what would have released it.
        Some(Self {
            _not_send: NotThreadSafe,
        })
    }
}

impl Drop for Topology {
    fn drop(&mut self) {
        // SAFETY: By the type invariants.
        unsafe { bindings::pci_liveupdate_unlock_rescan_remove() };
    }
}

/// The locks that resetting a device takes: nobody else resets it, and no driver binds or unbinds.
///
/// # Invariants
///
/// We hold the lock of `device`, and that of `bridge`, which is the one above it, if there is one.
pub(crate) struct ResetLocks<'a> {
    device: &'a pci::Device,
    bridge: Option<&'a pci::Device>,
    /// A mutex is released by whoever took it.
    _not_send: NotThreadSafe,
}

impl<'a> ResetLocks<'a> {
    /// Takes the locks. May sleep.
    pub(crate) fn new(device: &'a pci::Device) -> Self {
        let bridge = lu_pci::path(device).nth(1);

        if let Some(bridge) = bridge {
            // SAFETY: By the type invariants of `Device`.
            unsafe { bindings::pci_dev_lock(lu_pci::as_raw(bridge)) };
        }
        // SAFETY: By the type invariants of `Device`. The lock of the bridge comes first.
        unsafe { bindings::pci_dev_lock(lu_pci::as_raw(device)) };

        // INVARIANT: Just taken.
        Self {
            device,
            bridge,
            _not_send: NotThreadSafe,
        }
    }

    /// Returns the device.
    pub(crate) fn device(&self) -> &'a pci::Device {
        self.device
    }

    /// Returns whether a driver is bound to the device.
    pub(crate) fn is_bound(&self) -> bool {
        // SAFETY: By the type invariants of `Device`; the lock that protects it is held.
        !unsafe { (*lu_pci::as_raw(self.device)).dev.driver }.is_null()
    }

    /// Resets the device, which was stopped, as far as it can be, once what it began to do is over. May
    /// sleep.
    pub(crate) fn reset(&self) {
        let (device, dev) = (self.device, lu_pci::as_raw(self.device));

        // SAFETY: By the type invariants of `Device`.
        if unsafe { bindings::pci_wait_for_pending_transaction(dev) } == 0 {
            dev_warn!(
                device,
                "was stopped, and still waits for what it asked for\n"
            );
        }

        // SAFETY: By the type invariants of `Device`; we hold the locks.
        if let Err(err) = to_result(unsafe { bindings::pci_reset_function_locked(dev) }) {
            dev_warn!(device, "was stopped, and could not be reset: {err:?}\n");
        }
    }
}

impl Drop for ResetLocks<'_> {
    fn drop(&mut self) {
        // SAFETY: By the type invariants.
        unsafe { bindings::pci_dev_unlock(lu_pci::as_raw(self.device)) };
        if let Some(bridge) = self.bridge {
            // SAFETY: As above.
            unsafe { bindings::pci_dev_unlock(lu_pci::as_raw(bridge)) };
        }
    }
}
