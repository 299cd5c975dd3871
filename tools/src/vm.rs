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

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::json;

use crate::cases;
use crate::clock::{self, Strange};
use crate::context::Context;
use crate::damage::Memory;
use crate::evidence::{Evidence, STARTING_NEW_KERNEL};
use crate::feed::Feeder;
use crate::initramfs;
use crate::job::Job;
use crate::kernel::Built;
use crate::lines;
use crate::machine::wire_socket;
use crate::qmp::Qmp;
use crate::serial::{self, Line, Port, message};
use crate::splat::Matcher;
use crate::trace;
use crate::verdict::Case;
use crate::wire::{self, Attempt, Sender};

/// How long QEMU may take to connect to its sockets.
const CONNECT: Duration = Duration::from_secs(20);

/// Kernel images that the user chose instead of ours.
#[derive(Default)]
pub struct Chosen {
    /// The first boot's.
    pub first: Option<PathBuf>,
    /// What is live-updated to.
    pub next: Option<PathBuf>,
}

impl Chosen {
    /// The image that was chosen for a boot, the first of which is number 0.
    pub fn image(&self, boot: usize) -> Option<&PathBuf> {
        if boot == 0 { self.first.as_ref() } else { self.next.as_ref() }
    }
}

/// The kernel of one boot.
struct Booted {
    image: PathBuf,
    /// What `uname -r` is to say, if the kernel is ours.
    release: Option<String>,
    /// The directory with its `lib/modules`, if it has modules.
    modules: Option<PathBuf>,
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

/// Is told each line of a VM's serial ports when it comes.
pub type Watcher = Box<dyn FnMut(Port, &Line)>;

/// A watcher for a VM whose lines nobody wants before it has ended.
pub fn nobody() -> Watcher {
    Box::new(|_, _| ())
}

/// Runs `job`, and once more if the VM's clock cannot be trusted. Each of these VMs has a watcher of its own.
pub fn run(
    ctx: &Context,
    built: &Built,
    chosen: &Chosen,
    job: &Job,
    splats: &Matcher,
    watcher: fn() -> Watcher,
) -> Result<Report> {
    let run_once = || run_once(ctx, built, chosen, job, splats, watcher());
    let report = run_once()?;
    let Some(clock) = strange_clock(job, &report.evidence) else {
        return Ok(report);
    };
    println!("note: {}: {clock}: running it once more", job.name);
    let mut report = run_once()?;
    if let Some(clock) = strange_clock(job, &report.evidence) {
        report.cases = blamed(job, clock, report.cases);
        fs::write(report.dir.join("cases.log"), lines::of(&report.cases))?;
    }
    Ok(report)
}

/// A clock of the VM that cannot be trusted.  Where instructions are counted, none goes with the
/// host's.
fn strange_clock(job: &Job, evidence: &Evidence) -> Option<Strange> {
    let is_apart = job.test.machine.counts_instructions;
    if is_apart { None } else { clock::strange(&evidence.console) }
}

/// The cases of a run with such a clock: what failed is a consequence.
fn blamed(job: &Job, clock: Strange, cases: Vec<Case>) -> Vec<Case> {
    let (failed, mut rest): (Vec<Case>, Vec<Case>) = cases.into_iter().partition(Case::has_failed);
    let prefix = format!("{}: ", job.name);
    let failed = failed.iter().map(|case| case.name.strip_prefix(&prefix).unwrap_or(&case.name));
    let failed: Vec<&str> = failed.collect();
    let consequences = match &failed[..] {
        [] => "no claim failed".to_owned(),
        failed => format!("claims that failed as a consequence: {}", failed.join("; ")),
    };
    let name = format!("{prefix}the VM's clock goes as the host's does");
    rest.push(Case::failed(name, format!("{clock}; so it was twice; {consequences}")));
    rest
}

/// Where the logs of `job` go.
pub fn dir(ctx: &Context, job: &Job) -> PathBuf {
    ctx.cache.join("runs").join(&job.name)
}

/// Runs `job` once.
fn run_once(
    ctx: &Context,
    built: &Built,
    chosen: &Chosen,
    job: &Job,
    splats: &Matcher,
    watcher: Watcher,
) -> Result<Report> {
    job.machine().check_supported()?;
    let kernels = booted(built, chosen, job)?;
    let dir = dir(ctx, job);
    if dir.exists() {
        fs::remove_dir_all(&dir)?;
    }
    fs::create_dir_all(&dir)?;
    let scripts = job.scripts();
    let images: Vec<initramfs::Boot> = job
        .cmdlines()
        .into_iter()
        .zip(scripts)
        .zip(&kernels)
        .map(|((cmdline, script), kernel)| initramfs::Boot {
            cmdline,
            script,
            image: &kernel.image,
            modules: kernel.modules.as_deref(),
        })
        .collect();
    let initrd = initramfs::make(built, &ctx.src.join("tools/vm/init"), &dir, &images)?;
    let first = (&*kernels[0].image, &*images[0].cmdline);
    let evidence = boot(job, &dir, first, &initrd, watcher)
        .with_context(|| format!("{}: logs in {}", job.name, ctx.show(&dir)))?;
    fs::write(
        dir.join("frames.log"),
        lines::of(evidence.frames.iter().map(|at| format!("{at:.6}"))),
    )?;
    for (id, attempts) in job.machine().wires().iter().zip(&evidence.wires) {
        fs::write(dir.join(format!("wire{id}.log")), wire_log(attempts))?;
    }
    let releases: Vec<_> = kernels.iter().map(|kernel| kernel.release.as_deref()).collect();
    let cases = cases::of(job, &releases, &evidence, splats);
    fs::write(dir.join("cases.log"), lines::of(&cases))?;
    Ok(Report { cases, evidence, dir })
}

/// When which frame was sent.
fn wire_log(attempts: &[Attempt]) -> String {
    let mut numbers = 0..;
    lines::of(attempts.iter().map(|attempt| {
        let number = attempt.sent.then(|| numbers.next()).flatten();
        let what = number.map_or("would block".to_owned(), |number: u64| number.to_string());
        format!("{:.6} {what}", attempt.at)
    }))
}

/// The kernels of a job's boots.
fn booted(built: &Built, chosen: &Chosen, job: &Job) -> Result<Vec<Booted>> {
    let mut all = Vec::new();
    for (index, variant) in job.kernels.iter().enumerate() {
        all.push(match chosen.image(index) {
            Some(image) => Booted { image: image.clone(), release: None, modules: None },
            None => {
                let kernel = built.kernel(*variant)?;
                Booted {
                    image: kernel.image,
                    release: Some(kernel.release),
                    modules: Some(kernel.modules),
                }
            }
        });
    }
    Ok(all)
}

/// Starts QEMU with a kernel and its command line, and watches it to its end.
fn boot(
    job: &Job,
    dir: &Path,
    (kernel, cmdline): (&Path, &str),
    initrd: &Path,
    mut watcher: Watcher,
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
    let machine = job.machine();
    let wires = machine
        .wires()
        .iter()
        .map(|id| {
            let listener = UnixListener::bind(dir.join(wire_socket(id)))?;
            listener.set_nonblocking(true)?;
            Ok(listener)
        })
        .collect::<Result<Vec<_>>>()?;
    let mut command = machine.command(dir, kernel, initrd, cmdline)?;
    fs::write(dir.join("command"), format!("{command:?}\n"))?;
    let said = File::create(dir.join("qemu.log"))?;
    command.stdin(Stdio::null()).stdout(said.try_clone()?).stderr(said);
    let mut qemu = Guard(command.spawn().context("starting QEMU")?);
    let monitor = accept(&listener, &mut qemu.0, dir)?;
    let mut monitor = Qmp::new(monitor)?;
    let feeder = machine
        .is_fed()
        .then(|| Feeder::start(&dir.join("feed.sock"), dir.join("nic.sock")))
        .transpose()?;
    let senders = wires
        .iter()
        .zip(0..)
        .map(|(listener, index)| Sender::start(accept(listener, &mut qemu.0, dir)?, index))
        .collect::<Result<Vec<_>>>()?;
    // Stays when QEMU does not.
    let memory = machine.is_open.then(|| Memory::of(qemu.0.id())).transpose()?;
    monitor.execute("cont", json!({}))?;
    let mut evidence = Evidence::default();
    let mut stages = job.test.stages.iter();
    let deadline = Instant::now() + job.timeout();
    loop {
        let next = lines.recv_timeout(deadline.saturating_duration_since(Instant::now()));
        if let Ok((port, line)) = &next {
            watcher(*port, line);
        }
        match next {
            Ok((Port::Console, line)) => {
                if message(&line.text).starts_with(STARTING_NEW_KERNEL) {
                    if let Some(stage) = stages.next() {
                        interfere(&mut monitor, &stage.at_jump)?;
                        if let Some(memory) = &memory {
                            memory.damage(&stage.damage)?;
                        }
                    }
                }
                evidence.console.push(line);
            }
            Ok((Port::Output, line)) => {
                if let Some(command) = line.text.strip_prefix("LU-MONITOR ") {
                    tell(&mut monitor, command)?;
                }
                senders.iter().for_each(|sender| sender.take(&line.text));
                evidence.output.push(line);
            }
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
    evidence.wires = senders.into_iter().map(Sender::finish).collect();
    if let Some(memory) = memory {
        let found = |wire| memory.numbers(|bytes| wire::number_of(wire, bytes));
        evidence.found = (0..).take(evidence.wires.len()).map(found).collect::<Result<_>>()?;
    }
    evidence.frames.extend(evidence.wires.iter().flatten().map(|attempt| attempt.at));
    drop(qemu);
    evidence.trace = read_trace(&dir.join("trace.log"))?;
    Ok(evidence)
}

/// Has QEMU do something to the machine before the next kernel looks at it.
///
/// The machine is not stopped for it: QEMU would have a NIC that is not to receive take what waits for
/// it. This kernel is done with configuration space, and the next one is not there yet.
fn interfere(monitor: &mut Qmp, commands: &[String]) -> Result<()> {
    commands.iter().try_for_each(|command| tell(monitor, command))
}

/// Tells the human monitor something, which says nothing, or that all is well, if it could do it.
fn tell(monitor: &mut Qmp, command: &str) -> Result<()> {
    let said = monitor.human(command)?;
    // The IOMMU may be heard through the monitor that set a device off.
    let is_fault = |line: &&str| {
        line.starts_with("vtd_iommu_translate: ") || line.starts_with("New fault is not recorded")
    };
    let said = said.lines().filter(|line| !is_fault(line)).collect::<Vec<_>>().join("\n");
    let said = said.trim();
    ensure!(
        said.is_empty() || said.starts_with("OK "),
        "QEMU's monitor says to `{command}`: {said}"
    );
    Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::Catalog;

    #[test]
    fn strange_clock_is_to_blame_for_what_failed() {
        let line = |at, text: &str| Line { at, text: text.to_owned() };
        let console = vec![
            line(10.0, "[    0.000000] Linux version 7.3.4"),
            line(10.1, "[    0.500000] printk: legacy console [ttyS0] enabled"),
            line(20.1, "[   68.500000] reboot: Restarting system"),
        ];
        let evidence = Evidence { console, ..Evidence::default() };
        let mut job = Catalog::ours().job("luo-kexec").expect("a job");
        let clock = strange_clock(&job, &evidence).expect("a strange clock");
        let cases = vec![
            Case::check("luo-kexec: a", true, String::new),
            Case::failed("luo-kexec: b", "late"),
            Case::failed("luo-kexec: c", "later"),
        ];
        let cases = blamed(&job, clock, cases);
        assert_eq!(cases.len(), 2);
        let text = cases[1].to_string();
        assert!(text.starts_with("FAILED luo-kexec: the VM's clock goes as the host's does: "));
        assert!(text.contains("6.8 times as fast"), "{text}");
        assert!(text.ends_with("claims that failed as a consequence: b; c"), "{text}");
        job.test.machine.counts_instructions = true;
        assert_eq!(strange_clock(&job, &evidence), None);
    }
}
