// SPDX-License-Identifier: MIT
/**
 * TEST: ttm huge vttm dirty
 * Category: Core
 * Mega feature: General Core features
 * Sub-category: Memory management tests
 * Functionality: mmap
 * Description: Tracking of writes to mapped objects.
 */
#include <pthread.h>
#include <sys/mman.h>

#include "vm.h"
#include "vttm_ops.h"

IGT_TEST_DESCRIPTION("Huge page-table entries and tracking of writes");

/* Bitmaps have room for all pages of the objects here. */
#define WORDS	32

/* Of all words: there is nothing behind the end of the object, either. */
static void assert_bitmap(const struct view *view, const uint64_t *found, const uint64_t *expected)
{
	for (int w = 0; w < WORDS; w++)
		view_assert_at(view, w * 64 * BO_PTE_SIZE, found[w] == expected[w], "%#" PRIx64
			       " of 64 pages are dirty, expected %#" PRIx64, found[w], expected[w]);
}

/* Asserts that just the pages in @expected are dirty. */
static void assert_dirty(const struct view *view, uint32_t op, const uint64_t *expected)
{
	uint64_t found[WORDS] = { 0 };
	int ret;

	memset(found, 0xff, vttm_bitmap_size(view->bo));
	ret = vttm_dirty(view->bo, op, found);
	view_assert(view, !ret, "dirty pages cannot be read: %s", strerror(-ret));
	assert_bitmap(view, found, expected);
}

static void write_page(const struct view *view, uint64_t page, uint64_t *written)
{
	*(volatile uint64_t *)(view->addr + page * BO_PTE_SIZE) = page;
	__atomic_fetch_or(&written[page / 64], 1ull << page % 64, __ATOMIC_RELAXED);
}

static void write_pages(const struct view *view, unsigned int *random, uint64_t *written)
{
	for (int i = 0; i < 40; i++)
		write_page(view, rand_r(random) % (view->length / BO_PTE_SIZE), written);
}

/* What a write splits: a leaf, but objects here are smaller than one with pages of 64 KiB. */
static struct view first_leaf(const struct view *view)
{
	return sub_view(view, 0, view->length < BO_PMD_SIZE ? BO_PTE_SIZE : BO_PMD_SIZE);
}

/**
 * SUBTEST: dirty-%s
 * Description: With an object in %arg[1] tracked, the pages that were written to, by any mapping of
 *              any process, are dirty and no others. Those written to before are dirty as well.
 *              Entries from before stay huge, and are read-only, until they are written to. New
 *              entries are not huge; afterwards they are again.
 *
 * arg[1]:
 *
 * @vram:	VRAM
 * @system:	system memory
 */
static const struct place {
	const char *name;
	uint32_t domain, other;
} places[] = { { "vram", VRAM, SYSTEM }, { "system", SYSTEM, VRAM } };

static void test_dirty(const struct target *target, const void *member)
{
	const struct place *place = member;
	struct view view = vttm_new_view(target, .size = 6 * MiB + 3 * BO_PTE_SIZE,
					 .domains = VRAM | SYSTEM);
	struct view other = map_whole(target, view.bo, PROT_READ | PROT_WRITE), part;
	uint64_t none[WORDS] = { 0 }, all[WORDS] = { 0 }, *expected;
	unsigned int random = 1;

	for (uint64_t page = 0; page < view.length / BO_PTE_SIZE; page++)
		all[page / 64] |= 1ull << page % 64;
	/* A child adds to it. */
	expected = mmap(NULL, sizeof(none), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
			-1, 0);
	igt_assert(expected != MAP_FAILED);
	require_room_outside(target, view.length);
	move_to(&view, place->domain);

	/* Of entries from before those that were written to count, and writes split them. */
	assert_entries_in(&view, place->domain);
	igt_assert_eq(vttm_dirty(view.bo, DRM_VTTM_DIRTY_START, NULL), 0);
	assert_dirty(&view, DRM_VTTM_DIRTY_READ, none);
	igt_assert_eq(vttm_dirty(view.bo, DRM_VTTM_DIRTY_STOP, NULL), 0);
	fill(&view, BO_EVERY_PAGE, 1);
	assert_entries_in(&view, place->domain);
	igt_assert_eq(vttm_dirty(view.bo, DRM_VTTM_DIRTY_START, NULL), 0);
	assert_dirty(&view, DRM_VTTM_DIRTY_READ, all);
	assert_read_only(&view);
	assert_entries_in(&view, place->domain);
	part = first_leaf(&view);
	fill(&part, part.length, 1);
	assert_level(&view, 0, part.length, BO_PTE);
	assert_level(&view, part.length, part.length,
		     expected_level(&view, part.length, HUGE_PUD));
	assert_dirty(&view, DRM_VTTM_DIRTY_READ_CLEAR, all);
	assert_dirty(&view, DRM_VTTM_DIRTY_READ, none);

	assert_contents(&view, BO_EVERY_PAGE, 1);
	touch(&other, false);
	assert_dirty(&view, DRM_VTTM_DIRTY_READ, none);
	assert_no_huge(&view);
	assert_no_huge(&other);

	for (int i = 0; i < 3; i++) {
		write_pages(&view, &random, expected);
		write_page(&view, 0, expected);
		write_page(&view, view.length / BO_PTE_SIZE - 1, expected);
		assert_dirty(&view, DRM_VTTM_DIRTY_READ, expected);
		write_pages(&other, &random, expected);
		fork_and_wait()
			write_pages(&view, &random, expected);
		random++;
		assert_dirty(&view, DRM_VTTM_DIRTY_READ, expected);
		/* Moves change nothing. */
		move_to(&view, place->other);
		touch(&view, false);
		assert_dirty(&view, DRM_VTTM_DIRTY_READ, expected);
		move_to(&view, place->domain);
		touch(&view, false);
		assert_no_huge(&view);
		assert_dirty(&view, DRM_VTTM_DIRTY_READ_CLEAR, expected);
		assert_dirty(&view, DRM_VTTM_DIRTY_READ, none);
		memset(expected, 0, sizeof(none));
	}

	/* To start once more changes nothing. */
	write_pages(&view, &random, expected);
	igt_assert_eq(vttm_dirty(view.bo, DRM_VTTM_DIRTY_START, NULL), 0);
	assert_dirty(&view, DRM_VTTM_DIRTY_READ, expected);
	igt_assert_eq(vttm_dirty(view.bo, DRM_VTTM_DIRTY_STOP, NULL), 0);
	igt_assert_eq(vttm_dirty(view.bo, DRM_VTTM_DIRTY_READ, expected), -EINVAL);
	assert_entries_in(&view, place->domain);
	munmap(expected, sizeof(none));
}

/* What the threads write to, and which pages of it they have written to */
static struct view half;
static uint64_t written_by_threads[WORDS];

static void *write_in_thread(void *random)
{
	for (int i = 0; i < 200; i++, sched_yield())
		write_pages(&half, random, written_by_threads);
	return NULL;
}

/* Adds what is dirty to @seen, and makes it clean. */
static void collect(const struct view *view, uint64_t *seen)
{
	uint64_t now[WORDS] = { 0 };

	igt_assert_eq(vttm_dirty(view->bo, DRM_VTTM_DIRTY_READ_CLEAR, now), 0);
	for (int w = 0; w < WORDS; w++)
		seen[w] |= now[w];
}

/**
 * SUBTEST: dirty-while-writing
 * Description: Pages are read and made clean while threads write: in the end each that was written
 *              to was dirty at least once, and none that was not.
 */
static void test_while_writing(const struct target *target)
{
	struct view view = vttm_new_view(target, .size = 4 * MiB, .domains = VRAM);
	uint64_t seen[WORDS] = { 0 };
	unsigned int random[] = { 0, 1, 2 };
	pthread_t threads[ARRAY_SIZE(random)];

	half = sub_view(&view, 0, view.length / 2);
	memset(written_by_threads, 0, sizeof(written_by_threads));
	touch(&view, false);
	igt_assert_eq(vttm_dirty(view.bo, DRM_VTTM_DIRTY_START, NULL), 0);
	for (size_t i = 0; i < ARRAY_SIZE(threads); i++)
		igt_assert_eq(pthread_create(&threads[i], NULL, write_in_thread, &random[i]), 0);
	for (int i = 0; i < 50; i++, usleep(2000))
		collect(&view, seen);
	for (size_t i = 0; i < ARRAY_SIZE(threads); i++)
		pthread_join(threads[i], NULL);
	collect(&view, seen);
	assert_bitmap(&view, seen, written_by_threads);
}

/* What the threads write to, until they are to stop; and how often they have written to 40 pages */
static struct view writable;
#define WRITERS	3
static bool stop_writing;
static unsigned int batches;

static void *write_until_stopped(void *seed)
{
	const uint64_t pages = writable.length / BO_PTE_SIZE;
	unsigned int random = (uintptr_t)seed;
	uint64_t value = (uint64_t)random << 32;

	while (!__atomic_load_n(&stop_writing, __ATOMIC_RELAXED)) {
		for (int i = 0; i < 40; i++)
			*(volatile uint64_t *)(writable.addr +
					       rand_r(&random) % pages * BO_PTE_SIZE) = ++value;
		__atomic_fetch_add(&batches, 1, __ATOMIC_RELAXED);
		sched_yield();
	}
	return NULL;
}

/* The threads begin, and end, some writes. */
static void let_threads_write(void)
{
	const unsigned int start = __atomic_load_n(&batches, __ATOMIC_RELAXED);

	while (__atomic_load_n(&batches, __ATOMIC_RELAXED) - start < 2 * WRITERS)
		usleep(500);
}

/* The first word of each page */
static void read_words(const struct view *view, uint64_t *words)
{
	for (uint64_t page = 0; page < view->length / BO_PTE_SIZE; page++)
		words[page] = *(volatile uint64_t *)(view->addr + page * BO_PTE_SIZE);
}

/* The words at two moments, and what was dirty at the second */
struct change {
	uint64_t *before, *now, *dirty;
};

static void assert_changes_dirty(const struct view *view, const struct change *change)
{
	for (uint64_t page = 0; page < view->length / BO_PTE_SIZE; page++)
		view_assert_at(view, page * BO_PTE_SIZE,
			       change->now[page] == change->before[page] ||
			       change->dirty[page / 64] >> page % 64 & 1,
			       "written to, and not dirty");
}

/**
 * SUBTEST: dirty-while-starting-%s
 * Description: Threads write to an object in VRAM that is mapped with entries of %arg[1] when it
 *              begins to be tracked: each page whose contents change from before that on is dirty.
 *              So is each that changes after all were made clean, and none that is not written to.
 *
 * arg[1]:
 *
 * @2m:		2 MiB
 * @1g:		1 GiB
 */
static const struct size {
	const char *name;
	uint64_t size;
	enum bo_level level;
	int rounds;
} sizes[] = { { "2m", 2 * BO_PMD_SIZE, BO_PMD, 40 }, { "1g", BO_PUD_SIZE, BO_PUD, 4 } };

/*
 * Threads write when the tracking of @view begins, and when all was made clean. @seen shows what they
 * write to.
 */
static void start_while_writing(const struct view *view, const struct view *seen, unsigned int seed,
				const struct change *start, const struct change *clean)
{
	pthread_t threads[WRITERS];

	read_words(seen, start->before);
	stop_writing = false;
	for (size_t i = 0; i < WRITERS; i++)
		igt_assert_eq(pthread_create(&threads[i], NULL, write_until_stopped,
					     (void *)(uintptr_t)(WRITERS * seed + i + 1)), 0);
	usleep(seed % 3 * 500);
	igt_assert_eq(vttm_dirty(view->bo, DRM_VTTM_DIRTY_START, NULL), 0);
	let_threads_write();
	read_words(seen, start->now);
	igt_assert_eq(vttm_dirty(view->bo, DRM_VTTM_DIRTY_READ, start->dirty), 0);

	igt_assert_eq(vttm_dirty(view->bo, DRM_VTTM_DIRTY_READ_CLEAR, clean->dirty), 0);
	read_words(seen, clean->before);
	let_threads_write();
	__atomic_store_n(&stop_writing, true, __ATOMIC_RELAXED);
	for (size_t i = 0; i < WRITERS; i++)
		pthread_join(threads[i], NULL);
	read_words(seen, clean->now);
	igt_assert_eq(vttm_dirty(view->bo, DRM_VTTM_DIRTY_READ, clean->dirty), 0);
	igt_assert_eq(vttm_dirty(view->bo, DRM_VTTM_DIRTY_STOP, NULL), 0);
}

static void test_while_starting(const struct target *target, const void *member)
{
	const struct size *size = member;
	const uint64_t pages = size->size / BO_PTE_SIZE;
	struct change changes[2];
	struct view view, seen;

	require_room(target, size->size);
	if (size->level == BO_PUD)
		require_pud_entries();
	view = vttm_new_view(target, .size = size->size, .domains = VRAM);
	writable = sub_view(&view, 0, view.length / 2);
	/* It cannot write, so nobody looks at its entries. */
	seen = map_part(target, view.bo, 0, NULL, writable.length, PROT_READ, MAP_SHARED);
	for (int i = 0; i < 2; i++) {
		changes[i].before = calloc(pages, sizeof(uint64_t));
		changes[i].now = calloc(pages, sizeof(uint64_t));
		changes[i].dirty = calloc(pages / 64, sizeof(uint64_t));
		igt_assert(changes[i].before && changes[i].now && changes[i].dirty);
	}

	for (int round = 0; round < size->rounds; round++) {
		/* Entries that are dirty, or are going to be */
		touch(&view, round % 2);
		assert_level(&view, 0, view.length, size->level);
		start_while_writing(&view, &seen, round, &changes[0], &changes[1]);
		for (int i = 0; i < 2; i++) {
			assert_changes_dirty(&seen, &changes[i]);
			igt_assert_f(memcmp(changes[i].before, changes[i].now,
					    seen.length / BO_PTE_SIZE * sizeof(uint64_t)),
				     "nothing was written to in round %d\n", round);
		}
		for (uint64_t w = pages / 128; w < pages / 64; w++)
			view_assert_at(&view, w * 64 * BO_PTE_SIZE, !changes[1].dirty[w],
				       "dirty, and not written to: %#" PRIx64, changes[1].dirty[w]);
	}

	for (int i = 0; i < 2; i++) {
		free(changes[i].before);
		free(changes[i].now);
		free(changes[i].dirty);
	}
}

/* The guest writes to one page, which is dirty then. */
static void write_in_guest(struct vm *vm, uint64_t page, uint64_t *written)
{
	const uint64_t first = GUEST_FREE + page * VM_STEP;

	igt_assert_eq(vm_access(vm, vm_written(vm_range(first, VM_STEP, 1 + page))), 0);
	written[page / 64] |= 1ull << page % 64;
}

/**
 * SUBTEST: guest
 * Description: While an object is tracked that a virtual machine has as memory, the pages that its
 *              guest writes to are dirty, also in entries from before, and those that it reads are
 *              not. The guest has entries of 4 KiB once all were made clean, and large ones before
 *              and after.
 */
static void test_guest(const struct target *target)
{
	uint64_t none[WORDS] = { 0 }, found[WORDS], written_to[WORDS] = { 0 };
	struct view view, leaf;
	struct vm *vm;

	require_kvm();
	view = vttm_new_view(target, .size = 6 * MiB + 3 * BO_PTE_SIZE, .domains = VRAM);
	vm = vm_new();
	vm_give(vm, &view, 0);
	igt_assert_eq(vm_access(vm, vm_written(vm_all(&view, 1))), 0);
	vm_assert_entries_of(&view, vm, HUGE_PUD);

	igt_assert_eq(vttm_dirty(view.bo, DRM_VTTM_DIRTY_START, NULL), 0);
	vm_assert_entries(&view, vm, 0, 0, 0);
	igt_assert_eq(vm_access(vm, vm_all(&view, 1)), 0);
	vm_assert_entries_of(&view, vm, HUGE_PUD);
	write_in_guest(vm, 0, written_to);
	leaf = first_leaf(&view);
	assert_level(&leaf, 0, leaf.length, BO_PTE);
	igt_assert_eq(vttm_dirty(view.bo, DRM_VTTM_DIRTY_READ_CLEAR, found), 0);
	view_assert(&view, found[0] & written_to[0], "page 0 is not dirty");
	vm_assert_entries(&view, vm, 0, 0, 0);
	for (int i = 0; i < 2; i++) {
		uint64_t expected[WORDS] = { 0 };

		igt_assert_eq(vm_access(vm, vm_all(&view, 1)), 0);
		vm_assert_entries(&view, vm, 0, 0, view.length / BO_PTE_SIZE);
		assert_dirty(&view, DRM_VTTM_DIRTY_READ, none);
		write_in_guest(vm, i, expected);
		write_in_guest(vm, view.length / BO_PTE_SIZE - 1, expected);
		assert_dirty(&view, DRM_VTTM_DIRTY_READ_CLEAR, expected);
	}
	igt_assert_eq(vttm_dirty(view.bo, DRM_VTTM_DIRTY_STOP, NULL), 0);
	assert_entries_in(&view, VRAM);
	igt_assert_eq(vm_access(vm, vm_all(&view, 1)), 0);
	vm_assert_entries_of(&view, vm, HUGE_PUD);
}

static const struct subtest subtests[] = {
	{ "dirty-%s", "Exactly the pages that were written to", ON_VTTM(test_dirty, places) },
	{ "dirty-while-writing", "Nothing written is missed", test_while_writing, .on = is_vttm },
	{ "dirty-while-starting-%s", "Tracking begins while threads write",
	  ON_VTTM(test_while_starting, sizes) },
	{ "guest", "A virtual machine writes", test_guest, .on = is_vttm },
};

int igt_main()
{
	run_test(subtests);
}
