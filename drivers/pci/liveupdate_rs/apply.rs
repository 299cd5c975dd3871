// SPDX-License-Identifier: GPL-2.0

//! Keeps the entries, for the next kernel and of the previous one.

mod arrival;
mod incoming;
mod numbers;
mod outgoing;
mod registers;
mod topology;
mod view;

pub(crate) use self::{
    arrival::enumerated,
    numbers::refuse_bus_numbers,
    registers::{
        adopt_acs,
        adopt_ari,
        check_reset,
        drops_write,
        goes_on,
        is_held,
        probed,
        take_over, //
    },
    topology::{
        freeze,
        proceeds,
        unfreeze, //
    },
    view::publish, //
};

use self::{
    incoming::{
        Devices as IncomingDevices,
        Drivers as IncomingDrivers,
        Probes as IncomingProbes, //
    },
    numbers::PRESERVED,
    outgoing::{
        Devices as OutgoingDevices,
        Drivers as OutgoingDrivers,
        Probes as OutgoingProbes, //
    },
};
use super::{
    entries::{
        Format,
        RawDevSer,
        RawDriverSer,
        RawProbeSer,
        RawSer, //
    },
    ffi,
    plan::{
        self,
        Formats,
        List,
        Standing, //
    }, //
};
use kernel::{
    alloc::AllocError,
    dev_warn_ratelimited,
    liveupdate::{
        self,
        pci::{
            self as lu_pci,
            Address, //
        },
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
    RawProbeSer,
    pci_probe_ser {
        domain,
        bdf,
        offset,
        value
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

/// The FLB of what writing to their registers would tell.
pub(crate) static PROBES: FlbCell<Probes> = FlbCell::new();

/// Whether the previous kernel preserved devices. Never cleared: the numbers of buses that the next
/// owner of a device relies on do not change when the device is finished.
static HAD_INCOMING: AtomicFlag = AtomicFlag::new(false);

/// Names the FLB.
pub(crate) struct Devices;

/// Names the FLB.
pub(crate) struct Drivers;

/// Names the FLB.
pub(crate) struct Probes;

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

    fn serialize(outgoing: &Self::Outgoing) {
        outgoing.lock().write();
        topology::proceed();
    }

    /// A record that cannot be read is no error, which LUO would repeat for ever. What is read once is not
    /// lost for want of memory: see [`incoming`].
    fn retrieve(handle: Handle) -> Result<Pin<KBox<Self::Incoming>>> {
        let mut incoming = IncomingDevices::read(handle);

        if !incoming.is_empty() {
            HAD_INCOMING.store(true, Relaxed);
        }
        PRESERVED.populate(incoming.take_preserved());
        KBox::pin_init(new_mutex!(incoming), GFP_KERNEL | __GFP_NOFAIL)
    }

    fn finish(incoming: Pin<KBox<Self::Incoming>>) {
        incoming.lock().let_go_left_over();
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

    fn serialize(outgoing: &Self::Outgoing) {
        outgoing.lock().write();
    }

    /// A record that cannot be read names no driver, so that none can bind.
    fn retrieve(handle: Handle) -> Result<Pin<KBox<Self::Incoming>>> {
        let incoming = IncomingDrivers::read(handle);

        KBox::pin_init(new_mutex!(incoming), GFP_KERNEL | __GFP_NOFAIL)
    }
}

#[vtable]
impl Flb for Probes {
    const COMPATIBLE: &'static CStr = ffi::PROBE_COMPATIBLE;

    type Outgoing = Mutex<OutgoingProbes>;
    type Incoming = Mutex<IncomingProbes>;

    fn preserve() -> Result<(Pin<KBox<Self::Outgoing>>, Handle)> {
        let outgoing = OutgoingProbes::new()?;
        let handle = outgoing.handle();

        Ok((KBox::pin_init(new_mutex!(outgoing), GFP_KERNEL)?, handle))
    }

    fn serialize(outgoing: &Self::Outgoing) {
        outgoing.lock().write();
    }

    /// A record that cannot be read says nothing of any device.
    fn retrieve(handle: Handle) -> Result<Pin<KBox<Self::Incoming>>> {
        let incoming = IncomingProbes::read(handle);

        KBox::pin_init(new_mutex!(incoming), GFP_KERNEL | __GFP_NOFAIL)
    }
}

/// Preserves a device whose driver knows this format, with a file that has this data.
///
/// # Errors
///
/// As `pci_liveupdate_preserve()`.
pub(crate) fn preserve(device: &pci::Device, format: Format, data: u64) -> Result {
    // Nobody enables virtual functions between the check and the entry.
    let locked = lu_pci::Locked::try_new(device).ok_or(EBUSY)?;

    if locked.has_virtual_functions() {
        dev_warn_ratelimited!(device, "cannot be preserved with virtual functions\n");
        return Err(EOPNOTSUPP);
    }
    add(device, format, data)
}

fn add(device: &pci::Device, format: Format, data: u64) -> Result {
    let devices = DEVICES.outgoing()?;
    let drivers = DRIVERS.outgoing()?;
    let probes = PROBES.outgoing()?;

    // What a bridge is told in ways of its own cannot be adopted.
    if lu_pci::path(device).any(ffi::has_specific_acs) {
        dev_warn_ratelimited!(
            device,
            "cannot be preserved: ACS is enabled by device-specific code\n"
        );
        return Err(EINVAL);
    }

    devices.lock().preserve(device)?;

    let result = describe(&probes, device).and_then(|()| drivers.lock().add(device, format, data));
    if result.is_err() {
        release(&devices, &probes, device)?;
    } else {
        ffi::trace_state(device, c"preserved");
    }
    result
}

/// Adds what is known of the registers of a device and the bridges above it, or some of that.
fn describe(probes: &Mutex<OutgoingProbes>, device: &pci::Device) -> Result {
    for device in lu_pci::path(device) {
        if !probes.lock().contains(device) {
            // Nobody waits for a device that is slow to answer.
            let known = outgoing::probes(device)?;

            probes.lock().add(device, known)?;
        }
    }
    Ok(())
}

/// Has a device that is preserved go on doing DMA across the kexec, and the bridges above it let it.
pub(crate) fn keep_mastering(device: &pci::Device) -> Result {
    let (devices, probes) = (DEVICES.outgoing()?, PROBES.outgoing()?);
    let mut devices = devices.lock();

    devices.keep_mastering(device)?;
    if !probes.lock().keep_mastering(device, true) {
        devices.stop_mastering(device)?;
        return Err(EOPNOTSUPP);
    }
    ffi::trace_state(device, c"keeps mastering");
    Ok(())
}

/// Has a device stopped before the kexec that was to keep bus mastering.
pub(crate) fn stop_mastering(device: &pci::Device) -> Result {
    let (devices, probes) = (DEVICES.outgoing()?, PROBES.outgoing()?);
    let mut devices = devices.lock();

    devices.stop_mastering(device)?;
    probes.lock().keep_mastering(device, false);
    Ok(())
}

/// Returns whether a device, or one below a bridge, goes on doing DMA across the kexec.
///
/// None does if the next kernel does not take it over, and then none is handed over as if it did.
pub(crate) fn keeps_mastering(device: &pci::Device) -> bool {
    let (Ok(devices), Ok(probes)) = (DEVICES.outgoing(), PROBES.outgoing()) else {
        return false;
    };
    let mut devices = devices.lock();

    if !devices.keeps_mastering(lu_pci::address(device)) {
        return false;
    }
    if liveupdate::stops_devices() {
        devices.stop_all_mastering();
        probes.lock().stop_all_mastering();
        return false;
    }
    true
}

/// Unpreserves a device, and the bridges above it that no other preserved device needs.
pub(crate) fn unpreserve(device: &pci::Device) -> Result {
    DRIVERS.outgoing()?.lock().remove(device);
    let (devices, probes) = (DEVICES.outgoing()?, PROBES.outgoing()?);

    release(&devices, &probes, device)?;
    ffi::trace_state(device, c"unpreserved");
    Ok(())
}

/// Removes a device, and the bridges above it that no other device needs.
fn release(
    devices: &Mutex<OutgoingDevices>,
    probes: &Mutex<OutgoingProbes>,
    device: &pci::Device,
) -> Result {
    let mut devices = devices.lock();

    devices.unpreserve(device)?;

    let mut probes = probes.lock();
    for address in lu_pci::path(device).map(lu_pci::address) {
        if !devices.contains(address) {
            probes.remove(address);
        }
    }
    Ok(())
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

    /// Calls `f` with what is left of it.
    fn with_all<R>(&self, f: impl FnOnce(&mut IncomingDevices, Formats<'_>) -> R) -> R {
        let mut devices = self.devices.lock();
        let drivers = self.drivers.as_ref().map(|drivers| drivers.lock());
        let formats = match &drivers {
            Some(drivers) => Formats::Known(drivers.entries()),
            None => Formats::Unknown,
        };

        f(&mut devices, formats)
    }

    /// Calls `f` with what a device was to the previous kernel, and how it was preserved.
    fn with<R>(
        &self,
        device: &pci::Device,
        f: impl FnOnce(&mut IncomingDevices, Standing, Formats<'_>) -> R,
    ) -> R {
        self.with_all(|devices, formats| {
            let standing = devices.standing(device, formats);
            f(devices, standing, formats)
        })
    }

    /// Returns whether a bridge was preserved at an address, and is not finished.
    fn holds_bridge(&self, address: Address) -> bool {
        self.with_all(|devices, formats| devices.holds_bridge(address, formats))
    }
}

/// Returns whether devices are preserved, or were by the previous kernel and are not finished.
pub(crate) fn is_anything_preserved() -> bool {
    // The FLB does not end if a file is given up that has no handler.
    let is_incoming = DEVICES
        .incoming()
        .is_ok_and(|devices| !devices.lock().is_empty());

    is_incoming || DEVICES.outgoing().is_ok()
}

/// Returns whether a device that was preserved was not found, or may be, unless it was finished before the
/// list of devices was.
pub(crate) fn has_missing() -> bool {
    if incoming::was_never_found() {
        return true;
    }
    match DEVICES.incoming() {
        Ok(devices) => {
            let has_missing = devices.lock().has_missing();
            has_missing
        }
        // What cannot be read may name any device.
        Err(err) => err != ENODATA && err != ENOENT,
    }
}

/// Returns whether a device is there that was preserved, and that is not finished. It is named in the log.
pub(crate) fn has_incoming() -> bool {
    let unfinished = match DEVICES.incoming() {
        Ok(devices) => {
            let unfinished = devices.lock().unfinished();
            unfinished
        }
        // What cannot be read may name any device.
        Err(err) => return err != ENODATA && err != ENOENT,
    };

    if let Some(device) = &unfinished {
        dev_warn_ratelimited!(
            &**device,
            "was preserved, and is not finished: write 1 to its liveupdate_stop in sysfs to stop it\n"
        );
    }
    unfinished.is_some()
}

/// Returns whether devices were preserved, though they may be finished.
pub(crate) fn had_incoming() -> bool {
    // What was handed over is read when it is asked for.
    drop(DEVICES.incoming());
    HAD_INCOMING.load(Relaxed)
}

/// Returns whether a device, or one below a bridge, was preserved and is not finished.
pub(crate) fn is_incoming(device: &pci::Device) -> bool {
    Incoming::get()
        .is_some_and(|incoming| incoming.with(device, |_, standing, _| standing.is_incoming()))
}

/// Returns whether a device, or one below a bridge, is preserved for the next kernel or was by the
/// previous one.
pub(crate) fn is_preserved(device: &pci::Device) -> bool {
    let is_outgoing = DEVICES
        .outgoing()
        .is_ok_and(|devices| devices.lock().contains(lu_pci::address(device)));

    is_outgoing || is_incoming(device)
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
/// `EBUSY` if it may not.
pub(crate) fn bind(device: &pci::Device, known: Option<Format>) -> Result {
    let Some(incoming) = Incoming::get() else {
        return Ok(());
    };

    incoming.with_all(|devices, formats| {
        // One that came late was not looked at, and has no resources to be enabled with.
        if !lu_pci::is_bridge(device) {
            devices.check_resources(device);
        }

        let standing = devices.standing(device, formats);
        if plan::may_bind(standing, lu_pci::address(device), formats, known) {
            devices.keep_awake(device);
            Ok(())
        } else {
            dev_warn!(device, "was preserved, and not for this driver\n");
            Err(EBUSY)
        }
    })
}

/// Returns whether [`bind`] would let a driver bind that knows a format, if any.
pub(crate) fn may_bind(device: &pci::Device, known: Option<Format>) -> bool {
    let Some(incoming) = Incoming::get() else {
        return true;
    };

    incoming.with(device, |_, standing, formats| {
        plan::may_bind(standing, lu_pci::address(device), formats, known)
    })
}

/// Looks after the regions of what was preserved, before this kernel assigns any.
pub(crate) fn check_resources() {
    if let Some(incoming) = Incoming::get() {
        incoming.devices.lock().check_all_resources();
    }
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

/// Stops a device that has no driver, and ends its passage.
///
/// # Errors
///
/// As `pci_liveupdate_end()`.
pub(crate) fn end(locks: &ffi::ResetLocks<'_>) -> Result {
    let device = locks.device();

    if !is_incoming(device) && !ffi::has_translation(device) {
        return Err(ENOENT);
    }
    if locks.is_bound() {
        dev_warn_ratelimited!(
            device,
            "is not stopped: it has a driver, unbind that or drop its session\n"
        );
        return Err(EBUSY);
    }

    lu_pci::stop_mastering(device);
    // Its reset writes to registers.
    take_over(device);
    locks.reset();
    ffi::end_translation(device);
    finish(device)?;
    dev_info!(
        device,
        "was stopped through sysfs, and is preserved no more\n"
    );
    Ok(())
}

/// Entries of this kernel's are few, and written where one may sleep. Whoever preserves a device gets the
/// error.
impl<T> List<T> for KVec<T> {
    type Error = AllocError;

    fn append(&mut self, item: T) -> Result<(), AllocError> {
        self.push(item, GFP_KERNEL)
    }

    fn cut(&mut self, length: usize) {
        self.truncate(length);
    }
}
