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
#define _GNU_SOURCE
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include <xf86drm.h>

#include "ttm_huge.h"

IGT_TEST_DESCRIPTION("Mappings of TTM buffer objects when their device is unplugged");

#define SEED	1
#define SMALL	(4 * MiB + 4 * KiB)

/*
 * Nothing of the object is left: what is there is memory that holds what was written there since.
 * All of a mapping is one page.
 */
static void assert_dummy(const struct view *view)
{
	volatile uint64_t *first = (volatile uint64_t *)view->addr;
	struct bo_levels levels;

	assert_unmapped(view);
	for (uint64_t o = 0; o < view->length; o += view->length <= LARGE_VIEW ? BO_PTE_SIZE :
									      BO_PMD_SIZE) {
		volatile uint64_t *word = (volatile uint64_t *)(view->addr + o);
		const volatile uint64_t *page_end = word + BO_PTE_SIZE / 8;

		for (; word < page_end; word++)
			igt_assert_f(!*word || *word == SEED, "%s: object of %" PRIu64
				     " KiB, offset %#" PRIx64 ": found %#" PRIx64
				     " after the device is gone, expected an empty page\n",
				     view->target->name, view->bo->size / KiB, o, *word);
	}
	*first = SEED;
	igt_assert_eq_u64(*(volatile uint64_t *)(view->addr + view->length - BO_PTE_SIZE), SEED);
	assert_no_huge(view);
	igt_assert_eq(bo_levels(view->addr, view->length, &levels), 0);
	igt_assert_f(!strcmp(levels.cache, "WB"), "%s: object of %" PRIu64
		     " KiB: mapped as %s after the device is gone, expected WB\n",
		     view->target->name, view->bo->size / KiB, levels.cache);
}

/**
 * SUBTEST: mapped
 * Description: Mappings with entries of every level, of this process and of its child, lose them all
 *              when the device is unplugged. Each page of them is empty memory then, nothing of
 *              the object can be read, and unmapping works.
 */
static void test_mapped(struct target *target)
{
	struct bo bo;
	struct view view, small, untouched;
	struct handshake hs;
	struct pci_address device = pci_address(target);

	bo = target_bo(target, size_of_all_levels(target));
	view = map_filled(target, &bo, 2);
	/* Not all of a gigabyte: the pages that come are 4 KiB each. */
	small = map_part(target, &bo, 0, NULL, SMALL, PROT_READ | PROT_WRITE, 0);
	igt_assert_eq(madvise(small.addr, small.length, MADV_NOHUGEPAGE), 0);
	untouched = map_part(target, &bo, 0, NULL, SMALL, PROT_READ | PROT_WRITE, 0);
	touch(&small, false);

	handshake_open(&hs);
	igt_fork(child, 1) {
		handshake_take(&hs, CHILD);
		assert_levels(&view, HUGE_PUD);
		handshake_tell(&hs);
		handshake_wait(&hs);
		assert_unmapped(&small);
		assert_dummy(&view);
		handshake_close(&hs);
	}
	handshake_take(&hs, PARENT);
	handshake_wait(&hs);
	unplug(&device);
	assert_unmapped(&view);
	assert_unmapped(&small);
	handshake_finish(&hs);
	assert_dummy(&view);
	assert_dummy(&small);
	assert_dummy(&untouched);

	/* A part goes, the rest stays. */
	igt_assert_eq(munmap(view.addr + BO_PMD_SIZE, BO_PTE_SIZE), 0);
	igt_assert_eq_u64(*(volatile uint64_t *)view.addr, SEED);
	igt_assert_eq(signal_of_read(view.addr + BO_PMD_SIZE), SIGSEGV);
	unmap(&view);
	unmap(&small);
	unmap(&untouched);
	bo_destroy(&bo);
	plug_in(target, &device);
	assert_no_kernel_warning(target);
}

/**
 * SUBTEST: dmabuf
 * Description: The same for a mapping of an exported dma-buf.
 */
static void test_dmabuf(struct target *target)
{
	struct view view = { .target = target };
	struct pci_address device = pci_address(target);
	struct bo bo;
	int dmabuf;

	bo = target_bo(target, SMALL);
	view.bo = &bo;
	view.length = bo.size;
	igt_assert_eq(drmPrimeHandleToFD(target->fd, bo.handle, DRM_CLOEXEC | DRM_RDWR, &dmabuf), 0);
	view.addr = mmap(free_address(bo.size, BO_PUD_SIZE, 0), bo.size, PROT_READ | PROT_WRITE,
			 MAP_SHARED | MAP_FIXED_NOREPLACE, dmabuf, 0);
	igt_assert(view.addr != MAP_FAILED);
	touch(&view, true);
	assert_levels(&view, HUGE_PUD);
	fill(&view, view_step(&view), 2);

	unplug(&device);
	assert_unmapped(&view);
	assert_dummy(&view);
	unmap(&view);
	close(dmabuf);
	bo_destroy(&bo);
	plug_in(target, &device);
	assert_no_kernel_warning(target);
}

/* How many interrupt handlers the driver has. */
static int count_handlers(const struct target *target)
{
	const char *name = bo_driver(target->fd);
	FILE *f = fopen("/proc/interrupts", "re");
	char line[512];
	int count = 0;

	igt_assert(f);
	while (fgets(line, sizeof(line), f)) {
		for (const char *at = line; (at = strstr(at, name)); at++)
			count++;
	}
	fclose(f);
	return count;
}

/**
 * SUBTEST: plugged-in
 * Description: After the device was unplugged and plugged in again, new objects reach every level, and
 *              the driver has as many interrupt handlers as before.
 */
static void test_plugged_in(struct target *target)
{
	struct pci_address device = pci_address(target);
	const int handlers = count_handlers(target);
	struct view view;
	struct bo bo;

	bo = target_bo(target, size_of_all_levels(target));
	view = map_filled(target, &bo, 2);
	unplug(&device);
	unmap(&view);
	bo_destroy(&bo);
	plug_in(target, &device);
	igt_assert_eq(count_handlers(target), handlers);

	bo = target_bo(target, size_of_all_levels(target));
	view = map_filled(target, &bo, 2);
	assert_contents(&view, view_step(&view), 2);
	unmap(&view);
	assert_no_kernel_warning(target);
}

int igt_main()
{
	static const struct {
		const char *name, *description;
		void (*test)(struct target *target);
	} tests[] = {
		{ "mapped", "Entries go, empty pages come", test_mapped },
		{ "dmabuf", "The same through a dma-buf", test_dmabuf },
		{ "plugged-in", "As good as new", test_plugged_in },
	};
	struct target *target;

	igt_fixture()
		ttm_huge_init();

	for (size_t i = 0; i < ARRAY_SIZE(tests); i++) {
		igt_describe(tests[i].description);
		igt_subtest_with_dynamic(tests[i].name)
			igt_dynamic_targets(target)
				tests[i].test(target);
	}

	igt_fixture()
		ttm_huge_fini();
}
