// SPDX-License-Identifier: GPL-2.0

//! What a live update of devices that go on costs: `make bench`.
//!
//! The VMs count instructions instead of time: an emulated processor takes one nanosecond, by any
//! clock of the VM, for each. So figures are the same on every host, and can be compared. Figures are
//! printed, and written as JSON and as a plot; none of them is a verdict.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use plotters::prelude::*;
use serde_json::json;

use crate::context::Context;
use crate::evidence::{Evidence, STARTING_NEW_KERNEL};
use crate::job::Job;
use crate::judges;
use crate::kernel::{self, Built, Variant};
use crate::machine::{Backend, Device, Machine, Slot};
use crate::serial::message;
use crate::suite;
use crate::vm::{self, Chosen, Do, Stage, VmTest};

/// What is measured in one run.
#[derive(Clone, Copy, PartialEq)]
struct Point {
    /// How many devices go on, each with tables of its own.
    devices: usize,
    /// How much each has mapped, in GiB.
    gib: u64,
    /// Whether in pages of 2 MiB, not of 4 KiB.
    huge: bool,
    /// Whether they go on: otherwise the memory alone is preserved.
    marked: bool,
}

/// One device that has a GiB mapped in small pages.
const SMALL: Point = Point { devices: 1, gib: 1, huge: false, marked: true };

/// The same in large ones.
const HUGE: Point = Point { huge: true, ..SMALL };

/// What is always measured.
const POINTS: [Point; 11] = [
    Point { marked: false, ..SMALL },
    SMALL,
    Point { gib: 4, ..SMALL },
    Point { gib: 16, ..SMALL },
    Point { gib: 64, ..SMALL },
    HUGE,
    Point { gib: 32, ..HUGE },
    Point { gib: 1024, ..HUGE },
    Point { devices: 2, ..HUGE },
    Point { devices: 4, ..HUGE },
    Point { devices: 8, ..HUGE },
];

/// What takes a quarter of an hour, and two GiB of tables.
const FULL: [Point; 2] = [Point { gib: 256, ..SMALL }, Point { gib: 1024, ..SMALL }];

/// The step of the boot that finds IOMMUs, takes tables over and attaches devices.
const IOMMU_INIT: &str = "pci_iommu_init";

impl Point {
    fn name(&self) -> String {
        let Self { devices, gib, huge, marked } = self;
        let page = if *huge { "2M" } else { "4K" };
        let marked = if *marked { "" } else { "-unmarked" };
        format!("bench-{devices}x{gib}G-{page}{marked}")
    }

    /// The test that measures it.  It lives as long as the harness, as those of the catalog do.
    fn test(&self) -> &'static VmTest {
        let text = |text: String| -> &'static str { Box::leak(text.into_boxed_str()) };
        let flags = [(self.huge, " --huge"), (!self.marked, " --unmarked")];
        let flag = |at: usize| if flags[at].0 { flags[at].1 } else { "" };
        let bdfs: String = (1..=self.devices).map(|bus| format!(" 0000:{bus:02x}:00.0")).collect();
        let cdevs: String =
            (0..self.devices).map(|number| format!(" /dev/vfio/devices/vfio{number}")).collect();
        let bench = "iommu/iommufd_liveupdate_bench";
        let setup = text(format!("vfio/scripts/setup.sh{bdfs}"));
        let preserve =
            format!("{bench} --stage 1 --size {}{}{}{cdevs}", self.gib, flag(0), flag(1));
        let retrieve = format!("{bench} --stage 2{} {}", flag(1), self.devices);
        let first = vec![Do::Need(setup), Do::Test(text(preserve))];
        let second = vec![
            Do::Need("iommu/iommufd_liveupdate_bench --now"),
            Do::Need(text(format!("dmesg | grep \"initcall {IOMMU_INIT}+\""))),
            Do::Need(setup),
            Do::Test(text(retrieve)),
        ];
        let stage = Stage { kernel: Variant::Bench, ..Stage::MAIN };
        let stages = vec![
            Stage { commands: Vec::leak(first), ..stage },
            Stage {
                commands: Vec::leak(second),
                cmdline: "initcall_debug log_buf_len=4M",
                ..stage
            },
        ];
        let slot = Slot::Device(Device { model: "igb", backend: Backend::None });
        Box::leak(Box::new(VmTest {
            name: text(self.name()),
            about: "what a live update costs",
            pitfalls: &[],
            machine: Machine {
                memory: "12G",
                slots: Vec::leak(vec![slot; self.devices]),
                counts_instructions: true,
                ..Machine::PLAIN
            },
            stages: Vec::leak(stages),
            timeout: Duration::from_secs(3600),
            judge: None,
        }))
    }
}

/// What was counted in one run: instructions, and the number of tables.
type Counts = BTreeMap<String, u64>;

/// Measures everything, with what takes long if it is to be full.
pub fn run(ctx: &Context, full: bool) -> Result<bool> {
    let mut built = kernel::build(ctx)?;
    for variant in [Variant::Main, Variant::Bench] {
        built.prepare(ctx, variant);
    }
    let tables = tables(ctx, &built)?;
    let mut points = Vec::new();
    for point in POINTS.iter().chain(full.then_some(&FULL).into_iter().flatten()) {
        let evidence = evidence(ctx, &built, &Job::of(point.test()))?;
        points.push((*point, counts(&evidence)?));
    }
    let gaps = gaps(ctx, &built)?;
    let dir = ctx.cache.join("bench");
    fs::create_dir_all(&dir)?;
    let results = Results { points, tables, gaps };
    results.print();
    fs::write(dir.join("bench.json"), format!("{:#}\n", results.json()))?;
    results.plot(&dir.join("bench.svg"))?;
    println!("written: {} and bench.svg beside it", ctx.show(&dir.join("bench.json")));
    Ok(true)
}

/// Runs a job, which has to be well.
fn evidence(ctx: &Context, built: &Built, job: &Job) -> Result<Evidence> {
    let report = vm::run(ctx, built, &Chosen::default(), job, &suite::allow_list(ctx)?)?;
    let failed = report.cases.iter().find(|case| case.has_failed());
    if let Some(case) = failed {
        bail!("{}: logs in {}", case.name, ctx.show(&report.dir));
    }
    println!("{}", job.name);
    Ok(report.evidence)
}

/// What programs and kernels counted.
fn counts(evidence: &Evidence) -> Result<Counts> {
    let mut counts = Counts::new();
    for line in &evidence.output {
        let words: Vec<&str> = line.text.split_whitespace().collect();
        match words[..] {
            ["LU-COUNT", what, count] => {
                counts.insert(what.to_owned(), count.parse()?);
            }
            [.., "initcall", what, "returned", _, "after", took, "usecs"] => {
                let what = what.split('+').next().unwrap_or(what);
                counts.insert(what.to_owned(), took.parse::<u64>()? * 1000);
            }
            _ => {}
        }
    }
    let (tsc, noted) = evidence
        .console
        .iter()
        .find_map(|line| {
            Some((message(&line.text).strip_prefix("LU-TSC ")?, nanoseconds(&line.text)?))
        })
        .context("the first kernel never said its time")?;
    let jumped = evidence
        .console
        .iter()
        .find(|line| message(&line.text).starts_with(STARTING_NEW_KERNEL))
        .and_then(|line| nanoseconds(&line.text))
        .context("the first kernel never ended")?;
    let booted = counts.remove("booted").context("the second kernel never booted")?;
    let jump = tsc.trim().parse::<u64>()? + (jumped - noted);
    ensure!(booted > jump, "the second kernel booted before the first one ended");
    counts.insert("shutdown".to_owned(), jumped - noted);
    counts.insert("boot".to_owned(), booted - jump);
    Ok(counts)
}

/// What the clock of a kernel showed, from the start of a message.
fn nanoseconds(line: &str) -> Option<u64> {
    let (stamp, _) = line.strip_prefix('[')?.split_once(']')?;
    let (seconds, micros) = stamp.trim().split_once('.')?;
    Some((seconds.parse::<u64>().ok()? * 1_000_000 + micros.parse::<u64>().ok()?) * 1000)
}

/// What it costs to preserve tables, by a KUnit test: how many, all of it, and what KHO takes of that.
fn tables(ctx: &Context, built: &Built) -> Result<[u64; 3]> {
    let test: &'static VmTest = Box::leak(Box::new(VmTest {
        name: "bench-tables",
        about: "what it costs to preserve a table",
        pitfalls: &[],
        machine: Machine { counts_instructions: true, ..Machine::PLAIN },
        stages: const {
            &[Stage {
                kernel: Variant::Bench,
                cmdline: "kunit.enable=1 kunit.autorun=1 kunit.filter_glob=iommu_liveupdate",
                commands: &[Do::Need("true")],
                ..Stage::MAIN
            }]
        },
        timeout: Duration::from_secs(600),
        judge: None,
    }));
    let evidence = evidence(ctx, built, &Job::of(test))?;
    let said = evidence.console.iter().find_map(|line| {
        let words = message(&line.text).trim_start().strip_prefix("# iommu_liveupdate: ")?;
        let numbers = words.split(' ').filter_map(|word| word.parse().ok());
        numbers.collect::<Vec<u64>>().try_into().ok()
    });
    said.context("KUnit never said what it costs to preserve tables")
}

/// The longest gap between two DMA writes, in seconds: through a live update, and of a device that
/// nothing happens to. By the clock of the host.
fn gaps(ctx: &Context, built: &Built) -> Result<[f64; 2]> {
    let gap = |name| {
        let evidence = evidence(ctx, built, &Job::named(name)?)?;
        let gap = judges::longest_gap(&evidence, 0, "01:00.0", 0.0, f64::INFINITY);
        gap.with_context(|| format!("{name}: nothing was written"))
    };
    Ok([gap("witness-second-stage")?, gap("witness-idle")?])
}

/// Everything that was measured.
struct Results {
    points: Vec<(Point, Counts)>,
    tables: [u64; 3],
    gaps: [f64; 2],
}

impl Results {
    fn get(&self, point: Point, what: &str) -> Option<f64> {
        let (_, counts) = self.points.iter().find(|(other, _)| *other == point)?;
        counts.get(what).map(|count| *count as f64)
    }

    /// What a step takes more for one point than for another, for each of something.
    fn marginal(&self, what: &str, more: Point, less: Point, of: &str) -> Option<f64> {
        let difference = |what| Some(self.get(more, what)? - self.get(less, what)?);
        Some(difference(what)? / difference(of)?)
    }

    /// Figures that say something by themselves, each with what it is meant to be.
    fn figures(&self) -> Vec<(&'static str, Option<f64>, &'static str)> {
        let unmarked = Point { marked: false, ..SMALL };
        let restore = |point| Some(self.get(point, IOMMU_INIT)? - self.get(unmarked, IOMMU_INIT)?);
        let [count, all, alone] = self.tables.map(|number| number as f64);
        let (tib, large) = (Point { gib: 1024, ..HUGE }, Point { gib: 64, ..SMALL });
        let pages = 64.0 * 1024.0 * 256.0;
        let proof = self.get(large, "preserve-iommufd").zip(self.get(large, "tables"));
        let proof = proof.map(|(took, tables)| (took - tables * all / count) / pages);
        let mapping = self.get(large, "map").map(|took| took / pages);
        vec![
            ("boot: restore a device that has 1 GiB", restore(HUGE), ""),
            ("boot: restore a device that has 1 TiB", restore(tib), "the same within 10 %"),
            (
                "boot: restore one of eight devices",
                restore(Point { devices: 8, ..HUGE }).map(|all| all / 8.0),
                "",
            ),
            (
                "whole boot, per table that was preserved",
                self.marginal("boot", large, SMALL, "tables"),
                "at most 150",
            ),
            ("preserve a table", Some(all / count), "at most 1.5 times what KHO takes"),
            ("preserve a page with KHO", Some(alone / count), ""),
            ("map a page of 4 KiB", mapping, ""),
            ("prove that it belongs to a preserved memfd", proof, "beside mapping it"),
        ]
    }

    fn print(&self) {
        println!("\nInstructions for all devices of a run");
        for (point, counts) in &self.points {
            println!("  {}", point.name());
            for (what, count) in counts {
                println!("    {what:<20} {count:>16}");
            }
        }
        println!("\nInstructions for one of each");
        for (what, figure, goal) in self.figures() {
            let figure = figure.map_or("not measured".to_owned(), |figure| format!("{figure:.1}"));
            println!("  {what:<46} {figure:>14}  {goal}");
        }
        let [update, idle] = self.gaps.map(|gap| gap * 1e3);
        println!("\nLongest gap between two DMA writes, by the clock of the host");
        println!("  through a live update {update:.1} ms, in an idle run {idle:.1} ms\n");
    }

    fn json(&self) -> serde_json::Value {
        let points = self.points.iter().map(|(point, counts)| {
            json!({
                "devices": point.devices,
                "gib": point.gib,
                "page": if point.huge { "2M" } else { "4K" },
                "marked": point.marked,
                "counts": counts,
            })
        });
        let figures = self.figures().into_iter().map(
            |(what, figure, goal)| json!({ "what": what, "instructions": figure, "goal": goal }),
        );
        let [count, all, alone] = self.tables;
        json!({
            "points": points.collect::<Vec<_>>(),
            "figures": figures.collect::<Vec<_>>(),
            "tables": { "count": count, "preserve": all, "kho_alone": alone },
            "longest_gap_s": { "live_update": self.gaps[0], "idle": self.gaps[1] },
        })
    }

    /// What depends on the number of tables, of one device.
    fn plot(&self, path: &Path) -> Result<()> {
        /// What is drawn, and how.
        const LINES: [(&str, RGBColor); 5] = [
            ("map", BLACK),
            ("preserve-iommufd", BLUE),
            (IOMMU_INIT, RED),
            ("boot", MAGENTA),
            ("finish", GREEN),
        ];
        let mut points: Vec<&(Point, Counts)> =
            self.points.iter().filter(|(point, _)| point.devices == 1 && point.marked).collect();
        points.sort_by_key(|(_, counts)| counts.get("tables"));
        let area = SVGBackend::new(path, (960, 640)).into_drawing_area();
        area.fill(&WHITE)?;
        let mut chart = ChartBuilder::on(&area)
            .caption("Live update of a device that goes on", ("sans-serif", 24))
            .margin(16)
            .x_label_area_size(48)
            .y_label_area_size(96)
            .build_cartesian_2d((1f64..1e6).log_scale(), (1e3f64..1e12).log_scale())?;
        chart.configure_mesh().x_desc("tables").y_desc("instructions").draw()?;
        for (what, color) in LINES {
            let at = points.iter().filter_map(|(_, counts)| {
                Some((*counts.get("tables")? as f64, *counts.get(what)? as f64))
            });
            chart
                .draw_series(LineSeries::new(at, color))?
                .label(what)
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 20, y)], color));
        }
        chart.configure_series_labels().border_style(BLACK).background_style(WHITE).draw()?;
        area.present()?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serial::Line;

    fn line(text: &str) -> Line {
        Line { at: 0.0, text: text.to_owned() }
    }

    fn measured() -> Evidence {
        Evidence {
            console: vec![
                line("[    2.000100] LU-TSC 5000000000"),
                line("[    2.500200] kexec_core: Starting new kernel"),
            ],
            output: vec![
                line("LU-COUNT map 17"),
                line("[    1.0] initcall pci_iommu_init+0x0/0x40 returned 0 after 123 usecs"),
                line("LU-COUNT booted 6000000000"),
            ],
            ..Evidence::default()
        }
    }

    #[test]
    fn counts_are_of_programs_and_of_kernels() {
        let counts = counts(&measured()).expect("counts");
        let expected =
            [("boot", 499_900_000), ("map", 17), (IOMMU_INIT, 123_000), ("shutdown", 500_100_000)];
        assert_eq!(counts, expected.map(|(what, count)| (what.to_owned(), count)).into());
    }

    #[test]
    fn what_was_not_said_is_an_error() {
        for missing in 0..2 {
            let mut evidence = measured();
            evidence.console.remove(missing);
            assert!(counts(&evidence).is_err());
        }
        let mut evidence = measured();
        evidence.output.pop();
        assert!(counts(&evidence).is_err());
    }

    #[test]
    fn marginal_cost_is_that_of_what_there_is_more() {
        let counts = |boot, tables| {
            [("boot", boot), ("tables", tables)].map(|(a, b): (&str, u64)| (a.to_owned(), b)).into()
        };
        let large = Point { gib: 64, ..SMALL };
        let results = Results {
            points: vec![(SMALL, counts(1000, 10)), (large, counts(2000, 30))],
            tables: [10, 1500, 1000],
            gaps: [0.04, 0.03],
        };
        assert_eq!(results.marginal("boot", large, SMALL, "tables"), Some(50.0));
        assert_eq!(results.marginal("boot", HUGE, SMALL, "tables"), None);
        let figure = |what| {
            results
                .figures()
                .into_iter()
                .find(|(name, ..)| *name == what)
                .and_then(|(_, figure, _)| figure)
        };
        assert_eq!(figure("preserve a table"), Some(150.0));
        assert_eq!(figure("map a page of 4 KiB"), None);
    }

    #[test]
    fn every_point_has_a_name_and_a_test_of_its_own() {
        let all: Vec<Point> = POINTS.into_iter().chain(FULL).collect();
        for (index, point) in all.iter().enumerate() {
            assert!(all[..index].iter().all(|other| other.name() != point.name()));
            assert_eq!(point.test().machine.slots.len(), point.devices);
        }
    }
}
