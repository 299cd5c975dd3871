// SPDX-License-Identifier: GPL-2.0

//! What is claimed of the record, and the fuzzer's claims without a fuzzer.

use super::{
    address,
    LAST_DOMAIN, //
};
use crate::{
    entries::RawCoreDeviceSer,
    fuzz::fuzz_vfio, //
};
use kernel::{
    liveupdate::pci::{
        Address,
        RawAddress, //
    },
    prelude::*, //
};
use proptest::prelude::*;

#[test]
fn refuses_domains_that_there_cannot_be() {
    for (domain, accepted) in [
        (0, true),
        (LAST_DOMAIN, true),
        (LAST_DOMAIN + 1, false),
        (u32::MAX, false),
    ] {
        let record = RawCoreDeviceSer { domain, bdf: 7 };

        assert_eq!(
            Address::try_from(RawAddress::from(record)).is_ok(),
            accepted
        );
        assert_eq!(fuzz_vfio(record.as_bytes()), accepted);
    }
}

#[test]
fn refuses_bytes_of_another_size() {
    let bytes = [0; 64];

    for size in 0..bytes.len() {
        let bytes = &bytes[..size];

        assert_eq!(RawCoreDeviceSer::read_from_bytes(bytes).is_ok(), size == 6);
        assert_eq!(fuzz_vfio(bytes), size == 6);
    }
}

#[test]
fn may_be_anywhere_in_memory() {
    let bytes = [0; 16];

    for first in 0..8 {
        assert!(RawCoreDeviceSer::ref_from_bytes(&bytes[first..first + 6]).is_ok());
    }
}

proptest! {
    #![proptest_config(testing::config())]

    #[test]
    fn an_address_survives_being_written_and_read(domain in 0..=LAST_DOMAIN, bdf: u16) {
        let address = address(domain, bdf);
        let record = RawCoreDeviceSer::from(address);

        prop_assert_eq!(Address::try_from(RawAddress::from(record)), Ok(address));
        prop_assert!(fuzz_vfio(record.as_bytes()));
    }

    #[test]
    fn any_bytes_are_refused_or_harmless(record: [u8; 6]) {
        let raw = RawAddress::from(RawCoreDeviceSer::read_from_bytes(&record).unwrap());

        prop_assert_eq!(fuzz_vfio(&record), raw.domain <= LAST_DOMAIN);
    }

    #[test]
    fn a_corrupt_bit_is_refused_or_harmless(domain in 0..=LAST_DOMAIN, bdf: u16) {
        let record = RawCoreDeviceSer::from(address(domain, bdf));

        for bit in 0..48 {
            let mut bytes = record.as_bytes().to_vec();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let corrupt = RawCoreDeviceSer::read_from_bytes(&bytes).unwrap();
            let domain = RawAddress::from(corrupt).domain;

            // If it is accepted, it is the address that it says; the fuzzer compares.
            prop_assert_eq!(fuzz_vfio(&bytes), domain <= LAST_DOMAIN);
        }
    }
}
