// SPDX-License-Identifier: MIT
#define _GNU_SOURCE 1
#include "guest.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <linux/kvm.h>

#include "bo.h"

/* Places in the guest's low memory */
#define LOW_SIZE	(UINT64_C(2) << 20)
#define ACCESS_AT	0x1000
#define CODE_AT		0x20000

#define GIGABYTES	16	/* of guest addresses */

/*
 * The code of the guest. Hidden symbols are not looked up in the GOT, in which arm64's linker has one
 * entry for both, as they are not global.
 */
extern const char guest_code[] __attribute__((visibility("hidden")));
extern const char guest_code_end[] __attribute__((visibility("hidden")));

#ifdef __x86_64__
/*
 * The registers are those that the C function of the same meaning would have: %rdi is the address,
 * %rcx how many words are left, %rdx the stride, %rsi the value, %rax the word that was read.
 */
asm("	.pushsection .rodata\n"
    "guest_code:\n"
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
    "	jne	guest_code\n"
    "4:	out	%al, $0x10\n"
    "	jmp	4b\n"
    "guest_code_end:\n"
    "	.popsection\n");

#define TABLES_AT	0x2000	/* one of level 4, one of level 3, then those of level 2 */

/*
 * Addresses are what they are in the guest's memory. Entries are as large as they get: where KVM
 * merges the tables of guest and process (shadow paging), none of its own is larger.
 */
static void fill_page_tables(char *low)
{
	uint64_t *tables = (uint64_t *)(low + TABLES_AT), *level2 = tables + 2 * 512;
	const uint64_t flags = 0x7;	/* present, writable, user */
	const uint64_t leaf = 0xe0;	/* accessed, dirty: else KVM keeps tables of clean ones, too */
	const bool huge = bo_has_pud_entries();

	tables[0] = (TABLES_AT + 0x1000) | flags;
	for (uint64_t i = 0; i < GIGABYTES; i++)
		tables[512 + i] = (huge ? i << 30 | leaf : TABLES_AT + 0x2000 + i * 0x1000) | flags;
	for (uint64_t i = 0; i < GIGABYTES * 512; i++)
		level2[i] = i << 21 | leaf | flags;
}

static int set_up_processor(const struct guest *guest)
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

	if (ioctl(guest_kvm(), KVM_GET_SUPPORTED_CPUID, &cpuid) ||
	    ioctl(guest->processor, KVM_SET_CPUID2, &cpuid) ||
	    ioctl(guest->processor, KVM_GET_SREGS, &sregs))
		return -errno;
	sregs.cs = code;
	sregs.ds = sregs.es = sregs.fs = sregs.gs = sregs.ss = data;
	sregs.cr3 = TABLES_AT;
	sregs.cr4 = 1 << 5;			/* PAE */
	sregs.efer = 1 << 8 | 1 << 10;		/* LME, LMA */
	sregs.cr0 = UINT64_C(1) << 31 | 1;	/* PG, PE */
	return ioctl(guest->processor, KVM_SET_SREGS, &sregs) ? -errno : 0;
}

static int start_code(const struct guest *guest)
{
	struct kvm_regs regs = { .rip = CODE_AT, .rflags = 2 };

	return ioctl(guest->processor, KVM_SET_REGS, &regs) ? -errno : 0;
}

/* The guest has ended when it gets to the end of its code. */
static bool has_ended(const struct kvm_run *run)
{
	return run->exit_reason == KVM_EXIT_IO;
}
#elif defined(__aarch64__) || defined(__riscv)
#define END_AT		0x40000000	/* No memory: a write there ends the guest. */

static int set_register(const struct guest *guest, uint64_t id, uint64_t value)
{
	struct kvm_one_reg reg = { .id = id, .addr = (uintptr_t)&value };

	return ioctl(guest->processor, KVM_SET_ONE_REG, &reg) ? -errno : 0;
}

#ifdef __aarch64__
/*
 * The registers are those that the C function of the same meaning would have: x0 is the address,
 * x1 how many words are left, x2 the stride, x3 the value, x5 the word that was read.
 */
asm("	.pushsection .rodata\n"
    "	.balign	4\n"
    "guest_code:\n"
    "	mov	x9, #0x1000\n"			/* ACCESS_AT */
    "	ldp	x0, x1, [x9]\n"		/* first, count */
    "	ldp	x2, x3, [x9, #16]\n"		/* stride, value */
    "	ldr	w4, [x9, #32]\n"		/* write */
    "	cbnz	w4, 2f\n"
    "1:	ldr	x5, [x0]\n"
    "	cmp	x5, x3\n"
    "	b.ne	3f\n"
    "	add	x0, x0, x2\n"
    "	add	x3, x3, #1\n"
    "	sub	x1, x1, #1\n"
    "	cbnz	x1, 1b\n"
    "	b	3f\n"
    "2:	str	x3, [x0]\n"
    "	add	x0, x0, x2\n"
    "	add	x3, x3, #1\n"
    "	sub	x1, x1, #1\n"
    "	cbnz	x1, 2b\n"
    "3:	dsb	sy\n"
    "	stp	x1, x5, [x9, #40]\n"		/* left, found */
    "	ldr	x6, [x9, #56]\n"		/* rounds */
    "	add	x6, x6, #1\n"
    "	str	x6, [x9, #56]\n"
    "	cbnz	x1, 4f\n"
    "	ldr	w6, [x9, #36]\n"		/* again */
    "	cbnz	w6, guest_code\n"
    "4:	mov	x10, #0x40000000\n"		/* END_AT */
    "	str	w6, [x10]\n"
    "	b	4b\n"
    "guest_code_end:\n"
    "	.popsection\n");

#define TABLE_AT	0x2000
#define PROGRAM_COUNTER	(KVM_REG_ARM64 | KVM_REG_SIZE_U64 | KVM_REG_ARM_CORE | \
			 KVM_REG_ARM_CORE_REG(regs.pc))

/* Addresses are what they are in the guest's memory, which is cacheable for the guest. */
static void fill_page_tables(char *low)
{
	uint64_t *table = (uint64_t *)(low + TABLE_AT);

	for (uint64_t i = 0; i < GIGABYTES; i++)
		table[i] = i << 30 | 1 << 10 | 3 << 8 | 1;	/* accessed, inner shareable, leaf */
}

static int set_up_processor(const struct guest *guest)
{
	const struct {
		uint64_t id, value;
	} registers[] = {
		{ ARM64_SYS_REG(3, 0, 10, 2, 0), 0xff },	/* MAIR_EL1: write-back */
		/* TCR_EL1: 34 bits, walks as memory is, pages of 4 KiB, no TTBR1, 40 bits out */
		{ ARM64_SYS_REG(3, 0, 2, 0, 2),
		  (64 - 34) | 1 << 8 | 1 << 10 | 3 << 12 | 1 << 23 | UINT64_C(2) << 32 },
		{ ARM64_SYS_REG(3, 0, 2, 0, 0), TABLE_AT },	/* TTBR0_EL1 */
		/* SCTLR_EL1: the bits that are 1, instruction and data cache, MMU */
		{ ARM64_SYS_REG(3, 0, 1, 0, 0), 0x30d00800 | 1 << 12 | 1 << 2 | 1 },
	};
	struct kvm_vcpu_init init;
	int ret = 0;

	if (ioctl(guest->fd, KVM_ARM_PREFERRED_TARGET, &init) ||
	    ioctl(guest->processor, KVM_ARM_VCPU_INIT, &init))
		return -errno;
	for (size_t i = 0; !ret && i < sizeof(registers) / sizeof(registers[0]); i++)
		ret = set_register(guest, registers[i].id, registers[i].value);
	return ret;
}
#else
/*
 * The registers are those that the C function of the same meaning would have: a0 is the address,
 * a1 how many words are left, a2 the stride, a3 the value, a5 the word that was read.
 */
asm("	.pushsection .rodata\n"
    "	.balign	4\n"
    "guest_code:\n"
    "	li	t0, 0x1000\n"			/* ACCESS_AT */
    "	ld	a0, 0(t0)\n"			/* first */
    "	ld	a1, 8(t0)\n"			/* count */
    "	ld	a2, 16(t0)\n"			/* stride */
    "	ld	a3, 24(t0)\n"			/* value */
    "	lw	a4, 32(t0)\n"			/* write */
    "	bnez	a4, 2f\n"
    "1:	ld	a5, 0(a0)\n"
    "	bne	a5, a3, 3f\n"
    "	add	a0, a0, a2\n"
    "	addi	a3, a3, 1\n"
    "	addi	a1, a1, -1\n"
    "	bnez	a1, 1b\n"
    "	j	3f\n"
    "2:	sd	a3, 0(a0)\n"
    "	add	a0, a0, a2\n"
    "	addi	a3, a3, 1\n"
    "	addi	a1, a1, -1\n"
    "	bnez	a1, 2b\n"
    "3:	fence\n"
    "	sd	a1, 40(t0)\n"			/* left */
    "	sd	a5, 48(t0)\n"			/* found */
    "	ld	a6, 56(t0)\n"			/* rounds */
    "	addi	a6, a6, 1\n"
    "	sd	a6, 56(t0)\n"
    "	bnez	a1, 4f\n"
    "	lw	a6, 36(t0)\n"			/* again */
    "	bnez	a6, guest_code\n"
    "4:	li	t1, 0x40000000\n"		/* END_AT */
    "	sw	a6, 0(t1)\n"
    "	j	4b\n"
    "guest_code_end:\n"
    "	.popsection\n");

#define PROGRAM_COUNTER	(KVM_REG_RISCV | KVM_REG_SIZE_U64 | KVM_REG_RISCV_CORE | \
			 KVM_REG_RISCV_CORE_REG(regs.pc))

/* The processor starts without page tables of its own: addresses are those of the guest's memory. */
static void fill_page_tables(char *low)
{
	(void)low;
}

static int set_up_processor(const struct guest *guest)
{
	(void)guest;
	return 0;
}
#endif

static int start_code(const struct guest *guest)
{
	return set_register(guest, PROGRAM_COUNTER, CODE_AT);
}

static bool has_ended(const struct kvm_run *run)
{
	return run->exit_reason == KVM_EXIT_MMIO && run->mmio.phys_addr == END_AT;
}
#else
asm("guest_code:\n"
    "guest_code_end:\n");

static void fill_page_tables(char *low)
{
	(void)low;
}

static int set_up_processor(const struct guest *guest)
{
	(void)guest;
	return -ENOSYS;
}

static int start_code(const struct guest *guest)
{
	(void)guest;
	return -ENOSYS;
}

static bool has_ended(const struct kvm_run *run)
{
	(void)run;
	return false;
}
#endif

int guest_kvm(void)
{
	static int fd = -1;

	if (fd < 0)
		fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

static size_t run_size(void)
{
	return ioctl(guest_kvm(), KVM_GET_VCPU_MMAP_SIZE, 0);
}

static void *map(size_t size, int fd)
{
	const int flags = fd < 0 ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED;
	void *addr = mmap(NULL, size, PROT_READ | PROT_WRITE, flags, fd, 0);

	return addr == MAP_FAILED ? NULL : addr;
}

static int set_up(struct guest *guest)
{
	guest->fd = ioctl(guest_kvm(), KVM_CREATE_VM, 0);
	if (guest->fd < 0)
		return -errno;
	guest->processor = ioctl(guest->fd, KVM_CREATE_VCPU, 0);
	if (guest->processor < 0)
		return -errno;
	guest->run = map(run_size(), guest->processor);
	guest->low = map(LOW_SIZE, -1);
	/* Entries that are larger are those of the other slots. */
	if (!guest->run || !guest->low || madvise(guest->low, LOW_SIZE, MADV_NOHUGEPAGE))
		return -errno;
	memcpy(guest->low + CODE_AT, guest_code, guest_code_end - guest_code);
	fill_page_tables(guest->low);
	guest->access = (void *)(guest->low + ACCESS_AT);
	return guest_set_slot(guest, 0, 0, guest->low, LOW_SIZE, 0) ?: set_up_processor(guest);
}

int guest_open(struct guest *guest)
{
	int ret;

	*guest = (struct guest){ .fd = -1, .processor = -1 };
	ret = set_up(guest);
	if (ret)
		guest_close(guest);
	return ret;
}

void guest_close(struct guest *guest)
{
	if (guest->run)
		munmap(guest->run, run_size());
	if (guest->processor >= 0)
		close(guest->processor);
	if (guest->fd >= 0)
		close(guest->fd);
	if (guest->low)
		munmap(guest->low, LOW_SIZE);
}

int guest_set_slot(const struct guest *guest, unsigned int slot, uint64_t address, const void *addr,
		   uint64_t size, unsigned int flags)
{
	struct kvm_userspace_memory_region region = {
		.slot = slot,
		.flags = flags,
		.guest_phys_addr = address,
		.memory_size = size,
		.userspace_addr = (uintptr_t)addr,
	};

	return ioctl(guest->fd, KVM_SET_USER_MEMORY_REGION, &region) ? -errno : 0;
}

int guest_run(const struct guest *guest)
{
	int ret = start_code(guest);
	bool ended;

	if (ret)
		return ret;
	do {
		ret = ioctl(guest->processor, KVM_RUN, 0) ? -errno : 0;
	} while (ret == -EINTR || ret == -EAGAIN);
	if (ret)
		return ret;
	ended = has_ended(guest->run);
	if (guest->run->exit_reason == KVM_EXIT_MMIO) {
		/* Else the next run would end this access. */
		guest->run->immediate_exit = 1;
		ioctl(guest->processor, KVM_RUN, 0);
		guest->run->immediate_exit = 0;
		return ended ? 0 : -ENXIO;
	}
	return ended ? 0 : -EPROTO;
}
