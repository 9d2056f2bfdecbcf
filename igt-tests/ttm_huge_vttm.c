// SPDX-License-Identifier: MIT
/**
 * TEST: ttm huge vttm
 * Category: Core
 * Mega feature: General Core features
 * Sub-category: Memory management tests
 * Functionality: mmap
 * Description: What needs a device that does as it is told: memory in pieces, moves to any place,
 *              every cache mode, objects that are in use for a while, tracking of writes, unplug.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/wait.h>

#include "vttm_ops.h"

IGT_TEST_DESCRIPTION("Huge page-table entries for what only vttm can do");

static struct bo create(const struct target *target, struct drm_vttm_create how)
{
	struct bo bo;
	int ret = vttm_create(target->fd, how, &bo);

	igt_assert_f(!ret, "%s: no object of %" PRIu64 " KiB: %s\n", target->name,
		     (uint64_t)how.size / KiB, strerror(-ret));
	return bo;
}

static void assert_domain(const struct view *view, uint32_t expected)
{
	uint32_t found = domain_of(view->bo);

	igt_assert_f(found == expected, "%s: object of %" PRIu64 " KiB is in %s, expected in %s\n",
		     view->target->name, view->bo->size / KiB, domain_name(found),
		     domain_name(expected));
}

static void move(const struct view *view, uint32_t domain)
{
	int ret = vttm_move(view->bo, domain);

	igt_assert_f(!ret, "%s: object of %" PRIu64 " KiB cannot move to %s: %s\n",
		     view->target->name, view->bo->size / KiB, domain_name(domain),
		     strerror(-ret));
	assert_domain(view, domain);
}

static void touch_pages(const struct view *view)
{
	for (uint64_t o = 0; o < view->length; o += BO_PTE_SIZE)
		(void)*(volatile char *)(view->addr + o);
}

/*
 * What the blocks allow
 */

/* Touches all of @bo at addresses that suit it more or less, with each value of the switch. */
static void check_entries(const struct target *target, const struct bo *bo)
{
	static const uint64_t skews[] = { 0, BO_PMD_SIZE / 2, 64 * KiB, BO_PTE_SIZE };

	for (size_t i = 0; i < ARRAY_SIZE(skews); i++) {
		for (int value = HUGE_NONE; value <= HUGE_PUD; value++) {
			struct view view, part;

			/* The other values where they make the most of a difference */
			if (i && value < HUGE_PUD)
				continue;
			set_huge_faults(value);
			view = map_part(target, bo, 0,
					free_address(bo->size, wanted_alignment(bo->size),
						     skews[i]),
					bo->size, PROT_READ | PROT_WRITE,
					MAP_SHARED | MAP_FIXED_NOREPLACE);
			touch_pages(&view);
			assert_entries(&view, value);
			unmap(&view);

			/* A VMA that ends inside of what entries could cover. */
			view = map_part(target, bo, 0,
					free_address(bo->size, wanted_alignment(bo->size),
						     skews[i]),
					bo->size, PROT_READ | PROT_WRITE,
					MAP_SHARED | MAP_FIXED_NOREPLACE);
			part = sub_view(&view, 3 * BO_PTE_SIZE, bo->size - 5 * BO_PTE_SIZE);
			munmap(view.addr, 3 * BO_PTE_SIZE);
			munmap(view.addr + bo->size - 2 * BO_PTE_SIZE, 2 * BO_PTE_SIZE);
			touch_pages(&part);
			assert_entries(&part, value);
			fill(&part, view_step(&part), value);
			assert_contents(&part, view_step(&part), value);
			unmap(&part);
		}
	}
	set_huge_faults(HUGE_PUD);
}

/**
 * SUBTEST: blocks-%s
 * Description: An object of %arg[1] is mapped with exactly the entries that its blocks, the address
 *              and the ends of the VMA allow, at any address and value of the switch.
 *
 * arg[1]:
 *
 * @worst-4k:		blocks of 4 KiB that are never neighbours
 * @worst-64k:		the same of 64 KiB
 * @worst-1m:		the same of 1 MiB
 * @worst-2m:		the same of 2 MiB
 * @worst-8m:		the same of 8 MiB
 * @any:		what the buddy allocator gives for 13 MiB + 12 KiB
 * @contiguous:		the same in one block
 * @contiguous-small:	3 MiB in one block
 */
static const struct {
	const char *name;
	uint64_t size, alignment;
	enum drm_vttm_layout layout;
} layouts[] = {
	{ "worst-4k", 3 * MiB, 4 * KiB, DRM_VTTM_LAYOUT_WORST },
	{ "worst-64k", 5 * MiB, 64 * KiB, DRM_VTTM_LAYOUT_WORST },
	{ "worst-1m", 7 * MiB, 1 * MiB, DRM_VTTM_LAYOUT_WORST },
	{ "worst-2m", 12 * MiB, 2 * MiB, DRM_VTTM_LAYOUT_WORST },
	{ "worst-8m", 24 * MiB, 8 * MiB, DRM_VTTM_LAYOUT_WORST },
	{ "any", 13 * MiB + 12 * KiB, 0, DRM_VTTM_LAYOUT_ANY },
	{ "contiguous", 13 * MiB + 12 * KiB, 0, DRM_VTTM_LAYOUT_CONTIGUOUS },
	{ "contiguous-small", 3 * MiB, 0, DRM_VTTM_LAYOUT_CONTIGUOUS },
};

static void test_layout(const struct target *target, size_t i)
{
	struct bo bo = create(target, (struct drm_vttm_create){
		.size = layouts[i].size,
		.alignment = layouts[i].alignment,
		.layout = layouts[i].layout,
		.domains = VRAM,
	});

	if (layouts[i].layout == DRM_VTTM_LAYOUT_WORST)
		igt_assert_eq(count_blocks(&bo), layouts[i].size / layouts[i].alignment);
	if (layouts[i].layout == DRM_VTTM_LAYOUT_CONTIGUOUS)
		igt_assert_eq(count_blocks(&bo), 1);
	check_entries(target, &bo);
	assert_no_kernel_warning(target);
}

/**
 * SUBTEST: blocks-holes
 * Description: The same for an object that fills the holes of a VRAM that is in use, of all sizes
 *              from 64 KiB to 4 MiB, without anything being evicted for it.
 */
static void test_holes(const struct target *target)
{
	static struct bo fillers[1024];
	uint64_t vram = bo_vram_size(target->fd), room = 0, size = 0;
	unsigned int random = 1;
	size_t count = 0;
	struct view view;
	struct bo bo;

	igt_require_f(vram <= 256 * MiB, "%s: %" PRIu64 " MiB of VRAM take too long to fill\n",
		      target->name, vram / MiB);
	while (count < ARRAY_SIZE(fillers)) {
		size = (64 * KiB) << (rand_r(&random) % 7);
		if (room + size > vram)
			break;
		fillers[count++] = create(target, (struct drm_vttm_create){
			.size = size,
			.domains = VRAM | SYSTEM,
		});
		room += size;
	}
	room = 0;
	for (size_t i = 0; i < count; i += 2) {
		room += fillers[i].size;
		bo_destroy(&fillers[i]);
	}

	bo = create(target, (struct drm_vttm_create){ .size = room, .domains = VRAM });
	for (size_t i = 1; i < count; i += 2)
		igt_assert_eq(domain_of(&fillers[i]), VRAM);
	view = map_whole(target, &bo, PROT_READ | PROT_WRITE);
	igt_assert_f(count_blocks(&bo) > count / 16,
		     "%s: object of %" PRIu64 " KiB: %zu blocks are not what this is about\n",
		     target->name, bo.size / KiB, count_blocks(&bo));
	touch_pages(&view);
	assert_entries(&view, HUGE_PUD);
	fill(&view, BO_EVERY_PAGE, 1);
	assert_contents(&view, BO_EVERY_PAGE, 1);
	check_entries(target, &bo);
}

/**
 * SUBTEST: three-gib
 * Description: One fault maps 3 GiB of neighbouring blocks with three entries. Where the blocks are
 *              aligned to 1 GiB but no neighbours, it takes three faults.
 */
static void test_three_gib(const struct target *target)
{
	static const struct {
		enum drm_vttm_layout layout;
		uint64_t faults;
	} ways[] = {
		{ DRM_VTTM_LAYOUT_ANY, 1 },
		{ DRM_VTTM_LAYOUT_WORST, 3 },
	};

	igt_require_f(bo_vram_size(target->fd) > 3 * GiB, "%s: no room\n", target->name);
	for (size_t i = 0; i < ARRAY_SIZE(ways); i++) {
		struct bo bo = create(target, (struct drm_vttm_create){
			.size = 3 * GiB,
			.alignment = 1 * GiB,
			.layout = ways[i].layout,
			.domains = VRAM,
			.flags = DRM_VTTM_CREATE_UNCLEARED,
		});
		struct view view = map_whole(target, &bo, PROT_READ | PROT_WRITE);
		uint64_t faults = bo_faults();
		struct bo_levels levels;

		touch_pages(&view);
		faults = bo_faults() - faults;
		igt_assert_eq(bo_levels(view.addr, view.length, &levels), 0);
		igt_assert_f(faults == ways[i].faults && levels.pud == 3 && !levels.pmd &&
			     !levels.pte,
			     "%s: object of %" PRIu64 " KiB in %zu blocks: %" PRIu64
			     " faults, %" PRIu64 " pud, %" PRIu64 " pmd, %" PRIu64
			     " pte, expected %" PRIu64 " faults and 3 pud\n", target->name,
			     bo.size / KiB, count_blocks(&bo), faults, levels.pud, levels.pmd,
			     levels.pte, ways[i].faults);
		fill(&view, BO_EVERY_BLOCK, i);
		assert_contents(&view, BO_EVERY_BLOCK, i);
		unmap(&view);
		bo_destroy(&bo);
	}
	assert_no_kernel_warning(target);
}

/*
 * Moves
 */

/* Maps exactly what is expected where the object is now. */
static void assert_mapped_there(const struct view *view, uint32_t domain)
{
	touch_pages(view);
	if (domain & (VRAM | TINY))
		assert_entries(view, HUGE_PUD);
	else
		assert_levels(view, HUGE_PUD);
}

/**
 * SUBTEST: move
 * Description: An object goes from every domain to every other. Each move takes all entries away
 *              and keeps the contents; what is mapped then has the same levels as the time before.
 */
static void test_move(const struct target *target)
{
	/* Each pair in both directions */
	static const uint32_t path[] = {
		SYSTEM, VRAM, GTT, SYSTEM, TINY, VRAM, TINY, GTT, VRAM, SYSTEM, GTT, TINY, SYSTEM,
		VRAM,
	};
	struct target in_system = *target;
	struct bo bo = create(target, (struct drm_vttm_create){
		.size = 6 * MiB + 4 * KiB,
		.domains = ANY,
	});
	struct view view = map_whole(target, &bo, PROT_READ | PROT_WRITE);

	in_system.placement = BO_SYSTEM;
	require_room(&in_system, bo.size);
	assert_domain(&view, VRAM);
	touch_pages(&view);
	fill(&view, BO_EVERY_PAGE, 0);
	for (size_t i = 0; i < ARRAY_SIZE(path); i++) {
		move(&view, path[i]);
		assert_unmapped(&view);
		assert_contents(&view, BO_EVERY_PAGE, i);
		assert_mapped_there(&view, path[i]);
		fill(&view, BO_EVERY_PAGE, i + 1);
		/* Where it is already, nothing happens. */
		move(&view, path[i]);
		assert_mapped_there(&view, path[i]);
	}
	assert_contents_read(target, &bo, BO_EVERY_PAGE, ARRAY_SIZE(path));
	assert_no_kernel_warning(target);
}

/**
 * SUBTEST: move-1g
 * Description: An object with 1 GiB entries that goes to system memory and back is mapped with
 *              them again.
 */
static void test_move_1g(const struct target *target)
{
	struct target in_system = *target;
	struct view view;
	struct bo bo;

	igt_require_f(size_of_all_levels(target) > GiB, "%s: no room\n", target->name);
	in_system.placement = BO_SYSTEM;
	require_room(&in_system, 1 * GiB);
	bo = create(target, (struct drm_vttm_create){
		.size = 1 * GiB,
		.domains = VRAM | SYSTEM,
		.flags = DRM_VTTM_CREATE_UNCLEARED,
	});
	view = map_whole(target, &bo, PROT_READ | PROT_WRITE);
	fill(&view, BO_EVERY_BLOCK, 1);
	assert_level(&view, 0, bo.size, BO_PUD);
	move(&view, SYSTEM);
	assert_unmapped(&view);
	assert_contents(&view, BO_EVERY_BLOCK, 1);
	move(&view, VRAM);
	assert_unmapped(&view);
	assert_contents(&view, BO_EVERY_BLOCK, 1);
	assert_level(&view, 0, bo.size, BO_PUD);
}

/**
 * SUBTEST: evict-all
 * Description: Everything leaves VRAM at once. What may be nowhere else is back after the next
 *              fault, with its old levels; other objects stay outside.
 */
static void test_evict_all(const struct target *target)
{
	const struct drm_vttm_create ways[] = {
		{ .size = 4 * MiB, .domains = VRAM },
		{ .size = 4 * MiB, .domains = VRAM | GTT },
		{ .size = 4 * MiB, .domains = VRAM | SYSTEM },
	};
	static const uint32_t outside[] = { SYSTEM, GTT, SYSTEM }, afterwards[] = {
		VRAM, GTT, SYSTEM,
	};
	struct bo bos[ARRAY_SIZE(ways)];
	struct view views[ARRAY_SIZE(ways)];

	for (size_t i = 0; i < ARRAY_SIZE(ways); i++) {
		bos[i] = create(target, ways[i]);
		views[i] = map_whole(target, &bos[i], PROT_READ | PROT_WRITE);
		fill(&views[i], BO_EVERY_PAGE, i);
		assert_entries(&views[i], HUGE_PUD);
	}
	igt_assert_eq(vttm_evict_all(target->fd, VRAM), 0);
	for (size_t i = 0; i < ARRAY_SIZE(ways); i++) {
		assert_domain(&views[i], outside[i]);
		assert_unmapped(&views[i]);
		assert_contents(&views[i], BO_EVERY_PAGE, i);
		assert_domain(&views[i], afterwards[i]);
		assert_mapped_there(&views[i], afterwards[i]);
	}
	assert_no_kernel_warning(target);
}

/*
 * Cache modes
 */

/**
 * SUBTEST: caching-%s
 * Description: Entries of every level that an object of %arg[1] can have are %arg[1].
 *
 * arg[1]:
 *
 * @vram:		VRAM, write-combined
 * @tiny:		the second heap, uncached
 * @gtt-cached:		GTT, cached
 * @gtt-wc:		GTT, write-combined
 * @gtt-uc:		GTT, uncached
 * @system-cached:	system memory, cached
 * @system-wc:		system memory, write-combined
 * @system-uc:		system memory, uncached
 */
static const struct {
	const char *name, *cache;
	uint32_t domain;
	enum drm_vttm_caching caching;
} cache_modes[] = {
	{ "vram", "PWT", VRAM, DRM_VTTM_CACHED },
	{ "tiny", "PCD", TINY, DRM_VTTM_CACHED },
	{ "gtt-cached", "WB", GTT, DRM_VTTM_CACHED },
	{ "gtt-wc", "PWT", GTT, DRM_VTTM_WRITE_COMBINED },
	{ "gtt-uc", "PCD", GTT, DRM_VTTM_UNCACHED },
	{ "system-cached", "WB", SYSTEM, DRM_VTTM_CACHED },
	{ "system-wc", "PWT", SYSTEM, DRM_VTTM_WRITE_COMBINED },
	{ "system-uc", "PCD", SYSTEM, DRM_VTTM_UNCACHED },
};

static void test_caching(const struct target *target, size_t i)
{
	uint64_t size = cache_modes[i].domain == VRAM ? size_of_all_levels(target) : 4 * MiB + 4 * KiB;
	struct bo bo = create(target, (struct drm_vttm_create){
		.size = size,
		.domains = cache_modes[i].domain,
		.caching = cache_modes[i].caching,
		.flags = DRM_VTTM_CREATE_UNCLEARED,
	});
	struct target in_system = *target;

	if (cache_modes[i].domain & (GTT | SYSTEM)) {
		in_system.placement = BO_SYSTEM;
		require_room(&in_system, size);
	}
	for (int value = HUGE_NONE; value <= HUGE_PUD; value++) {
		struct view view = map_whole(target, &bo, PROT_READ | PROT_WRITE);
		int largest = size > GiB ? value : value ? HUGE_PMD : HUGE_NONE;
		struct bo_levels levels;

		set_huge_faults(value);
		touch_pages(&view);
		igt_assert_eq(bo_levels(view.addr, view.length, &levels), 0);
		igt_assert_f(levels.mapped == size && !!levels.pud == (largest == HUGE_PUD) &&
			     !!levels.pmd == (largest != HUGE_NONE) && levels.pte,
			     "%s: object of %" PRIu64 " KiB: %" PRIu64 " pud, %" PRIu64 " pmd, %"
			     PRIu64 " pte with the switch at %d\n", target->name, size / KiB,
			     levels.pud, levels.pmd, levels.pte, value);
		igt_assert_f(!strcmp(levels.cache, cache_modes[i].cache),
			     "%s: object of %" PRIu64 " KiB: cache mode %s, expected %s (%" PRIu64
			     " pud, %" PRIu64 " pmd, %" PRIu64 " pte)\n", target->name, size / KiB,
			     levels.cache, cache_modes[i].cache, levels.pud, levels.pmd,
			     levels.pte);
		fill(&view, view_step(&view), value);
		assert_contents_read(target, &bo, view_step(&view), value);
		unmap(&view);
	}
	assert_no_kernel_warning(target);
}

/*
 * Objects in use
 */

#define JIFFY_MS	10	/* a timer may be early by as much */

static int64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * INT64_C(1000) + ts.tv_nsec / 1000000;
}

static void busy(const struct view *view, unsigned int ms)
{
	int ret = vttm_busy(view->bo, ms);

	igt_assert_f(!ret, "%s: object cannot be busy for %u ms: %s\n", view->target->name, ms,
		     strerror(-ret));
}

static void assert_waited(const struct target *target, const char *what, int64_t ms, int64_t least,
			  int64_t most)
{
	igt_assert_f(ms >= least && ms <= most,
		     "%s: %s took %" PRId64 " ms, expected %" PRId64 " to %" PRId64 " ms\n",
		     target->name, what, ms, least, most);
}

/* An object with entries of 2 MiB, contents 1, and a mapping without any entry. */
static struct view busy_view(const struct target *target, struct bo *bo)
{
	struct view view;

	*bo = create(target, (struct drm_vttm_create){ .size = 4 * MiB, .domains = ANY });
	view = map_whole(target, bo, PROT_READ | PROT_WRITE);
	fill(&view, BO_EVERY_PAGE, 1);
	unmap(&view);
	return map_whole(target, bo, PROT_READ | PROT_WRITE);
}

/**
 * SUBTEST: busy
 * Description: Faults and moves wait for an object that is in use, and do what they would have done
 *              then. What is mapped already can be used meanwhile.
 */
static void test_busy(const struct target *target)
{
	const int64_t ms = 300;
	struct bo bo;
	struct view view = busy_view(target, &bo);
	int64_t start = now_ms();

	busy(&view, ms);
	(void)*(volatile char *)view.addr;
	assert_waited(target, "a fault", now_ms() - start, ms - JIFFY_MS, INT64_MAX);
	touch_pages(&view);
	assert_entries(&view, HUGE_PUD);
	assert_contents(&view, BO_EVERY_PAGE, 1);

	start = now_ms();
	busy(&view, 10000);
	touch_pages(&view);
	assert_waited(target, "an access", now_ms() - start, 0, 9000);
	bo_destroy(&bo);
	unmap(&view);

	view = busy_view(target, &bo);
	start = now_ms();
	busy(&view, ms);
	move(&view, SYSTEM);
	assert_waited(target, "a move", now_ms() - start, ms - JIFFY_MS, INT64_MAX);
	assert_contents(&view, BO_EVERY_PAGE, 1);
	assert_no_kernel_warning(target);
}

struct waiter {
	pthread_t thread;
	const struct view *view;
	int64_t ended;
};

static void *wait_in_fault(void *arg)
{
	struct waiter *waiter = arg;

	(void)*(volatile char *)waiter->view->addr;
	waiter->ended = now_ms();
	return NULL;
}

/**
 * SUBTEST: busy-unlocked
 * Description: While a fault waits, its VMA can be changed and others mapped: no lock is held.
 */
static void test_busy_unlocked(const struct target *target)
{
	struct bo bo;
	struct view view = busy_view(target, &bo);
	struct waiter waiter = { .view = &view };
	int64_t start = now_ms(), ended;

	busy(&view, 3000);
	igt_assert_eq(pthread_create(&waiter.thread, NULL, wait_in_fault, &waiter), 0);
	usleep(200 * 1000);
	igt_assert_eq(mprotect(view.addr + BO_PMD_SIZE, BO_PMD_SIZE, PROT_READ), 0);
	igt_assert_eq(munmap(view.addr + BO_PMD_SIZE + BO_PTE_SIZE, BO_PTE_SIZE), 0);
	ended = now_ms();
	pthread_join(waiter.thread, NULL);
	assert_waited(target, "mprotect() and munmap() beside a waiting fault", ended - start, 0,
		      2000);
	assert_waited(target, "the fault", waiter.ended - start, 3000 - JIFFY_MS, INT64_MAX);
	assert_level(&view, 0, BO_PMD_SIZE, BO_PMD);
	assert_no_kernel_warning(target);
}

static volatile int64_t signalled;

static void note_signal(int sig)
{
	(void)sig;
	if (!signalled)
		signalled = now_ms();
}

/* SIGALRM after @ms, once. System calls are not restarted. */
static void signal_in(unsigned int ms)
{
	struct sigaction action = { .sa_handler = note_signal };
	struct itimerval timer = { .it_value.tv_usec = ms * 1000 };

	signalled = 0;
	igt_assert_eq(sigaction(SIGALRM, &action, NULL), 0);
	igt_assert_eq(setitimer(ITIMER_REAL, &timer, NULL), 0);
}

/**
 * SUBTEST: busy-signal
 * Description: A signal interrupts the wait of a fault, which goes on after the handler, and that of
 *              a move, which fails with EINTR. SIGKILL ends a process that waits at once.
 */
static void test_busy_signal(const struct target *target)
{
	struct bo bo;
	struct view view = busy_view(target, &bo);
	struct drm_vttm_move args = { .handle = bo.handle, .domain = SYSTEM };
	int64_t start = now_ms();
	int status, ret;
	pid_t pid;

	busy(&view, 3000);
	signal_in(200);
	(void)*(volatile char *)view.addr;
	igt_assert_f(signalled, "%s: no signal came\n", target->name);
	assert_waited(target, "a signal for a fault", signalled - start, 0, 2000);
	assert_waited(target, "the fault", now_ms() - start, 3000 - JIFFY_MS, INT64_MAX);
	assert_contents(&view, BO_EVERY_PAGE, 1);

	start = now_ms();
	busy(&view, 3000);
	signal_in(200);
	ret = ioctl(target->fd, DRM_IOCTL_VTTM_MOVE, &args) ? errno : 0;
	igt_assert_f(ret == EINTR, "%s: a move that a signal interrupts: %s\n", target->name,
		     strerror(ret));
	assert_waited(target, "a signal for a move", now_ms() - start, 0, 2000);
	assert_domain(&view, VRAM);
	signal(SIGALRM, SIG_DFL);

	unmap(&view);
	view = map_whole(target, &bo, PROT_READ | PROT_WRITE);
	start = now_ms();
	busy(&view, 10000);
	pid = fork();
	if (!pid) {
		(void)*(volatile char *)view.addr;
		_exit(0);
	}
	usleep(200 * 1000);
	kill(pid, SIGKILL);
	igt_assert_eq(waitpid(pid, &status, 0), pid);
	igt_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	assert_waited(target, "the end of a killed process", now_ms() - start, 0, 8000);
	assert_no_kernel_warning(target);
}

/**
 * SUBTEST: busy-kernel
 * Description: A fault of the kernel, which copies to and from a mapping, waits with no way out for
 *              signals, keeps its locks when it is tried again, and finds the right page.
 */
static void test_busy_kernel(const struct target *target)
{
	const int64_t ms = 500;
	uint64_t word = 0;
	int64_t start;
	struct bo bo;
	struct view view = busy_view(target, &bo);
	int fd[2];

	igt_assert_eq(pipe(fd), 0);
	start = now_ms();
	busy(&view, ms);
	signal_in(100);
	igt_assert_eq(write(fd[1], view.addr, 8), 8);
	assert_waited(target, "a write() from a mapping", now_ms() - start, ms - JIFFY_MS,
		      INT64_MAX);
	igt_assert(signalled);
	igt_assert_eq(read(fd[0], &word, 8), 8);
	igt_assert_eq_u64(word, bo_pattern(1, 0));

	unmap(&view);
	view = map_whole(target, &bo, PROT_READ | PROT_WRITE);
	word = 42;
	igt_assert_eq(write(fd[1], &word, 8), 8);
	start = now_ms();
	busy(&view, ms);
	signal_in(100);
	igt_assert_eq(read(fd[0], view.addr, 8), 8);
	assert_waited(target, "a read() to a mapping", now_ms() - start, ms - JIFFY_MS, INT64_MAX);
	igt_assert_eq_u64(*(volatile uint64_t *)view.addr, word);
	signal(SIGALRM, SIG_DFL);
	close(fd[0]);
	close(fd[1]);
	assert_no_kernel_warning(target);
}

struct holder {
	pthread_t thread;
	const struct view *view;
	bool stop;
	unsigned long count;
};

static void *hold_until(void *arg)
{
	struct holder *holder = arg;

	while (!__atomic_load_n(&holder->stop, __ATOMIC_RELAXED) &&
	       !vttm_busy(holder->view->bo, 1 + holder->count % 20))
		holder->count++;
	return NULL;
}

/**
 * SUBTEST: busy-again
 * Description: Faults while the object is made busy over and over, so that it often is again when
 *              a fault is tried for the second time, then with its locks held.
 */
static void test_busy_again(const struct target *target)
{
	struct bo bo;
	struct view view = busy_view(target, &bo);
	struct holder holder = { .view = &view };
	int64_t end = now_ms() + 2000;
	int rounds = 0;

	igt_assert_eq(pthread_create(&holder.thread, NULL, hold_until, &holder), 0);
	while (now_ms() < end) {
		struct view fresh = map_part(target, &bo, 0, NULL, bo.size, PROT_READ, 0);
		int64_t wrong = bo_check(fresh.addr, 0, bo.size, BO_EVERY_BLOCK, 1);

		unmap(&fresh);
		rounds++;
		if (wrong >= 0)
			break;
	}
	__atomic_store_n(&holder.stop, true, __ATOMIC_RELAXED);
	pthread_join(holder.thread, NULL);
	igt_assert_f(now_ms() >= end, "%s: wrong contents in round %d\n", target->name, rounds);
	igt_assert_f(rounds > 1 && holder.count > 10, "%s: %d rounds, busy %lu times\n",
		     target->name, rounds, holder.count);
	assert_no_kernel_warning(target);
}

/*
 * Dirty tracking
 */

static uint64_t *new_bitmap(const struct bo *bo)
{
	uint64_t *bitmap = calloc(1, vttm_bitmap_size(bo));

	igt_assert(bitmap);
	return bitmap;
}

static void dirty(const struct view *view, uint32_t op)
{
	igt_assert_eq(vttm_dirty(view->bo, op, NULL), 0);
}

/* Asserts that just the pages in @expected are dirty. */
static void assert_dirty(const struct view *view, uint32_t op, const uint64_t *expected)
{
	uint64_t *found = new_bitmap(view->bo), pages = view->bo->size / BO_PTE_SIZE, page;
	int ret;

	memset(found, 0xff, vttm_bitmap_size(view->bo));
	ret = vttm_dirty(view->bo, op, found);
	igt_assert_f(!ret, "%s: dirty pages cannot be read: %s\n", view->target->name,
		     strerror(-ret));
	for (page = 0; page < pages; page++)
		if ((found[page / 64] ^ expected[page / 64]) >> page % 64 & 1)
			break;
	igt_assert_f(page == pages,
		     "%s: object of %" PRIu64 " KiB, offset %#" PRIx64 ": page is %s\n",
		     view->target->name, view->bo->size / KiB, page * BO_PTE_SIZE,
		     expected[page / 64] >> page % 64 & 1 ? "clean, expected dirty" :
							    "dirty, expected clean");
	/* Nor is there anything behind the end. */
	if (pages % 64)
		igt_assert_eq_u64(found[pages / 64] >> pages % 64, 0);
	free(found);
}

static void write_page(const struct view *view, uint64_t page, uint64_t *expected)
{
	*(volatile uint64_t *)(view->addr + page * BO_PTE_SIZE) = page;
	expected[page / 64] |= 1ull << page % 64;
}

static void write_pages(const struct view *view, unsigned int *random, uint64_t *expected)
{
	for (int i = 0; i < 40; i++)
		write_page(view, rand_r(random) % (view->length / BO_PTE_SIZE), expected);
}

/* Bits that the child sets as well: it repeats the random numbers. */
static void write_in_child(const struct view *view, unsigned int *random, uint64_t *expected)
{
	igt_fork(child, 1)
		write_pages(view, random, expected);
	igt_waitchildren();
	for (int i = 0; i < 40; i++) {
		uint64_t page = rand_r(random) % (view->length / BO_PTE_SIZE);

		expected[page / 64] |= 1ull << page % 64;
	}
}

/**
 * SUBTEST: dirty-%s
 * Description: With an object in %arg[1] tracked, the pages that were written to, by any mapping of
 *              any process, are dirty and no others. No entry is huge meanwhile; afterwards they
 *              are again.
 *
 * arg[1]:
 *
 * @vram:	VRAM
 * @system:	system memory
 */
static void test_dirty(const struct target *target, uint32_t domain)
{
	struct bo bo = create(target, (struct drm_vttm_create){
		.size = 6 * MiB + 12 * KiB,
		.domains = VRAM | SYSTEM,
	});
	struct view view = map_whole(target, &bo, PROT_READ | PROT_WRITE);
	struct view other = map_whole(target, &bo, PROT_READ | PROT_WRITE);
	uint64_t *none = new_bitmap(&bo), *expected = new_bitmap(&bo);
	struct target in_system = *target;
	unsigned int random = 1;

	in_system.placement = BO_SYSTEM;
	require_room(&in_system, bo.size);
	move(&view, domain);

	/* What is mapped and written before does not count. */
	fill(&view, BO_EVERY_PAGE, 1);
	assert_mapped_there(&view, domain);
	dirty(&view, DRM_VTTM_DIRTY_START);
	assert_dirty(&view, DRM_VTTM_DIRTY_READ, none);

	assert_contents(&view, BO_EVERY_PAGE, 1);
	touch_pages(&other);
	assert_dirty(&view, DRM_VTTM_DIRTY_READ, none);
	assert_no_huge(&view);
	assert_no_huge(&other);

	for (int i = 0; i < 3; i++) {
		write_pages(&view, &random, expected);
		write_page(&view, 0, expected);
		write_page(&view, bo.size / BO_PTE_SIZE - 1, expected);
		assert_dirty(&view, DRM_VTTM_DIRTY_READ, expected);
		write_pages(&other, &random, expected);
		write_in_child(&view, &random, expected);
		assert_dirty(&view, DRM_VTTM_DIRTY_READ, expected);
		/* Moves change nothing. */
		move(&view, domain == VRAM ? SYSTEM : VRAM);
		touch_pages(&view);
		assert_dirty(&view, DRM_VTTM_DIRTY_READ, expected);
		move(&view, domain);
		touch_pages(&view);
		assert_no_huge(&view);
		assert_dirty(&view, DRM_VTTM_DIRTY_READ_CLEAR, expected);
		assert_dirty(&view, DRM_VTTM_DIRTY_READ, none);
		memset(expected, 0, vttm_bitmap_size(&bo));
	}

	write_pages(&view, &random, expected);
	dirty(&view, DRM_VTTM_DIRTY_START);
	assert_dirty(&view, DRM_VTTM_DIRTY_READ, none);
	dirty(&view, DRM_VTTM_DIRTY_STOP);
	igt_assert_eq(vttm_dirty(&bo, DRM_VTTM_DIRTY_READ, expected), -EINVAL);
	assert_mapped_there(&view, domain);
	free(none);
	free(expected);
	assert_no_kernel_warning(target);
}

struct writer {
	pthread_t thread;
	const struct view *view;
	unsigned int random;
	uint64_t *written;
};

static void *write_in_thread(void *arg)
{
	struct writer *writer = arg;

	for (int i = 0; i < 200; i++) {
		write_pages(writer->view, &writer->random, writer->written);
		sched_yield();
	}
	return NULL;
}

/**
 * SUBTEST: dirty-while-writing
 * Description: Pages are read and made clean while threads write: in the end each that was written
 *              to was dirty at least once, and none that was not.
 */
static void test_dirty_while_writing(const struct target *target)
{
	struct bo bo = create(target, (struct drm_vttm_create){
		.size = 4 * MiB,
		.domains = VRAM,
	});
	struct view view = map_whole(target, &bo, PROT_READ | PROT_WRITE);
	struct view half = sub_view(&view, 0, bo.size / 2);
	uint64_t *seen = new_bitmap(&bo), *now = new_bitmap(&bo);
	size_t words = vttm_bitmap_size(&bo) / 8;
	struct writer writers[3];

	touch_pages(&view);
	dirty(&view, DRM_VTTM_DIRTY_START);
	for (size_t i = 0; i < ARRAY_SIZE(writers); i++) {
		writers[i] = (struct writer){
			.view = &half,
			.random = i,
			.written = new_bitmap(&bo),
		};
		igt_assert_eq(pthread_create(&writers[i].thread, NULL, write_in_thread,
					     &writers[i]), 0);
	}
	for (int i = 0; i < 50; i++) {
		igt_assert_eq(vttm_dirty(&bo, DRM_VTTM_DIRTY_READ_CLEAR, now), 0);
		for (size_t w = 0; w < words; w++)
			seen[w] |= now[w];
		usleep(2000);
	}
	for (size_t i = 0; i < ARRAY_SIZE(writers); i++)
		pthread_join(writers[i].thread, NULL);
	igt_assert_eq(vttm_dirty(&bo, DRM_VTTM_DIRTY_READ_CLEAR, now), 0);
	for (size_t w = 0; w < words; w++) {
		uint64_t written = 0;

		for (size_t i = 0; i < ARRAY_SIZE(writers); i++)
			written |= writers[i].written[w];
		seen[w] |= now[w];
		igt_assert_f(seen[w] == written,
			     "%s: object of %" PRIu64 " KiB, offset %#" PRIx64 ": dirty were %#"
			     PRIx64 ", written to were %#" PRIx64 " of 64 pages\n", target->name,
			     bo.size / KiB, w * 64 * BO_PTE_SIZE, seen[w], written);
	}
	assert_no_kernel_warning(target);
}

/*
 * Devices
 */

static int open_vttm(int nth)
{
	for (int card = 0; card < 16; card++) {
		int fd = bo_open_card(card);

		if (fd < 0)
			continue;
		if (!strcmp(bo_driver(fd), "vttm") && nth-- == 0)
			return fd;
		close(fd);
	}
	return -1;
}

/**
 * SUBTEST: two-devices
 * Description: Objects of two devices are mapped next to each other. Each keeps to itself its
 *              memory, and its entries when the other's go.
 */
static void test_two_devices(void)
{
	struct target targets[2] = {
		{ .name = "first", .placement = BO_VRAM },
		{ .name = "second", .placement = BO_VRAM },
	};
	const uint64_t size = 4 * MiB;
	char *area = free_address(2 * size, BO_PMD_SIZE, 0);
	struct view views[2];
	struct bo bos[2];

	for (int i = 0; i < 2; i++) {
		targets[i].fd = open_vttm(i);
		igt_require_f(targets[i].fd >= 0, "there is no %s device\n", targets[i].name);
		bos[i] = create(&targets[i], (struct drm_vttm_create){ .size = size, .domains = ANY });
		views[i] = map_part(&targets[i], &bos[i], 0, area + i * size, size,
				    PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED_NOREPLACE);
		fill(&views[i], BO_EVERY_WORD, i);
	}
	for (int i = 0; i < 2; i++) {
		assert_contents(&views[i], BO_EVERY_WORD, i);
		assert_entries(&views[i], HUGE_PUD);
	}
	for (int i = 0; i < 2; i++) {
		igt_assert_eq(vttm_evict_all(targets[i].fd, VRAM), 0);
		assert_unmapped(&views[i]);
		assert_entries(&views[!i], HUGE_PUD);
		assert_contents(&views[i], BO_EVERY_WORD, i);
		assert_domain(&views[i], GTT);
		move(&views[i], VRAM);
		touch_pages(&views[i]);
	}
	for (int i = 0; i < 2; i++) {
		unmap(&views[i]);
		close(targets[i].fd);
	}
}

/* Asserts that what is mapped is no longer the object: zeroes that can be written. */
static void check_dummy(const struct view *view)
{
	const uint64_t offsets[] = { 0, view->length / 2, view->length - BO_PTE_SIZE };

	assert_unmapped(view);
	for (size_t i = 0; i < ARRAY_SIZE(offsets); i++) {
		volatile uint64_t *word = (volatile uint64_t *)(view->addr + offsets[i]);

		igt_assert_eq(signal_of_write((void *)word), 0);
		igt_assert_eq_u64(*word, 0);
	}
	assert_no_huge(view);
	*(volatile uint64_t *)view->addr = 1;
	igt_assert_eq_u64(*(volatile uint64_t *)view->addr, 1);
}

static void use_unplugged(const struct target *target, int value, struct handshake *hs)
{
	struct drm_vttm_query query;
	struct view view, inside;
	struct bo bo;

	bo = create(target, (struct drm_vttm_create){
		.size = size_of_all_levels(target),
		.domains = VRAM | SYSTEM,
		.flags = DRM_VTTM_CREATE_UNCLEARED,
	});
	set_huge_faults(value);
	view = map_whole(target, &bo, PROT_READ | PROT_WRITE);
	touch_pages(&view);
	fill(&view, view_step(&view), 1);
	assert_entries(&view, value);

	/* A mapping without entries, too. */
	inside = map_whole(target, &bo, PROT_READ | PROT_WRITE);
	handshake_tell(hs);
	handshake_wait(hs);

	igt_assert_eq(vttm_query(&bo, &query), -ENODEV);
	igt_assert_eq(vttm_move(&bo, SYSTEM), -ENODEV);
	igt_assert(bo_map(&bo, NULL, bo.size, PROT_READ, 0) == MAP_FAILED && errno == ENODEV);
	check_dummy(&view);
	igt_assert_eq(munmap(view.addr + BO_PTE_SIZE, BO_PTE_SIZE), 0);
	igt_assert_eq(mprotect(inside.addr, BO_PTE_SIZE, PROT_READ), 0);
	igt_assert_eq(signal_of_read(inside.addr), 0);
	igt_assert_eq(signal_of_write(inside.addr), SIGSEGV);
}

/* Of the parent: the device goes when the child is ready, and comes back when it has ended. */
static void unplug_and_plug(struct target *target, struct handshake *hs)
{
	struct pci_address device = pci_address(target);

	handshake_take(hs, PARENT);
	handshake_wait(hs);
	unplug(&device);
	handshake_finish(hs);

	plug_in(target, &device);
	assert_no_kernel_warning(target);
}

/**
 * SUBTEST: unplug-%d
 * Description: A device is unplugged while a process and its child map an object with entries up to
 *              those that the switch allows at %arg[1]. The entries go; what is there afterwards
 *              is a page of zeroes; no process gets a signal; calls fail with ENODEV. The device
 *              can be plugged in again.
 *
 * arg[1]:
 *
 * @0:	4 KiB
 * @1:	2 MiB
 * @2:	1 GiB
 */
static void test_unplug(struct target *target, int value)
{
	struct handshake hs;

	handshake_open(&hs);
	igt_fork(child, 1) {
		handshake_take(&hs, CHILD);
		use_unplugged(target, value, &hs);
	}
	unplug_and_plug(target, &hs);
}

/**
 * SUBTEST: unplug-fork
 * Description: The same with a parent that shares the mapping with its child; both have dummy
 *              pages afterwards.
 */
static void test_unplug_fork(struct target *target)
{
	struct handshake hs;

	handshake_open(&hs);
	igt_fork(child, 1) {
		struct bo bo = create(target, (struct drm_vttm_create){
			.size = size_of_all_levels(target),
			.domains = VRAM,
			.flags = DRM_VTTM_CREATE_UNCLEARED,
		});
		struct view view = map_whole(target, &bo, PROT_READ | PROT_WRITE);
		pid_t pid;
		int status;

		handshake_take(&hs, CHILD);
		touch_pages(&view);
		fill(&view, view_step(&view), 1);
		pid = fork();
		if (!pid) {
			/* Entries that are copies, until they are taken away */
			while (*(volatile uint64_t *)view.addr)
				usleep(1000);
			_exit(*(volatile uint64_t *)(view.addr + view.length - BO_PTE_SIZE));
		}
		handshake_tell(&hs);
		handshake_wait(&hs);
		check_dummy(&view);
		igt_assert_eq(waitpid(pid, &status, 0), pid);
		igt_assert_eq(status, 0);
	}
	unplug_and_plug(target, &hs);
}

/**
 * SUBTEST: unplug-busy
 * Description: A fault that waits for a busy object goes on when the device is unplugged.
 */
static void test_unplug_busy(struct target *target)
{
	int64_t start = now_ms();
	struct pci_address device = pci_address(target);
	struct handshake hs;

	handshake_open(&hs);
	igt_fork(child, 1) {
		struct bo bo;
		struct view view = busy_view(target, &bo);

		handshake_take(&hs, CHILD);
		busy(&view, 10000);
		handshake_tell(&hs);
		(void)*(volatile char *)view.addr;
	}
	handshake_take(&hs, PARENT);
	handshake_wait(&hs);
	usleep(200 * 1000);
	unplug(&device);
	igt_waitchildren();
	handshake_close(&hs);
	assert_waited(target, "a fault on a device that is gone", now_ms() - start, 0, 8000);
	plug_in(target, &device);
	assert_no_kernel_warning(target);
}

/*
 * Arguments
 */

static void assert_refused(const struct target *target, const char *what, unsigned long request,
			   void *arg, int expected)
{
	int found = ioctl(target->fd, request, arg) ? errno : 0;

	igt_assert_f(found == expected, "%s: %s: %s, expected %s\n", target->name, what,
		     strerror(found), strerror(expected));
}

#define assert_error(target, error, request, ...) do {				\
	struct drm_vttm_##request __arg = { __VA_ARGS__ };			\
	assert_refused(target, #request " " #__VA_ARGS__,			\
		       REQUEST_##request, &__arg, error);			\
} while (0)
#define REQUEST_heap		DRM_IOCTL_VTTM_HEAP
#define REQUEST_create		DRM_IOCTL_VTTM_CREATE
#define REQUEST_mmap_offset	DRM_IOCTL_VTTM_MMAP_OFFSET
#define REQUEST_move		DRM_IOCTL_VTTM_MOVE
#define REQUEST_evict_all	DRM_IOCTL_VTTM_EVICT_ALL
#define REQUEST_query		DRM_IOCTL_VTTM_QUERY
#define REQUEST_busy		DRM_IOCTL_VTTM_BUSY
#define REQUEST_dirty		DRM_IOCTL_VTTM_DIRTY

static uint64_t vram_used(const struct target *target)
{
	struct drm_vttm_heap heap = { .domain = VRAM };

	igt_assert_eq(bo_ioctl(target->fd, DRM_IOCTL_VTTM_HEAP, &heap), 0);
	return heap.used;
}

/* What is destroyed is freed a little later if it was busy. */
static void await_empty_vram(const struct target *target)
{
	for (int i = 0; i < 500 && vram_used(target); i++)
		usleep(10000);
	igt_assert_eq_u64(vram_used(target), 0);
}

/**
 * SUBTEST: bad-arguments
 * Description: What cannot work is refused with the error that the header names, unknown bits and
 *              reserved fields included, and changes nothing.
 */
static void test_bad_arguments(const struct target *target)
{
	const uint64_t size = 4 * MiB, none = 0x7fff;
	uintptr_t bad = (uintptr_t)mmap(NULL, BO_PTE_SIZE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS,
					-1, 0);
	uint64_t bitmap[size / BO_PTE_SIZE / 64];
	struct view view;
	struct bo bo;
	uint32_t h;

	await_empty_vram(target);
	bo = create(target, (struct drm_vttm_create){ .size = size, .domains = VRAM | SYSTEM });
	h = bo.handle;
	view = map_whole(target, &bo, PROT_READ | PROT_WRITE);
	fill(&view, BO_EVERY_PAGE, 1);
	igt_assert_eq_u64(vram_used(target), size);

	assert_error(target, EINVAL, heap, .domain = 0);
	assert_error(target, EINVAL, heap, .domain = SYSTEM);
	assert_error(target, EINVAL, heap, .domain = VRAM | GTT);
	assert_error(target, EINVAL, heap, .domain = 1 << 4);
	assert_error(target, EINVAL, heap, .domain = VRAM, .pad = 1);

	assert_error(target, EINVAL, create, .size = 0, .domains = VRAM);
	assert_error(target, EINVAL, create, .size = 4095, .domains = VRAM);
	assert_error(target, EINVAL, create, .size = 4097, .domains = VRAM);
	assert_error(target, EINVAL, create, .size = size);
	assert_error(target, EINVAL, create, .size = size, .domains = VRAM | 1 << 4);
	assert_error(target, EINVAL, create, .size = size, .domains = VRAM, .alignment = 2048);
	assert_error(target, EINVAL, create, .size = 12288, .domains = VRAM, .alignment = 12288);
	assert_error(target, EINVAL, create, .size = 12288, .domains = VRAM, .alignment = 8192);
	assert_error(target, EINVAL, create, .size = size, .domains = VRAM, .caching = 3);
	assert_error(target, EINVAL, create, .size = size, .domains = VRAM, .layout = 3);
	assert_error(target, EINVAL, create, .size = size, .domains = VRAM, .flags = 2);
	assert_error(target, EINVAL, create, .size = size, .domains = VRAM, .pad = 1);
	assert_error(target, ENOSPC, create, .size = 1ull << 38, .domains = VRAM);
	assert_error(target, ENOSPC, create, .size = 1ull << 38, .alignment = 1ull << 38,
		     .domains = VRAM);
	assert_error(target, ENOSPC, create, .size = 64 * MiB, .domains = TINY);

	/* Nothing has to leave for what does not fit anyway. */
	assert_domain(&view, VRAM);

	assert_error(target, ENOENT, mmap_offset, .handle = 0);
	assert_error(target, ENOENT, mmap_offset, .handle = none);
	assert_error(target, EINVAL, mmap_offset, .handle = h, .pad = 1);

	assert_error(target, ENOENT, move, .handle = none, .domain = VRAM);
	assert_error(target, EINVAL, move, .handle = h, .domain = 0);
	assert_error(target, EINVAL, move, .handle = h, .domain = GTT);
	assert_error(target, EINVAL, move, .handle = h, .domain = VRAM | SYSTEM);
	assert_error(target, EINVAL, move, .handle = h, .domain = 1 << 4);

	assert_error(target, EINVAL, evict_all, .domain = 0);
	assert_error(target, EINVAL, evict_all, .domain = SYSTEM);
	assert_error(target, EINVAL, evict_all, .domain = VRAM | GTT);
	assert_error(target, EINVAL, evict_all, .domain = VRAM, .pad = 1);

	assert_error(target, ENOENT, query, .handle = none);
	assert_error(target, EINVAL, query, .handle = h, .blocks = (uintptr_t)bitmap);
	assert_error(target, EFAULT, query, .handle = h, .blocks = bad, .num_blocks = 1);

	assert_error(target, ENOENT, busy, .handle = none, .duration_ms = 1);
	assert_error(target, EINVAL, busy, .handle = h, .duration_ms = 0);
	assert_error(target, EINVAL, busy, .handle = h, .duration_ms = DRM_VTTM_BUSY_MAX_MS + 1);

	assert_error(target, ENOENT, dirty, .handle = none, .op = DRM_VTTM_DIRTY_START);
	assert_error(target, EINVAL, dirty, .handle = h, .op = 4);
	assert_error(target, EINVAL, dirty, .handle = h, .op = DRM_VTTM_DIRTY_START,
		     .bitmap = (uintptr_t)bitmap);
	assert_error(target, EINVAL, dirty, .handle = h, .op = DRM_VTTM_DIRTY_STOP,
		     .bitmap_size = sizeof(bitmap));
	assert_error(target, EINVAL, dirty, .handle = h, .op = DRM_VTTM_DIRTY_READ,
		     .bitmap = (uintptr_t)bitmap, .bitmap_size = sizeof(bitmap));

	assert_entries(&view, HUGE_PUD);
	dirty(&view, DRM_VTTM_DIRTY_START);
	assert_error(target, EINVAL, dirty, .handle = h, .op = DRM_VTTM_DIRTY_READ,
		     .bitmap = (uintptr_t)bitmap, .bitmap_size = sizeof(bitmap) - 8);
	assert_error(target, EINVAL, dirty, .handle = h, .op = DRM_VTTM_DIRTY_READ,
		     .bitmap = (uintptr_t)bitmap, .bitmap_size = sizeof(bitmap) + 8);
	assert_error(target, EFAULT, dirty, .handle = h, .op = DRM_VTTM_DIRTY_READ,
		     .bitmap = bad, .bitmap_size = sizeof(bitmap));
	dirty(&view, DRM_VTTM_DIRTY_STOP);

	igt_assert_eq_u64(vram_used(target), size);
	assert_domain(&view, VRAM);
	assert_contents(&view, BO_EVERY_PAGE, 1);
}

/**
 * SUBTEST: makes-room
 * Description: An object that may be in VRAM pushes the oldest others out of it, where they may be
 *              elsewhere, and not a newer one.
 */
static void test_makes_room(const struct target *target)
{
	uint64_t vram = bo_vram_size(target->fd), size = 4 * MiB;
	struct view views[64] = { 0 };
	size_t count = vram / size + 4;
	struct bo bos[64];

	igt_require_f(vram <= 200 * MiB, "%s: %" PRIu64 " MiB of VRAM take too long to fill\n",
		      target->name, vram / MiB);
	for (size_t i = 0; i < count; i++) {
		bos[i] = create(target, (struct drm_vttm_create){ .size = size, .domains = ANY & ~TINY });
		views[i] = map_whole(target, &bos[i], PROT_READ | PROT_WRITE);
		fill(&views[i], BO_EVERY_BLOCK, i);
		assert_domain(&views[i], VRAM);
	}
	for (size_t i = 0; i < count; i++) {
		assert_domain(&views[i], i < count - vram / size ? GTT : VRAM);
		assert_contents(&views[i], BO_EVERY_BLOCK, i);
	}
}

int igt_main()
{
	static const struct {
		const char *name, *description;
		void (*test)(const struct target *target);
	} tests[] = {
		{ "blocks-holes", "An object in the holes that others have left", test_holes },
		{ "three-gib", "One fault maps 3 GiB", test_three_gib },
		{ "move", "From each domain to each other", test_move },
		{ "move-1g", "A 1 GiB entry goes and comes back", test_move_1g },
		{ "evict-all", "Everything leaves VRAM", test_evict_all },
		{ "makes-room", "The oldest leave for a new one", test_makes_room },
		{ "busy", "Faults and moves wait", test_busy },
		{ "busy-unlocked", "Faults wait without locks", test_busy_unlocked },
		{ "busy-signal", "Signals interrupt the wait", test_busy_signal },
		{ "busy-kernel", "Faults of the kernel wait", test_busy_kernel },
		{ "busy-again", "Faults wait again and again", test_busy_again },
		{ "dirty-while-writing", "Nothing written is missed", test_dirty_while_writing },
		{ "bad-arguments", "The right errors", test_bad_arguments },
	};
	static const struct {
		const char *name;
		uint32_t domain;
	} dirty_domains[] = { { "vram", VRAM }, { "system", SYSTEM } };
	struct target *target;

	igt_fixture()
		ttm_huge_init();

	for (size_t i = 0; i < ARRAY_SIZE(layouts); i++) {
		igt_describe("Exactly the entries that blocks and address allow");
		igt_subtest_with_dynamic_f("blocks-%s", layouts[i].name)
			igt_dynamic_vttm(target)
				test_layout(target, i);
	}

	for (size_t i = 0; i < ARRAY_SIZE(cache_modes); i++) {
		igt_describe("The right cache mode at every level");
		igt_subtest_with_dynamic_f("caching-%s", cache_modes[i].name)
			igt_dynamic_vttm(target)
				test_caching(target, i);
	}

	for (size_t i = 0; i < ARRAY_SIZE(dirty_domains); i++) {
		igt_describe("Exactly the pages that were written to");
		igt_subtest_with_dynamic_f("dirty-%s", dirty_domains[i].name)
			igt_dynamic_vttm(target)
				test_dirty(target, dirty_domains[i].domain);
	}

	for (size_t i = 0; i < ARRAY_SIZE(tests); i++) {
		igt_describe(tests[i].description);
		igt_subtest_with_dynamic(tests[i].name)
			igt_dynamic_vttm(target)
				tests[i].test(target);
	}

	for (int value = HUGE_NONE; value <= HUGE_PUD; value++) {
		igt_describe("The device goes while it is in use");
		igt_subtest_with_dynamic_f("unplug-%d", value)
			igt_dynamic_vttm(target)
				test_unplug(target, value);
	}

	igt_describe("The device goes while parent and child use it");
	igt_subtest_with_dynamic("unplug-fork")
		igt_dynamic_vttm(target)
			test_unplug_fork(target);

	igt_describe("The device goes while a fault waits");
	igt_subtest_with_dynamic("unplug-busy")
		igt_dynamic_vttm(target)
			test_unplug_busy(target);

	igt_describe("Two devices at once");
	igt_subtest("two-devices")
		test_two_devices();

	igt_fixture()
		ttm_huge_fini();
}
