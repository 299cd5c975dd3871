// SPDX-License-Identifier: GPL-2.0

//! The fuzzer's claims, for a few bytes of all sorts and without a fuzzer.

use super::{
    any_drivers,
    any_entries,
    some_entries, //
};
use crate::{
    entries::{
        DriverEntry,
        Entry, //
    },
    fuzz::{
        fuzz_pci,
        fuzz_pci_driver,
        fuzz_pci_probe, //
    },
    storage, //
};
use kernel::prelude::*;
use proptest::prelude::*;

fn handed_over(entries: impl Strategy<Value = Vec<Entry>>) -> impl Strategy<Value = Vec<u8>> {
    (entries, any::<u64>()).prop_map(|(entries, devices)| {
        let (header, records) = storage::write_devices(&entries, devices);

        [header.as_bytes(), records.as_bytes()].concat()
    })
}

fn drivers_handed_over(
    drivers: impl Strategy<Value = Vec<DriverEntry>>,
) -> impl Strategy<Value = Vec<u8>> {
    (drivers, any::<u64>()).prop_map(|(drivers, devices)| {
        let (header, records) = storage::write_drivers(&drivers, devices);

        [header.as_bytes(), records.as_bytes()].concat()
    })
}

/// Writes bytes at will into others.
fn change(bytes: &mut [u8], changes: Vec<(prop::sample::Index, u8)>) {
    for (index, byte) in changes {
        let index = index.index(bytes.len());
        bytes[index] = byte;
    }
}

fn any_changes() -> impl Strategy<Value = Vec<(prop::sample::Index, u8)>> {
    prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6)
}

#[test]
fn no_bytes_and_no_devices_are_told_apart() {
    let (header, _) = storage::write_devices(&[], 0);

    for fuzz in [fuzz_pci, fuzz_pci_driver, fuzz_pci_probe] {
        assert!(!fuzz(&[]));
        assert!(fuzz(header.as_bytes()));
    }
}

proptest! {
    #![proptest_config(testing::config())]

    #[test]
    fn any_bytes_are_refused_or_harmless(bytes in prop::collection::vec(any::<u8>(), 0..160)) {
        fuzz_pci(&bytes);
        fuzz_pci_driver(&bytes);
    }

    #[test]
    fn what_was_handed_over_is_accepted(bytes in handed_over(any_entries())) {
        prop_assert!(fuzz_pci(&bytes));
    }

    #[test]
    fn what_was_cut_off_is_refused(bytes in handed_over(any_entries()), size: prop::sample::Index) {
        prop_assert!(!fuzz_pci(&bytes[..size.index(bytes.len())]));
    }

    #[test]
    fn bytes_changed_at_will_are_refused_or_harmless(
        bytes in handed_over(any_entries()),
        changes in any_changes(),
    ) {
        let mut bytes = bytes;
        change(&mut bytes, changes);
        fuzz_pci(&bytes);
    }

    #[test]
    fn drivers_that_were_handed_over_are_accepted(bytes in drivers_handed_over(any_drivers())) {
        prop_assert!(fuzz_pci_driver(&bytes));
    }

    #[test]
    fn drivers_that_were_cut_off_are_refused(
        bytes in drivers_handed_over(any_drivers()),
        size: prop::sample::Index,
    ) {
        prop_assert!(!fuzz_pci_driver(&bytes[..size.index(bytes.len())]));
    }

    #[test]
    fn drivers_changed_at_will_are_refused_or_harmless(
        bytes in drivers_handed_over(any_drivers()),
        changes in any_changes(),
    ) {
        let mut bytes = bytes;
        change(&mut bytes, changes);
        fuzz_pci_driver(&bytes);
    }

    #[test]
    fn records_that_change_places_are_harmless(
        bytes in handed_over(some_entries()),
        a: prop::sample::Index,
        b: prop::sample::Index,
    ) {
        let mut bytes = bytes;
        let nr = bytes.len() / 8 - 2;
        let [a, b] = [a, b].map(|index| 16 + 8 * index.index(nr));

        for byte in 0..8 {
            bytes.swap(a + byte, b + byte);
        }
        prop_assert!(fuzz_pci(&bytes));
    }
}
