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
    alloc::AllocError,
    bindings,
    ffi::c_void,
    fmt,
    page::{
        PAGE_SHIFT,
        PAGE_SIZE, //
    },
    prelude::*, //
};
use core::{
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

/// A physical address at which another kernel says that something is: an allegation.
///
/// Any number is one. It is not followed: whoever is given one asks KHO whether memory was handed over
/// there, which accepts any number, too.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(transparent)]
pub struct AllegedAddress(u64);

impl AllegedAddress {
    /// Returns the number.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// Returns whether the previous kernel preserved `2^order` pages there, and nobody restored them.
    ///
    /// That may change, unless the caller is the only one who restores them.
    pub fn is_preserved(self, order: u32) -> bool {
        // SAFETY: `kho_is_preserved()` accepts any address.
        unsafe { bindings::kho_is_preserved(self.0, order) }
    }

    /// Returns where memory at the address would be in the direct map.
    pub(super) fn to_virt(self) -> *mut c_void {
        // SAFETY: Arithmetic; KHO exists on 64-bit kernels only, whose direct map has all memory.
        unsafe { bindings::phys_to_virt(self.0) }
    }
}

impl From<u64> for AllegedAddress {
    fn from(number: u64) -> Self {
        Self(number)
    }
}

impl From<Handle> for AllegedAddress {
    fn from(handle: Handle) -> Self {
        Self(handle.get())
    }
}

impl fmt::Debug for AllegedAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Physical addresses do not belong into a log.
        f.write_str("AllegedAddress")
    }
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

    /// Returns the physical address.
    pub(super) fn address(&self) -> AllegedAddress {
        self.phys.get().into()
    }

    /// Returns whether what the type invariants say is still so.
    fn is_preserved(&self) -> bool {
        self.address().is_preserved(Self::ORDER)
    }

    /// Returns a copy of the record, and leaves the memory to be restored by somebody else.
    ///
    /// The previous kernel's memory is an allegation: check what you read.
    ///
    /// # Errors
    ///
    /// `EINVAL` if the memory was restored in the meantime.
    pub fn peek(&self) -> Result<T> {
        if !self.is_preserved() {
            return Err(EINVAL);
        }

        let virt = self.address().to_virt();

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
        if !self.is_preserved() {
            return Err(EINVAL);
        }

        let size = size_of::<T>();
        let rest = self.address().to_virt().wrapping_byte_add(size);

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

impl<T: Record> TryFrom<AllegedAddress> for PhysRef<T> {
    type Error = Error;

    /// Checks the allegation that a `T` lives at a physical address.
    ///
    /// # Errors
    ///
    /// `EINVAL` if there is no block of the right size there that was handed over.
    fn try_from(address: AllegedAddress) -> Result<Self> {
        let phys = NonZero::new(address.get()).ok_or(EINVAL)?;

        if !address.is_preserved(Self::ORDER) {
            return Err(EINVAL);
        }

        // INVARIANT: `kho_is_preserved()` just said so.
        Ok(Self {
            phys,
            _record: PhantomData,
        })
    }
}

impl<T: Record> TryFrom<u64> for PhysRef<T> {
    type Error = Error;

    /// Checks the allegation that a `T` lives at the physical address that a record has.
    ///
    /// # Errors
    ///
    /// As for an [`AllegedAddress`].
    fn try_from(number: u64) -> Result<Self> {
        AllegedAddress::from(number).try_into()
    }
}

impl<T: Record> TryFrom<Handle> for PhysRef<T> {
    type Error = Error;

    /// Checks the allegation that a handle is where a `T` lives.
    ///
    /// # Errors
    ///
    /// As for an [`AllegedAddress`].
    fn try_from(handle: Handle) -> Result<Self> {
        AllegedAddress::from(handle).try_into()
    }
}

/// Returns the name that a header gives a handler, an FLB or a record, from bindgen's constant for it.
///
/// # Examples
///
/// ```
/// use kernel::liveupdate::abi;
///
/// const COMPATIBLE: &CStr = abi::name(b"example-v1\0");
///
/// assert_eq!(COMPATIBLE, c"example-v1");
/// ```
pub const fn name(constant: &'static [u8]) -> &'static CStr {
    match CStr::from_bytes_with_nul(constant) {
        Ok(name) => name,
        // PANIC: At build time. bindgen ends strings with the null byte of C, and they have no other.
        Err(_) => panic!("a name ends with a null byte, and has no other"),
    }
}

/// What may be wrong with records of one kind, in words for the log.
///
/// For [`ReadError`], which has what may be wrong with the memory that records are in.
pub trait RecordFlaw: fmt::Display {
    /// What the log calls what cannot be read, as the subject of a sentence.
    const SUBJECT: &'static str = "it";
}

/// Why the records that the previous kernel handed over for something are not used.
///
/// `F` is what may be wrong with what they say.
///
/// # Examples
///
/// ```
/// use kernel::{
///     fmt,
///     liveupdate::{Handle, PhysRef, ReadError, RecordFlaw},
///     str::CString, //
/// };
///
/// /// A percentage is more than a hundred.
/// struct TooMuch(u64);
///
/// impl fmt::Display for TooMuch {
///     fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
///         write!(f, "{} % are too much", self.0)
///     }
/// }
///
/// impl RecordFlaw for TooMuch {}
///
/// fn check(percentage: u64) -> Result<u64, TooMuch> {
///     match percentage {
///         0..=100 => Ok(percentage),
///         _ => Err(TooMuch(percentage)),
///     }
/// }
///
/// fn read(handle: Handle) -> Result<u64, ReadError<TooMuch>> {
///     let record = PhysRef::<u64>::try_from(handle)?.restore()?;
///
///     Ok(check(*record)?)
/// }
///
/// // No record is there.
/// assert!(matches!(read(Handle::new(0)), Err(ReadError::NotWhole)));
///
/// let err = check(101).map_err(ReadError::from).unwrap_err();
/// let text = CString::try_from_fmt(fmt!("not used: {err}"))?;
/// assert_eq!(text.to_bytes(), b"not used: 101 % are too much");
/// # Ok::<(), Error>(())
/// ```
pub enum ReadError<F> {
    /// A record says something that cannot be believed.
    Record(F),
    /// Something follows a record: see [`PhysRef::check_length`].
    Longer,
    /// There is no memory to keep what was read in.
    MemoryIsShort,
    /// Memory that a record or a handle names was not handed over, or has an owner already.
    NotWhole,
}

impl<F: RecordFlaw> fmt::Display for ReadError<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Record(flaw) => fmt::Display::fmt(flaw, f),
            Self::Longer => write!(f, "{} is longer than those of its name", F::SUBJECT),
            Self::MemoryIsShort => write!(f, "memory is short"),
            Self::NotWhole => write!(
                f,
                "{} is not whole in memory that was handed over",
                F::SUBJECT
            ),
        }
    }
}

impl<F: RecordFlaw> From<F> for ReadError<F> {
    fn from(flaw: F) -> Self {
        Self::Record(flaw)
    }
}

/// Takes an error of what takes memory over: of [`PhysRef`] and of [`kho`].
impl<F> From<Error> for ReadError<F> {
    fn from(err: Error) -> Self {
        match err {
            E2BIG => Self::Longer,
            ENOMEM => Self::MemoryIsShort,
            _ => Self::NotWhole,
        }
    }
}

impl<F> From<AllocError> for ReadError<F> {
    fn from(_: AllocError) -> Self {
        Self::MemoryIsShort
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

            // The size of a field, by the type that is inferred from a copy of it.
            const fn size_of_field<S, F>(_field: fn(&S) -> F) -> usize {
                size_of::<F>()
            }

            let _ = names_all_fields;
            ::core::assert!(size_of::<$rust>() == size_of::<$crate::bindings::$c>());
            $(
                ::core::assert!(offset_of!($rust, $field) == offset_of!($crate::bindings::$c, $field));
                ::core::assert!(
                    size_of_field(|s: &$rust| s.$field)
                        == size_of_field(|s: &$crate::bindings::$c| s.$field)
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
