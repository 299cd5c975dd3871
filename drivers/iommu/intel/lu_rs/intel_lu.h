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
struct pasid_table;

/*
 * Live update of remapping units and what they translate.
 *
 * A unit that translates when this kernel boots is adopted if the driver goes on
 * with the root table that the unit has. If it cannot be, it is turned off once all
 * devices behind it are stopped; if one of them is not found, the unit is blocked:
 * it goes on translating with an empty root table.
 */
#ifdef CONFIG_INTEL_IOMMU_LIVEUPDATE

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

#else

static inline bool intel_liveupdate_adopt(struct intel_iommu *iommu) { return false; }
static inline bool intel_liveupdate_is_adopted(const struct intel_iommu *iommu) { return false; }
static inline bool intel_liveupdate_stop_devices(struct intel_iommu *iommu) { return true; }
static inline bool intel_liveupdate_pasid_table(struct device_domain_info *info,
						struct pasid_table *table) { return false; }
static inline bool intel_liveupdate_attach(struct dmar_domain *domain, struct device *dev,
					   int *ret) { return false; }
static inline bool intel_liveupdate_shutdown(struct intel_iommu *iommu) { return false; }
static inline void intel_liveupdate_quiet_irtes(struct intel_iommu *iommu) { }
static inline bool intel_liveupdate_keeps_irq_remapping(void) { return false; }
static inline u64 intel_liveupdate_free_irte(void) { return 0; }

#endif

#endif /* INTEL_LU_H */
