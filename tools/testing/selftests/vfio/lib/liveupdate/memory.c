// SPDX-License-Identifier: GPL-2.0-only
/* A memfd with test data in it, and DMA from one half of the data to the other. */
#include <string.h>
#include <unistd.h>

#include <sys/mman.h>
#include <sys/stat.h>

#include <linux/align.h>
#include <linux/kernel.h>
#include <linux/sizes.h>

#include <liveupdate_test.h>

#define HEADER_MAGIC		0x74736574756c6676ULL

/* Numbers that look random. */
u64 pattern(u64 seed, u64 index)
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

bool data_intact(const struct test_memory *mem)
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

/* A new memfd, filled with data that no earlier run can have left. */
void memory_create(struct test_memory *mem, u64 data_size, u64 rx_size)
{
	mem->size = memory_size(data_size, rx_size);
	mem->fd = memfd_create("vfio-pci-liveupdate", MFD_ALLOW_SEALING);
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

/* Find out what the previous kernel's test did. Nothing in the memfd can be trusted. */
bool memory_retrieved(struct test_memory *mem)
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

static void memory_regions(struct test_memory *mem, struct vfio_pci_device *device)
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
}

int memory_map_dma(struct test_memory *mem, struct vfio_pci_device *device)
{
	memory_regions(mem, device);
	return __iommu_map(device->iommu, &mem->region);
}

/* The same, but the file is mapped, which does not change its size any more. */
int memory_map_file(struct test_memory *mem, struct vfio_pci_device *device)
{
	int ret;

	if (fcntl(mem->fd, F_ADD_SEALS, MAPPED_SEALS))
		return -errno;

	memory_regions(mem, device);
	ret = map_file(device->iommu, mem->fd, mem->region.iova, mem->region.size);
	if (!ret)
		list_add(&mem->region.link, &device->iommu->dma_regions);

	return ret;
}

/* Map all of a file at @iova, for the device to read and write. */
int map_file(struct iommu *iommu, int fd, u64 iova, u64 size)
{
	return map_file_at(iommu->iommufd, iommu->ioas_id, fd, 0, size, iova);
}

/* Have the HWPT that a device got when it was attached to the IOAS be preserved. */
int mark_hwpt(struct iommu *iommu, u64 token)
{
	return hwpt_mark(iommu->iommufd, iommu->ioas_id, token);
}

/* Go on with another iommufd, which has nothing mapped. */
int move_to_iommufd(struct iommu *iommu, int iommufd)
{
	u32 ioas_id;
	int ret = ioas_alloc(iommufd, &ioas_id);

	if (ret)
		return ret;

	close(iommu->iommufd);
	iommu->iommufd = iommufd;
	iommu->ioas_id = ioas_id;
	return 0;
}

/* The receive ring and its buffers, once the memfd is mapped. */
struct nic_rx memory_rx(const struct test_memory *mem, struct vfio_pci_device *device)
{
	return (struct nic_rx) {
		.ring = mem->driver,
		.buffers = mem->rx,
		.ring_iova = to_iova(device, mem->driver),
		.buffers_iova = to_iova(device, mem->rx),
	};
}

/* A sum over the descriptors and receive buffers, where DMA would show. */
u64 memory_dma_sum(const struct test_memory *mem)
{
	const u64 *ring = mem->driver, *buffers = mem->rx;
	u64 sum = 0, i;

	for (i = 0; i < (DATA_OFFSET - DRIVER_OFFSET) / sizeof(*ring); i++)
		sum = pattern(sum ^ ring[i], i);
	for (i = 0; i < mem->header->rx_size / sizeof(*buffers); i++)
		sum = pattern(sum ^ buffers[i], i);

	return sum;
}

/* How much to copy when the copy is waited for: a few operations. */
u64 copy_size(const struct test_memory *mem, struct vfio_pci_device *device)
{
	u64 size = min_t(u64, device->driver.max_memcpy_size * 16, mem->half);

	return ALIGN_DOWN(size, sizeof(u64));
}

/*
 * Copy from the first half of the test data to the second, by DMA, and compare.
 *
 * Each operation is repeated because an igb takes frames from the wire, too,
 * if somebody sends any: they come before those that it sends itself and take
 * their place. So it is the last frame that counts, and a few may get lost.
 */
bool data_copies(struct test_memory *mem, struct vfio_pci_device *device, u64 size)
{
	u64 count = min_t(u64, device->driver.max_memcpy_count, 128);
	u64 offset, chunk;

	memset(mem->dst, 0, size);
	for (offset = 0; offset < size; offset += chunk) {
		chunk = min_t(u64, size - offset,
			      device->driver.max_memcpy_size);
		vfio_pci_driver_memcpy_start(device,
					     to_iova(device, mem->src + offset),
					     to_iova(device, mem->dst + offset),
					     chunk, count);
		if (vfio_pci_driver_memcpy_wait(device))
			return false;
	}

	if (memcmp(mem->src, mem->dst, size))
		return false;

	mem->header->copied = max_t(u64, mem->header->copied, size);
	return true;
}
