// SPDX-License-Identifier: MIT
/**
 * TEST: ttm huge vttm entries
 * Category: Core
 * Mega feature: General Core features
 * Sub-category: Memory management tests
 * Functionality: mmap
 * Description: Entries of objects whose memory is in known pieces, and has each cache mode.
 */
#include <sys/mman.h>

#include "vttm_ops.h"

IGT_TEST_DESCRIPTION("Huge page-table entries for memory in pieces and in every cache mode");

/* Touches all of @bo at addresses that suit it more or less, with each value of the switch. */
static void check_entries(const struct target *target, const struct bo *bo)
{
	static const uint64_t skews[] = { 0, BO_PMD_SIZE / 2, 64 * KiB, BO_PTE_SIZE };
	uint64_t align = wanted_alignment(bo->size);

	for (size_t i = 0; i < ARRAY_SIZE(skews); i++) {
		/* The other values where they make the most of a difference */
		for (int value = i ? HUGE_PUD : HUGE_NONE; value <= HUGE_PUD; value++) {
			struct view view, part;

			set_huge_faults(value);
			view = map_at(target, bo, align, skews[i]);
			assert_entries_of_all(&view, value);
			unmap(&view);

			/* A VMA that ends inside of what entries could cover. */
			view = map_at(target, bo, align, skews[i]);
			part = sub_view(&view, 3 * BO_PTE_SIZE, bo->size - 5 * BO_PTE_SIZE);
			munmap(view.addr, 3 * BO_PTE_SIZE);
			munmap(part.addr + part.length, 2 * BO_PTE_SIZE);
			assert_entries_of_all(&part, value);
			fill(&part, view_step(&part), value);
			assert_contents(&part, view_step(&part), value);
			unmap(&part);
		}
	}
	set_huge_faults(HUGE_PUD);
}

/**
 * SUBTEST: blocks-%s
 * Description: An object of %arg[1] is mapped with exactly the entries that its blocks, the address
 *              and the ends of the VMA allow, at any address and value of the switch.
 *
 * arg[1]:
 *
 * @worst-4k:		blocks of 4 KiB that are never neighbours
 * @worst-64k:		the same of 64 KiB
 * @worst-1m:		the same of 1 MiB
 * @worst-2m:		the same of 2 MiB
 * @worst-8m:		the same of 8 MiB
 * @any:		what the buddy allocator gives for 13 MiB + 12 KiB
 * @contiguous:		the same in one block
 * @contiguous-small:	3 MiB in one block
 */
static const struct layout {
	const char *name;
	uint64_t size, alignment;
	uint32_t layout, blocks;	/* how many, if it is known */
} layouts[] = {
	{ "worst-4k", 768 * BO_PTE_SIZE, BO_PTE_SIZE, DRM_VTTM_LAYOUT_WORST, 768 },
	{ "worst-64k", 5 * MiB, 64 * KiB, DRM_VTTM_LAYOUT_WORST, 80 },
	{ "worst-1m", 7 * MiB, 1 * MiB, DRM_VTTM_LAYOUT_WORST, 7 },
	{ "worst-2m", 12 * MiB, 2 * MiB, DRM_VTTM_LAYOUT_WORST, 6 },
	{ "worst-8m", 24 * MiB, 8 * MiB, DRM_VTTM_LAYOUT_WORST, 3 },
	{ "any", 13 * MiB + 3 * BO_PTE_SIZE, 0, DRM_VTTM_LAYOUT_ANY, 0 },
	{ "contiguous", 13 * MiB + 3 * BO_PTE_SIZE, 0, DRM_VTTM_LAYOUT_CONTIGUOUS, 1 },
	{ "contiguous-small", 3 * MiB, 0, DRM_VTTM_LAYOUT_CONTIGUOUS, 1 },
};

static void test_layout(const struct target *target, const void *member)
{
	const struct layout *l = member;
	struct bo bo = vttm_bo(target, .size = l->size, .alignment = l->alignment,
			       .layout = l->layout, .domains = VRAM);

	if (l->blocks)
		igt_assert_eq(count_blocks(&bo), l->blocks);
	check_entries(target, &bo);
}

/**
 * SUBTEST: blocks-holes
 * Description: The same for an object that fills the holes of a VRAM that is in use, of all sizes
 *              from 64 KiB to 4 MiB, without anything being evicted for it.
 */
static void test_holes(const struct target *target)
{
	static struct bo fillers[1024];
	uint64_t vram = bo_vram_size(target->fd), room = 0, size;
	unsigned int random = 1;
	size_t count = 0;
	struct view view;

	require_small_vram(target, 256 * MiB);
	for (; count < ARRAY_SIZE(fillers); room += size) {
		size = (64 * KiB) << (rand_r(&random) % 7);
		if (room + size > vram)
			break;
		fillers[count++] = vttm_bo(target, .size = size, .domains = VRAM | SYSTEM);
	}
	room = 0;
	for (size_t i = 0; i < count; i += 2) {
		room += fillers[i].size;
		bo_destroy(&fillers[i]);
	}

	view = vttm_new_view(target, .size = room, .domains = VRAM);
	for (size_t i = 1; i < count; i += 2)
		igt_assert_eq(domain_of(&fillers[i]), VRAM);
	view_assert(&view, count_blocks(view.bo) > count / 16,
		    "%zu blocks are not what this is about", count_blocks(view.bo));
	assert_entries_of_all(&view, HUGE_PUD);
	fill(&view, BO_EVERY_PAGE, 1);
	assert_contents(&view, BO_EVERY_PAGE, 1);
	check_entries(target, view.bo);
}

static void map_three_gib(const struct target *target, uint32_t layout, size_t blocks)
{
	struct bo bo = vttm_bo(target, .size = 3 * GiB, .alignment = 1 * GiB, .layout = layout,
			       .domains = VRAM, .flags = UNCLEARED);
	struct view view = map_whole(target, &bo, PROT_READ | PROT_WRITE);
	uint64_t faults = faults_of_touching(&view, false);

	assert_entry_counts(&view, 3 * GiB / BO_PUD_SIZE, 3 * GiB % BO_PUD_SIZE / BO_PMD_SIZE, 0);
	igt_assert_eq(count_blocks(&bo), blocks);
	view_assert(&view, faults == 1, "%" PRIu64 " faults on %zu blocks, expected 1", faults,
		    blocks);
	fill(&view, BO_EVERY_BLOCK, blocks);
	assert_contents(&view, BO_EVERY_BLOCK, blocks);
	unmap(&view);
	bo_destroy(&bo);
}

/**
 * SUBTEST: three-gib
 * Description: One fault maps 3 GiB of neighbouring blocks with three entries, and so it does where
 *              the blocks are aligned to 1 GiB but no neighbours.
 */
static void test_three_gib(const struct target *target)
{
	target_require(target, bo_vram_size(target->fd) > 3 * GiB, "no room");
	map_three_gib(target, DRM_VTTM_LAYOUT_ANY, 1);
	map_three_gib(target, DRM_VTTM_LAYOUT_WORST, 3);
}

/**
 * SUBTEST: caching-%s
 * Description: Entries of every level that an object of %arg[1] can have are %arg[1]. Where the
 *              device's memory has struct pages, it is uncached.
 *
 * arg[1]:
 *
 * @vram:		VRAM, write-combined
 * @tiny:		the second heap, uncached
 * @gtt-cached:		GTT, cached
 * @gtt-wc:		GTT, write-combined
 * @gtt-uc:		GTT, uncached
 * @system-cached:	system memory, cached
 * @system-wc:		system memory, write-combined
 * @system-uc:		system memory, uncached
 */
static const struct cache_mode {
	const char *name, *cache;
	uint32_t domain;
	enum drm_vttm_caching caching;
} cache_modes[] = {
	{ "vram", BO_WRITE_COMBINED, VRAM, DRM_VTTM_CACHED },
	{ "tiny", BO_UNCACHED, TINY, DRM_VTTM_CACHED },
	{ "gtt-cached", BO_CACHED, GTT, DRM_VTTM_CACHED },
	{ "gtt-wc", BO_WRITE_COMBINED, GTT, DRM_VTTM_WRITE_COMBINED },
	{ "gtt-uc", BO_UNCACHED, GTT, DRM_VTTM_UNCACHED },
	{ "system-cached", BO_CACHED, SYSTEM, DRM_VTTM_CACHED },
	{ "system-wc", BO_WRITE_COMBINED, SYSTEM, DRM_VTTM_WRITE_COMBINED },
	{ "system-uc", BO_UNCACHED, SYSTEM, DRM_VTTM_UNCACHED },
};

static void test_caching(const struct target *target, const void *member)
{
	const struct cache_mode *mode = member;
	const char *cache = mode->domain & (VRAM | TINY) && vttm_has_struct_pages() ?
		BO_UNCACHED : mode->cache;
	uint64_t size = mode->domain == VRAM ? size_of_all_levels(target) : 4 * MiB + BO_PTE_SIZE;
	struct bo bo = vttm_bo(target, .size = size, .domains = mode->domain,
			       .caching = mode->caching, .flags = UNCLEARED);

	if (mode->domain & (GTT | SYSTEM))
		require_room_outside(target, size);
	for (int value = HUGE_NONE; value <= HUGE_PUD; value++) {
		struct view view;
		int largest = size > BO_PUD_SIZE ? value :
			      size > BO_PMD_SIZE && value ? HUGE_PMD : HUGE_NONE;
		struct bo_levels found;

		set_huge_faults(value);
		view = map_whole(target, &bo, PROT_READ | PROT_WRITE);
		faults_of_touching(&view, false);
		found = levels_of(&view);
		view_assert(&view, found.mapped == size && !!found.pud == (largest == HUGE_PUD) &&
			    !!found.pmd == (largest != HUGE_NONE) && found.pte, "%" PRIu64
			    " pud, %" PRIu64 " pmd, %" PRIu64 " pte with the switch at %d",
			    found.pud, found.pmd, found.pte, value);
		view_assert(&view, !strcmp(found.cache, cache), "cache mode %s, expected %s"
			    " (with the switch at %d)", found.cache, cache, value);
		fill(&view, view_step(&view), value);
		assert_contents_read(target, &bo, view_step(&view), value);
		unmap(&view);
	}
}

static const struct subtest subtests[] = {
	{ "blocks-%s", "Exactly the entries that blocks and address allow",
	  ON_VTTM(test_layout, layouts) },
	{ "blocks-holes", "An object in the holes that others have left",
	  test_holes, .on = is_vttm },
	{ "three-gib", "One fault maps 3 GiB", test_three_gib, .on = is_vttm },
	{ "caching-%s", "The right cache mode at every level", ON_VTTM(test_caching, cache_modes) },
};

int igt_main()
{
	run_test(subtests);
}
