// SPDX-License-Identifier: GPL-2.0

//! Reads what was counted from what programs and kernels said.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};

use crate::evidence::{Evidence, FIRST_WORDS, STARTING_NEW_KERNEL};
use crate::serial::message;

/// What the second kernel says when it knows what memory it has, what was handed over included. Until
/// then it waits for nothing, as it does later: waiting counts, too.
const MEMORY: &str = "Memory: ";

/// What is noted in the first kernel's log just before it is asked for the kexec.
const KEXEC: &str = "LU-KEXEC";

/// What it says before it looks at what an IOMMU has, and after.
const UNIT: [&str; 2] =
    ["DMAR: dmar0: Using Queued invalidation", "pci 0000:00:00.0: Adding to iommu"];

/// What was counted in one run: instructions, and the number of tables.
pub type Counts = BTreeMap<String, u64>;

/// What programs and kernels counted.
pub fn counts(evidence: &Evidence) -> Result<Counts> {
    let mut counts = Counts::new();
    for line in &evidence.output {
        if let ["LU-COUNT", what, count] = line.text.split(' ').collect::<Vec<_>>()[..] {
            counts.insert(what.to_owned(), count.parse()?);
        }
    }
    let first = Log::of(evidence, 0)?;
    let second = Log::of(evidence, 1)?;
    let jump = first.said(STARTING_NEW_KERNEL)?;
    let took = |from: u64, to: u64| to.checked_sub(from).context("something ended before it began");
    counts.insert("shutdown".to_owned(), took(first.tsc, jump)?);
    counts.insert("freeze".to_owned(), took(first.said(KEXEC)?, jump)?);
    counts.insert("boot-memory".to_owned(), took(jump, second.said(MEMORY)?)?);
    counts.insert("boot".to_owned(), took(jump, second.tsc)?);
    Ok(counts)
}

/// What the second kernel counted of units and devices.
pub fn counts_of_devices(evidence: &Evidence) -> Result<Counts> {
    let second = Log::of(evidence, 1)?;
    let [from, to] = [second.said(UNIT[0])?, second.said(UNIT[1])?];
    let unit = to.checked_sub(from).context("something ended before it began")?;
    let counts = [("boot-unit", unit), ("boot-attach", attaching(evidence)?)];
    Ok(counts.map(|(what, count)| (what.to_owned(), count)).into())
}

/// What a kernel said, and when, by the time stamp counter.
struct Log<'a> {
    lines: Vec<(u64, &'a str)>,
    /// When it was asked for the time.
    tsc: u64,
}

impl<'a> Log<'a> {
    /// The log of the kernel with this number, from 0 on.
    fn of(evidence: &'a Evidence, number: usize) -> Result<Self> {
        let texts = evidence.console.iter().map(|line| line.text.as_str());
        let lines: Vec<(u64, &str)> =
            texts.filter_map(|text| Some((nanoseconds(text)?, message(text)))).collect();
        let starts =
            lines.iter().enumerate().filter(|(_, (_, text))| text.starts_with(FIRST_WORDS));
        let starts: Vec<usize> = starts.map(|(index, _)| index).collect();
        let start = *starts.get(number).with_context(|| format!("kernel {number} never ran"))?;
        let end = starts.get(number + 1).copied().unwrap_or(lines.len());
        let lines = lines[start..end].to_vec();
        let time = lines.iter().find_map(|(at, text)| Some((*at, text.strip_prefix("LU-TSC ")?)));
        let (at, tsc) = time.with_context(|| format!("kernel {number} never said the time"))?;
        let tsc: u64 = tsc.trim().parse()?;
        let by_tsc = |(then, text): (u64, &'a str)| ((tsc + then).saturating_sub(at), text);
        Ok(Self { lines: lines.into_iter().map(by_tsc).collect(), tsc })
    }

    /// When the kernel said something that begins so.
    fn said(&self, words: &str) -> Result<u64> {
        let line = self.lines.iter().find(|(_, text)| text.starts_with(words));
        line.map(|(at, _)| *at).with_context(|| format!("no kernel said `{words}`"))
    }
}

/// What the second kernel takes to attach the devices of a run to their first domain, and the ports
/// of the switches they are behind, each from when it had attached the one before.
fn attaching(evidence: &Evidence) -> Result<u64> {
    let events: Vec<(u64, &str)> = evidence
        .output
        .iter()
        .filter_map(|line| {
            let (before, device) =
                line.text.split_once(": attach_device_to_domain: IOMMU: device=")?;
            Some((before.split_whitespace().last()?.parse().ok()?, device))
        })
        .collect();
    let pairs = events.windows(2).filter(|pair| !pair[1].1.starts_with("0000:00:"));
    let took: Vec<u64> = pairs.map(|pair| pair[1].0 - pair[0].0).collect();
    ensure!(!took.is_empty(), "no device was attached to anything");
    Ok(took.iter().sum())
}

/// What the clock of a kernel showed, from the start of a message.
fn nanoseconds(line: &str) -> Option<u64> {
    let (stamp, _) = line.strip_prefix('[')?.split_once(']')?;
    let (seconds, micros) = stamp.trim().split_once('.')?;
    Some((seconds.parse::<u64>().ok()? * 1_000_000 + micros.parse::<u64>().ok()?) * 1000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serial::Line;

    fn line(text: &str) -> Line {
        Line { at: 0.0, text: text.to_owned() }
    }

    fn measured() -> Evidence {
        let trace = |at: u64, device| {
            line(&format!(
                "  swapper/0-1 [000] .....  {at}: attach_device_to_domain: IOMMU: device={device}"
            ))
        };
        Evidence {
            console: vec![
                line("[    0.000000] Linux version 7.3.4"),
                line("[    2.000100] LU-TSC 5000000000"),
                line("[    2.300200] LU-KEXEC"),
                line("[    2.500200] kexec_core: Starting new kernel"),
                line("[    0.000000] Linux version 7.3.4"),
                line("[    0.100000] Memory: 1K/2K available"),
                line("[    0.200000] DMAR: dmar0: Using Queued invalidation"),
                line("[    0.200300] pci 0000:00:00.0: Adding to iommu group 0"),
                line("[    0.600000] LU-TSC 6200000000"),
            ],
            output: vec![
                line("LU-COUNT map 17"),
                trace(100, "0000:00:00.0"),
                trace(150, "0000:00:01.0"),
                trace(1150, "0000:01:00.0"),
                trace(2160, "0000:02:00.0"),
            ],
            ..Evidence::default()
        }
    }

    #[test]
    fn counts_are_of_programs_and_of_kernels() {
        let mut counts = counts(&measured()).expect("counts");
        counts.append(&mut counts_of_devices(&measured()).expect("counts of devices"));
        let expected = [
            ("boot", 699_900_000),
            ("boot-attach", 2010),
            ("boot-memory", 199_900_000),
            ("boot-unit", 300_000),
            ("freeze", 200_000_000),
            ("map", 17),
            ("shutdown", 500_100_000),
        ];
        assert_eq!(counts, expected.map(|(what, count)| (what.to_owned(), count)).into());
    }

    #[test]
    fn what_was_not_said_is_an_error() {
        let all = |evidence: &Evidence| counts(evidence).and(counts_of_devices(evidence));
        for missing in 0..measured().console.len() {
            let mut evidence = measured();
            evidence.console.remove(missing);
            assert!(all(&evidence).is_err(), "{missing}");
        }
        let mut evidence = measured();
        evidence.output.truncate(3);
        assert!(all(&evidence).is_err());
    }
}
