// SPDX-License-Identifier: GPL-2.0

//! What is claimed of records.

use super::{
    any_entries,
    any_entry,
    entry,
    some_entries,
    LAST_DOMAIN, //
};
use crate::{
    apply,
    entries::{
        BadRecord,
        RawDevSer,
        RawSer,
        MAX_DEVICES,
        VERSION, //
    },
};
use kernel::prelude::*;
use proptest::prelude::*;

fn header(nr_devices: u32) -> RawSer {
    RawSer {
        version: VERSION,
        nr_devices,
        devices: 0,
    }
}

/// Returns the value with each one of its bits inverted in turn.
fn corruptions<T: FromBytes + IntoBytes + zerocopy::Immutable>(value: &T) -> Vec<T> {
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
        assert_eq!(apply::read(&header, &[]), Err(BadRecord::Version(version)));
    }
}

#[test]
fn judges_the_version_before_all_else() {
    let header = RawSer {
        version: VERSION + 1,
        nr_devices: 7,
        devices: u64::MAX,
    };
    let device = RawDevSer {
        domain: u32::MAX,
        bdf: 0,
        refcount: 1,
    };

    assert_eq!(
        apply::read(&header, &[device]),
        Err(BadRecord::Version(VERSION + 1))
    );
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
fn refuses_more_devices_than_there_can_be() {
    let most = u32::try_from(MAX_DEVICES).unwrap();
    let mut records: Vec<_> = (0..most)
        .map(|n| RawDevSer {
            domain: n >> 16,
            bdf: n as u16,
            refcount: 1,
        })
        .collect();
    assert!(apply::read(&header(most), &records).is_ok());

    records.push(RawDevSer {
        domain: 7,
        bdf: 7,
        refcount: 1,
    });
    assert_eq!(
        apply::read(&header(most + 1), &records),
        Err(BadRecord::TooMany)
    );
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
fn refuses_a_device_that_is_named_twice() {
    let records = [entry(0, 1, 1), entry(0, 2, 1), entry(0, 1, 2)].map(RawDevSer::from);

    assert_eq!(
        apply::read(&header(3), &records),
        Err(BadRecord::Duplicate(super::address(0, 1)))
    );
}

#[test]
fn refuses_bytes_of_another_size() {
    let bytes = [0; 3 * size_of::<RawSer>()];

    for size in 0..bytes.len() {
        let bytes = &bytes[..size];

        assert_eq!(RawSer::read_from_bytes(bytes).is_ok(), size == 16);
        assert_eq!(RawDevSer::read_from_bytes(bytes).is_ok(), size == 8);
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
    fn entries_survive_being_handed_over(entries in any_entries(), devices: u64) {
        let (header, records) = apply::write(&entries, devices);

        prop_assert_eq!(apply::read(&header, &records), Ok(entries));
    }

    #[test]
    fn free_records_and_the_order_do_not_matter(
        entries in any_entries(),
        free in prop::collection::vec((any::<u32>(), any::<u16>()), 0..4),
        seed: [usize; 16],
    ) {
        let (header, mut records) = apply::write(&entries, 0);

        records.extend(free.iter().map(|&(domain, bdf)| RawDevSer { domain, bdf, refcount: 0 }));
        let len = records.len();
        for (i, j) in (0..len).zip(seed) {
            records.swap(i, j % len);
        }

        prop_assert_eq!(apply::read(&header, &records), Ok(entries));
    }

    #[test]
    fn a_missing_or_surplus_record_is_refused(
        entries in some_entries(),
        index: prop::sample::Index,
    ) {
        let (header, records) = apply::write(&entries, 0);
        let index = index.index(records.len());

        let mut fewer = records.clone();
        fewer.remove(index);
        prop_assert_eq!(
            apply::read(&header, &fewer),
            Err(BadRecord::Count { announced: header.nr_devices, found: fewer.len() })
        );

        let mut more = records;
        more.push(more[index]);
        prop_assert_eq!(
            apply::read(&header, &more),
            Err(BadRecord::Duplicate(entries[index].address))
        );
    }

    #[test]
    fn a_corrupt_bit_of_all_that_is_handed_over_is_refused_or_harmless(
        entries in any_entries(),
        devices: u64,
    ) {
        let (header, records) = apply::write(&entries, devices);

        for corrupt in corruptions(&header) {
            // Where the records are is checked by who goes there.
            let harmless = corrupt.devices != devices;
            let read = apply::read(&corrupt, &records);

            prop_assert_eq!(read, if harmless {
                Ok(entries.clone())
            } else if corrupt.version != VERSION {
                Err(BadRecord::Version(corrupt.version))
            } else {
                Err(BadRecord::Count { announced: corrupt.nr_devices, found: entries.len() })
            });
        }

        for index in 0..records.len() {
            for corrupt in corruptions(&records[index]) {
                let mut records = records.clone();
                records[index] = corrupt;

                if let Ok(read) = apply::read(&header, &records) {
                    let (reheader, mut rewritten) = apply::write(&read, devices);

                    records.sort_by_key(|record| (record.domain, record.bdf));
                    rewritten.sort_by_key(|record| (record.domain, record.bdf));
                    prop_assert_eq!(reheader, header);
                    prop_assert_eq!(rewritten, records);
                }
            }
        }
    }
}
