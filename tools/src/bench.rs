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
use glob::Pattern;
use plotters::coord::Shift;
use plotters::prelude::*;
use serde_json::json;

use crate::catalog::Catalog;
use crate::context::Context;
use crate::evidence::{Evidence, FIRST_WORDS, STARTING_NEW_KERNEL};
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
    /// How much of it is mapped at once, in MiB.
    area: u64,
    /// Whether pages left the memfd meanwhile, so that all that are mapped are looked at.
    looked_at: bool,
    /// Whether they are of the kind that there can be many of, though they are few.
    alike: bool,
}

/// How much is mapped at once, in MiB, if nothing else is measured.
const AREA: u64 = 256;

/// One device that has a GiB mapped in small pages.
const SMALL: Point = Point {
    devices: 1,
    gib: 1,
    huge: false,
    marked: true,
    area: AREA,
    looked_at: false,
    alike: false,
};

/// The same in large ones.
const HUGE: Point = Point { huge: true, ..SMALL };

/// The same as the first one in many areas.
const PARTS: Point = Point { area: 2, ..SMALL };

/// What is always measured.
const POINTS: [Point; 17] = [
    Point { marked: false, ..SMALL },
    SMALL,
    Point { gib: 4, ..SMALL },
    Point { gib: 16, ..SMALL },
    Point { gib: 64, ..SMALL },
    HUGE,
    Point { gib: 32, ..HUGE },
    Point { gib: 1024, ..HUGE },
    PARTS,
    Point { looked_at: true, ..SMALL },
    Point { gib: 32, looked_at: true, ..HUGE },
    Point { devices: 2, ..HUGE },
    Point { devices: 4, ..HUGE },
    Point { devices: 8, ..HUGE },
    Point { devices: 8, alike: true, ..HUGE },
    Point { devices: 32, ..HUGE },
    Point { devices: MOST_DEVICES, ..HUGE },
];

/// What takes a quarter of an hour, and two GiB of tables.
const FULL: [Point; 2] = [Point { gib: 256, ..SMALL }, Point { gib: 1024, ..SMALL }];

/// What it is called to measure what preserving tables costs, and the longest gap between DMA writes.
const TABLES: &str = "bench-tables";
const GAPS: &str = "bench-gaps";

/// Pages of memory that are preserved, without a device.
#[derive(Clone, Copy, PartialEq)]
struct Pages {
    count: u64,
    /// Whether each is by itself, and not next to others.
    isolated: bool,
}

/// How many pages.
const PAGES: [u64; 4] = [8192, 16384, 32768, 65536];

/// A device whose owner preserves and closes everything in rounds, and has it frozen.
#[derive(Clone, Copy, PartialEq)]
struct Rounds {
    /// Whether a hostile neighbour does the same with what is large, all the time.
    beside: bool,
}

/// How often it does.
const ROUNDS: u32 = 200;

/// How much a hostile neighbour may add, in percent.
const MAY_ADD: f64 = 5.0;

/// What a hostile neighbour may add little to: what is counted, and what it is called.
const BESIDE: [(&str, &str); 3] =
    [("preserve-all", "preserving"), ("close-all", "closing"), ("freeze-session", "freezing")];

/// What the percentage is called that a hostile neighbour adds to something.
fn adds_to(name: &str) -> String {
    format!("a hostile neighbour adds to {name}, in %")
}

/// How many devices have a root port each.  More are behind switches: there are too few root ports.
const ON_ROOT_PORTS: usize = 8;

/// How many devices are behind a switch.
const ON_SWITCH: usize = 32;

/// How many buses a switch takes: one for its upstream port, one for all its downstream ports, and one
/// per device.
const BUSES_OF_SWITCH: usize = ON_SWITCH + 2;

/// How many devices there are at most.  There are buses for seven switches, but enumerating what is
/// behind them takes QEMU more than five minutes per boot.
const MOST_DEVICES: usize = 4 * ON_SWITCH;

/// What goes on behind a root port.
const IGB: &str = "igb";

/// What goes on behind a switch.  It has no I/O ports, of which there are too few for that many.
const NVME: &str = "nvme,serial=bench";

/// What the second kernel says when it knows what memory it has, what was handed over included. Until
/// then it waits for nothing, as it does later: waiting counts, too.
const MEMORY: &str = "Memory: ";

/// What is noted in the first kernel's log just before it is asked for the kexec.
const KEXEC: &str = "LU-KEXEC";

/// What it says before it looks at what an IOMMU has, and after.
const UNIT: [&str; 2] =
    ["DMAR: dmar0: Using Queued invalidation", "pci 0000:00:00.0: Adding to iommu"];

impl Point {
    fn name(&self) -> String {
        let Self { devices, gib, huge, marked, area, looked_at, alike } = self;
        let page = if *huge { "2M" } else { "4K" };
        let marked = if *marked { "" } else { "-unmarked" };
        let area = if *area == AREA { String::new() } else { format!("-by-{area}M") };
        let looked_at = if *looked_at { "-looked-at" } else { "" };
        let alike = if *alike { "-alike" } else { "" };
        format!("bench-{devices}x{gib}G-{page}{marked}{area}{looked_at}{alike}")
    }

    fn is_behind_switch(&self) -> bool {
        self.alike || self.devices > ON_ROOT_PORTS
    }

    /// What its machine has.
    fn slots(&self) -> Vec<Slot> {
        let device = |model: &str| Device { model: model.to_owned(), backend: Backend::None };
        if !self.is_behind_switch() {
            return vec![Slot::Device(device(IGB)); self.devices];
        }
        let switch = Slot::Fixed(vec![device(NVME); ON_SWITCH]);
        vec![switch; self.devices.div_ceil(ON_SWITCH)]
    }

    /// The addresses of the devices.
    fn bdfs(&self) -> Vec<String> {
        let buses = (0..self.devices).map(|number| {
            if !self.is_behind_switch() {
                return 1 + number;
            }
            1 + number / ON_SWITCH * BUSES_OF_SWITCH + 2 + number % ON_SWITCH
        });
        buses.map(|bus| format!("0000:{bus:02x}:00.0")).collect()
    }

    /// The test that measures it.
    fn test(&self) -> VmTest {
        let flag = |is_set, flag| if is_set { flag } else { "" };
        let unmarked = flag(!self.marked, " --unmarked");
        let cdevs = (0..self.devices).map(|number| format!(" /dev/vfio/devices/vfio{number}"));
        let cdevs = cdevs.collect::<Vec<_>>().concat();
        let bench = "iommu/iommufd_liveupdate_bench";
        let setup = format!("vfio/scripts/setup.sh {}", self.bdfs().join(" "));
        let preserve = format!(
            "{bench} --stage 1 --size {} --area {}{}{unmarked}{}{cdevs}",
            self.gib,
            self.area,
            flag(self.huge, " --huge"),
            flag(self.looked_at, " --look"),
        );
        let retrieve = format!("{bench} --stage 2{unmarked} {}", self.devices);
        let first = vec![Do::Need(setup.clone()), Do::Test(preserve)];
        let second = vec![
            Do::Need("iommu/iommufd_liveupdate_bench --now".to_owned()),
            Do::Need("mount -t tracefs trace /sys/kernel/tracing".to_owned()),
            Do::Need("cat /sys/kernel/tracing/trace".to_owned()),
            Do::Need(setup),
            Do::Test(retrieve),
        ];
        let traced = "nokaslr trace_event=iommu:attach_device_to_domain trace_clock=x86-tsc";
        let machine =
            Machine { memory: "12G".to_owned(), slots: self.slots(), ..Machine::default() };
        test(self.name(), machine, vec![stage("nokaslr", first), stage(traced, second)])
    }
}

impl Pages {
    /// All that are measured, what is compared one after the other.
    fn all() -> impl Iterator<Item = Self> {
        let of = |isolated| PAGES.iter().map(move |&count| Self { count, isolated });
        of(false).chain(of(true))
    }

    fn name(&self) -> String {
        format!("bench-{}-pages{}", self.count, if self.isolated { "-isolated" } else { "" })
    }

    /// The test that measures them.
    fn test(&self) -> VmTest {
        let bench = format!("iommu/iommufd_liveupdate_bench --pages {} --stage", self.count);
        let isolated = if self.isolated { " --isolated" } else { "" };
        let first = vec![Do::Test(format!("{bench} 1{isolated}"))];
        let second = vec![
            Do::Need("iommu/iommufd_liveupdate_bench --now".to_owned()),
            Do::Test(format!("{bench} 2")),
        ];
        let machine = Machine { memory: "4G".to_owned(), ..Machine::default() };
        let told = "nokaslr";
        test(self.name(), machine, vec![stage(told, first), stage(told, second)])
    }
}

impl Rounds {
    /// What is compared.
    const ALL: [Self; 2] = [Self { beside: false }, Self { beside: true }];

    const fn name(self) -> &'static str {
        if self.beside { "bench-rounds-beside-a-neighbour" } else { "bench-rounds" }
    }

    /// The test that measures it.  The neighbour's device is there even if the neighbour is not. The
    /// third device refuses kexecs into the image that is loaded.
    fn test(self) -> VmTest {
        let bench = "iommu/iommufd_liveupdate_bench";
        let bdfs = "0000:01:00.0 0000:02:00.0 0000:03:00.0";
        let setup = Do::Need(format!("vfio/scripts/setup.sh {bdfs}"));
        let cdev = |number| format!("/dev/vfio/devices/vfio{number}");
        let neighbour =
            if self.beside { format!("--neighbour {} ", cdev(1)) } else { String::new() };
        let first = vec![
            setup.clone(),
            Do::Need("load_next".to_owned()),
            Do::Test(format!(
                "{bench} --stage 1 --huge --rounds {ROUNDS} --refuser {} {neighbour}{}",
                cdev(2),
                cdev(0),
            )),
        ];
        let second = vec![
            Do::Need(format!("{bench} --now")),
            setup,
            Do::Test(format!("{bench} --stage 2 1")),
        ];
        let device = Slot::Device(Device { model: IGB.to_owned(), backend: Backend::None });
        let machine =
            Machine { memory: "4G".to_owned(), slots: vec![device; 3], ..Machine::default() };
        test(
            self.name().to_owned(),
            machine,
            vec![stage("nokaslr", first), stage("nokaslr", second)],
        )
    }
}

/// A boot of a test that measures something.
fn stage(cmdline: &str, commands: Vec<Do>) -> Stage {
    Stage { kernel: Variant::Bench, cmdline: cmdline.to_owned(), commands, ..Stage::default() }
}

/// A test that measures something.
fn test(name: String, machine: Machine, stages: Vec<Stage>) -> VmTest {
    VmTest {
        name,
        about: "what a live update costs".to_owned(),
        pitfalls: Vec::new(),
        machine: Machine { counts_instructions: true, ..machine },
        stages,
        timeout: Duration::from_secs(3600),
        judge: None,
        is_repetition: false,
        variations: Vec::new(),
    }
}

/// What was counted in one run: instructions, and the number of tables.
type Counts = BTreeMap<String, u64>;

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
        if let ["LU-COUNT", what, count] = line.text.split(' ').collect::<Vec<_>>()[..] {
            counts.insert(what.to_owned(), count.parse()?);
        }
    }
    let first = Log::of(evidence, 0)?;
    let second = Log::of(evidence, 1)?;
    let jump = first.said(STARTING_NEW_KERNEL)?;
    let took = |from: u64, to: u64| to.checked_sub(from).context("something ended before it began");
    counts.insert("shutdown".to_owned(), took(first.tsc, jump)?);
    counts.insert("freeze".to_owned(), took(first.said(KEXEC)?, jump)?);
    counts.insert("boot-memory".to_owned(), took(jump, second.said(MEMORY)?)?);
    counts.insert("boot".to_owned(), took(jump, second.tsc)?);
    Ok(counts)
}

/// What the second kernel counted of units and devices.
fn counts_of_devices(evidence: &Evidence) -> Result<Counts> {
    let second = Log::of(evidence, 1)?;
    let [from, to] = [second.said(UNIT[0])?, second.said(UNIT[1])?];
    let unit = to.checked_sub(from).context("something ended before it began")?;
    let counts = [("boot-unit", unit), ("boot-attach", attaching(evidence)?)];
    Ok(counts.map(|(what, count)| (what.to_owned(), count)).into())
}

/// What a kernel said, and when, by the time stamp counter.
struct Log<'a> {
    lines: Vec<(u64, &'a str)>,
    /// When it was asked for the time.
    tsc: u64,
}

impl<'a> Log<'a> {
    /// The log of the kernel with this number, from 0 on.
    fn of(evidence: &'a Evidence, number: usize) -> Result<Self> {
        let texts = evidence.console.iter().map(|line| line.text.as_str());
        let lines: Vec<(u64, &str)> =
            texts.filter_map(|text| Some((nanoseconds(text)?, message(text)))).collect();
        let starts =
            lines.iter().enumerate().filter(|(_, (_, text))| text.starts_with(FIRST_WORDS));
        let starts: Vec<usize> = starts.map(|(index, _)| index).collect();
        let start = *starts.get(number).with_context(|| format!("kernel {number} never ran"))?;
        let end = starts.get(number + 1).copied().unwrap_or(lines.len());
        let lines = lines[start..end].to_vec();
        let time = lines.iter().find_map(|(at, text)| Some((*at, text.strip_prefix("LU-TSC ")?)));
        let (at, tsc) = time.with_context(|| format!("kernel {number} never said the time"))?;
        let tsc: u64 = tsc.trim().parse()?;
        let by_tsc = |(then, text): (u64, &'a str)| ((tsc + then).saturating_sub(at), text);
        Ok(Self { lines: lines.into_iter().map(by_tsc).collect(), tsc })
    }

    /// When the kernel said something that begins so.
    fn said(&self, words: &str) -> Result<u64> {
        let line = self.lines.iter().find(|(_, text)| text.starts_with(words));
        line.map(|(at, _)| *at).with_context(|| format!("no kernel said `{words}`"))
    }
}

/// What the second kernel takes to attach the devices of a run to their first domain, and the ports
/// of the switches they are behind, each from when it had attached the one before.
fn attaching(evidence: &Evidence) -> Result<u64> {
    let events: Vec<(u64, &str)> = evidence
        .output
        .iter()
        .filter_map(|line| {
            let (before, device) =
                line.text.split_once(": attach_device_to_domain: IOMMU: device=")?;
            Some((before.split_whitespace().last()?.parse().ok()?, device))
        })
        .collect();
    let pairs = events.windows(2).filter(|pair| !pair[1].1.starts_with("0000:00:"));
    let took: Vec<u64> = pairs.map(|pair| pair[1].0 - pair[0].0).collect();
    ensure!(!took.is_empty(), "no device was attached to anything");
    Ok(took.iter().sum())
}

/// What the clock of a kernel showed, from the start of a message.
fn nanoseconds(line: &str) -> Option<u64> {
    let (stamp, _) = line.strip_prefix('[')?.split_once(']')?;
    let (seconds, micros) = stamp.trim().split_once('.')?;
    Some((seconds.parse::<u64>().ok()? * 1_000_000 + micros.parse::<u64>().ok()?) * 1000)
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
    let test = test(TABLES.to_owned(), Machine::default(), vec![stage]);
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

/// What a run wrote, or nothing.
struct Written(serde_json::Value);

impl Written {
    fn read(path: &Path) -> Self {
        let text = fs::read_to_string(path).unwrap_or_default();
        Self(serde_json::from_str(&text).unwrap_or_default())
    }

    fn list(&self, name: &str) -> impl Iterator<Item = &serde_json::Value> {
        self.0[name].as_array().into_iter().flatten()
    }

    fn figure(&self, what: &str) -> Option<f64> {
        self.list("figures").find(|figure| figure["what"] == what)?["figure"].as_f64()
    }

    /// What a step took by the number of tables, of one device.
    fn by_tables(&self, what: &str) -> Vec<(f64, f64)> {
        let usual = |point: &&serde_json::Value| {
            point["devices"] == 1
                && point["marked"] == true
                && point["area_mib"] == AREA
                && point["looked_at"] == false
        };
        let at = |point: &serde_json::Value| {
            let counts = &point["counts"];
            Some((counts["tables"].as_f64()?, counts[what].as_f64()?))
        };
        let mut all: Vec<(f64, f64)> = self.list("points").filter(usual).filter_map(at).collect();
        all.sort_by(|one, other| one.0.total_cmp(&other.0));
        all
    }
}

/// Everything that was measured.
struct Results {
    points: Vec<(Point, Counts)>,
    pages: Vec<(Pages, Counts)>,
    rounds: Vec<(Rounds, Counts)>,
    tables: Option<[u64; 3]>,
    gaps: Option<[f64; 2]>,
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

    /// What each page costs the next kernel, by itself or not, from one number of them to another.
    fn per_page(&self) -> Vec<(String, Option<f64>, &'static str)> {
        let pairs = self.pages.windows(2).filter(|pair| pair[0].0.isolated == pair[1].0.isolated);
        let figure = |pair: &[(Pages, Counts)]| {
            let [(less, few), (more, many)] = pair else { return None };
            let took = |counts: &Counts| Some(*counts.get("boot")? as f64);
            let page = (took(many)? - took(few)?) / (more.count - less.count) as f64;
            let kind = if more.isolated { "isolated page" } else { "page" };
            let what = format!("boot: per {kind}, from {} to {}", less.count, more.count);
            Some((what, Some(page), "at most 300"))
        };
        pairs.filter_map(figure).collect()
    }

    /// What a hostile neighbour adds to what others do, and what that takes.
    ///
    /// What others have frozen takes what the thread that calls `reboot(2)` executes, until it is told
    /// that the kexec was refused. The neighbour's own files are frozen by that thread, too: they count
    /// by themselves.
    fn beside(&self) -> Vec<(String, Option<f64>, &'static str)> {
        let took = |beside, what: &str| {
            let (_, counts) = self.rounds.iter().find(|(rounds, _)| rounds.beside == beside)?;
            counts.get(what).map(|count| *count as f64)
        };
        let added = |what: &str| Some(took(true, what)? - took(false, what)?);
        let percent = |(what, name): (&str, &str)| {
            let percent =
                added(what).zip(took(false, what)).map(|(more, alone)| more / alone * 100.0);
            (adds_to(name), percent, "less than 5")
        };
        let alone = |what| took(false, what);
        let memfds = alone("freeze-session").zip(alone("freeze-device"));
        let memfd = memfds
            .map(|(many, none)| many - none)
            .zip(alone("own-files"))
            .map(|(took, count)| took / count);
        let others = [
            ("a hostile neighbour adds to freezing a device", added("freeze-device")),
            ("a hostile neighbour adds to that, in sleeps", added("freeze-device-sleeps")),
            ("a hostile neighbour's own files add to freezing all", added("freeze-all")),
            ("freeze a memfd", memfd),
            ("freezing, by the clock", alone("freeze-session-clock")),
            ("freezing beside a neighbour, by the clock", took(true, "freeze-session-clock")),
        ];
        let others = others.map(|(what, figure)| (what.to_owned(), figure, ""));
        BESIDE.map(percent).into_iter().chain(others).collect()
    }

    /// Figures that say something by themselves, each with what it is meant to be.
    fn figures(&self) -> Vec<(String, Option<f64>, &'static str)> {
        let attach = |point: Point| Some(self.get(point, "boot-attach")? / point.devices as f64);
        let tables = self.tables.map(|tables| tables.map(|number| number as f64));
        let (tib, large) = (Point { gib: 1024, ..HUGE }, Point { gib: 64, ..SMALL });
        let pages = (64u64 << 30 >> 12) as f64;
        let preserve = |point| self.get(point, "preserve-iommufd");
        // What it takes more to look at each leaf, of which there are as many.
        let look = |point: Point, leaves: u64| {
            let looked_at = preserve(Point { looked_at: true, ..point })?;
            Some((looked_at - preserve(point)?) / leaves as f64)
        };
        let areas = preserve(PARTS).zip(preserve(SMALL));
        let areas =
            areas.map(|(many, few)| (many - few) / (1024 / PARTS.area - 1024 / AREA) as f64);
        let mut figures = self.per_page();
        let others = [
            ("boot: attach a device to 1 GiB again", attach(HUGE), ""),
            ("boot: attach a device to 1 TiB again", attach(tib), "the same within 10 %"),
            ("boot: attach one of eight devices", attach(Point { devices: 8, ..HUGE }), ""),
            (
                "boot: attach a device that nothing is known of",
                attach(Point { marked: false, ..SMALL }),
                "",
            ),
            (
                "boot: find memory, per table that was preserved",
                self.marginal("boot-memory", large, SMALL, "tables"),
                "at most 150",
            ),
            (
                "preserve a table",
                tables.map(|[count, all, _]| all / count),
                "at most 1.5 times what KHO takes",
            ),
            ("preserve a page with KHO", tables.map(|[count, _, alone]| alone / count), ""),
            ("map a page of 4 KiB", self.get(large, "map").map(|took| took / pages), ""),
            (
                "preserve an iommufd: per table",
                self.marginal("preserve-iommufd", large, SMALL, "tables"),
                "at most 1000",
            ),
            ("preserve an iommufd: per area", areas, "at most 2000"),
            ("look at a page of 4 KiB", look(SMALL, 1 << 30 >> 12), "at most 100"),
            (
                "look at a page of 2 MiB",
                look(Point { gib: 32, ..HUGE }, 32 << 30 >> 21),
                "at most 500",
            ),
        ];
        figures.extend(others.map(|(what, figure, goal)| (what.to_owned(), figure, goal)));
        figures.extend(self.per_device());
        figures.extend(self.beside());
        figures
    }

    /// What each of many devices takes, by itself, beside each of few, and what one takes.
    fn per_device(&self) -> Vec<(String, Option<f64>, &'static str)> {
        const FEW: usize = ON_ROOT_PORTS;
        let each = |devices: usize, alike, what| {
            Some(self.get(Point { devices, alike, ..HUGE }, what)? / devices as f64)
        };
        let ratio = |what| {
            let many = each(MOST_DEVICES, false, what);
            let ratio = many.zip(each(FEW, true, what)).map(|(many, few)| many / few);
            let what = format!("{what}: one of {MOST_DEVICES} to one of {FEW} devices");
            (what, ratio, "at most 1.2")
        };
        let mut figures: Vec<_> =
            ["preserve-device", "retrieve-device", "freeze"].into_iter().map(ratio).collect();
        let alone = [
            ("mark", "at most 1.2 times 2528"),
            ("preserve-device", ""),
            ("retrieve-device", "at most 1.2 times 9971"),
        ];
        figures.extend(
            alone.map(|(what, goal)| (format!("{what}: alone"), each(1, false, what), goal)),
        );
        figures
    }

    fn print(&self, before: &Written) {
        println!("\nInstructions for all devices of a run");
        let pages = self.pages.iter().map(|(pages, counts)| (pages.name(), counts));
        let points = self.points.iter().map(|(point, counts)| (point.name(), counts));
        let rounds = self.rounds.iter().map(|(rounds, counts)| (rounds.name().to_owned(), counts));
        for (name, counts) in points.chain(pages).chain(rounds) {
            println!("  {name}");
            for (what, count) in counts {
                println!("    {what:<25} {count:>16}");
            }
        }
        println!("\n{:<54} {:>14} {:>14}  goal", "Instructions for one of each", "now", "before");
        for (what, figure, goal) in self.figures() {
            let [now, before] = [figure, before.figure(&what)]
                .map(|figure| figure.map_or("-".to_owned(), |figure| format!("{figure:.1}")));
            println!("  {what:<52} {now:>14} {before:>14}  {goal}");
        }
        if let Some([update, idle]) = self.gaps.map(|gaps| gaps.map(|gap| gap * 1e3)) {
            println!("\nLongest gap between two DMA writes, by the clock of the host");
            println!("  through a live update {update:.1} ms, in an idle run {idle:.1} ms\n");
        }
    }

    fn json(&self) -> serde_json::Value {
        let points = self.points.iter().map(|(point, counts)| {
            json!({
                "devices": point.devices,
                "gib": point.gib,
                "page": if point.huge { "2M" } else { "4K" },
                "marked": point.marked,
                "area_mib": point.area,
                "looked_at": point.looked_at,
                "alike": point.alike,
                "counts": counts,
            })
        });
        let pages = self.pages.iter().map(|(pages, counts)| {
            json!({ "pages": pages.count, "isolated": pages.isolated, "counts": counts })
        });
        let rounds = self
            .rounds
            .iter()
            .map(|(rounds, counts)| json!({ "neighbour": rounds.beside, "counts": counts }));
        let figures = self
            .figures()
            .into_iter()
            .map(|(what, figure, goal)| json!({ "what": what, "figure": figure, "goal": goal }));
        let tables = self.tables.map(
            |[count, all, alone]| json!({ "count": count, "preserve": all, "kho_alone": alone }),
        );
        let gaps = self.gaps.map(|[update, idle]| json!({ "live_update": update, "idle": idle }));
        json!({
            "points": points.collect::<Vec<_>>(),
            "pages": pages.collect::<Vec<_>>(),
            "rounds": rounds.collect::<Vec<_>>(),
            "figures": figures.collect::<Vec<_>>(),
            "tables": tables,
            "longest_gap_s": gaps,
        })
    }

    /// What is drawn: what depends on the number of tables, and below it what a hostile neighbour adds.
    fn plot(&self, before: &Written, path: &Path) -> Result<()> {
        let now = Written(self.json());
        let area = SVGBackend::new(path, (960, 880)).into_drawing_area();
        area.fill(&WHITE)?;
        let (tables, beside) = area.split_vertically(640);
        plot_tables(&now, before, &tables)?;
        plot_beside(&now, before, &beside)?;
        area.present()?;
        Ok(())
    }
}

/// Where something is drawn.
type Drawing<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// What depends on the number of tables, of one device: now, and thin before.
fn plot_tables(now: &Written, before: &Written, area: &Drawing<'_>) -> Result<()> {
    /// What is drawn, and how.
    const LINES: [(&str, RGBColor); 5] = [
        ("map", BLACK),
        ("preserve-iommufd", BLUE),
        ("boot-attach", RED),
        ("boot-memory", MAGENTA),
        ("finish", GREEN),
    ];
    let mut chart = ChartBuilder::on(area)
        .caption("Live update of a device that goes on", ("sans-serif", 24))
        .margin(16)
        .x_label_area_size(48)
        .y_label_area_size(96)
        .build_cartesian_2d((1f64..1e6).log_scale(), (1e3f64..1e12).log_scale())?;
    chart.configure_mesh().x_desc("tables").y_desc("instructions").draw()?;
    for (what, color) in LINES {
        chart.draw_series(DashedLineSeries::new(
            before.by_tables(what),
            4,
            4,
            color.mix(0.5).stroke_width(1),
        ))?;
        chart
            .draw_series(LineSeries::new(now.by_tables(what), color.stroke_width(2)))?
            .label(what)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 20, y)], color));
    }
    chart.configure_series_labels().border_style(BLACK).background_style(WHITE).draw()?;
    Ok(())
}

/// What a hostile neighbour adds, in percent: now, and pale before; and how much it may.
fn plot_beside(now: &Written, before: &Written, area: &Drawing<'_>) -> Result<()> {
    let percents = |written: &Written| BESIDE.map(|(_, name)| written.figure(&adds_to(name)));
    let [now, before] = [now, before].map(percents);
    let all = now.iter().chain(&before).flatten().copied();
    let most = all.fold(2.0 * MAY_ADD, |most: f64, percent| most.max(percent.abs()));
    let mut chart = ChartBuilder::on(area)
        .caption("What a hostile neighbour adds", ("sans-serif", 24))
        .margin(16)
        .x_label_area_size(24)
        .y_label_area_size(96)
        .build_cartesian_2d((0..BESIDE.len() - 1).into_segmented(), -most..most)?;
    let name = |at: &SegmentValue<usize>| match at {
        SegmentValue::CenterOf(index) => BESIDE.get(*index).map_or("", |(_, name)| name).to_owned(),
        _ => String::new(),
    };
    chart.configure_mesh().disable_x_mesh().x_label_formatter(&name).y_desc("%").draw()?;
    for (percents, margin, style) in [(before, 32, BLUE.mix(0.3)), (now, 64, BLUE.mix(1.0))] {
        let bars = percents.iter().enumerate().filter_map(|(index, percent)| {
            let (left, right) = (SegmentValue::Exact(index), SegmentValue::Exact(index + 1));
            let mut bar = Rectangle::new([(left, 0.0), (right, (*percent)?)], style.filled());
            bar.set_margin(0, 0, margin, margin);
            Some(bar)
        });
        chart.draw_series(bars)?;
    }
    let ends = [SegmentValue::Exact(0), SegmentValue::Exact(BESIDE.len())];
    let limit = ends.map(|end| (end, MAY_ADD));
    chart.draw_series(LineSeries::new(limit, RED.stroke_width(1)))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serial::Line;

    fn line(text: &str) -> Line {
        Line { at: 0.0, text: text.to_owned() }
    }

    fn measured() -> Evidence {
        let trace = |at: u64, device| {
            line(&format!(
                "  swapper/0-1 [000] .....  {at}: attach_device_to_domain: IOMMU: device={device}"
            ))
        };
        Evidence {
            console: vec![
                line("[    0.000000] Linux version 7.3.4"),
                line("[    2.000100] LU-TSC 5000000000"),
                line("[    2.300200] LU-KEXEC"),
                line("[    2.500200] kexec_core: Starting new kernel"),
                line("[    0.000000] Linux version 7.3.4"),
                line("[    0.100000] Memory: 1K/2K available"),
                line("[    0.200000] DMAR: dmar0: Using Queued invalidation"),
                line("[    0.200300] pci 0000:00:00.0: Adding to iommu group 0"),
                line("[    0.600000] LU-TSC 6200000000"),
            ],
            output: vec![
                line("LU-COUNT map 17"),
                trace(100, "0000:00:00.0"),
                trace(150, "0000:00:01.0"),
                trace(1150, "0000:01:00.0"),
                trace(2160, "0000:02:00.0"),
            ],
            ..Evidence::default()
        }
    }

    #[test]
    fn counts_are_of_programs_and_of_kernels() {
        let mut counts = counts(&measured()).expect("counts");
        counts.append(&mut counts_of_devices(&measured()).expect("counts of devices"));
        let expected = [
            ("boot", 699_900_000),
            ("boot-attach", 2010),
            ("boot-memory", 199_900_000),
            ("boot-unit", 300_000),
            ("freeze", 200_000_000),
            ("map", 17),
            ("shutdown", 500_100_000),
        ];
        assert_eq!(counts, expected.map(|(what, count)| (what.to_owned(), count)).into());
    }

    #[test]
    fn what_was_not_said_is_an_error() {
        let all = |evidence: &Evidence| counts(evidence).and(counts_of_devices(evidence));
        for missing in 0..measured().console.len() {
            let mut evidence = measured();
            evidence.console.remove(missing);
            assert!(all(&evidence).is_err(), "{missing}");
        }
        let mut evidence = measured();
        evidence.output.truncate(3);
        assert!(all(&evidence).is_err());
    }

    #[test]
    fn marginal_cost_is_that_of_what_there_is_more() {
        let counts = |boot, tables| {
            [("boot", boot), ("tables", tables)].map(|(a, b): (&str, u64)| (a.to_owned(), b)).into()
        };
        let rounds = |took, frozen| {
            let counts = [
                ("close-all", took),
                ("freeze-session", frozen),
                ("freeze-device", 5000),
                ("freeze-all", frozen * 10),
                ("freeze", frozen * 100),
                ("own-files", 1000),
            ];
            counts.map(|(what, count): (&str, u64)| (what.to_owned(), count)).into()
        };
        let large = Point { gib: 64, ..SMALL };
        let results = Results {
            points: vec![(SMALL, counts(1000, 10)), (large, counts(2000, 30))],
            pages: Pages::all().map(|pages| (pages, counts(7000 + pages.count * 3, 0))).collect(),
            rounds: Rounds::ALL
                .into_iter()
                .zip([rounds(200, 1_005_000), rounds(204, 1_015_050)])
                .collect(),
            tables: Some([10, 1500, 1000]),
            gaps: None,
        };
        assert_eq!(results.marginal("boot", large, SMALL, "tables"), Some(50.0));
        assert_eq!(results.marginal("boot", HUGE, SMALL, "tables"), None);
        let figure = |what| {
            results
                .figures()
                .into_iter()
                .find(|(name, ..)| name == what)
                .and_then(|(_, figure, _)| figure)
        };
        assert_eq!(figure("preserve a table"), Some(150.0));
        assert_eq!(figure("map a page of 4 KiB"), None);
        assert_eq!(figure("boot: per page, from 8192 to 16384"), Some(3.0));
        assert_eq!(figure("boot: per isolated page, from 32768 to 65536"), Some(3.0));
        assert_eq!(results.per_page().len(), 6);
        assert_eq!(figure("a hostile neighbour adds to closing, in %"), Some(2.0));
        assert_eq!(figure("a hostile neighbour adds to preserving, in %"), None);
        assert_eq!(figure("a hostile neighbour adds to freezing, in %"), Some(1.0));
        assert_eq!(figure("a hostile neighbour adds to freezing a device"), Some(0.0));
        let own = figure("a hostile neighbour's own files add to freezing all");
        assert_eq!(own, Some(100_500.0));
        assert_eq!(figure("freeze a memfd"), Some(1000.0));
        assert_eq!(figure("freezing, by the clock"), None);
        let written = Written(results.json());
        assert_eq!(written.figure("preserve a table"), Some(150.0));
        assert_eq!(written.by_tables("boot"), [(10.0, 1000.0), (30.0, 2000.0)]);
        let nothing = Written::read(Path::new("/nowhere/bench.json"));
        assert_eq!(nothing.figure("preserve a table"), None);
        assert_eq!(nothing.by_tables("boot"), []);
    }

    #[test]
    fn what_a_neighbour_adds_is_drawn_below_what_depends_on_tables() {
        let rounds = |took: u64| {
            BESIDE.map(|(what, _)| (what.to_owned(), took)).into_iter().collect::<Counts>()
        };
        let counts = [("tables".to_owned(), 10), ("map".to_owned(), 100_000)].into();
        let results = Results {
            points: vec![(SMALL, counts)],
            pages: Vec::new(),
            rounds: Rounds::ALL.into_iter().zip([rounds(1000), rounds(1030)]).collect(),
            tables: None,
            gaps: None,
        };
        let path = std::env::temp_dir().join(format!("lu-bench-{}.svg", std::process::id()));
        results.plot(&Written(results.json()), &path).expect("a plot");
        let drawn = fs::read_to_string(&path).expect("the plot");
        fs::remove_file(&path).expect("the plot is there");
        for text in ["preserve-iommufd", "preserving", "closing", "freezing"] {
            assert!(drawn.contains(text), "{text}");
        }
    }

    #[test]
    fn every_point_has_a_name_and_a_test_of_its_own() {
        let all: Vec<Point> = POINTS.into_iter().chain(FULL).collect();
        for (index, point) in all.iter().enumerate() {
            assert!(all[..index].iter().all(|other| other.name() != point.name()));
            let devices = point.test().machine.devices().count();
            assert!(devices == point.devices || point.alike && devices == ON_SWITCH);
            let mut bdfs = point.bdfs();
            bdfs.sort();
            bdfs.dedup();
            assert!(bdfs.len() == point.devices && bdfs.iter().all(|bdf| bdf.len() == 12));
        }
    }
}
