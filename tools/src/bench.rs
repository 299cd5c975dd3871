// SPDX-License-Identifier: GPL-2.0

//! What a live update of devices that go on costs: `make bench`.
//!
//! The VMs count instructions instead of time: an emulated processor takes one nanosecond, by any
//! clock of the VM, for each. So figures are the same on every host, and can be compared. Figures are
//! printed, and written as JSON and as a plot; none of them is a verdict.

use std::fs;

use anyhow::{Context as _, Result, bail};
use glob::Pattern;

use crate::catalog::Catalog;
use crate::context::Context;
use crate::evidence::Evidence;
use crate::job::Job;
use crate::judges;
use crate::kernel::{self, Built, Variant};
use crate::machine::Machine;
use crate::serial::message;
use crate::suite;
use crate::vm::{self, Chosen};
use crate::vm_test::{Do, Stage};

mod counts;
mod points;
mod results;

use counts::{counts, counts_of_devices};
use points::{FULL, POINTS, Pages, Point, Rounds};
use results::{Results, Written};

/// What it is called to measure what preserving tables costs, and the longest gap between DMA writes.
const TABLES: &str = "bench-tables";
const GAPS: &str = "bench-gaps";

/// What is measured, by name.
struct Wanted(Vec<Pattern>);

impl Wanted {
    fn new(names: &[String]) -> Result<Self> {
        let pattern =
            |name: &String| Pattern::new(name).with_context(|| format!("`{name}` is no pattern"));
        let wanted = Self(names.iter().map(pattern).collect::<Result<_>>()?);
        let all = POINTS.iter().chain(&FULL).map(Point::name);
        let all = all.chain(Pages::all().map(|pages| pages.name()));
        let all = all.chain(Rounds::ALL.map(|rounds| rounds.name().to_owned()));
        let all: Vec<String> = all.chain([TABLES, GAPS].map(str::to_owned)).collect();
        let missing = wanted.0.iter().find(|one| !all.iter().any(|name| one.matches(name)));
        if let Some(missing) = missing {
            bail!("nothing is called `{missing}`; there are:\n  {}", all.join("\n  "));
        }
        Ok(wanted)
    }

    fn is_everything(&self) -> bool {
        self.0.is_empty()
    }

    fn has(&self, name: &str) -> bool {
        self.is_everything() || self.0.iter().any(|pattern| pattern.matches(name))
    }
}

/// Measures everything, with what takes long if it is to be full, or only what has these names.
pub fn run(ctx: &Context, names: &[String], full: bool) -> Result<bool> {
    let wanted = Wanted::new(names)?;
    let built = kernel::build(ctx)?;
    for variant in [Variant::Main, Variant::Bench] {
        built.prepare(ctx, variant);
    }
    let catalog = Catalog::read(ctx)?;
    let tables = wanted.has(TABLES).then(|| tables(ctx, &built)).transpose()?;
    let mut points = Vec::new();
    let usual = |point: &Point| full || !wanted.is_everything() || !FULL.contains(point);
    let all = POINTS.iter().chain(&FULL).filter(|point| usual(point));
    for point in all.filter(|point| wanted.has(&point.name())) {
        let evidence = evidence(ctx, &built, &Job::of(&point.test()))?;
        let mut counts = counts(&evidence)?;
        counts.append(&mut counts_of_devices(&evidence)?);
        points.push((*point, counts));
    }
    let mut pages = Vec::new();
    for some in Pages::all().filter(|pages| wanted.has(&pages.name())) {
        let evidence = evidence(ctx, &built, &Job::of(&some.test()))?;
        pages.push((some, counts(&evidence)?));
    }
    let mut rounds = Vec::new();
    for some in Rounds::ALL.into_iter().filter(|rounds| wanted.has(rounds.name())) {
        let evidence = evidence(ctx, &built, &Job::of(&some.test()))?;
        rounds.push((some, counts(&evidence)?));
    }
    let gaps = wanted.has(GAPS).then(|| gaps(ctx, &built, &catalog)).transpose()?;
    let results = Results { points, pages, rounds, tables, gaps };
    let dir = ctx.cache.join("bench");
    let json = dir.join("bench.json");
    let before = Written::read(&json);
    results.print(&before);
    if !wanted.is_everything() {
        return Ok(true);
    }
    fs::create_dir_all(&dir)?;
    if json.exists() {
        fs::rename(&json, dir.join("before.json"))?;
    }
    fs::write(&json, format!("{:#}\n", results.json()))?;
    results.plot(&before, &dir.join("bench.svg"))?;
    println!("written: {} and bench.svg beside it", ctx.show(&json));
    Ok(true)
}

/// Runs a job, which has to be well.
fn evidence(ctx: &Context, built: &Built, job: &Job) -> Result<Evidence> {
    let splats = suite::allow_list(ctx)?;
    let report = vm::run(ctx, built, &Chosen::default(), job, &splats, vm::nobody)?;
    let failed = report.cases.iter().find(|case| case.has_failed());
    if let Some(case) = failed {
        bail!("{}: logs in {}", case.name, ctx.show(&report.dir));
    }
    println!("{}", job.name);
    Ok(report.evidence)
}

/// What it costs to preserve tables, by a KUnit test: how many, all of it, and what KHO takes of that.
fn tables(ctx: &Context, built: &Built) -> Result<[u64; 3]> {
    let only = "kunit.enable=1 kunit.autorun=1 kunit.filter_glob=iommu_liveupdate";
    let stage = Stage {
        kernel: Variant::Bench,
        cmdline: only.to_owned(),
        commands: vec![Do::Need("true".to_owned())],
        ..Stage::default()
    };
    let test = points::test(TABLES.to_owned(), Machine::default(), vec![stage]);
    let evidence = evidence(ctx, built, &Job::of(&test))?;
    let said = evidence.console.iter().find_map(|line| {
        let words = message(&line.text).trim_start().strip_prefix("# iommu_liveupdate: ")?;
        let numbers = words.split(' ').filter_map(|word| word.parse().ok());
        numbers.collect::<Vec<u64>>().try_into().ok()
    });
    said.context("KUnit never said what it costs to preserve tables")
}

/// The longest gap between two DMA writes, in seconds: through a live update, and of a device that
/// nothing happens to. By the clock of the host.
fn gaps(ctx: &Context, built: &Built, catalog: &Catalog) -> Result<[f64; 2]> {
    let gap = |name| {
        let evidence = evidence(ctx, built, &catalog.job(name)?)?;
        let gap = judges::longest_gap(&evidence, 0, "01:00.0", 0.0, f64::INFINITY);
        gap.with_context(|| format!("{name}: nothing was written"))
    };
    Ok([gap("witness-second-stage")?, gap("witness-idle")?])
}
