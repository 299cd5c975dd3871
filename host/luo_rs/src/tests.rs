// SPDX-License-Identifier: GPL-2.0

//! What is claimed of the pure files.

mod entries;
mod plan;

use proptest::prelude::*;

/// What a kernel declares.
const NAMES: [&[u8]; 4] = [b"kho-v4", b"pci-v2", b"pci-driver-rs-v2", b"vfio-pci-rs-v1"];

/// Any names that can be declared, often few.
fn any_names() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let any = (prop::collection::vec(1..=u8::MAX, 1..20), any::<u64>());
    let name = prop_oneof![
        prop::sample::select(NAMES.to_vec()).prop_map(<[u8]>::to_vec),
        any.prop_map(|(name, version)| [&name, format!("-v{version}").as_bytes()].concat()),
    ];

    prop_oneof![
        prop::collection::vec(name.clone(), 1..6),
        prop::collection::vec(name, 1..100),
    ]
}

/// Names as the functions take them.
fn slices(names: &[Vec<u8>]) -> impl Iterator<Item = &[u8]> + Clone {
    names.iter().map(Vec::as_slice)
}
