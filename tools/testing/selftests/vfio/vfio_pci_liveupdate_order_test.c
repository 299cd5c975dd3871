// SPDX-License-Identifier: GPL-2.0-only
/*
 * The order in which the files of a VMM are preserved and retrieved: a memfd, the
 * iommufd that it is mapped into, and the cdev of a device that goes on with that.
 *
 * A service manager that is given such files may not know their order, and it may
 * retrieve all of them before anybody bound the device to vfio-pci. Each order is
 * tried, with a device and a session of its own. What comes too early is refused,
 * with the order in the log, and can be preserved afterwards. After the kexec, any
 * order does, and looking early costs nothing.
 *
 * Stage 1 runs before the kexec, with devices that are bound to vfio-pci, and stays
 * in the background. Stage 2 runs after it, and binds them itself.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <linux/kernel.h>
#include <linux/limits.h>
#include <linux/sizes.h>

#include <libliveupdate.h>
#include <liveupdate_test.h>
#include <luo_options.h>

#define FIRST_TOKEN		0x100
#define HWPT_TOKEN		0x200
#define STATE_TOKEN		0x300
#define STATE_SESSION		"order-state"

/* Each is used by the next one. */
enum file { MEMFD, IOMMUFD, CDEV, NR_FILES };

static const char * const names[NR_FILES] = { "memfd", "iommufd", "cdev" };

/* What the log says of one that comes too early */
static const char * const rules[NR_FILES] = {
	[IOMMUFD] = "a memfd that is not preserved in this session, preserve it first",
	[CDEV] = "preserve its iommufd first",
};

static const enum file orders[][NR_FILES] = {
	{ MEMFD, IOMMUFD, CDEV },
	{ MEMFD, CDEV, IOMMUFD },
	{ IOMMUFD, MEMFD, CDEV },
	{ IOMMUFD, CDEV, MEMFD },
	{ CDEV, MEMFD, IOMMUFD },
	{ CDEV, IOMMUFD, MEMFD },
};

#define NR_ORDERS		ARRAY_SIZE(orders)

#define NR_BEFORE_CASES		7
#define NR_AFTER_CASES		15

/* One order, and the device that it is tried with. */
struct order_case {
	const enum file *order;
	const char *bdf;
	char name[64];		/* of the session, too */
};

static struct order_case cases[NR_ORDERS];

static int preserve(int session_fd, const int *fds, enum file file)
{
	return luo_session_preserve_fd(session_fd, fds[file], FIRST_TOKEN + file);
}

static int retrieve(int session_fd, enum file file)
{
	return luo_session_retrieve_fd(session_fd, FIRST_TOKEN + file);
}

/* Nothing is marked: the device is stopped for the kexec, and the order is of no matter. */
static bool preserved_in_any_order(const struct order_case *c, int luo_fd, const int *fds)
{
	int session_fd = luo_create_session(luo_fd, c->name);
	bool preserved = session_fd >= 0;
	int i;

	for (i = 0; i < NR_FILES; i++)
		preserved = preserved && !preserve(session_fd, fds, c->order[i]);

	return preserved && !close(session_fd);
}

static void preserve_in_order(const struct order_case *c, int session_fd, const int *fds)
{
	bool preserved[NR_FILES] = {};
	int i, ret, kmsg = kmsg_open();
	enum file file;

	for (i = 0; i < NR_FILES; i++) {
		file = c->order[i];
		preserved[file] = file == MEMFD || preserved[file - 1];
		ret = preserve(session_fd, fds, file);
		if (preserved[file])
			check_errno(ret, 0, "%s: %s is preserved", c->name, names[file]);
		else
			check(ret == -ENOENT && kmsg_says(kmsg, rules[file]),
			      "%s: %s is refused, and the log names the order", c->name,
			      names[file]);
	}
	close(kmsg);

	ret = 0;
	for (file = MEMFD; file < NR_FILES; file++)
		if (!preserved[file])
			ret = ret ?: preserve(session_fd, fds, file);
	check_errno(ret, 0, "%s: what was refused is preserved in the other order", c->name);
}

static void before(const struct order_case *c, int luo_fd)
{
	struct iommu *iommu = iommu_init(MODE_IOMMUFD);
	struct vfio_pci_device *device = vfio_pci_device_init(c->bdf, iommu);
	struct test_memory mem = {};
	int fds[NR_FILES], session_fd;

	memory_create(&mem, SZ_1M, 0);
	require_call(memory_map_file(&mem, device), "%s: memfd is mapped", c->name);
	fds[MEMFD] = mem.fd;
	fds[IOMMUFD] = iommu->iommufd;
	fds[CDEV] = device->fd;

	check(preserved_in_any_order(c, luo_fd, fds),
	      "%s: is as good as another one for a device that is stopped", c->name);

	require_call(mark_hwpt(iommu, HWPT_TOKEN), "%s: HWPT is marked", c->name);
	session_fd = luo_create_session(luo_fd, c->name);
	VFIO_ASSERT_GE(session_fd, 0);
	preserve_in_order(c, session_fd, fds);
}

/* All files are asked for and closed again, while the device waits for its driver. */
static void look_early(const struct order_case *c, int session_fd)
{
	int i, fd, kmsg = kmsg_open();
	char line[256];

	snprintf_assert(line, sizeof(line), "%s is not bound, bind it to vfio-pci", c->bdf);
	for (i = 0; i < NR_FILES; i++) {
		fd = retrieve(session_fd, c->order[i]);
		if (c->order[i] == CDEV)
			check(fd == -EAGAIN && kmsg_says(kmsg, line),
			      "%s: cdev has to wait, and the log says for what", c->name);
		else
			check(fd >= 0 && !close(fd), "%s: %s is retrieved early", c->name,
			      names[c->order[i]]);
	}
	close(kmsg);
	check_errno(luo_session_finish(session_fd), EBUSY,
		    "%s: session is not finished over a device that waits", c->name);
}

static bool bind_vfio_pci(const char *bdf)
{
	char path[PATH_MAX];

	snprintf_assert(path, sizeof(path), "/sys/bus/pci/devices/%s/driver_override", bdf);
	return !sysfs_write(path, "vfio-pci") &&
	       !sysfs_write("/sys/bus/pci/drivers/vfio-pci/bind", bdf);
}

static void after(const struct order_case *c, int luo_fd)
{
	struct vfio_pci_device *device;
	struct test_memory mem = {};
	int fds[NR_FILES], session_fd, i, ret;
	struct iommu *iommu;

	session_fd = luo_retrieve_session(luo_fd, c->name);
	require_call(session_fd, "%s: session is retrieved", c->name);
	look_early(c, session_fd);
	require(bind_vfio_pci(c->bdf), "%s: device is bound to vfio-pci", c->name);

	for (i = 0; i < NR_FILES; i++) {
		fds[c->order[i]] = retrieve(session_fd, c->order[i]);
		require_call(fds[c->order[i]], "%s: %s is retrieved", c->name,
			     names[c->order[i]]);
	}

	mem.fd = fds[MEMFD];
	check(memory_retrieved(&mem) && data_intact(&mem), "%s: data is intact", c->name);

	iommu = iommu_init(MODE_IOMMUFD);
	ret = __vfio_device_bind_iommufd(fds[CDEV], iommu->iommufd, NULL);
	check_errno(ret, EPERM, "%s: device is not bound to a foreign iommufd", c->name);
	require_call(move_to_iommufd(iommu, fds[IOMMUFD]), "%s: there is a new IOAS", c->name);
	ret = __vfio_device_bind_iommufd(fds[CDEV], iommu->iommufd, NULL);
	require_call(ret, "%s: device is bound to its iommufd", c->name);
	device = vfio_pci_device_init_bound(c->bdf, iommu, fds[CDEV]);

	check(!luo_session_finish(session_fd) && !close(session_fd),
	      "%s: session is finished", c->name);
	vfio_pci_device_cleanup(device);
	iommu_cleanup(iommu);
	close(mem.fd);
	check(!ordinary_open(c->bdf), "%s: device can be opened and bound by anybody", c->name);
}

static void stage_1(int luo_fd)
{
	int i;

	ksft_set_plan(NR_ORDERS * NR_BEFORE_CASES);
	create_state_file(luo_fd, STATE_SESSION, STATE_TOKEN, 2);
	for (i = 0; i < NR_ORDERS; i++)
		before(&cases[i], luo_fd);

	if (ksft_get_fail_cnt())
		ksft_finished();

	ksft_print_cnts();
	close(luo_fd);
	daemonize_and_wait();
}

static void stage_2(int luo_fd, int state_session_fd)
{
	int i;

	ksft_set_plan(NR_ORDERS * NR_AFTER_CASES + 1);
	for (i = 0; i < NR_ORDERS; i++)
		after(&cases[i], luo_fd);
	check(!luo_session_finish(state_session_fd), "state session is finished");
	ksft_finished();
}

static void usage(FILE *stream, const char *name)
{
	fprintf(stream,
		"Usage: %s --stage 1|2 segment:bus:device.function ...\n"
		"\n"
		"  -s, --stage 1  before the kexec (default)\n"
		"  -s, --stage 2  after the kexec, with the same devices\n"
		"\n"
		"Needs %zu devices, which are bound to vfio-pci in stage 1.\n",
		name, NR_ORDERS);
}

int main(int argc, char *argv[])
{
	int nr_bdfs, i, stage = 1;
	char **bdfs;
	const struct luo_option options[] = {
		{ "stage", 's', .number = &stage },
		{}
	};

	luo_parse_options(argc, argv, options, usage);

	bdfs = vfio_selftests_get_bdfs(&argc, argv, &nr_bdfs);
	ksft_print_header();
	if (nr_bdfs != NR_ORDERS)
		ksft_exit_fail_msg("%d devices given, %zu are needed\n", nr_bdfs, NR_ORDERS);
	for (i = 0; i < NR_ORDERS; i++) {
		const enum file *order = orders[i];

		cases[i].order = order;
		cases[i].bdf = bdfs[i];
		snprintf_assert(cases[i].name, sizeof(cases[i].name), "%s, %s, %s",
				names[order[0]], names[order[1]], names[order[2]]);
	}

	for (i = 0; stage == 1 && i < nr_bdfs; i++)
		need_bound(bdfs[i]);

	run_stage(stage, STATE_SESSION, stage_1, stage_2);
	return KSFT_FAIL;
}
