// SPDX-License-Identifier: GPL-2.0

//! What is claimed of lists in the order of keys.

extern crate std;

use super::{
    range_of,
    sort, //
};
use core::cell::Cell;
use proptest::prelude::*;
use std::vec::Vec;

/// All lists of up to this many items, of which each has one of as many keys, are sorted.
const EXHAUSTIVE: u32 = 6;

#[test]
fn sorts_all_small_lists() {
    for len in 0..=EXHAUSTIVE {
        for mut number in 0..len.max(1).pow(len) {
            let mut items: Vec<_> = (0..len)
                .map(|index| {
                    let key = number % len;

                    number /= len;
                    (key, index)
                })
                .collect();
            let mut expected: Vec<_> = items.iter().map(|item| item.0).collect();

            expected.sort();
            sort(&mut items, |item| item.0);
            assert!(items.iter().map(|item| item.0).eq(expected));

            // None was lost, and none is there twice.
            items.sort_by_key(|item| item.1);
            assert!(items.iter().map(|item| item.1).eq(0..len));
        }
    }
}

/// Returns how many keys are asked for when a list is sorted.
fn steps(items: &mut [u32]) -> u32 {
    let steps = Cell::new(0);

    sort(items, |item| {
        steps.set(steps.get() + 1);
        *item
    });
    steps.get()
}

#[test]
fn no_list_takes_many_steps() {
    const COUNT: u32 = 1 << 12;

    let upwards = 0..COUNT;
    for mut items in [
        upwards.clone().collect::<Vec<_>>(),
        upwards.clone().rev().collect(),
        upwards.clone().map(|item| item % 2).collect(),
        // The even ones, and then the odd ones downwards.
        upwards.map(|item| item ^ (item % 2 * u32::MAX)).collect(),
    ] {
        assert!(steps(&mut items) <= 5 * COUNT * COUNT.ilog2());
        assert!(items.is_sorted());

        // That there is nothing to do is found out in one go.
        assert!(steps(&mut items) <= 2 * COUNT);
    }
}

proptest! {
    #[test]
    fn finds_exactly_the_items_with_a_key(
        mut items in prop::collection::vec((0..20u8, any::<u8>()), 0..60),
        wanted in 0..21u8,
    ) {
        sort(&mut items, |item| item.0);

        let found = range_of(&items, wanted, |item| item.0);
        prop_assert!(items[..found.start].iter().all(|item| item.0 < wanted));
        prop_assert!(items[found.clone()].iter().all(|item| item.0 == wanted));
        prop_assert!(items[found.end..].iter().all(|item| item.0 > wanted));
    }
}
