/* SPDX-License-Identifier: GPL-2.0 */
/* What the headers of the hand-over need of the kernel's, for a compiler on the host. */

#ifndef _LINUX_TYPES_H
#define _LINUX_TYPES_H

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

#define __packed	__attribute__((__packed__))

#endif /* _LINUX_TYPES_H */
