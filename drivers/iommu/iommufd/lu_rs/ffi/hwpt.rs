// SPDX-License-Identifier: GPL-2.0

//! HWPTs that user space names, and their marks.

use super::context::{
    Context,
    Locked, //
};
use core::ptr::NonNull;
use kernel::{
    bindings,
    error::{
        from_err_ptr,
        to_result, //
    },
    ffi::c_ulong,
    prelude::*, //
};

/// An HWPT that user space named in an ioctl.
///
/// # Invariants
///
/// `hwpt` is a paging HWPT of `context`, to which we have a reference as of an ioctl.
pub(crate) struct Named<'a> {
    context: Context<'a>,
    hwpt: NonNull<bindings::iommufd_hwpt_paging>,
}

impl<'a> Context<'a> {
    /// Returns the HWPT that user space names: by its number, or by that of an IOAS which has one
    /// automatic HWPT.
    ///
    /// # Errors
    ///
    /// `EINVAL` if it is nested, `ENOTUNIQ` if the IOAS has several, `ENOENT` if there is none.
    pub(crate) fn hwpt(self, id: u32) -> Result<Named<'a>> {
        // SAFETY: By the type invariants.
        let hwpt = unsafe { bindings::iommufd_liveupdate_lock_hwpt(self.as_ptr(), id) };
        let hwpt = NonNull::new(from_err_ptr(hwpt)?).ok_or(ENOENT)?;

        // INVARIANT: We were given a reference.
        Ok(Named {
            context: self,
            hwpt,
        })
    }
}

impl<'a> Named<'a> {
    /// Returns whether faults are delivered to user space.
    pub(crate) fn has_faults(&self) -> bool {
        // SAFETY: By the type invariants. Does not change once user space knows the HWPT.
        !unsafe { (*self.hwpt.as_ptr()).common.fault }.is_null()
    }

    /// Takes the lock of the iommufd that the HWPT is of: without it, marks do not change.
    pub(crate) fn lock(&self) -> LockedHwpt<'_> {
        // INVARIANT: That of the iommufd of this HWPT.
        LockedHwpt {
            locked: self.context.lock(),
            hwpt: self,
        }
    }
}

impl Drop for Named<'_> {
    fn drop(&mut self) {
        let ictx = self.context.as_ptr();

        // SAFETY: By the type invariants, the reference is ours.
        unsafe { bindings::iommufd_liveupdate_unlock_hwpt(ictx, self.hwpt.as_ptr()) };
    }
}

/// An HWPT that user space named in an ioctl, whose marks do not change.
///
/// # Invariants
///
/// `locked` is the lock of the iommufd that `hwpt` is of.
pub(crate) struct LockedHwpt<'a> {
    locked: Locked<'a>,
    hwpt: &'a Named<'a>,
}

impl LockedHwpt<'_> {
    /// Returns whether the iommufd is preserved.
    pub(crate) fn is_preserved(&self) -> bool {
        self.locked.is_preserved()
    }

    /// Returns whether it is marked.
    pub(crate) fn is_marked(&self) -> bool {
        // SAFETY: By the type invariants, and the lock that protects it is held.
        !unsafe { (*self.hwpt.hwpt.as_ptr()).liveupdate_ictx }.is_null()
    }

    /// Returns whether another HWPT of the iommufd is marked with a token.
    pub(crate) fn is_token_of_other(&self, token: u64) -> bool {
        // CAST: lossless, this is for 64-bit kernels.
        //
        // SAFETY: By the type invariants, the iommufd exists.
        let hwpt = unsafe { bindings::xa_load(self.hwpt.context.marked(), token as c_ulong) };

        !hwpt.is_null() && hwpt != self.hwpt.hwpt.as_ptr().cast()
    }

    /// Marks it with a token, or takes the mark away.
    ///
    /// No other HWPT of the iommufd is marked with the token.
    ///
    /// # Errors
    ///
    /// `ENOMEM` if memory is short, if there is a token. Then nothing changes.
    pub(crate) fn set_token(&mut self, token: Option<u64>) -> Result {
        let context = self.hwpt.context;
        let (marked, hwpt) = (context.marked(), self.hwpt.hwpt.as_ptr());
        // SAFETY: By the type invariants, and the lock that protects it is held.
        let old = unsafe { (*hwpt).liveupdate_token };
        let had_other = self.is_marked() && token != Some(old);

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
        let ictx = token.map_or(core::ptr::null_mut(), |_| context.as_ptr());
        // SAFETY: As above.
        unsafe { (*hwpt).liveupdate_ictx = ictx };
        Ok(())
    }
}
