// SPDX-License-Identifier: GPL-2.0

//! Lets remapping units of Intel VT-d go on translating across a live update.
//!
//! A module of the crate in `drivers/iommu/liveupdate_rs`, beside the driver that it is a part of.
//!
//! The next kernel adopts the tables of a unit where they are. Neither translation nor interrupt
//! remapping is switched off on the way, and nothing is written that the unit did not have.
//!
//! # Preserved
//!
//! - The root table, all context tables, and the interrupt remapping table until the next kernel
//!   has its own.
//! - For each device that goes on: its context entry, its PASID directory with the first PASID
//!   table, its domain ID, and whether it translates by itself (ATS).
//!
//! # Not preserved
//!
//! - Entries of all other devices, and of their aliases: they are cleared when the unit is shut down,
//!   and so are context tables that nobody preserved.
//! - Entries for interrupts: all messages are dropped until the next kernel wants some.
//! - PASIDs but the first one, and page requests.
//! - Units with devices that firmware reserved memory for: preserving is refused.
//!
//! # Life of a unit
//!
//! ```text
//! this kernel:   preserve (with its first device) <-> unpreserve
//!                keep (the kexec comes), shut down: all else is cleared, caches are flushed
//! next kernel:   adopt: entries are compared with the records, and cleared if they differ
//!                attach: the first domain of a device is the one that it had
//! ```
//!
//! # Trust
//!
//! The memory that the previous kernel left is checked, and so is what the unit has: tables that were
//! not handed over are not followed.

mod apply;
mod bits;
#[expect(unsafe_code, reason = "C boundary")]
mod exports;
#[expect(unsafe_code, reason = "C boundary")]
mod ffi;
mod kept;
mod plan;

pub(crate) use self::apply::VtD;
