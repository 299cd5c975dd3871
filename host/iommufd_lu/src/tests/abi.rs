// SPDX-License-Identifier: GPL-2.0

//! What is claimed of the bytes that are handed over.

use crate::entries::{
    check,
    Hwpt,
    RawHwptSer,
    RawSer,
    Token, //
};
use core::num::NonZeroU64;
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
const COMPATIBLE: &str = "iommufd-rs-v1";

fn contract() -> Contract {
    Contract {
        header: "iommufd",
        name: COMPATIBLE.into(),
        constants: vec![("IOMMUFD_LUO_COMPATIBLE", Constant::Text(COMPATIBLE))],
        structs: vec![
            testing::layout!(RawHwptSer as iommufd_hwpt_ser { token, domain_data }),
            testing::layout!(RawSer as iommufd_ser { nr_hwpts, reserved, hwpts }),
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
    let known = [
        ("nothing", (0, vec![])),
        ("one", (0x1_2345_6000, vec![(0x1234, 0)])),
        (
            "tables",
            (0x1_2345_6000, vec![(0x1234, 0), (0x5678, 0x1_2345_7010)]),
        ),
        (
            "limits",
            (0xffff_ffff_ffff_f000, vec![(0, 0), (1, 0), (u64::MAX, 0)]),
        ),
    ];

    golden::check(COMPATIBLE, &known, |bytes, (hwpts, named)| {
        let (record, rest) = RawSer::read_from_prefix(bytes).unwrap();
        let raw = rest
            .chunks_exact(16)
            .map(|bytes| RawHwptSer::read_from_bytes(bytes).unwrap());

        assert_eq!(check(&record, raw.clone()), Ok(()));
        assert_eq!(record.hwpts, *hwpts);
        assert!(raw
            .map(|raw| (raw.token, raw.domain_data))
            .eq(named.iter().copied()));

        let mut written = RawSer {
            nr_hwpts: named.len().try_into().unwrap(),
            reserved: 0,
            hwpts: *hwpts,
        }
        .as_bytes()
        .to_vec();
        for (token, domain) in named {
            let hwpt = Hwpt {
                token: Token(*token),
                domain: NonZeroU64::new(*domain),
            };

            written.extend(RawHwptSer::from(hwpt).as_bytes());
        }
        assert_eq!(written, bytes);
    });
}
