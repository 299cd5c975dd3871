// SPDX-License-Identifier: GPL-2.0

//! What has to hold of any bytes at all.

use crate::entries::{
    check,
    Hwpt,
    RawHwptSer,
    RawSer, //
};
use kernel::prelude::*;

/// Reads bytes as if they were handed over: a `struct iommufd_ser`, and all that can follow of
/// `struct iommufd_hwpt_ser`.
///
/// Returns whether they were accepted.
///
/// # Panics
///
/// If they are accepted and mean something else than they say.
pub fn fuzz_iommufd(bytes: &[u8]) -> bool {
    let Ok((record, rest)) = RawSer::read_from_prefix(bytes) else {
        return false;
    };
    let hwpts = || {
        rest.chunks_exact(size_of::<RawHwptSer>())
            .filter_map(|bytes| RawHwptSer::read_from_bytes(bytes).ok())
    };

    if check(&record, hwpts()).is_err() {
        return false;
    }

    assert_eq!(usize::try_from(record.nr_hwpts), Ok(hwpts().count()));
    assert!(hwpts().is_sorted_by_key(|hwpt| hwpt.token));
    for raw in hwpts() {
        assert_eq!(Hwpt::try_from(raw).map(RawHwptSer::from), Ok(raw));
    }
    true
}
