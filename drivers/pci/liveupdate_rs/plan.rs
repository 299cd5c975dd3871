// SPDX-License-Identifier: GPL-2.0

//! Decides what preserving and releasing a device does to the entries, and what is believed of those
//! of the previous kernel.
//!
//! Entries are kept in the order of their addresses. Where they are kept is up to the caller.

use super::entries::{
    BadRecord,
    DriverEntry,
    Entry,
    Format,
    Probe,
    ProbeEntry,
    RawDevSer,
    RawDriverSer,
    RawProbeSer,
    RawSer,
    MAX_DEVICES,
    MAX_PROBES, //
};
use core::{
    num::NonZero,
    ops::{
        DerefMut,
        Range,
        RangeInclusive, //
    }, //
};
use kernel::{
    fmt,
    liveupdate::{
        pci::Address,
        sorted, //
    }, //
};

/// The command register: `PCI_COMMAND`.
pub(crate) const COMMAND: u16 = 0x04;

/// The base address registers: `PCI_BASE_ADDRESS_0` to `PCI_BASE_ADDRESS_5`. A bridge has two.
pub(crate) const BARS: RangeInclusive<u16> = 0x10..=0x24;

/// What is no part of an address in them.
const BAR_FLAGS: u32 = 0xf;

/// The bit of the command register that lets a device do DMA: `PCI_COMMAND_MASTER`.
pub(crate) const MASTER: u32 = 0x0004;

/// What tells a device from others: `PCI_VENDOR_ID` and `PCI_CLASS_REVISION`, and what comes with
/// them in their double words.
pub(crate) const IDENTITY: [u16; 2] = [0x00, 0x08];

/// A list that may be unable to grow.
pub(crate) trait List<T>: DerefMut<Target = [T]> {
    /// Why it cannot grow.
    type Error;

    /// Adds an item at the end, or else changes nothing.
    fn append(&mut self, item: T) -> Result<(), Self::Error>;

    /// Removes all items but the first `length`. Does not fail.
    fn cut(&mut self, length: usize);
}

/// The part that a device plays in being preserved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// It is preserved for its own sake.
    Endpoint,
    /// It is preserved since it is above an endpoint.
    Bridge,
}

/// Tells a device from the bridges above it, which come after it.
pub(crate) fn roles<T>(path: impl Iterator<Item = T>) -> impl Iterator<Item = (T, Role)> {
    path.enumerate().map(|(distance, device)| match distance {
        0 => (device, Role::Endpoint),
        _ => (device, Role::Bridge),
    })
}

/// Why a device cannot be preserved, or unpreserved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// It is preserved for its own sake already.
    Busy,
    /// It is not preserved.
    NotPreserved,
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

/// Does what was decided. Fails only to add an entry, and then changes nothing.
pub(crate) fn apply<L: List<Entry>>(entries: &mut L, step: Step) -> Result<(), L::Error> {
    match step {
        Step::Add(index, entry) => {
            entries.append(entry)?;
            entries[index..].rotate_right(1);
        }
        Step::Count(index, refcount) => entries[index].refcount = refcount,
        Step::Remove(index) => {
            entries[index..].rotate_left(1);
            entries.cut(entries.len() - 1);
        }
    }
    Ok(())
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

/// Returns how many entries preserving a device and the bridges above it adds.
///
/// If that many can be added, [`preserve_path`] does not fail.
pub(crate) fn added_by_path(
    entries: &[Entry],
    path: impl Iterator<Item = Address>,
) -> Result<usize, Refusal> {
    let mut added = 0;

    for (address, role) in roles(path) {
        if let Step::Add(..) = preserve(entries, address, role)? {
            added += 1;
        }
    }
    Ok(added)
}

/// Adds a device and the bridges above it. Some of them may have been added if it fails.
pub(crate) fn preserve_path<E, L>(
    entries: &mut L,
    path: impl Iterator<Item = Address>,
) -> Result<(), E>
where
    E: From<Refusal> + From<L::Error>,
    L: List<Entry>,
{
    for (address, role) in roles(path) {
        let step = preserve(entries, address, role)?;

        apply(entries, step)?;
    }
    Ok(())
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

/// Removes a device, and the bridges above it that no other device needs.
///
/// Adds no entry, and so fails only for one that is not preserved.
pub(crate) fn release_path<E, L>(
    entries: &mut L,
    path: impl Iterator<Item = Address>,
) -> Result<(), E>
where
    E: From<Refusal> + From<L::Error>,
    L: List<Entry>,
{
    for address in path {
        let step = release(entries, address).ok_or(Refusal::NotPreserved)?;

        apply(entries, step)?;
    }
    Ok(())
}

/// Decides what ending the passage of a device does; nothing if it was not preserved.
///
/// Never adds an entry. An endpoint is an ordinary device then, whatever was counted.
pub(crate) fn finish(entries: &[Entry], address: Address, role: Role) -> Option<Step> {
    match role {
        Role::Endpoint => find(entries, address).ok().map(Step::Remove),
        Role::Bridge => release(entries, address),
    }
}

/// Ends the passage of a device, and of the bridges above it that no other device needs.
///
/// Does nothing if the device was not preserved, or was finished: then the bridges were not counted
/// for its sake, or are not any more. Adds no entry.
pub(crate) fn finish_path<L: List<Entry>>(
    entries: &mut L,
    path: impl Iterator<Item = Address>,
) -> Result<(), L::Error> {
    for (address, role) in roles(path) {
        match finish(entries, address, role) {
            Some(step) => apply(entries, step)?,
            None if role == Role::Endpoint => break,
            None => (),
        }
    }
    Ok(())
}

/// Quarantines a device, unless it is. The list is in the order of addresses.
pub(crate) fn quarantine<L: List<Address>>(
    quarantined: &mut L,
    address: Address,
) -> Result<(), L::Error> {
    if let Err(index) = quarantined.binary_search(&address) {
        quarantined.append(address)?;
        quarantined[index..].rotate_right(1);
    }
    Ok(())
}

/// Ends the quarantine of a device. Returns whether it was in one.
pub(crate) fn release_from_quarantine<L: List<Address>>(
    quarantined: &mut L,
    address: Address,
) -> bool {
    let Ok(index) = quarantined.binary_search(&address) else {
        return false;
    };

    quarantined[index..].rotate_left(1);
    quarantined.cut(quarantined.len() - 1);
    true
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

impl Standing {
    /// Returns whether the device is incoming.
    pub(crate) fn is_incoming(self) -> bool {
        self != Self::Ordinary
    }

    /// Decides whether a device that is found may go on doing DMA.
    ///
    /// `goes_on` says that all that its DMA needs was handed over, `unreadable` that nobody knows which
    /// devices were handed over: then others could be any of them.
    pub(crate) fn may_do_dma(self, goes_on: bool, unreadable: bool) -> bool {
        match self {
            Self::Ordinary | Self::Bridge => !unreadable,
            Self::Endpoint => goes_on,
            Self::Quarantined => false,
        }
    }
}

/// Decides what a device is to the previous kernel.
///
/// `named` says whether there is a format for it, which the previous kernel writes down apart.
/// `quarantined` is in the order of addresses.
pub(crate) fn standing(
    entries: &[Entry],
    quarantined: &[Address],
    address: Address,
    is_bridge: bool,
    named: bool,
) -> Standing {
    // Without a bridge there would be nothing below it, and it does no DMA of its own.
    if !is_bridge && quarantined.binary_search(&address).is_ok() {
        return Standing::Quarantined;
    }

    match find(entries, address) {
        Err(_) if named && !is_bridge => Standing::Quarantined,
        Err(_) => Standing::Ordinary,
        Ok(_) if is_bridge => Standing::Bridge,
        Ok(_) => Standing::Endpoint,
    }
}

/// Returns whether there is an entry of a bridge at an address, as far as one can know.
///
/// Those of endpoints have a format, which the previous kernel writes down apart.
pub(crate) fn holds_bridge(entries: &[Entry], address: Address, formats: Formats<'_>) -> bool {
    find(entries, address).is_ok() && !formats.names(address)
}

/// Finds the preserved bridge for whose sake a bridge gets no bus numbers, if there is one.
///
/// A bridge without numbers gets the next free ones. If a preserved bridge on the same bus lost its
/// own, these may be the ones that the devices below it are known by. It does not get others either.
///
/// `preserved` is what was preserved, in the order of addresses, which `address` returns. `lost` says
/// whether something is a bridge which lost its numbers.
pub(crate) fn in_the_way<T>(
    bridge: Address,
    preserved: &[T],
    address: impl Fn(&T) -> Address,
    mut lost: impl FnMut(&T) -> bool,
) -> Option<Address> {
    let bus = |address: Address| (address.domain(), address.bus());
    let beside = sorted::range_of(preserved, bus(bridge), |other| bus(address(other)));

    preserved[beside]
        .iter()
        .find_map(|other| lost(other).then(|| address(other)))
}

/// What the previous kernel says of how devices were preserved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Formats<'a> {
    /// It does not say.
    Unknown,
    /// These, for the devices that it names, in the order of their addresses.
    Known(&'a [DriverEntry]),
}

impl Formats<'_> {
    /// Returns whether there is a format for a device.
    pub(crate) fn names(self, address: Address) -> bool {
        self.of(address).is_some()
    }

    /// Returns the format of a device, one of them if there are several.
    pub(crate) fn of(self, address: Address) -> Option<Format> {
        let Self::Known(drivers) = self else {
            return None;
        };
        let own = drivers_of(drivers, address);

        Some(drivers[own].first()?.format)
    }
}

/// Returns where the entries of a device are among those of all, which are in the order of addresses.
pub(crate) fn drivers_of(drivers: &[DriverEntry], address: Address) -> Range<usize> {
    sorted::range_of(drivers, address, address_of)
}

/// Returns what entries of drivers are in the order of.
///
/// A function, since a closure in a generic one has a name that is too long for the kernel.
fn address_of(driver: &DriverEntry) -> Address {
    driver.address
}

/// Forgets how a device was preserved.
pub(crate) fn forget_driver<L: List<DriverEntry>>(drivers: &mut L, address: Address) {
    let own = drivers_of(drivers, address);
    let count = own.len();

    drivers[own.start..].rotate_left(count);
    drivers.cut(drivers.len() - count);
}

/// Returns the device that belongs to the file that has this data.
pub(crate) fn device_of(drivers: &[DriverEntry], data: u64) -> Option<Address> {
    let driver = drivers.iter().find(|driver| driver.data == data)?;

    Some(driver.address)
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
            Formats::Known(drivers) => drivers[drivers_of(drivers, address)]
                .iter()
                .any(|driver| Some(driver.format) == known),
        },
    }
}

/// Decides whether a device belongs to the file that has this data.
///
/// A wrong record of one file does not get at the device of another one.
pub(crate) fn belongs_to(
    standing: Standing,
    address: Address,
    formats: Formats<'_>,
    data: u64,
) -> bool {
    match (standing, formats) {
        (Standing::Ordinary | Standing::Bridge, _) => false,
        (Standing::Endpoint | Standing::Quarantined, Formats::Unknown) => true,
        (Standing::Endpoint | Standing::Quarantined, Formats::Known(drivers)) => drivers
            [drivers_of(drivers, address)]
        .iter()
        .any(|driver| driver.data == data),
    }
}

/// What cannot be believed of what was handed over, and what that costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Finding {
    /// An entry is ignored.
    Ignored(BadRecord),
    /// A device is quarantined, since there is more than one entry of it.
    Twice(Address),
    /// All devices are quarantined: which one is missing or too many nobody knows.
    All(BadRecord),
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ignored(bad) => {
                f.write_str("an entry of a preserved device is ignored: ")?;
                fmt::Display::fmt(bad, f)
            }
            Self::Twice(address) => {
                write!(f, "{address:?} is quarantined: it was preserved twice")
            }
            Self::All(bad) => {
                f.write_str("all preserved devices are quarantined: ")?;
                fmt::Display::fmt(bad, f)
            }
        }
    }
}

/// Reads the devices that the previous kernel preserved.
///
/// What is wrong is reported, and costs the devices that it is about: they are ignored if nobody
/// knows which they are, and are added to `quarantined` otherwise, in the order of addresses.
///
/// # Errors
///
/// If there are more devices than can be believed, or a list cannot grow.
pub(crate) fn read<E, L, Q>(
    header: &RawSer,
    records: impl Iterator<Item = RawDevSer>,
    entries: &mut L,
    quarantined: &mut Q,
    mut report: impl FnMut(Finding),
) -> Result<(), E>
where
    E: From<BadRecord> + From<L::Error>,
    L: List<Entry>,
    Q: List<Address, Error = L::Error>,
{
    let mut found = 0;

    for raw in records {
        match raw.entry() {
            Ok(None) => continue,
            Ok(Some(entry)) => match admit(entries, entry) {
                Ok(step) => apply(entries, step)?,
                Err(BadRecord::Duplicate(address)) => {
                    report(Finding::Twice(address));
                    quarantine(quarantined, address)?;
                }
                Err(bad) => return Err(bad.into()),
            },
            Err(bad) => report(Finding::Ignored(bad)),
        }

        // Those that are not kept count, too: they cost work, and a line in the log.
        found += 1;
        if found > MAX_DEVICES {
            return Err(BadRecord::TooMany.into());
        }
    }

    if let Err(bad) = header.check_count(found) {
        report(Finding::All(bad));
        quarantined.cut(0);
        for entry in entries.iter() {
            quarantined.append(entry.address)?;
        }
    }
    Ok(())
}

/// Reads which drivers can take over the devices. The list is in the order of addresses then.
///
/// # Errors
///
/// If any of it cannot be believed, or the list cannot grow.
pub(crate) fn read_drivers<E, L>(
    header: &RawSer,
    records: impl Iterator<Item = RawDriverSer>,
    drivers: &mut L,
) -> Result<(), E>
where
    E: From<BadRecord> + From<L::Error>,
    L: List<DriverEntry>,
{
    for raw in records {
        if drivers.len() == MAX_DEVICES {
            return Err(BadRecord::TooMany.into());
        }
        drivers.append(raw.try_into()?)?;
    }
    sorted::sort(drivers, address_of);
    Ok(header.check_count(drivers.len())?)
}

/// Reads what writing to the registers of the devices would tell.
///
/// # Errors
///
/// If any of it cannot be believed, or the list cannot grow.
pub(crate) fn read_probes<E, L>(
    header: &RawSer,
    records: impl Iterator<Item = RawProbeSer>,
    probes: &mut L,
) -> Result<(), E>
where
    E: From<BadRecord> + From<L::Error>,
    L: List<ProbeEntry>,
{
    for raw in records {
        let entry = ProbeEntry::try_from(raw)?;

        if probes.len() == MAX_PROBES {
            return Err(BadRecord::TooMany.into());
        }
        if probes.last().is_some_and(|last| key(last) >= key(&entry)) {
            return Err(BadRecord::Order(entry.address).into());
        }
        probes.append(entry)?;
    }
    Ok(header.check_count(probes.len())?)
}

/// Entries of registers are in the order of this.
fn key(entry: &ProbeEntry) -> (Address, u16) {
    (entry.address, entry.probe.register)
}

/// Returns where the entries of a device's registers are among those of all.
pub(crate) fn probes_of(probes: &[ProbeEntry], address: Address) -> Range<usize> {
    sorted::range_of(probes, address, |entry| entry.address)
}

/// Returns where in what is known of a device a register is, if it is known.
fn index_of(probes: &[Probe], register: u16) -> Option<usize> {
    probes
        .binary_search_by_key(&register, |probe| probe.register)
        .ok()
}

/// Returns what is known of a register of a device.
pub(crate) fn known(probes: &[Probe], register: u16) -> Option<u32> {
    Some(probes[index_of(probes, register)?].value)
}

/// Notes in what is known of a device whether it goes on doing DMA. Returns whether that can be noted.
///
/// It cannot if its registers are not known: they would be written to.
pub(crate) fn keep_mastering(probes: &mut [Probe], keep: bool) -> bool {
    let Some(index) = index_of(probes, COMMAND) else {
        return false;
    };
    let command = &mut probes[index];

    if keep {
        command.value |= MASTER;
    } else {
        command.value &= !MASTER;
    }
    true
}

/// Returns what was learned of a register of a device by writing to it, if all of that is known.
///
/// There is an entry for the command register then.
pub(crate) fn probed(probes: &[Probe], register: u16) -> Option<u32> {
    known(probes, COMMAND)?;
    Some(known(probes, register).unwrap_or(0))
}

/// Returns whether a device goes on doing DMA, as far as the previous kernel says.
pub(crate) fn keeps_mastering(probes: &[Probe]) -> bool {
    known(probes, COMMAND).is_some_and(|value| value & MASTER != 0)
}

/// Decides whether a device whose registers read like this is the one that is described.
///
/// It is if nothing is known of it.
pub(crate) fn is_same(probes: &[Probe], read: impl Fn(u16) -> u32) -> bool {
    IDENTITY
        .iter()
        .all(|&register| known(probes, register).is_none_or(|value| value == read(register)))
}

/// Decides whether a device whose registers read like this is as the previous kernel left it.
///
/// One that lost power, or was plugged in meanwhile, has no addresses in its base address registers.
/// If it has no such registers nobody can tell.
pub(crate) fn is_configured(probes: &[Probe], read: impl Fn(u16) -> u32) -> bool {
    let mut bars = probes
        .iter()
        .filter(|probe| BARS.contains(&probe.register))
        .map(|probe| read(probe.register) & probe.value & !BAR_FLAGS != 0)
        .peekable();

    bars.peek().is_none() || bars.any(|has_address| has_address)
}

/// Decides where an entry of the previous kernel belongs.
pub(crate) fn admit(entries: &[Entry], entry: Entry) -> Result<Step, BadRecord> {
    match find(entries, entry.address) {
        Ok(_) => Err(BadRecord::Duplicate(entry.address)),
        Err(index) => Ok(Step::Add(index, entry)),
    }
}
