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
#define _GNU_SOURCE 1
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/mman.h>

#include "igt_thread.h"
#include "ttm_huge.h"

IGT_TEST_DESCRIPTION("Huge page-table entries for mappings of TTM buffer objects");

/* The names are those with pages of 4 KiB. With others, it is the same number of entries. */
static const struct named_size sizes[] = {
	{ "4k", BO_PTE_SIZE },
	{ "2m-minus-4k", BO_PMD_SIZE - BO_PTE_SIZE },
	{ "2m", BO_PMD_SIZE },
	{ "2m-plus-4k", BO_PMD_SIZE + BO_PTE_SIZE },
	{ "4m-minus-4k", 2 * BO_PMD_SIZE - BO_PTE_SIZE },
	{ "4m", 2 * BO_PMD_SIZE },
	{ "4m-plus-4k", 2 * BO_PMD_SIZE + BO_PTE_SIZE },
	{ "32m", 16 * BO_PMD_SIZE },
	{ "1g-minus-2m", BO_PUD_SIZE - BO_PMD_SIZE },
	{ "1g-minus-4k", BO_PUD_SIZE - BO_PTE_SIZE },
	{ "1g", BO_PUD_SIZE },
	{ "1g-plus-4k", BO_PUD_SIZE + BO_PTE_SIZE },
	{ "1g-plus-2m", BO_PUD_SIZE + BO_PMD_SIZE },
};

/* 1 GiB is a boundary in VRAM only, and slow to fill elsewhere. */
static bool is_worthwhile(const struct target *target, const void *member)
{
	return on_vram(target) || member_size(member) <= LARGE_VIEW;
}

/* What is written through one mapping is seen through the other, and by the driver. */
static void check_both(const struct view *from, const struct view *to, uint64_t seed)
{
	uint64_t size = from->length, last = size < 2 * BO_PMD_SIZE ? size : 2 * BO_PMD_SIZE;
	struct view from_end = sub_view(from, size - last, last);
	struct view to_end = sub_view(to, size - last, last);
	/* Every byte where that is quick; every page of the end, whose entries are smaller. */
	uint64_t step = size <= 4 * MiB ? BO_EVERY_WORD : view_step(from);

	fill(from, step, seed);
	fill(&from_end, BO_EVERY_PAGE, seed);
	assert_contents(to, step, seed);
	assert_contents(&to_end, BO_EVERY_PAGE, seed);
	assert_contents_read(to->target, to->bo, view_step(to), seed);
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
static void test_size(const struct target *target, const void *member)
{
	struct view huge = new_view(target, member_size(member)), small = map_4k(target, huge.bo);

	touch_levels(&huge, true, HUGE_PUD);
	check_both(&huge, &small, 1);
	assert_no_huge(&small);
	view_assert(&huge, !strcmp(levels_of(&huge).cache, levels_of(&small).cache),
		    "cache mode %s in huge entries, %s in 4 KiB entries", levels_of(&huge).cache,
		    levels_of(&small).cache);
	check_both(&small, &huge, 2);
	/* None of that has changed a level. */
	assert_levels(&huge, HUGE_PUD);
	assert_no_huge(&small);
}

/**
 * SUBTEST: fault-count
 * Description: One fault maps all of an object in VRAM, at every level at once, or each of the
 *              pieces that it is in. In system memory it takes at most one for each huge entry, and
 *              one for 16 pages of the rest.
 */
static void test_fault_count(const struct target *target)
{
	struct view view = new_view(target, size_of_all_levels(target));
	uint64_t faults = faults_of_touching(&view, true);
	struct bo_levels levels = levels_of(&view);
	size_t most = levels.pud + levels.pmd + (levels.pte + 15) / 16;

	assert_levels(&view, HUGE_PUD);
	if (on_vram(target))
		vram_address(target, view.bo, &most);
	view_assert(&view, faults <= most, "%" PRIu64 " faults, expected at most %zu (%" PRIu64
		    " pud, %" PRIu64 " pmd, %" PRIu64 " pte)", faults, most, levels.pud,
		    levels.pmd, levels.pte);
}

/**
 * SUBTEST: fault-count-system
 * Description: 1 GiB of system memory takes at most four faults, whatever places its pieces of 2 MiB
 *              are at.
 */
static void test_fault_count_system(const struct target *target)
{
	struct view view = new_view(target, BO_PUD_SIZE);
	uint64_t faults = faults_of_touching(&view, true);

	target_require(target, !levels_of(&view).pte, "some of it is in pieces of less than 2 MiB");
	view_assert(&view, faults <= 4, "%" PRIu64 " faults, expected at most 4", faults);
}

static void assert_faults(const struct view *view, const char *why, uint64_t page_tables)
{
	uint64_t faults = faults_of_touching(view, true);

	assert_level(view, 0, view->length, BO_PTE);
	view_assert(view, faults == page_tables, "%s: %" PRIu64 " faults for %" PRIu64
		    " page tables", why, faults, page_tables);
}

/**
 * SUBTEST: fault-count-4k
 * Description: Where only 4 KiB entries fit, because of the switch or of the address, one fault
 *              fills a page table, if the memory is contiguous.
 */
static void test_fault_count_4k(const struct target *target)
{
	struct view view = new_view(target, 4 * BO_PMD_SIZE);

	target_require(target, on_vram(target), "is in pieces");
	set_huge_faults(HUGE_NONE);
	assert_faults(&view, "switch at 0", view.length / BO_PMD_SIZE);
	unmap(&view);

	set_huge_faults(HUGE_PUD);
	view = map_at(target, view.bo, BO_PMD_SIZE, BO_PTE_SIZE);
	assert_faults(&view, "misaligned", view.length / BO_PMD_SIZE + 1);
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
static void test_switch(const struct target *target, const void *member)
{
	const struct switch_value *to = member;
	struct view view = new_view(target, size_of_all_levels(target));

	set_huge_faults(to->value);
	touch_levels(&view, true, to->value);
	fill(&view, view_step(&view), 1);
	assert_contents_read(target, view.bo, view_step(&view), 1);
}

/**
 * SUBTEST: switch-change
 * Description: The switch decides about faults from then on: entries that are there stay valid, and
 *              a new mapping follows the new value.
 */
static void test_switch_change(const struct target *target)
{
	struct view old = new_filled(target, size_of_all_levels(target), 1), new;

	for (int value = HUGE_NONE; value <= HUGE_PUD; value++) {
		set_huge_faults(value);
		check_view(&old, HUGE_PUD, view_step(&old), 1);

		new = map_whole(target, old.bo, PROT_READ | PROT_WRITE);
		check_view(&new, value, view_step(&new), 1);
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
			int ret = write_value(BO_HUGE_FAULTS, values[i]);
			int after = bo_get_huge_faults();

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
	struct view view = new_4k(target, 4 * BO_PMD_SIZE), half;

	touch_levels(&view, true, HUGE_NONE);
	unmap(&view);

	view = map_whole(target, view.bo, PROT_READ | PROT_WRITE);
	half = sub_view(&view, 0, view.length / 2);
	igt_assert_eq(madvise(half.addr, half.length, MADV_NOHUGEPAGE), 0);
	touch(&view, true);
	assert_levels(&half, HUGE_NONE);
	half = sub_view(&view, view.length / 2, view.length / 2);
	assert_levels(&half, HUGE_PUD);
}

/* One place in every kind of entry. */
static void assert_writes(const struct view *view, int expected, const char *what)
{
	uint64_t half = view->length / 2 & ~(BO_PTE_SIZE - 1), last = view->length - BO_PTE_SIZE;
	const uint64_t offsets[] = { 0, half, last - BO_PMD_SIZE, last };

	for (size_t i = 0; i < ARRAY_SIZE(offsets); i++) {
		int found = signal_of_write(view->addr + offsets[i]);

		view_assert_at(view, view->first + offsets[i], found == expected,
			       "%s %s, expected %s", what, found ? strsignal(found) : "works",
			       expected ? strsignal(expected) : "no signal");
	}
}

/* A write that fails leaves no writable entry. */
static void check_read_only(const struct view *view, const char *what)
{
	assert_read_only(view);
	assert_writes(view, SIGSEGV, what);
	assert_read_only(view);
}

/**
 * SUBTEST: read-only
 * Description: A mapping without PROT_WRITE never has a writable entry, at any level, in the
 *              process that made it or in a child, and writing raises SIGSEGV. mprotect() allows
 *              writing and takes it away again, without the entries getting smaller.
 */
static void test_read_only(const struct target *target)
{
	struct view small = new_4k(target, size_of_all_levels(target));
	struct view view = map_whole(target, small.bo, PROT_READ);
	uint64_t step = view_step(&view);

	fill(&small, step, 1);
	check_read_only(&view, "writing before any entry is there");
	touch_levels(&view, false, HUGE_PUD);
	check_read_only(&view, "writing read-only memory");
	assert_levels(&view, HUGE_PUD);

	fork_and_wait() {
		check_read_only(&view, "writing read-only memory in a child");
		check_view(&view, HUGE_PUD, step, 1);
		assert_read_only(&view);
	}
	assert_contents(&small, step, 1);

	igt_assert_eq(mprotect(view.addr, view.length, PROT_READ | PROT_WRITE), 0);
	assert_writes(&view, 0, "writing after mprotect(PROT_READ | PROT_WRITE)");
	touch_levels(&view, false, HUGE_PUD);
	fill(&view, step, 2);
	assert_contents(&small, step, 2);

	igt_assert_eq(mprotect(view.addr, view.length, PROT_READ), 0);
	check_read_only(&view, "writing after mprotect(PROT_READ)");
	assert_contents(&view, step, 2);
}

/**
 * SUBTEST: beside-huge
 * Description: A 4 KiB fault right below a huge entry, whose prefault would run into it, and one
 *              right above leave the huge entry as it is; what they map is right.
 */
static void test_beside_huge(const struct target *target)
{
	const uint64_t middle = 2 * BO_PMD_SIZE, end = 4 * BO_PMD_SIZE;
	struct view small = new_4k(target, 6 * BO_PMD_SIZE);
	int tried = 0;

	/* Next to nothing, and next to a few 4 KiB entries that are there before the huge one */
	for (int table_first = 0; table_first <= 1; table_first++) {
		struct view view = map_whole(target, small.bo, PROT_READ | PROT_WRITE);
		struct view block = sub_view(&view, middle, end - middle);
		/* A fault fills all that is contiguous: what it left here, only looking tells. */
		const struct view sides[] = {
			sub_view(&view, middle - 8 * BO_PTE_SIZE, 8 * BO_PTE_SIZE),
			sub_view(&view, end, 8 * BO_PTE_SIZE),
		};

		fill(&small, BO_EVERY_PAGE, 1);
		if (table_first) {
			set_huge_faults(HUGE_NONE);
			(void)*(volatile char *)(view.addr + middle - BO_PMD_SIZE);
			(void)*(volatile char *)(view.addr + end + BO_PMD_SIZE / 2);
		}
		set_huge_faults(HUGE_PUD);
		touch(&block, false);
		assert_level(&block, middle, block.length, BO_PMD);

		set_huge_faults(HUGE_NONE);
		for (size_t i = 0; i < ARRAY_SIZE(sides); i++) {
			tried += !levels_of(&sides[i]).mapped;
			assert_contents(&sides[i], BO_EVERY_PAGE, 1);
			assert_level(&block, middle, block.length, BO_PMD);
		}
		set_huge_faults(HUGE_PUD);
		touch(&view, false);
		assert_level(&block, middle, block.length, BO_PMD);
		assert_contents(&view, BO_EVERY_PAGE, 1);
		fill(&view, BO_EVERY_PAGE, 2);
		assert_contents(&small, BO_EVERY_PAGE, 2);
		unmap(&view);
		igt_debug("%s: next to %s: 4 KiB faults so far: %d\n", target->name,
			  table_first ? "4 KiB entries" : "nothing", tried);
	}
	/* A skip would not ask for them. */
	assert_no_kernel_warning(target->name);
	target_require(target, tried, "the first fault maps everything: nothing is left beside it");
}

/**
 * SUBTEST: above-pud
 * Description: 4 KiB faults in the 2 MiB above a 1 GiB entry, before it is there and after.
 */
static void test_above_pud(const struct target *target)
{
	const uint64_t pud = BO_PUD_SIZE, rest = BO_PMD_SIZE + BO_PTE_SIZE;
	struct view small = new_4k(target, pud + rest), small_tail = sub_view(&small, pud, rest);

	require_pud_entries();
	for (int tail_first = 0; tail_first <= 1; tail_first++) {
		struct view view, tail;

		set_huge_faults(HUGE_PUD);
		view = map_whole(target, small.bo, PROT_READ | PROT_WRITE);
		tail = sub_view(&view, pud, rest);

		set_huge_faults(HUGE_NONE);
		if (tail_first)
			touch(&tail, true);
		set_huge_faults(HUGE_PUD);
		*(volatile char *)(view.addr + 512 * MiB) = 1;
		assert_level(&view, 0, pud, BO_PUD);
		if (tail_first)
			assert_level(&view, pud, rest, BO_PTE);

		set_huge_faults(HUGE_NONE);
		touch(&tail, true);
		assert_level(&view, 0, pud, BO_PUD);
		fill(&tail, BO_EVERY_PAGE, tail_first);
		fill(&view, BO_EVERY_BLOCK, tail_first);
		assert_contents(&small_tail, BO_EVERY_PAGE, tail_first);
		assert_contents(&small, BO_EVERY_BLOCK, tail_first);
		unmap(&view);
	}
}

/* An object at no multiple of 1 GiB in VRAM, but with all of one such GiB, from *@pud on. */
static const struct bo *straddling_bo(const struct target *target, uint64_t *pud)
{
	const uint64_t size = 1448 * MiB, vram = bo_vram_size(target->fd);
	const uint64_t filler_sizes[] = { 600 * MiB, size / 2, size / 2, 2 * MiB };
	struct bo fillers[ARRAY_SIZE(filler_sizes)];
	const struct bo *bo;
	uint64_t base;

	require_pud_entries();
	/*
	 * Leaves free [600 MiB, 2 GiB), just as much as it needs, and what is above
	 * 2 GiB + 2 MiB without a block of 1 GiB: there is no room at any multiple of that.
	 */
	target_require(target, vram >= 4 * GiB && vram % GiB == 0,
		       "%" PRIu64 " MiB of VRAM, made for a few GiB", vram / MiB);
	for (size_t i = 0; i < ARRAY_SIZE(fillers); i++)
		fillers[i] = target_bo(target, filler_sizes[i]);
	for (uint64_t rest = vram - 4 * GiB; rest >= GiB; rest -= GiB)
		target_bo(target, GiB);
	bo_destroy(&fillers[1]);
	bo_destroy(&fillers[2]);
	bo = target_new_bo(target, size);

	base = vram_address(target, bo, NULL);
	*pud = BO_PUD_SIZE - base % BO_PUD_SIZE;
	target_require(target, base % BO_PUD_SIZE && *pud + BO_PUD_SIZE <= size,
		       "the object went to %#" PRIx64 ", which is no use here", base);
	return bo;
}

/**
 * SUBTEST: below-pud
 * Description: A 4 KiB fault right below a 1 GiB entry of the same mapping, whose prefault would
 *              run into it, leaves it as it is.
 */
static void test_below_pud(const struct target *target)
{
	uint64_t pud;
	const struct bo *bo = straddling_bo(target, &pud);
	/* Where addresses are congruent to those of the memory, if not to offsets in the object. */
	struct view view = map_at(target, bo, BO_PUD_SIZE, BO_PUD_SIZE - pud);
	struct view small = map_4k(target, bo), below;

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
}

#define THREADS	4

struct toucher {
	pthread_t thread;
	pthread_barrier_t *start;
	const struct view *view;
	unsigned int seed;
	int rounds;		/* each with a mapping of its own; 0: once, in the view itself */
};

/* Pages in an order of the thread's own, so that threads meet at different places. */
static void touch_some(const struct view *view, unsigned int *seed)
{
	for (int i = 0; i < 32; i++) {
		uint64_t offset = rand_r(seed) % (view->length / BO_PTE_SIZE) * BO_PTE_SIZE;
		volatile uint64_t *word = (volatile uint64_t *)(view->addr + offset);
		uint64_t found = *word, expected = bo_pattern(1, offset);

		view_assert_at(view, offset, found == expected, "wrong contents in one of several "
			       "threads: found %#" PRIx64 ", expected %#" PRIx64, found, expected);
		/* The same value: others are checking it. */
		if (i % 2)
			*word = expected;
	}
}

static void *touch_in_thread(void *arg)
{
	struct toucher *t = arg;
	struct view own = *t->view;

	pthread_barrier_wait(t->start);
	if (!t->rounds)
		touch_some(&own, &t->seed);
	for (int i = 0; i < t->rounds; i++) {
		own = map_part(own.target, own.bo, 0, NULL, own.length, PROT_READ | PROT_WRITE, 0);
		touch_some(&own, &t->seed);
		unmap(&own);
	}
	return NULL;
}

/* Returns when all of them run. */
static void start_touchers(struct toucher *t, const struct view *view, int seed, int rounds)
{
	pthread_barrier_t start;

	pthread_barrier_init(&start, NULL, THREADS + 1);
	for (int i = 0; i < THREADS; i++) {
		t[i] = (struct toucher){ 0, &start, view, seed + i, rounds };
		igt_assert_eq(pthread_create(&t[i].thread, NULL, touch_in_thread, &t[i]), 0);
	}
	pthread_barrier_wait(&start);
	pthread_barrier_destroy(&start);
}

/**
 * SUBTEST: racing-faults
 * Description: Threads that fault in the same mapping while the switch changes under them get
 *              entries of different levels into each other's way. All of them see the right
 *              contents, each slot holds one level, and the kernel does not warn.
 */
static void test_racing_faults(const struct target *target)
{
	struct view small = new_4k(target, 4 * BO_PMD_SIZE);
	struct toucher touchers[THREADS];

	/* What touch_some() looks at: the first word of each page */
	fill(&small, BO_PTE_SIZE, 1);
	for (int round = 0; round < 20; round++) {
		/* ptdump is slow. */
		uint64_t checked = round % 5 ? BO_PMD_SIZE : small.length;
		struct view view;

		set_huge_faults(HUGE_PUD);
		view = map_whole(target, small.bo, PROT_READ | PROT_WRITE);

		set_huge_faults(HUGE_NONE);
		start_touchers(touchers, &view, round * THREADS, 0);
		for (int i = 0; i < 4; i++)
			bo_set_huge_faults(i % 2 ? HUGE_NONE : HUGE_PUD);
		for (int i = 0; i < THREADS; i++)
			pthread_join(touchers[i].thread, NULL);
		igt_thread_assert_no_failures();

		/* The rest of each slot, at whatever level is there. */
		touch(&view, true);
		fill(&view, BO_PTE_SIZE, 1);
		for (uint64_t o = 0; o < checked; o += BO_PMD_SIZE) {
			struct view slot = sub_view(&view, o, BO_PMD_SIZE);
			struct bo_levels found = levels_of(&slot);

			view_assert_at(&slot, o, found.pte == (found.pmd == 1 ? 0 : BO_ENTRIES),
				       "found %" PRIu64 " pmd and %" PRIu64
				       " pte, expected 1 pmd or %d pte", found.pmd, found.pte, BO_ENTRIES);
		}
		unmap(&view);
	}
}

/**
 * SUBTEST: reserved-faults
 * Description: Threads that fault while others hold the object's lock wait for it, without the
 *              locks that they came with, and end up with the right page.
 */
static void test_reserved_faults(const struct target *target)
{
	struct view small = new_4k(target, size_of_all_levels(target));
	int mem = open("/proc/self/mem", O_RDONLY | O_CLOEXEC);
	struct toucher touchers[THREADS];
	uint64_t reserved = 0;
	char page[BO_PTE_SIZE];

	/* Not the whole of a large object: most of it is never written here. */
	small = sub_view(&small, 0, 2 * BO_PMD_SIZE);
	fill(&small, BO_PTE_SIZE, 1);

	start_touchers(touchers, &small, 1, 100);
	for (int i = 0; i < THREADS; i += !pthread_tryjoin_np(touchers[i].thread, NULL)) {
		/* vm_ops->access locks the object, also where it has no way to read VRAM. */
		reserved += pread(mem, page, sizeof(page), (uintptr_t)small.addr) >= 0 ||
			    errno == EIO;
		/* So does an ioctl() that some drivers have, and for longer. */
		bo_hold(small.bo);
	}
	close(mem);
	igt_thread_assert_no_failures();
	target_assert(target, reserved, "the object was never locked by another thread");
}

static const struct subtest subtests[] = {
	{ "size-%s", "Entries are as large as fits, contents agree with 4 KiB entries",
	  .test_member = test_size, FAMILY(sizes), .on_member = is_worthwhile },
	{ "fault-count", "Faults are as few as the entries allow", .test = test_fault_count },
	{ "fault-count-system", "Faults in scattered memory", .test = test_fault_count_system,
	  .on = on_system },
	{ "fault-count-4k", "Faults where only 4 KiB entries fit", .test = test_fault_count_4k },
	{ "switch-%s", "ttm.huge_faults limits the level",
	  .test_member = test_switch, FAMILY(switch_values) },
	{ "switch-change", "ttm.huge_faults changes what comes only", .test = test_switch_change },
	{ "nohugepage", "MADV_NOHUGEPAGE means 4 KiB entries", .test = test_nohugepage },
	{ "read-only", "No writable entry in a read-only mapping", .test = test_read_only },
	{ "beside-huge", "4 KiB faults next to 2 MiB entries", .test = test_beside_huge },
	{ "above-pud", "4 KiB faults above a 1 GiB entry", .test = test_above_pud, .on = on_vram },
	{ "below-pud", "4 KiB faults below a 1 GiB entry", .test = test_below_pud, .on = on_vram },
	{ "racing-faults", "Threads fault at different levels", .test = test_racing_faults },
	{ "reserved-faults", "Threads fault in a locked object", .test = test_reserved_faults },
};

int igt_main()
{
	igt_fixture()
		ttm_huge_init();
	run_subtests(subtests);
	igt_describe("ttm.huge_faults refuses what it does not know");
	igt_subtest("switch-invalid")
		test_switch_invalid();
	igt_fixture()
		ttm_huge_fini();
}
