// SPDX-License-Identifier: GPL-2.0

//! Preserves tables like those of a domain, and says what that costs beside doing so from a list.

use super::{
    ffi,
    tables::ENTRIES, //
};
use kernel::{
    kunit,
    liveupdate::{
        iommu::Format,
        kho::{
            Folio,
            Preserved, //
        },
    },
    prelude::*,
    time::{
        Delta,
        Instant,
        Monotonic, //
    },
};

/// How many tables there are: one of level 2, one of level 1, and all of level 0 that the latter can
/// name.
const TABLES: usize = 2 + ENTRIES;

/// What else than an address the entry of a table in use has, in either format.
const IN_USE: u64 = 3;

/// The tables of a domain, from the first one on.
struct Tables {
    _folios: KVec<Folio>,
    top: u64,
}

impl Tables {
    /// Makes them, and says how long it takes to preserve them for who has a list of them.
    fn new() -> Result<(Self, Delta)> {
        let mut folios = KVec::with_capacity(TABLES, GFP_KERNEL)?;
        for _ in 0..TABLES {
            folios.push(Folio::new(GFP_KERNEL, 0)?, GFP_KERNEL)?;
        }

        let mut preserved = KVec::with_capacity(TABLES, GFP_KERNEL)?;
        let start = Instant::<Monotonic>::now();
        for folio in folios {
            let folio = Preserved::new(folio).map_err(|(err, _)| err)?;
            preserved.push(folio, GFP_KERNEL)?;
        }
        let took = start.elapsed();

        let (top, below) = (preserved[0].phys(), preserved[1].phys());
        set(&mut preserved[0], 0, below);
        for index in 0..ENTRIES {
            let phys = preserved[2 + index].phys();
            set(&mut preserved[1], index, phys);
        }

        let mut folios = KVec::with_capacity(TABLES, GFP_KERNEL)?;
        for folio in preserved {
            folios.push(folio.unpreserve(), GFP_KERNEL)?;
        }
        Ok((
            Self {
                _folios: folios,
                top,
            },
            took,
        ))
    }

    fn preserve(&self) -> Result<u64> {
        ffi::preserve_tables(Format::SecondStage, self.top, 2)
    }

    fn unpreserve(&self, count: u64) {
        ffi::unpreserve_tables(Format::SecondStage, self.top, 2, count);
    }
}

/// Has an entry of a table name another one.
fn set(table: &mut [u8], index: usize, phys: u64) {
    table[8 * index..][..8].copy_from_slice(&(phys | IN_USE).to_ne_bytes());
}

#[kunit_tests(iommu_liveupdate)]
mod cases {
    use super::*;

    #[test]
    fn every_table_is_preserved() -> Result {
        let (tables, alone) = Tables::new()?;

        let start = Instant::<Monotonic>::now();
        let count = tables.preserve()?;
        let took = start.elapsed();
        assert_eq!(count, TABLES as u64);
        tables.unpreserve(count);

        kunit::info(fmt!(
            "# iommu_liveupdate: {} tables are preserved in {} ns, a list of them in {} ns\n",
            TABLES,
            took.as_nanos(),
            alone.as_nanos()
        ));
        Ok(())
    }

    #[test]
    fn tables_can_be_preserved_again() -> Result {
        let (tables, _) = Tables::new()?;

        for _ in 0..3 {
            let count = tables.preserve()?;
            assert_eq!(count, TABLES as u64);
            tables.unpreserve(count);
        }
        Ok(())
    }
}
