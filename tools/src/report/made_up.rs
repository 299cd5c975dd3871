// SPDX-License-Identifier: GPL-2.0

//! A run that never was, and what would be wrong with labels, for the tests of what `make run` shows.

use super::labels::Label;
use crate::evidence::Evidence;
use crate::serial::Line;
use crate::trace::Event;
use crate::wire::Attempt;

/// Two live updates of a device that receives a frame every 10 ms from second 1 to 21 and writes it a
/// millisecond later, but for some in the second one, which it holds back until after second 14.25.
pub fn twice() -> Evidence {
    let line = |(at, text): (f64, &str)| Line { at, text: text.to_owned() };
    let console = [
        (0.1, "[    0.000000] Linux version 7.3.4"),
        (7.0, "[    6.0] kexec_core: Starting new kernel"),
        (8.0, "[    0.000000] Linux version 7.3.4"),
        (14.0, "[    6.0] kexec_core: Starting new kernel"),
        (15.0, "[    0.000000] Linux version 7.3.4"),
    ];
    let output = [
        (0.5, "LU-STAGE 1 7.3.4"),
        (0.5, "LU-PHASE boot 0 400000000"),
        (0.9, "LU-RING 0000:01:00.0 0x100040000 2048 4095"),
        (5.0, "LU-PHASE idle 1 4000000000"),
        (5.5, "LU-PHASE preserve 1 250000000"),
        (6.0, "LU-PHASE kexec-load 1 500000000"),
        (6.5, "LU-KEXEC"),
        (10.0, "LU-STAGE 2 7.3.4"),
        (10.0, "LU-PHASE boot 0 2000000000"),
        (11.0, "LU-PHASE retrieve-memfd 1 1000000"),
        (11.1, "LU-PHASE retrieve-iommufd 1 1000000"),
        (11.2, "LU-PHASE retrieve-device 1 1000000"),
        (11.5, "LU-PHASE bind 1 25000000"),
        (11.7, "LU-PHASE attach 1 5000000"),
        (11.8, "LU-PHASE map 1 5000000"),
        (12.0, "LU-PHASE replace 1 100000000"),
        (12.5, "LU-PHASE finish 1 500000000"),
        (12.7, "LU-PHASE preserve 1 100000000"),
        (13.2, "LU-PHASE kexec-load 1 500000000"),
        (13.5, "LU-KEXEC"),
        (17.0, "LU-STAGE 3 7.3.4"),
        (18.0, "LU-PHASE retrieve-memfd 1 1000000"),
        (18.5, "LU-PHASE bind 1 25000000"),
        (18.7, "LU-PHASE attach 1 5000000"),
        (19.0, "LU-PHASE replace 1 100000000"),
        (19.5, "LU-PHASE finish 1 500000000"),
        (20.0, "LU-PHASE end 1 1"),
    ];
    let sent: Vec<f64> = (0..2000).map(|n| 1.0 + 0.01 * f64::from(n)).collect();
    let written = sent.iter().zip(0..).map(|(at, slot): (&f64, u64)| {
        let at = if (14.2..14.25).contains(at) { 14.2505 } else { at + 0.001 };
        let address = 0x1_0004_0000 + 2048 * slot;
        let args = format!("buffer 1, addr: {address:#x}, offset: 0, from: 0x55, length: 60");
        Event { at, name: "igb_rx_desc_buff_write".to_owned(), args }
    });
    Evidence {
        console: console.map(line).into(),
        output: output.map(line).into(),
        trace: written.collect(),
        wires: vec![sent.iter().map(|at| Attempt { at: *at, sent: true }).collect()],
        ..Evidence::default()
    }
}

/// Says which labels lie over others, or over their lines.
pub fn collisions(labels: &[Label], width: &dyn Fn(&str) -> i32) -> Vec<String> {
    let mut found = Vec::new();
    for (index, left) in labels.iter().enumerate() {
        let reached = |right: &&Label| right.at < left.at + width(&left.text);
        for right in labels[index + 1..].iter().filter(reached) {
            if right.level >= left.level {
                found.push(format!("{} and {}", left.text, right.text));
            }
        }
    }
    found
}
