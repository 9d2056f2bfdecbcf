/* SPDX-License-Identifier: MIT */
/*
 * What only vttm can do with its objects. Functions return 0 or a negative errno; those of them
 * that wait go on after a signal.
 */
#ifndef VTTM_H
#define VTTM_H

#include <errno.h>
#include <stdlib.h>

#include "bo.h"
#include "vttm_drm.h"

/* Bytes of one of DRM_VTTM_DOMAIN_*, 0 if the device does not have it. */
static inline uint64_t vttm_domain_size(int fd, uint32_t domain)
{
	struct drm_vttm_heap heap = { .domain = domain };

	return bo_ioctl(fd, DRM_IOCTL_VTTM_HEAP, &heap) ? 0 : heap.size;
}

static inline int vttm_map_offset(int fd, uint32_t handle, uint64_t *offset)
{
	struct drm_vttm_mmap_offset map = { .handle = handle };
	int ret = bo_ioctl(fd, DRM_IOCTL_VTTM_MMAP_OFFSET, &map);

	*offset = map.offset;
	return ret;
}

/* @how: size, domains and what else is not 0; bo_destroy() the object. */
static inline int vttm_create(int fd, struct drm_vttm_create how, struct bo *bo)
{
	const uint32_t device = DRM_VTTM_DOMAIN_VRAM | DRM_VTTM_DOMAIN_TINY;
	int ret = bo_ioctl(fd, DRM_IOCTL_VTTM_CREATE, &how);

	if (ret)
		return ret;
	*bo = (struct bo){
		.fd = fd,
		.handle = how.handle,
		.size = how.size,
		.placement = how.domains & device ? BO_VRAM : BO_SYSTEM,
	};
	ret = vttm_map_offset(fd, bo->handle, &bo->offset);
	if (ret)
		bo_destroy(bo);
	return ret;
}

static inline int vttm_move(const struct bo *bo, uint32_t domain)
{
	struct drm_vttm_move move = { .handle = bo->handle, .domain = domain };

	return bo_ioctl(bo->fd, DRM_IOCTL_VTTM_MOVE, &move);
}

static inline int vttm_evict_all(int fd, uint32_t domain)
{
	struct drm_vttm_evict_all evict = { .domain = domain };

	return bo_ioctl(fd, DRM_IOCTL_VTTM_EVICT_ALL, &evict);
}

static inline int vttm_query(const struct bo *bo, struct drm_vttm_query *query)
{
	*query = (struct drm_vttm_query){ .handle = bo->handle };
	return bo_ioctl(bo->fd, DRM_IOCTL_VTTM_QUERY, query);
}

/* The blocks that @bo is made of now, none if it is in system memory. The caller frees *@blocks. */
static inline int vttm_blocks(const struct bo *bo, struct drm_vttm_block **blocks, size_t *count)
{
	struct drm_vttm_query query;
	uint32_t room;
	int ret;

	*blocks = NULL;
	*count = 0;
	ret = vttm_query(bo, &query);
	if (ret || !query.num_blocks)
		return ret;
	room = query.num_blocks;
	*blocks = calloc(room, sizeof(**blocks));
	if (!*blocks)
		return -ENOMEM;
	query = (struct drm_vttm_query){
		.handle = bo->handle,
		.num_blocks = room,
		.blocks = (uintptr_t)*blocks,
	};
	ret = bo_ioctl(bo->fd, DRM_IOCTL_VTTM_QUERY, &query);
	if (!ret && query.num_blocks > room)
		ret = -EAGAIN;	/* moved meanwhile */
	if (ret) {
		free(*blocks);
		*blocks = NULL;
	} else {
		*count = query.num_blocks;
	}
	return ret;
}

/* Page faults and moves wait so long. */
static inline int vttm_busy(const struct bo *bo, unsigned int ms)
{
	struct drm_vttm_busy busy = { .handle = bo->handle, .duration_ms = ms };

	return bo_ioctl(bo->fd, DRM_IOCTL_VTTM_BUSY, &busy);
}

/* Bytes of the bitmap for vttm_dirty(). */
static inline uint64_t vttm_bitmap_size(const struct bo *bo)
{
	return (bo->size / BO_PTE_SIZE + 63) / 64 * 8;
}

/* @op: one of DRM_VTTM_DIRTY_*; @bitmap: NULL unless it reads */
static inline int vttm_dirty(const struct bo *bo, uint32_t op, uint64_t *bitmap)
{
	struct drm_vttm_dirty dirty = {
		.handle = bo->handle,
		.op = op,
		.bitmap = (uintptr_t)bitmap,
		.bitmap_size = bitmap ? vttm_bitmap_size(bo) : 0,
	};

	return bo_ioctl(bo->fd, DRM_IOCTL_VTTM_DIRTY, &dirty);
}

#endif
