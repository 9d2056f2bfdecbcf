// SPDX-License-Identifier: MIT
/**
 * TEST: ttm huge oom
 * Category: Core
 * Mega feature: General Core features
 * Sub-category: Memory management tests
 * Functionality: mmap
 * Description: Whichever allocation fails on the way to a mapping, what is mapped is the object, the
 *              rest answers with SIGBUS or an errno, and when there is memory again all of it works.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>

#include "vma_ops.h"

IGT_TEST_DESCRIPTION("Failing allocations in faults and splits of mappings of TTM buffer objects");

#define FAIL_NTH	"/proc/thread-self/fail-nth"
#define FAIL_SLAB	"/sys/kernel/debug/failslab/"

/*
 * Failing to order
 */

/* All allocations of this task, if any: also those that may wait, and single pages. */
static void set_up_failing(void)
{
	set_knob(FAIL_SLAB "verbose", "0");
	set_knob(FAIL_SLAB "ignore-gfp-wait", "N");
	set_knob(FAIL_SLAB "cache-filter", "N");
	set_up_failing_pages();
}

static int fail_nth_fd = -1;

/* Lets the @nth allocation of this task fail, once, counted from 1. */
static void fail_nth(unsigned int nth)
{
	char text[16];
	int length = snprintf(text, sizeof(text), "%u", nth);

	if (fail_nth_fd < 0)
		fail_nth_fd = open(FAIL_NTH, O_RDWR | O_CLOEXEC);
	igt_assert(pwrite(fail_nth_fd, text, length, 0) == length);
}

/* Ends it. Returns whether an allocation has failed. */
static bool has_failed(void)
{
	char text[16] = "";

	igt_assert(pread(fail_nth_fd, text, sizeof(text) - 1, 0) > 0);
	fail_nth(0);
	return !strtoul(text, NULL, 10);
}

static void set_times(int times)
{
	char text[16];

	snprintf(text, sizeof(text), "%d", times);
	igt_assert_eq(write_value(FAIL_PAGES "times", text), 0);
}

/* Lets the first @count allocations of pages fail. */
static void fail_first(int count)
{
	set_times(count);
	igt_assert_eq(write_value(FAIL_PAGES "probability", "100"), 0);
	igt_assert_eq(write_value(FAIL_TASK, "1"), 0);
}

static void fail_no_more(void)
{
	igt_assert_eq(write_value(FAIL_TASK, "0"), 0);
	igt_assert_eq(write_value(FAIL_PAGES "probability", "0"), 0);
	set_times(-1);
}

/*
 * Objects
 */

static uint64_t object_size(const struct target *target)
{
	/* 1 GiB entries where there is room, and a tail that only fits 4 KiB entries. */
	return size_of_all_levels(target);
}

#define SEED	1

/* What has to be there before the fault: an object, and what it holds. */
struct ready {
	struct bo bo;
	bool filled;	/* or never touched */
};

static struct ready ready_new(const struct target *target)
{
	return (struct ready){ .bo = target_bo(target, object_size(target)) };
}

static struct ready ready_filled(const struct target *target)
{
	struct ready ready = { .bo = target_bo(target, object_size(target)), .filled = true };
	struct view view = map_whole(target, &ready.bo, PROT_READ | PROT_WRITE);

	fill(&view, view_step(&view), SEED);
	unmap(&view);
	return ready;
}

static struct ready ready_swapped(const struct target *target)
{
	struct ready ready = ready_filled(target);

	swap_out_all();
	return ready;
}

/* A mapping at an address for which the process has no page table at all. */
static struct view map_fresh(const struct target *target, const struct bo *bo)
{
	return map_part(target, bo, 0, free_address(bo->size, 512 * GiB, 0), bo->size,
			PROT_READ | PROT_WRITE, MAP_FIXED_NOREPLACE);
}

/* With memory, everything works, whatever the failed attempt has left behind. */
static void assert_usable(struct view *view, bool filled)
{
	const uint64_t step = view_step(view);

	if (filled)
		assert_contents(view, step, SEED);
	touch(view, true);
	fill(view, step, SEED);
	assert_contents(view, step, SEED);
	unmap(view);

	/* Pieces of the page pool may have become smaller. */
	*view = map_fresh(view->target, view->bo);
	touch(view, false);
	if (filled && view->target->placement == BO_VRAM)
		assert_levels(view, HUGE_PUD);
	assert_contents(view, step, SEED);
	unmap(view);
}

/* Three places of the object, of which each takes a fault of its own, where it is that large. */
static int touch_some(const struct view *view)
{
	int sig = signal_of_write(view->addr);

	if (!sig)
		sig = signal_of_write(view->addr + view->length / 2);
	if (!sig)
		sig = signal_of_write(view->addr + view->length - 1);
	return sig;
}

static void assert_answer(const struct view *view, int sig, bool failed, const char *which, int n)
{
	igt_assert_f(!sig || (failed && sig == SIGBUS),
		     "%s: object of %" PRIu64 " KiB: signal %d with the switch at %d and %s %d "
		     "allocation%s, expected none%s\n", view->target->name, view->bo->size / KiB,
		     sig, bo_get_huge_faults(), which, n, failed ? " failing" : ", which was not failed",
		     failed ? " or SIGBUS" : "");
}

#define MAX_ALLOCATIONS	2000	/* more than any of this takes */

static void check_each(const struct target *target,
		       struct ready (*get_ready)(const struct target *target))
{
	for (int value = HUGE_NONE; value <= HUGE_PUD; value++) {
		int refused = 0, nth = 0;
		bool failed = true;

		while (failed) {
			struct ready ready = get_ready(target);
			struct view view = map_fresh(target, &ready.bo);
			int sig;

			igt_assert(++nth < MAX_ALLOCATIONS);
			set_huge_faults(value);
			empty_page_pool();
			fail_nth(nth);
			sig = touch_some(&view);
			failed = has_failed();
			assert_answer(&view, sig, failed, "the", nth);
			refused += sig != 0;

			set_huge_faults(HUGE_PUD);
			assert_usable(&view, ready.filled);
			bo_destroy(&ready.bo);
		}
		igt_debug("%s: switch at %d: %d allocations failed, SIGBUS %d times\n",
			  target->name, value, nth - 1, refused);
		/* At least the page tables of a fresh address. */
		igt_assert_f(nth > 3, "%s: only %d allocations were failed\n", target->name,
			     nth - 1);
	}
	assert_no_kernel_warning(target);
}

/**
 * SUBTEST: each-%s
 * Description: With any single allocation failing, a first touch of %arg[1] maps the object or raises
 *              SIGBUS, with any value of the switch; later, contents and access are right.
 *
 * arg[1]:
 *
 * @new:	an object that has no memory yet
 * @filled:	an object that has
 * @swapped:	an object that is swapped out
 */

/**
 * SUBTEST: first-%s
 * Description: The same with the first allocations of pages failing, up to as many as it takes for
 *              none of any order to be had, which raises SIGBUS where the object has no memory.
 *
 * arg[1]:
 *
 * @new:	an object that has no memory yet
 * @filled:	an object that has
 * @swapped:	an object that is swapped out
 */
static const struct {
	const char *name;
	struct ready (*get)(const struct target *target);
	bool system_only;
	bool takes_memory;
} states[] = {
	{ "new", ready_new, true, true },
	{ "filled", ready_filled, false, false },
	{ "swapped", ready_swapped, true, true },
};

static void check_first(const struct target *target,
			struct ready (*get_ready)(const struct target *target), bool takes_memory)
{
	int refused = 0;

	for (int count = 1; count <= 64; count += count < 16 ? 1 : 16) {
		struct ready ready = get_ready(target);
		/* Among others: a fault that fails for want of page tables is retried. */
		struct view view = map_whole(target, &ready.bo, PROT_READ | PROT_WRITE);
		int sig;

		empty_page_pool();
		fail_first(count);
		sig = touch_some(&view);
		fail_no_more();
		assert_answer(&view, sig, true, "the first", count);
		refused += sig != 0;

		assert_usable(&view, ready.filled);
		bo_destroy(&ready.bo);
	}
	igt_assert_f((refused > 0) == takes_memory,
		     "%s: %d times SIGBUS, expected %s\n", target->name, refused,
		     takes_memory ? "some" : "none");
	assert_no_kernel_warning(target);
}

static void assert_mapped(const struct view *view)
{
	struct bo_levels levels;

	igt_assert_eq(bo_levels(view->addr, view->length, &levels), 0);
	igt_assert_f(levels.mapped == view->length,
		     "%s: object of %" PRIu64 " KiB: %" PRIu64 " KiB are mapped, expected %zu KiB\n",
		     view->target->name, view->bo->size / KiB, levels.mapped / KiB,
		     view->length / KiB);
}

/**
 * SUBTEST: %s
 * Description: With any single allocation failing, %arg[1] of a page within a huge entry does what it
 *              says, or is refused (ENOMEM, or EAGAIN for madvise) and changes nothing; the rest
 *              keeps its contents.
 *
 * arg[1]:
 *
 * @munmap:			munmap()
 * @mprotect-read:		mprotect(PROT_READ)
 * @mprotect-none:		mprotect(PROT_NONE)
 * @madvise-random:		madvise(MADV_RANDOM)
 * @madvise-dontfork:		madvise(MADV_DONTFORK)
 * @madvise-nohugepage:		madvise(MADV_NOHUGEPAGE)
 */
static void test_op(const struct target *target, const struct vma_op *op)
{
	struct bo bo = target_bo(target, object_size(target));
	const uint64_t cut = bo.size / 2 / BO_PMD_SIZE * BO_PMD_SIZE + 5 * BO_PTE_SIZE;
	int refused = 0, nth = 0;
	bool failed = true;

	while (failed) {
		struct view view = map_fresh(target, &bo), left, part, right;
		int ret, error;

		igt_assert(++nth < MAX_ALLOCATIONS);
		left = sub_view(&view, 0, cut);
		part = sub_view(&view, cut, BO_PTE_SIZE);
		right = sub_view(&view, cut + BO_PTE_SIZE, view.length - cut - BO_PTE_SIZE);
		touch(&view, true);
		assert_levels(&view, HUGE_PUD);
		fill(&view, view_step(&view), nth);

		fail_nth(nth);
		ret = op->apply(part.addr, part.length);
		error = errno;
		failed = has_failed();

		if (ret) {
			/* EAGAIN is madvise()'s word for it. */
			igt_assert_f(failed && (error == ENOMEM || error == EAGAIN),
				     "%s: %s says %s with allocation %d %s\n", target->name, op->name,
				     strerror(error), nth, failed ? "failing" : "not failing");
			/* Perhaps in smaller entries already. */
			assert_mapped(&view);
			assert_contents(&view, view_step(&view), nth);
			refused++;
		} else {
			igt_assert_eq(signal_of_read(part.addr), op->readable ? 0 : SIGSEGV);
			igt_assert_eq(signal_of_write(part.addr), op->writable ? 0 : SIGSEGV);
		}
		assert_contents(&left, view_step(&view), nth);
		assert_contents(&right, view_step(&view), nth);
		touch(&left, true);
		touch(&right, true);
		unmap(&view);
	}
	igt_debug("%s: %s: %d allocations failed, refused %d times\n", target->name, op->name,
		  nth - 1, refused);
	/* VMAs for both sides, and a page table. */
	igt_assert_f(refused >= 3, "%s: %s was refused %d times in %d, expected more\n",
		     target->name, op->name, refused, nth - 1);
	assert_no_kernel_warning(target);
}

int igt_main()
{
	const struct vma_op *op;
	struct target *target;

	igt_fixture() {
		ttm_huge_init();
		igt_require_f(!access(FAIL_NTH, W_OK) && !access(FAIL_SLAB "verbose", W_OK) &&
			      !access(FAIL_PAGES "verbose", W_OK),
			      "CONFIG_FAILSLAB, CONFIG_FAIL_PAGE_ALLOC and "
			      "CONFIG_FAULT_INJECTION_DEBUG_FS are needed\n");
		require_swap_out();
	}

	for (size_t i = 0; i < ARRAY_SIZE(states); i++) {
		igt_describe("One allocation of a fault fails");
		igt_subtest_with_dynamic_f("each-%s", states[i].name) {
			for_each_target(target) {
				if (states[i].system_only && target->placement != BO_SYSTEM)
					continue;
				igt_dynamic(target->name) {
					set_up_failing();
					check_each(target, states[i].get);
				}
			}
		}
	}

	for (size_t i = 0; i < ARRAY_SIZE(states); i++) {
		igt_describe("The first allocations of pages of a fault fail");
		igt_subtest_with_dynamic_f("first-%s", states[i].name) {
			for_each_target(target) {
				if (states[i].system_only && target->placement != BO_SYSTEM)
					continue;
				igt_dynamic(target->name) {
					set_up_failing();
					check_first(target, states[i].get, states[i].takes_memory);
				}
			}
		}
	}

	for_each_vma_op(op) {
		igt_describe("One allocation of a split fails");
		igt_subtest_with_dynamic(op->name) {
			for_each_target(target) {
				igt_dynamic(target->name) {
					set_up_failing();
					test_op(target, op);
				}
			}
		}
	}

	igt_fixture()
		ttm_huge_fini();
}
