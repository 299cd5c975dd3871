// SPDX-License-Identifier: GPL-2.0

//! The pure part of `kernel::liveupdate`.

pub mod pci;
pub mod sorted;
