// SPDX-License-Identifier: GPL-2.0

//! The outside witness of devices whose owners get them back while they go on.

use super::iommu;
use super::witness::{EVER, Witness, device, nothing_to_look_at};
use crate::evidence::Evidence;
use crate::verdict::Case;

/// The fewest frames between two kernels that show a device at work, where frames come seldom, so that its
/// descriptors last for many live updates.
const FEWEST: usize = 4;

/// A device that goes on through one live update after the other, and while its owner takes it back in each
/// kernel: every frame arrives, and in time, until the end; nothing of it is blocked, and nothing is written to
/// its configuration space.
pub fn returned_witness(evidence: &Evidence) -> Vec<Case> {
    let bdf = device(evidence).unwrap_or_default();
    let last = evidence.boots().len();
    let times = (evidence.update_asked(1), evidence.end_of(last, "end"));
    let (Some(witness), (Some(asked), Some(end))) = (Witness::of(evidence, 0, bdf), times) else {
        return vec![nothing_to_look_at()];
    };
    let mut cases: Vec<Case> =
        (1..last).map(|update| between(evidence, &witness, update)).collect();
    cases.push(witness.all_arrived(evidence));
    cases.extend(witness.kept_up(EVER));
    cases.push(iommu::unhindered(evidence, bdf, asked, end));
    cases.extend(iommu::translation_kept(evidence, asked, end));
    cases.push(left_alone(evidence, bdf, asked, end));
    cases
}

/// A device whose page table maps something else than it is said to, in an entry for which the device does not
/// ask: it goes on until that shows, and does nothing from then on.
pub fn found_out(evidence: &Evidence) -> Vec<Case> {
    let bdf = device(evidence).unwrap_or_default();
    let times = (evidence.update_asked(1), evidence.end_of(2, "attach"), evidence.end_of(2, "map"));
    let (Some(witness), (Some(asked), Some(attached), Some(mapped))) =
        (Witness::of(evidence, 0, bdf), times)
    else {
        return vec![nothing_to_look_at()];
    };
    let late = witness.writes.iter().filter(|(at, _)| *at > mapped).count();
    let mut cases = vec![
        between(evidence, &witness, 1),
        witness.wrote_between("before the device is attached", asked, attached),
        Case::check("no frame is written once the wrong entry was found", late == 0, || {
            format!("QEMU saw {late}")
        }),
        iommu::unhindered(evidence, bdf, asked, EVER),
    ];
    cases.extend(iommu::translation_kept(evidence, asked, attached));
    cases.push(left_alone(evidence, bdf, asked, attached));
    cases
}

/// The device writes between the last word of one kernel and the first one of the next.
fn between(evidence: &Evidence, witness: &Witness<'_>, update: usize) -> Case {
    let name = format!("frames are written during live update {update}");
    let Some((last, first)) = evidence.silence(update) else {
        return Case::failed(name, "there is none");
    };
    let count = witness.writes.iter().filter(|(at, _)| (last..first).contains(at)).count();
    Case::check(name, count >= FEWEST, || format!("QEMU saw {count}"))
}

/// Nobody writes to the configuration space of the device at `bdf` between two moments. Before them, QEMU saw
/// its driver do so.
fn left_alone(evidence: &Evidence, bdf: &str, from: f64, to: f64) -> Case {
    let place = format!(" {bdf} ");
    let written = evidence
        .events(from, to)
        .filter(|event| event.name == "pci_cfg_write" && event.args.contains(&place));
    let written: Vec<&str> = written.map(|event| &*event.args).collect();
    let before = evidence
        .events(0.0, from)
        .any(|event| event.name == "pci_cfg_write" && event.args.contains(&place));
    Case::check(
        format!("the configuration space of {bdf} is not written to"),
        before && written.is_empty(),
        || {
            if before {
                format!("QEMU saw {} writes: {:?}", written.len(), &written[..written.len().min(8)])
            } else {
                "QEMU saw nothing before, either".into()
            }
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judges::made_up::{failed, line, running, seen};

    /// What is seen of a device that goes on, and whose owner takes it back.
    fn returned() -> Evidence {
        let mut evidence = running();
        evidence.output.push(line(29.5, "LU-PHASE end 1 1"));
        evidence.trace.push(seen(0.5, "pci_cfg_write", "igb 01:00.0 @0x4 <- 0x6"));
        evidence
    }

    #[test]
    fn device_that_is_given_back_passes() {
        assert!(failed(returned_witness, &returned()).is_empty());
        assert_eq!(failed(returned_witness, &running()), ["DMA of the witness"]);
    }

    #[test]
    fn device_that_is_found_out_has_to_end_then_and_not_before() {
        let mut evidence = returned();
        evidence.output.push(line(29.0, "LU-PHASE attach 1 1"));
        evidence.output.push(line(29.4, "LU-PHASE map 1 1"));
        let late = failed(found_out, &evidence);
        assert_eq!(late, ["no frame is written once the wrong entry was found"]);
        evidence.trace.retain(|event| event.at < 29.4);
        assert!(failed(found_out, &evidence).is_empty());
        evidence.trace.retain(|event| event.at < 12.0);
        assert!(!failed(found_out, &evidence).is_empty());
    }

    #[test]
    fn device_that_pauses_between_the_kernels_fails() {
        let mut evidence = returned();
        let (last, first) = evidence.silence(1).expect("a live update");
        evidence.trace.retain(|event| !(last..first).contains(&event.at));
        let failures = failed(returned_witness, &evidence);
        assert_eq!(failures[0], "frames are written during live update ");
    }

    #[test]
    fn configuration_space_that_is_written_to_fails() {
        let mut evidence = returned();
        evidence.trace.push(seen(25.0, "pci_cfg_write", "igb 01:00.0 @0x4 <- 0x2"));
        assert_eq!(failed(returned_witness, &evidence), ["the configuration space of "]);
        let mut evidence = returned();
        evidence.trace.push(seen(25.0, "pci_cfg_write", "igb 02:00.0 @0x4 <- 0x2"));
        assert!(failed(returned_witness, &evidence).is_empty());
        evidence.trace.retain(|event| event.name != "pci_cfg_write");
        assert_eq!(failed(returned_witness, &evidence), ["the configuration space of "]);
    }
}
