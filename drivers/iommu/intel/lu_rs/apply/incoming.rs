// SPDX-License-Identifier: GPL-2.0

//! Adopts units that the previous kernel left translating, or has them translate nothing.

use super::{
    super::{
        super::{
            apply as iommus,
            entries::{
                DeviceRecord,
                DomainRecord,
                Kind,
                PasidDirectory,
                RawDeviceSer,
                RawDomainSer,
                UnitRecord, //
            },
            ffi::{
                Domain,
                LockedDevice, //
            },
        },
        ffi::{
            self,
            BootUnit,
            OwnedDirectory,
            Stays,
            UncheckedEntries,
            UncheckedRoot,
            Unit,
            VtdDevice,
            IRQ_TABLE_ORDER, //
        },
        kept::{
            Adopted,
            Bdfs,
            DidOwner,
            Kept, //
        },
        plan::{
            self,
            Attachment,
            Mismatch,
            Place, //
        },
    },
    check::{
        check_device,
        check_entries,
        Checked,
        HandedOver,
        Named,
        Own,
        Unusable, //
    },
    kept,
    outgoing::clear_pasids, //
};
use kernel::{
    liveupdate::{
        kho,
        pci as lu_pci, //
    },
    pci,
    prelude::*,
    rbtree::RBTree,
    sync::atomic::Relaxed, //
};
use zerocopy::FromZeros;

/// Adopts a unit that the previous kernel left translating, and returns whether it did.
///
/// What it has of devices that are not what they are said to be is cleared.
pub(crate) fn adopt(unit: BootUnit<'_>) -> bool {
    match iommus::iommu(Kind::Intel, unit.token()) {
        Ok(handed_over) => try_adopt(unit, &handed_over).is_ok_and(|adopted| adopted),
        Err(_) => {
            // Others are stopped, or blocked.
            if !unit.found().translates {
                iommus::set_contained(Kind::Intel, unit.token());
            }
            false
        }
    }
}

/// Returns whether a unit was adopted.
pub(crate) fn is_adopted(unit: &Unit) -> bool {
    unit.kept().is_some_and(|kept| kept.adopted.load(Relaxed))
}

fn try_adopt(unit: BootUnit<'_>, handed_over: &iommus::HandedOver) -> Result<bool> {
    let raw = &handed_over.raw;
    let token = unit.token();
    let record = match raw.hdr.check(0).and_then(|()| UnitRecord::try_from(raw)) {
        Ok(record) => record,
        Err(bad) => {
            pr_err!("IOMMU at {token:#x} is not taken over: {bad}\n");
            return Ok(false);
        }
    };

    if let Some(why) = plan::refuse_unit(&record, &unit.found()) {
        pr_err!("IOMMU at {token:#x} is not taken over: {why}\n");
        return Ok(false);
    }

    let kept = kept(&unit)?;
    let root = UncheckedRoot::restore(unit, record.root).inspect_err(|_| {
        pr_err!("IOMMU at {token:#x} is not taken over: its root table was not handed over\n");
    })?;

    // From here on it is: what is wrong below is cleared.
    kept.adopted.store(true, Relaxed);
    let mut cleared = false;
    let entries = root.take_over(
        |half| record.has_context_table(half),
        |half| {
            pr_err!("IOMMU at {token:#x} loses a table at {half}, which was not handed over\n");
            cleared = true;
        },
    );

    // Asking for records takes locks that come before that of the devices.
    let mut adoption = Adoption::new(&kept.entries);
    for (raw, raw_domain) in &handed_over.devices {
        let raw_domain = raw_domain.unwrap_or_else(FromZeros::new_zeroed);

        if let Err(unusable) = adoption.adopt_device(&unit, &entries, raw, &raw_domain) {
            pr_err!(
                "{}: translation is not taken over: {unusable}\n",
                Named(raw)
            );
        }
    }

    let had_others = entries.adopt(|bdf| adoption.stays(bdf));
    let had_pasids = adoption.devices.iter().filter(|device| {
        let directory = device.directory.as_ref();

        directory.is_some_and(|directory| clear_pasids(&unit, directory.get()))
    });
    if had_pasids.count() != 0 || had_others {
        pr_warn!("IOMMU at {token:#x} had entries that nobody takes over: cleared\n");
        cleared = true;
    }
    if cleared {
        unit.flush_all();
    }
    // One that runs on without would reach what its next domain maps, whoever sets that up.
    stop(&unit, "its translation is not taken over", |device| {
        !kept.entries.contains(lu_pci::address(device).bdf())
    });
    *kept.devices.lock() = adoption.devices;
    iommus::set_contained(Kind::Intel, token);

    free_irq_table(&unit, &record);
    Ok(true)
}

/// Frees the interrupt remapping table of the previous kernel, which the unit does not use any more.
fn free_irq_table(unit: &Unit, record: &UnitRecord) {
    if let Some((table, order)) = record.irq_table {
        if order == IRQ_TABLE_ORDER && unit.irq_root() != table.phys() {
            drop(kho::Folio::restore(table.phys(), order));
        }
    }
}

/// The devices of a unit that were adopted so far.
struct Adoption<'a> {
    /// In the order of their numbers.
    devices: KVec<Adopted>,
    /// The numbers under which they have entries.
    entries: &'a Bdfs,
    /// The device that has its entries under a number, by that.
    owners: RBTree<u16, u16>,
    /// The domain IDs that they use, each of which stands for one domain only.
    domains: RBTree<u16, DomainRecord>,
    /// The domain IDs of these domains, each of which has one only.
    dids: RBTree<DomainRecord, u16>,
}

impl<'a> Adoption<'a> {
    fn new(entries: &'a Bdfs) -> Self {
        Self {
            devices: KVec::new(),
            entries,
            owners: RBTree::new(),
            domains: RBTree::new(),
            dids: RBTree::new(),
        }
    }

    /// Returns whether domain and domain ID are paired; fails if either has another
    /// partner.
    fn has_did(&self, domain: &DomainRecord, did: u16) -> Result<bool, Unusable> {
        match (self.domains.get(&did), self.dids.get(domain)) {
            (None, None) => Ok(false),
            (Some(other), Some(_)) if other == domain => Ok(true),
            _ => Err(Unusable::Conflict),
        }
    }

    /// Has a unit keep the ID of a domain from other domains. If that fails nothing has the ID.
    fn reserve_did(&mut self, unit: &Unit, attachment: &Attachment) -> Result {
        let (domain, did) = (attachment.domain, attachment.did);

        unit.reserve_did(did)?;
        let mut note = || {
            self.domains
                .try_create_and_insert(did, domain, GFP_KERNEL | __GFP_NOFAIL)?;
            self.dids
                .try_create_and_insert(domain, did, GFP_KERNEL | __GFP_NOFAIL)?;
            Ok(())
        };

        note().inspect_err(|_| unit.give_back_did(did))
    }

    /// Returns what the context entry at `bdf` must name to be kept, or `None` to clear it.
    fn stays(&self, bdf: u16) -> Option<Stays<'_>> {
        let owner = self.owners.get(&bdf)?;
        let index = self.find(*owner).ok()?;

        Some(match &self.devices[index].directory {
            Some(directory) => Stays::Scalable(directory.get()),
            None => Stays::Legacy,
        })
    }

    /// Returns where a device is, by its number, or where it is to be.
    fn find(&self, bdf: u16) -> Result<usize, usize> {
        self.devices.binary_search_by_key(&bdf, |device| device.bdf)
    }

    /// Notes that a device has its entries under a number.
    fn add_entry(&mut self, bdf: u16, owner: u16) -> Result {
        self.owners
            .try_create_and_insert(bdf, owner, GFP_KERNEL | __GFP_NOFAIL)?;
        self.entries.insert(bdf);
        Ok(())
    }

    fn adopt_device(
        &mut self,
        unit: &Unit,
        entries: &UncheckedEntries<'_>,
        raw: &RawDeviceSer,
        raw_domain: &RawDomainSer,
    ) -> Result<(), Unusable> {
        let ats = ffi::went_on_with_ats(DeviceRecord::try_from(raw)?.address);
        let Checked {
            record,
            attachment,
            aliases,
        } = check_device(unit, &HandedOver(entries), raw, raw_domain, ats)?;
        let bdf = record.address.bdf();

        if record.address.domain() != u32::from(unit.segment()) {
            return Err(Unusable::Conflict);
        }
        if record.pasids.is_some() != unit.is_scalable() {
            return Err(Mismatch::Directory.into());
        }
        let Err(index) = self.find(bdf) else {
            return Err(Unusable::Conflict);
        };

        self.devices
            .reserve(1, GFP_KERNEL | __GFP_NOFAIL)
            .map_err(Error::from)?;
        let has_did = self.has_did(&attachment.domain, attachment.did)?;

        let directory = match &record.pasids {
            Some(pasids) => Some(OwnedDirectory::restore(pasids)?),
            None => None,
        };
        if !has_did {
            if let Err(err) = self.reserve_did(unit, &attachment) {
                // The unit walks it until the entries of the device are cleared.
                core::mem::forget(directory);
                return Err(err.into());
            }
        }

        let adopted = Adopted {
            bdf,
            attachment,
            pasids: record.pasids,
            directory,
            aliases,
            ended: false,
            taken: false,
            did_owner: DidOwner::Unit,
        };
        self.devices
            .push(adopted, GFP_KERNEL)
            .map_err(Error::from)?;
        self.devices[index..].rotate_right(1);

        self.add_entry(bdf, bdf)?;
        for number in 0..self.devices[index].aliases.len() {
            self.add_entry(self.devices[index].aliases[number], bdf)?;
        }
        Ok(())
    }
}

/// Calls `f` with what was adopted of a device behind a unit, if it was.
fn with_adopted<R>(unit: &Unit, bdf: u16, f: impl FnOnce(&mut Adopted) -> R) -> Option<R> {
    let kept = unit.kept()?;
    let mut devices = kept.devices.lock();

    let index = devices
        .binary_search_by_key(&bdf, |adopted| adopted.bdf)
        .ok()?;
    Some(f(&mut devices[index]))
}

/// Returns the PASID directory of a device behind a unit, for the driver to have, once.
pub(crate) fn take_pasids(unit: &Unit, bdf: u16) -> Option<(OwnedDirectory, PasidDirectory)> {
    with_adopted(unit, bdf, |adopted| {
        adopted.directory.take().zip(adopted.pasids)
    })?
}

/// Has the domain of a device take over the domain ID that the device uses, before the device is attached
/// to it.
///
/// # Errors
///
/// `ENODEV` if the device was not adopted, or was attached to something since; as [`ffi::set_did`].
pub(super) fn restore_did(device: VtdDevice<'_>, domain: &Domain) -> Result {
    let unit = device.unit()?;

    with_adopted(unit, device.bdf(), |adopted| {
        if adopted.taken {
            return Err(ENODEV);
        }
        ffi::set_did(domain, unit, adopted.attachment.did)?;
        adopted.did_owner = DidOwner::Domain;
        Ok(())
    })
    .ok_or(ENODEV)?
}

/// Checks that the entries of a device lead to `domain`. Returns nothing if the device was not handed over,
/// or was attached to something since.
pub(crate) fn attach(device: VtdDevice<'_>, domain: &Domain) -> Option<Result> {
    let unit = device.unit().ok()?;
    let (attachment, pasids) = with_adopted(unit, device.bdf(), |adopted| {
        if core::mem::replace(&mut adopted.taken, true) {
            return None;
        }
        Some((adopted.attachment, adopted.pasids))
    })??;

    let check = || -> Result<(), Unusable> {
        let now = Attachment {
            domain: DomainRecord::try_from(&RawDomainSer {
                nr_tables: 1,
                ..ffi::describe(domain)?
            })?,
            did: ffi::did(domain, unit).ok_or(Mismatch::Tag)?,
            ats: device.has_ats(),
        };

        if !now.domain.is_same_as(&attachment.domain) || now.did != attachment.did {
            return Err(Mismatch::Pointer.into());
        }
        if now.ats != attachment.ats {
            return Err(Mismatch::of_ats(attachment.ats).into());
        }
        check_entries(
            unit,
            &Own::of(device)?,
            device.bdf(),
            &attachment,
            pasids.as_ref(),
        )
    };

    Some(check().map_err(|unusable| {
        pr_err!("a device is not attached to the domain that was handed over: {unusable}\n");
        EINVAL
    }))
}

/// Clears the entries of a device, and forgets what was adopted for it.
pub(super) fn give_up(device: &LockedDevice<'_>) {
    let Ok(device) = VtdDevice::clear_entries(device) else {
        return;
    };

    if let Ok(unit) = device.unit() {
        forget(unit, device.bdf(), |_, _| ());
    }
}

/// Clears the entries of a device that this kernel did not find, and forgets what was adopted for it: the
/// unit walks none of its tables afterwards.
pub(super) fn end_device(unit: &Unit, bdf: u16) {
    forget(unit, bdf, |adopted, others| {
        let Some(root) = unit.root() else {
            return;
        };

        // Devices of a group may share an alias.
        let is_shared = |alias: &u16| others.iter().any(|other| other.uses_alias(*alias));
        let aliases = adopted.aliases.iter().filter(|alias| !is_shared(alias));

        for number in Iterator::chain(aliases, &[bdf]) {
            let place = Place::of(*number, unit.is_scalable());

            if let Some(table) = root.context_table(place.half) {
                unit.clear(&table, place.word, place.words);
            }
        }
        unit.flush_all();
    });
}

/// Ends the adoption of a device, after `clear` cleared its entries: its domain ID is given back if no other
/// device uses that, and its PASID tables are freed if the driver has not got them.
///
/// `clear` is called with what was adopted of the device and of all devices, if the device was adopted.
fn forget(unit: &Unit, bdf: u16, clear: impl FnOnce(&Adopted, &[Adopted])) {
    let Some(kept) = unit.kept() else {
        return;
    };
    let mut devices = kept.devices.lock();
    let Ok(index) = devices.binary_search_by_key(&bdf, |adopted| adopted.bdf) else {
        return;
    };

    devices[index].ended = true;
    clear(&devices[index], &devices);
    let adopted = &mut devices[index];
    adopted.taken = true;
    adopted.directory = None;

    if adopted.did_owner == DidOwner::Unit {
        adopted.did_owner = DidOwner::Nobody;
        give_back_unused(unit, &devices, devices[index].attachment.did);
    }
}

/// Gives back a domain ID, unless a device still uses it, or a domain has it.
fn give_back_unused(unit: &Unit, devices: &[Adopted], did: u16) {
    let is_used = devices
        .iter()
        .any(|adopted| adopted.attachment.did == did && adopted.did_owner != DidOwner::Nobody);

    if !is_used {
        unit.give_back_did(did);
    }
}

/// Stops all devices that a unit keeps from memory, which is about to stop translating. Returns whether
/// it may.
///
/// It may not if the previous kernel let a device go on that this kernel did not find: nobody can stop
/// it. Then the unit goes on, and lets nothing through any more, for any device behind it, until the
/// machine is reset.
pub(crate) fn stop_devices(unit: BootUnit<'_>) -> bool {
    if !unit.must_stop() {
        return true;
    }

    stop(&unit, "its IOMMU is not taken over", |_| true);
    let token = unit.token();
    let is_there = |raw: &RawDeviceSer| {
        DeviceRecord::try_from(raw).is_ok_and(|record| lu_pci::find(record.address).is_some())
    };
    let may_stop = match iommus::iommu(Kind::Intel, token) {
        Ok(handed_over) => handed_over.devices.iter().all(|(raw, _)| is_there(raw)),
        // Any device that was not found may be behind it.
        Err(err) if err == EBADMSG && lu_pci::has_missing() => {
            iommus::set_unknown();
            false
        }
        Err(_) => return true,
    };

    if let Some(kept) = unit.kept() {
        give_back_all(&unit, kept);
    }
    if !may_stop {
        pr_err!(
            "IOMMU at {token:#x} lets no DMA through any more: a device may do some that was not found, and cannot be stopped; reset the machine\n"
        );
        block(unit);
    }
    iommus::set_contained(Kind::Intel, token);
    may_stop
}

/// Gives back the domain IDs of all devices that were adopted: the unit is about to translate nothing.
fn give_back_all(unit: &Unit, kept: Pin<&Kept>) {
    let mut devices = kept.devices.lock();

    kept.adopted.store(false, Relaxed);
    for index in 0..devices.len() {
        let adopted = &mut devices[index];

        adopted.taken = true;
        // The unit may walk it still.
        core::mem::forget(adopted.directory.take());
        if adopted.did_owner == DidOwner::Unit {
            adopted.did_owner = DidOwner::Nobody;
            give_back_unused(unit, &devices, devices[index].attachment.did);
        }
    }
}

/// Has a unit that translates let nothing through, for good.
///
/// The tables that it does not walk any more stay where they are.
fn block(unit: BootUnit<'_>) {
    if let Err(err) = unit.block() {
        pr_err!(
            "IOMMU at {:#x} translates on, by tables that were not handed over: {err:?}\n",
            unit.token()
        );
    }
    match kept(&unit) {
        Ok(kept) => kept.blocked.store(true, Relaxed),
        Err(err) => pr_err!("a unit may not stay blocked in the next kernel: {err:?}\n"),
    }
}

/// Stops some devices behind a unit. Those that do DMA are named.
fn stop(unit: &Unit, why: &str, is_meant: impl Fn(&pci::Device) -> bool) {
    unit.for_each_device(|device| {
        if is_meant(device) && lu_pci::stop_mastering(device) {
            dev_warn!(device, "stopped: it may do DMA, and {why}\n");
        }
    });
}

/// Makes all IRTEs of this kernel not present, with FPD set, so that no fault is reported.
pub(crate) fn quieten_irqs(unit: &Unit) {
    if let Some(table) = unit.irq_table() {
        unit.quieten(&table);
    }
}
