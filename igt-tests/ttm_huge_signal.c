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
#define _GNU_SOURCE
#include <sched.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "ttm_huge.h"

IGT_TEST_DESCRIPTION("Signals to a task that waits in a fault on a TTM buffer object");

#define MAX_SIZE	(256 * MiB)
#define MIN_SIZE	(16 * MiB)
#define MAX_VRAM	(256 * MiB)	/* more takes too long to fill */
#define MS		UINT64_C(1000000)
#define TICK		(1 * MS)
#define LONG_WAIT	(20 * TICK)
/* How long a wait is, and who gets a processor, depends on what else the machine does. */
#define ATTEMPTS	8

static uint64_t now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * UINT64_C(1000000000) + ts.tv_nsec;
}

/*
 * What keeps an object locked for long is to get cleared memory for it, at its first fault, and
 * to copy it, when it is evicted from VRAM. Another process has that done to an object that is
 * as large as there is room for.
 */
struct busy {
	volatile bool begun, over;
	/* Two more processes touch the object. */
	struct toucher {
		volatile uint64_t since;	/* in the access that it is at */
		volatile uint64_t free;		/* until when it had to wait */
	} victim, witness;
};

static uint64_t large_size(const struct target *target)
{
	uint64_t size = MAX_SIZE, most = bo_max_size(target->fd, target->placement) / 2;

	if (size > most)
		size = most;
	if (target->placement == BO_VRAM) {
		most = bo_vram_size(target->fd);
		igt_require_f(most <= MAX_VRAM, "%s: %" PRIu64 " MiB of VRAM take too long to fill\n",
			      target->name, most / MiB);
		if (size > most / 2)
			size = most / 2;
	}
	size &= ~(BO_PMD_SIZE - 1);
	igt_require_f(size >= MIN_SIZE, "%s: objects of %" PRIu64 " MiB are never busy for long\n",
		      target->name, size / MiB);
	return size;
}

/*
 * On one processor: a task that waits for a lock whose owner runs on another one spins, and looks
 * for no signals.
 */
static void share_a_processor(void)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(sched_getcpu(), &set);
	igt_assert_eq(sched_setaffinity(0, sizeof(set), &set), 0);
}

static struct busy *busy_new(void)
{
	struct busy *busy = mmap(NULL, sizeof(*busy), PROT_READ | PROT_WRITE,
				 MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	igt_assert(busy != MAP_FAILED);
	return busy;
}

/* Begins to keep the object of @view locked, in another process. */
static void keep_busy(const struct view *view, struct busy *busy)
{
	*busy = (struct busy){ 0 };
	/* Memory that is at hand is had too soon. */
	empty_page_pool();
	if (view->target->placement == BO_VRAM)
		fill(view, BO_EVERY_PAGE, 1);

	igt_fork(child, 1) {
		busy->begun = true;
		if (view->target->placement == BO_VRAM)
			igt_assert_eq(bo_evict(view->bo), 0);
		else
			(void)*(volatile char *)view->addr;
		busy->over = true;
	}
	while (!busy->begun)
		usleep(100);
	/* Or this process would be the first to touch it. */
	if (view->target->placement == BO_SYSTEM)
		usleep(5000);
}

static void end_busy(const struct view *view)
{
	igt_waitchildren();
	if (view->target->placement == BO_VRAM)
		assert_contents(view, BO_EVERY_PAGE, 1);
}

/*
 * The handler notes when it runs.
 */

static uint64_t ticks[4096];
static volatile unsigned int tick_count;

static void note_tick(int sig)
{
	(void)sig;
	if (tick_count < ARRAY_SIZE(ticks))
		ticks[tick_count++] = now();
}

static timer_t start_ticks(void)
{
	struct sigevent event = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1 };
	struct sigaction action = { .sa_handler = note_tick };
	const struct itimerspec spec = {
		.it_value.tv_nsec = TICK,
		.it_interval.tv_nsec = TICK,
	};
	timer_t timer;

	igt_assert_eq(sigaction(SIGUSR1, &action, NULL), 0);
	igt_assert_eq(timer_create(CLOCK_MONOTONIC, &event, &timer), 0);
	igt_assert_eq(timer_settime(timer, 0, &spec, NULL), 0);
	return timer;
}

/* The longest time without a tick in [from, to]. */
static uint64_t longest_gap(uint64_t from, uint64_t to)
{
	uint64_t last = from, gap = 0;

	for (unsigned int i = 0; i < tick_count; i++) {
		if (ticks[i] <= from || ticks[i] >= to)
			continue;
		if (ticks[i] - last > gap)
			gap = ticks[i] - last;
		last = ticks[i];
	}
	return to - last > gap ? to - last : gap;
}

/**
 * SUBTEST: handlers
 * Description: While a fault waits for an object that another process fills or moves, signal handlers
 *              run when the signals come. The access then completes with the right contents.
 */
static void test_handlers(const struct target *target)
{
	const uint64_t size = large_size(target);
	struct busy *busy = busy_new();
	uint64_t longest = 0, gap = 0;
	bool good = false;

	for (int i = 0; i < ATTEMPTS && !good; i++) {
		struct bo bo = target_bo(target, size);
		struct view view = map_whole(target, &bo, PROT_READ | PROT_WRITE);
		timer_t timer;

		keep_busy(&view, busy);
		timer = start_ticks();
		for (longest = 0; !busy->over;) {
			uint64_t from, to;

			tick_count = 0;
			from = now();
			(void)*(volatile char *)view.addr;
			to = now();
			if (to - from > longest) {
				longest = to - from;
				gap = longest_gap(from, to);
			}
		}
		timer_delete(timer);
		end_busy(&view);
		good = longest >= LONG_WAIT && gap < longest / 4 * 3;
		unmap(&view);
		bo_destroy(&bo);
	}
	munmap(busy, sizeof(*busy));
	igt_require_f(longest >= LONG_WAIT,
		      "%s: object of %" PRIu64 " MiB: no fault had to wait for more than %" PRIu64
		      " ms\n", target->name, size / MiB, longest / MS);
	igt_assert_f(good,
		     "%s: object of %" PRIu64 " MiB: for %" PRIu64 " ms of a fault that took %" PRIu64
		     " ms no handler ran, with a signal each %" PRIu64 " ms\n", target->name,
		     size / MiB, gap / MS, longest / MS, TICK / MS);
	assert_no_kernel_warning(target);
}

/* Touches the object again and again, and says when it waits. */
static pid_t fork_toucher(const struct view *view, struct toucher *toucher)
{
	pid_t pid = fork();

	igt_assert(pid >= 0);
	if (pid)
		return pid;
	for (;;) {
		toucher->since = now();
		(void)*(volatile char *)view->addr;
		if (now() - toucher->since > LONG_WAIT)
			toucher->free = now();
	}
}

static void kill_toucher(pid_t pid)
{
	int status;

	kill(pid, SIGKILL);
	igt_assert(waitpid(pid, &status, 0) == pid);
	igt_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

/*
 * Kills the victim when it and the witness have waited for a while. Returns how long the witness
 * still had to wait, 0 if it had not, and for how much of that the victim was still there.
 */
static uint64_t kill_waiting(const struct view *view, struct busy *busy, uint64_t *there)
{
	pid_t victim = fork_toucher(view, &busy->victim);
	pid_t witness = fork_toucher(view, &busy->witness);
	uint64_t from = 0, gone = 0;

	while (!busy->over && !gone) {
		from = now();
		if (busy->victim.since && from - busy->victim.since > LONG_WAIT / 4 &&
		    busy->witness.since && from - busy->witness.since > LONG_WAIT / 4) {
			kill_toucher(victim);
			gone = now();
		} else {
			usleep(500);
		}
	}
	if (!gone)
		kill_toucher(victim);
	end_busy(view);
	kill_toucher(witness);
	*there = gone - from;
	return gone && busy->witness.free > from ? busy->witness.free - from : 0;
}

/**
 * SUBTEST: kill
 * Description: A process that is killed while its fault waits for an object is gone before the object
 *              is free.
 */
static void test_kill(const struct target *target)
{
	const uint64_t size = large_size(target);
	struct busy *busy = busy_new();
	int waits = 0;
	bool early = false;

	for (int i = 0; i < ATTEMPTS && !early; i++) {
		struct bo bo = target_bo(target, size);
		struct view view = map_whole(target, &bo, PROT_READ | PROT_WRITE);
		uint64_t there, wait;

		keep_busy(&view, busy);
		wait = kill_waiting(&view, busy, &there);
		waits += !!wait;
		early = there < wait / 2;
		unmap(&view);
		bo_destroy(&bo);
	}
	munmap(busy, sizeof(*busy));
	igt_require_f(waits, "%s: object of %" PRIu64 " MiB: no fault had to wait for more than "
		      "%" PRIu64 " ms\n", target->name, size / MiB, LONG_WAIT / MS);
	igt_assert_f(early, "%s: object of %" PRIu64 " MiB: a killed process was there until the "
		     "object was free, %d times\n", target->name, size / MiB, waits);
	assert_no_kernel_warning(target);
}

int igt_main()
{
	struct target *target;

	igt_fixture() {
		ttm_huge_init();
		require_swap_out();
		share_a_processor();
	}

	igt_describe("Handlers run while a fault waits");
	igt_subtest_with_dynamic("handlers")
		igt_dynamic_targets(target)
			test_handlers(target);

	igt_describe("Killed while a fault waits");
	igt_subtest_with_dynamic("kill")
		igt_dynamic_targets(target)
			test_kill(target);

	igt_fixture()
		ttm_huge_fini();
}
