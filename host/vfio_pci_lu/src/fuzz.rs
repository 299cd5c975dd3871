// SPDX-License-Identifier: GPL-2.0

//! What has to hold of any bytes at all.

use crate::entries::RawCoreDeviceSer;
use kernel::{
    liveupdate::pci::{
        Address,
        RawAddress, //
    },
    prelude::*, //
};

/// Reads bytes as if they were handed over: a `struct vfio_pci_core_device_ser`.
///
/// Returns whether they were accepted.
///
/// # Panics
///
/// If they are accepted and mean something else than they say.
pub fn fuzz_vfio(bytes: &[u8]) -> bool {
    let Ok(record) = RawCoreDeviceSer::read_from_bytes(bytes) else {
        return false;
    };
    let Ok(address) = Address::try_from(RawAddress::from(record)) else {
        return false;
    };

    assert_eq!(RawCoreDeviceSer::from(address).as_bytes(), bytes);
    true
}
