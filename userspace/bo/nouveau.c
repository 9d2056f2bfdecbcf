// SPDX-License-Identifier: MIT
#include <errno.h>
#include <stdint.h>
#include <sys/mman.h>
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

static uint64_t nouveau_param(int fd, uint64_t param)
{
	struct drm_nouveau_getparam get = { .param = param };

	return drmCommandWriteRead(fd, DRM_NOUVEAU_GETPARAM, &get, sizeof(get)) ? 0 : get.value;
}

/* Objects are mapped through a BAR, which may be smaller; kernels before 6.8 do not say. */
static uint64_t nouveau_vram_size(int fd)
{
	uint64_t vram = nouveau_param(fd, NOUVEAU_GETPARAM_FB_SIZE);
	uint64_t bar = vram ? nouveau_param(fd, NOUVEAU_GETPARAM_VRAM_BAR_SIZE) : 0;

	return bar ? MIN(vram, bar) : vram;
}

static uint64_t nouveau_max_size(int fd, enum bo_placement placement)
{
	return placement == BO_VRAM ? nouveau_vram_size(fd) :
				      nouveau_param(fd, NOUVEAU_GETPARAM_AGP_SIZE);
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

#define RANKINE	0x30
#define TESLA	0x50	/* the first with page tables for VRAM, and with other channels */

static int nouveau_open_vram(int fd, bool *mmapped)
{
	uint64_t chipset = nouveau_param(fd, NOUVEAU_GETPARAM_CHIPSET_ID);

	if (!chipset || chipset >= TESLA)
		return -EOPNOTSUPP;
	*mmapped = true;
	return bo_open_bar(fd, 1);
}

/* Has a channel do nothing, with @bo among what that needs in VRAM. */
static int nouveau_push(int channel, const struct bo *commands, uint32_t domain,
			const struct bo *bo)
{
	struct drm_nouveau_gem_pushbuf_bo objects[] = {
		{
			.handle = commands->handle,
			.read_domains = domain,
			.valid_domains = domain,
		}, {
			.handle = bo->handle,
			.write_domains = NOUVEAU_GEM_DOMAIN_VRAM,
			.valid_domains = NOUVEAU_GEM_DOMAIN_VRAM,
		},
	};
	struct drm_nouveau_gem_pushbuf_push push = { .bo_index = 0, .length = 4 };
	struct drm_nouveau_gem_pushbuf pushbuf = {
		.channel = channel,
		.nr_buffers = 2,
		.buffers = (uintptr_t)objects,
		.nr_push = 1,
		.push = (uintptr_t)&push,
	};
	struct drm_nouveau_gem_cpu_prep prep = {
		.handle = bo->handle,
		.flags = NOUVEAU_GEM_CPU_PREP_WRITE,
	};
	volatile uint32_t *map = bo_map_start_4k(commands, BO_PTE_SIZE);
	int ret;

	if (map == MAP_FAILED)
		return -errno;
	map[0] = 0x00020000;	/* return */
	munmap((void *)map, BO_PTE_SIZE);
	ret = drmCommandWriteRead(bo->fd, DRM_NOUVEAU_GEM_PUSHBUF, &pushbuf, sizeof(pushbuf));
	return ret ? ret : drmCommandWrite(bo->fd, DRM_NOUVEAU_GEM_CPU_PREP, &prep, sizeof(prep));
}

static int nouveau_return_to_vram(const struct bo *bo)
{
	/* The channel's names for VRAM and system memory: any two */
	struct drm_nouveau_channel_alloc channel = {
		.fb_ctxdma_handle = 0xbeef0201,
		.tt_ctxdma_handle = 0xbeef0202,
	};
	uint64_t chipset = nouveau_param(bo->fd, NOUVEAU_GETPARAM_CHIPSET_ID);
	struct drm_nouveau_channel_free end = { 0 };
	enum bo_placement placement;
	struct bo commands;
	int ret;

	if (chipset < RANKINE || chipset >= TESLA)
		return -EOPNOTSUPP;
	ret = drmCommandWriteRead(bo->fd, DRM_NOUVEAU_CHANNEL_ALLOC, &channel, sizeof(channel));
	if (ret)
		return ret == -ENODEV ? -EOPNOTSUPP : ret;
	placement = channel.pushbuf_domains & NOUVEAU_GEM_DOMAIN_VRAM ? BO_VRAM : BO_SYSTEM;
	ret = bo_create(bo->fd, placement, BO_PTE_SIZE, &commands);
	if (!ret) {
		ret = nouveau_push(channel.channel, &commands, channel.pushbuf_domains, bo);
		bo_destroy(&commands);
	}
	bo_destroy(&(struct bo){ .fd = bo->fd, .handle = channel.notifier_handle });
	end.channel = channel.channel;
	drmCommandWrite(bo->fd, DRM_NOUVEAU_CHANNEL_FREE, &end, sizeof(end));
	return ret;
}

const struct bo_driver bo_driver_nouveau = {
	.name = "nouveau",
	.vram_size = nouveau_vram_size,
	.max_size = nouveau_max_size,
	.create = nouveau_create,
	.map_offset = nouveau_map_offset,
	.open_vram = nouveau_open_vram,
	.return_to_vram = nouveau_return_to_vram,
	.tiled = nouveau_tiled,
};
