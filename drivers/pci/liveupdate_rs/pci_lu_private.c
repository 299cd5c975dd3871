// SPDX-License-Identifier: GPL-2.0

#include <linux/cleanup.h>
#include <linux/instruction_pointer.h>
#include <linux/list.h>
#include <linux/lockdep.h>
#include <linux/mutex.h>
#include <linux/pci_liveupdate.h>
#include <linux/rwsem.h>
#include "../pci.h"

/* What the Rust code needs of structures that are private to the PCI core. */

#define CREATE_TRACE_POINTS
#define CREATE_RUST_TRACE_POINTS
#include <trace/events/pci_liveupdate.h>

/*
 * The bus on @buses that has bus number @busnr, or is above the one that has it.
 * One that is still being scanned seems to have all numbers after its own.
 */
static struct pci_bus *bus_towards(struct list_head *buses, int domain,
				   unsigned int busnr)
{
	struct pci_bus *bus, *found = NULL;

	list_for_each_entry(bus, buses, node) {
		if (pci_domain_nr(bus) == domain && busnr >= bus->number &&
		    busnr <= bus->busn_res.end &&
		    (!found || bus->number > found->number))
			found = bus;
	}
	return found;
}

struct pci_dev *pci_liveupdate_find(int domain, unsigned int busnr,
				    unsigned int devfn)
{
	struct pci_dev *dev;
	struct pci_bus *bus;

	guard(rwsem_read)(&pci_bus_sem);
	bus = bus_towards(&pci_root_buses, domain, busnr);
	while (bus && bus->number != busnr)
		bus = bus_towards(&bus->children, domain, busnr);
	if (!bus)
		return NULL;

	list_for_each_entry(dev, &bus->devices, bus_list) {
		if (dev->devfn == devfn)
			return pci_dev_get(dev);
	}
	return NULL;
}

u8 pci_liveupdate_max_vf_buses(const struct pci_dev *dev)
{
#ifdef CONFIG_PCI_IOV
	if (dev->is_physfn)
		return dev->sriov->max_VF_buses;
#endif
	return 0;
}

bool pci_liveupdate_has_specific_acs(struct pci_dev *dev)
{
	return pci_dev_has_specific_acs(dev);
}

bool pci_liveupdate_trylock_rescan_remove(void)
{
	if (!mutex_trylock(&pci_rescan_remove_lock))
		return false;

	mutex_release(&pci_rescan_remove_lock.dep_map, _THIS_IP_);
	return true;
}

void pci_liveupdate_unlock_rescan_remove(void)
{
	mutex_acquire(&pci_rescan_remove_lock.dep_map, 0, 1, _THIS_IP_);
	mutex_unlock(&pci_rescan_remove_lock);
}
