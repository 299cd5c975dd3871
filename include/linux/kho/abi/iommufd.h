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
 * names a chain of KHO blocks (see include/linux/kho/abi/block.h) whose entries
 * are struct iommufd_hwpt_ser. The rest of the page of the struct iommufd_ser is
 * zero: a record that something follows is longer than this one, and is refused.
 *
 * Other kernels hand over iommufds in another layout, as files called
 * ``iommufd-v1``. The name of these ends with ``-rs``, so that neither reads what
 * the other wrote. A file of theirs is one that no handler is for: the log names it
 * when somebody retrieves or finishes it, its session cannot be finished, and other
 * sessions are not affected.
 */

/**
 * IOMMUFD_LUO_COMPATIBLE - The name of the iommufd file handler.
 */
#define IOMMUFD_LUO_COMPATIBLE	"iommufd-rs-v1"

#ifndef __ASSEMBLER__

/**
 * struct iommufd_hwpt_ser - An HWPT that is preserved.
 * @token:       What user space calls it: no other HWPT of the iommufd has it.
 * @domain_data: The physical address of the struct iommu_domain_ser of its page
 *               table, or zero if that is not handed over. Devices that are
 *               attached were stopped then.
 */
struct iommufd_hwpt_ser {
	u64 token;
	u64 domain_data;
} __packed;

static_assert(sizeof(struct iommufd_hwpt_ser) == 16);
static_assert(offsetof(struct iommufd_hwpt_ser, token) == 0);
static_assert(offsetof(struct iommufd_hwpt_ser, domain_data) == 8);

/**
 * struct iommufd_ser - An iommufd that is preserved.
 * @nr_hwpts: How many HWPTs there are.
 * @reserved: Zero.
 * @hwpts:    The physical address of the first block of them, or zero if there
 *            are none.
 */
struct iommufd_ser {
	u32 nr_hwpts;
	u32 reserved;
	u64 hwpts;
} __packed;

static_assert(sizeof(struct iommufd_ser) == 16);
static_assert(offsetof(struct iommufd_ser, nr_hwpts) == 0);
static_assert(offsetof(struct iommufd_ser, reserved) == 4);
static_assert(offsetof(struct iommufd_ser, hwpts) == 8);

#endif /* !__ASSEMBLER__ */

#endif /* _LINUX_KHO_ABI_IOMMUFD_H */
