// SPDX-License-Identifier: GPL-2.0

//! What this calls of vfio and the PCI core.

mod attachment;
mod device;
mod file;
mod freeze;
mod passage;
mod shutdown;

pub(crate) use self::{
    attachment::{
        Attachment,
        KeptAttachment, //
    },
    device::CoreDevice,
    file::{
        is_open,
        kind,
        open, //
    },
    passage::{
        finish,
        is_incoming_for,
        is_unclaimed,
        may_bind,
        reset,
        take_over, //
    },
    shutdown::{
        is_incoming,
        keeps_registered,
        shutdown, //
    },
};

use kernel::{
    bindings,
    error::to_result,
    liveupdate::{
        abi,
        FileHandler,
        Handler,
        Unpublished, //
    },
    prelude::*,
    sync::SetOnce,
    time::Delta, //
};

/// The name of the handler.
pub(crate) const COMPATIBLE: &CStr = abi::name(bindings::VFIO_PCI_LUO_FH_COMPATIBLE);

/// What tells the devices of vfio-pci from those of variant drivers.
#[derive(Clone, Copy)]
struct VfioPci {
    ops: *const bindings::vfio_device_ops,
    driver: *const bindings::device_driver,
}

// SAFETY: Pointers that are compared, and never followed.
unsafe impl Send for VfioPci {}

// SAFETY: Pointers that are compared, and never followed.
unsafe impl Sync for VfioPci {}

static VFIO_PCI: SetOnce<VfioPci> = SetOnce::new();

/// Notes what tells the devices of vfio-pci from others.
///
/// # Safety
///
/// `driver` is a PCI driver.
pub(crate) unsafe fn set_vfio_pci(
    ops: *const bindings::vfio_device_ops,
    driver: *const bindings::pci_driver,
) {
    // SAFETY: By function requirement.
    let driver = unsafe { &raw const (*driver).driver };

    VFIO_PCI.populate(VfioPci { ops, driver });
}

/// Has the files of `handler` share the record of preserved PCI devices.
///
/// # Errors
///
/// `EEXIST` if there is another FLB of that name, `ENOSPC` if there are too many FLBs, `ENOMEM` if
/// memory is short.
fn register_flb<T: FileHandler>(handler: &Unpublished<T>) -> Result {
    // SAFETY: The handler is registered, and no file was preserved with it.
    to_result(unsafe { bindings::pci_liveupdate_register_flb(handler.as_raw()) })
}

/// Registers a handler for as long as vfio-pci is there.
///
/// # Errors
///
/// As [`Handler::register_and_keep`], and as [`register_flb`].
pub(crate) fn register<T: FileHandler>(handler: &'static Handler<T>) -> Result {
    // SAFETY: `vfio_pci_liveupdate_cleanup()` unregisters it, which vfio-pci calls on its way out.
    unsafe { handler.register_and_keep(register_flb) }
}

/// How long to sleep until looking whether they did.
const PAUSE: Delta = Delta::from_micros(50);
