// SPDX-License-Identifier: GPL-2.0

//! What is claimed of the records, and the fuzzer's claims without a fuzzer.

use super::Iommufd;
use crate::{
    entries::{
        kind,
        prot,
        BadRecord,
        ObjectId,
        RawAreaSer,
        RawDeviceSer,
        RawHwptSer,
        RawIoasSer,
        RawRangeSer,
        RawSer,
        Token,
        ACCOUNT_MM,
        SMALL_PAGES, //
    },
    fuzz::fuzz_iommufd, //
};
use kernel::{
    fmt::Adapter,
    liveupdate::pci::{
        Address,
        RawAddress, //
    },
    prelude::*, //
};
use proptest::{
    collection::{
        btree_map,
        vec, //
    },
    prelude::*,
};

const LAST_ID: u32 = 0x7fff_ffff;
const LAST_DOMAIN: u32 = 0x7fff_ffff;
const LAST_OFFSET: u64 = 0x7fff_ffff_ffff_ffff;

const HWPT: RawHwptSer = RawHwptSer {
    token: 5,
    domain_data: 0x1018,
    id: 3,
    ioas_id: 1,
    flags: 0,
    reserved: 0,
};

const IOAS: RawIoasSer = RawIoasSer {
    id: 1,
    flags: 0,
    nr_areas: 0,
    nr_allowed: 0,
};

const AREA: RawAreaSer = RawAreaSer {
    iova: 0x10_0000,
    length: 0x2000,
    token: 7,
    offset: 0x1000,
    prot: 3,
    reserved: 0,
};

const RANGE: RawRangeSer = RawRangeSer {
    start: 0x1000,
    last: 0x1fff,
};

const DEVICE: RawDeviceSer = RawDeviceSer {
    id: 2,
    domain: 1,
    bdf: 0x0108,
    reserved: 0,
};

/// Returns these lists, and a record that names them.
fn iommufd(
    hwpts: Vec<RawHwptSer>,
    ioases: Vec<RawIoasSer>,
    areas: Vec<RawAreaSer>,
    allowed: Vec<RawRangeSer>,
    devices: Vec<RawDeviceSer>,
) -> Iommufd {
    let count = |length: usize| length.try_into().unwrap();

    Iommufd {
        record: RawSer {
            nr_hwpts: count(hwpts.len()),
            nr_ioases: count(ioases.len()),
            nr_areas: count(areas.len()),
            nr_allowed: count(allowed.len()),
            nr_devices: count(devices.len()),
            flags: 0,
            hwpts: 0x1000,
            ioases: 0x2000,
            areas: 0x3000,
            allowed: 0x4000,
            devices: 0x5000,
        },
        hwpts,
        ioases,
        areas,
        allowed,
        devices,
    }
}

fn nothing() -> Iommufd {
    iommufd(vec![], vec![], vec![], vec![], vec![])
}

/// Returns an iommufd with an object of each type.
fn one_of_each() -> Iommufd {
    let ioas = RawIoasSer {
        nr_areas: 1,
        nr_allowed: 1,
        ..IOAS
    };

    iommufd(
        vec![HWPT],
        vec![ioas],
        vec![AREA],
        vec![RANGE],
        vec![DEVICE],
    )
}

fn hwpts(tokens: &[u64]) -> Iommufd {
    let hwpts = tokens
        .iter()
        .map(|token| RawHwptSer {
            token: *token,
            ..HWPT
        })
        .collect();

    iommufd(hwpts, vec![], vec![], vec![], vec![])
}

fn ioases(ids: &[u32]) -> Iommufd {
    let ioases = ids
        .iter()
        .map(|id| RawIoasSer { id: *id, ..IOAS })
        .collect();

    iommufd(vec![], ioases, vec![], vec![], vec![])
}

fn devices(addresses: &[(u32, u32)]) -> Iommufd {
    let devices = addresses
        .iter()
        .map(|(domain, bdf)| RawDeviceSer {
            domain: *domain,
            bdf: *bdf,
            ..DEVICE
        })
        .collect();

    iommufd(vec![], vec![], vec![], vec![], devices)
}

fn hwpt(change: impl FnOnce(&mut RawHwptSer)) -> Result<u32, BadRecord> {
    let mut raw = HWPT;

    change(&mut raw);
    raw.check().map(ObjectId::get)
}

fn ioas(change: impl FnOnce(&mut RawIoasSer)) -> Result<u32, BadRecord> {
    let mut raw = IOAS;

    change(&mut raw);
    raw.check().map(ObjectId::get)
}

fn area(change: impl FnOnce(&mut RawAreaSer)) -> Result<(), BadRecord> {
    let mut raw = AREA;

    change(&mut raw);
    raw.check()
}

fn device(change: impl FnOnce(&mut RawDeviceSer)) -> Result<(u32, Address), BadRecord> {
    let mut raw = DEVICE;

    change(&mut raw);
    raw.check().map(|(id, address)| (id.get(), address))
}

#[test]
fn id_is_a_positive_number_of_31_bits() {
    for id in [1, 2, LAST_ID - 1, LAST_ID] {
        assert_eq!(ObjectId::try_from(id).map(ObjectId::get), Ok(id));
    }
    for id in [0, LAST_ID + 1, u32::MAX] {
        assert_eq!(ObjectId::try_from(id), Err(BadRecord::Id(id)));
    }
}

#[test]
fn accepts_tokens_in_their_order() {
    assert_eq!(hwpts(&[]).check(), Ok(()));
    assert_eq!(hwpts(&[0, 1, u64::MAX]).check(), Ok(()));
}

#[test]
fn refuses_tokens_out_of_order() {
    for (tokens, bad) in [([2, 1], 1), ([7, 7], 7)] {
        assert_eq!(
            hwpts(&tokens).check(),
            Err(BadRecord::Order(Token(bad))),
            "{tokens:?}"
        );
    }
}

#[test]
fn accepts_ioases_in_the_order_of_ids() {
    assert_eq!(ioases(&[]).check(), Ok(()));
    assert_eq!(ioases(&[1, 2, LAST_ID]).check(), Ok(()));
}

#[test]
fn refuses_ioases_out_of_order() {
    for (ids, bad) in [([2, 1], 1), ([7, 7], 7)] {
        assert_eq!(ioases(&ids).check(), Err(BadRecord::Id(bad)), "{ids:?}");
    }
}

#[test]
fn accepts_devices_in_the_order_of_addresses() {
    assert_eq!(devices(&[]).check(), Ok(()));
    assert_eq!(
        devices(&[(0, 0), (0, 0xffff), (1, 0), (LAST_DOMAIN, 0xffff)]).check(),
        Ok(())
    );
}

#[test]
fn refuses_devices_out_of_order() {
    for (one, next) in [((0, 2), (0, 1)), ((1, 0), (0, 1)), ((3, 7), (3, 7))] {
        assert_eq!(
            devices(&[one, next]).check(),
            Err(BadRecord::Address(next.0, next.1)),
            "{one:?} {next:?}"
        );
    }
}

#[test]
fn refuses_other_numbers_of_objects() {
    let announced: [fn(&mut RawSer) -> &mut u32; 5] = [
        |record| &mut record.nr_hwpts,
        |record| &mut record.nr_ioases,
        |record| &mut record.nr_areas,
        |record| &mut record.nr_allowed,
        |record| &mut record.nr_devices,
    ];

    for (good, found) in [(nothing(), 0), (one_of_each(), 1)] {
        assert_eq!(good.check(), Ok(()));

        for field in announced {
            for announced in [0, 1, 2, u32::MAX] {
                let mut changed = good.clone();
                *field(&mut changed.record) = announced;

                let expected = if usize::try_from(announced) == Ok(found) {
                    Ok(())
                } else {
                    Err(BadRecord::Count { announced, found })
                };
                assert_eq!(changed.check(), expected);
            }
        }
    }
}

#[test]
fn each_area_and_each_range_is_of_an_ioas() {
    let counts: [fn(&mut RawIoasSer) -> &mut u32; 2] =
        [|ioas| &mut ioas.nr_areas, |ioas| &mut ioas.nr_allowed];

    for count in counts {
        for (of_one, of_other) in [(0, 0), (0, 2), (1, 1), (u32::MAX, 2), (u32::MAX, u32::MAX)] {
            let mut changed = one_of_each();
            *count(&mut changed.ioases[0]) = of_one;

            let mut other = RawIoasSer { id: 2, ..IOAS };
            *count(&mut other) = of_other;
            changed.ioases.push(other);
            changed.record.nr_ioases = 2;

            // Nothing wraps around.
            let found = of_one as usize + of_other as usize;
            assert_eq!(
                changed.check(),
                Err(BadRecord::Count {
                    announced: 1,
                    found
                })
            );
        }
    }

    let mut divided = one_of_each();
    divided.ioases[0].nr_allowed = 0;
    divided.ioases.push(RawIoasSer {
        id: 2,
        nr_allowed: 1,
        ..IOAS
    });
    divided.record.nr_ioases = 2;
    assert_eq!(divided.check(), Ok(()));
}

#[test]
fn refuses_bits_that_it_does_not_know() {
    let only = |known: u32, bit: u32| match known & bit {
        0 => Err(BadRecord::Reserved),
        _ => Ok(()),
    };
    let kinds = kind::AUTO | kind::NEST_PARENT | kind::PASID | kind::ENFORCE_CC;
    let prots = prot::READ | prot::WRITE | prot::CACHE;

    for bit in (0..32).map(|bit| 1 << bit) {
        let mut changed = one_of_each();
        changed.record.flags = bit;
        assert_eq!(changed.check(), only(ACCOUNT_MM, bit));

        assert_eq!(
            hwpt(|raw| raw.flags = bit),
            only(kinds, bit).map(|()| HWPT.id)
        );
        assert_eq!(
            ioas(|raw| raw.flags = bit),
            only(SMALL_PAGES, bit).map(|()| IOAS.id)
        );
        assert_eq!(area(|raw| raw.prot = bit), only(prots, bit));

        assert_eq!(hwpt(|raw| raw.reserved = bit), Err(BadRecord::Reserved));
        assert_eq!(area(|raw| raw.reserved = bit), Err(BadRecord::Reserved));
        assert_eq!(device(|raw| raw.reserved = bit), Err(BadRecord::Reserved));
    }

    assert_eq!(hwpt(|raw| raw.flags = kinds), Ok(HWPT.id));
    assert_eq!(area(|raw| raw.prot = prots), Ok(()));
}

#[test]
fn objects_have_ids_that_there_can_be() {
    for id in [1, LAST_ID] {
        assert_eq!(hwpt(|raw| raw.id = id), Ok(id));
        assert_eq!(hwpt(|raw| raw.ioas_id = id), Ok(HWPT.id));
        assert_eq!(ioas(|raw| raw.id = id), Ok(id));
        assert_eq!(device(|raw| raw.id = id).map(|(id, _)| id), Ok(id));
    }
    for id in [0, LAST_ID + 1, u32::MAX] {
        let bad = BadRecord::Id(id);

        assert_eq!(hwpt(|raw| raw.id = id), Err(bad));
        assert_eq!(hwpt(|raw| raw.ioas_id = id), Err(bad));
        assert_eq!(ioas(|raw| raw.id = id), Err(bad));
        assert_eq!(device(|raw| raw.id = id), Err(bad));
    }
}

#[test]
fn page_table_is_where_it_can_be() {
    let hwpt = |domain_data| RawHwptSer {
        domain_data,
        ..HWPT
    };

    for domain_data in [0, 8, 0x1018, u64::MAX - 7] {
        let raw = hwpt(domain_data);

        assert_eq!(raw.check().map(ObjectId::get), Ok(HWPT.id));
        assert_eq!(
            raw.domain().map(|domain| domain.get()),
            match domain_data {
                0 => None,
                domain => Some(domain),
            }
        );
    }
    for domain_data in [1, 0x1004, u64::MAX] {
        assert_eq!(
            hwpt(domain_data).check(),
            Err(BadRecord::Domain(Token(HWPT.token)))
        );
    }
}

#[test]
fn area_ends_where_addresses_and_files_do() {
    let at = |iova, offset, length| {
        area(|raw| (raw.iova, raw.offset, raw.length) = (iova, offset, length))
    };

    for (iova, offset, length) in [
        (0, 0, 1),
        (u64::MAX, 0, 1),
        (0, LAST_OFFSET, 1),
        (u64::MAX - 0xfff, LAST_OFFSET - 0xfff, 0x1000),
        (1 << 63, 0, 1 << 63),
        (0, 0, 1 << 63),
    ] {
        assert_eq!(at(iova, offset, length), Ok(()));
    }
    for (iova, offset, length) in [
        (0, 0, 0),
        (0x1000, 0x1000, 0),
        (u64::MAX, 0, 2),
        ((1 << 63) + 1, 0, 1 << 63),
        (0, LAST_OFFSET, 2),
        (0, LAST_OFFSET + 1, 1),
        (0, u64::MAX, 1),
        (0, u64::MAX, u64::MAX),
        (0, 1, 1 << 63),
        (0, 0, (1 << 63) + 1),
        (0, 0, u64::MAX),
    ] {
        assert_eq!(at(iova, offset, length), Err(BadRecord::Area(iova)));
    }
}

#[test]
fn range_does_not_end_before_it_begins() {
    for (start, last) in [(0, 0), (0, u64::MAX), (5, 5), (u64::MAX, u64::MAX)] {
        assert_eq!(RawRangeSer { start, last }.check(), Ok(()));
    }
    for (start, last) in [(1, 0), (6, 5), (u64::MAX, 0)] {
        assert_eq!(
            RawRangeSer { start, last }.check(),
            Err(BadRecord::Area(start))
        );
    }
}

#[test]
fn device_has_an_address() {
    for (domain, bdf) in [(0, 0u16), (1, 0x0108), (LAST_DOMAIN, 0xffff)] {
        let address = RawAddress { domain, bdf }.try_into().unwrap();

        assert_eq!(
            device(|raw| (raw.domain, raw.bdf) = (domain, bdf.into())),
            Ok((DEVICE.id, address))
        );
    }
    for (domain, bdf) in [
        (LAST_DOMAIN + 1, 0),
        (u32::MAX, 0x0108),
        (0, 0x1_0000),
        (0, u32::MAX),
    ] {
        assert_eq!(
            device(|raw| (raw.domain, raw.bdf) = (domain, bdf)),
            Err(BadRecord::Address(domain, bdf))
        );
    }
}

#[test]
fn looks_at_each_object_of_each_list() {
    let bad = |change: fn(&mut Iommufd)| {
        let mut changed = one_of_each();

        change(&mut changed);
        changed.check()
    };

    assert_eq!(bad(|all| all.hwpts[0].id = 0), Err(BadRecord::Id(0)));
    assert_eq!(
        bad(|all| all.hwpts[0].domain_data = 4),
        Err(BadRecord::Domain(Token(HWPT.token)))
    );
    assert_eq!(bad(|all| all.ioases[0].id = 0), Err(BadRecord::Id(0)));
    assert_eq!(
        bad(|all| all.areas[0].length = 0),
        Err(BadRecord::Area(AREA.iova))
    );
    assert_eq!(
        bad(|all| all.allowed[0].last = 0),
        Err(BadRecord::Area(RANGE.start))
    );
    assert_eq!(bad(|all| all.devices[0].id = 0), Err(BadRecord::Id(0)));
    assert_eq!(
        bad(|all| all.devices[0].bdf = 1 << 16),
        Err(BadRecord::Address(DEVICE.domain, 1 << 16))
    );

    // The last one, too.
    assert_eq!(
        bad(|all| {
            all.ioases[0].nr_areas = 2;
            all.record.nr_areas = 2;
            all.areas.push(RawAreaSer {
                iova: 0x5000,
                length: 0,
                ..AREA
            });
        }),
        Err(BadRecord::Area(0x5000))
    );
    assert_eq!(
        bad(|all| {
            all.ioases[0].nr_allowed = 2;
            all.record.nr_allowed = 2;
            all.allowed.push(RawRangeSer { start: 9, last: 8 });
        }),
        Err(BadRecord::Area(9))
    );
}

#[test]
fn says_what_is_wrong() {
    for (bad, text) in [
        (
            BadRecord::Reserved,
            "a field or bit that is to be zero is not",
        ),
        (
            BadRecord::Id(9),
            "no object can have the ID 9, or two have it",
        ),
        (
            BadRecord::Domain(Token(5)),
            "HWPT 0x5 has a page table where there can be none",
        ),
        (
            BadRecord::Order(Token(5)),
            "HWPT 0x5 is named twice or out of order",
        ),
        (BadRecord::NoIoas(Token(0x1f)), "HWPT 0x1f has no IOAS"),
        (
            BadRecord::Area(0x1000),
            "nothing can be mapped at 0x1000 as it says",
        ),
        (
            BadRecord::NoMemory(0x1f),
            "its session has no memfd with token 0x1f",
        ),
        (
            BadRecord::Address(1, 0x0108),
            "there is no device 0x108 in domain 0x1, or it is named twice",
        ),
        (
            BadRecord::Count {
                announced: 2,
                found: 1,
            },
            "2 objects are announced, 1 are named",
        ),
    ] {
        assert_eq!(Adapter(&bad).to_string(), text);
    }
}

fn id() -> impl Strategy<Value = u32> {
    1..=LAST_ID
}

fn any_hwpts() -> impl Strategy<Value = Vec<RawHwptSer>> {
    let rest = (any::<u64>(), id(), id(), 0u32..16);

    btree_map(any::<u64>(), rest, 0..3).prop_map(|hwpts| {
        hwpts
            .into_iter()
            .map(|(token, (domain, id, ioas_id, flags))| RawHwptSer {
                token,
                domain_data: domain & !7,
                id,
                ioas_id,
                flags,
                reserved: 0,
            })
            .collect()
    })
}

fn any_area() -> impl Strategy<Value = RawAreaSer> {
    let length = (0..64).prop_map(|order| 1u64 << order);
    let length = (length, any::<u64>()).prop_map(|(most, any): (u64, u64)| any % most + 1);

    (any::<u64>(), length, any::<u64>(), any::<u64>(), 0u32..8).prop_map(
        |(iova, length, token, offset, prot)| RawAreaSer {
            iova: iova.min(u64::MAX - (length - 1)),
            length,
            token,
            offset: offset.min(LAST_OFFSET - (length - 1)),
            prot,
            reserved: 0,
        },
    )
}

fn any_range() -> impl Strategy<Value = RawRangeSer> {
    any::<[u64; 2]>().prop_map(|[one, other]| RawRangeSer {
        start: one.min(other),
        last: one.max(other),
    })
}

fn any_devices() -> impl Strategy<Value = Vec<RawDeviceSer>> {
    btree_map((0..=LAST_DOMAIN, any::<u16>()), id(), 0..3).prop_map(|devices| {
        devices
            .into_iter()
            .map(|((domain, bdf), id)| RawDeviceSer {
                id,
                domain,
                bdf: bdf.into(),
                reserved: 0,
            })
            .collect()
    })
}

prop_compose! {
    /// What a kernel could hand over.
    fn any_iommufd()(
        flags in 0u32..2,
        hwpts in any_hwpts(),
        ioases in btree_map(
            id(),
            (0u32..2, vec(any_area(), 0..2), vec(any_range(), 0..2)),
            0..3,
        ),
        devices in any_devices(),
    ) -> Iommufd {
        let (mut raw, mut areas, mut allowed) = (vec![], vec![], vec![]);

        for (id, (flags, of_areas, of_allowed)) in ioases {
            raw.push(RawIoasSer {
                id,
                flags,
                nr_areas: of_areas.len() as u32,
                nr_allowed: of_allowed.len() as u32,
            });
            areas.extend(of_areas);
            allowed.extend(of_allowed);
        }

        let mut iommufd = iommufd(hwpts, raw, areas, allowed, devices);
        iommufd.record.flags = flags;
        iommufd
    }
}

/// Whether each is less than the next one.
fn is_in_order<T: PartialOrd>(values: impl Iterator<Item = T>) -> bool {
    values.is_sorted_by(|one, next| one < next)
}

/// Whether an object could have this ID.
fn is_id(id: u32) -> bool {
    (1..=LAST_ID).contains(&id)
}

/// Whether a kernel could have handed this over, and not a good one that it has as many objects as.
///
/// What is not named here has to be as it was.
fn is_possible(changed: &Iommufd, good: &Iommufd) -> bool {
    fn all<T>(changed: &[T], good: &[T], is_possible: impl Fn(&T, &T) -> bool) -> bool {
        changed
            .iter()
            .zip(good)
            .all(|(changed, good)| is_possible(changed, good))
    }

    // Where the lists are may be anything.
    let record = RawSer {
        flags: changed.record.flags & 1,
        hwpts: changed.record.hwpts,
        ioases: changed.record.ioases,
        areas: changed.record.areas,
        allowed: changed.record.allowed,
        devices: changed.record.devices,
        ..good.record
    };

    changed.record == record
        && is_in_order(changed.hwpts.iter().map(|hwpt| hwpt.token))
        && all(&changed.hwpts, &good.hwpts, |hwpt, good| {
            let possible = RawHwptSer {
                token: hwpt.token,
                domain_data: hwpt.domain_data & !7,
                id: hwpt.id,
                ioas_id: hwpt.ioas_id,
                flags: hwpt.flags & 15,
                ..*good
            };

            *hwpt == possible && is_id(hwpt.id) && is_id(hwpt.ioas_id)
        })
        && is_in_order(changed.ioases.iter().map(|ioas| ioas.id))
        && all(&changed.ioases, &good.ioases, |ioas, good| {
            let possible = RawIoasSer {
                id: ioas.id,
                flags: ioas.flags & 1,
                ..*good
            };

            *ioas == possible && is_id(ioas.id)
        })
        && all(&changed.areas, &good.areas, |area, good| {
            let possible = RawAreaSer {
                iova: area.iova,
                length: area.length.max(1),
                token: area.token,
                offset: area.offset,
                prot: area.prot & 7,
                ..*good
            };
            let end = |start: u64| u128::from(start) + u128::from(area.length);

            *area == possible && end(area.iova) <= 1 << 64 && end(area.offset) <= 1 << 63
        })
        && all(&changed.allowed, &good.allowed, |range, _| {
            range.start <= range.last
        })
        && is_in_order(
            changed
                .devices
                .iter()
                .map(|device| (device.domain, device.bdf)),
        )
        && all(&changed.devices, &good.devices, |device, good| {
            let possible = RawDeviceSer {
                id: device.id,
                domain: device.domain & LAST_DOMAIN,
                bdf: device.bdf & 0xffff,
                ..*good
            };

            *device == possible && is_id(device.id)
        })
}

proptest! {
    #![proptest_config(testing::config())]

    #[test]
    fn what_is_written_is_accepted(iommufd in any_iommufd()) {
        prop_assert_eq!(iommufd.check(), Ok(()));
        prop_assert!(fuzz_iommufd(&iommufd.bytes()));
        prop_assert!(is_possible(&iommufd, &iommufd));
    }

    #[test]
    fn any_bytes_are_refused_or_harmless(bytes in vec(any::<u8>(), 0..400)) {
        fuzz_iommufd(&bytes);
    }

    #[test]
    fn a_part_of_it_is_refused(iommufd in any_iommufd()) {
        let bytes = iommufd.bytes();

        for length in 0..bytes.len() {
            prop_assert!(!fuzz_iommufd(&bytes[..length]));
        }
    }

    #[test]
    fn a_corrupt_bit_is_refused_or_harmless(good in any_iommufd()) {
        let bytes = good.bytes();

        for bit in 0..8 * bytes.len() {
            let mut bytes = bytes.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);

            let changed = Iommufd::read(&bytes, &good.record);
            prop_assert_eq!(fuzz_iommufd(&bytes), is_possible(&changed, &good), "bit {}", bit);
        }
    }
}
