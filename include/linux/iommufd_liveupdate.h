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

/**
 * enum iommufd_liveupdate_passage - What becomes of what a device is attached to
 * @IOMMUFD_LIVEUPDATE_ENDS:    It ends, and the device is to be stopped.
 * @IOMMUFD_LIVEUPDATE_STAYS:   It stays as it is, and the device is to be stopped.
 * @IOMMUFD_LIVEUPDATE_GOES_ON: It stays as it is, in the next kernel, too: the
 *                              device may go on doing DMA.
 */
enum iommufd_liveupdate_passage {
	IOMMUFD_LIVEUPDATE_ENDS,
	IOMMUFD_LIVEUPDATE_STAYS,
	IOMMUFD_LIVEUPDATE_GOES_ON,
};

int iommufd_device_liveupdate_preserve(struct iommufd_device *idev,
				       struct liveupdate_session *session,
				       bool has_pasids);
void iommufd_device_liveupdate_unpreserve(struct iommufd_device *idev);

#endif

#endif /* _LINUX_IOMMUFD_LIVEUPDATE_H */
