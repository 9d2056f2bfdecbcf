/* SPDX-License-Identifier: MIT */
/* How the programs end when something is wrong: one line, after the program's name. */
#ifndef DIE_H
#define DIE_H

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

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

#define die(...)	die_with(EXIT_FAILURE, __VA_ARGS__)

#endif
