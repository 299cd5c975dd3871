// SPDX-License-Identifier: GPL-2.0

#include <linux/export.h>
#include <linux/iommu_liveupdate.h>

/* Rust has no EXPORT_SYMBOL_GPL(); these are for iommufd and vfio in modules. */
EXPORT_SYMBOL_GPL(iommu_liveupdate_register_flb);
EXPORT_SYMBOL_GPL(iommu_liveupdate_unregister_flb);
EXPORT_SYMBOL_GPL(iommu_preserve_domain);
EXPORT_SYMBOL_GPL(iommu_unpreserve_domain);
EXPORT_SYMBOL_GPL(iommu_preserve_device);
EXPORT_SYMBOL_GPL(iommu_unpreserve_device);
EXPORT_SYMBOL_GPL(iommu_liveupdate_is_group_whole);
EXPORT_SYMBOL_GPL(iommu_liveupdate_is_unchanged);
EXPORT_SYMBOL_GPL(iommu_liveupdate_finish_device);
EXPORT_SYMBOL_GPL(iommu_liveupdate_take_domain);
EXPORT_SYMBOL_GPL(iommu_liveupdate_adopt);
EXPORT_SYMBOL_GPL(iommu_liveupdate_refuse_domain);
EXPORT_SYMBOL_GPL(iommu_liveupdate_transfer_domain);
EXPORT_SYMBOL_GPL(iommu_liveupdate_can_end);
EXPORT_SYMBOL_GPL(iommu_liveupdate_end_domain);
EXPORT_SYMBOL_GPL(iommu_liveupdate_end_owner);
EXPORT_SYMBOL_GPL(iommu_liveupdate_end_lost);
