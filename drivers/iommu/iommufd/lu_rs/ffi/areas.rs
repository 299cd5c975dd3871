// SPDX-License-Identifier: GPL-2.0

//! What an HWPT maps: the ranges of its IOAS, and where its page table leads to.

use super::{
    extents::{
        extents,
        PAGE, //
    },
    pause,
    Held, //
};
use crate::{
    entries::{
        prot,
        RawRangeSer, //
    },
    plan::Removals, //
};
use core::{
    marker::PhantomData,
    ptr::NonNull, //
};
use kernel::{
    bindings,
    error::to_result,
    ffi::{
        c_int,
        c_uint,
        c_ulong, //
    },
    fs::LocalFile,
    prelude::*,
    sync::atomic::{
        atomic_store,
        Relaxed, //
    }, //
};

type Hwpt = NonNull<bindings::iommufd_hwpt_paging>;
type Semaphore = *mut bindings::rw_semaphore;

/// A semaphore that nobody had to be waited for.
///
/// # Invariants
///
/// `lock` is one that is held, and `release` releases it.
pub(super) struct Locked {
    lock: Semaphore,
    release: unsafe extern "C" fn(Semaphore),
}

impl Locked {
    /// Takes a semaphore, unless somebody has it for writing.
    ///
    /// # Errors
    ///
    /// `EBUSY` if so.
    ///
    /// # Safety
    ///
    /// `lock` is one, which exists as long as the result.
    unsafe fn read(lock: Semaphore) -> Result<Self> {
        // SAFETY: By function requirement.
        if unsafe { bindings::down_read_trylock(lock) } == 0 {
            return Err(EBUSY);
        }
        // INVARIANT: Just taken.
        Ok(Self {
            lock,
            release: bindings::up_read,
        })
    }

    /// Takes a semaphore, unless somebody has it.
    ///
    /// # Errors
    ///
    /// `EBUSY` if so.
    ///
    /// # Safety
    ///
    /// `lock` is one, which exists as long as the result.
    unsafe fn write(lock: Semaphore) -> Result<Self> {
        // SAFETY: By function requirement.
        if unsafe { bindings::down_write_trylock(lock) } == 0 {
            return Err(EBUSY);
        }
        // INVARIANT: Just taken.
        Ok(Self {
            lock,
            release: bindings::up_write,
        })
    }

    /// Takes a semaphore when nobody has it any more: whoever has it may wait for user space, and others for
    /// the caller.
    ///
    /// # Errors
    ///
    /// As [`pause`].
    ///
    /// # Safety
    ///
    /// `lock` is one, which exists as long as the result.
    pub(super) unsafe fn write_or_give_way(lock: Semaphore) -> Result<Self> {
        loop {
            // SAFETY: By function requirement.
            if let Ok(locked) = unsafe { Self::write(lock) } {
                return Ok(locked);
            }
            pause()?;
            // SAFETY: Has no requirements but that one may sleep.
            unsafe { bindings::schedule_timeout_killable(1) };
        }
    }
}

impl Drop for Locked {
    fn drop(&mut self) {
        // SAFETY: By the type invariants.
        unsafe { (self.release)(self.lock) };
    }
}

/// Returns the mappings of the IOAS of an HWPT.
///
/// # Safety
///
/// `hwpt` exists.
unsafe fn mappings(hwpt: Hwpt) -> *mut bindings::io_pagetable {
    // SAFETY: By function requirement. An HWPT has its IOAS for life.
    unsafe { &raw mut (*(*hwpt.as_ptr()).ioas).iopt }
}

/// Returns the range that has an address, or else the next one after it, or null.
///
/// # Safety
///
/// `iopt` exists, and its `iova_rwsem` is held.
unsafe fn area_from(iopt: *mut bindings::io_pagetable, iova: c_ulong) -> *mut bindings::iopt_area {
    // SAFETY: By function requirement.
    let areas = unsafe { &raw mut (*iopt).area_itree };
    // SAFETY: By function requirement.
    let node = unsafe { bindings::interval_tree_iter_first(areas, iova, c_ulong::MAX) };

    if node.is_null() {
        return core::ptr::null_mut();
    }
    // SAFETY: A node of that tree is a part of an `iopt_area`.
    unsafe { kernel::container_of!(node, bindings::iopt_area, node) }
}

/// Keeps the mappings of the IOAS of an HWPT as they are, until [`release`] was called as often as this.
///
/// Does not wait for others: whoever pins pages to map them may wait for user space to deliver them.
///
/// # Errors
///
/// `EBUSY` if a mapping is being changed now.
///
/// # Safety
///
/// `hwpt` exists, and the lock of its iommufd is held.
pub(super) unsafe fn hold(hwpt: Hwpt) -> Result {
    // SAFETY: By function requirement.
    let iopt = unsafe { mappings(hwpt) };

    // Whoever changes mappings holds the first lock, or has not begun.
    //
    // SAFETY: By function requirement.
    let _domains = unsafe { Locked::write(&raw mut (*iopt).domains_rwsem) }?;
    // SAFETY: By function requirement.
    let _areas = unsafe { Locked::write(&raw mut (*iopt).iova_rwsem) }?;

    // SAFETY: By function requirement.
    let holds = unsafe { &raw mut (*iopt).liveupdate_holds };
    // SAFETY: The lock of the iommufd, which protects it, is held.
    let count = unsafe { *holds };

    // Nothing has changed since somebody else held them.
    let mut next = (count == 0).then_some(0);
    while let Some(iova) = next {
        // SAFETY: The semaphore is held.
        let area = unsafe { area_from(iopt, iova) };
        if area.is_null() {
            break;
        }

        // SAFETY: It exists, and does not change, while the semaphore is held.
        if unsafe { (*area).pages }.is_null() {
            return Err(EBUSY);
        }
        // SAFETY: As above.
        next = unsafe { (*area).node.last }.checked_add(1);
    }
    // SAFETY: The lock that protects it is held. Atomically, for C code reads it without.
    unsafe { atomic_store(holds, count + 1, Relaxed) };
    Ok(())
}

/// Gives back one hold on the mappings of the IOAS of an HWPT, which [`hold`] took.
///
/// # Safety
///
/// `hwpt` exists, its mappings are held, and the lock of its iommufd is, too.
pub(super) unsafe fn release(hwpt: Hwpt) {
    // SAFETY: By function requirement.
    let holds = unsafe { &raw mut (*mappings(hwpt)).liveupdate_holds };
    // SAFETY: The lock of the iommufd, which protects it, is held.
    let count = unsafe { *holds };

    // SAFETY: As above. Atomically, for C code reads it without.
    unsafe { atomic_store(holds, count - 1, Relaxed) };
}

/// A range of IOVAs that is mapped.
pub(crate) struct Area<'a> {
    iova: u64,
    nr_pages: u64,
    /// What of its pages is mapped, and what may be done to it, if they are a file's.
    mapped: Mapped,
    pages: Pages<'a>,
    _held: PhantomData<&'a Held>,
}

/// What of a file is mapped at which addresses, in bytes.
#[derive(Clone, Copy)]
pub(crate) struct Mapped {
    pub(crate) iova: u64,
    pub(crate) length: u64,
    /// The first byte of the file.
    pub(crate) offset: u64,
    /// Bits `IOMMUFD_AREA_SER_*`.
    pub(crate) prot: u32,
}

/// Where the pages of a range are from.
#[derive(Clone, Copy)]
pub(crate) enum Pages<'a> {
    Process,
    DmaBuf,
    File {
        file: &'a LocalFile,
        removals: Removals,
        /// The first page, counted from the beginning of the file.
        index: u64,
        /// How many pages the file has, up to its end.
        nr_pages: u64,
    },
}

impl Pages<'_> {
    /// Returns the first page of the file, counted from its beginning.
    pub(crate) fn index(&self) -> u64 {
        match self {
            Self::File { index, .. } => *index,
            Self::Process | Self::DmaBuf => 0,
        }
    }
}

impl<'a> Area<'a> {
    /// Returns the range that has an address, or else the next one after it.
    ///
    /// Does not wait for others: whoever has another HWPT made may wait for user space.
    ///
    /// # Errors
    ///
    /// `EBUSY` if somebody is making an HWPT.
    ///
    /// # Safety
    ///
    /// `hwpt` exists, and its mappings are held, for `'a`.
    pub(super) unsafe fn next(hwpt: Hwpt, iova: u64) -> Result<Option<Self>> {
        // SAFETY: By function requirement.
        let iopt = unsafe { mappings(hwpt) };
        // SAFETY: By function requirement.
        let _lock = unsafe { Locked::read(&raw mut (*iopt).iova_rwsem) }?;
        // CAST: lossless, this is for 64-bit kernels.
        //
        // SAFETY: The semaphore is held.
        let area = unsafe { area_from(iopt, iova as c_ulong) };
        if area.is_null() {
            return Ok(None);
        }

        // SAFETY: It exists, and does not change, while the semaphore is held.
        let start = unsafe { (*area).node.start } as u64;
        // SAFETY: As above.
        let first = unsafe { (*area).pages_node.start } as u64;
        // SAFETY: As above.
        let last = unsafe { (*area).pages_node.last } as u64;
        // SAFETY: As above.
        let end = unsafe { (*area).node.last } as u64;
        // SAFETY: As above.
        let page_offset = u64::from(unsafe { (*area).page_offset });
        // SAFETY: As above.
        let iommu_prot = unsafe { (*area).iommu_prot };
        // SAFETY: As above.
        let pages = unsafe { (*area).pages };
        // SAFETY: What is held has its pages.
        let pages = unsafe { Pages::of(pages, first) };

        Ok(Some(Self {
            iova: start / PAGE * PAGE,
            nr_pages: last - first + 1,
            mapped: Mapped {
                iova: start,
                length: end - start + 1,
                offset: pages.index() * PAGE + page_offset,
                prot: prot_of(iommu_prot),
            },
            pages,
            _held: PhantomData,
        }))
    }

    /// Returns the first address after the last page, unless that is the end of all addresses.
    pub(super) fn end(&self) -> Option<u64> {
        let size = self.nr_pages.checked_mul(PAGE)?;

        self.iova.checked_add(size)
    }

    /// Returns the address of its first page.
    pub(crate) fn iova(&self) -> u64 {
        self.iova
    }

    /// Returns how many pages it has.
    pub(crate) fn nr_pages(&self) -> u64 {
        self.nr_pages
    }

    /// Returns where its pages are from.
    pub(crate) fn pages(&self) -> Pages<'a> {
        self.pages
    }

    /// Returns what of its pages is mapped, and what may be done to it.
    pub(crate) fn mapped(&self) -> Mapped {
        self.mapped
    }
}

/// Returns what the next kernel is told that devices may do.
fn prot_of(iommu_prot: c_int) -> u32 {
    let bits = [
        (bindings::IOMMU_READ, prot::READ),
        (bindings::IOMMU_WRITE, prot::WRITE),
        (bindings::IOMMU_CACHE, prot::CACHE),
    ];

    bits.into_iter()
        // CAST: lossless, they are small numbers.
        .filter(|(bit, _)| iommu_prot as u32 & bit != 0)
        .fold(0, |all, (_, bit)| all | bit)
}

/// Returns the range that was allowed and has an address, or else the next one after it. Nothing if there is
/// none.
///
/// # Errors
///
/// `EBUSY` if somebody is making an HWPT.
///
/// # Safety
///
/// `hwpt` exists, and its mappings are held.
pub(super) unsafe fn allowed_from(hwpt: Hwpt, address: u64) -> Result<Option<RawRangeSer>> {
    // SAFETY: By function requirement.
    let iopt = unsafe { mappings(hwpt) };
    // SAFETY: By function requirement.
    let _lock = unsafe { Locked::read(&raw mut (*iopt).iova_rwsem) }?;
    // SAFETY: By function requirement.
    let allowed = unsafe { &raw mut (*iopt).allowed_itree };
    // CAST: lossless, this is for 64-bit kernels.
    //
    // SAFETY: The semaphore is held.
    let node =
        unsafe { bindings::interval_tree_iter_first(allowed, address as c_ulong, c_ulong::MAX) };

    // SAFETY: Null, or a node of the tree, which stays while the semaphore is held.
    Ok(unsafe { node.as_ref() }.map(|node| RawRangeSer {
        start: node.start as u64,
        last: node.last as u64,
    }))
}

impl Pages<'_> {
    /// Returns where pages are from, of which a range has those from `first` on.
    ///
    /// # Safety
    ///
    /// `pages` exists as long as the result, and so does its file.
    unsafe fn of(pages: *mut bindings::iopt_pages, first: u64) -> Self {
        // SAFETY: By function requirement. Never changes.
        match unsafe { (*pages).type_ } {
            bindings::iopt_address_type_IOPT_ADDRESS_FILE => (),
            bindings::iopt_address_type_IOPT_ADDRESS_DMABUF => return Self::DmaBuf,
            _ => return Self::Process,
        }
        // SAFETY: What pages of a file have.
        let backing = unsafe { (*pages).__bindgen_anon_1.__bindgen_anon_1 };
        // SAFETY: Pages of a file have one.
        let inode = unsafe { bindings::file_inode(backing.file) };
        // SAFETY: It is a file.
        let counts = unsafe { bindings::shmem_file(backing.file) };
        // SAFETY: The inode of a file in shmem.
        let now = counts.then(|| unsafe { bindings::shmem_removals(inode) });
        // SAFETY: It is an inode.
        let size = unsafe { bindings::i_size_read(inode) };

        Self::File {
            // SAFETY: By function requirement; nobody calls `fdget_pos()` on it in here.
            file: unsafe { LocalFile::from_raw_file(backing.file) },
            removals: Removals {
                when_mapped: backing.removals,
                now,
            },
            // CAST: lossless, this is for 64-bit kernels.
            index: backing.start as u64 / PAGE + first,
            // CAST: lossless, sizes are not negative.
            nr_pages: (size as u64).div_ceil(PAGE),
        }
    }
}

/// Checks that a domain maps a range to a piece of memory.
///
/// # Errors
///
/// `ESTALE` if it maps something else there, or nothing; as [`pause`].
///
/// # Safety
///
/// `domain` is a paging domain whose mappings do not change. The range ends within the address space.
pub(crate) unsafe fn compare(
    domain: *mut bindings::iommu_domain,
    iova: u64,
    phys: u64,
    length: u64,
) -> Result {
    let nr_pages = (iova % PAGE + length).div_ceil(PAGE);
    let (iova, phys) = (iova / PAGE * PAGE, phys / PAGE * PAGE);
    let mut table = extents(nr_pages, |page, nr_pages, extents| {
        // SAFETY: By function requirement.
        unsafe { read_table(domain, iova + page * PAGE, nr_pages, extents) }
    });
    let mut page = 0;

    while page < nr_pages {
        match table() {
            Ok(Some(extent)) if extent.nr_pages != 0 && extent.phys == phys + page * PAGE => {
                page += extent.nr_pages;
            }
            Err(err) if err == EINTR || err == ERESTARTNOINTR => return Err(err),
            _ => return Err(ESTALE),
        }
    }
    Ok(())
}

/// Reads where a domain maps pages to, and returns how many extents were filled.
///
/// They describe the pages until the last one, or the first one that is not mapped, or until there is no
/// room left. May sleep.
///
/// # Errors
///
/// An errno if the page table has no such range.
///
/// # Safety
///
/// `domain` is a paging domain whose mappings do not change, and the pages are within the address space.
pub(super) unsafe fn read_table(
    domain: *mut bindings::iommu_domain,
    iova: u64,
    nr_pages: u64,
    extents: &mut [bindings::pt_iommu_extent],
) -> Result<usize> {
    // SAFETY: By function requirement. Never changes.
    if unsafe { (*domain).is_iommupt } {
        // SAFETY: Such a domain is a part of a `pt_iommu`.
        let table = unsafe { kernel::container_of!(domain, bindings::pt_iommu, domain) };
        // SAFETY: All formats have operations, which never change.
        let read = unsafe { (*(*table).ops).read_range }.ok_or(EOPNOTSUPP)?;
        let length = nr_pages.saturating_mul(PAGE);

        // CAST: lossless, it is a small number.
        let most = extents.len() as c_uint;
        // SAFETY: By function requirement. There are as many extents to write to.
        let filled = unsafe { read(table, iova, length, extents.as_mut_ptr(), most) };

        to_result(filled)?;
        // CAST: lossless, it is not negative.
        return Ok(filled as usize);
    }

    let mut filled = 0;
    for page in 0..nr_pages {
        // SAFETY: By function requirement.
        let paddr = unsafe { bindings::iommu_iova_to_phys(domain, iova + page * PAGE) };
        if paddr == 0 {
            break;
        }
        if let Some(last) = extents[..filled].last_mut() {
            if last.paddr + last.len == paddr {
                last.len += PAGE;
                continue;
            }
        }
        let Some(next) = extents.get_mut(filled) else {
            break;
        };
        next.paddr = paddr;
        next.len = PAGE;
        filled += 1;
    }
    Ok(filled)
}
