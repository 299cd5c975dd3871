// SPDX-License-Identifier: GPL-2.0

//! The kernel's checkpatch, on patches and on files.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;

use crate::context::Context;
use crate::stage::Stage;

/// Notes of checkpatch that do not apply here, and why.
const IGNORED: [(&str, &str); 7] = [
    ("AVOID_EXTERNS", "libvfio declares its drivers where it has the table of them"),
    ("EMBEDDED_FILENAME", "a Kconfig line that sources another file has to name its directory"),
    ("FILE_PATH_CHANGES", "new files are covered by the MAINTAINERS file of the checkout"),
    (
        "EXPORT_SYMBOL",
        "exports of functions that are defined in Rust have no C definition to follow",
    ),
    ("UNKNOWN_COMMIT_ID", "the tree has none of the kernel's history"),
    ("VOLATILE", "a helper has the parameter types of the inline function that it stands for"),
    (
        "COMPLEX_MACRO",
        "kselftest fixture macros are declarations, and are written so all over the tree",
    ),
];

/// Checks `what`, a part of it on each processor.  In the tree: checkpatch wants the paths of files
/// below its root.
pub fn run(
    ctx: &Context,
    stage: &mut Stage,
    mode: &[&str],
    what: impl Iterator<Item = PathBuf>,
) -> Result<()> {
    let names: Vec<String> = what.map(|path| path.display().to_string()).collect();
    if names.is_empty() {
        return Ok(());
    }
    let list = ctx.log("checkpatch").with_extension("list");
    fs::write(&list, names.join("\n"))?;
    let tree = ctx.tree();
    let ignored: Vec<&str> = IGNORED.iter().map(|(name, _)| *name).collect();
    let mut command = Command::new("xargs");
    command.arg("--arg-file").arg(list).args(["--delimiter", "\\n"]);
    // As few as there can be: each takes a second before it begins.
    let at_once = names.len().div_ceil(ctx.jobs).to_string();
    command.args(["--max-args", &at_once, "--max-procs", &ctx.jobs.to_string(), "perl"]);
    command.arg(tree.join("scripts/checkpatch.pl")).arg(format!("--root={}", tree.display())).args(
        ["--strict", "--show-types", "--no-summary", "--quiet", "--ignore", &ignored.join(",")],
    );
    stage.run(command.args(mode).current_dir(tree))
}
