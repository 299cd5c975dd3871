// SPDX-License-Identifier: GPL-2.0

//! What an iommufd keeps from when it is retrieved until it is finished.

use super::{
    areas::Locked as Semaphore,
    context::{
        Context,
        Locked, //
    },
    iommu,
    Device, //
};
use crate::entries::ObjectId;
use core::{
    mem,
    ptr::{
        self,
        NonNull, //
    },
};
use kernel::{
    bindings,
    error::to_result,
    ffi::c_ulong,
    liveupdate::pci::{
        self as lu_pci,
        Address, //
    },
    prelude::*,
    sync::atomic::{
        atomic_load,
        Acquire, //
    }, //
};

/// What is kept with an iommufd that was retrieved: HWPTs that nobody destroys meanwhile, as devices may use
/// their page tables, and the IDs of devices that are not bound yet.
///
/// # Invariants
///
/// `hwpts` are paging HWPTs of the iommufd that this is kept with, or is to be, each with a reference. There
/// is nothing but a reservation at the IDs of `devices`, which are in the order of their addresses.
pub(super) struct Retrieved {
    hwpts: KVec<NonNull<bindings::iommufd_hwpt_paging>>,
    devices: KVec<(Address, ObjectId)>,
}

// SAFETY: References to objects that are protected by locks.
unsafe impl Send for Retrieved {}

impl Retrieved {
    pub(super) const fn new() -> Self {
        Self {
            hwpts: KVec::new(),
            devices: KVec::new(),
        }
    }

    /// Makes room for an HWPT more than was made room for.
    pub(super) fn make_room(&mut self) -> Result {
        let room = self.hwpts.capacity() - self.hwpts.len();

        Ok(self.hwpts.reserve(room + 1, GFP_KERNEL_ACCOUNT)?)
    }

    /// Adds an HWPT, for which there is room.
    ///
    /// # Safety
    ///
    /// It is a paging HWPT of the iommufd that this is to be kept with, and comes with a reference.
    pub(super) unsafe fn add_hwpt(&mut self, hwpt: NonNull<bindings::iommufd_hwpt_paging>) {
        // INVARIANT: By function requirement.
        let _ = self.hwpts.push_within_capacity(hwpt);
    }

    /// Adds a device, whose address comes after those of all others.
    ///
    /// # Safety
    ///
    /// The ID is reserved in the iommufd that this is to be kept with, and nothing is at it.
    pub(super) unsafe fn add_device(&mut self, id: ObjectId, address: Address) -> Result {
        // INVARIANT: By function requirement.
        Ok(self.devices.push((address, id), GFP_KERNEL_ACCOUNT)?)
    }
}

/// Has the page table of an HWPT be one of the domains of its IOAS, if it maps the pages that the IOAS is said to
/// map: these are pinned then, as if the page table had been filled from them. One that cannot become one is
/// given up, unless another time may do.
///
/// # Errors
///
/// As [`Context::prove`].
///
/// # Safety
///
/// `hwpt` is an HWPT that was retrieved, and is not proved. The lock of its iommufd is held.
unsafe fn prove(hwpt: NonNull<bindings::iommufd_hwpt_paging>) -> Result {
    // SAFETY: By function requirement. An HWPT has it for life.
    let ioas = unsafe { (*hwpt.as_ptr()).ioas };
    // SAFETY: As above.
    let domain = unsafe { (*hwpt.as_ptr()).common.domain };
    // SAFETY: As above.
    let iopt = unsafe { &raw mut (*ioas).iopt };
    // SAFETY: As above.
    let _domains = unsafe { Semaphore::write_or_give_way(&raw mut (*iopt).domains_rwsem) }?;
    // SAFETY: As above.
    let _areas = unsafe { Semaphore::write_or_give_way(&raw mut (*iopt).iova_rwsem) }?;
    // SAFETY: As above.
    let proving = unsafe { &raw mut (*iopt).proving };

    // SAFETY: Both locks that protect it are held.
    unsafe { proving.write(true) };
    // SAFETY: Nobody changes an HWPT that is not proved.
    let result = unsafe { iommu::adopt(domain) }
        .map_err(|_| ESTALE)
        // SAFETY: Both locks are held.
        .and_then(|()| to_result(unsafe { bindings::__iopt_table_add_domain(iopt, domain) }));
    // SAFETY: As above.
    unsafe { proving.write(false) };

    match result {
        Ok(()) => {
            // SAFETY: By function requirement, the lock that protects it is held.
            unsafe { (*hwpt.as_ptr()).liveupdate_unproved = false };
            Ok(())
        }
        Err(err) if err == ENOMEM || err == EINTR || err == ERESTARTNOINTR => Err(err),
        Err(_) => {
            // SAFETY: By function requirement.
            unsafe { refuse(hwpt) };
            Ok(())
        }
    }
}

/// Gives up an HWPT that may map what it must not: its devices are stopped, and nothing uses its page table any
/// more.
///
/// No PASID is attached to it, and no HWPT is nested in it: either needs a proof.
///
/// # Safety
///
/// `hwpt` is an HWPT that was retrieved, and is not proved. The lock of its iommufd is held.
unsafe fn refuse(hwpt: NonNull<bindings::iommufd_hwpt_paging>) {
    // SAFETY: By function requirement.
    let id = unsafe { (*hwpt.as_ptr()).common.obj.id };

    pr_err!(
        "HWPT {id} was handed over, and it is not proved that it maps what it is said to: its devices are stopped\n"
    );
    // SAFETY: By function requirement. An HWPT has its domain for life.
    let domain = unsafe { (*hwpt.as_ptr()).common.domain };
    // SAFETY: As above.
    unsafe { iommu::refuse_domain(domain) };
    // The IOMMU core does not attach devices to it any more. The rest is up to iommufd.
    //
    // SAFETY: As above. Whoever reads it had an HWPT proved or refused before, and waits for this lock.
    unsafe { (*domain).dirty_ops = ptr::null() };
    // SAFETY: As above. Nobody writes to the bits beside it: a device for which DMA has to become coherent is not
    // attached before the proof.
    unsafe { bindings::iommufd_hwpt_paging::set_nest_parent_raw(hwpt.as_ptr(), false) };
    // SAFETY: By function requirement.
    let common = unsafe { &raw mut (*hwpt.as_ptr()).common };
    // SAFETY: As for the first bit.
    unsafe { bindings::iommufd_hw_pagetable::set_pasid_compat_raw(common, false) };
    // SAFETY: By function requirement, the lock that protects it is held.
    unsafe { (*hwpt.as_ptr()).liveupdate_unproved = false };
}

impl Context<'_> {
    /// Returns whether the iommufd was retrieved, and is not finished, which may change at any time.
    fn may_be_incoming(self) -> bool {
        // SAFETY: By the type invariants.
        let place = unsafe { &raw mut (*self.as_ptr()).liveupdate_retrieved };

        // SAFETY: Valid, and set in one piece. It is not followed. Whoever sees null sees what `refuse()` did.
        !unsafe { atomic_load(place, Acquire) }.is_null()
    }

    /// Has each page table that was handed over be compared with the pages that its IOAS is said to map.
    ///
    /// That takes longer the more is mapped. One that maps anything else, or whose pages cannot be had, is given
    /// up, which is no error.
    ///
    /// # Errors
    ///
    /// `EINTR` if whoever runs is about to be killed, `ERESTARTNOINTR` if a kexec has to go first, `ENOMEM` if
    /// memory is short, or more of it would be pinned than the owner may. What was proved before that stays so.
    pub(crate) fn prove(self) -> Result {
        let locked = self.lock();

        for hwpt in locked.unproved() {
            // SAFETY: By the type invariants of `Retrieved`, and the lock is held.
            unsafe { prove(hwpt) }?;
        }
        Ok(())
    }

    /// Does the same before something is changed, for those whom no kexec waits for.
    ///
    /// # Errors
    ///
    /// As [`prove`](Self::prove), but for `ERESTARTNOINTR`.
    pub(crate) fn prove_before_change(self) -> Result {
        if !self.may_be_incoming() {
            return Ok(());
        }
        loop {
            match self.prove() {
                Err(err) if err == ERESTARTNOINTR => super::wait()?,
                result => return result,
            }
        }
    }

    /// Ends the passage of all that has a domain which this iommufd was given by [`own`](Self::own): none
    /// of it reaches what the domain maps any more, unless the iommufd has it in an HWPT that is proved.
    pub(crate) fn end(self) {
        iommu::end_owner(self.into());

        let mut locked = self.lock();
        for hwpt in locked.unproved() {
            // SAFETY: By the type invariants of `Retrieved`, and the lock is held.
            unsafe { refuse(hwpt) };
        }
        // SAFETY: Devices that were handed over are not among those that use these any more.
        unsafe { locked.release_retrieved() };
    }
}

impl Device<'_> {
    /// Returns whether the device does DMA, since the previous kernel, by what has this ID: an HWPT, or an IOAS
    /// for which the kernel chose that HWPT and no other.
    pub(crate) fn goes_on_with(self, id: u32) -> bool {
        let Some(context) = self.context() else {
            return false;
        };
        // SAFETY: By the type invariants.
        if !unsafe { iommu::goes_on(self.dev()) } {
            return false;
        }
        // SAFETY: By the type invariants.
        let domain = unsafe { bindings::iommu_get_domain_for_dev(self.dev()) };
        let locked = context.lock();
        // Attaching a device to an IOAS takes the first of its automatic HWPTs that will do.
        let mut named = locked.retrieved_hwpts().iter().filter(|hwpt| {
            let hwpt = hwpt.as_ptr();
            // SAFETY: By the type invariants of `Retrieved`. This does not change.
            let hwpt_id = unsafe { (*hwpt).common.obj.id };
            // SAFETY: As above.
            let ioas = unsafe { (*hwpt).ioas };
            // SAFETY: As above.
            let ioas_id = unsafe { (*ioas).obj.id };
            // SAFETY: As above.
            let is_auto = unsafe { bindings::iommufd_hwpt_paging::auto_domain_raw(hwpt) };

            id == hwpt_id || is_auto && id == ioas_id
        });
        let hwpt = named.next().filter(|_| named.next().is_none());

        // SAFETY: By the type invariants of `Retrieved`. It does not change.
        hwpt.is_some_and(|hwpt| unsafe { (*hwpt.as_ptr()).common.domain } == domain)
    }
}

impl Locked<'_> {
    fn retrieved_place(&self) -> *mut *mut Retrieved {
        // SAFETY: By the type invariants.
        let place = unsafe { &raw mut (*self.context().as_ptr()).liveupdate_retrieved };

        place.cast()
    }

    /// Returns whether the iommufd was retrieved, and is not finished.
    pub(crate) fn is_incoming(&self) -> bool {
        // SAFETY: Valid, and the lock that protects it is held.
        !unsafe { self.retrieved_place().read() }.is_null()
    }

    fn retrieved(&self) -> Option<&Retrieved> {
        // SAFETY: Null, or what `NewIommufd::publish` stored. The lock that protects it is held.
        unsafe { self.retrieved_place().read().as_ref() }
    }

    fn retrieved_hwpts(&self) -> &[NonNull<bindings::iommufd_hwpt_paging>] {
        self.retrieved().map_or(&[], |retrieved| &retrieved.hwpts)
    }

    /// Returns the HWPTs that are not proved.
    fn unproved(&self) -> impl Iterator<Item = NonNull<bindings::iommufd_hwpt_paging>> + '_ {
        self.retrieved_hwpts()
            .iter()
            .copied()
            // SAFETY: By the type invariants of `Retrieved`, and the lock that protects it is held.
            .filter(|hwpt| unsafe { (*hwpt.as_ptr()).liveupdate_unproved })
    }

    /// Lets go of what is kept since the iommufd was retrieved.
    ///
    /// # Safety
    ///
    /// No device that was handed over uses an HWPT of these without a reference of its own.
    unsafe fn release_retrieved(&mut self) {
        // SAFETY: Valid, and the lock that protects it is held.
        let retrieved = unsafe { self.retrieved_place().replace(ptr::null_mut()) };

        if retrieved.is_null() {
            return;
        }
        // SAFETY: What `NewIommufd::publish` stored, and nobody has it any more.
        let retrieved = unsafe { KBox::from_raw(retrieved) };
        for hwpt in &retrieved.hwpts {
            // SAFETY: By the type invariants, the reference is ours.
            unsafe { bindings::refcount_dec(&raw mut (*hwpt.as_ptr()).common.obj.users) };
        }

        // SAFETY: By the type invariants.
        let objects = unsafe { &raw mut (*self.context().as_ptr()).objects };
        for (_, id) in &retrieved.devices {
            // CAST: lossless.
            //
            // SAFETY: By the type invariants, it is reserved only.
            unsafe { bindings::xa_erase(objects, id.get() as c_ulong) };
        }
    }
}

/// Gives a device that is being bound the ID that it had in the previous kernel, if the iommufd has that.
///
/// # Safety
///
/// `idev` is a device that is being bound, is not finalized, and that nobody else knows.
pub(crate) unsafe fn renumber_device(idev: NonNull<bindings::iommufd_device>) {
    // SAFETY: By function requirement.
    let ictx = unsafe { (*idev.as_ptr()).ictx };
    // SAFETY: As above.
    let dev = unsafe { (*idev.as_ptr()).dev };
    // SAFETY: As above.
    if !unsafe { bindings::dev_is_pci(dev) } {
        return;
    }
    // SAFETY: Devices on that bus are a part of a `pci_dev`.
    let pdev = unsafe { kernel::container_of!(dev, bindings::pci_dev, dev) };
    // SAFETY: It stays while it is being bound.
    let address = lu_pci::address(unsafe { lu_pci::from_raw(pdev) });
    let Some(ictx) = NonNull::new(ictx) else {
        return;
    };

    // SAFETY: A device keeps what it is bound to.
    let locked = unsafe { Context::from_raw(ictx) }.lock();
    // SAFETY: Null, or what `NewIommufd::publish` stored. The lock that protects it is held.
    let Some(retrieved) = (unsafe { locked.retrieved_place().read().as_mut() }) else {
        return;
    };
    let Ok(at) = retrieved
        .devices
        .binary_search_by_key(&address, |(address, _)| *address)
    else {
        return;
    };
    let Ok((_, id)) = retrieved.devices.remove(at) else {
        return;
    };

    // SAFETY: By function requirement.
    let obj = unsafe { &raw mut (*idev.as_ptr()).obj };
    // SAFETY: As above.
    let old = mem::replace(unsafe { &mut (*obj).id }, id.get());
    // CAST: lossless.
    //
    // SAFETY: What the object had is reserved only, and the other one is, too.
    unsafe { bindings::xa_erase(&raw mut (*ictx.as_ptr()).objects, old as c_ulong) };
}

/// Lets go of what an iommufd keeps since it was retrieved, as it is being closed.
///
/// # Safety
///
/// `ictx` is an iommufd that nobody else has any more.
pub(crate) unsafe fn release(ictx: NonNull<bindings::iommufd_ctx>) {
    // SAFETY: By function requirement.
    let mut locked = unsafe { Context::from_raw(ictx) }.lock();

    // SAFETY: LUO lets go of the file only after its passage has ended.
    unsafe { locked.release_retrieved() };
}
