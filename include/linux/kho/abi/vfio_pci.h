/* SPDX-License-Identifier: GPL-2.0 */

#ifndef _LINUX_KHO_ABI_VFIO_PCI_H
#define _LINUX_KHO_ABI_VFIO_PCI_H

#ifndef __ASSEMBLER__
#include <linux/build_bug.h>
#include <linux/stddef.h>
#include <linux/types.h>
#endif

/**
 * DOC: VFIO PCI Live Update ABI
 *
 * This header defines what one kernel tells the next about a vfio-pci device
 * file that is preserved across a live update.
 *
 * It is a contract between kernels: any change of the structure increments the
 * version in ``VFIO_PCI_LUO_FH_COMPATIBLE``.
 *
 * The handle of the file is the physical address of a
 * struct vfio_pci_core_device_ser. The rest of its page is zero: a record that
 * something follows is longer than this one, and is refused.
 *
 * Other kernels hand over files of vfio-pci called ``vfio-pci-v1``, whose records
 * begin with the same two fields. What follows them differs from kernel to kernel:
 * nothing, or the token of the iommufd that the device is attached to. What is
 * handed over is a page, so that nobody can tell how long the record in it is, and
 * a token that is not there reads as zero, which may be that of another file. So
 * the name of these files ends with ``-rs``, and neither reads what the other
 * wrote. A file of theirs is one that no handler is for: the log names it when
 * somebody retrieves or finishes it, its session cannot be finished, and its device
 * stays incoming. Other sessions are not affected.
 */

/**
 * VFIO_PCI_LUO_FH_COMPATIBLE - The name of the vfio-pci file handler.
 */
#define VFIO_PCI_LUO_FH_COMPATIBLE	"vfio-pci-rs-v1"

#ifndef __ASSEMBLER__

/**
 * struct vfio_pci_core_device_ser - The device of a preserved vfio-pci file.
 * @domain: The PCI domain (segment) of the device.
 * @bdf:    The bus number (high byte), device and function number (low byte).
 */
struct vfio_pci_core_device_ser {
	u32 domain;
	u16 bdf;
} __packed;

static_assert(sizeof(struct vfio_pci_core_device_ser) == 6);
static_assert(offsetof(struct vfio_pci_core_device_ser, domain) == 0);
static_assert(offsetof(struct vfio_pci_core_device_ser, bdf) == 4);

#endif /* !__ASSEMBLER__ */

#endif /* _LINUX_KHO_ABI_VFIO_PCI_H */
