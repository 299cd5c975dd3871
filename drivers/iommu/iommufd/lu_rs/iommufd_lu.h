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

/**
 * iommufd_liveupdate_exit - End what iommufd_liveupdate_init() began
 *
 * To be called before iommufd goes away.
 *
 * Context: May sleep.
 */
void iommufd_liveupdate_exit(void);

/**
 * iommufd_hwpt_liveupdate_mark_preserve - IOMMU_HWPT_LIVEUPDATE_MARK_PRESERVE
 * @ucmd: What user space passed to the ioctl.
 *
 * Marks an HWPT, so that it is preserved with its iommufd.
 *
 * Context: An ioctl. May sleep. Takes the liveupdate_lock of the iommufd.
 * Return: 0, or an error of struct iommu_hwpt_liveupdate_mark_preserve. Then the
 *         HWPT has the mark that it had, if any.
 */
int iommufd_hwpt_liveupdate_mark_preserve(struct iommufd_ucmd *ucmd);

/**
 * iommufd_hwpt_liveupdate_unmark_preserve - IOMMU_HWPT_LIVEUPDATE_UNMARK_PRESERVE
 * @ucmd: What user space passed to the ioctl.
 *
 * Takes the mark from an HWPT.
 *
 * Context: An ioctl. May sleep. Takes the liveupdate_lock of the iommufd.
 * Return: 0, or an error of struct iommu_hwpt_liveupdate_unmark_preserve. Then the
 *         HWPT has the mark that it had, if any.
 */
int iommufd_hwpt_liveupdate_unmark_preserve(struct iommufd_ucmd *ucmd);

/* What the Rust code needs of iommufd: main.c and iommufd_lu_private.c. */

/**
 * iommufd_liveupdate_open - Open an iommufd
 *
 * Context: May sleep.
 * Return: A file as if somebody had opened /dev/iommu, or an error pointer: -ENOMEM
 *         if memory is short, -ENFILE if too many files are open.
 */
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

/**
 * iommufd_liveupdate_read_file - Read where pages of a file are in memory
 * @file:     The file, which is in shmem and loses no pages meanwhile.
 * @index:    The first page, counted from the beginning of the file.
 * @nr_pages: How many pages to read, at least one.
 * @extents:  Filled with where they are, in their order.
 * @nr:       How many of these there are.
 *
 * Context: Any.
 * Return: The number of @extents that are filled, which describe the pages until
 *         the last one, or the first one that the file does not have in memory,
 *         or until there is no room left.
 */
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
