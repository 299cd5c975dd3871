// SPDX-License-Identifier: GPL-2.0

//! What has to hold of any bytes at all.

use crate::{
    entries::{
        self,
        Names, //
    },
    images,
    plan::Declared, //
};

/// Reads bytes as if they were an image; and as if they were the `kernel_info` of one, the chunks
/// there, or the names in one of these.
///
/// Returns whether they declare something in one of these ways.
///
/// # Panics
///
/// If they declare something that they do not say.
pub fn fuzz_image(bytes: &[u8]) -> bool {
    let named = images::chunk(*b"LiUp", bytes);

    // All of them in any case.
    declares(bytes)
        | declares(&images::image(bytes))
        | declares(&images::image(&images::kernel_info(bytes)))
        | declares(&images::image(&images::kernel_info(&named)))
}

fn declares(image: &[u8]) -> bool {
    let Some(names) = entries::names(image) else {
        return false;
    };

    // What is read is written again as it was.
    let declaration = images::declaration(names.iter());
    assert!(image
        .windows(declaration.len())
        .any(|part| part == declaration));
    assert_eq!(Names::declared(&declaration), Some(names));
    assert_eq!(
        entries::names(&images::declaring(names.iter())),
        Some(names)
    );
    assert!(names
        .iter()
        .all(|name| !name.is_empty() && !name.contains(&0)));

    // It is enough for a kernel that hands over the same, as far as there are bits.
    let lacks = Declared::by(names, Some(names)).lacks(names);
    assert_eq!(lacks.names().count(), names.iter().skip(64).count());
    // It is not enough for one that hands over more.
    let more = images::declaration(names.iter().take(1).chain([&b"another-v1"[..]]));
    if let Some(more) = Names::declared(&more) {
        let lacks = Declared::by(more, Some(names)).lacks(more);
        assert_eq!(
            lacks.is_empty(),
            names.iter().any(|name| name == b"another-v1")
        );
    }
    true
}
