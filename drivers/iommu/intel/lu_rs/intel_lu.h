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
 * A unit that translates when this kernel boots is adopted if the driver goes on
 * with the root table that the unit has. If it cannot be, it is turned off once all
 * devices behind it are stopped; if one of them is not found, the unit is blocked:
 * it goes on translating with an empty root table.
 */
#ifdef CONFIG_INTEL_IOMMU_LIVEUPDATE

extern const struct iommu_liveupdate_ops intel_liveupdate_ops;
#define INTEL_LIVEUPDATE_OPS	(&intel_liveupdate_ops)

/**
 * intel_liveupdate_adopt - Adopt a unit as the previous kernel left it
 * @iommu: The unit, which is being set up.
 *
 * Entries of devices that are not what their records say are cleared.
 *
 * Context: May sleep. Runs at boot, when nobody else uses the unit.
 * Return: true if the unit is adopted. false if it cannot be: then nothing changed,
 *         and translation is to be turned off, but not before
 *         intel_liveupdate_stop_devices() returned true.
 */
bool intel_liveupdate_adopt(struct intel_iommu *iommu);

/**
 * intel_liveupdate_is_adopted - Ask whether a unit was adopted
 * @iommu: The unit, which is being set up.
 *
 * Context: Any.
 * Return: true if it was. Then it has its root table.
 */
bool intel_liveupdate_is_adopted(const struct intel_iommu *iommu);

/**
 * intel_liveupdate_stop_devices - Stop devices before a unit is turned off
 * @iommu: The unit.
 *
 * Stops all devices behind a unit that translates, as their DMA would reach all of
 * memory once it does not. Nothing is done in a kernel that saves the memory of a
 * crashed one.
 *
 * Context: May sleep.
 * Return: true if translation may be turned off. false if a device goes on doing
 *         DMA that this kernel did not find, and so cannot stop. Then the unit is
 *         blocked, and is to stay as it is.
 */
bool intel_liveupdate_stop_devices(struct intel_iommu *iommu);

/**
 * intel_liveupdate_pasid_table - Get the PASID directory of an incoming device
 * @info:  What the driver knows of the device, which is being probed.
 * @table: Its table and max_pasid are set.
 *
 * Context: May sleep.
 * Return: true if a PASID directory was handed over for the device. It is this
 *         kernel's from then on. false leaves @table as it is.
 */
bool intel_liveupdate_pasid_table(struct device_domain_info *info,
				  struct pasid_table *table);

/**
 * intel_liveupdate_attach - Attach an incoming device to the domain that it had
 * @domain: The domain, which has an ID for the unit of the device.
 * @dev:    The device.
 * @ret:    Set to 0, or to an error if the entries of the device are not those of
 *          the domain.
 *
 * The entries of the device are in place, and are not written to.
 *
 * Context: May sleep. The caller holds the mutex of the IOMMU group.
 * Return: true if @ret is set. false if the device was not handed over, or was
 *         attached to a domain since: it is to be attached as any other one.
 */
bool intel_liveupdate_attach(struct dmar_domain *domain, struct device *dev,
			     int *ret);

/**
 * intel_liveupdate_shutdown - Leave a unit translating for the next kernel
 * @iommu: The unit.
 *
 * Clears and flushes the entries of all devices but those that go on.
 *
 * Context: The last processor, with interrupts off. Neither sleeps nor allocates.
 * Return: true if the unit is left as it is. false if no device behind it goes on:
 *         then nothing happened.
 */
bool intel_liveupdate_shutdown(struct intel_iommu *iommu);

/**
 * intel_liveupdate_quiet_irtes - Have a unit drop messages without faults
 * @iommu: The unit, whose interrupt remapping table is new.
 *
 * Has each entry of the table drop messages without reporting them.
 *
 * Context: Any.
 */
void intel_liveupdate_quiet_irtes(struct intel_iommu *iommu);

/**
 * intel_liveupdate_keeps_irq_remapping - Ask whether interrupt remapping stays on
 *
 * Context: Any.
 * Return: true if this kernel took over from another one by a live update:
 *         interrupt remapping is never off then.
 */
static inline bool intel_liveupdate_keeps_irq_remapping(void)
{
	return is_kho_boot();
}

/**
 * intel_liveupdate_free_irte - Get the lower half of an unused interrupt entry
 *
 * Context: Any.
 * Return: The entry is not present. After a live update, it has FPD set: no fault is
 *         reported for messages that name it.
 */
static inline u64 intel_liveupdate_free_irte(void)
{
	return intel_liveupdate_keeps_irq_remapping() ? BIT_ULL(1) : 0;
}

/* What the Rust code needs of what is private to the driver, and the operations */

/**
 * struct intel_liveupdate_device - What a unit and the driver have for a device
 * @iommu:             The unit that the device is behind.
 * @bdf:               The bus number (high byte), device and function number.
 * @attached:          The device is attached to the domain asked for.
 * @is_subdevice:      Another device does the DMA of this one.
 * @has_ats:           The entry of the device lets it translate by itself (ATS).
 * @has_ats_off:       The same, and ATS is off in the device.
 * @has_faults:        Page faults of the device are handled.
 * @remaps_interrupts: The unit remaps interrupts.
 * @did:               The domain ID, if the device is attached.
 * @pasid_dir:         The PASID directory, or NULL in legacy mode.
 * @max_pasid:         How many PASIDs the directory has room for.
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

/**
 * intel_liveupdate_look_at - Describe a device for the Rust code
 * @dev:    The device, which is behind a unit.
 * @domain: The domain that the device may be attached to, or NULL.
 * @to:     Set to what matters of the device.
 *
 * Context: Any. The caller keeps the device from being attached meanwhile.
 */
void intel_liveupdate_look_at(struct device *dev, struct iommu_domain *domain,
			      struct intel_liveupdate_device *to);

/**
 * intel_liveupdate_iommu_of - Get the unit that a device is behind
 * @pdev: The device.
 *
 * Context: May sleep.
 * Return: The unit, or NULL.
 */
struct intel_iommu *intel_liveupdate_iommu_of(struct pci_dev *pdev);

/**
 * intel_liveupdate_has_reserved - Ask whether firmware needs memory mapped behind a unit
 * @iommu: The unit.
 *
 * Looks at each PCI device that there is.
 *
 * Context: May sleep.
 * Return: true if firmware wants memory mapped for a device behind the unit.
 */
bool intel_liveupdate_has_reserved(struct intel_iommu *iommu);

/**
 * intel_liveupdate_must_stop - Ask whether DMA gets through once a unit is turned off
 * @iommu: The unit.
 *
 * Context: Any.
 * Return: true if the unit translates, and this kernel does not save the memory of a
 *         crashed one.
 */
bool intel_liveupdate_must_stop(struct intel_iommu *iommu);

/**
 * intel_liveupdate_translates - Ask whether a unit translates
 * @iommu: The unit.
 *
 * Context: Any.
 * Return: true if the unit itself says so.
 */
bool intel_liveupdate_translates(struct intel_iommu *iommu);

/**
 * intel_liveupdate_is_scalable - Ask whether this kernel uses scalable mode of a unit
 * @iommu: The unit.
 *
 * Context: Any.
 * Return: true if it does.
 */
bool intel_liveupdate_is_scalable(struct intel_iommu *iommu);

/**
 * intel_liveupdate_root - Read the Root Table Address Register of a unit
 * @iommu: The unit.
 *
 * Context: Any.
 * Return: The register: the address of the root table, and the translation table
 *         mode.
 */
u64 intel_liveupdate_root(struct intel_iommu *iommu);

/**
 * intel_liveupdate_irq_root - Read where a unit has its interrupt remapping table
 * @iommu: The unit.
 *
 * Context: Any.
 * Return: The physical address of the table.
 */
u64 intel_liveupdate_irq_root(struct intel_iommu *iommu);

/**
 * intel_liveupdate_irq_table - Get the interrupt remapping table that this kernel made
 * @iommu: The unit.
 *
 * Context: Any.
 * Return: The table, or NULL.
 */
void *intel_liveupdate_irq_table(struct intel_iommu *iommu);

/**
 * intel_liveupdate_adopted - Have the driver go on with the root table of a unit
 * @iommu: The unit.
 * @root:  The root table that the unit has, which is this kernel's.
 *
 * Context: Boot, when nobody else uses the unit.
 */
void intel_liveupdate_adopted(struct intel_iommu *iommu, void *root);

/**
 * intel_liveupdate_reserve_did - Keep a domain ID from being given to new domains
 * @iommu: The unit.
 * @did:   The domain ID.
 *
 * Context: May sleep.
 * Return: 0, -EINVAL if the unit has no such ID, -ENOSPC if it is taken already,
 *         -ENOMEM if memory is short.
 */
int intel_liveupdate_reserve_did(struct intel_iommu *iommu, u16 did);

/**
 * intel_liveupdate_give_back_did - Let a domain ID be given to new domains again
 * @iommu: The unit.
 * @did:   The domain ID, for which intel_liveupdate_reserve_did() succeeded, and
 *         which no entry of the unit has any more.
 *
 * Context: Any.
 */
void intel_liveupdate_give_back_did(struct intel_iommu *iommu, u16 did);

/**
 * intel_liveupdate_set_did - Give a domain a reserved ID behind a unit
 * @domain: The domain, which is of this driver.
 * @iommu:  The unit.
 * @did:    The domain ID, for which intel_liveupdate_reserve_did() succeeded.
 *
 * The domain has this ID when it is first attached behind the unit, and keeps it
 * until intel_liveupdate_release_domain(): there may be devices whose entries have
 * the ID, and that are not found yet.
 *
 * Context: May sleep. Takes the did_lock of the unit.
 * Return: 0, -EINVAL if the domain has another ID there, -ENOMEM if memory is short.
 */
int intel_liveupdate_set_did(struct iommu_domain *domain,
			     struct intel_iommu *iommu, u16 did);

/**
 * intel_liveupdate_hold_did - Have a domain keep its ID behind the unit of a device
 * @dev:    The device.
 * @domain: The domain.
 *
 * The domain keeps its ID until intel_liveupdate_release_did(), also while the
 * device is not attached: that is so while it is reset.
 *
 * Context: May sleep. Takes the did_lock of the unit.
 * Return: 0, -ENOSPC if the domain has no ID there and none is left, -ENOMEM if
 *         memory is short.
 */
int intel_liveupdate_hold_did(struct device *dev, struct iommu_domain *domain);

/**
 * intel_liveupdate_release_did - End what intel_liveupdate_hold_did() began
 * @dev:    The device.
 * @domain: The domain.
 *
 * Context: May sleep. Takes the did_lock of the unit.
 */
void intel_liveupdate_release_did(struct device *dev,
				  struct iommu_domain *domain);

/**
 * intel_liveupdate_try_domain - Ask whether the next kernel can make a domain
 * @dev: The device, which the next kernel may find before others with that domain.
 * @ser: The record of the domain.
 *
 * Context: May sleep.
 * Return: 0, -EINVAL or -EOPNOTSUPP if it cannot for this device, -ENOMEM if memory
 *         is short.
 */
int intel_liveupdate_try_domain(struct device *dev,
				const struct iommu_domain_ser *ser);

/**
 * intel_liveupdate_flush_cache - Make what was written to a table visible to a unit
 * @iommu: The unit.
 * @addr:  What was written.
 * @size:  How many bytes were.
 *
 * Context: Any.
 */
void intel_liveupdate_flush_cache(struct intel_iommu *iommu, void *addr, int size);

/**
 * intel_liveupdate_flush_all - Have a unit forget all that it read of tables
 * @iommu: The unit.
 *
 * Context: Any. Waits for the unit.
 */
void intel_liveupdate_flush_all(struct intel_iommu *iommu);

/**
 * intel_liveupdate_release_domain - Have a domain give back its reserved IDs
 * @domain: The domain, for which intel_liveupdate_set_did() was called, and which is
 *          about to be freed.
 *
 * Context: May sleep. Takes the did_lock of units.
 */
void intel_liveupdate_release_domain(struct iommu_domain *domain);

/**
 * intel_liveupdate_forget_entries - Have a unit that is not used read its tables again
 * @iommu: The unit, which may be in another mode than this kernel would use.
 *
 * It raises no interrupts for the faults that come of that.
 *
 * Context: Boot, when nobody else uses the unit. May sleep.
 */
void intel_liveupdate_forget_entries(struct intel_iommu *iommu);

/**
 * intel_liveupdate_find - Find a unit by its token
 * @token: What struct iommu_hw_ser has as its token: where the registers are.
 *
 * Context: May sleep. Takes dmar_global_lock.
 * Return: The unit, or NULL.
 */
struct intel_iommu *intel_liveupdate_find(u64 token);

/**
 * intel_liveupdate_flush_irtes - Have a unit read its interrupt remapping table again
 * @iommu: The unit.
 *
 * Context: Any. Waits for the unit.
 */
void intel_liveupdate_flush_irtes(struct intel_iommu *iommu);

/**
 * intel_liveupdate_report_faults - Report the faults that a unit recorded
 * @iommu: The unit.
 *
 * The next kernel would take what is left for faults of its own.
 *
 * Context: Any.
 */
void intel_liveupdate_report_faults(struct intel_iommu *iommu);

/**
 * intel_liveupdate_stop_page_requests - Have a unit write no page requests to memory
 * @iommu: The unit.
 *
 * Context: Any.
 */
void intel_liveupdate_stop_page_requests(struct intel_iommu *iommu);

/**
 * intel_liveupdate_describe_domain - Fill in the record of a domain
 * @domain: The domain.
 * @ser:    Set, but for @hdr and @nr_tables.
 *
 * Context: Any.
 * Return: 0, -EOPNOTSUPP if the domain is of another driver or of a kind that cannot
 *         be preserved, -EBUSY if it is tracked which of its pages are written to.
 */
int intel_liveupdate_describe_domain(struct iommu_domain *domain,
				     struct iommu_domain_ser *ser);

/**
 * intel_liveupdate_restore_domain - Make a domain like the one in a record
 * @dev: The device that the domain is for.
 * @ser: The record.
 *
 * Context: May sleep.
 * Return: The domain, whose page table is new and empty, or an error pointer:
 *         -EINVAL or -EOPNOTSUPP if the unit of the device has none of that shape,
 *         -ENOMEM if memory is short.
 */
struct iommu_domain *intel_liveupdate_restore_domain(struct device *dev,
						     const struct iommu_domain_ser *ser);

/**
 * intel_liveupdate_clear_entries - Clear the entries of a device, whoever made them
 * @dev: The device.
 *
 * Context: May sleep.
 */
void intel_liveupdate_clear_entries(struct device *dev);

/**
 * intel_liveupdate_block_device - Clear the entries of a device that were handed over
 * @dev: The device.
 *
 * Context: May sleep.
 */
void intel_liveupdate_block_device(struct device *dev);

/**
 * intel_liveupdate_preserve_iommu - Preserve the tables of the unit of a device
 * @dev: The device.
 * @ser: Set to the record of the unit.
 *
 * Preserves the root table and the context tables.
 *
 * Context: May sleep.
 * Return: 0, -EOPNOTSUPP if the device is no PCI device, or the unit cannot go on,
 *         -ENODEV if it is behind no unit, -ENOMEM if memory is short. If it fails,
 *         no table is preserved.
 */
int intel_liveupdate_preserve_iommu(struct device *dev, struct iommu_hw_ser *ser);

/**
 * intel_liveupdate_unpreserve_iommu - End what intel_liveupdate_preserve_iommu() began
 * @dev: A device behind the unit.
 * @ser: The record of the unit.
 *
 * Context: May sleep.
 */
void intel_liveupdate_unpreserve_iommu(struct device *dev,
				       const struct iommu_hw_ser *ser);

/**
 * intel_liveupdate_preserve_device - Preserve the tables that a unit has for a device
 * @dev:    The device.
 * @domain: The domain that it is attached to, which keeps its ID from here on.
 * @ser:    Set to the record of the device.
 *
 * Context: May sleep. Takes the did_lock of the unit.
 * Return:
 * * %0 - The PASID tables of the device, if it has some, are preserved.
 * * %-EINVAL - The device is not attached to the domain, or not only to that.
 * * %-EOPNOTSUPP - DMA of the device cannot go on, for a reason that is in the log.
 * * %-EBUSY - It is tracked which pages of the domain are written to.
 * * %-ENOMEM - Memory is short.
 *
 * If it fails, nothing is preserved for the device.
 */
int intel_liveupdate_preserve_device(struct device *dev,
				     struct iommu_domain *domain,
				     struct iommu_device_ser *ser);

/**
 * intel_liveupdate_unpreserve_device - End what intel_liveupdate_preserve_device() began
 * @dev:    The device.
 * @domain: The domain that it was preserved with.
 * @ser:    The record of the device.
 *
 * Context: May sleep. Takes the did_lock of the unit.
 */
void intel_liveupdate_unpreserve_device(struct device *dev,
					struct iommu_domain *domain,
					const struct iommu_device_ser *ser);

/**
 * intel_liveupdate_check_device - Ask whether a unit has what was preserved for a device
 * @dev:    The device.
 * @device: The record of the device.
 * @domain: The record of its domain.
 *
 * Context: May sleep.
 * Return: 0, -EINVAL if the entries are not those that were preserved, which the log
 *         says, -ENOMEM if memory is short.
 */
int intel_liveupdate_check_device(struct device *dev,
				  const struct iommu_device_ser *device,
				  const struct iommu_domain_ser *domain);

/**
 * intel_liveupdate_keep_device - Have the entries of a device stay at shutdown
 * @dev:    The device.
 * @device: The record of the device.
 * @domain: The record of its domain.
 * @iommu:  The record of the unit, in which context tables are noted that were made
 *          since it was preserved.
 *
 * Context: May sleep.
 * Return: 0, -EINVAL if the entries are not those that were preserved, -ENOMEM if
 *         memory is short. If it fails, they are cleared when the unit is shut down.
 */
int intel_liveupdate_keep_device(struct device *dev,
				 const struct iommu_device_ser *device,
				 const struct iommu_domain_ser *domain,
				 struct iommu_hw_ser *iommu);

/**
 * intel_liveupdate_restore_device - Prepare to attach a device to the domain it had
 * @dev:    The device.
 * @domain: The domain, which intel_liveupdate_restore_domain() made. It gets the ID
 *          that the entries of the device have.
 *
 * Context: May sleep. Takes the did_lock of the unit.
 * Return: 0, -ENODEV if the device was not adopted with its unit, or was attached
 *         to a domain since, -EINVAL if the domain has another ID, -ENOMEM if memory
 *         is short.
 */
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
