/* SPDX-License-Identifier: MIT */
/* What fuzz.c hands to mapped.c, in memory that both have mapped. */
#ifndef FUZZ_H
#define FUZZ_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* The environment's name for the file descriptor of struct fuzz_state. */
#define FUZZ_STATE	"FUZZ_STATE"
#define FUZZ_CARDS	16
/*
 * A folder below the current one. For each file descriptor that the fuzzer may use there is a file
 * that has its number for a name; opening that gives a copy of the descriptor.
 */
#define FUZZ_VICTIMS	"victims"

/* Files of a PCI BAR, and those of /dev/test_pfnmap, each of which maps in a way of its own. */
enum fuzz_files {
	FUZZ_SYSFS,
	FUZZ_VFIO,
	FUZZ_TEST,	/* in mmap(); those after it in faults */
	FUZZ_FILES = FUZZ_TEST + 5,
};

struct fuzz_file {
	int fd;
	uint64_t offset, size;	/* of the memory that is mapped */
	atomic_ulong mappings;
};

struct fuzz_card {
	int fd;
	bool vttm;
	bool vram, system;	/* objects that can be created there */
	uint64_t vram_size;
	atomic_ulong mappings;
};

struct fuzz_state {
	bool alone;	/* nobody else uses the cards */
	int cards;
	struct fuzz_card card[FUZZ_CARDS];
	struct fuzz_file file[FUZZ_FILES];
	atomic_ulong calls;	/* of mmap() */
	atomic_ulong refused;	/* calls that got what they had asked for, as there was no room */
};

#endif
