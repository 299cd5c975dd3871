// SPDX-License-Identifier: GPL-2.0

//! What the previous kernel left of drivers that can take devices over, and of registers.

use super::table::{
    open,
    Once,
    ReadError, //
};
use crate::{
    entries::{
        DriverEntry,
        Probe,
        ProbeEntry,
        RawDriverSer,
        RawProbeSer, //
    },
    plan, //
};
use kernel::{
    liveupdate::{
        pci::{
            self as lu_pci,
            Address, //
        },
        Handle, //
    },
    pci,
    prelude::*, //
};

/// The drivers that can take over the devices, in the order of addresses.
pub(crate) struct Drivers {
    entries: Once<DriverEntry>,
}

impl Drivers {
    /// Reads what the previous kernel left, and frees it.
    pub(in crate::apply) fn read(handle: Handle) -> Self {
        Self::try_read(handle).unwrap_or_else(|err| {
            pr_err!("no driver can take over a preserved device: {err}\n");
            Self {
                entries: Once::new(),
            }
        })
    }

    fn try_read(handle: Handle) -> Result<Self, ReadError> {
        let (record, blocks) = open::<RawDriverSer>(handle)?;
        let mut entries = Once::new();

        plan::read_drivers::<ReadError, _>(&record, blocks.entries(), &mut entries)?;
        Ok(Self { entries })
    }

    pub(in crate::apply) fn entries(&self) -> &[DriverEntry] {
        &self.entries
    }

    /// Returns the device that belongs to the file of this handle.
    pub(in crate::apply) fn device_of(&self, handle: Handle) -> Option<Address> {
        plan::device_of(&self.entries, handle.get())
    }

    /// Forgets a device that was finished.
    pub(in crate::apply) fn remove(&mut self, device: &pci::Device) {
        plan::forget_driver(&mut self.entries, lu_pci::address(device));
    }
}

/// What writing to the registers of the devices would tell.
pub(crate) struct Probes {
    entries: Once<ProbeEntry>,
}

impl Probes {
    /// Reads what the previous kernel left, and frees it.
    pub(in crate::apply) fn read(handle: Handle) -> Self {
        Self::try_read(handle).unwrap_or_else(|err| {
            pr_err!("registers of preserved devices are written to: {err}\n");
            Self {
                entries: Once::new(),
            }
        })
    }

    fn try_read(handle: Handle) -> Result<Self, ReadError> {
        let (record, blocks) = open::<RawProbeSer>(handle)?;
        let mut entries = Once::new();

        plan::read_probes::<ReadError, _>(&record, blocks.entries(), &mut entries)?;
        Ok(Self { entries })
    }

    /// Returns what is known of a device.
    pub(in crate::apply) fn of(&self, device: &pci::Device) -> Result<KVec<Probe>> {
        let at = plan::probes_of(&self.entries, lu_pci::address(device));
        let mut probes = KVec::with_capacity(at.len(), GFP_KERNEL | __GFP_NOFAIL)?;

        for entry in &self.entries[at] {
            probes.push(entry.probe, GFP_KERNEL)?;
        }
        Ok(probes)
    }
}
