// SPDX-License-Identifier: GPL-2.0

//! The pure part of `kernel::liveupdate::pci`.

#[path = "../../../../rust/kernel/liveupdate/pci/address.rs"]
#[cfg_attr(
    not(test),
    expect(dead_code, reason = "for devices, which there are none of here")
)]
mod address;

#[cfg(test)]
mod tests;

// As in the kernel, no more.
pub use self::address::{
    Address,
    RawAddress, //
};
