// SPDX-License-Identifier: GPL-2.0

//! Bytes as a kernel hands them over, kept for good.

use std::{
    collections::BTreeSet,
    fs, //
};

/// Calls `check` with the bytes of each blob of a contract, and with what they are known to mean.
///
/// # Panics
///
/// If there is a blob whose meaning is not known, or none for a known one.
pub fn check<T>(contract: &str, known: &[(&str, T)], check: impl Fn(&[u8], &T)) {
    let directory = crate::abi().join("golden").join(contract);

    let found: BTreeSet<String> = fs::read_dir(&directory)
        .unwrap_or_else(|err| panic!("{}: {err}", directory.display()))
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .collect();
    let names: BTreeSet<String> = known
        .iter()
        .map(|(name, _)| format!("{name}.hex"))
        .collect();

    assert_eq!(found, names, "blobs found and blobs known");

    for (name, meaning) in known {
        println!("{contract}/{name}");
        let text = fs::read_to_string(directory.join(format!("{name}.hex"))).unwrap();

        check(&bytes(&text), meaning);
    }
}

/// Returns the blobs of a contract, each with its name.
///
/// # Panics
///
/// If one cannot be read.
pub fn all(contract: &str) -> Vec<(String, Vec<u8>)> {
    let directory = crate::abi().join("golden").join(contract);
    let files =
        fs::read_dir(&directory).unwrap_or_else(|err| panic!("{}: {err}", directory.display()));

    files
        .map(|file| {
            let path = file.unwrap().path();
            let name = path.file_stem().unwrap().to_string_lossy().into_owned();

            (name, bytes(&fs::read_to_string(path).unwrap()))
        })
        .collect()
}

/// Reads hexadecimal bytes between white space, up to a `#` on each line.
fn bytes(text: &str) -> Vec<u8> {
    text.lines()
        .filter_map(|line| line.split('#').next())
        .flat_map(str::split_ascii_whitespace)
        .map(|byte| match byte.len() {
            2 => u8::from_str_radix(byte, 16).unwrap_or_else(|_| panic!("{byte} is no byte")),
            _ => panic!("{byte} is no byte of two digits"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_bytes_and_skips_comments() {
        assert_eq!(bytes("# 11\n00 7f\tff # 22\n\n10"), [0, 0x7f, 0xff, 0x10]);
    }

    #[test]
    #[should_panic(expected = "123 is no byte of two digits")]
    fn refuses_half_bytes() {
        bytes("00 123");
    }

    #[test]
    #[should_panic(expected = "0x is no byte")]
    fn refuses_what_is_not_hexadecimal() {
        bytes("00 0x");
    }
}
