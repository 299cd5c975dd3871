/* SPDX-License-Identifier: GPL-2.0 */

#ifndef IOMMUFD_LU_H
#define IOMMUFD_LU_H

#include <linux/errno.h>
#include <linux/generic_pt/iommu.h>
#include <linux/types.h>

struct file;
struct iommufd_ctx;
struct iommufd_hwpt_paging;
struct iommufd_ucmd;

/*
 * Live update of iommufds. An HWPT that user space marked is preserved with its
 * iommufd, and what it maps is held meanwhile: nobody can change the mappings of
 * its IOAS.
 */
#ifdef CONFIG_IOMMUFD_LIVEUPDATE

/**
 * iommufd_liveupdate_init - Let iommufds be preserved and retrieved
 *
 * To be called when iommufds can be opened. If it fails, iommufds can be used as if
 * there were no live update. The log says why, unless the reason is that the Live
 * Update Orchestrator does not run.
 *
 * Context: May sleep.
 */
void iommufd_liveupdate_init(void);
void iommufd_liveupdate_exit(void);
int iommufd_hwpt_liveupdate_mark_preserve(struct iommufd_ucmd *ucmd);
int iommufd_hwpt_liveupdate_unmark_preserve(struct iommufd_ucmd *ucmd);

/* What the Rust code needs of iommufd: main.c and iommufd_lu_private.c. */

struct file *iommufd_liveupdate_open(void);

/**
 * iommufd_liveupdate_lock_hwpt - Find the HWPT that user space names
 * @ictx: The iommufd.
 * @id:   The ID of the HWPT, or of an IOAS with one automatic HWPT.
 *
 * Context: An ioctl. May sleep. iommufd_liveupdate_unlock_hwpt() is to be called
 *          before it ends.
 * Return: The HWPT; -EINVAL if it is nested, -ENOTUNIQ if the IOAS has several
 *         automatic ones, -ENOENT if there is none.
 */
struct iommufd_hwpt_paging *iommufd_liveupdate_lock_hwpt(struct iommufd_ctx *ictx,
							 u32 id);

/**
 * iommufd_liveupdate_unlock_hwpt - Let go of an HWPT that user space named
 * @ictx: The iommufd.
 * @hwpt: The HWPT that iommufd_liveupdate_lock_hwpt() returned.
 *
 * Context: Any.
 */
void iommufd_liveupdate_unlock_hwpt(struct iommufd_ctx *ictx,
				    struct iommufd_hwpt_paging *hwpt);
unsigned int iommufd_liveupdate_read_file(struct file *file, u64 index,
					  u64 nr_pages,
					  struct pt_iommu_extent *extents,
					  unsigned int nr);

#else

static inline void iommufd_liveupdate_init(void) { }
static inline void iommufd_liveupdate_exit(void) { }

static inline int
iommufd_hwpt_liveupdate_mark_preserve(struct iommufd_ucmd *ucmd) { return -EOPNOTSUPP; }
static inline int
iommufd_hwpt_liveupdate_unmark_preserve(struct iommufd_ucmd *ucmd) { return -EOPNOTSUPP; }

#endif

#endif /* IOMMUFD_LU_H */
