// SPDX-License-Identifier: GPL-2.0

//! What is handed over of IOMMUs: the records, and what may be believed of them.
//!
//! Of use to the IOMMU core and to the drivers of IOMMUs, which share them.
//!
//! C header: [`include/linux/kho/abi/iommu.h`](srctree/include/linux/kho/abi/iommu.h)

mod records;

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

use crate::{
    bindings,
    ffi::{
        c_int,
        c_long,
        c_void, //
    },
    prelude::*, //
};

/// Counts pages of tables that were handed over, before they are this kernel's, or takes them off the count.
///
/// `virt` says which memory the pages are counted for: that of its folio.
///
/// # Safety
///
/// `virt` points to memory in the direct map that was handed over, or is the caller's.
pub unsafe fn account(virt: *mut c_void, pages: isize) {
    // SAFETY: By function requirement.
    let folio = unsafe { bindings::virt_to_folio(virt) };
    // SAFETY: It is a folio.
    let node = unsafe { bindings::folio_pgdat(folio) };

    // CAST: lossless, both have the size of a pointer.
    let count = pages as c_long;
    // SAFETY: As above.
    unsafe { bindings::mod_node_page_state(node, bindings::node_stat_item_NR_IOMMU_PAGES, count) };
    // CAST: lossless for as many tables as there can be, and what C code does.
    let count = pages as c_int;
    // SAFETY: As above.
    unsafe {
        bindings::lruvec_stat_mod_folio(
            folio,
            bindings::node_stat_item_NR_SECONDARY_PAGETABLE,
            count,
        )
    };
}

/// Has the folio of a table be as if `iommu_alloc_pages_node_sz()` had made it, so that
/// `iommu_free_pages()` can free it.
///
/// `incoherent` says that the IOMMU reads it past the caches.
///
/// # Safety
///
/// `virt` points to memory in the direct map that was just restored, and that nobody else knows.
pub unsafe fn restored(virt: *mut c_void, incoherent: bool) {
    // SAFETY: By function requirement.
    let folio = unsafe { bindings::virt_to_folio(virt) };
    // A folio of tables is one of these.
    let table = folio.cast::<bindings::ioptdesc>();
    // SAFETY: By function requirement.
    let pages = unsafe { bindings::folio_nr_pages(folio) };

    // SAFETY: By function requirement.
    unsafe { (*table).__bindgen_anon_1.incoherent = incoherent.into() };
    // CAST: lossless, memory is not as large.
    //
    // SAFETY: By function requirement.
    unsafe { account(virt, pages as isize) };
}

static_assert!(VERSION == bindings::IOMMU_LUO_FLB_VERSION);
static_assert!(Format::SecondStage as u32 == bindings::IOMMU_DOMAIN_SER_VTDSS);
static_assert!(Format::FirstStage as u32 == bindings::IOMMU_DOMAIN_SER_X86_64);
static_assert!(Features::INCOHERENT == bindings::IOMMU_DOMAIN_SER_INCOHERENT);
static_assert!(Features::FORCE_COHERENCE == bindings::IOMMU_DOMAIN_SER_FORCE_COHERENCE);
static_assert!(Features::NEST_PARENT == bindings::IOMMU_DOMAIN_SER_NEST_PARENT);
static_assert!(Features::DIRTY_TRACKING == bindings::IOMMU_DOMAIN_SER_DIRTY_TRACKING);
static_assert!(Unit::INTEL == bindings::IOMMU_SER_INTEL as u64);
static_assert!(Unit::SCALABLE == bindings::IOMMU_INTEL_SER_SCALABLE);

crate::assert_same_layout!(
    RawFlbSer,
    iommu_flb_ser {
        version,
        reserved,
        iommu_array_phys,
        iommu_domain_array_phys,
        device_array_phys
    }
);
crate::assert_same_layout!(RawHdrSer, iommu_hdr_ser { ref_count, flags });
crate::assert_same_layout!(
    RawDomainSer,
    iommu_domain_ser {
        hdr,
        top_table_phys,
        nr_tables,
        format,
        features,
        top_level,
        vasz
    }
);
crate::assert_same_layout!(
    RawDevMapSer,
    iommu_dev_map_ser {
        attachment_id,
        domain_phys,
        iommu_phys
    }
);
crate::assert_same_layout!(
    RawDeviceIntelSer,
    iommu_device_intel_ser {
        pasid_table,
        max_pasid
    }
);
crate::assert_same_layout!(
    RawDeviceSer,
    iommu_device_ser {
        hdr,
        devid,
        pci_domain_nr,
        map,
        dma_owner_token,
        intel
    }
);
crate::assert_same_layout!(
    RawIntelSer,
    iommu_intel_ser {
        root_table,
        irq_table,
        cap,
        ecap,
        flags,
        irq_order,
        context_tables_bitmap
    }
);
crate::assert_same_layout!(
    RawHwSer,
    iommu_hw_ser {
        hdr,
        token,
        type_,
        intel
    }
);
