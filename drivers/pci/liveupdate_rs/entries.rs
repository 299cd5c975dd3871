// SPDX-License-Identifier: GPL-2.0

//! The records of preserved PCI devices, and what may be believed of them.
//!
//! Mirrors `include/linux/kho/abi/pci.h`.

use core::num::NonZero;
use kernel::{
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

/// The version that this kernel writes and understands: `PCI_LUO_FLB_VERSION`.
pub(crate) const VERSION: u32 = 1;

/// The most devices that are believed to be preserved: all that one domain can have.
///
/// Bounds the work on a record of another kernel.
pub(crate) const MAX_DEVICES: usize = 1 << 16;

/// A PCI device that is preserved: `struct pci_dev_ser`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct RawDevSer {
    pub(crate) domain: u32,
    pub(crate) bdf: u16,
    pub(crate) refcount: u16,
}

/// All PCI devices that are preserved: `struct pci_ser`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct RawSer {
    pub(crate) version: u32,
    pub(crate) nr_devices: u32,
    pub(crate) devices: u64,
}

/// A device that is preserved, and how often.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Where the device is.
    pub(crate) address: Address,
    /// One for an endpoint; for a bridge, the number of preserved endpoints below it.
    pub(crate) refcount: NonZero<u16>,
}

/// What is wrong with a record of the previous kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BadRecord {
    /// It has a version that this kernel does not understand.
    Version(u32),
    /// It names a domain that there cannot be.
    Domain(u32),
    /// It names a device twice.
    Duplicate(Address),
    /// It names more devices than there can be.
    TooMany,
    /// It announces another number of devices than it names.
    Count {
        /// What it announces.
        announced: u32,
        /// What it names.
        found: usize,
    },
}

impl RawSer {
    /// Checks the version, on which the meaning of all else depends.
    pub(crate) fn check_version(&self) -> Result<(), BadRecord> {
        if self.version == VERSION {
            Ok(())
        } else {
            Err(BadRecord::Version(self.version))
        }
    }

    /// Checks that as many devices were found as are announced.
    pub(crate) fn check_count(&self, found: usize) -> Result<(), BadRecord> {
        if usize::try_from(self.nr_devices) == Ok(found) {
            Ok(())
        } else {
            Err(BadRecord::Count {
                announced: self.nr_devices,
                found,
            })
        }
    }
}

impl RawDevSer {
    /// Returns the entry, or nothing if the record is a free one.
    pub(crate) fn entry(&self) -> Result<Option<Entry>, BadRecord> {
        let Some(refcount) = NonZero::new(self.refcount) else {
            return Ok(None);
        };

        let address = RawAddress {
            domain: self.domain,
            bdf: self.bdf,
        }
        .try_into()
        .map_err(|_| BadRecord::Domain(self.domain))?;

        Ok(Some(Entry { address, refcount }))
    }
}

impl From<Entry> for RawDevSer {
    fn from(entry: Entry) -> Self {
        Self {
            domain: entry.address.domain(),
            bdf: entry.address.bdf(),
            refcount: entry.refcount.get(),
        }
    }
}
