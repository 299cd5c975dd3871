// SPDX-License-Identifier: GPL-2.0

//! Decides what may be written to the configuration space of what was preserved.
//!
//! While a device waits for its next owner nobody is to change its registers: it may be at work, and
//! what it was told is its owner's. A bridge above it serves other devices, too, and has services of
//! its own, whose registers are listed here. What keeps the device connected is not among them:
//! numbers of buses, windows, bus mastering, ACS, the link and the power.
//!
//! A register that lost what it had, as after a reset, may get it back.
//!
//! Registers are those of the PCI Express Base Specification, chapter "Software Initialization and
//! Configuration", by the names of `include/uapi/linux/pci_regs.h`.

/// A write to configuration space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Write {
    /// Where it begins, in bytes.
    pub(crate) offset: u16,
    /// One, two or four bytes that do not cross a multiple of four.
    pub(crate) size: u8,
    /// What is written, in the lowest bytes.
    pub(crate) value: u32,
}

/// Where a bridge has its capabilities; zero stands for one that it does not have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Capabilities {
    /// PCI Express.
    pub(crate) express: u16,
    /// Message Signalled Interrupts.
    pub(crate) msi: u16,
    /// The end of that one, whose size depends on what the bridge supports.
    pub(crate) msi_end: u16,
    /// The extended ones of these interrupts.
    pub(crate) msix: u16,
    /// Advanced Error Reporting.
    pub(crate) aer: u16,
    /// Downstream Port Containment.
    pub(crate) dpc: u16,
}

/// How bits of a register may change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    /// To any value.
    Any,
    /// From zero to one.
    Set,
    /// To zero, all at once.
    Zero,
    /// From one to zero by writing a one (RW1C).
    Acknowledge,
    /// Not at all, whatever is written.
    Never,
}

/// Bits of a bridge that may change.
struct Rule {
    /// The capability, or nothing for the header.
    capability: Option<fn(&Capabilities) -> u16>,
    /// The double word, from the beginning of the capability.
    offset: u16,
    /// The bits in it.
    bits: u32,
    change: Change,
}

impl Rule {
    const fn header(offset: u16, change: Change, bits: u32) -> Self {
        Self {
            capability: None,
            offset,
            bits,
            change,
        }
    }

    const fn of(
        capability: fn(&Capabilities) -> u16,
        offset: u16,
        change: Change,
        bits: u32,
    ) -> Self {
        Self {
            capability: Some(capability),
            offset,
            bits,
            change,
        }
    }

    const fn express(offset: u16, change: Change, bits: u32) -> Self {
        Self::of(|at| at.express, offset, change, bits)
    }

    const fn aer(offset: u16, change: Change, bits: u32) -> Self {
        Self::of(|at| at.aer, offset, change, bits)
    }

    const fn dpc(offset: u16, change: Change, bits: u32) -> Self {
        Self::of(|at| at.dpc, offset, change, bits)
    }

    /// Returns whether this is about a double word.
    fn is_about(&self, at: &Capabilities, dword: u16) -> bool {
        let base = match self.capability {
            None => Some(0),
            Some(capability) => Some(capability(at)).filter(|base| *base != 0),
        };

        base.and_then(|base| base.checked_add(self.offset)) == Some(dword)
    }
}

/// All that may change on a bridge, but for where its messages go.
///
/// Where two registers share a double word, the second one is in the upper half.
const BRIDGE: [Rule; 24] = [
    // Command: decoding, bus mastering and the reporting of errors are turned on, never off. INTx is
    // off while there are other interrupts.
    Rule::header(0x04, Change::Set, 0x0147),
    Rule::header(0x04, Change::Any, 0x0400),
    // Bus numbers that make no sense are cleared, so that nothing is forwarded to them.
    Rule::header(0x18, Change::Zero, 0x00ff_ffff),
    // Bridge Control: a reset that somebody asks for, and that reaches nobody who waits. Enumerating
    // devices does none.
    Rule::header(0x3c, Change::Any, 0x0040_0000),
    // Device Control: reporting of errors. Device Status: the errors.
    Rule::express(0x08, Change::Set, 0x000f),
    Rule::express(0x08, Change::Acknowledge, 0x000f_0000),
    Rule::express(0x08, Change::Never, 0xfff0_0000),
    // Link Control: interrupts when the bandwidth changes. Link Status: that it did.
    Rule::express(0x10, Change::Any, 0x0c00),
    Rule::express(0x10, Change::Acknowledge, 0xc000_0000),
    Rule::express(0x10, Change::Never, 0x3fff_0000),
    // Slot Control: interrupts of hot-plug, and the indicators. Slot Status: its events.
    Rule::express(0x18, Change::Any, 0x13ff),
    Rule::express(0x18, Change::Acknowledge, 0x011f_0000),
    Rule::express(0x18, Change::Never, 0xfee0_0000),
    // Root Control: which errors and power management events are told. Root Status: the events.
    Rule::express(0x1c, Change::Any, 0x000f),
    Rule::express(0x20, Change::Acknowledge, 0x0001_0000),
    // Message Control of MSI: what is enabled, and how many messages; of MSI-X: what is enabled.
    Rule::of(|at| at.msi, 0x00, Change::Any, 0x0071_0000),
    Rule::of(|at| at.msix, 0x00, Change::Any, 0xc000_0000),
    // Uncorrectable and Correctable Error Status, Root Error Command and Status.
    Rule::aer(0x04, Change::Acknowledge, 0xffff_ffff),
    Rule::aer(0x10, Change::Acknowledge, 0xffff_ffff),
    Rule::aer(0x2c, Change::Any, 0x0007),
    Rule::aer(0x30, Change::Acknowledge, 0xffff_ffff),
    // DPC Control: what triggers, and the interrupt. DPC Status: that it was triggered.
    Rule::dpc(0x04, Change::Any, 0x000b_0000),
    Rule::dpc(0x08, Change::Acknowledge, 0x200d),
    Rule::dpc(0x08, Change::Never, 0xdff2),
];

impl Write {
    /// Returns where the double word is that this is a part of.
    pub(crate) const fn dword(self) -> u16 {
        self.offset & !3
    }

    /// Returns which bits of the double word are written, and what to them.
    const fn bits(self) -> (u32, u32) {
        // CAST: lossless, less than four bytes.
        let shift = 8 * (self.offset & 3) as u32;
        let mask = match self.size {
            1 => 0xff,
            2 => 0xffff,
            _ => u32::MAX,
        } << shift;

        (mask, (self.value << shift) & mask)
    }
}

/// Decides whether a write to a bridge is let through.
///
/// `old` is what the double word reads as. What would change nothing is not let through.
pub(crate) fn bridge_may(at: &Capabilities, old: u32, write: Write) -> bool {
    let (written, value) = write.bits();
    let allowed = |change| allowed(at, write.dword(), change);
    let acknowledge = allowed(Change::Acknowledge);
    let zero = match allowed(Change::Zero) {
        bits if bits & written & !value == bits => bits,
        _ => 0,
    };

    let changed = (old ^ value) & written & !acknowledge & !allowed(Change::Never);
    let may_change = allowed(Change::Any) | allowed(Change::Set) & !old | zero;
    let acknowledged = old & value & acknowledge;

    changed & !may_change == 0 && (changed | acknowledged) != 0
}

/// Decides whether a write gives registers back what they had, and lost: by a reset, for example.
///
/// `kept` is what the double word had, `old` what it reads as.
pub(crate) fn restores(kept: u32, old: u32, write: Write) -> bool {
    let (written, value) = write.bits();

    (value ^ kept) & written == 0 && (old ^ kept) & written != 0
}

/// Returns the bits of a double word that may change in this way.
fn allowed(at: &Capabilities, dword: u16, change: Change) -> u32 {
    // The address and the data of messages, and which of them are masked.
    if change == Change::Any && at.msi < dword && dword < at.msi_end {
        return u32::MAX;
    }

    BRIDGE
        .iter()
        .filter(|rule| rule.change == change && rule.is_about(at, dword))
        .fold(0, |bits, rule| bits | rule.bits)
}
