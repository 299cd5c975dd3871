// SPDX-License-Identifier: GPL-2.0

//! Preserves iommufds across a live update.
//!
//! User space marks those HWPTs of an iommufd that are to be preserved, preserves the memfds that
//! are mapped, and then the iommufd, in the same session of `/dev/liveupdate`. It retrieves the
//! iommufd from that session in the next kernel.
//!
//! # Preserved
//!
//! - That there is an iommufd, and what its marked HWPTs are called.
//! - Page tables of marked HWPTs, by way of the IOMMU core, and that DMA of devices that use them is
//!   this iommufd's. If the driver of an IOMMU cannot do so, its devices are stopped.
//!
//! # Not preserved
//!
//! - That page tables are HWPTs: the retrieved iommufd is an empty one. Devices that go on do so
//!   until they are bound to it.
//! - IOASs, HWPTs that are not marked, and all other objects of the iommufd.
//! - HWPTs that are nested, or that deliver faults to user space: they cannot be marked.
//! - iommufds that are containers of VFIO groups: they cannot be preserved.
//!
//! # What is mapped
//!
//! A device that uses a page table reaches whatever it maps, whoever has that memory. So every page
//! that a marked HWPT maps is a page of a memfd that the same session preserves. Whoever preserves a
//! memfd keeps it from losing pages from then on. No page left it before if it counts as many removals
//! as when the first page was pinned (`plan::Removals`); otherwise each leaf of the page table is
//! compared with the pages of the memfd (`plan::prove`).
//!
//! # Life of a marked HWPT
//!
//! ```text
//! old kernel:  mark -> preserve (mappings are held, and looked at) -> freeze
//!                   <- unpreserve (mappings may change)            <- unfreeze
//! new kernel:  retrieve -> finish
//! ```
//!
//! While mappings are held, changing them fails with `EBUSY`: they are counted for the IOAS, since
//! several HWPTs have the mappings of one.
//!
//! # Locks
//!
//! `iommufd_ctx::liveupdate_lock` is taken first, then those of IOASs, and those of the IOMMU core.
//! LUO holds the mutex of the session outside.
//!
//! # Trust
//!
//! - *User space* that has the iommufd is hostile. It may mark and preserve what it likes, at any
//!   time, and change mappings and memfds meanwhile. It gets errors.
//! - *The memory of the previous kernel* is checked: a record that says what it cannot say costs its
//!   iommufd.

#![deny(unsafe_code)]

mod apply;
mod entries;
#[expect(unsafe_code, reason = "C boundary")]
mod exports;
#[expect(unsafe_code, reason = "C boundary")]
mod ffi;
mod plan;

/// What messages begin with.
const __LOG_PREFIX: &[u8] = b"iommufd_liveupdate\0";

kernel::local_module!(c"iommufd");
