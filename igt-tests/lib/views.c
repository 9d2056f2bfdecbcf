// SPDX-License-Identifier: MIT
#define _GNU_SOURCE 1
#include "views.h"

#include <errno.h>
#include <sys/mman.h>

struct view map_part(const struct target *target, const struct bo *bo, uint64_t first,
		     void *addr, size_t length, int prot, int flags)
{
	struct view view = {
		.target = target,
		.bo = bo,
		.first = first,
		.addr = bo_map_part(bo, first, addr, length, prot, flags),
		.length = length,
	};

	view_assert_at(&view, first, view.addr != MAP_FAILED, "mmap of %zu KiB at %p: %s",
		       length / KiB, addr, strerror(errno));
	return view;
}

struct view map_whole(const struct target *target, const struct bo *bo, int prot)
{
	struct view view = map_part(target, bo, 0, NULL, bo->size, prot, 0);

	/* Without this, nothing huge would be expected at an address that is no good for it. */
	assert_congruent(&view);
	return view;
}

void touch_and_fill(const struct view *view, uint64_t seed)
{
	touch(view, true);
	assert_levels(view, HUGE_PUD);
	fill(view, view_step(view), seed);
}

struct view map_filled(const struct target *target, const struct bo *bo, uint64_t seed)
{
	struct view view = map_whole(target, bo, PROT_READ | PROT_WRITE);

	touch_and_fill(&view, seed);
	return view;
}

struct view new_view(const struct target *target, uint64_t size)
{
	return map_whole(target, target_new_bo(target, size), PROT_READ | PROT_WRITE);
}

struct view new_filled(const struct target *target, uint64_t size, uint64_t seed)
{
	return map_filled(target, target_new_bo(target, size), seed);
}

struct view map_all(const struct target *target, const struct bo *bo, void *addr, int flags)
{
	return map_part(target, bo, 0, addr, bo->size, PROT_READ | PROT_WRITE, flags);
}

struct view map_at(const struct target *target, const struct bo *bo, uint64_t align,
		   uint64_t skew)
{
	return map_all(target, bo, free_address(bo->size, align, skew),
		       MAP_SHARED | MAP_FIXED_NOREPLACE);
}

uint64_t wanted_alignment(uint64_t length)
{
	if (length >= BO_PUD_SIZE && bo_has_pud_entries())
		return BO_PUD_SIZE;
	return length >= BO_PMD_SIZE ? BO_PMD_SIZE : BO_PTE_SIZE;
}

bool is_congruent(const struct view *view, uint64_t alignment)
{
	return ((uintptr_t)view->addr - view->first) % alignment == 0;
}

void assert_congruent(const struct view *view)
{
	/* mm aligns for the entries that the switch allows at the time of mmap(). */
	static const uint64_t most[] = { BO_PTE_SIZE, BO_PMD_SIZE, BO_PUD_SIZE };
	uint64_t alignment = wanted_alignment(view->length);
	int huge_faults = bo_get_huge_faults();

	if (huge_faults >= HUGE_NONE && alignment > most[huge_faults])
		alignment = most[huge_faults];
	view_assert_at(view, view->first, is_congruent(view, alignment),
		       "mapped at %p, expected an address congruent to the offset modulo %" PRIu64
		       " KiB", view->addr, alignment / KiB);
}

struct view map_4k(const struct target *target, const struct bo *bo)
{
	struct view view = {
		.target = target,
		.bo = bo,
		.addr = bo_map_4k(bo),
		.length = bo->size,
	};

	view_assert(&view, view.addr != MAP_FAILED, "no mapping with MADV_NOHUGEPAGE: %s",
		    strerror(errno));
	return view;
}

struct view new_4k(const struct target *target, uint64_t size)
{
	return map_4k(target, target_new_bo(target, size));
}

struct view sub_view(const struct view *view, uint64_t first, size_t length)
{
	struct view part = *view;

	part.addr += first - view->first;
	part.first = first;
	part.length = length;
	return part;
}

char *free_address(size_t length, uint64_t align, uint64_t offset)
{
	uintptr_t addr;
	void *area;

	area = mmap(NULL, length + 2 * align, PROT_NONE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	igt_assert(area != MAP_FAILED);
	munmap(area, length + 2 * align);
	addr = ((uintptr_t)area + align - 1) & ~(align - 1);
	return (char *)(addr + offset % align);
}

void unmap(struct view *view)
{
	igt_assert_eq(munmap(view->addr, view->length), 0);
	view->addr = MAP_FAILED;
}

struct view move_view(const struct view *view, char *addr)
{
	struct view moved = *view;

	moved.addr = mremap(view->addr, view->length, view->length,
			    MREMAP_MAYMOVE | MREMAP_FIXED, addr);
	view_assert_at(view, view->first, moved.addr == addr, "mremap of %zu KiB from %p to %p: %s",
		       view->length / KiB, view->addr, addr, strerror(errno));
	return moved;
}

static void touch_byte(const struct view *view, uint64_t pos, bool write)
{
	volatile char *byte = view->addr + pos;

	if (write)
		*byte = 1;
	else
		(void)*byte;
}

void touch(const struct view *view, bool write)
{
	uint64_t pos = 0;

	while (pos < view->length) {
		touch_byte(view, pos, write);
		if (view->length <= LARGE_VIEW || pos < BO_PMD_SIZE ||
		    pos + BO_PMD_SIZE >= view->length)
			pos += BO_PTE_SIZE;
		else if (pos + 2 * BO_PMD_SIZE >= view->length)
			pos = view->length - BO_PMD_SIZE;
		else
			pos += BO_PMD_SIZE;
	}
}

enum bo_level expected_level(const struct view *view, uint64_t offset, int huge_faults)
{
	static const struct {
		enum bo_level level;
		uint64_t size;
	} huge[] = {
		{ BO_PUD, BO_PUD_SIZE },
		{ BO_PMD, BO_PMD_SIZE },
	};
	uintptr_t start = (uintptr_t)view->addr, at = start + (offset - view->first);

	for (size_t i = 0; i < ARRAY_SIZE(huge); i++) {
		uintptr_t block = at & ~(huge[i].size - 1);

		if (huge[i].level == BO_PUD && (huge_faults < HUGE_PUD || !bo_has_pud_entries()))
			continue;
		if (huge[i].level == BO_PMD && huge_faults < HUGE_PMD)
			continue;
		/* TTM's pool has no piece of system memory that large. */
		if (huge[i].level == BO_PUD && view->target->placement == BO_SYSTEM)
			continue;
		/* VRAM is aligned to the largest block that the object can fill. */
		if (view->bo->size < huge[i].size)
			continue;
		if (block < start || block + huge[i].size > start + view->length)
			continue;
		if ((view->first + (block - start)) % huge[i].size)
			continue;
		return huge[i].level;
	}
	return BO_PTE;
}

static void assert_as_expected(bool as_expected, const struct view *view, uint64_t offset,
			       enum bo_level found, const char *expected)
{
	view_assert_at(view, offset, as_expected,
		       "found %s, expected %s (at %p of a mapping of %zu KiB at %p)",
		       bo_level_name(found), expected, view->addr + (offset - view->first),
		       view->length / KiB, view->addr);
}

static struct bo_extent *view_extents(const struct view *view, size_t *count)
{
	struct bo_extent *extents;
	int ret = bo_extents(view->addr, view->length, &extents, count);

	igt_assert_f(!ret, "%s: ptdump of %p: %s\n", view->target->name, view->addr,
		     strerror(-ret));
	return extents;
}

static uint64_t view_offset(const struct view *view, uintptr_t at)
{
	return view->first + (at - (uintptr_t)view->addr);
}

void assert_levels(const struct view *view, int huge_faults)
{
	enum bo_level found = BO_NONE, expected = BO_NONE;
	struct bo_extent *extents;
	uint64_t offset = 0;
	bool right = true;
	size_t count;

	extents = view_extents(view, &count);
	for (size_t i = 0; i < count && right; i++) {
		uintptr_t at = extents[i].start;

		/* What is expected changes at multiples of 2 MiB only. */
		for (; at < extents[i].end && right; at = (at | (BO_PMD_SIZE - 1)) + 1) {
			offset = view_offset(view, at);
			expected = expected_level(view, offset, huge_faults);
			found = extents[i].level;
			right = found == expected ||
				/* touch() leaves gaps between the 4 KiB entries of a large view. */
				(found == BO_NONE && expected == BO_PTE &&
				 view->length > LARGE_VIEW);
		}
	}
	free(extents);
	assert_as_expected(right, view, offset, found, bo_level_name(expected));
}

void touch_levels(const struct view *view, bool write, int huge_faults)
{
	touch(view, write);
	assert_levels(view, huge_faults);
}

/* Asserts that every extent of a view passes @test. */
static void assert_extents(const struct view *view, const char *expected,
			   bool (*test)(const struct bo_extent *extent, enum bo_level level),
			   enum bo_level level)
{
	struct bo_extent *extents, extent = { 0 };
	bool right = true;
	size_t count;

	extents = view_extents(view, &count);
	for (size_t i = 0; i < count && right; i++) {
		extent = extents[i];
		right = test(&extent, level);
	}
	free(extents);
	assert_as_expected(right, view, view_offset(view, extent.start), extent.level, expected);
}

static bool is_level(const struct bo_extent *extent, enum bo_level level)
{
	return extent->level == level;
}

static bool is_at_most(const struct bo_extent *extent, enum bo_level level)
{
	return extent->level <= level;
}

static bool is_read_only(const struct bo_extent *extent, enum bo_level level)
{
	(void)level;
	return !extent->writable;
}

void assert_level(const struct view *view, uint64_t offset, uint64_t length, enum bo_level level)
{
	struct view part = sub_view(view, offset, length);

	assert_extents(&part, bo_level_name(level), is_level, level);
}

struct bo_levels levels_of(const struct view *view)
{
	struct bo_levels levels;
	int ret = bo_levels(view->addr, view->length, &levels);

	view_assert(view, !ret, "ptdump: %s", strerror(-ret));
	return levels;
}

void assert_entry_counts(const struct view *view, uint64_t pud, uint64_t pmd, uint64_t pte)
{
	struct bo_levels found = levels_of(view);

	if (!bo_has_pud_entries()) {
		pmd += pud * (BO_PUD_SIZE / BO_PMD_SIZE);
		pud = 0;
	}
	view_assert(view, found.pud == pud && found.pmd == pmd && found.pte == pte,
		    "%" PRIu64 " pud, %" PRIu64 " pmd, %" PRIu64 " pte, expected %" PRIu64 ", %"
		    PRIu64 ", %" PRIu64, found.pud, found.pmd, found.pte, pud, pmd, pte);
}

void assert_no_huge(const struct view *view)
{
	assert_extents(view, "at most pte", is_at_most, BO_PTE);
}

void assert_unmapped(const struct view *view)
{
	assert_extents(view, "none", is_level, BO_NONE);
}

void assert_read_only(const struct view *view)
{
	assert_extents(view, "read-only, but it is writable", is_read_only, BO_NONE);
}

uint64_t view_step(const struct view *view)
{
	return view->length <= LARGE_VIEW ? BO_EVERY_PAGE : BO_EVERY_BLOCK;
}

void fill(const struct view *view, uint64_t step, uint64_t seed)
{
	bo_fill(view->addr, view->first, view->length, step, seed);
}

void assert_contents(const struct view *view, uint64_t step, uint64_t seed)
{
	int64_t wrong = bo_check(view->addr, view->first, view->length, step, seed);
	struct bo_levels levels = { 0 };
	const char *level;

	if (wrong < 0)
		return;
	bo_levels(view->addr + (wrong - view->first), 8, &levels);
	level = levels.pud ? "pud" : levels.pmd ? "pmd" : levels.pte ? "pte" : "none";
	view_assert_at(view, wrong, wrong < 0, "wrong contents: found %#" PRIx64 ", expected %#"
		       PRIx64 " (through a %s entry)",
		       *(volatile uint64_t *)(view->addr + (wrong - view->first)),
		       bo_pattern(seed, wrong), level);
}

void check_view(const struct view *view, int huge_faults, uint64_t step, uint64_t seed)
{
	touch_levels(view, false, huge_faults);
	assert_contents(view, step, seed);
}

void assert_contents_read(const struct target *target, const struct bo *bo, uint64_t step,
			  uint64_t seed)
{
	struct bo_reader reader;
	int64_t wrong;
	int ret;

	ret = bo_reader_open(bo, &reader);
	igt_assert_f(!ret, "%s: object of %" PRIu64 " KiB: no way to read it: %s\n", target->name,
		     bo->size / KiB, strerror(-ret));
	wrong = bo_check_reader(&reader, 0, bo->size, step, seed, &ret);
	bo_reader_close(&reader);
	igt_assert_f(wrong < 0,
		     "%s: object of %" PRIu64 " KiB, offset %#" PRIx64 ": the driver reads %s\n",
		     target->name, bo->size / KiB, wrong,
		     ret ? strerror(-ret) : "something else than the mapping wrote");
}

uint64_t faults_of_touching(const struct view *view, bool write)
{
	uint64_t before = bo_faults();

	for (uint64_t pos = 0; pos < view->length; pos += BO_PTE_SIZE)
		touch_byte(view, pos, write);
	return bo_faults() - before;
}
