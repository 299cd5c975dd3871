// SPDX-License-Identifier: GPL-2.0

//! What is to be handed over.

use super::{
    super::{
        arrays::{
            offset_of,
            room_for,
            Object,
            RawArray, //
        },
        entries::{
            RawDevMapSer,
            RawDeviceSer,
            RawDomainSer,
            RawFlbSer,
            RawHdrSer,
            RawHwSer,
            VERSION, //
        },
        ffi::{
            Device,
            DeviceId,
            Domain,
            DomainId,
            HeldDomain,
            IommuId,
            PreservedTables,
            ReleaseLock, //
        },
        plan::{
            header,
            DomainUse,
            IommuUse,
            Member, //
        },
    },
    incoming,
    IOMMUS, //
};
use core::marker::PhantomData;
use kernel::{
    dev_warn_ratelimited,
    liveupdate::{
        kho,
        pci as lu_pci,
        Handle, //
    },
    pci,
    prelude::*,
    rbtree::{
        RBTree,
        RBTreeNodeReservation, //
    },
    sync::aref::ARef, //
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
    /// Free slots, with capacity for all slots, so that freeing one needs no memory.
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

/// A domain that is preserved, or is about to be.
struct DomainEntry {
    slot: Slot,
    use_: DomainUse<PreservedTables>,
}

/// An IOMMU that is preserved.
struct IommuEntry {
    slot: Slot,
    use_: IommuUse,
}

/// A device that is preserved.
struct DeviceEntry {
    pci: ARef<pci::Device>,
    domain: DomainId,
    slot: Slot,
}

/// All that is preserved.
pub(crate) struct Outgoing {
    flb: kho::Outgoing<RawFlbSer>,
    raw_iommus: Objects<RawHwSer>,
    raw_domains: Objects<RawDomainSer>,
    raw_devices: Objects<RawDeviceSer>,
    iommus: RBTree<IommuId, IommuEntry>,
    domains: RBTree<DomainId, DomainEntry>,
    devices: RBTree<DeviceId, DeviceEntry>,
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

    /// Notes where the pages of records are, which changes with the first of each.
    fn publish(&mut self) {
        self.flb.iommu_array_phys = self.raw_iommus.head();
        self.flb.iommu_domain_array_phys = self.raw_domains.head();
        self.flb.device_array_phys = self.raw_devices.head();
    }

    /// Begins to preserve a domain. The caller preserves its tables, and then calls
    /// [`domain_preserved`](Self::domain_preserved) or [`forget_domain`](Self::forget_domain).
    ///
    /// There may be many tables, which nobody else waits for.
    fn preserve_domain(&mut self, domain: &Domain) -> Result {
        if self.domains.get(&domain.id()).is_some() {
            return Err(EBUSY);
        }

        let mut ser = domain.driver()?.describe_domain(domain)?;
        let node = RBTreeNodeReservation::new(GFP_KERNEL)?;

        ser.hdr = header(0);
        let slot = self.raw_domains.add(&ser)?;
        self.publish();

        self.domains.insert(node.into_node(
            domain.id(),
            DomainEntry {
                slot,
                use_: DomainUse::new(),
            },
        ));
        Ok(())
    }

    /// Notes that all tables of a domain are preserved, and returns where its record is.
    fn domain_preserved(&mut self, domain: &Domain, tables: PreservedTables) -> Result<u64> {
        let entry = self.domains.get_mut(&domain.id()).ok_or(ENOENT)?;
        let (slot, nr_tables) = (entry.slot, tables.count());

        entry.use_.set_preserved(tables);
        if let Some(ser) = self.raw_domains.get(slot) {
            self.raw_domains
                .set(slot, &RawDomainSer { nr_tables, ..ser });
        }
        Ok(self.raw_domains.phys(slot))
    }

    /// Begins to unpreserve a domain. The caller unpreserves its tables, which are returned, and then calls
    /// [`forget_domain`](Self::forget_domain). Needs no memory.
    fn unpreserve_domain(&mut self, domain: &Domain) -> Result<PreservedTables> {
        let entry = self.domains.get_mut(&domain.id()).ok_or(ENOENT)?;

        entry.use_.take_tables().ok_or(ENOENT)
    }

    /// Forgets a domain of which no table is preserved. Needs no memory.
    fn forget_domain(&mut self, domain: &Domain) {
        if let Some(entry) = self.domains.remove(&domain.id()) {
            self.raw_domains.free(entry.slot);
        }
    }

    /// Preserves a device, and its IOMMU with the first one.
    fn preserve_device(&mut self, domain: &Domain, device: &Device, owner: u64) -> Result {
        // First: a domain of such a driver is not preserved, either, and that is not its user's mistake.
        let driver = device.driver()?;

        let domain_phys = match self.domains.get(&domain.id()) {
            Some(entry) if entry.use_.is_preserved() => self.raw_domains.phys(entry.slot),
            _ => return Err(EINVAL),
        };

        if self.devices.get(&device.id()).is_some() {
            return Err(EBUSY);
        }
        let pci = device.pci().ok_or(EOPNOTSUPP)?;
        device.check_group(domain).inspect_err(|err| {
            dev_warn_ratelimited!(
                pci,
                "its DMA cannot go on: nobody owns its IOMMU group, or that has PASIDs or a reset: {err:?}\n"
            );
        })?;

        let node = RBTreeNodeReservation::new(GFP_KERNEL)?;
        let mut ser = driver.preserve_device(device, domain)?;

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
        let slot = result.inspect_err(|_| driver.unpreserve_device(device, domain))?;
        self.publish();

        let entry = DeviceEntry {
            pci: pci.into(),
            domain: domain.id(),
            slot,
        };
        self.devices.insert(node.into_node(device.id(), entry));
        self.count_device(domain.id(), DomainUse::add_device);
        Ok(())
    }

    /// Unpreserves a device, and its IOMMU with the last one. Needs no memory.
    fn unpreserve_device(&mut self, domain: &Domain, device: &Device) -> Result {
        let driver = device.driver()?;
        let entry = self
            .devices
            .find_mut(&device.id())
            .filter(|entry| entry.get().domain == domain.id())
            .ok_or(ENOENT)?
            .remove();

        driver.unpreserve_device(device, domain);
        self.raw_devices.free(entry.slot);
        self.put_iommu(device);
        self.count_device(domain.id(), DomainUse::remove_device);
        Ok(())
    }

    /// Returns what a device of an IOMMU group does.
    fn member(&self, device: &Device) -> Member<DomainId> {
        match self.devices.get(&device.id()) {
            Some(entry) => Member::GoesOn(entry.domain),
            None if device.pci().is_some_and(lu_pci::is_bridge) => Member::Bridge,
            None => Member::Stays,
        }
    }

    /// Returns whether a device does not go on, or all in its IOMMU group do, with the same domain.
    fn is_group_whole(&self, device: &Device) -> bool {
        match self.member(device) {
            Member::GoesOn(domain) => {
                device.all_in_group(|other| self.member(other).lets_go_on_with(&domain))
            }
            Member::Bridge | Member::Stays => true,
        }
    }

    /// Returns whether a device does not go on, or its IOMMU still has for it what was preserved.
    fn is_unchanged(&self, device: &Device) -> bool {
        let Some(entry) = self.devices.get(&device.id()) else {
            return true;
        };
        let domain = self.domains.get(&entry.domain);

        let records = self
            .raw_devices
            .get(entry.slot)
            .zip(domain.and_then(|domain| self.raw_domains.get(domain.slot)));
        records
            .zip(device.driver().ok())
            .is_some_and(|((raw, raw_domain), driver)| {
                driver.check_device(device, &raw, &raw_domain).is_ok()
            })
    }

    fn count_device(
        &mut self,
        domain: DomainId,
        count: impl FnOnce(&mut DomainUse<PreservedTables>) -> RawHdrSer,
    ) {
        let Some(entry) = self.domains.get_mut(&domain) else {
            return;
        };
        let (slot, hdr) = (entry.slot, count(&mut entry.use_));

        if let Some(ser) = self.raw_domains.get(slot) {
            self.raw_domains.set(slot, &RawDomainSer { hdr, ..ser });
        }
    }

    /// Counts a device of an IOMMU, which is preserved with the first one. Returns where the record of
    /// the IOMMU is.
    fn get_iommu(&mut self, device: &Device) -> Result<u64> {
        if let Some(entry) = self.iommus.get_mut(&device.iommu()) {
            entry.use_.add().ok_or(EOVERFLOW)?;
            return Ok(self.raw_iommus.phys(entry.slot));
        }

        let node = RBTreeNodeReservation::new(GFP_KERNEL)?;
        let driver = device.driver()?;
        let mut ser = driver.preserve_iommu(device)?;

        ser.hdr = header(0);
        let slot = self
            .raw_iommus
            .add(&ser)
            .inspect_err(|_| driver.unpreserve_iommu(device, &ser))?;
        let entry = IommuEntry {
            slot,
            use_: IommuUse::FIRST,
        };
        self.iommus.insert(node.into_node(device.iommu(), entry));
        Ok(self.raw_iommus.phys(slot))
    }

    /// Counts a device of an IOMMU less, which is unpreserved with the last one.
    fn put_iommu(&mut self, device: &Device) {
        let Some(mut found) = self.iommus.find_mut(&device.iommu()) else {
            return;
        };

        if !found.get_mut().use_.remove() {
            return;
        }

        let slot = found.remove().slot;
        if let (Some(ser), Ok(driver)) = (self.raw_iommus.get(slot), device.driver()) {
            driver.unpreserve_iommu(device, &ser);
        }
        self.raw_iommus.free(slot);
    }

    /// Keeps the IOMMU entries of devices that do DMA across the kexec; clears other
    /// records.
    fn prepare_kexec(&mut self, lock: &ReleaseLock) {
        let devices = core::mem::take(&mut self.devices);

        for entry in devices.values() {
            if !self.try_keep(entry, lock) {
                // The next kernel would look for what is not there.
                self.raw_devices.clear(entry.slot);
            }
        }
        self.devices = devices;
    }

    /// Has a device keep what it has if it goes on doing DMA, and returns whether it does.
    fn try_keep(&mut self, entry: &DeviceEntry, lock: &ReleaseLock) -> bool {
        let pci = &entry.pci;

        // Others are stopped, and lose it.
        if !lu_pci::keeps_mastering(pci) {
            return false;
        }
        let result = Device::of(pci, lock)
            .ok_or(ENODEV)
            .and_then(|device| self.keep(device, entry));

        if let Err(err) = result {
            // It would have no way to memory.
            lu_pci::end_mastering(pci);
            dev_err!(pci, "does not keep its translation: {err:?}\n");
            return false;
        }
        true
    }

    /// Has a device keep what it has.
    fn keep(&mut self, device: &Device, entry: &DeviceEntry) -> Result {
        let raw = self.raw_devices.get(entry.slot).ok_or(ENOENT)?;

        let domain_slot = self.domains.get(&entry.domain).ok_or(ENOENT)?.slot;
        let raw_domain = self.raw_domains.get(domain_slot).ok_or(ENOENT)?;

        let iommu_slot = self.iommus.get(&device.iommu()).ok_or(ENOENT)?.slot;
        let mut iommu = self.raw_iommus.get(iommu_slot).ok_or(ENOENT)?;

        let result = device
            .driver()?
            .keep_device(device, &raw, &raw_domain, &mut iommu);
        // What was preserved of it by now is.
        self.raw_iommus.set(iommu_slot, &iommu);
        result
    }
}

/// Preserves a domain, and returns where its record is.
///
/// # Errors
///
/// As `iommu_preserve_domain()`.
pub(crate) fn preserve_domain(domain: HeldDomain<'_>) -> Result<u64> {
    // Tables that were handed over are this kernel's before they are preserved again.
    incoming::adopt(domain)?;

    let outgoing = IOMMUS.outgoing()?;
    outgoing.lock().preserve_domain(&domain)?;

    // How many there are is up to whoever maps things. Others do not wait for that.
    match domain.preserve_tables() {
        Ok(tables) => outgoing.lock().domain_preserved(&domain, tables),
        Err(err) => {
            outgoing.lock().forget_domain(&domain);
            Err(err)
        }
    }
}

/// Unpreserves a domain, with which no device is preserved any more.
///
/// # Errors
///
/// `ENOENT` if it is not preserved.
pub(crate) fn unpreserve_domain(domain: HeldDomain<'_>) -> Result {
    let outgoing = IOMMUS.outgoing()?;
    let tables = outgoing.lock().unpreserve_domain(&domain)?;

    domain.unpreserve_tables(tables);
    outgoing.lock().forget_domain(&domain);
    Ok(())
}

/// Preserves a device that is attached to a domain that is preserved.
///
/// # Errors
///
/// As `iommu_preserve_device()`.
pub(crate) fn preserve_device(domain: &Domain, device: &Device, owner: u64) -> Result {
    IOMMUS
        .outgoing()?
        .lock()
        .preserve_device(domain, device, owner)
}

/// Unpreserves a device that was preserved with a domain.
///
/// # Errors
///
/// `ENOENT` if it was not preserved with that.
pub(crate) fn unpreserve_device(domain: &Domain, device: &Device) -> Result {
    IOMMUS.outgoing()?.lock().unpreserve_device(domain, device)
}

/// Returns whether a device does not go on, or all in its IOMMU group do.
pub(crate) fn is_group_whole(device: &Device) -> bool {
    IOMMUS
        .outgoing()
        .map_or(true, |outgoing| outgoing.lock().is_group_whole(device))
}

/// Returns whether a device does not go on, or its IOMMU still has for it what was preserved.
pub(crate) fn is_unchanged(device: &Device) -> bool {
    IOMMUS
        .outgoing()
        .map_or(true, |outgoing| outgoing.lock().is_unchanged(device))
}

/// Has what goes on doing DMA keep its translations when IOMMUs are shut down.
pub(crate) fn prepare_kexec() {
    // There is none if nothing is preserved.
    if let Ok(outgoing) = IOMMUS.outgoing() {
        let lock = ReleaseLock::take();

        outgoing.lock().prepare_kexec(&lock);
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
