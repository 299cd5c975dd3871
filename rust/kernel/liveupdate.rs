// SPDX-License-Identifier: GPL-2.0

//! Live Update: carry files and shared records from one kernel into the next.
//!
//! A kernel that is about to be replaced through kexec can hand over memory, and with it what user
//! space wants to find again afterwards. There are two kinds of things to hand over:
//!
//! - A *file* that user space puts into a session. A [`FileHandler`] knows how to preserve files of
//!   one type, and how to make them again in the next kernel.
//! - A *File-Lifecycle-Bound record* (FLB): data that all files of some handlers share. An [`Flb`]
//!   exists from the first such file to the last.
//!
//! What either of them wants to tell the next kernel lives in memory that is preserved. Module
//! [`kho`] has the owners of such memory, module [`abi`] the rules for what may be stored there and
//! for what the next kernel may believe of it.
//!
//! # Terms
//!
//! - *outgoing*: of this kernel, to be handed over to the next one.
//! - *incoming*: handed over by the previous kernel.
//! - *allegation*: bytes of the previous kernel that nobody checked yet. Only a `TryFrom` turns
//!   them into a fact, and only facts decide anything.
//!
//! C headers: [`include/linux/liveupdate.h`](srctree/include/linux/liveupdate.h),
//! [`include/linux/kexec_handover.h`](srctree/include/linux/kexec_handover.h)
//!
//! Reference: [`Documentation/core-api/liveupdate.rst`](srctree/Documentation/core-api/liveupdate.rst)

pub mod abi;
mod file;
mod flb;
#[cfg(CONFIG_IOMMU_LIVEUPDATE)]
pub mod kho;
mod luo;
#[cfg(CONFIG_PCI)]
pub mod pci;
mod sessions;
pub mod sorted;

pub use self::{
    abi::{
        AllegedAddress,
        Handle,
        PhysRef,
        ReadError,
        Record,
        RecordFlaw, //
    },
    file::{
        device_number,
        open,
        FileHandler,
        FreezeError,
        Handler,
        Incoming,
        IncomingSession,
        Outgoing,
        OutgoingSession,
        Registration,
        Retrieval,
        Unpublished, //
    },
    flb::{
        Flb,
        FlbCell,
        IncomingFlb,
        OutgoingFlb, //
    },
    luo::{
        flb_handed_over,
        was_handed_over, //
    },
    sessions::{
        for_each_file,
        Direction,
        FileState,
        SessionFile,
        SessionItem,
        SessionName, //
    },
};

/// Returns whether a message may be logged that user space can cause at will.
///
/// For [`liveupdate_may_log!`](crate::liveupdate_may_log), which has a `place` for each message.
#[doc(hidden)]
pub fn may_log_at(place: &'static u8) -> bool {
    // SAFETY: Takes any address, and only compares it with others.
    unsafe { crate::bindings::liveupdate_ratelimit(core::ptr::from_ref(place).cast()) }
}

/// Returns whether a message may be logged that user space can cause at will: ten times in five
/// seconds, as with C's `pr_warn_ratelimited()`.
///
/// Each place that this stands at has a limit of its own: who causes one message does not keep the
/// log from others.
///
/// # Examples
///
/// ```
/// if kernel::liveupdate_may_log!() {
///     pr_warn!("cannot be preserved\n");
/// }
/// ```
#[macro_export]
macro_rules! liveupdate_may_log {
    () => {{
        static PLACE: u8 = 0;

        $crate::liveupdate::may_log_at(&PLACE)
    }};
}

/// Prints a warning about a device, unless there were too many in a short time.
///
/// # Examples
///
/// ```
/// # use kernel::device::Device;
/// fn refuse(dev: &Device) {
///     kernel::dev_warn_ratelimited!(dev, "cannot be preserved\n");
/// }
/// ```
#[macro_export]
macro_rules! dev_warn_ratelimited {
    ($($arg:tt)*) => {
        if $crate::liveupdate_may_log!() {
            $crate::dev_warn!($($arg)*);
        }
    };
}

/// Declares the module that a crate without `module!` is a part of.
///
/// That is the C module of this name that the crate is linked into, or the kernel itself if that module,
/// or the crate, is built in. Stands in the crate root, as `#[vtable]` looks for `crate::LocalModule`
/// there: the owner of handlers and FLBs.
///
/// # Examples
///
/// ```
/// use kernel::{module::this_module, ModuleMetadata};
///
/// kernel::local_module!(c"example");
///
/// assert_eq!(LocalModule::NAME, c"example");
/// // This is built in: nobody takes a reference on the kernel itself.
/// assert!(this_module::<LocalModule>().as_ptr().is_null());
/// ```
#[macro_export]
macro_rules! local_module {
    ($name:expr) => {
        /// The module that this is a part of.
        struct LocalModule;

        impl $crate::ModuleMetadata for LocalModule {
            const NAME: &'static $crate::str::CStr = $name;

            #[cfg(MODULE)]
            const THIS_MODULE: $crate::ThisModule = {
                extern "C" {
                    // Only its address is of interest.
                    static __this_module: u8;
                }

                // SAFETY: The loader made `__this_module`, and it lives as long as this code.
                unsafe {
                    $crate::ThisModule::from_ptr((&raw const __this_module).cast_mut().cast())
                }
            };

            #[cfg(not(MODULE))]
            const THIS_MODULE: $crate::ThisModule = {
                // SAFETY: C code takes null for the kernel itself.
                unsafe { $crate::ThisModule::from_ptr(::core::ptr::null_mut()) }
            };
        }
    };
}

/// Returns whether the Live Update Orchestrator runs in this kernel.
///
/// It does if it was asked for on the kernel command line and found what it needs.
///
/// # Examples
///
/// ```
/// use kernel::liveupdate;
///
/// if !liveupdate::enabled() {
///     pr_debug!("nothing can be preserved\n");
/// }
/// ```
#[inline]
pub fn enabled() -> bool {
    // SAFETY: `liveupdate_enabled()` has no requirements.
    unsafe { crate::bindings::liveupdate_enabled() }
}

/// Returns whether devices are to be stopped that would go on running across the kexec.
///
/// It is so if the kernel that is booted does not declare that it takes over all that this kernel
/// hands over. The log says once what is missing. To be asked when devices are shut down: false while
/// no kexec is certain to happen.
#[inline]
pub fn stops_devices() -> bool {
    // SAFETY: `liveupdate_stops_devices()` has no requirements.
    unsafe { crate::bindings::liveupdate_stops_devices() }
}
