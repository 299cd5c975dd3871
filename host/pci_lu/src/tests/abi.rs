// SPDX-License-Identifier: GPL-2.0

//! What is claimed of the bytes that are handed over.

use super::{
    address,
    entry,
    format, //
};
use crate::{
    entries::{
        BadRecord,
        DriverEntry,
        Entry,
        Probe,
        ProbeEntry,
        RawDevSer,
        RawDriverSer,
        RawProbeSer,
        RawSer,
        VERSION, //
    },
    probes::PREF_BASE_UPPER32,
    storage, //
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

fn devices() -> Contract {
    Contract {
        header: "pci",
        name: format!("pci-v{VERSION}"),
        constants: vec![
            ("PCI_LUO_FLB_COMPATIBLE", Constant::Text("pci")),
            ("PCI_LUO_FLB_VERSION", Constant::Number(VERSION.into())),
        ],
        structs: vec![
            testing::layout!(RawDevSer as pci_dev_ser { domain, bdf, refcount }),
            testing::layout!(RawSer as pci_ser { version, nr_devices, devices }),
        ],
    }
}

const DRIVERS: &str = "pci-driver-rs";

fn drivers() -> Contract {
    Contract {
        header: "pci",
        name: format!("{DRIVERS}-v{VERSION}"),
        constants: vec![
            ("PCI_LUO_DRIVER_FLB_COMPATIBLE", Constant::Text(DRIVERS)),
            ("PCI_LUO_FLB_VERSION", Constant::Number(VERSION.into())),
        ],
        structs: vec![
            testing::layout!(RawDriverSer as pci_driver_ser { domain, bdf, reserved, data, compatible }),
            testing::layout!(RawSer as pci_ser { version, nr_devices, devices }),
        ],
    }
}

const PROBES: &str = "pci-probe-rs";

fn probes() -> Contract {
    Contract {
        header: "pci",
        name: format!("{PROBES}-v{VERSION}"),
        constants: vec![
            ("PCI_LUO_PROBE_FLB_COMPATIBLE", Constant::Text(PROBES)),
            ("PCI_LUO_FLB_VERSION", Constant::Number(VERSION.into())),
        ],
        structs: vec![
            testing::layout!(RawProbeSer as pci_probe_ser { domain, bdf, offset, value }),
            testing::layout!(RawSer as pci_ser { version, nr_devices, devices }),
        ],
    }
}

#[test]
fn devices_have_the_committed_layout() {
    devices().assert_is_committed();
}

#[test]
fn drivers_have_the_committed_layout() {
    drivers().assert_is_committed();
}

#[test]
fn probes_have_the_committed_layout() {
    probes().assert_is_committed();
}

#[test]
fn has_the_layout_that_c_sees() {
    devices().assert_is_that_of_c();
    drivers().assert_is_that_of_c();
    probes().assert_is_that_of_c();
    assert_names_all_structs("pci", &[devices(), drivers(), probes()]);
}

/// What a blob means: where the devices are handed over, and all records, with the free ones.
struct Meaning {
    devices: u64,
    records: Vec<Option<Entry>>,
}

#[test]
fn reads_and_writes_what_was_ever_handed_over_of_devices() {
    let known = [
        (
            "nothing",
            Meaning {
                devices: 0,
                records: vec![],
            },
        ),
        (
            "one-on-the-root-bus",
            Meaning {
                devices: 0x1_2345_6000,
                records: vec![Some(entry(0, 0x00f8, 1))],
            },
        ),
        (
            "two-below-a-switch",
            Meaning {
                devices: 0x0fed_cba9_8765_4000,
                records: vec![
                    Some(entry(0, 0x0010, 2)),
                    Some(entry(0, 0x0100, 2)),
                    Some(entry(0, 0x0200, 1)),
                    Some(entry(0, 0x0208, 1)),
                    Some(entry(0, 0x0300, 1)),
                    Some(entry(0, 0x0400, 1)),
                ],
            },
        ),
        (
            "limits-and-a-free-record",
            Meaning {
                devices: 0xffff_ffff_ffff_f000,
                records: vec![
                    Some(entry(0, 0, 1)),
                    None,
                    Some(entry(0x7fff_ffff, 0xffff, 0xffff)),
                ],
            },
        ),
    ];

    golden::check("pci-v2", &known, |bytes, Meaning { devices, records }| {
        let entries: Vec<Entry> = records.iter().copied().flatten().collect();

        let (header, tail) = RawSer::read_from_prefix(bytes).unwrap();
        let raw: Vec<RawDevSer> = tail
            .chunks(size_of::<RawDevSer>())
            .map(|record| RawDevSer::read_from_bytes(record).unwrap())
            .collect();

        let read: Vec<Option<Entry>> = raw.iter().map(|raw| raw.entry().unwrap()).collect();
        assert_eq!((header.devices, &read), (*devices, records));
        let known = storage::read_devices(&header, &raw).unwrap();
        assert_eq!((&known.entries, &known.findings), (&entries, &vec![]));

        let (header, _) = storage::write_devices(&entries, *devices);
        let free = RawDevSer::read_from_bytes(&[0; 8]).unwrap();
        let written: Vec<RawDevSer> = read
            .into_iter()
            .map(|entry| entry.map_or(free, RawDevSer::from))
            .collect();
        assert_eq!([header.as_bytes(), written.as_bytes()].concat(), bytes);
    });
}

#[test]
fn reads_and_writes_what_was_ever_handed_over_of_drivers() {
    let driver = |domain, bdf, data, name| DriverEntry {
        address: address(domain, bdf),
        format: format(name),
        data,
    };
    let known = [
        ("nothing", (0, vec![])),
        (
            "two-of-one-format",
            (
                0x0fed_cba9_8765_4000,
                vec![
                    driver(0, 0x0300, 0x0760_5040_3020_1000, "vfio-pci-rs-v1"),
                    driver(0, 0x0400, 0x0e0f_1021_3243_5000, "vfio-pci-rs-v1"),
                ],
            ),
        ),
        (
            "limits",
            (
                0xffff_ffff_ffff_f000,
                vec![
                    driver(0, 0, 0, "v"),
                    driver(
                        0x7fff_ffff,
                        0xffff,
                        u64::MAX,
                        "abcdefghijklmnopqrstuvwxyz-0123456789-ABCDEFGHI",
                    ),
                ],
            ),
        ),
    ];

    golden::check("pci-driver-rs-v2", &known, |bytes, (devices, drivers)| {
        let (header, tail) = RawSer::read_from_prefix(bytes).unwrap();
        let raw: Vec<RawDriverSer> = tail
            .chunks(size_of::<RawDriverSer>())
            .map(|record| RawDriverSer::read_from_bytes(record).unwrap())
            .collect();

        assert_eq!(header.devices, *devices);
        assert_eq!(storage::read_drivers(&header, &raw).as_ref(), Ok(drivers));

        let (header, written) = storage::write_drivers(drivers, *devices);
        assert_eq!([header.as_bytes(), written.as_bytes()].concat(), bytes);
    });
}

#[test]
fn reads_and_writes_what_was_ever_handed_over_of_registers() {
    let probe = |domain, bdf, register, value| ProbeEntry {
        address: address(domain, bdf),
        probe: Probe { register, value },
    };
    let port = |register, value| probe(0, 0x0008, register, value);
    let nic = |register, value| probe(0, 0x0100, register, value);
    let known = [
        ("nothing", (0, vec![])),
        (
            "igb-behind-a-root-port",
            (
                0x0fed_cba9_8765_4000,
                vec![
                    port(0x04, 0x0400),
                    port(0x10, 0xffff_f000),
                    port(PREF_BASE_UPPER32, 0xffff_ffff),
                    nic(0x04, 0x0400),
                    nic(0x10, 0xfffe_0000),
                    nic(0x18, 0xffff_ffe1),
                    nic(0x1c, 0xffff_c000),
                    nic(0x30, 0xfff8_0000),
                    nic(0x170, 2),
                    nic(0x184, 0xffff_c004),
                    nic(0x188, 0xffff_ffff),
                    nic(0x190, 0xffff_c004),
                    nic(0x194, 0xffff_ffff),
                ],
            ),
        ),
        (
            "limits",
            (
                0xffff_ffff_ffff_f000,
                vec![
                    probe(0, 0, 0, 0),
                    probe(0x7fff_ffff, 0xffff, 0xffc, u32::MAX),
                ],
            ),
        ),
    ];

    golden::check("pci-probe-rs-v2", &known, |bytes, (devices, probes)| {
        let (header, tail) = RawSer::read_from_prefix(bytes).unwrap();
        let raw: Vec<RawProbeSer> = tail
            .chunks(size_of::<RawProbeSer>())
            .map(|record| RawProbeSer::read_from_bytes(record).unwrap())
            .collect();

        assert_eq!(header.devices, *devices);
        assert_eq!(storage::read_probes(&header, &raw).as_ref(), Ok(probes));

        let (header, written) = storage::write_probes(probes, *devices);
        assert_eq!([header.as_bytes(), written.as_bytes()].concat(), bytes);
    });
}

#[test]
fn refuses_what_was_handed_over_with_another_version() {
    for contract in ["pci-v1", "pci-driver-v1", "pci-probe-v1"] {
        for (name, bytes) in golden::all(contract) {
            let (header, _) = RawSer::read_from_prefix(&bytes).unwrap();

            assert_eq!(
                header.check_version(),
                Err(BadRecord::Version(1)),
                "{contract}/{name}"
            );
        }
    }
}
