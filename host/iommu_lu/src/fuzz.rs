// SPDX-License-Identifier: GPL-2.0

//! What has to hold of any bytes at all.

use crate::{
    arrays::{
        room_for,
        Object,
        RawArray, //
    },
    entries::{
        DeviceRecord,
        DomainRecord,
        Features,
        Kind,
        RawDeviceSer,
        RawDomainSer,
        RawHwSer,
        UnitRecord, //
    },
};
use kernel::prelude::*;

/// Reads a page of objects of one type, and returns how many `accept` takes.
fn objects<T: Object>(page: &RawArray, accept: impl Fn(&T) -> bool) -> usize {
    (0..room_for::<T>() + 2)
        .filter_map(|index| page.get::<T>(index))
        .inspect(|object| assert_ne!(object.ref_count(), 0))
        .filter(accept)
        .count()
}

/// Reads bytes as if they were handed over: a page of objects, of each type in turn.
///
/// Returns how many objects were accepted.
///
/// # Panics
///
/// If one is accepted and means something else than it says.
pub fn fuzz_iommu(bytes: &[u8]) -> usize {
    let mut page = RawArray::new();
    let size = bytes.len().min(4096);

    page.as_mut_bytes()[..size].copy_from_slice(&bytes[..size]);

    let units = objects(&page, |raw: &RawHwSer| {
        UnitRecord::try_from(raw).is_ok_and(|unit| {
            assert_eq!((unit.token, raw.type_), (raw.token, Kind::Intel as u64));
            assert_eq!(unit.root.phys(), raw.intel.root_table);
            assert_eq!(unit.irq_table.is_none(), raw.intel.irq_table == 0);
            assert_eq!(u32::from(unit.scalable), raw.intel.flags);
            true
        })
    });
    let domains = objects(&page, |raw: &RawDomainSer| {
        DomainRecord::try_from(raw).is_ok_and(|domain| {
            assert_eq!(domain.top().phys(), raw.top_table_phys);
            assert_eq!(domain.tables().get(), raw.nr_tables);
            assert_eq!(domain.format() as u32, raw.format);
            assert_eq!(u32::from(domain.level()), raw.top_level);
            assert_eq!(u32::from(domain.width()), raw.vasz);
            assert_eq!(Features::try_from(raw.features), Ok(domain.features()));
            assert!((2..=4).contains(&domain.level()));
            true
        })
    });
    let devices = objects(&page, |raw: &RawDeviceSer| {
        DeviceRecord::try_from(raw).is_ok_and(|device| {
            assert_eq!(device.address.domain(), raw.pci_domain_nr);
            assert_eq!(u32::from(device.address.bdf()), raw.devid);
            assert_eq!(u64::from(device.did), raw.map.attachment_id);
            assert_eq!(device.owner, raw.dma_owner_token);
            match device.pasids {
                Some(pasids) => {
                    assert_eq!(pasids.table.phys(), raw.intel.pasid_table);
                    assert_eq!(u64::from(pasids.max()), raw.intel.max_pasid);
                }
                None => assert_eq!((raw.intel.pasid_table, raw.intel.max_pasid), (0, 0)),
            }
            true
        })
    });

    units + domains + devices
}
