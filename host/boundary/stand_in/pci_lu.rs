// SPDX-License-Identifier: GPL-2.0

//! `drivers/pci/liveupdate_rs/ffi.rs`, as far as it is named.

#[path = "../../../drivers/pci/liveupdate_rs/ffi/locks.rs"]
mod locks;

pub(crate) use self::locks::{
    ResetLocks,
    Topology, //
};
