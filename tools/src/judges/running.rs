// SPDX-License-Identifier: GPL-2.0

//! The outside witness of devices that go on through a kexec.

use super::witness::{EVER, FEWEST, Witness, device, devices, nothing_to_look_at};
use super::{iommu, translation};
use crate::evidence::Evidence;
use crate::trace::Event;
use crate::verdict::Case;
use crate::wire::Attempt;

/// A device that goes on through the kexec: every frame arrives, and in time, whichever kernel runs
/// or none; translation goes on, and does not stand in its way.
pub fn running_witness(evidence: &Evidence) -> Vec<Case> {
    running(evidence, true)
}

fn running(evidence: &Evidence, in_time: bool) -> Vec<Case> {
    let times = (evidence.update_asked(1), evidence.end_of(2, "bind"));
    let (Some(asked), Some(bound)) = times else {
        return vec![nothing_to_look_at()];
    };
    let mut cases = went_on(evidence, 0, in_time);
    cases.extend(iommu::translation_kept(evidence, asked, bound));
    cases
}

/// The device at the end of the wire of this number goes on through the kexec, and is not hindered.
fn went_on(evidence: &Evidence, wire: usize, in_time: bool) -> Vec<Case> {
    let bdf = devices(evidence).nth(wire).unwrap_or_default();
    let witness = Witness::of(evidence, wire, bdf);
    let times = (evidence.update_asked(1), evidence.silence(1), evidence.end_of(2, "bind"));
    let (Some(witness), (Some(asked), Some((last, first)), Some(bound))) = (witness, times) else {
        return vec![nothing_to_look_at()];
    };
    let mut cases = vec![
        witness.wrote_between("between the last word of one kernel and the next's", last, first),
        witness.all_arrived(evidence),
    ];
    if in_time {
        cases.extend(witness.kept_up(EVER));
    }
    cases.push(iommu::unhindered(evidence, bdf, asked, bound));
    cases
}

/// The same, while another device of its IOMMU group goes on, too.
pub fn running_with_partner(evidence: &Evidence) -> Vec<Case> {
    let mut cases = running_witness(evidence);
    cases.extend(went_on(evidence, 1, true).into_iter().map(|mut case| {
        case.name.insert_str(0, "the other device of its IOMMU group: ");
        case
    }));
    cases
}

/// The same, where the device is below a bridge, as whose device 0 the IOMMU knows it.
pub fn running_below_bridge(evidence: &Evidence) -> Vec<Case> {
    let times = (evidence.update_asked(1), evidence.end_of(2, "bind"));
    let bus = device(evidence).and_then(|bdf| bdf.split(':').next());
    let (Some(bus), (Some(asked), Some(bound))) = (bus, times) else {
        return vec![nothing_to_look_at()];
    };
    let mut cases = running_witness(evidence);
    cases.push(iommu::unhindered(evidence, &format!("{bus}:00.0"), asked, bound));
    cases
}

/// The same, while another device is not preserved, and goes on, too, because something sets it off.
pub fn running_beside_bystander(evidence: &Evidence) -> Vec<Case> {
    let mut cases = running_witness(evidence);
    cases.extend(blocked_bystander(evidence, 1, "02:00.0"));
    cases
}

/// The same, but for the time that frames take, while the next kernel cannot take over the translations
/// of other devices, which QEMU is busy with, too.
pub fn running_beside_refused(evidence: &Evidence) -> Vec<Case> {
    let mut cases = running(evidence, false);
    let refused = devices(evidence).skip(1).flat_map(|bdf| translation::refused(evidence, bdf));
    cases.extend(refused);
    cases
}

/// The same, while another device that goes on writes to where messages of interrupts go: none is one,
/// and the next kernel has nothing to say of it.
pub fn running_beside_interrupts(evidence: &Evidence) -> Vec<Case> {
    /// Where it writes to, as QEMU's events begin to tell it: handle and format of a message.
    const SENT: &str = "addr 0xfeefff";
    let (Some((last, first)), Some(ended)) = (evidence.silence(1), evidence.end_of(2, "bind"))
    else {
        return vec![nothing_to_look_at()];
    };
    let is_sent =
        |event: &&Event| event.name == "vtd_ir_remap_msi_req" && event.args.starts_with(SENT);
    let sent = |from, to| evidence.events(from, to).filter(is_sent);
    let (between, after) = (sent(last, first).count(), sent(first, ended).count());
    let raised = evidence.trace.iter().find(|event| {
        event.name == "vtd_ir_remap_msi" && event.args.trim_start_matches('(').starts_with(SENT)
    });
    let logged = evidence.console.iter().find(|line| {
        line.at > first && line.text.contains("INTR-REMAP") && line.text.contains("fault")
    });
    let mut cases = running_witness(evidence);
    cases.extend([
        Case::check("messages are sent between the kernels", between >= FEWEST, || {
            format!("QEMU saw {between}")
        }),
        Case::check("messages are sent while the next kernel boots", after >= FEWEST, || {
            format!("QEMU saw {after}")
        }),
        Case::check("no message raises an interrupt", raised.is_none(), || {
            format!("QEMU saw {raised:?}")
        }),
        Case::check("the next kernel logs none of them", logged.is_none(), || {
            format!("it says {logged:?}")
        }),
    ]);
    cases
}

/// A device that goes on, and writes to where nothing is mapped for it, long after the next kernel has
/// booted: nothing of that is in memory.
pub fn outside(evidence: &Evidence) -> Vec<Case> {
    /// The wire and the address of the device that does so.
    const WIRE: usize = 1;
    const BDF: &str = "02:00.0";
    /// How long after the boot it has to be at it.
    const LONG: f64 = 50.0;
    let times = (evidence.silence(1), evidence.end_of(2, "boot"));
    let (Some((last, first)), Some(booted)) = times else {
        return vec![nothing_to_look_at()];
    };
    vec![
        iommu::blocked(evidence, BDF, last, first),
        iommu::blocked(evidence, BDF, booted + LONG, EVER),
        Case::check(
            "no frame of it is in memory",
            evidence.found.get(WIRE).is_some_and(Vec::is_empty),
            || format!("found {:?}", evidence.found.get(WIRE)),
        ),
    ]
}

/// A device that goes on through the kexec, and then writes to pages that its memfd lost.
pub fn running_into_holes(evidence: &Evidence) -> Vec<Case> {
    let bdf = device(evidence).unwrap_or_default();
    let times = (evidence.end_of(2, "punch"), evidence.end_of(2, "bind"));
    let (Some(witness), (Some(punched), Some(bound))) = (Witness::of(evidence, 0, bdf), times)
    else {
        return vec![nothing_to_look_at()];
    };
    let mut cases = dropped_witness(evidence);
    cases.extend([
        witness.wrote_between("into holes", punched, bound),
        iommu::unhindered(evidence, bdf, punched, bound),
    ]);
    cases
}

/// A device that goes on through the kexec and while its files are retrieved, until that ends without
/// it being bound to anything: nothing is written then.
pub fn ended_witness(evidence: &Evidence) -> Vec<Case> {
    let bdf = device(evidence).unwrap_or_default();
    let end_of = |phase| evidence.end_of(2, phase);
    let times = (end_of("start"), end_of("run"), end_of("end"));
    let (Some(witness), (Some(start), Some(run), Some(end))) =
        (Witness::of(evidence, 0, bdf), times)
    else {
        return vec![nothing_to_look_at()];
    };
    let after = witness.writes.iter().filter(|(at, _)| *at > end).count();
    let mut cases = dropped_witness(evidence);
    cases.extend([
        witness.wrote_between("until the end", start, run),
        iommu::unhindered(evidence, bdf, start, end),
        Case::check("nothing is written after the end", after == 0, || format!("{after} frames")),
    ]);
    cases
}

/// The same, and what is in memory in the end is none of what was sent after the end.
pub fn searched_witness(evidence: &Evidence) -> Vec<Case> {
    let mut cases = ended_witness(evidence);
    cases.extend(none_is_found(evidence, evidence.end_of(2, "end").unwrap_or(EVER)));
    cases
}

/// Frames are sent after some moment, over the first wire, and none of them is found in memory.
fn none_is_found(evidence: &Evidence, from: f64) -> [Case; 2] {
    let sent = evidence.wires.iter().take(1).flatten().filter(|attempt| attempt.sent);
    let (before, after): (Vec<&Attempt>, Vec<&Attempt>) =
        sent.partition(|attempt| attempt.at < from);
    let is_later = |number: &u64| usize::try_from(*number).is_ok_and(|n| n >= before.len());
    let found: Option<Vec<&u64>> =
        evidence.found.first().map(|numbers| numbers.iter().filter(|n| is_later(n)).collect());
    [
        Case::check("frames are sent after the end", after.len() >= FEWEST, || {
            format!("{} frames", after.len())
        }),
        Case::check(
            "no frame that was sent after the end is in memory",
            found.as_ref().is_some_and(Vec::is_empty),
            || format!("found {found:?}; the first one that was is {}", before.len()),
        ),
    ]
}

/// A device that goes on through the kexec, and that nobody retrieves: until the administrator drops
/// its session, translation goes on, too.
pub fn dropped_witness(evidence: &Evidence) -> Vec<Case> {
    let bdf = device(evidence).unwrap_or_default();
    let witness = Witness::of(evidence, 0, bdf);
    let times = (evidence.update_asked(1), evidence.silence(1), evidence.end_of(2, "boot"));
    let (Some(witness), (Some(asked), Some((last, first)), Some(booted))) = (witness, times) else {
        return vec![nothing_to_look_at()];
    };
    let mut cases = vec![
        witness.wrote_between("between the last word of one kernel and the next's", last, first),
        iommu::unhindered(evidence, bdf, asked, booted),
    ];
    cases.extend(iommu::translation_kept(evidence, asked, booted));
    cases
}

/// A device that goes on through the kexec, until its IOMMU blocks it, which the next kernel cannot do
/// without while it boots: translation stays on, and nothing is written any more.
pub fn blocked_witness(evidence: &Evidence) -> Vec<Case> {
    blocked_as(evidence, device(evidence).unwrap_or_default())
}

/// The same below a root port that has lost its bus numbers: QEMU has its devices on bus 0 then.
pub fn blocked_lost_witness(evidence: &Evidence) -> Vec<Case> {
    blocked_as(evidence, "00:00.0")
}

/// The same, where the IOMMU knows the device as `blocked`.
fn blocked_as(evidence: &Evidence, blocked: &str) -> Vec<Case> {
    let bdf = device(evidence).unwrap_or_default();
    let witness = Witness::of(evidence, 0, bdf);
    let times = (evidence.update_asked(1), evidence.silence(1), evidence.end_of(2, "boot"));
    let (Some(witness), (Some(asked), Some((last, first)), Some(booted))) = (witness, times) else {
        return vec![nothing_to_look_at()];
    };
    let after = witness.writes.iter().filter(|(at, _)| *at > booted).count();
    let mut cases = vec![
        witness.wrote_between("between the last word of one kernel and the next's", last, first),
        iommu::blocked(evidence, blocked, first, booted),
        Case::check("nothing is written after the boot", after == 0, || format!("{after} frames")),
    ];
    cases.extend(iommu::translation_kept(evidence, asked, EVER));
    cases.extend(none_is_found(evidence, booted));
    cases
}

/// A device that goes on through the kexec, and whose second kernel panics before anybody retrieves it:
/// the crash kernel translates for it what that kernel did, as it does without a live update.
pub fn crashed_witness(evidence: &Evidence) -> Vec<Case> {
    /// What a crash kernel says when it goes on with what it finds in an IOMMU.
    const COPIED: [&str; 2] =
        ["Copied translation tables from previous kernel", "Copied IR table for"];
    let bdf = device(evidence).unwrap_or_default();
    let times = (evidence.end_of(2, "boot"), evidence.end_of(3, "boot"));
    let (Some(second), Some(third)) = times else {
        return vec![nothing_to_look_at()];
    };
    let mut cases = dropped_witness(evidence);
    cases.push(iommu::unhindered(evidence, bdf, second, third));
    cases.extend(COPIED.map(|words| {
        let mut said = evidence.console.iter().filter(|line| line.text.contains(words));
        Case::check(
            format!("the crash kernel says: {words}"),
            said.any(|line| line.at > second),
            || "it does not".into(),
        )
    }));
    cases
}

/// A device that the first kernel stopped, and something set off again while no kernel looked, is
/// blocked until the next kernel is up, and none of its frames is found in memory.
fn blocked_bystander(evidence: &Evidence, wire: usize, bdf: &str) -> Vec<Case> {
    let times = (evidence.jump(1), evidence.end_of(2, "boot"));
    let (Some(attempts), (Some(jump), Some(booted))) = (evidence.wires.get(wire), times) else {
        return vec![nothing_to_look_at()];
    };
    let taken = attempts.iter().filter(|a| a.sent && (jump..booted).contains(&a.at)).count();
    vec![
        Case::check(format!("frames for {bdf} were sent between the kernels"), taken > 0, || {
            "the wire took none".into()
        }),
        iommu::blocked(evidence, bdf, jump, booted),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judges::made_up::{failed, line, running, seen, write};
    use crate::trace::event;

    const FEW: &str = "at least ";

    #[test]
    fn hand_over_of_translation_counts_for_a_device_that_goes_on() {
        for (text, claim) in [
            ("vtd_dmar_enable enable 0", "translation is never off"),
            ("vtd_dmar_fault sid 0x100 fault 5 addr 0x0 write 1", "the IOMMU blocks nothing of "),
        ] {
            let mut evidence = running();
            let event = event(&format!("1970-01-01T00:00:15.0Z {text}"));
            evidence.trace.push(event.expect("an event"));
            assert_eq!(failed(running_witness, &evidence), [claim]);
        }
    }

    #[test]
    fn bystander_is_to_be_blocked_while_frames_come() {
        let bystander = |evidence: &Evidence| {
            blocked_bystander(evidence, 0, "02:00.0").iter().filter(|c| c.has_failed()).count()
        };
        let mut evidence = running();
        assert_eq!(bystander(&evidence), 1);
        let fault = "1970-01-01T00:00:15.0Z vtd_dmar_fault sid 0x200 fault 5 addr 0x0 write 1";
        evidence.trace.push(event(fault).expect("an event"));
        assert_eq!(bystander(&evidence), 0);
        evidence.wires[0].clear();
        assert_eq!(bystander(&evidence), 1);
    }

    #[test]
    fn messages_are_to_be_sent_and_dropped_without_a_word() {
        let sent = |from: u32, to: u32| {
            let mut evidence = running();
            let message = |tenth: u32| {
                let at = f64::from(tenth) / 10.0;
                seen(at, "vtd_ir_remap_msi_req", "addr 0xfeeffff4 data 0x1")
            };
            evidence.trace.extend((from..to).map(message));
            evidence
        };
        assert!(failed(running_beside_interrupts, &sent(120, 300)).is_empty());
        assert_eq!(
            failed(running_beside_interrupts, &sent(190, 300)),
            ["messages are sent between the kernels"]
        );
        assert_eq!(
            failed(running_beside_interrupts, &sent(120, 190)),
            ["messages are sent while the next kernel boots"]
        );
        let mut evidence = sent(120, 300);
        let raised = "(addr 0xfeeffff4, data 0x1) -> (addr 0xfee00000, data 0x30)";
        evidence.trace.push(seen(15.0, "vtd_ir_remap_msi", raised));
        evidence.console.push(line(20.0, "DMAR: [INTR-REMAP] Request device fault index 0x7fff"));
        assert_eq!(
            failed(running_beside_interrupts, &evidence),
            ["no message raises an interrupt", "the next kernel logs none of them"]
        );
        // Others may.
        let mut evidence = sent(120, 300);
        let other = "(addr 0xfee00318, data 0x0) -> (addr 0xfee00000, data 0x30)";
        evidence.trace.push(seen(25.0, "vtd_ir_remap_msi", other));
        assert!(failed(running_beside_interrupts, &evidence).is_empty());
    }

    #[test]
    fn holes_are_to_be_written_to() {
        let mut evidence = running();
        assert_eq!(running_into_holes(&evidence).len(), 1);
        evidence.output.insert(5, line(20.2, "LU-PHASE punch 1 1"));
        assert!(failed(running_into_holes, &evidence).is_empty());
        evidence.trace.retain(|event| event.at < 22.0);
        assert_eq!(failed(running_into_holes, &evidence), [FEW]);
        let fault = "sid 0x100 fault 5 addr 0x0 write 1";
        evidence.trace.push(seen(21.0, "vtd_dmar_fault", fault));
        assert_eq!(failed(running_into_holes, &evidence), [FEW, "the IOMMU blocks nothing of "]);
    }

    #[test]
    fn nothing_is_to_be_written_after_the_end() {
        let mut evidence = running();
        assert_eq!(ended_witness(&evidence).len(), 1);
        for (at, phase) in [(20.2, "start"), (27.0, "run"), (27.1, "end")] {
            evidence.output.push(line(at, &format!("LU-PHASE {phase} 1 1")));
        }
        assert_eq!(failed(ended_witness, &evidence), ["nothing is written after the end"]);
        evidence.trace.retain(|event| event.at < 27.05);
        assert!(failed(ended_witness, &evidence).is_empty());
        let claims = ["frames are sent after the end", "no frame that was sent after the end"];
        let searched = |evidence: &Evidence| failed(searched_witness, evidence);
        // Of 300 frames, the 261st is sent at the end.
        evidence.found = vec![(0..261).collect()];
        assert!(searched(&evidence).is_empty());
        for found in [vec![], vec![vec![7, 263]]] {
            let evidence = Evidence { found, ..evidence.clone() };
            assert!(searched(&evidence)[0].starts_with(claims[1]));
        }
        evidence.wires[0].truncate(270);
        assert_eq!(searched(&evidence), claims[..1]);
        evidence.trace.retain(|event| event.at < 20.3);
        assert_eq!(failed(ended_witness, &evidence), [FEW]);
    }

    #[test]
    fn nothing_is_to_be_written_once_an_iommu_blocks() {
        let mut evidence = Evidence { found: vec![(0..190).collect()], ..running() };
        evidence.trace.retain(|event| event.at < 19.0);
        assert_eq!(failed(blocked_witness, &evidence), ["the IOMMU blocks "]);
        let fault = "sid 0x100 fault 5 addr 0x0 write 1";
        evidence.trace.push(seen(19.5, "vtd_dmar_fault", fault));
        assert!(failed(blocked_witness, &evidence).is_empty());
        assert_eq!(failed(blocked_lost_witness, &evidence), ["the IOMMU blocks "]);
        evidence.trace.push(seen(25.0, "vtd_dmar_enable", "enable 0"));
        evidence.trace.push(write(25.0, 190));
        assert_eq!(
            failed(blocked_witness, &evidence),
            ["nothing is written after the boot", "translation is never off"]
        );
        evidence.found = vec![vec![200]];
        assert_eq!(failed(blocked_witness, &evidence).len(), 3);
    }

    #[test]
    fn crash_kernel_has_to_go_on_with_what_it_finds() {
        let mut evidence = running();
        assert_eq!(crashed_witness(&evidence).len(), 1);
        for (at, text) in [(35.0, "LU-STAGE 3 7.3.4"), (35.1, "LU-PHASE boot 1 1")] {
            evidence.output.push(line(at, text));
        }
        assert_eq!(failed(crashed_witness, &evidence).len(), 2);
        for text in [
            "Copied translation tables from previous kernel for dmar0",
            "Copied IR table for dmar0 from previous kernel",
        ] {
            evidence.console.push(line(33.0, text));
        }
        assert!(failed(crashed_witness, &evidence).is_empty());
        let fault = "sid 0x100 fault 5 addr 0x0 write 1";
        evidence.trace.push(seen(34.0, "vtd_dmar_fault", fault));
        assert_eq!(failed(crashed_witness, &evidence), ["the IOMMU blocks nothing of "]);
    }

    #[test]
    fn nothing_of_what_is_written_outside_is_to_be_found() {
        let outside = |from: f64, to: f64, found| {
            let mut evidence = Evidence { found, ..running() };
            for at in [from, to] {
                let fault = "sid 0x200 fault 5 addr 0x10000000 write 1";
                evidence.trace.push(seen(at, "vtd_dmar_fault", fault));
            }
            failed(super::outside, &evidence)
        };
        assert!(outside(15.0, 75.0, vec![vec![1], vec![]]).is_empty());
        assert_eq!(outside(15.0, 65.0, vec![vec![1], vec![]]), ["the IOMMU blocks "]);
        assert_eq!(outside(19.0, 75.0, vec![vec![1], vec![]]), ["the IOMMU blocks "]);
        let claim = "no frame of it is in memory";
        assert_eq!(outside(15.0, 75.0, vec![vec![1], vec![7]]), [claim]);
        assert_eq!(outside(15.0, 75.0, vec![]), [claim]);
    }
}
