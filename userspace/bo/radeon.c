// SPDX-License-Identifier: MIT
#include <string.h>

#include <radeon_drm.h>

#include "drivers.h"

static struct drm_radeon_gem_info radeon_info(int fd)
{
	struct drm_radeon_gem_info info = { 0 };

	if (bo_ioctl(fd, DRM_IOCTL_RADEON_GEM_INFO, &info))
		memset(&info, 0, sizeof(info));
	return info;
}

static uint64_t radeon_vram_size(int fd)
{
	return radeon_info(fd).vram_visible;
}

static uint64_t radeon_max_size(int fd, enum bo_placement placement)
{
	(void)placement;
	/* Whatever the domain: moving an object is meant to go through the GTT. */
	return radeon_info(fd).gart_size;
}

static int radeon_create(int fd, enum bo_placement placement, uint64_t size, uint32_t *handle)
{
	/* GTT would need a GART; the CPU domain is plain system memory. */
	struct drm_radeon_gem_create create = {
		.size = size,
		.initial_domain = placement == BO_VRAM ? RADEON_GEM_DOMAIN_VRAM :
							 RADEON_GEM_DOMAIN_CPU,
	};
	int ret = bo_ioctl(fd, DRM_IOCTL_RADEON_GEM_CREATE, &create);

	*handle = create.handle;
	return ret;
}

static int radeon_map_offset(int fd, uint32_t handle, uint64_t *offset)
{
	struct drm_radeon_gem_mmap map = { .handle = handle };
	int ret = bo_ioctl(fd, DRM_IOCTL_RADEON_GEM_MMAP, &map);

	*offset = map.addr_ptr;
	return ret;
}

static int radeon_tiled(int fd, uint32_t handle)
{
	struct drm_radeon_gem_get_tiling get = { .handle = handle };
	int ret = bo_ioctl(fd, DRM_IOCTL_RADEON_GEM_GET_TILING, &get);

	return ret ? ret : (get.tiling_flags & (RADEON_TILING_MACRO | RADEON_TILING_MICRO |
						RADEON_TILING_MICRO_SQUARE)) != 0;
}

/* For another device, in the GART, which radeon gives up when the GPU does not start. */
static bool radeon_can_pin(int fd)
{
	uint32_t working = 0;
	struct drm_radeon_info info = {
		.request = RADEON_INFO_ACCEL_WORKING,
		.value = (uintptr_t)&working,
	};

	return !bo_ioctl(fd, DRM_IOCTL_RADEON_INFO, &info) && working;
}

static int radeon_open_vram(int fd, bool *mmapped)
{
	*mmapped = false;
	return bo_open_debugfs(fd, "radeon_vram");
}

const struct bo_driver bo_driver_radeon = {
	.name = "radeon",
	.vram_allocations = "radeon_vram_mm",
	.vram_size = radeon_vram_size,
	.max_size = radeon_max_size,
	.create = radeon_create,
	.map_offset = radeon_map_offset,
	.open_vram = radeon_open_vram,
	.can_pin = radeon_can_pin,
	.tiled = radeon_tiled,
};
