// SPDX-License-Identifier: GPL-2.0

//! What `make run` tells: one device's way through a live update.

use std::time::Duration;

use crate::context::Context;
use crate::evidence::{Boot, Evidence};
use crate::job::Job;
use crate::verdict::{Case, Outcome, Totals};
use crate::vm::Report;
use crate::vm_test::VmTest;

/// Prints the story of a run of `job`.
pub fn print(ctx: &Context, job: &Job, report: &Report) {
    let test = &job.test;
    let boots = report.evidence.boots();
    println!("\nLive update of a passthrough device: {}\n", test.about);
    println!("  device     {}", device(test, &boots));
    for (boot, which) in boots.iter().zip(["first", "second"]) {
        println!("  kernel     {which}: {}", boot.kernel);
    }
    print_cases("preserved", report, |name| name.contains("preserved"));
    print_cases("came back", report, |name| name.contains("retrieved") || name.contains("intact"));
    println!("  time       (by the VM's clock; across the kexec by the host's)");
    for (name, took) in phases(&boots, &report.evidence) {
        println!("    {name:<22} {:>10.3} ms", took.as_secs_f64() * 1e3);
    }
    print_cases("DMA", report, |name| {
        name.contains("DMA") || name.contains("bus mastering") || name.contains("reset in")
    });
    let totals = Totals::of(&report.cases);
    println!("\n  {}: {totals}", if totals.is_good() { "It works" } else { "It FAILED" });
    println!("  logs       {}", ctx.show(&report.dir));
    println!(
        "  read next  ARCHITECTURE.md; `make test` runs everything, `make help` lists the rest"
    );
}

/// The device's address, model and PCI IDs, as the first kernel saw them.
fn device(test: &VmTest, boots: &[Boot]) -> String {
    let model = test.machine.devices().next().map_or("none", |device| &device.model);
    let ids: Vec<&str> = boots
        .first()
        .and_then(|boot| boot.runs.first())
        .map(|run| run.lines.iter().filter_map(|line| line.strip_prefix("0x")).collect())
        .unwrap_or_default();
    format!("0000:01:00.0, QEMU's {model} ({})", ids.join(":"))
}

/// Prints the cases whose name the rest of the line is about.
fn print_cases(title: &str, report: &Report, about: impl Fn(&str) -> bool) {
    println!("  {title}");
    for Case { name, outcome } in report.cases.iter().filter(|case| about(&case.name)) {
        let name = name.split_once(": ").map_or(name.as_str(), |(_, name)| name);
        match outcome {
            Outcome::Passed => println!("    yes   {name}"),
            Outcome::Failed(why) => println!("    NO    {name}: {why}"),
            Outcome::Skipped(why) => println!("    -     {name} (skipped: {why})"),
        }
    }
}

/// What took how long, in the order in which it happened.
fn phases(boots: &[Boot], evidence: &Evidence) -> Vec<(String, Duration)> {
    let between =
        |from: Option<f64>, to: Option<f64>| Some(Duration::from_secs_f64((to? - from?).max(0.0)));
    let mut all = Vec::new();
    for boot in boots {
        if boot.stage > 1 {
            let before = boot.stage - 1;
            let freeze = between(evidence.update_asked(before), evidence.jump(before));
            let gap = between(evidence.jump(before), Some(boot.at));
            all.extend(freeze.map(|took| ("freeze and shutdown".to_owned(), took)));
            all.extend(gap.map(|took| ("kexec to init".to_owned(), took)));
        }
        let own = boot.phases.iter().filter(|phase| phase.name != "boot");
        all.extend(own.map(|phase| (phase.name.clone(), phase.took)));
    }
    all
}
