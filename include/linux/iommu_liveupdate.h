/* SPDX-License-Identifier: GPL-2.0 */

#ifndef _LINUX_IOMMU_LIVEUPDATE_H
#define _LINUX_IOMMU_LIVEUPDATE_H

#include <linux/errno.h>
#include <linux/err.h>
#include <linux/kho/abi/iommu.h>
#include <linux/types.h>

struct device;
struct iommu_domain;
struct liveupdate_file_handler;

/*
 * Translations of DMA that go on across a live update.
 *
 * The functions are documented where they are implemented:
 * drivers/iommu/liveupdate_rs/exports.rs and drivers/iommu/iommu.c.
 */

/**
 * struct iommu_liveupdate_ops - What the driver of an IOMMU does for that
 * @describe_domain:   Say what the tables of a domain are, in all but @hdr and
 *                     @nr_tables. -EOPNOTSUPP if they cannot be preserved.
 * @preserve_iommu:    Preserve the IOMMU of a device: its own tables.
 * @unpreserve_iommu:  Undo it.
 * @preserve_device:   Say how a device is attached to a domain, and preserve
 *                     what the IOMMU has of it alone.
 * @unpreserve_device: Undo it, with the same domain.
 * @check_device:      Say whether the IOMMU still has for a device what was
 *                     preserved, while a kexec can be refused. Optional.
 * @keep_device:       The kexec comes: leave the device what it has, if that is
 *                     what was preserved. What is not kept so is taken away when
 *                     the IOMMU is shut down.
 * @restore_domain:    Make a domain of tables that were handed over.
 * @restore_device:    Prepare to attach a device to such a domain as its first
 *                     one, which finds everything in place.
 * @block_device:      Take away what was handed over for a device.
 * @release_domain:    A domain of tables that were handed over is about to be
 *                     freed: give back what @restore_device had it keep.
 *
 * All may sleep, and are called with locks of the core held.
 */
struct iommu_liveupdate_ops {
	int (*describe_domain)(struct iommu_domain *domain,
			       struct iommu_domain_ser *ser);
	int (*preserve_iommu)(struct device *dev, struct iommu_hw_ser *ser);
	void (*unpreserve_iommu)(struct device *dev,
				 const struct iommu_hw_ser *ser);
	int (*preserve_device)(struct device *dev, struct iommu_domain *domain,
			       struct iommu_device_ser *ser);
	void (*unpreserve_device)(struct device *dev,
				  struct iommu_domain *domain,
				  const struct iommu_device_ser *ser);
	int (*check_device)(struct device *dev,
			    const struct iommu_device_ser *device,
			    const struct iommu_domain_ser *domain);
	int (*keep_device)(struct device *dev,
			   const struct iommu_device_ser *device,
			   const struct iommu_domain_ser *domain,
			   struct iommu_hw_ser *iommu);
	struct iommu_domain *(*restore_domain)(struct device *dev,
					       const struct iommu_domain_ser *ser);
	int (*restore_device)(struct device *dev, struct iommu_domain *domain);
	void (*block_device)(struct device *dev);
	void (*release_domain)(struct iommu_domain *domain);
};

#ifdef CONFIG_IOMMU_LIVEUPDATE

/* For those who preserve files of what does DMA */
int iommu_liveupdate_register_flb(struct liveupdate_file_handler *fh);
void iommu_liveupdate_unregister_flb(struct liveupdate_file_handler *fh);
int iommu_preserve_domain(struct iommu_domain *domain, u64 *handle);
void iommu_unpreserve_domain(struct iommu_domain *domain);
int iommu_preserve_device(struct iommu_domain *domain, struct device *dev,
			  u64 dma_owner_token);
void iommu_unpreserve_device(struct iommu_domain *domain, struct device *dev);
bool iommu_liveupdate_is_group_whole(struct device *dev);
bool iommu_liveupdate_is_unchanged(struct device *dev);
int iommu_liveupdate_finish_device(struct device *dev);
void iommu_liveupdate_transfer_domain(u64 handle, void *owner);
bool iommu_liveupdate_can_end(void);
void iommu_liveupdate_end_domain(u64 handle);
void iommu_liveupdate_end_owner(void *owner);
void iommu_liveupdate_end_lost(void);

/* For those who give up what files left that nobody knows, and for a kexec */
bool iommu_liveupdate_has_incoming(void);
bool iommu_liveupdate_has_beyond_reach(void);

/* For the IOMMU core */
bool iommu_liveupdate_was_preserved(struct device *dev);
struct iommu_domain *iommu_liveupdate_restore(struct device *dev);
void iommu_liveupdate_block(struct device *dev);
void iommu_liveupdate_stop(struct device *dev);
void iommu_liveupdate_prepare_kexec(void);

/* For drivers of IOMMUs */
int iommu_liveupdate_get_hw(u64 kind, u64 token, u64 *phys,
			    struct iommu_hw_ser *ser);
int iommu_liveupdate_get_device(u64 iommu_phys, u32 index,
				struct iommu_device_ser *device,
				struct iommu_domain_ser *domain);
void iommu_liveupdate_set_contained(u64 kind, u64 token);
void iommu_liveupdate_free_domain(struct iommu_domain *domain);

/* What drivers of IOMMUs have for a device that is not there */
void intel_liveupdate_end_device(u64 token, u16 bdf);

/* For the above */
int iommu_liveupdate_check_group(struct device *dev,
				 struct iommu_domain *domain);
int iommu_liveupdate_transfer_owner(struct device *dev, void *owner);
int iommu_liveupdate_release_group(struct device *dev);

#else

static inline bool iommu_liveupdate_was_preserved(struct device *dev)
{
	return false;
}

static inline struct iommu_domain *iommu_liveupdate_restore(struct device *dev)
{
	return ERR_PTR(-EOPNOTSUPP);
}

static inline void iommu_liveupdate_block(struct device *dev)
{
}

static inline void iommu_liveupdate_stop(struct device *dev)
{
}

static inline void iommu_liveupdate_free_domain(struct iommu_domain *domain)
{
}

#endif

#endif /* _LINUX_IOMMU_LIVEUPDATE_H */
