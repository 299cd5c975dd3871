// SPDX-License-Identifier: GPL-2.0-only
/*
 * What a device writes while one kernel ends and the next begins.
 *
 * The device, an Intel 82576 or 82540EM, is given all its receive descriptors once, in a
 * sealed memfd, and is left alone from then on. Somebody outside of the machine
 * sends numbered frames to it, from when this program prints
 *
 *	LU-FEED <frames per second>
 *
 * until it does so with 0, and knows when the device wrote which. Where it
 * writes to is in a line
 *
 *	LU-RING <address> <IOVA of the first buffer> <bytes per buffer> <buffers>
 *
 * and how many frames arrived in the end, each in its place, in a line
 *
 *	LU-FRAMES <address> <frames>
 *
 * With --idle, all of this is in one kernel, and nothing else happens. Stage 1
 * runs before a kexec: it preserves memfd and device, and stays in the
 * background. Stage 2 runs after it: it retrieves both, and looks at the memfd.
 * Whether the device was to write between the two is not for this program to
 * judge: it checks that there is nothing in the memory but what was sent.
 *
 * With --running, the HWPT of the device is marked, and the iommufd preserved,
 * too. So the device goes on, and is given more frames in stage 2, until it is
 * bound to the iommufd that is retrieved, or comes to another --end.
 *
 * A --partner is another such device in the same IOMMU group. It shares the HWPT
 * and the session of the device, and goes on as well.
 *
 * A --neighbour is a function of the same slot, in an IOMMU group of its own, that
 * cannot be reset by itself. It is somebody else's, who has it reset and closes it
 * in stage 2, while the device goes on.
 *
 * With --killed, stage 1 has two processes, as where a service manager keeps the
 * session of a VMM: one has the sessions and nothing else. The other one does all
 * the rest, enables MSI-X, and is killed before the kexec. With --interrupts there
 * is one as ever, which enables MSI-X, too, and leaves it to others to kill it. With
 * --stored, that is luo_fd_store, the first process: it is given the sessions, and
 * has to kill this one, which does not end when it is asked to.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/reboot.h>
#include <sys/wait.h>

#include <linux/bits.h>
#include <linux/sizes.h>

#include <libliveupdate.h>
#include <liveupdate_test.h>
#include <luo_fd_store.h>
#include <luo_options.h>

#define MEMFD_TOKEN		0x100
#define DEVICE_TOKEN		0x200
#define STATE_TOKEN		0x300
#define IOMMUFD_TOKEN		0x400
#define HWPT_TOKEN		0x500

/* By so much the tokens of a partner are greater. */
#define PARTNER_TOKENS		0x1000

/* So many frames are seen before anything else happens. */
#define FIRST_FRAMES		20

/*
 * The descriptors last for 20 seconds, several times what a kexec takes even
 * where processors are emulated. Half a second without any kernel still is 100
 * frames. A kernel with debug options takes longer, and needs fewer per second.
 */
#define DEFAULT_RATE		100
#define MAX_RATE		1000

/* A machine has so many root ports. */
#define MAX_OTHERS		7

#define NR_ARM_CASES		3
#define NR_OTHER_ARM_CASES	2
#define NR_PRESERVE_CASES	3
#define NR_FIRST_FRAMES_CASES	2
#define NR_MARK_CASES		2
#define NR_MEMFD_CASES		5
#define NR_BIND_CASES		5
#define NR_RUNNING_CASES	4
#define NR_PRESSURE_CASES	4
#define NR_CLOSE_CASES		10
#define NR_REMOVE_CASES		11
#define NR_LOSE_CASES		10
#define NR_BLOCK_CASES		8
#define NR_KEEP_CASES		11
#define NR_REPLACE_CASES	11
#define NR_UNLOADED_CASES	9
#define NR_STOP_CASES		9
#define NR_FRAME_CASES		4
#define NR_PARTNER_CASES	3
#define NR_RETRIEVED_PARTNER_CASES	4
#define NR_NEIGHBOUR_CASES	2

struct nic {
	const char *bdf;
	u64 tokens;
	u64 wire;
	struct iommu *iommu;
	struct vfio_pci_device *device;
	struct wire_memory mem;
	u64 aim;
};

static struct nic partner = { .tokens = PARTNER_TOKENS, .wire = 1 };
static struct nic nic, bystander, others[MAX_OTHERS];
static int nr_others;
static int rate = DEFAULT_RATE;
static bool running;
static bool pressure;
static const char *neighbour;
static bool unloaded;
static bool killed;
static bool interrupts;
static bool stored;
static u64 aim;

static char session_name[LIVEUPDATE_SESSION_NAME_LENGTH];
static char state_session_name[LIVEUPDATE_SESSION_NAME_LENGTH];

static void nic_open(struct nic *nic, struct iommu *iommu)
{
	nic->iommu = iommu;
	nic->device = vfio_pci_device_init(nic->bdf, iommu);
	if (!nic_supported(nic->device))
		ksft_exit_skip("needs an Intel 82576 or 82540EM, %s is none\n", nic->bdf);
}

static void nic_arm(struct nic *nic)
{
	/* Each bus has its own, so that nobody can take one device for another. */
	u64 iova = strtoul(nic->bdf + strlen("0000:"), NULL, 16) * IOVA_BASE;
	int ret;

	wire_create(&nic->mem, iova, nic->wire);
	ret = wire_map_dma(&nic->mem, nic->iommu);
	require_call(ret, "%s: sealed memfd of %lu bytes is mapped at IOVA %#lx", nic->bdf,
		     nic->mem.size, iova);
	nic->mem.rx.aim = nic->aim;
	require(wire_arm(&nic->mem, nic->device),
		"%s: device has all its descriptors, no interrupts, and a link", nic->bdf);
	wire_announce(&nic->mem, nic->bdf);
}

static void nic_close(struct nic *nic)
{
	vfio_pci_device_cleanup(nic->device);
	iommu_cleanup(nic->iommu);
}

/* What is in the memory when everything that was sent has arrived. */
static void check_frames(const struct nic *nic)
{
	u32 frames = wire_settle(&nic->mem);

	check(frames >= FIRST_FRAMES && frames < NIC_RX_RING_SIZE - 1,
	      "%s: device had descriptors for more than the %u frames that it received",
	      nic->bdf, frames);
	check(wire_frames_in_order(&nic->mem, frames),
	      "%s: frames lie in the memfd in order, none missing, none twice", nic->bdf);
	check(wire_rest_untouched(&nic->mem, frames),
	      "%s: nothing else is in descriptors and buffers", nic->bdf);
	check(wire_canaries_intact(&nic->mem), "%s: canaries around them are intact",
	      nic->bdf);
	printf("LU-FRAMES %s %u\n", nic->bdf, frames);
}

static void idle(int seconds)
{
	ksft_set_plan(NR_ARM_CASES + NR_FRAME_CASES);

	nic_open(&nic, iommu_init(MODE_IOMMUFD));
	nic_arm(&nic);
	wire_feed(rate);
	require(nic_rx_wait(&nic.mem.rx, FIRST_FRAMES), "%s: frames arrive", nic.bdf);
	sleep(seconds);
	wire_feed(0);
	check_frames(&nic);

	nic_close(&nic);
	ksft_finished();
}

/* Have the page table of the device, and all that is in it, stay as it is. */
static void preserve_iommufd(const struct nic *nic, int session_fd)
{
	int ret;

	require_call(mark_hwpt(nic->iommu, HWPT_TOKEN), "%s: HWPT is marked", nic->bdf);
	ret = luo_session_preserve_fd(session_fd, nic->iommu->iommufd, IOMMUFD_TOKEN);
	require_call(ret, "%s: iommufd is preserved", nic->bdf);
}

static void name_session(char *name, const char *bdf)
{
	snprintf_assert(name, LIVEUPDATE_SESSION_NAME_LENGTH, "witness-%s", bdf);
}

static void preserve_memfd(const struct nic *nic, int session_fd)
{
	int ret = luo_session_preserve_fd(session_fd, nic->mem.fd, nic->tokens + MEMFD_TOKEN);

	require_call(ret, "%s: memfd is preserved", nic->bdf);
}

static void preserve_device(const struct nic *nic, int session_fd)
{
	int ret = luo_session_preserve_fd(session_fd, nic->device->fd, nic->tokens + DEVICE_TOKEN);

	require_call(ret, "%s: device is preserved", nic->bdf);
}

static int create_session(const struct nic *nic, int luo_fd)
{
	char name[LIVEUPDATE_SESSION_NAME_LENGTH];

	name_session(name, nic->bdf);
	return luo_create_session(luo_fd, name);
}

/* Preserve all that there is of a device, and its partner, in a session of their own. */
static void preserve(const struct nic *nic, const struct nic *partner, int session_fd)
{
	char name[LIVEUPDATE_SESSION_NAME_LENGTH];

	name_session(name, nic->bdf);
	require_call(session_fd, "session %s is created", name);
	preserve_memfd(nic, session_fd);
	if (partner)
		preserve_memfd(partner, session_fd);
	if (running)
		preserve_iommufd(nic, session_fd);
	preserve_device(nic, session_fd);
	if (partner) {
		check(kexec_refused_by(nic->bdf, name, DEVICE_TOKEN,
				       "its IOMMU group has another device"),
		      "%s: kexec is refused without %s", nic->bdf, partner->bdf);
		preserve_device(partner, session_fd);
	}
}

/* Leave MSI-X enabled, which costs the kexec its consent as long as this process lives. */
static void check_interrupts(const struct nic *nic)
{
	char name[LIVEUPDATE_SESSION_NAME_LENGTH];

	name_session(name, nic->bdf);
	vfio_pci_msix_enable(nic->device, 0, 1);
	check(kexec_refused_by(nic->bdf, name, DEVICE_TOKEN, "interrupts are enabled"),
	      "%s: kexec is refused with interrupts and an owner", nic->bdf);
}

/* Go on in a process that is killed in the end, while this one holds what it has now. */
static void go_on_in_child(int luo_fd)
{
	int status;
	pid_t pid;

	fflush(stdout);
	pid = fork();
	VFIO_ASSERT_GE(pid, 0);
	if (!pid)
		return;

	VFIO_ASSERT_EQ(waitpid(pid, &status, 0), pid);
	if (WIFEXITED(status))
		exit(WEXITSTATUS(status));
	VFIO_ASSERT_EQ(WTERMSIG(status), SIGKILL);
	close(luo_fd);
	daemonize_and_wait();
}

/* Give all sessions that this process has to the first one. Returns how many, or -errno. */
static int store_sessions(void)
{
	static const char session[] = "anon_inode:[luo_session]";
	char path[PATH_MAX], target[PATH_MAX];
	int fd, ret, count = 0;

	for (fd = 0; fd < 1024; fd++) {
		memset(target, 0, sizeof(target));
		snprintf_assert(path, sizeof(path), "/proc/self/fd/%d", fd);
		if (readlink(path, target, sizeof(target) - 1) < 0 ||
		    strncmp(target, session, strlen(session)))
			continue;
		ret = luo_fd_store_keep(fd);
		if (ret)
			return ret;
		count++;
	}

	return count;
}

static void stage_1(int luo_fd)
{
	int session_fd, i;
	u32 frames;

	/* All that a service manager gets to see of it */
	create_state_file(luo_fd, state_session_name, STATE_TOKEN, 2);
	session_fd = create_session(&nic, luo_fd);
	if (killed)
		go_on_in_child(luo_fd);

	ksft_set_plan((1 + !!bystander.bdf + !!partner.bdf) * NR_ARM_CASES +
		      (partner.bdf ? NR_PARTNER_CASES : 0) +
		      nr_others * NR_OTHER_ARM_CASES + NR_FIRST_FRAMES_CASES + interrupts + stored +
		      (1 + nr_others) * (NR_PRESERVE_CASES + (running ? NR_MARK_CASES : 0)));

	nic_open(&nic, iommu_init(MODE_IOMMUFD));
	nic_arm(&nic);
	if (partner.bdf) {
		nic_open(&partner, nic.iommu);
		nic_arm(&partner);
	}
	if (bystander.bdf) {
		nic_open(&bystander, iommu_init(MODE_IOMMUFD));
		nic_arm(&bystander);
	}
	for (i = 0; i < nr_others; i++) {
		nic_open(&others[i], iommu_init(MODE_IOMMUFD));
		others[i].aim = aim;
		nic_arm(&others[i]);
	}

	wire_feed(rate);
	require(nic_rx_wait(&nic.mem.rx, FIRST_FRAMES), "%s: frames arrive", nic.bdf);
	if (partner.bdf)
		require(nic_rx_wait(&partner.mem.rx, FIRST_FRAMES), "%s: frames arrive",
			partner.bdf);
	if (bystander.bdf)
		require(nic_rx_wait(&bystander.mem.rx, FIRST_FRAMES),
			"%s, which is not preserved: frames arrive", bystander.bdf);

	preserve(&nic, partner.bdf ? &partner : NULL, session_fd);
	for (i = 0; i < nr_others; i++)
		preserve(&others[i], NULL, create_session(&others[i], luo_fd));
	if (interrupts)
		check_interrupts(&nic);
	if (stored) {
		/* The state is in one, too. */
		check(store_sessions() == 2 + nr_others, "the first process has all sessions");
		signal(SIGTERM, SIG_IGN);
	}

	frames = nic_rx_frames(&nic.mem.rx);
	check(wire_frames_in_order(&nic.mem, frames),
	      "%s: the first %u frames lie in the memfd in order", nic.bdf, frames);
	check(wire_canaries_intact(&nic.mem), "%s: canaries are intact", nic.bdf);

	if (ksft_get_fail_cnt())
		ksft_finished();

	ksft_print_cnts();
	if (killed) {
		fflush(stdout);
		raise(SIGKILL);
	}
	close(luo_fd);
	daemonize_and_wait();
}

/*
 * Nearly all pages that are free, so that those are among them which should not
 * be. Each has a few words in it: frames begin where some of these are. The first
 * are single pages, for the kernel gives the leftovers of blocks first; from then
 * on huge ones do as well, and take a tenth of the time.
 */
#define OWN_STEP		512
#define OWN_SINGLE		((u64)SZ_128M)
#define OWN_MARGIN		((u64)SZ_64M)

/* What the kernel keeps for itself meanwhile, well within the margin */
#define OWN_MIN_FREE_KBYTES	"16384"
#define MIN_FREE_KBYTES		"/proc/sys/vm/min_free_kbytes"

/* The same where hardly a page may be missed that was given back */
#define OWN_NARROW_MARGIN	((u64)SZ_16M)
#define OWN_NARROW_KBYTES	"4096"

static u64 own_margin = OWN_MARGIN;
static const char *own_min_free = OWN_MIN_FREE_KBYTES;
static u64 own_size;
static char usual_min_free[32];

static char *own_pages(void)
{
	FILE *file = fopen(MIN_FREE_KBYTES, "r");
	char *own;
	u64 at;

	VFIO_ASSERT_NOT_NULL(file);
	VFIO_ASSERT_NOT_NULL(fgets(usual_min_free, sizeof(usual_min_free), file));
	fclose(file);
	VFIO_ASSERT_EQ(sysfs_write(MIN_FREE_KBYTES, own_min_free), 0);

	own_size = (u64)sysconf(_SC_AVPHYS_PAGES) * SZ_4K - own_margin;
	own = mmap(NULL, own_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	VFIO_ASSERT_NE(own, MAP_FAILED);
	VFIO_ASSERT_EQ(madvise(own, OWN_SINGLE, MADV_NOHUGEPAGE), 0);
	for (at = 0; at < own_size; at += OWN_STEP)
		*(u64 *)(own + at) = pattern(own_size, at);
	return own;
}

static bool own_pages_intact(char *own)
{
	u64 at;

	for (at = 0; at < own_size; at += OWN_STEP) {
		if (*(u64 *)(own + at) != pattern(own_size, at)) {
			ksft_print_msg("own page was written to at %#lx of %#lx\n", at, own_size);
			break;
		}
	}
	VFIO_ASSERT_EQ(munmap(own, own_size), 0);
	VFIO_ASSERT_EQ(sysfs_write(MIN_FREE_KBYTES, usual_min_free), 0);
	return at >= own_size;
}

/* What /proc/self/pagemap says of a page */
#define PAGEMAP_PRESENT		BIT_ULL(63)
#define PAGEMAP_FRAME		GENMASK_ULL(54, 0)
#define PAGEMAP_CHUNK		512

/* The pages that a memfd had, by the numbers of their frames. No machine here has more memory. */
static bool was_memfd[SZ_4G / SZ_4K];

/*
 * Go through the page frames of memory that is mapped. Either note that they are a
 * memfd's, or count those of which that was noted.
 */
static u64 page_frames(const char *start, u64 size, bool note)
{
	static u64 entries[PAGEMAP_CHUNK];
	u64 page, nr_pages, frame, count = 0;
	ssize_t len;
	int fd, i;

	fd = open("/proc/self/pagemap", O_RDONLY);
	VFIO_ASSERT_GE(fd, 0);
	for (page = 0; page < size / SZ_4K; page += nr_pages) {
		nr_pages = min_t(u64, PAGEMAP_CHUNK, size / SZ_4K - page);
		len = nr_pages * sizeof(*entries);
		VFIO_ASSERT_EQ(pread(fd, entries, len,
				     ((uintptr_t)start / SZ_4K + page) * sizeof(*entries)), len);
		for (i = 0; i < nr_pages; i++) {
			frame = entries[i] & PAGEMAP_FRAME;
			if (!(entries[i] & PAGEMAP_PRESENT) || frame >= ARRAY_SIZE(was_memfd))
				continue;
			if (note)
				was_memfd[frame] = true;
			count += was_memfd[frame];
		}
	}
	close(fd);
	return count;
}

/* Have the kernel move and reclaim what it can, while the device goes on. */
static void press(void)
{
	int i;

	for (i = 0; i < 3; i++) {
		VFIO_ASSERT_EQ(sysfs_write("/proc/sys/vm/compact_memory", "1"), 0);
		VFIO_ASSERT_EQ(sysfs_write("/proc/sys/vm/drop_caches", "3"), 0);
	}
	check(own_pages_intact(own_pages()), "memory of others is intact under pressure");
}

/*
 * Take all pages from the memfd that the device writes to, and have it write. It
 * does so to pages that are not the memfd's any more, nor anybody else's.
 */
static void write_to_holes(void)
{
	u64 start = now_ns();
	char *own;

	check(!fallocate(nic.mem.fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0,
			 nic.mem.size),
	      "%s: memfd is punched while the device can write to it", nic.bdf);
	own = own_pages();
	printf("LU-PHASE punch %lu %lu\n", start, now_ns() - start);
	wire_feed(rate);
	sleep(2);
	wire_feed(0);
	sleep(1);
	check(own_pages_intact(own), "memory of others is intact under DMA to holes");
	check(wire_untouched(&nic.mem), "%s: nothing is in the holes", nic.bdf);
}

/* Retrieve the iommufd, which changes nothing yet for the device. */
static int retrieve_iommufd(int session_fd, u32 frames)
{
	int iommufd = luo_session_retrieve_fd(session_fd, IOMMUFD_TOKEN);

	require_call(iommufd, "%s: iommufd is retrieved", nic.bdf);
	if (pressure)
		press();
	check(nic_rx_wait(&nic.mem.rx, frames + FIRST_FRAMES),
	      "%s: more frames arrive", nic.bdf);
	if (partner.bdf)
		check(nic_rx_wait(&partner.mem.rx, frames + FIRST_FRAMES),
		      "%s: more frames arrive", partner.bdf);
	return iommufd;
}

static bool ends_by_blocking(void);

/*
 * Retrieve a memfd, and check what came through the kexec. Returns how many frames that is.
 *
 * An IOMMU that blocks a device forgets one thing after the other: the last frame may have been
 * reported in a ring that was still in its cache, and not written to a buffer that was not.
 */
static u32 retrieve_memfd(struct nic *nic, int session_fd)
{
	bool blocks = ends_by_blocking(), in_order;
	u32 frames;

	nic->mem.fd = luo_session_retrieve_fd(session_fd, nic->tokens + MEMFD_TOKEN);
	require_call(nic->mem.fd, "%s: memfd is retrieved", nic->bdf);
	require(wire_retrieved(&nic->mem), "%s: memfd has size, seals and layout of stage 1",
		nic->bdf);

	frames = nic_rx_frames(&nic->mem.rx);
	in_order = wire_frames_in_order(&nic->mem, frames);
	if (blocks && !in_order)
		in_order = wire_frames_in_order(&nic->mem, frames - 1);
	check(in_order, "%s: %u frames came through the kexec in order%s", nic->bdf, frames,
	      blocks ? ", but perhaps the one in which it was blocked" : "");
	return frames;
}

static int retrieve_device(const struct nic *nic, int session_fd)
{
	int device_fd = luo_session_retrieve_fd(session_fd, nic->tokens + DEVICE_TOKEN);

	require_call(device_fd, "%s: device is retrieved", nic->bdf);
	return device_fd;
}

static void nic_bind(struct nic *nic, struct iommu *iommu, int device_fd)
{
	int ret = __vfio_device_bind_iommufd(device_fd, iommu->iommufd, NULL);

	require_call(ret, "%s: device is bound to an iommufd", nic->bdf);
	nic->iommu = iommu;
	nic->device = vfio_pci_device_init_bound(nic->bdf, iommu, device_fd);
}

static void finish(int session_fd, int state_session_fd)
{
	int ret = luo_session_finish(session_fd);

	require_call(ret, "session is finished");
	check(!close(session_fd), "session is closed");
	check(!luo_session_finish(state_session_fd) && !close(state_session_fd),
	      "state session is finished");
}

/*
 * Have the device receive more frames than it did before, and then no more. Only
 * the iommufd that is retrieved gets at it, and sets it up anew.
 */
static void end_passage(int iommufd, int device_fd)
{
	wire_feed(0);
	check_frames(&nic);
	if (partner.bdf)
		check_frames(&partner);
	if (pressure)
		write_to_holes();

	check(__vfio_device_bind_iommufd(device_fd, nic.iommu->iommufd, NULL) == -EPERM,
	      "%s: device is not bound to a foreign iommufd", nic.bdf);
	require_call(move_to_iommufd(nic.iommu, iommufd), "%s: there is a new IOAS", nic.bdf);
}

static bool is_mastering(const char *bdf)
{
	char config[PCI_COMMAND + 3];

	VFIO_ASSERT_EQ(sysfs_read(bdf, "config", config, sizeof(config)), 0);
	return config[PCI_COMMAND] & PCI_COMMAND_MASTER;
}

/*
 * What reaches the neighbour reaches the device, too. Whoever has the groups of both
 * can ask for a reset of both, and vfio tries one when the last of them is closed.
 */
static void check_neighbour(const char *when)
{
	size_t size = sizeof(struct vfio_pci_hot_reset) + 2 * sizeof(__s32);
	struct vfio_pci_hot_reset *reset = calloc_assert(1, size);
	struct iommu *iommu = iommu_init(MODE_VFIO_TYPE1V2_IOMMU);
	struct vfio_pci_device *device = vfio_pci_device_init(neighbour, iommu);
	char path[PATH_MAX];
	int group_fd, ret;

	snprintf_assert(path, sizeof(path), "/dev/vfio/%d", sysfs_iommu_group_get(nic.bdf));
	group_fd = open(path, O_RDWR);
	VFIO_ASSERT_GE(group_fd, 0);

	reset->argsz = size;
	reset->count = 2;
	reset->group_fds[0] = device->group_fd;
	reset->group_fds[1] = group_fd;
	ret = ioctl(device->fd, VFIO_DEVICE_PCI_HOT_RESET, reset) ? -errno : 0;
	check_errno(ret, EBUSY, "%s: is not reset with %s %s", nic.bdf, neighbour, when);

	VFIO_ASSERT_EQ(close(group_fd), 0);
	free(reset);
	vfio_pci_device_cleanup(device);
	iommu_cleanup(iommu);
	check(is_mastering(nic.bdf), "%s: goes on when %s is closed %s", nic.bdf, neighbour,
	      when);
}

/* Go on with the device, as one does. */
static void end_by_binding(int session_fd, int state_session_fd, u32 frames)
{
	int device_fd, partner_fd;
	u64 start;

	device_fd = retrieve_device(&nic, session_fd);
	partner_fd = partner.bdf ? retrieve_device(&partner, session_fd) : -1;
	if (neighbour)
		check_neighbour("before it is bound");
	nic.iommu = iommu_init(MODE_IOMMUFD);
	if (running)
		end_passage(retrieve_iommufd(session_fd, frames), device_fd);
	start = now_ns();
	nic_bind(&nic, nic.iommu, device_fd);
	printf("LU-PHASE bind %lu %lu\n", start, now_ns() - start);
	if (partner.bdf)
		nic_bind(&partner, nic.iommu, partner_fd);

	finish(session_fd, state_session_fd);
	if (!running) {
		wire_feed(0);
		check_frames(&nic);
	}
	if (partner.bdf)
		vfio_pci_device_cleanup(partner.device);
	nic_close(&nic);
}

/* Leave the device alone for a while, between two lines that say so. */
static void go_on(void)
{
	u64 start = now_ns();

	printf("LU-PHASE start %lu 0\n", start);
	fflush(stdout);
	sleep(2);
	printf("LU-PHASE run %lu %lu\n", start, now_ns() - start);
	fflush(stdout);
}

/* Whatever was freed may be anybody's now, while frames are still sent. */
static void check_nobody_is_hit(void)
{
	char *own = own_pages();

	sleep(2);
	check(own_pages_intact(own), "memory of others is intact");
}

/* What the administrator does about a session whose owner does nothing. */
static int drop_session(void)
{
	return sysfs_write("/sys/devices/virtual/misc/liveupdate/drop_incoming_session",
			   session_name);
}

/* Nobody wants any of it. The session is last, and ends all that was retrieved. */
static void end_by_closing(int session_fd, int state_session_fd, u32 frames)
{
	int device_fd, iommufd;
	u64 start;

	device_fd = retrieve_device(&nic, session_fd);
	iommufd = retrieve_iommufd(session_fd, frames);
	check(!munmap(nic.mem.header, nic.mem.size) && !close(nic.mem.fd) &&
	      !close(iommufd) && !close(device_fd), "%s: its files are closed", nic.bdf);
	go_on();
	check_nobody_is_hit();
	check(is_mastering(nic.bdf), "%s: device still can do DMA", nic.bdf);

	start = now_ns();
	check(!close(session_fd), "session is closed");
	printf("LU-PHASE end %lu %lu\n", start, now_ns() - start);
	check_nobody_is_hit();
	check(!is_mastering(nic.bdf), "%s: device can do no DMA", nic.bdf);
	check(!luo_session_finish(state_session_fd) && !close(state_session_fd),
	      "state session is finished");
	wire_feed(0);
}

/*
 * The device goes away once its iommufd is retrieved. It is not what it was if it
 * comes back. A partner goes on until the session is closed.
 */
static void end_by_removing(int session_fd, int state_session_fd, u32 frames)
{
	char path[PATH_MAX];
	u64 start;
	int iommufd;

	iommufd = retrieve_iommufd(session_fd, frames);
	go_on();
	start = now_ns();
	snprintf_assert(path, sizeof(path), "/sys/bus/pci/devices/%s/remove", nic.bdf);
	check(!sysfs_write(path, "1") && access(path, F_OK), "%s: device is removed", nic.bdf);
	printf("LU-PHASE end %lu %lu\n", start, now_ns() - start);
	frames = nic_rx_frames(&nic.mem.rx);
	check_nobody_is_hit();
	check(nic_rx_frames(&nic.mem.rx) == frames, "%s: no more frames arrive", nic.bdf);
	if (partner.bdf)
		check(nic_rx_frames(&partner.mem.rx) >= frames + FIRST_FRAMES &&
		      is_mastering(partner.bdf), "%s: goes on", partner.bdf);

	check(!sysfs_write("/sys/bus/pci/rescan", "1") && !access(path, F_OK),
	      "%s: device is found again", nic.bdf);
	check(!is_mastering(nic.bdf), "%s: device can do no DMA", nic.bdf);
	check(!close(iommufd), "%s: iommufd is closed", nic.bdf);
	check(!close(session_fd), "session is closed");
	check(!luo_session_finish(state_session_fd) && !close(state_session_fd),
	      "state session is finished");
	check(nic_rx_frames(&nic.mem.rx) == frames, "%s: no frame came since", nic.bdf);
	if (partner.bdf)
		check(!is_mastering(partner.bdf), "%s: device can do no DMA", partner.bdf);
	wire_feed(0);
}

/* The next kernel would let a device loose that nobody ever stopped. An image is loaded. */
static void check_kexec_is_refused(void)
{
	check_errno(reboot(RB_KEXEC) ? -errno : 0, EBUSY, "kexec is refused");
}

/* Wait until a device exists, or does no longer. */
static bool comes(const char *path, bool expected)
{
	int ms;

	for (ms = 0; ms < 20000 && !access(path, F_OK) != expected; ms += 10)
		usleep(10 * 1000);
	return !access(path, F_OK) == expected;
}

/*
 * The device is taken out of its slot, the first one, and another one of another kind
 * is put there, which is at the end of the same wire. It may do DMA as soon as nothing
 * of what was handed over is left, and then by mappings of its own.
 */
static void end_by_replacing(int session_fd, int state_session_fd, u32 frames)
{
	char path[PATH_MAX];
	int iommufd;
	u64 start;

	iommufd = retrieve_iommufd(session_fd, frames);
	go_on();
	start = now_ns();
	snprintf_assert(path, sizeof(path), "/sys/bus/pci/devices/%s", nic.bdf);
	printf("LU-MONITOR device_del dev1\n");
	fflush(stdout);
	check(comes(path, false), "%s: device is gone", nic.bdf);

	/* The slot is empty when the kernel has told it so, after all else. */
	sleep(1);
	printf("LU-PHASE end %lu %lu\n", start, now_ns() - start);
	frames = nic_rx_frames(&nic.mem.rx);
	printf("LU-MONITOR device_add e1000e,id=dev1,bus=rp1,netdev=net1\n");
	fflush(stdout);
	check(comes(path, true), "%s: another device is there", nic.bdf);
	check(!sysfs_write("/sys/bus/pci/rescan", "1"), "scan that found it is over");
	check(!is_mastering(nic.bdf), "%s: it can do no DMA", nic.bdf);
	check(nic_rx_frames(&nic.mem.rx) == frames, "%s: no more frames arrive", nic.bdf);
	check(!munmap(nic.mem.header, nic.mem.size) && !close(nic.mem.fd) && !close(iommufd),
	      "%s: its files are closed", nic.bdf);
	check(!drop_session() && !close(session_fd), "session is dropped");
	check_nobody_is_hit();
	check(!luo_session_finish(state_session_fd) && !close(state_session_fd),
	      "state session is finished");
}

/*
 * The device is not found: the kernel does not look at its bus. It goes on all the
 * same, until its session is finished, which gives back the memory that it writes to.
 */
static void end_by_losing(int session_fd, int state_session_fd, u32 frames)
{
	int iommufd;
	u64 start;

	iommufd = retrieve_iommufd(session_fd, frames);
	check(luo_session_retrieve_fd(session_fd, DEVICE_TOKEN) == -ENODEV,
	      "%s: device is not found", nic.bdf);
	go_on();
	check(!munmap(nic.mem.header, nic.mem.size) && !close(nic.mem.fd) && !close(iommufd),
	      "%s: its files are closed", nic.bdf);
	check_nobody_is_hit();
	check_kexec_is_refused();

	start = now_ns();
	check(!luo_session_finish(session_fd) && !close(session_fd), "session is finished");
	printf("LU-PHASE end %lu %lu\n", start, now_ns() - start);
	check_nobody_is_hit();
	check_kexec_is_refused();
	check(!luo_session_finish(state_session_fd) && !close(state_session_fd),
	      "state session is finished");
	wire_feed(0);
}

/*
 * The kernel looks at no device at all. What it cannot stop it cuts off from memory,
 * long before there is anybody to look at.
 */
static void end_by_blocking(int session_fd, int state_session_fd, u32 frames)
{
	int iommufd = luo_session_retrieve_fd(session_fd, IOMMUFD_TOKEN);

	require_call(iommufd, "%s: iommufd is retrieved", nic.bdf);
	check(luo_session_retrieve_fd(session_fd, DEVICE_TOKEN) == -ENODEV,
	      "%s: device is not found", nic.bdf);
	sleep(2);
	check(nic_rx_frames(&nic.mem.rx) == frames, "%s: no more frames arrive", nic.bdf);
	check(!munmap(nic.mem.header, nic.mem.size) && !close(nic.mem.fd) && !close(iommufd),
	      "%s: its files are closed", nic.bdf);
	check(!luo_session_finish(session_fd) && !close(session_fd), "session is finished");
	check_nobody_is_hit();
	check_kexec_is_refused();
	check(!luo_session_finish(state_session_fd) && !close(state_session_fd),
	      "state session is finished");
	wire_feed(0);
}

/*
 * Neither the device nor its IOMMU is found. It goes on, nobody can end that, and so
 * nothing that it writes to is given back.
 */
static void end_by_keeping(int session_fd, int state_session_fd, u32 frames)
{
	int iommufd;

	iommufd = retrieve_iommufd(session_fd, frames);
	check(luo_session_retrieve_fd(session_fd, DEVICE_TOKEN) == -ENODEV,
	      "%s: device is not found", nic.bdf);
	check(!close(iommufd), "%s: iommufd is closed", nic.bdf);
	check(luo_session_finish(session_fd) == -EBUSY, "session cannot be finished");
	check(!close(session_fd), "session is closed");
	check(drop_session() == -EBUSY, "session cannot be dropped");
	check_nobody_is_hit();
	check(nic_rx_wait(&nic.mem.rx, nic_rx_frames(&nic.mem.rx) + FIRST_FRAMES),
	      "%s: more frames arrive still", nic.bdf);
	check_kexec_is_refused();
	check(!luo_session_finish(state_session_fd) && !close(state_session_fd),
	      "state session is finished");
}

/*
 * Nobody will ever take the device over: the administrator stops it, and drops its
 * session, whose owner does not let go. Only then is the memory given back that the
 * device wrote to, and others get all of it.
 */
static void end_by_stopping(int session_fd, int state_session_fd, u32 frames)
{
	u64 start, nr_pages, nr_own;
	char path[PATH_MAX];
	char *own;

	nic.mem.fd = luo_session_retrieve_fd(session_fd, MEMFD_TOKEN);
	require_call(nic.mem.fd, "%s: memfd is retrieved", nic.bdf);
	require(wire_retrieved(&nic.mem), "%s: memfd has size, seals and layout of stage 1",
		nic.bdf);
	VFIO_ASSERT_EQ(madvise(nic.mem.header, nic.mem.size, MADV_POPULATE_READ), 0);
	nr_pages = page_frames((char *)nic.mem.header, nic.mem.size, true);
	check(nr_pages == nic.mem.size / SZ_4K && !munmap(nic.mem.header, nic.mem.size) &&
	      !close(nic.mem.fd), "%s: its %lu pages are known, and it is closed", nic.bdf,
	      nr_pages);
	go_on();

	snprintf_assert(path, sizeof(path), "/sys/bus/pci/devices/%s/liveupdate_stop", nic.bdf);
	start = now_ns();
	check(!sysfs_write(path, "1"), "%s: device is stopped", nic.bdf);
	check(!is_mastering(nic.bdf), "%s: device can do no DMA", nic.bdf);
	check(!drop_session(), "session is dropped");
	printf("LU-PHASE end %lu %lu\n", start, now_ns() - start);
	fflush(stdout);

	own_margin = OWN_NARROW_MARGIN;
	own_min_free = OWN_NARROW_KBYTES;
	own = own_pages();
	nr_own = page_frames(own, own_size, false);
	check(nr_own * 100 >= nr_pages * 95, "others have %lu of the %lu pages of the memfd",
	      nr_own, nr_pages);
	sleep(2);
	check(own_pages_intact(own), "memory of others is intact");
	check_errno(sysfs_write(path, "1"), ENOENT, "%s: device is not preserved any more",
		    nic.bdf);
	wire_feed(0);
}

static const struct end {
	const char *name;
	void (*run)(int session_fd, int state_session_fd, u32 frames);
	int nr_cases;
	int nr_partner_cases;	/* what there is to be said of a partner, if there can be one */
} ends[] = {
	{ "bind", end_by_binding, NR_BIND_CASES + NR_FRAME_CASES, 2 + NR_FRAME_CASES },
	{ "close", end_by_closing, NR_CLOSE_CASES, 0 },
	{ "remove", end_by_removing, NR_REMOVE_CASES, 2 },
	{ "replace", end_by_replacing, NR_REPLACE_CASES, 0 },
	{ "lose", end_by_losing, NR_LOSE_CASES, 0 },
	{ "block", end_by_blocking, NR_BLOCK_CASES, 0 },
	{ "keep", end_by_keeping, NR_KEEP_CASES, 0 },
	{ "stop", end_by_stopping, NR_STOP_CASES, 0 },
};

static const struct end *end = &ends[0];

static bool ends_by_blocking(void)
{
	return end->run == end_by_blocking;
}

static const struct end *end_called(const char *name)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(ends); i++)
		if (!strcmp(ends[i].name, name))
			return &ends[i];
	ksft_exit_fail_msg("no end is called %s\n", name);
}

static void stage_2(int luo_fd, int state_session_fd)
{
	int session_fd, stage;
	u32 frames;

	ksft_set_plan(NR_MEMFD_CASES + end->nr_cases +
		      (running && end->run == end_by_binding ? NR_RUNNING_CASES : 0) +
		      (pressure ? NR_PRESSURE_CASES : 0) +
		      (neighbour ? 2 * NR_NEIGHBOUR_CASES : 0) +
		      (partner.bdf ? NR_RETRIEVED_PARTNER_CASES + end->nr_partner_cases : 0));

	restore_and_read_stage(state_session_fd, STATE_TOKEN, &stage);
	require(stage == 2, "state file says stage %d", stage);

	session_fd = luo_retrieve_session(luo_fd, session_name);
	require_call(session_fd, "session %s is retrieved", session_name);
	frames = retrieve_memfd(&nic, session_fd);
	if (partner.bdf)
		retrieve_memfd(&partner, session_fd);
	if (neighbour)
		check_neighbour("before it is retrieved");
	end->run(session_fd, state_session_fd, frames);
	ksft_finished();
}

/*
 * The kernel lacks the modules that know the files of the session. Nothing that the
 * device writes to is given back, whatever is done with the session, which waits for
 * them, unless the device is stopped.
 */
static void run_unloaded(void)
{
	bool stops = end->run == end_by_stopping;
	int luo_fd, session_fd;

	ksft_set_plan(NR_UNLOADED_CASES + (stops ? end->nr_cases : 0));
	luo_fd = luo_open_device();
	require_call(luo_fd, "%s is opened", LUO_DEVICE);
	session_fd = luo_retrieve_session(luo_fd, session_name);
	require_call(session_fd, "session %s is retrieved", session_name);
	check(luo_session_finish(session_fd) == -EBUSY, "session cannot be finished");
	check(!close(session_fd), "session is closed");
	check(drop_session() == -EBUSY, "session cannot be dropped");
	check_nobody_is_hit();
	check(is_mastering(nic.bdf), "%s: device still can do DMA", nic.bdf);
	session_fd = luo_retrieve_session(luo_fd, session_name);
	require_call(session_fd, "session is there to be retrieved again");
	if (stops)
		end->run(session_fd, -1, 0);
	check(!close(session_fd), "session is closed again");
	ksft_finished();
}

static void usage(FILE *stream, const char *name)
{
	fprintf(stream,
		"Usage: %s --idle SECONDS segment:bus:device.function\n"
		"       %s --stage 1|2 [--running] [OPTION]... segment:bus:device.function\n"
		"\n"
		"  -i, --idle SECONDS  receive frames that long, without a kexec\n"
		"  -s, --stage 1       preserve the device, before the kexec\n"
		"  -s, --stage 2       retrieve the device, after the kexec\n"
		"  -R, --running       have the device go on, in both stages alike\n"
		"  -p, --pressure      in stage 2, have it go on while memory is moved and punched\n"
		"  -e, --end HOW       in stage 2, \"bind\" the device, as is done without this,\n"
		"                      \"close\" its files, \"remove\" it, or \"replace\" it by\n"
		"                      another one, while it goes on; \"stop\" it with --unloaded;\n"
		"                      where it is not found, \"lose\" it, see its IOMMU \"block\" it,\n"
		"                      or \"keep\" it if that is not found, either\n"
		"  -u, --unloaded      in stage 2, check first that without vfio-pci and iommufd\n"
		"                      nothing can be done with it, and nothing is lost\n"
		"  -r, --rate N        have N frames sent per second (%d)\n"
		"  -P, --partner=BDF   have this one, of the same IOMMU group, go on with it\n"
		"  -n, --neighbour=BDF in stage 2, have this one, of the same slot, reset and closed\n"
		"  -b, --bystander=BDF in stage 1, have this one receive, too, and do not preserve it\n"
		"  -o, --other=BDF     in stage 1, have this one receive, too, and preserve it as well\n"
		"  -a, --aim=IOVA      have the others write all frames there, whatever that is\n"
		"  -k, --killed        in stage 1, have the owner of the device killed with MSI-X\n"
		"                      enabled, while another process holds its session\n"
		"  -I, --interrupts    in stage 1, leave MSI-X enabled; for both, an image has to be\n"
		"                      loaded (kexec -s -l)\n"
		"  -S, --stored        in stage 1, give the sessions to luo_fd_store, the first\n"
		"                      process, which has to kill this one\n",
		name, name, DEFAULT_RATE);
}

static void add_other(const char *bdf)
{
	if (nr_others == MAX_OTHERS)
		ksft_exit_fail_msg("too many others\n");
	others[nr_others++].bdf = bdf;
}

int main(int argc, char *argv[])
{
	int stage = 0, seconds = 0;
	const char *how = NULL;
	const struct luo_option options[] = {
		{ "idle", 'i', .number = &seconds },
		{ "stage", 's', .number = &stage },
		{ "running", 'R', .flag = &running },
		{ "pressure", 'p', .flag = &pressure },
		{ "end", 'e', .text = &how },
		{ "unloaded", 'u', .flag = &unloaded },
		{ "rate", 'r', .number = &rate },
		{ "partner", 'P', .text = &partner.bdf },
		{ "neighbour", 'n', .text = &neighbour },
		{ "bystander", 'b', .text = &bystander.bdf },
		{ "other", 'o', .call = add_other },
		{ "aim", 'a', .size = &aim },
		{ "killed", 'k', .flag = &killed },
		{ "interrupts", 'I', .flag = &interrupts },
		{ "stored", 'S', .flag = &stored },
		{}
	};

	luo_parse_options(argc, argv, options, usage);
	if (how)
		end = end_called(how);
	if (killed)
		interrupts = true;

	if (seconds < 0 || stage < 0 || stage > 2 || !seconds == !stage ||
	    (unloaded && stage != 2) || (end->run == end_by_stopping && !unloaded) ||
	    ((interrupts || stored) && stage != 1) ||
	    (neighbour && (stage != 2 || !running || end->run != end_by_binding)) ||
	    (partner.bdf && (!running || !end->nr_partner_cases)) ||
	    rate < 1 || rate > MAX_RATE) {
		usage(stderr, argv[0]);
		return KSFT_FAIL;
	}

	nic.bdf = vfio_selftests_get_bdf(&argc, argv);
	name_session(session_name, nic.bdf);
	snprintf_assert(state_session_name, sizeof(state_session_name), "state-%s",
			nic.bdf);

	ksft_print_header();
	if (seconds)
		idle(seconds);
	else if (unloaded)
		run_unloaded();
	else
		run_stage(stage, state_session_name, stage_1, stage_2);

	return KSFT_FAIL;
}
