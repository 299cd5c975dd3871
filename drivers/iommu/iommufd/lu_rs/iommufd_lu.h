/* SPDX-License-Identifier: GPL-2.0 */

#ifndef IOMMUFD_LU_H
#define IOMMUFD_LU_H

#include <linux/errno.h>
#include <linux/generic_pt/iommu.h>
#include <linux/types.h>

struct file;
struct iommu_domain;
struct iommufd_ctx;
struct iommufd_device;
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

/**
 * iommufd_hwpt_liveupdate_get_id - IOMMU_HWPT_LIVEUPDATE_GET_ID
 * @ucmd: What user space passed to the ioctl.
 *
 * Finds a marked HWPT by its token.
 *
 * Context: An ioctl. May sleep.
 * Return: 0, or an error of struct iommu_hwpt_liveupdate_get_id, or -EFAULT.
 */
int iommufd_hwpt_liveupdate_get_id(struct iommufd_ucmd *ucmd);

/**
 * iommufd_liveupdate_bind - Give a device the ID that it had in the previous kernel
 * @idev: A device that is being bound, and that nobody else knows yet. It has another
 *        ID, with which nothing was done.
 *
 * Nothing happens unless the iommufd was retrieved, and had the device bound.
 *
 * Context: May sleep. Takes the liveupdate_lock of the iommufd.
 */
void iommufd_liveupdate_bind(struct iommufd_device *idev);

/**
 * iommufd_liveupdate_release - Let go of what an iommufd keeps since it was retrieved
 * @ictx: An iommufd that is being closed.
 *
 * To be called before its objects are destroyed.
 *
 * Context: May sleep.
 */
void iommufd_liveupdate_release(struct iommufd_ctx *ictx);

/**
 * iommufd_liveupdate_prepare - Prove what page tables map before an ioctl changes it
 * @ictx: The iommufd.
 * @cmd:  The ioctl.
 *
 * Page tables that were handed over map what the areas of their IOASes say, or so
 * the previous kernel said. Before areas or page tables are changed, each page table is
 * compared with the pages of the areas, which are pinned as if it had been filled from
 * them. One that maps anything else is not used any more, nor are devices that do DMA
 * by it: they are stopped, and the log says so.
 *
 * Nothing happens if @cmd changes none of that, or if the iommufd was not retrieved.
 *
 * Context: May sleep, for longer the more is mapped. Can be killed. Takes the
 *          liveupdate_lock of the iommufd, and the locks of its IOASes.
 * Return:
 * * %0 - What is mapped is known.
 * * %-EBUSY - The iommufd is preserved, and @cmd is IOMMU_IOAS_ALLOW_IOVAS.
 * * %-EINTR - The process is about to be killed.
 * * %-ENOMEM - Memory is short, or more pages would be pinned than the owner may.
 *
 * If it fails, nothing has changed for the page table, and it can be tried again.
 */
int iommufd_liveupdate_prepare(struct iommufd_ctx *ictx, unsigned int cmd);

/**
 * iommufd_liveupdate_attach - Prove what page tables map before one is attached
 * @idev:  The device that is to be attached, or to be attached to something else.
 * @pasid: The PASID of it that is, or IOMMU_NO_PASID.
 * @pt_id: The ID of what it is to be attached to.
 *
 * Nothing happens if that is what the device does DMA with since the previous kernel, without
 * a PASID.
 * Otherwise as iommufd_liveupdate_prepare().
 *
 * Context: As iommufd_liveupdate_prepare().
 * Return: As iommufd_liveupdate_prepare().
 */
int iommufd_liveupdate_attach(struct iommufd_device *idev, ioasid_t pasid, u32 pt_id);

/**
 * iommufd_liveupdate_compare - Ask whether a domain maps a range to a piece of memory
 * @domain: A domain that was handed over, and that nobody changes meanwhile.
 * @iova:   The first address of the range.
 * @paddr:  Where it has to be mapped to.
 * @length: How many bytes.
 *
 * Context: May sleep.
 * Return:
 * * %0 - It does.
 * * %-ESTALE - It maps something else there, or nothing.
 * * %-EINTR - The process is about to be killed.
 * * %-ERESTARTNOINTR - A kexec has to go first.
 */
int iommufd_liveupdate_compare(struct iommu_domain *domain, unsigned long iova,
			       phys_addr_t paddr, size_t length);

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

static inline int iommufd_liveupdate_no_ioctl(struct iommufd_ucmd *ucmd) { return -EOPNOTSUPP; }
#define iommufd_hwpt_liveupdate_mark_preserve iommufd_liveupdate_no_ioctl
#define iommufd_hwpt_liveupdate_unmark_preserve iommufd_liveupdate_no_ioctl
#define iommufd_hwpt_liveupdate_get_id iommufd_liveupdate_no_ioctl
static inline void iommufd_liveupdate_bind(struct iommufd_device *idev) { }
static inline void iommufd_liveupdate_release(struct iommufd_ctx *ictx) { }
static inline int
iommufd_liveupdate_prepare(struct iommufd_ctx *ictx, unsigned int cmd) { return 0; }
static inline int
iommufd_liveupdate_attach(struct iommufd_device *idev, ioasid_t pasid, u32 pt_id) { return 0; }
static inline int
iommufd_liveupdate_compare(struct iommu_domain *domain, unsigned long iova,
			   phys_addr_t paddr, size_t length) { return -EOPNOTSUPP; }

#endif

#endif /* IOMMUFD_LU_H */
