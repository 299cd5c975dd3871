// SPDX-License-Identifier: GPL-2.0

//! Digests of inputs: what was made from the same inputs is not made again.
//!
//! They are kept in the cache and in users' trees, so they are BLAKE3's: those of `std::hash` may
//! differ from one release of Rust to the next.

use std::fmt;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use blake3::{Hash, Hasher};

/// The digest of some inputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Digest(Hash);

impl Digest {
    /// The digest of these parts, in their order: it says where each ends, too.
    pub fn of<T: AsRef<[u8]>>(parts: impl IntoIterator<Item = T>) -> Self {
        let mut hasher = Hasher::new();
        for part in parts {
            let part = part.as_ref();
            hasher.update(&(part.len() as u64).to_le_bytes()).update(part);
        }
        Self(hasher.finalize())
    }

    /// The digest of the names and the contents of files, in whatever order they are given.
    pub fn of_files<'a>(files: impl IntoIterator<Item = &'a PathBuf>) -> Result<Self> {
        let mut files: Vec<&PathBuf> = files.into_iter().collect();
        files.sort();
        let mut parts = Vec::new();
        for file in files {
            let text = fs::read(file).with_context(|| format!("reading {}", file.display()))?;
            parts.extend([file.as_os_str().as_encoded_bytes().to_vec(), text]);
        }
        Ok(Self::of(parts))
    }

    /// Its first digits, for names that people read.
    pub fn short(&self) -> String {
        self.to_string().chars().take(8).collect()
    }
}

impl AsRef<[u8]> for Digest {
    fn as_ref(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::Digest;

    #[test]
    fn digest_is_the_same_for_all_time() {
        let known = "d26e7ffa15627abe9845e514a36455a9e2bb4364183eb0290466709a0fb7ec01";
        assert_eq!(Digest::of(["tree", "patches"]).to_string(), known);
        assert_eq!(Digest::of(["tree", "patches"]).short(), known[..8]);
    }

    #[test]
    fn parts_are_told_apart() {
        assert_ne!(Digest::of(["ab", "c"]), Digest::of(["a", "bc"]));
        assert_ne!(Digest::of(["a", ""]), Digest::of(["a"]));
        assert_ne!(Digest::of(["a", "b"]), Digest::of(["b", "a"]));
    }

    #[test]
    fn files_count_by_name_and_content() {
        let dir = std::env::temp_dir().join(format!("lu-digest-{}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("a directory");
        let file = |name: &str, text: &str| {
            let path = dir.join(name);
            std::fs::write(&path, text).expect("a file");
            path
        };
        let of = |files: &[_]| Digest::of_files(files).expect("files");
        let (one, other) = (file("one", "x"), file("other", "y"));
        let both = of(&[one.clone(), other.clone()]);
        assert_eq!(of(&[other.clone(), one.clone()]), both);
        assert_ne!(of(std::slice::from_ref(&one)), both);
        file("one", "y");
        file("other", "x");
        assert_ne!(of(&[one.clone(), other]), both);
        std::fs::remove_dir_all(&dir).expect("it was there");
        assert!(Digest::of_files([&one]).is_err());
    }
}
