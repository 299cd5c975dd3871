// SPDX-License-Identifier: GPL-2.0

//! The pure part of `kernel::liveupdate::sorted`: all of it.

#[path = "../../../../rust/kernel/liveupdate/sorted.rs"]
mod all;

#[cfg(test)]
mod tests;

// As in the kernel, no more.
pub use self::all::{
    range_of,
    sort, //
};
