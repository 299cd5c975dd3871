// SPDX-License-Identifier: GPL-2.0-only

/*
 * Preserves as many sessions as fill the blocks that they are handed over in.
 *
 * Stage 1, before the kexec, then asks for one more by a name that is in use, for
 * which no block may be added: the next kernel takes none that has no entries.
 * Stage 2, after it, retrieves them.
 */

#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include <libliveupdate.h>
#include <luo_options.h>

#define STATE_SESSION_NAME	"full_state"
#define STATE_MEMFD_TOKEN	999
#define TOKEN			1

/* Entries of 80 bytes in two blocks of a page, less what each begins with */
#define NR_SESSIONS		(2 * ((4096 - 16) / 80))

static const char *name_of(int i)
{
	static char name[LIVEUPDATE_SESSION_NAME_LENGTH];

	snprintf(name, sizeof(name), "full-%d", i);
	return name;
}

static void stage_1(int luo_fd)
{
	int i, session_fd, memfd, err;

	create_state_file(luo_fd, STATE_SESSION_NAME, STATE_MEMFD_TOKEN, 2);
	for (i = 1; i < NR_SESSIONS; i++) {
		session_fd = luo_create_session(luo_fd, name_of(i));
		memfd = memfd_create("full", 0);
		if (session_fd < 0 || memfd < 0)
			fail_exit("session %d", i);
		err = luo_session_preserve_fd(session_fd, memfd, TOKEN);
		if (err)
			fail_exit("preserving in session %d: %d", i, err);
	}
	err = luo_create_session(luo_fd, name_of(1));
	if (err != -EEXIST)
		fail_exit("a second session of one name: %d", err);

	close(luo_fd);
	daemonize_and_wait();
}

static void stage_2(int luo_fd, int state_session_fd)
{
	int i, session_fd, err;

	for (i = 1; i < NR_SESSIONS; i++) {
		session_fd = luo_retrieve_session(luo_fd, name_of(i));
		if (session_fd < 0)
			fail_exit("retrieving session %d: %d", i, session_fd);
		if (luo_session_retrieve_fd(session_fd, TOKEN) < 0)
			fail_exit("retrieving the file of session %d", i);
		err = luo_session_finish(session_fd);
		if (err)
			fail_exit("finishing session %d: %d", i, err);
		close(session_fd);
	}
	err = luo_session_finish(state_session_fd);
	if (err)
		fail_exit("finishing the state session: %d", err);
	ksft_print_msg("all sessions came through\n");
}

int main(int argc, char *argv[])
{
	luo_help(argc, argv, "[-s 1|2]",
		 "Sessions that fill their records to the last entry: stage 1 is before a kexec,\n"
		 "stage 2 after it.");
	return luo_test(argc, argv, STATE_SESSION_NAME, stage_1, stage_2);
}
