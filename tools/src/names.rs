// SPDX-License-Identifier: GPL-2.0

//! What ARCHITECTURE.md names exists: each path, function, type and word in backticks, and what stands
//! in its diagrams, which have each crate of the kernel.
//!
//! A name is looked for in the code of the checkout first, and then in the patched kernel tree, which
//! has the kernel's own names and those of the C hooks. Comments are no code.

use std::collections::{BTreeSet, HashSet};
use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::sync::LazyLock;

use anyhow::{Context as _, Result, bail};
use regex::Regex;

use crate::files;
use crate::layering;
use crate::overlay::Overlay;
use crate::stage;

/// The document, in the checkout.
pub const DOCUMENT: &str = "ARCHITECTURE.md";

/// What stands in backticks and names nothing that can be looked for, and why.
const EXCEPTIONS: [(&str, &str); 15] = [
    ("/dev/liveupdate", "a file of a kernel that runs"),
    ("/dev/vfio/devices/vfioX", "a file of a kernel that runs, with a number for the X"),
    ("/sys/kernel/debug/liveupdate/pci", "a file of a kernel that runs"),
    ("#[export]", "an attribute"),
    ("#[repr(C)]", "an attribute"),
    ("#![deny(unsafe_code)]", "an attribute, and `layering` looks for it"),
    ("#[expect(unsafe_code)]", "an attribute"),
    ("bindings::", "the module that bindgen makes, and `layering` looks for it"),
    ("liveupdate-<compatible>", "aliases of modules, with the name of a file handler"),
    ("-rs", "the end of names"),
    ("Raw", "the beginning of names of types"),
    ("witness-", "the beginning of names of tests"),
    ("attack-", "the beginning of names of tests"),
    ("-icount", "an option of QEMU's"),
    ("git format-patch", "a command of git's"),
];

/// Files that are no code in C or Rust, in which words count nevertheless.
const OTHER_FILES: [&str; 3] = ["Makefile", "Kconfig", "init"];

/// This file, which has names of things that there are not.
const THIS_FILE: &str = "tools/src/names.rs";

/// The beginning of a comment, a string or a character: only what is no comment stays.
static COMMENT_OR_STRING: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(r##"(?s)//[^\n]*|/\*.*?\*/|r#"(.*?)"#|r"[^"]*"|"(\\.|[^"\\])*"|'(\\.|[^'\\])'"##)
        .ok()
});

/// What Rust declares, but for functions, which can be `const fn`.
static DECLARED: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(r"\b(?:struct|enum|union|trait|const|static|type|mod)\s+(?:mut\s+)?([A-Za-z_]\w*)")
        .ok()
});

/// What Rust declares as a function or a macro.
static FUNCTION: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"\b(?:fn|macro_rules!)\s+([A-Za-z_]\w*)").ok());

/// A word, and words with hyphens between them, like the name of a module.
static WORD: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"\w+(?:-\w+)*").ok());

/// What is between two fences, or between two backticks.
static CODE_SPAN: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"(?ms)^```[^\n]*\n(.*?)^```$|`([^`]+)`").ok());

/// A word of a diagram, with all of a path.
static TOKEN: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"[A-Za-z_/][\w./*-]*").ok());

fn pattern(pattern: &'static LazyLock<Option<Regex>>) -> Result<&'static Regex> {
    pattern.as_ref().context("the patterns of the check of names are broken")
}

/// Something that the document names.
#[derive(Debug, PartialEq, Eq)]
struct Mention {
    line: usize,
    text: String,
}

/// What the document names, and the text of its diagrams.
fn mentions(document: &str) -> Result<(Vec<Mention>, String)> {
    let mut found = Vec::new();
    let mut diagrams = String::new();
    for span in pattern(&CODE_SPAN)?.captures_iter(document) {
        let line_of = |at: usize| document[..at].matches('\n').count() + 1;
        if let Some(block) = span.get(1) {
            diagrams.push_str(block.as_str());
            for token in pattern(&TOKEN)?.find_iter(block.as_str()) {
                let text = token.as_str().trim_end_matches(['.', '-', '/']);
                // Other words are prose, and names with an end that differs are none.
                if text.contains(['_', '/']) && !text.contains('*') {
                    let line = line_of(block.start() + token.start());
                    found.push(Mention { line, text: text.to_owned() });
                }
            }
        } else if let Some(name) = span.get(2) {
            // A line may end in the middle.
            let text = name.as_str().split_whitespace().collect::<Vec<_>>().join(" ");
            found.push(Mention { line: line_of(name.start()), text });
        }
    }
    Ok((found, diagrams))
}

/// What a name is, by how it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape<'a> {
    /// A file, a directory, or the end of the path of one.
    Path(&'a str),
    /// `name()` or `name!`.
    Function(&'a str),
    /// `scope::name`, with the last scope.
    Scoped(&'a str, &'a str),
    /// `make target`.
    Target(&'a str),
    /// A variable, a constant, a type, a module, a parameter and so on.
    Word(&'a str),
    /// A page of a manual, like `reboot(2)`.
    Manual,
}

fn is_word(text: &str) -> bool {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && text.chars().all(is_part)
        && !text.ends_with('-')
}

fn shape(text: &str) -> Option<Shape<'_>> {
    if let Some(target) = text.strip_prefix("make ") {
        return Some(Shape::Target(target));
    }
    if let Some(name) = ["struct ", "enum ", "union "].iter().find_map(|c| text.strip_prefix(c)) {
        return is_word(name).then_some(Shape::Word(name));
    }
    let plain = text.strip_suffix("()").or_else(|| text.strip_suffix('!'));
    let path = plain.unwrap_or(text);
    if let Some((scopes, name)) = path.rsplit_once("::") {
        let scope = scopes.rsplit("::").next().unwrap_or(scopes);
        return (is_word(scope) && is_word(name)).then_some(Shape::Scoped(scope, name));
    }
    if let Some(name) = plain {
        return is_word(name).then_some(Shape::Function(name));
    }
    if let Some((name, argument)) = text.strip_suffix(')').and_then(|text| text.split_once('(')) {
        let is_page = argument.starts_with(|c: char| c.is_ascii_digit());
        return match is_word(name) {
            true if is_page => Some(Shape::Manual),
            true if is_word(argument) => Some(Shape::Word(argument)),
            _ => None,
        };
    }
    if let Some((name, _)) = text.split_once('=') {
        return is_word(name).then_some(Shape::Word(name));
    }
    let extension = Path::new(text).extension();
    if !text.starts_with('/') && !text.contains(' ') && (text.contains('/') || extension.is_some())
    {
        return Some(Shape::Path(text.trim_end_matches('/')));
    }
    is_word(text).then_some(Shape::Word(text))
}

/// A file with code in Rust.
struct Module {
    /// The names of the file, without its extension, and of the directory that it is in.
    names: [String; 2],
    functions: HashSet<String>,
    declared: HashSet<String>,
}

impl Module {
    fn of(path: &Path, code: &str) -> Result<Self> {
        let all = |regex: &Regex| -> HashSet<String> {
            regex.captures_iter(code).map(|found| found[1].to_owned()).collect()
        };
        let text = |name: Option<&OsStr>| name.unwrap_or_default().to_string_lossy().into_owned();
        Ok(Self {
            names: [text(path.file_stem()), text(path.parent().and_then(Path::file_name))],
            functions: all(pattern(&FUNCTION)?),
            declared: all(pattern(&DECLARED)?),
        })
    }

    fn declares(&self, name: &str) -> bool {
        self.functions.contains(name) || self.declared.contains(name)
    }

    /// Whether this is a file of the module, type or trait `scope`, and declares `name` or is it.
    fn has(&self, scope: &str, name: &str) -> bool {
        let [file, dir] = &self.names;
        (file == scope || dir == scope || self.declared.contains(scope)) && self.declares(name)
            || dir == scope && file == name
    }
}

/// What there is in the checkout.
#[derive(Default)]
pub struct Ours {
    /// Files and directories, as they are called in the checkout or the kernel.
    paths: BTreeSet<String>,
    modules: Vec<Module>,
    /// Words of code in C, in which it is hard to tell what is declared.
    c_words: HashSet<String>,
    /// Words of all other code, of the harness, too.
    words: HashSet<String>,
    targets: HashSet<String>,
    /// The crates of the kernel.
    crates: BTreeSet<String>,
}

impl Ours {
    /// Looks at a checkout.
    pub fn of(src: &Path) -> Result<Self> {
        let mut ours = Self::default();
        // What git keeps and what cargo leaves behind by itself is not ours.
        for file in files::but_for(src, |name| matches!(name, ".git" | "target"))? {
            ours.add(&file, &src.join(&file))?;
        }
        for (_, to) in Overlay::of(src)?.files {
            ours.add_path(&to);
        }
        Ok(ours)
    }

    fn add(&mut self, name: &Path, file: &Path) -> Result<()> {
        self.add_path(name);
        let is_code = matches!(name.extension().and_then(OsStr::to_str), Some("rs" | "c" | "h"));
        let is_other = name.file_name().is_some_and(|name| OTHER_FILES.iter().any(|o| name == *o))
            || name.extension().is_some_and(|extension| extension == "toml");
        if (is_code || is_other) && name != Path::new(THIS_FILE) {
            self.add_text(name, &fs::read_to_string(file)?)?;
        }
        Ok(())
    }

    fn add_path(&mut self, name: &Path) {
        let all = name.ancestors().filter(|part| !part.as_os_str().is_empty());
        self.paths.extend(all.map(|part| part.to_string_lossy().into_owned()));
    }

    fn add_text(&mut self, name: &Path, text: &str) -> Result<()> {
        let code = pattern(&COMMENT_OR_STRING)?.replace_all(text, |found: &regex::Captures| {
            if found[0].starts_with('/') { " ".to_owned() } else { found[0].to_owned() }
        });
        let words = pattern(&WORD)?.find_iter(&code).flat_map(|word| {
            // `a-b` can be the name of a module, and a difference.
            word.as_str().split('-').chain([word.as_str()]).map(str::to_owned)
        });
        match name.extension().and_then(OsStr::to_str) {
            Some("c" | "h") => self.c_words.extend(words),
            Some("rs") => {
                self.words.extend(words);
                self.modules.push(Module::of(name, &code)?);
                if layering::is_crate_root(name, text)? && !name.starts_with("samples") {
                    let stem = name.file_stem().unwrap_or_default();
                    self.crates.insert(stem.to_string_lossy().into_owned());
                }
            }
            _ => self.words.extend(words),
        }
        if name == Path::new("Makefile") {
            let target = |line: &str| Some(line.split_once(':')?.0.to_owned());
            self.targets.extend(text.lines().filter_map(target).filter(|target| is_word(target)));
        }
        Ok(())
    }

    fn has_path(&self, path: &str) -> bool {
        if let Some((start, _)) = path.split_once('*') {
            return self.paths.iter().any(|ours| ours.starts_with(start));
        }
        let end = format!("/{path}");
        self.paths.contains(path) || self.paths.iter().any(|ours| ours.ends_with(&end))
    }

    /// Whether this is here. What is not may be the kernel's.
    fn has(&self, shape: &Shape) -> bool {
        match *shape {
            Shape::Path(path) => self.has_path(path),
            Shape::Function(name) => {
                self.c_words.contains(name)
                    || self.modules.iter().any(|m| m.functions.contains(name))
            }
            Shape::Scoped(scope, name) => self.modules.iter().any(|m| m.has(scope, name)),
            Shape::Target(name) => self.targets.contains(name),
            Shape::Word(name) => {
                self.paths.contains(name)
                    || self.c_words.contains(name)
                    || self.words.contains(name)
                    || self.modules.iter().any(|m| m.names[0] == name)
            }
            Shape::Manual => true,
        }
    }
}

/// The kernel that names are looked for in.
pub trait Kernel {
    /// Whether there is a file or a directory.
    fn has_path(&self, path: &str) -> bool;

    /// Which of these words its code has.
    fn words(&self, words: &[&str]) -> Result<HashSet<String>>;
}

/// A patched tree, but for our own files.
pub struct Tree<'a> {
    /// Where it is: a git repository.
    pub dir: &'a Path,
    /// Our files.
    pub overlay: &'a Overlay,
}

impl Kernel for Tree<'_> {
    fn has_path(&self, path: &str) -> bool {
        self.dir.join(path).exists()
    }

    fn words(&self, words: &[&str]) -> Result<HashSet<String>> {
        if words.is_empty() {
            return Ok(HashSet::new());
        }
        let mut command = stage::git(self.dir);
        command.args(["grep", "-h", "-o", "-w", "-F"]);
        command.args(words.iter().flat_map(|word| ["-e", word]));
        command.args(["--", "*.c", "*.h", "*.S", "*.rs", "*Makefile", "*Kconfig*"]);
        let ours = self.overlay.files.iter();
        command.args(ours.map(|(_, to)| format!(":(exclude){}", to.display())));
        let found = command.stdin(Stdio::null()).output().context("starting git grep")?;
        // It ends with 1 if there is nothing.
        if !found.status.success() && found.status.code() != Some(1) {
            bail!("git grep failed: {}", String::from_utf8_lossy(&found.stderr).trim());
        }
        Ok(String::from_utf8_lossy(&found.stdout).lines().map(str::to_owned).collect())
    }
}

/// What is wrong with the names in a document.
pub fn violations(document: &str, ours: &Ours, kernel: &impl Kernel) -> Result<Vec<String>> {
    let (mentions, diagrams) = mentions(document)?;
    let mut used = HashSet::new();
    let mut found = Vec::new();
    let mut left = Vec::new();
    for mention in &mentions {
        if let Some((exception, _)) = EXCEPTIONS.iter().find(|(text, _)| *text == mention.text) {
            used.insert(*exception);
            continue;
        }
        match shape(&mention.text) {
            Some(shape) if ours.has(&shape) => {}
            Some(shape @ (Shape::Function(name) | Shape::Word(name))) => {
                left.push((mention, shape, name));
            }
            Some(Shape::Path(path)) if kernel.has_path(path) => {}
            shape => found.push((mention.line, complaint(mention, shape.as_ref()))),
        }
    }
    let asked: Vec<&str> = left.iter().map(|(_, _, name)| *name).collect();
    let has = kernel.words(&asked)?;
    let missing = left.iter().filter(|(_, _, name)| !has.contains(*name));
    found
        .extend(missing.map(|(mention, shape, _)| (mention.line, complaint(mention, Some(shape)))));
    found.sort();
    let mut found: Vec<String> = found.into_iter().map(|(_, text)| text).collect();
    let drawn: HashSet<&str> = pattern(&WORD)?.find_iter(&diagrams).map(|w| w.as_str()).collect();
    let not_drawn = ours.crates.iter().filter(|name| !drawn.contains(name.as_str()));
    found.extend(not_drawn.map(|name| format!("{DOCUMENT}: no diagram has the crate {name}")));
    let stale = EXCEPTIONS.iter().filter(|(text, _)| !used.contains(text));
    found.extend(stale.map(|(text, why)| {
        format!("{DOCUMENT} does not have `{text}` any more, an exception as {why}: take it out")
    }));
    Ok(found)
}

fn complaint(mention: &Mention, shape: Option<&Shape>) -> String {
    let what = match shape {
        Some(Shape::Path(_)) => "there is no such file or directory",
        Some(Shape::Function(_)) => "there is no such function or macro",
        Some(Shape::Scoped(..)) => "nothing of that name is declared there",
        Some(Shape::Target(_)) => "the Makefile has no such target",
        Some(Shape::Word(_) | Shape::Manual) => "no code has that name",
        None => "this cannot be looked for: name something, or add an exception",
    };
    format!("{DOCUMENT}:{}: `{}`: {what}", mention.line, mention.text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lines;

    /// A kernel with one file, and some words.
    struct Stub;

    impl Kernel for Stub {
        fn has_path(&self, path: &str) -> bool {
            path == "mm/memfd.c"
        }

        fn words(&self, words: &[&str]) -> Result<HashSet<String>> {
            let own = ["kernel_kexec", "EBUSY", "vfio-pci"];
            Ok(words.iter().filter(|w| own.contains(w)).map(|w| (*w).to_owned()).collect())
        }
    }

    fn ours() -> Ours {
        let mut ours = Ours::default();
        for (name, text) in [
            ("Makefile", "check:\n\t@lu check\nexport CASE J\n"),
            (
                "drivers/pci/liveupdate_rs/plan.rs",
                "//! gone_from_code()\npub(crate) const fn decide() {}\nstruct List;\n",
            ),
            (
                "drivers/pci/liveupdate_rs/pci_lu.rs",
                "#![deny(unsafe_code)]\nmod exports;\nmod plan;\n",
            ),
            ("rust/kernel/liveupdate/flb.rs", "pub trait Flb { fn serialize(); }\n"),
            ("drivers/pci/liveupdate_rs/pci_lu_private.c", "/* old() */ int hook(void) { }\n"),
            ("tools/src/judges.rs", "const EVENT: &str = \"pci_cfg_write // not a comment\";\n"),
        ] {
            ours.add_path(Path::new(name));
            ours.add_text(Path::new(name), text).unwrap();
        }
        ours
    }

    /// What is wrong with a document that has this, and nothing of which exceptions are made.
    fn wrong(text: &str) -> Vec<String> {
        let exceptions = lines::of(EXCEPTIONS.iter().map(|(name, _)| format!("`{name}`")));
        let text = format!("{text}\n```\npci_lu\n```\n{exceptions}");
        violations(&text, &ours(), &Stub).unwrap()
    }

    #[test]
    fn what_is_there_can_be_named() {
        for name in [
            "drivers/pci/liveupdate_rs/",
            "liveupdate_rs/plan.rs",
            "plan.rs",
            "rust/kernel/liveupdate*",
            "mm/memfd.c",
            "decide()",
            "plan::decide",
            "plan::decide()",
            "plan::List",
            "liveupdate::flb",
            "Flb::serialize",
            "Flb",
            "struct List",
            "hook()",
            "kernel_kexec()",
            "EBUSY",
            "vfio-pci",
            "pci_cfg_write",
            "pci_lu",
            "plan",
            "make check",
            "CASE=",
            "reboot(2)",
            "reboot(EBUSY)",
        ] {
            assert_eq!(wrong(&format!("See `{name}`.")), Vec::<String>::new(), "{name}");
        }
    }

    #[test]
    fn what_is_missing_is_found() {
        for name in [
            "drivers/pci/other_rs/",
            "plan.c",
            "rust/kernel/kexec*",
            "mm/memfd.h",
            "gone_from_code()",
            "old()",
            "plan()",
            "plan::gone",
            "flb::decide",
            "Flb::preserve",
            "List::serialize",
            "Gone",
            "EGONE",
            "struct Gone",
            "vfio-gone",
            "make gone",
            "GONE=1",
            "reboot(EGONE)",
            "two words",
            "#[gone]",
        ] {
            let found = wrong(&format!("One.\nSee `{name}`."));
            assert_eq!(found.len(), 1, "{name}: {found:?}");
            assert!(found[0].starts_with(&format!("ARCHITECTURE.md:2: `{name}`: ")), "{found:?}");
        }
    }

    #[test]
    fn a_name_may_have_the_end_of_a_line_in_it() {
        assert!(wrong("Say `make\ncheck`.").is_empty());
        assert_eq!(wrong("Say `make\ngone`.").len(), 1);
    }

    #[test]
    fn diagrams_have_names_and_all_crates() {
        assert!(wrong("```\nvfio, prose -> plan.rs pci_* hook drivers/pci\n```").is_empty());
        assert_eq!(wrong("```\nkernel_kexec\n  gone_lu\n```")[0].split(':').nth(1), Some("3"));
        assert_eq!(wrong("```\nmm/gone.c\n```").len(), 1);

        let found = violations("no diagram", &ours(), &Stub).unwrap();
        assert!(found.contains(&"ARCHITECTURE.md: no diagram has the crate pci_lu".into()));
    }

    #[test]
    fn an_exception_that_nothing_needs_is_found() {
        assert_eq!(violations("```\npci_lu\n```", &ours(), &Stub).unwrap().len(), EXCEPTIONS.len());
    }
}
