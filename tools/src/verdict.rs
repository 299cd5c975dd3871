// SPDX-License-Identifier: GPL-2.0

//! What a run comes down to: named cases, each passed, failed or skipped.

use std::fmt;

/// How one case ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// As it should.
    Passed,
    /// Not as it should, and why.
    Failed(String),
    /// Not run, and why.
    Skipped(String),
}

/// One claim that was put to the test.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    /// What was claimed.
    pub name: String,
    /// How it ended.
    pub outcome: Outcome,
}

impl Case {
    /// A case that passed if `ok`; `why` explains a failure.
    pub fn check(name: impl Into<String>, ok: bool, why: impl FnOnce() -> String) -> Self {
        let outcome = if ok { Outcome::Passed } else { Outcome::Failed(why()) };
        Self { name: name.into(), outcome }
    }

    /// A case that failed.
    pub fn failed(name: impl Into<String>, why: impl Into<String>) -> Self {
        Self { name: name.into(), outcome: Outcome::Failed(why.into()) }
    }

    /// Whether the case failed.
    pub fn has_failed(&self) -> bool {
        matches!(self.outcome, Outcome::Failed(_))
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.outcome {
            Outcome::Passed => write!(f, "ok     {}", self.name),
            Outcome::Failed(why) => write!(f, "FAILED {}: {why}", self.name),
            Outcome::Skipped(why) => write!(f, "-      {} (skipped: {why})", self.name),
        }
    }
}

/// The sum over cases.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    passed: usize,
    failed: usize,
    skipped: usize,
}

impl Totals {
    /// Counts `cases`.
    pub fn of(cases: &[Case]) -> Self {
        let mut totals = Self::default();
        for case in cases {
            match case.outcome {
                Outcome::Passed => totals.passed += 1,
                Outcome::Failed(_) => totals.failed += 1,
                Outcome::Skipped(_) => totals.skipped += 1,
            }
        }
        totals
    }

    /// Whether something passed and nothing failed: an empty run proves nothing.
    pub fn is_good(self) -> bool {
        self.failed == 0 && self.passed > 0
    }
}

impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed, {} skipped", self.passed, self.failed, self.skipped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_count_each_outcome_once() {
        let skipped = Case { name: "c".into(), outcome: Outcome::Skipped("no device".into()) };
        let cases = [Case::check("a", true, String::new), Case::failed("b", "why"), skipped];
        assert_eq!(Totals::of(&cases).to_string(), "1 passed, 1 failed, 1 skipped");
        assert!(!Totals::of(&cases).is_good());
        assert!(Totals::of(&cases[..1]).is_good());
    }

    #[test]
    fn nothing_run_is_not_good() {
        assert!(!Totals::default().is_good());
    }
}
