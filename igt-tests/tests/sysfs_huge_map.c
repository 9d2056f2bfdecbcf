// SPDX-License-Identifier: MIT
/**
 * TEST: sysfs huge map
 * Category: Core
 * Mega feature: General Core features
 * Sub-category: Memory management tests
 * Description: A PCI resource file is mapped with huge entries, which are split in place: what
 *              remap_pfn_range() has mapped, no fault could bring back
 *
 * SUBTEST: level-%s
 * Description: A mapping %arg[1] has entries of that level, and no page tables below; mm's event
 *              says why they are not larger, also where address and memory are not aligned alike
 *
 * arg[1]:
 *
 * @pud:	of 1 GiB, at a 1 GiB boundary
 * @pmd:	of 1 GiB, at a 2 MiB boundary that is none of 1 GiB
 * @pte:	of 16 MiB, at a 4 KiB boundary
 *
 * SUBTEST: chosen-address
 * Description: Where mmap() chooses the address, the BAR has entries of 1 GiB
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
 * Description: Private mappings have 4 KiB entries, as their pages may be replaced one by one; mm's
 *              event gives the driver as the reason
 *
 * SUBTEST: dev-mem
 * Description: /dev/mem maps 1 GiB in one entry, where mmap() chooses the address
 *
 * SUBTEST: thp-disabled
 * Description: prctl(PR_SET_THP_DISABLE) means these entries too, and mm's event says so
 */
#define _GNU_SOURCE 1
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/param.h>
#include <sys/prctl.h>

#include "inserts.h"
#include "vma_ops.h"

IGT_TEST_DESCRIPTION("Huge entries of PCI resource files in sysfs");

#define HOLE	(GiB / 2 + 4 * KiB)

/* The BAR looks like a VRAM object that begins at a 1 GiB boundary, so ttm_huge.h applies. */
static struct bo bar = { .size = 2 * GiB, .placement = BO_VRAM };
static uint64_t bar_address;

static struct view map_bar(const struct target *target, size_t length, uint64_t align,
			   uint64_t skew, int flags)
{
	return map_part(target, &bar, 0, free_address(length, align, skew), length,
			PROT_READ | PROT_WRITE, flags | MAP_FIXED_NOREPLACE);
}

/* fill(), or assert_contents(), of each page near the hole, and of a word in each 2 MiB */
static void with_pages(const struct view *view,
		       void (*act)(const struct view *view, uint64_t step, uint64_t seed))
{
	uint64_t from = MAX(view->first, HOLE - 4 * MiB);
	uint64_t to = MIN(view->first + view->length, HOLE + 4 * MiB);
	struct view near = sub_view(view, from, to > from ? to - from : 0);

	act(view, BO_EVERY_BLOCK, 1);
	act(&near, BO_EVERY_PAGE, 1);
}

static void assert_pages(const struct view *view)
{
	uint64_t mapped = levels_of(view).mapped;

	view_assert_at(view, view->first, mapped == view->length,
		       "%" PRIu64 " of %zu KiB are mapped", mapped / KiB, view->length / KiB);
	with_pages(view, assert_contents);
}

static const struct level {
	const char *name;
	size_t length;
	uint64_t align, skew;	/* of the address */
	uint64_t pud, pmd, pte;	/* entries */
	int flags;
	bool thp_disabled;
	const char *limit;	/* why the first entry is not larger */
} levels[] = {
	{ "level-pud", GiB, GiB, 0, 1, 0, 0, MAP_SHARED, false, "none" },
	{ "level-pmd", GiB, GiB, 2 * MiB, 0, 512, 0, MAP_SHARED, false, "vma" },
	{ "level-pte", 16 * MiB, 2 * MiB, 4 * KiB, 0, 0, 4096, MAP_SHARED, false, "vma" },
	{ "private", 4 * MiB, GiB, 0, 0, 0, 1024, MAP_PRIVATE, false, "driver" },
	{ "thp-disabled", 4 * MiB, GiB, 0, 0, 0, 1024, MAP_SHARED, true, "nohugepage" },
};

/*
 * All but the first page, from a 2 MiB boundary on: the mapping has room for 2 MiB entries, and has
 * none only because address and memory are not aligned alike.
 */
static struct view map_misaligned(const struct target *target, size_t length)
{
	struct inserts inserts;
	struct view view;

	inserts_start();
	view = map_part(target, &bar, 4 * KiB, free_address(length, 2 * MiB, 0), length - 4 * KiB,
			PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED_NOREPLACE);
	inserts = inserts_stop(&view);
	assert_one_insert(&view, &inserts, "alignment");
	return view;
}

static void test_level(const struct target *target, const void *member)
{
	const struct level *l = member;
	uint64_t before, added, tables = (l->pmd + l->pte) / 512;
	struct inserts inserts;
	struct view view, other;

	require_inserts();
	inserts_start();
	before = bo_pgtable_kib();
	igt_assert_eq(prctl(PR_SET_THP_DISABLE, l->thp_disabled, 0, 0, 0), 0);
	view = map_bar(target, l->length, l->align, l->skew, l->flags);
	igt_assert_eq(prctl(PR_SET_THP_DISABLE, 0, 0, 0, 0), 0);
	/* Before the trace is read, which may take memory of its own */
	added = bo_pgtable_kib() - before;
	inserts = inserts_stop(&view);
	assert_entry_counts(&view, l->pud, l->pmd, l->pte);
	/* At most two tables above, besides those of the entries */
	igt_assert_lte(added, tables * 4 + 12);
	assert_one_insert(&view, &inserts, l->limit);

	if (l->flags == MAP_SHARED) {
		with_pages(&view, fill);
		other = map_misaligned(target, l->length);
		assert_pages(&other);
		unmap(&other);
	}
	unmap(&view);
}

static void test_chosen_address(const struct target *target)
{
	struct view view = map_all(target, &bar, NULL, MAP_SHARED);

	assert_entry_counts(&view, bar.size / GiB, 0, 0);
	unmap(&view);
}

static const char * const parts[] = { "hole", "protect", "move" };

/* What a page in the middle costs: one PMD entry, and nothing of the contents. */
static void test_part(const struct target *target, const void *member)
{
	const char *what = *(const char * const *)member;
	struct view view = map_bar(target, GiB, GiB, 0, MAP_SHARED), moved;
	struct pieces p = cut_out(&view, (struct part){ HOLE, 4 * KiB });
	bool gone = strcmp(what, "protect");

	with_pages(&view, fill);
	if (!strcmp(what, "hole")) {
		igt_assert_eq(munmap(p.part.addr, p.part.length), 0);
	} else if (!strcmp(what, "move")) {
		moved = move_view(&p.part, free_address(4 * KiB, 2 * MiB, 8 * KiB));
		assert_contents(&moved, BO_EVERY_PAGE, 1);
		unmap(&moved);
	} else {
		igt_assert_eq(mprotect(p.part.addr, p.part.length, PROT_READ), 0);
		igt_assert_eq(signal_of_write(p.part.addr), SIGSEGV);
	}

	assert_entry_counts(&view, 0, 511, 512 - gone);
	igt_assert_eq(signal_of_read(p.part.addr), gone ? SIGSEGV : 0);
	assert_pages(&p.left);
	assert_pages(gone ? &p.right : &view);
	with_pages(&p.left, fill);
	unmap(&view);
}

static void test_protect_whole(const struct target *target)
{
	struct view view = map_bar(target, GiB, GiB, 0, MAP_SHARED);
	uint64_t faults;

	with_pages(&view, fill);
	igt_assert_eq(mprotect(view.addr, GiB, PROT_READ), 0);
	igt_assert_eq(signal_of_write(view.addr), SIGSEGV);
	igt_assert_eq(mprotect(view.addr, GiB, PROT_READ | PROT_WRITE), 0);
	faults = bo_faults();
	with_pages(&view, fill);
	igt_assert_eq_u64(bo_faults() - faults, 0);
	assert_entry_counts(&view, 1, 0, 0);
	unmap(&view);
}

/* Its offsets are physical addresses. With O_SYNC, the memory type is that of sysfs. */
static void test_dev_mem(const struct target *target)
{
	struct view view = map_bar(target, GiB, GiB, 0, MAP_SHARED), other;
	struct bo mem = { .size = GiB, .offset = bar_address, .placement = BO_VRAM };
	struct inserts inserts;

	require_inserts();
	mem.fd = open("/dev/mem", O_RDWR | O_SYNC | O_CLOEXEC);
	igt_require_f(mem.fd >= 0, "/dev/mem does not open: %s\n", strerror(errno));
	with_pages(&view, fill);
	inserts_start();
	other = map_all(target, &mem, NULL, MAP_SHARED);
	inserts = inserts_stop(&other);
	assert_entry_counts(&other, 1, 0, 0);
	assert_one_insert(&other, &inserts, "none");
	assert_pages(&other);
	unmap(&other);
	unmap(&view);
	close(mem.fd);
}

static const struct subtest subtests[] = {
	{ "%s", "Entries are as large as they can be", .test_member = test_level, FAMILY(levels) },
	{ "chosen-address", "mmap() chooses the address", .test = test_chosen_address },
	{ "%s", "One page of 1 GiB is treated otherwise", .test_member = test_part, FAMILY(parts) },
	{ "protect-whole", "An entry is read-only for a while", .test = test_protect_whole },
	{ "dev-mem", "/dev/mem has the same entries", .test = test_dev_mem },
};

int igt_main()
{
	static const struct target target = { .name = "sysfs-bar", .placement = BO_VRAM };

	igt_fixture() {
		struct pci_address device = pci_memory(bar.size);
		char path[96];

		require_4k_pages();
		snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/resource2", device.name);
		bar_address = pci_memory_address(&device);
		bar.fd = open(path, O_RDWR | O_SYNC | O_CLOEXEC);
		igt_require_f(bar.fd >= 0, "%s does not open: %s\n", path, strerror(errno));
		note_kernel_warnings();
	}
	run_subtests_on(&target, subtests);
	igt_fixture()
		close(bar.fd);
}
