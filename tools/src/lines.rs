// SPDX-License-Identifier: GPL-2.0

//! Text made of lines.

use std::fmt::Display;

/// Each item on a line of its own, the last one ended, too.
pub fn of<T: Display>(items: impl IntoIterator<Item = T>) -> String {
    ended_by('\n', items)
}

/// Each item followed by `end`.
pub fn ended_by<T: Display>(end: char, items: impl IntoIterator<Item = T>) -> String {
    let mut text = String::new();
    for item in items {
        text.push_str(&item.to_string());
        text.push(end);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{ended_by, of};

    #[test]
    fn every_item_is_ended() {
        assert_eq!(of(["a", "b"]), "a\nb\n");
        assert_eq!(ended_by('\0', [1, 2]), "1\x002\0");
        assert_eq!(of([""; 0]), "");
    }
}
