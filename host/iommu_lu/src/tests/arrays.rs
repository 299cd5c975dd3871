// SPDX-License-Identifier: GPL-2.0

//! What is claimed of pages of objects.

use crate::{
    arrays::{
        offset_of,
        room_for,
        RawArray, //
    },
    entries::{
        RawDeviceSer,
        RawDomainSer,
        RawHdrSer,
        RawHwSer, //
    },
};
use kernel::prelude::*;
use zerocopy::FromZeros;

fn domain(ref_count: u32, tables: u64) -> RawDomainSer {
    RawDomainSer {
        hdr: RawHdrSer {
            ref_count,
            flags: 0,
        },
        nr_tables: tables,
        ..RawDomainSer::new_zeroed()
    }
}

#[test]
fn page_is_full_of_objects() {
    assert_eq!(room_for::<RawHwSer>(), 31);
    assert_eq!(room_for::<RawDomainSer>(), 102);
    assert_eq!(room_for::<RawDeviceSer>(), 63);
    assert_eq!(size_of::<RawArray>(), 4096);
}

#[test]
fn objects_are_beside_each_other_and_within_the_page() {
    let mut end = 16;

    for index in 0..room_for::<RawDomainSer>() {
        assert_eq!(offset_of::<RawDomainSer>(index), end);
        end += size_of::<RawDomainSer>();
    }
    assert!(end <= size_of::<RawArray>());
    assert!(end + size_of::<RawDomainSer>() > size_of::<RawArray>());
}

#[test]
fn place_of_a_free_object_is_used_again() {
    let mut page = RawArray::new();

    for index in 0..room_for::<RawDomainSer>() {
        assert_eq!(page.get::<RawDomainSer>(index), None);
        page.set(index, &domain(1, index as u64 + 1));
    }

    page.free::<RawDomainSer>(7);
    assert_eq!(page.get::<RawDomainSer>(7), None);
    page.set(7, &domain(2, 99));
    assert_eq!(page.get::<RawDomainSer>(7), Some(domain(2, 99)));
    assert_eq!(page.get::<RawDomainSer>(8), Some(domain(1, 9)));
    assert_eq!(page.nr_objects, 102);
}

#[test]
fn page_that_announces_more_than_it_has_room_for_has_nothing() {
    let mut page = RawArray::new();
    page.set(0, &domain(1, 1));

    for (count, len) in [
        (1, Some(1)),
        (102, Some(102)),
        (103, None),
        (u64::MAX, None),
    ] {
        page.nr_objects = count;
        assert_eq!(page.len::<RawDomainSer>(), len);
        assert_eq!(page.get::<RawDomainSer>(0).is_some(), len.is_some());
    }
    page.nr_objects = 0;
    assert_eq!(page.get::<RawDomainSer>(0), None);
}

#[test]
fn what_does_not_fit_is_not_there() {
    let mut page = RawArray::new();
    page.nr_objects = 102;

    assert_eq!(page.get::<RawDomainSer>(102), None);
    assert_eq!(page.get::<RawDomainSer>(usize::MAX), None);
    assert!(page.as_bytes()[16..].iter().all(|byte| *byte == 0));
}
