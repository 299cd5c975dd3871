// SPDX-License-Identifier: GPL-2.0

//! Any number of entries of one type, in a chain of preserved blocks.
//!
//! C header: [`include/linux/kho_block.h`](srctree/include/linux/kho_block.h)

use super::{
    super::{
        enabled,
        AllegedAddress,
        PhysRef,
        Record, //
    },
    Restored, //
};
use crate::{
    bindings,
    error::to_result,
    prelude::*,
    types::Opaque, //
};
use core::{
    iter,
    marker::PhantomData,
    mem::{
        offset_of,
        size_of,
        ManuallyDrop, //
    },
    ptr::NonNull, //
};
use zerocopy_derive::{
    Immutable,
    KnownLayout, //
};

/// The size of a block in bytes: `KHO_BLOCK_SIZE`.
const BLOCK_SIZE: usize = crate::page::PAGE_SIZE;

/// The number of bytes of a block that are for entries.
const ENTRIES_SIZE: usize = BLOCK_SIZE - size_of::<bindings::kho_block_header_ser>();

/// A block as another kernel left it.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct RawBlock {
    next: u64,
    count: u64,
    entries: [u8; ENTRIES_SIZE],
}

static_assert!(size_of::<RawBlock>() == BLOCK_SIZE);

/// The most blocks that are believed to make a chain: `KHO_MAX_BLOCKS`.
const MAX_BLOCKS: usize = 10_000;

/// Returns how many entries of type `T` a block has room for.
const fn entries_per_block<T>() -> usize {
    assert!(size_of::<T>() != 0, "entries have a size");
    assert!(size_of::<T>() <= ENTRIES_SIZE, "entries fit into a block");
    ENTRIES_SIZE / size_of::<T>()
}

static_assert!(offset_of!(RawBlock, next) == offset_of!(bindings::kho_block_header_ser, next));
static_assert!(offset_of!(RawBlock, count) == offset_of!(bindings::kho_block_header_ser, count));

/// Entries for the next kernel.
///
/// The blocks hold exactly the entries that were stored last; so they are complete whenever a kexec
/// happens. Whoever stores entries as late as that [makes room](Self::make_room) for them before.
/// Dropping the set takes the memory back.
///
/// # Invariants
///
/// `set` was initialised for entries of the size of a `T`, and its blocks are ours alone.
///
/// # Examples
///
/// ```
/// use kernel::liveupdate::kho::BlockSet;
///
/// # if kernel::liveupdate::enabled() {
/// let mut set = BlockSet::<u64>::new()?;
/// assert_eq!(set.head(), 0);
///
/// set.store([1, 2, 3])?;
/// assert_ne!(set.head(), 0);
/// assert!(set.entries().eq([1, 2, 3]));
///
/// // Storing fewer entries needs no memory.
/// set.store([3])?;
/// # }
/// # Ok::<(), Error>(())
/// ```
pub struct BlockSet<T: Record> {
    set: Pin<KBox<Opaque<bindings::kho_block_set>>>,
    _entries: PhantomData<T>,
}

// SAFETY: It owns the blocks; the functions of KHO take locks of their own.
unsafe impl<T: Record + Send> Send for BlockSet<T> {}

// SAFETY: A shared reference only reads the blocks.
unsafe impl<T: Record + Sync> Sync for BlockSet<T> {}

impl<T: Record> BlockSet<T> {
    /// Makes an empty set.
    ///
    /// # Errors
    ///
    /// `ENOMEM` if memory is short.
    pub fn new() -> Result<Self> {
        const { entries_per_block::<T>() };

        let set = KBox::pin_init(
            Opaque::ffi_init(|set| {
                // SAFETY: `set` is valid for writes, and pinned from here on.
                unsafe { bindings::kho_block_set_init(set, size_of::<T>()) }
            }),
            GFP_KERNEL,
        )?;

        // INVARIANT: Just initialised, without blocks.
        Ok(Self {
            set,
            _entries: PhantomData,
        })
    }

    /// Returns the physical address of the first block, for [`IncomingBlocks`], or 0 without
    /// entries.
    ///
    /// Changes only when the first entry is stored or the last one goes.
    pub fn head(&self) -> u64 {
        // SAFETY: By the type invariants, the set is initialised.
        unsafe { bindings::kho_block_set_head_pa(self.set.get()) }
    }

    /// Returns an iterator of C, at the first entry.
    fn iter(&self) -> Opaque<bindings::kho_block_set_it> {
        let it = Opaque::uninit();

        // SAFETY: `it` is valid for writes, and by the type invariants the set is initialised.
        unsafe { bindings::kho_block_set_it_init(it.get(), self.set.get()) };
        it
    }

    /// Returns the entries, in the order that they were stored in.
    pub fn entries(&self) -> impl Iterator<Item = T> + '_ {
        let it = self.iter();

        iter::from_fn(move || {
            // SAFETY: The iterator was initialised for this set, which is borrowed.
            let entry = unsafe { bindings::kho_block_set_it_read_entry(it.get()) };
            let entry = NonNull::new(entry)?.cast::<T>();

            // SAFETY:
            // - `entry` is valid for reads of a `T`, since that is the entry size of the set.
            // - Entries of odd sizes are not aligned.
            // - Any bytes are a `T`.
            Some(unsafe { entry.read_unaligned() })
        })
    }

    /// Leaves the entries to the next kernel, for good, and returns what [`head`](Self::head) does.
    ///
    /// For code that runs when a kexec cannot be aborted any more.
    pub fn commit(self) -> u64 {
        ManuallyDrop::new(self).head()
    }

    /// Gives the set room for `count` entries, so that storing no more of them cannot fail.
    ///
    /// The set has no valid contents for the next kernel until entries are stored.
    ///
    /// # Errors
    ///
    /// As [`store`](Self::store). The set has as much room as before.
    ///
    /// Does not fail if it had as much room before.
    pub fn make_room(&mut self, count: usize) -> Result {
        if !enabled() {
            return Err(EOPNOTSUPP);
        }

        let count = u64::try_from(count)?;

        // SAFETY: By the type invariants, the set is initialised; it is borrowed exclusively.
        to_result(unsafe { bindings::kho_block_set_grow(self.set.get(), count) })?;

        // SAFETY: As above.
        unsafe { bindings::kho_block_set_shrink(self.set.get(), count) };
        Ok(())
    }

    /// Stores `entries` in place of what was stored before.
    ///
    /// # Errors
    ///
    /// Leaves the set as it was, with
    ///
    /// - `EOPNOTSUPP` if the Live Update Orchestrator does not run,
    /// - `ENOSPC` for more entries than a set can have,
    /// - `ENOMEM` if memory is short,
    /// - `EINVAL` if memory was found where the next kernel boots (only checked with
    ///   `CONFIG_KEXEC_HANDOVER_DEBUG`).
    ///
    /// Does not fail if there are not more entries than before, or than there is room for.
    pub fn store<I>(&mut self, entries: I) -> Result
    where
        I: IntoIterator<Item = T, IntoIter: ExactSizeIterator>,
    {
        if !enabled() {
            return Err(EOPNOTSUPP);
        }

        let entries = entries.into_iter();
        let count = u64::try_from(entries.len())?;

        // SAFETY: By the type invariants, the set is initialised; it is borrowed exclusively.
        to_result(unsafe { bindings::kho_block_set_grow(self.set.get(), count) })?;

        let it = self.iter();
        for entry in entries {
            // SAFETY: The iterator was initialised for this set.
            let slot = unsafe { bindings::kho_block_set_it_reserve_entry(it.get()) };
            // The set was grown to have a slot for each entry.
            let slot = NonNull::new(slot).ok_or(ENOSPC)?.cast::<T>();

            // SAFETY: `slot` is valid for writes of a `T`, since that is the entry size of the set,
            // and nobody reads the set meanwhile.
            unsafe { slot.write_unaligned(entry) };
        }

        // SAFETY: By the type invariants, the set is initialised; it is borrowed exclusively.
        unsafe { bindings::kho_block_set_shrink(self.set.get(), count) };
        Ok(())
    }
}

impl<T: Record> Drop for BlockSet<T> {
    fn drop(&mut self) {
        // SAFETY: By the type invariants, the set is initialised and its blocks are ours.
        unsafe { bindings::kho_block_set_destroy(self.set.get()) };
    }
}

/// Entries of the previous kernel.
///
/// What they say is an allegation still. Dropping the set frees the memory.
///
/// # Invariants
///
/// No block counts more entries than it has room for.
pub struct IncomingBlocks<T: Record> {
    blocks: KVec<Restored<RawBlock>>,
    _entries: PhantomData<T>,
}

impl<T: Record> IncomingBlocks<T> {
    /// Takes over the chain of blocks that starts at an address; 0 is an empty one.
    ///
    /// # Errors
    ///
    /// - `EINVAL` if a block of the chain was not handed over or has an owner already (as in a
    ///   chain with a loop), if it has no entries or more than it has room for, or if there are too
    ///   many blocks.
    /// - `ENOMEM` if there are more blocks than a list can have. Memory that is short is waited for.
    ///
    /// The blocks before the one that was refused are freed; the others stay reserved.
    pub fn restore(head: impl Into<AllegedAddress>) -> Result<Self> {
        let mut blocks = KVec::new();
        let mut next = head.into().get();

        while next != 0 {
            if blocks.len() == MAX_BLOCKS {
                return Err(EINVAL);
            }

            let block = PhysRef::<RawBlock>::try_from(next)?.restore()?;
            let count = usize::try_from(block.count)?;

            if count == 0 || count > const { entries_per_block::<T>() } {
                return Err(EINVAL);
            }
            next = block.next;
            // What was restored cannot be put back, to be asked for again.
            blocks.push(block, GFP_KERNEL | __GFP_NOFAIL)?;
        }

        // INVARIANT: Checked for each block.
        Ok(Self {
            blocks,
            _entries: PhantomData,
        })
    }

    /// Returns the entries, in the order that they were stored in.
    pub fn entries(&self) -> impl Iterator<Item = T> + '_ {
        self.blocks.iter().flat_map(|block| {
            // CAST: lossless by the type invariants.
            let count = block.count as usize;

            block
                .entries
                .chunks_exact(size_of::<T>())
                .take(count)
                .filter_map(|bytes| T::read_from_bytes(bytes).ok())
        })
    }
}

#[cfg(CONFIG_RUST_LIVEUPDATE_KUNIT_TEST)]
#[kunit_tests(rust_liveupdate_block)]
mod tests {
    use super::*;

    /// A little more than two blocks of `u64`s.
    const MANY: usize = 2 * BLOCK_SIZE / size_of::<u64>() + 1;

    fn numbers(count: usize) -> Result<KVec<u64>> {
        let mut numbers = KVec::new();

        for i in 0..count {
            numbers.push(i as u64, GFP_KERNEL)?;
        }
        Ok(numbers)
    }

    #[test]
    fn holds_exactly_what_was_stored_last() -> Result {
        let mut set = BlockSet::<u64>::new()?;

        // Grow, shrink within a block, shrink by blocks, to nothing, and grow again.
        for count in [1, 3, MANY, MANY - 1, 2, 0, 0, MANY] {
            let numbers = numbers(count)?;

            set.store(numbers.iter().copied())?;
            assert!(set.entries().eq(numbers));
            assert_eq!((set.head() == 0), (count == 0));
        }
        Ok(())
    }

    #[test]
    fn what_there_is_room_for_can_be_stored() -> Result {
        let mut set = BlockSet::<u64>::new()?;

        // Room comes and goes by blocks, also without entries, and is used up by what is stored.
        for (room, count) in [
            (1, 1),
            (MANY, MANY),
            (MANY, 1),
            (3, 3),
            (0, 0),
            (MANY, 0),
            (2, 2),
        ] {
            set.make_room(room)?;
            assert_eq!((set.head() == 0), (room == 0));

            let numbers = numbers(count)?;
            set.store(numbers.iter().copied())?;
            assert!(set.entries().eq(numbers));
            assert_eq!((set.head() == 0), (count == 0));
        }
        Ok(())
    }

    #[test]
    fn head_stays_while_there_are_entries() -> Result {
        let mut set = BlockSet::<u64>::new()?;
        set.store([1])?;
        let head = set.head();

        for count in [MANY, 1, 2 * MANY, 1] {
            set.store(numbers(count)?.iter().copied())?;
            assert_eq!(set.head(), head);
        }
        Ok(())
    }

    #[test]
    fn refuses_chains_that_were_not_handed_over() -> Result {
        let mut set = BlockSet::<u64>::new()?;
        set.store([1])?;

        for head in [set.head(), 8, 0x10_0000, !0xfff, 1 << 51] {
            assert_eq!(IncomingBlocks::<u64>::restore(head).err(), Some(EINVAL));
        }
        Ok(())
    }

    #[test]
    fn an_empty_chain_has_no_entries() -> Result {
        assert!(IncomingBlocks::<u64>::restore(0)?
            .entries()
            .next()
            .is_none());
        Ok(())
    }
}
