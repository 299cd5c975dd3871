// SPDX-License-Identifier: GPL-2.0

//! Domains, and what is kept with those that were handed over.

use super::{
    super::{
        entries::Kind,
        kept::Kept, //
    },
    kind_of,
    IncomingTable, //
};
use core::{
    ops::Deref,
    ptr::{
        self,
        NonNull, //
    },
};
use kernel::{
    bindings,
    prelude::*,
    sync::atomic::{
        atomic_store,
        Relaxed, //
    },
    types::{
        ForeignOwnable,
        Opaque, //
    },
};

/// A domain.
///
/// # Invariants
///
/// Is a domain for as long as it is borrowed. What is kept with it is a [`Kept`], or nothing.
#[repr(transparent)]
pub(crate) struct Domain(Opaque<bindings::iommu_domain>);

/// Tells domains apart.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct DomainId(usize);

impl Domain {
    /// Borrows a domain that C code passed, unless it is null.
    ///
    /// # Safety
    ///
    /// `domain` is null, or points to a domain for `'a`.
    pub(crate) unsafe fn from_raw<'a>(domain: *mut bindings::iommu_domain) -> Option<&'a Self> {
        // INVARIANT: By function requirement. Nobody else keeps anything with domains.
        //
        // SAFETY: By function requirement. The type is transparent.
        unsafe { domain.cast::<Self>().as_ref() }
    }

    /// Returns the domain as C knows it.
    pub(crate) fn as_raw(&self) -> *mut bindings::iommu_domain {
        self.0.get()
    }

    /// Returns what tells the domain apart from others.
    pub(crate) fn id(&self) -> DomainId {
        DomainId(self.as_raw().addr())
    }

    /// Returns the kind of IOMMU that the domain is for, if the driver of that hands over its tables.
    pub(crate) fn kind(&self) -> Option<Kind> {
        // SAFETY: By the type invariants. Does not change once the domain is there.
        let owner = unsafe { (*self.as_raw()).owner };

        // SAFETY: Domains that somebody allocated have an owner, which stays; static ones have none.
        kind_of(unsafe { owner.as_ref() }?)
    }

    /// Has no device be attached to the domain any more.
    pub(crate) fn set_refused(&self) {
        // SAFETY: By the type invariants.
        let refused = unsafe { &raw mut (*self.as_raw()).liveupdate_refused };

        // SAFETY: Valid. Nobody clears it, and nothing is concluded from it but this.
        unsafe { atomic_store(refused, true, Relaxed) };
    }

    /// Returns what is kept with the domain, which is something if it was handed over.
    pub(crate) fn kept(&self) -> Option<Pin<&Kept>> {
        // SAFETY: By the type invariants. Set before anybody else knows the domain.
        let kept = unsafe { (*self.as_raw()).liveupdate };

        // SAFETY: By the type invariants, null, or from `OwnedDomain::keep`. It is freed when nobody has
        // the domain any more.
        (!kept.is_null()).then(|| unsafe { Pin::<KBox<Kept>>::borrow(kept.cast()) })
    }
}

/// A domain whose page table nobody changes.
///
/// # Invariants
///
/// Nobody changes what the domain maps, for as long as this exists.
#[derive(Clone, Copy)]
pub(crate) struct HeldDomain<'a>(&'a Domain);

impl<'a> HeldDomain<'a> {
    /// Borrows a domain that C code passed, unless it is null.
    ///
    /// # Safety
    ///
    /// As [`Domain::from_raw`], and nobody changes what the domain maps for `'a`, nor until tables that were
    /// preserved by way of the result are not preserved any more.
    pub(crate) unsafe fn from_raw(domain: *mut bindings::iommu_domain) -> Option<Self> {
        // INVARIANT: By function requirement.
        //
        // SAFETY: By function requirement.
        unsafe { Domain::from_raw(domain) }.map(Self)
    }
}

impl Deref for HeldDomain<'_> {
    type Target = Domain;

    fn deref(&self) -> &Domain {
        self.0
    }
}

/// A domain that its driver is about to free.
///
/// # Invariants
///
/// Nobody else has the domain.
pub(crate) struct DyingDomain<'a>(&'a Domain);

impl<'a> DyingDomain<'a> {
    /// Borrows a domain that C code is about to free, unless it is null.
    ///
    /// # Safety
    ///
    /// As [`Domain::from_raw`], and nobody else has the domain.
    pub(crate) unsafe fn from_raw(domain: *mut bindings::iommu_domain) -> Option<Self> {
        // INVARIANT: By function requirement.
        //
        // SAFETY: By function requirement.
        unsafe { Domain::from_raw(domain) }.map(Self)
    }

    /// Borrows the domain as one whose page table nobody changes.
    pub(crate) fn held(&self) -> HeldDomain<'_> {
        // INVARIANT: By the type invariants, nobody else has the domain.
        HeldDomain(self.0)
    }

    /// Takes back what is kept with the domain.
    pub(crate) fn take_kept(&mut self) -> Option<Pin<KBox<Kept>>> {
        // SAFETY: By the type invariants of `Domain`.
        let place = unsafe { &raw mut (*self.as_raw()).liveupdate };
        // SAFETY: By the type invariants.
        let kept = unsafe { place.replace(ptr::null_mut()) };

        // SAFETY: By the type invariants of `Domain`, null, or from `OwnedDomain::keep`. By those of this
        // type, nobody borrows it.
        unsafe { Pin::<KBox<Kept>>::try_from_foreign(kept.cast()) }
    }
}

impl Deref for DyingDomain<'_> {
    type Target = Domain;

    fn deref(&self) -> &Domain {
        self.0
    }
}

/// A domain that was made of a record, and that is freed with this, unless it was given away.
///
/// # Invariants
///
/// Points to a domain, which is freed when this is dropped, and not before. One that was given away is
/// forgotten, and not used any more when its passage has ended.
pub(crate) struct OwnedDomain(NonNull<Domain>);

// SAFETY: Domains belong to no thread.
unsafe impl Send for OwnedDomain {}

// SAFETY: As above. What is done to a domain is locked by its users.
unsafe impl Sync for OwnedDomain {}

impl OwnedDomain {
    /// Takes over a domain.
    ///
    /// # Safety
    ///
    /// `domain` is null, or a domain that nobody else has.
    unsafe fn from_raw(domain: *mut bindings::iommu_domain) -> Option<Self> {
        // INVARIANT: By function requirement.
        NonNull::new(domain.cast()).map(Self)
    }

    /// Returns what tells the domain apart from others, which may be gone if it was given away.
    pub(crate) fn id(&self) -> DomainId {
        DomainId(self.0.addr().get())
    }

    /// Keeps something with the domain, which nothing was kept with.
    fn keep(&mut self, kept: Pin<KBox<Kept>>) {
        // SAFETY: By the type invariants, and it is borrowed by nobody else.
        unsafe { (*self.as_raw()).liveupdate = kept.into_foreign().cast() };
    }
}

/// A domain that a driver made of a record, and which maps nothing yet. It is freed with this.
pub(crate) struct NewDomain(OwnedDomain);

impl NewDomain {
    /// Takes over a domain that is new.
    ///
    /// # Safety
    ///
    /// `domain` is null, or a domain that maps nothing, and that nobody else has.
    pub(crate) unsafe fn from_raw(domain: *mut bindings::iommu_domain) -> Option<Self> {
        // SAFETY: By function requirement.
        unsafe { OwnedDomain::from_raw(domain) }.map(Self)
    }

    /// Has the domain begin with a table that was handed over, and keeps with the domain what says so: the
    /// table, and those below it, are not this kernel's.
    ///
    /// A first table of another format or level does no harm: what it names is not taken over then.
    ///
    /// # Errors
    ///
    /// `EOPNOTSUPP` if its page table is none of `drivers/iommu/generic_pt`.
    pub(crate) fn begin_with(
        self,
        top: IncomingTable,
        kept: Pin<KBox<Kept>>,
    ) -> Result<OwnedDomain> {
        let Self(mut domain) = self;

        // SAFETY: By the type invariants, nobody else has it, and it maps nothing. Those who free it take the
        // tables over first, or forget them: see `DyingDomain`.
        unsafe { domain.replace_top(top) }?;
        domain.keep(kept);
        Ok(domain)
    }
}

impl Deref for NewDomain {
    type Target = Domain;

    fn deref(&self) -> &Domain {
        &self.0
    }
}

impl Deref for OwnedDomain {
    type Target = Domain;

    fn deref(&self) -> &Domain {
        // SAFETY: By the type invariants.
        unsafe { self.0.as_ref() }
    }
}

impl Drop for OwnedDomain {
    fn drop(&mut self) {
        // SAFETY: By the type invariants. Devices that were attached to it are not any more.
        unsafe { bindings::iommu_domain_free(self.as_raw()) };
    }
}
