// SPDX-License-Identifier: GPL-2.0

//! What the tests of all leaves share.
//!
//! The data is in `host/abi`, whose README says what may be done to it.

pub mod golden;
pub mod layout;

use proptest::test_runner::{
    Config,
    RngSeed, //
};
use std::path::PathBuf;

/// How property tests run: the same cases each time, unless the environment asks for others.
///
/// `PROPTEST_RNG_SEED` and `PROPTEST_CASES` are those of proptest.
pub fn config() -> Config {
    let config = Config::default();

    Config {
        rng_seed: match config.rng_seed {
            RngSeed::Random => RngSeed::Fixed(0x6b65_7865_6321),
            fixed => fixed,
        },
        // The seed reproduces a failure; a test does not write into the checkout.
        failure_persistence: None,
        ..config
    }
}

/// Returns the directory of the hand-over's data.
fn abi() -> PathBuf {
    checkout().join("host/abi")
}

/// Returns the directory that has the kernel's `include`.
fn checkout() -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "..", ".."].iter().collect()
}
