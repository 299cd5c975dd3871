// SPDX-License-Identifier: GPL-2.0

//! Fuzzes what the next kernel reads of a preserved vfio-pci file.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    vfio_pci_lu::fuzz_vfio(bytes);
});
