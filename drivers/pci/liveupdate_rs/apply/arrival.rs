// SPDX-License-Identifier: GPL-2.0

//! Looks at each device that is found, and keeps those that were preserved as they are.

use super::{
    super::{
        entries::Probe,
        ffi,
        kept::Kept,
        plan::{
            self,
            Formats, //
        }, //
    },
    incoming::{
        self,
        Devices as IncomingDevices,
        Found, //
    },
    DEVICES,
    DRIVERS,
    PROBES, //
};
use kernel::{
    liveupdate::{
        self,
        pci as lu_pci, //
    },
    pci,
    prelude::*,
    sync::atomic::{
        AtomicFlag,
        Relaxed, //
    }, //
};

/// Notes that a device was found, and keeps one that was preserved as the previous kernel left it.
pub(crate) fn enumerated(device: &pci::Device) {
    // Its entries are gone, and what it gets now may let it anywhere.
    if ffi::was_cut_off(device) && lu_pci::stop_mastering(device) {
        dev_warn!(
            device,
            "was handed over, and found too late: stopped, it may do DMA\n"
        );
    }
    let Ok(devices) = DEVICES.incoming() else {
        return drop_hand_over(device);
    };
    // All before any lock is taken, and put when all are released: LUO's come first.
    let (probes, drivers) = (PROBES.incoming().ok(), DRIVERS.incoming().ok());
    let mut devices = devices.lock();
    let found = devices.enumerated(device);

    let known = match &probes {
        Some(probes) if found != Found::Other => probes.lock().of(device),
        _ => Ok(KVec::new()),
    };
    let drivers = drivers.as_ref().map(|drivers| drivers.lock());
    let formats = match &drivers {
        Some(drivers) => Formats::Known(drivers.entries()),
        None => Formats::Unknown,
    };

    let mut goes_on = false;
    if found == Found::Again {
        // One that nobody can compare, since memory is short, is taken for another one.
        if known.map_or(true, |known| !is_same(&known, device)) {
            devices.quarantine_other(device);
        }
    } else if found == Found::First {
        match known.and_then(|known| keep(&mut devices, device, known)) {
            // Somebody will take it over, or it is nobody's.
            Ok(is_mastering) => {
                goes_on = is_mastering && formats.names(lu_pci::address(device));
            }
            Err(err) => {
                dev_err!(device, "is not kept from being written to: {err:?}\n");
            }
        }
        ffi::trace_state(device, c"incoming");
    }
    devices.stop_suspect(device, formats, goes_on);
}

/// Returns whether a device has the vendor, number and class of the one that was preserved, as far as
/// these are known.
fn is_same(known: &[Probe], device: &pci::Device) -> bool {
    plan::is_same(known, |register| ffi::read_config(device, register))
}

/// Keeps a device as the previous kernel left it, as far as that is known.
///
/// Returns whether it goes on doing DMA.
fn keep(devices: &mut IncomingDevices, device: &pci::Device, known: KVec<Probe>) -> Result<bool> {
    let read = |register| ffi::read_config(device, register);

    if !is_same(&known, device) {
        devices.quarantine_other(device);
        return Ok(false);
    }
    // There is nothing to keep.
    if !plan::is_configured(&known, read) {
        return Ok(false);
    }

    let is_mastering = plan::keeps_mastering(&known);
    ffi::keep(
        device,
        KBox::new(Kept::new(known, read), GFP_KERNEL | __GFP_NOFAIL)?,
    );
    Ok(is_mastering)
}

/// Says once what a kernel that was told to do without live update drops, and stops its devices.
fn drop_hand_over(device: &pci::Device) {
    static REPORTED: AtomicFlag = AtomicFlag::new(false);

    if liveupdate::enabled() || !liveupdate::was_handed_over() {
        return;
    }
    if !REPORTED.xchg(true, Relaxed) {
        incoming::report_dropped();
    }
    if lu_pci::stop_mastering(device) {
        dev_warn!(device, "did DMA across a kexec, was stopped\n");
    }
}
