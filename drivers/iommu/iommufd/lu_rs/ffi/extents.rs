// SPDX-License-Identifier: GPL-2.0

//! Reads where pages are, by and by.

use super::pause;
use crate::plan::{
    Extent,
    Range, //
};
use kernel::{
    bindings,
    ffi::c_uint,
    fs::LocalFile,
    prelude::*, //
};

/// The size of a page of the CPU.
// CAST: lossless, it is a small number.
pub(super) const PAGE: u64 = kernel::page::PAGE_SIZE as u64;

/// How many extents are read at once.
const BATCH: usize = 32;

/// How many pages are looked at before others may run.
const PAGES: u64 = 1 << 16;

/// Returns the extents of so many pages, one per call, which `read` reads.
///
/// It is given the number of the next page, how many pages are left, and where to write extents, and
/// returns how many it wrote.
pub(super) fn extents(
    nr_pages: u64,
    mut read: impl FnMut(u64, u64, &mut [bindings::pt_iommu_extent]) -> Result<usize>,
) -> impl FnMut() -> Result<Option<Extent>> {
    let mut batch = [bindings::pt_iommu_extent::default(); BATCH];
    let (mut next, mut filled) = (0, 0);
    let mut page = 0;

    move || {
        if next == filled && page < nr_pages {
            pause()?;

            filled = read(page, (nr_pages - page).min(PAGES), &mut batch)?;
            next = 0;
        }

        let Some(extent) = batch[..filled.min(BATCH)].get(next) else {
            return Ok(None);
        };
        let extent = Extent {
            phys: extent.paddr,
            nr_pages: extent.len / PAGE,
        };

        next += 1;
        page = page.saturating_add(extent.nr_pages);
        Ok(Some(extent))
    }
}

/// Returns where the pages of a file are that are mapped at a range, from the first one on.
///
/// The file is in shmem, and loses no pages meanwhile: otherwise the extents may be those of pages
/// that it does not have any more.
///
/// # Errors
///
/// Each piece: as [`pause`].
pub(crate) fn file_extents(
    file: &LocalFile,
    range: Range,
) -> impl FnMut() -> Result<Option<Extent>> + '_ {
    extents(range.nr_pages, move |page, nr_pages, extents| {
        // CAST: lossless, it is a small number.
        //
        // SAFETY: By the type invariants of `LocalFile`. There are as many extents to write to, and
        // pages left to read.
        let filled = unsafe {
            bindings::iommufd_liveupdate_read_file(
                file.as_ptr(),
                range.index.saturating_add(page),
                nr_pages,
                extents.as_mut_ptr(),
                extents.len() as c_uint,
            )
        };

        // CAST: lossless, as above.
        Ok(filled as usize)
    })
}
