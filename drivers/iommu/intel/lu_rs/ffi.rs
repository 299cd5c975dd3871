// SPDX-License-Identifier: GPL-2.0

//! What this has of C: remapping units, devices behind them, and the memory of tables.

use super::{
    entries::WORDS,
    plan::{
        Found,
        Traits, //
    },
};
use core::{
    marker::PhantomData,
    ptr::{
        self,
        NonNull, //
    },
};
use kernel::{
    bindings,
    error::to_result,
    ffi::{
        c_int,
        c_void, //
    },
    liveupdate::{
        iommu::{
            RawDeviceSer,
            RawDomainSer,
            RawHwSer,
            Unit as UnitRecord, //
        },
        pci::{
            self as lu_pci,
            Address, //
        },
    },
    page::PAGE_SIZE,
    pci,
    prelude::*,
    types::ForeignOwnable, //
};
use zerocopy::FromZeros;

/// A remapping unit.
///
/// # Invariants
///
/// Points to a unit, which is there for `'a`.
#[derive(Clone, Copy)]
pub(crate) struct Unit<'a> {
    iommu: NonNull<bindings::intel_iommu>,
    _unit: PhantomData<&'a ()>,
}

impl<'a> Unit<'a> {
    /// Makes one of what C code passed.
    ///
    /// # Safety
    ///
    /// `iommu` points to a unit, for `'a`.
    pub(crate) unsafe fn new(iommu: *mut bindings::intel_iommu) -> Option<Self> {
        // INVARIANT: By function requirement.
        Some(Self {
            iommu: NonNull::new(iommu)?,
            _unit: PhantomData,
        })
    }

    fn as_raw(self) -> *mut bindings::intel_iommu {
        self.iommu.as_ptr()
    }

    /// Returns what it is known by.
    pub(crate) fn token(self) -> u64 {
        // SAFETY: By the type invariants. Does not change.
        unsafe { (*self.as_raw()).reg_phys }
    }

    /// Returns its PCI domain.
    pub(crate) fn segment(self) -> u16 {
        // SAFETY: By the type invariants. Does not change.
        unsafe { (*self.as_raw()).segment }
    }

    /// Returns what is there.
    pub(crate) fn found(self) -> Found {
        let raw = self.as_raw();

        Found {
            // SAFETY: By the type invariants.
            translates: unsafe { bindings::intel_liveupdate_translates(raw) },
            // SAFETY: By the type invariants.
            root: unsafe { bindings::intel_liveupdate_root(raw) },
            scalable: self.is_scalable(),
            // SAFETY: By the type invariants. Does not change.
            cap: unsafe { (*raw).cap },
            // SAFETY: By the type invariants. Does not change.
            ecap: unsafe { (*raw).ecap },
        }
    }

    /// Returns whether this kernel uses scalable mode.
    pub(crate) fn is_scalable(self) -> bool {
        // SAFETY: By the type invariants.
        unsafe { bindings::intel_liveupdate_is_scalable(self.as_raw()) }
    }

    /// Returns the root table, if there is one.
    pub(crate) fn root(self) -> Option<TablePage> {
        // SAFETY: By the type invariants. Does not change once the unit is in use.
        let root = unsafe { (*self.as_raw()).root_entry };

        // INVARIANT: A root table is a page, and stays as long as the unit.
        NonNull::new(root.cast()).map(TablePage)
    }

    /// Returns where the interrupt remapping table of this kernel is, if there is one.
    pub(crate) fn irq_table(self) -> Option<IrqTable> {
        // SAFETY: By the type invariants.
        let table = unsafe { bindings::intel_liveupdate_irq_table(self.as_raw()) };

        // INVARIANT: Stays as long as the unit.
        NonNull::new(table.cast()).map(IrqTable)
    }

    /// Returns where the unit has its interrupt remapping table.
    pub(crate) fn irq_root(self) -> u64 {
        // SAFETY: By the type invariants.
        unsafe { bindings::intel_liveupdate_irq_root(self.as_raw()) }
    }

    /// Has the driver go on with the root table that the unit has.
    pub(crate) fn adopt(self, root: &TablePage) {
        // SAFETY: By the type invariants, at boot, when nobody else uses the unit.
        unsafe { bindings::intel_liveupdate_adopted(self.as_raw(), root.0.as_ptr().cast()) };
    }

    /// Keeps a tag from being given to other domains.
    pub(crate) fn reserve_did(self, did: u16) -> Result {
        // SAFETY: By the type invariants.
        to_result(unsafe { bindings::intel_liveupdate_reserve_did(self.as_raw(), did) })
    }

    /// Gives back a tag that was kept from other domains, and that no entry has any more.
    pub(crate) fn give_back_did(self, did: u16) {
        // SAFETY: By the type invariants.
        unsafe { bindings::intel_liveupdate_give_back_did(self.as_raw(), did) };
    }

    /// Tells the core that what the unit has of devices can be taken away from now on, or was.
    pub(crate) fn set_contained(self) {
        // SAFETY: Accepts any numbers.
        unsafe { bindings::iommu_liveupdate_set_contained(UnitRecord::INTEL, self.token()) };
    }

    /// Has the unit, which translates with this root table, let nothing through, and report no faults.
    pub(crate) fn block(self, root: &TablePage) {
        self.clear(root, 0, WORDS);
        // SAFETY: By the type invariants, at boot, when nobody else uses the unit.
        unsafe { bindings::intel_liveupdate_forget_entries(self.as_raw()) };
    }

    /// Makes what was written to a part of a table visible to the unit. In any context.
    fn flush_cache(self, at: NonNull<u64>, words: usize) {
        // CAST: lossless, not more than a table.
        let size = (words * size_of::<u64>()) as c_int;

        // SAFETY: By the type invariants; the words are a part of a table.
        unsafe { bindings::intel_liveupdate_flush_cache(self.as_raw(), at.as_ptr().cast(), size) };
    }

    /// Writes words of a table, the first one last. In any context.
    pub(crate) fn write(self, table: &TablePage, index: usize, words: &[u64]) {
        for (offset, word) in words.iter().enumerate().rev() {
            table.store(index + offset, *word);
        }
        self.flush_cache(table.at(index), words.len());
    }

    /// Clears words of a table, the first one first. In any context.
    pub(crate) fn clear(self, table: &TablePage, index: usize, words: usize) {
        for offset in 0..words {
            table.store(index + offset, 0);
        }
        self.flush_cache(table.at(index), words);
    }

    /// Has the unit forget all that it read of tables. In any context.
    pub(crate) fn flush_all(self) {
        // SAFETY: By the type invariants.
        unsafe { bindings::intel_liveupdate_flush_all(self.as_raw()) };
    }

    /// Lets nobody interrupt by way of the unit. In any context.
    ///
    /// Messages are dropped, and that is not reported.
    pub(crate) fn block_irqs(self) {
        let Some(table) = self.irq_table() else {
            return;
        };

        self.quieten(&table);
        // SAFETY: By the type invariants.
        unsafe { bindings::intel_liveupdate_flush_irtes(self.as_raw()) };
    }

    /// Has an interrupt remapping table drop all messages, and not report that.
    pub(crate) fn quieten(self, table: &IrqTable) {
        for page in table.pages() {
            for index in (0..WORDS).step_by(2) {
                // Not present first.
                page.store(index, QUIET_IRTE);
                page.store(index + 1, 0);
            }
            self.flush_cache(page.at(0), WORDS);
        }
    }

    /// Reports the faults that the unit recorded until now, as many as it has registers for at most: a
    /// device may raise others meanwhile. In any context.
    pub(crate) fn report_faults(self) {
        // SAFETY: By the type invariants.
        unsafe { bindings::intel_liveupdate_report_faults(self.as_raw()) };
    }

    /// Has the unit write no page requests to memory. In any context.
    pub(crate) fn stop_page_requests(self) {
        // SAFETY: By the type invariants.
        unsafe { bindings::intel_liveupdate_stop_page_requests(self.as_raw()) };
    }

    /// Returns whether DMA would get through once the unit stops translating.
    pub(crate) fn must_stop(self) -> bool {
        // SAFETY: By the type invariants.
        unsafe { bindings::intel_liveupdate_must_stop(self.as_raw()) }
    }

    /// Returns whether firmware wants memory mapped for a device behind the unit.
    ///
    /// Looks at each PCI device there is.
    pub(crate) fn has_reserved(self) -> bool {
        // SAFETY: By the type invariants.
        unsafe { bindings::intel_liveupdate_has_reserved(self.as_raw()) }
    }

    /// Calls `f` with each PCI device behind the unit.
    pub(crate) fn for_each_device(self, mut f: impl FnMut(&pci::Device)) {
        // CAST: lossless, the value of 32 bits that stands for any number.
        let any = bindings::PCI_ANY_ID as u32;
        let mut pdev = ptr::null_mut();

        loop {
            // SAFETY: Null, or a device that we hold, which is put.
            pdev = unsafe { bindings::pci_get_device(any, any, pdev) };
            if pdev.is_null() {
                break;
            }
            // SAFETY: `pdev` is a device that we hold.
            if unsafe { bindings::intel_liveupdate_iommu_of(pdev) } == self.as_raw() {
                // SAFETY: As above.
                f(unsafe { lu_pci::from_raw(pdev) });
            }
        }
    }

    /// Returns what is kept with the unit.
    pub(crate) fn kept<T: 'static>(self) -> Option<Pin<&'a T>> {
        // SAFETY: By the type invariants. Set while one processor runs this, or with a lock held.
        let kept = unsafe { (*self.as_raw()).liveupdate };

        // SAFETY: Null, or from `keep`, and never freed.
        (!kept.is_null()).then(|| unsafe { Pin::<KBox<T>>::borrow(kept.cast()) })
    }

    /// Keeps something with the unit, for good.
    pub(crate) fn keep<T: 'static>(self, kept: Pin<KBox<T>>) {
        // SAFETY: By the type invariants.
        unsafe { (*self.as_raw()).liveupdate = kept.into_foreign().cast() };
    }
}

/// An entry of an interrupt remapping table that is not present, with FPD: faults are not reported.
///
/// VT-d specification, "Interrupt Remapping Table Entry (IRTE) for Remapped Interrupts": bits 0 and
/// 1. `struct irte`.
const QUIET_IRTE: u64 = 1 << 1;

/// How many pages an interrupt remapping table has, as log2: 64 Ki entries of 16 bytes.
pub(crate) const IRQ_TABLE_ORDER: u32 = 8;

/// An interrupt remapping table of this kernel.
///
/// # Invariants
///
/// Points to `2^IRQ_TABLE_ORDER` pages, which stay.
pub(crate) struct IrqTable(NonNull<u64>);

impl IrqTable {
    fn pages(&self) -> impl Iterator<Item = TablePage> + '_ {
        (0..1usize << IRQ_TABLE_ORDER).map(|page| {
            // INVARIANT: By the type invariants, a page of the table.
            //
            // SAFETY: By the type invariants, within the table.
            TablePage(unsafe { self.0.add(page * WORDS) })
        })
    }

    /// Returns its physical address.
    pub(crate) fn phys(&self) -> u64 {
        // SAFETY: By the type invariants, in the direct map.
        unsafe { bindings::virt_to_phys(self.0.as_ptr().cast()) }
    }
}

/// A page of a table.
///
/// # Invariants
///
/// Points to [`WORDS`] words in the direct map that do not go away while this is used.
pub(crate) struct TablePage(NonNull<u64>);

impl TablePage {
    /// Returns the table at an address that a table of this kernel names.
    pub(crate) fn of_this_kernel(phys: u64) -> Option<Self> {
        // SAFETY: Arithmetic.
        let table = NonNull::new(unsafe { bindings::phys_to_virt(phys) }.cast())?;

        // INVARIANT: Tables name pages, which are freed with what they are of only.
        Some(Self(table))
    }

    /// Takes over a page of a block of `2^order` that was handed over.
    pub(crate) fn restore(phys: u64, order: u32) -> Result<Self> {
        // SAFETY: Accepts any address.
        if !unsafe { bindings::kho_is_preserved(phys, order) } {
            return Err(EINVAL);
        }
        // SAFETY: Accepts any memory, which this is, and restores it once.
        if unsafe { bindings::kho_restore_folio(phys) }.is_null() {
            return Err(EINVAL);
        }

        // INVARIANT: Ours, and never freed but by the driver, as if it had made it.
        let page = Self::of_this_kernel(phys).ok_or(EINVAL)?;

        // SAFETY: Just restored, as a folio that is ours.
        unsafe { bindings::iommu_liveupdate_restored(page.0.as_ptr().cast(), false) };
        Ok(page)
    }

    /// Frees a table that was taken over, which nothing leads to any more.
    pub(crate) fn free(self) {
        // SAFETY: Callers took it over, and have no other reference.
        unsafe { bindings::iommu_liveupdate_free_restored(self.0.as_ptr().cast()) };
    }

    fn at(&self, index: usize) -> NonNull<u64> {
        debug_assert!(index < WORDS);

        // SAFETY: By the type invariants; callers pass the index of a word.
        unsafe { self.0.add(index % WORDS) }
    }

    /// Reads a word.
    pub(crate) fn load(&self, index: usize) -> u64 {
        // SAFETY: By the type invariants. Volatile, for the unit may write to it.
        unsafe { self.at(index).read_volatile() }
    }

    /// Reads the words of an entry.
    pub(crate) fn entry<const N: usize>(&self, index: usize) -> [u64; N] {
        core::array::from_fn(|word| self.load(index + word))
    }

    fn store(&self, index: usize, value: u64) {
        // SAFETY: By the type invariants. Volatile, for the unit reads it at any time.
        unsafe { self.at(index).write_volatile(value) };
    }

    /// Returns its physical address.
    pub(crate) fn phys(&self) -> u64 {
        // SAFETY: By the type invariants, in the direct map.
        unsafe { bindings::virt_to_phys(self.0.as_ptr().cast()) }
    }
}

/// Returns the folio at an address of this kernel's memory.
fn folio(phys: u64) -> *mut bindings::folio {
    // SAFETY: Arithmetic.
    let virt = unsafe { bindings::phys_to_virt(phys) };

    // SAFETY: Callers pass tables, which are in the direct map.
    unsafe { bindings::virt_to_folio(virt) }
}

/// Preserves the memory of a table of this kernel.
pub(crate) fn preserve(phys: u64) -> Result {
    // SAFETY: The folio of a table, which does not move.
    to_result(unsafe { bindings::kho_preserve_folio(folio(phys)) })
}

/// Unpreserves the memory of a table that [`preserve`] preserved.
pub(crate) fn unpreserve(phys: u64) {
    // SAFETY: The folio of a table that was preserved.
    unsafe { bindings::kho_unpreserve_folio(folio(phys)) };
}

/// Calls `f` with the unit that is known by this token, if this kernel has it.
pub(crate) fn with_unit(token: u64, f: impl FnOnce(Unit<'_>)) {
    // SAFETY: Accepts any number.
    let iommu = unsafe { bindings::intel_liveupdate_find(token) };

    // SAFETY: Null, or a unit. Units that translate do not go away.
    if let Some(unit) = unsafe { Unit::new(iommu) } {
        f(unit);
    }
}

/// A device that is behind a unit.
///
/// # Invariants
///
/// `look` is what the driver says of the device `dev`, which is there for `'a`.
pub(crate) struct Device<'a> {
    dev: *mut bindings::device,
    look: bindings::intel_liveupdate_device,
    _device: PhantomData<&'a ()>,
}

impl<'a> Device<'a> {
    /// Looks at a device that C code passed, and at whether it is attached to a domain.
    ///
    /// # Safety
    ///
    /// `dev` is a PCI device that is behind a unit, for `'a`, and `domain` a domain or null.
    pub(crate) unsafe fn look_at(
        dev: *mut bindings::device,
        domain: *mut bindings::iommu_domain,
    ) -> Self {
        let mut look = pin_init::zeroed();

        // SAFETY: By function requirement.
        unsafe { bindings::intel_liveupdate_look_at(dev, domain, &mut look) };
        // INVARIANT: Just written.
        Self {
            dev,
            look,
            _device: PhantomData,
        }
    }

    /// Returns the unit.
    pub(crate) fn unit(&self) -> Option<Unit<'a>> {
        // SAFETY: By the type invariants. Units of devices that are there do not go away.
        unsafe { Unit::new(self.look.iommu) }
    }

    /// Clears the entries of the device, whoever made them.
    pub(crate) fn clear_entries(&self) {
        // SAFETY: By the type invariants.
        unsafe { bindings::intel_liveupdate_clear_entries(self.dev) };
    }

    /// Returns its bus, device and function number.
    pub(crate) fn bdf(&self) -> u16 {
        self.look.bdf
    }

    /// Returns whether it may translate by itself.
    pub(crate) fn has_ats(&self) -> bool {
        self.look.has_ats
    }

    /// Checks that the next kernel can make a domain like this one for the device, whichever device it finds
    /// first of those that have it.
    ///
    /// # Errors
    ///
    /// `EINVAL` or `EOPNOTSUPP` if it cannot, `ENOMEM` if memory is short.
    pub(crate) fn try_domain(&self, raw: &RawDomainSer) -> Result {
        // SAFETY: By the type invariants. `RawDomainSer` has the layout of the structure.
        to_result(unsafe {
            bindings::intel_liveupdate_try_domain(self.dev, ptr::from_ref(raw).cast())
        })
    }

    /// Returns the tag of its translations.
    pub(crate) fn did(&self) -> u16 {
        self.look.did
    }

    /// Returns what matters when it is to be preserved.
    pub(crate) fn traits(&self, beside_reserved: bool) -> Traits {
        Traits {
            attached: self.look.attached,
            is_subdevice: self.look.is_subdevice,
            has_ats_off: self.look.has_ats_off,
            has_faults: self.look.has_faults,
            remaps_interrupts: self.look.remaps_interrupts,
            beside_reserved,
        }
    }

    /// Returns the PASID directory, and how many PASIDs it has room for.
    pub(crate) fn pasids(&self) -> Option<(TablePage, u32)> {
        // INVARIANT: A directory is a page or more, and stays as long as the device.
        let table = NonNull::new(self.look.pasid_dir.cast()).map(TablePage)?;

        Some((table, self.look.max_pasid))
    }
}

/// Returns the numbers under which the driver has entries for the DMA of a device, but for its own.
///
/// In scalable mode it has none under the numbers of bridges above a device. If there is no device at
/// the address, there are none.
pub(crate) fn aliases_of(address: Address, scalable: bool) -> Result<KVec<u16>> {
    let Some(device) = lu_pci::find(address) else {
        return Ok(KVec::new());
    };
    let mut aliases = Aliases {
        device: &device,
        scalable,
        found: Ok(KVec::new()),
    };

    // SAFETY: It is a device. `visit` gets what it is for.
    unsafe {
        bindings::pci_for_each_dma_alias(
            lu_pci::as_raw(&device),
            Some(Aliases::visit),
            (&raw mut aliases).cast(),
        )
    };
    aliases.found
}

/// Returns whether the device at an address, if there is one, has ATS enabled since before it was handed
/// over.
pub(crate) fn went_on_with_ats(address: Address) -> bool {
    let Some(device) = lu_pci::find(address) else {
        return false;
    };

    // SAFETY: It is a device.
    unsafe { bindings::pci_ats_supported(lu_pci::as_raw(&device)) }
}

/// What [`aliases_of`] is at.
struct Aliases<'a> {
    device: &'a pci::Device,
    scalable: bool,
    found: Result<KVec<u16>>,
}

impl Aliases<'_> {
    /// Adds a number, which is that of `pdev`: the device, or a bridge above it.
    fn add(&mut self, pdev: *mut bindings::pci_dev, alias: u16) {
        let is_bridges = pdev != lu_pci::as_raw(self.device);

        if alias == lu_pci::address(self.device).bdf() || is_bridges && self.scalable {
            return;
        }
        if let Err(err) = self
            .found
            .as_mut()
            .map_or(Ok(()), |found| found.push(alias, GFP_KERNEL | __GFP_NOFAIL))
        {
            self.found = Err(err.into());
        }
    }

    /// Calls [`add`](Self::add).
    ///
    /// # Safety
    ///
    /// `aliases` points to one of these, which nobody else has.
    unsafe extern "C" fn visit(
        pdev: *mut bindings::pci_dev,
        alias: u16,
        aliases: *mut c_void,
    ) -> c_int {
        // SAFETY: By function requirement.
        unsafe { &mut *aliases.cast::<Self>() }.add(pdev, alias);
        0
    }
}

/// Returns what the previous kernel says of a unit, and what devices call it.
pub(crate) fn unit_record(unit: Unit<'_>) -> Result<(u64, RawHwSer)> {
    let mut phys = 0;
    let mut raw = RawHwSer::new_zeroed();

    // SAFETY: `RawHwSer` has the layout of the structure.
    to_result(unsafe {
        bindings::iommu_liveupdate_get_hw(
            UnitRecord::INTEL,
            unit.token(),
            &mut phys,
            (&raw mut raw).cast(),
        )
    })?;
    Ok((phys, raw))
}

/// Returns what the previous kernel says of each device, and its domain, behind the unit whose record
/// was at `phys`.
pub(crate) fn device_records(phys: u64) -> impl Iterator<Item = (RawDeviceSer, RawDomainSer)> {
    (0..).map_while(move |index| {
        let mut device = RawDeviceSer::new_zeroed();
        let mut domain = RawDomainSer::new_zeroed();

        // SAFETY: `RawDeviceSer` and `RawDomainSer` have the layouts of the structures.
        let ret = unsafe {
            bindings::iommu_liveupdate_get_device(
                phys,
                index,
                (&raw mut device).cast(),
                (&raw mut domain).cast(),
            )
        };
        (ret == 0).then_some((device, domain))
    })
}

/// Reads what is known of a domain now.
///
/// # Safety
///
/// `domain` is a domain of the driver.
pub(crate) unsafe fn describe(domain: *mut bindings::iommu_domain) -> Result<RawDomainSer> {
    let mut raw = RawDomainSer::new_zeroed();

    // SAFETY: By function requirement. `RawDomainSer` has the layout of the structure.
    to_result(unsafe {
        bindings::intel_liveupdate_describe_domain(domain, (&raw mut raw).cast())
    })?;
    // It is not counted.
    raw.nr_tables = 1;
    Ok(raw)
}

/// Keeps the tag that a domain has behind the unit of a device, until this is dropped or forgotten.
///
/// # Invariants
///
/// `domain` keeps its tag for the unit of `dev` once more than devices have it do so.
pub(crate) struct HeldTag {
    dev: *mut bindings::device,
    domain: *mut bindings::iommu_domain,
}

impl HeldTag {
    /// Has a domain keep its tag.
    ///
    /// # Errors
    ///
    /// `ENOMEM` if memory is short, `ENOSPC` if the domain has no tag for that unit, and there is none.
    ///
    /// # Safety
    ///
    /// `dev` is a PCI device that is behind a unit, and `domain` a domain of the driver, for as long as this
    /// exists, or until [`release`](Self::release).
    pub(crate) unsafe fn new(
        dev: *mut bindings::device,
        domain: *mut bindings::iommu_domain,
    ) -> Result<Self> {
        // SAFETY: By function requirement.
        to_result(unsafe { bindings::intel_liveupdate_hold_did(dev, domain) })?;

        // INVARIANT: Just held.
        Ok(Self { dev, domain })
    }

    /// Keeps the tag until somebody calls [`release`](Self::release).
    pub(crate) fn keep(self) {
        core::mem::forget(self);
    }

    /// Lets a domain give back a tag that was to be kept.
    ///
    /// # Safety
    ///
    /// [`keep`](Self::keep) was called for this device and this domain, and this was not since.
    pub(crate) unsafe fn release(dev: *mut bindings::device, domain: *mut bindings::iommu_domain) {
        // INVARIANT: By function requirement.
        drop(Self { dev, domain });
    }
}

impl Drop for HeldTag {
    fn drop(&mut self) {
        // SAFETY: By the type invariants.
        unsafe { bindings::intel_liveupdate_release_did(self.dev, self.domain) };
    }
}

/// Has a domain use a reserved tag when it is first attached behind a unit.
///
/// # Safety
///
/// `domain` is a domain of the driver.
pub(crate) unsafe fn set_did(
    domain: *mut bindings::iommu_domain,
    unit: Unit<'_>,
    did: u16,
) -> Result {
    // SAFETY: By function requirement, and the type invariants of `Unit`.
    to_result(unsafe { bindings::intel_liveupdate_set_did(domain, unit.as_raw(), did) })
}

static_assert!(PAGE_SIZE == WORDS * size_of::<u64>());
