// SPDX-License-Identifier: GPL-2.0

//! The documentation for C callers and users: each prototype in a header of ours has kernel-doc, and
//! our pages are rendered without a warning.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use anyhow::{Context as _, Result, ensure};
use regex::Regex;

use crate::context::Context;
use crate::kernel;
use crate::overlay::Overlay;
use crate::stage::Stage;

/// Where the pages are, in the checkout and in the kernel.
const PAGES: &str = "Documentation";

/// Where headers are that only tests include.
const TESTS: &str = "tools";

/// The name of the check of our pages, which its log has, too.
pub const RENDERED: &str = "htmldocs";

/// A comment, a directive of the preprocessor, or the prototype of a function, which begins its line.
static OF_A_HEADER: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(
        r"(?ms)(?P<comment>/\*.*?\*/)|^#(?:[^\n]*\\\n)*[^\n]*|^(?:\w+[\s*]+)+(?P<name>\w+)\([^;{}]*\);",
    )
    .ok()
});

/// A page that another one links to.
static LINK: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r":doc:`(?:[^`<]*<)?/([^`>]+)>?`").ok());

/// What Sphinx, docutils and kernel-doc begin a complaint with.
static COMPLAINT: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"(?i)\b(?:warning|error|severe|critical):").ok());

fn pattern(pattern: &'static LazyLock<Option<Regex>>) -> Result<&'static Regex> {
    pattern.as_ref().context("the patterns of the checks of the documentation are broken")
}

/// Our files with one of these extensions: where they are, and what they are called in the kernel.
fn ours(ctx: &Context, extensions: &[&str]) -> Result<Vec<(PathBuf, PathBuf)>> {
    let mut files = Overlay::of(&ctx.src)?.files;
    files.retain(|(_, to)| {
        to.extension().and_then(|ext| ext.to_str()).is_some_and(|ext| extensions.contains(&ext))
    });
    Ok(files)
}

/// Fails if kernel-doc in a C file of ours is wrong, or a prototype in a header of ours has none.
pub fn kernel_doc(ctx: &Context, stage: &mut Stage) -> Result<()> {
    let files = ours(ctx, &["c", "h"])?;
    let mut found = Vec::new();
    for (from, to) in &files {
        if to.extension().is_some_and(|ext| ext == "h") && !to.starts_with(TESTS) {
            found.extend(undocumented(to, &fs::read_to_string(from)?)?);
        }
    }
    ensure!(found.is_empty(), "  {}", found.join("\n  "));
    if files.is_empty() {
        return Ok(());
    }
    // In the tree, which it must not write to.
    stage.run(
        Command::new("python3")
            .args(["scripts/kernel-doc", "-none", "-Wall", "-Werror"])
            .args(files.iter().map(|(_, to)| to))
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .current_dir(ctx.tree()),
    )
}

/// The prototypes in a header that no kernel-doc is beside. Names that begin with underscores are parts
/// of others, which have it.
fn undocumented(path: &Path, text: &str) -> Result<Vec<String>> {
    let mut found = Vec::new();
    // The last comment, and where it ends.
    let mut last = ("", 0);
    for part in pattern(&OF_A_HEADER)?.captures_iter(text) {
        if let Some(comment) = part.name("comment") {
            last = (comment.as_str(), comment.end());
            continue;
        }
        let (Some(all), Some(name)) = (part.get(0), part.name("name")) else {
            continue;
        };
        let is_beside = text[last.1..all.start()].trim().is_empty();
        let begin = format!("/**\n * {} - ", name.as_str());
        if !(name.as_str().starts_with("__") || is_beside && last.0.starts_with(&begin)) {
            let line = text[..name.start()].matches('\n').count() + 1;
            found.push(format!(
                "{}:{line}: {}() has no kernel-doc before its prototype",
                path.display(),
                name.as_str()
            ));
        }
    }
    Ok(found)
}

/// Fails if Sphinx complains about a page of ours, or about kernel-doc in it.
pub fn pages(ctx: &Context, stage: &mut Stage) -> Result<()> {
    let pages = ours(ctx, &["rst"])?;
    let mut documents = BTreeSet::from(["index.rst".to_owned()]);
    for (from, to) in &pages {
        documents.extend(read_with(to, &fs::read_to_string(from)?)?);
    }
    let out = ctx.cache.join("build/docs");
    // What has not changed since the last time would not be complained about again.
    if out.exists() {
        fs::remove_dir_all(&out)?;
    }
    // Other documents take minutes, and would be there only to be linked to.  conf.py adds those of
    // netlink, whatever is asked for.
    let documents: Vec<String> = documents.into_iter().collect();
    let options = format!(
        "SPHINXOPTS=-Dinclude_patterns={} -Dexclude_patterns=netlink/specs/*",
        documents.join(",")
    );
    stage.run(kernel::make(ctx, &ctx.tree(), &out).args([
        "SPHINXDIRS=.",
        options.as_str(),
        "htmldocs",
    ]))?;

    // Without Sphinx, `make` says so and succeeds.
    let html = out.join(PAGES).join("output");
    for (_, to) in &pages {
        let page = html.join(to.strip_prefix(PAGES)?).with_extension("html");
        ensure!(page.exists(), "  {} was not rendered to {}", to.display(), ctx.show(&page));
    }
    let all = Overlay::of(&ctx.src)?.files;
    let names: Vec<&str> = all.iter().filter_map(|(_, to)| to.to_str()).collect();
    let log = fs::read_to_string(ctx.log(&format!("check-{RENDERED}")))?;
    let found = complaints(&log, &names)?;
    ensure!(found.is_empty(), "  {}", found.join("\n  "));
    Ok(())
}

/// The documents that are to be read with a page: itself, those that it links to, and the table of
/// contents that it has to be in.
fn read_with(page: &Path, text: &str) -> Result<Vec<String>> {
    let page = page.strip_prefix(PAGES)?;
    let mut documents =
        vec![page.display().to_string(), page.with_file_name("index.rst").display().to_string()];
    for link in pattern(&LINK)?.captures_iter(text) {
        documents.push(format!("{}.rst", link[1].trim()));
    }
    Ok(documents)
}

/// The complaints in the log that are about one of these files.
fn complaints(log: &str, names: &[&str]) -> Result<Vec<String>> {
    let complaint = pattern(&COMPLAINT)?;
    Ok(log
        .lines()
        .filter(|line| complaint.is_match(line) && names.iter().any(|name| line.contains(name)))
        .map(str::to_owned)
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<String> {
        undocumented(Path::new("a.h"), text).unwrap()
    }

    #[test]
    fn prototypes_have_kernel_doc_beside_them() {
        assert!(found("/**\n * f - Do it\n */\nint f(void);\n").is_empty());
        assert!(
            found("/**\n * f - Get it\n */\nstruct a *f(struct b *b,\n\t     int c);\n").is_empty()
        );
        assert!(found("/**\n * f - Get it\n */\nstruct a *\nf(void);\n").is_empty());

        assert_eq!(
            found("#define A\n\nint f(void);\n"),
            ["a.h:3: f() has no kernel-doc before its prototype"]
        );
        for text in [
            "/* Does it */\nint f(void);\n",
            "/**\n * g - Do it\n */\nint f(void);\n",
            "/**\n * f - Do it\n */\nstruct a;\nint f(void);\n",
            "/**\n * f - Do it\n */\nextern int f;\nextern struct a *f(int b,\n\t\t   int c);\n",
            "/**\n * f - Do it\n */\n#define A \\\n\tint\nint f(void);\n",
        ] {
            assert_eq!(found(text).len(), 1, "{text}");
        }
    }

    #[test]
    fn what_is_no_prototype_needs_no_kernel_doc() {
        for text in [
            "struct a;\nextern const u8 b[];\n",
            "static_assert(sizeof(struct a) == 8);\n",
            "static inline int f(void)\n{\n\treturn g();\n}\n",
            "struct a {\n\tint (*f)(void);\n};\n",
            "#define F(a)\tdo { \\\n\tg(a); } while (0)\n#define G(a) h(a);\n",
            "void __f(void);\n",
        ] {
            assert!(found(text).is_empty(), "{text}: {:?}", found(text));
        }
    }

    #[test]
    fn a_page_is_read_with_what_it_links_to() {
        let text = "See :doc:`/core-api/liveupdate` and :doc:`that </mm/memfd_preservation>`.";
        assert_eq!(
            read_with(Path::new("Documentation/PCI/liveupdate.rst"), text).unwrap(),
            [
                "PCI/liveupdate.rst",
                "PCI/index.rst",
                "core-api/liveupdate.rst",
                "mm/memfd_preservation.rst"
            ]
        );
    }

    #[test]
    fn complaints_about_others_do_not_count() {
        let ours = ["Documentation/PCI/liveupdate.rst", "include/linux/pci_liveupdate.h"];
        let log = "\
+ make PCI/liveupdate.rst
/t/Documentation/index.rst:3: WARNING: toctree contains reference to nonexisting document 'a'
/t/Documentation/PCI/liveupdate.rst:7: WARNING: Title underline too short.
/t/Documentation/PCI/liveupdate:9: /t/include/linux/pci_liveupdate.h:1: ERROR: Unexpected indentation.
WARNING: /t/include/linux/pci_liveupdate.h:4 function parameter 'a' not described in 'f'
reading sources... Documentation/PCI/liveupdate.rst
";
        let found = complaints(log, &ours).unwrap();
        assert_eq!(found.len(), 3, "{found:?}");
        assert!(complaints(log, &["Documentation/rust/liveupdate.rst"]).unwrap().is_empty());
    }
}
