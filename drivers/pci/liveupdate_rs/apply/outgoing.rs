// SPDX-License-Identifier: GPL-2.0

//! What is to be handed over.

use super::super::{
    entries::{
        DriverEntry,
        Entry,
        Format,
        RawDevSer,
        RawDriverSer,
        RawSer,
        VERSION, //
    },
    plan::{
        self,
        Refusal, //
    },
};
use kernel::{
    liveupdate::{
        kho::{
            self,
            BlockSet, //
        },
        pci as lu_pci,
        Handle,
        Record, //
    },
    pci,
    prelude::*, //
};

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Busy => EBUSY,
            Refusal::NotPreserved => ENOENT,
            Refusal::TooMany => EOVERFLOW,
        }
    }
}

/// Entries where the next kernel finds them.
///
/// All files share them, so nobody is charged: there are not more of them than devices.
struct Table<R: Record> {
    blocks: BlockSet<R>,
    record: kho::Outgoing<RawSer>,
}

impl<R: Record> Table<R> {
    fn new() -> Result<Self> {
        let record = RawSer {
            version: VERSION,
            nr_devices: 0,
            devices: 0,
        };

        Ok(Self {
            blocks: BlockSet::new()?,
            record: kho::Outgoing::new(record, GFP_KERNEL)?,
        })
    }

    /// Stores entries in place of those before. Does not fail if there are not more of them.
    fn store(&mut self, entries: impl ExactSizeIterator<Item = R>) -> Result {
        let nr_devices = u32::try_from(entries.len())?;

        self.blocks.store(entries)?;
        self.record.nr_devices = nr_devices;
        self.record.devices = self.blocks.head();
        Ok(())
    }
}

/// The devices that are to be handed over.
pub(crate) struct Devices {
    /// What `table` holds, for reading.
    entries: KVec<Entry>,
    table: Table<RawDevSer>,
}

impl Devices {
    pub(super) fn new() -> Result<Self> {
        Ok(Self {
            entries: KVec::new(),
            table: Table::new()?,
        })
    }

    pub(super) fn handle(&self) -> Handle {
        self.table.record.handle()
    }

    /// Adds a device and the bridges above it, or else changes nothing.
    pub(super) fn preserve(&mut self, device: &pci::Device) -> Result {
        let path = lu_pci::path(device);
        let mut entries =
            KVec::with_capacity(self.entries.len() + path.clone().count(), GFP_KERNEL)?;
        entries.extend_from_slice(&self.entries, GFP_KERNEL)?;

        plan::preserve_path::<Error, _>(&mut entries, path.map(lu_pci::address))?;
        self.store(&entries)?;
        self.entries = entries;
        Ok(())
    }

    /// Removes a device, and the bridges above it that no other device needs. Needs no memory.
    pub(super) fn unpreserve(&mut self, device: &pci::Device) -> Result {
        let path = lu_pci::path(device).map(lu_pci::address);

        plan::release_path::<Error, _>(&mut self.entries, path)?;

        let entries = core::mem::take(&mut self.entries);
        let result = self.store(&entries);
        self.entries = entries;
        result
    }

    fn store(&mut self, entries: &[Entry]) -> Result {
        self.table
            .store(entries.iter().copied().map(RawDevSer::from))
    }
}

/// The drivers that can take over the devices.
pub(crate) struct Drivers {
    /// What `table` holds, for reading.
    entries: KVec<DriverEntry>,
    table: Table<RawDriverSer>,
}

impl Drivers {
    pub(super) fn new() -> Result<Self> {
        Ok(Self {
            entries: KVec::new(),
            table: Table::new()?,
        })
    }

    pub(super) fn handle(&self) -> Handle {
        self.table.record.handle()
    }

    /// Adds a device, or else changes nothing.
    pub(super) fn add(&mut self, device: &pci::Device, format: Format, data: u64) -> Result {
        let entry = DriverEntry {
            address: lu_pci::address(device),
            format,
            data,
        };

        self.entries.push(entry, GFP_KERNEL)?;
        self.store().inspect_err(|_| {
            self.entries.pop();
        })
    }

    /// Removes a device.
    pub(super) fn remove(&mut self, device: &pci::Device) {
        let address = lu_pci::address(device);

        self.entries.retain(|entry| entry.address != address);
        // Cannot fail: there are not more entries than before.
        let _ = self.store();
    }

    fn store(&mut self) -> Result {
        self.table
            .store(self.entries.iter().copied().map(RawDriverSer::from))
    }
}
