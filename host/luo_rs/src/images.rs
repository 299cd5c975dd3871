// SPDX-License-Identifier: GPL-2.0

//! Makes images, as the build of a kernel does.

// Here and not in the crate root: the pure files shall not find it.
extern crate std;

use std::{
    vec,
    vec::Vec, //
};

/// How long the setup code of an image is that has as little of it as there can be.
pub(crate) const SETUP: usize = 2 * 512;

/// Returns a chunk, with its header.
pub(crate) fn chunk(magic: [u8; 4], data: &[u8]) -> Vec<u8> {
    let size = u32::try_from(8 + data.len()).unwrap();

    [&magic, &size.to_le_bytes()[..], data].concat()
}

/// Returns a declaration of these names.
pub(crate) fn declaration<'a>(names: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
    let names: Vec<u8> = names
        .into_iter()
        .flat_map(|name| name.iter().copied().chain([0]))
        .collect();

    chunk(*b"LiUp", &names)
}

/// Returns a `kernel_info` with these chunks.
pub(crate) fn kernel_info(chunks: &[u8]) -> Vec<u8> {
    let total = u32::try_from(16 + chunks.len()).unwrap();
    let mut info = b"LToP".to_vec();

    for value in [16, total, 0x8000_000c] {
        info.extend(value.to_le_bytes());
    }
    info.extend(chunks);
    info
}

/// Returns an image that has this right after its setup code, as its `kernel_info`.
pub(crate) fn image(info: &[u8]) -> Vec<u8> {
    let mut image = vec![0; SETUP];

    image[0x1f1] = 1;
    image[0x1fe..0x200].copy_from_slice(&[0x55, 0xaa]);
    image[0x202..0x206].copy_from_slice(b"HdrS");
    image[0x206..0x208].copy_from_slice(&[0x0f, 0x02]);
    image.extend(info);
    image
}

/// Returns an image that declares these names.
pub(crate) fn declaring<'a>(names: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
    image(&kernel_info(&declaration(names)))
}
