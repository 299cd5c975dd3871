// SPDX-License-Identifier: GPL-2.0-only
/*
 * The owner of a device gets back what it had, and DMA never stops.
 *
 * The device, an Intel 82576, is given all its receive descriptors once, in a
 * sealed memfd, and is left alone from then on: nobody programs it again, in
 * whichever kernel. Somebody outside of the machine sends numbered frames to it,
 * as for vfio_pci_liveupdate_witness_test, and knows when the device wrote which.
 *
 * Stage 1 runs before the first kexec: it marks the HWPT, preserves memfd, iommufd
 * and device, and stays in the background. Stage 2 runs after each kexec. It
 * retrieves the files, and has no more of the previous one than these, and the IDs
 * of IOAS, HWPT and device: it binds the device and attaches it, changes what is
 * mapped beside the memfd, attaches it to other HWPTs and back, and finishes the
 * session. With --again, all of it is preserved once more, for the next kexec.
 * Meanwhile the device has to write frame after frame. With --idle, nothing happens
 * to it for a while before all that, for others to compare with. With --wrong, somebody
 * has changed an entry of the page table: the device goes on until that is found out.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <sys/ioctl.h>
#include <sys/mman.h>

#include <linux/sizes.h>

#include <libliveupdate.h>
#include <liveupdate_test.h>
#include <luo_options.h>

#define MEMFD_TOKEN		0x100
#define DEVICE_TOKEN		0x200
#define STATE_TOKEN		0x300
#define IOMMUFD_TOKEN		0x400
#define HWPT_TOKEN		0x500

/* So many frames are seen between one step and the next. */
#define STEP_FRAMES		5
#define FIRST_FRAMES		20

#define DEFAULT_RATE		100
#define MAX_RATE		1000
/* While HWPTs are replaced: the descriptors have to last for all kernels */
#define REPLACE_RATE		500

/* Where something else is mapped, which the device does not use */
#define OTHER_IOVA		((u64)SZ_1G)
#define OTHER_SIZE		((u64)SZ_2M)

#define NR_STAGE_1_CASES	10
#define NR_STAGE_2_CASES	34
#define NR_AGAIN_CASES		6
#define NR_END_CASES		6

#define NR_WRONG_CASES		37

static struct wire_memory mem;
static const char *bdf;
static int iommufd, device_fd;
static u32 devid, ioas_id, hwpt_id;
static int rate = DEFAULT_RATE;
static int nr_replaces = 10;
static int idle;
static bool again, wrong;

static char session_name[LIVEUPDATE_SESSION_NAME_LENGTH];
static char state_session_name[LIVEUPDATE_SESSION_NAME_LENGTH];

/* The device goes on writing frames after this step. */
static void check_goes_on(const char *step)
{
	check(nic_rx_wait(&mem.rx, nic_rx_frames(&mem.rx) + STEP_FRAMES),
	      "%s: more frames arrive %s", bdf, step);
}

static void phase(const char *name, u64 start)
{
	printf("LU-PHASE %s %lu %lu\n", name, start, now_ns() - start);
	fflush(stdout);
}

static int preserve(int luo_fd)
{
	u64 start = now_ns();
	int session_fd = luo_create_session(luo_fd, session_name), ret;

	require_call(session_fd, "session %s is created", session_name);
	ret = luo_session_preserve_fd(session_fd, mem.fd, MEMFD_TOKEN);
	require_call(ret, "%s: memfd is preserved", bdf);
	ret = luo_session_preserve_fd(session_fd, iommufd, IOMMUFD_TOKEN);
	require_call(ret, "%s: iommufd is preserved", bdf);
	ret = luo_session_preserve_fd(session_fd, device_fd, DEVICE_TOKEN);
	require_call(ret, "%s: device is preserved", bdf);
	phase("preserve", start);
	return session_fd;
}

static void stage_1(int luo_fd)
{
	u64 iova = strtoul(bdf + strlen("0000:"), NULL, 16) * IOVA_BASE;
	struct vfio_pci_device *device;
	struct iommu *iommu;
	u64 start;
	int ret;

	create_state_file(luo_fd, state_session_name, STATE_TOKEN, 2);
	ksft_set_plan(NR_STAGE_1_CASES);

	iommu = iommu_init(MODE_IOMMUFD);
	iommufd = iommu->iommufd;
	ioas_id = iommu->ioas_id;
	device_fd = cdev_open(bdf);
	VFIO_ASSERT_GE(device_fd, 0);
	ret = device_bind_iommufd(device_fd, iommufd, &devid);
	require_call(ret, "%s: device is bound", bdf);
	device = vfio_pci_device_init_bound(bdf, iommu, device_fd);
	if (!nic_supported(device))
		ksft_exit_skip("needs an Intel 82576, %s is none\n", bdf);
	hwpt_id = ioas_id;
	ret = device_attach_pt(device_fd, &hwpt_id);
	require(!ret && hwpt_id != ioas_id, "%s: is attached to HWPT %u", bdf, hwpt_id);

	wire_create(&mem, iova, 0);
	require_call(wire_map_dma(&mem, iommu), "%s: memfd is mapped at %#lx", bdf, iova);
	require(wire_arm(&mem, device), "%s: device has all its descriptors", bdf);
	mem.header->devid = devid;
	mem.header->ioas_id = ioas_id;
	mem.header->hwpt_id = hwpt_id;
	wire_announce(&mem, bdf);
	wire_feed(rate);
	require(nic_rx_wait(&mem.rx, FIRST_FRAMES), "%s: frames arrive", bdf);
	if (idle) {
		start = now_ns();
		sleep(idle);
		phase("idle", start);
	}
	ret = hwpt_mark(iommufd, hwpt_id, HWPT_TOKEN);
	require_call(ret, "%s: HWPT is marked", bdf);
	preserve(luo_fd);

	if (ksft_get_fail_cnt())
		ksft_finished();
	ksft_print_cnts();
	close(luo_fd);
	daemonize_and_wait();
}

/* Map something else beside what the device uses, and take it away again. */
static void change_mappings(void)
{
	int fd = memfd_create("vfio-pci-liveupdate-other", 0);
	u64 start = now_ns();

	VFIO_ASSERT_GE(fd, 0);
	VFIO_ASSERT_EQ(ftruncate(fd, OTHER_SIZE), 0);
	check(!map_file_at(iommufd, ioas_id, fd, 0, OTHER_SIZE, OTHER_IOVA),
	      "IOAS %u: something else is mapped", ioas_id);
	phase("map", start);
	check_goes_on("with more mapped");
	check(!ioas_unmap(iommufd, ioas_id, OTHER_IOVA, OTHER_SIZE),
	      "IOAS %u: it is unmapped", ioas_id);
	check_goes_on("after that");
	close(fd);
}

/* Attach the device to another HWPT and back, while it writes. */
static void replace(void)
{
	u32 other, pt_id = 0;
	u64 start;
	int i;

	check(!hwpt_alloc(iommufd, devid, ioas_id, &other), "there is another HWPT");
	wire_feed(REPLACE_RATE);
	start = now_ns();
	for (i = 0; i < nr_replaces; i++) {
		pt_id = other;
		if (device_attach_pt(device_fd, &pt_id) || pt_id != other)
			break;
		pt_id = hwpt_id;
		if (device_attach_pt(device_fd, &pt_id) || pt_id != hwpt_id)
			break;
	}
	check(i == nr_replaces, "%s: is attached to it and back %d times", bdf, nr_replaces);
	phase("replace", start);
	wire_feed(rate);
	pt_id = other;
	check(!device_attach_pt(device_fd, &pt_id), "%s: is attached to it", bdf);
	check_goes_on("with another HWPT");
	pt_id = hwpt_id;
	check(!device_attach_pt(device_fd, &pt_id), "%s: is attached to its own", bdf);
	check(!object_destroy(iommufd, other), "the other HWPT is destroyed");
	check_goes_on("with its own HWPT");
}

static int retrieve_file(int session_fd, u64 token, const char *name)
{
	u64 start = now_ns();
	int fd = luo_session_retrieve_fd(session_fd, token);

	phase(name, start);
	return fd;
}

static void retrieve_files(int session_fd)
{
	int stranger;
	u32 id = 0;

	mem.fd = retrieve_file(session_fd, MEMFD_TOKEN, "retrieve-memfd");
	require_call(mem.fd, "%s: memfd is retrieved", bdf);
	require(wire_retrieved(&mem), "%s: memfd has size, seals and layout of stage 1", bdf);
	check_goes_on("in this kernel");
	iommufd = retrieve_file(session_fd, IOMMUFD_TOKEN, "retrieve-iommufd");
	require_call(iommufd, "%s: iommufd is retrieved", bdf);
	devid = mem.header->devid;
	ioas_id = mem.header->ioas_id;
	hwpt_id = mem.header->hwpt_id;
	check(!hwpt_get_id(iommufd, HWPT_TOKEN, &id) && id == hwpt_id,
	      "HWPT %u has its ID and its token", hwpt_id);
	check(hwpt_get_id(iommufd, HWPT_TOKEN + 1, &id) == -ENOENT, "no other token has an HWPT");
	check(object_destroy(iommufd, hwpt_id) == -EBUSY, "HWPT %u cannot be destroyed", hwpt_id);
	check(object_destroy(iommufd, ioas_id) == -EBUSY, "IOAS %u cannot be destroyed", ioas_id);
	check(object_destroy(iommufd, devid) == -ENOENT, "device %u is not there yet", devid);

	device_fd = retrieve_file(session_fd, DEVICE_TOKEN, "retrieve-device");
	require_call(device_fd, "%s: device is retrieved", bdf);
	/* In the last kernel, what is mapped is proved by changing it, and not here. */
	if (again)
		check(luo_session_finish(session_fd) == -EBUSY,
		      "session is not finished: not bound");
	stranger = open("/dev/iommu", O_RDWR);
	VFIO_ASSERT_GE(stranger, 0);
	check(device_bind_iommufd(device_fd, stranger, &id) == -EPERM,
	      "%s: device is not bound to a foreign iommufd", bdf);
	close(stranger);
}

static void bind(int session_fd)
{
	u64 start = now_ns();
	u32 id = 0, pt_id;

	require_call(device_bind_iommufd(device_fd, iommufd, &id), "%s: device is bound", bdf);
	phase("bind", start);
	check(id == devid, "%s: device has its ID, %u", bdf, devid);
	check_goes_on("once it is bound");
	if (again)
		check(luo_session_finish(session_fd) == -EBUSY,
		      "session is not finished: not attached");
	start = now_ns();
	pt_id = ioas_id;
	check(!device_attach_pt(device_fd, &pt_id), "%s: device is attached to its IOAS", bdf);
	phase("attach", start);
	check(pt_id == hwpt_id, "%s: that is HWPT %u still", bdf, hwpt_id);
	check_goes_on("once it is attached");
}

/*
 * The page table maps something else than the IOAS. Something is changed, so that
 * this is found out: it costs the device its DMA, and nobody anything else.
 */
static void find_out(int session_fd)
{
	int fd = memfd_create("vfio-pci-liveupdate-other", 0), kmsg = kmsg_open();
	u64 start = now_ns();
	u32 frames, other, pt_id;

	VFIO_ASSERT_GE(fd, 0);
	VFIO_ASSERT_EQ(ftruncate(fd, OTHER_SIZE), 0);
	check(!map_file_at(iommufd, ioas_id, fd, 0, OTHER_SIZE, OTHER_IOVA),
	      "IOAS %u: something else is mapped", ioas_id);
	phase("map", start);
	check(kmsg_says(kmsg, "it is not proved that it maps what it is said to"),
	      "the log says that HWPT %u is a wrong one", hwpt_id);
	frames = wire_settle(&mem);
	sleep(1);
	check(nic_rx_frames(&mem.rx) == frames, "%s: no more frames arrive", bdf);
	check(!kmsg_says(kmsg, "it is not proved that it maps what it is said to") &&
	      !ioas_unmap(iommufd, ioas_id, OTHER_IOVA, OTHER_SIZE),
	      "IOAS %u: it is unmapped", ioas_id);

	check(!device_detach(device_fd), "%s: is detached", bdf);
	pt_id = hwpt_id;
	check(device_attach_pt(device_fd, &pt_id) == -ESTALE, "%s: HWPT %u is refused", bdf,
	      hwpt_id);
	pt_id = ioas_id;
	check(device_attach_pt(device_fd, &pt_id) == -ESTALE,
	      "%s: IOAS %u is refused as long as it has that", bdf, ioas_id);
	check(!hwpt_alloc(iommufd, devid, ioas_id, &other), "there is another HWPT");
	pt_id = other;
	check(!device_attach_pt(device_fd, &pt_id), "%s: is attached to it", bdf);
	check(!luo_session_finish(session_fd), "session is finished");
	check(!device_detach(device_fd) && !object_destroy(iommufd, other),
	      "the other HWPT is destroyed");
	check(!object_destroy(iommufd, hwpt_id), "HWPT %u is destroyed", hwpt_id);
	pt_id = ioas_id;
	check(!device_attach_pt(device_fd, &pt_id), "%s: IOAS %u has another page table", bdf,
	      ioas_id);
	check(nic_rx_frames(&mem.rx) == frames && wire_frames_in_order(&mem, frames),
	      "%s: frames lie in the memfd in order until the device was stopped", bdf);
	check(wire_canaries_intact(&mem), "%s: canaries around them are intact", bdf);
	printf("LU-FRAMES %s %u\n", bdf, frames);
	check(!close(device_fd), "%s: device is closed", bdf);
	check(!object_destroy(iommufd, ioas_id), "IOAS %u is destroyed", ioas_id);
	close(iommufd);
	close(kmsg);
	close(fd);
}

static void stage_2(int luo_fd, int state_session_fd)
{
	int session_fd, stage;
	u32 frames;
	u64 start;

	if (wrong)
		ksft_set_plan(NR_WRONG_CASES);
	else
		ksft_set_plan(NR_STAGE_2_CASES + (again ? NR_AGAIN_CASES : NR_END_CASES));
	restore_and_read_stage(state_session_fd, STATE_TOKEN, &stage);
	require(stage == 2, "state file says stage %d", stage);

	session_fd = luo_retrieve_session(luo_fd, session_name);
	require_call(session_fd, "session %s is retrieved", session_name);
	retrieve_files(session_fd);
	bind(session_fd);
	if (wrong) {
		find_out(session_fd);
		check(!luo_session_finish(state_session_fd), "state session is finished");
		ksft_finished();
	}
	change_mappings();
	replace();

	start = now_ns();
	require_call(luo_session_finish(session_fd), "session is finished");
	phase("finish", start);
	check(!close(session_fd), "session is closed");
	check(!luo_session_finish(state_session_fd) && !close(state_session_fd),
	      "state session is finished");
	check_goes_on("with nothing incoming any more");

	if (again) {
		create_state_file(luo_fd, state_session_name, STATE_TOKEN, 2);
		preserve(luo_fd);
		if (ksft_get_fail_cnt())
			ksft_finished();
		ksft_print_cnts();
		close(luo_fd);
		daemonize_and_wait();
	}

	phase("end", start);
	wire_feed(0);
	frames = wire_settle(&mem);
	check(frames >= FIRST_FRAMES && frames < NIC_RX_RING_SIZE - 1,
	      "%s: device had descriptors for more than the %u frames that it received",
	      bdf, frames);
	check(wire_frames_in_order(&mem, frames),
	      "%s: frames lie in the memfd in order, none missing, none twice", bdf);
	check(wire_rest_untouched(&mem, frames),
	      "%s: nothing else is in descriptors and buffers", bdf);
	check(wire_canaries_intact(&mem), "%s: canaries around them are intact", bdf);
	printf("LU-FRAMES %s %u\n", bdf, frames);
	check(!close(device_fd), "%s: device is closed", bdf);
	/* As any HWPT that the kernel chose */
	check(object_destroy(iommufd, hwpt_id) == -ENOENT && !object_destroy(iommufd, ioas_id),
	      "its HWPT went with it, and its IOAS is destroyed");
	close(iommufd);
	ksft_finished();
}

static void usage(FILE *stream, const char *name)
{
	fprintf(stream,
		"Usage: %s --stage 1|2 [--again|--wrong] [--rate N] [--idle N] [--replaces N] segment:bus:device.function\n"
		"\n"
		"  -s, --stage 1     preserve the device, before the first kexec\n"
		"  -s, --stage 2     get it back as it was, after each kexec\n"
		"  -a, --again       in stage 2, preserve it once more in the end\n"
		"  -w, --wrong       in stage 2, expect a page table that maps something else\n"
		"  -r, --rate N      have N frames sent per second (%d)\n"
		"  -i, --idle N      in stage 1, do nothing for N seconds once frames arrive\n"
		"  -n, --replaces N  in stage 2, attach it to another HWPT and back N times (%d)\n",
		name, DEFAULT_RATE, nr_replaces);
}

int main(int argc, char *argv[])
{
	int stage = 0;
	const struct luo_option options[] = {
		{ "stage", 's', .number = &stage },
		{ "again", 'a', .flag = &again },
		{ "wrong", 'w', .flag = &wrong },
		{ "rate", 'r', .number = &rate },
		{ "idle", 'i', .number = &idle },
		{ "replaces", 'n', .number = &nr_replaces },
		{}
	};

	luo_parse_options(argc, argv, options, usage);
	if (stage < 1 || stage > 2 || ((again || wrong) && stage != 2) ||
	    (again && wrong) || (idle && stage != 1) || rate < 1 || rate > MAX_RATE ||
	    idle < 0 || nr_replaces < 0) {
		usage(stderr, argv[0]);
		return KSFT_FAIL;
	}
	bdf = vfio_selftests_get_bdf(&argc, argv);
	snprintf_assert(session_name, sizeof(session_name), "return-%s", bdf);
	snprintf_assert(state_session_name, sizeof(state_session_name), "state-%s", bdf);

	ksft_print_header();
	run_stage(stage, state_session_name, stage_1, stage_2);
	return KSFT_FAIL;
}
