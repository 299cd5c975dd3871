// SPDX-License-Identifier: GPL-2.0

//! The modules of the harness itself: each is a file that can be read at once, and no import leads back
//! to where it came from.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use proc_macro2::{TokenStream, TokenTree};
use syn::visit::{self, Visit};
use syn::{Attribute, Item, ItemMod, ItemUse, Macro, UseTree, VisRestricted};

use crate::files;

/// Where the harness is, in the checkout.
pub const DIR: &str = "tools/src";

/// The most lines of a file.
const MOST_LINES: usize = 600;

/// A module by the names that lead to it from the root of the crate, which itself has none.
type Name = Vec<String>;

/// For each module, those that it imports from.
type Imports = BTreeMap<Name, BTreeSet<Name>>;

/// What is wrong with the modules in a directory.
pub fn scan(dir: &Path) -> Result<Vec<String>> {
    let mut sources = files::below(dir)?;
    sources.retain(|file| file.extension().is_some_and(|extension| extension == "rs"));
    let read = |file: PathBuf| {
        let text = fs::read_to_string(dir.join(&file));
        text.with_context(|| format!("reading {}", file.display())).map(|text| (file, text))
    };
    violations(&sources.into_iter().map(read).collect::<Result<Vec<_>>>()?)
}

/// What is wrong with modules, given as their files and the texts of these.
fn violations(sources: &[(PathBuf, String)]) -> Result<Vec<String>> {
    let mut found = Vec::new();
    let mut all = Imports::new();
    for (file, text) in sources {
        let lines = text.lines().count();
        if lines > MOST_LINES {
            found.push(format!("{}: {lines} lines are more than {MOST_LINES}", file.display()));
        }
        let file_of = || file.display().to_string();
        all.insert(name_of(file), imports(&name_of(file), text).with_context(file_of)?);
    }
    let names: BTreeSet<Name> = all.keys().cloned().collect();
    for (own, imports) in &mut all {
        // The module of an item is the longest beginning of its path that is one.
        let module = |path: &Name| {
            (0..=path.len()).rev().map(|len| path[..len].to_vec()).find(|name| names.contains(name))
        };
        *imports = imports.iter().filter_map(module).filter(|name| name != own).collect();
    }
    if let Some(circle) = circle(all) {
        let names: Vec<String> = circle.iter().map(shown).collect();
        found.push(format!("imports go in a circle: {}", names.join(" -> ")));
    }
    Ok(found)
}

/// The module that a file is.
fn name_of(file: &Path) -> Name {
    let parts = file.with_extension("");
    let parts = parts.iter().map(|part| part.to_string_lossy().into_owned());
    parts.filter(|part| part != "main").collect()
}

fn shown(name: &Name) -> String {
    if name.is_empty() { "main".to_owned() } else { name.join("::") }
}

/// The paths of what a module imports or names otherwise, but for its tests.
fn imports(own: &Name, text: &str) -> Result<BTreeSet<Name>> {
    let file = syn::parse_file(text)?;
    let child = |item: &Item| match item {
        Item::Mod(module) => Some(module.ident.to_string()),
        _ => None,
    };
    let children = file.items.iter().filter_map(child).collect();
    let mut paths = Paths { at: own.clone(), children, found: BTreeSet::new() };
    paths.visit_file(&file);
    Ok(paths.found)
}

/// Collects paths into the crate.
struct Paths {
    /// The module that they are in.
    at: Name,
    /// The modules that the file declares.
    children: BTreeSet<String>,
    /// The paths, from the root of the crate.
    found: BTreeSet<Name>,
}

impl Paths {
    fn add(&mut self, path: &[String]) {
        let mut base = self.at.clone();
        let rest = match path {
            [first, rest @ ..] if first == "crate" => {
                base.clear();
                rest
            }
            [first, ..] if first == "super" => {
                let levels = path.iter().take_while(|part| *part == "super").count();
                base.truncate(base.len().saturating_sub(levels));
                &path[levels..]
            }
            // A word alone is a variable or an item of this module.
            [first, _, ..] if self.children.contains(first) => path,
            _ => return,
        };
        self.found.insert([&base, rest].concat());
    }

    fn add_tree(&mut self, before: &[String], tree: &UseTree) {
        let with = |word: String| [before, &[word]].concat();
        match tree {
            UseTree::Path(path) => self.add_tree(&with(path.ident.to_string()), &path.tree),
            UseTree::Name(name) => self.add(&with(name.ident.to_string())),
            UseTree::Rename(name) => self.add(&with(name.ident.to_string())),
            UseTree::Glob(_) => self.add(before),
            UseTree::Group(group) => {
                group.items.iter().for_each(|tree| self.add_tree(before, tree))
            }
        }
    }

    /// Adds what looks like paths.
    fn add_tokens(&mut self, tokens: TokenStream) {
        let mut path = Vec::new();
        let mut colons = 0;
        for token in tokens {
            match token {
                TokenTree::Ident(word) => {
                    if colons != 2 {
                        self.add(&path);
                        path.clear();
                    }
                    path.push(word.to_string());
                    colons = 0;
                }
                TokenTree::Punct(punct) if punct.as_char() == ':' => colons += 1,
                TokenTree::Group(group) => self.add_tokens(group.stream()),
                _ => colons = 0,
            }
        }
        self.add(&path);
    }
}

impl<'ast> Visit<'ast> for Paths {
    fn visit_item_mod(&mut self, module: &'ast ItemMod) {
        if !module.attrs.iter().any(is_for_tests) {
            self.at.push(module.ident.to_string());
            visit::visit_item_mod(self, module);
            self.at.pop();
        }
    }

    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        if !item.attrs.iter().any(is_for_tests) {
            self.add_tree(&[], &item.tree);
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let words: Vec<String> = path.segments.iter().map(|part| part.ident.to_string()).collect();
        self.add(&words);
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, called: &'ast Macro) {
        self.add_tokens(called.tokens.clone());
        visit::visit_macro(self, called);
    }

    /// `pub(super)` names a module, and imports nothing.
    fn visit_vis_restricted(&mut self, _: &'ast VisRestricted) {}
}

fn is_for_tests(attribute: &Attribute) -> bool {
    let is_test = || attribute.parse_args::<syn::Path>().is_ok_and(|path| path.is_ident("test"));
    attribute.path().is_ident("cfg") && is_test()
}

/// Modules each of which imports from the next, the last being the first, if there are any.
fn circle(mut imports: Imports) -> Option<Vec<Name>> {
    // What imports from nothing that is left is in no circle.
    loop {
        let left: BTreeSet<Name> = imports.keys().cloned().collect();
        imports.values_mut().for_each(|from| from.retain(|name| left.contains(name)));
        imports.retain(|_, from| !from.is_empty());
        if imports.len() == left.len() {
            break;
        }
    }
    // Now each leads to another, and so back to one that was there before.
    let mut way = vec![imports.keys().next()?.clone()];
    loop {
        let next = imports.get(way.last()?)?.first()?.clone();
        if let Some(start) = way.iter().position(|name| *name == next) {
            way.push(next);
            return Some(way.split_off(start));
        }
        way.push(next);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(sources: &[(&str, &str)]) -> Vec<String> {
        let sources: Vec<_> =
            sources.iter().map(|(file, text)| (file.into(), (*text).to_owned())).collect();
        violations(&sources).expect("Rust")
    }

    #[test]
    fn our_own_modules_are_in_order() {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let found = scan(&dir).expect("modules");
        assert!(found.is_empty(), "{}", found.join("\n"));
    }

    #[test]
    fn long_file_is_found() {
        let text = "// A line.\n".repeat(MOST_LINES);
        assert_eq!(wrong(&[("a/b.rs", &text)]), [""; 0]);
        let long = text + "fn f() {}\n";
        assert_eq!(wrong(&[("a/b.rs", &long)]), ["a/b.rs: 601 lines are more than 600"]);
    }

    #[test]
    fn circle_is_found_however_the_import_is_written() {
        for import in [
            "use crate::b::f;",
            "use crate::{c, b};",
            "use super::b::{self};",
            "use crate::b as other;",
            "pub use crate::b::*;",
            "fn f() { crate::b::f() }",
            "fn f() -> crate::b::T { g() }",
            "fn f() { assert_eq!(1, g(crate::b::f())); }",
            "mod m { use super::super::b; }",
        ] {
            let sources = [
                ("main.rs", "mod a; mod b; mod c; use a::f;"),
                ("a.rs", import),
                ("b.rs", "use crate::a;"),
                ("c.rs", "use crate::a;"),
            ];
            assert_eq!(wrong(&sources), ["imports go in a circle: a -> b -> a"], "{import}");
        }
    }

    #[test]
    fn what_leads_nowhere_is_no_circle() {
        for text in [
            "use std::b::f;",
            "// use crate::b;",
            "const B: &str = \"crate::b\";",
            "pub(super) fn f(b: u8) -> u8 { b }",
            "#[cfg(test)]\nmod tests { use crate::b; }",
            "#[cfg(test)]\nuse crate::b;",
            "use crate::c::b;",
            "use crate::a::b;",
        ] {
            let sources =
                [("main.rs", "mod a; mod b; mod c;"), ("a.rs", text), ("b.rs", "use crate::a;")];
            assert_eq!(wrong(&[&sources[..], &[("c.rs", "")]].concat()), [""; 0], "{text}");
        }
    }

    #[test]
    fn modules_and_what_they_contain_can_be_a_circle() {
        let circle = |parent: &str, child: &str| {
            wrong(&[("main.rs", "mod a;"), ("a.rs", parent), ("a/b.rs", child)])
        };
        let found = ["imports go in a circle: a -> a::b -> a"];
        assert_eq!(circle("mod b; use b::f;", "use super::X;"), found);
        assert_eq!(circle("mod b; fn f() { b::f() }", "use crate::a::X;"), found);
        assert_eq!(circle("mod b;", "use super::X;"), [""; 0]);
        assert_eq!(circle("mod b; use b::f;", "use super::b::f;"), [""; 0]);
    }

    #[test]
    fn circle_is_told_without_what_leads_to_it() {
        let sources = [
            ("main.rs", "mod a; use a::f;"),
            ("a.rs", "use crate::b;"),
            ("b.rs", "use crate::c;"),
            ("c.rs", "use crate::d; use crate::e;"),
            ("d.rs", "use crate::b;"),
            ("e.rs", ""),
        ];
        assert_eq!(wrong(&sources), ["imports go in a circle: b -> c -> d -> b"]);
    }
}
