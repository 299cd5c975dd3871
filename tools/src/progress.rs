// SPDX-License-Identifier: GPL-2.0

//! What `make run` says while its VM runs.

use crate::evidence::{FIRST_WORDS, STARTING_NEW_KERNEL};
use crate::serial::{Line, Port, message};

/// How far a VM got.
#[derive(Default)]
pub struct Progress {
    /// When the first line came, in host time.
    start: Option<f64>,
    /// How many kernels said their first words.
    kernels: usize,
    /// Whether frames are sent.
    is_fed: bool,
    /// The last command that was started.
    command: String,
}

impl Progress {
    /// What is to be said of a line that came.
    pub fn take(&mut self, port: Port, line: &Line) -> Option<String> {
        let start = *self.start.get_or_insert(line.at);
        let step = match port {
            Port::Console => self.of_kernel(message(&line.text)),
            Port::Output => self.of_test(&line.text),
        }?;
        Some(format!("{:7.1} s  {step}", line.at - start))
    }

    fn of_kernel(&mut self, text: &str) -> Option<String> {
        if text.starts_with(FIRST_WORDS) {
            self.kernels += 1;
            return Some(format!("kernel {} says its first line", self.kernels));
        }
        text.starts_with(STARTING_NEW_KERNEL)
            .then(|| format!("kernel {} jumps into the next one", self.kernels))
    }

    fn of_test(&mut self, text: &str) -> Option<String> {
        let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
        match word {
            "LU-STAGE" => Some(format!("kernel {} runs programs", self.kernels)),
            "LU-RUN" => {
                self.command = rest.to_owned();
                None
            }
            "LU-EXIT" => {
                let status = rest.trim();
                (status != "0").then(|| format!("FAILED {}: exit status {status}", self.command))
            }
            "LU-KEXEC" => Some(format!("live update {} is asked for", self.kernels)),
            "LU-END" => Some("the VM ends".to_owned()),
            "LU-ERROR" => Some(format!("ERROR {rest}")),
            "LU-PHASE" => of_phase(rest),
            "LU-FEED" if (rest != "0") != self.is_fed => {
                self.is_fed = rest != "0";
                let begins = || format!("{rest} frames per second are sent to the device");
                let ends = || "no more frames are sent".to_owned();
                Some(if self.is_fed { begins() } else { ends() })
            }
            "not" => {
                let (_number, claim) = rest.strip_prefix("ok ")?.split_once(' ')?;
                Some(format!("FAILED {claim}"))
            }
            _ => None,
        }
    }
}

/// What took how long, but for the boot, which others tell of.
fn of_phase(text: &str) -> Option<String> {
    let [name, _start, took] = text.split_whitespace().collect::<Vec<_>>()[..] else {
        return None;
    };
    let took: f64 = took.parse().ok()?;
    (!["boot", "end"].contains(&name)).then(|| format!("{name} took {:.1} ms", took / 1e6))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_told_once_and_in_seconds_of_the_run() {
        let lines = [
            (Port::Console, 10.0, "[    0.000000] Linux version 7.3.4"),
            (Port::Console, 11.0, "[    1.000000] something else"),
            (Port::Output, 12.5, "LU-STAGE 1 7.3.4"),
            (Port::Output, 12.6, "LU-PHASE boot 0 2500000000"),
            (Port::Output, 13.0, "LU-FEED 100"),
            (Port::Output, 14.0, "LU-FEED 500"),
            (Port::Output, 15.0, "LU-PHASE bind 1 24700000"),
            (Port::Output, 16.0, "not ok 3 device is bound"),
            (Port::Output, 16.1, "LU-RUN true"),
            (Port::Output, 16.2, "LU-EXIT 0"),
            (Port::Output, 16.3, "LU-RUN a program"),
            (Port::Output, 16.4, "LU-EXIT 1"),
            (Port::Output, 17.0, "LU-KEXEC"),
            (Port::Console, 18.0, "[    8.000000] kexec_core: Starting new kernel"),
            (Port::Console, 19.0, "[    0.000000] Linux version 7.3.4"),
            (Port::Output, 20.0, "LU-FEED 0"),
            (Port::Output, 21.0, "LU-ERROR kexec -e came back"),
            (Port::Output, 22.0, "LU-END"),
        ];
        let mut progress = Progress::default();
        let said = lines.iter().filter_map(|(port, at, text)| {
            progress.take(*port, &Line { at: *at, text: (*text).to_owned() })
        });
        let expected = [
            "    0.0 s  kernel 1 says its first line",
            "    2.5 s  kernel 1 runs programs",
            "    3.0 s  100 frames per second are sent to the device",
            "    5.0 s  bind took 24.7 ms",
            "    6.0 s  FAILED device is bound",
            "    6.4 s  FAILED a program: exit status 1",
            "    7.0 s  live update 1 is asked for",
            "    8.0 s  kernel 1 jumps into the next one",
            "    9.0 s  kernel 2 says its first line",
            "   10.0 s  no more frames are sent",
            "   11.0 s  ERROR kexec -e came back",
            "   12.0 s  the VM ends",
        ];
        assert_eq!(said.collect::<Vec<_>>(), expected);
    }
}
