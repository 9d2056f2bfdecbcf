// SPDX-License-Identifier: MIT
/**
 * TEST: ttm huge refault
 * Category: Core
 * Mega feature: General Core features
 * Sub-category: Memory management tests
 * Functionality: mmap
 * Description: When a part of a huge entry is unmapped, protected, advised, moved or evicted, the
 *              rest keeps its contents and comes back with the largest entries that still fit.
 */
#define _GNU_SOURCE 1
#include <sys/mman.h>

#include "vma_ops.h"

IGT_TEST_DESCRIPTION("Taking huge entries of TTM buffer objects apart, and what comes back");

/*
 * A gigabyte entry where there is room for one, then three entries of 2 MiB, then a page;
 * the entry that is cut is the first.
 */
static uint64_t object_size(const struct target *target)
{
	return size_of_all_levels(target) + BO_PMD_SIZE;
}

static bool has_pud(const struct target *target)
{
	return object_size(target) > BO_PUD_SIZE;
}

static const char *const part_names[] = { "page", "first-page", "2m", "odd", "whole" };

static struct part part_of(const struct target *target, size_t i)
{
	const uint64_t entry = has_pud(target) ? BO_PUD_SIZE : BO_PMD_SIZE, middle = entry / 2;
	const struct part parts[ARRAY_SIZE(part_names)] = {
		{ middle + BO_PTE_SIZE, BO_PTE_SIZE },
		{ 0, BO_PTE_SIZE },
		{ has_pud(target) ? middle : BO_PMD_SIZE, BO_PMD_SIZE },
		{ entry - 3 * BO_PTE_SIZE, BO_PMD_SIZE + 8 * BO_PTE_SIZE },
		{ 0, object_size(target) },
	};

	return parts[i];
}

/* What happens to a part of a mapping: a call, or without one mremap(). */
struct cut {
	const char *name;	/* of the part */
	size_t part;
	const struct vma_op *op;
	uint64_t skew;		/* of the new address, as for check_mremap() */
};

/**
 * SUBTEST: munmap-%s
 * Description: After munmap() of %arg[1], that part is gone and nothing else.
 *
 * SUBTEST: mprotect-read-%s
 * Description: After mprotect(PROT_READ) of %arg[1], writing raises SIGSEGV there and nowhere else.
 *
 * SUBTEST: mprotect-none-%s
 * Description: After mprotect(PROT_NONE) of %arg[1], every access raises SIGSEGV there and nowhere
 *              else, until it is allowed again.
 *
 * SUBTEST: madvise-random-%s
 * Description: madvise(MADV_RANDOM) of %arg[1] splits the VMA and changes nothing that shows.
 *
 * SUBTEST: madvise-dontfork-%s
 * Description: The same for madvise(MADV_DONTFORK).
 *
 * SUBTEST: madvise-nohugepage-%s
 * Description: After madvise(MADV_NOHUGEPAGE) of %arg[1], new entries there are 4 KiB.
 *
 * arg[1]:
 *
 * @page:		one page in the middle of the first entry
 * @first-page:		the first page
 * @2m:			2 MiB at a 2 MiB boundary
 * @odd:		from 12 KiB before the end of the first entry to 20 KiB into the third
 * @whole:		all of the mapping
 */

/**
 * SUBTEST: mremap-%s
 * Description: %arg[1] moves to an address with the same alignment. What is moved as a whole keeps
 *              its entries without a fault.
 *
 * SUBTEST: mremap-to-2m-%s
 * Description: %arg[1] moves to an address where entries of 2 MiB fit, but none of 1 GiB.
 *
 * SUBTEST: mremap-to-4k-%s
 * Description: %arg[1] moves to an address where only entries of 4 KiB fit.
 *
 * arg[1]:
 *
 * @page:		One page in the middle of the first entry
 * @first-page:		The first page
 * @2m:			2 MiB at a 2 MiB boundary
 * @odd:		From 12 KiB before the end of the first entry to 20 KiB into the third
 * @whole:		All of the mapping
 */
static void test_cut(const struct target *target, const void *member)
{
	const struct cut *cut = member;
	const struct part part = part_of(target, cut->part);
	const struct bo *bo = target_new_bo(target, object_size(target));

	/* Without entries of 1 GiB, the last value of the switch makes no difference. */
	for (int value = HUGE_NONE; value <= (has_pud(target) ? HUGE_PUD : HUGE_PMD); value++) {
		struct view view;

		set_huge_faults(value);
		view = map_whole(target, bo, PROT_READ | PROT_WRITE);
		if (cut->op)
			check_vma_op(&view, value, cut->op, part);
		else
			check_mremap(&view, value, part, cut->skew);
	}
}

/**
 * SUBTEST: evict
 * Description: Eviction takes every entry away. System memory is mapped in its place, with 2 MiB
 *              entries and the same contents.
 */
static void test_evict(const struct target *target)
{
	struct view view;

	require_blocks_outside(target, object_size(target));
	view = new_filled(target, object_size(target), 1);
	evict(&view);
	/* 1 GiB entries of system memory do not exist. */
	check_view(&view, HUGE_PMD, view_step(&view), 1);
}

/**
 * SUBTEST: evict-return
 * Description: An object that comes back to VRAM without having been touched outside gets its old
 *              levels back, 1 GiB included.
 */
static void test_evict_return(const struct target *target)
{
	struct view view = new_filled(target, object_size(target), 1);

	evict(&view);
	return_to_vram(&view);
	check_view(&view, HUGE_PUD, view_step(&view), 1);
}

static const struct touching {
	const char *name;
	bool all, small;
} touchings[] = {
	{ "byte", false, false },
	{ "byte-4k", false, true },
	{ "all", true, false },
	{ "all-4k", true, true },
};

static void evict_touch_return(const struct view *view, const struct touching *how)
{
	evict(view);
	if (how->small)
		set_huge_faults(HUGE_NONE);
	if (how->all) {
		touch_levels(view, false, how->small ? HUGE_NONE : HUGE_PMD);
	} else {
		(void)*(volatile char *)view->addr;
		assert_level(view, 0, how->small ? BO_PTE_SIZE : BO_PMD_SIZE,
			     how->small ? BO_PTE : BO_PMD);
	}
	set_huge_faults(HUGE_PUD);
	return_to_vram(view);
	check_view(view, HUGE_PUD, view_step(view), 1);
}

/**
 * SUBTEST: evict-touch-%s-return
 * Description: After %arg[1] outside of VRAM, an object that is back in VRAM is mapped with the
 *              levels that it had at first, 1 GiB included, and with no more page tables.
 *
 * arg[1]:
 *
 * @byte:	touching one byte, with an entry of 2 MiB
 * @byte-4k:	touching one byte, with entries of 4 KiB
 * @all:	touching all of it, with entries of 2 MiB
 * @all-4k:	touching all of it, with entries of 4 KiB
 */
static void test_evict_touch_return(const struct target *target, const void *how)
{
	struct view view = new_filled(target, object_size(target), 1);
	const struct bo *bo = view.bo;
	uint64_t before, after;

	/* The first time, the process itself takes some more. */
	evict_touch_return(&view, how);
	unmap(&view);

	view = map_filled(target, bo, 1);
	before = bo_pgtable_kib();
	for (int i = 0; i < 2; i++)
		evict_touch_return(&view, how);
	after = bo_pgtable_kib();
	view_assert(&view, after <= before, "%" PRIu64 " KiB of page tables, expected %" PRIu64
		    " KiB", after, before);
}

/* Write-watch: this much of an object is watched, page by page, from its start. */
#define WATCHED		(4 * BO_PMD_SIZE)

/* Those with room for a huge entry have the largest that fit. Returns the number of VMAs. */
static size_t check_vmas(const struct view *view)
{
	FILE *f = fopen("/proc/self/maps", "re");
	struct view large[16];
	uintptr_t start, end;
	size_t n = 0, count = 0;
	char line[512];

	igt_assert(f);
	while (fgets(line, sizeof(line), f)) {
		uint64_t offset;

		igt_assert_eq(sscanf(line, "%" SCNxPTR "-%" SCNxPTR, &start, &end), 2);
		offset = start - (uintptr_t)view->addr;
		if (offset >= view->length)
			continue;
		count++;
		if (end - start < BO_PMD_SIZE)
			continue;
		igt_assert_lt(n, ARRAY_SIZE(large));
		large[n++] = sub_view(view, offset, end - start);
	}
	fclose(f);

	while (n--)
		touch_levels(&large[n], false, HUGE_PUD);
	return count;
}

/**
 * SUBTEST: write-watch
 * Description: As an emulator watches writes, thousands of pages become read-only one by one, and
 *              writable again at the first write. What that leaves of VMAs decides about the
 *              entries: once the object was evicted and is back, each VMA has the largest that fit
 *              into it, and a new mapping has all of them.
 */
static void test_write_watch(const struct target *target)
{
	struct view view = new_filled(target, object_size(target) + WATCHED, 1);
	const uint64_t step = view_step(&view);
	size_t vmas;

	for (uint64_t o = 0; o < WATCHED; o += BO_PTE_SIZE)
		igt_assert_eq(mprotect(view.addr + o, BO_PTE_SIZE, PROT_READ), 0);
	for (uint64_t o = 0; o < WATCHED; o += BO_PTE_SIZE)
		igt_assert_eq(mprotect(view.addr + o, BO_PTE_SIZE, PROT_READ | PROT_WRITE), 0);
	fill(&view, step, 2);

	evict(&view);
	return_to_vram(&view);
	vmas = check_vmas(&view);
	igt_info("%s: %zu VMAs after %" PRIu64 " pages were watched\n", target->name, vmas,
		 WATCHED / BO_PTE_SIZE);
	view_assert(&view, vmas <= WATCHED / BO_PTE_SIZE + 1, "%zu VMAs", vmas);
	assert_contents(&view, step, 2);
	unmap(&view);

	view = map_whole(target, view.bo, PROT_READ | PROT_WRITE);
	check_view(&view, HUGE_PUD, step, 2);
}

static const struct subtest evictions[] = {
	{ "evict", "Moves the object out of VRAM and back", test_evict, .on = on_vram },
	{ "evict-return", "Moves the object out of VRAM and back", test_evict_return,
	  .on = on_vram },
	{ "evict-touch-%s-return", "Touches the object outside of VRAM before it is back",
	  .on = on_vram, .test_member = test_evict_touch_return, FAMILY(touchings) },
	{ "write-watch", "Watches each page by itself", test_write_watch, .on = on_vram },
};

/* For each part a subtest NAME-PART. */
static void run_cuts(const char *name, const char *description, const struct vma_op *op,
		     uint64_t skew)
{
	struct cut cuts[ARRAY_SIZE(part_names)];
	char format[64];

	snprintf(format, sizeof(format), "%s-%%s", name);
	for (size_t i = 0; i < ARRAY_SIZE(cuts); i++)
		cuts[i] = (struct cut){ part_names[i], i, op, skew };
	run_subtest(&(struct subtest){ .name = format, .description = description,
				       .test_member = test_cut, FAMILY(cuts) });
}

int igt_main()
{
	const struct vma_op *op;

	igt_fixture()
		ttm_huge_init();
	for_each_vma_op(op)
		run_cuts(op->name, "Splits a VMA inside an entry", op, 0);
	run_cuts("mremap", "Moves a mapping or a part of it", NULL, 0);
	run_cuts("mremap-to-2m", "Moves a mapping or a part of it", NULL, BO_PMD_SIZE);
	run_cuts("mremap-to-4k", "Moves a mapping or a part of it", NULL, BO_PTE_SIZE);
	run_subtests(evictions);
	igt_fixture()
		ttm_huge_fini();
}
