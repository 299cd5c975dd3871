// SPDX-License-Identifier: GPL-2.0

#include <linux/kstrtox.h>
#include <linux/pci_liveupdate.h>
#include <linux/pm_runtime.h>
#include <linux/sysfs.h>

/* What the administrator can do about a device that the previous kernel preserved. */

static ssize_t liveupdate_stop_store(struct device *dev,
				     struct device_attribute *attr,
				     const char *buf, size_t count)
{
	bool stop;
	int err;

	if (kstrtobool(buf, &stop) || !stop)
		return -EINVAL;

	pm_runtime_get_sync(dev);
	err = pci_liveupdate_end(to_pci_dev(dev));
	pm_runtime_put(dev);

	return err ?: count;
}
static DEVICE_ATTR_WO(liveupdate_stop);

static umode_t liveupdate_is_visible(struct kobject *kobj,
				     struct attribute *attr, int index)
{
	struct pci_dev *pdev = to_pci_dev(kobj_to_dev(kobj));

	if (pci_is_bridge(pdev) || !pci_liveupdate_is_incoming(pdev))
		return 0;
	return attr->mode;
}

static struct attribute *liveupdate_attrs[] = {
	&dev_attr_liveupdate_stop.attr,
	NULL
};

const struct attribute_group pci_liveupdate_attr_group = {
	.attrs = liveupdate_attrs,
	.is_visible = liveupdate_is_visible,
};
