// SPDX-License-Identifier: GPL-2.0

//! What the checkout adds to a kernel tree: new files, and the patch series.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use crate::digest::Digest;
use crate::files;
use crate::lines;

/// The directories of the checkout that are copied to the same place in the kernel.
const DIRECTORIES: [&str; 7] =
    ["Documentation", "drivers", "include", "kernel", "rust", "samples", "tools/testing"];

/// The umbrella symbol's file: in the checkout, and in the kernel, where the
/// top-level `Kconfig` is the kernel's own.
const KCONFIG: (&str, &str) = ("Kconfig", "kernel/liveupdate/Kconfig.liveupdate_rs");

/// What editors and `patch` leave behind.
const LEFTOVERS: [&str; 4] = ["~", ".orig", ".rej", ".swp"];

/// The new files and the patches of a checkout.
pub struct Overlay {
    src: PathBuf,
    /// Where each new file is in the checkout, and where it goes in the kernel.
    pub files: Vec<(PathBuf, PathBuf)>,
    /// The patches of the series, in order.
    pub patches: Vec<PathBuf>,
}

impl Overlay {
    /// Looks at the checkout in `src`.
    pub fn of(src: &Path) -> Result<Self> {
        let mut files = Vec::new();
        for directory in DIRECTORIES {
            for file in files::below(&src.join(directory))? {
                let path = Path::new(directory).join(file);
                let name = path.to_string_lossy();
                if !LEFTOVERS.iter().any(|end| name.ends_with(end)) {
                    files.push((src.join(&path), path));
                }
            }
        }
        if src.join(KCONFIG.0).exists() {
            files.push((src.join(KCONFIG.0), KCONFIG.1.into()));
        }
        Ok(Self { src: src.to_path_buf(), files, patches: series(&src.join("patches"))? })
    }

    /// Where `make patches` writes to.
    pub fn patches_dir(&self) -> PathBuf {
        self.src.join("patches")
    }

    /// Changes whenever our files in a tree made from this overlay would.
    pub fn files_digest(&self) -> Result<Digest> {
        let contents = Digest::of_files(self.files.iter().map(|(from, _)| from))?;
        let targets =
            Digest::of(self.files.iter().map(|(_, to)| to.as_os_str().as_encoded_bytes()));
        Ok(Digest::of([targets, contents]))
    }

    /// Changes whenever the hooks in a tree made from this overlay would.
    pub fn patches_digest(&self) -> Result<Digest> {
        let order =
            Digest::of(self.patches.iter().map(|patch| patch.as_os_str().as_encoded_bytes()));
        Ok(Digest::of([Digest::of_files(&self.patches)?, order]))
    }

    /// Copies the new files into `tree`.
    pub fn copy_to(&self, tree: &Path) -> Result<()> {
        for (from, to) in &self.files {
            let target = tree.join(to);
            if let Some(parent) = target.parent() {
                fs::create_dir_all(parent)?;
            }
            fs::copy(from, &target)
                .with_context(|| format!("copying {} to {}", from.display(), target.display()))?;
        }
        Ok(())
    }

    /// The kernel paths of the new files, one per NUL-terminated line, as git reads them.
    pub fn pathspecs(&self) -> String {
        lines::ended_by('\0', self.files.iter().map(|(_, to)| to.display()))
    }

    /// Refuses new files that would silently replace one of the kernel's.
    pub fn check_against(&self, exists: impl Fn(&Path) -> bool) -> Result<()> {
        for (from, to) in &self.files {
            if exists(to) {
                bail!(
                    "{} would replace a file of the kernel: change that one with a commit in the tree and `make patches`",
                    from.strip_prefix(&self.src)?.display()
                );
            }
        }
        Ok(())
    }
}

/// The patches that `dir/series` names; none if it does not exist.
fn series(dir: &Path) -> Result<Vec<PathBuf>> {
    let list = dir.join("series");
    if !list.exists() {
        return Ok(Vec::new());
    }
    let text = fs::read_to_string(&list)?;
    names_in(&text)
        .map(|name| {
            let patch = dir.join(name);
            if !patch.is_file() {
                bail!("patches/series names {name}, which does not exist");
            }
            Ok(patch)
        })
        .collect()
}

/// The names in the text of a quilt series: one per line, `#` starts a comment.
fn names_in(text: &str) -> impl Iterator<Item = &str> {
    text.lines()
        .map(|line| line.split('#').next().unwrap_or("").trim())
        .filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::names_in;

    #[test]
    fn series_skips_comments_and_blank_lines() {
        let text = "# hooks\n\n0001-a.patch\n  0002-b.patch # why\n#0003-c.patch\n";
        assert_eq!(names_in(text).collect::<Vec<_>>(), ["0001-a.patch", "0002-b.patch"]);
    }
}
