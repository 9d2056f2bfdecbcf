// SPDX-License-Identifier: MIT
/**
 * TEST: ttm huge oom
 * Category: Core
 * Mega feature: General Core features
 * Sub-category: Memory management tests
 * Functionality: mmap
 * Description: Whichever allocation fails on the way to a mapping, what is mapped is the object,
 *              the rest answers with SIGBUS or an errno, and when there is memory again all of it
 *              works.
 */
#define _GNU_SOURCE 1
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>

#include "vma_ops.h"

IGT_TEST_DESCRIPTION("Failing allocations in faults and splits of mappings of TTM buffer objects");

#define FAIL_SLAB	"/sys/kernel/debug/failslab/"
#define MAX_ALLOCATIONS	2000	/* more than any of this takes */
#define SEED		1

/* All allocations of this task, if any: also those that may wait, and single pages. */
static void set_up_failing(void)
{
	set_knob(FAIL_SLAB "verbose", "0");
	set_knob(FAIL_SLAB "ignore-gfp-wait", "N");
	set_knob(FAIL_SLAB "cache-filter", "N");
	set_up_failing_pages();
}

static int fail_nth_fd;

/* Lets the @nth allocation of this task fail, once, counted from 1. */
static void fail_nth(unsigned int nth)
{
	char text[16];

	igt_assert(pwrite(fail_nth_fd, text, snprintf(text, sizeof(text), "%u", nth), 0) > 0);
}

/* Ends it. Returns whether an allocation has failed. */
static bool has_failed(void)
{
	char text[16] = "";

	igt_assert(pread(fail_nth_fd, text, sizeof(text) - 1, 0) > 0);
	fail_nth(0);
	return !strtoul(text, NULL, 10);
}

static void write_number(const char *path, int value)
{
	char text[16];

	snprintf(text, sizeof(text), "%d", value);
	igt_assert_eq(write_value(path, text), 0);
}

/* Lets the first @count allocations of pages fail; 0 ends it. */
static void fail_first(int count)
{
	write_number(FAIL_TASK, 0);
	write_number(FAIL_PAGES "times", count ? count : -1);
	write_number(FAIL_PAGES "probability", count ? 100 : 0);
	write_number(FAIL_TASK, !!count);
}

/* What has to be there before the fault: an object, and what it holds. */
static const struct state {
	const char *name;
	bool filled;	/* or never touched */
	bool in_memory;
} states[] = {
	{ "new", .filled = false, .in_memory = false },
	{ "filled", .filled = true, .in_memory = true },
	{ "swapped", .filled = true, .in_memory = false },
};

/* Only system memory can be missing. */
static bool has_state(const struct target *target, const void *member)
{
	return on_system(target) || ((const struct state *)member)->in_memory;
}

static struct bo bo_in_state(const struct target *target, const struct state *state)
{
	struct bo bo = target_bo(target, size_of_all_levels(target));

	if (state->filled) {
		struct view view = map_whole(target, &bo, PROT_READ | PROT_WRITE);

		fill(&view, view_step(&view), SEED);
		unmap(&view);
		if (!state->in_memory)
			swap_out_all();
	}
	return bo;
}

/* A mapping at an address for which the process has no page table at all. */
static struct view map_fresh(const struct target *target, const struct bo *bo)
{
	return map_at(target, bo, 512 * GiB, 0);
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
	if (filled && on_vram(view->target))
		assert_levels(view, HUGE_PUD);
	assert_contents(view, step, SEED);
	unmap(view);
}

/* Three places of the object, of which each takes a fault of its own, where it is that large. */
static int touch_some(const struct view *view)
{
	return signal_of_write(view->addr) ?: signal_of_write(view->addr + view->length / 2) ?:
	       signal_of_write(view->addr + view->length - 1);
}

/*
 * Touches a new mapping with the switch at @value and the @nth allocation failing, or all up to it
 * if @first. Returns whether any did; *@refused counts signals.
 */
static bool touch_failing(const struct target *target, const struct state *state, int value,
			  bool first, int nth, int *refused)
{
	struct bo bo = bo_in_state(target, state);
	/* Among others: a fault that fails for want of page tables is retried. */
	struct view view = first ? map_whole(target, &bo, PROT_READ | PROT_WRITE) :
				   map_fresh(target, &bo);
	bool failed;
	int sig;

	set_huge_faults(value);
	empty_page_pool();
	fail_first(first ? nth : 0);
	fail_nth(first ? 0 : nth);
	sig = touch_some(&view);
	failed = has_failed() || first;
	fail_first(0);
	view_assert(&view, !sig || (failed && sig == SIGBUS),
		    "signal %d with the switch at %d and %s %d allocation%s, expected none%s", sig,
		    value, first ? "the first" : "the", nth,
		    failed ? " failing" : ", which was not failed", failed ? " or SIGBUS" : "");
	*refused += sig != 0;
	set_huge_faults(HUGE_PUD);
	assert_usable(&view, state->filled);
	bo_destroy(&bo);
	return failed;
}

/**
 * SUBTEST: each-%s
 * Description: With any single allocation failing, a first touch of %arg[1] maps the object or
 *              raises SIGBUS, with any value of the switch; later, contents and access are right.
 *
 * arg[1]:
 *
 * @new:	an object that has no memory yet
 * @filled:	an object that has
 * @swapped:	an object that is swapped out
 */
static void test_each(const struct target *target, const void *state)
{
	/* Of a fresh address, without the top level: one level less with pages of 64 KiB */
	const int tables = BO_PTE_SIZE > 4 * KiB ? 2 : 3;

	set_up_failing();
	for (int value = HUGE_NONE; value <= HUGE_PUD; value++) {
		int refused = 0, nth = 0;

		while (touch_failing(target, state, value, false, ++nth, &refused))
			igt_assert(nth < MAX_ALLOCATIONS);
		igt_debug("%s: switch at %d: %d allocations failed, SIGBUS %d times\n",
			  target->name, value, nth - 1, refused);
		target_assert(target, nth > tables, "only %d allocations were failed", nth - 1);
	}
}

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
static void test_first(const struct target *target, const void *member)
{
	const struct state *state = member;
	int refused = 0;

	set_up_failing();
	for (int count = 1; count <= 64; count += count < 16 ? 1 : 16)
		touch_failing(target, state, HUGE_PUD, true, count, &refused);
	target_assert(target, (refused > 0) == !state->in_memory, "%d times SIGBUS, expected %s",
		      refused, state->in_memory ? "none" : "some");
}

/**
 * SUBTEST: %s
 * Description: With any single allocation failing, %arg[1] of a page within a huge entry does what
 *              it says, or is refused (ENOMEM, or EAGAIN for madvise) and changes nothing; the rest
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
static void test_op(const struct target *target, const void *member)
{
	const struct vma_op *op = member;
	const struct bo *bo = target_new_bo(target, size_of_all_levels(target));
	const uint64_t middle = bo->size / 2 / BO_PMD_SIZE * BO_PMD_SIZE + 5 * BO_PTE_SIZE;
	int refused = 0, nth = 0;
	bool failed = true;

	set_up_failing();
	while (failed) {
		struct view view = map_fresh(target, bo);
		struct pieces p = cut_out(&view, (struct part){ middle, BO_PTE_SIZE });
		uint64_t mapped;
		int error;

		igt_assert(++nth < MAX_ALLOCATIONS);
		touch_and_fill(&view, nth);
		fail_nth(nth);
		error = op->apply(p.part.addr, p.part.length) ? errno : 0;
		failed = has_failed();
		if (error) {
			/* EAGAIN is madvise()'s word for it. */
			target_assert(target, failed && (error == ENOMEM || error == EAGAIN),
				      "%s says %s with allocation %d %s", op->name, strerror(error),
				      nth, failed ? "failing" : "not failing");
			/* Perhaps in smaller entries already. */
			mapped = levels_of(&view).mapped;
			view_assert(&view, mapped == view.length,
				    "%" PRIu64 " KiB are mapped, expected %zu KiB", mapped / KiB,
				    view.length / KiB);
			assert_contents(&view, view_step(&view), nth);
			refused++;
		} else {
			igt_assert_eq(signal_of_read(p.part.addr), op->readable ? 0 : SIGSEGV);
			igt_assert_eq(signal_of_write(p.part.addr), op->writable ? 0 : SIGSEGV);
		}
		assert_contents(&p.left, view_step(&view), nth);
		assert_contents(&p.right, view_step(&view), nth);
		touch(&p.left, true);
		touch(&p.right, true);
		unmap(&view);
	}
	igt_debug("%s: %s: %d allocations failed, refused %d times\n", target->name, op->name,
		  nth - 1, refused);
	/* VMAs for both sides, and a page table. */
	target_assert(target, refused >= 3, "%s was refused %d times in %d, expected more",
		      op->name, refused, nth - 1);
}

static const struct subtest subtests[] = {
	{ "each-%s", "One allocation of a fault fails", .test_member = test_each,
	  .on_member = has_state, FAMILY(states) },
	{ "first-%s", "The first allocations of pages of a fault fail", .test_member = test_first,
	  .on_member = has_state, FAMILY(states) },
	{ "%s", "One allocation of a split fails", .test_member = test_op, FAMILY(vma_ops) },
};

int igt_main()
{
	igt_fixture() {
		fail_nth_fd = open("/proc/thread-self/fail-nth", O_RDWR | O_CLOEXEC);
		igt_require_f(fail_nth_fd >= 0 && !access(FAIL_SLAB "verbose", W_OK) &&
			      !access(FAIL_PAGES "verbose", W_OK),
			      "CONFIG_FAILSLAB, CONFIG_FAIL_PAGE_ALLOC and "
			      "CONFIG_FAULT_INJECTION_DEBUG_FS are needed\n");
		require_swap_out();
	}
	run_test(subtests);
}
