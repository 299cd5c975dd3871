/* SPDX-License-Identifier: GPL-2.0 */

#ifndef VFIO_PCI_LU_H
#define VFIO_PCI_LU_H

#include <linux/kho/abi/vfio_pci.h>
#include <linux/stddef.h>
#include <linux/types.h>

struct pci_dev;
struct pci_driver;
struct vfio_device;
struct vfio_device_ops;

/*
 * What vfio-pci tells its file handler. A device is frozen from when a kexec has
 * user space shut out of it, until the kexec is called off.
 */
#ifdef CONFIG_VFIO_PCI_LIVEUPDATE

/* The devices that vfio-pci can take over from the previous kernel */
#define VFIO_PCI_LIVEUPDATE_COMPATIBLE	VFIO_PCI_LUO_FH_COMPATIBLE

/**
 * vfio_pci_liveupdate_init - Let files of vfio-pci be preserved and retrieved
 * @ops:    The operations of vfio-pci's devices.
 * @driver: The driver of vfio-pci.
 *
 * To be called before vfio-pci can bind to a device. If it fails, devices can be
 * used as if there were no live update. The log says why, unless the reason is that
 * the Live Update Orchestrator does not run.
 *
 * Context: May sleep.
 */
void vfio_pci_liveupdate_init(const struct vfio_device_ops *ops,
			      const struct pci_driver *driver);

/**
 * vfio_pci_liveupdate_cleanup - End what vfio_pci_liveupdate_init() began
 *
 * To be called when vfio-pci cannot bind to devices any more.
 *
 * Context: May sleep.
 */
void vfio_pci_liveupdate_cleanup(void);

/**
 * vfio_pci_liveupdate_is_incoming - Ask whether a device waits for who retrieves it
 * @vdev: A device of vfio-pci.
 *
 * To be asked before a file of the device is opened: nobody else is to have one.
 *
 * Context: May sleep.
 * Return: true if the previous kernel preserved the device, and it is not finished.
 */
bool vfio_pci_liveupdate_is_incoming(struct vfio_device *vdev);

/**
 * vfio_pci_liveupdate_shutdown - Stop and reset a frozen device for a kexec
 * @pdev: A device that is bound to vfio-pci. Nothing happens unless it is frozen.
 *
 * To be called when the machine goes down and the kexec cannot be called off any
 * more. Afterwards the device does no DMA until somebody sets bus mastering, which
 * user space cannot. A device that goes on doing DMA across the kexec is left alone.
 *
 * Context: May sleep. The caller holds the lock of the device.
 */
void vfio_pci_liveupdate_shutdown(struct pci_dev *pdev);

/**
 * vfio_pci_liveupdate_remove - Decide whether a device stays registered with vfio
 * @pdev: A device that is being unbound from vfio-pci.
 *
 * To be called before anything else is done to unbind the device. While the device
 * is frozen for a kexec that may still be called off, this waits.
 *
 * Context: May sleep. The caller holds the lock of the device.
 * Return: true if the kexec proceeds and the device was frozen for it. Then the
 *         device is as vfio_pci_liveupdate_shutdown() leaves it, and is not to be
 *         unregistered, which would wait for ever for the files that are handed
 *         over. false for all other devices.
 */
bool vfio_pci_liveupdate_remove(struct pci_dev *pdev);

#else

#define VFIO_PCI_LIVEUPDATE_COMPATIBLE	NULL
#define vfio_pci_liveupdate_is_incoming	NULL
#define vfio_pci_liveupdate_shutdown	NULL

static inline void vfio_pci_liveupdate_init(const struct vfio_device_ops *ops,
					    const struct pci_driver *driver) { }
static inline void vfio_pci_liveupdate_cleanup(void) { }
static inline bool vfio_pci_liveupdate_remove(struct pci_dev *pdev) { return false; }

#endif

#endif /* VFIO_PCI_LU_H */
