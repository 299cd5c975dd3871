// SPDX-License-Identifier: GPL-2.0-only
/*
 * Tests of iommufd live update that need what few IOMMUs have: dirty tracking,
 * nested HWPTs and dma-bufs that can be mapped. The IOMMU is one that the kernel
 * makes up.
 *
 * Needs a kernel with CONFIG_IOMMUFD_TEST, booted with liveupdate=on.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <libliveupdate.h>
#include <luo_options.h>

#include "../../../../drivers/iommu/iommufd/iommufd_test.h"

#include "iommufd_liveupdate_common.h"
#include "kselftest_harness.h"

#define SESSION		"iommufd-liveupdate-mock"

#define MEMFD_TOKEN	1
#define IOMMUFD_TOKEN	2

#define HWPT_TOKEN	7

/* A device is attached to an IOAS that maps a memfd. */
FIXTURE(mock) {
	int luo;
	int session;
	int iommufd;
	int memfd;
	__u32 ioas_id;
	__u32 auto_hwpt_id;
	__u32 dev_id;
	__u32 stdev_id;
};

FIXTURE_SETUP(mock)
{
	struct iommu_test_cmd cmd = {
		.size = sizeof(cmd),
		.op = IOMMU_TEST_OP_MOCK_DOMAIN,
	};

	self->luo = luo_open_device();
	ASSERT_GE(self->luo, 0);
	self->session = luo_create_session(self->luo, SESSION);
	ASSERT_GE(self->session, 0);
	self->iommufd = open_path("/dev/iommu");
	ASSERT_GE(self->iommufd, 0);

	ASSERT_EQ(ioas_alloc(self->iommufd, &self->ioas_id), 0);
	cmd.id = self->ioas_id;
	ASSERT_EQ(call(self->iommufd, IOMMU_TEST_CMD, &cmd), 0);
	self->stdev_id = cmd.mock_domain.out_stdev_id;
	self->auto_hwpt_id = cmd.mock_domain.out_hwpt_id;
	self->dev_id = cmd.mock_domain.out_idev_id;

	self->memfd = memfd_sealed(MEMFD_SIZE, 0, SEALS);
	ASSERT_GE(self->memfd, 0);
	ASSERT_EQ(map_file_at(self->iommufd, self->ioas_id, self->memfd, 0, MEMFD_SIZE,
			      MOCK_APERTURE_START), 0);
	ASSERT_EQ(luo_session_preserve_fd(self->session, self->memfd, MEMFD_TOKEN), 0);
}

FIXTURE_TEARDOWN(mock)
{
	ASSERT_EQ(close(self->session), 0);
	ASSERT_EQ(ioas_unmap(self->iommufd, self->ioas_id, 0, UINT64_MAX), 0);
	ASSERT_EQ(object_destroy(self->iommufd, self->stdev_id), 0);
	close(self->memfd);
	close(self->iommufd);
	close(self->luo);
}

#define test_data	_test_data_mock

static int preserve_iommufd(const struct test_data *self)
{
	return luo_session_preserve_fd(self->session, self->iommufd, IOMMUFD_TOKEN);
}

static int set_dirty_tracking(int iommufd, __u32 hwpt_id, bool enable)
{
	struct iommu_hwpt_set_dirty_tracking set = {
		.size = sizeof(set),
		.flags = enable ? IOMMU_HWPT_DIRTY_TRACKING_ENABLE : 0,
		.hwpt_id = hwpt_id,
	};

	return call(iommufd, IOMMU_HWPT_SET_DIRTY_TRACKING, &set);
}

static int hwpt_alloc_with(const struct test_data *self, __u32 flags, __u32 *hwpt_id)
{
	struct iommu_hwpt_alloc alloc = {
		.size = sizeof(alloc),
		.flags = flags,
		.dev_id = self->dev_id,
		.pt_id = self->ioas_id,
	};
	int ret = call(self->iommufd, IOMMU_HWPT_ALLOC, &alloc);

	*hwpt_id = alloc.out_hwpt_id;
	return ret;
}

TEST_F(mock, any_page_table_is_looked_at)
{
	ASSERT_EQ(hwpt_mark(self->iommufd, self->ioas_id, HWPT_TOKEN), 0);
	EXPECT_EQ(preserve_iommufd(self), 0);
	EXPECT_EQ(ioas_unmap(self->iommufd, self->ioas_id, 0, UINT64_MAX), -EBUSY);
	EXPECT_EQ(hwpt_unmark(self->iommufd, self->auto_hwpt_id), -EBUSY);
}

TEST_F(mock, dirty_tracking_has_to_be_off)
{
	__u32 hwpt_id;

	ASSERT_EQ(hwpt_alloc_with(self, IOMMU_HWPT_ALLOC_DIRTY_TRACKING, &hwpt_id), 0);
	ASSERT_EQ(hwpt_mark(self->iommufd, hwpt_id, HWPT_TOKEN), 0);

	ASSERT_EQ(set_dirty_tracking(self->iommufd, hwpt_id, true), 0);
	EXPECT_EQ(preserve_iommufd(self), -EBUSY);
	ASSERT_EQ(set_dirty_tracking(self->iommufd, hwpt_id, false), 0);
	EXPECT_EQ(preserve_iommufd(self), 0);

	/* And to stay off. */
	EXPECT_EQ(set_dirty_tracking(self->iommufd, hwpt_id, true), -EBUSY);
	EXPECT_EQ(set_dirty_tracking(self->iommufd, hwpt_id, false), 0);

	ASSERT_EQ(close(self->session), 0);
	EXPECT_EQ(set_dirty_tracking(self->iommufd, hwpt_id, true), 0);
	EXPECT_EQ(object_destroy(self->iommufd, hwpt_id), 0);
	self->session = luo_create_session(self->luo, SESSION);
	ASSERT_GE(self->session, 0);
}

TEST_F(mock, parents_can_be_marked_and_nested_hwpts_cannot)
{
	struct iommu_hwpt_selftest data = { .iotlb = IOMMU_TEST_IOTLB_DEFAULT };
	struct iommu_hwpt_alloc alloc = {
		.size = sizeof(alloc),
		.dev_id = self->dev_id,
		.data_type = IOMMU_HWPT_DATA_SELFTEST,
		.data_len = sizeof(data),
		.data_uptr = (uintptr_t)&data,
	};

	ASSERT_EQ(hwpt_alloc_with(self, IOMMU_HWPT_ALLOC_NEST_PARENT, &alloc.pt_id), 0);
	ASSERT_EQ(call(self->iommufd, IOMMU_HWPT_ALLOC, &alloc), 0);

	EXPECT_EQ(hwpt_mark(self->iommufd, alloc.out_hwpt_id, HWPT_TOKEN), -EINVAL);
	EXPECT_EQ(hwpt_unmark(self->iommufd, alloc.out_hwpt_id), -EINVAL);
	EXPECT_EQ(hwpt_mark(self->iommufd, alloc.pt_id, HWPT_TOKEN), 0);
	EXPECT_EQ(preserve_iommufd(self), 0);
	ASSERT_EQ(close(self->session), 0);

	EXPECT_EQ(object_destroy(self->iommufd, alloc.out_hwpt_id), 0);
	EXPECT_EQ(object_destroy(self->iommufd, alloc.pt_id), 0);
	self->session = luo_create_session(self->luo, SESSION);
	ASSERT_GE(self->session, 0);
}

TEST_F(mock, dma_bufs_are_refused)
{
	__u64 iova = MOCK_APERTURE_START + SZ_16M;
	struct iommu_test_cmd get = {
		.size = sizeof(get),
		.op = IOMMU_TEST_OP_DMABUF_GET,
		.dmabuf_get = { .length = SZ_1M, .open_flags = O_CLOEXEC },
	};
	int dmabuf = dup(self->iommufd);

	/* The kernel does not say which one it is, but it is the first that is free. */
	ASSERT_EQ(close(dmabuf), 0);
	ASSERT_EQ(call(self->iommufd, IOMMU_TEST_CMD, &get), 0);
	ASSERT_EQ(map_file_at(self->iommufd, self->ioas_id, dmabuf, 0, SZ_1M, iova), 0);
	ASSERT_EQ(hwpt_mark(self->iommufd, self->ioas_id, HWPT_TOKEN), 0);
	EXPECT_EQ(preserve_iommufd(self), -EINVAL);
	EXPECT_EQ(ioas_unmap(self->iommufd, self->ioas_id, iova, SZ_1M), 0);
	EXPECT_EQ(preserve_iommufd(self), 0);
	close(dmabuf);
}

int main(int argc, char *argv[])
{
	struct iommu_test_cmd cmd = { .size = sizeof(cmd) };
	int iommufd;

	luo_help(argc, argv, "[-h|-l|-t NAME ...]",
		 "iommufd live update with an IOMMU that the kernel makes up. Needs\n"
		 "CONFIG_IOMMUFD_TEST. -h lists the other options.");

	iommufd = open_path("/dev/iommu");
	if (iommufd < 0 || call(iommufd, IOMMU_TEST_CMD, &cmd) == -ENOTTY) {
		fprintf(stderr, "no iommufd, or one without CONFIG_IOMMUFD_TEST\n");
		return KSFT_SKIP;
	}
	close(iommufd);

	if (access("/dev/liveupdate", F_OK)) {
		fprintf(stderr, "no /dev/liveupdate (booted with liveupdate=on?)\n");
		return KSFT_SKIP;
	}
	return test_harness_run(argc, argv);
}
