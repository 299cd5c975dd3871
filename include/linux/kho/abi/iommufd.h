/* SPDX-License-Identifier: GPL-2.0 */

#ifndef _LINUX_KHO_ABI_IOMMUFD_H
#define _LINUX_KHO_ABI_IOMMUFD_H

#ifndef __ASSEMBLER__
#include <linux/build_bug.h>
#include <linux/stddef.h>
#include <linux/types.h>
#endif

/**
 * DOC: IOMMUFD Live Update ABI
 *
 * This header defines what one kernel tells the next about an iommufd that is
 * preserved across a live update.
 *
 * It is a contract between kernels: any change of the structures increments the
 * version in ``IOMMUFD_LUO_COMPATIBLE``.
 *
 * The handle of the file is the physical address of a struct iommufd_ser. That
 * names chains of KHO blocks (see include/linux/kho/abi/block.h): of struct
 * iommufd_hwpt_ser in the order of their tokens, of struct iommufd_ioas_ser in the
 * order of their IDs, of the struct iommufd_area_ser and struct iommufd_range_ser
 * of all IOASes, first those of the first IOAS, and of struct iommufd_device_ser in the
 * order of their addresses. The rest of the page of the struct iommufd_ser is zero: a
 * record that something follows is longer than this one, and is refused.
 *
 * No two objects have the same ID. Memory is named by the token of a memfd in the
 * session of the iommufd.
 *
 * Other kernels hand over iommufds in another layout, as files called
 * ``iommufd-v1``. The name of these ends with ``-rs`` and a version, so that neither
 * reads what the other wrote. A file of theirs is one that no handler is for: the log
 * names it when somebody retrieves or finishes it, its session cannot be finished,
 * and other sessions are not affected.
 */

/**
 * IOMMUFD_LUO_COMPATIBLE - The name of the iommufd file handler.
 */
#define IOMMUFD_LUO_COMPATIBLE	"iommufd-rs-v2"

#ifndef __ASSEMBLER__

/* Large pages are off: IOMMU_OPTION_HUGE_PAGES */
#define IOMMUFD_IOAS_SER_SMALL_PAGES	0x1

/**
 * struct iommufd_ioas_ser - An IOAS that is preserved.
 * @id:         Its ID.
 * @flags:      IOMMUFD_IOAS_SER_SMALL_PAGES, or zero.
 * @nr_areas:   How many struct iommufd_area_ser are of this IOAS.
 * @nr_allowed: How many struct iommufd_range_ser are of this IOAS.
 */
struct iommufd_ioas_ser {
	u32 id;
	u32 flags;
	u32 nr_areas;
	u32 nr_allowed;
} __packed;

static_assert(sizeof(struct iommufd_ioas_ser) == 16);
static_assert(offsetof(struct iommufd_ioas_ser, id) == 0);
static_assert(offsetof(struct iommufd_ioas_ser, flags) == 4);
static_assert(offsetof(struct iommufd_ioas_ser, nr_areas) == 8);
static_assert(offsetof(struct iommufd_ioas_ser, nr_allowed) == 12);

/* What devices may do to an area, and how */
#define IOMMUFD_AREA_SER_READ		0x1
#define IOMMUFD_AREA_SER_WRITE		0x2
#define IOMMUFD_AREA_SER_CACHE		0x4

/**
 * struct iommufd_area_ser - A range of an IOAS that memory of a memfd is mapped at.
 * @iova:     The first address.
 * @length:   How many bytes.
 * @token:    The token of the memfd.
 * @offset:   The first byte of the memfd.
 * @prot:     IOMMUFD_AREA_SER_READ, IOMMUFD_AREA_SER_WRITE, IOMMUFD_AREA_SER_CACHE.
 * @reserved: Zero.
 */
struct iommufd_area_ser {
	u64 iova;
	u64 length;
	u64 token;
	u64 offset;
	u32 prot;
	u32 reserved;
} __packed;

static_assert(sizeof(struct iommufd_area_ser) == 40);
static_assert(offsetof(struct iommufd_area_ser, iova) == 0);
static_assert(offsetof(struct iommufd_area_ser, length) == 8);
static_assert(offsetof(struct iommufd_area_ser, token) == 16);
static_assert(offsetof(struct iommufd_area_ser, offset) == 24);
static_assert(offsetof(struct iommufd_area_ser, prot) == 32);
static_assert(offsetof(struct iommufd_area_ser, reserved) == 36);

/**
 * struct iommufd_range_ser - A range that IOMMU_IOAS_ALLOW_IOVAS allowed.
 * @start: The first address.
 * @last:  The last address.
 */
struct iommufd_range_ser {
	u64 start;
	u64 last;
} __packed;

static_assert(sizeof(struct iommufd_range_ser) == 16);
static_assert(offsetof(struct iommufd_range_ser, start) == 0);
static_assert(offsetof(struct iommufd_range_ser, last) == 8);

/* The kernel chose the HWPT for an IOAS */
#define IOMMUFD_HWPT_SER_AUTO		0x1
/* IOMMU_HWPT_ALLOC_NEST_PARENT, IOMMU_HWPT_ALLOC_PASID */
#define IOMMUFD_HWPT_SER_NEST_PARENT	0x2
#define IOMMUFD_HWPT_SER_PASID		0x4
/* DMA is coherent whatever a device asks for */
#define IOMMUFD_HWPT_SER_ENFORCE_CC	0x8

/**
 * struct iommufd_hwpt_ser - An HWPT that is preserved.
 * @token:       What user space calls it: no other HWPT of the iommufd has it.
 * @domain_data: The physical address of the struct iommu_domain_ser of its page
 *               table, or zero if that is not handed over. Devices that are
 *               attached were stopped then.
 * @id:          Its ID.
 * @ioas_id:     The ID of its IOAS, which is preserved, too.
 * @flags:       Of the bits IOMMUFD_HWPT_SER_*.
 * @reserved:    Zero.
 */
struct iommufd_hwpt_ser {
	u64 token;
	u64 domain_data;
	u32 id;
	u32 ioas_id;
	u32 flags;
	u32 reserved;
} __packed;

static_assert(sizeof(struct iommufd_hwpt_ser) == 32);
static_assert(offsetof(struct iommufd_hwpt_ser, token) == 0);
static_assert(offsetof(struct iommufd_hwpt_ser, domain_data) == 8);
static_assert(offsetof(struct iommufd_hwpt_ser, id) == 16);
static_assert(offsetof(struct iommufd_hwpt_ser, ioas_id) == 20);
static_assert(offsetof(struct iommufd_hwpt_ser, flags) == 24);
static_assert(offsetof(struct iommufd_hwpt_ser, reserved) == 28);

/**
 * struct iommufd_device_ser - A PCI device that is bound to an iommufd.
 * @id:       Its ID.
 * @domain:   Its PCI domain.
 * @bdf:      Its bus, device and function number.
 * @reserved: Zero.
 */
struct iommufd_device_ser {
	u32 id;
	u32 domain;
	u32 bdf;
	u32 reserved;
} __packed;

static_assert(sizeof(struct iommufd_device_ser) == 16);
static_assert(offsetof(struct iommufd_device_ser, id) == 0);
static_assert(offsetof(struct iommufd_device_ser, domain) == 4);
static_assert(offsetof(struct iommufd_device_ser, bdf) == 8);
static_assert(offsetof(struct iommufd_device_ser, reserved) == 12);

/* Pinned pages are accounted to processes, not to users: IOMMU_OPTION_RLIMIT_MODE */
#define IOMMUFD_SER_ACCOUNT_MM		0x1

/**
 * struct iommufd_ser - An iommufd that is preserved.
 * @nr_hwpts:   How many HWPTs there are.
 * @nr_ioases:  How many IOASes there are.
 * @nr_areas:   How many areas all IOASes have.
 * @nr_allowed: How many allowed ranges all IOASes have.
 * @nr_devices: How many devices there are.
 * @flags:      IOMMUFD_SER_ACCOUNT_MM, or zero.
 * @hwpts:      The physical address of the first block of HWPTs, or zero if there
 *              are none.
 * @ioases:     The same for IOASes.
 * @areas:      The same for areas.
 * @allowed:    The same for allowed ranges.
 * @devices:    The same for devices.
 */
struct iommufd_ser {
	u32 nr_hwpts;
	u32 nr_ioases;
	u32 nr_areas;
	u32 nr_allowed;
	u32 nr_devices;
	u32 flags;
	u64 hwpts;
	u64 ioases;
	u64 areas;
	u64 allowed;
	u64 devices;
} __packed;

static_assert(sizeof(struct iommufd_ser) == 64);
static_assert(offsetof(struct iommufd_ser, nr_hwpts) == 0);
static_assert(offsetof(struct iommufd_ser, nr_ioases) == 4);
static_assert(offsetof(struct iommufd_ser, nr_areas) == 8);
static_assert(offsetof(struct iommufd_ser, nr_allowed) == 12);
static_assert(offsetof(struct iommufd_ser, nr_devices) == 16);
static_assert(offsetof(struct iommufd_ser, flags) == 20);
static_assert(offsetof(struct iommufd_ser, hwpts) == 24);
static_assert(offsetof(struct iommufd_ser, ioases) == 32);
static_assert(offsetof(struct iommufd_ser, areas) == 40);
static_assert(offsetof(struct iommufd_ser, allowed) == 48);
static_assert(offsetof(struct iommufd_ser, devices) == 56);

#endif /* !__ASSEMBLER__ */

#endif /* _LINUX_KHO_ABI_IOMMUFD_H */
