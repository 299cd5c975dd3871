// SPDX-License-Identifier: GPL-2.0

//! Decides which HWPTs can be marked, and what they may map.
//!
//! A *page* is one of the CPU, wherever it is counted. Addresses are in bytes.

use kernel::page::PAGE_SIZE;

/// The size of a page.
// CAST: lossless, it is a small number.
const PAGE: u64 = PAGE_SIZE as u64;

/// What there is to know of an HWPT that user space wants to mark or unmark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Candidate {
    /// The iommufd is preserved.
    pub(crate) preserved: bool,
    /// Faults are delivered to user space, which does not run during a kexec.
    pub(crate) faults: bool,
    /// Another HWPT of the iommufd has the token.
    pub(crate) token_in_use: bool,
}

/// Why an HWPT cannot be marked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The iommufd is preserved with the HWPTs that it has.
    Preserved,
    /// The HWPT delivers faults.
    Faults,
    /// The token is that of another one.
    TokenInUse,
}

/// Decides whether an HWPT can be marked.
pub(crate) fn mark(candidate: Candidate) -> Result<(), Refusal> {
    if candidate.preserved {
        Err(Refusal::Preserved)
    } else if candidate.faults {
        Err(Refusal::Faults)
    } else if candidate.token_in_use {
        Err(Refusal::TokenInUse)
    } else {
        Ok(())
    }
}

/// Where the pages of a range of IOVAs are from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// Memory of a process: its own, of a file that it mapped, or of a device.
    Process,
    /// A dma-buf.
    DmaBuf,
    /// A file.
    File {
        /// It is preserved in the session that the iommufd is to be preserved in.
        preserved: bool,
    },
}

/// A rule that a mapping breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rule {
    /// It is of memory of a process.
    Process,
    /// It is of a dma-buf.
    DmaBuf,
    /// It is of a file that the session does not preserve.
    Session,
    /// The page that is mapped is not the file's.
    Stale,
}

impl Rule {
    /// What is wrong, and what to do about it.
    pub(crate) const fn explain(self) -> &'static core::ffi::CStr {
        match self {
            Self::Process => c"memory of a process, map a memfd with IOMMU_IOAS_MAP_FILE",
            Self::DmaBuf => c"a dma-buf, unmap it",
            Self::Session => c"a memfd that is not preserved in this session, preserve it first",
            Self::Stale => c"a page that the memfd lost to a hole or truncation, or that is behind its end: map it again",
        }
    }
}

/// Decides whether a range may be mapped, as far as that is known without looking at its pages.
pub(crate) fn may_map(source: Source) -> Result<(), Rule> {
    match source {
        Source::Process => Err(Rule::Process),
        Source::DmaBuf => Err(Rule::DmaBuf),
        Source::File { preserved: false } => Err(Rule::Session),
        Source::File { preserved: true } => Ok(()),
    }
}

/// How often pages were removed from a file: `shmem_removals()`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Removals {
    /// Before the first page of a mapping was pinned.
    pub(crate) when_mapped: u64,
    /// Now that the file is preserved, and loses no more pages. Nothing if that is not counted for
    /// the file.
    pub(crate) now: Option<u64>,
}

impl Removals {
    /// Returns whether no page left the file since it was mapped. Then the pages that are mapped are
    /// the file's, and none of them has to be looked at.
    pub(crate) fn is_unchanged(self) -> bool {
        self.now == Some(self.when_mapped)
    }
}

/// A range of IOVAs that pages of a file are mapped at, whole pages of the address space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Range {
    /// The address of its first page.
    pub(crate) iova: u64,
    /// How many pages it has. The last one ends within the address space.
    pub(crate) nr_pages: u64,
    /// The first page of the file.
    pub(crate) index: u64,
}

/// Pages that are next to each other in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Extent {
    /// Where the first one is.
    pub(crate) phys: u64,
    /// How many there are.
    pub(crate) nr_pages: u64,
}

impl Extent {
    /// No page.
    const NONE: Self = Self {
        phys: 0,
        nr_pages: 0,
    };

    /// Takes pages away from the beginning, of which there are as many.
    fn skip(&mut self, nr_pages: u64) {
        self.phys = self.phys.saturating_add(nr_pages.saturating_mul(PAGE));
        self.nr_pages -= nr_pages;
    }
}

impl Range {
    /// Returns the last address of the range.
    pub(crate) fn last_iova(&self) -> u64 {
        // Without the sum of all, which may be one more than the largest number.
        self.iova + (self.nr_pages.saturating_sub(1) * PAGE) + (PAGE - 1)
    }

    /// Returns the address of the first page that a file of so many pages does not have.
    pub(crate) fn first_behind(&self, nr_file_pages: u64) -> Option<u64> {
        let inside = nr_file_pages.saturating_sub(self.index);

        (inside < self.nr_pages).then(|| self.page(inside))
    }

    /// Returns the address of a page of the range.
    fn page(&self, page: u64) -> u64 {
        self.iova + page * PAGE
    }
}

/// Why it is not proved that a range is what it is said to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unproved<E> {
    /// The page table maps another page at this address.
    Stale(u64),
    /// It could not be looked at.
    Failed(E),
}

/// Proves that a page table maps exactly the pages that a file has.
///
/// `table` returns where the page table maps the range to, from the beginning of the range on, a
/// piece per call; nothing if the next page is not mapped. `file` does so for the pages of the file.
pub(crate) fn prove<E>(
    range: Range,
    mut table: impl FnMut() -> Result<Option<Extent>, E>,
    mut file: impl FnMut() -> Result<Option<Extent>, E>,
) -> Result<(), Unproved<E>> {
    let (mut mapped, mut owned) = (Extent::NONE, Extent::NONE);
    let mut page = 0;

    while page < range.nr_pages {
        if mapped.nr_pages == 0 {
            mapped = table().map_err(Unproved::Failed)?.unwrap_or(Extent::NONE);
        }
        if owned.nr_pages == 0 {
            owned = file().map_err(Unproved::Failed)?.unwrap_or(Extent::NONE);
        }

        let both = mapped.nr_pages.min(owned.nr_pages);
        if both == 0 || mapped.phys != owned.phys {
            return Err(Unproved::Stale(range.page(page)));
        }
        mapped.skip(both);
        owned.skip(both);
        page = page.saturating_add(both);
    }
    Ok(())
}

/// What a device is attached to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Attachment {
    /// Nothing of an iommufd.
    None,
    /// A nested HWPT.
    Nested,
    /// An HWPT that the kernel chose for an IOAS, and that is not marked.
    Automatic,
    /// An HWPT that user space made, and that is not marked.
    Explicit,
    /// A marked HWPT.
    Marked,
}

/// What there is to know of a device that is to be preserved in a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Passenger {
    /// What it is attached to; nothing if that is not known, for somebody attaches a device of its group at
    /// this moment.
    pub(crate) attachment: Option<Attachment>,
    /// The token that its iommufd is preserved by in the session, if it is.
    pub(crate) token: Option<u64>,
    /// Processes of the device have page tables of their own.
    pub(crate) has_pasids: bool,
}

/// What becomes of a device that is to be preserved, and of what it is attached to: what C code is told
/// as `enum iommufd_liveupdate_passage`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Passage {
    /// Its attachment ends, and it is stopped.
    Ends,
    /// Its attachment stays, and it is stopped: nobody hands over its page table.
    Stays,
    /// Its attachment stays, and it goes on doing DMA.
    GoesOn,
}

/// Why a device cannot be preserved as it is: the other values of that enumeration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoPassage<E> {
    /// User space made its HWPT, and did not mark it.
    Unmarked,
    /// Its iommufd is not preserved, or in another session.
    Order,
    /// Processes of the device have page tables of their own.
    Pasids,
    /// Somebody has the lock of its iommufd, or attaches a device of its group, at this moment.
    Busy,
    /// What its IOMMU has for it cannot be preserved.
    Iommu(E),
}

/// Decides what becomes of a device that is to be preserved.
///
/// `preserve` is called for one that may go on, with the token of its iommufd. It preserves what the IOMMU
/// has for the device, or returns `false` if nobody hands that over.
pub(crate) fn passage<E>(
    passenger: Passenger,
    preserve: impl FnOnce(u64) -> Result<bool, E>,
) -> Result<Passage, NoPassage<E>> {
    let attachment = passenger.attachment.ok_or(NoPassage::Busy)?;

    if passenger.has_pasids {
        return Err(NoPassage::Pasids);
    }

    match (attachment, passenger.token) {
        (Attachment::None | Attachment::Automatic, _) => Ok(Passage::Ends),
        (Attachment::Nested | Attachment::Explicit, _) => Err(NoPassage::Unmarked),
        (Attachment::Marked, None) => Err(NoPassage::Order),
        (Attachment::Marked, Some(token)) => match preserve(token) {
            Ok(true) => Ok(Passage::GoesOn),
            Ok(false) => Ok(Passage::Stays),
            Err(err) => Err(NoPassage::Iommu(err)),
        },
    }
}
