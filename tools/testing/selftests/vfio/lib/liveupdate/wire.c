// SPDX-License-Identifier: GPL-2.0-only
/*
 * Numbered frames from the wire, in a memfd that tells what the device wrote.
 *
 * Somebody outside of the machine sends them: frame n is the n-th, counted from
 * 0, since feeding was asked for. It has 60 bytes: the addresses and the type
 * below, n in 8 bytes, most significant first, and bytes that count up from n.
 */
#include <string.h>
#include <unistd.h>

#include <sys/mman.h>
#include <sys/stat.h>

#include <linux/kernel.h>
#include <linux/sizes.h>
#include <linux/time64.h>

#include <liveupdate_test.h>

#define WIRE_MAGIC		0x65726977756c6676ULL

#define CANARY_SIZE		SZ_64K
#define RING_OFFSET		SZ_128K
#define BUFFERS_OFFSET		SZ_256K
#define END_CANARY_OFFSET	(BUFFERS_OFFSET + NIC_RX_MEMORY)
#define WIRE_SIZE		(END_CANARY_OFFSET + CANARY_SIZE)

static_assert(RING_OFFSET + NIC_RX_RING_MEMORY == BUFFERS_OFFSET - CANARY_SIZE,
	      "a canary follows the ring");

#define FRAME_SIZE		60
#define FRAME_HEADER_SIZE	14
#define FRAME_WIRE_OFFSET	10

static const u8 frame_header[FRAME_HEADER_SIZE] = {
	0x02, 'l', 'u', 0, 0, 2,	/* to */
	0x02, 'l', 'u', 0, 0, 1,	/* from, with the number of the wire before the last byte */
	0x88, 0xb5,			/* for local experiments */
};

/* No frame for so long means that none is on its way any more. */
#define SETTLE_NS		(1 * NSEC_PER_SEC)
#define SETTLE_TIMEOUT_NS	(10 * NSEC_PER_SEC)

static void canary_expected(const struct wire_memory *mem, u64 offset, void *buf, u64 size)
{
	u64 *words = buf, i;

	for (i = 0; i < size / sizeof(*words); i++)
		words[i] = pattern(mem->header->seed, offset / sizeof(*words) + i);
}

static void frame_expected(const struct wire_memory *mem, u64 number, u8 frame[FRAME_SIZE])
{
	int i;

	memcpy(frame, frame_header, FRAME_HEADER_SIZE);
	frame[FRAME_WIRE_OFFSET] = mem->header->wire;
	for (i = 0; i < 8; i++)
		frame[FRAME_HEADER_SIZE + i] = number >> (56 - 8 * i);
	for (i = FRAME_HEADER_SIZE + 8; i < FRAME_SIZE; i++)
		frame[i] = number + i;
}

static u64 frame_number(const u8 *frame)
{
	u64 number = 0;
	int i;

	for (i = 0; i < 8; i++)
		number = number << 8 | frame[FRAME_HEADER_SIZE + i];

	return number;
}

static void wire_layout(struct wire_memory *mem)
{
	void *start = mem->header;

	mem->rx = (struct nic_rx) {
		.ring = start + RING_OFFSET,
		.buffers = start + BUFFERS_OFFSET,
		.ring_iova = mem->header->iova + RING_OFFSET,
		.buffers_iova = mem->header->iova + BUFFERS_OFFSET,
		.is_e1000 = mem->header->is_e1000,
	};
}

static void wire_mmap(struct wire_memory *mem)
{
	mem->header = mmap(NULL, WIRE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, mem->fd, 0);
	VFIO_ASSERT_NE(mem->header, MAP_FAILED);
}

/*
 * A new memfd, to be mapped at @iova for what is at the end of a @wire, with
 * canaries that no earlier run can have left.
 */
void wire_create(struct wire_memory *mem, u64 iova, u64 wire)
{
	void *start;

	mem->size = WIRE_SIZE;
	mem->fd = memfd_create("vfio-pci-liveupdate-wire", MFD_ALLOW_SEALING);
	VFIO_ASSERT_GE(mem->fd, 0);
	VFIO_ASSERT_EQ(fallocate(mem->fd, 0, 0, WIRE_SIZE), 0);
	VFIO_ASSERT_EQ(fcntl(mem->fd, F_ADD_SEALS, MAPPED_SEALS), 0);

	wire_mmap(mem);
	*mem->header = (struct wire_header) {
		.magic = WIRE_MAGIC,
		.seed = now_ns(),
		.iova = iova,
		.wire = wire,
	};

	start = mem->header;
	canary_expected(mem, CANARY_SIZE, start + CANARY_SIZE, WIRE_SIZE - CANARY_SIZE);
	wire_layout(mem);
}

/* Find out what the previous kernel's test did. Nothing in the memfd can be trusted. */
bool wire_retrieved(struct wire_memory *mem)
{
	struct stat st;
	int seals;

	VFIO_ASSERT_EQ(fstat(mem->fd, &st), 0);
	if (st.st_size != WIRE_SIZE) {
		ksft_print_msg("memfd has %ld bytes\n", st.st_size);
		return false;
	}

	seals = fcntl(mem->fd, F_GET_SEALS);
	if (seals != MAPPED_SEALS) {
		ksft_print_msg("memfd has seals %#x\n", seals);
		return false;
	}

	mem->size = WIRE_SIZE;
	wire_mmap(mem);
	if (mem->header->magic != WIRE_MAGIC) {
		ksft_print_msg("memfd has no valid header\n");
		return false;
	}

	wire_layout(mem);
	return true;
}

int wire_map_dma(struct wire_memory *mem, struct iommu *iommu)
{
	return map_file(iommu, mem->fd, mem->header->iova, mem->size);
}

/* Have the device write frames there. */
bool wire_arm(struct wire_memory *mem, struct vfio_pci_device *device)
{
	bool armed = nic_rx_arm(device, &mem->rx);

	mem->header->is_e1000 = mem->rx.is_e1000;
	return armed;
}

/* Ask whoever reads this program's output for so many frames per second, or for no more. */
void wire_feed(u32 rate)
{
	printf("LU-FEED %u\n", rate);
	fflush(stdout);
}

/* Say where the frames go: the buffers' IOVA, the size of one, and how many there are. */
void wire_announce(const struct wire_memory *mem, const char *bdf)
{
	printf("LU-RING %s %#lx %d %d\n", bdf, mem->rx.buffers_iova, NIC_RX_BUFFER_SIZE,
	       NIC_RX_RING_SIZE - 1);
	fflush(stdout);
}

/* Whether nobody wrote anything since all pages were taken from the memfd. */
bool wire_untouched(const struct wire_memory *mem)
{
	const u64 *words = (const void *)mem->header;
	u64 i;

	for (i = 0; i < mem->size / sizeof(*words); i++) {
		if (READ_ONCE(words[i])) {
			ksft_print_msg("memfd was written to at %#lx\n", i * sizeof(*words));
			return false;
		}
	}

	return true;
}

/* How many frames there are when no more come. */
u32 wire_settle(const struct wire_memory *mem)
{
	u64 start = now_ns(), changed = start, now;
	u32 frames = nic_rx_frames(&mem->rx), last;

	do {
		usleep(10 * 1000);
		last = frames;
		frames = nic_rx_frames(&mem->rx);
		now = now_ns();
		if (frames != last)
			changed = now;
	} while (now - changed < SETTLE_NS && now - start < SETTLE_TIMEOUT_NS);

	return frames;
}

/* Whether the first @frames descriptors have frames 0, 1, 2 and so on, unchanged. */
bool wire_frames_in_order(const struct wire_memory *mem, u32 frames)
{
	u32 wrong = 0, i;

	for (i = 0; i < frames; i++) {
		const u8 *buffer = mem->rx.buffers + i * NIC_RX_BUFFER_SIZE;
		u8 expected[FRAME_SIZE];
		u32 length = 0;
		bool done;

		frame_expected(mem, i, expected);
		done = nic_rx_done(&mem->rx, i, &length);
		if (done && length == FRAME_SIZE && !memcmp(buffer, expected, FRAME_SIZE))
			continue;
		if (!wrong++)
			ksft_print_msg("descriptor %u: %s, %u bytes, frame %lu\n", i,
				       done ? "done" : "not done", length,
				       frame_number(buffer));
	}

	if (wrong)
		ksft_print_msg("%u of %u frames are wrong\n", wrong, frames);

	return !wrong;
}

/* Whether nothing was written behind frames, nor to other buffers and descriptors. */
bool wire_rest_untouched(const struct wire_memory *mem, u32 frames)
{
	u32 wrong = 0, i;

	for (i = 0; i < NIC_RX_RING_SIZE; i++) {
		u64 offset = BUFFERS_OFFSET + (u64)i * NIC_RX_BUFFER_SIZE;
		const void *buffer = (void *)mem->header + offset;
		u32 used = i < frames ? FRAME_SIZE : 0;
		u8 expected[NIC_RX_BUFFER_SIZE];

		canary_expected(mem, offset, expected, sizeof(expected));
		if (!memcmp(buffer + used, expected + used, sizeof(expected) - used) &&
		    (i < frames || nic_rx_untouched(&mem->rx, i)))
			continue;
		if (!wrong++)
			ksft_print_msg("descriptor or buffer %u was written to\n", i);
	}

	if (wrong)
		ksft_print_msg("%u of %u were written to, besides %u frames\n", wrong,
			       NIC_RX_RING_SIZE, frames);

	return !wrong;
}

bool wire_canaries_intact(const struct wire_memory *mem)
{
	static const u64 canaries[] = {
		CANARY_SIZE, RING_OFFSET + NIC_RX_RING_MEMORY, END_CANARY_OFFSET,
	};
	static u8 expected[CANARY_SIZE];
	bool intact = true;
	int i;

	for (i = 0; i < ARRAY_SIZE(canaries); i++) {
		const void *canary = (void *)mem->header + canaries[i];

		canary_expected(mem, canaries[i], expected, sizeof(expected));
		if (!memcmp(canary, expected, sizeof(expected)))
			continue;
		ksft_print_msg("canary at %#lx of the memfd was written to\n", canaries[i]);
		intact = false;
	}

	return intact;
}
