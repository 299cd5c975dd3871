// SPDX-License-Identifier: GPL-2.0

//! What is to be handed over.

use super::super::{
    entries::{
        index_of,
        offset_of,
        Object,
        RawArray, //
    },
    ffi::{
        self,
        Device,
        Domain, //
    },
};
use core::marker::PhantomData;
use kernel::{
    dev_warn_ratelimited,
    liveupdate::{
        iommu::{
            Format,
            RawDevMapSer,
            RawDeviceSer,
            RawDomainSer,
            RawFlbSer,
            RawHdrSer,
            RawHwSer,
            VERSION, //
        },
        kho,
        pci as lu_pci,
        Handle, //
    },
    prelude::*, //
};

/// Objects of one type, each of which stays where it is.
struct Objects<T: Object> {
    pages: KVec<kho::Outgoing<RawArray>>,
    _objects: PhantomData<T>,
}

impl<T: Object> Objects<T> {
    const fn new() -> Self {
        Self {
            pages: KVec::new(),
            _objects: PhantomData,
        }
    }

    /// Returns where the first page is, or 0 if there is none.
    fn head(&self) -> u64 {
        self.pages.first().map_or(0, |page| page.handle().get())
    }

    /// Returns the page and the index of an object.
    fn find(&self, phys: u64) -> Option<(usize, usize)> {
        self.pages.iter().enumerate().find_map(|(at, page)| {
            let offset = phys.checked_sub(page.handle().get())?;

            Some((at, index_of::<T>(offset)?))
        })
    }

    /// Stores an object, and returns where it is.
    fn add(&mut self, object: &T) -> Result<u64> {
        let free = self
            .pages
            .iter()
            .enumerate()
            .find_map(|(at, page)| Some((at, page.find_free::<T>()?)));

        let (at, index) = match free {
            Some(free) => free,
            None => {
                let page = kho::Outgoing::new(RawArray::new(), GFP_KERNEL)?;
                let phys = page.handle().get();

                self.pages.push(page, GFP_KERNEL)?;
                if let [.., last, _] = self.pages.as_mut_slice() {
                    last.next_array_phys = phys;
                }
                (self.pages.len() - 1, 0)
            }
        };

        self.pages[at].set(index, object);
        // CAST: lossless, an offset into a page.
        Ok(self.pages[at].handle().get() + offset_of::<T>(index) as u64)
    }

    fn get(&self, phys: u64) -> Option<T> {
        let (at, index) = self.find(phys)?;

        self.pages[at].get(index)
    }

    fn set(&mut self, phys: u64, object: &T) {
        if let Some((at, index)) = self.find(phys) {
            self.pages[at].set(index, object);
        }
    }

    fn free(&mut self, phys: u64) {
        if let Some((at, index)) = self.find(phys) {
            self.pages[at].free::<T>(index);
        }
    }
}

/// A domain that is preserved.
struct DomainEntry {
    domain: Domain,
    phys: u64,
    format: Format,
    top: u64,
    level: u8,
    tables: u64,
    /// How many devices are preserved with it.
    devices: u32,
}

/// An IOMMU that is preserved.
struct IommuEntry {
    iommu: usize,
    phys: u64,
    devices: u32,
}

/// A device that is preserved.
#[derive(Clone, Copy)]
struct DeviceEntry {
    device: Device,
    domain: Domain,
    phys: u64,
}

/// All that is preserved.
pub(crate) struct Outgoing {
    flb: kho::Outgoing<RawFlbSer>,
    raw_iommus: Objects<RawHwSer>,
    raw_domains: Objects<RawDomainSer>,
    raw_devices: Objects<RawDeviceSer>,
    iommus: KVec<IommuEntry>,
    domains: KVec<DomainEntry>,
    devices: KVec<DeviceEntry>,
}

/// The header of an object that so many others need.
const fn header(users: u32) -> RawHdrSer {
    RawHdrSer {
        ref_count: 1 + users,
        flags: 0,
    }
}

impl Outgoing {
    pub(super) fn new() -> Result<Self> {
        let flb = RawFlbSer {
            version: VERSION,
            reserved: 0,
            iommu_array_phys: 0,
            iommu_domain_array_phys: 0,
            device_array_phys: 0,
        };

        Ok(Self {
            flb: kho::Outgoing::new(flb, GFP_KERNEL)?,
            raw_iommus: Objects::new(),
            raw_domains: Objects::new(),
            raw_devices: Objects::new(),
            iommus: KVec::new(),
            domains: KVec::new(),
            devices: KVec::new(),
        })
    }

    pub(super) fn handle(&self) -> Handle {
        self.flb.handle()
    }

    /// Notes where the pages of objects are, which changes with the first of each.
    fn publish(&mut self) {
        self.flb.iommu_array_phys = self.raw_iommus.head();
        self.flb.iommu_domain_array_phys = self.raw_domains.head();
        self.flb.device_array_phys = self.raw_devices.head();
    }

    fn domain(&mut self, domain: Domain) -> Option<&mut DomainEntry> {
        self.domains.iter_mut().find(|entry| entry.domain == domain)
    }

    /// Preserves a domain and all its tables, and returns where its record is.
    pub(super) fn preserve_domain(&mut self, domain: Domain) -> Result<u64> {
        if self.domain(domain).is_some() {
            return Err(EBUSY);
        }

        let mut ser = domain.describe()?;
        let format = Format::try_from(ser.format).map_err(|()| EOPNOTSUPP)?;
        let (top, level) = (ser.top_table_phys, ser.top_level.try_into()?);

        self.domains.reserve(1, GFP_KERNEL)?;
        let tables = ffi::preserve_tables(format, top, level)?;

        ser.hdr = header(0);
        ser.nr_tables = tables;
        let phys = self
            .raw_domains
            .add(&ser)
            .inspect_err(|_| ffi::unpreserve_tables(format, top, level, tables))?;
        self.publish();

        self.domains.push(
            DomainEntry {
                domain,
                phys,
                format,
                top,
                level,
                tables,
                devices: 0,
            },
            GFP_KERNEL,
        )?;
        Ok(phys)
    }

    /// Undoes it. Needs no memory.
    pub(super) fn unpreserve_domain(&mut self, domain: Domain) -> Result {
        let index = self
            .domains
            .iter()
            .position(|entry| entry.domain == domain)
            .ok_or(ENOENT)?;
        let entry = self.domains.remove(index).map_err(|_| ENOENT)?;

        self.raw_domains.free(entry.phys);
        ffi::unpreserve_tables(entry.format, entry.top, entry.level, entry.tables);
        Ok(())
    }

    /// Preserves a device, and its IOMMU with the first one.
    pub(super) fn preserve_device(&mut self, domain: Domain, device: Device, owner: u64) -> Result {
        let domain_phys = self.domain(domain).ok_or(EINVAL)?.phys;

        if self.devices.iter().any(|entry| entry.device == device) {
            return Err(EBUSY);
        }
        device.check_group(domain).inspect_err(|err| {
            if let Some(pci) = device.pci() {
                dev_warn_ratelimited!(
                    pci,
                    "its DMA cannot go on: nobody owns its IOMMU group, or that has PASIDs or a reset: {err:?}\n"
                );
            }
        })?;

        self.devices.reserve(1, GFP_KERNEL)?;
        let mut ser = device.preserve(domain)?;

        let result = self.get_iommu(device).and_then(|iommu_phys| {
            ser.hdr = header(0);
            ser.map = RawDevMapSer {
                domain_phys,
                iommu_phys,
                ..ser.map
            };
            ser.dma_owner_token = owner;
            self.raw_devices
                .add(&ser)
                .inspect_err(|_| self.put_iommu(device))
        });
        let phys = result.inspect_err(|_| device.unpreserve(&ser))?;
        self.publish();

        self.devices.push(
            DeviceEntry {
                device,
                domain,
                phys,
            },
            GFP_KERNEL,
        )?;
        self.count_devices(domain, 1);
        Ok(())
    }

    /// Undoes it. Needs no memory.
    pub(super) fn unpreserve_device(&mut self, domain: Domain, device: Device) -> Result {
        let index = self
            .devices
            .iter()
            .position(|entry| entry.device == device && entry.domain == domain)
            .ok_or(ENOENT)?;
        let entry = self.devices.remove(index).map_err(|_| ENOENT)?;

        if let Some(ser) = self.raw_devices.get(entry.phys) {
            device.unpreserve(&ser);
        }
        self.raw_devices.free(entry.phys);
        self.put_iommu(device);
        self.count_devices(domain, -1);
        Ok(())
    }

    /// Returns whether a device does not go on, or all in its IOMMU group do, with the same domain.
    ///
    /// Ports and bridges do no DMA of their own, and are not counted.
    pub(super) fn is_group_whole(&self, device: Device) -> bool {
        let goes_on = |device| self.devices.iter().find(|entry| entry.device == device);

        goes_on(device).is_none_or(|entry| {
            device.all_in_group(|other| {
                other.pci().is_some_and(lu_pci::is_bridge)
                    || goes_on(other).is_some_and(|other| other.domain == entry.domain)
            })
        })
    }

    fn count_devices(&mut self, domain: Domain, by: i32) {
        let Some(entry) = self.domain(domain) else {
            return;
        };
        entry.devices = entry.devices.saturating_add_signed(by);

        let (phys, devices) = (entry.phys, entry.devices);
        if let Some(mut ser) = self.raw_domains.get(phys) {
            ser.hdr = header(devices);
            self.raw_domains.set(phys, &ser);
        }
    }

    fn find_iommu(&self, device: Device) -> Option<usize> {
        let iommu = device.iommu();

        self.iommus.iter().position(|entry| entry.iommu == iommu)
    }

    /// Counts a device of an IOMMU, which is preserved with the first one.
    fn get_iommu(&mut self, device: Device) -> Result<u64> {
        if let Some(index) = self.find_iommu(device) {
            let entry = &mut self.iommus[index];

            entry.devices = entry.devices.checked_add(1).ok_or(EOVERFLOW)?;
            return Ok(entry.phys);
        }

        self.iommus.reserve(1, GFP_KERNEL)?;
        let mut ser = device.preserve_iommu()?;

        ser.hdr = header(0);
        let phys = self
            .raw_iommus
            .add(&ser)
            .inspect_err(|_| device.unpreserve_iommu(&ser))?;
        self.iommus.push(
            IommuEntry {
                iommu: device.iommu(),
                phys,
                devices: 1,
            },
            GFP_KERNEL,
        )?;
        Ok(phys)
    }

    /// Undoes it.
    fn put_iommu(&mut self, device: Device) {
        let Some(index) = self.find_iommu(device) else {
            return;
        };
        let entry = &mut self.iommus[index];

        entry.devices -= 1;
        if entry.devices != 0 {
            return;
        }

        let phys = entry.phys;
        if let Some(ser) = self.raw_iommus.get(phys) {
            device.unpreserve_iommu(&ser);
        }
        self.raw_iommus.free(phys);
        // PANIC: The index was just found.
        let _ = self.iommus.remove(index);
    }

    /// Has all devices that go on doing DMA keep what they have.
    pub(super) fn prepare_kexec(&mut self) {
        for index in 0..self.devices.len() {
            if !self.try_keep(index) {
                // The next kernel would look for what is not there.
                self.raw_devices.free(self.devices[index].phys);
            }
        }
    }

    /// Has a device keep what it has if it goes on doing DMA, and returns whether it does.
    fn try_keep(&mut self, index: usize) -> bool {
        let device = self.devices[index].device;

        // Others are stopped, and lose it.
        let Some(pci) = device.pci().filter(|pci| lu_pci::keeps_mastering(pci)) else {
            return false;
        };
        if let Err(err) = self.keep(index) {
            // It would have no way to memory.
            lu_pci::end_mastering(pci);
            dev_err!(pci, "does not keep its translation: {err:?}\n");
            return false;
        }
        true
    }

    /// Has a device keep what it has.
    fn keep(&mut self, index: usize) -> Result {
        let DeviceEntry {
            device,
            domain,
            phys,
        } = self.devices[index];
        let raw = self.raw_devices.get(phys).ok_or(ENOENT)?;

        let domain_phys = self.domain(domain).ok_or(ENOENT)?.phys;
        let raw_domain = self.raw_domains.get(domain_phys).ok_or(ENOENT)?;

        let iommu_phys = self.iommus[self.find_iommu(device).ok_or(ENOENT)?].phys;
        let mut iommu = self.raw_iommus.get(iommu_phys).ok_or(ENOENT)?;

        let result = device.keep(&raw, &raw_domain, &mut iommu);
        // What was preserved of it by now is.
        self.raw_iommus.set(iommu_phys, &iommu);
        result
    }
}
