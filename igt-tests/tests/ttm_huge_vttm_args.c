// SPDX-License-Identifier: MIT
/**
 * TEST: ttm huge vttm args
 * Category: Core
 * Mega feature: General Core features
 * Sub-category: Memory management tests
 * Functionality: mmap
 * Description: What vttm's ioctls refuse.
 */
#include <errno.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include "vttm_ops.h"

IGT_TEST_DESCRIPTION("Arguments of vttm's ioctls");

static void assert_refused(const struct target *target, const char *what, unsigned long request,
			   void *arg, int expected)
{
	int found = ioctl(target->fd, request, arg) ? errno : 0;

	target_assert(target, found == expected, "%s: %s, expected %s", what, strerror(found),
		      strerror(expected));
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
#define START			DRM_VTTM_DIRTY_START
#define STOP			DRM_VTTM_DIRTY_STOP
#define READ			DRM_VTTM_DIRTY_READ

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
	void *no_access = mmap(NULL, BO_PTE_SIZE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	uint64_t bitmap[4 * MiB / BO_PTE_SIZE / 64], full = sizeof(bitmap);
	uintptr_t bad = (uintptr_t)no_access, good = (uintptr_t)bitmap;
	struct view view;
	uint32_t h;

	await_empty_vram(target);
	view = vttm_new_view(target, .size = size, .domains = VRAM | SYSTEM);
	h = view.bo->handle;
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
	assert_error(target, EINVAL, query, .handle = h, .blocks = good);
	assert_error(target, EFAULT, query, .handle = h, .blocks = bad, .num_blocks = 1);

	assert_error(target, ENOENT, busy, .handle = none, .duration_ms = 1);
	assert_error(target, EINVAL, busy, .handle = h, .duration_ms = 0);
	assert_error(target, EINVAL, busy, .handle = h, .duration_ms = DRM_VTTM_BUSY_MAX_MS + 1);

	assert_error(target, ENOENT, dirty, .handle = none, .op = START);
	assert_error(target, EINVAL, dirty, .handle = h, .op = 4);
	assert_error(target, EINVAL, dirty, .handle = h, .op = START, .bitmap = good);
	assert_error(target, EINVAL, dirty, .handle = h, .op = STOP, .bitmap_size = full);
	assert_error(target, EINVAL, dirty, .handle = h, .op = READ,
		     .bitmap = good, .bitmap_size = full);

	assert_entries(&view, HUGE_PUD);
	igt_assert_eq(vttm_dirty(view.bo, START, NULL), 0);
	assert_error(target, EINVAL, dirty, .handle = h, .op = READ,
		     .bitmap = good, .bitmap_size = full - 8);
	assert_error(target, EINVAL, dirty, .handle = h, .op = READ,
		     .bitmap = good, .bitmap_size = full + 8);
	assert_error(target, EFAULT, dirty, .handle = h, .op = READ,
		     .bitmap = bad, .bitmap_size = full);
	igt_assert_eq(vttm_dirty(view.bo, STOP, NULL), 0);

	igt_assert_eq_u64(vram_used(target), size);
	assert_domain(&view, VRAM);
	assert_contents(&view, BO_EVERY_PAGE, 1);
}

static const struct subtest subtests[] = {
	{ "bad-arguments", "The right errors", test_bad_arguments, .on = is_vttm },
};

int igt_main()
{
	run_test(subtests);
}
