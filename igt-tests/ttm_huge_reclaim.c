// SPDX-License-Identifier: MIT
/**
 * TEST: ttm huge reclaim
 * Category: Core
 * Mega feature: General Core features
 * Sub-category: Memory management tests
 * Functionality: mmap
 * Description: Objects whose memory is taken away while they are mapped, by TTM's swap-out, lose all
 *              entries at once, and come back with the same contents and the same levels.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>

#include "ttm_huge.h"

IGT_TEST_DESCRIPTION("TTM takes the memory of mapped objects away");

#define PAGES_LIMIT	"/sys/module/ttm/parameters/pages_limit"

/* Swaps out, among others, the object of a view. */
static void swap_out(const struct view *view)
{
	long pages = swap_out_all();

	igt_assert_f((uint64_t)pages >= view->bo->size / BO_PTE_SIZE,
		     "%s: object of %" PRIu64 " KiB: only %ld pages were swapped out\n",
		     view->target->name, view->bo->size / KiB, pages);
	assert_unmapped(view);
}

/**
 * SUBTEST: swap-out
 * Description: An object of system memory that is swapped out loses all entries, in every mapping
 *              and process. The next touch brings its contents back, in huge entries.
 */
static void test_swap_out(const struct target *target)
{
	struct bo bo = target_bo(target, size_of_all_levels(target));
	struct view view = map_filled(target, &bo, 1), small = map_4k(target, &bo);
	struct handshake hs;

	touch(&small, false);
	handshake_open(&hs);
	igt_fork(child, 1) {
		handshake_take(&hs, CHILD);
		assert_levels(&view, HUGE_PUD);
		handshake_tell(&hs);
		handshake_wait(&hs);
		assert_unmapped(&view);
		assert_unmapped(&small);
		assert_contents(&view, BO_EVERY_PAGE, 1);
		assert_levels(&view, HUGE_PUD);
		fill(&view, BO_EVERY_PAGE, 2);
		handshake_close(&hs);
	}
	handshake_take(&hs, PARENT);
	handshake_wait(&hs);
	swap_out(&view);
	assert_unmapped(&small);
	handshake_finish(&hs);

	assert_contents(&view, BO_EVERY_PAGE, 2);
	touch(&view, false);
	assert_levels(&view, HUGE_PUD);
	assert_contents(&small, BO_EVERY_PAGE, 2);
	assert_levels(&small, HUGE_NONE);
	assert_no_kernel_warning(target);
}

/**
 * SUBTEST: swap-out-part
 * Description: The same when only a part of the mapping is left, and when only one page of it was
 *              touched since, with entries of 4 KiB.
 */
static void test_swap_out_part(const struct target *target)
{
	struct bo bo = target_bo(target, size_of_all_levels(target) + BO_PMD_SIZE);
	struct view view = map_filled(target, &bo, 1), left, right;
	const uint64_t cut = BO_PMD_SIZE + 5 * BO_PTE_SIZE;

	igt_assert_eq(munmap(view.addr + cut, BO_PTE_SIZE), 0);
	left = sub_view(&view, 0, cut);
	right = sub_view(&view, cut + BO_PTE_SIZE, view.length - cut - BO_PTE_SIZE);

	for (int i = 0; i < 2; i++) {
		swap_out(&left);
		assert_unmapped(&right);
		assert_contents(&left, BO_EVERY_PAGE, 1);
		assert_contents(&right, BO_EVERY_PAGE, 1);
		touch(&left, false);
		touch(&right, false);
		assert_levels(&left, HUGE_PUD);
		assert_levels(&right, HUGE_PUD);

		swap_out(&left);
		set_huge_faults(HUGE_NONE);
		(void)*(volatile char *)left.addr;
		assert_level(&left, 0, BO_PTE_SIZE, BO_PTE);
		set_huge_faults(HUGE_PUD);
	}
	assert_no_kernel_warning(target);
}

/**
 * SUBTEST: evict-swap-out
 * Description: An object that was evicted from VRAM and then swapped out has its contents when it is
 *              touched, and the levels of system memory.
 */
static void test_evict_swap_out(const struct target *target)
{
	struct bo bo = target_bo(target, 6 * MiB + 4 * KiB);
	struct view view = map_filled(target, &bo, 1);

	evict(&view);
	assert_contents(&view, BO_EVERY_PAGE, 1);
	swap_out(&view);
	assert_contents(&view, BO_EVERY_PAGE, 1);
	touch(&view, false);
	assert_levels(&view, HUGE_PMD);
	assert_no_kernel_warning(target);
}

/**
 * SUBTEST: swap-out-return
 * Description: An object that returns to VRAM while it is swapped out takes its contents along, and
 *              gets its old levels back.
 */
static void test_swap_out_return(const struct target *target)
{
	struct bo bo = target_bo(target, 6 * MiB + 4 * KiB);
	struct view view = map_filled(target, &bo, 1);

	evict(&view);
	swap_out(&view);
	return_to_vram(&view);
	assert_contents(&view, BO_EVERY_PAGE, 1);
	touch(&view, false);
	assert_levels(&view, HUGE_PUD);
	assert_no_kernel_warning(target);
}

#define CROWD	4

/**
 * SUBTEST: limit
 * Description: Where TTM has more pages than it may have (ttm.pages_limit), the fault that gives an
 *              object its memory takes that of the others, which are mapped. All of them keep their
 *              contents and come back with huge entries.
 */
static void test_limit(const struct target *target)
{
	struct bo bos[CROWD];
	struct view views[CROWD];

	igt_require_f(!access(PAGES_LIMIT, W_OK), "no %s\n", PAGES_LIMIT);
	for (int i = 0; i < CROWD; i++)
		bos[i] = target_bo(target, size_of_all_levels(target));

	/* One page is less than what any of them has, so they take turns. */
	set_knob(PAGES_LIMIT, "1");
	for (int i = 0; i < CROWD; i++) {
		views[i] = map_whole(target, &bos[i], PROT_READ | PROT_WRITE);
		touch(&views[i], true);
		assert_levels(&views[i], HUGE_PUD);
		fill(&views[i], BO_EVERY_PAGE, i);
		for (int j = 0; j < i; j++)
			assert_unmapped(&views[j]);
	}
	for (int i = 0; i < CROWD; i++) {
		assert_contents(&views[i], BO_EVERY_PAGE, i);
		touch(&views[i], true);
		assert_levels(&views[i], HUGE_PUD);
		fill(&views[i], BO_EVERY_PAGE, CROWD + i);
		for (int j = 0; j < CROWD; j++)
			if (j != i)
				assert_unmapped(&views[j]);
	}
	restore_knobs();
	for (int i = 0; i < CROWD; i++) {
		assert_contents(&views[i], BO_EVERY_PAGE, CROWD + i);
		touch(&views[i], false);
		assert_levels(&views[i], HUGE_PUD);
	}
	assert_no_kernel_warning(target);
}

/**
 * SUBTEST: shrinkers
 * Description: The shrinker of TTM's page pool, and all the others of the kernel, leave the memory
 *              of mapped objects alone: entries and contents stay.
 */
static void test_shrinkers(const struct target *target)
{
	struct bo bo = target_bo(target, size_of_all_levels(target)), gone;
	struct view view = map_filled(target, &bo, 1), other;

	/* Something for them to find. */
	gone = target_bo(target, 4 * MiB);
	other = map_filled(target, &gone, 1);
	unmap(&other);
	bo_destroy(&gone);

	empty_page_pool();
	igt_assert_eq(write_value("/proc/sys/vm/drop_caches", "2"), 0);
	assert_levels(&view, HUGE_PUD);
	assert_contents(&view, view_step(&view), 1);
	assert_no_kernel_warning(target);
}

/**
 * SUBTEST: access-swapped
 * Description: Reading and writing the memory of a process (/proc/PID/mem) reaches an object that is
 *              swapped out, without a fault on the mapping.
 */
static void test_access_swapped(const struct target *target)
{
	struct bo bo = target_bo(target, size_of_all_levels(target));
	struct view view = map_filled(target, &bo, 1);
	const uint64_t offsets[] = { 0, BO_PMD_SIZE + 8 * 511, bo.size - 8 };
	int fd = open("/proc/self/mem", O_RDWR | O_CLOEXEC);

	igt_assert_fd(fd);
	for (size_t i = 0; i < ARRAY_SIZE(offsets); i++)
		*(volatile uint64_t *)(view.addr + offsets[i]) = bo_pattern(3, offsets[i]);

	for (size_t i = 0; i < ARRAY_SIZE(offsets); i++) {
		uint64_t at = offsets[i], word = 0, expected = bo_pattern(3, at);

		swap_out(&view);
		igt_assert_f(pread(fd, &word, 8, (uintptr_t)view.addr + at) == 8 && word == expected,
			     "%s: object of %" PRIu64 " KiB, offset %#" PRIx64 ": read %#" PRIx64
			     " while it is swapped out, expected %#" PRIx64 "\n", target->name,
			     bo.size / KiB, at, word, expected);
		swap_out(&view);
		word = bo_pattern(4, at);
		igt_assert_f(pwrite(fd, &word, 8, (uintptr_t)view.addr + at) == 8,
			     "%s: object of %" PRIu64 " KiB, offset %#" PRIx64
			     ": cannot be written while it is swapped out: %s\n", target->name,
			     bo.size / KiB, at, strerror(errno));
		assert_unmapped(&view);
	}
	for (size_t i = 0; i < ARRAY_SIZE(offsets); i++)
		igt_assert_eq_u64(*(volatile uint64_t *)(view.addr + offsets[i]),
				  bo_pattern(4, offsets[i]));
	close(fd);
	assert_no_kernel_warning(target);
}

#define WRITERS	2

/* Writes numbers to its own words of each page, and expects to find the last one again. */
static void write_until(const volatile bool *stop, const struct view *view, int process)
{
	uint64_t pages = view->length / BO_PTE_SIZE, number = 0;
	uint64_t *last = calloc(pages, sizeof(*last));
	unsigned int random = process;

	igt_assert(last);
	for (uint64_t page = 0; page < pages; page++)
		((volatile uint64_t *)(view->addr + page * BO_PTE_SIZE))[process] = 0;
	while (!*stop) {
		uint64_t page = rand_r(&random) % pages;
		volatile uint64_t *word = (volatile uint64_t *)(view->addr + page * BO_PTE_SIZE) +
					  process;
		uint64_t found = *word;

		igt_assert_f(found == last[page],
			     "%s: object of %" PRIu64 " KiB, offset %#" PRIx64
			     ": process %d wrote %" PRIu64 " and found %" PRIu64 "\n",
			     view->target->name, view->bo->size / KiB, page * BO_PTE_SIZE, process,
			     last[page], found);
		last[page] = *word = ++number;
	}
	free(last);
}

/**
 * SUBTEST: processes
 * Description: Processes write all over a mapped object, and read back what they wrote, while it is
 *              swapped out again and again.
 */
static void test_processes(const struct target *target)
{
	struct bo bo = target_bo(target, size_of_all_levels(target));
	struct view view = map_filled(target, &bo, 1);
	struct timespec start = { 0 };
	volatile bool *stop;
	long pages = 0;
	int rounds = 0;

	stop = mmap(NULL, sizeof(*stop), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	igt_assert(stop != MAP_FAILED);
	igt_fork(child, WRITERS)
		write_until(stop, &view, child);

	igt_nsec_elapsed(&start);
	while (igt_nsec_elapsed(&start) < UINT64_C(1500) * 1000 * 1000) {
		pages += swap_out_all();
		rounds++;
		usleep(5000);
	}
	*stop = true;
	igt_waitchildren();
	munmap((void *)stop, sizeof(*stop));
	igt_assert_f((uint64_t)pages >= 3 * bo.size / BO_PTE_SIZE,
		     "%s: object of %" PRIu64 " KiB: %d swap-outs took %ld pages, expected more\n",
		     target->name, bo.size / KiB, rounds, pages);
	assert_no_kernel_warning(target);
}

int igt_main()
{
	static const struct {
		const char *name, *description;
		enum bo_placement placement;
		void (*test)(const struct target *target);
	} tests[] = {
		{ "swap-out", "All entries go, contents and levels come back", BO_SYSTEM,
		  test_swap_out },
		{ "swap-out-part", "Of a mapping that was taken apart", BO_SYSTEM,
		  test_swap_out_part },
		{ "evict-swap-out", "From VRAM to shmem", BO_VRAM, test_evict_swap_out },
		{ "swap-out-return", "From shmem to VRAM", BO_VRAM, test_swap_out_return },
		{ "limit", "A fault swaps mapped objects out", BO_SYSTEM, test_limit },
		{ "shrinkers", "Mapped memory is not theirs", BO_SYSTEM, test_shrinkers },
		{ "access-swapped", "/proc/PID/mem of a swapped object", BO_SYSTEM,
		  test_access_swapped },
		{ "processes", "Some processes write while one swaps out", BO_SYSTEM,
		  test_processes },
	};
	struct target *target;

	igt_fixture() {
		ttm_huge_init();
		require_swap_out();
	}

	for (size_t i = 0; i < ARRAY_SIZE(tests); i++) {
		igt_describe(tests[i].description);
		igt_subtest_with_dynamic(tests[i].name)
			igt_dynamic_targets_if(target, target->placement == tests[i].placement)
				tests[i].test(target);
	}

	igt_fixture()
		ttm_huge_fini();
}
