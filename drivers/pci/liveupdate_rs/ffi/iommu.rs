// SPDX-License-Identifier: GPL-2.0

//! What IOMMUs have of incoming devices: `include/linux/iommu_liveupdate.h`.

use kernel::{
    bindings,
    liveupdate::pci as lu_pci,
    pci, //
};

/// Returns whether entries were handed over for a device in its IOMMU, and it is not finished. May sleep.
pub(crate) fn has_translation(device: &pci::Device) -> bool {
    // SAFETY: It is a part of a device.
    unsafe { bindings::iommu_liveupdate_was_preserved(lu_pci::as_raw_device(device)) }
}

/// Ends the passage of a device as far as its IOMMU is concerned, if entries were handed over for it. May
/// sleep.
pub(crate) fn end_translation(device: &pci::Device) {
    // SAFETY: It is a part of a device.
    unsafe { bindings::iommu_liveupdate_finish_device(lu_pci::as_raw_device(device)) };
}

/// Returns whether a device does DMA since the previous kernel. May sleep.
pub(crate) fn goes_on(device: &pci::Device) -> bool {
    // SAFETY: It is a part of a device.
    unsafe { bindings::iommu_liveupdate_goes_on(lu_pci::as_raw_device(device), false) }
}

/// Returns whether the passage of a device ended before it was found, though it may be doing DMA. May
/// sleep.
pub(crate) fn was_cut_off(device: &pci::Device) -> bool {
    let address = lu_pci::address(device);

    // SAFETY: Has no requirements but that one may sleep.
    unsafe { bindings::iommu_liveupdate_was_cut_off(address.domain(), address.bdf()) }
}
