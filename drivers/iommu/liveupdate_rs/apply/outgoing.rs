// SPDX-License-Identifier: GPL-2.0

//! What is to be handed over.

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
    prelude::*,
    rbtree::{
        RBTree,
        RBTreeNodeReservation, //
    }, //
};

/// Where an object is: the page, and the index in that.
#[derive(Clone, Copy)]
struct Slot {
    page: usize,
    index: usize,
}

/// Objects of one type, each of which stays where it is.
struct Objects<T: Object> {
    pages: KVec<kho::Outgoing<RawArray>>,
    /// The slots that nobody has, with room for all that there are.
    free: KVec<Slot>,
    _objects: PhantomData<T>,
}

impl<T: Object> Objects<T> {
    const fn new() -> Self {
        Self {
            pages: KVec::new(),
            free: KVec::new(),
            _objects: PhantomData,
        }
    }

    /// Returns where the first page is, or 0 if there is none.
    fn head(&self) -> u64 {
        self.pages.first().map_or(0, |page| page.handle().get())
    }

    /// Returns where the object of a slot is.
    fn phys(&self, slot: Slot) -> u64 {
        // CAST: lossless, an offset into a page.
        self.pages[slot.page].handle().get() + offset_of::<T>(slot.index) as u64
    }

    /// Takes a slot, which has no object yet.
    fn take(&mut self) -> Result<Slot> {
        if self.free.is_empty() {
            self.add_page()?;
        }
        self.free.pop().ok_or(ENOMEM)
    }

    /// Adds a page of free slots.
    fn add_page(&mut self) -> Result {
        let page = self.pages.len();

        self.free
            .reserve((page + 1) * room_for::<T>(), GFP_KERNEL)?;
        self.pages
            .push(kho::Outgoing::new(RawArray::new(), GFP_KERNEL)?, GFP_KERNEL)?;

        if let [.., before, last] = self.pages.as_mut_slice() {
            before.next_array_phys = last.handle().get();
        }
        // The last one is taken first.
        for index in (0..room_for::<T>()).rev() {
            self.free.push(Slot { page, index }, GFP_KERNEL)?;
        }
        Ok(())
    }

    /// Stores an object in a slot of its own.
    fn add(&mut self, object: &T) -> Result<Slot> {
        let slot = self.take()?;

        self.set(slot, object);
        Ok(slot)
    }

    fn get(&self, slot: Slot) -> Option<T> {
        self.pages[slot.page].get(slot.index)
    }

    fn set(&mut self, slot: Slot, object: &T) {
        self.pages[slot.page].set(slot.index, object);
    }

    /// Removes the object of a slot, which remains taken.
    fn clear(&mut self, slot: Slot) {
        self.pages[slot.page].free::<T>(slot.index);
    }

    /// Gives back a slot, with its object if it has one. Needs no memory.
    fn free(&mut self, slot: Slot) {
        self.clear(slot);
        // There is room for all slots.
        let _ = self.free.push_within_capacity(slot);
    }
}

/// The tables of a domain.
#[derive(Clone, Copy)]
pub(super) struct Tables {
    format: Format,
    top: u64,
    level: u8,
}

impl Tables {
    /// Preserves all tables of the domain, or none. Returns how many there are.
    pub(super) fn preserve(self) -> Result<u64> {
        ffi::preserve_tables(self.format, self.top, self.level)
    }

    /// Unpreserves the first `count` tables of the domain.
    pub(super) fn unpreserve(self, count: u64) {
        ffi::unpreserve_tables(self.format, self.top, self.level, count);
    }
}

/// A domain that is preserved, or is about to be.
struct DomainEntry {
    slot: Slot,
    tables: Tables,
    /// How many tables are preserved; nothing while somebody preserves or unpreserves them.
    count: Option<u64>,
    /// How many devices are preserved with it.
    devices: u32,
}

/// An IOMMU that is preserved.
struct IommuEntry {
    slot: Slot,
    devices: u32,
}

/// A device that is preserved.
#[derive(Clone, Copy)]
struct DeviceEntry {
    domain: Domain,
    slot: Slot,
}

/// All that is preserved.
pub(crate) struct Outgoing {
    flb: kho::Outgoing<RawFlbSer>,
    raw_iommus: Objects<RawHwSer>,
    raw_domains: Objects<RawDomainSer>,
    raw_devices: Objects<RawDeviceSer>,
    iommus: RBTree<usize, IommuEntry>,
    domains: RBTree<Domain, DomainEntry>,
    devices: RBTree<Device, DeviceEntry>,
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
            iommus: RBTree::new(),
            domains: RBTree::new(),
            devices: RBTree::new(),
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

    /// Begins to preserve a domain. The caller preserves its tables, and then calls
    /// [`domain_preserved`](Self::domain_preserved) or [`forget_domain`](Self::forget_domain).
    ///
    /// There may be many tables, which nobody else waits for.
    pub(super) fn preserve_domain(&mut self, domain: Domain) -> Result<Tables> {
        if self.domains.get(&domain).is_some() {
            return Err(EBUSY);
        }

        let mut ser = domain.describe()?;
        let tables = Tables {
            format: Format::try_from(ser.format).map_err(|()| EOPNOTSUPP)?,
            top: ser.top_table_phys,
            level: ser.top_level.try_into()?,
        };
        let node = RBTreeNodeReservation::new(GFP_KERNEL)?;

        ser.hdr = header(0);
        let slot = self.raw_domains.add(&ser)?;
        self.publish();

        self.domains.insert(node.into_node(
            domain,
            DomainEntry {
                slot,
                tables,
                count: None,
                devices: 0,
            },
        ));
        Ok(tables)
    }

    /// Notes that all tables of a domain are preserved, and returns where its record is.
    pub(super) fn domain_preserved(&mut self, domain: Domain, count: u64) -> Result<u64> {
        let entry = self.domains.get_mut(&domain).ok_or(ENOENT)?;
        let slot = entry.slot;

        entry.count = Some(count);
        if let Some(ser) = self.raw_domains.get(slot) {
            let nr_tables = count;

            self.raw_domains
                .set(slot, &RawDomainSer { nr_tables, ..ser });
        }
        Ok(self.raw_domains.phys(slot))
    }

    /// Begins to unpreserve a domain. The caller unpreserves its tables, of which there are as many as
    /// returned, and then calls [`forget_domain`](Self::forget_domain). Needs no memory.
    pub(super) fn unpreserve_domain(&mut self, domain: Domain) -> Result<(Tables, u64)> {
        let entry = self.domains.get_mut(&domain).ok_or(ENOENT)?;
        let count = entry.count.take().ok_or(ENOENT)?;

        Ok((entry.tables, count))
    }

    /// Forgets a domain of which no table is preserved. Needs no memory.
    pub(super) fn forget_domain(&mut self, domain: Domain) {
        if let Some(entry) = self.domains.remove(&domain) {
            self.raw_domains.free(entry.slot);
        }
    }

    /// Preserves a device, and its IOMMU with the first one.
    pub(super) fn preserve_device(&mut self, domain: Domain, device: Device, owner: u64) -> Result {
        // First: a domain of such a driver is not preserved, either, and that is not its user's mistake.
        device.check_driver()?;

        let domain_phys = match self.domains.get(&domain) {
            Some(entry) if entry.count.is_some() => self.raw_domains.phys(entry.slot),
            _ => return Err(EINVAL),
        };

        if self.devices.get(&device).is_some() {
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

        let node = RBTreeNodeReservation::new(GFP_KERNEL)?;
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
        let slot = result.inspect_err(|_| device.unpreserve(domain, &ser))?;
        self.publish();

        self.devices
            .insert(node.into_node(device, DeviceEntry { domain, slot }));
        self.count_devices(domain, 1);
        Ok(())
    }

    /// Unpreserves a device, and its IOMMU with the last one. Needs no memory.
    pub(super) fn unpreserve_device(&mut self, domain: Domain, device: Device) -> Result {
        let entry = self
            .devices
            .find_mut(&device)
            .filter(|entry| entry.get().domain == domain)
            .ok_or(ENOENT)?
            .remove();

        if let Some(ser) = self.raw_devices.get(entry.slot) {
            device.unpreserve(domain, &ser);
        }
        self.raw_devices.free(entry.slot);
        self.put_iommu(device);
        self.count_devices(domain, -1);
        Ok(())
    }

    /// Returns whether a device does not go on, or all in its IOMMU group do, with the same domain.
    ///
    /// Ports and bridges do no DMA of their own, and are not counted.
    pub(super) fn is_group_whole(&self, device: Device) -> bool {
        let goes_on = |device| self.devices.get(&device);

        goes_on(device).is_none_or(|entry| {
            device.all_in_group(|other| {
                other.pci().is_some_and(lu_pci::is_bridge)
                    || goes_on(other).is_some_and(|other| other.domain == entry.domain)
            })
        })
    }

    /// Returns whether a device does not go on, or its IOMMU still has for it what was preserved.
    pub(super) fn is_unchanged(&self, device: Device) -> bool {
        let Some(entry) = self.devices.get(&device) else {
            return true;
        };
        let domain = self.domains.get(&entry.domain);

        let records = self
            .raw_devices
            .get(entry.slot)
            .zip(domain.and_then(|domain| self.raw_domains.get(domain.slot)));
        records.is_some_and(|(raw, raw_domain)| device.check(&raw, &raw_domain).is_ok())
    }

    fn count_devices(&mut self, domain: Domain, by: i32) {
        let Some(entry) = self.domains.get_mut(&domain) else {
            return;
        };
        entry.devices = entry.devices.saturating_add_signed(by);

        let (slot, devices) = (entry.slot, entry.devices);
        if let Some(mut ser) = self.raw_domains.get(slot) {
            ser.hdr = header(devices);
            self.raw_domains.set(slot, &ser);
        }
    }

    /// Counts a device of an IOMMU, which is preserved with the first one. Returns where the record of
    /// the IOMMU is.
    fn get_iommu(&mut self, device: Device) -> Result<u64> {
        if let Some(entry) = self.iommus.get_mut(&device.iommu()) {
            entry.devices = entry.devices.checked_add(1).ok_or(EOVERFLOW)?;
            return Ok(self.raw_iommus.phys(entry.slot));
        }

        let node = RBTreeNodeReservation::new(GFP_KERNEL)?;
        let mut ser = device.preserve_iommu()?;

        ser.hdr = header(0);
        let slot = self
            .raw_iommus
            .add(&ser)
            .inspect_err(|_| device.unpreserve_iommu(&ser))?;
        self.iommus
            .insert(node.into_node(device.iommu(), IommuEntry { slot, devices: 1 }));
        Ok(self.raw_iommus.phys(slot))
    }

    /// Counts a device of an IOMMU less, which is unpreserved with the last one.
    fn put_iommu(&mut self, device: Device) {
        let Some(mut found) = self.iommus.find_mut(&device.iommu()) else {
            return;
        };
        let entry = found.get_mut();

        entry.devices -= 1;
        if entry.devices != 0 {
            return;
        }

        let slot = found.remove().slot;
        if let Some(ser) = self.raw_iommus.get(slot) {
            device.unpreserve_iommu(&ser);
        }
        self.raw_iommus.free(slot);
    }

    /// Has all devices that go on doing DMA keep what they have.
    pub(super) fn prepare_kexec(&mut self) {
        let devices = core::mem::take(&mut self.devices);

        for (device, entry) in &devices {
            if !self.try_keep(*device, entry) {
                // The next kernel would look for what is not there.
                self.raw_devices.clear(entry.slot);
            }
        }
        self.devices = devices;
    }

    /// Has a device keep what it has if it goes on doing DMA, and returns whether it does.
    fn try_keep(&mut self, device: Device, entry: &DeviceEntry) -> bool {
        // Others are stopped, and lose it.
        let Some(pci) = device.pci().filter(|pci| lu_pci::keeps_mastering(pci)) else {
            return false;
        };
        if let Err(err) = self.keep(device, entry) {
            // It would have no way to memory.
            lu_pci::end_mastering(pci);
            dev_err!(pci, "does not keep its translation: {err:?}\n");
            return false;
        }
        true
    }

    /// Has a device keep what it has.
    fn keep(&mut self, device: Device, entry: &DeviceEntry) -> Result {
        let raw = self.raw_devices.get(entry.slot).ok_or(ENOENT)?;

        let domain_slot = self.domains.get(&entry.domain).ok_or(ENOENT)?.slot;
        let raw_domain = self.raw_domains.get(domain_slot).ok_or(ENOENT)?;

        let iommu_slot = self.iommus.get(&device.iommu()).ok_or(ENOENT)?.slot;
        let mut iommu = self.raw_iommus.get(iommu_slot).ok_or(ENOENT)?;

        let result = device.keep(&raw, &raw_domain, &mut iommu);
        // What was preserved of it by now is.
        self.raw_iommus.set(iommu_slot, &iommu);
        result
    }
}

#[cfg(CONFIG_IOMMU_LIVEUPDATE_KUNIT_TEST)]
#[kunit_tests(iommu_liveupdate_objects)]
mod tests {
    use super::*;
    use zerocopy::FromZeros;

    /// Enough for two pages and a part of a third.
    const MANY: usize = 2 * room_for::<RawDomainSer>() + 3;

    fn object(number: u64) -> RawDomainSer {
        RawDomainSer {
            hdr: header(0),
            nr_tables: number,
            ..RawDomainSer::new_zeroed()
        }
    }

    /// Returns the numbers of all objects, in the order that the next kernel finds them in.
    fn numbers(objects: &Objects<RawDomainSer>) -> Result<KVec<u64>> {
        let mut numbers = KVec::new();
        let mut next = objects.head();

        for page in &objects.pages {
            if page.handle().get() != next {
                return Err(EINVAL);
            }
            for index in 0..room_for::<RawDomainSer>() {
                if let Some(object) = page.get::<RawDomainSer>(index) {
                    numbers.push(object.nr_tables, GFP_KERNEL)?;
                }
            }
            next = page.next_array_phys;
        }
        if next != 0 {
            return Err(EINVAL);
        }
        Ok(numbers)
    }

    #[test]
    fn objects_stay_where_they_are_and_free_places_are_used_again() -> Result {
        let mut objects = Objects::new();
        let mut slots = KVec::new();

        for number in 0..MANY {
            slots.push(objects.add(&object(number as u64))?, GFP_KERNEL)?;
        }
        assert!(numbers(&objects)?.iter().copied().eq(0..MANY as u64));

        // Each third goes, and others come in its place.
        for slot in slots.iter().step_by(3) {
            objects.free(*slot);
            assert_eq!(objects.get(*slot), None);
        }
        for slot in slots.iter_mut().step_by(3) {
            *slot = objects.add(&object(MANY as u64))?;
        }
        assert_eq!(objects.pages.len(), 3);

        for (number, slot) in slots.iter().enumerate() {
            let expected = if number % 3 == 0 { MANY } else { number };

            assert_eq!(objects.get(*slot), Some(object(expected as u64)));
            for other in &slots[..number] {
                assert_ne!(objects.phys(*other), objects.phys(*slot));
            }
        }
        assert_eq!(numbers(&objects)?.len(), MANY);
        Ok(())
    }

    #[test]
    fn what_is_cleared_is_not_handed_over_and_keeps_its_place() -> Result {
        let mut objects = Objects::new();
        let first = objects.add(&object(1))?;
        let second = objects.add(&object(2))?;

        objects.clear(first);
        assert!(numbers(&objects)?.iter().eq(&[2]));

        let third = objects.add(&object(3))?;
        assert!(numbers(&objects)?.iter().eq(&[2, 3]));
        assert_ne!(objects.phys(third), objects.phys(first));
        assert_ne!(objects.phys(third), objects.phys(second));
        Ok(())
    }
}
