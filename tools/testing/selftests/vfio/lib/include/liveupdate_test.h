/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the live update tests of vfio share. Functions that can fail return 0 or
 * more, or -errno; results are reported by the test programs only.
 */
#ifndef SELFTESTS_VFIO_LIB_INCLUDE_LIVEUPDATE_TEST_H
#define SELFTESTS_VFIO_LIB_INCLUDE_LIVEUPDATE_TEST_H

#include <assert.h>

#include <linux/sizes.h>

#include <libliveupdate.h>
#include <libvfio.h>
#include <luo_iommufd.h>

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

/* Ways to open a device other than its cdev */
#define NR_CONTAINER_MODES	4
extern const char * const container_modes[NR_CONTAINER_MODES];

u64 now_ns(void);
int cdev_open(const char *bdf);
int group_get_device(const char *bdf, const char *mode);
int device_get_info(int fd);
int ordinary_open(const char *bdf);
int sysfs_read(const char *bdf, const char *file, char *buf, size_t size);
int sysfs_write(const char *path, const char *value);
char *bdf_above(const char *bdf);
bool image_is_loaded(void);
int kmsg_open(void);
bool kmsg_says(int kmsg, const char *text);
bool kexec_refused_by(const char *bdf, const char *session, u64 token, const char *why);

/* Tests of two stages, with a kexec in between */
void need_bound(const char *bdf);
void run_stage(int stage, const char *state_session, luo_test_stage1_fn stage_1,
	       luo_test_stage2_fn stage_2);

/* What a device looks like after a reset, whichever driver it has. */
struct test_identity {
	u32 id;
	u32 class_revision;
	u32 subsystem;
	u32 nr_bars;
	u64 bar_size[PCI_STD_NUM_BARS];
	u32 bar_flags[PCI_STD_NUM_BARS];
	u32 bar_words[PCI_STD_NUM_BARS][2];	/* at the start of each memory BAR */
};

/* The most bridges that are above a device of these tests, and the device */
#define MAX_PATH	6

/* Where a device, or a bridge above it, is. */
struct test_place {
	char bdf[16];
	u32 buses;		/* primary, secondary and subordinate one */
	char resources[2000];	/* as sysfs has them */
};

/* A device and the bridges above it. */
struct test_path {
	u32 length;
	struct test_place places[MAX_PATH];
};

void path_read(const char *bdf, struct test_path *path);
bool path_same(const struct test_path *a, const struct test_path *b);

/* The configuration space of one of them */
struct test_config {
	u32 size;
	u8 bytes[PCI_CFG_SPACE_EXP_SIZE];
};

/* The configuration space of each, in the order of the places of the path */
struct test_configs {
	struct test_config of[MAX_PATH];
};

/* When stage 2 compares them */
enum config_time {
	CONFIG_BOOTED		= 1,	/* before the device is retrieved */
	CONFIG_RETRIEVED	= 2,	/* before it is bound to an iommufd */
	CONFIG_FINISHED		= 4,
	CONFIG_ALWAYS		= 7,
};

void configs_read(const struct test_path *path, struct test_configs *configs);
void configs_print(const struct test_path *path, const struct test_configs *configs);
bool configs_same(const struct test_path *path, const struct test_configs *a,
		  const struct test_configs *b, enum config_time when);
bool acs_same(const struct test_path *path, const struct test_configs *a,
	      const struct test_configs *b);

/* The most devices in one IOMMU group of these tests */
#define MAX_GROUP	16

/* The addresses of what is in one IOMMU group */
struct test_group {
	u32 length;
	char bdfs[MAX_GROUP][16];
};

void group_read(const char *bdf, struct test_group *group);
bool group_same(const struct test_group *a, const struct test_group *b);

int device_bind_iommufd(int device_fd, int iommufd, u32 *devid);
int device_attach_pt(int device_fd, u32 *pt_id);
bool config_readable(struct vfio_pci_device *device);
void identity_read(struct vfio_pci_device *device, struct test_identity *identity);
bool identity_same(const struct test_identity *a, const struct test_identity *b);

/*
 * Receiving frames from the wire with an Intel 82576 or 82540EM: into a ring of
 * descriptors and the buffers that belong to them, in memory of the caller's.
 */
#define NIC_RX_RING_SIZE	4096
#define NIC_RX_DESCRIPTOR_SIZE	16
#define NIC_RX_BUFFER_SIZE	SZ_2K
#define NIC_RX_RING_MEMORY	(NIC_RX_RING_SIZE * NIC_RX_DESCRIPTOR_SIZE)
#define NIC_RX_MEMORY		((u64)NIC_RX_RING_SIZE * NIC_RX_BUFFER_SIZE)

struct nic_rx {
	void *ring;
	void *buffers;
	u64 ring_iova;
	u64 buffers_iova;
	u64 aim;		/* where all frames go instead, if not zero */
	bool is_e1000;		/* by an 82540EM */
};

static inline u64 nic_rx_buffer_iova(const struct nic_rx *rx, u32 index)
{
	return rx->aim ?: rx->buffers_iova + (u64)index * NIC_RX_BUFFER_SIZE;
}

bool nic_supported(struct vfio_pci_device *device);
bool nic_rx_arm(struct vfio_pci_device *device, struct nic_rx *rx);
bool nic_rx_done(const struct nic_rx *rx, u32 index, u32 *length);
bool nic_rx_untouched(const struct nic_rx *rx, u32 index);
u32 nic_rx_frames(const struct nic_rx *rx);
bool nic_rx_wait(const struct nic_rx *rx, u32 least);

/*
 * A memfd that a device does DMA to, mapped at IOVA 4 GiB and laid out as
 *
 *	0		struct test_header
 *	DRIVER_OFFSET	memory of the device's driver: descriptors and the like
 *	DATA_OFFSET	test data: one half to copy from, one half to copy to
 *	end of data	receive buffers (--rx only)
 */
#define IOVA_BASE		((u64)SZ_4G)
#define DRIVER_OFFSET		SZ_64K
#define DATA_OFFSET		SZ_1M

/* The start of the memfd: what one kernel's test tells the next one's. */
struct test_header {
	u64 magic;
	u64 generation;		/* live updates that the memfd has been through */
	u64 seed;		/* what the test data is generated from */
	u64 data_size;		/* bytes */
	u64 copied;		/* bytes at the start of the second half that
				 * DMA made equal to the first half
				 */
	u64 rx_size;		/* bytes of receive buffers, 0 without --rx */
	struct test_identity identity;
	struct test_path path;
	struct test_configs configs;
	struct test_group group;
};

static_assert(sizeof(struct test_header) <= DRIVER_OFFSET, "the header fits");

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

u64 pattern(u64 seed, u64 index);
void memory_create(struct test_memory *mem, u64 data_size, u64 rx_size);
bool memory_retrieved(struct test_memory *mem);
int memory_map_dma(struct test_memory *mem, struct vfio_pci_device *device);
int memory_map_file(struct test_memory *mem, struct vfio_pci_device *device);
int map_file(struct iommu *iommu, int fd, u64 iova, u64 size);
int mark_hwpt(struct iommu *iommu, u64 token);
int move_to_iommufd(struct iommu *iommu, int iommufd);
struct nic_rx memory_rx(const struct test_memory *mem, struct vfio_pci_device *device);
u64 memory_dma_sum(const struct test_memory *mem);
bool data_intact(const struct test_memory *mem);
u64 copy_size(const struct test_memory *mem, struct vfio_pci_device *device);
bool data_copies(struct test_memory *mem, struct vfio_pci_device *device, u64 size);

/* What debugfs shows, below "outgoing" and below "incoming" */
bool view_readable(void);
int __printf(2, 3) view_count(const char *direction, const char *fmt, ...);

/*
 * A sealed memfd for numbered frames from the wire, laid out as
 *
 *	0		struct wire_header
 *	SZ_64K		canary
 *	SZ_128K		ring of descriptors
 *	SZ_192K		canary
 *	SZ_256K		buffers, which are canaries where no frame is
 *	end of buffers	canary of 64 KiB
 *
 * All of it is mapped for DMA, so that a device that goes astray shows.
 */
/* The start of the memfd: what one kernel's test tells the next one's. */
struct wire_header {
	u64 magic;
	u64 seed;		/* what the canaries are generated from */
	u64 iova;		/* where the memfd is mapped */
	u64 is_e1000;		/* what the device is */
	u64 wire;		/* which wire it is at the end of, from 0 on */
	u64 devid;		/* what its iommufd calls it */
	u64 ioas_id;
	u64 hwpt_id;
};

struct wire_memory {
	int fd;
	u64 size;
	struct wire_header *header;
	struct nic_rx rx;
};

void wire_create(struct wire_memory *mem, u64 iova, u64 wire);
bool wire_retrieved(struct wire_memory *mem);
int wire_map_dma(struct wire_memory *mem, struct iommu *iommu);
bool wire_arm(struct wire_memory *mem, struct vfio_pci_device *device);
void wire_feed(u32 rate);
void wire_announce(const struct wire_memory *mem, const char *bdf);
u32 wire_settle(const struct wire_memory *mem);
bool wire_untouched(const struct wire_memory *mem);
bool wire_frames_in_order(const struct wire_memory *mem, u32 frames);
bool wire_rest_untouched(const struct wire_memory *mem, u32 frames);
bool wire_canaries_intact(const struct wire_memory *mem);

#endif /* SELFTESTS_VFIO_LIB_INCLUDE_LIVEUPDATE_TEST_H */
