// SPDX-License-Identifier: GPL-2.0

//! The pure files of `drivers/iommu/intel/lu_rs`, and their tests.

#[path = "../../../drivers/iommu/intel/lu_rs/bits.rs"]
mod bits;
mod fuzz;
#[path = "../../../drivers/iommu/intel/lu_rs/plan.rs"]
mod plan;
#[cfg(test)]
mod tests;

pub use self::fuzz::fuzz_intel;
