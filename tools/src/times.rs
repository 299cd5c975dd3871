// SPDX-License-Identifier: GPL-2.0

//! Where the time of a run went: what `make test` says in its end.

use std::fmt::Write as _;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// How many of the longest of a kind are named.
const NAMED: usize = 6;

/// What is shorter than this is not named.
const SHORT: Duration = Duration::from_secs(5);

/// What time is spent with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Fetching, unpacking and building.
    Build,
    /// A check of the source.
    Check,
    /// A test: on the host, or a whole VM test.
    Test,
    /// A boot of a kernel in a VM test, which is a part of that, until its init runs.
    Boot,
}

impl Kind {
    const ALL: [Self; 4] = [Self::Build, Self::Check, Self::Test, Self::Boot];

    /// The kind of a stage of the harness, by its name.
    pub fn of_stage(name: &str) -> Self {
        if name.starts_with("check-") {
            Self::Check
        } else if name.ends_with("-tests") {
            Self::Test
        } else {
            Self::Build
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Build => "builds",
            Self::Check => "checks",
            Self::Test => "tests",
            Self::Boot => "boots",
        }
    }
}

/// Something that took a while.
struct Span {
    kind: Kind,
    name: String,
    took: Duration,
}

/// Everything that took a while in this run of the harness.
static SPANS: Mutex<Vec<Span>> = Mutex::new(Vec::new());

/// Notes how long something took.
pub fn note(kind: Kind, name: &str, took: Duration) {
    if let Ok(mut spans) = SPANS.lock() {
        spans.push(Span { kind, name: name.to_owned(), took });
    }
}

/// Prints where the time went since `start`.
pub fn print(start: Instant) {
    if let Ok(spans) = SPANS.lock() {
        print!("{}", table(&spans, start.elapsed()));
    }
}

/// A duration as people read it.
pub fn elapsed(time: Duration) -> String {
    match time.as_secs() {
        secs if secs >= 60 => format!("{} min {:02} s", secs / 60, secs % 60),
        _ => format!("{:.1} s", time.as_secs_f64()),
    }
}

fn table(spans: &[Span], all: Duration) -> String {
    let mut text = String::from("where the time went; what ran at the same time counts twice:\n");
    for kind in Kind::ALL {
        let mut of_kind: Vec<&Span> = spans.iter().filter(|span| span.kind == kind).collect();
        if of_kind.is_empty() {
            continue;
        }
        of_kind.sort_by_key(|span| std::cmp::Reverse(span.took));
        let sum: Duration = of_kind.iter().map(|span| span.took).sum();
        let (count, name, sum) = (of_kind.len(), kind.name(), elapsed(sum));
        // Text is written to a string, which takes all of it.
        let _ = write!(text, "  {name:7}{sum:>13}, {count} of them");
        let long = of_kind.iter().take(NAMED).filter(|span| span.took >= SHORT);
        let long: Vec<String> =
            long.map(|span| format!("{} {}", span.name, elapsed(span.took))).collect();
        if kind != Kind::Boot && !long.is_empty() {
            let _ = write!(text, ": {}", long.join(", "));
        }
        text.push('\n');
    }
    let _ = writeln!(text, "  by the clock: {}", elapsed(all));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stages_are_of_their_kind() {
        assert_eq!(Kind::of_stage("check-clippy"), Kind::Check);
        assert_eq!(Kind::of_stage("host-tests"), Kind::Test);
        assert_eq!(Kind::of_stage("kernel-debug"), Kind::Build);
    }

    #[test]
    fn table_has_the_sum_of_each_kind_and_names_the_longest() {
        let span = |kind, name: &str, secs| Span {
            kind,
            name: name.into(),
            took: Duration::from_secs(secs),
        };
        let spans = [
            span(Kind::Build, "tree", 1),
            span(Kind::Test, "b", 60),
            span(Kind::Build, "kernel", 600),
            span(Kind::Boot, "a", 7),
        ];
        let text = table(&spans, Duration::from_secs(610));
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[1], "  builds   10 min 01 s, 2 of them: kernel 10 min 00 s");
        assert_eq!(lines[2], "  tests     1 min 00 s, 1 of them: b 1 min 00 s");
        assert_eq!(lines[3], "  boots          7.0 s, 1 of them");
        assert_eq!(lines[4], "  by the clock: 10 min 10 s");
        assert_eq!(lines.len(), 5);
    }
}
