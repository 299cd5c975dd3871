// SPDX-License-Identifier: GPL-2.0

//! The fuzzer's claims, for a few bytes of all sorts and without a fuzzer.

use crate::fuzz::fuzz_iommu;
use proptest::prelude::*;

proptest! {
    #[test]
    fn any_bytes_are_read(bytes in prop::collection::vec(any::<u8>(), 0..4200)) {
        fuzz_iommu(&bytes);
    }

    #[test]
    fn domains_of_all_sorts_are_read(
        format in 0u32..4,
        level in 0u32..7,
        width in 0u32..70,
        top in prop_oneof![Just(0x1000u64), any::<u64>()],
        tables in 0u64..3,
        features in 0u32..20,
    ) {
        let mut page = vec![0; 16];

        page[8] = 1;
        page.extend(1u32.to_le_bytes());
        page.extend(0u32.to_le_bytes());
        page.extend(top.to_le_bytes());
        page.extend(tables.to_le_bytes());
        for word in [format, features, level, width] {
            page.extend(word.to_le_bytes());
        }
        fuzz_iommu(&page);
    }
}

#[test]
fn good_domain_is_accepted() {
    let mut page = vec![0; 56];

    page[8] = 1; // nr_objects
    page[16] = 1; // ref_count
    page[25] = 0x10; // top_table_phys
    page[32] = 1; // nr_tables
    page[40] = 1; // format
    page[48] = 3; // top_level
    page[52] = 48; // vasz
    assert_eq!(fuzz_iommu(&page), 1);
}
