// SPDX-License-Identifier: MIT
/**
 * TEST: ttm huge signal
 * Category: Core
 * Mega feature: General Core features
 * Sub-category: Memory management tests
 * Functionality: mmap
 * Description: A fault that waits for its object can be interrupted: signal handlers run meanwhile,
 *              and a process that is killed is gone, instead of when the wait is over.
 */
#define _GNU_SOURCE 1
#include <sched.h>
#include <sys/mman.h>
#include <sys/param.h>

#include "ttm_huge.h"

IGT_TEST_DESCRIPTION("Signals to a task that waits in a fault on a TTM buffer object");

#define MAX_SIZE	(256 * MiB)
#define MIN_SIZE	(16 * MiB)
#define MAX_VRAM	(256 * MiB)	/* more takes too long to fill */
#define MS		UINT64_C(1000000)
#define TICK		(1 * MS)
#define LONG_WAIT	(20 * TICK)
/* How long a wait is depends on what else the machine does. */
#define ATTEMPTS	20

/*
 * What keeps an object locked for long is to get cleared memory for it, at its first fault, and
 * to copy it, when it is evicted from VRAM. Another process has that done to an object that is
 * as large as there is room for.
 */
static struct busy {
	volatile bool begun, over;
	/* Two more processes touch the object. */
	struct toucher {
		volatile uint64_t since;	/* in the access that it is at */
		volatile uint64_t free;		/* until when it had to wait */
	} victim, witness;
} *busy;

static uint64_t large_size(const struct target *target)
{
	uint64_t size = MIN(MAX_SIZE, bo_max_size(target->fd, target->placement) / 2);

	if (on_vram(target)) {
		require_small_vram(target, MAX_VRAM);
		size = MIN(size, bo_vram_size(target->fd) / 2);
	}
	size &= ~(BO_PMD_SIZE - 1);
	target_require(target, size >= MIN_SIZE,
		       "objects of %" PRIu64 " MiB are never busy for long", size / MiB);
	return size;
}

/*
 * Begins to keep the object of @view locked, in another process. That process is SCHED_IDLE: it
 * keeps no processor from a task that a signal wakes.
 */
static void keep_busy(const struct view *view)
{
	*busy = (struct busy){ 0 };
	/* Memory that is at hand is had too soon. */
	empty_page_pool();
	if (on_vram(view->target))
		fill(view, BO_EVERY_PAGE, 1);

	igt_fork(child, 1) {
		const struct sched_param param = { 0 };

		igt_assert_eq(sched_setscheduler(0, SCHED_IDLE, &param), 0);
		busy->begun = true;
		if (on_vram(view->target))
			igt_assert_eq(bo_evict(view->bo), 0);
		else
			(void)*(volatile char *)view->addr;
		busy->over = true;
	}
	while (!busy->begun)
		usleep(100);
	/* Or this process would be the first to touch it. */
	if (on_system(view->target))
		usleep(5000);
}

/* How long a fault had to wait, 0 if not for long, and for how much of it signals did nothing. */
struct reaction {
	uint64_t wait, late;
};

/* @failure is what is wrong if they did nothing for @percent of the wait. */
static void check_reaction(const struct target *target,
			   struct reaction (*measure)(const struct view *view),
			   unsigned int percent, const char *failure)
{
	const uint64_t size = large_size(target);
	struct reaction found, last = { 0 };
	bool good = false;

	for (int i = 0; i < ATTEMPTS && !good; i++) {
		struct bo bo = target_bo(target, size);
		struct view view = map_whole(target, &bo, PROT_READ | PROT_WRITE);

		keep_busy(&view);
		found = measure(&view);
		igt_waitchildren();
		if (on_vram(target))
			assert_contents(&view, BO_EVERY_PAGE, 1);
		unmap(&view);
		bo_destroy(&bo);
		if (found.wait)
			last = found;
		good = found.late < found.wait * percent / 100;
	}
	target_require(target, last.wait, "object of %" PRIu64
		       " MiB: no fault had to wait for more than %" PRIu64 " ms", size / MiB,
		       LONG_WAIT / MS);
	target_assert(target, good, "object of %" PRIu64 " MiB: for %" PRIu64 " ms of a fault that "
		      "took %" PRIu64 " ms %s, expected less than %u %%", size / MiB,
		      last.late / MS, last.wait / MS, failure, percent);
}

static volatile uint64_t last_tick, longest_gap;

/* Notes the longest time without a tick. */
static void note_tick(int sig)
{
	uint64_t last = last_tick;

	(void)sig;
	last_tick = now_ns();
	longest_gap = MAX(longest_gap, last_tick - last);
}

static struct reaction measure_handlers(const struct view *view)
{
	struct reaction longest = { 0 };

	set_alarm(TICK, TICK, note_tick);
	while (!busy->over) {
		uint64_t from = now_ns(), wait;

		last_tick = from;
		longest_gap = 0;
		(void)*(volatile char *)view->addr;
		note_tick(SIGALRM);
		wait = last_tick - from;
		if (wait >= LONG_WAIT && wait > longest.wait)
			longest = (struct reaction){ wait, longest_gap };
		usleep(100);
	}
	set_alarm(0, 0, SIG_IGN);
	return longest;
}

/**
 * SUBTEST: handlers
 * Description: While a fault waits for an object that another process fills or moves, signal
 *              handlers run when the signals come. The access then completes with the right
 *              contents.
 */
static void test_handlers(const struct target *target)
{
	check_reaction(target, measure_handlers, 75, "no handler ran, with a signal each ms");
}

/* Touches the object now and then, and says when it waits. */
static pid_t fork_toucher(const struct view *view, struct toucher *toucher)
{
	pid_t pid = fork();

	igt_assert(pid >= 0);
	if (pid)
		return pid;
	for (;;) {
		toucher->since = now_ns();
		(void)*(volatile char *)view->addr;
		if (now_ns() - toucher->since > LONG_WAIT)
			toucher->free = now_ns();
		toucher->since = 0;
		usleep(100);
	}
}

static bool waits(const struct toucher *toucher)
{
	uint64_t since = toucher->since;

	return since && now_ns() - since > LONG_WAIT / 4;
}

/* Kills the victim when it and the witness have waited for a while; the witness goes on to wait. */
static struct reaction measure_kill(const struct view *view)
{
	pid_t victim = fork_toucher(view, &busy->victim);
	pid_t witness = fork_toucher(view, &busy->witness);
	uint64_t from, late;
	bool over;

	while (!busy->over && !(waits(&busy->victim) && waits(&busy->witness)))
		usleep(500);
	over = busy->over;
	from = now_ns();
	kill_child(victim);
	late = now_ns() - from;
	/* The process that keeps the object locked gets no processor now: the witness waits on. */
	while (now_ns() - from < 5 * LONG_WAIT)
		;
	igt_waitchildren();
	kill_child(witness);
	if (over || busy->witness.free <= from)
		return (struct reaction){ 0 };
	return (struct reaction){ busy->witness.free - from, late };
}

/**
 * SUBTEST: kill
 * Description: A process that is killed while its fault waits for an object is gone before the
 *              object is free.
 */
static void test_kill(const struct target *target)
{
	check_reaction(target, measure_kill, 50, "a killed process was still there");
}

static const struct subtest subtests[] = {
	{ "handlers", "Handlers run while a fault waits", .test = test_handlers },
	{ "kill", "Killed while a fault waits", .test = test_kill },
};

int igt_main()
{
	igt_fixture() {
		cpu_set_t set;

		require_swap_out();
		/*
		 * On one processor: a task that waits for a lock whose owner runs on another one
		 * spins, and looks for no signals.
		 */
		CPU_ZERO(&set);
		CPU_SET(sched_getcpu(), &set);
		igt_assert_eq(sched_setaffinity(0, sizeof(set), &set), 0);
		busy = mmap(NULL, sizeof(*busy), PROT_READ | PROT_WRITE,
			    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
		igt_assert(busy != MAP_FAILED);
	}
	run_test(subtests);
}
