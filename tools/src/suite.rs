// SPDX-License-Identifier: GPL-2.0

//! Runs tests and sums them up.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex};
use std::thread::{self, ScopedJoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Error, Result, bail};

use crate::catalog::{Catalog, SHOWN};
use crate::checks;
use crate::context::Context;
use crate::job::Job;
use crate::judges;
use crate::kernel::{self, Built, Variant};
use crate::legend;
use crate::libtest;
use crate::machine;
use crate::progress::Progress;
use crate::report;
use crate::splat::Matcher;
use crate::times::{self, Kind, elapsed};
use crate::tree;
use crate::verdict::{Case, Outcome, Totals};
use crate::vm::{self, Chosen, Report, Watcher};

/// Prints what the VM tests are called and show: those with these names, or all.
pub fn list(ctx: &Context, names: &[String]) -> Result<()> {
    let catalog = Catalog::read(ctx)?;
    let jobs = if names.is_empty() {
        catalog.usual().iter().map(Job::of).collect()
    } else {
        catalog.jobs(names)?
    };
    for job in jobs {
        println!("{:20} {}", job.name, job.test.about);
    }
    Ok(())
}

/// Runs the named VM tests, or those of the user's file, optionally with other kernels, and says whether all was well.
pub fn run_vm_tests(
    ctx: &Context,
    names: &[String],
    first: Option<PathBuf>,
    next: Option<PathBuf>,
) -> Result<bool> {
    let start = Instant::now();
    let jobs = Catalog::read(ctx)?.jobs(names)?;
    let chosen = Chosen { first: chosen(ctx, first)?, next: chosen(ctx, next)? };
    let built = kernel::build(ctx)?;
    let cases = run_jobs(ctx, &built, &chosen, &jobs)?;
    times::print(start);
    println!("{}", Totals::of(&cases));
    Ok(Totals::of(&cases).is_good())
}

/// Runs the named VM tests, or all, on debug kernels.
pub fn run_on_debug(ctx: &Context, names: &[String]) -> Result<bool> {
    let names: Vec<String> = if names.is_empty() {
        Catalog::read(ctx)?.usual().iter().map(|test| test.name.clone()).collect()
    } else {
        names.to_vec()
    };
    let names: Vec<String> = names.iter().map(|name| format!("{name}@debug")).collect();
    run_vm_tests(ctx, &names, None, None)
}

/// A watcher that says how far a VM got.
fn tell_progress() -> Watcher {
    let mut progress = Progress::default();
    Box::new(move |port, line| {
        if let Some(step) = progress.take(port, line) {
            eprintln!("{step}");
        }
    })
}

/// Shows one device's way through live updates, and says meanwhile how far it got.
pub fn show(ctx: &Context) -> Result<bool> {
    let job = Catalog::read(ctx)?.job(SHOWN)?;
    let built = kernel::build(ctx)?;
    eprintln!("VM: boots; logs in {}", ctx.show(&vm::dir(ctx, &job)));
    let splats = allow_list(ctx)?;
    let report = vm::run(ctx, &built, &Chosen::default(), &job, &splats, tell_progress)?;
    report::print(ctx, &job, &report)?;
    Ok(Totals::of(&report.cases).is_good())
}

/// Runs everything there is, with repetitions if it is to be full, and ends with the closing line.
///
/// What needs no VM runs beside the builds, and kernels that few tests need are built beside the
/// tests of the others: each for itself leaves processors idle.
pub fn run_all(ctx: &Context, full: bool) -> Result<bool> {
    let start = Instant::now();
    let catalog = Catalog::read(ctx)?;
    let cases = thread::scope(|scope| {
        let host = scope.spawn(|| in_background(|| host_tests(ctx)));
        let tree = tree::update(ctx, false);
        let checks = tree
            .is_ok()
            .then(|| scope.spawn(|| in_background(|| checks::run(ctx, checks::Which::Cheap))));
        let built = tree.and_then(|tree| kernel::build_from(ctx, tree));
        let mut cases = match built {
            Ok(built) => run_jobs(ctx, &built, &Chosen::default(), &jobs_of(&catalog, full)?)?,
            Err(error) => {
                println!("FAIL build: {error:#}");
                vec![Case::failed("build", error.to_string())]
            }
        };
        for beside in [Some(host), checks].into_iter().flatten() {
            cases.extend(joined(beside)?);
        }
        Ok::<_, Error>(cases)
    })?;
    legend::print(&catalog);
    times::print(start);
    println!("{}", Totals::of(&cases));
    Ok(Totals::of(&cases).is_good())
}

/// The VM tests of `make test`, or of `make test-full`.
fn jobs_of(catalog: &Catalog, full: bool) -> Result<Vec<Job>> {
    let tests = catalog.tests.iter().filter(|test| full || !test.is_repetition);
    let mut jobs: Vec<Job> = tests.map(Job::of).collect();
    for (name, _) in catalog.variations().filter(|(_, is_repetition)| full || !is_repetition) {
        jobs.push(catalog.job(&name)?);
    }
    Ok(jobs)
}

/// The tests of the harness, and those of the pure Rust files.
fn host_tests(ctx: &Context) -> Result<Vec<Case>> {
    let mut cases = Vec::new();
    for (name, dir) in [("harness", "tools"), ("host", "host")] {
        let dir = ctx.src.join(dir);
        if dir.join("Cargo.toml").exists() {
            let start = Instant::now();
            let found = libtest::run(ctx, name, &dir)?;
            verdict(name, &found, start, &ctx.show(&ctx.log(&format!("{name}-tests"))));
            cases.extend(found);
        }
    }
    Ok(cases)
}

/// Does something so that what is not in the background hardly waits for it.
fn in_background<T>(work: impl FnOnce() -> T) -> T {
    // Of this thread, and what it starts.  If that is refused, others wait a little longer.
    let _ = rustix::process::nice(19);
    work()
}

/// What came of work beside the tests.
fn joined(beside: ScopedJoinHandle<'_, Result<Vec<Case>>>) -> Result<Vec<Case>> {
    beside.join().unwrap_or_else(|_| bail!("what runs beside the tests panicked"))
}

/// Runs every check.
pub fn check(ctx: &Context) -> Result<bool> {
    tree::update(ctx, false)?;
    let cases = checks::run(ctx, checks::Which::All)?;
    println!("{}", Totals::of(&cases));
    Ok(Totals::of(&cases).is_good())
}

/// Tests that wait to be run, and to be told that their kernels are built.
struct Queue<'a> {
    built: &'a Built,
    chosen: &'a Chosen,
    waiting: Mutex<Vec<&'a Job>>,
    /// Whether no kernel is built any more.  A test whose kernel is not there says so itself.
    is_complete: AtomicBool,
    changed: Condvar,
}

impl<'a> Queue<'a> {
    fn new(built: &'a Built, chosen: &'a Chosen, jobs: &'a [Job]) -> Self {
        // Debug kernels first: they take longest, and nobody should have to wait for one in the end.
        let (slow, fast): (Vec<&Job>, Vec<&Job>) = jobs.iter().partition(|job| job.has_debug());
        Self {
            built,
            chosen,
            waiting: Mutex::new([slow, fast].concat()),
            is_complete: AtomicBool::new(false),
            changed: Condvar::new(),
        }
    }

    /// The kernels that a test needs.
    fn needed(&self, job: &Job) -> impl Iterator<Item = Variant> {
        let boots = job.kernels.iter().enumerate();
        boots.filter(|(boot, _)| self.chosen.image(*boot).is_none()).map(|(_, variant)| *variant)
    }

    /// Builds what the tests need, and lets those that wait for it go on.
    fn build(&self, ctx: &Context) {
        let jobs = self.waiting.lock().map(|waiting| waiting.clone()).unwrap_or_default();
        for variant in jobs.into_iter().flat_map(|job| self.needed(job)) {
            self.built.prepare(ctx, variant);
            self.tell();
        }
        self.is_complete.store(true, Ordering::Relaxed);
        self.tell();
    }

    fn tell(&self) {
        // Whoever looked before does wait now, and is woken up.
        drop(self.waiting.lock());
        self.changed.notify_all();
    }

    fn is_ready(&self, job: &Job) -> bool {
        self.is_complete.load(Ordering::Relaxed)
            || self.needed(job).all(|variant| self.built.is_settled(variant))
    }

    /// The next test to run; waits until there is one, unless there will be none.
    fn next(&self) -> Option<&'a Job> {
        let mut waiting = self.waiting.lock().ok()?;
        while !waiting.is_empty() {
            if let Some(index) = waiting.iter().position(|job| self.is_ready(job)) {
                return Some(waiting.remove(index));
            }
            waiting = self.changed.wait(waiting).ok()?;
        }
        None
    }
}

/// Runs `jobs`, as many at a time as the machine has room for, and builds kernels meanwhile.
fn run_jobs(ctx: &Context, built: &Built, chosen: &Chosen, jobs: &[Job]) -> Result<Vec<Case>> {
    let splats = allow_list(ctx)?;
    let queue = Queue::new(built, chosen, jobs);
    let work = || {
        let mut cases = Vec::new();
        while let Some(job) = queue.next() {
            // One test that cannot even start must not hide the others' verdicts.
            match run_job(ctx, built, chosen, job, &splats) {
                Ok(report) => cases.extend(report.cases),
                Err(error) => {
                    println!("FAIL {}: {error:#}", job.name);
                    cases.push(Case::failed(job.name.clone(), error.to_string()));
                }
            }
        }
        cases
    };
    let cases = thread::scope(|scope| {
        scope.spawn(|| in_background(|| queue.build(ctx)));
        let workers: Vec<_> =
            (0..machine::room(ctx.jobs).min(jobs.len())).map(|_| scope.spawn(work)).collect();
        let each = workers.into_iter().map(|worker| {
            worker.join().unwrap_or_else(|_| vec![Case::failed("harness", "a worker panicked")])
        });
        each.flatten().collect()
    });
    for entry in judges::unused() {
        println!("note: tools/vm/config-writes.list: none of these tests needed this: {entry}");
    }
    for entry in splats.unused() {
        println!("note: tools/vm/splats.allow: this entry matched nothing, remove it: {entry}");
    }
    Ok(cases)
}

/// The kernel image that the user chose, as it is called in the build root.
fn chosen(ctx: &Context, choice: Option<PathBuf>) -> Result<Option<PathBuf>> {
    let Some(path) = choice else {
        return Ok(None);
    };
    let inside = ctx.inside(&path).filter(|path| path.is_file());
    let inside = inside.with_context(|| {
        format!("{}: a kernel image has to be in the cache or the checkout", path.display())
    })?;
    Ok(Some(inside))
}

/// The allow list of kernel splats.
pub fn allow_list(ctx: &Context) -> Result<Matcher> {
    Matcher::load(&ctx.src.join("tools/vm/splats.allow"))
}

/// Runs one VM test and prints its verdict.
fn run_job(
    ctx: &Context,
    built: &Built,
    chosen: &Chosen,
    job: &Job,
    splats: &Matcher,
) -> Result<Report> {
    let start = Instant::now();
    let report = vm::run(ctx, built, chosen, job, splats, vm::nobody)?;
    if report.cases.is_empty() {
        bail!("{}: no case ran", job.name);
    }
    verdict(&job.name, &report.cases, start, &ctx.show(&report.dir));
    times::note(Kind::Test, &job.name, start.elapsed());
    for boot in report.evidence.boots() {
        let booted = boot.phases.iter().find(|phase| phase.name == "boot");
        times::note(Kind::Boot, &job.name, booted.map_or(Duration::ZERO, |phase| phase.took));
    }
    Ok(report)
}

/// Prints one line for a group of cases, and one for each that failed.
pub fn verdict(name: &str, cases: &[Case], start: Instant, logs: &str) {
    let totals = Totals::of(cases);
    let word = if totals.is_good() { "ok" } else { "FAIL" };
    let mut text =
        format!("{word:4} {name}: {totals} ({}), logs: {logs}", elapsed(start.elapsed()));
    for case in cases {
        if let Outcome::Failed(why) = &case.outcome {
            text.push_str(&format!("\n     FAILED {}: {why}", case.name));
        }
    }
    // At once, because others may be printing, too.
    println!("{text}");
}
