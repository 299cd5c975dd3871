// SPDX-License-Identifier: GPL-2.0

//! The outside witness: numbered frames, from when they were sent to when QEMU saw them written.
//!
//! That all of them are in memory in the end, in order, says nothing about when: QEMU and the wire
//! hold frames back while a NIC cannot receive, and deliver them later.

use super::mastering::{DEVICE, quiesced_until, stopped_at};
use crate::evidence::Evidence;
use crate::verdict::Case;
use crate::wire::Attempt;

/// The longest that a frame may take from the harness to the memory, in seconds.
const IN_TIME: f64 = 0.25;

/// How much earlier than it was sent a frame may seem to be written: QEMU's clock is that of the
/// harness, but is cut off after the microseconds.
const CLOCK: f64 = 1e-6;

/// The fewest frames that show a device at work: as many as come in a fifth of a second.  On a fast
/// host there is half a second between the last word of one kernel and the first one of the next.
pub const FEWEST: usize = 20;

/// Always.
pub const EVER: f64 = f64::INFINITY;

/// A device that receives without a kexec: every frame arrives, and in time.
pub fn idle_witness(evidence: &Evidence) -> Vec<Case> {
    let witness = device(evidence).and_then(|bdf| Witness::of(evidence, 0, bdf));
    let Some(witness) = witness else {
        return vec![nothing_to_look_at()];
    };
    let mut cases = vec![
        witness.wrote_between("while frames were sent", 0.0, EVER),
        witness.all_arrived(evidence),
    ];
    cases.extend(witness.kept_up(EVER));
    cases
}

/// A device that is stopped before the kexec: every frame until then arrives, and in time; none is
/// written later; and the next kernel finds those that were.
pub fn stopped_witness(evidence: &Evidence) -> Vec<Case> {
    let (Some(witness), Some(stopped)) =
        (Witness::of(evidence, 0, DEVICE), stopped_at(evidence, DEVICE))
    else {
        return vec![nothing_to_look_at()];
    };
    let mut cases = quiesced_until(evidence, "bind");
    cases.push(witness.wrote_between("before the device was stopped", 0.0, stopped));
    cases.push(witness.all_written_are_found());
    cases.extend(witness.kept_up(stopped));
    cases
}

/// The longest time between two DMA writes of the device at `bdf`, which is at the end of the wire
/// of this number, from one moment to another. A figure.
pub fn longest_gap(evidence: &Evidence, wire: usize, bdf: &str, from: f64, to: f64) -> Option<f64> {
    Witness::of(evidence, wire, bdf)?.longest_gap(from, to)
}

/// Moments at both ends of a wire, in host time.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct BothEnds {
    /// When a frame was sent.
    pub sent: Vec<f64>,
    /// When the device wrote one to memory.
    pub written: Vec<f64>,
}

/// When frames were sent to the device under test and when it wrote them, in the order of time, or nothing if no
/// program said where the ring of the device is.
pub fn both_ends(evidence: &Evidence) -> Option<BothEnds> {
    let witness = Witness::of(evidence, 0, device(evidence)?)?;
    let mut written: Vec<f64> = witness.writes.iter().map(|(at, _)| *at).collect();
    written.sort_by(f64::total_cmp);
    Some(BothEnds { sent: witness.sent().collect(), written })
}

/// The device under test: the first that says where its ring is.
pub fn device(evidence: &Evidence) -> Option<&str> {
    devices(evidence).next()
}

/// All of them.
pub fn devices(evidence: &Evidence) -> impl Iterator<Item = &str> {
    let rings = evidence.output.iter().filter_map(|line| line.text.strip_prefix("LU-RING 0000:"));
    rings.filter_map(|ring| ring.split(' ').next())
}

pub fn nothing_to_look_at() -> Case {
    Case::failed("DMA of the witness", "there is no wire, ring or complete live update to look at")
}

/// What was seen at both ends of a wire.
pub struct Witness<'a> {
    attempts: &'a [Attempt],
    /// When the device wrote a frame to memory, and to which of its buffers.
    pub writes: Vec<(f64, u64)>,
    /// How many frames lay in memory in the end.
    found: Option<usize>,
}

impl<'a> Witness<'a> {
    /// The wire of this number, with the device at `bdf` at its end.
    pub fn of(evidence: &'a Evidence, wire: usize, bdf: &str) -> Option<Self> {
        let said = |marker: &str| {
            let start = format!("{marker} 0000:{bdf} ");
            evidence.output.iter().rev().find_map(|line| line.text.strip_prefix(&start))
        };
        let ring: Vec<&str> = said("LU-RING")?.split(' ').collect();
        let [buffers, size, count] = ring[..] else {
            return None;
        };
        let buffers = u64::from_str_radix(buffers.strip_prefix("0x")?, 16).ok()?;
        let (size, count): (u64, u64) = (size.parse().ok()?, count.parse().ok()?);
        // The event does not say which device it is about, but each has buffers of its own.
        let slot = |address: u64| {
            let slot = address.checked_sub(buffers)?.checked_div(size)?;
            (slot < count).then_some(slot)
        };
        let writes = evidence.trace.iter().filter_map(|e| Some((e.at, slot(e.received_to()?)?)));
        Some(Self {
            attempts: evidence.wires.get(wire)?,
            writes: writes.collect(),
            found: said("LU-FRAMES").and_then(|text| text.parse().ok()),
        })
    }

    /// When each frame was sent, in the order of their numbers.
    fn sent(&self) -> impl Iterator<Item = f64> {
        self.attempts.iter().filter(|attempt| attempt.sent).map(|attempt| attempt.at)
    }

    /// Each frame was sent at once, and written in time and in order, as long as the device had
    /// that much time before `stop`.
    pub fn kept_up(&self, stop: f64) -> [Case; 4] {
        let blocked = self.attempts.iter().filter(|a| !a.sent && a.at < stop).count();
        let due = self.sent().take_while(|at| *at < stop - IN_TIME).enumerate();
        let took = due.map(|(number, sent)| {
            let written = self.writes.get(number).map(|(at, _)| at - sent);
            (number, written.unwrap_or(EVER))
        });
        let late: Vec<(usize, f64)> =
            took.filter(|(_, took)| !(-CLOCK..=IN_TIME).contains(took)).collect();
        let astray = self.writes.iter().zip(0..).find(|((_, slot), number)| slot != number);
        let gap = self.longest_gap(0.0, stop);
        let offered: Vec<f64> = self.sent().take_while(|at| *at < stop).collect();
        [
            Case::check("sending a frame never had to wait", blocked == 0, || {
                format!("{blocked} of {} would have blocked", self.attempts.len())
            }),
            Case::check(
                "each frame is written within 250 ms of being sent",
                late.is_empty(),
                || {
                    let (number, took) = late[0];
                    format!("{} were not, the first was frame {number}: {took:.3} s", late.len())
                },
            ),
            Case::check(
                "the device writes to its buffers one after the other",
                astray.is_none(),
                || format!("write and buffer, from 0 on: {astray:?}"),
            ),
            // A figure and no verdict, but there has to be one.
            Case::check(
                format!(
                    "longest gap between two DMA writes: {:.1} ms (between two frames sent: {:.1} ms)",
                    gap.unwrap_or(EVER) * 1e3,
                    gap_in(&offered).unwrap_or(EVER) * 1e3,
                ),
                gap.is_some(),
                || "there were none".into(),
            ),
        ]
    }

    /// The device wrote enough frames to show that it is at work.
    pub fn wrote_between(&self, when: &str, from: f64, to: f64) -> Case {
        let count = self.writes.iter().filter(|(at, _)| (from..to).contains(at)).count();
        Case::check(format!("at least {FEWEST} frames are written {when}"), count >= FEWEST, || {
            format!("QEMU saw {count}")
        })
    }

    /// What was sent is what was written and what is in memory.
    pub fn all_arrived(&self, evidence: &Evidence) -> Case {
        let (sent, written) = (self.sent().count(), self.writes.len());
        let name = format!("all {sent} frames that were sent are found in memory");
        Case::check(name, sent == written && self.found == Some(sent), || {
            let all = evidence.trace.iter().filter(|event| event.received_to().is_some()).count();
            format!(
                "QEMU saw {written} written to their ring, {all} in all; found {:?}",
                self.found
            )
        })
    }

    /// What was written is what is in memory.
    fn all_written_are_found(&self) -> Case {
        let written = self.writes.len();
        let name = format!("all {written} frames that were written are found in memory");
        Case::check(name, self.found == Some(written), || format!("found {:?}", self.found))
    }

    /// The longest time between two writes from one moment to another, in seconds.
    fn longest_gap(&self, from: f64, to: f64) -> Option<f64> {
        let times: Vec<f64> =
            self.writes.iter().map(|(at, _)| *at).filter(|at| (from..to).contains(at)).collect();
        gap_in(&times)
    }
}

/// The longest time between two of these.
fn gap_in(times: &[f64]) -> Option<f64> {
    times.windows(2).map(|pair| pair[1] - pair[0]).reduce(f64::max)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judges::Judge;
    use crate::judges::made_up::{failed, running, stopped, write};
    use crate::judges::running::{dropped_witness, running_witness};
    use crate::trace::event;

    const BLOCKED: &str = "sending a frame never had to wait";
    const LATE: &str = "each frame is written within ";
    const ASTRAY: &str = "the device writes to its buffers one after the other";
    const FEW: &str = "at least ";
    const NOT_ALL: &str = "all ";

    #[test]
    fn device_that_keeps_up_passes() {
        assert!(failed(idle_witness, &running()).is_empty());
        assert!(failed(running_witness, &running()).is_empty());
        assert!(failed(dropped_witness, &running()).is_empty());
        assert!(failed(stopped_witness, &stopped()).is_empty());
    }

    #[test]
    fn send_that_would_block_fails() {
        for at in [5.0, 15.0] {
            let mut evidence = running();
            evidence.wires[0].push(Attempt { at, sent: false });
            assert_eq!(failed(running_witness, &evidence), [BLOCKED]);
            assert_eq!(failed(idle_witness, &evidence), [BLOCKED]);
        }
        // Nobody receives when the device was stopped.
        let mut evidence = stopped();
        evidence.wires[0].push(Attempt { at: 15.0, sent: false });
        assert!(failed(stopped_witness, &evidence).is_empty());
        evidence.wires[0].push(Attempt { at: 5.0, sent: false });
        assert_eq!(failed(stopped_witness, &evidence), [BLOCKED]);
    }

    #[test]
    fn frame_that_is_written_late_or_too_early_fails() {
        for by in [0.26, -0.02] {
            let mut evidence = running();
            evidence.trace[150].at += by;
            assert_eq!(failed(running_witness, &evidence), [LATE]);
        }
        let mut evidence = stopped();
        evidence.trace[50].at += 0.26;
        assert_eq!(failed(stopped_witness, &evidence), [LATE]);
    }

    #[test]
    fn device_that_stood_still_and_caught_up_fails() {
        let mut evidence = running();
        for event in &mut evidence.trace {
            if (12.0..18.0).contains(&event.at) {
                event.at = 18.5;
            }
        }
        assert_eq!(failed(running_witness, &evidence), [FEW, LATE]);
    }

    #[test]
    fn lost_frame_fails() {
        let mut evidence = running();
        evidence.trace.remove(150);
        assert_eq!(failed(running_witness, &evidence), [NOT_ALL, LATE, ASTRAY]);
        // Stopped devices lose what comes in their last moments, but no more.
        let mut evidence = stopped();
        evidence.trace.remove(50);
        assert_eq!(failed(stopped_witness, &evidence), [NOT_ALL, ASTRAY]);
        evidence.trace.drain(80..98);
        assert_eq!(failed(stopped_witness, &evidence), [NOT_ALL, LATE, ASTRAY]);
    }

    #[test]
    fn frame_that_is_not_found_or_not_in_its_place_fails() {
        let mut evidence = running();
        evidence.output[6].text = "LU-FRAMES 0000:01:00.0 299".into();
        assert_eq!(failed(running_witness, &evidence), [NOT_ALL]);
        assert_eq!(failed(idle_witness, &evidence), [NOT_ALL]);
        evidence.output.remove(6);
        assert_eq!(failed(running_witness, &evidence), [NOT_ALL]);
        let mut evidence = running();
        evidence.trace[7] = write(evidence.trace[7].at, 6);
        assert_eq!(failed(running_witness, &evidence), [ASTRAY]);
        let mut evidence = stopped();
        evidence.output[6].text = "LU-FRAMES 0000:01:00.0 7".into();
        assert_eq!(failed(stopped_witness, &evidence), [NOT_ALL]);
    }

    #[test]
    fn frame_that_a_stopped_device_writes_fails() {
        let mut evidence = stopped();
        evidence.trace.insert(100, write(15.0, 100));
        let failures = failed(stopped_witness, &evidence);
        assert_eq!(failures, ["no DMA between device shutdown and the next bind", NOT_ALL]);
    }

    #[test]
    fn run_that_could_not_have_failed_fails() {
        let judges: [Judge; 4] = [idle_witness, stopped_witness, running_witness, dropped_witness];
        for judge in judges {
            assert_eq!(judge(&Evidence::default()).len(), 1);
            let mut evidence = stopped();
            evidence.output.remove(1);
            assert_eq!(failed(judge, &evidence), ["DMA of the witness"]);
        }
        let mut evidence = running();
        evidence.wires[0].clear();
        evidence.trace.clear();
        evidence.output[6].text = "LU-FRAMES 0000:01:00.0 0".into();
        assert_eq!(failed(idle_witness, &evidence), [FEW, "longest gap between two DMA writes"]);
    }

    #[test]
    fn other_devices_writes_do_not_count() {
        let mut evidence = running();
        evidence.trace.push(write(15.0, 4095));
        assert!(failed(running_witness, &evidence).is_empty());
    }

    #[test]
    fn device_may_be_anywhere() {
        let mut evidence = running();
        evidence.output[1].text = "LU-RING 0000:03:00.0 0x100040000 2048 4095".into();
        evidence.output[6].text = "LU-FRAMES 0000:03:00.0 300".into();
        assert!(failed(idle_witness, &evidence).is_empty());
        assert!(failed(running_witness, &evidence).is_empty());
        let fault = "1970-01-01T00:00:15.0Z vtd_dmar_fault sid 0x300 fault 5 addr 0x0 write 1";
        evidence.trace.push(event(fault).expect("an event"));
        assert_eq!(failed(running_witness, &evidence), ["the IOMMU blocks nothing of "]);
    }

    #[test]
    fn gap_is_the_longest_between_two_writes() {
        let mut evidence = running();
        evidence.trace.drain(100..105);
        let gap =
            |from, to| longest_gap(&evidence, 0, DEVICE, from, to).map(|gap| (gap * 1e3).round());
        assert_eq!(gap(0.0, EVER), Some(600.0));
        assert_eq!(gap(15.0, EVER), Some(100.0));
        assert_eq!(gap(40.0, EVER), None);
        assert_eq!(longest_gap(&evidence, 1, DEVICE, 0.0, EVER), None);
    }
}
