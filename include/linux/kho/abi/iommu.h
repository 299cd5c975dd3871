/* SPDX-License-Identifier: GPL-2.0 */

#ifndef _LINUX_KHO_ABI_IOMMU_H
#define _LINUX_KHO_ABI_IOMMU_H

#ifndef __ASSEMBLER__
#include <linux/build_bug.h>
#include <linux/stddef.h>
#include <linux/types.h>
#endif

/**
 * DOC: IOMMU File-Lifecycle-Bound (FLB) Live Update ABI
 *
 * This header defines what one kernel tells the next about translations of DMA
 * that are preserved across a live update, and go on meanwhile.
 *
 * It is a contract between kernels: what is changed here has to be understood
 * by the next kernel. A change that it would misunderstand increments
 * ``IOMMU_LUO_FLB_VERSION``.
 *
 * The handle of the FLB is the physical address of a struct iommu_flb_ser. That
 * names three chains of pages, one for each of struct iommu_hw_ser, struct
 * iommu_domain_ser and struct iommu_device_ser. A page begins with a struct
 * iommu_array_hdr_ser; the objects follow it without gaps. An object stays where
 * it is while it is in use, and is known by its physical address.
 *
 * The tables that the objects name are pages that are preserved as folios.
 *
 * Other kernels hand over IOMMUs in other layouts, as FLBs called
 * ``iommu-liveupdate`` and ``iommu-liveupdate-v1``. The name of this one ends with
 * ``-rs``, so that neither reads what the other wrote. What they hand over is named
 * in the log and not used: their devices do not go on doing DMA.
 */

/**
 * IOMMU_LUO_FLB_COMPATIBLE - The name of the IOMMU FLB, for all of its versions.
 */
#define IOMMU_LUO_FLB_COMPATIBLE	"iommu-rs"

/**
 * IOMMU_LUO_FLB_VERSION - The version of the structures in this header.
 */
#define IOMMU_LUO_FLB_VERSION	1

/**
 * IOMMU_SER_INTEL - What struct iommu_hw_ser has as its type for Intel VT-d.
 */
#define IOMMU_SER_INTEL	1

/**
 * IOMMU_DOMAIN_SER_VTDSS - Second-stage tables of VT-d.
 */
#define IOMMU_DOMAIN_SER_VTDSS	1

/**
 * IOMMU_DOMAIN_SER_X86_64 - First-stage tables of VT-d.
 */
#define IOMMU_DOMAIN_SER_X86_64	2

/**
 * IOMMU_DOMAIN_SER_INCOHERENT - The IOMMU reads tables past the caches.
 */
#define IOMMU_DOMAIN_SER_INCOHERENT	1

/**
 * IOMMU_DOMAIN_SER_FORCE_COHERENCE - DMA cannot be made to pass the caches by.
 */
#define IOMMU_DOMAIN_SER_FORCE_COHERENCE	2

/**
 * IOMMU_DOMAIN_SER_NEST_PARENT - Allocated as the parent of nested domains.
 */
#define IOMMU_DOMAIN_SER_NEST_PARENT	4

/**
 * IOMMU_DOMAIN_SER_DIRTY_TRACKING - Allocated with dirty tracking.
 */
#define IOMMU_DOMAIN_SER_DIRTY_TRACKING	8

/**
 * IOMMU_INTEL_SER_SCALABLE - The unit translates in scalable mode.
 */
#define IOMMU_INTEL_SER_SCALABLE	1

#ifndef __ASSEMBLER__

/**
 * struct iommu_flb_ser - The preserved state of all IOMMUs, domains and devices.
 * @version:                 ``IOMMU_LUO_FLB_VERSION`` of the kernel that wrote
 *                           it. This field must never be moved, resized or
 *                           deleted.
 * @reserved:                Zero.
 * @iommu_array_phys:        First page of struct iommu_hw_ser, or zero.
 * @iommu_domain_array_phys: First page of struct iommu_domain_ser, or zero.
 * @device_array_phys:       First page of struct iommu_device_ser, or zero.
 */
struct iommu_flb_ser {
	u32 version;
	u32 reserved;
	u64 iommu_array_phys;
	u64 iommu_domain_array_phys;
	u64 device_array_phys;
};

static_assert(sizeof(struct iommu_flb_ser) == 32);
static_assert(offsetof(struct iommu_flb_ser, version) == 0);
static_assert(offsetof(struct iommu_flb_ser, reserved) == 4);
static_assert(offsetof(struct iommu_flb_ser, iommu_array_phys) == 8);
static_assert(offsetof(struct iommu_flb_ser, iommu_domain_array_phys) == 16);
static_assert(offsetof(struct iommu_flb_ser, device_array_phys) == 24);

/**
 * struct iommu_array_hdr_ser - The beginning of a page of objects.
 * @next_array_phys: The next page of the chain, or zero.
 * @nr_objects:      How many objects there are in this page, free ones counted.
 */
struct iommu_array_hdr_ser {
	u64 next_array_phys;
	u64 nr_objects;
};

static_assert(sizeof(struct iommu_array_hdr_ser) == 16);
static_assert(offsetof(struct iommu_array_hdr_ser, next_array_phys) == 0);
static_assert(offsetof(struct iommu_array_hdr_ser, nr_objects) == 8);

/**
 * struct iommu_hdr_ser - The beginning of an object.
 * @ref_count: How many others need the object, itself counted. An object with
 *             zero is free and to be skipped.
 * @flags:     Zero.
 */
struct iommu_hdr_ser {
	u32 ref_count;
	u32 flags;
};

static_assert(sizeof(struct iommu_hdr_ser) == 8);
static_assert(offsetof(struct iommu_hdr_ser, ref_count) == 0);
static_assert(offsetof(struct iommu_hdr_ser, flags) == 4);

/**
 * struct iommu_domain_ser - A domain whose page table is preserved.
 * @hdr:            The beginning of an object.
 * @top_table_phys: The table that a walk begins with.
 * @nr_tables:      How many tables there are, the first one counted.
 * @format:         ``IOMMU_DOMAIN_SER_VTDSS`` or ``IOMMU_DOMAIN_SER_X86_64``.
 * @features:       The bits ``IOMMU_DOMAIN_SER_INCOHERENT`` and those after it.
 * @top_level:      How many levels there are below the first table.
 * @vasz:           How many bits an address can have, the sign counted.
 */
struct iommu_domain_ser {
	struct iommu_hdr_ser hdr;
	u64 top_table_phys;
	u64 nr_tables;
	u32 format;
	u32 features;
	u32 top_level;
	u32 vasz;
};

static_assert(sizeof(struct iommu_domain_ser) == 40);
static_assert(offsetof(struct iommu_domain_ser, hdr) == 0);
static_assert(offsetof(struct iommu_domain_ser, top_table_phys) == 8);
static_assert(offsetof(struct iommu_domain_ser, nr_tables) == 16);
static_assert(offsetof(struct iommu_domain_ser, format) == 24);
static_assert(offsetof(struct iommu_domain_ser, features) == 28);
static_assert(offsetof(struct iommu_domain_ser, top_level) == 32);
static_assert(offsetof(struct iommu_domain_ser, vasz) == 36);

/**
 * struct iommu_dev_map_ser - How a device is attached to a domain.
 * @attachment_id: What the IOMMU tags translations of the domain with. For VT-d
 *                 the domain ID.
 * @domain_phys:   The struct iommu_domain_ser.
 * @iommu_phys:    The struct iommu_hw_ser.
 */
struct iommu_dev_map_ser {
	u64 attachment_id;
	u64 domain_phys;
	u64 iommu_phys;
};

static_assert(sizeof(struct iommu_dev_map_ser) == 24);
static_assert(offsetof(struct iommu_dev_map_ser, attachment_id) == 0);
static_assert(offsetof(struct iommu_dev_map_ser, domain_phys) == 8);
static_assert(offsetof(struct iommu_dev_map_ser, iommu_phys) == 16);

/**
 * struct iommu_device_intel_ser - The tables that VT-d has for a device alone.
 * @pasid_table: The PASID directory, or zero in legacy mode.
 * @max_pasid:   How many PASIDs the directory has room for, or zero.
 */
struct iommu_device_intel_ser {
	u64 pasid_table;
	u64 max_pasid;
};

static_assert(sizeof(struct iommu_device_intel_ser) == 16);
static_assert(offsetof(struct iommu_device_intel_ser, pasid_table) == 0);
static_assert(offsetof(struct iommu_device_intel_ser, max_pasid) == 8);

/**
 * struct iommu_device_ser - A PCI device whose DMA goes on.
 * @hdr:             The beginning of an object.
 * @devid:           The bus number (high byte), device and function number.
 * @pci_domain_nr:   The PCI domain (segment) of the device.
 * @map:             The domain that the device is attached to.
 * @dma_owner_token: The token of the file that owns the device's DMA, in the
 *                   session of the device.
 * @intel:           The tables that VT-d has for the device alone.
 */
struct iommu_device_ser {
	struct iommu_hdr_ser hdr;
	u32 devid;
	u32 pci_domain_nr;
	struct iommu_dev_map_ser map;
	u64 dma_owner_token;
	struct iommu_device_intel_ser intel;
};

static_assert(sizeof(struct iommu_device_ser) == 64);
static_assert(offsetof(struct iommu_device_ser, hdr) == 0);
static_assert(offsetof(struct iommu_device_ser, devid) == 8);
static_assert(offsetof(struct iommu_device_ser, pci_domain_nr) == 12);
static_assert(offsetof(struct iommu_device_ser, map) == 16);
static_assert(offsetof(struct iommu_device_ser, dma_owner_token) == 40);
static_assert(offsetof(struct iommu_device_ser, intel) == 48);

/**
 * struct iommu_intel_ser - A remapping unit of VT-d.
 * @root_table:            The root table.
 * @irq_table:             The interrupt remapping table, or zero.
 * @cap:                   The Capability Register.
 * @ecap:                  The Extended Capability Register.
 * @flags:                 The bit ``IOMMU_INTEL_SER_SCALABLE``.
 * @irq_order:             The size of the interrupt remapping table, as log2 of
 *                         a number of pages. Zero if there is none.
 * @context_tables_bitmap: The context tables that are preserved: bit 2 * n for
 *                         the one that the lower half of root entry n names, bit
 *                         2 * n + 1 for the upper half.
 */
struct iommu_intel_ser {
	u64 root_table;
	u64 irq_table;
	u64 cap;
	u64 ecap;
	u32 flags;
	u32 irq_order;
	u64 context_tables_bitmap[8];
};

static_assert(sizeof(struct iommu_intel_ser) == 104);
static_assert(offsetof(struct iommu_intel_ser, root_table) == 0);
static_assert(offsetof(struct iommu_intel_ser, irq_table) == 8);
static_assert(offsetof(struct iommu_intel_ser, cap) == 16);
static_assert(offsetof(struct iommu_intel_ser, ecap) == 24);
static_assert(offsetof(struct iommu_intel_ser, flags) == 32);
static_assert(offsetof(struct iommu_intel_ser, irq_order) == 36);
static_assert(offsetof(struct iommu_intel_ser, context_tables_bitmap) == 40);

/**
 * struct iommu_hw_ser - An IOMMU that goes on translating.
 * @hdr:   The beginning of an object.
 * @token: What it is known by. For VT-d the address of its registers.
 * @type:  ``IOMMU_SER_INTEL``.
 * @intel: The tables and registers of the unit, for VT-d.
 */
struct iommu_hw_ser {
	struct iommu_hdr_ser hdr;
	u64 token;
	u64 type;
	struct iommu_intel_ser intel;
};

static_assert(sizeof(struct iommu_hw_ser) == 128);
static_assert(offsetof(struct iommu_hw_ser, hdr) == 0);
static_assert(offsetof(struct iommu_hw_ser, token) == 8);
static_assert(offsetof(struct iommu_hw_ser, type) == 16);
static_assert(offsetof(struct iommu_hw_ser, intel) == 24);

#endif /* !__ASSEMBLER__ */

#endif /* _LINUX_KHO_ABI_IOMMU_H */
