// SPDX-License-Identifier: MIT
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include <qxl_drm.h>
#include <xf86drm.h>

#include "drivers.h"

static uint64_t pci_bar_size(int fd, int bar)
{
	char path[128];
	uint64_t start, end, size = 0;
	FILE *f;

	if (bo_device_path(fd, "resource", path, sizeof(path)))
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
	/* The size of a surface is an int. */
	return placement == BO_VRAM ? (1ull << 31) - BO_PTE_SIZE :
				      bo_driver_dumb.max_size(fd, BO_DUMB);
}

static int qxl_create(int fd, enum bo_placement placement, uint64_t size, uint32_t *handle)
{
	/*
	 * The driver allocates stride * height + stride bytes. Moving the object back into VRAM
	 * makes it a surface of the (virtual) hardware, so keep that as small as it can be: one
	 * pixel.
	 */
	struct drm_qxl_alloc_surf surf = {
		.format = 32,	/* SPICE_SURFACE_FMT_32_xRGB */
		.width = 1,
		.height = 1,
		.stride = size / 2,
	};
	int ret;

	if (placement != BO_VRAM)
		return bo_driver_dumb.create(fd, BO_DUMB, size, handle);
	ret = bo_ioctl(fd, DRM_IOCTL_QXL_ALLOC_SURF, &surf);
	*handle = surf.handle;
	return ret;
}

static int qxl_map_offset(int fd, uint32_t handle, uint64_t *offset)
{
	struct drm_qxl_map map = { .handle = handle };
	int ret = bo_ioctl(fd, DRM_IOCTL_QXL_MAP, &map);

	*offset = map.offset;
	return ret;
}

static int qxl_open_vram(int fd, bool *mmapped)
{
	*mmapped = true;
	return bo_open_bar(fd, qxl_surface_bar(fd));
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
		/* A driver that this library does not know (vgem) may fail in another way. */
		if (!fstat(fd, &other) && other.st_rdev != self.st_rdev && *bo_driver(fd)) {
			ret = drmPrimeFDToHandle(fd, dmabuf, &handle) && errno != ENOSYS ?
				      -errno : 0;
		}
		close(fd);
	}
	close(dmabuf);
	return ret == -ENODEV ? qxl_hold(bo) : ret;
}

const struct bo_driver bo_driver_qxl = {
	.name = "qxl",
	.vram_allocations = "qxl_surf_mm",
	.vram_size = qxl_vram_size,
	.max_size = qxl_max_size,
	.create = qxl_create,
	.map_offset = qxl_map_offset,
	.open_vram = qxl_open_vram,
	.return_to_vram = qxl_return_to_vram,
	.hold = qxl_hold,
};
