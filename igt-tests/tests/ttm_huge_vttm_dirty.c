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

#include "vttm_ops.h"

IGT_TEST_DESCRIPTION("Huge page-table entries and tracking of writes");

/* Bitmaps have room for all pages of the objects here. */
#define WORDS	32

static void track(const struct view *view, uint32_t op)
{
	igt_assert_eq(vttm_dirty(view->bo, op, NULL), 0);
}

static bool is_set(const uint64_t *bitmap, uint64_t page)
{
	return bitmap[page / 64] >> page % 64 & 1;
}

/* Asserts that just the pages in @expected are dirty. */
static void assert_dirty(const struct view *view, uint32_t op, const uint64_t *expected)
{
	uint64_t found[WORDS], pages = view->bo->size / BO_PTE_SIZE, page;
	int ret;

	memset(found, 0xff, sizeof(found));
	ret = vttm_dirty(view->bo, op, found);
	view_assert(view, !ret, "dirty pages cannot be read: %s", strerror(-ret));
	for (page = 0; page < pages && is_set(found, page) == is_set(expected, page);)
		page++;
	view_assert_at(view, page * BO_PTE_SIZE, page == pages, "page is %s",
		       is_set(expected, page) ? "clean, expected dirty" : "dirty, expected clean");
	/* Nor is there anything behind the end. */
	if (pages % 64)
		igt_assert_eq_u64(found[pages / 64] >> pages % 64, 0);
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

/**
 * SUBTEST: dirty-%s
 * Description: With an object in %arg[1] tracked, the pages that were written to, by any mapping of
 *              any process, are dirty and no others. No entry is huge meanwhile; afterwards they
 *              are again.
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
	struct view view = vttm_new_view(target, .size = 6 * MiB + 12 * KiB,
					 .domains = VRAM | SYSTEM);
	struct view other = map_whole(target, view.bo, PROT_READ | PROT_WRITE);
	uint64_t none[WORDS] = { 0 }, *expected;
	unsigned int random = 1;

	/* A child adds to it. */
	expected = mmap(NULL, sizeof(none), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
			-1, 0);
	igt_assert(expected != MAP_FAILED);
	require_room_outside(target, view.length);
	move_to(&view, place->domain);

	/* What is mapped and written before does not count. */
	fill(&view, BO_EVERY_PAGE, 1);
	assert_entries_in(&view, place->domain);
	track(&view, DRM_VTTM_DIRTY_START);
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
		igt_fork(child, 1)
			write_pages(&view, &random, expected);
		igt_waitchildren();
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

	write_pages(&view, &random, expected);
	track(&view, DRM_VTTM_DIRTY_START);
	assert_dirty(&view, DRM_VTTM_DIRTY_READ, none);
	track(&view, DRM_VTTM_DIRTY_STOP);
	igt_assert_eq(vttm_dirty(view.bo, DRM_VTTM_DIRTY_READ, expected), -EINVAL);
	assert_entries_in(&view, place->domain);
	munmap(expected, sizeof(none));
}

struct writer {
	pthread_t thread;
	const struct view *view;
	unsigned int random;
	uint64_t *written;
};

static void *write_in_thread(void *arg)
{
	struct writer *writer = arg;

	for (int i = 0; i < 200; i++) {
		write_pages(writer->view, &writer->random, writer->written);
		sched_yield();
	}
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
static void test_dirty_while_writing(const struct target *target)
{
	struct view view = vttm_new_view(target, .size = 4 * MiB, .domains = VRAM);
	struct view half = sub_view(&view, 0, view.length / 2);
	uint64_t seen[WORDS] = { 0 }, written[WORDS] = { 0 };
	struct writer writers[3];

	touch(&view, false);
	track(&view, DRM_VTTM_DIRTY_START);
	for (size_t i = 0; i < ARRAY_SIZE(writers); i++) {
		writers[i] = (struct writer){ .view = &half, .random = i, .written = written };
		igt_assert_eq(pthread_create(&writers[i].thread, NULL, write_in_thread,
					     &writers[i]), 0);
	}
	for (int i = 0; i < 50; i++) {
		collect(&view, seen);
		usleep(2000);
	}
	for (size_t i = 0; i < ARRAY_SIZE(writers); i++)
		pthread_join(writers[i].thread, NULL);
	collect(&view, seen);
	for (int w = 0; w < WORDS; w++)
		view_assert_at(&view, w * 64 * BO_PTE_SIZE, seen[w] == written[w],
			       "dirty were %#" PRIx64 ", written to were %#" PRIx64 " of 64 pages",
			       seen[w], written[w]);
}

static const struct subtest subtests[] = {
	{ "dirty-%s", "Exactly the pages that were written to",
	  .on = is_vttm, .test_member = test_dirty, FAMILY(places) },
	{ "dirty-while-writing", "Nothing written is missed",
	  test_dirty_while_writing, .on = is_vttm },
};

int igt_main()
{
	run_test(subtests);
}
