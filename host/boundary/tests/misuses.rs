// SPDX-License-Identifier: GPL-2.0

//! Tries each misuse, and what is right in its place.

use boundary::Refusal;
use std::{
    fs,
    path::Path, //
};

/// The misuses, and the errors that they are refused with.
const MISUSES: [(&str, &str); 8] = [
    // There is nothing to do with the lock of another iommufd.
    ("lock_of_another_iommufd", "E0599"),
    // Nor without a lock.
    ("mark_without_lock", "E0599"),
    ("guard_after_release", "E0382"),
    ("hwpt_gone_before_its_lock", "E0505"),
    ("lock_in_another_task", "E0277"),
    ("reset_without_locks", "E0451"),
    ("preserved_out_of_nothing", "E0451"),
    ("unpreserved_twice", "E0382"),
];

fn refusals(misuse: Option<&str>) -> Vec<Refusal> {
    boundary::refusals(misuse, Path::new(env!("CARGO_TARGET_TMPDIR")))
}

#[test]
fn what_is_right_compiles() {
    assert_eq!(refusals(None), []);
}

#[test]
fn each_misuse_is_refused_for_its_own_reason() {
    for (misuse, code) in MISUSES {
        let expected = Refusal {
            code: code.into(),
            file: "misuses.rs".into(),
        };

        // Some compilers say so once, others for each field that is private.
        let mut found = refusals(Some(misuse));
        found.dedup();
        assert_eq!(found, [expected], "{misuse}");
    }
}

/// A misuse that nobody asks for would be refused or not.
#[test]
fn each_misuse_is_tried() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/stand_in/misuses.rs");
    let text = fs::read_to_string(path).expect(path);
    let written: Vec<&str> = text
        .split("#[cfg(misuse = \"")
        .skip(1)
        .filter_map(|rest| Some(rest.split_once('"')?.0))
        .collect();

    assert_eq!(written, MISUSES.map(|(misuse, _)| misuse));
    for misuse in written {
        let twin = format!("#[cfg(not(misuse = \"{misuse}\"))]");

        assert_eq!(text.matches(&twin).count(), 1, "{misuse}");
    }
}
