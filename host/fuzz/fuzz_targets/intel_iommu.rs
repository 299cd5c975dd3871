// SPDX-License-Identifier: GPL-2.0

//! Fuzzes what the next kernel reads of entries that a remapping unit has.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    iommu_lu::fuzz_intel(bytes);
});
