// SPDX-License-Identifier: GPL-2.0

//! What the driver of an IOMMU does for live updates.

use super::{
    entries::{
        Kind,
        RawDeviceSer,
        RawDomainSer,
        RawHwSer, //
    },
    ffi::{
        Device,
        Domain,
        DyingDomain,
        LockedDevice,
        NewDomain, //
    },
    intel, //
};
use kernel::prelude::*;

/// A driver of IOMMUs that hands over their tables.
///
/// Callers pass devices and domains of this driver's IOMMUs only. Every method may sleep, and changes
/// nothing if it fails, unless it says so.
pub(crate) trait IommuDriver: Sync {
    /// Returns the record of a domain, but for the header and the number of tables.
    ///
    /// # Errors
    ///
    /// `EOPNOTSUPP` if the domain cannot be preserved, `EBUSY` if it is tracked which of its pages are
    /// written to.
    fn describe_domain(&self, domain: &Domain) -> Result<RawDomainSer>;

    /// Preserves the tables of the IOMMU that a device is behind, and returns their record but for the
    /// header.
    ///
    /// # Errors
    ///
    /// `EOPNOTSUPP` if the IOMMU does not translate, `ENOMEM` if memory is short.
    fn preserve_iommu(&self, device: &Device) -> Result<RawHwSer>;

    /// Unpreserves the tables of the IOMMU that a device is behind, which have this record.
    fn unpreserve_iommu(&self, device: &Device, record: &RawHwSer);

    /// Preserves the tables that the IOMMU has for a device alone, which is attached to a domain. Returns
    /// their record, but for the header and the addresses of other records.
    ///
    /// # Errors
    ///
    /// `EINVAL` if the device is not attached to the domain, `EOPNOTSUPP` if it cannot go on, which the
    /// log explains, `ENOMEM` if memory is short.
    fn preserve_device(&self, device: &Device, domain: &Domain) -> Result<RawDeviceSer>;

    /// Unpreserves the tables that the IOMMU has for a device, which was preserved with this domain.
    fn unpreserve_device(&self, device: &Device, domain: &Domain);

    /// Checks that the IOMMU still has the entries for a device that were preserved, or says what is wrong.
    /// For when a kexec can be refused.
    ///
    /// # Errors
    ///
    /// `EINVAL` if it has not, `ENOMEM` if memory is short.
    fn check_device(
        &self,
        device: &Device,
        record: &RawDeviceSer,
        domain_record: &RawDomainSer,
    ) -> Result;

    /// Marks the device's entries to survive the IOMMU shutdown, which clears all others, if they are those
    /// that were preserved. Tables of the IOMMU that were made since it was preserved are preserved, too,
    /// and added to its record: also on failure, as far as it came.
    ///
    /// # Errors
    ///
    /// As [`check_device`](Self::check_device), and `ENODEV` if the IOMMU has no tables.
    fn keep_device(
        &self,
        device: &Device,
        record: &RawDeviceSer,
        domain_record: &RawDomainSer,
        iommu_record: &mut RawHwSer,
    ) -> Result;

    /// Makes a domain like the one that the previous kernel wrote a record of. Its page table is a new one.
    ///
    /// # Errors
    ///
    /// `EINVAL` or `EOPNOTSUPP` if the IOMMU of the device would make another page table of the record,
    /// `ENOMEM` if memory is short.
    fn restore_domain(&self, device: &Device, record: &RawDomainSer) -> Result<NewDomain>;

    /// Prepares to attach a device, as its first domain, to one that was restored. The entries of the
    /// device are in place already.
    ///
    /// # Errors
    ///
    /// `ENODEV` if the IOMMU did not adopt the device, or it was attached to something since, `EINVAL` if
    /// the domain has another tag there, `ENOMEM` if memory is short.
    fn restore_device(&self, device: &Device, domain: &Domain) -> Result;

    /// Clears the entries of a device that were handed over.
    fn block_device(&self, device: &LockedDevice<'_>);

    /// Frees the domain IDs that `restore_device()` reserved for the domain.
    fn release_domain(&self, domain: &mut DyingDomain<'_>);

    /// Clears the entries of a device that this kernel did not find, behind the IOMMU with this token. The
    /// IOMMU walks no tables of the device afterwards. Nothing happens unless the IOMMU was adopted.
    fn end_device(&self, token: u64, bdf: u16);
}

impl Kind {
    /// Returns the driver of IOMMUs of this kind.
    ///
    /// Each kind has one: a kind that is added does not compile before it has.
    pub(crate) fn driver(self) -> &'static dyn IommuDriver {
        match self {
            Self::Intel => &intel::VtD,
        }
    }
}

impl Device {
    /// Returns the driver of the IOMMU that the device is behind.
    ///
    /// # Errors
    ///
    /// `ENODEV` if it hands over no tables.
    pub(crate) fn driver(&self) -> Result<&'static dyn IommuDriver> {
        Ok(self.kind().ok_or(ENODEV)?.driver())
    }
}

impl Domain {
    /// Returns the driver of the IOMMUs that the domain is for.
    ///
    /// # Errors
    ///
    /// `ENODEV` if it hands over no tables.
    pub(crate) fn driver(&self) -> Result<&'static dyn IommuDriver> {
        Ok(self.kind().ok_or(ENODEV)?.driver())
    }
}
