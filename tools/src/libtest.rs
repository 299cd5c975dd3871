// SPDX-License-Identifier: GPL-2.0

//! Runs `cargo test` and reads what it says.

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
    let mut cases: Vec<Case> = text.lines().filter_map(case).collect();
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
}
