// SPDX-License-Identifier: GPL-2.0

//! What is claimed of the pure files.

mod abi;
mod entries;
mod plan;

use kernel::liveupdate::pci::{
    Address,
    RawAddress, //
};

const LAST_DOMAIN: u32 = i32::MAX.unsigned_abs();

fn address(domain: u32, bdf: u16) -> Address {
    Address::try_from(RawAddress { domain, bdf }).unwrap()
}
