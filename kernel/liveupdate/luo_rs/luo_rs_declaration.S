/* SPDX-License-Identifier: GPL-2.0 */

#include <linux/kho/abi/image.h>
#include <linux/linkage.h>

	.section ".rodata", "a"

/* What this kernel's own image declares */
SYM_DATA_START(liveupdate_own_declaration)
	liveupdate_image_declaration
SYM_DATA_END_LABEL(liveupdate_own_declaration, SYM_L_GLOBAL, liveupdate_own_declaration_end)
