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
#define _GNU_SOURCE 1
#include <errno.h>
#include <sys/mman.h>
#include <sys/param.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "vma_ops.h"

IGT_TEST_DESCRIPTION("Addresses of mappings of TTM buffer objects");

/* An object that nothing is going to be written to: it needs no memory of its own in BO_SYSTEM. */
static const struct bo *empty_bo(const struct target *target, uint64_t size)
{
	struct bo bo;
	int ret;

	if (on_vram(target))
		return target_new_bo(target, size);
	igt_require(size <= bo_max_size(target->fd, target->placement));
	ret = bo_create(target->fd, target->placement, size, &bo);
	target_assert(target, !ret, "no object of %" PRIu64 " KiB: %s", size / KiB, strerror(-ret));
	return target_keep_bo(&bo);
}

/* Moves the place where the kernel would put the next mapping by an odd number of pages. */
static void disturb(void)
{
	void *page = mmap(NULL, 3 * BO_PTE_SIZE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	/* Two that differ do not become one. */
	igt_assert(page != MAP_FAILED);
	igt_assert_eq(mprotect(page, BO_PTE_SIZE, PROT_READ), 0);
}

static const struct named_size large_sizes[] = {
	{ "2m", 2 * MiB }, { "2m-plus-4k", 2 * MiB + BO_PTE_SIZE },
	{ "33m", 33 * MiB + 3 * BO_PTE_SIZE },
	{ "1g", GiB }, { "1g-plus-3m", GiB + 3 * MiB },
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
static void test_null(const struct target *target, const void *member)
{
	const struct bo *bo;

	/* The next offset for mmap() is at no boundary. */
	empty_bo(target, 3 * BO_PTE_SIZE);
	bo = empty_bo(target, member_size(member));
	for (int i = 0; i < 8; i++) {
		map_whole(target, bo, PROT_READ | PROT_WRITE);
		disturb();
	}
}

/**
 * SUBTEST: part
 * Description: What is mapped of an object is congruent to its offset in the object, not to the
 *              offset that mmap() is told: a mapping that is shorter than the object, and what is
 *              left of one after its start is unmapped.
 */
static void test_part(const struct target *target)
{
	static const struct { uint64_t length, cut; } parts[] = {
		{ 2 * MiB, 0 }, { 4 * MiB + BO_PTE_SIZE, BO_PTE_SIZE },
		{ 5 * MiB, 2 * MiB }, { 8 * MiB - BO_PTE_SIZE, 3 * MiB + BO_PTE_SIZE },
	};
	struct view small;

	/* The next offset for mmap() is at no boundary. */
	empty_bo(target, 3 * BO_PTE_SIZE);
	small = new_4k(target, 8 * MiB);
	fill(&small, BO_EVERY_PAGE, 1);
	for (size_t i = 0; i < ARRAY_SIZE(parts); i++) {
		struct view view = map_part(target, small.bo, 0, NULL, parts[i].length,
					    PROT_READ | PROT_WRITE, 0);

		assert_congruent(&view);
		if (parts[i].cut) {
			igt_assert_eq(munmap(view.addr, parts[i].cut), 0);
			view = sub_view(&view, parts[i].cut, parts[i].length - parts[i].cut);
		}
		check_view(&view, HUGE_PUD, BO_EVERY_PAGE, 1);
		disturb();
	}
}

/**
 * SUBTEST: small
 * Description: Objects that are too small for a huge entry are in one page table each, and packed as
 *              any other mapping, not one to a 2 MiB boundary.
 */
static void test_small(const struct target *target)
{
	static const uint64_t small_sizes[] = {
		BO_PTE_SIZE, 16 * BO_PTE_SIZE, 75 * BO_PTE_SIZE, BO_PMD_SIZE / 2,
		BO_PMD_SIZE - BO_PTE_SIZE,
	};

	for (size_t i = 0; i < ARRAY_SIZE(small_sizes); i++) {
		struct view view = { .bo = empty_bo(target, small_sizes[i]) };
		int aligned = 0;

		for (int j = 0; j < 8; j++) {
			view = map_all(target, view.bo, NULL, 0);
			aligned += is_congruent(&view, BO_PMD_SIZE);
			view_assert(&view, (uintptr_t)view.addr / BO_PMD_SIZE ==
				    ((uintptr_t)view.addr + view.length - 1) / BO_PMD_SIZE,
				    "mapped at %p, across a multiple of 2 MiB", view.addr);
			disturb();
		}
		/* Larger ones have little choice. */
		view_assert(&view, small_sizes[i] > 16 * BO_PTE_SIZE || aligned < 4,
			    "%d of 8 mappings at a multiple of 2 MiB", aligned);
	}
}

/*
 * How much below an entry of 2 MiB a TLB takes for one, as the manuals of the processors have it:
 * contiguous PTEs of arm64, or four PTEs that AMD's Zen coalesces, and Hygon's, which descends from
 * it. The first Zen even takes eight. 0 for others.
 */
static uint64_t contiguous_size(void)
{
#if defined(__aarch64__)
	return BO_PTE_SIZE == 4 * KiB ? 64 * KiB : 2 * MiB;
#elif defined(__x86_64__)
	char vendor[16];
	int family;

	if (scan_file("/proc/cpuinfo", "processor : %*d vendor_id : %15s cpu family : %d", vendor,
		      &family) == 2 &&
	    ((!strcmp(vendor, "AuthenticAMD") && family >= 23) || !strcmp(vendor, "HygonGenuine")))
		return 16 * KiB;
#endif
	return 0;
}

static void assert_contiguous(const struct target *target, uint64_t size, uint64_t alignment)
{
	/* Without the wish, the object would start where this one ends. */
	struct bo odd = target_bo(target, 3 * BO_PTE_SIZE), bo = target_bo(target, size);
	struct view views[8];

	for (size_t i = 0; i < ARRAY_SIZE(views); i++) {
		views[i] = map_whole(target, &bo, PROT_READ | PROT_WRITE);
		view_assert(&views[i], is_congruent(&views[i], alignment),
			    "mapped at %p, expected a multiple of %" PRIu64 " KiB", views[i].addr,
			    alignment / KiB);
		disturb();
	}
	if (on_vram(target)) {
		uint64_t base = vram_address(target, &bo, NULL);

		view_assert(&views[0], base % alignment == 0, "it is at %#" PRIx64 " in VRAM, expected a "
			    "multiple of %" PRIu64 " KiB", base, alignment / KiB);
	}
	for (size_t i = 0; i < ARRAY_SIZE(views); i++)
		unmap(&views[i]);
	bo_destroy(&bo);
	bo_destroy(&odd);
}

/**
 * SUBTEST: contiguous
 * Description: Objects from 64 KiB on that are too small for a huge entry have addresses, and places
 *              in VRAM, at multiples of what the TLB takes for one: contiguous PTEs of arm64, or PTEs
 *              that AMD's Zen coalesces. Where that is more than 64 KiB, objects from that on.
 */
static void test_contiguous(const struct target *target)
{
	const uint64_t alignment = contiguous_size(), unit = MAX(alignment, 64 * KiB);
	const uint64_t sizes[] = {
		unit, unit + BO_PTE_SIZE, 5 * unit - BO_PTE_SIZE, 16 * unit,
	};

	igt_require_f(alignment, "the TLB of this processor takes no PTEs for one\n");
	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++)
		assert_contiguous(target, sizes[i], alignment);
}

/**
 * SUBTEST: switched-off
 * Description: With ttm.huge_faults=0, an object gets an address like any file's; with 1, one where
 *              entries of 2 MiB fit, and not those of 1 GiB. It takes effect at once.
 */
static void test_switched_off(const struct target *target)
{
	const struct bo *bo = empty_bo(target, 4 * MiB + BO_PTE_SIZE);
	int aligned = 0;

	set_huge_faults(HUGE_NONE);
	for (int i = 0; i < 8; i++) {
		struct view view = map_all(target, bo, NULL, 0);

		aligned += is_congruent(&view, BO_PMD_SIZE);
		disturb();
	}
	target_assert(target, aligned < 4, "%d of 8 mappings at a multiple of 2 MiB", aligned);

	for (int value = HUGE_PMD; value <= HUGE_PUD; value++) {
		set_huge_faults(value);
		map_whole(target, bo, PROT_READ | PROT_WRITE);
		disturb();
	}
}

/**
 * SUBTEST: hint
 * Description: A wished address is granted if it is free, good for huge entries or not; if it is
 *              taken, the kernel finds one that is.
 */
static void test_hint(const struct target *target)
{
	static const uint64_t deltas[] = { 0, BO_PTE_SIZE, 1 * MiB, 2 * MiB - BO_PTE_SIZE };
	const struct bo *bo = target_new_bo(target, 4 * MiB);

	for (size_t i = 0; i < ARRAY_SIZE(deltas); i++) {
		char *hint = free_address(bo->size, BO_PMD_SIZE, deltas[i]);
		struct view view = map_all(target, bo, hint, 0);

		view_assert(&view, view.addr == hint, "mapped at %p, expected the free %p",
			    view.addr, hint);
		touch_levels(&view, true, HUGE_PUD);

		view = map_all(target, bo, hint, 0);
		view_assert(&view, view.addr != hint, "mapped at %p, which was taken", hint);
		assert_congruent(&view);
		touch_levels(&view, true, HUGE_PUD);
	}
}

/**
 * SUBTEST: fixed
 * Description: MAP_FIXED is obeyed at any page. Entries are as large as the address allows: 2 MiB
 *              for one that is congruent modulo 2 MiB but not 1 GiB, 4 KiB for any other.
 */
static void test_fixed(const struct target *target)
{
	static const uint64_t deltas[] = { 0, 2 * MiB, BO_PTE_SIZE, 2 * MiB - BO_PTE_SIZE };
	struct view small = new_4k(target, size_of_all_levels(target)), view;
	uint64_t step = view_step(&small), size = small.length;

	fill(&small, step, 1);
	for (size_t i = 0; i < ARRAY_SIZE(deltas); i++) {
		char *addr = free_address(size, wanted_alignment(size), deltas[i]);

		view = map_all(target, small.bo, addr, MAP_SHARED | MAP_FIXED);
		view_assert(&view, view.addr == addr, "mapped at %p, expected %p", view.addr, addr);
		check_view(&view, HUGE_PUD, step, 1);
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
	struct view view = new_filled(target, size, 1), inner = new_filled(target, length, 2);
	struct pieces p = cut_out(&view, (struct part){ at, length });
	void *addr = bo_map(inner.bo, view.addr + at, length, PROT_READ | PROT_WRITE,
			    MAP_SHARED | MAP_FIXED_NOREPLACE);

	target_assert(target, addr == MAP_FAILED && errno == EEXIST,
		      "MAP_FIXED_NOREPLACE over a mapping: %p, %s", addr, strerror(errno));
	assert_levels(&view, HUGE_PUD);

	inner = map_all(target, inner.bo, view.addr + at, MAP_SHARED | MAP_FIXED);
	assert_contents(&inner, BO_EVERY_PAGE, 2);
	assert_contents(&p.left, BO_EVERY_PAGE, 1);
	assert_contents(&p.right, BO_EVERY_PAGE, 1);
}

/* Only x86 has addresses of 32 bits in a 64-bit process. */
#ifndef MAP_32BIT
#define MAP_32BIT	0
#endif

static void require_map_32bit(void)
{
	igt_require_f(MAP_32BIT, "this architecture has no MAP_32BIT\n");
}

static void *mmap_32bit(size_t length, int prot, int flags, int fd, uint64_t offset)
{
	return mmap(NULL, length, prot, flags | MAP_32BIT, fd, offset);
}

/*
 * mmap2() through the 32-bit entry to the kernel, which gives a 64-bit process the addresses of
 * a 32-bit one. It takes the offset in pages.
 */
static void *compat_mmap(size_t length, int prot, int flags, int fd, uint64_t offset)
{
#ifdef __x86_64__
	uint32_t page = offset / BO_PTE_SIZE, ret;

	/* The sixth argument goes into rbp; what is below the stack pointer may be in use. */
	asm volatile("leaq	-128(%%rsp), %%rsp; pushq	%%rbp; movl	%[page], %%ebp\n\t"
		     "int	$0x80\n\t"
		     "popq	%%rbp; leaq	128(%%rsp), %%rsp"
		     : "=a" (ret)
		     : "a" (192), "b" (0), "c" ((uint32_t)length), "d" (prot), "S" (flags),
		       "D" (fd), [page] "r" (page)
		     : "memory", "cc", "r8", "r9", "r10", "r11");
	if (ret <= -4096u)
		return (void *)(uintptr_t)ret;
	errno = -ret;
#else
	(void)length, (void)prot, (void)flags, (void)fd, (void)offset;
	errno = ENOSYS;
#endif
	return MAP_FAILED;
}

#ifdef __x86_64__
#define NO_COMPAT	"no 32-bit system calls: CONFIG_IA32_EMULATION is needed"
#else
#define NO_COMPAT	"only x86 has 32-bit system calls in a 64-bit process"
#endif

static bool has_compat(void)
{
#ifdef __x86_64__
	int status;
	pid_t pid = fork();

	if (!pid) {
		compat_mmap(0, 0, 0, -1, 0);
		_exit(0);
	}
	return waitpid(pid, &status, 0) == pid && WIFEXITED(status);
#else
	return false;
#endif
}

/* Keep what they map below an address. */
static const struct limit {
	const char *name;
	void *(*map)(size_t length, int prot, int flags, int fd, uint64_t offset);
	uint64_t below;
} limits[] = {
	{ "map-32bit", mmap_32bit, 2 * GiB }, { "32bit-task", compat_mmap, 4 * GiB },
};

#define MOST_MAPPINGS	4096

/* How many mappings of @length bytes fit, of @bo or of anonymous memory. Takes them away again. */
static int count_mappings(const struct limit *limit, uint64_t length, const struct target *target,
			  const struct bo *bo)
{
	static void *addrs[MOST_MAPPINGS];
	int count;

	for (count = 0; count < MOST_MAPPINGS; count++) {
		addrs[count] = bo ? limit->map(length, PROT_READ | PROT_WRITE, MAP_SHARED,
					       target->fd, bo->offset) :
				    limit->map(length, PROT_NONE, MAP_SHARED | MAP_ANONYMOUS |
					       MAP_NORESERVE, -1, 0);
		if (addrs[count] == MAP_FAILED)
			break;
		igt_assert((uintptr_t)addrs[count] + length <= limit->below);
	}
	for (int i = 0; i < count; i++)
		igt_assert_eq(munmap(addrs[i], length), 0);
	return count;
}

/**
 * SUBTEST: map-32bit
 * Description: MAP_32BIT keeps a mapping below 2 GiB, and as many mappings of an object fit there as
 *              of any file, whatever the switch: none of the addresses is spent on alignment.
 *
 * SUBTEST: 32bit-task
 * Description: A 32-bit system call gets addresses below 4 GiB, as many as for any file, whatever
 *              the switch.
 */
static void test_below(const struct target *target, const void *member)
{
	static const uint64_t low_sizes[] = { 2 * MiB + BO_PTE_SIZE, 3 * MiB, 6 * MiB + BO_PTE_SIZE };
	const struct limit *limit = member;

	if (limit->map == mmap_32bit)
		require_map_32bit();
	else
		igt_require_f(has_compat(), "%s\n", NO_COMPAT);
	for (size_t i = 0; i < ARRAY_SIZE(low_sizes); i++) {
		const struct bo *bo = empty_bo(target, low_sizes[i]);
		/* The kernel starts up to 32 MiB above the lowest address, at random. */
		int tolerance = 32 * MiB / bo->size + 1;

		for (int value = HUGE_NONE; value <= HUGE_PUD; value += HUGE_PUD) {
			set_huge_faults(value);
			fork_and_wait() {
				int others = count_mappings(limit, bo->size, NULL, NULL);
				int count = count_mappings(limit, bo->size, target, bo);

				igt_info("%s: %d mappings of %" PRIu64 " KiB, switch at %d\n",
					 target->name, count, bo->size / KiB, value);
				target_assert(target, count + tolerance >= others,
					      "%d mappings of %" PRIu64 " KiB, %d of memory with "
					      "the switch at %d", count, bo->size / KiB, others,
					      value);
			}
		}
	}
}

/* Takes all addresses that mmap() can give. */
static void fill_address_space(void)
{
	for (uint64_t size = UINT64_C(1) << 46; size >= BO_PTE_SIZE; size /= 2)
		while (mmap(NULL, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
			    -1, 0) != MAP_FAILED)
			;
}

/**
 * SUBTEST: exhausted
 * Description: When the only free addresses are just enough and not aligned, the object goes there
 *              with 4 KiB entries; when there is a little more, to the aligned ones among them.
 */
static void test_exhausted(const struct target *target)
{
	const struct bo *bo = target_new_bo(target, 4 * MiB);
	const size_t window_size = 32 * MiB, more[] = { 0, BO_PMD_SIZE - BO_PTE_SIZE };

	for (size_t i = 0; i < ARRAY_SIZE(more); i++) {
		fork_and_wait() {
			char *window = free_address(window_size, BO_PMD_SIZE, 0);
			char *hole = window + 8 * MiB + BO_PTE_SIZE;
			struct view view;
			void *area;

			area = mmap(window, window_size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS |
				    MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0);
			igt_assert(area == window);
			fill_address_space();
			area = bo_map(bo, NULL, bo->size, PROT_READ | PROT_WRITE, MAP_SHARED);
			target_assert(target, area == MAP_FAILED && errno == ENOMEM,
				      "mmap without a free address: %p, %s", area,
				      strerror(errno));

			igt_assert_eq(munmap(hole, bo->size + more[i]), 0);
			view = map_all(target, bo, NULL, MAP_SHARED);
			/* To look at it takes memory, and that takes addresses. */
			igt_assert_eq(munmap(window + 16 * MiB, 16 * MiB), 0);
			if (more[i])
				assert_congruent(&view);
			else
				view_assert(&view, view.addr == hole,
					    "mapped at %p, expected the only free %p", view.addr,
					    hole);
			touch_levels(&view, true, HUGE_PUD);
			fill(&view, BO_EVERY_PAGE, 1);
		}
	}
}

/**
 * SUBTEST: address-space-limit
 * Description: What is asked for to find an aligned address does not count against RLIMIT_AS.
 */
static void test_address_limit(const struct target *target)
{
	const struct bo *bo = target_new_bo(target, 8 * MiB);

	fork_and_wait() {
		struct rlimit limit;
		uint64_t pages;

		igt_assert_eq(scan_file("/proc/self/statm", "%" SCNu64, &pages), 1);
		igt_assert_eq(getrlimit(RLIMIT_AS, &limit), 0);
		limit.rlim_cur = pages * BO_PTE_SIZE + bo->size + 64 * KiB;
		igt_assert_eq(setrlimit(RLIMIT_AS, &limit), 0);

		for (int i = 0; i < 3; i++) {
			struct view view = map_all(target, bo, NULL, 0);

			unmap(&view);
		}
	}
}

/**
 * SUBTEST: bad-length
 * Description: Lengths that are more than the object has, more than there are addresses, or so much
 *              that adding an alignment to them overflows are refused.
 */
static void test_bad_length(const struct target *target)
{
	struct view view = { .target = target, .bo = target_new_bo(target, 4 * MiB) };
	const uint64_t size = view.bo->size, lengths[] = {
		0, size + BO_PTE_SIZE, size + BO_PUD_SIZE,
		UINT64_C(1) << 47, (UINT64_C(1) << 47) - BO_PTE_SIZE, UINT64_C(1) << 56,
		UINT64_C(1) << 63, -BO_PUD_SIZE, -BO_PMD_SIZE, -BO_PTE_SIZE, -UINT64_C(1),
	};

	for (size_t i = 0; i < ARRAY_SIZE(lengths); i++) {
		for (int wish = 0; wish <= 1; wish++) {
			void *addr = wish ? free_address(size, BO_PMD_SIZE, 0) : NULL;
			void *map = bo_map(view.bo, addr, lengths[i], PROT_READ | PROT_WRITE, 0);

			view_assert(&view, map == MAP_FAILED &&
				    (errno == EINVAL || errno == ENOMEM || errno == EOVERFLOW),
				    "length %#" PRIx64 ": mapped at %p, %s; expected an error",
				    lengths[i], map, strerror(errno));
		}
	}
	/* From its last page on there is one page. */
	igt_assert(bo_map_part(view.bo, size - BO_PTE_SIZE, NULL, 2 * BO_PTE_SIZE, PROT_READ, 0) ==
		   MAP_FAILED);

	view = map_whole(target, view.bo, PROT_READ | PROT_WRITE);
	touch_levels(&view, true, HUGE_PUD);
}

/**
 * SUBTEST: mremap
 * Description: A mapping that is moved, all of it or a piece, keeps its contents, and what it has
 *              after the next touch is as large as the new address allows. Growing is refused.
 */
static void test_mremap(const struct target *target)
{
	static const uint64_t deltas[] = { 0, 2 * MiB, BO_PTE_SIZE, 0 };
	struct view view = new_filled(target, size_of_all_levels(target), 1);
	uint64_t step = view_step(&view), size = view.length;
	struct pieces p;

	igt_assert(mremap(view.addr, size, size + BO_PMD_SIZE, MREMAP_MAYMOVE) == MAP_FAILED);

	for (size_t i = 0; i < ARRAY_SIZE(deltas); i++) {
		char *old = view.addr;

		view = move_view(&view, free_address(size, wanted_alignment(size), deltas[i]));
		view_assert(&view, signal_of_read(old) == SIGSEGV,
			    "the address that it was moved from still works");
		check_view(&view, HUGE_PUD, step, 1);
		unmap(&view);

		/* Each time from huge entries. */
		view = map_whole(target, view.bo, PROT_READ | PROT_WRITE);
		touch_levels(&view, false, HUGE_PUD);
	}

	p = cut_out(&view, (struct part){ BO_PMD_SIZE, BO_PMD_SIZE });
	p.part = move_view(&p.part, free_address(BO_PMD_SIZE, BO_PMD_SIZE, 0));
	check_view(&p.part, HUGE_PUD, step, 1);
	check_view(&p.left, HUGE_PUD, step, 1);
	check_view(&p.right, HUGE_PUD, step, 1);
}

/**
 * SUBTEST: mremap-several
 * Description: A range that mprotect() has made several VMAs of is moved by one mremap(), and keeps
 *              its contents and rights.
 */
static void test_mremap_several(const struct target *target)
{
	struct view view = new_filled(target, 8 * MiB, 1), moved;
	const size_t cut = 3 * MiB + BO_PTE_SIZE;

	igt_assert_eq(mprotect(view.addr + cut, BO_PTE_SIZE, PROT_READ), 0);
	moved = move_view(&view, free_address(view.length, BO_PMD_SIZE, 0));
	view_assert(&view, signal_of_read(view.addr) == SIGSEGV &&
		    signal_of_read(view.addr + view.length - 1) == SIGSEGV,
		    "the addresses that it was moved from still work");
	assert_contents(&moved, BO_EVERY_PAGE, 1);
	view_assert(&moved, signal_of_write(moved.addr + cut) == SIGSEGV,
		    "what was read-only can be written");
	igt_assert_eq(signal_of_write(moved.addr + cut - 1), 0);
	igt_assert_eq(signal_of_write(moved.addr + cut + BO_PTE_SIZE), 0);
}

/**
 * SUBTEST: mremap-anywhere
 * Description: No mremap() of an object has the kernel choose the address: copies are refused, and
 *              so is leaving the old mapping in place.
 */
static void test_mremap_anywhere(const struct target *target)
{
	struct view view = new_filled(target, 4 * MiB, 1);

	igt_assert(mremap(view.addr, 0, view.length, MREMAP_MAYMOVE) == MAP_FAILED);
	igt_assert(mremap(view.addr, view.length, view.length,
			  MREMAP_MAYMOVE | MREMAP_DONTUNMAP) == MAP_FAILED);
	assert_contents(&view, BO_EVERY_PAGE, 1);
	assert_levels(&view, HUGE_PUD);
}

static void assert_vram_aligned(const struct target *target, uint64_t size)
{
	/* Without the wish, the object would start where this one ends. */
	struct bo odd = target_bo(target, 3 * BO_PTE_SIZE), bo = target_bo(target, size);
	uint64_t alignment = wanted_alignment(size), base = vram_address(target, &bo, NULL);

	target_assert(target, base % alignment == 0, "switch at %d: object of %" PRIu64 " KiB is at %#"
		      PRIx64 " in VRAM, expected a multiple of %" PRIu64 " KiB",
		      bo_get_huge_faults(), size / KiB, base, alignment / KiB);
	bo_destroy(&bo);
	bo_destroy(&odd);
}

/**
 * SUBTEST: vram-aligned
 * Description: Where there is room, an object that is large enough for a huge entry starts at a
 *              multiple of that entry's size in VRAM, whatever the switch allows.
 */
static void test_vram_aligned(const struct target *target)
{
	static const uint64_t vram_sizes[] = { 2 * MiB, 3 * MiB, 16 * MiB, 1 * GiB };

	for (size_t i = 0; i < ARRAY_SIZE(vram_sizes); i++) {
		uint64_t size = vram_sizes[i];

		if (size > bo_max_size(target->fd, BO_VRAM) || size > bo_vram_size(target->fd) / 2)
			continue;
		for (int value = HUGE_NONE; value <= HUGE_PUD; value++) {
			set_huge_faults(value);
			assert_vram_aligned(target, size);
		}
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
	int count = bo_vram_size(target->fd) / MiB, first = -1, second = -1;
	uint64_t address[256], where_it_is;
	struct bo fillers[ARRAY_SIZE(address)];
	struct view view, small;
	size_t pieces;

	require_small_vram(target, ARRAY_SIZE(fillers) * MiB);
	for (int i = 0; i < count; i++) {
		fillers[i] = target_bo(target, MiB);
		address[i] = vram_address(target, &fillers[i], NULL);
	}

	/* Two neighbours around a multiple of 2 MiB. */
	for (int i = 0; i < count && second < 0; i++) {
		first = i;
		for (int j = 0; j < count && address[i] % BO_PMD_SIZE; j++)
			if (address[j] == address[i] + MiB)
				second = j;
	}
	igt_assert(second >= 0);
	bo_destroy(&fillers[first]);
	bo_destroy(&fillers[second]);
	view = new_view(target, 2 * MiB);

	where_it_is = vram_address(target, view.bo, &pieces);
	view_assert(&view, pieces > 1 || where_it_is == address[first],
		    "it is at %#" PRIx64 ", expected at %#" PRIx64, where_it_is, address[first]);
	for (int i = 0; i < count; i++)
		if (i != first && i != second)
			assert_where(target, &fillers[i], BO_VRAM);

	touch(&view, true);
	assert_level(&view, 0, view.length, BO_PTE);
	fill(&view, BO_EVERY_PAGE, 1);
	small = map_4k(target, view.bo);
	assert_contents(&small, BO_EVERY_PAGE, 1);
	assert_contents_read(target, view.bo, BO_EVERY_PAGE, 1);
}

static const struct subtest subtests[] = {
	{ "null-%s", "Large objects are aligned", .test_member = test_null, FAMILY(large_sizes) },
	{ "part", "Parts of objects are congruent to their offset", .test = test_part },
	{ "small", "Small objects are in one page table", .test = test_small },
	{ "contiguous", "Small objects are aligned as well", .test = test_contiguous },
	{ "switched-off", "Addresses follow the switch", .test = test_switched_off },
	{ "hint", "Wished addresses are granted", .test = test_hint },
	{ "fixed", "MAP_FIXED is obeyed", .test = test_fixed },
	{ "fixed-over", "MAP_FIXED over huge entries", .test = test_fixed_over },
	{ "%s", "As many addresses of 32 bits as for any file", .test_member = test_below,
	  FAMILY(limits) },
	{ "exhausted", "Alignment is given up when addresses run out", .test = test_exhausted },
	{ "address-space-limit", "Alignment costs no address space", .test = test_address_limit },
	{ "bad-length", "Impossible lengths are refused", .test = test_bad_length },
	{ "mremap", "Moved mappings follow the new address", .test = test_mremap },
	{ "mremap-several", "Several VMAs are moved at once", .test = test_mremap_several },
	{ "mremap-anywhere", "The kernel moves nothing by itself", .test = test_mremap_anywhere },
	{ "vram-aligned", "Large objects are aligned", .test = test_vram_aligned, .on = on_vram },
	{ "vram-full", "Nothing is evicted for alignment", .test = test_vram_full, .on = on_vram },
};

int igt_main()
{
	run_test(subtests);
}
