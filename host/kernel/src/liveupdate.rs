// SPDX-License-Identifier: GPL-2.0

//! The pure part of `kernel::liveupdate`.

pub mod iommu;
pub mod pci;
pub mod sorted;
