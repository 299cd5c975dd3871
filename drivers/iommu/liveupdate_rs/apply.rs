// SPDX-License-Identifier: GPL-2.0

//! Keeps the objects, for the next kernel and of the previous one.

mod incoming;
mod outgoing;

pub(crate) use self::incoming::Which;

use self::{
    incoming::{
        Incoming,
        Pending, //
    },
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
        Handle,
        IncomingFlb, //
    },
    new_mutex,
    prelude::*,
    sync::{
        atomic::{
            AtomicFlag,
            Relaxed, //
        },
        Mutex,
        SetOnce, //
    },
};

/// The FLB of all that is preserved.
pub(crate) static IOMMUS: FlbCell<Iommus> = FlbCell::new();

/// Names the FLB.
pub(crate) struct Iommus;

/// The names of FLBs that other kernels hand over IOMMUs as, in layouts of theirs. See
/// `include/linux/kho/abi/iommu.h`.
const FOREIGN: [&CStr; 2] = [c"iommu-liveupdate", c"iommu-liveupdate-v1"];

/// The first one of [`FOREIGN`].
static FOREIGN_NEW: FlbCell<Foreign<0>> = FlbCell::new();

/// The second one of [`FOREIGN`].
static FOREIGN_OLD: FlbCell<Foreign<1>> = FlbCell::new();

/// Names an FLB that is not read.
struct Foreign<const INDEX: usize>;

#[vtable]
impl<const INDEX: usize> Flb for Foreign<INDEX> {
    const COMPATIBLE: &'static CStr = FOREIGN[INDEX];

    type Outgoing = ();
    type Incoming = ();

    /// Never called: no handler has files that share it.
    fn preserve() -> Result<(Pin<KBox<Self::Outgoing>>, Handle)> {
        Err(EOPNOTSUPP)
    }

    /// Says so. LUO keeps the error, and does not ask again.
    fn retrieve(_handle: Handle) -> Result<Pin<KBox<Self::Incoming>>> {
        pr_warn!(
            "no IOMMU is taken over: '{}' was handed over, in a layout of other kernels\n",
            FOREIGN[INDEX]
        );
        Err(EOPNOTSUPP)
    }
}

/// Returns what was handed over. What is there in its place in another layout is named in the log.
fn handed_over() -> Result<IncomingFlb<Iommus>> {
    IOMMUS.incoming().inspect_err(|err| {
        // There are FLBs, and this is none of them.
        if *err == ENOENT {
            let _ = FOREIGN_NEW.incoming();
            let _ = FOREIGN_OLD.incoming();
        }
    })
}

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

    /// A record that cannot be read is no error, which LUO would repeat for ever. What is read once is not
    /// lost for want of memory: see [`incoming`].
    fn retrieve(handle: Handle) -> Result<Pin<KBox<Self::Incoming>>> {
        let incoming = Incoming::read(handle);

        PASSENGERS.populate(Passenger::all(incoming.addresses())?);
        KBox::pin_init(new_mutex!(incoming), GFP_KERNEL | __GFP_NOFAIL)
    }

    /// Frees domains of devices that were removed, and could not be finished, and what was made for no
    /// device.
    fn finish(incoming: Pin<KBox<Self::Incoming>>) {
        let mut from = 0;

        while let Some(tables) = {
            let tables = incoming.lock().take_tables(Which::Lost, &mut from);
            tables
        } {
            incoming::free_tables(&tables);
        }
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

/// Unpreserves a domain, with which no device is preserved any more.
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

/// Unpreserves a device that was preserved with a domain.
pub(crate) fn unpreserve_device(domain: Domain, device: Device) -> Result {
    IOMMUS.outgoing()?.lock().unpreserve_device(domain, device)
}

/// Returns whether a device does not go on, or all in its IOMMU group do.
pub(crate) fn is_group_whole(device: Device) -> bool {
    IOMMUS
        .outgoing()
        .map_or(true, |outgoing| outgoing.lock().is_group_whole(device))
}

/// Returns whether a device does not go on, or its IOMMU still has for it what was preserved.
pub(crate) fn is_unchanged(device: Device) -> bool {
    IOMMUS
        .outgoing()
        .map_or(true, |outgoing| outgoing.lock().is_unchanged(device))
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
    let incoming = handed_over().ok()?;
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
    let incoming = handed_over()?;
    let found = incoming.lock().iommu(kind, token);

    found.ok_or(ENOENT)
}

/// Returns the records of a device of an IOMMU and of its domain, by a number.
pub(crate) fn device(
    iommu_phys: u64,
    index: usize,
) -> Result<(RawDeviceSer, Option<RawDomainSer>)> {
    let incoming = handed_over()?;
    let found = incoming.lock().device(iommu_phys, index);

    found.ok_or(ENOENT)
}

/// Calls `f` with each device that had a domain, and is not finished.
pub(crate) fn for_each_device_of(phys: u64, f: impl Fn(Device)) {
    let Ok(incoming) = handed_over() else {
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
            ffi::keep_devices(|| {
                if let Some(device) = Device::of(&pci) {
                    f(device);
                }
            });
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

/// Notes that what an IOMMU has of devices can be taken away from now on, or was.
pub(crate) fn set_contained(kind: u64, token: u64) {
    if let Ok(incoming) = IOMMUS.incoming() {
        incoming.lock().set_contained(kind, token);
    }
}

/// Returns whether devices that were handed over can be kept from memory.
pub(crate) fn can_end() -> bool {
    let Ok(incoming) = IOMMUS.incoming() else {
        return true;
    };
    let uncontained = incoming.lock().uncontained();

    if let Some(token) = uncontained {
        if kernel::liveupdate_may_log!() {
            pr_warn!(
                "IOMMU at {token:#x} was handed over, and this kernel has no driver for it: what it maps is not given back before the machine is reset\n"
            );
        }
    }
    uncontained.is_none()
}

/// Returns whether an IOMMU may still translate for a device that is not finished. One such is named in
/// the log.
pub(crate) fn has_incoming() -> bool {
    let unfinished = match IOMMUS.incoming() {
        Ok(incoming) => {
            let unfinished = incoming.lock().unfinished();
            unfinished
        }
        // What cannot be read may say anything.
        Err(err) => return err != ENODATA && err != ENOENT,
    };

    if let Some(address) = unfinished {
        if kernel::liveupdate_may_log!() {
            pr_warn!(
                "{address:?} still has the translation that was handed over: write 1 to its liveupdate_stop in sysfs\n"
            );
        }
    }
    unfinished.is_some()
}

/// A device whose translation was handed over.
struct Passenger {
    address: Address,
    /// Nobody could ever stop it: an IOMMU keeps it from memory.
    cut_off: AtomicFlag,
}

/// The devices whose translations were handed over, in the order of their addresses. Kept for good: a
/// device can be found when nothing else of the hand-over is left.
static PASSENGERS: SetOnce<KVVec<Passenger>> = SetOnce::new();

impl Passenger {
    /// Lists devices by their addresses, which are in this order.
    fn all(addresses: impl Iterator<Item = Address>) -> Result<KVVec<Self>> {
        let mut all = KVVec::new();

        for address in addresses {
            let cut_off = AtomicFlag::new(false);

            all.push(Self { address, cut_off }, GFP_KERNEL | __GFP_NOFAIL)?;
        }
        Ok(all)
    }

    fn find(address: Address) -> Option<&'static Self> {
        let all = PASSENGERS.as_ref()?;
        let at = all.binary_search_by_key(&address, |one| one.address).ok()?;

        Some(&all[at])
    }
}

/// Returns whether a device was cut off from memory, since this kernel had not found it.
pub(crate) fn was_cut_off(address: Address) -> bool {
    Passenger::find(address).is_some_and(|passenger| passenger.cut_off.load(Relaxed))
}

/// Returns whether a device that was handed over may do DMA, and nobody can stop it: this kernel did not
/// find it. If so, a line in the log says what to do.
///
/// The next kernel would know nothing of it, and turn translation off.
pub(crate) fn has_beyond_reach() -> bool {
    let pending = IOMMUS.incoming().ok().and_then(|incoming| {
        let address = incoming.lock().beyond_reach();
        address
    });
    // One that is found late is stopped.
    let is_cut_off =
        |one: &&Passenger| one.cut_off.load(Relaxed) && lu_pci::find(one.address).is_none();
    let cut_off = || {
        let one = PASSENGERS.as_ref()?.iter().find(is_cut_off)?;

        Some(one.address)
    };
    let Some(address) = pending.or_else(cut_off) else {
        return false;
    };

    pr_warn!(
        "{address:?} was handed over and not found, it may do DMA in the next kernel: find it, or reset the machine\n"
    );
    true
}

/// Notes who has a domain that was handed over.
pub(crate) fn set_owner(phys: u64, owner: usize) {
    if let Ok(incoming) = IOMMUS.incoming() {
        incoming.lock().set_owner(phys, owner);
    }
}

/// Ends the passage of all devices of certain domains which nobody ended, and frees the tables of the
/// domains: no IOMMU walks them afterwards.
pub(crate) fn end(which: Which) {
    let Ok(incoming) = IOMMUS.incoming() else {
        return;
    };

    // One by one: the locks of groups come before that of the records.
    let mut from = 0;
    loop {
        let next = incoming.lock().next_pending(which, from);
        let Some(pending) = next else {
            break;
        };

        from = pending.at + 1;
        ffi::keep_devices(|| {
            if !keep_from_memory(&pending) {
                return;
            }
            let domain = incoming.lock().finish_at(pending.at);
            // It may have been found meanwhile: too late for it.
            let found = pending.address.and_then(lu_pci::find);
            if let Some(device) = found.as_deref().and_then(Device::of) {
                let _ = device.release_group();
            }
            if let Some(domain) = domain {
                domain.free();
            }
        });
    }

    let mut from = 0;
    loop {
        let next = incoming.lock().take_tables(which, &mut from);
        let Some(tables) = next else {
            break;
        };

        incoming::free_tables(&tables);
    }
}

/// Keeps a device that nobody ended from all that was handed over for it. Returns whether nobody has
/// its domain any more.
fn keep_from_memory(pending: &Pending) -> bool {
    let Some(address) = pending.address else {
        // No IOMMU took over anything for it.
        return true;
    };
    let found = lu_pci::find(address);

    if let Some(device) = found.as_deref().and_then(Device::of) {
        stop(device);
        if let Err(err) = device.release_group() {
            pr_err!("{address:?} keeps the translation that was handed over: {err:?}\n");
            return false;
        }
        return true;
    }

    if let Some((kind, token)) = pending.iommu {
        ffi::end_device(kind, token, address.bdf());
        pr_warn!("{address:?} was not found: it loses the translation that was handed over\n");
    }
    if pending.is_beyond_reach {
        if let Some(passenger) = Passenger::find(address) {
            passenger.cut_off.store(true, Relaxed);
        }
    }
    true
}

/// Prepares to free a domain.
pub(crate) fn release_domain(domain: Domain) {
    incoming::release(domain);
}
