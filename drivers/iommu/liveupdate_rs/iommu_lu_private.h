/* SPDX-License-Identifier: GPL-2.0 */

#ifndef IOMMU_LU_PRIVATE_H
#define IOMMU_LU_PRIVATE_H

#include <linux/types.h>

struct device;
struct iommu_domain;

/* For the Rust code: see iommu_lu_private.c */
bool iommu_liveupdate_is_pci(const struct device *dev);
void iommu_liveupdate_set_top(struct iommu_domain *domain, phys_addr_t top);
void iommu_liveupdate_forget_tables(struct iommu_domain *domain);
void iommu_liveupdate_restored(void *virt, bool incoherent);
void iommu_liveupdate_free_restored(void *virt);
void iommu_liveupdate_account(void *virt, long pgcnt);

#endif /* IOMMU_LU_PRIVATE_H */
