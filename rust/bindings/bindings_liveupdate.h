/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The headers that Live Update in Rust needs bindings of. Included at the end of
 * bindings_helper.h.
 */

#ifdef CONFIG_LIVEUPDATE_RUST
#include <linux/file.h>
#include <linux/gfp.h>
#include <linux/kexec.h>
#include <linux/kexec_handover.h>
#include <linux/kho/abi/image.h>
#include <linux/kho/abi/luo.h>
#include <linux/kho_block.h>
#include <linux/liveupdate.h>
#include <linux/liveupdate_devices.h>
#include <linux/liveupdate_image.h>
#endif

#ifdef CONFIG_PCI_LIVEUPDATE
#include <linux/kho/abi/pci.h>
#include <linux/pci_liveupdate.h>
#include <linux/suspend.h>
#include <trace/events/pci_liveupdate.h>
#endif

#ifdef CONFIG_IOMMUFD_LIVEUPDATE
#include <linux/iommu.h>
#include <linux/iommufd_liveupdate.h>
#include <linux/kho/abi/iommufd.h>
#include <linux/shmem_fs.h>
#include <trace/events/iommufd_liveupdate.h>
#include "../../drivers/iommu/iommufd/io_pagetable.h"
#include "../../drivers/iommu/iommufd/iommufd_private.h"
#include "../../drivers/iommu/iommufd/lu_rs/iommufd_lu.h"
#endif

#ifdef CONFIG_VFIO_PCI_LIVEUPDATE
#include <linux/anon_inodes.h>
#include <linux/kho/abi/vfio_pci.h>
#include <linux/vfio_pci_core.h>
#include "../../drivers/vfio/vfio.h"
#include "../../drivers/vfio/pci/vfio_pci_priv.h"
#include "../../drivers/vfio/pci/liveupdate_rs/vfio_pci_lu.h"

const pci_power_t RUST_CONST_HELPER_PCI_D0 = PCI_D0;

/* As the files that VFIO_GROUP_GET_DEVICE_FD returns */
const fmode_t RUST_CONST_HELPER_VFIO_DEVICE_FMODE = FMODE_PREAD | FMODE_PWRITE;
#endif

#ifdef CONFIG_IOMMU_LIVEUPDATE
#include <linux/generic_pt/iommu.h>
#include <linux/iommu.h>
#include <linux/iommu_liveupdate.h>
#include <linux/kho/abi/iommu.h>
#include "../../drivers/iommu/iommu-pages.h"
#endif

#ifdef CONFIG_INTEL_IOMMU_LIVEUPDATE
#include <linux/pci-ats.h>
#include "../../drivers/iommu/intel/iommu.h"
#include "../../drivers/iommu/intel/pasid.h"
#include "../../drivers/iommu/intel/lu_rs/intel_lu.h"

const u64 RUST_CONST_HELPER_DMA_CCMD_GLOBAL_INVL = DMA_CCMD_GLOBAL_INVL;
const u32 RUST_CONST_HELPER_DMA_FECTL_IM = DMA_FECTL_IM;
const u32 RUST_CONST_HELPER_DMA_GSTS_IRES = DMA_GSTS_IRES;
const u32 RUST_CONST_HELPER_DMA_GSTS_TES = DMA_GSTS_TES;
const u64 RUST_CONST_HELPER_DMA_RTADDR_SMT = DMA_RTADDR_SMT;
const u64 RUST_CONST_HELPER_DMA_TLB_GLOBAL_FLUSH = DMA_TLB_GLOBAL_FLUSH;
#endif
