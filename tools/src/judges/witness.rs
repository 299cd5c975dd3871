// SPDX-License-Identifier: GPL-2.0

//! The outside witness: numbered frames, from when they were sent to when QEMU saw them written.
//!
//! That all of them are in memory in the end, in order, says nothing about when: QEMU and the wire
//! hold frames back while a NIC cannot receive, and deliver them later.

use super::{COMMAND, DEVICE, DEVICE_CONTROL, iommu, quiesced_until, translation};
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
const FEWEST: usize = 20;

/// Always.
const EVER: f64 = f64::INFINITY;

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
    let sent = |from: f64, to: f64| {
        let events = evidence.trace.iter().filter(move |event| (from..to).contains(&event.at));
        events.filter(|event| event.name == "vtd_ir_remap_msi_req" && event.args.starts_with(SENT))
    };
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
    let found =
        evidence.found.first().map(|numbers| numbers.iter().filter(|n| is_later(n)).count());
    [
        Case::check("frames are sent after the end", after.len() >= FEWEST, || {
            format!("{} frames", after.len())
        }),
        Case::check("no frame that was sent after the end is in memory", found == Some(0), || {
            format!("found {found:?}")
        }),
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
    let bdf = device(evidence).unwrap_or_default();
    let witness = Witness::of(evidence, 0, bdf);
    let times = (evidence.update_asked(1), evidence.silence(1), evidence.end_of(2, "boot"));
    let (Some(witness), (Some(asked), Some((last, first)), Some(booted))) = (witness, times) else {
        return vec![nothing_to_look_at()];
    };
    let after = witness.writes.iter().filter(|(at, _)| *at > booted).count();
    let mut cases = vec![
        witness.wrote_between("between the last word of one kernel and the next's", last, first),
        iommu::blocked(evidence, bdf, first, booted),
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

/// The longest time between two DMA writes of the device at `bdf`, which is at the end of the wire
/// of this number, from one moment to another. A figure.
pub fn longest_gap(evidence: &Evidence, wire: usize, bdf: &str, from: f64, to: f64) -> Option<f64> {
    Witness::of(evidence, wire, bdf)?.longest_gap(from, to)
}

/// The device under test: the first that says where its ring is.
fn device(evidence: &Evidence) -> Option<&str> {
    devices(evidence).next()
}

/// All of them.
fn devices(evidence: &Evidence) -> impl Iterator<Item = &str> {
    let rings = evidence.output.iter().filter_map(|line| line.text.strip_prefix("LU-RING 0000:"));
    rings.filter_map(|ring| ring.split(' ').next())
}

fn nothing_to_look_at() -> Case {
    Case::failed("DMA of the witness", "there is no wire, ring or complete live update to look at")
}

/// When the device at `bdf` was told to stop: by a reset, or by taking bus mastering from it.
pub(super) fn stopped_at(evidence: &Evidence, bdf: &str) -> Option<f64> {
    let (asked, jump) = (evidence.update_asked(1)?, evidence.jump(1)?);
    let mut events = evidence.trace.iter().filter(|event| (asked..jump).contains(&event.at));
    let stop = events.find(|event| {
        event.config_write().is_some_and(|write| {
            write.bdf == bdf
                && match write.offset {
                    offset if offset == COMMAND.0 => write.value & COMMAND.1 == 0,
                    offset if offset == DEVICE_CONTROL.0 => write.value & DEVICE_CONTROL.1 != 0,
                    _ => false,
                }
        })
    });
    stop.map(|event| event.at)
}

/// What was seen at both ends of a wire.
struct Witness<'a> {
    attempts: &'a [Attempt],
    /// When the device wrote a frame to memory, and to which of its buffers.
    writes: Vec<(f64, u64)>,
    /// How many frames lay in memory in the end.
    found: Option<usize>,
}

impl<'a> Witness<'a> {
    /// The wire of this number, with the device at `bdf` at its end.
    fn of(evidence: &'a Evidence, wire: usize, bdf: &str) -> Option<Self> {
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
    fn kept_up(&self, stop: f64) -> [Case; 4] {
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
    fn wrote_between(&self, when: &str, from: f64, to: f64) -> Case {
        let count = self.writes.iter().filter(|(at, _)| (from..to).contains(at)).count();
        Case::check(format!("at least {FEWEST} frames are written {when}"), count >= FEWEST, || {
            format!("QEMU saw {count}")
        })
    }

    /// What was sent is what was written and what is in memory.
    fn all_arrived(&self, evidence: &Evidence) -> Case {
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
    use crate::serial::Line;
    use crate::trace::{Event, event};

    /// Where the buffers of the tests' ring begin.
    const BUFFERS: u64 = 0x1_0004_0000;

    fn line(at: f64, text: &str) -> Line {
        Line { at, text: text.to_owned() }
    }

    fn write(at: f64, slot: usize) -> Event {
        let address = BUFFERS + 2048 * slot as u64;
        Event {
            at,
            name: "igb_rx_desc_buff_write".into(),
            args: format!("buffer 1, addr: {address:#x}, offset: 0, from: 0x55, length: 60"),
        }
    }

    /// A live update in which a frame is sent every 100 ms from second 1 to 31, and written 10 ms
    /// later: the kernel is asked at 10, jumps at 12 and speaks at 18; the next one binds at 30.
    fn running() -> Evidence {
        let sent: Vec<f64> = (0..300).map(|n| 1.0 + 0.1 * f64::from(n)).collect();
        Evidence {
            console: vec![
                line(12.0, "[    9.0] kexec_core: Starting new kernel"),
                line(18.0, "[    0.000000] Linux version 7.3.4"),
            ],
            output: vec![
                line(0.5, "LU-STAGE 1 7.3.4"),
                line(0.9, "LU-RING 0000:01:00.0 0x100040000 2048 4095"),
                line(10.0, "LU-KEXEC"),
                line(20.0, "LU-STAGE 2 7.3.4"),
                line(20.1, "LU-PHASE boot 1 1"),
                line(30.0, "LU-PHASE bind 1 1"),
                line(32.0, "LU-FRAMES 0000:01:00.0 300"),
            ],
            trace: sent.iter().zip(0..).map(|(at, slot)| write(at + 0.01, slot)).collect(),
            frames: sent.clone(),
            wires: vec![sent.iter().map(|at| Attempt { at: *at, sent: true }).collect()],
            ..Evidence::default()
        }
    }

    /// The same, but the device is stopped at 11.
    fn stopped() -> Evidence {
        let mut evidence = running();
        evidence.trace.retain(|event| event.at < 11.0);
        for text in [
            "1970-01-01T00:00:11.0Z pci_cfg_write igb 01:00.0 @0x4 <- 0x402",
            "1970-01-01T00:00:11.1Z pci_cfg_write igb 01:00.0 @0xa8 <- 0x8810",
            "1970-01-01T00:00:11.2Z pci_cfg_write igb 01:00.0 @0x4 <- 0x0",
        ] {
            evidence.trace.push(event(text).expect("an event"));
        }
        let written = evidence.trace.len() - 3;
        evidence.output[6].text = format!("LU-FRAMES 0000:01:00.0 {written}");
        evidence
    }

    type Judge = fn(&Evidence) -> Vec<Case>;

    /// What fails, up to its first number.
    fn failed(judge: Judge, evidence: &Evidence) -> Vec<String> {
        let is_end = |c: char| c == ':' || c.is_ascii_digit();
        let cases = judge(evidence).into_iter().filter(Case::has_failed);
        cases.map(|case| case.name.split(is_end).next().unwrap_or_default().to_owned()).collect()
    }

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

    /// An event of an emulated IOMMU.
    fn seen(at: f64, name: &str, args: &str) -> Event {
        Event { at, name: name.into(), args: args.into() }
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
