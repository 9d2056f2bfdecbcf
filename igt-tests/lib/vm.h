/* SPDX-License-Identifier: MIT */
/*
 * Virtual machines (guest.h), and the entries of the page tables that KVM has for them (stage 2,
 * nested page tables).
 */
#ifndef VM_H
#define VM_H

#include <pthread.h>

#include "guest.h"
#include "views.h"

struct vm {
	struct guest guest;
	bool open;
	pthread_t thread;	/* while vm_start() is in effect */
	bool running;
	int status;		/* of the thread */
};

/* Skips where there is no KVM. */
void require_kvm(void);
/* KVM counts or lists its entries. On riscv it does neither. */
bool vm_tells_entries(void);
void require_vm_entries(void);
/* KVM logs writes to memory without struct pages. arm64 and riscv refuse such slots. */
bool vm_logs_writes(void);

/* A machine, of two at most. Those that a subtest leaves behind are for the next to close. */
struct vm *vm_open(void);
void vm_close(struct vm *vm);
void vm_close_all(void);

/* Memory slot @slot (from 1 on) is the memory at @addr; no memory if @size is 0. */
void vm_set_slot(const struct vm *vm, unsigned int slot, uint64_t guest, const void *addr,
		 uint64_t size, unsigned int flags);

/*
 * Lets the guest do @access. Returns 0 once it has, -EFAULT if KVM cannot map an address for it,
 * -ENXIO if there is no memory slot or the entry cannot be written; asserts that there is nothing
 * else, and that words read are right.
 */
int vm_access(struct vm *vm, struct guest_access access);

/* The same in a thread of its own, over and over, until vm_stop(), which returns the result. */
void vm_start(struct vm *vm, struct guest_access access);
int vm_stop(struct vm *vm);
/* Waits until the guest has got to the end once more, or has ended. */
void vm_wait_round(const struct vm *vm);

/*
 * Entries of all slots, where vm_tells_entries(). Up to VM_LOW_ENTRIES of the 4 KiB ones are of the
 * guest's own memory.
 */
#define VM_LOW_ENTRIES	32
struct vm_entries {
	uint64_t pte, pmd, pud;
};
struct vm_entries vm_entries(const struct vm *vm);

/*
 * A view as memory of the guest, from GUEST_FREE on. The words that guest and process write are one a
 * page, enough to see who maps what.
 */
#define VM_SLOT		1
#define VM_STEP		BO_PTE_SIZE

/* The only machine there is then. */
struct vm *vm_new(void);
/* A memory slot of all of the view, with KVM's flags; and none any more. */
void vm_give(const struct vm *vm, const struct view *view, unsigned int flags);
void vm_take(const struct vm *vm);

/* Reads of all words of @length bytes from guest address @guest on, or of the view; and writes. */
struct guest_access vm_range(uint64_t guest, uint64_t length, uint64_t value);
struct guest_access vm_all(const struct view *view, uint64_t value);
struct guest_access vm_written(struct guest_access access);

/* The same from the process's side. */
void write_words(const struct view *view, uint64_t value);
void assert_words(const struct view *view, uint64_t value);

/*
 * Asserts that the guest has these entries, and nothing else is mapped but its own memory. Where KVM does
 * not tell, a test goes on without it: it asserts what its guest reads, too.
 */
void vm_assert_entries(const struct view *view, const struct vm *vm, uint64_t pud, uint64_t pmd,
		       uint64_t pte);
/* The guest has touched all of the view: its entries are as large as those of the process. */
void vm_assert_entries_of(const struct view *view, const struct vm *vm, int huge_faults);

/* Asserts that @access ends with SIGBUS as memory failure raises it, for byte @offset of the view. */
void vm_assert_broken(struct vm *vm, const struct view *view, uint64_t offset,
		      struct guest_access access);

#endif
