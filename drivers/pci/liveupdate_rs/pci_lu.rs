// SPDX-License-Identifier: GPL-2.0

//! Keeps track of PCI devices that are preserved across a live update.
//!
//! A driver that preserves a file of a PCI device has the device preserved with it. The next kernel
//! then knows the device from the moment that it enumerates it, before any driver can bind, until
//! the file is finished. The bridges above the device are preserved with it.
//!
//! # Preserved
//!
//! - Which devices, by domain, bus, device and function number, and the bridges above them.
//! - The format that the driver of each device preserved it in: others do not bind to it.
//! - Bus numbers, BARs and windows.
//! - All other registers of a device until it has its next owner, but for bus mastering; and those of
//!   the bridges above it that keep it connected.
//! - ACS controls, for as long as the device exists.
//!
//! # Not preserved
//!
//! - Bus mastering: devices are stopped before the kexec, unless somebody hands over what they do DMA
//!   with, to a kernel whose image declares that it takes that over.
//! - What ACPI methods and the administrator write to registers.
//! - Virtual functions: they are refused.
//! - That the device is bound: the administrator binds a driver again.
//!
//! # Life of an entry
//!
//! ```text
//! this kernel:   preserve: 0 -> 1 (endpoint), n -> n + 1 (bridge)   <-> unpreserve
//! next kernel:   read at the first enumerated device, marked when its device is,
//!                finish:   1 -> gone (endpoint), n -> n - 1 (bridge); so does the administrator
//!                          with a device that has no driver, which is stopped first
//! ```
//!
//! Devices are one FLB, formats another one, registers a third: they begin with the first file that
//! is preserved and end with the last that is finished. What is kept of a device itself
//! ([`kept`]) begins when it is found and ends with the device.
//!
//! # Trust
//!
//! User space decides which device it preserves, within what its driver allows, and no more. The
//! memory that the previous kernel left is checked entry by entry: what is wrong is reported, and
//! quarantines the devices that it is about. No driver binds to these.

#![deny(unsafe_code)]

mod apply;
mod entries;
#[expect(unsafe_code, reason = "C boundary")]
mod exports;
#[expect(unsafe_code, reason = "C boundary")]
mod ffi;
mod kept;
mod plan;
mod probes;
mod regions;
#[cfg(CONFIG_PCI_LIVEUPDATE_KUNIT_TEST)]
mod tests;
mod writes;

/// What messages begin with.
const __LOG_PREFIX: &[u8] = b"pci_liveupdate\0";

kernel::local_module!(c"pci_liveupdate");
