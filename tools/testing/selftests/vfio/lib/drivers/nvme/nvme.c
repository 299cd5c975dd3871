// SPDX-License-Identifier: GPL-2.0-only
/*
 * NVM Express controllers.
 *
 * A copy is a Write from the source to the first namespace, followed by a Read
 * into the destination. This DESTROYS what is at the start of that namespace.
 *
 * Registers, fields and commands are named as in the NVM Express Base
 * Specification.
 */
#include <stdint.h>
#include <unistd.h>

#include <linux/align.h>
#include <linux/build_bug.h>
#include <linux/compiler.h>
#include <linux/errno.h>
#include <linux/io.h>
#include <linux/kernel.h>
#include <linux/log2.h>
#include <linux/pci_ids.h>
#include <linux/pci_regs.h>
#include <linux/sizes.h>
#include <linux/stddef.h>

#include <asm/barrier.h>

#include <uuid/uuid.h>

#include <libvfio.h>
#include <nvme_reads.h>

/* What <linux/nvme.h> needs, and the headers for user space have under this name. */
#define struct_group(_name, _members...) \
	__struct_group(/* no tag */, _name, /* no attributes */, _members)

#include "../../../../../../../include/linux/nvme.h"

/* The memory page size that is chosen with CC.MPS = 0. */
#define NVME_PAGE_SIZE		((u64)SZ_4K)
#define NVME_PRPS_PER_PAGE	(NVME_PAGE_SIZE / sizeof(__le64))

/* CAP.TO is in units of this many milliseconds. */
#define NVME_CAP_TIMEOUT_UNIT	500

/* How long a command may take in milliseconds. */
#define NVME_COMMAND_TIMEOUT	5000

/* The NLB field of Read and Write holds one less than the number of blocks. */
#define NVME_MAX_BLOCKS		(UINT16_MAX + 1)

/* The queue of the copies, whose completions raise no interrupt. */
#define NVME_COPY_QID		1
#define NVME_COPY_DEPTH		1024

/* The queue that is there to raise an interrupt. Vector 0 is the admin queue's. */
#define NVME_MSI_QID		2
#define NVME_MSI_DEPTH		2
#define NVME_MSIX_VECTOR	1

#define NVME_NR_IO_QUEUES	2

/* A submission queue, and a completion queue of the same depth and identifier. */
struct nvme_queue {
	struct nvme_command *sq;
	struct nvme_completion *cq;
	u16 qid;
	u16 depth;
	u16 sq_tail;
	u16 cq_head;
	u16 phase;
};

struct nvme {
	struct nvme_command admin_sq[NVME_AQ_DEPTH] __aligned(NVME_PAGE_SIZE);
	struct nvme_completion admin_cq[NVME_AQ_DEPTH] __aligned(NVME_PAGE_SIZE);
	struct nvme_command copy_sq[NVME_COPY_DEPTH] __aligned(NVME_PAGE_SIZE);
	struct nvme_completion copy_cq[NVME_COPY_DEPTH] __aligned(NVME_PAGE_SIZE);
	struct nvme_command msi_sq[NVME_MSI_DEPTH] __aligned(NVME_PAGE_SIZE);
	struct nvme_completion msi_cq[NVME_MSI_DEPTH] __aligned(NVME_PAGE_SIZE);
	__le64 src_prps[NVME_PRPS_PER_PAGE] __aligned(NVME_PAGE_SIZE);
	__le64 dst_prps[NVME_PRPS_PER_PAGE] __aligned(NVME_PAGE_SIZE);
	u8 identify[NVME_IDENTIFY_DATA_SIZE] __aligned(NVME_PAGE_SIZE);

	void *bar0;
	u64 cap;
	struct nvme_queue admin;
	struct nvme_queue copy;
	struct nvme_queue msi;

	u32 nsid;
	u8 block_shift;

	/* Commands of the copies that have not completed yet. */
	u64 pending;

	/* Why a copy failed before it was waited for, or 0. */
	int memcpy_error;
};

static_assert(sizeof(struct nvme_command) == 1 << NVME_NVM_IOSQES);
static_assert(sizeof(struct nvme_completion) == 1 << NVME_NVM_IOCQES);

static inline struct nvme *to_nvme_state(struct vfio_pci_device *device)
{
	return device->driver.region.vaddr;
}

static int nvme_probe(struct vfio_pci_device *device)
{
	/* The register is the revision ID and, above it, the class code. */
	if (vfio_pci_config_readl(device, PCI_CLASS_REVISION) >> 8 !=
	    PCI_CLASS_STORAGE_EXPRESS)
		return -EINVAL;

	return 0;
}

/* SQyTDBL and CQyHDBL alternate, one pair per queue. */
static void nvme_write_doorbell(struct nvme *nvme, u16 qid, bool completion,
				u16 value)
{
	u32 stride = sizeof(u32) << NVME_CAP_STRIDE(nvme->cap);

	writel(value, nvme->bar0 + NVME_REG_DBS +
	       (2 * qid + completion) * stride);
}

/* Put a command into the queue. The device may see it, but is not told yet. */
static void nvme_queue_command(struct nvme_queue *queue,
			       const struct nvme_command *command)
{
	struct nvme_command *entry = &queue->sq[queue->sq_tail];

	*entry = *command;
	entry->common.command_id = queue->sq_tail;
	queue->sq_tail = (queue->sq_tail + 1) % queue->depth;
}

static void nvme_submit(struct nvme *nvme, struct nvme_queue *queue)
{
	nvme_write_doorbell(nvme, queue->qid, false, queue->sq_tail);
}

/*
 * Wait for one command to complete and take it out of the completion queue.
 *
 * Return: 0, -EIO if the device said that it failed, -ETIMEDOUT.
 */
static int nvme_complete(struct vfio_pci_device *device,
			 struct nvme_queue *queue, u32 *result)
{
	struct nvme_completion *entry = &queue->cq[queue->cq_head];
	int retries = NVME_COMMAND_TIMEOUT;
	u16 status;

	for (;;) {
		status = le16_to_cpu(READ_ONCE(entry->status));
		if ((status & 1) == queue->phase)
			break;

		if (!retries--)
			return -ETIMEDOUT;
		usleep(1000);
	}

	/* The rest of the entry, and the data, were written before the phase. */
	rmb();

	if (result)
		*result = le32_to_cpu(entry->result.u32);

	queue->cq_head = (queue->cq_head + 1) % queue->depth;
	if (!queue->cq_head)
		queue->phase ^= 1;
	nvme_write_doorbell(to_nvme_state(device), queue->qid, true,
			    queue->cq_head);

	status >>= 1;
	if (status != NVME_SC_SUCCESS) {
		dev_err(device, "nvme: Queue %u: Command failed, status 0x%x\n",
			queue->qid, status);
		return -EIO;
	}

	return 0;
}

static int nvme_execute(struct vfio_pci_device *device,
			struct nvme_queue *queue,
			const struct nvme_command *command, u32 *result)
{
	nvme_queue_command(queue, command);
	nvme_submit(to_nvme_state(device), queue);

	return nvme_complete(device, queue, result);
}

static void nvme_admin(struct vfio_pci_device *device,
		       const struct nvme_command *command, u32 *result)
{
	struct nvme *nvme = to_nvme_state(device);
	int ret;

	ret = nvme_execute(device, &nvme->admin, command, result);
	VFIO_ASSERT_EQ(ret, 0, "Admin command 0x%x failed\n",
		       command->common.opcode);
}

static void nvme_wait_ready(struct nvme *nvme, u32 ready)
{
	u64 timeout = (NVME_CAP_TIMEOUT(nvme->cap) + 1) * NVME_CAP_TIMEOUT_UNIT;

	while ((readl(nvme->bar0 + NVME_REG_CSTS) & NVME_CSTS_RDY) != ready) {
		VFIO_ASSERT_GT(timeout--, 0);
		usleep(1000);
	}
}

static void nvme_disable(struct nvme *nvme)
{
	u32 cc = readl(nvme->bar0 + NVME_REG_CC);

	writel(cc & ~NVME_CC_ENABLE, nvme->bar0 + NVME_REG_CC);
	nvme_wait_ready(nvme, 0);
}

static void nvme_queue_init(struct nvme_queue *queue, u16 qid, u16 depth,
			    struct nvme_command *sq, struct nvme_completion *cq)
{
	*queue = (struct nvme_queue) {
		.sq = sq,
		.cq = cq,
		.qid = qid,
		.depth = depth,
		/* Entries of the first round have 1 here, unused ones have 0. */
		.phase = 1,
	};

	memset(cq, 0, depth * sizeof(*cq));
}

static void nvme_enable(struct vfio_pci_device *device)
{
	struct nvme *nvme = to_nvme_state(device);

	VFIO_ASSERT_TRUE(NVME_CAP_CSS(nvme->cap) & NVME_CAP_CSS_NVM);
	VFIO_ASSERT_EQ(NVME_CAP_MPSMIN(nvme->cap), 0);

	nvme_disable(nvme);

	nvme_queue_init(&nvme->admin, 0, NVME_AQ_DEPTH,
			nvme->admin_sq, nvme->admin_cq);
	writel((NVME_AQ_DEPTH - 1) << 16 | (NVME_AQ_DEPTH - 1),
	       nvme->bar0 + NVME_REG_AQA);
	writeq(to_iova(device, nvme->admin_sq), nvme->bar0 + NVME_REG_ASQ);
	writeq(to_iova(device, nvme->admin_cq), nvme->bar0 + NVME_REG_ACQ);

	writel(NVME_CC_CSS_NVM | NVME_CC_AMS_RR | NVME_CC_SHN_NONE |
	       NVME_CC_IOSQES | NVME_CC_IOCQES | NVME_CC_ENABLE,
	       nvme->bar0 + NVME_REG_CC);
	nvme_wait_ready(nvme, NVME_CSTS_RDY);
}

static void *nvme_identify(struct vfio_pci_device *device, u8 cns, u32 nsid)
{
	struct nvme *nvme = to_nvme_state(device);
	struct nvme_command command = {
		.identify = {
			.opcode = nvme_admin_identify,
			.nsid = cpu_to_le32(nsid),
			.dptr.prp1 = cpu_to_le64(to_iova(device, nvme->identify)),
			.cns = cns,
		},
	};

	nvme_admin(device, &command, NULL);
	return nvme->identify;
}

/* Find the first namespace, and out how much can be copied at once. */
static void nvme_identify_namespace(struct vfio_pci_device *device)
{
	struct nvme *nvme = to_nvme_state(device);
	u64 max_pages = NVME_PRPS_PER_PAGE;
	struct nvme_lbaf *format;
	struct nvme_id_ctrl *ctrl;
	struct nvme_id_ns *ns;
	__le32 *list;
	u64 blocks;

	/* MDTS is a power of two, in units of the minimum page size. 0 is no limit. */
	ctrl = nvme_identify(device, NVME_ID_CNS_CTRL, 0);
	if (ctrl->mdts && ctrl->mdts < ilog2(NVME_PRPS_PER_PAGE))
		max_pages = 1 << ctrl->mdts;

	list = nvme_identify(device, NVME_ID_CNS_NS_ACTIVE_LIST, 0);
	nvme->nsid = le32_to_cpu(list[0]);
	VFIO_ASSERT_NE(nvme->nsid, 0, "Controller has no namespace\n");

	ns = nvme_identify(device, NVME_ID_CNS_NS, nvme->nsid);
	format = &ns->lbaf[nvme_lbaf_index(ns->flbas)];
	VFIO_ASSERT_EQ(format->ms, 0, "Blocks have metadata\n");
	nvme->block_shift = format->ds;

	blocks = min_t(u64, le64_to_cpu(ns->nsze), NVME_MAX_BLOCKS);
	device->driver.max_memcpy_size =
		min_t(u64, max_pages * NVME_PAGE_SIZE,
		      blocks << nvme->block_shift);
}

static void nvme_set_nr_io_queues(struct vfio_pci_device *device, u16 count)
{
	/* NSQR and NCQR, and what is granted, are 0's based. */
	struct nvme_command command = {
		.features = {
			.opcode = nvme_admin_set_features,
			.fid = cpu_to_le32(NVME_FEAT_NUM_QUEUES),
			.dword11 = cpu_to_le32((count - 1) << 16 | (count - 1)),
		},
	};
	u32 granted;

	nvme_admin(device, &command, &granted);
	VFIO_ASSERT_GE((granted & UINT16_MAX) + 1, count);
	VFIO_ASSERT_GE((granted >> 16) + 1, count);
}

static void nvme_create_queue(struct vfio_pci_device *device,
			      struct nvme_queue *queue, u16 cq_flags,
			      u16 vector)
{
	struct nvme_command cq = {
		.create_cq = {
			.opcode = nvme_admin_create_cq,
			.prp1 = cpu_to_le64(to_iova(device, queue->cq)),
			.cqid = cpu_to_le16(queue->qid),
			.qsize = cpu_to_le16(queue->depth - 1),
			.cq_flags = cpu_to_le16(NVME_QUEUE_PHYS_CONTIG | cq_flags),
			.irq_vector = cpu_to_le16(vector),
		},
	};
	struct nvme_command sq = {
		.create_sq = {
			.opcode = nvme_admin_create_sq,
			.prp1 = cpu_to_le64(to_iova(device, queue->sq)),
			.sqid = cpu_to_le16(queue->qid),
			.qsize = cpu_to_le16(queue->depth - 1),
			.sq_flags = cpu_to_le16(NVME_QUEUE_PHYS_CONTIG),
			.cqid = cpu_to_le16(queue->qid),
		},
	};

	nvme_admin(device, &cq, NULL);
	nvme_admin(device, &sq, NULL);
}

/* Bring a controller that may be in any state to where it can copy. */
static void nvme_hw_init(struct vfio_pci_device *device)
{
	struct nvme *nvme = to_nvme_state(device);
	u16 depth;

	vfio_pci_cmd_set(device, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER |
			 PCI_COMMAND_INTX_DISABLE);

	nvme->cap = readq(nvme->bar0 + NVME_REG_CAP);
	nvme_enable(device);
	nvme_identify_namespace(device);

	depth = min_t(u32, NVME_COPY_DEPTH, NVME_CAP_MQES(nvme->cap) + 1);
	nvme_queue_init(&nvme->copy, NVME_COPY_QID, depth,
			nvme->copy_sq, nvme->copy_cq);
	nvme_queue_init(&nvme->msi, NVME_MSI_QID, NVME_MSI_DEPTH,
			nvme->msi_sq, nvme->msi_cq);

	nvme_set_nr_io_queues(device, NVME_NR_IO_QUEUES);
	nvme_create_queue(device, &nvme->copy, 0, 0);
	nvme_create_queue(device, &nvme->msi, NVME_CQ_IRQ_ENABLED,
			  NVME_MSIX_VECTOR);

	nvme->pending = 0;
	nvme->memcpy_error = 0;

	/* One entry stays empty, and a copy takes two. */
	device->driver.max_memcpy_count = (depth - 1) / 2;
	device->driver.msi = NVME_MSIX_VECTOR;
}

static void nvme_init(struct vfio_pci_device *device)
{
	struct nvme *nvme = to_nvme_state(device);

	VFIO_ASSERT_GE(device->driver.region.size, sizeof(*nvme));
	VFIO_ASSERT_TRUE(IS_ALIGNED(device->driver.region.iova, NVME_PAGE_SIZE));
	VFIO_ASSERT_GT(device->msix_info.count, NVME_MSIX_VECTOR);

	nvme->bar0 = device->bars[0].vaddr;

	vfio_pci_msix_enable(device, NVME_MSIX_VECTOR, 1);
	nvme_hw_init(device);
}

static void nvme_remove(struct vfio_pci_device *device)
{
	nvme_disable(to_nvme_state(device));
	vfio_pci_msix_disable(device);
}

/*
 * PRP Entry 1 is for the rest of the first page, PRP Entry 2 for the second page
 * or, if there are more, for a list of all others.
 */
static void nvme_fill_prps(struct vfio_pci_device *device,
			   union nvme_data_ptr *dptr, __le64 *prps,
			   iova_t iova, u64 size)
{
	iova_t end = iova + size;
	iova_t page;
	int i = 0;

	dptr->prp1 = cpu_to_le64(iova);

	page = ALIGN_DOWN(iova, NVME_PAGE_SIZE) + NVME_PAGE_SIZE;
	if (page >= end)
		return;

	if (end - page <= NVME_PAGE_SIZE) {
		dptr->prp2 = cpu_to_le64(page);
		return;
	}

	for (; page < end; page += NVME_PAGE_SIZE)
		prps[i++] = cpu_to_le64(page);
	dptr->prp2 = cpu_to_le64(to_iova(device, prps));
}

/*
 * VFIO_DEVICE_RESET, in case that the controller is past disabling. The
 * eventfd stays the one that the caller may know.
 */
static void nvme_error_reset_and_reinit(struct vfio_pci_device *device)
{
	vfio_pci_device_reset(device);
	vfio_pci_msix_reenable(device, NVME_MSIX_VECTOR, 1);
	nvme_hw_init(device);
}

static int nvme_copy_complete(struct vfio_pci_device *device)
{
	struct nvme *nvme = to_nvme_state(device);
	int ret;

	ret = nvme_complete(device, &nvme->copy, NULL);
	if (ret == -ETIMEDOUT) {
		dev_err(device, "nvme: Command timed out, resetting\n");
		nvme_error_reset_and_reinit(device);
	} else {
		nvme->pending--;
	}

	return ret;
}

static void nvme_memcpy_start(struct vfio_pci_device *device, iova_t src,
			      iova_t dst, u64 size, u64 count)
{
	struct nvme *nvme = to_nvme_state(device);
	u64 blocks = size >> nvme->block_shift;
	struct nvme_command write = {
		.rw = {
			.opcode = nvme_cmd_write,
			.nsid = cpu_to_le32(nvme->nsid),
			.length = cpu_to_le16(blocks - 1),
		},
	};
	struct nvme_command read = write;
	u64 i;

	VFIO_ASSERT_EQ(blocks << nvme->block_shift, size,
		       "NVMe driver requires memcpy size to be a multiple of the block size\n");
	VFIO_ASSERT_TRUE(IS_ALIGNED(src | dst, sizeof(u32)),
			 "NVMe driver requires memcpy addresses to be dword aligned\n");

	read.rw.opcode = nvme_cmd_read;
	nvme_fill_prps(device, &write.rw.dptr, nvme->src_prps, src, size);
	nvme_fill_prps(device, &read.rw.dptr, nvme->dst_prps, dst, size);

	/*
	 * The controller may execute commands in any order. So wait until the
	 * blocks have the data: later writes do not change it, and it does not
	 * matter when they are executed.
	 */
	nvme_queue_command(&nvme->copy, &write);
	nvme_submit(nvme, &nvme->copy);
	nvme->pending = 1;
	nvme->memcpy_error = nvme_copy_complete(device);
	if (nvme->memcpy_error == -ETIMEDOUT)
		return;

	for (i = 0; i < count; i++) {
		if (i)
			nvme_queue_command(&nvme->copy, &write);
		nvme_queue_command(&nvme->copy, &read);
	}
	nvme->pending = 2 * count - 1;
	nvme_submit(nvme, &nvme->copy);
}

static int nvme_memcpy_wait(struct vfio_pci_device *device)
{
	struct nvme *nvme = to_nvme_state(device);
	int first_error = nvme->memcpy_error;
	int ret;

	while (nvme->pending) {
		ret = nvme_copy_complete(device);
		if (!first_error)
			first_error = ret;
	}

	return first_error;
}

static void nvme_send_msi(struct vfio_pci_device *device)
{
	struct nvme *nvme = to_nvme_state(device);
	struct nvme_command flush = {
		.common = {
			.opcode = nvme_cmd_flush,
			.nsid = cpu_to_le32(nvme->nsid),
		},
	};

	VFIO_ASSERT_EQ(nvme_execute(device, &nvme->msi, &flush, NULL), 0);
}

/*
 * Write as many blocks from @src as there are to be read, from block 0 on, and
 * when they are there start to read each of them to its place at @dst.
 *
 * Return: the size of a block, or -errno.
 */
int nvme_reads_start(struct vfio_pci_device *device, iova_t src, iova_t dst, u32 count)
{
	struct nvme *nvme = to_nvme_state(device);
	u32 size = 1 << nvme->block_shift;
	struct nvme_command write = {
		.rw = {
			.opcode = nvme_cmd_write,
			.nsid = cpu_to_le32(nvme->nsid),
			.length = cpu_to_le16(count - 1),
		},
	};
	u32 i;
	int ret;

	/* Results are looked for in the first round of the queue. */
	if (!count || count >= nvme->copy.depth - 1 || nvme->copy.sq_tail ||
	    (u64)count * size > device->driver.max_memcpy_size)
		return -EINVAL;

	nvme_fill_prps(device, &write.rw.dptr, nvme->src_prps, src, (u64)count * size);
	ret = nvme_execute(device, &nvme->copy, &write, NULL);
	if (ret)
		return ret;

	for (i = 0; i < count; i++) {
		struct nvme_command read = {
			.rw = {
				.opcode = nvme_cmd_read,
				.nsid = cpu_to_le32(nvme->nsid),
				.dptr.prp1 = cpu_to_le64(dst + (u64)i * size),
				.slba = cpu_to_le64(i),
			},
		};

		nvme_queue_command(&nvme->copy, &read);
	}
	nvme_submit(nvme, &nvme->copy);

	return size;
}

/*
 * Find out which reads have completed, from the memory of the driver alone:
 * @region may come from another kernel. Nothing is told to the device.
 *
 * Return: their number, -EIO if one failed, -EEXIST if one completed twice,
 * -EINVAL if something completed that was not started.
 */
int nvme_reads_done(const void *region, u32 count, bool *done)
{
	const struct nvme *nvme = region;
	u32 first = 1, i;

	memset(done, 0, count * sizeof(*done));

	/* Behind that of the write. A queue that was not used up is still in its first round. */
	for (i = 0; i + first < NVME_COPY_DEPTH; i++) {
		const struct nvme_completion *entry = &nvme->copy_cq[first + i];
		u16 status = le16_to_cpu(READ_ONCE(entry->status));
		u32 number;

		if (!(status & 1))
			break;

		/* The rest of the entry, and the data, were written before the phase. */
		rmb();
		number = entry->command_id - first;
		if (number >= count)
			return -EINVAL;
		if (status >> 1 != NVME_SC_SUCCESS)
			return -EIO;
		if (done[number])
			return -EEXIST;
		done[number] = true;
	}

	return i;
}

const struct vfio_pci_driver_ops nvme_ops = {
	.name = "nvme",
	.probe = nvme_probe,
	.init = nvme_init,
	.remove = nvme_remove,
	.memcpy_start = nvme_memcpy_start,
	.memcpy_wait = nvme_memcpy_wait,
	.send_msi = nvme_send_msi,
};
