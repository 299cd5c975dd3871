// SPDX-License-Identifier: GPL-2.0

//! The files in a directory and in those below it.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use walkdir::{DirEntry, WalkDir};

/// All files below `dir`, relative to it, in order; nothing if it is no directory.  Links are files.
pub fn below(dir: &Path) -> Result<Vec<PathBuf>> {
    but_for(dir, |_| false)
}

/// The same without what is called as `is_left_out` says, and without what is below that.
pub fn but_for(dir: &Path, is_left_out: impl Fn(&str) -> bool) -> Result<Vec<PathBuf>> {
    if !dir.is_dir() {
        return Ok(Vec::new());
    }
    let is_wanted = |entry: &DirEntry| !entry.file_name().to_str().is_some_and(&is_left_out);
    let mut found = Vec::new();
    for entry in
        WalkDir::new(dir).min_depth(1).sort_by_file_name().into_iter().filter_entry(is_wanted)
    {
        let entry = entry.with_context(|| format!("reading {}", dir.display()))?;
        if !entry.file_type().is_dir() {
            found.push(entry.path().strip_prefix(dir)?.to_path_buf());
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    #[test]
    fn files_are_in_order_and_links_are_not_followed() {
        let dir = std::env::temp_dir().join(format!("lu-files-{}", std::process::id()));
        for file in ["a/b/c", "a/d", "a.c", ".git/x", "e/.git"] {
            let path = dir.join(file);
            fs::create_dir_all(path.parent().expect("a directory")).expect("made");
            fs::write(path, "").expect("written");
        }
        symlink("a", dir.join("f")).expect("a link");
        let names = |found: Result<Vec<PathBuf>>| -> Vec<String> {
            found.expect("files").iter().map(|path| path.display().to_string()).collect()
        };
        let all = names(below(&dir));
        let but_for_git = names(but_for(&dir, |name| name == ".git"));
        let through_link = names(below(&dir.join("f")));
        let of_file = names(below(&dir.join("a.c")));
        fs::remove_dir_all(&dir).expect("it was there");
        assert_eq!(all, [".git/x", "a/b/c", "a/d", "a.c", "e/.git", "f"]);
        assert_eq!(but_for_git, ["a/b/c", "a/d", "a.c", "f"]);
        assert_eq!(through_link, ["b/c", "d"]);
        assert_eq!([of_file, names(below(&dir))], [[""; 0]; 2]);
    }
}
