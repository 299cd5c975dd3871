// SPDX-License-Identifier: GPL-2.0

//! Preserves the tables of units, and leaves units translating for the next kernel.

use super::{
    super::{
        super::{
            entries::{
                Kind,
                RawDeviceSer,
                RawDomainSer,
                RawHwSer,
                UnitRecord, //
            },
            ffi::Domain,
        },
        bits::{
            PASID_ENTRY_WORDS,
            WORDS, //
        },
        ffi::{
            self,
            Directory,
            HeldDid,
            RootTable,
            Unit,
            VtdDevice,
            IRQ_TABLE_ORDER, //
        },
        plan::{
            self,
            Place,
            Refusal, //
        },
    },
    check::{
        check_device_now,
        check_preserved,
        Unusable, //
    },
    kept, //
};
use kernel::{
    dev_warn_ratelimited,
    liveupdate::pci as lu_pci,
    prelude::*,
    sync::atomic::Relaxed, //
};
use zerocopy::FromZeros;

/// Preserves the tables of a unit that a device was preserved behind, or none.
pub(super) fn preserve_unit(unit: &Unit) -> Result<RawHwSer> {
    let kept = kept(unit)?;
    let found = unit.found();
    let root = unit.root().ok_or(EOPNOTSUPP)?;
    let mut raw = RawHwSer::new_zeroed();

    if !found.translates {
        return Err(EOPNOTSUPP);
    }

    raw.token = unit.token();
    raw.type_ = Kind::Intel as u64;
    raw.intel.cap = found.cap;
    raw.intel.ecap = found.ecap;
    if found.scalable {
        raw.intel.flags = UnitRecord::SCALABLE;
    }

    // What is named here is preserved, and what is not is not.
    let result = preserve_tables(unit, &root, &mut raw);
    if result.is_err() {
        unpreserve_unit(unit, &raw);
    } else {
        kept.preserved.store(true, Relaxed);
    }
    result.map(|()| raw)
}

fn preserve_tables(unit: &Unit, root: &RootTable<'_>, raw: &mut RawHwSer) -> Result {
    root.page().preserve()?;
    raw.intel.root_table = root.page().phys();

    if let Some(table) = unit.irq_table() {
        let table = table.first_page();

        table.preserve()?;
        raw.intel.irq_table = table.phys();
        raw.intel.irq_order = IRQ_TABLE_ORDER;
    }
    preserve_context_tables(root, raw)
}

/// Preserves the context tables that have no bit in `raw` yet, and sets their bits.
fn preserve_context_tables(root: &RootTable<'_>, raw: &mut RawHwSer) -> Result {
    for (half, table) in root.context_tables() {
        let bits = &mut raw.intel.context_tables_bitmap[half / 64];
        let bit = 1 << (half % 64);

        if *bits & bit == 0 {
            table.preserve()?;
            *bits |= bit;
        }
    }
    Ok(())
}

/// Unpreserves the tables of a unit that [`preserve_unit`] preserved.
pub(super) fn unpreserve_unit(unit: &Unit, raw: &RawHwSer) {
    let intel = &raw.intel;

    if let Some(kept) = unit.kept() {
        kept.preserved.store(false, Relaxed);
    }
    let Some(root) = unit.root() else {
        return;
    };

    for (half, table) in root.context_tables() {
        if intel.context_tables_bitmap[half / 64] & (1 << (half % 64)) != 0 {
            table.unpreserve();
        }
    }
    if let Some(table) = unit.irq_table().filter(|_| intel.irq_table != 0) {
        table.first_page().unpreserve();
    }
    if intel.root_table != 0 {
        root.page().unpreserve();
    }
}

/// Preserves what a unit has of a device alone, which is attached to this domain.
pub(super) fn preserve_device(device: VtdDevice<'_>, domain: &Domain) -> Result<RawDeviceSer> {
    let pci = device.device().pci().ok_or(EOPNOTSUPP)?;
    let unit = device.unit()?;
    let kept = kept(unit)?;

    // First: the domain ID does not change from here on, though the device may be reset.
    let held = HeldDid::new(domain, device)?;
    let raw_domain = RawDomainSer {
        nr_tables: 1,
        ..ffi::describe(domain)?
    };

    // That is asked once for a unit.
    let beside_reserved = !kept.preserved.load(Relaxed) && unit.has_reserved();

    plan::preserve(&device.traits(domain, beside_reserved)).map_err(|refusal| match refusal {
        Refusal::NotAttached => EINVAL,
        Refusal::Unsupported(why) => {
            dev_warn_ratelimited!(pci, "its DMA cannot go on: {why}\n");
            EOPNOTSUPP
        }
    })?;

    let address = lu_pci::address(pci);
    let pasids = device.pasids();
    let mut raw = RawDeviceSer::new_zeroed();

    raw.devid = address.bdf().into();
    raw.pci_domain_nr = address.domain();
    raw.map.attachment_id = ffi::did(domain, unit).ok_or(EINVAL)?.into();
    if let Some((directory, max)) = pasids {
        raw.intel.pasid_table = directory.first_page().phys();
        raw.intel.max_pasid = max.into();
    }

    // The next kernel looks at the same, and is not to be the first that does.
    check_device_now(device, &raw, &raw_domain).map_err(|unusable| {
        if let Unusable::Memory(err) = unusable {
            return err;
        }
        dev_warn_ratelimited!(pci, "its DMA cannot go on: {unusable}\n");
        EOPNOTSUPP
    })?;
    // It makes a domain like this one for the device that it finds first of those that have it.
    ffi::restore_domain(device, &raw_domain).map_err(|err| {
        if err == ENOMEM {
            return err;
        }
        dev_warn_ratelimited!(
            pci,
            "its DMA cannot go on: its page table was made for an IOMMU with other abilities: allocate an HWPT for this device\n"
        );
        EOPNOTSUPP
    })?;

    if let Some((directory, _)) = pasids {
        preserve_pasids(directory)?;
    }
    unit.hold_did(device.device(), held).inspect_err(|_| {
        if let Some((directory, _)) = pasids {
            unpreserve_pasids(directory);
        }
    })?;
    Ok(raw)
}

/// Preserves a PASID directory, and of the PASID tables only the first one: no other PASID is in use.
fn preserve_pasids(directory: Directory<'_>) -> Result {
    let table = directory.first_table().ok_or(EINVAL)?;

    directory.first_page().preserve()?;
    table
        .preserve()
        .inspect_err(|_| directory.first_page().unpreserve())
}

/// Unpreserves what [`preserve_pasids`] preserved.
fn unpreserve_pasids(directory: Directory<'_>) {
    if let Some(table) = directory.first_table() {
        table.unpreserve();
    }
    directory.first_page().unpreserve();
}

/// Unpreserves what [`preserve_device`] preserved of a device, which was attached to this domain.
pub(super) fn unpreserve_device(device: VtdDevice<'_>, domain: &Domain) {
    if let Some((directory, _)) = device.pasids() {
        unpreserve_pasids(directory);
    }
    if let Ok(unit) = device.unit() {
        unit.release_did(device.device(), domain);
    }
}

/// Has a device keep its entries when its unit is shut down.
///
/// Only one processor does this at a time.
pub(super) fn keep_device(
    device: VtdDevice<'_>,
    raw_device: &RawDeviceSer,
    raw_domain: &RawDomainSer,
    raw: &mut RawHwSer,
) -> Result {
    let unit = device.unit()?;
    let root = unit.root().ok_or(ENODEV)?;
    let kept = kept(unit)?;

    // What the next kernel would not adopt is better not left to it.
    let checked = check_preserved(device, raw_device, raw_domain)?;

    // Those that were made since. What is made from here on is cleared.
    preserve_context_tables(&root, raw)?;
    for (bits, to) in raw.intel.context_tables_bitmap.iter().zip(&kept.tables) {
        to.store(*bits, Relaxed);
    }

    kept.bdfs.insert(device.bdf());
    for alias in &checked.aliases {
        kept.bdfs.insert(*alias);
    }

    kept.leaves.store(true, Relaxed);
    Ok(())
}

/// Leaves the unit translating for the next kernel, and returns whether a device needs that.
///
/// Runs on the last processor, with interrupts off: neither sleeps nor allocates. Takes only locks
/// that are held with interrupts off, which no processor was stopped with.
pub(crate) fn shutdown(unit: &Unit) -> bool {
    let Some(kept) = unit.kept() else {
        return false;
    };
    if kept.blocked.load(Relaxed) {
        return true;
    }
    let Some(root) = unit.root().filter(|_| kept.leaves.load(Relaxed)) else {
        return false;
    };

    clear_others(
        unit,
        &root,
        |half| kept.keeps_table(half),
        |bdf| kept.bdfs.contains(bdf),
    );
    unit.flush_all();
    unit.block_irqs();
    unit.report_faults();
    unit.stop_page_requests();
    true
}

/// Clears the entries of devices that are not kept, and of all PASIDs but PASID 0.
fn clear_others(
    unit: &Unit,
    root: &RootTable<'_>,
    keeps_table: impl Fn(usize) -> bool,
    keeps_device: impl Fn(u16) -> bool,
) {
    let scalable = unit.is_scalable();
    let words = plan::context_words(scalable);

    for (half, table) in root.context_tables() {
        if !keeps_table(half) {
            unit.clear(root.page(), half, 1);
            continue;
        }

        for word in (0..WORDS).step_by(words) {
            let keeps = Place::bdf(half, word, scalable).is_some_and(&keeps_device);

            if keeps && scalable {
                unit.end_page_requests(&table, word);
                if let Some(directory) = unit.directory(half, word) {
                    clear_pasids(unit, directory);
                }
            } else if !keeps && (0..words).any(|offset| table.load(word + offset) != 0) {
                unit.clear(&table, word, words);
            }
        }
    }
}

/// Clears all that a PASID directory leads to, but for the first PASID. Returns whether there was something.
pub(super) fn clear_pasids(unit: &Unit, directory: Directory<'_>) -> bool {
    let first_table = directory.first_table();
    let mut cleared = false;

    for (number, page) in directory.pages().enumerate() {
        for index in 0..WORDS {
            let is_first = (number, index) == (0, 0) && first_table.is_some();

            if !is_first && page.load(index) != 0 {
                unit.clear(&page, index, 1);
                cleared = true;
            }
        }
    }
    let Some(table) = first_table else {
        return cleared;
    };
    for word in PASID_ENTRY_WORDS..WORDS {
        if table.load(word) != 0 {
            unit.clear(&table, word, 1);
            cleared = true;
        }
    }
    cleared
}
