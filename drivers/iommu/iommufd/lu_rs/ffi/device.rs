// SPDX-License-Identifier: GPL-2.0

//! Devices that are bound to an iommufd, and what they are attached to.

use super::{
    context::{
        Context,
        Locked, //
    },
    handles::Attached,
    iommu, //
};
use crate::plan::Attachment;
use core::{
    marker::PhantomData,
    ptr::NonNull, //
};
use kernel::{
    bindings,
    prelude::*, //
};

/// A device that is bound to an iommufd.
///
/// # Invariants
///
/// `idev` is one, which stays bound for `'a`. What it is attached to does not change meanwhile.
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
    /// It is one, which stays bound for `'a`, and is not attached to anything else meanwhile.
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

        // SAFETY: A device keeps what it is bound to.
        Some(unsafe { Context::from_raw(NonNull::new(ictx)?) })
    }

    /// Takes the lock of the iommufd that the device is bound to, unless somebody else has it.
    pub(crate) fn try_lock(self) -> Option<LockedDevice<'a>> {
        let locked = self.context()?.try_lock()?;

        // INVARIANT: That of the iommufd that it is bound to.
        Some(LockedDevice {
            device: self,
            _locked: locked,
        })
    }

    /// Returns the device as the driver core knows it.
    pub(super) fn dev(self) -> *mut bindings::device {
        // SAFETY: By the type invariants. Never changes.
        unsafe { (*self.idev.as_ptr()).dev }
    }

    /// Returns the device and the domain that it is attached to.
    fn attached(self) -> Option<Attached<'a>> {
        // SAFETY: By the type invariants. What it is attached to stays as it is.
        let domain = unsafe { bindings::iommu_get_domain_for_dev(self.dev()) };

        // SAFETY: By the type invariants, both stay for `'a`.
        Some(unsafe { Attached::from_raw(NonNull::new(domain)?, NonNull::new(self.dev())?) })
    }
}

/// A device that is bound to an iommufd whose marks do not change.
///
/// # Invariants
///
/// `_locked` is the lock of the iommufd that `device` is bound to.
pub(crate) struct LockedDevice<'a> {
    device: Device<'a>,
    _locked: Locked<'a>,
}

impl LockedDevice<'_> {
    /// Returns what it is attached to, unless a device of its group is being attached to something else at
    /// this moment, which may wait for user space.
    pub(crate) fn attachment(&self) -> Option<Attachment> {
        // SAFETY: By the type invariants. A device has its group for life.
        let lock = unsafe { &raw mut (*(*self.device.idev.as_ptr()).igroup).lock };

        // SAFETY: As above.
        if unsafe { bindings::mutex_trylock(lock) } == 0 {
            return None;
        }
        // SAFETY: By the type invariants, and the lock that protects what is attached is held.
        let domain = unsafe { bindings::iommu_get_domain_for_dev(self.device.dev()) };
        // SAFETY: A domain that is attached exists, and the lock of the iommufd is held.
        let attachment = unsafe { attachment(domain) };
        // SAFETY: We hold the lock.
        unsafe { bindings::mutex_unlock(lock) };
        Some(attachment)
    }

    /// Preserves what the IOMMU does for the device, which goes on doing DMA.
    ///
    /// # Errors
    ///
    /// `EINVAL` if it is not attached, and as `iommu_preserve_device()`. Then nothing changes.
    pub(crate) fn preserve(&self, token: u64) -> Result {
        iommu::preserve_device(self.device.attached().ok_or(EINVAL)?, token)
    }
}

/// A device whose IOMMU has something preserved for it.
///
/// # Invariants
///
/// [`LockedDevice::preserve`] succeeded for the device, which is attached to what it was then.
pub(crate) struct PreservedDevice<'a>(Device<'a>);

impl<'a> PreservedDevice<'a> {
    /// Returns the device that `idev` points to.
    ///
    /// # Safety
    ///
    /// As [`Device::from_raw`]. [`LockedDevice::preserve`] succeeded for it, was not undone since, and it
    /// is attached to what it was then.
    pub(crate) unsafe fn from_raw(idev: NonNull<bindings::iommufd_device>) -> Self {
        // INVARIANT: By function requirement.
        //
        // SAFETY: By function requirement.
        Self(unsafe { Device::from_raw(idev) })
    }

    /// Unpreserves what [`LockedDevice::preserve`] preserved of the device's IOMMU.
    pub(crate) fn unpreserve(self) {
        if let Some(attached) = self.0.attached() {
            // SAFETY: By the type invariants.
            unsafe { iommu::unpreserve_device(attached) };
        }
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
