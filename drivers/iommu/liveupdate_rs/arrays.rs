// SPDX-License-Identifier: GPL-2.0

//! Pages of records, as they are handed over.
//!
//! See `struct iommu_array_hdr_ser`.

use super::entries::{
    RawDeviceSer,
    RawDomainSer,
    RawHwSer, //
};
use core::mem::size_of;
use kernel::prelude::*;
use zerocopy_derive::{
    Immutable,
    KnownLayout, //
};

/// How many bytes of a page are for objects.
const OBJECTS: usize = 4096 - 2 * size_of::<u64>();

/// A record that other records refer to by its physical address.
pub(crate) trait Object: FromBytes + IntoBytes + zerocopy::Immutable + Copy {
    /// Returns the reference count of the record, which is zero in a free slot.
    fn ref_count(&self) -> u32;
}

impl Object for RawHwSer {
    fn ref_count(&self) -> u32 {
        self.hdr.ref_count
    }
}

impl Object for RawDomainSer {
    fn ref_count(&self) -> u32 {
        self.hdr.ref_count
    }
}

impl Object for RawDeviceSer {
    fn ref_count(&self) -> u32 {
        self.hdr.ref_count
    }
}

/// A page of objects of one type.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct RawArray {
    pub(crate) next_array_phys: u64,
    pub(crate) nr_objects: u64,
    objects: [u8; OBJECTS],
}

/// Returns how many objects of a type a page has room for.
pub(crate) const fn room_for<T>() -> usize {
    OBJECTS / size_of::<T>()
}

/// Returns where in a page the object at this index is.
pub(crate) const fn offset_of<T>(index: usize) -> usize {
    size_of::<RawArray>() - OBJECTS + index * size_of::<T>()
}

impl RawArray {
    /// Makes a page without objects.
    pub(crate) const fn new() -> Self {
        Self {
            next_array_phys: 0,
            nr_objects: 0,
            objects: [0; OBJECTS],
        }
    }

    /// Returns the number of objects, free ones counted, if there is room for so many.
    pub(crate) fn len<T>(&self) -> Option<usize> {
        usize::try_from(self.nr_objects)
            .ok()
            .filter(|len| *len <= room_for::<T>())
    }

    fn bytes<T>(&self, index: usize) -> Option<&[u8]> {
        let start = index.checked_mul(size_of::<T>())?;

        self.objects.get(start..start.checked_add(size_of::<T>())?)
    }

    /// Returns the object at an index, unless it is free.
    pub(crate) fn get<T: Object>(&self, index: usize) -> Option<T> {
        if index >= self.len::<T>()? {
            return None;
        }
        T::read_from_bytes(self.bytes::<T>(index)?)
            .ok()
            .filter(|object| object.ref_count() != 0)
    }

    /// Stores an object at an index, if there is room for it.
    pub(crate) fn set<T: Object>(&mut self, index: usize, object: &T) {
        let start = index * size_of::<T>();

        if let Some(bytes) = self.objects.get_mut(start..start + size_of::<T>()) {
            bytes.copy_from_slice(object.as_bytes());
        }

        // CAST: lossless, both have 64 bits.
        self.nr_objects = self.nr_objects.max(index as u64 + 1);
    }

    /// Frees the object at an index.
    pub(crate) fn free<T: Object>(&mut self, index: usize) {
        let start = index * size_of::<T>();

        if let Some(bytes) = self.objects.get_mut(start..start + size_of::<T>()) {
            bytes.fill(0);
        }
    }
}
