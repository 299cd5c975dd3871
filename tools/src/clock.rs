// SPDX-License-Identifier: GPL-2.0

//! Whether the clock of a VM goes as fast as the host's.
//!
//! QEMU's timers follow the host's clock, and so does the counter of an emulated processor, however
//! busy the host is: lines that a kernel stamps with its time come as far apart as it says. But a
//! kernel measures its counter once, while it boots, and if the emulated processor stands still just
//! then, all of its time is wrong by one factor from then on.

use std::fmt;

use crate::evidence::FIRST_WORDS;
use crate::serial::{Line, message, seconds};

/// A clock that is so many times as fast as the host's, or as slow, is strange.  One that was measured
/// well is as fast, whatever the load; the wrong one that was seen ran 6.8 times as fast.  Up to this
/// factor, no claim fails: programs in the VM wait much longer than they have to.
const FACTOR: f64 = 1.5;

/// By how many seconds a line may come late, since the host is busy with something else.
const LATE: f64 = 5.0;

/// What a kernel says when its lines begin to come as it says them. All that it said before comes then,
/// at once.
const PROMPT: &str = "console [ttyS0] enabled";

/// A clock that cannot be trusted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Strange {
    /// Which boot it was of, from 1 on.
    boot: usize,
    /// How many seconds it showed in one of the host's.
    rate: f64,
}

impl fmt::Display for Strange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (times, how) =
            if self.rate < 1.0 { (1.0 / self.rate, "slow") } else { (self.rate, "fast") };
        write!(
            f,
            "the VM's clock ran {times:.1} times as {how} as the host's in boot {}: what it says \
             about time is worth nothing; run again on a less busy machine",
            self.boot
        )
    }
}

/// Looks for a boot with a strange clock on a console.
pub fn strange(console: &[Line]) -> Option<Strange> {
    let is_first = |line: &Line| message(&line.text).starts_with(FIRST_WORDS);
    let starts = console.iter().enumerate().filter(|(_, line)| is_first(line));
    let starts: Vec<usize> = starts.map(|(index, _)| index).collect();
    let ends = starts.iter().skip(1).copied().chain([console.len()]);
    let boots = starts.iter().zip(ends).map(|(start, end)| &console[*start..end]);
    boots.zip(1..).find_map(|(lines, boot)| {
        let rate = strange_rate(lines)?;
        Some(Strange { boot, rate })
    })
}

/// How many seconds the clock of a kernel showed in one of the host's, if that is strange.
fn strange_rate(lines: &[Line]) -> Option<f64> {
    let prompt = lines.iter().position(|line| message(&line.text).ends_with(PROMPT))?;
    let mut times = lines[prompt..].iter().filter_map(|line| Some((seconds(&line.text)?, line.at)));
    let first = times.next()?;
    let last = times.next_back()?;
    let (shown, took) = (last.0 - first.0, last.1 - first.1);
    let is_strange = shown > FACTOR * took + LATE || took > FACTOR * shown + LATE;
    is_strange.then_some(shown / took)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// When the VM's lines come, and what they say.
    const BOOT: [(f64, &str); 6] = [
        (2.00, "[    0.000000] Linux version 7.3.4 (liveupdate_rs@vm)"),
        (2.01, "[    0.950000] printk: legacy console [ttyS0] enabled"),
        (3.31, "[    2.250000] Run /init as init process"),
        (9.06, "[    8.000000] vfio-pci 0000:01:00.0: enabling device (0000 -> 0002)"),
        (9.10, "not a line of the kernel"),
        (12.06, "[   11.000000] kexec_core: Starting new kernel"),
    ];

    /// Boots one after the other, each of which has a clock that is so many times as fast.
    fn boots(rates: &[f64]) -> Vec<Line> {
        let mut start = 1_700_000_000.0;
        let mut lines = Vec::new();
        for rate in rates {
            lines.extend(BOOT.map(|(at, text)| {
                let text = match (seconds(text), text.split_once(']')) {
                    (Some(time), Some((_, rest))) => format!("[{:12.6}]{rest}", time * rate),
                    _ => text.to_owned(),
                };
                Line { at: start + at, text }
            }));
            start += 13.0;
        }
        lines
    }

    #[test]
    fn clock_of_the_hosts_rate_is_not_strange() {
        for rate in [0.9, 1.0, 1.1] {
            assert_eq!(strange(&boots(&[rate, 1.0])), None);
        }
        assert_eq!(strange(&[]), None);
    }

    #[test]
    fn clock_that_runs_away_is_found_in_any_boot() {
        for (rates, boot) in [([6.8, 1.0], 1), ([1.0, 6.8], 2)] {
            let found = strange(&boots(&rates)).expect("a strange clock");
            assert_eq!(found.boot, boot);
            let text = found.to_string();
            let said =
                format!("the VM's clock ran 6.8 times as fast as the host's in boot {boot}: ");
            assert!(text.starts_with(&said), "{text}");
        }
    }

    #[test]
    fn clock_that_stands_is_found() {
        let found = strange(&boots(&[0.25])).expect("a strange clock");
        assert!(found.to_string().contains("ran 4.0 times as slow as the host's"), "{found}");
    }

    #[test]
    fn lines_may_come_late() {
        let mut lines = boots(&[1.0]);
        let last = lines.len() - 1;
        lines[last].at += 4.0;
        assert_eq!(strange(&lines), None);
        let mut lines = boots(&[1.0]);
        lines[1].at += 1.2;
        assert_eq!(strange(&lines), None);
    }

    #[test]
    fn what_was_said_before_the_console_is_prompt_does_not_count() {
        let mut lines = boots(&[1.0]);
        for line in &mut lines[1..] {
            let (_, rest) = line.text.split_once(']').unwrap_or_default();
            line.text = seconds(&line.text)
                .map_or(line.text.clone(), |time| format!("[{:12.6}]{rest}", time + 60.0));
        }
        assert_eq!(strange(&lines), None);
    }
}
