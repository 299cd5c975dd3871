// SPDX-License-Identifier: GPL-2.0-only

/*
 * Has samples/rust/rust_liveupdate.rs carry /dev/zero files across a kexec.
 *
 * The files of a session are retrieved, finished and used; another session is
 * finished without retrieving its file, which has to be possible, too. So has asking
 * for a file before there is what it needs, and once more when that is there.
 */

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <libliveupdate.h>
#include <luo_options.h>

#define STATE_SESSION_NAME	"rust_sample_state"
#define STATE_MEMFD_TOKEN	999

#define SESSION_NAME		"rust-sample"
#define LEFT_SESSION_NAME	"rust-sample-left"

static const struct {
	__u64 token;
	int flags;
} files[] = {
	{ 0, O_RDONLY },
	{ 1, O_WRONLY },
	{ ~0ULL, O_RDWR },
};

static void preserve(int session_fd, __u64 token, int flags)
{
	int fd = open("/dev/zero", flags);
	int err;

	if (fd < 0)
		fail_exit("open(/dev/zero)");

	err = luo_session_preserve_fd(session_fd, fd, token);
	if (err)
		fail_exit("preserving token %#llx: %d", token, err);
	close(fd);
}

static void run_stage_1(int luo_fd)
{
	int session_fd, null_fd;

	create_state_file(luo_fd, STATE_SESSION_NAME, STATE_MEMFD_TOKEN, 2);

	session_fd = luo_create_session(luo_fd, SESSION_NAME);
	if (session_fd < 0)
		fail_exit("luo_create_session for '%s'", SESSION_NAME);

	for (size_t i = 0; i < ARRAY_SIZE(files); i++)
		preserve(session_fd, files[i].token, files[i].flags);

	/* Another device of the same driver, which nobody handles */
	null_fd = open("/dev/null", O_RDONLY);
	if (luo_session_preserve_fd(session_fd, null_fd, 7) != -ENOENT)
		fail_exit("/dev/null was not refused");
	close(null_fd);

	/* What is preserved and unpreserved again must not be counted */
	session_fd = luo_create_session(luo_fd, "rust-sample-closed");
	if (session_fd < 0)
		fail_exit("luo_create_session");
	preserve(session_fd, 1, O_RDONLY);
	close(session_fd);

	session_fd = luo_create_session(luo_fd, LEFT_SESSION_NAME);
	if (session_fd < 0)
		fail_exit("luo_create_session for '%s'", LEFT_SESSION_NAME);
	preserve(session_fd, 5, O_RDWR);

	close(luo_fd);
	daemonize_and_wait();
}

static void check_file(int session_fd, __u64 token, int flags)
{
	char buf[16];
	int fd, again;

	memset(buf, 0xff, sizeof(buf));

	fd = luo_session_retrieve_fd(session_fd, token);
	if (fd < 0)
		fail_exit("retrieving token %#llx: %d", token, fd);
	if ((fcntl(fd, F_GETFL) & O_ACCMODE) != flags)
		fail_exit("token %#llx has other flags", token);

	if (flags == O_WRONLY) {
		if (write(fd, buf, sizeof(buf)) != sizeof(buf))
			fail_exit("write");
	} else {
		if (read(fd, buf, sizeof(buf)) != sizeof(buf))
			fail_exit("read");
		for (size_t i = 0; i < sizeof(buf); i++) {
			if (buf[i])
				fail_exit("not zero at %zu", i);
		}
	}

	/* Whoever asks again gets the same file */
	again = luo_session_retrieve_fd(session_fd, token);
	if (again < 0)
		fail_exit("retrieving token %#llx again: %d", token, again);
	close(again);
	close(fd);
}

/* The sample opens the device by its name, which it may not have yet */
static void check_too_early(int session_fd, __u64 token)
{
	static const char away[] = "/dev/zero.luo_rust_sample";
	int first, second;

	if (rename("/dev/zero", away))
		fail_exit("rename(/dev/zero)");
	first = luo_session_retrieve_fd(session_fd, token);
	second = luo_session_retrieve_fd(session_fd, token);
	if (rename(away, "/dev/zero"))
		fail_exit("rename(%s)", away);
	if (first != -EAGAIN || second != -EAGAIN)
		fail_exit("retrieving token %#llx without a device: %d, %d", token,
			  first, second);
}

static void run_stage_2(int luo_fd, int state_session_fd)
{
	int session_fd, stage;

	restore_and_read_stage(state_session_fd, STATE_MEMFD_TOKEN, &stage);
	if (stage != 2)
		fail_exit("expected stage 2, but state file contains %d", stage);

	session_fd = luo_retrieve_session(luo_fd, SESSION_NAME);
	if (session_fd < 0)
		fail_exit("luo_retrieve_session for '%s'", SESSION_NAME);

	check_too_early(session_fd, files[0].token);
	for (size_t i = 0; i < ARRAY_SIZE(files); i++)
		check_file(session_fd, files[i].token, files[i].flags);
	if (luo_session_retrieve_fd(session_fd, 7) >= 0)
		fail_exit("retrieved a file that was refused");
	if (luo_session_finish(session_fd) < 0)
		fail_exit("luo_session_finish");
	close(session_fd);

	session_fd = luo_retrieve_session(luo_fd, "rust-sample-closed");
	if (session_fd >= 0)
		fail_exit("retrieved a session that was closed");

	session_fd = luo_retrieve_session(luo_fd, LEFT_SESSION_NAME);
	if (session_fd < 0)
		fail_exit("luo_retrieve_session for '%s'", LEFT_SESSION_NAME);
	if (luo_session_finish(session_fd) < 0)
		fail_exit("luo_session_finish without retrieving");
	close(session_fd);

	if (luo_session_finish(state_session_fd) < 0)
		fail_exit("luo_session_finish for state session");
	close(state_session_fd);

	ksft_print_msg("files of the Rust sample came through\n");
}

int main(int argc, char *argv[])
{
	luo_help(argc, argv, "[-s 1|2]",
		 "Files of the sample in Rust, a module that has to be loaded: stage 1 is before a\n"
		 "kexec, stage 2 after it.");
	return luo_test(argc, argv, STATE_SESSION_NAME, run_stage_1, run_stage_2);
}
