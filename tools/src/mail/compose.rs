// SPDX-License-Identifier: GPL-2.0

//! Makes the commits that the mails are written from, without a work tree: in an index of their own.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, anyhow, bail, ensure};

use crate::context::Context;
use crate::stage::{Stage, git, output};
use crate::tree;

use super::maintainers;
use super::message::Sender;
use super::parts;
use super::plan::Assigned;

/// The kernel's list of maintainers, and ours.
const MAINTAINERS: &str = "MAINTAINERS";

/// The commits of all series.
pub struct Composed {
    /// The pristine kernel.
    pub base: String,
    /// The commits of each series.
    pub series: Vec<Vec<String>>,
}

impl Composed {
    /// The commit that a series applies to.
    pub fn before(&self, series: usize) -> &str {
        self.series[..series].iter().rev().find_map(|commits| commits.last()).unwrap_or(&self.base)
    }
}

/// One of our files: its mode and its blob.
type Blob = (String, String);

/// Makes one commit per mail, on top of the pristine kernel; `src` is the checkout.
///
/// Fails if what comes out differs from the tree in more than who maintains it.
pub fn compose(
    ctx: &Context,
    stage: &mut Stage,
    mails: &[Vec<Assigned>],
    sender: &Sender,
    src: &Path,
) -> Result<Composed> {
    let tree = ctx.tree();
    let (overlay, head) = tree::hook_commits(&tree)?;
    let base = output(git(&tree).args(["rev-parse", &format!("{overlay}^")]))?;
    let index = Index::new(&ctx.cache)?;
    let repo = Repo { tree: tree.clone(), index: index.file(), sender };
    let blobs = repo.blobs(&base, &overlay)?;
    let ours = fs::read_to_string(src.join(MAINTAINERS))?;
    output(repo.git().args(["read-tree", &base]))?;
    let mut composed = Composed { base: base.clone(), series: Vec::new() };
    let mut parent = base;
    let mut rewritten = BTreeSet::from([MAINTAINERS.to_owned()]);
    let all: Vec<&Assigned> = mails.iter().flatten().collect();
    let mut number = 0;
    for series in mails {
        let mut commits = Vec::new();
        for mail in series {
            let subject = &mail.message.subject;
            let later = all.get(number + 1..).unwrap_or_default();
            number += 1;
            let changed = repo
                .add(stage, mail, later, &blobs)
                .with_context(|| format!("the mail `{subject}` cannot be composed"))?;
            rewritten.extend(changed);
            if let Some(title) = &mail.maintainers {
                let list = repo.read(&format!(":{MAINTAINERS}"))?;
                let section = maintainers::section(&ours, title, sender)?;
                repo.write(MAINTAINERS, "100644", &maintainers::insert(&list, &section)?)?;
            }
            let text = mail.message.signed(mail.off.as_deref(), &mail.fixes, sender);
            parent = repo.commit(&parent, &text)?;
            commits.push(parent.clone());
        }
        composed.series.push(commits);
    }
    let differs = output(git(&tree).args(["diff-tree", "-r", "--name-only", &parent, &head]))?;
    let differs: Vec<&str> = differs.lines().filter(|name| !rewritten.contains(*name)).collect();
    ensure!(
        differs.is_empty(),
        "all mails together do not make the tree: {} differs",
        differs.join(", ")
    );
    Ok(composed)
}

/// A directory for an index of git and its lock, which goes with it. It is a new one each time: a run
/// that was killed leaves a lock that git takes for that of somebody at work.
struct Index(PathBuf);

impl Index {
    fn new(cache: &Path) -> Result<Self> {
        let directory = cache.join("mail-index");
        if directory.exists() {
            fs::remove_dir_all(&directory)?;
        }
        fs::create_dir(&directory)?;
        Ok(Self(directory))
    }

    fn file(&self) -> PathBuf {
        self.0.join("index")
    }
}

impl Drop for Index {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The repository of the tree, with an index that nobody else uses.
struct Repo<'a> {
    tree: PathBuf,
    index: PathBuf,
    sender: &'a Sender,
}

impl Repo<'_> {
    fn git(&self) -> Command {
        let mut command = self.sender.named(git(&self.tree));
        command.env("GIT_INDEX_FILE", &self.index);
        command
    }

    /// Our files, as the tree has them.
    fn blobs(&self, base: &str, overlay: &str) -> Result<BTreeMap<String, Blob>> {
        let listed =
            output(self.git().args(["diff-tree", "-r", "--no-renames", "-z", base, overlay]))?;
        let mut fields = listed.split('\0');
        let mut blobs = BTreeMap::new();
        while let (Some(about), Some(path)) = (fields.next(), fields.next()) {
            let about: Vec<&str> = about.split(' ').collect();
            let [_, mode, _, blob, _] = about[..] else { bail!("git diff-tree said {about:?}") };
            blobs.insert(path.to_owned(), (mode.to_owned(), blob.to_owned()));
        }
        Ok(blobs)
    }

    /// Puts into the index what a mail has; of its files, without what `later` mails bring. Gives
    /// those files in which the sender is named now.
    fn add(
        &self,
        stage: &mut Stage,
        mail: &Assigned,
        later: &[&Assigned],
        blobs: &BTreeMap<String, Blob>,
    ) -> Result<Vec<String>> {
        let mut changed = Vec::new();
        let mut entries = String::new();
        for file in mail.files.iter().chain(mail.parts.keys()) {
            let (mode, blob) = blobs.get(file).with_context(|| {
                format!("{file} is not in the tree: `make tree` brings it up to date")
            })?;
            let marks: Vec<&str> = later
                .iter()
                .filter_map(|mail| mail.parts.get(file))
                .flatten()
                .map(String::as_str)
                .collect();
            // A part that is wrong is to be found even if it is in the last mail.
            let own = mail.parts.get(file).into_iter().flatten().map(String::as_str);
            let whole = self.read(blob)?;
            parts::without(&whole, &own.collect::<Vec<_>>()).with_context(|| file.clone())?;
            let contact = self.sender.contact(&whole);
            changed.extend(contact.as_ref().map(|_| file.clone()));
            if marks.is_empty() && contact.is_none() {
                entries.push_str(&format!("{mode} {blob}\t{file}\n"));
            } else {
                let whole = contact.unwrap_or(whole);
                let text = parts::without(&whole, &marks).with_context(|| file.clone())?;
                self.write(file, mode, &text)?;
            }
        }
        feed(self.git().args(["update-index", "--add", "--index-info"]), &entries)?;
        if let Some(patch) = &mail.patch {
            let applied = stage.run(self.git().args(["apply", "--cached", "--3way"]).arg(patch));
            applied.map_err(|error| {
                anyhow!("the patch does not apply where tools/mail/series.toml has it\n  {error}")
            })?;
        }
        Ok(changed)
    }

    /// The content of a blob, with its last newline.
    fn read(&self, blob: &str) -> Result<String> {
        Ok(output(self.git().args(["cat-file", "blob", blob]))? + "\n")
    }

    /// Puts a file into the index.
    fn write(&self, path: &str, mode: &str, text: &str) -> Result<()> {
        let blob = feed(self.git().args(["hash-object", "-w", "--stdin"]), text)?;
        let entry = format!("{mode} {}\t{path}\n", blob.trim());
        feed(self.git().args(["update-index", "--add", "--index-info"]), &entry).map(|_| ())
    }

    /// Commits the index.
    fn commit(&self, parent: &str, message: &str) -> Result<String> {
        let tree = output(self.git().arg("write-tree"))?;
        let commit = feed(self.git().args(["commit-tree", &tree, "-p", parent]), message)?;
        Ok(commit.trim().to_owned())
    }
}

/// The standard output of `command`, which is given `input`.
fn feed(command: &mut Command, input: &str) -> Result<String> {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let mut stdin = child.stdin.take().context("a piped child has a standard input")?;
    stdin.write_all(input.as_bytes())?;
    drop(stdin);
    let out = child.wait_with_output()?;
    ensure!(out.status.success(), "{command:?} failed");
    Ok(String::from_utf8(out.stdout)?)
}
