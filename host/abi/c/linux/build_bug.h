/* SPDX-License-Identifier: GPL-2.0 */
/* What the headers of the hand-over need of the kernel's, for a compiler on the host. */

#ifndef _LINUX_BUILD_BUG_H
#define _LINUX_BUILD_BUG_H

#define static_assert(claim)	_Static_assert(claim, #claim)

#endif /* _LINUX_BUILD_BUG_H */
