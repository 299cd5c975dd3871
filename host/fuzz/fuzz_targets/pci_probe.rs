// SPDX-License-Identifier: GPL-2.0

//! Fuzzes what the next kernel reads of the registers of preserved PCI devices.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    pci_lu::fuzz_pci_probe(bytes);
});
