// SPDX-License-Identifier: GPL-2.0-only
/*
 * Tests of what userspace sees of iommufd live update before any kexec: which
 * HWPTs can be marked, what may be mapped and in which order files are preserved,
 * each refusal with its errno; what cannot be changed meanwhile; and that a closed
 * session leaves the iommufd as it was.
 *
 * Needs a device bound to vfio-pci, by the path of its cdev, and a kernel booted
 * with liveupdate=on hugepages=4.
 */
#include <stdio.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <sys/stat.h>
#include <sys/wait.h>

#include <libliveupdate.h>

#include "iommufd_liveupdate_common.h"
#include "kselftest_harness.h"

#define SESSION		"iommufd-liveupdate"
#define OTHER_SESSION	"iommufd-liveupdate-other"

#define MEMFD_TOKEN	1
#define IOMMUFD_TOKEN	2
#define DEVICE_TOKEN	3
#define OTHER_TOKEN	4

#define HWPT_TOKEN	0x1234567890abcdefULL

static const char *cdev_path;

/* A device that is attached to an HWPT, whose IOAS maps a memfd. */
FIXTURE(liveupdate) {
	int luo;
	int session;
	int device;
	int iommufd;
	int memfd;
	__u32 dev_id;
	__u32 ioas_id;
	__u32 hwpt_id;
};

FIXTURE_SETUP(liveupdate)
{
	self->luo = luo_open_device();
	ASSERT_GE(self->luo, 0);
	self->session = luo_create_session(self->luo, SESSION);
	ASSERT_GE(self->session, 0);

	self->device = open_path(cdev_path);
	ASSERT_GE(self->device, 0);
	self->iommufd = open_path("/dev/iommu");
	ASSERT_GE(self->iommufd, 0);
	ASSERT_EQ(device_bind(self->device, self->iommufd, &self->dev_id), 0);

	ASSERT_EQ(ioas_alloc(self->iommufd, &self->ioas_id), 0);
	ASSERT_EQ(hwpt_alloc(self->iommufd, self->dev_id, self->ioas_id, &self->hwpt_id), 0);
	ASSERT_EQ(device_attach_to(self->device, self->hwpt_id), 0);

	self->memfd = memfd_sealed(MEMFD_SIZE, 0, SEALS);
	ASSERT_GE(self->memfd, 0);
	ASSERT_EQ(map_file(self->iommufd, self->ioas_id, self->memfd), 0);
}

/* Whatever was tried, everything can be changed again when the session is closed. */
FIXTURE_TEARDOWN(liveupdate)
{
	__u32 pt_id = self->ioas_id;

	ASSERT_EQ(close(self->session), 0);
	ASSERT_EQ(device_attach(self->device, &pt_id), 0);
	ASSERT_EQ(object_destroy(self->iommufd, self->hwpt_id), 0);
	ASSERT_EQ(ioas_unmap(self->iommufd, self->ioas_id, 0, UINT64_MAX), 0);
	ASSERT_EQ(map_file(self->iommufd, self->ioas_id, self->memfd), 0);
	ASSERT_EQ(device_detach(self->device), 0);
	ASSERT_EQ(object_destroy(self->iommufd, self->ioas_id), 0);
	close(self->memfd);
	close(self->device);
	close(self->iommufd);
	close(self->luo);
}

#define test_data	_test_data_liveupdate

static int preserve(const struct test_data *self, int fd, __u64 token)
{
	return luo_session_preserve_fd(self->session, fd, token);
}

static int preserve_memfd_and_iommufd(const struct test_data *self)
{
	return preserve(self, self->memfd, MEMFD_TOKEN) ?:
	       preserve(self, self->iommufd, IOMMUFD_TOKEN);
}

/* Marking. */

TEST_F(liveupdate, tokens_are_those_of_one_hwpt)
{
	__u32 other;

	ASSERT_EQ(hwpt_alloc(self->iommufd, self->dev_id, self->ioas_id, &other), 0);

	ASSERT_EQ(hwpt_mark(self->iommufd, self->hwpt_id, HWPT_TOKEN), 0);
	EXPECT_EQ(hwpt_mark(self->iommufd, other, HWPT_TOKEN), -EADDRINUSE);

	/* Once more, and with another token: the first one is free then. */
	EXPECT_EQ(hwpt_mark(self->iommufd, self->hwpt_id, HWPT_TOKEN), 0);
	EXPECT_EQ(hwpt_mark(self->iommufd, self->hwpt_id, 0), 0);
	EXPECT_EQ(hwpt_mark(self->iommufd, other, 0), -EADDRINUSE);
	EXPECT_EQ(hwpt_mark(self->iommufd, other, HWPT_TOKEN), 0);
	EXPECT_EQ(hwpt_mark(self->iommufd, self->hwpt_id, UINT64_MAX), 0);

	/* A mark keeps nobody from destroying the HWPT, and goes with it. */
	EXPECT_EQ(object_destroy(self->iommufd, other), 0);
	EXPECT_EQ(hwpt_mark(self->iommufd, self->hwpt_id, HWPT_TOKEN), 0);
}

TEST_F(liveupdate, marks_can_be_taken_away)
{
	EXPECT_EQ(hwpt_unmark(self->iommufd, self->hwpt_id), -ENOENT);
	ASSERT_EQ(hwpt_mark(self->iommufd, self->hwpt_id, HWPT_TOKEN), 0);
	EXPECT_EQ(hwpt_unmark(self->iommufd, self->hwpt_id), 0);
	EXPECT_EQ(hwpt_unmark(self->iommufd, self->hwpt_id), -ENOENT);
}

TEST_F(liveupdate, marks_only_what_can_be_preserved)
{
	struct iommu_fault_alloc fault = { .size = sizeof(fault) };
	struct iommu_hwpt_alloc alloc = {
		.size = sizeof(alloc),
		.flags = IOMMU_HWPT_FAULT_ID_VALID,
		.dev_id = self->dev_id,
		.pt_id = self->ioas_id,
	};

	EXPECT_EQ(hwpt_mark(self->iommufd, self->dev_id, HWPT_TOKEN), -ENOENT);
	EXPECT_EQ(hwpt_mark(self->iommufd, 0, HWPT_TOKEN), -ENOENT);
	EXPECT_EQ(hwpt_mark(self->iommufd, UINT32_MAX, HWPT_TOKEN), -ENOENT);

	ASSERT_EQ(call(self->iommufd, IOMMU_FAULT_QUEUE_ALLOC, &fault), 0);
	alloc.fault_id = fault.out_fault_id;
	ASSERT_EQ(call(self->iommufd, IOMMU_HWPT_ALLOC, &alloc), 0);
	EXPECT_EQ(hwpt_mark(self->iommufd, alloc.out_hwpt_id, HWPT_TOKEN), -EINVAL);

	EXPECT_EQ(object_destroy(self->iommufd, alloc.out_hwpt_id), 0);
	close(fault.out_fault_fd);
	EXPECT_EQ(object_destroy(self->iommufd, fault.out_fault_id), 0);
}

TEST_F(liveupdate, automatic_hwpts_are_marked_by_their_ioas)
{
	__u32 hwpt_id = self->ioas_id;

	/* There is none, only the one that was made by hand. */
	EXPECT_EQ(hwpt_mark(self->iommufd, self->ioas_id, HWPT_TOKEN), -ENOENT);

	ASSERT_EQ(device_attach(self->device, &hwpt_id), 0);
	ASSERT_NE(hwpt_id, self->ioas_id);
	EXPECT_EQ(hwpt_mark(self->iommufd, self->ioas_id, HWPT_TOKEN), 0);
	EXPECT_EQ(hwpt_mark(self->iommufd, self->hwpt_id, HWPT_TOKEN), -EADDRINUSE);

	/* It is the same one by its own ID. */
	EXPECT_EQ(hwpt_unmark(self->iommufd, hwpt_id), 0);
	EXPECT_EQ(hwpt_unmark(self->iommufd, self->ioas_id), -ENOENT);
}

TEST_F(liveupdate, ioctls_can_be_extended)
{
	struct {
		struct iommu_hwpt_liveupdate_mark_preserve cmd;
		__u64 more;
	} mark = { .cmd = { .hwpt_id = self->hwpt_id, .hwpt_token = HWPT_TOKEN } };
	struct {
		struct iommu_hwpt_liveupdate_unmark_preserve cmd;
		__u64 more;
	} unmark = { .cmd = { .hwpt_id = self->hwpt_id } };

	mark.cmd.size = sizeof(mark.cmd) - 1;
	EXPECT_EQ(call(self->iommufd, IOMMU_HWPT_LIVEUPDATE_MARK_PRESERVE, &mark), -EINVAL);
	mark.cmd.size = sizeof(mark);
	mark.more = 1;
	EXPECT_EQ(call(self->iommufd, IOMMU_HWPT_LIVEUPDATE_MARK_PRESERVE, &mark), -E2BIG);
	mark.more = 0;
	EXPECT_EQ(call(self->iommufd, IOMMU_HWPT_LIVEUPDATE_MARK_PRESERVE, &mark), 0);

	unmark.cmd.size = sizeof(unmark.cmd) - 1;
	EXPECT_EQ(call(self->iommufd, IOMMU_HWPT_LIVEUPDATE_UNMARK_PRESERVE, &unmark), -EINVAL);
	unmark.cmd.size = sizeof(unmark);
	unmark.more = 1;
	EXPECT_EQ(call(self->iommufd, IOMMU_HWPT_LIVEUPDATE_UNMARK_PRESERVE, &unmark), -E2BIG);
	unmark.more = 0;
	EXPECT_EQ(call(self->iommufd, IOMMU_HWPT_LIVEUPDATE_UNMARK_PRESERVE, &unmark), 0);
}

/* Order, sessions and attachments. */

TEST_F(liveupdate, files_are_preserved_in_order)
{
	ASSERT_EQ(hwpt_mark(self->iommufd, self->hwpt_id, HWPT_TOKEN), 0);

	EXPECT_EQ(preserve(self, self->device, DEVICE_TOKEN), -ENOENT);
	EXPECT_EQ(preserve(self, self->iommufd, IOMMUFD_TOKEN), -ENOENT);
	EXPECT_EQ(preserve(self, self->memfd, MEMFD_TOKEN), 0);
	EXPECT_EQ(preserve(self, self->device, DEVICE_TOKEN), -ENOENT);
	EXPECT_EQ(preserve(self, self->iommufd, IOMMUFD_TOKEN), 0);
	EXPECT_EQ(preserve(self, self->device, DEVICE_TOKEN), 0);

	/* Closing the session takes it all back, and the same files can go again. */
	ASSERT_EQ(close(self->session), 0);
	self->session = luo_create_session(self->luo, SESSION);
	ASSERT_GE(self->session, 0);
	EXPECT_EQ(preserve_memfd_and_iommufd(self), 0);
	EXPECT_EQ(preserve(self, self->device, DEVICE_TOKEN), 0);
}

TEST_F(liveupdate, files_are_preserved_in_one_session)
{
	int other = luo_create_session(self->luo, OTHER_SESSION);

	ASSERT_GE(other, 0);
	ASSERT_EQ(hwpt_mark(self->iommufd, self->hwpt_id, HWPT_TOKEN), 0);

	ASSERT_EQ(luo_session_preserve_fd(other, self->memfd, MEMFD_TOKEN), 0);
	EXPECT_EQ(preserve(self, self->iommufd, IOMMUFD_TOKEN), -ENOENT);
	EXPECT_EQ(luo_session_preserve_fd(other, self->iommufd, IOMMUFD_TOKEN), 0);
	EXPECT_EQ(preserve(self, self->device, DEVICE_TOKEN), -ENOENT);
	EXPECT_EQ(luo_session_preserve_fd(other, self->device, DEVICE_TOKEN), 0);

	EXPECT_EQ(close(other), 0);
}

TEST_F(liveupdate, memfds_are_known_by_their_inode)
{
	char path[64];
	int again;

	ASSERT_EQ(hwpt_mark(self->iommufd, self->hwpt_id, HWPT_TOKEN), 0);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", self->memfd);
	again = open_path(path);
	ASSERT_GE(again, 0);

	ASSERT_EQ(luo_session_preserve_fd(self->session, again, MEMFD_TOKEN), 0);
	EXPECT_EQ(preserve(self, self->iommufd, IOMMUFD_TOKEN), 0);
	close(again);
}

TEST_F(liveupdate, devices_need_the_mark_of_an_explicit_hwpt_only)
{
	/* Attached to one that was made by hand, and not marked */
	EXPECT_EQ(preserve_memfd_and_iommufd(self), 0);
	EXPECT_EQ(preserve(self, self->device, DEVICE_TOKEN), -EINVAL);

	/* To an automatic one: what it is attached to may change. */
	ASSERT_EQ(device_attach_to(self->device, self->ioas_id), 0);
	EXPECT_EQ(preserve(self, self->device, DEVICE_TOKEN), 0);
	EXPECT_EQ(device_attach_to(self->device, self->hwpt_id), 0);
	EXPECT_EQ(device_detach(self->device), 0);
	ASSERT_EQ(close(self->session), 0);

	/* To none */
	self->session = luo_create_session(self->luo, SESSION);
	ASSERT_GE(self->session, 0);
	EXPECT_EQ(preserve(self, self->device, DEVICE_TOKEN), 0);
	EXPECT_EQ(device_attach_to(self->device, self->hwpt_id), 0);
}

TEST_F(liveupdate, automatic_hwpts_can_go_along)
{
	ASSERT_EQ(device_attach_to(self->device, self->ioas_id), 0);
	ASSERT_EQ(hwpt_mark(self->iommufd, self->ioas_id, HWPT_TOKEN), 0);

	EXPECT_EQ(preserve(self, self->device, DEVICE_TOKEN), -ENOENT);
	EXPECT_EQ(preserve_memfd_and_iommufd(self), 0);
	EXPECT_EQ(preserve(self, self->device, DEVICE_TOKEN), 0);
	EXPECT_EQ(device_detach(self->device), -EBUSY);
}

/* One that its last device leaves meanwhile stays, and goes as ever when it is used again. */
TEST_F(liveupdate, automatic_hwpts_stay_as_long_as_they_are_held)
{
	__u32 hwpt_id = self->ioas_id, again_id = self->ioas_id;

	ASSERT_EQ(device_attach(self->device, &hwpt_id), 0);
	ASSERT_EQ(hwpt_mark(self->iommufd, self->ioas_id, HWPT_TOKEN), 0);
	ASSERT_EQ(preserve_memfd_and_iommufd(self), 0);
	EXPECT_EQ(device_detach(self->device), 0);
	EXPECT_EQ(object_destroy(self->iommufd, hwpt_id), -EBUSY);

	ASSERT_EQ(close(self->session), 0);
	ASSERT_EQ(device_attach(self->device, &again_id), 0);
	EXPECT_EQ(again_id, hwpt_id);
	EXPECT_EQ(device_detach(self->device), 0);
	EXPECT_EQ(object_destroy(self->iommufd, hwpt_id), -ENOENT);

	self->session = luo_create_session(self->luo, SESSION);
	ASSERT_GE(self->session, 0);
}

TEST_F(liveupdate, devices_with_pasids_are_refused)
{
	__u32 hwpt_id;

	/* PASIDs need such an HWPT, and so has what is attached without. */
	ASSERT_EQ(hwpt_alloc_flags(self->iommufd, self->dev_id, self->ioas_id,
				   IOMMU_HWPT_ALLOC_PASID, &hwpt_id), 0);
	ASSERT_EQ(device_attach_to(self->device, hwpt_id), 0);
	ASSERT_EQ(hwpt_mark(self->iommufd, hwpt_id, HWPT_TOKEN), 0);
	ASSERT_EQ(preserve_memfd_and_iommufd(self), 0);

	ASSERT_EQ(device_attach_pasid(self->device, 1, hwpt_id), 0);
	EXPECT_EQ(preserve(self, self->device, DEVICE_TOKEN), -EOPNOTSUPP);
	ASSERT_EQ(device_detach(self->device), 0);
	EXPECT_EQ(preserve(self, self->device, DEVICE_TOKEN), -EOPNOTSUPP);
	ASSERT_EQ(device_attach_to(self->device, hwpt_id), 0);
	EXPECT_EQ(preserve(self, self->device, DEVICE_TOKEN), -EOPNOTSUPP);
	ASSERT_EQ(device_detach_pasid(self->device, 1), 0);

	EXPECT_EQ(preserve(self, self->device, DEVICE_TOKEN), 0);
	EXPECT_EQ(device_attach_pasid(self->device, 1, hwpt_id), -EBUSY);

	ASSERT_EQ(close(self->session), 0);
	EXPECT_EQ(device_attach_pasid(self->device, 1, hwpt_id), 0);
	EXPECT_EQ(device_detach_pasid(self->device, 1), 0);
	ASSERT_EQ(device_attach_to(self->device, self->hwpt_id), 0);
	EXPECT_EQ(object_destroy(self->iommufd, hwpt_id), 0);
	self->session = luo_create_session(self->luo, SESSION);
	ASSERT_GE(self->session, 0);
}

TEST_F(liveupdate, iommufds_need_no_hwpt)
{
	int empty = open_path("/dev/iommu");

	ASSERT_GE(empty, 0);
	EXPECT_EQ(luo_session_preserve_fd(self->session, empty, OTHER_TOKEN), 0);
	EXPECT_EQ(preserve(self, self->iommufd, IOMMUFD_TOKEN), 0);
	EXPECT_EQ(preserve(self, self->iommufd, OTHER_TOKEN + 1), -EBUSY);

	/* What is not marked may change, but no mark may. */
	EXPECT_EQ(ioas_unmap(self->iommufd, self->ioas_id, IOVA, MEMFD_SIZE), 0);
	EXPECT_EQ(map_file(self->iommufd, self->ioas_id, self->memfd), 0);
	EXPECT_EQ(hwpt_mark(self->iommufd, self->hwpt_id, HWPT_TOKEN), -EBUSY);
	close(empty);
}

/* What may be mapped. Another mapping is tried beside the one that may be. */

#define OTHER_IOVA	(IOVA + SZ_1G)

/* The error, if nothing is held then, and it is this mapping that is in the way. */
static int refused_for(const struct test_data *self, __u64 length)
{
	int ret = preserve(self, self->iommufd, IOMMUFD_TOKEN);

	if (ioas_unmap(self->iommufd, self->ioas_id, OTHER_IOVA, length) ||
	    preserve(self, self->iommufd, IOMMUFD_TOKEN))
		return 1;

	return ret;
}

static int prepare(const struct test_data *self)
{
	return hwpt_mark(self->iommufd, self->hwpt_id, HWPT_TOKEN) ?:
	       preserve(self, self->memfd, MEMFD_TOKEN);
}

TEST_F(liveupdate, memory_of_a_process_is_refused)
{
	void *memory = mmap(NULL, SZ_4K, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	ASSERT_NE(memory, MAP_FAILED);
	ASSERT_EQ(prepare(self), 0);
	ASSERT_EQ(map_memory(self->iommufd, self->ioas_id, memory, SZ_4K, OTHER_IOVA), 0);
	EXPECT_EQ(refused_for(self, SZ_4K), -EINVAL);
	munmap(memory, SZ_4K);
}

TEST_F(liveupdate, a_mapped_memfd_is_memory_of_a_process)
{
	void *memory = mmap(NULL, SZ_4K, PROT_READ | PROT_WRITE, MAP_SHARED, self->memfd, 0);

	ASSERT_NE(memory, MAP_FAILED);
	ASSERT_EQ(prepare(self), 0);
	ASSERT_EQ(map_memory(self->iommufd, self->ioas_id, memory, SZ_4K, OTHER_IOVA), 0);
	EXPECT_EQ(refused_for(self, SZ_4K), -EINVAL);
	munmap(memory, SZ_4K);
}

TEST_F(liveupdate, no_seal_is_needed)
{
	static const int seals[] = {
		0, F_SEAL_GROW, F_SEAL_SHRINK, F_SEAL_GROW | F_SEAL_SHRINK,
		F_SEAL_SEAL, F_SEAL_SEAL | F_SEAL_GROW, F_SEAL_SEAL | F_SEAL_SHRINK,
	};
	int other[ARRAY_SIZE(seals) + 1];
	unsigned int i;

	ASSERT_EQ(prepare(self), 0);
	for (i = 0; i < ARRAY_SIZE(other); i++) {
		if (i < ARRAY_SIZE(seals)) {
			other[i] = memfd_sealed(SZ_4K, 0, seals[i]);
		} else {
			/* One that cannot have any */
			other[i] = memfd_create("iommufd-liveupdate", 0);
			ASSERT_EQ(ftruncate(other[i], SZ_4K), 0);
		}
		ASSERT_GE(other[i], 0);
		ASSERT_EQ(map_file_at(self->iommufd, self->ioas_id, other[i], 0, SZ_4K,
				      OTHER_IOVA + i * SZ_4K), 0);
		ASSERT_EQ(preserve(self, other[i], OTHER_TOKEN + i), 0);
	}
	EXPECT_EQ(preserve(self, self->iommufd, IOMMUFD_TOKEN), 0);

	/* It does not change its size while it is preserved, sealed or not. */
	EXPECT_NE(ftruncate(other[0], 0), 0);
	EXPECT_NE(ftruncate(other[0], SZ_8M), 0);
	for (i = 0; i < ARRAY_SIZE(other); i++)
		close(other[i]);
}

TEST_F(liveupdate, a_memfd_has_to_be_preserved)
{
	int other = memfd_sealed(SZ_4K, 0, SEALS);

	ASSERT_GE(other, 0);
	ASSERT_EQ(prepare(self), 0);
	ASSERT_EQ(map_file_at(self->iommufd, self->ioas_id, other, 0, SZ_4K, OTHER_IOVA), 0);
	EXPECT_EQ(refused_for(self, SZ_4K), -ENOENT);
	close(other);
}

TEST_F(liveupdate, huge_pages_are_not_preserved)
{
	int other = memfd_sealed(SZ_2M, MFD_HUGETLB, SEALS);

	if (other < 0 || fallocate(other, 0, 0, SZ_2M))
		SKIP(return, "there is no huge page (booted with hugepages=?)");

	ASSERT_EQ(prepare(self), 0);
	ASSERT_EQ(map_file_at(self->iommufd, self->ioas_id, other, 0, SZ_2M, OTHER_IOVA), 0);
	EXPECT_EQ(luo_session_preserve_fd(self->session, other, OTHER_TOKEN), -ENOENT);
	EXPECT_EQ(refused_for(self, SZ_2M), -ENOENT);
	close(other);
}

/*
 * A memfd of two times 2 MiB, in small pages that are all there. The first half is
 * mapped for DMA, and all of it by the process.
 */
struct paged {
	int fd;
	char *memory;
	__u64 pfns[SZ_2M / SZ_4K];
};

/* The page frame numbers of the half that is mapped for DMA; 0 on success */
static int read_pfns(const struct paged *paged, __u64 *pfns)
{
	__u64 i, first = (uintptr_t)paged->memory / SZ_4K;
	ssize_t len = SZ_2M / SZ_4K * sizeof(*pfns);
	int ret, fd = open("/proc/self/pagemap", O_RDONLY);

	/* Whatever unmapped it: the process gets what the memfd has. */
	for (i = 0; i < SZ_2M; i += SZ_4K)
		(void)*(volatile char *)(paged->memory + i);
	ret = pread(fd, pfns, len, first * sizeof(*pfns)) == len ? 0 : -1;
	close(fd);
	for (i = 0; !ret && i < SZ_2M / SZ_4K; i++) {
		/* Bit 63: it is there, bits 0 to 54: where */
		if (!(pfns[i] >> 63) || !(pfns[i] & ((1ULL << 55) - 1)))
			ret = -1;
		pfns[i] &= (1ULL << 55) - 1;
	}
	return ret;
}

static int map_paged(const struct test_data *self, struct paged *paged)
{
	int ret;

	paged->fd = memfd_sealed(SZ_4M, 0, 0);
	if (paged->fd < 0)
		return paged->fd;
	/* Where huge pages can be mapped: collapsing is about nothing else */
	paged->memory = mmap(NULL, SZ_4M + SZ_2M, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (paged->memory == MAP_FAILED)
		return -errno;
	paged->memory = (char *)(((uintptr_t)paged->memory + SZ_2M - 1) & ~(SZ_2M - 1));
	paged->memory = mmap(paged->memory, SZ_4M, PROT_READ | PROT_WRITE,
			     MAP_SHARED | MAP_FIXED, paged->fd, 0);
	if (paged->memory == MAP_FAILED)
		return -errno;
	memset(paged->memory, 0x5a, SZ_4M);
	ret = map_file_at(self->iommufd, self->ioas_id, paged->fd, 0, SZ_2M, OTHER_IOVA);
	if (ret)
		return ret;

	/* Only now: pages that cannot stay where they are move before they are pinned. */
	return read_pfns(paged, paged->pfns) ? -EIO : 0;
}

static void close_paged(struct paged *paged)
{
	munmap(paged->memory, SZ_4M);
	close(paged->fd);
}

/* What the preserving of the iommufd returns, after that of all memfds */
static int preserve_paged(const struct test_data *self, const struct paged *paged)
{
	int ret = prepare(self) ?: preserve(self, paged->fd, OTHER_TOKEN);

	return ret ? -EIO : preserve(self, self->iommufd, IOMMUFD_TOKEN);
}

/* Ways in which a page leaves the memfd although it is mapped; 0 on success */

static int punch(const struct paged *paged)
{
	return fallocate(paged->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			 SZ_1M, SZ_4K);
}

static int punch_and_fill(const struct paged *paged)
{
	return punch(paged) ?: fallocate(paged->fd, 0, SZ_1M, SZ_4K);
}

static int remove_memory(const struct paged *paged)
{
	return madvise(paged->memory + SZ_1M, SZ_4K, MADV_REMOVE);
}

static int shrink_and_grow(const struct paged *paged)
{
	return ftruncate(paged->fd, SZ_1M) ?: ftruncate(paged->fd, SZ_4M);
}

static int shrink(const struct paged *paged)
{
	return ftruncate(paged->fd, SZ_2M - SZ_4K);
}

static const struct {
	const char *name;
	int (*leave)(const struct paged *paged);
} ways[] = {
	{ "punch", punch },
	{ "punch and fill", punch_and_fill },
	{ "MADV_REMOVE", remove_memory },
	{ "shrink and grow", shrink_and_grow },
	{ "shrink", shrink },
};

TEST_F(liveupdate, pages_that_left_in_any_way_are_refused)
{
	struct paged paged;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(ways); i++) {
		TH_LOG("%s", ways[i].name);
		ASSERT_EQ(map_paged(self, &paged), 0);
		ASSERT_EQ(ways[i].leave(&paged), 0);
		EXPECT_EQ(preserve_paged(self, &paged), -ESTALE);

		ASSERT_EQ(ioas_unmap(self->iommufd, self->ioas_id, OTHER_IOVA, SZ_2M), 0);
		EXPECT_EQ(preserve(self, self->iommufd, IOMMUFD_TOKEN), 0);
		close_paged(&paged);

		ASSERT_EQ(close(self->session), 0);
		self->session = luo_create_session(self->luo, SESSION);
		ASSERT_GE(self->session, 0);
	}
}

/* What moves or takes away pages that are not mapped, and leaves those that are */

static int collapse(const struct paged *paged)
{
	/* The other half: a page leaves the memfd, though none that is mapped */
	if (madvise(paged->memory + SZ_2M, SZ_2M, MADV_COLLAPSE))
		return errno == EINVAL ? 1 : -1;
	return !madvise(paged->memory, SZ_2M, MADV_COLLAPSE);
}

static int punch_elsewhere(const struct paged *paged)
{
	return fallocate(paged->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			 SZ_2M, SZ_1M);
}

static int write_file(const char *path)
{
	int fd = open(path, O_WRONLY);
	int ret = fd < 0 ? 1 : write(fd, "1", 1) != 1;

	close(fd);
	return ret;
}

static int compact(const struct paged *paged)
{
	return write_file("/proc/sys/vm/compact_memory");
}

static int reclaim(const struct paged *paged)
{
	return madvise(paged->memory, SZ_4M, MADV_PAGEOUT) ||
	       write_file("/proc/sys/vm/drop_caches");
}

/* The C library does not know it: <asm-generic/mman-common.h> */
#ifndef MADV_SOFT_OFFLINE
#define MADV_SOFT_OFFLINE	101
#endif

/* Memory that is going to fail */
static int soft_offline(const struct paged *paged)
{
	if (!madvise(paged->memory + SZ_1M, SZ_4K, MADV_SOFT_OFFLINE))
		return -1;
	return errno == EINVAL;
}

static const struct {
	const char *name;
	int (*try)(const struct paged *paged);
} tries[] = {
	{ "collapse", collapse },
	{ "punch elsewhere", punch_elsewhere },
	{ "compaction", compact },
	{ "reclaim", reclaim },
	{ "soft offline", soft_offline },
};

TEST_F(liveupdate, pages_that_are_mapped_stay_otherwise)
{
	__u64 pfns[SZ_2M / SZ_4K];
	struct paged paged;
	unsigned int i;
	int ret;

	for (i = 0; i < ARRAY_SIZE(tries); i++) {
		ASSERT_EQ(map_paged(self, &paged), 0);
		ret = tries[i].try(&paged);
		TH_LOG("%s%s", tries[i].name, ret == 1 ? ": this kernel has none" : "");
		EXPECT_GE(ret, 0);
		ASSERT_EQ(read_pfns(&paged, pfns), 0);
		EXPECT_EQ(memcmp(pfns, paged.pfns, sizeof(pfns)), 0);
		EXPECT_EQ(preserve_paged(self, &paged), 0);

		ASSERT_EQ(close(self->session), 0);
		self->session = luo_create_session(self->luo, SESSION);
		ASSERT_GE(self->session, 0);
		ASSERT_EQ(ioas_unmap(self->iommufd, self->ioas_id, OTHER_IOVA, SZ_2M), 0);
		close_paged(&paged);
	}
}

/*
 * Pages behind the end of a memfd are not preserved with it. They can be mapped if
 * it becomes shorter after its size was looked at, and gets pages there before these
 * are pinned.
 */
TEST_F(liveupdate, pages_behind_the_end_are_refused)
{
	const __u64 size = 32 * SZ_1M, end = 28 * SZ_1M;
	struct stat stat;
	int tries, status;
	pid_t mapper;
	int fd, ret;

	for (tries = 0; tries < 5; tries++) {
		fd = memfd_sealed(size, 0, 0);
		ASSERT_GE(fd, 0);
		mapper = fork();
		ASSERT_GE(mapper, 0);
		if (!mapper)
			_exit(!!map_file_at(self->iommufd, self->ioas_id, fd, 0, size,
					    OTHER_IOVA));
		do {
			ASSERT_EQ(fstat(fd, &stat), 0);
		} while (stat.st_blocks < SZ_2M / 512);
		ASSERT_EQ(ftruncate(fd, end), 0);
		ASSERT_EQ(fallocate(fd, FALLOC_FL_KEEP_SIZE, end, size - end), 0);
		ASSERT_EQ(waitpid(mapper, &status, 0), mapper);

		if (!status) {
			ASSERT_EQ(prepare(self), 0);
			ASSERT_EQ(preserve(self, fd, OTHER_TOKEN), 0);
			EXPECT_EQ(preserve(self, self->iommufd, IOMMUFD_TOKEN), -ESTALE);
			ASSERT_EQ(close(self->session), 0);
			self->session = luo_create_session(self->luo, SESSION);
			ASSERT_GE(self->session, 0);
		}
		ret = ioas_unmap(self->iommufd, self->ioas_id, OTHER_IOVA, size);
		ASSERT_TRUE(!ret || ret == -ENOENT);
		close(fd);
	}
}

/* A page that left before it was mapped is not the one that is mapped. */
TEST_F(liveupdate, pages_that_left_before_do_not_matter)
{
	struct paged paged;

	ASSERT_EQ(map_paged(self, &paged), 0);
	ASSERT_EQ(ioas_unmap(self->iommufd, self->ioas_id, OTHER_IOVA, SZ_2M), 0);
	ASSERT_EQ(shrink_and_grow(&paged), 0);
	ASSERT_EQ(map_file_at(self->iommufd, self->ioas_id, paged.fd, 0, SZ_2M, OTHER_IOVA), 0);
	EXPECT_EQ(preserve_paged(self, &paged), 0);
	close_paged(&paged);
}

/* A mapping that gets its first page table late has the pages of then. */
TEST_F(liveupdate, pages_are_those_of_the_first_page_table)
{
	__u32 ioas, hwpt;
	struct paged paged;

	ASSERT_EQ(map_paged(self, &paged), 0);
	ASSERT_EQ(ioas_unmap(self->iommufd, self->ioas_id, OTHER_IOVA, SZ_2M), 0);
	ASSERT_EQ(ioas_alloc(self->iommufd, &ioas), 0);
	ASSERT_EQ(map_file_at(self->iommufd, ioas, paged.fd, 0, SZ_2M, OTHER_IOVA), 0);
	ASSERT_EQ(punch(&paged), 0);
	ASSERT_EQ(hwpt_alloc(self->iommufd, self->dev_id, ioas, &hwpt), 0);
	ASSERT_EQ(hwpt_mark(self->iommufd, hwpt, HWPT_TOKEN + 1), 0);
	EXPECT_EQ(preserve_paged(self, &paged), 0);

	ASSERT_EQ(close(self->session), 0);
	self->session = luo_create_session(self->luo, SESSION);
	ASSERT_GE(self->session, 0);
	ASSERT_EQ(punch(&paged), 0);
	EXPECT_EQ(preserve_paged(self, &paged), -ESTALE);

	ASSERT_EQ(object_destroy(self->iommufd, hwpt), 0);
	ASSERT_EQ(ioas_unmap(self->iommufd, ioas, 0, UINT64_MAX), 0);
	ASSERT_EQ(object_destroy(self->iommufd, ioas), 0);
	close_paged(&paged);
}

/* Each page of the memfd in turn, the first and the last ones among them. */
TEST_F(liveupdate, pages_that_went_into_a_hole_are_refused)
{
	static const __u64 holes[] = { 0, SZ_4K, SZ_1M, MEMFD_SIZE - SZ_4K };
	unsigned int i;

	ASSERT_EQ(hwpt_mark(self->iommufd, self->hwpt_id, HWPT_TOKEN), 0);
	for (i = 0; i < ARRAY_SIZE(holes); i++) {
		ASSERT_EQ(fallocate(self->memfd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
				    holes[i], SZ_4K), 0);
		ASSERT_EQ(preserve(self, self->memfd, MEMFD_TOKEN), 0);
		EXPECT_EQ(preserve(self, self->iommufd, IOMMUFD_TOKEN), -ESTALE);

		/* Mapped again, it is the page that is preserved. */
		ASSERT_EQ(ioas_unmap(self->iommufd, self->ioas_id, IOVA, MEMFD_SIZE), 0);
		ASSERT_EQ(map_file(self->iommufd, self->ioas_id, self->memfd), 0);
		EXPECT_EQ(preserve(self, self->iommufd, IOMMUFD_TOKEN), 0);

		ASSERT_EQ(close(self->session), 0);
		self->session = luo_create_session(self->luo, SESSION);
		ASSERT_GE(self->session, 0);
	}
}

TEST_F(liveupdate, no_hole_can_be_punched_later)
{
	ASSERT_EQ(prepare(self), 0);
	ASSERT_EQ(preserve(self, self->iommufd, IOMMUFD_TOKEN), 0);
	EXPECT_NE(fallocate(self->memfd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, SZ_4K), 0);
	EXPECT_EQ(errno, EPERM);
}

/* Parts of it, in any order, and some twice; large pages, too */
TEST_F(liveupdate, a_memfd_can_be_mapped_in_parts)
{
	int other = memfd_sealed(SZ_16M, 0, SEALS);

	ASSERT_GE(other, 0);
	ASSERT_EQ(prepare(self), 0);
	ASSERT_EQ(map_file_at(self->iommufd, self->ioas_id, other, SZ_8M, SZ_8M, OTHER_IOVA), 0);
	ASSERT_EQ(map_file_at(self->iommufd, self->ioas_id, other, SZ_4K, SZ_4M,
			      OTHER_IOVA + SZ_8M), 0);
	ASSERT_EQ(map_file_at(self->iommufd, self->ioas_id, other, 0, SZ_16M, 0), 0);
	ASSERT_EQ(luo_session_preserve_fd(self->session, other, OTHER_TOKEN), 0);
	EXPECT_EQ(preserve(self, self->iommufd, IOMMUFD_TOKEN), 0);
	close(other);
}

/* What cannot be changed. */

TEST_F(liveupdate, mappings_stay_while_preserved)
{
	__u32 other_ioas, other_hwpt;

	ASSERT_EQ(ioas_alloc(self->iommufd, &other_ioas), 0);
	ASSERT_EQ(hwpt_alloc(self->iommufd, self->dev_id, other_ioas, &other_hwpt), 0);
	ASSERT_EQ(prepare(self), 0);
	ASSERT_EQ(preserve(self, self->iommufd, IOMMUFD_TOKEN), 0);
	ASSERT_EQ(preserve(self, self->device, DEVICE_TOKEN), 0);

	EXPECT_EQ(map_file_at(self->iommufd, self->ioas_id, self->memfd, 0, SZ_4K, OTHER_IOVA),
		  -EBUSY);
	EXPECT_EQ(map_memory(self->iommufd, self->ioas_id, self, SZ_4K, OTHER_IOVA), -EBUSY);
	EXPECT_EQ(ioas_unmap(self->iommufd, self->ioas_id, IOVA, MEMFD_SIZE), -EBUSY);
	EXPECT_EQ(ioas_unmap(self->iommufd, self->ioas_id, 0, UINT64_MAX), -EBUSY);
	EXPECT_EQ(copy_mapping(self->iommufd, self->ioas_id, self->ioas_id, OTHER_IOVA), -EBUSY);
	EXPECT_EQ(change_process(self->iommufd), -EBUSY);

	EXPECT_EQ(device_attach_to(self->device, other_hwpt), -EBUSY);
	EXPECT_EQ(device_attach_to(self->device, self->ioas_id), -EBUSY);
	EXPECT_EQ(device_detach(self->device), -EBUSY);
	EXPECT_EQ(object_destroy(self->iommufd, self->hwpt_id), -EBUSY);
	EXPECT_EQ(object_destroy(self->iommufd, self->ioas_id), -EBUSY);

	EXPECT_EQ(hwpt_mark(self->iommufd, other_hwpt, 1), -EBUSY);
	EXPECT_EQ(hwpt_mark(self->iommufd, self->hwpt_id, 1), -EBUSY);
	EXPECT_EQ(hwpt_unmark(self->iommufd, self->hwpt_id), -EBUSY);

	/* What is not marked may change. */
	EXPECT_EQ(copy_mapping(self->iommufd, self->ioas_id, other_ioas, OTHER_IOVA), 0);
	EXPECT_EQ(ioas_unmap(self->iommufd, other_ioas, 0, UINT64_MAX), 0);
	EXPECT_EQ(object_destroy(self->iommufd, other_hwpt), 0);
	EXPECT_EQ(object_destroy(self->iommufd, other_ioas), 0);

	ASSERT_EQ(close(self->session), 0);
	EXPECT_EQ(change_process(self->iommufd), 0);
	EXPECT_EQ(hwpt_unmark(self->iommufd, self->hwpt_id), 0);
	self->session = luo_create_session(self->luo, SESSION);
	ASSERT_GE(self->session, 0);
}

TEST_F(liveupdate, an_attached_hwpt_stays_though_its_device_is_not_preserved)
{
	ASSERT_EQ(prepare(self), 0);
	ASSERT_EQ(preserve(self, self->iommufd, IOMMUFD_TOKEN), 0);
	EXPECT_EQ(device_attach_to(self->device, self->ioas_id), -EBUSY);
	EXPECT_EQ(device_detach(self->device), 0);
	EXPECT_EQ(object_destroy(self->iommufd, self->hwpt_id), -EBUSY);
	EXPECT_EQ(device_attach_to(self->device, self->hwpt_id), 0);
}

/* What the device is attached to ends with the file that is bound, not with another one. */
TEST_F(liveupdate, only_the_bound_file_of_a_device_is_preserved)
{
	int other = open_path(cdev_path);

	ASSERT_GE(other, 0);
	ASSERT_EQ(prepare(self), 0);
	ASSERT_EQ(preserve(self, self->iommufd, IOMMUFD_TOKEN), 0);
	EXPECT_EQ(preserve(self, other, DEVICE_TOKEN), -EBUSY);
	EXPECT_EQ(preserve(self, self->device, DEVICE_TOKEN), 0);
	close(other);
}

TEST_F(liveupdate, two_hwpts_hold_one_ioas)
{
	void *memory = mmap(NULL, SZ_4K, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	__u32 bad_ioas, second, bad;

	ASSERT_NE(memory, MAP_FAILED);
	ASSERT_EQ(hwpt_alloc(self->iommufd, self->dev_id, self->ioas_id, &second), 0);
	ASSERT_EQ(ioas_alloc(self->iommufd, &bad_ioas), 0);
	ASSERT_EQ(hwpt_alloc(self->iommufd, self->dev_id, bad_ioas, &bad), 0);
	ASSERT_EQ(map_memory(self->iommufd, bad_ioas, memory, SZ_4K, 0), 0);

	ASSERT_EQ(prepare(self), 0);
	ASSERT_EQ(hwpt_mark(self->iommufd, second, 0), 0);
	ASSERT_EQ(hwpt_mark(self->iommufd, bad, UINT64_MAX), 0);

	/* All or none of them */
	EXPECT_EQ(preserve(self, self->iommufd, IOMMUFD_TOKEN), -EINVAL);
	EXPECT_EQ(ioas_unmap(self->iommufd, self->ioas_id, IOVA, MEMFD_SIZE), 0);
	EXPECT_EQ(map_file(self->iommufd, self->ioas_id, self->memfd), 0);
	EXPECT_EQ(hwpt_unmark(self->iommufd, bad), 0);

	EXPECT_EQ(preserve(self, self->iommufd, IOMMUFD_TOKEN), 0);
	EXPECT_EQ(object_destroy(self->iommufd, second), -EBUSY);
	EXPECT_EQ(ioas_unmap(self->iommufd, self->ioas_id, IOVA, MEMFD_SIZE), -EBUSY);

	ASSERT_EQ(close(self->session), 0);
	EXPECT_EQ(object_destroy(self->iommufd, second), 0);
	EXPECT_EQ(ioas_unmap(self->iommufd, self->ioas_id, IOVA, MEMFD_SIZE), 0);
	self->session = luo_create_session(self->luo, SESSION);
	ASSERT_GE(self->session, 0);

	EXPECT_EQ(object_destroy(self->iommufd, bad), 0);
	EXPECT_EQ(object_destroy(self->iommufd, bad_ioas), 0);
	munmap(memory, SZ_4K);
}

int main(int argc, char *argv[])
{
	if (argc < 2 || !strcmp(argv[1], "--help")) {
		fprintf(argc < 2 ? stderr : stdout,
			"Usage: %s /dev/vfio/devices/vfioX [-h|-l|-t NAME ...]\n"
			"\n"
			"Marking HWPTs and preserving iommufds, without a kexec. Needs a device that is\n"
			"bound to vfio-pci. -h lists the other options.\n",
			argv[0]);
		return argc < 2 ? KSFT_SKIP : KSFT_PASS;
	}

	cdev_path = argv[1];
	if (access("/dev/liveupdate", F_OK)) {
		fprintf(stderr, "no /dev/liveupdate (booted with liveupdate=on?)\n");
		return KSFT_SKIP;
	}

	/* The harness has options of its own. */
	argv[1] = argv[0];
	return test_harness_run(argc - 1, argv + 1);
}
