// SPDX-License-Identifier: MIT
/**
 * TEST: ttm huge vttm move
 * Category: Core
 * Mega feature: General Core features
 * Sub-category: Memory management tests
 * Functionality: mmap
 * Description: Mapped objects move to any place, on their own or because others need the room.
 */
#include <sys/mman.h>

#include "vttm_ops.h"

IGT_TEST_DESCRIPTION("Huge page-table entries of objects that move to any place");

/* A move takes all entries away and keeps the contents. */
static void check_move(const struct view *view, uint32_t domain, uint64_t step, uint64_t seed)
{
	move_to(view, domain);
	assert_unmapped(view);
	assert_contents(view, step, seed);
}

/**
 * SUBTEST: move
 * Description: An object goes from every domain to every other. Each move takes all entries away
 *              and keeps the contents; what is mapped then has the same levels as the time before.
 */
static void test_move(const struct target *target)
{
	/* Each pair in both directions */
	static const uint32_t path[] = {
		SYSTEM, VRAM, GTT, SYSTEM, TINY, VRAM, TINY, GTT, VRAM, SYSTEM, GTT, TINY, SYSTEM,
		VRAM,
	};
	struct view view = vttm_new_view(target, .size = 6 * MiB + BO_PTE_SIZE, .domains = ANY);

	require_room_outside(target, view.length);
	assert_domain(&view, VRAM);
	touch(&view, false);
	fill(&view, BO_EVERY_PAGE, 0);
	for (size_t i = 0; i < ARRAY_SIZE(path); i++) {
		check_move(&view, path[i], BO_EVERY_PAGE, i);
		assert_entries_in(&view, path[i]);
		fill(&view, BO_EVERY_PAGE, i + 1);
		/* Where it is already, nothing happens. */
		move_to(&view, path[i]);
		assert_entries_in(&view, path[i]);
	}
	assert_contents_read(target, view.bo, BO_EVERY_PAGE, ARRAY_SIZE(path));
}

/**
 * SUBTEST: move-1g
 * Description: An object with 1 GiB entries that goes to system memory and back is mapped with
 *              them again.
 */
static void test_move_1g(const struct target *target)
{
	struct view view;

	require_pud_entries();
	target_require(target, size_of_all_levels(target) > GiB, "no room");
	require_room_outside(target, 1 * GiB);
	view = vttm_new_view(target, .size = GiB, .domains = VRAM | SYSTEM, .flags = UNCLEARED);
	fill(&view, BO_EVERY_BLOCK, 1);
	assert_level(&view, 0, view.length, BO_PUD);
	check_move(&view, SYSTEM, BO_EVERY_BLOCK, 1);
	check_move(&view, VRAM, BO_EVERY_BLOCK, 1);
	assert_level(&view, 0, view.length, BO_PUD);
}

/**
 * SUBTEST: evict-all
 * Description: Everything leaves VRAM at once. What may be nowhere else is back after the next
 *              fault, with its old levels; other objects stay outside.
 */
static void test_evict_all(const struct target *target)
{
	static const struct {
		uint32_t domains, outside, afterwards;
	} ways[] = {
		{ VRAM, SYSTEM, VRAM }, { VRAM | GTT, GTT, GTT }, { VRAM | SYSTEM, SYSTEM, SYSTEM },
	};
	struct view views[ARRAY_SIZE(ways)];

	for (size_t i = 0; i < ARRAY_SIZE(ways); i++) {
		views[i] = vttm_new_view(target, .size = 4 * MiB, .domains = ways[i].domains);
		fill(&views[i], BO_EVERY_PAGE, i);
		assert_entries(&views[i], HUGE_PUD);
	}
	igt_assert_eq(vttm_evict_all(target->fd, VRAM), 0);
	for (size_t i = 0; i < ARRAY_SIZE(ways); i++) {
		assert_domain(&views[i], ways[i].outside);
		assert_unmapped(&views[i]);
		assert_contents(&views[i], BO_EVERY_PAGE, i);
		assert_domain(&views[i], ways[i].afterwards);
		assert_entries_in(&views[i], ways[i].afterwards);
	}
}

/**
 * SUBTEST: makes-room
 * Description: An object that may be in VRAM pushes the oldest others out of it, where they may be
 *              elsewhere, and not a newer one.
 */
static void test_makes_room(const struct target *target)
{
	const size_t size = 4 * MiB, fit = bo_vram_size(target->fd) / size, count = fit + 4;
	struct view views[64] = { 0 };

	require_small_vram(target, 200 * MiB);
	for (size_t i = 0; i < count; i++) {
		views[i] = vttm_new_view(target, .size = size, .domains = ANY & ~TINY);
		fill(&views[i], BO_EVERY_BLOCK, i);
		assert_domain(&views[i], VRAM);
	}
	for (size_t i = 0; i < count; i++) {
		assert_domain(&views[i], i < count - fit ? GTT : VRAM);
		assert_contents(&views[i], BO_EVERY_BLOCK, i);
	}
}

/**
 * SUBTEST: two-devices
 * Description: Objects of two devices are mapped next to each other. Each keeps to itself its
 *              memory, and its entries when the other's go.
 */
static void test_two_devices(const struct target *target)
{
	const uint64_t size = 4 * MiB;
	struct target devices[2];
	struct view views[2];
	struct bo bos[2];
	char *area;
	int count = 0;

	/* A target is open until the next one is, these stay open. */
	for_each_target(target)
		if (is_vttm(target) && count < 2) {
			devices[count] = *target;
			devices[count++].fd = dup(target->fd);
		}
	igt_require_f(count == 2, "there is no %s device\n", count ? "second" : "first");

	area = free_address(2 * size, BO_PMD_SIZE, 0);
	for (int i = 0; i < 2; i++) {
		bos[i] = vttm_bo(&devices[i], .size = size, .domains = ANY);
		views[i] = map_all(&devices[i], &bos[i], area + i * size,
				   MAP_SHARED | MAP_FIXED_NOREPLACE);
		fill(&views[i], BO_EVERY_WORD, i);
	}
	for (int i = 0; i < 2; i++) {
		assert_contents(&views[i], BO_EVERY_WORD, i);
		assert_entries(&views[i], HUGE_PUD);
	}
	for (int i = 0; i < 2; i++) {
		igt_assert_eq(vttm_evict_all(devices[i].fd, VRAM), 0);
		assert_unmapped(&views[i]);
		assert_entries(&views[!i], HUGE_PUD);
		assert_contents(&views[i], BO_EVERY_WORD, i);
		assert_domain(&views[i], GTT);
		move_to(&views[i], VRAM);
		touch(&views[i], false);
	}
	for (int i = 0; i < 2; i++) {
		unmap(&views[i]);
		close(devices[i].fd);
	}
}

static const struct subtest subtests[] = {
	{ "move", "From each domain to each other", test_move, .on = is_vttm },
	{ "move-1g", "A 1 GiB entry goes and comes back", test_move_1g, .on = is_vttm },
	{ "evict-all", "Everything leaves VRAM", test_evict_all, .on = is_vttm },
	{ "makes-room", "The oldest leave for a new one", test_makes_room, .on = is_vttm },
}, two_devices = { "two-devices", "Two devices at once", .test = test_two_devices };

int igt_main()
{
	static const struct target both = { .name = "two-devices" };

	igt_fixture()
		ttm_huge_init();
	run_subtests(subtests);
	run_subtest_on(&both, &two_devices);
	igt_fixture()
		ttm_huge_fini();
}
