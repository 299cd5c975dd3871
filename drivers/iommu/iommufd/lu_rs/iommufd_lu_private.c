// SPDX-License-Identifier: GPL-2.0

/* What the Rust code needs of structures that are private to iommufd. */

#include <linux/export.h>
#include <linux/iommufd_liveupdate.h>
#include <linux/pagemap.h>
#include <linux/shmem_fs.h>

#include "../io_pagetable.h"
#include "../iommufd_private.h"
#include "iommufd_lu.h"

#define CREATE_TRACE_POINTS
#define CREATE_RUST_TRACE_POINTS
#include <trace/events/iommufd_liveupdate.h>

/* The automatic HWPT of an IOAS that has one, with a reference as of an ioctl */
static struct iommufd_hwpt_paging *
iommufd_liveupdate_lock_auto_hwpt(struct iommufd_ctx *ictx,
				  struct iommufd_ioas *ioas)
{
	struct iommufd_hwpt_paging *found = NULL, *hwpt;

	guard(mutex)(&ioas->mutex);
	list_for_each_entry(hwpt, &ioas->hwpt_list, hwpt_item) {
		if (!hwpt->auto_domain)
			continue;
		if (found)
			return ERR_PTR(-ENOTUNIQ);
		found = hwpt;
	}

	/* One that is on its way out is gone as far as user space is concerned */
	guard(spinlock)(&ictx->objects.xa_lock);
	if (!found || !iommufd_lock_obj(&found->common.obj))
		return ERR_PTR(-ENOENT);
	return found;
}

/**
 * iommufd_liveupdate_lock_hwpt - Find the HWPT that user space names.
 * @ictx: The iommufd.
 * @id:   The ID of the HWPT, or of an IOAS with one automatic HWPT.
 *
 * Context: An ioctl. May sleep. iommufd_liveupdate_unlock_hwpt() is to be called
 *          before it ends.
 * Return: The HWPT; -EINVAL if it is nested, -ENOTUNIQ if the IOAS has several
 *         automatic ones, -ENOENT if there is none.
 */
struct iommufd_hwpt_paging *iommufd_liveupdate_lock_hwpt(struct iommufd_ctx *ictx,
							 u32 id)
{
	struct iommufd_hwpt_paging *hwpt;
	struct iommufd_object *obj;
	struct iommufd_ioas *ioas;

	obj = iommufd_get_object(ictx, id, IOMMUFD_OBJ_ANY);
	if (IS_ERR(obj))
		return ERR_CAST(obj);

	switch (obj->type) {
	case IOMMUFD_OBJ_HWPT_PAGING:
		return container_of(obj, struct iommufd_hwpt_paging, common.obj);
	case IOMMUFD_OBJ_IOAS:
		ioas = container_of(obj, struct iommufd_ioas, obj);
		hwpt = iommufd_liveupdate_lock_auto_hwpt(ictx, ioas);
		break;
	case IOMMUFD_OBJ_HWPT_NESTED:
		hwpt = ERR_PTR(-EINVAL);
		break;
	default:
		hwpt = ERR_PTR(-ENOENT);
		break;
	}
	iommufd_put_object(ictx, obj);
	return hwpt;
}

/**
 * iommufd_liveupdate_unlock_hwpt - Undo iommufd_liveupdate_lock_hwpt().
 * @ictx: The iommufd.
 * @hwpt: The HWPT.
 *
 * Context: Any.
 */
void iommufd_liveupdate_unlock_hwpt(struct iommufd_ctx *ictx,
				    struct iommufd_hwpt_paging *hwpt)
{
	iommufd_put_object(ictx, &hwpt->common.obj);
}

/**
 * iommufd_liveupdate_next_hwpt - Get the next HWPT that is marked.
 * @ictx: The iommufd, whose liveupdate_lock is held.
 * @id:   Where to begin; set to the ID after that of the HWPT.
 *
 * Return: The HWPT, which is not destroyed before iommufd_liveupdate_put_hwpt(),
 *         or NULL.
 */
struct iommufd_hwpt_paging *iommufd_liveupdate_next_hwpt(struct iommufd_ctx *ictx,
							 u32 *id)
{
	struct iommufd_object *obj;
	unsigned long index;

	lockdep_assert_held(&ictx->liveupdate_lock);
	guard(spinlock)(&ictx->objects.xa_lock);
	xa_for_each_start(&ictx->objects, index, obj, *id) {
		struct iommufd_hwpt_paging *hwpt =
			container_of(obj, struct iommufd_hwpt_paging, common.obj);

		if (obj->type != IOMMUFD_OBJ_HWPT_PAGING || !hwpt->liveupdate_marked)
			continue;

		/* What is found in here is not being destroyed */
		refcount_inc(&obj->users);
		*id = index + 1;
		return hwpt;
	}
	return NULL;
}

/**
 * iommufd_liveupdate_put_hwpt - Undo iommufd_liveupdate_next_hwpt().
 * @hwpt: The HWPT.
 *
 * Context: Any.
 */
void iommufd_liveupdate_put_hwpt(struct iommufd_hwpt_paging *hwpt)
{
	refcount_dec(&hwpt->common.obj.users);
}

/**
 * iommufd_liveupdate_hold_ioas - Keep the mappings of an IOAS as they are.
 * @ioas: The IOAS.
 *
 * May be called several times; iommufd_liveupdate_release_ioas() is to be
 * called as often.
 *
 * Context: May sleep.
 * Return: 0, or -EBUSY if a mapping is being changed now.
 */
int iommufd_liveupdate_hold_ioas(struct iommufd_ioas *ioas)
{
	struct io_pagetable *iopt = &ioas->iopt;
	struct iopt_area *area;

	/* Whoever changes mappings holds the first lock, or has not begun */
	guard(rwsem_write)(&iopt->domains_rwsem);
	guard(rwsem_write)(&iopt->iova_rwsem);
	for (area = iopt_area_iter_first(iopt, 0, ULONG_MAX); area;
	     area = iopt_area_iter_next(area, 0, ULONG_MAX)) {
		if (!area->pages)
			return -EBUSY;
	}
	iopt->liveupdate_holds++;
	return 0;
}

/**
 * iommufd_liveupdate_release_ioas - Undo iommufd_liveupdate_hold_ioas().
 * @ioas: The IOAS.
 *
 * Context: May sleep.
 */
void iommufd_liveupdate_release_ioas(struct iommufd_ioas *ioas)
{
	guard(rwsem_write)(&ioas->iopt.iova_rwsem);
	ioas->iopt.liveupdate_holds--;
}

/**
 * iommufd_liveupdate_next_area - Find the next range that is mapped.
 * @ioas: The IOAS, whose mappings are held.
 * @iova: Where to begin.
 * @next: Set to the range that has this address, or else the next one after it.
 *        Its file exists for as long as the mappings are held.
 *
 * Context: May sleep.
 * Return: Whether there is one.
 */
bool iommufd_liveupdate_next_area(struct iommufd_ioas *ioas, u64 iova,
				  struct iommufd_liveupdate_area *next)
{
	struct iopt_area *area;
	struct iopt_pages *pages;

	guard(rwsem_read)(&ioas->iopt.iova_rwsem);
	area = iopt_area_iter_first(&ioas->iopt, iova, ULONG_MAX);
	if (!area)
		return false;

	pages = area->pages;
	*next = (struct iommufd_liveupdate_area) {
		.iova = ALIGN_DOWN(iopt_area_iova(area), PAGE_SIZE),
		.nr_pages = iopt_area_last_index(area) - iopt_area_index(area) + 1,
	};
	switch (pages->type) {
	case IOPT_ADDRESS_FILE:
		next->source = IOMMUFD_LIVEUPDATE_FILE;
		next->counts_removals = shmem_file(pages->file);
		if (next->counts_removals)
			next->removals_now = shmem_removals(file_inode(pages->file));
		next->removals_when_mapped = pages->removals;
		next->index = pages->start / PAGE_SIZE + iopt_area_index(area);
		next->file = pages->file;
		break;
	case IOPT_ADDRESS_USER:
		next->source = IOMMUFD_LIVEUPDATE_USER;
		break;
	case IOPT_ADDRESS_DMABUF:
		next->source = IOMMUFD_LIVEUPDATE_DMABUF;
		break;
	}
	return true;
}

/* Adds what may follow the last one of the @filled extents; false if there is no room */
static bool iommufd_liveupdate_add_extent(struct pt_iommu_extent *extents,
					  unsigned int *filled, unsigned int nr,
					  phys_addr_t paddr, u64 len)
{
	struct pt_iommu_extent *next = extents + *filled;

	if (*filled && next[-1].paddr + next[-1].len == paddr) {
		next[-1].len += len;
		return true;
	}
	if (*filled == nr)
		return false;
	*next = (struct pt_iommu_extent){ .paddr = paddr, .len = len };
	++*filled;
	return true;
}

/**
 * iommufd_liveupdate_read_table - Read where an HWPT maps a range to.
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
				  unsigned int nr)
{
	struct iommu_domain *domain = hwpt->common.domain;
	struct pt_iommu *table = iommupt_from_domain(domain);
	unsigned int filled = 0;
	phys_addr_t paddr;

	if (table)
		return table->ops->read_range(table, iova, len, extents, nr);

	for (; len; len -= PAGE_SIZE, iova += PAGE_SIZE) {
		paddr = iommu_iova_to_phys(domain, iova);
		if (!paddr || !iommufd_liveupdate_add_extent(extents, &filled, nr,
							     paddr, PAGE_SIZE))
			break;
	}
	return filled;
}

/**
 * iommufd_liveupdate_read_file - Read where pages of a file are in memory.
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
					  unsigned int nr)
{
	XA_STATE(xas, &file->f_mapping->i_pages, index);
	u64 end = index + nr_pages;
	unsigned int filled = 0;
	struct folio *folio;
	u64 skip, count;

	guard(rcu)();
	xas_for_each(&xas, folio, end - 1) {
		if (xas_retry(&xas, folio))
			continue;
		if (xa_is_value(folio) || folio->index > index)
			break;

		skip = index - folio->index;
		count = min(folio_nr_pages(folio) - skip, end - index);
		if (!iommufd_liveupdate_add_extent(extents, &filled, nr,
						   PFN_PHYS(folio_pfn(folio) + skip),
						   count * PAGE_SIZE))
			break;
		index += count;
	}
	return filled;
}

/**
 * iommufd_liveupdate_token_in_use - Ask whether another HWPT has a token.
 * @ictx:  The iommufd, whose liveupdate_lock is held.
 * @token: The token.
 * @hwpt:  The HWPT that may have it.
 *
 * Context: May sleep.
 * Return: Whether one that is marked has it, and is not @hwpt.
 */
bool iommufd_liveupdate_token_in_use(struct iommufd_ctx *ictx, u64 token,
				     struct iommufd_hwpt_paging *hwpt)
{
	struct iommufd_hwpt_paging *other;
	struct iommufd_object *obj;
	unsigned long index;

	lockdep_assert_held(&ictx->liveupdate_lock);
	guard(spinlock)(&ictx->objects.xa_lock);
	xa_for_each(&ictx->objects, index, obj) {
		if (obj->type != IOMMUFD_OBJ_HWPT_PAGING)
			continue;
		other = container_of(obj, struct iommufd_hwpt_paging, common.obj);
		if (other != hwpt && other->liveupdate_marked &&
		    other->liveupdate_token == token)
			return true;
	}
	return false;
}

/* Rust has no EXPORT_SYMBOL_NS_GPL(); this is for drivers in modules. */
EXPORT_SYMBOL_NS_GPL(iommufd_device_liveupdate_preserve, "IOMMUFD");
EXPORT_SYMBOL_NS_GPL(iommufd_device_liveupdate_unpreserve, "IOMMUFD");
