// SPDX-License-Identifier: GPL-2.0

//! Stands in for `iommu.rs` in a kernel that hands over no page tables.

use kernel::{
    bindings,
    ffi::c_void,
    prelude::*, //
};

pub(super) fn register_flb(_handler: *mut bindings::liveupdate_file_handler) -> Result {
    Ok(())
}

pub(super) fn preserve_domain(_domain: *mut bindings::iommu_domain) -> Result<u64> {
    Err(ENODEV)
}

pub(super) fn unpreserve_domain(_domain: *mut bindings::iommu_domain) {}

pub(super) fn preserve_device(
    _domain: *mut bindings::iommu_domain,
    _dev: *mut bindings::device,
    _token: u64,
) -> Result {
    Err(ENODEV)
}

pub(super) fn unpreserve_device(_domain: *mut bindings::iommu_domain, _dev: *mut bindings::device) {
}

pub(super) fn transfer_domain(_handle: u64, _owner: *mut c_void) {}

pub(super) fn can_end() -> bool {
    true
}

pub(super) fn end_domain(_handle: u64) {}

pub(super) fn end_owner(_owner: *mut c_void) {}

pub(super) fn end_lost() {}
