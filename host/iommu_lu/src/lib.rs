// SPDX-License-Identifier: GPL-2.0

//! The pure files of `drivers/iommu/liveupdate_rs`, and their tests.

#![cfg_attr(not(test), no_std)]
#![cfg_attr(
    not(test),
    allow(dead_code, reason = "the rest of the crate is in the kernel only")
)]

#[path = "../../../drivers/iommu/liveupdate_rs/arrays.rs"]
mod arrays;
#[path = "../../../drivers/iommu/liveupdate_rs/entries.rs"]
mod entries;
mod fuzz;
mod intel;
#[path = "../../../drivers/iommu/liveupdate_rs/plan.rs"]
mod plan;
#[cfg(test)]
mod tests;

pub use self::{
    fuzz::fuzz_iommu,
    intel::fuzz_intel, //
};
