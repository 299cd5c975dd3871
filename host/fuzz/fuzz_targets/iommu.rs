// SPDX-License-Identifier: GPL-2.0

//! Fuzzes what the next kernel reads of translations that were preserved.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    iommu_lu::fuzz_iommu(bytes);
});
