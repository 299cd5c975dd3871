// SPDX-License-Identifier: GPL-2.0

//! Decides what becomes of accesses to registers of devices that were preserved, and of resets.

use super::{
    super::{
        ffi,
        kept::Kept,
        writes::{
            self,
            Write, //
        }, //
    },
    incoming, //
};
use kernel::{
    dev_warn_ratelimited,
    liveupdate::pci as lu_pci,
    pci,
    prelude::*, //
};

/// Returns whether the registers of a device are to stay as they are.
pub(crate) fn is_held(device: &pci::Device) -> bool {
    ffi::kept(device).is_some_and(Kept::is_held)
}

/// Returns whether a device was preserved, may be at work, and waits for its owner to open it.
///
/// May be called in any context. It is not so any more once it was opened: its owner keeps it open
/// until its passage is over.
fn is_waiting(device: &pci::Device) -> bool {
    ffi::kept(device).is_some_and(Kept::is_incoming)
        && !lu_pci::is_bridge(device)
        && !ffi::is_enabled(device)
}

/// Decides whether a bus may be reset, with all that is below it, and says why not.
///
/// # Errors
///
/// `EBUSY` if a device is there that waits for its owner.
pub(crate) fn check_reset(bus: ffi::Bus<'_>) -> Result {
    let Some(device) = bus.find_below(is_waiting) else {
        return Ok(());
    };

    dev_warn_ratelimited!(
        &*device,
        "is not reset with its bus: it waits for its owner, or for its session to be dropped\n"
    );
    Err(EBUSY)
}

/// Returns whether a write to a device is dropped. May be called in any context.
pub(crate) fn drops_write(device: &pci::Device, write: Write) -> bool {
    let Some(kept) = ffi::kept(device).filter(|kept| kept.is_held()) else {
        return false;
    };

    let register = write.dword();
    let old = ffi::read_config(device, register);
    let is_bridge = lu_pci::is_bridge(device);

    if is_bridge && writes::bridge_may(&ffi::capabilities(device), old, write) {
        return false;
    }
    if let Some(had) = kept.register(register) {
        if writes::restores(had, old, write) {
            return false;
        }
    }
    kept.count_dropped();
    ffi::trace_dropped(device, write);
    true
}

/// Returns what writing to a register would tell, if the device is held.
pub(crate) fn probed(device: &pci::Device, register: u16) -> Option<u32> {
    ffi::kept(device)?.probed(register)
}

/// Sets ACS controls to what they were when a device that was preserved was found. Returns whether
/// it was, and has some.
pub(crate) fn adopt_acs(device: &pci::Device) -> bool {
    let (Some(kept), Some(control)) = (ffi::kept(device), ffi::acs_control(device)) else {
        return false;
    };

    let now = ffi::read_config_word(device, control);
    let value = kept.acs_control(now);
    if now != value {
        ffi::write_config_word(device, control, value);
    }
    true
}

/// Leaves ARI Forwarding as it is if a bridge is held, and returns whether it is.
pub(crate) fn adopt_ari(bridge: ffi::ScannedBridge<'_>) -> bool {
    if !is_held(&bridge) {
        return false;
    }

    bridge.adopt_ari();
    true
}

/// Lets a device be written to that was preserved, and has its next owner.
pub(crate) fn take_over(device: &pci::Device) {
    if incoming::let_go(device) {
        ffi::trace_state(device, c"taken over");
    }
}

/// Returns whether a device does DMA since the previous kernel. One that does not can be written to from here
/// on. One that was not preserved does not, whatever others of its IOMMU group do.
pub(crate) fn goes_on(device: &pci::Device) -> bool {
    let goes_on = super::is_incoming(device) && ffi::goes_on(device);

    if !goes_on {
        take_over(device);
    }
    goes_on
}
