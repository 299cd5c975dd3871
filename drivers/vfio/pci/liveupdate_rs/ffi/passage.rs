// SPDX-License-Identifier: GPL-2.0

//! The passage of PCI devices: what the PCI core and IOMMUs know of it, and its end.

use super::COMPATIBLE;
use kernel::{
    bindings,
    error::to_result,
    ffi::c_int,
    liveupdate::{
        pci as lu_pci,
        Handle, //
    },
    pci,
    prelude::*, //
};

/// Returns whether the previous kernel preserved a device for the file that has this handle.
pub(crate) fn is_incoming_for(device: &pci::Device, handle: Handle) -> bool {
    // SAFETY: `device` is a device.
    unsafe { bindings::pci_liveupdate_is_incoming_for(lu_pci::as_raw(device), handle.get()) }
}

/// Returns whether vfio-pci may bind to a device, as far as it was preserved.
pub(crate) fn may_bind(device: &pci::Device) -> bool {
    let format = COMPATIBLE.as_char_ptr();

    // SAFETY: `device` is a device, and `format` a string.
    unsafe { bindings::pci_liveupdate_may_bind(lu_pci::as_raw(device), format) }
}

/// Lets a device be written to, which is somebody's from here on, or to be reset.
pub(crate) fn take_over(device: &pci::Device) {
    // SAFETY: `device` is a device.
    unsafe { bindings::pci_liveupdate_take_over(lu_pci::as_raw(device)) };
}

/// Ends the passage of a device, which is stopped, or its user's.
pub(crate) fn finish(device: &pci::Device) {
    end_translation(device);

    // SAFETY: `device` is a device.
    unsafe { bindings::pci_liveupdate_finish(lu_pci::as_raw(device)) };
}

/// Returns whether a device goes on doing DMA, and something in its IOMMU group does not.
#[cfg(CONFIG_IOMMU_LIVEUPDATE)]
pub(super) fn leaves_group(device: &pci::Device) -> bool {
    // SAFETY: It is a device.
    !unsafe { bindings::iommu_liveupdate_is_group_whole(lu_pci::as_raw_device(device)) }
}

/// Returns whether a device goes on doing DMA, and something in its IOMMU group does not: it does not.
#[cfg(not(CONFIG_IOMMU_LIVEUPDATE))]
pub(super) fn leaves_group(_device: &pci::Device) -> bool {
    false
}

/// Returns whether a device goes on doing DMA, and its IOMMU does not have for it what was preserved.
#[cfg(CONFIG_IOMMU_LIVEUPDATE)]
pub(super) fn lost_translation(device: &pci::Device) -> bool {
    // SAFETY: It is a device.
    !unsafe { bindings::iommu_liveupdate_is_unchanged(lu_pci::as_raw_device(device)) }
}

/// Returns whether a device goes on doing DMA, and its IOMMU does not have for it what was preserved: it
/// does not go on.
#[cfg(not(CONFIG_IOMMU_LIVEUPDATE))]
pub(super) fn lost_translation(_device: &pci::Device) -> bool {
    false
}

/// Returns whether a device does DMA since the previous kernel, and nobody has attached it to anything since.
#[cfg(CONFIG_IOMMU_LIVEUPDATE)]
pub(crate) fn is_unclaimed(device: &pci::Device) -> bool {
    // SAFETY: It is a device.
    unsafe { bindings::iommu_liveupdate_goes_on(lu_pci::as_raw_device(device), true) }
}

/// Returns whether a device does DMA since the previous kernel, and nobody has attached it to anything since: no
/// device does.
#[cfg(not(CONFIG_IOMMU_LIVEUPDATE))]
pub(crate) fn is_unclaimed(_device: &pci::Device) -> bool {
    false
}

/// Ends the translation of a device that the previous kernel handed over.
#[cfg(CONFIG_IOMMU_LIVEUPDATE)]
fn end_translation(device: &pci::Device) {
    let dev = lu_pci::as_raw_device(device);

    // SAFETY: `dev` is a device.
    unsafe { bindings::iommu_liveupdate_finish_device(dev) };
}

/// Ends the translation of a device that the previous kernel handed over: there is none.
#[cfg(not(CONFIG_IOMMU_LIVEUPDATE))]
fn end_translation(_device: &pci::Device) {}

/// Keeps a device from doing DMA, to begin with: a reset restores what it finds.
pub(super) fn stop(device: &pci::Device) {
    // SAFETY: `device` is a device.
    unsafe { bindings::pci_clear_master(lu_pci::as_raw(device)) };
}

/// Stops and resets a device that nobody has opened.
pub(crate) fn reset(device: &pci::Device) {
    stop(device);

    // SAFETY: `device` is a device.
    let result = unsafe { bindings::pci_reset_function(lu_pci::as_raw(device)) };
    report_reset(device, result);
}

/// Says so if a device could not be reset.
pub(super) fn report_reset(device: &pci::Device, result: c_int) {
    if let Err(err) = to_result(result) {
        dev_warn!(device, "could not be reset: {err:?}\n");
    }
}
