// SPDX-License-Identifier: GPL-2.0

//! Shuts user space out of a device for a kexec, and looks at what the device is doing then.

use super::{
    passage::{
        leaves_group,
        lost_translation, //
    },
    CoreDevice,
    PAUSE, //
};
use crate::plan::{
    Activity,
    Owner,
    Refusal,
    Treatment, //
};
use kernel::{
    bindings,
    error::to_result,
    liveupdate::pci as lu_pci,
    prelude::*,
    sync::atomic::{
        atomic_load,
        atomic_store,
        Relaxed, //
    },
    time::{
        delay::fsleep,
        Delta,
        Instant,
        Monotonic, //
    }, //
};

impl CoreDevice<'_> {
    /// Shuts user space out, if `decide` agrees to what the device is doing then. Returns what was done to
    /// the device.
    ///
    /// The file of the device is the one that is preserved, and LUO has no more than one reference to it.
    /// Sleeps until the operations of user space that did not notice are over, but not for ever. Memory
    /// accesses of user space wait until it is over.
    pub(crate) fn freeze(
        self,
        decide: impl FnOnce(Activity) -> Result<Treatment, Refusal>,
    ) -> Result<Treatment, Refusal> {
        self.set_frozen(true);

        // What they did is seen here.
        let treatment = self
            .wait_for_operations()
            .and_then(|()| decide(self.activity()))
            .and_then(|treatment| freeze_topology().map(|()| treatment))
            .inspect_err(|_| self.set_frozen(false))?;

        if let Treatment::Quiesced { .. } = treatment {
            self.quiesce().inspect_err(|_| self.unfreeze())?;
        }

        // Page faults bring the mappings back when the device is not frozen any more.
        //
        // SAFETY: By the type invariants.
        unsafe { bindings::vfio_pci_zap_and_down_write_memory_lock(self.as_raw_core()) };
        // SAFETY: The lock was just taken.
        unsafe { bindings::up_write(&raw mut (*self.as_raw_core()).memory_lock) };
        Ok(treatment)
    }

    /// Turns off what the owner of the device, which is bound by the file that is preserved, would
    /// have turned off.
    fn quiesce(self) -> Result<(), Refusal> {
        if !self.file().is_bound() {
            return Ok(());
        }

        // SAFETY: The device is bound by the file, which LUO holds open, and so it is enabled.
        unsafe { bindings::vfio_pci_core_quiesce(self.as_raw_core()) };

        // All but the power state is the kernel's to change. A device that fails stays as it is.
        if self.is_in_d0() {
            Ok(())
        } else {
            Err(Refusal::Asleep)
        }
    }

    /// Lets user space use the device again that [`freeze`](Self::freeze) shut it out of. What was turned
    /// off because the owner of the device is gone stays off.
    pub(crate) fn unfreeze(self) {
        self.set_frozen(false);

        // SAFETY: Succeeded when this device was frozen, by the task that unfreezes all files.
        unsafe { bindings::pci_liveupdate_unfreeze() };
    }

    /// Returns who can use the device through its file, which is preserved.
    ///
    /// User space is shut out meanwhile, so that nobody binds the device.
    fn owner(self) -> Owner {
        // Each descriptor is a reference, and so is one in flight, a mapping, a registration with
        // io_uring, and KVM's use of the device. Who has none cannot get one: only LUO has the file
        // then, and hands it out in the next kernel only.
        //
        // SAFETY: By the type invariants of `LocalFile`.
        if unsafe { bindings::file_count(self.file().as_ptr()) } != 1 {
            return Owner::Present;
        }

        if self.file().is_bound() {
            return Owner::Gone;
        }

        // SAFETY: By the type invariants.
        let open_count = unsafe { &raw mut (*self.as_raw()).open_count };

        // Another file of the device may be closed just now, and then it counts still.
        //
        // SAFETY: Valid, and C code reads it like this without its lock, too.
        if unsafe { atomic_load(open_count, Relaxed) } != 0 {
            return Owner::Present;
        }
        Owner::NeverBound
    }

    /// Returns what the device is doing. User space cannot change it while it is shut out.
    fn activity(self) -> Activity {
        // Whoever unbinds the device has the lock until its file is closed, which LUO does not do;
        // device shutdown would wait for the lock for ever. Who takes it later sees that the device
        // is frozen (`keeps_registered()`).
        let unlocked = lu_pci::Locked::try_new(self.pci()).is_some();

        let vdev = self.as_raw_core();

        // SAFETY: By the type invariants, the device and its locks exist.
        unsafe { bindings::mutex_lock(&raw mut (*vdev).igate) };
        // SAFETY: The lock that protects it is held.
        let irq_type = unsafe { (*vdev).irq_type };
        // SAFETY: We hold the lock.
        unsafe { bindings::mutex_unlock(&raw mut (*vdev).igate) };

        // SAFETY: An integer that only operations of user space change.
        let ioeventfds = unsafe { (*vdev).ioeventfds_nr };

        Activity {
            owner: self.owner(),
            going_away: !unlocked,
            interrupts: u32::try_from(irq_type) != Ok(bindings::VFIO_PCI_NUM_IRQS),
            ioeventfds: ioeventfds != 0,
            dma_bufs: self.has_dma_bufs(),
            in_d0: self.is_in_d0(),
            leaves_group: leaves_group(self.pci()),
            lost_translation: lost_translation(self.pci()),
        }
    }

    /// Returns whether the device is in power state D0.
    ///
    /// Runtime power management may still put it to sleep, if it is not open or was allowed to. It is
    /// woken up before it is stopped.
    fn is_in_d0(self) -> bool {
        // SAFETY: `pci()` is a device.
        let power = unsafe { &raw mut (*lu_pci::as_raw(self.pci())).current_state };

        // SAFETY: Valid, and changed in one piece.
        unsafe { atomic_load(power, Relaxed) == bindings::PCI_D0 }
    }

    fn set_frozen(self, frozen: bool) {
        // SAFETY: By the type invariants.
        let flag = unsafe { &raw mut (*self.as_raw_core()).vdev.liveupdate_frozen };

        // SAFETY: Valid, and C code accesses it atomically, at any time.
        unsafe { atomic_store(flag, frozen, Relaxed) };
    }

    /// Waits for the operations of user space on the device that are not over.
    fn wait_for_operations(self) -> Result<(), Refusal> {
        // SAFETY: By the type invariants.
        let srcu = unsafe { &raw mut (*self.as_raw_core()).vdev.liveupdate_srcu };

        // The downtime has this once for each device, and a grace period that nobody hurries takes ticks:
        // one begins before there is a cookie, and so is hurried from the beginning, and the one after it,
        // which the cookie is for, is hurried as well.
        //
        // SAFETY: Initialised for as long as the device exists, and not cleaned up before what this queues
        // is done, twice if it was called twice: see `vfio_liveupdate_cleanup()`.
        unsafe { bindings::srcu_expedite_current(srcu) };

        // ORDERING: Pairs with the read sections of the file operations in `vfio_main.c`.
        //
        // SAFETY: As above.
        let cookie = unsafe { bindings::start_poll_synchronize_srcu(srcu) };

        // SAFETY: As above.
        unsafe { bindings::srcu_expedite_current(srcu) };

        let start = Instant::<Monotonic>::now();

        // SAFETY: As above, with a cookie of the same structure.
        while !unsafe { bindings::poll_state_synchronize_srcu(srcu, cookie) } {
            // A sleep may take longer than it is asked to, and so cannot be counted instead.
            if start.elapsed() >= PATIENCE {
                return Err(Refusal::Operation);
            }
            fsleep(PAUSE);
        }
        Ok(())
    }
}

/// Keeps PCI devices from coming and going, for another device that is frozen.
fn freeze_topology() -> Result<(), Refusal> {
    // SAFETY: LUO freezes all files in one task.
    to_result(unsafe { bindings::pci_liveupdate_freeze() }).map_err(|_| Refusal::Topology)
}

/// How long operations of user space may take to end.
///
/// A resource of user space, such as a page fault that it serves, can make one take for ever.
const PATIENCE: Delta = Delta::from_millis(1000);
