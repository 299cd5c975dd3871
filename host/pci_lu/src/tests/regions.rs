// SPDX-License-Identifier: GPL-2.0

//! What is claimed of where devices answer.

use crate::{
    entries::Probe,
    probes::{
        ones,
        Kind, //
    },
    regions::{
        bars,
        windows,
        Place,
        Region, //
    }, //
};
use kernel::fmt::Adapter;
use proptest::prelude::*;
use std::collections::BTreeMap;

/// What registers read as: those that are not named, as zero.
fn reads(registers: &[(u16, u32)]) -> impl Fn(u16) -> u32 {
    let registers: BTreeMap<u16, u32> = registers.iter().copied().collect();

    move |register| registers.get(&register).copied().unwrap_or(0)
}

/// What is handed over of base address registers of these sizes, which read as `registers`.
fn described(registers: &[(u16, u32)], sizes: &[(u16, u64)]) -> Vec<Probe> {
    let read = reads(registers);
    let mut probes = Vec::new();

    for &(register, size) in sizes {
        let ones = ones(Kind::Bar, size, read(register)).unwrap();

        probes.push(Probe {
            register,
            value: ones.low,
        });
        probes.extend(ones.high.map(|value| Probe {
            register: register + 4,
            value,
        }));
    }
    probes
}

fn regions(registers: &[(u16, u32)], sizes: &[(u16, u64)]) -> Vec<Region> {
    bars(&described(registers, sizes), reads(registers)).collect()
}

fn bar(number: u8, is_io: bool, start: u64, last: u64) -> Region {
    Region {
        place: Place::Bar(number),
        is_io,
        start,
        last,
    }
}

#[test]
fn a_device_answers_where_its_registers_say() {
    let registers = [
        (0x10, 0xfeb8_0000),
        (0x14, 0x0000_c001),
        (0x18, 0xfe00_000c),
        (0x1c, 0x0000_0038),
        (0x24, 0xfebb_c000),
    ];
    let sizes = [
        (0x10, 0x2_0000),
        (0x14, 0x20),
        (0x18, 0x20_0000),
        (0x24, 0x4000),
    ];

    assert_eq!(
        regions(&registers, &sizes),
        [
            bar(0, false, 0xfeb8_0000, 0xfeb9_ffff),
            bar(1, true, 0xc000, 0xc01f),
            bar(2, false, 0x38_fe00_0000, 0x38_fe1f_ffff),
            bar(5, false, 0xfebb_c000, 0xfebb_ffff),
        ]
    );
}

#[test]
fn the_last_addresses_of_all_are_addresses() {
    let registers = [(0x10, 0x8000_000c), (0x14, 0xffff_ffff)];

    assert_eq!(
        regions(&registers, &[(0x10, 1 << 31)]),
        [bar(0, false, 0xffff_ffff_8000_0000, u64::MAX)]
    );
}

#[test]
fn registers_without_an_address_or_a_size_are_nowhere() {
    assert_eq!(regions(&[], &[(0x10, 0x1000)]), []);
    assert_eq!(regions(&[(0x10, 0x4)], &[(0x10, 0x1000)]), []);

    let read = || reads(&[(0x10, 0xfeb8_0000), (0x14, 0xfe00_000c)]);
    let without_size = [Probe {
        register: 0x10,
        value: 0,
    }];
    let without_upper_half = [Probe {
        register: 0x14,
        value: 0xffff_000c,
    }];
    let elsewhere = [Probe {
        register: 0x30,
        value: 0xffff_0000,
    }];
    assert_eq!(bars(&without_size, read()).count(), 0);
    assert_eq!(bars(&without_upper_half, read()).count(), 0);
    assert_eq!(bars(&elsewhere, read()).count(), 0);
}

#[test]
fn an_address_between_those_of_its_size_is_not_believed() {
    let probes = described(&[], &[(0x10, 0x1_0000)]);

    assert_eq!(bars(&probes, reads(&[(0x10, 0xfeb8_1000)])).count(), 0);
}

fn window(number: u8, is_io: bool, start: u64, last: u64) -> Region {
    Region {
        place: Place::Window(number),
        is_io,
        start,
        last,
    }
}

#[test]
fn a_bridge_forwards_what_its_windows_are_open_for() {
    let read = reads(&[
        (0x1c, 0x0000_1010),
        (0x20, 0xfebf_fea0),
        (0x24, 0x0011_0001),
        (0x28, 0x0000_0038),
        (0x2c, 0x0000_0038),
    ]);

    assert_eq!(
        windows(read).collect::<Vec<_>>(),
        [
            window(0, true, 0x1000, 0x1fff),
            window(1, false, 0xfea0_0000, 0xfebf_ffff),
            window(2, false, 0x38_0000_0000, 0x38_001f_ffff),
        ]
    );
}

#[test]
fn ports_may_have_32_bits() {
    let read = reads(&[(0x1c, 0x0000_2111), (0x30, 0x0002_0001)]);

    assert_eq!(
        windows(read).collect::<Vec<_>>(),
        [window(0, true, 0x1_1000, 0x2_2fff)]
    );
}

#[test]
fn closed_windows_forward_nothing() {
    let closed = [
        (0x1c, 0x0000_00f0),
        (0x20, 0x0000_fff0),
        (0x24, 0x0000_fff1),
    ];

    assert_eq!(windows(reads(&closed)).count(), 0);
    // As those that a bridge does not have.
    assert_eq!(windows(reads(&[])).count(), 0);
}

#[test]
fn a_region_is_named_as_the_kernel_names_resources() {
    let shown = |region: Region| Adapter(&region).to_string();

    assert_eq!(
        shown(bar(0, false, 0xfeb8_0000, 0xfeb9_ffff)),
        "BAR 0 [mem 0xfeb80000-0xfeb9ffff]"
    );
    assert_eq!(
        shown(window(0, true, 0x1000, 0x1fff)),
        "window 0 [io  0x00001000-0x00001fff]"
    );
}

proptest! {
    #[test]
    fn regions_are_whole_whatever_registers_have(
        registers in prop::collection::vec(any::<u32>(), 16),
        values in prop::collection::vec(any::<u32>(), 6),
    ) {
        let read = |register: u16| registers.get(usize::from(register / 4)).copied().unwrap_or(0);
        let probes: Vec<Probe> = values
            .iter()
            .zip(4..)
            .map(|(&value, index)| Probe { register: 4 * index, value })
            .collect();

        for region in bars(&probes, read) {
            let size = region.last - region.start;
            prop_assert!(region.start != 0 && (size & size.wrapping_add(1)) == 0);
        }
        for region in windows(read) {
            prop_assert!(region.start != 0 && region.start <= region.last);
        }
    }
}
