// SPDX-License-Identifier: GPL-2.0

//! What is claimed of records.

use super::{
    address,
    any_entry,
    any_format,
    entry,
    format,
    LAST_DOMAIN, //
};
use crate::entries::{
    BadRecord,
    DriverEntry,
    Format,
    RawDevSer,
    RawDriverSer,
    RawSer,
    FORMAT_LENGTH,
    VERSION, //
};
use kernel::{
    fmt::Adapter,
    prelude::*, //
};
use proptest::prelude::*;

pub(super) fn header(nr_devices: u32) -> RawSer {
    RawSer {
        version: VERSION,
        nr_devices,
        devices: 0,
    }
}

/// Returns the value with each one of its bits inverted in turn.
pub(super) fn corruptions<T: FromBytes + IntoBytes + zerocopy::Immutable>(value: &T) -> Vec<T> {
    (0..8 * size_of::<T>())
        .map(|bit| {
            let mut bytes = value.as_bytes().to_vec();
            bytes[bit / 8] ^= 1 << (bit % 8);
            T::read_from_bytes(&bytes).unwrap()
        })
        .collect()
}

#[test]
fn accepts_its_own_version_and_no_other() {
    assert_eq!(header(0).check_version(), Ok(()));

    for version in (0..=u16::MAX.into())
        .chain([u32::MAX])
        .filter(|&v| v != VERSION)
    {
        let header = RawSer {
            version,
            ..header(0)
        };

        assert_eq!(header.check_version(), Err(BadRecord::Version(version)));
    }
}

#[test]
fn accepts_the_announced_number_of_devices_and_no_other() {
    for announced in 0..32 {
        for found in 0..32usize {
            let expected = if u64::from(announced) == found as u64 {
                Ok(())
            } else {
                Err(BadRecord::Count { announced, found })
            };

            assert_eq!(header(announced).check_count(found), expected);
        }
    }
}

#[test]
fn does_not_confuse_numbers_of_devices_that_differ_by_a_power_of_two() {
    let found = 1usize << 32;

    assert_eq!(
        header(0).check_count(found),
        Err(BadRecord::Count {
            announced: 0,
            found
        })
    );
    assert_eq!(header(u32::MAX).check_count(found - 1), Ok(()));
}

#[test]
fn takes_a_record_for_free_exactly_if_its_count_is_zero() {
    for refcount in 0..=u16::MAX {
        let record = RawDevSer {
            domain: 1,
            bdf: 2,
            refcount,
        };

        let expected = (refcount != 0).then(|| entry(1, 2, refcount));
        assert_eq!(record.entry(), Ok(expected));
    }
}

#[test]
fn believes_nothing_of_a_free_record() {
    let record = RawDevSer {
        domain: u32::MAX,
        bdf: u16::MAX,
        refcount: 0,
    };

    assert_eq!(record.entry(), Ok(None));
}

#[test]
fn refuses_domains_that_there_cannot_be() {
    for domain in [LAST_DOMAIN + 1, u32::MAX] {
        let record = RawDevSer {
            domain,
            bdf: 0,
            refcount: 1,
        };

        assert_eq!(record.entry(), Err(BadRecord::Domain(domain)));
    }
}

#[test]
fn refuses_bytes_of_another_size() {
    let bytes = [0; 64];

    for size in 0..bytes.len() {
        let bytes = &bytes[..size];

        assert_eq!(RawSer::read_from_bytes(bytes).is_ok(), size == 16);
        assert_eq!(RawDevSer::read_from_bytes(bytes).is_ok(), size == 8);
        assert_eq!(RawDriverSer::read_from_bytes(bytes).is_ok(), size == 64);
        assert_eq!(RawSer::read_from_prefix(bytes).is_ok(), size >= 16);
        assert_eq!(RawDevSer::read_from_prefix(bytes).is_ok(), size >= 8);
    }
}

#[test]
fn refuses_lists_that_end_within_a_record_or_are_not_aligned() {
    let words = [0u64; 6];
    let bytes = words.as_bytes();

    for first in 0..8 {
        for size in 0..=40 {
            let list = <[RawDevSer]>::ref_from_bytes(&bytes[first..first + size]);
            let aligned = first % align_of::<RawDevSer>() == 0;

            assert_eq!(list.is_ok(), aligned && size % 8 == 0);
        }
    }
}

#[test]
fn says_what_is_wrong() {
    let address = address(0, 0x0108);

    for (bad, text) in [
        (BadRecord::Version(7), "version 7 is not known"),
        (
            BadRecord::Domain(0x8000_0001),
            "there is no domain 0x80000001",
        ),
        (BadRecord::Duplicate(address), "0000:01:01.0 is named twice"),
        (
            BadRecord::Format(address),
            "0000:01:01.0 has no name of a format",
        ),
        (
            BadRecord::Reserved(address),
            "0000:01:01.0 has a field that is to be zero and is not",
        ),
        (
            BadRecord::TooMany,
            "more devices are named than there can be",
        ),
        (
            BadRecord::Count {
                announced: 3,
                found: 2,
            },
            "3 devices are announced, 2 are named",
        ),
    ] {
        assert_eq!(Adapter(&bad).to_string(), text);
    }
}

/// A record of a device at 0000:00:01.0 whose name is followed by zeroes, if there is room.
fn driver(name: &[u8]) -> RawDriverSer {
    let mut compatible = [0; FORMAT_LENGTH];
    compatible[..name.len()].copy_from_slice(name);

    RawDriverSer {
        domain: 0,
        bdf: 8,
        reserved: 0,
        data: 0x1000,
        compatible,
    }
}

#[test]
fn a_format_has_a_name_that_fits_and_ends() {
    for length in 0..=2 * FORMAT_LENGTH {
        let name = vec![b'v'; length];

        assert_eq!(
            Format::new(&name).is_some(),
            (1..FORMAT_LENGTH).contains(&length)
        );
        for at in 0..length {
            let mut name = name.clone();
            name[at] = 0;

            assert_eq!(Format::new(&name), None);
        }
    }
}

#[test]
fn refuses_a_driver_without_a_name_or_an_end_of_it() {
    for length in 0..=FORMAT_LENGTH {
        let entry = DriverEntry::try_from(driver(&vec![b'v'; length]));

        assert_eq!(
            entry,
            match length {
                0 | FORMAT_LENGTH => Err(BadRecord::Format(address(0, 8))),
                _ => Ok(DriverEntry {
                    address: address(0, 8),
                    format: format(&"v".repeat(length)),
                    data: 0x1000,
                }),
            }
        );
    }
}

#[test]
fn refuses_a_driver_with_something_in_a_field_that_is_to_be_zero() {
    for reserved in 1..=u16::MAX {
        let record = RawDriverSer {
            reserved,
            ..driver(b"v")
        };

        assert_eq!(
            DriverEntry::try_from(record),
            Err(BadRecord::Reserved(address(0, 8)))
        );
    }
}

#[test]
fn judges_the_domain_of_a_driver_before_its_name() {
    for domain in [LAST_DOMAIN + 1, u32::MAX] {
        for name in ["", "v"] {
            let record = RawDriverSer {
                domain,
                ..driver(name.as_bytes())
            };

            assert_eq!(
                DriverEntry::try_from(record),
                Err(BadRecord::Domain(domain))
            );
        }
    }
}

/// Any driver.
fn any_driver() -> impl Strategy<Value = DriverEntry> {
    (any_entry(), any_format(), any::<u64>()).prop_map(|(entry, format, data)| DriverEntry {
        address: entry.address,
        format,
        data,
    })
}

proptest! {
    #![proptest_config(testing::config())]

    #[test]
    fn an_entry_survives_being_written_and_read(entry in any_entry()) {
        prop_assert_eq!(RawDevSer::from(entry).entry(), Ok(Some(entry)));
    }

    #[test]
    fn a_record_that_is_accepted_says_what_it_is_taken_for(record: [u8; 8]) {
        match RawDevSer::read_from_bytes(&record).unwrap().entry() {
            Ok(Some(entry)) => {
                let written = RawDevSer::from(entry);
                prop_assert_eq!(written.as_bytes(), record)
            }
            Ok(None) => prop_assert_eq!(&record[6..], [0, 0]),
            Err(bad) => {
                let domain = u32::from_ne_bytes(record[..4].try_into().unwrap());
                prop_assert!(domain > LAST_DOMAIN);
                prop_assert_eq!(bad, BadRecord::Domain(domain));
            }
        }
    }

    #[test]
    fn a_corrupt_bit_of_a_record_is_refused_or_harmless(entry in any_entry()) {
        for corrupt in corruptions(&RawDevSer::from(entry)) {
            match corrupt.entry() {
                Ok(Some(entry)) => prop_assert_eq!(RawDevSer::from(entry), corrupt),
                // That an entry is gone is found by the count.
                Ok(None) => {
                    prop_assert!(entry.refcount.is_power_of_two());
                    prop_assert_eq!(corrupt.refcount, 0);
                }
                Err(bad) => prop_assert_eq!(bad, BadRecord::Domain(corrupt.domain)),
            }
        }
    }

    #[test]
    fn a_driver_survives_being_written_and_read(driver in any_driver()) {
        prop_assert_eq!(DriverEntry::try_from(RawDriverSer::from(driver)), Ok(driver));
    }

    #[test]
    fn believes_nothing_behind_the_end_of_a_name(
        driver in any_driver(),
        behind: [u8; FORMAT_LENGTH],
    ) {
        let clean = RawDriverSer::from(driver);
        let end = clean.compatible.iter().position(|byte| *byte == 0).unwrap();

        let mut record = clean;
        record.compatible[end + 1..].copy_from_slice(&behind[end + 1..]);

        // The same format, so that it is compared and handed over again as the same.
        let read = DriverEntry::try_from(record);
        prop_assert_eq!(read, Ok(driver));
        prop_assert_eq!(RawDriverSer::from(read.unwrap()), clean);
    }

    #[test]
    fn a_corrupt_bit_of_a_driver_is_refused_or_harmless(driver in any_driver()) {
        let record = RawDriverSer::from(driver);
        let name = |record: &RawDriverSer| {
            let end = record.compatible.iter().position(|byte| *byte == 0)?;
            Some(record.compatible[..end].to_vec())
        };

        for corrupt in corruptions(&record) {
            match DriverEntry::try_from(corrupt) {
                // It is another driver exactly if it says so.
                Ok(entry) => {
                    prop_assert_eq!(corrupt.reserved, 0);
                    let address = (entry.address.domain(), entry.address.bdf());
                    prop_assert_eq!(address, (corrupt.domain, corrupt.bdf));

                    let name = name(&corrupt).unwrap();
                    prop_assert_eq!(Some(entry.format), Format::new(&name));
                }
                Err(BadRecord::Domain(domain)) => {
                    prop_assert_eq!(domain, corrupt.domain);
                    prop_assert!(domain > LAST_DOMAIN);
                }
                Err(BadRecord::Reserved(address)) => {
                    prop_assert_eq!(address, driver.address);
                    prop_assert_ne!(corrupt.reserved, 0);
                }
                Err(bad) => {
                    prop_assert_eq!(bad, BadRecord::Format(driver.address));
                    prop_assert!(name(&corrupt).is_none_or(|name| name.is_empty()));
                }
            }
        }
    }
}
