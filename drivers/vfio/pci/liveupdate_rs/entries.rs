// SPDX-License-Identifier: GPL-2.0

//! The record of a preserved file, and what may be believed of it.
//!
//! Mirrors `include/linux/kho/abi/vfio_pci.h`.

use kernel::{
    liveupdate::pci::{
        Address,
        RawAddress, //
    },
    prelude::*, //
};
use zerocopy_derive::{
    Immutable,
    KnownLayout, //
};

/// The device of a preserved file: `struct vfio_pci_core_device_ser`.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, packed)]
pub(crate) struct RawCoreDeviceSer {
    pub(crate) domain: u32,
    pub(crate) bdf: u16,
}

impl From<Address> for RawCoreDeviceSer {
    fn from(address: Address) -> Self {
        Self {
            domain: address.domain(),
            bdf: address.bdf(),
        }
    }
}

impl From<RawCoreDeviceSer> for RawAddress {
    fn from(raw: RawCoreDeviceSer) -> Self {
        Self {
            domain: raw.domain,
            bdf: raw.bdf,
        }
    }
}
