// SPDX-License-Identifier: MIT
#define _GNU_SOURCE 1
#include "vttm_ops.h"

#include <sys/mman.h>

bool is_vttm(const struct target *target)
{
	return target->placement == BO_VRAM && !strncmp(target->name, "vttm", 4);
}

bool vttm_has_struct_pages(void)
{
	FILE *f = fopen("/sys/module/vttm/parameters/struct_pages", "re");
	int value = f ? fgetc(f) : EOF;

	if (f)
		fclose(f);
	return value == 'Y';
}

struct bo vttm_bo_from(const struct target *target, struct drm_vttm_create how)
{
	struct bo bo;
	int ret;

	/* The smaller card has no room for a PMD entry with pages of 64 KiB. */
	if (how.domains == VRAM) {
		uint64_t vram = bo_vram_size(target->fd);

		target_require(target, how.size <= vram,
			       "%" PRIu64 " KiB of VRAM, wanted %" PRIu64 " KiB of it",
			       vram / KiB, (uint64_t)how.size / KiB);
	}
	ret = vttm_create(target->fd, how, &bo);
	target_assert(target, !ret, "no object of %" PRIu64 " KiB: %s", (uint64_t)how.size / KiB,
		      strerror(-ret));
	return bo;
}

struct view vttm_new_view_from(const struct target *target, struct drm_vttm_create how)
{
	struct bo bo = vttm_bo_from(target, how);

	return map_whole(target, target_keep_bo(&bo), PROT_READ | PROT_WRITE);
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

void assert_domain(const struct view *view, uint32_t expected)
{
	uint32_t found = domain_of(view->bo);

	view_assert(view, found == expected, "it is in %s, expected in %s", domain_name(found),
		    domain_name(expected));
}

void move_to(const struct view *view, uint32_t domain)
{
	int ret = vttm_move(view->bo, domain);

	view_assert(view, !ret, "it cannot move to %s: %s", domain_name(domain), strerror(-ret));
	assert_domain(view, domain);
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

	if (level == BO_PUD && !bo_has_pud_entries())
		level = BO_PMD;
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
		view_assert(view, b < count, "its blocks are too few");
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
	view_assert_at(view, view->first + (addr - (uintptr_t)view->addr), found == expected,
		       "found %s, expected %s (in %zu blocks, at %#" PRIxPTR " of a mapping of %zu"
		       " KiB at %p)", bo_level_name(found), bo_level_name(expected), count, addr,
		       view->length / KiB, view->addr);
}

void assert_entries_of_all(const struct view *view, int huge_faults)
{
	faults_of_touching(view, false);
	assert_entries(view, huge_faults);
}

void assert_entries_in(const struct view *view, uint32_t domain)
{
	touch(view, false);
	if (domain & (VRAM | TINY))
		assert_entries(view, HUGE_PUD);
	else
		assert_levels(view, HUGE_PUD);
}

size_t count_blocks(const struct bo *bo)
{
	struct drm_vttm_block *blocks;
	size_t count;

	igt_assert_eq(vttm_blocks(bo, &blocks, &count), 0);
	free(blocks);
	return count;
}
