/* SPDX-License-Identifier: MIT */
/*
 * Nanoseconds, which are instructions where the clock counts them (guest/run --icount).
 */
#ifndef TIMING_H
#define TIMING_H

#include <stdint.h>
#include <time.h>

static inline uint64_t now_on(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return t.tv_sec * 1000000000ull + t.tv_nsec;
}

static inline uint64_t now(void)
{
	return now_on(CLOCK_MONOTONIC);
}

/*
 * Returns right after a timer interrupt, so that the next one, which would be counted as
 * thousands of instructions, is as far away as can be.
 */
static inline void await_tick(void)
{
	const uint64_t start = now(), longest = 20000000, interrupt = 2000;
	uint64_t last = start, t;

	while ((t = now()) - last < interrupt && t - start < longest)
		last = t;
}

#endif
