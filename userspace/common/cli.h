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
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

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
	const char *next = argv[optind], letter[] = { '-', optopt, '\0' };

	/* getopt is past a long option, but of "-abc" it may still be at that. */
	if (optopt && (strncmp(option, "--", 2) ||
		       (next && next[0] == '-' && next[1] != '-' && strchr(next, optopt))))
		option = letter;
	if (opt == ':')
		bad_usage("'%s' needs a value; try '%s --help'", option, program);
	if (optopt && option != letter)
		bad_usage("'%.*s' takes no value; try '%s --help'", (int)strcspn(option, "="),
			  option, program);
	bad_usage("no such option%s: '%s'; try '%s --help'",
		  optopt ? "" : ", or more than one", option, program);
}

/* fclose() that knows of earlier failures, too; 0 or a negative errno. */
static inline int close_stream(FILE *f)
{
	int err = ferror(f) ? -EIO : 0;

	return fclose(f) ? -errno : err;
}

/* Of what was written to @path: it is removed if that failed, unless it is a device. */
static inline int close_output(FILE *f, const char *path)
{
	int err = close_stream(f);
	struct stat st;

	if (err && !lstat(path, &st) && S_ISREG(st.st_mode))
		unlink(path);
	return err;
}

/* The first thing that a program gives to atexit(), so that it comes last. */
static inline void close_stdout(void)
{
	int err = close_stream(stdout);

	/* EBADF: it was not open. */
	if (err && err != -EBADF) {
		fprintf(stderr, "%s: cannot write the output: %s\n",
			program_invocation_short_name, strerror(-err));
		_exit(1);
	}
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
