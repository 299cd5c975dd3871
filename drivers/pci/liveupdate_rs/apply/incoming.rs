// SPDX-License-Identifier: GPL-2.0

//! What was handed over.
//!
//! It is read once, when it is first asked for. If memory were short just then, devices would be strangers
//! until the next reboot. So that is waited for: there is not more than the previous kernel had memory for.

mod known;
mod table;

pub(super) use self::known::{
    Drivers,
    Probes, //
};

use self::table::{
    open,
    Once,
    ReadError, //
};
use super::{
    super::{
        entries::{
            Entry,
            RawDevSer, //
        },
        ffi,
        kept::Kept,
        plan::{
            self,
            Finding,
            Formats,
            List,
            Role,
            Standing, //
        },
        regions::Region,
    },
    numbers::Preserved, //
};
use kernel::{
    fmt,
    liveupdate::{
        self,
        pci::{
            self as lu_pci,
            Address,
            Awake, //
        },
        Handle, //
    },
    pci,
    prelude::*,
    rbtree::RBTree,
    sync::{
        aref::ARef,
        atomic::{
            AtomicFlag,
            Relaxed, //
        }, //
    },
};

/// A device was not found for as long as the list of devices was there.
static NEVER_FOUND: AtomicFlag = AtomicFlag::new(false);

/// Returns whether a device was not found for as long as the list of devices was there.
pub(super) fn was_never_found() -> bool {
    NEVER_FOUND.load(Relaxed)
}

/// What became of a device or bridge that was handed over.
struct Fate {
    address: Address,
    /// One was enumerated at the address.
    found: bool,
    /// It is bound, or above one that is.
    awake: Option<Awake>,
}

/// What was enumerated, as far as the address says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// Nothing that was preserved.
    Other,
    /// What was preserved.
    First,
    /// What is there now, after what was preserved, or what came after that, was removed.
    Again,
}

/// The devices that were handed over and are not finished.
pub(crate) struct Devices {
    entries: Once<Entry>,
    /// The addresses that `entries` had in the beginning, in the same order.
    fates: Once<Fate>,
    /// The same, to be handed out.
    preserved: KVec<Preserved>,
    /// What the previous kernel says of these cannot be believed: no driver may bind. In the order of
    /// addresses.
    quarantined: Once<Address>,
    /// Why some of them are, and why all others are.
    reasons: RBTree<Address, &'static str>,
    reason_for_all: Option<&'static str>,
    /// It is not known which devices were handed over.
    unreadable: bool,
}

impl Devices {
    fn none() -> Self {
        Self {
            entries: Once::new(),
            fates: Once::new(),
            preserved: KVec::new(),
            quarantined: Once::new(),
            reasons: RBTree::new(),
            reason_for_all: None,
            unreadable: false,
        }
    }

    /// Reads what the previous kernel left, and frees it.
    pub(super) fn read(handle: Handle) -> Self {
        Self::try_read(handle).unwrap_or_else(|err| {
            pr_err!("the preserved devices are not known: {err}; those that do DMA are stopped\n");
            Self {
                unreadable: true,
                ..Self::none()
            }
        })
    }

    fn try_read(handle: Handle) -> Result<Self, ReadError> {
        let (record, blocks) = open::<RawDevSer>(handle)?;
        let mut this = Self::none();

        plan::read::<ReadError, _, _>(
            &record,
            blocks.entries(),
            &mut this.entries,
            &mut this.quarantined,
            |finding| {
                match finding {
                    Finding::Twice(address) => {
                        note_reason(&mut this.reasons, address, "it has two entries");
                    }
                    Finding::All(_) => this.reason_for_all = Some("the list has a wrong count"),
                    Finding::Ignored(_) => (),
                }
                // There is one at most that is about all devices.
                if matches!(finding, Finding::All(_)) || kernel::liveupdate_may_log!() {
                    pr_err!("{finding}\n");
                }
            },
        )?;

        for entry in this.entries.iter() {
            this.preserved
                .push(Preserved::new(entry.address), GFP_KERNEL | __GFP_NOFAIL)?;
            this.fates.append(Fate {
                address: entry.address,
                found: false,
                awake: None,
            })?;
        }
        Ok(this)
    }

    /// Returns where among the fates that of a device is, if it was handed over.
    fn fate(&self, address: Address) -> Option<usize> {
        self.fates
            .binary_search_by_key(&address, |fate| fate.address)
            .ok()
    }

    /// Returns whether it is certain that no device was handed over.
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.quarantined.is_empty() && !self.unreadable
    }

    /// Hands out what is to be remembered for good.
    pub(super) fn take_preserved(&mut self) -> KVec<Preserved> {
        core::mem::take(&mut self.preserved)
    }

    /// Returns whether there is an entry of a bridge at this address.
    pub(super) fn holds_bridge(&self, address: Address, formats: Formats<'_>) -> bool {
        plan::holds_bridge(&self.entries, address, formats)
    }

    /// Returns a device that is there and is not finished, other than a bridge.
    pub(super) fn unfinished(&self) -> Option<ARef<pci::Device>> {
        let listed = self.entries.iter().map(|entry| entry.address);
        // By its name, for there is another `chain` in the prelude.
        let all = Iterator::chain(listed, self.quarantined.iter().copied());

        all.filter_map(lu_pci::find)
            .find(|device| !lu_pci::is_bridge(device))
    }

    /// Returns whether there is an entry of this address.
    fn contains(&self, address: Address) -> bool {
        plan::find(&self.entries, address).is_ok()
    }

    /// Returns what a device was to the previous kernel.
    pub(super) fn standing(&self, device: &pci::Device, formats: Formats<'_>) -> Standing {
        self.standing_at(lu_pci::address(device), Some(device), formats)
    }

    /// Returns what the device at an address was to the previous kernel, whether it was found or not.
    fn standing_at(
        &self,
        address: Address,
        found: Option<&pci::Device>,
        formats: Formats<'_>,
    ) -> Standing {
        plan::standing(
            &self.entries,
            &self.quarantined,
            address,
            found.is_some_and(lu_pci::is_bridge),
            formats.names(address),
        )
    }

    /// Notes that a device was enumerated.
    pub(super) fn enumerated(&mut self, device: &pci::Device) -> Found {
        let Some(index) = self.fate(lu_pci::address(device)) else {
            return Found::Other;
        };
        let fate = &mut self.fates[index];

        // There may have been another one, which was removed.
        fate.awake = None;
        match core::mem::replace(&mut fate.found, true) {
            false => Found::First,
            true => Found::Again,
        }
    }

    /// Sees to it that a device does no DMA that nobody handed over what it needs for.
    ///
    /// `goes_on` says that somebody did.
    pub(super) fn stop_suspect(
        &mut self,
        device: &pci::Device,
        formats: Formats<'_>,
        goes_on: bool,
    ) {
        let standing = self.standing(device, formats);

        if !standing.may_do_dma(goes_on, self.unreadable) && lu_pci::stop_mastering(device) {
            dev_warn!(device, "did DMA across a kexec: stopped and quarantined\n");
            if !self.is_quarantined(lu_pci::address(device)) {
                self.quarantine(device, "it did DMA across the kexec");
            }
        }
    }

    /// Lets no driver have a device that is not the one that was preserved.
    pub(super) fn quarantine_other(&mut self, device: &pci::Device) {
        dev_err!(
            device,
            "is another device than was preserved: quarantined\n"
        );
        self.quarantine(device, "it is another device");
    }

    /// Looks after the regions of all devices and bridges that were preserved and found.
    ///
    /// To be called when this kernel has claimed what it finds, and has assigned nothing yet.
    pub(super) fn check_all_resources(&mut self) {
        for index in 0..self.fates.len() {
            if let Some(device) = lu_pci::find(self.fates[index].address) {
                self.check_resources(&device);
            }
        }
    }

    /// Sees to it that nobody else gets the addresses of a device that is held, if this kernel could not
    /// claim them for it. Nobody gets such a device, either, and it does no DMA.
    pub(super) fn check_resources(&mut self, device: &pci::Device) {
        let Some(kept) = ffi::kept(device).filter(|kept| kept.is_held()) else {
            return;
        };

        if lu_pci::is_bridge(device) {
            // What is behind a window that is lost is lost itself, which is looked at for each device.
            Iterator::chain(kept.bars(), kept.windows())
                .filter(|region| !ffi::is_claimed(device, region))
                .for_each(|region| keep_from_others(device, &region));
            return;
        }

        let mut lost = kept
            .bars()
            .filter(|region| !ffi::is_claimed(device, region))
            .peekable();

        if lost.peek().is_none() || self.is_quarantined(lu_pci::address(device)) {
            return;
        }
        lost.for_each(|region| keep_from_others(device, &region));
        lu_pci::stop_mastering(device);
        dev_err!(
            device,
            "stopped and quarantined: are reserve=, memmap= and pci= those of the previous kernel?\n"
        );
        self.quarantine(device, "its addresses cannot be claimed");
    }

    fn quarantine(&mut self, device: &pci::Device, reason: &'static str) {
        let address = lu_pci::address(device);

        if plan::quarantine(&mut self.quarantined, address).is_err() {
            dev_err!(device, "cannot be quarantined: memory is short\n");
        }
        note_reason(&mut self.reasons, address, reason);
        ffi::trace_state(device, c"quarantined");
    }

    fn is_quarantined(&self, address: Address) -> bool {
        self.quarantined.binary_search(&address).is_ok()
    }

    /// Shows what was handed over, a line for each device and bridge.
    pub(super) fn show(&self, f: &mut fmt::Formatter<'_>, formats: Formats<'_>) -> fmt::Result {
        if self.unreadable {
            writeln!(f, "  the list of devices cannot be read")?;
        }
        for Entry { address, refcount } in self.entries.iter() {
            let device = lu_pci::find(*address);

            match self.standing_at(*address, device.as_deref(), formats) {
                Standing::Bridge => write!(f, "  bridge {address:?}: incoming, for {refcount}")?,
                standing => self.show_device(f, *address, standing, formats)?,
            }
            match device.as_ref().map(|device| ffi::kept(device)) {
                Some(Some(kept)) if kept.is_held() => {
                    write!(f, ", held, {} writes dropped", kept.dropped())?;
                }
                Some(Some(kept)) => write!(f, ", let go, {} writes dropped", kept.dropped())?,
                Some(None) => write!(f, ", not held")?,
                None => write!(f, ", not found")?,
            }
            writeln!(f)?;
        }

        // Those that the list does not have.
        for address in self.quarantined.iter() {
            if plan::find(&self.entries, *address).is_err() {
                self.show_device(f, *address, Standing::Quarantined, formats)?;
                writeln!(f)?;
            }
        }
        Ok(())
    }

    fn show_device(
        &self,
        f: &mut fmt::Formatter<'_>,
        address: Address,
        standing: Standing,
        formats: Formats<'_>,
    ) -> fmt::Result {
        if standing == Standing::Quarantined {
            let reason = self.reasons.get(&address).copied().or(self.reason_for_all);

            write!(
                f,
                "  device {address:?}: quarantined: {}",
                reason.unwrap_or("unknown")
            )?;
        } else {
            write!(f, "  device {address:?}: incoming")?;
        }
        match formats.of(address) {
            Some(format) => f.write_fmt(fmt!(", {format}")),
            None => Ok(()),
        }
    }

    /// Keeps a device that was preserved, and the bridges above it, out of low power states.
    pub(super) fn keep_awake(&mut self, device: &pci::Device) {
        for device in lu_pci::path(device) {
            let address = lu_pci::address(device);

            if let Some(index) = self.fate(address).filter(|_| self.contains(address)) {
                self.fates[index]
                    .awake
                    .get_or_insert_with(|| Awake::new(device));
            }
        }
    }

    /// Ends the passage of a device, and of the bridges above it that no other device needs.
    ///
    /// The device is an ordinary one afterwards, whatever the previous kernel counted.
    pub(crate) fn finish(&mut self, device: &pci::Device) -> Result {
        plan::finish_path(&mut self.entries, lu_pci::path(device).map(lu_pci::address))?;

        for (device, role) in plan::roles(lu_pci::path(device)) {
            let address = lu_pci::address(device);

            if role == Role::Endpoint {
                plan::release_from_quarantine(&mut self.quarantined, address);
                self.reasons.remove(&address);
            }
            if !self.contains(address) {
                if let Some(index) = self.fate(address) {
                    self.fates[index].awake = None;
                }
                end_passage(device);
                ffi::trace_state(device, c"finished");
            }
        }
        Ok(())
    }

    /// Returns whether a device that is not finished was not found, or may be.
    pub(super) fn has_missing(&self) -> bool {
        let was_found = |address| {
            self.fate(address)
                .is_some_and(|index| self.fates[index].found)
        };

        self.unreadable || self.entries.iter().any(|entry| !was_found(entry.address))
    }

    /// Says which devices no file took over, and which were never found. All are ordinary ones from
    /// here on.
    pub(super) fn let_go_left_over(&self) {
        for Entry { address, .. } in self.entries.iter() {
            if let Some(device) = lu_pci::find(*address) {
                // One that is not held was stopped when it was found, or has an owner.
                if end_passage(&device) && lu_pci::stop_mastering(&device) {
                    dev_warn!(&*device, "did DMA that nobody took over: stopped\n");
                }
            }
            if self
                .fate(*address)
                .is_some_and(|index| self.fates[index].found)
            {
                pr_warn!("{address:?} was preserved, but nobody finished it\n");
            } else {
                NEVER_FOUND.store(true, Relaxed);
                pr_warn!("{address:?} was preserved, but was never found\n");
            }
        }
    }
}

/// Says that this kernel could not claim a region of a device, and reserves it.
fn keep_from_others(device: &pci::Device, region: &Region) {
    dev_err!(device, "{region} cannot be claimed, and stays there\n");
    if let Err(err) = ffi::reserve(device, region) {
        dev_err!(device, "{region} may be given to others: {err:?}\n");
    }
}

/// Notes why a device is quarantined, if nothing was noted before. That is only shown.
fn note_reason(
    reasons: &mut RBTree<Address, &'static str>,
    address: Address,
    reason: &'static str,
) {
    if reasons.get(&address).is_none() {
        let _ = reasons.try_create_and_insert(address, reason, GFP_KERNEL);
    }
}

/// Lets a device be written to. Returns whether it was held.
pub(super) fn let_go(device: &pci::Device) -> bool {
    ffi::kept(device).is_some_and(Kept::let_go)
}

/// Has a device be an ordinary one. Returns whether it was held.
fn end_passage(device: &pci::Device) -> bool {
    ffi::kept(device).is_some_and(Kept::end_passage)
}

/// The addresses of devices, in a line.
struct Addresses<'a>(&'a [Entry]);

impl fmt::Display for Addresses<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Entry { address, .. } in self.0 {
            write!(f, " {address:?}")?;
        }
        Ok(())
    }
}

/// Says what is dropped since live update is off in this kernel.
pub(super) fn report_dropped() {
    match liveupdate::flb_handed_over(ffi::COMPATIBLE).map(Devices::try_read) {
        None => pr_warn!("live update is off: what was handed over is dropped, no devices\n"),
        Some(Ok(devices)) => pr_warn!(
            "live update is off: what was handed over is dropped, with the devices and bridges{}\n",
            Addresses(&devices.entries)
        ),
        Some(Err(err)) => pr_warn!(
            "live update is off: what was handed over is dropped, with devices that are not known: {err}\n"
        ),
    }
}
