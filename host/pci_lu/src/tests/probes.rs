// SPDX-License-Identifier: GPL-2.0

//! What is claimed of registers that are not written to.

use super::address;
use crate::{
    entries::{
        BadRecord,
        Probe,
        ProbeEntry,
        RawProbeSer,
        RawSer,
        CONFIG_SPACE_SIZE, //
    },
    plan::{
        is_configured,
        is_same,
        keep_mastering,
        keeps_mastering,
        probed,
        COMMAND,
        IDENTITY,
        MASTER, //
    },
    probes::{
        ones,
        Kind,
        Ones,
        INTX_DISABLE, //
    },
    storage, //
};
use proptest::prelude::*;

/// A register of a device, for a resource of 2^`size_lg2` bytes: the bits of the address that are
/// not needed to tell one byte of the resource from another can be written, and no others.
fn write_ones(fixed: u64, now: u64, size_lg2: u32) -> u64 {
    let writable = u64::MAX << size_lg2;

    (writable & !fixed) | (now & fixed)
}

#[test]
fn registers_read_as_if_all_ones_were_written() {
    for size_lg2 in 0..64 {
        let size = 1 << size_lg2;

        for now in [0x0, 0x8, 0xfee0_0000, 0xfee0_0008] {
            let expected = (4..=31).contains(&size_lg2).then(|| Ones {
                low: write_ones(0xf, now, size_lg2) as u32,
                high: None,
            });
            assert_eq!(ones(Kind::Bar, size, now as u32), expected, "memory");
        }
        for now in [0x4, 0xc, 0xfee0_000c] {
            let expected = (size_lg2 >= 4).then(|| Ones {
                low: write_ones(0xf, now, size_lg2) as u32,
                high: Some((write_ones(0xf, now, size_lg2) >> 32) as u32),
            });
            assert_eq!(ones(Kind::Bar, size, now as u32), expected, "64 bits");
        }
        let expected = (2..=31).contains(&size_lg2).then(|| Ones {
            low: write_ones(0x3, 0x1001, size_lg2) as u32,
            high: None,
        });
        assert_eq!(ones(Kind::Bar, size, 0x1001), expected, "I/O");

        // Whether it is enabled is no bit of the address, and is not read back.
        let expected = (11..=31).contains(&size_lg2).then(|| Ones {
            low: write_ones(0x7ff, 0, size_lg2) as u32,
            high: None,
        });
        assert_eq!(ones(Kind::Rom, size, 0xfee0_0001), expected, "ROM");
    }
}

#[test]
fn no_register_has_a_size_that_is_no_power_of_two() {
    for size in [0, 3, 0x1001, 0x3000, u64::MAX] {
        for (kind, now) in [
            (Kind::Bar, 0),
            (Kind::Bar, 1),
            (Kind::Bar, 4),
            (Kind::Rom, 0),
        ] {
            assert_eq!(ones(kind, size, now), None);
        }
    }
}

fn raw(bdf: u16, offset: u16) -> RawProbeSer {
    RawProbeSer {
        domain: 0,
        bdf,
        offset,
        value: 0,
    }
}

fn read(records: &[RawProbeSer]) -> Result<Vec<ProbeEntry>, BadRecord> {
    let (header, _) = storage::write_probes(&[], 0);
    let header = RawSer {
        nr_devices: records.len().try_into().unwrap(),
        ..header
    };

    storage::read_probes(&header, records)
}

#[test]
fn refuses_registers_that_there_cannot_be() {
    for offset in [1, 2, 3, CONFIG_SPACE_SIZE, u16::MAX - 3] {
        let bad = BadRecord::Register(address(0, 8), offset);
        assert_eq!(read(&[raw(8, offset)]), Err(bad));
    }
    assert_eq!(read(&[raw(8, CONFIG_SPACE_SIZE - 4)]).unwrap().len(), 1);
    assert_eq!(
        read(&[RawProbeSer {
            domain: 1 << 31,
            ..raw(8, 4)
        }]),
        Err(BadRecord::Domain(1 << 31))
    );
}

#[test]
fn refuses_registers_out_of_order() {
    let order = Err(BadRecord::Order(address(0, 8)));

    assert_eq!(read(&[raw(8, 4), raw(8, 4)]), order);
    assert_eq!(read(&[raw(8, 8), raw(8, 4)]), order);
    assert_eq!(read(&[raw(9, 4), raw(8, 8)]), order);
    assert_eq!(read(&[raw(8, 8), raw(9, 4)]).unwrap().len(), 2);
}

#[test]
fn refuses_another_number_than_announced() {
    let (mut header, _) = storage::write_probes(&[], 0);
    header.nr_devices = 2;

    let count = BadRecord::Count {
        announced: 2,
        found: 1,
    };
    assert_eq!(storage::read_probes(&header, &[raw(8, 4)]), Err(count));
}

#[test]
fn a_device_that_reads_as_something_else_is_another_one() {
    let probes = [
        (IDENTITY[0], 0x10c9_8086),
        (COMMAND, 0x0400),
        (IDENTITY[1], 0x0200_0001),
    ]
    .map(|(register, value)| Probe { register, value });
    let device = |id, class| move |register| if register == IDENTITY[0] { id } else { class };

    assert!(is_same(&probes, device(0x10c9_8086, 0x0200_0001)));
    assert!(!is_same(&probes, device(0x10ca_8086, 0x0200_0001)));
    assert!(!is_same(&probes, device(0x10c9_8086, 0x0280_0001)));
    assert!(!is_same(&probes, device(0x10c9_8086, 0x0200_0002)));
    assert!(!is_same(&probes, device(u32::MAX, u32::MAX)));

    // Nothing is known of it.
    assert!(is_same(&[], device(u32::MAX, u32::MAX)));
    assert!(is_same(&probes[1..2], device(u32::MAX, u32::MAX)));
}

#[test]
fn a_device_without_addresses_is_not_as_it_was_left() {
    let bars = [
        (COMMAND, 0x0400),
        (0x10, 0xfffe_0000),
        (0x18, 0xffff_ffe1),
        (0x30, 0xfff8_0000),
    ]
    .map(|(register, value)| Probe { register, value });
    let device = |memory, ports, rom| {
        move |register| match register {
            0x10 => memory,
            0x18 => ports,
            0x30 => rom,
            _ => panic!("no base address register is at {register:#x}"),
        }
    };

    assert!(is_configured(&bars, device(0xfe80_0000, 0xc001, 0)));
    assert!(is_configured(&bars, device(0xfe80_0000, 0x0001, 0)));
    assert!(is_configured(&bars, device(0, 0xc021, 0)));
    assert!(!is_configured(&bars, device(0, 0x0001, 0)));
    assert!(!is_configured(&bars, device(0xc, 0x0001, 0xfff8_0001)));

    // Nobody can tell.
    assert!(is_configured(&bars[..1], device(0, 0, 0)));
    assert!(is_configured(&[], device(0, 0, 0)));
}

#[test]
fn a_device_goes_on_if_that_can_be_noted() {
    let probe = |register, value| Probe { register, value };
    let mut known = [
        probe(IDENTITY[0], 0x10c9_8086),
        probe(COMMAND, INTX_DISABLE),
        probe(0x10, 0xffff_f000),
    ];

    assert!(!keeps_mastering(&known));
    assert!(keep_mastering(&mut known, true));
    assert!(keeps_mastering(&known));
    assert_eq!(
        known.map(|probe| probe.value),
        [0x10c9_8086, INTX_DISABLE | MASTER, 0xffff_f000]
    );

    assert!(keep_mastering(&mut known, false));
    assert!(!keeps_mastering(&known));
    assert_eq!(
        known.map(|probe| probe.value),
        [0x10c9_8086, INTX_DISABLE, 0xffff_f000]
    );

    // Of these nothing is known that can be written.
    for known in [&mut known[..1], &mut []] {
        assert!(!keep_mastering(known, true));
        assert!(!keeps_mastering(known));
    }
}

#[test]
fn nothing_is_known_of_registers_if_the_command_register_is_not() {
    let probes =
        [(COMMAND, 0x0400), (0x10, 0xffff_f000)].map(|(register, value)| Probe { register, value });

    assert_eq!(probed(&probes, 0x10), Some(0xffff_f000));
    assert_eq!(probed(&probes, COMMAND), Some(0x0400));
    assert_eq!(probed(&probes, 0x14), Some(0));
    assert_eq!(probed(&probes[1..], 0x10), None);
    assert_eq!(probed(&[], 0x14), None);
}

proptest! {
    #[test]
    fn what_is_written_is_read(
        mut records in prop::collection::vec((any::<u16>(), 0..1024u16, any::<u32>()), 0..20),
    ) {
        records.sort();
        records.dedup_by_key(|(bdf, index, _)| (*bdf, *index));
        let records: Vec<RawProbeSer> = records
            .into_iter()
            .map(|(bdf, index, value)| RawProbeSer { value, ..raw(bdf, 4 * index) })
            .collect();

        let entries = read(&records).unwrap();
        prop_assert_eq!(storage::write_probes(&entries, 0).1, records);
    }
}
