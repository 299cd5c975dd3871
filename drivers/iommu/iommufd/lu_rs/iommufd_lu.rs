// SPDX-License-Identifier: GPL-2.0

//! Preserves iommufds across a live update.
//!
//! User space marks those HWPTs of an iommufd that are to be preserved, preserves the memfds that
//! are mapped, and then the iommufd, in the same session of `/dev/liveupdate`. It retrieves the
//! iommufd from that session in the next kernel, with all that is preserved of it. Devices that go on
//! are bound to it, and attached to the HWPTs that they had, while they do DMA.
//!
//! # Preserved
//!
//! - Marked HWPTs: ID, token, IOAS, flags, and whether they are automatic.
//! - The IOASes that these belong to: ID, areas, ranges that are allowed, and whether large pages are
//!   off. Of an area: IOVA, length, permissions, the token of its memfd, and the offset there.
//! - The IDs of PCI devices that are bound when the iommufd is preserved.
//! - Whether pinned pages are accounted to users or to processes (`IOMMU_OPTION_RLIMIT_MODE`).
//! - Page tables of marked HWPTs, by way of the IOMMU core, and that DMA of devices that use them is
//!   this iommufd's. If the driver of an IOMMU cannot do so, its devices are stopped.
//!
//! # Not preserved
//!
//! - HWPTs that are not marked, IOASes that no marked HWPT belongs to, and all other objects of the
//!   iommufd. Their IDs are free.
//! - A marked HWPT that no device goes on with. Its IOAS is preserved all the same.
//! - That areas share pinned pages, as `IOMMU_IOAS_COPY` has it: each counts by itself.
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
//! The next kernel neither reads a page table nor pins a page when the iommufd is retrieved. Before
//! anything of an IOAS changes, or else when the file is finished, the page tables of its HWPTs are
//! compared with the pages of the memfds that its areas name, and these are pinned (`Context::prove`). One
//! that maps anything else is given up: its devices are stopped and blocked, and nothing can be
//! attached to it any more.
//!
//! # Life of a marked HWPT
//!
//! ```text
//! old kernel:  mark -> preserve (mappings are held, and looked at) -> freeze
//!                   <- unpreserve (mappings may change)            <- unfreeze
//! new kernel:  retrieve (has ID, token, mark and page table) -> prove -> finish
//!                       (cannot be destroyed)
//! ```
//!
//! While mappings are held, changing them fails with `EBUSY`: they are counted for the IOAS, since
//! several HWPTs have the mappings of one. An iommufd that was retrieved is not preserved again
//! before it is finished.
//!
//! # Locks
//!
//! `iommufd_ctx::liveupdate_lock` is taken first, then those of IOASes, and those of the IOMMU core.
//! LUO holds the mutex of the session outside.
//!
//! # Trust
//!
//! - *User space* that has the iommufd is hostile. It may mark and preserve what it likes, at any
//!   time, and change mappings and memfds meanwhile. It gets errors.
//! - *The memory of the previous kernel* is checked: a record that says what it cannot say costs its
//!   iommufd, and a page table that maps something else than the record says its HWPT.

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
