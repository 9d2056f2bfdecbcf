/* SPDX-License-Identifier: MIT */
/*
 * A virtual machine of one processor, whose guest does nothing but read or write words at a stride.
 * Functions return 0 or a negative errno.
 */
#ifndef GUEST_H
#define GUEST_H

#include <stdint.h>

/* For the guest, in its memory: @count words from guest address @first on, @stride bytes apart. */
struct guest_access {
	uint64_t first, count, stride;
	uint64_t value;		/* of the first word; of each next one it is 1 more */
	uint32_t write;		/* or read, and compare */
	uint32_t again;		/* start over until this is 0 */
	/* The guest's answers */
	uint64_t left;		/* words it did not get to, from the first wrong one on */
	uint64_t found;		/* there */
	uint64_t rounds;	/* how often it got to the end */
};

struct guest {
	int fd, processor;
	struct kvm_run *run;
	char *low;		/* the first 2 MiB of the guest's memory */
	volatile struct guest_access *access;
};

/* Guest addresses from here on are free for memory slots, 12 GiB. */
#define GUEST_FREE	(UINT64_C(4) << 30)

/* /dev/kvm */
int guest_kvm(void);

/* -ENOSYS where there is no code for guests of the architecture */
int guest_open(struct guest *guest);
void guest_close(struct guest *guest);

/* Memory slot @slot (from 1 on) is the memory at @addr; no memory if @size is 0. */
int guest_set_slot(const struct guest *guest, unsigned int slot, uint64_t address, const void *addr,
		   uint64_t size, unsigned int flags);

/*
 * Lets the guest do what guest->access says. Returns 0 once it has, or has found a wrong word;
 * -EFAULT if KVM cannot map an address for it, -ENXIO if there is no memory slot or the entry
 * cannot be written.
 */
int guest_run(const struct guest *guest);

#endif
