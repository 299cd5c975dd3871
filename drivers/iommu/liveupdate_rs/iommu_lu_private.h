/* SPDX-License-Identifier: GPL-2.0 */

#ifndef IOMMU_LU_PRIVATE_H
#define IOMMU_LU_PRIVATE_H

#include <linux/types.h>

struct device;
struct iommu_domain;

/* What the Rust code needs of macros and of the layout of page tables */

/**
 * iommu_liveupdate_is_pci - Ask whether a device is a PCI device
 * @dev: The device.
 *
 * Context: Any.
 * Return: true if it is one.
 */
bool iommu_liveupdate_is_pci(const struct device *dev);

/**
 * iommu_liveupdate_set_top - Give a new domain a page table that was handed over
 * @domain: The domain, which nobody uses yet. The empty table that it has is freed.
 * @top:    The physical address of the table that a walk begins with.
 *
 * Context: Any.
 */
void iommu_liveupdate_set_top(struct iommu_domain *domain, phys_addr_t top);

/**
 * iommu_liveupdate_forget_tables - Take the page table from a domain
 * @domain: The domain, which is about to be freed. It has an empty table afterwards.
 *
 * For tables that were handed over and cannot be freed, as they are not this
 * kernel's. Their memory stays reserved.
 *
 * Context: May sleep.
 */
void iommu_liveupdate_forget_tables(struct iommu_domain *domain);

/**
 * iommu_liveupdate_restored - Have restored pages be as if allocated for an IOMMU
 * @virt:       The pages, one folio, that kho_restore_folio() made this kernel's.
 * @incoherent: Whether the IOMMU reads them past the caches.
 *
 * They are what iommu_alloc_pages_node_sz() returns afterwards.
 *
 * Context: Any.
 */
void iommu_liveupdate_restored(void *virt, bool incoherent);

/**
 * iommu_liveupdate_free_restored - Free pages that were handed over
 * @virt: The pages, for which iommu_liveupdate_restored() was called.
 *
 * Context: Any.
 */
void iommu_liveupdate_free_restored(void *virt);

/**
 * iommu_liveupdate_account - Count pages of tables that were handed over
 * @virt:  A page of this kernel, whose node and memory cgroup they are counted for.
 * @pgcnt: How many more pages there are, or how many less if it is negative.
 *
 * The pages themselves are not restored yet.
 *
 * Context: Any.
 */
void iommu_liveupdate_account(void *virt, long pgcnt);

#endif /* IOMMU_LU_PRIVATE_H */
