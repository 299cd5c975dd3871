// SPDX-License-Identifier: GPL-2.0

//! Resources of devices and buses: where they are, and which registers have their addresses.

use crate::{
    probes::Kind,
    regions::{
        Place,
        Region, //
    }, //
};
use core::{
    marker::PhantomData,
    ptr::NonNull, //
};
use kernel::{
    bindings,
    ffi::{
        c_int,
        c_ulong, //
    },
    liveupdate::pci as lu_pci,
    pci,
    prelude::*,
    sync::atomic::{
        atomic_load,
        Relaxed, //
    }, //
};

/// A register with the address of a resource.
pub(crate) struct Bar {
    pub(crate) register: u16,
    pub(crate) kind: Kind,
    /// How many bytes the resource has.
    pub(crate) size: u64,
}

/// Returns the registers with addresses of resources that a device has, in the order of registers.
///
/// To be called while a driver is bound: the resources do not change then.
pub(crate) fn bars(device: &pci::Device) -> impl Iterator<Item = Bar> + '_ {
    let (count, rom) = if lu_pci::is_bridge(device) {
        (2, bindings::PCI_ROM_ADDRESS1)
    } else {
        (bindings::PCI_STD_NUM_BARS, bindings::PCI_ROM_ADDRESS)
    };
    let bars = (0..count).map(|index| (bindings::PCI_BASE_ADDRESS_0 + 4 * index, Kind::Bar, index));

    // By its name, for there is another `chain` in the prelude.
    Iterator::chain(bars, [(rom, Kind::Rom, bindings::PCI_ROM_RESOURCE)]).filter_map(
        |(register, kind, index)| {
            Some(Bar {
                // CAST: lossless, a register of the header.
                register: register as u16,
                kind,
                // CAST: lossless, the index of an array.
                size: resource_size(device, index as usize)?,
            })
        },
    )
}

/// Returns the size of one of a device's resources, if a register has its address.
fn resource_size(device: &pci::Device, index: usize) -> Option<u64> {
    // CAST: lossless, bits of 32.
    let no_register = (bindings::IORESOURCE_PCI_FIXED | bindings::IORESOURCE_ROM_SHADOW) as c_ulong;

    // SAFETY: By the type invariants of `Device`.
    let resource = unsafe { &raw mut (*lu_pci::as_raw(device)).resource[index] };
    // SAFETY: Exists for as long as the device.
    let resource = unsafe { Extent::of(resource) };

    (resource.flags != 0 && resource.flags & no_register == 0)
        .then(|| resource.end.wrapping_sub(resource.start).wrapping_add(1))
}

/// What a physical function knows of its virtual functions.
pub(crate) struct Sriov {
    /// The register with how many there are.
    pub(crate) num_vf: u16,
    /// The highest bus number that they can have.
    pub(crate) max_buses: u8,
    /// The registers with addresses of their resources, in the order of registers.
    pub(crate) bars: [Option<Bar>; bindings::PCI_SRIOV_NUM_BARS as usize],
}

/// Returns what a device knows of its virtual functions, if it can have some.
pub(crate) fn sriov(device: &pci::Device) -> Option<Sriov> {
    let dev = lu_pci::as_raw(device);

    // CAST: lossless, the identifier of a capability.
    // SAFETY: By the type invariants of `Device`.
    let at =
        unsafe { bindings::pci_find_ext_capability(dev, bindings::PCI_EXT_CAP_ID_SRIOV as c_int) };
    if at == 0 {
        return None;
    }

    Some(Sriov {
        // CAST: lossless, registers of a capability, as is the one below.
        num_vf: at + bindings::PCI_SRIOV_NUM_VF as u16,
        // SAFETY: By the type invariants of `Device`.
        max_buses: unsafe { bindings::pci_liveupdate_max_vf_buses(dev) },
        bars: core::array::from_fn(|index| {
            let size = vf_bar_size(device, index);

            (size != 0).then(|| Bar {
                register: at + bindings::PCI_SRIOV_BAR as u16 + 4 * index as u16,
                kind: Kind::Bar,
                size,
            })
        }),
    })
}

/// Returns how large a resource of each virtual function is, by the number of its register.
#[cfg(CONFIG_PCI_IOV)]
fn vf_bar_size(device: &pci::Device, index: usize) -> u64 {
    // CAST: lossless, both are small numbers.
    let resource = bindings::PCI_IOV_RESOURCES as c_int + index as c_int;

    // SAFETY: By the type invariants of `Device`. It has as many of them.
    unsafe { bindings::pci_iov_resource_size(lu_pci::as_raw(device), resource) }
}

/// Returns how large a resource of each virtual function is: this kernel has none.
#[cfg(not(CONFIG_PCI_IOV))]
fn vf_bar_size(_device: &pci::Device, _index: usize) -> u64 {
    0
}

/// Returns the resource that is to be a region, and that exists for as long as the device.
fn resource(device: &pci::Device, region: &Region) -> *mut bindings::resource {
    let index = match region.place {
        Place::Bar(number) => bindings::PCI_STD_RESOURCES + u32::from(number),
        Place::Window(number) => bindings::PCI_BRIDGE_RESOURCES + u32::from(number),
    };

    // CAST: lossless, the index of an array, which has more than six resources, and three windows.
    //
    // SAFETY: By the type invariants of `Device`.
    unsafe { &raw mut (*lu_pci::as_raw(device)).resource[index as usize] }
}

/// Returns whether this kernel has a region of a device where the device has it.
///
/// That changes when this kernel assigns resources, which it does while no driver is bound.
pub(crate) fn is_claimed(device: &pci::Device, region: &Region) -> bool {
    let resource = resource(device, region);

    // SAFETY: Exists for as long as the device.
    let flags = unsafe { &raw mut (*resource).flags };

    // CAST: lossless, a bit of 32. It is elsewhere than its register says then.
    //
    // SAFETY: Valid, and changed in one piece. It has no lock.
    if unsafe { atomic_load(flags, Relaxed) } & bindings::IORESOURCE_PCI_FIXED as c_ulong != 0 {
        return true;
    }

    let mut on_bus = bindings::pci_bus_region::default();

    // SAFETY: By the type invariants of `Device`. A device does not change buses.
    let bus = unsafe { (*lu_pci::as_raw(device)).bus };

    // SAFETY: A device is on a bus for as long as it exists, and the resource is its own.
    unsafe { bindings::pcibios_resource_to_bus(bus, &mut on_bus, resource) };

    // SAFETY: Exists for as long as the device.
    let parent = unsafe { &raw mut (*resource).parent };

    // A window may have been cut down to what there is above it.
    //
    // SAFETY: Valid, and changed in one piece, with a lock held that is `kernel/resource.c`'s own. The
    // pointer is not followed.
    !unsafe { atomic_load(parent, Relaxed) }.is_null()
        && (on_bus.start == region.start || matches!(region.place, Place::Window(_)))
}

/// The most resources that a bus can give away a part of: a bridge has four, and the root has few more.
const MAX_BUS_RESOURCES: c_int = 64;

/// Keeps the addresses of a region from being given to others on the bus of a device, for good.
///
/// What is there already stays. May sleep.
///
/// # Errors
///
/// `ENOMEM` if memory is short. Then some of them may be given to others.
pub(crate) fn reserve(device: &pci::Device, region: &Region) -> Result {
    // SAFETY: By the type invariants of `Device`. A device does not change buses.
    let bus = unsafe { (*lu_pci::as_raw(device)).bus };

    let kind = if region.is_io {
        bindings::IORESOURCE_IO
    } else {
        bindings::IORESOURCE_MEM
    };
    let mut wanted = bindings::resource {
        // CAST: lossless, a bit of 32.
        flags: kind as c_ulong,
        ..Default::default()
    };
    let mut on_bus = bindings::pci_bus_region {
        start: region.start,
        end: region.last,
    };

    // SAFETY: A device is on a bus for as long as it exists.
    unsafe { bindings::pcibios_bus_to_resource(bus, &mut wanted, &mut on_bus) };

    for window in (0..MAX_BUS_RESOURCES).filter_map(|number| Window::of(device, number)) {
        let extent = window.extent();
        let (start, end) = (extent.start.max(wanted.start), extent.end.min(wanted.end));

        if extent.flags & wanted.flags != 0 && start <= end {
            window.insert(Extent {
                start,
                end,
                flags: wanted.flags,
            })?;
        }
    }
    Ok(())
}

/// What this kernel knows of where a resource is.
struct Extent {
    start: u64,
    /// The last address.
    end: u64,
    flags: c_ulong,
}

impl Extent {
    /// Reads where a resource is.
    ///
    /// No lock protects the fields. Each is read in one piece, and while somebody assigns resources, some
    /// may be of before and some of after that.
    ///
    /// # Safety
    ///
    /// `resource` is one, which exists meanwhile.
    unsafe fn of(resource: *mut bindings::resource) -> Self {
        // SAFETY: By function requirement; so for the other fields.
        let (start, end) = unsafe { (&raw mut (*resource).start, &raw mut (*resource).end) };
        // SAFETY: As above.
        let flags = unsafe { &raw mut (*resource).flags };

        Self {
            // SAFETY: Valid, and aligned.
            start: unsafe { atomic_load(start, Relaxed) },
            // SAFETY: As above.
            end: unsafe { atomic_load(end, Relaxed) },
            // SAFETY: As above.
            flags: unsafe { atomic_load(flags, Relaxed) },
        }
    }
}

/// A resource that a bus can give away parts of.
///
/// # Invariants
///
/// `resource` is one that is in use, and exists for `'a`.
struct Window<'a> {
    resource: NonNull<bindings::resource>,
    _device: PhantomData<&'a pci::Device>,
}

impl<'a> Window<'a> {
    /// Returns the resource of the bus of a device that has a number, if there is one.
    fn of(device: &'a pci::Device, number: c_int) -> Option<Self> {
        // SAFETY: By the type invariants of `Device`. A device does not change buses.
        let bus = unsafe { (*lu_pci::as_raw(device)).bus };

        // SAFETY: A device is on a bus for as long as it exists. All numbers are accepted.
        let resource = unsafe { bindings::pci_bus_resource_n(bus, number) };

        // INVARIANT: The bus has its resources as long as it has devices.
        Some(Self {
            resource: NonNull::new(resource)?,
            _device: PhantomData,
        })
    }

    /// Returns where the window is.
    fn extent(&self) -> Extent {
        // SAFETY: By the type invariants.
        unsafe { Extent::of(self.resource.as_ptr()) }
    }

    /// Adds a resource, for good, with what is there already as a part of it.
    ///
    /// Nothing is added if it does not fit in.
    ///
    /// # Errors
    ///
    /// `ENOMEM` if memory is short.
    fn insert(&self, extent: Extent) -> Result {
        let part = bindings::resource {
            name: c"PCI region that was preserved".as_char_ptr(),
            start: extent.start,
            end: extent.end,
            flags: extent.flags,
            ..Default::default()
        };
        let part = KBox::into_raw(KBox::new(part, GFP_KERNEL)?);

        // SAFETY: By the type invariants. `part` is in no tree, and lives for ever if it is added.
        unsafe { bindings::insert_resource_expand_to_fit(self.resource.as_ptr(), part) };

        // SAFETY: As above.
        if unsafe { (*part).parent }.is_null() {
            // SAFETY: It was not added, and nobody else knows it.
            drop(unsafe { KBox::from_raw(part) });
        }
        Ok(())
    }
}
