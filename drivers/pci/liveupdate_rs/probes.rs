// SPDX-License-Identifier: GPL-2.0

//! Works out what a register would read as after all ones were written, without writing to it.
//!
//! The kernel that hands over found that out when it enumerated the device, and kept what it means:
//! the sizes of resources.

/// The bit of the command register that turns INTx off: `PCI_COMMAND_INTX_DISABLE`.
pub(crate) const INTX_DISABLE: u32 = 0x0400;

/// The register with the upper half of where a bridge's prefetchable window begins:
/// `PCI_PREF_BASE_UPPER32`.
pub(crate) const PREF_BASE_UPPER32: u16 = 0x28;

/// The kind of a register that has an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A base address register, which says itself what it is.
    Bar,
    /// That of the expansion ROM.
    Rom,
}

/// What a register, and for an address of 64 bits the next one, reads as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ones {
    pub(crate) low: u32,
    pub(crate) high: Option<u32>,
}

/// The bit of a base address register that tells I/O from memory: `PCI_BASE_ADDRESS_SPACE_IO`.
pub(crate) const IO: u32 = 0x1;

/// The bits of one for memory that say how wide the address is, and what they are for 64 bits:
/// `PCI_BASE_ADDRESS_MEM_TYPE_MASK` and `PCI_BASE_ADDRESS_MEM_TYPE_64`.
pub(crate) const WIDTH: (u32, u32) = (0x6, 0x4);

/// Returns what a register would read as whose resource has this size, and that reads as `now`.
///
/// Returns nothing if no register has such a size.
pub(crate) fn ones(kind: Kind, size: u64, now: u32) -> Option<Ones> {
    let fixed: u32 = match kind {
        Kind::Rom => 0x7ff,
        Kind::Bar if now & IO != 0 => 0x3,
        Kind::Bar => 0xf,
    };
    let wide = fixed == 0xf && now & WIDTH.0 == WIDTH.1;

    if !size.is_power_of_two() || size <= u64::from(fixed) || (!wide && size > 1 << 31) {
        return None;
    }

    let address = !(size - 1);
    // CAST: both halves, one after the other.
    let (low, high) = (address as u32, (address >> 32) as u32);
    let kept = match kind {
        Kind::Rom => 0,
        Kind::Bar => now & fixed,
    };

    Some(Ones {
        low: (low & !fixed) | kept,
        high: wide.then_some(high),
    })
}
