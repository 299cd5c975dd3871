// SPDX-License-Identifier: GPL-2.0

//! Stands in for `iommu.rs` in a kernel whose IOMMUs take no entries over.

use kernel::pci;

/// Returns whether entries were handed over for a device in its IOMMU: none are taken over.
pub(crate) fn has_translation(_device: &pci::Device) -> bool {
    false
}

/// Has nothing to take away.
pub(crate) fn end_translation(_device: &pci::Device) {}

/// Returns whether a device does DMA since the previous kernel: none does.
pub(crate) fn goes_on(_device: &pci::Device) -> bool {
    false
}

/// Returns whether the passage of a device ended before it was found: none does DMA.
pub(crate) fn was_cut_off(_device: &pci::Device) -> bool {
    false
}
