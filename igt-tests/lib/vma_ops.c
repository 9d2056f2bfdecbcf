// SPDX-License-Identifier: MIT
#define _GNU_SOURCE 1
#include "vma_ops.h"

#include <errno.h>
#include <sys/mman.h>

#define SEED_BEFORE	1
#define SEED_AFTER	2

#define APPLY(name, call, arg)							\
static int name(void *addr, size_t length)					\
{										\
	return call(addr, length, arg);						\
}

APPLY(forbid_write, mprotect, PROT_READ)
APPLY(forbid_all, mprotect, PROT_NONE)
APPLY(advise_random, madvise, MADV_RANDOM)
APPLY(advise_dontfork, madvise, MADV_DONTFORK)
APPLY(advise_nohugepage, madvise, MADV_NOHUGEPAGE)

const struct vma_op vma_ops[] = {
	{ "munmap", munmap, false, false, HUGE_PUD },
	{ "mprotect-read", forbid_write, true, false, HUGE_PUD },
	{ "mprotect-none", forbid_all, false, false, HUGE_PUD },
	{ "madvise-random", advise_random, true, true, HUGE_PUD },
	{ "madvise-dontfork", advise_dontfork, true, true, HUGE_PUD },
	{ "madvise-nohugepage", advise_nohugepage, true, true, HUGE_NONE },
};

static void assert_signal(const struct view *view, uint64_t offset, bool write, int expected)
{
	char *addr = view->addr + (offset - view->first);
	int found = write ? signal_of_write(addr) : signal_of_read(addr);

	view_assert_at(view, offset, found == expected, "%s raised signal %d, expected %d",
		       write ? "writing" : "reading", found, expected);
}

static void assert_access(const struct view *view, bool readable, bool writable)
{
	uint64_t ends[] = { view->first, view->first + view->length - 1 };

	for (size_t i = 0; i < ARRAY_SIZE(ends); i++) {
		assert_signal(view, ends[i], false, readable ? 0 : SIGSEGV);
		assert_signal(view, ends[i], true, writable ? 0 : SIGSEGV);
	}
}

/*
 * Nobody has touched the view since it, or what it is next to, was taken apart: all of it
 * is mapped as it will be, and using it takes no fault.
 */
static void assert_kept(const struct view *view, int huge_faults)
{
	uint64_t faults;

	/* touch() leaves gaps between 4 KiB entries, so these prove nothing. */
	if (huge_faults == HUGE_NONE)
		return;

	assert_levels(view, huge_faults);
	faults = bo_faults();
	touch(view, false);
	faults = bo_faults() - faults;
	view_assert_at(view, view->first, !faults, "%" PRIu64
		       " faults in %zu KiB, which were left alone", faults, view->length / KiB);
}

/* What is left at full rights: old contents, largest levels, and writing still works. */
static void check_rest(const struct view *view, int huge_faults)
{
	if (!view->length)
		return;

	assert_kept(view, huge_faults);
	assert_access(view, true, true);
	check_view(view, huge_faults, view_step(view), SEED_BEFORE);
	fill(view, view_step(view), SEED_AFTER);
}

struct pieces cut_out(const struct view *view, struct part part)
{
	uint64_t end = part.offset + part.length;

	return (struct pieces){
		.left = sub_view(view, view->first, part.offset - view->first),
		.part = sub_view(view, part.offset, part.length),
		.right = sub_view(view, end, view->first + view->length - end),
	};
}

/* What the object holds, seen through a mapping that was not there before. */
static void check_object(const struct pieces *pieces, uint64_t seed_of_part)
{
	struct view fresh = map_4k(pieces->left.target, pieces->left.bo);
	const struct view *views[] = { &pieces->left, &pieces->part, &pieces->right };
	const uint64_t seeds[] = { SEED_AFTER, seed_of_part, SEED_AFTER };

	for (size_t i = 0; i < ARRAY_SIZE(views); i++) {
		struct view view = sub_view(&fresh, views[i]->first, views[i]->length);

		assert_contents(&view, view_step(&view), seeds[i]);
	}
	unmap(&fresh);
}

static void prepare(const struct view *view, const struct pieces *pieces, int huge_faults)
{
	touch_levels(view, true, huge_faults);
	/* Piece by piece, as the last word of each is checked too. */
	fill(&pieces->left, view_step(&pieces->left), SEED_BEFORE);
	fill(&pieces->part, view_step(&pieces->part), SEED_BEFORE);
	fill(&pieces->right, view_step(&pieces->right), SEED_BEFORE);
}

void check_vma_op(struct view *view, int huge_faults, const struct vma_op *op, struct part part)
{
	struct pieces p = cut_out(view, part);

	prepare(view, &p, huge_faults);
	view_assert_at(view, part.offset, !op->apply(p.part.addr, p.part.length),
		       "%s of %zu KiB: %s", op->name, p.part.length / KiB, strerror(errno));

	assert_access(&p.part, op->readable, op->writable);
	check_rest(&p.left, huge_faults);
	check_rest(&p.right, huge_faults);
	if (op->readable) {
		assert_contents(&p.part, view_step(&p.part), SEED_BEFORE);
		touch(&p.part, false);
		/*
		 * Entries that nothing had to split may stay; only those of a part
		 * smaller than an entry are certain to be new.
		 */
		if (op->huge_faults == HUGE_PUD || part.length < BO_PMD_SIZE)
			assert_levels(&p.part, huge_faults < op->huge_faults ? huge_faults :
				      op->huge_faults);
	}
	if (op->writable)
		fill(&p.part, view_step(&p.part), SEED_AFTER);
	/* What was forbidden comes back with everything in place. */
	if (op->apply != munmap && !op->writable) {
		igt_assert_eq(mprotect(p.part.addr, p.part.length, PROT_READ | PROT_WRITE), 0);
		assert_access(&p.part, true, true);
		assert_contents(&p.part, view_step(&p.part), SEED_BEFORE);
	}

	check_object(&p, op->writable ? SEED_AFTER : SEED_BEFORE);
	unmap(view);
}

void check_mremap(struct view *view, int huge_faults, struct part part, uint64_t skew)
{
	struct pieces p = cut_out(view, part);
	struct view moved;

	prepare(view, &p, huge_faults);
	moved = move_view(&p.part, free_address(part.length, BO_PUD_SIZE,
						(uintptr_t)p.part.addr + skew));

	assert_access(&p.part, false, false);
	check_rest(&moved, huge_faults);
	check_rest(&p.left, huge_faults);
	check_rest(&p.right, huge_faults);

	check_object(&p, SEED_AFTER);
	unmap(&moved);
	unmap(view);
}
