// SPDX-License-Identifier: GPL-2.0

//! What pure files may use of the crate `kernel`, for the host.
//!
//! A file is *pure* if it compiles against this crate and against the kernel's. So what is offered
//! here is the definition: no allocation, no C, no locks, no devices, nothing that fails for want of
//! something. It is a part of what the kernel's crate offers, by the same names.
//!
//! What is pure in the kernel's crate itself is compiled from the kernel's file. The rest are
//! stand-ins: [`bitfield!`], [`error`], [`fmt`], [`page`] and [`prelude`].
//!
//! Add to this crate only what a pure file needs, never to make a file pass for pure.

#![no_std]

pub mod bitfield;
pub mod error;
pub mod fmt;
pub mod liveupdate;
pub mod page;
pub mod prelude;
