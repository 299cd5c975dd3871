// SPDX-License-Identifier: GPL-2.0-only
/*
 * A first process that keeps sessions for others, as systemd's fd store does, and
 * does what "systemctl kexec" does in the end: it sends all other processes SIGTERM,
 * then SIGKILL, and runs kexec -e. If that fails, it reboots the machine.
 *
 *	luo_fd_store COMMAND [ARGUMENT]...	as the first process: runs the command
 *						as another one
 *	luo_fd_store --check			fails if it is not the first process
 *
 * See luo_fd_store.h for how it is given descriptors. SIGUSR1 has it go through with
 * the kexec. It has no file of a device, and looks at nothing that it keeps.
 */
#define _GNU_SOURCE

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <sys/reboot.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include <luo_fd_store.h>
#include <luo_options.h>

/* How long processes have to end by themselves, in milliseconds */
#define TERM_TIMEOUT_MS		1000

/* And to end when they are killed */
#define KILL_TIMEOUT_MS		20000

/* Ends a wait, and nothing else */
static void on_sigusr1(int signal)
{
}

static int check_first(void)
{
	static const char name[] = "/luo_fd_store";
	char path[256];
	ssize_t len = readlink("/proc/1/exe", path, sizeof(path) - 1);

	if (len >= (ssize_t)strlen(name)) {
		path[len] = 0;
		if (!strcmp(path + len - strlen(name), name))
			return EXIT_SUCCESS;
	}

	fprintf(stderr, "the first process is another one\n");
	return EXIT_FAILURE;
}

static int store_open(void)
{
	struct sockaddr_un address;
	socklen_t len = luo_fd_store_address(&address);
	int store = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (store < 0 || bind(store, (struct sockaddr *)&address, len)) {
		perror("luo_fd_store: socket");
		return -1;
	}

	return store;
}

/* Whatever descriptors come are kept for good. */
static void store_receive(int store)
{
	union {
		struct cmsghdr header;
		char bytes[CMSG_SPACE(8 * sizeof(int))];
	} control;
	char data[64];
	struct iovec iov = { .iov_base = data, .iov_len = sizeof(data) };
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof(control),
	};

	if (recvmsg(store, &msg, MSG_CMSG_CLOEXEC | MSG_DONTWAIT) < 0)
		perror("luo_fd_store: recvmsg");
}

/* Whether all other processes ended: those whose parents did are children of this one. */
static bool are_gone(int timeout_ms)
{
	for (; timeout_ms > 0; timeout_ms -= 10) {
		if (waitpid(-1, NULL, WNOHANG) < 0 && errno == ECHILD)
			return true;
		usleep(10000);
	}

	return false;
}

static void run_kexec(void)
{
	if (!fork()) {
		execl("/usr/sbin/kexec", "kexec", "--no-ifdown", "-e", NULL);
		reboot(RB_KEXEC);
		_exit(EXIT_FAILURE);
	}
	are_gone(KILL_TIMEOUT_MS);
}

static void go_through_with_kexec(void)
{
	kill(-1, SIGTERM);
	if (!are_gone(TERM_TIMEOUT_MS)) {
		kill(-1, SIGKILL);
		if (!are_gone(KILL_TIMEOUT_MS))
			fprintf(stderr, "luo_fd_store: processes do not end\n");
	}

	run_kexec();
	fprintf(stderr, "luo_fd_store: kexec came back\n");
	reboot(RB_AUTOBOOT);
}

int main(int argc, char *argv[])
{
	const struct sigaction sigusr1 = { .sa_handler = on_sigusr1 };
	struct pollfd store = { .events = POLLIN };
	sigset_t blocked, usual;
	int ret;

	if (argc == 2)
		luo_help(argc, argv, "--check | COMMAND [ARGUMENT]...",
			 "Has to be the first process, and runs the command as another one. Keeps the\n"
			 "descriptors that it is sent, and on SIGUSR1 ends all others and runs kexec -e.\n"
			 "--check fails if the first process is another one.");
	if (argc == 2 && !strcmp(argv[1], "--check"))
		return check_first();
	if (argc < 2 || getpid() != 1) {
		fprintf(stderr, "%s: not the first process, or no command: see --help\n", argv[0]);
		return EXIT_FAILURE;
	}

	/* Comes while this process waits, and at no other time */
	sigemptyset(&blocked);
	sigaddset(&blocked, SIGUSR1);
	sigprocmask(SIG_BLOCK, &blocked, &usual);
	sigaction(SIGUSR1, &sigusr1, NULL);

	store.fd = store_open();
	if (!fork()) {
		sigprocmask(SIG_SETMASK, &usual, NULL);
		execv(argv[1], argv + 1);
		perror(argv[1]);
		_exit(EXIT_FAILURE);
	}

	/* Children end without anybody asking how. */
	signal(SIGCHLD, SIG_IGN);
	while ((ret = ppoll(&store, 1, NULL, &usual)) >= 0 || errno != EINTR) {
		if (ret > 0)
			store_receive(store.fd);
	}

	/* What was sent last */
	while (poll(&store, 1, 0) > 0)
		store_receive(store.fd);
	go_through_with_kexec();

	/* The first process must not end. */
	while (true)
		pause();
}
