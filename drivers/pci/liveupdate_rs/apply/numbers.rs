// SPDX-License-Identifier: GPL-2.0

//! Keeps bus numbers from bridges beside which a preserved one lost its own.

use super::{
    super::plan,
    Incoming, //
};
use kernel::{
    liveupdate::pci::{
        self as lu_pci,
        Address, //
    },
    pci,
    prelude::*,
    sync::{
        atomic::{
            AtomicFlag,
            Relaxed, //
        },
        SetOnce, //
    }, //
};

/// What the previous kernel preserved, in the order of addresses. Kept for good: the
/// numbers of buses that the next owner of a device relies on do not change when it is finished.
pub(super) static PRESERVED: SetOnce<KVec<Preserved>> = SetOnce::new();

/// A device or bridge that the previous kernel preserved.
pub(super) struct Preserved {
    address: Address,
    /// Whether a bridge was found there that lost its bus numbers.
    lost_numbers: AtomicFlag,
}

/// Returns whether a bridge that has no bus numbers is to get none, and says so.
///
/// The caller keeps buses from being added or removed.
pub(crate) fn refuse_bus_numbers(bridge: &pci::Device) -> bool {
    let Some(preserved) = PRESERVED.as_ref() else {
        return false;
    };

    let other = plan::in_the_way(
        lu_pci::address(bridge),
        preserved,
        |device| device.address,
        |device| device.has_lost_numbers(bridge),
    );

    if let Some(other) = other {
        dev_err!(
            bridge,
            "gets no bus numbers, since the preserved bridge {other:?} lost its own\n"
        );
    }
    other.is_some()
}

impl Preserved {
    pub(super) const fn new(address: Address) -> Self {
        Self {
            address,
            lost_numbers: AtomicFlag::new(false),
        }
    }

    /// Returns whether a bridge is here that lost its bus numbers, as one that asks for some did.
    ///
    /// What is plugged in once all is finished lost none.
    fn has_lost_numbers(&self, asking: &pci::Device) -> bool {
        if self.lost_numbers.load(Relaxed) {
            return true;
        }

        let was_bridge =
            Incoming::get().is_some_and(|incoming| incoming.holds_bridge(self.address));

        let lost = was_bridge
            && (self.address == lu_pci::address(asking)
                || lu_pci::find(self.address)
                    .is_some_and(|device| lu_pci::is_bridge(&device) && !lu_pci::has_bus(&device)));

        if lost {
            self.lost_numbers.store(true, Relaxed);
        }
        lost
    }
}
