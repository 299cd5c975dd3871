// SPDX-License-Identifier: GPL-2.0

//! Marked HWPTs whose mappings and attachments are kept as they are.

use super::{
    areas::{
        self,
        Area, //
    },
    context::{
        Context,
        Locked, //
    },
    extents::{
        extents,
        PAGE, //
    },
    handles::{
        Domain,
        DomainHandle, //
    },
    iommu, //
};
use crate::{
    entries::{
        kind,
        RawRangeSer, //
    },
    plan::{
        Extent,
        Range, //
    },
};
use core::{
    marker::PhantomData,
    mem,
    ops::Deref,
    ptr::NonNull, //
};
use kernel::{
    bindings,
    fs::{
        File,
        LocalFile, //
    },
    prelude::*,
    sync::{
        aref::ARef,
        atomic::{
            atomic_load,
            Relaxed, //
        }, //
    },
};

/// A marked HWPT.
///
/// # Invariants
///
/// `hwpt` is a paging HWPT, to which we have a reference, and the lock of its iommufd is held for
/// `'a`.
pub(crate) struct Marked<'a> {
    hwpt: NonNull<bindings::iommufd_hwpt_paging>,
    _locked: PhantomData<&'a ()>,
}

impl Marked<'_> {
    /// Returns whether it is tracked which of its pages are written to.
    pub(crate) fn tracks_dirty(&self) -> bool {
        // SAFETY: By the type invariants.
        let tracked = unsafe { &raw mut (*self.hwpt.as_ptr()).dirty_tracking };

        // SAFETY: Valid, and accessed atomically, for it is cleared without the lock.
        unsafe { atomic_load(tracked, Relaxed) }
    }

    /// Keeps what it maps, and what is attached to it, as it is.
    ///
    /// # Errors
    ///
    /// `EBUSY` if mappings are changed now.
    fn hold(self) -> Result<Held> {
        // SAFETY: By the type invariants, the HWPT exists, and the lock of the iommufd is held.
        unsafe { areas::hold(self.hwpt) }?;

        // SAFETY: By the type invariants, the lock that protects it is held.
        unsafe { (*self.hwpt.as_ptr()).liveupdate_preserved = true };

        // The reference goes with it.
        let hwpt = core::mem::ManuallyDrop::new(self).hwpt;

        // INVARIANT: Just held.
        Ok(Held { hwpt, domain: None })
    }
}

impl Drop for Marked<'_> {
    fn drop(&mut self) {
        // SAFETY: By the type invariants, the reference is ours.
        unsafe { bindings::refcount_dec(&raw mut (*self.hwpt.as_ptr()).common.obj.users) };
    }
}

/// An HWPT that stays as it is. Only a [`Holding`] or a [`Kept`] has it, which lets it go.
///
/// # Invariants
///
/// `hwpt` is a paging HWPT, to which we have a reference, and whose IOAS we hold. Its page table is
/// preserved if `domain` is something.
pub(crate) struct Held {
    hwpt: NonNull<bindings::iommufd_hwpt_paging>,
    domain: Option<DomainHandle>,
}

// SAFETY: It is a reference to an object that is protected by locks.
unsafe impl Send for Held {}

// SAFETY: What a shared reference gives access to does not change while it is held.
unsafe impl Sync for Held {}

impl Held {
    /// Returns what user space of this kernel calls it.
    pub(crate) fn id(&self) -> u32 {
        // SAFETY: By the type invariants. Never changes.
        unsafe { (*self.hwpt.as_ptr()).common.obj.id }
    }

    /// Returns the ID of its IOAS.
    pub(crate) fn ioas_id(&self) -> u32 {
        // SAFETY: By the type invariants. An HWPT has its IOAS for life, and that its ID.
        unsafe { (*(*self.hwpt.as_ptr()).ioas).obj.id }
    }

    /// Returns whether large pages are off in its IOAS.
    pub(crate) fn has_small_pages(&self) -> bool {
        // SAFETY: By the type invariants.
        unsafe { (*(*self.hwpt.as_ptr()).ioas).iopt.disable_large_pages != 0 }
    }

    /// Returns how it was made: bits `IOMMUFD_HWPT_SER_*`.
    pub(crate) fn flags(&self) -> u32 {
        let hwpt = self.hwpt.as_ptr();
        // SAFETY: By the type invariants. Does not change, and so for all of these.
        let auto = unsafe { bindings::iommufd_hwpt_paging::auto_domain_raw(hwpt) };
        // SAFETY: As above.
        let parent = unsafe { bindings::iommufd_hwpt_paging::nest_parent_raw(hwpt) };
        // SAFETY: As above.
        let enforced = unsafe { bindings::iommufd_hwpt_paging::enforce_cache_coherency_raw(hwpt) };
        // SAFETY: As above.
        let common = unsafe { &raw const (*hwpt).common };
        // SAFETY: As above.
        let pasid = unsafe { bindings::iommufd_hw_pagetable::pasid_compat_raw(common) };

        [
            (auto, kind::AUTO),
            (parent, kind::NEST_PARENT),
            (pasid, kind::PASID),
            (enforced, kind::ENFORCE_CC),
        ]
        .into_iter()
        .filter(|(has, _)| *has)
        .fold(0, |all, (_, bit)| all | bit)
    }

    /// Returns the ranges that are allowed in its IOAS, in their order.
    ///
    /// # Errors
    ///
    /// Each range: `EBUSY` if user space makes another HWPT for the same mappings at this moment.
    pub(crate) fn allowed(&self) -> impl Iterator<Item = Result<RawRangeSer>> + '_ {
        let mut next = Some(0);

        core::iter::from_fn(move || {
            // SAFETY: By the type invariants, the HWPT exists, and its mappings are held.
            let found = unsafe { areas::allowed_from(self.hwpt, next?) };

            next = found
                .as_ref()
                .ok()
                .and_then(|range| range.as_ref()?.last.checked_add(1));
            found.transpose()
        })
    }

    /// Returns what user space of the next kernel calls it.
    pub(crate) fn token(&self) -> u64 {
        // SAFETY: By the type invariants. Does not change while the iommufd is preserved.
        unsafe { (*self.hwpt.as_ptr()).liveupdate_token }
    }

    /// Returns the domain of the HWPT.
    fn paging_domain(&self) -> Domain<'_> {
        // SAFETY: By the type invariants. An HWPT has its domain for life.
        let domain = unsafe { (*self.hwpt.as_ptr()).common.domain };

        // SAFETY: It exists as long as its HWPT, whose mappings are held.
        unsafe { Domain::from_raw(domain) }
    }

    /// Returns what the next kernel knows its page table by, if that is preserved.
    pub(crate) fn domain(&self) -> Option<DomainHandle> {
        self.domain
    }

    /// Returns the ranges that are mapped, in their order.
    ///
    /// # Errors
    ///
    /// Each range: `EBUSY` if user space makes another HWPT for the same mappings at this moment.
    pub(crate) fn areas(&self) -> impl Iterator<Item = Result<Area<'_>>> + '_ {
        let mut next = Some(0);

        core::iter::from_fn(move || {
            // SAFETY: By the type invariants, the HWPT exists, and its mappings are held.
            let found = unsafe { Area::next(self.hwpt, next?) };

            next = found.as_ref().ok().and_then(|area| area.as_ref()?.end());
            found.transpose()
        })
    }

    /// Returns where the page table maps the pages of a range to, from its first page on.
    ///
    /// # Errors
    ///
    /// Each piece: as [`pause`], another errno if the page table cannot have the range.
    pub(crate) fn table(&self, range: Range) -> impl FnMut() -> Result<Option<Extent>> + '_ {
        let domain = self.paging_domain().as_ptr();

        extents(range.nr_pages, move |page, nr_pages, extents| {
            // SAFETY: By the type invariants, the mappings are held. The range ends within the address
            // space.
            unsafe { areas::read_table(domain, range.iova + page * PAGE, nr_pages, extents) }
        })
    }

    /// Lets mappings and attachments change again.
    ///
    /// # Safety
    ///
    /// The lock of the iommufd is held, and the HWPT is not used by way of this any more.
    unsafe fn release(&mut self) {
        if self.domain.take().is_some() {
            // SAFETY: By the type invariants, its page table was preserved.
            unsafe { iommu::unpreserve_domain(self.paging_domain()) };
        }

        // SAFETY: By the type invariants, and the lock that protects it is held.
        unsafe { (*self.hwpt.as_ptr()).liveupdate_preserved = false };

        // SAFETY: By the type invariants, we hold it, and the lock of the iommufd is held.
        unsafe { areas::release(self.hwpt) };

        // SAFETY: By the type invariants, the reference is ours.
        unsafe { bindings::refcount_dec(&raw mut (*self.hwpt.as_ptr()).common.obj.users) };
    }
}

/// Lets go of HWPTs.
///
/// # Safety
///
/// The lock of the iommufd that they are of is held.
unsafe fn release_all(hwpts: &mut KVec<Held>) {
    for mut hwpt in mem::take(hwpts) {
        // SAFETY: By function requirement. It is not used any more.
        unsafe { hwpt.release() };
    }
}

/// The marked HWPTs of an iommufd that is locked, which stay as they are meanwhile.
///
/// # Invariants
///
/// `hwpts` are of the iommufd that is locked.
pub(crate) struct Holding<'a> {
    hwpts: KVec<Held>,
    locked: Locked<'a>,
}

impl<'a> Locked<'a> {
    /// Keeps what all marked HWPTs map, and what is attached to them, as it is, in the order of their
    /// tokens.
    ///
    /// `may_hold` is asked before each of them is held.
    ///
    /// # Errors
    ///
    /// `EBUSY` if mappings are changed now, `ENOMEM` if memory is short, and as `may_hold`. Then none is
    /// held.
    pub(crate) fn hold_marked(
        self,
        mut may_hold: impl FnMut(&Marked<'_>) -> Result,
    ) -> Result<Holding<'a>> {
        let context = self.context();
        let mut holding = Holding {
            hwpts: KVec::new(),
            locked: self,
        };
        let mut next = Some(0);

        while let Some((hwpt, token)) = next.and_then(|token| context.marked_from(token)) {
            // INVARIANT: We were given a reference, and the lock is held until the end.
            let marked = Marked {
                hwpt,
                _locked: PhantomData,
            };

            may_hold(&marked)?;
            // Nothing can fail once it is held.
            holding.hwpts.reserve(1, GFP_KERNEL_ACCOUNT)?;
            // INVARIANT: Marked ones are of this iommufd.
            holding.hwpts.push(marked.hold()?, GFP_KERNEL_ACCOUNT)?;
            next = token.checked_add(1);
        }
        Ok(holding)
    }
}

impl Holding<'_> {
    /// Preserves the page table of one of the HWPTs, if its IOMMU has a driver that does so.
    ///
    /// # Errors
    ///
    /// `EINVAL` if there are not so many, or that was done before; as `iommu_preserve_domain()`. Then
    /// nothing changes.
    pub(crate) fn preserve_tables(&mut self, index: usize) -> Result {
        let hwpt = self.hwpts.get_mut(index).ok_or(EINVAL)?;
        if hwpt.domain.is_some() {
            return Err(EINVAL);
        }

        match iommu::preserve_domain(hwpt.paging_domain()) {
            // INVARIANT: Just preserved.
            Ok(handle) => hwpt.domain = handle,
            Err(err) if err == ENODEV => (),
            Err(err) => return Err(err),
        }
        Ok(())
    }

    /// Notes that the iommufd is preserved, and keeps the HWPTs as they are without its lock.
    pub(crate) fn keep(mut self) -> Kept {
        self.locked.set_preserved(true);

        let file: ARef<LocalFile> = self.locked.context().file().into();
        // INVARIANT: They are of the iommufd that was locked, which this is the file of.
        Kept {
            hwpts: mem::take(&mut self.hwpts),
            // SAFETY: LUO asks to preserve a file in an ioctl that does not call `fdget_pos()` on it.
            file: unsafe { LocalFile::assume_no_fdget_pos(file) },
        }
    }
}

impl Deref for Holding<'_> {
    type Target = [Held];

    fn deref(&self) -> &[Held] {
        &self.hwpts
    }
}

impl Drop for Holding<'_> {
    fn drop(&mut self) {
        // SAFETY: By the type invariants, the lock is held until this is over.
        unsafe { release_all(&mut self.hwpts) };
    }
}

/// The HWPTs of an iommufd that is preserved, which stay as they are.
///
/// Dropping it takes the lock of the iommufd, and notes that it is preserved no more.
///
/// # Invariants
///
/// `hwpts` are of the iommufd that `file` is.
pub(crate) struct Kept {
    hwpts: KVec<Held>,
    file: ARef<File>,
}

impl Drop for Kept {
    fn drop(&mut self) {
        let Some(context) = Context::of(&self.file) else {
            return;
        };
        let locked = context.lock();

        locked.set_preserved(false);
        // SAFETY: By the type invariants, and the lock was just taken.
        unsafe { release_all(&mut self.hwpts) };
    }
}
