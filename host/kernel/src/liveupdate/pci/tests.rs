// SPDX-License-Identifier: GPL-2.0

//! What is claimed of an address.

extern crate std;

use super::{
    address::BadDomain,
    Address,
    RawAddress, //
};
use crate::error::{
    code::EINVAL,
    Error, //
};
use proptest::prelude::*;
use std::{
    format,
    string::String, //
};

const LAST_DOMAIN: u32 = i32::MAX.unsigned_abs();

fn parse(text: &str) -> Option<(u32, u8, u8, u8)> {
    let (domain, rest) = text.split_once(':')?;
    let (bus, rest) = rest.split_once(':')?;
    let (device, function) = rest.split_once('.')?;

    assert!(domain.len() >= 4 && (domain.len() == 4 || !domain.starts_with('0')));
    assert_eq!((bus.len(), device.len(), function.len()), (2, 2, 1));

    Some((
        u32::from_str_radix(domain, 16).ok()?,
        u8::from_str_radix(bus, 16).ok()?,
        u8::from_str_radix(device, 16).ok()?,
        u8::from_str_radix(function, 8).ok()?,
    ))
}

#[test]
fn is_written_as_the_kernel_names_devices() {
    for (domain, bdf, name) in [
        (0, 0, "0000:00:00.0"),
        (0, 0x0100, "0000:01:00.0"),
        (0, 0x00ff, "0000:00:1f.7"),
        (0xab, 0xcd2b, "00ab:cd:05.3"),
        (0x1_0000, 0xffff, "10000:ff:1f.7"),
        (LAST_DOMAIN, 0xffff, "7fffffff:ff:1f.7"),
    ] {
        assert_eq!(format!("{:?}", Address::new(domain, bdf)), name);
    }
}

#[test]
fn is_taken_apart_into_bus_device_and_function() {
    for bdf in 0..=u16::MAX {
        let address = Address::new(3, bdf);
        let [bus, devfn] = [bdf / 256, bdf % 256].map(|part| u8::try_from(part).unwrap());

        assert_eq!((address.domain(), address.bdf()), (3, bdf));
        assert_eq!((address.bus(), address.devfn()), (bus, devfn));
        assert_eq!(
            parse(&format!("{address:?}")),
            Some((3, bus, devfn / 8, devfn % 8))
        );
    }
}

#[test]
fn is_ordered_by_bus_device_and_function_within_a_domain() {
    for bdf in 0..u16::MAX {
        assert!(Address::new(3, bdf) < Address::new(3, bdf + 1));
    }
    assert!(Address::new(3, u16::MAX) < Address::new(4, 0));
}

#[test]
fn accepts_every_domain_that_an_int_can_number_and_no_other() {
    for domain in [0, 1, 0xffff, 0x1_0000, LAST_DOMAIN - 1, LAST_DOMAIN] {
        let raw = RawAddress {
            domain,
            bdf: 0x0108,
        };

        assert_eq!(Address::try_from(raw), Ok(Address::new(domain, 0x0108)));
    }
    for domain in [LAST_DOMAIN + 1, LAST_DOMAIN + 2, u32::MAX - 1, u32::MAX] {
        let raw = RawAddress {
            domain,
            bdf: 0x0108,
        };

        assert_eq!(Address::try_from(raw), Err(BadDomain(domain)));
    }
}

#[test]
fn a_bad_domain_is_an_invalid_argument() {
    assert_eq!(Error::from(BadDomain(u32::MAX)), EINVAL);
    assert_eq!(EINVAL.to_errno(), -22);
}

proptest! {
    #![proptest_config(testing::config())]

    #[test]
    fn survives_being_written_and_checked(domain in 0..=LAST_DOMAIN, bdf: u16) {
        let address = Address::new(domain, bdf);

        prop_assert_eq!(Address::try_from(RawAddress::from(address)), Ok(address));
    }

    #[test]
    fn is_refused_exactly_if_the_domain_is_no_int(domain: u32, bdf: u16) {
        let checked = Address::try_from(RawAddress { domain, bdf });

        prop_assert_eq!(checked.is_ok(), domain >> 31 == 0);
        if let Ok(address) = checked {
            prop_assert_eq!(RawAddress::from(address), RawAddress { domain, bdf });
        }
    }

    #[test]
    fn is_ordered_by_domain_first(a: (u16, u16), b: (u16, u16)) {
        let [x, y] = [a, b].map(|(domain, bdf)| Address::new(domain.into(), bdf));

        prop_assert_eq!(x.cmp(&y), a.cmp(&b));
    }

    #[test]
    fn can_be_read_back_from_its_name(domain in 0..=LAST_DOMAIN, bdf: u16) {
        let address = Address::new(domain, bdf);
        let name: String = format!("{address:?}");
        let devfn = address.devfn();

        prop_assert_eq!(parse(&name), Some((domain, address.bus(), devfn >> 3, devfn & 7)));
    }
}
