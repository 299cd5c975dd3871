// SPDX-License-Identifier: GPL-2.0

//! Where a PCI device is found.

use core::fmt;

/// An address as a record of another kernel names it: an allegation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawAddress {
    /// The domain (segment).
    pub domain: u32,
    /// The bus number in the high byte, device and function number in the low one.
    pub bdf: u16,
}

/// The address of a PCI device.
///
/// # Invariants
///
/// The domain is one that Linux can number: it fits into an `int` of C.
///
/// # Examples
///
/// ```
/// use kernel::liveupdate::pci::{Address, RawAddress};
///
/// let address = Address::try_from(RawAddress { domain: 0, bdf: 0x0108 })?;
///
/// assert_eq!((address.bus(), address.devfn()), (1, 8));
/// assert!(address < Address::try_from(RawAddress { domain: 1, bdf: 0 })?);
/// # Ok::<(), kernel::error::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Address {
    domain: u32,
    bdf: u16,
}

impl Address {
    /// Returns the address of an existing device.
    pub(super) const fn new(domain: u32, bdf: u16) -> Self {
        // INVARIANT: Linux numbered the domain.
        Self { domain, bdf }
    }

    /// Returns the domain (segment).
    pub const fn domain(self) -> u32 {
        self.domain
    }

    /// Returns the bus number in the high byte, device and function number in the low one.
    pub const fn bdf(self) -> u16 {
        self.bdf
    }

    /// Returns the bus number.
    pub const fn bus(self) -> u8 {
        self.bdf.to_be_bytes()[0]
    }

    /// Returns the device number in the upper five bits, the function number in the lower three.
    pub const fn devfn(self) -> u8 {
        self.bdf.to_be_bytes()[1]
    }
}

/// A domain that Linux cannot number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadDomain(pub u32);

impl From<BadDomain> for crate::error::Error {
    fn from(_: BadDomain) -> Self {
        crate::error::code::EINVAL
    }
}

impl TryFrom<RawAddress> for Address {
    type Error = BadDomain;

    /// Checks the allegation that there is such an address.
    fn try_from(raw: RawAddress) -> Result<Self, BadDomain> {
        match i32::try_from(raw.domain) {
            // INVARIANT: Just converted.
            Ok(_) => Ok(Self {
                domain: raw.domain,
                bdf: raw.bdf,
            }),
            Err(_) => Err(BadDomain(raw.domain)),
        }
    }
}

impl From<Address> for RawAddress {
    fn from(address: Address) -> Self {
        Self {
            domain: address.domain,
            bdf: address.bdf,
        }
    }
}

/// As the kernel names devices: `0000:01:00.0`.
impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (domain, bus, devfn) = (self.domain, self.bus(), self.devfn());

        write!(f, "{domain:04x}:{bus:02x}:{:02x}.{}", devfn >> 3, devfn & 7)
    }
}
