// SPDX-License-Identifier: GPL-2.0

#include <linux/init.h>
#include <linux/iommu_liveupdate.h>
#include <linux/kexec.h>
#include <linux/notifier.h>
#include <linux/reboot.h>

/*
 * The last moment at which one may sleep before the IOMMUs are shut down, and
 * the first at which the kexec cannot be called off any more.
 */
static int iommu_liveupdate_reboot(struct notifier_block *nb,
				   unsigned long action, void *data)
{
	if (kexec_in_progress)
		iommu_liveupdate_prepare_kexec();
	return NOTIFY_DONE;
}

static struct notifier_block iommu_liveupdate_nb = {
	.notifier_call = iommu_liveupdate_reboot,
};

static int __init iommu_liveupdate_init(void)
{
	return register_reboot_notifier(&iommu_liveupdate_nb);
}
core_initcall(iommu_liveupdate_init);
