// SPDX-License-Identifier: GPL-2.0

//! Addresses of all devices that had a preserved domain, kept for devices found late.
//!
//! They are listed for good: a device can be found when nothing else of the hand-over is left.

use kernel::{
    liveupdate::pci::{
        self as lu_pci,
        Address, //
    },
    prelude::*,
    sync::{
        atomic::{
            AtomicFlag,
            Relaxed, //
        },
        SetOnce, //
    },
};

/// A device whose domain was handed over.
struct Passenger {
    address: Address,
    /// Nobody could ever stop it: an IOMMU keeps it from memory.
    cut_off: AtomicFlag,
}

/// All of them, in the order of their addresses.
static PASSENGERS: SetOnce<KVVec<Passenger>> = SetOnce::new();

/// Lists devices by their addresses, which are in this order. Waits for memory.
///
/// # Errors
///
/// `ENOMEM` if there are more than memory has room for.
pub(super) fn list(addresses: impl Iterator<Item = Address>) -> Result {
    let mut all = KVVec::new();

    for address in addresses {
        let cut_off = AtomicFlag::new(false);

        all.push(Passenger { address, cut_off }, GFP_KERNEL | __GFP_NOFAIL)?;
    }
    PASSENGERS.populate(all);
    Ok(())
}

fn find(address: Address) -> Option<&'static Passenger> {
    let all = PASSENGERS.as_ref()?;
    let at = all.binary_search_by_key(&address, |one| one.address).ok()?;

    Some(&all[at])
}

/// Notes that an IOMMU keeps a device from memory, which this kernel never found.
pub(super) fn set_cut_off(address: Address) {
    if let Some(passenger) = find(address) {
        passenger.cut_off.store(true, Relaxed);
    }
}

/// Returns whether a device was cut off from memory, since this kernel had not found it.
pub(crate) fn was_cut_off(address: Address) -> bool {
    find(address).is_some_and(|passenger| passenger.cut_off.load(Relaxed))
}

/// Returns a device that was cut off from memory, and is not found still. One that is found late is
/// stopped.
pub(super) fn cut_off() -> Option<Address> {
    let is_cut_off =
        |one: &&Passenger| one.cut_off.load(Relaxed) && lu_pci::find(one.address).is_none();

    Some(PASSENGERS.as_ref()?.iter().find(is_cut_off)?.address)
}

/// A device was not found, and the records that would say whether it goes on cannot be read.
static UNKNOWN: AtomicFlag = AtomicFlag::new(false);

/// Notes that an IOMMU keeps devices from memory of which nobody knows whether they were handed over.
pub(crate) fn set_unknown() {
    UNKNOWN.store(true, Relaxed);
}

/// Returns whether a device may do DMA that nobody knows of, and that an IOMMU keeps from memory.
pub(super) fn has_unknown() -> bool {
    UNKNOWN.load(Relaxed)
}
