// SPDX-License-Identifier: GPL-2.0

//! What this has of C: the names that the contract gives.

use super::entries::{
    FORMAT_LENGTH,
    VERSION, //
};
use kernel::{
    bindings,
    prelude::*,
    ThisModule, //
};

static_assert!(VERSION == bindings::PCI_LUO_FLB_VERSION);

static_assert!(FORMAT_LENGTH == bindings::LIVEUPDATE_HNDL_COMPAT_LENGTH as usize);

const fn name(bytes: &'static [u8]) -> &'static CStr {
    match CStr::from_bytes_with_nul(bytes) {
        Ok(name) => name,
        Err(_) => panic!("bindgen ends strings with a null byte"),
    }
}

/// The name of the FLB of devices.
pub(crate) const COMPATIBLE: &CStr = name(bindings::PCI_LUO_FLB_COMPATIBLE);

/// The name of the FLB of drivers.
pub(crate) const DRIVER_COMPATIBLE: &CStr = name(bindings::PCI_LUO_DRIVER_FLB_COMPATIBLE);

/// The kernel itself: this code is never a module.
// SAFETY: C code takes null for the kernel itself.
pub(crate) const THIS_MODULE: ThisModule = unsafe { ThisModule::from_ptr(core::ptr::null_mut()) };
