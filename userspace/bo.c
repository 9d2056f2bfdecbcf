// SPDX-License-Identifier: MIT
#define _GNU_SOURCE
#include "bo.h"
#include "ptdump.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <amdgpu_drm.h>
#include <drm.h>
#include <drm_mode.h>
#include <nouveau_drm.h>
#include <qxl_drm.h>
#include <radeon_drm.h>
#if __has_include(<xe_drm.h>)
#include <xe_drm.h>
#endif
#include <xf86drm.h>

#include "vttm.h"

#define MIN(a, b)	((a) < (b) ? (a) : (b))
#define MAX(a, b)	((a) > (b) ? (a) : (b))

/*
 * Drivers
 */

struct driver {
	const char *name;
	const char *vram_allocations;	/* debugfs: the range manager's list */
	uint64_t (*vram_size)(int fd);
	uint64_t (*max_size)(int fd, enum bo_placement placement);
	int (*create)(int fd, enum bo_placement placement, uint64_t size, uint32_t *handle);
	int (*map_offset)(int fd, uint32_t handle, uint64_t *offset);
	int (*open_vram)(int fd, bool *mmapped);
	int (*return_to_vram)(const struct bo *bo);
	int (*hold)(const struct bo *bo);
	bool (*can_pin)(int fd);	/* always, if not set */
	/* Where there is more direct a way than what works for all: */
	int (*where)(const struct bo *bo, enum bo_placement *where);
	int (*place)(const struct bo *bo, uint64_t *place, size_t *pieces);
	int (*evict)(const struct bo *bo);
};

int bo_ioctl(int fd, unsigned long request, void *arg)
{
	return drmIoctl(fd, request, arg) ? -errno : 0;
}

static int device_path(int fd, const char *name, char *path, size_t size)
{
	struct stat st;

	if (fstat(fd, &st))
		return -errno;
	snprintf(path, size, "/sys/dev/char/%u:%u/device/%s", major(st.st_rdev),
		 minor(st.st_rdev), name);
	return 0;
}

static int open_debugfs(int fd, const char *name)
{
	char path[128];
	struct stat st;
	int ret;

	if (fstat(fd, &st))
		return -errno;
	snprintf(path, sizeof(path), "/sys/kernel/debug/dri/%u/%s", minor(st.st_rdev), name);
	ret = open(path, O_RDONLY | O_CLOEXEC);
	if (ret < 0) {
		/* radeon makes its files before it has a directory of its own. */
		snprintf(path, sizeof(path), "/sys/kernel/debug/%s", name);
		ret = open(path, O_RDONLY | O_CLOEXEC);
	}
	return ret < 0 ? -errno : ret;
}

static uint64_t pci_bar_size(int fd, int bar)
{
	char path[128];
	uint64_t start, end, size = 0;
	FILE *f;

	if (device_path(fd, "resource", path, sizeof(path)))
		return 0;
	f = fopen(path, "re");
	if (!f)
		return 0;
	for (int i = 0; i <= bar; i++) {
		if (fscanf(f, "%" SCNx64 " %" SCNx64 " %*x", &start, &end) != 2)
			break;
		if (i == bar && end)
			size = end - start + 1;
	}
	fclose(f);
	return size;
}

/* Of 32 bits a pixel, 1024 a line, so that a line is a page. */
static int dumb_create(int fd, uint64_t size, uint32_t *handle)
{
	struct drm_mode_create_dumb dumb = {
		.width = BO_PTE_SIZE / 4,
		.height = size / BO_PTE_SIZE,
		.bpp = 32,
	};
	int ret = bo_ioctl(fd, DRM_IOCTL_MODE_CREATE_DUMB, &dumb);

	*handle = dumb.handle;
	return ret;
}

/* The size of a dumb buffer has 32 bits. */
#define DUMB_MAX_SIZE	((1ull << 32) - BO_PTE_SIZE)

static int dumb_map_offset(int fd, uint32_t handle, uint64_t *offset)
{
	struct drm_mode_map_dumb map = { .handle = handle };
	int ret = bo_ioctl(fd, DRM_IOCTL_MODE_MAP_DUMB, &map);

	*offset = map.offset;
	return ret;
}

/* qxl keeps surfaces in BAR 4 if the device has it, in the 32-bit BAR 1 otherwise. */
static int qxl_surface_bar(int fd)
{
	return pci_bar_size(fd, 4) ? 4 : 1;
}

static uint64_t qxl_vram_size(int fd)
{
	return pci_bar_size(fd, qxl_surface_bar(fd));
}

static uint64_t qxl_max_size(int fd, enum bo_placement placement)
{
	(void)fd;
	/* The size of a surface is an int. */
	return placement == BO_VRAM ? (1ull << 31) - BO_PTE_SIZE : DUMB_MAX_SIZE;
}

static int qxl_create(int fd, enum bo_placement placement, uint64_t size, uint32_t *handle)
{
	int ret;

	if (placement == BO_VRAM) {
		/*
		 * The driver allocates stride * height + stride bytes. Moving the object back
		 * into VRAM makes it a surface of the (virtual) hardware, so keep that as
		 * small as it can be: one pixel.
		 */
		struct drm_qxl_alloc_surf surf = {
			.format = 32,	/* SPICE_SURFACE_FMT_32_xRGB */
			.width = 1,
			.height = 1,
			.stride = size / 2,
		};

		ret = bo_ioctl(fd, DRM_IOCTL_QXL_ALLOC_SURF, &surf);
		*handle = surf.handle;
	} else {
		ret = dumb_create(fd, size, handle);
	}
	return ret;
}

static int qxl_map_offset(int fd, uint32_t handle, uint64_t *offset)
{
	struct drm_qxl_map map = { .handle = handle };
	int ret = bo_ioctl(fd, DRM_IOCTL_QXL_MAP, &map);

	*offset = map.offset;
	return ret;
}

/*
 * Write-combining, as the driver maps it: the kernel refuses a second cache mode for the
 * same memory.
 */
static int qxl_open_vram(int fd, bool *mmapped)
{
	char path[128], name[32];
	int ret;

	snprintf(name, sizeof(name), "resource%d_wc", qxl_surface_bar(fd));
	ret = device_path(fd, name, path, sizeof(path));
	if (ret)
		return ret;
	*mmapped = true;
	ret = open(path, O_RDONLY | O_CLOEXEC);
	return ret < 0 ? -errno : ret;
}

static int qxl_hold(const struct bo *bo)
{
	/*
	 * The driver locks the object and moves it to VRAM before it looks at the area. One
	 * that is outside of the surface (EINVAL) spares the round trip through the device.
	 */
	struct drm_qxl_update_area area = {
		.handle = bo->handle,
		.left = 1,
		.top = 1,
		.right = 2,
		.bottom = 2,
	};
	int ret = bo_ioctl(bo->fd, DRM_IOCTL_QXL_UPDATE_AREA, &area);

	return ret == -EINVAL ? 0 : ret;
}

/*
 * The driver pins an object in VRAM for another device before it finds out that it cannot
 * share it (ENOSYS). qxl_hold() moves it too, but makes a surface of it each time, and
 * lockdep finds a deadlock in the driver after 32 of those.
 */
static int qxl_return_to_vram(const struct bo *bo)
{
	struct stat self, other;
	int dmabuf, ret = -ENODEV;
	uint32_t handle;

	if (fstat(bo->fd, &self))
		return -errno;
	if (drmPrimeHandleToFD(bo->fd, bo->handle, O_CLOEXEC, &dmabuf))
		return -errno;
	for (int card = 0; card < 16 && ret == -ENODEV; card++) {
		int fd = bo_open_card(card);

		if (fd < 0)
			continue;
		/* A driver that this file does not know (vgem) may fail in another way. */
		if (!fstat(fd, &other) && other.st_rdev != self.st_rdev && *bo_driver(fd)) {
			ret = drmPrimeFDToHandle(fd, dmabuf, &handle) && errno != ENOSYS ?
				      -errno : 0;
		}
		close(fd);
	}
	close(dmabuf);
	return ret == -ENODEV ? qxl_hold(bo) : ret;
}

static struct drm_radeon_gem_info radeon_info(int fd)
{
	struct drm_radeon_gem_info info = { 0 };

	if (bo_ioctl(fd, DRM_IOCTL_RADEON_GEM_INFO, &info))
		memset(&info, 0, sizeof(info));
	return info;
}

static uint64_t radeon_vram_size(int fd)
{
	return radeon_info(fd).vram_visible;
}

static uint64_t radeon_max_size(int fd, enum bo_placement placement)
{
	(void)placement;
	/* Whatever the domain: moving an object is meant to go through the GTT. */
	return radeon_info(fd).gart_size;
}

static int radeon_create(int fd, enum bo_placement placement, uint64_t size, uint32_t *handle)
{
	/* GTT would need a GART; the CPU domain is plain system memory. */
	struct drm_radeon_gem_create create = {
		.size = size,
		.initial_domain = placement == BO_VRAM ? RADEON_GEM_DOMAIN_VRAM :
							 RADEON_GEM_DOMAIN_CPU,
	};
	int ret = bo_ioctl(fd, DRM_IOCTL_RADEON_GEM_CREATE, &create);

	*handle = create.handle;
	return ret;
}

static int radeon_map_offset(int fd, uint32_t handle, uint64_t *offset)
{
	struct drm_radeon_gem_mmap map = { .handle = handle };
	int ret = bo_ioctl(fd, DRM_IOCTL_RADEON_GEM_MMAP, &map);

	*offset = map.addr_ptr;
	return ret;
}

/* For another device, in the GART, which radeon gives up when the GPU does not start. */
static bool radeon_can_pin(int fd)
{
	uint32_t working = 0;
	struct drm_radeon_info info = {
		.request = RADEON_INFO_ACCEL_WORKING,
		.value = (uintptr_t)&working,
	};

	return !bo_ioctl(fd, DRM_IOCTL_RADEON_INFO, &info) && working;
}

static int radeon_open_vram(int fd, bool *mmapped)
{
	*mmapped = false;
	return open_debugfs(fd, "radeon_vram");
}

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

static uint64_t nouveau_size(int fd, uint64_t param)
{
	struct drm_nouveau_getparam get = { .param = param };

	return drmCommandWriteRead(fd, DRM_NOUVEAU_GETPARAM, &get, sizeof(get)) ? 0 : get.value;
}

static uint64_t nouveau_vram_size(int fd)
{
	return nouveau_size(fd, NOUVEAU_GETPARAM_FB_SIZE);
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
#endif

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

static const struct driver drivers[] = {
	{
		.name = "qxl",
		.vram_allocations = "qxl_surf_mm",
		.vram_size = qxl_vram_size,
		.max_size = qxl_max_size,
		.create = qxl_create,
		.map_offset = qxl_map_offset,
		.open_vram = qxl_open_vram,
		.return_to_vram = qxl_return_to_vram,
		.hold = qxl_hold,
	}, {
		.name = "radeon",
		.vram_allocations = "radeon_vram_mm",
		.vram_size = radeon_vram_size,
		.max_size = radeon_max_size,
		.create = radeon_create,
		.map_offset = radeon_map_offset,
		.open_vram = radeon_open_vram,
		.can_pin = radeon_can_pin,
	}, {
		.name = "amdgpu",
		.vram_size = amdgpu_vram_size,
		.max_size = amdgpu_max_size,
		.create = amdgpu_create,
		.map_offset = amdgpu_map_offset,
	}, {
		.name = "nouveau",
		.vram_size = nouveau_vram_size,
		.max_size = nouveau_max_size,
		.create = nouveau_create,
		.map_offset = nouveau_map_offset,
#ifdef DRM_XE_DEVICE_QUERY_MEM_REGIONS
	}, {
		.name = "xe",
		.vram_size = xe_vram_size,
		.max_size = xe_max_size,
		.create = xe_create,
		.map_offset = xe_map_offset,
#endif
	}, {
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
	},
};

static const struct driver *driver_of(int fd)
{
	const struct driver *found = NULL;
	drmVersion *version = drmGetVersion(fd);

	if (!version)
		return NULL;
	for (size_t i = 0; i < sizeof(drivers) / sizeof(drivers[0]); i++) {
		if (!strcmp(version->name, drivers[i].name))
			found = &drivers[i];
	}
	drmFreeVersion(version);
	return found;
}

int bo_open_card(int index)
{
	char path[32];
	int fd;

	snprintf(path, sizeof(path), "/dev/dri/card%d", index);
	fd = open(path, O_RDWR | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

const char *bo_driver(int fd)
{
	const struct driver *driver = driver_of(fd);

	return driver ? driver->name : "";
}

int bo_device(int fd, char *path, size_t size)
{
	char link[128], *found;
	int ret = device_path(fd, "", link, sizeof(link));

	if (ret)
		return ret;
	found = realpath(link, NULL);
	if (!found)
		return -errno;
	snprintf(path, size, "%s", found);
	free(found);
	return 0;
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

	if (placement == BO_VRAM && !bo_vram_size(fd))
		return false;
	if (bo_create(fd, placement, BO_PTE_SIZE, &bo))
		return false;
	bo_destroy(&bo);
	return true;
}

uint64_t bo_vram_size(int fd)
{
	const struct driver *driver = driver_of(fd);

	return driver ? driver->vram_size(fd) : 0;
}

uint64_t bo_max_size(int fd, enum bo_placement placement)
{
	const struct driver *driver = driver_of(fd);

	if (placement == BO_DUMB)
		return DUMB_MAX_SIZE;
	return driver ? driver->max_size(fd, placement) : 0;
}

int bo_create(int fd, enum bo_placement placement, uint64_t size, struct bo *bo)
{
	const struct driver *driver = driver_of(fd);
	int ret;

	if (!driver && placement != BO_DUMB)
		return -EOPNOTSUPP;
	if (!size || size % BO_PTE_SIZE)
		return -EINVAL;
	if (size > bo_max_size(fd, placement))
		return -E2BIG;

	*bo = (struct bo){ .fd = fd, .size = size, .placement = placement };
	ret = placement == BO_DUMB ? dumb_create(fd, size, &bo->handle) :
				     driver->create(fd, placement, size, &bo->handle);
	if (ret)
		return ret;
	ret = placement == BO_DUMB ? dumb_map_offset(fd, bo->handle, &bo->offset) :
				     driver->map_offset(fd, bo->handle, &bo->offset);
	if (ret)
		bo_destroy(bo);
	return ret;
}

int bo_import(int fd, int dmabuf, struct bo *bo)
{
	const struct driver *driver = driver_of(fd);
	off_t size = lseek(dmabuf, 0, SEEK_END);
	int ret;

	if (!driver)
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
	return dumb_map_offset(fd, handle, &bo->offset);
}

bool bo_can_pin(int fd)
{
	const struct driver *driver = driver_of(fd);

	return driver && (!driver->can_pin || driver->can_pin(fd));
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

static void *map_part_4k(const struct bo *bo, uint64_t first, size_t length)
{
	void *map = bo_map_part(bo, first, NULL, length, PROT_READ | PROT_WRITE, 0);

	/* EINVAL: a kernel without transparent huge pages, which has no huge entries here. */
	if (map != MAP_FAILED && madvise(map, length, MADV_NOHUGEPAGE) && errno != EINVAL) {
		munmap(map, length);
		return MAP_FAILED;
	}
	return map;
}

void *bo_map_4k(const struct bo *bo)
{
	return map_part_4k(bo, 0, bo->size);
}

/*
 * Placement
 */

int bo_where(const struct bo *bo, enum bo_placement *where)
{
	const struct driver *driver = driver_of(bo->fd);
	struct bo_levels levels;
	volatile uint8_t *map;
	int ret;

	if (driver && driver->where)
		return driver->where(bo, where);
	map = map_part_4k(bo, 0, BO_PTE_SIZE);
	if (map == MAP_FAILED)
		return -errno;
	(void)map[0];
	ret = bo_levels((void *)map, BO_PTE_SIZE, &levels);
	munmap((void *)map, BO_PTE_SIZE);
	if (ret)
		return ret;
	if (!levels.mapped)
		return -EFAULT;
	*where = strcmp(levels.cache, "WB") ? BO_VRAM : BO_SYSTEM;
	return 0;
}

int bo_vram_place(const struct bo *bo, uint64_t *place, size_t *pieces)
{
	const struct driver *driver = driver_of(bo->fd);
	struct bo_reader reader;
	int ret;

	if (driver && driver->place)
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
	const struct driver *driver = driver_of(bo->fd);
	uint64_t vram = bo_vram_size(bo->fd), chunk, total = 0;
	enum bo_placement where = BO_VRAM;
	struct bo other[32];
	int count = 0, ret;

	if (bo->placement != BO_VRAM)
		return -EOPNOTSUPP;
	if (driver && driver->evict)
		return driver->evict(bo);
	/*
	 * Whatever is in VRAM longer than the new objects goes first. On qxl some of them
	 * find room in a second, smaller heap, so it can take more than VRAM holds.
	 */
	chunk = MIN(vram / 8 & ~(BO_PTE_SIZE - 1), bo_max_size(bo->fd, BO_VRAM));
	do {
		ret = bo_create(bo->fd, BO_VRAM, chunk, &other[count]);
		if (ret)
			break;
		count++;
		total += chunk;
		/* Asking is slow, so not before it can have happened. */
		if (total + bo->size < vram)
			continue;
		ret = bo_where(bo, &where);
	} while (!ret && (total + bo->size < vram || where == BO_VRAM) && count < 32);

	if (!ret && where == BO_VRAM)
		ret = -ENOSPC;
	while (count)
		bo_destroy(&other[--count]);
	return ret;
}

int bo_return_to_vram(const struct bo *bo)
{
	const struct driver *driver = driver_of(bo->fd);

	if (bo->placement != BO_VRAM || !driver || !driver->return_to_vram)
		return -EOPNOTSUPP;
	return driver->return_to_vram(bo);
}

int bo_hold(const struct bo *bo)
{
	const struct driver *driver = driver_of(bo->fd);

	if (!driver || !driver->hold)
		return -EOPNOTSUPP;
	return driver->hold(bo);
}

/*
 * Reading without the mapping
 */

ssize_t bo_reader_read(struct bo_reader *reader, void *buf, size_t length, uint64_t offset)
{
	ssize_t done;

	if (offset % 8 || length % 8)
		return -EINVAL;
	length = offset < reader->size ? MIN(length, reader->size - offset) : 0;
	if (!length)
		return 0;

	if (reader->mmapped) {
		uint64_t pos = reader->base + offset;
		size_t skip = pos % BO_PTE_SIZE;
		void *map = mmap(NULL, skip + length, PROT_READ, MAP_SHARED, reader->fd,
				 pos - skip);

		if (map == MAP_FAILED)
			return -errno;
		memcpy(buf, (char *)map + skip, length);
		munmap(map, skip + length);
		return length;
	}

	done = pread(reader->fd, buf, length, reader->base + offset);
	return done < 0 ? -errno : done;
}

/* Finds the allocation that starts with @mark and has the object's size. */
static int find_in_vram(const struct driver *driver, int fd, struct bo_reader *reader,
			uint64_t mark)
{
	int list = open_debugfs(fd, driver->vram_allocations), ret = -ENXIO;
	uint64_t start, end, found;
	char line[256];
	FILE *f;

	if (list < 0)
		return list;
	f = fdopen(list, "r");
	if (!f) {
		close(list);
		return -ENOMEM;
	}
	while (ret && fgets(line, sizeof(line), f)) {
		if (!strstr(line, "used\n") ||
		    sscanf(line, "0x%" SCNx64 "-0x%" SCNx64, &start, &end) != 2 ||
		    (end - start) * BO_PTE_SIZE != reader->size)
			continue;
		reader->base = start * BO_PTE_SIZE;
		if (bo_reader_read(reader, &found, sizeof(found), 0) == sizeof(found) &&
		    found == mark)
			ret = 0;
	}
	fclose(f);
	return ret;
}

static int reader_open_vram(const struct bo *bo, struct bo_reader *reader)
{
	const struct driver *driver = driver_of(bo->fd);
	volatile uint64_t *map;
	uint64_t mark, saved;
	int ret;

	if (!driver->open_vram)
		return -EOPNOTSUPP;
	reader->fd = driver->open_vram(bo->fd, &reader->mmapped);
	if (reader->fd < 0)
		return reader->fd;

	map = map_part_4k(bo, 0, BO_PTE_SIZE);
	if (map == MAP_FAILED) {
		ret = -errno;
	} else {
		saved = map[0];
		mark = bo_pattern(getpid(), saved);
		map[0] = mark;
		__sync_synchronize();	/* out of the write-combining buffer */
		ret = find_in_vram(driver, bo->fd, reader, mark);
		map[0] = saved;
		__sync_synchronize();
		munmap((void *)map, BO_PTE_SIZE);
	}
	if (ret)
		bo_reader_close(reader);
	return ret;
}

int bo_reader_open(const struct bo *bo, struct bo_reader *reader)
{
	uint64_t word;
	int ret;

	*reader = (struct bo_reader){ .fd = -1, .size = bo->size };

	/* Follows the object wherever it is, but only some drivers let it read VRAM. */
	reader->window = bo_map(bo, NULL, bo->size, PROT_READ, 0);
	if (reader->window == MAP_FAILED)
		return -errno;
	reader->base = (uintptr_t)reader->window;
	reader->fd = open("/proc/self/mem", O_RDONLY | O_CLOEXEC);
	if (reader->fd < 0)
		ret = -errno;
	else if (bo_reader_read(reader, &word, sizeof(word), 0) == sizeof(word))
		return 0;
	else
		ret = -EIO;
	bo_reader_close(reader);
	return ret == -EIO && bo->placement == BO_VRAM ? reader_open_vram(bo, reader) : ret;
}

void bo_reader_close(struct bo_reader *reader)
{
	if (reader->window)
		munmap(reader->window, reader->size);
	if (reader->fd >= 0)
		close(reader->fd);
	reader->window = NULL;
	reader->fd = -1;
}

ssize_t bo_pread(const struct bo *bo, void *buf, size_t length, uint64_t offset)
{
	struct bo_reader reader;
	ssize_t ret = bo_reader_open(bo, &reader);

	if (!ret) {
		ret = bo_reader_read(&reader, buf, length, offset);
		bo_reader_close(&reader);
	}
	return ret;
}

/*
 * Contents
 */

uint64_t bo_pattern(uint64_t seed, uint64_t offset)
{
	/* One round of multiply and shift each way spreads every bit of both. */
	uint64_t x = (seed + 1) * 0x9e3779b97f4a7c15 + offset;

	x = (x ^ x >> 32) * 0xd6e8feb86659fd93;
	return x ^ x >> 32;
}

/* The first position of a pattern in or after @offset. */
static uint64_t next_position(uint64_t offset, uint64_t step)
{
	return (offset + step - 1) / step * step;
}

void bo_fill(void *map, uint64_t first, uint64_t length, uint64_t step, uint64_t seed)
{
	for (uint64_t o = next_position(first, step); o < first + length; o += step)
		*(volatile uint64_t *)((char *)map + (o - first)) = bo_pattern(seed, o);
	__sync_synchronize();	/* out of the write-combining buffers */
}

int64_t bo_check(const void *map, uint64_t first, uint64_t length, uint64_t step, uint64_t seed)
{
	for (uint64_t o = next_position(first, step); o < first + length; o += step) {
		if (*(volatile uint64_t *)((const char *)map + (o - first)) != bo_pattern(seed, o))
			return o;
	}
	return -1;
}

int64_t bo_check_reader(struct bo_reader *reader, uint64_t first, uint64_t length, uint64_t step,
			uint64_t seed, int *error)
{
	uint64_t word;
	ssize_t ret;

	*error = 0;
	for (uint64_t o = next_position(first, step); o < first + length; o += step) {
		ret = bo_reader_read(reader, &word, sizeof(word), o);
		if (ret != sizeof(word)) {
			*error = ret < 0 ? ret : -EIO;
			return o;
		}
		if (word != bo_pattern(seed, o))
			return o;
	}
	return -1;
}

/*
 * Page tables
 */

const char *bo_level_name(enum bo_level level)
{
	return level_info[level].name;
}

static bool same_kind(const struct bo_extent *a, const struct bo_extent *b)
{
	return a->level == b->level && a->writable == b->writable && !strcmp(a->cache, b->cache);
}

struct extent_list {
	struct bo_extent *array;
	size_t used, room;
};

static int append_extent(struct extent_list *list, const struct bo_extent *extent)
{
	struct bo_extent *last = list->used ? &list->array[list->used - 1] : NULL;

	if (extent->start == extent->end)
		return 0;
	if (last && same_kind(last, extent)) {
		last->end = extent->end;
		return 0;
	}
	if (list->used == list->room) {
		size_t room = list->room ? list->room * 2 : 16;

		last = realloc(list->array, room * sizeof(*last));
		if (!last)
			return -ENOMEM;
		list->array = last;
		list->room = room;
	}
	list->array[list->used++] = *extent;
	return 0;
}

int bo_extents(const void *addr, size_t length, struct bo_extent **extents, size_t *count)
{
	uintptr_t reached = (uintptr_t)addr, end = reached + length;
	struct extent_list list = { 0 };
	char line[256];
	int ret = 0;
	FILE *f;

	/*
	 * The kernel walks everything before the first byte comes out, a few times over
	 * until its buffer fits; leaving early saves only the copying.
	 */
	f = fopen("/sys/kernel/debug/page_tables/current_kernel", "re");
	if (!f)
		return -errno;
	setvbuf(f, NULL, _IOFBF, 1 << 16);

	while (!ret && reached < end && fgets(line, sizeof(line), f)) {
		struct bo_extent extent, gap = { .start = reached };

		if (!parse_extent(line, &extent) || extent.end <= reached)
			continue;
		extent.start = MIN(MAX(extent.start, reached), end);
		extent.end = MIN(extent.end, end);
		gap.end = extent.start;
		ret = append_extent(&list, &gap);
		if (!ret)
			ret = append_extent(&list, &extent);
		reached = extent.end;
	}
	fclose(f);

	if (!ret && reached < end)
		ret = -ENODATA;
	if (ret) {
		free(list.array);
		return ret;
	}
	*extents = list.array;
	*count = list.used;
	return 0;
}

int bo_print_tables(FILE *f, const void *addr, size_t length)
{
	struct bo_extent *extents;
	size_t count;
	int ret;

	ret = bo_extents(addr, length, &extents, &count);
	if (ret)
		return ret;

	for (size_t i = 0; i < count; i++) {
		if (extents[i].level != BO_NONE)
			fprintf(f, "%" PRIxPTR " %" PRIxPTR " %s\n", extents[i].start,
				extents[i].end, bo_level_name(extents[i].level));
	}
	free(extents);
	return 0;
}

int bo_levels(const void *addr, size_t length, struct bo_levels *levels)
{
	struct bo_extent *extents;
	size_t count;
	int ret;

	*levels = (struct bo_levels){ 0 };
	ret = bo_extents(addr, length, &extents, &count);
	if (ret)
		return ret;

	for (size_t i = 0; i < count; i++) {
		const struct bo_extent *e = &extents[i];
		uint64_t mask = level_info[e->level].size - 1;
		/* An entry counts once, even if only a part of it is in the range. */
		uint64_t entries = (((e->end + mask) & ~mask) - (e->start & ~mask)) /
				   (mask + 1);

		if (e->level == BO_NONE)
			continue;
		if (e->level == BO_PTE)
			levels->pte += entries;
		else if (e->level == BO_PMD)
			levels->pmd += entries;
		else
			levels->pud += entries;
		levels->mapped += e->end - e->start;
		if (e->writable)
			levels->writable += e->end - e->start;
		if (!levels->cache[0])
			strcpy(levels->cache, e->cache);
		else if (strcmp(levels->cache, e->cache))
			strcpy(levels->cache, "mixed");
	}
	free(extents);
	return 0;
}

uint64_t bo_faults(void)
{
	struct rusage usage;

	getrusage(RUSAGE_SELF, &usage);
	return usage.ru_minflt + usage.ru_majflt;
}

uint64_t bo_pgtable_kib(void)
{
	FILE *f = fopen("/proc/self/status", "re");
	uint64_t kib = 0;
	char line[256];

	if (!f)
		return 0;
	while (fgets(line, sizeof(line), f) && sscanf(line, "VmPTE: %" SCNu64, &kib) != 1)
		;
	fclose(f);
	return kib;
}

/*
 * The switch
 */

int bo_get_huge_faults(void)
{
	FILE *f = fopen(BO_HUGE_FAULTS, "re");
	int value, ret = -EINVAL;

	if (!f)
		return -errno;
	if (fscanf(f, "%d", &value) == 1)
		ret = value;
	fclose(f);
	return ret;
}

static volatile bool switch_was_set;

int bo_set_huge_faults(int value)
{
	int fd = open(BO_HUGE_FAULTS, O_WRONLY | O_CLOEXEC), ret;

	if (fd < 0)
		return -errno;
	switch_was_set = true;
	ret = dprintf(fd, "%d\n", value) < 0 ? -errno : 0;
	close(fd);
	return ret;
}

/* For restore_switch() and restore_and_die() */
static int switch_before;
static char sigbus_message[128];

/* Signal handlers can call it, so it does without stdio. */
static void restore_switch(void)
{
	const char digit = '0' + switch_before;
	int fd;

	if (!switch_was_set || switch_before < 0)
		return;
	fd = open(BO_HUGE_FAULTS, O_WRONLY | O_CLOEXEC);
	if (fd >= 0 && write(fd, &digit, 1) == 1)
		close(fd);
}

static void restore_and_die(int sig)
{
	restore_switch();
	if (sig == SIGBUS)
		(void)!write(STDERR_FILENO, sigbus_message, strlen(sigbus_message));
	raise(sig);
}

void bo_restore_huge_faults_at_exit(void)
{
	static const int signals[] = { SIGHUP, SIGINT, SIGQUIT, SIGPIPE, SIGTERM, SIGBUS };
	struct sigaction action = { .sa_handler = restore_and_die, .sa_flags = SA_RESETHAND }, old;

	switch_before = bo_get_huge_faults();
	snprintf(sigbus_message, sizeof(sigbus_message),
		 "%s: the kernel could not map the object (SIGBUS); see dmesg\n",
		 program_invocation_short_name);
	atexit(restore_switch);
	for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++) {
		/* nohup has some of them ignored. */
		if (!sigaction(signals[i], NULL, &old) && old.sa_handler == SIG_DFL)
			sigaction(signals[i], &action, NULL);
	}
}
