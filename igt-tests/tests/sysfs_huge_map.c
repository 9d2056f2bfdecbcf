// SPDX-License-Identifier: MIT
/*
 * What remap_pfn_range() maps, seen through a PCI BAR's file in sysfs: the
 * largest entries that fit, which stay when a part of them is taken away, as there
 * is no fault that could bring them back.
 */
#define _GNU_SOURCE 1
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/param.h>
#include <sys/prctl.h>

#include "pci.h"
#include "ttm_huge.h"

/**
 * TEST: sysfs huge map
 * Category: Core
 * Mega feature: General Core features
 * Sub-category: Memory management tests
 * Description: A PCI resource file is mapped with huge entries, which are split in place
 *
 * SUBTEST: level-%s
 * Description: A mapping %arg[1] has entries of that level, and no page tables below
 *
 * arg[1]:
 *
 * @pud:	of 1 GiB, at a 1 GiB boundary
 * @pmd:	of 1 GiB, at a 2 MiB boundary that is none of 1 GiB
 * @pte:	of 16 MiB, at a 4 KiB boundary
 *
 * SUBTEST: hole
 * Description: After munmap() of a page in the middle of 1 GiB the rest is mapped and right
 *
 * SUBTEST: protect
 * Description: After mprotect() of a page in the middle of 1 GiB the page obeys and all is right
 *
 * SUBTEST: protect-whole
 * Description: Read-only and back, 1 GiB that was written to is still one entry and takes no fault
 *
 * SUBTEST: move
 * Description: mremap() of a page in the middle of 1 GiB leaves the rest mapped and right
 *
 * SUBTEST: private
 * Description: Private mappings have 4 KiB entries, as their pages may be replaced one by one
 *
 * SUBTEST: thp-disabled
 * Description: prctl(PR_SET_THP_DISABLE) means these entries too
 */

IGT_TEST_DESCRIPTION("Huge entries of PCI resource files in sysfs");

#define HOLE	(GiB / 2 + 4 * KiB)

/* The BAR looks like a VRAM object that begins at a 1 GiB boundary, so ttm_huge.h applies. */
static struct bo bar = { .size = 2 * GiB, .placement = BO_VRAM };

static struct view map_bar(const struct target *target, size_t length, uint64_t align,
			   uint64_t skew, int flags)
{
	return map_part(target, &bar, 0, free_address(length, align, skew), length,
			PROT_READ | PROT_WRITE, flags | MAP_FIXED_NOREPLACE);
}

/* A number in each page near the hole, and in each 2 MiB */
static struct view near_hole(const struct view *view)
{
	uint64_t from = MAX(view->first, HOLE - 4 * MiB);
	uint64_t to = MIN(view->first + view->length, HOLE + 4 * MiB);

	return sub_view(view, from, to > from ? to - from : 0);
}

static void fill_pages(const struct view *view)
{
	struct view near = near_hole(view);

	fill(view, BO_EVERY_BLOCK, 1);
	fill(&near, BO_EVERY_PAGE, 1);
}

static void assert_pages(const struct view *view)
{
	struct view near = near_hole(view);
	uint64_t mapped = levels_of(view).mapped;

	view_assert_at(view, view->first, mapped == view->length,
		       "%" PRIu64 " of %zu KiB are mapped", mapped / KiB, view->length / KiB);
	assert_contents(view, BO_EVERY_BLOCK, 1);
	assert_contents(&near, BO_EVERY_PAGE, 1);
}

static const struct level {
	const char *name;
	size_t length;
	uint64_t align, skew;	/* of the address */
	uint64_t pud, pmd, pte;	/* entries */
} levels[] = {
	{ "pud", GiB, GiB, 0, 1, 0, 0 },
	{ "pmd", GiB, GiB, 2 * MiB, 0, 512, 0 },
	{ "pte", 16 * MiB, 2 * MiB, 4 * KiB, 0, 0, 4096 },
};

static void test_level(const struct target *target, const void *member)
{
	const struct level *l = member;
	uint64_t before = bo_pgtable_kib(), tables = (l->pmd + l->pte) / 512;
	struct view view = map_bar(target, l->length, l->align, l->skew, MAP_SHARED), other;

	assert_entry_counts(&view, l->pud, l->pmd, l->pte);
	/* At most two tables above, besides those of the entries */
	igt_assert_lte(bo_pgtable_kib() - before, tables * 4 + 12);

	fill_pages(&view);
	other = map_bar(target, l->length, 2 * MiB, 4 * KiB, MAP_SHARED);
	assert_pages(&other);
	unmap(&other);
	unmap(&view);
}

static const char * const parts[] = { "hole", "protect", "move" };

/* What a page in the middle costs: one PMD entry, and nothing of the contents. */
static void test_part(const struct target *target, const void *member)
{
	const char *what = *(const char * const *)member;
	struct view view = map_bar(target, GiB, GiB, 0, MAP_SHARED);
	struct view left = sub_view(&view, 0, HOLE), page = sub_view(&view, HOLE, 4 * KiB);
	struct view right = sub_view(&view, HOLE + 4 * KiB, GiB - HOLE - 4 * KiB), moved = page;
	bool gone = strcmp(what, "protect");

	fill_pages(&view);
	if (!strcmp(what, "hole")) {
		igt_assert_eq(munmap(page.addr, page.length), 0);
	} else if (!strcmp(what, "move")) {
		moved.addr = mremap(page.addr, 4 * KiB, 4 * KiB, MREMAP_MAYMOVE | MREMAP_FIXED,
				    free_address(4 * KiB, 2 * MiB, 8 * KiB));
		view_assert_at(&view, HOLE, moved.addr != MAP_FAILED, "mremap(): %s",
			       strerror(errno));
		assert_contents(&moved, BO_EVERY_PAGE, 1);
		unmap(&moved);
	} else {
		igt_assert_eq(mprotect(page.addr, page.length, PROT_READ), 0);
		igt_assert_eq(signal_of_write(page.addr), SIGSEGV);
	}

	assert_entry_counts(&view, 0, 511, 512 - gone);
	igt_assert_eq(signal_of_read(page.addr), gone ? SIGSEGV : 0);
	assert_pages(&left);
	assert_pages(gone ? &right : &view);
	fill_pages(&left);
	unmap(&view);
}

static void test_protect_whole(const struct target *target)
{
	struct view view = map_bar(target, GiB, GiB, 0, MAP_SHARED);
	uint64_t faults;

	fill_pages(&view);
	igt_assert_eq(mprotect(view.addr, GiB, PROT_READ), 0);
	igt_assert_eq(signal_of_write(view.addr), SIGSEGV);
	igt_assert_eq(mprotect(view.addr, GiB, PROT_READ | PROT_WRITE), 0);
	faults = bo_faults();
	fill_pages(&view);
	igt_assert_eq_u64(bo_faults() - faults, 0);
	assert_entry_counts(&view, 1, 0, 0);
	unmap(&view);
}

static void check_pages_only(struct view view)
{
	assert_entry_counts(&view, 0, 0, 1024);
	unmap(&view);
}

static void test_private(const struct target *target)
{
	check_pages_only(map_bar(target, 4 * MiB, GiB, 0, MAP_PRIVATE));
}

static void test_thp_disabled(const struct target *target)
{
	struct view view;

	igt_assert_eq(prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0), 0);
	view = map_bar(target, 4 * MiB, GiB, 0, MAP_SHARED);
	igt_assert_eq(prctl(PR_SET_THP_DISABLE, 0, 0, 0, 0), 0);
	check_pages_only(view);
}

static const struct subtest subtests[] = {
	{ "level-%s", "Aligned for entries of one level", .test_member = test_level,
	  FAMILY(levels) },
	{ "%s", "One page of a 1 GiB entry is treated otherwise", .test_member = test_part,
	  FAMILY(parts) },
	{ "protect-whole", "A 1 GiB entry that was written to is read-only for a while",
	  .test = test_protect_whole },
	{ "private", "Private mappings have 4 KiB entries", .test = test_private },
	{ "thp-disabled", "Where transparent huge pages are disabled, these are",
	  .test = test_thp_disabled },
};

int igt_main()
{
	static const struct target target = { .name = "sysfs-bar", .placement = BO_VRAM };

	igt_fixture() {
		struct pci_address device = pci_memory(bar.size);
		char path[96];

		snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/resource2", device.name);
		bar.fd = open(path, O_RDWR | O_SYNC | O_CLOEXEC);
		igt_require_f(bar.fd >= 0, "%s does not open: %s\n", path,
			      strerror(errno));
		note_kernel_warnings();
	}
	for (size_t i = 0; i < ARRAY_SIZE(subtests); i++)
		run_subtest_on(&target, &subtests[i]);
	igt_fixture()
		close(bar.fd);
}
