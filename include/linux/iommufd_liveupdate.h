/* SPDX-License-Identifier: GPL-2.0 */

#ifndef _LINUX_IOMMUFD_LIVEUPDATE_H
#define _LINUX_IOMMUFD_LIVEUPDATE_H

#include <linux/types.h>

struct iommufd_device;
struct liveupdate_session;

/*
 * What drivers that preserve devices ask of iommufd.
 *
 * Documented where it is implemented: drivers/iommu/iommufd/lu_rs/exports.rs.
 */
#ifdef CONFIG_IOMMUFD_LIVEUPDATE

int iommufd_device_liveupdate_preserve(struct iommufd_device *idev,
				       struct liveupdate_session *session,
				       bool has_pasids);

#endif

#endif /* _LINUX_IOMMUFD_LIVEUPDATE_H */
