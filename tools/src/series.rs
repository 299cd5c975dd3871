// SPDX-License-Identifier: GPL-2.0

//! Does each commit of the patch series build, with our options on and off?

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};

use crate::context::Context;
use crate::kernel::{self, Variant};
use crate::lines;
use crate::stage::{Stage, git, output};
use crate::tree;

/// What the lines of the configuration name that are left out for "off": our
/// options, and with them Rust, so that the hooks have to do without our code.
const OPTIONS: [&str; 3] = ["PCI_LIVEUPDATE", "RUST", "SAMPLES"];

/// Builds the directories that each commit of the patch series touches, right after it.
pub fn builds_per_commit(ctx: &Context, stage: &mut Stage) -> Result<()> {
    let tree = ctx.tree();
    let (base, head) = tree::hook_commits(&tree)?;
    let listed = output(git(&tree).args(["rev-list", "--reverse", &format!("{base}..{head}")]))?;
    builds(ctx, stage, &base, &listed.lines().collect::<Vec<_>>())
}

/// Builds the directories that each of these commits touches, right after it; `base` is below them.
pub fn builds(ctx: &Context, stage: &mut Stage, base: &str, commits: &[&str]) -> Result<()> {
    let tree = ctx.tree();
    let scratch = ctx.cache.join("series");
    let remove = || -> Result<()> {
        if scratch.exists() {
            fs::remove_dir_all(&scratch)?;
        }
        output(git(&tree).args(["worktree", "prune"])).map(|_| ())
    };
    // What a run left that was killed may be locked, or half of a commit.
    remove()?;
    stage.run(git(&tree).args(["worktree", "add", "-q", "--detach"]).arg(&scratch).arg(base))?;
    let checked = commits.iter().try_for_each(|commit| {
        stage.run(git(&scratch).args(["checkout", "-q", "--detach", commit]))?;
        for on in [true, false] {
            build(ctx, stage, &scratch, commit, on).with_context(|| {
                let subject = output(git(&tree).args(["log", "-1", "--format=%s", commit]))
                    .unwrap_or_default();
                format!(
                    "`{subject}` does not build with the options {}",
                    if on { "on" } else { "off" }
                )
            })?;
        }
        Ok(())
    });
    remove()?;
    checked
}

fn build(ctx: &Context, stage: &mut Stage, tree: &Path, commit: &str, on: bool) -> Result<()> {
    let out = ctx.cache.join(if on { "build/series-on" } else { "build/series-off" });
    fs::create_dir_all(&out)?;
    // An option that a later commit brings is simply not there yet: what is
    // asked for here is a build, not a working feature.
    let whole = kernel::fragment(ctx, Variant::Main)?;
    let ours = |line: &&str| OPTIONS.iter().any(|option| line.contains(option));
    let fragment = lines::of(whole.lines().filter(|line| on || !ours(line)));
    let path = out.join("fragment.config");
    fs::write(&path, fragment)?;
    stage.run(kernel::make(ctx, tree, &out).arg("allnoconfig").env("KCONFIG_ALLCONFIG", &path))?;
    stage.run(kernel::make(ctx, tree, &out).arg("prepare"))?;
    let dirs = touched_dirs(tree, commit)?;
    if dirs.is_empty() {
        return Ok(());
    }
    stage.run(kernel::make(ctx, tree, &out).args(dirs))
}

/// The directories with source files that a commit touches, as kbuild targets.
fn touched_dirs(tree: &Path, commit: &str) -> Result<Vec<String>> {
    let names =
        output(git(tree).args(["diff-tree", "-r", "--no-commit-id", "--name-only", commit]))
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
