// SPDX-License-Identifier: GPL-2.0

#include <linux/crash_dump.h>
#include <linux/dmar.h>
#include <linux/iommu_liveupdate.h>
#include <linux/pci.h>

#include "../iommu.h"
#include "../../irq_remapping.h"
#include "../../iommu-pages.h"
#include "../pasid.h"
#include "intel_lu.h"

/*
 * What the Rust code needs of structures, macros and inline functions that are
 * private to the driver. Decisions are not made here.
 */

const struct iommu_liveupdate_ops intel_liveupdate_ops = {
	.describe_domain	= intel_liveupdate_describe_domain,
	.preserve_iommu		= intel_liveupdate_preserve_iommu,
	.unpreserve_iommu	= intel_liveupdate_unpreserve_iommu,
	.preserve_device	= intel_liveupdate_preserve_device,
	.unpreserve_device	= intel_liveupdate_unpreserve_device,
	.check_device		= intel_liveupdate_check_device,
	.keep_device		= intel_liveupdate_keep_device,
	.restore_domain		= intel_liveupdate_restore_domain,
	.restore_device		= intel_liveupdate_restore_device,
	.block_device		= intel_liveupdate_block_device,
	.release_domain		= intel_liveupdate_release_domain,
};

bool intel_liveupdate_has_reserved(struct intel_iommu *iommu)
{
	struct pci_dev *pdev = NULL;

	for_each_pci_dev(pdev) {
		if (intel_liveupdate_iommu_of(pdev) == iommu && pdev->dev.iommu &&
		    pdev->dev.iommu->require_direct) {
			pci_dev_put(pdev);
			return true;
		}
	}
	return false;
}

void intel_liveupdate_look_at(struct device *dev, struct iommu_domain *domain,
			      struct intel_liveupdate_device *to)
{
	struct device_domain_info *info = dev_iommu_priv_get(dev);

	*to = (struct intel_liveupdate_device) {
		.iommu = info->iommu,
		.bdf = PCI_DEVID(info->bus, info->devfn),
		.attached = info->domain && &info->domain->domain == domain,
		.is_subdevice = dev_is_real_dma_subdevice(dev),
		.has_ats = info->ats_supported,
		.has_ats_off = info->ats_supported && !info->ats_enabled,
		.has_faults = info->iopf_refcount || info->pri_enabled,
		.remaps_interrupts = readl(info->iommu->reg + DMAR_GSTS_REG) & DMA_GSTS_IRES,
	};
	if (to->attached)
		to->did = domain_id_iommu(info->domain, info->iommu);
	if (info->pasid_table) {
		to->pasid_dir = info->pasid_table->table;
		to->max_pasid = info->pasid_table->max_pasid;
	}
}

struct intel_iommu *intel_liveupdate_iommu_of(struct pci_dev *pdev)
{
	struct dmar_drhd_unit *drhd = dmar_find_matched_drhd_unit(pdev);

	return drhd ? drhd->iommu : NULL;
}

bool intel_liveupdate_must_stop(struct intel_iommu *iommu)
{
	return !is_kdump_kernel() && intel_liveupdate_translates(iommu);
}

bool intel_liveupdate_translates(struct intel_iommu *iommu)
{
	return readl(iommu->reg + DMAR_GSTS_REG) & DMA_GSTS_TES;
}

bool intel_liveupdate_is_scalable(struct intel_iommu *iommu)
{
	return sm_supported(iommu);
}

u64 intel_liveupdate_root(struct intel_iommu *iommu)
{
	return readq(iommu->reg + DMAR_RTADDR_REG);
}

u64 intel_liveupdate_irq_root(struct intel_iommu *iommu)
{
	return readq(iommu->reg + DMAR_IRTA_REG) & VTD_PAGE_MASK;
}

void *intel_liveupdate_irq_table(struct intel_iommu *iommu)
{
#ifdef CONFIG_IRQ_REMAP
	if (iommu->ir_table)
		return iommu->ir_table->base;
#endif
	return NULL;
}

void intel_liveupdate_adopted(struct intel_iommu *iommu, void *root)
{
	iommu->root_entry = root;
	iommu->flags &= ~VTD_FLAG_TRANS_PRE_ENABLED;
}

int intel_liveupdate_reserve_did(struct intel_iommu *iommu, u16 did)
{
	int ret;

	if (did >= iommu->max_domain_id)
		return -EINVAL;

	ret = ida_alloc_range(&iommu->domain_ida, did, did, GFP_KERNEL);
	return ret < 0 ? ret : 0;
}

void intel_liveupdate_give_back_did(struct intel_iommu *iommu, u16 did)
{
	ida_free(&iommu->domain_ida, did);
}

int intel_liveupdate_set_did(struct iommu_domain *domain,
			     struct intel_iommu *iommu, u16 did)
{
	struct dmar_domain *dmar_domain = to_dmar_domain(domain);
	struct iommu_domain_info *info, *curr;
	int ret;

	info = kzalloc_obj(*info);
	if (!info)
		return -ENOMEM;

	info->did = did;
	info->iommu = iommu;
	info->refcnt = 1;

	guard(mutex)(&iommu->did_lock);
	curr = xa_load(&dmar_domain->iommu_array, iommu->seq_id);
	if (curr)
		ret = curr->did == did ? 0 : -EINVAL;
	else
		ret = xa_err(xa_store(&dmar_domain->iommu_array, iommu->seq_id,
				      info, GFP_KERNEL));
	if (curr || ret)
		kfree(info);
	return ret;
}

int intel_liveupdate_hold_did(struct device *dev, struct iommu_domain *domain)
{
	struct device_domain_info *info = dev_iommu_priv_get(dev);

	return domain_attach_iommu(to_dmar_domain(domain), info->iommu);
}

void intel_liveupdate_release_did(struct device *dev,
				  struct iommu_domain *domain)
{
	struct device_domain_info *info = dev_iommu_priv_get(dev);

	domain_detach_iommu(to_dmar_domain(domain), info->iommu);
}

void intel_liveupdate_release_domain(struct iommu_domain *domain)
{
	struct dmar_domain *dmar_domain = to_dmar_domain(domain);
	struct iommu_domain_info *info;
	unsigned long index;

	xa_for_each(&dmar_domain->iommu_array, index, info)
		domain_detach_iommu(dmar_domain, info->iommu);
}

void intel_liveupdate_flush_cache(struct intel_iommu *iommu, void *addr, int size)
{
	__iommu_flush_cache(iommu, addr, size);
}

void intel_liveupdate_flush_all(struct intel_iommu *iommu)
{
	iommu_flush_write_buffer(iommu);
	iommu->flush.flush_context(iommu, 0, 0, 0, DMA_CCMD_GLOBAL_INVL);
	if (sm_supported(iommu))
		qi_flush_pasid_cache(iommu, 0, QI_PC_GLOBAL, 0);
	iommu->flush.flush_iotlb(iommu, 0, 0, 0, DMA_TLB_GLOBAL_FLUSH);
}

void intel_liveupdate_forget_entries(struct intel_iommu *iommu)
{
	if (!iommu->flush.flush_context)
		intel_iommu_init_qi(iommu);

	writel(DMA_FECTL_IM, iommu->reg + DMAR_FECTL_REG);
	intel_liveupdate_flush_all(iommu);
	if (ecap_smts(iommu->ecap) && !sm_supported(iommu))
		qi_flush_pasid_cache(iommu, 0, QI_PC_GLOBAL, 0);
}

struct intel_iommu *intel_liveupdate_find(u64 token)
{
	struct dmar_drhd_unit *drhd;
	struct intel_iommu *iommu;

	guard(rwsem_read)(&dmar_global_lock);
	for_each_iommu(iommu, drhd)
		if (iommu->reg_phys == token)
			return iommu;
	return NULL;
}

void intel_liveupdate_flush_irtes(struct intel_iommu *iommu)
{
	qi_global_iec(iommu);
}

void intel_liveupdate_report_faults(struct intel_iommu *iommu)
{
	dmar_fault(iommu->irq, iommu);
}

void intel_liveupdate_stop_page_requests(struct intel_iommu *iommu)
{
	if (!ecap_prs(iommu->ecap))
		return;

	writeq(0ULL, iommu->reg + DMAR_PQH_REG);
	writeq(0ULL, iommu->reg + DMAR_PQT_REG);
	writeq(0ULL, iommu->reg + DMAR_PQA_REG);
}

int intel_liveupdate_describe_domain(struct iommu_domain *domain,
				     struct iommu_domain_ser *ser)
{
	struct dmar_domain *dmar_domain = to_dmar_domain(domain);
	const struct pt_common *common;

	if (domain->ops == &intel_ss_paging_domain_ops) {
		ser->format = IOMMU_DOMAIN_SER_VTDSS;
		common = &dmar_domain->sspt.vtdss_pt.common;
	} else if (domain->ops == &intel_fs_paging_domain_ops) {
		ser->format = IOMMU_DOMAIN_SER_X86_64;
		common = &dmar_domain->fspt.x86_64_pt.common;
	} else {
		return -EOPNOTSUPP;
	}

	if (domain->iopf_handler || !list_empty(&dmar_domain->dev_pasids) ||
	    !list_empty(&dmar_domain->s1_domains))
		return -EOPNOTSUPP;
	if (dmar_domain->dirty_tracking)
		return -EBUSY;

	ser->top_table_phys = virt_to_phys((void *)(common->top_of_table &
						    ~(uintptr_t)PT_TOP_LEVEL_MASK));
	ser->top_level = common->top_of_table & PT_TOP_LEVEL_MASK;
	ser->vasz = common->max_vasz_lg2;
	ser->features = 0;
	if (common->features & BIT(PT_FEAT_DMA_INCOHERENT))
		ser->features |= IOMMU_DOMAIN_SER_INCOHERENT;
	if (dmar_domain->force_snooping)
		ser->features |= IOMMU_DOMAIN_SER_FORCE_COHERENCE;
	if (dmar_domain->nested_parent)
		ser->features |= IOMMU_DOMAIN_SER_NEST_PARENT;
	if (domain->dirty_ops)
		ser->features |= IOMMU_DOMAIN_SER_DIRTY_TRACKING;
	return 0;
}

struct iommu_domain *intel_liveupdate_restore_domain(struct device *dev,
						     const struct iommu_domain_ser *ser)
{
	struct device_domain_info *info = dev_iommu_priv_get(dev);
	struct iommu_domain_ser now = {};
	struct iommu_domain *domain;
	u32 flags = 0;

	if (ser->features & IOMMU_DOMAIN_SER_NEST_PARENT)
		flags |= IOMMU_HWPT_ALLOC_NEST_PARENT;
	if (ser->features & IOMMU_DOMAIN_SER_DIRTY_TRACKING)
		flags |= IOMMU_HWPT_ALLOC_DIRTY_TRACKING;

	if (ser->format == IOMMU_DOMAIN_SER_X86_64)
		domain = intel_iommu_domain_alloc_first_stage(dev, info->iommu,
							      flags);
	else
		domain = intel_iommu_domain_alloc_second_stage(dev, info->iommu,
							       flags);
	if (IS_ERR(domain))
		return domain;

	domain->type = IOMMU_DOMAIN_UNMANAGED;
	domain->owner = &intel_iommu_ops;
	if (ser->features & IOMMU_DOMAIN_SER_FORCE_COHERENCE) {
		to_dmar_domain(domain)->force_snooping = true;
		if (ser->format == IOMMU_DOMAIN_SER_VTDSS)
			to_dmar_domain(domain)->sspt.vtdss_pt.common.features |=
				BIT(PT_FEAT_VTDSS_FORCE_COHERENCE);
	}

	/* The unit would not make the same of the tables otherwise */
	intel_liveupdate_describe_domain(domain, &now);
	if (now.format != ser->format || now.features != ser->features ||
	    now.top_level != ser->top_level || now.vasz != ser->vasz) {
		iommu_domain_free(domain);
		return ERR_PTR(-EINVAL);
	}
	return domain;
}

int intel_liveupdate_try_domain(struct device *dev,
				const struct iommu_domain_ser *ser)
{
	struct iommu_domain *domain = intel_liveupdate_restore_domain(dev, ser);

	if (IS_ERR(domain))
		return PTR_ERR(domain);

	iommu_domain_free(domain);
	return 0;
}

void intel_liveupdate_clear_entries(struct device *dev)
{
	struct device_domain_info *info = dev_iommu_priv_get(dev);

	info->domain_attached = true;
	device_block_translation(dev);
}
