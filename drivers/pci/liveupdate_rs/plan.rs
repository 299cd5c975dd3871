// SPDX-License-Identifier: GPL-2.0

//! Decides what preserving and releasing a device does to the entries.
//!
//! Entries are kept in the order of their addresses.

use super::entries::{
    BadRecord,
    DriverEntry,
    Entry,
    Format,
    MAX_DEVICES, //
};
use core::num::NonZero;
use kernel::liveupdate::pci::Address;

/// The part that a device plays in being preserved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// It is preserved for its own sake.
    Endpoint,
    /// It is preserved since it is above an endpoint.
    Bridge,
}

/// Why a device cannot be preserved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// It is preserved for its own sake already.
    Busy,
    /// There are more endpoints below it than can be counted.
    TooMany,
}

/// What is to be done to the entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Add an entry at this index.
    Add(usize, Entry),
    /// Give the entry at this index another count.
    Count(usize, NonZero<u16>),
    /// Remove the entry at this index.
    Remove(usize),
}

/// Returns the index of the entry of a device, or else where there would be one.
pub(crate) fn find(entries: &[Entry], address: Address) -> Result<usize, usize> {
    entries.binary_search_by_key(&address, |entry| entry.address)
}

/// Decides what preserving a device does.
pub(crate) fn preserve(entries: &[Entry], address: Address, role: Role) -> Result<Step, Refusal> {
    let refcount = NonZero::<u16>::MIN;

    match find(entries, address) {
        Err(index) => Ok(Step::Add(index, Entry { address, refcount })),
        Ok(_) if role == Role::Endpoint => Err(Refusal::Busy),
        Ok(index) => match entries[index].refcount.checked_add(1) {
            Some(refcount) => Ok(Step::Count(index, refcount)),
            None => Err(Refusal::TooMany),
        },
    }
}

/// Decides what releasing a device does; nothing if it is not preserved.
///
/// Never adds an entry.
pub(crate) fn release(entries: &[Entry], address: Address) -> Option<Step> {
    let index = find(entries, address).ok()?;

    Some(match NonZero::new(entries[index].refcount.get() - 1) {
        Some(refcount) => Step::Count(index, refcount),
        None => Step::Remove(index),
    })
}

/// Decides what ending the passage of an endpoint does; nothing if it was not preserved.
///
/// Never adds an entry.
pub(crate) fn forget(entries: &[Entry], address: Address) -> Option<Step> {
    find(entries, address).ok().map(Step::Remove)
}

/// What a device of this kernel is to the previous one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It was not preserved, or was finished.
    Ordinary,
    /// It was preserved since it is above an endpoint.
    Bridge,
    /// It was preserved for its own sake.
    Endpoint,
    /// What the previous kernel says of it cannot be believed.
    Quarantined,
}

/// Which formats the previous kernel says that devices were preserved in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Formats<'a> {
    /// It does not say.
    Unknown,
    /// These, for the devices that it names.
    Known(&'a [DriverEntry]),
}

/// Decides whether a driver that knows a format, if any, may bind to a device.
pub(crate) fn may_bind(
    standing: Standing,
    address: Address,
    formats: Formats<'_>,
    known: Option<Format>,
) -> bool {
    match standing {
        Standing::Ordinary | Standing::Bridge => true,
        Standing::Quarantined => false,
        Standing::Endpoint => match formats {
            Formats::Unknown => known.is_some(),
            Formats::Known(drivers) => drivers
                .iter()
                .any(|driver| driver.address == address && Some(driver.format) == known),
        },
    }
}

/// Decides where an entry of the previous kernel belongs.
pub(crate) fn admit(entries: &[Entry], entry: Entry) -> Result<Step, BadRecord> {
    match find(entries, entry.address) {
        Ok(_) => Err(BadRecord::Duplicate(entry.address)),
        Err(_) if entries.len() == MAX_DEVICES => Err(BadRecord::TooMany),
        Err(index) => Ok(Step::Add(index, entry)),
    }
}
