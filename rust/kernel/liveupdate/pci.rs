// SPDX-License-Identifier: GPL-2.0

//! What Live Update needs to know of PCI devices.
//!
//! A device is the same one in the next kernel if it is at the same [`Address`].
//!
//! C header: [`include/linux/pci.h`](srctree/include/linux/pci.h)

mod address;

pub use self::address::{
    Address,
    RawAddress, //
};

use crate::{
    bindings,
    device,
    error::to_result,
    ffi::{
        c_int,
        c_void, //
    },
    pci::Device,
    prelude::*,
    sync::{
        aref::ARef,
        atomic::{
            atomic_load,
            Relaxed, //
        }, //
    },
    types::NotThreadSafe, //
};
use core::{
    iter,
    ptr::{
        self,
        NonNull, //
    },
};

/// Returns the device as C knows it.
pub fn as_raw(device: &Device) -> *mut bindings::pci_dev {
    // `Device` is a transparent wrapper.
    ptr::from_ref(device).cast_mut().cast()
}

/// Returns the part of a device that all devices have, as C knows it.
pub fn as_raw_device(device: &Device) -> *mut bindings::device {
    let device: &device::Device = device.as_ref();

    device.as_raw()
}

/// Borrows a device that C code passed.
///
/// # Safety
///
/// `device` is a device, and remains one for `'a`.
pub unsafe fn from_raw<'a>(device: *mut bindings::pci_dev) -> &'a Device {
    // SAFETY: By function requirement. `Device` is a transparent wrapper.
    unsafe { &*device.cast::<Device>() }
}

/// Returns the address of a device.
pub fn address(device: &Device) -> Address {
    // SAFETY: By the type invariants of `Device`. A device does not change buses.
    let bus = unsafe { (*as_raw(device)).bus };

    // SAFETY: A device is on a bus for as long as it exists.
    let domain = unsafe { bindings::pci_domain_nr(bus) };

    // SAFETY: By the type invariants of `Device`.
    let bdf = unsafe { bindings::pci_dev_id(as_raw(device)) };

    // CAST: domain numbers of existing buses are not negative.
    Address::new(domain.unsigned_abs(), bdf)
}

/// Returns the device at an address, if there is one.
///
/// May sleep. Takes no longer the more devices there are elsewhere.
#[cfg(CONFIG_PCI_LIVEUPDATE)]
pub fn find(address: Address) -> Option<ARef<Device>> {
    let domain = address.domain().try_into().ok()?;

    // SAFETY: `pci_liveupdate_find()` accepts any address.
    let device = unsafe {
        bindings::pci_liveupdate_find(domain, address.bus().into(), address.devfn().into())
    };

    // SAFETY: We were given a reference. `Device` is a transparent wrapper.
    NonNull::new(device).map(|device| unsafe { ARef::from_raw(device.cast()) })
}

/// Returns whether this kernel did not find a device that the previous kernel preserved, or whether the list
/// of these devices cannot be read.
///
/// May sleep. For when PCI devices are enumerated.
#[cfg(CONFIG_PCI_LIVEUPDATE)]
pub fn has_missing() -> bool {
    // SAFETY: `pci_liveupdate_has_missing()` has no requirements but that one may sleep.
    unsafe { bindings::pci_liveupdate_has_missing() }
}

/// Returns whether a device is a virtual function.
pub fn is_virtual_function(device: &Device) -> bool {
    // SAFETY: By the type invariants of `Device`. The bit does not change once the device is set
    // up. Others in its word do: this reads it as all C code does.
    unsafe { bindings::pci_dev::is_virtfn_raw(as_raw(device)) != 0 }
}

/// Returns whether a device is a bridge to another PCI bus.
pub fn is_bridge(device: &Device) -> bool {
    // SAFETY: By the type invariants of `Device`. Does not change once the device is set up.
    let header = unsafe { (*as_raw(device)).hdr_type };

    u32::from(header) == bindings::PCI_HEADER_TYPE_BRIDGE
}

/// Returns whether there is a bus below a bridge.
///
/// That changes while buses are scanned or removed.
pub fn has_bus(device: &Device) -> bool {
    // SAFETY: By the type invariants of `Device`.
    let bus = unsafe { &raw mut (*as_raw(device)).subordinate };

    // SAFETY: Valid, and aligned. C code changes it in one piece, and the pointer is not followed.
    !unsafe { atomic_load(bus, Relaxed) }.is_null()
}

/// The bit of the command register that lets a device do DMA.
// CAST: lossless, a bit of 16.
const MASTER: u16 = bindings::PCI_COMMAND_MASTER as u16;

/// Keeps a device from doing DMA, and returns whether it could do so.
///
/// Bridges are left alone: they do none of their own, and what is below them may need them.
pub fn stop_mastering(device: &Device) -> bool {
    let mut command = 0;

    // SAFETY: By the type invariants of `Device`.
    let err = unsafe {
        bindings::pci_read_config_word(
            as_raw(device),
            // CAST: lossless, an offset in configuration space.
            bindings::PCI_COMMAND as c_int,
            &mut command,
        )
    };

    let could = err == 0 && command & MASTER != 0;
    if is_bridge(device) || !could {
        return false;
    }

    // SAFETY: By the type invariants of `Device`. A device does not change buses.
    let bus = unsafe { (*as_raw(device)).bus };

    // Not by way of the device: writes to one that was preserved are dropped there.
    // SAFETY: A device is on a bus for as long as it exists.
    let err = unsafe {
        bindings::pci_bus_write_config_word(
            bus,
            address(device).devfn().into(),
            // CAST: lossless, an offset in configuration space.
            bindings::PCI_COMMAND as c_int,
            command & !MASTER,
        )
    };
    err == 0
}

/// Has a device that is preserved go on doing DMA across the kexec.
///
/// To be called by whoever hands over all that the device does DMA with. May sleep.
///
/// # Errors
///
/// As `pci_liveupdate_keep_mastering()`. Then nothing changes.
#[cfg(CONFIG_PCI_LIVEUPDATE)]
pub fn keep_mastering(device: &Device) -> Result {
    // SAFETY: By the type invariants of `Device`.
    to_result(unsafe { bindings::pci_liveupdate_keep_mastering(as_raw(device)) })
}

/// Has a device stopped before the kexec that [`keep_mastering`] succeeded for. May sleep.
#[cfg(CONFIG_PCI_LIVEUPDATE)]
pub fn end_mastering(device: &Device) {
    // SAFETY: By the type invariants of `Device`.
    unsafe { bindings::pci_liveupdate_stop_mastering(as_raw(device)) };
}

/// Returns whether a device, or one below a bridge, goes on doing DMA across the kexec. May sleep.
#[cfg(CONFIG_PCI_LIVEUPDATE)]
pub fn keeps_mastering(device: &Device) -> bool {
    // SAFETY: By the type invariants of `Device`.
    unsafe { bindings::pci_liveupdate_keeps_mastering(as_raw(device)) }
}

/// Keeps a device out of low power states.
///
/// # Invariants
///
/// We own one of the counts that keep the device in use, for runtime power management.
pub struct Awake {
    device: ARef<Device>,
}

impl Awake {
    /// Keeps a device that is in use already from falling asleep.
    pub fn new(device: &Device) -> Self {
        // SAFETY: By the type invariants of `device::Device`.
        unsafe { bindings::pm_runtime_get_noresume(as_raw_device(device)) };

        // INVARIANT: Just counted.
        Self {
            device: device.into(),
        }
    }
}

impl Drop for Awake {
    fn drop(&mut self) {
        // SAFETY: By the type invariants, the count is ours.
        unsafe { bindings::pm_runtime_put(as_raw_device(&self.device)) };
    }
}

/// Returns the device and the bridges above it, up to the root port.
///
/// The bridges exist for as long as the device does.
pub fn path(device: &Device) -> impl Iterator<Item = &Device> + Clone {
    iter::successors(Some(device), |device| {
        // SAFETY: By the type invariants of `Device`. A device does not change buses.
        let bus = unsafe { (*as_raw(device)).bus };

        // SAFETY: A device is on a bus for as long as it exists.
        let bridge = unsafe { (*bus).self_ };

        // SAFETY: A bridge exists for as long as its bus does. `Device` is a transparent wrapper.
        NonNull::new(bridge).map(|bridge| unsafe { bridge.cast::<Device>().as_ref() })
    })
}

/// The lock of a device: no driver binds or unbinds, and nobody resets or configures the device.
///
/// # Invariants
///
/// We hold the lock of `device`, which nobody else releases.
pub struct Locked<'a> {
    device: &'a Device,
    /// A mutex is released by whoever took it.
    _not_send: NotThreadSafe,
}

impl<'a> Locked<'a> {
    /// Takes the lock of a device. May sleep.
    pub fn new(device: &'a Device) -> Self {
        // SAFETY: By the type invariants of `device::Device`.
        unsafe { bindings::device_lock(as_raw_device(device)) };

        // INVARIANT: Just taken.
        Self {
            device,
            _not_send: NotThreadSafe,
        }
    }

    /// Takes the lock of a device, unless somebody has it. Does not wait for them: they may wait for the
    /// caller.
    pub fn try_new(device: &'a Device) -> Option<Self> {
        // SAFETY: By the type invariants of `device::Device`.
        if unsafe { bindings::device_trylock(as_raw_device(device)) } == 0 {
            return None;
        }

        // INVARIANT: Just taken.
        Some(Self {
            device,
            _not_send: NotThreadSafe,
        })
    }

    /// Returns the driver that is bound to the device, if one is.
    pub fn driver(&self) -> Option<NonNull<bindings::device_driver>> {
        // SAFETY: By the type invariants of `device::Device`; the lock that protects it is held.
        NonNull::new(unsafe { (*as_raw_device(self.device)).driver })
    }

    /// Returns whether virtual functions of the device are enabled.
    pub fn has_virtual_functions(&self) -> bool {
        // SAFETY: By the type invariants of `Device`; the lock that protects it is held.
        unsafe { bindings::pci_num_vf(as_raw(self.device)) != 0 }
    }

    /// Returns what the driver that is bound keeps with the device.
    pub fn driver_data(&self) -> *mut c_void {
        // SAFETY: By the type invariants of `device::Device`; the lock that protects it is held.
        unsafe { bindings::dev_get_drvdata(as_raw_device(self.device)) }
    }
}

impl Drop for Locked<'_> {
    fn drop(&mut self) {
        // SAFETY: By the type invariants.
        unsafe { bindings::device_unlock(as_raw_device(self.device)) };
    }
}
