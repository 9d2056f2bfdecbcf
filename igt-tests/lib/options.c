// SPDX-License-Identifier: MIT
#include "options.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "igt.h"

int number_option(const char *option, const char *text, unsigned int min, unsigned int max,
		  unsigned int *value)
{
	unsigned long long number;
	char *end;

	errno = 0;
	number = strtoull(text, &end, 0);
	/* strtoull() takes signs and spaces, too. */
	if (errno || !isdigit((unsigned char)*text) || *end || number < min || number > max) {
		fprintf(stderr, "%s: %s must be a number from %u to %u, not '%s'\n",
			igt_test_name(), option, min, max, text);
		return -2;	/* IGT_OPT_HANDLER_ERROR */
	}
	*value = number;
	return 0;
}
