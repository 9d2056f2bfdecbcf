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
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/wait.h>

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
	struct view view = map_whole(target, &bo, PROT_READ | PROT_WRITE);
	uint64_t step = view_step(&view), faults;
	struct handshake hs;

	touch(&view, true);
	fill(&view, step, 1);

	handshake_open(&hs);
	igt_fork(child, 1) {
		handshake_take(&hs, CHILD);

		assert_levels(&view, HUGE_PUD);
		faults = bo_faults();
		assert_contents(&view, step, 1);
		fill(&view, step, 2);
		/* Reading ahead of the large view's 4 KiB entries may fault, huge entries not. */
		igt_assert_f(view.length > LARGE_VIEW || bo_faults() - faults <= 4,
			     "%s: object of %" PRIu64 " KiB: %" PRIu64
			     " faults in the child for what fork() has copied\n",
			     target->name, bo.size / KiB, bo_faults() - faults);
		handshake_tell(&hs);

		handshake_wait(&hs);
		assert_contents(&view, step, 3);
		assert_levels(&view, HUGE_PUD);
		handshake_tell(&hs);

		/* The parent has let go of the object. */
		handshake_wait(&hs);
		assert_contents(&view, step, 3);
		fill(&view, step, 4);
		assert_contents(&view, step, 4);
		assert_levels(&view, HUGE_PUD);
	}
	handshake_take(&hs, PARENT);

	handshake_wait(&hs);
	assert_contents(&view, step, 2);
	assert_levels(&view, HUGE_PUD);
	fill(&view, step, 3);
	handshake_tell(&hs);

	handshake_wait(&hs);
	unmap(&view);
	bo_destroy(&bo);
	handshake_finish(&hs);
	assert_no_kernel_warning(target);
}

/**
 * SUBTEST: own-tables
 * Description: What one process does to its mapping leaves the other's entries alone: the child
 *              unmaps a page out of a huge entry, the parent makes its own read-only.
 */
static void test_own_tables(const struct target *target)
{
	struct bo bo = target_bo(target, size_of_all_levels(target));
	struct view view = map_whole(target, &bo, PROT_READ | PROT_WRITE);
	const uint64_t hole = BO_PMD_SIZE + 3 * BO_PTE_SIZE;
	uint64_t step = view_step(&view);
	struct handshake hs;

	touch(&view, true);
	fill(&view, step, 1);

	handshake_open(&hs);
	igt_fork(child, 1) {
		struct view below = sub_view(&view, 0, hole), above;

		handshake_take(&hs, CHILD);
		above = sub_view(&view, hole + BO_PTE_SIZE, bo.size - hole - BO_PTE_SIZE);
		igt_assert_eq(munmap(view.addr + hole, BO_PTE_SIZE), 0);
		igt_assert_eq(signal_of_read(view.addr + hole), SIGSEGV);
		assert_contents(&below, step, 1);
		assert_contents(&above, step, 1);
		handshake_tell(&hs);

		handshake_wait(&hs);
		fill(&below, step, 2);
		fill(&above, step, 2);
	}
	handshake_take(&hs, PARENT);

	handshake_wait(&hs);
	assert_levels(&view, HUGE_PUD);
	assert_contents(&view, step, 1);
	igt_assert_eq(mprotect(view.addr, view.length, PROT_READ), 0);
	assert_read_only(&view);
	handshake_finish(&hs);

	assert_levels(&view, HUGE_PUD);
	assert_read_only(&view);
	/* The child had no mapping of the page in the hole. */
	view = sub_view(&view, 0, hole);
	assert_contents(&view, step, 2);
	assert_no_kernel_warning(target);
}

/* Moving much more than this takes too long. */
#define EVICT_MAX	(256 * MiB)

/**
 * SUBTEST: evict
 * Description: When the object is evicted, the entries of parent and child are gone at once; both
 *              find its contents in system memory, and what either writes there comes back to VRAM
 *              with it, where both have huge entries again.
 */
static void test_evict(const struct target *target)
{
	struct bo bo;
	struct view view;
	struct handshake hs;

	igt_require_f(bo_vram_size(target->fd) <= EVICT_MAX,
		      "%s: %" PRIu64 " MiB of VRAM take too long to fill\n", target->name,
		      bo_vram_size(target->fd) / MiB);
	bo = target_bo(target, 8 * MiB + 8 * KiB);
	view = map_whole(target, &bo, PROT_READ | PROT_WRITE);
	touch(&view, true);
	assert_levels(&view, HUGE_PUD);
	fill(&view, BO_EVERY_PAGE, 1);

	handshake_open(&hs);
	igt_fork(child, 1) {
		handshake_take(&hs, CHILD);
		assert_levels(&view, HUGE_PUD);
		handshake_tell(&hs);

		/* Evicted. */
		handshake_wait(&hs);
		assert_unmapped(&view);
		assert_contents(&view, BO_EVERY_PAGE, 1);
		fill(&view, BO_EVERY_PAGE, 2);
		handshake_tell(&hs);

		/* Back. */
		handshake_wait(&hs);
		assert_unmapped(&view);
		assert_contents(&view, BO_EVERY_PAGE, 3);
		touch(&view, false);
		assert_levels(&view, HUGE_PUD);
		fill(&view, BO_EVERY_PAGE, 4);
	}
	handshake_take(&hs, PARENT);
	handshake_wait(&hs);

	igt_assert_eq(bo_evict(&bo), 0);
	assert_unmapped(&view);
	handshake_tell(&hs);
	handshake_wait(&hs);
	assert_contents(&view, BO_EVERY_PAGE, 2);
	fill(&view, BO_EVERY_PAGE, 3);

	if (bo_return_to_vram(&bo) == -EOPNOTSUPP) {
		igt_info("%s: the driver has no way back into VRAM\n", target->name);
		igt_kill_children(SIGKILL);
		handshake_close(&hs);
		return;
	}
	assert_unmapped(&view);
	handshake_finish(&hs);
	touch(&view, false);
	assert_levels(&view, HUGE_PUD);
	assert_contents(&view, BO_EVERY_PAGE, 4);
	assert_no_kernel_warning(target);
}

/**
 * SUBTEST: private
 * Description: Private mappings, which would need a copy of the object, are refused with EINVAL.
 */
static void test_private(const struct target *target)
{
	static const int prots[] = { PROT_READ | PROT_WRITE, PROT_READ, PROT_NONE };
	static const uint64_t private_sizes[] = { 4 * KiB, 4 * MiB };

	for (size_t i = 0; i < ARRAY_SIZE(private_sizes); i++) {
		struct bo bo = target_bo(target, private_sizes[i]);

		for (size_t j = 0; j < ARRAY_SIZE(prots); j++) {
			void *addr = bo_map(&bo, NULL, bo.size, prots[j], MAP_PRIVATE);

			igt_assert_f(addr == MAP_FAILED && errno == EINVAL,
				     "%s: object of %" PRIu64
				     " KiB: private mmap, prot %d: %p, %s, expected EINVAL\n",
				     target->name, bo.size / KiB, prots[j], addr, strerror(errno));
		}
	}
}

struct faulter {
	pthread_t thread;
	const struct bo *bo;
	uint64_t length;
	bool stop;
	uint64_t rounds;
	int64_t wrong;
	int error;
};

static void *fault_in_loop(void *arg)
{
	struct faulter *f = arg;

	while (!__atomic_load_n(&f->stop, __ATOMIC_RELAXED) && f->wrong < 0 && !f->error) {
		void *map = bo_map(f->bo, NULL, f->length, PROT_READ | PROT_WRITE, 0);

		if (map == MAP_FAILED) {
			f->error = errno;
			break;
		}
		f->wrong = bo_check(map, 0, f->length, BO_EVERY_BLOCK, 1);
		bo_fill(map, 0, f->length, BO_EVERY_BLOCK, 1);
		munmap(map, f->length);
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
	struct bo bo = target_bo(target, 8 * MiB + 4 * KiB);
	struct view view = map_whole(target, &bo, PROT_READ | PROT_WRITE);
	struct faulter faulters[3];
	int status = 0;

	bo_fill(view.addr, 0, view.length, BO_EVERY_BLOCK, 1);
	for (size_t i = 0; i < ARRAY_SIZE(faulters); i++) {
		struct faulter *f = &faulters[i];

		*f = (struct faulter){ .bo = &bo, .length = bo.size, .wrong = -1 };
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

	for (size_t i = 0; i < ARRAY_SIZE(faulters); i++)
		__atomic_store_n(&faulters[i].stop, true, __ATOMIC_RELAXED);
	for (size_t i = 0; i < ARRAY_SIZE(faulters); i++)
		pthread_join(faulters[i].thread, NULL);

	igt_assert_f(!status, "%s: a child ended with status %#x: %s\n", target->name, status,
		     WIFSIGNALED(status) ? strsignal(WTERMSIG(status)) : "wrong contents");
	for (size_t i = 0; i < ARRAY_SIZE(faulters); i++) {
		igt_assert_f(!faulters[i].error, "%s: mmap in a thread: %s\n", target->name,
			     strerror(faulters[i].error));
		igt_assert_f(faulters[i].wrong < 0,
			     "%s: object of %" PRIu64 " KiB, offset %#" PRIx64
			     ": wrong contents in a thread\n",
			     target->name, bo.size / KiB, faulters[i].wrong);
		igt_assert_f(faulters[i].rounds, "%s: a thread never ran\n", target->name);
	}
	assert_contents(&view, BO_EVERY_BLOCK, 1);
	assert_no_kernel_warning(target);
}

int igt_main()
{
	struct target *target;

	igt_fixture()
		ttm_huge_init();

	igt_describe("Parent and child share the object, with the same entries");
	igt_subtest_with_dynamic("same-memory")
		igt_dynamic_targets(target)
			test_same_memory(target);

	igt_describe("Parent and child have page tables of their own");
	igt_subtest_with_dynamic("own-tables")
		igt_dynamic_targets(target)
			test_own_tables(target);

	igt_describe("Eviction reaches parent and child");
	igt_subtest_with_dynamic("evict")
		igt_dynamic_targets_if(target, target->placement == BO_VRAM)
			test_evict(target);

	igt_describe("MAP_PRIVATE is refused");
	igt_subtest_with_dynamic("private")
		igt_dynamic_targets(target)
			test_private(target);

	igt_describe("fork() while other threads fault");
	igt_subtest_with_dynamic("while-faulting")
		igt_dynamic_targets(target)
			test_while_faulting(target);

	igt_fixture()
		ttm_huge_fini();
}
