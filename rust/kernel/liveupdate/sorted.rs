// SPDX-License-Identifier: GPL-2.0

//! Lists in the order of keys, in which things are found without a look at each.

use core::ops::Range;

/// Puts items in the order of their keys. Items with the same key are in no order.
///
/// Takes a number of steps in the order of *n* log *n*, whatever the items are, and no memory: what
/// another kernel handed over decides about neither.
///
/// # Examples
///
/// ```
/// use kernel::liveupdate::sorted;
///
/// let mut items = [(3, 'c'), (1, 'a'), (2, 'b')];
///
/// sorted::sort(&mut items, |item| item.0);
/// assert_eq!(items, [(1, 'a'), (2, 'b'), (3, 'c')]);
/// ```
pub fn sort<T, K: Ord>(items: &mut [T], key: impl Fn(&T) -> K) {
    // What this kernel writes is in order.
    if items.is_sorted_by_key(&key) {
        return;
    }

    // A heap: no item is smaller than those below it, which for item n are 2n + 1 and 2n + 2.
    for root in (0..items.len() / 2).rev() {
        sift_down(items, root, &key);
    }
    for end in (1..items.len()).rev() {
        items.swap(0, end);
        sift_down(&mut items[..end], 0, &key);
    }
}

/// Moves an item down until those below it are not larger.
fn sift_down<T, K: Ord>(items: &mut [T], mut node: usize, key: &impl Fn(&T) -> K) {
    loop {
        let below = 2 * node + 1;
        let Some(first) = items.get(below) else {
            return;
        };

        let larger = match items.get(below + 1) {
            Some(second) if key(second) > key(first) => below + 1,
            _ => below,
        };
        if key(&items[larger]) <= key(&items[node]) {
            return;
        }
        items.swap(node, larger);
        node = larger;
    }
}

/// Returns where the items with a key are, in a list that is in the order of keys.
///
/// # Examples
///
/// ```
/// use kernel::liveupdate::sorted;
///
/// let items = [1, 2, 2, 5];
///
/// assert_eq!(sorted::range_of(&items, 2, |item| *item), 1..3);
/// assert_eq!(sorted::range_of(&items, 3, |item| *item), 3..3);
/// ```
pub fn range_of<T, K: Ord>(items: &[T], wanted: K, key: impl Fn(&T) -> K) -> Range<usize> {
    let start = items.partition_point(|item| key(item) < wanted);
    let count = items[start..].partition_point(|item| key(item) == wanted);

    start..start + count
}
