// SPDX-License-Identifier: GPL-2.0

//! Runs one test in a VM and says how it went.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde_json::json;

use crate::context::Context;
use crate::evidence::{Evidence, Run};
use crate::feed::Feeder;
use crate::initramfs::{self, Next};
use crate::kernel::Built;
use crate::ktap;
use crate::lines;
use crate::machine::Machine;
use crate::qmp::Qmp;
use crate::serial::{self, Port};
use crate::splat::Matcher;
use crate::trace;
use crate::verdict::Case;

/// What every kernel of every test is told.
const CMDLINE: &str = "console=ttyS0 kho=on liveupdate=on intel_iommu=on,sm_on panic=-1";

/// How long QEMU may take to connect to its sockets.
const CONNECT: Duration = Duration::from_secs(20);

/// How many of a hanging VM's last lines are shown.
const SHOWN_LINES: usize = 15;

/// One command of a stage.
#[derive(Clone, Copy)]
pub enum Do {
    /// Prepares: must succeed, or the stage ends.
    Need(&'static str),
    /// Tests: its KTAP results count, or its exit status if it has none.
    Test(&'static str),
}

/// One boot of a test.
#[derive(Clone, Copy)]
pub struct Stage {
    /// What this kernel is told besides the usual.
    pub cmdline: &'static str,
    /// What is run, in this order.
    pub commands: &'static [Do],
}

/// A test: a machine, what runs on it before and after a live update, and a judge.
pub struct VmTest {
    /// Its name on the command line.
    pub name: &'static str,
    /// What it shows, in one line.
    pub about: &'static str,
    /// The machine.
    pub machine: Machine,
    /// One boot, or two with a live update between them.
    pub stages: &'static [Stage],
    /// After this time the VM hangs.
    pub timeout: Duration,
    /// Looks at what the programs in the VM cannot know.
    pub judge: Option<fn(&Evidence) -> Vec<Case>>,
}

/// The kernels of a test's boots.
pub struct Kernels<'a> {
    /// The first boot's.
    pub first: &'a Path,
    /// What it live-updates to.
    pub second: &'a Path,
}

/// How a test went.
pub struct Report {
    /// Every claim that was tested.
    pub cases: Vec<Case>,
    /// What was seen.
    pub evidence: Evidence,
    /// Where the logs are.
    pub dir: PathBuf,
}

/// Runs `test`.
pub fn run(
    ctx: &Context,
    built: &Built,
    kernels: &Kernels,
    test: &VmTest,
    splats: &mut Matcher,
) -> Result<Report> {
    test.machine.check_supported()?;
    let dir = ctx.cache.join("runs").join(test.name);
    if dir.exists() {
        fs::remove_dir_all(&dir)?;
    }
    fs::create_dir_all(&dir)?;
    let cmdlines: Vec<String> = test
        .stages
        .iter()
        .enumerate()
        .map(|(i, stage)| format!("{CMDLINE} lu_stage={} {}", i + 1, stage.cmdline))
        .collect();
    let scripts: Vec<String> = test
        .stages
        .iter()
        .enumerate()
        .map(|(i, stage)| script(stage, i + 1 < test.stages.len()))
        .collect();
    let next = cmdlines.get(1).map(|cmdline| Next { image: kernels.second, cmdline });
    let initrd = initramfs::make(built, &ctx.src.join("tools/vm/init"), &dir, &scripts, next)?;
    let evidence = boot(test, &dir, kernels.first, &initrd, &cmdlines[0])
        .with_context(|| format!("{}: logs in {}", test.name, ctx.show(&dir)))?;
    fs::write(
        dir.join("frames.log"),
        lines::of(evidence.frames.iter().map(|at| format!("{at:.6}"))),
    )?;
    let cases = judge(test, &evidence, splats);
    Ok(Report { cases, evidence, dir })
}

/// The shell script of a stage, for `tools/vm/init` to read.
fn script(stage: &Stage, updates: bool) -> String {
    let mut text = String::from("cd /selftests\n");
    for command in stage.commands {
        let (line, after) = match command {
            Do::Need(line) => (line, " || finish"),
            Do::Test(line) => (line, ""),
        };
        text.push_str(&format!("run '{}'{after}\n", line.replace('\'', r"'\''")));
    }
    if updates {
        text.push_str("live_update\n");
    }
    text
}

/// Starts QEMU and watches it to its end.
fn boot(
    test: &VmTest,
    dir: &Path,
    kernel: &Path,
    initrd: &Path,
    cmdline: &str,
) -> Result<Evidence> {
    let listener = UnixListener::bind(dir.join("qmp.sock"))?;
    listener.set_nonblocking(true)?;
    let (send, lines) = mpsc::channel();
    let watch = |name: &str, port| {
        serial::watch(
            dir.join(format!("{name}.fifo")),
            port,
            &dir.join(format!("{name}.log")),
            send.clone(),
        )
    };
    watch("console", Port::Console)?;
    watch("output", Port::Output)?;
    drop(send);
    let mut command = test.machine.command(dir, kernel, initrd, cmdline);
    fs::write(dir.join("command"), format!("{command:?}\n"))?;
    let said = File::create(dir.join("qemu.log"))?;
    command.stdin(Stdio::null()).stdout(said.try_clone()?).stderr(said);
    let mut qemu = Guard(command.spawn().context("starting QEMU")?);
    let monitor = accept(&listener, &mut qemu.0, dir)?;
    let mut monitor = Qmp::new(monitor)?;
    let fed = test.machine.devices.iter().any(|device| device.fed);
    let feeder =
        fed.then(|| Feeder::start(&dir.join("feed.sock"), dir.join("nic.sock"))).transpose()?;
    monitor.execute("cont", json!({}))?;
    let mut evidence = Evidence::default();
    let deadline = Instant::now() + test.timeout;
    loop {
        match lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok((Port::Console, line)) => evidence.console.push(line),
            Ok((Port::Output, line)) => evidence.output.push(line),
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => {
                evidence.timed_out = true;
                // Where the processors are is the first question about a hang.
                let registers =
                    monitor.human("info registers -a").unwrap_or_else(|error| error.to_string());
                fs::write(dir.join("registers"), registers)?;
                break;
            }
        }
    }
    evidence.frames = feeder.map(Feeder::finish).unwrap_or_default();
    drop(qemu);
    evidence.trace = read_trace(&dir.join("trace.log"))?;
    Ok(evidence)
}

/// A child that does not outlive its guard.
struct Guard(Child);

impl Drop for Guard {
    fn drop(&mut self) {
        // It has usually ended by itself already, and then there is nothing to end.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Waits for QEMU to connect to one of its sockets.
fn accept(listener: &UnixListener, qemu: &mut Child, dir: &Path) -> Result<UnixStream> {
    let deadline = Instant::now() + CONNECT;
    loop {
        if let Ok((stream, _)) = listener.accept() {
            return Ok(stream);
        }
        if let Some(status) = qemu.try_wait()? {
            let said = fs::read_to_string(dir.join("qemu.log")).unwrap_or_default();
            bail!("QEMU ended at once ({status}): {}", said.trim());
        }
        if Instant::now() > deadline {
            bail!("QEMU did not connect to its sockets within {} s", CONNECT.as_secs());
        }
        thread::sleep(Duration::from_millis(10));
    }
}

fn read_trace(path: &Path) -> Result<Vec<trace::Event>> {
    if !path.exists() {
        return Ok(Vec::new());
    }
    let lines = BufReader::new(File::open(path)?).split(b'\n');
    lines
        .filter_map(|line| {
            line.map(|bytes| trace::event(&String::from_utf8_lossy(&bytes))).transpose()
        })
        .map(|e| Ok(e?))
        .collect()
}

/// Turns what was seen into cases.
fn judge(test: &VmTest, evidence: &Evidence, splats: &mut Matcher) -> Vec<Case> {
    let boots = evidence.boots();
    let mut cases = Vec::new();
    for (index, stage) in test.stages.iter().enumerate() {
        let boot = boots.iter().find(|boot| boot.stage == index + 1);
        for command in stage.commands {
            let (Do::Need(line) | Do::Test(line)) = command;
            let run = boot.and_then(|boot| boot.runs.iter().find(|run| run.command == *line));
            match (command, run) {
                (_, None) => cases.push(Case::failed(
                    *line,
                    format!("never ran, stage {} did not get there", index + 1),
                )),
                (Do::Need(_), Some(run)) if run.status == Some(0) => {}
                (_, Some(run)) => cases.extend(cases_of(run)),
            }
        }
    }
    cases.push(Case::check(
        "the VM reached its end",
        evidence.ended() && evidence.errors().is_empty() && !evidence.timed_out,
        || trouble(test, evidence),
    ));
    cases.push(no_splat(evidence, splats));
    if let Some(judge) = test.judge {
        cases.extend(judge(evidence));
    }
    for case in &mut cases {
        case.name = format!("{}: {}", test.name, case.name);
    }
    cases
}

/// The results of a program: its KTAP, or its exit status.
fn cases_of(run: &Run) -> Vec<Case> {
    let mut cases = ktap::cases(run.lines.iter().map(String::as_str));
    let status =
        run.status.map_or("never ended".to_owned(), |status| format!("exit status {status}"));
    // 4 is how a kselftest says that it skipped everything.
    let good = run.status == Some(0) || (run.status == Some(4) && !cases.is_empty());
    if cases.is_empty() || (!good && !cases.iter().any(Case::has_failed)) {
        let last = run
            .lines
            .iter()
            .rev()
            .find(|line| !line.trim().is_empty())
            .cloned()
            .unwrap_or_default();
        cases.push(Case::check(run.command.clone(), good, || format!("{status}: {last}")));
    }
    cases
}

fn no_splat(evidence: &Evidence, splats: &mut Matcher) -> Case {
    let found: Vec<&str> = evidence
        .console
        .iter()
        .map(|line| line.text.as_str())
        .filter(|line| splats.is_splat(line))
        .collect();
    Case::check("no kernel splat", found.is_empty(), || {
        format!("{} lines, the first: {}", found.len(), found.first().unwrap_or(&""))
    })
}

/// Why a VM did not reach its end.
fn trouble(test: &VmTest, evidence: &Evidence) -> String {
    let errors = evidence.errors();
    if !errors.is_empty() {
        return errors.join("; ");
    }
    let what = if evidence.timed_out {
        format!("hung: stopped after {} s", test.timeout.as_secs())
    } else {
        "ended early".to_owned()
    };
    let last: Vec<&str> =
        evidence.console.iter().rev().take(SHOWN_LINES).map(|line| line.text.as_str()).collect();
    let last: Vec<&str> = last.into_iter().rev().collect();
    format!("{what}; last lines of the console:\n    {}", last.join("\n    "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_status_counts_where_there_is_no_ktap() {
        let run = |status, lines: &[&str]| Run {
            command: "x".into(),
            status,
            lines: lines.iter().map(|&line| line.to_owned()).collect(),
        };
        let failed = |run: Run| cases_of(&run).iter().filter(|case| case.has_failed()).count();
        assert_eq!(failed(run(Some(0), &["# hello"])), 0);
        assert_eq!(failed(run(Some(1), &["# hello"])), 1);
        assert_eq!(failed(run(None, &[])), 1);
        assert_eq!(failed(run(Some(4), &[])), 1);
        assert_eq!(failed(run(Some(1), &["1..1", "ok 1 a"])), 1);
        assert_eq!(failed(run(Some(1), &["1..1", "not ok 1 a"])), 1);
        assert_eq!(failed(run(Some(0), &["1..1", "ok 1 a"])), 0);
    }

    #[test]
    fn script_quotes_and_ends_early_where_a_need_is_not_met() {
        let stage = Stage { cmdline: "", commands: &[Do::Need("echo 'a'"), Do::Test("b")] };
        assert_eq!(
            script(&stage, true),
            "cd /selftests\nrun 'echo '\\''a'\\''' || finish\nrun 'b'\nlive_update\n"
        );
    }
}
