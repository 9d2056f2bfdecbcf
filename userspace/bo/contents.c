// SPDX-License-Identifier: MIT
/*
 * What objects hold
 */
#include <errno.h>

#include "bo.h"

uint64_t bo_pattern(uint64_t seed, uint64_t offset)
{
	/* One round of multiply and shift each way spreads every bit of both. */
	uint64_t x = (seed + 1) * 0x9e3779b97f4a7c15 + offset;

	x = (x ^ x >> 32) * 0xd6e8feb86659fd93;
	return x ^ x >> 32;
}

/* The first position of a pattern in or after @offset. */
static uint64_t next_position(uint64_t offset, uint64_t step)
{
	return (offset + step - 1) / step * step;
}

void bo_fill(void *map, uint64_t first, uint64_t length, uint64_t step, uint64_t seed)
{
	for (uint64_t o = next_position(first, step); o < first + length; o += step)
		*(volatile uint64_t *)((char *)map + (o - first)) = bo_pattern(seed, o);
	__sync_synchronize();	/* out of the write-combining buffers */
}

int64_t bo_check(const void *map, uint64_t first, uint64_t length, uint64_t step, uint64_t seed)
{
	for (uint64_t o = next_position(first, step); o < first + length; o += step) {
		if (*(volatile uint64_t *)((const char *)map + (o - first)) != bo_pattern(seed, o))
			return o;
	}
	return -1;
}

int64_t bo_check_reader(struct bo_reader *reader, uint64_t first, uint64_t length, uint64_t step,
			uint64_t seed, int *error)
{
	uint64_t word;
	ssize_t ret;

	*error = 0;
	for (uint64_t o = next_position(first, step); o < first + length; o += step) {
		ret = bo_reader_read(reader, &word, sizeof(word), o);
		if (ret != sizeof(word)) {
			*error = ret < 0 ? ret : -EIO;
			return o;
		}
		if (word != bo_pattern(seed, o))
			return o;
	}
	return -1;
}
