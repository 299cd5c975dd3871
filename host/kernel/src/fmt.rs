// SPDX-License-Identifier: GPL-2.0

//! Stand-in for the kernel's way to write text.

pub use core::fmt::{
    Debug,
    Formatter,
    Result, //
};

/// Writes a value for people to read.
///
/// As in the kernel, this is not the trait of `core`: `write!(f, "{value}")` does not find it.
pub trait Display {
    /// As that of `core`.
    fn fmt(&self, f: &mut Formatter<'_>) -> Result;
}

impl<T: ?Sized + Display> Display for &T {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        Display::fmt(*self, f)
    }
}

/// What the kernel's `fmt!()` wraps each value in, for `core` to find the trait of here.
pub struct Adapter<T>(pub T);

impl<T: ?Sized + Display> core::fmt::Display for Adapter<&T> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        Display::fmt(self.0, f)
    }
}
