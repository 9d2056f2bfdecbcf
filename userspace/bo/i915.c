// SPDX-License-Identifier: MIT
/*
 * Discrete cards. Without memory of its own, a card has objects that are not TTM's.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/param.h>

#include <i915_drm.h>

#include "drivers.h"

/* Its size is what the CPU can map, which is 0 with errno if there is no such memory. */
static struct drm_i915_memory_region_info i915_region(int fd, enum bo_placement placement)
{
	const uint16_t mem_class = placement == BO_VRAM ? I915_MEMORY_CLASS_DEVICE :
							  I915_MEMORY_CLASS_SYSTEM;
	struct drm_i915_memory_region_info found = { 0 };
	struct drm_i915_query_item item = { .query_id = DRM_I915_QUERY_MEMORY_REGIONS };
	struct drm_i915_query query = { .num_items = 1, .items_ptr = (uintptr_t)&item };
	struct drm_i915_query_memory_regions *regions;

	if (bo_ioctl(fd, DRM_IOCTL_I915_QUERY, &query))
		return found;
	if (item.length <= 0) {
		errno = -item.length;
		return found;
	}
	regions = calloc(1, item.length);
	if (!regions)
		return found;
	item.data_ptr = (uintptr_t)regions;
	if (!bo_ioctl(fd, DRM_IOCTL_I915_QUERY, &query) && item.length > 0) {
		for (uint32_t i = 0; i < regions->num_regions && !found.probed_size; i++) {
			if (regions->regions[i].region.memory_class == mem_class)
				found = regions->regions[i];
		}
	}
	free(regions);
	/* Kernels that do not tell have no memory that the CPU does not see. */
	if (found.probed_cpu_visible_size)
		found.probed_size = MIN(found.probed_size, found.probed_cpu_visible_size);
	return found;
}

static uint64_t i915_vram_size(int fd)
{
	return i915_region(fd, BO_VRAM).probed_size;
}

static uint64_t i915_max_size(int fd, enum bo_placement placement)
{
	uint64_t vram = i915_vram_size(fd);

	if (placement == BO_VRAM || !vram)
		return vram;
	return i915_region(fd, placement).probed_size;
}

static int i915_create(int fd, enum bo_placement placement, uint64_t size, uint32_t *handle)
{
	struct drm_i915_memory_region_info memory = i915_region(fd, placement);
	struct drm_i915_gem_memory_class_instance places[] = {
		memory.region, i915_region(fd, BO_SYSTEM).region,
	};
	struct drm_i915_gem_create_ext_memory_regions regions = {
		.base.name = I915_GEM_CREATE_EXT_MEMORY_REGIONS,
		.num_regions = 1,
		.regions = (uintptr_t)places,
	};
	struct drm_i915_gem_create_ext create = {
		.size = size,
		.extensions = (uintptr_t)&regions,
	};
	int ret;

	/* The part that the CPU maps is only to be had with system memory to go to. */
	if (placement == BO_VRAM && memory.probed_cpu_visible_size) {
		create.flags = I915_GEM_CREATE_EXT_FLAG_NEEDS_CPU_ACCESS;
		regions.num_regions = 2;
	}
	ret = bo_ioctl(fd, DRM_IOCTL_I915_GEM_CREATE_EXT, &create);
	*handle = create.handle;
	return ret;
}

static int i915_map_offset(int fd, uint32_t handle, uint64_t *offset)
{
	/* The only way for objects of TTM */
	struct drm_i915_gem_mmap_offset map = {
		.handle = handle,
		.flags = I915_MMAP_OFFSET_FIXED,
	};
	int ret = bo_ioctl(fd, DRM_IOCTL_I915_GEM_MMAP_OFFSET, &map);

	*offset = map.offset;
	return ret;
}

static int i915_tiled(int fd, uint32_t handle)
{
	struct drm_i915_gem_get_tiling get = { .handle = handle };
	int ret = bo_ioctl(fd, DRM_IOCTL_I915_GEM_GET_TILING, &get);

	/* EOPNOTSUPP: a card that has modifiers instead */
	return ret == -EOPNOTSUPP ? 0 : ret ? ret : get.tiling_mode != I915_TILING_NONE;
}

const struct bo_driver bo_driver_i915 = {
	.name = "i915",
	.vram_size = i915_vram_size,
	.max_size = i915_max_size,
	.create = i915_create,
	.map_offset = i915_map_offset,
	.tiled = i915_tiled,
};
