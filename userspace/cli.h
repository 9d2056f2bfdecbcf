/* SPDX-License-Identifier: MIT */
/*
 * What the programs' command lines have in common. When something is wrong, they say so in one line,
 * after their name, and exit with 1 for what they found, 2 for what they were told.
 */
#ifndef CLI_H
#define CLI_H

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#ifndef VERSION
#define VERSION	"(not a release)"
#endif

__attribute__((format(printf, 2, 3), noreturn))
static inline void die_with(int status, const char *format, ...)
{
	va_list args;

	fprintf(stderr, "%s: ", program_invocation_short_name);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
	exit(status);
}

#define die(...)	die_with(1, __VA_ARGS__)
#define bad_usage(...)	die_with(2, __VA_ARGS__)

/* For what getopt_long() answers if its options start with ":". */
__attribute__((noreturn))
static inline void bad_option(int opt, char **argv)
{
	const char *program = program_invocation_short_name, *option = argv[optind - 1];

	if (opt == ':')
		bad_usage("'%s' needs a value; try '%s --help'", option, program);
	bad_usage("no such option: '%s'; try '%s --help'", option, program);
}

static inline void print_version(void)
{
	printf("%s %s\n", program_invocation_short_name, VERSION);
}

static inline uint64_t parse_number(const char *text, const char *what, uint64_t min, uint64_t max)
{
	char *end;
	uint64_t n;

	errno = 0;
	n = strtoull(text, &end, 10);
	if (errno || end == text || *end || *text == '-' || n < min || n > max)
		bad_usage("%s must be a number from %" PRIu64 " to %" PRIu64 ", not '%s'", what,
			  min, max, text);
	return n;
}

#endif
