// SPDX-License-Identifier: GPL-2.0

//! Stamps: a stage whose inputs did not change is skipped.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result};

use crate::context::Context;
use crate::digest::Digest;

/// Remembers with which inputs a stage last succeeded.
pub struct Stamp {
    path: PathBuf,
    digest: String,
}

impl Stamp {
    /// The stamp of stage `name` for inputs with this digest.
    pub fn new(ctx: &Context, name: &str, inputs: Digest) -> Self {
        Self { path: ctx.cache.join("stamps").join(name), digest: inputs.to_string() }
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
