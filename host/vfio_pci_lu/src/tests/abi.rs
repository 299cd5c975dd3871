// SPDX-License-Identifier: GPL-2.0

//! What is claimed of the bytes that are handed over.

use super::address;
use crate::entries::RawCoreDeviceSer;
use kernel::{
    liveupdate::pci::{
        Address,
        RawAddress, //
    },
    prelude::*, //
};
use testing::{
    golden,
    layout::{
        assert_names_all_structs,
        Constant,
        Contract, //
    }, //
};

/// The version is in the name.
const COMPATIBLE: &str = "vfio-pci-rs-v1";

fn contract() -> Contract {
    Contract {
        header: "vfio_pci",
        name: COMPATIBLE.into(),
        constants: vec![("VFIO_PCI_LUO_FH_COMPATIBLE", Constant::Text(COMPATIBLE))],
        structs: vec![
            testing::layout!(RawCoreDeviceSer as vfio_pci_core_device_ser { domain, bdf }),
        ],
    }
}

#[test]
fn has_the_committed_layout() {
    contract().assert_is_committed();
}

#[test]
fn has_the_layout_that_c_sees() {
    contract().assert_is_that_of_c();
    assert_names_all_structs("vfio_pci", &[contract()]);
}

#[test]
fn reads_and_writes_what_was_ever_handed_over() {
    let known = [
        ("ordinary", address(0, 0x0100)),
        ("no-two-bytes-alike", address(0x1234_5678, 0x9abc)),
        ("limits", address(0x7fff_ffff, 0xffff)),
    ];

    golden::check(COMPATIBLE, &known, |bytes, meaning| {
        let record = RawCoreDeviceSer::read_from_bytes(bytes).unwrap();

        assert_eq!(Address::try_from(RawAddress::from(record)), Ok(*meaning));
        assert_eq!(RawCoreDeviceSer::from(*meaning).as_bytes(), bytes);
    });
}
