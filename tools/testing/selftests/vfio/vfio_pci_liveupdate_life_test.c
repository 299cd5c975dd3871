// SPDX-License-Identifier: GPL-2.0-only
/*
 * What else can happen to a vfio-pci device while it is preserved, before the
 * kexec, and while it is incoming, after it: resets, removal, hot-plug, virtual
 * functions, errors. Each of these works, or is refused, and none is in the way
 * of the kexec.
 *
 * Stage 1 runs before the kexec and stays in the background, stage 2 runs after
 * it. Each case has a device and a session of its own, so that all go through
 * one kexec: the n-th device of the command line is for the n-th case.
 *
 * The n-th device has to be called dev<n> by QEMU, and to be below a root port
 * that is called rp<n>. What QEMU's monitor is to do is asked for in a line
 *
 *	LU-MONITOR <command>
 *
 * Needs an image that is loaded, and vfio-pci with enable_sriov=1.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdlib.h>
#include <unistd.h>

#include <sys/ioctl.h>
#include <sys/reboot.h>
#include <sys/wait.h>

#include <linux/kernel.h>
#include <linux/vfio.h>

#include <libliveupdate.h>
#include <liveupdate_test.h>
#include <luo_options.h>

#define DEVICE_TOKEN		0x1234
#define STATE_TOKEN		0x300
#define STATE_SESSION		"life-state"

/* How long something may take that happens by itself */
#define PATIENCE_MS		20000

/* Something that happens to a device. */
struct life_case {
	const char *name;	/* of the session, too */
	void (*before)(const struct life_case *c, int luo_fd);
	void (*after)(const struct life_case *c, int luo_fd);
	int nr_before;		/* test cases of before() */
	int nr_after;		/* test cases of after() */
	const char *bdf;
	int number;		/* of the device, from 1 on */
};

__printf(1, 2) static void monitor(const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	printf("LU-MONITOR ");
	vprintf(fmt, args);
	printf("\n");
	va_end(args);
	fflush(stdout);
}

/* Write to an attribute of a PCI device. */
static int device_write(const char *bdf, const char *file, const char *value)
{
	char path[PATH_MAX];

	snprintf_assert(path, sizeof(path), "/sys/bus/pci/devices/%s/%s", bdf, file);
	return sysfs_write(path, value);
}

static int driver_write(const char *driver, const char *file, const char *value)
{
	char path[PATH_MAX];

	snprintf_assert(path, sizeof(path), "/sys/bus/pci/drivers/%s/%s", driver,
			file);
	return sysfs_write(path, value);
}

static int scan_all(void)
{
	return sysfs_write("/sys/bus/pci/rescan", "1");
}

/* Whether a device has an attribute, or exists at all if that is "". */
static bool has(const char *bdf, const char *file)
{
	char path[PATH_MAX];

	snprintf_assert(path, sizeof(path), "/sys/bus/pci/devices/%s/%s", bdf, file);
	return !access(path, F_OK);
}

/* Wait until a device has an attribute, or has it no longer. */
static bool comes(const char *bdf, const char *file, bool expected)
{
	int ms;

	for (ms = 0; ms < PATIENCE_MS; ms += 10) {
		if (has(bdf, file) == expected)
			return true;
		usleep(10 * 1000);
	}
	return false;
}

/* Wait until the kernel's log has a line with both. */
static bool log_comes(const char *one, const char *other)
{
	char record[8192];
	bool found = false;
	ssize_t len;
	int ms, fd;

	fd = open("/dev/kmsg", O_RDONLY | O_NONBLOCK);
	VFIO_ASSERT_GE(fd, 0);
	for (ms = 0; ms < PATIENCE_MS && !found; ms += 10) {
		len = read(fd, record, sizeof(record) - 1);
		if (len < 0) {
			VFIO_ASSERT_EQ(errno, EAGAIN);
			usleep(10 * 1000);
			continue;
		}
		record[len] = 0;
		found = strstr(record, one) && strstr(record, other);
	}
	close(fd);
	return found;
}

/* Have this driver bind to a device, and no other one. */
static int bind_driver(const struct life_case *c, const char *driver)
{
	/* The kernel has drivers, one of which may have been first */
	if (has(c->bdf, "driver") && device_write(c->bdf, "driver/unbind", c->bdf))
		return -EBUSY;

	return device_write(c->bdf, "driver_override", driver) ?:
	       driver_write(driver, "bind", c->bdf);
}

/*
 * Bind a file, and use the device through it. Without libvfio, whose mappings of
 * the BARs would keep the device open when the file is closed.
 */
static int device_bind(int device_fd)
{
	struct vfio_region_info config = {
		.argsz = sizeof(config),
		.index = VFIO_PCI_CONFIG_REGION_INDEX,
	};
	u16 vendor;
	int ret;

	ret = __vfio_device_bind_iommufd(device_fd,
					 iommu_init(MODE_IOMMUFD)->iommufd, NULL);
	if (ret)
		return ret;

	if (ioctl(device_fd, VFIO_DEVICE_GET_REGION_INFO, &config) ||
	    pread(device_fd, &vendor, sizeof(vendor), config.offset) != sizeof(vendor) ||
	    vendor == 0xffff)
		return -EIO;

	return 0;
}

static int device_open(const struct life_case *c)
{
	int device_fd = cdev_open(c->bdf);

	VFIO_ASSERT_GE(device_fd, 0);
	VFIO_ASSERT_EQ(device_bind(device_fd), 0);
	return device_fd;
}

static int create_session(const struct life_case *c, int luo_fd)
{
	int session_fd = luo_create_session(luo_fd, c->name);

	VFIO_ASSERT_GE(session_fd, 0);
	return session_fd;
}

static int retrieve_session(const struct life_case *c, int luo_fd)
{
	int session_fd = luo_retrieve_session(luo_fd, c->name);

	require_call(session_fd, "%s: session is retrieved", c->name);
	return session_fd;
}

/* Preserve the device for the kexec. One test case. */
static void preserve(const struct life_case *c, int luo_fd)
{
	int ret = luo_session_preserve_fd(create_session(c, luo_fd),
					  device_open(c), DEVICE_TOKEN);

	require_call(ret, "%s: device is preserved", c->name);
}

/* Whether the device is in use, as far as runtime power management knows */
static bool is_awake(const char *bdf)
{
	char status[32];

	VFIO_ASSERT_EQ(sysfs_read(bdf, "power/runtime_status", status,
				  sizeof(status)), 0);
	return !strcmp(status, "active");
}

/* Only the session has the device, which is bound to vfio-pci. Two test cases. */
static void check_is_incoming(const struct life_case *c)
{
	int ret = cdev_open(c->bdf);

	check_errno(ret, EBUSY, "%s: opening the cdev is refused", c->name);
	if (ret >= 0)
		close(ret);
	check(is_awake(c->bdf), "%s: device is kept awake", c->name);
}

/* Nothing is left of the live update. Two test cases. */
static void check_is_ordinary(const struct life_case *c)
{
	int ret = ordinary_open(c->bdf);
	int ms;

	if (ret)
		ksft_print_msg("%s\n", strerror(-ret));
	check(!ret, "%s: device can be opened and bound by anybody", c->name);

	for (ms = 0; ms < PATIENCE_MS && is_awake(c->bdf); ms += 10)
		usleep(10 * 1000);
	check(!is_awake(c->bdf), "%s: nobody keeps it awake", c->name);
}

/* Retrieve the device and bind it. Two test cases. */
static int retrieve_device(const struct life_case *c, int session_fd)
{
	int device_fd = luo_session_retrieve_fd(session_fd, DEVICE_TOKEN);

	require_call(device_fd, "%s: device is retrieved", c->name);
	check(!device_bind(device_fd), "%s: device is bound", c->name);
	return device_fd;
}

/* Two test cases. */
static void finish(const struct life_case *c, int session_fd, int device_fd)
{
	check(!luo_session_finish(session_fd), "%s: session is finished", c->name);
	check(!close(session_fd) && !close(device_fd),
	      "%s: session and device are closed", c->name);
}

static void after_plain(const struct life_case *c, int luo_fd)
{
	int session_fd = retrieve_session(c, luo_fd);
	int device_fd = retrieve_device(c, session_fd);

	finish(c, session_fd, device_fd);
}

#define NR_AFTER_PLAIN	5

/* Resets through sysfs: of the device, and of the bus that it is on. */

static void before_reset(const struct life_case *c, int luo_fd)
{
	preserve(c, luo_fd);
	check(!device_write(c->bdf, "reset", "1"),
	      "%s: device can be reset before the kexec", c->name);
}

static void after_reset(const struct life_case *c, int luo_fd)
{
	char *above = bdf_above(c->bdf);
	int session_fd, device_fd, ret;

	check_errno(device_write(c->bdf, "reset", "1"), EBUSY,
		    "%s: reset is refused", c->name);
	check_errno(device_write(above, "reset_subordinate", "1"), EBUSY,
		    "%s: reset of its bus is refused", c->name);

	session_fd = retrieve_session(c, luo_fd);
	device_fd = retrieve_device(c, session_fd);
	check_errno(device_write(c->bdf, "reset", "1"), EBUSY,
		    "%s: reset is refused when it was retrieved", c->name);
	finish(c, session_fd, device_fd);

	check(!device_write(c->bdf, "reset", "1"), "%s: device can be reset again",
	      c->name);

	/* Not all emulated links come back, which is another error. */
	ret = device_write(above, "reset_subordinate", "1");
	check(ret != -EBUSY, "%s: and so can its bus (%s)", c->name, strerror(-ret));
	free(above);
}

/* The device, or the port above it, is removed and found again. */

static void before_plain(const struct life_case *c, int luo_fd)
{
	preserve(c, luo_fd);
}

static void remove_and_rescan(const struct life_case *c, int luo_fd, const char *bdf)
{
	int session_fd, device_fd;

	check(!device_write(bdf, "remove", "1") && !has(c->bdf, ""),
	      "%s: %s is removed", c->name, bdf);
	check(!scan_all() && has(c->bdf, ""), "%s: device is found again", c->name);

	check_errno(bind_driver(c, "pci-stub"), EBUSY, "%s: pci-stub is refused",
		    c->name);
	check(!bind_driver(c, "vfio-pci"), "%s: vfio-pci is not refused", c->name);
	check_is_incoming(c);

	session_fd = retrieve_session(c, luo_fd);
	device_fd = retrieve_device(c, session_fd);
	finish(c, session_fd, device_fd);
}

static void after_removed(const struct life_case *c, int luo_fd)
{
	remove_and_rescan(c, luo_fd, c->bdf);
}

static void after_port_removed(const struct life_case *c, int luo_fd)
{
	char *above = bdf_above(c->bdf);

	remove_and_rescan(c, luo_fd, above);
	free(above);
}

/* Somebody removes the device while it is preserved. */

/*
 * The device is being taken away, which waits for its file. The kexec does not
 * wait, and the device can be let go. Four test cases.
 */
static void check_being_taken(const struct life_case *c, int session_fd,
			      int device_fd)
{
	check(comes(c->bdf, "vfio-dev", false) && has(c->bdf, ""),
	      "%s: removal waits for the file", c->name);

	/* The log says no more than ten such things in five seconds. */
	usleep(600 * 1000);
	check_errno(reboot(RB_KEXEC) ? -errno : 0, EBUSY, "%s: kexec is refused",
		    c->name);
	/* It is named whether it is the first device to be frozen, or another one is. */
	check(log_comes(c->bdf, "is being unbound or "), "%s: the log says why", c->name);
	check(!close(session_fd) && !close(device_fd),
	      "%s: session and device are closed", c->name);
}

static void before_being_removed(const struct life_case *c, int luo_fd)
{
	int session_fd = create_session(c, luo_fd);
	int device_fd = device_open(c);
	int ret, status;
	pid_t pid;

	ret = luo_session_preserve_fd(session_fd, device_fd, DEVICE_TOKEN);
	require_call(ret, "%s: device is preserved", c->name);

	pid = fork();
	VFIO_ASSERT_GE(pid, 0);
	if (!pid) {
		close_range(3, ~0U, 0);
		_exit(-device_write(c->bdf, "remove", "1"));
	}

	check_being_taken(c, session_fd, device_fd);
	check(waitpid(pid, &status, 0) == pid && !status && !has(c->bdf, ""),
	      "%s: device is removed", c->name);
	check(!scan_all() && !bind_driver(c, "vfio-pci"), "%s: device is found again",
	      c->name);
	preserve(c, luo_fd);
}

/* The device is taken out of its slot, and another one is put there. */

static void unplug(const struct life_case *c)
{
	monitor("device_del dev%d", c->number);
}

static bool plug_in(const struct life_case *c, const char *model)
{
	/* The slot is empty when the kernel has told it so, after all else. */
	usleep(1000 * 1000);
	monitor("device_add %s,id=dev%d,bus=rp%d", model, c->number, c->number);

	/* Another scan waits for the one that found the device, and is not through. */
	return comes(c->bdf, "", true) && !scan_all();
}

static void before_being_unplugged(const struct life_case *c, int luo_fd)
{
	int session_fd = create_session(c, luo_fd);
	int device_fd = device_open(c);
	int ret;

	ret = luo_session_preserve_fd(session_fd, device_fd, DEVICE_TOKEN);
	require_call(ret, "%s: device is preserved", c->name);

	unplug(c);
	check_being_taken(c, session_fd, device_fd);
	check(comes(c->bdf, "", false), "%s: device is gone", c->name);
	check(plug_in(c, "igb") && !bind_driver(c, "vfio-pci"), "%s: another one is there",
	      c->name);
	preserve(c, luo_fd);
}

static void after_unplugged(const struct life_case *c, int luo_fd)
{
	int session_fd, device_fd, ret, ms;

	unplug(c);
	check(comes(c->bdf, "", false), "%s: device is gone", c->name);
	session_fd = retrieve_session(c, luo_fd);

	/* It is gone from sysfs before it is from the list of devices. */
	for (ms = 0; ms < PATIENCE_MS; ms += 10) {
		ret = luo_session_retrieve_fd(session_fd, DEVICE_TOKEN);
		if (ret != -EAGAIN)
			break;
		usleep(10 * 1000);
	}
	check_errno(ret, ENODEV, "%s: it cannot be retrieved", c->name);

	/* Nobody can tell it from the one that was preserved. */
	check(plug_in(c, "igb"), "%s: another one is there", c->name);
	check_errno(bind_driver(c, "pci-stub"), EBUSY, "%s: pci-stub is refused",
		    c->name);
	check(!bind_driver(c, "vfio-pci"), "%s: vfio-pci is not refused", c->name);
	check_is_incoming(c);

	device_fd = retrieve_device(c, session_fd);
	finish(c, session_fd, device_fd);
}

/* Virtual functions */

static void before_sriov(const struct life_case *c, int luo_fd)
{
	int session_fd = create_session(c, luo_fd);
	int device_fd = device_open(c);
	int ret;

	check(!device_write(c->bdf, "sriov_numvfs", "2") && has(c->bdf, "virtfn1"),
	      "%s: two virtual functions are enabled", c->name);
	check_errno(luo_session_preserve_fd(session_fd, device_fd, DEVICE_TOKEN),
		    EOPNOTSUPP, "%s: physical function is not preserved with them",
		    c->name);
	check(!device_write(c->bdf, "sriov_numvfs", "0") && !has(c->bdf, "virtfn0"),
	      "%s: virtual functions are disabled", c->name);

	ret = luo_session_preserve_fd(session_fd, device_fd, DEVICE_TOKEN);
	require_call(ret, "%s: device is preserved", c->name);
	check_errno(device_write(c->bdf, "sriov_numvfs", "1"), EBUSY,
		    "%s: virtual functions are refused", c->name);
	check(!device_write(c->bdf, "sriov_numvfs", "0"),
	      "%s: asking for none is not refused", c->name);
}

static void after_sriov(const struct life_case *c, int luo_fd)
{
	int session_fd, device_fd;

	check_errno(device_write(c->bdf, "sriov_numvfs", "1"), EBUSY,
		    "%s: virtual functions are refused", c->name);
	check(!device_write(c->bdf, "sriov_numvfs", "0"),
	      "%s: asking for none is not refused", c->name);

	session_fd = retrieve_session(c, luo_fd);
	device_fd = retrieve_device(c, session_fd);
	check_errno(device_write(c->bdf, "sriov_numvfs", "1"), EBUSY,
		    "%s: virtual functions are refused before the session is finished",
		    c->name);
	finish(c, session_fd, device_fd);

	check(!device_write(c->bdf, "sriov_numvfs", "1") && has(c->bdf, "virtfn0"),
	      "%s: a virtual function is enabled", c->name);
	check(!device_write(c->bdf, "sriov_numvfs", "0") && !has(c->bdf, "virtfn0"),
	      "%s: and disabled", c->name);
}

/*
 * The port above the device reports errors, which the kernel has the drivers of
 * all devices below it deal with.
 */

static void before_errors(const struct life_case *c, int luo_fd)
{
	int session_fd = create_session(c, luo_fd);
	char *above = bdf_above(c->bdf);
	int device_fd = device_open(c);
	int ret;

	ret = luo_session_preserve_fd(session_fd, device_fd, DEVICE_TOKEN);
	require_call(ret, "%s: device is preserved", c->name);

	monitor("pcie_aer_inject_error rp%d BAD_TLP", c->number);
	check(log_comes(above, "severity=Correctable"),
	      "%s: a correctable error is reported", c->name);
	check(!device_get_info(device_fd), "%s: device can be used after that",
	      c->name);

	monitor("pcie_aer_inject_error rp%d COMP_ABORT", c->number);
	check(log_comes(above, "severity=Uncorrectable (Non-Fatal)"),
	      "%s: one that is not is reported", c->name);
	check(log_comes(above, "AER: device recovery successful"),
	      "%s: all drivers have dealt with it", c->name);
	check(!device_get_info(device_fd), "%s: device can be used after that, too",
	      c->name);
	free(above);
}

/* A device of another kind is nobody's before the session is over. */
static void after_replaced(const struct life_case *c, int luo_fd)
{
	int session_fd;

	unplug(c);
	check(comes(c->bdf, "", false), "%s: device is gone", c->name);
	check(plug_in(c, "e1000e"), "%s: one of another kind is there", c->name);
	check_errno(bind_driver(c, "vfio-pci"), EBUSY, "%s: vfio-pci is refused", c->name);

	session_fd = retrieve_session(c, luo_fd);
	check_errno(luo_session_retrieve_fd(session_fd, DEVICE_TOKEN), EACCES,
		    "%s: it cannot be retrieved", c->name);
	check(!luo_session_finish(session_fd), "%s: session is finished", c->name);
	check(!close(session_fd), "%s: session is closed", c->name);
	check(!bind_driver(c, "vfio-pci"), "%s: vfio-pci is not refused any more", c->name);
}

static struct life_case cases[] = {
	{ "reset", before_reset, after_reset, 2, 10 },
	{ "removed", before_plain, after_removed, 1, 11 },
	{ "port-removed", before_plain, after_port_removed, 1, 11 },
	{ "being-removed", before_being_removed, after_plain, 8, NR_AFTER_PLAIN },
	{ "being-unplugged", before_being_unplugged, after_plain, 8, NR_AFTER_PLAIN },
	{ "unplugged", before_plain, after_unplugged, 1, 12 },
	{ "replaced", before_plain, after_replaced, 1, 8 },
	{ "sriov", before_sriov, after_sriov, 6, 10 },
	{ "errors", before_errors, after_plain, 6, NR_AFTER_PLAIN },
};

static void stage_1(int luo_fd)
{
	int i, plan = 0;

	for (i = 0; i < ARRAY_SIZE(cases); i++)
		plan += cases[i].nr_before;
	ksft_set_plan(plan);

	if (!image_is_loaded())
		ksft_exit_fail_msg("no image is loaded\n");

	create_state_file(luo_fd, STATE_SESSION, STATE_TOKEN, 2);
	for (i = 0; i < ARRAY_SIZE(cases); i++)
		cases[i].before(&cases[i], luo_fd);

	if (ksft_get_fail_cnt())
		ksft_finished();

	ksft_print_cnts();
	close(luo_fd);
	daemonize_and_wait();
}

static void stage_2(int luo_fd, int state_session_fd)
{
	int i, plan = 1;

	for (i = 0; i < ARRAY_SIZE(cases); i++)
		plan += cases[i].nr_after + 2;
	ksft_set_plan(plan);

	/* Whatever happened, the device is an ordinary one in the end. */
	for (i = 0; i < ARRAY_SIZE(cases); i++) {
		cases[i].after(&cases[i], luo_fd);
		check_is_ordinary(&cases[i]);
	}

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
		"Needs %zu devices with SR-IOV that are bound to vfio-pci.\n",
		name, ARRAY_SIZE(cases));
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
	if (nr_bdfs != ARRAY_SIZE(cases))
		ksft_exit_fail_msg("%d devices given, %zu are needed\n", nr_bdfs,
				   ARRAY_SIZE(cases));
	for (i = 0; i < nr_bdfs; i++) {
		cases[i].bdf = bdfs[i];
		cases[i].number = i + 1;
	}

	for (i = 0; stage == 1 && i < nr_bdfs; i++)
		need_bound(bdfs[i]);

	run_stage(stage, STATE_SESSION, stage_1, stage_2);
	return KSFT_FAIL;
}
