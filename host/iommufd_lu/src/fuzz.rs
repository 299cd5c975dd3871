// SPDX-License-Identifier: GPL-2.0

//! What has to hold of any bytes at all.

use crate::entries::{
    check,
    kind,
    prot,
    Lists,
    RawAreaSer,
    RawDeviceSer,
    RawHwptSer,
    RawIoasSer,
    RawRangeSer,
    RawSer,
    ACCOUNT_MM,
    SMALL_PAGES, //
};
use core::num::NonZeroU64;
use kernel::prelude::*;

/// Splits as many records off as are announced, or as there are.
fn split<'a, T>(rest: &mut &'a [u8], announced: u32) -> &'a [u8] {
    let found = rest.len() / size_of::<T>();
    let count = usize::try_from(announced).map_or(found, |announced| announced.min(found));
    let (list, behind) = rest.split_at(count * size_of::<T>());

    *rest = behind;
    list
}

/// Reads whole records.
fn read<T: FromBytes>(list: &[u8]) -> impl Iterator<Item = T> + '_ {
    list.chunks_exact(size_of::<T>())
        .filter_map(|bytes| T::read_from_bytes(bytes).ok())
}

/// Returns how many there are, as a record counts them.
fn count(list: impl Iterator) -> Option<u32> {
    list.count().try_into().ok()
}

/// Whether each is less than the next one.
fn is_in_order<T: PartialOrd>(list: impl Iterator<Item = T>) -> bool {
    list.is_sorted_by(|one, next| one < next)
}

/// Whether there is a range of this length that nothing of lies behind.
fn fits(start: u64, length: u64, end: u128) -> bool {
    length != 0 && u128::from(start) + u128::from(length) <= end
}

/// Reads bytes as if they were handed over: a `struct iommufd_ser`, and the lists that it names,
/// one behind the other. The last one has all that is left.
///
/// Returns whether they were accepted.
///
/// # Panics
///
/// If they are accepted and mean something else than they say.
pub fn fuzz_iommufd(bytes: &[u8]) -> bool {
    let Ok((record, mut rest)) = RawSer::read_from_prefix(bytes) else {
        return false;
    };
    let hwpts = split::<RawHwptSer>(&mut rest, record.nr_hwpts);
    let ioases = split::<RawIoasSer>(&mut rest, record.nr_ioases);
    let areas = split::<RawAreaSer>(&mut rest, record.nr_areas);
    let allowed = split::<RawRangeSer>(&mut rest, record.nr_allowed);
    let devices = split::<RawDeviceSer>(&mut rest, u32::MAX);

    let lists = || Lists {
        hwpts: read::<RawHwptSer>(hwpts),
        ioases: read::<RawIoasSer>(ioases),
        areas: read::<RawAreaSer>(areas),
        allowed: read::<RawRangeSer>(allowed),
        devices: read::<RawDeviceSer>(devices),
    };

    if check(&record, lists()).is_err() {
        return false;
    }

    let of_ioases = |count: fn(&RawIoasSer) -> u32| -> u64 {
        lists().ioases.map(|ioas| u64::from(count(&ioas))).sum()
    };
    assert_eq!(Some(record.nr_hwpts), count(lists().hwpts));
    assert_eq!(Some(record.nr_ioases), count(lists().ioases));
    assert_eq!(Some(record.nr_areas), count(lists().areas));
    assert_eq!(Some(record.nr_allowed), count(lists().allowed));
    assert_eq!(Some(record.nr_devices), count(lists().devices));
    assert_eq!(u64::from(record.nr_areas), of_ioases(|ioas| ioas.nr_areas));
    assert_eq!(
        u64::from(record.nr_allowed),
        of_ioases(|ioas| ioas.nr_allowed)
    );
    assert!([0, ACCOUNT_MM].contains(&record.flags));

    assert!(is_in_order(lists().hwpts.map(|hwpt| hwpt.token)));
    assert!(is_in_order(lists().ioases.map(|ioas| ioas.id)));
    assert!(is_in_order(
        lists().devices.map(|device| (device.domain, device.bdf))
    ));

    for raw in lists().hwpts {
        let known = kind::AUTO | kind::NEST_PARENT | kind::PASID | kind::ENFORCE_CC;

        assert_eq!(raw.check().map(|id| id.get()), Ok(raw.id));
        assert_eq!(raw.domain().map_or(0, NonZeroU64::get), raw.domain_data);
        assert_eq!(raw.domain_data % 8, 0);
        assert!((1..1 << 31).contains(&raw.ioas_id));
        assert_eq!((raw.flags | known, raw.reserved), (known, 0));
    }
    for raw in lists().ioases {
        assert_eq!(raw.check().map(|id| id.get()), Ok(raw.id));
        assert!((1..1 << 31).contains(&raw.id));
        assert!([0, SMALL_PAGES].contains(&raw.flags));
    }
    for raw in lists().areas {
        let known = prot::READ | prot::WRITE | prot::CACHE;

        assert!(fits(raw.iova, raw.length, 1 << 64));
        assert!(fits(raw.offset, raw.length, 1 << 63));
        assert_eq!((raw.prot | known, raw.reserved), (known, 0));
    }
    for raw in lists().allowed {
        assert!(raw.start <= raw.last);
    }
    for raw in lists().devices {
        let found = raw
            .check()
            .map(|(id, address)| (id.get(), address.domain(), u32::from(address.bdf())));

        assert_eq!(found, Ok((raw.id, raw.domain, raw.bdf)));
        assert_eq!(raw.reserved, 0);
    }
    true
}
