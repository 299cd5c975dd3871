// SPDX-License-Identifier: GPL-2.0

//! What has to hold of any bytes at all.

// Here and not in the crate root: the pure files shall not find it.
extern crate std;

use crate::{
    entries::{
        DriverEntry,
        Entry,
        Probe,
        RawDevSer,
        RawDriverSer,
        RawProbeSer,
        RawSer, //
    },
    plan::{
        self,
        Finding,
        Formats,
        Standing, //
    },
    storage::{
        self,
        Known, //
    },
};
use kernel::prelude::*;
use std::vec::Vec;

/// Reads bytes as if they were handed over: a `struct pci_ser`, then all `struct pci_dev_ser`.
///
/// Returns whether all of it was believed.
///
/// # Panics
///
/// If something is believed that they do not say, or a device that they name is an ordinary one.
pub fn fuzz_pci(bytes: &[u8]) -> bool {
    let Some((header, mut records)) = parse::<RawDevSer>(bytes) else {
        return false;
    };
    let Ok(known) = storage::read_devices(&header, &records) else {
        return false;
    };
    let Known {
        entries,
        quarantined,
        findings,
    } = known;

    assert!(entries
        .windows(2)
        .all(|pair| pair[0].address < pair[1].address));
    assert!(entries.iter().all(|&entry| records.contains(&entry.into())));

    let named: Vec<Entry> = records
        .iter()
        .filter_map(|record| record.entry().ok()?)
        .collect();
    for Entry { address, .. } in &named {
        let twice = named.iter().filter(|other| other.address == *address);
        let doubtful = twice.count() > 1 || matches!(findings.last(), Some(Finding::All(_)));

        let standing =
            |is_bridge| plan::standing(&entries, &quarantined, *address, is_bridge, false);
        assert_eq!(standing(true), Standing::Bridge);
        assert_eq!(
            standing(false),
            match doubtful {
                true => Standing::Quarantined,
                false => Standing::Endpoint,
            }
        );
    }
    assert!(quarantined
        .iter()
        .all(|address| plan::find(&entries, *address).is_ok()));

    // What is believed is handed over again as it was, but for the order and for free records.
    if findings.is_empty() {
        let (rewritten, written) = storage::write_devices(&entries, header.devices);

        records.retain(|record| record.refcount != 0);
        records.sort_by_key(|record| (record.domain, record.bdf));
        assert_eq!(rewritten.as_bytes(), header.as_bytes());
        assert_eq!(written.as_bytes(), records.as_bytes());
    }

    release_all(entries);
    findings.is_empty()
}

/// What is known can be released: each release counts down, the last one removes.
fn release_all(mut entries: Vec<Entry>) {
    while let Some(entry) = entries.last().copied() {
        let step = plan::release(&entries, entry.address).expect("it is there");
        let Ok(()) = plan::apply(&mut entries, step);

        match entries.last() {
            Some(last) if last.address == entry.address => {
                assert_eq!(last.refcount.get(), entry.refcount.get() - 1);
                // The steps in between are all alike.
                let last = entries.len() - 1;
                entries[last].refcount = core::num::NonZero::<u16>::MIN;
            }
            _ => assert_eq!(entry.refcount.get(), 1),
        }
    }
}

/// Reads bytes as if they were handed over: a `struct pci_ser`, then all `struct pci_driver_ser`.
///
/// Returns whether they were accepted.
///
/// # Panics
///
/// If they are accepted and mean something else than they say, or let a driver bind that they do
/// not name.
pub fn fuzz_pci_driver(bytes: &[u8]) -> bool {
    let Some((header, records)) = parse::<RawDriverSer>(bytes) else {
        return false;
    };
    let Ok(drivers) = storage::read_drivers(&header, &records) else {
        return false;
    };

    assert!(drivers.is_sorted_by_key(|driver| driver.address));

    // What is accepted is handed over again as it was, but for the order and for what has no meaning.
    let (rewritten, mut written) = storage::write_drivers(&drivers, header.devices);
    let mut records: Vec<RawDriverSer> = records.into_iter().map(normal).collect();
    for list in [&mut written, &mut records] {
        list.sort_by_key(|record| (record.domain, record.bdf, record.data, record.compatible));
    }
    assert_eq!(rewritten.as_bytes(), header.as_bytes());
    assert_eq!(written.as_bytes(), records.as_bytes());

    for driver in &drivers {
        let may_bind = |known| {
            plan::may_bind(
                Standing::Endpoint,
                driver.address,
                Formats::Known(&drivers),
                known,
            )
        };
        assert!(may_bind(Some(driver.format)));
        assert!(!may_bind(None));

        // The format of another device is good for this one only if its records say so, too.
        for other in &drivers {
            let named = RawDriverSer::from(DriverEntry {
                address: driver.address,
                format: other.format,
                data: 0,
            });
            let named = records
                .iter()
                .any(|record| RawDriverSer { data: 0, ..*record } == named);
            assert_eq!(may_bind(Some(other.format)), named);
        }
    }
    true
}

/// Reads bytes as if they were handed over: a `struct pci_ser`, then all `struct pci_probe_ser`.
///
/// Returns whether they were accepted.
///
/// # Panics
///
/// If they are accepted and mean something else than they say.
pub fn fuzz_pci_probe(bytes: &[u8]) -> bool {
    let Some((header, records)) = parse::<RawProbeSer>(bytes) else {
        return false;
    };
    let Ok(entries) = storage::read_probes(&header, &records) else {
        return false;
    };

    // What is accepted is handed over again as it was.
    let (rewritten, written) = storage::write_probes(&entries, header.devices);
    assert_eq!(rewritten.as_bytes(), header.as_bytes());
    assert_eq!(written.as_bytes(), records.as_bytes());

    for entry in &entries {
        let own: Vec<Probe> = entries[plan::probes_of(&entries, entry.address)]
            .iter()
            .map(|entry| entry.probe)
            .collect();

        // All of a device is known if its command register is, and nothing otherwise.
        let is_known = own.iter().any(|probe| probe.register == plan::COMMAND);
        for register in (0..0x40).step_by(4).chain([entry.probe.register]) {
            let named = own.iter().find(|probe| probe.register == register);
            let value = named.map_or(0, |probe| probe.value);
            assert_eq!(plan::probed(&own, register), is_known.then_some(value));
        }
    }
    true
}

/// Returns the record without what has no meaning.
fn normal(mut record: RawDriverSer) -> RawDriverSer {
    let mut ended = false;

    for byte in &mut record.compatible {
        ended |= *byte == 0;
        if ended {
            *byte = 0;
        }
    }
    record
}

fn parse<R: FromBytes>(bytes: &[u8]) -> Option<(RawSer, Vec<R>)> {
    let (header, records) = RawSer::read_from_prefix(bytes).ok()?;

    // Record by record, for a fuzzer's bytes are not aligned.
    let records = records
        .chunks(size_of::<R>())
        .map(|record| R::read_from_bytes(record).ok())
        .collect::<Option<_>>()?;

    Some((header, records))
}
