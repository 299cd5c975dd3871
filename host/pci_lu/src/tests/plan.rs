// SPDX-License-Identifier: GPL-2.0

//! What is claimed of the plan.

use super::{
    address,
    any_entries,
    any_entry,
    entry,
    some_entries, //
};
use crate::{
    apply::{
        self,
        apply, //
    },
    entries::{
        BadRecord,
        Entry, //
    },
    plan::{
        self,
        Refusal,
        Role,
        Step, //
    },
};
use kernel::liveupdate::pci::Address;
use proptest::prelude::*;
use std::{
    collections::{
        BTreeMap,
        BTreeSet, //
    },
    num::NonZero, //
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
fn an_endpoint_is_forgotten_whatever_was_counted() {
    for refcount in [1, 2, u16::MAX] {
        let entries = [entry(0, 1, 1), entry(0, 2, refcount)];

        assert_eq!(plan::forget(&entries, address(0, 2)), Some(Step::Remove(1)));
    }
    assert_eq!(plan::forget(&[entry(0, 1, 1)], address(0, 2)), None);
}

#[test]
fn a_bridge_with_too_many_endpoints_refuses_and_nothing_changes() {
    let mut entries = vec![entry(0, 1, 7), entry(0, 2, u16::MAX)];
    let before = entries.clone();

    // The endpoint and the bridge next to it would have been possible.
    let path = [address(0, 0x100), address(0, 1), address(0, 2)];

    assert_eq!(apply::preserve(&mut entries, &path), Err(Refusal::TooMany));
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
                    let result = apply::preserve(&mut entries, &topology.path(endpoint));

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
                    let result = apply::release(&mut entries, &topology.path(endpoint));

                    if preserved.remove(&endpoint) {
                        prop_assert_eq!(result, Some(()));
                    } else {
                        prop_assert_eq!(result, None);
                        prop_assert_eq!(&entries, &before);
                    }
                }
            }

            // Sorted and unique, for it comes from a map.
            prop_assert_eq!(&entries, &topology.entries(&preserved));
            prop_assert!(entries.windows(2).all(|pair| pair[0].address < pair[1].address));
        }

        // The next kernel admits them in any order, and releases them in any other.
        let (header, mut records) = apply::write(&entries, 0);
        records.reverse();
        let mut entries = apply::read(&header, &records).unwrap();
        prop_assert_eq!(&entries, &topology.entries(&preserved));

        while let Some(endpoint) = preserved.pop_last() {
            prop_assert_eq!(apply::release(&mut entries, &topology.path(endpoint)), Some(()));
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
}
