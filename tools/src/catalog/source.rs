// SPDX-License-Identifier: GPL-2.0

//! The files that tests are read from, and where in them something is.

use std::ops::Range;

use anyhow::{Error, Result, anyhow};

use super::text::File;

/// A place in one of the files.
pub type Span = Range<usize>;

/// One file.
struct Source {
    /// What the user calls it.
    shown: String,
    text: String,
    /// Where it begins.
    start: usize,
}

/// All files, one behind the other: a number says the file and the place in it.
#[derive(Default)]
pub struct Sources {
    files: Vec<Source>,
}

impl Sources {
    /// Reads one more.
    pub fn parse(&mut self, shown: String, text: String) -> Result<File> {
        let start = self.files.last().map_or(0, |last| last.start + last.text.len());
        // Blanks stand for the files before, so that all places in this one are behind theirs.
        let padded = " ".repeat(start) + &text;
        self.files.push(Source { shown, text, start });
        toml::from_str(&padded).map_err(|error| {
            let span = error.span().unwrap_or(start..start);
            self.error(&span, error.message())
        })
    }

    /// An error with its place before it.
    pub fn error(&self, span: &Span, what: impl AsRef<str>) -> Error {
        anyhow!("{}: {}", self.place(span), what.as_ref())
    }

    /// A place as `file:line:column`, both from 1 on.
    pub fn place(&self, span: &Span) -> String {
        let is_in = |file: &&Source| file.start <= span.start;
        let Some(Source { shown, text, start }) = self.files.iter().rev().find(is_in) else {
            return "nowhere".to_owned();
        };
        let before = text.get(..span.start - start).unwrap_or(text);
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        format!("{shown}:{line}:{column}")
    }
}
