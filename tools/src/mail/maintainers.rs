// SPDX-License-Identifier: GPL-2.0

//! The kernel's list of maintainers: our sections in it, and whom it says to write to.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result};

use super::message::Sender;

/// Whom a mail is to, by what `scripts/get_maintainer.pl --roles` says of them.
const TO: [&str; 2] = ["maintainer:", "supporter:"];

/// What else it says, of those who get copies.
const COPIES: [&str; 6] =
    ["reviewer:", "odd fixer:", "open list", "moderated list", "subscriber list", "volunteer"];

/// Our section called `title`, as it is in the kernel's list if `sender` maintains what it names.
///
/// `ours` is the list of the checkout. Its top-level Kconfig has another place in the kernel, which
/// is named, too.
pub fn section(ours: &str, title: &str, sender: &Sender) -> Result<String> {
    let mut lines = ours.lines().skip_while(|line| *line != title);
    let first = lines.next().with_context(|| format!("MAINTAINERS has no section `{title}`"))?;
    let mut section = format!("{first}\n");
    for line in lines.take_while(|line| !line.is_empty()) {
        match line.split_once('\t') {
            Some(("M:", _)) => section.push_str(&format!("M:\t{}\n", sender.whole())),
            Some(("F:", "Kconfig")) => {}
            _ => section.push_str(&format!("{line}\n")),
        }
    }
    Ok(section)
}

/// The kernel's list with one more section, in the order of titles.
pub fn insert(list: &str, section: &str) -> Result<String> {
    let title = section.lines().next().unwrap_or_default();
    let lines: Vec<&str> = list.lines().collect();
    let is_entry = |line: &str| {
        let mut chars = line.chars();
        chars.next().is_some_and(|c| c.is_ascii_uppercase())
            && chars.next() == Some(':')
            && chars.next() == Some('\t')
    };
    let titles = (1..lines.len().saturating_sub(1))
        .filter(|at| lines[at - 1].is_empty() && !lines[*at].is_empty() && is_entry(lines[at + 1]));
    let (head, rest) = titles
        .into_iter()
        .find(|at| lines[*at] > title || lines[*at] == "THE REST")
        .map(|at| lines.split_at(at))
        .with_context(|| format!("the kernel's MAINTAINERS has no place for `{title}`"))?;
    let (head, rest) = (crate::lines::of(head), crate::lines::of(rest));
    Ok(format!("{head}{section}\n{rest}"))
}

/// `To:` and `Cc:` lines from what `scripts/get_maintainer.pl --roles` says.
pub fn recipients(listed: &str) -> String {
    let mut to = BTreeSet::new();
    let mut copies = BTreeSet::new();
    for line in listed.lines().filter(|line| line.contains('@')) {
        // Names and titles of sections may have brackets, too.
        let mut brackets =
            line.match_indices(" (").map(|(at, found)| line.split_at(at + found.len()));
        let starts = |role: &str, with: &[&str]| with.iter().any(|start| role.starts_with(start));
        let role = brackets.find(|(_, role)| starts(role, &TO) || starts(role, &COPIES));
        let (who, role) = role.unwrap_or((line, ""));
        let who = who.strip_suffix(" (").unwrap_or(who);
        if starts(role, &TO) {
            to.insert(who);
        } else {
            copies.insert(who);
        }
    }
    let copies = copies.difference(&to).map(|who| format!("Cc: {who}"));
    crate::lines::of(to.iter().map(|who| format!("To: {who}")).chain(copies))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str = "Title\n-----\n\nA DRIVER\nM:\tA <a@b>\nF:\ta/\n\nC DRIVER\nS:\tOrphan\n\nTHE REST\nM:\tL\n";

    #[test]
    fn sections_are_in_order() {
        let list = insert(LIST, "B DRIVER\nM:\tB\n").unwrap();
        assert!(list.contains("F:\ta/\n\nB DRIVER\nM:\tB\n\nC DRIVER\n"), "{list}");
        let list = insert(LIST, "Z DRIVER\nM:\tB\n").unwrap();
        assert!(list.contains("S:\tOrphan\n\nZ DRIVER\nM:\tB\n\nTHE REST\n"), "{list}");
        assert!(insert("nothing\n", "B\nM:\tB\n").is_err());
    }

    #[test]
    fn the_sender_maintains_what_is_sent() {
        let sender = "Jane <jane@example.org>".parse().unwrap();
        let ours = "List\n====\n\nX [RUST]\nM:\tus <us@here>\nS:\tMaintained\nF:\tKconfig\nF:\tx/\n\nY\nF:\ty\n";
        assert_eq!(
            section(ours, "X [RUST]", &sender).unwrap(),
            "X [RUST]\nM:\tJane <jane@example.org>\nS:\tMaintained\nF:\tx/\n"
        );
        assert!(section(ours, "Z", &sender).is_err());
    }

    #[test]
    fn maintainers_are_written_to_and_lists_get_copies() {
        let listed = "Joerg Roedel (AMD) <joro@8bytes.org> (maintainer:IOMMU SUBSYSTEM)\n\
            R <r@x> (reviewer:IOMMU SUBSYSTEM)\niommu@lists.linux.dev (open list:IOMMU SUBSYSTEM)\n\
            S <s@x> (supporter:PCI,maintainer:X)\nR <r@x> (reviewer:KEXEC HANDOVER (KHO))\n\
            l@x (open list:KEXEC HANDOVER (KHO))\n";
        assert_eq!(
            recipients(listed),
            "To: Joerg Roedel (AMD) <joro@8bytes.org>\nTo: S <s@x>\nCc: R <r@x>\nCc: iommu@lists.linux.dev\nCc: l@x\n"
        );
        assert_eq!(recipients(""), "");
    }
}
