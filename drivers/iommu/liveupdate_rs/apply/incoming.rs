// SPDX-License-Identifier: GPL-2.0

//! What was handed over.

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
            RawHwSer,
            VERSION, //
        },
        kho,
        pci::{
            self as lu_pci,
            Address,
            RawAddress, //
        },
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

/// Objects of the previous kernel, each with its address.
struct Objects<T: Object> {
    objects: KVec<(u64, T)>,
}

impl<T: Object> Objects<T> {
    /// Reads a chain of pages, which is freed then.
    ///
    /// It ends for any chain: no page can be restored twice.
    fn read(head: u64) -> Result<Self, ReadError> {
        let mut objects = KVec::new();
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

                    objects.push((phys, object), GFP_KERNEL)?;
                }
            }
            next = page.next_array_phys;
        }
        Ok(Self { objects })
    }

    fn get(&self, phys: u64) -> Option<&T> {
        self.objects
            .iter()
            .find(|(at, _)| *at == phys)
            .map(|(_, object)| object)
    }
}

/// A device that was preserved.
struct DeviceEntry {
    raw: RawDeviceSer,
    /// Nobody finished it.
    pending: bool,
    /// It is attached to the domain that it had.
    restored: bool,
}

impl DeviceEntry {
    /// Returns where the device is said to be, though all else may be wrong.
    fn address(&self) -> Option<Address> {
        let bdf = self.raw.devid.try_into().ok()?;
        let domain = self.raw.pci_domain_nr;

        RawAddress { domain, bdf }.try_into().ok()
    }
}

/// A domain that was made of what was handed over.
struct DomainEntry {
    phys: u64,
    domain: Domain,
    /// How many devices it was made for, and are not finished.
    devices: u32,
}

/// What is handed over and not finished.
pub(crate) struct Incoming {
    iommus: Objects<RawHwSer>,
    raw_domains: Objects<RawDomainSer>,
    devices: KVec<DeviceEntry>,
    domains: KVec<DomainEntry>,
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
            iommus: Objects {
                objects: KVec::new(),
            },
            raw_domains: Objects {
                objects: KVec::new(),
            },
            devices: KVec::new(),
            domains: KVec::new(),
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

        if flb.version != VERSION {
            return Err(BadRecord::Version(flb.version).into());
        }
        if flb.reserved != 0 {
            return Err(BadRecord::Bits(flb.reserved).into());
        }

        let raw = Objects::<RawDeviceSer>::read(flb.device_array_phys)?;
        let mut devices = KVec::with_capacity(raw.objects.len(), GFP_KERNEL)?;
        for (_, raw) in &raw.objects {
            devices.push(
                DeviceEntry {
                    raw: *raw,
                    pending: true,
                    restored: false,
                },
                GFP_KERNEL,
            )?;
        }

        Ok(Self {
            iommus: Objects::read(flb.iommu_array_phys)?,
            raw_domains: Objects::read(flb.iommu_domain_array_phys)?,
            devices,
            domains: KVec::new(),
        })
    }

    /// Returns the record of an IOMMU, and where it was.
    pub(super) fn iommu(&self, kind: u64, token: u64) -> Option<(u64, RawHwSer)> {
        self.iommus
            .objects
            .iter()
            .find(|(_, raw)| raw.type_ == kind && raw.token == token)
            .copied()
    }

    /// Returns the records of a device and its domain, by a number.
    pub(super) fn device(&self, index: usize) -> Option<(RawDeviceSer, Option<RawDomainSer>)> {
        let raw = self.devices.get(index)?.raw;

        Some((raw, self.raw_domains.get(raw.map.domain_phys).copied()))
    }

    fn find(&mut self, address: Address) -> Option<&mut DeviceEntry> {
        self.devices
            .iter_mut()
            .find(|entry| entry.pending && entry.address() == Some(address))
    }

    /// Returns whether a device was preserved and is not finished.
    pub(super) fn has(&mut self, address: Address) -> bool {
        self.find(address).is_some()
    }

    /// Returns the domain of a device, which is made for the first one of it.
    pub(super) fn restore(&mut self, device: Device, address: Address) -> Result<Domain> {
        let entry = self.find(address).ok_or(ENOENT)?;
        let record = check_device(&entry.raw).map_err(|bad| report(device, bad))?;
        let phys = record.domain_phys;

        let index = match self.domains.iter().position(|entry| entry.phys == phys) {
            Some(index) => index,
            None => self.restore_domain(device, phys)?,
        };
        let domain = self.domains[index].domain;

        device.restore(domain)?;
        self.domains[index].devices += 1;
        if let Some(entry) = self.find(address) {
            entry.restored = true;
        }
        Ok(domain)
    }

    fn restore_domain(&mut self, device: Device, phys: u64) -> Result<usize> {
        let users = |entry: &&DeviceEntry| entry.raw.map.domain_phys == phys;
        let users = self.devices.iter().filter(users).count();

        let raw = self.raw_domains.get(phys).ok_or(EINVAL)?;
        let record = check_domain(raw, users).map_err(|bad| report(device, bad))?;

        // What the IOMMU walks already is not for others.
        if !kho::is_preserved(record.top().phys(), 0) {
            return Err(EINVAL);
        }

        let kept = KBox::pin_init(
            pin_init!(Kept {
                record,
                adopted <- new_mutex!(None),
            }),
            GFP_KERNEL,
        )?;
        self.domains.reserve(1, GFP_KERNEL)?;

        let domain = device.restore_domain(raw)?;
        domain.begin_with(record.top());
        domain.keep(kept);
        ffi::account(record.top().phys(), tables(&record));

        self.domains.push(
            DomainEntry {
                phys,
                domain,
                devices: 0,
            },
            GFP_KERNEL,
        )?;
        Ok(self.domains.len() - 1)
    }

    /// Notes that a device did not get the domain that it had.
    pub(super) fn give_up(&mut self, address: Address) {
        let Some(entry) = self.find(address) else {
            return;
        };

        if core::mem::replace(&mut entry.restored, false) {
            let phys = entry.raw.map.domain_phys;

            if let Some(domain) = self.domains.iter_mut().find(|entry| entry.phys == phys) {
                domain.devices -= 1;
            }
        }
    }

    /// Returns the next device that had a domain and is not finished: its number, and its address.
    pub(super) fn next_of(&self, phys: u64, index: usize) -> Option<(usize, Address)> {
        self.devices
            .iter()
            .enumerate()
            .skip(index)
            .filter(|(_, entry)| entry.pending && entry.raw.map.domain_phys == phys)
            .find_map(|(at, entry)| Some((at, entry.address()?)))
    }

    /// Returns the domains that are attached to no device.
    pub(super) fn left_over(&mut self) -> impl Iterator<Item = Domain> {
        core::mem::take(&mut self.domains)
            .into_iter()
            .filter(|entry| entry.devices == 0)
            .map(|entry| entry.domain)
    }

    /// Ends the passage of a device. Returns a domain that nobody needs any more.
    pub(super) fn finish(&mut self, address: Address) -> Option<Domain> {
        let entry = self.find(address)?;
        let (phys, restored) = (entry.raw.map.domain_phys, entry.restored);

        entry.pending = false;
        let index = self.domains.iter().position(|entry| entry.phys == phys)?;
        let domain = &mut self.domains[index];

        if restored {
            domain.devices -= 1;
        }
        // One that came late has it, too, as all of its group.
        let mut pending = self.devices.iter().filter(|entry| entry.pending);
        if domain.devices != 0 || pending.any(|entry| entry.raw.map.domain_phys == phys) {
            return None;
        }
        let entry = self.domains.remove(index).ok()?;
        Some(entry.domain)
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
