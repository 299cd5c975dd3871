// SPDX-License-Identifier: GPL-2.0

//! Registers of devices, and what C code knows of them.

use crate::writes::Capabilities;
use core::ops::Deref;
use kernel::{
    bindings,
    liveupdate::pci as lu_pci,
    pci, //
};

/// Reads a double word of a device's configuration space, in any context.
pub(crate) fn read_config(device: &pci::Device, offset: u16) -> u32 {
    let mut value = u32::MAX;

    // The value that a failure leaves is that of a device that does not answer.
    // SAFETY: By the type invariants of `Device`.
    unsafe {
        bindings::pci_read_config_dword(lu_pci::as_raw(device), offset.into(), &mut value);
    }
    value
}

/// Reads a word of a device's configuration space.
pub(crate) fn read_config_word(device: &pci::Device, offset: u16) -> u16 {
    let mut value = u16::MAX;

    // The value that a failure leaves is that of a device that does not answer.
    // SAFETY: By the type invariants of `Device`.
    unsafe { bindings::pci_read_config_word(lu_pci::as_raw(device), offset.into(), &mut value) };
    value
}

/// Writes a word to a device's configuration space, though the device may be held.
pub(crate) fn write_config_word(device: &pci::Device, offset: u16, value: u16) {
    // SAFETY: By the type invariants of `Device`. A device does not change buses.
    let bus = unsafe { (*lu_pci::as_raw(device)).bus };

    // What fails, fails for a device that does not answer.
    // SAFETY: A device is on a bus for as long as it exists.
    unsafe {
        bindings::pci_bus_write_config_word(
            bus,
            lu_pci::address(device).devfn().into(),
            offset.into(),
            value,
        );
    }
}

/// Returns where a bridge has the capabilities that its services need.
pub(crate) fn capabilities(device: &pci::Device) -> Capabilities {
    let dev = lu_pci::as_raw(device);

    // SAFETY: By the type invariants of `Device`; so for all fields below. They are set while the
    // device is set up and do not change after that.
    let msi = unsafe { (*dev).msi_cap }.into();

    Capabilities {
        // SAFETY: As above.
        express: unsafe { (*dev).pcie_cap }.into(),
        msi,
        msi_end: if msi == 0 {
            0
        } else {
            msi + msi_size(device, msi)
        },
        // SAFETY: As above.
        msix: unsafe { (*dev).msix_cap }.into(),
        aer: aer(device),
        dpc: dpc(device),
    }
}

#[cfg(CONFIG_PCIEAER)]
fn aer(device: &pci::Device) -> u16 {
    // SAFETY: By the type invariants of `Device`. Does not change once the device is set up.
    unsafe { (*lu_pci::as_raw(device)).aer_cap }
}

/// Nobody uses it.
#[cfg(not(CONFIG_PCIEAER))]
fn aer(_device: &pci::Device) -> u16 {
    0
}

#[cfg(CONFIG_PCIE_DPC)]
fn dpc(device: &pci::Device) -> u16 {
    // SAFETY: By the type invariants of `Device`. Does not change once the device is set up.
    unsafe { (*lu_pci::as_raw(device)).dpc_cap }
}

/// Nobody uses it.
#[cfg(not(CONFIG_PCIE_DPC))]
fn dpc(_device: &pci::Device) -> u16 {
    0
}

/// Returns the size of a device's MSI capability.
fn msi_size(device: &pci::Device, msi: u16) -> u16 {
    // Message Control is the upper half of the first double word.
    let control = read_config(device, msi) >> 16;

    match (
        control & bindings::PCI_MSI_FLAGS_64BIT != 0,
        control & bindings::PCI_MSI_FLAGS_MASKBIT != 0,
    ) {
        (false, false) => 0x0c,
        (true, false) => 0x10,
        (false, true) => 0x14,
        (true, true) => 0x18,
    }
}

/// Returns whether a device can be kept from using INTx.
pub(crate) fn can_disable_intx(device: &pci::Device) -> bool {
    // SAFETY: By the type invariants of `Device`. Does not change once the device is set up.
    unsafe { bindings::pci_dev::broken_intx_masking_raw(lu_pci::as_raw(device)) == 0 }
}

/// Returns whether the prefetchable window of a bridge can be anywhere.
pub(crate) fn has_wide_window(device: &pci::Device) -> bool {
    // SAFETY: By the type invariants of `Device`. Does not change once the device is set up.
    unsafe { bindings::pci_dev::pref_64_window_raw(lu_pci::as_raw(device)) != 0 }
}

/// Returns whether ACS of a device is enabled in ways of its own, which cannot be adopted.
pub(crate) fn has_specific_acs(device: &pci::Device) -> bool {
    // SAFETY: By the type invariants of `Device`.
    unsafe { bindings::pci_liveupdate_has_specific_acs(lu_pci::as_raw(device)) }
}

/// Returns where a device has ACS Control, if it has.
pub(crate) fn acs_control(device: &pci::Device) -> Option<u16> {
    // SAFETY: By the type invariants of `Device`. Does not change once the device is set up.
    let at = unsafe { (*lu_pci::as_raw(device)).acs_cap };

    // CAST: lossless, a register of a capability.
    (at != 0).then(|| at + bindings::PCI_ACS_CTRL as u16)
}

/// A bridge whose secondary bus is being scanned.
///
/// # Invariants
///
/// For `'a`, only the caller writes to what C code keeps of the bridge's ARI forwarding.
#[derive(Clone, Copy)]
pub(crate) struct ScannedBridge<'a>(&'a pci::Device);

impl<'a> ScannedBridge<'a> {
    /// Returns the bridge that is being scanned.
    ///
    /// # Safety
    ///
    /// The caller scans the secondary bus of `bridge` for `'a`, as the C code does that enables ARI
    /// forwarding otherwise.
    pub(crate) unsafe fn new(bridge: &'a pci::Device) -> Self {
        // INVARIANT: By function requirement.
        Self(bridge)
    }

    /// Notes whether the bridge forwards what is addressed to functions above 7, as it was told before.
    pub(crate) fn adopt_ari(self) {
        let dev = lu_pci::as_raw(self.0);

        // SAFETY: By the type invariants of `Device`. Does not change once the device is set up.
        let express = u16::from(unsafe { (*dev).pcie_cap });
        if express == 0 {
            return;
        }

        // CAST: lossless, a register of a capability.
        let control = read_config(self.0, express + bindings::PCI_EXP_DEVCTL2 as u16);
        let enabled = control & bindings::PCI_EXP_DEVCTL2_ARI != 0;

        // SAFETY: By the type invariants of `Device`. By those of this type, nobody else writes to it.
        unsafe { bindings::pci_dev::set_ari_enabled_raw(dev, enabled.into()) };
    }
}

impl Deref for ScannedBridge<'_> {
    type Target = pci::Device;

    fn deref(&self) -> &pci::Device {
        self.0
    }
}
