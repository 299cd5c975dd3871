// SPDX-License-Identifier: GPL-2.0-only
/*
 * Preserve a vfio-pci device and take it back, while others reset it, enable and
 * disable its virtual functions, use it, look at what is preserved, and remove and
 * find another device.
 *
 * Each of them may be told that the device is busy, and none may be told anything
 * else. What this is good for is the kernel's own judgement: lockdep and KASAN.
 *
 * Needs vfio-pci with enable_sriov=1 for the virtual functions.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#include <sys/ioctl.h>

#include <linux/kernel.h>
#include <linux/vfio.h>

#include <libliveupdate.h>
#include <liveupdate_test.h>
#include <luo_options.h>

#define DEFAULT_SECONDS		10

#define DEVICE_TOKEN		0x1234
#define SESSION_NAME		"vfio-pci-race"

/* What one of them does, again and again, until all end. */
struct racer {
	const char *name;
	/* Returns 0, -EBUSY, or any other -errno, which is a failure. */
	int (*step)(void);
	/* Others want the device's lock, too: how long it is left alone */
	unsigned int pause_us;
	pthread_t thread;
	long done;
	long busy;
	int error;
};

static const char *device_bdf;
static const char *other_bdf;
static int luo_fd;
static struct vfio_pci_device *device;
static bool ended;

static int device_write(const char *bdf, const char *file, const char *value)
{
	char path[PATH_MAX];

	snprintf_assert(path, sizeof(path), "/sys/bus/pci/devices/%s/%s", bdf, file);
	return sysfs_write(path, value);
}

static int step_preserve(void)
{
	int session_fd = luo_create_session(luo_fd, SESSION_NAME);
	int ret;

	if (session_fd < 0)
		return session_fd;

	ret = luo_session_preserve_fd(session_fd, device->fd, DEVICE_TOKEN);
	close(session_fd);

	/* It has virtual functions just now. */
	return ret == -EOPNOTSUPP ? -EBUSY : ret;
}

static int step_sriov(void)
{
	return device_write(device_bdf, "sriov_numvfs", "1") ?:
	       device_write(device_bdf, "sriov_numvfs", "0");
}

static int step_reset(void)
{
	return device_write(device_bdf, "reset", "1");
}

static int step_reset_ioctl(void)
{
	int ret = ioctl(device->fd, VFIO_DEVICE_RESET) ? -errno : 0;

	/* Somebody has the lock of the device. */
	return ret == -EAGAIN ? -EBUSY : ret;
}

static int step_info(void)
{
	return device_get_info(device->fd);
}

static int step_view(void)
{
	return view_count("outgoing", "device %s", device_bdf) > 1 ? -EEXIST : 0;
}

static int step_remove(void)
{
	return device_write(other_bdf, "remove", "1") ?:
	       sysfs_write("/sys/bus/pci/rescan", "1");
}

/*
 * Those that wait for the lock of the device have it for a second or for a tenth
 * of one. They pause as long, for others only try to get it.
 */
static struct racer racers[] = {
	{ .name = "preserve",		.step = step_preserve },
	{ .name = "sriov_numvfs",	.step = step_sriov,	.pause_us = 1000000 },
	{ .name = "reset",		.step = step_reset,	.pause_us = 200000 },
	{ .name = "VFIO_DEVICE_RESET",	.step = step_reset_ioctl, .pause_us = 10000 },
	{ .name = "VFIO_DEVICE_GET_INFO", .step = step_info },
	{ .name = "debugfs",		.step = step_view },
	{ .name = "remove and rescan",	.step = step_remove },
};

static void *race(void *arg)
{
	struct racer *racer = arg;

	while (!__atomic_load_n(&ended, __ATOMIC_RELAXED)) {
		int ret = racer->step();

		if (!ret)
			racer->done++;
		else if (ret == -EBUSY)
			racer->busy++;
		else if (!racer->error)
			racer->error = ret;
		usleep(racer->pause_us);
	}
	return NULL;
}

static void usage(FILE *stream, const char *name)
{
	fprintf(stream,
		"Usage: %s [--seconds N] segment:bus:device.function another\n"
		"\n"
		"  -s, --seconds N  for so long (%d)\n"
		"\n"
		"The other device is removed and found again. No driver may be bound to it.\n",
		name, DEFAULT_SECONDS);
}

int main(int argc, char *argv[])
{
	int seconds = DEFAULT_SECONDS;
	struct iommu *iommu;
	int i;
	const struct luo_option options[] = {
		{ "seconds", 's', .number = &seconds },
		{}
	};

	luo_parse_options(argc, argv, options, usage);

	if (seconds <= 0 || argc - optind != 2) {
		usage(stderr, argv[0]);
		return KSFT_FAIL;
	}
	device_bdf = argv[optind];
	other_bdf = argv[optind + 1];

	ksft_print_header();
	luo_fd = luo_open_device();
	if (luo_fd < 0)
		ksft_exit_skip("open(%s): %m (booted with liveupdate=on?)\n", LUO_DEVICE);

	iommu = iommu_init(MODE_IOMMUFD);
	device = vfio_pci_device_init(device_bdf, iommu);
	ksft_set_plan(2 * ARRAY_SIZE(racers) + 3);

	for (i = 0; i < ARRAY_SIZE(racers); i++)
		VFIO_ASSERT_EQ(pthread_create(&racers[i].thread, NULL, race, &racers[i]), 0);
	sleep(seconds);
	__atomic_store_n(&ended, true, __ATOMIC_RELAXED);

	for (i = 0; i < ARRAY_SIZE(racers); i++) {
		struct racer *racer = &racers[i];

		VFIO_ASSERT_EQ(pthread_join(racer->thread, NULL), 0);
		ksft_print_msg("%s: done %ld times, %ld times busy\n", racer->name,
			       racer->done, racer->busy);
		check(racer->done > 0, "%s: was possible", racer->name);
		check(!racer->error, "%s: nothing worse than busy (%s)", racer->name,
		      strerror(-racer->error));
	}

	check(!device_write(device_bdf, "sriov_numvfs", "0"), "no virtual functions are left");
	check(!view_count("outgoing", "device %s", device_bdf), "nothing is preserved");
	check(!step_preserve(), "device can be preserved");

	vfio_pci_device_cleanup(device);
	iommu_cleanup(iommu);
	close(luo_fd);
	ksft_finished();
}
