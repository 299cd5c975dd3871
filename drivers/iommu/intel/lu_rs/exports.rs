// SPDX-License-Identifier: GPL-2.0

//! What C code calls, which finds it documented in `intel_lu.h`.

use super::{
    apply,
    ffi::{
        self,
        Device,
        HeldTag,
        Unit, //
    },
};
use core::ptr;
use kernel::{
    bindings,
    error::from_result,
    ffi::c_int,
    liveupdate::{
        iommu::{
            RawDeviceSer,
            RawDomainSer,
            RawHwSer, //
        },
        pci as lu_pci,
    },
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
    unsafe { Unit::new(iommu) }.is_some_and(apply::adopt)
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
    unsafe { Unit::new(iommu.cast_mut()) }.is_some_and(apply::is_adopted)
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
    unsafe { Unit::new(iommu) }.is_none_or(apply::stop_devices)
}

/// See `include/linux/iommu_liveupdate.h`.
///
/// # Safety
///
/// None: C functions are unsafe to call.
#[export]
pub(crate) unsafe extern "C" fn intel_liveupdate_end_device(token: u64, bdf: u16) {
    ffi::with_unit(token, |unit| apply::end_device(unit, bdf));
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
    // SAFETY: By function requirement.
    let dev = unsafe { (*info).dev };

    // SAFETY: By function requirement.
    let device = unsafe { Device::look_at(dev, ptr::null_mut()) };
    let Some(pasids) = apply::take_pasids(&device) else {
        return false;
    };

    // SAFETY: Arithmetic.
    let directory = unsafe { bindings::phys_to_virt(pasids.table.phys()) };

    // SAFETY: By function requirement.
    unsafe { (*table).table = directory };
    // SAFETY: By function requirement.
    unsafe { (*table).max_pasid = pasids.max() };
    true
}

/// See `intel_lu.h`.
///
/// # Safety
///
/// `domain` is a domain that has a tag for the unit of the device `dev`, and `ret` can be written to.
#[export]
pub(crate) unsafe extern "C" fn intel_liveupdate_attach(
    domain: *mut bindings::dmar_domain,
    dev: *mut bindings::device,
    ret: *mut c_int,
) -> bool {
    // SAFETY: By function requirement.
    if !unsafe { bindings::dev_is_pci(dev) } {
        return false;
    }

    // The domain begins with what the core knows of it.
    let core = domain.cast::<bindings::iommu_domain>();

    // SAFETY: By function requirement.
    let device = unsafe { Device::look_at(dev, core) };

    // SAFETY: By function requirement.
    let Ok(now) = (unsafe { ffi::describe_uncounted(core) }) else {
        return false;
    };
    let Some(result) = apply::attach(&device, &now, device.did()) else {
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
    unsafe { Unit::new(iommu) }.is_some_and(apply::shutdown)
}

/// See `intel_lu.h`.
///
/// # Safety
///
/// `iommu` is a unit whose table is new.
#[export]
pub(crate) unsafe extern "C" fn intel_liveupdate_quiet_irtes(iommu: *mut bindings::intel_iommu) {
    // SAFETY: By function requirement.
    if let Some(unit) = unsafe { Unit::new(iommu) } {
        apply::quieten_irqs(unit);
    }
}

/// What the driver does for the IOMMU core: see `struct iommu_liveupdate_ops` for what each of them is to do.
#[no_mangle]
static intel_liveupdate_ops: bindings::iommu_liveupdate_ops = bindings::iommu_liveupdate_ops {
    describe_domain: Some(describe_domain),
    preserve_iommu: Some(preserve_iommu),
    unpreserve_iommu: Some(unpreserve_iommu),
    preserve_device: Some(preserve_device),
    unpreserve_device: Some(unpreserve_device),
    check_device: Some(check_device),
    keep_device: Some(keep_device),
    restore_domain: Some(restore_domain),
    restore_device: Some(restore_device),
    block_device: Some(block_device),
    release_domain: Some(release_domain),
};

/// Says what the tables of a domain are.
///
/// # Safety
///
/// `domain` is a domain of the driver, and `ser` can be written to.
unsafe extern "C" fn describe_domain(
    domain: *mut bindings::iommu_domain,
    ser: *mut bindings::iommu_domain_ser,
) -> c_int {
    from_result(|| {
        // SAFETY: By function requirement.
        let raw = unsafe { ffi::describe(domain) }?;

        // SAFETY: By function requirement. `RawDomainSer` has the layout of the structure.
        unsafe { ser.cast::<RawDomainSer>().write(raw) };
        Ok(0)
    })
}

/// Preserves the tables of the unit that a device is behind.
///
/// # Safety
///
/// `dev` is a device that is behind a unit, and `ser` can be written to.
unsafe extern "C" fn preserve_iommu(
    dev: *mut bindings::device,
    ser: *mut bindings::iommu_hw_ser,
) -> c_int {
    from_result(|| {
        // SAFETY: By function requirement.
        if !unsafe { bindings::dev_is_pci(dev) } {
            return Err(EOPNOTSUPP);
        }
        // SAFETY: By function requirement.
        let device = unsafe { Device::look_at(dev, ptr::null_mut()) };
        let raw = apply::preserve_unit(device.unit().ok_or(ENODEV)?)?;

        // SAFETY: By function requirement. `RawHwSer` has the layout of the structure.
        unsafe { ser.cast::<RawHwSer>().write(raw) };
        Ok(0)
    })
}

/// See `intel_lu.h`.
///
/// # Safety
///
/// `dev` is a device that is behind a unit, and `ser` what was written then.
unsafe extern "C" fn unpreserve_iommu(
    dev: *mut bindings::device,
    ser: *const bindings::iommu_hw_ser,
) {
    // SAFETY: By function requirement.
    let device = unsafe { Device::look_at(dev, ptr::null_mut()) };

    if let Some(unit) = device.unit() {
        // SAFETY: By function requirement. `RawHwSer` has the layout of the structure.
        apply::unpreserve_unit(unit, unsafe { &*ser.cast::<RawHwSer>() });
    }
}

/// See `intel_lu.h`.
///
/// # Safety
///
/// `dev` is a device that is behind a unit, `domain` a domain, and `ser` can be written to.
unsafe extern "C" fn preserve_device(
    dev: *mut bindings::device,
    domain: *mut bindings::iommu_domain,
    ser: *mut bindings::iommu_device_ser,
) -> c_int {
    from_result(|| {
        // SAFETY: By function requirement.
        if !unsafe { bindings::dev_is_pci(dev) } {
            return Err(EOPNOTSUPP);
        }
        // SAFETY: PCI devices are a part of a `pci_dev`.
        let pdev = unsafe { kernel::container_of!(dev, bindings::pci_dev, dev) };
        // SAFETY: By function requirement.
        let pci = unsafe { lu_pci::from_raw(pdev) };
        // First: the tag does not change from here on, though the device may be reset.
        //
        // SAFETY: By function requirement.
        let tag = unsafe { HeldTag::new(dev, domain) }?;
        // SAFETY: By function requirement.
        let device = unsafe { Device::look_at(dev, domain) };
        // SAFETY: By function requirement.
        let raw_domain = unsafe { ffi::describe_uncounted(domain) }?;
        let raw = apply::preserve_device(pci, &device, &raw_domain)?;

        // SAFETY: By function requirement. `RawDeviceSer` has the layout of the structure.
        unsafe { ser.cast::<RawDeviceSer>().write(raw) };
        tag.keep();
        Ok(0)
    })
}

/// See `intel_lu.h`.
///
/// # Safety
///
/// `dev` is a device that is behind a unit, and was preserved with `domain`.
unsafe extern "C" fn unpreserve_device(
    dev: *mut bindings::device,
    domain: *mut bindings::iommu_domain,
    _ser: *const bindings::iommu_device_ser,
) {
    // SAFETY: By function requirement.
    apply::unpreserve_device(&unsafe { Device::look_at(dev, ptr::null_mut()) });
    // SAFETY: By function requirement.
    unsafe { HeldTag::release(dev, domain) };
}

/// See `intel_lu.h`.
///
/// # Safety
///
/// `dev` is a device that is behind a unit, and was preserved; the others are what is preserved of
/// it and of its domain.
unsafe extern "C" fn check_device(
    dev: *mut bindings::device,
    device: *const bindings::iommu_device_ser,
    domain: *const bindings::iommu_domain_ser,
) -> c_int {
    from_result(|| {
        // SAFETY: By function requirement.
        let looked_at = unsafe { Device::look_at(dev, ptr::null_mut()) };
        // SAFETY: By function requirement. `RawDeviceSer` has the layout of the structure.
        let device = unsafe { &*device.cast::<RawDeviceSer>() };
        // SAFETY: By function requirement. `RawDomainSer` has the layout of the structure.
        let domain = unsafe { &*domain.cast::<RawDomainSer>() };

        apply::check_preserved(&looked_at, device, domain)?;
        Ok(0)
    })
}

/// See `intel_lu.h`.
///
/// # Safety
///
/// `dev` is a device that is behind a unit, and was preserved; the others are what is preserved of
/// it, of its domain, and of the unit.
unsafe extern "C" fn keep_device(
    dev: *mut bindings::device,
    device: *const bindings::iommu_device_ser,
    domain: *const bindings::iommu_domain_ser,
    iommu: *mut bindings::iommu_hw_ser,
) -> c_int {
    from_result(|| {
        // SAFETY: By function requirement.
        let looked_at = unsafe { Device::look_at(dev, ptr::null_mut()) };
        // SAFETY: By function requirement. `RawDeviceSer` has the layout of the structure.
        let device = unsafe { &*device.cast::<RawDeviceSer>() };
        // SAFETY: By function requirement. `RawDomainSer` has the layout of the structure.
        let domain = unsafe { &*domain.cast::<RawDomainSer>() };
        // SAFETY: By function requirement. `RawHwSer` has the layout of the structure.
        let iommu = unsafe { &mut *iommu.cast::<RawHwSer>() };

        apply::keep_device(&looked_at, device, domain, iommu)?;
        Ok(0)
    })
}

/// See `intel_lu.h`.
///
/// # Safety
///
/// `dev` is a device that is behind a unit, and `domain` a domain of the driver.
unsafe extern "C" fn restore_device(
    dev: *mut bindings::device,
    domain: *mut bindings::iommu_domain,
) -> c_int {
    from_result(|| {
        // SAFETY: By function requirement.
        let device = unsafe { Device::look_at(dev, ptr::null_mut()) };

        apply::restore_tag(&device, |unit, did| {
            // SAFETY: By function requirement.
            unsafe { ffi::set_did(domain, unit, did) }
        })?;
        Ok(0)
    })
}

/// See `intel_lu.h`.
///
/// # Safety
///
/// `dev` is a device that is behind a unit.
unsafe extern "C" fn block_device(dev: *mut bindings::device) {
    // SAFETY: By function requirement.
    apply::give_up(&unsafe { Device::look_at(dev, ptr::null_mut()) });
}

/// Makes a domain of tables that were handed over.
///
/// # Safety
///
/// `dev` is a device that is behind a unit, and `ser` what was handed over.
unsafe extern "C" fn restore_domain(
    dev: *mut bindings::device,
    ser: *const bindings::iommu_domain_ser,
) -> *mut bindings::iommu_domain {
    // SAFETY: By function requirement. `RawDomainSer` has the layout of the structure.
    let raw = unsafe { &*ser.cast::<RawDomainSer>() };

    // SAFETY: By function requirement.
    match unsafe { ffi::restore_domain(dev, raw) } {
        Ok(domain) => domain.into_raw(),
        Err(err) => err.to_ptr(),
    }
}

/// Gives back the tags that [`restore_device`] had a domain keep.
///
/// # Safety
///
/// `domain` is a domain of the driver that nobody uses any more.
unsafe extern "C" fn release_domain(domain: *mut bindings::iommu_domain) {
    // SAFETY: By function requirement.
    unsafe { ffi::release_domain(domain) };
}
