/* SPDX-License-Identifier: GPL-2.0 */

#ifndef _LINUX_LIVEUPDATE_DEVICES_H
#define _LINUX_LIVEUPDATE_DEVICES_H

#include <linux/types.h>

/*
 * What has become of the devices that the previous kernel handed over.
 *
 * A kernel without CONFIG_LIVEUPDATE_RUST or CONFIG_PCI_LIVEUPDATE knows of no
 * devices: it cannot say that they ended, nor that one escapes.
 */
#ifdef CONFIG_LIVEUPDATE_RUST

/**
 * liveupdate_devices_ended - Ask whether handed over memory is safe from devices
 *
 * To be called before memory is given back that a file without a handler may have
 * had a device write to. The answer is yes once each device that this kernel found
 * is finished, or was stopped with liveupdate_stop in sysfs. The entries in IOMMUs
 * of devices that are not found are cleared by this function. If the answer is no,
 * the log names a device that is left.
 *
 * Context: May sleep.
 * Return: true if no device that was handed over reaches memory that was handed
 *         over.
 */
bool liveupdate_devices_ended(void);

/**
 * liveupdate_devices_escape - Ask whether a kexec would set a device free
 *
 * To be called while a kexec can be refused. A device that this kernel never found
 * cannot be stopped; the IOMMU of this kernel keeps it from memory, and that of the
 * next kernel would not know of it. If the answer is yes, the log says what to do.
 *
 * Context: May sleep.
 * Return: true if a device that was handed over could do DMA anywhere in the next
 *         kernel.
 */
bool liveupdate_devices_escape(void);

#else
static inline bool liveupdate_devices_ended(void)
{
	return false;
}

static inline bool liveupdate_devices_escape(void)
{
	return false;
}
#endif

#endif /* _LINUX_LIVEUPDATE_DEVICES_H */
