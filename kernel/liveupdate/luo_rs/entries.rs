// SPDX-License-Identifier: GPL-2.0

//! Says what the bytes of a kernel image mean: which records that kernel can take over.
//!
//! An image was chosen by the administrator. One that is odd in any way declares nothing.
//!
//! Offsets and sizes are in bytes, numbers are little-endian.

/// What a declaration begins with: `LIVEUPDATE_IMAGE_MAGIC`.
pub(crate) const MAGIC: [u8; 4] = *b"LiUp";

/// How large a declaration can be: `LIVEUPDATE_IMAGE_MAX_SIZE`.
pub(crate) const MAX_SIZE: usize = 4096;

/// The fields of the setup header that lead to `kernel_info`.
///
/// `Documentation/arch/x86/boot.rst`, "The Real-Mode Kernel Header".
mod setup {
    /// `setup_sects`, a byte.
    pub(super) const SECTORS: usize = 0x1f1;

    /// What `setup_sects` means if it is zero.
    pub(super) const SECTORS_OF_OLD: usize = 4;

    /// How large a sector is.
    pub(super) const SECTOR: usize = 512;

    /// `boot_flag`, and what it has to be.
    pub(super) const BOOT_FLAG: (usize, u16) = (0x1fe, 0xaa55);

    /// `header`, and what it has to be.
    pub(super) const HEADER: (usize, [u8; 4]) = (0x202, *b"HdrS");

    /// `version`, and the first one that has `kernel_info_offset`.
    pub(super) const VERSION: (usize, u16) = (0x206, 0x020f);

    /// `kernel_info_offset`, which counts from the end of the setup code.
    pub(super) const KERNEL_INFO: usize = 0x268;
}

/// What `kernel_info` begins with.
///
/// `Documentation/arch/x86/boot.rst`, "Details of the kernel_info Fields".
const KERNEL_INFO_MAGIC: [u8; 4] = *b"LToP";

/// Where `kernel_info` has its size without chunks, its size with them, and the end of what each
/// kernel has that has any.
const KERNEL_INFO: (usize, usize, usize) = (4, 8, 12);

/// The most that is looked at of `kernel_info`: chunks for others may be there, too.
const MAX_KERNEL_INFO: usize = 1 << 16;

/// The magic number of a chunk, and its size.
const CHUNK_HEADER: usize = 8;

/// What is between a name and its version.
const VERSION_MARK: &[u8] = b"-v";

fn bytes_at<const N: usize>(bytes: &[u8], offset: usize) -> Option<[u8; N]> {
    bytes.get(offset..)?.first_chunk().copied()
}

fn u16_at(bytes: &[u8], offset: usize) -> Option<u16> {
    bytes_at(bytes, offset).map(u16::from_le_bytes)
}

fn size_at(bytes: &[u8], offset: usize) -> Option<usize> {
    let size = u32::from_le_bytes(bytes_at(bytes, offset)?);

    usize::try_from(size).ok()
}

/// Returns whether a name ends with a version: `-v` and a decimal number.
fn has_version(name: &[u8]) -> bool {
    let digits = name.iter().rev().take_while(|byte| byte.is_ascii_digit());
    let (rest, version) = name.split_at(name.len() - digits.count());

    !version.is_empty() && rest.len() > VERSION_MARK.len() && rest.ends_with(VERSION_MARK)
}

/// The names that a kernel declares: at least one.
///
/// # Invariants
///
/// Each name ends with a version, and a null byte follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Names<'a>(&'a [u8]);

impl<'a> Names<'a> {
    /// Reads a declaration, if it is nothing else, and each name has a version.
    pub(crate) fn declared(declaration: &'a [u8]) -> Option<Self> {
        let (header, names) = declaration.split_at_checked(CHUNK_HEADER)?;

        let is_whole = bytes_at(header, 0)? == MAGIC
            && size_at(header, MAGIC.len())? == declaration.len()
            && declaration.len() <= MAX_SIZE;
        let all_have_versions = names
            .strip_suffix(&[0])?
            .split(|byte| *byte == 0)
            .all(has_version);
        if !is_whole || !all_have_versions {
            return None;
        }

        // INVARIANT: Just checked.
        Some(Self(names))
    }

    /// Returns the names, without the null bytes.
    pub(crate) fn iter(self) -> impl Iterator<Item = &'a [u8]> + Clone {
        let names = self.0.strip_suffix(&[0]).unwrap_or(self.0);

        names.split(|byte| *byte == 0)
    }
}

/// Returns the names that a kernel image for x86 declares, if it has a declaration.
///
/// It has none if there is more than one, or something else that makes no sense.
pub(crate) fn names(image: &[u8]) -> Option<Names<'_>> {
    Names::declared(declaration(kernel_info(image)?)?)
}

/// Returns the `kernel_info` of a kernel image for x86, with its chunks.
fn kernel_info(image: &[u8]) -> Option<&[u8]> {
    let has_info = u16_at(image, setup::BOOT_FLAG.0)? == setup::BOOT_FLAG.1
        && bytes_at(image, setup::HEADER.0)? == setup::HEADER.1
        && u16_at(image, setup::VERSION.0)? >= setup::VERSION.1;
    if !has_info {
        return None;
    }

    let sectors = match *image.get(setup::SECTORS)? {
        0 => setup::SECTORS_OF_OLD,
        sectors => usize::from(sectors),
    };
    // The boot sector is not among them. No overflow: there are 255 at most.
    let setup = (sectors + 1) * setup::SECTOR;
    let start = setup.checked_add(size_at(image, setup::KERNEL_INFO)?)?;

    let info = image.get(start..)?;
    if bytes_at(info, 0)? != KERNEL_INFO_MAGIC {
        return None;
    }
    let size = size_at(info, KERNEL_INFO.1)?;
    if size > MAX_KERNEL_INFO {
        return None;
    }
    info.get(..size)
}

/// Returns the chunk of a `kernel_info` that is a declaration, if there is one.
fn declaration(info: &[u8]) -> Option<&[u8]> {
    let fixed = size_at(info, KERNEL_INFO.0)?;
    if fixed < KERNEL_INFO.2 {
        return None;
    }

    let mut rest = info.get(fixed..)?;
    let mut found = None;
    // `MAX_KERNEL_INFO / CHUNK_HEADER` chunks at most.
    while !rest.is_empty() {
        let size = size_at(rest, MAGIC.len())?;
        if size < CHUNK_HEADER {
            return None;
        }

        let (chunk, after) = rest.split_at_checked(size)?;
        if chunk.starts_with(&MAGIC) && found.replace(chunk).is_some() {
            return None;
        }
        rest = after;
    }
    found
}
