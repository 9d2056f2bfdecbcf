// SPDX-License-Identifier: MIT
/**
 * TEST: ttm huge vmalock
 * Category: Core
 * Mega feature: General Core features
 * Sub-category: Memory management tests
 * Functionality: mmap
 * Description: Faults on mappings of TTM's buffer objects need the lock of their VMA and not that of
 *              the whole address space, at every level.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <sys/mman.h>

#include "ttm_huge.h"

IGT_TEST_DESCRIPTION("Faults on mappings of TTM buffer objects under the per-VMA lock");

static const struct level {
	const char *name;
	int huge_faults;
	uint64_t size;		/* of an object, which takes several faults where it can */
} levels[] = {
	{ "pud", HUGE_PUD, 1 * GiB },
	{ "pmd", HUGE_PMD, 8 * MiB },
	{ "pte", HUGE_NONE, 4 * MiB },
};

#define THREADS	2

/*
 * Counters
 */

/* Of the whole system: how faults from user space ended that tried the VMA lock. */
static const char * const events[] = {
	"vma_lock_success",
	"vma_lock_abort",	/* the VMA changed meanwhile: goes on with the mmap lock */
	"vma_lock_retry",	/* the handler gave the lock up: goes on with the mmap lock */
	"vma_lock_miss",	/* someone writes to the VMA: goes on with the mmap lock */
};

struct counters {
	uint64_t faults;	/* of this process */
	uint64_t events[ARRAY_SIZE(events)];
};

static bool counters_read(struct counters *counters)
{
	static char text[1 << 14];	/* there before the first use that counts */
	int fd = open("/proc/vmstat", O_RDONLY | O_CLOEXEC);
	size_t length = 0;
	ssize_t ret;

	if (fd < 0)
		return false;
	while ((ret = read(fd, text + length, sizeof(text) - 1 - length)) > 0)
		length += ret;
	close(fd);
	text[length] = '\0';

	for (size_t i = 0; i < ARRAY_SIZE(events); i++) {
		char *found = strstr(text, events[i]);

		if (!found)
			return false;
		counters->events[i] = strtoull(found + strlen(events[i]), NULL, 10);
	}
	counters->faults = bo_faults();
	return true;
}

/* Every fault, at least one of them, ended under the VMA lock. */
static bool all_under_vma_lock(const struct counters *before, const struct counters *after)
{
	uint64_t faults = after->faults - before->faults;

	if (!faults || after->events[0] - before->events[0] != faults)
		return false;
	for (size_t i = 1; i < ARRAY_SIZE(events); i++) {
		if (after->events[i] != before->events[i])
			return false;
	}
	return true;
}

/*
 * Threads
 */

struct toucher {
	pthread_t thread;
	const struct view *view;
	pthread_barrier_t *barrier;
};

static void touch_all(const struct view *view)
{
	for (uint64_t o = 0; o < view->length; o += BO_PTE_SIZE)
		*(volatile char *)(view->addr + o) = 1;
}

static void *touch_once(void *arg)
{
	struct toucher *t = arg;

	pthread_barrier_wait(t->barrier);
	touch_all(t->view);
	pthread_barrier_wait(t->barrier);
	return NULL;
}

/* Touches each view in a thread of its own, all at once. */
static void touch_in_threads(const struct view *views, int count, struct counters *before,
			     struct counters *after)
{
	struct toucher touchers[THREADS];
	pthread_barrier_t barrier;

	pthread_barrier_init(&barrier, NULL, count + 1);
	for (int i = 0; i < count; i++) {
		touchers[i] = (struct toucher){ .view = &views[i], .barrier = &barrier };
		igt_assert_eq(pthread_create(&touchers[i].thread, NULL, touch_once, &touchers[i]),
			      0);
	}
	/* Until they have used their stacks; then there are no faults but those on the views. */
	usleep(20000);
	igt_assert(counters_read(before));
	pthread_barrier_wait(&barrier);
	pthread_barrier_wait(&barrier);
	igt_assert(counters_read(after));
	for (int i = 0; i < count; i++)
		pthread_join(touchers[i].thread, NULL);
	pthread_barrier_destroy(&barrier);
}

struct writer {
	pthread_t thread;
	bool stop;
	uint64_t count;
};

/* Takes the mmap lock for writing, and faults nothing in. */
static void *write_lock_in_loop(void *arg)
{
	struct writer *w = arg;

	while (!__atomic_load_n(&w->stop, __ATOMIC_RELAXED)) {
		void *map = mmap(NULL, BO_PTE_SIZE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		if (map == MAP_FAILED)
			break;
		munmap(map, BO_PTE_SIZE);
		__atomic_add_fetch(&w->count, 1, __ATOMIC_RELAXED);
	}
	return NULL;
}

/*
 * Faults in fresh mappings of @count objects at once, with someone who writes to the address space
 * beside them if @writer.
 */
static void test_faults(const struct target *target, const struct level *level, int count,
			bool writer)
{
	struct bo bos[THREADS];
	struct view views[THREADS];
	struct counters before, after;
	bool good = false;

	for (int i = 0; i < count; i++)
		bos[i] = target_bo(target, level->size);
	set_huge_faults(level->huge_faults);

	/* The counters are the whole system's: once, nobody else will have had a fault. */
	for (int round = 0; round < 10 && !good; round++) {
		struct writer w = { 0 };

		for (int i = 0; i < count; i++)
			views[i] = map_whole(target, &bos[i], PROT_READ | PROT_WRITE);
		if (writer)
			igt_assert_eq(pthread_create(&w.thread, NULL, write_lock_in_loop, &w), 0);
		touch_in_threads(views, count, &before, &after);
		if (writer) {
			__atomic_store_n(&w.stop, true, __ATOMIC_RELAXED);
			pthread_join(w.thread, NULL);
			igt_assert(w.count);
		}

		good = all_under_vma_lock(&before, &after);
		for (int i = 0; i < count; i++) {
			assert_levels(&views[i], level->huge_faults);
			unmap(&views[i]);
		}
	}
	igt_assert_f(good,
		     "%s: %d objects of %" PRIu64 " KiB: %" PRIu64 " faults, %" PRIu64
		     " under the VMA lock, %" PRIu64 " aborted, %" PRIu64 " retried, %" PRIu64
		     " missed, expected all under the VMA lock\n",
		     target->name, count, level->size / KiB, after.faults - before.faults,
		     after.events[0] - before.events[0], after.events[1] - before.events[1],
		     after.events[2] - before.events[2], after.events[3] - before.events[3]);
	for (int i = 0; i < count; i++)
		bo_destroy(&bos[i]);
	assert_no_kernel_warning(target);
}

/**
 * SUBTEST: faults-%s
 * Description: Each fault on an object that is mapped with %arg[1] entries ends under the VMA lock;
 *              none goes on with the mmap lock.
 *
 * arg[1]:
 *
 * @pud:	1 GiB
 * @pmd:	2 MiB
 * @pte:	4 KiB
 */

/**
 * SUBTEST: threads-%s
 * Description: The same with two threads, each on an object of its own, at once.
 *
 * arg[1]:
 *
 * @pud:	1 GiB
 * @pmd:	2 MiB
 * @pte:	4 KiB
 */

/**
 * SUBTEST: writer-%s
 * Description: The same while another thread takes the mmap lock for writing all the time.
 *
 * arg[1]:
 *
 * @pud:	1 GiB
 * @pmd:	2 MiB
 * @pte:	4 KiB
 */
static const struct {
	const char *name;
	int count;
	bool writer;
} ways[] = {
	{ "faults", 1, false },
	{ "threads", THREADS, false },
	{ "writer", THREADS, true },
};

/* Whether the target has room for what test_faults() makes; 1 GiB entries are for VRAM. */
static bool has_room(const struct target *target, uint64_t size)
{
	if (target->placement == BO_SYSTEM)
		return size < BO_PUD_SIZE;
	return THREADS * size <= bo_vram_size(target->fd) / 2;
}

int igt_main()
{
	struct target *target;

	igt_fixture() {
		struct counters counters;

		ttm_huge_init();
		igt_require_f(counters_read(&counters),
			      "no vma_lock_success in /proc/vmstat: CONFIG_PER_VMA_LOCK_STATS\n");
	}

	for (size_t w = 0; w < ARRAY_SIZE(ways); w++) {
		for (size_t l = 0; l < ARRAY_SIZE(levels); l++) {
			igt_describe("Faults end under the VMA lock");
			igt_subtest_with_dynamic_f("%s-%s", ways[w].name, levels[l].name)
				for_each_target(target)
					if (has_room(target, levels[l].size))
						igt_dynamic(target->name)
							test_faults(target, &levels[l],
								    ways[w].count, ways[w].writer);
		}
	}

	igt_fixture()
		ttm_huge_fini();
}
