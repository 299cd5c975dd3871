// SPDX-License-Identifier: GPL-2.0-only
/* Tests of two stages, with a kexec in between: which one is due, and what it needs. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <linux/limits.h>

#include <libliveupdate.h>
#include <liveupdate_test.h>

#define DROP_SESSION	"/sys/devices/virtual/misc/liveupdate/drop_incoming_session"

/* Ends the test if the device is not bound to vfio-pci. */
void need_bound(const char *bdf)
{
	char path[PATH_MAX];
	char *driver;

	snprintf_assert(path, sizeof(path), "/sys/bus/pci/devices/%s", bdf);
	if (access(path, F_OK))
		ksft_exit_fail_msg("%s: there is no such device\n", bdf);

	driver = sysfs_driver_get(bdf);
	if (!driver || strcmp(driver, "vfio-pci"))
		ksft_exit_fail_msg("%s is bound to %s: run scripts/setup.sh %s, then this again\n",
				   bdf, driver ?: "no driver", bdf);
	free(driver);
}

/* Ends the test if stage 1 is not due. Retrieves nothing: that can be done once. */
static void need_stage_1(int luo_fd, const char *state_session)
{
	int session_fd;

	if (view_readable() && view_count("incoming", "session %s: waiting\n", state_session))
		ksft_exit_fail_msg("session %s has arrived: stage 2 is due, not 1\n",
				   state_session);

	session_fd = luo_create_session(luo_fd, state_session);
	if (session_fd == -EEXIST) {
		ksft_print_msg("A stage 1 has left a process in the background.\n");
		ksft_exit_fail_msg("session %s is there: kexec, or kill that process\n",
				   state_session);
	}
	if (session_fd >= 0)
		close(session_fd);
}

/*
 * Runs a stage, if it is due: stage 2 if the previous kernel handed over the session
 * that has the state file, and stage 1 if not.
 *
 * What else a stage needs has to be checked before: stage 2 begins with the only
 * time that the state file can be retrieved.
 */
void run_stage(int stage, const char *state_session, luo_test_stage1_fn stage_1,
	       luo_test_stage2_fn stage_2)
{
	int luo_fd, state_session_fd;

	if (stage != 1 && stage != 2)
		ksft_exit_fail_msg("--stage %d: not 1 or 2\n", stage);

	luo_fd = luo_open_device();
	if (luo_fd < 0)
		ksft_exit_fail_msg("open(%s): %m (booted with liveupdate=on?)\n", LUO_DEVICE);
	if (stage == 1)
		need_stage_1(luo_fd, state_session);

	state_session_fd = luo_retrieve_session(luo_fd, state_session);
	if (state_session_fd >= 0 && stage == 1)
		ksft_exit_fail_msg("session %s has arrived: stage 2 was due\n",
				   state_session);
	if (state_session_fd < 0 && state_session_fd != -ENOENT)
		ksft_exit_fail_msg("retrieving session %s: %s\n", state_session,
				   strerror(-state_session_fd));
	if (state_session_fd < 0 && stage == 2) {
		if (view_readable() && view_count("incoming", "session "))
			ksft_print_msg("Those of a stage 2 that failed can be dropped: %s\n",
				       DROP_SESSION);
		ksft_exit_fail_msg("session %s has not arrived: stage 1 is due, not 2\n",
				   state_session);
	}

	if (stage == 1)
		stage_1(luo_fd);
	else
		stage_2(luo_fd, state_session_fd);
}
