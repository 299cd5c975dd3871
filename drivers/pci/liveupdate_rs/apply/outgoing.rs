// SPDX-License-Identifier: GPL-2.0

//! What is to be handed over.

use super::super::{
    entries::{
        DriverEntry,
        Entry,
        Format,
        Probe,
        ProbeEntry,
        RawDevSer,
        RawDriverSer,
        RawProbeSer,
        RawSer,
        MAX_PROBES_OF_ONE,
        VERSION, //
    },
    ffi::{
        self,
        Bar, //
    },
    plan::{
        self,
        Formats,
        Refusal,
        COMMAND,
        IDENTITY, //
    },
    probes::{
        self,
        INTX_DISABLE,
        PREF_BASE_UPPER32, //
    }, //
};
use kernel::{
    dev_warn_ratelimited,
    fmt,
    liveupdate::{
        kho::{
            self,
            BlockSet, //
        },
        pci::{
            self as lu_pci,
            Address, //
        },
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
    /// Those of them that go on doing DMA, and the bridges above these.
    mastering: KVec<Entry>,
    table: Table<RawDevSer>,
}

impl Devices {
    pub(super) fn new() -> Result<Self> {
        Ok(Self {
            entries: KVec::new(),
            mastering: KVec::new(),
            table: Table::new()?,
        })
    }

    pub(super) fn handle(&self) -> Handle {
        self.table.record.handle()
    }

    /// Adds a device and the bridges above it, or else changes nothing.
    pub(super) fn preserve(&mut self, device: &pci::Device) -> Result {
        let entries = with_path(&self.entries, device)?;

        self.store(&entries)?;
        self.entries = entries;
        Ok(())
    }

    /// Removes a device, and the bridges above it that no other device needs. Needs no memory.
    pub(super) fn unpreserve(&mut self, device: &pci::Device) -> Result {
        self.stop_mastering(device)?;

        let path = lu_pci::path(device).map(lu_pci::address);

        plan::release_path::<Error, _>(&mut self.entries, path)?;

        let entries = core::mem::take(&mut self.entries);
        let result = self.store(&entries);
        self.entries = entries;
        result
    }

    /// Has a device go on doing DMA, or else changes nothing.
    pub(super) fn keep_mastering(&mut self, device: &pci::Device) -> Result {
        if !self.contains(lu_pci::address(device)) {
            return Err(ENOENT);
        }
        self.mastering = with_path(&self.mastering, device)?;
        Ok(())
    }

    /// Undoes it, if it was done. Needs no memory.
    pub(super) fn stop_mastering(&mut self, device: &pci::Device) -> Result {
        if self.keeps_mastering(lu_pci::address(device)) {
            let path = lu_pci::path(device).map(lu_pci::address);

            plan::release_path::<Error, _>(&mut self.mastering, path)?;
        }
        Ok(())
    }

    /// Undoes it for all devices. Needs no memory.
    pub(super) fn stop_all_mastering(&mut self) {
        self.mastering.clear();
    }

    /// Returns whether a device, or one below a bridge, goes on doing DMA.
    pub(super) fn keeps_mastering(&self, address: Address) -> bool {
        plan::find(&self.mastering, address).is_ok()
    }

    /// Shows what is preserved, a line for each device and bridge.
    pub(super) fn show(
        &self,
        f: &mut fmt::Formatter<'_>,
        drivers: Option<&Drivers>,
    ) -> fmt::Result {
        let formats = drivers.map_or(Formats::Unknown, |drivers| Formats::Known(&drivers.entries));

        for Entry { address, refcount } in &self.entries {
            match formats.of(*address) {
                Some(format) => {
                    f.write_fmt(fmt!("  device {address:?}: preserved, {format}"))?;
                }
                None => write!(f, "  bridge {address:?}: preserved, for {refcount}")?,
            }
            if self.keeps_mastering(*address) {
                f.write_str(", keeps mastering")?;
            }
            writeln!(f)?;
        }
        Ok(())
    }

    /// Returns whether a device, or one below a bridge, is preserved.
    pub(super) fn contains(&self, address: Address) -> bool {
        plan::find(&self.entries, address).is_ok()
    }

    fn store(&mut self, entries: &[Entry]) -> Result {
        self.table
            .store(entries.iter().copied().map(RawDevSer::from))
    }
}

/// Returns entries with a device more, and the bridges above it.
fn with_path(entries: &[Entry], device: &pci::Device) -> Result<KVec<Entry>> {
    let path = lu_pci::path(device);
    let mut with = KVec::with_capacity(entries.len() + path.clone().count(), GFP_KERNEL)?;

    with.extend_from_slice(entries, GFP_KERNEL)?;
    plan::preserve_path::<Error, _>(&mut with, path.map(lu_pci::address))?;
    Ok(with)
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

    /// Returns the device that is preserved with the file of this handle.
    pub(super) fn device_of(&self, handle: Handle) -> Option<Address> {
        plan::device_of(&self.entries, handle.get())
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

/// What writing to the registers of the devices would tell.
pub(crate) struct Probes {
    /// What `table` holds, for reading.
    entries: KVec<ProbeEntry>,
    table: Table<RawProbeSer>,
}

impl Probes {
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
    pub(super) fn add(&mut self, device: &pci::Device) -> Result {
        let most = lu_pci::path(device).count() * MAX_PROBES_OF_ONE;
        let mut entries = KVec::with_capacity(self.entries.len() + most, GFP_KERNEL)?;
        entries.extend_from_slice(&self.entries, GFP_KERNEL)?;

        for device in lu_pci::path(device) {
            let address = lu_pci::address(device);
            let at = plan::probes_of(&entries, address);

            if at.is_empty() {
                let old = entries.len();

                for probe in probes(device)? {
                    entries.push(ProbeEntry { address, probe }, GFP_KERNEL)?;
                }
                let added = entries.len() - old;
                entries[at.start..].rotate_right(added);
            }
        }

        self.store(&entries)?;
        self.entries = entries;
        Ok(())
    }

    /// Notes whether a device goes on doing DMA. Returns whether that can be noted.
    pub(super) fn keep_mastering(&mut self, device: &pci::Device, keep: bool) -> bool {
        let address = lu_pci::address(device);
        let mut entries = core::mem::take(&mut self.entries);

        let noted = plan::keep_mastering(&mut entries, address, keep);
        // Cannot fail: there are not more entries than before.
        let _ = self.store(&entries);
        self.entries = entries;
        noted
    }

    /// Notes that no device goes on doing DMA.
    pub(super) fn stop_all_mastering(&mut self) {
        let mut entries = core::mem::take(&mut self.entries);

        plan::stop_all_mastering(&mut entries);
        // Cannot fail: there are not more entries than before.
        let _ = self.store(&entries);
        self.entries = entries;
    }

    /// Removes all devices but those that are to stay.
    pub(super) fn retain(&mut self, stays: impl Fn(Address) -> bool) {
        let mut entries = core::mem::take(&mut self.entries);

        entries.retain(|entry| stays(entry.address));
        // Cannot fail: there are not more entries than before.
        let _ = self.store(&entries);
        self.entries = entries;
    }

    fn store(&mut self, entries: &[ProbeEntry]) -> Result {
        self.table
            .store(entries.iter().copied().map(RawProbeSer::from))
    }
}

/// Returns what is known of a device's registers, in the order of registers.
///
/// That is only what tells it from others if it has a resource of a size that no register has. The
/// next kernel then writes to them.
fn probes(device: &pci::Device) -> Result<KVec<Probe>> {
    let mut probes = KVec::with_capacity(MAX_PROBES_OF_ONE, GFP_KERNEL)?;
    let intx = if ffi::can_disable_intx(device) {
        INTX_DISABLE
    } else {
        0
    };

    let [device_id, class] = IDENTITY;
    push(&mut probes, device_id, ffi::read_config(device, device_id))?;
    push(&mut probes, COMMAND, intx)?;
    push(&mut probes, class, ffi::read_config(device, class))?;

    let mut known = true;
    let mut window = ffi::has_wide_window(device);
    for bar in ffi::bars(device) {
        if window && bar.register > PREF_BASE_UPPER32 {
            push(&mut probes, PREF_BASE_UPPER32, u32::MAX)?;
            window = false;
        }
        known &= push_bar(&mut probes, device, &bar)?;
    }
    if window {
        push(&mut probes, PREF_BASE_UPPER32, u32::MAX)?;
    }

    if let Some(sriov) = ffi::sriov(device) {
        push(&mut probes, sriov.num_vf, sriov.max_buses.into())?;
        for bar in sriov.bars.iter().flatten() {
            known &= push_bar(&mut probes, device, bar)?;
        }
    }

    if !known {
        dev_warn_ratelimited!(
            device,
            "has a resource of a strange size: the next kernel will write to its registers\n"
        );
        probes.retain(|probe| IDENTITY.contains(&probe.register));
    }
    Ok(probes)
}

fn push(probes: &mut KVec<Probe>, register: u16, value: u32) -> Result {
    Ok(probes.push(Probe { register, value }, GFP_KERNEL)?)
}

/// Adds what is known of a register with the address of a resource, and of the one after it that
/// has the upper half. Returns whether something is.
fn push_bar(probes: &mut KVec<Probe>, device: &pci::Device, bar: &Bar) -> Result<bool> {
    let now = ffi::read_config(device, bar.register);
    let Some(ones) = probes::ones(bar.kind, bar.size, now) else {
        return Ok(false);
    };

    push(probes, bar.register, ones.low)?;
    if let Some(high) = ones.high {
        push(probes, bar.register + 4, high)?;
    }
    Ok(true)
}
