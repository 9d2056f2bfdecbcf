/* SPDX-License-Identifier: MIT */
/* What is random, from the state of rand_r(). */
#ifndef RANDOM_H
#define RANDOM_H

#include "vma_ops.h"

/* A number from 0 to @limit - 1. */
uint64_t random_below(unsigned int *random, uint64_t limit);
/* A part of @length bytes, which starts and ends at multiples of @unit; that is at most @length. */
struct part random_part(unsigned int *random, uint64_t length, uint64_t unit);

/* @who points to a struct whose field "random" is the state. */
#define below(who, limit)	random_below(&(who)->random, limit)
#define one_in(who, n)		(below(who, n) == 0)
#define one_of(who, numbers...) ({						\
	const uint64_t __numbers[] = { numbers };				\
	__numbers[below(who, ARRAY_SIZE(__numbers))];				\
})

#endif
