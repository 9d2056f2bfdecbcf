// SPDX-License-Identifier: MIT
/*
 * Dumb buffers, which are the same for every driver that has them
 */
#include <drm.h>
#include <drm_mode.h>

#include "drivers.h"

static uint64_t dumb_max_size(int fd, enum bo_placement placement)
{
	(void)fd;
	(void)placement;
	/* The size of a dumb buffer has 32 bits. */
	return (1ull << 32) - BO_PTE_SIZE;
}

/* Of 32 bits a pixel, 1024 a line, so that a line is a page. */
static int dumb_create(int fd, enum bo_placement placement, uint64_t size, uint32_t *handle)
{
	struct drm_mode_create_dumb dumb = {
		.width = BO_PTE_SIZE / 4,
		.height = size / BO_PTE_SIZE,
		.bpp = 32,
	};
	int ret = bo_ioctl(fd, DRM_IOCTL_MODE_CREATE_DUMB, &dumb);

	(void)placement;
	*handle = dumb.handle;
	return ret;
}

static int dumb_map_offset(int fd, uint32_t handle, uint64_t *offset)
{
	struct drm_mode_map_dumb map = { .handle = handle };
	int ret = bo_ioctl(fd, DRM_IOCTL_MODE_MAP_DUMB, &map);

	*offset = map.offset;
	return ret;
}

const struct bo_driver bo_driver_dumb = {
	.name = "dumb",
	.max_size = dumb_max_size,
	.create = dumb_create,
	.map_offset = dumb_map_offset,
};
