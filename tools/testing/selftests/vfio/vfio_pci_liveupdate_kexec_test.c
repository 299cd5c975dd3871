// SPDX-License-Identifier: GPL-2.0-only
/*
 * Preserve a vfio-pci device, and a memfd that it does DMA to, across a kexec.
 *
 * Stage 1 runs before the kexec. It preserves both files in a session, lets the
 * device work on the memfd, and stays in the background to hold the session.
 * Stage 2 runs after the kexec. It checks that the device can be had from the
 * session only, retrieves both files, and uses them again.
 *
 * The memfd is mapped at IOVA 4 GiB in both kernels and laid out as
 *
 *	0		struct test_header
 *	DRIVER_OFFSET	memory of the device's driver: descriptors and the like
 *	DATA_OFFSET	test data: one half to copy from, one half to copy to
 *	end of data	receive buffers (--rx only)
 *
 * What stage 2 needs to know is in the header, so it takes no options but the
 * stage. Preserve, retrieve, bind and finish are each reported in a line
 *
 *	LU-PHASE <name> <start> <duration>
 *
 * with CLOCK_MONOTONIC times in nanoseconds.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/reboot.h>
#include <sys/stat.h>

#include <linux/align.h>
#include <linux/io.h>
#include <linux/kernel.h>
#include <linux/mii.h>
#include <linux/pci_ids.h>
#include <linux/sizes.h>
#include <linux/time64.h>
#include <linux/vfio.h>

#include <libliveupdate.h>
#include <libvfio.h>

#include "lib/drivers/igb/e1000_regs.h"
#include "lib/drivers/igb/e1000_defines.h"
#include "lib/drivers/igb/e1000_82575.h"

#define MEMFD_TOKEN		0x100
#define DEVICE_TOKEN		0x200
#define STATE_TOKEN		0x300

#define IOVA_BASE		((u64)SZ_4G)
#define DRIVER_OFFSET		SZ_64K
#define DATA_OFFSET		SZ_1M
#define DEFAULT_DATA_SIZE	SZ_8M

/* Enough to keep a fast device busy until the kexec: 4 minutes at 30 GB/s. */
#define DMA_TOTAL		(7200ULL * SZ_1G)

/* Test cases of check_freeze_refused() and check_abandon() */
#define NR_FREEZE_CASES		10
#define NR_ABANDON_CASES	12

#define HEADER_MAGIC		0x74736574756c6676ULL

/* The first page of the memfd: what stage 1 tells stage 2. */
struct test_header {
	u64 magic;
	u64 seed;		/* what the test data is generated from */
	u64 data_size;		/* bytes */
	u64 copied;		/* bytes at the start of the second half that
				 * DMA made equal to the first half
				 */
	u64 rx_size;		/* bytes of receive buffers, 0 without --rx */
};

struct test_memory {
	int fd;
	u64 size;
	struct test_header *header;
	void *driver;
	void *src;
	void *dst;
	u64 half;
	void *rx;
	struct dma_region region;
};

static const char *device_bdf;
static char session_name[LIVEUPDATE_SESSION_NAME_LENGTH];
static char state_session_name[LIVEUPDATE_SESSION_NAME_LENGTH];

static const char * const container_modes[] = {
	MODE_VFIO_TYPE1_IOMMU,
	MODE_VFIO_TYPE1V2_IOMMU,
	MODE_IOMMUFD_COMPAT_TYPE1,
	MODE_IOMMUFD_COMPAT_TYPE1V2,
};

/* One test case. Later ones make no sense if it fails, so end there. */
#define require(_condition, _fmt, ...) do {				\
	bool __ok = (_condition);					\
									\
	ksft_test_result(__ok, _fmt "\n", ##__VA_ARGS__);		\
	if (!__ok)							\
		ksft_finished();					\
} while (0)

/* One test case that does not stop the others if it fails. */
#define check(_condition, _fmt, ...)					\
	ksft_test_result(_condition, _fmt "\n", ##__VA_ARGS__)

/* As require(), for calls that return 0 or more, or -errno. */
#define require_call(_ret, _fmt, ...) do {				\
	int __ret = (_ret);						\
									\
	if (__ret < 0)							\
		ksft_print_msg("%s\n", strerror(-__ret));		\
	require(__ret >= 0, _fmt, ##__VA_ARGS__);			\
} while (0)

/* For calls that have to fail, with one errno. */
#define check_errno(_ret, _expected, _fmt, ...) do {			\
	int __ret = (_ret);						\
	int __expected = -(_expected);					\
									\
	if (__ret != __expected)					\
		ksft_print_msg("returned %d, expected %d\n", __ret,	\
			       __expected);				\
	check(__ret == __expected, _fmt, ##__VA_ARGS__);		\
} while (0)

static u64 now_ns(void)
{
	struct timespec ts;

	VFIO_ASSERT_EQ(clock_gettime(CLOCK_MONOTONIC, &ts), 0);
	return ts.tv_sec * NSEC_PER_SEC + ts.tv_nsec;
}

static void phase_done(const char *name, u64 start)
{
	printf("LU-PHASE %s %lu %lu\n", name, start, now_ns() - start);
}

static u64 pattern(u64 seed, u64 index)
{
	u64 z = seed + (index + 1) * 0x9e3779b97f4a7c15ULL;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
	return z ^ (z >> 31);
}

/* What the test data must have in the 8 bytes at @offset. */
static u64 expected_data(const struct test_memory *mem, u64 offset)
{
	if (offset >= mem->half && offset - mem->half < mem->header->copied)
		offset -= mem->half;

	return pattern(mem->header->seed, offset / sizeof(u64));
}

static void data_fill(struct test_memory *mem)
{
	u64 offset;

	for (offset = 0; offset < mem->header->data_size; offset += sizeof(u64))
		*(u64 *)(mem->src + offset) = expected_data(mem, offset);
}

static bool data_intact(const struct test_memory *mem)
{
	u64 wrong = 0, first = 0, offset;

	for (offset = 0; offset < mem->header->data_size; offset += sizeof(u64)) {
		if (*(u64 *)(mem->src + offset) == expected_data(mem, offset))
			continue;
		if (!wrong++)
			first = offset;
	}

	if (wrong)
		ksft_print_msg("%lu of %lu words differ, first at byte %#lx\n",
			       wrong, mem->header->data_size / sizeof(u64),
			       first);

	return !wrong;
}

static u64 memory_size(u64 data_size, u64 rx_size)
{
	return DATA_OFFSET + data_size + rx_size;
}

static void memory_mmap(struct test_memory *mem)
{
	void *vaddr;

	vaddr = mmap(NULL, mem->size, PROT_READ | PROT_WRITE, MAP_SHARED,
		     mem->fd, 0);
	VFIO_ASSERT_NE(vaddr, MAP_FAILED);

	mem->header = vaddr;
	mem->driver = vaddr + DRIVER_OFFSET;
	mem->src = vaddr + DATA_OFFSET;
}

static void memory_layout(struct test_memory *mem)
{
	mem->half = mem->header->data_size / 2;
	mem->dst = mem->src + mem->half;
	mem->rx = mem->src + mem->header->data_size;
}

/* Stage 1: a new memfd, filled with data that no earlier run can have left. */
static void memory_create(struct test_memory *mem, u64 data_size, u64 rx_size)
{
	mem->size = memory_size(data_size, rx_size);
	mem->fd = memfd_create("vfio-pci-liveupdate", 0);
	VFIO_ASSERT_GE(mem->fd, 0);
	VFIO_ASSERT_EQ(fallocate(mem->fd, 0, 0, mem->size), 0,
		       "Not enough memory for a memfd of %lu bytes\n",
		       mem->size);

	memory_mmap(mem);
	*mem->header = (struct test_header) {
		.magic = HEADER_MAGIC,
		.seed = now_ns(),
		.data_size = data_size,
		.rx_size = rx_size,
	};

	memory_layout(mem);
	data_fill(mem);
}

/* Stage 2: find out what stage 1 did. Nothing in the memfd can be trusted. */
static bool memory_retrieved(struct test_memory *mem)
{
	struct stat st;

	VFIO_ASSERT_EQ(fstat(mem->fd, &st), 0);
	mem->size = st.st_size;
	if (mem->size < DATA_OFFSET) {
		ksft_print_msg("memfd has %lu bytes only\n", mem->size);
		return false;
	}

	memory_mmap(mem);
	if (mem->header->magic != HEADER_MAGIC ||
	    mem->header->data_size > mem->size ||
	    mem->header->rx_size > mem->size ||
	    mem->header->data_size % (2 * sizeof(u64)) ||
	    memory_size(mem->header->data_size,
			mem->header->rx_size) != mem->size) {
		ksft_print_msg("memfd of %lu bytes has no valid header\n",
			       mem->size);
		return false;
	}

	memory_layout(mem);
	return true;
}

static int memory_map_dma(struct test_memory *mem,
			  struct vfio_pci_device *device)
{
	mem->region = (struct dma_region) {
		.vaddr = mem->header,
		.iova = IOVA_BASE,
		.size = mem->size,
	};

	device->driver.region = (struct dma_region) {
		.vaddr = mem->driver,
		.iova = IOVA_BASE + DRIVER_OFFSET,
		.size = DATA_OFFSET - DRIVER_OFFSET,
	};

	return __iommu_map(device->iommu, &mem->region);
}

/* How much to copy when the copy is waited for: a few operations. */
static u64 copy_size(const struct test_memory *mem,
		     struct vfio_pci_device *device)
{
	u64 size = min_t(u64, device->driver.max_memcpy_size * 16, mem->half);

	return ALIGN_DOWN(size, sizeof(u64));
}

/*
 * Copy from the first half of the test data to the second.
 *
 * Each operation is repeated because an igb takes frames from the wire, too,
 * if somebody sends any: they come before those that it sends itself and take
 * their place. So it is the last frame that counts, and a few may get lost.
 */
static int data_copy(struct test_memory *mem, struct vfio_pci_device *device,
		     u64 size)
{
	u64 count = min_t(u64, device->driver.max_memcpy_count, 128);
	u64 offset, chunk;
	int ret;

	for (offset = 0; offset < size; offset += chunk) {
		chunk = min_t(u64, size - offset,
			      device->driver.max_memcpy_size);
		vfio_pci_driver_memcpy_start(device,
					     to_iova(device, mem->src + offset),
					     to_iova(device, mem->dst + offset),
					     chunk, count);
		ret = vfio_pci_driver_memcpy_wait(device);
		if (ret)
			return ret;
	}

	return 0;
}

/*
 * Receiving from the wire with an 82576 ("igb"). The driver in libvfio only
 * loops its own frames back, and cannot do without MSI-X.
 */

#define IGB_DEVICE_ID		0x10c9
#define IGB_RX_RING_SIZE	4096
#define IGB_RX_BUFFER_SIZE	SZ_2K
#define IGB_RX_MEMORY		((u64)IGB_RX_RING_SIZE * IGB_RX_BUFFER_SIZE)
#define IGB_RX_TIMEOUT_S	30
#define IGB_LINK_TIMEOUT_MS	5000

static u32 igb_read(struct vfio_pci_device *device, u32 reg)
{
	return readl(device->bars[0].vaddr + reg);
}

static void igb_write(struct vfio_pci_device *device, u32 reg, u32 value)
{
	writel(value, device->bars[0].vaddr + reg);
}

static bool igb_wait_set(struct vfio_pci_device *device, u32 reg, u32 bit,
			 int timeout_ms)
{
	while (!(igb_read(device, reg) & bit)) {
		if (timeout_ms-- <= 0)
			return false;
		usleep(1000);
	}

	return true;
}

static bool igb_supported(struct vfio_pci_device *device)
{
	return vfio_pci_device_match(device, PCI_VENDOR_ID_INTEL,
				     IGB_DEVICE_ID);
}

static bool igb_link_up(struct vfio_pci_device *device)
{
	u32 ctrl;

	/* Internal copper PHY, and MAC speed and duplex as the PHY finds. */
	ctrl = igb_read(device, E1000_CTRL_EXT);
	ctrl &= ~E1000_CTRL_EXT_LINK_MODE_MASK;
	igb_write(device, E1000_CTRL_EXT, ctrl | E1000_CTRL_EXT_DRV_LOAD);

	ctrl = igb_read(device, E1000_CTRL);
	ctrl &= ~(E1000_CTRL_FRCSPD | E1000_CTRL_FRCDPX);
	igb_write(device, E1000_CTRL, ctrl | E1000_CTRL_SLU);

	igb_write(device, E1000_MDIC,
		  BMCR_ANENABLE | BMCR_ANRESTART |
		  MII_BMCR << E1000_MDIC_REG_SHIFT |
		  1 << E1000_MDIC_PHY_SHIFT | E1000_MDIC_OP_WRITE);
	if (!igb_wait_set(device, E1000_MDIC, E1000_MDIC_READY, 100))
		return false;

	return igb_wait_set(device, E1000_STATUS, E1000_STATUS_LU,
			    IGB_LINK_TIMEOUT_MS);
}

/*
 * Let the device write frames from the wire to memory, without interrupts and
 * without anybody looking at them, until all descriptors but one are used up.
 */
static bool igb_rx_arm(struct vfio_pci_device *device, struct test_memory *mem)
{
	union e1000_adv_rx_desc *ring = mem->driver;
	u64 ring_iova = to_iova(device, ring);
	u64 buffers_iova = to_iova(device, mem->rx);
	int i;

	vfio_pci_device_reset(device);
	vfio_pci_cmd_set(device, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER |
			 PCI_COMMAND_INTX_DISABLE);

	igb_write(device, E1000_IMC, ~0U);
	igb_write(device, E1000_EIMC, ~0U);

	if (!igb_link_up(device)) {
		ksft_print_msg("no link, is a network connected?\n");
		return false;
	}

	memset(mem->rx, 0, mem->header->rx_size);
	memset(ring, 0, IGB_RX_RING_SIZE * sizeof(*ring));
	for (i = 0; i < IGB_RX_RING_SIZE; i++) {
		u64 iova = buffers_iova + (u64)i * IGB_RX_BUFFER_SIZE;

		ring[i].read.pkt_addr = cpu_to_le64(iova);
	}

	igb_write(device, E1000_RDBAL(0), ring_iova);
	igb_write(device, E1000_RDBAH(0), ring_iova >> 32);
	igb_write(device, E1000_RDLEN(0), IGB_RX_RING_SIZE * sizeof(*ring));
	igb_write(device, E1000_SRRCTL(0),
		  E1000_SRRCTL_DESCTYPE_ADV_ONEBUF |
		  IGB_RX_BUFFER_SIZE >> E1000_SRRCTL_BSIZEPKT_SHIFT);
	igb_write(device, E1000_RXDCTL(0), E1000_RXDCTL_QUEUE_ENABLE);
	igb_write(device, E1000_RCTL, E1000_RCTL_EN | E1000_RCTL_UPE |
		  E1000_RCTL_MPE | E1000_RCTL_BAM | E1000_RCTL_SECRC);

	/* The tail must not move before the queue says that it is enabled. */
	if (!igb_wait_set(device, E1000_RXDCTL(0), E1000_RXDCTL_QUEUE_ENABLE,
			  100)) {
		ksft_print_msg("receive queue 0 does not get enabled\n");
		return false;
	}

	/* Descriptors must be in memory before the device hears of them. */
	wmb();
	igb_write(device, E1000_RDT(0), IGB_RX_RING_SIZE - 1);

	return true;
}

static int igb_rx_frames(const struct test_memory *mem)
{
	const union e1000_adv_rx_desc *ring = mem->driver;
	int i;

	for (i = 0; i < IGB_RX_RING_SIZE; i++) {
		u32 status = READ_ONCE(ring[i].wb.upper.status_error);

		if (!(le32_to_cpu(status) & E1000_RXD_STAT_DD))
			break;
	}

	return i;
}

static bool igb_rx_wait(struct test_memory *mem)
{
	u64 end = now_ns() + IGB_RX_TIMEOUT_S * NSEC_PER_SEC;
	int frames;

	ksft_print_msg("waiting up to %d s for a frame from the wire\n",
		       IGB_RX_TIMEOUT_S);

	while (!(frames = igb_rx_frames(mem))) {
		if (now_ns() > end) {
			ksft_print_msg("no frame within %d s, is anybody sending?\n",
				       IGB_RX_TIMEOUT_S);
			return false;
		}
		usleep(1000);
	}

	ksft_print_msg("%d frame(s) received, ring of %d at IOVA %#lx, buffers at IOVA %#lx\n",
		       frames, IGB_RX_RING_SIZE, IOVA_BASE + DRIVER_OFFSET,
		       IOVA_BASE + DATA_OFFSET + mem->header->data_size);

	return true;
}

/* A sum over the descriptors and receive buffers, where DMA would show. */
static u64 dma_sum(const struct test_memory *mem)
{
	const u64 *ring = mem->driver, *buffers = mem->rx;
	u64 sum = 0, i;

	for (i = 0; i < (DATA_OFFSET - DRIVER_OFFSET) / sizeof(*ring); i++)
		sum = pattern(sum ^ ring[i], i);
	for (i = 0; i < mem->header->rx_size / sizeof(*buffers); i++)
		sum = pattern(sum ^ buffers[i], i);

	return sum;
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

static bool config_readable(struct vfio_pci_device *device)
{
	u64 offset = device->config_space.offset + PCI_VENDOR_ID;
	u16 vendor;

	return pread(device->fd, &vendor, sizeof(vendor), offset) ==
	       sizeof(vendor) && vendor != 0xffff;
}

/*
 * Have the kexec refused: by the device itself, and then by another one, after
 * this one agreed. Neither may cost this one anything.
 *
 * Needs an image that is loaded. The device's interrupts are on at first, and
 * off in the end.
 */
static void check_freeze_refused(int luo_fd, struct test_memory *mem,
				 struct vfio_pci_device *device, u64 size,
				 const char *other_bdf)
{
	u64 max = min_t(u64, size, device->driver.max_memcpy_size);
	u64 count = device->driver.max_memcpy_count;
	struct vfio_pci_device *other;
	struct iommu *iommu;
	int session_fd, ret;

	check_kexec_refused("interrupts are enabled");
	check(config_readable(device), "device can be used after that");
	memset(mem->dst, 0, size);
	ret = data_copy(mem, device, size);
	check(!ret && !memcmp(mem->src, mem->dst, size),
	      "DMA still copies correctly");
	vfio_pci_msix_disable(device);

	iommu = iommu_init(MODE_IOMMUFD);
	other = vfio_pci_device_init(other_bdf, iommu);
	vfio_pci_msix_enable(other, 0, 1);
	session_fd = luo_create_session(luo_fd, "other-device");
	require_call(session_fd, "session of another device is created");
	ret = luo_session_preserve_fd(session_fd, other->fd, DEVICE_TOKEN);
	require_call(ret, "other device %s is preserved", other_bdf);

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

/* Leave the device copying, with its interrupts off. Two test cases. */
static void start_dma(int luo_fd, struct test_memory *mem,
		      struct vfio_pci_device *device, const char *other_bdf)
{
	u64 size, count;
	int ret;

	if (!device->driver.ops) {
		ksft_test_result_skip("DMA: no driver for this device\n");
		ksft_test_result_skip("interrupts: no driver for this device\n");
		return;
	}

	vfio_pci_driver_init(device);

	size = copy_size(mem, device);
	ret = data_copy(mem, device, size);
	mem->header->copied = size;
	require(!ret && data_intact(mem),
		"DMA with the %s driver copies correctly",
		device->driver.ops->name);

	if (other_bdf)
		check_freeze_refused(luo_fd, mem, device, size, other_bdf);

	/* What has been copied again and again, so the data stays as is. */
	size = min_t(u64, size, device->driver.max_memcpy_size);
	count = min_t(u64, DMA_TOTAL / size, device->driver.max_memcpy_count);
	ksft_print_msg("starting %lu copies of %lu bytes\n", count, size);
	vfio_pci_driver_memcpy_start(device, to_iova(device, mem->src),
				     to_iova(device, mem->dst), size, count);

	if (device->msix_info.count && !other_bdf)
		vfio_pci_msix_disable(device);
	check(true, "interrupts are disabled");
}

static void stage_1(int luo_fd, u64 data_size, bool rx, const char *other_bdf)
{
	struct vfio_pci_device *device;
	struct test_memory mem = {};
	struct iommu *iommu;
	int session_fd;
	u64 start;
	int ret;

	iommu = iommu_init(MODE_IOMMUFD);
	device = vfio_pci_device_init(device_bdf, iommu);

	if (rx && !igb_supported(device))
		ksft_exit_skip("--rx needs an Intel 82576 (8086:10c9), %s is none\n",
			       device_bdf);

	if (other_bdf && !device->driver.ops)
		ksft_exit_skip("--refused needs a device that libvfio drives, %s is none\n",
			       device_bdf);

	ksft_set_plan((rx ? 7 : 8) + (other_bdf ? NR_FREEZE_CASES : 0));
	check(true, "device %s is bound to an iommufd", device_bdf);

	create_state_file(luo_fd, state_session_name, STATE_TOKEN, 2);
	check(true, "state file is preserved in session %s",
	      state_session_name);

	session_fd = luo_create_session(luo_fd, session_name);
	require_call(session_fd, "session %s is created", session_name);

	start = now_ns();
	ret = luo_session_preserve_fd(session_fd, device->fd, DEVICE_TOKEN);
	if (!ret)
		phase_done("preserve", start);
	require_call(ret, "device is preserved");

	memory_create(&mem, data_size, rx ? IGB_RX_MEMORY : 0);
	ret = luo_session_preserve_fd(session_fd, mem.fd, MEMFD_TOKEN);
	require_call(ret, "memfd of %lu bytes is preserved", mem.size);

	require_call(memory_map_dma(&mem, device),
		     "memfd is mapped at IOVA %#lx", IOVA_BASE);

	if (rx)
		require(igb_rx_arm(device, &mem) && igb_rx_wait(&mem),
			"device receives frames from the wire");
	else
		start_dma(luo_fd, &mem, device, other_bdf);

	if (ksft_get_fail_cnt())
		ksft_finished();

	ksft_print_cnts();
	close(luo_fd);
	daemonize_and_wait();
}

/* Arm the receive ring without /dev/liveupdate, to try out a frame source. */
static void rx_only(void)
{
	struct vfio_pci_device *device;
	struct test_memory mem = {};
	struct iommu *iommu;

	iommu = iommu_init(MODE_IOMMUFD);
	device = vfio_pci_device_init(device_bdf, iommu);

	if (!igb_supported(device))
		ksft_exit_skip("--rx-only needs an Intel 82576 (8086:10c9), %s is none\n",
			       device_bdf);

	ksft_set_plan(2);
	memory_create(&mem, SZ_64K, IGB_RX_MEMORY);
	require_call(memory_map_dma(&mem, device),
		     "memfd is mapped at IOVA %#lx", IOVA_BASE);
	require(igb_rx_arm(device, &mem) && igb_rx_wait(&mem),
		"device receives frames from the wire");

	vfio_pci_device_cleanup(device);
	iommu_cleanup(iommu);
	ksft_finished();
}

static int cdev_open(void)
{
	const char *path = vfio_pci_get_cdev_path(device_bdf);
	int fd = open(path, O_RDWR);

	free((void *)path);
	return fd < 0 ? -errno : fd;
}

static int group_get_device(const char *mode)
{
	struct vfio_pci_device *device;
	struct iommu *iommu;
	int ret;

	iommu = iommu_init(mode);
	device = vfio_pci_device_alloc(device_bdf, iommu);

	vfio_pci_group_setup(device, device_bdf);
	vfio_container_set_iommu(device);
	__vfio_pci_group_get_device_fd(device, device_bdf, NULL);

	ret = device->fd < 0 ? -errno : device->fd;
	if (device->fd >= 0)
		VFIO_ASSERT_EQ(close(device->fd), 0);
	VFIO_ASSERT_EQ(close(device->group_fd), 0);

	vfio_pci_device_free(device);
	iommu_cleanup(iommu);

	return ret;
}

static int device_get_info(int fd)
{
	struct vfio_device_info info = { .argsz = sizeof(info) };

	return ioctl(fd, VFIO_DEVICE_GET_INFO, &info) ? -errno : 0;
}

static void check_no_other_way_in(void)
{
	int ret;
	int i;

	ret = cdev_open();
	check_errno(ret, EBUSY, "opening the cdev is refused");
	if (ret >= 0)
		close(ret);

	for (i = 0; i < ARRAY_SIZE(container_modes); i++) {
		ret = group_get_device(container_modes[i]);
		check_errno(ret, EBUSY, "device file from the group is refused (%s)",
			    container_modes[i]);
	}
}

static void check_dma(struct test_memory *mem, struct vfio_pci_device *device)
{
	u64 size;
	int ret;

	if (!device->driver.ops) {
		ksft_test_result_skip("DMA: no driver for this device\n");
		return;
	}

	vfio_pci_driver_init(device);
	size = copy_size(mem, device);
	memset(mem->dst, 0, size);

	ret = data_copy(mem, device, size);
	check(!ret && !memcmp(mem->src, mem->dst, size),
	      "DMA with the %s driver copies %lu bytes correctly",
	      device->driver.ops->name, size);
}

static void check_ordinary_open(void)
{
	struct vfio_pci_device *device;
	struct iommu *iommu;
	int fd;

	fd = cdev_open();
	require_call(fd, "cdev can be opened again");
	close(fd);

	iommu = iommu_init(MODE_IOMMUFD);
	device = vfio_pci_device_init(device_bdf, iommu);
	vfio_pci_device_cleanup(device);
	iommu_cleanup(iommu);
	check(true, "device can be bound again");
}

/* What stage 2 begins with: the session, and the memfd from it. */
static int retrieve_session(int luo_fd, int state_session_fd,
			    struct test_memory *mem)
{
	int session_fd, stage;

	check_no_other_way_in();

	restore_and_read_stage(state_session_fd, STATE_TOKEN, &stage);
	require(stage == 2, "state file says stage 2");

	session_fd = luo_retrieve_session(luo_fd, session_name);
	require_call(session_fd, "session %s is retrieved", session_name);

	mem->fd = luo_session_retrieve_fd(session_fd, MEMFD_TOKEN);
	require_call(mem->fd, "memfd is retrieved");

	return session_fd;
}

/* The session is gone before anybody retrieved the device. */
static void check_abandon(int luo_fd, int state_session_fd)
{
	struct test_memory mem = {};
	int session_fd, ret;

	ksft_set_plan(ARRAY_SIZE(container_modes) + NR_ABANDON_CASES);

	session_fd = retrieve_session(luo_fd, state_session_fd, &mem);

	ret = luo_session_finish(session_fd);
	check_errno(ret, EBUSY, "finish before retrieving the device is refused");
	check(!close(session_fd), "session is closed");

	ret = luo_retrieve_session(luo_fd, session_name);
	check_errno(ret, ENOENT, "session is gone");

	require(memory_retrieved(&mem), "memfd has size and layout of stage 1");
	check(data_intact(&mem), "%lu bytes of test data are intact",
	      mem.header->data_size);

	check(!luo_session_finish(state_session_fd) && !close(state_session_fd),
	      "state session is finished");
	check_ordinary_open();

	ksft_finished();
}

static void stage_2(int luo_fd, int state_session_fd)
{
	int session_fd, device_fd, ret;
	struct vfio_pci_device *device;
	struct test_memory mem = {};
	struct iommu *iommu;
	u64 start, sum;

	ksft_set_plan(ARRAY_SIZE(container_modes) + 20);

	session_fd = retrieve_session(luo_fd, state_session_fd, &mem);
	require(memory_retrieved(&mem), "memfd has size and layout of stage 1");
	check(data_intact(&mem), "%lu bytes of test data are intact",
	      mem.header->data_size);
	sum = dma_sum(&mem);

	ret = luo_session_finish(session_fd);
	check_errno(ret, EBUSY, "finish before retrieving the device is refused");

	start = now_ns();
	device_fd = luo_session_retrieve_fd(session_fd, DEVICE_TOKEN);
	if (device_fd >= 0)
		phase_done("retrieve", start);
	require_call(device_fd, "device is retrieved");

	check(device_get_info(device_fd) < 0,
	      "device refuses ioctls before it is bound");
	ret = luo_session_finish(session_fd);
	check_errno(ret, EBUSY, "finish before binding the device is refused");

	iommu = iommu_init(MODE_IOMMUFD);
	start = now_ns();
	ret = __vfio_device_bind_iommufd(device_fd, iommu->iommufd, NULL);
	if (!ret)
		phase_done("bind", start);
	require_call(ret, "device is bound to a new iommufd");

	device = vfio_pci_device_init_bound(device_bdf, iommu, device_fd);
	check(true, "device is set up");
	require_call(memory_map_dma(&mem, device),
		     "memfd is mapped at IOVA %#lx", IOVA_BASE);

	start = now_ns();
	ret = luo_session_finish(session_fd);
	if (!ret)
		phase_done("finish", start);
	require_call(ret, "session is finished");
	check(!close(session_fd), "session is closed");

	check(dma_sum(&mem) == sum,
	      "device wrote nothing since the memfd was retrieved");

	check_dma(&mem, device);

	check(!luo_session_finish(state_session_fd) && !close(state_session_fd),
	      "state session is finished");

	vfio_pci_device_cleanup(device);
	iommu_cleanup(iommu);
	check_ordinary_open();

	ksft_finished();
}

static void usage(FILE *stream, const char *name)
{
	fprintf(stream,
		"Usage: %s --stage 1|2 [options] segment:bus:device.function\n"
		"\n"
		"  -s, --stage 1    preserve the device, before the kexec (default)\n"
		"  -s, --stage 2    retrieve and use the device, after the kexec\n"
		"\n"
		"Options of stage 1:\n"
		"  -S, --size SIZE  bytes of test data to preserve, K, M and G work (8M)\n"
		"  -r, --rx         leave the device receiving frames (82576 only)\n"
		"  -R, --rx-only    receive a frame, preserve nothing (82576 only)\n"
		"  --refused=BDF    have the kexec refused, first by the device, then by this\n"
		"                   other one; needs an image loaded with kexec -s -l\n"
		"\n"
		"Options of stage 2:\n"
		"  -a, --abandon    close the session without retrieving the device\n",
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

static void run(int stage, u64 data_size, bool rx, const char *other_bdf,
		bool abandon)
{
	int luo_fd, state_session_fd, found;

	luo_fd = luo_open_device();
	if (luo_fd < 0)
		ksft_exit_fail_msg("open(%s): %m (booted with liveupdate=on?)\n",
				   LUO_DEVICE);

	state_session_fd = luo_retrieve_session(luo_fd, state_session_name);
	if (state_session_fd < 0 && state_session_fd != -ENOENT)
		ksft_exit_fail_msg("retrieving session %s: %s\n",
				   state_session_name,
				   strerror(-state_session_fd));

	found = state_session_fd < 0 ? 1 : 2;
	if (stage != found)
		ksft_exit_fail_msg("stage %d asked for, but session %s %s: stage %d is due\n",
				   stage, state_session_name,
				   found == 1 ? "is not there" : "has arrived",
				   found);

	if (stage == 1)
		stage_1(luo_fd, data_size, rx, other_bdf);
	else if (abandon)
		check_abandon(luo_fd, state_session_fd);
	else
		stage_2(luo_fd, state_session_fd);
}

int main(int argc, char *argv[])
{
	static const struct option options[] = {
		{ "stage",	required_argument,	NULL, 's' },
		{ "size",	required_argument,	NULL, 'S' },
		{ "rx",		no_argument,		NULL, 'r' },
		{ "rx-only",	no_argument,		NULL, 'R' },
		{ "refused",	required_argument,	NULL, 'f' },
		{ "abandon",	no_argument,		NULL, 'a' },
		{ "help",	no_argument,		NULL, 'h' },
		{}
	};
	u64 data_size = DEFAULT_DATA_SIZE;
	bool rx = false, only_rx = false, abandon = false;
	const char *other_bdf = NULL;
	int stage = 1;
	int opt;

	while ((opt = getopt_long(argc, argv, "s:S:rRf:ah", options, NULL)) != -1) {
		switch (opt) {
		case 's':
			stage = atoi(optarg);
			if (stage != 1 && stage != 2)
				ksft_exit_fail_msg("--stage %s: not 1 or 2\n",
						   optarg);
			break;
		case 'S':
			data_size = parse_size(optarg);
			break;
		case 'r':
			rx = true;
			break;
		case 'R':
			only_rx = true;
			break;
		case 'f':
			other_bdf = optarg;
			break;
		case 'a':
			abandon = true;
			break;
		case 'h':
			usage(stdout, argv[0]);
			return KSFT_PASS;
		default:
			usage(stderr, argv[0]);
			return KSFT_FAIL;
		}
	}

	device_bdf = vfio_selftests_get_bdf(&argc, argv);
	snprintf_assert(session_name, sizeof(session_name), "device-%s",
			device_bdf);
	snprintf_assert(state_session_name, sizeof(state_session_name),
			"state-%s", device_bdf);

	ksft_print_header();
	if (only_rx)
		rx_only();
	else
		run(stage, data_size, rx, other_bdf, abandon);

	return KSFT_FAIL;
}
