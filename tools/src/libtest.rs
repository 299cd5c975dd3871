// SPDX-License-Identifier: GPL-2.0

//! Runs `cargo test` and reads what it says.
//!
//! It says so in words for people: libtest writes JSON for nightly compilers only. cargo-nextest does not
//! build with the build root's Rust, is no package there, and leaves documentation tests out. So the
//! cases that were read are counted against what libtest says in its sums.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::Result;

use crate::context::Context;
use crate::stage::Stage;
use crate::verdict::{Case, Outcome};

/// The cases of the cargo workspace in `dir`, called `name`.
pub fn run(ctx: &Context, name: &str, dir: &Path) -> Result<Vec<Case>> {
    let log = format!("{name}-tests");
    let mut stage = Stage::start(ctx, &log, "cargo test")?;
    let ran = stage.run(
        Command::new("cargo")
            .args(["test", "--workspace", "--locked", "--no-fail-fast"])
            .current_dir(dir),
    );
    let text = fs::read_to_string(ctx.log(&log))?;
    let mut cases = cases(&text);
    for case in &mut cases {
        case.name = format!("{name}: {}", case.name);
    }
    match ran {
        Ok(()) if cases.is_empty() => {
            cases.push(Case::failed(format!("{name}: cargo test"), "ran no test"))
        }
        Ok(()) => {}
        Err(_) if cases.iter().any(Case::has_failed) => {}
        Err(error) => cases.push(Case::failed(format!("{name}: cargo test"), error.to_string())),
    }
    stage.done(&format!("{} tests", cases.len()));
    Ok(cases)
}

/// The cases of all test binaries, with one more that failed if some were missed.
fn cases(text: &str) -> Vec<Case> {
    let mut cases: Vec<Case> = text.lines().filter_map(case).collect();
    let read = cases.len();
    let summed: usize = text.lines().filter_map(sum).sum();
    if read != summed {
        let why = format!("read {read} results, but libtest counted {summed}");
        cases.push(Case::failed("every result is read", why));
    }
    cases
}

/// How many tests had a result, of a line `test result: verdict. 1 passed; 0 failed; 0 ignored; ...`.
fn sum(line: &str) -> Option<usize> {
    let (_, counts) = line.strip_prefix("test result: ")?.split_once(". ")?;
    let count = |part: &str| {
        let (count, what) = part.split_once(' ')?;
        matches!(what, "passed" | "failed" | "ignored").then(|| count.parse::<usize>().ok())?
    };
    Some(counts.split("; ").filter_map(count).sum())
}

/// The case of a line `test name ... verdict`.
fn case(line: &str) -> Option<Case> {
    let (name, verdict) = line.strip_prefix("test ")?.rsplit_once(" ... ")?;
    let outcome = match verdict.split(',').next()? {
        "ok" => Outcome::Passed,
        "FAILED" => Outcome::Failed("see the log".into()),
        "ignored" => Outcome::Skipped("ignored".into()),
        _ => return None,
    };
    Some(Case { name: name.to_owned(), outcome })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_each_verdict() {
        let outcome = |line| case(line).map(|case| case.outcome);
        assert_eq!(outcome("test a::b ... ok"), Some(Outcome::Passed));
        assert_eq!(
            outcome("test src/lib.rs - f (line 3) ... FAILED"),
            Some(Outcome::Failed("see the log".into()))
        );
        assert_eq!(outcome("test a ... ignored, slow"), Some(Outcome::Skipped("ignored".into())));
        assert_eq!(outcome("test result: ok. 3 passed; 0 failed"), None);
        assert_eq!(outcome("running 3 tests"), None);
    }

    #[test]
    fn result_that_cannot_be_read_is_missed() {
        let binary = "test a ... ok\ntest b ... FAILED\ntest c ... ignored, slow\n\
                      test result: FAILED. 1 passed; 1 failed; 1 ignored; 0 measured; 7 filtered out; \
                      finished in 0.01s\n";
        let failed = |text: &str| cases(text).iter().filter(|case| case.has_failed()).count();
        assert_eq!(cases(&binary.repeat(2)).len(), 6);
        assert_eq!(failed(binary), 1);
        assert_eq!(failed(&binary.replace("b ... ", "b: ")), 1);
        assert_eq!(failed(&binary.replace("a ... ok", "a")), 2);
        assert_eq!(cases(""), []);
    }
}
