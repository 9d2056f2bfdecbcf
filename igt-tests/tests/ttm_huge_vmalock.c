// SPDX-License-Identifier: MIT
/**
 * TEST: ttm huge vmalock
 * Category: Core
 * Mega feature: General Core features
 * Sub-category: Memory management tests
 * Functionality: mmap
 * Description: Faults on mappings of TTM's buffer objects need the lock of their VMA and not that
 *              of the whole address space, at every level.
 */
#define _GNU_SOURCE 1
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

static struct counters count(void)
{
	struct counters counters;

	igt_assert(read_vmstat(events, counters.events, ARRAY_SIZE(events)));
	counters.faults = bo_faults();
	return counters;
}

static pthread_barrier_t barrier;

static void *touch_once(void *view)
{
	pthread_barrier_wait(&barrier);
	faults_of_touching(view, true);
	pthread_barrier_wait(&barrier);
	return NULL;
}

/* Touches each view in a thread of its own, all at once, and returns what that has counted. */
static struct counters touch_in_threads(struct view *views, int threads)
{
	pthread_t thread[THREADS];
	struct counters before, after;

	pthread_barrier_init(&barrier, NULL, threads + 1);
	for (int i = 0; i < threads; i++)
		igt_assert_eq(pthread_create(&thread[i], NULL, touch_once, &views[i]), 0);
	/* Until they have used their stacks; then there are no faults but those on the views. */
	usleep(20000);
	before = count();
	pthread_barrier_wait(&barrier);
	pthread_barrier_wait(&barrier);
	after = count();
	for (int i = 0; i < threads; i++)
		pthread_join(thread[i], NULL);
	pthread_barrier_destroy(&barrier);
	after.faults -= before.faults;
	for (size_t i = 0; i < ARRAY_SIZE(events); i++)
		after.events[i] -= before.events[i];
	return after;
}

static volatile bool stop;
static volatile uint64_t writes;

/* Takes the mmap lock for writing, and faults nothing in. */
static void *write_lock_in_loop(void *arg)
{
	for (writes = 0; !stop; writes++)
		if (munmap(mmap(NULL, BO_PTE_SIZE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0),
			   BO_PTE_SIZE))
			break;
	return arg;
}

/*
 * Faults in fresh mappings of as many @objects at once, with someone who writes to the address
 * space beside them if @writer. Every fault, at least one of them, must end under the VMA lock.
 */
static void check_faults(const struct target *target, const struct level *level, int objects,
			 bool writer)
{
	const struct bo *bos[THREADS];
	struct view views[THREADS];
	struct counters found;
	const uint64_t *ended = found.events;
	pthread_t thread;
	bool good = false;

	if (level->huge_faults == HUGE_PUD)
		require_pud_entries();
	for (int i = 0; i < objects; i++)
		bos[i] = target_new_bo(target, level->size);
	set_huge_faults(level->huge_faults);

	/* The counters are the whole system's: once, nobody else will have had a fault. */
	for (int round = 0; round < 10 && !good; round++) {
		for (int i = 0; i < objects; i++)
			views[i] = map_whole(target, bos[i], PROT_READ | PROT_WRITE);
		stop = false;
		if (writer)
			igt_assert_eq(pthread_create(&thread, NULL, write_lock_in_loop, NULL), 0);
		found = touch_in_threads(views, objects);
		if (writer) {
			stop = true;
			pthread_join(thread, NULL);
			igt_assert(writes);
		}
		good = found.faults && ended[0] == found.faults && !ended[1] && !ended[2] &&
		       !ended[3];
		for (int i = 0; i < objects; i++) {
			assert_levels(&views[i], level->huge_faults);
			unmap(&views[i]);
		}
	}
	target_assert(target, good, "%d objects of %" PRIu64 " KiB: %" PRIu64 " faults, %" PRIu64
		      " under the VMA lock, %" PRIu64 " aborted, %" PRIu64 " retried, %" PRIu64
		      " missed, expected all under the VMA lock", objects, level->size / KiB,
		      found.faults, ended[0], ended[1], ended[2], ended[3]);
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
static void test_faults(const struct target *target, const void *level)
{
	check_faults(target, level, 1, false);
}

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
static void test_threads(const struct target *target, const void *level)
{
	check_faults(target, level, THREADS, false);
}

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
static void test_writer(const struct target *target, const void *level)
{
	check_faults(target, level, THREADS, true);
}

/* Whether the target has room for what check_faults() makes; 1 GiB entries are for VRAM. */
static bool has_room(const struct target *target, const void *member)
{
	const struct level *level = member;

	return on_system(target) ? level->size < BO_PUD_SIZE :
				   THREADS * level->size <= bo_vram_size(target->fd) / 2;
}

#define ABOUT	"Faults end under the VMA lock"
static const struct subtest subtests[] = {
	{ "faults-%s", ABOUT, .test_member = test_faults, .on_member = has_room, FAMILY(levels) },
	{ "threads-%s", ABOUT, .test_member = test_threads, .on_member = has_room, FAMILY(levels) },
	{ "writer-%s", ABOUT, .test_member = test_writer, .on_member = has_room, FAMILY(levels) },
};

int igt_main()
{
	uint64_t values[ARRAY_SIZE(events)];

	igt_fixture()
		igt_require_f(read_vmstat(events, values, ARRAY_SIZE(events)),
			      "no vma_lock_success in /proc/vmstat: CONFIG_PER_VMA_LOCK_STATS\n");
	run_test(subtests);
}
