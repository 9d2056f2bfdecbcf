/* SPDX-License-Identifier: MIT */
/*
 * Virtual machines of one processor, whose guest does nothing but read or write words at a stride,
 * and the entries of the page tables that KVM has for it (stage 2, nested page tables).
 */
#ifndef VM_H
#define VM_H

#include <pthread.h>

#include "targets.h"

/* For the guest, in its memory: @count words from guest address @first on, @stride bytes apart. */
struct vm_access {
	uint64_t first, count, stride;
	uint64_t value;		/* of the first word; of each next one it is 1 more */
	uint32_t write;		/* or read, and compare */
	uint32_t again;		/* start over until this is 0 */
	/* The guest's answers */
	uint64_t left;		/* words it did not get to, from the first wrong one on */
	uint64_t found;		/* there */
	uint64_t rounds;	/* how often it got to the end */
};

struct vm {
	bool open;
	int fd, processor;
	struct kvm_run *run;
	char *low;		/* the first 2 MiB of the guest's memory */
	volatile struct vm_access *access;
	pthread_t thread;	/* while vm_start() is in effect */
	bool running;
	int status;		/* of the thread */
};

/* Guest addresses from here on are free for memory slots, 12 GiB. */
#define VM_FREE		(4 * GiB)

/* Skips where there is no KVM, or no way to count its entries. */
void require_kvm(void);

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
int vm_access(struct vm *vm, struct vm_access access);

/* The same in a thread of its own, over and over, until vm_stop(), which returns the result. */
void vm_start(struct vm *vm, struct vm_access access);
int vm_stop(struct vm *vm);
/* Waits until the guest has got to the end once more, or has ended. */
void vm_wait_round(const struct vm *vm);

/* Entries of all slots. Up to VM_LOW_ENTRIES of the 4 KiB ones are of the guest's own memory. */
#define VM_LOW_ENTRIES	32
struct vm_entries {
	uint64_t pte, pmd, pud;
};
struct vm_entries vm_entries(const struct vm *vm);

#endif
