// SPDX-License-Identifier: GPL-2.0

//! Stand-in for the kernel's errors.
//!
//! Pure code names what was wrong by a type of its own; an error number is for the edge. So there
//! are only those here into which such types convert.

use core::{
    ffi::c_int,
    num::NonZero, //
};

/// An error number of the kernel.
///
/// # Invariants
///
/// The value is negative.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Error(NonZero<c_int>);

impl Error {
    const fn new(number: c_int) -> Self {
        // INVARIANT: Checked at build time, for there are only constants.
        assert!(number > 0);
        match NonZero::new(-number) {
            Some(errno) => Self(errno),
            None => unreachable!(),
        }
    }

    /// Returns the number, which is negative.
    pub const fn to_errno(self) -> c_int {
        self.0.get()
    }
}

/// A result with an error number, if not with another error.
pub type Result<T = (), E = Error> = core::result::Result<T, E>;

/// Error numbers.
pub mod code {
    use super::Error;

    /// Invalid argument.
    pub const EINVAL: Error = Error::new(22);
}
