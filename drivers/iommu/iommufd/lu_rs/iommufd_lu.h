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

/**
 * iommufd_liveupdate_unmark_hwpt - Take the mark from an HWPT that is destroyed
 * @hwpt: The HWPT, which nobody else refers to any more, marked or not.
 *
 * Context: Any. Takes no lock that is held for long: others may wait for whoever
 *          destroys the HWPT.
 */
void iommufd_liveupdate_unmark_hwpt(struct iommufd_hwpt_paging *hwpt);

/* What the Rust code needs of structures that are private to iommufd */

/**
 * enum iommufd_liveupdate_source - Where the pages of a mapped range are from
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
 * struct iommufd_liveupdate_area - A range of IOVAs that is mapped
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
 * iommufd_liveupdate_token_in_use - Ask whether another HWPT has a token
 * @ictx:  The iommufd, whose liveupdate_lock is held.
 * @token: The token.
 * @hwpt:  The HWPT that may have it.
 *
 * Context: Any that may hold the lock.
 * Return: Whether one that is marked has it, and is not @hwpt.
 */
bool iommufd_liveupdate_token_in_use(struct iommufd_ctx *ictx, u64 token,
				     struct iommufd_hwpt_paging *hwpt);

/**
 * iommufd_liveupdate_set_token - Mark an HWPT, mark it anew, or take its mark away
 * @ictx:  The iommufd, whose liveupdate_lock is held.
 * @hwpt:  The HWPT, to which the caller has a reference.
 * @token: The token that it is to be marked with, which no other HWPT has, or
 *         NULL if it is not to be marked.
 *
 * Context: Any that may hold the lock.
 */
void iommufd_liveupdate_set_token(struct iommufd_ctx *ictx,
				  struct iommufd_hwpt_paging *hwpt, const u64 *token);

/**
 * iommufd_liveupdate_next_hwpt - Get the next HWPT that is marked
 * @ictx:  The iommufd, whose liveupdate_lock is held.
 * @after: The token of the HWPT that this returned before, or NULL to begin.
 *
 * Context: Any that may hold the lock.
 * Return: The HWPT with the next token, which is not destroyed before
 *         iommufd_liveupdate_put_hwpt(), or NULL.
 */
struct iommufd_hwpt_paging *
iommufd_liveupdate_next_hwpt(struct iommufd_ctx *ictx, const u64 *after);

/**
 * iommufd_liveupdate_put_hwpt - Let go of a marked HWPT
 * @hwpt: The HWPT that iommufd_liveupdate_next_hwpt() returned.
 *
 * Context: Any.
 */
void iommufd_liveupdate_put_hwpt(struct iommufd_hwpt_paging *hwpt);

/**
 * iommufd_liveupdate_hold_ioas - Keep the mappings of an IOAS as they are
 * @ioas: The IOAS, whose mappings are held from here on.
 *
 * May be called several times; iommufd_liveupdate_release_ioas() is to be
 * called as often.
 *
 * Context: The liveupdate_lock of the iommufd is held. Does not wait for others:
 *          whoever pins pages to map them may wait for user space to deliver them.
 * Return: 0, or -EBUSY if a mapping is being changed now. Then no hold is added.
 */
int iommufd_liveupdate_hold_ioas(struct iommufd_ioas *ioas);

/**
 * iommufd_liveupdate_release_ioas - Let mappings of an IOAS be changed again
 * @ioas: The IOAS, for which iommufd_liveupdate_hold_ioas() succeeded.
 *
 * They can be changed once this was called as often as that succeeded.
 *
 * Context: The liveupdate_lock of the iommufd is held.
 */
void iommufd_liveupdate_release_ioas(struct iommufd_ioas *ioas);

/**
 * iommufd_liveupdate_next_area - Find the next range that is mapped
 * @ioas: The IOAS, whose mappings are held.
 * @iova: Where to begin.
 * @next: Set to the range that has this address, or else the next one after it.
 *        Its file exists for as long as the mappings are held.
 *
 * Context: Any that may take rwsems. Does not wait for others: whoever has another
 *          HWPT made may wait for user space.
 * Return: 1 if there is one, 0 if not, -EBUSY if somebody is making an HWPT.
 */
int iommufd_liveupdate_next_area(struct iommufd_ioas *ioas, u64 iova,
				 struct iommufd_liveupdate_area *next);

/**
 * iommufd_liveupdate_read_table - Read where an HWPT maps a range to
 * @hwpt:    The HWPT, whose mappings are held.
 * @iova:    Where the range begins.
 * @len:     How many bytes it has, whole pages.
 * @extents: Filled with what the range is mapped to, in its order.
 * @nr:      How many of these there are.
 *
 * Context: May sleep.
 * Return: The number of @extents that are filled, which describe the range until
 *         its end, or the first page that is not mapped, or until there is no
 *         room left. A negative errno if the page table has no such range.
 */
int iommufd_liveupdate_read_table(struct iommufd_hwpt_paging *hwpt, u64 iova,
				  u64 len, struct pt_iommu_extent *extents,
				  unsigned int nr);

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
