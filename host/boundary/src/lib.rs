// SPDX-License-Identifier: GPL-2.0

//! What must not compile at the boundary to C, and what must.
//!
//! The crate in `stand_in` has files of `rust/kernel/liveupdate` and of leaves that talk to C, against
//! declarations that stand in for the kernel's. It is type-checked only, once as it is, and once with
//! each misuse in the place of a line of `misuses.rs`: then the compiler has to refuse that line, with
//! the error that the misuse is about, and nothing else.

use std::{
    env,
    ffi::OsString,
    path::{
        Path,
        PathBuf, //
    },
    process::Command, //
};

/// An error of the compiler.
#[derive(Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Its number, such as `E0382`.
    pub code: String,
    /// The name of the file that it is in.
    pub file: String,
}

/// Type-checks the crate in `stand_in`, with a misuse or without one, and returns the errors.
///
/// What the compiler writes goes into the directory `out`.
///
/// # Panics
///
/// If there is no compiler, or if it fails without a word.
pub fn refusals(misuse: Option<&str>, out: &Path) -> Vec<Refusal> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("stand_in/lib.rs");
    let mut rustc = Command::new(env::var_os("RUSTC").unwrap_or_else(|| OsString::from("rustc")));

    rustc
        .args([
            "--edition=2021",
            "--crate-type=lib",
            "--crate-name=boundary",
        ])
        .args([
            "--cap-lints=allow",
            "--error-format=short",
            "--emit=metadata",
        ])
        // A file of its own: the compiler replaces what is there, even if it is a device.
        .arg("-o")
        .arg(out.join(format!("{}.rmeta", misuse.unwrap_or("right"))))
        .arg(root);
    if let Some(misuse) = misuse {
        rustc.arg("--cfg").arg(format!("misuse=\"{misuse}\""));
    }

    let output = rustc
        .output()
        .unwrap_or_else(|err| panic!("{rustc:?}: {err}"));
    let said = String::from_utf8_lossy(&output.stderr);
    let found: Vec<Refusal> = said.lines().filter_map(refusal).collect();

    assert_eq!(output.status.success(), found.is_empty(), "{said}");
    found
}

/// The error of a line `path:line:column: error[code]: message`.
fn refusal(line: &str) -> Option<Refusal> {
    let (place, error) = line.split_once(": error")?;
    let code = match error.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?.0,
        None => "",
    };
    let path = place.rsplitn(3, ':').last()?;

    Some(Refusal {
        code: code.into(),
        file: path.rsplit('/').next()?.into(),
    })
}
