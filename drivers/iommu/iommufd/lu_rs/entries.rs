// SPDX-License-Identifier: GPL-2.0

//! The records of a preserved iommufd, and what may be believed of them.
//!
//! Mirrors `include/linux/kho/abi/iommufd.h`.

use core::num::NonZeroU64;
use kernel::{
    fmt,
    prelude::*, //
};
use zerocopy_derive::{
    Immutable,
    KnownLayout, //
};

/// An HWPT that is preserved: `struct iommufd_hwpt_ser`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct RawHwptSer {
    pub(crate) token: u64,
    pub(crate) domain_data: u64,
}

/// An iommufd that is preserved: `struct iommufd_ser`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct RawSer {
    pub(crate) nr_hwpts: u32,
    pub(crate) reserved: u32,
    pub(crate) hwpts: u64,
}

/// An HWPT, as it is handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hwpt {
    /// What user space calls it.
    pub(crate) token: Token,
    /// What the IOMMU core calls its page table, if that is handed over, too.
    pub(crate) domain: Option<NonZeroU64>,
}

/// What user space calls an HWPT.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Token(pub(crate) u64);

/// What is wrong with a record of the previous kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BadRecord {
    /// Something is where nothing is to be.
    Reserved,
    /// It names a page table for this HWPT where there can be none.
    Domain(Token),
    /// This HWPT is named twice, or out of order.
    Order(Token),
    /// It announces another number of HWPTs than it names.
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
            Self::Reserved => write!(f, "a field that is to be zero is not"),
            Self::Domain(Token(token)) => {
                write!(
                    f,
                    "HWPT {token:#x} has a page table where there can be none"
                )
            }
            Self::Order(Token(token)) => {
                write!(f, "HWPT {token:#x} is named twice or out of order")
            }
            Self::Count { announced, found } => {
                write!(f, "{announced} HWPTs are announced, {found} are named")
            }
        }
    }
}

/// What the handle of a domain is a multiple of: it is where its record begins, which has fields of
/// 64 bits.
const DOMAIN_ALIGN: u64 = 8;

impl From<Hwpt> for RawHwptSer {
    fn from(hwpt: Hwpt) -> Self {
        Self {
            token: hwpt.token.0,
            domain_data: hwpt.domain.map_or(0, NonZeroU64::get),
        }
    }
}

impl TryFrom<RawHwptSer> for Hwpt {
    type Error = BadRecord;

    fn try_from(raw: RawHwptSer) -> Result<Self, BadRecord> {
        let token = Token(raw.token);

        if raw.domain_data % DOMAIN_ALIGN != 0 {
            return Err(BadRecord::Domain(token));
        }
        Ok(Self {
            token,
            domain: NonZeroU64::new(raw.domain_data),
        })
    }
}

/// Checks what the previous kernel says of an iommufd: HWPTs are in the order of tokens.
pub(crate) fn check(
    record: &RawSer,
    hwpts: impl Iterator<Item = RawHwptSer>,
) -> Result<(), BadRecord> {
    let mut last = None;
    let mut found = 0;

    if record.reserved != 0 {
        return Err(BadRecord::Reserved);
    }
    for raw in hwpts {
        let Hwpt { token, .. } = raw.try_into()?;

        if last.is_some_and(|last| last >= token) {
            return Err(BadRecord::Order(token));
        }
        last = Some(token);
        found += 1;
    }

    if usize::try_from(record.nr_hwpts) == Ok(found) {
        Ok(())
    } else {
        Err(BadRecord::Count {
            announced: record.nr_hwpts,
            found,
        })
    }
}
