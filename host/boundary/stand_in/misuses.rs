// SPDX-License-Identifier: GPL-2.0

//! What is right, and in the place of a line of it, what is a misuse.

use crate::{
    iommufd::Context,
    liveupdate::kho::{
        Folio,
        Preserved, //
    },
    pci,
    pci_lu::{
        ResetLocks,
        Topology, //
    },
    prelude::*,
};

/// Marks an HWPT of one iommufd, while another one is there.
fn marks(one: Context<'_>, _another: Context<'_>) -> Result {
    let named = one.hwpt(1)?;

    #[cfg(not(misuse = "lock_of_another_iommufd"))]
    let mut hwpt = named.lock();
    #[cfg(misuse = "lock_of_another_iommufd")]
    let mut hwpt = _another.lock();

    hwpt.set_token(Some(7))
}

/// Takes the mark from an HWPT.
fn unmarks(context: Context<'_>) -> Result {
    #[cfg(not(misuse = "mark_without_lock"))]
    return context.hwpt(1)?.lock().set_token(None);
    #[cfg(misuse = "mark_without_lock")]
    return context.hwpt(1)?.set_token(None);
}

/// Marks an HWPT twice.
fn marks_again(context: Context<'_>) -> Result {
    let named = context.hwpt(1)?;
    let mut hwpt = named.lock();

    hwpt.set_token(Some(7))?;
    #[cfg(not(misuse = "guard_after_release"))]
    let _ = hwpt.is_marked();
    #[cfg(misuse = "guard_after_release")]
    drop(hwpt);
    hwpt.set_token(Some(8))
}

/// Gives an HWPT back that was marked.
fn gives_back(context: Context<'_>) -> Result {
    let named = context.hwpt(1)?;
    let mut hwpt = named.lock();

    #[cfg(not(misuse = "hwpt_gone_before_its_lock"))]
    let _ = named.has_faults();
    #[cfg(misuse = "hwpt_gone_before_its_lock")]
    drop(named);
    hwpt.set_token(Some(7))
}

fn for_another_task<T: Send>(_: T) {}

/// Has another task release a lock, or do something else.
fn releases(topology: Topology) {
    #[cfg(not(misuse = "lock_in_another_task"))]
    let what = drop(topology);
    #[cfg(misuse = "lock_in_another_task")]
    let what = topology;

    for_another_task(what);
}

/// Resets a device.
fn resets(device: &pci::Device) {
    #[cfg(not(misuse = "reset_without_locks"))]
    let locks = ResetLocks::new(device);
    #[cfg(misuse = "reset_without_locks")]
    let locks = ResetLocks {
        device,
        ..unreachable!()
    };

    locks.reset();
}

/// Has a folio preserved, and its address written down.
fn preserves(folio: Folio) -> Option<u64> {
    #[cfg(not(misuse = "preserved_out_of_nothing"))]
    let preserved = Preserved::new(folio).ok()?;
    #[cfg(misuse = "preserved_out_of_nothing")]
    let preserved = Preserved { memory: folio };

    Some(preserved.phys())
}

/// Takes a folio back.
fn unpreserves(preserved: Preserved<Folio>) -> Folio {
    #[cfg(not(misuse = "unpreserved_twice"))]
    let _ = preserved.phys();
    #[cfg(misuse = "unpreserved_twice")]
    let _ = preserved.unpreserve();

    preserved.unpreserve()
}
