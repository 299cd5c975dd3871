// SPDX-License-Identifier: GPL-2.0

//! Policy of live updates that all who preserve something share.
//!
//! Devices go on running across a kexec only if the kernel that is booted says that it takes them over.
//! One that does not know of them would turn address translation off under them, or give away the memory
//! that they write to.
//!
//! The image of a kernel declares in its own bytes what that kernel understands, by name and version
//! (`include/linux/kho/abi/image.h`). It is read when the image is loaded ([`entries`]), and compared
//! with what this kernel declares itself ([`plan`]): that is what it hands over. What comes of it is
//! kept with the image, so that a later image, or none, takes its place, and an image for crashes has
//! its own. It is asked for when devices are shut down.
//!
//! In the next kernel, what a file left whose handler is missing is given up if the administrator asks
//! for it, and only when all devices that were handed over have ended ([`apply::devices_ended`]).
//!
//! # Preserved
//!
//! - Nothing here.
//!
//! # Not preserved
//!
//! - Nothing here. An image is not taken at its word by the next kernel: that checks what it reads.
//!
//! # Trust
//!
//! The administrator chooses the image, and is trusted. An image that is cut off or odd declares
//! nothing, and so does one that comes without a hand-over, by whatever system call.

#![deny(unsafe_code)]

mod apply;
mod entries;
#[expect(unsafe_code, reason = "C boundary")]
mod exports;
#[expect(unsafe_code, reason = "C boundary")]
mod ffi;
mod plan;
#[cfg(CONFIG_RUST_LIVEUPDATE_KUNIT_TEST)]
mod tests;

/// What messages begin with.
const __LOG_PREFIX: &[u8] = b"liveupdate\0";
