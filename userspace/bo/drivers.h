/* SPDX-License-Identifier: MIT */
/*
 * What a driver brings, and what the files of this folder share. For programs there is bo.h.
 *
 * A driver that is new here is a file, NAME.c, which defines bo_driver_NAME, and a line in
 * BO_DRIVERS.
 */
#ifndef DRIVERS_H
#define DRIVERS_H

#include "bo.h"

struct bo_driver {
	const char *name;	/* as the kernel has it */

	/* Bytes of device memory that the CPU can map */
	uint64_t (*vram_size)(int fd);
	/* Of an object: what bo_max_size() answers */
	uint64_t (*max_size)(int fd, enum bo_placement placement);
	/* @placement: BO_VRAM or BO_SYSTEM */
	int (*create)(int fd, enum bo_placement placement, uint64_t size, uint32_t *handle);
	/* For mmap() */
	int (*map_offset)(int fd, uint32_t handle, uint64_t *offset);

	/* The rest is for drivers that have it. */

	/* A file of all VRAM, for mmap() (@mmapped) or for pread(); a negative errno. */
	int (*open_vram)(int fd, bool *mmapped);
	/*
	 * With open_vram(): the range manager's list of what is allocated, in debugfs. Without it,
	 * all of VRAM is searched.
	 */
	const char *vram_allocations;
	int (*return_to_vram)(const struct bo *bo);
	int (*hold)(const struct bo *bo);
	/* 1, 0 or a negative errno; without it, only modifiers tell. */
	int (*tiled)(int fd, uint32_t handle);
	/* Without it, the driver always can. */
	bool (*can_pin)(int fd);

	/* Where there is more direct a way than the one that works for all: */
	int (*where)(const struct bo *bo, enum bo_placement *where);
	int (*place)(const struct bo *bo, uint64_t *place, size_t *pieces);
	int (*evict)(const struct bo *bo);
};

#define BO_DRIVERS(driver)	\
	driver(amdgpu)		\
	driver(i915)		\
	driver(nouveau)		\
	driver(qxl)		\
	driver(radeon)		\
	driver(vttm)		\
	driver(xe)

#define DECLARE_DRIVER(name)	extern const struct bo_driver bo_driver_##name;
BO_DRIVERS(DECLARE_DRIVER)

/* What create() and the like are for BO_DUMB, whatever the driver */
extern const struct bo_driver bo_driver_dumb;

/* Of the device; one without a name and without functions if this library does not know it. */
const struct bo_driver *bo_driver_of(int fd);

/* Path of a file in the device's folder in sysfs */
int bo_device_path(int fd, const char *name, char *path, size_t size);

/* For reading; a file descriptor or a negative errno. */
int bo_open_debugfs(int fd, const char *name);

/*
 * A BAR of the device for mmap(), likewise. Write-combining, as drivers map VRAM: the kernel
 * refuses a second cache mode for the same memory.
 */
int bo_open_bar(int fd, int bar);

/* bo_map_4k() of the first @length bytes */
void *bo_map_start_4k(const struct bo *bo, size_t length);

#endif
