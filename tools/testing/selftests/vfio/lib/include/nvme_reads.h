/* SPDX-License-Identifier: GPL-2.0-only */
/* Reads from an NVMe controller that nobody waits for. Needs libvfio's driver for it. */
#ifndef SELFTESTS_VFIO_LIB_INCLUDE_NVME_READS_H
#define SELFTESTS_VFIO_LIB_INCLUDE_NVME_READS_H

#include <libvfio.h>

int nvme_reads_start(struct vfio_pci_device *device, iova_t src, iova_t dst, u32 count);
int nvme_reads_done(const void *region, u32 count, bool *done);

#endif /* SELFTESTS_VFIO_LIB_INCLUDE_NVME_READS_H */
