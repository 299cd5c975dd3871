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
 * In stage 1, the path of the device's cdev is needed. With --ats, in both, the
 * device at this address has to have ATS enabled all the time, and can do DMA
 * until it is attached in stage 2. With --reset, in stage 1, it is reset once it is
 * preserved, when the translations of another device left a lower ID free.
 */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <linux/pci_regs.h>

#include <libliveupdate.h>
#include <luo_options.h>

#include "iommufd_liveupdate_common.h"

#define SESSION		"iommufd-kexec"
#define STATE_SESSION	"iommufd-kexec-state"

#define STATE_TOKEN	1
#define MEMFD_TOKEN	2
#define IOMMUFD_TOKEN	3
#define DEVICE_TOKEN	4

/* What an iommufd calls its first objects */
#define DEVICE_ID	1
#define IOAS_ID		2

/* What the memfd has in its last bytes */
#define MARK		"kept by iommufd_liveupdate_kexec_test"

static const char *cdev_path;
static const char *ats_bdf;
static const char *other_path;

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
	return vm_count("nr_foll_pin_acquired") - vm_count("nr_foll_pin_released");
}

/* A register of the device at @ats_bdf that is so many bytes into configuration space */
static __u32 config_read(int offset, int size)
{
	__u32 value = 0;
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/config", ats_bdf);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || pread(fd, &value, size, offset) != size)
		fail_exit("%s", path);
	close(fd);
	return value;
}

/* Whether it may translate by itself */
static int has_ats(void)
{
	int at = PCI_CFG_SPACE_SIZE;
	__u32 header;

	do {
		header = config_read(at, sizeof(header));
		if (PCI_EXT_CAP_ID(header) == PCI_EXT_CAP_ID_ATS)
			return config_read(at + PCI_ATS_CTRL, 2) & PCI_ATS_CTRL_ENABLE ? 0 : -EPERM;
		at = PCI_EXT_CAP_NEXT(header);
	} while (at);
	return -ENODEV;
}

/* Whether it can do DMA */
static int is_mastering(void)
{
	return config_read(PCI_COMMAND, 2) & PCI_COMMAND_MASTER ? 0 : -EPERM;
}

static int set_mastering(int device)
{
	struct vfio_region_info info = {
		.argsz = sizeof(info),
		.index = VFIO_PCI_CONFIG_REGION_INDEX,
	};
	__u16 command = PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER;
	int ret = call(device, VFIO_DEVICE_GET_REGION_INFO, &info);

	if (!ret && pwrite(device, &command, sizeof(command),
			   info.offset + PCI_COMMAND) != sizeof(command))
		ret = -errno;
	return ret;
}

static void require_ats(const char *when)
{
	char name[64];

	if (!ats_bdf)
		return;
	snprintf(name, sizeof(name), "device has ATS enabled %s", when);
	require(has_ats(), 0, name);
}

/* Whoever owns a device has it leave the domain that the kernel gave it. */
static void take_other(void)
{
	int device = open_path(other_path), iommufd = open_path("/dev/iommu");
	__u32 dev_id;

	if (device < 0 || iommufd < 0)
		ksft_exit_skip("no %s or /dev/iommu\n", other_path);
	require(device_bind(device, iommufd, &dev_id), 0, "other device has an owner");
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
	require(dev_id != DEVICE_ID ?: ioas_alloc(*iommufd, ioas_id) ?: *ioas_id != IOAS_ID ?:
		hwpt_alloc(*iommufd, dev_id, *ioas_id, &hwpt_id) ?:
		device_attach_to(*device, hwpt_id), 0, "device is attached to an HWPT");
	require(map_file(*iommufd, *ioas_id, *memfd), 0, "memfd is mapped");
	require(hwpt_mark(*iommufd, hwpt_id, 0x1234), 0, "HWPT is marked");
}

static void stage_1(int luo)
{
	int session, device, iommufd, memfd;
	__u32 ioas_id;
	char *memory;

	ksft_set_plan(NR_ATTACH_CASES + 5 + (ats_bdf ? 2 : 0) + (other_path ? 3 : 0));
	attach(&device, &iommufd, &memfd, &ioas_id);
	require_ats("when it is attached");
	if (ats_bdf)
		require(set_mastering(device) ?: is_mastering(), 0, "device can do DMA");
	if (other_path)
		take_other();
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
	require(ioas_unmap(iommufd, ioas_id, IOVA, MEMFD_SIZE), -EBUSY, "mappings stay");
	if (other_path) {
		require(call(device, VFIO_DEVICE_RESET, NULL), 0, "device is reset");
		require(is_mastering(), 0, "it can do DMA again");
	}

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

	ksft_set_plan(15 + (ats_bdf ? 4 : 0));
	restore_and_read_stage(state_session, STATE_TOKEN, &stage);
	require(stage, 2, "it is stage 2");
	require_ats("after the kexec");
	if (ats_bdf)
		require(is_mastering(), 0, "device can still do DMA");
	session = luo_retrieve_session(luo, SESSION);
	require_fd(session, "session is retrieved");
	device = luo_session_retrieve_fd(session, DEVICE_TOKEN);
	require_fd(device, "device is retrieved");
	others = nr_pinned();
	iommufd = luo_session_retrieve_fd(session, IOMMUFD_TOKEN);
	require_fd(iommufd, "iommufd is retrieved");
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

	/* It has the objects that it had. A hole is none of what its page table maps. */
	require(map_file(iommufd, IOAS_ID, memfd), -EEXIST, "memfd is mapped in the IOAS");
	require(ioas_alloc(iommufd, &ioas_id), 0, "iommufd gets an IOAS");
	require(map_file(iommufd, ioas_id, memfd), 0, "memfd is mapped again");
	require(device_bind(device, iommufd, &dev_id) ?: dev_id != DEVICE_ID ?:
		hwpt_alloc(iommufd, dev_id, ioas_id, &hwpt_id) ?:
		device_attach_to(device, hwpt_id), 0, "device is attached again");
	require_ats("when it is attached again");

	require(luo_session_finish(session), 0, "session is finished");
	require(ioas_unmap(iommufd, ioas_id, IOVA, MEMFD_SIZE) ?:
		device_detach(device) ?:
		object_destroy(iommufd, hwpt_id) ?:
		object_destroy(iommufd, ioas_id), 0, "everything can be taken down");
	require(nr_pinned() - others, 0, "none of them is pinned any more");

	close(session);
	close(device);
	close(iommufd);
	require_ats("when it is closed");
	ksft_finished();
}

static void usage(FILE *stream, const char *name)
{
	fprintf(stream,
		"Usage: %s --stage 1|2 [--ats=BDF [--reset=/dev/vfio/devices/vfioY]]\n"
		"       [/dev/vfio/devices/vfioX]\n"
		"\n"
		"  -s, --stage 1       preserve the device with this path, before the kexec\n"
		"  -s, --stage 2       retrieve it, after the kexec\n"
		"  -a, --ats=BDF       it is at this address, and has to have ATS enabled\n"
		"  -r, --reset=PATH    reset it once it is preserved, after taking this device\n"
		"                      from the kernel, which found it earlier\n",
		name);
}

int main(int argc, char *argv[])
{
	int luo, state_session, stage = 0;
	const struct luo_option options[] = {
		{ "stage", 's', .number = &stage },
		{ "ats", 'a', .text = &ats_bdf },
		{ "reset", 'r', .text = &other_path },
		{}
	};

	luo_parse_options(argc, argv, options, usage);
	if (stage < 1 || stage > 2 || argc - optind != 2 - stage ||
	    (other_path && (stage != 1 || !ats_bdf))) {
		usage(stderr, argv[0]);
		return KSFT_FAIL;
	}

	ksft_print_header();
	luo = luo_open_device();
	if (luo < 0)
		ksft_exit_skip("open(%s): %m (booted with liveupdate=on?)\n", LUO_DEVICE);

	if (stage == 1) {
		cdev_path = argv[optind];
		stage_1(luo);
		return 0;
	}

	state_session = luo_retrieve_session(luo, STATE_SESSION);
	if (state_session < 0)
		ksft_exit_fail_msg("no session of stage 1\n");
	stage_2(luo, state_session);
	return 0;
}
