// SPDX-License-Identifier: GPL-2.0

//! The pure part of `kernel::liveupdate::iommu`.

#[path = "../../../../rust/kernel/liveupdate/iommu/records.rs"]
mod records;

// As in the kernel, no more.
pub use self::records::{
    BadRecord,
    Device,
    Domain,
    Features,
    Format,
    PasidDirectory,
    RawDevMapSer,
    RawDeviceIntelSer,
    RawDeviceSer,
    RawDomainSer,
    RawFlbSer,
    RawHdrSer,
    RawHwSer,
    RawIntelSer,
    Table,
    Unit,
    CONTEXT_TABLES,
    VERSION, //
};
