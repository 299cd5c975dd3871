// SPDX-License-Identifier: GPL-2.0

//! A device's configuration space, as a test printed it, and the names of its registers.

/// The end of the space that every function has; extended capabilities come after it.
const CONVENTIONAL_END: usize = 0x100;

/// The end of the header; capabilities of the conventional space come after it.
const HEADER_END: usize = 0x40;

/// The most capabilities that fit behind the header: each takes a doubleword.
const MOST_CAPABILITIES: usize = (CONVENTIONAL_END - HEADER_END) / 4;

/// The most extended capabilities: each takes two doublewords.
const MOST_EXTENDED_CAPABILITIES: usize = (4096 - CONVENTIONAL_END) / 8;

/// Registers of both headers.
const COMMON: &[(usize, &str)] = &[
    (0x00, "VENDOR_ID"),
    (0x02, "DEVICE_ID"),
    (0x04, "COMMAND"),
    (0x06, "STATUS"),
    (0x08, "REVISION_ID"),
    (0x0c, "CACHE_LINE_SIZE"),
    (0x0d, "LATENCY_TIMER"),
    (0x0e, "HEADER_TYPE"),
    (0x0f, "BIST"),
    (0x10, "BAR0"),
    (0x14, "BAR1"),
    (0x34, "CAPABILITY_LIST"),
    (0x3c, "INTERRUPT_LINE"),
    (0x3d, "INTERRUPT_PIN"),
];

/// Registers of a type 0 header.
const DEVICE: &[(usize, &str)] = &[
    (0x18, "BAR2"),
    (0x1c, "BAR3"),
    (0x20, "BAR4"),
    (0x24, "BAR5"),
    (0x28, "CARDBUS_CIS"),
    (0x2c, "SUBSYSTEM_VENDOR_ID"),
    (0x2e, "SUBSYSTEM_ID"),
    (0x30, "ROM"),
    (0x3e, "MIN_GNT"),
    (0x3f, "MAX_LAT"),
];

/// Registers of a type 1 header.
const BRIDGE: &[(usize, &str)] = &[
    (0x18, "PRIMARY_BUS"),
    (0x19, "SECONDARY_BUS"),
    (0x1a, "SUBORDINATE_BUS"),
    (0x1b, "SECONDARY_LATENCY_TIMER"),
    (0x1c, "IO_BASE"),
    (0x1d, "IO_LIMIT"),
    (0x1e, "SECONDARY_STATUS"),
    (0x20, "MEMORY_BASE"),
    (0x22, "MEMORY_LIMIT"),
    (0x24, "PREF_MEMORY_BASE"),
    (0x26, "PREF_MEMORY_LIMIT"),
    (0x28, "PREF_BASE_UPPER32"),
    (0x2c, "PREF_LIMIT_UPPER32"),
    (0x30, "IO_BASE_UPPER16"),
    (0x32, "IO_LIMIT_UPPER16"),
    (0x38, "ROM"),
    (0x3e, "BRIDGE_CONTROL"),
];

/// A function's configuration space.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConfigSpace {
    bytes: Vec<u8>,
}

/// Where a capability is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capability {
    /// Its name, with a number from the second of its kind on.
    pub name: String,
    /// The offset of its header.
    pub offset: usize,
}

impl ConfigSpace {
    /// Takes `hex` as what is at `offset`; what was never given reads as 0.
    pub fn add(&mut self, offset: usize, hex: &str) -> Option<()> {
        let pairs = hex.as_bytes().chunks(2);
        let byte = |pair: &[u8]| {
            let digits = std::str::from_utf8(pair).ok().filter(|digits| digits.len() == 2)?;
            u8::from_str_radix(digits, 16).ok()
        };
        let bytes: Vec<u8> = pairs.map(byte).collect::<Option<_>>()?;
        let end = offset.checked_add(bytes.len()).filter(|end| *end <= 4096)?;
        if self.bytes.len() < end {
            self.bytes.resize(end, 0);
        }
        self.bytes[offset..end].copy_from_slice(&bytes);
        Some(())
    }

    /// Whether it is a bridge's.
    pub fn is_bridge(&self) -> bool {
        self.byte(0x0e) & 0x7f == 1
    }

    /// The doubleword at `offset`, or what there is of it.
    pub fn dword(&self, offset: usize) -> u32 {
        u32::from_le_bytes([0, 1, 2, 3].map(|n| self.byte(offset + n)))
    }

    fn byte(&self, offset: usize) -> u8 {
        self.bytes.get(offset).copied().unwrap_or(0)
    }

    fn word(&self, offset: usize) -> u16 {
        u16::from_le_bytes([0, 1].map(|n| self.byte(offset + n)))
    }

    /// All capabilities, those of the conventional space first.
    pub fn capabilities(&self) -> Vec<Capability> {
        let mut all = Vec::new();
        // Status, Capabilities List
        if self.word(0x06) & 0x10 != 0 {
            self.walk(&mut all);
        }
        self.walk_extended(&mut all);
        all
    }

    fn walk(&self, all: &mut Vec<Capability>) {
        let mut next = usize::from(self.byte(0x34) & !3);
        // A list may lead back into itself.
        for _ in 0..MOST_CAPABILITIES {
            if next < HEADER_END {
                return;
            }
            found(all, capability_name(self.byte(next)), next);
            next = usize::from(self.byte(next + 1) & !3);
        }
    }

    fn walk_extended(&self, all: &mut Vec<Capability>) {
        let mut next = CONVENTIONAL_END;
        for _ in 0..MOST_EXTENDED_CAPABILITIES {
            let header = self.dword(next);
            if next < CONVENTIONAL_END || header == 0 || header == u32::MAX {
                return;
            }
            found(all, extended_capability_name(self.word(next)), next);
            next = usize::from((self.word(next + 2) >> 4) & !3);
        }
    }

    /// How many bytes the register at `offset` has: to the next one of the header, or most often
    /// two in a capability.
    pub fn width(&self, offset: usize) -> usize {
        if offset >= HEADER_END {
            return 2;
        }
        let after = self.header().map(|(at, _)| at).filter(|at| *at > offset).min();
        after.unwrap_or(HEADER_END) - offset
    }

    /// The name of what is at `offset`: a register of the header, or the capability that begins
    /// there or before, with the distance: `EXP+0x08`.
    pub fn name(&self, offset: usize) -> String {
        if offset < HEADER_END {
            return self.header_name(offset);
        }
        let extended = offset >= CONVENTIONAL_END;
        let owner = self
            .capabilities()
            .into_iter()
            .filter(|capability| (capability.offset >= CONVENTIONAL_END) == extended)
            .filter(|capability| capability.offset <= offset)
            .max_by_key(|capability| capability.offset);
        match owner {
            Some(Capability { name, offset: at }) => format!("{name}+{:#04x}", offset - at),
            None => format!("{offset:#05x}"),
        }
    }

    fn header_name(&self, offset: usize) -> String {
        match self.header().filter(|(at, _)| *at <= offset).max_by_key(|(at, _)| *at) {
            Some((at, name)) if at == offset => name.to_owned(),
            Some((at, name)) => format!("{name}+{:#04x}", offset - at),
            None => format!("{offset:#05x}"),
        }
    }

    /// The registers of the header.
    fn header(&self) -> impl Iterator<Item = (usize, &'static str)> {
        let own = if self.is_bridge() { BRIDGE } else { DEVICE };
        COMMON.iter().chain(own).copied()
    }
}

/// Notes a capability, unless the list has led there before.
fn found(all: &mut Vec<Capability>, name: String, offset: usize) {
    if all.iter().any(|capability| capability.offset == offset) {
        return;
    }
    let of_kind = |capability: &&Capability| capability.name.split('.').next() == Some(&name);
    let name = match all.iter().filter(of_kind).count() {
        0 => name,
        before => format!("{name}.{}", before + 1),
    };
    all.push(Capability { name, offset });
}

/// What the kernel's `PCI_CAP_ID_*` call it.
fn capability_name(id: u8) -> String {
    match id {
        0x01 => "PM",
        0x03 => "VPD",
        0x05 => "MSI",
        0x07 => "PCIX",
        0x09 => "VNDR",
        0x0c => "SHPC",
        0x0d => "SSVID",
        0x10 => "EXP",
        0x11 => "MSIX",
        0x13 => "AF",
        0x14 => "EA",
        _ => return format!("CAP_{id:#04x}"),
    }
    .to_owned()
}

/// What the kernel's `PCI_EXT_CAP_ID_*` call it, but for AER.
fn extended_capability_name(id: u16) -> String {
    match id {
        0x01 => "AER",
        0x02 => "VC",
        0x03 => "DSN",
        0x0b => "EXT_VNDR",
        0x0d => "ACS",
        0x0e => "ARI",
        0x0f => "ATS",
        0x10 => "SRIOV",
        0x13 => "PRI",
        0x15 => "REBAR",
        0x17 => "TPH",
        0x18 => "LTR",
        0x19 => "SECPCI",
        0x1b => "PASID",
        0x1d => "DPC",
        0x1e => "L1SS",
        0x1f => "PTM",
        0x23 => "DVSEC",
        0x2e => "DOE",
        _ => return format!("EXT_{id:#06x}"),
    }
    .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn space(parts: &[(usize, &str)]) -> ConfigSpace {
        let mut space = ConfigSpace::default();
        for (offset, hex) in parts {
            space.add(*offset, hex).expect("bytes");
        }
        space
    }

    /// PM at 0x40, two vendor-specific ones, and EXP at 0xa0; AER at 0x100 and ACS at 0x148.
    fn device(header_type: &str) -> ConfigSpace {
        space(&[
            (0x06, "1000"),
            (0x0e, header_type),
            (0x34, "40"),
            (0x40, "0150"),
            (0x50, "0960"),
            (0x60, "09a0"),
            (0xa0, "1000"),
            (0x100, "01008214"),
            (0x148, "0d000100"),
            (0xffc, "00000000"),
        ])
    }

    #[test]
    fn registers_have_names() {
        let device = device("00");
        for (offset, name) in [
            (0x04, "COMMAND"),
            (0x05, "COMMAND+0x01"),
            (0x18, "BAR2"),
            (0x30, "ROM"),
            (0x44, "PM+0x04"),
            (0x52, "VNDR+0x02"),
            (0x60, "VNDR.2+0x00"),
            (0xa8, "EXP+0x08"),
            (0x12c, "AER+0x2c"),
            (0x14e, "ACS+0x06"),
        ] {
            assert_eq!(device.name(offset), name);
        }
    }

    #[test]
    fn bridge_has_other_registers_than_a_device() {
        let bridge = device("81");
        assert!(bridge.is_bridge() && !device("80").is_bridge());
        for (offset, name) in
            [(0x18, "PRIMARY_BUS"), (0x1e, "SECONDARY_STATUS"), (0x3e, "BRIDGE_CONTROL")]
        {
            assert_eq!(bridge.name(offset), name);
        }
        assert_eq!(
            [device("00"), bridge].map(|space| space.name(0x38)),
            ["CAPABILITY_LIST+0x04", "ROM"]
        );
    }

    #[test]
    fn space_without_capabilities_has_offsets_only() {
        let space = space(&[(0x34, "40"), (0x40, "0100"), (0xfc, "00000000")]);
        assert_eq!(space.capabilities(), []);
        assert_eq!([space.name(0x44), space.name(0x104)], ["0x044", "0x104"]);
    }

    #[test]
    fn lists_that_lead_back_into_themselves_end() {
        let space = space(&[
            (0x06, "1000"),
            (0x34, "40"),
            (0x40, "0550"),
            (0x50, "1140"),
            (0x100, "01001014"),
            (0x140, "0d001010"),
        ]);
        let names: Vec<String> = space.capabilities().into_iter().map(|cap| cap.name).collect();
        assert_eq!(names, ["MSI", "MSIX", "AER", "ACS"]);
    }

    #[test]
    fn lists_that_lead_nowhere_end() {
        // Into the header, and beyond what there is.
        let space = space(&[(0x06, "1000"), (0x34, "fc"), (0xfc, "0510"), (0x100, "0100c1ff")]);
        let names: Vec<String> = space.capabilities().into_iter().map(|cap| cap.name).collect();
        assert_eq!(names, ["MSI", "AER"]);
    }

    #[test]
    fn what_is_no_configuration_space_is_refused() {
        let mut space = ConfigSpace::default();
        assert_eq!(space.add(0, "0g"), None);
        assert_eq!(space.add(0, "123"), None);
        assert_eq!(space.add(4094, "0000"), Some(()));
        assert_eq!(space.add(4095, "0000"), None);
        assert_eq!(space.add(0, "\u{e9}"), None);
    }
}
