// SPDX-License-Identifier: GPL-2.0-only
/*
 * A vfio-pci device is taken away around a kexec that it goes through: the power
 * of its slot is turned off, it is removed, or the port above it is, or it is
 * unbound. The kexec happens, and the next kernel has the device, or the kexec is
 * refused, and the device is taken away. Nothing hangs.
 *
 * With --refused, the last device always refuses the kexec, and the first one is
 * taken away at each of several times from before the call on.
 *
 * With --preserve, the kexec is left to the caller. A process in the background
 * takes the first device away some time after all were frozen, when nothing can
 * refuse the kexec any more. In the next kernel, --retrieve takes all devices over,
 * and says whether it was early enough.
 * The first device should be the one that is shut down last: that which was found
 * first.
 *
 * Several devices that are reset when they are shut down make it take long.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <unistd.h>

#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/reboot.h>
#include <sys/wait.h>

#include <linux/compiler.h>
#include <linux/kernel.h>
#include <linux/time64.h>
#include <linux/vfio.h>

#include <libliveupdate.h>
#include <liveupdate_test.h>
#include <luo_options.h>

#define SESSION_NAME		"removal"
#define RECORD_TOKEN		0x100
#define DEVICE_TOKEN		0x1000	/* of the first device */
#define MAX_DEVICES		16

/* How long anything may take */
#define PATIENCE_MS		20000

/* With --refused: when the device is taken away, and when the kexec is called */
#define NR_ROUNDS		20
#define ROUND_STEP_NS		NSEC_PER_MSEC
#define ROUND_KEXEC_NS		(5 * NSEC_PER_MSEC)
#define ROUND_START_NS		(50 * NSEC_PER_MSEC)

/* What one kernel's test tells the next one's */
struct record {
	u64 began;	/* somebody took the device away */
	u64 ended;	/* and came back from that */
};

/* How the device is taken away */
struct way {
	const char *name;
	const char *path;	/* of a file in sysfs, below that of @bdf if relative */
	const char *value;	/* that is written there, or NULL for the bdf */
	bool above;		/* of the bridge above the device */
};

static const struct way ways[] = {
	{ "power", NULL, "0", false },
	{ "remove", "remove", "1", false },
	{ "port", "remove", "1", true },
	{ "unbind", "/sys/bus/pci/drivers/vfio-pci/unbind", NULL, false },
};

static char **bdfs;
static int nr_bdfs;

/* Finds the attribute with the power of the slot that a device is in. */
static void slot_path(const char *bdf, char *path, size_t size)
{
	static const char slots[] = "/sys/bus/pci/slots";
	struct dirent *entry;
	char address[32];
	DIR *dir;

	dir = opendir(slots);
	VFIO_ASSERT_NOT_NULL(dir);

	while ((entry = readdir(dir))) {
		ssize_t len;
		int fd;

		if (entry->d_name[0] == '.')
			continue;

		snprintf_assert(path, size, "%s/%s/address", slots, entry->d_name);
		fd = open(path, O_RDONLY);
		VFIO_ASSERT_GE(fd, 0);
		len = read(fd, address, sizeof(address) - 1);
		VFIO_ASSERT_GT(len, 0);
		close(fd);

		/* Without the function */
		address[len] = 0;
		address[strcspn(address, "\n")] = 0;
		if (strncmp(bdf, address, strlen(address)) || bdf[strlen(address)] != '.')
			continue;

		snprintf_assert(path, size, "%s/%s/power", slots, entry->d_name);
		closedir(dir);
		return;
	}

	closedir(dir);
	ksft_exit_fail_msg("%s is in no slot that can be turned off\n", bdf);
}

/* Finds what is to be written to for a device to be taken away. */
static void way_path(const struct way *way, const char *bdf, char *path, size_t size)
{
	char *above = way->above ? bdf_above(bdf) : NULL;

	if (!way->path)
		slot_path(bdf, path, size);
	else if (way->path[0] == '/')
		snprintf_assert(path, size, "%s", way->path);
	else
		snprintf_assert(path, size, "/sys/bus/pci/devices/%s/%s", above ?: bdf, way->path);

	free(above);
}

static int take_away(const struct way *way, const char *bdf, const char *path)
{
	return sysfs_write(path, way->value ?: bdf);
}

/* Write to an attribute of a PCI device. */
static int device_write(const char *bdf, const char *file, const char *value)
{
	char path[PATH_MAX];

	snprintf_assert(path, sizeof(path), "/sys/bus/pci/devices/%s/%s", bdf, file);
	return sysfs_write(path, value);
}

static bool has(const char *bdf, const char *file)
{
	char path[PATH_MAX];

	snprintf_assert(path, sizeof(path), "/sys/bus/pci/devices/%s/%s", bdf, file);
	return !access(path, F_OK);
}

/* Have vfio-pci bind to a device that was taken away. */
static int give_back(const char *bdf)
{
	if (!has(bdf, "") && sysfs_write("/sys/bus/pci/rescan", "1"))
		return -ENODEV;

	/* The kernel has drivers, one of which may have been first */
	if (has(bdf, "driver") && device_write(bdf, "driver/unbind", bdf))
		return -EBUSY;

	return device_write(bdf, "driver_override", "vfio-pci") ?:
	       sysfs_write("/sys/bus/pci/drivers/vfio-pci/bind", bdf);
}

/* Bind a file, and use the device through it. */
static int device_bind(int device_fd, struct iommu *iommu)
{
	struct vfio_region_info config = {
		.argsz = sizeof(config),
		.index = VFIO_PCI_CONFIG_REGION_INDEX,
	};
	u16 vendor;
	int ret;

	ret = __vfio_device_bind_iommufd(device_fd, iommu->iommufd, NULL);
	if (ret)
		return ret;

	if (ioctl(device_fd, VFIO_DEVICE_GET_REGION_INFO, &config) ||
	    pread(device_fd, &vendor, sizeof(vendor), config.offset) != sizeof(vendor) ||
	    vendor == 0xffff)
		return -EIO;

	return 0;
}

static int device_open(const char *bdf, struct iommu *iommu)
{
	int device_fd = cdev_open(bdf);

	VFIO_ASSERT_GE(device_fd, 0);
	VFIO_ASSERT_EQ(device_bind(device_fd, iommu), 0);
	return device_fd;
}

/* The first devices, of which there are @count, are preserved in this order. */
static int preserve_devices(int session_fd, const int *device_fds, int count)
{
	int i, ret;

	for (i = 0; i < count; i++) {
		ret = luo_session_preserve_fd(session_fd, device_fds[i], DEVICE_TOKEN + i);
		if (ret)
			return ret;
	}
	return 0;
}

static void wait_until(u64 ns)
{
	while (now_ns() < ns)
		usleep(100);
}

/* Whether a process ends soon, and well. */
static bool ends_well(pid_t pid)
{
	int status, ms;

	for (ms = 0; ms < PATIENCE_MS; ms += 10) {
		if (waitpid(pid, &status, WNOHANG) == pid)
			return !status;
		usleep(10 * 1000);
	}
	return false;
}

/* The kexec is refused, and the device can be taken away. Three test cases. */
static void refused_round(int round, const struct way *way, struct iommu *iommu,
			  int luo_fd, int refuser_fd)
{
	int device_fds[MAX_DEVICES], session_fd, count = nr_bdfs - 1, err, i;
	u64 start, began, took_ms;
	char path[PATH_MAX];
	pid_t pid;

	session_fd = luo_create_session(luo_fd, SESSION_NAME);
	VFIO_ASSERT_GE(session_fd, 0);
	for (i = 0; i < count; i++)
		device_fds[i] = device_open(bdfs[i], iommu);
	device_fds[count] = refuser_fd;
	VFIO_ASSERT_EQ(preserve_devices(session_fd, device_fds, nr_bdfs), 0);

	way_path(way, bdfs[0], path, sizeof(path));
	start = now_ns() + ROUND_START_NS;
	pid = fork();
	VFIO_ASSERT_GE(pid, 0);
	if (!pid) {
		close_range(3, ~0U, 0);
		wait_until(start + round * ROUND_STEP_NS);
		_exit(-take_away(way, bdfs[0], path));
	}

	wait_until(start + ROUND_KEXEC_NS);
	began = now_ns();
	err = reboot(RB_KEXEC) ? errno : 0;
	took_ms = (now_ns() - began) / NSEC_PER_MSEC;

	/* By the last device, or since the first one is being taken away */
	check((err == EINVAL || err == EBUSY) && took_ms < PATIENCE_MS,
	      "%s at %d ms: kexec is refused after %lu ms (%s)", way->name, round,
	      (unsigned long)took_ms, strerror(err));

	for (i = 0; i < count; i++)
		close(device_fds[i]);
	close(session_fd);
	require(ends_well(pid), "%s at %d ms: device is taken away", way->name, round);
	check(!give_back(bdfs[0]), "%s at %d ms: and given back", way->name, round);
}

static void refused(int luo_fd)
{
	/* Turning the power off would take the device from the machine. */
	static const struct way *tried[] = { &ways[3], &ways[1] };
	struct iommu *iommu = iommu_init(MODE_IOMMUFD);
	struct vfio_pci_device *refuser;
	int i;

	if (!image_is_loaded())
		ksft_exit_fail_msg("no image is loaded\n");

	ksft_set_plan(3 * NR_ROUNDS);
	refuser = vfio_pci_device_init(bdfs[nr_bdfs - 1], iommu_init(MODE_IOMMUFD));
	VFIO_ASSERT_GT(refuser->msix_info.count, 0);
	vfio_pci_msix_enable(refuser, 0, 1);

	for (i = 0; i < NR_ROUNDS; i++)
		refused_round(i, tried[i % ARRAY_SIZE(tried)], iommu, luo_fd, refuser->fd);

	ksft_finished();
}

static struct record *record_map(int memfd)
{
	struct record *record;

	record = mmap(NULL, sizeof(*record), PROT_READ | PROT_WRITE, MAP_SHARED, memfd, 0);
	VFIO_ASSERT_NE(record, MAP_FAILED);
	return record;
}

/* All devices went through the kexec. As many test cases as there are devices, and four. */
static void retrieve(int luo_fd, struct iommu *iommu, int *device_fds)
{
	int session_fd, memfd, ret, i;
	struct record *record;

	session_fd = luo_retrieve_session(luo_fd, SESSION_NAME);
	require_call(session_fd, "session is retrieved");
	memfd = luo_session_retrieve_fd(session_fd, RECORD_TOKEN);
	require_call(memfd, "record is retrieved");

	record = record_map(memfd);
	ksft_print_msg("whoever took the device away %s\n",
		       record->ended ? "came back" : "did not come back");
	check(record->began, "the device was taken away before the kexec");
	munmap(record, sizeof(*record));
	close(memfd);

	for (i = 0; i < nr_bdfs; i++) {
		device_fds[i] = luo_session_retrieve_fd(session_fd, DEVICE_TOKEN + i);
		ret = device_fds[i] < 0 ? device_fds[i] : device_bind(device_fds[i], iommu);
		require_call(ret, "%s is retrieved and bound", bdfs[i]);
	}
	check(!luo_session_finish(session_fd) && !close(session_fd), "session is finished");
}

/* Takes the first device away once the last one is frozen. Never returns. */
static void take_away_later(const struct way *way, int delay_ms, const char *path,
			    int last_fd, struct record *record)
{
	setsid();
	close_range(0, 2, 0);
	if (chdir("/"))
		_exit(1);

	while (device_get_info(last_fd) != -EIO)
		usleep(100);
	usleep(delay_ms * 1000);

	WRITE_ONCE(record->began, 1);
	take_away(way, bdfs[0], path);
	WRITE_ONCE(record->ended, 1);

	while (1)
		pause();
}

/* Preserve all devices for a kexec that somebody else calls. One test case. */
static void preserve(int luo_fd, const struct way *way, int delay_ms, const int *device_fds)
{
	struct record *record;
	int session_fd, memfd;
	char path[PATH_MAX];
	pid_t pid;

	session_fd = luo_create_session(luo_fd, SESSION_NAME);
	VFIO_ASSERT_GE(session_fd, 0);
	memfd = memfd_create(SESSION_NAME, MFD_ALLOW_SEALING);
	VFIO_ASSERT_GE(memfd, 0);
	VFIO_ASSERT_EQ(ftruncate(memfd, getpagesize()), 0);
	record = record_map(memfd);
	memset(record, 0, sizeof(*record));
	VFIO_ASSERT_EQ(luo_session_preserve_fd(session_fd, memfd, RECORD_TOKEN), 0);

	require_call(preserve_devices(session_fd, device_fds, nr_bdfs),
		     "%d devices are preserved", nr_bdfs);

	way_path(way, bdfs[0], path, sizeof(path));
	close(luo_fd);
	pid = fork();
	VFIO_ASSERT_GE(pid, 0);
	if (!pid)
		take_away_later(way, delay_ms, path, device_fds[nr_bdfs - 1], record);
}

static const struct way *find_way(const char *name)
{
	int i;

	for (i = 0; i < ARRAY_SIZE(ways); i++) {
		if (!strcmp(ways[i].name, name))
			return &ways[i];
	}
	ksft_exit_fail_msg("there is no way '%s'\n", name);
}

static void usage(FILE *stream, const char *name)
{
	fprintf(stream,
		"Usage: %s --refused segment:bus:device.function ...\n"
		"       %s [--retrieve] [--preserve WAY [--delay MS]] segment:bus:device.function ...\n"
		"\n"
		"  -x, --refused       take the first device away around kexecs that are refused,\n"
		"                      %d times\n"
		"  -r, --retrieve      take over what was preserved before the kexec\n"
		"  -p, --preserve WAY  preserve all devices, and take the first one away, by WAY:\n"
		"                      power (of its slot), remove, port (above it), unbind\n"
		"  -d, --delay MS      so long after the last one was frozen (0)\n"
		"\n"
		"Needs at least 2 devices that are bound to vfio-pci, and for --refused an image\n"
		"that is loaded, and a last device that has MSI-X.\n",
		name, name, NR_ROUNDS);
}

int main(int argc, char *argv[])
{
	bool is_refused = false, is_retrieved = false;
	const struct way *way = NULL;
	const char *way_name = NULL;
	int device_fds[MAX_DEVICES];
	int luo_fd, i, delay_ms = 0;
	struct iommu *iommu;
	const struct luo_option options[] = {
		{ "refused", 'x', .flag = &is_refused },
		{ "retrieve", 'r', .flag = &is_retrieved },
		{ "preserve", 'p', .text = &way_name },
		{ "delay", 'd', .number = &delay_ms },
		{}
	};

	luo_parse_options(argc, argv, options, usage);
	if (way_name)
		way = find_way(way_name);

	bdfs = vfio_selftests_get_bdfs(&argc, argv, &nr_bdfs);
	ksft_print_header();
	if (nr_bdfs < 2 || nr_bdfs > MAX_DEVICES || is_refused == (is_retrieved || way))
		ksft_exit_fail_msg("wrong arguments, see --help\n");

	luo_fd = luo_open_device();
	if (luo_fd < 0)
		ksft_exit_fail_msg("open(%s): %m (booted with liveupdate=on?)\n",
				   LUO_DEVICE);
	if (is_refused)
		refused(luo_fd);

	ksft_set_plan((is_retrieved ? nr_bdfs + 4 : 0) + (way ? 1 : 0));
	iommu = iommu_init(MODE_IOMMUFD);
	if (is_retrieved) {
		retrieve(luo_fd, iommu, device_fds);
	} else {
		for (i = 0; i < nr_bdfs; i++)
			device_fds[i] = device_open(bdfs[i], iommu);
	}

	if (way)
		preserve(luo_fd, way, delay_ms, device_fds);
	ksft_finished();
}
