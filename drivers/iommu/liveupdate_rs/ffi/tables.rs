// SPDX-License-Identifier: GPL-2.0

//! The tables of domains: preserved, taken over, counted and freed.
//!
//! `drivers/iommu/generic_pt` walks them, in any of its formats whose tables are pages.

use super::{
    super::entries::{
        DomainRecord,
        Features,
        Format,
        RawDomainSer,
        TableAddress,
        MAX_PHYS_LG2, //
    },
    Domain,
    DomainId,
    DyingDomain,
    HeldDomain,
    OwnedDomain, //
};
use core::{
    marker::PhantomData,
    ptr::NonNull, //
};
use kernel::{
    bindings,
    error::to_result,
    ffi::{
        c_int,
        c_long,
        c_void, //
    },
    prelude::*, //
};

/// A page of tables that the previous kernel handed over, and that nobody took over when it was asked for.
///
/// # Invariants
///
/// Is the address of memory in the direct map, which the previous kernel preserved as a page.
#[derive(Clone, Copy)]
pub(crate) struct IncomingTable(TableAddress);

impl IncomingTable {
    /// Returns the table at an address, if it was handed over and nobody took it over.
    pub(crate) fn at(address: TableAddress) -> Option<Self> {
        // SAFETY: `kho_is_preserved()` accepts any address.
        if !unsafe { bindings::kho_is_preserved(address.phys(), 0) } {
            return None;
        }
        // INVARIANT: What was preserved is memory.
        Some(Self(address))
    }

    fn as_ptr(self) -> *mut c_void {
        // SAFETY: Arithmetic.
        unsafe { bindings::phys_to_virt(self.0.phys()) }
    }
}

/// A table of a page table that is being walked.
///
/// # Invariants
///
/// Points to what an entry of the page table names, in the direct map. It is a table of this kernel unless
/// the page table was handed over.
struct Visited(NonNull<c_void>);

impl Visited {
    /// Takes the table over, if it was handed over and nobody did before.
    ///
    /// # Errors
    ///
    /// `EINVAL` if it was not handed over, or was taken over before.
    fn take_over(&self, incoherent: bool) -> Result {
        // SAFETY: Arithmetic.
        let start = unsafe { bindings::phys_to_virt(0) };
        // The address in the entry, whatever that was: `virt_to_phys()` is for memory.
        //
        // CAST: lossless, both have 64 bits.
        let phys = self.0.addr().get().wrapping_sub(start.addr()) as u64;

        take_over(phys.try_into().map_err(|_| EINVAL)?, 0, incoherent)
    }

    /// Returns the folio that the table is in.
    ///
    /// # Safety
    ///
    /// It is a table of this kernel.
    unsafe fn folio(&self) -> *mut bindings::folio {
        // SAFETY: By function requirement, in the direct map.
        unsafe { bindings::virt_to_folio(self.0.as_ptr()) }
    }

    /// Preserves the table.
    ///
    /// # Errors
    ///
    /// As `kho_preserve_folio()`.
    ///
    /// # Safety
    ///
    /// It is a table of this kernel.
    unsafe fn preserve(&self) -> Result {
        // SAFETY: By function requirement.
        let folio = unsafe { self.folio() };

        // SAFETY: Tables of this kernel are folios.
        to_result(unsafe { bindings::kho_preserve_folio(folio) })
    }

    /// Unpreserves the table.
    ///
    /// # Safety
    ///
    /// It is a table of this kernel, and is preserved.
    unsafe fn unpreserve(&self) {
        // SAFETY: By function requirement.
        let folio = unsafe { self.folio() };

        // SAFETY: By function requirement.
        unsafe { bindings::kho_unpreserve_folio(folio) };
    }
}

/// Takes over a block of `2^order` pages that the previous kernel preserved as a folio, if it did and
/// nobody took it over before: it is as if `iommu_alloc_pages_node_sz()` had made it, and `iommu_free_pages()`
/// can free it.
///
/// `incoherent` says that the IOMMU reads it past the caches.
///
/// # Errors
///
/// `EINVAL` if it was not handed over, or was taken over before.
pub(crate) fn take_over(address: TableAddress, order: u32, incoherent: bool) -> Result {
    let phys = address.phys();

    // SAFETY: Accepts any address.
    if !unsafe { bindings::kho_is_preserved(phys, order) } {
        return Err(EINVAL);
    }
    // SAFETY: Accepts any memory, which this is, and restores it once.
    let folio = unsafe { bindings::kho_restore_folio(phys) };
    if folio.is_null() {
        return Err(EINVAL);
    }

    // A folio of tables is one of these.
    let table = folio.cast::<bindings::ioptdesc>();
    // SAFETY: Just restored, and nobody else knows it.
    unsafe { (*table).__bindgen_anon_1.incoherent = incoherent.into() };
    // SAFETY: It is a folio.
    unsafe { count_pages(folio, 1 << order) };
    Ok(())
}

/// Counts pages of tables, or takes them off the count, as `iommu_alloc_pages_node_sz()` and
/// `iommu_free_pages()` do.
///
/// # Safety
///
/// `folio` is one, which says what memory the pages are counted for.
unsafe fn count_pages(folio: *mut bindings::folio, pages: isize) {
    // SAFETY: By function requirement.
    let node = unsafe { bindings::folio_pgdat(folio) };

    // CAST: lossless, both have the size of a pointer.
    let count = pages as c_long;
    // SAFETY: As above.
    unsafe { bindings::mod_node_page_state(node, bindings::node_stat_item_NR_IOMMU_PAGES, count) };
    // CAST: lossless for as many tables as there can be, and what C code does.
    let count = pages as c_int;
    // SAFETY: As above.
    unsafe {
        bindings::lruvec_stat_mod_folio(
            folio,
            bindings::node_stat_item_NR_SECONDARY_PAGETABLE,
            count,
        )
    };
}

/// A page table of `drivers/iommu/generic_pt`.
///
/// # Invariants
///
/// Points to an initialised page table for `'a`.
#[derive(Clone, Copy)]
struct PageTable<'a> {
    raw: NonNull<bindings::pt_iommu>,
    _domain: PhantomData<&'a ()>,
}

impl PageTable<'_> {
    fn ops(self) -> &'static bindings::pt_iommu_ops {
        // SAFETY: By the type invariants, there are operations, which are static.
        unsafe { &*(*self.raw.as_ptr()).ops }
    }

    /// Returns what the page table is like, and where it begins.
    fn info(self) -> Result<bindings::pt_iommu_info> {
        let mut info = bindings::pt_iommu_info::default();
        let get_info = self.ops().get_info.ok_or(EOPNOTSUPP)?;

        // SAFETY: By the type invariants.
        unsafe { get_info(self.raw.as_ptr(), &mut info) };
        Ok(info)
    }

    /// Calls `f` with each table before it is read, the first one first, until it fails. The order depends
    /// on the tables only.
    ///
    /// # Errors
    ///
    /// As `f`.
    ///
    /// # Safety
    ///
    /// Nobody else changes the page table meanwhile. `f` fails for what is no table, and for tables without
    /// end.
    unsafe fn for_each<F: FnMut(Visited) -> Result>(self, mut f: F) -> Result {
        let visit_tables = self.ops().visit_tables.ok_or(EOPNOTSUPP)?;

        // SAFETY: By the type invariants and function requirement. `visit` gets what it is for.
        to_result(unsafe { visit_tables(self.raw.as_ptr(), Some(visit::<F>), (&raw mut f).cast()) })
    }

    /// Unpreserves the first `count` tables, without stopping for a signal or a kexec.
    ///
    /// # Safety
    ///
    /// The tables are this kernel's, so many of them are preserved, and nobody else changes the page table
    /// meanwhile.
    unsafe fn unpreserve(self, count: u64) {
        let mut left = count;
        let unpreserve = |table: Visited| {
            let _ = pause();
            left = left.checked_sub(1).ok_or(ENOENT)?;
            // SAFETY: By function requirement.
            unsafe { table.unpreserve() };
            Ok(())
        };

        // SAFETY: By function requirement. It ends early when all that are preserved are not any more.
        let _ = unsafe { self.for_each(unpreserve) };
    }

    /// Makes all tables this kernel's, at most as many as given. This goes on to the end, whoever waits:
    /// what is half taken over is lost.
    ///
    /// # Errors
    ///
    /// `EINVAL` if a table was not handed over or was taken over before, `E2BIG` if there are more. Then some
    /// are this kernel's.
    ///
    /// # Safety
    ///
    /// Nobody else changes the page table meanwhile.
    unsafe fn adopt(self, most: u64, incoherent: bool) -> Result {
        let mut left = most;
        let take_over = |table: Visited| {
            let _ = pause();
            left = left.checked_sub(1).ok_or(E2BIG)?;
            table.take_over(incoherent)
        };

        // SAFETY: By function requirement. Each table is taken over once, if it is one.
        unsafe { self.for_each(take_over) }
    }

    /// Replaces the empty top table by one that was handed over.
    ///
    /// # Safety
    ///
    /// The page table maps nothing, nobody else has it, and its first table has the format and the level of
    /// the other one. Before anything else, the tables are taken over or forgotten.
    unsafe fn begin_with(self, top: IncomingTable) -> Result {
        let replace_top = self.ops().replace_top.ok_or(EOPNOTSUPP)?;

        // SAFETY: By function requirement.
        unsafe { replace_top(self.raw.as_ptr(), top.as_ptr()) };
        Ok(())
    }

    /// Has the page table begin with an empty table, and leaves those that it had where they are.
    ///
    /// # Safety
    ///
    /// Nobody else has the page table.
    unsafe fn forget_tables(self) {
        if let Some(forget_tables) = self.ops().forget_tables {
            // SAFETY: By function requirement.
            unsafe { forget_tables(self.raw.as_ptr()) };
        }
    }
}

/// Calls the function that `f` points to.
///
/// # Safety
///
/// `f` points to the function, which nobody else has. `table` is a table that is being walked.
unsafe extern "C" fn visit<F: FnMut(Visited) -> Result>(
    f: *mut c_void,
    table: *mut c_void,
) -> c_int {
    // SAFETY: By function requirement.
    let f = unsafe { &mut *f.cast::<F>() };
    let Some(table) = NonNull::new(table) else {
        return EINVAL.to_errno();
    };

    // INVARIANT: By function requirement.
    f(Visited(table)).map_or_else(Error::to_errno, |()| 0)
}

/// Lets others run.
///
/// # Errors
///
/// `EINTR` if whoever runs is about to be killed, `ERESTARTNOINTR` if a kexec has to go first.
fn pause() -> Result {
    // SAFETY: Has no requirements but that one may sleep, as all of this may.
    to_result(unsafe { bindings::liveupdate_pause() })
}

impl Domain {
    /// Returns the page table of the domain.
    ///
    /// # Errors
    ///
    /// `EOPNOTSUPP` if it is none of `drivers/iommu/generic_pt`.
    fn page_table(&self) -> Result<PageTable<'_>> {
        // SAFETY: By the type invariants. Does not change once the domain is there.
        if !unsafe { (*self.as_raw()).is_iommupt } {
            return Err(EOPNOTSUPP);
        }
        // INVARIANT: A domain with that bit begins an initialised page table.
        Ok(PageTable {
            raw: NonNull::new(self.as_raw().cast()).ok_or(EOPNOTSUPP)?,
            _domain: PhantomData,
        })
    }

    /// Fills in what a record says of the page table, but for its format and the number of tables.
    ///
    /// # Errors
    ///
    /// `EOPNOTSUPP` if it is none of `drivers/iommu/generic_pt`.
    pub(crate) fn describe_tables(&self, raw: &mut RawDomainSer) -> Result {
        let info = self.page_table()?.info()?;
        let is_incoherent =
            info.features & (1 << bindings::pt_features_PT_FEAT_DMA_INCOHERENT) != 0;

        raw.top_table_phys = info.top_paddr;
        raw.top_level = info.top_level.into();
        raw.vasz = info.max_vasz_lg2.into();
        if is_incoherent {
            raw.features |= Features::INCOHERENT;
        }
        Ok(())
    }

    /// Counts tables that were handed over, before they are this kernel's, or takes them off the count.
    pub(crate) fn count_tables(&self, tables: isize) {
        if let Ok(info) = self.page_table().and_then(PageTable::info) {
            // SAFETY: Arithmetic.
            let top = unsafe { bindings::phys_to_virt(info.top_paddr) };

            // SAFETY: The first table of a domain is memory.
            let folio = unsafe { bindings::virt_to_folio(top) };

            // SAFETY: As above.
            unsafe { count_pages(folio, tables) };
        }
    }
}

/// Tables of a domain that are preserved, as many as there are.
///
/// # Invariants
///
/// Each table of the domain is preserved, `count` is how many there are, and nobody changes what the domain
/// maps for as long as this exists.
#[must_use]
pub(crate) struct PreservedTables {
    domain: DomainId,
    count: u64,
}

impl PreservedTables {
    /// Returns how many tables are preserved.
    pub(crate) fn count(&self) -> u64 {
        self.count
    }
}

impl HeldDomain<'_> {
    /// Preserves all tables of the domain, or none.
    ///
    /// # Errors
    ///
    /// `EINTR` if whoever runs is about to be killed, `ERESTARTNOINTR` if a kexec has to go first, `ENOMEM`
    /// if memory is short, `EINVAL` if the tables were handed over and are not this kernel's.
    pub(crate) fn preserve_tables(self) -> Result<PreservedTables> {
        if !self.kept().is_none_or(|kept| kept.is_adopted()) {
            return Err(EINVAL);
        }

        let table = self.page_table()?;
        let mut count = 0;
        let preserve = |table: Visited| {
            pause()?;
            // SAFETY: As just asked, this kernel's.
            unsafe { table.preserve() }?;
            count += 1;
            Ok(())
        };

        // SAFETY: By the type invariants. This kernel's tables have an end.
        let result = unsafe { table.for_each(preserve) };
        if let Err(err) = result {
            // SAFETY: By the type invariants, the same tables in the same order.
            unsafe { table.unpreserve(count) };
            return Err(err);
        }

        // INVARIANT: Just preserved. As `HeldDomain::from_raw` requires, nobody changes the domain.
        Ok(PreservedTables {
            domain: self.id(),
            count,
        })
    }

    /// Unpreserves all tables of the domain. Those of another domain stay preserved, which the log says.
    pub(crate) fn unpreserve_tables(self, tables: PreservedTables) {
        if tables.domain != self.id() {
            pr_err!("tables of another domain are not unpreserved\n");
            return;
        }
        if let Ok(table) = self.page_table() {
            // SAFETY: By the type invariants of `tables`.
            unsafe { table.unpreserve(tables.count) };
        }
    }

    /// Makes all tables of a domain that was handed over this kernel's, at most as many as given.
    ///
    /// `incoherent` says that the IOMMU reads them past the caches.
    ///
    /// # Errors
    ///
    /// `EINVAL` if a table was not handed over or was taken over before, `E2BIG` if there are more. Then some
    /// are this kernel's.
    pub(crate) fn adopt_tables(self, most: u64, incoherent: bool) -> Result {
        // SAFETY: By the type invariants.
        unsafe { self.page_table()?.adopt(most, incoherent) }
    }
}

impl OwnedDomain {
    /// Has the domain begin with a table that was handed over, in place of an empty one.
    ///
    /// # Errors
    ///
    /// `EOPNOTSUPP` if its page table is none of `drivers/iommu/generic_pt`.
    ///
    /// # Safety
    ///
    /// The domain maps nothing, and nobody else has it. Before its tables are changed or freed, they are taken
    /// over or forgotten.
    pub(super) unsafe fn replace_top(&mut self, top: IncomingTable) -> Result {
        // SAFETY: By function requirement.
        unsafe { self.page_table()?.begin_with(top) }
    }
}

impl DyingDomain<'_> {
    /// Has the domain begin with an empty table, and leaves those that it had where they are: they are not
    /// this kernel's.
    pub(crate) fn forget_tables(&mut self) {
        if let Ok(table) = self.page_table() {
            // SAFETY: By the type invariants.
            unsafe { table.forget_tables() };
        }
    }
}

/// Frees tables that were handed over, that no IOMMU walks, and that no domain was made of.
///
/// # Errors
///
/// `EINVAL` if a table was not handed over or was taken over before, `E2BIG` if there are more than the
/// record says: then none is freed. Memory that is short is waited for.
pub(crate) fn free_tables(record: &DomainRecord) -> Result {
    let flags = GFP_KERNEL | __GFP_NOFAIL;
    let gfp = bindings::GFP_KERNEL | bindings::__GFP_NOFAIL;
    let common = bindings::pt_iommu_cfg {
        features: 1 << bindings::pt_features_PT_FEAT_FLUSH_RANGE,
        hw_max_vasz_lg2: record.width(),
        hw_max_oasz_lg2: MAX_PHYS_LG2,
    };
    let top_level = record.level().into();

    match record.format() {
        Format::SecondStage => {
            let mut table = KBox::new(bindings::pt_iommu_vtdss::default(), flags)?;
            let cfg = bindings::pt_iommu_vtdss_cfg { common, top_level };

            table.iommu.nid = bindings::NUMA_NO_NODE;
            // SAFETY: Both are of this format.
            to_result(unsafe { bindings::pt_iommu_vtdss_init(&mut *table, &cfg, gfp) })?;
            free_through(&mut table.iommu, record)
        }
        Format::FirstStage => {
            let mut table = KBox::new(bindings::pt_iommu_x86_64::default(), flags)?;
            let mut cfg = bindings::pt_iommu_x86_64_cfg { common, top_level };

            cfg.common.features |= 1 << bindings::pt_features_PT_FEAT_SIGN_EXTEND;
            table.iommu.nid = bindings::NUMA_NO_NODE;
            // SAFETY: Both are of this format.
            to_result(unsafe { bindings::pt_iommu_x86_64_init(&mut *table, &cfg, gfp) })?;
            free_through(&mut table.iommu, record)
        }
    }
}

/// Frees tables that were handed over by way of a page table that is new, and which is gone then.
fn free_through(raw: &mut bindings::pt_iommu, record: &DomainRecord) -> Result {
    // INVARIANT: Just initialised, and nobody else has it.
    let table = PageTable {
        raw: raw.into(),
        _domain: PhantomData,
    };
    let result = IncomingTable::at(record.top())
        .ok_or(EINVAL)
        .and_then(|top| {
            // SAFETY: Just initialised for tables as the record has it.
            unsafe { table.begin_with(top) }?;
            // SAFETY: Nobody else has it.
            unsafe { table.adopt(record.tables().get(), false) }.inspect_err(|_| {
                // SAFETY: Nobody else has it.
                unsafe { table.forget_tables() };
            })
        });

    if let Some(deinit) = table.ops().deinit {
        // SAFETY: The page table is not used any more, and its tables are this kernel's.
        unsafe { deinit(table.raw.as_ptr()) };
    }
    result
}

#[cfg(CONFIG_IOMMU_LIVEUPDATE_KUNIT_TEST)]
mod tests;
