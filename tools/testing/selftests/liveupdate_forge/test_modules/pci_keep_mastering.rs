// SPDX-License-Identifier: GPL-2.0

//! Has a preserved PCI device keep bus mastering across a kexec. For tests of the PCI core.
//!
//! In earnest, that is asked for by whoever hands over what the device does DMA with. This hands
//! over nothing: only for a device that does none.
//!
//! The device is the one in domain 0 that `bdf=` names, by its bus number in the high byte and its
//! device and function number in the low one. It was preserved before the module is loaded.

use kernel::{
    liveupdate::pci::{
        self,
        Address,
        RawAddress, //
    },
    prelude::*, //
};

module! {
    type: KeepMastering,
    name: "pci_keep_mastering",
    authors: ["liveupdate_rs maintainers"],
    description: "Has a PCI device keep bus mastering across a kexec, for tests",
    license: "GPL",
    params: {
        bdf: u16 {
            default: 0,
            description: "The device: bus number, device and function number",
        },
    },
}

/// Asks once, when it is loaded.
struct KeepMastering;

impl kernel::Module for KeepMastering {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        let address = Address::try_from(RawAddress {
            domain: 0,
            bdf: module_parameters::bdf.value(),
        })?;
        let device = pci::find(address).ok_or(ENODEV)?;

        pci::keep_mastering(&device)?;
        Ok(Self)
    }
}
