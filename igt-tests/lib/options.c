// SPDX-License-Identifier: MIT
#include "options.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "igt.h"

const struct option *number_options(const struct number *numbers)
{
	static struct option options[8];

	for (size_t i = 0; numbers[i].name && i < ARRAY_SIZE(options) - 1; i++)
		options[i] = (struct option){
			.name = numbers[i].name,
			.has_arg = required_argument,
			.val = numbers[i].letter,
		};
	return options;
}

int parse_number(int opt, int index, void *numbers)
{
	const struct number *number = numbers;
	unsigned long long value;
	char *end;

	(void)index;
	while (number->name && number->letter != opt)
		number++;
	if (!number->name)
		return -2;	/* IGT_OPT_HANDLER_ERROR */

	errno = 0;
	value = strtoull(optarg, &end, 0);
	/* strtoull() takes signs and spaces, too. */
	if (errno || !isdigit((unsigned char)*optarg) || *end || !value || value > number->max) {
		fprintf(stderr, "%s: --%s must be a number from 1 to %u, not '%s'\n",
			igt_test_name(), number->name, number->max, optarg);
		return -2;
	}
	*number->value = value;
	return 0;
}
