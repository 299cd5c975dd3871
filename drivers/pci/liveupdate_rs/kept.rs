// SPDX-License-Identifier: GPL-2.0

//! What is kept of a device as the previous kernel left it.

use super::{
    entries::Probe,
    plan,
    regions::{
        self,
        Region, //
    }, //
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
    /// What its registers had when it was found, as far as they have settings: from the beginning
    /// of configuration space on, in double words.
    registers: [u32; REGISTERS],
    /// Nothing is written to it that is not allowed.
    held: AtomicFlag,
    /// Its passage is not over.
    incoming: AtomicFlag,
    /// How many writes were dropped.
    dropped: Atomic<u32>,
    /// ACS Control as the previous kernel left it, once it was read.
    acs_control: Atomic<u32>,
}

/// How many double words are in the part of configuration space that all devices have.
const REGISTERS: usize = 64;

/// Is no value of a register of 16 bits.
const NOT_READ: u32 = u32::MAX;

impl Kept {
    /// Keeps a device, whose registers `read` reads. It is held if it is known what writing to them
    /// would tell.
    pub(crate) fn new(probes: KVec<Probe>, read: impl Fn(u16) -> u32) -> Self {
        let known = plan::probed(&probes, plan::COMMAND).is_some();

        Self {
            probes,
            // CAST: lossless, there are few.
            registers: core::array::from_fn(|index| read(4 * index as u16)),
            held: AtomicFlag::new(known),
            incoming: AtomicFlag::new(true),
            dropped: Atomic::new(0),
            acs_control: Atomic::new(NOT_READ),
        }
    }

    /// Returns whether writes are dropped that are not allowed.
    pub(crate) fn is_held(&self) -> bool {
        self.held.load(Relaxed)
    }

    /// Lets everything be written from here on. Returns whether it was held until now.
    pub(crate) fn let_go(&self) -> bool {
        self.held.xchg(false, Relaxed)
    }

    /// Returns whether the passage of the device is not over.
    pub(crate) fn is_incoming(&self) -> bool {
        self.incoming.load(Relaxed)
    }

    /// Ends the passage of the device, and lets everything be written from here on. Returns whether it
    /// was held until now.
    pub(crate) fn end_passage(&self) -> bool {
        self.incoming.store(false, Relaxed);
        self.let_go()
    }

    /// Returns what a double word had when the device was found, if that is to be the same still.
    ///
    /// It is not for the command register: bus mastering may have been turned off since.
    pub(crate) fn register(&self, register: u16) -> Option<u32> {
        if register == plan::COMMAND {
            None
        } else {
            self.registers.get(usize::from(register / 4)).copied()
        }
    }

    /// Returns at which addresses the device answered when it was found, as far as that is known.
    pub(crate) fn bars(&self) -> impl Iterator<Item = Region> + '_ {
        regions::bars(&self.probes, |register| self.found(register))
    }

    /// Returns which addresses the device forwarded when it was found, if it is a bridge.
    pub(crate) fn windows(&self) -> impl Iterator<Item = Region> + '_ {
        regions::windows(|register| self.found(register))
    }

    /// Returns what a double word had when the device was found, or zero if that is not known.
    fn found(&self, register: u16) -> u32 {
        self.registers
            .get(usize::from(register / 4))
            .copied()
            .unwrap_or(0)
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

    /// Returns ACS Control as the previous kernel left it: what it is now, the first time.
    pub(crate) fn acs_control(&self, now: u16) -> u16 {
        match self.acs_control.load(Relaxed).try_into() {
            Ok(value) => value,
            Err(_) => {
                self.acs_control.store(now.into(), Relaxed);
                now
            }
        }
    }
}
