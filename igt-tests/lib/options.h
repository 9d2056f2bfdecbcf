/* SPDX-License-Identifier: MIT */
/* Numbers that tests take as options. */
#ifndef OPTIONS_H
#define OPTIONS_H

/*
 * For the handler of igt_main_args(), which returns what this returns: *@value becomes the number
 * in @text. What is no number from @min to @max is refused in one line.
 */
int number_option(const char *option, const char *text, unsigned int min, unsigned int max,
		  unsigned int *value);

#endif
