// SPDX-License-Identifier: MIT
/*
 * Objects: created, imported, mapped, moved
 */
#define _GNU_SOURCE 1
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/param.h>
#include <unistd.h>

#include <drm.h>
#include <xf86drm.h>

#include "drivers.h"

const struct bo_driver *bo_driver_of(int fd)
{
#define TABLE_ENTRY(name)	&bo_driver_##name,
	static const struct bo_driver *const drivers[] = { BO_DRIVERS(TABLE_ENTRY) };
	static const struct bo_driver unknown = { .name = "" };
	const struct bo_driver *found = &unknown;
	drmVersion *version = drmGetVersion(fd);

	if (!version)
		return found;
	for (size_t i = 0; i < sizeof(drivers) / sizeof(drivers[0]); i++) {
		if (!strcmp(version->name, drivers[i]->name))
			found = drivers[i];
	}
	drmFreeVersion(version);
	return found;
}

const char *bo_driver(int fd)
{
	return bo_driver_of(fd)->name;
}

/* What creates objects in @placement */
static const struct bo_driver *creator(int fd, enum bo_placement placement)
{
	return placement == BO_DUMB ? &bo_driver_dumb : bo_driver_of(fd);
}

const char *bo_placement_name(enum bo_placement placement)
{
	static const char *const names[] = {
		[BO_VRAM] = "vram",
		[BO_SYSTEM] = "system",
		[BO_DUMB] = "dumb",
		[BO_UNKNOWN] = "unknown",
	};

	return names[placement];
}

bool bo_supported(int fd, enum bo_placement placement)
{
	struct bo bo;

	if ((placement == BO_VRAM && !bo_vram_size(fd)) ||
	    bo_create(fd, placement, BO_PTE_SIZE, &bo))
		return false;
	bo_destroy(&bo);
	return true;
}

uint64_t bo_vram_size(int fd)
{
	const struct bo_driver *driver = bo_driver_of(fd);

	errno = 0;
	return driver->vram_size ? driver->vram_size(fd) : 0;
}

uint64_t bo_max_size(int fd, enum bo_placement placement)
{
	const struct bo_driver *driver = creator(fd, placement);

	errno = 0;
	return driver->max_size ? driver->max_size(fd, placement) : 0;
}

int bo_create(int fd, enum bo_placement placement, uint64_t size, struct bo *bo)
{
	const struct bo_driver *driver = creator(fd, placement);
	int ret;

	if (!driver->create)
		return -EOPNOTSUPP;
	if (!size || size % BO_PTE_SIZE)
		return -EINVAL;
	if (size > driver->max_size(fd, placement))
		return -E2BIG;

	*bo = (struct bo){ .fd = fd, .size = size, .placement = placement };
	ret = driver->create(fd, placement, size, &bo->handle);
	if (ret)
		return ret;
	ret = driver->map_offset(fd, bo->handle, &bo->offset);
	if (ret)
		bo_destroy(bo);
	return ret;
}

int bo_import(int fd, int dmabuf, struct bo *bo)
{
	const struct bo_driver *driver = bo_driver_of(fd);
	off_t size = lseek(dmabuf, 0, SEEK_END);
	int ret;

	if (!driver->map_offset)
		return -EOPNOTSUPP;
	if (size < 0)
		return -errno;

	*bo = (struct bo){ .fd = fd, .size = size, .placement = BO_UNKNOWN };
	if (drmPrimeFDToHandle(fd, dmabuf, &bo->handle))
		return -errno;
	ret = driver->map_offset(fd, bo->handle, &bo->offset);
	if (ret)
		bo_destroy(bo);
	return ret;
}

int bo_from_dumb(int fd, uint32_t handle, uint64_t size, struct bo *bo)
{
	*bo = (struct bo){ .fd = fd, .handle = handle, .size = size, .placement = BO_DUMB };
	return bo_driver_dumb.map_offset(fd, handle, &bo->offset);
}

int bo_tiled(int fd, uint32_t handle)
{
	const struct bo_driver *driver = bo_driver_of(fd);

	return driver->tiled ? driver->tiled(fd, handle) : 0;
}

bool bo_can_pin(int fd)
{
	const struct bo_driver *driver = bo_driver_of(fd);

	return driver->create && (!driver->can_pin || driver->can_pin(fd));
}

void bo_destroy(struct bo *bo)
{
	struct drm_gem_close close = { .handle = bo->handle };

	if (bo->handle)
		bo_ioctl(bo->fd, DRM_IOCTL_GEM_CLOSE, &close);
	bo->handle = 0;
}

/*
 * Mappings
 */

void *bo_map_part(const struct bo *bo, uint64_t first, void *addr, size_t length, int prot,
		  int flags)
{
	if (!(flags & MAP_TYPE))
		flags |= MAP_SHARED;
	return mmap(addr, length, prot, flags, bo->fd, bo->offset + first);
}

void *bo_map(const struct bo *bo, void *addr, size_t length, int prot, int flags)
{
	return bo_map_part(bo, 0, addr, length, prot, flags);
}

void *bo_map_start_4k(const struct bo *bo, size_t length)
{
	void *map = bo_map(bo, NULL, length, PROT_READ | PROT_WRITE, 0);

	/* EINVAL: a kernel without transparent huge pages, which has no huge entries here. */
	if (map != MAP_FAILED && madvise(map, length, MADV_NOHUGEPAGE) && errno != EINVAL) {
		munmap(map, length);
		return MAP_FAILED;
	}
	return map;
}

void *bo_map_4k(const struct bo *bo)
{
	return bo_map_start_4k(bo, bo->size);
}

/*
 * Placement
 */

int bo_where(const struct bo *bo, enum bo_placement *where)
{
	const struct bo_driver *driver = bo_driver_of(bo->fd);
	struct bo_levels levels;
	volatile uint8_t *map;
	int ret, tries = 10;

	if (driver->where)
		return driver->where(bo, where);
	map = bo_map_start_4k(bo, BO_PTE_SIZE);
	if (map == MAP_FAILED)
		return -errno;
	/* An object that others push out in between has no entry. */
	do {
		(void)map[0];
		ret = bo_levels((void *)map, BO_PTE_SIZE, &levels);
	} while (!ret && !levels.mapped && --tries);
	munmap((void *)map, BO_PTE_SIZE);
	if (ret)
		return ret;
	if (!levels.mapped)
		return -EFAULT;
	*where = strcmp(levels.cache, BO_CACHED) ? BO_VRAM : BO_SYSTEM;
	return 0;
}

int bo_vram_place(const struct bo *bo, uint64_t *place, size_t *pieces)
{
	const struct bo_driver *driver = bo_driver_of(bo->fd);
	struct bo_reader reader;
	int ret;

	if (driver->place)
		return driver->place(bo, place, pieces);
	ret = bo_reader_open(bo, &reader);
	if (ret)
		return ret;
	*place = reader.base;
	*pieces = 1;
	bo_reader_close(&reader);
	return 0;
}

int bo_evict(const struct bo *bo)
{
	const struct bo_driver *driver = bo_driver_of(bo->fd);
	uint64_t vram = bo_vram_size(bo->fd), chunk;
	enum bo_placement where = BO_VRAM;
	struct bo other[32];
	int count = 0, ret = 0;

	if (bo->placement != BO_VRAM)
		return -EOPNOTSUPP;
	if (driver->evict)
		return driver->evict(bo);
	/*
	 * Whatever is in VRAM longer than the new objects goes first. On qxl some of them
	 * find room in a second, smaller heap, so it can take more than VRAM holds.
	 */
	chunk = MIN(vram / 8 & ~(BO_PTE_SIZE - 1), bo_max_size(bo->fd, BO_VRAM));
	while (!ret && where == BO_VRAM && count < 32) {
		ret = bo_create(bo->fd, BO_VRAM, chunk, &other[count]);
		/* Asking is slow, so not before it can have happened. */
		if (!ret && ++count * chunk + bo->size >= vram)
			ret = bo_where(bo, &where);
	}

	if (!ret && where == BO_VRAM)
		ret = -ENOSPC;
	while (count)
		bo_destroy(&other[--count]);
	return ret;
}

int bo_return_to_vram(const struct bo *bo)
{
	const struct bo_driver *driver = bo_driver_of(bo->fd);

	if (bo->placement != BO_VRAM || !driver->return_to_vram)
		return -EOPNOTSUPP;
	return driver->return_to_vram(bo);
}

int bo_hold(const struct bo *bo)
{
	const struct bo_driver *driver = bo_driver_of(bo->fd);

	if (!driver->hold)
		return -EOPNOTSUPP;
	return driver->hold(bo);
}
