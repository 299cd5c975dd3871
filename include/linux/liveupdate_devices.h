/* SPDX-License-Identifier: GPL-2.0 */

#ifndef _LINUX_LIVEUPDATE_DEVICES_H
#define _LINUX_LIVEUPDATE_DEVICES_H

#include <linux/types.h>

/*
 * What has become of the devices that the previous kernel handed over.
 *
 * The functions are documented where they are implemented:
 * kernel/liveupdate/luo_rs/exports.rs.
 */
#ifdef CONFIG_LIVEUPDATE_RUST
bool liveupdate_devices_ended(void);
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
