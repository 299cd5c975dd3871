// SPDX-License-Identifier: GPL-2.0

//! The records of a preserved iommufd, and what may be believed of them.
//!
//! Mirrors `include/linux/kho/abi/iommufd.h`.

use core::num::NonZeroU64;
use kernel::{
    fmt,
    liveupdate::pci::{
        Address,
        RawAddress, //
    },
    prelude::*, //
};
use zerocopy_derive::{
    Immutable,
    KnownLayout, //
};

/// An IOAS that is preserved: `struct iommufd_ioas_ser`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct RawIoasSer {
    pub(crate) id: u32,
    pub(crate) flags: u32,
    pub(crate) nr_areas: u32,
    pub(crate) nr_allowed: u32,
}

/// A range that memory of a memfd is mapped at: `struct iommufd_area_ser`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct RawAreaSer {
    pub(crate) iova: u64,
    pub(crate) length: u64,
    pub(crate) token: u64,
    pub(crate) offset: u64,
    pub(crate) prot: u32,
    pub(crate) reserved: u32,
}

/// A range that was allowed: `struct iommufd_range_ser`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct RawRangeSer {
    pub(crate) start: u64,
    pub(crate) last: u64,
}

/// An HWPT that is preserved: `struct iommufd_hwpt_ser`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct RawHwptSer {
    pub(crate) token: u64,
    pub(crate) domain_data: u64,
    pub(crate) id: u32,
    pub(crate) ioas_id: u32,
    pub(crate) flags: u32,
    pub(crate) reserved: u32,
}

/// A device that is bound: `struct iommufd_device_ser`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct RawDeviceSer {
    pub(crate) id: u32,
    pub(crate) domain: u32,
    pub(crate) bdf: u32,
    pub(crate) reserved: u32,
}

/// An iommufd that is preserved: `struct iommufd_ser`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct RawSer {
    pub(crate) nr_hwpts: u32,
    pub(crate) nr_ioases: u32,
    pub(crate) nr_areas: u32,
    pub(crate) nr_allowed: u32,
    pub(crate) nr_devices: u32,
    pub(crate) flags: u32,
    pub(crate) hwpts: u64,
    pub(crate) ioases: u64,
    pub(crate) areas: u64,
    pub(crate) allowed: u64,
    pub(crate) devices: u64,
}

/// Pinned pages are accounted to processes: `IOMMUFD_SER_ACCOUNT_MM`.
pub(crate) const ACCOUNT_MM: u32 = 1 << 0;

/// Large pages are off: `IOMMUFD_IOAS_SER_SMALL_PAGES`.
pub(crate) const SMALL_PAGES: u32 = 1 << 0;

/// What devices may do to an area: bits `IOMMUFD_AREA_SER_*`.
pub(crate) mod prot {
    /// They may read it.
    pub(crate) const READ: u32 = 1 << 0;
    /// They may write to it.
    pub(crate) const WRITE: u32 = 1 << 1;
    /// What they do is coherent with the caches.
    pub(crate) const CACHE: u32 = 1 << 2;
    /// All of these.
    pub(super) const KNOWN: u32 = READ | WRITE | CACHE;
}

/// How an HWPT was made: bits `IOMMUFD_HWPT_SER_*`.
pub(crate) mod kind {
    /// The kernel chose it for an IOAS.
    pub(crate) const AUTO: u32 = 1 << 0;
    /// Others can be nested in it.
    pub(crate) const NEST_PARENT: u32 = 1 << 1;
    /// It is for devices with PASIDs, too.
    pub(crate) const PASID: u32 = 1 << 2;
    /// DMA is coherent whatever a device asks for.
    pub(crate) const ENFORCE_CC: u32 = 1 << 3;
    /// All of these.
    pub(super) const KNOWN: u32 = AUTO | NEST_PARENT | PASID | ENFORCE_CC;
}

/// What user space calls an HWPT.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Token(pub(crate) u64);

/// The ID of an object of an iommufd.
///
/// # Invariants
///
/// One that an object can have: positive, and a number of 31 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ObjectId(u32);

impl ObjectId {
    /// The largest ID that there can be.
    const LAST: u32 = i32::MAX as u32;

    /// Returns the number.
    pub(crate) const fn get(self) -> u32 {
        self.0
    }
}

impl TryFrom<u32> for ObjectId {
    type Error = BadRecord;

    fn try_from(id: u32) -> Result<Self, BadRecord> {
        match id {
            // INVARIANT: Just checked.
            1..=Self::LAST => Ok(Self(id)),
            _ => Err(BadRecord::Id(id)),
        }
    }
}

/// What is wrong with a record of the previous kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BadRecord {
    /// Something is where nothing is to be, or a bit is set that means nothing.
    Reserved,
    /// No object can have this ID, or two have it.
    Id(u32),
    /// It names a page table for this HWPT where there can be none.
    Domain(Token),
    /// This HWPT is named twice, or out of order.
    Order(Token),
    /// The IOAS of this HWPT is not named.
    NoIoas(Token),
    /// No memory can be mapped at this address as it says, or something else is.
    Area(u64),
    /// There is no memfd with this token in the session.
    NoMemory(u64),
    /// There cannot be a device with this domain and number, or it is named twice.
    Address(u32, u32),
    /// It announces another number of objects than it names.
    Count {
        /// What it announces.
        announced: u32,
        /// What it names.
        found: usize,
    },
}

impl fmt::Display for BadRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Reserved => write!(f, "a field or bit that is to be zero is not"),
            Self::Id(id) => write!(f, "no object can have the ID {id}, or two have it"),
            Self::Domain(Token(token)) => {
                write!(
                    f,
                    "HWPT {token:#x} has a page table where there can be none"
                )
            }
            Self::Order(Token(token)) => {
                write!(f, "HWPT {token:#x} is named twice or out of order")
            }
            Self::NoIoas(Token(token)) => write!(f, "HWPT {token:#x} has no IOAS"),
            Self::Area(iova) => write!(f, "nothing can be mapped at {iova:#x} as it says"),
            Self::NoMemory(token) => {
                write!(f, "its session has no memfd with token {token:#x}")
            }
            Self::Address(domain, bdf) => {
                write!(
                    f,
                    "there is no device {bdf:#x} in domain {domain:#x}, or it is named twice"
                )
            }
            Self::Count { announced, found } => {
                write!(f, "{announced} objects are announced, {found} are named")
            }
        }
    }
}

/// What the handle of a domain is a multiple of: it is where its record begins, which has fields of
/// 64 bits.
const DOMAIN_ALIGN: u64 = 8;

impl RawIoasSer {
    /// Returns the ID of the IOAS.
    ///
    /// # Errors
    ///
    /// [`BadRecord::Id`] if there can be none with that ID, [`BadRecord::Reserved`] for bits that mean
    /// nothing.
    pub(crate) fn check(&self) -> Result<ObjectId, BadRecord> {
        if self.flags & !SMALL_PAGES != 0 {
            return Err(BadRecord::Reserved);
        }
        self.id.try_into()
    }
}

impl RawAreaSer {
    /// Checks that there can be such an area.
    ///
    /// # Errors
    ///
    /// [`BadRecord::Area`] if the range or that of the memfd has no end, [`BadRecord::Reserved`] for bits
    /// that mean nothing.
    pub(crate) fn check(&self) -> Result<(), BadRecord> {
        let last = |start: u64, limit: u64| {
            self.length
                .checked_sub(1)
                .and_then(|more| start.checked_add(more))
                .filter(|last| *last <= limit)
        };

        if self.reserved != 0 || self.prot & !prot::KNOWN != 0 {
            return Err(BadRecord::Reserved);
        }
        // CAST: lossless, it is positive.
        let is_possible =
            last(self.iova, u64::MAX).is_some() && last(self.offset, i64::MAX as u64).is_some();
        is_possible.then_some(()).ok_or(BadRecord::Area(self.iova))
    }
}

impl RawRangeSer {
    /// Checks that the range is one.
    ///
    /// # Errors
    ///
    /// [`BadRecord::Area`] if it ends before it begins.
    pub(crate) fn check(&self) -> Result<(), BadRecord> {
        (self.start <= self.last)
            .then_some(())
            .ok_or(BadRecord::Area(self.start))
    }
}

impl RawHwptSer {
    /// Returns the ID of the HWPT.
    ///
    /// # Errors
    ///
    /// [`BadRecord::Id`] if there can be none with that ID or that of its IOAS, [`BadRecord::Domain`] if
    /// there can be no record of its page table there, [`BadRecord::Reserved`] for bits that mean nothing.
    pub(crate) fn check(&self) -> Result<ObjectId, BadRecord> {
        if self.domain_data % DOMAIN_ALIGN != 0 {
            return Err(BadRecord::Domain(Token(self.token)));
        }
        if self.reserved != 0 || self.flags & !kind::KNOWN != 0 {
            return Err(BadRecord::Reserved);
        }
        ObjectId::try_from(self.ioas_id)?;
        self.id.try_into()
    }

    /// Returns what the IOMMU core calls the page table, if that was handed over.
    pub(crate) fn domain(&self) -> Option<NonZeroU64> {
        NonZeroU64::new(self.domain_data)
    }
}

impl RawDeviceSer {
    /// Returns the ID of the device, and its address.
    ///
    /// # Errors
    ///
    /// [`BadRecord::Id`] and [`BadRecord::Address`] if there can be no such device, [`BadRecord::Reserved`]
    /// if something is where nothing is to be.
    pub(crate) fn check(&self) -> Result<(ObjectId, Address), BadRecord> {
        let nowhere = BadRecord::Address(self.domain, self.bdf);
        let address = RawAddress {
            domain: self.domain,
            bdf: self.bdf.try_into().map_err(|_| nowhere)?,
        };

        if self.reserved != 0 {
            return Err(BadRecord::Reserved);
        }
        Ok((
            self.id.try_into()?,
            address.try_into().map_err(|_| nowhere)?,
        ))
    }
}

/// Checks that there are as many as announced.
fn check_count(announced: u32, found: usize) -> Result<(), BadRecord> {
    if usize::try_from(announced) == Ok(found) {
        Ok(())
    } else {
        Err(BadRecord::Count { announced, found })
    }
}

/// The lists that the record of an iommufd names.
pub(crate) struct Lists<H, I, A, R, D> {
    pub(crate) hwpts: H,
    pub(crate) ioases: I,
    pub(crate) areas: A,
    pub(crate) allowed: R,
    pub(crate) devices: D,
}

/// Checks what the previous kernel says of an iommufd, as far as that can be known without its objects.
///
/// That no ID is there twice, that IOASes of HWPTs exist and that areas do not overlap shows when the objects
/// are made.
///
/// # Errors
///
/// What is wrong with the first thing that is.
pub(crate) fn check(
    record: &RawSer,
    lists: Lists<
        impl Iterator<Item = RawHwptSer>,
        impl Iterator<Item = RawIoasSer>,
        impl Iterator<Item = RawAreaSer>,
        impl Iterator<Item = RawRangeSer>,
        impl Iterator<Item = RawDeviceSer>,
    >,
) -> Result<(), BadRecord> {
    let (mut nr_areas, mut nr_allowed) = (0, 0);

    if record.flags & !ACCOUNT_MM != 0 {
        return Err(BadRecord::Reserved);
    }

    let mut last = None;
    let mut found = 0;
    for hwpt in lists.hwpts {
        hwpt.check()?;
        if last.is_some_and(|last| last >= hwpt.token) {
            return Err(BadRecord::Order(Token(hwpt.token)));
        }
        last = Some(hwpt.token);
        found += 1;
    }
    check_count(record.nr_hwpts, found)?;

    let mut last = None;
    let mut found = 0;
    for ioas in lists.ioases {
        let id = ioas.check()?;

        if last.is_some_and(|last| last >= id) {
            return Err(BadRecord::Id(id.get()));
        }
        last = Some(id);
        found += 1;
        nr_areas += u64::from(ioas.nr_areas);
        nr_allowed += u64::from(ioas.nr_allowed);
    }
    check_count(record.nr_ioases, found)?;

    let found = lists
        .areas
        .map(|area| area.check())
        .try_fold(0, |count, result| result.map(|()| count + 1))?;
    check_count(record.nr_areas, found)?;
    if u64::from(record.nr_areas) != nr_areas {
        return Err(BadRecord::Count {
            announced: record.nr_areas,
            found: usize::try_from(nr_areas).unwrap_or(usize::MAX),
        });
    }

    let found = lists
        .allowed
        .map(|range| range.check())
        .try_fold(0, |count, result| result.map(|()| count + 1))?;
    check_count(record.nr_allowed, found)?;
    if u64::from(record.nr_allowed) != nr_allowed {
        return Err(BadRecord::Count {
            announced: record.nr_allowed,
            found: usize::try_from(nr_allowed).unwrap_or(usize::MAX),
        });
    }

    let mut last = None;
    let mut found = 0;
    for device in lists.devices {
        let (_, address) = device.check()?;

        if last.is_some_and(|last| last >= address) {
            return Err(BadRecord::Address(device.domain, device.bdf));
        }
        last = Some(address);
        found += 1;
    }
    check_count(record.nr_devices, found)
}
