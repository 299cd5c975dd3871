// SPDX-License-Identifier: GPL-2.0

//! The records of IOMMUs, domains and devices, and what of them can be believed.
//!
//! Mirrors `include/linux/kho/abi/iommu.h`.

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

/// The version that this kernel writes and understands: `IOMMU_LUO_FLB_VERSION`.
pub(crate) const VERSION: u32 = 1;

/// How many context tables a root table can name.
pub(crate) const CONTEXT_TABLES: usize = 512;

/// How many bits the address of a table can have.
pub(crate) const MAX_PHYS_LG2: u8 = 52;

/// The size of a table in bytes.
const TABLE_SIZE: u64 = 4096;

/// All that is preserved of IOMMUs: `struct iommu_flb_ser`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct RawFlbSer {
    pub(crate) version: u32,
    pub(crate) reserved: u32,
    pub(crate) iommu_array_phys: u64,
    pub(crate) iommu_domain_array_phys: u64,
    pub(crate) device_array_phys: u64,
}

impl RawFlbSer {
    /// Checks the version, on which the meaning of all else depends, and what is to be zero.
    ///
    /// # Errors
    ///
    /// [`BadRecord::Version`] if it is not the one that this kernel writes. [`BadRecord::Bits`] if
    /// there is something in the reserved field.
    pub(crate) fn check(&self) -> Result<(), BadRecord> {
        if self.version != VERSION {
            return Err(BadRecord::Version(self.version));
        }
        match self.reserved {
            0 => Ok(()),
            bits => Err(BadRecord::Bits(bits)),
        }
    }
}

/// The beginning of an object: `struct iommu_hdr_ser`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct RawHdrSer {
    pub(crate) ref_count: u32,
    pub(crate) flags: u32,
}

impl RawHdrSer {
    /// Checks the beginning of an object that so many others need.
    ///
    /// # Errors
    ///
    /// [`BadRecord::Bits`] if there are flags, which nobody knows. [`BadRecord::Users`] if somebody
    /// is not counted; more than there are do no harm.
    pub(crate) fn check(&self, users: usize) -> Result<(), BadRecord> {
        if self.flags != 0 {
            return Err(BadRecord::Bits(self.flags));
        }
        match usize::try_from(self.ref_count) {
            Ok(count) if count > users => Ok(()),
            _ => Err(BadRecord::Users(self.ref_count)),
        }
    }
}

/// A translation: `struct iommu_domain_ser`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct RawDomainSer {
    pub(crate) hdr: RawHdrSer,
    pub(crate) top_table_phys: u64,
    pub(crate) nr_tables: u64,
    pub(crate) format: u32,
    pub(crate) features: u32,
    pub(crate) top_level: u32,
    pub(crate) vasz: u32,
}

/// What a device is attached to: `struct iommu_dev_map_ser`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct RawDevMapSer {
    pub(crate) attachment_id: u64,
    pub(crate) domain_phys: u64,
    pub(crate) iommu_phys: u64,
}

/// What VT-d has of a device: `struct iommu_device_intel_ser`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct RawDeviceIntelSer {
    pub(crate) pasid_table: u64,
    pub(crate) max_pasid: u64,
}

/// A PCI device whose DMA goes on: `struct iommu_device_ser`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct RawDeviceSer {
    pub(crate) hdr: RawHdrSer,
    pub(crate) devid: u32,
    pub(crate) pci_domain_nr: u32,
    pub(crate) map: RawDevMapSer,
    pub(crate) dma_owner_token: u64,
    pub(crate) intel: RawDeviceIntelSer,
}

/// A remapping unit of VT-d: `struct iommu_intel_ser`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct RawIntelSer {
    pub(crate) root_table: u64,
    pub(crate) irq_table: u64,
    pub(crate) cap: u64,
    pub(crate) ecap: u64,
    pub(crate) flags: u32,
    pub(crate) irq_order: u32,
    pub(crate) context_tables_bitmap: [u64; CONTEXT_TABLES / 64],
}

/// An IOMMU that goes on translating: `struct iommu_hw_ser`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct RawHwSer {
    pub(crate) hdr: RawHdrSer,
    pub(crate) token: u64,
    pub(crate) type_: u64,
    pub(crate) intel: RawIntelSer,
}

/// A kind of IOMMU, by the numbers that records have for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u64)]
pub(crate) enum Kind {
    /// Intel VT-d: `IOMMU_SER_INTEL`.
    Intel = 1,
}

impl TryFrom<u64> for Kind {
    type Error = BadRecord;

    fn try_from(number: u64) -> Result<Self, BadRecord> {
        [Self::Intel]
            .into_iter()
            .find(|known| *known as u64 == number)
            .ok_or(BadRecord::Kind(number))
    }
}

/// What is wrong with a record of the previous kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BadRecord {
    /// It has a version that this kernel does not understand.
    Version(u32),
    /// A table cannot be there.
    Table(u64),
    /// There is no such format of tables, or not with so many levels or bits.
    Format {
        /// The format.
        format: u32,
        /// The levels below the first table.
        level: u32,
        /// The bits of an address.
        width: u32,
    },
    /// It has bits that mean nothing.
    Bits(u32),
    /// A translation has no table.
    Empty,
    /// Another translation begins with the same table.
    Shared(u64),
    /// There cannot be a device with this domain and number.
    Address(u32, u32),
    /// There cannot be a translation with this tag.
    Tag(u64),
    /// A PASID directory cannot have room for so many.
    Pasids(u64),
    /// There is no such kind of IOMMU.
    Kind(u64),
    /// It is said to be needed by fewer than need it.
    Users(u32),
}

impl fmt::Display for BadRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Version(version) => write!(f, "version {version} is not known"),
            Self::Table(phys) => write!(f, "there cannot be a table at {phys:#x}"),
            Self::Format {
                format,
                level,
                width,
            } => write!(
                f,
                "tables of format {format}, level {level} and {width} bits are not known"
            ),
            Self::Bits(bits) => write!(f, "bits {bits:#x} are not known"),
            Self::Empty => write!(f, "there are no tables"),
            Self::Shared(phys) => write!(f, "the table at {phys:#x} is another one's, too"),
            Self::Address(domain, bdf) => {
                write!(f, "there is no device {bdf:#x} in domain {domain:#x}")
            }
            Self::Tag(tag) => write!(f, "there is no domain ID {tag:#x}"),
            Self::Pasids(max) => write!(f, "there is no PASID directory for {max}"),
            Self::Kind(kind) => write!(f, "IOMMUs of type {kind} are not known"),
            Self::Users(count) => write!(f, "a count of {count} is too low"),
        }
    }
}

/// The physical address of a table.
///
/// # Invariants
///
/// Is that of a page, not the first one, and has 52 bits at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct TableAddress(NonZero<u64>);

impl TableAddress {
    /// Returns the address.
    pub(crate) const fn phys(self) -> u64 {
        self.0.get()
    }
}

impl TryFrom<u64> for TableAddress {
    type Error = BadRecord;

    fn try_from(phys: u64) -> Result<Self, BadRecord> {
        match NonZero::new(phys) {
            // INVARIANT: Just checked.
            Some(at) if phys % TABLE_SIZE == 0 && phys < 1 << MAX_PHYS_LG2 => Ok(Self(at)),
            _ => Err(BadRecord::Table(phys)),
        }
    }
}

/// What the entries of tables look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u32)]
pub(crate) enum Format {
    /// Of the second stage of VT-d.
    SecondStage = 1,
    /// Of the first stage of VT-d: as those of the processor.
    FirstStage = 2,
}

impl Format {
    /// Returns whether a walk of that many levels and bits can be.
    const fn can_have(self, level: u32, width: u32) -> bool {
        // The first table is that of the fewest levels that reach all bits, or of one more if the
        // unit knows only those.
        let fewest = match self {
            Self::SecondStage => 2,
            Self::FirstStage => 3,
        };

        level >= fewest && level <= 4 && width > 12 && width <= 12 + 9 * (level + 1)
    }
}

impl TryFrom<u32> for Format {
    type Error = ();

    fn try_from(format: u32) -> Result<Self, ()> {
        [Self::SecondStage, Self::FirstStage]
            .into_iter()
            .find(|known| *known as u32 == format)
            .ok_or(())
    }
}

/// How a domain was allocated, beyond the format of its tables.
///
/// # Invariants
///
/// Has no bits but those that are named here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Features(u32);

impl Features {
    /// `IOMMU_DOMAIN_SER_INCOHERENT`.
    pub(crate) const INCOHERENT: u32 = 1 << 0;

    /// `IOMMU_DOMAIN_SER_FORCE_COHERENCE`.
    pub(crate) const FORCE_COHERENCE: u32 = 1 << 1;

    /// `IOMMU_DOMAIN_SER_NEST_PARENT`.
    pub(crate) const NEST_PARENT: u32 = 1 << 2;

    /// `IOMMU_DOMAIN_SER_DIRTY_TRACKING`.
    pub(crate) const DIRTY_TRACKING: u32 = 1 << 3;

    const KNOWN: u32 =
        Self::INCOHERENT | Self::FORCE_COHERENCE | Self::NEST_PARENT | Self::DIRTY_TRACKING;

    /// Returns whether a bit is set.
    pub(crate) const fn has(self, bit: u32) -> bool {
        self.0 & bit != 0
    }
}

impl TryFrom<u32> for Features {
    type Error = BadRecord;

    fn try_from(bits: u32) -> Result<Self, BadRecord> {
        match bits & !Self::KNOWN {
            // INVARIANT: Just checked.
            0 => Ok(Self(bits)),
            unknown => Err(BadRecord::Bits(unknown)),
        }
    }
}

/// A translation that was handed over.
///
/// # Invariants
///
/// Tables of this format can have this level and width.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct DomainRecord {
    top: TableAddress,
    tables: NonZero<u64>,
    format: Format,
    level: u8,
    width: u8,
    features: Features,
}

impl DomainRecord {
    /// Returns where the first table is.
    pub(crate) const fn top(&self) -> TableAddress {
        self.top
    }

    /// Returns how many tables there are said to be.
    pub(crate) const fn tables(&self) -> NonZero<u64> {
        self.tables
    }

    /// Returns what the entries look like.
    pub(crate) const fn format(&self) -> Format {
        self.format
    }

    /// Returns how many levels there are below the first table.
    pub(crate) const fn level(&self) -> u8 {
        self.level
    }

    /// Returns how many bits an address can have.
    pub(crate) const fn width(&self) -> u8 {
        self.width
    }

    /// Returns whether another record is of the same tables, however many there are.
    pub(crate) fn is_same_as(&self, other: &Self) -> bool {
        *self
            == Self {
                tables: self.tables,
                ..*other
            }
    }

    /// Returns how the domain was allocated.
    pub(crate) const fn features(&self) -> Features {
        self.features
    }
}

impl TryFrom<&RawDomainSer> for DomainRecord {
    type Error = BadRecord;

    fn try_from(raw: &RawDomainSer) -> Result<Self, BadRecord> {
        let bad = BadRecord::Format {
            format: raw.format,
            level: raw.top_level,
            width: raw.vasz,
        };

        let format = Format::try_from(raw.format).map_err(|()| bad)?;
        if !format.can_have(raw.top_level, raw.vasz) {
            return Err(bad);
        }

        // INVARIANT: Just checked.
        Ok(Self {
            top: raw.top_table_phys.try_into()?,
            tables: NonZero::new(raw.nr_tables).ok_or(BadRecord::Empty)?,
            format,
            level: raw.top_level.try_into().map_err(|_| bad)?,
            width: raw.vasz.try_into().map_err(|_| bad)?,
            features: raw.features.try_into()?,
        })
    }
}

/// A PASID directory that was handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PasidDirectory {
    /// Where it is.
    pub(crate) table: TableAddress,
    /// Its size, as log2 of a number of pages.
    pub(crate) order: u32,
}

impl PasidDirectory {
    /// The fewest PASIDs that a directory has room for, as log2: one page of entries for 64 each.
    pub(crate) const FEWEST_LG2: u32 = 9 + 6;

    /// The most PASIDs that there are, as log2 of `PASID_MAX`.
    pub(crate) const MOST_LG2: u32 = 20;

    /// Returns how many PASIDs there is room for.
    pub(crate) const fn max(&self) -> u32 {
        1 << (Self::FEWEST_LG2 + self.order)
    }
}

impl TryFrom<RawDeviceIntelSer> for Option<PasidDirectory> {
    type Error = BadRecord;

    fn try_from(raw: RawDeviceIntelSer) -> Result<Self, BadRecord> {
        if raw.pasid_table == 0 && raw.max_pasid == 0 {
            return Ok(None);
        }

        let lg2 = raw.max_pasid.checked_ilog2().unwrap_or(0);
        if !raw.max_pasid.is_power_of_two()
            || !(PasidDirectory::FEWEST_LG2..=PasidDirectory::MOST_LG2).contains(&lg2)
        {
            return Err(BadRecord::Pasids(raw.max_pasid));
        }
        Ok(Some(PasidDirectory {
            table: raw.pasid_table.try_into()?,
            order: lg2 - PasidDirectory::FEWEST_LG2,
        }))
    }
}

/// A device whose DMA goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DeviceRecord {
    /// Where the device is.
    pub(crate) address: Address,
    /// The tag of its translations.
    pub(crate) did: u16,
    /// The record of its translation, by address.
    pub(crate) domain_phys: u64,
    /// The record of its IOMMU, by address.
    pub(crate) iommu_phys: u64,
    /// Its PASID directory, in scalable mode.
    pub(crate) pasids: Option<PasidDirectory>,
    /// Who owns its DMA.
    pub(crate) owner: u64,
}

impl TryFrom<&RawDeviceSer> for DeviceRecord {
    type Error = BadRecord;

    fn try_from(raw: &RawDeviceSer) -> Result<Self, BadRecord> {
        let nowhere = BadRecord::Address(raw.pci_domain_nr, raw.devid);
        let address = RawAddress {
            domain: raw.pci_domain_nr,
            bdf: raw.devid.try_into().map_err(|_| nowhere)?,
        };

        let tag = raw.map.attachment_id;
        let did = tag.try_into().map_err(|_| BadRecord::Tag(tag))?;
        if did < Self::FIRST_DID {
            return Err(BadRecord::Tag(tag));
        }

        Ok(Self {
            address: address.try_into().map_err(|_| nowhere)?,
            did,
            domain_phys: raw.map.domain_phys,
            iommu_phys: raw.map.iommu_phys,
            pasids: raw.intel.try_into()?,
            owner: raw.dma_owner_token,
        })
    }
}

impl DeviceRecord {
    /// The first domain ID that a translation can have: `IDA_START_DID` of the driver.
    pub(crate) const FIRST_DID: u16 = 2;
}

/// An IOMMU that goes on translating.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct UnitRecord {
    /// The address of its registers.
    pub(crate) token: u64,
    /// Its root table.
    pub(crate) root: TableAddress,
    /// Its interrupt remapping table, and the size of that as log2 of a number of pages.
    pub(crate) irq_table: Option<(TableAddress, u32)>,
    /// Its Capability Register.
    pub(crate) cap: u64,
    /// Its Extended Capability Register.
    pub(crate) ecap: u64,
    /// Whether it translates in scalable mode.
    pub(crate) scalable: bool,
    /// Which context tables are preserved.
    pub(crate) context_tables: [u64; CONTEXT_TABLES / 64],
}

impl UnitRecord {
    /// `IOMMU_INTEL_SER_SCALABLE`.
    pub(crate) const SCALABLE: u32 = 1 << 0;

    /// The largest interrupt remapping table: 1 MiB.
    pub(crate) const MAX_IRQ_ORDER: u32 = 8;

    /// Returns whether a context table is preserved.
    pub(crate) const fn has_context_table(&self, index: usize) -> bool {
        self.context_tables[index / 64] & (1 << (index % 64)) != 0
    }
}

impl TryFrom<&RawHwSer> for UnitRecord {
    type Error = BadRecord;

    fn try_from(raw: &RawHwSer) -> Result<Self, BadRecord> {
        let Kind::Intel = raw.type_.try_into()?;

        let intel = &raw.intel;
        if intel.flags & !Self::SCALABLE != 0 {
            return Err(BadRecord::Bits(intel.flags));
        }
        // Without a table, there is no size of one.
        let max_order = match intel.irq_table {
            0 => 0,
            _ => Self::MAX_IRQ_ORDER,
        };
        if intel.irq_order > max_order {
            return Err(BadRecord::Bits(intel.irq_order));
        }

        Ok(Self {
            token: raw.token,
            root: intel.root_table.try_into()?,
            irq_table: match intel.irq_table {
                0 => None,
                phys => Some((phys.try_into()?, intel.irq_order)),
            },
            cap: intel.cap,
            ecap: intel.ecap,
            scalable: intel.flags & Self::SCALABLE != 0,
            context_tables: intel.context_tables_bitmap,
        })
    }
}
