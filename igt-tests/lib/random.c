// SPDX-License-Identifier: MIT
#include "random.h"

uint64_t random_below(unsigned int *random, uint64_t limit)
{
	return (((uint64_t)rand_r(random) << 31) ^ rand_r(random)) % limit;
}

struct part random_part(unsigned int *random, uint64_t length, uint64_t unit)
{
	struct part part = { .offset = random_below(random, length / unit) * unit };

	part.length = (1 + random_below(random, (length - part.offset) / unit)) * unit;
	return part;
}
