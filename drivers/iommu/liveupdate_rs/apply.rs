// SPDX-License-Identifier: GPL-2.0

//! Keeps the objects, for the next kernel and of the previous one.

mod incoming;
mod outgoing;

use self::{
    incoming::Incoming,
    outgoing::Outgoing, //
};
use super::ffi::{
    self,
    Device,
    Domain, //
};
use kernel::{
    liveupdate::{
        iommu::{
            RawDeviceSer,
            RawDomainSer,
            RawHwSer, //
        },
        pci::{
            self as lu_pci,
            Address, //
        },
        Flb,
        FlbCell,
        Handle, //
    },
    new_mutex,
    prelude::*,
    sync::Mutex, //
};

/// The FLB of all that is preserved.
pub(crate) static IOMMUS: FlbCell<Iommus> = FlbCell::new();

/// Names the FLB.
pub(crate) struct Iommus;

#[vtable]
impl Flb for Iommus {
    const COMPATIBLE: &'static CStr = ffi::COMPATIBLE;

    type Outgoing = Mutex<Outgoing>;
    type Incoming = Mutex<Incoming>;

    fn preserve() -> Result<(Pin<KBox<Self::Outgoing>>, Handle)> {
        let outgoing = Outgoing::new()?;
        let handle = outgoing.handle();

        Ok((KBox::pin_init(new_mutex!(outgoing), GFP_KERNEL)?, handle))
    }

    /// A record that cannot be read is no error, which LUO would repeat for ever.
    fn retrieve(handle: Handle) -> Result<Pin<KBox<Self::Incoming>>> {
        let incoming = Incoming::read(handle);

        KBox::pin_init(new_mutex!(incoming), GFP_KERNEL)
    }

    /// Frees domains of devices that were removed, and could not be finished.
    fn finish(incoming: Pin<KBox<Self::Incoming>>) {
        let left_over = incoming.lock().left_over();

        for domain in left_over {
            domain.free();
        }
    }
}

/// Preserves a domain, and returns where its record is.
pub(crate) fn preserve_domain(domain: Domain) -> Result<u64> {
    // Tables that were handed over are this kernel's before they are preserved again.
    incoming::adopt(domain)?;

    let outgoing = IOMMUS.outgoing()?;
    let tables = outgoing.lock().preserve_domain(domain)?;

    // How many there are is up to whoever maps things. Others do not wait for that.
    match tables.preserve() {
        Ok(count) => outgoing.lock().domain_preserved(domain, count),
        Err(err) => {
            outgoing.lock().forget_domain(domain);
            Err(err)
        }
    }
}

/// Undoes it.
pub(crate) fn unpreserve_domain(domain: Domain) -> Result {
    let outgoing = IOMMUS.outgoing()?;
    let (tables, count) = outgoing.lock().unpreserve_domain(domain)?;

    tables.unpreserve(count);
    outgoing.lock().forget_domain(domain);
    Ok(())
}

/// Preserves a device that is attached to a domain that is preserved.
pub(crate) fn preserve_device(domain: Domain, device: Device, owner: u64) -> Result {
    IOMMUS
        .outgoing()?
        .lock()
        .preserve_device(domain, device, owner)
}

/// Undoes it.
pub(crate) fn unpreserve_device(domain: Domain, device: Device) -> Result {
    IOMMUS.outgoing()?.lock().unpreserve_device(domain, device)
}

/// Returns whether a device does not go on, or all in its IOMMU group do.
pub(crate) fn is_group_whole(device: Device) -> bool {
    IOMMUS
        .outgoing()
        .map_or(true, |outgoing| outgoing.lock().is_group_whole(device))
}

/// Has what goes on doing DMA keep its translations when IOMMUs are shut down.
pub(crate) fn prepare_kexec() {
    // There is none if nothing is preserved.
    if let Ok(outgoing) = IOMMUS.outgoing() {
        outgoing.lock().prepare_kexec();
    }
}

/// Calls `f` with what was handed over, and the address of a device.
fn with_incoming<R>(device: Device, f: impl FnOnce(&mut Incoming, Address) -> R) -> Option<R> {
    let incoming = IOMMUS.incoming().ok()?;
    let address = lu_pci::address(device.pci()?);
    let mut incoming = incoming.lock();

    Some(f(&mut incoming, address))
}

/// Returns whether a device was preserved and is not finished.
pub(crate) fn was_preserved(device: Device) -> bool {
    with_incoming(device, Incoming::has).unwrap_or(false)
}

/// Returns the domain that a device had.
pub(crate) fn restore(device: Device) -> Result<Domain> {
    with_incoming(device, |incoming, address| {
        incoming.restore(device, address)
    })
    .ok_or(ENOENT)?
}

/// Takes away what a device had, and keeps it from doing DMA.
pub(crate) fn block(device: Device) {
    with_incoming(device, Incoming::give_up);
    incoming::block(device);
}

/// Returns the record of an IOMMU, and where it was.
pub(crate) fn iommu(kind: u64, token: u64) -> Result<(u64, RawHwSer)> {
    let incoming = IOMMUS.incoming()?;
    let found = incoming.lock().iommu(kind, token);

    found.ok_or(ENOENT)
}

/// Returns the records of a device of an IOMMU and of its domain, by a number.
pub(crate) fn device(
    iommu_phys: u64,
    index: usize,
) -> Result<(RawDeviceSer, Option<RawDomainSer>)> {
    let incoming = IOMMUS.incoming()?;
    let found = incoming.lock().device(iommu_phys, index);

    found.ok_or(ENOENT)
}

/// Calls `f` with each device that had a domain, and is not finished.
pub(crate) fn for_each_device_of(phys: u64, f: impl Fn(Device)) {
    let Ok(incoming) = IOMMUS.incoming() else {
        return;
    };

    // One by one: the locks of groups come before that of the records.
    let mut index = 0;
    loop {
        let next = incoming.lock().next_of(phys, index);
        let Some((at, address)) = next else {
            break;
        };

        if let Some(pci) = lu_pci::find(address) {
            if let Some(device) = Device::of(&pci) {
                f(device);
            }
        }
        index = at + 1;
    }
}

/// Keeps a device from doing DMA.
pub(crate) fn stop(device: Device) {
    if let Some(pci) = device.pci() {
        lu_pci::stop_mastering(pci);
    }
}

/// Ends the passage of a device.
pub(crate) fn finish(device: Device) -> Result {
    if !was_preserved(device) {
        return Ok(());
    }

    device.release_group()?;
    if let Some(domain) = with_incoming(device, Incoming::finish).flatten() {
        domain.free();
    }
    Ok(())
}

/// Prepares to free a domain.
pub(crate) fn release_domain(domain: Domain) {
    incoming::release(domain);
}
