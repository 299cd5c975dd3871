/* SPDX-License-Identifier: GPL-2.0 */

#ifndef _LINUX_PCI_LIVEUPDATE_H
#define _LINUX_PCI_LIVEUPDATE_H

#include <linux/errno.h>
#include <linux/kexec.h>
#include <linux/pci.h>
#include <linux/types.h>

struct attribute_group;
struct liveupdate_file_handler;

/*
 * PCI devices that are preserved across a live update.
 *
 * A device is incoming if the previous kernel preserved it and it is not finished
 * yet. It is held, which means that its registers have to stay as they are, until
 * its next owner takes it over. It is quarantined, which means that no driver can
 * bind to it before it is finished, if what the previous kernel says of it cannot
 * be believed. See Documentation/PCI/liveupdate.rst.
 *
 * Where a function may sleep, it takes the mutexes of the lists of preserved
 * devices. They are taken below the locks of PCI enumeration and of devices.
 *
 * With CONFIG_PCI_LIVEUPDATE off, functions that preserve something return
 * -EOPNOTSUPP, no device is preserved or incoming, and every driver may bind.
 */
#ifdef CONFIG_PCI_LIVEUPDATE

/* For drivers whose file handlers preserve files of PCI devices */

/**
 * pci_liveupdate_register_flb - Let the files of a file handler preserve devices
 * @fh: The file handler, which is registered with LUO.
 *
 * The files of the handler share the lists of preserved devices with those of
 * other handlers. To be called after liveupdate_register_file_handler()
 * succeeded, and before a file is preserved with the handler.
 *
 * Context: May sleep.
 * Return:
 * * %0 - Files of the handler can preserve devices.
 * * %-EOPNOTSUPP - The Live Update Orchestrator does not run.
 * * %-EEXIST - The handler shares the lists already, or another FLB has their name.
 * * %-ENOSPC - The handler has too many FLBs.
 * * %-ENOMEM - Memory is short.
 *
 * If it fails, the handler shares none of the lists.
 */
int pci_liveupdate_register_flb(struct liveupdate_file_handler *fh);

/**
 * pci_liveupdate_unregister_flb - End what pci_liveupdate_register_flb() began
 * @fh: The file handler, for which pci_liveupdate_register_flb() succeeded.
 *
 * liveupdate_unregister_file_handler() does the same.
 *
 * Context: May sleep. No file of the handler is preserved.
 */
void pci_liveupdate_unregister_flb(struct liveupdate_file_handler *fh);

/**
 * pci_liveupdate_preserve - Preserve a device and the bridges above it
 * @dev:  The device, which is bound to a driver and stays so during the call.
 * @data: What the file handler hands over for the file in ``serialized_data``.
 *        It tells the file from all others, and does not change.
 *
 * To be called from the preserve() callback of a file handler. The caller keeps
 * the device from going away until it calls pci_liveupdate_unpreserve().
 *
 * Context: May sleep.
 * Return:
 * * %0 - The device is preserved.
 * * %-EINVAL - The device is a virtual function, its driver has no format in
 *   liveupdate_compatible, or ACS of the device or a bridge above it is enabled
 *   by device-specific code.
 * * %-EBUSY - The device is preserved already; or somebody binds, resets or
 *   configures it now; or the machine is being put to sleep.
 * * %-ENOENT - No file that shares the lists is being preserved.
 * * %-EOPNOTSUPP - Virtual functions of the device are enabled, which the log
 *   says, or the Live Update Orchestrator does not run.
 * * %-EOVERFLOW - Too many devices below one bridge are preserved.
 * * %-ENOSPC - Too many devices are preserved.
 * * %-ENOMEM - Memory is short.
 *
 * If it fails, neither the device nor a bridge is preserved for this call.
 */
int pci_liveupdate_preserve(struct pci_dev *dev, u64 data);

/**
 * pci_liveupdate_unpreserve - Take a device off the lists of preserved devices
 * @dev: The device, for which pci_liveupdate_preserve() succeeded.
 *
 * The bridges above the device are no longer preserved, unless another preserved
 * device needs them. To be called from the unpreserve() callback of a file
 * handler. The device does not go on doing DMA across the kexec any more, if
 * pci_liveupdate_keep_mastering() was called for it.
 *
 * Context: May sleep. If the device is not preserved, the log says so.
 */
void pci_liveupdate_unpreserve(struct pci_dev *dev);

/**
 * pci_liveupdate_finish - End the passage of an incoming device
 * @dev: Any device. Nothing happens unless it is incoming.
 *
 * The device, and each bridge above it that no other incoming device needs, is an
 * ordinary one afterwards: any driver can bind to it. To be called from the
 * finish() callback of a file handler, with the device in a state that any driver
 * can begin with.
 *
 * Context: May sleep. If it fails, the log says so and the device stays incoming.
 */
void pci_liveupdate_finish(struct pci_dev *dev);

/**
 * pci_liveupdate_is_incoming - Ask whether a device is incoming
 * @dev: The device, or a bridge.
 *
 * Context: May sleep.
 * Return: true if the previous kernel preserved the device, or a device below the
 *         bridge, and it is not finished yet. A quarantined device is incoming.
 */
bool pci_liveupdate_is_incoming(struct pci_dev *dev);

/**
 * pci_liveupdate_is_incoming_for - Ask whether a device belongs to a retrieved file
 * @dev:  The device.
 * @data: What the previous kernel handed over for the file in
 *        ``serialized_data``.
 *
 * To be called before a file takes the device over: what the record of one file
 * says does not give it the device of another file.
 *
 * Context: May sleep.
 * Return: true if the device is incoming and was preserved with that file. If the
 *         previous kernel did not hand over which file a device belongs to, true
 *         for each incoming device that is not only a bridge above another one.
 */
bool pci_liveupdate_is_incoming_for(struct pci_dev *dev, u64 data);

/**
 * pci_liveupdate_may_bind - Ask whether a driver of some format may bind to a device
 * @dev:        The device.
 * @compatible: The format of preserved devices that the driver declares, or NULL.
 *
 * Tells an incoming device that waits for its driver from one to which no driver
 * can bind before it is finished. pci_liveupdate_bind() decides in the same way.
 *
 * Context: May sleep.
 * Return: true if the driver may bind.
 */
bool pci_liveupdate_may_bind(struct pci_dev *dev, const char *compatible);

/**
 * pci_liveupdate_take_over - Let the registers of a held device be written to
 * @dev: Any device. Nothing happens unless it is held.
 *
 * The device has its next owner from here on. To be called once whoever retrieved its
 * file has set it up, or, if nobody retrieves the file, before it is reset.
 *
 * Context: Any.
 */
void pci_liveupdate_take_over(struct pci_dev *dev);

/**
 * pci_liveupdate_goes_on - Ask whether a device does DMA since the previous kernel
 * @dev: The device, which its next owner begins to set up.
 *
 * A device that does so is to be left as it is, until pci_liveupdate_take_over() is
 * called. The registers of one that does not can be written to from here on.
 *
 * Context: May sleep. Takes the mutex of the IOMMU group.
 * Return: true if its DMA goes on.
 */
bool pci_liveupdate_goes_on(struct pci_dev *dev);

/**
 * pci_liveupdate_keep_mastering - Have a preserved device do DMA across the kexec
 * @dev: The device.
 *
 * Neither the device nor a bridge above it loses bus mastering when devices are
 * shut down, and the next kernel leaves bus mastering on. To be called only by
 * whoever hands over all page tables that the device does DMA with: the device
 * would write to memory of somebody else otherwise. The driver of the device asks
 * pci_liveupdate_keeps_mastering() in its shutdown() callback, and does not stop
 * the device if the answer is yes.
 *
 * The device is stopped all the same if the kernel that is booted does not declare
 * that it takes such devices over, see liveupdate_stops_devices().
 *
 * Context: May sleep.
 * Return:
 * * %0 - The device keeps bus mastering until it is unpreserved, or
 *   pci_liveupdate_stop_mastering() is called.
 * * %-ENOENT - The device is not preserved.
 * * %-EBUSY - The device keeps bus mastering already.
 * * %-EOPNOTSUPP - The next kernel would have to write to registers of the device,
 *   as this kernel cannot describe them to it.
 * * %-EOVERFLOW - Too many such devices are below one bridge.
 * * %-ENOMEM - Memory is short.
 *
 * If it fails, the device stays preserved, and is to be stopped before the kexec.
 */
int pci_liveupdate_keep_mastering(struct pci_dev *dev);

/**
 * pci_liveupdate_stop_mastering - Have a preserved device stopped before the kexec
 * @dev: The device, for which pci_liveupdate_keep_mastering() succeeded.
 *
 * The device stays preserved. Its bus mastering is not touched by this function:
 * device shutdown turns it off.
 *
 * Context: May sleep. If the device does not keep bus mastering, the log says so.
 */
void pci_liveupdate_stop_mastering(struct pci_dev *dev);

/**
 * pci_liveupdate_keeps_mastering - Ask whether a device does DMA across the kexec
 * @dev: The device, or a bridge.
 *
 * To be called when devices are shut down, as it is known then which kernel is
 * booted. If the image of that kernel declares too little, the answer is no for
 * all devices from the first call on, and none is handed over as one that does
 * DMA.
 *
 * Context: May sleep.
 * Return: true if the device, or one below the bridge, keeps bus mastering.
 */
bool pci_liveupdate_keeps_mastering(struct pci_dev *dev);

/**
 * pci_liveupdate_freeze - Count one more preserved device as frozen
 *
 * To be called from the freeze() callback of a file handler, once for each device
 * that it preserved, when nothing else of the device keeps the kexec from
 * proceeding. While all preserved devices are frozen, and mostly from the first
 * one on, the caller holds pci_rescan_remove_lock: nobody adds or removes PCI
 * devices until the kexec proceeds or all devices are unfrozen.
 *
 * Context: The task that freezes all files. May sleep, for a second if somebody
 *          adds or removes devices.
 * Return:
 * * %0 - The device counts as frozen until pci_liveupdate_unfreeze().
 * * %-EBUSY - All other preserved devices are frozen, and somebody adds or removes
 *   devices. The device does not count as frozen.
 * * %-ENOENT - No device is preserved.
 */
int pci_liveupdate_freeze(void);

/**
 * pci_liveupdate_unfreeze - Count one device less as frozen
 *
 * To be called once for each pci_liveupdate_freeze() that succeeded, when the
 * kexec is called off. With the last frozen device, PCI devices can be added and
 * removed again.
 *
 * Context: The task that called pci_liveupdate_freeze(). Does not sleep.
 */
void pci_liveupdate_unfreeze(void);

/* For these and the PCI core */

/**
 * pci_liveupdate_proceeds - Ask whether PCI devices have to stay for a kexec
 *
 * From the moment that a kexec with preserved devices cannot be called off any
 * more, whoever has pci_rescan_remove_lock removes no device and cuts the power of
 * no slot: files of some devices stay open, so that removal would not end, and the
 * next kernel expects the devices where they are. Virtual functions can be
 * removed, as they are not preserved.
 *
 * Context: Any.
 * Return: true from that moment on.
 */
bool pci_liveupdate_proceeds(void);

/* For the PCI core */

/**
 * pci_liveupdate_had_incoming - Ask whether this kernel began with incoming devices
 *
 * The answer stays yes after all of them are finished: those who use the devices
 * go on using their bus numbers and the addresses of their BARs.
 *
 * Context: May sleep.
 * Return: true if the previous kernel preserved devices, or may have.
 */
bool pci_liveupdate_had_incoming(void);

/**
 * pci_liveupdate_is_preserved - Ask whether a device is in a passage, either way
 * @dev: The device, or a bridge.
 *
 * Context: May sleep.
 * Return: true if the device, or one below the bridge, is preserved for the next
 *         kernel, or is incoming.
 */
bool pci_liveupdate_is_preserved(struct pci_dev *dev);

/**
 * pci_liveupdate_refuse_bus_numbers - Decide whether a bridge gets no bus numbers
 * @dev: The bridge, which has no bus numbers.
 *
 * An incoming bridge that lost its bus numbers gets no others, and neither do
 * bridges on the same bus, which might get those that it had: something else would
 * be found at the address of a preserved device. The log says so.
 *
 * Context: May sleep. The caller holds pci_rescan_remove_lock, or is the boot.
 * Return: true if the bridge is to be left without bus numbers.
 */
bool pci_liveupdate_refuse_bus_numbers(struct pci_dev *dev);

/**
 * pci_liveupdate_check_reset - Decide whether a bus may be reset
 * @bus: The bus, which the caller keeps from going away, or NULL.
 *
 * To be called before anything is done to the devices on the bus or below it, on
 * behalf of anybody. A reset would stop a device that does DMA for an owner who
 * has not opened it yet. The log names the device, at a limited rate.
 *
 * Context: May sleep. The caller may hold locks of devices.
 * Return: 0, or -EBUSY if an incoming device is there that its owner did not open
 *         yet. Then nothing is to be reset.
 */
int pci_liveupdate_check_reset(struct pci_bus *bus);

/**
 * pci_liveupdate_check_resources - Quarantine devices with addresses of others
 *
 * Finds the BARs of incoming devices, and the windows above them, that this kernel
 * could not claim. Each such device is stopped and quarantined, which the log
 * says. The device goes on answering at its addresses, so these are reserved for
 * good. To be called when resources were claimed, before any are assigned.
 *
 * Context: May sleep.
 */
void pci_liveupdate_check_resources(void);

/**
 * pci_liveupdate_setup_device - Tell apart an incoming device when it is found
 * @dev: The device, whose address, class and IDs are known.
 *
 * Has the device held if the previous kernel preserved it, and stops and
 * quarantines one that does DMA though no page tables were handed over for it. To
 * be called once for each device, before any driver can match.
 *
 * Context: May sleep.
 */
void pci_liveupdate_setup_device(struct pci_dev *dev);

/**
 * pci_liveupdate_bind - Decide whether a driver may bind to a device
 * @dev:        The device, which is about to be probed.
 * @compatible: The format of preserved devices that the driver declares, or NULL.
 *
 * An incoming device that may be bound to is kept out of low power states, as are
 * the ports above it, until it is finished.
 *
 * Context: May sleep. The caller holds the lock of the device.
 * Return: 0, or -EBUSY if the device is incoming and was preserved in another
 *         format, or is quarantined. Then the driver is not to be probed.
 */
int pci_liveupdate_bind(struct pci_dev *dev, const char *compatible);

/* The parts of inline functions below that are for preserved devices only */
void __pci_liveupdate_release_device(struct pci_dev *dev);
bool __pci_liveupdate_is_held(const struct pci_dev *dev);
bool __pci_liveupdate_drops_write(const struct pci_dev *dev, int where,
				  int size, u32 value);
bool __pci_liveupdate_probed(struct pci_dev *dev, int where, u32 *value);
bool __pci_liveupdate_adopts_acs(struct pci_dev *dev);
bool __pci_liveupdate_adopts_ari(struct pci_dev *bridge);

/* The file liveupdate_stop of incoming devices in sysfs */
extern const struct attribute_group pci_liveupdate_attr_group;

/* For those who give up what files left that nobody knows */

/**
 * pci_liveupdate_has_incoming - Ask whether an incoming device is there
 *
 * Bridges do not count. The log names one such device.
 *
 * Context: May sleep.
 * Return: true if this kernel found a device that is incoming.
 */
bool pci_liveupdate_has_incoming(void);

/* For the above */

/**
 * pci_liveupdate_end - Stop an incoming device, and end its passage
 * @dev: The device.
 *
 * For the administrator, when no driver and no file is there that could. The
 * device does no DMA afterwards. It is reset if it can be, its IOMMU has no entry
 * for it that was handed over, and it is an ordinary device. Its file cannot be
 * retrieved any more.
 *
 * Context: May sleep. The caller holds the lock of the device, and that of the
 *          bridge above it.
 * Return:
 * * %0 - The passage of the device ended.
 * * %-ENOENT - The device is not incoming. Nothing happened.
 * * %-EBUSY - A driver is bound to the device, and is to be unbound first; or the
 *   IOMMU group of the device is in use: the device is stopped then, and stays
 *   incoming.
 */
int pci_liveupdate_end(struct pci_dev *dev);

/**
 * pci_liveupdate_find - Find a device by its address
 * @domain: The PCI domain (segment).
 * @busnr:  The bus number.
 * @devfn:  The device and function number.
 *
 * Finds what pci_get_domain_bus_and_slot() does. That looks at each device that
 * there is; here, a bridge says what is below it.
 *
 * Context: May sleep. Takes pci_bus_sem.
 * Return: The device, which the caller must pci_dev_put(), or NULL.
 */
struct pci_dev *pci_liveupdate_find(int domain, unsigned int busnr,
				    unsigned int devfn);

/**
 * pci_liveupdate_has_missing - Ask whether an incoming device was not found
 *
 * Context: May sleep. Once PCI devices are enumerated.
 * Return: true if this kernel did not find a device that the previous kernel
 *         preserved, and that is not finished, or was not when nothing else of
 *         the list of these devices was left; or if the list cannot be read.
 */
bool pci_liveupdate_has_missing(void);

/**
 * pci_liveupdate_has_specific_acs - Ask whether ACS of a device needs special code
 * @dev: The device.
 *
 * Context: Any.
 * Return: true if device-specific code enables ACS of the device.
 */
bool pci_liveupdate_has_specific_acs(struct pci_dev *dev);

/**
 * pci_liveupdate_max_vf_buses - Get the last bus number of virtual functions
 * @dev: The device.
 *
 * Context: Any.
 * Return: The highest bus number that virtual functions of the device can have,
 *         or 0 if it can have none.
 */
u8 pci_liveupdate_max_vf_buses(const struct pci_dev *dev);

/**
 * pci_liveupdate_trylock_rescan_remove - Keep PCI devices from coming and going
 *
 * For a reboot, which has pci_rescan_remove_lock while it freezes one file after
 * the other. The locks that it takes for that are also held by others who wait for
 * this one, but never while there is a reboot: LUO keeps them out. Lockdep does
 * not know that, and is told that nobody has the lock, as is done for filesystems
 * that are frozen.
 *
 * Context: Does not sleep.
 * Return: true if the caller has the lock, which nobody had.
 */
bool pci_liveupdate_trylock_rescan_remove(void);

/**
 * pci_liveupdate_unlock_rescan_remove - Let PCI devices come and go again
 *
 * Context: The task that pci_liveupdate_trylock_rescan_remove() succeeded for.
 */
void pci_liveupdate_unlock_rescan_remove(void);

/* Devices that were not preserved are to pay for no more than a look */

/**
 * pci_liveupdate_release_device - Free the preserved state of a device
 * @dev: The device, which is about to be freed and which nobody uses any more.
 *
 * Context: Any.
 */
static inline void pci_liveupdate_release_device(struct pci_dev *dev)
{
	if (dev->liveupdate)
		__pci_liveupdate_release_device(dev);
}

/**
 * pci_liveupdate_is_held - Ask whether the registers of a device have to stay
 * @dev: The device, or a bridge.
 *
 * Context: Any.
 * Return: true for a device that the previous kernel preserved until its next
 *         owner takes it over, and for a bridge above such devices until the last
 *         of them is finished.
 */
static inline bool pci_liveupdate_is_held(const struct pci_dev *dev)
{
	return dev->liveupdate && __pci_liveupdate_is_held(dev);
}

/**
 * pci_liveupdate_fixes - Ask whether a resource of a device has to stay
 * @dev:   The device, or a bridge.
 * @resno: The number of the resource.
 *
 * Context: Any.
 * Return: true if the device is held, and the resource is no ROM: a ROM is told
 *         its address when it is read, which the owner of the device does.
 */
static inline bool pci_liveupdate_fixes(const struct pci_dev *dev, int resno)
{
	return resno != PCI_ROM_RESOURCE && pci_liveupdate_is_held(dev);
}

/**
 * pci_liveupdate_drops_write - Decide whether a register write is to be left out
 * @dev:   The device, or a bridge.
 * @where: The offset of the register in configuration space.
 * @size:  How many bytes are to be written: 1, 2 or 4.
 * @value: What is to be written.
 *
 * That is so for a held device, and for a bridge above one unless a service of the
 * bridge needs the write. It is so for neither if the write gives a register back
 * what it lost. A write that is dropped is traced and counted.
 *
 * Context: Any.
 * Return: true if the write is not to be done.
 */
static inline bool pci_liveupdate_drops_write(const struct pci_dev *dev,
					      int where, int size, u32 value)
{
	/* On the way out, a device that nobody took over is stopped, too */
	return dev->liveupdate && !kexec_in_progress &&
	       __pci_liveupdate_drops_write(dev, where, size, value);
}

/**
 * pci_liveupdate_probed - Get what a probe of a register would tell
 * @dev:   The device, or a bridge.
 * @where: The offset of the register in configuration space.
 * @value: Set to what the previous kernel handed over: mostly what the register
 *         reads as after all ones were written, see struct pci_probe_ser.
 *
 * Context: Any.
 * Return: true if the device is held, and @value is set. Otherwise the register
 *         can be written to.
 */
static inline bool pci_liveupdate_probed(struct pci_dev *dev, int where,
					 u32 *value)
{
	return dev->liveupdate && __pci_liveupdate_probed(dev, where, value);
}

/**
 * pci_liveupdate_adopts_acs - Set ACS of a device as the previous kernel had it
 * @dev: The device, or a bridge, which is set up.
 *
 * The ACS controls are those that the device had when it was found, also after a
 * reset and after the device is finished: IOMMU groups depend on them.
 *
 * Context: Any.
 * Return: true if that was done. false for devices that were not preserved, and
 *         for those without ACS, of which nothing changes.
 */
static inline bool pci_liveupdate_adopts_acs(struct pci_dev *dev)
{
	return dev->liveupdate && __pci_liveupdate_adopts_acs(dev);
}

/**
 * pci_liveupdate_adopts_ats - Ask whether ATS of a device stays enabled
 * @dev: The device.
 *
 * Context: Any.
 * Return: true if the previous kernel preserved the device and left ATS enabled.
 */
static inline bool pci_liveupdate_adopts_ats(const struct pci_dev *dev)
{
	return dev->liveupdate && dev->ats_enabled;
}

/**
 * pci_liveupdate_adopts_ari - Leave ARI Forwarding of a bridge as it is
 * @bridge: The bridge, whose secondary bus is being scanned, or NULL.
 *
 * Notes in the bridge whether ARI Forwarding is on.
 *
 * Context: Any.
 * Return: true if the previous kernel preserved a device below the bridge. false
 *         for other bridges, of which nothing changes.
 */
static inline bool pci_liveupdate_adopts_ari(struct pci_dev *bridge)
{
	return bridge && bridge->liveupdate &&
	       __pci_liveupdate_adopts_ari(bridge);
}

#else

static inline int pci_liveupdate_register_flb(struct liveupdate_file_handler *fh)
{
	return -EOPNOTSUPP;
}

static inline void pci_liveupdate_unregister_flb(struct liveupdate_file_handler *fh)
{
}

static inline int pci_liveupdate_preserve(struct pci_dev *dev, u64 data)
{
	return -EOPNOTSUPP;
}

static inline void pci_liveupdate_unpreserve(struct pci_dev *dev)
{
}

static inline void pci_liveupdate_finish(struct pci_dev *dev)
{
}

static inline bool pci_liveupdate_is_incoming(struct pci_dev *dev)
{
	return false;
}

static inline bool pci_liveupdate_is_incoming_for(struct pci_dev *dev, u64 data)
{
	return false;
}

static inline bool pci_liveupdate_may_bind(struct pci_dev *dev,
					   const char *compatible)
{
	return true;
}

static inline void pci_liveupdate_take_over(struct pci_dev *dev)
{
}

static inline bool pci_liveupdate_goes_on(struct pci_dev *dev)
{
	return false;
}

static inline int pci_liveupdate_keep_mastering(struct pci_dev *dev)
{
	return -EOPNOTSUPP;
}

static inline void pci_liveupdate_stop_mastering(struct pci_dev *dev)
{
}

static inline bool pci_liveupdate_keeps_mastering(struct pci_dev *dev)
{
	return false;
}

static inline int pci_liveupdate_freeze(void)
{
	return 0;
}

static inline void pci_liveupdate_unfreeze(void)
{
}

static inline bool pci_liveupdate_proceeds(void)
{
	return false;
}

static inline bool pci_liveupdate_had_incoming(void)
{
	return false;
}

static inline bool pci_liveupdate_is_preserved(struct pci_dev *dev)
{
	return false;
}

static inline bool pci_liveupdate_refuse_bus_numbers(struct pci_dev *dev)
{
	return false;
}

static inline int pci_liveupdate_check_reset(struct pci_bus *bus)
{
	return 0;
}

static inline void pci_liveupdate_check_resources(void)
{
}

static inline void pci_liveupdate_setup_device(struct pci_dev *dev)
{
}

static inline void pci_liveupdate_release_device(struct pci_dev *dev)
{
}

static inline int pci_liveupdate_bind(struct pci_dev *dev, const char *compatible)
{
	return 0;
}

static inline bool pci_liveupdate_is_held(const struct pci_dev *dev)
{
	return false;
}

static inline bool pci_liveupdate_fixes(const struct pci_dev *dev, int resno)
{
	return false;
}

static inline bool pci_liveupdate_drops_write(const struct pci_dev *dev,
					      int where, int size, u32 value)
{
	return false;
}

static inline bool pci_liveupdate_probed(struct pci_dev *dev, int where,
					 u32 *value)
{
	return false;
}

static inline bool pci_liveupdate_adopts_acs(struct pci_dev *dev)
{
	return false;
}

static inline bool pci_liveupdate_adopts_ats(const struct pci_dev *dev)
{
	return false;
}

static inline bool pci_liveupdate_adopts_ari(struct pci_dev *bridge)
{
	return false;
}

#endif

#endif /* _LINUX_PCI_LIVEUPDATE_H */
