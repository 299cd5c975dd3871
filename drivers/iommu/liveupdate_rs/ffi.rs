// SPDX-License-Identifier: GPL-2.0

//! What this has of C: domains, devices, the operations of drivers, and the memory of tables.

use super::tables::{
    self,
    Visitor,
    ENTRIES, //
};
use core::{
    mem::offset_of,
    ptr::{
        self,
        NonNull, //
    }, //
};
use kernel::{
    bindings,
    error::{
        from_err_ptr,
        to_result, //
    },
    ffi::{
        c_int,
        c_void, //
    },
    liveupdate::{
        iommu::{
            self as lu_iommu,
            Format,
            RawDeviceSer,
            RawDomainSer,
            RawHwSer,
            Table,
            Unit, //
        },
        pci as lu_pci,
    },
    page::PAGE_SIZE,
    pci,
    prelude::*,
    types::ForeignOwnable,
    ThisModule, //
};
use zerocopy::FromZeros;

/// The name of the FLB.
pub(crate) const COMPATIBLE: &CStr =
    match CStr::from_bytes_with_nul(bindings::IOMMU_LUO_FLB_COMPATIBLE) {
        Ok(name) => name,
        Err(_) => panic!("bindgen ends strings with a null byte"),
    };

/// The kernel itself: this code is never a module.
// SAFETY: C code takes null for the kernel itself.
pub(crate) const THIS_MODULE: ThisModule = unsafe { ThisModule::from_ptr(ptr::null_mut()) };

/// A domain, known by where it is.
///
/// # Invariants
///
/// Points to a domain for as long as it is preserved or attached, which whoever has this sees to.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Domain(NonNull<bindings::iommu_domain>);

// SAFETY: Domains belong to no thread.
unsafe impl Send for Domain {}

// SAFETY: As above. What is done to a domain is locked by its users.
unsafe impl Sync for Domain {}

/// A device that is in the IOMMU core's hands.
///
/// # Invariants
///
/// Points to a device with an IOMMU, for as long as this is used.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Device(NonNull<bindings::device>);

// SAFETY: Devices belong to no thread.
unsafe impl Send for Device {}

// SAFETY: As above.
unsafe impl Sync for Device {}

impl Domain {
    /// Makes one of what C code passed.
    ///
    /// # Safety
    ///
    /// `domain` points to a domain, for as long as the result is used.
    pub(crate) unsafe fn new(domain: *mut bindings::iommu_domain) -> Option<Self> {
        // INVARIANT: By function requirement.
        NonNull::new(domain).map(Self)
    }

    /// Returns the domain as C knows it.
    pub(crate) fn as_raw(self) -> *mut bindings::iommu_domain {
        self.0.as_ptr()
    }

    /// Returns what its driver does for live updates.
    fn ops(self) -> Result<&'static bindings::iommu_liveupdate_ops> {
        // SAFETY: By the type invariants. Does not change once the domain is there.
        let owner = unsafe { (*self.as_raw()).owner };

        // SAFETY: Domains that somebody allocated have an owner, which does not go away; static
        // ones have none.
        unsafe { owner.as_ref() }
            .and_then(|ops| {
                // SAFETY: A static structure, or null.
                unsafe { ops.liveupdate_ops.as_ref() }
            })
            .ok_or(ENODEV)
    }

    /// Returns what the tables of the domain are, but for their number.
    pub(crate) fn describe(self) -> Result<RawDomainSer> {
        let mut ser = RawDomainSer::new_zeroed();
        let describe = self.ops()?.describe_domain.ok_or(EOPNOTSUPP)?;

        // SAFETY: By the type invariants. `RawDomainSer` has the layout of the structure.
        to_result(unsafe { describe(self.as_raw(), (&raw mut ser).cast()) })?;
        Ok(ser)
    }

    /// Has a domain that is new begin with a table that was handed over.
    pub(crate) fn begin_with(self, top: Table) {
        // SAFETY: By the type invariants; it is of a driver that made it of such tables.
        let common = unsafe { common_of(self) };

        // SAFETY: Arithmetic.
        let table = unsafe { bindings::phys_to_virt(top.phys()) };
        // SAFETY: A domain that is new, whose tables nobody uses yet.
        let old = unsafe { replace_top(common, table) };

        // SAFETY: What the driver allocated, which nothing leads to any more.
        unsafe { bindings::iommu_free_pages(old) };
    }

    /// Returns what is kept with a domain that was handed over.
    pub(crate) fn kept<T: 'static>(&self) -> Option<Pin<&T>> {
        // SAFETY: By the type invariants. Set before anybody else knows the domain.
        let kept = unsafe { (*self.as_raw()).liveupdate };

        // SAFETY: Null, or from `keep`, and freed only when nobody has the domain any more.
        (!kept.is_null()).then(|| unsafe { Pin::<KBox<T>>::borrow(kept.cast()) })
    }

    /// Keeps something with a domain that is new.
    pub(crate) fn keep<T: 'static>(self, kept: Pin<KBox<T>>) {
        // SAFETY: By the type invariants, and nobody else knows it.
        unsafe { (*self.as_raw()).liveupdate = kept.into_foreign().cast() };
    }

    /// Takes back what was kept with a domain that is about to be freed.
    pub(crate) fn release<T: 'static>(self) -> Option<Pin<KBox<T>>> {
        // SAFETY: By the type invariants.
        let kept = unsafe { (*self.as_raw()).liveupdate };

        // SAFETY: By the type invariants.
        unsafe { (*self.as_raw()).liveupdate = ptr::null_mut() };

        // SAFETY: Null, or from `keep`; nobody borrows it, for nobody has the domain any more.
        unsafe { Pin::<KBox<T>>::try_from_foreign(kept.cast()) }
    }

    /// Has the driver take back what it gave a domain that was handed over, and that is about to be freed.
    pub(crate) fn give_back(self) {
        if let Some(release) = self.ops().ok().and_then(|ops| ops.release_domain) {
            // SAFETY: By the type invariants.
            unsafe { release(self.as_raw()) };
        }
    }

    /// Frees a domain that nobody uses.
    pub(crate) fn free(self) {
        // SAFETY: By the type invariants; it is not used again.
        unsafe { bindings::iommu_domain_free(self.as_raw()) };
    }
}

impl Device {
    /// Makes one of what C code passed, if the device has an IOMMU.
    ///
    /// # Safety
    ///
    /// `dev` points to a device, for as long as the result is used.
    pub(crate) unsafe fn new(dev: *mut bindings::device) -> Option<Self> {
        let device = NonNull::new(dev)?;

        // SAFETY: By function requirement. Not null from when the device is probed.
        let iommu = unsafe { (*dev).iommu };

        // SAFETY: Null, or as above.
        if iommu.is_null() || unsafe { (*iommu).iommu_dev }.is_null() {
            return None;
        }
        // INVARIANT: By function requirement, and just checked.
        Some(Self(device))
    }

    /// Returns the device that a PCI device is, if that has an IOMMU.
    ///
    /// The result is to be used for as long as `pci` only.
    pub(crate) fn of(pci: &pci::Device) -> Option<Self> {
        // SAFETY: By the type invariants of `pci::Device`.
        let dev = unsafe { &raw mut (*lu_pci::as_raw(pci)).dev };

        // SAFETY: As above.
        unsafe { Self::new(dev) }
    }

    /// Returns the device as C knows it.
    pub(crate) fn as_raw(self) -> *mut bindings::device {
        self.0.as_ptr()
    }

    /// Returns the device as the PCI core knows it, if it is one of that.
    pub(crate) fn pci<'a>(&'a self) -> Option<&'a pci::Device> {
        // SAFETY: By the type invariants.
        if !unsafe { bindings::dev_is_pci(self.as_raw()) } {
            return None;
        }
        // SAFETY: Devices on that bus are a part of a `pci_dev`.
        let pdev = unsafe { kernel::container_of!(self.as_raw(), bindings::pci_dev, dev) };

        // SAFETY: By the type invariants, for as long as this is used.
        Some(unsafe { lu_pci::from_raw(pdev) })
    }

    /// Returns what the device is behind.
    pub(crate) fn iommu(self) -> usize {
        // SAFETY: By the type invariants.
        let iommu = unsafe { (*(*self.as_raw()).iommu).iommu_dev };

        iommu.addr()
    }

    fn ops(self) -> Result<&'static bindings::iommu_liveupdate_ops> {
        // SAFETY: By the type invariants.
        let iommu = unsafe { (*(*self.as_raw()).iommu).iommu_dev };

        // SAFETY: By the type invariants, an IOMMU has operations.
        let ops = unsafe { (*(*iommu).ops).liveupdate_ops };

        // SAFETY: A static structure, or null.
        unsafe { ops.as_ref() }.ok_or(ENODEV)
    }

    /// Checks that the driver of its IOMMU hands over page tables.
    ///
    /// # Errors
    ///
    /// `ENODEV` if it hands over none.
    pub(crate) fn check_driver(self) -> Result {
        self.ops().map(|_| ())
    }

    /// Checks that the IOMMU group of the device is one that may go along.
    pub(crate) fn check_group(self, domain: Domain) -> Result {
        // SAFETY: By the type invariants.
        to_result(unsafe { bindings::iommu_liveupdate_check_group(self.as_raw(), domain.as_raw()) })
    }

    /// Returns whether something holds for each device in the IOMMU group of this one.
    ///
    /// The lock of the group is held while `f` is called.
    pub(crate) fn all_in_group<F: FnMut(Self) -> bool>(self, mut f: F) -> bool {
        // SAFETY: By the type invariants. Does not change while the device is there.
        let group = unsafe { (*self.as_raw()).iommu_group };

        // SAFETY: A device with an IOMMU has a group. `refuses` gets what it is for.
        let refused = unsafe {
            bindings::iommu_group_for_each_dev(group, (&raw mut f).cast(), Some(refuses::<F>))
        };
        refused == 0
    }

    /// Preserves the tables of the IOMMU that the device is behind.
    pub(crate) fn preserve_iommu(self) -> Result<RawHwSer> {
        let mut ser = RawHwSer::new_zeroed();
        let preserve = self.ops()?.preserve_iommu.ok_or(EOPNOTSUPP)?;

        // SAFETY: By the type invariants. `RawHwSer` has the layout of the structure.
        to_result(unsafe { preserve(self.as_raw(), (&raw mut ser).cast()) })?;
        Ok(ser)
    }

    /// Unpreserves the tables of the IOMMU that the device is behind.
    pub(crate) fn unpreserve_iommu(self, ser: &RawHwSer) {
        if let Some(unpreserve) = self.ops().ok().and_then(|ops| ops.unpreserve_iommu) {
            // SAFETY: By the type invariants. `RawHwSer` has the layout of the structure.
            unsafe { unpreserve(self.as_raw(), ptr::from_ref(ser).cast()) };
        }
    }

    /// Preserves the tables that the IOMMU has for the device alone.
    pub(crate) fn preserve(self, domain: Domain) -> Result<RawDeviceSer> {
        let mut ser = RawDeviceSer::new_zeroed();
        let preserve = self.ops()?.preserve_device.ok_or(EOPNOTSUPP)?;

        // SAFETY: By the type invariants. `RawDeviceSer` has the layout of the structure.
        to_result(unsafe { preserve(self.as_raw(), domain.as_raw(), (&raw mut ser).cast()) })?;
        Ok(ser)
    }

    /// Unpreserves the tables that the IOMMU has for the device, which was preserved with this domain.
    pub(crate) fn unpreserve(self, domain: Domain, ser: &RawDeviceSer) {
        if let Some(unpreserve) = self.ops().ok().and_then(|ops| ops.unpreserve_device) {
            // SAFETY: By the type invariants. `RawDeviceSer` has the layout of the structure.
            unsafe { unpreserve(self.as_raw(), domain.as_raw(), ptr::from_ref(ser).cast()) };
        }
    }

    /// Checks that the IOMMU has for the device what was preserved, or says what is wrong.
    pub(crate) fn check(self, device: &RawDeviceSer, domain: &RawDomainSer) -> Result {
        let Some(check) = self.ops()?.check_device else {
            return Ok(());
        };

        // SAFETY: By the type invariants. The records have the layouts of the structures.
        to_result(unsafe {
            check(
                self.as_raw(),
                ptr::from_ref(device).cast(),
                ptr::from_ref(domain).cast(),
            )
        })
    }

    /// Has the device keep what it has when the IOMMU is shut down.
    pub(crate) fn keep(
        self,
        device: &RawDeviceSer,
        domain: &RawDomainSer,
        iommu: &mut RawHwSer,
    ) -> Result {
        let keep = self.ops()?.keep_device.ok_or(EOPNOTSUPP)?;

        // SAFETY: By the type invariants. The records have the layouts of the structures.
        to_result(unsafe {
            keep(
                self.as_raw(),
                ptr::from_ref(device).cast(),
                ptr::from_ref(domain).cast(),
                ptr::from_mut(iommu).cast(),
            )
        })
    }

    /// Makes a domain of tables that were handed over.
    pub(crate) fn restore_domain(self, ser: &RawDomainSer) -> Result<Domain> {
        let restore = self.ops()?.restore_domain.ok_or(EOPNOTSUPP)?;

        // SAFETY: By the type invariants. `RawDomainSer` has the layout of the structure.
        let domain = from_err_ptr(unsafe { restore(self.as_raw(), ptr::from_ref(ser).cast()) })?;

        // SAFETY: A new domain, which is ours.
        unsafe { Domain::new(domain) }.ok_or(ENOMEM)
    }

    /// Prepares to attach the device to a domain that was handed over.
    pub(crate) fn restore(self, domain: Domain) -> Result {
        let restore = self.ops()?.restore_device.ok_or(EOPNOTSUPP)?;

        // SAFETY: By the type invariants.
        to_result(unsafe { restore(self.as_raw(), domain.as_raw()) })
    }

    /// Takes away what was handed over for the device.
    pub(crate) fn block(self) {
        if let Some(block) = self.ops().ok().and_then(|ops| ops.block_device) {
            // SAFETY: By the type invariants.
            unsafe { block(self.as_raw()) };
        }
    }

    /// Gives the DMA of the IOMMU group of the device to an owner, if it is that of the previous
    /// kernel's.
    ///
    /// # Safety
    ///
    /// `owner` lives until the device is finished.
    pub(crate) unsafe fn transfer_owner(self, owner: *mut c_void) -> Result {
        // SAFETY: By the type invariants, and by function requirement.
        to_result(unsafe { bindings::iommu_liveupdate_transfer_owner(self.as_raw(), owner) })
    }

    /// Has the IOMMU group of the device owned by nobody, and attached to its default domain.
    pub(crate) fn release_group(self) -> Result {
        // SAFETY: By the type invariants.
        to_result(unsafe { bindings::iommu_liveupdate_release_group(self.as_raw()) })
    }
}

/// Calls `f` while no device is released by the IOMMU core. May sleep; `f` must not do the same again.
pub(crate) fn keep_devices<R>(f: impl FnOnce() -> R) -> R {
    let lock = &raw mut bindings::iommu_liveupdate_lock;

    // SAFETY: A static mutex, which nobody has who calls this.
    unsafe { bindings::mutex_lock(lock) };
    let result = f();

    // SAFETY: It was taken above.
    unsafe { bindings::mutex_unlock(lock) };
    result
}

/// Returns whether a function does not return `true` for a device.
///
/// # Safety
///
/// `dev` is a device, and `f` points to the function, which nobody else has.
unsafe extern "C" fn refuses<F: FnMut(Device) -> bool>(
    dev: *mut bindings::device,
    f: *mut c_void,
) -> c_int {
    // SAFETY: By function requirement.
    let f = unsafe { &mut *f.cast::<F>() };

    // SAFETY: By function requirement.
    let holds = unsafe { Device::new(dev) }.is_some_and(f);
    (!holds).into()
}

/// A table that is there while it is walked.
///
/// # Invariants
///
/// Points to [`ENTRIES`] entries, which nobody frees for as long as this exists.
pub(crate) struct Walked(NonNull<u64>);

/// Reads an entry.
fn entry(table: &Walked, index: usize) -> u64 {
    debug_assert!(index < ENTRIES);

    // SAFETY: By the type invariants, and the index is that of an entry.
    let entry = unsafe { table.0.add(index) };

    // SAFETY: As above. Volatile, for the IOMMU may write to it.
    unsafe { entry.read_volatile() }
}

/// Returns where a table is in the direct map.
fn table_at(phys: u64) -> Result<NonNull<u64>> {
    // SAFETY: Arithmetic.
    NonNull::new(unsafe { bindings::phys_to_virt(phys) }.cast()).ok_or(EINVAL)
}

/// Returns the folio that a table is.
fn folio_at(table: NonNull<u64>) -> *mut bindings::folio {
    // SAFETY: Callers pass tables in the direct map.
    unsafe { bindings::virt_to_folio(table.as_ptr().cast()) }
}

/// Lets others run.
///
/// # Errors
///
/// `EINTR` if whoever runs is about to be killed, `ERESTARTNOINTR` if a kexec has to go first.
fn pause() -> Result {
    // SAFETY: Has no requirements but that one may sleep, as all of the below may.
    to_result(unsafe { bindings::liveupdate_pause() })
}

/// Has tables of this kernel preserved.
struct Preserve {
    /// How many are.
    done: u64,
}

impl Visitor for Preserve {
    type Table = Walked;
    type Error = Error;

    fn enter(&mut self, phys: u64) -> Result<Walked> {
        pause()?;
        let table = table_at(phys)?;

        // SAFETY: Tables of this kernel are folios.
        to_result(unsafe { bindings::kho_preserve_folio(folio_at(table)) })?;
        self.done += 1;

        // INVARIANT: The caller keeps the tables from being changed.
        Ok(Walked(table))
    }

    fn entry(&self, table: &Walked, index: usize) -> u64 {
        entry(table, index)
    }
}

/// Has tables of this kernel not preserved any more.
struct Unpreserve {
    /// How many are.
    left: u64,
}

impl Visitor for Unpreserve {
    type Table = Walked;
    type Error = ();

    fn enter(&mut self, phys: u64) -> Result<Walked, ()> {
        // What is undone is undone to the end, whoever waits.
        let _ = pause();
        self.left = self.left.checked_sub(1).ok_or(())?;
        let table = table_at(phys).map_err(|_| ())?;

        // SAFETY: Tables of this kernel are folios, and this one was preserved.
        unsafe { bindings::kho_unpreserve_folio(folio_at(table)) };

        // INVARIANT: The caller keeps the tables from being changed.
        Ok(Walked(table))
    }

    fn entry(&self, table: &Walked, index: usize) -> u64 {
        entry(table, index)
    }
}

/// Makes tables that were handed over this kernel's.
struct Adopt {
    /// How many more there can be, at most.
    left: u64,
    /// Whether the IOMMU reads them past the caches.
    incoherent: bool,
}

impl Visitor for Adopt {
    type Table = Walked;
    type Error = Error;

    fn enter(&mut self, phys: u64) -> Result<Walked> {
        // What is half adopted is lost: this goes on to the end, whoever waits.
        let _ = pause();
        self.left = self.left.checked_sub(1).ok_or(E2BIG)?;
        take_over(phys, self.incoherent)
    }

    fn entry(&self, table: &Walked, index: usize) -> u64 {
        entry(table, index)
    }
}

/// Frees tables that were handed over, each after those that it names.
struct Free {
    /// How many more there can be, at most.
    left: u64,
}

impl Visitor for Free {
    type Table = Walked;
    type Error = Error;

    fn enter(&mut self, phys: u64) -> Result<Walked> {
        // What is half freed is lost: this goes on to the end, whoever waits.
        let _ = pause();
        self.left = self.left.checked_sub(1).ok_or(E2BIG)?;
        take_over(phys, false)
    }

    fn entry(&self, table: &Walked, index: usize) -> u64 {
        entry(table, index)
    }

    fn leave(&mut self, table: Walked) {
        // SAFETY: `enter` took it over, and it is shown once more only.
        unsafe { bindings::iommu_free_pages(table.0.as_ptr().cast()) };
    }
}

/// Takes over a table that was handed over, if it was, and if nobody did before.
///
/// `incoherent` says that the IOMMU reads it past the caches.
fn take_over(phys: u64, incoherent: bool) -> Result<Walked> {
    // SAFETY: Accepts any address.
    if !unsafe { bindings::kho_is_preserved(phys, 0) } {
        return Err(EINVAL);
    }
    // SAFETY: Accepts any memory, which this is, and restores it once.
    if unsafe { bindings::kho_restore_folio(phys) }.is_null() {
        return Err(EINVAL);
    }
    let table = table_at(phys)?;

    // SAFETY: Just restored, as a folio that is ours.
    unsafe { lu_iommu::restored(table.as_ptr().cast(), incoherent) };

    // INVARIANT: Ours, and it is freed by its domain only, or by `Free::leave()`, which has the last one.
    Ok(Walked(table))
}

/// Preserves all tables of a domain, or none. Returns how many there are.
///
/// Fails as [`pause`]. The caller keeps them from being changed until they are unpreserved.
pub(crate) fn preserve_tables(format: Format, top: u64, level: u8) -> Result<u64> {
    let mut visitor = Preserve { done: 0 };

    match tables::walk(&mut visitor, format, top, level) {
        Ok(()) => Ok(visitor.done),
        Err(err) => {
            unpreserve_tables(format, top, level, visitor.done);
            Err(err)
        }
    }
}

/// Unpreserves the first tables of a domain, of which `count` were preserved.
pub(crate) fn unpreserve_tables(format: Format, top: u64, level: u8, count: u64) {
    // Ends early when all that were preserved are not any more.
    let _ = tables::walk(&mut Unpreserve { left: count }, format, top, level);
}

/// Makes all tables of a domain this kernel's, at most as many as given. If that fails some are.
pub(crate) fn adopt_tables(
    format: Format,
    top: u64,
    level: u8,
    most: u64,
    incoherent: bool,
) -> Result {
    let mut visitor = Adopt {
        left: most,
        incoherent,
    };

    tables::walk(&mut visitor, format, top, level)
}

/// Frees all tables of a domain that were handed over, at most as many as given. If that fails some are.
pub(crate) fn free_tables(format: Format, top: u64, level: u8, most: u64) -> Result {
    tables::walk(&mut Free { left: most }, format, top, level)
}

/// Takes away what an IOMMU has of a device that was not found.
pub(crate) fn end_device(kind: u64, token: u64, bdf: u16) {
    if kind == Unit::INTEL {
        end_intel_device(token, bdf);
    }
}

#[cfg(CONFIG_INTEL_IOMMU_LIVEUPDATE)]
fn end_intel_device(token: u64, bdf: u16) {
    // SAFETY: Accepts any numbers.
    unsafe { bindings::intel_liveupdate_end_device(token, bdf) };
}

#[cfg(not(CONFIG_INTEL_IOMMU_LIVEUPDATE))]
fn end_intel_device(_token: u64, _bdf: u16) {}

/// Counts tables that were handed over, before they are this kernel's, or takes them off the count.
pub(crate) fn account(top: u64, tables: isize) {
    if let Ok(table) = table_at(top) {
        // SAFETY: Memory that was handed over, or is ours.
        unsafe { lu_iommu::account(table.as_ptr().cast(), tables) };
    }
}

/// Gives a domain a first table of its own in place of one that cannot be freed.
pub(crate) fn forget_tables(domain: Domain) {
    // SAFETY: Has no requirements. May sleep. Does not fail.
    let top = unsafe {
        bindings::iommu_alloc_pages_node_sz(
            bindings::NUMA_NO_NODE,
            bindings::GFP_KERNEL | bindings::__GFP_NOFAIL,
            PAGE_SIZE,
        )
    };

    // SAFETY: It was handed over, and so is of a driver that made it of such tables.
    let common = unsafe { common_of(domain) };

    // SAFETY: The domain is about to be freed, and has no other user.
    unsafe { replace_top(common, top) };
}

// The formats that can be handed over begin with what all formats have, and so does what is common.
static_assert!(offset_of!(bindings::pt_iommu_vtdss, vtdss_pt) == size_of::<bindings::pt_iommu>());
static_assert!(offset_of!(bindings::pt_vtdss, common) == 0);
static_assert!(offset_of!(bindings::pt_iommu_x86_64, x86_64_pt) == size_of::<bindings::pt_iommu>());
static_assert!(offset_of!(bindings::pt_x86_64, common) == 0);
static_assert!(offset_of!(bindings::pt_iommu, domain) == 0);

/// Returns what all formats of page tables have in common.
///
/// # Safety
///
/// The domain has page tables of a format that can be handed over.
unsafe fn common_of(domain: Domain) -> *mut bindings::pt_common {
    let table = domain.as_raw().cast::<bindings::pt_iommu>();

    // SAFETY: By function requirement, and the assertions above.
    unsafe { table.add(1) }.cast()
}

/// Has page tables begin with another table, of the same level, and returns the one that they began with.
///
/// # Safety
///
/// `common` is of page tables that nobody else changes, and `top` a table.
unsafe fn replace_top(common: *mut bindings::pt_common, top: *mut c_void) -> *mut c_void {
    const LEVEL: usize = bindings::PT_TOP_LEVEL_MASK as usize;

    // SAFETY: By function requirement.
    let place = unsafe { &raw mut (*common).top_of_table };
    // SAFETY: By function requirement.
    let old = unsafe { place.read() };

    // SAFETY: By function requirement. Volatile, for others may walk the tables.
    unsafe { place.write_volatile(top.expose_provenance() | (old & LEVEL)) };
    ptr::with_exposed_provenance_mut(old & !LEVEL)
}

/// Stores a value where C code wants it.
///
/// # Safety
///
/// `to` can be written to.
pub(crate) unsafe fn store<T>(to: *mut T, value: T) {
    // SAFETY: By function requirement.
    unsafe { to.write(value) };
}
