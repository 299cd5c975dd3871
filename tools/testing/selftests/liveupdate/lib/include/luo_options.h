/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The options of a live update test, from one table:
 *
 *	const struct luo_option options[] = {
 *		{ "stage", 's', .number = &stage },
 *		{ "again", 'A', .flag = &again },
 *		{}
 *	};
 *
 *	luo_parse_options(argc, argv, options, usage);
 */
#ifndef SELFTESTS_LIVEUPDATE_LIB_LUO_OPTIONS_H
#define SELFTESTS_LIVEUPDATE_LIB_LUO_OPTIONS_H

#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../../kselftest.h"

/*
 * An option. One of the pointers is set: it says what argument the option has, and
 * where that goes. Numbers can be decimal, octal or hexadecimal, as in C.
 */
struct luo_option {
	const char *name;
	char letter;
	bool *flag;			/* no argument; becomes true */
	int *number;
	unsigned long *size;		/* a number that is not negative */
	const char **text;
	void (*call)(const char *argument);	/* for options that can be repeated */
};

/* The most options of one test */
#define LUO_MAX_OPTIONS		32

/* Fails if @argument is not what the option takes. */
static inline bool luo_take_option(const struct luo_option *option, const char *argument)
{
	char *end = NULL;

	errno = 0;
	if (option->flag) {
		*option->flag = true;
	} else if (option->text) {
		*option->text = argument;
	} else if (option->call) {
		option->call(argument);
	} else if (option->number) {
		long number = strtol(argument, &end, 0);

		if (errno || end == argument || *end || number < INT_MIN || number > INT_MAX)
			return false;
		*option->number = number;
	} else {
		unsigned long size = strtoul(argument, &end, 0);

		if (errno || !isdigit(*argument) || *end)
			return false;
		*option->size = size;
	}
	return true;
}

/*
 * Parses all options, and --help, which every test has. Afterwards, what is no
 * option is in @argv from optind on.
 *
 * @options ends with an empty one. Does not return if there is something wrong with
 * the arguments: says what, and prints how to use the program.
 */
static inline void luo_parse_options(int argc, char *argv[], const struct luo_option *options,
				     void (*usage)(FILE *stream, const char *name))
{
	struct option names[LUO_MAX_OPTIONS + 2] = {};
	char letters[2 * LUO_MAX_OPTIONS + 2] = "";
	const struct luo_option *option;
	int nr = 0, length = 0, letter;

	for (option = options; option->name; option++) {
		if (nr == LUO_MAX_OPTIONS)
			ksft_exit_fail_msg("more than %d options\n", LUO_MAX_OPTIONS);
		names[nr++] = (struct option) {
			.name = option->name,
			.has_arg = option->flag ? no_argument : required_argument,
			.val = option->letter,
		};
		letters[length++] = option->letter;
		if (!option->flag)
			letters[length++] = ':';
	}
	names[nr] = (struct option) { .name = "help", .val = 'h' };
	letters[length] = 'h';

	while ((letter = getopt_long(argc, argv, letters, names, NULL)) != -1) {
		if (letter == 'h') {
			usage(stdout, argv[0]);
			exit(KSFT_PASS);
		}
		for (option = options; option->name; option++)
			if (option->letter == letter)
				break;
		if (option->name && luo_take_option(option, optarg))
			continue;
		if (option->name)
			fprintf(stderr, "%s: --%s %s: not a number\n", argv[0], option->name,
				optarg);
		usage(stderr, argv[0]);
		exit(KSFT_FAIL);
	}
}

/*
 * For tests whose arguments somebody else parses, such as kselftest_harness.h: if
 * --help is among them, prints what the arguments are and what the test needs, and
 * ends the program.
 */
static inline void luo_help(int argc, char *argv[], const char *arguments, const char *needs)
{
	int i;

	for (i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--help"))
			continue;
		printf("Usage: %s %s\n\n%s\n", argv[0], arguments, needs);
		exit(KSFT_PASS);
	}
}

#endif /* SELFTESTS_LIVEUPDATE_LIB_LUO_OPTIONS_H */
