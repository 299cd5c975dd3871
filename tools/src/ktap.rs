// SPDX-License-Identifier: GPL-2.0

//! Reads KTAP, the kernel's test protocol (Documentation/dev-tools/ktap.rst).
//!
//! A result line sums up the deeper-indented results before it, if there are
//! any; only results without subtests count as cases.

use crate::verdict::{Case, Outcome};

/// Spaces per level of nesting.
const INDENT: usize = 4;

/// The results so far at one level of nesting.
#[derive(Default)]
struct Level {
    plan: Option<usize>,
    results: usize,
    cases: Vec<Case>,
}

impl Level {
    /// The cases of a complete level called `name`, with one more if the plan was not kept.
    fn close(self, name: &str) -> Vec<Case> {
        let mut cases = self.cases;
        if let Some(plan) = self.plan.filter(|plan| *plan != self.results) {
            cases.push(Case::failed(
                format!("{name} plan"),
                format!("{plan} results planned, {} seen", self.results),
            ));
        }
        cases
    }
}

/// The cases in a KTAP stream; lines that are not KTAP are passed over.
pub fn cases<'a>(lines: impl IntoIterator<Item = &'a str>) -> Vec<Case> {
    let mut levels = vec![Level::default()];
    for line in lines {
        let text = line.trim_start_matches(' ');
        let depth = (line.len() - text.len()) / INDENT;
        if let Some(plan) = plan_of(text) {
            level(&mut levels, depth).plan = Some(plan);
        } else if let Some(case) = result_of(text) {
            add(&mut levels, depth, case);
        }
    }
    let unfinished = levels.len() > 1;
    let mut all: Vec<Case> = Vec::new();
    for level in levels {
        all.extend(level.close("run"));
    }
    if unfinished {
        all.push(Case::failed("run", "the output ends within a suite"));
    }
    all
}

fn level(levels: &mut Vec<Level>, depth: usize) -> &mut Level {
    while levels.len() <= depth {
        levels.push(Level::default());
    }
    &mut levels[depth]
}

/// Enters a result and makes the deeper levels its subtests.
fn add(levels: &mut Vec<Level>, depth: usize, case: Case) {
    let mut subtests = Vec::new();
    while levels.len() > depth + 1 {
        let deeper = levels.pop().map_or_else(Vec::new, |level| level.close("subtests"));
        subtests.splice(0..0, deeper);
    }
    let level = level(levels, depth);
    level.results += 1;
    if subtests.is_empty() {
        level.cases.push(case);
        return;
    }
    // A suite can fail although each of its tests passed, in its exit for example.
    let own_failure = case.has_failed() && !subtests.iter().any(Case::has_failed);
    let name = case.name.clone();
    level.cases.extend(
        subtests
            .into_iter()
            .map(|sub| Case { name: format!("{name}.{}", sub.name), outcome: sub.outcome }),
    );
    if own_failure {
        level.cases.push(case);
    }
}

/// `N` of a plan line `1..N`.
fn plan_of(text: &str) -> Option<usize> {
    text.strip_prefix("1..")?.split(' ').next()?.parse().ok()
}

/// The case of a result line `ok N [- ]name [# DIRECTIVE reason]`.
fn result_of(text: &str) -> Option<Case> {
    let (good, rest) = match text.strip_prefix("not ok ") {
        Some(rest) => (false, rest),
        None => (true, text.strip_prefix("ok ")?),
    };
    let (number, rest) = rest.split_once(' ').unwrap_or((rest, ""));
    number.parse::<usize>().ok()?;
    let (name, directive) = rest.split_once('#').unwrap_or((rest, ""));
    let name = name.trim().trim_start_matches("- ").trim();
    let name = if name.is_empty() { number } else { name };
    let directive = directive.trim();
    let outcome = if directive.starts_with("SKIP") {
        Outcome::Skipped(directive.trim_start_matches("SKIP").trim().to_owned())
    } else if good {
        Outcome::Passed
    } else {
        Outcome::Failed(directive.to_owned())
    };
    Some(Case { name: name.to_owned(), outcome })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Vec<String> {
        cases(text.lines())
            .into_iter()
            .map(|case| match case.outcome {
                Outcome::Passed => format!("+{}", case.name),
                Outcome::Failed(_) => format!("-{}", case.name),
                Outcome::Skipped(why) => format!("?{} {why}", case.name),
            })
            .collect()
    }

    #[test]
    fn flat_results_count_each() {
        let text = "TAP version 13\n1..3\n# a remark\nok 1 - open\nnot ok 2 read\nok 3 dma # SKIP no device\n";
        assert_eq!(names(text), ["+open", "-read", "?dma no device"]);
    }

    #[test]
    fn suites_count_only_their_tests() {
        let text = "KTAP version 1\n1..2\n    KTAP version 1\n    # Subtest: a\n    1..2\n    ok 1 x\n    not ok 2 y\nnot ok 1 a\n    1..1\n        ok 1 p\n    ok 1 z\nok 2 b\n";
        assert_eq!(names(text), ["+a.x", "-a.y", "+b.z.p"]);
    }

    #[test]
    fn suite_that_fails_by_itself_is_a_failure() {
        assert_eq!(names("    1..1\n    ok 1 x\nnot ok 1 a\n"), ["+a.x", "-a"]);
    }

    #[test]
    fn broken_plans_fail() {
        assert_eq!(names("1..2\nok 1 x\n"), ["+x", "-run plan"]);
        assert_eq!(names("    1..2\n    ok 1 x\nok 1 a\n"), ["+a.x", "-a.subtests plan"]);
    }

    #[test]
    fn output_that_ends_within_a_suite_fails() {
        assert_eq!(names("1..1\n    1..1\n    ok 1 x\n"), ["-run plan", "+x", "-run"]);
    }

    #[test]
    fn other_lines_are_no_results() {
        assert!(names("ok then\nok computer\n# ok 1 x\nnot okay\n1..\n").is_empty());
    }
}
