// SPDX-License-Identifier: GPL-2.0

//! What C code calls: `include/linux/iommu_liveupdate.h`.

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
    prelude::*, //
};
use zerocopy::FromZeros;

/// Has the files of a handler share the record of what is preserved. May sleep.
///
/// To be called before any of these files can be preserved.
///
/// # Errors
///
/// `EEXIST` if there is another FLB of that name, `ENOSPC` if there are too many FLBs, `ENOMEM` if
/// memory is short, `EOPNOTSUPP` if the Live Update Orchestrator does not run.
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

/// Undoes [`iommu_liveupdate_register_flb`]. May sleep.
///
/// # Safety
///
/// It succeeded for this handler.
#[export]
pub(crate) unsafe extern "C" fn iommu_liveupdate_unregister_flb(
    fh: *mut bindings::liveupdate_file_handler,
) {
    // SAFETY: By function requirement.
    unsafe { bindings::liveupdate_unregister_flb(fh, IOMMUS.as_raw()) };
}

/// Preserves a domain, all tables of it. May sleep.
///
/// `handle` is what the next kernel knows it by. From here on nobody may change what the domain maps,
/// until it is unpreserved.
///
/// # Errors
///
/// - `ENODEV` if the driver of its IOMMU preserves none.
/// - `EOPNOTSUPP` if it is not one that can be preserved.
/// - `EBUSY` if it is preserved already, or if it is tracked which of its pages are written to.
/// - `ENOENT` if no file is preserved whose handler shares the record.
/// - `EINTR` if the process is about to be killed, `ERESTARTNOINTR` if a kexec has to go first.
/// - `ENOMEM` if memory is short.
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

/// Undoes [`iommu_preserve_domain`]. May sleep, does not fail.
///
/// # Safety
///
/// It succeeded for this domain, and no device is preserved with it.
#[export]
pub(crate) unsafe extern "C" fn iommu_unpreserve_domain(domain: *mut bindings::iommu_domain) {
    // SAFETY: By function requirement.
    if let Some(domain) = unsafe { Domain::new(domain) } {
        if let Err(err) = apply::unpreserve_domain(domain) {
            pr_err!("a domain is not unpreserved: {err:?}\n");
        }
    }
}

/// Preserves that a device is attached to a domain. May sleep.
///
/// # Errors
///
/// - `EINVAL` if the domain is not preserved, if the device is not attached to it, or if nobody owns
///   its DMA.
/// - `EBUSY` if the device is preserved already.
/// - `ENODEV` if it has no IOMMU, or the driver of that preserves none.
/// - `EOPNOTSUPP` if it is one that cannot go on, which is logged.
/// - `ENOENT` if no file is preserved whose handler shares the record.
/// - `ENOMEM` if memory is short.
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

/// Undoes [`iommu_preserve_device`]. May sleep, does not fail.
///
/// # Safety
///
/// It succeeded for this domain and this device.
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

/// Returns whether a device does not go on, or all in its IOMMU group do, with the same domain. May
/// sleep.
///
/// To be asked when all is preserved that will be: an IOMMU group has one domain, and one owner.
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

/// Returns whether a device does not go on, or its IOMMU still has for it what was preserved. If not,
/// that is logged. May sleep.
///
/// To be asked before the last moment at which a kexec can be refused: the device would be stopped
/// afterwards.
///
/// # Safety
///
/// `dev` is a device.
#[export]
pub(crate) unsafe extern "C" fn iommu_liveupdate_is_unchanged(dev: *mut bindings::device) -> bool {
    // SAFETY: By function requirement.
    unsafe { Device::new(dev) }.is_none_or(apply::is_unchanged)
}

/// Ends the passage of a device: nobody owns its DMA for what the previous kernel said. May sleep.
///
/// The domain that it had is freed with the last device of it. Does nothing for other devices.
///
/// # Errors
///
/// `EBUSY` if the device is still attached to that domain, for somebody else.
///
/// # Safety
///
/// `dev` is a device.
#[export]
pub(crate) unsafe extern "C" fn iommu_liveupdate_finish_device(
    dev: *mut bindings::device,
) -> c_int {
    from_result(|| {
        // SAFETY: By function requirement.
        if let Some(device) = unsafe { Device::new(dev) } {
            apply::finish(device)?;
        }
        Ok(0)
    })
}

/// Gives the DMA of all devices that had the domain with this handle to an owner, who may claim it.
/// May sleep.
///
/// Devices that are missing, and those that somebody else has, are left alone.
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

/// Returns whether all that the previous kernel handed over can be kept from going on. May sleep.
///
/// If not, a device that is not finished is behind an IOMMU that this kernel has no driver for, and
/// may go on writing to what its domain maps: that memory is not to be given back. It is logged.
///
/// # Safety
///
/// None: C functions are unsafe to call.
#[export]
pub(crate) unsafe extern "C" fn iommu_liveupdate_can_end() -> bool {
    apply::can_end()
}

/// Returns whether an IOMMU may still translate with what was handed over of a device which is not
/// finished. May sleep.
///
/// If so, a line in the log names one such device.
///
/// # Safety
///
/// None: C functions are unsafe to call.
#[export]
pub(crate) unsafe extern "C" fn iommu_liveupdate_has_incoming() -> bool {
    apply::has_incoming()
}

/// Returns whether a device may do DMA that was handed over, and that nobody can stop, as this kernel
/// did not find it. May sleep.
///
/// To be asked before a kexec, which is refused then: IOMMUs keep such a device from memory, and those
/// of the next kernel would not. A line in the log says what to do.
///
/// # Safety
///
/// None: C functions are unsafe to call.
#[export]
pub(crate) unsafe extern "C" fn iommu_liveupdate_has_beyond_reach() -> bool {
    apply::has_beyond_reach()
}

/// Ends the passage of all devices that had the domain with this handle, as far as nobody did, and
/// frees its tables if it was restored for none of them. May sleep.
///
/// Devices that are found are stopped; the entries of others are taken away. Nothing that was handed
/// over reaches what the domain maps afterwards, if [`iommu_liveupdate_can_end`] said so before.
///
/// # Safety
///
/// None: C functions are unsafe to call.
#[export]
pub(crate) unsafe extern "C" fn iommu_liveupdate_end_domain(handle: u64) {
    apply::end(Which::At(handle));
}

/// Does the same as [`iommu_liveupdate_end_domain`] for all domains of an owner, who got them by
/// [`iommu_liveupdate_transfer_domain`]. May sleep.
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

/// Does the same as [`iommu_liveupdate_end_domain`] for all devices that are not found, whatever domain
/// they had: it is not known any more. May sleep.
///
/// # Safety
///
/// None: C functions are unsafe to call.
#[export]
pub(crate) unsafe extern "C" fn iommu_liveupdate_end_lost() {
    apply::end(Which::Lost);
}

/// Notes that what an IOMMU has of devices that were handed over can be taken away, or was. May sleep.
///
/// `kind` and `token` are what its record is known by.
///
/// # Safety
///
/// None: C functions are unsafe to call.
#[export]
pub(crate) unsafe extern "C" fn iommu_liveupdate_set_contained(kind: u64, token: u64) {
    apply::set_contained(kind, token);
}

/// Keeps a device from doing DMA, which its new owner has not set up. May sleep.
///
/// Ports and bridges are left alone.
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

/// Returns whether the previous kernel preserved the translations of a device, which is not finished.
/// May sleep.
///
/// # Safety
///
/// `dev` is a device.
#[export]
pub(crate) unsafe extern "C" fn iommu_liveupdate_was_preserved(dev: *mut bindings::device) -> bool {
    // SAFETY: By function requirement.
    unsafe { Device::new(dev) }.is_some_and(apply::was_preserved)
}

/// Returns the domain that a device had, for it to be attached to as its first one. May sleep.
///
/// # Errors
///
/// Any, as an error pointer: what was handed over cannot be used.
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

/// Takes away what was handed over for a device, and stops it. May sleep.
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

/// Notes what goes on when IOMMUs are shut down. May sleep; the kexec cannot be called off any more.
///
/// # Safety
///
/// None: C functions are unsafe to call.
#[export]
pub(crate) unsafe extern "C" fn iommu_liveupdate_prepare_kexec() {
    apply::prepare_kexec();
}

/// Gets what the previous kernel says of an IOMMU, and what others call that. May sleep.
///
/// # Errors
///
/// `ENOENT` if it says nothing, `ENODATA` or others if there is nothing at all.
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

/// Gets what the previous kernel says of a device and its domain. May sleep.
///
/// `iommu_phys` is what the IOMMU that the device is behind is called. Its devices have numbers from 0
/// on. If nothing is said of the domain, its record is a free one.
///
/// # Errors
///
/// `ENOENT` if there are no more devices.
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

/// Prepares to free a domain, which nobody uses. May sleep.
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
