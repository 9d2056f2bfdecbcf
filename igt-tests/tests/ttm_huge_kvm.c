// SPDX-License-Identifier: MIT
/**
 * TEST: ttm huge kvm
 * Category: Core
 * Mega feature: General Core features
 * Sub-category: Memory management tests
 * Functionality: mmap
 * Description: A virtual machine that is given a buffer object as memory maps it with entries as
 *              large as those of the process, and sees what the object holds, whatever happens to
 *              the mapping meanwhile.
 */
#define _GNU_SOURCE 1
#include <errno.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include <linux/kvm.h>

#include "ttm_huge.h"
#include "vm.h"

IGT_TEST_DESCRIPTION("TTM buffer objects as memory of a virtual machine");

/* It moves an object when it is told to; others write all of VRAM for that. */
static bool on_vttm(const struct target *target)
{
	return !strcmp(bo_driver(target->fd), "vttm");
}

/* A page of the view that is no entry's first */
static uint64_t middle_page(const struct view *view)
{
	return (view->length / 2 / BO_PMD_SIZE) * BO_PMD_SIZE + VM_STEP;
}

static uint64_t object_size(const struct target *target)
{
	const uint64_t size = size_of_all_levels(target);

	require_room(target, size);
	return size;
}

/* A machine whose slot is a new object, to which it has written the words from @value on. */
static struct vm *new_guest(const struct target *target, struct view *view, uint64_t value)
{
	struct vm *vm = vm_new();

	*view = new_view(target, object_size(target));
	vm_give(vm, view, 0);
	igt_assert_eq(vm_access(vm, vm_written(vm_all(view, value))), 0);
	vm_assert_entries_of(view, vm, HUGE_PUD);
	return vm;
}

static const struct touching {
	const char *name;
	uint64_t size;		/* or all levels */
	bool read;		/* before it writes */
} touchings[] = {
	{ "read-16m", 16 * MiB, true },
	{ "write-16m", 16 * MiB, false },
	{ "read-all", 0, true },
	{ "write-all", 0, false },
};

/**
 * SUBTEST: first-%s
 * Description: A guest touches each page of an object first: %arg[1]. It reads what the process has
 *              written and the other way round, and has entries as large as those of the process.
 *
 * arg[1]:
 *
 * @read-16m:	16 MiB, reads before it writes
 * @write-16m:	16 MiB, writes
 * @read-all:	an object with entries of all levels, reads before it writes
 * @write-all:	the same, writes
 */
static void test_first(const struct target *target, const void *member)
{
	const struct touching *how = member;
	const uint64_t size = how->size ?: object_size(target);
	struct vm *vm = vm_new();
	const struct bo *bo;
	struct view view;

	require_room(target, size);
	bo = target_new_bo(target, size);
	if (how->read) {
		view = map_whole(target, bo, PROT_READ | PROT_WRITE);
		write_words(&view, 1);
		unmap(&view);
	}
	view = map_whole(target, bo, PROT_READ | PROT_WRITE);
	vm_give(vm, &view, 0);
	if (how->read)
		igt_assert_eq(vm_access(vm, vm_all(&view, 1)), 0);
	igt_assert_eq(vm_access(vm, vm_written(vm_all(&view, 2))), 0);
	vm_assert_entries_of(&view, vm, HUGE_PUD);
	if (how->size)
		vm_assert_entries(&view, vm, 0, size / BO_PMD_SIZE,
				  size % BO_PMD_SIZE / BO_PTE_SIZE);
	assert_words(&view, 2);
	write_words(&view, 3);
	igt_assert_eq(vm_access(vm, vm_all(&view, 3)), 0);
}

/**
 * SUBTEST: switch-%s
 * Description: With the switch at %arg[1], the guest's entries are as the switch says.
 *
 * arg[1]:
 *
 * @0:	4 KiB
 * @1:	2 MiB
 * @2:	1 GiB
 */
static void test_switch(const struct target *target, const void *member)
{
	const struct switch_value *switched = member;
	struct vm *vm = vm_new();
	struct view view;

	require_room(target, 16 * MiB);
	set_huge_faults(switched->value);
	view = new_view(target, 16 * MiB);
	vm_give(vm, &view, 0);
	igt_assert_eq(vm_access(vm, vm_written(vm_all(&view, 1))), 0);
	assert_words(&view, 1);
	require_vm_entries();
	vm_assert_entries_of(&view, vm, switched->value);
}

/**
 * SUBTEST: evict
 * Description: Eviction takes the guest's entries away, and the object's return makes them as large
 *              as before. The guest reads the same all the time.
 */
static void test_evict(const struct target *target)
{
	struct view view;
	struct vm *vm;

	require_blocks_outside(target, object_size(target));
	vm = new_guest(target, &view, 1);
	evict(&view);
	vm_assert_entries(&view, vm, 0, 0, 0);
	igt_assert_eq(vm_access(vm, vm_all(&view, 1)), 0);
	vm_assert_entries_of(&view, vm, HUGE_PMD);
	return_to_vram(&view);
	vm_assert_entries(&view, vm, 0, 0, 0);
	igt_assert_eq(vm_access(vm, vm_all(&view, 1)), 0);
	vm_assert_entries_of(&view, vm, HUGE_PUD);
}

/**
 * SUBTEST: evict-in-use
 * Description: The same while the guest reads.
 */
static void test_evict_in_use(const struct target *target)
{
	struct view view;
	struct vm *vm;
	int ret;

	if (!on_vttm(target))
		require_small_vram(target, 128 * MiB);
	vm = new_guest(target, &view, 1);
	vm_start(vm, vm_all(&view, 1));
	ret = bo_evict(view.bo);
	view_assert(&view, !ret, "it cannot be evicted: %s", strerror(-ret));
	vm_wait_round(vm);
	return_in_use(&view);
	vm_wait_round(vm);
	/* The first round after the return may have begun before. */
	vm_wait_round(vm);
	igt_assert_eq(vm_stop(vm), 0);
	vm_assert_entries_of(&view, vm, HUGE_PUD);
}

static const struct protection {
	const char *name;
	int prot;
	bool page;
} protections[] = {
	{ "read-page", PROT_READ, true },
	{ "read-all", PROT_READ, false },
	{ "none-page", PROT_NONE, true },
	{ "none-all", PROT_NONE, false },
};

/**
 * SUBTEST: mprotect-%s
 * Description: KVM does not map for the guest what mprotect() forbids the process, %arg[1]; the
 *              rest of the object stays, and all comes back when it is allowed again.
 *
 * arg[1]:
 *
 * @read-page:	to write a page
 * @read-all:	to write all of it
 * @none-page:	to write a page, or read it
 * @none-all:	to write all of it, or read it
 */
static void test_mprotect(const struct target *target, const void *member)
{
	const struct protection *how = member;
	struct view view;
	struct vm *vm = new_guest(target, &view, 1);
	const uint64_t offset = how->page ? middle_page(&view) : 0;
	const uint64_t length = how->page ? VM_STEP : view.length;
	struct guest_access part = vm_range(GUEST_FREE + offset, length, 1 + offset / VM_STEP);

	igt_assert_eq(mprotect(view.addr + offset, length, how->prot), 0);
	igt_assert_neq(vm_access(vm, vm_written(part)), 0);
	igt_assert_eq(vm_access(vm, part), how->prot == PROT_READ ? 0 : -EFAULT);
	if (how->page) {
		igt_assert_eq(vm_access(vm, vm_written(vm_range(GUEST_FREE, offset, 1))), 0);
		igt_assert_eq(vm_access(vm, vm_range(GUEST_FREE + offset + VM_STEP,
						     view.length - offset - VM_STEP,
						     2 + offset / VM_STEP)), 0);
	}
	igt_assert_eq(mprotect(view.addr + offset, length, PROT_READ | PROT_WRITE), 0);
	igt_assert_eq(vm_access(vm, vm_all(&view, 1)), 0);
	igt_assert_eq(vm_access(vm, vm_written(vm_all(&view, 2))), 0);
	assert_words(&view, 2);
}

/**
 * SUBTEST: madvise
 * Description: MADV_DONTNEED is refused, as for all mappings of pfns, and takes no entry away.
 */
static void test_madvise(const struct target *target)
{
	struct view view;
	struct vm *vm = new_guest(target, &view, 1);

	igt_assert_eq(madvise(view.addr, view.length, MADV_DONTNEED), -1);
	igt_assert_eq(errno, EINVAL);
	vm_assert_entries_of(&view, vm, HUGE_PUD);
	igt_assert_eq(vm_access(vm, vm_all(&view, 1)), 0);
}

/**
 * SUBTEST: munmap
 * Description: While the guest reads, a page of the mapping goes: KVM cannot map it, and the guest
 *              has everything else.
 */
static void test_munmap(const struct target *target)
{
	struct view view;
	struct vm *vm = new_guest(target, &view, 1);
	const uint64_t offset = middle_page(&view);
	const uint64_t after = offset + VM_STEP;

	vm_start(vm, vm_all(&view, 1));
	igt_assert_eq(munmap(view.addr + offset, VM_STEP), 0);
	vm_wait_round(vm);
	vm_wait_round(vm);
	igt_assert_eq(vm_stop(vm), -EFAULT);
	igt_assert_eq(vm_access(vm, vm_range(GUEST_FREE + offset, VM_STEP, 0)), -EFAULT);
	igt_assert_eq(vm_access(vm, vm_range(GUEST_FREE, offset, 1)), 0);
	igt_assert_eq(vm_access(vm, vm_range(GUEST_FREE + after, view.length - after,
					     1 + after / VM_STEP)), 0);
}

/**
 * SUBTEST: mremap
 * Description: The mapping moves: nothing is left of it for the guest, until the slot follows it,
 *              and then entries are as large as before.
 */
static void test_mremap(const struct target *target)
{
	struct view view;
	struct vm *vm = new_guest(target, &view, 1);

	view = move_view(&view, free_address(view.length, BO_PUD_SIZE, 0));
	vm_assert_entries(&view, vm, 0, 0, 0);
	igt_assert_eq(vm_access(vm, vm_all(&view, 1)), -EFAULT);
	vm_take(vm);
	vm_give(vm, &view, 0);
	igt_assert_eq(vm_access(vm, vm_all(&view, 1)), 0);
	vm_assert_entries_of(&view, vm, HUGE_PUD);
}

/**
 * SUBTEST: fork
 * Description: A child of the process writes to its mapping of the object, and the guest reads
 *              that, with the entries that it had.
 */
static void test_fork(const struct target *target)
{
	struct view view;
	struct vm *vm = new_guest(target, &view, 1);

	fork_and_wait()
		write_words(&view, 2);
	igt_assert_eq(vm_access(vm, vm_all(&view, 2)), 0);
	vm_assert_entries_of(&view, vm, HUGE_PUD);
}

/**
 * SUBTEST: slot
 * Description: A memory slot that is deleted leaves no entries. It has them again, as large as they
 *              were, when it is back.
 */
static void test_slot(const struct target *target)
{
	struct view view;
	struct vm *vm = new_guest(target, &view, 1);

	vm_take(vm);
	vm_assert_entries(&view, vm, 0, 0, 0);
	igt_assert_eq(vm_access(vm, vm_all(&view, 1)), -ENXIO);
	vm_give(vm, &view, 0);
	igt_assert_eq(vm_access(vm, vm_all(&view, 1)), 0);
	vm_assert_entries_of(&view, vm, HUGE_PUD);
}

/**
 * SUBTEST: dirty-log
 * Description: While KVM logs what the guest writes, a page written is a page logged. The log is
 *              right again and again, and without it the entries get large again. arm64 and riscv
 *              refuse to log this memory.
 */
static void test_dirty_log(const struct target *target)
{
	struct view view;
	struct vm *vm = new_guest(target, &view, 1);
	const uint64_t pages = view.length / VM_STEP, page = pages / 2 + 1;
	uint64_t *bitmap = calloc((pages + 63) / 64, 8);
	const struct guest_access word = vm_range(GUEST_FREE + page * VM_STEP, VM_STEP, 5);
	struct kvm_dirty_log log = { .slot = VM_SLOT, .dirty_bitmap = bitmap };

	igt_assert(bitmap);
	if (!vm_logs_writes()) {
		igt_assert_eq(guest_set_slot(&vm->guest, VM_SLOT, GUEST_FREE, view.addr, view.length,
					     KVM_MEM_LOG_DIRTY_PAGES), -EINVAL);
		free(bitmap);
		return;
	}
	vm_give(vm, &view, KVM_MEM_LOG_DIRTY_PAGES);
	for (int i = 0; i < 2; i++) {
		uint64_t dirty = 0;

		igt_assert_eq(vm_access(vm, vm_written(word)), 0);
		igt_assert_f(!ioctl(vm->guest.fd, KVM_GET_DIRTY_LOG, &log), "KVM_GET_DIRTY_LOG: %m\n");
		for (uint64_t word = 0; word < (pages + 63) / 64; word++)
			dirty += __builtin_popcountll(bitmap[word]);
		view_assert(&view, bitmap[page / 64] >> page % 64 & 1, "page %" PRIu64
			    " is not logged", page);
		igt_assert_eq_u64(dirty, 1);
	}
	free(bitmap);
	vm_give(vm, &view, 0);
	igt_assert_eq(vm_access(vm, vm_written(vm_all(&view, 2))), 0);
	assert_words(&view, 2);
	vm_assert_entries_of(&view, vm, HUGE_PUD);
}

/**
 * SUBTEST: two-machines
 * Description: Two machines have the same object, each in large entries, and see what the other
 *              writes, on vttm after an eviction as well.
 */
static void test_two_machines(const struct target *target)
{
	struct view view;
	struct vm *first = new_guest(target, &view, 1), *second = vm_open();

	vm_give(second, &view, 0);
	igt_assert_eq(vm_access(second, vm_all(&view, 1)), 0);
	vm_assert_entries_of(&view, second, HUGE_PUD);
	if (on_vram(target) && on_vttm(target))
		evict(&view);
	igt_assert_eq(vm_access(second, vm_written(vm_all(&view, 2))), 0);
	igt_assert_eq(vm_access(first, vm_all(&view, 2)), 0);
}

static const struct geometry {
	const char *name;
	uint64_t first, last;	/* bytes that the slot lacks of the mapping, at either end */
	uint64_t guest;		/* guest address of the slot, above GUEST_FREE */
	uint64_t alignment;	/* of guest, process and memory to each other */
} geometries[] = {
	{ "skew-4k", 0, 0, BO_PTE_SIZE, BO_PTE_SIZE },
	{ "skew-2m", 0, 0, BO_PMD_SIZE, BO_PMD_SIZE },
	{ "inside-leaf", BO_PTE_SIZE, 2 * BO_PTE_SIZE, BO_PTE_SIZE, BO_PUD_SIZE },
	{ "inside-leaf-2m", BO_PMD_SIZE, BO_PMD_SIZE, BO_PMD_SIZE, BO_PUD_SIZE },
};

/**
 * SUBTEST: geometry-%s
 * Description: A slot of %arg[1] has the largest entries that its own borders and its alignment
 *              allow, and none reaches beyond it.
 *
 * arg[1]:
 *
 * @skew-4k:		guest addresses that are not congruent to those of the process
 * @skew-2m:		guest addresses that are congruent modulo 2 MiB only
 * @inside-leaf:	all of the mapping but one page in front and two at the end
 * @inside-leaf-2m:	all of the mapping but 2 MiB at either end
 */
static void test_geometry(const struct target *target, const void *member)
{
	const struct geometry *how = member;
	struct vm *vm = vm_new();
	/* With a 4 KiB entry for each page, less is enough. */
	const uint64_t size = how->alignment == BO_PTE_SIZE ? 8 * MiB : object_size(target);
	struct view view, slot;
	uint64_t guest = GUEST_FREE + how->guest, pud = 0, pmd = 0, pte = 0;

	require_room(target, size);
	view = new_view(target, size);
	write_words(&view, 1);
	assert_levels(&view, HUGE_PUD);
	slot = sub_view(&view, how->first, size - how->first - how->last);
	vm_set_slot(vm, VM_SLOT, guest, slot.addr, slot.length, 0);
	igt_assert_eq(vm_access(vm, vm_range(guest, slot.length, 1 + how->first / VM_STEP)), 0);
	require_vm_entries();

	for (uint64_t done = 0, step; done < slot.length; done += step) {
		const uint64_t offset = how->first + done, left = slot.length - done;
		const enum bo_level level = expected_level(&view, offset, HUGE_PUD);

		if (level == BO_PUD && how->alignment == BO_PUD_SIZE &&
		    offset % BO_PUD_SIZE == 0 && left >= BO_PUD_SIZE) {
			step = BO_PUD_SIZE;
			pud++;
		} else if (level >= BO_PMD && how->alignment >= BO_PMD_SIZE &&
			   offset % BO_PMD_SIZE == 0 && left >= BO_PMD_SIZE) {
			step = BO_PMD_SIZE;
			pmd++;
		} else {
			step = BO_PTE_SIZE;
			pte++;
		}
	}
	vm_assert_entries(&slot, vm, pud, pmd, pte);
}

/**
 * SUBTEST: several-vmas
 * Description: One slot covers several VMAs of the object, with a border inside an entry, and a
 *              hole.
 */
static void test_several_vmas(const struct target *target)
{
	struct view view = new_view(target, object_size(target));
	const uint64_t hole = middle_page(&view), after = hole + 3 * VM_STEP;
	struct vm *vm = vm_new();

	write_words(&view, 1);
	igt_assert_eq(madvise(view.addr + VM_STEP, BO_PMD_SIZE, MADV_RANDOM), 0);
	igt_assert_eq(munmap(view.addr + hole, after - hole), 0);
	vm_give(vm, &view, 0);
	igt_assert_eq(vm_access(vm, vm_range(GUEST_FREE, hole, 1)), 0);
	igt_assert_eq(vm_access(vm, vm_range(GUEST_FREE + hole, VM_STEP, 0)), -EFAULT);
	igt_assert_eq(vm_access(vm, vm_range(GUEST_FREE + after, view.length - after,
					     1 + after / VM_STEP)), 0);
}

static bool can_be_unplugged(const struct target *target)
{
	return may_unplug(target) && on_vttm(target) && on_vram(target);
}

/**
 * SUBTEST: unplug
 * Description: The device goes while the guest writes. The guest goes on, with a page of zeroes.
 */
static void test_unplug(const struct target *target)
{
	struct pci_address device = pci_address(target);
	struct turns turns;

	/* A child cannot skip. */
	require_room(target, size_of_all_levels(target));
	in_child(&turns) {
		struct guest_access first = vm_range(GUEST_FREE, VM_STEP, 0);
		struct view view;
		struct vm *vm = new_guest(target, &view, 1);

		/* Not all of a gigabyte: the pages that come are 4 KiB each. */
		vm_start(vm, vm_written(vm_range(GUEST_FREE, 4 * MiB, 1)));
		next_turn(&turns);
		vm_wait_round(vm);
		igt_assert_eq(vm_stop(vm), 0);
		if (vm_tells_entries())
			igt_assert_eq_u64(vm_entries(vm).pud + vm_entries(vm).pmd, 0);
		first.value = *(uint64_t *)view.addr;
		igt_assert_eq(vm_access(vm, first), 0);
		vm_close(vm);
	}
	unplug(&device);
	last_turn(&turns);
	plug_in(target, &device);
}

static const struct subtest subtests[] = {
	{ "first-%s", "A guest touches an object first",
	  .test_member = test_first, FAMILY(touchings) },
	{ "switch-%s", "Entries follow the switch", .test_member = test_switch,
	  FAMILY(switch_values) },
	{ "evict", "Moves the object out of VRAM and back", .test = test_evict,
	  .on = on_vram },
	{ "evict-in-use", "The same under a running guest", .test = test_evict_in_use,
	  .on = on_vram },
	{ "mprotect-%s", "Forbids access and allows it again",
	  .test_member = test_mprotect, FAMILY(protections) },
	{ "madvise", "Cannot take entries away", .test = test_madvise },
	{ "munmap", "Unmaps a page under a running guest", .test = test_munmap },
	{ "mremap", "Moves the mapping", .test = test_mremap },
	{ "fork", "Forks the process that has the machine", .test = test_fork },
	{ "slot", "Deletes the memory slot and adds it again", .test = test_slot },
	{ "dirty-log", "Logs what the guest writes", .test = test_dirty_log },
	{ "two-machines", "Gives an object to two machines", .test = test_two_machines },
	{ "geometry-%s", "Slots that do not fit entries",
	  .test_member = test_geometry, FAMILY(geometries) },
	{ "several-vmas", "A slot of several VMAs", .test = test_several_vmas },
	{ "unplug", "The device goes while the guest uses it", .test = test_unplug,
	  .on = can_be_unplugged },
};

int igt_main()
{
	igt_fixture() {
		ttm_huge_init();
		require_kvm();
	}
	run_subtests(subtests);
	igt_fixture() {
		vm_close_all();
		ttm_huge_fini();
	}
}
