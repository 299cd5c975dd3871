// SPDX-License-Identifier: GPL-2.0

//! `make mail`: writes the changes as series of mails, one per subsystem, for whoever sends them.
//!
//! `tools/mail/series.toml` says which patches and which of our files form which mail. The commits
//! are made anew from it, on top of the pristine kernel, by `compose`; `git format-patch` writes
//! them. The last commit has to be what the tree has, but for the entries in `MAINTAINERS`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use crate::checkpatch;
use crate::context::Context;
use crate::files;
use crate::overlay::Overlay;
use crate::series;
use crate::stage::{Stage, git, output};
use crate::tree;

mod compose;
mod maintainers;
mod message;
mod parts;
mod plan;

use compose::Composed;
use message::{Message, Sender};
use plan::Plan;

/// Where the data and the texts of the mails are, below the checkout.
const DIR: &str = "tools/mail";

/// What the text of a cover letter is called, in the directory of its series.
const COVER: &str = "cover";

/// What checkpatch is not asked about mails: rustfmt says where lines of Rust end, and breaks no
/// messages. It is asked about C elsewhere.
const NOT_ASKED: [&str; 2] = ["--ignore", "LONG_LINE"];

/// Who sends the mails that nobody sends.
const NOBODY: &str = "Nobody <nobody@localhost.invalid>";

/// Writes all series below the cache, as mails of `from`, for a kernel whose commit is `base`.
pub fn write(ctx: &Context, from: &str, base: Option<&str>) -> Result<()> {
    let sender: Sender = from.parse()?;
    tree::update(ctx, false)?;
    let mut stage = Stage::start(ctx, "mail", "composing the series")?;
    let plan = Plan::read(&ctx.src.join(DIR))?;
    let composed = compose_all(ctx, &mut stage, &plan, &sender)?;
    let known = base.map(str::to_owned).or_else(|| commit_of_ksrc(ctx));
    let out = ctx.cache.join("mail");
    if out.exists() {
        fs::remove_dir_all(&out)?;
    }
    let mut mails = Vec::new();
    for (index, series) in plan.series.iter().enumerate() {
        let dir = out.join(format!("{:02}-{}", index + 1, series.name));
        fs::create_dir_all(&dir)?;
        let patches = format(ctx, &mut stage, &composed, index, &sender, &dir)?;
        let recipients = recipients(ctx, &patches)?;
        fs::write(dir.join("recipients"), &recipients)?;
        let letter = dir.join("0000-cover-letter.patch");
        let text = fs::read_to_string(&letter).context("git format-patch wrote no cover letter")?;
        let cover = cover(ctx, &plan, index)?;
        let text = message::fill_cover(&text, &cover, &recipients)?;
        let text = match &known {
            Some(known) => text.replace(&composed.base, known),
            None => text,
        };
        fs::write(letter, text)?;
        mails.extend(patches);
    }
    let count = mails.len();
    checkpatch::run(ctx, &mut stage, &NOT_ASKED, mails.into_iter()).with_context(|| {
        format!("the mails are in {}, but checkpatch has remarks", ctx.show(&out))
    })?;
    stage.done(&format!("{} series, {count} patches in {}", plan.series.len(), ctx.show(&out)));
    if known.is_none() {
        eprintln!(
            "mail: base-commit is one that nobody else has: name the commit of this kernel's release with BASE="
        );
    }
    Ok(())
}

/// Finds what is wrong with the data of the mails, and composes them.
pub fn check(ctx: &Context, stage: &mut Stage) -> Result<()> {
    let plan = Plan::read(&ctx.src.join(DIR))?;
    for index in 0..plan.series.len() {
        cover(ctx, &plan, index)?;
    }
    compose_all(ctx, stage, &plan, &NOBODY.parse()?).map(|_| ())
}

/// Builds the kernel's directories that each patch of each series touches, right after it.
pub fn builds_per_patch(ctx: &Context, stage: &mut Stage) -> Result<()> {
    let plan = Plan::read(&ctx.src.join(DIR))?;
    let composed = compose_all(ctx, stage, &plan, &NOBODY.parse()?)?;
    let commits: Vec<&str> = composed.series.iter().flatten().map(String::as_str).collect();
    series::builds(ctx, stage, &composed.base, &commits)
}

/// Composes all mails, once the data is found to be whole.
fn compose_all(ctx: &Context, stage: &mut Stage, plan: &Plan, sender: &Sender) -> Result<Composed> {
    let overlay = Overlay::of(&ctx.src)?;
    let patches = patches_of(&overlay)?;
    let texts = Texts { dir: ctx.src.join(DIR) };
    let mails = plan.assign(&files_of(&overlay), &patches, |series, name| texts.read(series, name));
    let mails = mails.map_err(|found| anyhow::anyhow!("  {}", found.join("\n  ")))?;
    compose::compose(ctx, stage, &mails, sender, &ctx.src)
}

/// The texts of the mails that have no patch of ours.
struct Texts {
    dir: PathBuf,
}

impl Texts {
    fn read(&self, series: &str, name: &str) -> Result<Message> {
        let path = self.dir.join(series).join(format!("{name}.txt"));
        let text = fs::read_to_string(&path).with_context(|| {
            format!("{DIR}/{series}/{name}.txt, the text of a mail, cannot be read")
        })?;
        Message::of_text(&text).with_context(|| format!("{DIR}/{series}/{name}.txt"))
    }
}

/// The text of a cover letter, with what applies to any of them.
fn cover(ctx: &Context, plan: &Plan, index: usize) -> Result<Message> {
    let texts = Texts { dir: ctx.src.join(DIR) };
    let mut cover = texts.read(&plan.series[index].name, COVER)?;
    let before = match index.checked_sub(1) {
        Some(before) => Some(texts.read(&plan.series[before].name, COVER)?.subject),
        None => None,
    };
    let place = message::place(index + 1, plan.series.len(), before.as_deref());
    cover.body = format!("{}\n\n{place}", cover.body.trim_end());
    Ok(cover)
}

/// What our files are called in the kernel.
fn files_of(overlay: &Overlay) -> Vec<String> {
    overlay.files.iter().map(|(_, to)| to.display().to_string()).collect()
}

/// Each patch, and what it says.
fn patches_of(overlay: &Overlay) -> Result<Vec<(PathBuf, Message)>> {
    let read = |path: &PathBuf| -> Result<(PathBuf, Message)> {
        let text = fs::read_to_string(path)?;
        let message = Message::of_patch(&text).with_context(|| path.display().to_string())?;
        Ok((path.clone(), message))
    };
    overlay.patches.iter().map(read).collect()
}

/// Writes the mails of one series; gives those with patches.
fn format(
    ctx: &Context,
    stage: &mut Stage,
    composed: &Composed,
    index: usize,
    sender: &Sender,
    dir: &Path,
) -> Result<Vec<PathBuf>> {
    let start = composed.before(index);
    let end = composed.before(index + 1);
    stage.run(
        sender
            .named(git(&ctx.tree()))
            .args(["format-patch", "-q", "--cover-letter", "--no-renames", "--no-signature"])
            .args(["--no-attach", "--numbered", "--suffix=.patch", "-o"])
            .arg(dir)
            .arg(format!("--base={}", composed.base))
            .arg(format!("{start}..{end}")),
    )?;
    let mut patches: Vec<PathBuf> = files::below(dir)?
        .into_iter()
        .filter(|name| !name.starts_with("0000-cover-letter.patch"))
        .map(|name| dir.join(name))
        .collect();
    patches.sort();
    Ok(patches)
}

/// `To:` and `Cc:` lines for these mails, by the kernel's own script.
fn recipients(ctx: &Context, patches: &[PathBuf]) -> Result<String> {
    let tree = ctx.tree();
    let listed = output(
        Command::new("perl")
            .arg(tree.join("scripts/get_maintainer.pl"))
            .args(["--no-tree", "--roles", "--norolestats", "--nogit", "--nogit-fallback"])
            .args(patches)
            .current_dir(&tree),
    )?;
    let lines = maintainers::recipients(&listed);
    ensure!(!lines.is_empty(), "scripts/get_maintainer.pl names nobody");
    Ok(lines)
}

/// The commit of the user's own tree, if that is a git tree without changes of a supported kernel.
fn commit_of_ksrc(ctx: &Context) -> Option<String> {
    let ksrc = ctx.ksrc.as_ref().filter(|dir| dir.join(".git").exists())?;
    let edits = output(git(ksrc).args(["status", "--porcelain", "--untracked-files=no"])).ok()?;
    edits.is_empty().then(|| tree::head_of(ksrc).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The checkout that this is a part of.
    fn checkout() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
    }

    #[test]
    fn each_file_and_each_patch_of_the_checkout_is_in_one_mail() {
        let src = checkout();
        let overlay = Overlay::of(&src).unwrap();
        let plan = Plan::read(&src.join(DIR)).unwrap();
        let texts = Texts { dir: src.join(DIR) };
        let patches = patches_of(&overlay).unwrap();
        let mails =
            plan.assign(&files_of(&overlay), &patches, |series, name| texts.read(series, name));
        if let Err(found) = mails {
            panic!("{}", found.join("\n"));
        }
        for series in &plan.series {
            texts.read(&series.name, COVER).unwrap();
        }
    }
}
