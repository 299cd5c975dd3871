// SPDX-License-Identifier: GPL-2.0

//! Judges which registers of preserved devices, and of the bridges above them, a kernel wrote.
//!
//! QEMU's trace is the witness, for the time from the jump into the next kernel until the device's
//! file was retrieved there, or the last file in the case of a bridge: from then on its user
//! answers for what is written. `tools/vm/config-writes.list` has what may be written.
//!
//! The trace names a device by the number that its bus has at that moment. A kernel that renumbered
//! buses would have to write that to a bridge first, which is not in the list. The trace does not
//! tell how many bytes were written: that a register next to the named one was overwritten, with
//! zeroes, shows in the registers only.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

use anyhow::{Result, bail};

use crate::config_space::ConfigSpace;
use crate::evidence::{Boot, Evidence};
use crate::trace::{ConfigWrite, Event};
use crate::verdict::Case;

/// The list.
const LIST: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/vm/config-writes.list"));

/// What has to be so for any other verdict to count.
const WINDOW: &str = "QEMU saw all from the jump to retrieve";

/// How many writes a failed case names.
const SHOWN: usize = 24;

/// The entries of the list that a run needed, and nothing before the first judgement.
static NEEDED: Mutex<Option<BTreeSet<String>>> = Mutex::new(None);

/// A register that may be written.
#[derive(Debug)]
struct Entry<'a> {
    line: &'a str,
    /// Whether it is one of a bridge.
    of_bridge: bool,
    register: &'a str,
    /// The bits in which the value may differ from what was there before the live update: any, if
    /// the entry does not say.
    may_differ: u32,
}

/// One function that must be left alone.
struct Function {
    /// Its address, as tests print it.
    bdf: String,
    /// Its registers before the live update.
    space: ConfigSpace,
    /// When its time ended, if it did.
    until: Option<f64>,
}

/// The preserved devices and the bridges above them are left alone in each live update, but for
/// what is in the list.
pub fn registers(evidence: &Evidence) -> Vec<Case> {
    match entries(LIST) {
        Ok(entries) => judge(evidence, &entries),
        Err(error) => vec![Case::failed("tools/vm/config-writes.list", error.to_string())],
    }
}

/// The entries that no run needed, if there was one.
pub fn unused() -> Vec<&'static str> {
    let needed = NEEDED.lock().unwrap_or_else(PoisonError::into_inner);
    let (Some(needed), Ok(entries)) = (&*needed, entries(LIST)) else {
        return Vec::new();
    };
    entries.iter().map(|entry| entry.line).filter(|line| !needed.contains(*line)).collect()
}

/// What the list says: `device|bridge REGISTER [mask] # reason`, one entry per line.  The first that
/// allows a write is needed for it.
fn entries(list: &str) -> Result<Vec<Entry<'_>>> {
    let mut entries: Vec<Entry> = Vec::new();
    let lines = list.lines().map(str::trim);
    for line in lines.filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let Some((what, reason)) = line.split_once(" # ") else {
            bail!("an entry needs a reason: {line}");
        };
        let (kind, register, mask) = match what.split_whitespace().collect::<Vec<_>>()[..] {
            [kind, register] => (kind, register, None),
            [kind, register, mask] => (kind, register, Some(mask)),
            _ => bail!("an entry is `device|bridge REGISTER [mask] # reason`: {line}"),
        };
        let of_bridge = match kind {
            "device" => false,
            "bridge" => true,
            _ => bail!("neither `device` nor `bridge`: {line}"),
        };
        let hex = |mask: &str| u32::from_str_radix(mask.strip_prefix("0x")?, 16).ok();
        let Some(may_differ) = mask.map_or(Some(u32::MAX), hex) else {
            bail!("the mask is no hexadecimal number: {line}");
        };
        if reason.trim().is_empty() {
            bail!("an entry needs a reason: {line}");
        }
        entries.push(Entry { line, of_bridge, register, may_differ });
    }
    Ok(entries)
}

fn judge(evidence: &Evidence, entries: &[Entry]) -> Vec<Case> {
    let mut needed = NEEDED.lock().unwrap_or_else(PoisonError::into_inner);
    let needed = needed.get_or_insert_default();
    let boots = evidence.boots();
    let mut cases = Vec::new();
    for boot in boots.iter().filter(|boot| boot.stage < boots.len().max(2)) {
        let mut of_update = update(evidence, boot, entries, needed);
        if boots.len() > 2 {
            for case in &mut of_update {
                case.name = format!("update {}: {}", boot.stage, case.name);
            }
        }
        cases.extend(of_update);
    }
    if cases.is_empty() {
        cases.push(Case::failed("registers across the kexec", "no boot to look at"));
    }
    cases
}

/// One live update: out of the kernel of `boot`.
fn update(
    evidence: &Evidence,
    boot: &Boot,
    entries: &[Entry],
    needed: &mut BTreeSet<String>,
) -> Vec<Case> {
    let jump = evidence.jump(boot.stage);
    let Some(functions) = functions(evidence, boot, jump.unwrap_or(f64::INFINITY)) else {
        return vec![Case::failed(WINDOW, "a line `LU-CONFIG` cannot be read")];
    };
    let end = functions.iter().filter_map(|function| function.until).reduce(f64::max);
    let missing: Vec<&str> = functions
        .iter()
        .filter(|function| function.until.is_none())
        .map(|function| function.bdf.as_str())
        .collect();
    let (Some(jump), Some(end), []) = (jump, end, &missing[..]) else {
        let why = format!("no jump, nothing preserved, or not retrieved: {}", missing.join(" "));
        return vec![Case::failed(WINDOW, why)];
    };
    let within = |event: &&Event, end: f64| event.at >= jump && event.at < end;
    let seen = evidence.trace.iter().filter(|event| within(event, end));
    let seen = seen.filter(|event| event.config_write().is_some()).count();
    // Kernels always write to registers of other devices.
    let mut cases =
        vec![Case::check(WINDOW, seen > 0, || "no write to any register in its trace".into())];
    for function in &functions {
        let until = function.until.unwrap_or(end);
        let writes =
            evidence.trace.iter().filter(|event| within(event, until)).filter_map(|event| {
                event
                    .config_write()
                    .filter(|write| write.bdf == short(&function.bdf))
                    .map(|w| (event.at, w))
            });
        let mut wrong = Vec::new();
        for (at, write) in writes {
            match function.allowing(&write, entries) {
                Some(entry) => {
                    needed.insert(entry.line.to_owned());
                }
                None => wrong.push(function.describe(&write, at - jump)),
            }
        }
        let kind = if function.space.is_bridge() { "bridge" } else { "device" };
        let name = format!("{}: {kind} is left alone until retrieve", function.bdf);
        cases.push(Case::check(name, wrong.is_empty(), || {
            let shown: Vec<&str> = wrong.iter().take(SHOWN).map(String::as_str).collect();
            format!("{} writes that are not in the list: {}", wrong.len(), shown.join("; "))
        }));
    }
    cases
}

/// The functions whose configuration space was printed before the live update, unless what was
/// printed cannot be read.
fn functions(evidence: &Evidence, boot: &Boot, jump: f64) -> Option<Vec<Function>> {
    let mut spaces: BTreeMap<&str, ConfigSpace> = BTreeMap::new();
    let lines = boot.runs.iter().flat_map(|run| &run.lines);
    for line in lines.filter_map(|line| line.strip_prefix("LU-CONFIG ")) {
        let [bdf, offset, hex] = line.split(' ').collect::<Vec<_>>()[..] else {
            return None;
        };
        let offset = usize::from_str_radix(offset.strip_prefix("0x")?, 16).ok()?;
        spaces.entry(bdf).or_default().add(offset, hex)?;
    }
    let said = |bdf: &str| {
        let end = format!(" {bdf}: device is retrieved");
        let says = |text: &str| text.starts_with("ok ") && text.ends_with(&end);
        evidence.output.iter().find(|line| line.at > jump && says(&line.text)).map(|line| line.at)
    };
    let devices = spaces.iter().filter(|(_, space)| !space.is_bridge());
    let last = devices.map(|(bdf, _)| said(bdf)).reduce(|a, b| Some(a?.max(b?))).flatten();
    let function = |(bdf, space): (&str, ConfigSpace)| {
        let until = if space.is_bridge() { last } else { said(bdf) };
        Function { bdf: bdf.to_owned(), space, until }
    };
    Some(spaces.into_iter().map(function).collect())
}

impl Function {
    /// The entry that allows `write`.
    fn allowing<'a>(&self, write: &ConfigWrite, entries: &'a [Entry]) -> Option<&'a Entry<'a>> {
        let offset = usize::try_from(write.offset).ok()?;
        let name = self.space.name(offset);
        let mut width = self.space.width(offset);
        while width < 4 && u64::from(write.value) >> (8 * width) != 0 {
            width *= 2;
        }
        let bits = u32::MAX >> (32 - 8 * width.min(4));
        let differs = (self.space.dword(offset) ^ write.value) & bits;
        entries
            .iter()
            .filter(|entry| entry.of_bridge == self.space.is_bridge() && entry.register == name)
            .find(|entry| differs & !entry.may_differ == 0)
    }

    fn describe(&self, write: &ConfigWrite, after: f64) -> String {
        let offset = usize::try_from(write.offset).unwrap_or(usize::MAX);
        format!(
            "{} <- {:#x} {after:.3} s after the jump, was {:#x}",
            self.space.name(offset),
            write.value,
            self.space.dword(offset)
        )
    }
}

/// An address as QEMU's trace has it, without the domain.
fn short(bdf: &str) -> &str {
    bdf.strip_prefix("0000:").unwrap_or(bdf)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serial::Line;
    use crate::trace::event;

    const TEXT: &str = "# why\n\nbridge COMMAND 0x404 # a\nbridge MSI+0x02 # b\ndevice BAR0 # c\n";

    /// Two devices below one bridge are preserved, and retrieved one after the other.
    fn evidence(trace: &[&str]) -> Evidence {
        let line = |at: f64, text: &str| Line { at, text: text.to_owned() };
        // COMMAND is 0x507, and MSI at 0x40.
        let bridge = "06000000070510000000000000000100";
        let device = "00000000030400000000000000000000";
        let mut output = vec![line(1.0, "LU-STAGE 1 7.3.4"), line(2.0, "LU-RUN test")];
        for (bdf, header) in
            [("0000:01:00.0", device), ("0000:01:00.1", device), ("0000:00:01.0", bridge)]
        {
            output.push(line(3.0, &format!("LU-CONFIG {bdf} 0x000 {header}")));
        }
        output.push(line(3.0, "LU-CONFIG 0000:00:01.0 0x034 40"));
        output.push(line(3.0, "LU-CONFIG 0000:00:01.0 0x040 0500"));
        output.extend([
            line(4.0, "LU-EXIT 0"),
            line(5.0, "LU-KEXEC"),
            line(20.0, "LU-STAGE 2 7.3.4"),
            line(30.0, "ok 1 0000:01:00.0: device is retrieved"),
            line(40.0, "ok 2 0000:01:00.1: device is retrieved"),
        ]);
        let other = ["1970-01-01T00:00:15.0Z pci_cfg_write mch 00:00.0 @0x60 <- 0x1"];
        Evidence {
            console: vec![line(10.0, "[    9.000000] kexec_core: Starting new kernel")],
            output,
            trace: other.iter().chain(trace).map(|text| event(text).expect("an event")).collect(),
            ..Evidence::default()
        }
    }

    fn failed(evidence: &Evidence) -> Vec<String> {
        let cases = judge(evidence, &entries(TEXT).expect("a list"));
        cases.into_iter().filter(Case::has_failed).map(|case| case.name).collect()
    }

    fn failed_after(write: &str) -> Vec<String> {
        failed(&evidence(&[write]))
    }

    const BRIDGE: &str = "0000:00:01.0: bridge is left alone until retrieve";
    const FIRST: &str = "0000:01:00.0: device is left alone until retrieve";

    #[test]
    fn devices_that_are_left_alone_pass() {
        let cases = judge(&evidence(&[]), &entries(TEXT).expect("a list"));
        assert_eq!((cases.len(), cases.iter().filter(|case| case.has_failed()).count()), (4, 0));
    }

    #[test]
    fn write_that_is_not_in_the_list_fails() {
        let write = "1970-01-01T00:00:15.0Z pci_cfg_write igb 01:00.0 @0x4 <- 0x400";
        assert_eq!(failed_after(write), [FIRST]);
        // What may be written to a device may not be written to a bridge.
        let write = "1970-01-01T00:00:15.0Z pci_cfg_write rp 00:01.0 @0x10 <- 0x0";
        assert_eq!(failed_after(write), [BRIDGE]);
    }

    #[test]
    fn write_that_is_in_the_list_passes_and_makes_its_entry_needed() {
        let write = "1970-01-01T00:00:15.0Z pci_cfg_write rp 00:01.0 @0x42 <- 0x81";
        let mut needed = BTreeSet::new();
        let evidence = evidence(&[write]);
        let cases =
            update(&evidence, &evidence.boots()[0], &entries(TEXT).expect("a list"), &mut needed);
        assert!(!cases.iter().any(Case::has_failed));
        assert_eq!(needed.into_iter().collect::<Vec<_>>(), ["bridge MSI+0x02 # b"]);
    }

    #[test]
    fn only_the_bits_of_the_mask_may_differ() {
        let command = |value: &str| {
            failed_after(&format!(
                "1970-01-01T00:00:15.0Z pci_cfg_write rp 00:01.0 @0x4 <- {value}"
            ))
        };
        assert!(command("0x103").is_empty());
        assert!(command("0x507").is_empty());
        assert_eq!(command("0x101"), [BRIDGE]);
        // With STATUS, which is 0x10.
        assert!(command("0x100507").is_empty());
        assert_eq!(command("0x200507"), [BRIDGE]);
    }

    #[test]
    fn time_is_over_for_each_device_when_it_is_retrieved_and_for_bridges_with_the_last() {
        let at = |time: &str, who: &str| {
            failed_after(&format!("1970-01-01T00:00:{time}Z pci_cfg_write x {who} @0x3c <- 0x1"))
        };
        assert!(at("09.0", "01:00.0").is_empty());
        assert_eq!(at("29.0", "01:00.0"), [FIRST]);
        assert!(at("31.0", "01:00.0").is_empty());
        assert_eq!(at("31.0", "01:00.1").len(), 1);
        assert_eq!(at("31.0", "00:01.0"), [BRIDGE]);
        assert!(at("41.0", "00:01.0").is_empty());
        assert!(at("15.0", "02:00.0").is_empty());
    }

    #[test]
    fn failure_names_register_value_and_time() {
        let write = "1970-01-01T00:00:12.5Z pci_cfg_write rp 00:01.0 @0x44 <- 0xfee0";
        let cases = judge(&evidence(&[write]), &entries(TEXT).expect("a list"));
        let text = format!("{cases:?}");
        assert!(text.contains("MSI+0x04 <- 0xfee0 2.500 s after the jump, was 0x0"), "{text}");
    }

    #[test]
    fn run_that_could_not_have_failed_fails() {
        let mut none = evidence(&[]);
        none.trace.clear();
        assert_eq!(failed(&none), [WINDOW]);
        let mut none = evidence(&[]);
        none.output.retain(|line| !line.text.starts_with("LU-CONFIG"));
        assert_eq!(failed(&none), [WINDOW]);
        let mut none = evidence(&[]);
        none.console.clear();
        assert_eq!(failed(&none), [WINDOW]);
        let mut none = evidence(&[]);
        none.output.pop();
        assert_eq!(failed(&none), [WINDOW]);
        for torn in ["LU-CONFIG 0000:01:00.0 0x080", "LU-CONFIG 0000:01:00.0 0x080 12345"] {
            let mut none = evidence(&[]);
            none.output.insert(2, Line { at: 3.0, text: torn.into() });
            assert_eq!(failed(&none), [WINDOW]);
        }
        assert_eq!(failed(&Evidence::default()).len(), 1);
    }

    #[test]
    fn each_of_several_updates_is_judged() {
        let mut twice = evidence(&[]);
        let line = |at: f64, text: &str| Line { at, text: text.to_owned() };
        twice.output.push(line(50.0, "LU-STAGE 3 7.3.4"));
        twice.console.push(line(45.0, "[    9.0] kexec_core: Starting new kernel"));
        assert_eq!(failed(&twice), [format!("update 2: {WINDOW}")]);
    }

    #[test]
    fn list_is_readable() {
        entries(LIST).expect("the list");
        for wrong in [
            "device COMMAND",
            "device COMMAND # ",
            "device # a",
            "port COMMAND # a",
            "device COMMAND 12 # a",
            "device COMMAND 0x1 0x2 # a",
        ] {
            assert!(entries(wrong).is_err(), "{wrong}");
        }
    }
}
