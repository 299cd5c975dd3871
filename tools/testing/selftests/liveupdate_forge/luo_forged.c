// SPDX-License-Identifier: GPL-2.0-only
/*
 * What a kernel makes of records of vfio-pci devices that are wrong.
 *
 * Stage 1 runs before the kexec, in a kernel with the module liveupdate_forge,
 * which hands over what it is told. Stage 2 runs after the kexec, in a kernel
 * with vfio-pci, and checks that what is wrong is reported and harms nobody:
 * neither the machine, nor the other files of the session, nor other sessions.
 *
 * There is a list of PCI devices, one of the drivers for them, and a record for
 * each file. What is wrong with them depends on the case, of which each kexec takes
 * one: stage 2 has to be told the same case and device as stage 1. No driver may be
 * bound to the device, and the test leaves it to vfio-pci.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <sys/ioctl.h>
#include <sys/klog.h>

#include <linux/bits.h>
#include <linux/build_bug.h>
#include <linux/compiler.h>
#include <linux/kernel.h>
#include <linux/stringify.h>
#include <linux/types.h>

#include <libliveupdate.h>
#include <libvfio.h>
#include <luo_options.h>

#include "../../../../include/linux/kho/abi/pci.h"
#include "../../../../include/linux/kho/abi/vfio_pci.h"

#define FORGE_DEVICE			"/dev/liveupdate_forge"
#define LUO_STATE			"/sys/kernel/debug/kho/out/sub_fdts/LUO"
#define LIVEUPDATE_FORGE_SET_FILE_HANDLE _IO('f', 0)
#define LIVEUPDATE_FORGE_SET_DEVICES_HANDLE _IO('f', 1)
#define LIVEUPDATE_FORGE_SET_DRIVERS_HANDLE _IO('f', 2)
#define LIVEUPDATE_FORGE_SET_PROBES_HANDLE _IO('f', 3)
#define LIVEUPDATE_FORGE_SET_IOMMUS_HANDLE _IO('f', 4)

/*
 * The files that the module preserves: as vfio-pci, as an iommufd of other kernels,
 * and as nobody knows what.
 */
#define VFIO_PCI_FILE			"/dev/null"
#define OTHER_IOMMUFD_FILE		"/dev/zero"
#define UNKNOWN_FILE			"/dev/full"

#define STATE_SESSION			"forged-state"
#define STATE_TOKEN			1

#define FORGED_SESSION			"forged"
#define OTHER_SESSION			"not-forged"
#define MEMFD_TOKEN			0x100
#define DEVICE_TOKEN			0x200
#define FORGED_TOKEN			0x300
#define IOMMUFD_TOKEN			0x400

#define PATTERN				"not touched by what was forged"

/* Syslog action of klogctl(): read all that is there. */
#define SYSLOG_ACTION_READ_ALL		3

/* What the log says of a list: one of these, once. */
#define LOG_UNREADABLE	"the preserved devices are not known: "
#define LOG_ALL		"all preserved devices are quarantined: "
#define LOG_TWICE	" is quarantined: it was preserved twice"
#define LOG_IGNORED	"an entry of a preserved device is ignored: "
#define LOG_NO_DRIVER	"no driver can take over a preserved device: "
#define LOG_NO_PROBES	"registers of preserved devices are written to: "
#define LOG_OTHER	" is another device than was preserved"

#define LOG_MEMORY	"it is not whole in memory that was handed over"

/* What the log says of a device that a driver does not get. */
#define LOG_NOT_BOUND	"was preserved, and not for this driver"

/* What the log says of a device when all sessions are finished. */
#define LOG_MISSING	" was preserved, but was never found"
#define LOG_LEFT_OVER	" was preserved, but nobody finished it"

/* What the log says of a file that is not retrieved: this, and one of the others. */
#define LOG_LOST	"a file of session '%s' cannot be retrieved: "
#define LOST_RECORD	"its record is not in memory that was handed over"
#define LOST_LENGTH	"its record is longer than those of its name"
#define LOST_ADDRESS	"its record names an address that there cannot be"
#define LOST_MISSING	"there is no device "
#define LOST_NOT_FOR_IT	" was not preserved for it"
#define LOST_BARRED	"no driver may bind to "

#define LOG_BAD_FILE	"a file was handed over with a bad record"
#define LOG_NO_HANDLER	\
	"No handler for 'no-such-handler-v1', token 0x300 of session [forged] cannot be retrieved"

/* What the log says of records in layouts of other kernels. */
#define LOG_OTHER_VFIO_PCI	\
	"No handler for 'vfio-pci-v1', token 0x200 of session [forged] cannot be retrieved"
#define LOG_OTHER_IOMMUFD	\
	"No handler for 'iommufd-v1', token 0x400 of session [forged] cannot be retrieved"
#define LOG_OTHER_IOMMUS	"no IOMMU is taken over: 'iommu-liveupdate' was handed over"

/* The log has ten lines of lost files at most in the five seconds from the first. */
#define LOST_AT_ONCE	5
#define LOST_INTERVAL	6

/* Where there is no device. */
#define MISSING_BDF			"0000:7f:1f.7"

/* Memory of the kernel's own, which nobody hands over. */
#define FOREIGN_MEMORY			0x100000

/* Physical address of no memory. */
#define BEYOND_MEMORY			BIT_ULL(51)

/* A version that there is not, and as many devices as there are not. */
#define WRONG_NUMBER			99

/* As in include/linux/kho/abi/block.h, which cannot be included here. */
struct device_block {
	u64 next;
	u64 count;
	struct pci_dev_ser entries[8];
} __packed;

struct driver_block {
	u64 next;
	u64 count;
	struct pci_driver_ser entries[2];
} __packed;

struct probe_block {
	u64 next;
	u64 count;
	struct pci_probe_ser entries[3];
} __packed;

/* Records as other kernels publish them. */
struct other_vfio_pci_ser {
	u32 domain;
	u16 bdf;
	u64 iommufd_token;
} __packed;

struct other_iommufd_ser {
	u64 nr_hwpts;
	/* One of any number of them. */
	struct {
		u64 domain_data;
		u64 token;
		u8 reclaimed;
		u8 padding[7];
	} hwpt;
} __packed;

struct other_iommus_ser {
	u64 version;
	u64 iommus;
	u64 domains;
	u64 devices;
} __packed;

/* Which page has what. */
enum {
	DEVICES_PAGE,
	DEVICE_BLOCK_PAGE,
	DRIVERS_PAGE,
	DRIVER_BLOCK_PAGE,
	PROBES_PAGE,
	PROBE_BLOCK_PAGE,
	DEVICE_PAGE,
	OTHER_PAGE,
	IOMMUFD_PAGE,
	IOMMUS_PAGE,
	FILES_PAGE,
};

/* The list of PCI devices, that of the drivers for them, and that of their registers. */
struct lists {
	u64 devices_handle;
	struct pci_ser devices;
	struct device_block device_block;
	u64 drivers_handle;
	struct pci_ser drivers;
	struct driver_block driver_block;
	u64 probes_handle;
	struct pci_ser probes;
	struct probe_block probe_block;
};

static char device_bdf[sizeof("0000:00:00.0")];
static char bridge_bdf[sizeof("0000:00:00.0")];
static int forge_fd;

#define check(_condition, _fmt, ...)					\
	ksft_test_result(_condition, _fmt "\n", ##__VA_ARGS__)

/* As check(), for what the others need. */
#define require(_condition, _fmt, ...) do {				\
	bool __ok = (_condition);					\
									\
	check(__ok, _fmt, ##__VA_ARGS__);				\
	if (!__ok)							\
		ksft_finished();					\
} while (0)

/* For calls that have to return one value: 0, or -errno. */
#define check_ret(_ret, _expected, _fmt, ...) do {			\
	int __ret = (_ret);						\
	int __expected = (_expected);					\
									\
	if (__ret != __expected)					\
		ksft_print_msg("returned %d, expected %d\n", __ret,	\
			       __expected);				\
	check(__ret == __expected, _fmt, ##__VA_ARGS__);		\
} while (0)

static u64 page_phys(int page)
{
	u64 phys;

	if (pread(forge_fd, &phys, sizeof(phys), page * getpagesize()) != sizeof(phys))
		fail_exit("address of page %d", page);
	return phys;
}

static void page_write(int page, const void *data, size_t size)
{
	if (pwrite(forge_fd, data, size, page * getpagesize()) != size)
		fail_exit("writing page %d", page);
}

static u16 make_bdf(u8 bus, u8 dev, u8 fn)
{
	return bus << 8 | dev << 3 | fn;
}

static struct vfio_pci_core_device_ser parse_bdf(const char *bdf)
{
	struct vfio_pci_core_device_ser ser = {};
	unsigned int domain, bus, dev, fn;

	if (sscanf(bdf, "%x:%x:%x.%x", &domain, &bus, &dev, &fn) != 4)
		ksft_exit_fail_msg("%s: not segment:bus:device.function\n", bdf);

	ser.domain = domain;
	ser.bdf = make_bdf(bus, dev, fn);
	return ser;
}

static int open_config(void)
{
	char path[PATH_MAX];
	int fd;

	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/config", device_bdf);
	fd = open(path, O_RDWR);
	if (fd < 0)
		fail_exit("open(%s)", path);
	return fd;
}

static u32 read_config(u16 offset)
{
	int fd = open_config();
	u32 value;

	if (pread(fd, &value, sizeof(value), offset) != sizeof(value))
		fail_exit("reading the configuration space");
	close(fd);
	return value;
}

/* The list of devices as it has to be: the device, and the bridges above it. */
static void fill_devices(struct lists *lists)
{
	char link[PATH_MAX], path[PATH_MAX], *part;
	u64 count = 0;

	snprintf(link, sizeof(link), "/sys/bus/pci/devices/%s", device_bdf);
	if (!realpath(link, path))
		fail_exit("realpath(%s)", link);

	for (part = strtok(path, "/"); part; part = strtok(NULL, "/")) {
		struct vfio_pci_core_device_ser ser;

		/* "pci0000:00" is the host bridge, which is none that counts. */
		if (strlen(part) != sizeof(bridge_bdf) - 1 || !strchr(part, '.'))
			continue;

		if (!count)
			snprintf(bridge_bdf, sizeof(bridge_bdf), "%s", part);
		ser = parse_bdf(part);
		lists->device_block.entries[count++] = (struct pci_dev_ser) {
			.domain = ser.domain,
			.bdf = ser.bdf,
			.refcount = 1,
		};
	}

	lists->device_block.count = count;
	lists->devices = (struct pci_ser) {
		.version = PCI_LUO_FLB_VERSION,
		.nr_devices = count,
		.devices = page_phys(DEVICE_BLOCK_PAGE),
	};
	lists->devices_handle = page_phys(DEVICES_PAGE);
}

/* The list of drivers as it has to be: vfio-pci for the device, with its file. */
static void fill_drivers(struct lists *lists)
{
	struct vfio_pci_core_device_ser ser = parse_bdf(device_bdf);

	lists->driver_block.entries[0] = (struct pci_driver_ser) {
		.domain = ser.domain,
		.bdf = ser.bdf,
		.data = page_phys(DEVICE_PAGE),
		.compatible = VFIO_PCI_LUO_FH_COMPATIBLE,
	};
	lists->driver_block.count = 1;
	lists->drivers = (struct pci_ser) {
		.version = PCI_LUO_FLB_VERSION,
		.nr_devices = 1,
		.devices = page_phys(DRIVER_BLOCK_PAGE),
	};
	lists->drivers_handle = page_phys(DRIVERS_PAGE);
}

/* The list of registers as it has to be if nothing is known that can be written. */
static void fill_probes(struct lists *lists)
{
	struct vfio_pci_core_device_ser ser = parse_bdf(device_bdf);
	static const u16 offsets[] = { PCI_VENDOR_ID, PCI_CLASS_REVISION };
	int i;

	for (i = 0; i < ARRAY_SIZE(offsets); i++) {
		lists->probe_block.entries[i] = (struct pci_probe_ser) {
			.domain = ser.domain,
			.bdf = ser.bdf,
			.offset = offsets[i],
			.value = read_config(offsets[i]),
		};
	}
	lists->probe_block.count = i;
	lists->probes = (struct pci_ser) {
		.version = PCI_LUO_FLB_VERSION,
		.nr_devices = i,
		.devices = page_phys(PROBE_BLOCK_PAGE),
	};
	lists->probes_handle = page_phys(PROBES_PAGE);
}

/* The entry of the device itself, which comes after those of the bridges. */
static struct pci_dev_ser *device_entry(struct lists *lists)
{
	return &lists->device_block.entries[lists->device_block.count - 1];
}

static void forge_version(struct lists *lists)
{
	lists->devices.version = WRONG_NUMBER;
}

static void forge_count(struct lists *lists)
{
	lists->devices.nr_devices = WRONG_NUMBER;
}

static void forge_duplicate(struct lists *lists)
{
	lists->device_block.entries[0] = *device_entry(lists);
}

static void forge_domain(struct lists *lists)
{
	device_entry(lists)->domain = ~0;
}

static void forge_null(struct lists *lists)
{
	lists->devices_handle = 0;
}

static void forge_foreign(struct lists *lists)
{
	lists->devices_handle = FOREIGN_MEMORY;
}

static void forge_block_foreign(struct lists *lists)
{
	lists->devices.devices = FOREIGN_MEMORY;
}

static void forge_block_loop(struct lists *lists)
{
	lists->device_block.next = page_phys(DEVICE_BLOCK_PAGE);
}

static void forge_block_long(struct lists *lists)
{
	lists->device_block.count = getpagesize();
}

static void forge_block_empty(struct lists *lists)
{
	lists->device_block.count = 0;
}

static void forge_refcount(struct lists *lists)
{
	int i;

	for (i = 0; i < lists->device_block.count; i++)
		lists->device_block.entries[i].refcount = UINT16_MAX;
}

static void forge_missing(struct lists *lists)
{
	struct vfio_pci_core_device_ser ser = parse_bdf(MISSING_BDF);

	lists->device_block.entries[lists->device_block.count++] = (struct pci_dev_ser) {
		.domain = ser.domain,
		.bdf = ser.bdf,
		.refcount = 1,
	};
	lists->devices.nr_devices++;
}

static void forge_drivers_version(struct lists *lists)
{
	lists->drivers.version = WRONG_NUMBER;
}

static void forge_drivers_compatible(struct lists *lists)
{
	strcpy(lists->driver_block.entries[0].compatible, "no-such-format-v1");
}

static void forge_drivers_data(struct lists *lists)
{
	lists->driver_block.entries[0].data = page_phys(OTHER_PAGE);
}

static void forge_probes_version(struct lists *lists)
{
	lists->probes.version = WRONG_NUMBER;
}

static void forge_probes_count(struct lists *lists)
{
	lists->probes.nr_devices = WRONG_NUMBER;
}

static void forge_probes_order(struct lists *lists)
{
	lists->probe_block.entries[1].offset = PCI_VENDOR_ID;
}

static void forge_probes_register(struct lists *lists)
{
	lists->probe_block.entries[1].offset = UINT16_MAX;
}

static void forge_probes_vendor(struct lists *lists)
{
	lists->probe_block.entries[0].value ^= 1;
}

static void forge_probes_class(struct lists *lists)
{
	lists->probe_block.entries[1].value ^= BIT(16);
}

/* What becomes of the device until its session is finished. */
enum outcome {
	/* It can be had from its session, and only there. */
	RETRIEVED,
	/* No driver gets it. */
	NOT_BOUND,
	/* It is not known which file it belongs to, and no driver gets it. */
	NOT_BOUND_NOR_OWNED,
	/* vfio-pci gets it, but it belongs to another file. */
	NOT_OWNED,
};

static const struct test_case {
	const char *name;
	void (*forge)(struct lists *lists);
	enum outcome outcome;
	/* What is wrong with a list, as the log says it once. */
	const char *reported;
	/* What the log says when all sessions are finished, and of which device. */
	const char *left;
	const char *left_bdf;
	/* Whether there are files whose records are wrong. */
	bool files;
	/* Whether there is a file that no handler is for. */
	bool unknown;
	/* Whether a file in the other session names the same device. */
	bool twice;
	/* The same, and nothing says to which of the two files the device belongs. */
	bool unlisted;
	/* Whether a file in the other session keeps the lists alive. */
	bool kept;
	/* Whether all but the list of devices is as other kernels hand it over. */
	bool others;
} test_cases[] = {
	{ .name = "good" },
	{ .name = "files", .files = true },
	{ .name = "unknown", .unknown = true },
	{ .name = "twice", .twice = true },
	/* The module was told not to hand over the list of drivers. */
	{ .name = "twice-unlisted", .unlisted = true },
	/* The module was told to hand over under the names of other kernels. */
	{ .name = "others", .others = true },
	{ .name = "refcount", .forge = forge_refcount, .kept = true },
	{
		.name = "missing",
		.forge = forge_missing,
		.left = LOG_MISSING,
		.left_bdf = MISSING_BDF,
	},
	{
		.name = "version",
		.forge = forge_version,
		.outcome = NOT_BOUND,
		.reported = LOG_UNREADABLE "version " __stringify(WRONG_NUMBER) " is not known",
		.kept = true,
	},
	{
		.name = "count",
		.forge = forge_count,
		.outcome = NOT_BOUND,
		.reported = LOG_ALL __stringify(WRONG_NUMBER) " devices are announced, ",
		.kept = true,
	},
	{
		.name = "duplicate",
		.forge = forge_duplicate,
		.outcome = NOT_BOUND,
		.reported = LOG_TWICE,
		.kept = true,
	},
	{
		.name = "domain",
		.forge = forge_domain,
		.outcome = NOT_BOUND,
		.reported = LOG_IGNORED "there is no domain 0xffffffff",
	},
	{
		.name = "null",
		.forge = forge_null,
		.outcome = NOT_BOUND,
		.reported = LOG_UNREADABLE LOG_MEMORY,
	},
	{
		.name = "foreign",
		.forge = forge_foreign,
		.outcome = NOT_BOUND,
		.reported = LOG_UNREADABLE LOG_MEMORY,
	},
	{
		.name = "block-foreign",
		.forge = forge_block_foreign,
		.outcome = NOT_BOUND,
		.reported = LOG_UNREADABLE LOG_MEMORY,
	},
	{
		.name = "block-loop",
		.forge = forge_block_loop,
		.outcome = NOT_BOUND,
		.reported = LOG_UNREADABLE LOG_MEMORY,
	},
	{
		.name = "block-long",
		.forge = forge_block_long,
		.outcome = NOT_BOUND,
		.reported = LOG_UNREADABLE LOG_MEMORY,
	},
	{
		.name = "block-empty",
		.forge = forge_block_empty,
		.outcome = NOT_BOUND,
		.reported = LOG_UNREADABLE LOG_MEMORY,
	},
	/* The module was told not to hand over the list. */
	{ .name = "drivers-absent" },
	{
		.name = "drivers-version",
		.forge = forge_drivers_version,
		.outcome = NOT_BOUND_NOR_OWNED,
		.reported = LOG_NO_DRIVER "version " __stringify(WRONG_NUMBER) " is not known",
		.left = LOG_LEFT_OVER,
		.kept = true,
	},
	{
		.name = "drivers-compatible",
		.forge = forge_drivers_compatible,
		.outcome = NOT_BOUND,
	},
	{
		.name = "drivers-data",
		.forge = forge_drivers_data,
		.outcome = NOT_OWNED,
		.left = LOG_LEFT_OVER,
		.kept = true,
	},
	{
		.name = "probes-version",
		.forge = forge_probes_version,
		.reported = LOG_NO_PROBES "version " __stringify(WRONG_NUMBER) " is not known",
	},
	{
		.name = "probes-count",
		.forge = forge_probes_count,
		.reported = LOG_NO_PROBES __stringify(WRONG_NUMBER) " devices are announced, ",
	},
	{
		.name = "probes-order",
		.forge = forge_probes_order,
		.reported = LOG_NO_PROBES "the registers of ",
	},
	{
		.name = "probes-register",
		.forge = forge_probes_register,
		.reported = LOG_NO_PROBES,
	},
	{
		.name = "probes-vendor",
		.forge = forge_probes_vendor,
		.outcome = NOT_BOUND,
		.reported = LOG_OTHER,
	},
	{
		.name = "probes-class",
		.forge = forge_probes_class,
		.outcome = NOT_BOUND,
		.reported = LOG_OTHER,
	},
};

/* Ways in which the record of a file can be wrong. */
static const struct file_case {
	const char *name;
	/* What the handle is, if there is no record. */
	u64 handle;
	/* What the record says: this address, but for the domain. */
	const char *bdf;
	u32 domain;
	/* How much the handle is off. */
	u64 offset;
	/* Names a page of something else instead of a record of its own. */
	bool misplaced;
	int page;
	/* Has another field behind the record. */
	bool longer;
	/* The same, and that is what the Live Update Orchestrator keeps of all FLBs. */
	bool flbs;
	int error;
	/* Why it is not retrieved, as the log says it. */
	const char *lost;
	/* Whether finishing the file is reported: if the record makes no sense. */
	bool logged;
} file_cases[] = {
	{
		.name = "no device there",
		.bdf = MISSING_BDF,
		.error = -ENODEV,
		.lost = LOST_MISSING,
		/* The next one frees the record. */
		.logged = true,
	},
	{
		.name = "record of another file",
		.misplaced = true,
		.page = FILES_PAGE,
		.error = -ENODEV,
		.lost = LOST_MISSING,
	},
	{
		.name = "device of another file",
		.bdf = device_bdf,
		.error = -EINVAL,
		.lost = LOST_NOT_FOR_IT,
	},
	{
		.name = "record that is the list",
		.misplaced = true,
		.page = DEVICES_PAGE,
		.error = -EINVAL,
		.lost = LOST_RECORD,
		.logged = true,
	},
	{
		.name = "longer record",
		.bdf = MISSING_BDF,
		.longer = true,
		.error = -EINVAL,
		.lost = LOST_LENGTH,
		.logged = true,
	},
	{
		.name = "what all files share",
		.flbs = true,
		.error = -EINVAL,
		.lost = LOST_RECORD,
		.logged = true,
	},
	{
		.name = "no such domain",
		.bdf = "1234:01:00.0",
		.error = -ENODEV,
		.lost = LOST_MISSING,
	},
	{
		.name = "impossible domain",
		.bdf = MISSING_BDF,
		.domain = ~0,
		.error = -EINVAL,
		.lost = LOST_ADDRESS,
		.logged = true,
	},
	{
		.name = "device that is not on the list",
		.bdf = "0000:00:00.0",
		.error = -EINVAL,
		.lost = LOST_NOT_FOR_IT,
	},
	{
		.name = "bridge that is on the list",
		.bdf = bridge_bdf,
		.error = -EINVAL,
		.lost = LOST_NOT_FOR_IT,
	},
	{
		.name = "null",
		.error = -EINVAL,
		.lost = LOST_RECORD,
		.logged = true,
	},
	{
		.name = "unaligned",
		.bdf = MISSING_BDF,
		.offset = sizeof(u64),
		.error = -EINVAL,
		.lost = LOST_RECORD,
		.logged = true,
	},
	{
		.name = "foreign memory",
		.handle = FOREIGN_MEMORY,
		.error = -EINVAL,
		.lost = LOST_RECORD,
		.logged = true,
	},
	{
		.name = "beyond memory",
		.handle = BEYOND_MEMORY,
		.error = -EINVAL,
		.lost = LOST_RECORD,
		.logged = true,
	},
};

static void preserve_as(int session_fd, const char *path, u64 handle, u64 token)
{
	int fd, ret;

	if (ioctl(forge_fd, LIVEUPDATE_FORGE_SET_FILE_HANDLE, handle))
		fail_exit("setting the handle");

	fd = open(path, O_RDWR);
	if (fd < 0)
		fail_exit("open(%s)", path);
	ret = luo_session_preserve_fd(session_fd, fd, token);
	if (ret)
		ksft_exit_fail_msg("preserving token %#lx: %s\n", token, strerror(-ret));
	close(fd);
}

static int create_session(int luo_fd, const char *name)
{
	int fd = luo_create_session(luo_fd, name);

	if (fd < 0 || create_and_preserve_memfd(fd, MEMFD_TOKEN, PATTERN))
		fail_exit("session %s", name);
	return fd;
}

static void write_record(int page, const char *bdf, u32 domain)
{
	struct vfio_pci_core_device_ser ser = parse_bdf(bdf);

	if (domain)
		ser.domain = domain;
	page_write(page, &ser, sizeof(ser));
}

/* As a kernel writes it that has the token of an iommufd in it, too. */
static void write_longer_record(int page, const char *bdf)
{
	struct vfio_pci_core_device_ser ser = parse_bdf(bdf);
	struct other_vfio_pci_ser longer = {
		.domain = ser.domain,
		.bdf = ser.bdf,
		.iommufd_token = IOMMUFD_TOKEN,
	};

	page_write(page, &longer, sizeof(longer));
}

/*
 * Where the page is that names all FLBs, and is in use for as long as the next kernel
 * runs: the last word of struct luo_ser.
 */
static u64 flbs_phys(void)
{
	u64 words[16];
	ssize_t size;
	int fd;

	fd = open(LUO_STATE, O_RDONLY);
	if (fd < 0)
		fail_exit("open(%s)", LUO_STATE);
	size = read(fd, words, sizeof(words));
	close(fd);
	if (size < (ssize_t)sizeof(*words) || size == sizeof(words) || size % sizeof(*words))
		ksft_exit_fail_msg("%s has %zd bytes\n", LUO_STATE, size);
	return words[size / sizeof(*words) - 1];
}

static void forge_files(int session_fd)
{
	int i;

	for (i = 0; i < ARRAY_SIZE(file_cases); i++) {
		const struct file_case *file = &file_cases[i];
		u64 handle = file->handle;
		int page = file->page;

		if (file->bdf) {
			page = FILES_PAGE + i;
			if (file->longer)
				write_longer_record(page, file->bdf);
			else
				write_record(page, file->bdf, file->domain);
		}
		if (file->bdf || file->misplaced)
			handle = page_phys(page) + file->offset;
		if (file->flbs)
			handle = flbs_phys();

		preserve_as(session_fd, VFIO_PCI_FILE, handle, FORGED_TOKEN + i);
	}
}

/* The device of vfio-pci, and the iommufd that it is attached to, of other kernels. */
static void forge_others(int session_fd)
{
	struct other_iommufd_ser iommufd = {
		.nr_hwpts = 1,
		.hwpt = { .domain_data = page_phys(IOMMUS_PAGE), .token = 1 },
	};
	struct other_iommus_ser iommus = { .version = 1 };

	write_longer_record(DEVICE_PAGE, device_bdf);
	page_write(IOMMUFD_PAGE, &iommufd, sizeof(iommufd));
	page_write(IOMMUS_PAGE, &iommus, sizeof(iommus));
	if (ioctl(forge_fd, LIVEUPDATE_FORGE_SET_IOMMUS_HANDLE, page_phys(IOMMUS_PAGE)))
		fail_exit("setting the handle of the IOMMUs");

	preserve_as(session_fd, OTHER_IOMMUFD_FILE, page_phys(IOMMUFD_PAGE), IOMMUFD_TOKEN);
	preserve_as(session_fd, VFIO_PCI_FILE, page_phys(DEVICE_PAGE), DEVICE_TOKEN);
}

static void stage_1(int luo_fd, const struct test_case *test)
{
	int forged_fd, other_fd;
	struct lists lists = {};

	forge_fd = open(FORGE_DEVICE, O_RDWR);
	if (forge_fd < 0)
		ksft_exit_skip("open(%s): %m (is the module liveupdate_forge loaded?)\n",
			       FORGE_DEVICE);

	fill_devices(&lists);
	fill_drivers(&lists);
	fill_probes(&lists);
	if (test->forge)
		test->forge(&lists);
	page_write(DEVICES_PAGE, &lists.devices, sizeof(lists.devices));
	page_write(DEVICE_BLOCK_PAGE, &lists.device_block, sizeof(lists.device_block));
	page_write(DRIVERS_PAGE, &lists.drivers, sizeof(lists.drivers));
	page_write(DRIVER_BLOCK_PAGE, &lists.driver_block, sizeof(lists.driver_block));
	page_write(PROBES_PAGE, &lists.probes, sizeof(lists.probes));
	page_write(PROBE_BLOCK_PAGE, &lists.probe_block, sizeof(lists.probe_block));
	if (ioctl(forge_fd, LIVEUPDATE_FORGE_SET_DEVICES_HANDLE, lists.devices_handle) ||
	    ioctl(forge_fd, LIVEUPDATE_FORGE_SET_DRIVERS_HANDLE, lists.drivers_handle) ||
	    ioctl(forge_fd, LIVEUPDATE_FORGE_SET_PROBES_HANDLE, lists.probes_handle))
		fail_exit("setting the handles");

	create_state_file(luo_fd, STATE_SESSION, STATE_TOKEN, 2);
	forged_fd = create_session(luo_fd, FORGED_SESSION);
	other_fd = create_session(luo_fd, OTHER_SESSION);

	if (test->others) {
		forge_others(forged_fd);
	} else {
		write_record(DEVICE_PAGE, device_bdf, 0);
		preserve_as(forged_fd, VFIO_PCI_FILE, page_phys(DEVICE_PAGE), DEVICE_TOKEN);
	}
	if (test->twice || test->unlisted || test->kept) {
		write_record(OTHER_PAGE, test->kept ? MISSING_BDF : device_bdf, 0);
		preserve_as(other_fd, VFIO_PCI_FILE, page_phys(OTHER_PAGE), DEVICE_TOKEN);
	}
	if (test->files)
		forge_files(forged_fd);
	if (test->unknown)
		preserve_as(forged_fd, UNKNOWN_FILE, 0, FORGED_TOKEN);

	ksft_set_plan(1);
	ksft_test_result_pass("forged what the next kernel will find\n");
	ksft_print_cnts();
	close(luo_fd);
	daemonize_and_wait();
}

/* How many lines of the log have both in them. */
static int count_logged_of(const char *what, const char *whom)
{
	static char log[1 << 20];
	int len, count = 0;
	char *line;

	len = klogctl(SYSLOG_ACTION_READ_ALL, log, sizeof(log) - 1);
	if (len < 0)
		fail_exit("klogctl");
	log[len] = '\0';

	for (line = strtok(log, "\n"); line; line = strtok(NULL, "\n"))
		count += strstr(line, what) && strstr(line, whom);
	return count;
}

static int count_logged(const char *what)
{
	return count_logged_of(what, "");
}

/* Returns 0, or -errno. */
static int write_sysfs(const char *path, const char *value)
{
	int fd = open(path, O_WRONLY);
	int ret;

	if (fd < 0)
		fail_exit("open(%s)", path);
	ret = write(fd, value, strlen(value)) < 0 ? -errno : 0;
	close(fd);
	return ret;
}

/* Returns 0, or -errno. */
static int bind_device(const char *driver)
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/driver_override", device_bdf);
	if (write_sysfs(path, driver))
		fail_exit("writing %s", path);

	snprintf(path, sizeof(path), "/sys/bus/pci/drivers/%s/bind", driver);
	return write_sysfs(path, device_bdf);
}

static int open_device(void)
{
	const char *path = vfio_pci_get_cdev_path(device_bdf);
	int fd = open(path, O_RDWR);

	free((void *)path);
	if (fd < 0)
		return -errno;
	close(fd);
	return 0;
}

static int check_session(int luo_fd, const char *name)
{
	int session_fd, fd;

	session_fd = luo_retrieve_session(luo_fd, name);
	require(session_fd >= 0, "session %s is retrieved", name);

	fd = restore_and_verify_memfd(session_fd, MEMFD_TOKEN, PATTERN);
	check(fd >= 0, "memfd in session %s is intact", name);
	if (fd >= 0)
		close(fd);
	return session_fd;
}

/* No driver gets the device, but for vfio-pci if it can take it over. */
static void check_bind(const struct test_case *test)
{
	bool bound = test->outcome == RETRIEVED || test->outcome == NOT_OWNED;
	int before = count_logged_of(LOG_NOT_BOUND, device_bdf);
	char *driver;

	driver = sysfs_driver_get(device_bdf);
	check(!driver, "no driver is bound to the device");
	free(driver);

	check_ret(bind_device("pci-stub"), -EBUSY, "binding another driver is refused");
	check_ret(bind_device("vfio-pci"), bound ? 0 : -EBUSY, "binding vfio-pci is %s",
		  bound ? "possible" : "refused");
	check(count_logged_of(LOG_NOT_BOUND, device_bdf) - before == 1 + !bound,
	      "each driver that is refused is reported");
	if (bound)
		check_ret(open_device(), -EBUSY, "opening the device is refused");
	else
		check(!sysfs_driver_get(device_bdf), "no driver is bound to the device still");
}

/*
 * A file cannot be retrieved, and the log says why: once, or each time if its device
 * may still come.
 */
static void check_lost(int session_fd, const char *session, u64 token, int error,
		       const char *why, const char *what)
{
	char line[128];
	int times = error == -ENODEV ? 2 : 1;
	int before;

	snprintf(line, sizeof(line), LOG_LOST, session);
	before = count_logged_of(line, why);

	check_ret(luo_session_retrieve_fd(session_fd, token), error,
		  "%s: retrieving is refused", what);
	check_ret(luo_session_retrieve_fd(session_fd, token), error,
		  "%s: retrieving again is refused", what);
	check(count_logged_of(line, why) == before + times, "%s: reported %s", what,
	      times == 1 ? "once" : "each time");
}

/* Reads the command register of the device, or writes it if @command is not negative. */
static u16 access_command(int command)
{
	u16 value = command;
	int fd;

	if (command < 0)
		return read_config(PCI_COMMAND);

	fd = open_config();
	if (pwrite(fd, &value, sizeof(value), PCI_COMMAND) != sizeof(value))
		fail_exit("writing the command register");
	close(fd);
	return value;
}

/* A session that nobody finishes leaves a device alone that another one has in use. */
static void check_unlisted(int luo_fd)
{
	int session_fd = check_session(luo_fd, OTHER_SESSION);

	access_command(access_command(-1) | PCI_COMMAND_MASTER);
	check(!close(session_fd), "other session is closed");
	check(access_command(-1) & PCI_COMMAND_MASTER, "device was neither stopped nor reset");
}

/* What is handed over is right: the device can be had from its session. */
static void check_retrieved(int luo_fd, int session_fd, const struct test_case *test)
{
	struct iommu *iommu;
	int fd;

	fd = luo_session_retrieve_fd(session_fd, DEVICE_TOKEN);
	require(fd >= 0, "device is retrieved");

	check_ret(luo_session_finish(session_fd), -EBUSY,
		  "finishing before the device is bound is refused");

	iommu = iommu_init(MODE_IOMMUFD);
	check_ret(__vfio_device_bind_iommufd(fd, iommu->iommufd, NULL), 0,
		  "device is bound");
	if (test->unlisted)
		check_unlisted(luo_fd);
	close(fd);
	iommu_cleanup(iommu);
}

static void check_device(int luo_fd, int session_fd, const struct test_case *test)
{
	switch (test->outcome) {
	case RETRIEVED:
		check_retrieved(luo_fd, session_fd, test);
		break;
	case NOT_BOUND:
		check_lost(session_fd, FORGED_SESSION, DEVICE_TOKEN, -EACCES,
			   LOST_BARRED, "device");
		break;
	case NOT_BOUND_NOR_OWNED:
	case NOT_OWNED:
		check_lost(session_fd, FORGED_SESSION, DEVICE_TOKEN, -EINVAL,
			   LOST_NOT_FOR_IT, "device");
		break;
	}
}

/* Whoever finishes the session, the device waits for the file that it belongs to. */
static void check_still_refused(const struct test_case *test)
{
	if (test->outcome == NOT_OWNED)
		check_ret(open_device(), -EBUSY, "opening the device is still refused");
	else
		check_ret(bind_device("vfio-pci"), -EBUSY, "binding vfio-pci is still refused");
}

/* Once it is finished, the device is as if it had not been preserved. */
static void check_ordinary(void)
{
	char *driver = sysfs_driver_get(device_bdf);

	if (!driver && bind_device("vfio-pci"))
		ksft_print_msg("vfio-pci does not get the device\n");
	free(driver);

	driver = sysfs_driver_get(device_bdf);
	require(driver && !strcmp(driver, "vfio-pci"), "vfio-pci is bound after that");
	free(driver);
	check_ret(open_device(), 0, "device can be opened by anybody after that");
}

static void check_files(int session_fd)
{
	int i;

	for (i = 0; i < ARRAY_SIZE(file_cases); i++) {
		const struct file_case *file = &file_cases[i];

		if (i && i % LOST_AT_ONCE == 0)
			sleep(LOST_INTERVAL);
		check_lost(session_fd, FORGED_SESSION, FORGED_TOKEN + i, file->error,
			   file->lost, file->name);
	}
}

/* Each case has one thing wrong, and so at most one line in the log. */
static void check_reported(const struct test_case *test)
{
	static const char * const lines[] = {
		LOG_UNREADABLE, LOG_ALL, LOG_TWICE, LOG_IGNORED, LOG_NO_DRIVER,
		LOG_NO_PROBES, LOG_OTHER,
	};
	int i, count = 0;

	for (i = 0; i < ARRAY_SIZE(lines); i++)
		count += count_logged(lines[i]);
	check(count == !!test->reported, "lists are%s reported",
	      test->reported ? "" : " not");
	if (test->reported)
		check(count_logged(test->reported) == 1, "reported: %s", test->reported);
}

/* A session that nobody finishes, as if its process had died, takes no other's device. */
static void check_twice(int luo_fd)
{
	int session_fd = check_session(luo_fd, OTHER_SESSION);

	check_lost(session_fd, OTHER_SESSION, DEVICE_TOKEN, -EINVAL, LOST_NOT_FOR_IT,
		   "file of the other session");
	check(!close(session_fd), "other session is closed");
	check_ret(open_device(), -EBUSY, "opening the device is still refused");
}

static int files_logged(void)
{
	int i, count = 0;

	for (i = 0; i < ARRAY_SIZE(file_cases); i++)
		count += file_cases[i].logged;
	return count;
}

static void check_other_session(int luo_fd, const struct test_case *test)
{
	int session_fd = check_session(luo_fd, OTHER_SESSION);

	if (test->kept)
		check_lost(session_fd, OTHER_SESSION, DEVICE_TOKEN, -ENODEV, LOST_MISSING,
			   "file of the other session");
	check_ret(luo_session_finish(session_fd), 0, "other session is finished");
	close(session_fd);
}

/* Not the session's file finishes the device then, but the end of the lists. */
static bool belongs_to_other(const struct test_case *test)
{
	return test->outcome == NOT_BOUND_NOR_OWNED || test->outcome == NOT_OWNED;
}

static int planned(const struct test_case *test)
{
	int count = 20;

	if (test->reported)
		count++;
	if (test->left)
		count++;
	if (test->files)
		count += 3 * ARRAY_SIZE(file_cases);
	if (test->unknown)
		count += 5;
	if (test->twice)
		count += 4;
	if (test->unlisted)
		count++;
	if (test->kept)
		count += 3;
	if (belongs_to_other(test))
		count++;
	return count;
}

static void stage_2(int luo_fd, int state_session_fd, const struct test_case *test)
{
	int session_fd, stage;

	ksft_set_plan(planned(test));

	restore_and_read_stage(state_session_fd, STATE_TOKEN, &stage);
	check(stage == 2, "state file says stage 2");
	check(!(read_config(PCI_COMMAND) & PCI_COMMAND_MASTER), "device does no DMA");
	check_reported(test);

	session_fd = check_session(luo_fd, FORGED_SESSION);
	check_bind(test);
	if (test->twice)
		check_twice(luo_fd);
	if (test->files)
		check_files(session_fd);
	if (test->unknown) {
		check_ret(luo_session_retrieve_fd(session_fd, FORGED_TOKEN), -EPROTONOSUPPORT,
			  "file without a handler is not retrieved");
		check_ret(luo_session_retrieve_fd(session_fd, FORGED_TOKEN), -EPROTONOSUPPORT,
			  "file without a handler is not retrieved again");
		/* It is looked for each time: its module may come late. */
		check(count_logged(LOG_NO_HANDLER) == 2,
		      "file without a handler is reported each time");
	}
	check_device(luo_fd, session_fd, test);
	if (test->unknown) {
		check_ret(luo_session_finish(session_fd), -EBUSY,
			  "session with a file without a handler is not finished");
		check_ret(system("modprobe liveupdate_forge only_unknown=1"), 0,
			  "module with the handler is loaded");
	}
	check_ret(luo_session_finish(session_fd), 0, "session is finished");
	close(session_fd);
	if (belongs_to_other(test))
		check_still_refused(test);
	else
		check_ordinary();
	if (!test->twice && !test->unlisted)
		check_other_session(luo_fd, test);
	if (belongs_to_other(test))
		check_ordinary();

	check(count_logged(LOG_BAD_FILE) == (test->files ? files_logged() : 0),
	      "each record of a file that makes no sense is reported once");
	if (test->left)
		check(count_logged_of(test->left, test->left_bdf ?: device_bdf) == 1,
		      "reported:%s", test->left);

	if (luo_session_finish(state_session_fd))
		fail_exit("finishing the state session");
	close(state_session_fd);
	ksft_finished();
}

/* A file in a layout of other kernels is refused, and the log says what it is. */
static void check_other(int session_fd, u64 token, const char *line, const char *what)
{
	check_ret(luo_session_retrieve_fd(session_fd, token), -EPROTONOSUPPORT,
		  "%s of another kernel is not retrieved", what);
	check(count_logged(line) == 1, "reported: %s", line);
}

/* What other kernels hand over is not taken for ours, and costs nobody else anything. */
static void stage_2_others(int luo_fd, int state_session_fd, const struct test_case *test)
{
	int session_fd, stage;

	ksft_set_plan(22);

	restore_and_read_stage(state_session_fd, STATE_TOKEN, &stage);
	check(stage == 2, "state file says stage 2");
	check(!(read_config(PCI_COMMAND) & PCI_COMMAND_MASTER), "device does no DMA");
	check_reported(test);
	check(count_logged(LOG_OTHER_IOMMUS) == 1, "reported: %s", LOG_OTHER_IOMMUS);

	session_fd = check_session(luo_fd, FORGED_SESSION);
	check_bind(test);
	check_other(session_fd, DEVICE_TOKEN, LOG_OTHER_VFIO_PCI, "device");
	check_other(session_fd, IOMMUFD_TOKEN, LOG_OTHER_IOMMUFD, "iommufd");
	check_ret(luo_session_finish(session_fd), -EBUSY, "session is not finished");
	check_ret(open_device(), -EBUSY, "opening the device is still refused");
	check(!close(session_fd), "session is closed");
	check_ret(open_device(), -EBUSY, "opening the device is refused even then");
	check_other_session(luo_fd, test);

	if (luo_session_finish(state_session_fd))
		fail_exit("finishing the state session");
	close(state_session_fd);
	ksft_finished();
}

static void usage(FILE *stream, const char *name)
{
	int i;

	fprintf(stream,
		"Usage: %s --stage 1|2 --case CASE segment:bus:device.function\n"
		"\n"
		"  -s, --stage 1    forge, before the kexec (default)\n"
		"  -s, --stage 2    check what became of it, after the kexec\n"
		"  -c, --case CASE  one of",
		name);
	for (i = 0; i < ARRAY_SIZE(test_cases); i++)
		fprintf(stream, " %s", test_cases[i].name);
	fprintf(stream, "\n");
}

static const struct test_case *find_case(const char *name)
{
	int i;

	for (i = 0; i < ARRAY_SIZE(test_cases); i++) {
		if (!strcmp(test_cases[i].name, name))
			return &test_cases[i];
	}
	ksft_exit_fail_msg("--case %s: there is no such case\n", name);
}

static void run(int stage, const struct test_case *test)
{
	int luo_fd, state_session_fd;

	luo_fd = luo_open_device();
	if (luo_fd < 0)
		ksft_exit_fail_msg("open(%s): %m\n", LUO_DEVICE);

	if (stage == 1) {
		stage_1(luo_fd, test);
		return;
	}

	state_session_fd = luo_retrieve_session(luo_fd, STATE_SESSION);
	if (state_session_fd < 0)
		ksft_exit_fail_msg("session %s: %s (where is stage 1?)\n", STATE_SESSION,
				   strerror(-state_session_fd));
	if (test->others)
		stage_2_others(luo_fd, state_session_fd, test);
	else
		stage_2(luo_fd, state_session_fd, test);
}

int main(int argc, char *argv[])
{
	const struct test_case *test;
	const char *name = NULL;
	int stage = 1;
	const struct luo_option options[] = {
		{ "stage", 's', .number = &stage },
		{ "case", 'c', .text = &name },
		{}
	};

	luo_parse_options(argc, argv, options, usage);
	if (stage != 1 && stage != 2)
		ksft_exit_fail_msg("--stage %d: not 1 or 2\n", stage);
	if (!name) {
		usage(stderr, argv[0]);
		return KSFT_FAIL;
	}
	test = find_case(name);

	snprintf(device_bdf, sizeof(device_bdf), "%s", vfio_selftests_get_bdf(&argc, argv));
	ksft_print_header();
	run(stage, test);

	return KSFT_FAIL;
}
