// SPDX-License-Identifier: GPL-2.0

//! Reads from a slow disk that take longer than a kexec, as QEMU and the VM see them complete.

use std::collections::BTreeSet;

use super::mastering::{DEVICE, stopped_at};
use crate::evidence::Evidence;
use crate::verdict::Case;

/// The queue that the reads are in.
const QUEUE: u16 = 1;

/// The command before them, which wrote what they read.
const WRITE: u16 = 0;

/// The shortest time in seconds that they take: longer than the silence between two kernels.
const SPAN: f64 = 5.0;

/// Without a kexec, all reads complete, and take their time.
pub fn idle_reads(evidence: &Evidence) -> Vec<Case> {
    let Some(reads) = Reads::of(evidence) else {
        return vec![nothing_to_look_at()];
    };
    let span = reads.completions.last().map_or(0.0, |last| last - reads.completions[0]);
    vec![
        reads.completed_once(),
        Case::check("what QEMU saw complete is what the VM found", reads.agree(EVER), || {
            format!("QEMU saw {}, the VM found {}", reads.completions.len(), reads.found)
        }),
        Case::check("all reads complete", reads.found == reads.started, || {
            format!("the VM found {} of {}", reads.found, reads.started)
        }),
        Case::check(format!("they take {SPAN} s at least"), span >= SPAN, || {
            format!("{span:.3} s")
        }),
    ]
}

/// Always.
const EVER: f64 = f64::INFINITY;

/// With a kexec before which the device is stopped, some reads complete until then, and no more.
///
/// QEMU completes all that is left at the reset, where it tells nobody.
pub fn stopped_reads(evidence: &Evidence) -> Vec<Case> {
    let times = (stopped_at(evidence, DEVICE), evidence.jump(1));
    let (Some(reads), (Some(stopped), Some(jump))) = (Reads::of(evidence), times) else {
        return vec![nothing_to_look_at()];
    };
    let before = reads.completions.iter().filter(|at| **at < stopped).count();
    let late = reads.completions.iter().filter(|at| **at >= jump).count();
    vec![
        reads.completed_once(),
        Case::check("the VM found what completed until then", reads.agree(stopped), || {
            format!("QEMU saw {before}, the VM found {}", reads.found)
        }),
        Case::check("some reads complete before the kexec", reads.found > 0, || "none".into()),
        Case::check("some do not", reads.found < reads.started, || "all did".into()),
        Case::check("no read completes after the jump", late == 0, || format!("QEMU saw {late}")),
    ]
}

/// The device goes on through the kexec: all reads complete, some of them while no kernel runs.
pub fn running_reads(evidence: &Evidence) -> Vec<Case> {
    /// The fewest that show a device at work.
    const FEWEST: usize = 20;
    let (Some(reads), Some((last, first))) = (Reads::of(evidence), evidence.silence(1)) else {
        return vec![nothing_to_look_at()];
    };
    let between = reads.completions.iter().filter(|at| (last..first).contains(*at)).count();
    vec![
        reads.completed_once(),
        Case::check("what QEMU saw complete is what the VM found", reads.agree(EVER), || {
            format!("QEMU saw {}, the VM found {}", reads.completions.len(), reads.found)
        }),
        Case::check("all reads complete", reads.found == reads.started, || {
            format!("the VM found {} of {}", reads.found, reads.started)
        }),
        Case::check(
            format!("at least {FEWEST} complete between the kernels"),
            between >= FEWEST,
            || format!("QEMU saw {between}"),
        ),
    ]
}

fn nothing_to_look_at() -> Case {
    Case::failed("reads", "there are no reads or no complete live update to look at")
}

/// What was seen of the reads.
struct Reads {
    /// When one completed, in the order of time.
    completions: Vec<f64>,
    /// How many of them were different ones.
    different: usize,
    /// How many the VM found completed.
    found: usize,
    /// How many it started.
    started: usize,
}

impl Reads {
    fn of(evidence: &Evidence) -> Option<Self> {
        let mut lines = evidence.output.iter().rev();
        let said = lines.find_map(|line| line.text.strip_prefix("LU-READS "))?;
        let [_, found, started] = said.split(' ').collect::<Vec<_>>()[..] else {
            return None;
        };
        let events = evidence.trace.iter().filter_map(|e| Some((e.at, e.completed_in(QUEUE)?)));
        let reads: Vec<(f64, u16)> = events.filter(|(_, command)| *command != WRITE).collect();
        Some(Self {
            completions: reads.iter().map(|(at, _)| *at).collect(),
            different: reads.iter().map(|(_, command)| command).collect::<BTreeSet<_>>().len(),
            found: found.parse().ok()?,
            started: started.parse().ok()?,
        })
    }

    fn completed_once(&self) -> Case {
        let seen = self.completions.len();
        Case::check("no read completes twice", seen == self.different, || {
            format!("QEMU saw {seen}, of {} different ones", self.different)
        })
    }

    /// Whether the VM found as many as completed before `stop`.
    fn agree(&self, stop: f64) -> bool {
        self.completions.iter().filter(|at| **at < stop).count() == self.found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serial::Line;
    use crate::trace::Event;

    /// `found` of 8 reads completed, one per second from 1 on; the kernel jumps at 5.
    fn seen(found: u16) -> Evidence {
        let line = |at: f64, text: String| Line { at, text };
        let event = |at: f64, queue: u16, command: u16| Event {
            at,
            name: "pci_nvme_enqueue_req_completion".into(),
            args: format!("cid {command} cqid {queue} dw0 0x0 dw1 0x0 status 0x0"),
        };
        let stop = Event {
            at: 4.5,
            name: "pci_cfg_write".into(),
            args: "nvme 01:00.0 @0x4 <- 0x402".into(),
        };
        let reads = (1..=found).map(|read| event(f64::from(read), QUEUE, read));
        Evidence {
            console: vec![line(5.0, "[    9.0] kexec_core: Starting new kernel".into())],
            output: vec![
                line(4.0, "LU-KEXEC".into()),
                line(9.0, format!("LU-READS 0000:01:00.0 {found} 8")),
            ],
            trace: [event(0.1, 0, 9), event(0.2, QUEUE, WRITE)]
                .into_iter()
                .chain(reads)
                .chain([stop])
                .collect(),
            ..Evidence::default()
        }
    }

    fn failed(judge: fn(&Evidence) -> Vec<Case>, evidence: &Evidence) -> Vec<usize> {
        let cases = judge(evidence).into_iter().zip(0..);
        cases.filter(|(case, _)| case.has_failed()).map(|(_, index)| index).collect()
    }

    #[test]
    fn reads_complete_or_stop_as_they_should() {
        assert_eq!(failed(idle_reads, &seen(8)), [0; 0]);
        assert_eq!(failed(stopped_reads, &seen(4)), [0; 0]);
    }

    #[test]
    fn reads_of_a_device_that_goes_on_complete_between_the_kernels() {
        let mut evidence = seen(0);
        let reads = (0..40).map(|read| Event {
            at: 3.0 + 0.1 * f64::from(read),
            name: "pci_nvme_enqueue_req_completion".into(),
            args: format!("cid {} cqid {QUEUE} dw0 0x0 dw1 0x0 status 0x0", read + 1),
        });
        evidence.trace.extend(reads);
        evidence.output[1].text = "LU-READS 0000:01:00.0 40 40".into();
        assert_eq!(failed(running_reads, &evidence), [0]);
        let boot = Line { at: 8.0, text: "[    0.0] Linux version 7.3.4".into() };
        evidence.console.push(boot);
        assert_eq!(failed(running_reads, &evidence), [0; 0]);
        evidence.console[1].at = 6.0;
        assert_eq!(failed(running_reads, &evidence), [3]);
        evidence.trace.pop();
        assert_eq!(failed(running_reads, &evidence), [1, 3]);
        evidence.output[1].text = "LU-READS 0000:01:00.0 39 40".into();
        assert_eq!(failed(running_reads, &evidence), [2, 3]);
    }

    #[test]
    fn missing_read_fails() {
        assert_eq!(failed(idle_reads, &seen(7)), [2]);
        let mut evidence = seen(8);
        evidence.trace.remove(4);
        assert_eq!(failed(idle_reads, &evidence), [1]);
        assert_eq!(failed(idle_reads, &seen(0)), [2, 3]);
        assert_eq!(failed(idle_reads, &Evidence::default()), [0]);
        let mut evidence = seen(4);
        evidence.trace.remove(4);
        assert_eq!(failed(stopped_reads, &evidence), [1]);
        assert_eq!(failed(stopped_reads, &Evidence::default()), [0]);
    }

    #[test]
    fn read_that_completes_twice_fails() {
        let mut evidence = seen(8);
        evidence.trace[4].args = evidence.trace[3].args.clone();
        assert_eq!(failed(idle_reads, &evidence), [0]);
    }

    #[test]
    fn fast_disk_fails() {
        let mut evidence = seen(8);
        evidence.trace.iter_mut().for_each(|event| event.at /= 2.0);
        assert_eq!(failed(idle_reads, &evidence), [3]);
    }

    #[test]
    fn reads_that_a_reset_ends_do_not_count() {
        let mut evidence = seen(8);
        evidence.trace.iter_mut().skip(6).for_each(|event| event.at = 4.5);
        evidence.output[1].text = "LU-READS 0000:01:00.0 4 8".into();
        assert_eq!(failed(stopped_reads, &evidence), [0; 0]);
    }

    #[test]
    fn stopped_device_that_goes_on_fails() {
        assert_eq!(failed(stopped_reads, &seen(5)), [1, 4]);
        assert_eq!(failed(stopped_reads, &seen(8)), [1, 3, 4]);
        assert_eq!(failed(stopped_reads, &seen(0)), [2]);
    }
}
