// SPDX-License-Identifier: GPL-2.0

//! Stand-in for the kernel's pages.

/// The size of a page in bytes, on x86.
pub const PAGE_SIZE: usize = 4096;
