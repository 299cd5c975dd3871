// SPDX-License-Identifier: GPL-2.0-only
/*
 * What is left of a preserved device after a kexec if the bridge above it lost
 * its bus numbers on the way, so that the device cannot be found.
 *
 * Stage 1, before the kexec, is that of vfio_pci_liveupdate_kexec_test, with the
 * device alone. Between the kernels, somebody clears the bus numbers of the
 * bridges that follow the device on the command line: first the bridge above
 * it, then others on the same bus, which have no preserved device below them.
 *
 * The device has to be the last one that is not finished.
 */
#include <errno.h>
#include <fcntl.h>
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

/* Whether the kernel's log has a line with both. */
static bool log_has(const char *one, const char *other)
{
	char record[8192];
	bool found = false;
	ssize_t len;
	int fd;

	fd = open("/dev/kmsg", O_RDONLY | O_NONBLOCK);
	VFIO_ASSERT_GE(fd, 0);
	while (!found && (len = read(fd, record, sizeof(record) - 1)) > 0) {
		record[len] = 0;
		found = strstr(record, one) && strstr(record, other);
	}
	close(fd);
	return found;
}

static bool is_there(const char *bdf)
{
	char path[PATH_MAX];

	snprintf_assert(path, sizeof(path), "/sys/bus/pci/devices/%s", bdf);
	return !access(path, F_OK);
}

/* Whether the bridge forwards to no bus, and the kernel knows of none. */
static bool has_no_numbers(const char *bdf)
{
	u8 numbers[] = { 1, 1, 1 };
	char path[PATH_MAX];
	int fd;

	snprintf_assert(path, sizeof(path), "/sys/bus/pci/devices/%s/config", bdf);
	fd = open(path, O_RDONLY);
	VFIO_ASSERT_GE(fd, 0);
	VFIO_ASSERT_EQ(pread(fd, numbers, sizeof(numbers), PCI_PRIMARY_BUS),
		       (ssize_t)sizeof(numbers));
	close(fd);

	snprintf_assert(path, sizeof(path), "/sys/bus/pci/devices/%s/pci_bus", bdf);
	return !numbers[1] && !numbers[2] && access(path, F_OK);
}

static void check_not_numbered(const char *device, char **bridges, int nr_bridges,
			       const char *when)
{
	int i;

	for (i = 0; i < nr_bridges; i++)
		check(has_no_numbers(bridges[i]), "%s got no bus numbers %s",
		      bridges[i], when);
	check(!is_there(device), "%s is not there %s", device, when);
}

int main(int argc, char *argv[])
{
	char session_name[LIVEUPDATE_SESSION_NAME_LENGTH];
	int luo_fd, session_fd, nr_bridges, i;
	char expected[64];
	const char *bdf;
	char **bridges;

	luo_help(argc, argv, "DEVICE BRIDGE ... (each as segment:bus:device.function)",
		 "After a kexec: a device cannot be found, as the bridge above it lost its bus\n"
		 "numbers. The first bridge is that one, the others are on the same bus. Stage 1\n"
		 "is that of vfio_pci_liveupdate_kexec_test, with DEVICE alone.");

	bridges = vfio_selftests_get_bdfs(&argc, argv, &nr_bridges);
	bdf = *bridges++;
	nr_bridges--;

	snprintf_assert(session_name, sizeof(session_name), "device-%s", bdf);
	snprintf_assert(expected, sizeof(expected), "the preserved bridge %s lost its own",
			bridges[0]);

	ksft_print_header();
	ksft_set_plan(8 + 4 * nr_bridges);

	check_not_numbered(bdf, bridges, nr_bridges, "at boot");
	for (i = 0; i < nr_bridges; i++)
		check(log_has(bridges[i], expected), "the log says why %s got none",
		      bridges[i]);

	luo_fd = luo_open_device();
	require_call(luo_fd, "%s is opened", LUO_DEVICE);
	session_fd = luo_retrieve_session(luo_fd, session_name);
	require_call(session_fd, "session is retrieved");
	check_errno(luo_session_retrieve_fd(session_fd, DEVICE_TOKEN), ENODEV,
		    "device cannot be retrieved");

	VFIO_ASSERT_EQ(sysfs_write("/sys/bus/pci/rescan", "1"), 0);
	check_not_numbered(bdf, bridges, nr_bridges, "by another scan");

	check(!luo_session_finish(session_fd), "session is finished");
	check(log_has(bdf, "was preserved, but was never found"),
	      "the log says that the device is lost");

	/* Whoever relies on the old numbers may not be gone. */
	VFIO_ASSERT_EQ(sysfs_write("/sys/bus/pci/rescan", "1"), 0);
	check_not_numbered(bdf, bridges, nr_bridges, "afterwards");

	ksft_finished();
}
