// SPDX-License-Identifier: GPL-2.0

//! Entries of root, context and PASID tables.
//!
//! Each table is 512 quadwords. An entry is a structure for each of its quadwords that means
//! something here, with bit numbers within that quadword: where the specification counts on from the
//! quadwords before, it has 64 more for each.
//!
//! Sections are those of the "Intel Virtualization Technology for Directed I/O Architecture
//! Specification"; the C views are in `drivers/iommu/intel/iommu.h` and `pasid.h`.

use kernel::bitfield;

bitfield! {
    /// Either half of a root entry: one context table.
    ///
    /// Section 9.1, "Root Entry", whose upper half is reserved, and section 9.2, "Scalable-Mode
    /// Root Entry", whose halves are of devices 0 to 15 and 16 to 31. `struct root_entry`.
    pub(crate) struct RootHalf(u64) {
        /// CTP, LCTP or UCTP: the frame of the context table.
        63:12 frame;
        /// P, LP or UP: there is a context table.
        0:0 present;
    }
}

bitfield! {
    /// The lower quadword of a context entry in legacy mode.
    ///
    /// Section 9.3, "Context Entry". `struct context_entry`.
    pub(crate) struct LegacyLow(u64) {
        /// SSPTPTR: the frame of the first table of the second stage.
        63:12 frame;
        /// TT: whether translated requests (ATS) are allowed, or translation is
        /// bypassed.
        3:2 translation;
        /// FPD: faults are not reported.
        1:1 quiet;
        /// P: the device translates.
        0:0 present;
    }
}

bitfield! {
    /// The upper quadword of a context entry in legacy mode.
    ///
    /// Section 9.3, "Context Entry".
    pub(crate) struct LegacyHigh(u64) {
        /// DID: the tag of the translations.
        23:8 did;
        /// AW: the number of levels, less two.
        2:0 width;
    }
}

bitfield! {
    /// The first quadword of a context entry in scalable mode, which has four.
    ///
    /// Section 9.4, "Scalable-Mode Context-Entry". `struct context_entry`.
    pub(crate) struct ScalableLow(u64) {
        /// PASIDDIRPTR: the frame of the PASID directory.
        63:12 frame;
        /// PDTS: the number of entries of the directory, as log2, less seven.
        11:9 size;
        /// PRE: the device may request pages.
        4:4 page_requests;
        /// PASIDE: the device may use PASIDs.
        3:3 pasids;
        /// DTE: the device may translate by itself.
        2:2 device_tlb;
        /// FPD: faults are not reported.
        1:1 quiet;
        /// P: the device translates.
        0:0 present;
    }
}

bitfield! {
    /// The second quadword of a context entry in scalable mode.
    ///
    /// Section 9.4, "Scalable-Mode Context-Entry".
    pub(crate) struct ScalableHigh(u64) {
        /// RID_PASID: the PASID of requests that have none.
        19:0 pasid;
    }
}

bitfield! {
    /// An entry of a PASID directory.
    ///
    /// Section 9.5, "Scalable-Mode PASID Directory Entry". `struct pasid_dir_entry`.
    pub(crate) struct PasidDirectoryEntry(u64) {
        /// SMPTBLPTR: the frame of the PASID table.
        63:12 frame;
        /// P: there is a PASID table.
        0:0 present;
    }
}

bitfield! {
    /// The first quadword of an entry of a PASID table, which has eight.
    ///
    /// Section 9.6, "Scalable-Mode PASID Table Entry". `struct pasid_entry`.
    pub(crate) struct PasidFirst(u64) {
        /// SSPTPTR: the frame of the first table of the second stage.
        63:12 frame;
        /// SSADE: the second stage notes what is accessed.
        9:9 dirty;
        /// PGTT: which stages there are.
        8:6 stages;
        /// AW: the number of levels of the second stage, less two.
        4:2 width;
        /// FPD: faults are not reported.
        1:1 quiet;
        /// P: the PASID translates.
        0:0 present;
    }
}

bitfield! {
    /// The second quadword of an entry of a PASID table.
    ///
    /// Section 9.6, "Scalable-Mode PASID Table Entry".
    pub(crate) struct PasidSecond(u64) {
        /// PGSNP: all accesses snoop the caches.
        24:24 snoop;
        /// PWSNP: reading tables snoops the caches.
        23:23 walk_snoop;
        /// DID: the tag of the translations.
        15:0 did;
    }
}

bitfield! {
    /// The third quadword of an entry of a PASID table.
    ///
    /// Section 9.6, "Scalable-Mode PASID Table Entry".
    pub(crate) struct PasidThird(u64) {
        /// FSPTPTR: the frame of the first table of the first stage.
        63:12 frame;
        /// FSPM: the number of levels of the first stage, less four.
        3:2 mode;
    }
}

/// How many quadwords a table has.
pub(crate) const WORDS: usize = 512;

/// How many quadwords an entry of a PASID table has.
pub(crate) const PASID_ENTRY_WORDS: usize = 8;

/// What TT has for a device without a translation cache: `CONTEXT_TT_MULTI_LEVEL`.
pub(crate) const SECOND_STAGE_UNTRANSLATED: u64 = 0;

/// What TT has for a device with one: `CONTEXT_TT_DEV_IOTLB`.
pub(crate) const SECOND_STAGE_AND_ATS: u64 = 1;

/// What PGTT has for the first stage alone: `PASID_ENTRY_PGTT_FL_ONLY`.
pub(crate) const FIRST_STAGE_ONLY: u64 = 1;

/// What PGTT has for the second stage alone: `PASID_ENTRY_PGTT_SL_ONLY`.
pub(crate) const SECOND_STAGE_ONLY: u64 = 2;
