// SPDX-License-Identifier: GPL-2.0

//! Objects that an iommufd had in the previous kernel, made again under their IDs.

use super::{
    context::Context,
    extents::PAGE,
    handles::DomainHandle,
    iommu,
    retrieved::Retrieved, //
};
use crate::entries::{
    kind,
    prot,
    ObjectId,
    RawAreaSer,
    RawHwptSer,
    RawRangeSer, //
};
use core::{
    marker::PhantomData,
    mem,
    ptr::{
        self,
        NonNull, //
    },
};
use kernel::{
    bindings,
    error::{
        from_err_ptr,
        to_result, //
    },
    ffi::{
        c_int,
        c_ulong, //
    },
    fs::LocalFile,
    liveupdate::pci::Address,
    prelude::*,
    sync::aref::ARef, //
};

/// An iommufd that was just opened, and that nobody else has.
///
/// What is made of records is user space's when it is [published](Self::publish). Dropping it closes the
/// iommufd, with all that was made.
///
/// # Invariants
///
/// `file` is an iommufd that nobody else has. `hwpts` are of it.
pub(crate) struct NewIommufd {
    // Dropped before the file, with whose iommufd they go.
    hwpts: KVec<NewHwpt>,
    retrieved: KBox<Retrieved>,
    file: ARef<LocalFile>,
}

/// An HWPT that was made of a record, and has no page table yet.
///
/// # Invariants
///
/// `hwpt` is a paging HWPT of an iommufd that nobody else has, which is not finalized. It has an IOAS of the
/// same iommufd, with a reference, and nothing is stored at its token, which is reserved.
struct NewHwpt {
    hwpt: NonNull<bindings::iommufd_hwpt_paging>,
    ictx: NonNull<bindings::iommufd_ctx>,
    token: u64,
    domain: Option<DomainHandle>,
}

/// An IOAS that was made of a record, and is not complete. Dropping it takes it away again.
///
/// # Invariants
///
/// `ioas` is an IOAS of the iommufd `ictx` that nobody else has, for `'a`, and is not finalized.
pub(crate) struct NewIoas<'a> {
    ioas: NonNull<bindings::iommufd_ioas>,
    ictx: NonNull<bindings::iommufd_ctx>,
    _iommufd: PhantomData<&'a mut NewIommufd>,
}

/// Reserves a number in an array.
///
/// # Errors
///
/// `EBUSY` if there is something already, `ENOMEM` if memory is short.
///
/// # Safety
///
/// `xa` is an array that allocates, or is to be accounted, as it says.
unsafe fn reserve(xa: *mut bindings::xarray, number: u64) -> Result {
    // SAFETY: By function requirement.
    unsafe { bindings::xa_lock(xa) };
    // CAST: lossless, this is for 64-bit kernels.
    //
    // SAFETY: The lock was just taken, and is taken again if memory had to be waited for.
    let result = unsafe {
        bindings::__xa_insert(xa, number as c_ulong, ptr::null_mut(), bindings::GFP_KERNEL)
    };
    // SAFETY: By function requirement, we have the lock.
    unsafe { bindings::xa_unlock(xa) };
    to_result(result)
}

/// Gives a new object another ID, which nothing else has.
///
/// # Errors
///
/// `EBUSY` if something has the ID, `ENOMEM` if memory is short. Then the object has the ID that it had.
///
/// # Safety
///
/// `obj` is an object of the iommufd, and is not finalized.
unsafe fn renumber(
    ictx: NonNull<bindings::iommufd_ctx>,
    obj: *mut bindings::iommufd_object,
    id: ObjectId,
) -> Result {
    // SAFETY: By function requirement.
    let objects = unsafe { &raw mut (*ictx.as_ptr()).objects };
    // SAFETY: By function requirement.
    let old = unsafe { (*obj).id };

    if old != id.get() {
        // SAFETY: It is an array that allocates.
        unsafe { reserve(objects, id.get().into()) }?;
        // SAFETY: By function requirement, nobody else knows the object.
        unsafe { (*obj).id = id.get() };
        // CAST: lossless.
        //
        // SAFETY: What the object had is reserved only, as it is not finalized.
        unsafe { bindings::xa_erase(objects, old as c_ulong) };
    }
    Ok(())
}

impl NewIommufd {
    /// Opens an iommufd, as `/dev/iommu` does.
    ///
    /// # Errors
    ///
    /// `ENOMEM` or `ENFILE` if there cannot be another file.
    pub(crate) fn open() -> Result<Self> {
        let retrieved = KBox::new(Retrieved::new(), GFP_KERNEL_ACCOUNT)?;
        // SAFETY: Has no requirements.
        let file = from_err_ptr(unsafe { bindings::iommufd_liveupdate_open() })?;
        let file = NonNull::new(file).ok_or(ENOMEM)?;

        // INVARIANT: It is new.
        Ok(Self {
            // SAFETY: A new file has one reference, which is ours.
            file: unsafe { ARef::from_raw(file.cast()) },
            hwpts: KVec::new(),
            retrieved,
        })
    }

    /// Has pinned pages be accounted to processes, not to users.
    pub(crate) fn account_to_processes(&mut self) {
        if let Ok(ictx) = self.ictx() {
            // CAST: lossless, it is a small number.
            let mode = bindings::IOPT_PAGES_ACCOUNT_MM as u8;
            // SAFETY: By the type invariants, nobody else has it.
            unsafe { (*ictx.as_ptr()).account_mode = mode };
        }
    }

    fn ictx(&self) -> Result<NonNull<bindings::iommufd_ctx>> {
        let context = Context::of(&self.file).ok_or(EINVAL)?;

        NonNull::new(context.as_ptr()).ok_or(EINVAL)
    }

    /// Makes an IOAS, without areas.
    ///
    /// `small_pages` says that large pages are off, `has_hwpts` that areas are to be whole pages.
    ///
    /// # Errors
    ///
    /// `EBUSY` if something has the ID, `ENOMEM` if memory is short.
    pub(crate) fn add_ioas(
        &mut self,
        id: ObjectId,
        small_pages: bool,
        has_hwpts: bool,
    ) -> Result<NewIoas<'_>> {
        let ictx = self.ictx()?;
        // SAFETY: It is an iommufd.
        let ioas = from_err_ptr(unsafe { bindings::iommufd_ioas_alloc(ictx.as_ptr()) })?;
        // INVARIANT: New, and by the type invariants nobody else has the iommufd.
        let ioas = NewIoas {
            ioas: NonNull::new(ioas).ok_or(ENOMEM)?,
            ictx,
            _iommufd: PhantomData,
        };

        // SAFETY: By the type invariants of `NewIoas`.
        unsafe { renumber(ictx, ioas.object(), id) }?;
        if small_pages {
            // SAFETY: As above.
            to_result(unsafe { bindings::iopt_disable_large_pages(ioas.mappings()) })?;
        }
        if has_hwpts {
            // As page tables have it that are not among its domains yet. CAST: lossless.
            let alignment = PAGE as c_ulong;
            // SAFETY: By the type invariants of `NewIoas`, nobody else has it.
            unsafe { (*ioas.mappings()).iova_alignment = alignment };
        }
        Ok(ioas)
    }

    /// Returns the IOAS with an ID, if there is one.
    fn ioas(&self, id: u32) -> Result<Option<NonNull<bindings::iommufd_ioas>>> {
        let objects = self.ictx()?.as_ptr();
        // CAST: lossless.
        //
        // SAFETY: It is an iommufd.
        let obj = unsafe { bindings::xa_load(&raw mut (*objects).objects, id as c_ulong) };
        let Some(obj) = NonNull::new(obj.cast::<bindings::iommufd_object>()) else {
            return Ok(None);
        };

        // SAFETY: By the type invariants, nobody takes it away.
        if unsafe { (*obj.as_ptr()).type_ } != bindings::iommufd_object_type_IOMMUFD_OBJ_IOAS {
            return Ok(None);
        }
        // SAFETY: Of this type is what is a part of an `iommufd_ioas`.
        Ok(NonNull::new(unsafe {
            kernel::container_of!(obj.as_ptr(), bindings::iommufd_ioas, obj)
        }))
    }

    /// Makes an HWPT, whose page table it gets when the iommufd is published.
    ///
    /// # Errors
    ///
    /// `ENOENT` if the IOAS is not there, `EBUSY` if something has the ID or the token, `ENOMEM` if memory is
    /// short.
    pub(crate) fn add_hwpt(&mut self, id: ObjectId, raw: &RawHwptSer) -> Result {
        let ictx = self.ictx()?;
        let ioas = self.ioas(raw.ioas_id)?.ok_or(ENOENT)?;

        self.hwpts.reserve(1, GFP_KERNEL_ACCOUNT)?;
        self.retrieved.make_room()?;
        // SAFETY: It is an iommufd, and the size is that of what has this type.
        let obj = from_err_ptr(unsafe {
            bindings::_iommufd_object_alloc(
                ictx.as_ptr(),
                mem::size_of::<bindings::iommufd_hwpt_paging>(),
                bindings::iommufd_object_type_IOMMUFD_OBJ_HWPT_PAGING,
            )
        })?;
        let abort = |err| {
            // SAFETY: New, not finalized, and nothing else refers to it.
            unsafe { bindings::iommufd_object_abort(ictx.as_ptr(), obj) };
            err
        };

        // SAFETY: New, and not finalized.
        unsafe { renumber(ictx, obj, id) }.map_err(abort)?;
        // SAFETY: It is an iommufd.
        let marked = unsafe { &raw mut (*ictx.as_ptr()).liveupdate_marked };
        // SAFETY: It is an array.
        unsafe { reserve(marked, raw.token) }.map_err(abort)?;

        // The object comes first in it.
        let hwpt: *mut bindings::iommufd_hwpt_paging = obj.cast();
        let has = |bit| raw.flags & bit != 0;

        // SAFETY: By the type invariants, the IOAS exists.
        unsafe { bindings::refcount_inc(&raw mut (*ioas.as_ptr()).obj.users) };
        // SAFETY: New, of this type, and zeroed, and so for all of these.
        unsafe { (*hwpt).ioas = ioas.as_ptr() };
        // SAFETY: As above.
        unsafe { bindings::INIT_LIST_HEAD(&raw mut (*hwpt).hwpt_item) };
        // SAFETY: As above.
        unsafe { bindings::iommufd_hwpt_paging::set_auto_domain_raw(hwpt, has(kind::AUTO)) };
        // SAFETY: As above.
        unsafe { bindings::iommufd_hwpt_paging::set_nest_parent_raw(hwpt, has(kind::NEST_PARENT)) };
        let enforced = has(kind::ENFORCE_CC);
        // SAFETY: As above.
        unsafe { bindings::iommufd_hwpt_paging::set_enforce_cache_coherency_raw(hwpt, enforced) };
        // SAFETY: As above.
        let common = unsafe { &raw mut (*hwpt).common };
        // SAFETY: As above.
        unsafe { bindings::iommufd_hw_pagetable::set_pasid_compat_raw(common, has(kind::PASID)) };

        // INVARIANT: Just made, and the token was reserved.
        let new = NewHwpt {
            hwpt: NonNull::new(hwpt).ok_or(ENOMEM)?,
            ictx,
            token: raw.token,
            domain: raw.domain().map(Into::into),
        };
        self.hwpts.push(new, GFP_KERNEL_ACCOUNT)?;
        Ok(())
    }

    /// Reserves the ID of a device, until that is bound or the iommufd is finished.
    ///
    /// # Errors
    ///
    /// `EBUSY` if something has the ID, `ENOMEM` if memory is short.
    pub(crate) fn add_device(&mut self, id: ObjectId, address: Address) -> Result {
        // SAFETY: It is an iommufd, whose objects are in an array that allocates.
        unsafe { reserve(&raw mut (*self.ictx()?.as_ptr()).objects, id.get().into()) }?;
        // SAFETY: Just reserved.
        unsafe { self.retrieved.add_device(id, address) }
    }

    /// Gives HWPTs their page tables, and user space the iommufd. An HWPT whose page table the IOMMU core does
    /// not have is not there.
    ///
    /// # Errors
    ///
    /// `EINVAL` if it is no iommufd.
    pub(crate) fn publish(self) -> Result<ARef<LocalFile>> {
        let ictx = self.ictx()?;
        let Self {
            file,
            hwpts,
            mut retrieved,
        } = self;

        for new in hwpts {
            if let Some(hwpt) = new.publish() {
                // SAFETY: It is one of this iommufd, with a reference, and there is room for it.
                unsafe { retrieved.add_hwpt(hwpt) };
            }
        }
        // SAFETY: By the type invariants, nobody else has it.
        unsafe { (*ictx.as_ptr()).liveupdate_retrieved = KBox::into_raw(retrieved).cast() };
        Ok(file)
    }
}

impl NewHwpt {
    /// Gives the HWPT the page table that it had, if the IOMMU core has it, and returns it with a reference.
    fn publish(self) -> Option<NonNull<bindings::iommufd_hwpt_paging>> {
        let domain = iommu::take_domain(self.domain?)?.as_ptr();
        let (hwpt, ictx, token) = (self.hwpt, self.ictx, self.token);
        // It is user space's from here on.
        mem::forget(self);

        let raw = hwpt.as_ptr();
        // SAFETY: By the type invariants, and so for all of these.
        let ioas = unsafe { (*raw).ioas };
        // SAFETY: The domain is ours, and is in no IOAS.
        unsafe { (*domain).__bindgen_anon_1.iommufd_hwpt = &raw mut (*raw).common };
        // SAFETY: As above.
        unsafe { (*domain).cookie_type = bindings::iommu_domain_cookie_type_IOMMU_COOKIE_IOMMUFD };
        // SAFETY: As above.
        unsafe { (*raw).common.domain = domain };
        // SAFETY: As above, and nobody else has the IOAS.
        unsafe { bindings::list_add_tail(&raw mut (*raw).hwpt_item, &raw mut (*ioas).hwpt_list) };

        // It is none of the domains of its IOAS until it is proved.
        //
        // SAFETY: As above.
        unsafe { (*raw).liveupdate_unproved = true };
        // SAFETY: As above. Its place is reserved, so that this cannot fail.
        unsafe {
            bindings::xa_store(
                &raw mut (*ictx.as_ptr()).liveupdate_marked,
                token as c_ulong,
                raw.cast(),
                bindings::GFP_KERNEL,
            )
        };
        // SAFETY: As above.
        unsafe { (*raw).liveupdate_ictx = ictx.as_ptr() };
        // SAFETY: As above.
        unsafe { (*raw).liveupdate_token = token };

        // SAFETY: As above.
        let obj = unsafe { &raw mut (*raw).common.obj };
        // SAFETY: As above.
        unsafe { bindings::refcount_inc(&raw mut (*obj).users) };
        // SAFETY: As above, and it is complete.
        unsafe { bindings::iommufd_object_finalize(ictx.as_ptr(), obj) };
        Some(hwpt)
    }
}

impl Drop for NewHwpt {
    fn drop(&mut self) {
        let (hwpt, ictx) = (self.hwpt.as_ptr(), self.ictx.as_ptr());

        // SAFETY: By the type invariants, it is reserved.
        unsafe { bindings::xa_erase(&raw mut (*ictx).liveupdate_marked, self.token as c_ulong) };
        // SAFETY: By the type invariants, the reference is ours.
        unsafe { bindings::refcount_dec(&raw mut (*(*hwpt).ioas).obj.users) };
        // SAFETY: By the type invariants, not finalized, and nothing else refers to it.
        unsafe { bindings::iommufd_object_abort(ictx, &raw mut (*hwpt).common.obj) };
    }
}

impl NewIoas<'_> {
    fn object(&self) -> *mut bindings::iommufd_object {
        // SAFETY: By the type invariants.
        unsafe { &raw mut (*self.ioas.as_ptr()).obj }
    }

    fn mappings(&self) -> *mut bindings::io_pagetable {
        // SAFETY: By the type invariants.
        unsafe { &raw mut (*self.ioas.as_ptr()).iopt }
    }

    /// Maps memory of a file, as `IOMMU_IOAS_MAP_FILE` does. No page is looked at.
    ///
    /// # Errors
    ///
    /// `ENOMEM` if memory is short; another errno if the area cannot be there, or the file has no such range.
    pub(crate) fn map(&mut self, file: &LocalFile, area: &RawAreaSer) -> Result {
        let bits = [
            (prot::READ, bindings::IOMMU_READ),
            (prot::WRITE, bindings::IOMMU_WRITE),
            (prot::CACHE, bindings::IOMMU_CACHE),
        ];
        let has = |bit| area.prot & bit != 0;
        let iommu_prot = bits
            .into_iter()
            .filter(|(bit, _)| has(*bit))
            .fold(0, |all, (_, iommu)| all | iommu);

        // What is behind the end of a file is not mapped: nobody could pin it.
        //
        // SAFETY: By the type invariants of `LocalFile`.
        let inode = unsafe { bindings::file_inode(file.as_ptr()) };
        // SAFETY: Files have one.
        let size = unsafe { bindings::i_size_read(inode) };
        // CAST: lossless, sizes are not negative.
        let end = area.offset.checked_add(area.length);
        if end.is_none_or(|end| end > size as u64) {
            return Err(EINVAL);
        }

        // CAST: lossless, this is for 64-bit kernels.
        let (offset, length) = (area.offset as c_ulong, area.length as c_ulong);
        let mut iova = area.iova as c_ulong;
        let start_byte = (area.offset % PAGE) as c_ulong;
        // SAFETY: By the type invariants of `LocalFile`.
        let pages = from_err_ptr(unsafe {
            bindings::iopt_alloc_file_pages(
                file.as_ptr(),
                start_byte,
                offset,
                length,
                has(prot::WRITE),
            )
        })?;

        // CAST: lossless, it is a small number.
        //
        // SAFETY: By the type invariants. This takes over the pages, also if it fails.
        to_result(unsafe {
            bindings::iopt_map_common(
                self.ictx.as_ptr(),
                self.mappings(),
                pages,
                &mut iova,
                length,
                start_byte,
                iommu_prot as c_int,
                0,
            )
        })
    }

    /// Allows ranges, as `IOMMU_IOAS_ALLOW_IOVAS` does.
    ///
    /// # Errors
    ///
    /// `EINVAL` if they overlap, `ENOMEM` if memory is short.
    pub(crate) fn allow(&mut self, ranges: impl Iterator<Item = RawRangeSer>) -> Result {
        let mut allowed = AllowedRanges(bindings::rb_root_cached::default());

        for range in ranges {
            allowed.add(&range)?;
        }
        // SAFETY: By the type invariants, both are trees of these.
        to_result(unsafe { bindings::iopt_set_allow_iova(self.mappings(), &mut allowed.0) })
    }

    /// Has the IOAS be one of its iommufd.
    pub(crate) fn finish(self) {
        // SAFETY: By the type invariants, not finalized.
        unsafe { bindings::iommufd_object_finalize(self.ictx.as_ptr(), self.object()) };
        mem::forget(self);
    }
}

impl Drop for NewIoas<'_> {
    fn drop(&mut self) {
        // SAFETY: By the type invariants, not finalized.
        unsafe { bindings::iommufd_object_abort_and_destroy(self.ictx.as_ptr(), self.object()) };
    }
}

/// A tree of ranges.
///
/// # Invariants
///
/// Each node is a part of an `iopt_allowed`, which was allocated by itself.
struct AllowedRanges(bindings::rb_root_cached);

impl AllowedRanges {
    /// Adds a range.
    ///
    /// # Errors
    ///
    /// `EINVAL` if it overlaps with one that is there, `ENOMEM` if memory is short.
    fn add(&mut self, range: &RawRangeSer) -> Result {
        // CAST: lossless, this is for 64-bit kernels.
        let (start, last) = (range.start as c_ulong, range.last as c_ulong);

        // SAFETY: By the type invariants.
        if !unsafe { bindings::interval_tree_iter_first(&mut self.0, start, last) }.is_null() {
            return Err(EINVAL);
        }
        let mut allowed = KBox::new(bindings::iopt_allowed::default(), GFP_KERNEL_ACCOUNT)?;
        allowed.node.start = start;
        allowed.node.last = last;

        // INVARIANT: Of that type. C code frees it with `kfree()`, as this would.
        let allowed = KBox::into_raw(allowed);
        // SAFETY: It stays where it is until it is taken out.
        unsafe { bindings::interval_tree_insert(&raw mut (*allowed).node, &mut self.0) };
        Ok(())
    }
}

impl Drop for AllowedRanges {
    fn drop(&mut self) {
        loop {
            // SAFETY: By the type invariants.
            let node = unsafe { bindings::interval_tree_iter_first(&mut self.0, 0, c_ulong::MAX) };
            if node.is_null() {
                break;
            }
            // SAFETY: As above.
            unsafe { bindings::interval_tree_remove(node, &mut self.0) };
            // SAFETY: By the type invariants.
            let allowed = unsafe { kernel::container_of!(node, bindings::iopt_allowed, node) };
            // SAFETY: As above, and it is in the tree no more.
            drop(unsafe { KBox::from_raw(allowed) });
        }
    }
}
