// SPDX-License-Identifier: MIT
/**
 * TEST: ttm huge suspend
 * Category: Core
 * Mega feature: General Core features
 * Sub-category: Memory management tests
 * Functionality: suspend
 * Description: Objects that are mapped while their device is suspended are evicted from VRAM, lose
 *              their entries, and have their contents when it is resumed.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include <linux/perf_event.h>

#include "ttm_huge.h"

IGT_TEST_DESCRIPTION("Mappings of TTM buffer objects across suspend and resume");

#define SMALL		(6 * MiB + 4 * KiB)

#define CALLBACK_END	"/sys/kernel/tracing/events/power/device_pm_callback_end/id"
#define STATE		"/sys/power/state"
#define WAKEUP_COUNT	"/sys/power/wakeup_count"

/*
 * The guest's file system on the host (virtio-9p) does not survive a suspend: its driver cannot
 * restore it. So the devices are suspended one after the other, the last one that the kernel
 * has found first, and right after the card there is a wakeup event, on which the kernel
 * resumes what it has suspended until then. What the drivers of the cards see is a suspend and
 * a resume. The event is the tracepoint that says that a callback of the card has ended.
 */

/* In this order; the phases between suspend and resume are not reached. */
enum {
	PREPARE = 1,
	SUSPEND,
	RESUME,
	COMPLETE,
};

static int read_number(const char *path)
{
	FILE *f = fopen(path, "re");
	int number = -1;

	if (f) {
		if (fscanf(f, "%d", &number) != 1)
			number = -1;
		fclose(f);
	}
	return number;
}

struct wakeup {
	int perf, epoll;
	void *buffer;
	size_t size;
};

/* Once it is armed, the end of the suspend callback of @device, by this task, is a wakeup event. */
static void arm_wakeup(struct wakeup *wakeup, const char *device)
{
	struct perf_event_attr attr = {
		.type = PERF_TYPE_TRACEPOINT,
		.size = sizeof(attr),
		.config = read_number(CALLBACK_END),
		.sample_period = 1,
		.wakeup_events = SUSPEND,
	};
	struct epoll_event event = { .events = EPOLLIN | EPOLLWAKEUP };
	char filter[128];

	wakeup->perf = syscall(SYS_perf_event_open, &attr, 0, -1, -1, PERF_FLAG_FD_CLOEXEC);
	igt_require_f(wakeup->perf >= 0, "no perf event for a tracepoint: %s\n", strerror(errno));
	snprintf(filter, sizeof(filter), "device == \"%s\"", device);
	igt_assert_eq(ioctl(wakeup->perf, PERF_EVENT_IOC_SET_FILTER, filter), 0);
	/* Who has no buffer is not woken up. */
	wakeup->size = 2 * getpagesize();
	wakeup->buffer = mmap(NULL, wakeup->size, PROT_READ | PROT_WRITE, MAP_SHARED, wakeup->perf, 0);
	igt_assert(wakeup->buffer != MAP_FAILED);

	wakeup->epoll = epoll_create1(EPOLL_CLOEXEC);
	igt_assert_fd(wakeup->epoll);
	igt_assert_eq(epoll_ctl(wakeup->epoll, EPOLL_CTL_ADD, wakeup->perf, &event), 0);
}

/* Returns how many callbacks there were. */
static uint64_t disarm_wakeup(struct wakeup *wakeup)
{
	uint64_t count = 0;

	igt_assert(read(wakeup->perf, &count, sizeof(count)) == sizeof(count));
	close(wakeup->epoll);
	munmap(wakeup->buffer, wakeup->size);
	close(wakeup->perf);
	return count;
}

static void suspend_and_resume(const struct target *target)
{
	char path[256], count[32];
	struct wakeup wakeup;
	uint64_t callbacks;
	int ret;

	igt_assert_eq(bo_device(target->fd, path, sizeof(path)), 0);
	set_knob("/sys/power/pm_async", "0");
	/* Should there be no wakeup, it ends here. */
	set_knob("/sys/power/pm_test", "devices");
	set_knob("/sys/module/suspend/parameters/pm_test_delay", "0");

	/* From now on any wakeup event keeps the system from being suspended. */
	snprintf(count, sizeof(count), "%d", read_number(WAKEUP_COUNT));
	arm_wakeup(&wakeup, strrchr(path, '/') + 1);
	igt_assert_eq(write_value(WAKEUP_COUNT, count), 0);
	ret = write_value(STATE, "freeze");
	callbacks = disarm_wakeup(&wakeup);
	restore_knobs();

	igt_assert_f(ret == -EBUSY, "%s: suspending says %s, expected EBUSY after %s\n",
		     target->name, strerror(-ret), path);
	igt_assert_f(callbacks == COMPLETE, "%s: %" PRIu64 " callbacks of %s, expected %d\n",
		     target->name, callbacks, path, COMPLETE);
}

/**
 * SUBTEST: mapped
 * Description: After a suspend, nothing of an object that was in VRAM is mapped, in this process and in
 *              its child, and all of one that was in system memory. Both have their contents, in the
 *              largest entries that system memory has.
 */
static void test_mapped(const struct target *target)
{
	const bool vram = target->placement == BO_VRAM;
	struct bo bo = target_bo(target, size_of_all_levels(target));
	struct view view = map_filled(target, &bo, 1), small = map_4k(target, &bo);
	struct handshake hs;

	touch(&small, false);
	handshake_open(&hs);
	igt_fork(child, 1) {
		handshake_take(&hs, CHILD);
		assert_levels(&view, HUGE_PUD);
		handshake_tell(&hs);
		handshake_wait(&hs);
		if (vram)
			assert_unmapped(&view);
		else
			assert_levels(&view, HUGE_PUD);
		assert_contents(&view, view_step(&view), 1);
		handshake_close(&hs);
	}
	handshake_take(&hs, PARENT);
	handshake_wait(&hs);
	suspend_and_resume(target);
	if (vram) {
		assert_unmapped(&view);
		assert_unmapped(&small);
		assert_where(target, &bo, BO_SYSTEM);
	} else {
		assert_levels(&view, HUGE_PUD);
	}
	handshake_finish(&hs);

	assert_contents(&view, view_step(&view), 1);
	touch(&view, true);
	assert_levels(&view, HUGE_PMD);
	fill(&view, view_step(&view), 2);
	assert_contents(&small, view_step(&view), 2);
	assert_no_kernel_warning(target);
}

/**
 * SUBTEST: parts
 * Description: What is left of a mapping that was taken apart before the suspend is as good as a whole
 *              one afterwards.
 */
static void test_parts(const struct target *target)
{
	struct bo bo = target_bo(target, SMALL);
	struct view view = map_filled(target, &bo, 1), left, right;
	const uint64_t cut = view.length / 2 / BO_PMD_SIZE * BO_PMD_SIZE + 5 * BO_PTE_SIZE;

	igt_assert_eq(munmap(view.addr + cut, BO_PTE_SIZE), 0);
	left = sub_view(&view, 0, cut);
	right = sub_view(&view, cut + BO_PTE_SIZE, view.length - cut - BO_PTE_SIZE);
	suspend_and_resume(target);
	assert_contents(&left, view_step(&view), 1);
	assert_contents(&right, view_step(&view), 1);
	touch(&left, true);
	touch(&right, true);
	assert_levels(&left, HUGE_PMD);
	assert_levels(&right, HUGE_PMD);
	assert_no_kernel_warning(target);
}

/**
 * SUBTEST: return
 * Description: An object that returns to VRAM after a suspend gets its old levels back, again and again.
 */
static void test_return(const struct target *target)
{
	struct bo bo = target_bo(target, SMALL);
	struct view view = map_filled(target, &bo, 1);

	for (int i = 0; i < 2; i++) {
		suspend_and_resume(target);
		return_to_vram(&view);
		assert_contents(&view, view_step(&view), 1);
		touch(&view, false);
		assert_levels(&view, HUGE_PUD);
	}
	assert_no_kernel_warning(target);
}

/**
 * SUBTEST: new
 * Description: Objects that are made and mapped for the first time after a suspend get huge entries,
 *              and the driver reads in them what the mapping wrote.
 */
static void test_new(const struct target *target)
{
	struct view view;
	struct bo bo;

	suspend_and_resume(target);
	bo = target_bo(target, SMALL);
	assert_where(target, &bo, target->placement);
	view = map_filled(target, &bo, 1);
	assert_contents(&view, view_step(&view), 1);
	assert_contents_read(target, &bo, view_step(&view), 1);
	assert_no_kernel_warning(target);
}

/**
 * SUBTEST: unplug
 * Description: Nothing of what the device was at work on before a suspend is left when it is unplugged
 *              afterwards.
 */
static void test_unplug(struct target *target)
{
	struct pci_address device = pci_address(target);
	struct bo bo = target_bo(target, SMALL);

	/* qxl then makes a surface of it, for which the device has two releases in the end. */
	bo_hold(&bo);
	bo_destroy(&bo);
	suspend_and_resume(target);
	unplug(&device);
	plug_in(target, &device);
	assert_no_kernel_warning(target);
}

int igt_main()
{
	static const struct {
		const char *name, *description;
		bool vram_only;
		void (*test)(const struct target *target);
	} tests[] = {
		{ "mapped", "Entries go, contents stay", false, test_mapped },
		{ "parts", "Of a mapping that was taken apart", false, test_parts },
		{ "return", "Back to VRAM after a suspend", true, test_return },
		{ "new", "Objects made after a suspend", false, test_new },
	};
	struct target *target;

	igt_fixture() {
		ttm_huge_init();
		igt_require_f(!access(STATE, W_OK) && !access("/sys/power/pm_test", W_OK) &&
			      read_number(CALLBACK_END) >= 0,
			      "CONFIG_SUSPEND, CONFIG_PM_DEBUG and CONFIG_FTRACE are needed\n");
	}

	for (size_t i = 0; i < ARRAY_SIZE(tests); i++) {
		igt_describe(tests[i].description);
		igt_subtest_with_dynamic(tests[i].name)
			igt_dynamic_targets_if(target, !tests[i].vram_only || target->placement == BO_VRAM)
				tests[i].test(target);
	}

	igt_describe("Unplugged after a suspend");
	igt_subtest_with_dynamic("unplug")
		igt_dynamic_targets(target)
			test_unplug(target);

	igt_fixture()
		ttm_huge_fini();
}
