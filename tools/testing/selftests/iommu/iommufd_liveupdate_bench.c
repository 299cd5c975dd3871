// SPDX-License-Identifier: GPL-2.0-only
/*
 * What a live update of devices that go on costs.
 *
 * Stage 1 runs before a kexec: it attaches each device to an HWPT of an iommufd of
 * its own, maps one memfd many times, and preserves all of it. Stage 2 runs after
 * it and takes it back. Each line
 *
 *	LU-COUNT <what> <cycles>
 *
 * is what one step took for all devices, by the time stamp counter. In a virtual
 * machine that counts one cycle per instruction, that is how many there were. When
 * the kernels did what, by their logs, can be told from a line in them
 *
 *	LU-TSC <cycles>
 *
 * at the end of stage 1, and with --now, for the next kernel to begin with.
 *
 * With --pages, there is no device: so many pages of memory are preserved alone,
 * by themselves or next to each other.
 *
 * There is nothing to pass or to fail but each step by itself.
 */
#include <getopt.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <libliveupdate.h>

#include "iommufd_liveupdate_common.h"

#define SESSION		"iommufd-bench"
#define STATE_SESSION	"iommufd-bench-state"
#define MOVE_SESSION	"iommufd-bench-move"

#define STATE_TOKEN	1
#define MEMFD_TOKEN	2
#define IOMMUFD_TOKEN	0x100
#define DEVICE_TOKEN	0x200

/* Is mapped as often as it takes. */
#define PART_SIZE	(256 * SZ_1M)

#define MAX_DEVICES	256

#define SHMEM_HUGE	"/sys/kernel/mm/transparent_hugepage/shmem_enabled"

static int nr_devices;
static int devices[MAX_DEVICES], iommufds[MAX_DEVICES];
static __u32 hwpts[MAX_DEVICES], ioass[MAX_DEVICES];

static __u64 start;

static __u64 cycles(void)
{
	return __builtin_ia32_rdtsc();
}

static void begin(void)
{
	start = cycles();
}

static void end(const char *what)
{
	printf("LU-COUNT %s %llu\n", what, cycles() - start);
	fflush(stdout);
}

static void must(int ret, const char *what)
{
	if (ret < 0)
		ksft_exit_fail_msg("%s: %s\n", what, strerror(-ret));
}

static void write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY);

	if (fd < 0 || write(fd, text, strlen(text)) != (ssize_t)strlen(text))
		fail_exit("%s", path);
	close(fd);
}

/* Have the log say which cycles its times are. */
static void log_time(void)
{
	char time[64];

	snprintf(time, sizeof(time), "LU-TSC %llu\n", (unsigned long long)cycles());
	write_file("/dev/kmsg", time);
}

static void attach(int i, const char *path)
{
	__u32 dev_id;

	devices[i] = open_path(path);
	must(devices[i], path);
	iommufds[i] = open_path("/dev/iommu");
	must(iommufds[i], "/dev/iommu");
	must(device_bind(devices[i], iommufds[i], &dev_id), "bind");
	must(ioas_alloc(iommufds[i], &ioass[i]), "IOAS");
	must(hwpt_alloc(iommufds[i], dev_id, ioass[i], &hwpts[i]), "HWPT");
	must(device_attach_to(devices[i], hwpts[i]), "attach");
}

static void map(int memfd, __u64 size, __u64 area)
{
	__u64 at;
	int i;

	for (i = 0; i < nr_devices; i++)
		for (at = 0; at < size; at += area)
			must(map_file_at(iommufds[i], ioass[i], memfd, at % PART_SIZE, area,
					 IOVA + at),
			     "map");
}

/* The memfd loses a page behind those that are mapped: they have to be looked at. */
static void lose_page(int memfd)
{
	if (ftruncate(memfd, PART_SIZE + SZ_4K) || ftruncate(memfd, PART_SIZE))
		fail_exit("ftruncate");
}

static void stage_1(int luo, __u64 size, __u64 area, bool huge, bool marked, bool looks)
{
	int session, memfd, i;
	long tables;

	write_file(SHMEM_HUGE, huge ? "always" : "never");
	memfd = memfd_sealed(PART_SIZE, 0, 0);
	must(memfd, "memfd");
	if (fallocate(memfd, 0, 0, PART_SIZE))
		fail_exit("fallocate");

	tables = vm_count("nr_iommu_pages");
	begin();
	map(memfd, size, area);
	end("map");
	printf("LU-COUNT tables %ld\n", vm_count("nr_iommu_pages") - tables);

	begin();
	for (i = 0; i < nr_devices && marked; i++)
		must(hwpt_mark(iommufds[i], hwpts[i], 1), "mark");
	end("mark");

	if (looks)
		lose_page(memfd);
	create_state_file(luo, STATE_SESSION, STATE_TOKEN, 2);
	session = luo_create_session(luo, SESSION);
	must(session, "session");
	begin();
	must(luo_session_preserve_fd(session, memfd, MEMFD_TOKEN), "preserve memfd");
	end("preserve-memfd");
	if (marked) {
		begin();
		for (i = 0; i < nr_devices; i++)
			must(luo_session_preserve_fd(session, iommufds[i], IOMMUFD_TOKEN + i),
			     "preserve iommufd");
		end("preserve-iommufd");
		begin();
		for (i = 0; i < nr_devices; i++)
			must(luo_session_preserve_fd(session, devices[i], DEVICE_TOKEN + i),
			     "preserve device");
		end("preserve-device");
	}
	close(luo);

	log_time();
	daemonize_and_wait();
}

static void stage_2(int luo, bool marked)
{
	int session, stage, state_session, i;
	__u32 dev_id;

	state_session = luo_retrieve_session(luo, STATE_SESSION);
	must(state_session, "state session");
	restore_and_read_stage(state_session, STATE_TOKEN, &stage);
	session = luo_retrieve_session(luo, SESSION);
	must(session, "session");

	begin();
	must(luo_session_retrieve_fd(session, MEMFD_TOKEN), "retrieve memfd");
	end("retrieve-memfd");
	if (marked) {
		begin();
		for (i = 0; i < nr_devices; i++) {
			iommufds[i] = luo_session_retrieve_fd(session, IOMMUFD_TOKEN + i);
			must(iommufds[i], "retrieve iommufd");
		}
		end("retrieve-iommufd");
		begin();
		for (i = 0; i < nr_devices; i++) {
			devices[i] = luo_session_retrieve_fd(session, DEVICE_TOKEN + i);
			must(devices[i], "retrieve device");
		}
		end("retrieve-device");
		for (i = 0; i < nr_devices; i++)
			must(device_bind(devices[i], iommufds[i], &dev_id), "bind");
	}
	begin();
	must(luo_session_finish(session), "finish");
	end("finish");
	must(luo_session_finish(state_session), "finish");
}

struct page_at {
	__u64 pfn;
	__u64 offset;
};

static int by_pfn(const void *a, const void *b)
{
	const struct page_at *one = a, *other = b;

	return one->pfn < other->pfn ? -1 : one->pfn > other->pfn;
}

/* Where the pages of a memfd are, sorted by that */
static struct page_at *pages_of(int memfd, __u64 nr)
{
	struct page_at *pages = calloc(nr, sizeof(*pages));
	int pagemap = open_path("/proc/self/pagemap");
	__u64 i, entry;
	char *map;

	must(pagemap, "pagemap");
	map = mmap(NULL, nr * SZ_4K, PROT_READ, MAP_SHARED | MAP_POPULATE, memfd, 0);
	if (!pages || map == MAP_FAILED)
		fail_exit("map memfd");
	for (i = 0; i < nr; i++) {
		off_t at = (__u64)(uintptr_t)(map + i * SZ_4K) / SZ_4K * sizeof(entry);

		if (pread(pagemap, &entry, sizeof(entry), at) != sizeof(entry) ||
		    !(entry >> 63))
			fail_exit("pagemap");
		pages[i].pfn = entry & ((1ULL << 55) - 1);
		pages[i].offset = i * SZ_4K;
	}
	munmap(map, nr * SZ_4K);
	close(pagemap);
	qsort(pages, nr, sizeof(*pages), by_pfn);
	return pages;
}

static int memfd_full(__u64 size)
{
	int memfd = memfd_sealed(size, 0, 0);

	must(memfd, "memfd");
	if (fallocate(memfd, 0, 0, size))
		fail_exit("fallocate");
	return memfd;
}

/*
 * Frees @nr pages or some more, each between two that are not free until the
 * kexec. These are what is allocated first, when pages are allocated one by one.
 */
static void free_isolated(int luo, __u64 nr)
{
	__u64 all = 2 * nr + nr / 4 + 1024, i;
	int memfd = memfd_full(all * SZ_4K);
	int session = luo_create_session(luo, MOVE_SESSION);
	struct page_at *pages;

	/* Preserving moves pages to where they can stay: have that done. */
	must(session, "session");
	must(luo_session_preserve_fd(session, memfd, MEMFD_TOKEN), "preserve memfd");
	close(session);

	pages = pages_of(memfd, all);
	for (i = 1; i < all - 1; i++) {
		if (pages[i].pfn % 2 && pages[i - 1].pfn + 1 == pages[i].pfn &&
		    pages[i + 1].pfn - 1 == pages[i].pfn &&
		    fallocate(memfd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			      pages[i].offset, SZ_4K))
			fail_exit("punch");
	}
	free(pages);
}

static void stage_1_pages(int luo, __u64 nr, bool isolated)
{
	int session, state_session, memfd;
	struct page_at *pages;
	__u64 ranges = 1, i;

	write_file(SHMEM_HUGE, "never");
	if (isolated)
		free_isolated(luo, nr);
	memfd = memfd_full(nr * SZ_4K);

	create_state_file(luo, STATE_SESSION, STATE_TOKEN, 2);
	session = luo_create_session(luo, SESSION);
	must(session, "session");
	begin();
	must(luo_session_preserve_fd(session, memfd, MEMFD_TOKEN), "preserve memfd");
	end("preserve-memfd");

	pages = pages_of(memfd, nr);
	for (i = 1; i < nr; i++)
		ranges += pages[i - 1].pfn + 1 != pages[i].pfn;
	printf("LU-COUNT pages %llu\nLU-COUNT ranges %llu\n", nr, ranges);
	if (isolated ? ranges < nr / 100 * 99 : ranges > nr / 100)
		ksft_exit_fail_msg("%llu pages are in %llu ranges\n", nr, ranges);
	free(pages);
	close(luo);

	log_time();
	daemonize_and_wait();
}

static void usage(FILE *stream, const char *name)
{
	fprintf(stream,
		"Usage: %s --stage 1 [--size GIB] [--area MIB] [--huge] [--unmarked] [--look] CDEV...\n"
		"       %s --stage 2 [--unmarked] DEVICES\n"
		"       %s --stage 1 --pages N [--isolated]\n"
		"       %s --stage 2 --pages N\n"
		"       %s --now\n"
		"\n"
		"  -s, --stage 1   preserve what is attached to these devices, before the kexec\n"
		"  -s, --stage 2   take it back, after the kexec: so many devices\n"
		"  -g, --size GIB  how much each device has mapped (1)\n"
		"  -a, --area MIB  how much of that is mapped at once (256)\n"
		"  -H, --huge      have it mapped in pages of 2 MiB, not of 4 KiB\n"
		"  -u, --unmarked  preserve the memfd only, to compare with that\n"
		"  -l, --look      have the kernel look at each page that is mapped\n"
		"  -p, --pages N   preserve no device, but so many pages\n"
		"  -i, --isolated  of which no two are next to each other\n"
		"  -n, --now       have the log say the time\n",
		name, name, name, name, name);
}

int main(int argc, char *argv[])
{
	static const struct option options[] = {
		{ "stage",	required_argument,	NULL, 's' },
		{ "size",	required_argument,	NULL, 'g' },
		{ "area",	required_argument,	NULL, 'a' },
		{ "huge",	no_argument,		NULL, 'H' },
		{ "unmarked",	no_argument,		NULL, 'u' },
		{ "look",	no_argument,		NULL, 'l' },
		{ "pages",	required_argument,	NULL, 'p' },
		{ "isolated",	no_argument,		NULL, 'i' },
		{ "now",	no_argument,		NULL, 'n' },
		{ "help",	no_argument,		NULL, 'h' },
		{}
	};
	bool huge = false, marked = true, looks = false, isolated = false, has_devices;
	__u64 size = SZ_1G, area = PART_SIZE, pages = 0;
	int stage = 0, opt, luo, i;

	while ((opt = getopt_long(argc, argv, "s:g:a:Hulp:inh", options, NULL)) != -1) {
		switch (opt) {
		case 's':
			stage = atoi(optarg);
			break;
		case 'g':
			size = strtoull(optarg, NULL, 0) * SZ_1G;
			break;
		case 'a':
			area = strtoull(optarg, NULL, 0) * SZ_1M;
			break;
		case 'H':
			huge = true;
			break;
		case 'u':
			marked = false;
			break;
		case 'l':
			looks = true;
			break;
		case 'p':
			pages = strtoull(optarg, NULL, 0);
			break;
		case 'i':
			isolated = true;
			break;
		case 'n':
			log_time();
			return KSFT_PASS;
		case 'h':
			usage(stdout, argv[0]);
			return KSFT_PASS;
		default:
			usage(stderr, argv[0]);
			return KSFT_FAIL;
		}
	}
	has_devices = optind < argc;
	if (stage < 1 || stage > 2 || !size || !area || PART_SIZE % area ||
	    has_devices == !!pages || argc - optind > MAX_DEVICES) {
		usage(stderr, argv[0]);
		return KSFT_FAIL;
	}

	luo = luo_open_device();
	if (luo < 0)
		ksft_exit_skip("open(%s): %m (booted with liveupdate=on?)\n", LUO_DEVICE);

	if (pages && stage == 1) {
		stage_1_pages(luo, pages, isolated);
	} else if (pages) {
		stage_2(luo, false);
	} else if (stage == 1) {
		nr_devices = argc - optind;
		for (i = 0; i < nr_devices; i++)
			attach(i, argv[optind + i]);
		stage_1(luo, size, area, huge, marked, looks);
	} else {
		nr_devices = atoi(argv[optind]);
		if (nr_devices < 1 || nr_devices > MAX_DEVICES)
			ksft_exit_fail_msg("so many devices cannot be\n");
		stage_2(luo, marked);
	}
	return KSFT_PASS;
}
