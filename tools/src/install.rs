// SPDX-License-Identifier: GPL-2.0

//! Puts our files and patches into a user's own kernel tree, and takes them out again.
//!
//! What was done is written down in the tree, so that it can be undone even
//! with a later checkout: in `.git/liveupdate_rs-install` for a git tree, where
//! everything is commits, and in `.liveupdate_rs/` otherwise.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, anyhow, bail, ensure};

use crate::context::Context;
use crate::files;
use crate::lines;
use crate::overlay::Overlay;
use crate::stage::{Stage, git, output};
use crate::tree;

/// The record inside a tree without git.
const RECORD: &str = ".liveupdate_rs";

/// Installs into the tree that `KSRC` names, replacing an earlier installation.
pub fn install(ctx: &Context) -> Result<()> {
    let target = target(ctx)?;
    let version = tree::supported_version(ctx, &target)?;
    let overlay = Overlay::of(&ctx.src)?;
    let digest = format!("{}{}", overlay.files_digest()?, overlay.patches_digest()?);
    if let Some(old) = recorded(&target)? {
        if old == digest {
            eprintln!("install: {} has it already", ctx.show(&target));
            return Ok(());
        }
        uninstall(ctx)?;
    }
    overlay.check_against(|path| target.join(path).exists())?;
    let mut stage = Stage::start(ctx, "install", &format!("into {}", ctx.show(&target)))?;
    if is_git(&target) {
        install_commits(&mut stage, &target, &overlay, &digest)?;
    } else {
        install_files(&mut stage, &target, &overlay, &digest)?;
    }
    stage.done(&format!(
        "{} files and {} patches in Linux {version}; next: make liveupdate_rs.config there",
        overlay.files.len(),
        overlay.patches.len()
    ));
    Ok(())
}

/// Undoes the installation in the tree that `KSRC` names.
pub fn uninstall(ctx: &Context) -> Result<()> {
    let target = target(ctx)?;
    if recorded(&target)?.is_none() {
        eprintln!("uninstall: nothing of ours is in {}", ctx.show(&target));
        return Ok(());
    }
    let mut stage = Stage::start(ctx, "uninstall", &format!("from {}", ctx.show(&target)))?;
    if is_git(&target) {
        uninstall_commits(&mut stage, &target)?;
    } else {
        uninstall_files(&mut stage, &target)?;
    }
    stage.done(&format!("{} is as it was", ctx.show(&target)));
    Ok(())
}

fn target(ctx: &Context) -> Result<PathBuf> {
    ctx.ksrc.clone().context("say into which tree: KSRC=/path/to/linux-7.3.y")
}

fn is_git(target: &Path) -> bool {
    target.join(".git").is_dir()
}

fn record_of(target: &Path) -> PathBuf {
    if is_git(target) {
        target.join(".git/liveupdate_rs-install")
    } else {
        target.join(RECORD).join("installed")
    }
}

/// The digest of the overlay that is installed, if one is.
fn recorded(target: &Path) -> Result<Option<String>> {
    let record = record_of(target);
    if !record.exists() {
        return Ok(None);
    }
    let text = fs::read_to_string(&record)?;
    Ok(Some(text.lines().next().context("an empty record")?.to_owned()))
}

fn install_commits(
    stage: &mut Stage,
    target: &Path,
    overlay: &Overlay,
    digest: &str,
) -> Result<()> {
    let dirty = output(git(target).args(["status", "--porcelain", "--untracked-files=no"]))?;
    ensure!(
        dirty.is_empty(),
        "install: the tree has uncommitted changes, commit or stash them first:\n{dirty}"
    );
    // Undoing ours would undo the user's own rebase or am, too.
    for busy in ["rebase-apply", "rebase-merge", "MERGE_HEAD"] {
        ensure!(
            !target.join(".git").join(busy).exists(),
            "install: finish or abort the rebase, am or merge in the tree first"
        );
    }
    let before = tree::head_of(target)?;
    let done = (|| {
        overlay.copy_to(target)?;
        stage.run(
            git(target).args(["add", "-f", "--"]).args(overlay.files.iter().map(|(_, to)| to)),
        )?;
        stage.run(git(target).args([
            "commit",
            "-q",
            "--allow-empty",
            "-m",
            "liveupdate_rs: new files",
        ]))?;
        overlay.patches.iter().try_for_each(|patch| tree::apply(stage, target, patch))
    })();
    if let Err(error) = done {
        // Only what this function added can be in the way: the tree was clean.
        output(git(target).args(["am", "--abort"])).ok();
        output(git(target).args(["reset", "-q", "--hard", &before]))?;
        return Err(error.context("nothing was changed"));
    }
    fs::write(record_of(target), format!("{digest}\n{before}\n{}\n", tree::head_of(target)?))?;
    Ok(())
}

fn uninstall_commits(stage: &mut Stage, target: &Path) -> Result<()> {
    let text = fs::read_to_string(record_of(target))?;
    let [_, before, after] = text.lines().collect::<Vec<_>>()[..] else {
        bail!("{} is damaged", record_of(target).display());
    };
    if tree::head_of(target)? != after {
        bail!(
            "uninstall: there are commits on top of ours, take ours out with: git rebase --onto {before} {after}"
        );
    }
    stage.run(git(target).args(["reset", "-q", "--keep", before]))?;
    fs::remove_file(record_of(target))?;
    Ok(())
}

/// Has `patch` refuse a change whose surroundings are others than they were, as `git am` does.
const EXACT: &str = "--fuzz=0";

fn patch(target: &Path, file: &Path, more: &[&str]) -> Command {
    let mut command = Command::new("patch");
    command.args(["-p1", "--batch", "--no-backup-if-mismatch", "-r", "-"]).args(more);
    command.arg("-i").arg(file).current_dir(target);
    command
}

fn install_files(stage: &mut Stage, target: &Path, overlay: &Overlay, digest: &str) -> Result<()> {
    // The record first: an interrupted installation can be undone, too.
    let record = target.join(RECORD);
    fs::create_dir_all(&record)?;
    let files = lines::of(overlay.files.iter().map(|(_, to)| to.display()));
    fs::write(record.join("files"), files)?;
    fs::write(record.join("installed"), format!("{digest}\n"))?;
    overlay.copy_to(target)?;
    for (index, file) in overlay.patches.iter().enumerate() {
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let applied = stage
            .run(&mut patch(target, file, &["--dry-run", "--forward", EXACT]))
            .and_then(|()| stage.run(&mut patch(target, file, &["--forward", EXACT])));
        if let Err(error) = applied {
            uninstall_files(stage, target)?;
            return Err(anyhow!(
                "{name} does not apply to this tree; nothing was changed\n  {error}"
            ));
        }
        fs::copy(file, record.join(format!("{index:04}.patch")))?;
    }
    Ok(())
}

fn uninstall_files(stage: &mut Stage, target: &Path) -> Result<()> {
    let record = target.join(RECORD);
    let mut patches: Vec<PathBuf> = files::below(&record)?
        .into_iter()
        .filter(|name| name.extension().is_some_and(|extension| extension == "patch"))
        .map(|name| record.join(name))
        .collect();
    patches.reverse();
    for file in patches {
        stage.run(&mut patch(target, &file, &["--reverse"]))?;
        fs::remove_file(file)?;
    }
    for name in fs::read_to_string(record.join("files"))?.lines() {
        let file = target.join(name);
        if file.exists() {
            fs::remove_file(&file)?;
        }
        // Directories that only we needed go, others stay because they are not empty.
        file.ancestors()
            .skip(1)
            .take_while(|dir| *dir != target)
            .try_for_each(|dir| fs::remove_dir(dir).ok());
    }
    fs::remove_dir_all(&record)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{EXACT, patch};
    use std::fs;

    #[test]
    fn patches_apply_where_their_surroundings_are_the_same() {
        let dir = std::env::temp_dir().join(format!("lu-install-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let mail = dir.join("0001.patch");
        fs::write(&mail, "--- a/file\n+++ b/file\n@@ -1,3 +1,4 @@\n one\n two\n+new\n three\n")
            .unwrap();
        let applies = |text: &str| {
            fs::write(dir.join("file"), text).unwrap();
            patch(&dir, &mail, &["--dry-run", "--forward", EXACT])
                .output()
                .unwrap()
                .status
                .success()
        };

        assert!(applies("one\ntwo\nthree\n"));
        assert!(applies("zero\none\ntwo\nthree\n"));
        assert!(!applies("other\ntwo\nthree\n"));
        fs::remove_dir_all(&dir).unwrap();
    }
}
