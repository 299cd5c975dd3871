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
    prelude::*,
    rbtree::{
        RBTree,
        RBTreeNode, //
    }, //
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

/// Entries where the next kernel finds them, once they are written down.
///
/// All files share them, so nobody is charged: there are not more of them than devices.
struct Table<R: Record> {
    blocks: BlockSet<R>,
    record: kho::Outgoing<RawSer>,
    /// The entries were written down.
    written: bool,
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
            written: false,
        })
    }

    /// Makes room for so many entries, or else changes nothing. Does not fail if there was as much.
    fn make_room(&mut self, count: usize) -> Result {
        u32::try_from(count)?;
        self.blocks.make_room(count)
    }

    /// Writes down all entries, of which there are `count`. Needs no memory.
    fn write(&mut self, count: usize, entries: impl Iterator<Item = R>) {
        // Cannot fail: there is room for as many as there are.
        let result = self.blocks.store(Counted {
            entries,
            left: count,
        });

        self.record.nr_devices = match result {
            // CAST: lossless, checked when room was made.
            Ok(()) => count as u32,
            // The next kernel quarantines all of them.
            Err(_) => u32::MAX,
        };
        self.record.devices = self.blocks.head();
        self.written = true;
    }
}

/// Entries of which it is known how many there are.
struct Counted<I> {
    entries: I,
    left: usize,
}

impl<I: Iterator> Iterator for Counted<I> {
    type Item = I::Item;

    fn next(&mut self) -> Option<I::Item> {
        self.left = self.left.checked_sub(1)?;
        self.entries.next()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl<I: Iterator> ExactSizeIterator for Counted<I> {}

/// The devices that are to be handed over.
pub(crate) struct Devices {
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

    /// Writes down all devices.
    pub(super) fn write(&mut self) {
        let entries = &self.entries;

        self.table
            .write(entries.len(), entries.iter().copied().map(RawDevSer::from));
    }

    /// Adds a device and the bridges above it, or else changes nothing.
    pub(super) fn preserve(&mut self, device: &pci::Device) -> Result {
        let path = lu_pci::path(device).map(lu_pci::address);
        let added = plan::added_by_path(&self.entries, path.clone())?;

        self.entries.reserve(added, GFP_KERNEL)?;
        self.table.make_room(self.entries.len() + added)?;
        // Cannot fail: there is room, and nothing is in the way.
        plan::preserve_path::<Error, _>(&mut self.entries, path)
    }

    /// Removes a device, and the bridges above it that no other device needs. Needs no memory.
    pub(super) fn unpreserve(&mut self, device: &pci::Device) -> Result {
        self.stop_mastering(device)?;

        let path = lu_pci::path(device).map(lu_pci::address);

        plan::release_path::<Error, _>(&mut self.entries, path)?;
        self.table.make_room(self.entries.len())
    }

    /// Has a device go on doing DMA, or else changes nothing.
    pub(super) fn keep_mastering(&mut self, device: &pci::Device) -> Result {
        if !self.contains(lu_pci::address(device)) {
            return Err(ENOENT);
        }

        let path = lu_pci::path(device).map(lu_pci::address);
        let added = plan::added_by_path(&self.mastering, path.clone())?;

        self.mastering.reserve(added, GFP_KERNEL)?;
        // Cannot fail: there is room, and nothing is in the way.
        plan::preserve_path::<Error, _>(&mut self.mastering, path)
    }

    /// Has a device lose bus mastering before the kexec, if it was to keep that. Needs no memory.
    pub(super) fn stop_mastering(&mut self, device: &pci::Device) -> Result {
        if self.keeps_mastering(lu_pci::address(device)) {
            let path = lu_pci::path(device).map(lu_pci::address);

            plan::release_path::<Error, _>(&mut self.mastering, path)?;
        }
        Ok(())
    }

    /// Has all devices lose bus mastering before the kexec. Needs no memory.
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
        for Entry { address, refcount } in &self.entries {
            match drivers.and_then(|drivers| drivers.format_of(*address)) {
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
}

/// The drivers that can take over the devices.
pub(crate) struct Drivers {
    entries: RBTree<Address, DriverEntry>,
    count: usize,
    table: Table<RawDriverSer>,
}

impl Drivers {
    pub(super) fn new() -> Result<Self> {
        Ok(Self {
            entries: RBTree::new(),
            count: 0,
            table: Table::new()?,
        })
    }

    pub(super) fn handle(&self) -> Handle {
        self.table.record.handle()
    }

    /// Writes down all drivers.
    pub(super) fn write(&mut self) {
        self.table.write(
            self.count,
            self.entries.values().copied().map(RawDriverSer::from),
        );
    }

    /// Returns the format that a device is preserved in.
    fn format_of(&self, address: Address) -> Option<Format> {
        Some(self.entries.get(&address)?.format)
    }

    /// Returns the addresses of all preserved devices.
    pub(super) fn addresses(&self) -> impl Iterator<Item = Address> + '_ {
        self.entries.keys().copied()
    }

    /// Returns the device that is preserved with the file of this handle, to be shown.
    pub(super) fn device_of(&self, handle: Handle) -> Option<Address> {
        self.entries
            .values()
            .find(|entry| entry.data == handle.get())
            .map(|entry| entry.address)
    }

    /// Adds a device, which there is nothing of, or else changes nothing.
    pub(super) fn add(&mut self, device: &pci::Device, format: Format, data: u64) -> Result {
        let address = lu_pci::address(device);
        let entry = DriverEntry {
            address,
            format,
            data,
        };
        let node = RBTreeNode::new(address, entry, GFP_KERNEL)?;

        self.table.make_room(self.count + 1)?;
        if self.entries.insert(node).is_none() {
            self.count += 1;
        }
        Ok(())
    }

    /// Removes a device. Needs no memory.
    pub(super) fn remove(&mut self, device: &pci::Device) {
        if self.entries.remove(&lu_pci::address(device)).is_some() {
            self.count -= 1;
            // Cannot fail: there are not more entries than before.
            let _ = self.table.make_room(self.count);
        }
    }
}

/// What writing to the registers of the devices would tell.
pub(crate) struct Probes {
    /// What is known of each device, in the order of registers.
    known: RBTree<Address, KVec<Probe>>,
    /// How many registers that are.
    count: usize,
    table: Table<RawProbeSer>,
}

impl Probes {
    pub(super) fn new() -> Result<Self> {
        Ok(Self {
            known: RBTree::new(),
            count: 0,
            table: Table::new()?,
        })
    }

    pub(super) fn handle(&self) -> Handle {
        self.table.record.handle()
    }

    /// Writes down all registers.
    pub(super) fn write(&mut self) {
        let entries = self.known.iter().flat_map(|(address, probes)| {
            probes.iter().map(|probe| ProbeEntry {
                address: *address,
                probe: *probe,
            })
        });

        self.table.write(self.count, entries.map(RawProbeSer::from));
    }

    /// Writes down all registers once more if they were before.
    ///
    /// Nothing is added or removed so late.
    fn rewrite(&mut self) {
        if self.table.written {
            self.write();
        }
    }

    /// Returns whether there is something of a device or a bridge.
    pub(super) fn contains(&self, device: &pci::Device) -> bool {
        self.known.get(&lu_pci::address(device)).is_some()
    }

    /// Adds what is known of a device or a bridge, or else changes nothing.
    pub(super) fn add(&mut self, device: &pci::Device, probes: KVec<Probe>) -> Result {
        let count = probes.len();
        let node = RBTreeNode::new(lu_pci::address(device), probes, GFP_KERNEL)?;

        self.table.make_room(self.count + count)?;
        self.count += count;
        // Somebody else may have added the bridge meanwhile.
        if let Some(node) = self.known.insert(node) {
            let (_, before) = node.to_key_value();
            self.count -= before.len();
        }
        Ok(())
    }

    /// Removes a device or a bridge, if there is something of it. Needs no memory.
    pub(super) fn remove(&mut self, address: Address) {
        if let Some(probes) = self.known.remove(&address) {
            self.count -= probes.len();
            // Cannot fail: there are not more entries than before.
            let _ = self.table.make_room(self.count);
        }
    }

    /// Notes whether a device goes on doing DMA. Returns whether that can be noted.
    pub(super) fn keep_mastering(&mut self, device: &pci::Device, keep: bool) -> bool {
        let noted = self
            .known
            .get_mut(&lu_pci::address(device))
            .is_some_and(|probes| plan::keep_mastering(probes, keep));

        self.rewrite();
        noted
    }

    /// Notes that no device goes on doing DMA.
    pub(super) fn stop_all_mastering(&mut self) {
        for probes in self.known.values_mut() {
            plan::keep_mastering(probes, false);
        }
        self.rewrite();
    }
}

/// Returns what is known of a device's registers, in the order of registers.
///
/// That is only what tells it from others if it has a resource of a size that no register has. The
/// next kernel then writes to them.
pub(super) fn probes(device: &pci::Device) -> Result<KVec<Probe>> {
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
