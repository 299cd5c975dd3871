// SPDX-License-Identifier: GPL-2.0

//! Devices that have an IOMMU.

use super::super::entries::Kind;
use super::{
    kind_of,
    Domain, //
};
use core::ops::Deref;
use kernel::{
    bindings,
    error::to_result,
    ffi::{
        c_int,
        c_void, //
    },
    liveupdate::pci as lu_pci,
    pci,
    prelude::*,
    types::{
        NotThreadSafe,
        Opaque, //
    },
};

/// A device that has an IOMMU.
///
/// # Invariants
///
/// The IOMMU core has probed the device, or is about to have, and does not release it for as long as this is
/// borrowed. So its IOMMU, its IOMMU group, and what the driver of the IOMMU has of the device are there.
#[repr(transparent)]
pub(crate) struct Device(Opaque<bindings::device>);

/// Tells devices apart.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct DeviceId(usize);

/// Tells IOMMUs apart.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct IommuId(usize);

impl Device {
    /// Borrows a device that C code passed, if it has an IOMMU.
    ///
    /// # Safety
    ///
    /// `dev` points to a device, which the IOMMU core does not release for `'a`.
    pub(crate) unsafe fn from_raw<'a>(dev: *mut bindings::device) -> Option<&'a Self> {
        if dev.is_null() {
            return None;
        }
        // SAFETY: By function requirement. Not null from when the device is probed.
        let iommu = unsafe { (*dev).iommu };

        // SAFETY: Null, or as above.
        if iommu.is_null() || unsafe { (*iommu).iommu_dev }.is_null() {
            return None;
        }
        // SAFETY: By function requirement. Set last while the device is probed.
        if unsafe { (*dev).iommu_group }.is_null() {
            return None;
        }
        // INVARIANT: By function requirement, and just checked.
        //
        // SAFETY: By function requirement. The type is transparent.
        Some(unsafe { &*dev.cast::<Self>() })
    }

    /// Returns the device that a PCI device is, if that has an IOMMU.
    pub(crate) fn of<'a>(pci: &'a pci::Device, _lock: &'a ReleaseLock) -> Option<&'a Self> {
        // SAFETY: By the type invariants of `pci::Device`.
        let dev = unsafe { &raw mut (*lu_pci::as_raw(pci)).dev };

        // SAFETY: As above. While the lock is held no device is released.
        unsafe { Self::from_raw(dev) }
    }

    /// Returns the device as C knows it.
    pub(crate) fn as_raw(&self) -> *mut bindings::device {
        self.0.get()
    }

    /// Returns what tells the device apart from others.
    pub(crate) fn id(&self) -> DeviceId {
        DeviceId(self.as_raw().addr())
    }

    /// Returns the device as the PCI core knows it, if it is one of that.
    pub(crate) fn pci(&self) -> Option<&pci::Device> {
        // SAFETY: By the type invariants.
        if !unsafe { bindings::dev_is_pci(self.as_raw()) } {
            return None;
        }
        // SAFETY: Devices on that bus are a part of a `pci_dev`.
        let pdev = unsafe { kernel::container_of!(self.as_raw(), bindings::pci_dev, dev) };

        // SAFETY: By the type invariants, for as long as this is borrowed.
        Some(unsafe { lu_pci::from_raw(pdev) })
    }

    fn iommu_device(&self) -> *mut bindings::iommu_device {
        // SAFETY: By the type invariants.
        unsafe { (*(*self.as_raw()).iommu).iommu_dev }
    }

    /// Returns what tells the IOMMU that the device is behind apart from others.
    pub(crate) fn iommu(&self) -> IommuId {
        IommuId(self.iommu_device().addr())
    }

    /// Returns the kind of the IOMMU that the device is behind, if the driver of that hands over its tables.
    pub(crate) fn kind(&self) -> Option<Kind> {
        // SAFETY: By the type invariants, an IOMMU has operations, which stay.
        kind_of(unsafe { &*(*self.iommu_device()).ops })
    }

    /// Checks that the IOMMU group of the device is one that may go on with a domain. Takes the mutex of the
    /// group.
    ///
    /// # Errors
    ///
    /// As `iommu_liveupdate_check_group()`.
    pub(crate) fn check_group(&self, domain: &Domain) -> Result {
        // SAFETY: By the type invariants.
        to_result(unsafe { bindings::iommu_liveupdate_check_group(self.as_raw(), domain.as_raw()) })
    }

    /// Returns whether something holds for each device in the IOMMU group of this one. Calls `f` with the
    /// mutex of the group held.
    pub(crate) fn all_in_group<F: FnMut(&Self) -> bool>(&self, mut f: F) -> bool {
        // SAFETY: By the type invariants. Does not change while the device is there.
        let group = unsafe { (*self.as_raw()).iommu_group };

        // SAFETY: A device with an IOMMU has a group. `refuses` gets what it is for.
        let refused = unsafe {
            bindings::iommu_group_for_each_dev(group, (&raw mut f).cast(), Some(refuses::<F>))
        };
        refused == 0
    }

    /// Gives the DMA of the device's IOMMU group to an owner, if it is the previous kernel's still.
    ///
    /// # Errors
    ///
    /// As `iommu_liveupdate_transfer_owner()`.
    ///
    /// # Safety
    ///
    /// `owner` lives until the passage of the device has ended.
    pub(crate) unsafe fn transfer_owner(&self, owner: *mut c_void) -> Result {
        // SAFETY: By the type invariants, and by function requirement.
        to_result(unsafe { bindings::iommu_liveupdate_transfer_owner(self.as_raw(), owner) })
    }

    /// Stops the device and keeps it from memory, if its IOMMU group is attached to a domain.
    pub(crate) fn cut_off(&self, domain: &Domain) {
        // SAFETY: By the type invariants of both.
        unsafe { bindings::iommu_liveupdate_cut_off(self.as_raw(), domain.as_raw()) };
    }

    /// Has the IOMMU group of the device owned by who claimed it, or by nobody, and then attached to its default
    /// domain.
    pub(crate) fn release_group(&self) {
        // SAFETY: By the type invariants, it has a group.
        unsafe { bindings::iommu_liveupdate_release_group(self.as_raw()) };
    }
}

/// A device whose IOMMU group nobody attaches to another domain.
///
/// # Invariants
///
/// The mutex of the device's IOMMU group is held for as long as this exists.
pub(crate) struct LockedDevice<'a>(&'a Device);

impl LockedDevice<'_> {
    /// Borrows a device that C code passed, if it has an IOMMU.
    ///
    /// # Safety
    ///
    /// `dev` points to a device, and the mutex of its IOMMU group is held for as long as the result exists.
    pub(crate) unsafe fn from_raw(dev: *mut bindings::device) -> Option<Self> {
        // INVARIANT: By function requirement.
        //
        // SAFETY: By function requirement. A device is released with the mutex of its group held.
        unsafe { Device::from_raw(dev) }.map(Self)
    }
}

impl Deref for LockedDevice<'_> {
    type Target = Device;

    fn deref(&self) -> &Device {
        self.0
    }
}

/// Keeps the IOMMU core from releasing devices, for as long as this exists: `iommu_liveupdate_lock`.
///
/// # Invariants
///
/// The mutex is held, by whoever has this.
pub(crate) struct ReleaseLock(NotThreadSafe);

impl ReleaseLock {
    /// Takes the mutex. May sleep. The mutexes of IOMMU groups and those of records are taken below it.
    pub(crate) fn take() -> Self {
        // SAFETY: A static mutex.
        unsafe { bindings::mutex_lock(&raw mut bindings::iommu_liveupdate_lock) };

        // INVARIANT: Just taken.
        Self(NotThreadSafe)
    }
}

impl Drop for ReleaseLock {
    fn drop(&mut self) {
        // SAFETY: By the type invariants.
        unsafe { bindings::mutex_unlock(&raw mut bindings::iommu_liveupdate_lock) };
    }
}

/// Returns whether a function does not return `true` for a device.
///
/// # Safety
///
/// `dev` is a device that is not released meanwhile, and `f` points to the function, which nobody else
/// has.
unsafe extern "C" fn refuses<F: FnMut(&Device) -> bool>(
    dev: *mut bindings::device,
    f: *mut c_void,
) -> c_int {
    // SAFETY: By function requirement.
    let f = unsafe { &mut *f.cast::<F>() };

    // SAFETY: By function requirement.
    let holds = unsafe { Device::from_raw(dev) }.is_some_and(f);
    (!holds).into()
}
