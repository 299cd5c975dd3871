/* SPDX-License-Identifier: GPL-2.0 */

#ifndef _LINUX_KHO_ABI_PCI_H
#define _LINUX_KHO_ABI_PCI_H

#ifndef __ASSEMBLER__
#include <linux/build_bug.h>
#include <linux/stddef.h>
#include <linux/types.h>
#endif

/**
 * DOC: PCI File-Lifecycle-Bound (FLB) Live Update ABI
 *
 * This header defines what one kernel tells the next about the PCI devices that
 * are preserved across a live update.
 *
 * It is a contract between kernels: what is changed here has to be understood
 * by the next kernel. A change that it would misunderstand increments
 * ``PCI_LUO_FLB_VERSION``.
 *
 * There are three FLBs. The handle of each is the physical address of a
 * struct pci_ser. That names a chain of KHO blocks (see
 * include/linux/kho/abi/block.h) whose entries are struct pci_dev_ser for the
 * FLB ``PCI_LUO_FLB_COMPATIBLE``, struct pci_driver_ser for the FLB
 * ``PCI_LUO_DRIVER_FLB_COMPATIBLE``, and struct pci_probe_ser for the FLB
 * ``PCI_LUO_PROBE_FLB_COMPATIBLE``. No FLB has its version in its name: one of
 * another version is found, and refused by name, and not taken for one that the
 * other kernel does not write.
 *
 * The first one has the devices and the bridges above them. The second one has,
 * for each device that is not there as a bridge, which drivers can take it over
 * and which file it belongs to. A kernel that does not write it leaves both open.
 *
 * The third one has, for all of them, what tells them from others, and what can
 * only be learned by writing to their registers. A kernel that is not told so
 * finds it out itself.
 *
 * The first FLB has the name, the layout, the meaning and the version of the one
 * that the PCI core of other kernels reads and writes, where it is implemented in
 * C. Such a kernel panics if the version is not the one that it knows, or if a
 * device has two entries. The other two are not known there, and their names end
 * with ``-rs``, so that no other layout gets the same name.
 */

/**
 * PCI_LUO_FLB_COMPATIBLE - The name of the PCI FLB.
 */
#define PCI_LUO_FLB_COMPATIBLE	"pci"

/**
 * PCI_LUO_DRIVER_FLB_COMPATIBLE - The name of the FLB of drivers.
 */
#define PCI_LUO_DRIVER_FLB_COMPATIBLE	"pci-driver-rs"

/**
 * PCI_LUO_PROBE_FLB_COMPATIBLE - The name of the FLB of registers.
 */
#define PCI_LUO_PROBE_FLB_COMPATIBLE	"pci-probe-rs"

/**
 * PCI_LUO_FLB_VERSION - The version of the structures in this header.
 *
 * In version 1, the count of a bridge had different meanings in different kernels.
 * Nobody can tell which one it has, and so that version is refused.
 */
#define PCI_LUO_FLB_VERSION	2

#ifndef __ASSEMBLER__

/**
 * struct pci_dev_ser - A PCI device that is preserved.
 * @domain:   The PCI domain (segment) of the device.
 * @bdf:      The bus number (high byte), device and function number (low byte).
 * @refcount: For a bridge: how many preserved endpoints are below it. For an
 *            endpoint: one. An entry with zero is free and to be skipped.
 */
struct pci_dev_ser {
	u32 domain;
	u16 bdf;
	u16 refcount;
} __packed;

static_assert(sizeof(struct pci_dev_ser) == 8);
static_assert(offsetof(struct pci_dev_ser, domain) == 0);
static_assert(offsetof(struct pci_dev_ser, bdf) == 4);
static_assert(offsetof(struct pci_dev_ser, refcount) == 6);

/**
 * struct pci_driver_ser - Which drivers can take over a PCI device.
 * @domain:     The PCI domain (segment) of the device.
 * @bdf:        The bus number (high byte), device and function number (low byte).
 * @reserved:   Zero.
 * @data:       What the file that the device was preserved with has as its data
 *              in struct luo_file_ser: no other file can retrieve the device.
 * @compatible: The format in which its driver preserved the device: the
 *              compatible string of the file handler, which ends with a null
 *              byte.
 */
struct pci_driver_ser {
	u32 domain;
	u16 bdf;
	u16 reserved;
	u64 data;
	char compatible[48];
} __packed;

static_assert(sizeof(struct pci_driver_ser) == 64);
static_assert(offsetof(struct pci_driver_ser, domain) == 0);
static_assert(offsetof(struct pci_driver_ser, bdf) == 4);
static_assert(offsetof(struct pci_driver_ser, reserved) == 6);
static_assert(offsetof(struct pci_driver_ser, data) == 8);
static_assert(offsetof(struct pci_driver_ser, compatible) == 16);

/**
 * struct pci_probe_ser - What is known of a register of a PCI device.
 * @domain: The PCI domain (segment) of the device.
 * @bdf:    The bus number (high byte), device and function number (low byte).
 * @offset: The register, by its offset in configuration space: a multiple of
 *          four. Entries are in the order of domain, BDF and offset, and there
 *          is one at most for each register.
 * @value:  What was learned of the register. It is zero for one that has no
 *          entry, if there is an entry for PCI_COMMAND; if there is none,
 *          nothing is known of what can be written.
 *
 * What the value is depends on the register:
 *
 * - PCI_VENDOR_ID, PCI_CLASS_REVISION: what the register reads as. A device where
 *   it reads as something else is another one.
 * - PCI_COMMAND: PCI_COMMAND_INTX_DISABLE is set if this bit can be written.
 *   PCI_COMMAND_MASTER is set if the device goes on doing DMA, with mappings that
 *   are handed over, too.
 * - PCI_BASE_ADDRESS_0 to PCI_BASE_ADDRESS_5, PCI_ROM_ADDRESS or
 *   PCI_ROM_ADDRESS1, PCI_SRIOV_BAR and the five after it, PCI_PREF_BASE_UPPER32:
 *   what the register reads as after all ones were written.
 * - PCI_SRIOV_NUM_VF: the highest bus number that virtual functions can have.
 */
struct pci_probe_ser {
	u32 domain;
	u16 bdf;
	u16 offset;
	u32 value;
} __packed;

static_assert(sizeof(struct pci_probe_ser) == 12);
static_assert(offsetof(struct pci_probe_ser, domain) == 0);
static_assert(offsetof(struct pci_probe_ser, bdf) == 4);
static_assert(offsetof(struct pci_probe_ser, offset) == 6);
static_assert(offsetof(struct pci_probe_ser, value) == 8);

/**
 * struct pci_ser - All PCI devices that are preserved.
 * @version:    ``PCI_LUO_FLB_VERSION`` of the kernel that wrote it. This field
 *              must never be moved, resized or deleted.
 * @nr_devices: The number of entries that are not free.
 * @devices:    Physical address of the first KHO block of entries, or zero.
 */
struct pci_ser {
	u32 version;
	u32 nr_devices;
	u64 devices;
} __packed;

static_assert(sizeof(struct pci_ser) == 16);
static_assert(offsetof(struct pci_ser, version) == 0);
static_assert(offsetof(struct pci_ser, nr_devices) == 4);
static_assert(offsetof(struct pci_ser, devices) == 8);

#endif /* !__ASSEMBLER__ */

#endif /* _LINUX_KHO_ABI_PCI_H */
