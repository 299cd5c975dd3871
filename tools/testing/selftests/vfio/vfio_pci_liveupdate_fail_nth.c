// SPDX-License-Identifier: GPL-2.0-only
/*
 * Have each allocation fail once that preserving, freezing and retrieving a
 * vfio-pci device makes, as iommufd_fail_nth does for iommufd.
 *
 * Whatever fails has to leave nothing behind: the same call succeeds afterwards.
 * A file can be retrieved once. So it takes a kexec and many devices and iommufds,
 * of which the n-th is retrieved while the n-th allocation fails, and their session
 * has to be finished then. That the session is there is seen before: it was read
 * while memory was short.
 *
 * Without --stage: preserving, and with a second device and an image that is
 * loaded with kexec -s -l, freezing. The second device refuses the kexec.
 *
 * Needs a kernel with CONFIG_FAILSLAB and CONFIG_FAIL_PAGE_ALLOC. What the kernel
 * says of it, and what kmemleak finds, is for the caller to look at.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include <sys/reboot.h>

#include <linux/kernel.h>
#include <linux/limits.h>

#include <libliveupdate.h>
#include <liveupdate_test.h>
#include <luo_options.h>

#define SESSION_NAME		"fail-nth"
#define OTHER_SESSION_NAME	"fail-nth-other"
#define DEVICE_TOKEN		0x100
#define IOMMUFD_TOKEN		0x200

/* No call makes nearly as many allocations. */
#define MAX_NTH			500

static int nth_fd;

/* Let any allocation fail, and say nothing about it. */
static bool setup_fault_injection(void)
{
	static const char * const files[][2] = {
		{ "failslab/ignore-gfp-wait", "N" },
		{ "failslab/verbose", "0" },
		{ "fail_page_alloc/ignore-gfp-wait", "N" },
		{ "fail_page_alloc/ignore-gfp-highmem", "N" },
		{ "fail_page_alloc/min-order", "0" },
		{ "fail_page_alloc/verbose", "0" },
	};
	char path[PATH_MAX];
	int i;

	for (i = 0; i < ARRAY_SIZE(files); i++) {
		snprintf_assert(path, sizeof(path), "/sys/kernel/debug/%s", files[i][0]);
		if (sysfs_write(path, files[i][1]))
			return false;
	}

	nth_fd = open("/proc/thread-self/fail-nth", O_RDWR);
	return nth_fd >= 0;
}

static void fail_nth(int nth)
{
	char buf[16];
	int len = snprintf(buf, sizeof(buf), "%d", nth);

	VFIO_ASSERT_EQ(pwrite(nth_fd, buf, len, 0), len);
}

/* Returns whether an allocation has failed since fail_nth(). */
static bool fail_nth_done(void)
{
	char buf[16] = {};

	VFIO_ASSERT_GT(pread(nth_fd, buf, sizeof(buf) - 1, 0), 0);
	VFIO_ASSERT_EQ(pwrite(nth_fd, "0", 1, 0), 1);
	return atoi(buf) == 0;
}

static int create_session(int luo_fd)
{
	int session_fd = luo_create_session(luo_fd, SESSION_NAME);

	VFIO_ASSERT_GE(session_fd, 0);
	return session_fd;
}

/*
 * Fail each allocation of a preserve in turn. Either it is repeated, or the
 * session is closed and the device preserved in a new one. Not every failure is
 * seen: some allocations are tried another way, or are those of debugging aids.
 */
static void check_preserve(int luo_fd, int device_fd, bool repeat)
{
	int nth, session_fd, ret, refused = 0, wrong = 0;

	for (nth = 1; nth < MAX_NTH; nth++) {
		session_fd = create_session(luo_fd);

		fail_nth(nth);
		ret = luo_session_preserve_fd(session_fd, device_fd, DEVICE_TOKEN);
		if (!fail_nth_done())
			break;

		if (ret && ret != -ENOMEM) {
			ksft_print_msg("allocation %d fails, preserve returns %d\n",
				       nth, ret);
			wrong++;
		}
		refused += ret != 0;

		if (ret && !repeat) {
			VFIO_ASSERT_EQ(close(session_fd), 0);
			session_fd = create_session(luo_fd);
		}
		if (ret)
			ret = luo_session_preserve_fd(session_fd, device_fd,
						      DEVICE_TOKEN);
		if (ret)
			ksft_print_msg("after allocation %d failed: %s\n", nth,
				       strerror(-ret));
		wrong += ret != 0;
		VFIO_ASSERT_EQ(close(session_fd), 0);
	}

	VFIO_ASSERT_EQ(close(session_fd), 0);
	check(refused && nth < MAX_NTH && !ret && !wrong,
	      "preserve: %d allocations fail, %d times it does, and succeeds then in %s session",
	      nth - 1, refused, repeat ? "the same" : "a new");
}

/* Taking it back cannot fail. */
static void check_unpreserve(int luo_fd, int device_fd)
{
	int nth, session_fd, ret, wrong = 0;
	bool failed;

	for (nth = 1; nth < MAX_NTH; nth++) {
		session_fd = create_session(luo_fd);
		VFIO_ASSERT_EQ(luo_session_preserve_fd(session_fd, device_fd,
						       DEVICE_TOKEN), 0);
		fail_nth(nth);
		ret = close(session_fd);
		failed = fail_nth_done();
		wrong += ret != 0;
		if (!failed)
			break;
	}

	session_fd = create_session(luo_fd);
	ret = luo_session_preserve_fd(session_fd, device_fd, DEVICE_TOKEN);
	check(nth < MAX_NTH && !ret && !wrong,
	      "unpreserve: %d allocations fail, and it succeeds all the same",
	      nth - 1);
	VFIO_ASSERT_EQ(close(session_fd), 0);
}

/* The other device refuses the kexec, if it comes to that. */
static void check_freeze(int luo_fd, struct vfio_pci_device *device, const char *other_bdf)
{
	struct iommu *iommu = iommu_init(MODE_IOMMUFD);
	int session_fd, other_session_fd, nth, ret;
	struct vfio_pci_device *other;
	int wrong = 0;

	other = vfio_pci_device_init(other_bdf, iommu);
	vfio_pci_msix_enable(other, 0, 1);
	session_fd = create_session(luo_fd);
	VFIO_ASSERT_EQ(luo_session_preserve_fd(session_fd, device->fd,
					       DEVICE_TOKEN), 0);
	other_session_fd = luo_create_session(luo_fd, OTHER_SESSION_NAME);
	VFIO_ASSERT_EQ(luo_session_preserve_fd(other_session_fd, other->fd,
					       DEVICE_TOKEN), 0);

	for (nth = 1; nth < MAX_NTH; nth++) {
		bool failed;

		fail_nth(nth);
		ret = reboot(RB_KEXEC) ? -errno : 0;
		failed = fail_nth_done();

		if ((ret != -EINVAL && ret != -ENOMEM) || !config_readable(device) ||
		    !config_readable(other)) {
			ksft_print_msg("allocation %d: kexec returns %d\n", nth, ret);
			wrong++;
		}
		if (!failed)
			break;
	}

	check(nth < MAX_NTH && !wrong,
	      "freeze: %d allocations fail, and both devices can be used", nth - 1);
	check(kexec_refused_by(other_bdf, OTHER_SESSION_NAME, DEVICE_TOKEN,
			       "interrupts are enabled"),
	      "freeze: the first device agrees after that");

	VFIO_ASSERT_EQ(close(other_session_fd), 0);
	VFIO_ASSERT_EQ(close(session_fd), 0);
	vfio_pci_device_cleanup(other);
	iommu_cleanup(iommu);
}

static void one_kernel(int luo_fd, char **bdfs, int nr_bdfs)
{
	struct vfio_pci_device *device;
	struct iommu *iommu;

	ksft_set_plan(5);
	iommu = iommu_init(MODE_IOMMUFD);
	device = vfio_pci_device_init(bdfs[0], iommu);

	check_preserve(luo_fd, device->fd, true);
	check_preserve(luo_fd, device->fd, false);
	check_unpreserve(luo_fd, device->fd);

	if (nr_bdfs > 1 && image_is_loaded()) {
		check_freeze(luo_fd, device, bdfs[1]);
	} else {
		ksft_test_result_skip("freeze: needs a second device, and an image\n");
		ksft_test_result_skip("freeze: needs a second device, and an image\n");
	}

	vfio_pci_device_cleanup(device);
	iommu_cleanup(iommu);
	ksft_finished();
}

static void stage_1(int luo_fd, char **bdfs, int nr_bdfs)
{
	int session_fd, ret, i;

	ksft_set_plan(2 * nr_bdfs);
	session_fd = create_session(luo_fd);

	for (i = 0; i < nr_bdfs; i++) {
		struct vfio_pci_device *device;

		device = vfio_pci_device_init(bdfs[i], iommu_init(MODE_IOMMUFD));
		ret = luo_session_preserve_fd(session_fd, device->iommu->iommufd,
					      IOMMUFD_TOKEN + i);
		require_call(ret, "%s: iommufd is preserved", bdfs[i]);
		ret = luo_session_preserve_fd(session_fd, device->fd,
					      DEVICE_TOKEN + i);
		require_call(ret, "%s: device is preserved", bdfs[i]);
	}

	ksft_print_cnts();
	close(luo_fd);
	daemonize_and_wait();
}

/*
 * What was handed over is read when the device is opened for the first time, and
 * only then: have the first allocation of that fail, which comes after those that
 * opening any file takes.
 */
static int open_failing(void)
{
	bool failed = true;
	int nth, fd;

	for (nth = 0; failed && nth < MAX_NTH; ) {
		fail_nth(++nth);
		fd = open("/dev/null", O_RDWR);
		failed = fail_nth_done();
		close(fd);
	}

	/* It is looked up by now, and not while memory is short */
	if (access(LUO_DEVICE, F_OK))
		return -1;

	fail_nth(nth);
	fd = luo_open_device();
	fail_nth_done();
	return fd < 0 ? luo_open_device() : fd;
}

/*
 * Retrieve a file while the n-th allocation fails, if there are as many, and with the
 * next one as long as that is an error, which may not be final. Then retrieve it while
 * none does. Returns the file, and goes on with the next allocation.
 */
static int retrieve_failing(int session_fd, u64 token, const char *bdf, const char *what,
			    int *nth)
{
	bool failing = *nth, failed = false;
	int fd, again_fd;

	do {
		if (failing)
			fail_nth((*nth)++);
		fd = luo_session_retrieve_fd(session_fd, token);
		if (failing)
			failed = fail_nth_done();
	} while (failed && fd < 0);
	if (failing && !failed) {
		ksft_print_msg("%s: no allocation is left after %d that failed\n", what,
			       *nth - 2);
		*nth = 0;
	}
	check(fd >= 0, "%s: %s is retrieved%s: %d", bdf, what,
	      failed ? ", though memory is short" : "", fd);

	/* Memory is short for a while, and not for good. */
	again_fd = luo_session_retrieve_fd(session_fd, token);
	check(again_fd >= 0, "%s: %s is retrieved the second time: %d", bdf, what, again_fd);
	close(fd);
	return again_fd;
}

static void stage_2(int luo_fd, char **bdfs, int nr_bdfs)
{
	int iommufd_nth = 1, device_nth = 1;
	int session_fd, device_fd, iommufd, i;

	ksft_set_plan(5 * nr_bdfs + 3);
	session_fd = luo_retrieve_session(luo_fd, SESSION_NAME);
	require_call(session_fd, "session is retrieved");

	for (i = 0; i < nr_bdfs; i++) {
		iommufd = retrieve_failing(session_fd, IOMMUFD_TOKEN + i, bdfs[i], "iommufd",
					   &iommufd_nth);
		device_fd = retrieve_failing(session_fd, DEVICE_TOKEN + i, bdfs[i], "device",
					     &device_nth);
		if (device_fd >= 0 && iommufd >= 0)
			VFIO_ASSERT_EQ(__vfio_device_bind_iommufd(device_fd, iommufd, NULL), 0);
		close(iommufd);
		close(device_fd);
	}

	check(!iommufd_nth && !device_nth, "no allocation is left that did not fail once");
	check(!luo_session_finish(session_fd) && !close(session_fd),
	      "session is finished");
	for (i = 0; i < nr_bdfs; i++)
		check(!ordinary_open(bdfs[i]),
		      "%s: device can be opened and bound by anybody", bdfs[i]);

	ksft_finished();
}

static void usage(FILE *stream, const char *name)
{
	fprintf(stream,
		"Usage: %s [--stage 1|2] segment:bus:device.function ...\n"
		"\n"
		"  -s, --stage 1  preserve the devices, before a kexec\n"
		"  -s, --stage 2  retrieve the devices, after the kexec\n"
		"\n"
		"Without --stage: have the first device preserved, and frozen if there is\n"
		"another one\n",
		name);
}

int main(int argc, char *argv[])
{
	int luo_fd, nr_bdfs, stage = 0;
	char **bdfs;
	const struct luo_option options[] = {
		{ "stage", 's', .number = &stage },
		{}
	};

	luo_parse_options(argc, argv, options, usage);

	bdfs = vfio_selftests_get_bdfs(&argc, argv, &nr_bdfs);
	ksft_print_header();
	if (!setup_fault_injection())
		ksft_exit_skip("needs a kernel that injects faults, and debugfs\n");

	luo_fd = stage == 2 ? open_failing() : luo_open_device();
	if (luo_fd < 0)
		ksft_exit_skip("open(%s): %m (booted with liveupdate=on?)\n",
			       LUO_DEVICE);

	if (stage == 1)
		stage_1(luo_fd, bdfs, nr_bdfs);
	else if (stage == 2)
		stage_2(luo_fd, bdfs, nr_bdfs);
	else
		one_kernel(luo_fd, bdfs, nr_bdfs);

	return KSFT_FAIL;
}
