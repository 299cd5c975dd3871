// SPDX-License-Identifier: GPL-2.0

#include <linux/generic_pt/iommu.h>
#include <linux/init.h>
#include <linux/iommu.h>
#include <linux/iommu_liveupdate.h>
#include <linux/kexec.h>
#include <linux/mm.h>
#include <linux/notifier.h>
#include <linux/pci.h>
#include <linux/reboot.h>

#include "../iommu-pages.h"
#include "iommu_lu_private.h"

bool iommu_liveupdate_is_pci(const struct device *dev)
{
	return dev_is_pci(dev);
}

static struct pt_common *to_common(struct iommu_domain *domain)
{
	static_assert(offsetof(struct pt_iommu_vtdss, vtdss_pt.common) ==
		      sizeof(struct pt_iommu));
	static_assert(offsetof(struct pt_iommu_x86_64, x86_64_pt.common) ==
		      sizeof(struct pt_iommu));

	return (struct pt_common *)(iommupt_from_domain(domain) + 1);
}

static void set_top(struct iommu_domain *domain, void *top)
{
	struct pt_common *common = to_common(domain);
	unsigned long level = common->top_of_table & PT_TOP_LEVEL_MASK;

	WRITE_ONCE(common->top_of_table, (uintptr_t)top | level);
}

void iommu_liveupdate_set_top(struct iommu_domain *domain, phys_addr_t top)
{
	uintptr_t old = to_common(domain)->top_of_table & ~(uintptr_t)PT_TOP_LEVEL_MASK;

	iommu_free_pages((void *)old);
	set_top(domain, phys_to_virt(top));
}

void iommu_liveupdate_forget_tables(struct iommu_domain *domain)
{
	void *top = iommu_alloc_pages_sz(GFP_KERNEL | __GFP_NOFAIL, SZ_4K);

	set_top(domain, top);
}

void iommu_liveupdate_account(void *virt, long pgcnt)
{
	struct folio *folio = virt_to_folio(virt);

	mod_node_page_state(folio_pgdat(folio), NR_IOMMU_PAGES, pgcnt);
	lruvec_stat_mod_folio(folio, NR_SECONDARY_PAGETABLE, pgcnt);
}

void iommu_liveupdate_restored(void *virt, bool incoherent)
{
	virt_to_ioptdesc(virt)->incoherent = incoherent;
	iommu_liveupdate_account(virt, folio_nr_pages(virt_to_folio(virt)));
}

void iommu_liveupdate_free_restored(void *virt)
{
	iommu_free_pages(virt);
}

/*
 * The last moment at which one may sleep before the IOMMUs are shut down, and
 * the first at which the kexec cannot be called off any more.
 */
static int iommu_liveupdate_reboot(struct notifier_block *nb,
				   unsigned long action, void *data)
{
	if (kexec_in_progress)
		iommu_liveupdate_prepare_kexec();
	return NOTIFY_DONE;
}

static struct notifier_block iommu_liveupdate_nb = {
	.notifier_call = iommu_liveupdate_reboot,
};

static int __init iommu_liveupdate_init(void)
{
	return register_reboot_notifier(&iommu_liveupdate_nb);
}
core_initcall(iommu_liveupdate_init);
