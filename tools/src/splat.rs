// SPDX-License-Identifier: GPL-2.0

//! Finds what a kernel says when something went wrong.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context as _, Result, bail};
use regex::{Regex, RegexSet};

/// What a splat starts with, or contains where the start may be lost.
const PATTERNS: [&str; 22] = [
    r"WARNING:",
    r"\bBUG:",
    r"\bOops\b",
    r"Kernel panic",
    r"general protection",
    r"[Uu]nable to handle",
    r"Call Trace:",
    r"\bRIP: ",
    r"cut here",
    r"INFO: possible",
    r"INFO: (task|rcu)",
    r"possible (recursive locking|circular locking)",
    r"inconsistent lock state",
    r"suspicious RCU usage",
    r"sleeping function called",
    r"\b(KASAN|KCSAN|UBSAN|KFENCE):",
    r"kmemleak: [1-9][0-9]* new suspected",
    r"Bad page (state|map)",
    r"list_(add|del) corruption",
    r"refcount_t:",
    r"soft lockup|hard LOCKUP",
    r"ODEBUG:",
];

/// One entry of the allow list.
struct Allowed {
    line: String,
    regex: Regex,
    used: AtomicBool,
}

/// Knows a splat when it sees one.
pub struct Matcher {
    splats: RegexSet,
    allowed: Vec<Allowed>,
}

impl Matcher {
    /// A matcher with the allow list in `path`, which must exist.
    pub fn load(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).with_context(|| {
            format!("the allow list of kernel splats is missing: {}", path.display())
        })?;
        Self::new(&text).with_context(|| path.display().to_string())
    }

    fn new(allow_list: &str) -> Result<Self> {
        let mut allowed = Vec::new();
        for line in allow_list
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty() && !line.starts_with('#'))
        {
            let Some((pattern, reason)) = line.split_once(" # ") else {
                bail!("an entry needs a reason, `regex # reason`: {line}");
            };
            if reason.trim().is_empty() || pattern.trim().is_empty() {
                bail!("an entry needs a pattern and a reason, `regex # reason`: {line}");
            }
            allowed.push(Allowed {
                line: line.to_owned(),
                regex: Regex::new(pattern.trim())?,
                used: AtomicBool::new(false),
            });
        }
        Ok(Self { splats: RegexSet::new(PATTERNS)?, allowed })
    }

    /// Whether `line` is a splat that no entry allows.
    pub fn is_splat(&self, line: &str) -> bool {
        if !self.splats.is_match(line) {
            return false;
        }
        match self.allowed.iter().find(|entry| entry.regex.is_match(line)) {
            Some(entry) => {
                entry.used.store(true, Ordering::Relaxed);
                false
            }
            None => true,
        }
    }

    /// The entries that allowed nothing so far.
    pub fn unused(&self) -> Vec<&str> {
        self.allowed
            .iter()
            .filter(|entry| !entry.used.load(Ordering::Relaxed))
            .map(|entry| entry.line.as_str())
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::Matcher;

    #[test]
    fn finds_what_kernels_say() {
        let matcher = Matcher::new("").unwrap();
        for line in [
            "[    1.0] WARNING: CPU: 0 PID: 1 at mm/slub.c:1 x+0x1/0x2",
            "[    1.0] WARNING: possible circular locking dependency detected",
            "[    1.0] BUG: kernel NULL pointer dereference, address: 0000",
            "[    1.0] BUG: KASAN: slab-use-after-free in x",
            "[    1.0] Oops: 0000 [#1] SMP",
            "[    1.0] Oops: general protection fault, probably for",
            "[    1.0] kmemleak: 3 new suspected memory leaks",
            "[    1.0] RIP: 0010:x+0x1/0x2",
            "[    1.0]  Call Trace:",
        ] {
            assert!(matcher.is_splat(line), "{line}");
        }
    }

    #[test]
    fn passes_ordinary_lines() {
        let matcher = Matcher::new("").unwrap();
        for line in [
            "[    0.0] Linux version 7.3.4",
            "[    0.0] kmemleak: Kernel memory leak detector initialized",
            "DEBUG: x",
        ] {
            assert!(!matcher.is_splat(line), "{line}");
        }
    }

    #[test]
    fn allows_only_what_is_listed_and_reports_unused_entries() {
        let matcher =
            Matcher::new("# why\nWARNING: .* known_bug # reported\nBUG: never # reported\n")
                .unwrap();
        assert!(!matcher.is_splat("WARNING: at known_bug"));
        assert!(matcher.is_splat("WARNING: at other_bug"));
        assert_eq!(matcher.unused(), ["BUG: never # reported"]);
    }

    #[test]
    fn entry_without_reason_is_an_error() {
        assert!(Matcher::new("WARNING: x\n").is_err());
        assert!(Matcher::new("WARNING: x # \n").is_err());
        assert!(Matcher::new("( # not a regex\n").is_err());
    }
}
