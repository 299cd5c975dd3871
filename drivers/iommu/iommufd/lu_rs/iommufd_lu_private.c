// SPDX-License-Identifier: GPL-2.0

/* What the Rust code needs of structures that are private to iommufd. */

#include <linux/export.h>
#include <linux/iommufd_liveupdate.h>
#include <linux/pagemap.h>
#include <linux/rbtree.h>
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

void iommufd_liveupdate_unlock_hwpt(struct iommufd_ctx *ictx,
				    struct iommufd_hwpt_paging *hwpt)
{
	iommufd_put_object(ictx, &hwpt->common.obj);
}

static int iommufd_liveupdate_token_cmp(const void *key, const struct rb_node *node)
{
	const u64 *token = key;
	u64 other = rb_entry(node, struct iommufd_hwpt_paging,
			     liveupdate_node)->liveupdate_token;

	return *token < other ? -1 : *token > other;
}

static bool iommufd_liveupdate_token_less(struct rb_node *a, const struct rb_node *b)
{
	return iommufd_liveupdate_token_cmp(&rb_entry(a, struct iommufd_hwpt_paging,
						      liveupdate_node)->liveupdate_token,
					    b) < 0;
}

bool iommufd_liveupdate_token_in_use(struct iommufd_ctx *ictx, u64 token,
				     struct iommufd_hwpt_paging *hwpt)
{
	struct rb_node *node;

	lockdep_assert_held(&ictx->liveupdate_lock);
	guard(spinlock)(&ictx->objects.xa_lock);
	node = rb_find(&token, &ictx->liveupdate_marked, iommufd_liveupdate_token_cmp);
	return node && node != &hwpt->liveupdate_node;
}

static void iommufd_liveupdate_erase(struct iommufd_ctx *ictx,
				     struct iommufd_hwpt_paging *hwpt)
{
	if (hwpt->liveupdate_ictx)
		rb_erase(&hwpt->liveupdate_node, &ictx->liveupdate_marked);
	hwpt->liveupdate_ictx = NULL;
}

void iommufd_liveupdate_set_token(struct iommufd_ctx *ictx,
				  struct iommufd_hwpt_paging *hwpt, const u64 *token)
{
	lockdep_assert_held(&ictx->liveupdate_lock);
	guard(spinlock)(&ictx->objects.xa_lock);
	iommufd_liveupdate_erase(ictx, hwpt);
	if (!token)
		return;

	hwpt->liveupdate_ictx = ictx;
	hwpt->liveupdate_token = *token;
	rb_add(&hwpt->liveupdate_node, &ictx->liveupdate_marked,
	       iommufd_liveupdate_token_less);
}

void iommufd_liveupdate_unmark_hwpt(struct iommufd_hwpt_paging *hwpt)
{
	struct iommufd_ctx *ictx = hwpt->liveupdate_ictx;

	if (!ictx)
		return;

	guard(spinlock)(&ictx->objects.xa_lock);
	iommufd_liveupdate_erase(ictx, hwpt);
}

struct iommufd_hwpt_paging *
iommufd_liveupdate_next_hwpt(struct iommufd_ctx *ictx, const u64 *after)
{
	struct rb_node *node, *next = NULL;
	struct iommufd_hwpt_paging *hwpt;

	lockdep_assert_held(&ictx->liveupdate_lock);
	guard(spinlock)(&ictx->objects.xa_lock);
	for (node = ictx->liveupdate_marked.rb_node; node;) {
		if (after && iommufd_liveupdate_token_cmp(after, node) >= 0) {
			node = node->rb_right;
		} else {
			next = node;
			node = node->rb_left;
		}
	}
	for (; next; next = rb_next(next)) {
		hwpt = rb_entry(next, struct iommufd_hwpt_paging, liveupdate_node);

		/* One that is being destroyed is about to leave */
		if (refcount_inc_not_zero(&hwpt->common.obj.users))
			return hwpt;
	}
	return NULL;
}

void iommufd_liveupdate_put_hwpt(struct iommufd_hwpt_paging *hwpt)
{
	refcount_dec(&hwpt->common.obj.users);
}

int iommufd_liveupdate_hold_ioas(struct iommufd_ioas *ioas)
{
	struct io_pagetable *iopt = &ioas->iopt;
	struct iopt_area *area;

	/* Whoever changes mappings holds the first lock, or has not begun */
	ACQUIRE(rwsem_write_try, domains)(&iopt->domains_rwsem);
	if (ACQUIRE_ERR(rwsem_write_try, &domains))
		return -EBUSY;
	ACQUIRE(rwsem_write_try, iova)(&iopt->iova_rwsem);
	if (ACQUIRE_ERR(rwsem_write_try, &iova))
		return -EBUSY;

	/* Nothing has changed since somebody else held them */
	area = iopt->liveupdate_holds ? NULL : iopt_area_iter_first(iopt, 0, ULONG_MAX);
	for (; area; area = iopt_area_iter_next(area, 0, ULONG_MAX)) {
		if (!area->pages)
			return -EBUSY;
	}
	WRITE_ONCE(iopt->liveupdate_holds, iopt->liveupdate_holds + 1);
	return 0;
}

void iommufd_liveupdate_release_ioas(struct iommufd_ioas *ioas)
{
	WRITE_ONCE(ioas->iopt.liveupdate_holds, ioas->iopt.liveupdate_holds - 1);
}

int iommufd_liveupdate_next_area(struct iommufd_ioas *ioas, u64 iova,
				 struct iommufd_liveupdate_area *next)
{
	struct iopt_area *area;
	struct iopt_pages *pages;

	ACQUIRE(rwsem_read_try, lock)(&ioas->iopt.iova_rwsem);
	if (ACQUIRE_ERR(rwsem_read_try, &lock))
		return -EBUSY;

	area = iopt_area_iter_first(&ioas->iopt, iova, ULONG_MAX);
	if (!area)
		return 0;

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
		next->nr_file_pages = DIV_ROUND_UP(i_size_read(file_inode(pages->file)),
						   PAGE_SIZE);
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
	return 1;
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

/* What the page after a folio of one page would be, or NULL if nobody can tell */
static struct folio *iommufd_liveupdate_after(struct folio *folio)
{
	if (!IS_ENABLED(CONFIG_SPARSEMEM_VMEMMAP) || folio_test_large(folio))
		return NULL;

	return (struct folio *)(folio_page(folio, 0) + 1);
}

unsigned int iommufd_liveupdate_read_file(struct file *file, u64 index,
					  u64 nr_pages,
					  struct pt_iommu_extent *extents,
					  unsigned int nr)
{
	XA_STATE(xas, &file->f_mapping->i_pages, index);
	u64 begin = index, end = index + nr_pages;
	struct folio *folio, *next = NULL;
	unsigned int filled = 0;
	u64 skip, count;

	guard(rcu)();
	xas_for_each(&xas, folio, end - 1) {
		if (xas_retry(&xas, folio))
			continue;

		/* A page after the last one in memory, too: most are */
		if (folio == next && xas.xa_index == index && !folio_test_large(folio)) {
			next = iommufd_liveupdate_after(folio);
			index++;
			continue;
		}
		if (xa_is_value(folio) || folio->index > index)
			break;
		if (filled)
			extents[filled - 1].len += (index - begin) * PAGE_SIZE;
		begin = index;

		skip = index - folio->index;
		count = min(folio_nr_pages(folio) - skip, end - index);
		if (!iommufd_liveupdate_add_extent(extents, &filled, nr,
						   PFN_PHYS(folio_pfn(folio) + skip),
						   count * PAGE_SIZE))
			break;
		index += count;
		begin = index;
		next = iommufd_liveupdate_after(folio);
	}
	if (filled)
		extents[filled - 1].len += (index - begin) * PAGE_SIZE;
	return filled;
}

/* Rust has no EXPORT_SYMBOL_NS_GPL(); this is for drivers in modules. */
EXPORT_SYMBOL_NS_GPL(iommufd_device_liveupdate_preserve, "IOMMUFD");
EXPORT_SYMBOL_NS_GPL(iommufd_device_liveupdate_unpreserve, "IOMMUFD");
