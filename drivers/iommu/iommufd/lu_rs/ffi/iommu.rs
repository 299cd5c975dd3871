// SPDX-License-Identifier: GPL-2.0

//! What hands over page tables, and what devices do with them: `include/linux/iommu_liveupdate.h`.

use super::handles::{
    Attached,
    Domain,
    DomainHandle,
    Owner, //
};
use core::{
    num::NonZeroU64,
    ptr::{
        self,
        NonNull, //
    },
};
use kernel::{
    bindings,
    error::to_result,
    liveupdate::{
        FileHandler,
        Unpublished, //
    },
    prelude::*, //
};

/// Has the files of a handler share the record of preserved page tables.
///
/// # Errors
///
/// As `iommu_liveupdate_register_flb()`.
pub(super) fn register_flb<T: FileHandler>(handler: &Unpublished<T>) -> Result {
    // SAFETY: By the type invariants, the handler is registered, and no file was preserved with it.
    to_result(unsafe { bindings::iommu_liveupdate_register_flb(handler.as_raw()) })
}

/// Preserves the page table of a domain, and returns what the next kernel knows it by.
///
/// # Errors
///
/// As `iommu_preserve_domain()`.
pub(super) fn preserve_domain(domain: Domain<'_>) -> Result<Option<DomainHandle>> {
    let mut handle = 0;

    // SAFETY: By the type invariants, it is a domain, and what it maps is held.
    to_result(unsafe { bindings::iommu_preserve_domain(domain.as_ptr(), &mut handle) })?;
    // There is nothing at address 0.
    Ok(NonZeroU64::new(handle).map(DomainHandle))
}

/// Unpreserves the page table of a domain.
///
/// # Safety
///
/// [`preserve_domain`] succeeded for it, and was not undone.
pub(super) unsafe fn unpreserve_domain(domain: Domain<'_>) {
    // SAFETY: By the type invariants, it is a domain; by function requirement, it was preserved.
    unsafe { bindings::iommu_unpreserve_domain(domain.as_ptr()) };
}

/// Preserves the entries that an IOMMU has for a device that is attached to a domain.
///
/// # Errors
///
/// As `iommu_preserve_device()`.
pub(super) fn preserve_device(attached: Attached<'_>, token: u64) -> Result {
    let (domain, dev) = (attached.domain.as_ptr(), attached.dev.as_ptr());

    // SAFETY: By the type invariants, the device is attached to the domain.
    to_result(unsafe { bindings::iommu_preserve_device(domain, dev, token) })
}

/// Unpreserves the entries that an IOMMU has for a device.
///
/// # Safety
///
/// [`preserve_device`] succeeded for the device, attached to that domain, and was not undone.
pub(super) unsafe fn unpreserve_device(attached: Attached<'_>) {
    let (domain, dev) = (attached.domain.as_ptr(), attached.dev.as_ptr());

    // SAFETY: By function requirement.
    unsafe { bindings::iommu_unpreserve_device(domain, dev) };
}

/// Gives the DMA of all devices that have a domain of the previous kernel to an owner.
///
/// Whoever retrieved the owner holds it until the files that were preserved after it are finished, and
/// with them its devices.
pub(super) fn transfer_domain(handle: DomainHandle, owner: Owner) {
    let owner = ptr::without_provenance_mut(owner.0.get());

    // SAFETY: Accepts any handle, and any pointer, which it does not follow.
    unsafe { bindings::iommu_liveupdate_transfer_domain(handle.0.get(), owner) };
}

/// Takes the domain that the IOMMU core made of what the previous kernel handed over, if it has one. That is
/// the caller's to free, when no device uses it any more.
pub(super) fn take_domain(handle: DomainHandle) -> Option<NonNull<bindings::iommu_domain>> {
    // SAFETY: Accepts any handle.
    NonNull::new(unsafe { bindings::iommu_liveupdate_take_domain(handle.0.get()) })
}

/// Makes the tables of a domain this kernel's, if they were handed over.
///
/// # Errors
///
/// As `iommu_liveupdate_adopt()`.
///
/// # Safety
///
/// `domain` is a domain whose page table nobody changes meanwhile.
pub(super) unsafe fn adopt(domain: *mut bindings::iommu_domain) -> Result {
    // SAFETY: By function requirement.
    to_result(unsafe { bindings::iommu_liveupdate_adopt(domain) })
}

/// Keeps all devices from a domain for good, as it maps what it must not.
///
/// # Safety
///
/// `domain` is a domain.
pub(super) unsafe fn refuse_domain(domain: *mut bindings::iommu_domain) {
    // SAFETY: By function requirement.
    unsafe { bindings::iommu_liveupdate_refuse_domain(domain) };
}

/// Returns whether a device does DMA since the previous kernel.
///
/// # Safety
///
/// `dev` is a device.
pub(super) unsafe fn goes_on(dev: *mut bindings::device) -> bool {
    // SAFETY: By function requirement.
    unsafe { bindings::iommu_liveupdate_goes_on(dev, false) }
}

/// Returns whether all that was handed over can be kept from going on, and says why not.
pub(crate) fn can_end() -> bool {
    // SAFETY: Has no requirements but that one may sleep.
    unsafe { bindings::iommu_liveupdate_can_end() }
}

/// Ends the passage of all that has a domain of the previous kernel, which nobody got.
pub(crate) fn end_domain(handle: DomainHandle) {
    // SAFETY: Accepts any handle.
    unsafe { bindings::iommu_liveupdate_end_domain(handle.0.get()) };
}

/// Ends the passage of all that has domains of the previous kernel which an owner was given.
pub(super) fn end_owner(owner: Owner) {
    let owner = ptr::without_provenance_mut(owner.0.get());

    // SAFETY: Accepts any pointer, and does not follow it.
    unsafe { bindings::iommu_liveupdate_end_owner(owner) };
}

/// Ends the passage of all devices that this kernel did not find.
pub(crate) fn end_lost() {
    // SAFETY: Has no requirements but that one may sleep.
    unsafe { bindings::iommu_liveupdate_end_lost() };
}
