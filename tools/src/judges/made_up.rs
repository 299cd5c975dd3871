// SPDX-License-Identifier: GPL-2.0

//! Runs that never were, for the tests of judges.

use super::Judge;
use crate::evidence::Evidence;
use crate::serial::Line;
use crate::trace::{Event, event};
use crate::verdict::Case;
use crate::wire::Attempt;

/// Where the buffers of the tests' ring begin.
const BUFFERS: u64 = 0x1_0004_0000;

pub fn line(at: f64, text: &str) -> Line {
    Line { at, text: text.to_owned() }
}

pub fn write(at: f64, slot: usize) -> Event {
    let address = BUFFERS + 2048 * slot as u64;
    Event {
        at,
        name: "igb_rx_desc_buff_write".into(),
        args: format!("buffer 1, addr: {address:#x}, offset: 0, from: 0x55, length: 60"),
    }
}

/// A live update in which a frame is sent every 100 ms from second 1 to 31, and written 10 ms
/// later: the kernel is asked at 10, jumps at 12 and speaks at 18; the next one binds at 30.
pub fn running() -> Evidence {
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
pub fn stopped() -> Evidence {
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

/// What fails, up to its first number.
pub fn failed(judge: Judge, evidence: &Evidence) -> Vec<String> {
    let is_end = |c: char| c == ':' || c.is_ascii_digit();
    let cases = judge(evidence).into_iter().filter(Case::has_failed);
    cases.map(|case| case.name.split(is_end).next().unwrap_or_default().to_owned()).collect()
}

/// An event of an emulated IOMMU.
pub fn seen(at: f64, name: &str, args: &str) -> Event {
    Event { at, name: name.into(), args: args.into() }
}
