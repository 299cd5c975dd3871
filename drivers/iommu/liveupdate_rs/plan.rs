// SPDX-License-Identifier: GPL-2.0

//! Decides what becomes of IOMMUs, domains and devices that are handed over.
//!
//! Of those that the previous kernel handed over: which device gets which domain, whose passage is to
//! be ended, and when a domain or its tables are needed no more. Of those that this kernel preserves:
//! who counts for whom, and whether an IOMMU group goes on as a whole.

use super::entries::{
    BadRecord,
    DeviceRecord,
    DomainRecord,
    Kind,
    RawDeviceSer,
    RawDomainSer,
    RawHdrSer,
    RawHwSer, //
};
use core::{
    num::NonZero,
    ops::Range, //
};
use kernel::liveupdate::{
    pci::{
        Address,
        RawAddress, //
    },
    sorted, //
};

/// A device that the previous kernel handed over.
pub(crate) struct DeviceEntry {
    /// Where its record was.
    phys: u64,
    raw: RawDeviceSer,
    /// Its passage has not ended.
    pending: bool,
    /// It is attached to the domain that it had.
    restored: bool,
    /// This kernel probed the device at least once, so that it could stop it.
    seen: bool,
}

impl DeviceEntry {
    /// Makes an entry of the record that was at a physical address.
    pub(crate) const fn new(phys: u64, raw: RawDeviceSer) -> Self {
        Self {
            phys,
            raw,
            pending: true,
            restored: false,
            seen: false,
        }
    }

    /// Returns where the device is said to be, though all else in its record may be wrong.
    pub(crate) fn address(&self) -> Option<Address> {
        let bdf = self.raw.devid.try_into().ok()?;
        let domain = self.raw.pci_domain_nr;

        RawAddress { domain, bdf }.try_into().ok()
    }

    /// Returns where the record of its domain was, which orders [`Incoming::by_domain`].
    pub(crate) const fn domain_phys(&self) -> u64 {
        self.raw.map.domain_phys
    }

    /// Returns where the record of its IOMMU was, which orders [`Incoming::by_iommu`].
    pub(crate) const fn iommu_phys(&self) -> u64 {
        self.raw.map.iommu_phys
    }

    /// Returns whether nobody could ever stop the device, which may go on doing DMA.
    fn is_beyond_reach(&self, is_there: impl Fn(Address) -> bool) -> bool {
        !self.seen && !self.address().is_some_and(is_there)
    }
}

/// An IOMMU that the previous kernel handed over.
pub(crate) struct IommuEntry {
    /// Where its record was.
    phys: u64,
    raw: RawHwSer,
    /// This kernel can clear the entries that it has for devices, or has cleared all of them.
    contained: bool,
}

impl IommuEntry {
    /// Makes an entry of the record that was at a physical address.
    pub(crate) const fn new(phys: u64, raw: RawHwSer) -> Self {
        Self {
            phys,
            raw,
            contained: false,
        }
    }
}

/// Whose the tables of a domain are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tables {
    /// Nobody took them over.
    HandedOver,
    /// The domain that was made of them has them, or they were freed.
    Taken,
}

/// Who retrieved an iommufd: a number that tells owners of domains apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Owner(NonZero<usize>);

impl Owner {
    /// Makes an owner of a number, unless that is 0.
    pub(crate) fn new(number: usize) -> Option<Self> {
        NonZero::new(number).map(Self)
    }
}

/// A domain that the previous kernel handed over.
///
/// `M` is the type of the domain that is restored from the record.
pub(crate) struct DomainEntry<M> {
    /// Where its record was.
    phys: u64,
    raw: RawDomainSer,
    /// How many devices are said to have it.
    users: usize,
    /// How many of them have not ended their passage.
    pending: usize,
    /// What was made of it.
    made: Option<M>,
    /// Number of unfinished devices that are attached to `made`.
    devices: u32,
    tables: Tables,
    /// Another domain has the same first table.
    is_shared: bool,
    /// Who retrieved the iommufd that it belongs to.
    owner: Option<Owner>,
    /// `made` was given to somebody, who frees it.
    given: bool,
}

impl<M> DomainEntry<M> {
    /// Makes an entry of the record that was at a physical address, of a domain that so many devices are
    /// said to have.
    pub(crate) const fn new(phys: u64, raw: RawDomainSer, users: usize) -> Self {
        Self {
            phys,
            raw,
            users,
            pending: users,
            made: None,
            devices: 0,
            tables: Tables::HandedOver,
            is_shared: false,
            owner: None,
            given: false,
        }
    }

    /// Returns where the record was.
    pub(crate) const fn phys(&self) -> u64 {
        self.phys
    }

    /// Returns the record.
    pub(crate) const fn raw(&self) -> &RawDomainSer {
        &self.raw
    }

    /// Returns what the record says, if that can be believed.
    pub(crate) fn check(&self) -> Result<DomainRecord, BadRecord> {
        if self.is_shared {
            return Err(BadRecord::Shared(self.raw.top_table_phys));
        }
        self.raw.hdr.check(self.users)?;
        (&self.raw).try_into()
    }

    /// Returns what was made of the record.
    pub(crate) const fn made(&self) -> Option<&M> {
        self.made.as_ref()
    }

    /// Notes what was made of the record, which has the tables from then on.
    pub(crate) fn set_made(&mut self, made: M) {
        self.tables = Tables::Taken;
        self.made = Some(made);
    }

    /// Returns what was made of the record, and whether devices are attached to that, or somebody else frees
    /// it.
    pub(crate) fn into_made(self) -> Option<(M, bool)> {
        Some((self.made?, self.devices != 0 || self.given))
    }
}

/// Selects the domains whose remaining devices are to be ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Which {
    /// Of the one whose record was at this physical address.
    At(u64),
    /// Of those that this owner retrieved.
    OwnedBy(Owner),
    /// All domains, but only their devices that this kernel did not find.
    Lost,
}

impl Which {
    fn is<M>(self, domain: &DomainEntry<M>) -> bool {
        match self {
            Self::At(phys) => domain.phys == phys,
            Self::OwnedBy(owner) => domain.owner == Some(owner),
            Self::Lost => true,
        }
    }
}

/// A device whose passage is to be ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pending {
    /// A number that it has for as long as something is incoming.
    pub(crate) at: usize,
    /// Where it is said to be.
    pub(crate) address: Option<Address>,
    /// The kind of its IOMMU, and what that is known by.
    pub(crate) iommu: Option<(Kind, u64)>,
    /// Nobody could ever stop it.
    pub(crate) is_beyond_reach: bool,
}

/// Why a device does not get the domain that it had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// It was not handed over, or its passage has ended.
    NotIncoming,
    /// Its record, or that of its domain, cannot be believed.
    Record(BadRecord),
    /// The record of its domain is missing.
    NoDomain,
}

impl From<BadRecord> for Refusal {
    fn from(bad: BadRecord) -> Self {
        Self::Record(bad)
    }
}

/// A device and its domain, by where the lists of [`Incoming`] have them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    device: usize,
    /// Where [`Incoming::domains`] has the domain.
    pub(crate) domain: usize,
}

/// Puts IOMMUs in the order that [`Incoming`] has them in: of kinds, and of tokens of a kind.
pub(crate) fn sort_iommus(iommus: &mut [IommuEntry]) {
    sorted::sort(iommus, |entry| {
        (entry.raw.type_, entry.raw.token, entry.phys)
    });
}

/// Puts devices in the order that [`Incoming`] has them in: of their addresses.
pub(crate) fn sort_devices(devices: &mut [DeviceEntry]) {
    sorted::sort(devices, |entry| (entry.address(), entry.phys));
}

/// Puts indices of `devices` in the order of a property of these.
pub(crate) fn sort_indices(
    indices: &mut [usize],
    devices: &[DeviceEntry],
    key: impl Fn(&DeviceEntry) -> u64,
) {
    sorted::sort(indices, |index| (key(&devices[*index]), *index));
}

/// Returns where `indices`, which are in the order of `key`, have the devices with a key.
fn range_by(
    indices: &[usize],
    devices: &[DeviceEntry],
    wanted: u64,
    key: impl Fn(&DeviceEntry) -> u64,
) -> Range<usize> {
    sorted::range_of(indices, wanted, |index| key(&devices[*index]))
}

/// Returns how many devices are said to have a domain. `by_domain` are indices in the order of
/// [`DeviceEntry::domain_phys`].
pub(crate) fn count_users(by_domain: &[usize], devices: &[DeviceEntry], domain_phys: u64) -> usize {
    range_by(by_domain, devices, domain_phys, DeviceEntry::domain_phys).len()
}

/// Has domains that begin with the same table not be believed: tables of one would be freed while an IOMMU
/// walks them for another. `by_top` has the index of each domain, in any order, and is sorted.
pub(crate) fn refuse_shared_tables<M>(domains: &mut [DomainEntry<M>], by_top: &mut [usize]) {
    sorted::sort(by_top, |index| (domains[*index].raw.top_table_phys, *index));
    for pair in by_top.windows(2) {
        if domains[pair[0]].raw.top_table_phys == domains[pair[1]].raw.top_table_phys {
            domains[pair[0]].is_shared = true;
            domains[pair[1]].is_shared = true;
        }
    }
}

/// What the previous kernel handed over, as far as it has not ended.
///
/// Lists are borrowed: whoever has them keeps them in memory, and has them sorted as said.
pub(crate) struct Incoming<'a, M> {
    /// As [`sort_iommus`] has them.
    pub(crate) iommus: &'a mut [IommuEntry],
    /// In the order of where their records were.
    pub(crate) domains: &'a mut [DomainEntry<M>],
    /// As [`sort_devices`] has them.
    pub(crate) devices: &'a mut [DeviceEntry],
    /// Where `devices` has them, in the order of [`DeviceEntry::domain_phys`].
    pub(crate) by_domain: &'a [usize],
    /// Where `devices` has them, in the order of [`DeviceEntry::iommu_phys`].
    pub(crate) by_iommu: &'a [usize],
}

impl<M> Incoming<'_, M> {
    fn iommus_of(&self, kind: Kind, token: u64) -> Range<usize> {
        sorted::range_of(self.iommus, (kind as u64, token), |entry| {
            (entry.raw.type_, entry.raw.token)
        })
    }

    /// Returns the addresses of all devices, in this order.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = Address> + '_ {
        self.devices.iter().filter_map(DeviceEntry::address)
    }

    /// Returns the record of an IOMMU, and where that was.
    pub(crate) fn iommu(&self, kind: Kind, token: u64) -> Option<(u64, RawHwSer)> {
        let entry = self.iommus[self.iommus_of(kind, token)].first()?;

        Some((entry.phys, entry.raw))
    }

    /// Returns the records of the devices behind an IOMMU whose record was at a physical address, each
    /// with that of its domain.
    pub(crate) fn devices_behind(
        &self,
        iommu_phys: u64,
    ) -> impl ExactSizeIterator<Item = (RawDeviceSer, Option<RawDomainSer>)> + '_ {
        let range = range_by(
            self.by_iommu,
            self.devices,
            iommu_phys,
            DeviceEntry::iommu_phys,
        );

        self.by_iommu[range].iter().map(|index| {
            let raw = self.devices[*index].raw;
            let domain = self.domain(raw.map.domain_phys);

            (raw, domain.map(|index| self.domains[index].raw))
        })
    }

    /// Notes that this kernel can clear the entries that an IOMMU has for devices, or has cleared them.
    pub(crate) fn set_contained(&mut self, kind: Kind, token: u64) {
        let range = self.iommus_of(kind, token);

        for entry in &mut self.iommus[range] {
            entry.contained = true;
        }
    }

    /// Returns the token of an IOMMU which still translates for a device whose passage has not ended, and
    /// whose entries this kernel cannot clear.
    pub(crate) fn uncontained(&self) -> Option<u64> {
        let is_pending = |index: &usize| self.devices[*index].pending;
        let mut entries = self.iommus.iter().filter(|entry| !entry.contained);

        entries.find_map(|entry| {
            let range = range_by(
                self.by_iommu,
                self.devices,
                entry.phys,
                DeviceEntry::iommu_phys,
            );

            self.by_iommu[range]
                .iter()
                .any(is_pending)
                .then_some(entry.raw.token)
        })
    }

    /// Returns the devices whose passage has not ended, and for which an IOMMU may translate: nobody takes
    /// over what was handed over of a device without a domain.
    fn translated(&self) -> impl Iterator<Item = &DeviceEntry> {
        self.devices
            .iter()
            .filter(|entry| entry.pending && self.domain(entry.domain_phys()).is_some())
    }

    /// Returns a device whose passage has not ended, and for which an IOMMU may translate.
    pub(crate) fn unfinished(&self) -> Option<Address> {
        self.translated().find_map(DeviceEntry::address)
    }

    /// Returns a device whose passage has not ended, and that nobody could ever stop.
    pub(crate) fn beyond_reach(&self, is_there: impl Fn(Address) -> bool) -> Option<Address> {
        self.translated()
            .filter(|entry| entry.is_beyond_reach(&is_there))
            .find_map(DeviceEntry::address)
    }

    /// Returns where `domains` has the domain whose record was at a physical address.
    fn domain(&self, phys: u64) -> Option<usize> {
        self.domains
            .binary_search_by_key(&phys, |entry| entry.phys)
            .ok()
    }

    /// Returns where `devices` has a device whose passage has not ended.
    fn find(&self, address: Address) -> Option<usize> {
        let mut range = sorted::range_of(self.devices, Some(address), DeviceEntry::address);

        range.find(|index| self.devices[*index].pending)
    }

    /// Returns whether a device, which is there, was handed over and has not ended its passage.
    pub(crate) fn has(&mut self, address: Address) -> bool {
        let found = self.find(address);

        if let Some(at) = found {
            self.devices[at].seen = true;
        }
        found.is_some()
    }

    /// Returns the device at an address, and the domain that it is to be attached to.
    pub(crate) fn place(&self, address: Address) -> Result<Place, Refusal> {
        let device = self.find(address).ok_or(Refusal::NotIncoming)?;
        let raw = &self.devices[device].raw;

        raw.hdr.check(0)?;
        let record = DeviceRecord::try_from(raw)?;
        let domain = self.domain(record.domain_phys).ok_or(Refusal::NoDomain)?;

        Ok(Place { device, domain })
    }

    /// Notes that a device is to be attached to what was made of its domain.
    pub(crate) fn set_restored(&mut self, place: Place) {
        self.devices[place.device].restored = true;
        self.domains[place.domain].devices += 1;
    }

    /// Notes that a device did not get the domain that it had.
    pub(crate) fn give_up(&mut self, address: Address) {
        let Some(at) = self.find(address) else {
            return;
        };
        let entry = &mut self.devices[at];
        let phys = entry.domain_phys();

        if core::mem::replace(&mut entry.restored, false) {
            if let Some(index) = self.domain(phys) {
                self.domains[index].devices -= 1;
            }
        }
    }

    /// Returns the next device that had the domain whose record was at a physical address: its number among
    /// these devices, which is `number` at least, and its address. Those whose passage has ended are left out
    /// if `only_pending`.
    pub(crate) fn next_of(
        &self,
        domain_phys: u64,
        number: usize,
        only_pending: bool,
    ) -> Option<(usize, Address)> {
        let range = range_by(
            self.by_domain,
            self.devices,
            domain_phys,
            DeviceEntry::domain_phys,
        );

        self.by_domain[range]
            .iter()
            .map(|index| &self.devices[*index])
            .enumerate()
            .skip(number)
            .filter(|(_, entry)| entry.pending || !only_pending)
            .find_map(|(number, entry)| Some((number, entry.address()?)))
    }

    /// Returns what was made of the record at a physical address, which is the caller's to free from then on.
    /// That is returned once.
    pub(crate) fn give(&mut self, domain_phys: u64) -> Option<&M> {
        let index = self.domain(domain_phys)?;
        let domain = &mut self.domains[index];

        if domain.made.is_none() || core::mem::replace(&mut domain.given, true) {
            return None;
        }
        domain.made.as_ref()
    }

    /// Notes who retrieved the iommufd that a domain belongs to.
    pub(crate) fn set_owner(&mut self, domain_phys: u64, owner: Option<Owner>) {
        if let Some(index) = self.domain(domain_phys) {
            self.domains[index].owner = owner;
        }
    }

    /// Returns the next device of certain domains whose passage has not ended. Its number is `from` at
    /// least. `is_there` says whether this kernel found the device at an address.
    pub(crate) fn next_pending(
        &self,
        which: Which,
        from: usize,
        is_there: impl Fn(Address) -> bool,
    ) -> Option<Pending> {
        let is_meant = |entry: &DeviceEntry| {
            let is_lost = || entry.address().is_some_and(|at| !is_there(at));

            entry.pending
                && self
                    .domain(entry.domain_phys())
                    .is_some_and(|index| which.is(&self.domains[index]))
                && (which != Which::Lost || is_lost())
        };
        let mut entries = self.devices.iter().enumerate().skip(from);
        let (at, entry) = entries.find(|(_, entry)| is_meant(entry))?;
        let iommu = self
            .iommus
            .iter()
            .find(|iommu| iommu.phys == entry.iommu_phys())
            .and_then(|iommu| Some((iommu.raw.type_.try_into().ok()?, iommu.raw.token)));

        Some(Pending {
            at,
            address: entry.address(),
            iommu,
            is_beyond_reach: entry.is_beyond_reach(&is_there),
        })
    }

    /// Returns the next record whose tables were never restored and whose devices have all
    /// ended.
    ///
    /// It looks at domains from number `from` on, which is advanced behind the one that it returns.
    pub(crate) fn take_tables(&mut self, which: Which, from: &mut usize) -> Option<DomainRecord> {
        let (first, end) = match which {
            Which::At(phys) => self.domain(phys).map_or((0, 0), |at| (at, at + 1)),
            Which::OwnedBy(_) | Which::Lost => (0, self.domains.len()),
        };

        for at in (*from).max(first)..end {
            let domain = &mut self.domains[at];

            *from = at + 1;
            if !which.is(domain) || domain.tables != Tables::HandedOver || domain.pending != 0 {
                continue;
            }
            domain.tables = Tables::Taken;
            // What cannot be believed stays reserved.
            if let Ok(record) = domain.check() {
                return Some(record);
            }
        }
        None
    }

    /// Ends the passage of the device at an address. Returns a domain that nobody needs any more.
    pub(crate) fn finish(&mut self, address: Address) -> Option<M> {
        let at = self.find(address)?;

        self.finish_at(at)
    }

    /// Ends the passage of the device with this number. Returns a domain that nobody needs any more.
    pub(crate) fn finish_at(&mut self, at: usize) -> Option<M> {
        let device = self.devices.get_mut(at).filter(|device| device.pending)?;
        let (phys, restored) = (device.domain_phys(), device.restored);

        device.pending = false;
        let index = self.domain(phys)?;
        let domain = &mut self.domains[index];

        domain.pending -= 1;
        if restored {
            domain.devices -= 1;
        }
        // One that came late has it, too, as all of its group.
        if domain.devices != 0 || domain.pending != 0 || domain.given {
            return None;
        }
        domain.made.take()
    }
}

/// Returns the header of a record that so many others refer to.
pub(crate) const fn header(users: u32) -> RawHdrSer {
    RawHdrSer {
        ref_count: 1 + users,
        flags: 0,
    }
}

/// How far a domain is preserved, and for how many devices.
///
/// `T` stands for the tables, while they are preserved.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct DomainUse<T> {
    /// The tables; nothing while somebody preserves or unpreserves them.
    tables: Option<T>,
    /// How many devices are preserved with it.
    devices: u32,
}

impl<T> DomainUse<T> {
    /// A domain of which no table is preserved yet.
    pub(crate) const fn new() -> Self {
        Self {
            tables: None,
            devices: 0,
        }
    }

    /// Returns whether all tables are preserved.
    pub(crate) const fn is_preserved(&self) -> bool {
        self.tables.is_some()
    }

    /// Notes that all tables are preserved.
    pub(crate) fn set_preserved(&mut self, tables: T) {
        self.tables = Some(tables);
    }

    /// Returns the preserved tables, once, unless a device is preserved with the domain.
    pub(crate) fn take_tables(&mut self) -> Option<T> {
        if self.devices != 0 {
            return None;
        }
        self.tables.take()
    }

    /// Counts a device more, and returns the header that the domain's record is to have.
    pub(crate) fn add_device(&mut self) -> RawHdrSer {
        self.devices = self.devices.saturating_add(1);
        header(self.devices)
    }

    /// Counts a device less, and returns the header that the domain's record is to have.
    pub(crate) fn remove_device(&mut self) -> RawHdrSer {
        self.devices = self.devices.saturating_sub(1);
        header(self.devices)
    }
}

/// How many devices an IOMMU is preserved for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct IommuUse(NonZero<u32>);

impl IommuUse {
    /// An IOMMU that is preserved for its first device.
    pub(crate) const FIRST: Self = Self(NonZero::<u32>::MIN);

    /// Counts a device more, unless there are too many.
    pub(crate) fn add(&mut self) -> Option<()> {
        self.0 = self.0.checked_add(1)?;
        Some(())
    }

    /// Counts a device less. Returns whether that was the last one.
    pub(crate) fn remove(&mut self) -> bool {
        match NonZero::new(self.0.get() - 1) {
            Some(left) => {
                self.0 = left;
                false
            }
            None => true,
        }
    }
}

/// A device of an IOMMU group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Member<D> {
    /// A port or a bridge, which does no DMA of its own.
    Bridge,
    /// A device that goes on with a domain.
    GoesOn(D),
    /// Any other one.
    Stays,
}

impl<D: PartialEq> Member<D> {
    /// Returns whether the device lets one of its group go on with a domain: a group has one domain and one
    /// owner, in this kernel and in the next one.
    pub(crate) fn lets_go_on_with(&self, domain: &D) -> bool {
        match self {
            Self::Bridge => true,
            Self::GoesOn(other) => other == domain,
            Self::Stays => false,
        }
    }
}
