// SPDX-License-Identifier: GPL-2.0

//! What `make run` tells: one device's way through live updates.

use std::fs;
use std::io;

use anyhow::{Context as _, Result};

use crate::context::Context;
use crate::evidence::Boot;
use crate::job::Job;
use crate::verdict::{Case, Outcome, Totals};
use crate::vm::Report;
use crate::vm_test::VmTest;

mod labels;
#[cfg(test)]
mod made_up;
mod picture;
mod rates;
mod sketch;
mod timeline;

use rates::longest_gap;
use timeline::{Span, Timeline};

/// The claims that are shown, by words in their names. The first title that has one counts.
const CLAIMS: [(&str, &[&str]); 3] = [
    ("preserved", &["preserved", "marked"]),
    (
        "came back",
        &["retrieved", "its ID", "still", "more frames", "and back", "session is not", "finished"],
    ),
    ("DMA", &["frame", "writes", "written", "IOMMU", "translation", "root table", "remapping"]),
];

/// The claim whose name says how long the longest gap was: `gaps` shows that of each live update instead.
const FIGURE: &str = "longest gap between two DMA writes";

/// If the harness itself could not send for so many seconds, its host has other things to do.
const BUSY: f64 = 0.1;

/// How many columns there are where no terminal says so.
const COLUMNS: usize = 100;

/// Prints the story of a run of `job`, and draws its plot.
pub fn print(ctx: &Context, job: &Job, report: &Report) -> Result<()> {
    let test = &job.test;
    let boots = report.evidence.boots();
    let timeline = Timeline::of(&report.evidence);
    println!("\nLive updates of a passthrough device: {}\n", test.about);
    println!("  device     {}", device(test, &boots));
    for boot in &boots {
        println!("  kernel {}   {}", boot.stage, boot.kernel);
    }
    print_all(&claims(&report.cases));
    print_all(&times(&timeline));
    print_all(&gaps(&timeline));
    println!();
    print_all(&sketch::lines(&timeline, columns()));
    let picture = report.dir.join("frames.svg");
    let drawn = picture::draw(&timeline)?;
    if let Some(svg) = &drawn {
        fs::write(&picture, svg).with_context(|| format!("writing {}", ctx.show(&picture)))?;
    }

    let totals = Totals::of(&report.cases);
    println!("\n  {}: {totals}", if totals.is_good() { "It works" } else { "It FAILED" });
    for case in report.cases.iter().filter(|case| case.has_failed()) {
        println!("    {case}");
    }
    print_all(&busy(&timeline));
    match drawn {
        Some(_) => println!("  plot       {}", ctx.show(&picture)),
        None => println!("  plot       none, since no frame was sent"),
    }
    println!("  logs       {}", ctx.show(&report.dir));
    println!(
        "  read next  ARCHITECTURE.md; `make test` runs everything, `make help` lists the rest"
    );
    Ok(())
}

fn print_all(lines: &[String]) {
    lines.iter().for_each(|line| println!("{line}"));
}

/// How many columns the terminal has.
fn columns() -> usize {
    let size = rustix::termios::tcgetwinsize(io::stdout());
    // One that does not know says that there are none.
    size.ok().map(|size| usize::from(size.ws_col)).filter(|columns| *columns > 0).unwrap_or(COLUMNS)
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

/// The claims that are shown: those that ended alike once, with how often that was.
fn claims(cases: &[Case]) -> Vec<String> {
    let mut lines = Vec::new();
    let title_of = |case: &Case| {
        let has = |(_, words): &&(&str, &[&str])| words.iter().any(|word| case.name.contains(word));
        CLAIMS.iter().find(has).map(|(title, _)| *title)
    };
    for (title, _) in CLAIMS {
        lines.push(format!("  {title}"));
        let mut shown: Vec<(String, usize)> = Vec::new();
        for case in cases.iter().filter(|case| title_of(case) == Some(title)) {
            let line = claim(case);
            match shown.iter_mut().find(|(other, _)| *other == line) {
                _ if case.name.contains(FIGURE) => {}
                Some((_, times)) => *times += 1,
                None => shown.push((line, 1)),
            }
        }
        if shown.is_empty() {
            lines.push("    -     nothing got that far".to_owned());
        }
        lines.extend(shown.into_iter().map(|(line, times)| match times {
            1 => line,
            _ => format!("{line} ({times} times)"),
        }));
    }
    lines
}

/// A claim and how it ended, without whose it is.
fn claim(Case { name, outcome }: &Case) -> String {
    let name = name.split_once(": ").map_or(name.as_str(), |(_, name)| name);
    let name = name.strip_prefix("0000:01:00.0: ").unwrap_or(name);
    match outcome {
        Outcome::Passed => format!("    yes   {name}"),
        Outcome::Failed(why) => format!("    NO    {name}: {why}"),
        Outcome::Skipped(why) => format!("    -     {name} (skipped: {why})"),
    }
}

/// What took how long in each live update.
fn times(timeline: &Timeline) -> Vec<String> {
    let updates = &timeline.updates;
    if updates.is_empty() {
        return Vec::new();
    }
    let numbers = updates.iter().map(|update| format!("update {}", update.number));
    let mut lines = vec![format!("  {:<24}{}", "time", in_columns(numbers))];
    let mut names: Vec<&str> = Vec::new();
    for (name, _) in updates.iter().flat_map(|update| &update.times) {
        if !names.contains(&&**name) {
            names.push(name);
        }
    }
    lines.extend(names.iter().map(|name| {
        let took = updates.iter().map(|update| {
            let took = update.times.iter().find(|(other, _)| other == name);
            took.map_or("-".to_owned(), |(_, took)| format!("{:.3} ms", took.as_secs_f64() * 1e3))
        });
        format!("    {name:<22}{}", in_columns(took))
    }));
    lines.push("    (by the VM's clock; from one kernel to the next by the host's)".to_owned());
    lines
}

/// Cells of a table, each at the right of its column.
fn in_columns(cells: impl Iterator<Item = String>) -> String {
    let cells: Vec<String> = cells.map(|cell| format!("{cell:>14}")).collect();
    cells.concat()
}

/// The longest gaps: in an idle device, and during each live update.
fn gaps(timeline: &Timeline) -> Vec<String> {
    let idle = timeline.idle.map(|span| ("idle".to_owned(), span));
    let updates = timeline
        .updates
        .iter()
        .filter_map(|update| Some((format!("live update {}", update.number), update.span?)));
    let start = timeline.span().map_or(0.0, |span| span.from);
    let line = |(name, span): (String, Span)| {
        let written = longest_gap(&timeline.frames.written, span);
        let sent = longest_gap(&timeline.frames.sent, span);
        let name = format!("{name}, {:.1} s", span.length());
        let [ms, sent_ms] = [written, sent].map(|gap| format!("{:.1} ms", gap.length() * 1e3));
        format!("    {name:<22}{ms:>14}{sent_ms:>14}   at {:.2} s", written.from - start)
    };
    let lines: Vec<String> = idle.into_iter().chain(updates).map(line).collect();
    if lines.is_empty() {
        return lines;
    }
    let head = format!("  {:<24}{:>14}{:>14}", "longest gap in frames", "written", "sent");
    [head].into_iter().chain(lines).collect()
}

/// A hint at a host that is too busy for its times to say much.
fn busy(timeline: &Timeline) -> Vec<String> {
    let Some(span) = timeline.span() else {
        return Vec::new();
    };
    let gap = longest_gap(&timeline.frames.sent, span).length();
    if gap < BUSY {
        return Vec::new();
    }
    vec![format!(
        "  note       this machine is busy: for {:.0} ms it sent no frame itself, and gaps of the \
         device\n             say as little; run it again while nothing else runs",
        gap * 1e3
    )]
}

#[cfg(test)]
mod tests {
    use super::made_up::twice;
    use super::*;

    #[test]
    fn claims_are_shown_once_but_for_those_that_failed_otherwise() {
        let passed = |name: &str| Case::check(format!("x: {name}"), true, String::new);
        let cases = [
            passed("0000:01:00.0: device is preserved"),
            passed("0000:01:00.0: device is retrieved"),
            passed("0000:01:00.0: device is preserved"),
            Case::failed("x: 0000:01:00.0: device is retrieved", "no"),
            passed("there is another HWPT"),
            passed("longest gap between two DMA writes: 3 ms (between two frames sent: 3 ms)"),
            passed("translation is never off"),
        ];
        let expected = [
            "  preserved",
            "    yes   device is preserved (2 times)",
            "  came back",
            "    yes   device is retrieved",
            "    NO    device is retrieved: no",
            "  DMA",
            "    yes   translation is never off",
        ];
        assert_eq!(claims(&cases), expected);
        assert_eq!(claims(&cases[..3])[4..], ["  DMA", "    -     nothing got that far"]);
    }

    #[test]
    fn times_of_live_updates_stand_beside_each_other() {
        let lines = times(&Timeline::of(&twice()));
        assert_eq!(lines[0], "  time                          update 1      update 2");
        assert_eq!(lines[1], "    preserve                  250.000 ms    100.000 ms");
        let iommufd = "    retrieve-iommufd            1.000 ms             -";
        assert!(lines.iter().any(|line| line == iommufd), "{lines:#?}");
        assert_eq!(times(&Timeline::default()), [""; 0]);
    }

    #[test]
    fn gaps_stand_beside_that_of_an_idle_device() {
        let expected = [
            "  longest gap in frames          written          sent",
            "    idle, 4.0 s                  10.0 ms       10.0 ms   at 0.00 s",
            "    live update 1, 7.2 s         10.0 ms       10.0 ms   at 4.24 s",
            "    live update 2, 6.9 s         59.5 ms       10.0 ms   at 13.19 s",
        ];
        let lines = gaps(&Timeline::of(&twice()));
        assert_eq!(lines[0], expected[0]);
        assert_eq!(lines[3], expected[3]);
        // Where all gaps are as long, rounding says which one is the longest.
        let without_place = |line: &str| line.split(" at ").next().map(str::to_owned);
        assert!(lines.iter().map(|line| without_place(line)).eq(expected.map(without_place)));
        assert_eq!(gaps(&Timeline::default()), [""; 0]);
    }

    #[test]
    fn busy_host_is_told_of() {
        let mut timeline = Timeline::of(&twice());
        assert_eq!(busy(&timeline), [""; 0]);
        timeline.frames.sent.retain(|at| !(9.0..9.33).contains(at));
        assert!(
            busy(&timeline)[0].contains("for 340 ms it sent no frame"),
            "{:?}",
            busy(&timeline)
        );
    }
}
