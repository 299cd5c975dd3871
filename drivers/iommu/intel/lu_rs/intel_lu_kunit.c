// SPDX-License-Identifier: GPL-2.0

#include <kunit/test.h>
#include <linux/dmar.h>
#include <linux/sizes.h>
#include <linux/workqueue.h>

#include "../iommu.h"

/*
 * A unit that is shut down, or set up, has its faults reported with interrupts
 * off, while devices go on raising some.
 *
 * The registers are memory here. A fault that is cleared is there again at once,
 * since what clears it is a 1 in the same bit. So faults never end, and whether
 * looking at them does when they end cannot be seen.
 */

#define NR_RECORDS	8
#define RECORDS		0x200
#define RECORD_SIZE	16
#define RECORD_F	12

static bool looked_again;

static void look_again(struct work_struct *work)
{
	looked_again = true;
}

/* Whether somebody looks at the faults of @iommu later, or has done so */
static bool looks_again(struct intel_iommu *iommu)
{
	return cancel_delayed_work_sync(&iommu->fault_work) || looked_again;
}

static struct intel_iommu *unit(struct kunit *test, u32 status)
{
	struct intel_iommu *iommu = kunit_kzalloc(test, sizeof(*iommu), GFP_KERNEL);
	void *reg = kunit_kzalloc(test, SZ_4K, GFP_KERNEL);
	int i;

	KUNIT_ASSERT_NOT_NULL(test, iommu);
	KUNIT_ASSERT_NOT_NULL(test, reg);

	iommu->reg = (__force void __iomem *)reg;
	iommu->cap = (u64)(RECORDS / 16) << 24 | (u64)(NR_RECORDS - 1) << 40;
	raw_spin_lock_init(&iommu->register_lock);
	INIT_DELAYED_WORK(&iommu->fault_work, look_again);
	looked_again = false;

	writel(status, iommu->reg + DMAR_FSTS_REG);
	for (i = 0; i < NR_RECORDS; i++)
		writel(DMA_FRCD_F, iommu->reg + RECORDS + i * RECORD_SIZE + RECORD_F);
	return iommu;
}

/* If it waited for the last fault it would not come back. */
static void faults_without_end_are_left_for_later(struct kunit *test)
{
	struct intel_iommu *iommu = unit(test, DMA_FSTS_PPF);

	KUNIT_EXPECT_EQ(test, dmar_fault(0, iommu), IRQ_HANDLED);
	KUNIT_EXPECT_TRUE(test, looks_again(iommu));
}

static void nothing_is_left_where_no_fault_is(struct kunit *test)
{
	struct intel_iommu *iommu = unit(test, 0);

	KUNIT_EXPECT_EQ(test, dmar_fault(0, iommu), IRQ_HANDLED);
	KUNIT_EXPECT_FALSE(test, looks_again(iommu));
}

static struct kunit_case cases[] = {
	KUNIT_CASE(faults_without_end_are_left_for_later),
	KUNIT_CASE(nothing_is_left_where_no_fault_is),
	{}
};

static struct kunit_suite suite = {
	.name = "intel_iommu_faults",
	.test_cases = cases,
};

kunit_test_suite(suite);
