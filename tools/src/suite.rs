// SPDX-License-Identifier: GPL-2.0

//! Runs tests and sums them up.

use std::path::PathBuf;
use std::slice;
use std::sync::Mutex;
use std::thread;
use std::time::Instant;

use anyhow::{Context as _, Result, bail};

use crate::catalog::{ON_DEBUG, REPETITIONS, SHOWN, TESTS};
use crate::checks;
use crate::context::Context;
use crate::job::Job;
use crate::judges;
use crate::kernel::{self, Built};
use crate::legend;
use crate::libtest;
use crate::machine;
use crate::report;
use crate::splat::Matcher;
use crate::stage::elapsed;
use crate::verdict::{Case, Outcome, Totals};
use crate::vm::{self, Chosen, Report};

/// Prints the names of the VM tests.
pub fn list() {
    for test in TESTS {
        println!("{:20} {}", test.name, test.about);
    }
}

/// Runs the named VM tests, optionally with other kernels, and says whether all was well.
pub fn run_vm_tests(
    ctx: &Context,
    names: &[String],
    first: Option<PathBuf>,
    next: Option<PathBuf>,
) -> Result<bool> {
    let jobs = names.iter().map(|name| Job::named(name)).collect::<Result<Vec<_>>>()?;
    let chosen = Chosen { first: chosen(ctx, first)?, next: chosen(ctx, next)? };
    let mut built = kernel::build(ctx)?;
    let cases = run_jobs(ctx, &mut built, &chosen, &jobs)?;
    println!("{}", Totals::of(&cases));
    Ok(Totals::of(&cases).is_good())
}

/// Runs the named VM tests, or all, on debug kernels.
pub fn run_on_debug(ctx: &Context, names: &[String]) -> Result<bool> {
    let names: Vec<String> = if names.is_empty() {
        TESTS.iter().map(|test| test.name.to_owned()).collect()
    } else {
        names.to_vec()
    };
    let names: Vec<String> = names.iter().map(|name| format!("{name}@debug")).collect();
    run_vm_tests(ctx, &names, None, None)
}

/// Shows the main path: one device through one live update.
pub fn show(ctx: &Context) -> Result<bool> {
    let job = Job::named(SHOWN)?;
    let mut built = kernel::build(ctx)?;
    prepare(ctx, &mut built, &Chosen::default(), slice::from_ref(&job));
    let report = run_job(ctx, &built, &Chosen::default(), &job, &allow_list(ctx)?)?;
    report::print(ctx, &job, &report);
    Ok(Totals::of(&report.cases).is_good())
}

/// Runs everything there is, with repetitions if it is to be full, and ends with the closing line.
pub fn run_all(ctx: &Context, full: bool) -> Result<bool> {
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
    cases.extend(match kernel::build(ctx) {
        Ok(mut built) => {
            let is_meant = |name: &str| full || !REPETITIONS.contains(&name);
            let tests = TESTS.iter().filter(|test| is_meant(test.name));
            let mut jobs: Vec<Job> = tests.map(Job::of).collect();
            for name in ON_DEBUG.iter().filter(|name| is_meant(name)) {
                jobs.push(Job::named(name)?);
            }
            run_jobs(ctx, &mut built, &Chosen::default(), &jobs)?
        }
        Err(error) => {
            println!("FAIL build: {error:#}");
            vec![Case::failed("build", error.to_string())]
        }
    });
    cases.extend(checks::run(ctx, checks::Which::Cheap)?);
    legend::print();
    println!("{}", Totals::of(&cases));
    Ok(Totals::of(&cases).is_good())
}

/// Runs every check.
pub fn check(ctx: &Context) -> Result<bool> {
    let cases = checks::run(ctx, checks::Which::All)?;
    println!("{}", Totals::of(&cases));
    Ok(Totals::of(&cases).is_good())
}

/// Builds the kernels that `jobs` need.  A test whose kernel cannot be built says so itself.
fn prepare(ctx: &Context, built: &mut Built, chosen: &Chosen, jobs: &[Job]) {
    for job in jobs {
        for (boot, variant) in job.kernels.iter().enumerate() {
            if chosen.image(boot).is_none() {
                built.prepare(ctx, *variant);
            }
        }
    }
}

/// Runs `jobs`, as many at a time as the machine has room for.
fn run_jobs(ctx: &Context, built: &mut Built, chosen: &Chosen, jobs: &[Job]) -> Result<Vec<Case>> {
    prepare(ctx, built, chosen, jobs);
    let built = &*built;
    let splats = allow_list(ctx)?;
    // Debug kernels first: they take longest, and nobody should have to wait for one in the end.
    let (slow, fast): (Vec<&Job>, _) = jobs.iter().partition(|job| job.has_debug());
    let queue = Mutex::new(slow.into_iter().chain(fast));
    let work = || {
        let mut cases = Vec::new();
        loop {
            let next = queue.lock().ok().and_then(|mut queue| queue.next());
            let Some(job) = next else {
                return cases;
            };
            // One test that cannot even start must not hide the others' verdicts.
            match run_job(ctx, built, chosen, job, &splats) {
                Ok(report) => cases.extend(report.cases),
                Err(error) => {
                    println!("FAIL {}: {error:#}", job.name);
                    cases.push(Case::failed(job.name.clone(), error.to_string()));
                }
            }
        }
    };
    let cases = thread::scope(|scope| {
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
    let report = vm::run(ctx, built, chosen, job, splats)?;
    if report.cases.is_empty() {
        bail!("{}: no case ran", job.name);
    }
    verdict(&job.name, &report.cases, start, &ctx.show(&report.dir));
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
