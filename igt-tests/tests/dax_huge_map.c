// SPDX-License-Identifier: MIT
/**
 * TEST: dax huge map
 * Category: Core
 * Mega feature: General Core features
 * Sub-category: Memory management tests
 * Description: Entries of 1 GiB for memory with pages, which device-dax makes, stay right where the
 *              series changes what all entries of that level do
 *
 * SUBTEST: read-only-and-back
 * Description: Read-only and back, 1 GiB that was written to is still one entry and takes no fault
 *
 * SUBTEST: none-and-back
 * Description: Without access, no page can be had by get_user_pages_fast(), also not by a child; with
 *              access again, 1 GiB is still one entry and takes no fault
 *
 * SUBTEST: look-while-none
 * Description: Files in /proc and mincore() know an entry that is not accessible. They may take it
 *              away, and the next fault brings it back
 *
 * SUBTEST: munmap-while-none
 * Description: munmap() of an entry that is not accessible
 *
 * SUBTEST: exit-while-none
 * Description: A process exits with an entry that is not accessible
 *
 * SUBTEST: mremap
 * Description: mremap() to a 1 GiB boundary moves the entry as it is
 *
 * SUBTEST: mremap-while-none
 * Description: The same without access
 *
 * SUBTEST: mremap-to-2m
 * Description: mremap() to a 2 MiB boundary that is none of 1 GiB takes the entry away: device-dax has
 *              none that fits there
 */
#define _GNU_SOURCE 1
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "ttm_huge.h"

IGT_TEST_DESCRIPTION("Entries of 1 GiB that device-dax makes");

/* A device whose contents nobody needs, with an alignment of 1 GiB */
#define DAX	"TTM_HUGE_DAX"

static struct bo dax = { .size = GiB, .placement = BO_VRAM };

/* Written to, so that the entry is dirty */
static struct view map_filled_dax(const struct target *target)
{
	struct view view = map_at(target, &dax, GiB, 0);

	fill(&view, BO_EVERY_BLOCK, 1);
	assert_entry_counts(&view, 1, 0, 0);
	return view;
}

static void set_access(const struct view *view, int prot)
{
	igt_assert_eq(mprotect(view->addr, view->length, prot), 0);
}

/* The entry is there, and can be written to without a fault. */
static void assert_whole(const struct view *view)
{
	uint64_t faults = bo_faults();

	assert_contents(view, BO_EVERY_BLOCK, 1);
	fill(view, BO_EVERY_BLOCK, 1);
	igt_assert_eq_u64(bo_faults() - faults, 0);
	assert_entry_counts(view, 1, 0, 0);
}

static long take_page(const struct view *view)
{
	return splice_pages(view->addr, BO_PTE_SIZE);
}

static void test_read_only(const struct target *target)
{
	struct view view = map_filled_dax(target);

	set_access(&view, PROT_READ);
	igt_assert_eq(signal_of_write(view.addr), SIGSEGV);
	set_access(&view, PROT_READ | PROT_WRITE);
	assert_whole(&view);
	unmap(&view);
}

static void test_none(const struct target *target)
{
	struct view view = map_filled_dax(target);

	igt_assert_eq(take_page(&view), BO_PTE_SIZE);
	set_access(&view, PROT_NONE);
	igt_assert_eq(take_page(&view), -EFAULT);
	igt_assert_eq(signal_of_read(view.addr), SIGSEGV);
	fork_and_wait()
		igt_assert_eq(take_page(&view), -EFAULT);
	set_access(&view, PROT_READ | PROT_WRITE);
	assert_whole(&view);
	unmap(&view);
}

static void test_look(const struct target *target)
{
	struct view view = map_filled_dax(target);
	unsigned char vec[BO_PMD_SIZE / BO_PTE_SIZE];

	set_access(&view, PROT_NONE);
	read_maps();
	read_pagemap(view.addr);
	igt_assert_eq(mincore(view.addr, BO_PMD_SIZE, vec), 0);
	set_access(&view, PROT_READ | PROT_WRITE);
	assert_contents(&view, BO_EVERY_BLOCK, 1);
	assert_entry_counts(&view, 1, 0, 0);
	unmap(&view);
}

static void test_munmap(const struct target *target)
{
	struct view view = map_filled_dax(target);

	set_access(&view, PROT_NONE);
	unmap(&view);
}

static void test_exit(const struct target *target)
{
	fork_and_wait() {
		struct view view = map_filled_dax(target);

		set_access(&view, PROT_NONE);
	}
}

static const struct move {
	const char *name;
	int prot;
} moves[] = {
	{ "mremap", PROT_READ | PROT_WRITE },
	{ "mremap-while-none", PROT_NONE },
};

static void test_mremap(const struct target *target, const void *member)
{
	const struct move *m = member;
	struct view view = map_filled_dax(target), moved;

	set_access(&view, m->prot);
	moved = move_view(&view, free_address(GiB, GiB, 0));
	set_access(&moved, PROT_READ | PROT_WRITE);
	assert_whole(&moved);
	unmap(&moved);
}

static void test_mremap_to_2m(const struct target *target)
{
	struct view view = map_filled_dax(target), moved;

	moved = move_view(&view, free_address(GiB, GiB, 2 * MiB));
	assert_unmapped(&moved);
	igt_assert_eq(signal_of_read(moved.addr), SIGBUS);
	unmap(&moved);
	view = map_at(target, &dax, GiB, 0);
	assert_contents(&view, BO_EVERY_BLOCK, 1);
	unmap(&view);
}

static const struct subtest subtests[] = {
	{ "read-only-and-back", "Without write access for a while", .test = test_read_only },
	{ "none-and-back", "Without access for a while", .test = test_none },
	{ "look-while-none", "Files in /proc and mincore() without access", .test = test_look },
	{ "munmap-while-none", "munmap() without access", .test = test_munmap },
	{ "exit-while-none", "exit() without access", .test = test_exit },
	{ "%s", "mremap() to a 1 GiB boundary", .test_member = test_mremap, FAMILY(moves) },
	{ "mremap-to-2m", "mremap() to where no entry fits", .test = test_mremap_to_2m },
};

int igt_main()
{
	static const struct target target = { .name = "dax", .placement = BO_VRAM };

	igt_fixture() {
		const char *named = getenv(DAX);

		igt_require_f(named, DAX " names no device-dax, whose contents would be overwritten\n");
		require_pud_entries();
		dax.fd = open(named, O_RDWR | O_CLOEXEC);
		igt_require_f(dax.fd >= 0, "%s does not open: %s\n", named, strerror(errno));
		note_kernel_warnings();
	}
	run_subtests_on(&target, subtests);
	igt_fixture()
		close(dax.fd);
}
