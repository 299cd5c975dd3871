// SPDX-License-Identifier: GPL-2.0

//! Decides what can be preserved, and whether what is found in tables is what was preserved.

use super::super::entries::{
    BadRecord,
    DomainRecord,
    Features,
    Format,
    PasidDirectory,
    TableAddress,
    UnitRecord, //
};
use super::bits::{
    LegacyHigh,
    LegacyLow,
    PasidDirectoryEntry,
    PasidFirst,
    PasidSecond,
    PasidThird,
    RootHalf,
    ScalableHigh,
    ScalableLow,
    FIRST_STAGE_ONLY,
    PASID_ENTRY_WORDS,
    SECOND_STAGE_AND_ATS,
    SECOND_STAGE_ONLY,
    SECOND_STAGE_UNTRANSLATED, //
};
use kernel::fmt;

/// Where in its context table a device has its entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// The half of a root entry that names the context table: an index into the root table.
    pub(crate) half: usize,
    /// The first quadword of the entry.
    pub(crate) word: usize,
    /// How many quadwords the entry has.
    pub(crate) words: usize,
}

/// How many quadwords a context entry has.
pub(crate) const fn context_words(scalable: bool) -> usize {
    if scalable {
        4
    } else {
        2
    }
}

impl Place {
    /// Returns the place of the device with this bus, device and function number.
    pub(crate) const fn of(bdf: u16, scalable: bool) -> Self {
        let [bus, devfn] = bdf.to_be_bytes();
        let words = context_words(scalable);

        // CAST: lossless, both are bytes.
        let (bus, devfn) = (bus as usize, devfn as usize);

        if scalable {
            Self {
                half: 2 * bus + devfn / 128,
                word: devfn % 128 * words,
                words,
            }
        } else {
            Self {
                half: 2 * bus,
                word: devfn * words,
                words,
            }
        }
    }

    /// Returns the number of the device that has its entry in a place, as [`of`](Self::of) has it.
    pub(crate) fn bdf(half: usize, word: usize, scalable: bool) -> Option<u16> {
        let bus = u8::try_from(half / 2).ok()?;
        let index = word / context_words(scalable);
        let devfn = if scalable {
            half % 2 * 128 + index
        } else {
            index
        };

        Some(u16::from_be_bytes([bus, devfn.try_into().ok()?]))
    }
}

/// Returns where the context table is that a root entry's half names, if there is one.
pub(crate) fn context_table(half: u64) -> Option<u64> {
    let half = RootHalf::from_raw(half);

    half.present()
        .into_bool()
        .then(|| half.frame().get() << RootHalf::FRAME_SHIFT)
}

/// Returns where the PASID table is that an entry of a directory names, if there is one.
pub(crate) fn pasid_table(entry: u64) -> Option<u64> {
    let entry = PasidDirectoryEntry::from_raw(entry);

    entry
        .present()
        .into_bool()
        .then(|| entry.frame().get() << PasidDirectoryEntry::FRAME_SHIFT)
}

/// Returns where the PASID directory is that a context entry's first quadword names, and its size as log2 of
/// a number of pages, if there is one.
pub(crate) fn directory(low: u64) -> Option<(u64, u32)> {
    let low = ScalableLow::from_raw(low);
    // A page has 512 entries, and PDTS is 0 for 128. The driver has a page at least.
    let order = low.size().get().saturating_sub(2);

    low.present().into_bool().then_some((
        low.frame().get() << ScalableLow::FRAME_SHIFT,
        // CAST: lossless, three bits.
        order as u32,
    ))
}

/// Returns a context entry's first quadword without what needs the page request queue.
pub(crate) fn without_page_requests(low: u64) -> u64 {
    ScalableLow::from_raw(low)
        .with_page_requests(false)
        .into_raw()
}

/// How an entry differs from the records of its device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mismatch {
    /// There is none.
    Absent,
    /// It names another table.
    Pointer,
    /// It has another tag.
    Tag,
    /// It has other stages, or as many levels as the tables do not have.
    Shape,
    /// It lets the device translate by itself, and this kernel would not.
    AtsOn,
    /// It does not let the device translate by itself, and this kernel would.
    AtsOff,
    /// It has bits set that the driver does not set.
    Bits,
    /// The PASID directory has another size, or requests have another PASID.
    Directory,
}

impl Mismatch {
    /// Returns what is wrong with an entry in which ATS is on or off, and should not be.
    pub(crate) const fn of_ats(is_on: bool) -> Self {
        if is_on {
            Self::AtsOn
        } else {
            Self::AtsOff
        }
    }
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Absent => "is absent",
            Self::Pointer => "names another table",
            Self::Tag => "has another domain ID",
            Self::Shape => "has other stages or levels",
            Self::AtsOn => {
                "has ATS on, which this kernel does not use for it: boot without pci=noats"
            }
            Self::AtsOff => "has ATS off, which this kernel uses for it",
            Self::Bits => "has bits set that should not be",
            Self::Directory => "has a PASID directory of another size",
        })
    }
}

/// What an entry that leads to a domain should say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Attachment {
    /// The tables.
    pub(crate) domain: DomainRecord,
    /// The tag.
    pub(crate) did: u16,
    /// The device may translate by itself (ATS).
    pub(crate) ats: bool,
}

impl Attachment {
    /// Returns what AW is for that many levels.
    fn width(&self) -> u64 {
        u64::from(self.domain.level()) - 1
    }

    /// Checks a context entry in legacy mode.
    pub(crate) fn check_legacy(&self, entry: [u64; 2]) -> Result<(), Mismatch> {
        let (low, high) = (
            LegacyLow::from_raw(entry[0]),
            LegacyHigh::from_raw(entry[1]),
        );

        if !low.present().into_bool() {
            return Err(Mismatch::Absent);
        }
        let ats = match low.translation().get() {
            SECOND_STAGE_UNTRANSLATED => false,
            SECOND_STAGE_AND_ATS => true,
            _ => return Err(Mismatch::Shape),
        };

        if self.domain.format() != Format::SecondStage || high.width().get() != self.width() {
            return Err(Mismatch::Shape);
        }
        if ats != self.ats {
            return Err(Mismatch::of_ats(ats));
        }
        if low.frame().get() << LegacyLow::FRAME_SHIFT != self.domain.top().phys() {
            return Err(Mismatch::Pointer);
        }
        if high.did().get() != u64::from(self.did) {
            return Err(Mismatch::Tag);
        }

        let low_rest = entry[0]
            & !(LegacyLow::FRAME_MASK | LegacyLow::TRANSLATION_MASK | LegacyLow::PRESENT_MASK);
        let high_rest = entry[1] & !(LegacyHigh::DID_MASK | LegacyHigh::WIDTH_MASK);
        if low_rest != 0 || high_rest != 0 {
            return Err(Mismatch::Bits);
        }
        Ok(())
    }

    /// Checks an entry of a PASID table.
    pub(crate) fn check_pasid(&self, entry: [u64; PASID_ENTRY_WORDS]) -> Result<(), Mismatch> {
        let first = PasidFirst::from_raw(entry[0]);
        let second = PasidSecond::from_raw(entry[1]);
        let third = PasidThird::from_raw(entry[2]);

        if !first.present().into_bool() {
            return Err(Mismatch::Absent);
        }

        let (stages, frame, levels) = match self.domain.format() {
            Format::SecondStage => (
                SECOND_STAGE_ONLY,
                first.frame().get(),
                first.width().get() == self.width(),
            ),
            // The width of the second stage is set as well, and means nothing.
            Format::FirstStage => (
                FIRST_STAGE_ONLY,
                third.frame().get(),
                third.mode().get() + 3 == u64::from(self.domain.level()),
            ),
        };
        let snoops = second.snoop().into_bool();

        if first.stages().get() != stages || !levels {
            return Err(Mismatch::Shape);
        }
        if frame << PasidFirst::FRAME_SHIFT != self.domain.top().phys() {
            return Err(Mismatch::Pointer);
        }
        if second.did().get() != u64::from(self.did) {
            return Err(Mismatch::Tag);
        }

        let (first_known, third_known) = match self.domain.format() {
            Format::SecondStage => (PasidFirst::FRAME_MASK, 0),
            Format::FirstStage => (0, PasidThird::FRAME_MASK | PasidThird::MODE_MASK),
        };
        let first_rest = entry[0]
            & !(first_known
                | PasidFirst::STAGES_MASK
                | PasidFirst::WIDTH_MASK
                | PasidFirst::PRESENT_MASK);
        let second_rest = entry[1]
            & !(PasidSecond::DID_MASK | PasidSecond::WALK_SNOOP_MASK | PasidSecond::SNOOP_MASK);
        let third_rest = entry[2] & !third_known;

        let may_snoop = self.domain.format() == Format::FirstStage
            && self.domain.features().has(Features::FORCE_COHERENCE);

        if first_rest != 0
            || second_rest != 0
            || third_rest != 0
            || snoops && !may_snoop
            || entry[3..].iter().any(|word| *word != 0)
        {
            return Err(Mismatch::Bits);
        }
        Ok(())
    }
}

/// Checks a context entry in scalable mode, which leads to a PASID directory, of a device with ATS or
/// without.
pub(crate) fn check_scalable(
    directory: &PasidDirectory,
    ats: bool,
    entry: [u64; 4],
) -> Result<(), Mismatch> {
    let (low, high) = (
        ScalableLow::from_raw(entry[0]),
        ScalableHigh::from_raw(entry[1]),
    );

    if !low.present().into_bool() {
        return Err(Mismatch::Absent);
    }
    if low.frame().get() << ScalableLow::FRAME_SHIFT != directory.table.phys() {
        return Err(Mismatch::Pointer);
    }
    // A page of a directory has 512 entries, and PDTS is 0 for 128.
    if low.size().get() != u64::from(directory.order) + 2 || high.pasid().get() != 0 {
        return Err(Mismatch::Directory);
    }

    let low_rest = entry[0]
        & !(ScalableLow::FRAME_MASK
            | ScalableLow::SIZE_MASK
            | ScalableLow::PASIDS_MASK
            | ScalableLow::DEVICE_TLB_MASK
            | ScalableLow::PRESENT_MASK);
    let has_ats = low.device_tlb().into_bool();
    if has_ats != ats {
        return Err(Mismatch::of_ats(has_ats));
    }
    if low_rest != 0 || entry[1..].iter().any(|word| *word != 0) {
        return Err(Mismatch::Bits);
    }
    Ok(())
}

/// What matters of a device when it is to be preserved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Traits {
    /// It is attached to the domain that it is preserved with, and to nothing else.
    pub(crate) attached: bool,
    /// DMA of the device carries the requester ID of another one (`pci_real_dma_dev()`).
    pub(crate) is_subdevice: bool,
    /// Its entry lets it translate by itself, which is off in the device. The next kernel, which looks at
    /// the device, would take the entry for a wrong one.
    pub(crate) has_ats_off: bool,
    /// PRI is enabled for the device, or its I/O page faults have a handler.
    pub(crate) has_faults: bool,
    /// Its unit remaps interrupts: what the device writes to where messages go raises none that the
    /// unit was not told of.
    pub(crate) remaps_interrupts: bool,
    /// Something behind the same unit needs what firmware mapped.
    pub(crate) beside_reserved: bool,
}

/// Why a device cannot be preserved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// It is not attached to the domain, or to more than that.
    NotAttached,
    /// What it is, or is beside, cannot be handed over.
    Unsupported(&'static str),
}

/// Decides whether a device can be preserved.
pub(crate) fn preserve(traits: &Traits) -> Result<(), Refusal> {
    if !traits.attached {
        return Err(Refusal::NotAttached);
    }
    [
        (traits.is_subdevice, "another device does its DMA"),
        (
            traits.has_ats_off,
            "it has ATS, which is off, for it has no Page Aligned Request: boot with pci=noats",
        ),
        (traits.has_faults, "its page faults are handled"),
        (
            !traits.remaps_interrupts,
            "its IOMMU does not remap interrupts, and it could raise any: turn that on",
        ),
        (
            traits.beside_reserved,
            "a device behind the same IOMMU has reserved memory (RMRR)",
        ),
    ]
    .into_iter()
    .find(|(is, _)| *is)
    .map_or(Ok(()), |(_, why)| Err(Refusal::Unsupported(why)))
}

/// The registers and the mode of a unit, to be compared with its record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    /// It translates.
    pub(crate) translates: bool,
    /// Its Root Table Address Register.
    pub(crate) root: u64,
    /// This kernel would use scalable mode.
    pub(crate) scalable: bool,
    /// Its Capability Register.
    pub(crate) cap: u64,
    /// Its Extended Capability Register.
    pub(crate) ecap: u64,
}

/// The bit of the Root Table Address Register that says that the tables are of scalable mode:
/// `DMA_RTADDR_SMT`.
pub(crate) const SCALABLE_ROOT: u64 = 1 << 10;

/// The bits of the Root Table Address Register that are not those of the address.
const ROOT_FLAGS: u64 = 0xfff;

/// Returns where the root table is that a unit has.
pub(crate) fn root_table(found: &Found) -> Result<TableAddress, BadRecord> {
    TableAddress::try_from(found.root & !ROOT_FLAGS)
}

/// Says why a unit cannot be adopted.
pub(crate) fn refuse_unit(unit: &UnitRecord, found: &Found) -> Option<&'static str> {
    let mode = if unit.scalable { SCALABLE_ROOT } else { 0 };

    if !found.translates {
        Some("it does not translate")
    } else if found.root != unit.root.phys() | mode {
        Some("it has another root table")
    } else if found.scalable != unit.scalable {
        Some("this kernel uses another mode")
    } else if (found.cap, found.ecap) != (unit.cap, unit.ecap) {
        Some("it is another unit")
    } else {
        None
    }
}
