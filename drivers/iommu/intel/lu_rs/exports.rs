// SPDX-License-Identifier: GPL-2.0

//! What C code calls: `intel_lu.h`.

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

/// Adopts a unit as the previous kernel left it. May sleep.
///
/// Returns false, and changes nothing, if it cannot be adopted. Then translation is to be turned off,
/// but not before [`intel_liveupdate_stop_devices`].
///
/// # Safety
///
/// `iommu` is a unit that is being set up.
#[export]
pub(crate) unsafe extern "C" fn intel_liveupdate_adopt(iommu: *mut bindings::intel_iommu) -> bool {
    // SAFETY: By function requirement.
    unsafe { Unit::new(iommu) }.is_some_and(apply::adopt)
}

/// Returns whether a unit was adopted, and so has its root table.
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

/// Stops all devices behind a unit that translates, and is about not to. May sleep.
///
/// Returns whether translation may be turned off. If not, the previous kernel let a device go on that
/// this kernel did not find, and cannot stop: the unit lets nothing through any more, and is to stay
/// as it is. What was adopted with the unit is not taken over any more.
///
/// Returns true, and does nothing, in a kernel that saves the memory of a crashed one.
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

/// Takes away what was handed over of a device that this kernel did not find. May sleep.
///
/// `token` is what its unit is known by, `bdf` the device's bus, device and function number. The unit
/// walks nothing of it afterwards. Does nothing if it was not adopted.
///
/// # Safety
///
/// None: C functions are unsafe to call.
#[export]
pub(crate) unsafe extern "C" fn intel_liveupdate_end_device(token: u64, bdf: u16) {
    ffi::with_unit(token, |unit| apply::end_device(unit, bdf));
}

/// Gets the PASID directory that was handed over for a device, if there is one. May sleep.
///
/// # Safety
///
/// `info` is what the driver has of a device that is being probed, and `table` can be written to.
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

/// Attaches a device to the domain that it had in the previous kernel: everything is in place. May
/// sleep.
///
/// Returns false if the device was not handed over, or was attached to something since. `ret` is
/// where an error goes if something is not in place.
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
    if !unsafe { bindings::iommu_liveupdate_is_pci(dev) } {
        return false;
    }

    // The domain begins with what the core knows of it.
    let core = domain.cast::<bindings::iommu_domain>();

    // SAFETY: By function requirement.
    let device = unsafe { Device::look_at(dev, core) };

    // SAFETY: By function requirement.
    let Ok(now) = (unsafe { ffi::describe(core) }) else {
        return false;
    };
    let Some(result) = apply::attach(&device, &now, device.did()) else {
        return false;
    };

    // SAFETY: By function requirement.
    unsafe { *ret = from_result(|| result.map(|()| 0)) };
    true
}

/// Leaves a unit translating for the next kernel, if something behind it goes on.
///
/// Only what was kept for that stays. Returns false, and does nothing, for other units.
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

/// Has the interrupt remapping table of a unit drop all messages without reporting that.
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

/// Preserves the tables of the unit that a device is behind.
///
/// # Safety
///
/// `dev` is a device that is behind a unit, and `ser` can be written to.
#[export]
pub(crate) unsafe extern "C" fn intel_liveupdate_preserve_iommu(
    dev: *mut bindings::device,
    ser: *mut bindings::iommu_hw_ser,
) -> c_int {
    from_result(|| {
        // SAFETY: By function requirement.
        if !unsafe { bindings::iommu_liveupdate_is_pci(dev) } {
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

/// Undoes it.
///
/// # Safety
///
/// `dev` is a device that is behind a unit, and `ser` what was written then.
#[export]
pub(crate) unsafe extern "C" fn intel_liveupdate_unpreserve_iommu(
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

/// Preserves what the unit has of a device alone, and has the domain keep its tag.
///
/// # Errors
///
/// - `EINVAL` if the device is not attached to the domain, or that is attached to more.
/// - `EOPNOTSUPP` if it is one that cannot go on, which is logged.
/// - `EBUSY` if it is tracked which pages of the domain are written to.
/// - `ENOMEM` if memory is short.
///
/// # Safety
///
/// `dev` is a device that is behind a unit, `domain` a domain, and `ser` can be written to.
#[export]
pub(crate) unsafe extern "C" fn intel_liveupdate_preserve_device(
    dev: *mut bindings::device,
    domain: *mut bindings::iommu_domain,
    ser: *mut bindings::iommu_device_ser,
) -> c_int {
    from_result(|| {
        // SAFETY: By function requirement.
        if !unsafe { bindings::iommu_liveupdate_is_pci(dev) } {
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
        let raw_domain = unsafe { ffi::describe(domain) }?;
        let raw = apply::preserve_device(pci, &device, &raw_domain)?;

        // SAFETY: By function requirement. `RawDeviceSer` has the layout of the structure.
        unsafe { ser.cast::<RawDeviceSer>().write(raw) };
        tag.keep();
        Ok(0)
    })
}

/// Undoes it.
///
/// # Safety
///
/// `dev` is a device that is behind a unit, and was preserved with `domain`.
#[export]
pub(crate) unsafe extern "C" fn intel_liveupdate_unpreserve_device(
    dev: *mut bindings::device,
    domain: *mut bindings::iommu_domain,
    _ser: *const bindings::iommu_device_ser,
) {
    // SAFETY: By function requirement.
    apply::unpreserve_device(&unsafe { Device::look_at(dev, ptr::null_mut()) });
    // SAFETY: By function requirement.
    unsafe { HeldTag::release(dev, domain) };
}

/// Checks that a unit has for a device what was preserved. May sleep.
///
/// # Errors
///
/// `EINVAL` if it has not, which is logged, `ENOMEM` if memory is short.
///
/// # Safety
///
/// `dev` is a device that is behind a unit, and was preserved; the others are what is preserved of
/// it and of its domain.
#[export]
pub(crate) unsafe extern "C" fn intel_liveupdate_check_device(
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

/// Has a device keep its entries when its unit is shut down, if they are what was preserved.
///
/// # Errors
///
/// `EINVAL` if they are not, `ENOMEM` if memory is short.
///
/// # Safety
///
/// `dev` is a device that is behind a unit, and was preserved; the others are what is preserved of
/// it, of its domain, and of the unit.
#[export]
pub(crate) unsafe extern "C" fn intel_liveupdate_keep_device(
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

/// Prepares to attach a device to the domain that it had.
///
/// # Safety
///
/// `dev` is a device that is behind a unit, and `domain` a domain of the driver.
#[export]
pub(crate) unsafe extern "C" fn intel_liveupdate_restore_device(
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

/// Takes away what was handed over of a device.
///
/// # Safety
///
/// `dev` is a device that is behind a unit.
#[export]
pub(crate) unsafe extern "C" fn intel_liveupdate_block_device(dev: *mut bindings::device) {
    // SAFETY: By function requirement.
    apply::give_up(&unsafe { Device::look_at(dev, ptr::null_mut()) });
}
