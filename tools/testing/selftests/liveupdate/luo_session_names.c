// SPDX-License-Identifier: GPL-2.0-only

/*
 * Drops sessions through sysfs whose names differ in blanks and newlines only.
 *
 * Stage 1, before the kexec, drops them one after the other, and then preserves
 * them again. Stage 2, after it, has sessions of its own of these names, and drops
 * those of the previous kernel one after the other. Each time, the session that is
 * dropped has no file left, and all others have theirs. No name makes a line of its
 * own in what the kernel logs or shows.
 */

#define _GNU_SOURCE
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/klog.h>
#include <sys/mman.h>
#include <unistd.h>

#include <libliveupdate.h>
#include <luo_options.h>

#define STATE_SESSION_NAME	"names_state"
#define STATE_MEMFD_TOKEN	999
#define TOKEN			1

#define SYSFS			"/sys/devices/virtual/misc/liveupdate/"
#define OUTGOING		SYSFS "drop_outgoing_session"
#define INCOMING		SYSFS "drop_incoming_session"

/* What a line that a session's name forges begins with, and how it is shown escaped */
#define FORGED			"forged by the name of a session"
#define ESCAPED			"\\n" FORGED

/* What klogctl() is asked for: glibc has no names for these */
#define SYSLOG_ACTION_READ_ALL		3
#define SYSLOG_ACTION_SIZE_BUFFER	10

/* As long as a name can be */
#define NAME_MAX_LEN		(LIVEUPDATE_SESSION_NAME_LENGTH - 1)
#define LONGEST	"a name that is as long as it can be, that is, sixty-three bytes"

static const char * const names[] = {
	"twin",
	"twin ",
	" twin",
	"twin\n",
	"\ntwin",
	"\n",
	"\n\n",
	" ",
	"a\nb",
	"a\n",
	"a",
	"x\n" FORGED,
	LONGEST,
};

static_assert(sizeof(LONGEST) - 1 == NAME_MAX_LEN, "the longest name is not");

/* Each kernel's sessions of these names, and the memfds that this one preserves */
static int outgoing[ARRAY_SIZE(names)];
static int incoming[ARRAY_SIZE(names)];
static int memfds[ARRAY_SIZE(names)];

static int write_to(const char *path, const char *bytes, size_t len)
{
	int fd, err = 0;

	fd = open(path, O_WRONLY);
	if (fd < 0)
		fail_exit("open(%s)", path);
	if (write(fd, bytes, len) != (ssize_t)len)
		err = -errno;
	close(fd);

	return err;
}

/* As echo writes it */
static int drop(const char *path, const char *name)
{
	char line[2 * LIVEUPDATE_SESSION_NAME_LENGTH];
	int len = snprintf(line, sizeof(line), "%s\n", name);

	return write_to(path, line, len);
}

static void preserve(int luo_fd, size_t i)
{
	int err;

	outgoing[i] = luo_create_session(luo_fd, names[i]);
	memfds[i] = memfd_create("names", 0);
	if (outgoing[i] < 0 || memfds[i] < 0)
		fail_exit("session %zu: %d, %d", i, outgoing[i], memfds[i]);

	err = luo_session_preserve_fd(outgoing[i], memfds[i], TOKEN);
	if (err)
		fail_exit("preserving in session %zu: %d", i, err);
}

/* A file that another session has cannot be preserved */
static bool has_file(int luo_fd, size_t i)
{
	int probe, err;

	probe = luo_create_session(luo_fd, "names_probe");
	if (probe < 0)
		fail_exit("creating the probing session: %d", probe);
	err = luo_session_preserve_fd(probe, memfds[i], TOKEN);
	if (err && err != -EBUSY)
		fail_exit("probing the file of session %zu: %d", i, err);
	close(probe);

	return err;
}

/* The first @nr_dropped outgoing sessions have no file, the others have */
static void check_outgoing(int luo_fd, size_t nr_dropped)
{
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		bool dropped = i < nr_dropped;

		if (has_file(luo_fd, i) == dropped)
			fail_exit("with %zu dropped, outgoing session %zu has %s file",
				  nr_dropped, i, dropped ? "a" : "no");
	}
}

/* The same for those of the previous kernel, each of which was retrieved */
static void check_incoming(size_t nr_dropped)
{
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		int fd = luo_session_retrieve_fd(incoming[i], TOKEN);

		if (i < nr_dropped ? fd != -ENOENT : fd < 0)
			fail_exit("with %zu dropped, incoming session %zu: %d",
				  nr_dropped, i, fd);
		if (fd >= 0)
			close(fd);
	}
}

/* What is no name is refused, and drops nothing */
static void check_refused(const char *path)
{
	static const char nul_first[] = "\0twin", nul_last[] = "twin\0";
	char too_long[LIVEUPDATE_SESSION_NAME_LENGTH + 1];

	memset(too_long, 'x', sizeof(too_long));
	memcpy(too_long, LONGEST, NAME_MAX_LEN);

	/* The name that there is, and a byte more, with and without a newline */
	if (write_to(path, too_long, NAME_MAX_LEN + 1) != -EINVAL)
		fail_exit("%s takes a name that is too long", path);
	too_long[NAME_MAX_LEN + 1] = '\n';
	if (write_to(path, too_long, NAME_MAX_LEN + 2) != -EINVAL)
		fail_exit("%s takes a line that is too long", path);
	if (write_to(path, nul_first, sizeof(nul_first) - 1) != -EINVAL ||
	    write_to(path, nul_last, sizeof(nul_last) - 1) != -EINVAL ||
	    write_to(path, "tw\0in\n", 6) != -EINVAL)
		fail_exit("%s takes a null byte", path);
	if (drop(path, "tw") != -ENOENT || drop(path, "twin  ") != -ENOENT ||
	    write_to(path, "\n", 1) != -ENOENT)
		fail_exit("%s finds what is not there", path);
}

/* Each line with what the name says has what comes before it in the name, too */
static size_t count_escaped(const char *where, char *text)
{
	size_t found = 0;
	char *line;

	while ((line = strsep(&text, "\n"))) {
		if (!strstr(line, FORGED))
			continue;
		if (!strstr(line, ESCAPED))
			fail_exit("%s has a forged line: %s", where, line);
		found++;
	}

	return found;
}

static void check_log(void)
{
	int size = klogctl(SYSLOG_ACTION_SIZE_BUFFER, NULL, 0);
	char *log;
	int len;

	if (size <= 0)
		fail_exit("klogctl for the size of the log");
	log = calloc(1, size + 1);
	if (!log)
		fail_exit("calloc");
	len = klogctl(SYSLOG_ACTION_READ_ALL, log, size);
	if (len < 0)
		fail_exit("klogctl");
	if (!count_escaped("the log", log))
		fail_exit("the log does not have what was dropped");
	free(log);
}

/* Is there if the kernel keeps track of preserved PCI devices */
static void check_view(void)
{
	static char view[0x10000];
	size_t len;
	FILE *file;

	file = fopen("/sys/kernel/debug/liveupdate/pci", "r");
	if (!file) {
		ksft_print_msg("there is no view in debugfs\n");
		return;
	}
	len = fread(view, 1, sizeof(view) - 1, file);
	fclose(file);
	view[len] = '\0';
	if (!count_escaped("debugfs", view))
		fail_exit("debugfs does not have the session");
}

static void stage_1(int luo_fd)
{
	size_t i;

	create_state_file(luo_fd, STATE_SESSION_NAME, STATE_MEMFD_TOKEN, 2);
	for (i = 0; i < ARRAY_SIZE(names); i++)
		preserve(luo_fd, i);
	check_refused(OUTGOING);
	check_outgoing(luo_fd, 0);
	check_view();

	for (i = 0; i < ARRAY_SIZE(names); i++) {
		if (drop(INCOMING, names[i]) != -ENOENT)
			fail_exit("dropped what nobody handed over, session %zu", i);
		if (drop(OUTGOING, names[i]))
			fail_exit("dropping outgoing session %zu", i);
		check_outgoing(luo_fd, i + 1);
	}
	check_log();

	/* What is written without a newline counts, too */
	for (i = 0; i < ARRAY_SIZE(names); i++) {
		if (close(outgoing[i]) || close(memfds[i]))
			fail_exit("closing session %zu", i);
		preserve(luo_fd, i);
	}
	if (write_to(OUTGOING, "twin", 4) || has_file(luo_fd, 0))
		fail_exit("dropping without a newline");
	close(outgoing[0]);
	close(memfds[0]);
	preserve(luo_fd, 0);

	close(luo_fd);
	daemonize_and_wait();
}

static void stage_2(int luo_fd, int state_session_fd)
{
	size_t i;
	int err;

	for (i = 0; i < ARRAY_SIZE(names); i++) {
		incoming[i] = luo_retrieve_session(luo_fd, names[i]);
		if (incoming[i] < 0)
			fail_exit("retrieving session %zu: %d", i, incoming[i]);
		preserve(luo_fd, i);
	}
	check_refused(INCOMING);
	check_incoming(0);
	check_view();

	/* Of two sessions of one name, this is about the other one */
	if (drop(OUTGOING, names[0]))
		fail_exit("dropping an outgoing session");
	check_outgoing(luo_fd, 1);
	check_incoming(0);

	for (i = 0; i < ARRAY_SIZE(names); i++) {
		if (drop(INCOMING, names[i]))
			fail_exit("dropping incoming session %zu", i);
		check_incoming(i + 1);
		check_outgoing(luo_fd, 1);
	}
	check_log();

	err = luo_session_finish(state_session_fd);
	if (err)
		fail_exit("finishing the state session: %d", err);
	ksft_print_msg("each session was dropped by itself\n");
}

int main(int argc, char *argv[])
{
	luo_help(argc, argv, "[-s 1|2]",
		 "Names of sessions with odd bytes in them, and how they are dropped: stage 1 is\n"
		 "before a kexec, stage 2 after it.");
	return luo_test(argc, argv, STATE_SESSION_NAME, stage_1, stage_2);
}
