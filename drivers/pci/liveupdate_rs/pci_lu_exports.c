// SPDX-License-Identifier: GPL-2.0

#include <linux/export.h>
#include <linux/pci_liveupdate.h>

/* Rust has no EXPORT_SYMBOL_GPL(); these are for drivers in modules. */
EXPORT_SYMBOL_GPL(pci_liveupdate_register_flb);
EXPORT_SYMBOL_GPL(pci_liveupdate_unregister_flb);
EXPORT_SYMBOL_GPL(pci_liveupdate_preserve);
EXPORT_SYMBOL_GPL(pci_liveupdate_unpreserve);
EXPORT_SYMBOL_GPL(pci_liveupdate_finish);
EXPORT_SYMBOL_GPL(pci_liveupdate_is_incoming);
EXPORT_SYMBOL_GPL(pci_liveupdate_is_incoming_for);
EXPORT_SYMBOL_GPL(pci_liveupdate_may_bind);
EXPORT_SYMBOL_GPL(pci_liveupdate_take_over);
EXPORT_SYMBOL_GPL(pci_liveupdate_goes_on);
EXPORT_SYMBOL_GPL(pci_liveupdate_keep_mastering);
EXPORT_SYMBOL_GPL(pci_liveupdate_stop_mastering);
EXPORT_SYMBOL_GPL(pci_liveupdate_keeps_mastering);
EXPORT_SYMBOL_GPL(pci_liveupdate_freeze);
EXPORT_SYMBOL_GPL(pci_liveupdate_unfreeze);
EXPORT_SYMBOL_GPL(pci_liveupdate_proceeds);
EXPORT_SYMBOL_GPL(pci_liveupdate_find);
