// SPDX-License-Identifier: GPL-2.0

//! The checks of `make check`; the cheap ones are part of `make test`.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Result, bail, ensure};

use crate::checkpatch;
use crate::context::Context;
use crate::docs;
use crate::hooks::{self, Added};
use crate::kernel::{self, Variant};
use crate::layering;
use crate::mail;
use crate::modules;
use crate::names::{self, Ours, Tree};
use crate::overlay::Overlay;
use crate::series;
use crate::stage::Stage;
use crate::times::elapsed;
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

const CHEAP: [(&str, Check); 10] = [
    ("rustfmt", rustfmt),
    ("layering", layering_rule),
    ("modules", modules_of_the_harness),
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

fn modules_of_the_harness(ctx: &Context, _: &mut Stage) -> Result<()> {
    let found = modules::scan(&ctx.src.join(modules::DIR))?;
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

fn checkpatch_series(ctx: &Context, stage: &mut Stage) -> Result<()> {
    checkpatch::run(ctx, stage, &[], Overlay::of(&ctx.src)?.patches.into_iter())
}

fn checkpatch_files(ctx: &Context, stage: &mut Stage) -> Result<()> {
    let files = sources(ctx, &["c", "h"])?;
    checkpatch::run(ctx, stage, &["--file"], files.into_iter().map(|(_, to)| to))
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
