// SPDX-License-Identifier: GPL-2.0

//! Preserves the tables of a page table, and says what that costs beside doing so from a list.

use super::*;
use kernel::{
    kunit,
    liveupdate::kho::{
        Folio,
        Preserved, //
    },
    page::PAGE_SIZE,
    time::{
        Delta,
        Instant,
        Monotonic, //
    },
};

/// How many tables there are: one of level 2, one of level 1, and all of level 0 that the latter can
/// name.
const TABLES: usize = 2 + 512;

/// How many bytes a table of level 0 can map, as log2.
const LEVEL_0_LG2: u32 = 9 + 12;

/// A page table of the second stage that has [`TABLES`] tables.
struct Example(KBox<bindings::pt_iommu_vtdss>);

impl Example {
    fn new() -> Result<Self> {
        let cfg = bindings::pt_iommu_vtdss_cfg {
            common: bindings::pt_iommu_cfg {
                features: 1 << bindings::pt_features_PT_FEAT_FLUSH_RANGE,
                hw_max_vasz_lg2: 39,
                hw_max_oasz_lg2: MAX_PHYS_LG2,
            },
            top_level: 2,
        };
        let mut table = KBox::new(bindings::pt_iommu_vtdss::default(), GFP_KERNEL)?;

        table.iommu.nid = bindings::NUMA_NO_NODE;
        // SAFETY: Both are of this format.
        to_result(unsafe {
            bindings::pt_iommu_vtdss_init(&mut *table, &cfg, bindings::GFP_KERNEL)
        })?;

        let mut this = Self(table);
        for number in 0..512u64 {
            this.map(number << LEVEL_0_LG2)?;
        }
        Ok(this)
    }

    /// Maps a page at an address to itself.
    fn map(&mut self, iova: u64) -> Result {
        let map_range = self.table().ops().map_range.ok_or(EINVAL)?;
        let mut mapped = 0;

        // SAFETY: An initialised page table that nobody else has. Nothing does DMA with it.
        to_result(unsafe {
            map_range(
                &mut self.0.iommu,
                iova,
                iova,
                // CAST: lossless, a small number.
                PAGE_SIZE as u64,
                bindings::IOMMU_READ,
                bindings::GFP_KERNEL,
                &mut mapped,
            )
        })
    }

    fn table(&mut self) -> PageTable<'_> {
        // INVARIANT: Initialised, and borrowed.
        PageTable {
            raw: NonNull::from(&mut self.0.iommu),
            _domain: PhantomData,
        }
    }

    /// Preserves all tables, and unpreserves them. Returns how many there were, and how long the former took.
    fn preserve(&mut self) -> Result<(u64, Delta)> {
        // SAFETY: A domain that nobody else has.
        let domain = unsafe { HeldDomain::from_raw(&raw mut self.0.iommu.domain) }.ok_or(EINVAL)?;

        let start = Instant::<Monotonic>::now();
        let tables = domain.preserve_tables()?;
        let took = start.elapsed();
        let count = tables.count();

        domain.unpreserve_tables(tables);
        Ok((count, took))
    }
}

impl Drop for Example {
    fn drop(&mut self) {
        let table = self.table();

        if let Some(deinit) = table.ops().deinit {
            // SAFETY: Initialised, and not used any more.
            unsafe { deinit(table.raw.as_ptr()) };
        }
    }
}

/// Returns how long it takes to preserve so many pages for who has a list of them, for the second time.
fn preserve_list() -> Result<Delta> {
    let mut folios = KVec::with_capacity(TABLES, GFP_KERNEL)?;
    for _ in 0..TABLES {
        let folio = Preserved::new(Folio::new(GFP_KERNEL, 0)?).map_err(|(err, _)| err)?;

        folios.push(folio.unpreserve(), GFP_KERNEL)?;
    }

    let mut preserved = KVec::with_capacity(TABLES, GFP_KERNEL)?;
    let start = Instant::<Monotonic>::now();
    for folio in folios {
        preserved.push(Preserved::new(folio).map_err(|(err, _)| err)?, GFP_KERNEL)?;
    }
    Ok(start.elapsed())
}

#[kunit_tests(iommu_liveupdate)]
mod cases {
    use super::*;

    #[test]
    fn every_table_is_preserved() -> Result {
        let mut example = Example::new()?;
        // What KHO needs once for memory around there is not counted.
        example.preserve()?;
        let (count, took) = example.preserve()?;

        assert_eq!(count, TABLES as u64);
        kunit::info(fmt!(
            "# iommu_liveupdate: {} tables are preserved in {} ns, a list of them in {} ns\n",
            TABLES,
            took.as_nanos(),
            preserve_list()?.as_nanos()
        ));
        Ok(())
    }

    #[test]
    fn tables_can_be_preserved_again() -> Result {
        let mut example = Example::new()?;

        for _ in 0..3 {
            assert_eq!(example.preserve()?.0, TABLES as u64);
        }
        Ok(())
    }
}
