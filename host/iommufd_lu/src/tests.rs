// SPDX-License-Identifier: GPL-2.0

//! What is claimed of the pure files.

mod abi;
mod entries;
mod plan;

use crate::entries::{
    check,
    BadRecord,
    Lists,
    RawAreaSer,
    RawDeviceSer,
    RawHwptSer,
    RawIoasSer,
    RawRangeSer,
    RawSer, //
};
use kernel::prelude::*;

/// An iommufd, as it is handed over.
#[derive(Clone, Debug, PartialEq)]
struct Iommufd {
    record: RawSer,
    hwpts: Vec<RawHwptSer>,
    ioases: Vec<RawIoasSer>,
    areas: Vec<RawAreaSer>,
    allowed: Vec<RawRangeSer>,
    devices: Vec<RawDeviceSer>,
}

impl Iommufd {
    /// Reads one of which each list has as many objects as are announced in `counts`.
    fn read(bytes: &[u8], counts: &RawSer) -> Self {
        fn list<T: FromBytes>(rest: &mut &[u8], count: u32) -> Vec<T> {
            (0..count)
                .map(|_| {
                    let (object, behind) = T::read_from_prefix(rest).unwrap();

                    *rest = behind;
                    object
                })
                .collect()
        }

        let (record, mut rest) = RawSer::read_from_prefix(bytes).unwrap();
        let iommufd = Self {
            record,
            hwpts: list(&mut rest, counts.nr_hwpts),
            ioases: list(&mut rest, counts.nr_ioases),
            areas: list(&mut rest, counts.nr_areas),
            allowed: list(&mut rest, counts.nr_allowed),
            devices: list(&mut rest, counts.nr_devices),
        };

        assert!(rest.is_empty());
        iommufd
    }

    fn check(&self) -> Result<(), BadRecord> {
        let lists = Lists {
            hwpts: self.hwpts.iter().copied(),
            ioases: self.ioases.iter().copied(),
            areas: self.areas.iter().copied(),
            allowed: self.allowed.iter().copied(),
            devices: self.devices.iter().copied(),
        };

        check(&self.record, lists)
    }

    /// Returns all of it, one list behind the other.
    fn bytes(&self) -> Vec<u8> {
        [
            self.record.as_bytes(),
            self.hwpts.as_bytes(),
            self.ioases.as_bytes(),
            self.areas.as_bytes(),
            self.allowed.as_bytes(),
            self.devices.as_bytes(),
        ]
        .concat()
    }
}
