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
mod restore;
mod retrieved;

pub(crate) use self::{
    areas::{
        compare,
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
    restore::NewIommufd,
    retrieved::{
        release,
        renumber_device, //
    },
};

use self::iommu::register_flb;
use crate::entries;
use kernel::{
    bindings,
    error::to_result,
    liveupdate::{
        abi,
        FileHandler,
        Handler, //
    },
    prelude::*, //
};

/// The name of the handler.
pub(crate) const COMPATIBLE: &CStr = abi::name(bindings::IOMMUFD_LUO_COMPATIBLE);

/// The PASID of what a device does without a PASID.
pub(crate) const NO_PASID: u32 = bindings::IOMMU_NO_PASID;

/// The ioctl that changes which addresses are mapped to if user space names none.
pub(crate) const IOAS_ALLOW_IOVAS: u32 = ioctl(bindings::IOMMUFD_CMD_IOAS_ALLOW_IOVAS);

/// The ioctls that change no mapping and no page table, and ask for neither.
///
/// What is destroyed by its ID is none of what was handed over, which is in use.
pub(crate) const CHANGE_NOTHING: [u32; 8] = [
    ioctl(bindings::IOMMUFD_CMD_DESTROY),
    ioctl(bindings::IOMMUFD_CMD_IOAS_ALLOC),
    IOAS_ALLOW_IOVAS,
    ioctl(bindings::IOMMUFD_CMD_IOAS_CHANGE_PROCESS),
    ioctl(bindings::IOMMUFD_CMD_GET_HW_INFO),
    ioctl(bindings::IOMMUFD_CMD_HWPT_LIVEUPDATE_MARK_PRESERVE),
    ioctl(bindings::IOMMUFD_CMD_HWPT_LIVEUPDATE_UNMARK_PRESERVE),
    ioctl(bindings::IOMMUFD_CMD_HWPT_LIVEUPDATE_GET_ID),
];

/// Returns the number of an ioctl of iommufds: `_IO(IOMMUFD_TYPE, nr)`.
const fn ioctl(nr: u32) -> u32 {
    kernel::ioctl::_IO(bindings::IOMMUFD_TYPE as u32, nr)
}

static_assert!(entries::ACCOUNT_MM == bindings::IOMMUFD_SER_ACCOUNT_MM);
static_assert!(entries::SMALL_PAGES == bindings::IOMMUFD_IOAS_SER_SMALL_PAGES);
static_assert!(entries::prot::READ == bindings::IOMMUFD_AREA_SER_READ);
static_assert!(entries::prot::WRITE == bindings::IOMMUFD_AREA_SER_WRITE);
static_assert!(entries::prot::CACHE == bindings::IOMMUFD_AREA_SER_CACHE);
static_assert!(entries::kind::AUTO == bindings::IOMMUFD_HWPT_SER_AUTO);
static_assert!(entries::kind::NEST_PARENT == bindings::IOMMUFD_HWPT_SER_NEST_PARENT);
static_assert!(entries::kind::PASID == bindings::IOMMUFD_HWPT_SER_PASID);
static_assert!(entries::kind::ENFORCE_CC == bindings::IOMMUFD_HWPT_SER_ENFORCE_CC);

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

/// Sleeps for a while, for there to be more memory.
///
/// # Errors
///
/// `EINTR` if whoever runs is about to be killed.
pub(crate) fn wait() -> Result {
    // SAFETY: Has no requirements but that one may sleep.
    unsafe { bindings::schedule_timeout_killable(1) };
    match pause() {
        Err(err) if err == EINTR => Err(err),
        _ => Ok(()),
    }
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
