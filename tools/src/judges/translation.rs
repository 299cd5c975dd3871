// SPDX-License-Identifier: GPL-2.0

//! What becomes of a device that goes on doing DMA, if the next kernel does not take it over?

use super::mastering::{COMMAND, DEVICE};
use crate::evidence::Evidence;
use crate::trace::Event;
use crate::verdict::Case;

/// A next kernel that does not adopt the IOMMU stops an `igb` that goes on doing DMA, before it turns
/// translation off.
pub fn stopped_first(evidence: &Evidence) -> Vec<Case> {
    let (Some(jump), Some(booted)) = (evidence.jump(1), evidence.end_of(2, "boot")) else {
        return vec![Case::failed("DMA across the kexec", "no complete live update to look at")];
    };
    let off = turned_off(evidence, jump, booted);
    let stopped = is_mastering(evidence, DEVICE, off.unwrap_or(booted)) == Some(false);
    let frames = |from: f64, to: f64| {
        evidence.events(from, to).filter(|event| event.received_to().is_some()).count()
    };
    let before = frames(jump, off.unwrap_or(booted));
    let after = frames(off.unwrap_or(booted), booted);
    vec![
        Case::check("the device did DMA between the kernels", before > 0, || {
            "QEMU saw no frame written after the jump".into()
        }),
        Case::check("translation was turned off", off.is_some(), || "QEMU saw it on".into()),
        Case::check("the device was stopped before", stopped, || {
            "QEMU saw bus mastering on then".into()
        }),
        Case::check("no DMA from then on", after == 0, || {
            format!("QEMU saw {after} frames written")
        }),
    ]
}

/// A next kernel that cannot take over the translation of the device at `bdf` stops it, names it, and
/// lets it write nothing from then on.
pub fn refused(evidence: &Evidence, bdf: &str) -> Vec<Case> {
    let (Some(jump), Some(booted)) = (evidence.jump(1), evidence.end_of(2, "boot")) else {
        return vec![Case::failed(format!("{bdf}: DMA across the kexec"), "no live update")];
    };
    let on = is_mastering(evidence, bdf, booted) != Some(false);
    let said = evidence
        .console
        .iter()
        .filter(|line| line.at > jump && line.text.contains(bdf))
        .any(|line| line.text.contains("translation"));
    vec![
        Case::check(format!("{bdf} is stopped"), !on, || "QEMU saw bus mastering on".into()),
        Case::check(format!("the next kernel names {bdf}"), said, || "not in the log".into()),
    ]
}

/// When translation is turned off between two moments.
fn turned_off(evidence: &Evidence, from: f64, to: f64) -> Option<f64> {
    evidence
        .events(from, to)
        .find(|event| event.turned("vtd_dmar_enable") == Some(false))
        .map(|event| event.at)
}

/// Whether the device at `bdf` may do DMA at some time, as it was last told.
fn is_mastering(evidence: &Evidence, bdf: &str, at: f64) -> Option<bool> {
    let (offset, master) = COMMAND;
    evidence
        .events(0.0, at)
        .filter_map(Event::config_write)
        .filter(|write| write.bdf == bdf && write.offset == offset)
        .last()
        .map(|write| write.value & master != 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serial::Line;
    use crate::trace::event;

    /// A live update from second 10 to 20, with a frame each 100 ms; `more` is added to the trace.
    fn update(from: u32, to: u32, more: &[&str]) -> Evidence {
        let line = |at: f64, text: &str| Line { at, text: text.to_owned() };
        let frames = (from..to).map(|tenth| {
            format!(
                "1970-01-01T00:00:{}.{}Z igb_rx_desc_buff_write buffer 1, addr: 0x1000, offset: 0",
                tenth / 10,
                tenth % 10
            )
        });
        let more = more.iter().map(|text| text.to_string());
        Evidence {
            console: vec![line(11.0, "[    9.000000] kexec_core: Starting new kernel")],
            output: vec![
                line(1.0, "LU-STAGE 1 7.3.4"),
                line(10.0, "LU-KEXEC"),
                line(19.0, "LU-STAGE 2 7.3.4"),
                line(20.0, "LU-PHASE boot 1 1"),
            ],
            trace: frames.chain(more).map(|text| event(&text).expect("an event")).collect(),
            ..Evidence::default()
        }
    }

    fn names(cases: Vec<Case>) -> Vec<String> {
        cases.into_iter().filter(Case::has_failed).map(|case| case.name).collect()
    }

    #[test]
    fn device_is_stopped_and_named() {
        let stop = "1970-01-01T00:00:13.9Z pci_cfg_write igb 02:00.0 @0x4 <- 0x402";
        let judge = |more: &[&str], named: &str| {
            let mut evidence = update(100, 200, more);
            let text = format!("[ 1.0] pci 0000:{named}: does not get the translation");
            evidence.console.push(Line { at: 15.0, text });
            names(refused(&evidence, "02:00.0"))
        };
        assert!(judge(&[stop], "02:00.0").is_empty());
        assert_eq!(judge(&[], "02:00.0"), ["02:00.0 is stopped"]);
        assert_eq!(judge(&[stop], "01:00.0"), ["the next kernel names 02:00.0"]);
    }

    #[test]
    fn device_is_stopped_before_translation_is_off() {
        let on = "1970-01-01T00:00:05.0Z pci_cfg_write igb 01:00.0 @0x4 <- 0x406";
        let stop = "1970-01-01T00:00:13.9Z pci_cfg_write igb 01:00.0 @0x4 <- 0x402";
        let off = "1970-01-01T00:00:14.0Z vtd_dmar_enable enable 0";
        let judge = |to, more: &[&str]| names(stopped_first(&update(100, to, more)));
        assert!(judge(139, &[on, stop, off]).is_empty());
        assert_eq!(judge(139, &[on, off]), ["the device was stopped before"]);
        assert_eq!(judge(145, &[on, stop, off]), ["no DMA from then on"]);
        assert_eq!(judge(105, &[on, stop, off]), ["the device did DMA between the kernels"]);
        assert_eq!(judge(139, &[on, stop]), ["translation was turned off"]);
    }
}
