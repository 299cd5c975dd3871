// SPDX-License-Identifier: GPL-2.0

//! `drivers/iommu/iommufd/lu_rs/ffi.rs`, as far as it is named.

#[path = "../../../drivers/iommu/iommufd/lu_rs/ffi/context.rs"]
mod context;
#[path = "../../../drivers/iommu/iommufd/lu_rs/ffi/handles.rs"]
mod handles;
#[path = "../../../drivers/iommu/iommufd/lu_rs/ffi/hwpt.rs"]
mod hwpt;
#[path = "../../../drivers/iommu/iommufd/lu_rs/ffi/no_iommu.rs"]
mod iommu;

pub(crate) use self::context::Context;

use core::marker::PhantomData;

struct Held;

#[derive(Clone, Copy)]
struct Device<'a>(PhantomData<&'a ()>);
