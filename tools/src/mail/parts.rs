// SPDX-License-Identifier: GPL-2.0

//! Files of ours that grow: a line that names what a later mail brings comes with that mail.

use std::ops::Range;

use anyhow::{Context as _, Result, bail, ensure};

/// `text` without the parts that begin with these lines.
///
/// A part is the line; up to its `#endif` if that is an `#if`, up to the next empty line if it is the
/// comment of an item, and with the next line if it is an attribute.
pub fn without(text: &str, marks: &[&str]) -> Result<String> {
    let mut lines: Vec<&str> = text.lines().collect();
    for mark in marks {
        let part = find(&lines, mark)?;
        let blank = |at: Option<&&str>| at.is_none_or(|line| line.is_empty());
        let start = part.start;
        lines.drain(part);
        // Of the two empty lines around it, one is enough.
        if blank(start.checked_sub(1).and_then(|at| lines.get(at))) && blank(lines.get(start)) {
            let last = start.min(lines.len().saturating_sub(1));
            if lines.get(last).is_some_and(|line| line.is_empty()) {
                lines.remove(last);
            }
        }
    }
    Ok(crate::lines::of(lines))
}

/// Which lines are the part that begins with `mark`.
fn find(lines: &[&str], mark: &str) -> Result<Range<usize>> {
    let mut at = lines.iter().enumerate().filter(|(_, line)| line.trim() == mark.trim());
    let (start, _) = at.next().with_context(|| format!("there is no line `{mark}`"))?;
    ensure!(at.next().is_none(), "there are two lines `{mark}`");
    let mark = mark.trim();
    let rest = &lines[start..];
    let count = if mark.starts_with("#if") {
        let mut depth = 0_usize;
        rest.iter()
            .position(|line| {
                depth += usize::from(line.starts_with("#if"));
                depth -= usize::from(line.starts_with("#endif"));
                depth == 0
            })
            .with_context(|| format!("`{mark}` has no end"))?
            + 1
    } else if mark.starts_with("///") {
        rest.iter().position(|line| line.is_empty()).unwrap_or(rest.len())
    } else if mark.starts_with("#[") {
        2
    } else if mark.is_empty() {
        bail!("an empty line is no part");
    } else {
        1
    };
    Ok(start..(start + count).min(lines.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str = "#ifdef A\n#include <a.h>\n#if B\n#endif\n#endif\n\n#ifdef C\n#include <c.h>\n\nint c;\n#endif\n\n#ifdef D\n#endif\n";

    #[test]
    fn conditions_go_as_a_whole() {
        assert_eq!(
            without(HEADER, &["#ifdef C"]).unwrap(),
            "#ifdef A\n#include <a.h>\n#if B\n#endif\n#endif\n\n#ifdef D\n#endif\n"
        );
        assert_eq!(without(HEADER, &["#ifdef A", "#ifdef C"]).unwrap(), "#ifdef D\n#endif\n");
        assert_eq!(
            without("#ifdef A\n#endif\n\n#ifdef D\n#endif\n", &["#ifdef D"]).unwrap(),
            "#ifdef A\n#endif\n"
        );
    }

    #[test]
    fn attributes_and_comments_go_with_what_they_are_about() {
        let text = "mod a;\n#[cfg(B)]\npub mod b;\nmod c;\n\n/// Does it.\n///\n/// Or not.\nfn d() {\n}\n\nfn e() {}\n";
        assert_eq!(
            without(text, &["#[cfg(B)]", "/// Does it."]).unwrap(),
            "mod a;\nmod c;\n\nfn e() {}\n"
        );
        assert_eq!(
            without("source \"a\"\nsource \"b\"\n", &["source \"b\""]).unwrap(),
            "source \"a\"\n"
        );
    }

    #[test]
    fn parts_are_named_once() {
        assert!(without("a\na\n", &["a"]).is_err());
        assert!(without("a\n", &["b"]).is_err());
        assert!(without("#ifdef A\n", &["#ifdef A"]).is_err());
    }
}
