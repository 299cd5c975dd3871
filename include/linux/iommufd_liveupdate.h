/* SPDX-License-Identifier: GPL-2.0 */

#ifndef _LINUX_IOMMUFD_LIVEUPDATE_H
#define _LINUX_IOMMUFD_LIVEUPDATE_H

#include <linux/types.h>

struct iommufd_device;
struct liveupdate_session;

/*
 * What drivers that preserve files of devices ask of iommufd.
 */
#ifdef CONFIG_IOMMUFD_LIVEUPDATE

/**
 * enum iommufd_liveupdate_passage - What a live update does to an attached device
 * @IOMMUFD_LIVEUPDATE_ENDS:     The device is to be stopped, and its attachment ends:
 *                               it is not attached, or is attached to an IOAS whose
 *                               automatic HWPT is not marked.
 * @IOMMUFD_LIVEUPDATE_STAYS:    The device is to be stopped, and what its HWPT maps
 *                               stays as it is until the kexec: the driver of its
 *                               IOMMU cannot hand over page tables.
 * @IOMMUFD_LIVEUPDATE_GOES_ON:  The page table of the HWPT is preserved: the device
 *                               may go on doing DMA with it, in the next kernel, too.
 * @IOMMUFD_LIVEUPDATE_UNMARKED: The HWPT is a nested one, or user space made it and
 *                               did not mark it.
 * @IOMMUFD_LIVEUPDATE_ORDER:    The HWPT is marked, and its iommufd is not preserved
 *                               in the session.
 * @IOMMUFD_LIVEUPDATE_PASIDS:   PASIDs of the device are attached.
 * @IOMMUFD_LIVEUPDATE_BUSY:     At this moment, the iommufd is being preserved, an
 *                               HWPT of it is being marked, or a device of the IOMMU
 *                               group is being attached to something else.
 * @IOMMUFD_LIVEUPDATE_FAILED:   The entries of the IOMMU for the device cannot be
 *                               preserved, for a reason that is in the log, or memory
 *                               is short.
 *
 * From IOMMUFD_LIVEUPDATE_UNMARKED on, the device cannot be preserved as it is.
 */
enum iommufd_liveupdate_passage {
	IOMMUFD_LIVEUPDATE_ENDS,
	IOMMUFD_LIVEUPDATE_STAYS,
	IOMMUFD_LIVEUPDATE_GOES_ON,
	IOMMUFD_LIVEUPDATE_UNMARKED,
	IOMMUFD_LIVEUPDATE_ORDER,
	IOMMUFD_LIVEUPDATE_PASIDS,
	IOMMUFD_LIVEUPDATE_BUSY,
	IOMMUFD_LIVEUPDATE_FAILED,
};

/**
 * struct iommufd_liveupdate_verdict - What becomes of an attached device, and why
 * @passage: What a live update does to the device.
 * @error:   The negative errno that iommu_preserve_device() returned if @passage is
 *           IOMMUFD_LIVEUPDATE_FAILED, and else 0.
 */
struct iommufd_liveupdate_verdict {
	enum iommufd_liveupdate_passage passage;
	int error;
};

/**
 * iommufd_device_liveupdate_preserve - Preserve what a device does DMA with
 * @idev:       The device, which stays bound to its iommufd. It is attached to
 *              nothing else while this runs.
 * @session:    The session in which the file of the device is being preserved.
 * @has_pasids: Whether PASIDs of the device are attached.
 *
 * To be called from the preserve() callback of a file handler.
 *
 * Context: May sleep. Takes the locks of the iommufd.
 * Return: What becomes of the device. If that is IOMMUFD_LIVEUPDATE_GOES_ON, the device
 * is attached to a marked HWPT of an iommufd that the session preserves. All that its
 * DMA needs is preserved, and the device has to stay attached, until
 * iommufd_device_liveupdate_unpreserve() is called. If not, nothing is preserved for the
 * device.
 */
struct iommufd_liveupdate_verdict
iommufd_device_liveupdate_preserve(struct iommufd_device *idev,
				   struct liveupdate_session *session,
				   bool has_pasids);

/**
 * iommufd_device_liveupdate_unpreserve - Preserve no more what a device does DMA with
 * @idev: The device, for which iommufd_device_liveupdate_preserve() returned that it
 *        goes on. It is attached to the same HWPT as then.
 *
 * Context: May sleep. Takes the locks of the iommufd.
 */
void iommufd_device_liveupdate_unpreserve(struct iommufd_device *idev);

#endif

#endif /* _LINUX_IOMMUFD_LIVEUPDATE_H */
