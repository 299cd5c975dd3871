// SPDX-License-Identifier: GPL-2.0

//! Fills in parameters.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::sync::LazyLock;

use anyhow::Result;
use regex::{Captures, Regex};

use super::source::{Sources, Span};
use super::text::{Text, With};

/// A parameter.  What has a `$` before it is the shell's, as is what has blanks or commas in it.
static PARAMETER: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"(\$?)\{([a-z][a-z0-9_-]*)\}").expect("a regular expression"));

/// What parameters stand for at some place.
pub struct Scope<'a> {
    /// The files.
    pub sources: &'a Sources,
    /// The nearest first.
    pub levels: Vec<&'a With>,
    /// Where the values are that somebody used.
    pub used: &'a RefCell<BTreeSet<usize>>,
    /// The test.
    pub test: &'a str,
    /// Where it is.
    pub at: &'a Span,
}

impl Scope<'_> {
    /// The text with values for parameters.
    pub fn fill(&self, text: &Text) -> Result<String> {
        let mut missing = None;
        let filled = PARAMETER.replace_all(text.get_ref(), |found: &Captures| {
            let name = &found[2];
            if !found[1].is_empty() {
                return found[0].to_owned();
            }
            let is_it = |(key, _): &(&Text, &Text)| key.get_ref() == name;
            let value = self.levels.iter().find_map(|level| level.iter().find(is_it));
            let Some((key, value)) = value else {
                missing = Some(name.to_owned());
                return String::new();
            };
            self.used.borrow_mut().insert(key.span().start);
            value.get_ref().clone()
        });
        if let Some(name) = missing {
            let what = format!(
                "the test `{}` says nothing for the parameter {{{name}}} of {}: give it \
                 `with = {{ {name} = \"...\" }}` or, if the braces are the shell's, put blanks in them",
                self.test,
                self.sources.place(&text.span())
            );
            return Err(self.sources.error(self.at, what));
        }
        Ok(filled.into_owned())
    }

    /// The same for what has to be one line.
    pub fn line(&self, text: &Text) -> Result<String> {
        let line = self.fill(text)?;
        if line.contains('\n') {
            let what = "this has to be one line: end lines of the file with \\ to go on";
            return Err(self.sources.error(&text.span(), what));
        }
        Ok(line)
    }

    /// The same for what says something.
    pub fn words(&self, text: &Text) -> Result<String> {
        let line = self.line(text)?;
        if line.trim().is_empty() {
            return Err(self.sources.error(&text.span(), "this says nothing"));
        }
        Ok(line)
    }
}
