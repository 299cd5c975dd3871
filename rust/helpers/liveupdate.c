// SPDX-License-Identifier: GPL-2.0

#ifdef CONFIG_LIVEUPDATE_RUST

#include <linux/crash_dump.h>
#include <linux/device.h>
#include <linux/fs.h>
#include <linux/hash.h>
#include <linux/idr.h>
#include <linux/io.h>
#include <linux/kho_block.h>
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/pci.h>
#include <linux/pm_runtime.h>
#include <linux/ratelimit.h>
#include <linux/refcount.h>
#include <linux/shmem_fs.h>
#include <linux/srcu.h>

__rust_helper struct inode *rust_helper_file_inode(const struct file *f)
{
	return file_inode(f);
}

__rust_helper loff_t rust_helper_i_size_read(const struct inode *inode)
{
	return i_size_read(inode);
}

__rust_helper bool rust_helper_shmem_file(struct file *file)
{
	return shmem_file(file);
}

__rust_helper u64 rust_helper_shmem_removals(struct inode *inode)
{
	return shmem_removals(inode);
}

__rust_helper bool rust_helper_refcount_inc_not_zero(refcount_t *r)
{
	return refcount_inc_not_zero(r);
}

__rust_helper unsigned long rust_helper_file_count(struct file *f)
{
	return file_count(f);
}

#ifdef CONFIG_TINY_SRCU
__rust_helper void rust_helper_srcu_expedite_current(struct srcu_struct *ssp)
{
	srcu_expedite_current(ssp);
}
#endif

__rust_helper phys_addr_t rust_helper_virt_to_phys(const volatile void *address)
{
	return virt_to_phys((volatile void *)address);
}

__rust_helper void *rust_helper_phys_to_virt(phys_addr_t address)
{
	return phys_to_virt(address);
}

__rust_helper struct page *rust_helper_virt_to_page(const void *address)
{
	return virt_to_page(address);
}

__rust_helper struct folio *rust_helper_virt_to_folio(const void *address)
{
	return virt_to_folio(address);
}

__rust_helper struct pglist_data *
rust_helper_folio_pgdat(const struct folio *folio)
{
	return folio_pgdat(folio);
}

__rust_helper unsigned long rust_helper_folio_nr_pages(const struct folio *folio)
{
	return folio_nr_pages(folio);
}

__rust_helper void rust_helper_mod_node_page_state(struct pglist_data *pgdat,
						   enum node_stat_item item,
						   long delta)
{
	mod_node_page_state(pgdat, item, delta);
}

__rust_helper void rust_helper_lruvec_stat_mod_folio(struct folio *folio,
						     enum node_stat_item item,
						     int delta)
{
	lruvec_stat_mod_folio(folio, item, delta);
}

__rust_helper struct folio *rust_helper_folio_alloc(gfp_t gfp,
						    unsigned int order)
{
	return folio_alloc(gfp, order);
}

__rust_helper void rust_helper_folio_put(struct folio *folio)
{
	folio_put(folio);
}

__rust_helper void *rust_helper_folio_address(const struct folio *folio)
{
	return folio_address(folio);
}

__rust_helper size_t rust_helper_folio_size(const struct folio *folio)
{
	return folio_size(folio);
}

__rust_helper void *rust_helper_alloc_pages_exact(size_t size, gfp_t gfp)
{
	return alloc_pages_exact(size, gfp);
}

__rust_helper u64 rust_helper_kho_block_set_head_pa(struct kho_block_set *bs)
{
	return kho_block_set_head_pa(bs);
}

__rust_helper void rust_helper_device_lock(struct device *dev)
{
	device_lock(dev);
}

__rust_helper int rust_helper_device_trylock(struct device *dev)
{
	return device_trylock(dev);
}

__rust_helper void rust_helper_device_unlock(struct device *dev)
{
	device_unlock(dev);
}

__rust_helper void rust_helper_pm_runtime_get_noresume(struct device *dev)
{
	pm_runtime_get_noresume(dev);
}

__rust_helper void rust_helper_pm_runtime_put(struct device *dev)
{
	pm_runtime_put(dev);
}

__rust_helper bool rust_helper_ida_is_empty(const struct ida *ida)
{
	return ida_is_empty(ida);
}

__rust_helper struct folio *
rust_helper_filemap_get_folio(struct address_space *mapping, pgoff_t index)
{
	return filemap_get_folio(mapping, index);
}

__rust_helper pgoff_t rust_helper_folio_next_index(const struct folio *folio)
{
	return folio_next_index(folio);
}

__rust_helper struct page *rust_helper_folio_file_page(struct folio *folio,
						       pgoff_t index)
{
	return folio_file_page(folio, index);
}

__rust_helper phys_addr_t rust_helper_page_to_phys(struct page *page)
{
	return page_to_phys(page);
}

/* Each place in the code has a limit of its own, or shares it with few others */
__rust_helper bool rust_helper_liveupdate_ratelimit(const void *place)
{
	static struct ratelimit_state limits[1 << 5] = {
		[0 ... (1 << 5) - 1] = RATELIMIT_STATE_INIT(liveupdate,
							    DEFAULT_RATELIMIT_INTERVAL,
							    DEFAULT_RATELIMIT_BURST),
	};

	return __ratelimit(&limits[hash_ptr(place, 5)]);
}

__rust_helper bool rust_helper_is_kdump_kernel(void)
{
	return is_kdump_kernel();
}

#ifdef CONFIG_PCI
__rust_helper int rust_helper_pci_domain_nr(struct pci_bus *bus)
{
	return pci_domain_nr(bus);
}
#endif

#ifndef CONFIG_PCI_IOV
__rust_helper int rust_helper_pci_num_vf(struct pci_dev *dev)
{
	return pci_num_vf(dev);
}
#endif

#endif /* CONFIG_LIVEUPDATE_RUST */
