// SPDX-License-Identifier: GPL-2.0

//! What is claimed of the records, and the fuzzer's claims without a fuzzer.

use crate::{
    entries::{
        check,
        BadRecord,
        Hwpt,
        RawHwptSer,
        RawSer,
        Token, //
    },
    fuzz::fuzz_iommufd, //
};
use core::num::NonZeroU64;
use kernel::{
    fmt::Adapter,
    prelude::*, //
};
use proptest::{
    collection::{
        btree_set,
        vec, //
    },
    prelude::*,
};

fn record(nr_hwpts: u32) -> RawSer {
    RawSer {
        nr_hwpts,
        reserved: 0,
        hwpts: 0x1000,
    }
}

fn hwpts(tokens: &[u64]) -> impl Iterator<Item = RawHwptSer> + '_ {
    tokens.iter().map(|token| {
        let hwpt = Hwpt {
            token: Token(*token),
            domain: None,
        };

        hwpt.into()
    })
}

#[test]
fn accepts_tokens_in_their_order() {
    assert_eq!(check(&record(0), hwpts(&[])), Ok(()));
    assert_eq!(check(&record(3), hwpts(&[0, 1, u64::MAX])), Ok(()));
}

#[test]
fn refuses_tokens_out_of_order() {
    assert_eq!(
        check(&record(2), hwpts(&[2, 1])),
        Err(BadRecord::Order(Token(1)))
    );
    assert_eq!(
        check(&record(2), hwpts(&[7, 7])),
        Err(BadRecord::Order(Token(7)))
    );
}

#[test]
fn refuses_other_numbers_of_hwpts() {
    for (announced, tokens) in [(1, &[][..]), (0, &[1]), (3, &[1, 2]), (u32::MAX, &[1])] {
        assert_eq!(
            check(&record(announced), hwpts(tokens)),
            Err(BadRecord::Count {
                announced,
                found: tokens.len()
            })
        );
    }
}

#[test]
fn refuses_what_it_does_not_know() {
    let reserved = RawSer {
        reserved: 1,
        ..record(0)
    };

    assert_eq!(check(&reserved, hwpts(&[])), Err(BadRecord::Reserved));
}

#[test]
fn page_table_is_where_it_can_be() {
    let hwpt = |domain_data| RawHwptSer {
        token: 5,
        domain_data,
    };

    assert_eq!(Hwpt::try_from(hwpt(0)).map(|hwpt| hwpt.domain), Ok(None));
    assert_eq!(
        Hwpt::try_from(hwpt(0x1018)).map(|hwpt| hwpt.domain),
        Ok(NonZeroU64::new(0x1018))
    );
    for domain_data in [1, 0x1004, u64::MAX] {
        assert_eq!(
            check(&record(1), [hwpt(domain_data)].into_iter()),
            Err(BadRecord::Domain(Token(5)))
        );
    }
}

#[test]
fn says_what_is_wrong() {
    for (bad, text) in [
        (BadRecord::Reserved, "a field that is to be zero is not"),
        (
            BadRecord::Domain(Token(5)),
            "HWPT 0x5 has a page table where there can be none",
        ),
        (
            BadRecord::Order(Token(5)),
            "HWPT 0x5 is named twice or out of order",
        ),
        (
            BadRecord::Count {
                announced: 2,
                found: 1,
            },
            "2 HWPTs are announced, 1 are named",
        ),
    ] {
        assert_eq!(Adapter(&bad).to_string(), text);
    }
}

fn bytes(record: RawSer, hwpts: impl Iterator<Item = RawHwptSer>) -> Vec<u8> {
    let mut bytes = record.as_bytes().to_vec();

    for hwpt in hwpts {
        bytes.extend(hwpt.as_bytes());
    }
    bytes
}

proptest! {
    #![proptest_config(testing::config())]

    #[test]
    fn what_is_written_is_accepted(tokens in btree_set(any::<u64>(), 0..20)) {
        let tokens: Vec<u64> = tokens.into_iter().collect();

        prop_assert!(fuzz_iommufd(&bytes(record(tokens.len() as u32), hwpts(&tokens))));
    }

    #[test]
    fn any_bytes_are_refused_or_harmless(bytes in vec(any::<u8>(), 0..200)) {
        fuzz_iommufd(&bytes);
    }

    #[test]
    fn a_corrupt_bit_is_refused_or_harmless(tokens in btree_set(any::<u64>(), 1..5)) {
        let tokens: Vec<u64> = tokens.into_iter().collect();
        let good = bytes(record(tokens.len() as u32), hwpts(&tokens));

        for bit in 0..8 * good.len() {
            let mut bytes = good.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);

            // Where the list is, and tokens, may be anything. Page tables are where they can be.
            let (field, hwpt, is_aligned) = (bit / 64, bit >= 128, bit % 64 >= 3);
            let may_be_anything = field == 1 || (hwpt && (field % 2 == 0 || is_aligned));
            prop_assert!(!fuzz_iommufd(&bytes) || may_be_anything);
        }
    }
}
