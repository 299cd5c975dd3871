// SPDX-License-Identifier: GPL-2.0

//! The VM tests, as the files in `tools/tests` describe them.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, bail};

use crate::context::Context;
use crate::job::Job;
use crate::vm::VmTest;

mod near;
mod reader;
mod source;
mod text;

use reader::Reader;

/// The test that `make run` shows.
pub const SHOWN: &str = "vfio-kexec-igb";

/// Where the files are, in the checkout.
const DIR: &str = "tools/tests";

/// All tests, in the order in which they run: that of the names of the files, and in each file.
pub struct Catalog {
    /// The tests.
    pub tests: Vec<VmTest>,
}

impl Catalog {
    /// Reads the files of the checkout.
    pub fn read(ctx: &Context) -> Result<Self> {
        let reader = reader_of(&ctx.src.join(DIR), |path| ctx.show(path))?;
        Ok(Self { tests: reader.tests()? })
    }

    /// The job called `test`, or `test@kernels` as [`Job::on`] takes them.
    pub fn job(&self, name: &str) -> Result<Job> {
        let (base, kernels) = name.split_once('@').map_or((name, None), |(a, b)| (a, Some(b)));
        let test = self.tests.iter().find(|test| test.name == base).with_context(|| {
            let names = self.tests.iter().map(|test| test.name.as_str());
            format!("there is no VM test `{base}`{}", near::hint(base, names))
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
        Self { tests: reader.tests().unwrap_or_else(|error| panic!("{error}")) }
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
