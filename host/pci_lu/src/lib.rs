// SPDX-License-Identifier: GPL-2.0

//! The pure files of `drivers/pci/liveupdate_rs`, and their tests.

#![cfg_attr(not(test), no_std)]
#![cfg_attr(
    not(test),
    allow(dead_code, reason = "the rest of the crate is in the kernel only")
)]

#[path = "../../../drivers/pci/liveupdate_rs/entries.rs"]
mod entries;
mod fuzz;
#[path = "../../../drivers/pci/liveupdate_rs/plan.rs"]
mod plan;
#[path = "../../../drivers/pci/liveupdate_rs/probes.rs"]
mod probes;
#[path = "../../../drivers/pci/liveupdate_rs/regions.rs"]
mod regions;
mod storage;
#[cfg(test)]
mod tests;
#[path = "../../../drivers/pci/liveupdate_rs/writes.rs"]
mod writes;

pub use self::fuzz::{
    fuzz_pci,
    fuzz_pci_driver,
    fuzz_pci_probe, //
};
