/* SPDX-License-Identifier: GPL-2.0 */

#ifndef _LINUX_KHO_ABI_IMAGE_H
#define _LINUX_KHO_ABI_IMAGE_H

/**
 * DOC: Live Update Image ABI
 *
 * This header defines what the image of a kernel says of the records that the
 * kernel can take over. The kernel before it reads that when it loads the image,
 * and leaves devices running only into one that says enough.
 *
 * It is a contract between kernels. One that is changed gets another magic
 * number: an image that has no declaration with ``LIVEUPDATE_IMAGE_MAGIC`` takes
 * over nothing.
 *
 * On x86, the declaration is a chunk of variable size in kernel_info, see
 * Documentation/arch/x86/boot.rst. It consists of
 *
 * - ``LIVEUPDATE_IMAGE_MAGIC``, four bytes,
 * - the size of all of it in bytes, four bytes, little-endian,
 *   ``LIVEUPDATE_IMAGE_MAX_SIZE`` at most,
 * - names, each of which ends with a null byte: at least one.
 *
 * A name stands for one version of records, and ends with that: ``-v`` and a
 * decimal number. What is misunderstood by a kernel that knows another version has
 * another name. An FLB whose records have the version in them is declared by its
 * name and that version. The order has no meaning.
 */

/**
 * LIVEUPDATE_IMAGE_MAGIC - The first four bytes of a declaration.
 */
#define LIVEUPDATE_IMAGE_MAGIC		"LiUp"

/**
 * LIVEUPDATE_IMAGE_MAX_SIZE - How large a declaration can be, in bytes.
 */
#define LIVEUPDATE_IMAGE_MAX_SIZE	4096

#ifdef __ASSEMBLER__

#include <linux/kho/abi/iommu.h>
#include <linux/kho/abi/iommufd.h>
#include <linux/kho/abi/kexec_handover.h>
#include <linux/kho/abi/luo.h>
#include <linux/kho/abi/memfd.h>
#include <linux/kho/abi/pci.h>
#include <linux/kho/abi/vfio_pci.h>
#include <linux/stringify.h>

/*
 * The declaration of this kernel: it is in the image, for the kernel before this
 * one, and in the kernel itself, which asks the same of the kernel after it.
 *
 * One line for each name without which a device that goes on running would not
 * be in good hands. 64 names at most.
 */
.macro liveupdate_image_declaration
	.set	liveupdate_image, .
	.ascii	LIVEUPDATE_IMAGE_MAGIC
	.long	liveupdate_image_end - liveupdate_image
	.asciz	KHO_FDT_COMPATIBLE
	.asciz	LUO_ABI_COMPATIBLE
#ifdef CONFIG_LIVEUPDATE_MEMFD
	.asciz	MEMFD_LUO_FH_COMPATIBLE
#endif
#ifdef CONFIG_PCI_LIVEUPDATE
	.ascii	PCI_LUO_FLB_COMPATIBLE, "-v", __stringify(PCI_LUO_FLB_VERSION), "\0"
	.ascii	PCI_LUO_DRIVER_FLB_COMPATIBLE, "-v", __stringify(PCI_LUO_FLB_VERSION), "\0"
	.ascii	PCI_LUO_PROBE_FLB_COMPATIBLE, "-v", __stringify(PCI_LUO_FLB_VERSION), "\0"
#endif
#ifdef CONFIG_IOMMU_LIVEUPDATE
	.ascii	IOMMU_LUO_FLB_COMPATIBLE, "-v", __stringify(IOMMU_LUO_FLB_VERSION), "\0"
#endif
#ifdef CONFIG_IOMMUFD_LIVEUPDATE
	.asciz	IOMMUFD_LUO_COMPATIBLE
#endif
#ifdef CONFIG_VFIO_PCI_LIVEUPDATE
	.asciz	VFIO_PCI_LUO_FH_COMPATIBLE
#endif
	.set	liveupdate_image_end, .
.endm

#endif /* __ASSEMBLER__ */

#endif /* _LINUX_KHO_ABI_IMAGE_H */
