// SPDX-License-Identifier: GPL-2.0

//! Walks the tables of a domain, each of which is 512 entries of 8 bytes.
//!
//! As `drivers/iommu/generic_pt` has it, a *level* is the number of levels below: tables of level 0
//! have leaves only.

use kernel::liveupdate::iommu::Format;

/// How many entries a table has.
pub(crate) const ENTRIES: usize = 512;

/// What of an entry is the address that it names.
const ADDRESS: u64 = 0x000f_ffff_ffff_f000;

/// A leaf above level 0: `VTDSS_FMT_PS` and `X86_64_FMT_PS`.
const PAGE_SIZE: u64 = 1 << 7;

/// The highest level that can have leaves: 1 GiB each.
const HIGHEST_LEAF: u8 = 2;

/// What an entry of a table is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    /// It translates nothing.
    Empty,
    /// It translates to memory.
    Leaf,
    /// It names another table.
    Table(u64),
}

/// Says what an entry is, as the functions `pt_load_entry_raw()` of either format do.
///
/// Second stage: `drivers/iommu/generic_pt/fmt/vtdss.h`, and VT-d specification, section 9.8,
/// "Second-Stage Paging Entries". There is no present bit.
///
/// First stage: `drivers/iommu/generic_pt/fmt/x86_64.h`. The present bit is bit 0.
pub(crate) const fn classify(format: Format, level: u8, entry: u64) -> Entry {
    let is_empty = match format {
        Format::SecondStage => entry == 0,
        Format::FirstStage => entry & 1 == 0,
    };

    if is_empty {
        Entry::Empty
    } else if level == 0 || level <= HIGHEST_LEAF && entry & PAGE_SIZE != 0 {
        Entry::Leaf
    } else {
        Entry::Table(entry & ADDRESS)
    }
}

/// Somebody who is shown each table: before the tables that it names, and after them.
pub(crate) trait Visitor {
    /// A table whose entries can be read.
    type Table;

    /// Why the walk cannot go on.
    type Error;

    /// Is shown the table at an address, before the tables that it names.
    fn enter(&mut self, phys: u64) -> Result<Self::Table, Self::Error>;

    /// Returns an entry of a table, which has [`ENTRIES`].
    fn entry(&self, table: &Self::Table, index: usize) -> u64;

    /// Is shown a table again, after all tables below it.
    fn leave(&mut self, _table: Self::Table) {}
}

/// Shows all tables of a domain to a visitor, in an order that depends on the tables only.
///
/// Tables of level 0 are entered, but not read: most tables are such. Each step leads one level down,
/// but tables of another kernel may name each other many times: their visitor lets none be entered
/// twice.
pub(crate) fn walk<V: Visitor>(
    visitor: &mut V,
    format: Format,
    top: u64,
    level: u8,
) -> Result<(), V::Error> {
    let table = visitor.enter(top)?;
    let Some(below) = level.checked_sub(1) else {
        visitor.leave(table);
        return Ok(());
    };

    for index in 0..ENTRIES {
        if let Entry::Table(phys) = classify(format, level, visitor.entry(&table, index)) {
            walk(visitor, format, phys, below)?;
        }
    }
    visitor.leave(table);
    Ok(())
}
