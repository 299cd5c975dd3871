// SPDX-License-Identifier: GPL-2.0

//! Remapping units.

use super::{
    super::{
        super::ffi::{
            Device,
            Domain, //
        },
        bits::WORDS,
        kept::Kept,
        plan::{
            self,
            Found, //
        },
    },
    tables::incoming,
    Directory,
    HeldDid,
    IrqTable,
    RootTable,
    TablePage, //
};
use core::{
    ops::Deref,
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
    liveupdate::pci as lu_pci,
    pci,
    prelude::*,
    sync::atomic::{
        Acquire,
        Atomic,
        Full, //
    },
    types::{
        ForeignOwnable,
        Opaque, //
    },
};

/// A remapping unit.
///
/// # Invariants
///
/// Is what the driver has of a unit, for as long as it is borrowed. What is kept with it is a [`Kept`], or
/// nothing, and stays.
#[repr(transparent)]
pub(crate) struct Unit(Opaque<bindings::intel_iommu>);

impl Unit {
    /// Borrows a unit that C code passed, unless it is null.
    ///
    /// # Safety
    ///
    /// `iommu` is null, or points to what the driver has of a unit, for `'a`.
    pub(crate) unsafe fn from_raw<'a>(iommu: *mut bindings::intel_iommu) -> Option<&'a Self> {
        // INVARIANT: By function requirement. Nobody else keeps anything with units.
        //
        // SAFETY: By function requirement. The type is transparent.
        unsafe { iommu.cast::<Self>().as_ref() }
    }

    /// Returns the unit as C knows it.
    pub(crate) fn as_raw(&self) -> *mut bindings::intel_iommu {
        self.0.get()
    }

    /// Returns what it is known by.
    pub(crate) fn token(&self) -> u64 {
        // SAFETY: By the type invariants. Does not change.
        unsafe { (*self.as_raw()).reg_phys }
    }

    /// Returns its PCI domain.
    pub(crate) fn segment(&self) -> u16 {
        // SAFETY: By the type invariants. Does not change.
        unsafe { (*self.as_raw()).segment }
    }

    /// Reads the registers and the mode that `plan::refuse_unit()` compares with the
    /// record.
    pub(crate) fn found(&self) -> Found {
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
    fn register(&self, offset: u32) -> *mut c_void {
        // SAFETY: By the type invariants. Does not change.
        let reg = unsafe { (*self.as_raw()).reg };

        // CAST: lossless, this is for 64-bit kernels.
        reg.wrapping_byte_add(offset as usize)
    }

    /// Reads a register of 64 bits.
    fn read(&self, offset: u32) -> u64 {
        // SAFETY: A register of the unit.
        unsafe { bindings::readq(self.register(offset)) }
    }

    /// Returns whether the global status register has a bit set.
    fn has_status(&self, bit: u32) -> bool {
        // SAFETY: A register of the unit.
        let status = unsafe { bindings::readl(self.register(bindings::DMAR_GSTS_REG)) };

        status & bit != 0
    }

    /// Returns whether the unit remaps interrupts.
    pub(crate) fn remaps_interrupts(&self) -> bool {
        self.has_status(bindings::DMA_GSTS_IRES)
    }

    /// Returns whether the unit has an extended capability: bits of the register.
    fn has(&self, capability: u64) -> bool {
        // SAFETY: By the type invariants. Does not change.
        unsafe { (*self.as_raw()).ecap & capability != 0 }
    }

    /// Returns whether this kernel uses scalable mode.
    pub(crate) fn is_scalable(&self) -> bool {
        // SAFETY: Set when the kernel boots, before units are looked at.
        let wanted = unsafe { bindings::intel_iommu_sm };

        wanted != 0 && self.has(ECAP_SMTS)
    }

    /// Returns the root table, if there is one.
    pub(crate) fn root(&self) -> Option<RootTable<'_>> {
        // SAFETY: By the type invariants. Does not change once the unit is in use.
        let root = unsafe { (*self.as_raw()).root_entry };

        // SAFETY: The root table of a unit is a page, and stays as long as the unit.
        NonNull::new(root.cast()).map(|root| unsafe { RootTable::new(root) })
    }

    /// Returns the interrupt remapping table of this kernel, if there is one.
    pub(crate) fn irq_table(&self) -> Option<IrqTable<'_>> {
        // SAFETY: By the type invariants. Does not change once the unit is in use.
        #[cfg(CONFIG_IRQ_REMAP)]
        let table = unsafe { (*self.as_raw()).ir_table };
        #[cfg(not(CONFIG_IRQ_REMAP))]
        let table = ptr::null_mut::<bindings::ir_table>();

        // SAFETY: Null, or what the driver has of a table, which stays as long as the unit.
        let base = unsafe { table.as_ref() }?.base;

        // SAFETY: As above.
        NonNull::new(base.cast()).map(|base| unsafe { IrqTable::new(base) })
    }

    /// Returns where the unit has its interrupt remapping table.
    pub(crate) fn irq_root(&self) -> u64 {
        self.read(bindings::DMAR_IRTA_REG) & !(u64::from(bindings::VTD_PAGE_SIZE) - 1)
    }

    /// Keeps a domain ID from being given to other domains.
    ///
    /// # Errors
    ///
    /// `EINVAL` if the unit has no such ID, `ENOSPC` if it is in use, `ENOMEM` if memory is short.
    pub(crate) fn reserve_did(&self, did: u16) -> Result {
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

    /// Gives back a domain ID that was kept from other domains, and that no entry has any more.
    pub(crate) fn give_back_did(&self, did: u16) {
        // SAFETY: By the type invariants. Accepts any ID, and warns of one that was not allocated.
        unsafe { bindings::ida_free(self.ida(), did.into()) };
    }

    fn ida(&self) -> *mut bindings::ida {
        // SAFETY: By the type invariants.
        unsafe { &raw mut (*self.as_raw()).domain_ida }
    }

    /// Makes what was written to words of a table visible to the unit, not more than are left from `index` on.
    /// In any context.
    fn flush_cache(&self, table: &TablePage<'_>, index: usize, words: usize) {
        let index = index % WORDS;
        // CAST: lossless, not more than a table.
        let size = (words.min(WORDS - index) * size_of::<u64>()) as c_uint;

        if !self.has(ECAP_COHERENT) {
            // SAFETY: The words are a part of the table.
            unsafe { bindings::clflush_cache_range(table.word(index).as_ptr().cast(), size) };
        }
    }

    /// Keeps a device from requesting pages: `word` is where its context entry begins, in scalable mode. In any
    /// context.
    pub(crate) fn end_page_requests(&self, context: &TablePage<'_>, word: usize) {
        let low = context.load(word);
        let quiet = plan::without_page_requests(low);

        if quiet != low {
            // SAFETY: It names what it named before.
            unsafe { context.store(word, quiet) };
            self.flush_cache(context, word, 1);
        }
    }

    /// Clears words of a table, the first one first. In any context.
    pub(crate) fn clear(&self, table: &TablePage<'_>, index: usize, words: usize) {
        for offset in 0..words {
            // SAFETY: An entry that is not present names nothing.
            unsafe { table.store(index + offset, 0) };
        }
        self.flush_cache(table, index, words);
    }

    /// Has the unit forget all that it read of tables. In any context. Waits for the unit.
    pub(crate) fn flush_all(&self) {
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

    fn flush_pasid_cache(&self) {
        // SAFETY: By the type invariants.
        unsafe {
            bindings::qi_flush_pasid_cache(self.as_raw(), 0, bindings::QI_PC_GLOBAL.into(), 0)
        };
    }

    /// Makes all IRTEs not present, with FPD set, and flushes the interrupt entry cache.
    ///
    /// Messages are dropped, and that is not reported.
    pub(crate) fn block_irqs(&self) {
        let Some(table) = self.irq_table() else {
            return;
        };

        self.quieten(&table);
        // SAFETY: By the type invariants.
        unsafe { bindings::qi_global_iec(self.as_raw()) };
    }

    /// Has an interrupt remapping table drop all messages, and not report that.
    pub(crate) fn quieten(&self, table: &IrqTable<'_>) {
        for page in table.pages() {
            for index in (0..WORDS).step_by(2) {
                // Not present first.
                //
                // SAFETY: An entry that is not present names nothing.
                unsafe { page.store(index, QUIET_IRTE) };
                // SAFETY: As above.
                unsafe { page.store(index + 1, 0) };
            }
            self.flush_cache(&page, 0, WORDS);
        }
    }

    /// Reports the faults that the unit recorded until now, as many as it has registers for at most: a
    /// device may raise others meanwhile. In any context. What is left would be taken for a fault of the
    /// next kernel's.
    pub(crate) fn report_faults(&self) {
        let raw = self.as_raw();

        // SAFETY: By the type invariants. Does not change once the unit is in use.
        let irq = unsafe { (*raw).irq };

        // CAST: lossless, numbers of interrupts are positive. What the driver's handler is for is a unit.
        //
        // SAFETY: By the type invariants.
        let _ = unsafe { bindings::dmar_fault(irq as c_int, raw.cast()) };
    }

    /// Has the unit write no page requests to memory. In any context.
    pub(crate) fn stop_page_requests(&self) {
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
    pub(crate) fn must_stop(&self) -> bool {
        // SAFETY: Has no requirements.
        let saves_memory_of_a_crashed_kernel = unsafe { bindings::is_kdump_kernel() };

        !saves_memory_of_a_crashed_kernel && self.has_status(bindings::DMA_GSTS_TES)
    }

    /// Returns whether firmware wants memory mapped for a device behind the unit.
    ///
    /// Looks at each PCI device there is.
    pub(crate) fn has_reserved(&self) -> bool {
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
    pub(crate) fn for_each_device(&self, mut f: impl FnMut(&pci::Device)) {
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

    /// Returns the PASID directory that a context entry of the unit names in scalable mode, if it names one. The
    /// entry begins at a word of the context table that a half of a root entry names.
    pub(crate) fn directory(&self, half: usize, word: usize) -> Option<Directory<'_>> {
        if !self.is_scalable() || word % plan::context_words(true) != 0 {
            return None;
        }
        // SAFETY: As just asked.
        unsafe { self.root()?.directory(half, word) }
    }

    /// Has a domain keep its ID for this unit until [`release_did`](Self::release_did) is called for a device.
    ///
    /// # Errors
    ///
    /// `EINVAL` if the ID is held for another unit, `ENODEV` if nothing is kept with this one, `ENOMEM` if
    /// memory is short.
    pub(crate) fn hold_did(&self, device: &Device, held: HeldDid<'_>) -> Result {
        if !ptr::eq(held.unit(), self) {
            return Err(EINVAL);
        }
        self.kept().ok_or(ENODEV)?.dids.add(device, held)
    }

    /// Has a domain give back the ID that it kept for a device. Nothing happens unless it did.
    pub(crate) fn release_did(&self, device: &Device, domain: &Domain) {
        if let Some(kept) = self.kept() {
            kept.dids.release(device, domain, self);
        }
    }

    /// Returns where C code has the pointer to what is kept with the unit.
    fn kept_place(&self) -> &Atomic<*mut c_void> {
        // SAFETY: By the type invariants, there for as long as this is borrowed. C code does not change it.
        unsafe { Atomic::from_ptr(&raw mut (*self.as_raw()).liveupdate) }
    }

    /// Returns what is kept with the unit, if anything is.
    pub(crate) fn kept(&self) -> Option<Pin<&Kept>> {
        let kept = self.kept_place().load(Acquire);

        // SAFETY: By the type invariants, null, or from `keep`, and never freed.
        (!kept.is_null()).then(|| unsafe { Pin::<KBox<Kept>>::borrow(kept) })
    }

    /// Keeps something with the unit, for good, unless something is kept with it.
    pub(crate) fn keep(&self, kept: Pin<KBox<Kept>>) {
        let kept = kept.into_foreign();

        if self
            .kept_place()
            .cmpxchg(ptr::null_mut(), kept, Full)
            .is_err()
        {
            // SAFETY: From just now, and nobody else has it.
            drop(unsafe { Pin::<KBox<Kept>>::from_foreign(kept) });
        }
    }
}

/// A unit that is being set up, or that could not be.
///
/// # Invariants
///
/// Nobody else uses the unit for as long as this exists.
#[derive(Clone, Copy)]
pub(crate) struct BootUnit<'a>(&'a Unit);

impl BootUnit<'_> {
    /// Borrows a unit that C code passed, unless it is null.
    ///
    /// # Safety
    ///
    /// As [`Unit::from_raw`], and nobody else uses the unit for as long as the result exists.
    pub(crate) unsafe fn from_raw(iommu: *mut bindings::intel_iommu) -> Option<Self> {
        // INVARIANT: By function requirement.
        //
        // SAFETY: By function requirement.
        unsafe { Unit::from_raw(iommu) }.map(Self)
    }

    /// Has the driver go on with the root table that the unit has, which is this kernel's from now on.
    pub(super) fn adopt(self, root: &RootTable<'static>) {
        // SAFETY: By the type invariants, nobody else uses the unit.
        unsafe { (*self.as_raw()).root_entry = root.page().word(0).as_ptr().cast() };
        // SAFETY: By the type invariants, nobody else uses the unit.
        unsafe { (*self.as_raw()).flags &= !bindings::VTD_FLAG_TRANS_PRE_ENABLED };
    }

    /// Has the unit, which translates, let nothing through, and report no faults.
    ///
    /// # Errors
    ///
    /// `EINVAL` if its root table is neither this kernel's nor one that was handed over. Then nothing changes.
    pub(crate) fn block(self) -> Result {
        if let Some(root) = self.root() {
            self.clear(root.page(), 0, WORDS);
        } else {
            let address = plan::root_table(&self.found()).map_err(|_| EINVAL)?;

            // As long as nobody takes it over, it is reserved.
            self.clear(&incoming(address, 0).ok_or(EINVAL)?, 0, WORDS);
        }

        // SAFETY: By the type invariants.
        if unsafe { (*self.as_raw()).flush.flush_context }.is_none() {
            // SAFETY: By the type invariants, nobody else uses the unit.
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
        Ok(())
    }
}

impl Deref for BootUnit<'_> {
    type Target = Unit;

    fn deref(&self) -> &Unit {
        self.0
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

/// Calls `f` with the unit that is known by this token, if this kernel has it.
pub(crate) fn with_unit(token: u64, f: impl FnOnce(&Unit)) {
    // SAFETY: Null, or a unit. Units that translate do not go away.
    if let Some(unit) = unsafe { Unit::from_raw(find(token)) } {
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
