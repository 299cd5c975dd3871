// SPDX-License-Identifier: GPL-2.0

//! What is claimed of writes to bridges.

use crate::writes::{
    bridge_may,
    restores,
    Capabilities,
    Write, //
};
use proptest::prelude::*;

/// A bridge with all capabilities.
const AT: Capabilities = Capabilities {
    express: 0x40,
    msi: 0x80,
    msi_end: 0x98,
    msix: 0xa0,
    aer: 0x100,
    dpc: 0x180,
};

const fn write(offset: u16, size: u8, value: u32) -> Write {
    Write {
        offset,
        size,
        value,
    }
}

fn word(offset: u16, old: u32, value: u32) -> bool {
    bridge_may(&AT, old << (8 * (offset & 2)), write(offset, 2, value))
}

fn dword(offset: u16, old: u32, value: u32) -> bool {
    bridge_may(&AT, old, write(offset, 4, value))
}

#[test]
fn what_keeps_the_device_connected_stays() {
    // Decoding and bus mastering, however little of it.
    for bit in [0, 1, 2] {
        assert!(!word(0x04, 0x0407, 0x0407 & !(1 << bit)));
    }
    // Base addresses, bus numbers, windows, ROM.
    for offset in [0x10, 0x14, 0x18, 0x1c, 0x20, 0x24, 0x28, 0x2c, 0x30, 0x38] {
        assert!(!dword(offset, 0x1234_5678, 0xffff_ffff), "{offset:#x}");
        assert!(!dword(offset, 0x0000_0000, 0x0000_0100), "{offset:#x}");
    }
    // Retrain Link, Link Disable, ASPM, common clock.
    for bit in [0, 1, 4, 5, 6, 8] {
        assert!(!word(0x50, 0x0000, 1 << bit));
        assert!(!word(0x50, 0xffff, 0xffff & !(1 << bit)));
    }
    // Slot power and interlock, payload and read request size, Device Control 2 with ARI.
    assert!(!word(0x58, 0x0000, 0x0400));
    assert!(!word(0x58, 0x0000, 0x0800));
    assert!(!word(0x48, 0x0000, 0x5020));
    assert!(!word(0x68, 0x0000, 0x0020));
    assert!(!word(0x68, 0x0020, 0x0000));
    // Link Control 2, and where nothing is known to be: power management, ACS.
    assert!(!word(0x70, 0x0000, 0x0003));
    assert!(!word(0xc4, 0x0000, 0x0003));
    assert!(!word(0x206, 0x001d, 0x0000));
}

#[test]
fn services_get_their_interrupts() {
    assert!(word(0x04, 0x0007, 0x0407));
    assert!(word(0x82, 0x0180, 0x0181));
    assert!(dword(0x84, 0, 0xfee0_1000));
    assert!(word(0x94, 0, 1));
    assert!(!word(0x98, 0, 1));
    assert!(word(0xa2, 0x0000, 0xc000));
    assert!(word(0x58, 0x0000, 0x1039));
    assert!(word(0x50, 0x0040, 0x0c40));
    assert!(word(0x5c, 0x0000, 0x000f));
    assert!(dword(0x12c, 0, 7));
    assert!(word(0x186, 0, 0x0009));
}

#[test]
fn a_bus_reset_can_be_asked_for() {
    assert!(word(0x3e, 0x0000, 0x0040));
    assert!(word(0x3e, 0x0040, 0x0000));
    assert!(!word(0x3e, 0x0002, 0x0040));
}

#[test]
fn bus_numbers_are_cleared_but_not_given() {
    assert!(dword(0x18, 0x0004_0300, 0));
    assert!(!dword(0x18, 0x0004_0300, 0x0005_0300));
    assert!(!dword(0x18, 0, 0x0004_0300));
    // Some bits of them, or one of them, which are other numbers.
    assert!(!dword(0x18, 0x0007_0300, 0x0007_0200));
    assert!(!dword(0x18, 0x0007_0300, 0x0004_0300));
    assert!(!dword(0x18, 0x0004_0300, 0x0000_0300));
    assert!(!word(0x18, 0x0300, 0));
    assert!(!bridge_may(&AT, 0x0004_0300, write(0x1a, 1, 0)));
    // Not with the latency timer beside them.
    assert!(dword(0x18, 0x4004_0300, 0x4000_0000));
    assert!(!dword(0x18, 0x4004_0300, 0));
}

#[test]
fn errors_are_reported_not_hidden() {
    assert!(word(0x48, 0x2810, 0x281f));
    assert!(!word(0x48, 0x281f, 0x2810));
    assert!(word(0x04, 0x0007, 0x0147));
    assert!(!word(0x04, 0x0147, 0x0007));
}

#[test]
fn status_is_acknowledged_beside_bits_that_cannot_be_written() {
    // Device, link, slot and root status.
    for (offset, old, ones) in [
        (0x4a, 0x0031, 0x0001),
        (0x52, 0xf011, 0x4000),
        (0x5a, 0x0148, 0x0108),
    ] {
        assert!(word(offset, old, ones), "{offset:#x}");
        assert!(!word(offset, old & !ones, ones), "{offset:#x}");
    }
    assert!(dword(0x60, 0x0001_0100, 0x0001_0100));
    // Errors, and that something was contained.
    assert!(dword(0x104, 0x0010_0000, 0x0010_0000));
    assert!(dword(0x130, 0x0800_0001, 0x0000_0001));
    assert!(word(0x188, 0x1f09, 0x0001));
    // Secondary Status and Status are nobody's.
    assert!(!word(0x1e, 0x2000, 0xffff));
    assert!(!word(0x06, 0x2010, 0xf900));
}

#[test]
fn a_bridge_without_the_capability_has_no_registers_of_it() {
    let at = Capabilities::default();

    for offset in (0x40..0x1000).step_by(4) {
        assert!(
            !bridge_may(&at, 0, write(offset, 4, u32::MAX)),
            "{offset:#x}"
        );
    }
}

#[test]
fn what_was_lost_is_given_back() {
    // A window that a reset closed, by parts and at once.
    assert!(restores(0xfe9f_fe80, 0, write(0x20, 4, 0xfe9f_fe80)));
    assert!(restores(0xfe9f_fe80, 0, write(0x20, 2, 0xfe80)));
    assert!(restores(0xfe9f_fe80, 0, write(0x22, 2, 0xfe9f)));
    assert!(restores(0xfe9f_fe80, 0, write(0x23, 1, 0xfe)));
    // Another one, and one that was not lost.
    assert!(!restores(0xfe9f_fe80, 0, write(0x20, 4, 0xfe9f_fe70)));
    assert!(!restores(0xfe9f_fe80, 0, write(0x22, 2, 0xfe80)));
    assert!(!restores(
        0xfe9f_fe80,
        0xfe9f_fe80,
        write(0x20, 4, 0xfe9f_fe80)
    ));
    assert!(!restores(0xfe9f_fe80, 0xfe9f_0000, write(0x22, 2, 0xfe9f)));
}

proptest! {
    #[test]
    fn what_changes_nothing_is_dropped(offset in 0..0x1000u16, old: u32, size in 0..3u32) {
        let size = 1 << size;
        let offset = offset & !(size - 1);
        // A one acknowledges, so that reading and writing back does change something there.
        let value = (old >> (8 * (offset & 3))) & match size { 1 => 0xff, 2 => 0xffff, _ => u32::MAX };

        let may = bridge_may(&AT, old, write(offset, size as u8, value));
        prop_assert_eq!(may && value == 0, false);
    }

    /// The bytes beside those that are written do not count.
    #[test]
    fn only_bytes_that_are_written_count(old: u32, other: u32, value: u8, offset in 0..0x200u16) {
        let mask = 0xff << (8 * (offset & 3));
        let mixed = (old & mask) | (other & !mask);
        let write = write(offset, 1, value.into());

        // But for what may be at one end of a change only.
        prop_assert_eq!(bridge_may(&AT, old, write), bridge_may(&AT, mixed, write));
    }

    #[test]
    fn nothing_in_the_header_but_what_is_listed(offset in 0..0x10u16, old: u32, value: u32) {
        let offset = 4 * offset;

        if ![0x04, 0x18, 0x3c].contains(&offset) {
            prop_assert!(!dword(offset, old, value));
        }
    }
}
