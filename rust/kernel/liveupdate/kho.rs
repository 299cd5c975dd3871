// SPDX-License-Identifier: GPL-2.0

//! Owners of memory that is handed over from one kernel to the next.
//!
//! In the kernel that hands over, an owner keeps memory preserved for as long as it lives: dropping
//! it takes the memory back, a kexec in between hands it over. [`commit`](Outgoing::commit) leaves
//! the memory preserved without an owner.
//!
//! - [`Outgoing`]: one [`Record`], allocated for the purpose.
//! - [`Preserved`]: memory that has a life of its own, a [`Folio`] or a run of [`Pages`].
//! - [`BlockSet`]: any number of entries of one type.
//!
//! In the kernel that takes over, [`Restored`], [`Folio::restore`], [`Pages::restore`] and
//! [`IncomingBlocks`] make ordinary memory of it again, which dropping frees.
//!
//! All of it may sleep. Memory can be handed over between `fs_initcall` (KHO is not ready before)
//! and the last `freeze` callback, and taken over from `early_initcall` on.
//!
//! Incoming memory can be restored once: a second attempt fails, in Rust as in C. That is true for the
//! memory of files that C code handles, too.
//!
//! C header: [`include/linux/kexec_handover.h`](srctree/include/linux/kexec_handover.h)

mod block;
mod memory;

pub use self::{
    block::{
        BlockSet,
        IncomingBlocks, //
    },
    memory::{
        Folio,
        Memory,
        Pages,
        Preserved, //
    },
};

use super::{
    abi::{
        order_of,
        AllegedAddress,
        Handle,
        PhysRef,
        Record, //
    },
    enabled, //
};
use crate::{
    alloc::Flags,
    bindings,
    prelude::*, //
};
use core::{
    marker::PhantomData,
    mem::size_of,
    ops::{
        Deref,
        DerefMut, //
    },
    ptr::NonNull, //
};

/// Returns whether the previous kernel preserved `2^order` pages at an address, and nobody restored
/// them.
///
/// As [`AllegedAddress::is_preserved`].
pub fn is_preserved(address: impl Into<AllegedAddress>, order: u32) -> bool {
    address.into().is_preserved(order)
}

/// A record for the next kernel, in memory that is preserved.
///
/// Dropping it takes the memory back: the next kernel will not find the record.
///
/// # Invariants
///
/// `memory` begins with a `T`.
///
/// # Examples
///
/// ```
/// use kernel::liveupdate::kho;
///
/// #[derive(FromBytes, IntoBytes, zerocopy_derive::Immutable, zerocopy_derive::KnownLayout)]
/// #[repr(C)]
/// struct CounterSer {
///     version: u32,
///     reserved: u32,
///     count: u64,
/// }
///
/// # if kernel::liveupdate::enabled() {
/// let record = CounterSer { version: 1, reserved: 0, count: 0 };
/// let mut record = kho::Outgoing::new(record, GFP_KERNEL_ACCOUNT)?;
/// record.count = 42;
///
/// // What LUO is to tell the next kernel.
/// let handle = record.handle();
/// assert_ne!(handle.get(), 0);
/// # }
/// # Ok::<(), Error>(())
/// ```
pub struct Outgoing<T: Record> {
    memory: Preserved<Folio>,
    _record: PhantomData<T>,
}

impl<T: Record> Outgoing<T> {
    /// Allocates memory, has it preserved and moves `record` there.
    ///
    /// User space that can have any number of records made is charged for them: give
    /// `GFP_KERNEL_ACCOUNT` then.
    ///
    /// # Errors
    ///
    /// - `EOPNOTSUPP` if the Live Update Orchestrator does not run.
    /// - `EINVAL` for a record without a size, or larger than the largest block of pages.
    /// - `ENOMEM` if memory is short.
    /// - `EINVAL` if memory was found where the next kernel boots (only checked with
    ///   `CONFIG_KEXEC_HANDOVER_DEBUG`).
    pub fn new(record: T, flags: Flags) -> Result<Self> {
        if !enabled() {
            return Err(EOPNOTSUPP);
        }
        if size_of::<T>() == 0 {
            return Err(EINVAL);
        }

        let mut folio = Folio::new(flags, order_of(size_of::<T>()))?;

        folio[..size_of::<T>()].copy_from_slice(record.as_bytes());

        // INVARIANT: Just written.
        Ok(Self {
            memory: Preserved::new(folio).map_err(|(err, _folio)| err)?,
            _record: PhantomData,
        })
    }

    /// Returns what the next kernel finds the record by.
    pub fn handle(&self) -> Handle {
        self.memory.phys().into()
    }

    /// Leaves the record to the next kernel, for good.
    ///
    /// Nothing in this kernel can take the memory back afterwards. For code that runs when a kexec
    /// cannot be aborted any more.
    pub fn commit(self) -> Handle {
        self.memory.commit().into()
    }
}

impl<T: Record> Deref for Outgoing<T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: By the type invariants, borrowed as `self` is, and aligned to a page.
        unsafe { &*self.memory.as_ptr().cast::<T>() }
    }
}

impl<T: Record> DerefMut for Outgoing<T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: By the type invariants, borrowed as `self` is, and aligned to a page.
        unsafe { &mut *self.memory.as_mut_ptr().cast::<T>() }
    }
}

/// A record of the previous kernel, in memory that this kernel took over.
///
/// What it says is an allegation still. Dropping it frees the memory.
///
/// # Invariants
///
/// `record` points to memory that holds a `T`, that was restored as a folio, and that only this
/// object refers to.
pub struct Restored<T: Record> {
    record: NonNull<T>,
}

// SAFETY: It owns the record and the folio that it lives in.
unsafe impl<T: Record + Send> Send for Restored<T> {}

// SAFETY: A shared reference gives out shared references to the record only.
unsafe impl<T: Record + Sync> Sync for Restored<T> {}

impl<T: Record> Restored<T> {
    /// Takes over the record that `reference` names.
    ///
    /// # Errors
    ///
    /// `EINVAL` if the memory was restored since the reference was made.
    pub(super) fn new(reference: PhysRef<T>) -> Result<Self> {
        let address = reference.address();

        // Ask again, for restoring what was restored warns.
        let _: PhysRef<T> = address.try_into()?;

        // Restores it once, also if somebody else asks at the same time.
        //
        // SAFETY: `kho_restore_folio()` accepts any address of memory, which this is, as just asked.
        let folio = unsafe { bindings::kho_restore_folio(address.get()) };
        if folio.is_null() {
            return Err(EINVAL);
        }

        let record = NonNull::new(address.to_virt()).ok_or(EINVAL)?;

        // INVARIANT: The folio is new to this kernel and has the order of a `T`; any bytes are one.
        Ok(Self {
            record: record.cast(),
        })
    }
}

impl<T: Record> Deref for Restored<T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: By the type invariants, and borrowed as `self` is.
        unsafe { self.record.as_ref() }
    }
}

impl<T: Record> Drop for Restored<T> {
    fn drop(&mut self) {
        // SAFETY: By the type invariants, `record` is in a folio.
        let folio = unsafe { bindings::virt_to_folio(self.record.as_ptr().cast()) };

        // SAFETY: By the type invariants, the reference to the folio is ours.
        unsafe { bindings::folio_put(folio) };
    }
}

#[cfg(CONFIG_RUST_LIVEUPDATE_KUNIT_TEST)]
#[kunit_tests(rust_liveupdate_kho)]
mod tests {
    use super::*;

    #[test]
    fn outgoing_record_reads_back_and_has_an_address() -> Result {
        let mut record = Outgoing::new([1u64, 2, 3], GFP_KERNEL)?;
        record[1] = 20;

        assert_eq!(*record, [1, 20, 3]);
        assert_ne!(record.handle().get(), 0);
        assert_eq!(record.handle().get() % crate::page::PAGE_SIZE as u64, 0);
        Ok(())
    }

    #[test]
    fn two_outgoing_records_do_not_share_memory() -> Result {
        let a = Outgoing::new(1u64, GFP_KERNEL)?;
        let b = Outgoing::new(2u64, GFP_KERNEL)?;

        assert_ne!(a.handle().get(), b.handle().get());
        assert_eq!((*a, *b), (1, 2));
        Ok(())
    }

    #[test]
    fn refuses_a_record_without_a_size() {
        assert_eq!(Outgoing::new([0u64; 0], GFP_KERNEL).err(), Some(EINVAL));
    }

    #[test]
    fn churn_does_not_exhaust_memory() -> Result {
        // 16 MiB in all; the test of leaks over many rounds is the memory counted around it.
        for _ in 0..4096 {
            Outgoing::new([0u8; 4096], GFP_KERNEL_ACCOUNT)?;
        }
        Ok(())
    }
}
