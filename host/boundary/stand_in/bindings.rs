// SPDX-License-Identifier: GPL-2.0

//! Structures and functions of C, with what is named of them.

use core::ffi::{
    c_int,
    c_ulong,
    c_void, //
};

pub const GFP_KERNEL: u32 = 0;
pub const IOPT_PAGES_ACCOUNT_MM: u32 = 2;
pub const MAX_PAGE_ORDER: u32 = 10;
pub const XA_PRESENT: u32 = 8;
pub const iommufd_object_type_IOMMUFD_OBJ_DEVICE: u32 = 1;

macro_rules! opaque {
    ($($name:ident),+ $(,)?) => { $(pub struct $name(());)+ };
}

opaque!(
    device_driver,
    file,
    folio,
    iommu_domain,
    iommufd_fault,
    iommufd_ioas,
    mutex,
    page,
    refcount_t,
    task_struct,
    xarray,
);

pub struct iommufd_ctx {
    pub file: *mut file,
    pub objects: xarray,
    pub account_mode: u8,
    pub vfio_ioas: *mut iommufd_ioas,
    pub liveupdate_lock: mutex,
    pub liveupdate_preserved: bool,
    pub liveupdate_marked: xarray,
}

pub struct iommufd_object {
    pub users: refcount_t,
    pub type_: u32,
    pub id: u32,
}

pub struct iommufd_device {
    pub obj: iommufd_object,
    pub dev: *mut device,
}

pub struct iommufd_hw_pagetable {
    pub obj: iommufd_object,
    pub fault: *mut iommufd_fault,
}

pub struct iommufd_hwpt_paging {
    pub common: iommufd_hw_pagetable,
    pub liveupdate_ictx: *mut iommufd_ctx,
    pub liveupdate_token: u64,
}

pub struct iommufd_ucmd {
    pub ictx: *mut iommufd_ctx,
    pub ubuffer: *mut c_void,
    pub user_size: u32,
    pub cmd: *mut c_void,
}

pub struct device {
    pub driver: *mut device_driver,
}

pub struct pci_dev {
    pub dev: device,
}

extern "C" {
    pub fn mutex_lock(lock: *mut mutex);
    pub fn mutex_trylock(lock: *mut mutex) -> c_int;
    pub fn mutex_unlock(lock: *mut mutex);

    pub fn iommufd_ctx_from_file(file: *mut file) -> *mut iommufd_ctx;
    pub fn iommufd_ctx_put(ictx: *mut iommufd_ctx);
    pub fn iommufd_liveupdate_lock_hwpt(
        ictx: *mut iommufd_ctx,
        id: u32,
    ) -> *mut iommufd_hwpt_paging;
    pub fn iommufd_liveupdate_unlock_hwpt(ictx: *mut iommufd_ctx, hwpt: *mut iommufd_hwpt_paging);
    pub fn refcount_inc_not_zero(users: *mut refcount_t) -> bool;
    pub fn xa_lock(xa: *mut xarray);
    pub fn xa_unlock(xa: *mut xarray);
    pub fn xa_find(xa: *mut xarray, index: *mut u64, max: u64, filter: u32) -> *mut c_void;
    pub fn xa_load(xa: *mut xarray, index: c_ulong) -> *mut c_void;
    pub fn xa_store(xa: *mut xarray, index: c_ulong, entry: *mut c_void, gfp: u32) -> *mut c_void;
    pub fn xa_erase(xa: *mut xarray, index: c_ulong) -> *mut c_void;
    pub fn xa_err(entry: *mut c_void) -> c_int;

    pub fn dev_is_pci(dev: *mut device) -> bool;
    pub fn pci_dev_lock(dev: *mut pci_dev);
    pub fn pci_dev_unlock(dev: *mut pci_dev);
    pub fn pci_liveupdate_trylock_rescan_remove() -> bool;
    pub fn pci_liveupdate_unlock_rescan_remove();
    pub fn pci_reset_function_locked(dev: *mut pci_dev) -> c_int;
    pub fn pci_wait_for_pending_transaction(dev: *mut pci_dev) -> c_int;

    pub fn alloc_pages_exact(size: usize, gfp: u32) -> *mut c_void;
    pub fn folio_address(folio: *mut folio) -> *mut c_void;
    pub fn folio_alloc(gfp: u32, order: u32) -> *mut folio;
    pub fn folio_put(folio: *mut folio);
    pub fn folio_size(folio: *mut folio) -> usize;
    pub fn free_pages_exact(virt: *mut c_void, size: usize);
    pub fn kho_preserve_folio(folio: *mut folio) -> c_int;
    pub fn kho_preserve_pages(page: *mut page, count: usize) -> c_int;
    pub fn kho_restore_folio(phys: u64) -> *mut folio;
    pub fn kho_restore_pages(phys: u64, count: usize) -> *mut page;
    pub fn kho_unpreserve_folio(folio: *mut folio);
    pub fn kho_unpreserve_pages(page: *mut page, count: usize);
    pub fn virt_to_page(virt: *const c_void) -> *mut page;
    pub fn virt_to_phys(virt: *const c_void) -> u64;
}
