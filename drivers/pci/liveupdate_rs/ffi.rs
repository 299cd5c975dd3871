// SPDX-License-Identifier: GPL-2.0

//! What this has of C: the names that the contract gives, and the fields of a device.

use super::{
    entries::{
        CONFIG_SPACE_SIZE,
        FORMAT_LENGTH,
        VERSION, //
    },
    kept::Kept,
    plan::{
        COMMAND,
        MASTER, //
    },
    probes::{
        Kind,
        INTX_DISABLE,
        PREF_BASE_UPPER32, //
    },
    regions::{
        Place,
        Region, //
    },
    writes::{
        Capabilities,
        Write, //
    },
};
use core::{
    marker::PhantomData,
    ptr::{
        self,
        NonNull, //
    }, //
};
use kernel::{
    bindings,
    error::to_result,
    ffi::{
        c_int,
        c_ulong,
        c_void, //
    },
    liveupdate::pci as lu_pci,
    pci,
    prelude::*,
    sync::{
        aref::ARef,
        atomic::{
            atomic_load,
            AtomicFlag,
            Relaxed, //
        }, //
    },
    types::ForeignOwnable,
    ThisModule, //
};

static_assert!(VERSION == bindings::PCI_LUO_FLB_VERSION);

static_assert!(FORMAT_LENGTH == bindings::LIVEUPDATE_HNDL_COMPAT_LENGTH as usize);

static_assert!(CONFIG_SPACE_SIZE as u32 == bindings::PCI_CFG_SPACE_EXP_SIZE);

static_assert!(COMMAND as u32 == bindings::PCI_COMMAND);

static_assert!(MASTER == bindings::PCI_COMMAND_MASTER);

static_assert!(INTX_DISABLE == bindings::PCI_COMMAND_INTX_DISABLE);

static_assert!(PREF_BASE_UPPER32 as u32 == bindings::PCI_PREF_BASE_UPPER32);

const fn name(bytes: &'static [u8]) -> &'static CStr {
    match CStr::from_bytes_with_nul(bytes) {
        Ok(name) => name,
        Err(_) => panic!("bindgen ends strings with a null byte"),
    }
}

/// The name of the FLB of devices.
pub(crate) const COMPATIBLE: &CStr = name(bindings::PCI_LUO_FLB_COMPATIBLE);

/// The name of the FLB of drivers.
pub(crate) const DRIVER_COMPATIBLE: &CStr = name(bindings::PCI_LUO_DRIVER_FLB_COMPATIBLE);

/// The name of the FLB of registers.
pub(crate) const PROBE_COMPATIBLE: &CStr = name(bindings::PCI_LUO_PROBE_FLB_COMPATIBLE);

/// The kernel itself: this code is never a module.
// SAFETY: C code takes null for the kernel itself.
pub(crate) const THIS_MODULE: ThisModule = unsafe { ThisModule::from_ptr(ptr::null_mut()) };

kernel::declare_trace! {
    /// # Safety
    ///
    /// `dev` is a device that has its name, and `state` a string.
    unsafe fn pci_liveupdate_state(dev: *const bindings::pci_dev, state: *const u8);

    /// # Safety
    ///
    /// `dev` is a device that has its name.
    unsafe fn pci_liveupdate_write_dropped(
        dev: *const bindings::pci_dev, offset: c_int, size: c_int, value: u32,
    );
}

/// Traces that a device gets into another state.
pub(crate) fn trace_state(device: &pci::Device, state: &'static CStr) {
    // SAFETY: By the type invariants of `Device`, whose name is made before it is known here.
    unsafe { pci_liveupdate_state(lu_pci::as_raw(device), state.as_char_ptr()) };
}

/// Traces that a write is dropped.
pub(crate) fn trace_dropped(device: &pci::Device, write: Write) {
    let (offset, size) = (write.offset.into(), write.size.into());

    // SAFETY: By the type invariants of `Device`, whose name is made before it is known here.
    unsafe {
        pci_liveupdate_write_dropped(lu_pci::as_raw(device), offset, size, write.value);
    }
}

/// Keeps the preserved state of a device with the device.
///
/// To be called while the device is set up, when nobody else knows it.
pub(crate) fn keep(device: &pci::Device, kept: KBox<Kept>) {
    let dev = lu_pci::as_raw(device);

    // SAFETY: By the type invariants of `Device`.
    if unsafe { (*dev).liveupdate }.is_null() {
        // SAFETY: By the type invariants of `Device`.
        unsafe { (*dev).liveupdate = kept.into_foreign().cast() };
    }
}

/// Returns what is kept with a device, if it was preserved.
pub(crate) fn kept(device: &pci::Device) -> Option<&Kept> {
    // SAFETY: By the type invariants of `Device`. Set before the device is known to anybody else.
    let kept: *mut bindings::pci_liveupdate = unsafe { (*lu_pci::as_raw(device)).liveupdate };

    if kept.is_null() {
        return None;
    }
    // SAFETY: Only `keep` sets it, and only `release` frees it, when nobody has the device any more.
    Some(unsafe { KBox::<Kept>::borrow(kept.cast()) })
}

/// Frees what is kept with a device.
///
/// # Safety
///
/// `dev` is a device that nobody uses any more.
pub(crate) unsafe fn release(dev: *mut bindings::pci_dev) {
    // SAFETY: By function requirement.
    let kept = unsafe { (*dev).liveupdate };

    // SAFETY: Null, or set by `keep`, and by function requirement not used any more.
    drop(unsafe { KBox::<Kept>::try_from_foreign(kept.cast()) });

    // SAFETY: By function requirement.
    unsafe { (*dev).liveupdate = ptr::null_mut() };
}

/// Returns whether a driver uses a device: whether it was enabled. In any context.
pub(crate) fn is_enabled(device: &pci::Device) -> bool {
    // SAFETY: By the type invariants of `Device`.
    let count = unsafe { &raw mut (*lu_pci::as_raw(device)).enable_cnt.counter };

    // SAFETY: Valid, and C code accesses it atomically.
    unsafe { atomic_load(count, Relaxed) > 0 }
}

/// A bus.
///
/// # Invariants
///
/// `bus` is a bus, which exists for `'a`.
pub(crate) struct Bus<'a> {
    bus: NonNull<bindings::pci_bus>,
    _exists: PhantomData<&'a ()>,
}

/// A search for a device.
struct Search {
    is_sought: fn(&pci::Device) -> bool,
    found: Option<ARef<pci::Device>>,
}

impl Bus<'_> {
    /// Borrows a bus that C code passed, if there is one.
    ///
    /// # Safety
    ///
    /// `bus` is null, or a bus that remains one for the lifetime.
    pub(crate) unsafe fn from_raw(bus: *mut bindings::pci_bus) -> Option<Self> {
        // INVARIANT: By function requirement.
        Some(Self {
            bus: NonNull::new(bus)?,
            _exists: PhantomData,
        })
    }

    /// Returns a device on the bus, or on one below it, for which `is_sought` says so.
    ///
    /// May sleep, `is_sought` must not take locks.
    pub(crate) fn find_below(
        &self,
        is_sought: fn(&pci::Device) -> bool,
    ) -> Option<ARef<pci::Device>> {
        let mut search = Search {
            is_sought,
            found: None,
        };

        // SAFETY: By the type invariants. `look_at` has the requirements that C code keeps to, and is
        // given what it expects, which lives until the call is over.
        unsafe {
            bindings::pci_walk_bus(
                self.bus.as_ptr(),
                Some(look_at),
                (&raw mut search).cast::<c_void>(),
            );
        }
        search.found
    }
}

/// Ends a search at the first device that is sought. Returns whether it did.
///
/// # Safety
///
/// `dev` is a device, and `search` a [`Search`] that nobody else uses.
unsafe extern "C" fn look_at(dev: *mut bindings::pci_dev, search: *mut c_void) -> c_int {
    // SAFETY: By function requirement.
    let search = unsafe { &mut *search.cast::<Search>() };

    // SAFETY: By function requirement.
    let device = unsafe { lu_pci::from_raw(dev) };

    if !(search.is_sought)(device) {
        return 0;
    }
    search.found = Some(device.into());
    1
}

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
/// To be called when no driver is bound, and resources are not assigned meanwhile.
pub(crate) fn is_claimed(device: &pci::Device, region: &Region) -> bool {
    let resource = resource(device, region);

    // SAFETY: Exists for as long as the device.
    let now = unsafe { *resource };

    // CAST: lossless, a bit of 32. It is elsewhere than its register says then.
    if now.flags & bindings::IORESOURCE_PCI_FIXED as c_ulong != 0 {
        return true;
    }

    let mut on_bus = bindings::pci_bus_region::default();

    // SAFETY: By the type invariants of `Device`. A device does not change buses.
    let bus = unsafe { (*lu_pci::as_raw(device)).bus };

    // SAFETY: A device is on a bus for as long as it exists, and the resource is its own.
    unsafe { bindings::pcibios_resource_to_bus(bus, &mut on_bus, resource) };

    // A window may have been cut down to what there is above it.
    !now.parent.is_null()
        && (on_bus.start == region.start || matches!(region.place, Place::Window(_)))
}

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
        name: c"PCI region that was preserved".as_char_ptr(),
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

    for number in 0..MAX_BUS_RESOURCES {
        // SAFETY: As above. All numbers are accepted.
        let from = unsafe { bindings::pci_bus_resource_n(bus, number) };
        if from.is_null() {
            continue;
        }

        // SAFETY: A resource of a bus that exists.
        let window = unsafe { *from };
        let (start, end) = (window.start.max(wanted.start), window.end.min(wanted.end));

        if window.flags & wanted.flags != 0 && start <= end {
            let part = bindings::resource {
                start,
                end,
                ..wanted
            };
            insert(from, KBox::new(part, GFP_KERNEL)?);
        }
    }
    Ok(())
}

/// The most resources that a bus can give away a part of: a bridge has four, and the root has few more.
const MAX_BUS_RESOURCES: c_int = 64;

/// Adds a resource, for good, with what is there already as a part of it.
fn insert(from: *mut bindings::resource, part: KBox<bindings::resource>) {
    let part = KBox::into_raw(part);

    // SAFETY: `from` is a resource that is in use, and `part` lies within it, and lives for ever.
    unsafe { bindings::insert_resource_expand_to_fit(from, part) };

    // SAFETY: As above.
    if unsafe { (*part).parent }.is_null() {
        // SAFETY: It was not added, and nobody else knows it.
        drop(unsafe { KBox::from_raw(part) });
    }
}

/// Returns the size of one of a device's resources, if a register has its address.
fn resource_size(device: &pci::Device, index: usize) -> Option<u64> {
    // CAST: lossless, bits of 32.
    let no_register = (bindings::IORESOURCE_PCI_FIXED | bindings::IORESOURCE_ROM_SHADOW) as c_ulong;

    // SAFETY: By the type invariants of `Device`.
    let resource = unsafe { (*lu_pci::as_raw(device)).resource[index] };

    (resource.flags != 0 && resource.flags & no_register == 0)
        .then(|| resource.end.wrapping_sub(resource.start).wrapping_add(1))
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

/// Returns where a device has ACS Control, if it has.
pub(crate) fn acs_control(device: &pci::Device) -> Option<u16> {
    // SAFETY: By the type invariants of `Device`. Does not change once the device is set up.
    let at = unsafe { (*lu_pci::as_raw(device)).acs_cap };

    // CAST: lossless, a register of a capability.
    (at != 0).then(|| at + bindings::PCI_ACS_CTRL as u16)
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

/// Notes whether a bridge forwards what is addressed to functions above 7, as it was told before.
pub(crate) fn adopt_ari(bridge: &pci::Device) {
    let dev = lu_pci::as_raw(bridge);

    // SAFETY: By the type invariants of `Device`. Does not change once the device is set up.
    let express = u16::from(unsafe { (*dev).pcie_cap });
    if express == 0 {
        return;
    }

    // CAST: lossless, a register of a capability.
    let control = read_config(bridge, express + bindings::PCI_EXP_DEVCTL2 as u16);
    let enabled = control & bindings::PCI_EXP_DEVCTL2_ARI != 0;

    // SAFETY: By the type invariants of `Device`. The caller scans the bus below, as the C code does
    // that writes it otherwise.
    unsafe { bindings::pci_dev::set_ari_enabled_raw(dev, enabled.into()) };
}

/// Whether a reboot has the lock without which nobody adds or removes PCI devices.
///
/// Only the reboot writes it: there is one at a time.
static HAS_TOPOLOGY: AtomicFlag = AtomicFlag::new(false);

/// Has the reboot keep others from adding and removing PCI devices, unless somebody does so now.
///
/// Returns whether it does, from now on or already. To be called by the reboot only.
pub(crate) fn try_lock_topology() -> bool {
    if HAS_TOPOLOGY.load(Relaxed) {
        return true;
    }

    // SAFETY: Has no requirements. Nobody has the lock for us, so that this does not recurse.
    let locked = unsafe { bindings::pci_liveupdate_trylock_rescan_remove() };

    HAS_TOPOLOGY.store(locked, Relaxed);
    locked
}

/// Releases the lock that [`try_lock_topology`] took. To be called by the reboot only.
pub(crate) fn unlock_topology() {
    if HAS_TOPOLOGY.xchg(false, Relaxed) {
        // SAFETY: The flag says that we have the lock, and it is released once.
        unsafe { bindings::pci_liveupdate_unlock_rescan_remove() };
    }
}

/// Calls `f` with the locks that resetting a device takes. May sleep.
pub(crate) fn with_reset_locks<R>(device: &pci::Device, f: impl FnOnce() -> R) -> R {
    let bridge = lu_pci::path(device).nth(1);

    if let Some(bridge) = bridge {
        // SAFETY: By the type invariants of `Device`.
        unsafe { bindings::pci_dev_lock(lu_pci::as_raw(bridge)) };
    }
    // SAFETY: By the type invariants of `Device`. The lock of the bridge comes first.
    unsafe { bindings::pci_dev_lock(lu_pci::as_raw(device)) };

    let result = f();

    // SAFETY: Just taken.
    unsafe { bindings::pci_dev_unlock(lu_pci::as_raw(device)) };
    if let Some(bridge) = bridge {
        // SAFETY: As above.
        unsafe { bindings::pci_dev_unlock(lu_pci::as_raw(bridge)) };
    }
    result
}

/// Returns whether a driver is bound to a device. It remains so while the caller holds the device's lock.
pub(crate) fn is_bound(device: &pci::Device) -> bool {
    // SAFETY: By the type invariants of `Device`. The pointer is not followed.
    !unsafe { (*lu_pci::as_raw(device)).dev.driver }.is_null()
}

/// Resets a device that was stopped, as far as it can be, once what it began to do is over.
///
/// The caller holds the locks of the device and of the bridge above it. May sleep.
pub(crate) fn reset(device: &pci::Device) {
    let dev = lu_pci::as_raw(device);

    // SAFETY: By the type invariants of `Device`.
    if unsafe { bindings::pci_wait_for_pending_transaction(dev) } == 0 {
        dev_warn!(
            device,
            "was stopped, and still waits for what it asked for\n"
        );
    }

    // SAFETY: By the type invariants of `Device`; the caller holds the locks.
    if let Err(err) = to_result(unsafe { bindings::pci_reset_function_locked(dev) }) {
        dev_warn!(device, "was stopped, and could not be reset: {err:?}\n");
    }
}

/// Returns whether entries were handed over for a device in its IOMMU, and it is not finished. May sleep.
#[cfg(CONFIG_IOMMU_LIVEUPDATE)]
pub(crate) fn has_translation(device: &pci::Device) -> bool {
    // SAFETY: It is a part of a device.
    unsafe { bindings::iommu_liveupdate_was_preserved(as_dev(device)) }
}

/// Ends the passage of a device as far as its IOMMU is concerned, if entries were handed over for it. May
/// sleep.
///
/// # Errors
///
/// As `iommu_liveupdate_finish_device()`.
#[cfg(CONFIG_IOMMU_LIVEUPDATE)]
pub(crate) fn end_translation(device: &pci::Device) -> Result {
    // SAFETY: It is a part of a device.
    to_result(unsafe { bindings::iommu_liveupdate_finish_device(as_dev(device)) })
}

/// Returns the part of a device that all devices have.
#[cfg(CONFIG_IOMMU_LIVEUPDATE)]
fn as_dev(device: &pci::Device) -> *mut bindings::device {
    // SAFETY: By the type invariants of `Device`.
    unsafe { &raw mut (*lu_pci::as_raw(device)).dev }
}

/// Returns whether the passage of a device ended before it was found, though it may be doing DMA. May
/// sleep.
#[cfg(CONFIG_IOMMU_LIVEUPDATE)]
pub(crate) fn was_cut_off(device: &pci::Device) -> bool {
    let address = lu_pci::address(device);

    // SAFETY: Has no requirements but that one may sleep.
    unsafe { bindings::iommu_liveupdate_was_cut_off(address.domain(), address.bdf()) }
}

/// Returns whether the passage of a device ended before it was found: none does DMA.
#[cfg(not(CONFIG_IOMMU_LIVEUPDATE))]
pub(crate) fn was_cut_off(_device: &pci::Device) -> bool {
    false
}

/// Returns whether entries were handed over for a device in its IOMMU: none are taken over.
#[cfg(not(CONFIG_IOMMU_LIVEUPDATE))]
pub(crate) fn has_translation(_device: &pci::Device) -> bool {
    false
}

/// Has nothing to take away.
#[cfg(not(CONFIG_IOMMU_LIVEUPDATE))]
pub(crate) fn end_translation(_device: &pci::Device) -> Result {
    Ok(())
}
