// SPDX-License-Identifier: GPL-2.0

//! Fuzzes what the next kernel reads of a preserved iommufd.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    iommufd_lu::fuzz_iommufd(bytes);
});
