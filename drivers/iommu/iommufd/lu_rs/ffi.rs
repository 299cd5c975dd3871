// SPDX-License-Identifier: GPL-2.0

//! What this calls of iommufd, the IOMMU core and the page cache.

mod areas;
mod context;
mod device;
mod extents;
mod handles;
mod held;
mod hwpt;
#[cfg_attr(not(CONFIG_IOMMU_LIVEUPDATE), path = "ffi/no_iommu.rs")]
mod iommu;

pub(crate) use self::{
    areas::{
        Area,
        Pages, //
    },
    context::{
        Command,
        Context, //
    },
    device::{
        Device,
        PreservedDevice, //
    },
    extents::file_extents,
    handles::DomainHandle,
    held::{
        Held,
        Kept, //
    },
    iommu::{
        can_end,
        end_domain,
        end_lost, //
    },
};

use self::iommu::register_flb;
use core::ptr::NonNull;
use kernel::{
    bindings,
    error::{
        from_err_ptr,
        to_result, //
    },
    fs::LocalFile,
    liveupdate::{
        abi,
        FileHandler,
        Handler, //
    },
    prelude::*,
    sync::aref::ARef, //
};

/// The name of the handler.
pub(crate) const COMPATIBLE: &CStr = abi::name(bindings::IOMMUFD_LUO_COMPATIBLE);

kernel::declare_trace! {
    /// # Safety
    ///
    /// `rule` is a string.
    unsafe fn iommufd_liveupdate_refused(
        hwpt_id: u32, iova: u64, last_iova: u64, rule: *const u8,
    );
}

/// Traces that a mapping keeps an HWPT from being preserved.
pub(crate) fn trace_refused(hwpt_id: u32, iova: u64, last_iova: u64, rule: &'static CStr) {
    // SAFETY: `rule` is a string.
    unsafe { iommufd_liveupdate_refused(hwpt_id, iova, last_iova, rule.as_char_ptr()) };
}

/// Lets others run.
///
/// # Errors
///
/// `EINTR` if whoever runs is about to be killed, `ERESTARTNOINTR` if a kexec has to go first.
pub(crate) fn pause() -> Result {
    // SAFETY: Has no requirements but that one may sleep, as all that takes long here may.
    to_result(unsafe { bindings::liveupdate_pause() })
}

/// Opens an iommufd, as `/dev/iommu` does.
///
/// # Errors
///
/// `ENOMEM` or `ENFILE` if there cannot be another file.
pub(crate) fn open() -> Result<ARef<LocalFile>> {
    // SAFETY: Has no requirements.
    let file = from_err_ptr(unsafe { bindings::iommufd_liveupdate_open() })?;
    let file = NonNull::new(file).ok_or(ENOMEM)?;

    // SAFETY: A new file has one reference, which is ours.
    Ok(unsafe { ARef::from_raw(file.cast()) })
}

/// Registers a handler for as long as iommufd is there.
///
/// # Errors
///
/// As [`Handler::register_and_keep`], and as [`register_flb`].
pub(crate) fn register<T: FileHandler>(handler: &'static Handler<T>) -> Result {
    // SAFETY: `iommufd_liveupdate_exit()` unregisters it, which iommufd calls on its way out.
    unsafe { handler.register_and_keep(register_flb) }
}
