// SPDX-License-Identifier: GPL-2.0

//! Stand-in for the kernel's prelude.

pub use crate::error::{
    code::*,
    Error,
    Result, //
};
pub use zerocopy::{
    FromBytes,
    IntoBytes, //
};
pub use zerocopy_derive::{
    FromBytes,
    IntoBytes, //
};
