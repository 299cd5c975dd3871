/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the live update tests of iommufd share: a device that is bound to an
 * iommufd by hand, so that everything that has an ID is known. Functions return
 * 0 or more, or -errno.
 */
#ifndef IOMMUFD_LIVEUPDATE_COMMON_H
#define IOMMUFD_LIVEUPDATE_COMMON_H

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <sys/mman.h>

#include <linux/iommufd.h>
#include <linux/vfio.h>

#include <luo_iommufd.h>

#define SZ_4K		0x1000ULL
#define SZ_1M		0x100000ULL
#define SZ_2M		(2 * SZ_1M)
#define SZ_4M		(4 * SZ_1M)
#define SZ_8M		(8 * SZ_1M)
#define SZ_16M		(16 * SZ_1M)
#define SZ_1G		(1024 * SZ_1M)
#define SZ_4G		(4 * SZ_1G)

#define IOVA		SZ_4G
#define MEMFD_SIZE	SZ_2M

#define SEALS		MAPPED_SEALS

#define call		luo_ioctl

static inline int open_path(const char *path)
{
	int fd = open(path, O_RDWR | O_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

static inline int memfd_sealed(__u64 size, unsigned int flags, int seals)
{
	int fd = memfd_create("iommufd-liveupdate", MFD_ALLOW_SEALING | flags);

	if (fd < 0 || ftruncate(fd, size) || (seals && fcntl(fd, F_ADD_SEALS, seals)))
		return -errno;

	return fd;
}

static inline int device_bind(int device, int iommufd, __u32 *dev_id)
{
	struct vfio_device_bind_iommufd bind = {
		.argsz = sizeof(bind),
		.iommufd = iommufd,
	};
	int ret = call(device, VFIO_DEVICE_BIND_IOMMUFD, &bind);

	*dev_id = bind.out_devid;
	return ret;
}

/* Replaces what it is attached to; sets @pt_id to the HWPT. */
static inline int device_attach(int device, __u32 *pt_id)
{
	struct vfio_device_attach_iommufd_pt attach = {
		.argsz = sizeof(attach),
		.pt_id = *pt_id,
	};
	int ret = call(device, VFIO_DEVICE_ATTACH_IOMMUFD_PT, &attach);

	*pt_id = attach.pt_id;
	return ret;
}

static inline int device_attach_to(int device, __u32 pt_id)
{
	return device_attach(device, &pt_id);
}

/* The same for a PASID, and for what the device does with that */
static inline int device_attach_pasid(int device, __u32 pasid, __u32 pt_id)
{
	struct vfio_device_attach_iommufd_pt attach = {
		.argsz = sizeof(attach),
		.flags = VFIO_DEVICE_ATTACH_PASID,
		.pt_id = pt_id,
		.pasid = pasid,
	};

	return call(device, VFIO_DEVICE_ATTACH_IOMMUFD_PT, &attach);
}

static inline int device_detach_pasid(int device, __u32 pasid)
{
	struct vfio_device_detach_iommufd_pt detach = {
		.argsz = sizeof(detach),
		.flags = VFIO_DEVICE_DETACH_PASID,
		.pasid = pasid,
	};

	return call(device, VFIO_DEVICE_DETACH_IOMMUFD_PT, &detach);
}

static inline int map_file(int iommufd, __u32 ioas_id, int fd)
{
	return map_file_at(iommufd, ioas_id, fd, 0, MEMFD_SIZE, IOVA);
}

static inline int map_memory(int iommufd, __u32 ioas_id, void *memory, __u64 length,
			     __u64 iova)
{
	struct iommu_ioas_map map = {
		.size = sizeof(map),
		.flags = IOMMU_IOAS_MAP_FIXED_IOVA | IOMMU_IOAS_MAP_READABLE |
			 IOMMU_IOAS_MAP_WRITEABLE,
		.ioas_id = ioas_id,
		.user_va = (uintptr_t)memory,
		.length = length,
		.iova = iova,
	};

	return call(iommufd, IOMMU_IOAS_MAP, &map);
}

static inline int copy_mapping(int iommufd, __u32 from_ioas, __u32 to_ioas, __u64 to_iova)
{
	struct iommu_ioas_copy copy = {
		.size = sizeof(copy),
		.flags = IOMMU_IOAS_MAP_FIXED_IOVA | IOMMU_IOAS_MAP_READABLE,
		.dst_ioas_id = to_ioas,
		.src_ioas_id = from_ioas,
		.length = MEMFD_SIZE,
		.dst_iova = to_iova,
		.src_iova = IOVA,
	};

	return call(iommufd, IOMMU_IOAS_COPY, &copy);
}

static inline int change_process(int iommufd)
{
	struct iommu_ioas_change_process change = { .size = sizeof(change) };

	return call(iommufd, IOMMU_IOAS_CHANGE_PROCESS, &change);
}

static inline int hwpt_unmark(int iommufd, __u32 hwpt_id)
{
	struct iommu_hwpt_liveupdate_unmark_preserve unmark = {
		.size = sizeof(unmark),
		.hwpt_id = hwpt_id,
	};

	return call(iommufd, IOMMU_HWPT_LIVEUPDATE_UNMARK_PRESERVE, &unmark);
}

/* What the kernel counts of memory, or -errno */
static inline long vm_count(const char *name)
{
	long found = -ENOENT, value;
	char line[128], counter[64];
	FILE *file;
	int fd, err;

	/* Processors keep counts of their own until somebody asks. */
	fd = open("/proc/sys/vm/stat_refresh", O_WRONLY);
	if (fd < 0)
		return -errno;
	err = write(fd, "1", 1) == 1 ? 0 : errno;
	close(fd);
	if (err)
		return -err;

	file = fopen("/proc/vmstat", "r");
	if (!file)
		return -errno;
	while (found < 0 && fgets(line, sizeof(line), file)) {
		if (sscanf(line, "%63s %ld", counter, &value) == 2 && !strcmp(counter, name))
			found = value;
	}
	fclose(file);
	return found;
}

#endif /* IOMMUFD_LIVEUPDATE_COMMON_H */
