// SPDX-License-Identifier: GPL-2.0

//! Memory with a life of its own that goes through a live update.

use super::super::{
    abi::{
        order_of,
        AllegedAddress, //
    },
    enabled, //
};
use crate::{
    alloc::Flags,
    bindings,
    error::to_result,
    page::PAGE_SIZE,
    prelude::*, //
};
use core::{
    mem::ManuallyDrop,
    num::NonZero,
    ops::{
        Deref,
        DerefMut, //
    },
    ptr::NonNull,
    slice, //
};

mod private {
    /// Memory that KHO can preserve.
    ///
    /// # Safety
    ///
    /// The memory is in the direct map and stays where it is, with its size, for as long as the
    /// object lives, also while the object is moved.
    pub unsafe trait Memory {
        /// Tells KHO to preserve the memory.
        fn preserve(&self) -> super::Result;

        /// Tells KHO not to, after [`preserve`](Self::preserve) succeeded.
        fn unpreserve(&self);
    }
}

/// Memory that can be preserved: a [`Folio`] or a run of [`Pages`].
pub trait Memory: private::Memory + DerefMut<Target = [u8]> {}

impl<M: private::Memory + DerefMut<Target = [u8]>> Memory for M {}

/// Memory that is preserved for as long as this object lives.
///
/// # Invariants
///
/// KHO was told to preserve `memory` and was not told otherwise.
///
/// # Examples
///
/// ```
/// use kernel::liveupdate::kho::{Folio, Preserved};
///
/// # if kernel::liveupdate::enabled() {
/// let mut folio = Folio::new(GFP_KERNEL, 1)?;
/// folio[..5].copy_from_slice(b"guest");
///
/// // From here on a kexec hands the folio over ...
/// let preserved = Preserved::new(folio).map_err(|(err, _folio)| err)?;
/// assert_ne!(preserved.phys(), 0);
///
/// // ... and from here on it does not.
/// let folio = preserved.unpreserve();
/// assert_eq!(&folio[..5], b"guest");
/// # }
/// # Ok::<(), Error>(())
/// ```
pub struct Preserved<M: Memory> {
    memory: M,
}

impl<M: Memory> Preserved<M> {
    /// Has `memory` preserved.
    ///
    /// # Errors
    ///
    /// Gives `memory` back, as it was, with
    ///
    /// - `EOPNOTSUPP` if the Live Update Orchestrator does not run,
    /// - `ENOMEM` if memory is short,
    /// - `EINVAL` if the memory is where the next kernel boots (only checked with
    ///   `CONFIG_KEXEC_HANDOVER_DEBUG`).
    pub fn new(memory: M) -> Result<Self, (Error, M)> {
        let result = if enabled() {
            memory.preserve()
        } else {
            Err(EOPNOTSUPP)
        };

        match result {
            // INVARIANT: `preserve()` succeeded.
            Ok(()) => Ok(Self { memory }),
            Err(err) => Err((err, memory)),
        }
    }

    /// Takes the memory back: a kexec does not hand it over any more.
    pub fn unpreserve(self) -> M {
        let this = ManuallyDrop::new(self);

        this.memory.unpreserve();

        // SAFETY: `this` is not used again and not dropped, so `memory` is moved out of it once.
        unsafe { core::ptr::read(&this.memory) }
    }

    /// Returns the physical address of the first byte.
    pub fn phys(&self) -> u64 {
        // SAFETY: By the safety requirements of `private::Memory`, it is in the direct map.
        unsafe { bindings::virt_to_phys(self.memory.as_ptr().cast()) }
    }

    /// Leaves the memory to the next kernel, for good, and returns its physical address.
    ///
    /// For code that runs when a kexec cannot be aborted any more.
    pub fn commit(self) -> u64 {
        ManuallyDrop::new(self).phys()
    }
}

impl<M: Memory> Deref for Preserved<M> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.memory
    }
}

impl<M: Memory> DerefMut for Preserved<M> {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.memory
    }
}

impl<M: Memory> Drop for Preserved<M> {
    fn drop(&mut self) {
        self.memory.unpreserve();
    }
}

/// A folio that nobody else refers to.
///
/// # Invariants
///
/// `folio` is a folio in the direct map with one reference, which is ours.
pub struct Folio {
    folio: NonNull<bindings::folio>,
}

// SAFETY: It owns the folio.
unsafe impl Send for Folio {}

// SAFETY: A shared reference gives out shared references to the memory only.
unsafe impl Sync for Folio {}

impl Folio {
    /// Allocates a folio of `2^order` zeroed pages.
    ///
    /// # Errors
    ///
    /// `EINVAL` if `order` is above the largest one, `ENOMEM` if memory is short.
    pub fn new(flags: Flags, order: u32) -> Result<Self> {
        if order > bindings::MAX_PAGE_ORDER {
            return Err(EINVAL);
        }

        // Zeroed, for safe code gets to read it.
        let flags = (flags | __GFP_ZERO).as_raw();

        // SAFETY: The order is one that the page allocator knows.
        let folio = unsafe { bindings::folio_alloc(flags, order) };

        // INVARIANT: New folios have one reference. `Flags` cannot name highmem on 64 bit.
        Ok(Self {
            folio: NonNull::new(folio).ok_or(ENOMEM)?,
        })
    }

    /// Takes over the folio of `2^order` pages that the previous kernel preserved at an address.
    ///
    /// # Errors
    ///
    /// `EINVAL` if there is none, or if it was restored before.
    pub fn restore(address: impl Into<AllegedAddress>, order: u32) -> Result<Self> {
        let address = address.into();
        if !address.is_preserved(order) {
            return Err(EINVAL);
        }

        // SAFETY: `kho_restore_folio()` accepts any memory, and restores it once.
        let folio = unsafe { bindings::kho_restore_folio(address.get()) };

        // INVARIANT: Restored folios have one reference and are in the direct map.
        Ok(Self {
            folio: NonNull::new(folio).ok_or(EINVAL)?,
        })
    }

    fn address(&self) -> NonNull<u8> {
        // SAFETY: By the type invariants, `folio` is a folio in the direct map.
        let address = unsafe { bindings::folio_address(self.folio.as_ptr()) };

        // SAFETY: Nothing in the direct map is at null.
        unsafe { NonNull::new_unchecked(address.cast()) }
    }

    fn size(&self) -> usize {
        // SAFETY: By the type invariants, `folio` is a folio.
        unsafe { bindings::folio_size(self.folio.as_ptr()) }
    }
}

impl Deref for Folio {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: By the type invariants, the memory is there and only ours; borrowed as `self`.
        // All of it was initialised: zeroed, or written by the previous kernel.
        unsafe { slice::from_raw_parts(self.address().as_ptr(), self.size()) }
    }
}

impl DerefMut for Folio {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: As in `deref()`, borrowed exclusively.
        unsafe { slice::from_raw_parts_mut(self.address().as_ptr(), self.size()) }
    }
}

// SAFETY: By the type invariants, a folio is in the direct map. It does not move, since it is on no
// LRU list.
unsafe impl private::Memory for Folio {
    fn preserve(&self) -> Result {
        // SAFETY: By the type invariants, `folio` is a folio.
        to_result(unsafe { bindings::kho_preserve_folio(self.folio.as_ptr()) })
    }

    fn unpreserve(&self) {
        // SAFETY: By the type invariants, `folio` is a folio.
        unsafe { bindings::kho_unpreserve_folio(self.folio.as_ptr()) };
    }
}

impl Drop for Folio {
    fn drop(&mut self) {
        // SAFETY: By the type invariants, the reference is ours.
        unsafe { bindings::folio_put(self.folio.as_ptr()) };
    }
}

/// A run of single pages that follow each other, which nobody else refers to.
///
/// # Invariants
///
/// `first` points to `count` pages of order zero in the direct map, each with one reference, which
/// is ours.
pub struct Pages {
    first: NonNull<u8>,
    count: NonZero<usize>,
}

// SAFETY: It owns the pages.
unsafe impl Send for Pages {}

// SAFETY: A shared reference gives out shared references to the memory only.
unsafe impl Sync for Pages {}

impl Pages {
    /// Allocates `count` zeroed pages that follow each other.
    ///
    /// # Errors
    ///
    /// `EINVAL` if that is more than the largest block of pages, `ENOMEM` if memory is short.
    pub fn new(flags: Flags, count: NonZero<usize>) -> Result<Self> {
        let size = count.get().checked_mul(PAGE_SIZE).ok_or(EINVAL)?;
        if order_of(size) > bindings::MAX_PAGE_ORDER {
            return Err(EINVAL);
        }

        // Zeroed, for safe code gets to read it.
        let flags = (flags | __GFP_ZERO).as_raw();

        // SAFETY: The size is one that the page allocator knows.
        let first = unsafe { bindings::alloc_pages_exact(size, flags) };

        // INVARIANT: `alloc_pages_exact()` splits the block into pages of one reference each.
        Ok(Self {
            first: NonNull::new(first.cast()).ok_or(ENOMEM)?,
            count,
        })
    }

    /// Takes over the `count` pages that the previous kernel preserved from an address on.
    ///
    /// # Errors
    ///
    /// `EINVAL` if any of them was not preserved, or was restored before. Then none is taken over,
    /// unless somebody else takes one over at the same time: then those before it stay reserved.
    pub fn restore(address: impl Into<AllegedAddress>, count: NonZero<usize>) -> Result<Self> {
        let address = address.into();
        for (block, order) in Blocks::new(address, count).ok_or(EINVAL)? {
            if !block.is_preserved(order) {
                return Err(EINVAL);
            }
        }

        // SAFETY: `kho_restore_pages()` accepts any memory, and restores each block once.
        let page = unsafe { bindings::kho_restore_pages(address.get(), count.get()) };
        if page.is_null() {
            return Err(EINVAL);
        }

        // INVARIANT: Restored pages are single and have one reference each.
        Ok(Self {
            first: NonNull::new(address.to_virt().cast()).ok_or(EINVAL)?,
            count,
        })
    }

    fn size(&self) -> usize {
        self.count.get() * PAGE_SIZE
    }

    fn page(&self) -> *mut bindings::page {
        // SAFETY: By the type invariants, `first` is in the direct map.
        unsafe { bindings::virt_to_page(self.first.as_ptr().cast()) }
    }
}

impl Deref for Pages {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: By the type invariants, the memory is there and only ours; borrowed as `self`.
        // All of it was initialised: zeroed, or written by the previous kernel.
        unsafe { slice::from_raw_parts(self.first.as_ptr(), self.size()) }
    }
}

impl DerefMut for Pages {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: As in `deref()`, borrowed exclusively.
        unsafe { slice::from_raw_parts_mut(self.first.as_ptr(), self.size()) }
    }
}

// SAFETY: By the type invariants, the pages are in the direct map. They do not move, since they are
// on no LRU list.
unsafe impl private::Memory for Pages {
    fn preserve(&self) -> Result {
        // SAFETY: By the type invariants, there are `count` pages.
        to_result(unsafe { bindings::kho_preserve_pages(self.page(), self.count.get()) })
    }

    fn unpreserve(&self) {
        // SAFETY: By the type invariants, there are `count` pages.
        unsafe { bindings::kho_unpreserve_pages(self.page(), self.count.get()) };
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        // SAFETY: By the type invariants, the pages are single and ours.
        unsafe { bindings::free_pages_exact(self.first.as_ptr().cast(), self.size()) };
    }
}

/// The naturally aligned blocks of `2^order` pages that a run of pages consists of.
///
/// KHO preserves a run as these, and wants them back as these: `kho_restore_pages()`.
struct Blocks {
    pfn: u64,
    end_pfn: u64,
}

impl Blocks {
    fn new(start: AllegedAddress, count: NonZero<usize>) -> Option<Self> {
        let page_size = u64::try_from(PAGE_SIZE).ok()?;
        if start.get() % page_size != 0 {
            return None;
        }

        let pfn = start.get() / page_size;
        let end_pfn = pfn.checked_add(u64::try_from(count.get()).ok()?)?;

        // So that the address of the end can be computed, too.
        end_pfn.checked_mul(page_size)?;

        Some(Self { pfn, end_pfn })
    }
}

impl Iterator for Blocks {
    /// Address and order.
    type Item = (AllegedAddress, u32);

    fn next(&mut self) -> Option<Self::Item> {
        let left = (self.end_pfn - self.pfn).checked_ilog2()?;
        let order = self.pfn.trailing_zeros().min(left);

        // CAST: lossless, a `usize` has 64 bits wherever KHO exists.
        let phys = self.pfn * PAGE_SIZE as u64;
        self.pfn += 1 << order;
        Some((phys.into(), order))
    }
}

#[cfg(CONFIG_RUST_LIVEUPDATE_KUNIT_TEST)]
#[kunit_tests(rust_liveupdate_memory)]
mod tests {
    use super::*;
    use crate::page::PAGE_SHIFT;

    fn pages(count: usize) -> NonZero<usize> {
        NonZero::new(count).unwrap_or(NonZero::<usize>::MIN)
    }

    #[test]
    fn folio_keeps_its_content_while_preserved() -> Result {
        let mut folio = Folio::new(GFP_KERNEL, 2)?;
        assert_eq!(folio.len(), 4 * PAGE_SIZE);
        folio[4 * PAGE_SIZE - 1] = 0xa5;

        let preserved = Preserved::new(folio).map_err(|(err, _)| err)?;
        assert_eq!(preserved[4 * PAGE_SIZE - 1], 0xa5);
        assert_eq!(preserved.unpreserve()[4 * PAGE_SIZE - 1], 0xa5);
        Ok(())
    }

    #[test]
    fn pages_can_be_preserved_again_and_again() -> Result {
        let mut run = Pages::new(GFP_KERNEL, pages(3))?;
        run[3 * PAGE_SIZE - 1] = 0x5a;

        for _ in 0..3 {
            let preserved = Preserved::new(run).map_err(|(err, _)| err)?;
            assert_ne!(preserved.phys(), 0);
            run = preserved.unpreserve();
        }
        assert_eq!(run[3 * PAGE_SIZE - 1], 0x5a);
        Ok(())
    }

    #[test]
    fn restores_nothing_that_was_not_handed_over() -> Result {
        let preserved = Preserved::new(Folio::new(GFP_KERNEL, 0)?).map_err(|(err, _)| err)?;

        assert_eq!(Folio::restore(preserved.phys(), 0).err(), Some(EINVAL));
        assert_eq!(
            Pages::restore(preserved.phys(), pages(1)).err(),
            Some(EINVAL)
        );
        assert_eq!(Folio::restore(!0, 0).err(), Some(EINVAL));
        assert_eq!(
            Pages::restore(0x1000, pages(usize::MAX)).err(),
            Some(EINVAL)
        );
        Ok(())
    }

    #[test]
    fn refuses_what_the_page_allocator_cannot_give() {
        let order = bindings::MAX_PAGE_ORDER + 1;

        assert_eq!(Folio::new(GFP_KERNEL, order).err(), Some(EINVAL));
        assert_eq!(
            Pages::new(GFP_KERNEL, pages(1 << order)).err(),
            Some(EINVAL)
        );
        assert_eq!(
            Pages::new(GFP_KERNEL, pages(usize::MAX)).err(),
            Some(EINVAL)
        );
    }

    #[test]
    fn blocks_cover_a_run_without_gap_or_overlap() {
        for start in 0..16u64 {
            for count in 1..40 {
                let mut pfn = start;

                for (block, order) in Blocks::new((start << PAGE_SHIFT).into(), pages(count))
                    .into_iter()
                    .flatten()
                {
                    assert_eq!(block.get(), pfn << PAGE_SHIFT);
                    assert_eq!(pfn % (1 << order), 0);
                    pfn += 1 << order;
                }
                assert_eq!(pfn, start + count as u64);
            }
        }
    }
}
