// SPDX-License-Identifier: GPL-2.0

//! Keeps the entries, for the next kernel and of the previous one.

use super::{
    entries::{
        BadRecord,
        Entry,
        RawDevSer,
        RawSer,
        VERSION, //
    },
    ffi,
    plan::{
        self,
        Refusal,
        Role,
        Step, //
    },
};
use kernel::{
    alloc::AllocError,
    liveupdate::{
        kho::{
            self,
            BlockSet,
            IncomingBlocks, //
        },
        pci::{
            self as address,
            Address, //
        },
        Flb,
        FlbCell,
        Handle,
        PhysRef, //
    },
    new_mutex,
    pci,
    prelude::*,
    sync::Mutex, //
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
    RawSer,
    pci_ser {
        version,
        nr_devices,
        devices
    }
);

/// The FLB that all preserved PCI devices share.
pub(crate) static DEVICES: FlbCell<Devices> = FlbCell::new();

/// Names the FLB.
pub(crate) struct Devices;

/// The devices that are to be handed over.
pub(crate) struct Outgoing {
    /// What `blocks` hold, for reading.
    entries: KVec<Entry>,
    blocks: BlockSet<RawDevSer>,
    record: kho::Outgoing<RawSer>,
}

/// The devices that were handed over.
pub(crate) struct Incoming {
    entries: KVec<Entry>,
    /// The addresses of `entries` at which no device was enumerated yet, in the same order.
    missing: KVec<Address>,
}

#[vtable]
impl Flb for Devices {
    const COMPATIBLE: &'static CStr = ffi::COMPATIBLE;

    type Outgoing = Mutex<Outgoing>;
    type Incoming = Mutex<Incoming>;

    fn preserve() -> Result<(Pin<KBox<Self::Outgoing>>, Handle)> {
        let outgoing = Outgoing {
            entries: KVec::new(),
            blocks: BlockSet::new()?,
            record: kho::Outgoing::new(RawSer {
                version: VERSION,
                nr_devices: 0,
                devices: 0,
            })?,
        };
        let handle = outgoing.record.handle();

        Ok((KBox::pin_init(new_mutex!(outgoing), GFP_KERNEL)?, handle))
    }

    /// A record that cannot be read names no device. It is no error, which LUO would repeat for ever
    /// and warn about in the end; only short memory is one.
    fn retrieve(handle: Handle) -> Result<Pin<KBox<Self::Incoming>>> {
        let incoming = match Incoming::read(handle) {
            Ok(incoming) => incoming,
            Err(ReadError::Memory(err)) if err == ENOMEM => return Err(err),
            Err(err) => {
                pr_err!("cannot take over preserved devices: {err:?}\n");
                Incoming::none()
            }
        };

        KBox::pin_init(new_mutex!(incoming), GFP_KERNEL)
    }

    fn finish(incoming: Pin<KBox<Self::Incoming>>) {
        for address in &incoming.lock().missing {
            pr_warn!("{address:?} was preserved, but was never found\n");
        }
    }
}

/// Why a record of the previous kernel is not used.
#[derive(Debug)]
enum ReadError {
    #[expect(dead_code, reason = "for the log")]
    Record(BadRecord),
    Memory(Error),
}

impl From<BadRecord> for ReadError {
    fn from(bad: BadRecord) -> Self {
        Self::Record(bad)
    }
}

impl From<Error> for ReadError {
    fn from(err: Error) -> Self {
        Self::Memory(err)
    }
}

impl From<AllocError> for ReadError {
    fn from(err: AllocError) -> Self {
        Self::Memory(err.into())
    }
}

impl Outgoing {
    /// Adds a device and the bridges above it.
    pub(crate) fn preserve(&mut self, device: &pci::Device) -> Result {
        let mut path = roles(device);
        let mut entries = KVec::with_capacity(
            self.entries.len() + path.clone().count(),
            GFP_KERNEL_ACCOUNT,
        )?;
        entries.extend_from_slice(&self.entries, GFP_KERNEL_ACCOUNT)?;

        path.try_for_each(
            |(address, role)| match plan::preserve(&entries, address, role) {
                Ok(step) => apply(&mut entries, step),
                Err(Refusal::Busy) => Err(EBUSY),
                Err(Refusal::TooMany) => Err(EOVERFLOW),
            },
        )?;

        self.store(&entries)?;
        self.entries = entries;
        Ok(())
    }

    /// Removes a device, and the bridges above it that no other device needs.
    pub(crate) fn unpreserve(&mut self, device: &pci::Device) -> Result {
        release(&mut self.entries, device)?;

        let entries = core::mem::take(&mut self.entries);
        let result = self.store(&entries);
        self.entries = entries;
        result
    }

    /// Writes the entries where the next kernel finds them.
    fn store(&mut self, entries: &[Entry]) -> Result {
        let nr_devices = u32::try_from(entries.len())?;

        self.blocks
            .store(entries.iter().copied().map(RawDevSer::from))?;
        self.record.nr_devices = nr_devices;
        self.record.devices = self.blocks.head();
        Ok(())
    }
}

impl Incoming {
    fn none() -> Self {
        Self {
            entries: KVec::new(),
            missing: KVec::new(),
        }
    }

    /// Reads what the previous kernel left, and frees it.
    fn read(handle: Handle) -> Result<Self, ReadError> {
        let record = PhysRef::<RawSer>::try_from(handle)?;
        record.peek()?.check_version()?;

        let record = record.restore()?;
        let blocks = IncomingBlocks::<RawDevSer>::restore(record.devices)?;

        let mut entries = KVec::new();
        for raw in blocks.entries() {
            if let Some(entry) = raw.entry()? {
                let step = plan::admit(&entries, entry)?;
                apply(&mut entries, step)?;
            }
        }
        record.check_count(entries.len())?;

        let mut missing = KVec::with_capacity(entries.len(), GFP_KERNEL)?;
        for entry in &entries {
            missing.push(entry.address, GFP_KERNEL)?;
        }

        Ok(Self { entries, missing })
    }

    /// Returns whether a device was preserved and is not finished.
    pub(crate) fn contains(&self, device: &pci::Device) -> bool {
        plan::find(&self.entries, address::address(device)).is_ok()
    }

    /// Notes that a device was enumerated.
    pub(crate) fn enumerated(&mut self, device: &pci::Device) {
        let address = address::address(device);

        self.missing.retain(|missing| *missing != address);
    }

    /// Ends the passage of a device, and of the bridges above it that no other device needs.
    ///
    /// The device is an ordinary one afterwards, whatever the previous kernel counted.
    pub(crate) fn finish(&mut self, device: &pci::Device) -> Result {
        for (address, role) in roles(device) {
            let step = match role {
                Role::Endpoint => plan::forget(&self.entries, address),
                Role::Bridge => plan::release(&self.entries, address),
            };

            if let Some(step) = step {
                apply(&mut self.entries, step)?;
            }
        }
        Ok(())
    }
}

/// The addresses of a device and of the bridges above it, with the part that they play.
fn roles(device: &pci::Device) -> impl Iterator<Item = (Address, Role)> + Clone + '_ {
    address::path(device)
        .enumerate()
        .map(|(distance, device)| match distance {
            0 => (address::address(device), Role::Endpoint),
            _ => (address::address(device), Role::Bridge),
        })
}

/// Releases a device and the bridges above it. Needs no memory.
fn release(entries: &mut KVec<Entry>, device: &pci::Device) -> Result {
    for (address, _) in roles(device) {
        let step = plan::release(entries, address).ok_or(ENOENT)?;

        apply(entries, step)?;
    }
    Ok(())
}

/// Does what was decided.
fn apply(entries: &mut KVec<Entry>, step: Step) -> Result {
    match step {
        Step::Add(index, entry) => {
            entries.push(entry, GFP_KERNEL_ACCOUNT)?;
            entries[index..].rotate_right(1);
        }
        Step::Count(index, refcount) => entries[index].refcount = refcount,
        Step::Remove(index) => {
            entries.remove(index)?;
        }
    }
    Ok(())
}
