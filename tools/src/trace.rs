// SPDX-License-Identifier: GPL-2.0

//! Reads QEMU's trace log: `time event arguments`, in host time.

use std::time::UNIX_EPOCH;

/// One event that QEMU saw.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// Host time in seconds since the epoch.
    pub at: f64,
    /// The event's name.
    pub name: String,
    /// The rest of the line.
    pub args: String,
}

/// One write to the configuration space of an emulated device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConfigWrite<'a> {
    /// `bus:device.function`, as QEMU numbers it at that moment.
    pub bdf: &'a str,
    /// The register.
    pub offset: u32,
    /// What was written.
    pub value: u32,
}

/// One access of a device that the IOMMU blocked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Who: bus, device and function, in 8, 5 and 3 bits.
    pub source: u16,
    /// Where to.
    pub address: u64,
}

/// The event of one line, or nothing if it is a message of another kind.
pub fn event(line: &str) -> Option<Event> {
    let (stamp, rest) = line.split_once(' ')?;
    let at = seconds(stamp)?;
    let (name, args) = rest.split_once(' ').unwrap_or((rest, ""));
    // An event's name is one word; other messages start with the program's, and a colon.
    let is_event = name.bytes().all(|byte| byte == b'_' || byte.is_ascii_alphanumeric());
    is_event.then(|| Event { at, name: name.to_owned(), args: args.to_owned() })
}

/// Seconds since the epoch at `YYYY-MM-DDThh:mm:ss.ffffffZ`.
fn seconds(stamp: &str) -> Option<f64> {
    let time = humantime::parse_rfc3339(stamp).ok()?;
    Some(time.duration_since(UNIX_EPOCH).ok()?.as_secs_f64())
}

impl Event {
    /// The configuration write that this event tells of.
    pub fn config_write(&self) -> Option<ConfigWrite<'_>> {
        if self.name != "pci_cfg_write" {
            return None;
        }
        let mut words = self.args.split_whitespace();
        let (_model, bdf, offset, arrow, value) =
            (words.next()?, words.next()?, words.next()?, words.next()?, words.next()?);
        (arrow == "<-").then_some(())?;
        Some(ConfigWrite { bdf, offset: hex(offset.strip_prefix('@')?)?, value: hex(value)? })
    }
}

impl Event {
    /// Where a NIC may be about to write a received frame to: an `igb` says so, and of an `e1000` each
    /// access is known, for it is translated.
    pub fn received_to(&self) -> Option<u64> {
        match self.name.as_str() {
            "igb_rx_desc_buff_write" => {
                let mut parts = self.args.split(", ");
                address(parts.find_map(|part| part.strip_prefix("addr: "))?)
            }
            "vtd_iotlb_page_hit" | "vtd_iotlb_page_update" => {
                let mut words = self.args.split(' ').skip_while(|word| *word != "iova");
                address(words.nth(1)?)
            }
            _ => None,
        }
    }

    /// The fault that this event tells of.
    pub fn fault(&self) -> Option<Fault> {
        if self.name != "vtd_dmar_fault" {
            return None;
        }
        let words: Vec<&str> = self.args.split_whitespace().collect();
        let ["sid", source, "fault", _reason, "addr", to, "write", _] = words[..] else {
            return None;
        };
        Some(Fault { source: hex(source)?.try_into().ok()?, address: address(to)? })
    }

    /// The number of the command that an NVMe controller is about to tell the completion of in one
    /// of its queues for reads and writes.
    pub fn completed_in(&self, queue: u16) -> Option<u16> {
        if self.name != "pci_nvme_enqueue_req_completion" {
            return None;
        }
        let words: Vec<&str> = self.args.split_whitespace().collect();
        let ["cid", command, "cqid", of, ..] = words[..] else {
            return None;
        };
        (of.parse() == Ok(queue)).then(|| command.parse().ok()).flatten()
    }

    /// Whether `name` was turned on or off by this event.
    pub fn turned(&self, name: &str) -> Option<bool> {
        (self.name == name).then(|| self.args.strip_prefix("enable ")).flatten().map(|to| to != "0")
    }
}

fn hex(text: &str) -> Option<u32> {
    address(text)?.try_into().ok()
}

fn address(text: &str) -> Option<u64> {
    u64::from_str_radix(text.strip_prefix("0x")?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_configuration_write() {
        let event = event("2026-11-21T00:44:38.500000Z pci_cfg_write igb 01:00.0 @0xa8 <- 0x8810");
        let event = event.expect("an event");
        assert_eq!(event.at, 1_795_221_878.5);
        let write = ConfigWrite { bdf: "01:00.0", offset: 0xa8, value: 0x8810 };
        assert_eq!(event.config_write(), Some(write));
    }

    #[test]
    fn time_counts_from_the_epoch_and_knows_leap_years() {
        assert_eq!(seconds("1970-01-01T00:00:00.25Z"), Some(0.25));
        assert_eq!(seconds("2000-02-29T00:00:00Z"), Some(951_782_400.0));
        assert_eq!(seconds("2024-03-01T12:00:00Z"), Some(1_709_294_400.0));
        assert_eq!(seconds("2024-03-01 12:00:00"), None);
    }

    #[test]
    fn other_events_are_no_configuration_writes() {
        let event = event("1970-01-01T00:00:02Z igb_rx_desc_buff_write buffer #0, addr: 0x1000");
        let event = event.expect("an event");
        assert_eq!((event.name.as_str(), event.config_write()), ("igb_rx_desc_buff_write", None));
    }

    #[test]
    fn reads_where_a_frame_goes() {
        let text = "1970-01-01T00:00:02Z igb_rx_desc_buff_write buffer 1, addr: 0x100900800, offset: 0, from: 0x55ec, length: 60";
        let event = event(text).expect("an event");
        assert_eq!((event.received_to(), event.fault()), (Some(0x1_0090_0800), None));
    }

    #[test]
    fn reads_a_fault() {
        let event =
            event("1970-01-01T00:00:02Z vtd_dmar_fault sid 0x200 fault 5 addr 0x200040000 write 1");
        let fault = Fault { source: 0x200, address: 0x2_0004_0000 };
        let event = event.expect("an event");
        assert_eq!((event.fault(), event.received_to()), (Some(fault), None));
    }

    #[test]
    fn reads_a_completion() {
        let text = "1970-01-01T00:00:02Z pci_nvme_enqueue_req_completion cid 7 cqid 1 dw0 0x0 dw1 0x0 status 0x0";
        let event = event(text).expect("an event");
        assert_eq!([0, 1].map(|queue| event.completed_in(queue)), [None, Some(7)]);
    }

    #[test]
    fn reads_what_is_turned_on_and_off() {
        let event = event("1970-01-01T00:00:02Z vtd_ir_enable enable 0").expect("an event");
        assert_eq!(event.turned("vtd_ir_enable"), Some(false));
        assert_eq!(event.turned("vtd_dmar_enable"), None);
    }

    #[test]
    fn other_lines_are_no_events() {
        for line in ["", "warning: x", "1970-01-01T00:00:00Z qemu-system-x86_64: hello", "x y z"] {
            assert_eq!(event(line), None, "{line}");
        }
    }
}
