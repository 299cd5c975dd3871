/* SPDX-License-Identifier: GPL-2.0 */

#ifndef _LINUX_PCI_LIVEUPDATE_H
#define _LINUX_PCI_LIVEUPDATE_H

#include <linux/errno.h>
#include <linux/types.h>

struct liveupdate_file_handler;
struct pci_dev;

/*
 * PCI devices that are preserved across a live update.
 *
 * The functions are documented where they are implemented:
 * drivers/pci/liveupdate_rs/exports.rs.
 */
#ifdef CONFIG_PCI_LIVEUPDATE

/* For drivers whose file handlers preserve files of PCI devices */
int pci_liveupdate_register_flb(struct liveupdate_file_handler *fh);
void pci_liveupdate_unregister_flb(struct liveupdate_file_handler *fh);
int pci_liveupdate_preserve(struct pci_dev *dev, u64 data);
void pci_liveupdate_unpreserve(struct pci_dev *dev);
void pci_liveupdate_finish(struct pci_dev *dev);
bool pci_liveupdate_is_incoming(struct pci_dev *dev);
bool pci_liveupdate_is_incoming_for(struct pci_dev *dev, u64 data);

/* For the PCI core */
bool pci_liveupdate_had_incoming(void);
void pci_liveupdate_setup_device(struct pci_dev *dev);
int pci_liveupdate_bind(struct pci_dev *dev, const char *compatible);

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

static inline bool pci_liveupdate_had_incoming(void)
{
	return false;
}

static inline void pci_liveupdate_setup_device(struct pci_dev *dev)
{
}

static inline int pci_liveupdate_bind(struct pci_dev *dev, const char *compatible)
{
	return 0;
}

#endif

#endif /* _LINUX_PCI_LIVEUPDATE_H */
