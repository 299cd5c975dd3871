// SPDX-License-Identifier: GPL-2.0

//! What is claimed of walks.

use crate::tables::{
    classify,
    walk,
    Entry,
    Visitor,
    ENTRIES, //
};
use kernel::liveupdate::iommu::Format;
use proptest::prelude::*;
use std::collections::HashMap;

/// Tables by their addresses, and who came by.
#[derive(Default)]
struct Memory {
    tables: HashMap<u64, Vec<u64>>,
    entered: Vec<u64>,
    left: Vec<u64>,
    most: Option<usize>,
}

impl Visitor for Memory {
    type Table = u64;
    type Error = u64;

    fn enter(&mut self, phys: u64) -> Result<u64, u64> {
        if self.most == Some(self.entered.len()) || !self.tables.contains_key(&phys) {
            return Err(phys);
        }
        self.entered.push(phys);
        Ok(phys)
    }

    fn entry(&self, table: &u64, index: usize) -> u64 {
        assert!(!self.left.contains(table), "a table that was left is read");
        self.tables[table][index]
    }

    fn leave(&mut self, table: u64) {
        self.left.push(table);
    }
}

/// What an entry that names a table has beside the address.
fn flags(format: Format) -> u64 {
    match format {
        // VTDSS_FMT_R, VTDSS_FMT_W
        Format::SecondStage => 0x3,
        // X86_64_FMT_P, _RW, _U, _A
        Format::FirstStage => 0x27,
    }
}

impl Memory {
    fn add(&mut self) -> u64 {
        let phys = 0x1_0000_0000 + 0x1000 * self.tables.len() as u64;

        self.tables.insert(phys, vec![0; ENTRIES]);
        phys
    }

    /// Adds a table with those below it: at each level, where they are.
    fn grow(&mut self, format: Format, level: u8, places: &[Vec<usize>]) -> u64 {
        let top = self.add();

        if level > 0 {
            for place in &places[usize::from(level) - 1] {
                let below = self.grow(format, level - 1, places);

                self.tables.get_mut(&top).unwrap()[*place] = below | flags(format);
            }
        } else {
            // Leaves, which look like tables.
            self.tables.get_mut(&top).unwrap()[5] = 0xdead_b000 | flags(format);
        }
        top
    }
}

fn formats() -> impl Strategy<Value = Format> {
    prop_oneof![Just(Format::SecondStage), Just(Format::FirstStage)]
}

proptest! {
    #[test]
    fn enters_each_table_once(
        format in formats(),
        places in prop::collection::vec(
            prop::collection::btree_set(0..ENTRIES, 0..4)
                .prop_map(|places| places.into_iter().collect::<Vec<_>>()),
            4,
        ),
        level in 2u8..=4,
    ) {
        let mut memory = Memory::default();
        let top = memory.grow(format, level, &places);

        prop_assert_eq!(walk(&mut memory, format, top, level), Ok(()));
        let mut entered = memory.entered.clone();
        entered.sort_unstable();
        let mut all: Vec<u64> = memory.tables.keys().copied().collect();
        all.sort_unstable();
        prop_assert_eq!(entered, all);

        // Whoever undoes it meets the same tables in the same order.
        let first = std::mem::take(&mut memory.entered);
        memory.left.clear();
        memory.most = Some(first.len() / 2);
        let end = walk(&mut memory, format, top, level);
        prop_assert_eq!(end, Err(first[first.len() / 2]));
        prop_assert_eq!(&memory.entered[..], &first[..first.len() / 2]);
    }

    #[test]
    fn first_stage_entry_is_nothing_without_its_present_bit(entry in any::<u64>(), level in 0u8..=4) {
        prop_assert_eq!(classify(Format::FirstStage, level, entry & !1), Entry::Empty);
        prop_assert_ne!(classify(Format::FirstStage, level, entry | 1), Entry::Empty);
    }

    #[test]
    fn table_is_a_page_of_52_bits(format in formats(), entry in any::<u64>(), level in 0u8..=4) {
        if let Entry::Table(phys) = classify(format, level, entry) {
            prop_assert!(phys % 4096 == 0 && phys < 1 << 52);
            prop_assert_eq!(phys, entry & 0x000f_ffff_ffff_f000);
        }
    }
}

#[test]
fn leaf_is_at_level_0_or_has_the_bit_below_512_gib() {
    for format in [Format::SecondStage, Format::FirstStage] {
        for level in 0..=4 {
            let plain = classify(format, level, 0x1000 | flags(format));
            let sized = classify(format, level, 0x1000 | flags(format) | (1 << 7));

            assert_eq!(plain == Entry::Leaf, level == 0);
            assert_eq!(sized == Entry::Leaf, level <= 2);
            assert_eq!(classify(format, level, 0), Entry::Empty);
        }
    }
}

#[test]
fn lowest_tables_are_not_read() {
    let mut memory = Memory::default();
    let top = memory.grow(Format::SecondStage, 2, &[vec![0, 511], vec![3]]);

    // A table that cannot be read.
    for (phys, table) in &mut memory.tables {
        if *phys != top && table[5] != 0 {
            table.clear();
        }
    }
    assert_eq!(walk(&mut memory, Format::SecondStage, top, 2), Ok(()));
    assert_eq!(memory.entered.len(), 4);
}

#[test]
fn ends_where_a_table_is_refused() {
    let mut memory = Memory::default();
    let top = memory.grow(Format::SecondStage, 3, &[vec![], vec![], vec![7]]);

    memory.tables.get_mut(&top).unwrap()[9] = 0x1234_5003;
    assert_eq!(
        walk(&mut memory, Format::SecondStage, top, 3),
        Err(0x1234_5000)
    );
    assert_eq!(memory.entered.len(), 2);
}
