// SPDX-License-Identifier: GPL-2.0

//! Files of vfio devices: what there is behind one, and how one is made.

use super::{
    device::{
        is_device_open,
        is_noiommu, //
    },
    CoreDevice,
    VFIO_PCI, //
};
use crate::plan::Kind;
use core::ptr::{
    self,
    NonNull, //
};
use kernel::{
    bindings,
    error::from_err_ptr,
    ffi::c_int,
    fs::{
        file::flags::O_RDWR,
        LocalFile, //
    },
    liveupdate::pci as lu_pci,
    pci,
    prelude::*,
    sync::{
        aref::ARef,
        atomic::{
            atomic_load,
            Acquire, //
        }, //
    },
};

/// What a vfio device file has as its data.
///
/// # Invariants
///
/// `df` is what `file` has as its data, which is of a vfio device.
#[derive(Clone, Copy)]
pub(super) struct DeviceFile<'a> {
    df: NonNull<bindings::vfio_device_file>,
    file: &'a LocalFile,
}

impl<'a> DeviceFile<'a> {
    /// Returns what a file has as its data, if it is of a vfio device.
    pub(super) fn of(file: &'a LocalFile) -> Option<Self> {
        // SAFETY: By the type invariants of `LocalFile`; never changes once the file is open.
        let f_op = unsafe { (*file.as_ptr()).f_op };

        if !ptr::eq(f_op, &raw const bindings::vfio_device_fops) {
            return None;
        }

        // SAFETY: By the type invariants of `LocalFile`; never changes once the file is open.
        let df = unsafe { (*file.as_ptr()).private_data };

        // INVARIANT: What files with these operations have.
        Some(Self {
            df: NonNull::new(df.cast())?,
            file,
        })
    }

    /// Returns the file as C knows it.
    pub(super) fn as_ptr(self) -> *mut bindings::file {
        self.file.as_ptr()
    }

    /// Returns the device, whose registration the file holds.
    pub(super) fn device(self) -> NonNull<bindings::vfio_device> {
        // SAFETY: By the type invariants; set before the file was installed, and never changed. An open
        // file has a device.
        unsafe { NonNull::new_unchecked((*self.df.as_ptr()).device) }
    }

    /// Returns whether the file was opened through a group.
    fn by_group(self) -> bool {
        // SAFETY: By the type invariants; set before the file was installed, and never changed.
        !unsafe { (*self.df.as_ptr()).group }.is_null()
    }

    /// Returns whether the device is bound by this file.
    ///
    /// That changes with the lock of its set held, by operations of user space.
    pub(super) fn is_bound(self) -> bool {
        // SAFETY: By the type invariants.
        let granted = unsafe { &raw mut (*self.df.as_ptr()).access_granted };

        // ORDERING: As C code reads it: who sees it sees what was set up before.
        //
        // SAFETY: Valid, and C code accesses it atomically. A byte is as good as one with a sign.
        unsafe { atomic_load(granted.cast::<i8>(), Acquire) != 0 }
    }
}

/// Returns what `file` is, or nothing if it is not of a vfio device at all.
pub(crate) fn kind(file: &LocalFile) -> Option<Kind> {
    let df = DeviceFile::of(file)?;

    // Only a device of vfio-pci is known to be a PCI device.
    let device = CoreDevice::of(file);
    let pdev = device.map(CoreDevice::pci);

    Some(Kind {
        by_group: df.by_group(),
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

/// Returns whether user space has bound a device to an iommufd, which may change at any time.
pub(crate) fn is_open(device: &pci::Device) -> bool {
    Registered::of(device).is_some_and(|registered| {
        // SAFETY: By the type invariants of `Registered`.
        unsafe { is_device_open(registered.device.as_ptr()) }
    })
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

        let locked = lu_pci::Locked::new(device);
        if !ptr::eq(locked.driver()?.as_ptr(), this.driver) {
            return None;
        }

        let data = locked.driver_data();
        let vdev = NonNull::new(data.cast::<bindings::vfio_pci_core_device>())?;

        // SAFETY: What vfio-pci has as driver data while it is bound, which it is.
        let device = unsafe { NonNull::new_unchecked(&raw mut (*vdev.as_ptr()).vdev) };

        // SAFETY: vfio-pci frees its driver data only after the driver is unbound.
        if !unsafe { bindings::vfio_device_try_get_registration(device.as_ptr()) } {
            return None;
        }
        // INVARIANT: Just taken.
        Some(Self { device })
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
