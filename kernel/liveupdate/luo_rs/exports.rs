// SPDX-License-Identifier: GPL-2.0

//! What C code calls, which finds it documented in `include/linux/liveupdate_image.h` and
//! `include/linux/liveupdate_devices.h`.

use super::{
    apply,
    ffi, //
};
use kernel::{
    bindings,
    prelude::*, //
};

/// See `include/linux/liveupdate_image.h`.
///
/// # Safety
///
/// `image` is an image that is being loaded, and has its file in `kernel_buf`.
#[export]
pub(crate) unsafe extern "C" fn liveupdate_read_image(image: *mut bindings::kimage) {
    // SAFETY: By function requirement.
    if let Some(file) = unsafe { ffi::file_of(image) } {
        let declared = apply::declared(file);

        // SAFETY: By function requirement. Nobody else has the image yet.
        unsafe { (*image).liveupdate_declared = declared.0 };
    }
}

/// See `include/linux/liveupdate_image.h`.
///
/// # Safety
///
/// None: C functions are unsafe to call.
#[export]
pub(crate) unsafe extern "C" fn liveupdate_stops_devices() -> bool {
    apply::stops_devices()
}

/// See `include/linux/liveupdate_devices.h`.
///
/// # Safety
///
/// None: C functions are unsafe to call.
#[export]
pub(crate) unsafe extern "C" fn liveupdate_devices_ended() -> bool {
    apply::devices_ended()
}

/// See `include/linux/liveupdate_devices.h`.
///
/// # Safety
///
/// None: C functions are unsafe to call.
#[export]
pub(crate) unsafe extern "C" fn liveupdate_devices_escape() -> bool {
    ffi::has_beyond_reach()
}

/// Returns what is noted of an image that is loaded from a file, and that a hand-over comes with, or not.
/// For tests.
#[cfg(CONFIG_RUST_LIVEUPDATE_KUNIT_TEST)]
pub(crate) fn noted_when_loaded(
    file: &mut [u8],
    with_hand_over: bool,
) -> Result<super::plan::Declared> {
    let mut image = KBox::init(pin_init::init_zeroed::<bindings::kimage>(), GFP_KERNEL)?;

    image.kernel_buf = file.as_mut_ptr().cast();
    image.kernel_buf_len = file.len();
    // Where that would be, which is only compared with zero.
    image.kho.fdt = if with_hand_over { 0x1000 } else { 0 };

    // SAFETY: `kernel_buf` and its length are those of `file`. Nobody else has it, or the image.
    unsafe { liveupdate_read_image(&raw mut *image) };
    Ok(super::plan::Declared(image.liveupdate_declared))
}
