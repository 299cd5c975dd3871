// SPDX-License-Identifier: GPL-2.0

//! Fuzzes what is read of a kernel image that is loaded.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    luo_rs::fuzz_image(bytes);
});
