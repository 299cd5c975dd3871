// SPDX-License-Identifier: GPL-2.0

//! What was handed over.
//!
//! It is read once, when it is first asked for, and a device is attached to what it had once. If memory
//! were short just then, devices would be stopped. So that is waited for: there is not more than the
//! previous kernel had memory for.

use super::super::{
    entries::{
        offset_of,
        room_for,
        Object,
        RawArray, //
    },
    ffi::{
        self,
        Device,
        Domain, //
    },
};
use kernel::{
    alloc::AllocError,
    fmt,
    liveupdate::{
        iommu::{
            BadRecord,
            Device as DeviceRecord,
            Domain as DomainRecord,
            Features,
            RawDeviceSer,
            RawDomainSer,
            RawFlbSer,
            RawHwSer, //
        },
        kho,
        pci::{
            self as lu_pci,
            Address,
            RawAddress, //
        },
        sorted,
        Handle,
        PhysRef, //
    },
    new_mutex,
    prelude::*,
    sync::Mutex, //
};

/// Why what was handed over is not used.
enum ReadError {
    Record(BadRecord),
    Memory(Error),
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Record(bad) => fmt::Display::fmt(bad, f),
            Self::Memory(err) if *err == ENOMEM => write!(f, "memory is short"),
            Self::Memory(_) => write!(f, "it is not whole in memory that was handed over"),
        }
    }
}

impl From<BadRecord> for ReadError {
    fn from(bad: BadRecord) -> Self {
        Self::Record(bad)
    }
}

impl From<Error> for ReadError {
    fn from(err: Error) -> Self {
        Self::Memory(err)
    }
}

impl From<AllocError> for ReadError {
    fn from(err: AllocError) -> Self {
        Self::Memory(err.into())
    }
}

/// Reads a chain of pages of objects, each with its address, and frees the pages. The objects are in
/// the order of addresses then.
///
/// It ends for any chain: no page can be restored twice.
fn read_objects<T: Object>(head: u64) -> Result<KVVec<(u64, T)>, ReadError> {
    let mut objects = KVVec::new();
    let mut next = head;

    while next != 0 {
        let page: kho::Restored<RawArray> = PhysRef::<RawArray>::try_from(next)?.restore()?;

        if page.len::<T>().is_none() {
            return Err(EINVAL.into());
        }
        for index in 0..room_for::<T>() {
            if let Some(object) = page.get::<T>(index) {
                // CAST: lossless, an offset into a page.
                let phys = next + offset_of::<T>(index) as u64;

                objects.push((phys, object), GFP_KERNEL | __GFP_NOFAIL)?;
            }
        }
        next = page.next_array_phys;
    }
    sorted::sort(&mut objects, |(phys, _)| *phys);
    Ok(objects)
}

/// A device that was preserved.
struct DeviceEntry {
    /// Where its record was.
    phys: u64,
    raw: RawDeviceSer,
    /// Nobody finished it.
    pending: bool,
    /// It is attached to the domain that it had.
    restored: bool,
    /// Its IOMMU was asked for it: it was there, and can be stopped, or was when it was removed.
    seen: bool,
}

impl DeviceEntry {
    /// Returns where the device is said to be, though all else may be wrong.
    fn address(&self) -> Option<Address> {
        let bdf = self.raw.devid.try_into().ok()?;
        let domain = self.raw.pci_domain_nr;

        RawAddress { domain, bdf }.try_into().ok()
    }

    /// Returns whether nobody could ever stop the device, which may go on doing DMA.
    fn is_beyond_reach(&self) -> bool {
        let is_there = || self.address().is_some_and(|at| lu_pci::find(at).is_some());

        !self.seen && !is_there()
    }
}

/// An IOMMU that was preserved.
struct IommuEntry {
    /// Where its record was.
    phys: u64,
    raw: RawHwSer,
    /// What it has of devices can be taken away, or was.
    contained: bool,
}

/// Whose the tables of a domain are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tables {
    /// They are as they were handed over: nobody took them over.
    HandedOver,
    /// A domain that was made of them has them, or they were freed.
    Taken,
}

/// A domain that was preserved.
struct DomainEntry {
    /// Where its record was.
    phys: u64,
    raw: RawDomainSer,
    /// How many devices are said to have it.
    users: usize,
    /// How many of them are not finished.
    pending: usize,
    /// What was made of it.
    made: Option<Domain>,
    /// How many devices it was made for, and are not finished.
    devices: u32,
    tables: Tables,
    /// Who retrieved the file that it belongs to: a number that tells owners apart, or 0.
    owner: usize,
}

/// Of which domains something is to be ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Which {
    /// Of the one whose record was here.
    At(u64),
    /// Of those that this owner has.
    OwnedBy(usize),
    /// Of all, as far as devices are not found.
    Lost,
}

impl Which {
    fn is(self, domain: &DomainEntry) -> bool {
        match self {
            Self::At(phys) => domain.phys == phys,
            Self::OwnedBy(owner) => domain.owner == owner,
            Self::Lost => true,
        }
    }
}

/// A device that is not finished.
pub(super) struct Pending {
    /// A number that it has for as long as things are handed over.
    pub(super) at: usize,
    /// Where it is said to be.
    pub(super) address: Option<Address>,
    /// The kind of its IOMMU, and what that is known by.
    pub(super) iommu: Option<(u64, u64)>,
    /// Nobody could ever stop it.
    pub(super) is_beyond_reach: bool,
}

/// What is handed over and not finished.
pub(crate) struct Incoming {
    /// In the order of kinds, and of tokens of a kind.
    iommus: KVVec<IommuEntry>,
    /// In the order of where their records were.
    domains: KVVec<DomainEntry>,
    /// In the order of their addresses.
    devices: KVVec<DeviceEntry>,
    /// Where `devices` has them, in the order of where the records of their domains were.
    by_domain: KVVec<usize>,
    /// Where `devices` has them, in the order of where the records of their IOMMUs were.
    by_iommu: KVVec<usize>,
}

/// What is kept with a domain that was handed over.
#[pin_data]
struct Kept {
    /// What is known of its tables.
    record: DomainRecord,
    /// What came of making them this kernel's, which is tried once.
    #[pin]
    adopted: Mutex<Option<Result>>,
}

impl Incoming {
    const fn nothing() -> Self {
        Self {
            iommus: KVVec::new(),
            domains: KVVec::new(),
            devices: KVVec::new(),
            by_domain: KVVec::new(),
            by_iommu: KVVec::new(),
        }
    }

    /// Reads what was handed over. If it cannot be read there is nothing, which is said.
    pub(super) fn read(handle: Handle) -> Self {
        Self::try_read(handle).unwrap_or_else(|err| {
            pr_err!("no IOMMU is taken over: {err}\n");
            Self::nothing()
        })
    }

    fn try_read(handle: Handle) -> Result<Self, ReadError> {
        let flb = PhysRef::<RawFlbSer>::try_from(handle)?.restore()?;

        flb.check()?;

        let mut this = Self::nothing();
        this.add_devices(&read_objects(flb.device_array_phys)?)?;
        for (phys, raw) in read_objects::<RawHwSer>(flb.iommu_array_phys)? {
            let entry = IommuEntry {
                phys,
                raw,
                contained: false,
            };
            this.iommus.push(entry, GFP_KERNEL | __GFP_NOFAIL)?;
        }
        sorted::sort(&mut this.iommus, |entry| {
            (entry.raw.type_, entry.raw.token, entry.phys)
        });
        this.add_domains(&read_objects(flb.iommu_domain_array_phys)?)?;
        Ok(this)
    }

    fn add_devices(&mut self, records: &[(u64, RawDeviceSer)]) -> Result<(), AllocError> {
        self.devices
            .reserve(records.len(), GFP_KERNEL | __GFP_NOFAIL)?;
        for (phys, raw) in records {
            let entry = DeviceEntry {
                phys: *phys,
                raw: *raw,
                pending: true,
                restored: false,
                seen: false,
            };
            self.devices.push(entry, GFP_KERNEL | __GFP_NOFAIL)?;
        }
        sorted::sort(&mut self.devices, |entry| (entry.address(), entry.phys));

        self.by_domain = self.indices(|entry| entry.raw.map.domain_phys)?;
        self.by_iommu = self.indices(|entry| entry.raw.map.iommu_phys)?;
        Ok(())
    }

    /// Returns where `devices` has its entries, in the order of something of theirs.
    fn indices(&self, key: impl Fn(&DeviceEntry) -> u64) -> Result<KVVec<usize>, AllocError> {
        let mut indices = KVVec::with_capacity(self.devices.len(), GFP_KERNEL | __GFP_NOFAIL)?;

        for index in 0..self.devices.len() {
            indices.push(index, GFP_KERNEL | __GFP_NOFAIL)?;
        }
        sorted::sort(&mut indices, |index| (key(&self.devices[*index]), *index));
        Ok(indices)
    }

    fn add_domains(&mut self, records: &[(u64, RawDomainSer)]) -> Result<(), AllocError> {
        self.domains
            .reserve(records.len(), GFP_KERNEL | __GFP_NOFAIL)?;
        for (phys, raw) in records {
            let users = self.devices_of(*phys).len();
            let entry = DomainEntry {
                phys: *phys,
                raw: *raw,
                users,
                pending: users,
                made: None,
                devices: 0,
                tables: Tables::HandedOver,
                owner: 0,
            };
            self.domains.push(entry, GFP_KERNEL | __GFP_NOFAIL)?;
        }
        Ok(())
    }

    /// Returns where `devices` has those of a domain.
    fn devices_of(&self, domain_phys: u64) -> &[usize] {
        let range = sorted::range_of(&self.by_domain, domain_phys, |index| {
            self.devices[*index].raw.map.domain_phys
        });

        &self.by_domain[range]
    }

    /// Returns the record of an IOMMU, and where it was.
    pub(super) fn iommu(&self, kind: u64, token: u64) -> Option<(u64, RawHwSer)> {
        let entry = self.iommus[self.iommus_of(kind, token)].first()?;

        Some((entry.phys, entry.raw))
    }

    fn iommus_of(&self, kind: u64, token: u64) -> core::ops::Range<usize> {
        sorted::range_of(&self.iommus, (kind, token), |entry| {
            (entry.raw.type_, entry.raw.token)
        })
    }

    /// Notes that what an IOMMU has of devices can be taken away from now on, or was.
    pub(super) fn set_contained(&mut self, kind: u64, token: u64) {
        let range = self.iommus_of(kind, token);

        for entry in &mut self.iommus[range] {
            entry.contained = true;
        }
    }

    /// Returns an IOMMU that still translates for a device which is not finished, and that this kernel has
    /// no driver for.
    pub(super) fn uncontained(&self) -> Option<u64> {
        let mut entries = self.iommus.iter().filter(|entry| !entry.contained);

        entries.find_map(|entry| {
            let range = sorted::range_of(&self.by_iommu, entry.phys, |index| {
                self.devices[*index].raw.map.iommu_phys
            });

            self.by_iommu[range]
                .iter()
                .any(|index| self.devices[*index].pending)
                .then_some(entry.raw.token)
        })
    }

    /// Returns a device that is not finished, and that an IOMMU may translate for: nobody takes over what
    /// was handed over of one without a domain.
    pub(super) fn unfinished(&self) -> Option<Address> {
        self.devices
            .iter()
            .filter(|entry| entry.pending && self.domain(entry.raw.map.domain_phys).is_some())
            .find_map(DeviceEntry::address)
    }

    /// Returns the records of a device of an IOMMU and of its domain, by a number.
    pub(super) fn device(
        &self,
        iommu_phys: u64,
        number: usize,
    ) -> Option<(RawDeviceSer, Option<RawDomainSer>)> {
        let range = sorted::range_of(&self.by_iommu, iommu_phys, |index| {
            self.devices[*index].raw.map.iommu_phys
        });
        let raw = self.devices[*self.by_iommu[range].get(number)?].raw;
        let domain = self.domain(raw.map.domain_phys);

        Some((raw, domain.map(|index| self.domains[index].raw)))
    }

    /// Returns where `domains` has a domain.
    fn domain(&self, phys: u64) -> Option<usize> {
        self.domains
            .binary_search_by_key(&phys, |entry| entry.phys)
            .ok()
    }

    /// Returns where `devices` has a device that is not finished.
    fn find(&self, address: Address) -> Option<usize> {
        let mut range = sorted::range_of(&self.devices, Some(address), DeviceEntry::address);

        range.find(|index| self.devices[*index].pending)
    }

    /// Returns whether a device, which is there, was preserved and is not finished.
    pub(super) fn has(&mut self, address: Address) -> bool {
        let found = self.find(address);

        if let Some(at) = found {
            self.devices[at].seen = true;
        }
        found.is_some()
    }

    /// Returns the addresses of all devices, in this order.
    pub(super) fn addresses(&self) -> impl Iterator<Item = Address> + '_ {
        self.devices.iter().filter_map(DeviceEntry::address)
    }

    /// Returns a device that is not finished, and that nobody could ever stop.
    pub(super) fn beyond_reach(&self) -> Option<Address> {
        self.devices
            .iter()
            .filter(|entry| entry.pending && self.domain(entry.raw.map.domain_phys).is_some())
            .filter(|entry| entry.is_beyond_reach())
            .find_map(DeviceEntry::address)
    }

    /// Returns the domain of a device, which is made for the first one of it.
    pub(super) fn restore(&mut self, device: Device, address: Address) -> Result<Domain> {
        let at = self.find(address).ok_or(ENOENT)?;
        let record = check_device(&self.devices[at].raw).map_err(|bad| report(device, bad))?;
        let index = self.domain(record.domain_phys).ok_or(EINVAL)?;
        let entry = &mut self.domains[index];

        let domain = match entry.made {
            Some(domain) => domain,
            None => entry.make(device)?,
        };

        device.restore(domain)?;
        entry.devices += 1;
        self.devices[at].restored = true;
        Ok(domain)
    }

    /// Notes that a device did not get the domain that it had.
    pub(super) fn give_up(&mut self, address: Address) {
        let Some(at) = self.find(address) else {
            return;
        };
        let entry = &mut self.devices[at];
        let phys = entry.raw.map.domain_phys;

        if core::mem::replace(&mut entry.restored, false) {
            if let Some(index) = self.domain(phys) {
                self.domains[index].devices -= 1;
            }
        }
    }

    /// Returns the next device that had a domain and is not finished: its number, and its address.
    pub(super) fn next_of(&self, phys: u64, number: usize) -> Option<(usize, Address)> {
        self.devices_of(phys)
            .iter()
            .map(|index| &self.devices[*index])
            .enumerate()
            .skip(number)
            .filter(|(_, entry)| entry.pending)
            .find_map(|(number, entry)| Some((number, entry.address()?)))
    }

    /// Notes who has a domain.
    pub(super) fn set_owner(&mut self, phys: u64, owner: usize) {
        if let Some(index) = self.domain(phys) {
            self.domains[index].owner = owner;
        }
    }

    /// Returns the next device that is not finished, of certain domains. Its number is `from` at least.
    pub(super) fn next_pending(&self, which: Which, from: usize) -> Option<Pending> {
        let is_meant = |entry: &DeviceEntry| {
            let is_lost = || entry.address().is_some_and(|at| lu_pci::find(at).is_none());

            entry.pending
                && self
                    .domain(entry.raw.map.domain_phys)
                    .is_some_and(|index| which.is(&self.domains[index]))
                && (which != Which::Lost || is_lost())
        };
        let mut entries = self.devices.iter().enumerate().skip(from);
        let (at, entry) = entries.find(|(_, entry)| is_meant(entry))?;
        let iommu = self
            .iommus
            .iter()
            .find(|iommu| iommu.phys == entry.raw.map.iommu_phys)
            .map(|iommu| (iommu.raw.type_, iommu.raw.token));

        Some(Pending {
            at,
            address: entry.address(),
            iommu,
            is_beyond_reach: entry.is_beyond_reach(),
        })
    }

    /// Returns the tables of the next of certain domains that was made for no device, and is needed by
    /// none any more. They are the caller's.
    ///
    /// It looks at domains from number `from` on, which is advanced behind the one that it returns.
    pub(super) fn take_tables(&mut self, which: Which, from: &mut usize) -> Option<DomainRecord> {
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
            if let Ok(record) = check_domain(&domain.raw, domain.users) {
                return Some(record);
            }
        }
        None
    }

    /// Returns the domains that are attached to no device.
    pub(super) fn left_over(&mut self) -> impl Iterator<Item = Domain> {
        core::mem::take(&mut self.domains)
            .into_iter()
            .filter(|entry| entry.devices == 0)
            .filter_map(|entry| entry.made)
    }

    /// Ends the passage of a device. Returns a domain that nobody needs any more.
    pub(super) fn finish(&mut self, address: Address) -> Option<Domain> {
        let at = self.find(address)?;

        self.finish_at(at)
    }

    /// Ends the passage of the device with this number. Returns a domain that nobody needs any more.
    pub(super) fn finish_at(&mut self, at: usize) -> Option<Domain> {
        let device = self.devices.get_mut(at).filter(|device| device.pending)?;
        let (phys, restored) = (device.raw.map.domain_phys, device.restored);

        device.pending = false;
        let index = self.domain(phys)?;
        let domain = &mut self.domains[index];

        domain.pending -= 1;
        if restored {
            domain.devices -= 1;
        }
        // One that came late has it, too, as all of its group.
        if domain.devices != 0 || domain.pending != 0 {
            return None;
        }
        domain.made.take()
    }
}

impl DomainEntry {
    /// Makes a domain of what was handed over, for the first device of it.
    fn make(&mut self, device: Device) -> Result<Domain> {
        let record = check_domain(&self.raw, self.users).map_err(|bad| report(device, bad))?;

        // What the IOMMU walks already is not for others.
        if !kho::is_preserved(record.top().phys(), 0) {
            return Err(EINVAL);
        }

        let kept = KBox::pin_init(
            pin_init!(Kept {
                record,
                adopted <- new_mutex!(None),
            }),
            GFP_KERNEL | __GFP_NOFAIL,
        )?;

        let domain = device.restore_domain(&self.raw)?;
        domain.begin_with(record.top());
        domain.keep(kept);
        ffi::account(record.top().phys(), tables(&record));

        self.made = Some(domain);
        self.tables = Tables::Taken;
        Ok(domain)
    }
}

fn tables(record: &DomainRecord) -> isize {
    isize::try_from(record.tables().get()).unwrap_or(isize::MAX)
}

fn check_device(raw: &RawDeviceSer) -> Result<DeviceRecord, BadRecord> {
    raw.hdr.check(0)?;
    raw.try_into()
}

fn check_domain(raw: &RawDomainSer, users: usize) -> Result<DomainRecord, BadRecord> {
    raw.hdr.check(users)?;
    raw.try_into()
}

/// Says what is wrong with a record.
fn report(device: Device, bad: BadRecord) -> Error {
    if let Some(pci) = device.pci() {
        dev_err!(pci, "was preserved with a bad record: {bad}\n");
    }
    EINVAL
}

impl Kept {
    /// Makes all tables this kernel's.
    fn adopt(&self) -> Result {
        let mut adopted = self.adopted.lock();

        if let Some(result) = *adopted {
            return result;
        }

        let record = &self.record;
        let top = record.top().phys();

        // They are counted one by one instead.
        ffi::account(top, -tables(record));

        let result = ffi::adopt_tables(
            record.format(),
            top,
            record.level(),
            record.tables().get(),
            record.features().has(Features::INCOHERENT),
        );

        *adopted = Some(result);
        result
    }
}

/// Makes all tables of a domain this kernel's, if it was handed over.
pub(super) fn adopt(domain: Domain) -> Result {
    domain.kept::<Kept>().map_or(Ok(()), |kept| kept.adopt())
}

/// Frees tables that were handed over, and that no IOMMU walks.
pub(super) fn free_tables(record: &DomainRecord) {
    let result = ffi::free_tables(
        record.format(),
        record.top().phys(),
        record.level(),
        record.tables().get(),
    );

    if let Err(err) = result {
        pr_err!("tables of a domain are lost until the next reboot: {err:?}\n");
    }
}

/// Prepares to free a domain that was handed over. Others are left alone.
pub(super) fn release(domain: Domain) {
    if domain.kept::<Kept>().is_none() {
        return;
    }
    if let Err(err) = adopt(domain) {
        pr_err!("tables of a domain are lost until the next reboot: {err:?}\n");
        // Those that are not this kernel's must not be freed.
        ffi::forget_tables(domain);
    }
    domain.give_back();
    drop(domain.release::<Kept>());
}

/// Takes away what a device had, and keeps it from doing DMA.
pub(super) fn block(device: Device) {
    if let Some(pci) = device.pci() {
        let stopped = lu_pci::stop_mastering(pci);

        device.block();
        dev_err!(
            pci,
            "does not get the translation that was handed over{}\n",
            if stopped { ": stopped" } else { "" }
        );
    }
}
