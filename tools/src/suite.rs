// SPDX-License-Identifier: GPL-2.0

//! Runs tests and sums them up.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context as _, Result, bail};

use crate::catalog::{SHOWN, TESTS};
use crate::checks;
use crate::context::Context;
use crate::kernel::{self, Built};
use crate::libtest;
use crate::report;
use crate::splat::Matcher;
use crate::stage::elapsed;
use crate::verdict::{Case, Outcome, Totals};
use crate::vm::{self, Kernels, Report, VmTest};

/// Prints the names of the VM tests.
pub fn list() {
    for test in TESTS {
        println!("{:20} {}", test.name, test.about);
    }
}

/// The test called `name`.
pub fn find(name: &str) -> Result<&'static VmTest> {
    TESTS.iter().find(|test| test.name == name).with_context(|| {
        let names: Vec<&str> = TESTS.iter().map(|test| test.name).collect();
        format!("there is no VM test `{name}`; there are: {}", names.join(", "))
    })
}

/// Runs the named VM tests, optionally with other kernels, and says whether all was well.
pub fn run_vm_tests(
    ctx: &Context,
    names: &[String],
    first: Option<PathBuf>,
    second: Option<PathBuf>,
) -> Result<bool> {
    let tests = names.iter().map(|name| find(name)).collect::<Result<Vec<_>>>()?;
    let built = kernel::build(ctx)?;
    let kernels = Kernels {
        first: &chosen(ctx, first, &built.image)?,
        second: &chosen(ctx, second, &built.image)?,
    };
    let mut splats = allow_list(ctx)?;
    let mut cases = Vec::new();
    for test in tests {
        cases.extend(run_vm_test(ctx, &built, &kernels, test, &mut splats)?.cases);
    }
    println!("{}", Totals::of(&cases));
    Ok(Totals::of(&cases).is_good())
}

/// Shows the main path: one device through one live update.
pub fn show(ctx: &Context) -> Result<bool> {
    let test = find(SHOWN)?;
    let built = kernel::build(ctx)?;
    let kernels = Kernels { first: &built.image, second: &built.image };
    let report = run_vm_test(ctx, &built, &kernels, test, &mut allow_list(ctx)?)?;
    report::print(ctx, test, &report);
    Ok(Totals::of(&report.cases).is_good())
}

/// Runs everything there is and ends with the closing line.
pub fn run_all(ctx: &Context) -> Result<bool> {
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
        Ok(built) => run_in_vms(ctx, &built)?,
        Err(error) => {
            println!("FAIL build: {error:#}");
            vec![Case::failed("build", error.to_string())]
        }
    });
    cases.extend(checks::run(ctx, checks::Which::Cheap)?);
    println!("{}", Totals::of(&cases));
    Ok(Totals::of(&cases).is_good())
}

/// Runs every check.
pub fn check(ctx: &Context) -> Result<bool> {
    let cases = checks::run(ctx, checks::Which::All)?;
    println!("{}", Totals::of(&cases));
    Ok(Totals::of(&cases).is_good())
}

fn run_in_vms(ctx: &Context, built: &Built) -> Result<Vec<Case>> {
    let kernels = Kernels { first: &built.image, second: &built.image };
    let mut splats = allow_list(ctx)?;
    let mut cases = Vec::new();
    for test in TESTS {
        // One test that cannot even start must not hide the others' verdicts.
        match run_vm_test(ctx, built, &kernels, test, &mut splats) {
            Ok(report) => cases.extend(report.cases),
            Err(error) => {
                println!("FAIL {}: {error:#}", test.name);
                cases.push(Case::failed(test.name, error.to_string()));
            }
        }
    }
    for entry in splats.unused() {
        println!("note: tools/vm/splats.allow: this entry matched nothing, remove it: {entry}");
    }
    Ok(cases)
}

/// The kernel image that the user chose, or ours.
fn chosen(ctx: &Context, choice: Option<PathBuf>, ours: &Path) -> Result<PathBuf> {
    let Some(path) = choice else {
        return Ok(ours.to_path_buf());
    };
    let inside = ctx.inside(&path).filter(|path| path.is_file());
    inside.with_context(|| {
        format!("{}: a kernel image has to be in the cache or the checkout", path.display())
    })
}

/// The allow list of kernel splats.
pub fn allow_list(ctx: &Context) -> Result<Matcher> {
    Matcher::load(&ctx.src.join("tools/vm/splats.allow"))
}

/// Runs one VM test and prints its verdict.
pub fn run_vm_test(
    ctx: &Context,
    built: &Built,
    kernels: &Kernels,
    test: &VmTest,
    splats: &mut Matcher,
) -> Result<Report> {
    let start = Instant::now();
    let report = vm::run(ctx, built, kernels, test, splats)?;
    if report.cases.is_empty() {
        bail!("{}: no case ran", test.name);
    }
    verdict(test.name, &report.cases, start, &ctx.show(&report.dir));
    Ok(report)
}

/// Prints one line for a group of cases, and one for each that failed.
pub fn verdict(name: &str, cases: &[Case], start: Instant, logs: &str) {
    let totals = Totals::of(cases);
    let word = if totals.is_good() { "ok" } else { "FAIL" };
    println!("{word:4} {name}: {totals} ({}), logs: {logs}", elapsed(start.elapsed()));
    for case in cases {
        if let Outcome::Failed(why) = &case.outcome {
            println!("     FAILED {}: {why}", case.name);
        }
    }
}
