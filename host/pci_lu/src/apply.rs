// SPDX-License-Identifier: GPL-2.0

//! Stand-in for what `apply.rs` does in the kernel: keeps the entries, in memory of the host.
//!
//! Says the same with `Vec` as the kernel with `KVec`, and has to be kept like it.

// Here and not in the crate root: the pure files shall not find it.
extern crate std;

use crate::{
    entries::{
        BadRecord,
        Entry,
        RawDevSer,
        RawSer,
        VERSION, //
    },
    plan::{
        self,
        Refusal,
        Role,
        Step, //
    },
};
use kernel::liveupdate::pci::Address;
use std::vec::Vec;

/// Adds a device and the bridges above it, or else changes nothing.
pub(crate) fn preserve(entries: &mut Vec<Entry>, path: &[Address]) -> Result<(), Refusal> {
    let mut copy = entries.clone();

    for (distance, &address) in path.iter().enumerate() {
        let role = match distance {
            0 => Role::Endpoint,
            _ => Role::Bridge,
        };

        let step = plan::preserve(&copy, address, role)?;
        apply(&mut copy, step);
    }

    *entries = copy;
    Ok(())
}

/// Removes a device, and the bridges above it that no other device needs.
///
/// Returns nothing if one of them is not preserved.
pub(crate) fn release(entries: &mut Vec<Entry>, path: &[Address]) -> Option<()> {
    for &address in path {
        let step = plan::release(entries, address)?;

        apply(entries, step);
    }
    Some(())
}

/// Does what was decided.
pub(crate) fn apply(entries: &mut Vec<Entry>, step: Step) {
    match step {
        Step::Add(index, entry) => {
            entries.push(entry);
            entries[index..].rotate_right(1);
        }
        Step::Count(index, refcount) => entries[index].refcount = refcount,
        Step::Remove(index) => {
            entries.remove(index);
        }
    }
}

/// Returns what is handed over for the entries.
pub(crate) fn write(entries: &[Entry], devices: u64) -> (RawSer, Vec<RawDevSer>) {
    let header = RawSer {
        version: VERSION,
        nr_devices: entries.len().try_into().unwrap(),
        devices,
    };

    (
        header,
        entries.iter().copied().map(RawDevSer::from).collect(),
    )
}

/// Returns the entries that were handed over.
pub(crate) fn read(header: &RawSer, devices: &[RawDevSer]) -> Result<Vec<Entry>, BadRecord> {
    header.check_version()?;

    let mut entries = Vec::new();
    for raw in devices {
        if let Some(entry) = raw.entry()? {
            let step = plan::admit(&entries, entry)?;
            apply(&mut entries, step);
        }
    }
    header.check_count(entries.len())?;

    Ok(entries)
}
