// SPDX-License-Identifier: GPL-2.0

//! Works out at which addresses a device answers, and which ones a bridge forwards, from what their
//! registers have and what is known of these.
//!
//! Addresses are those on the bus. `last` is the last one that belongs to a region.
//!
//! Registers are those of the PCI Local Bus Specification, section "Base Addresses", and of the
//! PCI-to-PCI Bridge Architecture Specification, sections "Memory Base Register" and following, by the
//! names of `include/uapi/linux/pci_regs.h`.

use super::{
    entries::Probe,
    plan::{
        self,
        BARS, //
    },
    probes::{
        IO,
        WIDTH, //
    }, //
};
use kernel::fmt;

/// What a region belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// The base address register of this number.
    Bar(u8),
    /// The window of this number of a bridge: I/O, memory, prefetchable memory.
    Window(u8),
}

/// Addresses at which a device answers, or which a bridge forwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Region {
    pub(crate) place: Place,
    /// They are ports, and not of memory.
    pub(crate) is_io: bool,
    /// The first one.
    pub(crate) start: u64,
    /// The last one, which is not less.
    pub(crate) last: u64,
}

impl fmt::Display for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, number) = match self.place {
            Place::Bar(number) => ("BAR", number),
            Place::Window(number) => ("window", number),
        };
        let kind = if self.is_io { "io " } else { "mem" };
        let (start, last) = (self.start, self.last);

        write!(f, "{name} {number} [{kind} {start:#010x}-{last:#010x}]")
    }
}

/// Returns the regions of a device whose registers read like this, in the order of registers.
///
/// Those are left out that have no address.
pub(crate) fn bars<'a>(
    probes: &'a [Probe],
    read: impl Fn(u16) -> u32 + 'a,
) -> impl Iterator<Item = Region> + 'a {
    let mut upper_half = None;

    probes
        .iter()
        .filter(|probe| BARS.contains(&probe.register))
        .filter_map(move |probe| {
            if upper_half == Some(probe.register) {
                return None;
            }

            let low = read(probe.register);
            let is_io = low & IO != 0;
            let flags = if is_io { 0x3 } else { 0xf };
            let mut start = u64::from(low & !flags);
            let mut writable = u64::from(probe.value & !flags);

            if !is_io && low & WIDTH.0 == WIDTH.1 {
                let register = probe.register + 4;

                upper_half = Some(register);
                start |= u64::from(read(register)) << 32;
                writable |= u64::from(plan::known(probes, register)?) << 32;
            } else {
                writable |= u64::from(u32::MAX) << 32;
            }

            // The bits of an address that can be written tell one region of this size from another.
            let within = !writable;
            // CAST: lossless, there are six.
            let number = ((probe.register - BARS.start()) / 4) as u8;

            (start != 0 && (within & within.wrapping_add(1)) == 0 && (start & within) == 0)
                .then_some(Region {
                    place: Place::Bar(number),
                    is_io,
                    start,
                    last: start | within,
                })
        })
}

/// `PCI_IO_BASE` and `PCI_IO_LIMIT`, `PCI_IO_BASE_UPPER16` and `PCI_IO_LIMIT_UPPER16`.
pub(crate) const IO_WINDOW: (u16, u16) = (0x1c, 0x30);

/// `PCI_MEMORY_BASE` and `PCI_MEMORY_LIMIT`.
pub(crate) const MEMORY_WINDOW: u16 = 0x20;

/// `PCI_PREF_MEMORY_BASE` and `PCI_PREF_MEMORY_LIMIT`, `PCI_PREF_BASE_UPPER32`,
/// `PCI_PREF_LIMIT_UPPER32`.
pub(crate) const PREFETCHABLE_WINDOW: (u16, u16, u16) = (0x24, 0x28, 0x2c);

/// What the lowest bits of a base register have if there is an upper half.
const WIDE_WINDOW: (u32, u32) = (0xf, 0x1);

/// Returns the windows of a bridge whose registers read like this.
///
/// Those are left out that are closed, or begin with zero, as those do that a bridge does not have.
pub(crate) fn windows(read: impl Fn(u16) -> u32) -> impl Iterator<Item = Region> {
    let is_wide = |low: u32| low & WIDE_WINDOW.0 == WIDE_WINDOW.1;

    let (low, upper) = (read(IO_WINDOW.0), read(IO_WINDOW.1));
    let mut io = (
        u64::from(low & 0xf0) << 8,
        (u64::from((low >> 8) & 0xf0) << 8) | 0xfff,
    );
    if is_wide(low) {
        io.0 |= u64::from(upper & 0xffff) << 16;
        io.1 |= u64::from(upper >> 16) << 16;
    }

    let memory = |low: u32| {
        (
            u64::from(low & 0xfff0) << 16,
            (u64::from((low >> 16) & 0xfff0) << 16) | 0xf_ffff,
        )
    };
    let low = read(PREFETCHABLE_WINDOW.0);
    let mut prefetchable = memory(low);
    if is_wide(low) {
        prefetchable.0 |= u64::from(read(PREFETCHABLE_WINDOW.1)) << 32;
        prefetchable.1 |= u64::from(read(PREFETCHABLE_WINDOW.2)) << 32;
    }

    [
        (0, true, io),
        (1, false, memory(read(MEMORY_WINDOW))),
        (2, false, prefetchable),
    ]
    .into_iter()
    .filter(|&(_, _, (start, last))| start != 0 && start <= last)
    .map(|(number, is_io, (start, last))| Region {
        place: Place::Window(number),
        is_io,
        start,
        last,
    })
}
