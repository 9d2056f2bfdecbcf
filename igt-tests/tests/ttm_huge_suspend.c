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
#define _GNU_SOURCE 1
#include <errno.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include <linux/perf_event.h>

#include "vma_ops.h"

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
 * a resume. The event is the tracepoint that says that a callback of the card has ended. These
 * are the callbacks, in order; the phases between suspend and resume are not reached.
 */
enum { PREPARE = 1, SUSPEND, RESUME, COMPLETE };

/* Counts the callbacks of @device in this task; the end of the suspend callback wakes up. */
static int count_callbacks(const char *device, void **buffer)
{
	struct perf_event_attr attr = {
		.type = PERF_TYPE_TRACEPOINT, .size = sizeof(attr),
		.sample_period = 1, .wakeup_events = SUSPEND,
	};
	char id[32], filter[128];
	int perf;

	igt_assert(read_value(CALLBACK_END, id, sizeof(id)));
	attr.config = strtoull(id, NULL, 10);
	perf = syscall(SYS_perf_event_open, &attr, 0, -1, -1, PERF_FLAG_FD_CLOEXEC);
	igt_require_f(perf >= 0, "no perf event for a tracepoint: %s\n", strerror(errno));
	snprintf(filter, sizeof(filter), "device == \"%s\"", device);
	igt_assert_eq(ioctl(perf, PERF_EVENT_IOC_SET_FILTER, filter), 0);
	/* Who has no buffer is not woken up. */
	*buffer = mmap(NULL, 2 * BO_PTE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, perf, 0);
	igt_assert(*buffer != MAP_FAILED);
	return perf;
}

static void suspend_and_resume(const struct target *target)
{
	struct epoll_event event = { .events = EPOLLIN | EPOLLWAKEUP };
	char path[256], count[32];
	uint64_t callbacks = 0;
	int ret, perf, epoll;
	void *buffer;

	igt_assert_eq(bo_device(target->fd, path, sizeof(path)), 0);
	set_knob("/sys/power/pm_async", "0");
	/* Should there be no wakeup, it ends here. */
	set_knob("/sys/power/pm_test", "devices");
	set_knob("/sys/module/suspend/parameters/pm_test_delay", "0");
	/* From now on any wakeup event keeps the system from being suspended. */
	igt_assert(read_value(WAKEUP_COUNT, count, sizeof(count)));
	perf = count_callbacks(strrchr(path, '/') + 1, &buffer);
	epoll = epoll_create1(EPOLL_CLOEXEC);
	igt_assert_fd(epoll);
	igt_assert_eq(epoll_ctl(epoll, EPOLL_CTL_ADD, perf, &event), 0);
	igt_assert_eq(write_value(WAKEUP_COUNT, count), 0);
	ret = write_value(STATE, "freeze");
	igt_assert(read(perf, &callbacks, sizeof(callbacks)) == sizeof(callbacks));
	close(epoll);
	munmap(buffer, 2 * BO_PTE_SIZE);
	close(perf);
	restore_knobs();

	target_assert(target, ret == -EBUSY, "suspending says %s, expected EBUSY after %s",
		      strerror(-ret), path);
	target_assert(target, callbacks == COMPLETE, "%" PRIu64 " callbacks of %s, expected %d",
		      callbacks, path, COMPLETE);
}

static void assert_suspended(const struct view *view, const struct view *small)
{
	if (on_vram(view->target)) {
		assert_unmapped(view);
		assert_unmapped(small);
		assert_where(view->target, view->bo, BO_SYSTEM);
	} else {
		assert_levels(view, HUGE_PUD);
	}
	assert_contents(view, view_step(view), 1);
}

/**
 * SUBTEST: mapped
 * Description: After a suspend, nothing of an object that was in VRAM is mapped, in this process
 *              and in its child, and all of one that was in system memory. Both have their
 *              contents, in the largest entries that system memory has.
 */
static void test_mapped(const struct target *target)
{
	struct view view = new_filled(target, size_of_all_levels(target), 1);
	struct view small = map_4k(target, view.bo);
	struct turns turns;

	touch(&small, false);
	in_child(&turns) {
		assert_levels(&view, HUGE_PUD);
		next_turn(&turns);
		assert_suspended(&view, &small);
	}
	suspend_and_resume(target);
	assert_suspended(&view, &small);
	last_turn(&turns);
	touch(&view, true);
	assert_levels(&view, HUGE_PMD);
	fill(&view, view_step(&view), 2);
	assert_contents(&small, view_step(&view), 2);
}

/**
 * SUBTEST: parts
 * Description: What is left of a mapping that was taken apart before the suspend is as good as a
 *              whole one afterwards.
 */
static void test_parts(const struct target *target)
{
	struct view view = new_filled(target, SMALL, 1);
	const uint64_t middle = view.length / 2 / BO_PMD_SIZE * BO_PMD_SIZE + 5 * BO_PTE_SIZE;
	struct pieces p = cut_out(&view, (struct part){ middle, BO_PTE_SIZE });
	const struct view *sides[] = { &p.left, &p.right };

	unmap(&p.part);
	suspend_and_resume(target);
	for (size_t i = 0; i < ARRAY_SIZE(sides); i++) {
		assert_contents(sides[i], view_step(&view), 1);
		touch(sides[i], true);
		assert_levels(sides[i], HUGE_PMD);
	}
}

/**
 * SUBTEST: return
 * Description: An object that returns to VRAM after a suspend gets its old levels back, again and
 *              again.
 */
static void test_return(const struct target *target)
{
	struct view view = new_filled(target, SMALL, 1);

	for (int i = 0; i < 2; i++) {
		suspend_and_resume(target);
		return_to_vram(&view);
		assert_contents(&view, view_step(&view), 1);
		touch(&view, false);
		assert_levels(&view, HUGE_PUD);
	}
}

/**
 * SUBTEST: new
 * Description: Objects that are made and mapped for the first time after a suspend get huge
 *              entries, and the driver reads in them what the mapping wrote.
 */
static void test_new(const struct target *target)
{
	const struct bo *bo;
	struct view view;

	suspend_and_resume(target);
	bo = target_new_bo(target, SMALL);
	assert_where(target, bo, target->placement);
	view = map_filled(target, bo, 1);
	assert_contents(&view, view_step(&view), 1);
	assert_contents_read(target, bo, view_step(&view), 1);
}

/**
 * SUBTEST: unplug
 * Description: Nothing of what the device was at work on before a suspend is left when it is
 *              unplugged afterwards.
 */
static void test_unplug(const struct target *target)
{
	struct pci_address device = pci_address(target);
	struct bo bo = target_bo(target, SMALL);

	/* qxl then makes a surface of it, for which the device has two releases in the end. */
	bo_hold(&bo);
	bo_destroy(&bo);
	suspend_and_resume(target);
	unplug(&device);
	plug_in(target, &device);
}

static const struct subtest subtests[] = {
	{ "mapped", "Entries go, contents stay", .test = test_mapped },
	{ "parts", "Of a mapping that was taken apart", .test = test_parts },
	{ "return", "Back to VRAM after a suspend", .test = test_return, .on = on_vram },
	{ "new", "Objects made after a suspend", .test = test_new },
	{ "unplug", "Unplugged after a suspend", .test = test_unplug },
};

int igt_main()
{
	igt_fixture()
		igt_require_f(!access(STATE, W_OK) && !access("/sys/power/pm_test", W_OK) &&
			      !access(CALLBACK_END, R_OK),
			      "CONFIG_SUSPEND, CONFIG_PM_DEBUG and CONFIG_FTRACE are needed\n");
	run_test(subtests);
}
