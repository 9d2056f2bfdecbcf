// SPDX-License-Identifier: MIT
/**
 * TEST: ttm huge vttm busy
 * Category: Core
 * Mega feature: General Core features
 * Sub-category: Memory management tests
 * Functionality: mmap
 * Description: Faults on objects that are in use for a while.
 */
#include <pthread.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include "vttm_ops.h"

IGT_TEST_DESCRIPTION("Huge page-table entries for objects in use");

#define JIFFY_MS	10	/* a timer may be early by as much */

static int64_t now_ms(void)
{
	return now_ns() / 1000000;
}

/* From now on, which is returned. */
static int64_t busy(const struct view *view, unsigned int ms)
{
	int64_t start = now_ms();
	int ret = vttm_busy(view->bo, ms);

	view_assert(view, !ret, "it cannot be busy for %u ms: %s", ms, strerror(-ret));
	return start;
}

static void assert_took(const struct view *view, const char *what, int ms, int least, int most)
{
	view_assert(view, ms >= least && ms <= most, "%s took %d ms, expected %d to %d ms", what,
		    ms, least, most);
}

static void read_byte(const struct view *view)
{
	(void)*(volatile char *)view->addr;
}

/* A new mapping, without any entry. */
static void map_anew(struct view *view)
{
	unmap(view);
	*view = map_whole(view->target, view->bo, PROT_READ | PROT_WRITE);
}

/* Of an object with entries of 2 MiB and contents 1 */
static struct view busy_view(const struct target *target)
{
	const uint64_t size = 2 * BO_PMD_SIZE;
	struct view view;

	require_room(target, size);
	view = vttm_new_view(target, .size = size, .domains = ANY);
	fill(&view, BO_EVERY_PAGE, 1);
	map_anew(&view);
	return view;
}

/**
 * SUBTEST: busy
 * Description: Faults and moves wait for an object that is in use, and do what they would have done
 *              then. What is mapped already can be used meanwhile.
 */
static void test_busy(const struct target *target)
{
	const int64_t ms = 300;
	struct view view = busy_view(target);
	struct bo bo = *view.bo;
	int64_t start = busy(&view, ms);

	read_byte(&view);
	assert_took(&view, "a fault", now_ms() - start, ms - JIFFY_MS, INT32_MAX);
	assert_entries_of_all(&view, HUGE_PUD);
	assert_contents(&view, BO_EVERY_PAGE, 1);

	start = busy(&view, 10000);
	touch(&view, false);
	assert_took(&view, "an access", now_ms() - start, 0, 9000);
	bo_destroy(&bo);
	unmap(&view);

	view = busy_view(target);
	start = busy(&view, ms);
	move_to(&view, SYSTEM);
	assert_took(&view, "a move", now_ms() - start, ms - JIFFY_MS, INT32_MAX);
	assert_contents(&view, BO_EVERY_PAGE, 1);
}

static int64_t fault_ended;

static void *wait_in_fault(void *view)
{
	read_byte(view);
	fault_ended = now_ms();
	return NULL;
}

/**
 * SUBTEST: busy-unlocked
 * Description: While a fault waits, its VMA can be changed and others mapped: no lock is held.
 */
static void test_busy_unlocked(const struct target *target)
{
	struct view view = busy_view(target);
	int64_t start = busy(&view, 3000), ended;
	pthread_t thread;

	igt_assert_eq(pthread_create(&thread, NULL, wait_in_fault, &view), 0);
	usleep(200 * 1000);
	igt_assert_eq(mprotect(view.addr + BO_PMD_SIZE, BO_PMD_SIZE, PROT_READ), 0);
	igt_assert_eq(munmap(view.addr + BO_PMD_SIZE + BO_PTE_SIZE, BO_PTE_SIZE), 0);
	ended = now_ms();
	pthread_join(thread, NULL);
	assert_took(&view, "mprotect() and munmap() beside the fault", ended - start, 0, 2000);
	assert_took(&view, "the fault", fault_ended - start, 3000 - JIFFY_MS, INT32_MAX);
	assert_level(&view, 0, BO_PMD_SIZE, BO_PMD);
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
	signalled = 0;
	set_alarm(ms * UINT64_C(1000000), 0, note_signal);
}

/**
 * SUBTEST: busy-signal
 * Description: A signal interrupts the wait of a fault, which goes on after the handler, and that
 *              of a move, which fails with EINTR. SIGKILL ends a process that waits at once.
 */
static void test_busy_signal(const struct target *target)
{
	struct view view = busy_view(target);
	struct drm_vttm_move args = { .handle = view.bo->handle, .domain = SYSTEM };
	int64_t start = busy(&view, 3000);
	pid_t pid;
	int ret;

	signal_in(200);
	read_byte(&view);
	view_assert(&view, signalled, "no signal came");
	assert_took(&view, "a signal for a fault", signalled - start, 0, 2000);
	assert_took(&view, "the fault", now_ms() - start, 3000 - JIFFY_MS, INT32_MAX);
	assert_contents(&view, BO_EVERY_PAGE, 1);

	start = busy(&view, 3000);
	signal_in(200);
	ret = ioctl(target->fd, DRM_IOCTL_VTTM_MOVE, &args) ? errno : 0;
	view_assert(&view, ret == EINTR, "a move that a signal interrupts: %s", strerror(ret));
	assert_took(&view, "a signal for a move", now_ms() - start, 0, 2000);
	assert_domain(&view, VRAM);
	signal(SIGALRM, SIG_DFL);

	map_anew(&view);
	start = busy(&view, 10000);
	pid = fork();
	igt_assert(pid >= 0);
	if (!pid) {
		read_byte(&view);
		_exit(0);
	}
	usleep(200 * 1000);
	kill_child(pid);
	assert_took(&view, "the end of a killed process", now_ms() - start, 0, 8000);
}

/**
 * SUBTEST: busy-kernel
 * Description: A fault of the kernel, which copies to and from a mapping, waits with no way out for
 *              signals, keeps its locks when it is tried again, and finds the right page.
 */
static void test_busy_kernel(const struct target *target)
{
	struct view view = busy_view(target);
	int64_t start, ms = 500;
	uint64_t word = 0;
	int fd[2];

	igt_assert_eq(pipe(fd), 0);
	start = busy(&view, ms);
	signal_in(100);
	igt_assert_eq(signal_of_kernel_copy(fd, &word, (uint64_t *)view.addr), 0);
	assert_took(&view, "a write() from a mapping", now_ms() - start, ms - JIFFY_MS, INT32_MAX);
	igt_assert(signalled);
	igt_assert_eq_u64(word, bo_pattern(1, 0));

	map_anew(&view);
	word = 42;
	start = busy(&view, ms);
	signal_in(100);
	igt_assert_eq(signal_of_kernel_copy(fd, (uint64_t *)view.addr, &word), 0);
	assert_took(&view, "a read() to a mapping", now_ms() - start, ms - JIFFY_MS, INT32_MAX);
	igt_assert_eq_u64(*(volatile uint64_t *)view.addr, word);
	signal(SIGALRM, SIG_DFL);
	close(fd[0]);
	close(fd[1]);
}

static volatile bool stop;
static unsigned long holds;

static void *hold_until_stop(void *bo)
{
	for (holds = 0; !stop && !vttm_busy(bo, 1 + holds % 20);)
		holds++;
	return NULL;
}

/**
 * SUBTEST: busy-again
 * Description: Faults while the object is made busy over and over, so that it often is again when
 *              a fault is tried for the second time, then with its locks held.
 */
static void test_busy_again(const struct target *target)
{
	struct view view = busy_view(target);
	struct bo bo = *view.bo;
	int64_t end = now_ms() + 2000, wrong = -1;
	pthread_t thread;
	int rounds = 0;

	stop = false;
	igt_assert_eq(pthread_create(&thread, NULL, hold_until_stop, &bo), 0);
	for (; now_ms() < end && wrong < 0; rounds++) {
		struct view fresh = map_part(target, view.bo, 0, NULL, view.length, PROT_READ, 0);

		wrong = bo_check(fresh.addr, 0, view.length, BO_EVERY_BLOCK, 1);
		unmap(&fresh);
	}
	stop = true;
	pthread_join(thread, NULL);
	view_assert_at(&view, wrong, wrong < 0, "wrong contents in round %d", rounds);
	view_assert(&view, rounds > 1 && holds > 10, "%d rounds, busy %lu times", rounds, holds);
}

/**
 * SUBTEST: unplug-busy
 * Description: A fault that waits for a busy object goes on when the device is unplugged.
 */
static void test_unplug_busy(const struct target *target)
{
	struct pci_address device = pci_address(target);
	struct view view = busy_view(target);
	int64_t start = busy(&view, 10000);

	igt_fork(child, 1)
		read_byte(&view);
	usleep(200 * 1000);
	unplug(&device);
	igt_waitchildren();
	assert_took(&view, "a fault on a device that is gone", now_ms() - start, 0, 8000);
	unmap(&view);
	plug_in(target, &device);
}

static const struct subtest subtests[] = {
	{ "busy", "Faults and moves wait", test_busy, .on = is_vttm },
	{ "busy-unlocked", "Faults wait without locks", test_busy_unlocked, .on = is_vttm },
	{ "busy-signal", "Signals interrupt the wait", test_busy_signal, .on = is_vttm },
	{ "busy-kernel", "Faults of the kernel wait", test_busy_kernel, .on = is_vttm },
	{ "busy-again", "Faults wait again and again", test_busy_again, .on = is_vttm },
	{ "unplug-busy", "The device goes while a fault waits", test_unplug_busy, .on = is_vttm },
};

int igt_main()
{
	run_test(subtests);
}
