// SPDX-License-Identifier: GPL-2.0

//! What C code calls, which finds it documented in `intel_lu.h`.

use super::{
    super::ffi::{
        Device,
        Domain, //
    },
    apply,
    ffi::{
        BootUnit,
        Unit,
        VtdDevice, //
    },
};
use kernel::{
    bindings,
    error::from_result,
    ffi::c_int,
    prelude::*, //
};

/// See `intel_lu.h`.
///
/// # Safety
///
/// `iommu` is a unit that is being set up.
#[export]
pub(crate) unsafe extern "C" fn intel_liveupdate_adopt(iommu: *mut bindings::intel_iommu) -> bool {
    // SAFETY: By function requirement.
    unsafe { BootUnit::from_raw(iommu) }.is_some_and(apply::adopt)
}

/// See `intel_lu.h`.
///
/// # Safety
///
/// `iommu` is a unit that is being set up.
#[export]
pub(crate) unsafe extern "C" fn intel_liveupdate_is_adopted(
    iommu: *const bindings::intel_iommu,
) -> bool {
    // SAFETY: By function requirement.
    unsafe { Unit::from_raw(iommu.cast_mut()) }.is_some_and(apply::is_adopted)
}

/// See `intel_lu.h`.
///
/// # Safety
///
/// `iommu` is a unit that is being set up.
#[export]
pub(crate) unsafe extern "C" fn intel_liveupdate_stop_devices(
    iommu: *mut bindings::intel_iommu,
) -> bool {
    // SAFETY: By function requirement.
    unsafe { BootUnit::from_raw(iommu) }.is_none_or(apply::stop_devices)
}

/// See `intel_lu.h`.
///
/// # Safety
///
/// `info` is what the driver knows of a device that is being probed, and `table` can be written to.
#[export]
pub(crate) unsafe extern "C" fn intel_liveupdate_pasid_table(
    info: *mut bindings::device_domain_info,
    table: *mut bindings::pasid_table,
) -> bool {
    // SAFETY: By function requirement. The unit of a device does not go away.
    let unit = unsafe { Unit::from_raw((*info).iommu) };
    // SAFETY: By function requirement.
    let [bus, devfn] = unsafe { [(*info).bus, (*info).devfn] };
    let bdf = u16::from_be_bytes([bus, devfn]);

    let Some((directory, pasids)) = unit.and_then(|unit| apply::take_pasids(unit, bdf)) else {
        return false;
    };

    // SAFETY: By function requirement.
    unsafe { (*table).table = directory.into_raw() };
    // SAFETY: By function requirement.
    unsafe { (*table).max_pasid = pasids.max() };
    true
}

/// See `intel_lu.h`.
///
/// # Safety
///
/// `domain` is a domain, `dev` a device that is not released meanwhile, and `ret` can be written to.
#[export]
pub(crate) unsafe extern "C" fn intel_liveupdate_attach(
    domain: *mut bindings::dmar_domain,
    dev: *mut bindings::device,
    ret: *mut c_int,
) -> bool {
    // The domain begins with what the core knows of it.
    //
    // SAFETY: By function requirement.
    let domain = unsafe { Domain::from_raw(domain.cast()) };
    // SAFETY: By function requirement.
    let device = unsafe { Device::from_raw(dev) };
    let (Some(domain), Some(Ok(device))) = (domain, device.map(VtdDevice::of)) else {
        return false;
    };
    let Some(result) = apply::attach(device, domain) else {
        return false;
    };

    // SAFETY: By function requirement.
    unsafe { *ret = from_result(|| result.map(|()| 0)) };
    true
}

/// See `intel_lu.h`.
///
/// # Safety
///
/// `iommu` is a unit. This is the last processor, and interrupts are off.
#[export]
pub(crate) unsafe extern "C" fn intel_liveupdate_shutdown(
    iommu: *mut bindings::intel_iommu,
) -> bool {
    // SAFETY: By function requirement.
    unsafe { Unit::from_raw(iommu) }.is_some_and(apply::shutdown)
}

/// See `intel_lu.h`.
///
/// # Safety
///
/// `iommu` is a unit whose table is new.
#[export]
pub(crate) unsafe extern "C" fn intel_liveupdate_quiet_irtes(iommu: *mut bindings::intel_iommu) {
    // SAFETY: By function requirement.
    if let Some(unit) = unsafe { Unit::from_raw(iommu) } {
        apply::quieten_irqs(unit);
    }
}
