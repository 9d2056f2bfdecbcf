// SPDX-License-Identifier: MIT
#define _GNU_SOURCE 1
#include "moves.h"

#include <errno.h>
#include <limits.h>

#include "kernel.h"

/*
 * Moves
 */

void assert_where(const struct target *target, const struct bo *bo, enum bo_placement expected)
{
	enum bo_placement found;

	igt_assert_eq(bo_where(bo, &found), 0);
	target_assert(target, found == expected,
		      "object of %" PRIu64 " KiB is in %s, expected in %s", bo->size / KiB,
		      bo_placement_name(found), bo_placement_name(expected));
}

uint64_t vram_address(const struct target *target, const struct bo *bo, size_t *pieces)
{
	uint64_t base;
	size_t count;
	int ret = bo_vram_place(bo, &base, pieces ? pieces : &count);

	target_assert(target, !ret, "object of %" PRIu64 " KiB is not found in VRAM: %s",
		      bo->size / KiB, strerror(-ret));
	return base;
}

void evict(const struct view *view)
{
	int ret = bo_evict(view->bo);

	target_assert(view->target, !ret, "object of %" PRIu64 " KiB cannot be evicted: %s",
		      view->bo->size / KiB, strerror(-ret));
	assert_unmapped(view);
	assert_where(view->target, view->bo, BO_SYSTEM);
}

void return_in_use(const struct view *view)
{
	int ret = bo_return_to_vram(view->bo);

	target_require(view->target, ret != -EOPNOTSUPP,
		       "the driver moves nothing back to VRAM");
	view_assert(view, !ret, "it cannot return to VRAM: %s", strerror(-ret));
}

void return_to_vram(const struct view *view)
{
	return_in_use(view);
	assert_unmapped(view);
	assert_where(view->target, view->bo, BO_VRAM);
}

/*
 * Memory taken away
 */

/* Reading these does it. */
#define SWAP_OUT	"/sys/kernel/debug/ttm/tt_shrink"	/* one object */
#define SHRINK_POOL	"/sys/kernel/debug/ttm/page_pool_shrink"

void require_swap_out(void)
{
	igt_require_f(!access(SWAP_OUT, R_OK) && !access(SHRINK_POOL, R_OK),
		      "no %s: debugfs and root are needed\n", SWAP_OUT);
}

long swap_out_all(void)
{
	long pages, total = 0;

	do {
		FILE *f = fopen(SWAP_OUT, "re");

		igt_assert(f && fscanf(f, "%ld", &pages) == 1);
		fclose(f);
		igt_assert_f(pages >= 0, "swapping out fails: %s\n", strerror(-pages));
		total += pages;
	} while (pages);
	return total;
}

void empty_page_pool(void)
{
	unsigned long pages, left;

	do {
		FILE *f = fopen(SHRINK_POOL, "re");

		igt_assert(f);
		/* Node, pages before, pages freed. Linux 7.2 prints SHRINK_EMPTY, which is -2, for no page. */
		for (left = 0; fscanf(f, "%*d: %lu/%*u", &pages) == 1;)
			left += (long)pages < 0 ? 0 : pages;
		fclose(f);
	} while (left);
}
