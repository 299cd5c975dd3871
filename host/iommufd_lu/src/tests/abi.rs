// SPDX-License-Identifier: GPL-2.0

//! What is claimed of the bytes that are handed over.

use super::Iommufd;
use crate::entries::{
    kind,
    prot,
    RawAreaSer,
    RawDeviceSer,
    RawHwptSer,
    RawIoasSer,
    RawRangeSer,
    RawSer,
    ACCOUNT_MM,
    SMALL_PAGES, //
};
use kernel::prelude::*;
use testing::{
    golden,
    layout::{
        assert_names_all_structs,
        Constant,
        Contract, //
    }, //
};

/// The version is in the name.
const COMPATIBLE: &str = "iommufd-rs-v2";

fn contract() -> Contract {
    let number = |number: u32| Constant::Number(number.into());

    Contract {
        header: "iommufd",
        name: COMPATIBLE.into(),
        constants: vec![
            ("IOMMUFD_LUO_COMPATIBLE", Constant::Text(COMPATIBLE)),
            ("IOMMUFD_IOAS_SER_SMALL_PAGES", number(SMALL_PAGES)),
            ("IOMMUFD_AREA_SER_READ", number(prot::READ)),
            ("IOMMUFD_AREA_SER_WRITE", number(prot::WRITE)),
            ("IOMMUFD_AREA_SER_CACHE", number(prot::CACHE)),
            ("IOMMUFD_HWPT_SER_AUTO", number(kind::AUTO)),
            ("IOMMUFD_HWPT_SER_NEST_PARENT", number(kind::NEST_PARENT)),
            ("IOMMUFD_HWPT_SER_PASID", number(kind::PASID)),
            ("IOMMUFD_HWPT_SER_ENFORCE_CC", number(kind::ENFORCE_CC)),
            ("IOMMUFD_SER_ACCOUNT_MM", number(ACCOUNT_MM)),
        ],
        structs: vec![
            testing::layout!(RawIoasSer as iommufd_ioas_ser {
                id,
                flags,
                nr_areas,
                nr_allowed
            }),
            testing::layout!(RawAreaSer as iommufd_area_ser {
                iova,
                length,
                token,
                offset,
                prot,
                reserved
            }),
            testing::layout!(RawRangeSer as iommufd_range_ser { start, last }),
            testing::layout!(RawHwptSer as iommufd_hwpt_ser {
                token,
                domain_data,
                id,
                ioas_id,
                flags,
                reserved
            }),
            testing::layout!(RawDeviceSer as iommufd_device_ser {
                id,
                domain,
                bdf,
                reserved
            }),
            testing::layout!(RawSer as iommufd_ser {
                nr_hwpts,
                nr_ioases,
                nr_areas,
                nr_allowed,
                nr_devices,
                flags,
                hwpts,
                ioases,
                areas,
                allowed,
                devices
            }),
        ],
    }
}

#[test]
fn has_the_committed_layout() {
    contract().assert_is_committed();
}

#[test]
fn has_the_layout_that_c_sees() {
    contract().assert_is_that_of_c();
    assert_names_all_structs("iommufd", &[contract()]);
}

#[test]
fn reads_and_writes_what_was_ever_handed_over() {
    let nothing = Iommufd {
        record: RawSer {
            nr_hwpts: 0,
            nr_ioases: 0,
            nr_areas: 0,
            nr_allowed: 0,
            nr_devices: 0,
            flags: 0,
            hwpts: 0,
            ioases: 0,
            areas: 0,
            allowed: 0,
            devices: 0,
        },
        hwpts: vec![],
        ioases: vec![],
        areas: vec![],
        allowed: vec![],
        devices: vec![],
    };
    let one = Iommufd {
        record: RawSer {
            nr_hwpts: 1,
            nr_ioases: 1,
            hwpts: 0x1_2345_6000,
            ioases: 0x1_2345_7000,
            ..nothing.record
        },
        hwpts: vec![RawHwptSer {
            token: 0x1234,
            domain_data: 0,
            id: 2,
            ioas_id: 1,
            flags: 1,
            reserved: 0,
        }],
        ioases: vec![RawIoasSer {
            id: 1,
            flags: 0,
            nr_areas: 0,
            nr_allowed: 0,
        }],
        ..nothing.clone()
    };
    let tables = Iommufd {
        record: RawSer {
            nr_hwpts: 2,
            nr_ioases: 2,
            nr_areas: 3,
            nr_allowed: 2,
            nr_devices: 2,
            flags: 0,
            hwpts: 0x1_2345_6000,
            ioases: 0x1_2345_7000,
            areas: 0x1_2345_8000,
            allowed: 0x1_2345_9000,
            devices: 0x1_2345_a000,
        },
        hwpts: vec![
            RawHwptSer {
                token: 0x1234,
                domain_data: 0x1_2345_b010,
                id: 5,
                ioas_id: 1,
                flags: 8,
                reserved: 0,
            },
            RawHwptSer {
                token: 0x5678,
                domain_data: 0x1_2345_b038,
                id: 3,
                ioas_id: 4,
                flags: 2,
                reserved: 0,
            },
        ],
        ioases: vec![
            RawIoasSer {
                id: 1,
                flags: 0,
                nr_areas: 2,
                nr_allowed: 2,
            },
            RawIoasSer {
                id: 4,
                flags: 1,
                nr_areas: 1,
                nr_allowed: 0,
            },
        ],
        areas: vec![
            RawAreaSer {
                iova: 0x10_0000,
                length: 0x20_0000,
                token: 0x9abc,
                offset: 0,
                prot: 7,
                reserved: 0,
            },
            RawAreaSer {
                iova: 0x1_0000_0000,
                length: 0x1000,
                token: 0x9abc,
                offset: 0x3000,
                prot: 5,
                reserved: 0,
            },
            RawAreaSer {
                iova: 0x10_0000,
                length: 0x1000,
                token: 0xdef0,
                offset: 0x1000,
                prot: 3,
                reserved: 0,
            },
        ],
        allowed: vec![
            RawRangeSer {
                start: 0,
                last: 0xfedf_ffff,
            },
            RawRangeSer {
                start: 0x1_0000_0000,
                last: 0x7f_ffff_ffff,
            },
        ],
        devices: vec![
            RawDeviceSer {
                id: 6,
                domain: 0,
                bdf: 0x0100,
                reserved: 0,
            },
            RawDeviceSer {
                id: 2,
                domain: 0,
                bdf: 0x0300,
                reserved: 0,
            },
        ],
    };
    let limits = Iommufd {
        record: RawSer {
            nr_hwpts: 2,
            nr_ioases: 2,
            nr_areas: 2,
            nr_allowed: 2,
            nr_devices: 2,
            flags: 1,
            hwpts: 0xffff_ffff_ffff_f000,
            ioases: 0xffff_ffff_ffff_e000,
            areas: 0xffff_ffff_ffff_d000,
            allowed: 0xffff_ffff_ffff_c000,
            devices: 0xffff_ffff_ffff_b000,
        },
        hwpts: vec![
            RawHwptSer {
                token: 0,
                domain_data: 0,
                id: 0x7fff_ffff,
                ioas_id: 1,
                flags: 0,
                reserved: 0,
            },
            RawHwptSer {
                token: u64::MAX,
                domain_data: 0xffff_ffff_ffff_fff8,
                id: 2,
                ioas_id: 0x7fff_fffe,
                flags: 14,
                reserved: 0,
            },
        ],
        ioases: vec![
            RawIoasSer {
                id: 1,
                flags: 0,
                nr_areas: 0,
                nr_allowed: 0,
            },
            RawIoasSer {
                id: 0x7fff_fffe,
                flags: 1,
                nr_areas: 2,
                nr_allowed: 2,
            },
        ],
        areas: vec![
            RawAreaSer {
                iova: 0,
                length: 1 << 63,
                token: 0,
                offset: 0,
                prot: 1,
                reserved: 0,
            },
            RawAreaSer {
                iova: 0xffff_ffff_ffff_f000,
                length: 0x1000,
                token: u64::MAX,
                offset: 0x7fff_ffff_ffff_f000,
                prot: 7,
                reserved: 0,
            },
        ],
        allowed: vec![
            RawRangeSer { start: 0, last: 0 },
            RawRangeSer {
                start: 1,
                last: u64::MAX,
            },
        ],
        devices: vec![
            RawDeviceSer {
                id: 3,
                domain: 0,
                bdf: 0,
                reserved: 0,
            },
            RawDeviceSer {
                id: 0x7fff_fffd,
                domain: 0x7fff_ffff,
                bdf: 0xffff,
                reserved: 0,
            },
        ],
    };
    let known = [
        ("nothing", nothing),
        ("one", one),
        ("tables", tables),
        ("limits", limits),
    ];

    golden::check(COMPATIBLE, &known, |bytes, meaning| {
        let (record, _) = RawSer::read_from_prefix(bytes).unwrap();
        let found = Iommufd::read(bytes, &record);

        assert_eq!(found, *meaning);
        assert_eq!(found.check(), Ok(()));
        assert_eq!(meaning.bytes(), bytes);
    });
}
