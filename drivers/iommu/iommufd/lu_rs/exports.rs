// SPDX-License-Identifier: GPL-2.0

//! What C code calls, which finds it documented in `iommufd_lu.h` and
//! `include/linux/iommufd_liveupdate.h`.

use super::{
    apply,
    ffi::{
        Command,
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
    ffi::c_int,
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
