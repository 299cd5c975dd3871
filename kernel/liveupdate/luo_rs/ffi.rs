// SPDX-License-Identifier: GPL-2.0

//! What this has of C: the declaration of this kernel, the images that are loaded, and what others say
//! of devices.

use super::{
    entries::{
        MAGIC,
        MAX_SIZE, //
    },
    plan::Declared, //
};
use core::{
    ptr::NonNull,
    slice, //
};
use kernel::{
    bindings,
    prelude::*,
    sync::atomic::{
        atomic_load,
        Relaxed, //
    }, //
};

static_assert!(matches!(
    bindings::LIVEUPDATE_IMAGE_MAGIC.split_first_chunk(),
    Some((&MAGIC, &[0]))
));

static_assert!(MAX_SIZE == bindings::LIVEUPDATE_IMAGE_MAX_SIZE as usize);

/// Returns the declaration of this kernel, which is the one that its image has.
pub(crate) fn own_declaration() -> &'static [u8] {
    let start = (&raw const bindings::liveupdate_own_declaration).cast::<u8>();
    let end = (&raw const bindings::liveupdate_own_declaration_end).cast::<u8>();

    // SAFETY: These are the two ends of one object, which is never written to.
    unsafe { slice::from_raw_parts(start, end.addr() - start.addr()) }
}

/// Returns the file that an image is loaded from, if a hand-over comes with the image.
///
/// # Safety
///
/// `image` is an image that is being loaded, and has its file in `kernel_buf` for `'a`.
pub(crate) unsafe fn file_of<'a>(image: *const bindings::kimage) -> Option<&'a [u8]> {
    // SAFETY: By function requirement.
    let image = unsafe { &*image };

    // Never set for an image that is booted after a crash.
    if image.kho.fdt == 0 {
        return None;
    }

    let file = NonNull::new(image.kernel_buf)?;

    // SAFETY: By function requirement, `kernel_buf_len` bytes that nobody writes to.
    Some(unsafe { slice::from_raw_parts(file.as_ptr().cast(), image.kernel_buf_len) })
}

/// Returns what the image declares that is booted, if that is certain to happen.
pub(crate) fn declared_by_next() -> Option<Declared> {
    let in_progress = &raw mut bindings::kexec_in_progress;

    // SAFETY: Valid, and set in one piece, once, by the only CPU that boots an image.
    if !unsafe { atomic_load(in_progress, Relaxed) } {
        return None;
    }

    // SAFETY: As above: since then nobody else can load or unload an image, as `kernel_kexec()` has
    // the lock.
    let image = unsafe { (&raw const bindings::kexec_image).read() };

    // SAFETY: As above, it is not freed either.
    Some(match unsafe { image.as_ref() } {
        Some(image) => Declared(image.liveupdate_declared),
        None => Declared::NOTHING,
    })
}

/// Returns whether a device is there that the previous kernel preserved, and that is not finished. May
/// sleep.
#[cfg(CONFIG_PCI_LIVEUPDATE)]
pub(crate) fn has_incoming_device() -> bool {
    // SAFETY: Has no requirements but that one may sleep, as all of the below.
    unsafe { bindings::pci_liveupdate_has_incoming() }
}

/// Returns whether a device may be there that the previous kernel preserved: nobody knows.
#[cfg(not(CONFIG_PCI_LIVEUPDATE))]
pub(crate) fn has_incoming_device() -> bool {
    true
}

/// Returns whether each IOMMU with incoming devices is contained. May sleep.
#[cfg(CONFIG_IOMMU_LIVEUPDATE)]
pub(crate) fn can_end_translations() -> bool {
    // SAFETY: As above.
    unsafe { bindings::iommu_liveupdate_can_end() }
}

/// Has the entries cleared in IOMMUs of incoming devices that are not found. May sleep.
#[cfg(CONFIG_IOMMU_LIVEUPDATE)]
pub(crate) fn end_lost_translations() {
    // SAFETY: As above.
    unsafe { bindings::iommu_liveupdate_end_lost() };
}

/// Returns whether an IOMMU may translate for an incoming device. May sleep.
#[cfg(CONFIG_IOMMU_LIVEUPDATE)]
pub(crate) fn has_incoming_translation() -> bool {
    // SAFETY: As above.
    unsafe { bindings::iommu_liveupdate_has_incoming() }
}

/// Returns whether there is a device that only its IOMMU keeps from memory. May sleep.
#[cfg(CONFIG_IOMMU_LIVEUPDATE)]
pub(crate) fn has_beyond_reach() -> bool {
    // SAFETY: As above.
    unsafe { bindings::iommu_liveupdate_has_beyond_reach() }
}

/// Returns whether there is a device that only its IOMMU keeps from memory: none is handed over that
/// does DMA.
#[cfg(not(CONFIG_IOMMU_LIVEUPDATE))]
pub(crate) fn has_beyond_reach() -> bool {
    false
}

/// Returns whether each IOMMU with incoming devices is contained: there is none.
#[cfg(not(CONFIG_IOMMU_LIVEUPDATE))]
pub(crate) fn can_end_translations() -> bool {
    true
}

/// Has nothing to do.
#[cfg(not(CONFIG_IOMMU_LIVEUPDATE))]
pub(crate) fn end_lost_translations() {}

/// Returns whether an IOMMU may translate for an incoming device: none takes entries over.
#[cfg(not(CONFIG_IOMMU_LIVEUPDATE))]
pub(crate) fn has_incoming_translation() -> bool {
    false
}
