// SPDX-License-Identifier: GPL-2.0

//! A device's way through one live update after the other: its moments, and what took how long.

use std::time::Duration;

use crate::evidence::{Boot, Evidence, Phase};
use crate::judges::{self, BothEnds};

/// The phase of the first boot in which nothing happens to the device.
const IDLE: &str = "idle";

/// The phases of a boot that belong to the live update that ends it, and not to the one before.
const LEAVING: [&str; 2] = ["preserve", "kexec-load"];

/// Phases that say nothing about live updates.
const OTHER: [&str; 3] = [IDLE, "boot", "end"];

/// The phases of the next boot that have a mark where they begin, and what the mark is called.
const MARKED: [(&str, &str); 5] = [
    ("retrieve-memfd", "retrieve"),
    ("bind", "bind"),
    ("attach", "attach"),
    ("replace", "replace"),
    ("finish", "finish"),
];

/// Some time, from one moment to another, in host time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Span {
    /// Where it begins.
    pub from: f64,
    /// Where it ends.
    pub to: f64,
}

impl Span {
    /// How long it is, in seconds.
    pub fn length(self) -> f64 {
        self.to - self.from
    }
}

/// A moment with a name.
#[derive(Clone, Debug, PartialEq)]
pub struct Mark {
    /// Host time.
    pub at: f64,
    /// What happened.
    pub name: String,
}

/// One live update.
#[derive(Clone, Debug, PartialEq)]
pub struct Update {
    /// The first one is number 1.
    pub number: usize,
    /// What happened, in the order of time.
    pub marks: Vec<Mark>,
    /// From the last line of one kernel to the first one of the next.
    pub silence: Option<Span>,
    /// From when files are preserved until their session is finished.
    pub span: Option<Span>,
    /// What took how long, in the order of time.
    pub times: Vec<(String, Duration)>,
}

/// All of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Timeline {
    /// When frames were sent to the device, and when it wrote them.
    pub frames: BothEnds,
    /// The time in which nothing happened to the device.
    pub idle: Option<Span>,
    /// The live updates that were asked for.
    pub updates: Vec<Update>,
}

impl Timeline {
    /// What there is of it in a run.
    pub fn of(evidence: &Evidence) -> Self {
        let boots = evidence.boots();
        let idle = boots.first().and_then(|boot| phase(boot, IDLE)).map(span_of);
        let numbers = (1..).take_while(|number| evidence.update_asked(*number).is_some());
        Self {
            frames: judges::both_ends(evidence).unwrap_or_default(),
            idle,
            updates: numbers.map(|number| Update::of(evidence, &boots, number)).collect(),
        }
    }

    /// From the first frame to the last one, if there are any.
    pub fn span(&self) -> Option<Span> {
        let all = || self.frames.sent.iter().chain(&self.frames.written).copied();
        let (from, to) = (all().reduce(f64::min)?, all().reduce(f64::max)?);
        Some(Span { from, to })
    }
}

impl Update {
    fn of(evidence: &Evidence, boots: &[Boot], number: usize) -> Self {
        let boot = |stage| boots.iter().find(|boot| boot.stage == stage);
        let (before, after) = (boot(number), boot(number + 1));
        let (asked, jump) = (evidence.update_asked(number), evidence.jump(number));
        let silence = evidence.silence(number).map(|(from, to)| Span { from, to });
        let preserve = before.and_then(|boot| phase(boot, "preserve")).map(span_of);
        let finish = after.and_then(|boot| phase(boot, "finish")).map(span_of);

        let mut marks = Vec::new();
        let mut mark = |at: Option<f64>, name: String| {
            marks.extend(at.map(|at| Mark { at, name }));
        };
        mark(preserve.map(|span| span.from), "preserve".to_owned());
        mark(jump, "jump".to_owned());
        mark(silence.map(|span| span.from), format!("last line of kernel {number}"));
        mark(silence.map(|span| span.to), format!("first line of kernel {}", number + 1));
        for (name, shown) in MARKED {
            let begins = after.and_then(|boot| phase(boot, name)).map(|phase| span_of(phase).from);
            mark(begins, shown.to_owned());
        }
        marks.sort_by(|one, other| one.at.total_cmp(&other.at));

        let is_leaving = |phase: &&Phase| LEAVING.contains(&&*phase.name);
        let arrives = |phase: &&Phase| !is_leaving(phase) && !OTHER.contains(&&*phase.name);
        let named = |phase: &Phase| (phase.name.clone(), phase.took);
        let first = silence.map(|span| span.to);
        let between = [
            ("freeze and shutdown", asked, jump),
            ("jump to first line", jump, first),
            ("first line to init", first, after.map(|boot| boot.at)),
        ];
        let between = between.into_iter().filter_map(|(name, from, to)| {
            Some((name.to_owned(), Duration::from_secs_f64((to? - from?).max(0.0))))
        });
        let phases = |boot: Option<&'_ Boot>| boot.map(|boot| boot.phases.clone());
        let (leaving, arriving) = (phases(before), phases(after));
        let times = leaving.iter().flatten().filter(is_leaving).map(named).chain(between);
        let times = times.chain(arriving.iter().flatten().filter(arrives).map(named)).collect();
        Self {
            number,
            marks,
            silence,
            span: preserve.zip(finish).map(|(one, other)| Span { from: one.from, to: other.to }),
            times,
        }
    }
}

/// The phase of a boot that has this name.
fn phase<'a>(boot: &'a Boot, name: &str) -> Option<&'a Phase> {
    boot.phases.iter().find(|phase| phase.name == name)
}

/// When a phase was. The VM's clock says how long it took, and goes as the host's does.
fn span_of(phase: &Phase) -> Span {
    Span { from: phase.at - phase.took.as_secs_f64(), to: phase.at }
}

#[cfg(test)]
mod tests {
    use super::super::made_up::twice;
    use super::*;

    #[test]
    fn each_live_update_has_its_marks_in_order() {
        let timeline = Timeline::of(&twice());
        let marks = |update: &Update| {
            let each = update.marks.iter().map(|mark| format!("{:.3} {}", mark.at, mark.name));
            each.collect::<Vec<_>>()
        };
        let expected = [
            "5.250 preserve",
            "7.000 jump",
            "7.000 last line of kernel 1",
            "8.000 first line of kernel 2",
            "10.999 retrieve",
            "11.475 bind",
            "11.695 attach",
            "11.900 replace",
            "12.000 finish",
        ];
        assert_eq!(marks(&timeline.updates[0]), expected);
        assert_eq!(marks(&timeline.updates[1])[3], "15.000 first line of kernel 3");
        assert_eq!(timeline.updates.len(), 2);
    }

    #[test]
    fn marks_are_in_order_even_if_a_phase_took_longer_than_there_was_time() {
        let mut evidence = twice();
        let finish = evidence.output.iter_mut().find(|line| line.text.contains("finish"));
        finish.expect("a phase").text = "LU-PHASE finish 1 2000000000".to_owned();
        let marks = &Timeline::of(&evidence).updates[0].marks;
        assert!(marks.is_sorted_by_key(|mark| mark.at), "{marks:?}");
    }

    #[test]
    fn spans_are_those_of_phases_in_host_time() {
        let timeline = Timeline::of(&twice());
        assert_eq!(timeline.idle, Some(Span { from: 1.0, to: 5.0 }));
        let [first, second] = &timeline.updates[..] else { panic!("two live updates") };
        assert_eq!(first.span, Some(Span { from: 5.25, to: 12.5 }));
        assert_eq!(first.silence, Some(Span { from: 7.0, to: 8.0 }));
        assert!(second.span.is_some_and(|span| (span.length() - 6.9).abs() < 1e-9));
        assert_eq!(timeline.span().map(|span| span.from), Some(1.0));
    }

    #[test]
    fn times_are_those_of_one_live_update_from_both_kernels() {
        let timeline = Timeline::of(&twice());
        let times = |update: &Update| {
            let each = update.times.iter();
            each.map(|(name, took)| format!("{name} {}", took.as_millis())).collect::<Vec<_>>()
        };
        let expected = [
            "preserve 250",
            "kexec-load 500",
            "freeze and shutdown 500",
            "jump to first line 1000",
            "first line to init 2000",
            "retrieve-memfd 1",
            "retrieve-iommufd 1",
            "retrieve-device 1",
            "bind 25",
            "attach 5",
            "map 5",
            "replace 100",
            "finish 500",
        ];
        assert_eq!(times(&timeline.updates[0]), expected);
        assert_eq!(times(&timeline.updates[1])[0], "preserve 100");
    }

    #[test]
    fn run_that_ended_early_has_what_there_is() {
        assert_eq!(Timeline::of(&Evidence::default()).span(), None);
        let mut evidence = twice();
        evidence.output.retain(|line| line.at < 12.0);
        evidence.console.retain(|line| line.at < 12.0);
        let timeline = Timeline::of(&evidence);
        let [update] = &timeline.updates[..] else { panic!("one live update") };
        assert_eq!(update.span, None);
        assert_eq!(update.marks.last().map(|mark| &*mark.name), Some("attach"));
        evidence.output.retain(|line| line.at < 7.0);
        evidence.console.retain(|line| line.at < 7.0);
        let marks = Timeline::of(&evidence).updates[0].marks.clone();
        assert_eq!(marks.iter().map(|mark| &*mark.name).collect::<Vec<_>>(), ["preserve"]);
    }
}
