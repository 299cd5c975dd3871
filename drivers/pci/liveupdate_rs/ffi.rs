// SPDX-License-Identifier: GPL-2.0

//! What this has of C: the names that the contract gives.

use super::entries::VERSION;
use kernel::{
    bindings,
    prelude::*,
    ThisModule, //
};

static_assert!(VERSION == bindings::PCI_LUO_FLB_VERSION);

/// The name of the FLB.
pub(crate) const COMPATIBLE: &CStr =
    match CStr::from_bytes_with_nul(bindings::PCI_LUO_FLB_COMPATIBLE) {
        Ok(name) => name,
        Err(_) => panic!("bindgen ends strings with a null byte"),
    };

/// The kernel itself: this code is never a module.
// SAFETY: C code takes null for the kernel itself.
pub(crate) const THIS_MODULE: ThisModule = unsafe { ThisModule::from_ptr(core::ptr::null_mut()) };
