// SPDX-License-Identifier: GPL-2.0-only
/*
 * What a kernel makes of records of vfio-pci devices that are wrong.
 *
 * Stage 1 runs before the kexec, in a kernel with the module liveupdate_forge,
 * which hands over what it is told. Stage 2 runs after the kexec, in a kernel
 * with vfio-pci, and checks that what is wrong is reported and harms nobody:
 * neither the machine, nor the other files of the session, nor other sessions.
 *
 * Each kexec takes one case. In case "files" the list of PCI devices is right
 * and the records of files are wrong, in the others it is the other way around.
 * Stage 2 has to be told the same case and device as stage 1.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <stddef.h>
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
	FILES_PAGE,
};

/* The list of PCI devices, which each case but "files" makes wrong. */
struct list {
	u64 handle;
	struct pci_ser ser;
	struct block block;
};

static const char *device_bdf;
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
		if (strlen(part) != strlen("0000:00:00.0") || !strchr(part, '.'))
			continue;

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

/* Ways in which the list can be wrong, and what the log says then. */
static const struct list_case {
	const char *name;
	void (*forge)(struct list *list);
	const char *logged;
} list_cases[] = {
	{ "version",		forge_version,		"Record(Version(" },
	{ "count",		forge_count,		"Record(Count {" },
	{ "duplicate",		forge_duplicate,	"Record(Duplicate(" },
	{ "domain",		forge_domain,		"Record(Domain(" },
	{ "null",		forge_null,		"Memory(" },
	{ "unaligned",		forge_unaligned,	"Memory(" },
	{ "foreign",		forge_foreign,		"Memory(" },
	{ "beyond",		forge_beyond,		"Memory(" },
	{ "block-foreign",	forge_block_foreign,	"Memory(" },
	{ "block-loop",		forge_block_loop,	"Memory(" },
	{ "block-long",		forge_block_long,	"Memory(" },
	{ "block-empty",	forge_block_empty,	"Memory(" },
};

/* Ways in which the record of a file can be wrong. */
static const struct file_case {
	const char *name;
	/* What the handle is, if it is no record's address plus an offset. */
	u64 handle;
	u64 offset;
	/* What the record says, if it is not the device's address. */
	const char *bdf;
	u32 domain;
	int error;
	/* Whether finishing the file is reported: if the record makes no sense. */
	bool logged;
} file_cases[] = {
	{ .name = "no device there", .bdf = "0000:7f:1f.7", .error = -ENODEV },
	{ .name = "no such domain", .bdf = "1234:01:00.0", .error = -ENODEV },
	{ .name = "impossible domain", .domain = ~0, .error = -EINVAL, .logged = true },
	{ .name = "device that is not on the list", .bdf = "0000:00:00.0", .error = -EINVAL },
	{ .name = "null", .handle = 0, .error = -EINVAL, .logged = true },
	{ .name = "unaligned", .offset = sizeof(u64), .error = -EINVAL, .logged = true },
	{ .name = "foreign memory", .handle = FOREIGN_MEMORY, .error = -EINVAL, .logged = true },
	{ .name = "beyond memory", .handle = BEYOND_MEMORY, .error = -EINVAL, .logged = true },
};

static bool has_record(const struct file_case *file)
{
	return file->offset || file->bdf || file->domain;
}

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

static void forge_file(int session_fd, const struct file_case *file, int index)
{
	struct vfio_pci_core_device_ser ser;
	u64 handle = file->handle;

	if (has_record(file)) {
		ser = parse_bdf(file->bdf ?: device_bdf);
		if (file->domain)
			ser.domain = file->domain;

		page_write(FILES_PAGE + index, &ser, sizeof(ser));
		handle = page_phys(FILES_PAGE + index) + file->offset;
	}
	preserve_as(session_fd, VFIO_PCI_FILE, handle, FORGED_TOKEN + index);
}

static void stage_1(int luo_fd, const struct list_case *wrong, bool files,
		    bool unknown)
{
	struct vfio_pci_core_device_ser device = parse_bdf(device_bdf);
	struct list list = {};
	int session_fd, i;

	forge_fd = open(FORGE_DEVICE, O_RDWR);
	if (forge_fd < 0)
		ksft_exit_skip("open(%s): %m (is the module liveupdate_forge loaded?)\n",
			       FORGE_DEVICE);

	list_fill(&list);
	if (wrong)
		wrong->forge(&list);
	page_write(LIST_PAGE, &list.ser, sizeof(list.ser));
	page_write(BLOCK_PAGE, &list.block, sizeof(list.block));
	page_write(DEVICE_PAGE, &device, sizeof(device));
	if (ioctl(forge_fd, LIVEUPDATE_FORGE_SET_FLB_HANDLE, list.handle))
		fail_exit("setting the handle");

	create_state_file(luo_fd, STATE_SESSION, STATE_TOKEN, 2);
	create_session(luo_fd, OTHER_SESSION);

	session_fd = create_session(luo_fd, FORGED_SESSION);
	preserve_as(session_fd, VFIO_PCI_FILE, page_phys(DEVICE_PAGE), DEVICE_TOKEN);
	for (i = 0; files && i < ARRAY_SIZE(file_cases); i++)
		forge_file(session_fd, &file_cases[i], i);
	if (unknown)
		preserve_as(session_fd, UNKNOWN_FILE, 0, FORGED_TOKEN);

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

/* The list is wrong: it says that no device was preserved. */
static void check_list(int session_fd, const struct list_case *wrong)
{
	char line[128];

	check(count_logged(LOG_BAD_LIST) == 1, "wrong list is reported once");
	snprintf(line, sizeof(line), "%s%s", LOG_BAD_LIST, wrong->logged);
	check(count_logged(line) == 1, "report says what is wrong: %s", wrong->logged);

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

static void stage_2(int luo_fd, int state_session_fd,
		    const struct list_case *wrong, bool files, bool unknown)
{
	int forged_fd, other_fd, stage, ret;

	ksft_set_plan(9 + (wrong ? 4 : 5) +
		      (files ? 2 * ARRAY_SIZE(file_cases) : 0) + unknown);

	restore_and_read_stage(state_session_fd, STATE_TOKEN, &stage);
	check(stage == 2, "state file says stage 2");

	forged_fd = check_session(luo_fd, FORGED_SESSION);
	if (wrong)
		check_list(forged_fd, wrong);
	if (files)
		check_files(forged_fd);
	if (unknown) {
		ret = luo_session_retrieve_fd(forged_fd, FORGED_TOKEN);
		ksft_print_msg("a file without a handler: %s\n", strerror(-ret));
		check(ret < 0, "file without a handler is not retrieved");
	}
	if (!wrong)
		check_device(forged_fd);
	check_ret(luo_session_finish(forged_fd), 0, "session is finished");
	close(forged_fd);

	other_fd = check_session(luo_fd, OTHER_SESSION);
	check_ret(luo_session_finish(other_fd), 0, "other session is finished");
	close(other_fd);

	check(count_logged(LOG_BAD_FILE) == (files ? files_logged() : 0),
	      "each record of a file that makes no sense is reported once");
	if (!wrong)
		check(!count_logged(LOG_BAD_LIST), "list is not reported");
	check_ret(open_device(), 0, "device can be opened in the end");

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
		"  -c, --case CASE  one of files, unknown",
		name);
	for (i = 0; i < ARRAY_SIZE(list_cases); i++)
		fprintf(stream, ", %s", list_cases[i].name);
	fprintf(stream, "\n");
}

static const struct list_case *find_list_case(const char *name)
{
	int i;

	for (i = 0; i < ARRAY_SIZE(list_cases); i++) {
		if (!strcmp(list_cases[i].name, name))
			return &list_cases[i];
	}
	ksft_exit_fail_msg("--case %s: there is no such case\n", name);
}

static void run(int stage, const char *name)
{
	bool unknown = !strcmp(name, "unknown"), files = !strcmp(name, "files");
	const struct list_case *wrong = NULL;
	int luo_fd, state_session_fd;

	if (!unknown && !files)
		wrong = find_list_case(name);

	luo_fd = luo_open_device();
	if (luo_fd < 0)
		ksft_exit_fail_msg("open(%s): %m\n", LUO_DEVICE);

	if (stage == 1) {
		stage_1(luo_fd, wrong, files, unknown);
		return;
	}

	state_session_fd = luo_retrieve_session(luo_fd, STATE_SESSION);
	if (state_session_fd < 0)
		ksft_exit_fail_msg("session %s: %s (where is stage 1?)\n", STATE_SESSION,
				   strerror(-state_session_fd));
	stage_2(luo_fd, state_session_fd, wrong, files, unknown);
}

int main(int argc, char *argv[])
{
	static const struct option options[] = {
		{ "stage",	required_argument,	NULL, 's' },
		{ "case",	required_argument,	NULL, 'c' },
		{ "help",	no_argument,		NULL, 'h' },
		{}
	};
	const char *name = "files";
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
			name = optarg;
			break;
		case 'h':
			usage(stdout, argv[0]);
			return KSFT_PASS;
		default:
			usage(stderr, argv[0]);
			return KSFT_FAIL;
		}
	}

	device_bdf = vfio_selftests_get_bdf(&argc, argv);
	ksft_print_header();
	run(stage, name);

	return KSFT_FAIL;
}
