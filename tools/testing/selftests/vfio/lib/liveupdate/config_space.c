// SPDX-License-Identifier: GPL-2.0-only
/* Configuration space of a device and of the bridges above it. */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <linux/bits.h>
#include <linux/kernel.h>
#include <linux/limits.h>

#include <liveupdate_test.h>

/* Bytes in a line: what a reader of a serial port still likes. */
#define CONFIG_LINE		64

/* Capabilities that fit into either part of configuration space */
#define MAX_CAPS		((PCI_CFG_SPACE_SIZE - PCI_STD_HEADER_SIZEOF) / 4)
#define MAX_EXT_CAPS		((PCI_CFG_SPACE_EXP_SIZE - PCI_CFG_SPACE_SIZE) / 8)

/* What a register is relative to, besides PCI_CAP_ID_* */
#define HEADER			0x100
#define EXT(_id)		(0x1000 | (_id))

#define DEVICE			BIT(0)
#define BRIDGE			BIT(1)

#define STATUS_LIVE		((u32)(PCI_STATUS_INTERRUPT | PCI_STATUS_PARITY |	\
				       PCI_STATUS_SIG_TARGET_ABORT |		\
				       PCI_STATUS_REC_TARGET_ABORT |		\
				       PCI_STATUS_REC_MASTER_ABORT |		\
				       PCI_STATUS_SIG_SYSTEM_ERROR |		\
				       PCI_STATUS_DETECTED_PARITY) << 16)

/*
 * Bits that may differ from what stage 1 found. What a running device needs from
 * one kernel to the next is not among them, but for the first two entries: these
 * are there because devices do not run yet.
 */
static const struct {
	u32 of;			/* DEVICE, BRIDGE or both */
	u32 when;		/* CONFIG_* */
	u32 capability;		/* HEADER, PCI_CAP_ID_* or EXT(PCI_EXT_CAP_ID_*) */
	u32 offset;		/* of a doubleword */
	u32 bits;
} may_differ[] = {
	/* Off in device shutdown. It is the user who turns it on again. */
	{ DEVICE, CONFIG_ALWAYS, HEADER, PCI_COMMAND, PCI_COMMAND_MASTER },
	/* Off with the device's. Back when a device below is opened. */
	{ BRIDGE, CONFIG_BOOTED | CONFIG_RETRIEVED, HEADER, PCI_COMMAND, PCI_COMMAND_MASTER },
	/* Left set by MSI-X in stage 1. vfio clears it when the device is opened. */
	{ DEVICE, CONFIG_FINISHED, HEADER, PCI_COMMAND, PCI_COMMAND_INTX_DISABLE },

	/* Status: what happened lately, no setting */
	{ DEVICE | BRIDGE, CONFIG_ALWAYS, HEADER, PCI_COMMAND, STATUS_LIVE },
	{ BRIDGE, CONFIG_ALWAYS, HEADER, PCI_IO_BASE, STATUS_LIVE },
	{ DEVICE | BRIDGE, CONFIG_ALWAYS, PCI_CAP_ID_PM, PCI_PM_CTRL, PCI_PM_CTRL_PME_STATUS },
	{ DEVICE | BRIDGE, CONFIG_ALWAYS, PCI_CAP_ID_EXP, PCI_EXP_DEVCTL,
	  (u32)(PCI_EXP_DEVSTA_CED | PCI_EXP_DEVSTA_NFED | PCI_EXP_DEVSTA_FED |
		PCI_EXP_DEVSTA_URD | PCI_EXP_DEVSTA_TRPND) << 16 },
	{ DEVICE | BRIDGE, CONFIG_ALWAYS, PCI_CAP_ID_EXP, PCI_EXP_LNKCTL,
	  (u32)(PCI_EXP_LNKSTA_LBMS | PCI_EXP_LNKSTA_LABS) << 16 },
	{ BRIDGE, CONFIG_ALWAYS, PCI_CAP_ID_EXP, PCI_EXP_SLTCTL,
	  (u32)(PCI_EXP_SLTSTA_ABP | PCI_EXP_SLTSTA_PFD | PCI_EXP_SLTSTA_MRLSC |
		PCI_EXP_SLTSTA_PDC | PCI_EXP_SLTSTA_CC | PCI_EXP_SLTSTA_DLLSC) << 16 },
	{ BRIDGE, CONFIG_ALWAYS, PCI_CAP_ID_EXP, PCI_EXP_RTSTA, ~0 },
	{ DEVICE | BRIDGE, CONFIG_ALWAYS, EXT(PCI_EXT_CAP_ID_ERR), PCI_ERR_UNCOR_STATUS, ~0 },
	{ DEVICE | BRIDGE, CONFIG_ALWAYS, EXT(PCI_EXT_CAP_ID_ERR), PCI_ERR_COR_STATUS, ~0 },
	{ DEVICE | BRIDGE, CONFIG_ALWAYS, EXT(PCI_EXT_CAP_ID_ERR), PCI_ERR_HEADER_LOG, ~0 },
	{ DEVICE | BRIDGE, CONFIG_ALWAYS, EXT(PCI_EXT_CAP_ID_ERR), PCI_ERR_HEADER_LOG + 4, ~0 },
	{ DEVICE | BRIDGE, CONFIG_ALWAYS, EXT(PCI_EXT_CAP_ID_ERR), PCI_ERR_HEADER_LOG + 8, ~0 },
	{ DEVICE | BRIDGE, CONFIG_ALWAYS, EXT(PCI_EXT_CAP_ID_ERR), PCI_ERR_HEADER_LOG + 12, ~0 },
	{ BRIDGE, CONFIG_ALWAYS, EXT(PCI_EXT_CAP_ID_ERR), PCI_ERR_ROOT_STATUS,
	  ~(u32)PCI_ERR_ROOT_AER_IRQ },
	{ BRIDGE, CONFIG_ALWAYS, EXT(PCI_EXT_CAP_ID_ERR), PCI_ERR_ROOT_ERR_SRC, ~0 },

	/* Where interrupts of the port go: to a vector that the new kernel chose */
	{ BRIDGE, CONFIG_ALWAYS, PCI_CAP_ID_MSI, PCI_MSI_ADDRESS_LO, ~0 },
	{ BRIDGE, CONFIG_ALWAYS, PCI_CAP_ID_MSI, PCI_MSI_ADDRESS_HI, ~0 }, /* or data */
	{ BRIDGE, CONFIG_ALWAYS, PCI_CAP_ID_MSI, PCI_MSI_DATA_64, 0xffff },
};

static void config_read(const char *bdf, struct test_config *config)
{
	char path[PATH_MAX];
	ssize_t size;
	int fd;

	memset(config, 0, sizeof(*config));
	snprintf_assert(path, sizeof(path), "/sys/bus/pci/devices/%s/config", bdf);
	fd = open(path, O_RDONLY);
	VFIO_ASSERT_GE(fd, 0);
	size = pread(fd, config->bytes, sizeof(config->bytes), 0);
	/* Less is what is shown to users without privileges. */
	VFIO_ASSERT_GE(size, PCI_CFG_SPACE_SIZE);
	config->size = size;
	close(fd);
}

/* Read configuration space of the device and the bridges of @path. */
void configs_read(const struct test_path *path, struct test_configs *configs)
{
	u32 i;

	memset(configs, 0, sizeof(*configs));
	for (i = 0; i < path->length; i++)
		config_read(path->places[i].bdf, &configs->of[i]);
}

static void config_print(const char *bdf, const struct test_config *config)
{
	static const u8 zeroes[CONFIG_LINE];
	u32 offset, i;

	for (offset = 0; offset < config->size; offset += CONFIG_LINE) {
		const u8 *line = config->bytes + offset;

		/* The last line tells the size. */
		if (!memcmp(line, zeroes, CONFIG_LINE) &&
		    offset + CONFIG_LINE < config->size)
			continue;

		printf("LU-CONFIG %s 0x%03x ", bdf, offset);
		for (i = 0; i < CONFIG_LINE; i++)
			printf("%02x", line[i]);
		printf("\n");
	}
}

/* Tell whoever watches from outside where which register is. */
void configs_print(const struct test_path *path, const struct test_configs *configs)
{
	u32 i;

	for (i = 0; i < path->length; i++)
		config_print(path->places[i].bdf, &configs->of[i]);
}

static u32 config_dword(const struct test_config *config, u32 offset)
{
	u32 dword;

	memcpy(&dword, config->bytes + offset, sizeof(dword));
	return dword;
}

static bool is_bridge(const struct test_config *config)
{
	return (config->bytes[PCI_HEADER_TYPE] & PCI_HEADER_TYPE_MASK) ==
	       PCI_HEADER_TYPE_BRIDGE;
}

/* Where the capability is, or 0. */
static u32 find_capability(const struct test_config *config, u32 capability)
{
	u32 offset = config->bytes[PCI_CAPABILITY_LIST] & ~3;
	int left = MAX_CAPS;

	while (offset >= PCI_STD_HEADER_SIZEOF && left--) {
		if (config->bytes[offset] == capability)
			return offset;
		offset = config->bytes[offset + PCI_CAP_LIST_NEXT] & ~3;
	}

	offset = PCI_CFG_SPACE_SIZE;
	left = MAX_EXT_CAPS;
	while (offset >= PCI_CFG_SPACE_SIZE && offset < config->size && left--) {
		u32 header = config_dword(config, offset);

		if (header && EXT(PCI_EXT_CAP_ID(header)) == capability)
			return offset;
		offset = PCI_EXT_CAP_NEXT(header);
	}

	return 0;
}

/* The bits of the doubleword at @offset that may differ. */
static u32 excepted_bits(const struct test_config *config, u32 offset, enum config_time when)
{
	u32 bits = 0;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(may_differ); i++) {
		u32 start = 0;

		if (!(may_differ[i].of & (is_bridge(config) ? BRIDGE : DEVICE)) ||
		    !(may_differ[i].when & when))
			continue;
		if (may_differ[i].capability != HEADER) {
			start = find_capability(config, may_differ[i].capability);
			if (!start)
				continue;
		}
		if (start + may_differ[i].offset == offset)
			bits |= may_differ[i].bits;
	}

	return bits;
}

static bool config_same(const char *bdf, const struct test_config *a,
			const struct test_config *b, enum config_time when)
{
	bool same = a->size == b->size;
	u32 offset;

	if (!same)
		ksft_print_msg("%s: %u and %u bytes of configuration space\n", bdf,
			       a->size, b->size);

	for (offset = 0; offset < min(a->size, b->size); offset += 4) {
		u32 was = config_dword(a, offset), is = config_dword(b, offset);

		if (was == is || !((was ^ is) & ~excepted_bits(a, offset, when)))
			continue;
		ksft_print_msg("%s: %#05x was %#010x and is %#010x\n", bdf, offset, was, is);
		same = false;
	}

	return same;
}

/* Whether no bit changed but those that may by that time. */
bool configs_same(const struct test_path *path, const struct test_configs *a,
		  const struct test_configs *b, enum config_time when)
{
	bool same = true;
	u32 i;

	for (i = 0; i < path->length; i++)
		if (!config_same(path->places[i].bdf, &a->of[i], &b->of[i], when))
			same = false;

	return same;
}

/* ACS Control, or 0 without that capability. */
static u16 acs_control(const struct test_config *config)
{
	u32 offset = find_capability(config, EXT(PCI_EXT_CAP_ID_ACS));

	return offset ? config_dword(config, offset + PCI_ACS_CAP) >> 16 : 0;
}

/* Whether transactions go the ways that they went: what isolates a group depends on it. */
bool acs_same(const struct test_path *path, const struct test_configs *a,
	      const struct test_configs *b)
{
	bool same = true;
	u32 i;

	for (i = 0; i < path->length; i++) {
		u16 was = acs_control(&a->of[i]), is = acs_control(&b->of[i]);

		if (was == is)
			continue;
		ksft_print_msg("%s: ACS Control was %#x and is %#x\n",
			       path->places[i].bdf, was, is);
		same = false;
	}

	return same;
}

static int compare_names(const void *a, const void *b)
{
	return strcmp(a, b);
}

/* The addresses of all devices in the group of the device, in order. */
void group_read(const char *bdf, struct test_group *group)
{
	struct dirent *entry;
	char path[PATH_MAX];
	DIR *dir;

	memset(group, 0, sizeof(*group));
	snprintf_assert(path, sizeof(path), "/sys/bus/pci/devices/%s/iommu_group/devices", bdf);
	dir = opendir(path);
	VFIO_ASSERT_NOT_NULL(dir);
	while ((entry = readdir(dir))) {
		if (entry->d_name[0] == '.')
			continue;
		VFIO_ASSERT_LT(group->length, MAX_GROUP);
		snprintf_assert(group->bdfs[group->length++], sizeof(group->bdfs[0]), "%s",
				entry->d_name);
	}
	closedir(dir);
	qsort(group->bdfs, group->length, sizeof(group->bdfs[0]), compare_names);
}

bool group_same(const struct test_group *a, const struct test_group *b)
{
	u32 i;

	if (!memcmp(a, b, sizeof(*a)))
		return true;

	for (i = 0; i < a->length; i++)
		ksft_print_msg("was in the group: %s\n", a->bdfs[i]);
	for (i = 0; i < b->length; i++)
		ksft_print_msg("is in the group: %s\n", b->bdfs[i]);
	return false;
}
