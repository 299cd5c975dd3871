// SPDX-License-Identifier: GPL-2.0

//! Devices behind remapping units, as the driver knows them.

use super::{
    super::{
        super::{
            entries::Kind,
            ffi::{
                Device,
                Domain,
                LockedDevice, //
            },
        },
        plan::Traits,
    },
    Directory,
    Unit, //
};
use core::ptr::{
    self,
    NonNull, //
};
use kernel::{
    bindings,
    ffi::{
        c_int,
        c_void, //
    },
    liveupdate::pci::{
        self as lu_pci,
        Address, //
    },
    pci,
    prelude::*, //
};

type Info = bindings::device_domain_info;

/// A device that is behind a unit.
///
/// # Invariants
///
/// `info` is what the driver has of the device, for `'a`.
#[derive(Clone, Copy)]
pub(crate) struct VtdDevice<'a> {
    device: &'a Device,
    info: NonNull<Info>,
}

impl<'a> VtdDevice<'a> {
    /// Looks up what the driver has of a device.
    ///
    /// # Errors
    ///
    /// `ENODEV` if the device is behind an IOMMU of another kind.
    pub(crate) fn of(device: &'a Device) -> Result<Self> {
        if device.kind() != Some(Kind::Intel) {
            return Err(ENODEV);
        }
        // SAFETY: By the type invariants of `Device`. Set before the device is known to be behind a unit.
        let info = unsafe { (*(*device.as_raw()).iommu).priv_ };

        // INVARIANT: The driver of this kind of IOMMU has that of a device until it is released.
        Ok(Self {
            device,
            info: NonNull::new(info.cast()).ok_or(ENODEV)?,
        })
    }

    /// Returns the device as the IOMMU core knows it.
    pub(crate) fn device(self) -> &'a Device {
        self.device
    }

    fn info(self) -> *mut Info {
        self.info.as_ptr()
    }

    /// Returns the unit.
    ///
    /// # Errors
    ///
    /// `ENODEV` if the driver knows of none.
    pub(crate) fn unit(self) -> Result<&'a Unit> {
        // SAFETY: By the type invariants. Units of devices that are there do not go away.
        unsafe { Unit::from_raw((*self.info()).iommu) }.ok_or(ENODEV)
    }

    /// Returns the bus, device and function number that the device has for the unit.
    pub(crate) fn bdf(self) -> u16 {
        // SAFETY: By the type invariants. Does not change.
        let bus = unsafe { (*self.info()).bus };
        // SAFETY: By the type invariants. Does not change.
        let devfn = unsafe { (*self.info()).devfn };

        u16::from_be_bytes([bus, devfn])
    }

    /// Returns whether the device may translate by itself (ATS).
    pub(crate) fn has_ats(self) -> bool {
        // SAFETY: By the type invariants. Does not change.
        unsafe { Info::ats_supported_raw(self.info()) != 0 }
    }

    /// Returns whether the device is attached to a domain.
    fn is_attached_to(self, domain: &Domain) -> bool {
        // SAFETY: By the type invariants. The pointer is not followed.
        let now = unsafe { (*self.info()).domain };

        // A domain of the driver begins with what the core knows of it.
        ptr::eq(now.cast(), domain.as_raw())
    }

    /// Returns what matters of the device when it is to be preserved with a domain. `beside_reserved` says
    /// whether something behind the same unit needs what firmware mapped.
    pub(crate) fn traits(self, domain: &Domain, beside_reserved: bool) -> Traits {
        // SAFETY: By the type invariants.
        let handled_faults = unsafe { (*self.info()).iopf_refcount };
        // SAFETY: By the type invariants.
        let has_pri = unsafe { Info::pri_enabled_raw(self.info()) } != 0;
        // SAFETY: By the type invariants.
        let has_ats_on = unsafe { Info::ats_enabled_raw(self.info()) } != 0;

        Traits {
            attached: self.is_attached_to(domain),
            is_subdevice: self.device.pci().is_some_and(|pci| {
                // SAFETY: By the type invariants of `pci::Device`.
                let real = unsafe { bindings::pci_real_dma_dev(lu_pci::as_raw(pci)) };

                real != lu_pci::as_raw(pci)
            }),
            has_ats_off: self.has_ats() && !has_ats_on,
            has_faults: handled_faults != 0 || has_pri,
            remaps_interrupts: self.unit().is_ok_and(Unit::remaps_interrupts),
            beside_reserved,
        }
    }

    /// Returns the PASID directory, and how many PASIDs it has room for.
    pub(crate) fn pasids(self) -> Option<(Directory<'a>, u32)> {
        // SAFETY: By the type invariants. Set when the device is probed.
        let pasids = unsafe { (*self.info()).pasid_table };
        // SAFETY: Null, or what the driver has of a directory, for as long as of the device.
        let pasids = unsafe { pasids.as_ref() }?;
        let words = NonNull::new(pasids.table.cast())?;
        let order = pasids
            .max_pasid
            .checked_ilog2()?
            .saturating_sub(PAGE_PASIDS_LG2);

        // SAFETY: A directory has room for so many, is a page at least, and stays as long as the device.
        let directory = unsafe { Directory::new(words, order) };
        Some((directory, pasids.max_pasid))
    }

    /// Clears the entries of a device, whoever made them.
    ///
    /// # Errors
    ///
    /// As [`of`](Self::of).
    pub(crate) fn clear_entries(device: &'a LockedDevice<'_>) -> Result<Self> {
        let this = Self::of(device)?;

        // SAFETY: By the type invariants, and those of `LockedDevice`: nobody attaches the device.
        unsafe { Info::set_domain_attached_raw(this.info(), 1) };
        // SAFETY: As above.
        unsafe { bindings::device_block_translation(this.device.as_raw()) };
        Ok(this)
    }
}

/// How many PASIDs a page of a directory has entries for, as log2: 512 entries for 64 each.
const PAGE_PASIDS_LG2: u32 = 9 + 6;

/// Returns the numbers under which the driver has entries for the DMA of a device, but for its own.
///
/// In scalable mode it has none under the numbers of bridges above a device. If there is no device at
/// the address, there are none.
pub(crate) fn aliases_of(address: Address, scalable: bool) -> Result<KVec<u16>> {
    let Some(device) = lu_pci::find(address) else {
        return Ok(KVec::new());
    };
    let mut aliases = Aliases {
        device: &device,
        scalable,
        found: Ok(KVec::new()),
    };

    // SAFETY: It is a device. `visit` gets what it is for.
    unsafe {
        bindings::pci_for_each_dma_alias(
            lu_pci::as_raw(&device),
            Some(Aliases::visit),
            (&raw mut aliases).cast(),
        )
    };
    aliases.found
}

/// Returns whether the device at an address, if there is one, has ATS enabled since before it was handed
/// over.
pub(crate) fn went_on_with_ats(address: Address) -> bool {
    let Some(device) = lu_pci::find(address) else {
        return false;
    };

    // SAFETY: It is a device.
    unsafe { bindings::pci_ats_supported(lu_pci::as_raw(&device)) }
}

/// State of the walk in [`aliases_of`].
struct Aliases<'a> {
    device: &'a pci::Device,
    scalable: bool,
    found: Result<KVec<u16>>,
}

impl Aliases<'_> {
    /// Adds a number, which is that of the device or of a bridge above it.
    fn add(&mut self, alias: u16, is_bridges: bool) {
        if alias == lu_pci::address(self.device).bdf() || is_bridges && self.scalable {
            return;
        }
        if let Err(err) = self
            .found
            .as_mut()
            .map_or(Ok(()), |found| found.push(alias, GFP_KERNEL | __GFP_NOFAIL))
        {
            self.found = Err(err.into());
        }
    }

    /// Calls [`add`](Self::add).
    ///
    /// # Safety
    ///
    /// `aliases` points to one of these, which nobody else has.
    unsafe extern "C" fn visit(
        pdev: *mut bindings::pci_dev,
        alias: u16,
        aliases: *mut c_void,
    ) -> c_int {
        // SAFETY: By function requirement.
        let aliases = unsafe { &mut *aliases.cast::<Self>() };

        aliases.add(alias, pdev != lu_pci::as_raw(aliases.device));
        0
    }
}
