// SPDX-License-Identifier: GPL-2.0-only
/*
 * Preserve a vfio-pci device, the iommufd that it is attached to and the memfd
 * that this maps, and take it all back, thousands of times, and look for what
 * that leaves behind: objects of slab caches, pages, and references to modules.
 *
 * Processors keep free objects and pages of their own, and other things go on in
 * the machine. So counts may differ by NOISE, and by no more however many rounds
 * there were; one lost object or page in each round would be ROUNDS of them.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <sys/mman.h>
#include <sys/socket.h>

#include <linux/filter.h>
#include <linux/kernel.h>
#include <linux/limits.h>
#include <linux/sizes.h>

#include <libliveupdate.h>
#include <liveupdate_test.h>
#include <luo_options.h>

#define DEFAULT_ROUNDS		10000
#define MIN_ROUNDS		(4 * NOISE)

/* Objects of one cache, or pages */
#define NOISE			250

/* How long to wait for memory that is freed with a delay */
#define SETTLE_TIMEOUT_S	20

#define DEVICE_TOKEN		0x1234
#define MEMFD_TOKEN		0x5678
#define IOMMUFD_TOKEN		0x9abc
#define HWPT_TOKEN		0xdef0
#define SESSION_NAME		"vfio-pci-rounds"

#define MAX_CACHES		512
#define MAX_MODULES		128
#define MAX_NAME		64

struct count {
	char name[MAX_NAME];
	long value;
};

/* What must not grow. */
struct usage {
	struct count caches[MAX_CACHES];
	struct count modules[MAX_MODULES];
	long free_pages;
};

static const char *device_bdf;
static struct usage before, after;

static FILE *open_file(const char *path, const char *mode)
{
	FILE *file = fopen(path, mode);

	if (!file)
		ksft_exit_skip("%s: %m (needs root, and CONFIG_SLUB_DEBUG)\n", path);

	return file;
}

static void read_caches(struct count *caches)
{
	FILE *file = open_file("/proc/slabinfo", "r");
	char line[512];
	int i = 0;

	while (fgets(line, sizeof(line), file)) {
		VFIO_ASSERT_LT(i, MAX_CACHES);
		/* Debug objects have a reserve: as many as ever were in use at a time. */
		if (sscanf(line, "%63s %ld", caches[i].name, &caches[i].value) == 2 &&
		    strcmp(caches[i].name, "debug_objects_cache"))
			i++;
		else
			caches[i].name[0] = 0;
	}

	VFIO_ASSERT_GT(i, 0);
	fclose(file);
}

static void read_modules(struct count *modules)
{
	struct dirent *entry;
	char path[PATH_MAX];
	FILE *file;
	DIR *dir;
	int i = 0;

	dir = opendir("/sys/module");
	VFIO_ASSERT_NOT_NULL(dir);

	while ((entry = readdir(dir))) {
		snprintf_assert(path, sizeof(path), "/sys/module/%s/refcnt",
				entry->d_name);
		file = fopen(path, "r");
		if (!file)
			continue;

		VFIO_ASSERT_LT(i, MAX_MODULES);
		snprintf_assert(modules[i].name, MAX_NAME, "%s", entry->d_name);
		if (fscanf(file, "%ld", &modules[i].value) == 1)
			i++;
		fclose(file);
	}

	closedir(dir);
}

/* Those of the buddy allocator, and those that processors keep for themselves. */
static long read_free_pages(void)
{
	FILE *file = open_file("/proc/zoneinfo", "r");
	long pages = 0, value;
	char line[512];

	while (fgets(line, sizeof(line), file)) {
		if (sscanf(line, " nr_free_pages %ld", &value) == 1 ||
		    sscanf(line, " count: %ld", &value) == 1)
			pages += value;
	}

	VFIO_ASSERT_GT(pages, 0);
	fclose(file);
	return pages;
}

/*
 * Has vmalloc() let go of areas that were freed, and KASAN and kmemleak of what they
 * know of them: as memory becomes read-only, and that of a socket's filter does.
 */
static void purge_vmalloc_areas(void)
{
	struct sock_filter all = BPF_STMT(BPF_RET | BPF_K, 0xffffffff);
	struct sock_fprog filter = { .len = 1, .filter = &all };
	int fd = socket(AF_UNIX, SOCK_DGRAM, 0);

	VFIO_ASSERT_GE(fd, 0);
	VFIO_ASSERT_EQ(setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &filter,
				  sizeof(filter)), 0);
	close(fd);
}

/* Frees what the allocator, or KASAN's quarantine, keeps though nobody has it any more. */
static void shrink_caches(void)
{
	static const char dir_path[] = "/sys/kernel/slab";
	struct dirent *entry;
	char path[PATH_MAX];
	DIR *dir;

	dir = opendir(dir_path);
	VFIO_ASSERT_NOT_NULL(dir);

	while ((entry = readdir(dir))) {
		if (entry->d_name[0] == '.')
			continue;
		snprintf_assert(path, sizeof(path), "%s/%s/shrink", dir_path, entry->d_name);
		VFIO_ASSERT_EQ(sysfs_write(path, "1"), 0);
	}

	closedir(dir);
}

static void usage_read(struct usage *usage)
{
	memset(usage, 0, sizeof(*usage));
	purge_vmalloc_areas();
	VFIO_ASSERT_EQ(sysfs_write("/proc/sys/vm/drop_caches", "3"), 0);
	shrink_caches();
	read_caches(usage->caches);
	read_modules(usage->modules);
	usage->free_pages = read_free_pages();
}

/* What is in @after and more than @noise above @before. */
static bool counts_grew(const struct count *before, const struct count *after, int size,
			long noise, bool verbose)
{
	bool grew = false;
	int i, j;

	for (i = 0; i < size && after[i].name[0]; i++) {
		long was = 0;

		for (j = 0; j < size && before[j].name[0]; j++) {
			if (!strcmp(before[j].name, after[i].name))
				was = before[j].value;
		}

		if (after[i].value - was <= noise)
			continue;

		grew = true;
		if (verbose)
			ksft_print_msg("%s: %ld before, %ld after\n", after[i].name,
				       was, after[i].value);
	}

	return grew;
}

static bool caches_grew(bool verbose)
{
	return counts_grew(before.caches, after.caches, MAX_CACHES, NOISE, verbose);
}

static bool modules_grew(bool verbose)
{
	return counts_grew(before.modules, after.modules, MAX_MODULES, 0, verbose);
}

static bool pages_lost(void)
{
	return before.free_pages - after.free_pages > NOISE;
}

/* One round, with the refusals that have something to take back. */
static bool one_round(int luo_fd, int iommufd, int device_fd, int memfd)
{
	int session_fd = luo_create_session(luo_fd, SESSION_NAME);
	bool ok;

	if (session_fd < 0)
		return false;

	ok = luo_session_preserve_fd(session_fd, iommufd, IOMMUFD_TOKEN) == -ENOENT &&
	     luo_session_preserve_fd(session_fd, device_fd, DEVICE_TOKEN) == -ENOENT &&
	     !luo_session_preserve_fd(session_fd, memfd, MEMFD_TOKEN) &&
	     !luo_session_preserve_fd(session_fd, iommufd, IOMMUFD_TOKEN) &&
	     !luo_session_preserve_fd(session_fd, device_fd, DEVICE_TOKEN) &&
	     luo_session_preserve_fd(session_fd, memfd, DEVICE_TOKEN) == -EEXIST &&
	     luo_session_preserve_fd(session_fd, device_fd, DEVICE_TOKEN + 1) == -EBUSY;

	return !close(session_fd) && ok;
}

static long run_rounds(long rounds, int luo_fd, int iommufd, int device_fd, int memfd)
{
	long i;

	for (i = 0; i < rounds; i++) {
		if (!one_round(luo_fd, iommufd, device_fd, memfd))
			break;
	}

	return i;
}

static void usage_text(FILE *stream, const char *name)
{
	fprintf(stream,
		"Usage: %s [--rounds N] segment:bus:device.function\n"
		"\n"
		"  -r, --rounds N  how often to preserve the device (%d, at least %d)\n",
		name, DEFAULT_ROUNDS, MIN_ROUNDS);
}

int main(int argc, char *argv[])
{
	int luo_fd, memfd, timeout = SETTLE_TIMEOUT_S;
	int rounds = DEFAULT_ROUNDS;
	struct vfio_pci_device *device;
	struct iommu *iommu;
	u64 start;
	long done;
	const struct luo_option options[] = {
		{ "rounds", 'r', .number = &rounds },
		{}
	};

	luo_parse_options(argc, argv, options, usage_text);

	device_bdf = vfio_selftests_get_bdf(&argc, argv);
	ksft_print_header();
	if (rounds < MIN_ROUNDS)
		ksft_exit_fail_msg("%d rounds prove nothing\n", rounds);

	luo_fd = luo_open_device();
	if (luo_fd < 0)
		ksft_exit_skip("open(%s): %m (booted with liveupdate=on?)\n",
			       LUO_DEVICE);

	iommu = iommu_init(MODE_IOMMUFD);
	device = vfio_pci_device_init(device_bdf, iommu);
	memfd = memfd_create("rounds", MFD_ALLOW_SEALING);
	VFIO_ASSERT_GE(memfd, 0);
	VFIO_ASSERT_EQ(ftruncate(memfd, SZ_64K), 0);
	VFIO_ASSERT_EQ(fcntl(memfd, F_ADD_SEALS, MAPPED_SEALS), 0);
	VFIO_ASSERT_NE(mmap(NULL, SZ_64K, PROT_READ | PROT_WRITE,
			    MAP_SHARED | MAP_POPULATE, memfd, 0), MAP_FAILED);

	VFIO_ASSERT_EQ(map_file(iommu, memfd, IOVA_BASE, SZ_64K), 0);
	VFIO_ASSERT_EQ(mark_hwpt(iommu, HWPT_TOKEN), 0);

	ksft_set_plan(5);

	/* What is allocated once, and what fills the caches of the processors */
	done = run_rounds(rounds / 10, luo_fd, iommu->iommufd, device->fd, memfd);
	require(done == rounds / 10, "%ld rounds to warm up", done);

	usage_read(&before);
	start = now_ns();
	done = run_rounds(rounds, luo_fd, iommu->iommufd, device->fd, memfd);
	require(done == rounds, "%ld rounds, %lu us each", done,
		(now_ns() - start) / rounds / 1000);

	do {
		sleep(1);
		usage_read(&after);
	} while ((caches_grew(false) || modules_grew(false) || pages_lost()) && timeout--);

	check(!caches_grew(true), "no slab cache has %d objects more", NOISE);
	ksft_print_msg("free pages: %ld before, %ld after\n", before.free_pages,
		       after.free_pages);
	check(!pages_lost(), "there are not %d pages less", NOISE);
	if (before.modules[0].name[0])
		check(!modules_grew(true), "no module has more references");
	else
		ksft_test_result_skip("references to modules: there are no modules\n");

	vfio_pci_device_cleanup(device);
	iommu_cleanup(iommu);
	close(luo_fd);
	ksft_finished();
}
