// SPDX-License-Identifier: GPL-2.0

//! The VM tests, as the files in `tools/tests` describe them.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};
use glob::Pattern;

use crate::context::Context;
use crate::job::Job;
use crate::vm_test::VmTest;

mod hardware;
mod named;
mod near;
mod reader;
mod scope;
mod source;
mod text;

use reader::Reader;

/// The test that `make run` shows.
pub const SHOWN: &str = "return-shown";

/// Where the files are, in the checkout.
const DIR: &str = "tools/tests";

/// What a pattern has that a name has not.
const WILD: [char; 4] = ['*', '?', '[', ']'];

/// All tests, in the order in which they run: that of the names of the files, and in each file.
pub struct Catalog {
    /// The tests.
    pub tests: Vec<VmTest>,
    /// How many of them, the last ones, are in a file of the user's.
    of_case: usize,
}

impl Catalog {
    /// Reads the files of the checkout, and the user's if there is one.
    pub fn read(ctx: &Context) -> Result<Self> {
        let shown = |path: &Path| ctx.show(path);
        let reader = reader_of(&ctx.src.join(DIR), shown)?;
        let Some(path) = &ctx.case else {
            return Self::of(reader, None);
        };
        let text = fs::read_to_string(path).with_context(|| format!("reading {}", shown(path)))?;
        Self::of(reader, Some((shown(path), text)))
    }

    /// The tests that were read, and those of a file with this name and text.
    fn of(mut reader: Reader, case: Option<(String, String)>) -> Result<Self> {
        let mut of_case = 0;
        if let Some((shown, text)) = case {
            of_case = reader.add(shown.clone(), text)?;
            ensure!(of_case > 0, "{shown}: there is no `[[test]]` in it");
        }
        Ok(Self { tests: reader.tests()?, of_case })
    }

    /// The tests that are meant where none is named: those of the user's file, or else all.
    pub fn usual(&self) -> &[VmTest] {
        let first = if self.of_case > 0 { self.tests.len() - self.of_case } else { 0 };
        &self.tests[first..]
    }

    /// The jobs that have these names, or match them as patterns, each once; without names, the tests
    /// that are meant then, on all kernels that they are to run on.
    pub fn jobs(&self, names: &[String]) -> Result<Vec<Job>> {
        let mut jobs: Vec<Job> = Vec::new();
        if names.is_empty() {
            for test in self.usual() {
                jobs.push(Job::of(test));
                for variation in &test.variations {
                    jobs.push(Job::on(test, &variation.kernels)?);
                }
            }
        }
        for name in names {
            for job in self.matching(name)? {
                if jobs.iter().all(|other| other.name != job.name) {
                    jobs.push(job);
                }
            }
        }
        Ok(jobs)
    }

    /// The job called `name`, or those whose test matches it.  A pattern with kernels leaves tests out
    /// that cannot run on these.
    fn matching(&self, name: &str) -> Result<Vec<Job>> {
        let (base, kernels) = parts(name);
        if !base.contains(WILD) {
            return Ok(vec![self.job(name)?]);
        }
        let pattern = Pattern::new(base).with_context(|| format!("`{base}` is no pattern"))?;
        let tests: Vec<&VmTest> =
            self.tests.iter().filter(|test| pattern.matches(&test.name)).collect();
        if tests.is_empty() {
            let hint = near::hint(&base.replace(WILD, ""), self.names());
            bail!("no VM test has a name like `{base}`{hint}");
        }
        let Some(kernels) = kernels else {
            return Ok(tests.into_iter().map(Job::of).collect());
        };
        let (jobs, errors): (Vec<_>, Vec<_>) =
            tests.into_iter().map(|test| Job::on(test, kernels)).partition(Result::is_ok);
        match errors.into_iter().find_map(Result::err) {
            Some(error) if jobs.is_empty() => Err(error),
            _ => jobs.into_iter().collect(),
        }
    }

    /// What the tests are called.
    fn names(&self) -> impl Iterator<Item = &str> {
        self.tests.iter().map(|test| test.name.as_str())
    }

    /// The job called `test`, or `test@kernels` as [`Job::on`] takes them.
    pub fn job(&self, name: &str) -> Result<Job> {
        let (base, kernels) = parts(name);
        let test = self.tests.iter().find(|test| test.name == base).with_context(|| {
            format!("there is no VM test `{base}`{}", near::hint(base, self.names()))
        })?;
        kernels.map_or_else(|| Ok(Job::of(test)), |kernels| Job::on(test, kernels))
    }

    /// What runs on other kernels than those that the tests are about, named as on the command line,
    /// and whether only the full run has it.
    pub fn variations(&self) -> impl Iterator<Item = (String, bool)> {
        self.tests.iter().flat_map(|test| {
            let named = |kernels| format!("{}@{kernels}", test.name);
            test.variations.iter().map(move |other| (named(&other.kernels), other.is_repetition))
        })
    }

    /// What only the full run has, named likewise.
    pub fn repetitions(&self) -> impl Iterator<Item = String> {
        let tests = self.tests.iter().filter(|test| test.is_repetition);
        let variations = self.variations().filter(|(_, is_repetition)| *is_repetition);
        tests.map(|test| test.name.clone()).chain(variations.map(|(name, _)| name))
    }

    /// The tests that cover the pitfall called `letter`.
    pub fn covering(&self, letter: &str) -> impl Iterator<Item = &str> {
        let covers = move |test: &&VmTest| test.pitfalls.iter().any(|other| other == letter);
        self.tests.iter().filter(covers).map(|test| test.name.as_str())
    }
}

/// The name of a test, and that of the kernels if there is one.
fn parts(name: &str) -> (&str, Option<&str>) {
    name.split_once('@').map_or((name, None), |(base, kernels)| (base, Some(kernels)))
}

/// Reads all files in a directory, in the order of their names; `shown` is what users call them.
fn reader_of(dir: &Path, shown: impl Fn(&Path) -> String) -> Result<Reader> {
    let mut paths = fs::read_dir(dir)
        .and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>, _>>())
        .with_context(|| format!("reading {}", shown(dir)))?;
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "toml"));
    paths.sort();
    let mut reader = Reader::new();
    let mut count = 0;
    for path in paths {
        let text =
            fs::read_to_string(&path).with_context(|| format!("reading {}", shown(&path)))?;
        count += reader.add(shown(&path), text)?;
    }
    if count == 0 {
        bail!("{}: no file there has a test", shown(dir));
    }
    Ok(reader)
}

#[cfg(test)]
impl Catalog {
    /// The tests of this checkout.
    pub fn ours() -> Self {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
        let reader = reader_of(&dir, |path| path.display().to_string()).expect("files");
        Self::of(reader, None).unwrap_or_else(|error| panic!("{error}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judges;

    #[test]
    fn everything_with_a_name_is_used() {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
        let reader = reader_of(&dir, |path| path.display().to_string()).expect("files");
        let tests = reader.tests().expect("tests");
        assert_eq!(reader.unused(), [""; 0]);
        for (name, judge) in judges::ALL {
            let mut used = tests.iter().filter_map(|test| test.judge);
            assert!(used.any(|used| std::ptr::fn_addr_eq(used, *judge)), "{name}");
        }
    }

    #[test]
    fn tests_that_others_name_are_there() {
        let catalog = Catalog::ours();
        assert!(catalog.job(SHOWN).is_ok());
        assert!(catalog.tests.iter().any(|test| !test.is_repetition));
    }

    #[test]
    fn what_runs_on_other_kernels_runs_on_debug_kernels() {
        let catalog = Catalog::ours();
        for (name, _) in catalog.variations() {
            assert!(catalog.job(&name).expect(&name).has_debug(), "{name}");
        }
    }

    /// A catalog of few tests, the last of which is in a file of the user's.
    fn few() -> Result<Catalog> {
        let file = |names: &[&str]| {
            let test = "[[test]]\nabout = \"x\"\ntimeout = 1\nstages = [\"s\", \"s\"]\n";
            let tests = names.iter().map(|name| format!("{test}name = \"{name}\"\n"));
            tests.collect::<Vec<_>>().concat()
        };
        let mut reader = Reader::new();
        let stage = "[stage.s]\ncommands = [{ test = \"x\" }]\n";
        reader.add("x.toml".to_owned(), stage.to_owned() + &file(&["one", "once", "two"]))?;
        let case = file(&["bug"]) + "also_on = [\"debug\"]\n";
        Catalog::of(reader, Some(("/home/x/bug.toml".to_owned(), case)))
    }

    fn named(names: &[&str]) -> Result<Vec<String>, String> {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let jobs = few().expect("a catalog").jobs(&names).map_err(|error| error.to_string())?;
        Ok(jobs.into_iter().map(|job| job.name).collect())
    }

    #[test]
    fn names_may_be_patterns() {
        let is = |names: &[&str], jobs: &[&str]| {
            assert_eq!(named(names).expect("jobs"), jobs, "{names:?}");
        };
        is(&["two", "one"], &["two", "one"]);
        is(&["on*"], &["one", "once"]);
        is(&["on*", "?n[ce]", "two"], &["one", "once", "two"]);
        is(&["*@debug"], &["one@debug", "once@debug", "two@debug", "bug@debug"]);
        is(&["t*@main-debug", "one@debug"], &["two@main-debug", "one@debug"]);
    }

    #[test]
    fn pattern_that_matches_nothing_is_an_error_with_near_names() {
        let error = |name| named(&[name]).expect_err(name);
        assert_eq!(error("onc-*"), "no VM test has a name like `onc-*`; near are: once");
        assert_eq!(error("twoo"), "there is no VM test `twoo`; near are: two");
        assert_eq!(error("x*"), "no VM test has a name like `x*`; there are: bug, once, one, two");
        assert!(error("t*@fast").starts_with("two@fast: no kernel `fast`"));
        assert_eq!(error("t["), "`t[` is no pattern");
    }

    #[test]
    fn tests_of_the_users_file_are_meant_where_none_is_named() {
        assert_eq!(named(&[]).expect("jobs"), ["bug", "bug@debug"]);
        let ours = Catalog::ours();
        assert_eq!(ours.usual().len(), ours.tests.len());
    }

    #[test]
    fn examples_in_the_documentation_are_right() {
        for file in ["../README.md", "tests/README.md"] {
            let dir = Path::new(env!("CARGO_MANIFEST_DIR"));
            let text = fs::read_to_string(dir.join(file)).expect(file);
            let (_, rest) = text.split_once("```toml\n").expect("an example");
            let (example, _) = rest.split_once("```").expect("its end");
            let reader = reader_of(&dir.join("tests"), |_| String::new()).expect("files");
            let case = Some((file.to_owned(), example.to_owned()));
            let catalog = Catalog::of(reader, case).unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(catalog.usual().len(), 1);
        }
    }

    #[test]
    fn mistakes_in_the_users_file_are_where_the_user_has_it() {
        let case = |text: &str| {
            let case = Some(("/home/x/bug.toml".to_owned(), text.to_owned()));
            Catalog::of(Reader::new(), case).map(|_| ()).expect_err(text).to_string()
        };
        assert_eq!(case("[machine.x]"), "/home/x/bug.toml: there is no `[[test]]` in it");
        assert!(case("\n[[test]]\nnaem = 1").starts_with("/home/x/bug.toml:3:1: unknown field"));
    }

    #[test]
    fn directory_without_tests_is_an_error() {
        let dir = std::env::temp_dir().join(format!("lu-catalog-{}", std::process::id()));
        fs::create_dir_all(&dir).expect("a directory");
        fs::write(dir.join("x.toml"), "[machine.nic]\n").expect("a file");
        let error = reader_of(&dir, |_| "tests".to_owned()).map(|_| ()).expect_err("no test");
        fs::remove_dir_all(&dir).expect("it was there");
        assert_eq!(error.to_string(), "tests: no file there has a test");
    }
}
