// SPDX-License-Identifier: GPL-2.0

//! What is claimed of the plan.

use super::{
    address,
    any_entries,
    any_entry,
    entry,
    format,
    some_entries, //
};
use crate::{
    entries::{
        BadRecord,
        DriverEntry,
        Entry, //
    },
    plan::{
        self,
        Formats,
        List,
        Refusal,
        Role,
        Standing,
        Step, //
    },
    storage, //
};
use kernel::liveupdate::pci::Address;
use proptest::prelude::*;
use std::{
    collections::{
        BTreeMap,
        BTreeSet, //
    },
    num::NonZero,
    ops::{
        Deref,
        DerefMut, //
    }, //
};

#[test]
fn a_new_device_is_added_once_whatever_its_role() {
    for role in [Role::Endpoint, Role::Bridge] {
        let entries = [entry(0, 1, 1), entry(0, 5, 3)];

        assert_eq!(
            plan::preserve(&entries, address(0, 3), role),
            Ok(Step::Add(1, entry(0, 3, 1)))
        );
    }
}

#[test]
fn a_device_is_preserved_for_its_own_sake_only_once() {
    for refcount in [1, 2, u16::MAX] {
        assert_eq!(
            plan::preserve(&[entry(0, 1, refcount)], address(0, 1), Role::Endpoint),
            Err(Refusal::Busy)
        );
    }
}

#[test]
fn a_bridge_counts_up_until_it_cannot() {
    for refcount in 1..u16::MAX {
        assert_eq!(
            plan::preserve(&[entry(0, 1, refcount)], address(0, 1), Role::Bridge),
            Ok(Step::Count(0, NonZero::new(refcount + 1).unwrap()))
        );
    }
    assert_eq!(
        plan::preserve(&[entry(0, 1, u16::MAX)], address(0, 1), Role::Bridge),
        Err(Refusal::TooMany)
    );
}

#[test]
fn a_release_counts_down_and_the_last_one_removes() {
    assert_eq!(
        plan::release(&[entry(0, 1, 1)], address(0, 1)),
        Some(Step::Remove(0))
    );
    for refcount in 2..=u16::MAX {
        assert_eq!(
            plan::release(&[entry(0, 1, refcount)], address(0, 1)),
            Some(Step::Count(0, NonZero::new(refcount - 1).unwrap()))
        );
    }
}

#[test]
fn what_is_not_preserved_is_not_released() {
    let entries = [entry(0, 1, 1), entry(1, 0, 1)];

    assert_eq!(plan::release(&[], address(0, 0)), None);
    for absent in [address(0, 0), address(0, 2), address(1, 1)] {
        assert_eq!(plan::release(&entries, absent), None);
    }
}

#[test]
fn an_endpoint_is_finished_whatever_was_counted_and_a_bridge_with_the_last() {
    for refcount in [1, 2, u16::MAX] {
        let entries = [entry(0, 1, 1), entry(0, 2, refcount)];
        let finish = |role| plan::finish(&entries, address(0, 2), role);

        assert_eq!(finish(Role::Endpoint), Some(Step::Remove(1)));
        assert_eq!(
            finish(Role::Bridge),
            Some(match NonZero::new(refcount - 1) {
                Some(refcount) => Step::Count(1, refcount),
                None => Step::Remove(1),
            })
        );
    }
    for role in [Role::Endpoint, Role::Bridge] {
        assert_eq!(plan::finish(&[entry(0, 1, 1)], address(0, 2), role), None);
    }
}

#[test]
fn a_device_is_finished_once_and_one_that_is_not_listed_costs_no_bridge_its_count() {
    let path = |endpoint| [endpoint, address(0, 1), address(0, 0)].into_iter();
    let mut entries = vec![
        entry(0, 0, 2),
        entry(0, 1, 2),
        entry(0, 0x100, 1),
        entry(0, 0x200, 1),
    ];
    let before = entries.clone();

    // Beside the devices that were preserved.
    assert_eq!(
        plan::finish_path(&mut entries, path(address(0, 0x300))),
        Ok(())
    );
    assert_eq!(entries, before);

    let left = [entry(0, 0, 1), entry(0, 1, 1), entry(0, 0x200, 1)];
    for _ in 0..2 {
        assert_eq!(
            plan::finish_path(&mut entries, path(address(0, 0x100))),
            Ok(())
        );
        assert_eq!(entries, left);
    }
    assert_eq!(
        plan::finish_path(&mut entries, path(address(0, 0x200))),
        Ok(())
    );
    assert_eq!(entries, []);
}

#[test]
fn the_first_of_a_path_is_the_endpoint() {
    assert!(plan::roles("abc".chars()).eq([
        ('a', Role::Endpoint),
        ('b', Role::Bridge),
        ('c', Role::Bridge)
    ]));
}

#[test]
fn only_a_preserved_bridge_that_lost_its_numbers_is_in_the_way_and_on_its_bus_only() {
    // In two domains, on two buses each: one bridge that kept its numbers, one that lost them.
    let (kept, lost) = (0x08, 0x10);
    let buses = [(0, 0x0000), (0, 0x0500), (1, 0x0000), (1, 0x0500)];
    let on = |(domain, bus): (u32, u16), devfn: u16| address(domain, bus | devfn);

    for where_lost in buses {
        let preserved: Vec<_> = buses
            .iter()
            .flat_map(|&bus| {
                let is_lost = bus == where_lost;
                [(on(bus, kept), false), (on(bus, lost), is_lost)]
            })
            .collect();

        for bus in buses {
            for devfn in [0x00, kept, lost, 0xf8] {
                let expected = (bus == where_lost).then_some(on(where_lost, lost));
                assert_eq!(
                    plan::in_the_way(
                        on(bus, devfn),
                        &preserved,
                        |(address, _)| *address,
                        |(_, lost)| *lost
                    ),
                    expected
                );
            }
        }
    }
}

#[test]
fn a_device_is_found_by_its_file() {
    let driver = |bdf, data| DriverEntry {
        address: address(0, bdf),
        format: format("vfio-pci-rs-v1"),
        data,
    };
    let drivers = [driver(8, 0x1000), driver(16, 0x2000)];

    assert_eq!(plan::device_of(&drivers, 0x2000), Some(address(0, 16)));
    assert_eq!(plan::device_of(&drivers, 0x3000), None);
    assert_eq!(plan::device_of(&[], 0x1000), None);
}

#[test]
fn an_entry_is_of_a_bridge_unless_it_has_a_format() {
    let entries = [entry(0, 1, 1), entry(0, 2, 1)];
    let formats = [DriverEntry {
        address: address(0, 2),
        format: format("vfio-pci-rs-v1"),
        data: 0x1000,
    }];

    for (at, formats, expected) in [
        (address(0, 1), Formats::Known(&formats), true),
        (address(0, 2), Formats::Known(&formats), false),
        (address(0, 3), Formats::Known(&formats), false),
        (address(0, 1), Formats::Unknown, true),
        (address(0, 2), Formats::Unknown, true),
        (address(1, 1), Formats::Unknown, false),
    ] {
        assert_eq!(plan::holds_bridge(&entries, at, formats), expected);
    }
}

#[test]
fn nobody_looks_at_bridges_of_other_buses() {
    let preserved = [address(0, 0x0108), address(1, 0x0008)];

    assert_eq!(
        plan::in_the_way(
            address(0, 0x0008),
            &preserved,
            |address| *address,
            |_| panic!()
        ),
        None
    );
}

#[test]
fn quarantines_a_device_that_only_the_list_of_formats_names() {
    let device = address(0, 1);
    let formats = [DriverEntry {
        address: device,
        format: format("vfio-pci-rs-v1"),
        data: 0x1000,
    }];

    for formats in [
        Formats::Unknown,
        Formats::Known(&[]),
        Formats::Known(&formats),
    ] {
        for (other, is_bridge) in [(device, false), (device, true), (address(0, 2), false)] {
            let named = formats.names(other);
            let quarantined = named && !is_bridge;

            assert_eq!(
                plan::standing(&[], &[], other, is_bridge, named),
                if quarantined {
                    Standing::Quarantined
                } else {
                    Standing::Ordinary
                }
            );
        }
    }
    assert!(Formats::Known(&formats).names(device));
    assert!(!Formats::Known(&formats).names(address(1, 1)));
    assert!(!Formats::Unknown.names(device));
}

#[test]
fn a_device_belongs_to_the_file_that_it_was_preserved_with() {
    let device = address(0, 1);
    let named = |address, data| DriverEntry {
        address,
        format: format("vfio-pci-rs-v1"),
        data,
    };
    let drivers = [
        named(address(0, 0), 0x2000),
        named(device, 0x1000),
        named(address(1, 1), 0x3000),
    ];

    for standing in [
        Standing::Ordinary,
        Standing::Bridge,
        Standing::Endpoint,
        Standing::Quarantined,
    ] {
        let for_its_own_sake = matches!(standing, Standing::Endpoint | Standing::Quarantined);

        for data in [0, 0x1000, 0x2000, 0x3000] {
            let belongs = |formats| plan::belongs_to(standing, device, formats, data);

            assert_eq!(belongs(Formats::Unknown), for_its_own_sake);
            assert_eq!(
                belongs(Formats::Known(&drivers)),
                for_its_own_sake && data == 0x1000
            );
            assert!(!belongs(Formats::Known(&[])));
        }
    }
}

#[test]
fn binds_whom_the_previous_kernel_names_and_no_other() {
    let [one, other] = ["vfio-pci-rs-v1", "vfio-pci-rs-v2"].map(format);
    let device = address(0, 1);

    let named = |address, format| DriverEntry {
        address,
        format,
        data: 0,
    };
    let for_this = [
        named(address(0, 0), other),
        named(device, one),
        named(address(1, 1), other),
    ];
    let for_others = [named(address(0, 0), one), named(address(1, 1), one)];

    // Who may bind: anybody, those who know some format, those who know the one that is named.
    let any = [None, Some(one), Some(other)];
    let some = [Some(one), Some(other)];
    let this = [Some(one)];

    for formats in [
        Formats::Unknown,
        Formats::Known(&for_this),
        Formats::Known(&for_others),
        Formats::Known(&[]),
    ] {
        for standing in [
            Standing::Ordinary,
            Standing::Bridge,
            Standing::Endpoint,
            Standing::Quarantined,
        ] {
            let expected: &[_] = match (standing, formats) {
                (Standing::Ordinary | Standing::Bridge, _) => &any,
                (Standing::Endpoint, Formats::Unknown) => &some,
                (Standing::Endpoint, Formats::Known(drivers)) if drivers == for_this => &this,
                (Standing::Endpoint, Formats::Known(_)) => &[],
                (Standing::Quarantined, _) => &[],
            };

            for known in any {
                assert_eq!(
                    plan::may_bind(standing, device, formats, known),
                    expected.contains(&known),
                    "{standing:?} {formats:?} {known:?}"
                );
            }
        }
    }
}

#[test]
fn a_device_is_quarantined_once_and_is_released_from_it() {
    let [first, second, third] = [1, 2, 3].map(|bdf| address(0, bdf));
    let mut quarantined = vec![];

    for address in [third, first, second, first, third] {
        let Ok(()) = plan::quarantine(&mut quarantined, address);
    }
    assert_eq!(quarantined, [first, second, third]);

    assert!(plan::release_from_quarantine(&mut quarantined, second));
    assert!(!plan::release_from_quarantine(&mut quarantined, second));
    assert_eq!(quarantined, [first, third]);
    assert!(plan::release_from_quarantine(&mut quarantined, third));
    assert!(plan::release_from_quarantine(&mut quarantined, first));
    assert!(!plan::release_from_quarantine(&mut quarantined, first));
}

#[test]
fn all_that_is_known_of_the_drivers_of_a_device_is_forgotten_and_no_more() {
    let named = |bdf, data| DriverEntry {
        address: address(0, bdf),
        format: format("vfio-pci-rs-v1"),
        data,
    };
    let drivers = [named(1, 10), named(2, 20), named(2, 21), named(3, 30)];

    for (bdf, left) in [
        (0, &[10, 20, 21, 30][..]),
        (1, &[20, 21, 30]),
        (2, &[10, 30]),
        (3, &[10, 20, 21]),
        (4, &[10, 20, 21, 30]),
    ] {
        let mut drivers = drivers.to_vec();

        plan::forget_driver(&mut drivers, address(0, bdf));
        assert!(drivers.iter().map(|driver| &driver.data).eq(left));
    }
}

#[test]
fn an_endpoint_that_is_quarantined_stands_as_that_and_a_bridge_does_not() {
    let entries = [entry(0, 1, 1)];
    let [there, absent] = [address(0, 1), address(0, 2)];

    for (address, quarantined, is_bridge, expected) in [
        (there, false, false, Standing::Endpoint),
        (there, false, true, Standing::Bridge),
        (there, true, false, Standing::Quarantined),
        (there, true, true, Standing::Bridge),
        (absent, false, false, Standing::Ordinary),
        (absent, false, true, Standing::Ordinary),
        // Did DMA when it was enumerated, while nobody knows which devices were preserved.
        (absent, true, false, Standing::Quarantined),
        (absent, true, true, Standing::Ordinary),
    ] {
        let quarantine: &[_] = if quarantined { &[address] } else { &[] };

        assert_eq!(
            plan::standing(&entries, quarantine, address, is_bridge, false),
            expected
        );
    }
}

#[test]
fn only_what_is_known_to_be_nobodys_or_handed_over_does_dma() {
    for (standing, may_if) in [
        (Standing::Ordinary, [true, false, true, false]),
        (Standing::Bridge, [true, false, true, false]),
        (Standing::Endpoint, [false, false, true, true]),
        (Standing::Quarantined, [false; 4]),
    ] {
        let facts = [(false, false), (false, true), (true, false), (true, true)];

        assert_eq!(
            facts.map(|(goes_on, unreadable)| standing.may_do_dma(goes_on, unreadable)),
            may_if,
            "{standing:?}"
        );
        assert_eq!(standing.is_incoming(), standing != Standing::Ordinary);
    }
}

/// A list in memory that is short: it does not grow at all.
#[derive(Clone, Debug, PartialEq)]
struct Full<T>(Vec<T>);

impl<T> Deref for Full<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.0
    }
}

impl<T> DerefMut for Full<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.0
    }
}

#[derive(Debug, PartialEq)]
struct NoMemory;

impl<T> List<T> for Full<T> {
    type Error = NoMemory;

    fn append(&mut self, _item: T) -> Result<(), NoMemory> {
        Err(NoMemory)
    }

    fn cut(&mut self, length: usize) {
        self.0.truncate(length);
    }
}

#[derive(Debug, PartialEq)]
enum Failure {
    Memory,
    Refused(Refusal),
    Bad(BadRecord),
}

impl From<NoMemory> for Failure {
    fn from(NoMemory: NoMemory) -> Self {
        Self::Memory
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<BadRecord> for Failure {
    fn from(bad: BadRecord) -> Self {
        Self::Bad(bad)
    }
}

#[test]
fn what_needs_memory_says_so() {
    let (header, records) = storage::write_devices(&[entry(0, 1, 1)], 0);
    let (mut entries, mut quarantined) = (Full(vec![]), Full(vec![]));
    let path = [address(0, 1)];

    assert_eq!(
        plan::preserve_path(&mut entries, path.into_iter()),
        Err(Failure::Memory)
    );
    assert_eq!(
        plan::read(
            &header,
            records.into_iter(),
            &mut entries,
            &mut quarantined,
            |finding| panic!("{finding:?}"),
        ),
        Err(Failure::Memory)
    );
    assert_eq!(entries, Full(vec![]));

    let (header, records) = storage::write_drivers(
        &[DriverEntry {
            address: address(0, 1),
            format: format("v"),
            data: 0x1000,
        }],
        0,
    );
    assert_eq!(
        plan::read_drivers(&header, records.into_iter(), &mut Full(vec![])),
        Err(Failure::Memory)
    );
}

/// Preserves a device as the kernel does: after a look, so that nothing changes if it is refused.
fn preserve(entries: &mut Vec<Entry>, path: &[Address]) -> Result<(), Refusal> {
    let added = plan::added_by_path(entries, path.iter().copied())?;
    let before = entries.len();

    // It is not refused any more.
    let result = plan::preserve_path::<Refusal, _>(entries, path.iter().copied());
    assert_eq!((result, entries.len()), (Ok(()), before + added));
    Ok(())
}

fn release(entries: &mut Vec<Entry>, path: &[Address]) -> Result<(), Refusal> {
    plan::release_path(entries, path.iter().copied())
}

fn apply(entries: &mut Vec<Entry>, step: Step) {
    let Ok(()) = plan::apply(entries, step);
}

#[test]
fn a_bridge_with_too_many_endpoints_refuses_and_nothing_changes() {
    let mut entries = vec![entry(0, 1, 7), entry(0, 2, u16::MAX)];
    let before = entries.clone();

    // The endpoint and the bridge next to it would have been possible.
    let path = [address(0, 0x100), address(0, 1), address(0, 2)];

    assert_eq!(preserve(&mut entries, &path), Err(Refusal::TooMany));
    assert_eq!(entries, before);
}

/// Buses in a tree: each bridge and each endpoint has a bridge above it, or is on the root bus.
#[derive(Clone, Debug)]
struct Topology {
    bridges: Vec<(Address, Option<usize>)>,
    endpoints: Vec<(Address, Option<usize>)>,
}

impl Topology {
    /// Returns the endpoint and the bridges above it.
    fn path(&self, endpoint: usize) -> Vec<Address> {
        let (address, mut above) = self.endpoints[endpoint];
        let mut path = vec![address];

        while let Some(bridge) = above {
            let (address, next) = self.bridges[bridge];
            path.push(address);
            above = next;
        }
        path
    }

    /// Returns the entries as they have to be, counted anew.
    fn entries(&self, preserved: &BTreeSet<usize>) -> Vec<Entry> {
        let mut counts = BTreeMap::<Address, u16>::new();

        for &endpoint in preserved {
            for address in self.path(endpoint) {
                *counts.entry(address).or_default() += 1;
            }
        }
        counts
            .into_iter()
            .map(|(address, count)| Entry {
                address,
                refcount: NonZero::new(count).unwrap(),
            })
            .collect()
    }
}

fn any_topology() -> impl Strategy<Value = Topology> {
    let above = || any::<Option<prop::sample::Index>>();
    let addresses = prop::collection::btree_set((0..3u32, any::<u16>()), 20);

    (
        addresses.prop_map(Vec::from_iter).prop_shuffle(),
        prop::collection::vec(above(), 0..8),
        prop::collection::vec(above(), 1..12),
    )
        .prop_map(|(addresses, bridges, endpoints)| {
            let mut addresses = addresses
                .into_iter()
                .map(|(domain, bdf)| address(domain, bdf));
            let nr_bridges = bridges.len();

            // A bridge is below an earlier one, so that there are no rings.
            let below = |above: Option<prop::sample::Index>, nr| match nr {
                0 => None,
                nr => above.map(|above| above.index(nr)),
            };

            Topology {
                bridges: bridges
                    .into_iter()
                    .enumerate()
                    .map(|(i, above)| (addresses.next().unwrap(), below(above, i)))
                    .collect(),
                endpoints: endpoints
                    .into_iter()
                    .map(|above| (addresses.next().unwrap(), below(above, nr_bridges)))
                    .collect(),
            }
        })
}

#[derive(Clone, Copy, Debug)]
enum Request {
    Preserve(prop::sample::Index),
    Unpreserve(prop::sample::Index),
}

fn any_request() -> impl Strategy<Value = Request> {
    prop_oneof![
        3 => any::<prop::sample::Index>().prop_map(Request::Preserve),
        2 => any::<prop::sample::Index>().prop_map(Request::Unpreserve),
    ]
}

proptest! {
    #![proptest_config(testing::config())]

    #[test]
    fn counts_are_those_of_the_preserved_endpoints_below(
        topology in any_topology(),
        requests in prop::collection::vec(any_request(), 0..64),
    ) {
        let mut preserved = BTreeSet::new();
        let mut entries = Vec::new();

        for request in requests {
            match request {
                Request::Preserve(index) => {
                    let endpoint = index.index(topology.endpoints.len());
                    let before = entries.clone();
                    let result = preserve(&mut entries, &topology.path(endpoint));

                    if preserved.insert(endpoint) {
                        prop_assert_eq!(result, Ok(()));
                    } else {
                        prop_assert_eq!(result, Err(Refusal::Busy));
                        prop_assert_eq!(&entries, &before);
                    }
                }
                Request::Unpreserve(index) => {
                    let endpoint = index.index(topology.endpoints.len());
                    let before = entries.clone();
                    let result = release(&mut entries, &topology.path(endpoint));

                    if preserved.remove(&endpoint) {
                        prop_assert_eq!(result, Ok(()));
                    } else {
                        prop_assert_eq!(result, Err(Refusal::NotPreserved));
                        prop_assert_eq!(&entries, &before);
                    }
                }
            }

            // Sorted and unique, for it comes from a map.
            prop_assert_eq!(&entries, &topology.entries(&preserved));
            prop_assert!(entries.windows(2).all(|pair| pair[0].address < pair[1].address));
        }

        // The next kernel admits them in any order, and releases them in any other.
        let (header, mut records) = storage::write_devices(&entries, 0);
        records.reverse();
        let known = storage::read_devices(&header, &records).unwrap();
        prop_assert_eq!(&known.entries, &topology.entries(&preserved));
        prop_assert_eq!(known.findings, []);
        let mut entries = known.entries;

        while let Some(endpoint) = preserved.pop_last() {
            prop_assert_eq!(release(&mut entries, &topology.path(endpoint)), Ok(()));
            prop_assert_eq!(&entries, &topology.entries(&preserved));
        }
        prop_assert!(entries.is_empty());
    }

    #[test]
    fn a_device_is_found_where_it_is_or_would_be(entries in any_entries(), other in any_entry()) {
        for (index, entry) in entries.iter().enumerate() {
            prop_assert_eq!(plan::find(&entries, entry.address), Ok(index));
        }

        let before = entries.iter().filter(|entry| entry.address < other.address).count();
        let is_there = entries.iter().any(|entry| entry.address == other.address);
        prop_assert_eq!(
            plan::find(&entries, other.address),
            if is_there { Ok(before) } else { Err(before) }
        );
    }

    #[test]
    fn a_release_undoes_a_preserve(entries in some_entries(), index: prop::sample::Index) {
        let address = entries[index.index(entries.len())].address;
        let before = entries.clone();
        let mut entries = entries;

        match plan::preserve(&entries, address, Role::Bridge) {
            Ok(step) => {
                apply(&mut entries, step);
                prop_assert_ne!(&entries, &before);
                let step = plan::release(&entries, address).unwrap();
                apply(&mut entries, step);
            }
            Err(refusal) => prop_assert_eq!(refusal, Refusal::TooMany),
        }
        prop_assert_eq!(entries, before);
    }

    #[test]
    fn admits_each_device_once_and_keeps_the_order(
        entries in any_entries().prop_shuffle(),
    ) {
        let mut admitted = Vec::new();

        for entry in &entries {
            let step = plan::admit(&admitted, *entry).unwrap();
            apply(&mut admitted, step);
            prop_assert!(admitted.is_sorted_by(|a, b| a.address < b.address));
        }
        for entry in &entries {
            prop_assert_eq!(
                plan::admit(&admitted, *entry),
                Err(BadRecord::Duplicate(entry.address))
            );
        }

        let mut entries = entries;
        entries.sort_by_key(|entry| entry.address);
        prop_assert_eq!(admitted, entries);
    }

    #[test]
    fn what_removes_needs_no_memory(entries in some_entries(), index: prop::sample::Index) {
        let address = entries[index.index(entries.len())].address;
        let mut full = Full(entries.clone());
        let mut other = entries;

        prop_assert_eq!(
            plan::release_path(&mut full, [address].into_iter()),
            Ok::<(), Failure>(())
        );
        prop_assert_eq!(release(&mut other, &[address]), Ok(()));
        prop_assert_eq!(&full.0, &other);

        for role in [Role::Endpoint, Role::Bridge] {
            if let Some(step) = plan::finish(&full, address, role) {
                prop_assert_eq!(plan::apply(&mut full, step), Ok(()));
            }
        }
    }
}
