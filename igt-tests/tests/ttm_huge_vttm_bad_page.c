// SPDX-License-Identifier: MIT
/**
 * TEST: ttm huge vttm bad page
 * Category: Core
 * Mega feature: General Core features
 * Sub-category: Memory management tests
 * Functionality: mmap
 * Description: A page of the memory of an object fails, inside a huge page-table entry.
 */
#include "bad_pages.h"
#include "vm.h"
#include "vttm_ops.h"

IGT_TEST_DESCRIPTION("Huge page-table entries and pages that fail");

static const struct named_size sizes[] = { { "1g", BO_PUD_SIZE }, { "2m", 4 * BO_PMD_SIZE } };

/* No first page of an entry */
#define BAD	(BO_PMD_SIZE + BO_PTE_SIZE)

struct bad_page {
	struct view view;
	struct pci_address device;
	uint64_t place;		/* of the object in the BAR */
};

/* An object in one piece of VRAM, with the contents of seed 1. */
static struct bad_page new_object(const struct target *target, const void *member)
{
	const uint64_t size = member_size(member);
	struct bad_page bad = { .device = pci_address(target) };

	require_room(target, size);
	if (size >= BO_PUD_SIZE)
		require_pud_entries();
	bad.view = vttm_new_view(target, .size = size, .domains = VRAM | SYSTEM, .flags = UNCLEARED,
				 .layout = DRM_VTTM_LAYOUT_CONTIGUOUS);
	bad.place = vram_address(target, bad.view.bo, NULL);
	touch_levels(&bad.view, true, HUGE_PUD);
	fill(&bad.view, view_step(&bad.view), 1);
	return bad;
}

static void let_fail(struct bad_page *bad)
{
	break_page(&bad->view, &bad->device, bad->place + BAD);
}

/* The same object, a page of which has failed. */
static struct bad_page new_bad_page(const struct target *target, const void *member)
{
	struct bad_page bad = new_object(target, member);

	let_fail(&bad);
	return bad;
}

/**
 * SUBTEST: default-%s
 * Description: By default, the page stays mapped, by an entry of %arg[1], before and after its
 *              object was outside of VRAM.
 *
 * arg[1]:
 *
 * @1g:	1 GiB
 * @2m:	2 MiB
 */
static void test_default(const struct target *target, const void *member)
{
	struct bad_page bad;

	require_bad_pages();
	set_knob(UNMAP_BAD_PAGES, "0");
	bad = new_bad_page(target, member);
	check_view(&bad.view, HUGE_PUD, view_step(&bad.view), 1);
	move_to(&bad.view, SYSTEM);
	move_to(&bad.view, VRAM);
	check_view(&bad.view, HUGE_PUD, view_step(&bad.view), 1);
}

/* Everything but the page is there, in the largest entries without it. */
static void assert_all_but_page(const struct bad_page *bad)
{
	const struct view *view = &bad->view;
	struct view left = sub_view(view, 0, BAD);
	struct view right = sub_view(view, BAD + BO_PTE_SIZE, view->length - BAD - BO_PTE_SIZE);

	assert_broken(view->addr + BAD);
	assert_contents(&left, view_step(view), 1);
	assert_contents(&right, view_step(view), 1);
	touch(&left, false);
	touch(&right, false);
	assert_entry_counts(view, 0, view->length / BO_PMD_SIZE - 1, BO_ENTRIES - 1);
}

/**
 * SUBTEST: unmap-%s
 * Description: With vm.memory_failure_pfn_unmap, the page is taken out of an entry of %arg[1] and
 *              raises SIGBUS with its address; everything else stays. The object is whole outside
 *              of VRAM, and the page is out again when the object is back in the same place. Once
 *              the page is mended, it can be read at once.
 *
 * arg[1]:
 *
 * @1g:	1 GiB
 * @2m:	2 MiB
 */
static void test_unmap(const struct target *target, const void *member)
{
	struct bad_page bad;
	struct view page;

	require_bad_pages();
	set_knob(UNMAP_BAD_PAGES, "1");
	bad = new_bad_page(target, member);
	assert_all_but_page(&bad);

	move_to(&bad.view, SYSTEM);
	assert_contents(&bad.view, view_step(&bad.view), 1);
	move_to(&bad.view, VRAM);
	igt_assert_eq_u64(vram_address(target, bad.view.bo, NULL), bad.place);
	assert_all_but_page(&bad);

	mend_page(&bad.device, bad.place + BAD);
	page = sub_view(&bad.view, BAD, BO_PTE_SIZE);
	touch(&page, false);
	move_to(&bad.view, SYSTEM);
	move_to(&bad.view, VRAM);
	check_view(&bad.view, HUGE_PUD, view_step(&bad.view), 1);
}

/*
 * A virtual machine that has had a new object in its largest entries, and has written words from 1 on,
 * when a page of it fails; with @unmap as the value of the knob.
 */
static struct vm *new_guest(const struct target *target, const void *member, const char *unmap,
			    struct bad_page *bad)
{
	struct vm *vm;

	require_bad_pages();
	require_kvm();
	set_knob(UNMAP_BAD_PAGES, unmap);
	*bad = new_object(target, member);
	vm = vm_new();
	vm_give(vm, &bad->view, 0);
	igt_assert_eq(vm_access(vm, vm_written(vm_all(&bad->view, 1))), 0);
	vm_assert_entries_of(&bad->view, vm, HUGE_PUD);
	let_fail(bad);
	return vm;
}

/**
 * SUBTEST: guest-default-%s
 * Description: By default, the page stays mapped in a virtual machine as well, by an entry of
 *              %arg[1], and comes back when the memory slot does.
 *
 * arg[1]:
 *
 * @1g:	1 GiB
 * @2m:	2 MiB
 */
static void test_guest_default(const struct target *target, const void *member)
{
	struct bad_page bad;
	struct vm *vm = new_guest(target, member, "0", &bad);

	vm_assert_entries_of(&bad.view, vm, HUGE_PUD);
	for (int i = 0; i < 2; i++) {
		igt_assert_eq(vm_access(vm, vm_all(&bad.view, 1)), 0);
		vm_assert_entries_of(&bad.view, vm, HUGE_PUD);
		vm_take(vm);
		vm_give(vm, &bad.view, 0);
	}
}

/**
 * SUBTEST: guest-unmap-%s
 * Description: With vm.memory_failure_pfn_unmap, the page is taken out of an entry of %arg[1] of a
 *              virtual machine. When its guest reads or writes the page, the process gets SIGBUS
 *              with the address of the page. The guest has everything else, and all of it in the
 *              largest entries once the page is in order again.
 *
 * arg[1]:
 *
 * @1g:	1 GiB
 * @2m:	2 MiB
 */
static void test_guest_unmap(const struct target *target, const void *member)
{
	const uint64_t after = BAD + VM_STEP;
	const struct guest_access page = vm_range(GUEST_FREE + BAD, VM_STEP, 1 + BAD / VM_STEP);
	struct bad_page bad;
	struct vm *vm = new_guest(target, member, "1", &bad);

	vm_assert_broken(vm, &bad.view, BAD, vm_written(page));
	vm_assert_broken(vm, &bad.view, BAD, page);
	vm_assert_broken(vm, &bad.view, BAD, vm_all(&bad.view, 1));
	igt_assert_eq(vm_access(vm, vm_range(GUEST_FREE, BAD, 1)), 0);
	igt_assert_eq(vm_access(vm, vm_range(GUEST_FREE + after, bad.view.length - after,
					     1 + after / VM_STEP)), 0);
	vm_assert_entries(&bad.view, vm, 0, bad.view.length / BO_PMD_SIZE - 1, BO_ENTRIES - 1);

	mend_page(&bad.device, bad.place + BAD);
	move_to(&bad.view, SYSTEM);
	move_to(&bad.view, VRAM);
	igt_assert_eq(vm_access(vm, vm_all(&bad.view, 1)), 0);
	vm_assert_entries_of(&bad.view, vm, HUGE_PUD);
}

static const struct subtest subtests[] = {
	{ "default-%s", "A page that fails stays mapped", ON_VTTM(test_default, sizes) },
	{ "unmap-%s", "A page that fails is taken out", ON_VTTM(test_unmap, sizes) },
	{ "guest-default-%s", "A page that fails stays mapped in a virtual machine",
	  ON_VTTM(test_guest_default, sizes) },
	{ "guest-unmap-%s", "A page that fails is taken out of a virtual machine",
	  ON_VTTM(test_guest_unmap, sizes) },
};

int igt_main()
{
	run_test(subtests);
}
