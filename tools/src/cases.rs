// SPDX-License-Identifier: GPL-2.0

//! What the run of a VM test comes down to: a case for each claim.

use std::time::Duration;

use crate::evidence::{Boot, Evidence, Run};
use crate::job::Job;
use crate::ktap;
use crate::splat::Matcher;
use crate::verdict::Case;
use crate::vm_test::{Do, Stage};

/// How many of a hanging VM's last lines are shown.
const SHOWN_LINES: usize = 15;

/// Turns what was seen into cases; `releases` is what `uname -r` is to say in each boot, if that is
/// known.
pub fn of(
    job: &Job,
    releases: &[Option<&str>],
    evidence: &Evidence,
    splats: &Matcher,
) -> Vec<Case> {
    let test = &job.test;
    let boots = evidence.boots();
    let mut cases = Vec::new();
    for (index, commands) in job.commands().into_iter().enumerate() {
        let boot = boots.iter().find(|boot| boot.stage == index + 1);
        for command in commands {
            let (Do::Need(line) | Do::Test(line)) = &command;
            let run = boot.and_then(|boot| boot.runs.iter().find(|run| run.command == *line));
            match (&command, run) {
                (_, None) => cases.push(Case::failed(
                    line,
                    format!("never ran, stage {} did not get there", index + 1),
                )),
                (Do::Need(_), Some(run)) if run.status == Some(0) => {}
                (_, Some(run)) => cases.extend(cases_of(run)),
            }
        }
    }
    cases.push(Case::check(
        "the VM reached its end",
        evidence.ended() && evidence.errors().is_empty() && !evidence.timed_out,
        || trouble(job.timeout(), evidence),
    ));
    let strange = strange_boots(&test.stages, releases, &boots);
    cases.push(Case::check("each boot was the one asked for", strange.is_empty(), || {
        strange.join("; ")
    }));
    cases.push(no_splat(evidence, splats));
    if let Some(judge) = test.judge {
        cases.extend(judge(evidence));
    }
    for case in &mut cases {
        case.name = format!("{}: {}", job.name, case.name);
    }
    cases
}

/// What is wrong with the boots' kernels, and whether they had Live Update: a kernel that turned it
/// off by itself, or was told to keep it off and did not, is another test than the one asked for.
fn strange_boots(stages: &[Stage], releases: &[Option<&str>], boots: &[Boot]) -> Vec<String> {
    let mut strange = Vec::new();
    for ((stage, release), number) in stages.iter().zip(releases).zip(1..) {
        let Some(boot) = boots.iter().find(|boot| boot.stage == number) else {
            strange.push(format!("stage {number} did not boot"));
            continue;
        };
        let has = boot.kernel.split(' ').next().unwrap_or_default();
        if let Some(release) = release.filter(|release| *release != has) {
            strange.push(format!("stage {number} booted {has}, not {release}"));
        }
        match (stage.has_live_update(), boot.live_update) {
            (true, false) => strange.push(format!("stage {number} has no /dev/liveupdate")),
            (false, true) => strange.push(format!("stage {number} has /dev/liveupdate")),
            _ => {}
        }
    }
    strange
}

/// The results of a program: its KTAP, or its exit status.
fn cases_of(run: &Run) -> Vec<Case> {
    let mut cases = ktap::cases(run.lines.iter().map(String::as_str));
    let status =
        run.status.map_or("never ended".to_owned(), |status| format!("exit status {status}"));
    // What a kselftest says whose filter left nothing to run; it exits with 0 then.
    let idle = run.lines.iter().any(|line| line == "1..0");
    // 4 is how a kselftest says that it skipped everything.
    let good = (run.status == Some(0) && !idle) || (run.status == Some(4) && !cases.is_empty());
    if cases.is_empty() || (!good && !cases.iter().any(Case::has_failed)) {
        let last = run
            .lines
            .iter()
            .rev()
            .find(|line| !line.trim().is_empty())
            .cloned()
            .unwrap_or_default();
        cases.push(Case::check(run.command.clone(), good, || format!("{status}: {last}")));
    }
    cases
}

fn no_splat(evidence: &Evidence, splats: &Matcher) -> Case {
    let found: Vec<&str> = evidence
        .console
        .iter()
        .filter(|line| !evidence.is_of_panic(line))
        .map(|line| line.text.as_str())
        .filter(|line| splats.is_splat(line))
        .collect();
    Case::check("no kernel splat", found.is_empty(), || {
        format!("{} lines, the first: {}", found.len(), found.first().unwrap_or(&""))
    })
}

/// Why a VM did not reach its end.
fn trouble(timeout: Duration, evidence: &Evidence) -> String {
    let errors = evidence.errors();
    if !errors.is_empty() {
        return errors.join("; ");
    }
    let what = if evidence.timed_out {
        format!("hung: stopped after {} s", timeout.as_secs())
    } else {
        "ended early".to_owned()
    };
    let last: Vec<&str> =
        evidence.console.iter().rev().take(SHOWN_LINES).map(|line| line.text.as_str()).collect();
    let last: Vec<&str> = last.into_iter().rev().collect();
    format!("{what}; last lines of the console:\n    {}", last.join("\n    "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_status_counts_where_there_is_no_ktap() {
        let run = |status, lines: &[&str]| Run {
            command: "x".into(),
            status,
            lines: lines.iter().map(|&line| line.to_owned()).collect(),
        };
        let failed = |run: Run| cases_of(&run).iter().filter(|case| case.has_failed()).count();
        assert_eq!(failed(run(Some(0), &["# hello"])), 0);
        assert_eq!(failed(run(Some(1), &["# hello"])), 1);
        assert_eq!(failed(run(None, &[])), 1);
        assert_eq!(failed(run(Some(4), &[])), 1);
        assert_eq!(failed(run(Some(1), &["1..1", "ok 1 a"])), 1);
        assert_eq!(failed(run(Some(1), &["1..1", "not ok 1 a"])), 1);
        assert_eq!(failed(run(Some(0), &["1..1", "ok 1 a"])), 0);
        assert_eq!(failed(run(Some(0), &["TAP version 13", "1..0"])), 1);
    }

    #[test]
    fn kernel_or_live_update_other_than_asked_for_is_strange() {
        let boot = |stage, kernel: &str, live_update| Boot {
            stage,
            kernel: format!("{kernel} #1 SMP"),
            live_update,
            at: 0.0,
            phases: Vec::new(),
            runs: Vec::new(),
        };
        let off = Stage { cmdline: "quiet kho=off".into(), ..Stage::default() };
        let stages = [Stage::default(), off];
        let strange = |boots: &[Boot]| strange_boots(&stages, &[Some("7.3.4"), None], boots).len();
        assert_eq!(strange(&[boot(1, "7.3.4", true), boot(2, "x", false)]), 0);
        assert_eq!(strange(&[boot(1, "7.3.4", false), boot(2, "x", false)]), 1);
        assert_eq!(strange(&[boot(1, "7.3.4-debug", true), boot(2, "x", false)]), 1);
        assert_eq!(strange(&[boot(1, "7.3.4", true), boot(2, "x", true)]), 1);
        assert_eq!(strange(&[boot(1, "7.3.4", true)]), 1);
    }
}
