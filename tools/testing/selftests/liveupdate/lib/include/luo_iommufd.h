/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the live update tests of vfio and of iommufd ask of an iommufd. Functions
 * return 0 or more, or -errno.
 */
#ifndef SELFTESTS_LIVEUPDATE_LIB_LUO_IOMMUFD_H
#define SELFTESTS_LIVEUPDATE_LIB_LUO_IOMMUFD_H

#include <errno.h>
#include <fcntl.h>

#include <sys/ioctl.h>

#include <linux/iommufd.h>
#include <linux/vfio.h>

/* Memory that stays mapped through a kexec does not change its size. */
#define MAPPED_SEALS	(F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL)

static inline int luo_ioctl(int fd, unsigned long command, void *arg)
{
	return ioctl(fd, command, arg) < 0 ? -errno : 0;
}

static inline int ioas_alloc(int iommufd, __u32 *ioas_id)
{
	struct iommu_ioas_alloc alloc = { .size = sizeof(alloc) };
	int ret = luo_ioctl(iommufd, IOMMU_IOAS_ALLOC, &alloc);

	*ioas_id = alloc.out_ioas_id;
	return ret;
}

static inline int map_file_at(int iommufd, __u32 ioas_id, int fd, __u64 start,
			      __u64 length, __u64 iova)
{
	struct iommu_ioas_map_file map = {
		.size = sizeof(map),
		.flags = IOMMU_IOAS_MAP_FIXED_IOVA | IOMMU_IOAS_MAP_READABLE |
			 IOMMU_IOAS_MAP_WRITEABLE,
		.ioas_id = ioas_id,
		.fd = fd,
		.start = start,
		.length = length,
		.iova = iova,
	};

	return luo_ioctl(iommufd, IOMMU_IOAS_MAP_FILE, &map);
}

static inline int hwpt_mark(int iommufd, __u32 hwpt_id, __u64 token)
{
	struct iommu_hwpt_liveupdate_mark_preserve mark = {
		.size = sizeof(mark),
		.hwpt_id = hwpt_id,
		.hwpt_token = token,
	};

	return luo_ioctl(iommufd, IOMMU_HWPT_LIVEUPDATE_MARK_PRESERVE, &mark);
}

/* The ID of the HWPT that is marked with @token */
static inline int hwpt_get_id(int iommufd, __u64 token, __u32 *hwpt_id)
{
	struct iommu_hwpt_liveupdate_get_id get = {
		.size = sizeof(get),
		.hwpt_token = token,
	};
	int ret = luo_ioctl(iommufd, IOMMU_HWPT_LIVEUPDATE_GET_ID, &get);

	*hwpt_id = get.out_hwpt_id;
	return ret;
}

/* Another HWPT for the mappings of an IOAS */
static inline int hwpt_alloc_flags(int iommufd, __u32 dev_id, __u32 ioas_id, __u32 flags,
				   __u32 *hwpt_id)
{
	struct iommu_hwpt_alloc alloc = {
		.size = sizeof(alloc),
		.flags = flags,
		.dev_id = dev_id,
		.pt_id = ioas_id,
	};
	int ret = luo_ioctl(iommufd, IOMMU_HWPT_ALLOC, &alloc);

	*hwpt_id = alloc.out_hwpt_id;
	return ret;
}

static inline int hwpt_alloc(int iommufd, __u32 dev_id, __u32 ioas_id, __u32 *hwpt_id)
{
	return hwpt_alloc_flags(iommufd, dev_id, ioas_id, 0, hwpt_id);
}

static inline int object_destroy(int iommufd, __u32 id)
{
	struct iommu_destroy destroy = { .size = sizeof(destroy), .id = id };

	return luo_ioctl(iommufd, IOMMU_DESTROY, &destroy);
}

static inline int ioas_unmap(int iommufd, __u32 ioas_id, __u64 iova, __u64 length)
{
	struct iommu_ioas_unmap unmap = {
		.size = sizeof(unmap),
		.ioas_id = ioas_id,
		.iova = iova,
		.length = length,
	};

	return luo_ioctl(iommufd, IOMMU_IOAS_UNMAP, &unmap);
}

/* Keeps a device from memory */
static inline int device_detach(int device)
{
	struct vfio_device_detach_iommufd_pt detach = { .argsz = sizeof(detach) };

	return luo_ioctl(device, VFIO_DEVICE_DETACH_IOMMUFD_PT, &detach);
}

#endif /* SELFTESTS_LIVEUPDATE_LIB_LUO_IOMMUFD_H */
