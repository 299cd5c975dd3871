// SPDX-License-Identifier: GPL-2.0

//! What is claimed of reading what was handed over.

use super::{
    address,
    any_drivers,
    any_entries,
    entries::{
        corruptions,
        header, //
    },
    entry,
    format,
    some_entries,
    LAST_DOMAIN, //
};
use crate::{
    entries::{
        BadRecord,
        DriverEntry,
        Entry,
        RawDevSer,
        RawDriverSer,
        MAX_DEVICES,
        VERSION, //
    },
    plan::{
        self,
        Finding,
        Standing, //
    },
    storage::{
        self,
        Known, //
    },
};
use kernel::fmt::Adapter;
use proptest::prelude::*;

/// All of it was believed.
fn believed(entries: Vec<Entry>) -> Known {
    Known {
        entries,
        ..Known::default()
    }
}

/// Returns what an endpoint of this kernel is to the previous one.
fn standing(known: &Known, domain: u32, bdf: u16) -> Standing {
    let address = address(domain, bdf);

    plan::standing(&known.entries, &known.quarantined, address, false, false)
}

#[test]
fn judges_the_version_before_all_else() {
    let mut header = header(7);
    header.version = VERSION + 1;
    let device = RawDevSer {
        domain: u32::MAX,
        bdf: 0,
        refcount: 1,
    };

    assert_eq!(
        storage::read_devices(&header, &[device]),
        Err(BadRecord::Version(VERSION + 1))
    );
    assert_eq!(
        storage::read_drivers(&header, &[]),
        Err(BadRecord::Version(VERSION + 1))
    );
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
    let known = storage::read_devices(&header(most), &records).unwrap();
    assert_eq!(known.entries.len(), MAX_DEVICES);
    assert_eq!(known.findings, []);

    records.push(RawDevSer {
        domain: 7,
        bdf: 7,
        refcount: 1,
    });
    assert_eq!(
        storage::read_devices(&header(most + 1), &records),
        Err(BadRecord::TooMany)
    );
}

#[test]
fn entries_that_are_not_kept_count_against_what_there_can_be() {
    let entry = |domain| RawDevSer {
        domain,
        bdf: 7,
        refcount: 1,
    };
    let driver = RawDriverSer::from(DriverEntry {
        address: address(0, 7),
        format: format("vfio-pci-rs-v1"),
        data: 0x1000,
    });

    // The same device again and again, and a domain that there cannot be.
    for domain in [0, u32::MAX] {
        let mut records = vec![entry(domain); MAX_DEVICES];
        let count = u32::try_from(records.len()).unwrap();
        assert!(storage::read_devices(&header(count), &records).is_ok());

        records.push(entry(domain));
        assert_eq!(
            storage::read_devices(&header(count + 1), &records),
            Err(BadRecord::TooMany)
        );
    }

    let mut records = vec![driver; MAX_DEVICES];
    let count = u32::try_from(records.len()).unwrap();
    assert!(storage::read_drivers(&header(count), &records).is_ok());

    records.push(driver);
    assert_eq!(
        storage::read_drivers(&header(count + 1), &records),
        Err(BadRecord::TooMany)
    );
}

#[test]
fn a_device_that_is_named_twice_is_quarantined_and_no_other() {
    let records = [entry(0, 1, 1), entry(0, 2, 1), entry(0, 1, 2)].map(RawDevSer::from);

    let known = storage::read_devices(&header(3), &records).unwrap();

    assert_eq!(known.entries, [entry(0, 1, 1), entry(0, 2, 1)]);
    assert_eq!(known.quarantined, [address(0, 1)]);
    assert_eq!(known.findings, [Finding::Twice(address(0, 1))]);
    assert_eq!(standing(&known, 0, 1), Standing::Quarantined);
    assert_eq!(standing(&known, 0, 2), Standing::Endpoint);
    assert_eq!(standing(&known, 0, 3), Standing::Ordinary);
}

#[test]
fn an_entry_that_names_no_device_costs_nobody_else() {
    let mut records = [entry(0, 1, 1), entry(0, 2, 1)].map(RawDevSer::from);
    records[0].domain = LAST_DOMAIN + 1;

    let known = storage::read_devices(&header(2), &records).unwrap();

    assert_eq!(known.entries, [entry(0, 2, 1)]);
    assert_eq!(known.quarantined, []);
    assert_eq!(
        known.findings,
        [Finding::Ignored(BadRecord::Domain(LAST_DOMAIN + 1))]
    );
}

#[test]
fn a_wrong_count_quarantines_all_devices_once() {
    let records = [entry(0, 1, 1), entry(0, 2, 1), entry(0, 1, 1)].map(RawDevSer::from);

    for announced in [0, 2, 4, u32::MAX] {
        let known = storage::read_devices(&header(announced), &records).unwrap();

        assert_eq!(known.quarantined, [address(0, 1), address(0, 2)]);
        assert_eq!(
            known.findings,
            [
                Finding::Twice(address(0, 1)),
                Finding::All(BadRecord::Count {
                    announced,
                    found: 3
                }),
            ]
        );
        assert_eq!(standing(&known, 0, 3), Standing::Ordinary);
    }
}

#[test]
fn a_bridge_is_not_quarantined() {
    let known = storage::read_devices(&header(2), &[entry(0, 1, 1)].map(RawDevSer::from)).unwrap();

    assert_eq!(known.quarantined, [address(0, 1)]);
    assert_eq!(
        plan::standing(
            &known.entries,
            &known.quarantined,
            address(0, 1),
            true,
            false
        ),
        Standing::Bridge
    );
}

#[test]
fn says_what_a_bad_record_costs() {
    let bad = BadRecord::Domain(u32::MAX);

    for (finding, text) in [
        (
            Finding::Ignored(bad),
            "an entry of a preserved device is ignored: there is no domain 0xffffffff",
        ),
        (
            Finding::Twice(address(0, 0x0108)),
            "0000:01:01.0 is quarantined: it was preserved twice",
        ),
        (
            Finding::All(bad),
            "all preserved devices are quarantined: there is no domain 0xffffffff",
        ),
    ] {
        assert_eq!(Adapter(&finding).to_string(), text);
    }
}

#[test]
fn one_bad_driver_costs_all_of_them() {
    let good = DriverEntry {
        address: address(0, 1),
        format: format("vfio-pci-rs-v1"),
        data: 0x1000,
    };
    let mut bad = RawDriverSer::from(good);
    bad.compatible[0] = 0;

    assert_eq!(
        storage::read_drivers(&header(2), &[good.into(), bad]),
        Err(BadRecord::Format(address(0, 1)))
    );
}

proptest! {
    #![proptest_config(testing::config())]

    #[test]
    fn entries_survive_being_handed_over(entries in any_entries(), devices: u64) {
        let (header, records) = storage::write_devices(&entries, devices);

        prop_assert_eq!(storage::read_devices(&header, &records), Ok(believed(entries)));
    }

    #[test]
    fn drivers_survive_being_handed_over(drivers in any_drivers(), devices: u64) {
        let (header, records) = storage::write_drivers(&drivers, devices);

        prop_assert_eq!(storage::read_drivers(&header, &records), Ok(drivers.clone()));

        // The order that they are written in does not matter.
        let mut records = records;
        records.reverse();
        prop_assert_eq!(storage::read_drivers(&header, &records), Ok(drivers));
    }

    #[test]
    fn a_wrong_number_of_drivers_is_refused(drivers in any_drivers(), announced: u32) {
        let (mut header, records) = storage::write_drivers(&drivers, 0);
        let found = drivers.len();
        prop_assume!(header.nr_devices != announced);
        header.nr_devices = announced;

        prop_assert_eq!(
            storage::read_drivers(&header, &records),
            Err(BadRecord::Count { announced, found })
        );
    }

    #[test]
    fn free_records_and_the_order_do_not_matter(
        entries in any_entries(),
        free in prop::collection::vec((any::<u32>(), any::<u16>()), 0..4),
        seed: [usize; 16],
    ) {
        let (header, mut records) = storage::write_devices(&entries, 0);

        records.extend(free.iter().map(|&(domain, bdf)| RawDevSer { domain, bdf, refcount: 0 }));
        let len = records.len();
        for (i, j) in (0..len).zip(seed) {
            records.swap(i, j % len);
        }

        prop_assert_eq!(storage::read_devices(&header, &records), Ok(believed(entries)));
    }

    #[test]
    fn a_missing_or_surplus_record_quarantines(
        entries in some_entries(),
        index: prop::sample::Index,
    ) {
        let (header, records) = storage::write_devices(&entries, 0);
        let announced = header.nr_devices;
        let index = index.index(records.len());

        let mut fewer = records.clone();
        fewer.remove(index);
        let known = storage::read_devices(&header, &fewer).unwrap();
        let found = fewer.len();
        prop_assert_eq!(known.findings, [Finding::All(BadRecord::Count { announced, found })]);
        prop_assert_eq!(known.quarantined.len(), found);

        let mut more = records;
        more.push(more[index]);
        let known = storage::read_devices(&header, &more).unwrap();
        let found = more.len();
        prop_assert_eq!(known.findings, [
            Finding::Twice(entries[index].address),
            Finding::All(BadRecord::Count { announced, found }),
        ]);
        prop_assert_eq!(known.quarantined.len(), entries.len());
    }

    #[test]
    fn a_corrupt_bit_of_the_header_is_refused_or_harmless(
        entries in any_entries(),
        devices: u64,
    ) {
        let (header, records) = storage::write_devices(&entries, devices);
        let found = entries.len();

        for corrupt in corruptions(&header) {
            let read = storage::read_devices(&corrupt, &records);

            if corrupt.version != VERSION {
                prop_assert_eq!(read, Err(BadRecord::Version(corrupt.version)));
            } else if corrupt.nr_devices != header.nr_devices {
                let announced = corrupt.nr_devices;
                let all = Finding::All(BadRecord::Count { announced, found });
                prop_assert_eq!(read.unwrap().findings, [all]);
            } else {
                // Where the records are is checked by who goes there.
                prop_assert_eq!(read, Ok(believed(entries.clone())));
            }
        }
    }

    #[test]
    fn a_corrupt_bit_of_an_entry_costs_no_other_device_its_standing(
        entries in some_entries(),
        index: prop::sample::Index,
    ) {
        let (header, records) = storage::write_devices(&entries, 0);
        let index = index.index(records.len());

        for corrupt in corruptions(&records[index]) {
            let mut records = records.clone();
            records[index] = corrupt;
            let known = storage::read_devices(&header, &records).unwrap();

            // A record that became a free one is missing, and it could be any of them.
            let freed = corrupt.refcount == 0;
            prop_assert_eq!(
                matches!(known.findings.last(), Some(Finding::All(_))),
                freed
            );

            for other in entries.iter().filter(|other| **other != entries[index]) {
                let address = (other.address.domain(), other.address.bdf());
                let expected = if freed || address == (corrupt.domain, corrupt.bdf) {
                    Standing::Quarantined
                } else {
                    Standing::Endpoint
                };
                prop_assert_eq!(standing(&known, address.0, address.1), expected);
            }
        }
    }
}
