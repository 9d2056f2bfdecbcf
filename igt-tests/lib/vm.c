// SPDX-License-Identifier: MIT
#define _GNU_SOURCE 1
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <linux/kvm.h>

#include "kernel.h"
#include "vm.h"

/* Places in the guest's low memory */
#define LOW_SIZE	(2 * MiB)
#define ACCESS_AT	0x1000
#define CODE_AT		0x20000

#ifdef __x86_64__
/*
 * The registers are those that the C function of the same meaning would have: %rdi is the address,
 * %rcx how many words are left, %rdx the stride, %rsi the value, %rax the word that was read.
 */
asm("	.pushsection .rodata\n"
    "vm_code:\n"
    "	mov	$0x1000, %ebx\n"		/* ACCESS_AT */
    "	mov	0(%rbx), %rdi\n"		/* first */
    "	mov	8(%rbx), %rcx\n"		/* count */
    "	mov	16(%rbx), %rdx\n"		/* stride */
    "	mov	24(%rbx), %rsi\n"		/* value */
    "	cmpl	$0, 32(%rbx)\n"			/* write */
    "	jne	2f\n"
    "1:	mov	(%rdi), %rax\n"
    "	cmp	%rsi, %rax\n"
    "	jne	3f\n"
    "	add	%rdx, %rdi\n"
    "	inc	%rsi\n"
    "	dec	%rcx\n"
    "	jnz	1b\n"
    "	jmp	3f\n"
    "2:	mov	%rsi, (%rdi)\n"
    "	add	%rdx, %rdi\n"
    "	inc	%rsi\n"
    "	dec	%rcx\n"
    "	jnz	2b\n"
    "3:	mov	%rcx, 40(%rbx)\n"		/* left */
    "	mov	%rax, 48(%rbx)\n"		/* found */
    "	incq	56(%rbx)\n"			/* rounds */
    "	test	%rcx, %rcx\n"
    "	jnz	4f\n"
    "	cmpl	$0, 36(%rbx)\n"			/* again */
    "	jne	vm_code\n"
    "4:	out	%al, $0x10\n"
    "	jmp	4b\n"
    "vm_code_end:\n"
    "	.popsection\n");

extern const char vm_code[], vm_code_end[];

#endif /* __x86_64__ */

static struct vm vms[2];

static int kvm_fd(void)
{
	static int fd = -1;

	if (fd < 0)
		fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	return fd;
}

void require_kvm(void)
{
#ifndef __x86_64__
	igt_skip("there is no code for guests of this architecture\n");
#endif
	igt_require_f(kvm_fd() >= 0, "/dev/kvm: %m\n");
	igt_require_f(!access("/sys/kernel/debug/kvm", X_OK), "no /sys/kernel/debug/kvm\n");
}

static size_t run_size(void)
{
	return ioctl(kvm_fd(), KVM_GET_VCPU_MMAP_SIZE, 0);
}

static void *map(size_t size, int fd)
{
	const int flags = fd < 0 ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED;
	void *addr = mmap(NULL, size, PROT_READ | PROT_WRITE, flags, fd, 0);

	igt_assert_f(addr != MAP_FAILED, "%m\n");
	return addr;
}

#ifdef __x86_64__
#define TABLES_AT	0x2000	/* one of level 4, one of level 3, then those of level 2 */
#define GIGABYTES	16

/* Addresses are what they are in the guest's memory, in entries of 2 MiB. */
static void fill_page_tables(char *low)
{
	uint64_t *tables = (uint64_t *)(low + TABLES_AT), *level2 = tables + 2 * 512;
	const uint64_t flags = 0x7;	/* present, writable, user */

	tables[0] = (TABLES_AT + 0x1000) | flags;
	for (int i = 0; i < GIGABYTES; i++)
		tables[512 + i] = (TABLES_AT + 0x2000 + i * 0x1000) | flags;
	for (uint64_t i = 0; i < GIGABYTES * 512; i++)
		level2[i] = i << 21 | 0x80 | flags;
}

static void set_up_processor(const struct vm *vm)
{
	struct kvm_segment code = { .selector = 8, .type = 11, .present = 1, .s = 1, .l = 1, .g = 1,
				    .limit = 0xffffffff };
	struct kvm_segment data = { .selector = 16, .type = 3, .present = 1, .s = 1, .db = 1, .g = 1,
				    .limit = 0xffffffff };
	union {
		struct kvm_cpuid2 head;
		char room[sizeof(struct kvm_cpuid2) + 256 * sizeof(struct kvm_cpuid_entry2)];
	} cpuid = { .head.nent = 256 };
	struct kvm_sregs sregs;

	igt_assert_f(!ioctl(kvm_fd(), KVM_GET_SUPPORTED_CPUID, &cpuid), "%m\n");
	igt_assert_f(!ioctl(vm->processor, KVM_SET_CPUID2, &cpuid), "%m\n");

	igt_assert_f(!ioctl(vm->processor, KVM_GET_SREGS, &sregs), "%m\n");
	sregs.cs = code;
	sregs.ds = sregs.es = sregs.fs = sregs.gs = sregs.ss = data;
	sregs.cr3 = TABLES_AT;
	sregs.cr4 = 1 << 5;			/* PAE */
	sregs.efer = 1 << 8 | 1 << 10;		/* LME, LMA */
	sregs.cr0 = UINT64_C(1) << 31 | 1;	/* PG, PE */
	igt_assert_f(!ioctl(vm->processor, KVM_SET_SREGS, &sregs), "%m\n");
}

static int start_code(const struct vm *vm)
{
	struct kvm_regs regs = { .rip = CODE_AT, .rflags = 2 };

	return ioctl(vm->processor, KVM_SET_REGS, &regs) ? -errno : 0;
}
#else
/* There is no guest code: require_kvm() skips. */
#define vm_code		""
#define vm_code_end	vm_code

static void fill_page_tables(char *low)
{
	(void)low;
}

static void set_up_processor(const struct vm *vm)
{
	(void)vm;
}

static int start_code(const struct vm *vm)
{
	(void)vm;
	return -ENOSYS;
}
#endif /* __x86_64__ */

struct vm *vm_open(void)
{
	struct vm *vm = vms[0].open ? &vms[1] : &vms[0];

	igt_assert(!vm->open);
	*vm = (struct vm){ .open = true, .processor = -1 };
	vm->fd = ioctl(kvm_fd(), KVM_CREATE_VM, 0);
	igt_assert_f(vm->fd >= 0, "KVM_CREATE_VM: %m\n");
	vm->processor = ioctl(vm->fd, KVM_CREATE_VCPU, 0);
	igt_assert_f(vm->processor >= 0, "KVM_CREATE_VCPU: %m\n");
	vm->run = map(run_size(), vm->processor);

	/* Entries that are larger are those of the other slots. */
	vm->low = map(LOW_SIZE, -1);
	igt_assert_eq(madvise(vm->low, LOW_SIZE, MADV_NOHUGEPAGE), 0);
	memcpy(vm->low + CODE_AT, vm_code, vm_code_end - vm_code);
	fill_page_tables(vm->low);
	vm->access = (void *)(vm->low + ACCESS_AT);
	vm_set_slot(vm, 0, 0, vm->low, LOW_SIZE, 0);
	set_up_processor(vm);
	return vm;
}

void vm_close(struct vm *vm)
{
	if (vm->running) {
		vm->access->again = 0;
		pthread_join(vm->thread, NULL);
	}
	if (vm->run)
		munmap(vm->run, run_size());
	if (vm->processor >= 0)
		close(vm->processor);
	if (vm->fd >= 0)
		close(vm->fd);
	if (vm->low)
		munmap(vm->low, LOW_SIZE);
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
	struct kvm_userspace_memory_region region = {
		.slot = slot,
		.flags = flags,
		.guest_phys_addr = guest,
		.memory_size = size,
		.userspace_addr = (uintptr_t)addr,
	};

	igt_assert_f(!ioctl(vm->fd, KVM_SET_USER_MEMORY_REGION, &region),
		     "memory slot %u of %" PRIu64 " bytes at %#" PRIx64 ": %m\n", slot, size, guest);
}

/* Until the guest says that it is done */
static int run(const struct vm *vm)
{
	int ret = start_code(vm);

	if (ret)
		return ret;
	do {
		ret = ioctl(vm->processor, KVM_RUN, 0) ? -errno : 0;
	} while (ret == -EINTR || ret == -EAGAIN);
	if (ret)
		return ret;
	switch (vm->run->exit_reason) {
	case KVM_EXIT_IO:
		return 0;
	case KVM_EXIT_MMIO:
		/* Else the next run would end this access. */
		vm->run->immediate_exit = 1;
		ioctl(vm->processor, KVM_RUN, 0);
		vm->run->immediate_exit = 0;
		return -ENXIO;
	default:
		return -EPROTO;
	}
}

static void prepare(struct vm *vm, struct vm_access access)
{
	igt_assert(!vm->running);
	memcpy((void *)vm->access, &access, sizeof(access));
}

static int finish(const struct vm *vm, int status)
{
	const volatile struct vm_access *access = vm->access;

	igt_assert_f(!status || status == -EFAULT || status == -ENXIO,
		     "the guest ends with %s, exit reason %u\n", strerror(-status),
		     vm->run->exit_reason);
	if (!status && access->left) {
		const uint64_t i = access->count - access->left;

		igt_assert_f(false, "the guest reads %#" PRIx64 " at %#" PRIx64 ", expected %#"
			     PRIx64 "\n", access->found, access->first + i * access->stride,
			     access->value + i);
	}
	return status;
}

int vm_access(struct vm *vm, struct vm_access access)
{
	prepare(vm, access);
	return finish(vm, run(vm));
}

static void *run_thread(void *arg)
{
	struct vm *vm = arg;

	vm->status = run(vm);
	__atomic_store_n(&vm->access->again, 0, __ATOMIC_RELEASE);
	return NULL;
}

void vm_start(struct vm *vm, struct vm_access access)
{
	access.again = 1;
	prepare(vm, access);
	igt_assert_eq(pthread_create(&vm->thread, NULL, run_thread, vm), 0);
	vm->running = true;
	vm_wait_round(vm);
}

int vm_stop(struct vm *vm)
{
	vm->access->again = 0;
	pthread_join(vm->thread, NULL);
	vm->running = false;
	return finish(vm, vm->status);
}

void vm_wait_round(const struct vm *vm)
{
	const uint64_t rounds = vm->access->rounds;

	while (vm->access->rounds == rounds && vm->access->again)
		usleep(1000);
}

static uint64_t count(const struct vm *vm, const char *size)
{
	uint64_t entries;
	char path[96];

	snprintf(path, sizeof(path), "/sys/kernel/debug/kvm/%d-%d/pages_%s", getpid(), vm->fd, size);
	igt_assert_eq(scan_file(path, "%" SCNu64, &entries), 1);
	return entries;
}

struct vm_entries vm_entries(const struct vm *vm)
{
	return (struct vm_entries){ count(vm, "4k"), count(vm, "2m"), count(vm, "1g") };
}
