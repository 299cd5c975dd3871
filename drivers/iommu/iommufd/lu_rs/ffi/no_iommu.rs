// SPDX-License-Identifier: GPL-2.0

//! Stands in for `iommu.rs` in a kernel that hands over no page tables.

use super::handles::{
    Attached,
    Domain,
    DomainHandle,
    Owner, //
};
use core::ptr::NonNull;
use kernel::{
    bindings,
    liveupdate::{
        FileHandler,
        Unpublished, //
    },
    prelude::*, //
};

/// Has nothing to share.
pub(super) fn register_flb<T: FileHandler>(_handler: &Unpublished<T>) -> Result {
    Ok(())
}

pub(super) fn preserve_domain(_domain: Domain<'_>) -> Result<Option<DomainHandle>> {
    Err(ENODEV)
}

/// # Safety
///
/// None: nothing was preserved.
pub(super) unsafe fn unpreserve_domain(_domain: Domain<'_>) {}

pub(super) fn preserve_device(_attached: Attached<'_>, _token: u64) -> Result {
    Err(ENODEV)
}

/// # Safety
///
/// None: nothing was preserved.
pub(super) unsafe fn unpreserve_device(_attached: Attached<'_>) {}

pub(super) fn transfer_domain(_handle: DomainHandle, _owner: Owner) {}

pub(super) fn take_domain(_handle: DomainHandle) -> Option<NonNull<bindings::iommu_domain>> {
    None
}

/// # Safety
///
/// None: it is not looked at.
pub(super) unsafe fn adopt(_domain: *mut bindings::iommu_domain) -> Result {
    Ok(())
}

/// # Safety
///
/// None: it is not looked at.
pub(super) unsafe fn refuse_domain(_domain: *mut bindings::iommu_domain) {}

/// # Safety
///
/// None: it is not looked at.
pub(super) unsafe fn goes_on(_dev: *mut bindings::device) -> bool {
    false
}

/// Returns whether all that was handed over can be kept from going on: nothing does.
pub(crate) fn can_end() -> bool {
    true
}

/// Has nothing to end.
pub(crate) fn end_domain(_handle: DomainHandle) {}

pub(super) fn end_owner(_owner: Owner) {}

/// Has nothing to end.
pub(crate) fn end_lost() {}
