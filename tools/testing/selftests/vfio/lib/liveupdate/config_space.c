// SPDX-License-Identifier: GPL-2.0-only
/* Configuration space of a device and of the bridges above it. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <linux/limits.h>

#include <liveupdate_test.h>

/* Bytes in a line: what a reader of a serial port still likes. */
#define CONFIG_LINE		64

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
