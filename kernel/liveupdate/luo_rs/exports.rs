// SPDX-License-Identifier: GPL-2.0

//! What C code calls: `include/linux/liveupdate_image.h` and `include/linux/liveupdate_devices.h`.

use super::{
    apply,
    ffi, //
};
use kernel::{
    bindings,
    prelude::*, //
};

/// Notes with an image what it declares to take over.
///
/// To be called by the loader of images of a format that has declarations, which has checked that the
/// image is of that format. Notes nothing if there is no hand-over that comes with the image, as for
/// one that is booted after a crash. Does not sleep.
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

/// Returns whether devices are to be stopped that would go on running across the kexec, since the
/// kernel that is booted does not take them over.
///
/// To be called when devices are shut down. The first time that it is so, a line in the log says what
/// is missing. False while no kexec is certain to happen: another image may be loaded until then. In
/// any context.
///
/// # Safety
///
/// None: C functions are unsafe to call.
#[export]
pub(crate) unsafe extern "C" fn liveupdate_stops_devices() -> bool {
    apply::stops_devices()
}

/// Returns whether no device that the previous kernel handed over reaches memory that was handed over.
///
/// To be asked before memory is given back that a file without handler may have had a device write to.
/// It is so once each device that is there was finished, or stopped with `liveupdate_stop` in sysfs.
/// IOMMUs lose what was handed over of devices that are not there. If not, a line in the log names what
/// is left. May sleep.
///
/// False in a kernel without `CONFIG_PCI_LIVEUPDATE`, which knows of no devices.
///
/// # Safety
///
/// None: C functions are unsafe to call.
#[export]
pub(crate) unsafe extern "C" fn liveupdate_devices_ended() -> bool {
    apply::devices_ended()
}

/// Returns whether a device that the previous kernel handed over would be free to do DMA anywhere in
/// the next one. May sleep.
///
/// To be asked while a kexec can be refused. It is so if this kernel never found the device, and so
/// cannot stop it. A line in the log says what to do.
///
/// # Safety
///
/// None: C functions are unsafe to call.
#[export]
pub(crate) unsafe extern "C" fn liveupdate_devices_escape() -> bool {
    ffi::has_beyond_reach()
}

/// Returns what is noted of an image that is loaded from a file. For tests.
///
/// `fdt` is where the hand-over is that comes with it, or zero.
#[cfg(CONFIG_RUST_LIVEUPDATE_KUNIT_TEST)]
pub(crate) fn noted_when_loaded(
    file: &mut [u8],
    fdt: bindings::phys_addr_t,
) -> Result<super::plan::Declared> {
    let mut image = KBox::init(pin_init::init_zeroed::<bindings::kimage>(), GFP_KERNEL)?;

    image.kernel_buf = file.as_mut_ptr().cast();
    image.kernel_buf_len = file.len();
    image.kho.fdt = fdt;

    // SAFETY: `kernel_buf` and its length are those of `file`. Nobody else has it, or the image.
    unsafe { liveupdate_read_image(&raw mut *image) };
    Ok(super::plan::Declared(image.liveupdate_declared))
}
