// SPDX-License-Identifier: GPL-2.0

//! Keeps what was handed over, and gives devices the domains that they had.
//!
//! Records are read once, when they are first asked for, and a device is attached to its domain once.
//! Allocations are `__GFP_NOFAIL`: a failure would stop devices, and the records bound the size.

use super::{
    super::{
        arrays::{
            offset_of,
            room_for,
            Object,
            RawArray, //
        },
        entries::{
            BadRecord,
            DomainRecord,
            Features,
            Kind,
            RawDeviceSer,
            RawDomainSer,
            RawFlbSer,
            RawHwSer, //
        },
        ffi::{
            Device,
            Domain,
            DyingDomain,
            HeldDomain,
            IncomingTable,
            LockedDevice,
            OwnedDomain,
            ReleaseLock, //
        },
        kept::Kept,
        plan::{
            self,
            DeviceEntry,
            DomainEntry,
            IommuEntry,
            Refusal, //
        },
    },
    handed_over, //
};
use kernel::{
    alloc::AllocError,
    liveupdate::{
        kho,
        pci::{
            self as lu_pci,
            Address, //
        },
        sorted,
        Handle,
        PhysRef,
        ReadError,
        RecordFlaw, //
    },
    prelude::*, //
};

impl RecordFlaw for BadRecord {}

/// Returns one entry per record of the page chain, sorted by the record's physical address, and frees the
/// pages.
///
/// It ends for any chain: no page can be restored twice.
fn read_objects<T: Object, E>(
    head: u64,
    entry: impl Fn(u64, T) -> E,
) -> Result<KVVec<E>, ReadError<BadRecord>> {
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

    let mut entries = KVVec::with_capacity(objects.len(), GFP_KERNEL | __GFP_NOFAIL)?;
    for (phys, object) in objects {
        entries.push(entry(phys, object), GFP_KERNEL | __GFP_NOFAIL)?;
    }
    Ok(entries)
}

/// Returns indices of devices, in the order of a property of these.
fn indices(
    devices: &[DeviceEntry],
    key: impl Fn(&DeviceEntry) -> u64,
) -> Result<KVVec<usize>, AllocError> {
    let mut indices = KVVec::with_capacity(devices.len(), GFP_KERNEL | __GFP_NOFAIL)?;

    for index in 0..devices.len() {
        indices.push(index, GFP_KERNEL | __GFP_NOFAIL)?;
    }
    plan::sort_indices(&mut indices, devices, key);
    Ok(indices)
}

/// The lists of [`plan::Incoming`], in memory.
pub(crate) struct Incoming {
    iommus: KVVec<IommuEntry>,
    domains: KVVec<DomainEntry<OwnedDomain>>,
    devices: KVVec<DeviceEntry>,
    by_domain: KVVec<usize>,
    by_iommu: KVVec<usize>,
    /// There were records, and they could not be read: any IOMMU may translate for any device.
    unreadable: bool,
    /// An IOMMU is contained, whether there is a record of it or not.
    has_contained: bool,
}

impl Incoming {
    const fn nothing() -> Self {
        Self {
            iommus: KVVec::new(),
            domains: KVVec::new(),
            devices: KVVec::new(),
            by_domain: KVVec::new(),
            by_iommu: KVVec::new(),
            unreadable: false,
            has_contained: false,
        }
    }

    /// Reads the incoming records, or logs why they are unreadable and returns empty lists.
    pub(super) fn read(handle: Handle) -> Self {
        Self::try_read(handle).unwrap_or_else(|err| {
            pr_err!("no IOMMU is taken over: {err}\n");
            Self {
                unreadable: true,
                ..Self::nothing()
            }
        })
    }

    fn try_read(handle: Handle) -> Result<Self, ReadError<BadRecord>> {
        let flb = PhysRef::<RawFlbSer>::try_from(handle)?.restore()?;

        flb.check()?;

        let mut devices = read_objects(flb.device_array_phys, DeviceEntry::new)?;
        plan::sort_devices(&mut devices);
        let by_domain = indices(&devices, DeviceEntry::domain_phys)?;
        let by_iommu = indices(&devices, DeviceEntry::iommu_phys)?;

        let mut iommus = read_objects(flb.iommu_array_phys, IommuEntry::new)?;
        plan::sort_iommus(&mut iommus);

        let mut domains = read_objects(flb.iommu_domain_array_phys, |phys, raw| {
            DomainEntry::new(phys, raw, plan::count_users(&by_domain, &devices, phys))
        })?;
        let mut by_top = KVVec::with_capacity(domains.len(), GFP_KERNEL | __GFP_NOFAIL)?;
        for index in 0..domains.len() {
            by_top.push(index, GFP_KERNEL | __GFP_NOFAIL)?;
        }
        plan::refuse_shared_tables(&mut domains, &mut by_top);

        Ok(Self {
            iommus,
            domains,
            devices,
            by_domain,
            by_iommu,
            unreadable: false,
            has_contained: false,
        })
    }

    /// Returns whether IOMMUs may translate whose records cannot be read, and this kernel has a driver for
    /// none.
    pub(super) fn is_out_of_control(&self) -> bool {
        self.unreadable && !self.has_contained
    }

    /// Notes that this kernel can clear the entries that an IOMMU has for incoming devices, or has cleared
    /// them.
    pub(super) fn set_contained(&mut self, kind: Kind, token: u64) {
        self.has_contained = true;
        self.lists().set_contained(kind, token);
    }

    /// Returns the lists, for a decision.
    pub(super) fn lists(&mut self) -> plan::Incoming<'_, OwnedDomain> {
        plan::Incoming {
            iommus: &mut self.iommus,
            domains: &mut self.domains,
            devices: &mut self.devices,
            by_domain: &self.by_domain,
            by_iommu: &self.by_iommu,
        }
    }

    /// Takes out all that was made of records, each with whether devices are attached to it.
    pub(super) fn take_made(&mut self) -> impl Iterator<Item = (OwnedDomain, bool)> {
        core::mem::take(&mut self.domains)
            .into_iter()
            .filter_map(DomainEntry::into_made)
    }

    /// Prepares to attach a device to the domain that it had, which is made for the first device of it, and
    /// calls `f` with the domain.
    fn restore<R>(
        &mut self,
        device: &Device,
        address: Address,
        f: impl FnOnce(&Domain) -> R,
    ) -> Result<R> {
        let mut lists = self.lists();
        let place = lists.place(address).map_err(|why| report(device, why))?;
        let entry = &mut lists.domains[place.domain];

        if entry.made().is_none() {
            let made = make(device, entry)?;

            entry.set_made(made);
        }
        let domain = entry.made().ok_or(EINVAL)?;

        device.driver()?.restore_device(device, domain)?;
        let result = f(domain);
        lists.set_restored(place);
        Ok(result)
    }
}

/// Makes a domain of what was handed over, for the first device of it.
fn make(device: &Device, entry: &DomainEntry<OwnedDomain>) -> Result<OwnedDomain> {
    let record = entry.check().map_err(|bad| report(device, bad.into()))?;

    // What somebody took over already is not for others.
    let top = IncomingTable::at(record.top()).ok_or(EINVAL)?;
    let kept = KBox::pin_init(Kept::new(record), GFP_KERNEL | __GFP_NOFAIL)?;
    let domain = device
        .driver()?
        .restore_domain(device, entry.raw())?
        .begin_with(top, kept)?;

    domain.count_tables(tables(&record));
    Ok(domain)
}

fn tables(record: &DomainRecord) -> isize {
    isize::try_from(record.tables().get()).unwrap_or(isize::MAX)
}

/// Says why a device does not get the domain that it had, and returns the error for that.
fn report(device: &Device, why: Refusal) -> Error {
    let Some(pci) = device.pci() else {
        return EINVAL;
    };

    match why {
        Refusal::NotIncoming => return ENOENT,
        Refusal::Record(bad) => dev_err!(pci, "was preserved with a bad record: {bad}\n"),
        Refusal::NoDomain => dev_err!(pci, "was preserved with a domain that has no record\n"),
    }
    EINVAL
}

/// Makes all tables of a domain this kernel's, if it was handed over. That is tried once.
///
/// # Errors
///
/// `EINVAL` if a table was not handed over, `E2BIG` if there are more than the record says. Then some are
/// this kernel's.
pub(crate) fn adopt(domain: HeldDomain<'_>) -> Result {
    let Some(kept) = domain.kept() else {
        return Ok(());
    };
    let mut adopted = kept.adopted.lock();

    if let Some(result) = *adopted {
        return result;
    }

    let record = &kept.record;

    // They are counted one by one instead.
    domain.count_tables(-tables(record));

    let result = domain.adopt_tables(
        record.tables().get(),
        record.features().has(Features::INCOHERENT),
    );

    *adopted = Some(result);
    result
}

/// Adopts or leaks the page table of a restored domain before its driver frees the domain.
pub(crate) fn release_domain(mut domain: DyingDomain<'_>) {
    if domain.kept().is_none() {
        return;
    }
    if let Err(err) = adopt(domain.held()) {
        pr_err!("tables of a domain are lost until the next reboot: {err:?}\n");
        // Those that are not this kernel's must not be freed.
        domain.forget_tables();
    }
    if let Ok(driver) = domain.driver() {
        driver.release_domain(&mut domain);
    }
    drop(domain.take_kept());
}

/// Calls `f` with what was handed over, and the address of a device.
pub(super) fn with_incoming<R>(
    device: &Device,
    f: impl FnOnce(&mut Incoming, Address) -> R,
) -> Option<R> {
    let incoming = handed_over().ok()?;
    let address = lu_pci::address(device.pci()?);
    let mut incoming = incoming.lock();

    Some(f(&mut incoming, address))
}

/// Returns whether a device was handed over and has not ended its passage.
pub(crate) fn was_preserved(device: &Device) -> bool {
    with_incoming(device, |incoming, address| incoming.lists().has(address)).unwrap_or(false)
}

/// Prepares to attach a device to the domain that it had, and calls `f` with the domain.
///
/// # Errors
///
/// `ENOENT` if the device is not incoming, `EINVAL` if a record cannot be believed, which the log says,
/// or as the driver of the IOMMU.
pub(crate) fn restore<R>(device: &Device, f: impl FnOnce(&Domain) -> R) -> Result<R> {
    with_incoming(device, |incoming, address| {
        incoming.restore(device, address, f)
    })
    .ok_or(ENOENT)?
}

/// Clears the IOMMU entries of a device that were handed over, and its Bus Master Enable bit.
pub(crate) fn block(device: &LockedDevice<'_>) {
    with_incoming(device, |incoming, address| {
        incoming.lists().give_up(address);
    });
    let Some(pci) = device.pci() else {
        return;
    };
    let stopped = lu_pci::stop_mastering(pci);

    if let Ok(driver) = device.driver() {
        driver.block_device(device);
    }
    dev_err!(
        pci,
        "does not get the translation that was handed over{}\n",
        if stopped { ": stopped" } else { "" }
    );
}

/// Keeps a device from doing DMA.
pub(crate) fn stop(device: &Device) {
    if let Some(pci) = device.pci() {
        lu_pci::stop_mastering(pci);
    }
}

/// The record of an IOMMU, and the records of the devices behind it.
pub(crate) struct HandedOver {
    /// Its record.
    pub(crate) raw: RawHwSer,
    /// The records of the devices behind it, each with that of its domain.
    pub(crate) devices: KVVec<(RawDeviceSer, Option<RawDomainSer>)>,
}

/// Returns what was handed over of an IOMMU. Waits for memory.
///
/// # Errors
///
/// `ENOENT` if it has no record, `EBADMSG` if the records cannot be read, `ENODATA` or another error if none
/// were handed over.
pub(crate) fn iommu(kind: Kind, token: u64) -> Result<HandedOver> {
    let incoming = handed_over()?;
    let mut incoming = incoming.lock();

    if incoming.unreadable {
        return Err(EBADMSG);
    }
    let lists = incoming.lists();
    let (phys, raw) = lists.iommu(kind, token).ok_or(ENOENT)?;
    let behind = lists.devices_behind(phys);
    let mut devices = KVVec::with_capacity(behind.len(), GFP_KERNEL | __GFP_NOFAIL)?;

    for records in behind {
        devices.push(records, GFP_KERNEL | __GFP_NOFAIL)?;
    }
    Ok(HandedOver { raw, devices })
}

/// Calls `f` with the domain that was made of the record at a physical address, which is the caller's to free
/// from then on. Returns nothing if there is none, or somebody has it already.
pub(crate) fn take_domain<R>(domain_phys: u64, f: impl FnOnce(&Domain) -> R) -> Option<R> {
    let incoming = handed_over().ok()?;
    let mut incoming = incoming.lock();
    let mut lists = incoming.lists();

    lists.give(domain_phys).map(|domain| f(domain))
}

/// Keeps all devices from a domain that maps what it must not, whoever attached them, for good.
pub(crate) fn refuse_domain(domain: &Domain) {
    domain.set_refused();

    let Ok(incoming) = handed_over() else {
        return;
    };
    let is_it = |made: &OwnedDomain| made.id() == domain.id();
    let mut from = 0;

    // Another one may have been at its address, and be gone: its devices are not attached to this one.
    loop {
        let found = incoming.lock().lists().domains[from..]
            .iter()
            .position(|entry| entry.made().is_some_and(is_it))
            .map(|at| from + at);
        let Some(at) = found else {
            break;
        };
        let phys = incoming.lock().lists().domains[at].phys();

        for_each_device(phys, false, |device| device.cut_off(domain));
        from = at + 1;
    }
}

/// Calls `f` with each device that had the domain whose record was at a physical address, and has not
/// ended its passage.
pub(crate) fn for_each_device_of(domain_phys: u64, f: impl Fn(&Device)) {
    for_each_device(domain_phys, true, f);
}

fn for_each_device(domain_phys: u64, only_pending: bool, f: impl Fn(&Device)) {
    let Ok(incoming) = handed_over() else {
        return;
    };

    // One by one: the locks of groups come before that of the records.
    let mut index = 0;
    loop {
        let next = incoming
            .lock()
            .lists()
            .next_of(domain_phys, index, only_pending);
        let Some((at, address)) = next else {
            break;
        };

        if let Some(pci) = lu_pci::find(address) {
            let lock = ReleaseLock::take();

            if let Some(device) = Device::of(&pci, &lock) {
                f(device);
            }
        }
        index = at + 1;
    }
}
