// SPDX-License-Identifier: GPL-2.0

//! What may be stored in memory that is handed over, and what the reader may believe of it.
//!
//! The C headers under [`include/linux/kho/abi/`](srctree/include/linux/kho/abi) are the contract
//! between two kernels. A Rust view of such a structure is a [`Record`]; [`assert_same_layout!`]
//! ties it to the C structure at build time.
//!
//! [`assert_same_layout!`]: crate::assert_same_layout

use super::kho;
use crate::{
    bindings,
    ffi::c_void,
    page::{
        PAGE_SHIFT,
        PAGE_SIZE, //
    },
    prelude::*, //
};
use core::{
    fmt,
    marker::PhantomData,
    mem::size_of,
    num::NonZero, //
};
use zerocopy::{
    Immutable,
    KnownLayout, //
};

/// A structure that may live in memory handed over from one kernel to the next.
///
/// Any bytes are a value of it (so that reading what another kernel wrote is not undefined
/// behaviour), and it has no padding (so that nothing of this kernel leaks into the next).
pub trait Record: FromBytes + IntoBytes + Immutable + KnownLayout + 'static {}

impl<T: FromBytes + IntoBytes + Immutable + KnownLayout + 'static> Record for T {}

/// Returns the smallest order of pages (log2 of their number) that `size` bytes fit into.
pub(super) const fn order_of(size: usize) -> u32 {
    let pages = size.div_ceil(1 << PAGE_SHIFT);

    // CAST: lossless, `usize::BITS` bounds the logarithm.
    pages.next_power_of_two().trailing_zeros()
}

/// Returns where the memory at `phys` is in the direct map.
pub(super) fn phys_to_virt(phys: u64) -> *mut c_void {
    // SAFETY: Arithmetic; KHO exists on 64-bit kernels only, whose direct map has all memory.
    unsafe { bindings::phys_to_virt(phys) }
}

/// The one word that LUO hands over for a file or an FLB.
///
/// What it means is up to the handler. It most often is where a record lives: then it comes from
/// [`kho::Outgoing::handle`], and becomes a [`PhysRef`] in the next kernel.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(transparent)]
pub struct Handle(u64);

impl Handle {
    /// Makes a handle of any word.
    pub const fn new(word: u64) -> Self {
        Self(word)
    }

    /// Returns the word itself.
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl From<u64> for Handle {
    fn from(word: u64) -> Self {
        Self(word)
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A handle may be a physical address, which does not belong into a log.
        f.write_str("Handle")
    }
}

/// Where a record of type `T` lives in memory that the previous kernel handed over.
///
/// # Invariants
///
/// When this was made, `phys` was the first byte of a block of memory that the previous kernel had
/// preserved, that nobody had restored, and whose order is the one that a `T` is allocated with.
///
/// That may have changed since, for two lying references can name one block. So whoever follows
/// the reference asks again.
pub struct PhysRef<T: Record> {
    phys: NonZero<u64>,
    _record: PhantomData<fn() -> T>,
}

impl<T: Record> PhysRef<T> {
    const ORDER: u32 = order_of(size_of::<T>());

    fn is_preserved(phys: u64) -> bool {
        // SAFETY: `kho_is_preserved()` accepts any address.
        unsafe { bindings::kho_is_preserved(phys, Self::ORDER) }
    }

    /// Returns the physical address.
    pub(super) fn phys(&self) -> u64 {
        self.phys.get()
    }

    /// Returns a copy of the record, and leaves the memory to be restored by somebody else.
    ///
    /// The previous kernel's memory is an allegation: check what you read.
    ///
    /// # Errors
    ///
    /// `EINVAL` if the memory was restored in the meantime.
    pub fn peek(&self) -> Result<T> {
        if !Self::is_preserved(self.phys()) {
            return Err(EINVAL);
        }

        let virt = phys_to_virt(self.phys());

        // SAFETY:
        // - `virt` is valid for reads of a `T`: `kho_is_preserved()` said that there is memory of
        //   that order, and the direct map does not go away.
        // - It is aligned to a page.
        // - Any bytes are a `T` by the bounds of `Record`.
        // - Volatile, because a block that was restored behind our back may be written to by its
        //   new owner; the copy is checked by its reader in any case.
        Ok(unsafe { virt.cast::<T>().cast_const().read_volatile() })
    }

    /// Checks that the record is not longer than a `T`: the rest of its block is zero.
    ///
    /// KHO hands over pages, and not how much of them is a record. They are zeroed before a record
    /// is written, so a longer one has to have something behind a `T`, unless what was appended is
    /// zero. For records that have no version in them. See `copy_struct_from_user()` for the same
    /// rule between user space and the kernel.
    ///
    /// # Errors
    ///
    /// - `E2BIG` if there is something.
    /// - `EINVAL` if the memory was restored in the meantime.
    pub fn check_length(&self) -> Result {
        if !Self::is_preserved(self.phys()) {
            return Err(EINVAL);
        }

        let size = size_of::<T>();
        let rest = phys_to_virt(self.phys()).wrapping_byte_add(size);

        // SAFETY: `kho_is_preserved()` said that there is memory of that order, whose end this is, and
        // the direct map does not go away. C code may read what its new owner writes to.
        let found = unsafe {
            bindings::memchr_inv(rest.cast_const(), 0, (PAGE_SIZE << Self::ORDER) - size)
        };

        if found.is_null() {
            Ok(())
        } else {
            Err(E2BIG)
        }
    }

    /// Takes over the record and the memory it lives in.
    ///
    /// # Errors
    ///
    /// `EINVAL` if the memory was restored in the meantime.
    pub fn restore(self) -> Result<kho::Restored<T>> {
        kho::Restored::new(self)
    }
}

impl<T: Record> TryFrom<u64> for PhysRef<T> {
    type Error = Error;

    /// Checks the allegation that a `T` lives at physical address `phys`.
    ///
    /// # Errors
    ///
    /// `EINVAL` if there is no block of the right size there that was handed over.
    fn try_from(phys: u64) -> Result<Self> {
        let phys = NonZero::new(phys).ok_or(EINVAL)?;

        if !Self::is_preserved(phys.get()) {
            return Err(EINVAL);
        }

        // INVARIANT: `kho_is_preserved()` just said so.
        Ok(Self {
            phys,
            _record: PhantomData,
        })
    }
}

impl<T: Record> TryFrom<Handle> for PhysRef<T> {
    type Error = Error;

    /// Checks the allegation that a handle is where a `T` lives.
    ///
    /// # Errors
    ///
    /// As for an address.
    fn try_from(handle: Handle) -> Result<Self> {
        handle.get().try_into()
    }
}

/// Asserts at build time that a Rust structure has the layout of a C structure.
///
/// The C structure is one that bindgen knows, and its fields have to have the same names. All of
/// them have to be named: the build fails for a field that C gained.
///
/// # Examples
///
/// ```
/// #[repr(C)]
/// struct RawHeader {
///     next: u64,
///     count: u64,
/// }
///
/// kernel::assert_same_layout!(RawHeader, kho_block_header_ser { next, count });
/// ```
#[macro_export]
macro_rules! assert_same_layout {
    ($rust:ty, $c:ident { $($field:ident),+ $(,)? }) => {
        const _: () = {
            use ::core::mem::{
                offset_of,
                size_of, //
            };

            // A pattern that leaves a field out does not compile.
            const fn names_all_fields($crate::bindings::$c { $($field: _),+ }: &$crate::bindings::$c) {}

            // The size of a field, by the type that is inferred from a pointer to it.
            const fn size_of_field<S, F>(_field: fn(&S) -> *const F) -> usize {
                size_of::<F>()
            }

            let _ = names_all_fields;
            ::core::assert!(size_of::<$rust>() == size_of::<$crate::bindings::$c>());
            $(
                ::core::assert!(offset_of!($rust, $field) == offset_of!($crate::bindings::$c, $field));
                ::core::assert!(
                    size_of_field(|s: &$rust| &raw const s.$field)
                        == size_of_field(|s: &$crate::bindings::$c| &raw const s.$field)
                );
            )+
        };
    };
}

#[cfg(CONFIG_RUST_LIVEUPDATE_KUNIT_TEST)]
#[kunit_tests(rust_liveupdate_abi)]
mod tests {
    use super::*;

    #[test]
    fn order_is_the_smallest_that_fits() {
        let page = 1 << PAGE_SHIFT;

        for (size, order) in [
            (1, 0),
            (page, 0),
            (page + 1, 1),
            (2 * page, 1),
            (3 * page, 2),
            (4 * page, 2),
            (4 * page + 1, 3),
        ] {
            assert_eq!(order_of(size), order);
        }
    }

    #[test]
    fn refuses_addresses_that_nobody_preserved() {
        // Null, unaligned, an ordinary page of this kernel, and far beyond all memory.
        assert!(PhysRef::<u64>::try_from(0).is_err());
        assert!(PhysRef::<u64>::try_from(8).is_err());
        assert!(PhysRef::<u64>::try_from(0x10_0000).is_err());
        assert!(PhysRef::<u64>::try_from(!0xfff).is_err());
        assert!(PhysRef::<u64>::try_from(1 << 51).is_err());
    }

    #[test]
    fn refuses_what_this_kernel_preserves_for_the_next() -> Result {
        let outgoing = kho::Outgoing::new(7u64, GFP_KERNEL)?;

        assert!(PhysRef::<u64>::try_from(outgoing.handle()).is_err());
        Ok(())
    }
}
