// SPDX-License-Identifier: GPL-2.0

//! Preserves the tables of units, and adopts them.

mod check;
mod incoming;
mod outgoing;

pub(crate) use self::{
    incoming::{
        adopt,
        attach,
        is_adopted,
        quieten_irqs,
        stop_devices,
        take_pasids, //
    },
    outgoing::shutdown,
};

use super::{
    super::{
        driver::IommuDriver,
        entries::{
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
    },
    ffi::{
        self,
        with_unit,
        Unit,
        VtdDevice, //
    },
    kept::Kept,
};
use kernel::prelude::*;

/// The driver of remapping units of Intel VT-d.
pub(crate) struct VtD;

impl IommuDriver for VtD {
    fn describe_domain(&self, domain: &Domain) -> Result<RawDomainSer> {
        ffi::describe(domain)
    }

    fn preserve_iommu(&self, device: &Device) -> Result<RawHwSer> {
        outgoing::preserve_unit(VtdDevice::of(device)?.unit()?)
    }

    fn unpreserve_iommu(&self, device: &Device, record: &RawHwSer) {
        if let Ok(unit) = VtdDevice::of(device).and_then(VtdDevice::unit) {
            outgoing::unpreserve_unit(unit, record);
        }
    }

    fn preserve_device(&self, device: &Device, domain: &Domain) -> Result<RawDeviceSer> {
        outgoing::preserve_device(VtdDevice::of(device)?, domain)
    }

    fn unpreserve_device(&self, device: &Device, domain: &Domain) {
        if let Ok(device) = VtdDevice::of(device) {
            outgoing::unpreserve_device(device, domain);
        }
    }

    fn check_device(
        &self,
        device: &Device,
        record: &RawDeviceSer,
        domain_record: &RawDomainSer,
    ) -> Result {
        check::check_preserved(VtdDevice::of(device)?, record, domain_record).map(|_| ())
    }

    fn keep_device(
        &self,
        device: &Device,
        record: &RawDeviceSer,
        domain_record: &RawDomainSer,
        iommu_record: &mut RawHwSer,
    ) -> Result {
        outgoing::keep_device(VtdDevice::of(device)?, record, domain_record, iommu_record)
    }

    fn restore_domain(&self, device: &Device, record: &RawDomainSer) -> Result<NewDomain> {
        ffi::restore_domain(VtdDevice::of(device)?, record)
    }

    fn restore_device(&self, device: &Device, domain: &Domain) -> Result {
        incoming::restore_did(VtdDevice::of(device)?, domain)
    }

    fn block_device(&self, device: &LockedDevice<'_>) {
        incoming::give_up(device);
    }

    fn release_domain(&self, domain: &mut DyingDomain<'_>) {
        ffi::release_domain(domain);
    }

    fn end_device(&self, token: u64, bdf: u16) {
        with_unit(token, |unit| incoming::end_device(unit, bdf));
    }
}

/// Returns the unit's Live Update state, which is allocated on first use and never freed.
fn kept(unit: &Unit) -> Result<Pin<&Kept>> {
    if unit.kept().is_none() {
        unit.keep(KBox::pin_init(Kept::new(), GFP_KERNEL | __GFP_NOFAIL)?);
    }
    unit.kept().ok_or(ENOMEM)
}
