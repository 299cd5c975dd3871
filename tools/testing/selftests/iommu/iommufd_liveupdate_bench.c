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
 * With --rounds, stage 1 first preserves and closes all of it so many times. With
 * --neighbour, it has a hostile neighbour meanwhile, which goes on until the kexec:
 * processes that preserve many files and a large iommufd, close them, and map. They
 * run when nobody else does, so that they cost others what these wait for, and
 * nothing else.
 *
 * With --refuser, there are as many kexecs besides that this device refuses, as its
 * interrupts are enabled: all that was preserved before it is frozen, and goes on.
 * What counts is what the thread that calls reboot(2) executes by itself, by its
 * CPU time; the clock would count what others execute while it sleeps. Of each of
 *
 *	freeze-device	a memfd, an iommufd and a device, which are frozen first
 *	freeze-session	the same, and many small memfds
 *	freeze-all	as freeze-device, but the refuser is the last of all: what the
 *			neighbour has preserved by then is frozen, too
 *
 * there is the median of all rounds, and the most of any (-most); and so it is with
 * the time by the clock (-clock), and with how often the thread slept (-sleeps): to
 * wait for a device, for one, it looks, and sleeps, as often as that takes.
 *
 * There is nothing to pass or to fail but each step by itself.
 */
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <sys/eventfd.h>
#include <sys/klog.h>
#include <sys/reboot.h>
#include <sys/resource.h>

#include <libliveupdate.h>
#include <luo_options.h>

#include "iommufd_liveupdate_common.h"

#define SESSION		"iommufd-bench"
#define STATE_SESSION	"iommufd-bench-state"
#define MOVE_SESSION	"iommufd-bench-move"
#define LAST_SESSION	"iommufd-bench-last"

#define STATE_TOKEN	1
#define MEMFD_TOKEN	2
#define IOMMUFD_TOKEN	0x100
#define DEVICE_TOKEN	0x200
#define REFUSER_TOKEN	0x300
#define FILE_TOKEN	0x1000

/* Is mapped as often as it takes. */
#define PART_SIZE	(256 * SZ_1M)

#define MAX_DEVICES	256

/* What the neighbour has */
#define NR_FILES	10000
#define NR_AREAS	20000
#define NR_HWPTS	10

/* What a session has besides, of which not much is to be what its devices take */
#define NR_OWN_FILES	1000

#define MAX_ROUNDS	1000

/* So many kexecs are not counted: those of which the log has all that there is to say */
#define FIRST_ROUNDS	10

/* SYSLOG_ACTION_CONSOLE_OFF and SYSLOG_ACTION_CONSOLE_ON */
#define CONSOLE_OFF	6
#define CONSOLE_ON	7

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

static void bind_to_new(const char *path, int *device, int *iommufd, __u32 *dev_id)
{
	*device = open_path(path);
	must(*device, path);
	*iommufd = open_path("/dev/iommu");
	must(*iommufd, "/dev/iommu");
	must(device_bind(*device, *iommufd, dev_id), "bind");
}

static void attach(int i, const char *path)
{
	__u32 dev_id;

	bind_to_new(path, &devices[i], &iommufds[i], &dev_id);
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

static int memfd_full(__u64 size)
{
	int memfd = memfd_sealed(size, 0, 0);

	must(memfd, "memfd");
	if (fallocate(memfd, 0, 0, size))
		fail_exit("fallocate");
	return memfd;
}

/* Sessions that are frozen before those of a neighbour, which come later */
enum {
	FREEZE_DEVICE,
	FREEZE_SESSION,
	FREEZE_ALL,
	NR_FREEZES,
};

static const char * const freezes[NR_FREEZES] = {
	[FREEZE_DEVICE] = "freeze-device",
	[FREEZE_SESSION] = "freeze-session",
	[FREEZE_ALL] = "freeze-all",
};

static int freeze_sessions[NR_FREEZES] = { -1, -1, -1 };

static int neighbours_files[NR_FILES];

static void prepare_files(const char *cdev)
{
	struct rlimit limit = { 2 * NR_FILES, 2 * NR_FILES };
	int i;

	if (setrlimit(RLIMIT_NOFILE, &limit))
		fail_exit("setrlimit");
	for (i = 0; i < NR_FILES; i++)
		neighbours_files[i] = memfd_full(SZ_4K);
}

/* What a neighbour is refused while a kexec goes first does not stop it. */
static int neighbours_session(int luo, const char *what, unsigned int round)
{
	char name[32];

	snprintf(name, sizeof(name), "%s-%u", what, round);
	return luo_create_session(luo, name);
}

static void preserve_files(int luo, unsigned int round)
{
	int session = neighbours_session(luo, "files", round), i;

	for (i = 0; i < NR_FILES; i++)
		luo_session_preserve_fd(session, neighbours_files[i], i);
	close(session);
}

static int neighbours_iommufd, neighbours_memfd;
static __u32 neighbours_ioas;

static void prepare_areas(const char *cdev)
{
	__u32 dev_id, hwpt, i;
	int device;

	bind_to_new(cdev, &device, &neighbours_iommufd, &dev_id);
	neighbours_memfd = memfd_full(SZ_4K);
	must(ioas_alloc(neighbours_iommufd, &neighbours_ioas), "IOAS");
	for (i = 0; i < NR_HWPTS; i++) {
		must(hwpt_alloc(neighbours_iommufd, dev_id, neighbours_ioas, &hwpt), "HWPT");
		must(hwpt_mark(neighbours_iommufd, hwpt, i), "mark");
	}
	for (i = 0; i < NR_AREAS; i++)
		must(map_file_at(neighbours_iommufd, neighbours_ioas, neighbours_memfd, 0,
				 SZ_4K, IOVA + i * SZ_4K), "map");

	/* The mappings of that one are held most of the time: there is another to change. */
	must(ioas_alloc(neighbours_iommufd, &neighbours_ioas), "IOAS");
	must(hwpt_alloc(neighbours_iommufd, dev_id, neighbours_ioas, &hwpt), "HWPT");
}

static void preserve_areas(int luo, unsigned int round)
{
	int session;

	/* Another process maps with the same iommufd. */
	if (!round && !fork()) {
		for (;;) {
			map_file_at(neighbours_iommufd, neighbours_ioas, neighbours_memfd, 0,
				    SZ_4K, IOVA);
			ioas_unmap(neighbours_iommufd, neighbours_ioas, IOVA, SZ_4K);
		}
	}

	session = neighbours_session(luo, "areas", round);
	luo_session_preserve_fd(session, neighbours_memfd, MEMFD_TOKEN);
	luo_session_preserve_fd(session, neighbours_iommufd, IOMMUFD_TOKEN);
	close(session);
}

/* Starts a process that prepares something, and then does something until the kexec. */
static void start_neighbour(int luo, const char *cdev, void (*prepare)(const char *cdev),
			    void (*act)(int luo, unsigned int round))
{
	const struct sched_param param = {};
	unsigned int round;
	int ready[2], null;
	char byte;
	pid_t pid;

	if (pipe(ready))
		fail_exit("pipe");
	pid = fork();
	if (pid < 0)
		fail_exit("fork");
	if (!pid) {
		/* Who has them closes them, and nobody else has them then */
		for (int i = 0; i < NR_FREEZES; i++)
			close(freeze_sessions[i]);
		prepare(cdev);
		null = open_path("/dev/null");
		must(null, "/dev/null");
		if (sched_setscheduler(0, SCHED_IDLE, &param) || setsid() < 0)
			fail_exit("neighbour");
		for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
			dup2(null, fd);
		if (write(ready[1], "", 1) != 1)
			exit(KSFT_FAIL);
		for (round = 0;; round++)
			act(luo, round);
	}
	close(ready[1]);
	if (read(ready[0], &byte, 1) != 1)
		ksft_exit_fail_msg("a neighbour could not prepare\n");
	close(ready[0]);
}

/* Whether this runs whenever it can, and a neighbour does not */
static void go_first(bool first)
{
	const struct sched_param param = { .sched_priority = first };

	if (sched_setscheduler(0, first ? SCHED_FIFO : SCHED_OTHER, &param))
		fail_exit("sched_setscheduler");
}

static void preserve_all(int session, int memfd)
{
	int i;

	must(luo_session_preserve_fd(session, memfd, MEMFD_TOKEN), "preserve memfd");
	for (i = 0; i < nr_devices; i++) {
		must(luo_session_preserve_fd(session, iommufds[i], IOMMUFD_TOKEN + i),
		     "preserve iommufd");
		must(luo_session_preserve_fd(session, devices[i], DEVICE_TOKEN + i),
		     "preserve device");
	}
}

/* Preserves and closes everything many times, whenever others have run for a while. */
static void preserve_in_rounds(int luo, int memfd, unsigned int rounds)
{
	__u64 preserve = 0, close_all = 0;
	int session;

	go_first(true);
	for (unsigned int round = 0; round < rounds; round++) {
		/* Not the same time each, as the neighbour may do */
		usleep(1000 + round % 7 * 100);
		session = luo_create_session(luo, SESSION);
		must(session, "session");
		begin();
		preserve_all(session, memfd);
		preserve += cycles() - start;
		begin();
		close(session);
		close_all += cycles() - start;
	}
	go_first(false);
	printf("LU-COUNT rounds %u\nLU-COUNT preserve-all %llu\nLU-COUNT close-all %llu\n",
	       rounds, preserve, close_all);
}

/* What each of some kexecs took, that were refused */
struct freeze_costs {
	__u64 thread[MAX_ROUNDS];	/* nanoseconds of CPU time: one cycle each */
	__u64 clock[MAX_ROUNDS];	/* cycles */
	__u64 sleeps[MAX_ROUNDS];
};

static __u64 thread_time(void)
{
	struct timespec time;

	if (clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time))
		fail_exit("clock_gettime");
	return time.tv_sec * 1000000000ULL + time.tv_nsec;
}

static __u64 sleeps(void)
{
	struct rusage usage;

	if (getrusage(RUSAGE_THREAD, &usage))
		fail_exit("getrusage");
	return usage.ru_nvcsw;
}

static int by_value(const void *a, const void *b)
{
	const __u64 *one = a, *other = b;

	return *one < *other ? -1 : *one > *other;
}

static void print_costs(const char *what, const char *unit, __u64 *costs, unsigned int rounds)
{
	qsort(costs, rounds, sizeof(*costs), by_value);
	printf("LU-COUNT %s%s %llu\nLU-COUNT %s%s-most %llu\n", what, unit,
	       costs[rounds / 2], what, unit, costs[rounds - 1]);
}

/* The kexec fails because of the last file, and would not return otherwise. */
static void kexec_refused(struct freeze_costs *costs, unsigned int round)
{
	__u64 thread, slept;
	int err;

	slept = sleeps();
	begin();
	thread = thread_time();
	err = reboot(RB_KEXEC) ? errno : 0;
	costs->thread[round] = thread_time() - thread;
	costs->clock[round] = cycles() - start;
	costs->sleeps[round] = sleeps() - slept;
	if (err != EINVAL)
		ksft_exit_fail_msg("kexec, which a device is to refuse: %s\n", strerror(err));
}

/* Has many kexecs be refused, by a file that is preserved, or by @refuser, which is last. */
static void freeze_in_rounds(const char *what, int luo, unsigned int rounds, int refuser)
{
	static struct freeze_costs costs;
	int session = -1;

	for (unsigned int round = 0; round < FIRST_ROUNDS + rounds; round++) {
		/* Long enough for a neighbour to come around within all rounds */
		usleep(5000 + round % 7 * 500);
		if (refuser >= 0) {
			session = luo_create_session(luo, LAST_SESSION);
			must(session, "last session");
			must(luo_session_preserve_fd(session, refuser, REFUSER_TOKEN),
			     "preserve refuser");
		}
		kexec_refused(&costs, round < FIRST_ROUNDS ? 0 : round - FIRST_ROUNDS);
		if (refuser >= 0)
			close(session);
	}
	print_costs(what, "", costs.thread, rounds);
	print_costs(what, "-clock", costs.clock, rounds);
	print_costs(what, "-sleeps", costs.sleeps, rounds);
}

/* Its owner, who is there, has to disable it: the device refuses a kexec. */
static void enable_interrupt(int device)
{
	struct {
		struct vfio_irq_set set;
		__s32 eventfd;
	} irq = {
		.set = {
			.argsz = sizeof(irq),
			.flags = VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER,
			.index = VFIO_PCI_MSIX_IRQ_INDEX,
			.count = 1,
		},
		.eventfd = eventfd(0, EFD_CLOEXEC),
	};

	if (irq.eventfd < 0)
		fail_exit("eventfd");
	must(call(device, VFIO_DEVICE_SET_IRQS, &irq), "enable MSI-X");
	close(irq.eventfd);
}

static void prepare_freezes(int luo)
{
	char name[64];
	int i;

	must(luo_ensure_nofile_limit(NR_OWN_FILES), "RLIMIT_NOFILE");
	for (i = 0; i < NR_FREEZES; i++) {
		snprintf(name, sizeof(name), "%s-%s", SESSION, freezes[i]);
		freeze_sessions[i] = luo_create_session(luo, name);
		must(freeze_sessions[i], name);
	}
}

/* Freezes everything many times, whenever others have run for a while. */
static void freeze(int luo, int memfd, unsigned int rounds, const char *refusers_cdev)
{
	static int files[NR_OWN_FILES];
	int refuser, iommufd, i, j;
	__u32 dev_id;

	bind_to_new(refusers_cdev, &refuser, &iommufd, &dev_id);
	enable_interrupt(refuser);
	for (j = 0; j < NR_OWN_FILES; j++)
		files[j] = memfd_full(SZ_4K);

	/* What the kernel says of each kexec is not to cost more than that */
	if (klogctl(CONSOLE_OFF, NULL, 0))
		fail_exit("turn the console off");
	go_first(true);
	for (i = 0; i < NR_FREEZES; i++) {
		int session = freeze_sessions[i];

		preserve_all(session, memfd);
		for (j = 0; j < NR_OWN_FILES && i == FREEZE_SESSION; j++)
			must(luo_session_preserve_fd(session, files[j], FILE_TOKEN + j),
			     "preserve a small memfd");
		if (i != FREEZE_ALL)
			must(luo_session_preserve_fd(session, refuser, REFUSER_TOKEN),
			     "preserve refuser");
		freeze_in_rounds(freezes[i], luo, rounds, i == FREEZE_ALL ? refuser : -1);
		close(session);
	}
	go_first(false);
	printf("LU-COUNT own-files %d\n", NR_OWN_FILES);
	if (klogctl(CONSOLE_ON, NULL, 0))
		fail_exit("turn the console on");

	for (j = 0; j < NR_OWN_FILES; j++)
		close(files[j]);
	close(refuser);
	close(iommufd);
}

static void stage_1(int luo, __u64 size, __u64 area, bool huge, bool marked, bool looks,
		    unsigned int rounds, const char *neighbour, const char *refuser)
{
	int session, memfd, i;
	long tables;

	write_file(SHMEM_HUGE, huge ? "always" : "never");
	memfd = memfd_full(PART_SIZE);

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
	/* Small files are small: there are many of them. */
	if (rounds)
		write_file(SHMEM_HUGE, "never");
	if (refuser)
		prepare_freezes(luo);
	if (neighbour) {
		start_neighbour(luo, neighbour, prepare_files, preserve_files);
		start_neighbour(luo, neighbour, prepare_areas, preserve_areas);
	}
	if (rounds)
		preserve_in_rounds(luo, memfd, rounds);
	if (refuser)
		freeze(luo, memfd, rounds, refuser);
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
	int session, memfd;
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
		"Usage: %s --stage 1 [--size GIB] [--area MIB] [--huge] [--unmarked] [--look]\n"
		"          [--rounds N [--refuser CDEV]] [--neighbour CDEV] CDEV...\n"
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
		"  -r, --rounds N  preserve and close everything so many times before\n"
		"  -x, --refuser CDEV    and freeze it, in kexecs that this device, which has\n"
		"                  MSI-X, refuses; an image has to be loaded\n"
		"  -b, --neighbour CDEV  beside processes that do so with what is large\n"
		"  -p, --pages N   preserve no device, but so many pages\n"
		"  -i, --isolated  of which no two are next to each other\n"
		"  -n, --now       have the log say the time\n",
		name, name, name, name, name);
}

int main(int argc, char *argv[])
{
	bool huge = false, unmarked = false, looks = false, isolated = false, now = false;
	unsigned long gib = 1, mib = PART_SIZE / SZ_1M, rounds = 0, pages = 0;
	int stage = 0, luo, i;
	const char *neighbour = NULL, *refuser = NULL;
	bool has_devices;
	__u64 size, area;
	const struct luo_option options[] = {
		{ "stage", 's', .number = &stage },
		{ "size", 'g', .size = &gib },
		{ "area", 'a', .size = &mib },
		{ "huge", 'H', .flag = &huge },
		{ "unmarked", 'u', .flag = &unmarked },
		{ "look", 'l', .flag = &looks },
		{ "rounds", 'r', .size = &rounds },
		{ "neighbour", 'b', .text = &neighbour },
		{ "refuser", 'x', .text = &refuser },
		{ "pages", 'p', .size = &pages },
		{ "isolated", 'i', .flag = &isolated },
		{ "now", 'n', .flag = &now },
		{}
	};

	luo_parse_options(argc, argv, options, usage);
	if (now) {
		log_time();
		return KSFT_PASS;
	}
	size = gib * SZ_1G;
	area = mib * SZ_1M;
	has_devices = optind < argc;
	if (stage < 1 || stage > 2 || !size || !area || PART_SIZE % area ||
	    has_devices == !!pages || argc - optind > MAX_DEVICES ||
	    rounds > MAX_ROUNDS || (refuser && !rounds)) {
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
		stage_1(luo, size, area, huge, !unmarked, looks, rounds, neighbour, refuser);
	} else {
		nr_devices = atoi(argv[optind]);
		if (nr_devices < 1 || nr_devices > MAX_DEVICES)
			ksft_exit_fail_msg("so many devices cannot be\n");
		stage_2(luo, !unmarked);
	}
	return KSFT_PASS;
}
