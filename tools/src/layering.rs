// SPDX-License-Identifier: GPL-2.0

//! The layering rule of ARCHITECTURE.md: `unsafe` and `bindings::` occur only
//! at the boundaries, and crate roots say so.

use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use anyhow::Result;
use regex::Regex;

/// Modules that may talk to C.
const BOUNDARY_FILES: [&str; 2] = ["ffi.rs", "exports.rs"];

/// Where the submodules of the first one are.
const BOUNDARY_SUBMODULES: &str = "/ffi/";

/// Directories whose purpose is to talk to C.
const BOUNDARY_DIRS: [&str; 3] = ["rust/kernel/liveupdate", "rust/helpers/", "rust/bindings/"];

/// What a crate root has to say.
const DENY: &str = "#![deny(unsafe_code)]";

/// Comments, strings, raw strings and characters: nothing in them is code.
static NOT_CODE: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(r##"(?s)//[^\n]*|/\*.*?\*/|r#"(.*?)"#|r"[^"]*"|"(\\.|[^"\\])*"|'(\\.|[^'\\])'"##)
        .ok()
});

/// What a source file outside the boundaries must not contain.
static FORBIDDEN: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"\bunsafe\s*(\{|fn\b|impl\b|extern\b|trait\b)|\bbindings::").ok());

/// What `path` (relative to the checkout) with this text does that it must not.
pub fn violations(path: &Path, text: &str) -> Vec<String> {
    let (Some(not_code), Some(forbidden)) = (NOT_CODE.as_ref(), FORBIDDEN.as_ref()) else {
        return vec!["the patterns of the layering check are broken".into()];
    };
    let name = path.to_string_lossy();
    let file = path.file_name().unwrap_or_default().to_string_lossy();
    let mut found = Vec::new();
    // Line breaks stay, so that line numbers do.
    let code = not_code.replace_all(text, |matched: &regex::Captures| {
        "\n".repeat(matched[0].matches('\n').count())
    });
    if !BOUNDARY_FILES.contains(&file.as_ref())
        && !name.contains(BOUNDARY_SUBMODULES)
        && !BOUNDARY_DIRS.iter().any(|dir| name.starts_with(dir))
    {
        for hit in forbidden.find_iter(&code) {
            let line = code[..hit.start()].matches('\n').count() + 1;
            found.push(format!(
                "{name}:{line}: `{}` outside the boundary modules",
                hit.as_str().trim()
            ));
        }
    }
    if is_crate_root(path, text) && !text.contains(DENY) {
        found.push(format!("{name}: a crate root without `{DENY}`"));
    }
    found
}

/// Whether kbuild compiles this file by itself: it declares the leaf's boundary modules, or is a
/// sample. Other modules may have modules of their own.
pub fn is_crate_root(path: &Path, text: &str) -> bool {
    let leaf = ["drivers", "kernel", "samples"].iter().any(|top| path.starts_with(top));
    let declares =
        |line: &str| line.starts_with("#![") || matches!(line, "mod exports;" | "mod ffi;");
    leaf && text.lines().any(declares)
        && path
            .parent()
            .and_then(Path::file_name)
            .is_some_and(|dir| dir.to_string_lossy().ends_with("_rs") || dir == "rust")
}

/// The violations in all files, given as where they are and what they are called.
pub fn scan<'a>(files: impl IntoIterator<Item = (&'a Path, &'a Path)>) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for (file, name) in files {
        found.extend(violations(name, &fs::read_to_string(file)?));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(path: &str, text: &str) -> usize {
        violations(Path::new(path), text).len()
    }

    #[test]
    fn boundary_modules_may_talk_to_c() {
        let text = "fn f() { unsafe { bindings::g() } }";
        assert_eq!(count("drivers/pci/liveupdate_rs/ffi.rs", text), 0);
        assert_eq!(count("drivers/pci/liveupdate_rs/ffi/iommu.rs", text), 0);
        assert_eq!(count("drivers/pci/liveupdate_rs/exports.rs", text), 0);
        assert_eq!(count("rust/kernel/liveupdate/kho.rs", text), 0);
    }

    #[test]
    fn others_may_not() {
        assert_eq!(count("drivers/pci/liveupdate_rs/plan.rs", "fn f() { unsafe { g() } }"), 1);
        assert_eq!(
            count(
                "drivers/pci/liveupdate_rs/plan.rs",
                "use kernel::bindings::pci_dev;\nunsafe impl A for B {}"
            ),
            2
        );
    }

    #[test]
    fn comments_and_strings_are_no_code() {
        let text = "// unsafe { bindings::x }\n/* unsafe fn */\nconst A: &str = \"unsafe { \\\" bindings::\";\nconst C: char = '\"';\n";
        assert_eq!(count("drivers/pci/liveupdate_rs/plan.rs", text), 0);
        assert_eq!(
            violations(Path::new("a/plan.rs"), &format!("{text}unsafe {{}}"))[0].split(':').nth(1),
            Some("5")
        );
    }

    #[test]
    fn crate_roots_deny_unsafe_code() {
        let root = "//! A leaf.\n\nmod exports;\nmod plan;\n";
        assert_eq!(count("drivers/pci/liveupdate_rs/pci_liveupdate.rs", root), 1);
        assert_eq!(
            count(
                "drivers/pci/liveupdate_rs/pci_liveupdate.rs",
                &format!("#![deny(unsafe_code)]\n{root}")
            ),
            0
        );
        assert_eq!(count("drivers/pci/liveupdate_rs/plan.rs", "fn f() {}\n"), 0);
        assert_eq!(count("drivers/pci/liveupdate_rs/apply.rs", "mod incoming;\n"), 0);
    }
}
