/* SPDX-License-Identifier: MIT */
/* Numbers that tests take as options. */
#ifndef OPTIONS_H
#define OPTIONS_H

#include <getopt.h>

/* --@name or -@letter N sets *@value to N, which is at least 1. An array ends with an empty one. */
struct number {
	const char *name;
	int letter;
	unsigned int max;
	unsigned int *value;
};

/*
 * For igt_main_args(): what getopt_long() needs for the array, and the handler, whose data is the
 * array. What is no number from 1 to @max is refused in one line.
 */
const struct option *number_options(const struct number *numbers);
int parse_number(int opt, int index, void *numbers);

#endif
