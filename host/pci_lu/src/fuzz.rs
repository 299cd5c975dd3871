// SPDX-License-Identifier: GPL-2.0

//! What has to hold of any bytes at all.

// Here and not in the crate root: the pure files shall not find it.
extern crate std;

use crate::{
    apply,
    entries::{
        RawDevSer,
        RawSer, //
    },
    plan, //
};
use kernel::prelude::*;
use std::vec::Vec;

/// Reads bytes as if they were handed over: a `struct pci_ser`, then all `struct pci_dev_ser`.
///
/// Returns whether they were accepted.
///
/// # Panics
///
/// If they are accepted and mean something else than they say.
pub fn fuzz_pci(bytes: &[u8]) -> bool {
    let Some((header, devices)) = parse(bytes) else {
        return false;
    };
    let Ok(mut entries) = apply::read(&header, &devices) else {
        return false;
    };

    assert!(entries
        .windows(2)
        .all(|pair| pair[0].address < pair[1].address));

    // What is accepted is handed over again as it was, but for the order and for free records.
    let (rewritten, written) = apply::write(&entries, header.devices);
    let mut devices = devices;
    devices.retain(|device| device.refcount != 0);
    devices.sort_by_key(|device| (device.domain, device.bdf));
    assert_eq!(rewritten.as_bytes(), header.as_bytes());
    assert_eq!(written.as_bytes(), devices.as_bytes());

    // What is accepted can be released: each release counts down, the last one removes.
    while let Some(entry) = entries.last().copied() {
        let step = plan::release(&entries, entry.address).expect("it is there");
        apply::apply(&mut entries, step);

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
    true
}

fn parse(bytes: &[u8]) -> Option<(RawSer, Vec<RawDevSer>)> {
    let (header, devices) = RawSer::read_from_prefix(bytes).ok()?;

    // Record by record, for a fuzzer's bytes are not aligned.
    let devices = devices
        .chunks(size_of::<RawDevSer>())
        .map(|device| RawDevSer::read_from_bytes(device).ok())
        .collect::<Option<_>>()?;

    Some((header, devices))
}
