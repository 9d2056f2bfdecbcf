// SPDX-License-Identifier: MIT
/**
 * TEST: ttm huge unplug
 * Category: Core
 * Mega feature: General Core features
 * Sub-category: Memory management tests
 * Functionality: hotunplug
 * Description: When the driver lets go of a device while its objects are mapped, no entry for their
 *              memory stays, huge or not, in any process, and what is touched is an empty page.
 */
#define _GNU_SOURCE 1
#include <fcntl.h>
#include <sys/mman.h>

#include <xf86drm.h>

#include "ttm_huge.h"

IGT_TEST_DESCRIPTION("Mappings of TTM buffer objects when their device is unplugged");

#define SEED	1
#define SMALL	(4 * MiB + BO_PTE_SIZE)

/*
 * Nothing of the object is left: what is there is memory that holds what was written there since.
 * All of a mapping is one page.
 */
static void assert_dummy(const struct view *view)
{
	const uint64_t step = view->length <= LARGE_VIEW ? BO_PTE_SIZE : BO_PMD_SIZE;
	volatile uint64_t *words = (volatile uint64_t *)view->addr;
	struct bo_levels levels;

	assert_unmapped(view);
	for (uint64_t o = 0; o < view->length; o += step)
		for (uint64_t i = o / 8; i < (o + BO_PTE_SIZE) / 8; i++)
			view_assert_at(view, o, !words[i] || words[i] == SEED,
				       "found %#" PRIx64 " after the device is gone, expected an "
				       "empty page", words[i]);
	*words = SEED;
	igt_assert_eq_u64(words[(view->length - BO_PTE_SIZE) / 8], SEED);
	assert_no_huge(view);
	levels = levels_of(view);
	view_assert(view, !strcmp(levels.cache, BO_CACHED),
		    "mapped as %s after the device is gone, expected %s", levels.cache, BO_CACHED);
}

/**
 * SUBTEST: mapped
 * Description: Mappings with entries of every level, of this process and of its child, lose them
 *              all when the device is unplugged. Each page of them is empty memory then, nothing
 *              of the object can be read, and unmapping works.
 */
static void test_mapped(const struct target *target)
{
	struct pci_address device = pci_address(target);
	struct view view = new_filled(target, size_of_all_levels(target), 2);
	/* Not all of a gigabyte: the pages that come are 4 KiB each. */
	struct view small = map_part(target, view.bo, 0, NULL, SMALL, PROT_READ | PROT_WRITE, 0);
	struct view fresh = map_part(target, view.bo, 0, NULL, SMALL, PROT_READ | PROT_WRITE, 0);
	struct turns turns;

	igt_assert_eq(madvise(small.addr, small.length, MADV_NOHUGEPAGE), 0);
	touch(&small, false);
	in_child(&turns) {
		assert_levels(&view, HUGE_PUD);
		next_turn(&turns);
		assert_unmapped(&small);
		assert_dummy(&view);
	}
	unplug(&device);
	assert_unmapped(&view);
	assert_unmapped(&small);
	last_turn(&turns);
	assert_dummy(&view);
	assert_dummy(&small);
	assert_dummy(&fresh);

	/* A part goes, the rest stays. */
	igt_assert_eq(munmap(view.addr + BO_PMD_SIZE, BO_PTE_SIZE), 0);
	igt_assert_eq_u64(*(volatile uint64_t *)view.addr, SEED);
	igt_assert_eq(signal_of_read(view.addr + BO_PMD_SIZE), SIGSEGV);
	unmap(&view);
	unmap(&small);
	unmap(&fresh);
	plug_in(target, &device);
}

/**
 * SUBTEST: dmabuf
 * Description: The same for a mapping of an exported dma-buf.
 */
static void test_dmabuf(const struct target *target)
{
	struct pci_address device = pci_address(target);
	struct bo bo = target_bo(target, SMALL), shared = { .size = bo.size };
	struct view view;

	igt_assert_eq(drmPrimeHandleToFD(bo.fd, bo.handle, DRM_CLOEXEC | DRM_RDWR, &shared.fd), 0);
	view = map_at(target, &shared, BO_PUD_SIZE, 0);
	touch_and_fill(&view, 2);

	unplug(&device);
	assert_dummy(&view);
	unmap(&view);
	close(shared.fd);
	bo_destroy(&bo);
	plug_in(target, &device);
}

/* How many interrupt handlers the driver has. */
static int count_handlers(const struct target *target)
{
	const char *name = bo_driver(target->fd);
	FILE *f = fopen("/proc/interrupts", "re");
	char line[512];
	int count = 0;

	igt_assert(f);
	while (fgets(line, sizeof(line), f))
		for (const char *at = line; (at = strstr(at, name)); at++)
			count++;
	fclose(f);
	return count;
}

/**
 * SUBTEST: plugged-in
 * Description: After the device was unplugged and plugged in again, new objects reach every level,
 *              and the driver has as many interrupt handlers as before.
 */
static void test_plugged_in(const struct target *target)
{
	struct pci_address device = pci_address(target);
	const int handlers = count_handlers(target);
	struct view view = new_filled(target, size_of_all_levels(target), 2);

	unplug(&device);
	unmap(&view);
	plug_in(target, &device);
	igt_assert_eq(count_handlers(target), handlers);
	view = new_filled(target, size_of_all_levels(target), 2);
	assert_contents(&view, view_step(&view), 2);
	unmap(&view);
}

static const struct subtest subtests[] = {
	{ "mapped", "Entries go, empty pages come", .test = test_mapped },
	{ "dmabuf", "The same through a dma-buf", .test = test_dmabuf },
	{ "plugged-in", "As good as new", .test = test_plugged_in },
};

int igt_main()
{
	run_test(subtests);
}
