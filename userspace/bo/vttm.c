// SPDX-License-Identifier: MIT
#include <errno.h>

#include "drivers.h"
#include "vttm.h"

static uint64_t vttm_vram_size(int fd)
{
	return vttm_domain_size(fd, DRM_VTTM_DOMAIN_VRAM);
}

static uint64_t vttm_max_size(int fd, enum bo_placement placement)
{
	/* DRM has offsets for mmap() of 1 TiB in all. */
	return placement == BO_VRAM ? vttm_vram_size(fd) : 1ull << 39;
}

static int vttm_create_handle(int fd, enum bo_placement placement, uint64_t size, uint32_t *handle)
{
	/* System memory is where an object goes that others push out of VRAM. */
	struct drm_vttm_create create = {
		.size = size,
		.domains = DRM_VTTM_DOMAIN_SYSTEM,
		.flags = DRM_VTTM_CREATE_UNCLEARED,
	};
	int ret;

	if (placement == BO_VRAM)
		create.domains |= DRM_VTTM_DOMAIN_VRAM;
	ret = bo_ioctl(fd, DRM_IOCTL_VTTM_CREATE, &create);
	/* What others left in memory is only root's to see. */
	if (ret == -EACCES) {
		create.flags = 0;
		ret = bo_ioctl(fd, DRM_IOCTL_VTTM_CREATE, &create);
	}
	*handle = create.handle;
	return ret;
}

static int vttm_where(const struct bo *bo, enum bo_placement *where)
{
	struct drm_vttm_query query;
	int ret = vttm_query(bo, &query);

	*where = query.domain & (DRM_VTTM_DOMAIN_VRAM | DRM_VTTM_DOMAIN_TINY) ? BO_VRAM : BO_SYSTEM;
	return ret;
}

static int vttm_place(const struct bo *bo, uint64_t *place, size_t *pieces)
{
	struct drm_vttm_block *blocks;
	int ret = vttm_blocks(bo, &blocks, pieces);

	if (ret)
		return ret;
	ret = *pieces ? 0 : -ENXIO;
	if (*pieces)
		*place = blocks[0].offset;
	free(blocks);
	return ret;
}

static int vttm_evict(const struct bo *bo)
{
	return vttm_move(bo, DRM_VTTM_DOMAIN_SYSTEM);
}

static int vttm_return_to_vram(const struct bo *bo)
{
	return vttm_move(bo, DRM_VTTM_DOMAIN_VRAM);
}

static int vttm_hold(const struct bo *bo)
{
	return vttm_busy(bo, 1);
}

const struct bo_driver bo_driver_vttm = {
	.name = "vttm",
	.vram_size = vttm_vram_size,
	.max_size = vttm_max_size,
	.create = vttm_create_handle,
	.map_offset = vttm_map_offset,
	.return_to_vram = vttm_return_to_vram,
	.hold = vttm_hold,
	.where = vttm_where,
	.place = vttm_place,
	.evict = vttm_evict,
};
