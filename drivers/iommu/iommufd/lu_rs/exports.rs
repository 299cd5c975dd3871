// SPDX-License-Identifier: GPL-2.0

//! What C code calls, which finds it documented in `iommufd_lu.h` and
//! `include/linux/iommufd_liveupdate.h`.

use super::{
    apply,
    ffi::{
        self,
        Command,
        Context,
        Device,
        PreservedDevice, //
    },
    plan::{
        NoPassage,
        Passage, //
    }, //
};
use core::ptr::NonNull;
use kernel::{
    bindings,
    error::from_result,
    ffi::{
        c_int,
        c_uint,
        c_ulong, //
    },
    liveupdate::OutgoingSession,
    prelude::*, //
};

/// See `iommufd_lu.h`.
///
/// # Safety
///
/// iommufd is being initialised.
#[export]
pub(crate) unsafe extern "C" fn iommufd_liveupdate_init() {
    if let Err(err) = apply::register() {
        if err != EOPNOTSUPP {
            pr_warn!("iommufds cannot be preserved: {err:?}\n");
        }
    }
}

/// See `iommufd_lu.h`.
///
/// # Safety
///
/// iommufd was initialised, and is going away.
#[export]
pub(crate) unsafe extern "C" fn iommufd_liveupdate_exit() {
    apply::unregister();
}

/// See `iommufd_lu.h`.
///
/// # Safety
///
/// `ucmd` is that of this ioctl.
#[export]
pub(crate) unsafe extern "C" fn iommufd_hwpt_liveupdate_mark_preserve(
    ucmd: *mut bindings::iommufd_ucmd,
) -> c_int {
    from_result(|| {
        // SAFETY: By function requirement.
        let command = unsafe { Command::from_raw(NonNull::new(ucmd).ok_or(EINVAL)?) };

        // SAFETY: By function requirement; what this ioctl has as its argument.
        let cmd: &bindings::iommu_hwpt_liveupdate_mark_preserve = unsafe { command.argument() };

        apply::mark(command.context()?, cmd.hwpt_id, cmd.hwpt_token).map(|()| 0)
    })
}

/// See `iommufd_lu.h`.
///
/// # Safety
///
/// `ucmd` is that of this ioctl.
#[export]
pub(crate) unsafe extern "C" fn iommufd_hwpt_liveupdate_unmark_preserve(
    ucmd: *mut bindings::iommufd_ucmd,
) -> c_int {
    from_result(|| {
        // SAFETY: By function requirement.
        let command = unsafe { Command::from_raw(NonNull::new(ucmd).ok_or(EINVAL)?) };

        // SAFETY: By function requirement; what this ioctl has as its argument.
        let cmd: &bindings::iommu_hwpt_liveupdate_unmark_preserve = unsafe { command.argument() };

        apply::unmark(command.context()?, cmd.hwpt_id).map(|()| 0)
    })
}

/// See `iommufd_lu.h`.
///
/// # Safety
///
/// `ucmd` is that of this ioctl.
#[export]
pub(crate) unsafe extern "C" fn iommufd_hwpt_liveupdate_get_id(
    ucmd: *mut bindings::iommufd_ucmd,
) -> c_int {
    from_result(|| {
        // SAFETY: By function requirement.
        let command = unsafe { Command::from_raw(NonNull::new(ucmd).ok_or(EINVAL)?) };

        // SAFETY: By function requirement; what this ioctl has as its argument.
        let cmd: &bindings::iommu_hwpt_liveupdate_get_id = unsafe { command.argument() };
        let answer = bindings::iommu_hwpt_liveupdate_get_id {
            out_hwpt_id: command.context()?.marked_id(cmd.hwpt_token).ok_or(ENOENT)?,
            ..*cmd
        };

        // SAFETY: As above. Its fields fill it.
        unsafe { command.answer(&answer) }.map(|()| 0)
    })
}

/// See `iommufd_lu.h`.
///
/// # Safety
///
/// `idev` is a device that is being bound, is not finalized, and that nobody else knows.
#[export]
pub(crate) unsafe extern "C" fn iommufd_liveupdate_bind(idev: *mut bindings::iommufd_device) {
    if let Some(idev) = NonNull::new(idev) {
        // SAFETY: By function requirement.
        unsafe { ffi::renumber_device(idev) };
    }
}

/// See `iommufd_lu.h`.
///
/// # Safety
///
/// `ictx` is an iommufd that nobody else has any more.
#[export]
pub(crate) unsafe extern "C" fn iommufd_liveupdate_release(ictx: *mut bindings::iommufd_ctx) {
    if let Some(ictx) = NonNull::new(ictx) {
        // SAFETY: By function requirement.
        unsafe { ffi::release(ictx) };
    }
}

/// See `iommufd_lu.h`.
///
/// # Safety
///
/// `ictx` is an iommufd, which exists meanwhile.
#[export]
pub(crate) unsafe extern "C" fn iommufd_liveupdate_prepare(
    ictx: *mut bindings::iommufd_ctx,
    cmd: c_uint,
) -> c_int {
    from_result(|| {
        // SAFETY: By function requirement.
        let context = unsafe { Context::from_raw(NonNull::new(ictx).ok_or(EINVAL)?) };

        apply::prepare(context, cmd).map(|()| 0)
    })
}

/// See `iommufd_lu.h`.
///
/// # Safety
///
/// `idev` is a device that stays bound to its iommufd, and is not attached to anything else
/// meanwhile.
#[export]
pub(crate) unsafe extern "C" fn iommufd_liveupdate_attach(
    idev: *mut bindings::iommufd_device,
    pasid: bindings::ioasid_t,
    pt_id: u32,
) -> c_int {
    from_result(|| {
        // SAFETY: By function requirement.
        let device = unsafe { Device::from_raw(NonNull::new(idev).ok_or(EINVAL)?) };

        apply::prepare_attach(device, pasid, pt_id).map(|()| 0)
    })
}

/// See `iommufd_lu.h`.
///
/// # Safety
///
/// `domain` is a paging domain that nobody changes meanwhile, and the range ends within the address space.
#[export]
pub(crate) unsafe extern "C" fn iommufd_liveupdate_compare(
    domain: *mut bindings::iommu_domain,
    iova: c_ulong,
    paddr: bindings::phys_addr_t,
    length: usize,
) -> c_int {
    from_result(|| {
        // CAST: lossless, this is for 64-bit kernels.
        //
        // SAFETY: By function requirement.
        unsafe { ffi::compare(domain, iova as u64, paddr, length as u64) }.map(|()| 0)
    })
}

/// See `include/linux/iommufd_liveupdate.h`.
///
/// # Safety
///
/// `idev` is a device that stays bound to its iommufd, and is not attached to anything else
/// meanwhile. `session` is that of a callback that preserves a file.
#[export]
pub(crate) unsafe extern "C" fn iommufd_device_liveupdate_preserve(
    idev: *mut bindings::iommufd_device,
    session: *mut bindings::liveupdate_session,
    has_pasids: bool,
) -> bindings::iommufd_liveupdate_verdict {
    let (Some(idev), Some(session)) = (NonNull::new(idev), NonNull::new(session)) else {
        return verdict(Err(NoPassage::Iommu(EINVAL)));
    };

    // SAFETY: By function requirement.
    let device = unsafe { Device::from_raw(idev) };

    // SAFETY: By function requirement.
    let session = unsafe { OutgoingSession::from_raw(session) };

    verdict(apply::preserve_device(device, &session, has_pasids))
}

/// Returns what becomes of a device, as C code is told.
fn verdict(decided: Result<Passage, NoPassage<Error>>) -> bindings::iommufd_liveupdate_verdict {
    let passage = match decided {
        Ok(Passage::Ends) => bindings::iommufd_liveupdate_passage_IOMMUFD_LIVEUPDATE_ENDS,
        Ok(Passage::Stays) => bindings::iommufd_liveupdate_passage_IOMMUFD_LIVEUPDATE_STAYS,
        Ok(Passage::GoesOn) => bindings::iommufd_liveupdate_passage_IOMMUFD_LIVEUPDATE_GOES_ON,
        Err(NoPassage::Unmarked) => {
            bindings::iommufd_liveupdate_passage_IOMMUFD_LIVEUPDATE_UNMARKED
        }
        Err(NoPassage::Order) => bindings::iommufd_liveupdate_passage_IOMMUFD_LIVEUPDATE_ORDER,
        Err(NoPassage::Pasids) => bindings::iommufd_liveupdate_passage_IOMMUFD_LIVEUPDATE_PASIDS,
        Err(NoPassage::Busy) => bindings::iommufd_liveupdate_passage_IOMMUFD_LIVEUPDATE_BUSY,
        Err(NoPassage::Iommu(_)) => bindings::iommufd_liveupdate_passage_IOMMUFD_LIVEUPDATE_FAILED,
    };

    bindings::iommufd_liveupdate_verdict {
        passage,
        error: match decided {
            Err(NoPassage::Iommu(err)) => err.to_errno(),
            _ => 0,
        },
    }
}

/// See `include/linux/iommufd_liveupdate.h`.
///
/// # Safety
///
/// [`iommufd_device_liveupdate_preserve`] returned that the device `idev` goes on, and this was not called
/// since. It stays bound to its iommufd, and is attached to what it was then.
#[export]
pub(crate) unsafe extern "C" fn iommufd_device_liveupdate_unpreserve(
    idev: *mut bindings::iommufd_device,
) {
    if let Some(idev) = NonNull::new(idev) {
        // SAFETY: By function requirement.
        apply::unpreserve_device(unsafe { PreservedDevice::from_raw(idev) });
    }
}
