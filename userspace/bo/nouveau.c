// SPDX-License-Identifier: MIT
#include <stdint.h>
#include <sys/param.h>

#include <nouveau_drm.h>
#include <xf86drm.h>

#include "drivers.h"

#ifndef NOUVEAU_GETPARAM_VRAM_BAR_SIZE
#define NOUVEAU_GETPARAM_VRAM_BAR_SIZE	18
#endif
/* Of tile_flags; libdrm's header leaves it out in some releases. */
#ifndef NOUVEAU_GEM_TILE_LAYOUT_MASK
#define NOUVEAU_GEM_TILE_LAYOUT_MASK	0x0000ff00
#endif

static uint64_t nouveau_size(int fd, uint64_t param)
{
	struct drm_nouveau_getparam get = { .param = param };

	return drmCommandWriteRead(fd, DRM_NOUVEAU_GETPARAM, &get, sizeof(get)) ? 0 : get.value;
}

/* Objects are mapped through a BAR, which may be smaller; kernels before 6.8 do not say. */
static uint64_t nouveau_vram_size(int fd)
{
	uint64_t vram = nouveau_size(fd, NOUVEAU_GETPARAM_FB_SIZE);
	uint64_t bar = vram ? nouveau_size(fd, NOUVEAU_GETPARAM_VRAM_BAR_SIZE) : 0;

	return bar ? MIN(vram, bar) : vram;
}

static uint64_t nouveau_max_size(int fd, enum bo_placement placement)
{
	return placement == BO_VRAM ? nouveau_vram_size(fd) :
				      nouveau_size(fd, NOUVEAU_GETPARAM_AGP_SIZE);
}

static int nouveau_create(int fd, enum bo_placement placement, uint64_t size, uint32_t *handle)
{
	struct drm_nouveau_gem_new create = {
		.info = {
			.domain = NOUVEAU_GEM_DOMAIN_MAPPABLE |
				  (placement == BO_VRAM ? NOUVEAU_GEM_DOMAIN_VRAM :
							  NOUVEAU_GEM_DOMAIN_GART),
			.size = size,
		},
		.align = BO_PTE_SIZE,
	};
	int ret = drmCommandWriteRead(fd, DRM_NOUVEAU_GEM_NEW, &create, sizeof(create));

	*handle = create.info.handle;
	return ret;
}

static int nouveau_map_offset(int fd, uint32_t handle, uint64_t *offset)
{
	struct drm_nouveau_gem_info info = { .handle = handle };
	int ret = drmCommandWriteRead(fd, DRM_NOUVEAU_GEM_INFO, &info, sizeof(info));

	*offset = info.map_handle;
	return ret;
}

static int nouveau_tiled(int fd, uint32_t handle)
{
	struct drm_nouveau_gem_info info = { .handle = handle };
	int ret = drmCommandWriteRead(fd, DRM_NOUVEAU_GEM_INFO, &info, sizeof(info));

	return ret ? ret : (info.tile_flags & NOUVEAU_GEM_TILE_LAYOUT_MASK) != 0;
}

const struct bo_driver bo_driver_nouveau = {
	.name = "nouveau",
	.vram_size = nouveau_vram_size,
	.max_size = nouveau_max_size,
	.create = nouveau_create,
	.map_offset = nouveau_map_offset,
	.tiled = nouveau_tiled,
};
