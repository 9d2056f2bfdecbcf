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
#define _GNU_SOURCE
#include <errno.h>
#include <sys/mman.h>

#include "ttm_huge.h"

IGT_TEST_DESCRIPTION("Huge mappings of TTM buffer objects when there is more than VRAM holds");

#define SMALL_VRAM	(256 * MiB)	/* more takes too long to fill */
#define MAX_OBJECTS	64

/* Mapped objects; each has the contents of its own seed. */
struct crowd {
	const struct target *target;
	int count;
	struct bo bo[MAX_OBJECTS];
	struct view view[MAX_OBJECTS];
	uint64_t seed[MAX_OBJECTS];
};

static void require_small_vram(const struct target *target)
{
	uint64_t vram = bo_vram_size(target->fd);

	igt_require_f(vram <= SMALL_VRAM, "%s: %" PRIu64 " MiB of VRAM take too long to fill\n",
		      target->name, vram / MiB);
}

static void add_object(struct crowd *crowd, uint64_t size)
{
	struct bo *bo = &crowd->bo[crowd->count];
	int ret;

	igt_assert(crowd->count < MAX_OBJECTS);
	ret = bo_create(crowd->target->fd, BO_VRAM, size, bo);
	igt_assert_f(!ret, "%s: no object of %" PRIu64 " KiB: %s\n", crowd->target->name,
		     size / KiB, strerror(-ret));
	crowd->view[crowd->count] = map_whole(crowd->target, bo, PROT_READ | PROT_WRITE);
	crowd->count++;
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

static void remove_all(struct crowd *crowd)
{
	for (int i = 0; i < crowd->count; i++) {
		unmap(&crowd->view[i]);
		bo_destroy(&crowd->bo[i]);
	}
	crowd->count = 0;
}

static uint64_t total_size(const struct crowd *crowd)
{
	uint64_t total = 0;

	for (int i = 0; i < crowd->count; i++)
		total += crowd->bo[i].size;
	return total;
}

/* Sizes that end on, before and after a boundary. */
static uint64_t mixed_size(int i)
{
	static const uint64_t sizes[] = {
		8 * MiB,
		6 * MiB + 4 * KiB,
		4 * MiB - 4 * KiB,
		2 * MiB,
		8 * MiB + 64 * KiB,
	};

	return sizes[i % ARRAY_SIZE(sizes)];
}

static int count_in(const struct crowd *crowd, enum bo_placement placement)
{
	enum bo_placement where;
	int count = 0;

	for (int i = 0; i < crowd->count; i++) {
		igt_assert_eq(bo_where(&crowd->bo[i], &where), 0);
		count += where == placement;
	}
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
	struct bo_levels levels;
	uint64_t seed = 1, pmd = 0;
	int ret = 0;

	require_small_vram(target);
	/* VRAM may be more than it says: qxl has a second heap. */
	do {
		add_object(&crowd, mixed_size(crowd.count));
		write_object(&crowd, crowd.count - 1, seed++);
		check_all(&crowd);
	} while (total_size(&crowd) < vram + vram / 4 ||
		 (total_size(&crowd) < 3 * vram && count_in(&crowd, BO_SYSTEM) < 3));

	igt_assert_f(count_in(&crowd, BO_SYSTEM), "%s: nothing of %d objects was evicted\n",
		     target->name, crowd.count);
	igt_assert_f(count_in(&crowd, BO_VRAM), "%s: nothing of %d objects is in VRAM\n",
		     target->name, crowd.count);

	for (int i = 0; i < crowd.count && !ret; i++) {
		/* An order in which neighbours are not next to each other. */
		ret = bo_return_to_vram(&crowd.bo[i * 7 % crowd.count]);
		if (ret == -EOPNOTSUPP)
			break;
		igt_assert_f(!ret, "%s: object of %" PRIu64 " KiB cannot return to VRAM: %s\n",
			     target->name, crowd.bo[i * 7 % crowd.count].size / KiB,
			     strerror(-ret));
		write_object(&crowd, i, seed++);
		check_all(&crowd);
	}

	for (int i = 0; i < crowd.count; i++) {
		igt_assert_eq(bo_levels(crowd.view[i].addr, crowd.view[i].length, &levels), 0);
		pmd += levels.pmd;
	}
	igt_assert_f(pmd, "%s: none of %d objects has a huge entry\n", target->name, crowd.count);
}

/**
 * SUBTEST: zap
 * Description: Eviction takes all entries away at once, in every mapping and process, and the next
 *              touch finds the same contents in system memory. The way back is no different.
 */
static void test_zap(const struct target *target)
{
	struct bo bo = target_bo(target, 6 * MiB + 4 * KiB);
	struct view view = map_whole(target, &bo, PROT_READ | PROT_WRITE), small = map_4k(target, &bo);
	enum bo_placement where;
	struct handshake hs;
	int ret;

	touch(&view, true);
	touch(&small, true);
	fill(&view, BO_EVERY_PAGE, 1);

	handshake_open(&hs);
	igt_fork(child, 1) {
		handshake_take(&hs, CHILD);
		assert_levels(&view, HUGE_PUD);
		handshake_tell(&hs);
		handshake_wait(&hs);
		assert_unmapped(&view);
		assert_unmapped(&small);
		assert_contents(&view, BO_EVERY_PAGE, 1);
		assert_contents(&small, BO_EVERY_PAGE, 1);
		fill(&view, BO_EVERY_PAGE, 2);
		handshake_close(&hs);
	}
	handshake_take(&hs, PARENT);
	handshake_wait(&hs);

	ret = bo_evict(&bo);
	igt_assert_f(!ret, "%s: object of %" PRIu64 " KiB cannot be evicted: %s\n", target->name,
		     bo.size / KiB, strerror(-ret));
	assert_unmapped(&view);
	assert_unmapped(&small);
	handshake_finish(&hs);
	assert_contents(&view, BO_EVERY_PAGE, 2);
	assert_contents(&small, BO_EVERY_PAGE, 2);

	ret = bo_return_to_vram(&bo);
	igt_require_f(ret != -EOPNOTSUPP, "%s: the driver moves nothing back to VRAM\n",
		      target->name);
	igt_assert_eq(ret, 0);
	assert_unmapped(&view);
	assert_unmapped(&small);
	assert_contents(&view, BO_EVERY_PAGE, 2);
	assert_contents(&small, BO_EVERY_PAGE, 2);
	igt_assert_eq(bo_where(&bo, &where), 0);
	igt_assert_eq(where, BO_VRAM);
}

static void evict_all(const struct crowd *crowd)
{
	enum bo_placement where;

	/* Where the oldest make room for others, the youngest goes last. */
	for (int i = crowd->count - 1; i >= 0; i--) {
		igt_assert_eq(bo_where(&crowd->bo[i], &where), 0);
		if (where == BO_VRAM)
			igt_assert_eq(bo_evict(&crowd->bo[i]), 0);
	}
	igt_assert_eq(count_in(crowd, BO_SYSTEM), crowd->count);
}

/*
 * Processes
 */

#define TOUCHERS	3

/* The words of a page that belong to a process. */
static volatile uint64_t *slot_of(const struct view *view, uint64_t page, int process)
{
	return (volatile uint64_t *)(view->addr + page * BO_PTE_SIZE) + process;
}

/*
 * Writes numbers to its own words all over the objects and expects to find the last one
 * again, wherever the object has gone in the meantime.
 */
static void touch_until(const volatile bool *stop, const struct crowd *crowd, int process)
{
	uint64_t *last[MAX_OBJECTS], number = 0;
	unsigned int random = process;

	for (int i = 0; i < crowd->count; i++) {
		uint64_t pages = crowd->bo[i].size / BO_PTE_SIZE;

		last[i] = calloc(pages, sizeof(*last[i]));
		igt_assert(last[i]);
		for (uint64_t page = 0; page < pages; page++)
			*slot_of(&crowd->view[i], page, process) = 0;
	}

	while (!*stop) {
		int i = rand_r(&random) % crowd->count;
		uint64_t page = rand_r(&random) % (crowd->bo[i].size / BO_PTE_SIZE);
		volatile uint64_t *slot = slot_of(&crowd->view[i], page, process);
		uint64_t found = *slot;

		igt_assert_f(found == last[i][page],
			     "%s: object of %" PRIu64 " KiB, offset %#" PRIx64 ": process %d wrote %"
			     PRIu64 " and found %" PRIu64 "\n", crowd->target->name,
			     crowd->bo[i].size / KiB, page * BO_PTE_SIZE, process, last[i][page],
			     found);
		last[i][page] = *slot = ++number;
	}

	for (int i = 0; i < crowd->count; i++) {
		for (uint64_t page = 0; page < crowd->bo[i].size / BO_PTE_SIZE; page++) {
			uint64_t found = *slot_of(&crowd->view[i], page, process);

			igt_assert_f(found == last[i][page],
				     "%s: object of %" PRIu64 " KiB, offset %#" PRIx64
				     ": at the end process %d found %" PRIu64 ", expected %" PRIu64 "\n",
				     crowd->target->name, crowd->bo[i].size / KiB,
				     page * BO_PTE_SIZE, process, found, last[i][page]);
		}
		free(last[i]);
	}
}

/**
 * SUBTEST: processes
 * Description: Several processes write all over mapped objects and read back what they wrote, while
 *              another one drives the objects out of VRAM and back in.
 */
static void test_processes(const struct target *target)
{
	struct crowd crowd = { .target = target };
	volatile bool *stop;

	require_small_vram(target);
	stop = mmap(NULL, sizeof(*stop), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	igt_assert(stop != MAP_FAILED);

	/* Fresh objects each time, as some drivers never let them back in. */
	for (int round = 0; round < 2; round++) {
		int ret = 0;

		*stop = false;
		while (crowd.count < 4)
			add_object(&crowd, mixed_size(crowd.count));

		igt_fork(child, TOUCHERS)
			touch_until(stop, &crowd, child);

		for (int i = 0; i < 3 && !ret; i++) {
			usleep(200 * 1000);
			evict_all(&crowd);
			usleep(200 * 1000);
			for (int j = 0; j < crowd.count && !ret; j++)
				ret = bo_return_to_vram(&crowd.bo[j]);
		}
		igt_assert(!ret || ret == -EOPNOTSUPP);

		*stop = true;
		igt_waitchildren();
		remove_all(&crowd);
	}
	munmap((void *)stop, sizeof(*stop));
	assert_no_kernel_warning(target);
}

/*
 * Room
 */

/*
 * Together two of these are large enough for an object of 2 MiB, but seldom where it is
 * aligned; they are too small to be aligned themselves.
 */
#define PIECE_SIZE	(1 * MiB + 4 * KiB)
#define STRIDE		(2 * MiB)
#define MAX_PIECES	(SMALL_VRAM / PIECE_SIZE + 32)

struct pieces {
	const struct target *target;
	char *addr;		/* piece i is mapped at addr + i * STRIDE */
	int count;
	struct bo bo[MAX_PIECES];
};

static char *piece_addr(const struct pieces *pieces, int i)
{
	return pieces->addr + i * STRIDE;
}

/* How many of them have kept their entries; a moved object has none. */
static int count_mapped(const struct pieces *pieces)
{
	struct bo_extent *extents;
	size_t length = pieces->count * STRIDE, n;
	int count = 0;

	igt_assert_eq(bo_extents(pieces->addr, length, &extents, &n), 0);
	for (size_t i = 0; i < n; i++)
		count += extents[i].level != BO_NONE &&
			 (extents[i].start - (uintptr_t)pieces->addr) % STRIDE == 0;
	free(extents);
	return count;
}

static void add_piece(struct pieces *pieces)
{
	struct bo *bo = &pieces->bo[pieces->count];
	char *addr = piece_addr(pieces, pieces->count);

	igt_assert_eq(bo_create(pieces->target->fd, BO_VRAM, PIECE_SIZE, bo), 0);
	igt_assert(bo_map(bo, addr, PIECE_SIZE, PROT_READ | PROT_WRITE, MAP_FIXED) == addr);
	*(volatile uint64_t *)addr = bo_pattern(1, pieces->count);
	pieces->count++;
}

static void remove_piece(struct pieces *pieces, int i)
{
	igt_assert_eq(munmap(piece_addr(pieces, i), PIECE_SIZE), 0);
	bo_destroy(&pieces->bo[i]);
}

static uint64_t place_of(const struct bo *bo)
{
	uint64_t place;
	size_t pieces;

	igt_assert_eq(bo_vram_place(bo, &place, &pieces), 0);
	igt_require_f(pieces == 1, "objects of %" PRIu64 " KiB are in %zu pieces\n",
		      bo->size / KiB, pieces);
	return place;
}

/* The first of two neighbours in VRAM with no aligned 2 MiB in the room of both. */
static int find_unaligned_pair(const struct pieces *pieces, int first)
{
	for (int i = first; i < pieces->count - 1; i++) {
		uint64_t start = place_of(&pieces->bo[i]);
		uint64_t aligned = (start + BO_PMD_SIZE - 1) & ~(BO_PMD_SIZE - 1);

		if (place_of(&pieces->bo[i + 1]) == start + PIECE_SIZE &&
		    aligned + BO_PMD_SIZE > start + 2 * PIECE_SIZE)
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
	struct pieces *pieces = calloc(1, sizeof(*pieces));
	enum bo_placement where;
	struct view view;
	struct bo bo;
	int hole, kept;

	require_small_vram(target);
	pieces->target = target;
	pieces->addr = mmap(NULL, (MAX_PIECES + 1) * STRIDE, PROT_NONE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	igt_assert(pieces->addr != MAP_FAILED);
	pieces->addr = (char *)(((uintptr_t)pieces->addr + STRIDE - 1) & ~(STRIDE - 1));

	/* Skips where they are in pieces. */
	add_piece(pieces);
	place_of(&pieces->bo[0]);

	/* VRAM is full once somebody had to go. */
	do {
		igt_assert(pieces->count < (int)MAX_PIECES);
		add_piece(pieces);
	} while (pieces->count * PIECE_SIZE < bo_vram_size(target->fd) / 2 ||
		 count_mapped(pieces) == pieces->count);

	/* The oldest went first, so look behind them. */
	hole = find_unaligned_pair(pieces, pieces->count / 4);
	igt_assert_f(hole >= 0, "%s: no two of %d objects are neighbours\n", target->name,
		     pieces->count);
	remove_piece(pieces, hole);
	remove_piece(pieces, hole + 1);
	kept = count_mapped(pieces);
	igt_assert_f(kept >= pieces->count / 2, "%s: only %d of %d objects are in VRAM\n",
		     target->name, kept, pieces->count);

	igt_assert_eq(bo_create(target->fd, BO_VRAM, BO_PMD_SIZE, &bo), 0);
	igt_assert_f(count_mapped(pieces) == kept,
		     "%s: object of %" PRIu64 " KiB: creating it evicted others: %d are mapped, "
		     "expected %d\n",
		     target->name, bo.size / KiB, count_mapped(pieces), kept);

	view = map_whole(target, &bo, PROT_READ | PROT_WRITE);
	touch(&view, true);
	assert_no_huge(&view);
	fill(&view, BO_EVERY_PAGE, 2);
	assert_contents(&view, BO_EVERY_PAGE, 2);
	igt_assert_eq(bo_where(&bo, &where), 0);
	igt_assert_eq(where, BO_VRAM);

	for (int i = 0; i < pieces->count; i++) {
		if (i == hole || i == hole + 1)
			continue;
		igt_assert_f(*(volatile uint64_t *)piece_addr(pieces, i) == bo_pattern(1, i),
			     "%s: object %d of %" PRIu64 " KiB, offset 0: wrong contents\n",
			     target->name, i, PIECE_SIZE / KiB);
		remove_piece(pieces, i);
	}
	free(pieces);
}

/**
 * SUBTEST: aligned-room
 * Description: Where there is room, objects are aligned for huge entries whatever lies before them.
 */
static void test_aligned_room(const struct target *target)
{
	for (int i = 0; i < 3; i++) {
		struct bo odd = target_bo(target, 12 * KiB), bo = target_bo(target, 4 * MiB);
		struct view view = map_whole(target, &bo, PROT_READ | PROT_WRITE);

		(void)odd;
		touch(&view, true);
		assert_levels(&view, HUGE_PUD);
		unmap(&view);
	}
}

int igt_main()
{
	static const struct {
		const char *name, *description;
		void (*test)(const struct target *target);
	} tests[] = {
		{ "overcommit", "More objects than VRAM holds", test_overcommit },
		{ "zap", "Eviction takes entries away", test_zap },
		{ "processes", "Some processes write while one evicts", test_processes },
		{ "unaligned-room", "No eviction for alignment", test_unaligned_room },
		{ "aligned-room", "Alignment where there is room", test_aligned_room },
	};
	struct target *target;

	igt_fixture()
		ttm_huge_init();

	for (size_t i = 0; i < ARRAY_SIZE(tests); i++) {
		igt_describe(tests[i].description);
		igt_subtest_with_dynamic(tests[i].name)
			igt_dynamic_targets_if(target, target->placement == BO_VRAM)
				tests[i].test(target);
	}

	igt_fixture()
		ttm_huge_fini();
}
