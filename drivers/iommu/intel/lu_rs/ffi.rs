// SPDX-License-Identifier: GPL-2.0

//! What this has of C: remapping units, devices behind them, and the memory of tables.

mod domain;

pub(crate) use self::domain::{
    describe,
    describe_uncounted,
    release_domain,
    restore_domain,
    set_did,
    HeldTag, //
};

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
        c_uint,
        c_void, //
    },
    liveupdate::{
        iommu::{
            self as lu_iommu,
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
            translates: self.has_status(bindings::DMA_GSTS_TES),
            root: self.read(bindings::DMAR_RTADDR_REG),
            scalable: self.is_scalable(),
            // SAFETY: By the type invariants. Does not change.
            cap: unsafe { (*raw).cap },
            // SAFETY: By the type invariants. Does not change.
            ecap: unsafe { (*raw).ecap },
        }
    }

    /// Returns the address of a register, one of those that each unit has.
    fn register(self, offset: u32) -> *mut c_void {
        // SAFETY: By the type invariants. Does not change.
        let reg = unsafe { (*self.as_raw()).reg };

        // CAST: lossless, this is for 64-bit kernels.
        reg.wrapping_byte_add(offset as usize)
    }

    /// Reads a register of 64 bits.
    fn read(self, offset: u32) -> u64 {
        // SAFETY: A register of the unit.
        unsafe { bindings::readq(self.register(offset)) }
    }

    /// Returns whether the global status register has a bit set.
    fn has_status(self, bit: u32) -> bool {
        // SAFETY: A register of the unit.
        let status = unsafe { bindings::readl(self.register(bindings::DMAR_GSTS_REG)) };

        status & bit != 0
    }

    /// Returns whether the unit has an extended capability: bits of the register.
    fn has(self, capability: u64) -> bool {
        // SAFETY: By the type invariants. Does not change.
        unsafe { (*self.as_raw()).ecap & capability != 0 }
    }

    /// Returns whether this kernel uses scalable mode.
    pub(crate) fn is_scalable(self) -> bool {
        // SAFETY: Set when the kernel boots, before units are looked at.
        let wanted = unsafe { bindings::intel_iommu_sm };

        wanted != 0 && self.has(ECAP_SMTS)
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
        // SAFETY: By the type invariants. Does not change once the unit is in use.
        #[cfg(CONFIG_IRQ_REMAP)]
        let table = unsafe { (*self.as_raw()).ir_table };
        #[cfg(not(CONFIG_IRQ_REMAP))]
        let table = ptr::null_mut::<bindings::ir_table>();

        // SAFETY: Null, or what the driver has of a table, which stays as long as the unit.
        let base = unsafe { table.as_ref() }?.base;

        // INVARIANT: As above.
        NonNull::new(base.cast()).map(IrqTable)
    }

    /// Returns where the unit has its interrupt remapping table.
    pub(crate) fn irq_root(self) -> u64 {
        self.read(bindings::DMAR_IRTA_REG) & !(u64::from(bindings::VTD_PAGE_SIZE) - 1)
    }

    /// Has the driver go on with the root table that the unit has.
    pub(crate) fn adopt(self, root: &TablePage) {
        // SAFETY: By the type invariants, at boot, when nobody else uses the unit.
        unsafe { (*self.as_raw()).root_entry = root.0.as_ptr().cast() };
        // SAFETY: As above.
        unsafe { (*self.as_raw()).flags &= !bindings::VTD_FLAG_TRANS_PRE_ENABLED };
    }

    /// Keeps a tag from being given to other domains.
    pub(crate) fn reserve_did(self, did: u16) -> Result {
        let did = did.into();

        // CAST: lossless, this is for 64-bit kernels.
        //
        // SAFETY: By the type invariants. Does not change.
        if u64::from(did) >= unsafe { (*self.as_raw()).max_domain_id } as u64 {
            return Err(EINVAL);
        }
        // SAFETY: By the type invariants. Allocators of IDs have a lock of their own.
        let id = unsafe { bindings::ida_alloc_range(self.ida(), did, did, bindings::GFP_KERNEL) };

        // What was allocated is positive.
        to_result(id)
    }

    /// Gives back a tag that was kept from other domains, and that no entry has any more.
    pub(crate) fn give_back_did(self, did: u16) {
        // SAFETY: By the type invariants, and it was allocated there.
        unsafe { bindings::ida_free(self.ida(), did.into()) };
    }

    fn ida(self) -> *mut bindings::ida {
        // SAFETY: By the type invariants.
        unsafe { &raw mut (*self.as_raw()).domain_ida }
    }

    /// Tells the core that what the unit has of devices can be taken away from now on, or was.
    pub(crate) fn set_contained(self) {
        // SAFETY: Accepts any numbers.
        unsafe { bindings::iommu_liveupdate_set_contained(UnitRecord::INTEL, self.token()) };
    }

    /// Has the unit, which translates with this root table, let nothing through, and report no faults.
    pub(crate) fn block(self, root: &TablePage) {
        self.clear(root, 0, WORDS);

        // SAFETY: By the type invariants.
        if unsafe { (*self.as_raw()).flush.flush_context }.is_none() {
            // SAFETY: By the type invariants, at boot, when nobody else uses the unit.
            unsafe { bindings::intel_iommu_init_qi(self.as_raw()) };
        }
        let control = self.register(bindings::DMAR_FECTL_REG);

        // SAFETY: A register of the unit.
        unsafe { bindings::writel(bindings::DMA_FECTL_IM, control) };
        self.flush_all();
        // It may be in another mode than it would be in here.
        if self.has(ECAP_SMTS) && !self.is_scalable() {
            self.flush_pasid_cache();
        }
    }

    /// Makes what was written to a part of a table visible to the unit. In any context.
    fn flush_cache(self, at: NonNull<u64>, words: usize) {
        // CAST: lossless, not more than a table.
        let size = (words * size_of::<u64>()) as c_uint;

        if !self.has(ECAP_COHERENT) {
            // SAFETY: The words are a part of a table.
            unsafe { bindings::clflush_cache_range(at.as_ptr().cast(), size) };
        }
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

    /// Has the unit forget all that it read of tables. In any context. Waits for the unit.
    pub(crate) fn flush_all(self) {
        let raw = self.as_raw();

        // SAFETY: By the type invariants.
        unsafe { bindings::iommu_flush_write_buffer(raw) };
        // SAFETY: By the type invariants. Set when the unit is set up, and not changed.
        if let Some(flush) = unsafe { (*raw).flush.flush_context } {
            // SAFETY: By the type invariants.
            unsafe { flush(raw, 0, 0, 0, bindings::DMA_CCMD_GLOBAL_INVL) };
        }
        if self.is_scalable() {
            self.flush_pasid_cache();
        }
        // SAFETY: By the type invariants. Set when the unit is set up, and not changed.
        if let Some(flush) = unsafe { (*raw).flush.flush_iotlb } {
            // SAFETY: By the type invariants.
            unsafe { flush(raw, 0, 0, 0, bindings::DMA_TLB_GLOBAL_FLUSH) };
        }
    }

    fn flush_pasid_cache(self) {
        // SAFETY: By the type invariants.
        unsafe {
            bindings::qi_flush_pasid_cache(self.as_raw(), 0, bindings::QI_PC_GLOBAL.into(), 0)
        };
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
        unsafe { bindings::qi_global_iec(self.as_raw()) };
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
    /// device may raise others meanwhile. In any context. What is left would be taken for a fault of the
    /// next kernel's.
    pub(crate) fn report_faults(self) {
        let raw = self.as_raw();

        // SAFETY: By the type invariants. Does not change once the unit is in use.
        let irq = unsafe { (*raw).irq };

        // CAST: lossless, numbers of interrupts are positive. What the driver's handler is for is a unit.
        //
        // SAFETY: By the type invariants.
        let _ = unsafe { bindings::dmar_fault(irq as c_int, raw.cast()) };
    }

    /// Has the unit write no page requests to memory. In any context.
    pub(crate) fn stop_page_requests(self) {
        if !self.has(ECAP_PRS) {
            return;
        }
        for queue in [
            bindings::DMAR_PQH_REG,
            bindings::DMAR_PQT_REG,
            bindings::DMAR_PQA_REG,
        ] {
            // SAFETY: A register that units with page requests have.
            unsafe { bindings::writeq(0, self.register(queue)) };
        }
    }

    /// Returns whether DMA would get through once the unit stops translating.
    pub(crate) fn must_stop(self) -> bool {
        // SAFETY: Has no requirements.
        let saves_memory_of_a_crashed_kernel = unsafe { bindings::is_kdump_kernel() };

        !saves_memory_of_a_crashed_kernel && self.has_status(bindings::DMA_GSTS_TES)
    }

    /// Returns whether firmware wants memory mapped for a device behind the unit.
    ///
    /// Looks at each PCI device there is.
    pub(crate) fn has_reserved(self) -> bool {
        let mut has_reserved = false;

        self.for_each_device(|pci| {
            // SAFETY: By the type invariants of `pci::Device`. Null, or there as long as the device.
            let iommu = unsafe { (*lu_pci::as_raw(pci)).dev.iommu };

            has_reserved |= !iommu.is_null()
                // SAFETY: As above. Does not change once the device was probed.
                && unsafe { bindings::dev_iommu::require_direct_raw(iommu) } != 0;
        });
        has_reserved
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
            let drhd = unsafe { bindings::dmar_find_matched_drhd_unit(pdev) };

            // SAFETY: Null, or what the driver has of a unit.
            if unsafe { drhd.as_ref() }.is_some_and(|drhd| drhd.iommu == self.as_raw()) {
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

/// Extended capabilities of units: the unit snoops caches, has page requests, and scalable mode.
///
/// VT-d specification, "Extended Capability Register": C, PRS and SMTS. `ecap_coherent()` and the like.
const ECAP_COHERENT: u64 = 1 << 0;
const ECAP_PRS: u64 = 1 << 29;
const ECAP_SMTS: u64 = 1 << 43;

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
        unsafe { lu_iommu::restored(page.0.as_ptr().cast(), false) };
        Ok(page)
    }

    /// Frees a table that was taken over, which nothing leads to any more.
    pub(crate) fn free(self) {
        // SAFETY: Callers took it over, and have no other reference.
        unsafe { bindings::iommu_free_pages(self.0.as_ptr().cast()) };
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
    // SAFETY: Null, or a unit. Units that translate do not go away.
    if let Some(unit) = unsafe { Unit::new(find(token)) } {
        f(unit);
    }
}

/// Returns the unit that is known by this token, or null.
fn find(token: u64) -> *mut bindings::intel_iommu {
    let lock = &raw mut bindings::dmar_global_lock;
    let units = &raw mut bindings::dmar_drhd_units;
    let mut found = ptr::null_mut::<bindings::intel_iommu>();

    // SAFETY: A semaphore that is always there.
    unsafe { bindings::down_read(lock) };
    // SAFETY: A list that is always there, which nobody changes while the lock is held.
    let mut link = unsafe { (*units).next };
    while found.is_null() && link != units {
        // SAFETY: An element of the list, which is a part of what the driver has of a unit.
        let iommu = unsafe { (*kernel::container_of!(link, bindings::dmar_drhd_unit, list)).iommu };

        // SAFETY: If it is not null, a unit. Does not change.
        if !iommu.is_null() && unsafe { (*iommu).reg_phys } == token {
            found = iommu;
        }
        // SAFETY: As above.
        link = unsafe { (*link).next };
    }
    // SAFETY: Just taken.
    unsafe { bindings::up_read(lock) };
    found
}

/// Returns what the driver has of a device.
///
/// # Safety
///
/// `dev` is a device that is behind a unit.
unsafe fn info_of(dev: *mut bindings::device) -> *mut bindings::device_domain_info {
    // SAFETY: By function requirement. Set before the device is known to be behind a unit.
    unsafe { (*(*dev).iommu).priv_ }.cast()
}

/// A device that is behind a unit.
///
/// # Invariants
///
/// The device `dev` is there for `'a`, and the rest is what the driver says of it.
pub(crate) struct Device<'a> {
    dev: *mut bindings::device,
    unit: Option<Unit<'a>>,
    bdf: u16,
    traits: Traits,
    has_ats: bool,
    did: u16,
    pasids: *mut bindings::pasid_table,
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
        type Info = bindings::device_domain_info;

        // SAFETY: By function requirement.
        let info = unsafe { info_of(dev) };
        // SAFETY: By function requirement. Units of devices that are there do not go away.
        let unit = unsafe { Unit::new((*info).iommu) };
        // SAFETY: By function requirement.
        let [bus, devfn] = unsafe { [(*info).bus, (*info).devfn] };
        // SAFETY: By function requirement.
        let now = unsafe { (*info).domain };
        // SAFETY: By function requirement.
        let handled_faults = unsafe { (*info).iopf_refcount };
        // SAFETY: By function requirement.
        let has_pri = unsafe { Info::pri_enabled_raw(info) } != 0;
        // SAFETY: By function requirement.
        let has_ats = unsafe { Info::ats_supported_raw(info) } != 0;
        // SAFETY: By function requirement.
        let has_ats_on = unsafe { Info::ats_enabled_raw(info) } != 0;
        // SAFETY: By function requirement.
        let is_pci = unsafe { bindings::dev_is_pci(dev) };
        // SAFETY: Devices on that bus are a part of a `pci_dev`. Not used of others.
        let pdev = unsafe { kernel::container_of!(dev, bindings::pci_dev, dev) };
        // SAFETY: It is one, by the first condition.
        let is_subdevice = is_pci && unsafe { bindings::pci_real_dma_dev(pdev) } != pdev;
        // A domain of the driver begins with what the core knows of it.
        let attached = !now.is_null() && ptr::eq(now.cast(), domain);
        let did = unit.filter(|_| attached).map(|unit| {
            // SAFETY: A domain has a tag for the units of devices that are attached to it.
            unsafe { domain::did(now, unit) }
        });

        // INVARIANT: As the driver has it.
        Self {
            dev,
            unit,
            bdf: u16::from_be_bytes([bus, devfn]),
            traits: Traits {
                attached,
                is_subdevice,
                has_ats_off: has_ats && !has_ats_on,
                has_faults: handled_faults != 0 || has_pri,
                remaps_interrupts: unit
                    .is_some_and(|unit| unit.has_status(bindings::DMA_GSTS_IRES)),
                beside_reserved: false,
            },
            has_ats,
            did: did.unwrap_or(0),
            // SAFETY: By function requirement.
            pasids: unsafe { (*info).pasid_table },
        }
    }

    /// Returns the unit.
    pub(crate) fn unit(&self) -> Option<Unit<'a>> {
        self.unit
    }

    /// Clears the entries of the device, whoever made them.
    pub(crate) fn clear_entries(&self) {
        // SAFETY: By the type invariants.
        let info = unsafe { info_of(self.dev) };

        // SAFETY: By the type invariants. Callers keep others from attaching the device.
        unsafe { bindings::device_domain_info::set_domain_attached_raw(info, 1) };
        // SAFETY: By the type invariants.
        unsafe { bindings::device_block_translation(self.dev) };
    }

    /// Returns its bus, device and function number.
    pub(crate) fn bdf(&self) -> u16 {
        self.bdf
    }

    /// Returns whether it may translate by itself.
    pub(crate) fn has_ats(&self) -> bool {
        self.has_ats
    }

    /// Checks that the next kernel can make a domain like this one for the device, whichever device it finds
    /// first of those that have it.
    ///
    /// # Errors
    ///
    /// `EINVAL` or `EOPNOTSUPP` if it cannot, `ENOMEM` if memory is short.
    pub(crate) fn try_domain(&self, raw: &RawDomainSer) -> Result {
        // SAFETY: By the type invariants.
        unsafe { restore_domain(self.dev, raw) }.map(drop)
    }

    /// Returns the tag of its translations.
    pub(crate) fn did(&self) -> u16 {
        self.did
    }

    /// Returns what matters when it is to be preserved.
    pub(crate) fn traits(&self, beside_reserved: bool) -> Traits {
        Traits {
            beside_reserved,
            ..self.traits
        }
    }

    /// Returns the PASID directory, and how many PASIDs it has room for.
    pub(crate) fn pasids(&self) -> Option<(TablePage, u32)> {
        // SAFETY: By the type invariants, null, or what the driver has of it.
        let pasids = unsafe { self.pasids.as_ref() }?;
        // INVARIANT: A directory is a page or more, and stays as long as the device.
        let table = NonNull::new(pasids.table.cast()).map(TablePage)?;

        Some((table, pasids.max_pasid))
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

static_assert!(PAGE_SIZE == WORDS * size_of::<u64>());
