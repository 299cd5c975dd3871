// SPDX-License-Identifier: GPL-2.0

//! Decides whether devices may go on running into the kernel that is loaded.

use super::entries::Names;
use kernel::fmt;

/// Which of the names of this kernel an image declares.
///
/// As a number it is kept with the image: the lowest bit is for the first name. An image that nobody
/// looked at declares nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Declared(pub(crate) u64);

impl Declared {
    /// What an image without a declaration declares.
    pub(crate) const NOTHING: Self = Self(0);

    /// Looks up what this kernel declares, `own`, in what an image declares.
    pub(crate) fn by(own: Names<'_>, image: Option<Names<'_>>) -> Self {
        let Some(image) = image else {
            return Self::NOTHING;
        };

        let declared = bits(own)
            .filter(|(name, _)| image.iter().any(|other| other == *name))
            .fold(0, |declared, (_, bit)| declared | bit);
        Self(declared)
    }

    /// Returns the names of this kernel that the image does not declare.
    pub(crate) fn lacks(self, own: Names<'_>) -> Lacks<'_> {
        Lacks {
            own,
            declared: self,
        }
    }
}

/// Returns names with their bits. Those that there is no bit for are never declared.
fn bits(names: Names<'_>) -> impl Iterator<Item = (&[u8], u64)> {
    names
        .iter()
        .zip(0..)
        .map(|(name, index)| (name, 1_u64.checked_shl(index).unwrap_or(0)))
}

/// Names that an image does not declare. Shown in the order in which this kernel declares them.
#[derive(Clone, Copy)]
pub(crate) struct Lacks<'a> {
    own: Names<'a>,
    declared: Declared,
}

impl<'a> Lacks<'a> {
    /// Returns the names.
    pub(crate) fn names(self) -> impl Iterator<Item = &'a [u8]> {
        bits(self.own)
            .filter(move |(_, bit)| self.declared.0 & bit == 0)
            .map(|(name, _)| name)
    }

    /// Returns whether there are none: devices may go on running.
    pub(crate) fn is_empty(self) -> bool {
        self.names().next().is_none()
    }
}

impl fmt::Display for Lacks<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, name) in self.names().enumerate() {
            if index != 0 {
                f.write_str(", ")?;
            }
            write!(f, "{}", name.escape_ascii())?;
        }
        Ok(())
    }
}
