// SPDX-License-Identifier: GPL-2.0

//! What iommufds hand over by way of the IOMMU core: domains and devices, as that knows them.

use super::{
    Device,
    Held, //
};
use core::{
    marker::PhantomData,
    num::{
        NonZeroU64,
        NonZeroUsize, //
    },
    ptr::NonNull, //
};
use kernel::bindings;

/// What another kernel knows a domain by: of the next one, what this one preserves; of the previous one,
/// what it said, which is an allegation.
///
/// Any number but zero is one. It is looked up, and not followed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct DomainHandle(pub(super) NonZeroU64);

impl From<NonZeroU64> for DomainHandle {
    fn from(number: NonZeroU64) -> Self {
        Self(number)
    }
}

impl From<DomainHandle> for NonZeroU64 {
    fn from(handle: DomainHandle) -> Self {
        handle.0
    }
}

/// What tells an iommufd from other owners of DMA: its address, which is compared, and never followed.
#[derive(Clone, Copy)]
#[cfg_attr(
    not(CONFIG_IOMMU_LIVEUPDATE),
    expect(dead_code, reason = "nothing hands over page tables")
)]
pub(super) struct Owner(pub(super) NonZeroUsize);

/// A paging domain, whose mappings are held.
///
/// # Invariants
///
/// `domain` is one, which exists for `'a`.
#[derive(Clone, Copy)]
pub(super) struct Domain<'a> {
    domain: *mut bindings::iommu_domain,
    _hwpt: PhantomData<&'a Held>,
}

impl Domain<'_> {
    /// Returns the domain that `domain` points to.
    ///
    /// # Safety
    ///
    /// It is a paging domain, which exists, and whose mappings are held, for the lifetime.
    pub(super) unsafe fn from_raw(domain: *mut bindings::iommu_domain) -> Self {
        // INVARIANT: By function requirement.
        Self {
            domain,
            _hwpt: PhantomData,
        }
    }

    /// Returns the domain as C knows it.
    pub(super) fn as_ptr(self) -> *mut bindings::iommu_domain {
        self.domain
    }
}

/// A device, and the domain that it is attached to.
///
/// # Invariants
///
/// `dev` is attached to `domain` for `'a`.
#[derive(Clone, Copy)]
#[cfg_attr(
    not(CONFIG_IOMMU_LIVEUPDATE),
    expect(dead_code, reason = "nothing hands over page tables")
)]
pub(super) struct Attached<'a> {
    pub(super) domain: NonNull<bindings::iommu_domain>,
    pub(super) dev: NonNull<bindings::device>,
    _bound: PhantomData<Device<'a>>,
}

impl Attached<'_> {
    /// Returns a device that is attached to a domain.
    ///
    /// # Safety
    ///
    /// `dev` is attached to `domain`, and stays so for the lifetime.
    pub(super) unsafe fn from_raw(
        domain: NonNull<bindings::iommu_domain>,
        dev: NonNull<bindings::device>,
    ) -> Self {
        // INVARIANT: By function requirement.
        Self {
            domain,
            dev,
            _bound: PhantomData,
        }
    }
}
