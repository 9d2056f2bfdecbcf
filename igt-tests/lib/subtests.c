// SPDX-License-Identifier: MIT
#include "subtests.h"

#include "kernel.h"

const struct switch_value switch_values[] = {
	{ "0", HUGE_NONE },
	{ "1", HUGE_PMD },
	{ "2", HUGE_PUD },
};

uint64_t member_size(const void *member)
{
	return ((const struct named_size *)member)->size;
}

static void run_test_on(const struct target *target, const struct subtest *subtest,
			const void *member)
{
	if (member)
		subtest->test_member(target, member);
	else
		subtest->test(target);
	/* The end of objects and mappings may make it warn as well. */
	close_targets();
	assert_no_kernel_warning(target->name);
}

/* @only: a plain subtest for this target */
static void run_on_targets(const struct target *only, const struct subtest *subtest,
			   const char *name, const void *member)
{
	const struct target *target;

	igt_describe(subtest->description);
	if (only) {
		igt_subtest(name)
			run_test_on(only, subtest, member);
		return;
	}
	igt_subtest_with_dynamic(name) {
		for_each_target(target) {
			if (subtest->on && !subtest->on(target))
				continue;
			if (subtest->on_member && !subtest->on_member(target, member))
				continue;
			igt_dynamic(target->name)
				run_test_on(target, subtest, member);
		}
	}
}

/* snprintf(name, size, format, member), which is no format for a compiler to check. */
static void name_member(char *name, size_t size, const char *format, const char *member)
{
	const char *at = strstr(format, "%s");

	igt_assert(at);
	snprintf(name, size, "%.*s%s%s", (int)(at - format), format, member, at + 2);
}

void run_subtest_on(const struct target *target, const struct subtest *subtest)
{
	const char *member = subtest->members;
	char name[256];

	if (!member)
		run_on_targets(target, subtest, subtest->name, NULL);
	for (size_t i = 0; i < subtest->count; i++, member += subtest->size) {
		const char *member_name;

		memcpy(&member_name, member, sizeof(member_name));
		name_member(name, sizeof(name), subtest->name, member_name);
		run_on_targets(target, subtest, name, member);
	}
}

void run_subtest(const struct subtest *subtest)
{
	run_subtest_on(NULL, subtest);
}
