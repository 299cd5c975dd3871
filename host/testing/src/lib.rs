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
use std::{
    fs,
    path::PathBuf, //
};

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

/// Returns the macros that a header below `include/linux/kho/abi` defines as strings, with these.
///
/// # Panics
///
/// If the header cannot be read.
pub fn strings_of(header: &str) -> Vec<(String, String)> {
    let path = checkout().join(format!("include/linux/kho/abi/{header}.h"));
    let text = fs::read_to_string(&path).unwrap_or_else(|err| panic!("{}: {err}", path.display()));

    text.lines()
        .filter_map(|line| {
            let (name, value) = line
                .strip_prefix("#define ")?
                .split_once(char::is_whitespace)?;
            let value = value.trim().strip_prefix('"')?.strip_suffix('"')?;

            Some((name.into(), value.into()))
        })
        .collect()
}

/// Returns the directory of the hand-over's data.
fn abi() -> PathBuf {
    checkout().join("host/abi")
}

/// Returns the directory that has the kernel's `include`.
fn checkout() -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "..", ".."].iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The names of files and FLBs that are handed over in layouts of ours.
    const OURS: [(&str, &str, &str); 5] = [
        ("pci", "PCI_LUO_DRIVER_FLB_COMPATIBLE", "pci-driver-rs"),
        ("pci", "PCI_LUO_PROBE_FLB_COMPATIBLE", "pci-probe-rs"),
        ("iommu", "IOMMU_LUO_FLB_COMPATIBLE", "iommu-rs"),
        ("iommufd", "IOMMUFD_LUO_COMPATIBLE", "iommufd-rs-v2"),
        ("vfio_pci", "VFIO_PCI_LUO_FH_COMPATIBLE", "vfio-pci-rs-v1"),
    ];

    /// Those that other kernels use for layouts of theirs, and those that stood for ours before: they
    /// are refused by name.
    const NOT_OURS: [&str; 7] = [
        "iommu-liveupdate",
        "iommu-liveupdate-v1",
        "iommufd-rs-v1",
        "iommufd-v1",
        "pci-driver-v1",
        "pci-probe-v1",
        "vfio-pci-v1",
    ];

    #[test]
    fn layouts_of_ours_have_names_of_ours() {
        for (header, name, value) in OURS {
            let defined = strings_of(header);

            assert!(
                defined.contains(&(name.into(), value.into())),
                "{defined:?}"
            );
            for (_, value) in &defined {
                assert!(!NOT_OURS.contains(&value.as_str()), "{value} in {header}.h");
            }
        }
    }

    #[test]
    fn only_the_list_of_devices_has_a_name_of_others() {
        let named: Vec<_> = ["pci", "iommu", "iommufd", "vfio_pci"]
            .into_iter()
            .flat_map(strings_of)
            .filter(|(name, _)| name.ends_with("_COMPATIBLE"))
            .collect();

        assert_eq!(named.len(), 1 + OURS.len());
        for (name, value) in named {
            let is_of_others = name == "PCI_LUO_FLB_COMPATIBLE";
            assert_eq!(is_of_others, value == "pci");
            assert_eq!(is_of_others, !value.contains("-rs"), "{name}");
        }
    }
}
