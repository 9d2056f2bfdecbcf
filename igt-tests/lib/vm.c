// SPDX-License-Identifier: MIT
#define _GNU_SOURCE 1
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <linux/kvm.h>

#include "bad_pages.h"
#include "kernel.h"
#include "vm.h"

static struct vm vms[2];

void require_kvm(void)
{
#if !defined(__x86_64__) && !defined(__aarch64__) && !defined(__riscv)
	igt_skip("there is no code for guests of this architecture\n");
#endif
	igt_require_f(guest_kvm() >= 0, "/dev/kvm: %m\n");
	igt_require_f(!access("/sys/kernel/debug/kvm", X_OK), "no /sys/kernel/debug/kvm\n");
}

bool vm_tells_entries(void)
{
#ifdef __riscv
	return false;
#else
	return true;
#endif
}

void require_vm_entries(void)
{
	igt_require_f(vm_tells_entries(), "KVM does not tell its entries on this architecture\n");
}

bool vm_logs_writes(void)
{
#ifdef __x86_64__
	return true;
#else
	return false;
#endif
}

struct vm *vm_open(void)
{
	struct vm *vm = vms[0].open ? &vms[1] : &vms[0];
	int ret;

	igt_assert(!vm->open);
	*vm = (struct vm){ };
	ret = guest_open(&vm->guest);
	igt_assert_f(!ret, "no virtual machine: %s\n", strerror(-ret));
	vm->open = true;
	return vm;
}

void vm_close(struct vm *vm)
{
	if (vm->running) {
		vm->guest.access->again = 0;
		pthread_join(vm->thread, NULL);
	}
	guest_close(&vm->guest);
	vm->open = false;
}

void vm_close_all(void)
{
	for (size_t i = 0; i < ARRAY_SIZE(vms); i++)
		if (vms[i].open)
			vm_close(&vms[i]);
}

void vm_set_slot(const struct vm *vm, unsigned int slot, uint64_t guest, const void *addr,
		 uint64_t size, unsigned int flags)
{
	int ret = guest_set_slot(&vm->guest, slot, guest, addr, size, flags);

	igt_assert_f(!ret, "memory slot %u of %" PRIu64 " bytes at %#" PRIx64 ": %s\n", slot, size,
		     guest, strerror(-ret));
}

static void prepare(struct vm *vm, struct guest_access access)
{
	igt_assert(!vm->running);
	memcpy((void *)vm->guest.access, &access, sizeof(access));
}

static int finish(const struct vm *vm, int status)
{
	const volatile struct guest_access *access = vm->guest.access;

	igt_assert_f(!status || status == -EFAULT || status == -ENXIO,
		     "the guest ends with %s, exit reason %u\n", strerror(-status),
		     vm->guest.run->exit_reason);
	if (!status && access->left) {
		const uint64_t i = access->count - access->left;

		igt_assert_f(false, "the guest reads %#" PRIx64 " at %#" PRIx64 ", expected %#"
			     PRIx64 "\n", access->found, access->first + i * access->stride,
			     access->value + i);
	}
	return status;
}

int vm_access(struct vm *vm, struct guest_access access)
{
	prepare(vm, access);
	return finish(vm, guest_run(&vm->guest));
}

static void *run_thread(void *arg)
{
	struct vm *vm = arg;

	vm->status = guest_run(&vm->guest);
	__atomic_store_n(&vm->guest.access->again, 0, __ATOMIC_RELEASE);
	return NULL;
}

void vm_start(struct vm *vm, struct guest_access access)
{
	access.again = 1;
	prepare(vm, access);
	igt_assert_eq(pthread_create(&vm->thread, NULL, run_thread, vm), 0);
	vm->running = true;
	vm_wait_round(vm);
}

int vm_stop(struct vm *vm)
{
	vm->guest.access->again = 0;
	pthread_join(vm->thread, NULL);
	vm->running = false;
	return finish(vm, vm->status);
}

void vm_wait_round(const struct vm *vm)
{
	const uint64_t rounds = vm->guest.access->rounds;

	while (vm->guest.access->rounds == rounds && vm->guest.access->again)
		usleep(1000);
}

#ifdef __x86_64__
static uint64_t count(const struct vm *vm, const char *size)
{
	uint64_t entries;
	char path[96];

	snprintf(path, sizeof(path), "/sys/kernel/debug/kvm/%d-%d/pages_%s", getpid(),
		 vm->guest.fd, size);
	igt_assert_eq(scan_file(path, "%" SCNu64, &entries), 1);
	return entries;
}

struct vm_entries vm_entries(const struct vm *vm)
{
	return (struct vm_entries){ count(vm, "4k"), count(vm, "2m"), count(vm, "1g") };
}
#else
/* arm64 lists what KVM has mapped, with the level: 3 is that of a page. */
struct vm_entries vm_entries(const struct vm *vm)
{
	struct vm_entries entries = { };
	uint64_t start, end;
	char path[96], line[256];
	unsigned int level;
	FILE *list;

	snprintf(path, sizeof(path), "/sys/kernel/debug/kvm/%d-%d/stage2_page_tables", getpid(),
		 vm->guest.fd);
	list = fopen(path, "re");
	igt_assert_f(list, "%s: %m\n", path);
	while (fgets(line, sizeof(line), list)) {
		if (sscanf(line, "0x%" SCNx64 "-0x%" SCNx64 " %*s %u", &start, &end, &level) != 3 ||
		    !strstr(line, " AF "))
			continue;
		igt_assert_f(level >= 1 && level <= 3, "level %u in %s", level, path);
		if (level == 3)
			entries.pte += (end - start) / BO_PTE_SIZE;
		else if (level == 2)
			entries.pmd += (end - start) / BO_PMD_SIZE;
		else
			entries.pud += (end - start) / BO_PUD_SIZE;
	}
	fclose(list);
	return entries;
}
#endif

struct vm *vm_new(void)
{
	vm_close_all();
	return vm_open();
}

void vm_give(const struct vm *vm, const struct view *view, unsigned int flags)
{
	vm_set_slot(vm, VM_SLOT, GUEST_FREE, view->addr, view->length, flags);
}

void vm_take(const struct vm *vm)
{
	vm_set_slot(vm, VM_SLOT, GUEST_FREE, NULL, 0, 0);
}

struct guest_access vm_range(uint64_t guest, uint64_t length, uint64_t value)
{
	return (struct guest_access){ .first = guest, .count = length / VM_STEP, .stride = VM_STEP,
				   .value = value };
}

struct guest_access vm_all(const struct view *view, uint64_t value)
{
	return vm_range(GUEST_FREE, view->length, value);
}

struct guest_access vm_written(struct guest_access access)
{
	access.write = true;
	return access;
}

void write_words(const struct view *view, uint64_t value)
{
	for (uint64_t i = 0; i < view->length / VM_STEP; i++)
		*(volatile uint64_t *)(view->addr + i * VM_STEP) = value + i;
}

void assert_words(const struct view *view, uint64_t value)
{
	for (uint64_t i = 0; i < view->length / VM_STEP; i++) {
		const uint64_t found = *(volatile uint64_t *)(view->addr + i * VM_STEP);

		view_assert_at(view, i * VM_STEP, found == value + i,
			       "%#" PRIx64 " is mapped, expected %#" PRIx64, found, value + i);
	}
}

void vm_assert_entries(const struct view *view, const struct vm *vm, uint64_t pud, uint64_t pmd,
		       uint64_t pte)
{
	struct vm_entries entries;

	if (!vm_tells_entries())
		return;
	entries = vm_entries(vm);
	view_assert(view, entries.pud == pud && entries.pmd == pmd && entries.pte >= pte &&
		    entries.pte <= pte + VM_LOW_ENTRIES, "the guest has %" PRIu64 " entries of 1 GiB, "
		    "%" PRIu64 " of 2 MiB, %" PRIu64 " of 4 KiB; expected %" PRIu64 ", %" PRIu64
		    ", %" PRIu64, entries.pud, entries.pmd, entries.pte, pud, pmd, pte);
}

void vm_assert_entries_of(const struct view *view, const struct vm *vm, int huge_faults)
{
	struct bo_levels levels;

	assert_levels(view, huge_faults);
	levels = levels_of(view);
	vm_assert_entries(view, vm, levels.pud, levels.pmd, levels.pte);
}

struct use {
	struct vm *vm;
	struct guest_access access;
};

static void use(void *data)
{
	const struct use *use = data;

	vm_access(use->vm, use->access);
}

void vm_assert_broken(struct vm *vm, const struct view *view, uint64_t offset,
		      struct guest_access access)
{
	assert_bus_error(view->addr + offset, use, &(struct use){ vm, access });
}
