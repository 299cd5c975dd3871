// SPDX-License-Identifier: GPL-2.0-only
/*
 * What a kernel makes of records of vfio-pci devices that are wrong.
 *
 * Stage 1 runs before the kexec, in a kernel with the module liveupdate_forge,
 * which hands over what it is told. Stage 2 runs after the kexec, in a kernel
 * with vfio-pci, and checks that what is wrong is reported and harms nobody:
 * neither the machine, nor the other files of the session, nor other sessions.
 *
 * There is one list of PCI devices, and a record for each file. What is wrong
 * with them depends on the case, of which each kexec takes one: stage 2 has to be
 * told the same case and device as stage 1.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
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
#include <linux/types.h>

#include <libliveupdate.h>
#include <libvfio.h>

#include "../../../../include/linux/kho/abi/pci.h"
#include "../../../../include/linux/kho/abi/vfio_pci.h"

#define FORGE_DEVICE			"/dev/liveupdate_forge"
#define LIVEUPDATE_FORGE_SET_FILE_HANDLE _IO('f', 0)
#define LIVEUPDATE_FORGE_SET_FLB_HANDLE	_IO('f', 1)

/* The files that the module preserves: as vfio-pci, and as nobody knows what. */
#define VFIO_PCI_FILE			"/dev/null"
#define UNKNOWN_FILE			"/dev/full"

#define STATE_SESSION			"forged-state"
#define STATE_TOKEN			1

#define FORGED_SESSION			"forged"
#define OTHER_SESSION			"not-forged"
#define MEMFD_TOKEN			0x100
#define DEVICE_TOKEN			0x200
#define FORGED_TOKEN			0x300

#define PATTERN				"not touched by what was forged"

/* Syslog action of klogctl(): read all that is there. */
#define SYSLOG_ACTION_READ_ALL		3

#define LOG_BAD_LIST	"cannot take over preserved devices: "
#define LOG_BAD_FILE	"a file was handed over with a bad record"
#define LOG_MISSING	"0000:7f:1f.7 was preserved, but was never found"

/* Where there is no device. */
#define MISSING_BDF			"0000:7f:1f.7"

/* Memory of the kernel's own, which nobody hands over. */
#define FOREIGN_MEMORY			0x100000

/* Physical address of no memory. */
#define BEYOND_MEMORY			BIT_ULL(51)

/* As in include/linux/kho/abi/block.h, which cannot be included here. */
struct block {
	u64 next;
	u64 count;
	struct pci_dev_ser entries[8];
} __packed;

/* Which page has what. */
enum {
	LIST_PAGE,
	BLOCK_PAGE,
	DEVICE_PAGE,
	OTHER_PAGE,
	FILES_PAGE,
};

/* The list of PCI devices. */
struct list {
	u64 handle;
	struct pci_ser ser;
	struct block block;
};

static const char *device_bdf;
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

/* The list as it has to be: the device, and the bridges above it. */
static void list_fill(struct list *list)
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
		list->block.entries[count++] = (struct pci_dev_ser) {
			.domain = ser.domain,
			.bdf = ser.bdf,
			.refcount = 1,
		};
	}

	list->block.count = count;
	list->ser = (struct pci_ser) {
		.version = PCI_LUO_FLB_VERSION,
		.nr_devices = count,
		.devices = page_phys(BLOCK_PAGE),
	};
	list->handle = page_phys(LIST_PAGE);
}

static void forge_version(struct list *list)
{
	list->ser.version++;
}

static void forge_count(struct list *list)
{
	list->ser.nr_devices++;
}

static void forge_duplicate(struct list *list)
{
	list->block.entries[0] = list->block.entries[1];
}

static void forge_domain(struct list *list)
{
	list->block.entries[0].domain = ~0;
}

static void forge_null(struct list *list)
{
	list->handle = 0;
}

static void forge_unaligned(struct list *list)
{
	list->handle += sizeof(u64);
}

static void forge_foreign(struct list *list)
{
	list->handle = FOREIGN_MEMORY;
}

static void forge_beyond(struct list *list)
{
	list->handle = BEYOND_MEMORY;
}

static void forge_block_foreign(struct list *list)
{
	list->ser.devices = FOREIGN_MEMORY;
}

static void forge_block_loop(struct list *list)
{
	list->block.next = page_phys(BLOCK_PAGE);
}

static void forge_block_long(struct list *list)
{
	list->block.count = getpagesize();
}

static void forge_block_empty(struct list *list)
{
	list->block.count = 0;
}

static void forge_refcount(struct list *list)
{
	int i;

	for (i = 0; i < list->block.count; i++)
		list->block.entries[i].refcount = UINT16_MAX;
}

static void forge_missing(struct list *list)
{
	struct vfio_pci_core_device_ser ser = parse_bdf(MISSING_BDF);

	list->block.entries[list->block.count++] = (struct pci_dev_ser) {
		.domain = ser.domain,
		.bdf = ser.bdf,
		.refcount = 1,
	};
	list->ser.nr_devices++;
}

static const struct test_case {
	const char *name;
	void (*forge)(struct list *list);
	/* What is wrong with the list, as the log says it, if it is not used. */
	const char *refused;
	/* What the log says when all sessions are finished. */
	const char *logged;
	/* Whether there are files whose records are wrong. */
	bool files;
	/* Whether there is a file that no handler is for. */
	bool unknown;
	/* Whether a file in the other session names the same device. */
	bool twice;
	/* Whether a file in the other session keeps the list alive. */
	bool kept;
} test_cases[] = {
	{ .name = "files", .files = true },
	{ .name = "unknown", .unknown = true },
	{ .name = "twice", .twice = true },
	{ .name = "refcount", .forge = forge_refcount, .kept = true },
	{ .name = "missing", .forge = forge_missing, .logged = LOG_MISSING },
	{ .name = "version", .forge = forge_version, .refused = "Record(Version(" },
	{ .name = "count", .forge = forge_count, .refused = "Record(Count {" },
	{ .name = "duplicate", .forge = forge_duplicate, .refused = "Record(Duplicate(" },
	{ .name = "domain", .forge = forge_domain, .refused = "Record(Domain(" },
	{ .name = "null", .forge = forge_null, .refused = "Memory(" },
	{ .name = "unaligned", .forge = forge_unaligned, .refused = "Memory(" },
	{ .name = "foreign", .forge = forge_foreign, .refused = "Memory(" },
	{ .name = "beyond", .forge = forge_beyond, .refused = "Memory(" },
	{ .name = "block-foreign", .forge = forge_block_foreign, .refused = "Memory(" },
	{ .name = "block-loop", .forge = forge_block_loop, .refused = "Memory(" },
	{ .name = "block-long", .forge = forge_block_long, .refused = "Memory(" },
	{ .name = "block-empty", .forge = forge_block_empty, .refused = "Memory(" },
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
	int error;
	/* Whether finishing the file is reported: if the record makes no sense. */
	bool logged;
} file_cases[] = {
	{
		.name = "no device there",
		.bdf = MISSING_BDF,
		.error = -ENODEV,
		/* The next one frees the record. */
		.logged = true,
	},
	{
		.name = "record of another file",
		.misplaced = true,
		.page = FILES_PAGE,
		.error = -ENODEV,
	},
	{
		.name = "record that is the list",
		.misplaced = true,
		.page = LIST_PAGE,
		.error = -EINVAL,
		.logged = true,
	},
	{
		.name = "no such domain",
		.bdf = "1234:01:00.0",
		.error = -ENODEV,
	},
	{
		.name = "impossible domain",
		.bdf = MISSING_BDF,
		.domain = ~0,
		.error = -EINVAL,
		.logged = true,
	},
	{
		.name = "device that is not on the list",
		.bdf = "0000:00:00.0",
		.error = -EINVAL,
	},
	{
		.name = "bridge that is on the list",
		.bdf = bridge_bdf,
		.error = -ENODEV,
	},
	{
		.name = "null",
		.error = -EINVAL,
		.logged = true,
	},
	{
		.name = "unaligned",
		.bdf = MISSING_BDF,
		.offset = sizeof(u64),
		.error = -EINVAL,
		.logged = true,
	},
	{
		.name = "foreign memory",
		.handle = FOREIGN_MEMORY,
		.error = -EINVAL,
		.logged = true,
	},
	{
		.name = "beyond memory",
		.handle = BEYOND_MEMORY,
		.error = -EINVAL,
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

static void forge_files(int session_fd)
{
	int i;

	for (i = 0; i < ARRAY_SIZE(file_cases); i++) {
		const struct file_case *file = &file_cases[i];
		u64 handle = file->handle;
		int page = file->page;

		if (file->bdf) {
			page = FILES_PAGE + i;
			write_record(page, file->bdf, file->domain);
		}
		if (file->bdf || file->misplaced)
			handle = page_phys(page) + file->offset;

		preserve_as(session_fd, VFIO_PCI_FILE, handle, FORGED_TOKEN + i);
	}
}

static void stage_1(int luo_fd, const struct test_case *test)
{
	int forged_fd, other_fd;
	struct list list = {};

	forge_fd = open(FORGE_DEVICE, O_RDWR);
	if (forge_fd < 0)
		ksft_exit_skip("open(%s): %m (is the module liveupdate_forge loaded?)\n",
			       FORGE_DEVICE);

	list_fill(&list);
	if (test->forge)
		test->forge(&list);
	page_write(LIST_PAGE, &list.ser, sizeof(list.ser));
	page_write(BLOCK_PAGE, &list.block, sizeof(list.block));
	if (ioctl(forge_fd, LIVEUPDATE_FORGE_SET_FLB_HANDLE, list.handle))
		fail_exit("setting the handle");

	create_state_file(luo_fd, STATE_SESSION, STATE_TOKEN, 2);
	forged_fd = create_session(luo_fd, FORGED_SESSION);
	other_fd = create_session(luo_fd, OTHER_SESSION);

	write_record(DEVICE_PAGE, device_bdf, 0);
	preserve_as(forged_fd, VFIO_PCI_FILE, page_phys(DEVICE_PAGE), DEVICE_TOKEN);
	if (test->twice || test->kept) {
		write_record(OTHER_PAGE, test->twice ? device_bdf : MISSING_BDF, 0);
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

/* How many lines of the log have @what in them. */
static int count_logged(const char *what)
{
	static char log[1 << 20];
	const char *hit = log;
	int len, count = 0;

	len = klogctl(SYSLOG_ACTION_READ_ALL, log, sizeof(log) - 1);
	if (len < 0)
		fail_exit("klogctl");
	log[len] = '\0';

	while ((hit = strstr(hit, what))) {
		count++;
		hit += strlen(what);
	}
	return count;
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

/* The list is right: the device can be had from the session, and only there. */
static void check_device(int session_fd)
{
	struct iommu *iommu;
	int fd;

	check_ret(open_device(), -EBUSY, "opening the device is refused");

	fd = luo_session_retrieve_fd(session_fd, DEVICE_TOKEN);
	require(fd >= 0, "device is retrieved");

	check_ret(luo_session_finish(session_fd), -EBUSY,
		  "finishing before the device is bound is refused");

	iommu = iommu_init(MODE_IOMMUFD);
	check_ret(__vfio_device_bind_iommufd(fd, iommu->iommufd, NULL), 0,
		  "device is bound");
	close(fd);
	iommu_cleanup(iommu);
}

/* The list is not used: it is as if no device had been preserved. */
static void check_refused(int session_fd, const char *refused)
{
	char line[128];

	snprintf(line, sizeof(line), "%s%s", LOG_BAD_LIST, refused);
	check(count_logged(line) == 1, "list is reported: %s", refused);

	check_ret(luo_session_retrieve_fd(session_fd, DEVICE_TOKEN), -EINVAL,
		  "retrieving the device is refused");
	check_ret(open_device(), 0, "device can be opened by anybody");
}

static void check_files(int session_fd)
{
	u64 token = FORGED_TOKEN;
	int i;

	for (i = 0; i < ARRAY_SIZE(file_cases); i++, token++) {
		const struct file_case *file = &file_cases[i];

		check_ret(luo_session_retrieve_fd(session_fd, token), file->error,
			  "%s: retrieving is refused", file->name);
		check_ret(luo_session_retrieve_fd(session_fd, token), file->error,
			  "%s: retrieving again is refused", file->name);
	}
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
		check_ret(luo_session_retrieve_fd(session_fd, DEVICE_TOKEN), -ENODEV,
			  "file of the other session is not retrieved");
	check_ret(luo_session_finish(session_fd), 0, "other session is finished");
	close(session_fd);
}

static void stage_2(int luo_fd, int state_session_fd, const struct test_case *test)
{
	int session_fd, stage, ret;

	ksft_set_plan(10 + (test->refused ? 3 : 4) +
		      (test->files ? 2 * ARRAY_SIZE(file_cases) : 0) +
		      test->unknown + test->kept + !!test->logged);

	restore_and_read_stage(state_session_fd, STATE_TOKEN, &stage);
	check(stage == 2, "state file says stage 2");
	check(count_logged(LOG_BAD_LIST) == !!test->refused,
	      "list is%s reported", test->refused ? "" : " not");

	session_fd = check_session(luo_fd, FORGED_SESSION);
	if (test->twice) {
		/* As if its process had died: nobody is asked. */
		ret = close(check_session(luo_fd, OTHER_SESSION));
		check(!ret, "other session is closed");
	}
	if (test->refused)
		check_refused(session_fd, test->refused);
	if (test->files)
		check_files(session_fd);
	if (test->unknown) {
		ret = luo_session_retrieve_fd(session_fd, FORGED_TOKEN);
		ksft_print_msg("a file without a handler: %s\n", strerror(-ret));
		check(ret < 0, "file without a handler is not retrieved");
	}
	if (!test->refused)
		check_device(session_fd);
	check_ret(luo_session_finish(session_fd), 0, "session is finished");
	close(session_fd);
	check_ret(open_device(), 0, "device can be opened by anybody after that");
	if (!test->twice)
		check_other_session(luo_fd, test);

	check(count_logged(LOG_BAD_FILE) == (test->files ? files_logged() : 0),
	      "each record of a file that makes no sense is reported once");
	if (test->logged)
		check(count_logged(test->logged) == 1, "reported: %s", test->logged);

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
	stage_2(luo_fd, state_session_fd, test);
}

int main(int argc, char *argv[])
{
	static const struct option options[] = {
		{ "stage",	required_argument,	NULL, 's' },
		{ "case",	required_argument,	NULL, 'c' },
		{ "help",	no_argument,		NULL, 'h' },
		{}
	};
	const struct test_case *test = NULL;
	int stage = 1;
	int opt;

	while ((opt = getopt_long(argc, argv, "s:c:h", options, NULL)) != -1) {
		switch (opt) {
		case 's':
			stage = atoi(optarg);
			if (stage != 1 && stage != 2)
				ksft_exit_fail_msg("--stage %s: not 1 or 2\n", optarg);
			break;
		case 'c':
			test = find_case(optarg);
			break;
		case 'h':
			usage(stdout, argv[0]);
			return KSFT_PASS;
		default:
			usage(stderr, argv[0]);
			return KSFT_FAIL;
		}
	}

	if (!test) {
		usage(stderr, argv[0]);
		return KSFT_FAIL;
	}

	device_bdf = vfio_selftests_get_bdf(&argc, argv);
	ksft_print_header();
	run(stage, test);

	return KSFT_FAIL;
}
