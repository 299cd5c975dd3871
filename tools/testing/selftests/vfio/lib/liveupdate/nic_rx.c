// SPDX-License-Identifier: GPL-2.0-only
/*
 * Receiving from the wire with an 82576 ("igb") or an 82540EM ("e1000"), which
 * have the registers that matter here in common, but not their descriptors. The
 * driver in libvfio only loops the frames of an 82576 back, and cannot do
 * without MSI-X.
 */
#include <string.h>
#include <unistd.h>

#include <linux/io.h>
#include <linux/kernel.h>
#include <linux/mii.h>
#include <linux/pci_ids.h>
#include <linux/sizes.h>
#include <linux/time64.h>

#include <liveupdate_test.h>

#include "../drivers/igb/e1000_regs.h"
#include "../drivers/igb/e1000_defines.h"
#include "../drivers/igb/e1000_82575.h"

#define IGB_DEVICE_ID		0x10c9
#define E1000_DEVICE_ID		0x100e
#define NIC_RX_TIMEOUT_S	30
#define NIC_LINK_TIMEOUT_MS	5000
#define NIC_RESET_US		10000

/* An emulated 82540EM receives nothing in the first second. */
#define E1000_RX_ENABLE_US	1100000

/* Where the 82576 has errors, which are the same, behind its status */
#define E1000_RXD_ERRORS_SHIFT	24

/* What the 82540EM makes of a descriptor, which has an address before that */
struct e1000_rx_desc {
	__le64 buffer_addr;
	__le16 length;
	__le16 csum;
	u8 status;
	u8 errors;
	__le16 special;
};

static_assert(sizeof(union e1000_adv_rx_desc) == NIC_RX_DESCRIPTOR_SIZE);
static_assert(sizeof(struct e1000_rx_desc) == NIC_RX_DESCRIPTOR_SIZE);

static u32 igb_read(struct vfio_pci_device *device, u32 reg)
{
	return readl(device->bars[0].vaddr + reg);
}

static void igb_write(struct vfio_pci_device *device, u32 reg, u32 value)
{
	writel(value, device->bars[0].vaddr + reg);
}

static bool igb_wait_set(struct vfio_pci_device *device, u32 reg, u32 bit,
			 int timeout_ms)
{
	while (!(igb_read(device, reg) & bit)) {
		if (timeout_ms-- <= 0)
			return false;
		usleep(1000);
	}

	return true;
}

static bool is_e1000(struct vfio_pci_device *device)
{
	return vfio_pci_device_match(device, PCI_VENDOR_ID_INTEL, E1000_DEVICE_ID);
}

bool nic_supported(struct vfio_pci_device *device)
{
	return is_e1000(device) ||
	       vfio_pci_device_match(device, PCI_VENDOR_ID_INTEL, IGB_DEVICE_ID);
}

/* The 82540EM has no reset but its own. */
static void nic_reset(struct vfio_pci_device *device)
{
	if (!is_e1000(device)) {
		vfio_pci_device_reset(device);
		return;
	}

	vfio_pci_cmd_set(device, PCI_COMMAND_MEMORY);
	igb_write(device, E1000_CTRL, igb_read(device, E1000_CTRL) | E1000_CTRL_RST);
	usleep(NIC_RESET_US);
}

/* The queue of an 82576 has properties of its own, and has to be enabled. */
static void igb_enable_queue(struct vfio_pci_device *device)
{
	igb_write(device, E1000_SRRCTL(0),
		  E1000_SRRCTL_DESCTYPE_ADV_ONEBUF |
		  NIC_RX_BUFFER_SIZE >> E1000_SRRCTL_BSIZEPKT_SHIFT);
	igb_write(device, E1000_RXDCTL(0), E1000_RXDCTL_QUEUE_ENABLE);
}

static bool igb_link_up(struct vfio_pci_device *device)
{
	u32 ctrl;

	/* Internal copper PHY, and MAC speed and duplex as the PHY finds. */
	ctrl = igb_read(device, E1000_CTRL_EXT);
	ctrl &= ~E1000_CTRL_EXT_LINK_MODE_MASK;
	igb_write(device, E1000_CTRL_EXT, ctrl | E1000_CTRL_EXT_DRV_LOAD);

	ctrl = igb_read(device, E1000_CTRL);
	ctrl &= ~(E1000_CTRL_FRCSPD | E1000_CTRL_FRCDPX);
	igb_write(device, E1000_CTRL, ctrl | E1000_CTRL_SLU);

	igb_write(device, E1000_MDIC,
		  BMCR_ANENABLE | BMCR_ANRESTART |
		  MII_BMCR << E1000_MDIC_REG_SHIFT |
		  1 << E1000_MDIC_PHY_SHIFT | E1000_MDIC_OP_WRITE);
	if (!igb_wait_set(device, E1000_MDIC, E1000_MDIC_READY, 100))
		return false;

	return igb_wait_set(device, E1000_STATUS, E1000_STATUS_LU,
			    NIC_LINK_TIMEOUT_MS);
}

/*
 * Let the device write frames from the wire to memory, without interrupts and
 * without anybody looking at them, until all descriptors but one are used up.
 *
 * Descriptor n is for buffer n. All of them are given to the device here, and
 * nothing is told to it from here on. What is in the buffers stays.
 */
bool nic_rx_arm(struct vfio_pci_device *device, struct nic_rx *rx)
{
	union e1000_adv_rx_desc *ring = rx->ring;
	u32 i;

	rx->is_e1000 = is_e1000(device);
	nic_reset(device);
	vfio_pci_cmd_set(device, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER |
			 PCI_COMMAND_INTX_DISABLE);

	igb_write(device, E1000_IMC, ~0U);
	igb_write(device, E1000_EIMC, ~0U);

	if (!igb_link_up(device)) {
		ksft_print_msg("no link, is a network connected?\n");
		return false;
	}

	memset(ring, 0, NIC_RX_RING_MEMORY);
	for (i = 0; i < NIC_RX_RING_SIZE; i++)
		ring[i].read.pkt_addr = cpu_to_le64(nic_rx_buffer_iova(rx, i));

	igb_write(device, E1000_RDBAL(0), rx->ring_iova);
	igb_write(device, E1000_RDBAH(0), rx->ring_iova >> 32);
	igb_write(device, E1000_RDLEN(0), NIC_RX_RING_MEMORY);
	if (!rx->is_e1000)
		igb_enable_queue(device);
	igb_write(device, E1000_RCTL, E1000_RCTL_EN | E1000_RCTL_UPE |
		  E1000_RCTL_MPE | E1000_RCTL_BAM | E1000_RCTL_SECRC);

	/* The tail must not move before the queue says that it is enabled. */
	if (!rx->is_e1000 &&
	    !igb_wait_set(device, E1000_RXDCTL(0), E1000_RXDCTL_QUEUE_ENABLE, 100)) {
		ksft_print_msg("receive queue 0 does not get enabled\n");
		return false;
	}

	/* Descriptors must be in memory before the device hears of them. */
	wmb();
	igb_write(device, E1000_RDT(0), NIC_RX_RING_SIZE - 1);
	if (rx->is_e1000)
		usleep(E1000_RX_ENABLE_US);

	return true;
}

/*
 * Whether the device has written a frame to buffer @index. If so, @length is
 * that of the frame, or 0 if it has errors or does not end in this buffer.
 */
bool nic_rx_done(const struct nic_rx *rx, u32 index, u32 *length)
{
	const void *at = rx->ring + index * NIC_RX_DESCRIPTOR_SIZE;
	const union e1000_adv_rx_desc *igb = at;
	const struct e1000_rx_desc *e1000 = at;
	u32 status;

	if (rx->is_e1000)
		status = READ_ONCE(e1000->status);
	else
		status = le32_to_cpu(READ_ONCE(igb->wb.upper.status_error));
	if (!(status & E1000_RXD_STAT_DD))
		return false;

	/* The frame is in memory before the descriptor says so. */
	rmb();
	if (rx->is_e1000) {
		*length = le16_to_cpu(e1000->length);
		status |= e1000->errors << E1000_RXD_ERRORS_SHIFT;
	} else {
		*length = le16_to_cpu(igb->wb.upper.length);
	}
	if (!(status & E1000_RXD_STAT_EOP) || status & E1000_RXDEXT_ERR_FRAME_ERR_MASK)
		*length = 0;

	return true;
}

/* Whether descriptor @index is as nic_rx_arm() made it. */
bool nic_rx_untouched(const struct nic_rx *rx, u32 index)
{
	const union e1000_adv_rx_desc *desc = rx->ring + index * NIC_RX_DESCRIPTOR_SIZE;

	return le64_to_cpu(READ_ONCE(desc->read.pkt_addr)) == nic_rx_buffer_iova(rx, index) &&
	       !READ_ONCE(desc->read.hdr_addr);
}

/* How many frames there are from the first descriptor on. */
u32 nic_rx_frames(const struct nic_rx *rx)
{
	u32 frames, length;

	for (frames = 0; frames < NIC_RX_RING_SIZE; frames++) {
		if (!nic_rx_done(rx, frames, &length))
			break;
	}

	return frames;
}

bool nic_rx_wait(const struct nic_rx *rx, u32 least)
{
	u64 end = now_ns() + NIC_RX_TIMEOUT_S * NSEC_PER_SEC;
	u32 frames;

	ksft_print_msg("waiting up to %d s for %u frame(s) from the wire\n",
		       NIC_RX_TIMEOUT_S, least);

	while ((frames = nic_rx_frames(rx)) < least) {
		if (now_ns() > end) {
			ksft_print_msg("%u within %d s, is anybody sending?\n", frames,
				       NIC_RX_TIMEOUT_S);
			return false;
		}
		usleep(1000);
	}

	ksft_print_msg("%u frame(s) received, ring of %d at IOVA %#lx, buffers at IOVA %#lx\n",
		       frames, NIC_RX_RING_SIZE, rx->ring_iova, rx->buffers_iova);

	return true;
}
