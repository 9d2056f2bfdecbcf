// SPDX-License-Identifier: MIT
/**
 * TEST: ttm huge map
 * Category: Core
 * Mega feature: General Core features
 * Sub-category: Memory management tests
 * Functionality: mmap
 * Description: Buffer objects of TTM drivers are mapped with the largest page-table entries that
 *              fit, and nothing but speed tells them from 4 KiB entries.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/mman.h>

#include "ttm_huge.h"

IGT_TEST_DESCRIPTION("Huge page-table entries for mappings of TTM buffer objects");

static const struct {
	const char *name;
	uint64_t size;
} sizes[] = {
	{ "4k", 4 * KiB },
	{ "2m-minus-4k", 2 * MiB - 4 * KiB },
	{ "2m", 2 * MiB },
	{ "2m-plus-4k", 2 * MiB + 4 * KiB },
	{ "4m-minus-4k", 4 * MiB - 4 * KiB },
	{ "4m", 4 * MiB },
	{ "4m-plus-4k", 4 * MiB + 4 * KiB },
	{ "32m", 32 * MiB },
	{ "1g-minus-2m", 1 * GiB - 2 * MiB },
	{ "1g-minus-4k", 1 * GiB - 4 * KiB },
	{ "1g", 1 * GiB },
	{ "1g-plus-4k", 1 * GiB + 4 * KiB },
	{ "1g-plus-2m", 1 * GiB + 2 * MiB },
};

static void assert_same_cache_mode(const struct view *a, const struct view *b)
{
	struct bo_levels la, lb;

	igt_assert_eq(bo_levels(a->addr, a->length, &la), 0);
	igt_assert_eq(bo_levels(b->addr, b->length, &lb), 0);
	igt_assert_f(!strcmp(la.cache, lb.cache),
		     "%s: object of %" PRIu64
		     " KiB: cache mode %s in huge entries, %s in 4 KiB entries\n",
		     a->target->name, a->bo->size / KiB, la.cache, lb.cache);
}

/**
 * SUBTEST: size-%s
 * Description: Objects of %arg[1] get an entry of 1 GiB or 2 MiB wherever one fits and 4 KiB
 *              entries elsewhere. What is written through them is read through a 4 KiB mapping of
 *              the same object and by the driver, and the other way round. The cache mode is the
 *              same at every level.
 *
 * arg[1]:
 *
 * @4k:			4 KiB
 * @2m-minus-4k:	2 MiB - 4 KiB
 * @2m:			2 MiB
 * @2m-plus-4k:		2 MiB + 4 KiB
 * @4m-minus-4k:	4 MiB - 4 KiB (4 MiB: the largest piece of TTM's page pool)
 * @4m:			4 MiB
 * @4m-plus-4k:		4 MiB + 4 KiB
 * @32m:		32 MiB
 * @1g-minus-2m:	1 GiB - 2 MiB
 * @1g-minus-4k:	1 GiB - 4 KiB
 * @1g:			1 GiB
 * @1g-plus-4k:		1 GiB + 4 KiB
 * @1g-plus-2m:		1 GiB + 2 MiB
 */
static void test_size(const struct target *target, uint64_t size)
{
	struct bo bo = target_bo(target, size);
	struct view huge = map_whole(target, &bo, PROT_READ | PROT_WRITE);
	struct view small = map_4k(target, &bo), huge_end = huge, small_end = small;
	uint64_t step = view_step(&huge), write_step = step;

	/* Every byte where that is quick; every page of the end, whose entries are smaller. */
	if (size <= 4 * MiB)
		write_step = BO_EVERY_WORD;
	if (size > LARGE_VIEW) {
		huge_end = sub_view(&huge, size - 4 * MiB, 4 * MiB);
		small_end = sub_view(&small, size - 4 * MiB, 4 * MiB);
	}

	touch(&huge, true);
	assert_levels(&huge, HUGE_PUD);

	fill(&huge, write_step, 1);
	fill(&huge_end, BO_EVERY_PAGE, 1);
	assert_contents(&small, write_step, 1);
	assert_contents(&small_end, BO_EVERY_PAGE, 1);
	assert_no_huge(&small);
	assert_same_cache_mode(&huge, &small);
	assert_contents_read(target, &bo, step, 1);

	fill(&small, write_step, 2);
	fill(&small_end, BO_EVERY_PAGE, 2);
	assert_contents(&huge, write_step, 2);
	assert_contents(&huge_end, BO_EVERY_PAGE, 2);
	assert_contents_read(target, &bo, step, 2);

	/* None of that has changed a level. */
	assert_levels(&huge, HUGE_PUD);
	assert_no_huge(&small);
}

/* Faults of a write to every page of @view */
static uint64_t count_faults(const struct view *view)
{
	uint64_t before = bo_faults();

	for (uint64_t o = 0; o < view->length; o += BO_PTE_SIZE)
		((volatile char *)view->addr)[o] = 1;
	return bo_faults() - before;
}

/**
 * SUBTEST: fault-count
 * Description: One fault maps all of an object in VRAM, at every level at once, or each of the
 *              pieces that it is in. In system memory it takes at most one for each huge entry, and
 *              one for 16 pages of the rest.
 */
static void test_fault_count(const struct target *target)
{
	struct bo bo = target_bo(target, size_of_all_levels(target));
	struct view view = map_whole(target, &bo, PROT_READ | PROT_WRITE);
	uint64_t faults = count_faults(&view), most, place;
	struct bo_levels levels;
	size_t pieces;

	assert_levels(&view, HUGE_PUD);
	igt_assert_eq(bo_levels(view.addr, view.length, &levels), 0);
	if (target->placement == BO_VRAM) {
		igt_assert_eq(bo_vram_place(&bo, &place, &pieces), 0);
		most = pieces;
	} else {
		most = levels.pud + levels.pmd + (levels.pte + 15) / 16;
	}
	igt_assert_f(faults <= most,
		     "%s: object of %" PRIu64 " KiB: %" PRIu64 " faults, expected at most %" PRIu64
		     " (%" PRIu64 " pud, %" PRIu64 " pmd, %" PRIu64 " pte)\n",
		     target->name, bo.size / KiB, faults, most, levels.pud, levels.pmd, levels.pte);
}

/**
 * SUBTEST: fault-count-4k
 * Description: Where only 4 KiB entries fit, because of the switch or of the address, one fault
 *              fills a page table, if the memory is contiguous.
 */
static void test_fault_count_4k(const struct target *target)
{
	const uint64_t size = 8 * MiB;
	struct bo bo = target_bo(target, size);
	struct view view = map_whole(target, &bo, PROT_READ | PROT_WRITE);
	uint64_t faults;

	igt_require_f(target->placement == BO_VRAM, "%s: is in pieces\n", target->name);

	set_huge_faults(HUGE_NONE);
	faults = count_faults(&view);
	assert_levels(&view, HUGE_NONE);
	igt_assert_f(faults == size / BO_PMD_SIZE,
		     "%s: switch at 0: %" PRIu64 " faults for %" PRIu64 " page tables\n",
		     target->name, faults, size / BO_PMD_SIZE);
	unmap(&view);

	set_huge_faults(HUGE_PUD);
	view = map_part(target, &bo, 0, free_address(size, BO_PMD_SIZE, BO_PTE_SIZE), size,
			PROT_READ | PROT_WRITE, MAP_FIXED_NOREPLACE | MAP_SHARED);
	faults = count_faults(&view);
	assert_level(&view, 0, size, BO_PTE);
	igt_assert_f(faults == size / BO_PMD_SIZE + 1,
		     "%s: misaligned: %" PRIu64 " faults for %" PRIu64 " page tables\n",
		     target->name, faults, size / BO_PMD_SIZE + 1);
}

/**
 * SUBTEST: switch-%d
 * Description: With ttm.huge_faults=%arg[1], entries are no larger than that allows, and as large
 *              as that where they fit.
 *
 * arg[1]:
 *
 * @0:	4 KiB only
 * @1:	up to 2 MiB
 * @2:	up to 1 GiB
 */
static void test_switch(const struct target *target, int value)
{
	struct bo bo = target_bo(target, size_of_all_levels(target));
	struct view view = map_whole(target, &bo, PROT_READ | PROT_WRITE);
	uint64_t step = view_step(&view);

	set_huge_faults(value);
	touch(&view, true);
	assert_levels(&view, value);
	fill(&view, step, 1);
	assert_contents_read(target, &bo, step, 1);
}

/**
 * SUBTEST: switch-change
 * Description: The switch decides about faults from then on: entries that are there stay valid, and
 *              a new mapping follows the new value.
 */
static void test_switch_change(const struct target *target)
{
	struct bo bo = target_bo(target, size_of_all_levels(target));
	struct view old, new;
	uint64_t step;

	old = map_whole(target, &bo, PROT_READ | PROT_WRITE);
	step = view_step(&old);
	touch(&old, true);
	fill(&old, step, 1);

	for (int value = HUGE_NONE; value <= HUGE_PUD; value++) {
		set_huge_faults(value);
		touch(&old, false);
		assert_levels(&old, HUGE_PUD);
		assert_contents(&old, step, 1);

		new = map_whole(target, &bo, PROT_READ | PROT_WRITE);
		touch(&new, false);
		assert_levels(&new, value);
		assert_contents(&new, step, 1);
		unmap(&new);
	}
}

/**
 * SUBTEST: switch-invalid
 * Description: Other values than 0, 1 and 2 are refused and change nothing.
 */
static void test_switch_invalid(void)
{
	static const char * const values[] = { "3", "-1", "x", "2x", "1.5", "256", "4294967296" };

	for (int before = HUGE_NONE; before <= HUGE_PUD; before++) {
		set_huge_faults(before);
		for (size_t i = 0; i < ARRAY_SIZE(values); i++) {
			int fd = open(BO_HUGE_FAULTS, O_WRONLY | O_CLOEXEC), after;
			ssize_t ret;

			igt_assert_fd(fd);
			ret = write(fd, values[i], strlen(values[i]));
			close(fd);
			after = bo_get_huge_faults();
			igt_assert_f(ret < 0 && after == before,
				     "ttm.huge_faults was %d, \"%s\" was %s, now it is %d\n",
				     before, values[i], ret < 0 ? "refused" : "accepted", after);
		}
	}
}

/**
 * SUBTEST: nohugepage
 * Description: A mapping with MADV_NOHUGEPAGE gets 4 KiB entries whatever the switch says, and no
 *              other mapping does, even if it is a part of the same mmap() call.
 */
static void test_nohugepage(const struct target *target)
{
	struct bo bo = target_bo(target, 8 * MiB);
	struct view view, half;

	view = map_whole(target, &bo, PROT_READ | PROT_WRITE);
	igt_assert_eq(madvise(view.addr, view.length, MADV_NOHUGEPAGE), 0);
	touch(&view, true);
	assert_levels(&view, HUGE_NONE);
	unmap(&view);

	view = map_whole(target, &bo, PROT_READ | PROT_WRITE);
	igt_assert_eq(madvise(view.addr, view.length / 2, MADV_NOHUGEPAGE), 0);
	touch(&view, true);
	half = sub_view(&view, 0, view.length / 2);
	assert_levels(&half, HUGE_NONE);
	half = sub_view(&view, view.length / 2, view.length / 2);
	assert_levels(&half, HUGE_PUD);
}

static void assert_signal(const struct view *view, uint64_t offset, int found, int expected,
			  const char *what)
{
	igt_assert_f(found == expected,
		     "%s: object of %" PRIu64 " KiB, offset %#" PRIx64 ": %s %s, expected %s\n",
		     view->target->name, view->bo->size / KiB, offset, what,
		     found ? strsignal(found) : "works",
		     expected ? strsignal(expected) : "no signal");
}

/* One place in every kind of entry. */
static void assert_writes(const struct view *view, int expected, const char *what)
{
	const uint64_t offsets[] = {
		0,
		view->length / 2 & ~(BO_PTE_SIZE - 1),
		view->length - BO_PMD_SIZE - BO_PTE_SIZE,
		view->length - BO_PTE_SIZE,
	};

	for (size_t i = 0; i < ARRAY_SIZE(offsets); i++) {
		int sig = signal_of_write(view->addr + offsets[i]);

		assert_signal(view, view->first + offsets[i], sig, expected, what);
	}
}

/**
 * SUBTEST: read-only
 * Description: A mapping without PROT_WRITE never has a writable entry, at any level, in the
 *              process that made it or in a child, and writing raises SIGSEGV. mprotect() allows
 *              writing and takes it away again, without the entries getting smaller.
 */
static void test_read_only(const struct target *target)
{
	struct bo bo = target_bo(target, size_of_all_levels(target));
	struct view small = map_4k(target, &bo), view;
	uint64_t step;

	view = map_whole(target, &bo, PROT_READ);
	step = view_step(&view);
	fill(&small, step, 1);

	/* A write that comes first must not leave an entry either. */
	assert_writes(&view, SIGSEGV, "writing before any entry is there");
	assert_read_only(&view);

	touch(&view, false);
	assert_levels(&view, HUGE_PUD);
	assert_read_only(&view);
	assert_writes(&view, SIGSEGV, "writing read-only memory");
	assert_read_only(&view);
	assert_levels(&view, HUGE_PUD);

	igt_fork(child, 1) {
		assert_read_only(&view);
		assert_writes(&view, SIGSEGV, "writing read-only memory in a child");
		touch(&view, false);
		assert_levels(&view, HUGE_PUD);
		assert_read_only(&view);
		assert_contents(&view, step, 1);
	}
	igt_waitchildren();
	assert_contents(&small, step, 1);

	igt_assert_eq(mprotect(view.addr, view.length, PROT_READ | PROT_WRITE), 0);
	assert_writes(&view, 0, "writing after mprotect(PROT_READ | PROT_WRITE)");
	touch(&view, false);
	assert_levels(&view, HUGE_PUD);
	fill(&view, step, 2);
	assert_contents(&small, step, 2);

	igt_assert_eq(mprotect(view.addr, view.length, PROT_READ), 0);
	assert_read_only(&view);
	assert_writes(&view, SIGSEGV, "writing after mprotect(PROT_READ)");
	assert_read_only(&view);
	assert_contents(&view, step, 2);
}

/**
 * SUBTEST: beside-huge
 * Description: A 4 KiB fault right below a huge entry, whose prefault would run into it, and one
 *              right above leave the huge entry as it is; what they map is right.
 */
static void test_beside_huge(const struct target *target)
{
	/*
	 * Two steps on each side of the block in the middle: a fault may fill as much as is
	 * contiguous, so what is mapped where is only known after looking.
	 */
	static const struct {
		const char *what;
		bool table_first;	/* a few 4 KiB entries there before the huge one */
	} ways[] = {
		{ "next to nothing", false },
		{ "next to 4 KiB entries", true },
	};
	const uint64_t size = 12 * MiB, middle = 4 * MiB, end = 8 * MiB;
	struct bo bo = target_bo(target, size);
	struct view small = map_4k(target, &bo);
	int tried = 0;

	fill(&small, BO_EVERY_PAGE, 1);
	for (size_t i = 0; i < ARRAY_SIZE(ways); i++) {
		struct view view = map_whole(target, &bo, PROT_READ | PROT_WRITE);
		struct view block = sub_view(&view, middle, end - middle), below, above;

		if (ways[i].table_first) {
			set_huge_faults(HUGE_NONE);
			(void)*(volatile char *)(view.addr + middle - 2 * MiB);
			(void)*(volatile char *)(view.addr + end + 1 * MiB);
		}
		set_huge_faults(HUGE_PUD);
		touch(&block, false);
		assert_level(&view, middle, end - middle, BO_PMD);

		set_huge_faults(HUGE_NONE);
		below = sub_view(&view, middle - 8 * BO_PTE_SIZE, 8 * BO_PTE_SIZE);
		above = sub_view(&view, end, 8 * BO_PTE_SIZE);
		for (size_t j = 0; j < 2; j++) {
			struct view *side = j ? &above : &below;
			struct bo_levels levels;

			igt_assert_eq(bo_levels(side->addr, side->length, &levels), 0);
			tried += !levels.mapped;
			assert_contents(side, BO_EVERY_PAGE, 1);
			assert_level(&view, middle, end - middle, BO_PMD);
		}
		set_huge_faults(HUGE_PUD);
		touch(&view, false);
		assert_level(&view, middle, end - middle, BO_PMD);
		assert_contents(&view, BO_EVERY_PAGE, 1);
		fill(&view, BO_EVERY_PAGE, 2);
		assert_contents(&small, BO_EVERY_PAGE, 2);
		fill(&small, BO_EVERY_PAGE, 1);
		unmap(&view);
		igt_debug("%s: %s: 4 KiB faults so far: %d\n", target->name, ways[i].what, tried);
	}
	assert_no_kernel_warning(target);
	igt_require_f(tried, "%s: the first fault maps everything: nothing is left beside it\n",
		      target->name);
}

/**
 * SUBTEST: above-pud
 * Description: 4 KiB faults in the 2 MiB above a 1 GiB entry, before it is there and after.
 */
static void test_above_pud(const struct target *target)
{
	struct bo bo = target_bo(target, 1 * GiB + 2 * MiB + 4 * KiB);

	for (int tail_first = 0; tail_first <= 1; tail_first++) {
		struct view view = map_whole(target, &bo, PROT_READ | PROT_WRITE);
		struct view tail = sub_view(&view, 1 * GiB, 2 * MiB + 4 * KiB);
		struct view head = sub_view(&view, 0, 1 * GiB);

		set_huge_faults(tail_first ? HUGE_NONE : HUGE_PUD);
		if (tail_first)
			touch(&tail, true);
		set_huge_faults(HUGE_PUD);
		*(volatile char *)(view.addr + 512 * MiB) = 1;
		assert_level(&view, 0, 1 * GiB, BO_PUD);
		if (tail_first)
			assert_level(&view, 1 * GiB, tail.length, BO_PTE);

		set_huge_faults(HUGE_NONE);
		touch(&tail, true);
		assert_level(&view, 0, 1 * GiB, BO_PUD);
		fill(&tail, BO_EVERY_PAGE, tail_first);
		fill(&head, BO_EVERY_BLOCK, tail_first);
		unmap(&view);

		view = map_4k(target, &bo);
		tail = sub_view(&view, tail.first, tail.length);
		head = sub_view(&view, head.first, head.length);
		assert_contents(&tail, BO_EVERY_PAGE, tail_first);
		assert_contents(&head, BO_EVERY_BLOCK, tail_first);
		unmap(&view);
	}
	assert_no_kernel_warning(target);
}

/* An object that starts in VRAM at no multiple of 1 GiB, but has all of one such GiB in it. */
static struct bo straddling_bo(const struct target *target, uint64_t *base)
{
	const uint64_t size = 1448 * MiB, filler_sizes[] = {
		600 * MiB, size / 2, size / 2, 2 * MiB
	};
	struct bo fillers[ARRAY_SIZE(filler_sizes)], bo;
	uint64_t below;
	size_t pieces;

	/*
	 * Leaves free [600 MiB, 2 GiB), just as much as it needs, and what is above
	 * 2 GiB + 2 MiB: there is no room for it at any multiple of 1 GiB.
	 */
	igt_require_f(bo_vram_size(target->fd) == 4 * GiB,
		      "%s: %" PRIu64 " MiB of VRAM, made for 4096 MiB\n", target->name,
		      bo_vram_size(target->fd) / MiB);
	for (size_t i = 0; i < ARRAY_SIZE(fillers); i++)
		fillers[i] = target_bo(target, filler_sizes[i]);
	bo_destroy(&fillers[1]);
	bo_destroy(&fillers[2]);
	bo = target_bo(target, size);

	igt_assert_eq(bo_vram_place(&bo, base, &pieces), 0);
	below = BO_PUD_SIZE - *base % BO_PUD_SIZE;
	igt_require_f(*base % BO_PUD_SIZE && below + BO_PUD_SIZE <= size,
		      "%s: the object went to %#" PRIx64 ", which is no use here\n", target->name,
		      *base);
	return bo;
}

/**
 * SUBTEST: below-pud
 * Description: A 4 KiB fault right below a 1 GiB entry of the same mapping, whose prefault would
 *              run into it, leaves it as it is.
 */
static void test_below_pud(const struct target *target)
{
	uint64_t base, pud;
	struct bo bo = straddling_bo(target, &base);
	struct view small = map_4k(target, &bo), view, below;

	/* Where addresses are congruent to those of the memory, if not to offsets in the object. */
	view = map_part(target, &bo, 0, free_address(bo.size, BO_PUD_SIZE, base), bo.size,
			PROT_READ | PROT_WRITE, MAP_FIXED_NOREPLACE | MAP_SHARED);
	pud = BO_PUD_SIZE - base % BO_PUD_SIZE;
	fill(&small, BO_EVERY_BLOCK, 1);
	below = sub_view(&small, pud - 8 * BO_PTE_SIZE, 8 * BO_PTE_SIZE);
	fill(&below, BO_EVERY_PAGE, 1);

	(void)*(volatile char *)(view.addr + pud + BO_PUD_SIZE / 2);
	assert_level(&view, pud, BO_PUD_SIZE, BO_PUD);

	set_huge_faults(HUGE_NONE);
	below = sub_view(&view, below.first, below.length);
	assert_contents(&below, BO_EVERY_PAGE, 1);
	assert_level(&view, pud, BO_PUD_SIZE, BO_PUD);
	assert_contents(&view, BO_EVERY_BLOCK, 1);
	assert_level(&view, pud, BO_PUD_SIZE, BO_PUD);
	assert_no_kernel_warning(target);
}

/*
 * Threads
 */

struct toucher {
	pthread_t thread;
	const struct target *target;
	const struct bo *bo;
	char *addr;		/* of a mapping shared with others, or NULL: one of its own */
	size_t length;
	pthread_barrier_t *barrier;
	unsigned int seed;
	int rounds;		/* with a mapping of its own */
	int64_t wrong;		/* offset with the wrong contents, -1 for none */
	int error;
};

/* Pages in an order of the thread's own, so that threads meet at different places. */
static void touch_some(struct toucher *t, volatile char *addr)
{
	uint64_t pages = t->length / BO_PTE_SIZE;

	for (int i = 0; i < 32 && t->wrong < 0; i++) {
		uint64_t offset = (rand_r(&t->seed) % pages) * BO_PTE_SIZE;
		volatile uint64_t *word = (volatile uint64_t *)(addr + offset);

		if (*word != bo_pattern(1, offset))
			t->wrong = offset;
		/* The same value: others are checking it. */
		if (i % 2)
			*word = bo_pattern(1, offset);
	}
}

static void *touch_shared(void *arg)
{
	struct toucher *t = arg;

	pthread_barrier_wait(t->barrier);
	touch_some(t, t->addr);
	return NULL;
}

static void *touch_own(void *arg)
{
	struct toucher *t = arg;

	pthread_barrier_wait(t->barrier);
	for (int i = 0; i < t->rounds && t->wrong < 0 && !t->error; i++) {
		void *addr = bo_map(t->bo, NULL, t->length, PROT_READ | PROT_WRITE, 0);

		if (addr == MAP_FAILED) {
			t->error = errno;
			break;
		}
		touch_some(t, addr);
		munmap(addr, t->length);
	}
	return NULL;
}

static void start_touchers(struct toucher *touchers, int count, const struct toucher *template,
			   void *(*body)(void *))
{
	for (int i = 0; i < count; i++) {
		touchers[i] = *template;
		touchers[i].seed = template->seed + i;
		touchers[i].wrong = -1;
		igt_assert_eq(pthread_create(&touchers[i].thread, NULL, body, &touchers[i]), 0);
	}
}

static void join_touchers(struct toucher *touchers, int count)
{
	for (int i = 0; i < count; i++)
		pthread_join(touchers[i].thread, NULL);
	for (int i = 0; i < count; i++) {
		const struct toucher *t = &touchers[i];

		igt_assert_f(!t->error, "%s: mmap: %s\n", t->target->name, strerror(t->error));
		igt_assert_f(t->wrong < 0,
			     "%s: object of %" PRIu64 " KiB, offset %#" PRIx64
			     ": wrong contents in one of several threads\n",
			     t->target->name, t->bo->size / KiB, t->wrong);
	}
}

/* The first word of each page, which is what touch_some() looks at. */
static void fill_for_threads(const struct view *view)
{
	bo_fill(view->addr, 0, view->length, BO_PTE_SIZE, 1);
}

#define THREADS	4

/**
 * SUBTEST: racing-faults
 * Description: Threads that fault in the same mapping while the switch changes under them get
 *              entries of different levels into each other's way. All of them see the right
 *              contents, each slot holds one level, and the kernel does not warn.
 */
static void test_racing_faults(const struct target *target)
{
	struct bo bo = target_bo(target, 8 * MiB);
	struct view small = map_4k(target, &bo);
	struct toucher touchers[THREADS];
	pthread_barrier_t barrier;

	fill_for_threads(&small);
	pthread_barrier_init(&barrier, NULL, THREADS + 1);
	for (int round = 0; round < 20; round++) {
		struct view view = map_whole(target, &bo, PROT_READ | PROT_WRITE);
		const struct toucher template = {
			.target = target,
			.bo = &bo,
			.addr = view.addr,
			.length = view.length,
			.barrier = &barrier,
			.seed = round * THREADS,
		};

		set_huge_faults(HUGE_NONE);
		start_touchers(touchers, THREADS, &template, touch_shared);
		pthread_barrier_wait(&barrier);
		for (int i = 0; i < 4; i++)
			bo_set_huge_faults(i % 2 ? HUGE_NONE : HUGE_PUD);
		join_touchers(touchers, THREADS);

		/* The rest of each slot, at whatever level is there. */
		touch(&view, true);
		bo_fill(view.addr, 0, view.length, BO_PTE_SIZE, 1);
		for (uint64_t o = 0; o < bo.size; o += BO_PMD_SIZE) {
			struct bo_levels levels;

			igt_assert_eq(bo_levels(view.addr + o, BO_PMD_SIZE, &levels), 0);
			igt_assert_f(levels.pmd == 1 ? levels.pte == 0 : levels.pte == 512,
				     "%s: object of %" PRIu64 " KiB, offset %#" PRIx64
				     ": found %" PRIu64 " pmd and %" PRIu64
				     " pte, expected 1 pmd or 512 pte\n",
				     target->name, bo.size / KiB, o, levels.pmd, levels.pte);
			if (round % 5)
				break;	/* ptdump is slow */
		}
		unmap(&view);
	}
	pthread_barrier_destroy(&barrier);
	assert_no_kernel_warning(target);
}

struct reserver {
	pthread_t thread;
	const struct bo *bo;
	char *addr;
	pthread_barrier_t *barrier;
	bool stop;
	uint64_t count;
};

/*
 * Makes the driver lock the object again and again: vm_ops->access does, also where it then has
 * no way to read VRAM.
 */
static void *reserve_in_loop(void *arg)
{
	struct reserver *r = arg;
	char page[BO_PTE_SIZE];
	int fd = open("/proc/self/mem", O_RDONLY | O_CLOEXEC);

	pthread_barrier_wait(r->barrier);
	while (!__atomic_load_n(&r->stop, __ATOMIC_RELAXED)) {
		if (pread(fd, page, sizeof(page), (uintptr_t)r->addr) < 0 && errno != EIO)
			break;
		/* Where the driver has an ioctl() that holds the lock for longer. */
		bo_hold(r->bo);
		r->count++;
	}
	close(fd);
	return NULL;
}

/**
 * SUBTEST: reserved-faults
 * Description: Threads that fault while others hold the object's lock wait for it, without the
 *              locks that they came with, and end up with the right page.
 */
static void test_reserved_faults(const struct target *target)
{
	struct bo bo = target_bo(target, size_of_all_levels(target));
	struct view small = map_4k(target, &bo);
	struct toucher touchers[THREADS];
	pthread_barrier_t barrier;
	struct reserver reserver = {
		.bo = &bo,
		.addr = small.addr,
		.barrier = &barrier,
	};
	const struct toucher template = {
		.target = target,
		.bo = &bo,
		/* Not the whole of a large object: most of it is never written here. */
		.length = 4 * MiB,
		.barrier = &barrier,
		.seed = 1,
		.rounds = 100,
	};

	small = sub_view(&small, 0, template.length);
	fill_for_threads(&small);

	pthread_barrier_init(&barrier, NULL, THREADS + 1);
	igt_assert_eq(pthread_create(&reserver.thread, NULL, reserve_in_loop, &reserver), 0);
	start_touchers(touchers, THREADS, &template, touch_own);
	for (int i = 0; i < THREADS; i++)
		pthread_join(touchers[i].thread, NULL);
	__atomic_store_n(&reserver.stop, true, __ATOMIC_RELAXED);
	pthread_join(reserver.thread, NULL);
	pthread_barrier_destroy(&barrier);

	for (int i = 0; i < THREADS; i++) {
		igt_assert_f(!touchers[i].error, "%s: mmap: %s\n", target->name,
			     strerror(touchers[i].error));
		igt_assert_f(touchers[i].wrong < 0,
			     "%s: object of %" PRIu64 " KiB, offset %#" PRIx64
			     ": wrong contents in one of several threads\n",
			     target->name, bo.size / KiB, touchers[i].wrong);
	}
	igt_assert_f(reserver.count, "%s: the object was never locked by another thread\n",
		     target->name);
	assert_no_kernel_warning(target);
}

int igt_main()
{
	struct target *target;

	igt_fixture()
		ttm_huge_init();

	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		igt_describe("Entries are as large as fits, contents agree with 4 KiB entries");
		igt_subtest_with_dynamic_f("size-%s", sizes[i].name)
			/* 1 GiB is a boundary in VRAM only, and slow to fill elsewhere. */
			igt_dynamic_targets_if(target, target->placement == BO_VRAM ||
							       sizes[i].size <= LARGE_VIEW)
				test_size(target, sizes[i].size);
	}

	igt_describe("Faults are as few as the entries allow");
	igt_subtest_with_dynamic("fault-count")
		igt_dynamic_targets(target)
			test_fault_count(target);

	igt_describe("Faults of an object that only 4 KiB entries fit");
	igt_subtest_with_dynamic("fault-count-4k")
		igt_dynamic_targets(target)
			test_fault_count_4k(target);

	for (int value = HUGE_NONE; value <= HUGE_PUD; value++) {
		igt_describe("ttm.huge_faults limits the level");
		igt_subtest_with_dynamic_f("switch-%d", value)
			igt_dynamic_targets(target)
				test_switch(target, value);
	}

	igt_describe("ttm.huge_faults changes what comes, not what is there");
	igt_subtest_with_dynamic("switch-change")
		igt_dynamic_targets(target)
			test_switch_change(target);

	igt_describe("ttm.huge_faults refuses what it does not know");
	igt_subtest("switch-invalid")
		test_switch_invalid();

	igt_describe("MADV_NOHUGEPAGE means 4 KiB entries");
	igt_subtest_with_dynamic("nohugepage")
		igt_dynamic_targets(target)
			test_nohugepage(target);

	igt_describe("No writable entry in a read-only mapping");
	igt_subtest_with_dynamic("read-only")
		igt_dynamic_targets(target)
			test_read_only(target);

	igt_describe("4 KiB faults next to 2 MiB entries");
	igt_subtest_with_dynamic("beside-huge")
		igt_dynamic_targets(target)
			test_beside_huge(target);

	igt_describe("4 KiB faults next to a 1 GiB entry");
	igt_subtest_with_dynamic("above-pud")
		igt_dynamic_targets_if(target, target->placement == BO_VRAM)
			test_above_pud(target);

	igt_describe("4 KiB faults right below a 1 GiB entry");
	igt_subtest_with_dynamic("below-pud")
		igt_dynamic_targets_if(target, target->placement == BO_VRAM)
			test_below_pud(target);

	igt_describe("Threads fault in one mapping at different levels");
	igt_subtest_with_dynamic("racing-faults")
		igt_dynamic_targets(target)
			test_racing_faults(target);

	igt_describe("Threads fault while the object is locked");
	igt_subtest_with_dynamic("reserved-faults")
		igt_dynamic_targets(target)
			test_reserved_faults(target);

	igt_fixture()
		ttm_huge_fini();
}
