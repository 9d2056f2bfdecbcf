// SPDX-License-Identifier: MIT
#define _GNU_SOURCE
#include "vttm_ops.h"

bool is_vttm(const struct target *target)
{
	return target->placement == BO_VRAM && !strncmp(target->name, "vttm", 4);
}

const char *domain_name(uint32_t domain)
{
	return domain == SYSTEM ? "system" : domain == GTT ? "gtt" : domain == VRAM ? "vram" :
	       domain == TINY ? "tiny" : "?";
}

uint32_t domain_of(const struct bo *bo)
{
	struct drm_vttm_query query;

	igt_assert_eq(vttm_query(bo, &query), 0);
	return query.domain;
}

/*
 * What the blocks allow
 */

static const uint64_t entry_sizes[] = {
	[BO_PTE] = BO_PTE_SIZE,
	[BO_PMD] = BO_PMD_SIZE,
	[BO_PUD] = BO_PUD_SIZE,
};

/*
 * The entry at @addr, given that the object's memory is at @offset of the device's and goes on for
 * @rest bytes: the largest that is aligned in both and fits into what is left of both.
 */
static enum bo_level level_at(uintptr_t addr, uintptr_t end, uint64_t offset, uint64_t rest,
			      int huge_faults)
{
	enum bo_level level = BO_PTE + huge_faults;

	while (level > BO_PTE &&
	       ((addr | offset) % entry_sizes[level] || addr + entry_sizes[level] > end ||
		entry_sizes[level] > rest))
		level--;
	return level;
}

void assert_entries(const struct view *view, int huge_faults)
{
	uintptr_t addr = (uintptr_t)view->addr, end = addr + view->length;
	enum bo_level expected = BO_NONE, found = BO_NONE;
	struct drm_vttm_block *blocks;
	struct bo_extent *extents;
	uint64_t done = view->first;
	size_t count, b = 0, n, e = 0;

	igt_assert_eq(vttm_blocks(view->bo, &blocks, &count), 0);
	igt_assert_eq(bo_extents(view->addr, view->length, &extents, &n), 0);
	while (addr < end && found == expected) {
		while (b < count && done >= blocks[b].size)
			done -= blocks[b++].size;
		igt_assert_f(b < count, "%s: object of %" PRIu64 " KiB: its blocks are too few\n",
			     view->target->name, view->bo->size / KiB);
		while (extents[e].end <= addr)
			e++;
		expected = level_at(addr, end, blocks[b].offset + done, blocks[b].size - done,
				    huge_faults);
		found = extents[e].level;
		addr += entry_sizes[expected];
		done += entry_sizes[expected];
	}
	free(extents);
	free(blocks);
	addr -= entry_sizes[expected];
	igt_assert_f(found == expected,
		     "%s: object of %" PRIu64 " KiB in %zu blocks, offset %#" PRIx64
		     ": found %s, expected %s (at %#" PRIxPTR " of a mapping of %zu KiB at %p)\n",
		     view->target->name, view->bo->size / KiB, count,
		     view->first + (addr - (uintptr_t)view->addr), bo_level_name(found),
		     bo_level_name(expected), addr, view->length / KiB, view->addr);
}

size_t count_blocks(const struct bo *bo)
{
	struct drm_vttm_block *blocks;
	size_t count;

	igt_assert_eq(vttm_blocks(bo, &blocks, &count), 0);
	free(blocks);
	return count;
}
