// SPDX-License-Identifier: GPL-2.0

//! An iommufd, its lock, and the ioctls of it.

use super::{
    handles::{
        DomainHandle,
        Owner, //
    },
    iommu, //
};
use core::{
    marker::PhantomData,
    mem,
    ptr::{
        self,
        NonNull, //
    },
    slice, //
};
use kernel::{
    bindings,
    error::from_err_ptr,
    ffi::c_ulong,
    fs::LocalFile,
    liveupdate::{
        pci::{
            self as lu_pci,
            Address, //
        },
        OutgoingSession, //
    },
    prelude::*,
    sync::atomic::{
        atomic_load,
        Relaxed, //
    },
    types::NotThreadSafe,
    uaccess::{
        UserPtr,
        UserSlice, //
    },
};

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

    /// Returns the iommufd that C code passed.
    ///
    /// # Safety
    ///
    /// It is one, which exists for `'a`.
    pub(crate) unsafe fn from_raw(ictx: NonNull<bindings::iommufd_ctx>) -> Self {
        // INVARIANT: By function requirement.
        Self {
            ictx,
            _file: PhantomData,
        }
    }

    /// Returns the iommufd as C knows it.
    pub(super) fn as_ptr(self) -> *mut bindings::iommufd_ctx {
        self.ictx.as_ptr()
    }

    /// Returns whether the iommufd is in use as a container of VFIO groups.
    pub(crate) fn is_container(self) -> bool {
        // SAFETY: By the type invariants.
        let ioas = unsafe { &raw mut (*self.ictx.as_ptr()).vfio_ioas };

        // SAFETY: Valid, and set in one piece. Somebody may set it meanwhile, which makes no difference:
        // the pointer is not followed.
        !unsafe { atomic_load(ioas, Relaxed) }.is_null()
    }

    /// Returns the token that the iommufd is preserved with in a session, if it is.
    pub(crate) fn token_in(self, session: &OutgoingSession<'_>) -> Option<u64> {
        session.token_of(self.file()).ok()
    }

    /// Returns the file that the iommufd is.
    pub(super) fn file(self) -> &'a LocalFile {
        // SAFETY: By the type invariants. Never changes.
        let file = unsafe { (*self.ictx.as_ptr()).file };

        // SAFETY: A file has its iommufd for life, which exists for `'a`; nobody calls `fdget_pos()` on it
        // in here.
        unsafe { LocalFile::from_raw_file(file) }
    }

    /// Gives DMA to the iommufd that goes on by way of a domain of the previous kernel.
    pub(crate) fn own(self, domain: DomainHandle) {
        iommu::transfer_domain(domain, self.into());
    }

    /// Keeps marks from changing, and whether the iommufd is preserved.
    pub(crate) fn lock(self) -> Locked<'a> {
        // SAFETY: By the type invariants, the lock exists.
        unsafe { bindings::mutex_lock(&raw mut (*self.ictx.as_ptr()).liveupdate_lock) };

        // INVARIANT: Just taken.
        Locked {
            context: self,
            _not_send: NotThreadSafe,
        }
    }

    /// Does the same as [`Context::lock`] unless somebody else does so at this moment.
    pub(crate) fn try_lock(self) -> Option<Locked<'a>> {
        // SAFETY: By the type invariants, the lock exists.
        let taken =
            unsafe { bindings::mutex_trylock(&raw mut (*self.ictx.as_ptr()).liveupdate_lock) };

        // INVARIANT: Just taken.
        (taken != 0).then(|| Locked {
            context: self,
            _not_send: NotThreadSafe,
        })
    }

    /// Returns whether pinned pages are accounted to processes.
    pub(crate) fn accounts_to_processes(self) -> bool {
        // SAFETY: By the type invariants. Does not change once there are objects.
        let mode = unsafe { (*self.ictx.as_ptr()).account_mode };

        u32::from(mode) == bindings::IOPT_PAGES_ACCOUNT_MM
    }

    /// Returns the ID of the HWPT that is marked with a token, if there is one.
    pub(crate) fn marked_id(self, token: u64) -> Option<u32> {
        let marked = self.marked();

        // SAFETY: By the type invariants, it exists.
        unsafe { bindings::xa_lock(marked) };
        // CAST: lossless, this is for 64-bit kernels.
        //
        // SAFETY: As above.
        let hwpt = unsafe { bindings::xa_load(marked, token as c_ulong) };
        let hwpt: *mut bindings::iommufd_hwpt_paging = hwpt.cast();
        // SAFETY: An HWPT is taken away, with the lock, before it is freed.
        let id = (!hwpt.is_null()).then(|| unsafe { (*hwpt).common.obj.id });
        // SAFETY: Just taken.
        unsafe { bindings::xa_unlock(marked) };
        id
    }

    /// Returns the next PCI device that is bound to the iommufd: its ID, which is `id` at least, and its
    /// address.
    pub(crate) fn device_from(self, id: u32) -> Option<(u32, Address)> {
        // SAFETY: By the type invariants.
        let objects = unsafe { &raw mut (*self.ictx.as_ptr()).objects };
        // CAST: lossless.
        let mut index = id as c_ulong;

        // SAFETY: By the type invariants, it exists.
        unsafe { bindings::xa_lock(objects) };
        let found = loop {
            // SAFETY: As above.
            let obj = unsafe {
                bindings::xa_find(objects, &mut index, c_ulong::MAX, bindings::XA_PRESENT)
            };
            let Some(obj) = NonNull::new(obj.cast::<bindings::iommufd_object>()) else {
                break None;
            };

            // SAFETY: An object is taken away, with the lock, before it is freed.
            if let Some(address) = unsafe { address_of(obj) } {
                // SAFETY: As above.
                break Some((unsafe { (*obj.as_ptr()).id }, address));
            }
            index += 1;
        };
        // SAFETY: Just taken.
        unsafe { bindings::xa_unlock(objects) };
        found
    }

    /// Returns the HWPTs that are marked, by their tokens.
    pub(super) fn marked(self) -> *mut bindings::xarray {
        // SAFETY: By the type invariants.
        unsafe { &raw mut (*self.ictx.as_ptr()).liveupdate_marked }
    }

    /// Returns the HWPT that is marked with this token or the next one after it, with a reference, and its
    /// token.
    pub(super) fn marked_from(
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
}

/// Returns the address of the PCI device that an object is, if it is one.
///
/// # Safety
///
/// `obj` is an object, which exists.
unsafe fn address_of(obj: NonNull<bindings::iommufd_object>) -> Option<Address> {
    // SAFETY: By function requirement.
    if unsafe { (*obj.as_ptr()).type_ } != bindings::iommufd_object_type_IOMMUFD_OBJ_DEVICE {
        return None;
    }
    // SAFETY: Of this type is what is a part of an `iommufd_device`.
    let idev = unsafe { kernel::container_of!(obj.as_ptr(), bindings::iommufd_device, obj) };
    // SAFETY: It stays while it is bound.
    let dev = unsafe { (*idev).dev };
    // SAFETY: As above.
    if !unsafe { bindings::dev_is_pci(dev) } {
        return None;
    }
    // SAFETY: Devices on that bus are a part of a `pci_dev`.
    let pdev = unsafe { kernel::container_of!(dev, bindings::pci_dev, dev) };

    // SAFETY: As above.
    Some(lu_pci::address(unsafe { lu_pci::from_raw(pdev) }))
}

impl From<Context<'_>> for Owner {
    fn from(context: Context<'_>) -> Self {
        Self(context.ictx.addr())
    }
}

/// The lock of an iommufd.
///
/// # Invariants
///
/// We hold `liveupdate_lock` of `context`, which nobody else releases.
pub(crate) struct Locked<'a> {
    context: Context<'a>,
    /// A mutex is released by whoever took it.
    _not_send: NotThreadSafe,
}

impl<'a> Locked<'a> {
    /// Returns the iommufd.
    pub(super) fn context(&self) -> Context<'a> {
        self.context
    }

    /// Returns whether the iommufd is preserved.
    pub(crate) fn is_preserved(&self) -> bool {
        // SAFETY: By the type invariants, the lock that protects it is held.
        unsafe { (*self.context.ictx.as_ptr()).liveupdate_preserved }
    }

    /// Notes whether the iommufd is preserved.
    pub(super) fn set_preserved(&self, preserved: bool) {
        // SAFETY: By the type invariants, the lock that protects it is held.
        unsafe { (*self.context.ictx.as_ptr()).liveupdate_preserved = preserved };
    }
}

impl Drop for Locked<'_> {
    fn drop(&mut self) {
        // SAFETY: By the type invariants.
        unsafe { bindings::mutex_unlock(&raw mut (*self.context.ictx.as_ptr()).liveupdate_lock) };
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

        // SAFETY: An ioctl has its file.
        Ok(unsafe { Context::from_raw(NonNull::new(ictx).ok_or(EINVAL)?) })
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

    /// Returns an answer to user space, in place of what it passed.
    ///
    /// # Errors
    ///
    /// `EFAULT` if it cannot be written there.
    ///
    /// # Safety
    ///
    /// The argument of this ioctl is a `T`, without padding.
    pub(crate) unsafe fn answer<T>(&self, answer: &T) -> Result {
        // SAFETY: By the type invariants.
        let to = unsafe { (*self.ucmd.as_ptr()).ubuffer };
        // SAFETY: As above.
        let size = unsafe { (*self.ucmd.as_ptr()).user_size };
        let size = usize::try_from(size)?.min(mem::size_of::<T>());
        // SAFETY: It has so many bytes, and by function requirement all of them have a value.
        let bytes = unsafe { slice::from_raw_parts(ptr::from_ref(answer).cast::<u8>(), size) };

        UserSlice::new(UserPtr::from_ptr(to), size)
            .writer()
            .write_slice(bytes)
    }
}
