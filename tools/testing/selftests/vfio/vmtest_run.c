// SPDX-License-Identifier: GPL-2.0-only
/*
 * What vmtest.sh has run in a VM: binds each device behind a root port to vfio-pci,
 * and runs the test with all of them.
 *
 * The first process is ../liveupdate/init.c, which says which stage it is: -s 1 or
 * -s 2. In stages that the file /unbound names, the test binds the devices itself.
 *
 * Results go to the second serial port, since the console is the kernel's.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include <sys/mount.h>
#include <sys/wait.h>

#define DEVICES		"/sys/bus/pci/devices/"
#define RESULTS		"/dev/ttyS1"
#define TEST		"/vfio_test"

#define MAX_DEVICES	32

static void open_results(void)
{
	int fd = open(RESULTS, O_WRONLY | O_NOCTTY);
	struct termios raw;

	if (fd < 0 || tcgetattr(fd, &raw)) {
		perror(RESULTS);
		exit(1);
	}
	cfmakeraw(&raw);
	tcsetattr(fd, TCSADRAIN, &raw);
	dup2(fd, STDOUT_FILENO);
	dup2(fd, STDERR_FILENO);
	close(fd);
}

static bool write_file(const char *path, const char *value)
{
	int fd = open(path, O_WRONLY);
	bool done = fd >= 0 && write(fd, value, strlen(value)) == (ssize_t)strlen(value);

	if (!done)
		fprintf(stderr, "# %s: %m\n", path);
	if (fd >= 0)
		close(fd);
	return done;
}

static bool bind_device(const char *bdf)
{
	char path[256];

	snprintf(path, sizeof(path), DEVICES "%s/driver/unbind", bdf);
	if (!access(path, W_OK) && !write_file(path, bdf))
		return false;
	snprintf(path, sizeof(path), DEVICES "%s/driver_override", bdf);
	return write_file(path, "vfio-pci") && write_file("/sys/bus/pci/drivers_probe", bdf);
}

/* What is not on the root bus, and no bridge */
static int is_endpoint(const struct dirent *entry)
{
	char path[512], class[8] = "";
	int fd;

	if (entry->d_name[0] == '.' || !strncmp(entry->d_name, "0000:00:", 8))
		return 0;
	snprintf(path, sizeof(path), DEVICES "%s/class", entry->d_name);
	fd = open(path, O_RDONLY);
	if (fd < 0)
		return 0;
	if (read(fd, class, sizeof(class) - 1) < 0)
		class[0] = 0;
	close(fd);
	return strncmp(class, "0x06", 4) != 0;
}

/* Whether the test binds the devices in this stage. */
static bool test_binds(const char *stage)
{
	char stages[8] = "";
	int fd = open("/unbound", O_RDONLY);

	if (fd < 0)
		return false;
	if (read(fd, stages, sizeof(stages) - 1) < 0)
		stages[0] = 0;
	close(fd);
	return strstr(stages, stage);
}

int main(int argc, char *argv[])
{
	char *test[MAX_DEVICES + 4] = { TEST, "-s" };
	struct dirent **devices;
	int nr, i, status = 1;
	pid_t pid;

	if (argc != 3)
		return 1;
	test[2] = argv[2];

	if (mount("sysfs", "/sys", "sysfs", 0, NULL) ||
	    mount("debugfs", "/sys/kernel/debug", "debugfs", 0, NULL)) {
		perror("mount");
		return 1;
	}
	open_results();
	printf("# stage %s\n", argv[2]);

	nr = scandir(DEVICES, &devices, is_endpoint, alphasort);
	if (nr < 1 || nr > MAX_DEVICES) {
		printf("# %d devices\n", nr);
		return 1;
	}
	for (i = 0; i < nr; i++) {
		test[3 + i] = devices[i]->d_name;
		if (!test_binds(argv[2]) && !bind_device(test[3 + i]))
			return 1;
	}
	fflush(stdout);

	pid = fork();
	if (!pid) {
		execv(TEST, test);
		perror(TEST);
		_exit(1);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		perror("fork");
	tcdrain(STDOUT_FILENO);
	return !WIFEXITED(status) || WEXITSTATUS(status);
}
