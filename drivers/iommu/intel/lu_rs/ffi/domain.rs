// SPDX-License-Identifier: GPL-2.0

//! Domains of the driver: what their tables are, and which tag they have behind a unit.

use super::{
    info_of,
    Unit, //
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
    liveupdate::iommu::{
        Features,
        Format,
        RawDomainSer, //
    },
    prelude::*, //
};
use zerocopy::FromZeros;

/// The bits of [`pt_common::top_of_table`](bindings::pt_common) that have the level.
const LEVEL: usize = bindings::PT_TOP_LEVEL_MASK as usize;

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

/// Returns what the tables of a domain are, but for their number.
///
/// # Errors
///
/// `EOPNOTSUPP` if they cannot be preserved, `EBUSY` if it is tracked which pages are written to.
///
/// # Safety
///
/// `domain` is a domain of the driver.
pub(crate) unsafe fn describe(domain: *mut bindings::iommu_domain) -> Result<RawDomainSer> {
    // A domain of the driver begins with what the core knows of it.
    let dmar = domain.cast::<bindings::dmar_domain>();
    // SAFETY: By function requirement. Does not change.
    let ops = unsafe { (*domain).ops };

    let (format, common) = if ptr::eq(ops, &raw const bindings::intel_ss_paging_domain_ops) {
        // SAFETY: By function requirement, and these operations are for such tables.
        let common = unsafe { &raw const (*dmar).__bindgen_anon_1.sspt.vtdss_pt.common };
        (Format::SecondStage, common)
    } else if ptr::eq(ops, &raw const bindings::intel_fs_paging_domain_ops) {
        // SAFETY: As above.
        let common = unsafe { &raw const (*dmar).__bindgen_anon_1.fspt.x86_64_pt.common };
        (Format::FirstStage, common)
    } else {
        return Err(EOPNOTSUPP);
    };

    // SAFETY: By function requirement.
    let pasids = unsafe { &raw mut (*dmar).dev_pasids };
    // SAFETY: By function requirement, and domains with these operations have such a list.
    let nested = unsafe { &raw mut (*dmar).__bindgen_anon_2.__bindgen_anon_1.s1_domains };
    // SAFETY: By function requirement.
    let has_faults = unsafe { (*domain).iopf_handler }.is_some();

    // SAFETY: Both are lists of the domain.
    if has_faults || !unsafe { is_empty(pasids) } || !unsafe { is_empty(nested) } {
        return Err(EOPNOTSUPP);
    }
    // SAFETY: By function requirement.
    if unsafe { bindings::dmar_domain::dirty_tracking_raw(dmar) } != 0 {
        return Err(EBUSY);
    }

    // SAFETY: A part of the domain.
    let top = unsafe { (*common).top_of_table };
    // SAFETY: A part of the domain.
    let pt_features = unsafe { (*common).features };
    // SAFETY: By function requirement.
    let snoops = unsafe { bindings::dmar_domain::force_snooping_raw(dmar) } != 0;
    // SAFETY: By function requirement.
    let is_parent = unsafe { bindings::dmar_domain::nested_parent_raw(dmar) } != 0;
    // SAFETY: By function requirement.
    let has_dirty = !unsafe { (*domain).dirty_ops }.is_null();
    let is_incoherent = pt_features & (1 << bindings::pt_features_PT_FEAT_DMA_INCOHERENT) != 0;

    let mut raw = RawDomainSer::new_zeroed();
    raw.format = format as u32;
    let table = ptr::with_exposed_provenance(top & !LEVEL);
    // SAFETY: The top table of the domain, in the direct map.
    raw.top_table_phys = unsafe { bindings::virt_to_phys(table) };
    // CAST: lossless, a few bits.
    raw.top_level = (top & LEVEL) as u32;
    // SAFETY: A part of the domain.
    raw.vasz = unsafe { (*common).max_vasz_lg2 }.into();
    for (has, feature) in [
        (is_incoherent, Features::INCOHERENT),
        (snoops, Features::FORCE_COHERENCE),
        (is_parent, Features::NEST_PARENT),
        (has_dirty, Features::DIRTY_TRACKING),
    ] {
        raw.features |= if has { feature } else { 0 };
    }
    Ok(raw)
}

/// Returns what the tables of a domain are, as if there were just one.
///
/// Fails as [`describe`].
///
/// # Safety
///
/// `domain` is a domain of the driver.
pub(crate) unsafe fn describe_uncounted(
    domain: *mut bindings::iommu_domain,
) -> Result<RawDomainSer> {
    // SAFETY: By function requirement.
    let raw = unsafe { describe(domain) }?;

    Ok(RawDomainSer {
        nr_tables: 1,
        ..raw
    })
}

/// A domain that is new, and is freed if nobody takes it.
///
/// # Invariants
///
/// Points to a domain that nobody else knows.
pub(crate) struct NewDomain(NonNull<bindings::iommu_domain>);

impl NewDomain {
    /// Returns the domain, which is the caller's then.
    pub(crate) fn into_raw(self) -> *mut bindings::iommu_domain {
        let domain = self.0;

        core::mem::forget(self);
        domain.as_ptr()
    }
}

impl Drop for NewDomain {
    fn drop(&mut self) {
        // SAFETY: By the type invariants.
        unsafe { bindings::iommu_domain_free(self.0.as_ptr()) };
    }
}

/// Makes a domain of the stage and the shape that a record says. Its tables are new.
///
/// # Errors
///
/// `EINVAL` or `EOPNOTSUPP` if the unit of the device would not make the same of the tables, `ENOMEM` if
/// memory is short.
///
/// # Safety
///
/// `dev` is a device that is behind a unit.
pub(crate) unsafe fn restore_domain(
    dev: *mut bindings::device,
    raw: &RawDomainSer,
) -> Result<NewDomain> {
    // SAFETY: By function requirement.
    let iommu = unsafe { (*info_of(dev)).iommu };
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
        // SAFETY: By function requirement, its unit.
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
    // INVARIANT: As above.
    let new = NewDomain(NonNull::new(domain).ok_or(ENOMEM)?);

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

    // SAFETY: A domain of the driver.
    let now = unsafe { describe(domain) }.map_err(|_| EINVAL)?;
    let shape = |raw: &RawDomainSer| (raw.format, raw.features, raw.top_level, raw.vasz);

    if shape(&now) != shape(raw) {
        return Err(EINVAL);
    }
    Ok(new)
}

/// Returns what a domain keeps by the number of a unit, and that number.
///
/// # Safety
///
/// `dmar` is a domain of the driver.
unsafe fn tags(
    dmar: *mut bindings::dmar_domain,
    unit: Unit<'_>,
) -> (*mut bindings::xarray, c_ulong) {
    // SAFETY: By function requirement.
    let tags = unsafe { &raw mut (*dmar).iommu_array };
    // CAST: lossless, units are counted from 0 on.
    //
    // SAFETY: By the type invariants of `Unit`. Does not change.
    let number = unsafe { (*unit.as_raw()).seq_id } as c_ulong;

    (tags, number)
}

/// Returns the tag that a domain has behind a unit.
///
/// # Safety
///
/// `dmar` is a domain of the driver, which a device behind that unit is attached to.
pub(super) unsafe fn did(dmar: *mut bindings::dmar_domain, unit: Unit<'_>) -> u16 {
    // SAFETY: By function requirement.
    let (tags, number) = unsafe { tags(dmar, unit) };
    // SAFETY: By function requirement.
    let info = unsafe { bindings::xa_load(tags, number) }.cast::<bindings::iommu_domain_info>();

    // SAFETY: By function requirement, there is one, which stays while the device is attached.
    unsafe { (*info).did }
}

/// Has a domain use a reserved tag when it is first attached behind a unit, and keep it until the domain
/// is freed: there may be devices with entries that have it, and are not found yet.
///
/// # Errors
///
/// `EINVAL` if the domain has another tag there, `ENOMEM` if memory is short.
///
/// # Safety
///
/// `domain` is a domain of the driver.
pub(crate) unsafe fn set_did(
    domain: *mut bindings::iommu_domain,
    unit: Unit<'_>,
    did: u16,
) -> Result {
    let iommu = unit.as_raw();
    let info = bindings::iommu_domain_info {
        iommu,
        refcnt: 1,
        did,
    };
    let info = KBox::new(info, GFP_KERNEL)?;
    // SAFETY: By function requirement.
    let (tags, number) = unsafe { tags(domain.cast(), unit) };
    // SAFETY: By the type invariants of `Unit`.
    let lock = unsafe { &raw mut (*iommu).did_lock };

    // SAFETY: A mutex of the unit.
    unsafe { bindings::mutex_lock(lock) };
    // SAFETY: What a domain keeps, with the lock held.
    let old = unsafe { bindings::xa_load(tags, number) }.cast::<bindings::iommu_domain_info>();
    // SAFETY: Null, or of that kind. It does not go away while the lock is held.
    let result = match unsafe { old.as_ref() } {
        Some(old) if old.did == did => Ok(()),
        Some(_) => Err(EINVAL),
        None => {
            let info = KBox::into_raw(info);
            // SAFETY: As above. The driver frees it with `kfree()`, as this would.
            let stored =
                unsafe { bindings::xa_store(tags, number, info.cast(), bindings::GFP_KERNEL) };

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

/// Gives back what [`set_did`] had a domain keep.
///
/// # Safety
///
/// `domain` is a domain of the driver that nobody uses any more.
pub(crate) unsafe fn release_domain(domain: *mut bindings::iommu_domain) {
    let dmar = domain.cast::<bindings::dmar_domain>();
    // SAFETY: By function requirement.
    let tags = unsafe { &raw mut (*dmar).iommu_array };
    let mut number = 0;

    // SAFETY: By function requirement.
    let mut info =
        unsafe { bindings::xa_find(tags, &mut number, c_ulong::MAX, bindings::XA_PRESENT) };
    while !info.is_null() {
        // SAFETY: What a domain keeps for each unit.
        let iommu = unsafe { (*info.cast::<bindings::iommu_domain_info>()).iommu };

        // SAFETY: It is kept for this unit.
        unsafe { bindings::domain_detach_iommu(dmar, iommu) };
        // SAFETY: By function requirement.
        info = unsafe {
            bindings::xa_find_after(tags, &mut number, c_ulong::MAX, bindings::XA_PRESENT)
        };
    }
}

/// Keeps the tag that a domain has behind the unit of a device, whether the device is attached or not, until
/// this is dropped or forgotten: while a device is reset, it is not attached.
///
/// # Invariants
///
/// `domain` keeps its tag for the unit of `dev` once more than devices have it do so.
pub(crate) struct HeldTag {
    dev: *mut bindings::device,
    domain: *mut bindings::iommu_domain,
}

impl HeldTag {
    /// Has a domain keep its tag.
    ///
    /// # Errors
    ///
    /// `ENOMEM` if memory is short, `ENOSPC` if the domain has no tag for that unit, and there is none.
    ///
    /// # Safety
    ///
    /// `dev` is a PCI device that is behind a unit, and `domain` a domain of the driver, for as long as this
    /// exists, or until [`release`](Self::release).
    pub(crate) unsafe fn new(
        dev: *mut bindings::device,
        domain: *mut bindings::iommu_domain,
    ) -> Result<Self> {
        // SAFETY: By function requirement.
        let iommu = unsafe { (*info_of(dev)).iommu };

        // SAFETY: By function requirement.
        to_result(unsafe { bindings::domain_attach_iommu(domain.cast(), iommu) })?;

        // INVARIANT: Just held.
        Ok(Self { dev, domain })
    }

    /// Keeps the tag until somebody calls [`release`](Self::release).
    pub(crate) fn keep(self) {
        core::mem::forget(self);
    }

    /// Lets a domain give back a tag that was to be kept.
    ///
    /// # Safety
    ///
    /// [`keep`](Self::keep) was called for this device and this domain, and this was not since.
    pub(crate) unsafe fn release(dev: *mut bindings::device, domain: *mut bindings::iommu_domain) {
        // INVARIANT: By function requirement.
        drop(Self { dev, domain });
    }
}

impl Drop for HeldTag {
    fn drop(&mut self) {
        // SAFETY: By the type invariants.
        let iommu = unsafe { (*info_of(self.dev)).iommu };

        // SAFETY: By the type invariants.
        unsafe { bindings::domain_detach_iommu(self.domain.cast(), iommu) };
    }
}
