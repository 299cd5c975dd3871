// SPDX-License-Identifier: GPL-2.0-only
/*
 * Preserve a memfd, an iommufd that maps it, and a device that is attached to it,
 * across a kexec.
 *
 * Stage 1 runs before the kexec. It preserves the three in this order, in one
 * session, and stays in the background to hold it. Stage 2 runs after the kexec.
 * It retrieves all files, attaches the device to the retrieved iommufd again, and
 * finishes the session.
 *
 * With --stage 1, the path of the device's cdev follows.
 *
 * With --refused, and such a path, there is no kexec: the device is one whose DMA
 * cannot go on, so that only memfd and iommufd are preserved.
 */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <libliveupdate.h>

#include "iommufd_liveupdate_common.h"

#define SESSION		"iommufd-kexec"
#define STATE_SESSION	"iommufd-kexec-state"

#define STATE_TOKEN	1
#define MEMFD_TOKEN	2
#define IOMMUFD_TOKEN	3
#define DEVICE_TOKEN	4

/* What the memfd has in its last bytes */
#define MARK		"kept by iommufd_liveupdate_kexec_test"

static const char *cdev_path;

/* One test case. Later ones make no sense if it fails, so end there. */
static void require(int ret, int expected, const char *name)
{
	if (ret != expected)
		ksft_print_msg("returned %d, expected %d\n", ret, expected);
	ksft_test_result(ret == expected, "%s\n", name);
	if (ret != expected)
		ksft_finished();
}

static void require_fd(int fd, const char *name)
{
	require(fd < 0 ? fd : 0, 0, name);
}

/* How many pages are kept from being moved or freed for those who write to them */
static long nr_pinned(void)
{
	long acquired = 0, released = 0;
	char line[128];
	FILE *file;
	int fd;

	/* Processors keep counts of their own until somebody asks. */
	fd = open("/proc/sys/vm/stat_refresh", O_WRONLY);
	if (fd < 0 || write(fd, "1", 1) != 1)
		fail_exit("/proc/sys/vm/stat_refresh");
	close(fd);

	file = fopen("/proc/vmstat", "r");
	if (!file)
		fail_exit("/proc/vmstat");
	while (fgets(line, sizeof(line), file)) {
		if (sscanf(line, "nr_foll_pin_acquired %ld", &acquired) != 1 &&
		    sscanf(line, "nr_foll_pin_released %ld", &released) != 1)
			continue;
	}
	fclose(file);
	return acquired - released;
}

#define NR_ATTACH_CASES	4

/* Everything is attached and mapped, and nothing preserved. */
static void attach(int *device, int *iommufd, int *memfd, __u32 *ioas_id)
{
	__u32 dev_id, hwpt_id;

	*device = open_path(cdev_path);
	*iommufd = open_path("/dev/iommu");
	*memfd = memfd_sealed(MEMFD_SIZE, 0, SEALS);
	if (*device < 0 || *iommufd < 0 || *memfd < 0)
		ksft_exit_skip("no %s, /dev/iommu or memfd\n", cdev_path);

	require(device_bind(*device, *iommufd, &dev_id), 0, "device is bound to the iommufd");
	require(ioas_alloc(*iommufd, ioas_id) ?:
		hwpt_alloc(*iommufd, dev_id, *ioas_id, &hwpt_id) ?:
		device_attach_to(*device, hwpt_id), 0, "device is attached to an HWPT");
	require(map_file(*iommufd, *ioas_id, *memfd), 0, "memfd is mapped");
	require(hwpt_mark(*iommufd, hwpt_id, 0x1234), 0, "HWPT is marked");
}

static void without_device(int luo)
{
	int session, device, iommufd, memfd;
	__u32 ioas_id;

	ksft_set_plan(NR_ATTACH_CASES + 7);
	attach(&device, &iommufd, &memfd, &ioas_id);

	session = luo_create_session(luo, SESSION);
	require_fd(session, "session is created");
	require(luo_session_preserve_fd(session, memfd, MEMFD_TOKEN), 0, "memfd is preserved");
	require(luo_session_preserve_fd(session, iommufd, IOMMUFD_TOKEN), 0,
		"iommufd is preserved");
	require(luo_session_preserve_fd(session, device, DEVICE_TOKEN), -EOPNOTSUPP,
		"device is refused");
	require(unmap(iommufd, ioas_id, IOVA, MEMFD_SIZE), -EBUSY, "mappings stay");
	require(device_detach(device), 0, "device can be detached");
	close(session);
	require(unmap(iommufd, ioas_id, IOVA, MEMFD_SIZE), 0,
		"mappings can be taken away when the session is closed");

	close(device);
	close(iommufd);
	ksft_finished();
}

static void stage_1(int luo)
{
	int session, device, iommufd, memfd;
	__u32 ioas_id;
	char *memory;

	ksft_set_plan(NR_ATTACH_CASES + 5);
	attach(&device, &iommufd, &memfd, &ioas_id);
	memory = mmap(NULL, MEMFD_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, memfd, 0);
	if (memory == MAP_FAILED)
		fail_exit("mmap");
	memcpy(memory + MEMFD_SIZE - sizeof(MARK), MARK, sizeof(MARK));

	create_state_file(luo, STATE_SESSION, STATE_TOKEN, 2);
	session = luo_create_session(luo, SESSION);
	require_fd(session, "session is created");
	require(luo_session_preserve_fd(session, memfd, MEMFD_TOKEN), 0, "memfd is preserved");
	require(luo_session_preserve_fd(session, iommufd, IOMMUFD_TOKEN), 0,
		"iommufd is preserved");
	require(luo_session_preserve_fd(session, device, DEVICE_TOKEN), 0,
		"device is preserved");
	require(unmap(iommufd, ioas_id, IOVA, MEMFD_SIZE), -EBUSY, "mappings stay");

	ksft_print_cnts();
	close(luo);
	daemonize_and_wait();
}

static void stage_2(int luo, int state_session)
{
	int session, device, iommufd, memfd, stage;
	__u32 dev_id, ioas_id, hwpt_id;
	long others;
	char *memory;

	ksft_set_plan(15);
	restore_and_read_stage(state_session, STATE_TOKEN, &stage);
	require(stage, 2, "it is stage 2");
	session = luo_retrieve_session(luo, SESSION);
	require_fd(session, "session is retrieved");
	device = luo_session_retrieve_fd(session, DEVICE_TOKEN);
	require_fd(device, "device is retrieved");
	iommufd = luo_session_retrieve_fd(session, IOMMUFD_TOKEN);
	require_fd(iommufd, "iommufd is retrieved");
	others = nr_pinned();
	memfd = luo_session_retrieve_fd(session, MEMFD_TOKEN);
	require_fd(memfd, "memfd is retrieved");

	memory = mmap(NULL, MEMFD_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, memfd, 0);
	if (memory == MAP_FAILED)
		fail_exit("mmap");
	require(strcmp(memory + MEMFD_SIZE - sizeof(MARK), MARK), 0, "memfd has what it had");

	/* A device may still be writing to it. */
	require(nr_pinned() - others, MEMFD_SIZE / SZ_4K, "all pages of the memfd are pinned");
	if (fallocate(memfd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, SZ_4K))
		fail_exit("fallocate");
	require(nr_pinned() - others, MEMFD_SIZE / SZ_4K, "and so is one that goes into a hole");

	/* It is an iommufd like any other, and an empty one. */
	require(object_destroy(iommufd, 1), -ENOENT, "iommufd has no object");
	require(ioas_alloc(iommufd, &ioas_id), 0, "iommufd gets an IOAS");
	require(map_file(iommufd, ioas_id, memfd), 0, "memfd is mapped again");
	require(device_bind(device, iommufd, &dev_id) ?:
		hwpt_alloc(iommufd, dev_id, ioas_id, &hwpt_id) ?:
		device_attach_to(device, hwpt_id), 0, "device is attached again");

	require(luo_session_finish(session), 0, "session is finished");
	require(unmap(iommufd, ioas_id, IOVA, MEMFD_SIZE) ?:
		device_detach(device) ?:
		object_destroy(iommufd, hwpt_id) ?:
		object_destroy(iommufd, ioas_id), 0, "everything can be taken down");
	require(nr_pinned() - others, 0, "none of them is pinned any more");

	close(session);
	close(device);
	close(iommufd);
	ksft_finished();
}

int main(int argc, char *argv[])
{
	int luo, state_session;
	bool is_refused;

	ksft_print_header();
	is_refused = argc == 3 && !strcmp(argv[1], "--refused");
	if (!is_refused &&
	    (argc < 3 || strcmp(argv[1], "--stage") || (*argv[2] == '1' && argc < 4)))
		ksft_exit_fail_msg("Usage: %s --stage 1 CDEV, --stage 2, or --refused CDEV\n",
				   argv[0]);

	luo = luo_open_device();
	if (luo < 0)
		ksft_exit_skip("open(%s): %m (booted with liveupdate=on?)\n", LUO_DEVICE);

	if (is_refused) {
		cdev_path = argv[2];
		without_device(luo);
		return 0;
	}
	if (*argv[2] == '1') {
		cdev_path = argv[3];
		stage_1(luo);
		return 0;
	}

	state_session = luo_retrieve_session(luo, STATE_SESSION);
	if (state_session < 0)
		ksft_exit_fail_msg("no session of stage 1\n");
	stage_2(luo, state_session);
	return 0;
}
