// SPDX-License-Identifier: GPL-2.0

//! The legend: what each VM test shows, and which known pitfalls of live update it covers.

use crate::catalog::Catalog;
use crate::lines;
use crate::pitfalls::PITFALLS;

/// Prints the legend.
pub fn print(catalog: &Catalog) {
    print!("{}", text(catalog));
}

fn text(catalog: &Catalog) -> String {
    let on_debug: Vec<String> = catalog.variations().map(|(name, _)| name).collect();
    let repetitions: Vec<String> = catalog.repetitions().collect();
    let tests = catalog.tests.iter().map(|test| {
        let letters = test.pitfalls.iter().map(|letter| format!(" ({letter})"));
        format!("  {:<20} {}{}", test.name, test.about, letters.collect::<String>())
    });
    let pitfalls = PITFALLS.iter().map(|(letter, what)| {
        let by: Vec<&str> = catalog.covering(letter).collect();
        let by = if by.is_empty() { "NO VM TEST".to_owned() } else { by.join(", ") };
        format!("  {:>4} {what}: {by}", format!("({letter})"))
    });
    let all = ["VM tests, what each shows, and the pitfalls that it covers:".to_owned()]
        .into_iter()
        .chain(tests)
        .chain([format!("  with debug kernels also: {}", on_debug.join(", "))])
        .chain([format!("  with `make test-full` only: {}", repetitions.join(", "))])
        .chain(["Pitfalls, and the VM tests that cover them:".to_owned()])
        .chain(pitfalls);
    lines::of(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pitfall_without_test_is_named() {
        let catalog = Catalog::ours();
        let text = text(&catalog);
        for (letter, what) in PITFALLS {
            let covered = catalog.covering(letter).next().is_some();
            let line = text.lines().find(|line| line.contains(what)).expect("a line");
            assert_eq!(line.ends_with("NO VM TEST"), !covered, "{line}");
        }
    }
}
