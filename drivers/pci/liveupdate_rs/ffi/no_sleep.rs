// SPDX-License-Identifier: GPL-2.0

//! Stands in for `sleep.rs` in a kernel that cannot put the machine to sleep.

/// Has nothing to refuse.
pub(crate) fn refuse_if(_is_refused: fn() -> bool) {}

/// Never.
pub(crate) fn has_begun() -> bool {
    false
}
