/* SPDX-License-Identifier: GPL-2.0 */

#ifndef INTEL_LU_H
#define INTEL_LU_H

#include <linux/bits.h>
#include <linux/kexec_handover.h>
#include <linux/types.h>

struct device;
struct device_domain_info;
struct dmar_domain;
struct intel_iommu;
struct iommu_device_ser;
struct iommu_domain;
struct iommu_domain_ser;
struct iommu_hw_ser;
struct pasid_table;
struct pci_dev;

/*
 * Live update of remapping units and what they translate.
 *
 * The functions are documented where they are implemented: exports.rs.
 */
#ifdef CONFIG_INTEL_IOMMU_LIVEUPDATE

extern const struct iommu_liveupdate_ops intel_liveupdate_ops;
#define INTEL_LIVEUPDATE_OPS	(&intel_liveupdate_ops)

bool intel_liveupdate_adopt(struct intel_iommu *iommu);
bool intel_liveupdate_is_adopted(const struct intel_iommu *iommu);
bool intel_liveupdate_stop_devices(struct intel_iommu *iommu);
bool intel_liveupdate_pasid_table(struct device_domain_info *info,
				  struct pasid_table *table);
bool intel_liveupdate_attach(struct dmar_domain *domain, struct device *dev,
			     int *ret);
bool intel_liveupdate_shutdown(struct intel_iommu *iommu);
void intel_liveupdate_quiet_irtes(struct intel_iommu *iommu);

/* From one kernel to the next, interrupt remapping is never off */
static inline bool intel_liveupdate_keeps_irq_remapping(void)
{
	return is_kho_boot();
}

/* What an entry that nobody uses has in its lower half: then FPD, no faults */
static inline u64 intel_liveupdate_free_irte(void)
{
	return intel_liveupdate_keeps_irq_remapping() ? BIT_ULL(1) : 0;
}

/* What intel_lu_private.c has for the Rust code, and that for the operations */

/**
 * struct intel_liveupdate_device - What matters of a device
 * @iommu:           The unit that it is behind.
 * @bdf:             The bus number (high byte), device and function number.
 * @attached:        It is attached to the domain asked for, and to that only.
 * @is_subdevice:    Another device does its DMA.
 * @has_ats:         Its entry lets it translate by itself.
 * @has_ats_off:     The same, and that is off in the device.
 * @has_faults:      Its page faults are handled.
 * @remaps_interrupts: Its unit lets no interrupt through but those that it was told of.
 * @did:             The domain ID, if it is attached.
 * @pasid_dir:       The PASID directory, or NULL in legacy mode.
 * @max_pasid:       How many PASIDs that has room for.
 */
struct intel_liveupdate_device {
	struct intel_iommu *iommu;
	u16 bdf;
	bool attached;
	bool is_subdevice;
	bool has_ats;
	bool has_ats_off;
	bool has_faults;
	bool remaps_interrupts;
	u16 did;
	void *pasid_dir;
	u32 max_pasid;
};

void intel_liveupdate_look_at(struct device *dev, struct iommu_domain *domain,
			      struct intel_liveupdate_device *to);
struct intel_iommu *intel_liveupdate_iommu_of(struct pci_dev *pdev);
bool intel_liveupdate_has_reserved(struct intel_iommu *iommu);
bool intel_liveupdate_must_stop(struct intel_iommu *iommu);
bool intel_liveupdate_translates(struct intel_iommu *iommu);
bool intel_liveupdate_is_scalable(struct intel_iommu *iommu);
u64 intel_liveupdate_root(struct intel_iommu *iommu);
u64 intel_liveupdate_irq_root(struct intel_iommu *iommu);
void *intel_liveupdate_irq_table(struct intel_iommu *iommu);
void intel_liveupdate_adopted(struct intel_iommu *iommu, void *root);
int intel_liveupdate_reserve_did(struct intel_iommu *iommu, u16 did);
void intel_liveupdate_give_back_did(struct intel_iommu *iommu, u16 did);
int intel_liveupdate_set_did(struct iommu_domain *domain,
			     struct intel_iommu *iommu, u16 did);
int intel_liveupdate_hold_did(struct device *dev, struct iommu_domain *domain);
void intel_liveupdate_release_did(struct device *dev,
				  struct iommu_domain *domain);
int intel_liveupdate_try_domain(struct device *dev,
				const struct iommu_domain_ser *ser);
void intel_liveupdate_flush_cache(struct intel_iommu *iommu, void *addr, int size);
void intel_liveupdate_flush_all(struct intel_iommu *iommu);
void intel_liveupdate_release_domain(struct iommu_domain *domain);
void intel_liveupdate_forget_entries(struct intel_iommu *iommu);
struct intel_iommu *intel_liveupdate_find(u64 token);
void intel_liveupdate_flush_irtes(struct intel_iommu *iommu);
void intel_liveupdate_report_faults(struct intel_iommu *iommu);
void intel_liveupdate_stop_page_requests(struct intel_iommu *iommu);
int intel_liveupdate_describe_domain(struct iommu_domain *domain,
				     struct iommu_domain_ser *ser);
struct iommu_domain *intel_liveupdate_restore_domain(struct device *dev,
						     const struct iommu_domain_ser *ser);
void intel_liveupdate_clear_entries(struct device *dev);
void intel_liveupdate_block_device(struct device *dev);
int intel_liveupdate_preserve_iommu(struct device *dev, struct iommu_hw_ser *ser);
void intel_liveupdate_unpreserve_iommu(struct device *dev,
				       const struct iommu_hw_ser *ser);
int intel_liveupdate_preserve_device(struct device *dev,
				     struct iommu_domain *domain,
				     struct iommu_device_ser *ser);
void intel_liveupdate_unpreserve_device(struct device *dev,
					struct iommu_domain *domain,
					const struct iommu_device_ser *ser);
int intel_liveupdate_check_device(struct device *dev,
				  const struct iommu_device_ser *device,
				  const struct iommu_domain_ser *domain);
int intel_liveupdate_keep_device(struct device *dev,
				 const struct iommu_device_ser *device,
				 const struct iommu_domain_ser *domain,
				 struct iommu_hw_ser *iommu);
int intel_liveupdate_restore_device(struct device *dev,
				    struct iommu_domain *domain);

#else

#define INTEL_LIVEUPDATE_OPS	NULL

static inline bool intel_liveupdate_adopt(struct intel_iommu *iommu)
{
	return false;
}

static inline bool intel_liveupdate_is_adopted(const struct intel_iommu *iommu)
{
	return false;
}

static inline bool intel_liveupdate_stop_devices(struct intel_iommu *iommu)
{
	return true;
}

static inline bool intel_liveupdate_pasid_table(struct device_domain_info *info,
						struct pasid_table *table)
{
	return false;
}

static inline bool intel_liveupdate_attach(struct dmar_domain *domain,
					   struct device *dev, int *ret)
{
	return false;
}

static inline bool intel_liveupdate_shutdown(struct intel_iommu *iommu)
{
	return false;
}

static inline void intel_liveupdate_quiet_irtes(struct intel_iommu *iommu)
{
}

static inline bool intel_liveupdate_keeps_irq_remapping(void)
{
	return false;
}

static inline u64 intel_liveupdate_free_irte(void)
{
	return 0;
}

#endif

#endif /* INTEL_LU_H */
