// SPDX-License-Identifier: GPL-2.0-only
/*
 * Preserve vfio-pci devices, and memfds that they do DMA to, across a kexec.
 *
 * Stage 1 runs before the kexec. It preserves the files of all devices and a
 * memfd for each in one session, lets the devices work on the memfds, and stays
 * in the background to hold the session. Stage 2 runs after the kexec. It checks
 * that the devices can be had from the session only, retrieves all files, and
 * uses them again. With --again, it then does what stage 1 did, with the same
 * files, for the next kexec.
 *
 * Each run has a session of its own, named after its first device.
 *
 * Devices that libvfio has a driver for copy memory. Of the others, configuration
 * space and BARs are compared with what stage 1 found there. Of all, and of the
 * bridges above them, the numbers of buses and the resources are, and all of
 * configuration space at three times: before and after the device is retrieved,
 * and when the session is finished.
 *
 * What stage 2 needs to know is in the header of each memfd (liveupdate_test.h),
 * so it takes no options but the stage. Preserve, retrieve, bind and finish are
 * each reported in a line
 *
 *	LU-PHASE <name> <start> <duration>
 *
 * with CLOCK_MONOTONIC times in nanoseconds. The configuration space that the
 * devices and bridges go into the kexec with is reported in lines
 *
 *	LU-CONFIG <address> <offset> <bytes>
 *
 * in hexadecimal, without most of those that are zero.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <sys/reboot.h>

#include <linux/kernel.h>
#include <linux/sizes.h>
#include <linux/vfio.h>

#include <libliveupdate.h>
#include <liveupdate_test.h>
#include <luo_options.h>

/* The n-th device and its memfd have these plus n. */
#define MEMFD_TOKEN		0x100
#define DEVICE_TOKEN		0x200
#define STATE_TOKEN		0x300

#define DEFAULT_DATA_SIZE	SZ_8M

/* Enough to keep a fast device busy until the kexec: 4 minutes at 30 GB/s. */
#define DMA_TOTAL		(7200ULL * SZ_1G)

#define MAX_DEVICES		32

/* What debugfs shows of a file of vfio-pci, and of its device */
#define FORMAT			"vfio-pci-rs-v1"

/* Test cases of each function, as far as they do not depend on the device. */
#define NR_PRESERVE_CASES	2
#define NR_PRESERVE_LEG_CASES	3
#define NR_FREEZE_CASES		10
#define NR_RETRIEVE_CASES	3
#define NR_CONFIG_CASES		3
#define NR_RETRIEVE_LEG_CASES	(NR_CONTAINER_MODES + 7 + NR_CONFIG_CASES)

/* A device with its memory. */
struct leg {
	const char *bdf;
	int index;
	int device_fd;
	struct iommu *iommu;
	struct vfio_pci_device *device;
	struct test_memory mem;
	u64 dma_sum;
};

static struct leg legs[MAX_DEVICES];
static int nr_legs;

static struct {
	u64 data_size;
	bool rx;
	const char *refused_bdf;
	const char *drop_bdf;
	bool abandon;
	bool again;
} option = { .data_size = DEFAULT_DATA_SIZE };

static char session_name[LIVEUPDATE_SESSION_NAME_LENGTH];
static char state_session_name[LIVEUPDATE_SESSION_NAME_LENGTH];

static void phase_done(const char *name, u64 start)
{
	printf("LU-PHASE %s %lu %lu\n", name, start, now_ns() - start);
}

static bool leg_receives(const struct leg *leg)
{
	return option.rx && !leg->index;
}

/* Whether the next kernel is not to get this one any more. */
static bool leg_dropped(const struct leg *leg)
{
	return option.drop_bdf && !strcmp(option.drop_bdf, leg->bdf);
}

/*
 * Try the kexec that has to be refused. One that is not refused does not come
 * back, and leaves the results short of the plan.
 */
static void check_kexec_refused(const char *why)
{
	check_errno(reboot(RB_KEXEC) ? -errno : 0, EINVAL,
		    "kexec is refused: %s", why);
}

/*
 * Have the kexec refused: by the device itself, and then by another one, after
 * this one agreed. Neither may cost this one anything.
 *
 * Needs an image that is loaded. The device's interrupts are on at first, and
 * off in the end.
 */
static void check_freeze_refused(int luo_fd, struct leg *leg, u64 size)
{
	struct vfio_pci_device *device = leg->device, *other;
	u64 max = min_t(u64, size, device->driver.max_memcpy_size);
	u64 count = device->driver.max_memcpy_count;
	struct test_memory *mem = &leg->mem;
	struct iommu *iommu;
	int session_fd, ret;

	check_kexec_refused("interrupts are enabled");
	check(config_readable(device), "device can be used after that");
	check(data_copies(mem, device, size), "DMA still copies correctly");
	vfio_pci_msix_disable(device);

	iommu = iommu_init(MODE_IOMMUFD);
	other = vfio_pci_device_init(option.refused_bdf, iommu);
	vfio_pci_msix_enable(other, 0, 1);
	session_fd = luo_create_session(luo_fd, "other-device");
	require_call(session_fd, "session of another device is created");
	ret = luo_session_preserve_fd(session_fd, other->fd, DEVICE_TOKEN);
	require_call(ret, "other device %s is preserved", option.refused_bdf);

	/* This one is frozen and then unfrozen while it works. */
	memset(mem->dst, 0, max);
	vfio_pci_driver_memcpy_start(device, to_iova(device, mem->src),
				     to_iova(device, mem->dst), max, count);
	check_kexec_refused("interrupts of the other device are enabled");
	check(config_readable(device), "device can be used after that, too");
	ret = vfio_pci_driver_memcpy_wait(device);
	check(!ret && !memcmp(mem->src, mem->dst, max),
	      "DMA went on meanwhile and copied correctly");

	check(!close(session_fd), "session of the other device is closed");
	check(config_readable(other), "other device can be used after that");
	vfio_pci_device_cleanup(other);
	iommu_cleanup(iommu);
}

/* Leave the device copying what it has copied before, with its interrupts off. */
static void leave_copying(struct leg *leg)
{
	struct vfio_pci_device *device = leg->device;
	struct test_memory *mem = &leg->mem;
	u64 size, count;

	size = min_t(u64, copy_size(mem, device), device->driver.max_memcpy_size);
	count = min_t(u64, DMA_TOTAL / size, device->driver.max_memcpy_count);
	ksft_print_msg("%s: starting %lu copies of %lu bytes\n", leg->bdf, count,
		       size);
	vfio_pci_driver_memcpy_start(device, to_iova(device, mem->src),
				     to_iova(device, mem->dst), size, count);

	/* Still enabled, unless a refused kexec was tried. */
	if (device->msix_info.count &&
	    device->msi_eventfds[device->driver.msi] >= 0)
		vfio_pci_msix_disable(device);
}

/* Use the device, for the first time in this kernel. One test case. */
static void check_use(struct leg *leg)
{
	struct vfio_pci_device *device = leg->device;
	struct test_identity identity;
	u64 size;

	if (device->driver.ops) {
		vfio_pci_driver_init(device);
		size = copy_size(&leg->mem, device);
		check(data_copies(&leg->mem, device, size),
		      "%s: DMA with the %s driver copies %lu bytes correctly",
		      leg->bdf, device->driver.ops->name, size);
		return;
	}

	if (device->info.flags & VFIO_DEVICE_FLAGS_RESET)
		vfio_pci_device_reset(device);
	identity_read(device, &identity);
	check(identity_same(&leg->mem.header->identity, &identity),
	      "%s: no driver for DMA; configuration space and %u BARs are as before after another reset",
	      leg->bdf, identity.nr_bars);
}

static void create_sessions(int luo_fd, int next_stage, int *session_fd)
{
	create_state_file(luo_fd, state_session_name, STATE_TOKEN, next_stage);
	check(true, "state file is preserved in session %s",
	      state_session_name);

	*session_fd = luo_create_session(luo_fd, session_name);
	require_call(*session_fd, "session %s is created", session_name);
}

static void preserve_leg(int session_fd, struct leg *leg)
{
	u64 start = now_ns();
	int ret;

	ret = luo_session_preserve_fd(session_fd, leg->device->fd,
				      DEVICE_TOKEN + leg->index);
	if (!ret)
		phase_done("preserve", start);
	require_call(ret, "%s: device is preserved", leg->bdf);
	check(view_count("outgoing", "device %s: preserved, " FORMAT "\n", leg->bdf) == 1 &&
	      view_count("outgoing", "file %#x: " FORMAT ", device %s\n",
			 DEVICE_TOKEN + leg->index, leg->bdf) == 1,
	      "%s: debugfs shows device and file", leg->bdf);

	ret = luo_session_preserve_fd(session_fd, leg->mem.fd,
				      MEMFD_TOKEN + leg->index);
	require_call(ret, "%s: memfd of %lu bytes is preserved", leg->bdf,
		     leg->mem.size);
}

/* What the next kernel is to find: nothing changes it from here on. */
static void note_configs(void)
{
	struct leg *leg;

	for (leg = legs; leg < legs + nr_legs; leg++) {
		struct test_header *header = leg->mem.header;

		if (leg_dropped(leg))
			continue;
		configs_read(&header->path, &header->configs);
		configs_print(&header->path, &header->configs);
		group_read(leg->bdf, &header->group);
	}
}

/* Whether it is what the previous kernel left. */
static void check_configs(const struct leg *leg, enum config_time when)
{
	const struct test_header *header = leg->mem.header;
	const char *then = when == CONFIG_BOOTED ? "booted" :
			   when == CONFIG_RETRIEVED ? "retrieved" : "finished";
	static struct test_configs configs;
	struct test_group group;

	configs_read(&header->path, &configs);
	check(configs_same(&header->path, &header->configs, &configs, when),
	      "%s: configuration space of device and bridges is that of stage 1 (%s)",
	      leg->bdf, then);
	check(acs_same(&header->path, &header->configs, &configs),
	      "%s: ACS of device and bridges is that of stage 1 (%s)", leg->bdf, then);

	group_read(leg->bdf, &group);
	check(group_same(&header->group, &group),
	      "%s: IOMMU group has the %u devices and bridges of stage 1 (%s)", leg->bdf,
	      header->group.length, then);
}

/* Have the parent exit, and the sessions and devices live on. */
static void stay(int luo_fd)
{
	if (ksft_get_fail_cnt())
		ksft_finished();

	note_configs();
	ksft_print_cnts();
	close(luo_fd);
	daemonize_and_wait();
}

static void stage_1(int luo_fd)
{
	struct nic_rx rx;
	int session_fd;
	struct leg *leg;

	for (leg = legs; leg < legs + nr_legs; leg++) {
		leg->iommu = iommu_init(MODE_IOMMUFD);
		leg->device = vfio_pci_device_init(leg->bdf, leg->iommu);
		memory_create(&leg->mem, option.data_size,
			      leg_receives(leg) ? NIC_RX_MEMORY : 0);
		identity_read(leg->device, &leg->mem.header->identity);
		path_read(leg->bdf, &leg->mem.header->path);
	}

	if (option.rx && !nic_supported(legs->device))
		ksft_exit_skip("--rx needs an Intel 82576 (8086:10c9), %s is none\n",
			       legs->bdf);

	if (option.refused_bdf && !legs->device->driver.ops)
		ksft_exit_skip("--refused needs a device that libvfio drives, %s is none\n",
			       legs->bdf);

	ksft_set_plan(NR_PRESERVE_CASES +
		      nr_legs * (NR_PRESERVE_LEG_CASES + 3) +
		      (option.refused_bdf ? NR_FREEZE_CASES : 0));

	create_sessions(luo_fd, 2, &session_fd);

	for (leg = legs; leg < legs + nr_legs; leg++) {
		check(true, "%s: device is bound to an iommufd", leg->bdf);
		preserve_leg(session_fd, leg);
		require_call(memory_map_dma(&leg->mem, leg->device),
			     "%s: memfd is mapped at IOVA %#lx", leg->bdf,
			     IOVA_BASE);

		if (leg_receives(leg)) {
			rx = memory_rx(&leg->mem, leg->device);
			require(nic_rx_arm(leg->device, &rx) && nic_rx_wait(&rx, 1),
				"%s: device receives frames from the wire",
				leg->bdf);
			continue;
		}

		check_use(leg);
		if (option.refused_bdf && !leg->index)
			check_freeze_refused(luo_fd, leg,
					     copy_size(&leg->mem, leg->device));
		if (leg->device->driver.ops)
			leave_copying(leg);
	}

	stay(luo_fd);
}

/* Arm the receive ring without /dev/liveupdate, to try out a frame source. */
static void rx_only(void)
{
	struct leg *leg = legs;
	struct nic_rx rx;

	leg->iommu = iommu_init(MODE_IOMMUFD);
	leg->device = vfio_pci_device_init(leg->bdf, leg->iommu);

	if (!nic_supported(leg->device))
		ksft_exit_skip("--rx-only needs an Intel 82576 (8086:10c9), %s is none\n",
			       leg->bdf);

	ksft_set_plan(2);
	memory_create(&leg->mem, SZ_64K, NIC_RX_MEMORY);
	require_call(memory_map_dma(&leg->mem, leg->device),
		     "memfd is mapped at IOVA %#lx", IOVA_BASE);
	rx = memory_rx(&leg->mem, leg->device);
	require(nic_rx_arm(leg->device, &rx) && nic_rx_wait(&rx, 1),
		"device receives frames from the wire");

	vfio_pci_device_cleanup(leg->device);
	iommu_cleanup(leg->iommu);
	ksft_finished();
}

static void check_no_other_way_in(const struct leg *leg)
{
	int ret;
	int i;

	ret = cdev_open(leg->bdf);
	check_errno(ret, EBUSY, "%s: opening the cdev is refused", leg->bdf);
	if (ret >= 0)
		close(ret);

	for (i = 0; i < NR_CONTAINER_MODES; i++) {
		ret = group_get_device(leg->bdf, container_modes[i]);
		check_errno(ret, EBUSY,
			    "%s: device file from the group is refused (%s)",
			    leg->bdf, container_modes[i]);
	}
}

static bool is_awake(const char *bdf)
{
	char state[32], status[32];

	VFIO_ASSERT_EQ(sysfs_read(bdf, "power_state", state, sizeof(state)), 0);
	VFIO_ASSERT_EQ(sysfs_read(bdf, "power/runtime_status", status,
				  sizeof(status)), 0);
	if (!strcmp(state, "D0") && !strcmp(status, "active"))
		return true;

	ksft_print_msg("%s is in %s, and %s\n", bdf, state, status);
	return false;
}

/* Nobody has the device open, and so nothing but the live update keeps it awake. */
static void check_awake(const struct leg *leg)
{
	char *above = bdf_above(leg->bdf);

	check(is_awake(leg->bdf), "%s: device is in D0", leg->bdf);
	check(!above || is_awake(above), "%s: and so is %s above it", leg->bdf,
	      above ?: "nothing");
	free(above);
}

/* What stage 2 begins with: the session, and the memfds from it. */
static int retrieve_session(int luo_fd, int state_session_fd, int *stage)
{
	struct leg *leg;
	int session_fd;

	for (leg = legs; leg < legs + nr_legs; leg++) {
		check_awake(leg);
		check_no_other_way_in(leg);
	}

	restore_and_read_stage(state_session_fd, STATE_TOKEN, stage);
	require(*stage >= 2, "state file says stage %d", *stage);

	session_fd = luo_retrieve_session(luo_fd, session_name);
	require_call(session_fd, "session %s is retrieved", session_name);
	check(view_readable() &&
	      view_count("incoming", "session %s: retrieved\n", session_name) == 1,
	      "debugfs shows the session, to root");

	for (leg = legs; leg < legs + nr_legs; leg++) {
		struct test_memory *mem = &leg->mem;

		mem->fd = luo_session_retrieve_fd(session_fd,
						  MEMFD_TOKEN + leg->index);
		require_call(mem->fd, "%s: memfd is retrieved", leg->bdf);
		require(memory_retrieved(mem),
			"%s: memfd has size and layout of stage 1", leg->bdf);
		check(data_intact(mem), "%s: %lu bytes of test data are intact",
		      leg->bdf, mem->header->data_size);

		mem->header->generation++;
		check(mem->header->generation == *stage - 1,
		      "%s: memfd has been through %lu live update(s)", leg->bdf,
		      mem->header->generation);
		check_configs(leg, CONFIG_BOOTED);
	}

	return session_fd;
}

static void finish_state_session(int state_session_fd)
{
	check(!luo_session_finish(state_session_fd) && !close(state_session_fd),
	      "state session is finished");
}

static void check_ordinary_open(void)
{
	struct leg *leg;

	for (leg = legs; leg < legs + nr_legs; leg++)
		check(!ordinary_open(leg->bdf),
		      "%s: cdev can be opened and bound again", leg->bdf);
}

/* The session is gone before anybody retrieved the devices. */
static void check_abandon(int luo_fd, int state_session_fd)
{
	int session_fd, stage, ret;

	ksft_set_plan(NR_RETRIEVE_CASES + 4 +
		      nr_legs * (NR_RETRIEVE_LEG_CASES + 1));

	session_fd = retrieve_session(luo_fd, state_session_fd, &stage);

	ret = luo_session_finish(session_fd);
	check_errno(ret, EBUSY, "finish before retrieving a device is refused");
	check(!close(session_fd), "session is closed");

	ret = luo_retrieve_session(luo_fd, session_name);
	check_errno(ret, ENOENT, "session is gone");

	finish_state_session(state_session_fd);
	check_ordinary_open();

	ksft_finished();
}

static void retrieve_leg(int session_fd, struct leg *leg)
{
	u64 start;
	int ret;

	check(view_count("incoming", "device %s: incoming, " FORMAT ", held, ", leg->bdf) == 1 &&
	      view_count("incoming", "file %#x: " FORMAT ", device %s, waiting\n",
			 DEVICE_TOKEN + leg->index, leg->bdf) == 1,
	      "%s: debugfs shows that device and file are waiting", leg->bdf);

	start = now_ns();
	leg->device_fd = luo_session_retrieve_fd(session_fd,
						 DEVICE_TOKEN + leg->index);
	if (leg->device_fd >= 0)
		phase_done("retrieve", start);
	require_call(leg->device_fd, "%s: device is retrieved", leg->bdf);
	check(view_count("incoming", "device %s: incoming, " FORMAT ", held, ", leg->bdf) == 1 &&
	      view_count("incoming", "file %#x: " FORMAT ", device %s, retrieved\n",
			 DEVICE_TOKEN + leg->index, leg->bdf) == 1,
	      "%s: debugfs shows that the file has an owner", leg->bdf);

	check_errno(device_get_info(leg->device_fd), EINVAL,
		    "%s: device refuses ioctls before it is bound", leg->bdf);
	ret = luo_session_finish(session_fd);
	check_errno(ret, EBUSY, "%s: finish before binding the device is refused",
		    leg->bdf);
	check_configs(leg, CONFIG_RETRIEVED);
}

static void bind_leg(struct leg *leg)
{
	static struct test_path path;
	struct test_identity identity;
	u64 start;
	int ret;

	leg->iommu = iommu_init(MODE_IOMMUFD);
	start = now_ns();
	ret = __vfio_device_bind_iommufd(leg->device_fd, leg->iommu->iommufd,
					 NULL);
	if (!ret)
		phase_done("bind", start);
	require_call(ret, "%s: device is bound to a new iommufd", leg->bdf);
	check(view_count("incoming", "device %s: incoming, " FORMAT ", let go, ", leg->bdf) == 1,
	      "%s: debugfs shows that the device has an owner", leg->bdf);

	leg->device = vfio_pci_device_init_bound(leg->bdf, leg->iommu,
						 leg->device_fd);
	identity_read(leg->device, &identity);
	check(identity_same(&leg->mem.header->identity, &identity),
	      "%s: configuration space and %u BARs are those of stage 1",
	      leg->bdf, identity.nr_bars);
	path_read(leg->bdf, &path);
	check(path_same(&leg->mem.header->path, &path),
	      "%s: resources, and %u bridges with their buses and windows, are where they were",
	      leg->bdf, path.length - 1);
	require_call(memory_map_dma(&leg->mem, leg->device),
		     "%s: memfd is mapped at IOVA %#lx", leg->bdf, IOVA_BASE);
}

static void leg_close(struct leg *leg)
{
	vfio_pci_device_cleanup(leg->device);
	iommu_cleanup(leg->iommu);
}

/* Preserve what was retrieved for one more live update. */
static void preserve_again(int luo_fd, int next_stage)
{
	int session_fd;
	struct leg *leg;

	create_sessions(luo_fd, next_stage, &session_fd);

	for (leg = legs; leg < legs + nr_legs; leg++) {
		if (leg_dropped(leg))
			continue;
		preserve_leg(session_fd, leg);
		if (leg->device->driver.ops)
			leave_copying(leg);
	}

	/* One that is dropped is an ordinary device, whatever it shares with others. */
	for (leg = legs; leg < legs + nr_legs; leg++) {
		if (!leg_dropped(leg))
			continue;
		leg_close(leg);
		check(!ordinary_open(leg->bdf),
		      "%s: dropped, cdev can be opened and bound again", leg->bdf);
	}

	stay(luo_fd);
}

static void stage_2(int luo_fd, int state_session_fd)
{
	int session_fd, stage, ret;
	int nr_dropped = 0;
	struct leg *leg;
	u64 start;

	for (leg = legs; leg < legs + nr_legs; leg++)
		nr_dropped += leg_dropped(leg);

	ksft_set_plan(NR_RETRIEVE_CASES + 4 +
		      nr_legs * (NR_RETRIEVE_LEG_CASES + 13 + 2 * NR_CONFIG_CASES) +
		      (option.again ? NR_PRESERVE_CASES + nr_dropped +
				      (nr_legs - nr_dropped) * NR_PRESERVE_LEG_CASES
				    : nr_legs));

	session_fd = retrieve_session(luo_fd, state_session_fd, &stage);
	for (leg = legs; leg < legs + nr_legs; leg++)
		leg->dma_sum = memory_dma_sum(&leg->mem);

	ret = luo_session_finish(session_fd);
	check_errno(ret, EBUSY, "finish before retrieving a device is refused");

	for (leg = legs; leg < legs + nr_legs; leg++) {
		retrieve_leg(session_fd, leg);
		bind_leg(leg);
	}

	start = now_ns();
	ret = luo_session_finish(session_fd);
	if (!ret)
		phase_done("finish", start);
	require_call(ret, "session is finished");
	check(!close(session_fd), "session is closed");

	for (leg = legs; leg < legs + nr_legs; leg++) {
		check_configs(leg, CONFIG_FINISHED);
		check(!view_count("incoming", "device %s", leg->bdf),
		      "%s: debugfs does not show the device any more", leg->bdf);
		check(memory_dma_sum(&leg->mem) == leg->dma_sum,
		      "%s: device wrote nothing since the memfd was retrieved",
		      leg->bdf);
		check_use(leg);
	}

	finish_state_session(state_session_fd);
	if (option.again)
		preserve_again(luo_fd, stage + 1);

	for (leg = legs; leg < legs + nr_legs; leg++)
		leg_close(leg);
	check_ordinary_open();

	ksft_finished();
}

static void usage(FILE *stream, const char *name)
{
	fprintf(stream,
		"Usage: %s --stage 1|2 [options] segment:bus:device.function ...\n"
		"\n"
		"  -s, --stage 1    preserve the devices, before the kexec (default)\n"
		"  -s, --stage 2    retrieve and use the devices, after the kexec\n"
		"\n"
		"Options of stage 1:\n"
		"  -S, --size SIZE  bytes of test data per device, K, M and G work (8M)\n"
		"  -r, --rx         leave the first device receiving frames (82576 only)\n"
		"  -R, --rx-only    receive a frame, preserve nothing (82576 only)\n"
		"  --refused=BDF    have the kexec refused, first by the first device, then by\n"
		"                   this other one; needs an image loaded with kexec -s -l\n"
		"\n"
		"Options of stage 2:\n"
		"  -a, --abandon    close the session without retrieving the devices\n"
		"  -A, --again      preserve the devices again, for one more stage 2\n"
		"  --drop=BDF       but not this one, which is not the first\n",
		name);
}

static u64 parse_size(const char *arg)
{
	char *end;
	u64 size;

	errno = 0;
	size = strtoull(arg, &end, 0);
	switch (*end) {
	case 'G':
	case 'g':
		size *= SZ_1K;
		fallthrough;
	case 'M':
	case 'm':
		size *= SZ_1K;
		fallthrough;
	case 'K':
	case 'k':
		size *= SZ_1K;
		end++;
	}

	/* Both halves are mapped, so both are to be pages on any machine. */
	if (errno || *end || !size || size % SZ_128K)
		ksft_exit_fail_msg("--size %s: not a multiple of 128K\n", arg);

	return size;
}

/* Nothing is taken from a session before it is known that it can be used. */
static void run(int stage)
{
	struct leg *leg;

	for (leg = legs; leg < legs + nr_legs; leg++)
		need_bound(leg->bdf);
	if (option.refused_bdf)
		need_bound(option.refused_bdf);

	run_stage(stage, state_session_name, stage_1,
		  option.abandon ? check_abandon : stage_2);
}

static void get_legs(int *argc, char *argv[])
{
	char **bdfs = vfio_selftests_get_bdfs(argc, argv, &nr_legs);
	int i;

	if (nr_legs > MAX_DEVICES)
		ksft_exit_fail_msg("%d devices given, %d are the most\n", nr_legs,
				   MAX_DEVICES);

	for (i = 0; i < nr_legs; i++) {
		legs[i].bdf = bdfs[i];
		legs[i].index = i;
	}
}

int main(int argc, char *argv[])
{
	const char *size = NULL;
	bool only_rx = false;
	int stage = 1;
	const struct luo_option options[] = {
		{ "stage", 's', .number = &stage },
		{ "size", 'S', .text = &size },
		{ "rx", 'r', .flag = &option.rx },
		{ "rx-only", 'R', .flag = &only_rx },
		{ "refused", 'f', .text = &option.refused_bdf },
		{ "drop", 'd', .text = &option.drop_bdf },
		{ "abandon", 'a', .flag = &option.abandon },
		{ "again", 'A', .flag = &option.again },
		{}
	};

	luo_parse_options(argc, argv, options, usage);
	if (size)
		option.data_size = parse_size(size);

	get_legs(&argc, argv);
	snprintf_assert(session_name, sizeof(session_name), "device-%s",
			legs->bdf);
	snprintf_assert(state_session_name, sizeof(state_session_name),
			"state-%s", legs->bdf);

	ksft_print_header();
	if (only_rx)
		rx_only();
	else
		run(stage);

	return KSFT_FAIL;
}
