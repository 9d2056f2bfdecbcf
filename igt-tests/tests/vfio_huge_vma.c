// SPDX-License-Identifier: MIT
/*
 * 1 GiB entries that vfio-pci made, and everything that user space can do to their VMA. Unmodified
 * 7.3 oopses, warns or prints "bad pud" in most of these; no GPU is needed, only an ivshmem-plain
 * device with a BAR of 2 GiB.
 */
#define _GNU_SOURCE 1
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include <linux/pci_regs.h>
#include <linux/vfio.h>

#include "bad_pages.h"
#include "inserts.h"
#include "kernel.h"
#include "pci.h"
#include "vm.h"
#include "vma_ops.h"

/**
 * TEST: vfio huge vma
 * Category: Core
 * Mega feature: General Core features
 * Sub-category: Memory management tests
 * Description: VMA operations on 1 GiB entries of a vfio-pci mapping keep the
 *	kernel alive, the contents right and the rest of the mapping in place
 *
 * SUBTEST: munmap-%s
 * Description: munmap() of %arg[1]
 *
 * SUBTEST: mprotect-read-%s
 * Description: mprotect(PROT_READ) of %arg[1]
 *
 * SUBTEST: mprotect-none-%s
 * Description: mprotect(PROT_NONE) of %arg[1], and back
 *
 * SUBTEST: madvise-random-%s
 * Description: madvise(MADV_RANDOM) of %arg[1]
 *
 * SUBTEST: madvise-dontfork-%s
 * Description: madvise(MADV_DONTFORK) of %arg[1]
 *
 * SUBTEST: madvise-nohugepage-%s
 * Description: madvise(MADV_NOHUGEPAGE) of %arg[1]
 *
 * SUBTEST: mremap-%s
 * Description: mremap() of %arg[1] to an address that is congruent to its offset
 *
 * SUBTEST: mremap-%s-to-4k
 * Description: mremap() of %arg[1] to an address where only 4 KiB entries fit
 *
 * arg[1]:
 *
 * @page:	one page inside the first entry, off every 2 MiB boundary
 * @2m:		an aligned 2 MiB part of the first entry
 * @entry:	exactly the first of two entries
 * @across:	the upper half of the first entry and the lower half of the
 *		second, both cut off every 2 MiB boundary
 *
 * SUBTEST: fault-count-%s
 * Description: One fault maps all of the BAR, with entries as large as %arg[1] allows, or fills one
 *		page table where only 4 KiB entries fit; mm's event tells of each fault, its
 *		entries, and why these are not larger: the mapping has an end, or address and
 *		memory are not aligned alike
 *
 * arg[1]:
 *
 * @1g:	an address at a 1 GiB boundary
 * @2m:	an address at a 2 MiB boundary that is none of 1 GiB
 * @4k:	an address at a 4 KiB boundary
 *
 * SUBTEST: chosen-address
 * Description: Where mmap() chooses the address, the BAR has entries of 1 GiB
 *
 * SUBTEST: mremap-whole-to-2m
 * Description: Moved as a whole to a 2 MiB boundary, it comes back as 2 MiB entries
 *
 * SUBTEST: mremap-whole
 * Description: Moved as a whole to a 1 GiB boundary, the entries move as they are
 *
 * SUBTEST: split-%s
 * Description: A border around %arg[1] costs the entries that it cuts and no others, each of them
 *		is replaced by the 512 that map the same, and using them takes no fault
 *
 * SUBTEST: read-while-split
 * Description: Threads that read all the time never miss what is split beside them
 *
 * SUBTEST: look
 * Description: Reading smaps, numa_maps and pagemap, and mincore(), split nothing
 *
 * SUBTEST: fork-after-split
 * Description: A child inherits the split mapping; writes go both ways
 *
 * SUBTEST: split-in-child
 * Description: A child splits its copy of an entry; the parent's stays whole
 *
 * SUBTEST: exit-after-split
 * Description: A process exits with an entry split and nothing touched again
 *
 * SUBTEST: munmap-while-none
 * Description: munmap() of one page inside an entry that is not accessible, which the rest is
 *		again afterwards
 *
 * SUBTEST: mremap-while-none
 * Description: Entries that are not accessible move as they are
 *
 * SUBTEST: fork-while-none
 * Description: A child inherits entries that are not accessible, and can have access again
 *
 * SUBTEST: guest-%s
 * Description: A virtual machine has the BAR as memory, in entries of %arg[1], sees what the process
 *		writes and the other way round, and has it again after the device was off
 *
 * SUBTEST: poison-default-%s
 * Description: A page of the BAR fails: it stays mapped, by entries of %arg[1]
 *
 * SUBTEST: poison-unmap-%s
 * Description: With vm.memory_failure_pfn_unmap, a page that fails is taken out of entries of %arg[1],
 *		raises SIGBUS with its address, and does not come back with the next fault or
 *		mapping; everything else stays
 *
 * arg[1]:
 *
 * @1g:	1 GiB
 * @2m:	2 MiB
 */

IGT_TEST_DESCRIPTION("VMA operations on 1 GiB entries of a vfio-pci mapping");

#define BAR_SIZE	(2 * GiB)

static const struct cut {
	const char *name;
	struct part part;
	struct bo_levels split;	/* entries of the whole mapping, with borders around the part */
} cuts[] = {
	{ "page", { GiB / 2 + 4 * KiB, 4 * KiB }, { .pud = 1, .pmd = 511, .pte = 512 } },
	{ "2m", { GiB / 2, 2 * MiB }, { .pud = 1, .pmd = 512 } },
	{ "entry", { 0, GiB }, { .pud = 2 } },
	{ "across", { GiB / 2 + 4 * KiB, GiB + 4 * KiB }, { .pmd = 2 * 511, .pte = 2 * 512 } },
};

/* A page inside the first entry */
#define PAGE_PART	(cuts[0].part)

/* The BAR looks like a VRAM object that begins at a 1 GiB boundary, so ttm_huge.h applies. */
static struct bo bar = { .size = BAR_SIZE, .placement = BO_VRAM };
static int group, container, log_fd;
static struct pci_address device;

static void open_bar(void)
{
	struct vfio_region_info info = { .argsz = sizeof(info),
					 .index = VFIO_PCI_BAR2_REGION_INDEX };

	device = pci_memory(BAR_SIZE);
	group = open_vfio_group(&device);
	container = open("/dev/vfio/vfio", O_RDWR);
	igt_assert_fd(container);
	igt_assert_eq(ioctl(group, VFIO_GROUP_SET_CONTAINER, &container), 0);
	igt_assert_eq(ioctl(container, VFIO_SET_IOMMU, VFIO_NOIOMMU_IOMMU), 0);

	bar.fd = ioctl(group, VFIO_GROUP_GET_DEVICE_FD, device.name);
	igt_assert_fd(bar.fd);
	igt_assert_eq(ioctl(bar.fd, VFIO_DEVICE_GET_REGION_INFO, &info), 0);
	bar.offset = info.offset;

	log_fd = open("/dev/kmsg", O_RDONLY | O_NONBLOCK);
	igt_assert_fd(log_fd);
	note_kernel_warnings();
}

/* Parts of the mapping, and how many entries they cost, are those of 4 KiB pages. */
static struct view map_bar_beside(const struct target *target, uint64_t skew)
{
	require_4k_pages();
	lseek(log_fd, 0, SEEK_END);
	return map_at(target, &bar, GiB, skew);
}

static struct view map_bar(const struct target *target)
{
	return map_bar_beside(target, 0);
}

static struct view map_bar_filled(const struct target *target)
{
	struct view view = map_bar(target);

	fill(&view, BO_EVERY_BLOCK, 1);
	touch_levels(&view, false, HUGE_PUD);
	return view;
}

/* That a "bad pud" was found is only a message: the entry is gone and nothing else shows it. */
static void check_log(void)
{
	char record[2048];
	ssize_t len;

	while ((len = read(log_fd, record, sizeof(record) - 1)) >= 0 || errno == EPIPE) {
		record[len < 0 ? 0 : len] = '\0';
		igt_assert_f(!strstr(record, ": bad p") && !strstr(record, "WARNING: "),
			     "the kernel says %s\n", record);
	}
}

static void finish(struct view *view)
{
	unmap(view);
	check_log();
}

/* Whole entries, and the contents of @seed */
static void assert_whole(const struct view *view, uint64_t seed)
{
	assert_levels(view, HUGE_PUD);
	assert_contents(view, BO_EVERY_BLOCK, seed);
}

static const struct address {
	const char *name;
	uint64_t beside;		/* a boundary of 1 GiB */
	const char *at_ends, *between;	/* why entries there are not larger */
} addresses[] = {
	{ "1g", 0, "none", "none" },
	{ "2m", 2 * MiB, "vma", "alignment" },
	{ "4k", 4 * KiB, "vma", "alignment" },
};

/* One fault, at @offset of a new mapping: @limit keeps its entry from being larger. */
static void check_limit(const struct target *target, uint64_t beside, uint64_t offset,
			const char *limit)
{
	struct view view = map_at(target, &bar, GiB, beside);
	struct view page = sub_view(&view, offset, BO_PTE_SIZE);
	struct inserts inserts;

	inserts_start();
	touch(&page, false);
	inserts = inserts_stop(&view);
	assert_one_insert(&view, &inserts, limit);
	view_assert_at(&view, offset, inserts.offset == offset, "the event is of offset %#" PRIx64,
		       inserts.offset);
	finish(&view);
}

static void test_fault_count(const struct target *target, const void *member)
{
	const struct address *a = member;
	struct inserts inserts;
	struct bo_levels levels;
	uint64_t faults, expected;
	struct view view;

	if (a->beside)
		require_4k_pages();
	require_inserts();
	view = map_at(target, &bar, GiB, a->beside);
	inserts_start();
	faults = faults_of_touching(&view, false);
	inserts = inserts_stop(&view);
	levels = levels_of(&view);
	expected = levels.pte ? BAR_SIZE / BO_PMD_SIZE + 1 : 1;
	view_assert(&view, faults == expected, "%" PRIu64 " faults, expected %" PRIu64 " (%" PRIu64
		    " pud, %" PRIu64 " pmd, %" PRIu64 " pte)", faults, expected, levels.pud,
		    levels.pmd, levels.pte);
	assert_levels(&view, HUGE_PUD);
	assert_inserts(&view, &inserts, faults);
	finish(&view);

	check_limit(target, a->beside, 0, a->at_ends);
	check_limit(target, a->beside, BAR_SIZE / 2, a->between);
	check_limit(target, a->beside, BAR_SIZE - BO_PTE_SIZE, a->at_ends);
}

static void test_chosen_address(const struct target *target)
{
	struct view view;

	require_4k_pages();
	view = map_all(target, &bar, NULL, MAP_SHARED);
	touch(&view, false);
	assert_entry_counts(&view, BAR_SIZE / GiB, 0, 0);
	finish(&view);
}

/* MADV_RANDOM splits the VMA and changes no entry by itself. */
static void test_split(const struct target *target, const void *member)
{
	const struct cut *cut = member;
	struct view view = map_bar_filled(target);
	uint64_t faults;

	igt_assert_eq(madvise(view.addr + cut->part.offset, cut->part.length, MADV_RANDOM), 0);
	assert_entry_counts(&view, cut->split.pud, cut->split.pmd, cut->split.pte);
	faults = bo_faults();
	assert_contents(&view, BO_EVERY_BLOCK, 1);
	fill(&view, BO_EVERY_BLOCK, 2);
	assert_contents(&view, BO_EVERY_BLOCK, 2);
	igt_assert_eq(bo_faults() - faults, 0);
	assert_entry_counts(&view, cut->split.pud, cut->split.pmd, cut->split.pte);
	finish(&view);
}

struct reader {
	const struct view *view;
	atomic_bool stop;
	atomic_int rounds, wrong;	/* and those that found no pattern somewhere */
};

static void *read_on(void *data)
{
	struct reader *reader = data;
	const struct view *view = reader->view;

	while (!atomic_load(&reader->stop)) {
		if (bo_check(view->addr, view->first, view->length, BO_EVERY_BLOCK, 1) >= 0)
			atomic_fetch_add(&reader->wrong, 1);
		atomic_fetch_add(&reader->rounds, 1);
	}
	return NULL;
}

static void test_read_while_split(const struct target *target)
{
	for (int i = 0; i < 8; i++) {
		struct view view = map_bar_filled(target);
		struct reader reader = { .view = &view };
		uint64_t faults = bo_faults();
		pthread_t thread[2];

		for (size_t t = 0; t < ARRAY_SIZE(thread); t++)
			igt_assert_eq(pthread_create(&thread[t], NULL, read_on, &reader), 0);
		/* Each advice cuts one more entry of 2 MiB, the first two one of 1 GiB as well. */
		for (int n = 0; n < 64 || atomic_load(&reader.rounds) < 4; n++) {
			char *page = view.addr + n % 2 * GiB + n / 2 % 500 * 2 * MiB + 4 * KiB;

			igt_assert_eq(madvise(page, 4 * KiB, MADV_RANDOM), 0);
		}
		atomic_store(&reader.stop, true);
		for (size_t t = 0; t < ARRAY_SIZE(thread); t++)
			igt_assert_eq(pthread_join(thread[t], NULL), 0);
		igt_assert_eq(atomic_load(&reader.wrong), 0);
		igt_info("%d rounds, %" PRIu64 " faults\n", atomic_load(&reader.rounds),
			 bo_faults() - faults);
		finish(&view);
	}
}

/* Linux 7.2 calls no page of any pfn mapping resident, and 7.3 each. */
static unsigned char small_page_in_core(const struct target *target)
{
	struct view page = map_part(target, &bar, 0, NULL, BO_PTE_SIZE, PROT_READ, MAP_SHARED);
	unsigned char vec;

	touch(&page, false);
	igt_assert_eq(mincore(page.addr, BO_PTE_SIZE, &vec), 0);
	unmap(&page);
	return vec & 1;
}

static void test_look(const struct target *target)
{
	unsigned char in_core = small_page_in_core(target);
	struct view view = map_bar_filled(target);
	unsigned char *vec = malloc(BAR_SIZE / BO_PTE_SIZE);

	read_maps();
	read_pagemap(view.addr);
	igt_assert(vec);
	igt_assert_eq(mincore(view.addr, BAR_SIZE, vec), 0);
	for (size_t i = 0; i < BAR_SIZE / BO_PTE_SIZE; i++)
		igt_assert_eq(vec[i] & 1, in_core);
	free(vec);
	assert_entry_counts(&view, 2, 0, 0);
	finish(&view);
}

static void test_fork_after_split(const struct target *target)
{
	struct view view = map_bar_filled(target);
	struct pieces p = cut_out(&view, PAGE_PART);

	igt_assert_eq(mprotect(p.part.addr, p.part.length, PROT_READ), 0);
	assert_contents(&view, BO_EVERY_BLOCK, 1);
	fork_and_wait() {
		assert_contents(&view, BO_EVERY_BLOCK, 1);
		igt_assert_eq(signal_of_write(p.part.addr), SIGSEGV);
		fill(&p.left, BO_EVERY_BLOCK, 2);
	}
	assert_contents(&p.left, BO_EVERY_BLOCK, 2);
	finish(&view);
}

static void test_split_in_child(const struct target *target)
{
	struct view view = map_bar_filled(target);
	struct pieces p = cut_out(&view, PAGE_PART);

	fork_and_wait() {
		assert_levels(&view, HUGE_PUD);
		unmap(&p.part);
		touch_levels(&p.left, false, HUGE_PUD);
	}
	assert_whole(&view, 1);
	finish(&view);
}

static void test_exit_after_split(const struct target *target)
{
	struct view view = map_bar_filled(target);

	fork_and_wait()
		igt_assert_eq(mprotect(view.addr + PAGE_PART.offset, PAGE_PART.length,
				       PROT_NONE), 0);
	assert_whole(&view, 1);
	finish(&view);
}

static void allow(const struct view *view, bool access)
{
	igt_assert_eq(mprotect(view->addr, view->length,
			       access ? PROT_READ | PROT_WRITE : PROT_NONE), 0);
	igt_assert_eq(signal_of_read(view->addr), access ? 0 : SIGSEGV);
}

static void test_munmap_while_none(const struct target *target)
{
	struct view view = map_bar_filled(target);
	struct pieces p = cut_out(&view, PAGE_PART);

	allow(&view, false);
	unmap(&p.part);
	allow(&p.left, true);
	allow(&p.right, true);
	assert_contents(&p.left, BO_EVERY_BLOCK, 1);
	assert_contents(&p.right, BO_EVERY_BLOCK, 1);
	igt_assert_eq(signal_of_read(view.addr + PAGE_PART.offset), SIGSEGV);
	finish(&view);
}

static void test_mremap_while_none(const struct target *target)
{
	struct view view = map_bar_filled(target);

	allow(&view, false);
	view = move_view(&view, free_address(BAR_SIZE, GiB, 0));
	igt_assert_eq(signal_of_read(view.addr), SIGSEGV);
	allow(&view, true);
	assert_whole(&view, 1);
	finish(&view);
}

static void test_fork_while_none(const struct target *target)
{
	struct view view = map_bar_filled(target);

	allow(&view, false);
	fork_and_wait() {
		allow(&view, true);
		assert_whole(&view, 1);
		fill(&view, BO_EVERY_BLOCK, 2);
	}
	igt_assert_eq(signal_of_read(view.addr), SIGSEGV);
	allow(&view, true);
	assert_whole(&view, 2);
	finish(&view);
}

static void move_part(const struct target *target, struct part part, uint64_t skew)
{
	struct view view = map_bar(target);

	check_mremap(&view, HUGE_PUD, part, skew);
	check_log();
}

static void test_mremap(const struct target *target, const void *member)
{
	move_part(target, ((const struct cut *)member)->part, 0);
}

static void test_mremap_to_4k(const struct target *target, const void *member)
{
	move_part(target, ((const struct cut *)member)->part, 4 * KiB);
}

/* By how much the new address is beside a boundary of 1 GiB */
static const struct named_size skews[] = { { "whole", 0 }, { "whole-to-2m", 2 * MiB } };

static void test_mremap_whole(const struct target *target, const void *member)
{
	move_part(target, (struct part){ 0, BAR_SIZE }, member_size(member));
}

/* By how much the address is beside a boundary of 1 GiB, for entries of this size */
static const struct named_size entries[] = { { "1g", 0 }, { "2m", 2 * MiB } };

/* Access to the memory of the device is taken away and given back: nothing is mapped then. */
static void zap_bar(void)
{
	struct vfio_region_info info = { .argsz = sizeof(info),
					 .index = VFIO_PCI_CONFIG_REGION_INDEX };
	uint16_t command;

	igt_assert_eq(ioctl(bar.fd, VFIO_DEVICE_GET_REGION_INFO, &info), 0);
	igt_assert_eq(pread(bar.fd, &command, 2, info.offset + PCI_COMMAND), 2);
	for (int on = 0; on < 2; on++) {
		command ^= PCI_COMMAND_MEMORY;
		igt_assert_eq(pwrite(bar.fd, &command, 2, info.offset + PCI_COMMAND), 2);
	}
}

/* What the guests of objects are compared with (ttm_huge_kvm) */
static void test_guest(const struct target *target, const void *member)
{
	struct view view;
	struct vm *vm;

	require_kvm();
	view = map_bar_beside(target, member_size(member));
	write_words(&view, 1);
	vm = vm_new();
	vm_give(vm, &view, 0);
	igt_assert_eq(vm_access(vm, vm_all(&view, 1)), 0);
	igt_assert_eq(vm_access(vm, vm_written(vm_all(&view, 2))), 0);
	vm_assert_entries_of(&view, vm, HUGE_PUD);
	assert_words(&view, 2);

	zap_bar();
	vm_assert_entries(&view, vm, 0, 0, 0);
	igt_assert_eq(vm_access(vm, vm_all(&view, 2)), 0);
	vm_assert_entries_of(&view, vm, HUGE_PUD);
	vm_close_all();
	finish(&view);
}

static void test_poison_default(const struct target *target, const void *member)
{
	struct view view;

	require_bad_pages();
	view = map_bar_beside(target, member_size(member));
	fill(&view, BO_EVERY_BLOCK, 1);
	set_knob(UNMAP_BAD_PAGES, "0");
	break_page(&view, &device, PAGE_PART.offset);
	assert_whole(&view, 1);
	zap_bar();
	touch_levels(&view, false, HUGE_PUD);
	assert_whole(&view, 1);
	finish(&view);
}

/* What is there but for the page, in a view that begins as it should and was touched all over */
static void assert_without_page(const struct view *view)
{
	struct pieces p = cut_out(view, PAGE_PART);

	assert_broken(p.part.addr);
	assert_contents(&p.left, BO_EVERY_BLOCK, 1);
	assert_contents(&p.right, BO_EVERY_BLOCK, 1);
	if ((uintptr_t)view->addr % GiB)
		assert_entry_counts(view, 0, 1023, 511);
	else
		assert_entry_counts(view, 1, 511, 511);
}

static void test_poison_unmap(const struct target *target, const void *member)
{
	struct view view, second;
	uint64_t faults;

	require_bad_pages();
	view = map_bar_beside(target, member_size(member));
	fill(&view, BO_EVERY_BLOCK, 1);
	set_knob(UNMAP_BAD_PAGES, "1");
	faults = bo_faults();
	break_page(&view, &device, PAGE_PART.offset);
	assert_without_page(&view);
	/* Those of fork() and of the page; nothing else has to come back. */
	igt_assert_lte(bo_faults() - faults, 64);

	for (int i = 0; i < 2; i++) {
		zap_bar();
		assert_without_page(&view);
	}

	second = map_at(target, &bar, GiB, member_size(member));
	assert_without_page(&second);
	unmap(&second);
	mend_page(&device, PAGE_PART.offset);
	finish(&view);
}

static const struct subtest subtests[] = {
	{ "chosen-address", "mmap() chooses the address", .test = test_chosen_address },
	{ "fault-count-%s", "Faults to touch all", .test_member = test_fault_count,
	  FAMILY(addresses) },
	{ "mremap-%s", "mremap() of a part", .test_member = test_mremap, FAMILY(cuts) },
	{ "mremap-%s-to-4k", "mremap() of a part to where only 4 KiB entries fit",
	  .test_member = test_mremap_to_4k, FAMILY(cuts) },
	{ "split-%s", "Borders around a part", .test_member = test_split, FAMILY(cuts) },
	{ "read-while-split", "Reading what is split beside", .test = test_read_while_split },
	{ "look", "Files in /proc and mincore()", .test = test_look },
	{ "mremap-%s", "mremap() of all", .test_member = test_mremap_whole, FAMILY(skews) },
	{ "fork-after-split", "fork() of a split mapping", .test = test_fork_after_split },
	{ "split-in-child", "A child splits its copy", .test = test_split_in_child },
	{ "exit-after-split", "exit() of a child that has split", .test = test_exit_after_split },
	{ "munmap-while-none", "munmap() without access", .test = test_munmap_while_none },
	{ "mremap-while-none", "mremap() without access", .test = test_mremap_while_none },
	{ "fork-while-none", "fork() without access", .test = test_fork_while_none },
	{ "guest-%s", "A virtual machine has the BAR", .test_member = test_guest, FAMILY(entries) },
	{ "poison-default-%s", "A page that fails stays mapped", .test_member = test_poison_default,
	  FAMILY(entries) },
	{ "poison-unmap-%s", "A page that fails is taken out", .test_member = test_poison_unmap,
	  FAMILY(entries) },
};

int igt_main()
{
	static const struct target target = { .name = "vfio-bar", .placement = BO_VRAM };
	const struct vma_op *op;

	igt_fixture()
		open_bar();
	for (size_t i = 0; i < ARRAY_SIZE(cuts); i++) {
		for_each_vma_op(op) {
			igt_subtest_f("%s-%s", op->name, cuts[i].name) {
				struct view view = map_bar(&target);

				check_vma_op(&view, HUGE_PUD, op, cuts[i].part);
				check_log();
			}
		}
	}
	run_subtests_on(&target, subtests);
	igt_fixture() {
		vm_close_all();
		close(bar.fd);
		close(container);
		close(group);
		close(log_fd);
	}
}
