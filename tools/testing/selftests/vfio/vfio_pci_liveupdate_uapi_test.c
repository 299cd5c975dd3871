// SPDX-License-Identifier: GPL-2.0-only
/*
 * Tests of what userspace sees of vfio-pci live update before any kexec: which
 * files a session accepts, with which errno it refuses the others, and that a
 * closed session leaves the device as it was.
 *
 * Needs a device bound to vfio-pci and a kernel booted with liveupdate=on.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <sys/ioctl.h>
#include <sys/mman.h>

#include <linux/vfio.h>

#include <libliveupdate.h>
#include <libvfio.h>
#include <luo_options.h>

#include "kselftest_harness.h"

#define SESSION_NAME		"vfio-pci-uapi"
#define OTHER_SESSION_NAME	"vfio-pci-uapi-other"

#define DEVICE_TOKEN		0x1234
#define OTHER_TOKEN		0x5678

static const char *device_bdf;

static int cdev_open(void)
{
	const char *path = vfio_pci_get_cdev_path(device_bdf);
	int fd = open(path, O_RDWR);

	free((void *)path);
	return fd;
}

static int session_drop(const char *name)
{
	int fd, ret;

	fd = open("/sys/devices/virtual/misc/liveupdate/drop_outgoing_session", O_WRONLY);
	if (fd < 0)
		return -errno;

	ret = write(fd, name, strlen(name)) < 0 ? -errno : 0;
	close(fd);

	return ret;
}

/* All IOMMU modes: which of the files of a VFIO user can be preserved. */

FIXTURE(vfio_pci_liveupdate_uapi_test) {
	struct iommu *iommu;
	struct vfio_pci_device *device;
	int luo_fd;
	int session_fd;
};

FIXTURE_VARIANT(vfio_pci_liveupdate_uapi_test) {
	const char *iommu_mode;
};

#define FIXTURE_VARIANT_ADD_IOMMU_MODE(_iommu_mode)			\
FIXTURE_VARIANT_ADD(vfio_pci_liveupdate_uapi_test, _iommu_mode) {	\
	.iommu_mode = #_iommu_mode,					\
}

FIXTURE_VARIANT_ADD_ALL_IOMMU_MODES();

FIXTURE_SETUP(vfio_pci_liveupdate_uapi_test)
{
	self->luo_fd = luo_open_device();
	ASSERT_GE(self->luo_fd, 0);

	self->session_fd = luo_create_session(self->luo_fd, SESSION_NAME);
	ASSERT_GE(self->session_fd, 0);

	self->iommu = iommu_init(variant->iommu_mode);
	self->device = vfio_pci_device_init(device_bdf, self->iommu);
}

FIXTURE_TEARDOWN(vfio_pci_liveupdate_uapi_test)
{
	vfio_pci_device_cleanup(self->device);
	iommu_cleanup(self->iommu);

	ASSERT_EQ(close(self->session_fd), 0);
	ASSERT_EQ(close(self->luo_fd), 0);
}

TEST_F(vfio_pci_liveupdate_uapi_test, preserve_device)
{
	int expected = self->iommu->iommufd ? 0 : -ENOENT;

	ASSERT_EQ(luo_session_preserve_fd(self->session_fd, self->device->fd,
					  DEVICE_TOKEN), expected);
}

TEST_F(vfio_pci_liveupdate_uapi_test, preserve_group_fails)
{
	if (self->iommu->iommufd)
		SKIP(return, "iommufd mode uses no group file");

	ASSERT_EQ(luo_session_preserve_fd(self->session_fd,
					  self->device->group_fd,
					  DEVICE_TOKEN), -ENOENT);
}

TEST_F(vfio_pci_liveupdate_uapi_test, preserve_container_fails)
{
	if (self->iommu->iommufd)
		SKIP(return, "iommufd mode uses no container file");

	ASSERT_EQ(luo_session_preserve_fd(self->session_fd,
					  self->iommu->container_fd,
					  DEVICE_TOKEN), -ENOENT);
}

/* cdev files only: sessions, tokens and the life of the preserved file. */

FIXTURE(vfio_pci_liveupdate_cdev) {
	struct iommu *iommu;
	struct vfio_pci_device *device;
	int luo_fd;
	int session_fd;
};

FIXTURE_SETUP(vfio_pci_liveupdate_cdev)
{
	self->luo_fd = luo_open_device();
	ASSERT_GE(self->luo_fd, 0);

	self->session_fd = luo_create_session(self->luo_fd, SESSION_NAME);
	ASSERT_GE(self->session_fd, 0);

	self->iommu = iommu_init(MODE_IOMMUFD);
	self->device = vfio_pci_device_init(device_bdf, self->iommu);
}

FIXTURE_TEARDOWN(vfio_pci_liveupdate_cdev)
{
	if (self->device)
		vfio_pci_device_cleanup(self->device);
	iommu_cleanup(self->iommu);

	if (self->session_fd >= 0)
		ASSERT_EQ(close(self->session_fd), 0);
	ASSERT_EQ(close(self->luo_fd), 0);
}

TEST_F(vfio_pci_liveupdate_cdev, token_reuse_fails)
{
	int memfd;

	ASSERT_EQ(luo_session_preserve_fd(self->session_fd, self->device->fd,
					  DEVICE_TOKEN), 0);

	/* A token names one file of its session, whatever that file is. */
	memfd = memfd_create("token-reuse", 0);
	ASSERT_GE(memfd, 0);
	ASSERT_EQ(ftruncate(memfd, getpagesize()), 0);

	EXPECT_EQ(luo_session_preserve_fd(self->session_fd, memfd,
					  DEVICE_TOKEN), -EEXIST);
	EXPECT_EQ(luo_session_preserve_fd(self->session_fd, self->device->fd,
					  DEVICE_TOKEN), -EEXIST);
	EXPECT_EQ(luo_session_preserve_fd(self->session_fd, memfd,
					  OTHER_TOKEN), 0);

	ASSERT_EQ(close(memfd), 0);
}

TEST_F(vfio_pci_liveupdate_cdev, preserve_twice_fails)
{
	int other_session_fd;

	ASSERT_EQ(luo_session_preserve_fd(self->session_fd, self->device->fd,
					  DEVICE_TOKEN), 0);
	EXPECT_EQ(luo_session_preserve_fd(self->session_fd, self->device->fd,
					  OTHER_TOKEN), -EBUSY);

	other_session_fd = luo_create_session(self->luo_fd, OTHER_SESSION_NAME);
	ASSERT_GE(other_session_fd, 0);
	EXPECT_EQ(luo_session_preserve_fd(other_session_fd, self->device->fd,
					  DEVICE_TOKEN), -EBUSY);
	ASSERT_EQ(close(other_session_fd), 0);
}

TEST_F(vfio_pci_liveupdate_cdev, preserve_second_open_fails)
{
	int fd;

	ASSERT_EQ(luo_session_preserve_fd(self->session_fd, self->device->fd,
					  DEVICE_TOKEN), 0);

	/* Two files of one device are one thing to preserve. */
	fd = cdev_open();
	ASSERT_GE(fd, 0);
	EXPECT_EQ(luo_session_preserve_fd(self->session_fd, fd, OTHER_TOKEN),
		  -EBUSY);
	ASSERT_EQ(close(fd), 0);
}

TEST_F(vfio_pci_liveupdate_cdev, refused_token_stays_free)
{
	int memfd;

	memfd = memfd_create("free-token", 0);
	ASSERT_GE(memfd, 0);
	ASSERT_EQ(ftruncate(memfd, getpagesize()), 0);

	ASSERT_EQ(luo_session_preserve_fd(self->session_fd, self->device->fd,
					  DEVICE_TOKEN), 0);
	ASSERT_EQ(luo_session_preserve_fd(self->session_fd, self->device->fd,
					  OTHER_TOKEN), -EBUSY);
	EXPECT_EQ(luo_session_preserve_fd(self->session_fd, memfd, OTHER_TOKEN),
		  0);

	ASSERT_EQ(close(memfd), 0);
}

TEST_F(vfio_pci_liveupdate_cdev, preserve_again_after_session_close)
{
	int i;

	for (i = 0; i < 3; i++) {
		ASSERT_EQ(luo_session_preserve_fd(self->session_fd,
						  self->device->fd,
						  DEVICE_TOKEN), 0);

		ASSERT_EQ(close(self->session_fd), 0);
		self->session_fd = luo_create_session(self->luo_fd,
						      SESSION_NAME);
		ASSERT_GE(self->session_fd, 0);
	}
}

TEST_F(vfio_pci_liveupdate_cdev, preserve_unbound)
{
	int fd;

	/*
	 * Any vfio-pci file that came from opening the cdev is accepted. That
	 * it was bound to an iommufd is asked in the next kernel, not here.
	 */
	fd = cdev_open();
	ASSERT_GE(fd, 0);
	EXPECT_EQ(luo_session_preserve_fd(self->session_fd, fd, DEVICE_TOKEN),
		  0);
	ASSERT_EQ(close(fd), 0);
}

TEST_F(vfio_pci_liveupdate_cdev, session_keeps_closed_file)
{
	int fd;

	ASSERT_EQ(luo_session_preserve_fd(self->session_fd, self->device->fd,
					  DEVICE_TOKEN), 0);

	/* The session has a reference of its own: the device stays bound. */
	vfio_pci_device_cleanup(self->device);
	self->device = NULL;

	fd = cdev_open();
	ASSERT_GE(fd, 0);
	EXPECT_EQ(__vfio_device_bind_iommufd(fd, self->iommu->iommufd, NULL),
		  -EINVAL);
	EXPECT_EQ(luo_session_preserve_fd(self->session_fd, fd, OTHER_TOKEN),
		  -EBUSY);

	/* Closing the session drops the last reference to the first file. */
	ASSERT_EQ(close(self->session_fd), 0);
	self->session_fd = luo_create_session(self->luo_fd, SESSION_NAME);
	ASSERT_GE(self->session_fd, 0);

	EXPECT_EQ(__vfio_device_bind_iommufd(fd, self->iommu->iommufd, NULL),
		  0);
	EXPECT_EQ(luo_session_preserve_fd(self->session_fd, fd, DEVICE_TOKEN),
		  0);
	ASSERT_EQ(close(fd), 0);
}

TEST_F(vfio_pci_liveupdate_cdev, dropped_session_lets_go)
{
	int fd;

	if (!self->device->msix_info.count)
		SKIP(return, "Device has no MSI-X");

	/* The owner of the device is gone, and left its interrupts enabled. */
	vfio_pci_msix_enable(self->device, 0, 1);
	ASSERT_EQ(luo_session_preserve_fd(self->session_fd, self->device->fd,
					  DEVICE_TOKEN), 0);
	vfio_pci_device_cleanup(self->device);
	self->device = NULL;
	fd = cdev_open();
	ASSERT_GE(fd, 0);
	ASSERT_EQ(__vfio_device_bind_iommufd(fd, self->iommu->iommufd, NULL),
		  -EINVAL);

	EXPECT_EQ(session_drop("no-such-session"), -ENOENT);
	EXPECT_EQ(session_drop(OTHER_SESSION_NAME OTHER_SESSION_NAME
			       OTHER_SESSION_NAME OTHER_SESSION_NAME), -EINVAL);
	EXPECT_EQ(__vfio_device_bind_iommufd(fd, self->iommu->iommufd, NULL),
		  -EINVAL);

	/* Nobody holds the device any more. The session can be used again. */
	ASSERT_EQ(session_drop(SESSION_NAME), 0);
	EXPECT_EQ(__vfio_device_bind_iommufd(fd, self->iommu->iommufd, NULL),
		  0);
	EXPECT_EQ(luo_session_preserve_fd(self->session_fd, fd, DEVICE_TOKEN),
		  0);
	ASSERT_EQ(session_drop(SESSION_NAME), 0);
	ASSERT_EQ(close(fd), 0);
}

TEST_F(vfio_pci_liveupdate_cdev, exported_memory_fails)
{
	struct {
		struct vfio_device_feature feature;
		struct vfio_device_feature_dma_buf get;
		struct vfio_region_dma_range range;
	} arg = {
		.feature.argsz = sizeof(arg),
		.feature.flags = VFIO_DEVICE_FEATURE_GET |
				 VFIO_DEVICE_FEATURE_DMA_BUF,
		.get.open_flags = O_CLOEXEC | O_RDWR,
		.get.nr_ranges = 1,
		.range.length = getpagesize(),
	};
	int fd;

	fd = ioctl(self->device->fd, VFIO_DEVICE_FEATURE, &arg);
	if (fd < 0)
		SKIP(return, "Memory of the device cannot be exported: %s",
		     strerror(errno));

	EXPECT_EQ(luo_session_preserve_fd(self->session_fd, self->device->fd,
					  DEVICE_TOKEN), -EOPNOTSUPP);

	/* Others can use the memory as long as they have the file. */
	ASSERT_EQ(close(fd), 0);
	EXPECT_EQ(luo_session_preserve_fd(self->session_fd, self->device->fd,
					  DEVICE_TOKEN), 0);
}

TEST_F(vfio_pci_liveupdate_cdev, device_usable_while_preserved)
{
	u32 id = vfio_pci_config_readl(self->device, PCI_VENDOR_ID);
	u16 cmd;

	ASSERT_EQ(luo_session_preserve_fd(self->session_fd, self->device->fd,
					  DEVICE_TOKEN), 0);

	EXPECT_EQ(vfio_pci_config_readl(self->device, PCI_VENDOR_ID), id);

	vfio_pci_cmd_set(self->device, PCI_COMMAND_MASTER);
	cmd = vfio_pci_config_readw(self->device, PCI_COMMAND);
	EXPECT_TRUE(cmd & PCI_COMMAND_MASTER);
	vfio_pci_cmd_clear(self->device, PCI_COMMAND_MASTER);

	if (self->device->info.flags & VFIO_DEVICE_FLAGS_RESET)
		vfio_pci_device_reset(self->device);

	ASSERT_EQ(close(self->session_fd), 0);
	self->session_fd = -1;

	EXPECT_EQ(vfio_pci_config_readl(self->device, PCI_VENDOR_ID), id);
}

TEST_F(vfio_pci_liveupdate_cdev, preserve_with_interrupts_on)
{
	u64 value;

	if (!self->device->msix_info.count)
		SKIP(return, "Device has no MSI-X");

	/* Interrupts have to be off by the time of the kexec, not before. */
	vfio_pci_msix_enable(self->device, 0, 1);
	ASSERT_EQ(luo_session_preserve_fd(self->session_fd, self->device->fd,
					  DEVICE_TOKEN), 0);

	vfio_pci_irq_trigger(self->device, VFIO_PCI_MSIX_IRQ_INDEX, 0);
	EXPECT_EQ(read(self->device->msi_eventfds[0], &value, sizeof(value)),
		  sizeof(value));

	vfio_pci_msix_disable(self->device);
}

int main(int argc, char *argv[])
{
	int luo_fd;

	luo_help(argc, argv, "[-h|-l|-t NAME ...] segment:bus:device.function",
		 "What user space sees of live update before any kexec. Needs a device that is\n"
		 "bound to vfio-pci. -h lists the other options.");

	device_bdf = vfio_selftests_get_bdf(&argc, argv);

	luo_fd = luo_open_device();
	if (luo_fd < 0) {
		ksft_print_header();
		ksft_exit_skip("open(%s): %m (booted with liveupdate=on?)\n",
			       LUO_DEVICE);
	}
	close(luo_fd);

	return test_harness_run(argc, argv);
}
