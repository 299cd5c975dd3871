/* SPDX-License-Identifier: GPL-2.0 */

#ifndef _LINUX_LIVEUPDATE_IMAGE_H
#define _LINUX_LIVEUPDATE_IMAGE_H

#include <linux/types.h>

struct kimage;

/*
 * What the kernel that is loaded for a kexec declares to take over.
 */
#ifdef CONFIG_LIVEUPDATE_RUST

/* For the loader of kernel images */

/**
 * liveupdate_read_image - Note what an image declares to take over
 * @image: The image, which is being loaded and has its file in kernel_buf.
 *
 * To be called by the loader of a format that has declarations, once it knows that
 * the image has that format. An image without a valid declaration declares nothing,
 * and so does one that is loaded without a hand-over, as for a crash.
 *
 * Context: Does not sleep.
 */
void liveupdate_read_image(struct kimage *image);

/* For those who leave devices running */

/**
 * liveupdate_stops_devices - Ask whether devices have to be stopped for the kexec
 *
 * To be called when devices are shut down. The first time that the answer is yes, a
 * line in the log says which declarations the image that is booted lacks.
 *
 * Context: Any.
 * Return: true if a kexec is certain to happen, and the kernel that is booted does
 *         not take over devices that do DMA. false until it is certain: another
 *         image may be loaded.
 */
bool liveupdate_stops_devices(void);

/* For the above: the declaration of this kernel, and its end */
extern const u8 liveupdate_own_declaration[];
extern const u8 liveupdate_own_declaration_end[];

#else

static inline void liveupdate_read_image(struct kimage *image)
{
}

#endif

#endif /* _LINUX_LIVEUPDATE_IMAGE_H */
