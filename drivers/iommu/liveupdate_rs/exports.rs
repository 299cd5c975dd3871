// SPDX-License-Identifier: GPL-2.0

//! What C code calls, which finds it documented in `include/linux/iommu_liveupdate.h`.

use super::{
    apply::{
        self,
        Which,
        IOMMUS, //
    },
    ffi::{
        self,
        Device,
        Domain, //
    },
};
use kernel::{
    bindings,
    error::from_result,
    ffi::{
        c_int,
        c_void, //
    },
    liveupdate::pci::RawAddress,
    prelude::*, //
};
use zerocopy::FromZeros;

/// See `include/linux/iommu_liveupdate.h`.
///
/// # Safety
///
/// `fh` is a handler that is registered.
#[export]
pub(crate) unsafe extern "C" fn iommu_liveupdate_register_flb(
    fh: *mut bindings::liveupdate_file_handler,
) -> c_int {
    // SAFETY: By function requirement; the FLB is a static.
    unsafe { bindings::liveupdate_register_flb(fh, IOMMUS.as_raw()) }
}

/// See `include/linux/iommu_liveupdate.h`.
///
/// # Safety
///
/// `fh` is a handler that [`iommu_liveupdate_register_flb`] succeeded for.
#[export]
pub(crate) unsafe extern "C" fn iommu_liveupdate_unregister_flb(
    fh: *mut bindings::liveupdate_file_handler,
) {
    // SAFETY: By function requirement.
    unsafe { bindings::liveupdate_unregister_flb(fh, IOMMUS.as_raw()) };
}

/// See `include/linux/iommu_liveupdate.h`.
///
/// # Safety
///
/// `domain` is a domain, and `handle` can be written to.
#[export]
pub(crate) unsafe extern "C" fn iommu_preserve_domain(
    domain: *mut bindings::iommu_domain,
    handle: *mut u64,
) -> c_int {
    from_result(|| {
        // SAFETY: By function requirement.
        let domain = unsafe { Domain::new(domain) }.ok_or(EINVAL)?;
        let phys = apply::preserve_domain(domain)?;

        // SAFETY: By function requirement.
        unsafe { ffi::store(handle, phys) };
        Ok(0)
    })
}

/// See `include/linux/iommu_liveupdate.h`.
///
/// # Safety
///
/// `domain` is a domain that [`iommu_preserve_domain`] succeeded for, and with which no device is
/// preserved.
#[export]
pub(crate) unsafe extern "C" fn iommu_unpreserve_domain(domain: *mut bindings::iommu_domain) {
    // SAFETY: By function requirement.
    if let Some(domain) = unsafe { Domain::new(domain) } {
        if let Err(err) = apply::unpreserve_domain(domain) {
            pr_err!("a domain is not unpreserved: {err:?}\n");
        }
    }
}

/// See `include/linux/iommu_liveupdate.h`.
///
/// # Safety
///
/// `domain` is a domain, and `dev` is a device that stays until it is unpreserved.
#[export]
pub(crate) unsafe extern "C" fn iommu_preserve_device(
    domain: *mut bindings::iommu_domain,
    dev: *mut bindings::device,
    dma_owner_token: u64,
) -> c_int {
    from_result(|| {
        // SAFETY: By function requirement.
        let domain = unsafe { Domain::new(domain) }.ok_or(EINVAL)?;
        // SAFETY: By function requirement.
        let device = unsafe { Device::new(dev) }.ok_or(ENODEV)?;

        apply::preserve_device(domain, device, dma_owner_token)?;
        Ok(0)
    })
}

/// See `include/linux/iommu_liveupdate.h`.
///
/// # Safety
///
/// `domain` and `dev` are a domain and a device that [`iommu_preserve_device`] succeeded for.
#[export]
pub(crate) unsafe extern "C" fn iommu_unpreserve_device(
    domain: *mut bindings::iommu_domain,
    dev: *mut bindings::device,
) {
    // SAFETY: By function requirement.
    let (domain, device) = unsafe { (Domain::new(domain), Device::new(dev)) };

    if let (Some(domain), Some(device)) = (domain, device) {
        if let Err(err) = apply::unpreserve_device(domain, device) {
            pr_err!("a device is not unpreserved: {err:?}\n");
        }
    }
}

/// See `include/linux/iommu_liveupdate.h`.
///
/// # Safety
///
/// `dev` is a device.
#[export]
pub(crate) unsafe extern "C" fn iommu_liveupdate_is_group_whole(
    dev: *mut bindings::device,
) -> bool {
    // SAFETY: By function requirement.
    unsafe { Device::new(dev) }.is_none_or(apply::is_group_whole)
}

/// See `include/linux/iommu_liveupdate.h`.
///
/// # Safety
///
/// `dev` is a device.
#[export]
pub(crate) unsafe extern "C" fn iommu_liveupdate_is_unchanged(dev: *mut bindings::device) -> bool {
    // SAFETY: By function requirement.
    unsafe { Device::new(dev) }.is_none_or(apply::is_unchanged)
}

/// See `include/linux/iommu_liveupdate.h`.
///
/// # Safety
///
/// `dev` is a device.
#[export]
pub(crate) unsafe extern "C" fn iommu_liveupdate_finish_device(
    dev: *mut bindings::device,
) -> c_int {
    from_result(|| {
        ffi::keep_devices(|| {
            // SAFETY: By function requirement.
            let device = unsafe { Device::new(dev) };

            device.map_or(Ok(()), apply::finish)
        })?;
        Ok(0)
    })
}

/// See `include/linux/iommu_liveupdate.h`.
///
/// # Safety
///
/// `owner` lives until these devices are finished.
#[export]
pub(crate) unsafe extern "C" fn iommu_liveupdate_transfer_domain(handle: u64, owner: *mut c_void) {
    apply::set_owner(handle, owner.addr());
    apply::for_each_device_of(handle, |device| {
        // SAFETY: By function requirement.
        if let Err(err) = unsafe { device.transfer_owner(owner) } {
            pr_warn!("DMA of a device is not given to who retrieved its domain: {err:?}\n");
        }
    });
}

/// See `include/linux/iommu_liveupdate.h`.
///
/// # Safety
///
/// None: C functions are unsafe to call.
#[export]
pub(crate) unsafe extern "C" fn iommu_liveupdate_can_end() -> bool {
    apply::can_end()
}

/// See `include/linux/iommu_liveupdate.h`.
///
/// # Safety
///
/// None: C functions are unsafe to call.
#[export]
pub(crate) unsafe extern "C" fn iommu_liveupdate_has_incoming() -> bool {
    apply::has_incoming()
}

/// See `include/linux/iommu_liveupdate.h`.
///
/// # Safety
///
/// None: C functions are unsafe to call.
#[export]
pub(crate) unsafe extern "C" fn iommu_liveupdate_has_beyond_reach() -> bool {
    apply::has_beyond_reach()
}

/// See `include/linux/iommu_liveupdate.h`.
///
/// # Safety
///
/// None: C functions are unsafe to call.
#[export]
pub(crate) unsafe extern "C" fn iommu_liveupdate_was_cut_off(domain: u32, bdf: u16) -> bool {
    RawAddress { domain, bdf }
        .try_into()
        .is_ok_and(apply::was_cut_off)
}

/// See `include/linux/iommu_liveupdate.h`.
///
/// # Safety
///
/// None: C functions are unsafe to call.
#[export]
pub(crate) unsafe extern "C" fn iommu_liveupdate_end_domain(handle: u64) {
    apply::end(Which::At(handle));
}

/// See `include/linux/iommu_liveupdate.h`.
///
/// # Safety
///
/// None: C functions are unsafe to call.
#[export]
pub(crate) unsafe extern "C" fn iommu_liveupdate_end_owner(owner: *mut c_void) {
    if !owner.is_null() {
        apply::end(Which::OwnedBy(owner.addr()));
    }
}

/// See `include/linux/iommu_liveupdate.h`.
///
/// # Safety
///
/// None: C functions are unsafe to call.
#[export]
pub(crate) unsafe extern "C" fn iommu_liveupdate_end_lost() {
    apply::end(Which::Lost);
}

/// See `include/linux/iommu_liveupdate.h`.
///
/// # Safety
///
/// None: C functions are unsafe to call.
#[export]
pub(crate) unsafe extern "C" fn iommu_liveupdate_set_contained(kind: u64, token: u64) {
    apply::set_contained(kind, token);
}

/// See `include/linux/iommu_liveupdate.h`.
///
/// # Safety
///
/// `dev` is a device.
#[export]
pub(crate) unsafe extern "C" fn iommu_liveupdate_stop(dev: *mut bindings::device) {
    // SAFETY: By function requirement.
    if let Some(device) = unsafe { Device::new(dev) } {
        apply::stop(device);
    }
}

/// See `include/linux/iommu_liveupdate.h`.
///
/// # Safety
///
/// `dev` is a device.
#[export]
pub(crate) unsafe extern "C" fn iommu_liveupdate_was_preserved(dev: *mut bindings::device) -> bool {
    // SAFETY: By function requirement.
    unsafe { Device::new(dev) }.is_some_and(apply::was_preserved)
}

/// See `include/linux/iommu_liveupdate.h`.
///
/// # Safety
///
/// `dev` is a device.
#[export]
pub(crate) unsafe extern "C" fn iommu_liveupdate_restore(
    dev: *mut bindings::device,
) -> *mut bindings::iommu_domain {
    // SAFETY: By function requirement.
    let device = unsafe { Device::new(dev) };

    match device.ok_or(ENODEV).and_then(apply::restore) {
        Ok(domain) => domain.as_raw(),
        Err(err) => err.to_ptr(),
    }
}

/// See `include/linux/iommu_liveupdate.h`.
///
/// # Safety
///
/// `dev` is a device.
#[export]
pub(crate) unsafe extern "C" fn iommu_liveupdate_block(dev: *mut bindings::device) {
    // SAFETY: By function requirement.
    if let Some(device) = unsafe { Device::new(dev) } {
        apply::block(device);
    }
}

/// See `include/linux/iommu_liveupdate.h`.
///
/// # Safety
///
/// None: C functions are unsafe to call.
#[export]
pub(crate) unsafe extern "C" fn iommu_liveupdate_prepare_kexec() {
    apply::prepare_kexec();
}

/// See `include/linux/iommu_liveupdate.h`.
///
/// # Safety
///
/// `phys` and `ser` can be written to.
#[export]
pub(crate) unsafe extern "C" fn iommu_liveupdate_get_hw(
    kind: u64,
    token: u64,
    phys: *mut u64,
    ser: *mut bindings::iommu_hw_ser,
) -> c_int {
    from_result(|| {
        let (at, raw) = apply::iommu(kind, token)?;

        // SAFETY: By function requirement.
        unsafe { ffi::store(phys, at) };
        // SAFETY: By function requirement. `RawHwSer` has the layout of the structure.
        unsafe { ffi::store(ser.cast(), raw) };
        Ok(0)
    })
}

/// See `include/linux/iommu_liveupdate.h`.
///
/// # Safety
///
/// `device` and `domain` can be written to.
#[export]
pub(crate) unsafe extern "C" fn iommu_liveupdate_get_device(
    iommu_phys: u64,
    index: u32,
    device: *mut bindings::iommu_device_ser,
    domain: *mut bindings::iommu_domain_ser,
) -> c_int {
    from_result(|| {
        let (raw, raw_domain) = apply::device(iommu_phys, index.try_into()?)?;

        // SAFETY: By function requirement. `RawDeviceSer` has the layout of the structure.
        unsafe { ffi::store(device.cast(), raw) };
        // SAFETY: By function requirement. `RawDomainSer` has the layout of the structure, and any
        // bytes are one.
        unsafe {
            ffi::store(
                domain.cast(),
                raw_domain.unwrap_or_else(FromZeros::new_zeroed),
            )
        };
        Ok(0)
    })
}

/// See `include/linux/iommu_liveupdate.h`.
///
/// # Safety
///
/// `domain` is a domain that its driver is about to free.
#[export]
pub(crate) unsafe extern "C" fn iommu_liveupdate_free_domain(domain: *mut bindings::iommu_domain) {
    // SAFETY: By function requirement.
    if let Some(domain) = unsafe { Domain::new(domain) } {
        apply::release_domain(domain);
    }
}
