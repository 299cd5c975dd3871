// SPDX-License-Identifier: GPL-2.0

//! What QEMU's VT-d says: whether translation went on, and whom it blocked.

use crate::damage::source_id;
use crate::evidence::Evidence;
use crate::trace::{Event, Fault};
use crate::verdict::Case;

/// Tells an event that ought not to be there.
type IsWrong = fn(&Event) -> bool;

/// What is not to happen to translation, and how it would show.
const CLAIMS: [(&str, IsWrong); 3] = [
    ("translation is never off", |event| event.turned("vtd_dmar_enable") == Some(false)),
    ("no other root table is set", |event| event.name == "vtd_reg_dmar_root"),
    ("interrupt remapping is never off", |event| event.turned("vtd_ir_enable") == Some(false)),
];

/// Neither translation nor interrupt remapping is turned off between two moments, and translation
/// goes on with the tables that it has.
pub fn translation_kept(evidence: &Evidence, from: f64, to: f64) -> Vec<Case> {
    let case = |(claim, is_wrong): (&str, IsWrong)| {
        let found = evidence.events(from, to).find(|event| is_wrong(event));
        Case::check(claim, found.is_none(), || format!("QEMU saw {found:?}"))
    };
    CLAIMS.map(case).into()
}

/// Nothing of the device at `bdf` is blocked between two moments.
pub fn unhindered(evidence: &Evidence, bdf: &str, from: f64, to: f64) -> Case {
    let found: Vec<Fault> = faults(evidence, bdf, from, to).collect();
    Case::check(format!("the IOMMU blocks nothing of {bdf}"), found.is_empty(), || {
        format!("QEMU saw {} faults, the first: {:x?}", found.len(), found[0])
    })
}

/// Something of the device at `bdf` is blocked between two moments.
pub fn blocked(evidence: &Evidence, bdf: &str, from: f64, to: f64) -> Case {
    let count = faults(evidence, bdf, from, to).count();
    Case::check(format!("the IOMMU blocks {bdf}"), count > 0, || "QEMU saw no fault".into())
}

/// The faults of the device at `bdf` between two moments.
fn faults(evidence: &Evidence, bdf: &str, from: f64, to: f64) -> impl Iterator<Item = Fault> {
    let source = source_id(bdf);
    evidence.events(from, to).filter_map(Event::fault).filter(move |f| Some(f.source) == source)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::event;

    fn seen(events: &[&str]) -> Evidence {
        let trace = events.iter().map(|text| event(text).expect("an event")).collect();
        Evidence { trace, ..Evidence::default() }
    }

    fn failed(events: &[&str]) -> Vec<String> {
        let cases = translation_kept(&seen(events), 10.0, 20.0).into_iter();
        cases.filter(Case::has_failed).map(|case| case.name).collect()
    }

    #[test]
    fn each_way_to_lose_translation_is_named() {
        for (what, claim) in [
            ("vtd_dmar_enable enable 0", "translation is never off"),
            ("vtd_reg_dmar_root addr 0x1000 scalable 1", "no other root table is set"),
            ("vtd_ir_enable enable 0", "interrupt remapping is never off"),
        ] {
            assert_eq!(failed(&[&format!("1970-01-01T00:00:15Z {what}")]), [claim]);
            assert!(failed(&[&format!("1970-01-01T00:00:09Z {what}")]).is_empty(), "before");
            assert!(failed(&[&format!("1970-01-01T00:00:20Z {what}")]).is_empty(), "after");
        }
        assert!(failed(&["1970-01-01T00:00:15Z vtd_dmar_enable enable 1"]).is_empty());
    }

    #[test]
    fn faults_are_told_apart_by_source_id() {
        let evidence =
            seen(&["1970-01-01T00:00:15Z vtd_dmar_fault sid 0x200 fault 5 addr 0x1000 write 1"]);
        assert!(!unhindered(&evidence, "01:00.0", 10.0, 20.0).has_failed());
        assert!(unhindered(&evidence, "02:00.0", 10.0, 20.0).has_failed());
        assert!(!unhindered(&evidence, "02:00.0", 16.0, 20.0).has_failed());
        assert!(blocked(&evidence, "01:00.0", 10.0, 20.0).has_failed());
        assert!(!blocked(&evidence, "02:00.0", 10.0, 20.0).has_failed());
        assert!(blocked(&evidence, "02:00.0", 16.0, 20.0).has_failed());
    }
}
