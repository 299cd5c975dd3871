// SPDX-License-Identifier: GPL-2.0

//! What hands over page tables, and what devices do with them: `include/linux/iommu_liveupdate.h`.
//!
//! The pointers are those of this crate's own types, whose invariants say that they are good.

use kernel::{
    bindings,
    error::to_result,
    ffi::c_void,
    prelude::*, //
};

/// Has the files of a handler share the record of page tables.
pub(super) fn register_flb(handler: *mut bindings::liveupdate_file_handler) -> Result {
    // SAFETY: The handler is registered, and no file was preserved with it.
    to_result(unsafe { bindings::iommu_liveupdate_register_flb(handler) })
}

/// Preserves the page table of a domain, and returns what the next kernel knows it by.
pub(super) fn preserve_domain(domain: *mut bindings::iommu_domain) -> Result<u64> {
    let mut handle = 0;

    // SAFETY: It is a domain, and what it maps is held.
    to_result(unsafe { bindings::iommu_preserve_domain(domain, &mut handle) })?;
    Ok(handle)
}

/// Unpreserves the page table of a domain.
pub(super) fn unpreserve_domain(domain: *mut bindings::iommu_domain) {
    // SAFETY: It is a domain, which was preserved.
    unsafe { bindings::iommu_unpreserve_domain(domain) };
}

/// Preserves the entries that an IOMMU has for a device that is attached to a domain.
pub(super) fn preserve_device(
    domain: *mut bindings::iommu_domain,
    dev: *mut bindings::device,
    token: u64,
) -> Result {
    // SAFETY: It is a domain, and the device stays attached to it.
    to_result(unsafe { bindings::iommu_preserve_device(domain, dev, token) })
}

/// Unpreserves the entries that an IOMMU has for a device.
pub(super) fn unpreserve_device(domain: *mut bindings::iommu_domain, dev: *mut bindings::device) {
    // SAFETY: The device was preserved, attached to that domain.
    unsafe { bindings::iommu_unpreserve_device(domain, dev) };
}

/// Gives the DMA of all devices that have a domain of the previous kernel to an owner.
pub(super) fn transfer_domain(handle: u64, owner: *mut c_void) {
    // SAFETY: Accepts any handle. The owner lives until its devices are finished: whoever retrieved
    // it holds it until the files that were preserved after it are.
    unsafe { bindings::iommu_liveupdate_transfer_domain(handle, owner) };
}

/// Returns whether all that was handed over can be kept from going on.
pub(super) fn can_end() -> bool {
    // SAFETY: Has no requirements but that one may sleep.
    unsafe { bindings::iommu_liveupdate_can_end() }
}

/// Ends what is left of a domain of the previous kernel.
pub(super) fn end_domain(handle: u64) {
    // SAFETY: Accepts any handle.
    unsafe { bindings::iommu_liveupdate_end_domain(handle) };
}

/// Ends what is left of all domains of the previous kernel that an owner has.
pub(super) fn end_owner(owner: *mut c_void) {
    // SAFETY: Accepts any pointer, and does not follow it.
    unsafe { bindings::iommu_liveupdate_end_owner(owner) };
}

/// Ends what is left of all devices that are not found.
pub(super) fn end_lost() {
    // SAFETY: Has no requirements but that one may sleep.
    unsafe { bindings::iommu_liveupdate_end_lost() };
}
