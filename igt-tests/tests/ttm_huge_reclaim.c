// SPDX-License-Identifier: MIT
/**
 * TEST: ttm huge reclaim
 * Category: Core
 * Mega feature: General Core features
 * Sub-category: Memory management tests
 * Functionality: mmap
 * Description: Objects whose memory is taken away while they are mapped, by TTM's swap-out, lose
 *              all entries at once, and come back with the same contents and the same levels.
 */
#define _GNU_SOURCE 1
#include <sys/mman.h>

#include "ttm_huge.h"

IGT_TEST_DESCRIPTION("TTM takes the memory of mapped objects away");

#define PAGES_LIMIT	"/sys/module/ttm/parameters/pages_limit"

/* Swaps out, among others, the object of a view. */
static void swap_out(const struct view *view)
{
	long pages = swap_out_all();

	view_assert(view, (uint64_t)pages >= view->bo->size / BO_PTE_SIZE,
		    "only %ld pages were swapped out", pages);
	assert_unmapped(view);
}

/*
 * With pages of 4 KiB what new_large() has in system memory; with larger ones too small for PMD
 * entries, as several objects with these are more than memory has blocks for.
 */
#define SMALL	(4 * MiB + BO_PTE_SIZE)

/* A view of a new object with entries of every level, and @more bytes. */
static struct view new_large(const struct target *target, uint64_t more)
{
	return new_filled(target, size_of_all_levels(target) + more, 1);
}

/**
 * SUBTEST: swap-out
 * Description: An object of system memory that is swapped out loses all entries, in every mapping
 *              and process. The next touch brings its contents back, in huge entries.
 */
static void test_swap_out(const struct target *target)
{
	struct view view = new_large(target, 0), small = map_4k(target, view.bo);

	touch(&small, false);
	check_taken_away(&view, &small, 1, swap_out);
	check_view(&view, HUGE_PUD, BO_EVERY_PAGE, 2);
	assert_levels(&small, HUGE_NONE);
}

/**
 * SUBTEST: swap-out-part
 * Description: The same when only a part of the mapping is left, and when only one page of it was
 *              touched since, with entries of 4 KiB.
 */
static void test_swap_out_part(const struct target *target)
{
	struct view view = new_large(target, BO_PMD_SIZE);
	const uint64_t cut = BO_PMD_SIZE + 5 * BO_PTE_SIZE, end = cut + BO_PTE_SIZE;
	struct view left = sub_view(&view, 0, cut), right = sub_view(&view, end, view.length - end);

	igt_assert_eq(munmap(view.addr + cut, BO_PTE_SIZE), 0);
	for (int i = 0; i < 2; i++) {
		swap_out(&left);
		assert_unmapped(&right);
		check_view(&left, HUGE_PUD, BO_EVERY_PAGE, 1);
		check_view(&right, HUGE_PUD, BO_EVERY_PAGE, 1);

		swap_out(&left);
		set_huge_faults(HUGE_NONE);
		(void)*(volatile char *)left.addr;
		assert_level(&left, 0, BO_PTE_SIZE, BO_PTE);
		set_huge_faults(HUGE_PUD);
	}
}

/**
 * SUBTEST: evict-swap-out
 * Description: An object that was evicted from VRAM and then swapped out has its contents when it
 *              is touched, and the levels of system memory.
 */
static void test_evict_swap_out(const struct target *target)
{
	struct view view = new_filled(target, 6 * MiB + 4 * KiB, 1);

	evict(&view);
	assert_contents(&view, BO_EVERY_PAGE, 1);
	swap_out(&view);
	check_view(&view, HUGE_PMD, BO_EVERY_PAGE, 1);
}

/**
 * SUBTEST: swap-out-return
 * Description: An object that returns to VRAM while it is swapped out takes its contents along, and
 *              gets its old levels back.
 */
static void test_swap_out_return(const struct target *target)
{
	struct view view = new_filled(target, 6 * MiB + 4 * KiB, 1);

	evict(&view);
	swap_out(&view);
	return_to_vram(&view);
	check_view(&view, HUGE_PUD, BO_EVERY_PAGE, 1);
}

#define CROWD	4

/* Of the first @count views, only view @i has its memory. */
static void assert_others_gone(const struct view *views, int i, int count)
{
	for (int j = 0; j < count; j++)
		if (j != i)
			assert_unmapped(&views[j]);
}

/**
 * SUBTEST: limit
 * Description: Where TTM has more pages than it may have (ttm.pages_limit), the fault that gives an
 *              object its memory takes that of the others, which are mapped. All of them keep their
 *              contents and come back with huge entries.
 */
static void test_limit(const struct target *target)
{
	const struct bo *bos[CROWD];
	struct view views[CROWD];

	igt_require_f(!access(PAGES_LIMIT, W_OK), "no %s\n", PAGES_LIMIT);
	for (int i = 0; i < CROWD; i++)
		bos[i] = target_new_bo(target, SMALL);

	/* A driver may give an object its memory when it makes it. Here, all have theirs. */
	for (int i = 0; i < CROWD; i++) {
		views[i] = map_filled(target, bos[i], i);
		unmap(&views[i]);
	}

	/* One page is less than what any of them has, so they take turns to have it. */
	set_knob(PAGES_LIMIT, "1");
	swap_out_all();
	for (int i = 0; i < CROWD; i++) {
		views[i] = map_filled(target, bos[i], i);
		assert_others_gone(views, i, i);
	}
	for (int i = 0; i < CROWD; i++) {
		assert_contents(&views[i], BO_EVERY_PAGE, i);
		touch_and_fill(&views[i], CROWD + i);
		assert_others_gone(views, i, CROWD);
	}
	restore_knobs();
	for (int i = 0; i < CROWD; i++)
		check_view(&views[i], HUGE_PUD, BO_EVERY_PAGE, CROWD + i);
}

/**
 * SUBTEST: shrinkers
 * Description: The shrinker of TTM's page pool, and all the others of the kernel, leave the memory
 *              of mapped objects alone: entries and contents stay.
 */
static void test_shrinkers(const struct target *target)
{
	struct bo gone = target_bo(target, 4 * MiB);
	struct view other = map_filled(target, &gone, 1), view = new_large(target, 0);

	/* Something for them to find. */
	unmap(&other);
	bo_destroy(&gone);

	empty_page_pool();
	igt_assert_eq(write_value("/proc/sys/vm/drop_caches", "2"), 0);
	assert_levels(&view, HUGE_PUD);
	assert_contents(&view, view_step(&view), 1);
}

/**
 * SUBTEST: access-swapped
 * Description: Reading and writing the memory of a process (/proc/PID/mem) reaches an object that
 *              is swapped out, without a fault on the mapping.
 */
static void test_access_swapped(const struct target *target)
{
	struct view view = new_large(target, 0);
	const uint64_t offsets[] = { 0, BO_PMD_SIZE + 8 * 511, view.length - 8 };

	for (size_t i = 0; i < ARRAY_SIZE(offsets); i++)
		*(volatile uint64_t *)(view.addr + offsets[i]) = bo_pattern(3, offsets[i]);

	for (size_t i = 0; i < ARRAY_SIZE(offsets); i++) {
		uint64_t at = offsets[i], word = 0, expected = bo_pattern(3, at);
		int ret;

		swap_out(&view);
		ret = read_mem(getpid(), view.addr + at, &word);
		view_assert_at(&view, at, !ret && word == expected,
			       "reading while it is swapped out says %d and %#" PRIx64
			       ", expected 0 and %#" PRIx64, ret, word, expected);
		swap_out(&view);
		ret = write_mem(getpid(), view.addr + at, bo_pattern(4, at));
		view_assert_at(&view, at, !ret, "cannot be written while it is swapped out: %s",
			       strerror(-ret));
		assert_unmapped(&view);
	}
	for (size_t i = 0; i < ARRAY_SIZE(offsets); i++)
		igt_assert_eq_u64(*(volatile uint64_t *)(view.addr + offsets[i]),
				  bo_pattern(4, offsets[i]));
}

/**
 * SUBTEST: processes
 * Description: Processes write all over a mapped object, and read back what they wrote, while it is
 *              swapped out again and again.
 */
static void test_processes(const struct target *target)
{
	struct view view = new_filled(target, SMALL, 1);
	struct timespec start = { 0 };
	struct writers writers;
	long pages = 0;
	int rounds = 0;

	start_writers(&writers, 2, &view, 1);
	igt_nsec_elapsed(&start);
	while (igt_nsec_elapsed(&start) < UINT64_C(1500) * 1000 * 1000) {
		pages += swap_out_all();
		rounds++;
		usleep(5000);
	}
	stop_writers(&writers);
	view_assert(&view, (uint64_t)pages >= 3 * view.length / BO_PTE_SIZE,
		    "%d swap-outs took %ld pages, expected more", rounds, pages);
}

static const struct subtest subtests[] = {
	{ "swap-out", "All entries go, contents and levels come back",
	  test_swap_out, .on = on_system },
	{ "swap-out-part", "Of a mapping that was taken apart",
	  test_swap_out_part, .on = on_system },
	{ "evict-swap-out", "From VRAM to shmem", test_evict_swap_out, .on = on_vram },
	{ "swap-out-return", "From shmem to VRAM", test_swap_out_return, .on = on_vram },
	{ "limit", "A fault swaps mapped objects out", test_limit, .on = on_system },
	{ "shrinkers", "Mapped memory is not theirs", test_shrinkers, .on = on_system },
	{ "access-swapped", "/proc/PID/mem of a swapped object",
	  test_access_swapped, .on = on_system },
	{ "processes", "Some processes write while one swaps out",
	  test_processes, .on = on_system },
};

int igt_main()
{
	igt_fixture() {
		ttm_huge_init();
		require_swap_out();
	}
	run_subtests(subtests);
	igt_fixture()
		ttm_huge_fini();
}
