// SPDX-License-Identifier: GPL-2.0

//! State that a restored `struct iommu_domain` carries until it is freed.

use super::entries::DomainRecord;
use kernel::{
    new_mutex,
    prelude::*,
    sync::Mutex, //
};

/// What is kept with a domain that was handed over.
#[pin_data]
pub(crate) struct Kept {
    /// What is known of its tables.
    pub(crate) record: DomainRecord,
    /// The result of adopting the page table, once that was tried.
    #[pin]
    pub(crate) adopted: Mutex<Option<Result>>,
}

impl Kept {
    /// Keeps what is known of the tables of a domain, which are not this kernel's yet.
    pub(crate) fn new(record: DomainRecord) -> impl PinInit<Self> {
        pin_init!(Self {
            record,
            adopted <- new_mutex!(None),
        })
    }

    /// Returns whether all tables of the domain are this kernel's.
    pub(crate) fn is_adopted(&self) -> bool {
        matches!(*self.adopted.lock(), Some(Ok(())))
    }
}
