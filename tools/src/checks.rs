// SPDX-License-Identifier: GPL-2.0

//! The checks of `make check`; the cheap ones are part of `make test`.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context as _, Result, bail, ensure};

use crate::context::Context;
use crate::docs;
use crate::hooks::{self, Added};
use crate::kernel::{self, Variant};
use crate::layering;
use crate::mail;
use crate::names::{self, Ours, Tree};
use crate::overlay::Overlay;
use crate::series;
use crate::stage::{Stage, elapsed, output};
use crate::verdict::Case;

/// Which checks to run.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// Those that take seconds.
    Cheap,
    /// Those that build kernels, too.
    All,
}

/// One check: fails with what it found.
type Check = fn(&Context, &mut Stage) -> Result<()>;

const CHEAP: [(&str, Check); 9] = [
    ("rustfmt", rustfmt),
    ("layering", layering_rule),
    ("names", names_in_documents),
    ("kernel-doc", docs::kernel_doc),
    ("clippy", clippy),
    ("checkpatch-series", checkpatch_series),
    ("checkpatch-files", checkpatch_files),
    ("hook-lines", hook_lines),
    ("mail", mail::check),
];

const EXPENSIVE: [(&str, Check); 5] = [
    ("kernel-clippy", kernel_clippy),
    ("rustdoc", rustdoc),
    (docs::RENDERED, docs::pages),
    ("series", series::builds_per_commit),
    ("mail-series", mail::builds_per_patch),
];

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

/// Runs the checks on a tree that is up to date; one line each.
pub fn run(ctx: &Context, which: Which) -> Result<Vec<Case>> {
    let expensive = if which == Which::All { &EXPENSIVE[..] } else { &[] };
    let mut cases = Vec::new();
    for (name, check) in CHEAP.iter().chain(expensive) {
        let start = Instant::now();
        let log = format!("check-{name}");
        let mut stage = Stage::start(ctx, &log, "checking")?;
        let result = check(ctx, &mut stage);
        stage.quiet();
        let (took, shown) = (elapsed(start.elapsed()), ctx.show(&ctx.log(&log)));
        cases.push(match result {
            Ok(()) => {
                println!("ok   {name} ({took})");
                Case::check(*name, true, String::new)
            }
            Err(error) => {
                println!("FAIL {name} ({took}), log: {shown}\n{error:#}");
                Case::failed(*name, error.to_string())
            }
        });
    }
    Ok(cases)
}

/// Our files with this extension: where they are, and what they are called in the kernel.
fn sources(ctx: &Context, extensions: &[&str]) -> Result<Vec<(PathBuf, PathBuf)>> {
    let mut files = Overlay::of(&ctx.src)?.files;
    files.retain(|(_, to)| {
        to.extension().and_then(OsStr::to_str).is_some_and(|ext| extensions.contains(&ext))
    });
    Ok(files)
}

/// The cargo workspaces of the checkout.
fn workspaces(ctx: &Context) -> Vec<PathBuf> {
    let dirs = ["tools", "host"].map(|dir| ctx.src.join(dir));
    dirs.into_iter().filter(|dir| dir.join("Cargo.toml").exists()).collect()
}

fn rustfmt(ctx: &Context, stage: &mut Stage) -> Result<()> {
    let files = sources(ctx, &["rs"])?;
    if !files.is_empty() {
        let config = ctx.tree().join(".rustfmt.toml");
        stage.run(
            Command::new("rustfmt")
                .args(["--check", "--edition", "2021", "--config-path"])
                .arg(config)
                .args(files.iter().map(|(from, _)| from)),
        )?;
    }
    for dir in workspaces(ctx) {
        stage.run(Command::new("cargo").args(["fmt", "--all", "--check"]).current_dir(dir))?;
    }
    Ok(())
}

fn layering_rule(ctx: &Context, _: &mut Stage) -> Result<()> {
    let files = sources(ctx, &["rs"])?;
    let found = layering::scan(files.iter().map(|(from, to)| (from.as_path(), to.as_path())))?;
    ensure!(found.is_empty(), "  {}", found.join("\n  "));
    Ok(())
}

fn names_in_documents(ctx: &Context, _: &mut Stage) -> Result<()> {
    let document = fs::read_to_string(ctx.src.join(names::DOCUMENT))?;
    let overlay = Overlay::of(&ctx.src)?;
    let tree = Tree { dir: &ctx.tree(), overlay: &overlay };
    let found = names::violations(&document, &Ours::of(&ctx.src)?, &tree)?;
    ensure!(found.is_empty(), "  {}", found.join("\n  "));
    Ok(())
}

fn clippy(ctx: &Context, stage: &mut Stage) -> Result<()> {
    for dir in workspaces(ctx) {
        stage.run(
            Command::new("cargo")
                .args([
                    "clippy",
                    "--workspace",
                    "--all-targets",
                    "--locked",
                    "--",
                    "-D",
                    "warnings",
                ])
                .current_dir(dir),
        )?;
    }
    Ok(())
}

/// Checks `what`, a part of it on each processor.  In the tree: checkpatch wants the paths of files
/// below its root.
pub fn checkpatch(
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

fn checkpatch_series(ctx: &Context, stage: &mut Stage) -> Result<()> {
    checkpatch(ctx, stage, &[], Overlay::of(&ctx.src)?.patches.into_iter())
}

fn checkpatch_files(ctx: &Context, stage: &mut Stage) -> Result<()> {
    let files = sources(ctx, &["c", "h"])?;
    checkpatch(ctx, stage, &["--file"], files.into_iter().map(|(_, to)| to))
}

fn hook_lines(ctx: &Context, _: &mut Stage) -> Result<()> {
    let overlay = Overlay::of(&ctx.src)?;
    let mut added = Added::default();
    for patch in &overlay.patches {
        added.count_patch(&fs::read_to_string(patch)?);
    }
    for (from, to) in sources(ctx, &["c", "h"])? {
        added.count_file(&to, &fs::read_to_string(from)?);
    }
    let total = added.total();
    eprint!(
        "hook-lines: {} of at most {} ({} hooks, {} in files of our own), and {} generic ones\n{added}",
        total.counted(),
        hooks::LIMIT,
        total.hooks,
        total.own,
        total.generic,
    );
    ensure!(
        total.counted() <= hooks::LIMIT,
        "hooks and C files of our own have {} lines of code, more than {}",
        total.counted(),
        hooks::LIMIT
    );
    Ok(())
}

/// Clippy and all of the kernel's warnings on our kernel code, in a build directory of its own.
fn kernel_clippy(ctx: &Context, stage: &mut Stage) -> Result<()> {
    let out = ctx.cache.join("build/clippy");
    let tree = ctx.tree();
    kernel::configure(ctx, &tree, &out, &kernel::fragment(ctx, Variant::Main)?)?;
    let targets = leaf_targets(ctx)?;
    stage.run(kernel::make(ctx, &tree, &out).arg("CLIPPY=1").arg("prepare"))?;
    if !targets.is_empty() {
        stage.run(kernel::make(ctx, &tree, &out).args(["CLIPPY=1", "W=1"]).args(targets))?;
    }
    no_warnings(ctx, "check-kernel-clippy")
}

fn rustdoc(ctx: &Context, stage: &mut Stage) -> Result<()> {
    kernel::build(ctx)?;
    stage.run(kernel::make(ctx, &ctx.tree(), &ctx.build(Variant::Main.name())).arg("rustdoc"))?;
    no_warnings(ctx, "check-rustdoc")
}

/// Whether kbuild can be asked for a directory of the kernel.
fn is_built_by_itself(ctx: &Context, dir: &Path) -> bool {
    ctx.tree().join(dir).join("Makefile").exists()
}

/// kbuild's targets for the directories with our Rust crates, or those above that build them.
fn leaf_targets(ctx: &Context) -> Result<Vec<String>> {
    let mut dirs: Vec<String> = sources(ctx, &["rs"])?
        .iter()
        .filter(|(_, to)| !to.starts_with("rust"))
        .filter_map(|(_, to)| to.ancestors().skip(1).find(|dir| is_built_by_itself(ctx, dir)))
        .map(|dir| format!("{}/", dir.display()))
        .collect();
    dirs.sort();
    dirs.dedup();
    Ok(dirs)
}

/// Fails if the log of a build that succeeded has a compiler's warning.
fn no_warnings(ctx: &Context, log: &str) -> Result<()> {
    let text = fs::read_to_string(ctx.log(log))?;
    let first =
        text.lines().position(|line| line.starts_with("warning:") || line.starts_with("warning["));
    if let Some(at) = first {
        bail!("  {}", text.lines().skip(at).take(8).collect::<Vec<_>>().join("\n  "));
    }
    Ok(())
}

/// The directories with source files that a commit touches, as kbuild targets.
pub fn touched_dirs(tree: &Path, commit: &str) -> Result<Vec<String>> {
    let names = output(crate::stage::git(tree).args([
        "diff-tree",
        "-r",
        "--no-commit-id",
        "--name-only",
        commit,
    ]))
    .context("listing what a commit touches")?;
    let mut dirs: Vec<String> = names
        .lines()
        .filter(|name| {
            name.ends_with(".c")
                || name.ends_with(".rs")
                || name.ends_with("Makefile")
                || name.ends_with("Kconfig")
        })
        .filter(|name| {
            !name.starts_with("tools/")
                && !name.starts_with("rust/")
                && !name.starts_with("include/")
        })
        .filter_map(|name| Some(format!("{}/", Path::new(name).parent()?.display())))
        .filter(|dir| dir != "/")
        .collect();
    dirs.sort();
    dirs.dedup();
    Ok(dirs)
}
