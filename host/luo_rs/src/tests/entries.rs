// SPDX-License-Identifier: GPL-2.0

//! What is claimed of the bytes of images, and the fuzzer's claims without a fuzzer.

use super::{
    any_names,
    slices,
    NAMES, //
};
use crate::{
    entries::{
        names,
        Names,
        MAGIC,
        MAX_SIZE, //
    },
    fuzz::fuzz_image,
    images::{
        chunk,
        declaration,
        declaring,
        image,
        kernel_info,
        SETUP, //
    },
    plan::Declared, //
};
use proptest::prelude::*;
use testing::golden;

fn declared(image: &[u8]) -> Option<Vec<&[u8]>> {
    assert_eq!(fuzz_image(image), names(image).is_some());
    names(image).map(|names| names.iter().collect())
}

/// Whether a kernel that hands over [`NAMES`] leaves devices running into an image.
fn is_enough(image: &[u8]) -> bool {
    let own = declaration(NAMES);
    let own = Names::declared(&own).unwrap();

    Declared::by(own, names(image)).lacks(own).is_empty()
}

#[test]
fn reads_what_an_image_declares() {
    assert_eq!(declared(&declaring(NAMES)).unwrap(), NAMES);
    assert!(is_enough(&declaring(NAMES)));
}

#[test]
fn reads_what_was_ever_declared() {
    let known = [
        (
            "vfio-pci",
            vec![
                "kho-v4",
                "luo-v5",
                "pci-v1",
                "pci-driver-v1",
                "pci-probe-v1",
                "vfio-pci-v1",
            ],
        ),
        (
            "all-that-goes-on",
            vec![
                "kho-v4",
                "luo-v5",
                "memfd-v2",
                "pci-v2",
                "pci-driver-rs-v2",
                "pci-probe-rs-v2",
                "iommu-rs-v1",
                "iommufd-rs-v2",
                "vfio-pci-rs-v1",
            ],
        ),
    ];

    golden::check("image-LiUp", &known, |bytes, meaning| {
        let names = meaning.iter().map(|name| name.as_bytes());

        assert_eq!(declaration(names.clone()), bytes);
        assert!(Names::declared(bytes).unwrap().iter().eq(names));
    });
}

#[test]
fn finds_kernel_info_where_the_setup_header_says() {
    for (sectors, setup) in [(0, 5 * 512), (1, 2 * 512), (31, 32 * 512), (255, 256 * 512)] {
        let mut image = declaring(NAMES);
        let gap = vec![0xff; setup - SETUP + 100];

        image.splice(SETUP..SETUP, gap);
        image[0x1f1] = sectors;
        image[0x268] = 100;
        assert!(declared(&image).is_some());
        image[0x268] = 101;
        assert!(declared(&image).is_none());
    }
}

#[test]
fn an_image_without_a_declaration_declares_nothing() {
    assert!(declared(&[]).is_none());
    assert!(declared(&[0; 2048]).is_none());
    assert!(declared(&image(b"")).is_none());
    assert!(declared(&image(&kernel_info(b""))).is_none());
    assert!(declared(&image(&kernel_info(&chunk(*b"0123", b"Struct")))).is_none());
}

#[test]
fn an_image_of_another_format_declares_nothing() {
    for (offset, value) in [
        // No boot sector, no header, a protocol without kernel_info, another kernel_info.
        (0x1fe, 0x54),
        (0x202, b'h'),
        (0x206, 0x0e),
        (SETUP, b'l'),
    ] {
        let mut image = declaring(NAMES);

        assert_ne!(image[offset], value);
        image[offset] = value;
        assert!(declared(&image).is_none());
    }

    let mut image = declaring(NAMES);
    image[0x207] = 3;
    assert!(declared(&image).is_some());
}

#[test]
fn skips_chunks_for_others() {
    let ours = declaration(NAMES);

    for chunks in [
        [chunk(*b"0123", b""), ours.clone()].concat(),
        [ours.clone(), chunk(*b"ABCD", b"String_0\0String_1\0")].concat(),
        [
            chunk(*b"ABCD", b"LiUp"),
            ours.clone(),
            chunk(*b"0123", b"\0\0\0"),
        ]
        .concat(),
    ] {
        assert_eq!(declared(&image(&kernel_info(&chunks))).unwrap(), NAMES);
    }
}

#[test]
fn two_declarations_declare_nothing() {
    let twice = declaration(NAMES).repeat(2);

    assert!(declared(&image(&kernel_info(&twice))).is_none());
}

#[test]
fn chunks_that_do_not_fit_declare_nothing() {
    let ours = declaration(NAMES);

    for rest in [
        // Too short for a header, shorter than its header, longer than the rest.
        &b"012"[..],
        b"0123\x07\0\0\0",
        b"0123\x09\0\0\0",
        b"0123\0\0\0\0",
        // The same, if it were believed that there is another chunk within the header.
        b"0123\x04\0\0\0\x08\0\0\0",
        b"0123\xff\xff\xff\xff",
    ] {
        let chunks = [&ours, rest].concat();
        assert!(declared(&image(&kernel_info(&chunks))).is_none());
    }
}

#[test]
fn sizes_of_kernel_info_that_make_no_sense_declare_nothing() {
    let good = declaring(NAMES);
    let total = u32::try_from(good.len() - SETUP).unwrap();

    for (offset, value) in [
        // The fixed part: less than there always is, within a chunk, all of it, beyond.
        (4, 0),
        (4, 11),
        (4, 17),
        (4, total),
        (4, total + 1),
        (4, u32::MAX),
        // All of it.
        (8, 0),
        (8, 12),
        (8, total - 1),
        (8, total + 1),
        (8, 0x1_0001),
        (8, u32::MAX),
    ] {
        let mut image = good.clone();
        image[SETUP + offset..][..4].copy_from_slice(&value.to_le_bytes());
        assert!(declared(&image).is_none(), "{value:#x} at {offset}");
    }

    // What is fixed is no chunk, though it may look like one.
    let mut image = good.clone();
    image[SETUP + 4] = 8;
    image[SETUP + 12..][..4].copy_from_slice(&[8, 0, 0, 0]);
    assert!(declared(&image).is_none());

    for offset in [u32::MAX, u32::MAX - 1023, total] {
        let mut image = good.clone();
        image[0x268..0x26c].copy_from_slice(&offset.to_le_bytes());
        assert!(declared(&image).is_none());
    }
}

#[test]
fn kernel_info_is_looked_at_up_to_a_limit() {
    let ours = declaration(NAMES);
    let other = |size: usize| chunk(*b"0123", &vec![0; size - 8]);

    let fits = 0x1_0000 - 16 - ours.len();
    let image_of = |size| image(&kernel_info(&[ours.clone(), other(size)].concat()));
    assert!(names(&image_of(fits)).is_some());
    assert!(names(&image_of(fits + 1)).is_none());
}

#[test]
fn an_image_that_is_cut_off_declares_nothing() {
    let good = declaring(NAMES);

    for size in 0..good.len() {
        assert!(declared(&good[..size]).is_none());
    }
}

#[test]
fn odd_names_declare_nothing() {
    for data in [
        &b""[..],
        b"\0",
        b"kho-v4",
        b"\0kho-v4\0",
        b"kho-v4\0\0",
        b"kho-v4\0\0pci-v1\0",
        b"kho-v4\0pci-v1",
        // Without a version, or without anything before it.
        b"kho\0",
        b"kho-v\0",
        b"kho-v4a\0",
        b"kho-4\0",
        b"khov4\0",
        b"-v4\0",
        b"4\0",
        b"kho-v4\0iommu-rs\0",
        b"kho-v4\0iommu-rs\0pci-v1\0",
    ] {
        assert_eq!(Names::declared(&chunk(MAGIC, data)), None);
        assert!(declared(&image(&kernel_info(&chunk(MAGIC, data)))).is_none());
    }
}

#[test]
fn a_declaration_is_all_there_is() {
    let good = declaration(NAMES);

    assert!(Names::declared(&good).is_some());
    assert_eq!(Names::declared(&[&good[..], b"x\0"].concat()), None);
    assert_eq!(Names::declared(&good[..good.len() - 12]), None);
    assert_eq!(Names::declared(&[b"l", &good[1..]].concat()), None);
    assert_eq!(Names::declared(&[]), None);
    assert_eq!(Names::declared(b"LiUp\x08\0\0"), None);
}

#[test]
fn a_declaration_has_a_limit() {
    for (size, fits) in [(MAX_SIZE, true), (MAX_SIZE + 1, false)] {
        let mut name = vec![b'x'; size - 9];
        name.splice(size - 12.., *b"-v1");
        let declaration = declaration([&name[..]]);

        assert_eq!(declaration.len(), size);
        assert_eq!(Names::declared(&declaration).is_some(), fits);
    }
}

#[test]
fn a_bit_that_is_wrong_in_the_declaration_is_not_overlooked() {
    let good = declaring(NAMES);
    let start = SETUP + 16;

    for bit in start * 8..good.len() * 8 {
        let mut image = good.clone();
        image[bit / 8] ^= 1 << (bit % 8);
        fuzz_image(&image);
        assert!(!is_enough(&image), "bit {} of byte {}", bit % 8, bit / 8);
    }
}

proptest! {
    #![proptest_config(testing::config())]

    #[test]
    fn names_survive_being_declared_and_read(all in any_names()) {
        let image = declaring(slices(&all));
        let fits = declaration(slices(&all)).len() <= MAX_SIZE;

        prop_assert_eq!(names(&image).is_some(), fits);
        if let Some(names) = names(&image) {
            prop_assert!(names.iter().eq(slices(&all)));
        }
        prop_assert_eq!(fuzz_image(&image), fits);
    }

    #[test]
    fn any_bytes_are_harmless(bytes in prop::collection::vec(any::<u8>(), 0..2048)) {
        fuzz_image(&bytes);
        fuzz_image(&kernel_info(&bytes));
        fuzz_image(&kernel_info(&chunk(MAGIC, &bytes)));
    }

    #[test]
    fn corrupt_bytes_are_harmless(
        all in any_names(),
        places in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut image = declaring(slices(&all));

        for (place, value) in places {
            let place = place.index(image.len());
            image[place] = value;
        }
        fuzz_image(&image);
    }
}
