// SPDX-License-Identifier: GPL-2.0

//! What mails say: subjects, texts, trailers, and who sends them.

use std::process::Command;
use std::str::FromStr;

use anyhow::{Context as _, Error, Result, bail, ensure};

/// Trailers that are kept at the end of a message.
const TRAILERS: [&str; 9] = [
    "Fixes: ",
    "Reported-by: ",
    "Suggested-by: ",
    "Reviewed-by: ",
    "Acked-by: ",
    "Tested-by: ",
    "Link: ",
    "Closes: ",
    "Cc: ",
];

/// Who maintains all of this before it is sent.
const OURS: &str = "liveupdate_rs maintainers <maintainers@liveupdate-rs.invalid>";

/// The trailer that is the sender's.
const SIGNED: &str = "Signed-off-by: ";

/// Who sends the mails, and is their author.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sender {
    name: String,
    address: String,
}

impl FromStr for Sender {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let hint = || format!("FROM={text:?} is nobody: say FROM=\"Name <address>\"");
        let (name, rest) = text.split_once('<').with_context(hint)?;
        let address = rest.trim_end().strip_suffix('>').with_context(hint)?;
        let name = name.trim().trim_matches('"');
        let odd = |c: char| c.is_whitespace() || "<>,".contains(c);
        let (user, host) = address.split_once('@').with_context(hint)?;
        ensure!(
            !name.is_empty() && !name.contains(['\n', '<', '>']) && !address.contains(odd),
            "{}",
            hint()
        );
        ensure!(!user.is_empty() && !host.is_empty() && !host.contains('@'), "{}", hint());
        Ok(Self { name: name.into(), address: address.into() })
    }
}

impl Sender {
    /// The sender as in a header or a trailer.
    pub fn whole(&self) -> String {
        format!("{} <{}>", self.name, self.address)
    }

    /// A file of ours whose contact is the sender, if it names one.
    pub fn contact(&self, text: &str) -> Option<String> {
        text.contains(OURS).then(|| text.replace(OURS, &self.whole()))
    }

    /// `git`, which makes commits of the sender.
    pub fn named(&self, mut git: Command) -> Command {
        for who in ["AUTHOR", "COMMITTER"] {
            git.env(format!("GIT_{who}_NAME"), &self.name);
            git.env(format!("GIT_{who}_EMAIL"), &self.address);
        }
        git
    }
}

/// What a mail says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// One line, without a prefix in brackets.
    pub subject: String,
    /// All else above the patch, with trailers.
    pub body: String,
}

impl Message {
    /// Reads a text file: the subject, an empty line, and the text.
    pub fn of_text(text: &str) -> Result<Self> {
        let mut lines = text.lines();
        let subject = lines.next().unwrap_or_default().trim();
        ensure!(!subject.is_empty(), "the first line is to be the subject");
        ensure!(lines.next().is_some_and(str::is_empty), "the second line is to be empty");
        let body = lines.collect::<Vec<_>>().join("\n");
        ensure!(!body.trim().is_empty(), "there is no text below the subject");
        ensure!(body.lines().all(|line| line != "---"), "`---` would end the message");
        Ok(Self { subject: subject.into(), body: body.trim().into() })
    }

    /// Reads a mail that `git format-patch` wrote.
    pub fn of_patch(mail: &str) -> Result<Self> {
        let (head, rest) = mail.split_once("\n\n").context("is no mail")?;
        let mut subject = String::new();
        let mut inside = false;
        for line in head.lines() {
            if let Some(start) = line.strip_prefix("Subject: ") {
                subject.push_str(start);
                inside = true;
            } else if inside && line.starts_with([' ', '\t']) {
                subject.push(' ');
                subject.push_str(line.trim_start());
            } else {
                inside = false;
            }
        }
        let subject = match subject.strip_prefix('[').and_then(|rest| rest.split_once("] ")) {
            Some((_, subject)) => subject.to_owned(),
            None => subject,
        };
        ensure!(!subject.is_empty(), "has no subject");
        let Some((body, _)) = rest.split_once("\n---\n") else { bail!("has no patch") };
        Ok(Self { subject, body: body.trim().into() })
    }

    /// The message of a commit of `sender`: whoever signed it off before is not in it.
    pub fn signed(&self, off: Option<&str>, fixes: &[String], sender: &Sender) -> String {
        let mut lines: Vec<&str> = self.body.trim_end().lines().collect();
        let mut trailers: Vec<&str> = Vec::new();
        while let Some(last) = lines.last() {
            if TRAILERS.iter().any(|start| last.starts_with(start)) {
                trailers.insert(0, last);
            } else if !last.starts_with(SIGNED) && !last.is_empty() {
                break;
            }
            lines.pop();
        }
        let mut text = format!("{}\n\n{}\n", self.subject, lines.join("\n").trim_end());
        if let Some(off) = off {
            text.push_str(&format!("\n{}\n", off.trim()));
        }
        text.push('\n');
        for fixed in fixes {
            text.push_str(&format!("Fixes: {fixed}\n"));
        }
        for trailer in trailers {
            text.push_str(&format!("{trailer}\n"));
        }
        text.push_str(&format!("{SIGNED}{}\n", sender.whole()));
        text
    }
}

/// Says at the end of a cover letter where the series belongs.
pub fn place(number: usize, of: usize, before: Option<&str>) -> String {
    match before {
        None => format!("This is part 1 of {of}, and can be taken by itself."),
        Some(before) => {
            format!(
                "This is part {number} of {of}. It applies on top of part {}:\n\n  {before}",
                number - 1
            )
        }
    }
}

/// Puts what a cover letter says, and to whom, where `git format-patch` left room for it.
pub fn fill_cover(letter: &str, cover: &Message, recipients: &str) -> Result<String> {
    let (subject, blurb) = ("*** SUBJECT HERE ***", "*** BLURB HERE ***");
    ensure!(
        letter.contains(subject) && letter.contains(blurb),
        "git format-patch left no room in the cover letter"
    );
    let (head, rest) = letter.split_once("\n\n").context("the cover letter has no header")?;
    let head = head.replacen(subject, &cover.subject, 1);
    let rest = rest.replacen(blurb, cover.body.trim_end(), 1);
    Ok(format!("{head}\n{}\n\n{rest}", recipients.trim_end()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sender() -> Sender {
        "Jane Doe <jane@example.org>".parse().unwrap()
    }

    #[test]
    fn senders_have_a_name_and_an_address() {
        assert_eq!(sender().whole(), "Jane Doe <jane@example.org>");
        for bad in
            ["", "Jane", "jane@example.org", "<jane@example.org>", "Jane <jane>", "J <a@b@c>"]
        {
            let error = bad.parse::<Sender>().unwrap_err().to_string();
            assert!(error.contains("FROM=\"Name <address>\""), "{error}");
        }
    }

    #[test]
    fn contacts_are_who_sends() {
        let text = format!("What: x\nContact: {OURS}\n");
        let new = sender().contact(&text).unwrap();
        assert_eq!(new, "What: x\nContact: Jane Doe <jane@example.org>\n");
        assert_eq!(sender().contact(&new), None);
    }

    #[test]
    fn subjects_of_patches_may_have_several_lines() {
        let mail = "From 0\nFrom: X <x@y>\nSubject: [PATCH 1/2] mm: Do what takes\n more than a line\nDate: now\n\nWhy.\n\nSigned-off-by: X <x@y>\n---\n a | 1 +\n\ndiff --git\n";
        let message = Message::of_patch(mail).unwrap();
        assert_eq!(message.subject, "mm: Do what takes more than a line");
        assert_eq!(message.body, "Why.\n\nSigned-off-by: X <x@y>");
        assert!(Message::of_patch("nothing").is_err());
    }

    #[test]
    fn whoever_sends_signs_and_nobody_else() {
        let body = "Why: so.\n\nReported-by: A <a@b>\nSigned-off-by: X <x@y>".into();
        let message = Message { subject: "mm: Do".into(), body };
        assert_eq!(
            message.signed(Some("With X off, nothing.\n"), &["abc (\"t\")".into()], &sender()),
            "mm: Do\n\nWhy: so.\n\nWith X off, nothing.\n\nFixes: abc (\"t\")\nReported-by: A <a@b>\nSigned-off-by: Jane Doe <jane@example.org>\n"
        );
        assert_eq!(message.signed(None, &[], &sender()).matches("Signed-off-by").count(), 1);
    }

    #[test]
    fn texts_begin_with_a_subject() {
        let message = Message::of_text("mm: Do\n\nWhy.\n\nMore.\n").unwrap();
        assert_eq!(message.subject, "mm: Do");
        assert_eq!(message.body, "Why.\n\nMore.");
        assert!(Message::of_text("mm: Do\nWhy.\n").is_err());
        assert!(Message::of_text("mm: Do\n").is_err());
        assert!(Message::of_text("\n\nWhy.\n").is_err());
        assert!(Message::of_text("mm: Do\n\nWhy.\n---\n").is_err());
    }

    #[test]
    fn covers_are_filled_in() {
        let letter =
            "From 0\nSubject: [PATCH 0/2] *** SUBJECT HERE ***\n\n*** BLURB HERE ***\n\nA (2):\n";
        let cover = Message { subject: "mm: All".into(), body: "Why.".into() };
        assert_eq!(
            fill_cover(letter, &cover, "To: a@b\nCc: c@d\n").unwrap(),
            "From 0\nSubject: [PATCH 0/2] mm: All\nTo: a@b\nCc: c@d\n\nWhy.\n\nA (2):\n"
        );
        assert!(fill_cover("From 0\n\nText\n", &cover, "").is_err());
    }

    #[test]
    fn covers_say_what_is_below_them() {
        assert_eq!(place(1, 3, None), "This is part 1 of 3, and can be taken by itself.");
        assert!(place(2, 3, Some("mm: All")).ends_with("on top of part 1:\n\n  mm: All"));
    }
}
