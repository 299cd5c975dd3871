// SPDX-License-Identifier: GPL-2.0

//! Hands translations of DMA over to the next kernel, so that the DMA goes on.
//!
//! Whoever owns the DMA of a device has the domain preserved that the device is attached to, and
//! then the device. The next kernel attaches the device to that domain before anything else, and
//! changes nothing that the IOMMU could notice.
//!
//! # Preserved
//!
//! - Domains: the tables that translate.
//! - Devices: which domain they are attached to, by which tag, and that their DMA is owned.
//! - IOMMUs: what their drivers preserve of them.
//!
//! # Not preserved
//!
//! - What a domain maps, beyond its tables: that memory is preserved by who owns it.
//! - Domains that are nested, shared with a process, or have an I/O page fault handler.
//! - Attachments of PASIDs: they are refused.
//! - A part of an IOMMU group: what is in one goes on together, or not at all. Ports and bridges are
//!   not counted, and set up again.
//!
//! # Life of a domain
//!
//! ```text
//! this kernel:   preserve: all tables are, nobody may change them   <-> unpreserve
//! next kernel:   restore: a domain that names the first table       O(1)
//!                adopt: all tables become this kernel's             before any of them is changed
//!                free
//! ```
//!
//! # Trust
//!
//! The memory that the previous kernel left is checked: what is wrong costs the device that it is
//! about its translation. Such a device is stopped, attached to nothing, and owned: no driver and
//! no iommufd can have its DMA.

#![deny(unsafe_code)]

mod apply;
mod arrays;
mod driver;
mod entries;
#[expect(unsafe_code, reason = "C boundary")]
mod exports;
#[expect(unsafe_code, reason = "C boundary")]
mod ffi;
#[path = "../intel/lu_rs/mod.rs"]
mod intel;
mod kept;
mod plan;

/// Prefix of this crate's messages in the kernel log.
const __LOG_PREFIX: &[u8] = b"iommu_liveupdate\0";

kernel::local_module!(c"iommu_liveupdate");
