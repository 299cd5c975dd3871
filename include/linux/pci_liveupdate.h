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
bool pci_liveupdate_may_bind(struct pci_dev *dev, const char *compatible);
void pci_liveupdate_take_over(struct pci_dev *dev);
int pci_liveupdate_keep_mastering(struct pci_dev *dev);
void pci_liveupdate_stop_mastering(struct pci_dev *dev);
bool pci_liveupdate_keeps_mastering(struct pci_dev *dev);
int pci_liveupdate_freeze(void);
void pci_liveupdate_unfreeze(void);

/* For these and the PCI core */
bool pci_liveupdate_proceeds(void);

/* For the PCI core */
bool pci_liveupdate_had_incoming(void);
bool pci_liveupdate_is_preserved(struct pci_dev *dev);
bool pci_liveupdate_refuse_bus_numbers(struct pci_dev *dev);
int pci_liveupdate_check_reset(struct pci_bus *bus);
void pci_liveupdate_check_resources(void);
void pci_liveupdate_setup_device(struct pci_dev *dev);
void __pci_liveupdate_release_device(struct pci_dev *dev);
int pci_liveupdate_bind(struct pci_dev *dev, const char *compatible);
bool __pci_liveupdate_is_held(const struct pci_dev *dev);
bool __pci_liveupdate_drops_write(const struct pci_dev *dev, int where,
				  int size, u32 value);
bool __pci_liveupdate_probed(struct pci_dev *dev, int where, u32 *value);
bool __pci_liveupdate_adopts_acs(struct pci_dev *dev);
bool __pci_liveupdate_adopts_ari(struct pci_dev *bridge);
extern const struct attribute_group pci_liveupdate_attr_group;

/* For those who give up what files left that nobody knows */
bool pci_liveupdate_has_incoming(void);

/* For the above */
int pci_liveupdate_end(struct pci_dev *dev);
struct pci_dev *pci_liveupdate_find(int domain, unsigned int busnr,
				    unsigned int devfn);
bool pci_liveupdate_has_specific_acs(struct pci_dev *dev);
u8 pci_liveupdate_max_vf_buses(const struct pci_dev *dev);
u64 pci_liveupdate_vf_bar_size(const struct pci_dev *dev, int bar);
bool pci_liveupdate_trylock_rescan_remove(void);
void pci_liveupdate_unlock_rescan_remove(void);

/* Devices that were not preserved are to pay for no more than a look */
static inline void pci_liveupdate_release_device(struct pci_dev *dev)
{
	if (dev->liveupdate)
		__pci_liveupdate_release_device(dev);
}

static inline bool pci_liveupdate_is_held(const struct pci_dev *dev)
{
	return dev->liveupdate && __pci_liveupdate_is_held(dev);
}

/* ROMs are told their address when they are read, which is done by their owner */
static inline bool pci_liveupdate_fixes(const struct pci_dev *dev, int resno)
{
	return resno != PCI_ROM_RESOURCE && pci_liveupdate_is_held(dev);
}

static inline bool pci_liveupdate_drops_write(const struct pci_dev *dev,
					      int where, int size, u32 value)
{
	/* On the way out, a device that nobody took over is stopped, too */
	return dev->liveupdate && !kexec_in_progress &&
	       __pci_liveupdate_drops_write(dev, where, size, value);
}

static inline bool pci_liveupdate_probed(struct pci_dev *dev, int where,
					 u32 *value)
{
	return dev->liveupdate && __pci_liveupdate_probed(dev, where, value);
}

static inline bool pci_liveupdate_adopts_acs(struct pci_dev *dev)
{
	return dev->liveupdate && __pci_liveupdate_adopts_acs(dev);
}

/* ATS that was enabled stays so */
static inline bool pci_liveupdate_adopts_ats(const struct pci_dev *dev)
{
	return dev->liveupdate && dev->ats_enabled;
}

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
