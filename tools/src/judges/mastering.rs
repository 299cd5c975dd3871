// SPDX-License-Identifier: GPL-2.0

//! Which devices master the bus across a kexec: those that are stopped do no DMA, and those that go on
//! are left alone.

use super::registers::registers;
use crate::evidence::Evidence;
use crate::serial::message;
use crate::verdict::Case;

/// Where the devices under test are, as QEMU writes it in traces.
pub const DEVICE: &str = "01:00.0";

/// The root port above it.
const PORT: &str = "00:01.0";

/// The command register, and its bus-master bit.
pub const COMMAND: (u32, u32) = (0x04, 1 << 2);

/// Device Control in an `igb`'s PCI Express capability (at 0xa0), and the bit
/// that starts a function-level reset.
const DEVICE_CONTROL: (u32, u32) = (0xa8, 1 << 15);

/// What the kernel says before the names of what the next one does not take over.
const NOT_DECLARED: &str = "liveupdate: devices are stopped: the kernel image does not declare that it takes \
    over ";

/// No DMA of an armed, fed `igb` crosses the kexec, because its kernel quiesced
/// and reset it after the point of no return.
fn quiesced_igb(evidence: &Evidence) -> Vec<Case> {
    quiesced_until(evidence, "bind")
}

/// The same, and nobody but its user writes to its registers.
pub fn quiesced_and_left_alone_igb(evidence: &Evidence) -> Vec<Case> {
    let mut cases = quiesced_igb(evidence);
    cases.extend(registers(evidence));
    cases
}

/// The same until the next kernel, which does not do live updates, is up; and it says once what it
/// drops.
pub fn dropped_igb(evidence: &Evidence) -> Vec<Case> {
    let jump = evidence.jump(1).unwrap_or(f64::INFINITY);
    let said: Vec<&str> = evidence
        .console
        .iter()
        .filter(|line| line.at > jump && line.text.contains("what was handed over is dropped"))
        .map(|line| message(&line.text))
        .collect();
    let named = matches!(said[..], [line] if line.contains(DEVICE));
    let mut cases = quiesced_until(evidence, "boot");
    cases.push(Case::check("the next kernel says once what it drops", named, || {
        format!("on its console: {said:?}")
    }));
    cases
}

/// No DMA until the next kernel is up, which does not know of devices and so has nothing to say.
pub fn stopped_igb(evidence: &Evidence) -> Vec<Case> {
    quiesced_until(evidence, "boot")
}

/// The same for a device that was asked to go on doing DMA: the log says that the next kernel takes
/// over nothing of what is handed over.
pub fn stops_for_unaware(evidence: &Evidence) -> Vec<Case> {
    let said = |missing: &str| {
        missing.ends_with(
            ", pci-driver-rs-v2, pci-probe-rs-v2, iommu-rs-v1, iommufd-rs-v2, vfio-pci-rs-v1",
        )
    };
    let mut cases = quiesced_until(evidence, "boot");
    cases.extend(stopped_for_image(evidence, said));
    cases
}

/// The same, and the next kernel finds the device in good order; it is only vfio-pci's version that
/// its image does not declare.
pub fn stops_for_version(evidence: &Evidence) -> Vec<Case> {
    let mut cases = quiesced_until(evidence, "bind");
    cases.extend(stopped_for_image(evidence, |missing| missing == "vfio-pci-rs-v1"));
    cases
}

/// The port above the device is stopped, too, and one line says what the image does not declare.
fn stopped_for_image(evidence: &Evidence, is_right: impl Fn(&str) -> bool) -> [Case; 2] {
    let asked = evidence.update_asked(1).unwrap_or(f64::INFINITY);
    let jump = evidence.jump(1).unwrap_or(f64::INFINITY);
    let said: Vec<&str> = evidence
        .console
        .iter()
        .filter(|line| line.at >= asked && line.at < jump)
        .filter_map(|line| message(&line.text).strip_prefix(NOT_DECLARED))
        .collect();
    let named = matches!(said[..], [missing] if is_right(missing));
    let command = evidence
        .trace
        .iter()
        .filter(|event| event.at < jump)
        .filter_map(|event| event.config_write())
        .rfind(|write| write.bdf == PORT && write.offset == COMMAND.0);
    [
        Case::check("the log says once what the image does not declare", named, || {
            format!("between the kexec call and the jump: {said:?}")
        }),
        Case::check(
            format!("{PORT} has bus mastering off at the jump"),
            command.as_ref().is_some_and(|write| write.value & COMMAND.1 == 0),
            || format!("last write to the command register: {command:x?}"),
        ),
    ]
}

/// No DMA from device shutdown to the end of `phase` in the next kernel.
pub fn quiesced_until(evidence: &Evidence, phase: &str) -> Vec<Case> {
    let times = (
        evidence.update_asked(1),
        evidence.jump(1),
        evidence.end_of(2, "boot"),
        evidence.end_of(2, phase),
    );
    let (Some(asked), Some(jump), Some(booted), Some(end)) = times else {
        return vec![Case::failed("DMA across the kexec", "no complete live update to look at")];
    };
    let received = |from: f64, to: f64| {
        evidence
            .trace
            .iter()
            .filter(|event| {
                event.name == "igb_rx_desc_buff_write" && event.at >= from && event.at < to
            })
            .count()
    };
    let fed = evidence.frames.iter().filter(|at| (jump..end).contains(*at)).count();
    let writes: Vec<_> = evidence
        .trace
        .iter()
        .filter_map(|event| {
            event.config_write().filter(|write| write.bdf == DEVICE).map(|write| (event.at, write))
        })
        .collect();
    let reset = writes
        .iter()
        .find(|(at, write)| {
            (asked..jump).contains(at)
                && write.offset == DEVICE_CONTROL.0
                && write.value & DEVICE_CONTROL.1 != 0
        })
        .map(|(at, _)| *at);
    let mut commands = writes.iter().filter(|(_, write)| write.offset == COMMAND.0);
    let command = commands.clone().rfind(|(at, _)| *at < jump).map(|(_, write)| write.value);
    let turned_on =
        commands.any(|(at, write)| (jump..booted).contains(at) && write.value & COMMAND.1 != 0);
    let before = received(0.0, jump);
    let within = received(reset.unwrap_or(jump), end);
    vec![
        Case::check("the NIC did DMA before the kexec", before > 0, || {
            "QEMU saw no received frame".into()
        }),
        Case::check("frames were offered between the kernels", fed > 0, || {
            "the harness could not offer any".into()
        }),
        Case::check(
            format!("no DMA between device shutdown and the next {phase}"),
            within == 0,
            || format!("QEMU saw {within} received frames written to memory"),
        ),
        Case::check("function-level reset in device shutdown", reset.is_some(), || {
            "QEMU saw no write that starts one between the kexec call and the jump".into()
        }),
        Case::check(
            "bus mastering is off at the jump",
            command.is_some_and(|value| value & COMMAND.1 == 0),
            || format!("last write to the command register: {command:x?}"),
        ),
        Case::check("bus mastering stays off while the next kernel boots", !turned_on, || {
            "QEMU saw it turned on".into()
        }),
    ]
}

/// The next kernel finds the device mastering the bus, stops it, and says so once.
pub fn stops_mastering(evidence: &Evidence) -> Vec<Case> {
    let jump = evidence.jump(1).unwrap_or(f64::INFINITY);
    let said = evidence
        .console
        .iter()
        .filter(|line| line.at > jump && line.text.contains("did DMA across a kexec: stopped"))
        .filter(|line| line.text.contains(DEVICE))
        .count();
    vec![Case::check("the next kernel stops the device, and says so once", said == 1, || {
        format!("said {said} times")
    })]
}

/// An `igb` and its root port have bus mastering on from the call of kexec until vfio-pci is bound
/// in the next kernel, and the device is not reset.
pub fn keeps_mastering(evidence: &Evidence) -> Vec<Case> {
    let times = (evidence.update_asked(1), evidence.end_of(2, "retrieve"));
    let (Some(asked), Some(end)) = times else {
        return vec![Case::failed("bus mastering", "no complete live update to look at")];
    };
    let mut cases = Vec::new();
    for bdf in [DEVICE, PORT] {
        let writes = || {
            let writes =
                evidence.trace.iter().filter_map(|event| Some((event.at, event.config_write()?)));
            writes.filter(move |(at, write)| *at < end && write.bdf == bdf)
        };
        let commands = || writes().filter(|(_, write)| write.offset == COMMAND.0);
        let is_on = |value: u32| value & COMMAND.1 != 0;
        let before = commands().rfind(|(at, _)| *at < asked);
        let off = commands().find(|(at, write)| *at >= asked && !is_on(write.value));
        cases.push(Case::check(
            format!("{bdf} has bus mastering on before the kexec"),
            before.is_some_and(|(_, write)| is_on(write.value)),
            || format!("last write to the command register: {before:x?}"),
        ));
        cases.push(Case::check(format!("{bdf} keeps bus mastering"), off.is_none(), || {
            format!("QEMU saw it turned off: {off:x?}")
        }));
        if bdf == DEVICE {
            let reset = writes().find(|(at, write)| {
                *at >= asked
                    && write.offset == DEVICE_CONTROL.0
                    && write.value & DEVICE_CONTROL.1 != 0
            });
            cases.push(Case::check(format!("{bdf} is not reset"), reset.is_none(), || {
                format!("QEMU saw a write that resets it: {reset:x?}")
            }));
        }
    }
    cases
}

/// When the device at `bdf` was told to stop: by a reset, or by taking bus mastering from it.
pub fn stopped_at(evidence: &Evidence, bdf: &str) -> Option<f64> {
    let (asked, jump) = (evidence.update_asked(1)?, evidence.jump(1)?);
    let stop = evidence.events(asked, jump).find(|event| {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serial::Line;
    use crate::trace::event;

    /// A complete update in which the device is shut down properly; `more` is added to the trace.
    fn update(more: &[&str]) -> Evidence {
        let line = |at: f64, text: &str| Line { at, text: text.to_owned() };
        let trace = [
            "1970-01-01T00:00:05.0Z igb_rx_desc_buff_write buffer #0",
            "1970-01-01T00:00:11.0Z pci_cfg_write igb 01:00.0 @0xa8 <- 0x8810",
            "1970-01-01T00:00:11.1Z pci_cfg_write igb 01:00.0 @0x4 <- 0x0",
            "1970-01-01T00:00:31.0Z igb_rx_desc_buff_write buffer #0",
        ];
        Evidence {
            console: vec![line(12.0, "[    9.000000] kexec_core: Starting new kernel")],
            output: vec![
                line(1.0, "LU-STAGE 1 7.3.4"),
                line(10.0, "LU-KEXEC"),
                line(20.0, "LU-STAGE 2 7.3.4"),
                line(25.0, "LU-PHASE boot 1 1"),
                line(30.0, "LU-PHASE bind 1 1"),
            ],
            trace: trace.iter().chain(more).map(|text| event(text).expect("an event")).collect(),
            frames: vec![5.0, 15.0],
            ..Evidence::default()
        }
    }

    fn failed(evidence: &Evidence) -> Vec<String> {
        quiesced_igb(evidence).into_iter().filter(Case::has_failed).map(|case| case.name).collect()
    }

    #[test]
    fn quiesced_device_passes() {
        assert!(failed(&update(&[])).is_empty());
    }

    #[test]
    fn frame_received_between_the_kernels_fails() {
        let evidence = update(&["1970-01-01T00:00:15.0Z igb_rx_desc_buff_write buffer #1"]);
        assert_eq!(failed(&evidence), ["no DMA between device shutdown and the next bind"]);
    }

    #[test]
    fn frame_received_after_the_reset_fails() {
        let evidence = update(&["1970-01-01T00:00:11.5Z igb_rx_desc_buff_write buffer #1"]);
        assert_eq!(failed(&evidence), ["no DMA between device shutdown and the next bind"]);
    }

    #[test]
    fn bus_mastering_left_on_fails() {
        let evidence = update(&["1970-01-01T00:00:11.5Z pci_cfg_write igb 01:00.0 @0x4 <- 0x406"]);
        assert_eq!(failed(&evidence), ["bus mastering is off at the jump"]);
    }

    #[test]
    fn bus_mastering_turned_on_by_the_booting_kernel_fails() {
        let evidence = update(&["1970-01-01T00:00:15.0Z pci_cfg_write igb 01:00.0 @0x4 <- 0x406"]);
        assert_eq!(failed(&evidence), ["bus mastering stays off while the next kernel boots"]);
        let evidence = update(&["1970-01-01T00:00:26.0Z pci_cfg_write igb 01:00.0 @0x4 <- 0x406"]);
        assert!(failed(&evidence).is_empty());
    }

    #[test]
    fn forgotten_device_may_be_used_once_the_next_kernel_is_up() {
        let dropped = |at, said: &[&str]| {
            let event = format!("1970-01-01T00:00:{at}.0Z igb_rx_desc_buff_write buffer #1");
            let mut evidence = update(&[&event]);
            let line = |text: &&str| Line { at: 23.0, text: format!("[    1.000000] {text}") };
            evidence.console.extend(said.iter().map(line));
            dropped_igb(&evidence).iter().filter(|case| case.has_failed()).count()
        };
        let said = "what was handed over is dropped, with 0000:00:01.0 0000:01:00.0";
        assert_eq!(dropped(26, &[said]), 0);
        assert_eq!(dropped(24, &[said]), 1);
        assert_eq!(dropped(26, &[said, said]), 1);
        assert_eq!(dropped(26, &["what was handed over is dropped, no devices"]), 1);
        assert_eq!(dropped(26, &[]), 1);
    }

    #[test]
    fn missing_reset_and_another_devices_reset_fail() {
        let mut evidence = update(&[
            "1970-01-01T00:00:11.0Z pci_cfg_write pcie-root-port 00:01.0 @0xa8 <- 0x8000",
        ]);
        evidence.trace.remove(1);
        assert_eq!(failed(&evidence), ["function-level reset in device shutdown"]);
    }

    #[test]
    fn run_that_could_not_have_failed_fails() {
        let mut evidence = update(&[]);
        evidence.trace.remove(0);
        evidence.frames = vec![5.0];
        assert_eq!(failed(&evidence).len(), 2);
        assert_eq!(failed(&Evidence::default()).len(), 1);
    }

    #[test]
    fn device_is_stopped_once_by_the_next_kernel() {
        let stopped = |lines: &[(f64, &str)]| {
            let mut evidence = update(&[]);
            evidence.console.extend(lines.iter().map(|(at, bdf)| Line {
                at: *at,
                text: format!(
                    "[    1.0] pci {bdf}: did DMA across a kexec: stopped and quarantined"
                ),
            }));
            !stops_mastering(&evidence)[0].has_failed()
        };
        assert!(stopped(&[(15.0, "0000:01:00.0")]));
        assert!(!stopped(&[]));
        assert!(!stopped(&[(5.0, "0000:01:00.0")]));
        assert!(!stopped(&[(15.0, "0000:02:00.0")]));
        assert!(!stopped(&[(15.0, "0000:01:00.0"), (16.0, "0000:01:00.0")]));
    }

    #[test]
    fn device_and_port_are_stopped_for_what_the_image_does_not_declare() {
        let failures = |port: &str, said: &[(f64, &str)]| {
            let event = format!("1970-01-01T00:00:11.9Z pci_cfg_write pcie-root-port {port}");
            let mut evidence = update(&[&event]);
            let line = |(at, missing): &(f64, &str)| Line {
                at: *at,
                text: format!("[    8.000000] {NOT_DECLARED}{missing}"),
            };
            evidence.console.splice(0..0, said.iter().map(line));
            let count = |cases: Vec<Case>| cases.iter().filter(|case| case.has_failed()).count();
            (count(stops_for_unaware(&evidence)), count(stops_for_version(&evidence)))
        };
        let all = "kho-v4, luo-v5, memfd-v2, pci-v2, pci-driver-rs-v2, pci-probe-rs-v2, \
                   iommu-rs-v1, iommufd-rs-v2, vfio-pci-rs-v1";
        let off = "00:01.0 @0x4 <- 0x103";
        assert_eq!(failures(off, &[(11.0, all)]), (0, 1));
        assert_eq!(failures(off, &[(11.0, "vfio-pci-rs-v1")]), (1, 0));
        assert_eq!(failures(off, &[]), (1, 1));
        assert_eq!(failures(off, &[(9.0, all)]), (1, 1));
        assert_eq!(failures(off, &[(13.0, "vfio-pci-rs-v1")]), (1, 1));
        assert_eq!(failures(off, &[(11.0, all), (11.5, all)]), (1, 1));
        assert_eq!(failures("00:01.0 @0x4 <- 0x107", &[(11.0, all)]), (1, 2));
        assert_eq!(failures("00:02.0 @0x4 <- 0x103", &[(11.0, all)]), (1, 2));
    }

    /// A live update in which both keep bus mastering; `more` is added to the trace.
    fn kept(more: &[&str]) -> Vec<String> {
        let mut evidence = update(&[
            "1970-01-01T00:00:05.0Z pci_cfg_write igb 01:00.0 @0x4 <- 0x406",
            "1970-01-01T00:00:05.0Z pci_cfg_write pcie-root-port 00:01.0 @0x4 <- 0x507",
        ]);
        evidence.trace.drain(1..3);
        let line = Line { at: 31.0, text: "LU-PHASE retrieve 1 1".into() };
        evidence.output.push(line);
        evidence.trace.extend(more.iter().map(|text| event(text).expect("an event")));
        let cases = keeps_mastering(&evidence).into_iter();
        cases.filter(Case::has_failed).map(|case| case.name).collect()
    }

    #[test]
    fn bus_mastering_is_kept_by_device_and_port() {
        assert!(kept(&[]).is_empty());
        for (at, model, bdf, what, failure) in [
            (11, "igb", "01:00.0", "@0x4 <- 0x402", "01:00.0 keeps bus mastering"),
            (15, "pcie-root-port", "00:01.0", "@0x4 <- 0x103", "00:01.0 keeps bus mastering"),
            (11, "igb", "01:00.0", "@0xa8 <- 0x8810", "01:00.0 is not reset"),
            (6, "igb", "01:00.0", "@0x4 <- 0x2", "01:00.0 has bus mastering on before the kexec"),
        ] {
            let event = format!("1970-01-01T00:00:{at:02}.0Z pci_cfg_write {model} {bdf} {what}");
            assert_eq!(kept(&[&event]), [failure]);
        }
        let after = "1970-01-01T00:00:32.0Z pci_cfg_write igb 01:00.0 @0x4 <- 0x402";
        assert!(kept(&[after]).is_empty());
        assert_eq!(keeps_mastering(&Evidence::default()).len(), 1);
    }
}
