// SPDX-License-Identifier: GPL-2.0-only
/* What debugfs shows of sessions, files, devices and bridges. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sys/stat.h>

#include <liveupdate_test.h>

#define VIEW			"/sys/kernel/debug/liveupdate/pci"

/* Whether there is a view, for root alone to read. */
bool view_readable(void)
{
	struct stat st;

	return !stat(VIEW, &st) && (st.st_mode & ~S_IFMT) == 0400;
}

/* How many lines below @direction begin like this, after the blanks. */
int view_count(const char *direction, const char *fmt, ...)
{
	char *begin, *line = NULL;
	bool below = false;
	size_t size = 0;
	int count = 0;
	va_list args;
	FILE *file;

	va_start(args, fmt);
	VFIO_ASSERT_GE(vasprintf(&begin, fmt, args), 0);
	va_end(args);

	file = fopen(VIEW, "r");
	VFIO_ASSERT_NOT_NULL(file);
	while (getline(&line, &size, file) > 0) {
		const char *text = line + strspn(line, " ");

		if (text == line)
			below = !strcmp(strtok(line, "\n"), direction);
		else if (below)
			count += !strncmp(text, begin, strlen(begin));
	}

	fclose(file);
	free(line);
	free(begin);
	return count;
}
