// SPDX-License-Identifier: GPL-2.0

//! Keeps the entries, for the next kernel and of the previous one.

mod incoming;
mod outgoing;

use self::{
    incoming::{
        Devices as IncomingDevices,
        Drivers as IncomingDrivers, //
    },
    outgoing::{
        Devices as OutgoingDevices,
        Drivers as OutgoingDrivers, //
    },
};
use super::{
    entries::{
        Format,
        RawDevSer,
        RawDriverSer,
        RawSer, //
    },
    ffi,
    plan::{
        self,
        Formats,
        List,
        Standing, //
    },
};
use kernel::{
    alloc::AllocError,
    liveupdate::{
        self,
        pci as lu_pci,
        Flb,
        FlbCell,
        Handle,
        IncomingFlb, //
    },
    new_mutex,
    pci,
    prelude::*,
    sync::{
        atomic::{
            AtomicFlag,
            Relaxed, //
        },
        Mutex, //
    }, //
};

kernel::assert_same_layout!(
    RawDevSer,
    pci_dev_ser {
        domain,
        bdf,
        refcount
    }
);
kernel::assert_same_layout!(
    RawDriverSer,
    pci_driver_ser {
        domain,
        bdf,
        reserved,
        data,
        compatible
    }
);
kernel::assert_same_layout!(
    RawSer,
    pci_ser {
        version,
        nr_devices,
        devices
    }
);

/// The FLB of the devices that are preserved, and the bridges above them.
pub(crate) static DEVICES: FlbCell<Devices> = FlbCell::new();

/// The FLB of the drivers that can take them over.
pub(crate) static DRIVERS: FlbCell<Drivers> = FlbCell::new();

/// Whether the previous kernel preserved devices. Never cleared: the numbers of buses that the next
/// owner of a device relies on do not change when the device is finished.
static HAD_INCOMING: AtomicFlag = AtomicFlag::new(false);

/// Names the FLB.
pub(crate) struct Devices;

/// Names the FLB.
pub(crate) struct Drivers;

#[vtable]
impl Flb for Devices {
    const COMPATIBLE: &'static CStr = ffi::COMPATIBLE;

    type Outgoing = Mutex<OutgoingDevices>;
    type Incoming = Mutex<IncomingDevices>;

    fn preserve() -> Result<(Pin<KBox<Self::Outgoing>>, Handle)> {
        let outgoing = OutgoingDevices::new()?;
        let handle = outgoing.handle();

        Ok((KBox::pin_init(new_mutex!(outgoing), GFP_KERNEL)?, handle))
    }

    /// A record that cannot be read is no error, which LUO would repeat for ever.
    fn retrieve(handle: Handle) -> Result<Pin<KBox<Self::Incoming>>> {
        let incoming = IncomingDevices::read(handle);

        if !incoming.is_empty() {
            HAD_INCOMING.store(true, Relaxed);
        }
        KBox::pin_init(new_mutex!(incoming), GFP_KERNEL)
    }

    fn finish(incoming: Pin<KBox<Self::Incoming>>) {
        incoming.lock().report_left_over();
    }
}

#[vtable]
impl Flb for Drivers {
    const COMPATIBLE: &'static CStr = ffi::DRIVER_COMPATIBLE;

    type Outgoing = Mutex<OutgoingDrivers>;
    type Incoming = Mutex<IncomingDrivers>;

    fn preserve() -> Result<(Pin<KBox<Self::Outgoing>>, Handle)> {
        let outgoing = OutgoingDrivers::new()?;
        let handle = outgoing.handle();

        Ok((KBox::pin_init(new_mutex!(outgoing), GFP_KERNEL)?, handle))
    }

    /// A record that cannot be read names no driver, so that none can bind.
    fn retrieve(handle: Handle) -> Result<Pin<KBox<Self::Incoming>>> {
        let incoming = IncomingDrivers::read(handle);

        KBox::pin_init(new_mutex!(incoming), GFP_KERNEL)
    }
}

/// Preserves a device whose driver knows this format, with a file that has this data.
///
/// # Errors
///
/// As `pci_liveupdate_preserve()`.
pub(crate) fn preserve(device: &pci::Device, format: Format, data: u64) -> Result {
    let devices = DEVICES.outgoing()?;
    let drivers = DRIVERS.outgoing()?;

    devices.lock().preserve(device)?;

    let result = drivers.lock().add(device, format, data);
    if result.is_err() {
        devices.lock().unpreserve(device)?;
    }
    result
}

/// Undoes [`preserve`].
pub(crate) fn unpreserve(device: &pci::Device) -> Result {
    DRIVERS.outgoing()?.lock().remove(device);
    DEVICES.outgoing()?.lock().unpreserve(device)
}

/// What the previous kernel handed over.
///
/// Whoever has it holds no lock of LUO, which come before those of the data.
struct Incoming {
    devices: IncomingFlb<Devices>,
    drivers: Option<IncomingFlb<Drivers>>,
}

impl Incoming {
    /// Returns what was handed over, if it was and is not finished.
    fn get() -> Option<Self> {
        Some(Self {
            devices: DEVICES.incoming().ok()?,
            drivers: DRIVERS.incoming().ok(),
        })
    }

    /// Calls `f` with what a device was to the previous kernel, and how it was preserved.
    fn with<R>(
        &self,
        device: &pci::Device,
        f: impl FnOnce(&mut IncomingDevices, Standing, Formats<'_>) -> R,
    ) -> R {
        let mut devices = self.devices.lock();
        let drivers = self.drivers.as_ref().map(|drivers| drivers.lock());
        let formats = match &drivers {
            Some(drivers) => Formats::Known(drivers.entries()),
            None => Formats::Unknown,
        };

        let standing = devices.standing(device, formats);
        f(&mut devices, standing, formats)
    }
}

/// Returns whether devices were preserved, though they may be finished.
pub(crate) fn had_incoming() -> bool {
    // What was handed over is read when it is asked for.
    drop(DEVICES.incoming());
    HAD_INCOMING.load(Relaxed)
}

/// Returns whether a device, or one below a bridge, was preserved and is not finished.
pub(crate) fn is_incoming(device: &pci::Device) -> bool {
    Incoming::get().is_some_and(|incoming| {
        incoming.with(device, |_, standing, _| standing != Standing::Ordinary)
    })
}

/// Returns whether a device was preserved with the file that has this data, and is not finished.
pub(crate) fn belongs_to(device: &pci::Device, data: u64) -> bool {
    Incoming::get().is_some_and(|incoming| {
        incoming.with(device, |_, standing, formats| {
            plan::belongs_to(standing, lu_pci::address(device), formats, data)
        })
    })
}

/// Returns whether a driver that knows a format, if any, may bind to a device.
///
/// The device is kept awake then, if it was preserved.
///
/// # Errors
///
/// `EBUSY` if it may not, `ENOMEM` if memory is short.
pub(crate) fn bind(device: &pci::Device, known: Option<Format>) -> Result {
    let Some(incoming) = Incoming::get() else {
        return Ok(());
    };

    incoming.with(device, |devices, standing, formats| {
        if plan::may_bind(standing, lu_pci::address(device), formats, known) {
            devices.keep_awake(device)
        } else {
            dev_warn!(device, "was preserved, and not for this driver\n");
            Err(EBUSY)
        }
    })
}

/// Ends the passage of a device, and of the bridges above it that no other device needs.
pub(crate) fn finish(device: &pci::Device) -> Result {
    let Some(incoming) = Incoming::get() else {
        return Ok(());
    };

    if let Some(drivers) = &incoming.drivers {
        drivers.lock().remove(device);
    }

    let mut devices = incoming.devices.lock();
    devices.finish(device)
}

/// Notes that a device was found.
pub(crate) fn enumerated(device: &pci::Device) {
    match DEVICES.incoming() {
        Ok(devices) => devices.lock().enumerated(device),
        Err(_) => drop_hand_over(device),
    }
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

/// Entries are few, and read and written where one may sleep.
impl<T> List<T> for KVec<T> {
    type Error = AllocError;

    fn append(&mut self, item: T) -> Result<(), AllocError> {
        self.push(item, GFP_KERNEL)
    }

    fn cut(&mut self, length: usize) {
        self.truncate(length);
    }
}
