// SPDX-License-Identifier: GPL-2.0

//! What this calls of iommufd, the IOMMU core and the page cache.

mod areas;
#[cfg_attr(not(CONFIG_IOMMU_LIVEUPDATE), path = "ffi/no_iommu.rs")]
mod iommu;

pub(crate) use self::areas::{
    Area,
    Pages, //
};

use super::plan::{
    Attachment,
    Extent,
    Range, //
};
use core::{
    marker::PhantomData,
    num::NonZeroU64,
    ptr::NonNull, //
};
use kernel::{
    bindings,
    error::{
        from_err_ptr,
        to_result, //
    },
    ffi::{
        c_uint,
        c_ulong, //
    },
    fs::LocalFile,
    liveupdate::{
        FileHandler,
        OutgoingSession,
        Registration,
        Unpublished, //
    },
    prelude::*,
    sync::aref::ARef,
    ThisModule, //
};

/// The module that iommufd is, or null if it is built in.
#[cfg(MODULE)]
pub(crate) const THIS_MODULE: ThisModule = {
    extern "C" {
        // Only its address is of interest.
        static __this_module: u8;
    }

    // SAFETY: The loader made `__this_module`, and it lives as long as this code.
    unsafe { ThisModule::from_ptr((&raw const __this_module).cast_mut().cast()) }
};

/// The module that iommufd is, or null if it is built in.
// SAFETY: C code takes null for the kernel itself.
#[cfg(not(MODULE))]
pub(crate) const THIS_MODULE: ThisModule = unsafe { ThisModule::from_ptr(core::ptr::null_mut()) };

/// The name of the handler.
pub(crate) const COMPATIBLE: &CStr =
    match CStr::from_bytes_with_nul(bindings::IOMMUFD_LUO_COMPATIBLE) {
        Ok(name) => name,
        Err(_) => panic!("bindgen ends strings with a null byte"),
    };

kernel::declare_trace! {
    /// # Safety
    ///
    /// `rule` is a string.
    unsafe fn iommufd_liveupdate_refused(
        hwpt_id: u32, iova: u64, last_iova: u64, rule: *const u8,
    );
}

/// Traces that a mapping keeps an HWPT from being preserved.
pub(crate) fn trace_refused(hwpt_id: u32, iova: u64, last_iova: u64, rule: &'static CStr) {
    // SAFETY: `rule` is a string.
    unsafe { iommufd_liveupdate_refused(hwpt_id, iova, last_iova, rule.as_char_ptr()) };
}

/// An iommufd.
///
/// # Invariants
///
/// `ictx` is one, which exists for `'a`.
#[derive(Clone, Copy)]
pub(crate) struct Context<'a> {
    ictx: NonNull<bindings::iommufd_ctx>,
    _file: PhantomData<&'a LocalFile>,
}

impl<'a> Context<'a> {
    /// Returns the iommufd that a file is, if it is one.
    pub(crate) fn of(file: &'a LocalFile) -> Option<Self> {
        // SAFETY: By the type invariants of `LocalFile`.
        let ictx = from_err_ptr(unsafe { bindings::iommufd_ctx_from_file(file.as_ptr()) }).ok()?;

        // SAFETY: The reference was just taken, and the file has another one.
        unsafe { bindings::iommufd_ctx_put(ictx) };

        // INVARIANT: It exists as long as its file does.
        Some(Self {
            ictx: NonNull::new(ictx)?,
            _file: PhantomData,
        })
    }

    /// Returns whether the iommufd is in use as a container of VFIO groups.
    pub(crate) fn is_container(self) -> bool {
        // SAFETY: By the type invariants. Somebody may set it meanwhile, which makes no difference.
        !unsafe { (&raw const (*self.ictx.as_ptr()).vfio_ioas).read_volatile() }.is_null()
    }

    /// Returns the token that the iommufd is preserved with in a session, if it is.
    pub(crate) fn token_in(self, session: &OutgoingSession<'_>) -> Option<u64> {
        // SAFETY: By the type invariants. Never changes; a file has its iommufd for life.
        let file = unsafe { LocalFile::from_raw_file((*self.ictx.as_ptr()).file) };

        session.token_of(file).ok()
    }

    /// Gives DMA to the iommufd that goes on by way of a domain of the previous kernel.
    pub(crate) fn own(self, domain: NonZeroU64) {
        iommu::transfer_domain(domain.get(), self.ictx.as_ptr().cast());
    }

    /// Ends the passage of all that has a domain which this iommufd was given by [`own`](Self::own): none
    /// of it reaches what the domain maps any more.
    pub(crate) fn end(self) {
        iommu::end_owner(self.ictx.as_ptr().cast());
    }

    /// Keeps marks from changing, and whether the iommufd is preserved.
    pub(crate) fn lock(self) -> Locked<'a> {
        // SAFETY: By the type invariants, the lock exists.
        unsafe { bindings::mutex_lock(&raw mut (*self.ictx.as_ptr()).liveupdate_lock) };

        // INVARIANT: Just taken.
        Locked { context: self }
    }

    /// Does the same as [`Context::lock`] unless somebody else does so at this moment.
    pub(crate) fn try_lock(self) -> Option<Locked<'a>> {
        // SAFETY: By the type invariants, the lock exists.
        let taken =
            unsafe { bindings::mutex_trylock(&raw mut (*self.ictx.as_ptr()).liveupdate_lock) };

        // INVARIANT: Just taken.
        (taken != 0).then(|| Locked { context: self })
    }

    /// Returns the HWPTs that are marked, by their tokens.
    fn marked(self) -> *mut bindings::xarray {
        // SAFETY: By the type invariants.
        unsafe { &raw mut (*self.ictx.as_ptr()).liveupdate_marked }
    }

    /// Returns the HWPT that is marked with this token or the next one after it, with a reference, and its
    /// token.
    fn marked_from(
        self,
        mut token: c_ulong,
    ) -> Option<(NonNull<bindings::iommufd_hwpt_paging>, c_ulong)> {
        let marked = self.marked();

        // SAFETY: By the type invariants, it exists.
        unsafe { bindings::xa_lock(marked) };
        let found = loop {
            // SAFETY: As above.
            let hwpt = unsafe {
                bindings::xa_find(marked, &mut token, c_ulong::MAX, bindings::XA_PRESENT)
            };
            let Some(hwpt) = NonNull::new(hwpt.cast::<bindings::iommufd_hwpt_paging>()) else {
                break None;
            };

            // SAFETY: An HWPT is taken away, with the lock, before it is freed.
            let users = unsafe { &raw mut (*hwpt.as_ptr()).common.obj.users };
            // SAFETY: As above.
            if unsafe { bindings::refcount_inc_not_zero(users) } {
                break Some((hwpt, token));
            }
            // One that is being destroyed is about to leave.
            token = match token.checked_add(1) {
                Some(next) => next,
                None => break None,
            };
        };
        // SAFETY: Just taken.
        unsafe { bindings::xa_unlock(marked) };
        found
    }

    /// Returns the HWPT that user space names: by its number, or by that of an IOAS which has one
    /// automatic HWPT.
    ///
    /// # Errors
    ///
    /// `EINVAL` if it is nested, `ENOTUNIQ` if the IOAS has several, `ENOENT` if there is none.
    pub(crate) fn hwpt(self, id: u32) -> Result<Named<'a>> {
        // SAFETY: By the type invariants.
        let hwpt = unsafe { bindings::iommufd_liveupdate_lock_hwpt(self.ictx.as_ptr(), id) };
        let hwpt = NonNull::new(from_err_ptr(hwpt)?).ok_or(ENOENT)?;

        // INVARIANT: We were given a reference.
        Ok(Named {
            context: self,
            hwpt,
        })
    }
}

/// The lock of an iommufd.
///
/// # Invariants
///
/// We hold `liveupdate_lock` of the iommufd.
pub(crate) struct Locked<'a> {
    context: Context<'a>,
}

impl Locked<'_> {
    /// Returns whether the iommufd is preserved.
    pub(crate) fn is_preserved(&self) -> bool {
        // SAFETY: By the type invariants, the lock that protects it is held.
        unsafe { (*self.context.ictx.as_ptr()).liveupdate_preserved }
    }

    /// Notes whether the iommufd is preserved.
    pub(crate) fn set_preserved(&self, preserved: bool) {
        // SAFETY: By the type invariants, the lock that protects it is held.
        unsafe { (*self.context.ictx.as_ptr()).liveupdate_preserved = preserved };
    }

    /// Returns the HWPTs that are marked, in the order of their tokens.
    pub(crate) fn marked(&self) -> impl Iterator<Item = Marked<'_>> + '_ {
        let mut next = Some(0);

        core::iter::from_fn(move || {
            let (hwpt, token) = self.context.marked_from(next?)?;

            next = token.checked_add(1);
            // INVARIANT: We were given a reference, and the lock is held for the lifetime.
            Some(Marked {
                hwpt,
                _locked: PhantomData,
            })
        })
    }
}

impl Drop for Locked<'_> {
    fn drop(&mut self) {
        // SAFETY: By the type invariants.
        unsafe { bindings::mutex_unlock(&raw mut (*self.context.ictx.as_ptr()).liveupdate_lock) };
    }
}

/// An HWPT that user space named in an ioctl.
///
/// # Invariants
///
/// `hwpt` is a paging HWPT of `context`, to which we have a reference as of an ioctl.
pub(crate) struct Named<'a> {
    context: Context<'a>,
    hwpt: NonNull<bindings::iommufd_hwpt_paging>,
}

impl Named<'_> {
    /// Returns whether faults are delivered to user space.
    pub(crate) fn has_faults(&self) -> bool {
        // SAFETY: By the type invariants. Does not change once user space knows the HWPT.
        !unsafe { (*self.hwpt.as_ptr()).common.fault }.is_null()
    }

    /// Returns whether it is marked.
    pub(crate) fn is_marked(&self, _locked: &Locked<'_>) -> bool {
        // SAFETY: By the type invariants, and the lock that protects it is held.
        !unsafe { (*self.hwpt.as_ptr()).liveupdate_ictx }.is_null()
    }

    /// Returns whether another HWPT of the iommufd is marked with a token.
    pub(crate) fn is_token_of_other(&self, _locked: &Locked<'_>, token: u64) -> bool {
        // CAST: lossless, this is for 64-bit kernels.
        //
        // SAFETY: By the type invariants, the iommufd exists.
        let hwpt = unsafe { bindings::xa_load(self.context.marked(), token as c_ulong) };

        !hwpt.is_null() && hwpt != self.hwpt.as_ptr().cast()
    }

    /// Marks it with a token, or takes the mark away.
    ///
    /// No other HWPT of the iommufd is marked with the token.
    ///
    /// # Errors
    ///
    /// `ENOMEM` if memory is short, if there is a token. Then nothing changes.
    pub(crate) fn set_token(&self, locked: &mut Locked<'_>, token: Option<u64>) -> Result {
        let (marked, hwpt) = (self.context.marked(), self.hwpt.as_ptr());
        // SAFETY: By the type invariants, and the lock that protects it is held.
        let old = unsafe { (*hwpt).liveupdate_token };
        let had_other = self.is_marked(locked) && token != Some(old);

        if let Some(token) = token {
            // CAST: lossless, this is for 64-bit kernels.
            //
            // SAFETY: By the type invariants, both exist. The HWPT is taken away before it is freed.
            let stored = unsafe {
                bindings::xa_store(marked, token as c_ulong, hwpt.cast(), bindings::GFP_KERNEL)
            };
            // SAFETY: Arithmetic.
            to_result(unsafe { bindings::xa_err(stored) })?;
        }
        if had_other {
            // CAST: lossless, as above.
            //
            // SAFETY: By the type invariants, it exists.
            unsafe { bindings::xa_erase(marked, old as c_ulong) };
        }

        // SAFETY: By the type invariants, and the lock that protects it is held.
        unsafe { (*hwpt).liveupdate_token = token.unwrap_or(0) };
        let ictx = token.map_or(core::ptr::null_mut(), |_| self.context.ictx.as_ptr());
        // SAFETY: As above.
        unsafe { (*hwpt).liveupdate_ictx = ictx };
        Ok(())
    }
}

impl Drop for Named<'_> {
    fn drop(&mut self) {
        let ictx = self.context.ictx.as_ptr();

        // SAFETY: By the type invariants, the reference is ours.
        unsafe { bindings::iommufd_liveupdate_unlock_hwpt(ictx, self.hwpt.as_ptr()) };
    }
}

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
        // SAFETY: By the type invariants. Volatile, for it is cleared without the lock.
        unsafe { (&raw const (*self.hwpt.as_ptr()).dirty_tracking).read_volatile() }
    }

    /// Keeps what it maps, and what is attached to it, as it is.
    ///
    /// # Errors
    ///
    /// `EBUSY` if mappings are changed now.
    pub(crate) fn hold(self) -> Result<Held> {
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

/// An HWPT that stays as it is.
///
/// To be dropped with the lock of its iommufd held.
///
/// # Invariants
///
/// `hwpt` is a paging HWPT, to which we have a reference, and whose IOAS we hold. Its page table is
/// preserved if `domain` is something.
pub(crate) struct Held {
    hwpt: NonNull<bindings::iommufd_hwpt_paging>,
    domain: Option<NonZeroU64>,
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

    /// Returns what user space of the next kernel calls it.
    pub(crate) fn token(&self) -> u64 {
        // SAFETY: By the type invariants. Does not change while the iommufd is preserved.
        unsafe { (*self.hwpt.as_ptr()).liveupdate_token }
    }

    /// Preserves its page table, if its IOMMU has a driver that does so.
    ///
    /// # Errors
    ///
    /// As `iommu_preserve_domain()`. Then nothing changes.
    pub(crate) fn preserve_tables(&mut self) -> Result {
        // SAFETY: By the type invariants. An HWPT has its domain for life.
        let domain = unsafe { (*self.hwpt.as_ptr()).common.domain };

        match iommu::preserve_domain(domain) {
            // INVARIANT: Just preserved. There is nothing at address 0.
            Ok(handle) => self.domain = NonZeroU64::new(handle),
            Err(err) if err == ENODEV => (),
            Err(err) => return Err(err),
        }
        Ok(())
    }

    /// Returns what the next kernel knows its page table by, if that is preserved.
    pub(crate) fn domain(&self) -> Option<NonZeroU64> {
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
        // SAFETY: By the type invariants. An HWPT has its domain for life.
        let domain = unsafe { (*self.hwpt.as_ptr()).common.domain };

        extents(range.nr_pages, move |page, nr_pages, extents| {
            // SAFETY: By the type invariants, the mappings are held. The range ends within the address
            // space.
            unsafe { areas::read_table(domain, range.iova + page * PAGE, nr_pages, extents) }
        })
    }
}

/// Returns whether all that was handed over can be kept from going on, and says why not.
pub(crate) fn can_end() -> bool {
    iommu::can_end()
}

/// Ends the passage of all that has a domain of the previous kernel, which nobody got.
pub(crate) fn end_domain(domain: NonZeroU64) {
    iommu::end_domain(domain.get());
}

/// Ends the passage of all devices that this kernel did not find.
pub(crate) fn end_lost() {
    iommu::end_lost();
}

/// Lets others run.
///
/// # Errors
///
/// `EINTR` if whoever runs is about to be killed, `ERESTARTNOINTR` if a kexec has to go first.
pub(crate) fn pause() -> Result {
    // SAFETY: Has no requirements but that one may sleep, as all that takes long here may.
    to_result(unsafe { bindings::liveupdate_pause() })
}

/// The size of a page of the CPU.
// CAST: lossless, it is a small number.
const PAGE: u64 = kernel::page::PAGE_SIZE as u64;

/// How many extents are read at once.
const BATCH: usize = 32;

/// How many pages are looked at before others may run.
const PAGES: u64 = 1 << 16;

/// Returns the extents of so many pages, one per call, which `read` reads.
///
/// It is given the number of the next page, how many pages are left, and where to write extents, and
/// returns how many it wrote.
fn extents(
    nr_pages: u64,
    mut read: impl FnMut(u64, u64, &mut [bindings::pt_iommu_extent]) -> Result<usize>,
) -> impl FnMut() -> Result<Option<Extent>> {
    let mut batch = [bindings::pt_iommu_extent::default(); BATCH];
    let (mut next, mut filled) = (0, 0);
    let mut page = 0;

    move || {
        if next == filled && page < nr_pages {
            pause()?;

            filled = read(page, (nr_pages - page).min(PAGES), &mut batch)?;
            next = 0;
        }

        let Some(extent) = batch[..filled.min(BATCH)].get(next) else {
            return Ok(None);
        };
        let extent = Extent {
            phys: extent.paddr,
            nr_pages: extent.len / PAGE,
        };

        next += 1;
        page = page.saturating_add(extent.nr_pages);
        Ok(Some(extent))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if self.domain.is_some() {
            // SAFETY: By the type invariants. An HWPT has its domain for life.
            iommu::unpreserve_domain(unsafe { (*self.hwpt.as_ptr()).common.domain });
        }

        // SAFETY: By the type invariants, and the lock that protects it is held.
        unsafe { (*self.hwpt.as_ptr()).liveupdate_preserved = false };

        // SAFETY: By the type invariants, we hold it, and the lock of the iommufd is held.
        unsafe { areas::release(self.hwpt) };

        // SAFETY: By the type invariants, the reference is ours.
        unsafe { bindings::refcount_dec(&raw mut (*self.hwpt.as_ptr()).common.obj.users) };
    }
}

/// Returns where the pages of a file are that are mapped at a range, from the first one on.
///
/// The file is in shmem, and loses no pages meanwhile: otherwise the extents may be those of pages
/// that it does not have any more.
///
/// # Errors
///
/// Each piece: as [`pause`].
pub(crate) fn file_extents(
    file: &LocalFile,
    range: Range,
) -> impl FnMut() -> Result<Option<Extent>> + '_ {
    extents(range.nr_pages, move |page, nr_pages, extents| {
        // CAST: lossless, it is a small number.
        //
        // SAFETY: By the type invariants of `LocalFile`. There are as many extents to write to, and
        // pages left to read.
        let filled = unsafe {
            bindings::iommufd_liveupdate_read_file(
                file.as_ptr(),
                range.index.saturating_add(page),
                nr_pages,
                extents.as_mut_ptr(),
                extents.len() as c_uint,
            )
        };

        // CAST: lossless, as above.
        Ok(filled as usize)
    })
}

/// Opens an iommufd, as `/dev/iommu` does.
///
/// # Errors
///
/// `ENOMEM` or `ENFILE` if there cannot be another file.
pub(crate) fn open() -> Result<ARef<LocalFile>> {
    // SAFETY: Has no requirements.
    let file = from_err_ptr(unsafe { bindings::iommufd_liveupdate_open() })?;
    let file = NonNull::new(file).ok_or(ENOMEM)?;

    // SAFETY: A new file has one reference, which is ours.
    Ok(unsafe { ARef::from_raw(file.cast()) })
}

/// Has the files of `handler` share the record of preserved page tables.
///
/// # Errors
///
/// As `iommu_liveupdate_register_flb()`.
pub(crate) fn register_flb<T: FileHandler>(handler: &Unpublished<T>) -> Result {
    iommu::register_flb(handler.as_raw())
}

/// Keeps the handler registered while iommufd is there.
pub(crate) fn keep<T: FileHandler>(registration: Registration<T>) {
    // SAFETY: `iommufd_liveupdate_exit()` unregisters it, which iommufd calls on its way out.
    unsafe { registration.keep() };
}

/// A device that is bound to an iommufd.
///
/// # Invariants
///
/// `idev` is one, which exists for `'a`.
#[derive(Clone, Copy)]
pub(crate) struct Device<'a> {
    idev: NonNull<bindings::iommufd_device>,
    _bound: PhantomData<&'a ()>,
}

impl<'a> Device<'a> {
    /// Returns the device that `idev` points to.
    ///
    /// # Safety
    ///
    /// It is one, which stays bound for `'a`.
    pub(crate) unsafe fn from_raw(idev: NonNull<bindings::iommufd_device>) -> Self {
        // INVARIANT: By function requirement.
        Self {
            idev,
            _bound: PhantomData,
        }
    }

    /// Returns the iommufd that it is bound to.
    pub(crate) fn context(self) -> Option<Context<'a>> {
        // SAFETY: By the type invariants. Never changes.
        let ictx = unsafe { (*self.idev.as_ptr()).ictx };

        // INVARIANT: A device keeps what it is bound to.
        Some(Context {
            ictx: NonNull::new(ictx)?,
            _file: PhantomData,
        })
    }

    /// Returns what it is attached to.
    ///
    /// # Errors
    ///
    /// `EBUSY` if a device of its group is being attached to something else at this moment, which may
    /// wait for user space.
    pub(crate) fn attachment(self, _locked: &Locked<'_>) -> Result<Attachment> {
        // SAFETY: By the type invariants. A device has its group for life.
        let lock = unsafe { &raw mut (*(*self.idev.as_ptr()).igroup).lock };

        // SAFETY: As above.
        if unsafe { bindings::mutex_trylock(lock) } == 0 {
            return Err(EBUSY);
        }
        // SAFETY: By the type invariants, and the lock that protects what is attached is held.
        let domain = unsafe { bindings::iommu_get_domain_for_dev((*self.idev.as_ptr()).dev) };
        // SAFETY: A domain that is attached exists.
        let attachment = unsafe { attachment(domain) };
        // SAFETY: We hold the lock.
        unsafe { bindings::mutex_unlock(lock) };
        Ok(attachment)
    }
}

impl Device<'_> {
    /// Preserves what the IOMMU does for the device, which goes on doing DMA.
    ///
    /// # Errors
    ///
    /// As `iommu_preserve_device()`. Then nothing changes.
    pub(crate) fn preserve(self, _locked: &Locked<'_>, token: u64) -> Result {
        // SAFETY: By the type invariants. Never changes.
        let dev = unsafe { (*self.idev.as_ptr()).dev };

        // SAFETY: By the type invariants. What it is attached to stays as it is.
        let domain = unsafe { bindings::iommu_get_domain_for_dev(dev) };

        iommu::preserve_device(domain, dev, token)
    }

    /// Unpreserves what [`preserve`](Self::preserve) preserved of the device's IOMMU.
    pub(crate) fn unpreserve(self) {
        // SAFETY: By the type invariants. Never changes.
        let dev = unsafe { (*self.idev.as_ptr()).dev };

        // SAFETY: By the type invariants. What it is attached to stays as it is.
        let domain = unsafe { bindings::iommu_get_domain_for_dev(dev) };

        iommu::unpreserve_device(domain, dev);
    }
}

/// Returns what a device is attached to that uses this domain.
///
/// # Safety
///
/// `domain` is null or a domain, which exists, and marks do not change.
unsafe fn attachment(domain: *mut bindings::iommu_domain) -> Attachment {
    if domain.is_null() {
        return Attachment::None;
    }

    // SAFETY: By function requirement. Never changes.
    if unsafe { (*domain).cookie_type } != bindings::iommu_domain_cookie_type_IOMMU_COOKIE_IOMMUFD {
        return Attachment::None;
    }

    // SAFETY: What domains of this type have as their cookie.
    let hwpt = unsafe { (*domain).__bindgen_anon_1.iommufd_hwpt };

    // SAFETY: It exists as long as its domain.
    if unsafe { (*hwpt).obj.type_ } != bindings::iommufd_object_type_IOMMUFD_OBJ_HWPT_PAGING {
        return Attachment::Nested;
    }

    // SAFETY: Of this type is what is a part of an `iommufd_hwpt_paging`.
    let hwpt = unsafe { kernel::container_of!(hwpt, bindings::iommufd_hwpt_paging, common) };

    // SAFETY: By function requirement.
    if !unsafe { (*hwpt).liveupdate_ictx }.is_null() {
        return Attachment::Marked;
    }

    // SAFETY: It exists. Others in its word may change, this one does not.
    if unsafe { bindings::iommufd_hwpt_paging::auto_domain_raw(hwpt) } {
        Attachment::Automatic
    } else {
        Attachment::Explicit
    }
}

/// An ioctl of an iommufd.
///
/// # Invariants
///
/// `ucmd` is one, which goes on for `'a`.
pub(crate) struct Command<'a> {
    ucmd: NonNull<bindings::iommufd_ucmd>,
    _ioctl: PhantomData<&'a ()>,
}

impl<'a> Command<'a> {
    /// Returns the ioctl that `ucmd` points to.
    ///
    /// # Safety
    ///
    /// It is one, which goes on for `'a`.
    pub(crate) unsafe fn from_raw(ucmd: NonNull<bindings::iommufd_ucmd>) -> Self {
        // INVARIANT: By function requirement.
        Self {
            ucmd,
            _ioctl: PhantomData,
        }
    }

    /// Returns the iommufd.
    pub(crate) fn context(&self) -> Result<Context<'a>> {
        // SAFETY: By the type invariants.
        let ictx = unsafe { (*self.ucmd.as_ptr()).ictx };

        // INVARIANT: An ioctl has its file.
        Ok(Context {
            ictx: NonNull::new(ictx).ok_or(EINVAL)?,
            _file: PhantomData,
        })
    }

    /// Returns what user space passed.
    ///
    /// # Safety
    ///
    /// The argument of this ioctl is a `T`.
    pub(crate) unsafe fn argument<T>(&self) -> &'a T {
        // SAFETY: By the type invariants. C code copied it before, and aligned it.
        unsafe { &*(*self.ucmd.as_ptr()).cmd.cast::<T>() }
    }
}
