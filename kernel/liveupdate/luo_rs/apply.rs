// SPDX-License-Identifier: GPL-2.0

//! Reads the images that are loaded, and says why devices do not go on running into one; says whether
//! those that the previous kernel handed over have ended.

use super::{
    entries::{
        self,
        Names, //
    },
    ffi,
    plan::Declared, //
};
use kernel::{
    prelude::*,
    sync::atomic::{
        AtomicFlag,
        Relaxed, //
    }, //
};

/// Returns what this kernel declares itself.
pub(crate) fn own() -> Option<Names<'static>> {
    Names::declared(ffi::own_declaration())
}

/// Returns what an image declares.
pub(crate) fn declared(image: &[u8]) -> Declared {
    match own() {
        Some(own) => Declared::by(own, entries::names(image)),
        None => Declared::NOTHING,
    }
}

/// Returns whether devices are stopped for the sake of the kernel that is booted, and says why once.
pub(crate) fn stops_devices() -> bool {
    static REPORTED: AtomicFlag = AtomicFlag::new(false);

    let Some(declared) = ffi::declared_by_next() else {
        return false;
    };
    // The build makes sure that there is a declaration, and a test that it can be read.
    let Some(own) = own() else {
        return true;
    };

    let lacks = declared.lacks(own);
    if lacks.is_empty() {
        return false;
    }
    if !REPORTED.xchg(true, Relaxed) {
        pr_warn!(
            "devices are stopped: the kernel image does not declare that it takes over {lacks}\n"
        );
    }
    true
}

/// Returns whether no device that the previous kernel handed over reaches memory that was handed over.
///
/// Nobody can stop a device that is not there. The administrator can stop all others first: nothing is
/// taken from an IOMMU before.
pub(crate) fn devices_ended() -> bool {
    if ffi::has_incoming_device() || !ffi::can_end_translations() {
        return false;
    }
    ffi::end_lost_translations();
    !ffi::has_incoming_translation()
}
