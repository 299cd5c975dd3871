// SPDX-License-Identifier: GPL-2.0

//! Digests of inputs: a stage whose inputs did not change is skipped.

use std::collections::BTreeMap;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::context::Context;

/// The digest of anything that can be hashed.
pub fn of(value: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

/// All files below `dir`, relative to it, in order; nothing if it does not exist.
pub fn files_below(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut todo = vec![dir.to_path_buf()];
    while let Some(next) = todo.pop() {
        if !next.is_dir() {
            continue;
        }
        for entry in fs::read_dir(&next).with_context(|| format!("reading {}", next.display()))? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                todo.push(entry.path());
            } else {
                found.push(entry.path().strip_prefix(dir)?.to_path_buf());
            }
        }
    }
    found.sort();
    Ok(found)
}

/// The digest of the content and the names of files.
pub fn of_files<'a>(files: impl IntoIterator<Item = &'a PathBuf>) -> Result<u64> {
    let mut contents = BTreeMap::new();
    for file in files {
        contents
            .insert(file, fs::read(file).with_context(|| format!("reading {}", file.display()))?);
    }
    Ok(of(contents))
}

/// Remembers with which inputs a stage last succeeded.
pub struct Stamp {
    path: PathBuf,
    digest: String,
}

impl Stamp {
    /// The stamp of stage `name` for these inputs.
    pub fn new(ctx: &Context, name: &str, inputs: impl Hash) -> Self {
        Self { path: ctx.cache.join("stamps").join(name), digest: format!("{:016x}", of(inputs)) }
    }

    /// Whether the stage last succeeded with these inputs.
    pub fn is_current(&self) -> bool {
        fs::read_to_string(&self.path).is_ok_and(|old| old == self.digest)
    }

    /// Forgets the last success: call before the outputs are touched.
    pub fn clear(&self) {
        // A stamp that never existed is as good as a removed one.
        let _ = fs::remove_file(&self.path);
    }

    /// Records a success with these inputs.
    pub fn set(&self) -> Result<()> {
        fs::write(&self.path, &self.digest)
            .with_context(|| format!("writing {}", self.path.display()))
    }
}
