// SPDX-License-Identifier: GPL-2.0

//! Preserves files of vfio-pci devices across a live update.
//!
//! User space opens a device through its character device, preserves the file in a session of
//! `/dev/liveupdate`, and retrieves it from that session in the next kernel. There it binds the
//! device to an iommufd and sets it up, as after an open.
//!
//! # Preserved
//!
//! - That the device belongs to the session: from the moment that the next kernel enumerates it
//!   until the file is finished, vfio has no other way to open it, and no other driver binds to it.
//!
//! # Not preserved
//!
//! - The state of the device, unless it is attached to an HWPT that iommufd hands over: such a device
//!   goes on doing DMA, also when user space binds and attaches it again. Any other one is stopped and
//!   reset while the old kernel goes down, and bus mastering is off until user space turns it on again.
//! - Interrupts, ioeventfds, exported dma-bufs: a kexec is refused while there are any. Of a device
//!   whose owner is gone while somebody else has the session, interrupts and ioeventfds are turned
//!   off, and a low power state is ended.
//! - That the device is bound to vfio-pci: the administrator binds it again.
//! - Virtual functions, group and container files, variant drivers, Intel display devices: they
//!   cannot be preserved.
//!
//! # Life of a file
//!
//! ```text
//! old kernel:  open -> preserve -> freeze (decides) -> device shutdown (may stop, reset)
//!                   <- unpreserve  <- unfreeze (the device was not touched)
//! new kernel:  retrieve -> user space binds it (nothing was written to the device until then)
//!                       -> user space attaches it, if it goes on -> finish
//! ```
//!
//! `freeze` shuts user space out of the file, waits for whoever is inside, and then refuses if the
//! device may still be heard of (`plan::freeze`). Mappings of the device are taken away, and page
//! faults wait. The device runs on: a kexec that is called off costs it nothing. What cannot be
//! undone is done when the kexec cannot be called off any more, but for what the owner would have
//! done, where it is gone (`Treatment`).
//!
//! A session whose owner is gone is finished as it is. A device whose file nobody has bound is reset
//! then, and anybody may open it. One that goes on, and that nobody attached to anything, is stopped.
//!
//! # Trust
//!
//! - *User space* that has the file is hostile. It can preserve and unpreserve it, make a kexec
//!   fail (by keeping interrupts enabled, for example), and use the file and mappings of the device
//!   until the freeze. It has no way to the device after that.
//! - *The device* is hostile. It is cut off from memory before the old kernel ends, and bus mastering
//!   stays off in the new one until user space turns it on, after the IOMMU was set up. One that goes
//!   on is kept to the memory that its HWPT maps by the IOMMU, which never stops translating.
//! - *The memory of the previous kernel* is checked: a record names a device that was preserved and
//!   is bound to vfio-pci, or the file cannot be retrieved.

#![deny(unsafe_code)]

mod apply;
mod entries;
#[expect(unsafe_code, reason = "C boundary")]
mod exports;
#[expect(unsafe_code, reason = "C boundary")]
mod ffi;
mod plan;

/// What messages begin with.
const __LOG_PREFIX: &[u8] = b"vfio_pci_liveupdate\0";

kernel::local_module!(c"vfio_pci");
