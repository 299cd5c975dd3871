// SPDX-License-Identifier: GPL-2.0

//! What a VM run left behind, for judges to look at.

use std::time::Duration;

use crate::serial::{Line, message};
use crate::trace::Event;
use crate::wire::Attempt;

/// The kernel's last words before it jumps into the next one.
pub const STARTING_NEW_KERNEL: &str = "kexec_core: Starting new kernel";

/// The first words of any kernel.
pub const FIRST_WORDS: &str = "Linux version ";

/// Everything that was seen of one run, in host time.
#[derive(Clone, Default)]
pub struct Evidence {
    /// The kernels' messages.
    pub console: Vec<Line>,
    /// What the init and the tests said.
    pub output: Vec<Line>,
    /// What QEMU saw.
    pub trace: Vec<Event>,
    /// When a frame was offered to the NIC.
    pub frames: Vec<f64>,
    /// When a numbered frame was sent over each of the wires.
    pub wires: Vec<Vec<Attempt>>,
    /// Which frames of each of them are in the memory in the end, by their numbers, if that can be looked
    /// at.
    pub found: Vec<Vec<u64>>,
    /// Whether the VM had to be stopped.
    pub timed_out: bool,
}

/// One boot, as its init announced it.
#[derive(Clone, Debug, PartialEq)]
pub struct Boot {
    /// 1, or one more than there were live updates before.
    pub stage: usize,
    /// Release and build of the kernel.
    pub kernel: String,
    /// Whether `/dev/liveupdate` was there.
    pub live_update: bool,
    /// When init ran, in host time.
    pub at: f64,
    /// What ended when; in the order of time.
    pub phases: Vec<Phase>,
    /// The commands that were started.
    pub runs: Vec<Run>,
}

/// A named part of a boot, from a line `LU-PHASE name start duration`.
#[derive(Clone, Debug, PartialEq)]
pub struct Phase {
    /// Its name.
    pub name: String,
    /// How long it took, by the VM's clock.
    pub took: Duration,
    /// When it had ended, in host time.
    pub at: f64,
}

/// One command of a stage.
#[derive(Clone, Debug, PartialEq)]
pub struct Run {
    /// The command.
    pub command: String,
    /// Its exit status, unless it never ended.
    pub status: Option<i32>,
    /// What it said.
    pub lines: Vec<String>,
}

impl Evidence {
    /// The boots of this run.
    pub fn boots(&self) -> Vec<Boot> {
        let mut boots: Vec<Boot> = Vec::new();
        for line in &self.output {
            let (word, rest) = line.text.split_once(' ').unwrap_or((&line.text, ""));
            if word == "LU-STAGE" {
                let (stage, kernel) = rest.split_once(' ').unwrap_or((rest, ""));
                boots.push(Boot {
                    stage: stage.parse().unwrap_or(0),
                    kernel: kernel.to_owned(),
                    live_update: false,
                    at: line.at,
                    phases: Vec::new(),
                    runs: Vec::new(),
                });
            } else if let Some(boot) = boots.last_mut() {
                boot.take(word, rest, line);
            }
        }
        boots
    }

    /// What QEMU saw between two moments, in host time.
    pub fn events(&self, from: f64, to: f64) -> impl Iterator<Item = &Event> {
        self.trace.iter().filter(move |event| (from..to).contains(&event.at))
    }

    /// When boot `stage` asked for its live update, in host time.
    pub fn update_asked(&self, stage: usize) -> Option<f64> {
        let mut asked = self.output.iter().filter(|line| line.text == "LU-KEXEC");
        asked.nth(stage.checked_sub(1)?).map(|line| line.at)
    }

    /// When the kernel of boot `stage` had shut its devices down and jumped.
    pub fn jump(&self, stage: usize) -> Option<f64> {
        let mut jumps =
            self.console.iter().filter(|line| message(&line.text).starts_with(STARTING_NEW_KERNEL));
        jumps.nth(stage.checked_sub(1)?).map(|line| line.at)
    }

    /// The silence between the last line of the kernel of boot `stage`, on either serial port, and
    /// the next kernel's first one.
    pub fn silence(&self, stage: usize) -> Option<(f64, f64)> {
        let jump = self.jump(stage)?;
        let mut after = self.console.iter().filter(|line| line.at > jump);
        let first = after.find(|line| message(&line.text).starts_with(FIRST_WORDS))?.at;
        let lines = self.console.iter().chain(&self.output);
        let last = lines.map(|line| line.at).filter(|at| *at < first).fold(jump, f64::max);
        Some((last, first))
    }

    /// When `phase` of boot `stage` ended, in host time.
    pub fn end_of(&self, stage: usize, phase: &str) -> Option<f64> {
        let boot = self.boots().into_iter().find(|boot| boot.stage == stage)?;
        boot.phases.iter().find(|end| end.name == phase).map(|end| end.at)
    }

    /// Whether a line of the console is one of a kernel that was to panic, after it was.
    pub fn is_of_panic(&self, line: &Line) -> bool {
        let mut asked = self.output.iter().filter(|said| said.text == "LU-PANIC");
        asked.any(|asked| {
            let after = |other: &&Line| other.at > asked.at;
            let boots = |other: &&Line| message(&other.text).starts_with(FIRST_WORDS);
            let next = self.console.iter().filter(after).find(boots);
            line.at > asked.at && next.is_none_or(|next| line.at < next.at)
        })
    }

    /// What went wrong in the VM itself, in the init's words.
    pub fn errors(&self) -> Vec<&str> {
        self.output.iter().filter_map(|line| line.text.strip_prefix("LU-ERROR ")).collect()
    }

    /// Whether the last stage came to its end.
    pub fn ended(&self) -> bool {
        self.output.iter().any(|line| line.text == "LU-END")
    }
}

impl Boot {
    fn take(&mut self, word: &str, rest: &str, line: &Line) {
        match word {
            "LU-LIVEUPDATE" => self.live_update = rest == "on",
            "LU-PHASE" => {
                if let [name, _start, took] = rest.split_whitespace().collect::<Vec<_>>()[..] {
                    let took = Duration::from_nanos(took.parse().unwrap_or(0));
                    self.phases.push(Phase { name: name.to_owned(), took, at: line.at });
                }
            }
            "LU-RUN" => {
                self.runs.push(Run { command: rest.to_owned(), status: None, lines: Vec::new() })
            }
            "LU-EXIT" => {
                if let Some(run) = self.runs.last_mut() {
                    run.status = rest.trim().parse().ok();
                }
            }
            _ => {
                // Markers of the init are no output of the command before them.
                if let Some(run) = self.runs.last_mut().filter(|run| run.status.is_none()) {
                    run.lines.push(line.text.clone());
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(at: f64, text: &str) -> Line {
        Line { at, text: text.to_owned() }
    }

    #[test]
    fn words_of_a_panic_end_with_the_next_kernel() {
        let evidence = Evidence {
            console: vec![
                line(1.0, "[    0.0] Linux version 7.3.4"),
                line(5.0, "[    4.0] Kernel panic"),
                line(6.0, "[    0.0] Linux version 7.3.4"),
                line(7.0, "[    1.0] Kernel panic"),
            ],
            output: vec![line(4.0, "LU-PANIC")],
            ..Evidence::default()
        };
        let is_of_panic = |line: &Line| evidence.is_of_panic(line);
        assert_eq!(
            evidence.console.iter().map(is_of_panic).collect::<Vec<_>>(),
            [false, true, false, false]
        );
    }

    #[test]
    fn boots_have_their_own_phases_and_runs() {
        let output = [
            "LU-STAGE 1 7.3.4 #1 SMP",
            "LU-PHASE boot 0 1500000000",
            "LU-RUN true",
            "ok 1 x",
            "LU-EXIT 0",
            "LU-STAGE 2 7.3.5 #1 SMP",
            "LU-LIVEUPDATE on",
            "LU-RUN hangs",
        ];
        let output = output.iter().zip(0..).map(|(text, at)| line(f64::from(at), text)).collect();
        let evidence = Evidence { output, ..Evidence::default() };
        let boots = evidence.boots();
        assert_eq!(boots.len(), 2);
        assert_eq!(
            boots[0].runs,
            [Run { command: "true".into(), status: Some(0), lines: vec!["ok 1 x".into()] }]
        );
        assert_eq!(boots[1].kernel, "7.3.5 #1 SMP");
        assert_eq!([boots[0].live_update, boots[1].live_update], [false, true]);
        assert_eq!(boots[1].runs[0].status, None);
        assert_eq!(boots[0].phases[0].took, Duration::from_millis(1500));
        assert_eq!(evidence.end_of(1, "boot"), Some(1.0));
        assert_eq!(evidence.end_of(2, "boot"), None);
        assert!(!evidence.ended());
    }

    #[test]
    fn each_kernel_has_its_own_jump() {
        let console = vec![
            line(1.0, "[    2.0] x"),
            line(2.0, "[    3.0] kexec_core: Starting new kernel"),
            line(5.0, "[    3.0] kexec_core: Starting new kernel"),
        ];
        let evidence = Evidence { console, ..Evidence::default() };
        assert_eq!([1, 2, 3].map(|stage| evidence.jump(stage)), [Some(2.0), Some(5.0), None]);
        assert_eq!(evidence.jump(0), None);
    }

    #[test]
    fn silence_is_between_the_last_line_of_either_port_and_the_next_kernels_first() {
        let mut console = vec![
            line(1.0, "[    0.000000] Linux version 7.3.4"),
            line(4.0, "[    3.0] kexec_core: Starting new kernel"),
            line(4.5, "[    3.1] x"),
            line(6.0, "[    0.000000] Linux version 7.3.4"),
        ];
        let output = vec![line(5.0, "LU-KEXEC"), line(7.0, "LU-STAGE 2 7.3.4")];
        let evidence = Evidence { console: console.clone(), output, ..Evidence::default() };
        assert_eq!(evidence.silence(1), Some((5.0, 6.0)));
        assert_eq!(evidence.silence(2), None);
        console.pop();
        assert_eq!(Evidence { console, ..Evidence::default() }.silence(1), None);
    }
}
