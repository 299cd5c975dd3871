// SPDX-License-Identifier: GPL-2.0

//! Compares the entries that a unit has for a device with the records of the device.

use super::super::{
    super::entries::{
        BadRecord,
        DeviceRecord,
        DomainRecord,
        PasidDirectory,
        RawDeviceSer,
        RawDomainSer, //
    },
    bits::PASID_ENTRY_WORDS,
    ffi::{
        self,
        ContextTable,
        Directory,
        IncomingDirectory,
        Unit,
        VtdDevice, //
    },
    plan::{
        self,
        Attachment,
        Mismatch,
        Place, //
    },
};
use kernel::{
    fmt,
    liveupdate::pci::{
        self as lu_pci,
        RawAddress, //
    },
    prelude::*, //
};

/// Why a device is not adopted.
pub(super) enum Unusable {
    Record(BadRecord),
    Entry(Mismatch),
    Memory(Error),
    Conflict,
}

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Record(bad) => fmt::Display::fmt(bad, f),
            Self::Entry(mismatch) => {
                f.write_str("its entry ")?;
                fmt::Display::fmt(mismatch, f)
            }
            Self::Memory(err) if *err == ENOMEM => f.write_str("memory is short"),
            Self::Memory(_) => {
                f.write_str("its tables were not handed over, or its domain ID is in use")
            }
            Self::Conflict => f.write_str("another device has its place or its domain ID"),
        }
    }
}

impl From<BadRecord> for Unusable {
    fn from(bad: BadRecord) -> Self {
        Self::Record(bad)
    }
}

impl From<Mismatch> for Unusable {
    fn from(mismatch: Mismatch) -> Self {
        Self::Entry(mismatch)
    }
}

impl From<Error> for Unusable {
    fn from(err: Error) -> Self {
        Self::Memory(err)
    }
}

/// Formats the PCI address of a device record for the log, also if it is invalid.
pub(super) struct Named<'a>(pub(super) &'a RawDeviceSer);

impl fmt::Display for Named<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(raw) = self;

        write!(
            f,
            "{:04x}:{:02x}:{:02x}.{}",
            raw.pci_domain_nr,
            raw.devid >> 8,
            raw.devid >> 3 & 0x1f,
            raw.devid & 7
        )
    }
}

/// The tables that translate a device: the driver's own, or those that were handed over.
pub(super) trait Tables {
    /// Returns the context table that has the context entry of a place.
    fn context(&self, place: &Place) -> Option<ContextTable<'_>>;

    /// Returns the entry of the first PASID, in the directory of a record.
    fn first_pasid(&self, pasids: &PasidDirectory) -> Result<[u64; PASID_ENTRY_WORDS], Mismatch>;

    /// Clears the bits of a context entry's first quadword that need not match (PRE).
    fn mask(&self, low: u64) -> u64;
}

/// The tables of a unit that is in use, and the PASID directory that the driver has of a device.
pub(super) struct Own<'a> {
    unit: &'a Unit,
    directory: Option<Directory<'a>>,
}

impl<'a> Own<'a> {
    /// The tables of the unit that a device is behind.
    pub(super) fn of(device: VtdDevice<'a>) -> Result<Self, Unusable> {
        Ok(Self {
            unit: device.unit().map_err(|_| Mismatch::Absent)?,
            directory: device.pasids().map(|(directory, _)| directory),
        })
    }
}

impl Tables for Own<'_> {
    fn context(&self, place: &Place) -> Option<ContextTable<'_>> {
        self.unit.root()?.context_table(place.half)
    }

    fn first_pasid(&self, pasids: &PasidDirectory) -> Result<[u64; PASID_ENTRY_WORDS], Mismatch> {
        let directory = self
            .directory
            .filter(|directory| directory.first_page().phys() == pasids.table.phys())
            .ok_or(Mismatch::Pointer)?;

        Ok(directory.first_table().ok_or(Mismatch::Absent)?.entry(0))
    }

    /// This kernel has page requests on for devices that could have some, and off when it hands over.
    fn mask(&self, low: u64) -> u64 {
        plan::without_page_requests(low)
    }
}

/// Tables that the previous kernel handed over, and that nobody took over yet.
pub(super) struct HandedOver<'a>(pub(super) &'a ffi::UncheckedEntries<'a>);

impl Tables for HandedOver<'_> {
    fn context(&self, place: &Place) -> Option<ContextTable<'_>> {
        self.0.context_table(place.half)
    }

    fn first_pasid(&self, pasids: &PasidDirectory) -> Result<[u64; PASID_ENTRY_WORDS], Mismatch> {
        let directory = IncomingDirectory::at(pasids).ok_or(Mismatch::Pointer)?;
        let table = directory.first_table().ok_or(Mismatch::Absent)?;

        Ok(table.entry(0))
    }

    fn mask(&self, low: u64) -> u64 {
        low
    }
}

/// Checks the entries that lead from a device, by its number, to a domain.
pub(super) fn check_entries(
    unit: &Unit,
    tables: &impl Tables,
    bdf: u16,
    attachment: &Attachment,
    pasids: Option<&PasidDirectory>,
) -> Result<(), Unusable> {
    let place = Place::of(bdf, unit.is_scalable());
    let table = tables.context(&place).ok_or(Mismatch::Absent)?;

    if !unit.is_scalable() {
        return Ok(attachment.check_legacy(table.entry(place.word))?);
    }

    let pasids = pasids.ok_or(Mismatch::Directory)?;
    let mut entry = table.entry(place.word);

    entry[0] = tables.mask(entry[0]);
    plan::check_scalable(pasids, attachment.ats, entry)?;
    Ok(attachment.check_pasid(tables.first_pasid(pasids)?)?)
}

/// A device that has the entries that its record says.
pub(super) struct Checked {
    pub(super) record: DeviceRecord,
    pub(super) attachment: Attachment,
    /// Other numbers under which it has entries of its own.
    pub(super) aliases: KVec<u16>,
}

/// Checks that a device has the entries that its record says.
pub(super) fn check_device(
    unit: &Unit,
    tables: &impl Tables,
    raw: &RawDeviceSer,
    raw_domain: &RawDomainSer,
    ats: bool,
) -> Result<Checked, Unusable> {
    let record = DeviceRecord::try_from(raw)?;
    let attachment = Attachment {
        domain: DomainRecord::try_from(raw_domain)?,
        did: record.did,
        ats,
    };
    let pasids = record.pasids.as_ref();

    check_entries(unit, tables, record.address.bdf(), &attachment, pasids)?;

    // In legacy mode, other numbers are not those of what may translate.
    let scalable = unit.is_scalable();
    let other = Attachment {
        ats: ats && scalable,
        ..attachment
    };
    let mut aliases = KVec::new();

    for alias in ffi::aliases_of(record.address, scalable)? {
        match check_entries(unit, tables, alias, &other, pasids) {
            Ok(()) => aliases
                .push(alias, GFP_KERNEL | __GFP_NOFAIL)
                .map_err(Error::from)?,
            // It is in the same IOMMU group, and has its own record, or is not to have an entry.
            Err(_) if is_device(record.address.domain(), alias) => (),
            Err(unusable) => return Err(unusable),
        }
    }
    Ok(Checked {
        record,
        attachment,
        aliases,
    })
}

/// Returns whether there is a device with this number.
fn is_device(domain: u32, bdf: u16) -> bool {
    RawAddress { domain, bdf }
        .try_into()
        .is_ok_and(|address| lu_pci::find(address).is_some())
}

/// Checks that a device has the entries now that are preserved of it.
pub(super) fn check_device_now(
    device: VtdDevice<'_>,
    raw: &RawDeviceSer,
    raw_domain: &RawDomainSer,
) -> Result<Checked, Unusable> {
    let tables = Own::of(device)?;

    check_device(tables.unit, &tables, raw, raw_domain, device.has_ats())
}

/// Checks that a device still has the entries that are preserved of it, or says what is wrong.
///
/// # Errors
///
/// `EINVAL` if it has not, `ENOMEM` if memory is short.
pub(super) fn check_preserved(
    device: VtdDevice<'_>,
    raw: &RawDeviceSer,
    raw_domain: &RawDomainSer,
) -> Result<Checked> {
    check_device_now(device, raw, raw_domain).map_err(|unusable| {
        if kernel::liveupdate_may_log!() {
            pr_err!(
                "{}: lost the translation that was preserved: {unusable}\n",
                Named(raw)
            );
        }
        match unusable {
            Unusable::Memory(err) => err,
            _ => EINVAL,
        }
    })
}
