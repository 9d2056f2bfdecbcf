// SPDX-License-Identifier: MIT
/**
 * TEST: ttm huge fork
 * Category: Core
 * Mega feature: General Core features
 * Sub-category: Memory management tests
 * Functionality: mmap
 * Description: A child has its parent's mappings of buffer objects, with the same huge page-table
 *              entries.
 */
#define _GNU_SOURCE 1
#include <errno.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "igt_thread.h"
#include "ttm_huge.h"

IGT_TEST_DESCRIPTION("fork() with mappings of TTM buffer objects");

/**
 * SUBTEST: same-memory
 * Description: A child has every entry of its parent's mapping before it touches it, at the same
 *              level. What either writes the other reads, and the child keeps the memory when
 *              the parent has unmapped and closed the object.
 */
static void test_same_memory(const struct target *target)
{
	struct bo bo = target_bo(target, size_of_all_levels(target));
	struct view view = map_filled(target, &bo, 1);
	uint64_t step = view_step(&view), faults;
	struct turns turns;

	in_child(&turns) {
		assert_levels(&view, HUGE_PUD);
		faults = bo_faults();
		assert_contents(&view, step, 1);
		fill(&view, step, 2);
		faults = bo_faults() - faults;
		/* Reading ahead of the large view's 4 KiB entries may fault, huge entries not. */
		view_assert(&view, view.length > LARGE_VIEW || faults <= 4,
			    "%" PRIu64 " faults in the child for what fork() has copied", faults);

		next_turn(&turns);
		check_view(&view, HUGE_PUD, step, 3);

		/* The parent has let go of the object. */
		next_turn(&turns);
		assert_contents(&view, step, 3);
		fill(&view, step, 4);
		check_view(&view, HUGE_PUD, step, 4);
	}
	assert_contents(&view, step, 2);
	assert_levels(&view, HUGE_PUD);
	fill(&view, step, 3);

	next_turn(&turns);
	unmap(&view);
	bo_destroy(&bo);
	last_turn(&turns);
}

/**
 * SUBTEST: own-tables
 * Description: What one process does to its mapping leaves the other's entries alone: the child
 *              unmaps a page out of a huge entry, the parent makes its own read-only.
 */
static void test_own_tables(const struct target *target)
{
	struct view view = new_filled(target, size_of_all_levels(target), 1);
	const uint64_t hole = BO_PMD_SIZE + 3 * BO_PTE_SIZE, end = hole + BO_PTE_SIZE;
	struct view below = sub_view(&view, 0, hole);
	struct view above = sub_view(&view, end, view.length - end);
	uint64_t step = view_step(&view);
	struct turns turns;

	in_child(&turns) {
		igt_assert_eq(munmap(view.addr + hole, BO_PTE_SIZE), 0);
		igt_assert_eq(signal_of_read(view.addr + hole), SIGSEGV);
		assert_contents(&below, step, 1);
		assert_contents(&above, step, 1);
		next_turn(&turns);
		fill(&below, step, 2);
		fill(&above, step, 2);
	}
	assert_levels(&view, HUGE_PUD);
	assert_contents(&view, step, 1);
	igt_assert_eq(mprotect(view.addr, view.length, PROT_READ), 0);
	assert_read_only(&view);
	last_turn(&turns);

	assert_levels(&view, HUGE_PUD);
	assert_read_only(&view);
	/* The child had no mapping of the page in the hole. */
	assert_contents(&below, step, 2);
}

/**
 * SUBTEST: evict
 * Description: When the object is evicted, the entries of parent and child are gone at once; both
 *              find its contents in system memory, and what either writes there comes back to VRAM
 *              with it, where both have huge entries again.
 */
static void test_evict(const struct target *target)
{
	struct view view;
	struct turns turns;

	require_small_vram(target, 256 * MiB);
	view = new_filled(target, 4 * BO_PMD_SIZE + 2 * BO_PTE_SIZE, 1);

	in_child(&turns) {
		assert_levels(&view, HUGE_PUD);

		/* Evicted. */
		next_turn(&turns);
		assert_unmapped(&view);
		assert_contents(&view, BO_EVERY_PAGE, 1);
		fill(&view, BO_EVERY_PAGE, 2);

		/* Back. */
		next_turn(&turns);
		assert_unmapped(&view);
		check_view(&view, HUGE_PUD, BO_EVERY_PAGE, 3);
		fill(&view, BO_EVERY_PAGE, 4);
	}
	evict(&view);
	next_turn(&turns);
	assert_contents(&view, BO_EVERY_PAGE, 2);
	fill(&view, BO_EVERY_PAGE, 3);

	if (bo_return_to_vram(view.bo) == -EOPNOTSUPP) {
		igt_info("%s: the driver has no way back into VRAM\n", target->name);
		no_more_turns(&turns);
		return;
	}
	assert_unmapped(&view);
	last_turn(&turns);
	check_view(&view, HUGE_PUD, BO_EVERY_PAGE, 4);
}

/**
 * SUBTEST: private
 * Description: Private mappings, which would need a copy of the object, are refused with EINVAL.
 */
static void test_private(const struct target *target)
{
	static const int prots[] = { PROT_READ | PROT_WRITE, PROT_READ, PROT_NONE };
	static const uint64_t private_sizes[] = { BO_PTE_SIZE, 2 * BO_PMD_SIZE };

	for (size_t i = 0; i < ARRAY_SIZE(private_sizes); i++) {
		const struct bo *bo = target_new_bo(target, private_sizes[i]);

		for (size_t j = 0; j < ARRAY_SIZE(prots); j++) {
			void *addr = bo_map(bo, NULL, bo->size, prots[j], MAP_PRIVATE);

			target_assert(target, addr == MAP_FAILED && errno == EINVAL,
				      "object of %" PRIu64 " KiB: private mmap, prot %d: %p, %s, "
				      "expected EINVAL", bo->size / KiB, prots[j], addr,
				      strerror(errno));
		}
	}
}

struct faulter {
	pthread_t thread;
	const struct view *view;
	bool stop;
	int rounds;
};

static void *fault_in_loop(void *arg)
{
	struct faulter *f = arg;

	while (!__atomic_load_n(&f->stop, __ATOMIC_RELAXED)) {
		struct view view = map_part(f->view->target, f->view->bo, 0, NULL, f->view->length,
					    PROT_READ | PROT_WRITE, 0);

		assert_contents(&view, BO_EVERY_BLOCK, 1);
		fill(&view, BO_EVERY_BLOCK, 1);
		unmap(&view);
		f->rounds++;
	}
	return NULL;
}

/* In a child of a process with threads: no logging, no library. */
static int check_in_child(const struct view *view)
{
	if (bo_check(view->addr, 0, view->length, BO_EVERY_BLOCK, 1) >= 0)
		return 1;
	bo_fill(view->addr, 0, view->length, BO_EVERY_BLOCK, 1);
	return munmap(view->addr + BO_PTE_SIZE, BO_PTE_SIZE) ? 2 : 0;
}

/**
 * SUBTEST: while-faulting
 * Description: Forks while threads of the process map, fault and unmap, and while the switch
 *              changes. Parent and children see the right contents.
 */
static void test_while_faulting(const struct target *target)
{
	struct view view = new_view(target, 4 * BO_PMD_SIZE + BO_PTE_SIZE);
	struct faulter faulters[3], *f;
	int status = 0;

	fill(&view, BO_EVERY_BLOCK, 1);
	for (f = faulters; f < faulters + ARRAY_SIZE(faulters); f++) {
		*f = (struct faulter){ .view = &view };
		igt_assert_eq(pthread_create(&f->thread, NULL, fault_in_loop, f), 0);
	}

	for (int i = 0; i < 40 && !status; i++) {
		pid_t pid;

		bo_set_huge_faults(i % 3);
		pid = fork();
		if (!pid)
			_exit(check_in_child(&view));
		if (pid < 0 || waitpid(pid, &status, 0) != pid)
			status = -1;
	}

	for (f = faulters; f < faulters + ARRAY_SIZE(faulters); f++) {
		__atomic_store_n(&f->stop, true, __ATOMIC_RELAXED);
		pthread_join(f->thread, NULL);
	}
	igt_thread_assert_no_failures();
	target_assert(target, !status, "a child ended with status %#x: %s", status,
		      WIFSIGNALED(status) ? strsignal(WTERMSIG(status)) : "wrong contents");
	for (f = faulters; f < faulters + ARRAY_SIZE(faulters); f++)
		target_assert(target, f->rounds, "a thread never ran");
	assert_contents(&view, BO_EVERY_BLOCK, 1);
}

static const struct subtest subtests[] = {
	{ "same-memory", "Parent and child share the object, with the same entries",
	  .test = test_same_memory },
	{ "own-tables", "Parent and child have page tables of their own", .test = test_own_tables },
	{ "evict", "Eviction reaches parent and child", test_evict, .on = on_vram },
	{ "private", "MAP_PRIVATE is refused", .test = test_private },
	{ "while-faulting", "fork() while other threads fault", .test = test_while_faulting },
};

int igt_main()
{
	run_test(subtests);
}
