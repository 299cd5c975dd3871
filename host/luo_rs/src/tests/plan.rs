// SPDX-License-Identifier: GPL-2.0

//! What is claimed of the decision.

use super::{
    any_names,
    slices,
    NAMES, //
};
use crate::{
    entries::Names,
    images::declaration,
    plan::Declared, //
};
use kernel::fmt::Adapter;
use proptest::prelude::*;

/// Returns what a kernel that hands over `own` misses of an image that declares `image`.
fn lacks(own: &[&[u8]], image: &[&[u8]]) -> String {
    let (own, image) = (
        declaration(own.iter().copied()),
        declaration(image.iter().copied()),
    );
    let own = Names::declared(&own).unwrap();
    let lacks = Declared::by(own, Names::declared(&image)).lacks(own);

    let text = Adapter(&lacks).to_string();
    assert_eq!(lacks.is_empty(), text.is_empty());
    text
}

#[test]
fn all_names_have_to_be_declared() {
    assert_eq!(lacks(&NAMES, &NAMES), "");
    assert_eq!(
        lacks(&NAMES, &[]),
        "kho-v4, pci-v2, pci-driver-rs-v2, vfio-pci-rs-v1"
    );
    for missing in 0..NAMES.len() {
        let mut image = NAMES.to_vec();
        let name = image.remove(missing);
        assert_eq!(lacks(&NAMES, &image).as_bytes(), name);
    }
}

#[test]
fn the_order_of_names_and_other_names_do_not_matter() {
    let mut image = NAMES.to_vec();
    image.reverse();
    image.insert(2, b"iommu-v7");
    assert_eq!(lacks(&NAMES, &image), "");
}

#[test]
fn another_version_or_a_part_of_a_name_is_another_name() {
    for other in [
        &b"vfio-pci-rs-v2"[..],
        b"vfio-pci-rs-v11",
        b"vfio-pci-v1",
        b"fio-pci-rs-v1",
        b"xvfio-pci-rs-v1",
        b"VFIO-PCI-RS-v1",
    ] {
        assert_eq!(
            lacks(&NAMES, &[NAMES[0], NAMES[1], NAMES[2], other]),
            "vfio-pci-rs-v1"
        );
    }
}

#[test]
fn an_image_that_nobody_read_declares_nothing() {
    let own = declaration(NAMES);
    let own = Names::declared(&own).unwrap();

    assert_eq!(Declared::by(own, None), Declared::NOTHING);
    assert_eq!(Declared::NOTHING, Declared(0));
    assert_eq!(Declared::NOTHING.lacks(own).names().count(), NAMES.len());
}

#[test]
fn names_beyond_those_that_fit_are_never_declared() {
    for count in [63, 64, 65, 130] {
        let names: Vec<String> = (0..count).map(|number| format!("x-v{number}")).collect();
        let names: Vec<&[u8]> = names.iter().map(|name| name.as_bytes()).collect();
        let missing = names[count.min(64)..].join(&b", "[..]);

        assert_eq!(lacks(&names, &names).as_bytes(), missing);
    }
}

#[test]
fn strange_names_are_shown_in_printable_characters() {
    assert_eq!(lacks(&[b"x\n\x1b\xff-v1"], &[]), "x\\n\\x1b\\xff-v1");
}

proptest! {
    #![proptest_config(testing::config())]

    #[test]
    fn what_is_missing_is_what_is_not_declared(own in any_names(), image in any_names()) {
        let (own, image) = (declaration(slices(&own)), declaration(slices(&image)));

        if let Some(own) = Names::declared(&own) {
            let image = Names::declared(&image);
            let lacks = Declared::by(own, image).lacks(own);
            let missing = own.iter().enumerate().filter(|(index, name)| {
                *index >= 64 || !image.is_some_and(|image| image.iter().any(|other| other == *name))
            });

            prop_assert!(lacks.names().eq(missing.map(|(_, name)| name)));
        }
    }
}
