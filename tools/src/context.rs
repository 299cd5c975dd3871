// SPDX-License-Identifier: GPL-2.0

//! Where things are, and how the user calls those places.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;

use anyhow::{Context as _, Result};

use crate::digest::Digest;

/// Where `tools/enter` puts the user's own file of VM tests.
const CASE: &str = "/case.toml";

/// The places of one run, inside the build root, and what the user chose.
pub struct Context {
    /// The checkout.
    pub src: PathBuf,
    /// All outputs.
    pub cache: PathBuf,
    /// The user's own kernel tree, if one was named with `KSRC=`.
    pub ksrc: Option<PathBuf>,
    /// The user's own file of VM tests, if one was named with `CASE=`.
    pub case: Option<PathBuf>,
    /// Parallel jobs of a build.
    pub jobs: usize,
    names: Vec<(PathBuf, String)>,
}

impl Context {
    /// Reads what `tools/enter` passed in the environment.
    pub fn from_env() -> Result<Self> {
        let var = |name| env::var(name).unwrap_or_default();
        let enter = "not set: start through tools/enter (`make help`)";
        let names: Vec<(PathBuf, String)> = [
            ("/cache", env::var("LU_CACHE").context(format!("LU_CACHE {enter}"))?),
            ("/src", env::var("LU_SRC").context(format!("LU_SRC {enter}"))?),
            ("/ksrc", var("LU_KSRC")),
            (CASE, var("LU_CASE")),
        ]
        .into_iter()
        .filter(|(_, host)| !host.is_empty())
        .map(|(inside, host)| (PathBuf::from(inside), host))
        .collect();
        let jobs = match var("J").as_str() {
            "" => thread::available_parallelism().map_or(1, usize::from),
            text => text.parse().with_context(|| format!("J={text} is not a number of jobs"))?,
        };
        let ctx = Self {
            src: "/src".into(),
            cache: "/cache".into(),
            ksrc: (!var("LU_KSRC").is_empty()).then(|| "/ksrc".into()),
            case: (!var("LU_CASE").is_empty()).then(|| CASE.into()),
            jobs,
            names,
        };
        for dir in ["logs", "stamps", "runs", "build"] {
            fs::create_dir_all(ctx.cache.join(dir))?;
        }
        Ok(ctx)
    }

    /// A path as the user knows it, outside the build root.
    pub fn show(&self, path: &Path) -> String {
        self.names
            .iter()
            .find_map(|(inside, host)| {
                let rest = path.strip_prefix(inside).ok()?;
                let all = Path::new(host).components().chain(rest.components());
                Some(all.collect::<PathBuf>().display().to_string())
            })
            .unwrap_or_else(|| path.display().to_string())
    }

    /// A path that the user gave, as it is called inside the build root.
    pub fn inside(&self, path: &Path) -> Option<PathBuf> {
        self.names
            .iter()
            .find_map(|(inside, host)| Some(inside.join(path.strip_prefix(host).ok()?)))
    }

    /// The log file of a stage.
    pub fn log(&self, stage: &str) -> PathBuf {
        self.cache.join("logs").join(format!("{stage}.log"))
    }

    /// The patched kernel tree: one per base, so that changing `KSRC` back and
    /// forth costs nothing.
    pub fn tree(&self) -> PathBuf {
        self.cache.join(format!("tree{}", self.suffix()))
    }

    /// The `O=` directory of the kernel called `variant`.
    pub fn build(&self, variant: &str) -> PathBuf {
        self.cache.join(format!("build/{variant}{}", self.suffix()))
    }

    /// Where the kselftests are built.
    pub fn selftests(&self) -> PathBuf {
        self.cache.join(format!("build/selftests{}", self.suffix()))
    }

    fn suffix(&self) -> String {
        self.names
            .iter()
            .find(|(inside, _)| inside == Path::new("/ksrc"))
            .map_or_else(String::new, |(_, host)| format!("-{}", Digest::of([host]).short()))
    }
}
