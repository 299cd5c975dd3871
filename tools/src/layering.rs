// SPDX-License-Identifier: GPL-2.0

//! The layering rule of ARCHITECTURE.md: `unsafe` and `bindings::` occur only
//! at the boundaries, and crate roots say so. There, a safe function takes no raw pointer and no
//! physical address (`raw.rs`).

mod raw;

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, anyhow};
use proc_macro2::{TokenStream, TokenTree};
use syn::punctuated::Punctuated;
use syn::{AttrStyle, Attribute, File, Item, Token};

/// Modules that may talk to C.
const BOUNDARY_FILES: [&str; 2] = ["ffi.rs", "exports.rs"];

/// Where the submodules of the first one are.
const BOUNDARY_SUBMODULES: &str = "/ffi/";

/// Directories whose purpose is to talk to C.
const BOUNDARY_DIRS: [&str; 3] = ["rust/kernel/liveupdate", "rust/helpers/", "rust/bindings/"];

/// The words that no other source file has, not even in what it gives to a macro.
const FORBIDDEN: [&str; 2] = ["unsafe", "bindings"];

/// What `path` (relative to the checkout) with this text does that it must not.
pub fn violations(path: &Path, text: &str) -> Result<Vec<String>> {
    let name = path.to_string_lossy();
    let mut found = Vec::new();
    if is_boundary(path) {
        if raw::applies(path) {
            for taken in raw::parameters(&parsed(path, text)?) {
                found.push(format!("{name}:{taken}"));
            }
        }
    } else {
        for (line, word) in forbidden(tokens(path, text)?) {
            found.push(format!("{name}:{line}: `{word}` outside the boundary modules"));
        }
    }
    for line in eager_objects(tokens(path, text)?) {
        found.push(format!(
            "{name}:{line}: `then_some()` makes the object in any case, and drops it: use `then()`"
        ));
    }
    if is_crate_root(path, text)? && !parsed(path, text)?.attrs.iter().any(denies_unsafe_code) {
        found.push(format!("{name}: a crate root without `#![deny(unsafe_code)]`"));
    }
    Ok(found)
}

fn is_boundary(path: &Path) -> bool {
    let name = path.to_string_lossy();
    let file = path.file_name().unwrap_or_default().to_string_lossy();
    BOUNDARY_FILES.contains(&file.as_ref())
        || name.contains(BOUNDARY_SUBMODULES)
        || BOUNDARY_DIRS.iter().any(|dir| name.starts_with(dir))
}

fn tokens(path: &Path, text: &str) -> Result<TokenStream> {
    text.parse().map_err(|error| anyhow!("{}: {error}", path.display()))
}

fn parsed(path: &Path, text: &str) -> Result<File> {
    syn::parse2(tokens(path, text)?).with_context(|| format!("{} is no Rust", path.display()))
}

/// The forbidden words, and the lines that they are in.
fn forbidden(tokens: TokenStream) -> Vec<(usize, String)> {
    let found = tokens.into_iter().map(|token| match token {
        TokenTree::Group(group) => forbidden(group.stream()),
        TokenTree::Ident(word) if FORBIDDEN.iter().any(|forbidden| word == forbidden) => {
            vec![(word.span().start().line, word.to_string())]
        }
        _ => Vec::new(),
    });
    found.flatten().collect()
}

/// The lines that make an object of the type itself for `then_some()`. If the condition is false, it is
/// dropped at once: if it is a guard, that releases what nobody took.
fn eager_objects(tokens: TokenStream) -> Vec<usize> {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    let is = |token: &TokenTree, word| matches!(token, TokenTree::Ident(ident) if ident == word);
    let here = tokens.windows(2).filter_map(|pair| match pair {
        [method, TokenTree::Group(group)] if is(method, "then_some") => {
            let first = group.stream().into_iter().next()?;
            is(&first, "Self").then(|| method.span().start().line)
        }
        _ => None,
    });
    let below = tokens.iter().filter_map(|token| match token {
        TokenTree::Group(group) => Some(eager_objects(group.stream())),
        _ => None,
    });
    here.chain(below.flatten()).collect()
}

/// Whether an attribute of a crate is `#![deny(unsafe_code)]`, perhaps with other lints.
fn denies_unsafe_code(attribute: &Attribute) -> bool {
    let lints = || attribute.parse_args_with(Punctuated::<syn::Path, Token![,]>::parse_terminated);
    let has = |lint| lints().is_ok_and(|all| all.iter().any(|path| path.is_ident(lint)));
    attribute.path().is_ident("deny") && has("unsafe_code")
}

/// Whether kbuild compiles this file by itself: it declares the leaf's boundary modules, or is a
/// sample. Other modules may have modules of their own.
pub fn is_crate_root(path: &Path, text: &str) -> Result<bool> {
    let is_in_leaf = ["drivers", "kernel", "samples"].iter().any(|top| path.starts_with(top));
    let dir = path.parent().and_then(Path::file_name).unwrap_or_default().to_string_lossy();
    // A module that is kept elsewhere than the crate has that name.
    let is_module = path.file_name().is_some_and(|file| file == "mod.rs");
    if !is_in_leaf || is_module || !(dir.ends_with("_rs") || dir == "rust") {
        return Ok(false);
    }
    let file = parsed(path, text)?;
    // What is written `//!` is an attribute, too.
    let is_of_crate = |attribute: &Attribute| {
        matches!(attribute.style, AttrStyle::Inner(_)) && !attribute.path().is_ident("doc")
    };
    let is_boundary = |item: &Item| match item {
        Item::Mod(module) => BOUNDARY_FILES.contains(&format!("{}.rs", module.ident).as_str()),
        _ => false,
    };
    Ok(file.attrs.iter().any(is_of_crate) || file.items.iter().any(is_boundary))
}

/// The violations in all files, given as where they are and what they are called.
pub fn scan<'a>(files: impl IntoIterator<Item = (&'a Path, &'a Path)>) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for (file, name) in files {
        found.extend(violations(name, &fs::read_to_string(file)?)?);
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(path: &str, text: &str) -> usize {
        violations(Path::new(path), text).expect(text).len()
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
    fn boundary_modules_say_what_is_unsafe() {
        let safe = "pub(crate) fn f(a: *mut T) { unsafe { g(a) } }";
        let path = "drivers/pci/liveupdate_rs/ffi/iommu.rs";
        let found = violations(Path::new(path), safe).expect("Rust");
        assert_eq!(found, [format!("{path}:1: safe `f()` takes a raw pointer")]);
        assert_eq!(count("rust/kernel/liveupdate/kho.rs", safe), 1);
        assert_eq!(count(path, "pub(crate) unsafe fn f(a: *mut T) { unsafe { g(a) } }"), 0);
        // Nobody follows a pointer without `unsafe`, which others do not have.
        assert_eq!(count("drivers/pci/liveupdate_rs/apply.rs", "fn f(a: *mut T) {}"), 0);
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
        let text = format!("{text}fn f() {{ unsafe {{}} }}");
        let found = violations(Path::new("a/plan.rs"), &text).expect("some");
        assert_eq!(found, ["a/plan.rs:5: `unsafe` outside the boundary modules"]);
    }

    #[test]
    fn what_macros_are_given_is_code() {
        let path = "drivers/pci/liveupdate_rs/plan.rs";
        assert_eq!(count(path, "fn f() { info!(\"unsafe {}\", unsafe { g() }); }"), 1);
        assert_eq!(count(path, "macro_rules! m { () => { [bindings::X] } }"), 1);
    }

    #[test]
    fn names_of_bindings_cannot_be_imported_in_other_words() {
        let path = "drivers/pci/liveupdate_rs/plan.rs";
        assert_eq!(count(path, "use kernel::{bindings, pci};"), 1);
        assert_eq!(count(path, "use kernel::bindings as b;"), 1);
        assert_eq!(count(path, "extern \"C\" { fn unsafe_code(); }"), 0);
    }

    #[test]
    fn guards_are_made_only_if_something_was_taken() {
        let path = "drivers/pci/liveupdate_rs/ffi.rs";
        assert_eq!(count(path, "fn f() { g().then_some(Self { a }); }"), 1);
        assert_eq!(count(path, "fn f() { h(g().then_some(Self(1))) }"), 1);
        assert_eq!(count(path, "fn f() { g().then(|| Self(1)) }"), 0);
        assert_eq!(count(path, "fn f() { g().then_some(1) }"), 0);
    }

    #[test]
    fn what_is_no_rust_is_an_error() {
        let path = Path::new("drivers/pci/liveupdate_rs/pci_lu.rs");
        for text in ["fn f() {", "fn f() }", "fn fn f() {}"] {
            assert!(violations(path, text).is_err(), "{text}");
        }
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
        assert_eq!(
            count(
                "drivers/pci/liveupdate_rs/pci_liveupdate.rs",
                &format!("#![deny(missing_docs, unsafe_code)]\n{root}")
            ),
            0
        );
        // A word in a comment denies nothing.
        assert_eq!(
            count(
                "drivers/pci/liveupdate_rs/pci_liveupdate.rs",
                &format!("// #![deny(unsafe_code)]\n{root}")
            ),
            1
        );
        assert_eq!(count("drivers/pci/liveupdate_rs/plan.rs", "//! Pure.\nfn f() {}\n"), 0);
        assert_eq!(count("drivers/pci/liveupdate_rs/apply.rs", "mod incoming;\n"), 0);
        assert_eq!(count("drivers/iommu/intel/lu_rs/mod.rs", root), 0);
    }
}
