// SPDX-License-Identifier: MIT
/**
 * TEST: ttm huge vttm args
 * Category: Core
 * Mega feature: General Core features
 * Sub-category: Memory management tests
 * Functionality: mmap
 * Description: What vttm's ioctls refuse.
 */
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "vttm_ops.h"

IGT_TEST_DESCRIPTION("Arguments of vttm's ioctls");

struct bad_call {
	int error;
	const char *what;
	unsigned long request;
	void *arg;
};

#define BAD(error, call, ...)							\
	{ error, #call " " #__VA_ARGS__, REQUEST_##call,			\
	  &(struct drm_vttm_##call){ __VA_ARGS__ } }
#define REQUEST_heap		DRM_IOCTL_VTTM_HEAP
#define REQUEST_create		DRM_IOCTL_VTTM_CREATE
#define REQUEST_mmap_offset	DRM_IOCTL_VTTM_MMAP_OFFSET
#define REQUEST_move		DRM_IOCTL_VTTM_MOVE
#define REQUEST_evict_all	DRM_IOCTL_VTTM_EVICT_ALL
#define REQUEST_query		DRM_IOCTL_VTTM_QUERY
#define REQUEST_busy		DRM_IOCTL_VTTM_BUSY
#define REQUEST_dirty		DRM_IOCTL_VTTM_DIRTY
#define READ			DRM_VTTM_DIRTY_READ

/* Nothing has to leave VRAM meanwhile, not even for what does not fit anyway. */
static void assert_refused(const struct view *view, const struct bad_call *calls, size_t count)
{
	for (const struct bad_call *call = calls; call < calls + count; call++) {
		int found = ioctl(view->target->fd, call->request, call->arg) ? errno : 0;

		target_assert(view->target, found == call->error, "%s: %s, expected %s", call->what,
			      strerror(found), strerror(call->error));
		assert_domain(view, VRAM);
	}
}

static uint64_t vram_used(const struct target *target)
{
	struct drm_vttm_heap heap = { .domain = VRAM };

	igt_assert_eq(bo_ioctl(target->fd, DRM_IOCTL_VTTM_HEAP, &heap), 0);
	return heap.used;
}

/* Of the only object in VRAM. What is destroyed is freed a little later if it was busy. */
static struct view only_view(const struct target *target, uint64_t size)
{
	struct view view;

	for (int i = 0; i < 500 && vram_used(target); i++)
		usleep(10000);
	igt_assert_eq_u64(vram_used(target), 0);
	view = vttm_new_view(target, .size = size, .domains = VRAM | SYSTEM);
	fill(&view, BO_EVERY_PAGE, 1);
	igt_assert_eq_u64(vram_used(target), size);
	return view;
}

/**
 * SUBTEST: bad-arguments
 * Description: What cannot work is refused with the error that the header names, unknown bits and
 *              reserved fields included, and changes nothing.
 */
static void test_bad_arguments(const struct target *target)
{
	const uint64_t size = 4 * MiB, none = 0x7fff;
	void *no_access = mmap(NULL, BO_PTE_SIZE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	uint64_t bitmap[4 * MiB / BO_PTE_SIZE / 64], all = sizeof(bitmap);
	uintptr_t bad = (uintptr_t)no_access, good = (uintptr_t)bitmap;
	struct view view = only_view(target, size);
	const uint32_t h = view.bo->handle;
	const struct bad_call ever[] = {
		BAD(EINVAL, heap, .domain = 0), BAD(EINVAL, heap, .domain = SYSTEM),
		BAD(EINVAL, heap, .domain = VRAM | GTT), BAD(EINVAL, heap, .domain = 1 << 4),
		BAD(EINVAL, heap, .domain = VRAM, .pad = 1),
		BAD(EINVAL, create, .size = 0, .domains = VRAM),
		BAD(EINVAL, create, .size = 4095, .domains = VRAM),
		BAD(EINVAL, create, .size = 4097, .domains = VRAM),
		BAD(EINVAL, create, .size = size),
		BAD(EINVAL, create, .size = size, .domains = VRAM | 1 << 4),
		BAD(EINVAL, create, .size = size, .domains = VRAM, .alignment = 2048),
		BAD(EINVAL, create, .size = 12288, .domains = VRAM, .alignment = 12288),
		BAD(EINVAL, create, .size = 12288, .domains = VRAM, .alignment = 8192),
		BAD(EINVAL, create, .size = size, .domains = VRAM, .caching = 3),
		BAD(EINVAL, create, .size = size, .domains = VRAM, .layout = 3),
		BAD(EINVAL, create, .size = size, .domains = VRAM, .flags = 2),
		BAD(EINVAL, create, .size = size, .domains = VRAM, .pad = 1),
		BAD(ENOSPC, create, .size = 1ull << 38, .domains = VRAM),
		BAD(ENOSPC, create, .size = 1ull << 38, .alignment = 1ull << 38, .domains = VRAM),
		BAD(ENOSPC, create, .size = 64 * MiB, .domains = TINY),
		BAD(ENOENT, mmap_offset, .handle = 0), BAD(ENOENT, mmap_offset, .handle = none),
		BAD(EINVAL, mmap_offset, .handle = h, .pad = 1),
		BAD(ENOENT, move, .handle = none, .domain = VRAM),
		BAD(EINVAL, move, .handle = h, .domain = 0),
		BAD(EINVAL, move, .handle = h, .domain = GTT),
		BAD(EINVAL, move, .handle = h, .domain = VRAM | SYSTEM),
		BAD(EINVAL, move, .handle = h, .domain = 1 << 4),
		BAD(EINVAL, evict_all, .domain = 0), BAD(EINVAL, evict_all, .domain = SYSTEM),
		BAD(EINVAL, evict_all, .domain = VRAM | GTT),
		BAD(EINVAL, evict_all, .domain = VRAM, .pad = 1),
		BAD(ENOENT, query, .handle = none), BAD(EINVAL, query, .handle = h, .blocks = good),
		BAD(EFAULT, query, .handle = h, .blocks = bad, .num_blocks = 1),
		BAD(ENOENT, busy, .handle = none, .duration_ms = 1),
		BAD(EINVAL, busy, .handle = h, .duration_ms = 0),
		BAD(EINVAL, busy, .handle = h, .duration_ms = DRM_VTTM_BUSY_MAX_MS + 1),
		BAD(ENOENT, dirty, .handle = none, .op = DRM_VTTM_DIRTY_START),
		BAD(EINVAL, dirty, .handle = h, .op = 4),
		BAD(EINVAL, dirty, .handle = h, .op = DRM_VTTM_DIRTY_START, .bitmap = good),
		BAD(EINVAL, dirty, .handle = h, .op = DRM_VTTM_DIRTY_STOP, .bitmap_size = all),
		BAD(EINVAL, dirty, .handle = h, .op = READ, .bitmap = good, .bitmap_size = all),
	}, tracked[] = {
		BAD(EINVAL, dirty, .handle = h, .op = READ, .bitmap = good, .bitmap_size = all - 8),
		BAD(EINVAL, dirty, .handle = h, .op = READ, .bitmap = good, .bitmap_size = all + 8),
		BAD(EFAULT, dirty, .handle = h, .op = READ, .bitmap = bad, .bitmap_size = all),
	};

	assert_refused(&view, ever, ARRAY_SIZE(ever));
	assert_entries(&view, HUGE_PUD);
	igt_assert_eq(vttm_dirty(view.bo, DRM_VTTM_DIRTY_START, NULL), 0);
	assert_refused(&view, tracked, ARRAY_SIZE(tracked));
	igt_assert_eq(vttm_dirty(view.bo, DRM_VTTM_DIRTY_STOP, NULL), 0);

	igt_assert_eq_u64(vram_used(target), size);
	assert_domain(&view, VRAM);
	assert_contents(&view, BO_EVERY_PAGE, 1);
}

/**
 * SUBTEST: unprivileged
 * Description: Without CAP_SYS_ADMIN, nobody gets memory that may hold what others left, or makes an
 *              object busy that others may have to wait for. Everything else works.
 */
static void test_unprivileged(const struct target *target)
{
	fork_and_wait() {
		struct drm_vttm_create uncleared = {
			.size = 2 * MiB, .domains = DRM_VTTM_DOMAIN_VRAM,
			.flags = DRM_VTTM_CREATE_UNCLEARED,
		}, cleared = { .size = 2 * MiB, .domains = DRM_VTTM_DOMAIN_VRAM };
		struct drm_vttm_busy busy = { .duration_ms = 1 };

		igt_assert_eq(setuid(65534), 0);
		igt_assert_eq(bo_ioctl(target->fd, DRM_IOCTL_VTTM_CREATE, &uncleared), -EACCES);
		igt_assert_eq(bo_ioctl(target->fd, DRM_IOCTL_VTTM_CREATE, &cleared), 0);
		busy.handle = cleared.handle;
		igt_assert_eq(bo_ioctl(target->fd, DRM_IOCTL_VTTM_BUSY, &busy), -EACCES);
	}
}

static const struct subtest subtests[] = {
	{ "bad-arguments", "The right errors", test_bad_arguments, .on = is_vttm },
	{ "unprivileged", "What needs privileges", test_unprivileged, .on = is_vttm },
};

int igt_main()
{
	run_test(subtests);
}
