// SPDX-License-Identifier: GPL-2.0

//! What is claimed of records.

use crate::entries::{
    BadRecord,
    DeviceRecord,
    DomainRecord,
    Features,
    Format,
    PasidDirectory,
    RawDevMapSer,
    RawDeviceIntelSer,
    RawDeviceSer,
    RawDomainSer,
    RawFlbSer,
    RawHdrSer,
    RawHwSer,
    RawIntelSer,
    TableAddress,
    UnitRecord,
    VERSION, //
};

const HDR: RawHdrSer = RawHdrSer {
    ref_count: 1,
    flags: 0,
};

const DOMAIN: RawDomainSer = RawDomainSer {
    hdr: HDR,
    top_table_phys: 0x1234_5000,
    nr_tables: 9,
    format: 1,
    features: 1,
    top_level: 3,
    vasz: 48,
};

const DEVICE: RawDeviceSer = RawDeviceSer {
    hdr: HDR,
    devid: 0x0100,
    pci_domain_nr: 0,
    map: RawDevMapSer {
        attachment_id: 7,
        domain_phys: 0x1000,
        iommu_phys: 0x2000,
    },
    dma_owner_token: 42,
    intel: RawDeviceIntelSer {
        pasid_table: 0x3000,
        max_pasid: 1 << 15,
    },
};

const UNIT: RawHwSer = RawHwSer {
    hdr: HDR,
    token: 0xfed9_0000,
    type_: 1,
    intel: RawIntelSer {
        root_table: 0x4000,
        irq_table: 0x10_0000,
        cap: 5,
        ecap: 6,
        flags: 1,
        irq_order: 8,
        context_tables_bitmap: [1, 0, 0, 0, 0, 0, 0, 1 << 63],
    },
};

fn domain_err(change: impl FnOnce(&mut RawDomainSer)) -> BadRecord {
    let mut raw = DOMAIN;

    change(&mut raw);
    DomainRecord::try_from(&raw).unwrap_err()
}

fn device_err(change: impl FnOnce(&mut RawDeviceSer)) -> BadRecord {
    let mut raw = DEVICE;

    change(&mut raw);
    DeviceRecord::try_from(&raw).unwrap_err()
}

fn unit_err(change: impl FnOnce(&mut RawHwSer)) -> BadRecord {
    let mut raw = UNIT;

    change(&mut raw);
    UnitRecord::try_from(&raw).unwrap_err()
}

#[test]
fn list_has_a_known_version_and_nothing_where_nothing_is_to_be() {
    let list = |version, reserved| RawFlbSer {
        version,
        reserved,
        iommu_array_phys: 0x1000,
        iommu_domain_array_phys: 0x2000,
        device_array_phys: 0x3000,
    };

    assert_eq!(list(VERSION, 0).check(), Ok(()));
    for version in (0..64).chain([u32::MAX]).filter(|&v| v != VERSION) {
        assert_eq!(list(version, 0).check(), Err(BadRecord::Version(version)));
    }
    for bit in 0..32 {
        assert_eq!(
            list(VERSION, 1 << bit).check(),
            Err(BadRecord::Bits(1 << bit))
        );
    }
}

#[test]
fn table_is_a_page_of_52_bits() {
    for phys in [0, 1, 0xfff, 0x1001, 1 << 52, !0xfff, u64::MAX] {
        assert_eq!(TableAddress::try_from(phys), Err(BadRecord::Table(phys)));
    }
    for phys in [0x1000, (1 << 52) - 0x1000] {
        assert_eq!(TableAddress::try_from(phys).unwrap().phys(), phys);
    }
}

#[test]
fn domain_is_what_its_record_says() {
    let domain = DomainRecord::try_from(&DOMAIN).unwrap();

    assert_eq!(domain.top().phys(), 0x1234_5000);
    assert_eq!(domain.tables().get(), 9);
    assert_eq!(domain.format(), Format::SecondStage);
    assert_eq!((domain.level(), domain.width()), (3, 48));
    assert_eq!(Ok(domain.features()), Features::INCOHERENT.try_into());
    assert!(domain.features().has(Features::INCOHERENT));
    assert!(!domain.features().has(Features::DIRTY_TRACKING));
}

#[test]
fn domains_are_the_same_whatever_the_number_of_tables() {
    let domain = DomainRecord::try_from(&DOMAIN).unwrap();
    let mut raw = DOMAIN;

    raw.nr_tables = 1;
    assert!(domain.is_same_as(&DomainRecord::try_from(&raw).unwrap()));
    raw.vasz = 47;
    assert!(!domain.is_same_as(&DomainRecord::try_from(&raw).unwrap()));
}

#[test]
fn rejects_formats_that_there_are_not() {
    let known = |format, level, width| {
        let raw = RawDomainSer {
            format,
            top_level: level,
            vasz: width,
            ..DOMAIN
        };
        let bad = BadRecord::Format {
            format,
            level,
            width,
        };

        match DomainRecord::try_from(&raw) {
            Ok(_) => true,
            Err(err) => {
                assert_eq!(err, bad);
                false
            }
        }
    };

    for format in 0..5 {
        for level in 0..8 {
            for width in 0..80 {
                let fewest = match format {
                    1 => 2,
                    2 => 3,
                    _ => u32::MAX,
                };
                let can = level >= fewest && level <= 4 && width > 12 && width <= 9 * level + 21;

                assert_eq!(known(format, level, width), can, "{format} {level} {width}");
            }
        }
    }
    assert!(!known(u32::MAX, u32::MAX, u32::MAX));
    assert!(!known(1, u32::MAX, 48));
    assert!(!known(1, 3, u32::MAX));
}

#[test]
fn rejects_domains_that_there_cannot_be() {
    assert_eq!(domain_err(|raw| raw.nr_tables = 0), BadRecord::Empty);
    assert_eq!(domain_err(|raw| raw.features = 16), BadRecord::Bits(16));
    assert_eq!(
        domain_err(|raw| raw.features = u32::MAX),
        BadRecord::Bits(!15)
    );
    assert_eq!(
        domain_err(|raw| raw.top_table_phys = 8),
        BadRecord::Table(8)
    );
}

#[test]
fn device_is_what_its_record_says() {
    let device = DeviceRecord::try_from(&DEVICE).unwrap();

    assert_eq!((device.address.domain(), device.address.bdf()), (0, 0x0100));
    assert_eq!((device.did, device.owner), (7, 42));
    assert_eq!((device.domain_phys, device.iommu_phys), (0x1000, 0x2000));

    let pasids = device.pasids.unwrap();
    assert_eq!((pasids.table.phys(), pasids.order), (0x3000, 0));
    assert_eq!(pasids.max(), 1 << 15);
}

#[test]
fn rejects_devices_that_there_cannot_be() {
    assert_eq!(
        device_err(|raw| raw.devid = 1 << 16),
        BadRecord::Address(0, 1 << 16)
    );
    assert_eq!(
        device_err(|raw| raw.pci_domain_nr = 1 << 31),
        BadRecord::Address(1 << 31, 0x0100)
    );
    // 0 and 1 are the driver's own.
    for tag in [0, 1, 1 << 16, u64::MAX] {
        assert_eq!(
            device_err(|raw| raw.map.attachment_id = tag),
            BadRecord::Tag(tag)
        );
    }
    assert_eq!(
        device_err(|raw| raw.intel.pasid_table = 3),
        BadRecord::Table(3)
    );
    assert_eq!(
        device_err(|raw| raw.intel.pasid_table = 0),
        BadRecord::Table(0)
    );
}

#[test]
fn pasid_directory_has_a_size_that_the_driver_makes() {
    let pasids = |max_pasid| {
        Option::<PasidDirectory>::try_from(RawDeviceIntelSer {
            pasid_table: 0x3000,
            max_pasid,
        })
    };

    for lg2 in 0..64 {
        let max = 1u64 << lg2;

        match pasids(max) {
            Ok(Some(directory)) => assert_eq!(u64::from(directory.max()), max),
            other => assert_eq!(other, Err(BadRecord::Pasids(max))),
        }
        assert_eq!(pasids(max).is_ok(), (15..=20).contains(&lg2));
    }
    for max in [0, (1 << 15) + 1, u64::MAX] {
        assert_eq!(pasids(max), Err(BadRecord::Pasids(max)));
    }

    let legacy = RawDeviceIntelSer {
        pasid_table: 0,
        max_pasid: 0,
    };
    assert_eq!(legacy.try_into(), Ok(None::<PasidDirectory>));
}

#[test]
fn unit_is_what_its_record_says() {
    let unit = UnitRecord::try_from(&UNIT).unwrap();

    assert_eq!((unit.token, unit.root.phys()), (0xfed9_0000, 0x4000));
    assert_eq!((unit.cap, unit.ecap, unit.scalable), (5, 6, true));
    let (table, order) = unit.irq_table.unwrap();
    assert_eq!((table.phys(), order), (0x10_0000, 8));

    for index in 0..512 {
        assert_eq!(unit.has_context_table(index), index == 0 || index == 511);
    }
}

#[test]
fn rejects_units_that_there_cannot_be() {
    assert_eq!(unit_err(|raw| raw.type_ = 2), BadRecord::Kind(2));
    assert_eq!(unit_err(|raw| raw.intel.flags = 2), BadRecord::Bits(2));
    assert_eq!(unit_err(|raw| raw.intel.irq_order = 9), BadRecord::Bits(9));
    assert_eq!(
        unit_err(|raw| raw.intel.root_table = 0),
        BadRecord::Table(0)
    );
    assert_eq!(unit_err(|raw| raw.intel.irq_table = 1), BadRecord::Table(1));
    // No table, and a size of one.
    assert_eq!(unit_err(|raw| raw.intel.irq_table = 0), BadRecord::Bits(8));
}

#[test]
fn object_is_counted_by_all_who_need_it() {
    let header = |ref_count, flags| RawHdrSer { ref_count, flags };

    for (ref_count, users) in [(1, 0), (2, 1), (5, 1), (u32::MAX, 7)] {
        assert_eq!(header(ref_count, 0).check(users), Ok(()));
    }
    for (ref_count, users) in [(0, 0), (1, 1), (2, 7)] {
        assert_eq!(
            header(ref_count, 0).check(users),
            Err(BadRecord::Users(ref_count))
        );
    }
    assert_eq!(header(1, 4).check(0), Err(BadRecord::Bits(4)));
}
