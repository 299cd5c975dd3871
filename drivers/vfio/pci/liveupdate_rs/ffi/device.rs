// SPDX-License-Identifier: GPL-2.0

//! The device of a file of vfio-pci, and what keeps it from changing.

use super::{
    file::DeviceFile,
    passage::{
        report_reset,
        stop, //
    },
    VFIO_PCI, //
};
use crate::plan::Obstacles;
use core::ptr::{
    self,
    NonNull, //
};
use kernel::{
    bindings,
    error::to_result,
    fs::LocalFile,
    liveupdate::{
        pci as lu_pci,
        Handle, //
    },
    pci,
    prelude::*,
    sync::atomic::{
        atomic_load,
        Relaxed, //
    },
    types::NotThreadSafe, //
};

/// The device of a file of vfio-pci.
///
/// # Invariants
///
/// `vdev` is a device of vfio-pci, which is registered for `'a`. It is that of `file`.
#[derive(Clone, Copy)]
pub(crate) struct CoreDevice<'a> {
    vdev: NonNull<bindings::vfio_pci_core_device>,
    file: DeviceFile<'a>,
}

impl<'a> CoreDevice<'a> {
    /// Returns the device of a file, if it is one of vfio-pci.
    pub(crate) fn of(file: &'a LocalFile) -> Option<Self> {
        let file = DeviceFile::of(file)?;
        let device = file.device().as_ptr();

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
            file,
        })
    }

    /// Returns the file that this is the device of.
    pub(super) fn file(self) -> DeviceFile<'a> {
        self.file
    }

    /// Returns the vfio device.
    pub(super) fn as_raw(self) -> *mut bindings::vfio_device {
        // SAFETY: By the type invariants.
        unsafe { &raw mut (*self.vdev.as_ptr()).vdev }
    }

    /// Returns the device of vfio-pci.
    pub(super) fn as_raw_core(self) -> *mut bindings::vfio_pci_core_device {
        self.vdev.as_ptr()
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

    /// Returns whether the device does DMA without an IOMMU.
    pub(crate) fn is_noiommu(self) -> bool {
        // SAFETY: By the type invariants.
        unsafe { is_noiommu(self.as_raw()) }
    }

    /// Returns whether user space has bound the device to an iommufd, which may change at any time.
    pub(crate) fn is_open(self) -> bool {
        // SAFETY: By the type invariants.
        unsafe { is_device_open(self.as_raw()) }
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
    pub(super) fn has_dma_bufs(self) -> bool {
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

        let set = match self.lock_set() {
            Ok(set) => set,
            Err(err) => {
                stop(self.pci());
                dev_warn!(self.pci(), "is stopped, and was not reset: {err:?}\n");
                return;
            }
        };
        if set.is_open() {
            return;
        }

        stop(self.pci());

        // Tries, for the lock of the device is taken before that of the set.
        //
        // SAFETY: `pci()` is a device.
        let result = unsafe { bindings::pci_try_reset_function(lu_pci::as_raw(self.pci())) };
        report_reset(self.pci(), result);
    }
}

/// The lock of the set of a vfio device: nobody binds a device of the set, or unbinds it.
///
/// # Invariants
///
/// We hold the lock of the set of `device`.
pub(super) struct LockedSet<'a> {
    device: CoreDevice<'a>,
    /// A mutex is released by whoever took it.
    _not_send: NotThreadSafe,
}

impl<'a> CoreDevice<'a> {
    /// Takes the lock of the set of the device, unless somebody else has to go first: whoever attaches
    /// a device of the set to an IOAS has the lock, and may wait for user space to deliver pages.
    ///
    /// # Errors
    ///
    /// `EINTR` if the process is about to be killed, `ERESTARTNOINTR` if a kexec has to go first.
    pub(super) fn lock_set(self) -> Result<LockedSet<'a>> {
        let device = self.as_raw();

        // SAFETY: By the type invariants; a registered device has a set, and keeps it.
        let lock = unsafe { &raw mut (*(*device).dev_set).lock };

        // SAFETY: The set exists as long as the device is registered.
        while unsafe { bindings::mutex_trylock(lock) } == 0 {
            // SAFETY: Has no requirements but that one may sleep, as those do who take the lock.
            to_result(unsafe { bindings::liveupdate_pause() })?;
            // SAFETY: As above.
            unsafe { bindings::schedule_timeout_killable(1) };
        }

        // INVARIANT: Just taken.
        Ok(LockedSet {
            device: self,
            _not_send: NotThreadSafe,
        })
    }
}

impl LockedSet<'_> {
    /// Returns the vfio device.
    pub(super) fn as_raw(&self) -> *mut bindings::vfio_device {
        self.device.as_raw()
    }

    /// Returns whether user space bound the device to an iommufd, which does not change meanwhile.
    pub(super) fn is_open(&self) -> bool {
        // SAFETY: By the type invariants, the lock that protects the count is held.
        unsafe { (*self.device.as_raw()).open_count != 0 }
    }
}

impl Drop for LockedSet<'_> {
    fn drop(&mut self) {
        // SAFETY: By the type invariants.
        unsafe { bindings::mutex_unlock(&raw mut (*(*self.device.as_raw()).dev_set).lock) };
    }
}

/// Returns whether user space has bound a device to an iommufd, which may change at any time.
///
/// # Safety
///
/// `device` is a vfio device.
pub(super) unsafe fn is_device_open(device: *mut bindings::vfio_device) -> bool {
    // SAFETY: By function requirement.
    let count = unsafe { &raw mut (*device).open_count };

    // SAFETY: Valid, and aligned. C code changes it with a lock held that user space can have held for
    // as long as it likes: it is one word, and nothing else is concluded from it.
    unsafe { atomic_load(count, Relaxed) != 0 }
}

/// Returns whether a device does DMA without an IOMMU.
///
/// # Safety
///
/// `device` is a vfio device.
pub(super) unsafe fn is_noiommu(device: *const bindings::vfio_device) -> bool {
    // SAFETY: By function requirement. Does not change once the device is registered; others in its
    // word do, and this reads it as C code does.
    unsafe { bindings::vfio_device::noiommu_raw(device) != 0 }
}
