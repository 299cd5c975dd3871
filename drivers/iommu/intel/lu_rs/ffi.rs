// SPDX-License-Identifier: GPL-2.0

//! What VT-d's part has of C: remapping units, devices behind them, their tables and domains.

mod device;
mod domain;
mod tables;
mod unit;

pub(crate) use self::{
    device::{
        aliases_of,
        went_on_with_ats,
        VtdDevice, //
    },
    domain::{
        describe,
        did,
        release_domain,
        restore_domain,
        set_did,
        HeldDid,
        HeldDids, //
    },
    tables::{
        ContextTable,
        Directory,
        IncomingDirectory,
        IrqTable,
        OwnedDirectory,
        RootTable,
        Stays,
        TablePage,
        UncheckedEntries,
        UncheckedRoot,
        IRQ_TABLE_ORDER, //
    },
    unit::{
        with_unit,
        BootUnit,
        Unit, //
    },
};

use super::{
    super::entries::{
        DeviceRecord,
        PasidDirectory,
        UnitRecord,
        CONTEXT_TABLES, //
    },
    bits::{
        FIRST_STAGE_ONLY,
        PASID_ENTRY_WORDS,
        SECOND_STAGE_AND_ATS,
        SECOND_STAGE_ONLY,
        SECOND_STAGE_UNTRANSLATED, //
    },
    plan::SCALABLE_ROOT,
};
use core::mem::size_of;
use kernel::{
    bindings,
    page::PAGE_SIZE,
    prelude::*, //
};

static_assert!(SECOND_STAGE_UNTRANSLATED == bindings::CONTEXT_TT_MULTI_LEVEL as u64);
static_assert!(SECOND_STAGE_AND_ATS == bindings::CONTEXT_TT_DEV_IOTLB as u64);
static_assert!(FIRST_STAGE_ONLY == bindings::PASID_ENTRY_PGTT_FL_ONLY as u64);
static_assert!(SECOND_STAGE_ONLY == bindings::PASID_ENTRY_PGTT_SL_ONLY as u64);
static_assert!(SCALABLE_ROOT == bindings::DMA_RTADDR_SMT);
static_assert!(PASID_ENTRY_WORDS == size_of::<bindings::pasid_entry>() / size_of::<u64>());

static_assert!(DeviceRecord::FIRST_DID as u32 == bindings::IDA_START_DID);
// Half of a root entry is for one context table.
static_assert!(CONTEXT_TABLES == 2 * (PAGE_SIZE / size_of::<bindings::root_entry>()));
// One page of entries, and as many as there can be.
static_assert!(
    1 << PasidDirectory::FEWEST_LG2
        == PAGE_SIZE / size_of::<bindings::pasid_dir_entry>()
            * (bindings::PASID_PTE_MASK + 1) as usize
);
static_assert!(1 << PasidDirectory::MOST_LG2 == bindings::PASID_MAX);
// What this kernel hands over is believed by it.
static_assert!(IRQ_TABLE_ORDER <= UnitRecord::MAX_IRQ_ORDER);
