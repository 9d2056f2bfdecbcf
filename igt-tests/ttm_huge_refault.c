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
#define _GNU_SOURCE
#include <errno.h>
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

static uint64_t entry_size(const struct target *target)
{
	return object_size(target) > BO_PUD_SIZE ? BO_PUD_SIZE : BO_PMD_SIZE;
}

static struct part one_page(const struct target *target)
{
	return (struct part){ entry_size(target) / 2 + BO_PTE_SIZE, BO_PTE_SIZE };
}

static struct part first_page(const struct target *target)
{
	(void)target;
	return (struct part){ 0, BO_PTE_SIZE };
}

static struct part aligned_2m(const struct target *target)
{
	uint64_t offset = entry_size(target) / 2;

	return (struct part){ offset < BO_PMD_SIZE ? BO_PMD_SIZE : offset, BO_PMD_SIZE };
}

static struct part odd_range(const struct target *target)
{
	return (struct part){
		entry_size(target) - 3 * BO_PTE_SIZE,
		BO_PMD_SIZE + 8 * BO_PTE_SIZE,
	};
}

static struct part whole(const struct target *target)
{
	return (struct part){ 0, object_size(target) };
}

static const struct {
	const char *name;
	struct part (*of)(const struct target *target);
} parts[] = {
	{ "page", one_page },
	{ "first-page", first_page },
	{ "2m", aligned_2m },
	{ "odd", odd_range },
	{ "whole", whole },
};

static const struct {
	const char *name;
	uint64_t skew;
} moves[] = {
	{ "mremap", 0 },
	{ "mremap-to-2m", BO_PMD_SIZE },
	{ "mremap-to-4k", BO_PTE_SIZE },
};

/* The largest value of the switch that makes a difference for the target's objects. */
static int most_huge(const struct target *target)
{
	return entry_size(target) == BO_PUD_SIZE ? HUGE_PUD : HUGE_PMD;
}

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
static void test_op(const struct target *target, const struct vma_op *op,
		    struct part (*part_of)(const struct target *target))
{
	struct bo bo = target_bo(target, object_size(target));

	for (int value = HUGE_NONE; value <= most_huge(target); value++) {
		struct view view = map_whole(target, &bo, PROT_READ | PROT_WRITE);

		set_huge_faults(value);
		check_vma_op(&view, value, op, part_of(target));
	}
	assert_no_kernel_warning(target);
}

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
static void test_mremap(const struct target *target, uint64_t skew,
			struct part (*part_of)(const struct target *target))
{
	struct bo bo = target_bo(target, object_size(target));

	for (int value = HUGE_NONE; value <= most_huge(target); value++) {
		struct view view = map_whole(target, &bo, PROT_READ | PROT_WRITE);

		set_huge_faults(value);
		check_mremap(&view, value, part_of(target), skew);
	}
	assert_no_kernel_warning(target);
}

/**
 * SUBTEST: evict
 * Description: Eviction takes every entry away. System memory is mapped in its place, with 2 MiB
 *              entries and the same contents.
 */
static void test_evict(const struct target *target)
{
	struct bo bo = target_bo(target, object_size(target));
	struct view view = map_filled(target, &bo, 1);

	evict(&view);
	assert_contents(&view, view_step(&view), 1);
	touch(&view, false);
	/* 1 GiB entries of system memory do not exist. */
	assert_levels(&view, HUGE_PMD);
}

/**
 * SUBTEST: evict-return
 * Description: An object that comes back to VRAM without having been touched outside gets its old
 *              levels back, 1 GiB included.
 */
static void test_evict_return(const struct target *target)
{
	struct bo bo = target_bo(target, object_size(target));
	struct view view = map_filled(target, &bo, 1);

	evict(&view);
	return_to_vram(&view);
	assert_contents(&view, view_step(&view), 1);
	touch(&view, false);
	assert_levels(&view, HUGE_PUD);
}

static void touch_byte(const struct view *view)
{
	(void)*(volatile char *)view->addr;
	assert_level(view, 0, BO_PMD_SIZE, BO_PMD);
}

static void touch_byte_4k(const struct view *view)
{
	set_huge_faults(HUGE_NONE);
	(void)*(volatile char *)view->addr;
	assert_level(view, 0, BO_PTE_SIZE, BO_PTE);
}

static void touch_all(const struct view *view)
{
	touch(view, false);
	assert_levels(view, HUGE_PMD);
}

static void touch_all_4k(const struct view *view)
{
	set_huge_faults(HUGE_NONE);
	touch(view, false);
	assert_levels(view, HUGE_NONE);
}

static const struct {
	const char *name;
	void (*touch)(const struct view *view);
} touches[] = {
	{ "byte", touch_byte },
	{ "byte-4k", touch_byte_4k },
	{ "all", touch_all },
	{ "all-4k", touch_all_4k },
};

static void evict_touch_return(const struct view *view, void (*touch_it)(const struct view *view))
{
	evict(view);
	touch_it(view);
	set_huge_faults(HUGE_PUD);
	return_to_vram(view);
	touch(view, false);
	assert_levels(view, HUGE_PUD);
	assert_contents(view, view_step(view), 1);
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
static void test_evict_touch_return(const struct target *target,
				    void (*touch_it)(const struct view *view))
{
	struct bo bo = target_bo(target, object_size(target));
	struct view view = map_filled(target, &bo, 1);
	uint64_t before, after;

	/* The first time, the process itself takes some more. */
	evict_touch_return(&view, touch_it);
	unmap(&view);

	view = map_filled(target, &bo, 1);
	before = bo_pgtable_kib();
	for (int i = 0; i < 2; i++)
		evict_touch_return(&view, touch_it);
	after = bo_pgtable_kib();
	igt_assert_f(after <= before, "%s: object of %" PRIu64 " KiB: %" PRIu64
		     " KiB of page tables, expected %" PRIu64 " KiB\n", target->name,
		     bo.size / KiB, after, before);
	assert_no_kernel_warning(target);
}

int igt_main()
{
	static const struct {
		const char *name;
		void (*test)(const struct target *target);
	} evictions[] = {
		{ "evict", test_evict },
		{ "evict-return", test_evict_return },
	};
	const struct vma_op *op;
	struct target *target;

	igt_fixture()
		ttm_huge_init();

	for_each_vma_op(op) {
		for (size_t i = 0; i < ARRAY_SIZE(parts); i++) {
			igt_describe("Splits a VMA inside an entry");
			igt_subtest_with_dynamic_f("%s-%s", op->name, parts[i].name)
				igt_dynamic_targets(target)
					test_op(target, op, parts[i].of);
		}
	}

	for (size_t m = 0; m < ARRAY_SIZE(moves); m++) {
		for (size_t i = 0; i < ARRAY_SIZE(parts); i++) {
			igt_describe("Moves a mapping or a part of it");
			igt_subtest_with_dynamic_f("%s-%s", moves[m].name, parts[i].name)
				igt_dynamic_targets(target)
					test_mremap(target, moves[m].skew, parts[i].of);
		}
	}

	for (size_t i = 0; i < ARRAY_SIZE(evictions); i++) {
		igt_describe("Moves the object out of VRAM and back");
		igt_subtest_with_dynamic(evictions[i].name)
			igt_dynamic_targets_if(target, target->placement == BO_VRAM)
				evictions[i].test(target);
	}

	for (size_t i = 0; i < ARRAY_SIZE(touches); i++) {
		igt_describe("Touches the object outside of VRAM before it is back");
		igt_subtest_with_dynamic_f("evict-touch-%s-return", touches[i].name)
			igt_dynamic_targets_if(target, target->placement == BO_VRAM)
				test_evict_touch_return(target, touches[i].touch);
	}

	igt_fixture()
		ttm_huge_fini();
}
