// SPDX-License-Identifier: GPL-2.0

//! What C code calls: `iommufd_lu.h`, `include/linux/iommufd_liveupdate.h`.

use super::{
    apply::{
        self,
        Outcome, //
    },
    ffi::{
        Command,
        Device, //
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

/// Lets iommufds be preserved and retrieved.
///
/// To be called when iommufds can be opened. May sleep. If that is not possible, they can be used as
/// if there were no live update; the reason is logged, unless it is that the Live Update
/// Orchestrator does not run.
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

/// Undoes [`iommufd_liveupdate_init`]. May sleep.
///
/// # Safety
///
/// iommufd was initialised, and is going away.
#[export]
pub(crate) unsafe extern "C" fn iommufd_liveupdate_exit() {
    apply::unregister();
}

/// Marks an HWPT: `IOMMU_HWPT_LIVEUPDATE_MARK_PRESERVE`. May sleep.
///
/// Returns 0, or the errors that `include/uapi/linux/iommufd.h` lists. Then nothing changes.
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

/// Undoes that: `IOMMU_HWPT_LIVEUPDATE_UNMARK_PRESERVE`. May sleep.
///
/// Returns 0, or the errors that `include/uapi/linux/iommufd.h` lists. Then nothing changes.
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

/// Asks what becomes of what a device is attached to, which is to be preserved in a session. May
/// sleep; takes the locks of the iommufd.
///
/// Returns
///
/// - `IOMMUFD_LIVEUPDATE_GOES_ON` if it is a marked HWPT, of an iommufd that the session preserves:
///   what the device is attached to has to stay as it is, and all that its DMA needs of the IOMMU is
///   handed over until [`iommufd_device_liveupdate_unpreserve`] is called,
/// - `IOMMUFD_LIVEUPDATE_STAYS` if it is one, and the driver of its IOMMU cannot hand it over: the
///   device is to be stopped,
/// - `IOMMUFD_LIVEUPDATE_ENDS` if it is not attached, or to an IOAS whose automatic HWPT is not
///   marked: the device goes through the live update without,
/// - `-EINVAL` if it is an HWPT that user space made and did not mark, or a nested one,
/// - `-ENOENT` if it is marked, and its iommufd not preserved in this session,
/// - `-EBUSY` if the iommufd is being preserved, an HWPT of it marked, or a device of the group
///   attached to something else, at this moment,
/// - `-EOPNOTSUPP` if PASIDs of the device are attached (`has_pasids`), or if its DMA cannot go on
///   for a reason that the IOMMU core or driver logs,
/// - `-ENOMEM` if memory is short.
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
) -> c_int {
    from_result(|| {
        // SAFETY: By function requirement.
        let device = unsafe { Device::from_raw(NonNull::new(idev).ok_or(EINVAL)?) };

        // SAFETY: By function requirement.
        let session = unsafe { OutgoingSession::from_raw(NonNull::new(session).ok_or(EINVAL)?) };

        let passage = match apply::preserve_device(device, &session, has_pasids)? {
            Outcome::Ends => bindings::iommufd_liveupdate_passage_IOMMUFD_LIVEUPDATE_ENDS,
            Outcome::Stays => bindings::iommufd_liveupdate_passage_IOMMUFD_LIVEUPDATE_STAYS,
            Outcome::GoesOn => bindings::iommufd_liveupdate_passage_IOMMUFD_LIVEUPDATE_GOES_ON,
        };

        // CAST: lossless, they are small numbers.
        Ok(passage as c_int)
    })
}

/// Undoes [`iommufd_device_liveupdate_preserve`], if it returned `IOMMUFD_LIVEUPDATE_GOES_ON`. May
/// sleep, does not fail.
///
/// # Safety
///
/// `idev` is a device that stays bound to its iommufd, and is attached to what it was then.
#[export]
pub(crate) unsafe extern "C" fn iommufd_device_liveupdate_unpreserve(
    idev: *mut bindings::iommufd_device,
) {
    if let Some(idev) = NonNull::new(idev) {
        // SAFETY: By function requirement.
        apply::unpreserve_device(unsafe { Device::from_raw(idev) });
    }
}
