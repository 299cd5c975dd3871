// SPDX-License-Identifier: GPL-2.0

//! The patched kernel tree: a pristine commit, one commit with our new files,
//! and one commit per hook patch.
//!
//! The commits are made in a scratch worktree without a checkout; the tree
//! itself is then moved from the old result to the new one by `git reset
//! --keep`, which writes only files whose content differs.  So the next build
//! sees only real changes, and work in the tree is never overwritten.

use std::fs;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, anyhow, bail};

use crate::context::Context;
use crate::digest::Digest;
use crate::files;
use crate::lines;
use crate::overlay::Overlay;
use crate::stage::{self, Stage, git, output};

/// The kernel series that the overlay is made for.
const SERIES: &str = "7.3";

/// What the tree was last made from, and into what; kept inside its `.git`.
struct State {
    /// Identifies the pristine source.
    base: String,
    /// The digests of our files and of the patches.
    inputs: String,
    /// The pristine commit.
    pristine: String,
    /// The commit that adds our files.
    overlay: String,
    /// The last commit of the series.
    head: String,
}

impl State {
    fn path(tree: &Path) -> PathBuf {
        tree.join(".git/liveupdate_rs")
    }

    fn load(tree: &Path) -> Option<Self> {
        let text = fs::read_to_string(Self::path(tree)).ok()?;
        let mut lines = text.lines().map(str::to_owned);
        Some(Self {
            base: lines.next()?,
            inputs: lines.next()?,
            pristine: lines.next()?,
            overlay: lines.next()?,
            head: lines.next()?,
        })
    }

    fn save(&self, tree: &Path) -> Result<()> {
        let Self { base, inputs, pristine, overlay, head } = self;
        fs::write(Self::path(tree), format!("{base}\n{inputs}\n{pristine}\n{overlay}\n{head}\n"))
            .context("recording the state of the tree")
    }
}

/// Brings the tree up to date with the checkout.
///
/// With `force`, commits and edits in the tree that `patches/` does not have are dropped.
pub fn update(ctx: &Context, force: bool) -> Result<PathBuf> {
    let tree = ctx.tree();
    let overlay = Overlay::of(&ctx.src)?;
    let inputs = format!("{} {}", overlay.files_digest()?, overlay.patches_digest()?);
    let source = Source::find(ctx)?;
    let mut state = match State::load(&tree) {
        Some(state) if state.base == source.id => state,
        _ => unpack(ctx, &tree, &source)?,
    };
    let head = head_of(&tree)?;
    if state.inputs == inputs && !force {
        let note =
            if head == state.head { "" } else { ", with commits that patches/ does not have" };
        stage::skipped("tree", &format!("{} unchanged{note}", ctx.show(&tree)));
        return Ok(tree);
    }
    if head != state.head && !force {
        bail!(
            "tree: {} has commits that patches/ does not have: `make patches` keeps them, `make tree FORCE=1` drops them",
            ctx.show(&tree)
        );
    }
    let mut stage = Stage::start(ctx, "tree", "adding our files and the patch series")?;
    (state.overlay, state.head) = commit_chain(ctx, &mut stage, &tree, &state.pristine, &overlay)?;
    let how = if force { "--hard" } else { "--keep" };
    // A tree that was copied or changed hands looks edited until git compared the contents.
    let _ = output(git(&tree).args(["update-index", "-q", "--refresh"]));
    stage.run(git(&tree).args(["reset", "-q", how, &state.head])).map_err(|error| {
        anyhow!("{error}\n  uncommitted edits in the tree touch files that the update changes: commit them and `make patches`")
    })?;
    state.inputs = inputs;
    state.save(&tree)?;
    stage.done(&format!(
        "{} files and {} patches in {}",
        overlay.files.len(),
        overlay.patches.len(),
        ctx.show(&tree)
    ));
    Ok(tree)
}

/// Regenerates `patches/` from the commits above the overlay.
pub fn export_patches(ctx: &Context) -> Result<()> {
    let tree = ctx.tree();
    let mut state = State::load(&tree).context("there is no tree yet: run `make tree`")?;
    let overlay = Overlay::of(&ctx.src)?;
    let range = format!("{}..HEAD", state.overlay);
    let touched = output(git(&tree).args(["diff", "--name-only", &range]))?;
    let ours: Vec<&str> = touched
        .lines()
        .filter(|path| overlay.files.iter().any(|(_, to)| to == Path::new(path)))
        .collect();
    if !ours.is_empty() {
        bail!(
            "commits in the tree change our own files, which are edited in the checkout: {}",
            ours.join(", ")
        );
    }
    let dir = overlay.patches_dir();
    fs::create_dir_all(&dir)?;
    for old in &overlay.patches {
        fs::remove_file(old)?;
    }
    // Nothing in the text may depend on when or where it was made.
    let names = output(
        git(&tree)
            .args([
                "format-patch",
                "-q",
                "-N",
                "--zero-commit",
                "--no-signature",
                "--full-index",
                "--no-renames",
            ])
            .args(["--no-base", "-o"])
            .arg(&dir)
            .arg(&range),
    )
    .and_then(|_| patch_names(&dir))?;
    let series = format!("# Written by `make patches`.\n{}", lines::of(&names));
    fs::write(dir.join("series"), series)?;
    state.head = head_of(&tree)?;
    // Our files may have been edited since the tree was made: they are not looked at here.
    let patches = Overlay::of(&ctx.src)?.patches_digest()?;
    if let Some((files, _)) = state.inputs.split_once(' ') {
        state.inputs = format!("{files} {patches}");
    }
    state.save(&tree)?;
    eprintln!("patches: {} in {}", names.len(), ctx.show(&dir));
    Ok(())
}

/// The commit range of the hook patches, for checks that look at each commit.
pub fn hook_commits(tree: &Path) -> Result<(String, String)> {
    let state = State::load(tree).context("there is no tree yet: run `make tree`")?;
    Ok((state.overlay, state.head))
}

/// A digest of everything in the tree that a build can see.
pub fn content_digest(tree: &Path) -> Result<Digest> {
    let commit = output(git(tree).args(["rev-parse", "HEAD^{tree}"]))?;
    let edits = output(git(tree).args(["diff", "HEAD"]))?;
    let untracked = output(git(tree).args(["ls-files", "-z", "--others", "--exclude-standard"]))?;
    let files: Vec<PathBuf> =
        untracked.split('\0').filter(|name| !name.is_empty()).map(|name| tree.join(name)).collect();
    let files = Digest::of_files(&files)?;
    Ok(Digest::of([commit.as_bytes(), edits.as_bytes(), files.as_ref()]))
}

/// The version that a kernel source says it is, if it is one that we support.
pub fn supported_version(ctx: &Context, source: &Path) -> Result<String> {
    let makefile = fs::read_to_string(source.join("Makefile"))
        .with_context(|| format!("{} is not a kernel source", ctx.show(source)))?;
    let version = version_in(&makefile)
        .with_context(|| format!("no version in {}/Makefile", ctx.show(source)))?;
    if !format!("{version}.").starts_with(&format!("{SERIES}.")) {
        bail!("the kernel source is Linux {version}, but this is made for {SERIES}.y");
    }
    Ok(version)
}

fn version_in(makefile: &str) -> Option<String> {
    let value = |key: &str| {
        makefile.lines().find_map(|line| {
            let (name, value) = line.split_once('=')?;
            (name.trim() == key).then(|| value.trim().to_owned())
        })
    };
    Some(format!("{}.{}.{}", value("VERSION")?, value("PATCHLEVEL")?, value("SUBLEVEL")?))
}

/// A pristine kernel source.
struct Source {
    /// Changes when the source does.
    id: String,
    /// The user's directory, or the tarball of Debian's package.
    path: PathBuf,
}

impl Source {
    fn find(ctx: &Context) -> Result<Self> {
        let path = match &ctx.ksrc {
            Some(path) => path.clone(),
            None => PathBuf::from(format!("/usr/src/linux-source-{SERIES}.tar.xz")),
        };
        let id = if path.is_dir() {
            supported_version(ctx, &path)?;
            let files = files::but_for(&path, |name| name == ".git")?;
            let looks = files.iter().map(|file| look_of(file, &path.join(file)));
            Digest::of(looks.collect::<Result<Vec<_>>>()?)
        } else {
            let look = look_of(&path, &path);
            Digest::of([look.with_context(|| format!("no {} in the build root", path.display()))?])
        };
        Ok(Self { id: id.to_string(), path })
    }
}

/// How a file that is called `name` looks from outside, which changes when somebody writes to it.
fn look_of(name: &Path, file: &Path) -> Result<String> {
    let meta = fs::symlink_metadata(file)?;
    let (seconds, nanoseconds) = (meta.mtime(), meta.mtime_nsec());
    Ok(format!("{} {} {seconds}.{nanoseconds:09}", name.display(), meta.len()))
}

/// Makes a new tree with one pristine commit.
fn unpack(ctx: &Context, tree: &Path, source: &Source) -> Result<State> {
    check_disposable(ctx, tree)?;
    let mut stage = Stage::start(ctx, "source", "unpacking the kernel source")?;
    // Made aside and renamed: whatever is at `tree` is complete and recorded.
    let target = tree;
    let tree = &target.with_extension("new");
    if tree.exists() {
        fs::remove_dir_all(tree)?;
    }
    fs::create_dir_all(tree)?;
    if source.path.is_dir() {
        stage.run(
            Command::new("rsync")
                .args(["-a", "--exclude=/.git"])
                .arg(source.path.join(""))
                .arg(tree),
        )?;
    } else {
        stage.run(
            Command::new("tar")
                .args(["--strip-components=1", "-I", "xz -T0", "-xf"])
                .arg(&source.path)
                .arg("-C")
                .arg(tree),
        )?;
    }
    let version = supported_version(ctx, tree)?;
    stage.run(Command::new("git").args(["init", "-q", "-b", "main"]).arg(tree))?;
    // What .gitignore hides is part of a released source all the same.
    stage.run(git(tree).args(["add", "-A", "-f", "."]))?;
    stage.run(git(tree).args(["commit", "-q", "-m", &format!("Linux {version}, pristine")]))?;
    let pristine = head_of(tree)?;
    let state = State {
        base: source.id.clone(),
        inputs: String::new(),
        overlay: pristine.clone(),
        head: pristine.clone(),
        pristine,
    };
    state.save(tree)?;
    if target.exists() {
        fs::remove_dir_all(target)?;
    }
    fs::rename(tree, target)?;
    stage.done(&format!("Linux {version}"));
    Ok(state)
}

/// Refuses to replace a tree that holds anything that cannot be made again:
/// one that this program did not make, commits, edits, other branches, stashes or linked worktrees.
fn check_disposable(ctx: &Context, tree: &Path) -> Result<()> {
    if !tree.exists() {
        return Ok(());
    }
    let shown = ctx.show(tree);
    let Some(old) = State::load(tree) else {
        bail!(
            "tree: {shown} was not made by this program: move it away, or choose another LIVEUPDATE_RS_CACHE"
        );
    };
    let refs = output(git(tree).args(["for-each-ref", "--format=%(refname)"]))?;
    let worktrees = output(git(tree).args(["worktree", "list", "--porcelain"]))?;
    let linked = worktrees.lines().filter(|line| line.starts_with("worktree ")).count() > 1;
    let edited = !output(git(tree).args(["status", "--porcelain"]))?.is_empty();
    if head_of(tree)? != old.head || refs != "refs/heads/main" || linked || edited {
        bail!(
            "tree: the kernel source changed, but {shown} holds commits, edits, branches or worktrees of yours: save them and move it away"
        );
    }
    Ok(())
}

/// Makes the overlay commit and one commit per patch; gives the overlay commit and the last one.
fn commit_chain(
    ctx: &Context,
    stage: &mut Stage,
    tree: &Path,
    pristine: &str,
    overlay: &Overlay,
) -> Result<(String, String)> {
    let scratch = ctx.cache.join("am");
    let remove = || -> Result<()> {
        if scratch.exists() {
            fs::remove_dir_all(&scratch)?;
        }
        output(git(tree).args(["worktree", "prune"])).map(|_| ())
    };
    remove()?;
    stage.run(
        git(tree)
            .args(["worktree", "add", "-q", "--no-checkout", "--detach"])
            .arg(&scratch)
            .arg(pristine),
    )?;
    stage.run(git(&scratch).args(["reset", "-q"]).arg(pristine)).ok();
    let names = output(git(&scratch).args(["ls-tree", "-r", "--name-only", pristine]))?;
    let kernel: std::collections::HashSet<&str> = names.lines().collect();
    overlay.check_against(|path| path.to_str().is_some_and(|path| kernel.contains(path)))?;
    overlay.copy_to(&scratch)?;
    add_overlay(&scratch, overlay)?;
    stage.run(git(&scratch).args([
        "commit",
        "-q",
        "--allow-empty",
        "-m",
        "liveupdate_rs: new files (edit them in the checkout)",
    ]))?;
    let base = head_of(&scratch)?;
    for patch in &overlay.patches {
        apply(stage, &scratch, patch)?;
    }
    let head = head_of(&scratch)?;
    remove()?;
    Ok((base, head))
}

fn add_overlay(scratch: &Path, overlay: &Overlay) -> Result<()> {
    let mut child = git(scratch)
        .args(["add", "-f", "--pathspec-from-file=-", "--pathspec-file-nul"])
        .stdin(Stdio::piped())
        .spawn()?;
    child
        .stdin
        .take()
        .context("a piped child has a standard input")?
        .write_all(overlay.pathspecs().as_bytes())?;
    if !child.wait()?.success() {
        bail!("git add failed in {}", scratch.display());
    }
    Ok(())
}

/// Applies one patch mail as a commit; says which patch and which place if it does not apply.
pub fn apply(stage: &mut Stage, tree: &Path, patch: &Path) -> Result<()> {
    let name = patch.file_name().unwrap_or_default().to_string_lossy().into_owned();
    stage
        .run(
            git(tree)
                .args(["am", "-q", "--keep-non-patch", "--committer-date-is-author-date"])
                .arg(patch),
        )
        .map_err(|error| anyhow!("{name} does not apply to this tree\n  {error}"))
}

/// The commit that is checked out in `tree`.
pub fn head_of(tree: &Path) -> Result<String> {
    output(git(tree).args(["rev-parse", "HEAD"]))
}

/// The patch files in `dir`, in the order of their numbers.
fn patch_names(dir: &Path) -> Result<Vec<String>> {
    let mut names: Vec<String> = files::below(dir)?
        .into_iter()
        .map(|path| path.to_string_lossy().into_owned())
        .filter(|name| name.ends_with(".patch"))
        .collect();
    names.sort();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::version_in;

    #[test]
    fn version_comes_from_the_three_numbers() {
        let makefile = "# SPDX\nVERSION = 7\nPATCHLEVEL = 3\nSUBLEVEL = 4\nEXTRAVERSION =\n";
        assert_eq!(version_in(makefile).as_deref(), Some("7.3.4"));
        assert_eq!(version_in("VERSION = 7\n"), None);
    }
}
