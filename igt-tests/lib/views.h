/* SPDX-License-Identifier: MIT */
/* Mappings of objects: their entries and their contents. */
#ifndef VIEWS_H
#define VIEWS_H

#include "targets.h"

/* A mapping of a part of an object. */
struct view {
	const struct target *target;
	const struct bo *bo;
	uint64_t first;		/* byte of the object that is mapped at addr */
	char *addr;
	size_t length;
};

/* These say which object, and at which of its bytes. */
#define view_assert(view, condition, format, args...)				\
	igt_assert_f(condition, "%s: object of %" PRIu64 " KiB: " format "\n",	\
		     (view)->target->name, (view)->bo->size / KiB, ##args)
#define view_assert_at(view, offset, condition, format, args...)		\
	igt_assert_f(condition, "%s: object of %" PRIu64 " KiB, offset %#" PRIx64 ": " \
		     format "\n", (view)->target->name, (view)->bo->size / KiB,	\
		     (uint64_t)(offset), ##args)

/* All of @bo, where the kernel likes, shared. Asserts that the kernel likes it congruent. */
struct view map_whole(const struct target *target, const struct bo *bo, int prot);
struct view map_part(const struct target *target, const struct bo *bo, uint64_t first,
		     void *addr, size_t length, int prot, int flags);
/* All of @bo, with @addr and @flags as mmap() has them. */
struct view map_all(const struct target *target, const struct bo *bo, void *addr, int flags);
/* At an address that is @skew above a multiple of @align. */
struct view map_at(const struct target *target, const struct bo *bo, uint64_t align,
		   uint64_t skew);
/*
 * Every page of the view is touched, in the largest entries that fit, and filled from @seed in steps of
 * view_step().
 */
void touch_and_fill(const struct view *view, uint64_t seed);
/* map_whole() and touch_and_fill() */
struct view map_filled(const struct target *target, const struct bo *bo, uint64_t seed);
/* Either of a new object that lasts until the next target. */
struct view new_view(const struct target *target, uint64_t size);
struct view new_filled(const struct target *target, uint64_t size, uint64_t seed);
/* All of @bo in 4 KiB entries (MADV_NOHUGEPAGE). */
struct view map_4k(const struct target *target, const struct bo *bo);
struct view new_4k(const struct target *target, uint64_t size);
/* The same view of the same mapping, cut down to bytes [first, first + length) of the object. */
struct view sub_view(const struct view *view, uint64_t first, size_t length);
void unmap(struct view *view);
/* The view once mremap() has moved it to @addr. */
struct view move_view(const struct view *view, char *addr);
/* An address that is free for @length bytes, and @offset above a multiple of @align. */
char *free_address(size_t length, uint64_t align, uint64_t offset);

/*
 * Asserts that the view's addresses are congruent to offsets in the object, modulo the size of
 * the largest entry that its length has room for.
 */
void assert_congruent(const struct view *view);

/* The size of the largest entry of this CPU that fits into @length bytes. */
uint64_t wanted_alignment(uint64_t length);
bool is_congruent(const struct view *view, uint64_t alignment);

/*
 * Touches every page of small views, of large ones every page of the first and last
 * 2 MiB and one page of each 2 MiB between. Writing leaves a 1 in the first byte of each.
 */
void touch(const struct view *view, bool write);
#define LARGE_VIEW	(16 * BO_PMD_SIZE)

/*
 * The level that maps byte @offset of the object, once all of the view was touched with the
 * switch at @huge_faults: the largest entry whose range lies inside the view, at an address
 * that is congruent to its offset in the object, where the memory is contiguous.
 */
enum bo_level expected_level(const struct view *view, uint64_t offset, int huge_faults);

/* Asserts that for the whole view, after touch(). */
void assert_levels(const struct view *view, int huge_faults);
/* Both: touches the view, and asserts the levels. */
void touch_levels(const struct view *view, bool write, int huge_faults);
/* Asserts that bytes [offset, offset + length) of the object are mapped at @level only. */
void assert_level(const struct view *view, uint64_t offset, uint64_t length, enum bo_level level);
/* What the page tables hold for the view. */
struct bo_levels levels_of(const struct view *view);
/* Asserts that these are all entries of the view; of 2 MiB where the CPU has none of 1 GiB. */
void assert_entry_counts(const struct view *view, uint64_t pud, uint64_t pmd, uint64_t pte);
/* Asserts that no entry of the view is larger than 4 KiB. */
void assert_no_huge(const struct view *view);
/* Asserts that nothing of the view is mapped. */
void assert_unmapped(const struct view *view);
/* Asserts that no entry of the view is writable. */
void assert_read_only(const struct view *view);

/* Writes, or asserts, the pattern of @seed; @step as for bo_fill(). */
void fill(const struct view *view, uint64_t step, uint64_t seed);
void assert_contents(const struct view *view, uint64_t step, uint64_t seed);
/* Touches the view for reading, and asserts levels and contents. */
void check_view(const struct view *view, int huge_faults, uint64_t step, uint64_t seed);
/* Asserts it for the object without any mapping, through the driver's own read path. */
void assert_contents_read(const struct target *target, const struct bo *bo, uint64_t step,
			  uint64_t seed);
/* The same step for any size of view: every page, or of large views a page of each 2 MiB. */
uint64_t view_step(const struct view *view);

/* Faults of this process while it touches every page of the view. */
uint64_t faults_of_touching(const struct view *view, bool write);

#endif
