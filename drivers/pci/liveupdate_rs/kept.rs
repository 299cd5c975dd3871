// SPDX-License-Identifier: GPL-2.0

//! What is kept of a device as the previous kernel left it.

use super::{
    entries::Probe,
    plan, //
};
use kernel::{
    prelude::*,
    sync::atomic::{
        Atomic,
        AtomicFlag,
        Relaxed, //
    }, //
};

/// A device that was preserved, from when it is found until it is gone.
///
/// Unlike its entry this is there without a lock: who writes to a register may hold any.
pub(crate) struct Kept {
    /// What writing to its registers would tell, if that is known.
    probes: KVec<Probe>,
    /// Nothing is written to it that is not allowed.
    held: AtomicFlag,
    /// How many writes were dropped.
    dropped: Atomic<u32>,
    /// ACS Control as the previous kernel left it, once it was read.
    acs_control: Atomic<u32>,
}

/// Is no value of a register of 16 bits.
const NOT_READ: u32 = u32::MAX;

impl Kept {
    /// Keeps a device. It is held if it is known what writing to its registers would tell.
    pub(crate) fn new(probes: KVec<Probe>) -> Self {
        let known = plan::probed(&probes, plan::COMMAND).is_some();

        Self {
            probes,
            held: AtomicFlag::new(known),
            dropped: Atomic::new(0),
            acs_control: Atomic::new(NOT_READ),
        }
    }

    /// Returns whether writes are dropped that are not allowed.
    pub(crate) fn is_held(&self) -> bool {
        self.held.load(Relaxed)
    }

    /// Lets everything be written from here on.
    pub(crate) fn let_go(&self) {
        self.held.store(false, Relaxed);
    }

    /// Counts a write that was dropped.
    pub(crate) fn count_dropped(&self) {
        self.dropped.add(1, Relaxed);
    }

    /// Returns how many writes were dropped.
    pub(crate) fn dropped(&self) -> u32 {
        self.dropped.load(Relaxed)
    }

    /// Returns what was learned of a register, unless it can be written to.
    pub(crate) fn probed(&self, register: u16) -> Option<u32> {
        if self.is_held() {
            plan::probed(&self.probes, register)
        } else {
            None
        }
    }

    /// Returns ACS Control as the previous kernel left it, which `read` reads the first time.
    pub(crate) fn acs_control(&self, read: impl FnOnce() -> u16) -> u16 {
        match self.acs_control.load(Relaxed).try_into() {
            Ok(value) => value,
            Err(_) => {
                let value = read();

                self.acs_control.store(value.into(), Relaxed);
                value
            }
        }
    }
}
