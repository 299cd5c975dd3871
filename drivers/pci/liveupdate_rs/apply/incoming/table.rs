// SPDX-License-Identifier: GPL-2.0

//! Reads tables of the previous kernel.

use crate::{
    entries::{
        BadRecord,
        RawSer, //
    },
    plan::List, //
};
use core::ops::{
    Deref,
    DerefMut, //
};
use kernel::{
    alloc::AllocError,
    liveupdate::{
        self,
        kho::IncomingBlocks,
        Handle,
        PhysRef,
        Record,
        RecordFlaw, //
    },
    prelude::*, //
};

/// Why a list of the previous kernel is not used.
pub(super) type ReadError = liveupdate::ReadError<BadRecord>;

impl RecordFlaw for BadRecord {}

/// A list of what was handed over, which grows however short memory is.
///
/// As many registers as are believed do not fit into the largest block of pages.
pub(super) struct Once<T>(KVVec<T>);

impl<T> Once<T> {
    pub(super) const fn new() -> Self {
        Self(KVVec::new())
    }
}

impl<T> Deref for Once<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.0
    }
}

impl<T> DerefMut for Once<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.0
    }
}

impl<T> List<T> for Once<T> {
    type Error = AllocError;

    fn append(&mut self, item: T) -> Result<(), AllocError> {
        self.0.push(item, GFP_KERNEL | __GFP_NOFAIL)
    }

    fn cut(&mut self, length: usize) {
        self.0.truncate(length);
    }
}

/// Takes over a table of the previous kernel: what it announces, and what it names.
pub(super) fn open<R: Record>(handle: Handle) -> Result<(RawSer, IncomingBlocks<R>), ReadError> {
    let record = PhysRef::<RawSer>::try_from(handle)?;
    record.peek()?.check_version()?;

    let record = record.restore()?;
    let blocks = IncomingBlocks::restore(record.devices)?;

    Ok((*record, blocks))
}
