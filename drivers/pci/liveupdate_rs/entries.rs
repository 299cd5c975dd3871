// SPDX-License-Identifier: GPL-2.0

//! The records of preserved PCI devices, and what may be believed of them.
//!
//! Mirrors `include/linux/kho/abi/pci.h`.

use core::num::NonZero;
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

/// The version that this kernel writes and understands: `PCI_LUO_FLB_VERSION`.
pub(crate) const VERSION: u32 = 2;

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

/// The longest name of a format, with the null byte at its end.
pub(crate) const FORMAT_LENGTH: usize = 48;

/// Which drivers can take over a PCI device: `struct pci_driver_ser`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct RawDriverSer {
    pub(crate) domain: u32,
    pub(crate) bdf: u16,
    pub(crate) reserved: u16,
    pub(crate) data: u64,
    pub(crate) compatible: [u8; FORMAT_LENGTH],
}

/// The size of the configuration space of a device, in bytes: `PCI_CFG_SPACE_EXP_SIZE`.
pub(crate) const CONFIG_SPACE_SIZE: u16 = 4096;

/// The most registers of one device that are described: what tells it from others, the command
/// register, base addresses and ROM, and those of virtual functions.
pub(crate) const MAX_PROBES_OF_ONE: usize = 2 + 1 + 7 + 7;

/// The most registers that are believed to be described: all that the most devices can have.
pub(crate) const MAX_PROBES: usize = MAX_DEVICES * MAX_PROBES_OF_ONE;

/// What writing to a register would tell: `struct pci_probe_ser`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct RawProbeSer {
    pub(crate) domain: u32,
    pub(crate) bdf: u16,
    pub(crate) offset: u16,
    pub(crate) value: u32,
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

/// The name of the format in which a driver preserves devices.
///
/// # Invariants
///
/// All bytes from the first null byte on are zero, and there is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Format([u8; FORMAT_LENGTH]);

/// A device that is preserved, and the drivers that can take it over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DriverEntry {
    /// Where the device is.
    pub(crate) address: Address,
    /// The drivers are those that know this format.
    pub(crate) format: Format,
    /// The file that it belongs to is the one with this data.
    pub(crate) data: u64,
}

/// What writing to a register would tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Probe {
    /// The double word, by its offset in configuration space.
    pub(crate) register: u16,
    /// What was learned of it.
    pub(crate) value: u32,
}

/// What writing to a register of a device would tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ProbeEntry {
    /// Where the device is.
    pub(crate) address: Address,
    /// What is known.
    pub(crate) probe: Probe,
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
    /// It has no name of a format for this device.
    Format(Address),
    /// It has something for this device in a field that is to be zero.
    Reserved(Address),
    /// It names a register that this device cannot have.
    Register(Address, u16),
    /// It has the registers of this device in the wrong place.
    Order(Address),
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

impl fmt::Display for BadRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Version(version) => write!(f, "version {version} is not known"),
            Self::Domain(domain) => write!(f, "there is no domain {domain:#x}"),
            Self::Duplicate(address) => write!(f, "{address:?} is named twice"),
            Self::Format(address) => write!(f, "{address:?} has no name of a format"),
            Self::Reserved(address) => {
                write!(f, "{address:?} has a field that is to be zero and is not")
            }
            Self::Register(address, offset) => {
                write!(f, "{address:?} has no register at {offset:#x}")
            }
            Self::Order(address) => write!(f, "the registers of {address:?} are out of order"),
            Self::TooMany => write!(f, "more devices are named than there can be"),
            Self::Count { announced, found } => {
                write!(f, "{announced} devices are announced, {found} are named")
            }
        }
    }
}

impl Format {
    /// Returns the format of this name, if it is not empty or too long.
    pub(crate) fn new(name: &[u8]) -> Option<Self> {
        let mut bytes = [0; FORMAT_LENGTH];

        if name.is_empty() || name.len() >= FORMAT_LENGTH || name.contains(&0) {
            return None;
        }
        bytes[..name.len()].copy_from_slice(name);

        // INVARIANT: Shorter than the array, which was zeroed, and without a null byte.
        Some(Self(bytes))
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.utf8_chunks() {
            f.write_str(chunk.valid().trim_end_matches('\0'))?;
        }
        Ok(())
    }
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

impl TryFrom<RawDriverSer> for DriverEntry {
    type Error = BadRecord;

    fn try_from(raw: RawDriverSer) -> Result<Self, BadRecord> {
        let address = RawAddress {
            domain: raw.domain,
            bdf: raw.bdf,
        };
        let address = Address::try_from(address).map_err(|_| BadRecord::Domain(raw.domain))?;

        if raw.reserved != 0 {
            return Err(BadRecord::Reserved(address));
        }

        let length = raw.compatible.iter().position(|byte| *byte == 0);
        let format = length.and_then(|length| Format::new(&raw.compatible[..length]));

        Ok(Self {
            address,
            format: format.ok_or(BadRecord::Format(address))?,
            data: raw.data,
        })
    }
}

impl TryFrom<RawProbeSer> for ProbeEntry {
    type Error = BadRecord;

    fn try_from(raw: RawProbeSer) -> Result<Self, BadRecord> {
        let address = RawAddress {
            domain: raw.domain,
            bdf: raw.bdf,
        };
        let address = Address::try_from(address).map_err(|_| BadRecord::Domain(raw.domain))?;

        if raw.offset % 4 != 0 || raw.offset >= CONFIG_SPACE_SIZE {
            return Err(BadRecord::Register(address, raw.offset));
        }
        Ok(Self {
            address,
            probe: Probe {
                register: raw.offset,
                value: raw.value,
            },
        })
    }
}

impl From<ProbeEntry> for RawProbeSer {
    fn from(ProbeEntry { address, probe }: ProbeEntry) -> Self {
        Self {
            domain: address.domain(),
            bdf: address.bdf(),
            offset: probe.register,
            value: probe.value,
        }
    }
}

impl From<DriverEntry> for RawDriverSer {
    fn from(entry: DriverEntry) -> Self {
        Self {
            domain: entry.address.domain(),
            bdf: entry.address.bdf(),
            reserved: 0,
            data: entry.data,
            compatible: entry.format.0,
        }
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
