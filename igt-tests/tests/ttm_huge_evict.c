// SPDX-License-Identifier: MIT
/**
 * TEST: ttm huge evict
 * Category: Core
 * Mega feature: General Core features
 * Sub-category: Memory management tests
 * Functionality: mmap
 * Description: Objects that are moved out of VRAM and back keep their contents, and mappings of any
 *              level follow them; nothing is moved only to make room for huge entries.
 */
#define _GNU_SOURCE 1
#include <errno.h>
#include <sys/mman.h>

#include "ttm_huge.h"

IGT_TEST_DESCRIPTION("Huge mappings of TTM buffer objects when there is more than VRAM holds");

#define SMALL_VRAM	(256 * MiB)

/*
 * Together two of these are large enough for an object of 2 MiB, but seldom where it is
 * aligned; they are too small to be aligned themselves.
 */
#define PIECE_SIZE	(1 * MiB + 4 * KiB)
#define STRIDE		(2 * MiB)
/* As many pieces as VRAM has room for, and some that have not. */
#define MAX_OBJECTS	((int)(SMALL_VRAM / PIECE_SIZE) + 32)

/* Mapped objects; each has the contents of its own seed. */
struct crowd {
	const struct target *target;
	int count;
	struct bo bo[MAX_OBJECTS];
	struct view view[MAX_OBJECTS];
	uint64_t seed[MAX_OBJECTS];
};

/* Mapped at @addr, or where the kernel likes. */
static void add_object(struct crowd *crowd, uint64_t size, char *addr)
{
	struct bo *bo = &crowd->bo[crowd->count];

	igt_assert(crowd->count < MAX_OBJECTS);
	*bo = target_bo(crowd->target, size);
	crowd->view[crowd->count++] = addr ?
		map_part(crowd->target, bo, 0, addr, size, PROT_READ | PROT_WRITE, MAP_FIXED) :
		map_whole(crowd->target, bo, PROT_READ | PROT_WRITE);
}

/* Of sizes that end on, before and after a boundary. */
static void add_mixed(struct crowd *crowd)
{
	static const uint64_t sizes[] = {
		8 * MiB,
		6 * MiB + 4 * KiB,
		4 * MiB - 4 * KiB,
		2 * MiB,
		8 * MiB + 64 * KiB,
	};

	add_object(crowd, sizes[crowd->count % ARRAY_SIZE(sizes)], NULL);
}

static void remove_object(struct crowd *crowd, int i)
{
	unmap(&crowd->view[i]);
	bo_destroy(&crowd->bo[i]);
}

static void write_object(struct crowd *crowd, int i, uint64_t seed)
{
	crowd->seed[i] = seed;
	fill(&crowd->view[i], BO_EVERY_PAGE, seed);
}

static void check_all(const struct crowd *crowd)
{
	for (int i = 0; i < crowd->count; i++)
		assert_contents(&crowd->view[i], BO_EVERY_PAGE, crowd->seed[i]);
}

static bool is_in(const struct bo *bo, enum bo_placement placement)
{
	enum bo_placement where;

	igt_assert_eq(bo_where(bo, &where), 0);
	return where == placement;
}

static int count_in(const struct crowd *crowd, enum bo_placement placement)
{
	int count = 0;

	for (int i = 0; i < crowd->count; i++)
		count += is_in(&crowd->bo[i], placement);
	return count;
}

/**
 * SUBTEST: overcommit
 * Description: With many more objects than VRAM holds, the oldest are evicted. All of them are read
 *              and written through their first mapping, in huge entries, wherever they are, and
 *              after each move.
 */
static void test_overcommit(const struct target *target)
{
	const uint64_t vram = bo_vram_size(target->fd);
	struct crowd crowd = { .target = target };
	uint64_t seed = 1, total = 0, pmd = 0;

	require_small_vram(target, SMALL_VRAM);
	/* VRAM may be more than it says: qxl has a second heap. */
	do {
		add_mixed(&crowd);
		total += crowd.bo[crowd.count - 1].size;
		write_object(&crowd, crowd.count - 1, seed++);
		check_all(&crowd);
	} while (total < vram + vram / 4 || (total < 3 * vram && count_in(&crowd, BO_SYSTEM) < 3));

	target_assert(target, count_in(&crowd, BO_SYSTEM), "nothing of %d objects was evicted",
		      crowd.count);
	target_assert(target, count_in(&crowd, BO_VRAM), "nothing of %d objects is in VRAM",
		      crowd.count);

	for (int i = 0; i < crowd.count; i++) {
		/* An order in which neighbours are not next to each other. */
		const struct view *view = &crowd.view[i * 7 % crowd.count];
		int ret = bo_return_to_vram(view->bo);

		if (ret == -EOPNOTSUPP)
			break;
		view_assert(view, !ret, "cannot return to VRAM: %s", strerror(-ret));
		write_object(&crowd, i, seed++);
		check_all(&crowd);
	}

	for (int i = 0; i < crowd.count; i++)
		pmd += levels_of(&crowd.view[i]).pmd;
	target_assert(target, pmd, "none of %d objects has a huge entry", crowd.count);
}

/**
 * SUBTEST: zap
 * Description: Eviction takes all entries away at once, in every mapping and process, and the next
 *              touch finds the same contents in system memory. The way back is no different.
 */
static void test_zap(const struct target *target)
{
	struct view view = new_filled(target, 6 * MiB + 4 * KiB, 1);
	struct view small = map_4k(target, view.bo);

	fill(&small, BO_EVERY_PAGE, 1);
	check_taken_away(&view, &small, 1, evict);

	return_to_vram(&view);
	assert_unmapped(&small);
	assert_contents(&view, BO_EVERY_PAGE, 2);
	assert_contents(&small, BO_EVERY_PAGE, 2);
	assert_where(target, view.bo, BO_VRAM);
}

static void evict_all(const struct crowd *crowd)
{
	/* Where the oldest make room for others, the youngest goes last. */
	for (int i = crowd->count - 1; i >= 0; i--)
		if (is_in(&crowd->bo[i], BO_VRAM))
			igt_assert_eq(bo_evict(&crowd->bo[i]), 0);
	igt_assert_eq(count_in(crowd, BO_SYSTEM), crowd->count);
}

/**
 * SUBTEST: processes
 * Description: Several processes write all over mapped objects and read back what they wrote, while
 *              another one drives the objects out of VRAM and back in.
 */
static void test_processes(const struct target *target)
{
	struct crowd crowd = { .target = target };
	struct writers writers;

	require_small_vram(target, SMALL_VRAM);
	/* Fresh objects each time, as some drivers never let them back in. */
	for (int round = 0; round < 2; round++) {
		int ret = 0;

		while (crowd.count < 4)
			add_mixed(&crowd);
		start_writers(&writers, 3, crowd.view, crowd.count);
		for (int i = 0; i < 3 && !ret; i++) {
			usleep(200 * 1000);
			evict_all(&crowd);
			usleep(200 * 1000);
			for (int j = 0; j < crowd.count && !ret; j++)
				ret = bo_return_to_vram(&crowd.bo[j]);
		}
		igt_assert(!ret || ret == -EOPNOTSUPP);
		stop_writers(&writers);
		while (crowd.count)
			remove_object(&crowd, --crowd.count);
	}
}

/*
 * Room
 */

/* The contents of a piece. */
static struct view word_of(const struct crowd *pieces, int i)
{
	return sub_view(&pieces->view[i], 0, BO_EVERY_WORD);
}

static void add_piece(struct crowd *pieces, char *area)
{
	struct view word;

	add_object(pieces, PIECE_SIZE, area + pieces->count * STRIDE);
	word = word_of(pieces, pieces->count - 1);
	fill(&word, BO_EVERY_WORD, pieces->count - 1);
}

/* How many of them have kept their entries; a moved object has none. */
static int count_mapped(const struct crowd *pieces)
{
	const char *area = pieces->view[0].addr;
	struct bo_extent *extents;
	int count = 0;
	size_t n;

	igt_assert_eq(bo_extents(area, pieces->count * STRIDE, &extents, &n), 0);
	for (size_t i = 0; i < n; i++)
		count += extents[i].level != BO_NONE &&
			 (extents[i].start - (uintptr_t)area) % STRIDE == 0;
	free(extents);
	return count;
}

static uint64_t place_of(const struct view *view)
{
	size_t pieces;
	uint64_t place = vram_address(view->target, view->bo, &pieces);

	igt_require_f(pieces == 1, "objects of %" PRIu64 " KiB are in %zu pieces\n",
		      view->bo->size / KiB, pieces);
	return place;
}

/* What lies between neighbours at most: arm64 aligns objects for contiguous PTEs. */
#define GAP		(64 * KiB)

/* The first of two neighbours in VRAM with no aligned 2 MiB in the room of both. */
static int find_unaligned_pair(const struct crowd *pieces, int first)
{
	for (int i = first; i < pieces->count - 1; i++) {
		uint64_t start = place_of(&pieces->view[i]);
		uint64_t next = place_of(&pieces->view[i + 1]);
		uint64_t aligned = (start + BO_PMD_SIZE - 1) & ~(BO_PMD_SIZE - 1);

		if (next - start - PIECE_SIZE < GAP && aligned + BO_PMD_SIZE > next + PIECE_SIZE + GAP)
			return i;
	}
	return -1;
}

/**
 * SUBTEST: unaligned-room
 * Description: When the only room in VRAM is too badly aligned for a huge entry, an object takes it
 *              and is mapped with 4 KiB entries: no other object is evicted for it.
 */
static void test_unaligned_room(const struct target *target)
{
	struct crowd pieces = { .target = target };
	struct view view;
	int hole, kept;
	char *area;

	require_small_vram(target, SMALL_VRAM);
	area = mmap(NULL, (MAX_OBJECTS + 1) * STRIDE, PROT_NONE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	igt_assert(area != MAP_FAILED);
	area += -(uintptr_t)area % STRIDE;

	/* Skips where they are in pieces. */
	add_piece(&pieces, area);
	place_of(&pieces.view[0]);

	/* VRAM is full once somebody had to go. */
	do {
		add_piece(&pieces, area);
	} while (pieces.count * PIECE_SIZE < bo_vram_size(target->fd) / 2 ||
		 count_mapped(&pieces) == pieces.count);

	/* The oldest went first, so look behind them. */
	hole = find_unaligned_pair(&pieces, pieces.count / 4);
	target_assert(target, hole >= 0, "no two of %d objects are neighbours", pieces.count);
	remove_object(&pieces, hole);
	remove_object(&pieces, hole + 1);
	kept = count_mapped(&pieces);
	target_assert(target, kept >= pieces.count / 2, "only %d of %d objects are in VRAM", kept,
		      pieces.count);

	view = new_view(target, BO_PMD_SIZE);
	view_assert(&view, count_mapped(&pieces) == kept,
		    "creating it evicted others: %d are mapped, expected %d",
		    count_mapped(&pieces), kept);
	touch(&view, true);
	assert_no_huge(&view);
	fill(&view, BO_EVERY_PAGE, 2);
	assert_contents(&view, BO_EVERY_PAGE, 2);
	assert_where(target, view.bo, BO_VRAM);

	for (int i = 0; i < pieces.count; i++) {
		struct view word = word_of(&pieces, i);

		if (i == hole || i == hole + 1)
			continue;
		assert_contents(&word, BO_EVERY_WORD, i);
		remove_object(&pieces, i);
	}
}

/**
 * SUBTEST: aligned-room
 * Description: Where there is room, objects are aligned for huge entries whatever lies before them.
 */
static void test_aligned_room(const struct target *target)
{
	for (int i = 0; i < 3; i++) {
		target_new_bo(target, 12 * KiB);
		new_filled(target, 4 * MiB, i);
	}
}

static const struct subtest subtests[] = {
	{ "overcommit", "More objects than VRAM holds", test_overcommit, .on = on_vram },
	{ "zap", "Eviction takes entries away", test_zap, .on = on_vram },
	{ "processes", "Some processes write while one evicts", test_processes, .on = on_vram },
	{ "unaligned-room", "No eviction for alignment", test_unaligned_room, .on = on_vram },
	{ "aligned-room", "Alignment where there is room", test_aligned_room, .on = on_vram },
};

int igt_main()
{
	run_test(subtests);
}
