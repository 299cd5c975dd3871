/* SPDX-License-Identifier: GPL-2.0 */
/* What the headers of the hand-over need of the kernel's, for a compiler on the host. */

#ifndef _LINUX_STDDEF_H
#define _LINUX_STDDEF_H

#define offsetof(type, member)	__builtin_offsetof(type, member)

#endif /* _LINUX_STDDEF_H */
