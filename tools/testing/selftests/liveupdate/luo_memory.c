// SPDX-License-Identifier: GPL-2.0-only

/*
 * Preserves memfds in memory that the next kernel does not have.
 *
 * There are two cases, each with a stage before the kexec and one after it.
 *
 * less: the next kernel is told to use no memory of node 1. A memfd there, or with
 * parts there, is lost with an error; others in the same session come through.
 *
 * added: the memory of node 1 was added after boot, and is not online yet. While
 * all of it is movable, memfds are preserved elsewhere; when the kernel may use
 * some, they are refused.
 */

#define _GNU_SOURCE
#include <fcntl.h>
#include <glob.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <linux/mempolicy.h>

#include <libliveupdate.h>
#include <luo_options.h>

#define STATE_SESSION_NAME	"memory_state"
#define STATE_MEMFD_TOKEN	999

#define SESSION_NAME		"memory"
#define OTHER_SESSION_NAME	"memory-other"

#define SIZE			0x100000UL

enum token {
	/* On node 0 */
	THERE,
	/* On node 1 */
	GONE,
	/* On both */
	TORN,
	/* On node 1, and nobody asks for it */
	LEFT,
	/* On node 1, in movable memory */
	MOVED,
};

static void bind_self(unsigned long nodes)
{
	if (syscall(__NR_set_mempolicy, MPOL_BIND, &nodes, 8 * sizeof(nodes)))
		fail_exit("set_mempolicy to nodes %#lx", nodes);
}

/* Bring the lower or the upper half of the memory of node 1 online */
static void online(bool upper, const char *how)
{
	char path[PATH_MAX];
	glob_t blocks;
	FILE *state;

	if (glob("/sys/devices/system/node/node1/memory*", 0, NULL, &blocks) ||
	    blocks.gl_pathc < 2)
		fail_exit("node 1 has no memory");

	for (size_t i = 0; i < blocks.gl_pathc; i++) {
		if ((i >= blocks.gl_pathc / 2) != upper)
			continue;
		snprintf(path, sizeof(path), "%s/state", blocks.gl_pathv[i]);
		state = fopen(path, "w");
		if (!state || fputs(how, state) < 0 || fclose(state))
			fail_exit("%s to %s", how, path);
	}
	globfree(&blocks);
}

static unsigned int word_of(enum token token, size_t at)
{
	return (token << 28) ^ at;
}

/* Make a memfd whose pages are on these nodes, in turn */
static int make_memfd(enum token token, unsigned long nodes)
{
	const int mode = nodes & (nodes - 1) ? MPOL_INTERLEAVE : MPOL_BIND;
	unsigned int *map;
	int fd;

	fd = memfd_create("memory", MFD_ALLOW_SEALING);
	if (fd < 0 || ftruncate(fd, SIZE))
		fail_exit("memfd");

	map = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED)
		fail_exit("mmap");
	if (syscall(__NR_mbind, map, SIZE, mode, &nodes, 8 * sizeof(nodes), 0))
		fail_exit("mbind to nodes %#lx", nodes);
	for (size_t i = 0; i < SIZE / sizeof(*map); i++)
		map[i] = word_of(token, i);
	munmap(map, SIZE);

	return fd;
}

static void check_memfd(int session_fd, enum token token)
{
	const unsigned int *map;
	int fd;

	fd = luo_session_retrieve_fd(session_fd, token);
	if (fd < 0)
		fail_exit("retrieving token %d: %d", token, fd);

	map = mmap(NULL, SIZE, PROT_READ, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED)
		fail_exit("mmap");
	for (size_t i = 0; i < SIZE / sizeof(*map); i++) {
		if (map[i] != word_of(token, i))
			fail_exit("token %d has other content at %#zx", token,
				  i * sizeof(*map));
	}
	munmap((void *)map, SIZE);
	close(fd);
}

static void check_lost(int session_fd, enum token token)
{
	int err = luo_session_retrieve_fd(session_fd, token);

	if (err != -EIO)
		fail_exit("retrieving lost token %d: %d", token, err);
}

static int create_session(int luo_fd, const char *name)
{
	int fd = luo_create_session(luo_fd, name);

	if (fd < 0)
		fail_exit("luo_create_session for '%s': %d", name, fd);
	return fd;
}

static int retrieve_session(int luo_fd, const char *name)
{
	int fd = luo_retrieve_session(luo_fd, name);

	if (fd < 0)
		fail_exit("luo_retrieve_session for '%s': %d", name, fd);
	return fd;
}

static void finish_session(int session_fd)
{
	int err = luo_session_finish(session_fd);

	if (err)
		fail_exit("luo_session_finish: %d", err);
	close(session_fd);
}

static void preserve(int session_fd, enum token token, unsigned long nodes)
{
	int err, fd = make_memfd(token, nodes);

	err = luo_session_preserve_fd(session_fd, fd, token);
	if (err)
		fail_exit("preserving token %d: %d", token, err);
	close(fd);
}

static void check_state(int state_session_fd)
{
	int stage;

	restore_and_read_stage(state_session_fd, STATE_MEMFD_TOKEN, &stage);
	if (stage != 2)
		fail_exit("expected stage 2, but state file contains %d", stage);
}

static void less_1(int luo_fd)
{
	int session_fd, other_fd;

	/* What describes them is on node 0 */
	bind_self(1 << 0);
	create_state_file(luo_fd, STATE_SESSION_NAME, STATE_MEMFD_TOKEN, 2);

	session_fd = create_session(luo_fd, SESSION_NAME);
	preserve(session_fd, GONE, 1 << 1);
	preserve(session_fd, THERE, 1 << 0);
	preserve(session_fd, TORN, 1 << 0 | 1 << 1);
	preserve(session_fd, LEFT, 1 << 1);

	other_fd = create_session(luo_fd, OTHER_SESSION_NAME);
	preserve(other_fd, THERE, 1 << 0);

	close(luo_fd);
	daemonize_and_wait();
}

static void less_2(int luo_fd, int state_session_fd)
{
	int session_fd, other_fd;

	check_state(state_session_fd);

	session_fd = retrieve_session(luo_fd, SESSION_NAME);
	check_lost(session_fd, GONE);
	check_lost(session_fd, TORN);
	check_memfd(session_fd, THERE);
	check_lost(session_fd, GONE);
	finish_session(session_fd);

	other_fd = retrieve_session(luo_fd, OTHER_SESSION_NAME);
	check_memfd(other_fd, THERE);
	finish_session(other_fd);

	finish_session(state_session_fd);
	ksft_print_msg("memfds were lost one by one\n");
}

static void added_1(int luo_fd)
{
	int session_fd, other_fd, fd, err;
	char byte = 0;

	bind_self(1 << 0);
	create_state_file(luo_fd, STATE_SESSION_NAME, STATE_MEMFD_TOKEN, 2);
	session_fd = create_session(luo_fd, SESSION_NAME);
	preserve(session_fd, THERE, 1 << 0);

	online(true, "online_movable");
	preserve(session_fd, MOVED, 1 << 1);

	online(false, "online_kernel");

	fd = make_memfd(GONE, 1 << 1);
	err = luo_session_preserve_fd(session_fd, fd, GONE);
	if (err != -EADDRNOTAVAIL)
		fail_exit("preserving added memory: %d", err);

	/* It is as it was */
	if (pwrite(fd, &byte, 1, SIZE) != 1 || ftruncate(fd, 0))
		fail_exit("changing a memfd that was refused");
	close(fd);

	fd = make_memfd(TORN, 1 << 0 | 1 << 1);
	err = luo_session_preserve_fd(session_fd, fd, TORN);
	if (err != -EADDRNOTAVAIL)
		fail_exit("preserving memory that is added in part: %d", err);

	/* What was preserved of it is not any more, and can be by others */
	if (fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, SIZE))
		fail_exit("punching a hole into a memfd that was refused");
	close(fd);

	/* The kernel takes memory for its own from elsewhere by itself */
	bind_self(1 << 1);
	other_fd = create_session(luo_fd, OTHER_SESSION_NAME);
	bind_self(1 << 0);
	preserve(other_fd, THERE, 1 << 0);

	close(luo_fd);
	daemonize_and_wait();
}

static void added_2(int luo_fd, int state_session_fd)
{
	int session_fd, other_fd;

	check_state(state_session_fd);

	session_fd = retrieve_session(luo_fd, SESSION_NAME);
	check_memfd(session_fd, THERE);
	check_memfd(session_fd, MOVED);
	if (luo_session_retrieve_fd(session_fd, GONE) != -ENOENT ||
	    luo_session_retrieve_fd(session_fd, TORN) != -ENOENT)
		fail_exit("retrieved a file that was refused");
	finish_session(session_fd);

	other_fd = retrieve_session(luo_fd, OTHER_SESSION_NAME);
	check_memfd(other_fd, THERE);
	finish_session(other_fd);

	finish_session(state_session_fd);
	ksft_print_msg("added memory was refused, all else came through\n");
}

int main(int argc, char *argv[])
{
	const char *what = argc > 1 ? argv[argc - 1] : "";

	luo_help(argc, argv, "[-s 1|2] less|added",
		 "less: the next kernel uses no memory of node 1. added: the memory of node 1 was\n"
		 "added after boot. Stage 1 is before a kexec, stage 2 after it.");

	if (!strcmp(what, "less"))
		return luo_test(argc, argv, STATE_SESSION_NAME, less_1, less_2);
	if (!strcmp(what, "added"))
		return luo_test(argc, argv, STATE_SESSION_NAME, added_1, added_2);

	ksft_exit_fail_msg("usage: %s -s STAGE less|added\n", argv[0]);
}
