/* SPDX-License-Identifier: GPL-2.0 */

#ifndef VFIO_PCI_LU_H
#define VFIO_PCI_LU_H

#include <linux/kho/abi/vfio_pci.h>
#include <linux/stddef.h>
#include <linux/types.h>

struct pci_dev;
struct pci_driver;
struct vfio_device_ops;

/*
 * Live update of vfio-pci device files.
 *
 * The functions are documented where they are implemented: exports.rs.
 */
#ifdef CONFIG_VFIO_PCI_LIVEUPDATE

/* The devices that vfio-pci can take over from the previous kernel */
#define VFIO_PCI_LIVEUPDATE_COMPATIBLE	VFIO_PCI_LUO_FH_COMPATIBLE

void vfio_pci_liveupdate_init(const struct vfio_device_ops *ops,
			      const struct pci_driver *driver);
void vfio_pci_liveupdate_cleanup(void);
void vfio_pci_liveupdate_shutdown(struct pci_dev *pdev);
bool vfio_pci_liveupdate_remove(struct pci_dev *pdev);

#else

#define VFIO_PCI_LIVEUPDATE_COMPATIBLE	NULL

static inline void vfio_pci_liveupdate_init(const struct vfio_device_ops *ops,
					    const struct pci_driver *driver)
{
}

static inline void vfio_pci_liveupdate_cleanup(void)
{
}

static inline void vfio_pci_liveupdate_shutdown(struct pci_dev *pdev)
{
}

static inline bool vfio_pci_liveupdate_remove(struct pci_dev *pdev)
{
	return false;
}

#endif

#endif /* VFIO_PCI_LU_H */
