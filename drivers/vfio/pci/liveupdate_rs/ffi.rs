// SPDX-License-Identifier: GPL-2.0

//! What this calls of vfio and the PCI core.

use super::plan::{
    Activity,
    Kind,
    Obstacles,
    Owner,
    Refusal,
    Treatment, //
};
use core::{
    marker::PhantomData,
    ptr::{
        self,
        NonNull, //
    }, //
};
use kernel::{
    bindings,
    error::{
        from_err_ptr,
        to_result, //
    },
    ffi::c_int,
    fs::{
        file::flags::O_RDWR,
        LocalFile, //
    },
    liveupdate::{
        pci as lu_pci,
        FileHandler,
        Handle,
        OutgoingSession,
        Registration,
        Unpublished, //
    },
    pci,
    prelude::*,
    sync::{
        aref::ARef,
        atomic::{
            atomic_load,
            atomic_store,
            Relaxed,
            Release, //
        },
        SetOnce, //
    },
    time::{
        delay::fsleep,
        Delta,
        Instant,
        Monotonic, //
    },
    ThisModule, //
};

/// The module that vfio-pci is, or null if it is built in.
#[cfg(MODULE)]
pub(crate) const THIS_MODULE: ThisModule = {
    extern "C" {
        // Only its address is of interest.
        static __this_module: u8;
    }

    // SAFETY: The loader made `__this_module`, and it lives as long as this code.
    unsafe { ThisModule::from_ptr((&raw const __this_module).cast_mut().cast()) }
};

/// The module that vfio-pci is, or null if it is built in.
// SAFETY: C code takes null for the kernel itself.
#[cfg(not(MODULE))]
pub(crate) const THIS_MODULE: ThisModule = unsafe { ThisModule::from_ptr(ptr::null_mut()) };

/// The name of the handler.
pub(crate) const COMPATIBLE: &CStr =
    match CStr::from_bytes_with_nul(bindings::VFIO_PCI_LUO_FH_COMPATIBLE) {
        Ok(name) => name,
        Err(_) => panic!("bindgen ends strings with a null byte"),
    };

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

/// Returns what a vfio device file has as its data, or nothing if `file` is another one.
fn device_file(file: &LocalFile) -> Option<NonNull<bindings::vfio_device_file>> {
    // SAFETY: By the type invariants of `LocalFile`; never changes once the file is open.
    let f_op = unsafe { (*file.as_ptr()).f_op };

    if !ptr::eq(f_op, &raw const bindings::vfio_device_fops) {
        return None;
    }

    // SAFETY: By the type invariants of `LocalFile`; never changes once the file is open.
    NonNull::new(unsafe { (*file.as_ptr()).private_data }.cast())
}

/// Returns what `file` is, or nothing if it is not of a vfio device at all.
pub(crate) fn kind(file: &LocalFile) -> Option<Kind> {
    let df = device_file(file)?;

    // SAFETY: The file is open; set before it was installed, and never changed.
    let by_group = !unsafe { (*df.as_ptr()).group }.is_null();

    // Only a device of vfio-pci is known to be a PCI device.
    let device = CoreDevice::of(file);
    let pdev = device.map(CoreDevice::pci);

    Some(Kind {
        by_group,
        by_vfio_pci: device.is_some(),
        no_iommu: device.is_some_and(CoreDevice::is_noiommu),
        virtual_function: pdev.is_some_and(lu_pci::is_virtual_function),
        intel_display: pdev.is_some_and(is_intel_display),
    })
}

#[cfg(CONFIG_VFIO_PCI_IGD)]
fn is_intel_display(device: &pci::Device) -> bool {
    // SAFETY: `device` is a device.
    unsafe { bindings::vfio_pci_is_intel_display(lu_pci::as_raw(device)) }
}

#[cfg(not(CONFIG_VFIO_PCI_IGD))]
fn is_intel_display(_device: &pci::Device) -> bool {
    false
}

/// What becomes of what a device is attached to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Attachment {
    /// It ends, and the device is stopped.
    Ends,
    /// It stays as it is, and the device is stopped.
    Stays,
    /// It stays as it is, in the next kernel, too: the device goes on doing DMA.
    GoesOn,
}

/// The device of a file of vfio-pci.
///
/// # Invariants
///
/// `vdev` is a device of vfio-pci, which is registered for `'a`.
#[derive(Clone, Copy)]
pub(crate) struct CoreDevice<'a> {
    vdev: NonNull<bindings::vfio_pci_core_device>,
    _file: PhantomData<&'a LocalFile>,
}

impl<'a> CoreDevice<'a> {
    /// Returns the device of a file, if it is one of vfio-pci.
    pub(crate) fn of(file: &'a LocalFile) -> Option<Self> {
        let df = device_file(file)?;

        // SAFETY: The file is open; set before it was installed, and never changed.
        let device = unsafe { (*df.as_ptr()).device };

        // SAFETY: The file holds the registration of its device.
        let ops = unsafe { (*device).ops };

        if !VFIO_PCI.copy().is_some_and(|this| ptr::eq(this.ops, ops)) {
            return None;
        }

        // SAFETY: Devices with these operations are a part of a `vfio_pci_core_device`.
        let vdev = unsafe { kernel::container_of!(device, bindings::vfio_pci_core_device, vdev) };

        // INVARIANT: The file holds the registration of its device.
        Some(Self {
            vdev: NonNull::new(vdev)?,
            _file: PhantomData,
        })
    }

    /// Returns a number that no other device has.
    pub(crate) fn id(self) -> usize {
        self.vdev.addr().get()
    }

    /// Returns the PCI device.
    pub(crate) fn pci(self) -> &'a pci::Device {
        // SAFETY: By the type invariants; never changes while the device is registered.
        let pdev = unsafe { (*self.vdev.as_ptr()).pdev };

        // SAFETY: vfio-pci holds the PCI device while the device is registered.
        unsafe { lu_pci::from_raw(pdev) }
    }

    /// Has the PCI core preserve the device, for the file that has this handle.
    pub(crate) fn preserve(self, handle: Handle) -> Result {
        let pdev = lu_pci::as_raw(self.pci());

        // SAFETY: `pdev` is a device, which is bound to vfio-pci while it is open.
        to_result(unsafe { bindings::pci_liveupdate_preserve(pdev, handle.get()) })
    }

    /// Unpreserves the device, for which [`preserve`](Self::preserve) succeeded.
    pub(crate) fn unpreserve(self) {
        // SAFETY: `pci()` is a device, which was preserved.
        unsafe { bindings::pci_liveupdate_unpreserve(lu_pci::as_raw(self.pci())) };
    }

    /// Keeps what the device is attached to as it is, if that goes through the live update, too.
    ///
    /// `file` is the one that is to be preserved. What another file of the device attached it to ends
    /// with that one.
    ///
    /// # Errors
    ///
    /// `EBUSY` if what the device is attached to stays, and another file of it is bound; as
    /// `iommufd_device_liveupdate_preserve()`; `EINTR` if the process is about to be killed, and
    /// `ERESTARTNOINTR` if a kexec has to go first, while another device of the set is attached to
    /// something. Then nothing changes.
    pub(crate) fn keep_attachment(
        self,
        file: &LocalFile,
        session: &OutgoingSession<'_>,
    ) -> Result<Attachment> {
        let df = device_file(file).ok_or(EINVAL)?;

        // SAFETY: By the type invariants.
        let device = unsafe { &raw mut (*self.vdev.as_ptr()).vdev };

        let keep = |_| {
            // SAFETY: The lock that protects it is held.
            let attached = unsafe { bindings::vfio_device::iommufd_attached_raw(device) } != 0;
            // SAFETY: The lock that protects it is held.
            let idev = unsafe { (*device).iommufd_device };
            if idev.is_null() {
                return Ok(Attachment::Ends);
            }

            // SAFETY: Initialised while the device is bound to an iommufd.
            let has_pasids = !unsafe { bindings::ida_is_empty(&raw const (*device).pasids) };
            if !attached && !has_pasids {
                return Ok(Attachment::Ends);
            }

            // SAFETY: The lock is held without which it is not attached to anything else, nor
            // unbound. The session is that of the callback that runs.
            let passage = unsafe {
                bindings::iommufd_device_liveupdate_preserve(idev, session.as_raw(), has_pasids)
            };
            to_result(passage.min(0))?;

            let attachment = match passage.unsigned_abs() {
                bindings::iommufd_liveupdate_passage_IOMMUFD_LIVEUPDATE_GOES_ON => {
                    Attachment::GoesOn
                }
                bindings::iommufd_liveupdate_passage_IOMMUFD_LIVEUPDATE_STAYS => Attachment::Stays,
                _ => Attachment::Ends,
            };

            // SAFETY: The file is open. Set with the lock held, which the caller of this holds.
            let is_bound = unsafe { (*df.as_ptr()).access_granted } != 0;

            if !is_bound && attachment != Attachment::Ends {
                if let Attachment::GoesOn = attachment {
                    // SAFETY: Just preserved, and bound and attached as before.
                    unsafe { bindings::iommufd_device_liveupdate_unpreserve(idev) };
                }
                return Err(EBUSY);
            }

            // SAFETY: By the type invariants.
            let attached = unsafe { &raw mut (*device).liveupdate_attached };

            // SAFETY: Valid, and C code accesses it atomically.
            unsafe { atomic_store(attached, attachment != Attachment::Ends, Release) };
            Ok(attachment)
        };

        // SAFETY: By the type invariants.
        unsafe { with_open_unless_interrupted(device, keep) }?
    }

    /// Lets the attachment of the device change that [`keep_attachment`](Self::keep_attachment) kept.
    ///
    /// Takes no lock of the device: whoever attaches another one may have it, and wait for user space.
    pub(crate) fn release_attachment(self, attachment: Attachment) {
        if let Attachment::Ends = attachment {
            return;
        }

        // SAFETY: By the type invariants.
        let device = unsafe { &raw mut (*self.vdev.as_ptr()).vdev };

        if let Attachment::GoesOn = attachment {
            // SAFETY: It goes on, so that the file that it is bound by is preserved, and stays open
            // and attached to what it was until the flag below is cleared.
            unsafe { bindings::iommufd_device_liveupdate_unpreserve((*device).iommufd_device) };
        }

        // SAFETY: By the type invariants.
        let attached = unsafe { &raw mut (*device).liveupdate_attached };

        // ORDERING: Pairs with `vfio_device_keeps_attachments()`: who may attach it comes later.
        //
        // SAFETY: Valid, and C code accesses it atomically while others can.
        unsafe { atomic_store(attached, false, Release) };
    }

    /// Returns whether the device does DMA without an IOMMU.
    pub(crate) fn is_noiommu(self) -> bool {
        // SAFETY: By the type invariants.
        unsafe { is_noiommu(&raw const (*self.vdev.as_ptr()).vdev) }
    }

    /// Returns whether user space has bound the device to an iommufd, which may change at any time.
    pub(crate) fn is_open(self) -> bool {
        // SAFETY: By the type invariants.
        unsafe { is_device_open(&raw mut (*self.vdev.as_ptr()).vdev) }
    }

    /// Returns what keeps the device from being preserved now.
    pub(crate) fn obstacles(self) -> Obstacles {
        let vdev = self.vdev.as_ptr();

        // Whoever unbinds the device takes this away first, and then waits for all files.
        //
        // SAFETY: By the type invariants. Others in its word change; C code reads it like this.
        let registered = unsafe {
            bindings::kobject::state_in_sysfs_raw(&raw const (*vdev).vdev.device.kobj) != 0
        };

        Obstacles {
            going_away: !registered,
            dma_bufs: self.has_dma_bufs(),
        }
    }

    /// Returns whether memory of the device is exported.
    fn has_dma_bufs(self) -> bool {
        let vdev = self.vdev.as_ptr();

        // SAFETY: By the type invariants, the device and its lock exist.
        unsafe { bindings::down_read(&raw mut (*vdev).memory_lock) };
        // SAFETY: The lock that protects it is held.
        let empty = unsafe { ptr::eq((*vdev).dmabufs.next, &raw const (*vdev).dmabufs) };
        // SAFETY: We hold the lock.
        unsafe { bindings::up_read(&raw mut (*vdev).memory_lock) };
        !empty
    }

    /// Stops and resets the device, if user space did not bind it to an iommufd.
    ///
    /// If a kexec has to go first, or the process is about to be killed, while somebody has the lock of
    /// the set, the device is stopped only: whoever has the lock may wait for user space.
    pub(crate) fn reset_unless_open(self) {
        if self.is_open() {
            return;
        }

        let reset = |open: bool| {
            if !open {
                stop(self.pci());

                // Tries, for the lock of the device is taken before that of the set.
                //
                // SAFETY: `pci()` is a device.
                let result =
                    unsafe { bindings::pci_try_reset_function(lu_pci::as_raw(self.pci())) };
                report_reset(self.pci(), result);
            }
        };

        // SAFETY: By the type invariants.
        let device = unsafe { &raw mut (*self.vdev.as_ptr()).vdev };

        // SAFETY: By the type invariants.
        if let Err(err) = unsafe { with_open_unless_interrupted(device, reset) } {
            stop(self.pci());
            dev_warn!(self.pci(), "is stopped, and was not reset: {err:?}\n");
        }
    }

    /// Shuts user space out, if `decide` agrees to what the device is doing then. Returns what was done to
    /// the device.
    ///
    /// `file` is the one that is preserved, and LUO has no more than one reference to it. Sleeps until
    /// the operations of user space that did not notice are over, but not for ever. Memory accesses of
    /// user space wait until it is over.
    pub(crate) fn freeze(
        self,
        file: &LocalFile,
        decide: impl FnOnce(Activity) -> Result<Treatment, Refusal>,
    ) -> Result<Treatment, Refusal> {
        self.set_frozen(true);

        // What they did is seen here.
        let treatment = self
            .wait_for_operations()
            .and_then(|()| decide(self.activity(file)))
            .and_then(|treatment| freeze_topology().map(|()| treatment))
            .inspect_err(|_| self.set_frozen(false))?;

        if let Treatment::Quiesced { .. } = treatment {
            self.quiesce().inspect_err(|_| self.unfreeze())?;
        }

        // Page faults bring the mappings back when the device is not frozen any more.
        //
        // SAFETY: By the type invariants.
        unsafe { bindings::vfio_pci_zap_and_down_write_memory_lock(self.vdev.as_ptr()) };
        // SAFETY: The lock was just taken.
        unsafe { bindings::up_write(&raw mut (*self.vdev.as_ptr()).memory_lock) };
        Ok(treatment)
    }

    /// Turns off what the owner of the device, which is bound by the file that is preserved, would
    /// have turned off.
    fn quiesce(self) -> Result<(), Refusal> {
        // SAFETY: The device is bound by the file, which LUO holds open, and so it is enabled.
        unsafe { bindings::vfio_pci_core_quiesce(self.vdev.as_ptr()) };

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

    /// Returns who can use the device through a file that is preserved.
    ///
    /// User space is shut out meanwhile, so that nobody binds the device.
    fn owner(self, file: &LocalFile) -> Owner {
        // Each descriptor is a reference, and so is one in flight, a mapping, a registration with
        // io_uring, and KVM's use of the device. Who has none cannot get one: only LUO has the file
        // then, and hands it out in the next kernel only.
        //
        // SAFETY: By the type invariants of `LocalFile`.
        if unsafe { bindings::file_count(file.as_ptr()) } != 1 {
            return Owner::Present;
        }

        let is_bound = device_file(file).is_some_and(|df| {
            // SAFETY: The file is open. Set by operations of user space only, which are over.
            unsafe { (*df.as_ptr()).access_granted != 0 }
        });
        if is_bound {
            return Owner::Gone;
        }

        // SAFETY: By the type invariants.
        let open_count = unsafe { &raw mut (*self.vdev.as_ptr()).vdev.open_count };

        // Another file of the device may be closed just now, and then it counts still.
        //
        // SAFETY: Valid, and C code reads it like this without its lock, too.
        if unsafe { atomic_load(open_count, Relaxed) } != 0 {
            return Owner::Present;
        }
        Owner::NeverBound
    }

    /// Returns what the device is doing. User space cannot change it while it is shut out.
    fn activity(self, file: &LocalFile) -> Activity {
        let dev = self.pci().as_ref();

        // Whoever unbinds the device has the lock until its file is closed, which LUO does not do;
        // device shutdown would wait for the lock for ever. Who takes it later sees that the device
        // is frozen (`keeps_registered()`).
        //
        // SAFETY: `dev` is a device.
        let unlocked = unsafe { bindings::device_trylock(raw_device(dev)) } != 0;
        if unlocked {
            // SAFETY: The lock was just taken.
            unsafe { bindings::device_unlock(raw_device(dev)) };
        }

        let vdev = self.vdev.as_ptr();

        // SAFETY: By the type invariants, the device and its locks exist.
        unsafe { bindings::mutex_lock(&raw mut (*vdev).igate) };
        // SAFETY: The lock that protects it is held.
        let irq_type = unsafe { (*vdev).irq_type };
        // SAFETY: We hold the lock.
        unsafe { bindings::mutex_unlock(&raw mut (*vdev).igate) };

        // SAFETY: An integer that only operations of user space change.
        let ioeventfds = unsafe { (*vdev).ioeventfds_nr };

        Activity {
            owner: self.owner(file),
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
        let power = unsafe { (*lu_pci::as_raw(self.pci())).current_state };

        power == bindings::PCI_D0
    }

    fn set_frozen(self, frozen: bool) {
        // SAFETY: By the type invariants.
        let flag = unsafe { &raw mut (*self.vdev.as_ptr()).vdev.liveupdate_frozen };

        // SAFETY: Valid for writes. Volatile, for C code reads it at any time.
        unsafe { flag.write_volatile(frozen) };
    }

    /// Waits for the operations of user space on the device that are not over.
    fn wait_for_operations(self) -> Result<(), Refusal> {
        // SAFETY: By the type invariants.
        let srcu = unsafe { &raw mut (*self.vdev.as_ptr()).vdev.liveupdate_srcu };

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

/// How long to sleep until looking whether they did.
const PAUSE: Delta = Delta::from_micros(50);

fn raw_device(device: &kernel::device::Device) -> *mut bindings::device {
    // `Device` is a transparent wrapper.
    ptr::from_ref(device).cast_mut().cast()
}

/// Returns whether user space has bound a device to an iommufd, which may change at any time.
///
/// # Safety
///
/// `device` is a vfio device.
unsafe fn is_device_open(device: *mut bindings::vfio_device) -> bool {
    // SAFETY: By function requirement.
    let count = unsafe { &raw mut (*device).open_count };

    // SAFETY: Valid, and aligned. C code changes it with a lock held that user space can have held for
    // as long as it likes: it is one word, and nothing else is concluded from it.
    unsafe { atomic_load(count, Relaxed) != 0 }
}

/// Calls `f` with whether user space bound a device to an iommufd, which does not change then, unless
/// somebody else has to go first: whoever attaches a device of
/// the set to an IOAS has the lock, and may wait for user space to deliver pages.
///
/// # Errors
///
/// `EINTR` if the process is about to be killed, `ERESTARTNOINTR` if a kexec has to go first. Then `f`
/// was not called.
///
/// # Safety
///
/// `device` is a vfio device, which is registered.
unsafe fn with_open_unless_interrupted<R>(
    device: *mut bindings::vfio_device,
    f: impl FnOnce(bool) -> R,
) -> Result<R> {
    // SAFETY: By function requirement; a registered device has a set, and keeps it.
    let lock = unsafe { &raw mut (*(*device).dev_set).lock };

    // SAFETY: The set exists as long as the device is registered.
    while unsafe { bindings::mutex_trylock(lock) } == 0 {
        // SAFETY: Has no requirements but that one may sleep, as those do who take the lock.
        to_result(unsafe { bindings::liveupdate_pause() })?;
        // SAFETY: As above.
        unsafe { bindings::schedule_timeout_killable(1) };
    }
    // SAFETY: By function requirement, and the lock was just taken.
    Ok(unsafe { unlock_after(device, f) })
}

/// Calls `f` with whether user space bound a device to an iommufd, and releases the lock of its set.
///
/// # Safety
///
/// `device` is a vfio device, which is registered, and the caller holds the lock of its set.
unsafe fn unlock_after<R>(device: *mut bindings::vfio_device, f: impl FnOnce(bool) -> R) -> R {
    // SAFETY: By function requirement, and the lock that protects the count is held.
    let open = unsafe { (*device).open_count } != 0;
    let result = f(open);

    // SAFETY: By function requirement, we hold the lock.
    unsafe { bindings::mutex_unlock(&raw mut (*(*device).dev_set).lock) };
    result
}

/// Returns whether a device does DMA without an IOMMU.
///
/// # Safety
///
/// `device` is a vfio device.
unsafe fn is_noiommu(device: *const bindings::vfio_device) -> bool {
    // SAFETY: By function requirement. Does not change once the device is registered; others in its
    // word do, and this reads it as C code does.
    unsafe { bindings::vfio_device::noiommu_raw(device) != 0 }
}

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
fn leaves_group(device: &pci::Device) -> bool {
    // SAFETY: It is a device.
    !unsafe { bindings::iommu_liveupdate_is_group_whole(raw_device(device.as_ref())) }
}

/// Returns whether a device goes on doing DMA, and something in its IOMMU group does not: it does not.
#[cfg(not(CONFIG_IOMMU_LIVEUPDATE))]
fn leaves_group(_device: &pci::Device) -> bool {
    false
}

/// Returns whether a device goes on doing DMA, and its IOMMU does not have for it what was preserved.
#[cfg(CONFIG_IOMMU_LIVEUPDATE)]
fn lost_translation(device: &pci::Device) -> bool {
    // SAFETY: It is a device.
    !unsafe { bindings::iommu_liveupdate_is_unchanged(raw_device(device.as_ref())) }
}

/// Returns whether a device goes on doing DMA, and its IOMMU does not have for it what was preserved: it
/// does not go on.
#[cfg(not(CONFIG_IOMMU_LIVEUPDATE))]
fn lost_translation(_device: &pci::Device) -> bool {
    false
}

/// Ends the translation of a device that the previous kernel handed over.
#[cfg(CONFIG_IOMMU_LIVEUPDATE)]
fn end_translation(device: &pci::Device) {
    let dev = raw_device(device.as_ref());

    // SAFETY: `dev` is a device.
    let result = unsafe { bindings::iommu_liveupdate_finish_device(dev) };

    if let Err(err) = to_result(result) {
        dev_warn!(
            device,
            "keeps the translation that was handed over: {err:?}\n"
        );
    }
}

/// Ends the translation of a device that the previous kernel handed over: there is none.
#[cfg(not(CONFIG_IOMMU_LIVEUPDATE))]
fn end_translation(_device: &pci::Device) {}

/// Returns whether user space has bound a device to an iommufd, which may change at any time.
pub(crate) fn is_open(device: &pci::Device) -> bool {
    Registered::of(device).is_some_and(|registered| {
        // SAFETY: By the type invariants of `Registered`.
        unsafe { is_device_open(registered.device.as_ptr()) }
    })
}

/// Keeps a device from doing DMA, to begin with: a reset restores what it finds.
fn stop(device: &pci::Device) {
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

fn report_reset(device: &pci::Device, result: c_int) {
    if let Err(err) = to_result(result) {
        dev_warn!(device, "could not be reset: {err:?}\n");
    }
}

/// A device of vfio that does not go away.
///
/// # Invariants
///
/// `device` is a vfio device, whose registration we hold.
struct Registered {
    device: NonNull<bindings::vfio_device>,
}

impl Registered {
    /// Holds the registration of the vfio device of a PCI device that is bound to vfio-pci.
    fn of(device: &pci::Device) -> Option<Self> {
        let this = VFIO_PCI.copy()?;

        lu_pci::with_driver(device, |driver, data| {
            if !ptr::eq(driver.as_ptr(), this.driver) {
                return None;
            }

            let vdev = NonNull::new(data.cast::<bindings::vfio_pci_core_device>())?;

            // SAFETY: What vfio-pci has as driver data while it is bound, which it is.
            let device = unsafe { NonNull::new_unchecked(&raw mut (*vdev.as_ptr()).vdev) };

            // INVARIANT: Just taken.
            //
            // SAFETY: vfio-pci frees its driver data only after the driver is unbound.
            unsafe { bindings::vfio_device_try_get_registration(device.as_ptr()) }
                .then_some(Self { device })
        })?
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        // SAFETY: By the type invariants.
        unsafe { bindings::vfio_device_put_registration(self.device.as_ptr()) };
    }
}

/// The flags that a retrieved file is opened with.
// CAST: lossless, flags of `open()` are small numbers.
const OPEN_FLAGS: c_int = O_RDWR as c_int;

/// Opens a device, as its character device does: the file is of no use until it is bound.
///
/// # Errors
///
/// `ENODEV` if the device is not bound to vfio-pci, `EPERM` if it does DMA without an IOMMU, `ENOENT`
/// if vfio is being unloaded, `ENOMEM` or `ENFILE` if there cannot be another file.
pub(crate) fn open(device: &pci::Device) -> Result<ARef<LocalFile>> {
    let registered = Registered::of(device).ok_or(ENODEV)?;

    // The character device asks for a capability then, which nobody can be asked for here.
    //
    // SAFETY: By the type invariants of `Registered`.
    if unsafe { is_noiommu(registered.device.as_ptr()) } {
        return Err(EPERM);
    }

    // SAFETY: By the type invariants of `Registered`.
    let df = unsafe { bindings::vfio_allocate_device_file(registered.device.as_ptr()) };
    let df = from_err_ptr(df)?;

    // SAFETY: `df` is what files with these operations have as their data.
    let file = from_err_ptr(unsafe {
        bindings::anon_inode_getfile_fmode(
            c"[vfio-device-liveupdate]".as_char_ptr(),
            &raw const bindings::vfio_device_fops,
            df.cast(),
            OPEN_FLAGS,
            bindings::VFIO_DEVICE_FMODE,
        )
    })
    .inspect_err(|_| {
        // SAFETY: Nobody else refers to it, since there is no file.
        unsafe { bindings::kfree(df.cast()) }
    })?;

    // SAFETY: By the type invariants of `Registered`; a registered device has an inode.
    let mapping = unsafe { (*(*registered.device.as_ptr()).inode).i_mapping };

    // All mappings of the device are found through this one inode.
    //
    // SAFETY: Nobody else knows the file yet.
    unsafe { (*file).f_mapping = mapping };

    // The release of the file puts the registration.
    core::mem::forget(registered);

    let file = NonNull::new(file).ok_or(ENOMEM)?;

    // SAFETY: A new file has one reference, which is ours.
    Ok(unsafe { ARef::from_raw(file.cast()) })
}

/// Has the files of `handler` share the record of preserved PCI devices.
///
/// # Errors
///
/// `EEXIST` if there is another FLB of that name, `ENOSPC` if there are too many FLBs, `ENOMEM` if
/// memory is short.
pub(crate) fn register_flb<T: FileHandler>(handler: &Unpublished<T>) -> Result {
    // SAFETY: The handler is registered, and no file was preserved with it.
    to_result(unsafe { bindings::pci_liveupdate_register_flb(handler.as_raw()) })
}

/// Keeps the handler registered while vfio-pci is there.
pub(crate) fn keep<T: FileHandler>(registration: Registration<T>) {
    // SAFETY: `vfio_pci_liveupdate_cleanup()` unregisters it, which vfio-pci calls on its way out.
    unsafe { registration.keep() };
}

/// Returns whether user space is shut out of a device.
///
/// # Safety
///
/// `pdev` is bound to vfio-pci, and the lock of the device is held.
unsafe fn is_frozen(pdev: *mut bindings::pci_dev) -> bool {
    // SAFETY: By function requirement.
    let dev = unsafe { &raw mut (*pdev).dev };

    // SAFETY: By function requirement: what vfio-pci has as driver data.
    let vdev = unsafe { bindings::dev_get_drvdata(dev).cast::<bindings::vfio_pci_core_device>() };

    // SAFETY: Valid for reads. Volatile, for it may change at any time.
    unsafe { (&raw const (*vdev).vdev.liveupdate_frozen).read_volatile() }
}

/// Returns whether the previous kernel preserved a device that is not finished. May sleep.
///
/// # Safety
///
/// `vdev` is a device of vfio-pci.
pub(crate) unsafe fn is_incoming(vdev: *mut bindings::vfio_device) -> bool {
    // SAFETY: By function requirement, it is a part of one of these.
    let device = unsafe { kernel::container_of!(vdev, bindings::vfio_pci_core_device, vdev) };
    // SAFETY: By function requirement. Never changes.
    let pdev = unsafe { (*device).pdev };

    // SAFETY: The device that vfio-pci is bound to.
    unsafe { bindings::pci_liveupdate_is_incoming(pdev) }
}

/// Waits while a device that is being unbound is frozen, and returns whether the kexec proceeds.
///
/// If so, the device was shut down. Its vfio device is to stay registered, and so are its files: none
/// of them can be used, and LUO does not close its own.
///
/// # Safety
///
/// As [`shutdown`].
pub(crate) unsafe fn keeps_registered(pdev: *mut bindings::pci_dev) -> bool {
    // A device that is not frozen here is not frozen later: that takes the lock, which is held.
    //
    // SAFETY: By function requirement.
    while unsafe { is_frozen(pdev) } {
        // SAFETY: Has no requirements.
        if unsafe { bindings::pci_liveupdate_proceeds() } {
            // SAFETY: By function requirement.
            unsafe { shutdown(pdev) };
            return true;
        }
        fsleep(PAUSE);
    }
    false
}

/// Stops a device for good, if user space was shut out of it for a kexec that will happen.
///
/// # Safety
///
/// `pdev` is bound to vfio-pci, and the lock of the device is held.
pub(crate) unsafe fn shutdown(pdev: *mut bindings::pci_dev) {
    // Nobody changes it: LUO froze the file and does not unfreeze it.
    //
    // SAFETY: By function requirement.
    if !unsafe { is_frozen(pdev) } {
        return;
    }

    // What it does DMA with is handed over.
    //
    // SAFETY: `pdev` is a device.
    if unsafe { bindings::pci_liveupdate_keeps_mastering(pdev) } {
        return;
    }

    // First, so that the reset does not restore it.
    //
    // SAFETY: `pdev` is a device.
    unsafe { bindings::pci_clear_master(pdev) };

    // Nobody reads or writes registers through sysfs meanwhile.
    //
    // SAFETY: `pdev` is a device.
    unsafe { bindings::pci_cfg_access_lock(pdev) };

    // SAFETY: By function requirement, the lock of the device is held.
    let result = unsafe { bindings::pci_reset_function_locked(pdev) };

    // SAFETY: The lock was just taken.
    unsafe { bindings::pci_cfg_access_unlock(pdev) };

    // SAFETY: By function requirement.
    report_reset(unsafe { lu_pci::from_raw(pdev) }, result);
}
