// SPDX-License-Identifier: GPL-2.0

//! Preserves the tables of units, and adopts them.

use super::{
    entries::{
        PASID_ENTRY_WORDS,
        WORDS, //
    },
    ffi::{
        self,
        Device,
        TablePage,
        Unit,
        IRQ_TABLE_ORDER, //
    },
    plan::{
        self,
        Attachment,
        Mismatch,
        Place,
        Refusal, //
    },
};
use kernel::{
    dev_warn_ratelimited, fmt,
    liveupdate::{
        iommu::{
            BadRecord,
            Device as DeviceRecord,
            Domain as DomainRecord,
            PasidDirectory,
            RawDeviceSer,
            RawDomainSer,
            RawHwSer,
            Unit as UnitRecord, //
        },
        kho,
        pci::{
            self as lu_pci,
            RawAddress, //
        },
    },
    new_mutex, pci,
    prelude::*,
    rbtree::RBTree,
    sync::{
        atomic::{
            Atomic,
            AtomicFlag,
            Relaxed, //
        },
        Mutex, //
    },
};
use zerocopy::FromZeros;

/// How many words a bit for each context table takes.
const TABLE_BITS: usize = WORDS / 64;

/// How many words a bit for each device takes.
const DEVICE_BITS: usize = (1 << 16) / 64;

/// A set of devices behind a unit, by their numbers.
struct Bdfs([Atomic<u64>; DEVICE_BITS]);

impl Bdfs {
    const fn new() -> Self {
        Self([const { Atomic::new(0) }; DEVICE_BITS])
    }

    fn contains(&self, bdf: u16) -> bool {
        let bdf = usize::from(bdf);

        self.0[bdf / 64].load(Relaxed) & (1 << (bdf % 64)) != 0
    }

    /// Only one processor does this at a time.
    fn insert(&self, bdf: u16) {
        let bdf = usize::from(bdf);
        let bits = &self.0[bdf / 64];

        bits.store(bits.load(Relaxed) | 1 << (bdf % 64), Relaxed);
    }
}

/// Who has the tag (the domain ID) of a device that was adopted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tag {
    /// The unit keeps it for the device.
    Reserved,
    /// A domain that was restored for the device has it, and gives it back when it is freed.
    Domains,
    /// It was given back, since nothing uses it any more.
    GivenBack,
}

/// What is kept with a unit that was adopted, or that is to be.
#[pin_data]
pub(crate) struct Kept {
    /// It was adopted.
    adopted: AtomicFlag,
    /// It translates nothing any more, and goes on so for ever: a device behind it may do DMA, and this
    /// kernel cannot stop that.
    blocked: AtomicFlag,
    /// The devices that were adopted with it, in the order of their numbers.
    #[pin]
    devices: Mutex<KVec<Adopted>>,
    /// The numbers under which these have entries.
    entries: Bdfs,
    /// The unit is preserved, and no device behind it has reserved memory.
    preserved: AtomicFlag,
    /// The unit goes on translating when it is shut down.
    leaves: AtomicFlag,
    /// The context tables that stay then.
    tables: [Atomic<u64>; TABLE_BITS],
    /// The devices that keep their entries then.
    bdfs: Bdfs,
}

/// A device whose entries were adopted.
struct Adopted {
    bdf: u16,
    attachment: Attachment,
    pasids: Option<PasidDirectory>,
    /// The driver has the PASID directory.
    directory_taken: bool,
    /// It was attached to a domain, or to none, since.
    taken: bool,
    /// Who has `attachment.did`.
    tag: Tag,
}

impl Kept {
    fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            adopted: AtomicFlag::new(false),
            blocked: AtomicFlag::new(false),
            devices <- new_mutex!(KVec::new()),
            entries: Bdfs::new(),
            preserved: AtomicFlag::new(false),
            leaves: AtomicFlag::new(false),
            tables: [const { Atomic::new(0) }; TABLE_BITS],
            bdfs: Bdfs::new(),
        })
    }

    fn keeps_table(&self, half: usize) -> bool {
        self.tables[half / 64].load(Relaxed) & (1 << (half % 64)) != 0
    }
}

/// Returns the context tables that a root table names, each with its place.
fn context_tables(root: &TablePage) -> impl Iterator<Item = (usize, u64)> + '_ {
    (0..WORDS).filter_map(|half| Some((half, plan::context_table(root.load(half))?)))
}

/// Preserves the tables of a unit that a device was preserved behind, or none.
pub(crate) fn preserve_unit(unit: Unit<'_>) -> Result<RawHwSer> {
    let kept = kept(unit)?;
    let found = unit.found();
    let root = unit.root().ok_or(EOPNOTSUPP)?;
    let mut raw = RawHwSer::new_zeroed();

    if !found.translates {
        return Err(EOPNOTSUPP);
    }

    raw.token = unit.token();
    raw.type_ = UnitRecord::INTEL;
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

fn preserve_tables(unit: Unit<'_>, root: &TablePage, raw: &mut RawHwSer) -> Result {
    ffi::preserve(root.phys())?;
    raw.intel.root_table = root.phys();

    if let Some(table) = unit.irq_table() {
        ffi::preserve(table.phys())?;
        raw.intel.irq_table = table.phys();
        raw.intel.irq_order = IRQ_TABLE_ORDER;
    }
    preserve_context_tables(root, raw)
}

/// Preserves the context tables that are not.
fn preserve_context_tables(root: &TablePage, raw: &mut RawHwSer) -> Result {
    for (half, phys) in context_tables(root) {
        let bits = &mut raw.intel.context_tables_bitmap[half / 64];
        let bit = 1 << (half % 64);

        if *bits & bit == 0 {
            ffi::preserve(phys)?;
            *bits |= bit;
        }
    }
    Ok(())
}

/// Unpreserves the tables of a unit that [`preserve_unit`] preserved.
pub(crate) fn unpreserve_unit(unit: Unit<'_>, raw: &RawHwSer) {
    let intel = &raw.intel;

    if let Some(kept) = unit.kept::<Kept>() {
        kept.preserved.store(false, Relaxed);
    }
    let Some(root) = unit.root() else {
        return;
    };

    for (half, phys) in context_tables(&root) {
        if intel.context_tables_bitmap[half / 64] & (1 << (half % 64)) != 0 {
            ffi::unpreserve(phys);
        }
    }
    for phys in [intel.irq_table, intel.root_table] {
        if phys != 0 {
            ffi::unpreserve(phys);
        }
    }
}

/// Preserves what a unit has of a device alone, which is attached to this domain.
pub(crate) fn preserve_device(
    pci: &pci::Device,
    device: &Device<'_>,
    raw_domain: &RawDomainSer,
) -> Result<RawDeviceSer> {
    // That is asked once for a unit.
    let is_known_not_to = |unit: Unit<'_>| {
        unit.kept::<Kept>()
            .is_some_and(|kept| kept.preserved.load(Relaxed))
    };
    let beside_reserved = device
        .unit()
        .is_none_or(|unit| !is_known_not_to(unit) && unit.has_reserved());

    plan::preserve(&device.traits(beside_reserved)).map_err(|refusal| match refusal {
        Refusal::NotAttached => EINVAL,
        Refusal::Unsupported(why) => {
            dev_warn_ratelimited!(pci, "its DMA cannot go on: {why}\n");
            EOPNOTSUPP
        }
    })?;

    let address = lu_pci::address(pci);
    let mut raw = RawDeviceSer::new_zeroed();

    raw.devid = address.bdf().into();
    raw.pci_domain_nr = address.domain();
    raw.map.attachment_id = device.did().into();
    if let Some((directory, max)) = device.pasids() {
        raw.intel.pasid_table = directory.phys();
        raw.intel.max_pasid = max.into();
    }

    // The next kernel looks at the same, and is not to be the first that does.
    check_device_now(device, &raw, raw_domain).map_err(|unusable| {
        if let Unusable::Memory(err) = unusable {
            return err;
        }
        dev_warn_ratelimited!(pci, "its DMA cannot go on: {unusable}\n");
        EOPNOTSUPP
    })?;
    device.try_domain(raw_domain).map_err(|err| {
        if err == ENOMEM {
            return err;
        }
        dev_warn_ratelimited!(
            pci,
            "its DMA cannot go on: its page table was made for an IOMMU with other abilities: allocate an HWPT for this device\n"
        );
        EOPNOTSUPP
    })?;

    // Of the PASID tables only the first one: no other PASID is in use.
    if let Some((directory, _)) = device.pasids() {
        let first = plan::pasid_table(directory.load(0)).ok_or(EINVAL)?;

        ffi::preserve(directory.phys())?;
        ffi::preserve(first).inspect_err(|_| ffi::unpreserve(directory.phys()))?;
    }
    Ok(raw)
}

/// Checks that a device has the entries now that are preserved of it.
fn check_device_now(
    device: &Device<'_>,
    raw_device: &RawDeviceSer,
    raw_domain: &RawDomainSer,
) -> Result<Checked, Unusable> {
    let unit = device.unit().ok_or(Mismatch::Absent)?;
    let root = unit.root().ok_or(Mismatch::Absent)?;

    check_device(
        unit,
        &root,
        raw_device,
        raw_domain,
        device.has_ats(),
        Tables::Own,
    )
}

/// Checks that a device still has the entries that are preserved of it, or says what is wrong.
///
/// # Errors
///
/// `EINVAL` if it has not, `ENOMEM` if memory is short.
pub(crate) fn check_preserved(
    device: &Device<'_>,
    raw_device: &RawDeviceSer,
    raw_domain: &RawDomainSer,
) -> Result {
    check_device_now(device, raw_device, raw_domain)
        .map(|_| ())
        .map_err(|unusable| lost(raw_device, unusable))
}

/// Says why a device has not what is preserved of it, and returns the error for that.
fn lost(raw: &RawDeviceSer, unusable: Unusable) -> Error {
    if kernel::liveupdate_may_log!() {
        pr_err!(
            "{}: lost the translation that was preserved: {unusable}\n",
            Named(raw)
        );
    }
    match unusable {
        Unusable::Memory(err) => err,
        _ => EINVAL,
    }
}

/// A device that a record is of, as it is called in the log.
struct Named<'a>(&'a RawDeviceSer);

impl fmt::Display for Named<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(raw) = self;

        write!(
            f,
            "{:04x}:{:02x}:{:02x}.{}",
            raw.pci_domain_nr,
            raw.devid >> 8,
            raw.devid >> 3 & 0x1f,
            raw.devid & 7
        )
    }
}

/// Unpreserves the PASID tables of a device that [`preserve_device`] preserved.
pub(crate) fn unpreserve_device(device: &Device<'_>) {
    if let Some((directory, _)) = device.pasids() {
        if let Some(first) = plan::pasid_table(directory.load(0)) {
            ffi::unpreserve(first);
        }
        ffi::unpreserve(directory.phys());
    }
}

/// Returns what is kept with a unit, from now on. A unit is adopted once, and so are the devices behind it:
/// memory that is short is waited for.
fn kept(unit: Unit<'_>) -> Result<Pin<&Kept>> {
    if unit.kept::<Kept>().is_none() {
        unit.keep(KBox::pin_init(Kept::new(), GFP_KERNEL | __GFP_NOFAIL)?);
    }
    unit.kept().ok_or(ENOMEM)
}

/// Has a device keep its entries when its unit is shut down.
///
/// Only one processor does this at a time.
pub(crate) fn keep_device(
    device: &Device<'_>,
    raw_device: &RawDeviceSer,
    raw_domain: &RawDomainSer,
    raw: &mut RawHwSer,
) -> Result {
    let unit = device.unit().ok_or(ENODEV)?;
    let root = unit.root().ok_or(ENODEV)?;
    let kept = kept(unit)?;

    // What the next kernel would not adopt is better not left to it.
    let checked = check_device_now(device, raw_device, raw_domain)
        .map_err(|unusable| lost(raw_device, unusable))?;

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

/// Leaves a unit to the next kernel, with what is kept of it. Returns whether it is.
///
/// Runs on the last processor, with interrupts off: neither sleeps nor allocates. Takes only locks
/// that are held with interrupts off, which no processor was stopped with.
pub(crate) fn shutdown(unit: Unit<'_>) -> bool {
    let Some(kept) = unit.kept::<Kept>() else {
        return false;
    };
    if kept.blocked.load(Relaxed) {
        return true;
    }
    let Some(root) = unit.root().filter(|_| kept.leaves.load(Relaxed)) else {
        return false;
    };

    clear(
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

/// Clears all entries but those to be kept, and what these lead to but for one PASID.
///
/// Returns whether there were some.
fn clear(
    unit: Unit<'_>,
    root: &TablePage,
    keeps_table: impl Fn(usize) -> bool,
    keeps_device: impl Fn(u16) -> bool,
) -> bool {
    let scalable = unit.is_scalable();
    let words = plan::context_words(scalable);
    let mut cleared = false;

    for (half, phys) in context_tables(root) {
        let Some(table) = TablePage::of_this_kernel(phys).filter(|_| keeps_table(half)) else {
            unit.clear(root, half, 1);
            cleared = true;
            continue;
        };

        for word in (0..WORDS).step_by(words) {
            let keeps = Place::bdf(half, word, scalable).is_some_and(&keeps_device);

            if keeps && scalable {
                cleared |= clear_pasids(unit, &table, word);
            } else if !keeps && (0..words).any(|offset| table.load(word + offset) != 0) {
                unit.clear(&table, word, words);
                cleared = true;
            }
        }
    }
    cleared
}

/// Clears all that a context entry in scalable mode leads to, but for the first PASID.
fn clear_pasids(unit: Unit<'_>, context: &TablePage, word: usize) -> bool {
    let low = context.load(word);
    let quiet = plan::without_page_requests(low);
    let mut cleared = quiet != low;

    if cleared {
        unit.write(context, word, &[quiet]);
    }

    for page in plan::directory_pages(low) {
        let Some(directory) = TablePage::of_this_kernel(page.phys) else {
            continue;
        };

        for index in 0..WORDS {
            let entry = directory.load(index);
            if entry == 0 {
                continue;
            }
            match plan::pasid_table(entry).and_then(TablePage::of_this_kernel) {
                Some(table) if page.is_first && index == 0 => {
                    for word in PASID_ENTRY_WORDS..WORDS {
                        if table.load(word) != 0 {
                            unit.clear(&table, word, 1);
                            cleared = true;
                        }
                    }
                }
                _ => {
                    unit.clear(&directory, index, 1);
                    cleared = true;
                }
            }
        }
    }
    cleared
}

/// Why a device is not adopted.
enum Unusable {
    Record(BadRecord),
    Entry(Mismatch),
    Memory(Error),
    Conflict,
}

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Record(bad) => fmt::Display::fmt(bad, f),
            Self::Entry(mismatch) => {
                f.write_str("its entry ")?;
                fmt::Display::fmt(mismatch, f)
            }
            Self::Memory(err) if *err == ENOMEM => f.write_str("memory is short"),
            Self::Memory(_) => f.write_str("its tables were not handed over"),
            Self::Conflict => f.write_str("another device has its place or its domain ID"),
        }
    }
}

impl From<BadRecord> for Unusable {
    fn from(bad: BadRecord) -> Self {
        Self::Record(bad)
    }
}

impl From<Mismatch> for Unusable {
    fn from(mismatch: Mismatch) -> Self {
        Self::Entry(mismatch)
    }
}

impl From<Error> for Unusable {
    fn from(err: Error) -> Self {
        Self::Memory(err)
    }
}

/// Adopts a unit that the previous kernel left translating, and returns whether it did.
///
/// What it has of devices that are not what they are said to be is cleared.
pub(crate) fn adopt(unit: Unit<'_>) -> bool {
    match ffi::unit_record(unit) {
        Ok((phys, raw)) => try_adopt(unit, phys, &raw).is_ok_and(|adopted| adopted),
        Err(_) => false,
    }
}

/// Returns whether a unit was adopted.
pub(crate) fn is_adopted(unit: Unit<'_>) -> bool {
    unit.kept::<Kept>()
        .is_some_and(|kept| kept.adopted.load(Relaxed))
}

fn try_adopt(unit: Unit<'_>, phys: u64, raw: &RawHwSer) -> Result<bool> {
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

    let kept = kept(unit)?;
    let root = TablePage::restore(record.root.phys(), 0).inspect_err(|_| {
        pr_err!("IOMMU at {token:#x} is not taken over: its root table was not handed over\n");
    })?;

    // From here on it is: what is wrong below is cleared.
    unit.adopt(&root);
    kept.adopted.store(true, Relaxed);
    let mut cleared = false;
    for (half, table) in context_tables(&root) {
        if !record.has_context_table(half) || TablePage::restore(table, 0).is_err() {
            pr_err!("IOMMU at {token:#x} loses a table at {half}, which was not handed over\n");
            unit.clear(&root, half, 1);
            cleared = true;
        }
    }

    // Asking for records takes locks that come before that of the devices.
    let mut adoption = Adoption::new(&kept.entries);
    adopt_devices(unit, phys, &root, &mut adoption);

    let is_adopted = |bdf| kept.entries.contains(bdf);
    if clear(unit, &root, |_| true, is_adopted) {
        pr_warn!("IOMMU at {token:#x} had entries that nobody takes over: cleared\n");
        cleared = true;
    }
    if cleared {
        unit.flush_all();
    }
    // One that runs on without would reach what its next domain maps, whoever sets that up.
    stop(unit, "its translation is not taken over", |device| {
        !is_adopted(lu_pci::address(device).bdf())
    });
    *kept.devices.lock() = adoption.devices;
    unit.set_contained();

    free_irq_table(unit, &record);
    Ok(true)
}

/// Frees the interrupt remapping table of the previous kernel, which the unit does not use any more.
fn free_irq_table(unit: Unit<'_>, record: &UnitRecord) {
    if let Some((table, order)) = record.irq_table {
        if unit.irq_root() != table.phys() {
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
    /// The tags that they use, each of which stands for one domain only.
    domains: RBTree<u16, DomainRecord>,
    /// The tags of these domains, each of which has one only.
    dids: RBTree<DomainRecord, u16>,
}

impl<'a> Adoption<'a> {
    fn new(entries: &'a Bdfs) -> Self {
        Self {
            devices: KVec::new(),
            entries,
            domains: RBTree::new(),
            dids: RBTree::new(),
        }
    }

    /// Returns whether a domain has a tag. If it has not, neither is used otherwise.
    fn has_tag(&self, domain: &DomainRecord, did: u16) -> Result<bool, Unusable> {
        match (self.domains.get(&did), self.dids.get(domain)) {
            (None, None) => Ok(false),
            (Some(other), Some(_)) if other == domain => Ok(true),
            _ => Err(Unusable::Conflict),
        }
    }

    /// Notes that a domain has a tag. If that fails nothing else has the tag any more.
    fn add_tag(&mut self, domain: DomainRecord, did: u16) -> Result {
        self.domains
            .try_create_and_insert(did, domain, GFP_KERNEL | __GFP_NOFAIL)?;
        self.dids
            .try_create_and_insert(domain, did, GFP_KERNEL | __GFP_NOFAIL)?;
        Ok(())
    }
}

/// Adopts the devices behind a unit.
fn adopt_devices(unit: Unit<'_>, phys: u64, root: &TablePage, adoption: &mut Adoption<'_>) {
    for (raw, raw_domain) in ffi::device_records(phys) {
        if let Err(unusable) = adopt_device(unit, root, &raw, &raw_domain, adoption) {
            pr_err!(
                "{}: translation is not taken over: {unusable}\n",
                Named(&raw)
            );
        }
    }
}

/// A device that has the entries that its record says.
struct Checked {
    record: DeviceRecord,
    attachment: Attachment,
    /// Other numbers under which it has entries of its own.
    aliases: KVec<u16>,
}

/// Checks that a device has the entries that its record says.
fn check_device(
    unit: Unit<'_>,
    root: &TablePage,
    raw: &RawDeviceSer,
    raw_domain: &RawDomainSer,
    ats: bool,
    tables: Tables,
) -> Result<Checked, Unusable> {
    let record = DeviceRecord::try_from(raw)?;
    let attachment = Attachment {
        domain: DomainRecord::try_from(raw_domain)?,
        did: record.did,
        ats,
    };
    let pasids = record.pasids.as_ref();
    let bdf = record.address.bdf();

    check_entries(unit, root, bdf, &attachment, pasids, tables)?;

    // In legacy mode, other numbers are not those of what may translate.
    let scalable = unit.is_scalable();
    let other = Attachment {
        ats: ats && scalable,
        ..attachment
    };
    let mut aliases = KVec::new();

    for alias in ffi::aliases_of(record.address, scalable)? {
        match check_entries(unit, root, alias, &other, pasids, tables) {
            Ok(()) => aliases
                .push(alias, GFP_KERNEL | __GFP_NOFAIL)
                .map_err(Error::from)?,
            // It is in the same IOMMU group, and has its own record, or is not to have an entry.
            Err(_) if is_device(record.address.domain(), alias) => (),
            Err(unusable) => return Err(unusable),
        }
    }
    Ok(Checked {
        record,
        attachment,
        aliases,
    })
}

/// Returns whether there is a device with this number.
fn is_device(domain: u32, bdf: u16) -> bool {
    RawAddress { domain, bdf }
        .try_into()
        .is_ok_and(|address| lu_pci::find(address).is_some())
}

fn adopt_device(
    unit: Unit<'_>,
    root: &TablePage,
    raw: &RawDeviceSer,
    raw_domain: &RawDomainSer,
    adoption: &mut Adoption<'_>,
) -> Result<(), Unusable> {
    let ats = ffi::went_on_with_ats(DeviceRecord::try_from(raw)?.address);
    let Checked {
        record,
        attachment,
        aliases,
    } = check_device(unit, root, raw, raw_domain, ats, Tables::HandedOver)?;
    let bdf = record.address.bdf();

    if record.address.domain() != u32::from(unit.segment()) {
        return Err(Unusable::Conflict);
    }

    let devices = &mut adoption.devices;
    let Err(index) = devices.binary_search_by_key(&bdf, |device| device.bdf) else {
        return Err(Unusable::Conflict);
    };

    devices
        .reserve(1, GFP_KERNEL | __GFP_NOFAIL)
        .map_err(Error::from)?;
    let has_tag = adoption.has_tag(&attachment.domain, attachment.did)?;

    if let Some(pasids) = &record.pasids {
        restore_pasids(pasids)?;
    }
    if !has_tag {
        unit.reserve_did(attachment.did)?;
        adoption
            .add_tag(attachment.domain, attachment.did)
            .inspect_err(|_| unit.give_back_did(attachment.did))?;
    }

    let devices = &mut adoption.devices;
    devices
        .push(
            Adopted {
                bdf,
                attachment,
                pasids: record.pasids,
                directory_taken: false,
                taken: false,
                tag: Tag::Reserved,
            },
            GFP_KERNEL,
        )
        .map_err(Error::from)?;
    devices[index..].rotate_right(1);

    adoption.entries.insert(bdf);
    for alias in aliases {
        adoption.entries.insert(alias);
    }
    Ok(())
}

/// Whose PASID tables are to be read.
#[derive(Clone, Copy)]
enum Tables {
    /// This kernel's.
    Own,
    /// The previous kernel's, if they are where it says. Nobody took them over yet.
    HandedOver,
}

impl Tables {
    /// Returns the first page of a table that is there.
    fn at(self, phys: u64, order: u32) -> Result<TablePage, Mismatch> {
        let is_there = match self {
            Self::Own => true,
            Self::HandedOver => kho::is_preserved(phys, order),
        };

        TablePage::of_this_kernel(phys)
            .filter(|_| is_there)
            .ok_or(Mismatch::Pointer)
    }
}

/// Checks the entries that lead from a device to a domain.
fn check_entries(
    unit: Unit<'_>,
    root: &TablePage,
    bdf: u16,
    attachment: &Attachment,
    pasids: Option<&PasidDirectory>,
    tables: Tables,
) -> Result<(), Unusable> {
    let place = Place::of(bdf, unit.is_scalable());
    let table = plan::context_table(root.load(place.half))
        .and_then(TablePage::of_this_kernel)
        .ok_or(Mismatch::Absent)?;

    if !unit.is_scalable() {
        return Ok(attachment.check_legacy(table.entry(place.word))?);
    }

    let pasids = pasids.ok_or(Mismatch::Directory)?;
    let mut entry = table.entry(place.word);

    // This kernel has it for devices that could request pages, and takes it away when it hands over.
    if let Tables::Own = tables {
        entry[0] = plan::without_page_requests(entry[0]);
    }
    plan::check_scalable(pasids, attachment.ats, entry)?;

    let directory = tables.at(pasids.table.phys(), pasids.order)?;
    let first = plan::pasid_table(directory.load(0)).ok_or(Mismatch::Absent)?;
    let first = tables.at(first, 0)?;

    Ok(attachment.check_pasid(first.entry(0))?)
}

/// Takes over a PASID directory, and its first table.
fn restore_pasids(pasids: &PasidDirectory) -> Result {
    let directory = TablePage::restore(pasids.table.phys(), pasids.order)?;
    let first = plan::pasid_table(directory.load(0)).ok_or(EINVAL)?;

    TablePage::restore(first, 0)?;
    Ok(())
}

/// Calls `f` with what was adopted of a device, if it was.
fn with_adopted<R>(device: &Device<'_>, f: impl FnOnce(&mut Adopted) -> R) -> Option<R> {
    let kept = device.unit()?.kept::<Kept>()?;
    let mut devices = kept.devices.lock();

    let index = devices
        .binary_search_by_key(&device.bdf(), |adopted| adopted.bdf)
        .ok()?;
    Some(f(&mut devices[index]))
}

/// Returns the PASID directory of a device, for its driver to have, once.
pub(crate) fn take_pasids(device: &Device<'_>) -> Option<PasidDirectory> {
    with_adopted(device, |adopted| {
        if adopted.directory_taken {
            return None;
        }
        adopted.directory_taken = true;
        adopted.pasids
    })?
}

/// Has the domain of a device take over the tag that the device uses, with `set_tag`, before the device
/// is attached to it.
///
/// # Errors
///
/// `ENODEV` if the device was not adopted, or was attached to something since; as `set_tag`.
pub(crate) fn restore_tag(
    device: &Device<'_>,
    set_tag: impl FnOnce(Unit<'_>, u16) -> Result,
) -> Result {
    let unit = device.unit().ok_or(ENODEV)?;

    with_adopted(device, |adopted| {
        if adopted.taken {
            return Err(ENODEV);
        }
        set_tag(unit, adopted.attachment.did)?;
        adopted.tag = Tag::Domains;
        Ok(())
    })
    .ok_or(ENODEV)?
}

/// Checks that a device is attached to a domain already, as it was handed over.
///
/// Returns nothing if it was not handed over, or something was done to it since.
pub(crate) fn attach(device: &Device<'_>, domain: &RawDomainSer, did: u16) -> Option<Result> {
    let unit = device.unit()?;
    let (attachment, pasids) = with_adopted(device, |adopted| {
        if core::mem::replace(&mut adopted.taken, true) {
            return None;
        }
        Some((adopted.attachment, adopted.pasids))
    })??;

    let check = || -> Result<(), Unusable> {
        let now = Attachment {
            domain: DomainRecord::try_from(domain)?,
            did,
            ats: device.has_ats(),
        };

        if !now.domain.is_same_as(&attachment.domain) || now.did != attachment.did {
            return Err(Mismatch::Pointer.into());
        }
        if now.ats != attachment.ats {
            return Err(Mismatch::of_ats(attachment.ats).into());
        }
        let root = unit.root().ok_or(Mismatch::Absent)?;

        check_entries(
            unit,
            &root,
            device.bdf(),
            &attachment,
            pasids.as_ref(),
            Tables::Own,
        )
    };

    Some(check().map_err(|unusable| {
        pr_err!("a device is not attached to the domain that was handed over: {unusable}\n");
        EINVAL
    }))
}

/// Clears the entries of a device, and forgets what was adopted for it.
pub(crate) fn give_up(device: &Device<'_>) {
    device.clear_entries();
    if let Some(unit) = device.unit() {
        forget(unit, device.bdf(), |_| ());
    }
}

/// Clears the entries of a device that this kernel did not find, and forgets what was adopted for it: the
/// unit walks none of its tables afterwards.
pub(crate) fn end_device(unit: Unit<'_>, bdf: u16) {
    forget(unit, bdf, |root| {
        let place = Place::of(bdf, unit.is_scalable());
        let table = plan::context_table(root.load(place.half)).and_then(TablePage::of_this_kernel);

        if let Some(table) = table {
            unit.clear(&table, place.word, place.words);
            unit.flush_all();
        }
    });
}

/// Forgets what was adopted for a device, after `clear` cleared its entries. Does nothing for others.
///
/// Its tag is given back if no other device uses that, and its PASID tables are freed if the driver has
/// not got them.
fn forget(unit: Unit<'_>, bdf: u16, clear: impl FnOnce(&TablePage)) {
    let (Some(kept), Some(root)) = (unit.kept::<Kept>(), unit.root()) else {
        return;
    };
    let mut devices = kept.devices.lock();
    let Ok(index) = devices.binary_search_by_key(&bdf, |adopted| adopted.bdf) else {
        return;
    };

    clear(&root);
    let adopted = &mut devices[index];
    adopted.taken = true;
    if !core::mem::replace(&mut adopted.directory_taken, true) {
        if let Some(pasids) = adopted.pasids {
            free_pasids(&pasids);
        }
    }

    if adopted.tag == Tag::Reserved {
        adopted.tag = Tag::GivenBack;
        give_back_unused(unit, &devices, devices[index].attachment.did);
    }
}

/// Gives back a tag, unless a device still uses it, or a domain has it.
fn give_back_unused(unit: Unit<'_>, devices: &[Adopted], did: u16) {
    let is_used = devices
        .iter()
        .any(|adopted| adopted.attachment.did == did && adopted.tag != Tag::GivenBack);

    if !is_used {
        unit.give_back_did(did);
    }
}

/// Frees a PASID directory that was taken over, and its first table, when no entry leads there.
fn free_pasids(pasids: &PasidDirectory) {
    let Some(directory) = TablePage::of_this_kernel(pasids.table.phys()) else {
        return;
    };

    if let Some(first) = plan::pasid_table(directory.load(0)).and_then(TablePage::of_this_kernel) {
        first.free();
    }
    directory.free();
}

/// Stops all devices that a unit keeps from memory, which is about to stop translating. Returns whether
/// it may.
///
/// It may not if the previous kernel let a device go on that this kernel did not find: nobody can stop
/// it. Then the unit goes on, and lets nothing through any more, for any device behind it, until the
/// machine is reset.
pub(crate) fn stop_devices(unit: Unit<'_>) -> bool {
    if !unit.must_stop() {
        return true;
    }

    stop(unit, "its IOMMU is not taken over", |_| true);
    let token = unit.token();
    let Ok((phys, raw)) = ffi::unit_record(unit) else {
        return true;
    };
    let is_there = |raw: &RawDeviceSer| {
        DeviceRecord::try_from(raw).is_ok_and(|record| lu_pci::find(record.address).is_some())
    };
    let may_stop = ffi::device_records(phys).all(|(device, _)| is_there(&device));

    if let Some(kept) = unit.kept::<Kept>() {
        give_back_all(unit, kept);
    }
    if !may_stop {
        pr_err!(
            "IOMMU at {token:#x} lets no DMA through any more: a device may do some that was not found, and cannot be stopped; reset the machine\n"
        );
        block(unit, &raw);
    }
    unit.set_contained();
    may_stop
}

/// Gives back the tags of all devices that were adopted: the unit is about to translate nothing.
fn give_back_all(unit: Unit<'_>, kept: Pin<&Kept>) {
    let mut devices = kept.devices.lock();

    kept.adopted.store(false, Relaxed);
    for index in 0..devices.len() {
        let adopted = &mut devices[index];

        adopted.taken = true;
        adopted.directory_taken = true;
        if adopted.tag == Tag::Reserved {
            adopted.tag = Tag::GivenBack;
            give_back_unused(unit, &devices, devices[index].attachment.did);
        }
    }
}

/// Has a unit that translates let nothing through, for good.
///
/// The tables that it does not walk any more stay where they are.
fn block(unit: Unit<'_>, raw: &RawHwSer) {
    // As long as nobody takes it over, it is reserved.
    let handed_over = UnitRecord::try_from(raw)
        .ok()
        .map(|record| record.root.phys())
        .filter(|root| kho::is_preserved(*root, 0))
        .and_then(TablePage::of_this_kernel);

    if let Some(root) = unit.root().or(handed_over) {
        unit.block(&root);
    }
    match kept(unit) {
        Ok(kept) => kept.blocked.store(true, Relaxed),
        Err(err) => pr_err!("a unit may not stay blocked in the next kernel: {err:?}\n"),
    }
}

/// Stops some devices behind a unit. Those that do DMA are named.
fn stop(unit: Unit<'_>, why: &str, is_meant: impl Fn(&pci::Device) -> bool) {
    unit.for_each_device(|device| {
        if is_meant(device) && lu_pci::stop_mastering(device) {
            dev_warn!(device, "stopped: it may do DMA, and {why}\n");
        }
    });
}

/// Has this kernel's interrupt remapping table drop what it does not know, without a word.
pub(crate) fn quieten_irqs(unit: Unit<'_>) {
    if let Some(table) = unit.irq_table() {
        unit.quieten(&table);
    }
}
