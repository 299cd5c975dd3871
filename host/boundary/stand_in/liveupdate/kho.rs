// SPDX-License-Identifier: GPL-2.0

//! `rust/kernel/liveupdate/kho.rs`, as far as it is named.

#[path = "../../../../rust/kernel/liveupdate/kho/memory.rs"]
mod memory;

pub use self::memory::{
    Folio,
    Preserved, //
};
