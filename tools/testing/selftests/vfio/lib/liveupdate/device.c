// SPDX-License-Identifier: GPL-2.0-only
/* Ways to open a device, and what can be seen of it without a driver. */
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <sys/ioctl.h>
#include <sys/reboot.h>

#include <linux/io.h>
#include <linux/kernel.h>
#include <linux/limits.h>
#include <linux/time64.h>
#include <linux/vfio.h>

#include <liveupdate_test.h>

const char * const container_modes[NR_CONTAINER_MODES] = {
	MODE_VFIO_TYPE1_IOMMU,
	MODE_VFIO_TYPE1V2_IOMMU,
	MODE_IOMMUFD_COMPAT_TYPE1,
	MODE_IOMMUFD_COMPAT_TYPE1V2,
};

u64 now_ns(void)
{
	struct timespec ts;

	VFIO_ASSERT_EQ(clock_gettime(CLOCK_MONOTONIC, &ts), 0);
	return ts.tv_sec * NSEC_PER_SEC + ts.tv_nsec;
}

int cdev_open(const char *bdf)
{
	const char *path = vfio_pci_get_cdev_path(bdf);
	int fd = open(path, O_RDWR);

	free((void *)path);
	return fd < 0 ? -errno : fd;
}

/* Bind a device, and find out what the iommufd calls it. */
int device_bind_iommufd(int device_fd, int iommufd, u32 *devid)
{
	struct vfio_device_bind_iommufd bind = {
		.argsz = sizeof(bind),
		.iommufd = iommufd,
	};

	if (ioctl(device_fd, VFIO_DEVICE_BIND_IOMMUFD, &bind))
		return -errno;

	*devid = bind.out_devid;
	return 0;
}

/* Attach a device to an IOAS or HWPT, and find out which HWPT that is. */
int device_attach_pt(int device_fd, u32 *pt_id)
{
	struct vfio_device_attach_iommufd_pt attach = {
		.argsz = sizeof(attach),
		.pt_id = *pt_id,
	};

	if (ioctl(device_fd, VFIO_DEVICE_ATTACH_IOMMUFD_PT, &attach))
		return -errno;

	*pt_id = attach.pt_id;
	return 0;
}

int group_get_device(const char *bdf, const char *mode)
{
	struct vfio_pci_device *device;
	struct iommu *iommu;
	int ret;

	iommu = iommu_init(mode);
	device = vfio_pci_device_alloc(bdf, iommu);

	vfio_pci_group_setup(device, bdf);
	vfio_container_set_iommu(device);
	__vfio_pci_group_get_device_fd(device, bdf, NULL);

	ret = device->fd < 0 ? -errno : device->fd;
	if (device->fd >= 0)
		VFIO_ASSERT_EQ(close(device->fd), 0);
	VFIO_ASSERT_EQ(close(device->group_fd), 0);

	vfio_pci_device_free(device);
	iommu_cleanup(iommu);

	return ret;
}

int device_get_info(int fd)
{
	struct vfio_device_info info = { .argsz = sizeof(info) };

	return ioctl(fd, VFIO_DEVICE_GET_INFO, &info) ? -errno : 0;
}

/* Open and bind the device as if there were no live update, and close it again. */
int ordinary_open(const char *bdf)
{
	struct vfio_pci_device *device;
	struct iommu *iommu;
	bool readable;
	int fd, ret;

	fd = cdev_open(bdf);
	if (fd < 0)
		return fd;

	iommu = iommu_init(MODE_IOMMUFD);
	ret = __vfio_device_bind_iommufd(fd, iommu->iommufd, NULL);
	if (ret) {
		close(fd);
	} else {
		device = vfio_pci_device_init_bound(bdf, iommu, fd);
		readable = config_readable(device);
		vfio_pci_device_cleanup(device);
		ret = readable ? 0 : -EIO;
	}

	iommu_cleanup(iommu);
	return ret;
}

/* Read an attribute of a PCI device, without the newline. */
int sysfs_read(const char *bdf, const char *file, char *buf, size_t size)
{
	char path[PATH_MAX];
	ssize_t len;
	int fd;

	snprintf_assert(path, sizeof(path), "/sys/bus/pci/devices/%s/%s", bdf, file);
	fd = open(path, O_RDONLY);
	if (fd < 0)
		return -errno;

	len = read(fd, buf, size - 1);
	close(fd);
	if (len < 0)
		return -EIO;

	buf[len] = 0;
	buf[strcspn(buf, "\n")] = 0;
	return 0;
}

int sysfs_write(const char *path, const char *value)
{
	int fd, ret;

	fd = open(path, O_WRONLY);
	if (fd < 0)
		return -errno;

	ret = write(fd, value, strlen(value)) < 0 ? -errno : 0;
	close(fd);
	return ret;
}

/* The bridge that the device is behind, to be freed, or NULL. */
char *bdf_above(const char *bdf)
{
	char path[PATH_MAX], real[PATH_MAX];
	unsigned int s, b, d, f;
	char *above;

	snprintf_assert(path, sizeof(path), "/sys/bus/pci/devices/%s", bdf);
	VFIO_ASSERT_NOT_NULL(realpath(path, real));

	above = basename(dirname(real));
	if (sscanf(above, "%4x:%2x:%2x.%2x", &s, &b, &d, &f) != 4)
		return NULL;

	return strdup(above);
}

/* Reads a file of a device in sysfs, or the start of it. */
static void read_file(const char *bdf, const char *file, off_t offset, void *buf, size_t size)
{
	char path[PATH_MAX];
	int fd;

	snprintf_assert(path, sizeof(path), "/sys/bus/pci/devices/%s/%s", bdf, file);
	fd = open(path, O_RDONLY);
	VFIO_ASSERT_GE(fd, 0);
	VFIO_ASSERT_GT(pread(fd, buf, size, offset), 0);
	close(fd);
}

void path_read(const char *bdf, struct test_path *path)
{
	char *above = strdup(bdf);

	memset(path, 0, sizeof(*path));
	while (above) {
		struct test_place *place = &path->places[path->length];
		char *below = above;

		VFIO_ASSERT_LT(path->length, MAX_PATH);
		snprintf_assert(place->bdf, sizeof(place->bdf), "%s", below);
		if (path->length++)
			read_file(below, "config", PCI_PRIMARY_BUS, &place->buses, 3);
		read_file(below, "resource", 0, place->resources,
			  sizeof(place->resources) - 1);

		above = bdf_above(below);
		free(below);
	}
}

bool path_same(const struct test_path *a, const struct test_path *b)
{
	u32 i;

	if (!memcmp(a, b, sizeof(*a)))
		return true;

	ksft_print_msg("%u and %u devices and bridges\n", a->length, b->length);
	for (i = 0; i < a->length && i < b->length; i++) {
		const struct test_place *was = &a->places[i], *is = &b->places[i];

		if (memcmp(was, is, sizeof(*was)))
			ksft_print_msg("%s, buses %06x:\n%s%s, buses %06x:\n%s", was->bdf,
				       was->buses, was->resources, is->bdf, is->buses,
				       is->resources);
	}
	return false;
}

/* Whether there is a kernel to kexec to */
bool image_is_loaded(void)
{
	char loaded = '0';
	int fd = open("/sys/kernel/kexec_loaded", O_RDONLY);

	if (fd >= 0) {
		VFIO_ASSERT_EQ(read(fd, &loaded, 1), 1);
		close(fd);
	}

	return loaded == '1';
}

/* What kmsg_says() looks at begins here. */
int kmsg_open(void)
{
	int kmsg = open("/dev/kmsg", O_RDONLY | O_NONBLOCK);

	VFIO_ASSERT_GE(kmsg, 0);
	VFIO_ASSERT_EQ(lseek(kmsg, 0, SEEK_END), 0);
	return kmsg;
}

/* Whether a line of the log has this text, of those that nobody looked at yet */
bool kmsg_says(int kmsg, const char *text)
{
	char record[2048];
	bool found = false;
	ssize_t len;

	while ((len = read(kmsg, record, sizeof(record) - 1)) > 0) {
		record[len] = 0;
		if (strstr(record, text))
			found = true;
	}

	return found;
}

/*
 * Try the kexec, which has to fail with EINVAL because of this device, with @why
 * in the log. The errno alone would not tell: it is the same if another device
 * refuses, or if there is no image.
 */
bool kexec_refused_by(const char *bdf, const char *session, u64 token, const char *why)
{
	char expected[256], record[2048];
	bool found = false;
	ssize_t len;
	int kmsg;

	/* The log says no more than ten such things in five seconds. */
	usleep(600 * 1000);

	snprintf_assert(expected, sizeof(expected),
			"%s: refuses the kexec, as token %#lx of session '%s': %s",
			bdf, token, session, why);
	kmsg = kmsg_open();

	VFIO_ASSERT_EQ(reboot(RB_KEXEC), -1);
	if (errno != EINVAL) {
		ksft_print_msg("kexec fails with %m, not EINVAL\n");
		close(kmsg);
		return false;
	}

	while ((len = read(kmsg, record, sizeof(record) - 1)) > 0) {
		record[len] = 0;
		if (strstr(record, ": refuses the kexec"))
			ksft_print_msg("%s", strchr(record, ';') + 1);
		if (strstr(record, expected))
			found = true;
	}

	close(kmsg);
	return found;
}

bool config_readable(struct vfio_pci_device *device)
{
	u64 offset = device->config_space.offset + PCI_VENDOR_ID;
	u16 vendor;

	return pread(device->fd, &vendor, sizeof(vendor), offset) ==
	       sizeof(vendor) && vendor != 0xffff;
}

static void bar_read(u32 *words, void *vaddr)
{
	words[0] = readl(vaddr);
	words[1] = readl(vaddr + sizeof(*words));
}

/*
 * To be called after a reset, before any driver. No more than the first words
 * of a BAR are read: those behind them may count, or tell of the link.
 */
void identity_read(struct vfio_pci_device *device, struct test_identity *identity)
{
	int i;

	memset(identity, 0, sizeof(*identity));
	identity->id = vfio_pci_config_readl(device, PCI_VENDOR_ID);
	identity->class_revision = vfio_pci_config_readl(device, PCI_CLASS_REVISION);
	identity->subsystem = vfio_pci_config_readl(device, PCI_SUBSYSTEM_VENDOR_ID);
	vfio_pci_cmd_set(device, PCI_COMMAND_MEMORY);

	for (i = 0; i < PCI_STD_NUM_BARS; i++) {
		u32 bar = vfio_pci_config_readl(device, PCI_BASE_ADDRESS_0 + i * 4);
		const struct vfio_region_info *info = &device->bars[i].info;
		u32 *words = identity->bar_words[i];
		ssize_t size = sizeof(identity->bar_words[i]);

		if (!info->size)
			continue;

		identity->nr_bars++;
		identity->bar_size[i] = info->size;
		identity->bar_flags[i] = info->flags;
		if (bar & PCI_BASE_ADDRESS_SPACE_IO)
			continue;

		/* vfio hides tables of MSI-X from pread(). */
		if (device->bars[i].vaddr)
			bar_read(words, device->bars[i].vaddr);
		else
			VFIO_ASSERT_EQ(pread(device->fd, words, size, info->offset),
				       size);
	}
}

bool identity_same(const struct test_identity *a, const struct test_identity *b)
{
	int i;

	if (!memcmp(a, b, sizeof(*a)))
		return true;

	ksft_print_msg("ids %#x %#x, classes %#x %#x, subsystems %#x %#x\n",
		       a->id, b->id, a->class_revision, b->class_revision,
		       a->subsystem, b->subsystem);
	for (i = 0; i < PCI_STD_NUM_BARS; i++)
		ksft_print_msg("BAR %d: sizes %#lx %#lx, flags %#x %#x, words %#x:%#x %#x:%#x\n",
			       i, a->bar_size[i], b->bar_size[i],
			       a->bar_flags[i], b->bar_flags[i],
			       a->bar_words[i][0], a->bar_words[i][1],
			       b->bar_words[i][0], b->bar_words[i][1]);
	return false;
}
