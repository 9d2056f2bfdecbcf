// SPDX-License-Identifier: MIT
/**
 * TEST: ttm huge align
 * Category: Core
 * Mega feature: General Core features
 * Sub-category: Memory management tests
 * Functionality: mmap
 * Description: Buffer objects of TTM drivers get user addresses, and places in VRAM, at which huge
 *              page-table entries fit. That is a wish: where it cannot be, or the caller has an
 *              address of its own, mapping works as ever.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "ttm_huge.h"

IGT_TEST_DESCRIPTION("Addresses of mappings of TTM buffer objects");

/* An object that nothing is going to be written to: it needs no memory of its own in BO_SYSTEM. */
static struct bo empty_bo(const struct target *target, uint64_t size)
{
	struct bo bo;
	int ret;

	if (target->placement == BO_VRAM)
		return target_bo(target, size);
	igt_require(size <= bo_max_size(target->fd, target->placement));
	ret = bo_create(target->fd, target->placement, size, &bo);
	igt_assert_f(!ret, "%s: no object of %" PRIu64 " KiB: %s\n", target->name, size / KiB,
		     strerror(-ret));
	return bo;
}

/* Moves the place where the kernel would put the next mapping by an odd number of pages. */
static void disturb(void)
{
	void *page = mmap(NULL, 3 * BO_PTE_SIZE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	/* Two that differ do not become one. */
	igt_assert(page != MAP_FAILED);
	igt_assert_eq(mprotect(page, BO_PTE_SIZE, PROT_READ), 0);
}

static const struct {
	const char *name;
	uint64_t size;
} large_sizes[] = {
	{ "2m", 2 * MiB },
	{ "2m-plus-4k", 2 * MiB + 4 * KiB },
	{ "33m", 33 * MiB + 12 * KiB },
	{ "1g", 1 * GiB },
	{ "1g-plus-3m", 1 * GiB + 3 * MiB },
};

/**
 * SUBTEST: null-%s
 * Description: Without a wished address, an object of %arg[1] goes where its huge entries fit:
 *              congruent to its offsets modulo 1 GiB if it has so much, modulo 2 MiB otherwise.
 *
 * arg[1]:
 *
 * @2m:		2 MiB
 * @2m-plus-4k:	2 MiB + 4 KiB
 * @33m:	33 MiB + 12 KiB
 * @1g:		1 GiB
 * @1g-plus-3m:	1 GiB + 3 MiB
 */
static void test_null(const struct target *target, uint64_t size)
{
	/* Moves the object's offset for mmap() off any boundary. */
	struct bo odd = empty_bo(target, 12 * KiB), bo = empty_bo(target, size);

	for (int i = 0; i < 8; i++) {
		struct view view = map_part(target, &bo, 0, NULL, bo.size, PROT_READ | PROT_WRITE,
					    0);

		assert_congruent(&view);
		disturb();
	}
	bo_destroy(&odd);
}

/**
 * SUBTEST: part
 * Description: What is mapped of an object is congruent to its offset in the object, not to the
 *              offset that mmap() is told: a mapping that is shorter than the object, and what is
 *              left of one after its start is unmapped.
 */
static void test_part(const struct target *target)
{
	static const struct {
		size_t length;
		uint64_t cut;
	} parts[] = {
		{ 2 * MiB, 0 },
		{ 4 * MiB + 4 * KiB, 4 * KiB },
		{ 5 * MiB, 2 * MiB },
		{ 8 * MiB - 4 * KiB, 3 * MiB + 4 * KiB },
	};
	/* Moves the next object's offset for mmap() off any boundary. */
	struct bo odd = empty_bo(target, 12 * KiB), bo = target_bo(target, 8 * MiB);
	struct view small = map_4k(target, &bo);

	fill(&small, BO_EVERY_PAGE, 1);
	for (size_t i = 0; i < ARRAY_SIZE(parts); i++) {
		struct view view = map_part(target, &bo, 0, NULL, parts[i].length,
					    PROT_READ | PROT_WRITE, 0);

		assert_congruent(&view);
		if (parts[i].cut) {
			igt_assert_eq(munmap(view.addr, parts[i].cut), 0);
			view = sub_view(&view, parts[i].cut, parts[i].length - parts[i].cut);
		}
		touch(&view, false);
		assert_levels(&view, HUGE_PUD);
		assert_contents(&view, BO_EVERY_PAGE, 1);
		disturb();
	}
	bo_destroy(&odd);
}

/**
 * SUBTEST: small
 * Description: Objects that are too small for a huge entry are packed as any other mapping, not one
 *              to a 2 MiB boundary.
 */
static void test_small(const struct target *target)
{
	static const uint64_t small_sizes[] = { 4 * KiB, 64 * KiB, 2 * MiB - 4 * KiB };

	for (size_t i = 0; i < ARRAY_SIZE(small_sizes); i++) {
		struct bo bo = empty_bo(target, small_sizes[i]);
		int aligned = 0;

		for (int j = 0; j < 8; j++) {
			struct view view = map_part(target, &bo, 0, NULL, bo.size, PROT_READ, 0);

			aligned += is_congruent(&view, BO_PMD_SIZE);
		}
		igt_assert_f(aligned < 4,
			     "%s: object of %" PRIu64
			     " KiB: %d of 8 mappings at a multiple of 2 MiB\n",
			     target->name, bo.size / KiB, aligned);
	}
}

/**
 * SUBTEST: hint
 * Description: A wished address is granted if it is free, good for huge entries or not; if it is
 *              taken, the kernel finds one that is.
 */
static void test_hint(const struct target *target)
{
	static const uint64_t deltas[] = { 0, 4 * KiB, 1 * MiB, 2 * MiB - 4 * KiB };
	struct bo bo = target_bo(target, 4 * MiB);

	for (size_t i = 0; i < ARRAY_SIZE(deltas); i++) {
		char *hint = free_address(bo.size, BO_PMD_SIZE, deltas[i]);
		struct view first, second;

		first = map_part(target, &bo, 0, hint, bo.size, PROT_READ | PROT_WRITE, 0);
		igt_assert_f(first.addr == hint,
			     "%s: object of %" PRIu64 " KiB: mapped at %p, expected the free %p\n",
			     target->name, bo.size / KiB, first.addr, hint);
		touch(&first, true);
		assert_levels(&first, HUGE_PUD);

		second = map_part(target, &bo, 0, hint, bo.size, PROT_READ | PROT_WRITE, 0);
		igt_assert_neq_ptr(second.addr, hint);
		assert_congruent(&second);
		touch(&second, true);
		assert_levels(&second, HUGE_PUD);
	}
}

/**
 * SUBTEST: fixed
 * Description: MAP_FIXED is obeyed at any page. Entries are as large as the address allows: 2 MiB
 *              for one that is congruent modulo 2 MiB but not 1 GiB, 4 KiB for any other.
 */
static void test_fixed(const struct target *target)
{
	static const uint64_t deltas[] = { 0, 2 * MiB, 4 * KiB, 2 * MiB - 4 * KiB };
	struct bo bo = target_bo(target, size_of_all_levels(target));
	struct view small = map_4k(target, &bo);
	uint64_t step = view_step(&small);

	fill(&small, step, 1);
	for (size_t i = 0; i < ARRAY_SIZE(deltas); i++) {
		char *addr = free_address(bo.size, wanted_alignment(bo.size), deltas[i]);
		struct view view;

		view = map_part(target, &bo, 0, addr, bo.size, PROT_READ | PROT_WRITE,
				MAP_SHARED | MAP_FIXED);
		igt_assert_eq_ptr(view.addr, addr);
		touch(&view, false);
		assert_levels(&view, HUGE_PUD);
		assert_contents(&view, step, 1);
		unmap(&view);
	}
}

/**
 * SUBTEST: fixed-over
 * Description: MAP_FIXED_NOREPLACE refuses an address that is taken; MAP_FIXED puts one object into
 *              the middle of another's huge entries, and both keep their contents.
 */
static void test_fixed_over(const struct target *target)
{
	const uint64_t size = 8 * MiB, at = 3 * MiB, length = 2 * MiB;
	struct bo bo = target_bo(target, size), other = target_bo(target, length);
	struct view view = map_whole(target, &bo, PROT_READ | PROT_WRITE);
	struct view inner = map_whole(target, &other, PROT_READ | PROT_WRITE), part;
	void *addr;

	touch(&view, true);
	touch(&inner, true);
	fill(&view, BO_EVERY_PAGE, 1);
	fill(&inner, BO_EVERY_PAGE, 2);

	addr = bo_map(&other, view.addr + at, length, PROT_READ | PROT_WRITE,
		      MAP_SHARED | MAP_FIXED_NOREPLACE);
	igt_assert_f(addr == MAP_FAILED && errno == EEXIST,
		     "%s: MAP_FIXED_NOREPLACE over a mapping: %p, %s\n", target->name, addr,
		     strerror(errno));
	assert_levels(&view, HUGE_PUD);

	inner = map_part(target, &other, 0, view.addr + at, length, PROT_READ | PROT_WRITE,
			 MAP_SHARED | MAP_FIXED);
	assert_contents(&inner, BO_EVERY_PAGE, 2);
	part = sub_view(&view, 0, at);
	assert_contents(&part, BO_EVERY_PAGE, 1);
	part = sub_view(&view, at + length, size - at - length);
	assert_contents(&part, BO_EVERY_PAGE, 1);
	assert_no_kernel_warning(target);
}

static void assert_below(const struct view *view, uint64_t limit)
{
	igt_assert_f((uintptr_t)view->addr + view->length <= limit,
		     "%s: object of %" PRIu64 " KiB: mapped at %p, expected below %#" PRIx64 "\n",
		     view->target->name, view->bo->size / KiB, view->addr, limit);
}

/**
 * SUBTEST: map-32bit
 * Description: MAP_32BIT keeps a mapping below 2 GiB, where huge entries fit as well.
 */
static void test_map_32bit(const struct target *target)
{
	struct bo bo = target_bo(target, 8 * MiB);

	/* The child takes the addresses with it when it ends. */
	igt_fork(child, 1) {
		for (int i = 0; i < 4; i++) {
			struct view view = map_part(target, &bo, 0, NULL, bo.size,
						    PROT_READ | PROT_WRITE,
						    MAP_SHARED | MAP_32BIT);

			assert_below(&view, 2 * GiB);
			assert_congruent(&view);
			touch(&view, true);
			assert_levels(&view, HUGE_PUD);
			igt_assert(mmap(NULL, BO_PTE_SIZE, PROT_NONE,
					MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0) !=
				   MAP_FAILED);
		}
	}
	igt_waitchildren();
}

/*
 * mmap2() through the 32-bit entry to the kernel, which gives a 64-bit process the addresses of
 * a 32-bit one. It takes the offset in pages.
 */
static void *compat_mmap(size_t length, int prot, int flags, int fd, uint64_t offset)
{
	uint32_t page = offset / BO_PTE_SIZE, ret;

	/* The sixth argument goes into rbp; what is below the stack pointer may be in use. */
	asm volatile("leaq	-128(%%rsp), %%rsp\n\t"
		     "pushq	%%rbp\n\t"
		     "movl	%[page], %%ebp\n\t"
		     "int	$0x80\n\t"
		     "popq	%%rbp\n\t"
		     "leaq	128(%%rsp), %%rsp"
		     : "=a" (ret)
		     : "a" (192), "b" (0), "c" ((uint32_t)length), "d" (prot), "S" (flags),
		       "D" (fd), [page] "r" (page)
		     : "memory", "cc", "r8", "r9", "r10", "r11");
	if (ret > -4096u) {
		errno = -ret;
		return MAP_FAILED;
	}
	return (void *)(uintptr_t)ret;
}

static bool has_compat(void)
{
	int status;
	pid_t pid = fork();

	if (!pid) {
		compat_mmap(0, 0, 0, -1, 0);
		_exit(0);
	}
	return waitpid(pid, &status, 0) == pid && WIFEXITED(status);
}

/**
 * SUBTEST: 32bit-task
 * Description: A 32-bit system call gets addresses below 4 GiB, where huge entries fit as well.
 */
static void test_32bit_task(const struct target *target)
{
	struct bo bo = target_bo(target, 8 * MiB);

	igt_require_f(has_compat(), "no 32-bit system calls: CONFIG_IA32_EMULATION is needed\n");
	igt_fork(child, 1) {
		for (int i = 0; i < 4; i++) {
			struct view view = {
				.target = target,
				.bo = &bo,
				.addr = compat_mmap(bo.size, PROT_READ | PROT_WRITE, MAP_SHARED,
						    target->fd, bo.offset),
				.length = bo.size,
			};

			igt_assert_f(view.addr != MAP_FAILED,
				     "%s: object of %" PRIu64 " KiB: mmap2: %s\n", target->name,
				     bo.size / KiB, strerror(errno));
			assert_below(&view, 4 * GiB);
			assert_congruent(&view);
			touch(&view, true);
			assert_levels(&view, HUGE_PUD);
			igt_assert(compat_mmap(BO_PTE_SIZE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS,
					       -1, 0) != MAP_FAILED);
		}
	}
	igt_waitchildren();
}

/**
 * SUBTEST: exhausted
 * Description: When the only free addresses are just enough and not aligned, the object goes there
 *              with 4 KiB entries; when there is a little more, to the aligned ones among them.
 */
static void test_exhausted(const struct target *target)
{
	/* All that MAP_32BIT can give. */
	char *window = (char *)(1 * GiB), *hole = window + 512 * MiB + BO_PTE_SIZE;
	struct bo bo = target_bo(target, 4 * MiB);

	igt_fork(child, 1) {
		struct view view;
		void *area;

		area = mmap(window, 1 * GiB, PROT_NONE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE,
			    -1, 0);
		igt_assert_f(area == window, "the addresses from 1 to 2 GiB are not free: %s\n",
			     strerror(errno));
		area = bo_map(&bo, NULL, bo.size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_32BIT);
		igt_assert_f(area == MAP_FAILED && errno == ENOMEM,
			     "%s: mmap without a free address: %p, %s\n", target->name, area,
			     strerror(errno));

		igt_assert_eq(munmap(hole, bo.size), 0);
		view = map_part(target, &bo, 0, NULL, bo.size, PROT_READ | PROT_WRITE,
				MAP_SHARED | MAP_32BIT);
		igt_assert_eq_ptr(view.addr, hole);
		touch(&view, true);
		assert_levels(&view, HUGE_PUD);
		fill(&view, BO_EVERY_PAGE, 1);
		unmap(&view);

		igt_assert_eq(munmap(hole, bo.size + BO_PMD_SIZE - BO_PTE_SIZE), 0);
		view = map_part(target, &bo, 0, NULL, bo.size, PROT_READ | PROT_WRITE,
				MAP_SHARED | MAP_32BIT);
		assert_congruent(&view);
		assert_contents(&view, BO_EVERY_PAGE, 1);
		assert_levels(&view, HUGE_PUD);
	}
	igt_waitchildren();
}

/**
 * SUBTEST: address-space-limit
 * Description: What is asked for to find an aligned address does not count against RLIMIT_AS.
 */
static void test_address_limit(const struct target *target)
{
	struct bo bo = target_bo(target, 8 * MiB);

	igt_fork(child, 1) {
		struct rlimit limit;
		uint64_t pages;
		FILE *f;

		f = fopen("/proc/self/statm", "re");
		igt_assert(f);
		igt_assert_eq(fscanf(f, "%" SCNu64, &pages), 1);
		fclose(f);
		igt_assert_eq(getrlimit(RLIMIT_AS, &limit), 0);
		limit.rlim_cur = pages * BO_PTE_SIZE + bo.size + 64 * KiB;
		igt_assert_eq(setrlimit(RLIMIT_AS, &limit), 0);

		for (int i = 0; i < 3; i++) {
			void *map = bo_map(&bo, NULL, bo.size, PROT_READ | PROT_WRITE, 0);

			igt_assert_f(map != MAP_FAILED,
				     "%s: object of %" PRIu64 " KiB, with %" PRIu64
				     " KiB left to RLIMIT_AS: %s\n",
				     target->name, bo.size / KiB, bo.size / KiB + 64,
				     strerror(errno));
			munmap(map, bo.size);
		}
	}
	igt_waitchildren();
}

/**
 * SUBTEST: bad-length
 * Description: Lengths that are more than the object has, more than there are addresses, or so much
 *              that adding an alignment to them overflows are refused.
 */
static void test_bad_length(const struct target *target)
{
	struct bo bo = target_bo(target, 4 * MiB);
	const uint64_t lengths[] = {
		0,
		bo.size + BO_PTE_SIZE,
		bo.size + BO_PUD_SIZE,
		UINT64_C(1) << 47,
		(UINT64_C(1) << 47) - BO_PTE_SIZE,
		UINT64_C(1) << 56,
		UINT64_C(1) << 63,
		-BO_PUD_SIZE,
		-BO_PMD_SIZE,
		-BO_PTE_SIZE,
		-UINT64_C(1),
	};
	struct view view;

	for (size_t i = 0; i < ARRAY_SIZE(lengths); i++) {
		for (int wish = 0; wish <= 1; wish++) {
			void *addr = wish ? free_address(bo.size, BO_PMD_SIZE, 0) : NULL, *map;

			map = bo_map(&bo, addr, lengths[i], PROT_READ | PROT_WRITE, 0);
			igt_assert_f(map == MAP_FAILED,
				     "%s: object of %" PRIu64 " KiB, length %#" PRIx64
				     ": mapped at %p, expected an error\n",
				     target->name, bo.size / KiB, lengths[i], map);
			igt_assert_f(errno == EINVAL || errno == ENOMEM || errno == EOVERFLOW,
				     "%s: object of %" PRIu64 " KiB, length %#" PRIx64 ": %s\n",
				     target->name, bo.size / KiB, lengths[i], strerror(errno));
		}
	}
	/* From its last page on there is one page. */
	igt_assert(bo_map_part(&bo, bo.size - BO_PTE_SIZE, NULL, 2 * BO_PTE_SIZE, PROT_READ, 0) ==
		   MAP_FAILED);

	view = map_whole(target, &bo, PROT_READ | PROT_WRITE);
	touch(&view, true);
	assert_levels(&view, HUGE_PUD);
}

static struct view move(const struct view *view, char *addr)
{
	struct view moved = *view;

	moved.addr = mremap(view->addr, view->length, view->length,
			    MREMAP_MAYMOVE | MREMAP_FIXED, addr);
	igt_assert_f(moved.addr == addr, "%s: mremap of %zu KiB from %p to %p: %s\n",
		     view->target->name, view->length / KiB, view->addr, addr, strerror(errno));
	return moved;
}

/**
 * SUBTEST: mremap
 * Description: A mapping that is moved, all of it or a piece, keeps its contents, and what it has
 *              after the next touch is as large as the new address allows. Growing is refused.
 */
static void test_mremap(const struct target *target)
{
	static const uint64_t deltas[] = { 0, 2 * MiB, 4 * KiB, 0 };
	struct bo bo = target_bo(target, size_of_all_levels(target));
	struct view view = map_whole(target, &bo, PROT_READ | PROT_WRITE), piece;
	uint64_t step = view_step(&view), alignment = wanted_alignment(bo.size);

	touch(&view, true);
	fill(&view, step, 1);
	igt_assert(mremap(view.addr, view.length, view.length + BO_PMD_SIZE, MREMAP_MAYMOVE) ==
		   MAP_FAILED);

	for (size_t i = 0; i < ARRAY_SIZE(deltas); i++) {
		struct view old = view;

		view = move(&view, free_address(bo.size, alignment, deltas[i]));
		igt_assert_f(signal_of_read(old.addr) == SIGSEGV,
			     "%s: object of %" PRIu64
			     " KiB: the address that it was moved from still works\n",
			     target->name, bo.size / KiB);
		touch(&view, false);
		assert_levels(&view, HUGE_PUD);
		assert_contents(&view, step, 1);
		unmap(&view);

		/* Each time from huge entries. */
		view = map_whole(target, &bo, PROT_READ | PROT_WRITE);
		touch(&view, false);
		assert_levels(&view, HUGE_PUD);
	}

	piece = sub_view(&view, BO_PMD_SIZE, BO_PMD_SIZE);
	piece = move(&piece, free_address(piece.length, BO_PMD_SIZE, 0));
	touch(&piece, false);
	assert_levels(&piece, HUGE_PUD);
	assert_contents(&piece, step, 1);
	piece = sub_view(&view, 0, BO_PMD_SIZE);
	touch(&piece, false);
	assert_levels(&piece, HUGE_PUD);
	assert_contents(&piece, step, 1);
	piece = sub_view(&view, 2 * BO_PMD_SIZE, bo.size - 2 * BO_PMD_SIZE);
	touch(&piece, false);
	assert_levels(&piece, HUGE_PUD);
	assert_contents(&piece, step, 1);
	assert_no_kernel_warning(target);
}

static uint64_t vram_address(const struct target *target, const struct bo *bo, size_t *pieces)
{
	uint64_t base;
	int ret;

	ret = bo_vram_place(bo, &base, pieces);
	igt_assert_f(!ret, "%s: object of %" PRIu64 " KiB is not found in VRAM: %s\n",
		     target->name, bo->size / KiB, strerror(-ret));
	return base;
}

/**
 * SUBTEST: vram-aligned
 * Description: Where there is room, an object that is large enough for a huge entry starts at a
 *              multiple of that entry's size in VRAM.
 */
static void test_vram_aligned(const struct target *target)
{
	static const uint64_t vram_sizes[] = { 2 * MiB, 3 * MiB, 16 * MiB, 1 * GiB };

	for (size_t i = 0; i < ARRAY_SIZE(vram_sizes); i++) {
		uint64_t alignment = wanted_alignment(vram_sizes[i]), base;
		struct bo odd, bo;
		size_t pieces;

		if (vram_sizes[i] > bo_max_size(target->fd, BO_VRAM) ||
		    vram_sizes[i] > bo_vram_size(target->fd) / 2)
			continue;
		/* Without the wish, the object would start where this one ends. */
		odd = target_bo(target, 12 * KiB);
		bo = target_bo(target, vram_sizes[i]);
		base = vram_address(target, &bo, &pieces);
		igt_assert_f(base % alignment == 0,
			     "%s: object of %" PRIu64 " KiB is at %#" PRIx64
			     " in VRAM, expected a multiple of %" PRIu64 " KiB\n",
			     target->name, bo.size / KiB, base, alignment / KiB);
		bo_destroy(&bo);
		bo_destroy(&odd);
	}
}

/**
 * SUBTEST: vram-full
 * Description: When the only room in VRAM is at no multiple of 2 MiB, an object goes there, in one
 *              piece or in some, and none is evicted for a better place. It works with 4 KiB
 *              entries.
 */
static void test_vram_full(const struct target *target)
{
	enum { MAX_FILLERS = 256 };
	struct bo fillers[MAX_FILLERS], bo;
	uint64_t address[MAX_FILLERS], base = 0, where_it_is;
	int count, first = -1, second = -1;
	enum bo_placement where;
	size_t pieces;
	struct view view, small;

	count = bo_vram_size(target->fd) / MiB;
	igt_require_f(count <= MAX_FILLERS, "%s: %d MiB of VRAM take too long to fill\n",
		      target->name, count);
	for (int i = 0; i < count; i++) {
		int ret = bo_create(target->fd, BO_VRAM, MiB, &fillers[i]);

		igt_assert_f(!ret, "%s: object %d of 1 MiB: %s\n", target->name, i, strerror(-ret));
		address[i] = vram_address(target, &fillers[i], &pieces);
	}

	/* Two neighbours around a multiple of 2 MiB. */
	for (int i = 0; i < count && first < 0; i++) {
		if (address[i] % BO_PMD_SIZE == 0)
			continue;
		for (int j = 0; j < count; j++) {
			if (address[j] == address[i] + MiB) {
				first = i;
				second = j;
				base = address[i];
			}
		}
	}
	igt_assert(first >= 0);
	bo_destroy(&fillers[first]);
	bo_destroy(&fillers[second]);
	bo = target_bo(target, 2 * MiB);

	where_it_is = vram_address(target, &bo, &pieces);
	igt_assert_f(pieces > 1 || where_it_is == base,
		     "%s: object of %" PRIu64 " KiB is at %#" PRIx64 ", expected at %#" PRIx64
		     "\n", target->name, bo.size / KiB, where_it_is, base);
	for (int i = 0; i < count; i++) {
		if (i == first || i == second)
			continue;
		igt_assert_eq(bo_where(&fillers[i], &where), 0);
		igt_assert_f(where == BO_VRAM,
			     "%s: object at %#" PRIx64
			     " was evicted for one of 2 MiB at %#" PRIx64 "\n",
			     target->name, address[i], base);
	}

	view = map_whole(target, &bo, PROT_READ | PROT_WRITE);
	touch(&view, true);
	assert_level(&view, 0, bo.size, BO_PTE);
	fill(&view, BO_EVERY_PAGE, 1);
	small = map_4k(target, &bo);
	assert_contents(&small, BO_EVERY_PAGE, 1);
	assert_contents_read(target, &bo, BO_EVERY_PAGE, 1);
}

static const struct {
	const char *name;
	const char *description;
	void (*run)(const struct target *target);
	bool in_vram_only;
} tests[] = {
	{ "part", "Parts of objects are congruent to their offset", test_part, false },
	{ "small", "Small objects are not aligned", test_small, false },
	{ "hint", "Wished addresses are granted", test_hint, false },
	{ "fixed", "MAP_FIXED is obeyed", test_fixed, false },
	{ "fixed-over", "MAP_FIXED over huge entries", test_fixed_over, false },
	{ "map-32bit", "MAP_32BIT is obeyed", test_map_32bit, false },
	{ "32bit-task", "32-bit system calls get 32-bit addresses", test_32bit_task, false },
	{ "exhausted", "Alignment is given up when addresses run out", test_exhausted, false },
	{ "address-space-limit", "Alignment costs no address space", test_address_limit, false },
	{ "bad-length", "Impossible lengths are refused", test_bad_length, false },
	{ "mremap", "Moved mappings follow the new address", test_mremap, false },
	{ "vram-aligned", "Large objects are aligned in VRAM", test_vram_aligned, true },
	{ "vram-full", "Nothing is evicted for alignment", test_vram_full, true },
};

int igt_main()
{
	struct target *target;

	igt_fixture()
		ttm_huge_init();

	for (size_t i = 0; i < ARRAY_SIZE(large_sizes); i++) {
		igt_describe("Large objects get an address for huge entries");
		igt_subtest_with_dynamic_f("null-%s", large_sizes[i].name)
			igt_dynamic_targets(target)
				test_null(target, large_sizes[i].size);
	}

	for (size_t i = 0; i < ARRAY_SIZE(tests); i++) {
		igt_describe(tests[i].description);
		igt_subtest_with_dynamic(tests[i].name)
			igt_dynamic_targets_if(target, target->placement == BO_VRAM || !tests[i].in_vram_only)
				tests[i].run(target);
	}

	igt_fixture()
		ttm_huge_fini();
}
