// SPDX-License-Identifier: GPL-2.0-only
/*
 * Reads from a slow disk that take longer than a kexec.
 *
 * An NVMe controller is told, at once, to read many blocks into a sealed memfd,
 * and is left alone from then on, without interrupts. Its disk has to be so slow
 * that this takes seconds. This DESTROYS what is at the start of the disk.
 *
 * With --idle, the reads are waited for, in one kernel. Stage 1 runs before a
 * kexec: it preserves memfd and device, and stays in the background. Stage 2
 * runs after it: it retrieves the memfd, waits until no more reads complete, and
 * retrieves the device. What it finds is in a line
 *
 *	LU-READS <address> <completed> <started>
 *
 * With --running, the HWPT of the device is marked, and the iommufd preserved,
 * too, so that the device goes on all the time.
 *
 * Whether all reads were to complete is for whoever reads this line to judge.
 * Here it is checked that those which did have brought the right data, each
 * once. A read that did not may have brought its data, too, or some of it, if
 * the device was reset meanwhile.
 */
#include <stdlib.h>
#include <unistd.h>

#include <linux/sizes.h>
#include <linux/time64.h>

#include <libliveupdate.h>
#include <liveupdate_test.h>
#include <luo_options.h>
#include <nvme_reads.h>

#define MEMFD_TOKEN		0x100
#define DEVICE_TOKEN		0x200
#define STATE_TOKEN		0x300
#define IOMMUFD_TOKEN		0x400
#define HWPT_TOKEN		0x500

#define BLOCK_SIZE		512
#define NR_READS		512
#define DATA_SIZE		(2 * NR_READS * BLOCK_SIZE)

/* No read for so long means that none is on its way any more. */
#define SETTLE_NS		(2 * NSEC_PER_SEC)

#define NR_START_CASES		3
#define NR_PRESERVE_CASES	3
#define NR_MARK_CASES		2
#define NR_RETRIEVE_CASES	8
#define NR_IOMMUFD_CASES	2
#define NR_READ_CASES		2

static const char *bdf;
static struct iommu *iommu;
static struct vfio_pci_device *device;
static struct test_memory mem;
static bool done[NR_READS];
static bool running;

static char session_name[LIVEUPDATE_SESSION_NAME_LENGTH];
static char state_session_name[LIVEUPDATE_SESSION_NAME_LENGTH];

static void device_open(void)
{
	iommu = iommu_init(MODE_IOMMUFD);
	device = vfio_pci_device_init(bdf, iommu);
	if (!device->driver.ops || strcmp(device->driver.ops->name, "nvme"))
		ksft_exit_skip("needs an NVMe controller, %s is none\n", bdf);
}

static void device_close(void)
{
	vfio_pci_device_cleanup(device);
	iommu_cleanup(iommu);
}

static int reads_done(void)
{
	return nvme_reads_done(mem.driver, NR_READS, done);
}

static void start_reads(void)
{
	int ret;

	memory_create(&mem, DATA_SIZE, 0);
	require_call(memory_map_file(&mem, device),
		     "%s: sealed memfd of %lu bytes is mapped at IOVA %#lx", bdf, mem.size,
		     IOVA_BASE);

	vfio_pci_driver_init(device);
	ret = nvme_reads_start(device, to_iova(device, mem.src), to_iova(device, mem.dst),
			       NR_READS);
	require(ret == BLOCK_SIZE, "%s: %d reads of %d bytes are started", bdf, NR_READS,
		BLOCK_SIZE);
	vfio_pci_msix_disable(device);

	ret = reads_done();
	require(ret >= 0 && ret < NR_READS / 2, "%s: the disk is slow: %d reads completed",
		bdf, ret);
}

/* Wait until all reads have completed, or no more do. */
static void settle(void)
{
	u64 changed = now_ns();
	int count = reads_done(), last;

	while (count >= 0 && count < NR_READS && now_ns() - changed < SETTLE_NS) {
		usleep(10 * 1000);
		last = count;
		count = reads_done();
		if (count != last)
			changed = now_ns();
	}
}

/* The first half of the data was written to the disk, the second is what was there before. */
static bool blocks_are_right(void)
{
	u64 half = mem.half / sizeof(u64), i;
	u64 seed = mem.header->seed;
	u64 *src = mem.src, *dst = mem.dst;

	for (i = 0; i < half; i++) {
		bool read = done[i * sizeof(u64) / BLOCK_SIZE];

		if (src[i] == pattern(seed, i) &&
		    (dst[i] == src[i] || (!read && dst[i] == pattern(seed, half + i))))
			continue;
		ksft_print_msg("word %lu, %s: %#lx, to be read from %#lx\n", i,
			       read ? "read" : "not read", dst[i], src[i]);
		return false;
	}

	return true;
}

static void check_reads(void)
{
	int count = reads_done();

	check(count >= 0, "%s: no read failed or completed twice", bdf);
	check(blocks_are_right(), "%s: what was read is in the memfd", bdf);
	printf("LU-READS %s %d %d\n", bdf, count, NR_READS);
}

static void idle(void)
{
	ksft_set_plan(NR_START_CASES + NR_READ_CASES);

	device_open();
	start_reads();
	settle();
	check_reads();

	/* The driver turns them off when it is removed. */
	vfio_pci_msix_enable(device, device->driver.msi, 1);
	device_close();
	ksft_finished();
}

static void stage_1(int luo_fd)
{
	int session_fd, ret;

	ksft_set_plan(NR_START_CASES + NR_PRESERVE_CASES + (running ? NR_MARK_CASES : 0));

	device_open();
	start_reads();

	create_state_file(luo_fd, state_session_name, STATE_TOKEN, 2);
	session_fd = luo_create_session(luo_fd, session_name);
	require_call(session_fd, "session %s is created", session_name);
	ret = luo_session_preserve_fd(session_fd, mem.fd, MEMFD_TOKEN);
	require_call(ret, "%s: memfd is preserved", bdf);
	if (running) {
		require_call(mark_hwpt(iommu, HWPT_TOKEN), "%s: HWPT is marked", bdf);
		ret = luo_session_preserve_fd(session_fd, iommu->iommufd, IOMMUFD_TOKEN);
		require_call(ret, "%s: iommufd is preserved", bdf);
	}
	ret = luo_session_preserve_fd(session_fd, device->fd, DEVICE_TOKEN);
	require_call(ret, "%s: device is preserved", bdf);

	ksft_print_cnts();
	close(luo_fd);
	daemonize_and_wait();
}

static void stage_2(int luo_fd, int state_session_fd)
{
	int session_fd, device_fd, iommufd, stage, ret;

	ksft_set_plan(NR_RETRIEVE_CASES + NR_READ_CASES + (running ? NR_IOMMUFD_CASES : 0));

	restore_and_read_stage(state_session_fd, STATE_TOKEN, &stage);
	require(stage == 2, "state file says stage %d", stage);
	session_fd = luo_retrieve_session(luo_fd, session_name);
	require_call(session_fd, "session %s is retrieved", session_name);
	mem.fd = luo_session_retrieve_fd(session_fd, MEMFD_TOKEN);
	require_call(mem.fd, "%s: memfd is retrieved", bdf);
	require(memory_retrieved(&mem) && mem.header->data_size == DATA_SIZE,
		"%s: memfd has size and layout of stage 1", bdf);

	settle();
	check_reads();

	device_fd = luo_session_retrieve_fd(session_fd, DEVICE_TOKEN);
	require_call(device_fd, "%s: device is retrieved", bdf);
	iommu = iommu_init(MODE_IOMMUFD);
	if (running) {
		iommufd = luo_session_retrieve_fd(session_fd, IOMMUFD_TOKEN);
		require_call(iommufd, "%s: iommufd is retrieved", bdf);
		require_call(move_to_iommufd(iommu, iommufd), "%s: there is a new IOAS", bdf);
	}
	ret = __vfio_device_bind_iommufd(device_fd, iommu->iommufd, NULL);
	require_call(ret, "%s: device is bound to an iommufd", bdf);
	device = vfio_pci_device_init_bound(bdf, iommu, device_fd);

	ret = luo_session_finish(session_fd);
	require_call(ret, "session is finished");
	check(!close(session_fd) && !luo_session_finish(state_session_fd) &&
	      !close(state_session_fd), "sessions are closed");

	device_close();
	ksft_finished();
}

static void usage(FILE *stream, const char *name)
{
	fprintf(stream,
		"Usage: %s --idle | --stage 1|2 [--running] segment:bus:device.function\n"
		"\n"
		"  -i, --idle       wait for the reads, without a kexec\n"
		"  -s, --stage 1    preserve the device, before the kexec\n"
		"  -s, --stage 2    retrieve the device, after the kexec\n"
		"  -R, --running    have the device go on, in both stages alike\n",
		name);
}

int main(int argc, char *argv[])
{
	bool is_idle = false;
	int stage = 0;
	const struct luo_option options[] = {
		{ "idle", 'i', .flag = &is_idle },
		{ "stage", 's', .number = &stage },
		{ "running", 'R', .flag = &running },
		{}
	};

	luo_parse_options(argc, argv, options, usage);

	if (stage < 0 || stage > 2 || is_idle == !!stage) {
		usage(stderr, argv[0]);
		return KSFT_FAIL;
	}

	bdf = vfio_selftests_get_bdf(&argc, argv);
	snprintf_assert(session_name, sizeof(session_name), "reads-%s", bdf);
	snprintf_assert(state_session_name, sizeof(state_session_name), "state-%s", bdf);

	ksft_print_header();
	need_bound(bdf);
	if (is_idle)
		idle();
	else
		run_stage(stage, state_session_name, stage_1, stage_2);

	return KSFT_FAIL;
}
