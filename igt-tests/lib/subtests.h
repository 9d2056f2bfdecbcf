/* SPDX-License-Identifier: MIT */
/* A test is a table of subtests, each with a dynamic subtest for every target. */
#ifndef SUBTESTS_H
#define SUBTESTS_H

#include "targets.h"

struct subtest {
	const char *name;	/* of a family: a format with one %s for the name of the member */
	const char *description;
	void (*test)(const struct target *target);
	bool (*on)(const struct target *target);	/* every target, if not set */
	/*
	 * A family: one subtest for each element of an array whose first field is the member's
	 * name (const char *). FAMILY(array) sets the last three.
	 */
	void (*test_member)(const struct target *target, const void *member);
	bool (*on_member)(const struct target *target, const void *member);	/* or all */
	const void *members;
	size_t count, size;
};

#define FAMILY(array)								\
	.members = (array), .count = ARRAY_SIZE(array), .size = sizeof((array)[0])

/* Members of families: sizes of objects, and the values of the switch. */
struct named_size {
	const char *name;
	uint64_t size;
};

struct switch_value {
	const char *name;
	int value;
};

/* What the member of a family of sizes says. */
uint64_t member_size(const void *member);

extern const struct switch_value switch_values[HUGE_PUD + 1];

/* Each subtest on each target, and the kernel asked for warnings after each. */
void run_subtest(const struct subtest *subtest);
/* The same without dynamic subtests, on what stands for something else than a card. */
void run_subtest_on(const struct target *target, const struct subtest *subtest);
#define run_subtests(array) do {						\
	for (size_t __i = 0; __i < ARRAY_SIZE(array); __i++)			\
		run_subtest(&(array)[__i]);					\
} while (0)

#define run_subtests_on(target, array) do {					\
	for (size_t __i = 0; __i < ARRAY_SIZE(array); __i++)			\
		run_subtest_on(target, &(array)[__i]);				\
} while (0)

/* All of igt_main() for a test that needs no more than ttm_huge_init(). */
#define run_test(array) do {							\
	igt_fixture()								\
		ttm_huge_init();						\
	run_subtests(array);							\
	igt_fixture()								\
		ttm_huge_fini();						\
} while (0)

#endif
