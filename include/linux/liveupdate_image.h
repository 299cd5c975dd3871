/* SPDX-License-Identifier: GPL-2.0 */

#ifndef _LINUX_LIVEUPDATE_IMAGE_H
#define _LINUX_LIVEUPDATE_IMAGE_H

#include <linux/types.h>

struct kimage;

/*
 * What the kernel that is loaded for a kexec declares to take over.
 *
 * The functions are documented where they are implemented:
 * kernel/liveupdate/luo_rs/exports.rs.
 */
#ifdef CONFIG_LIVEUPDATE_RUST

/* For the loader of kernel images */
void liveupdate_read_image(struct kimage *image);

/* For those who leave devices running */
bool liveupdate_stops_devices(void);

/* For the above: the declaration of this kernel */
extern const u8 liveupdate_own_declaration[];
extern const u8 liveupdate_own_declaration_end[];

#else

static inline void liveupdate_read_image(struct kimage *image)
{
}

#endif

#endif /* _LINUX_LIVEUPDATE_IMAGE_H */
