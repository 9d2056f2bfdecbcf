// SPDX-License-Identifier: MIT
/*
 * For LD_PRELOAD: a card of a driver that nobody here has, as strict as the kernel is. Compiled with
 * the headers of a kernel tree, it finds out whether programs that were compiled with libdrm's mean
 * the same.
 *
 *   FAKE_ROOT=DIR     files in /dev/dri, /sys, /proc/config.gz, /proc/cmdline and /boot are those below
 *                     DIR; DIR/dev/dri/card0 is a plain file, which is what mappings map
 *   FAKE_DRIVER=NAME  amdgpu, i915, nouveau, radeon or xe
 *   FAKE_FAIL=WHAT:ERRNO  create, size or map fails like that
 *   FAKE_INTEGRATED=1 i915 has no memory of its own
 *   FAKE_DELAY=MS     that long takes the creation of an object
 *   FAKE_TILED=HOW    modifier or driver: the framebuffer that is shown is tiled
 *   FAKE_COUNTERS=1   performance counters count 1600 cycles, and 160 misses of reads and 320 of
 *                     writes, in any time
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/perf_event.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <drm.h>
#include <drm_fourcc.h>
#include <drm_mode.h>

#include <amdgpu_drm.h>
#include <i915_drm.h>
#include <nouveau_drm.h>
#include <radeon_drm.h>
#include <xe_drm.h>

#define MIB		(UINT64_C(1) << 20)
#define VRAM		(32 * MIB)
#define OFFSET(handle)	((uint64_t)((handle) % 4) * VRAM)

static int card_fd = -1;
static uint32_t last_handle;

static const char *setting(const char *name)
{
	const char *value = getenv(name);

	return value ? value : "";
}

static int failure(const char *what)
{
	const char *fail = setting("FAKE_FAIL");
	size_t length = strlen(what);

	return !strncmp(fail, what, length) && fail[length] == ':' ? atoi(fail + length + 1) : 0;
}

/* What is wrong with a structure is the test's to show. */
static int refuse(const char *why)
{
	fprintf(stderr, "fake-drm: %s: %s\n", setting("FAKE_DRIVER"), why);
	return EINVAL;
}

static int new_handle(uint64_t size, uint32_t *handle)
{
	usleep(atoi(setting("FAKE_DELAY")) * 1000);
	if (failure("create"))
		return failure("create");
	if (!size || size % 4096)
		return refuse("the size is no multiple of a page");
	if (size > VRAM)
		return ENOMEM;
	*handle = ++last_handle;
	return 0;
}

static int map(uint32_t handle, __u64 *offset)
{
	if (!handle || handle > last_handle)
		return ENOENT;
	*offset = OFFSET(handle);
	return failure("map");
}

static int amdgpu(unsigned long request, void *arg)
{
	union drm_amdgpu_gem_create *create = arg;
	struct drm_amdgpu_info *info = arg;
	union drm_amdgpu_gem_mmap *mapping = arg;
	struct drm_amdgpu_gem_metadata *metadata = arg;

	switch (request) {
	case DRM_IOCTL_AMDGPU_INFO: {
		struct drm_amdgpu_info_vram_gtt sizes = {
			.vram_size = 4 * VRAM, .vram_cpu_accessible_size = VRAM, .gtt_size = VRAM,
		};

		if (info->query != AMDGPU_INFO_VRAM_GTT)
			return refuse("another query");
		memcpy((void *)(uintptr_t)info->return_pointer, &sizes,
		       info->return_size < sizeof(sizes) ? info->return_size : sizeof(sizes));
		return failure("size");
	}
	case DRM_IOCTL_AMDGPU_GEM_CREATE: {
		uint64_t domains = create->in.domains, flags = create->in.domain_flags;
		uint32_t handle = 0;
		int ret = new_handle(create->in.bo_size, &handle);

		if (domains != AMDGPU_GEM_DOMAIN_VRAM && domains != AMDGPU_GEM_DOMAIN_GTT)
			return refuse("no domain, or several");
		if (!(flags & AMDGPU_GEM_CREATE_CPU_ACCESS_REQUIRED) ||
		    flags & AMDGPU_GEM_CREATE_NO_CPU_ACCESS)
			return refuse("the CPU has no access");
		memset(create, 0, sizeof(*create));
		create->out.handle = handle;
		return ret;
	}
	case DRM_IOCTL_AMDGPU_GEM_MMAP: {
		__u64 offset = 0;
		int ret = map(mapping->in.handle, &offset);

		mapping->out.addr_ptr = offset;
		return ret;
	}
	case DRM_IOCTL_AMDGPU_GEM_METADATA:
		if (metadata->op != AMDGPU_GEM_METADATA_OP_GET_METADATA)
			return refuse("not to get");
		metadata->data.tiling_info = AMDGPU_TILING_SET(SWIZZLE_MODE,
			strcmp(setting("FAKE_TILED"), "driver") ? 0 : 10);
		return 0;
	}
	return ENOTTY;
}

static int radeon(unsigned long request, void *arg)
{
	struct drm_radeon_gem_info *info = arg;
	struct drm_radeon_gem_create *create = arg;
	struct drm_radeon_gem_mmap *mapping = arg;
	struct drm_radeon_gem_get_tiling *tiling = arg;

	switch (request) {
	case DRM_IOCTL_RADEON_GEM_INFO:
		*info = (struct drm_radeon_gem_info){ VRAM, VRAM, VRAM };
		return failure("size");
	case DRM_IOCTL_RADEON_GEM_CREATE:
		if (create->initial_domain != RADEON_GEM_DOMAIN_VRAM &&
		    create->initial_domain != RADEON_GEM_DOMAIN_CPU)
			return refuse("another domain");
		return new_handle(create->size, &create->handle);
	case DRM_IOCTL_RADEON_GEM_MMAP:
		return map(mapping->handle, &mapping->addr_ptr);
	case DRM_IOCTL_RADEON_GEM_GET_TILING:
		tiling->tiling_flags = strcmp(setting("FAKE_TILED"), "driver") ? 0 :
				       RADEON_TILING_MACRO;
		return 0;
	}
	return ENOTTY;
}

static int nouveau(unsigned long request, void *arg)
{
	struct drm_nouveau_getparam *get = arg;
	struct drm_nouveau_gem_new *new = arg;
	struct drm_nouveau_gem_info *info = arg;

	switch (request) {
	case DRM_IOCTL_NOUVEAU_GETPARAM:
		switch (get->param) {
		case NOUVEAU_GETPARAM_FB_SIZE:
			get->value = 4 * VRAM;
			return failure("size");
		case NOUVEAU_GETPARAM_VRAM_BAR_SIZE:
		case NOUVEAU_GETPARAM_AGP_SIZE:
			get->value = VRAM;
			return failure("size");
		case NOUVEAU_GETPARAM_CHIPSET_ID:
			get->value = 0x50;
			return 0;
		}
		return refuse("another parameter");
	case DRM_IOCTL_NOUVEAU_GEM_NEW:
		if (!(new->info.domain & NOUVEAU_GEM_DOMAIN_MAPPABLE) ||
		    !(new->info.domain & (NOUVEAU_GEM_DOMAIN_VRAM | NOUVEAU_GEM_DOMAIN_GART)))
			return refuse("not to be mapped, or nowhere");
		if (new->info.tile_flags & ~0x0000ff00)
			return refuse("tile flags");
		new->info.map_handle = OFFSET(last_handle + 1);
		return new_handle(new->info.size, &new->info.handle);
	case DRM_IOCTL_NOUVEAU_GEM_INFO:
		info->tile_flags = strcmp(setting("FAKE_TILED"), "driver") ? 0 : 0xfe00;
		return map(info->handle, &info->map_handle);
	}
	return ENOTTY;
}

static int i915_query(struct drm_i915_query *query)
{
	struct drm_i915_query_item *item = (void *)(uintptr_t)query->items_ptr;
	struct drm_i915_query_memory_regions *regions = (void *)(uintptr_t)item->data_ptr;
	const int32_t length = sizeof(*regions) + 2 * sizeof(regions->regions[0]);

	if (query->num_items != 1 || query->flags || item->flags ||
	    item->query_id != DRM_I915_QUERY_MEMORY_REGIONS)
		return refuse("another query");
	if (item->length && item->length < length) {
		item->length = -EINVAL;
		return 0;
	}
	if (item->length) {
		if (regions->num_regions || regions->rsvd[0] || regions->rsvd[1] || regions->rsvd[2])
			return refuse("the buffer is not empty");
		memset(regions, 0, length);
		regions->num_regions = *setting("FAKE_INTEGRATED") ? 1 : 2;
		regions->regions[0].region.memory_class = I915_MEMORY_CLASS_SYSTEM;
		regions->regions[0].probed_size = VRAM;
		regions->regions[1].region.memory_class = I915_MEMORY_CLASS_DEVICE;
		regions->regions[1].region.memory_instance = 0;
		regions->regions[1].probed_size = 4 * VRAM;
		regions->regions[1].probed_cpu_visible_size = VRAM;
	}
	item->length = length;
	return failure("size");
}

static int i915_create(struct drm_i915_gem_create_ext *create)
{
	const struct drm_i915_gem_create_ext_memory_regions *extension =
		(void *)(uintptr_t)create->extensions;
	const struct drm_i915_gem_memory_class_instance *place;
	bool system = false;

	if (create->flags & ~I915_GEM_CREATE_EXT_FLAG_NEEDS_CPU_ACCESS)
		return refuse("flags");
	if (!extension || extension->base.name != I915_GEM_CREATE_EXT_MEMORY_REGIONS ||
	    extension->base.next_extension || extension->base.flags || extension->pad)
		return refuse("another extension");
	if (!extension->num_regions || extension->num_regions > 2)
		return refuse("how many regions");
	place = (void *)(uintptr_t)extension->regions;
	for (uint32_t i = 0; i < extension->num_regions; i++) {
		if (place[i].memory_class > I915_MEMORY_CLASS_DEVICE || place[i].memory_instance)
			return refuse("no such region");
		system |= place[i].memory_class == I915_MEMORY_CLASS_SYSTEM;
	}
	if (create->flags && (extension->num_regions == 1 || !system))
		return refuse("nowhere to go from the part that the CPU maps");
	return new_handle(create->size, &create->handle);
}

static int i915(unsigned long request, void *arg)
{
	struct drm_i915_gem_mmap_offset *mapping = arg;
	struct drm_i915_gem_get_tiling *tiling = arg;

	switch (request) {
	case DRM_IOCTL_I915_QUERY:
		return i915_query(arg);
	case DRM_IOCTL_I915_GEM_CREATE_EXT:
		return i915_create(arg);
	case DRM_IOCTL_I915_GEM_MMAP_OFFSET:
		if (mapping->flags != I915_MMAP_OFFSET_FIXED || mapping->extensions)
			return refuse("a card with memory of its own has fixed cache modes");
		return map(mapping->handle, &mapping->offset);
	case DRM_IOCTL_I915_GEM_GET_TILING:
		tiling->tiling_mode = strcmp(setting("FAKE_TILED"), "driver") ? I915_TILING_NONE :
				      I915_TILING_X;
		return 0;
	}
	return ENOTTY;
}

static int xe_query(struct drm_xe_device_query *query)
{
	struct drm_xe_query_mem_regions *regions = (void *)(uintptr_t)query->data;
	const uint32_t size = sizeof(*regions) + 2 * sizeof(regions->mem_regions[0]);

	if (query->extensions || query->reserved[0] || query->reserved[1] ||
	    query->query != DRM_XE_DEVICE_QUERY_MEM_REGIONS)
		return refuse("another query");
	if (query->size && query->size != size)
		return refuse("the size of a query");
	if (query->size) {
		memset(regions, 0, size);
		regions->num_mem_regions = 2;
		regions->mem_regions[0].mem_class = DRM_XE_MEM_REGION_CLASS_SYSMEM;
		regions->mem_regions[0].min_page_size = 4096;
		regions->mem_regions[0].total_size = VRAM;
		regions->mem_regions[1].mem_class = DRM_XE_MEM_REGION_CLASS_VRAM;
		regions->mem_regions[1].instance = 1;
		regions->mem_regions[1].min_page_size = 65536;
		regions->mem_regions[1].total_size = 4 * VRAM;
		regions->mem_regions[1].cpu_visible_size = VRAM;
	}
	query->size = size;
	return failure("size");
}

static int xe_create(struct drm_xe_gem_create *create)
{
	const bool vram = create->placement & 2;

	if (create->extensions || create->handle || create->vm_id || create->pad[0] ||
	    create->pad[1] || create->pad[2] || create->reserved[0] || create->reserved[1])
		return refuse("what must be 0 is not");
	if (!create->placement || create->placement & ~3u)
		return refuse("no such memory");
	if (create->flags & ~DRM_XE_GEM_CREATE_FLAG_NEEDS_VISIBLE_VRAM)
		return refuse("flags");
	if (create->flags && !vram)
		return refuse("visible VRAM in system memory");
	if (create->cpu_caching != DRM_XE_GEM_CPU_CACHING_WC &&
	    (vram || create->cpu_caching != DRM_XE_GEM_CPU_CACHING_WB))
		return refuse("cache mode");
	if (vram && create->size % 65536)
		return refuse("the size is no multiple of the memory's pages");
	return new_handle(create->size, &create->handle);
}

static int xe(unsigned long request, void *arg)
{
	struct drm_xe_gem_mmap_offset *mapping = arg;

	switch (request) {
	case DRM_IOCTL_XE_DEVICE_QUERY:
		return xe_query(arg);
	case DRM_IOCTL_XE_GEM_CREATE:
		return xe_create(arg);
	case DRM_IOCTL_XE_GEM_MMAP_OFFSET:
		if (mapping->extensions || mapping->flags || mapping->reserved[0] ||
		    mapping->reserved[1])
			return refuse("what must be 0 is not");
		return map(mapping->handle, &mapping->offset);
	}
	return ENOTTY;
}

/* A CRTC that shows a framebuffer of 64x16 pixels */
static int modesetting(unsigned long request, void *arg)
{
	struct drm_mode_card_res *resources = arg;
	struct drm_mode_crtc *crtc = arg;
	struct drm_mode_fb_cmd2 *fb = arg;
	struct drm_mode_map_dumb *dumb = arg;

	switch (request) {
	case DRM_IOCTL_MODE_GETRESOURCES:
		if (resources->count_crtcs && resources->crtc_id_ptr)
			*(uint32_t *)(uintptr_t)resources->crtc_id_ptr = 1;
		resources->count_crtcs = 1;
		resources->count_fbs = resources->count_connectors = resources->count_encoders = 0;
		return 0;
	case DRM_IOCTL_MODE_GETCRTC:
		crtc->mode_valid = 1;
		crtc->fb_id = 2;
		return 0;
	case DRM_IOCTL_MODE_GETFB2:
		fb->width = 64;
		fb->height = 16;
		fb->pixel_format = DRM_FORMAT_XRGB8888;
		fb->pitches[0] = 256;
		fb->handles[0] = last_handle = 1;
		fb->flags = 0;
		if (!strcmp(setting("FAKE_TILED"), "modifier")) {
			fb->flags = DRM_MODE_FB_MODIFIERS;
			fb->modifier[0] = I915_FORMAT_MOD_X_TILED;
		}
		return 0;
	case DRM_IOCTL_MODE_MAP_DUMB:
		return map(dumb->handle, &dumb->offset);
	case DRM_IOCTL_GEM_CLOSE:
	case DRM_IOCTL_DROP_MASTER:
		return 0;
	}
	return ENOTTY;
}

static const struct {
	const char *name;
	int (*ioctl)(unsigned long request, void *arg);
} drivers[] = {
	{ "amdgpu", amdgpu }, { "i915", i915 }, { "nouveau", nouveau }, { "radeon", radeon },
	{ "xe", xe },
};

static int answer(unsigned long request, void *arg)
{
	const char *name = setting("FAKE_DRIVER");
	struct drm_version *version = arg;
	int ret = ENOTTY;

	if (request == DRM_IOCTL_VERSION) {
		if (version->name && version->name_len >= strlen(name))
			memcpy(version->name, name, strlen(name));
		version->name_len = strlen(name);
		if (version->date)
			version->date[0] = '-';
		if (version->desc)
			version->desc[0] = '-';
		version->date_len = version->desc_len = 1;
		return 0;
	}
	for (size_t i = 0; i < sizeof(drivers) / sizeof(drivers[0]); i++) {
		if (!strcmp(name, drivers[i].name))
			ret = drivers[i].ioctl(request, arg);
	}
	return ret == ENOTTY ? modesetting(request, arg) : ret;
}

/*
 * The C library's functions
 */

#define REAL(name)	((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static const char *moved_path(const char *path, char moved[PATH_MAX])
{
	static const char *const heads[] = { "/dev/dri", "/sys/", "/proc/config.gz",
					     "/proc/cmdline", "/boot/", "/dev/kmsg" };

	for (size_t i = 0; i < sizeof(heads) / sizeof(heads[0]); i++) {
		if (!strncmp(path, heads[i], strlen(heads[i]))) {
			snprintf(moved, PATH_MAX, "%s%s", setting("FAKE_ROOT"), path);
			return moved;
		}
	}
	return path;
}

static int note_card(const char *path, int fd)
{
	if (fd >= 0 && !strncmp(path, "/dev/dri/", 9))
		card_fd = fd;
	return fd;
}

int open(const char *path, int flags, ...)
{
	char moved[PATH_MAX];
	va_list args;
	int mode;

	va_start(args, flags);
	mode = flags & O_CREAT ? va_arg(args, int) : 0;
	va_end(args);
	return note_card(path, REAL(open)(moved_path(path, moved), flags, mode));
}

int open64(const char *path, int flags, ...) __attribute__((alias("open")));

FILE *fopen(const char *path, const char *mode)
{
	char moved[PATH_MAX];

	return REAL(fopen)(moved_path(path, moved), mode);
}

int access(const char *path, int mode)
{
	char moved[PATH_MAX];

	return REAL(access)(moved_path(path, moved), mode);
}

int mkdir(const char *path, mode_t mode)
{
	char moved[PATH_MAX];

	return REAL(mkdir)(moved_path(path, moved), mode);
}

int rmdir(const char *path)
{
	char moved[PATH_MAX];

	return REAL(rmdir)(moved_path(path, moved));
}

char *realpath(const char *path, char *resolved)
{
	char moved[PATH_MAX];

	return REAL(realpath)(moved_path(path, moved), resolved);
}

int fstat(int fd, struct stat *st)
{
	int ret = REAL(fstat)(fd, st);

	if (!ret && fd == card_fd)
		st->st_rdev = makedev(226, 0);
	return ret;
}

int ioctl(int fd, unsigned long request, ...)
{
	va_list args;
	void *arg;
	int ret;

	va_start(args, request);
	arg = va_arg(args, void *);
	va_end(args);
	if (fd != card_fd || fd < 0)
		return REAL(ioctl)(fd, request, arg);
	ret = answer(request, arg);
	errno = ret;
	return ret ? -1 : 0;
}

/* A file with the same count again and again, for each read() of the counter */
static int new_counter(const struct perf_event_attr *attr)
{
	uint64_t count = attr->type == PERF_TYPE_HARDWARE ? 1600 :
			 attr->config & PERF_COUNT_HW_CACHE_OP_WRITE << 8 ? 320 : 160;
	int fd = memfd_create("counter", MFD_CLOEXEC);

	for (int i = 0; i < 4096; i++) {
		if (pwrite(fd, &count, sizeof(count), i * sizeof(count)) < 0)
			return -1;
	}
	return fd;
}

long syscall(long number, ...)
{
	va_list args;
	long arg[6];

	va_start(args, number);
	for (int i = 0; i < 6; i++)
		arg[i] = va_arg(args, long);
	va_end(args);
	if (number == SYS_perf_event_open && *setting("FAKE_COUNTERS"))
		return new_counter((const void *)arg[0]);
	return REAL(syscall)(number, arg[0], arg[1], arg[2], arg[3], arg[4], arg[5]);
}
