// SPDX-License-Identifier: GPL-2.0

//! Stand-in for the kernel's structures of bit fields.
//!
//! As much of [`bitfield!`](crate::bitfield!) as pure files use: it takes the same text. A field is
//! not bounded by its type here, so that one is only ever set to a `bool`.

#[doc(hidden)]
pub use paste::paste;

/// The value of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field(u64);

impl Field {
    /// Makes one. For [`bitfield!`](crate::bitfield!).
    #[doc(hidden)]
    pub const fn new(value: u64) -> Self {
        Self(value)
    }

    /// Returns the value.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// Returns whether a field of one bit is set.
    pub const fn into_bool(self) -> bool {
        assert!(self.0 <= 1);
        self.0 != 0
    }
}

/// Declares a structure of bit fields in a `u64`.
#[macro_export]
macro_rules! bitfield {
    (
        $(#[$attr:meta])* $vis:vis struct $name:ident(u64) {
            $($(#[$doc:meta])* $hi:literal:$lo:literal $field:ident;)*
        }
    ) => {
        $(#[$attr])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        $vis struct $name(u64);

        $crate::bitfield::paste! {
            #[allow(dead_code)]
            impl $name {
                /// Makes one of a word.
                $vis const fn from_raw(word: u64) -> Self {
                    Self(word)
                }

                /// Returns the word.
                $vis const fn into_raw(self) -> u64 {
                    self.0
                }

                $(
                    /// Where the field is.
                    $vis const [<$field:upper _SHIFT>]: u32 = $lo;

                    /// The bits of the field.
                    $vis const [<$field:upper _MASK>]: u64 = (!0 >> (63 - $hi)) & (!0 << $lo);

                    $(#[$doc])*
                    $vis const fn $field(self) -> $crate::bitfield::Field {
                        $crate::bitfield::Field::new(
                            (self.0 & Self::[<$field:upper _MASK>]) >> $lo,
                        )
                    }

                    /// Sets the field, which has one bit.
                    $vis const fn [<with_ $field>](self, value: bool) -> Self {
                        let cleared = self.0 & !Self::[<$field:upper _MASK>];

                        Self(if value { cleared | 1 << $lo } else { cleared })
                    }
                )*
            }
        }
    };
}
