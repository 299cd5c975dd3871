/* SPDX-License-Identifier: GPL-2.0 */

#ifndef IOMMUFD_LU_H
#define IOMMUFD_LU_H

#include <linux/errno.h>
#include <linux/generic_pt/iommu.h>
#include <linux/types.h>

struct file;
struct iommufd_ctx;
struct iommufd_hwpt_paging;
struct iommufd_ioas;
struct iommufd_ucmd;

/*
 * Live update of iommufds.
 *
 * The functions are documented where they are implemented: exports.rs.
 */
#ifdef CONFIG_IOMMUFD_LIVEUPDATE

void iommufd_liveupdate_init(void);
void iommufd_liveupdate_exit(void);
int iommufd_hwpt_liveupdate_mark_preserve(struct iommufd_ucmd *ucmd);
int iommufd_hwpt_liveupdate_unmark_preserve(struct iommufd_ucmd *ucmd);
void iommufd_liveupdate_unmark_hwpt(struct iommufd_hwpt_paging *hwpt);

/* What the Rust code needs of iommufd: main.c and iommufd_lu_private.c. */

/**
 * enum iommufd_liveupdate_source - Where a mapped area has its pages from.
 * @IOMMUFD_LIVEUPDATE_FILE:   A file.
 * @IOMMUFD_LIVEUPDATE_USER:   Memory of a process.
 * @IOMMUFD_LIVEUPDATE_DMABUF: A dma-buf.
 */
enum iommufd_liveupdate_source {
	IOMMUFD_LIVEUPDATE_FILE,
	IOMMUFD_LIVEUPDATE_USER,
	IOMMUFD_LIVEUPDATE_DMABUF,
};

/**
 * struct iommufd_liveupdate_area - A range of IOVAs that is mapped.
 * @iova:     The address of its first page.
 * @nr_pages: How many pages it has.
 * @source:   Where they are from: enum iommufd_liveupdate_source.
 * @counts_removals: Whether the file counts how often pages were removed from it.
 * @index:    The first page, counted from the beginning of the file.
 * @file:     The file, or NULL if the pages are not of one.
 * @removals_when_mapped: The file's count before the first page was pinned.
 * @removals_now: The file's count now.
 * @nr_file_pages: How many pages the file has, up to its end.
 */
struct iommufd_liveupdate_area {
	u64 iova;
	u64 nr_pages;
	u32 source;
	bool counts_removals;
	u64 index;
	struct file *file;
	u64 removals_when_mapped;
	u64 removals_now;
	u64 nr_file_pages;
};

struct file *iommufd_liveupdate_open(void);
struct iommufd_hwpt_paging *iommufd_liveupdate_lock_hwpt(struct iommufd_ctx *ictx,
							 u32 id);
void iommufd_liveupdate_unlock_hwpt(struct iommufd_ctx *ictx,
				    struct iommufd_hwpt_paging *hwpt);
bool iommufd_liveupdate_token_in_use(struct iommufd_ctx *ictx, u64 token,
				     struct iommufd_hwpt_paging *hwpt);
void iommufd_liveupdate_set_token(struct iommufd_ctx *ictx,
				  struct iommufd_hwpt_paging *hwpt, const u64 *token);
struct iommufd_hwpt_paging *
iommufd_liveupdate_next_hwpt(struct iommufd_ctx *ictx, const u64 *after);
void iommufd_liveupdate_put_hwpt(struct iommufd_hwpt_paging *hwpt);
int iommufd_liveupdate_hold_ioas(struct iommufd_ioas *ioas);
void iommufd_liveupdate_release_ioas(struct iommufd_ioas *ioas);
int iommufd_liveupdate_next_area(struct iommufd_ioas *ioas, u64 iova,
				 struct iommufd_liveupdate_area *next);
int iommufd_liveupdate_read_table(struct iommufd_hwpt_paging *hwpt, u64 iova,
				  u64 len, struct pt_iommu_extent *extents,
				  unsigned int nr);
unsigned int iommufd_liveupdate_read_file(struct file *file, u64 index,
					  u64 nr_pages,
					  struct pt_iommu_extent *extents,
					  unsigned int nr);

#else

static inline void iommufd_liveupdate_init(void)
{
}

static inline void iommufd_liveupdate_exit(void)
{
}

static inline int iommufd_hwpt_liveupdate_mark_preserve(struct iommufd_ucmd *ucmd)
{
	return -EOPNOTSUPP;
}

static inline int iommufd_hwpt_liveupdate_unmark_preserve(struct iommufd_ucmd *ucmd)
{
	return -EOPNOTSUPP;
}

static inline void iommufd_liveupdate_unmark_hwpt(struct iommufd_hwpt_paging *hwpt)
{
}

#endif

#endif /* IOMMUFD_LU_H */
