// SPDX-License-Identifier: MIT
#include <string.h>

#include <amdgpu_drm.h>

#include "drivers.h"

static struct drm_amdgpu_info_vram_gtt amdgpu_info(int fd)
{
	struct drm_amdgpu_info_vram_gtt sizes = { 0 };
	struct drm_amdgpu_info info = {
		.return_pointer = (uintptr_t)&sizes,
		.return_size = sizeof(sizes),
		.query = AMDGPU_INFO_VRAM_GTT,
	};

	if (bo_ioctl(fd, DRM_IOCTL_AMDGPU_INFO, &info))
		memset(&sizes, 0, sizeof(sizes));
	return sizes;
}

static uint64_t amdgpu_vram_size(int fd)
{
	return amdgpu_info(fd).vram_cpu_accessible_size;
}

static uint64_t amdgpu_max_size(int fd, enum bo_placement placement)
{
	return placement == BO_VRAM ? amdgpu_vram_size(fd) : amdgpu_info(fd).gtt_size;
}

static int amdgpu_create(int fd, enum bo_placement placement, uint64_t size, uint32_t *handle)
{
	union drm_amdgpu_gem_create create = {
		.in = {
			.bo_size = size,
			.domains = placement == BO_VRAM ? AMDGPU_GEM_DOMAIN_VRAM :
							  AMDGPU_GEM_DOMAIN_GTT,
			.domain_flags = AMDGPU_GEM_CREATE_CPU_ACCESS_REQUIRED,
		},
	};
	int ret = bo_ioctl(fd, DRM_IOCTL_AMDGPU_GEM_CREATE, &create);

	*handle = create.out.handle;
	return ret;
}

static int amdgpu_map_offset(int fd, uint32_t handle, uint64_t *offset)
{
	union drm_amdgpu_gem_mmap map = { .in.handle = handle };
	int ret = bo_ioctl(fd, DRM_IOCTL_AMDGPU_GEM_MMAP, &map);

	*offset = map.out.addr_ptr;
	return ret;
}

static int amdgpu_tiled(int fd, uint32_t handle)
{
	struct drm_amdgpu_gem_metadata get = {
		.handle = handle,
		.op = AMDGPU_GEM_METADATA_OP_GET_METADATA,
	};
	int ret = bo_ioctl(fd, DRM_IOCTL_AMDGPU_GEM_METADATA, &get);

	/* Up to GFX8, 1 are rows that are aligned; from GFX9 on, a swizzle that nothing displays. */
	return ret ? ret : AMDGPU_TILING_GET(get.data.tiling_info, SWIZZLE_MODE) > 1;
}

const struct bo_driver bo_driver_amdgpu = {
	.name = "amdgpu",
	.vram_size = amdgpu_vram_size,
	.max_size = amdgpu_max_size,
	.create = amdgpu_create,
	.map_offset = amdgpu_map_offset,
	.tiled = amdgpu_tiled,
};
