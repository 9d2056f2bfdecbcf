// SPDX-License-Identifier: MIT
/*
 * What remap_pfn_range() maps, seen through a PCI BAR's file in sysfs: the
 * largest entries that fit, which stay when a part of them is taken away, as there
 * is no fault that could bring them back.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <glob.h>
#include <limits.h>
#include <sys/mman.h>
#include <sys/prctl.h>

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

/* ivshmem-plain: memory that nobody uses behind a BAR of 2 GiB */
#define BAR	"/sys/bus/pci/devices/*/resource2"
#define HOLE	(GiB / 2 + 4 * KiB)

static int open_bar(void)
{
	int fd = -1;
	glob_t files;

	igt_require(!glob(BAR, 0, NULL, &files));
	for (size_t i = 0; i < files.gl_pathc && fd < 0; i++) {
		char class[PATH_MAX], text[16] = "";
		int file;

		snprintf(class, sizeof(class), "%.*s/class",
			 (int)(strrchr(files.gl_pathv[i], '/') - files.gl_pathv[i]),
			 files.gl_pathv[i]);
		file = open(class, O_RDONLY | O_CLOEXEC);
		if (file < 0)
			continue;
		/* RAM: the only class that may be written to at will */
		if (read(file, text, sizeof(text) - 1) > 0 && !strncmp(text, "0x0500", 6))
			fd = open(files.gl_pathv[i], O_RDWR | O_SYNC | O_CLOEXEC);
		close(file);
	}
	globfree(&files);
	igt_require_f(fd >= 0, "no PCI device of the class RAM; see guest/run --vfio\n");
	return fd;
}

static char *map_bar(int fd, size_t length, uint64_t align, uint64_t offset, int flags)
{
	char *map = mmap(free_address(length, align, offset), length, PROT_READ | PROT_WRITE,
			 flags | MAP_FIXED_NOREPLACE, fd, 0);

	igt_assert_f(map != MAP_FAILED, "mmap() of %zu bytes: %m\n", length);
	return map;
}

static void assert_entries(const char *map, size_t length, uint64_t pud, uint64_t pmd, uint64_t pte)
{
	struct bo_levels levels;

	igt_assert_eq(bo_levels(map, length, &levels), 0);
	igt_assert_f(levels.pud == pud && levels.pmd == pmd && levels.pte == pte,
		     "%" PRIu64 " PUD, %" PRIu64 " PMD, %" PRIu64 " PTE entries, expected %" PRIu64
		     ", %" PRIu64 ", %" PRIu64 "\n",
		     levels.pud, levels.pmd, levels.pte, pud, pmd, pte);
}

/* A number in each page near the hole, and in each 2 MiB */
static uint64_t next_page(uint64_t offset)
{
	return offset >= HOLE - 4 * MiB && offset < HOLE + 4 * MiB ? offset + 4 * KiB :
								     offset + 2 * MiB;
}

static void fill_pages(char *map, size_t length)
{
	for (uint64_t o = 0; o < length; o = next_page(o))
		*(volatile uint64_t *)(map + o) = o ^ 0x5a5a;
}

static void assert_pages(const char *map, size_t length, uint64_t but)
{
	for (uint64_t o = 0; o < length; o = next_page(o)) {
		uint64_t value;

		if (o == but)
			continue;
		igt_assert_f(!signal_of_read(map + o), "byte %#" PRIx64 " is not mapped\n", o);
		value = *(const volatile uint64_t *)(map + o);
		igt_assert_f(value == (o ^ 0x5a5a), "%#" PRIx64 " at byte %#" PRIx64 "\n",
			     value, o);
	}
}

static void test_level(int fd, size_t length, uint64_t align, uint64_t offset, uint64_t size)
{
	uint64_t n = length / size, before = bo_pgtable_kib();
	char *map = map_bar(fd, length, align, offset, MAP_SHARED), *other;

	assert_entries(map, length, size == GiB ? n : 0, size == 2 * MiB ? n : 0,
		       size == 4 * KiB ? n : 0);
	/* At most two tables above, besides those of the entries */
	igt_assert_lte(bo_pgtable_kib() - before, n / 512 * 4 + 12);

	fill_pages(map, length);
	other = map_bar(fd, length, 2 * MiB, 4 * KiB, MAP_SHARED);
	assert_pages(other, length, UINT64_MAX);
	munmap(other, length);
	munmap(map, length);
}

/* What a page in the middle costs: one PMD entry, and nothing of the contents. */
static void test_part(int fd, const char *what)
{
	char *map = map_bar(fd, GiB, GiB, 0, MAP_SHARED), *page = map + HOLE, *moved;
	bool gone = true;

	fill_pages(map, GiB);
	if (!strcmp(what, "hole")) {
		igt_assert_eq(munmap(page, 4 * KiB), 0);
	} else if (!strcmp(what, "move")) {
		moved = mremap(page, 4 * KiB, 4 * KiB, MREMAP_MAYMOVE | MREMAP_FIXED,
			       free_address(4 * KiB, 2 * MiB, 8 * KiB));
		igt_assert_f(moved != MAP_FAILED, "mremap(): %m\n");
		igt_assert_eq_u64(*(volatile uint64_t *)moved, HOLE ^ 0x5a5a);
		munmap(moved, 4 * KiB);
	} else {
		igt_assert_eq(mprotect(page, 4 * KiB, PROT_READ), 0);
		igt_assert_eq(signal_of_write(page), SIGSEGV);
		gone = false;
	}

	assert_entries(map, GiB, 0, 511, 512 - gone);
	igt_assert_eq(signal_of_read(page), gone ? SIGSEGV : 0);
	assert_pages(map, GiB, gone ? HOLE : UINT64_MAX);
	fill_pages(map, HOLE);
	munmap(map, GiB);
}

static void test_protect_whole(int fd)
{
	char *map = map_bar(fd, GiB, GiB, 0, MAP_SHARED);
	uint64_t faults;

	fill_pages(map, GiB);
	igt_assert_eq(mprotect(map, GiB, PROT_READ), 0);
	igt_assert_eq(signal_of_write(map), SIGSEGV);
	igt_assert_eq(mprotect(map, GiB, PROT_READ | PROT_WRITE), 0);
	faults = bo_faults();
	fill_pages(map, GiB);
	igt_assert_eq_u64(bo_faults() - faults, 0);
	assert_entries(map, GiB, 1, 0, 0);
	munmap(map, GiB);
}

int igt_main()
{
	static const char * const parts[] = { "hole", "protect", "move" };
	char *map;
	int fd = -1;

	igt_fixture()
		fd = open_bar();

	igt_describe("Aligned for 1 GiB entries");
	igt_subtest("level-pud")
		test_level(fd, GiB, GiB, 0, GiB);

	igt_describe("Aligned for 2 MiB entries");
	igt_subtest("level-pmd")
		test_level(fd, GiB, GiB, 2 * MiB, 2 * MiB);

	igt_describe("Aligned for 4 KiB entries");
	igt_subtest("level-pte")
		test_level(fd, 16 * MiB, 2 * MiB, 4 * KiB, 4 * KiB);

	for (size_t i = 0; i < ARRAY_SIZE(parts); i++) {
		igt_describe("One page of a 1 GiB entry is treated otherwise");
		igt_subtest_f("%s", parts[i])
			test_part(fd, parts[i]);
	}

	igt_describe("A 1 GiB entry that was written to is read-only for a while");
	igt_subtest("protect-whole")
		test_protect_whole(fd);

	igt_describe("Private mappings have 4 KiB entries");
	igt_subtest("private") {
		map = map_bar(fd, 4 * MiB, GiB, 0, MAP_PRIVATE);
		assert_entries(map, 4 * MiB, 0, 0, 1024);
		munmap(map, 4 * MiB);
	}

	igt_describe("Where transparent huge pages are disabled, these are");
	igt_subtest("thp-disabled") {
		igt_assert_eq(prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0), 0);
		map = map_bar(fd, 4 * MiB, GiB, 0, MAP_SHARED);
		igt_assert_eq(prctl(PR_SET_THP_DISABLE, 0, 0, 0, 0), 0);
		assert_entries(map, 4 * MiB, 0, 0, 1024);
		munmap(map, 4 * MiB);
	}

	igt_fixture()
		close(fd);
}
