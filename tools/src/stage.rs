// SPDX-License-Identifier: GPL-2.0

//! One line per stage, a log file per stage, and commands that tell where they failed.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use crate::context::Context;
use crate::times::{self, Kind, elapsed};

/// How many of a failed command's complaints are shown: a parallel build goes
/// on for a while after the one that matters.
const SHOWN_ERRORS: usize = 4;

/// How many of the last lines are shown of a command that failed without one.
const SHOWN_LINES: usize = 12;

/// The progress displays of all stages that run.
static BARS: LazyLock<MultiProgress> = LazyLock::new(MultiProgress::new);

/// A running stage: its progress display and its log.
pub struct Stage<'a> {
    ctx: &'a Context,
    name: String,
    log: PathBuf,
    file: File,
    bar: ProgressBar,
    start: Instant,
}

impl<'a> Stage<'a> {
    /// Starts stage `name`; `what` says what it does.
    pub fn start(ctx: &'a Context, name: &str, what: &str) -> Result<Self> {
        let log = ctx.log(name);
        let file = File::create(&log).with_context(|| format!("creating {}", ctx.show(&log)))?;
        let bar = BARS.add(ProgressBar::new_spinner());
        bar.set_style(ProgressStyle::with_template("{spinner} {elapsed:>4} {prefix}: {msg}")?);
        bar.set_prefix(name.to_owned());
        bar.set_message(what.to_owned());
        bar.enable_steady_tick(Duration::from_millis(200));
        if bar.is_hidden() {
            eprintln!("{name}: {what}");
        }
        Ok(Self { ctx, name: name.to_owned(), log, file, bar, start: Instant::now() })
    }

    /// Shows a countable progress towards `total`, which may be an estimate.
    pub fn expect(&self, total: u64) -> Result<()> {
        self.bar.set_length(total);
        self.bar.set_style(
            ProgressStyle::with_template(
                "{spinner} {elapsed:>4} {prefix}: {bar:30} {pos}/{len} {msg}",
            )?
            .progress_chars("=> "),
        );
        Ok(())
    }

    /// Runs `command` with its output in the log.
    pub fn run(&mut self, command: &mut Command) -> Result<()> {
        self.run_watched(command, |_| false).map(|_| ())
    }

    /// Runs `command` with its output in the log and gives how many lines `counts`.
    pub fn run_watched(
        &mut self,
        command: &mut Command,
        counts: impl Fn(&str) -> bool,
    ) -> Result<u64> {
        writeln!(self.file, "+ {command:?}")?;
        let mut child = merged(command).spawn().with_context(|| format!("starting {command:?}"))?;
        let stdout = child.stdout.take().context("a piped child has a standard output")?;
        let mut counted = 0;
        let mut last: Vec<String> = Vec::new();
        let mut errors: Vec<String> = Vec::new();
        for line in BufReader::new(stdout).split(b'\n') {
            let line = String::from_utf8_lossy(&line?).into_owned();
            writeln!(self.file, "{line}")?;
            if counts(&line) {
                counted += 1;
                self.bar.inc(1);
            }
            if errors.len() < SHOWN_ERRORS && (line.contains("error:") || line.contains("error[")) {
                errors.push(line.clone());
            }
            if last.len() == SHOWN_LINES {
                last.remove(0);
            }
            last.push(line);
        }
        let status = child.wait()?;
        if !status.success() {
            self.bar.finish_and_clear();
            let program = command.get_program().to_string_lossy().into_owned();
            bail!(
                "{}: {program} failed ({status})\n  {}\n  log: {}",
                self.name,
                if errors.is_empty() { last } else { errors }.join("\n  "),
                self.ctx.show(&self.log)
            );
        }
        Ok(counted)
    }

    /// Ends the stage without a word: the caller has its own.
    pub fn quiet(self) {
        self.finish();
    }

    /// Ends the stage with one line that says what came out.
    pub fn done(self, result: &str) {
        let took = self.finish();
        eprintln!("{}: {result} ({})", self.name, elapsed(took));
    }

    /// Takes the progress display away, and notes how long the stage took.
    fn finish(&self) -> Duration {
        let took = self.start.elapsed();
        self.bar.finish_and_clear();
        times::note(Kind::of_stage(&self.name), &self.name, took);
        took
    }
}

/// The line of a stage that had nothing to do.
pub fn skipped(name: &str, why: &str) {
    eprintln!("{name}: {why}");
}

/// The standard output of `command`, or an error with what it said.
pub fn output(command: &mut Command) -> Result<String> {
    let out =
        command.stdin(Stdio::null()).output().with_context(|| format!("starting {command:?}"))?;
    if !out.status.success() {
        bail!("{command:?} failed: {}", String::from_utf8_lossy(&out.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&out.stdout).trim_end().to_owned())
}

/// `git` in `dir`, with an identity of ours where it has to make one up.
pub fn git(dir: &Path) -> Command {
    let mut command = Command::new("git");
    command.arg("-C").arg(dir).args([
        // The build root's user need not own the user's tree.
        "-c",
        "safe.directory=*",
        "-c",
        "user.name=liveupdate_rs",
        "-c",
        "user.email=liveupdate_rs@localhost",
        "-c",
        "gc.auto=0",
        "-c",
        "commit.gpgsign=false",
        "-c",
        "advice.mergeConflict=false",
    ]);
    command
}

/// The same command with standard error merged into a piped standard output.
fn merged(command: &Command) -> Command {
    let mut shell = Command::new("sh");
    shell.args(["-c", r#"exec "$@" 2>&1"#, "sh"]);
    shell.arg(command.get_program()).args(command.get_args());
    if let Some(dir) = command.get_current_dir() {
        shell.current_dir(dir);
    }
    for (key, value) in command.get_envs() {
        match value {
            Some(value) => shell.env(key, value),
            None => shell.env_remove(key),
        };
    }
    shell.stdin(Stdio::null()).stdout(Stdio::piped());
    shell
}
