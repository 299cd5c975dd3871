// SPDX-License-Identifier: GPL-2.0

//! What is claimed of the pure files.

mod abi;
mod c_series;
mod entries;
mod fuzz;
mod plan;
mod probes;
mod read;
mod regions;
mod writes;

use crate::entries::{
    DriverEntry,
    Entry,
    Format,
    FORMAT_LENGTH, //
};
use kernel::liveupdate::pci::{
    Address,
    RawAddress, //
};
use proptest::prelude::*;
use std::num::NonZero;

const LAST_DOMAIN: u32 = i32::MAX.unsigned_abs();

fn address(domain: u32, bdf: u16) -> Address {
    Address::try_from(RawAddress { domain, bdf }).unwrap()
}

fn entry(domain: u32, bdf: u16, refcount: u16) -> Entry {
    Entry {
        address: address(domain, bdf),
        refcount: NonZero::new(refcount).unwrap(),
    }
}

/// Any entry.
fn any_entry() -> impl Strategy<Value = Entry> {
    (0..=LAST_DOMAIN, any::<u16>(), 1..=u16::MAX)
        .prop_map(|(domain, bdf, refcount)| entry(domain, bdf, refcount))
}

/// Entries of different devices, in the order of their addresses; maybe none.
fn any_entries() -> impl Strategy<Value = Vec<Entry>> {
    up_to_12_entries(0)
}

/// As [`any_entries`], but at least one.
fn some_entries() -> impl Strategy<Value = Vec<Entry>> {
    up_to_12_entries(1)
}

fn up_to_12_entries(min: usize) -> impl Strategy<Value = Vec<Entry>> {
    // Few addresses, so that single bits are between them.
    let near = (0..4u32, 0..8u16, 1..4u16);

    prop::collection::vec(
        prop_oneof![
            near.prop_map(|(domain, bdf, refcount)| entry(domain, bdf, refcount)),
            any_entry(),
        ],
        min..=12,
    )
    .prop_map(|mut entries| {
        entries.sort_by_key(|entry| entry.address);
        entries.dedup_by_key(|entry| entry.address);
        entries
    })
}

fn format(name: &str) -> Format {
    Format::new(name.as_bytes()).unwrap()
}

/// Any format that there can be, often one of few.
fn any_format() -> impl Strategy<Value = Format> {
    let near = prop::sample::select(vec!["v", "vfio-pci-rs-v1", "vfio-pci-rs-v2"]);
    let any = prop::collection::vec(1..=u8::MAX, 1..FORMAT_LENGTH);

    prop_oneof![
        near.prop_map(format),
        any.prop_map(|name| Format::new(&name).unwrap()),
    ]
}

/// The drivers of different devices; maybe none.
fn any_drivers() -> impl Strategy<Value = Vec<DriverEntry>> {
    prop::collection::vec(any_format(), 12).prop_flat_map(|formats| {
        any_entries().prop_map(move |entries| {
            entries
                .iter()
                .zip(&formats)
                .zip(1..)
                .map(|((entry, &format), data)| DriverEntry {
                    address: entry.address,
                    format,
                    data,
                })
                .collect()
        })
    })
}
