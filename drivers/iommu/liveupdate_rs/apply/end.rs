// SPDX-License-Identifier: GPL-2.0

//! Ends the passages of devices, and says which of them cannot be ended.
//!
//! Nothing that an IOMMU can reach is given back: a device is stopped, and its entries are cleared, before
//! a domain or its tables are freed.

use super::{
    super::{
        entries::Kind,
        ffi::{
            self,
            Device,
            OwnedDomain,
            ReleaseLock, //
        },
        plan::{
            Owner,
            Pending,
            Which, //
        },
    },
    incoming::{
        stop,
        was_preserved,
        with_incoming,
        Incoming, //
    },
    passengers,
    IOMMUS, //
};
use kernel::{
    liveupdate::pci as lu_pci,
    prelude::*,
    sync::Mutex, //
};

/// Ends the passage of a device, if it is incoming. Returns a domain that nobody needs any more: freeing it
/// walks all of its tables, which is not to be done with a lock held that a kexec waits for.
pub(crate) fn finish(device: &Device) -> Option<OwnedDomain> {
    if !was_preserved(device) {
        return None;
    }

    device.release_group();
    with_incoming(device, |incoming, address| incoming.lists().finish(address)).flatten()
}

/// Notes that this kernel can clear the entries that an IOMMU has for incoming devices, or has cleared
/// them.
pub(crate) fn set_contained(kind: Kind, token: u64) {
    if let Ok(incoming) = IOMMUS.incoming() {
        incoming.lock().set_contained(kind, token);
    }
}

/// Returns whether devices that were handed over can be kept from memory. If not, the log says why.
pub(crate) fn can_end() -> bool {
    let Ok(incoming) = IOMMUS.incoming() else {
        return true;
    };
    if incoming.lock().is_out_of_control() {
        if kernel::liveupdate_may_log!() {
            pr_warn!(
                "IOMMUs were handed over by records that cannot be read, and this kernel has a driver for none: what they map is not given back before the machine is reset\n"
            );
        }
        return false;
    }
    let uncontained = incoming.lock().lists().uncontained();

    if let Some(token) = uncontained {
        if kernel::liveupdate_may_log!() {
            pr_warn!(
                "IOMMU at {token:#x} was handed over, and this kernel has no driver for it: what it maps is not given back before the machine is reset\n"
            );
        }
    }
    uncontained.is_none()
}

/// Returns whether an IOMMU may still translate for a device whose passage has not ended. One such device
/// is named in the log.
pub(crate) fn has_incoming() -> bool {
    let unfinished = match IOMMUS.incoming() {
        Ok(incoming) => {
            let unfinished = incoming.lock().lists().unfinished();
            unfinished
        }
        // What cannot be read may say anything.
        Err(err) => return err != ENODATA && err != ENOENT,
    };

    if let Some(address) = unfinished {
        if kernel::liveupdate_may_log!() {
            pr_warn!(
                "{address:?} still has the translation that was handed over: write 1 to its liveupdate_stop in sysfs\n"
            );
        }
    }
    unfinished.is_some()
}

/// Returns whether a device that was handed over may do DMA, and nobody can stop it: this kernel did not
/// find it. If so, a line in the log says what to do.
///
/// The next kernel would know nothing of it, and turn translation off.
pub(crate) fn has_beyond_reach() -> bool {
    let pending = IOMMUS.incoming().ok().and_then(|incoming| {
        let is_there = |address| lu_pci::find(address).is_some();
        let address = incoming.lock().lists().beyond_reach(is_there);
        address
    });
    let Some(address) = pending.or_else(passengers::cut_off) else {
        return has_unknown();
    };

    pr_warn!(
        "{address:?} was handed over and not found, it may do DMA in the next kernel: find it, or reset the machine\n"
    );
    true
}

/// Returns whether a device that was not found may have been handed over, by records that cannot be read. If
/// so, a line in the log says what to do.
fn has_unknown() -> bool {
    let is_out_of_control = || {
        IOMMUS
            .incoming()
            .is_ok_and(|incoming| incoming.lock().is_out_of_control())
    };
    let has_unknown = passengers::has_unknown() || is_out_of_control() && lu_pci::has_missing();

    if has_unknown {
        pr_warn!(
            "a device that was not found may have been handed over, and do DMA in the next kernel: reset the machine\n"
        );
    }
    has_unknown
}

/// Notes who retrieved the iommufd of a domain whose record was at a physical address.
pub(crate) fn set_owner(domain_phys: u64, owner: Option<Owner>) {
    if let Ok(incoming) = IOMMUS.incoming() {
        incoming.lock().lists().set_owner(domain_phys, owner);
    }
}

/// Ends the passage of all devices of certain domains which nobody ended, and frees the tables of the
/// domains: no IOMMU walks them afterwards.
pub(crate) fn end(which: Which) {
    let Ok(incoming) = IOMMUS.incoming() else {
        return;
    };
    let is_there = |address| lu_pci::find(address).is_some();

    // One by one: the locks of groups come before that of the records.
    let mut from = 0;
    loop {
        let next = incoming.lock().lists().next_pending(which, from, is_there);
        let Some(pending) = next else {
            break;
        };

        from = pending.at + 1;
        // Not with the lock held that keeps devices, which a kexec waits for: it walks all tables.
        drop(end_device(&incoming, &pending));
    }
    free_tables(&incoming, which);
}

/// Ends the passage of a device, which is kept from memory. Returns a domain that nobody needs any more.
fn end_device(incoming: &Mutex<Incoming>, pending: &Pending) -> Option<OwnedDomain> {
    let lock = ReleaseLock::take();

    keep_from_memory(pending, &lock);
    let domain = incoming.lock().lists().finish_at(pending.at);

    // It may have been found meanwhile: too late for it.
    let found = pending.address.and_then(lu_pci::find);
    if let Some(device) = found.as_deref().and_then(|pci| Device::of(pci, &lock)) {
        device.release_group();
    }
    domain
}

/// Keeps a device from memory: stops it, or clears the entries that its IOMMU has for it.
fn keep_from_memory(pending: &Pending, lock: &ReleaseLock) {
    let Some(address) = pending.address else {
        // No IOMMU took over anything for it.
        return;
    };
    let found = lu_pci::find(address);

    if let Some(device) = found.as_deref().and_then(|pci| Device::of(pci, lock)) {
        stop(device);
        device.release_group();
        return;
    }

    if let Some(pci) = found.as_deref() {
        // It has no IOMMU in this kernel.
        lu_pci::stop_mastering(pci);
    }
    if let Some((kind, token)) = pending.iommu {
        kind.driver().end_device(token, address.bdf());
        pr_warn!("{address:?} was not found: it loses the translation that was handed over\n");
    }
    if pending.is_beyond_reach {
        passengers::set_cut_off(address);
    }
}

/// Frees the tables of certain domains that were made for no device, and that no device needs any more.
pub(super) fn free_tables(incoming: &Mutex<Incoming>, which: Which) {
    let mut from = 0;

    loop {
        let next = incoming.lock().lists().take_tables(which, &mut from);
        let Some(record) = next else {
            break;
        };

        if let Err(err) = ffi::free_tables(&record) {
            pr_err!("tables of a domain are lost until the next reboot: {err:?}\n");
        }
    }
}
