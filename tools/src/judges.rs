// SPDX-License-Identifier: GPL-2.0

//! Judges: what the outside of the VM says about a run.

use crate::evidence::Evidence;
use crate::ktap;
use crate::serial::message;
use crate::verdict::Case;

mod iommu;
#[cfg(test)]
mod made_up;
mod mastering;
mod reads;
mod registers;
mod returned;
mod running;
mod translation;
mod witness;

use mastering::{
    dropped_igb, keeps_mastering, quiesced_and_left_alone_igb, stopped_igb, stops_for_unaware,
    stops_for_version, stops_mastering,
};
use reads::{idle_reads, running_reads, stopped_reads};
use registers::registers;
use returned::{found_out, returned_witness};
use running::{
    blocked_lost_witness, blocked_witness, crashed_witness, dropped_witness, ended_witness,
    outside, running_below_bridge, running_beside_bystander, running_beside_interrupts,
    running_beside_refused, running_into_holes, running_with_partner, running_witness,
    searched_witness,
};
use translation::stopped_first;
use witness::{idle_witness, stopped_witness};

pub use registers::unused;
pub use witness::{BothEnds, both_ends, longest_gap};

/// Looks at what the programs in a VM cannot know.
pub type Judge = fn(&Evidence) -> Vec<Case>;

/// A table of functions by name.
macro_rules! by_name {
    ($($name:ident)*) => {
        &[$((stringify!($name), $name),)*]
    };
}

/// All judges, as tests name them.
pub const ALL: &[(&str, Judge)] = by_name!(
    blocked_lost_witness
    blocked_witness
    crashed_witness
    dropped_igb
    dropped_witness
    ended_witness
    found_out
    idle_reads
    idle_witness
    keeps_mastering
    kunit
    lost_sessions
    outside
    quiesced_and_left_alone_igb
    registers
    returned_witness
    running_below_bridge
    running_beside_bystander
    running_beside_interrupts
    running_beside_refused
    running_into_holes
    running_reads
    running_with_partner
    running_witness
    searched_witness
    stopped_first
    stopped_igb
    stopped_reads
    stopped_witness
    stops_for_unaware
    stops_for_version
    stops_mastering
);

/// Suites that must have run: one that silently vanished from the build is a failure.
const SUITES: &[&str] = &[
    "amdv1_iommu_test",
    "intel_iommu_faults",
    "intel_iommu_replace",
    "iommu_liveupdate",
    "iommu_liveupdate_objects",
    "pci_liveupdate",
    "riscv_64_iommu_test",
    "rust_doctests_kernel",
    "rust_liveupdate_abi",
    "rust_liveupdate_block",
    "rust_liveupdate_file",
    "rust_liveupdate_flb",
    "rust_liveupdate_image",
    "rust_liveupdate_kho",
    "rust_liveupdate_memory",
    "vtdss_iommu_test",
    "x86_64_iommu_test",
];

/// The next kernel gets nothing, and the one before it names the sessions that are lost.
fn lost_sessions(evidence: &Evidence) -> Vec<Case> {
    let jump = evidence.jump(1).unwrap_or(0.0);
    let (before, after): (Vec<_>, Vec<_>) = evidence
        .console
        .iter()
        .filter(|line| line.text.contains("] is lost with its "))
        .partition(|line| line.at <= jump);
    vec![
        Case::check("the kernel names each session once", before.len() == 2, || {
            format!("{} lines on its console", before.len())
        }),
        Case::check("the next kernel has none to name", after.is_empty(), || {
            format!("{} lines on its console", after.len())
        }),
    ]
}

/// Reads the KUnit results that the kernel printed on its console.
fn kunit(evidence: &Evidence) -> Vec<Case> {
    let lines = evidence.console.iter().map(|line| message(&line.text));
    let start = lines.clone().position(|line| line.starts_with("KTAP version"));
    let Some(start) = start else {
        return vec![Case::failed("KUnit", "no KTAP on the console: is CONFIG_KUNIT on?")];
    };
    let mut cases = ktap::cases(lines.skip(start));
    for suite in SUITES {
        let found = cases.iter().any(|case| case.name.starts_with(&format!("{suite}.")));
        cases.push(Case::check(format!("suite {suite} ran"), found, || "no result of it".into()));
    }
    cases
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serial::Line;

    #[test]
    fn sessions_are_lost_by_name() {
        let failed = |evidence: &Evidence| {
            lost_sessions(evidence).iter().map(Case::has_failed).collect::<Vec<_>>()
        };
        let lost = |at, name| Line {
            at,
            text: format!("[    9.0] luo: session [{name}] is lost with its 1 files: the image"),
        };
        let jump = Line { at: 12.0, text: "[    9.0] kexec_core: Starting new kernel".into() };
        let mut evidence = Evidence { console: vec![jump], ..Evidence::default() };
        evidence.console.extend([lost(11.0, "a"), lost(11.5, "b")]);
        assert_eq!(failed(&evidence), [false, false]);
        evidence.console.push(lost(12.5, "c"));
        assert_eq!(failed(&evidence), [false, true]);
        evidence.console.truncate(2);
        assert_eq!(failed(&evidence), [true, false]);
    }

    /// The failures in a run of all listed suites, of which `odd` has this result.
    fn failures(odd: &str, result: &str) -> usize {
        let mut console = vec!["KTAP version 1".to_owned(), format!("1..{}", SUITES.len())];
        for suite in SUITES {
            let test = if *suite == odd { result } else { "ok 1 x" };
            console.extend([format!("    1..1\n    {test}"), format!("ok 1 {suite}")]);
        }
        let lines = console.iter().flat_map(|text| text.lines());
        let line = |text| Line { at: 0.0, text: format!("[    1.000000] {text}") };
        let evidence = Evidence { console: lines.map(line).collect(), ..Evidence::default() };
        kunit(&evidence).iter().filter(|case| case.has_failed()).count()
    }

    #[test]
    fn kunit_needs_results_and_every_listed_suite() {
        assert_eq!(failures("none", ""), 0);
        assert_eq!(failures("rust_liveupdate_kho", "not ok 1 x"), 1);
        // A suite without results breaks its plan, and then it did not run.
        assert_eq!(failures("rust_liveupdate_kho", "# nothing"), 1);
        assert_eq!(kunit(&Evidence::default()).len(), 1);
    }

    #[test]
    fn suite_that_vanished_fails() {
        let text = "KTAP version 1\n1..1\n    1..1\n    ok 1 x\nok 1 rust_doctests_kernel";
        let console = text.lines().map(|text| Line { at: 0.0, text: text.into() }).collect();
        let cases = kunit(&Evidence { console, ..Evidence::default() });
        assert_eq!(cases.iter().filter(|case| case.has_failed()).count(), SUITES.len() - 1);
    }
}
