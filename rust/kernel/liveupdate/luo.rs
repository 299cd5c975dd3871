// SPDX-License-Identifier: GPL-2.0

//! What the Live Update Orchestrator was handed over, for kernels in which it does not run.
//!
//! C header: [`include/linux/kho/abi/luo.h`](srctree/include/linux/kho/abi/luo.h)

use super::{
    Handle,
    PhysRef, //
};
use crate::{
    bindings,
    error::to_result,
    page::PAGE_SIZE,
    prelude::*, //
};
use core::mem::size_of;
use zerocopy_derive::{
    Immutable,
    KnownLayout, //
};

/// The length of [`RawLuoSer::compatible`]: `LUO_ABI_COMPAT_LEN`.
const COMPATIBLE_LENGTH: usize = bindings::LUO_ABI_COMPATIBLE.len().next_multiple_of(8);

/// All that was handed over: `struct luo_ser`.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct RawLuoSer {
    compatible: [u8; COMPATIBLE_LENGTH],
    liveupdate_num: u64,
    sessions_pa: u64,
    flbs_pa: u64,
}

crate::assert_same_layout!(
    RawLuoSer,
    luo_ser {
        compatible,
        liveupdate_num,
        sessions_pa,
        flbs_pa
    }
);

/// An FLB: `struct luo_flb_ser`.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct RawFlbSer {
    name: [u8; bindings::LIVEUPDATE_FLB_COMPAT_LENGTH as usize],
    data: u64,
    count: u64,
}

crate::assert_same_layout!(RawFlbSer, luo_flb_ser { name, data, count });

/// What goes before the FLBs: `struct luo_flb_header_ser`.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct RawFlbHeaderSer {
    pgcnt: u64,
    count: u64,
}

crate::assert_same_layout!(RawFlbHeaderSer, luo_flb_header_ser { pgcnt, count });

/// How many FLBs fit into the one page that LUO has for them.
const MAX_FLBS: usize = (PAGE_SIZE - size_of::<RawFlbHeaderSer>()) / size_of::<RawFlbSer>();

/// The FLBs.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct RawFlbs {
    header: RawFlbHeaderSer,
    flbs: [RawFlbSer; MAX_FLBS],
}

/// Returns the physical address of LUO's record from the previous kernel's KHO tree.
fn find() -> Result<u64> {
    let mut phys = 0;
    let mut size = 0;

    // SAFETY: The name is a string, and the pointers are valid for writes.
    to_result(unsafe {
        bindings::kho_retrieve_subtree(
            bindings::LUO_KHO_ENTRY_NAME.as_ptr().cast(),
            &mut phys,
            &mut size,
        )
    })?;
    Ok(phys)
}

/// Returns whether the previous kernel handed over anything, whatever this kernel makes of it.
///
/// From `early_initcall` on.
pub fn was_handed_over() -> bool {
    find().is_ok()
}

/// Returns the handle of an FLB that the previous kernel handed over: an allegation.
///
/// For kernels in which the Live Update Orchestrator does not run, to say what is dropped: it is
/// freed. From `early_initcall` on. May sleep.
pub fn flb_handed_over(name: &CStr) -> Option<Handle> {
    let luo = PhysRef::<RawLuoSer>::try_from(find().ok()?)
        .ok()?
        .peek()
        .ok()?;
    if !luo.compatible.starts_with(bindings::LUO_ABI_COMPATIBLE) {
        return None;
    }

    let flbs = PhysRef::<RawFlbs>::try_from(luo.flbs_pa)
        .ok()?
        .restore()
        .ok()?;
    let count = usize::try_from(flbs.header.count).ok()?;

    flbs.flbs
        .iter()
        .take(count)
        .find(|flb| flb.name.starts_with(name.to_bytes_with_nul()))
        .map(|flb| Handle::new(flb.data))
}
