// SPDX-License-Identifier: MIT
/**
 * TEST: ttm huge vttm unplug
 * Category: Core
 * Mega feature: General Core features
 * Sub-category: Memory management tests
 * Functionality: mmap
 * Description: A device goes while processes map its objects.
 */
#include <sys/mman.h>
#include <sys/wait.h>

#include "vttm_ops.h"

IGT_TEST_DESCRIPTION("Huge page-table entries for memory of a device that goes");

/* All of an object with entries of every level and contents */
static struct view view_of_all_levels(const struct target *target, uint32_t domains)
{
	struct view view = vttm_new_view(target, .size = size_of_all_levels(target),
					 .domains = domains, .flags = UNCLEARED);

	faults_of_touching(&view, false);
	fill(&view, view_step(&view), 1);
	return view;
}

/* Asserts that what is mapped is no longer the object: zeroes that can be written. */
static void check_dummy(const struct view *view)
{
	const uint64_t offsets[] = { 0, view->length / 2, view->length - BO_PTE_SIZE };
	volatile uint64_t *words = (volatile uint64_t *)view->addr;

	assert_unmapped(view);
	for (size_t i = 0; i < ARRAY_SIZE(offsets); i++) {
		igt_assert_eq(signal_of_write(view->addr + offsets[i]), 0);
		igt_assert_eq_u64(words[offsets[i] / 8], 0);
	}
	assert_no_huge(view);
	*words = 1;
	igt_assert_eq_u64(*words, 1);
}

/**
 * SUBTEST: unplug-%d
 * Description: A device is unplugged while a process and its child map an object with entries up to
 *              those that the switch allows at %arg[1]. The entries go; what is there afterwards
 *              is a page of zeroes; no process gets a signal; calls fail with ENODEV. The device
 *              can be plugged in again.
 *
 * arg[1]:
 *
 * @0:	4 KiB
 * @1:	2 MiB
 * @2:	1 GiB
 */
static void test_unplug(const struct target *target, const void *member)
{
	const struct switch_value *switched = member;
	struct pci_address device = pci_address(target);
	struct turns turns;

	/* A child cannot skip. */
	require_room(target, size_of_all_levels(target));
	in_child(&turns) {
		struct drm_vttm_query query;
		struct view view, inside;

		set_huge_faults(switched->value);
		view = view_of_all_levels(target, VRAM | SYSTEM);
		assert_entries(&view, switched->value);
		/* A mapping without entries, too. */
		inside = map_whole(target, view.bo, PROT_READ | PROT_WRITE);
		next_turn(&turns);

		igt_assert_eq(vttm_query(view.bo, &query), -ENODEV);
		igt_assert_eq(vttm_move(view.bo, SYSTEM), -ENODEV);
		igt_assert(bo_map(view.bo, NULL, view.length, PROT_READ, 0) == MAP_FAILED &&
			   errno == ENODEV);
		check_dummy(&view);
		igt_assert_eq(munmap(view.addr + BO_PTE_SIZE, BO_PTE_SIZE), 0);
		igt_assert_eq(mprotect(inside.addr, BO_PTE_SIZE, PROT_READ), 0);
		igt_assert_eq(signal_of_read(inside.addr), 0);
		igt_assert_eq(signal_of_write(inside.addr), SIGSEGV);
	}
	unplug(&device);
	last_turn(&turns);
	plug_in(target, &device);
}

/**
 * SUBTEST: unplug-fork
 * Description: The same with a parent that shares the mapping with its child; both have dummy
 *              pages afterwards.
 */
static void test_unplug_fork(const struct target *target)
{
	struct pci_address device = pci_address(target);
	struct turns turns;

	/* A child cannot skip. */
	require_room(target, size_of_all_levels(target));
	in_child(&turns) {
		struct view view = view_of_all_levels(target, VRAM);
		volatile uint64_t *words = (volatile uint64_t *)view.addr;
		pid_t pid = fork();
		int status;

		if (!pid) {
			/* Entries that are copies, until they are taken away */
			while (*words)
				usleep(1000);
			_exit(words[(view.length - BO_PTE_SIZE) / 8]);
		}
		next_turn(&turns);
		check_dummy(&view);
		igt_assert_eq(waitpid(pid, &status, 0), pid);
		igt_assert_eq(status, 0);
	}
	unplug(&device);
	last_turn(&turns);
	plug_in(target, &device);
}

static const struct subtest subtests[] = {
	{ "unplug-%s", "The device goes while it is in use", ON_VTTM(test_unplug, switch_values) },
	{ "unplug-fork", "The device goes while parent and child use it",
	  test_unplug_fork, .on = is_vttm },
};

int igt_main()
{
	run_test(subtests);
}
