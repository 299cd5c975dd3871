// SPDX-License-Identifier: GPL-2.0

//! How much C this adds to the kernel: the hooks that the patch series puts into the kernel's files,
//! and C files of our own.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

/// The most lines of code that hooks and C files of our own may have together. Comments, blank lines
/// and exports do not count.
pub const LIMIT: usize = 1200;

/// Places whose lines do not count: what is agreed upon with other kernels and user space, tests, and
/// what makes C functions known to Rust.
const NOT_COUNTED: [&str; 6] = [
    "Documentation/",
    "include/linux/kho/abi/",
    "include/uapi/",
    "rust/bindings/",
    "rust/helpers/",
    "tools/testing/",
];

/// Where C files of our own count.
const OWN: [&str; 2] = ["drivers/", "kernel/"];

/// What subjects of patches begin with that mend or speed up what other subsystems have, and know
/// nothing of ours: their maintainers can take each by itself.
const GENERIC: [&str; 28] = [
    "iommu: Say who keeps a device from being owned",
    "iommu/vt-d: Let no device keep a CPU in dmar_fault()",
    "iommu/vt-d: Replace the domain of a device without a gap",
    "iommupt: ",
    "liveupdate: Do not lose what was handed over for want of memory",
    "liveupdate: Escape the names of sessions in the log",
    "liveupdate: Look whether there is what records refer to",
    "liveupdate: kho: ",
    "liveupdate: luo_core: Name the sessions that an image takes nothing of",
    "liveupdate: luo_file: Ask again for a file whose device was not there",
    "liveupdate: luo_file: Find files without a look at each",
    "liveupdate: luo_file: Let a handler keep what is still in use",
    "liveupdate: luo_file: Let a missing handler fail its own files only",
    "liveupdate: luo_flb: Count the files of an outgoing FLB apart from users",
    "liveupdate: luo_session: Answer user space without locks",
    "liveupdate: luo_session: Do not wait for a session with the list locked",
    "liveupdate: luo_session: Give way to a kexec",
    "liveupdate: luo_session: Hand over no block without entries",
    "liveupdate: luo_session: Let those who wait for sessions be killed",
    "memblock: ",
    "memfd: luo: ",
    "mm/gup: ",
    "mm/mm_init: ",
    "mm/page_alloc: ",
    "mm: shmem: ",
    "rust: alloc: ",
    "vfio/pci: Let drivers turn off what an open device uses of its user",
    "x86/e820: ",
];

/// How many lines of C a directory has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lines {
    /// Hooks in files of the kernel.
    pub hooks: usize,
    /// Files of our own.
    pub own: usize,
    /// What patches add that is of use without our code.
    pub generic: usize,
}

impl Lines {
    /// Those that are limited.
    pub fn counted(&self) -> usize {
        self.hooks + self.own
    }
}

/// How many lines of C there are, by the directory that they are in.
#[derive(Debug, Default)]
pub struct Added(BTreeMap<String, Lines>);

impl Added {
    /// Counts the lines that a patch adds, by its text.
    pub fn count_patch(&mut self, patch: &str) {
        let subject = subject(patch);
        let is_generic = GENERIC.iter().any(|start| subject.starts_with(start));

        for (dir, added) in added_lines(patch) {
            let lines = self.0.entry(dir).or_default();
            *(if is_generic { &mut lines.generic } else { &mut lines.hooks }) += added;
        }
    }

    /// Counts the lines of a file of our own, by its path in the kernel.
    pub fn count_file(&mut self, path: &Path, text: &str) {
        let name = path.to_string_lossy();
        if is_c(&name) && OWN.iter().any(|dir| name.starts_with(dir)) {
            let mut code = Code::default();
            let own = text.lines().filter(|line| code.counts(line)).count();
            self.0.entry(directory(&name)).or_default().own += own;
        }
    }

    /// Those of all directories.
    pub fn total(&self) -> Lines {
        self.0.values().fold(Lines::default(), |sum, lines| Lines {
            hooks: sum.hooks + lines.hooks,
            own: sum.own + lines.own,
            generic: sum.generic + lines.generic,
        })
    }
}

impl fmt::Display for Added {
    /// One line for each directory.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "  {:>5} {:>5} {:>7}", "hooks", "own", "generic")?;
        for (dir, Lines { hooks, own, generic }) in &self.0 {
            writeln!(f, "  {hooks:>5} {own:>5} {generic:>7}  {dir}")?;
        }
        Ok(())
    }
}

fn is_c(path: &str) -> bool {
    path.ends_with(".c") || path.ends_with(".h")
}

fn directory(path: &str) -> String {
    path.rsplit_once('/').map_or(path, |(dir, _)| dir).to_owned()
}

/// The subject of a mail with a patch, which may have several lines.
fn subject(patch: &str) -> String {
    let mut lines = patch.lines().skip_while(|line| !line.starts_with("Subject: "));
    let first = lines.next().unwrap_or_default().trim_start_matches("Subject: ");
    let rest = lines.take_while(|line| line.starts_with(' '));
    let subject: String = [first].into_iter().chain(rest).collect();
    subject.trim_start_matches("[PATCH] ").to_owned()
}

/// How many lines of C a patch adds to which directories.
fn added_lines(patch: &str) -> BTreeMap<String, usize> {
    let mut added = BTreeMap::new();
    let mut dir = None;
    let mut code = Code::default();
    for line in patch.lines() {
        if let Some(path) = line.strip_prefix("+++ b/") {
            let counts = is_c(path) && !NOT_COUNTED.iter().any(|dir| path.starts_with(dir));
            dir = counts.then(|| directory(path));
        } else if line.starts_with("diff --git") || line == "-- " {
            dir = None;
        } else if line.starts_with("@@") {
            code = Code { in_comment: false, is_in_doubt: true };
        } else if let (Some(dir), Some(text)) = (&dir, line.strip_prefix('+')) {
            if code.counts(text) {
                *added.entry(dir.clone()).or_default() += 1;
            }
        } else if let Some(text) = line.strip_prefix(' ') {
            // A comment may begin here.
            code.counts(text);
        }
    }
    added
}

/// Tells code from comments, one line after the other.
#[derive(Default)]
struct Code {
    in_comment: bool,
    /// Whether a comment may have begun before the first line.
    is_in_doubt: bool,
}

impl Code {
    /// Whether a line counts: has code, and is no export.
    fn counts(&mut self, line: &str) -> bool {
        let line = line.trim();
        // Code has no space after an asterisk that it begins with.
        if self.is_in_doubt && !line.is_empty() {
            self.in_comment = line == "*" || line.starts_with("* ") || line.starts_with("*/");
            self.is_in_doubt = false;
        }

        let (mut rest, mut has_code) = (line, false);
        while !rest.is_empty() {
            if self.in_comment {
                let Some((_, after)) = rest.split_once("*/") else { break };
                (self.in_comment, rest) = (false, after.trim_start());
            } else if let Some(after) = rest.strip_prefix("/*") {
                (self.in_comment, rest) = (true, after);
            } else if rest.starts_with("//") {
                break;
            } else {
                has_code = true;
                rest = &rest[end_of_code(rest)..];
            }
        }
        has_code && !line.starts_with("EXPORT_SYMBOL")
    }
}

/// Where a comment begins in what begins with code, or else its end.
fn end_of_code(code: &str) -> usize {
    let mut in_string = false;
    let mut chars = code.char_indices();
    while let Some((at, char)) = chars.next() {
        match char {
            '\\' => drop(chars.next()),
            '"' => in_string = !in_string,
            '/' if !in_string && code[at + 1..].starts_with(['*', '/']) => return at,
            _ => {}
        }
    }
    code.len()
}

#[cfg(test)]
mod tests {
    use super::{Added, Code, Lines, added_lines};
    use std::path::Path;

    fn counted(text: &str) -> Vec<&str> {
        let mut code = Code::default();
        text.lines().filter(|line| code.counts(line)).map(str::trim).collect()
    }

    #[test]
    fn comments_blank_lines_and_exports_do_not_count() {
        let text = "// SPDX\n\n/* one */\nint a; /* and\n * this\n */\n/**\n * doc\n\n more */ int b;\n\
            EXPORT_SYMBOL_GPL(b);\n\t*p = 1;\n\t}\n // none\n";
        assert_eq!(counted(text), ["int a; /* and", "more */ int b;", "*p = 1;", "}"]);
    }

    #[test]
    fn what_looks_like_a_comment_in_a_string_is_code() {
        assert_eq!(counted("a(\"/*\");\nb('\\\"', \"//\"); /* c\nd */\ne;").len(), 3);
    }

    #[test]
    fn a_hunk_that_begins_within_a_comment_adds_no_code() {
        let patch = "+++ b/mm/x.h\n@@ -1 +1 @@\n  * @a: It.\n+ * @b: That.\n+ */\n+int b;\n";
        assert_eq!(added_lines(patch).values().sum::<usize>(), 1);
    }

    #[test]
    fn a_comment_ends_with_its_hunk() {
        let patch = "+++ b/mm/x.h\n@@ -1 +1 @@\n /* It\n+ * goes on\n@@ -9 +9 @@\n+int b;\n";
        assert_eq!(added_lines(patch).values().sum::<usize>(), 1);
    }

    #[test]
    fn counts_c_hooks_only() {
        let patch = "diff --git a/x b/x\n--- a/drivers/x.c\n+++ b/drivers/x.c\n@@ -1 +1,3 @@\n old\n+new\n+EXPORT_SYMBOL_GPL(x);\n-gone\n\
            diff --git a/y b/y\n+++ b/include/uapi/y.h\n+new\ndiff --git a/Kconfig b/Kconfig\n+++ b/Kconfig\n+new\n\
            diff --git a/z b/z\n+++ b/include/linux/z.h\n+one\n+two\n";
        let lines = [("drivers".to_owned(), 1), ("include/linux".to_owned(), 2)];
        assert_eq!(added_lines(patch), lines.into());
    }

    #[test]
    fn what_other_subsystems_would_take_is_counted_apart() {
        let patch = |subject: &str| {
            format!("From x\nSubject: {subject}\n\ndiff --git a/x b/x\n+++ b/mm/x.c\n+new\n")
        };
        let mut added = Added::default();
        added.count_patch(&patch("[PATCH] memblock: Reserve"));
        added.count_patch(&patch(
            "[PATCH] liveupdate: luo_session: Let those who wait for sessions be\n killed",
        ));
        added.count_patch(&patch("[PATCH] iommufd: Hook up live update"));
        assert_eq!(added.total(), Lines { hooks: 1, own: 0, generic: 2 });
    }

    #[test]
    fn files_of_our_own_count_by_where_they_are() {
        let mut added = Added::default();
        added.count_file(Path::new("drivers/pci/x_rs/x.c"), "int a;\n");
        added.count_file(Path::new("drivers/pci/x_rs/x.h"), "int a;\nint b;\n");
        added.count_file(Path::new("drivers/pci/x_rs/x.rs"), "fn a() {}\n");
        added.count_file(Path::new("include/linux/x.h"), "int a;\n");
        assert_eq!(added.total(), Lines { hooks: 0, own: 3, generic: 0 });
        assert_eq!(added.total().counted(), 3);
        assert!(added.to_string().contains("    0     3       0  drivers/pci/x_rs\n"));
    }
}
