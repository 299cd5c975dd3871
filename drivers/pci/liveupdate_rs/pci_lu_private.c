// SPDX-License-Identifier: GPL-2.0

#include <linux/pci_liveupdate.h>
#include "../pci.h"

/* What the Rust code needs of structures that are private to the PCI core. */

#define CREATE_TRACE_POINTS
#define CREATE_RUST_TRACE_POINTS
#include <trace/events/pci_liveupdate.h>

u8 pci_liveupdate_max_vf_buses(const struct pci_dev *dev)
{
#ifdef CONFIG_PCI_IOV
	if (dev->is_physfn)
		return dev->sriov->max_VF_buses;
#endif
	return 0;
}

u64 pci_liveupdate_vf_bar_size(const struct pci_dev *dev, int bar)
{
#ifdef CONFIG_PCI_IOV
	if (dev->is_physfn)
		return dev->sriov->barsz[bar];
#endif
	return 0;
}

bool pci_liveupdate_has_specific_acs(struct pci_dev *dev)
{
	return pci_dev_has_specific_acs(dev);
}
