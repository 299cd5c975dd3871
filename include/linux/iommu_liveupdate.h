/* SPDX-License-Identifier: GPL-2.0 */

#ifndef _LINUX_IOMMU_LIVEUPDATE_H
#define _LINUX_IOMMU_LIVEUPDATE_H

#include <linux/errno.h>
#include <linux/err.h>
#include <linux/types.h>

struct device;
struct iommu_domain;
struct liveupdate_file_handler;
struct mutex;

/*
 * Translations of DMA that go on across a live update.
 *
 * A device goes on if the page table that it does DMA with, its entries in the
 * tables of its IOMMU, and these tables are preserved. It is incoming if the
 * previous kernel did so, and its passage has not ended: it is not finished yet. An
 * IOMMU is contained if this kernel can clear the entries of its incoming devices,
 * or has cleared all of them.
 *
 * There are two mutexes. That of what is preserved for the next kernel is held
 * while drivers of IOMMUs preserve something; the mutexes of IOMMU groups are taken
 * below it. That of what the previous kernel handed over is taken with the mutex of
 * an IOMMU group held.
 *
 * While the passage of a device is ended, and while it is decided which entries stay
 * for a kexec, iommu_liveupdate_lock keeps the IOMMU core from releasing devices. All
 * of these mutexes are taken below it.
 */
extern struct mutex iommu_liveupdate_lock;

#ifdef CONFIG_IOMMU_LIVEUPDATE

/* For those who preserve files of what does DMA */

/**
 * iommu_liveupdate_register_flb - Let the files of a file handler preserve domains
 * @fh: The file handler, which is registered with LUO.
 *
 * The files of the handler share the record of all IOMMUs with those of other
 * handlers. To be called before a file is preserved with the handler.
 *
 * Context: May sleep.
 * Return:
 * * %0 - Files of the handler can preserve domains and devices.
 * * %-EEXIST - The handler shares the record already, or another FLB has its name.
 * * %-ENOSPC - The handler has too many FLBs.
 * * %-ENOMEM - Memory is short.
 * * %-EOPNOTSUPP - The Live Update Orchestrator does not run.
 *
 * If it fails, the handler does not share the record.
 */
int iommu_liveupdate_register_flb(struct liveupdate_file_handler *fh);

/**
 * iommu_liveupdate_unregister_flb - End what iommu_liveupdate_register_flb() began
 * @fh: The file handler, for which iommu_liveupdate_register_flb() succeeded.
 *
 * Context: May sleep. No file of the handler is preserved.
 */
void iommu_liveupdate_unregister_flb(struct liveupdate_file_handler *fh);

/**
 * iommu_preserve_domain - Preserve the page table of a domain
 * @domain: The domain. Nobody may change what it maps from here on, until
 *          iommu_unpreserve_domain() is called.
 * @handle: Set to the number by which the next kernel knows the domain.
 *
 * Context: May sleep, for longer the more tables there are. Can be killed.
 * Return:
 * * %0 - All tables of the domain are preserved.
 * * %-ENODEV - The driver of the domain's IOMMU preserves no domains.
 * * %-EOPNOTSUPP - The domain is of a kind that cannot be preserved.
 * * %-EBUSY - The domain is preserved already, or it is tracked which of its pages
 *   are written to.
 * * %-ENOENT - No file whose handler shares the record is preserved.
 * * %-EINTR - The process is about to be killed.
 * * %-ERESTARTNOINTR - A kexec has to go first.
 * * %-ENOMEM - Memory is short.
 *
 * If it fails, no table of the domain is preserved.
 */
int iommu_preserve_domain(struct iommu_domain *domain, u64 *handle);

/**
 * iommu_unpreserve_domain - End what iommu_preserve_domain() began
 * @domain: The domain, for which iommu_preserve_domain() succeeded, and with which
 *          no device is preserved.
 *
 * Context: May sleep. If the domain is not preserved, the log says so.
 */
void iommu_unpreserve_domain(struct iommu_domain *domain);

/**
 * iommu_preserve_device - Preserve that a device is attached to a domain
 * @domain:          The domain, which is preserved.
 * @dev:             The device, which stays attached to the domain, and does not go
 *                   away, until iommu_unpreserve_device() is called.
 * @dma_owner_token: The token of the file that owns the DMA of the device, in the
 *                   session of the device.
 *
 * Preserves the entries of the device in the tables of its IOMMU, and with the
 * first device of an IOMMU these tables.
 *
 * Context: May sleep.
 * Return:
 * * %0 - The device can go on doing DMA across the kexec.
 * * %-EINVAL - The domain is not preserved, the device is not attached to it, or
 *   nobody owns the DMA of the device.
 * * %-EBUSY - The device is preserved already.
 * * %-ENODEV - The device has no IOMMU, or the driver of that preserves none.
 * * %-EOPNOTSUPP - DMA of the device cannot go on, for a reason that is in the log.
 * * %-ENOENT - No file whose handler shares the record is preserved.
 * * %-ENOMEM - Memory is short.
 *
 * If it fails, nothing is preserved for the device.
 */
int iommu_preserve_device(struct iommu_domain *domain, struct device *dev,
			  u64 dma_owner_token);

/**
 * iommu_unpreserve_device - End what iommu_preserve_device() began
 * @domain: The domain that the device was preserved with.
 * @dev:    The device.
 *
 * Context: May sleep. If the device is not preserved, the log says so.
 */
void iommu_unpreserve_device(struct iommu_domain *domain, struct device *dev);

/**
 * iommu_liveupdate_is_group_whole - Ask whether a whole IOMMU group goes on
 * @dev: A device of the group.
 *
 * An IOMMU group has one domain, and one owner. To be called when all is preserved
 * that will be.
 *
 * Context: May sleep.
 * Return: true if @dev does not go on, or if all devices of its group do, with the
 *         same domain.
 */
bool iommu_liveupdate_is_group_whole(struct device *dev);

/**
 * iommu_liveupdate_is_unchanged - Ask whether an IOMMU has what was preserved
 * @dev: The device.
 *
 * To be called while a kexec can be refused: a device whose entries are not those
 * that were preserved is stopped afterwards.
 *
 * Context: May sleep.
 * Return: true if @dev does not go on, or if its IOMMU has the entries for it that
 *         were preserved. If not, the log says so.
 */
bool iommu_liveupdate_is_unchanged(struct device *dev);

/**
 * iommu_liveupdate_finish_device - End the passage of an incoming device
 * @dev: Any device. Nothing happens unless it is incoming.
 *
 * The device stays attached to what its owner attached it to. If nobody attached it
 * since it was handed over, it is stopped, and blocked. The domain that it had is
 * freed with the last device that had it, unless iommu_liveupdate_take_domain()
 * returned it.
 *
 * Context: May sleep.
 */
void iommu_liveupdate_finish_device(struct device *dev);

/**
 * iommu_liveupdate_take_domain - Get a domain that was handed over
 * @handle: What iommu_preserve_domain() set in the previous kernel.
 *
 * The domain translates as in the previous kernel. Before it is changed,
 * iommu_liveupdate_adopt() is to be called. The caller may free it when no device uses
 * it any more, which is so after iommu_liveupdate_end_owner() at the latest.
 *
 * Context: May sleep.
 * Return: The domain, or NULL if no device that had it was found, or somebody took it
 *         before.
 */
struct iommu_domain *iommu_liveupdate_take_domain(u64 handle);

/**
 * iommu_liveupdate_adopt - Make the tables of a domain this kernel's
 * @domain: A domain whose page table nobody changes meanwhile.
 *
 * Context: May sleep, for longer the more tables there are.
 * Return:
 * * %0 - They are, or the domain was not handed over.
 * * %-EINVAL - A table was not handed over.
 * * %-E2BIG - There are more tables than the previous kernel said.
 *
 * If it fails, some of the tables are this kernel's. The domain may be used and freed
 * still, and not changed.
 */
int iommu_liveupdate_adopt(struct iommu_domain *domain);

/**
 * iommu_liveupdate_refuse_domain - Keep devices from a domain that maps what it must not
 * @domain: A domain that was handed over.
 *
 * Devices that are attached to the domain are stopped and blocked, whoever attached
 * them. No device can be attached to it any more: that fails with -ESTALE.
 *
 * Context: May sleep.
 */
void iommu_liveupdate_refuse_domain(struct iommu_domain *domain);

/**
 * iommu_liveupdate_transfer_domain - Let an owner claim DMA of incoming devices
 * @handle: What iommu_preserve_domain() set in the previous kernel.
 * @owner:  The owner, who lives until these devices are finished.
 *
 * Devices that had the domain, but are not found, or have another owner, are left
 * alone.
 *
 * Context: May sleep.
 */
void iommu_liveupdate_transfer_domain(u64 handle, void *owner);

/**
 * iommu_liveupdate_can_end - Ask whether memory of domains can be given back
 *
 * If not, an incoming device is behind an IOMMU that this kernel has no driver
 * for: the IOMMU is not contained, and the device may go on writing to what its
 * domain maps. The log says so.
 *
 * Context: May sleep.
 * Return: true if each IOMMU with incoming devices is contained.
 */
bool iommu_liveupdate_can_end(void);

/**
 * iommu_liveupdate_end_domain - End the passage of all devices that had a domain
 * @handle: What iommu_preserve_domain() set in the previous kernel.
 *
 * Devices that are not finished are stopped if they are found; the entries of
 * others are cleared. The page table is freed if it was restored for no device.
 * Afterwards no device writes to what the domain maps, if
 * iommu_liveupdate_can_end() returned true before.
 *
 * Context: May sleep.
 */
void iommu_liveupdate_end_domain(u64 handle);

/**
 * iommu_liveupdate_end_owner - End the passage of all devices of an owner
 * @owner: The owner, who got domains by iommu_liveupdate_transfer_domain(), or
 *         NULL, for whom nothing is done.
 *
 * Does what iommu_liveupdate_end_domain() does for each domain of the owner.
 *
 * Context: May sleep.
 */
void iommu_liveupdate_end_owner(void *owner);

/**
 * iommu_liveupdate_end_lost - End the passage of all devices that are not found
 *
 * Does what iommu_liveupdate_end_domain() does for them, whatever domain they had:
 * for when nobody knows any more which one that was.
 *
 * Context: May sleep.
 */
void iommu_liveupdate_end_lost(void);

/* For those who give up what files left that nobody knows, and for a kexec */

/**
 * iommu_liveupdate_has_incoming - Ask whether entries of incoming devices are left
 *
 * The log names one such device.
 *
 * Context: May sleep.
 * Return: true if an IOMMU may translate for a device that is not finished.
 */
bool iommu_liveupdate_has_incoming(void);

/**
 * iommu_liveupdate_has_beyond_reach - Ask whether a device is out of reach
 *
 * This kernel never found such a device, and so cannot stop it. IOMMUs keep it from
 * memory, and those of the next kernel would not. To be called before a kexec,
 * which is refused then. The log says what to do.
 *
 * Context: May sleep.
 * Return: true if an incoming device may do DMA, and nobody can stop it.
 */
bool iommu_liveupdate_has_beyond_reach(void);

/**
 * iommu_liveupdate_was_cut_off - Ask whether a device was cut off from memory
 * @domain: The PCI domain of the device.
 * @bdf:    Its bus, device and function number.
 *
 * The passage of such a device ended before this kernel found it. It may be doing
 * DMA still, and nobody hands that over. To be called when a device is found, which
 * is to be stopped then.
 *
 * Context: May sleep.
 * Return: true if the device was cut off, also if another one has its address now.
 */
bool iommu_liveupdate_was_cut_off(u32 domain, u16 bdf);

/* For the IOMMU core */

/**
 * iommu_liveupdate_was_preserved - Ask whether entries of a device were handed over
 * @dev: The device.
 *
 * Context: May sleep.
 * Return: true if the previous kernel preserved the translations of the device, and
 *         it is not finished.
 */
bool iommu_liveupdate_was_preserved(struct device *dev);

/**
 * iommu_liveupdate_restore - Get the domain that a device had
 * @dev: The device, which is to be attached to the domain before any other one.
 *
 * Context: May sleep.
 * Return: The domain, or an error pointer if what was handed over cannot be used.
 *         Then iommu_liveupdate_block() is to be called.
 */
struct iommu_domain *iommu_liveupdate_restore(struct device *dev);

/**
 * iommu_liveupdate_block - Stop a device, and clear its entries
 * @dev: The device, whose translations were handed over.
 *
 * Context: May sleep.
 */
void iommu_liveupdate_block(struct device *dev);

/**
 * iommu_liveupdate_stop - Stop a device that its new owner has not set up
 * @dev: The device. Nothing is done to ports and bridges.
 *
 * Context: May sleep.
 */
void iommu_liveupdate_stop(struct device *dev);

/**
 * iommu_liveupdate_prepare_kexec - Decide which entries stay for the next kernel
 *
 * To be called once, before IOMMUs are shut down, when the kexec cannot be called
 * off any more.
 *
 * Context: May sleep.
 */
void iommu_liveupdate_prepare_kexec(void);

/* For drivers of IOMMUs */

/**
 * iommu_liveupdate_free_domain - Prepare to free a domain
 * @domain: The domain, which nobody uses and which its driver is about to free.
 *          Nothing happens unless it was handed over.
 *
 * Makes the tables of the domain those of this kernel, or takes them from the
 * domain if they cannot be believed.
 *
 * Context: May sleep.
 */
void iommu_liveupdate_free_domain(struct iommu_domain *domain);

/* For the above */

/**
 * iommu_liveupdate_check_group - Ask whether the IOMMU group of a device can go on
 * @dev:    A device of the group.
 * @domain: The domain that the device is to be preserved with.
 *
 * Context: May sleep. Takes the mutex of the group.
 * Return:
 * * %0 - It can.
 * * %-EINVAL - The group is not attached to @domain, or nobody owns its DMA.
 * * %-EOPNOTSUPP - A PASID of the group is attached, or a device of it is being
 *   reset.
 */
int iommu_liveupdate_check_group(struct device *dev,
				 struct iommu_domain *domain);

/**
 * iommu_liveupdate_transfer_owner - Give DMA of an incoming device to an owner
 * @dev:   A device of an IOMMU group, whose DMA was handed over.
 * @owner: The owner, who may claim the DMA of the group then.
 *
 * Context: May sleep. Takes the mutex of the group.
 * Return: 0, -ENODEV if the device has no group, -EPERM if somebody else owns its
 *         DMA. If it fails, the owner stays who it is.
 */
int iommu_liveupdate_transfer_owner(struct device *dev, void *owner);

/**
 * iommu_liveupdate_release_group - Let go of DMA that was handed over
 * @dev: A device of an IOMMU group.
 *
 * The group is owned until this was called for each incoming device of it. If its
 * owner did not attach it to anything by then, its devices are stopped, and it is
 * blocked.
 *
 * Context: May sleep. Takes the mutex of the group.
 */
void iommu_liveupdate_release_group(struct device *dev);

/**
 * iommu_liveupdate_goes_on - Ask whether a device does DMA since the previous kernel
 * @dev:       The device.
 * @unclaimed: Ask whether nobody has attached it since, either.
 *
 * Context: May sleep. Takes the mutex of the IOMMU group.
 * Return: true if the passage of the IOMMU group of @dev has not ended, and the group
 *         is attached to the domain that it had, or to one that its owner attached
 *         it to, which @unclaimed excludes.
 */
bool iommu_liveupdate_goes_on(struct device *dev, bool unclaimed);

/**
 * iommu_liveupdate_cut_off - Stop and block a device that uses a domain
 * @dev:    A device of an IOMMU group. Nothing happens unless that is attached to
 *          @domain.
 * @domain: The domain.
 *
 * Context: May sleep. Takes the mutex of the IOMMU group.
 */
void iommu_liveupdate_cut_off(struct device *dev, struct iommu_domain *domain);

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

static inline int iommu_liveupdate_adopt(struct iommu_domain *domain)
{
	return 0;
}

#endif

#endif /* _LINUX_IOMMU_LIVEUPDATE_H */
