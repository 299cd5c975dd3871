// SPDX-License-Identifier: GPL-2.0

//! What C code calls, which finds it documented in `include/linux/iommu_liveupdate.h`.

use super::{
    apply::{
        self,
        IOMMUS, //
    },
    ffi::{
        self,
        Device,
        Domain,
        DyingDomain,
        HeldDomain,
        LockedDevice,
        ReleaseLock, //
    },
    plan::{
        Owner,
        Which, //
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
/// `domain` is a domain whose mappings nobody changes until [`iommu_unpreserve_domain`], and `handle` can be
/// written to.
#[export]
pub(crate) unsafe extern "C" fn iommu_preserve_domain(
    domain: *mut bindings::iommu_domain,
    handle: *mut u64,
) -> c_int {
    from_result(|| {
        // SAFETY: By function requirement.
        let domain = unsafe { HeldDomain::from_raw(domain) }.ok_or(EINVAL)?;
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
/// `domain` is a domain that [`iommu_preserve_domain`] succeeded for, with which no device is preserved, and
/// whose mappings nobody changed since.
#[export]
pub(crate) unsafe extern "C" fn iommu_unpreserve_domain(domain: *mut bindings::iommu_domain) {
    // SAFETY: By function requirement.
    if let Some(domain) = unsafe { HeldDomain::from_raw(domain) } {
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
        let domain = unsafe { Domain::from_raw(domain) }.ok_or(EINVAL)?;
        // SAFETY: By function requirement.
        let device = unsafe { Device::from_raw(dev) }.ok_or(ENODEV)?;

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
    let domain = unsafe { Domain::from_raw(domain) };
    // SAFETY: By function requirement.
    let device = unsafe { Device::from_raw(dev) };

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
/// `dev` is a device that is not released meanwhile.
#[export]
pub(crate) unsafe extern "C" fn iommu_liveupdate_is_group_whole(
    dev: *mut bindings::device,
) -> bool {
    // SAFETY: By function requirement.
    unsafe { Device::from_raw(dev) }.is_none_or(apply::is_group_whole)
}

/// See `include/linux/iommu_liveupdate.h`.
///
/// # Safety
///
/// `dev` is a device that is not released meanwhile.
#[export]
pub(crate) unsafe extern "C" fn iommu_liveupdate_is_unchanged(dev: *mut bindings::device) -> bool {
    // SAFETY: By function requirement.
    unsafe { Device::from_raw(dev) }.is_none_or(apply::is_unchanged)
}

/// See `include/linux/iommu_liveupdate.h`.
///
/// # Safety
///
/// `dev` is a device that is not released meanwhile.
#[export]
pub(crate) unsafe extern "C" fn iommu_liveupdate_finish_device(dev: *mut bindings::device) {
    let lock = ReleaseLock::take();
    // SAFETY: By function requirement. The lock keeps it from being released.
    let domain = unsafe { Device::from_raw(dev) }.and_then(apply::finish);

    drop(lock);
    drop(domain);
}

/// See `include/linux/iommu_liveupdate.h`.
///
/// # Safety
///
/// None: C functions are unsafe to call.
#[export]
pub(crate) unsafe extern "C" fn iommu_liveupdate_take_domain(
    handle: u64,
) -> *mut bindings::iommu_domain {
    apply::take_domain(handle, Domain::as_raw).unwrap_or(core::ptr::null_mut())
}

/// See `include/linux/iommu_liveupdate.h`.
///
/// # Safety
///
/// `domain` is a domain whose page table nobody changes meanwhile.
#[export]
pub(crate) unsafe extern "C" fn iommu_liveupdate_adopt(
    domain: *mut bindings::iommu_domain,
) -> c_int {
    from_result(|| {
        // SAFETY: By function requirement.
        let domain = unsafe { HeldDomain::from_raw(domain) }.ok_or(EINVAL)?;

        apply::adopt(domain)?;
        Ok(0)
    })
}

/// See `include/linux/iommu_liveupdate.h`.
///
/// # Safety
///
/// `domain` is a domain.
#[export]
pub(crate) unsafe extern "C" fn iommu_liveupdate_refuse_domain(
    domain: *mut bindings::iommu_domain,
) {
    // SAFETY: By function requirement.
    if let Some(domain) = unsafe { Domain::from_raw(domain) } {
        apply::refuse_domain(domain);
    }
}

/// See `include/linux/iommu_liveupdate.h`.
///
/// # Safety
///
/// `owner` lives until these devices are finished.
#[export]
pub(crate) unsafe extern "C" fn iommu_liveupdate_transfer_domain(handle: u64, owner: *mut c_void) {
    apply::set_owner(handle, Owner::new(owner.addr()));
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
    if let Some(owner) = Owner::new(owner.addr()) {
        apply::end(Which::OwnedBy(owner));
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
/// `dev` is a device that is not released meanwhile.
#[export]
pub(crate) unsafe extern "C" fn iommu_liveupdate_stop(dev: *mut bindings::device) {
    // SAFETY: By function requirement.
    if let Some(device) = unsafe { Device::from_raw(dev) } {
        apply::stop(device);
    }
}

/// See `include/linux/iommu_liveupdate.h`.
///
/// # Safety
///
/// `dev` is a device that is not released meanwhile.
#[export]
pub(crate) unsafe extern "C" fn iommu_liveupdate_was_preserved(dev: *mut bindings::device) -> bool {
    // SAFETY: By function requirement.
    unsafe { Device::from_raw(dev) }.is_some_and(apply::was_preserved)
}

/// See `include/linux/iommu_liveupdate.h`.
///
/// # Safety
///
/// `dev` is a device that is not released meanwhile.
#[export]
pub(crate) unsafe extern "C" fn iommu_liveupdate_restore(
    dev: *mut bindings::device,
) -> *mut bindings::iommu_domain {
    // SAFETY: By function requirement.
    let device = unsafe { Device::from_raw(dev) };

    device
        .ok_or(ENODEV)
        .and_then(|device| apply::restore(device, Domain::as_raw))
        .unwrap_or_else(Error::to_ptr)
}

/// See `include/linux/iommu_liveupdate.h`.
///
/// # Safety
///
/// `dev` is a device, and the mutex of its IOMMU group is held.
#[export]
pub(crate) unsafe extern "C" fn iommu_liveupdate_block(dev: *mut bindings::device) {
    // SAFETY: By function requirement.
    if let Some(device) = unsafe { LockedDevice::from_raw(dev) } {
        apply::block(&device);
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
/// `domain` is a domain that its driver is about to free, and that nobody else has.
#[export]
pub(crate) unsafe extern "C" fn iommu_liveupdate_free_domain(domain: *mut bindings::iommu_domain) {
    // SAFETY: By function requirement.
    if let Some(domain) = unsafe { DyingDomain::from_raw(domain) } {
        apply::release_domain(domain);
    }
}
