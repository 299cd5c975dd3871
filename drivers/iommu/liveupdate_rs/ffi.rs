// SPDX-License-Identifier: GPL-2.0

//! What this has of C: domains, devices, and the memory of tables.

mod device;
mod domain;
mod tables;

pub(crate) use self::{
    device::{
        Device,
        DeviceId,
        IommuId,
        LockedDevice,
        ReleaseLock, //
    },
    domain::{
        Domain,
        DomainId,
        DyingDomain,
        HeldDomain,
        NewDomain,
        OwnedDomain, //
    },
    tables::{
        free_tables,
        take_over,
        IncomingTable,
        PreservedTables, //
    },
};

use super::entries::{
    Features,
    Format,
    Kind,
    RawDevMapSer,
    RawDeviceIntelSer,
    RawDeviceSer,
    RawDomainSer,
    RawFlbSer,
    RawHdrSer,
    RawHwSer,
    RawIntelSer,
    UnitRecord,
    VERSION, //
};
use core::ptr;
use kernel::{
    bindings,
    liveupdate::abi,
    prelude::*, //
};

/// The name of the FLB.
pub(crate) const COMPATIBLE: &CStr = abi::name(bindings::IOMMU_LUO_FLB_COMPATIBLE);

/// Returns the kind of IOMMU that a driver's operations are for, if that hands over its tables.
fn kind_of(ops: &bindings::iommu_ops) -> Option<Kind> {
    ptr::eq(ops, &raw const bindings::intel_iommu_ops).then_some(Kind::Intel)
}

/// Stores a value where C code wants it.
///
/// # Safety
///
/// `to` can be written to.
pub(crate) unsafe fn store<T>(to: *mut T, value: T) {
    // SAFETY: By function requirement.
    unsafe { to.write(value) };
}

static_assert!(VERSION == bindings::IOMMU_LUO_FLB_VERSION);
static_assert!(Format::SecondStage as u32 == bindings::IOMMU_DOMAIN_SER_VTDSS);
static_assert!(Format::FirstStage as u32 == bindings::IOMMU_DOMAIN_SER_X86_64);
static_assert!(Features::INCOHERENT == bindings::IOMMU_DOMAIN_SER_INCOHERENT);
static_assert!(Features::FORCE_COHERENCE == bindings::IOMMU_DOMAIN_SER_FORCE_COHERENCE);
static_assert!(Features::NEST_PARENT == bindings::IOMMU_DOMAIN_SER_NEST_PARENT);
static_assert!(Features::DIRTY_TRACKING == bindings::IOMMU_DOMAIN_SER_DIRTY_TRACKING);
static_assert!(Kind::Intel as u64 == bindings::IOMMU_SER_INTEL as u64);
static_assert!(UnitRecord::SCALABLE == bindings::IOMMU_INTEL_SER_SCALABLE);

kernel::assert_same_layout!(
    RawFlbSer,
    iommu_flb_ser {
        version,
        reserved,
        iommu_array_phys,
        iommu_domain_array_phys,
        device_array_phys
    }
);
kernel::assert_same_layout!(RawHdrSer, iommu_hdr_ser { ref_count, flags });
kernel::assert_same_layout!(
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
kernel::assert_same_layout!(
    RawDevMapSer,
    iommu_dev_map_ser {
        attachment_id,
        domain_phys,
        iommu_phys
    }
);
kernel::assert_same_layout!(
    RawDeviceIntelSer,
    iommu_device_intel_ser {
        pasid_table,
        max_pasid
    }
);
kernel::assert_same_layout!(
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
kernel::assert_same_layout!(
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
kernel::assert_same_layout!(
    RawHwSer,
    iommu_hw_ser {
        hdr,
        token,
        type_,
        intel
    }
);
