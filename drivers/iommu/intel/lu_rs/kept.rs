// SPDX-License-Identifier: GPL-2.0

//! What is kept with a remapping unit, for good.
//!
//! It has atomics: a unit is shut down on the last processor, which takes no lock that sleeps.

use super::{
    super::entries::PasidDirectory,
    bits::WORDS,
    ffi::{
        HeldDids,
        OwnedDirectory, //
    },
    plan::Attachment, //
};
use kernel::{
    new_mutex,
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            AtomicFlag,
            Relaxed, //
        },
        Mutex, //
    },
};

/// How many words a bit for each context table takes.
const TABLE_BITS: usize = WORDS / 64;

/// How many words a bit for each device takes.
const DEVICE_BITS: usize = (1 << 16) / 64;

/// A set of devices behind a unit, by their bus, device and function numbers.
pub(super) struct Bdfs([Atomic<u64>; DEVICE_BITS]);

impl Bdfs {
    const fn new() -> Self {
        Self([const { Atomic::new(0) }; DEVICE_BITS])
    }

    /// Returns whether a device is in the set.
    pub(super) fn contains(&self, bdf: u16) -> bool {
        let bdf = usize::from(bdf);

        self.0[bdf / 64].load(Relaxed) & (1 << (bdf % 64)) != 0
    }

    /// Adds a device to the set. Only one processor does this at a time.
    pub(super) fn insert(&self, bdf: u16) {
        let bdf = usize::from(bdf);
        let bits = &self.0[bdf / 64];

        bits.store(bits.load(Relaxed) | 1 << (bdf % 64), Relaxed);
    }
}

/// Who has the domain ID of a device that was adopted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DidOwner {
    /// The unit keeps it for the device.
    Unit,
    /// A domain that was restored for the device has it, and gives it back when it is freed.
    Domain,
    /// It was given back, since nothing uses it any more.
    Nobody,
}

/// A device whose entries were adopted.
pub(super) struct Adopted {
    pub(super) bdf: u16,
    pub(super) attachment: Attachment,
    pub(super) pasids: Option<PasidDirectory>,
    /// Other numbers under which it has entries.
    pub(super) aliases: KVec<u16>,
    /// The PASID directory, until the driver gets it.
    pub(super) directory: Option<OwnedDirectory>,
    /// Its entries are gone, or about to be.
    pub(super) ended: bool,
    /// It was attached to a domain, or to none, since.
    pub(super) taken: bool,
    /// Who has `attachment.did`.
    pub(super) did_owner: DidOwner,
}

impl Adopted {
    /// Returns whether the device has entries under another number.
    pub(super) fn uses_alias(&self, alias: u16) -> bool {
        !self.ended && self.aliases.contains(&alias)
    }
}

/// What is kept with a unit that was adopted, or that is to be.
#[pin_data]
pub(crate) struct Kept {
    /// It was adopted.
    pub(super) adopted: AtomicFlag,
    /// It translates nothing any more, and goes on so for ever: a device behind it may do DMA, and this
    /// kernel cannot stop that.
    pub(super) blocked: AtomicFlag,
    /// The devices that were adopted with it, in the order of their numbers.
    #[pin]
    pub(super) devices: Mutex<KVec<Adopted>>,
    /// Source IDs of the adopted devices and of their aliases.
    pub(super) entries: Bdfs,
    /// The unit is preserved, and no device behind it has reserved memory.
    pub(super) preserved: AtomicFlag,
    /// The domain IDs of devices that are preserved.
    #[pin]
    pub(super) dids: HeldDids,
    /// The unit goes on translating when it is shut down.
    pub(super) leaves: AtomicFlag,
    /// The context tables that stay then.
    pub(super) tables: [Atomic<u64>; TABLE_BITS],
    /// The devices that keep their entries then.
    pub(super) bdfs: Bdfs,
}

impl Kept {
    /// What is kept with a unit of which nothing is adopted or preserved.
    pub(super) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            adopted: AtomicFlag::new(false),
            blocked: AtomicFlag::new(false),
            devices <- new_mutex!(KVec::new()),
            entries: Bdfs::new(),
            preserved: AtomicFlag::new(false),
            dids <- HeldDids::new(),
            leaves: AtomicFlag::new(false),
            tables: [const { Atomic::new(0) }; TABLE_BITS],
            bdfs: Bdfs::new(),
        })
    }

    /// Returns whether the context table that a half of a root entry names stays.
    pub(super) fn keeps_table(&self, half: usize) -> bool {
        self.tables[half / 64].load(Relaxed) & (1 << (half % 64)) != 0
    }
}
