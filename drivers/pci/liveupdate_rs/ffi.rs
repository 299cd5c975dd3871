// SPDX-License-Identifier: GPL-2.0

//! What this has of C: the names that the contract gives, and the fields of a device.

#[cfg_attr(not(CONFIG_IOMMU_LIVEUPDATE), path = "ffi/no_iommu.rs")]
mod iommu;
mod locks;
mod registers;
mod resources;
#[cfg_attr(not(CONFIG_PM_SLEEP), path = "ffi/no_sleep.rs")]
pub(crate) mod sleep;

pub(crate) use self::{
    iommu::{
        end_translation,
        goes_on,
        has_translation,
        was_cut_off, //
    },
    locks::{
        ResetLocks,
        Topology, //
    },
    registers::{
        acs_control,
        can_disable_intx,
        capabilities,
        has_specific_acs,
        has_wide_window,
        read_config,
        read_config_word,
        write_config_word,
        ScannedBridge, //
    },
    resources::{
        bars,
        is_claimed,
        reserve,
        sriov,
        Bar, //
    },
};

use super::{
    entries::{
        CONFIG_SPACE_SIZE,
        FORMAT_LENGTH,
        VERSION, //
    },
    kept::Kept,
    plan::{
        BARS,
        COMMAND,
        IDENTITY,
        MASTER, //
    },
    probes::{
        INTX_DISABLE,
        IO,
        PREF_BASE_UPPER32,
        WIDTH, //
    },
    regions::{
        IO_WINDOW,
        MEMORY_WINDOW,
        PREFETCHABLE_WINDOW, //
    },
    writes::Write, //
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
    ffi::{
        c_int,
        c_void, //
    },
    liveupdate::{
        abi,
        pci as lu_pci, //
    },
    pci,
    prelude::*,
    sync::{
        aref::ARef,
        atomic::{
            atomic_load,
            Acquire,
            Atomic,
            Relaxed,
            Release, //
        }, //
    },
    types::ForeignOwnable, //
};

static_assert!(VERSION == bindings::PCI_LUO_FLB_VERSION);

static_assert!(FORMAT_LENGTH == bindings::LIVEUPDATE_HNDL_COMPAT_LENGTH as usize);

static_assert!(CONFIG_SPACE_SIZE as u32 == bindings::PCI_CFG_SPACE_EXP_SIZE);

static_assert!(COMMAND as u32 == bindings::PCI_COMMAND);

static_assert!(MASTER == bindings::PCI_COMMAND_MASTER);

static_assert!(INTX_DISABLE == bindings::PCI_COMMAND_INTX_DISABLE);

static_assert!(PREF_BASE_UPPER32 as u32 == bindings::PCI_PREF_BASE_UPPER32);

static_assert!(*BARS.start() as u32 == bindings::PCI_BASE_ADDRESS_0);

static_assert!(*BARS.end() as u32 == bindings::PCI_BASE_ADDRESS_5);

static_assert!(IO == bindings::PCI_BASE_ADDRESS_SPACE_IO);

static_assert!(WIDTH.0 == bindings::PCI_BASE_ADDRESS_MEM_TYPE_MASK);

static_assert!(WIDTH.1 == bindings::PCI_BASE_ADDRESS_MEM_TYPE_64);

static_assert!(IDENTITY[0] as u32 == bindings::PCI_VENDOR_ID);

static_assert!(IDENTITY[1] as u32 == bindings::PCI_CLASS_REVISION);

static_assert!(IO_WINDOW.0 as u32 == bindings::PCI_IO_BASE);

static_assert!(IO_WINDOW.1 as u32 == bindings::PCI_IO_BASE_UPPER16);

static_assert!(MEMORY_WINDOW as u32 == bindings::PCI_MEMORY_BASE);

static_assert!(PREFETCHABLE_WINDOW.0 as u32 == bindings::PCI_PREF_MEMORY_BASE);

static_assert!(PREFETCHABLE_WINDOW.1 as u32 == bindings::PCI_PREF_BASE_UPPER32);

static_assert!(PREFETCHABLE_WINDOW.2 as u32 == bindings::PCI_PREF_LIMIT_UPPER32);

/// The name of the FLB of devices.
pub(crate) const COMPATIBLE: &CStr = abi::name(bindings::PCI_LUO_FLB_COMPATIBLE);

/// The name of the FLB of drivers.
pub(crate) const DRIVER_COMPATIBLE: &CStr = abi::name(bindings::PCI_LUO_DRIVER_FLB_COMPATIBLE);

/// The name of the FLB of registers.
pub(crate) const PROBE_COMPATIBLE: &CStr = abi::name(bindings::PCI_LUO_PROBE_FLB_COMPATIBLE);

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

/// Keeps the preserved state of a device with the device, unless something is kept already.
pub(crate) fn keep(device: &pci::Device, kept: KBox<Kept>) {
    let kept: *mut bindings::pci_liveupdate = kept.into_foreign().cast();

    // ORDERING: Pairs with `kept()`: whoever finds it finds it initialised.
    if place(device)
        .cmpxchg(ptr::null_mut(), kept, Release)
        .is_err()
    {
        // SAFETY: From `into_foreign()` above, and nobody else was given it.
        drop(unsafe { KBox::<Kept>::from_foreign(kept.cast()) });
    }
}

/// Returns where a device has what is kept with it, or null.
fn place(device: &pci::Device) -> &Atomic<*mut bindings::pci_liveupdate> {
    // SAFETY: By the type invariants of `Device`.
    let place = unsafe { &raw mut (*lu_pci::as_raw(device)).liveupdate };

    // SAFETY: Valid as long as the device is, and C code only compares it with null, until it calls
    // `release()`, when nobody has the device any more.
    unsafe { Atomic::from_ptr(place) }
}

/// Returns what is kept with a device, if it was preserved. In any context.
pub(crate) fn kept(device: &pci::Device) -> Option<&Kept> {
    // ORDERING: Pairs with `keep()`.
    let kept = place(device).load(Acquire);

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
