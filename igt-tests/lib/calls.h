/* SPDX-License-Identifier: MIT */
/*
 * System calls that take addresses, made on a shared mapping of pfns (VM_PFNMAP, VM_IO and
 * VM_DONTEXPAND, as those of TTM's objects), and what Linux 7.3 answers. None of them changes what
 * the mapping holds, or the rights to it, and what was one VMA, or a part of it, is one afterwards.
 */
#ifndef CALLS_H
#define CALLS_H

#include <stddef.h>

struct call {
	const char *name;
	int (*make)(char *addr, size_t length, int arg);	/* 0 or an errno */
	int arg;
	int expected;
	int missing;	/* if not 0: the same from a kernel that was built without it */
	int right;	/* PROT_*: without it, EINVAL */
	int sealed;	/* if not 0: instead, after mseal() */
};

extern const struct call calls[];
extern const size_t call_count;

#endif
