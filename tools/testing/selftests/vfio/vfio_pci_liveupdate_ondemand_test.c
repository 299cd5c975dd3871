// SPDX-License-Identifier: GPL-2.0-only
/*
 * Retrieve a device after a kexec, in a kernel that has vfio-pci as a module
 * which nobody loads: the session has to ask for it.
 *
 * Stage 1, before the kexec, is that of vfio_pci_liveupdate_kexec_test.
 */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <libliveupdate.h>
#include <libvfio.h>
#include <liveupdate_test.h>
#include <luo_options.h>

/* As in vfio_pci_liveupdate_kexec_test.c */
#define DEVICE_TOKEN		0x200

static bool module_is_loaded(void)
{
	return !access("/sys/module/vfio_pci", F_OK);
}

static int bind_vfio_pci(const char *bdf)
{
	char path[PATH_MAX];
	int ret;

	snprintf_assert(path, sizeof(path),
			"/sys/bus/pci/devices/%s/driver_override", bdf);
	ret = sysfs_write(path, "vfio-pci");

	return ret ?: sysfs_write("/sys/bus/pci/drivers/vfio-pci/bind", bdf);
}

int main(int argc, char *argv[])
{
	char session_name[LIVEUPDATE_SESSION_NAME_LENGTH];
	int luo_fd, session_fd, device_fd, ret;
	struct iommu *iommu;
	const char *bdf;

	luo_help(argc, argv, "segment:bus:device.function",
		 "After a kexec: a session asks for vfio-pci, a module that is not loaded. Stage 1\n"
		 "is that of vfio_pci_liveupdate_kexec_test.");

	bdf = vfio_selftests_get_bdf(&argc, argv);
	snprintf_assert(session_name, sizeof(session_name), "device-%s", bdf);

	ksft_print_header();
	ksft_set_plan(10);

	require(!module_is_loaded(), "vfio-pci is not loaded");
	luo_fd = luo_open_device();
	require_call(luo_fd, "%s is opened", LUO_DEVICE);
	check(view_readable() &&
	      view_count("incoming", "session %s: waiting\n", session_name) == 1,
	      "the name of the session can be read");
	session_fd = luo_retrieve_session(luo_fd, session_name);
	require_call(session_fd, "session is retrieved");
	check(!module_is_loaded(), "nobody needed vfio-pci so far");

	/* Only vfio-pci knows that the device has to be retrieved first. */
	ret = luo_session_finish(session_fd);
	check_errno(ret, EBUSY, "finish before retrieving the device is refused");
	require(module_is_loaded(), "vfio-pci is loaded");

	require_call(bind_vfio_pci(bdf), "device is bound to vfio-pci");
	device_fd = luo_session_retrieve_fd(session_fd, DEVICE_TOKEN);
	require_call(device_fd, "device is retrieved");

	iommu = iommu_init(MODE_IOMMUFD);
	ret = __vfio_device_bind_iommufd(device_fd, iommu->iommufd, NULL);
	if (!ret)
		ret = luo_session_finish(session_fd);
	check(!ret, "device is bound to an iommufd, and the session finished");

	ksft_finished();
}
