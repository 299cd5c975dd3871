// SPDX-License-Identifier: GPL-2.0

//! Domains of the driver: what their tables are, and which ID they have behind a unit.

use super::{
    super::super::{
        entries::{
            Features,
            Format,
            Kind,
            RawDomainSer, //
        },
        ffi::{
            Device,
            DeviceId,
            Domain,
            DomainId,
            DyingDomain,
            NewDomain, //
        },
    },
    Unit,
    VtdDevice, //
};
use core::ptr::{
    self,
    NonNull, //
};
use kernel::{
    bindings,
    error::{
        from_err_ptr,
        to_result, //
    },
    ffi::c_ulong,
    new_mutex,
    prelude::*,
    rbtree::RBTree,
    sync::Mutex, //
};
use zerocopy::FromZeros;

/// Returns whether nothing is on a list.
///
/// # Safety
///
/// `list` is the head of a list.
unsafe fn is_empty(list: *mut bindings::list_head) -> bool {
    // SAFETY: By function requirement. Volatile, for others may change it.
    let next = unsafe { (&raw const (*list).next).read_volatile() };

    next == list
}

/// Returns the domain as the driver knows it.
///
/// # Errors
///
/// `EOPNOTSUPP` if it is one of another driver.
fn dmar_of(domain: &Domain) -> Result<NonNull<bindings::dmar_domain>> {
    if domain.kind() != Some(Kind::Intel) {
        return Err(EOPNOTSUPP);
    }
    // A domain of the driver begins with what the core knows of it.
    NonNull::new(domain.as_raw().cast()).ok_or(EOPNOTSUPP)
}

/// Returns the record of a domain, but for the header and the number of tables.
///
/// # Errors
///
/// `EOPNOTSUPP` if the domain cannot be preserved, `EBUSY` if it is tracked which pages are written to.
pub(crate) fn describe(domain: &Domain) -> Result<RawDomainSer> {
    let dmar = dmar_of(domain)?.as_ptr();
    // SAFETY: By the type invariants of `Domain`. Does not change.
    let ops = unsafe { (*domain.as_raw()).ops };

    let format = if ptr::eq(ops, &raw const bindings::intel_ss_paging_domain_ops) {
        Format::SecondStage
    } else if ptr::eq(ops, &raw const bindings::intel_fs_paging_domain_ops) {
        Format::FirstStage
    } else {
        return Err(EOPNOTSUPP);
    };

    // SAFETY: A domain of the driver.
    let pasids = unsafe { &raw mut (*dmar).dev_pasids };
    // SAFETY: A domain of the driver; domains with these operations have such a list.
    let nested = unsafe { &raw mut (*dmar).__bindgen_anon_2.__bindgen_anon_1.s1_domains };
    // SAFETY: By the type invariants of `Domain`.
    let has_faults = unsafe { (*domain.as_raw()).iopf_handler }.is_some();

    // SAFETY: Both are lists of the domain.
    if has_faults || !unsafe { is_empty(pasids) } || !unsafe { is_empty(nested) } {
        return Err(EOPNOTSUPP);
    }
    // SAFETY: A domain of the driver.
    if unsafe { bindings::dmar_domain::dirty_tracking_raw(dmar) } != 0 {
        return Err(EBUSY);
    }

    // SAFETY: A domain of the driver.
    let snoops = unsafe { bindings::dmar_domain::force_snooping_raw(dmar) } != 0;
    // SAFETY: A domain of the driver.
    let is_parent = unsafe { bindings::dmar_domain::nested_parent_raw(dmar) } != 0;
    // SAFETY: By the type invariants of `Domain`.
    let has_dirty = !unsafe { (*domain.as_raw()).dirty_ops }.is_null();

    let mut raw = RawDomainSer::new_zeroed();
    raw.format = format as u32;
    domain.describe_tables(&mut raw)?;
    for (has, feature) in [
        (snoops, Features::FORCE_COHERENCE),
        (is_parent, Features::NEST_PARENT),
        (has_dirty, Features::DIRTY_TRACKING),
    ] {
        raw.features |= if has { feature } else { 0 };
    }
    Ok(raw)
}

/// Makes a domain of the stage and the shape that a record says. Its tables are new.
///
/// # Errors
///
/// `EINVAL` or `EOPNOTSUPP` if the unit of the device would not make the same of the tables, `ENOMEM` if
/// memory is short.
pub(crate) fn restore_domain(device: VtdDevice<'_>, raw: &RawDomainSer) -> Result<NewDomain> {
    let dev = device.device().as_raw();
    let iommu = device.unit()?.as_raw();
    let has = |feature| raw.features & feature != 0;
    let is_first_stage = raw.format == Format::FirstStage as u32;
    let mut flags = 0;

    if has(Features::NEST_PARENT) {
        flags |= bindings::iommufd_hwpt_alloc_flags_IOMMU_HWPT_ALLOC_NEST_PARENT;
    }
    if has(Features::DIRTY_TRACKING) {
        flags |= bindings::iommufd_hwpt_alloc_flags_IOMMU_HWPT_ALLOC_DIRTY_TRACKING;
    }
    let domain = from_err_ptr(if is_first_stage {
        // SAFETY: A device and its unit.
        unsafe { bindings::intel_iommu_domain_alloc_first_stage(dev, iommu, flags) }
    } else {
        // SAFETY: As above.
        unsafe { bindings::intel_iommu_domain_alloc_second_stage(dev, iommu, flags) }
    })?;
    let dmar = domain.cast::<bindings::dmar_domain>();

    // SAFETY: New, and ours.
    unsafe { (*domain).type_ = bindings::IOMMU_DOMAIN_UNMANAGED };
    // SAFETY: As above.
    unsafe { (*domain).owner = &raw const bindings::intel_iommu_ops };
    // SAFETY: As above.
    let new = unsafe { NewDomain::from_raw(domain) }.ok_or(ENOMEM)?;

    if has(Features::FORCE_COHERENCE) {
        // SAFETY: As above.
        unsafe { bindings::dmar_domain::set_force_snooping_raw(dmar, 1) };
        if !is_first_stage {
            // SAFETY: As above, and it is of that stage.
            let features =
                unsafe { &raw mut (*dmar).__bindgen_anon_1.sspt.vtdss_pt.common.features };
            // SAFETY: A part of the domain.
            unsafe { *features |= 1 << bindings::PT_FEAT_VTDSS_FORCE_COHERENCE };
        }
    }

    let now = describe(&new).map_err(|_| EINVAL)?;
    let shape = |raw: &RawDomainSer| (raw.format, raw.features, raw.top_level, raw.vasz);

    if shape(&now) != shape(raw) {
        return Err(EINVAL);
    }
    Ok(new)
}

/// Returns where a domain keeps its domain IDs, and the number by which it has that of a unit.
///
/// # Safety
///
/// `dmar` is a domain of the driver.
unsafe fn dids_of(
    dmar: NonNull<bindings::dmar_domain>,
    unit: &Unit,
) -> (*mut bindings::xarray, c_ulong) {
    // SAFETY: By function requirement.
    let dids = unsafe { &raw mut (*dmar.as_ptr()).iommu_array };
    // CAST: lossless, units are counted from 0 on.
    //
    // SAFETY: By the type invariants of `Unit`. Does not change.
    let number = unsafe { (*unit.as_raw()).seq_id } as c_ulong;

    (dids, number)
}

/// Returns the ID that a domain has behind a unit, if it has one.
pub(crate) fn did(domain: &Domain, unit: &Unit) -> Option<u16> {
    // SAFETY: A domain of the driver.
    let (dids, number) = unsafe { dids_of(dmar_of(domain).ok()?, unit) };
    // SAFETY: By the type invariants of `Unit`.
    let lock = unsafe { &raw mut (*unit.as_raw()).did_lock };

    // SAFETY: A mutex of the unit.
    unsafe { bindings::mutex_lock(lock) };
    // SAFETY: What a domain keeps, with the lock held.
    let info = unsafe { bindings::xa_load(dids, number) }.cast::<bindings::iommu_domain_info>();
    // SAFETY: Null, or of that kind. It does not go away while the lock is held.
    let did = unsafe { info.as_ref() }.map(|info| info.did);
    // SAFETY: Just taken.
    unsafe { bindings::mutex_unlock(lock) };
    did
}

/// Has a domain use a reserved domain ID when it is first attached behind a unit, and keep it until the
/// domain is freed: there may be devices with entries that have it, and are not found yet.
///
/// # Errors
///
/// `EINVAL` if the domain has another ID there, `EOPNOTSUPP` if it is one of another driver, `ENOMEM` if
/// memory is short.
pub(crate) fn set_did(domain: &Domain, unit: &Unit, did: u16) -> Result {
    let iommu = unit.as_raw();
    let info = bindings::iommu_domain_info {
        iommu,
        refcnt: 1,
        did,
    };
    let info = KBox::new(info, GFP_KERNEL)?;
    // SAFETY: A domain of the driver.
    let (dids, number) = unsafe { dids_of(dmar_of(domain)?, unit) };
    // SAFETY: By the type invariants of `Unit`.
    let lock = unsafe { &raw mut (*iommu).did_lock };

    // SAFETY: A mutex of the unit.
    unsafe { bindings::mutex_lock(lock) };
    // SAFETY: What a domain keeps, with the lock held.
    let old = unsafe { bindings::xa_load(dids, number) }.cast::<bindings::iommu_domain_info>();
    // SAFETY: Null, or of that kind. It does not go away while the lock is held.
    let result = match unsafe { old.as_ref() } {
        Some(old) if old.did == did => Ok(()),
        Some(_) => Err(EINVAL),
        None => {
            let info = KBox::into_raw(info);
            // SAFETY: As above. The driver frees it with `kfree()`, as this would.
            let stored =
                unsafe { bindings::xa_store(dids, number, info.cast(), bindings::GFP_KERNEL) };

            // SAFETY: Arithmetic.
            to_result(unsafe { bindings::xa_err(stored) }).inspect_err(|_| {
                // SAFETY: Not stored, and so still ours.
                drop(unsafe { KBox::from_raw(info) });
            })
        }
    };
    // SAFETY: Just taken.
    unsafe { bindings::mutex_unlock(lock) };
    result
}

/// Has a domain give back what [`set_did`] had it keep.
pub(crate) fn release_domain(domain: &mut DyingDomain<'_>) {
    let Ok(dmar) = dmar_of(domain) else {
        return;
    };
    // SAFETY: A domain of the driver.
    let dids = unsafe { &raw mut (*dmar.as_ptr()).iommu_array };
    let mut number = 0;

    // SAFETY: As above. Nobody else has the domain.
    let mut info =
        unsafe { bindings::xa_find(dids, &mut number, c_ulong::MAX, bindings::XA_PRESENT) };
    while !info.is_null() {
        // SAFETY: What a domain keeps for each unit.
        let iommu = unsafe { (*info.cast::<bindings::iommu_domain_info>()).iommu };

        // SAFETY: It is kept for this unit.
        unsafe { bindings::domain_detach_iommu(dmar.as_ptr(), iommu) };
        // SAFETY: As above.
        info = unsafe {
            bindings::xa_find_after(dids, &mut number, c_ulong::MAX, bindings::XA_PRESENT)
        };
    }
}

/// A reference to the domain ID of a domain on a unit, which keeps the ID across device resets.
///
/// # Invariants
///
/// The domain, which is one of the driver, keeps its ID for the unit once more than devices have it do so.
pub(crate) struct HeldDid<'a> {
    domain: &'a Domain,
    unit: &'a Unit,
}

impl<'a> HeldDid<'a> {
    /// Has a domain keep its ID for the unit of a device, or get one.
    ///
    /// # Errors
    ///
    /// `ENOMEM` if memory is short, `ENOSPC` if the domain has no ID for that unit, and there is none,
    /// `EOPNOTSUPP` if it is one of another driver.
    pub(crate) fn new(domain: &'a Domain, device: VtdDevice<'a>) -> Result<Self> {
        let unit = device.unit()?;
        let dmar = dmar_of(domain)?;

        // SAFETY: A domain of the driver, and a unit.
        to_result(unsafe { bindings::domain_attach_iommu(dmar.as_ptr(), unit.as_raw()) })?;

        // INVARIANT: Just held.
        Ok(Self { domain, unit })
    }
}

impl HeldDid<'_> {
    /// Returns the unit.
    pub(super) fn unit(&self) -> &Unit {
        self.unit
    }
}

impl Drop for HeldDid<'_> {
    fn drop(&mut self) {
        if let Ok(dmar) = dmar_of(self.domain) {
            // SAFETY: By the type invariants.
            unsafe { bindings::domain_detach_iommu(dmar.as_ptr(), self.unit.as_raw()) };
        }
    }
}

/// The domain IDs that domains keep for devices behind a unit, until those are not preserved any more.
///
/// # Invariants
///
/// For each device that is listed, the domain keeps its ID once more for the unit that the list is kept with.
#[pin_data]
pub(crate) struct HeldDids {
    #[pin]
    list: Mutex<RBTree<DeviceId, DomainId>>,
}

impl HeldDids {
    /// An empty list.
    pub(crate) fn new() -> impl PinInit<Self> {
        // INVARIANT: Nothing is listed.
        pin_init!(Self {
            list <- new_mutex!(RBTree::new()),
        })
    }

    /// Has a domain keep its ID until [`release`](Self::release) is called for the device.
    ///
    /// # Errors
    ///
    /// `ENOMEM` if memory is short.
    pub(super) fn add(&self, device: &Device, held: HeldDid<'_>) -> Result {
        let domain = held.domain.id();

        // INVARIANT: By the type invariants of `HeldDid`, of which this is one less.
        self.list
            .lock()
            .try_create_and_insert(device.id(), domain, GFP_KERNEL)?;
        core::mem::forget(held);
        Ok(())
    }

    /// Has a domain give back the ID that it kept for a device behind the unit that the list is of. Nothing
    /// happens unless the device is listed with this domain.
    pub(super) fn release(&self, device: &Device, domain: &Domain, unit: &Unit) {
        let mut list = self.list.lock();
        let is_listed = list.get(&device.id()) == Some(&domain.id());

        if is_listed && list.remove(&device.id()).is_some() {
            // INVARIANT: By the type invariants, it was listed.
            drop(HeldDid { domain, unit });
        }
    }
}
