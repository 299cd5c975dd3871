// SPDX-License-Identifier: GPL-2.0-only
/*
 * What can go wrong between preserving a vfio-pci device and finishing it, with
 * a kexec in between.
 *
 * Stage 1 runs before the kexec and stays in the background, stage 2 runs after
 * it. Each case has a device and a session of its own, so that all go through
 * one kexec: the n-th device of the command line is for the n-th case.
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/wait.h>

#include <linux/kernel.h>
#include <linux/limits.h>
#include <linux/vfio.h>

#include <libliveupdate.h>
#include <liveupdate_test.h>
#include <luo_options.h>

#define DEVICE_TOKEN		0x1234
#define WRONG_TOKEN		0x4321
#define MEMFD_TOKEN		0x5678
#define STATE_TOKEN		0x300
#define STATE_SESSION		"unhappy-state"

/* One way to go wrong. */
struct unhappy_case {
	const char *name;	/* of the session, too */
	void (*before)(const struct unhappy_case *c, int luo_fd);
	void (*after)(const struct unhappy_case *c, int luo_fd);
	int nr_before;		/* test cases of before() */
	int nr_after;		/* test cases of after() */
	const char *bdf;
};

static int create_session(const struct unhappy_case *c, int luo_fd)
{
	int session_fd = luo_create_session(luo_fd, c->name);

	VFIO_ASSERT_GE(session_fd, 0);
	return session_fd;
}

/* Open and bind the device for good. */
static int device_open(const struct unhappy_case *c)
{
	return vfio_pci_device_init(c->bdf, iommu_init(MODE_IOMMUFD))->fd;
}

static int retrieve_session(const struct unhappy_case *c, int luo_fd)
{
	int session_fd = luo_retrieve_session(luo_fd, c->name);

	require_call(session_fd, "%s: session is retrieved", c->name);
	return session_fd;
}

static int retrieve_device(const struct unhappy_case *c, int session_fd)
{
	int device_fd = luo_session_retrieve_fd(session_fd, DEVICE_TOKEN);

	require_call(device_fd, "%s: device is retrieved", c->name);
	return device_fd;
}

/*
 * Bind a retrieved file, and use the device through it. Without libvfio, whose
 * mappings of the BARs would keep the device open when the file is closed.
 */
static int device_bind(const struct unhappy_case *c, int device_fd)
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

static void check_is_incoming(const struct unhappy_case *c)
{
	int ret = cdev_open(c->bdf);

	check_errno(ret, EBUSY, "%s: opening the cdev is refused", c->name);
	if (ret >= 0)
		close(ret);
}

static void check_is_ordinary(const struct unhappy_case *c)
{
	int ret = ordinary_open(c->bdf);

	if (ret)
		ksft_print_msg("%s\n", strerror(-ret));
	check(!ret, "%s: device can be opened and bound by anybody", c->name);
}

static void check_session_is_gone(const struct unhappy_case *c, int luo_fd)
{
	check_errno(luo_retrieve_session(luo_fd, c->name), ENOENT,
		    "%s: there is no such session", c->name);
}

/* Closing the session costs its device what it does, and is no secret. */
static void check_close_loses(const struct unhappy_case *c, int session_fd)
{
	int kmsg = kmsg_open();
	char line[256];

	snprintf_assert(line, sizeof(line),
			"%s: is stopped and reset: session '%s' was closed", c->bdf, c->name);
	check(!close(session_fd) && kmsg_says(kmsg, line),
	      "%s: session is closed, and the log names the device", c->name);
	close(kmsg);
}

static void before_plain(const struct unhappy_case *c, int luo_fd)
{
	int ret;

	ret = luo_session_preserve_fd(create_session(c, luo_fd), device_open(c),
				      DEVICE_TOKEN);
	require_call(ret, "%s: device is preserved", c->name);
}

/* Tokens, and the order of operations on a session. */

static void before_order(const struct unhappy_case *c, int luo_fd)
{
	int session_fd = create_session(c, luo_fd);
	int ret;

	/* As good as any other token. */
	ret = luo_session_preserve_fd(session_fd, device_open(c), 0);
	require_call(ret, "%s: device is preserved with token 0", c->name);

	check_errno(create_and_preserve_memfd(session_fd, 0, "memfd"), EEXIST,
		    "%s: token 0 is used up", c->name);
	ret = create_and_preserve_memfd(session_fd, MEMFD_TOKEN, "memfd");
	require_call(ret, "%s: memfd is preserved", c->name);

	check_errno(luo_session_finish(session_fd), EINVAL,
		    "%s: outgoing session cannot be finished", c->name);
	check_errno(luo_session_retrieve_fd(session_fd, 0), EINVAL,
		    "%s: nothing can be retrieved from an outgoing session",
		    c->name);
}

static void after_order(const struct unhappy_case *c, int luo_fd)
{
	int session_fd, device_fd, same_fd, memfd;

	check_is_incoming(c);
	session_fd = retrieve_session(c, luo_fd);
	check_errno(luo_retrieve_session(luo_fd, c->name), EINVAL,
		    "%s: session cannot be retrieved twice", c->name);

	check_errno(luo_session_retrieve_fd(session_fd, WRONG_TOKEN), ENOENT,
		    "%s: wrong token", c->name);
	check_errno(create_and_preserve_memfd(session_fd, WRONG_TOKEN, "memfd"),
		    EINVAL, "%s: nothing can be added to an incoming session",
		    c->name);
	check_errno(luo_session_finish(session_fd), EBUSY,
		    "%s: finish before retrieve", c->name);
	check_is_incoming(c);

	device_fd = luo_session_retrieve_fd(session_fd, 0);
	require_call(device_fd, "%s: device is retrieved with token 0", c->name);
	same_fd = luo_session_retrieve_fd(session_fd, 0);
	require_call(same_fd, "%s: device is retrieved again", c->name);
	check_is_incoming(c);

	check_errno(device_get_info(device_fd), EINVAL,
		    "%s: ioctl before bind", c->name);
	check_errno(luo_session_finish(session_fd), EBUSY,
		    "%s: finish before bind", c->name);

	/* Another file could not be used, because only one can be bound. */
	check(!device_bind(c, device_fd), "%s: device is bound", c->name);
	check(!device_get_info(same_fd), "%s: both descriptors are of one file",
	      c->name);
	check(!close(same_fd) && !device_get_info(device_fd),
	      "%s: one descriptor does without the other", c->name);

	/* Files that nobody asked for, memfds among them, do not matter. */
	check(!luo_session_finish(session_fd), "%s: session is finished", c->name);
	check_errno(luo_session_retrieve_fd(session_fd, 0), ENOENT,
		    "%s: device cannot be retrieved after finish", c->name);
	memfd = luo_session_retrieve_fd(session_fd, MEMFD_TOKEN);
	check_errno(memfd, ENOENT, "%s: nor can the memfd", c->name);
	check(!luo_session_finish(session_fd),
	      "%s: finishing a session without files changes nothing", c->name);

	check(!close(session_fd), "%s: session is closed", c->name);
	check_session_is_gone(c, luo_fd);
	check(!device_get_info(device_fd), "%s: device is still open", c->name);
	check(!close(device_fd), "%s: device is closed", c->name);
}

/* The session is closed too early, in the second kernel. */

static void after_closed_unbound(const struct unhappy_case *c, int luo_fd)
{
	int session_fd, device_fd;

	session_fd = retrieve_session(c, luo_fd);
	device_fd = retrieve_device(c, session_fd);
	check_close_loses(c, session_fd);
	check_session_is_gone(c, luo_fd);

	check_errno(device_get_info(device_fd), EINVAL,
		    "%s: retrieved file is still not bound", c->name);
	check(!device_bind(c, device_fd), "%s: and can be bound", c->name);
	check(!close(device_fd), "%s: device is closed", c->name);
}

static void after_closed_bound(const struct unhappy_case *c, int luo_fd)
{
	int session_fd, device_fd;

	session_fd = retrieve_session(c, luo_fd);
	device_fd = retrieve_device(c, session_fd);
	check(!device_bind(c, device_fd), "%s: device is bound", c->name);
	check(!close(session_fd), "%s: session is closed", c->name);
	check_session_is_gone(c, luo_fd);

	check(!device_get_info(device_fd), "%s: device can be used", c->name);
	check(!close(device_fd), "%s: device is closed", c->name);
}

/* Run @f in a process that is killed when it is done. @fd is what it makes use of. */
static bool die_after(int (*f)(const struct unhappy_case *c, int fd),
		      const struct unhappy_case *c, int fd)
{
	int done[2], status;
	char result = 1;
	pid_t pid;

	VFIO_ASSERT_EQ(pipe(done), 0);
	pid = fork();
	VFIO_ASSERT_GE(pid, 0);
	if (!pid) {
		result = f(c, fd) < 0;
		VFIO_ASSERT_EQ(write(done[1], &result, 1), 1);
		pause();
	}

	close(done[1]);
	if (read(done[0], &result, 1) != 1)
		result = 1;
	close(done[0]);

	VFIO_ASSERT_EQ(kill(pid, SIGKILL), 0);
	VFIO_ASSERT_EQ(waitpid(pid, &status, 0), pid);
	return !result && WIFSIGNALED(status);
}

static int hold_session(const struct unhappy_case *c, int luo_fd)
{
	return luo_retrieve_session(luo_fd, c->name);
}

static void after_killed_early(const struct unhappy_case *c, int luo_fd)
{
	check(die_after(hold_session, c, luo_fd),
	      "%s: process is killed that retrieved the session", c->name);
	check_session_is_gone(c, luo_fd);
}

static int hold_device(const struct unhappy_case *c, int luo_fd)
{
	int session_fd = luo_retrieve_session(luo_fd, c->name);

	return device_bind(c, luo_session_retrieve_fd(session_fd, DEVICE_TOKEN));
}

static void after_killed_late(const struct unhappy_case *c, int luo_fd)
{
	check(die_after(hold_device, c, luo_fd),
	      "%s: process is killed that bound the device", c->name);
	check_session_is_gone(c, luo_fd);
}

/* The device was given up again, in the first kernel. */

static int preserve_device(const struct unhappy_case *c, int luo_fd)
{
	return luo_session_preserve_fd(create_session(c, luo_fd),
				       device_open(c), DEVICE_TOKEN);
}

static void before_killed(const struct unhappy_case *c, int luo_fd)
{
	check(die_after(preserve_device, c, luo_fd),
	      "%s: process is killed that preserved the device", c->name);
}

/*
 * The owner of the device is killed, in the first kernel, and leaves it as no kexec
 * is possible with. The session is another process's, as a service manager's is.
 */

static int ioeventfd_connect(struct vfio_pci_device *device)
{
	struct vfio_device_ioeventfd args = {
		.argsz = sizeof(args),
		.flags = VFIO_DEVICE_IOEVENTFD_32,
		.fd = eventfd(0, EFD_NONBLOCK),
	};
	int i;

	/* Not to where the table of MSI-X is */
	for (i = 0; i < PCI_STD_NUM_BARS; i++) {
		args.offset = device->bars[i].info.offset;
		if (device->bars[i].info.size &&
		    !ioctl(device->fd, VFIO_DEVICE_IOEVENTFD, &args))
			return 0;
	}

	return -ENODEV;
}

/* Whether the device is asleep, at the latest after a while */
static bool falls_asleep(const char *bdf)
{
	char state[32] = "D0";
	int tries;

	for (tries = 0; tries < 500 && !strcmp(state, "D0"); tries++) {
		usleep(10000);
		VFIO_ASSERT_EQ(sysfs_read(bdf, "power_state", state, sizeof(state)), 0);
	}

	return strcmp(state, "D0");
}

static struct vfio_pci_device *preserve_with_interrupts(const struct unhappy_case *c,
							int session_fd)
{
	struct vfio_pci_device *device = vfio_pci_device_init(c->bdf, iommu_init(MODE_IOMMUFD));

	VFIO_ASSERT_EQ(luo_session_preserve_fd(session_fd, device->fd, DEVICE_TOKEN), 0);
	vfio_pci_msix_enable(device, 0, 1);
	return device;
}

static int leave_connected(const struct unhappy_case *c, int session_fd)
{
	return ioeventfd_connect(preserve_with_interrupts(c, session_fd));
}

static int leave_in_low_power(const struct unhappy_case *c, int session_fd)
{
	struct vfio_pci_device *device = preserve_with_interrupts(c, session_fd);
	struct vfio_device_feature args = {
		.argsz = sizeof(args),
		.flags = VFIO_DEVICE_FEATURE_SET | VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY,
	};

	if (ioctl(device->fd, VFIO_DEVICE_FEATURE, &args))
		return -errno;
	return falls_asleep(c->bdf) ? 0 : -ETIMEDOUT;
}

static int leave_in_d3hot(const struct unhappy_case *c, int session_fd)
{
	struct vfio_pci_device *device = preserve_with_interrupts(c, session_fd);
	u8 pos = vfio_pci_config_readb(device, PCI_CAPABILITY_LIST);
	int ttl = 48;

	while (pos && ttl-- && vfio_pci_config_readb(device, pos) != PCI_CAP_ID_PM)
		pos = vfio_pci_config_readb(device, pos + PCI_CAP_LIST_NEXT);
	if (!pos)
		return -ENODEV;

	/* D3hot is 3. */
	vfio_pci_config_writew(device, pos + PCI_PM_CTRL, PCI_PM_CTRL_STATE_MASK);
	return falls_asleep(c->bdf) ? 0 : -ETIMEDOUT;
}

static void before_left(const struct unhappy_case *c, int luo_fd,
			int (*leave)(const struct unhappy_case *c, int session_fd))
{
	check(die_after(leave, c, create_session(c, luo_fd)),
	      "%s: owner of the device is killed", c->name);
}

static void before_left_connected(const struct unhappy_case *c, int luo_fd)
{
	before_left(c, luo_fd, leave_connected);
}

static void before_left_in_low_power(const struct unhappy_case *c, int luo_fd)
{
	before_left(c, luo_fd, leave_in_low_power);
}

static void before_left_in_d3hot(const struct unhappy_case *c, int luo_fd)
{
	before_left(c, luo_fd, leave_in_d3hot);
}

static void after_left(const struct unhappy_case *c, int luo_fd)
{
	int session_fd, device_fd;

	check_is_incoming(c);
	session_fd = retrieve_session(c, luo_fd);
	device_fd = retrieve_device(c, session_fd);
	check(!device_bind(c, device_fd), "%s: device is bound", c->name);
	check(!luo_session_finish(session_fd), "%s: session is finished", c->name);
	check(!close(session_fd) && !close(device_fd),
	      "%s: session and device are closed", c->name);
}

static void before_closed(const struct unhappy_case *c, int luo_fd)
{
	int session_fd = create_session(c, luo_fd);
	int ret;

	ret = luo_session_preserve_fd(session_fd, device_open(c), DEVICE_TOKEN);
	require_call(ret, "%s: device is preserved", c->name);
	check(!close(session_fd), "%s: session is closed", c->name);
}

static void after_not_handed_over(const struct unhappy_case *c, int luo_fd)
{
	check_session_is_gone(c, luo_fd);
}

static void before_repeated(const struct unhappy_case *c, int luo_fd)
{
	int session_fd = create_session(c, luo_fd);
	int device_fd = device_open(c);
	int ret;

	ret = luo_session_preserve_fd(session_fd, device_fd, WRONG_TOKEN);
	require_call(ret, "%s: device is preserved", c->name);
	check(!close(session_fd), "%s: session is closed", c->name);
	ret = luo_session_preserve_fd(create_session(c, luo_fd), device_fd,
				      DEVICE_TOKEN);
	require_call(ret, "%s: device is preserved again", c->name);
}

static void after_repeated(const struct unhappy_case *c, int luo_fd)
{
	int session_fd, device_fd;

	check_is_incoming(c);
	session_fd = retrieve_session(c, luo_fd);
	check_errno(luo_session_retrieve_fd(session_fd, WRONG_TOKEN), ENOENT,
		    "%s: token of the closed session", c->name);
	device_fd = retrieve_device(c, session_fd);
	check(!device_bind(c, device_fd), "%s: device is bound", c->name);
	check(!luo_session_finish(session_fd), "%s: session is finished", c->name);
	check(!close(session_fd) && !close(device_fd),
	      "%s: session and device are closed", c->name);
}

/* The device is not bound to vfio-pci when it is asked for. */

static int driver_write(const char *driver, const char *file, const char *value)
{
	char path[PATH_MAX];

	snprintf_assert(path, sizeof(path), "/sys/bus/pci/drivers/%s/%s", driver,
			file);
	return sysfs_write(path, value);
}

static void after_no_driver(const struct unhappy_case *c, int luo_fd)
{
	int session_fd, device_fd;

	session_fd = retrieve_session(c, luo_fd);
	check(!driver_write("vfio-pci", "unbind", c->bdf),
	      "%s: device is unbound from vfio-pci", c->name);
	check_errno(luo_session_retrieve_fd(session_fd, DEVICE_TOKEN), EAGAIN,
		    "%s: device cannot be retrieved yet", c->name);
	check_errno(luo_session_retrieve_fd(session_fd, DEVICE_TOKEN), EAGAIN,
		    "%s: nor when it is asked for again", c->name);
	check_errno(luo_session_finish(session_fd), EBUSY,
		    "%s: finish while the device waits for its driver", c->name);

	check(!driver_write("vfio-pci", "bind", c->bdf),
	      "%s: device is bound to vfio-pci", c->name);
	check_is_incoming(c);
	check_errno(luo_session_finish(session_fd), EBUSY,
		    "%s: finish before it is asked for once more", c->name);
	device_fd = retrieve_device(c, session_fd);
	check(!device_bind(c, device_fd), "%s: device is bound", c->name);
	check(!luo_session_finish(session_fd), "%s: session is finished", c->name);
	check(!close(session_fd) && !close(device_fd),
	      "%s: session and device are closed", c->name);
}

/* Nobody binds it: the session can be closed all the same. */
static void after_never_bound(const struct unhappy_case *c, int luo_fd)
{
	int session_fd;

	session_fd = retrieve_session(c, luo_fd);
	check(!driver_write("vfio-pci", "unbind", c->bdf),
	      "%s: device is unbound from vfio-pci", c->name);
	check_errno(luo_session_retrieve_fd(session_fd, DEVICE_TOKEN), EAGAIN,
		    "%s: device cannot be retrieved yet", c->name);
	check_close_loses(c, session_fd);
	check_session_is_gone(c, luo_fd);
	check(!driver_write("vfio-pci", "bind", c->bdf),
	      "%s: device is bound to vfio-pci", c->name);
}

/* Other drivers do not get the device until it is finished. */

static int set_driver_override(const struct unhappy_case *c, const char *driver)
{
	char path[PATH_MAX];

	snprintf_assert(path, sizeof(path),
			"/sys/bus/pci/devices/%s/driver_override", c->bdf);
	return sysfs_write(path, driver);
}

static bool has_driver(const struct unhappy_case *c, const char *driver)
{
	char *found = sysfs_driver_get(c->bdf);
	bool has = found && !strcmp(found, driver);

	free(found);
	return has;
}

/* The id of a device, as a driver's new_id takes it */
static void read_id(const struct unhappy_case *c, char *id, size_t size)
{
	char vendor[16], device[16];

	VFIO_ASSERT_EQ(sysfs_read(c->bdf, "vendor", vendor, sizeof(vendor)), 0);
	VFIO_ASSERT_EQ(sysfs_read(c->bdf, "device", device, sizeof(device)), 0);
	snprintf_assert(id, size, "%s %s", vendor + 2, device + 2);
}

static void after_other_driver(const struct unhappy_case *c, int luo_fd)
{
	int session_fd, device_fd;
	char id[32];

	session_fd = retrieve_session(c, luo_fd);
	check(!driver_write("vfio-pci", "unbind", c->bdf),
	      "%s: device is unbound from vfio-pci", c->name);

	VFIO_ASSERT_EQ(set_driver_override(c, "pci-stub"), 0);
	check_errno(driver_write("pci-stub", "bind", c->bdf), EBUSY,
		    "%s: pci-stub is refused by driver_override", c->name);

	VFIO_ASSERT_EQ(set_driver_override(c, "\n"), 0);
	read_id(c, id, sizeof(id));
	VFIO_ASSERT_EQ(driver_write("pci-stub", "new_id", id), 0);
	check(!has_driver(c, "pci-stub"), "%s: pci-stub is refused by new_id",
	      c->name);
	check_errno(driver_write("pci-stub", "bind", c->bdf), EBUSY,
		    "%s: pci-stub is refused although it knows the id", c->name);
	VFIO_ASSERT_EQ(driver_write("pci-stub", "remove_id", id), 0);

	VFIO_ASSERT_EQ(set_driver_override(c, "vfio-pci"), 0);
	check(!driver_write("vfio-pci", "bind", c->bdf),
	      "%s: vfio-pci is not refused", c->name);
	device_fd = retrieve_device(c, session_fd);
	check(!device_bind(c, device_fd), "%s: device is bound", c->name);
	check(!luo_session_finish(session_fd), "%s: session is finished", c->name);
	check(!close(session_fd) && !close(device_fd),
	      "%s: session and device are closed", c->name);

	check(!driver_write("vfio-pci", "unbind", c->bdf) &&
	      !set_driver_override(c, "pci-stub") &&
	      !driver_write("pci-stub", "bind", c->bdf) &&
	      has_driver(c, "pci-stub"),
	      "%s: pci-stub is not refused any more", c->name);
	check(!driver_write("pci-stub", "unbind", c->bdf) &&
	      !set_driver_override(c, "vfio-pci") &&
	      !driver_write("vfio-pci", "bind", c->bdf),
	      "%s: device is back at vfio-pci", c->name);
}

static struct unhappy_case cases[] = {
	{ "order", before_order, after_order, 5, 23 },
	{ "closed-unbound", before_plain, after_closed_unbound, 1, 7 },
	{ "closed-bound", before_plain, after_closed_bound, 1, 7 },
	{ "killed-early", before_plain, after_killed_early, 1, 2 },
	{ "killed-late", before_plain, after_killed_late, 1, 2 },
	{ "not-handed-over-closed", before_closed, after_not_handed_over, 2, 1 },
	{ "not-handed-over-killed", before_killed, after_not_handed_over, 1, 1 },
	{ "repeated", before_repeated, after_repeated, 3, 7 },
	{ "no-driver", before_plain, after_no_driver, 1, 12 },
	{ "never-bound", before_plain, after_never_bound, 1, 6 },
	{ "other-driver", before_plain, after_other_driver, 1, 12 },
	{ "left-connected", before_left_connected, after_left, 1, 6 },
	{ "left-in-low-power", before_left_in_low_power, after_left, 1, 6 },
	{ "left-in-d3hot", before_left_in_d3hot, after_left, 1, 6 },
};

static void stage_1(int luo_fd)
{
	int i, plan = 0;

	for (i = 0; i < ARRAY_SIZE(cases); i++)
		plan += cases[i].nr_before;
	ksft_set_plan(plan);

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
	int i, plan = 2;

	for (i = 0; i < ARRAY_SIZE(cases); i++)
		plan += cases[i].nr_after + 1;
	ksft_set_plan(plan);

	/* Whatever happened, the device is an ordinary one in the end. */
	for (i = 0; i < ARRAY_SIZE(cases); i++) {
		cases[i].after(&cases[i], luo_fd);
		check_is_ordinary(&cases[i]);
	}

	check_errno(luo_session_retrieve_fd(state_session_fd, STATE_TOKEN + 1),
		    ENOENT, "state session is another one");
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
		"Needs %zu devices that are bound to vfio-pci.\n",
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
	for (i = 0; i < nr_bdfs; i++)
		cases[i].bdf = bdfs[i];

	for (i = 0; stage == 1 && i < nr_bdfs; i++)
		need_bound(bdfs[i]);

	run_stage(stage, STATE_SESSION, stage_1, stage_2);
	return KSFT_FAIL;
}
