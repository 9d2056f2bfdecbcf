// SPDX-License-Identifier: MIT
#include <stdlib.h>
#include <sys/param.h>

/* libdrm's, or the kernel's */
#if __has_include(<xe_drm.h>)
#include <xe_drm.h>
#elif __has_include(<drm/xe_drm.h>)
#include <drm/xe_drm.h>
#endif

#include "drivers.h"

#ifdef DRM_XE_DEVICE_QUERY_MEM_REGIONS
/* The CPU's part of it is its size, which is 0 if there is none. */
static struct drm_xe_mem_region xe_region(int fd, enum bo_placement placement)
{
	const uint16_t mem_class = placement == BO_VRAM ? DRM_XE_MEM_REGION_CLASS_VRAM :
							  DRM_XE_MEM_REGION_CLASS_SYSMEM;
	struct drm_xe_mem_region found = { 0 };
	struct drm_xe_device_query query = { .query = DRM_XE_DEVICE_QUERY_MEM_REGIONS };
	struct drm_xe_query_mem_regions *regions;

	if (bo_ioctl(fd, DRM_IOCTL_XE_DEVICE_QUERY, &query))
		return found;
	regions = calloc(1, query.size);
	if (!regions)
		return found;
	query.data = (uintptr_t)regions;
	if (!bo_ioctl(fd, DRM_IOCTL_XE_DEVICE_QUERY, &query)) {
		for (uint32_t i = 0; i < regions->num_mem_regions && !found.total_size; i++) {
			if (regions->mem_regions[i].mem_class == mem_class)
				found = regions->mem_regions[i];
		}
	}
	free(regions);
	if (placement == BO_VRAM)
		found.total_size = found.cpu_visible_size;
	return found;
}

static uint64_t xe_max_size(int fd, enum bo_placement placement)
{
	return xe_region(fd, placement).total_size;
}

static uint64_t xe_vram_size(int fd)
{
	return xe_max_size(fd, BO_VRAM);
}

static int xe_create(int fd, enum bo_placement placement, uint64_t size, uint32_t *handle)
{
	struct drm_xe_mem_region region = xe_region(fd, placement);
	uint64_t piece = MAX(region.min_page_size, BO_PTE_SIZE);
	struct drm_xe_gem_create create = {
		.size = (size + piece - 1) / piece * piece,
		.placement = 1u << region.instance,
		.flags = placement == BO_VRAM ? DRM_XE_GEM_CREATE_FLAG_NEEDS_VISIBLE_VRAM : 0,
		.cpu_caching = placement == BO_VRAM ? DRM_XE_GEM_CPU_CACHING_WC :
						      DRM_XE_GEM_CPU_CACHING_WB,
	};
	int ret = bo_ioctl(fd, DRM_IOCTL_XE_GEM_CREATE, &create);

	*handle = create.handle;
	return ret;
}

static int xe_map_offset(int fd, uint32_t handle, uint64_t *offset)
{
	struct drm_xe_gem_mmap_offset map = { .handle = handle };
	int ret = bo_ioctl(fd, DRM_IOCTL_XE_GEM_MMAP_OFFSET, &map);

	*offset = map.offset;
	return ret;
}

const struct bo_driver bo_driver_xe = {
	.name = "xe",
	.vram_size = xe_vram_size,
	.max_size = xe_max_size,
	.create = xe_create,
	.map_offset = xe_map_offset,
};
#else
/* There is no xe_drm.h: a driver that no device has. */
const struct bo_driver bo_driver_xe = { .name = "" };
#endif
