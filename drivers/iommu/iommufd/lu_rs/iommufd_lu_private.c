// SPDX-License-Identifier: GPL-2.0

/* What the Rust code needs of structures that are private to iommufd. */

#include <linux/export.h>
#include <linux/iommufd_liveupdate.h>
#include <linux/pagemap.h>

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
