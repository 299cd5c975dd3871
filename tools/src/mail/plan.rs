// SPDX-License-Identifier: GPL-2.0

//! Which patches and which of our files form which mail: `tools/mail/series.toml`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Error, Result};
use glob::{MatchOptions, Pattern};
use serde::Deserialize;

use super::message::Message;

/// What the data file is called.
const FILE: &str = "series.toml";

/// How files are matched: `*` stands for a part of a name.
const MATCH: MatchOptions = MatchOptions {
    case_sensitive: true,
    require_literal_separator: true,
    require_literal_leading_dot: false,
};

/// All series, in the order in which they apply.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// The series.
    pub series: Vec<Series>,
}

/// One series of mails.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Series {
    /// What its directories are called.
    pub name: String,
    /// The options that its code depends on: each mail says what happens with one of them off.
    #[serde(default)]
    options: Vec<String>,
    mail: Vec<Mail>,
}

/// One mail, as the data file has it: a patch of ours, or a text with files.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Mail {
    /// The subject of one of our patches.
    patch: Option<String>,
    /// The file with the text of a mail that has no such patch.
    text: Option<String>,
    /// The files that come with it, by their kernel paths: a file, a directory that ends in `/`, or
    /// a pattern.
    #[serde(default)]
    files: Vec<String>,
    /// What comes with it of files that came before it.
    #[serde(default)]
    parts: BTreeMap<String, Vec<String>>,
    /// What it fixes: the start of a hash, and a subject.
    #[serde(default)]
    fixes: Vec<String>,
    /// What happens with an option off, if the patch does not say so itself.
    off: Option<String>,
    /// Whether it does what it does with any options.
    #[serde(default)]
    always: bool,
    /// The section of MAINTAINERS that it adds.
    maintainers: Option<String>,
}

/// One mail, with all that belongs to it found.
pub struct Assigned {
    /// What it says.
    pub message: Message,
    /// The patch of ours that is in it.
    pub patch: Option<PathBuf>,
    /// Our files that come with it.
    pub files: Vec<String>,
    /// By file: which lines begin the parts that come with this mail.
    pub parts: BTreeMap<String, Vec<String>>,
    /// `Fixes:` lines.
    pub fixes: Vec<String>,
    /// What is added to the text.
    pub off: Option<String>,
    /// The section of MAINTAINERS that it adds.
    pub maintainers: Option<String>,
}

impl Plan {
    /// Reads the data file in `dir`.
    pub fn read(dir: &Path) -> Result<Self> {
        let path = dir.join(FILE);
        let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        Self::parse(&text).with_context(|| path.display().to_string())
    }

    fn parse(text: &str) -> Result<Self> {
        Ok(toml::from_str(text)?)
    }

    /// Finds for each mail of each series what belongs to it, or all that is wrong.
    ///
    /// `files` are all our files, and `patches` all our patches: each has to be in one mail. `text`
    /// reads the text of a mail of a series.
    pub fn assign(
        &self,
        files: &[String],
        patches: &[(PathBuf, Message)],
        text: impl Fn(&str, &str) -> Result<Message>,
    ) -> Result<Vec<Vec<Assigned>>, Vec<String>> {
        let mut found = Vec::new();
        let mut owners: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        let mut all = Vec::new();
        for series in &self.series {
            let mut mails = Vec::new();
            for mail in &series.mail {
                let name = mail.name(series);
                let assigned = mail.assign(series, files, patches, &text);
                let assigned = assigned.unwrap_or_else(|error| {
                    found.push(format!("{name}: {error:#}"));
                    Assigned::nothing()
                });
                let named = |file: &&String| mail.files.iter().any(|entry| matches(entry, file));
                for file in files.iter().filter(named) {
                    owners.entry(file).or_default().push(name.clone());
                }
                if let Some(patch) = &mail.patch {
                    owners.entry(patch).or_default().push(name.clone());
                }
                for file in assigned.parts.keys() {
                    if !owners.contains_key(file.as_str()) {
                        found
                            .push(format!("{name}: a part of {file}, which no mail before it has"));
                    }
                }
                mails.push(assigned);
            }
            all.push(mails);
        }
        let subjects = patches.iter().map(|(_, message)| message.subject.as_str());
        for what in files.iter().map(String::as_str).chain(subjects) {
            match owners.get(what).map_or(&[][..], Vec::as_slice) {
                [] => found.push(format!("{what} is in no mail: name it in tools/mail/{FILE}")),
                [_] => {}
                several => {
                    found.push(format!("{what} is in several mails: {}", several.join("; ")))
                }
            }
        }
        if found.is_empty() { Ok(all) } else { Err(found) }
    }
}

impl Mail {
    /// What messages call the mail.
    fn name(&self, series: &Series) -> String {
        let what = self.patch.as_ref().or(self.text.as_ref());
        format!("{}: {}", series.name, what.map_or("a mail", String::as_str))
    }

    fn assign(
        &self,
        series: &Series,
        files: &[String],
        patches: &[(PathBuf, Message)],
        text: impl Fn(&str, &str) -> Result<Message>,
    ) -> Result<Assigned> {
        let (message, patch) = match (&self.patch, &self.text) {
            (Some(subject), None) => {
                let named = patches.iter().find(|(_, message)| message.subject == *subject);
                let (path, message) = named.context("there is no patch with this subject")?;
                (message.clone(), Some(path.clone()))
            }
            (None, Some(name)) => (text(&series.name, name)?, None),
            _ => return Err(Error::msg("a mail has either a `patch` or a `text`")),
        };
        if patch.is_none() && self.files.is_empty() && self.parts.is_empty() {
            return Err(Error::msg("a mail without a patch has `files`"));
        }
        let mut ours = Vec::new();
        for entry in &self.files {
            let matched: Vec<&String> = files.iter().filter(|file| matches(entry, file)).collect();
            if matched.is_empty() {
                return Err(Error::msg(format!("there is no file {entry}")));
            }
            ours.extend(matched.into_iter().cloned());
        }
        let off = self.off.clone();
        let says = format!("{}\n{}", message.body, off.as_deref().unwrap_or_default());
        if !series.options.is_empty() && !self.always && !says_off(&says, &series.options) {
            return Err(Error::msg(format!(
                "does not say what happens with {} off: say it in `off`, or that it is the same with `always = true`",
                series.options.join(" or ")
            )));
        }
        Ok(Assigned {
            message,
            patch,
            files: ours,
            parts: self.parts.clone(),
            fixes: self.fixes.clone(),
            off,
            maintainers: self.maintainers.clone(),
        })
    }
}

impl Assigned {
    /// Stands for a mail that is wrong.
    fn nothing() -> Self {
        Self {
            message: Message { subject: String::new(), body: String::new() },
            patch: None,
            files: Vec::new(),
            parts: BTreeMap::new(),
            fixes: Vec::new(),
            off: None,
            maintainers: None,
        }
    }
}

/// Whether an entry of the data file means this file.
fn matches(entry: &str, file: &str) -> bool {
    if entry.ends_with('/') {
        return file.starts_with(entry);
    }
    entry == file || Pattern::new(entry).is_ok_and(|entry| entry.matches_with(file, MATCH))
}

/// Whether a text says what happens without one of these options.
fn says_off(text: &str, options: &[String]) -> bool {
    text.split("\n\n").any(|paragraph| {
        let words = |of: char| !of.is_ascii_alphanumeric() && of != '_';
        let has = |word: &str| paragraph.split(words).any(|each| each.eq_ignore_ascii_case(word));
        options.iter().any(|option| has(option) || has(&format!("CONFIG_{option}")))
            && (has("off") || has("without"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const DATA: &str = "\
        [[series]]\nname = \"one\"\noptions = [\"X\"]\n\
        [[series.mail]]\npatch = \"mm: First\"\nalways = true\nfixes = ['12 (\"a\")']\n\
        [[series.mail]]\ntext = \"new\"\nfiles = [\"d/\", \"e/*.rs\", \"k/Kconfig\"]\n\
        [[series]]\nname = \"two\"\n\
        [[series.mail]]\npatch = \"mm: Second\"\nfiles = [\"f.c\"]\nparts = { \"k/Kconfig\" = [\"source\"] }\n";

    fn files(names: &[&str]) -> Vec<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    fn patches(subjects: &[&str]) -> Vec<(PathBuf, Message)> {
        let message = |subject: &&str| {
            let (subject, body) = ((*subject).to_owned(), "Why.".to_owned());
            (PathBuf::from(&subject), Message { subject, body })
        };
        subjects.iter().map(message).collect()
    }

    fn text(series: &str, name: &str) -> Result<Message> {
        Message::of_text(&format!("{series}: {name}\n\nWith X off, nothing changes.\n"))
    }

    const FILES: [&str; 6] = ["d/a.c", "d/b/c.c", "e/r.rs", "e/s.rs", "f.c", "k/Kconfig"];
    const PATCHES: [&str; 2] = ["mm: First", "mm: Second"];

    fn found(data: &str, ours: &[&str], subjects: &[&str]) -> Vec<String> {
        let plan = Plan::parse(data).unwrap();
        plan.assign(&files(ours), &patches(subjects), text).err().unwrap_or_default()
    }

    #[test]
    fn each_file_goes_where_it_is_named() {
        let plan = Plan::parse(DATA).unwrap();
        let Ok(all) = plan.assign(&files(&FILES), &patches(&PATCHES), text) else { panic!() };
        assert_eq!(all[0][0].patch.as_deref(), Some(Path::new("mm: First")));
        assert!(all[0][0].files.is_empty());
        assert_eq!(all[0][0].fixes, ["12 (\"a\")"]);
        assert_eq!(all[0][1].files, ["d/a.c", "d/b/c.c", "e/r.rs", "e/s.rs", "k/Kconfig"]);
        assert_eq!(all[0][1].message.subject, "one: new");
        assert_eq!(all[1][0].files, ["f.c"]);
        assert_eq!(all[1][0].parts["k/Kconfig"], ["source"]);
    }

    #[test]
    fn what_no_mail_has_is_found() {
        let more: Vec<&str> = FILES.into_iter().chain(["e/t.c", "e/u/v.rs"]).collect();
        let lines = found(DATA, &more, &["mm: First", "mm: Second", "mm: Third"]);
        assert_eq!(lines.len(), 3);
        assert!(lines[0].starts_with("e/t.c is in no mail"), "{lines:?}");
        assert!(lines[1].starts_with("e/u/v.rs is in no mail"), "{lines:?}");
        assert!(lines[2].starts_with("mm: Third is in no mail"), "{lines:?}");
    }

    #[test]
    fn what_two_mails_have_is_found() {
        let data = DATA.replace("[\"f.c\"]", "[\"f.c\", \"d/a.c\"]");
        assert_eq!(
            found(&data, &FILES, &PATCHES),
            ["d/a.c is in several mails: one: new; two: mm: Second"]
        );
        let twice = format!("{DATA}[[series.mail]]\npatch = \"mm: First\"\n");
        assert_eq!(
            found(&twice, &FILES, &PATCHES),
            ["mm: First is in several mails: one: mm: First; two: mm: First"]
        );
        let same = DATA.replace("\"d/\"", "\"d/\", \"d/a.c\"");
        assert!(found(&same, &FILES, &PATCHES).is_empty(), "one mail may name a file twice");
    }

    #[test]
    fn what_is_not_there_is_found() {
        let lines = found(DATA, &FILES, &PATCHES[..1]);
        assert!(lines[0].ends_with("there is no patch with this subject"), "{lines:?}");
        let lines = found(DATA, &FILES[..4], &PATCHES);
        assert!(lines.iter().any(|line| line.ends_with("there is no file f.c")), "{lines:?}");
        assert!(lines.iter().any(|line| line.contains("there is no file k/Kconfig")), "{lines:?}");
    }

    #[test]
    fn parts_come_after_their_files() {
        let data =
            DATA.replace(", \"k/Kconfig\"]", "]").replace("[\"f.c\"]", "[\"f.c\", \"k/Kconfig\"]");
        assert!(found(&data, &FILES, &PATCHES).is_empty(), "a file may come with a part of it");
        let early =
            DATA.replace("always = true\n", "always = true\nparts = { \"k/Kconfig\" = [\"a\"] }\n");
        assert_eq!(
            found(&early, &FILES, &PATCHES),
            ["one: mm: First: a part of k/Kconfig, which no mail before it has"]
        );
    }

    #[test]
    fn mails_say_what_happens_with_the_option_off() {
        let data = DATA.replace("always = true\n", "");
        assert!(found(&data, &FILES, &PATCHES)[0].contains("with X off"));
        let data = DATA.replace("always = true\n", "off = \"Nothing changes without X.\"\n");
        assert!(found(&data, &FILES, &PATCHES).is_empty());
        assert!(!says_off("With XY off, nothing.", &["X".into()]));
        assert!(!says_off("X is on.\n\nThe light is off.", &["X".into()]));
        assert!(says_off("With CONFIG_X off, nothing.", &["X".into()]));
    }
}
