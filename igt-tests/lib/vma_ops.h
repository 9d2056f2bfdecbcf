/* SPDX-License-Identifier: MIT */
/*
 * What a process can do to a part of a mapping, and what must hold afterwards:
 * the part obeys, everything else stays as it was, and what was taken apart stays
 * mapped, without a fault, at the largest level that the remaining VMA allows.
 */
#ifndef VMA_OPS_H
#define VMA_OPS_H

#include "ttm_huge.h"

/* One call that splits VMAs. */
struct vma_op {
	const char *name;
	int (*apply)(void *addr, size_t length);
	bool readable, writable;	/* the part, afterwards */
	int huge_faults;		/* the largest level for the part */
};

extern const struct vma_op vma_ops[6];	/* FAMILY(vma_ops) */
#define for_each_vma_op(op)	for ((op) = vma_ops; (op) < vma_ops + ARRAY_SIZE(vma_ops); (op)++)

/* Where to cut: these bytes of the object. */
struct part {
	uint64_t offset;
	uint64_t length;
};

/* A part of a view, and what of it is at both sides; the rest may be empty. */
struct pieces {
	struct view left, part, right;
};

struct pieces cut_out(const struct view *view, struct part part);

/*
 * Does @op to @part of a mapping whose levels are those of the switch at @huge_faults,
 * and checks access, levels and contents everywhere. Unmaps the view.
 */
void check_vma_op(struct view *view, int huge_faults, const struct vma_op *op, struct part part);

/*
 * The same for mremap() of @part, to an address that is congruent to the old one
 * modulo 1 GiB plus @skew bytes.
 */
void check_mremap(struct view *view, int huge_faults, struct part part, uint64_t skew);

#endif
