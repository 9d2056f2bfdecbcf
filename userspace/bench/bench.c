// SPDX-License-Identifier: MIT
/*
 * What mapping memory costs, in instructions: buffer objects of TTM beside everything else in
 * Linux that maps with huge page-table entries. A table of mappings, a table of cases.
 * Written for guest/run --icount; "make bench" runs it.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <glob.h>
#include <inttypes.h>
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <linux/memfd.h>
#include <linux/vfio.h>
#include <xf86drm.h>

#include "bo.h"
#include "cli.h"
#include "guest.h"
#include "timing.h"

#define ARRAY_SIZE(a)	(sizeof(a) / sizeof((a)[0]))
#define KiB		UINT64_C(1024)
#define MiB		(1024 * KiB)
#define GiB		(1024 * MiB)

static const char usage[] =
"Usage: bench [OPTION]... [MAPPING]...\n"
"Measure the cost of mapping memory, with each MAPPING or with all that this guest has.\n"
"The first word of a name stands for all that begin with it: vram, hugetlb.\n"
"\n"
"  -c, --case=NAME    only this case\n"
"  -l, --list         list mappings and cases\n"
"  -h, --help         this text\n"
"      --version      the version\n"
"\n"
"Prints case,mapping,size_mib,faults,pgtable_kib,instructions; progress is on stderr.\n"
"The figures are instructions if the clock counts them (guest/run --icount), nanoseconds\n"
"elsewhere. On a kernel without ttm.huge_faults, mappings are called NAME-7.3.\n";

static uint64_t round_up(uint64_t value, uint64_t multiple)
{
	return (value + multiple - 1) / multiple * multiple;
}

/*
 * Mappings
 */

/* When memory comes into being */
enum lifetime {
	DEVICE,		/* is always there */
	OBJECT,		/* when an object is mapped or touched first */
	MAPPING,	/* with each mapping */
};

/* Something that can be mapped: an object, or a piece of a device's memory. */
struct area {
	int fd;
	uint64_t offset, size;
	void *where;		/* the address that suits it best, NULL: up to the kernel */
	struct bo bo;
};

struct mapping {
	const char *name, *what;
	enum lifetime lifetime;
	int huge_faults;	/* of TTM: ttm.huge_faults (ignored by a kernel without it) */
	bool ttm;
	enum bo_placement placement;
	uint64_t granule;	/* what sizes are multiples of, if not 4 KiB */
	int map_flags;
	int advice;		/* to madvise() */
	int (*open)(const struct mapping *m, uint64_t size, struct area *area);
	void (*close)(struct area *area);
};

/* Memory of a device that is there all the time, and is handed out piece by piece */
struct window {
	int fd;
	uint64_t start, size, used;
};

static uint64_t huge_size(uint64_t size)
{
	return size >= GiB ? GiB : size >= 2 * MiB ? 2 * MiB : 4 * KiB;
}

/* Pieces overlap when there is no more: nobody looks at the contents. */
static int take(struct window *window, uint64_t size, struct area *area)
{
	uint64_t first = round_up(window->used, huge_size(size));

	if (size > window->size)
		return -ENOSPC;
	if (first + size > window->size)
		first = 0;
	window->used = first + size;
	area->fd = window->fd;
	area->offset = window->start + first;
	return 0;
}

/* The qxl card with the most memory, or with the least, to run out of. Stays open. */
static int qxl_card(bool largest)
{
	static int cards[2] = { -1, -1 };
	uint64_t best = 0;
	int found = -ENODEV;

	if (cards[largest] >= 0)
		return cards[largest];

	for (int i = 0; i < 16; i++) {
		int fd = bo_open_card(i);
		uint64_t size;

		if (fd < 0)
			continue;
		size = strcmp(bo_driver(fd), "qxl") ? 0 : bo_vram_size(fd);
		if (!size || (best && (size > best) != largest)) {
			close(fd);
			continue;
		}
		if (found >= 0)
			close(found);
		found = fd;
		best = size;
	}
	if (found >= 0)
		cards[largest] = found;
	return found;
}

static int open_bo(int card, enum bo_placement placement, uint64_t size, struct area *area)
{
	int err = bo_create(card, placement, size, &area->bo);

	if (err)
		return err;
	area->fd = card;
	area->offset = area->bo.offset;
	return 0;
}

static void close_bo(struct area *area)
{
	bo_destroy(&area->bo);
}

static int open_ttm(const struct mapping *m, uint64_t size, struct area *area)
{
	int card = qxl_card(true);

	return card < 0 ? card : open_bo(card, m->placement, size, area);
}

static bool read_line(const char *dir, const char *file, char *text, size_t size)
{
	char path[PATH_MAX];
	bool found;
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", dir, file);
	f = fopen(path, "re");
	if (!f)
		return false;
	found = fgets(text, size, f);
	fclose(f);
	return found;
}

/* ivshmem-plain: memory that nobody uses behind BAR 2; guest/run --vfio */
static bool find_ivshmem(char *dir, size_t size)
{
	bool found = false;
	char class[16];
	glob_t dirs;

	if (glob("/sys/bus/pci/devices/*", 0, NULL, &dirs))
		return false;
	for (size_t i = 0; i < dirs.gl_pathc && !found; i++) {
		/* RAM: the only class that may be written to at will */
		found = read_line(dirs.gl_pathv[i], "class", class, sizeof(class)) &&
			!strncmp(class, "0x0500", 6);
		if (found)
			snprintf(dir, size, "%s", dirs.gl_pathv[i]);
	}
	globfree(&dirs);
	return found;
}

/* The device must be bound already: vfio-pci.ids= and vfio.enable_unsafe_noiommu_mode=1 */
static int open_vfio(const struct mapping *m, uint64_t size, struct area *area)
{
	static struct window window = { .fd = -1 };
	struct vfio_region_info info = {
		.argsz = sizeof(info),
		.index = VFIO_PCI_BAR2_REGION_INDEX,
	};
	char dir[PATH_MAX];
	int container, group, fd;
	glob_t groups;

	(void)m;
	if (window.fd >= 0)
		return take(&window, size, area);

	if (!find_ivshmem(dir, sizeof(dir)) || glob("/dev/vfio/noiommu-*", 0, NULL, &groups))
		return -ENODEV;
	group = open(groups.gl_pathv[0], O_RDWR | O_CLOEXEC);
	globfree(&groups);
	container = open("/dev/vfio/vfio", O_RDWR | O_CLOEXEC);
	if (group < 0 || container < 0 || ioctl(group, VFIO_GROUP_SET_CONTAINER, &container) ||
	    ioctl(container, VFIO_SET_IOMMU, VFIO_NOIOMMU_IOMMU))
		return -errno;
	fd = ioctl(group, VFIO_GROUP_GET_DEVICE_FD, strrchr(dir, '/') + 1);
	if (fd < 0 || ioctl(fd, VFIO_DEVICE_GET_REGION_INFO, &info))
		return -errno;
	window = (struct window){ .fd = fd, .start = info.offset, .size = info.size };
	return take(&window, size, area);
}

static int open_sysfs(const struct mapping *m, uint64_t size, struct area *area)
{
	static struct window window = { .fd = -1 };
	char dir[PATH_MAX], path[PATH_MAX + 16];

	(void)m;
	if (window.fd >= 0)
		return take(&window, size, area);

	if (!find_ivshmem(dir, sizeof(dir)))
		return -ENODEV;
	snprintf(path, sizeof(path), "%s/resource2", dir);
	window.fd = open(path, O_RDWR | O_CLOEXEC);
	if (window.fd < 0)
		return -errno;
	window.size = lseek(window.fd, 0, SEEK_END);
	return take(&window, size, area);
}

/* Two devices of device-dax, told apart by the size of their entries */
static int open_dax(const struct mapping *m, uint64_t size, struct area *area)
{
	static struct window windows[2] = { { .fd = -1 }, { .fd = -1 } };
	struct window *window = &windows[m->granule == GiB];
	glob_t dirs;

	if (window->fd >= 0)
		return take(window, size, area);

	if (glob("/sys/bus/dax/devices/dax*", 0, NULL, &dirs))
		return -ENODEV;
	for (size_t i = 0; i < dirs.gl_pathc; i++) {
		char *dir = dirs.gl_pathv[i], text[32], path[PATH_MAX];

		if (!read_line(dir, "align", text, sizeof(text)) ||
		    strtoull(text, NULL, 0) != m->granule ||
		    !read_line(dir, "size", text, sizeof(text)))
			continue;
		snprintf(path, sizeof(path), "/dev%s", strrchr(dir, '/'));
		window->fd = open(path, O_RDWR | O_CLOEXEC);
		window->size = strtoull(text, NULL, 0);
		break;
	}
	globfree(&dirs);
	return window->fd < 0 ? -ENODEV : take(window, size, area);
}

/* A GEM object in shmem; the guest has told shmem to use huge pages. */
static int open_shmem(const struct mapping *m, uint64_t size, struct area *area)
{
	static int fd = -1;

	(void)m;
	for (int i = 0; i < 16 && fd < 0; i++) {
		drmVersion *version;

		fd = bo_open_card(i);
		if (fd < 0)
			continue;
		version = drmGetVersion(fd);
		if (!version || strcmp(version->name, "vgem")) {
			close(fd);
			fd = -1;
		}
		drmFreeVersion(version);
	}
	if (fd < 0)
		return -ENODEV;
	return open_bo(fd, BO_DUMB, size, area);
}

/* Of huge pages, if they are what sizes are multiples of */
static int open_memfd(const struct mapping *m, uint64_t size, struct area *area)
{
	const unsigned int huge = m->granule == GiB ? MFD_HUGETLB | MFD_HUGE_1GB :
				  m->granule ? MFD_HUGETLB | MFD_HUGE_2MB : 0;

	area->fd = memfd_create("bench", MFD_CLOEXEC | huge);
	return area->fd < 0 || ftruncate(area->fd, size) ? -errno : 0;
}

static void close_file(struct area *area)
{
	close(area->fd);
}

static int open_anonymous(const struct mapping *m, uint64_t size, struct area *area)
{
	(void)m;
	(void)size;
	area->fd = -1;
	return 0;
}

static const struct mapping mappings[] = {
	/*
	 * First what depends on where there is free memory, which is where the kernel has left it. What
	 * runs before that leaves it in another order each time.
	 */
	{ "system-0", "TTM, system memory, 4 KiB entries", OBJECT, .ttm = true,
	  .placement = BO_SYSTEM, .huge_faults = 0, .open = open_ttm, .close = close_bo },
	{ "system-1", "the same, up to 2 MiB", OBJECT, .ttm = true,
	  .placement = BO_SYSTEM, .huge_faults = 1, .open = open_ttm, .close = close_bo },
	{ "system-2", "the same, up to 1 GiB", OBJECT, .ttm = true,
	  .placement = BO_SYSTEM, .huge_faults = 2, .open = open_ttm, .close = close_bo },
	{ "vram-0", "TTM, VRAM of qxl, 4 KiB entries", DEVICE, .ttm = true, .placement = BO_VRAM,
	  .huge_faults = 0, .open = open_ttm, .close = close_bo },
	{ "vram-1", "the same, up to 2 MiB", DEVICE, .ttm = true, .placement = BO_VRAM,
	  .huge_faults = 1, .open = open_ttm, .close = close_bo },
	{ "vram-2", "the same, up to 1 GiB", DEVICE, .ttm = true, .placement = BO_VRAM,
	  .huge_faults = 2, .open = open_ttm, .close = close_bo },
	{ "vfio", "a BAR through vfio-pci", DEVICE, .open = open_vfio },
	{ "sysfs", "the same BAR through its file in sysfs (remap_pfn_range)", DEVICE,
	  .open = open_sysfs },
	{ "shmem", "GEM objects of vgem in shmem with huge pages", OBJECT,
	  .open = open_shmem, .close = close_bo },
	{ "hugetlb-2m", "hugetlbfs, 2 MiB", OBJECT, .granule = 2 * MiB,
	  .open = open_memfd, .close = close_file },
	{ "hugetlb-1g", "hugetlbfs, 1 GiB", OBJECT, .granule = GiB,
	  .open = open_memfd, .close = close_file },
	{ "thp", "anonymous memory with MADV_HUGEPAGE", MAPPING,
	  .map_flags = MAP_PRIVATE | MAP_ANONYMOUS, .advice = MADV_HUGEPAGE,
	  .open = open_anonymous },
	{ "pages", "shared memory (memfd) with MADV_NOHUGEPAGE", OBJECT, .advice = MADV_NOHUGEPAGE,
	  .open = open_memfd, .close = close_file },
	{ "dax-2m", "device-dax, 2 MiB", DEVICE, .granule = 2 * MiB, .open = open_dax },
	{ "dax-1g", "device-dax, 1 GiB", DEVICE, .granule = GiB, .open = open_dax },
};

static const struct mapping *current;	/* what main() is at */
static int saved_switch = -1;		/* ttm.huge_faults; negative: the kernel has none */

/* TTM aligns addresses itself; the others get one that allows for the largest entries. */
static void *suitable_address(const struct mapping *m, uint64_t size)
{
	const uint64_t align = huge_size(size);
	char *start;

	if (m->ttm || align <= 4 * KiB)
		return NULL;
	start = mmap(NULL, size + align, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (start == MAP_FAILED)
		die("no address space: %s", strerror(errno));
	munmap(start, size + align);
	return (void *)round_up((uintptr_t)start, align);
}

static int area_open(uint64_t size, struct area *area)
{
	*area = (struct area){ .fd = -1, .size = size };
	area->where = suitable_address(current, size);
	return current->open(current, size, area);
}

static void area_close(struct area *area)
{
	if (current->close)
		current->close(area);
}

static void *try_map(const struct area *area)
{
	int flags = current->map_flags ? current->map_flags : MAP_SHARED;

	if (area->where)
		flags |= MAP_FIXED_NOREPLACE;
	return mmap(area->where, area->size, PROT_READ | PROT_WRITE, flags, area->fd,
		    area->offset);
}

static char *map(const struct area *area)
{
	char *addr = try_map(area);

	if (addr == MAP_FAILED)
		die("%s: cannot map %" PRIu64 " MiB: %s", current->name, area->size / MiB,
		    strerror(errno));
	if (current->advice)
		madvise(addr, area->size, current->advice);
	return addr;
}

static void unmap(const struct area *area, char *addr)
{
	munmap(addr, area->size);
}

/*
 * Cases
 */

struct figures {
	uint64_t faults, instructions, start;
	uint64_t again;		/* the same on a mapping that is there already, to be subtracted */
	int64_t pgtable_kib;
};

static struct figures begin(void)
{
	struct figures f = { 0 };

	f.pgtable_kib = bo_pgtable_kib();
	f.faults = bo_faults();
	await_tick();
	f.start = now();
	return f;
}

static void end(struct figures *f)
{
	f->instructions = now() - f->start;
	f->faults = bo_faults() - f->faults;
	f->pgtable_kib = bo_pgtable_kib() - f->pgtable_kib;
}

/* The same work as between begin() and end(), for comparison */
static uint64_t begin_again(void)
{
	await_tick();
	return now();
}

static void end_again(struct figures *f, uint64_t start)
{
	f->again = now() - start;
}

/* A write to each page, as cheap as it gets: what is left is the faults. */
static void touch(volatile char *addr, uint64_t size)
{
	for (uint64_t i = 0; i < size; i += BO_PTE_SIZE)
		addr[i] = i >> 12;
}

/* Each page once, where their number is a power of two */
static void touch_random(volatile char *addr, uint64_t size)
{
	const uint64_t pages = size / BO_PTE_SIZE;

	for (uint64_t i = 0; i < pages; i++)
		addr[(i * 0x9e3779b1 & (pages - 1)) * BO_PTE_SIZE] = i;
}

static void touch_byte(volatile char *addr, uint64_t size)
{
	addr[size / 2 + 5 * BO_PTE_SIZE] = 1;
}

static void measure_touch(struct area *area, struct figures *f,
			  void (*touch)(volatile char *, uint64_t))
{
	char *addr = map(area);
	uint64_t again;

	*f = begin();
	touch(addr, area->size);
	end(f);
	again = begin_again();
	touch(addr, area->size);
	end_again(f, again);
	unmap(area, addr);
}

static void case_sequential(struct area *area, struct figures *f)
{
	measure_touch(area, f, touch);
}

static void case_random(struct area *area, struct figures *f)
{
	measure_touch(area, f, touch_random);
}

/* Where only 4 KiB entries fit: a page beside a huge boundary */
static void case_misaligned(struct area *area, struct figures *f)
{
	struct area beside = *area;
	char *start = mmap(NULL, area->size + 4 * MiB, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
			   0);

	if (start == MAP_FAILED)
		die("no address space: %s", strerror(errno));
	munmap(start, area->size + 4 * MiB);
	beside.where = (void *)(round_up((uintptr_t)start, 2 * MiB) + 4 * KiB);
	measure_touch(&beside, f, touch);
}

static void case_byte(struct area *area, struct figures *f)
{
	measure_touch(area, f, touch_byte);
}

static void case_mmap(struct area *area, struct figures *f)
{
	char *addr;

	*f = begin();
	addr = map(area);
	end(f);
	unmap(area, addr);
}

static void case_munmap(struct area *area, struct figures *f)
{
	char *addr = map(area);

	touch(addr, area->size);
	*f = begin();
	unmap(area, addr);
	end(f);
}

static void case_cycle(struct area *area, struct figures *f)
{
	char *addr;

	*f = begin();
	addr = map(area);
	touch(addr, area->size);
	unmap(area, addr);
	end(f);
}

/*
 * A buffer that is mapped for each frame: its entries are made at once. Where the kernel does not do
 * that, they are made by the faults of a touch, which is subtracted as elsewhere.
 */
static void case_frame(struct area *area, struct figures *f)
{
	bool populated;
	uint64_t again;
	char *addr;

	*f = begin();
	addr = map(area);
	populated = !madvise(addr, area->size, MADV_POPULATE_WRITE);
	if (!populated)
		touch(addr, area->size);
	unmap(area, addr);
	end(f);
	if (populated)
		return;

	addr = map(area);
	touch(addr, area->size);
	again = begin_again();
	touch(addr, area->size);
	end_again(f, again);
	unmap(area, addr);
}

/* What it takes anyhow */
static void case_frame_empty(struct area *area, struct figures *f)
{
	*f = begin();
	unmap(area, map(area));
	end(f);
}

/* Copying the mapping, in the parent; what the rest of the process costs is the same for all. */
static void case_fork(struct area *area, struct figures *f)
{
	char *addr = map(area);
	pid_t child;

	touch(addr, area->size);
	*f = begin();
	child = fork();
	if (!child)
		_exit(0);
	end(f);
	if (child < 0)
		die("cannot fork: %s", strerror(errno));
	waitpid(child, NULL, 0);
	unmap(area, addr);
}

/* Read-only, writable again, and the faults that follow */
static void protect(struct area *area, struct figures *f, uint64_t first, uint64_t length)
{
	char *addr = map(area);
	uint64_t again;

	touch(addr, area->size);
	*f = begin();
	if (mprotect(addr + first, length, PROT_READ) ||
	    mprotect(addr + first, length, PROT_READ | PROT_WRITE))
		die("%s: cannot protect: %s", current->name, strerror(errno));
	touch(addr, area->size);
	end(f);
	again = begin_again();
	touch(addr, area->size);
	end_again(f, again);
	unmap(area, addr);
}

static void case_mprotect(struct area *area, struct figures *f)
{
	protect(area, f, 0, area->size);
}

/* Where the page in the middle of the area begins, and how large pages of the mapping are */
static uint64_t middle_page(const struct area *area, uint64_t *size)
{
	*size = current->granule ? current->granule : BO_PTE_SIZE;
	return area->size / 2 / *size * *size;
}

static void case_mprotect_page(struct area *area, struct figures *f)
{
	uint64_t size, first = middle_page(area, &size);

	protect(area, f, first, size);
}

static void *heap(uint64_t size)
{
	static uint64_t reached;
	static char *memory;

	if (reached < size) {
		memory = mmap(NULL, size, PROT_READ | PROT_WRITE,
			      MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
		if (memory == MAP_FAILED)
			die("no memory: %s", strerror(errno));
		/* Nothing that fork() would have to copy */
		madvise(memory, size, MADV_DONTFORK);
		reached = size;
	}
	return memory;
}

static void case_memset(struct area *area, struct figures *f)
{
	char *addr = map(area);

	*f = begin();
	memset(addr, 0x5a, area->size);
	end(f);
	unmap(area, addr);
}

static void case_memcpy_in(struct area *area, struct figures *f)
{
	char *addr = map(area), *buffer = heap(area->size);

	*f = begin();
	memcpy(addr, buffer, area->size);
	end(f);
	unmap(area, addr);
}

static void case_memcpy_out(struct area *area, struct figures *f)
{
	char *addr = map(area), *buffer = heap(area->size);

	*f = begin();
	memcpy(buffer, addr, area->size);
	end(f);
	unmap(area, addr);
}

/* Objects of many sizes, as a game has them: MIX rounds of this, in this order */
static const uint16_t mix_kib[] = {
	64, 256, 64, 1024, 128, 64, 4096, 64, 512, 128, 64, 2048, 64, 256, 128, 8192, 64, 64, 512,
	128, 256, 64, 1024, 64, 2048, 128, 64, 256, 64, 4096, 512, 128, 64, 1024, 64, 256, 2048,
	128, 64, 64, 8192, 256, 64, 512, 128, 1024, 64, 2048, 256, 128,
};

#define MIX		6
#define MIX_OBJECTS	(MIX * ARRAY_SIZE(mix_kib))

static void case_objects(struct area *area, struct figures *f)
{
	static struct area areas[MIX_OBJECTS];
	static char *addr[MIX_OBJECTS];

	(void)area;
	for (size_t i = 0; i < MIX_OBJECTS; i++) {
		int err = area_open(mix_kib[i % ARRAY_SIZE(mix_kib)] * KiB, &areas[i]);

		if (err)
			die("%s: cannot create object %zu: %s", current->name, i, strerror(-err));
		/* They hold something, and their addresses differ. */
		addr[i] = map(&areas[i]);
		if (current->lifetime == OBJECT)
			touch(addr[i], areas[i].size);
	}
	for (size_t i = 0; i < MIX_OBJECTS; i++)
		unmap(&areas[i], addr[i]);

	*f = begin();
	for (size_t i = 0; i < MIX_OBJECTS; i++) {
		addr[i] = map(&areas[i]);
		touch(addr[i], areas[i].size);
	}
	end(f);

	for (size_t i = 0; i < MIX_OBJECTS; i++) {
		unmap(&areas[i], addr[i]);
		area_close(&areas[i]);
	}
}

/* An object that is pushed out, of the card in which that is fast if it fits there */
static void evict(struct figures *f, uint64_t size, bool back)
{
	int card = qxl_card(size >= GiB), err;
	enum bo_placement where;
	uint64_t again;
	struct bo bo;
	char *addr;

	err = card < 0 ? card : bo_create(card, BO_VRAM, size, &bo);
	if (err)
		die("cannot create an object to evict: %s", strerror(-err));
	addr = bo_map(&bo, NULL, size, PROT_READ | PROT_WRITE, 0);
	if (addr == MAP_FAILED)
		die("cannot map the object to evict: %s", strerror(errno));
	touch(addr, size);
	err = bo_evict(&bo);
	if (!err && back) {
		touch(addr, size);
		err = bo_return_to_vram(&bo);
	}
	if (!err)
		err = bo_where(&bo, &where);
	if (err)
		die("the object does not move: %s", strerror(-err));
	if ((where == BO_VRAM) != back)
		die("the object is in the wrong place");

	*f = begin();
	touch(addr, size);
	end(f);
	again = begin_again();
	touch(addr, size);
	end_again(f, again);
	munmap(addr, size);
	bo_destroy(&bo);
}

static void case_evicted(struct area *area, struct figures *f)
{
	evict(f, area->size, false);
}

static void case_returned(struct area *area, struct figures *f)
{
	evict(f, area->size, true);
}

/*
 * Threads that each touch an object of their own. Nothing is subtracted: switching between them
 * does not take the same each time.
 */
static struct {
	pthread_barrier_t barrier;
	struct area areas[4];
	char *addr[4];
} crew;

static void *touch_own(void *number)
{
	size_t i = (uintptr_t)number;

	pthread_barrier_wait(&crew.barrier);
	touch(crew.addr[i], crew.areas[i].size);
	pthread_barrier_wait(&crew.barrier);
	return NULL;
}

#define THREAD_SIZE	(64 * MiB)

static void case_threads(struct area *area, struct figures *f)
{
	size_t threads = area->size / THREAD_SIZE;
	pthread_t id[4];

	pthread_barrier_init(&crew.barrier, NULL, threads + 1);
	for (size_t i = 0; i < threads; i++) {
		int err = area_open(THREAD_SIZE, &crew.areas[i]);

		if (err)
			die("%s: cannot create an object: %s", current->name, strerror(-err));
		crew.addr[i] = map(&crew.areas[i]);
		if (current->lifetime == OBJECT) {
			touch(crew.addr[i], THREAD_SIZE);
			unmap(&crew.areas[i], crew.addr[i]);
			crew.addr[i] = map(&crew.areas[i]);
		}
		err = pthread_create(&id[i], NULL, touch_own, (void *)i);
		if (err)
			die("cannot start a thread: %s", strerror(err));
	}
	/* Until all of them wait at the barrier */
	usleep(100000);

	*f = begin();
	pthread_barrier_wait(&crew.barrier);
	pthread_barrier_wait(&crew.barrier);
	end(f);

	for (size_t i = 0; i < threads; i++) {
		pthread_join(id[i], NULL);
		unmap(&crew.areas[i], crew.addr[i]);
		area_close(&crew.areas[i]);
	}
	pthread_barrier_destroy(&crew.barrier);
}

/*
 * A virtual machine that has the mapping as memory, and writes to each page. Its exits stand in the
 * place of faults.
 */
static void open_guest(struct guest *guest, const struct area *area, char *addr)
{
	/* What the guest needs anyhow, its code and its page tables, is mapped before. */
	const struct guest_access none = { .first = MiB, .count = 1, .write = 1 };
	const struct guest_access all = { .first = GUEST_FREE, .count = area->size / BO_PTE_SIZE,
					  .stride = BO_PTE_SIZE, .write = 1 };
	int err = guest_open(guest);

	if (!err)
		err = guest_set_slot(guest, 1, GUEST_FREE, addr, area->size, 0);
	if (!err) {
		memcpy((void *)guest->access, &none, sizeof(none));
		err = guest_run(guest);
	}
	if (err)
		die("%s: no virtual machine: %s", current->name, strerror(-err));
	memcpy((void *)guest->access, &all, sizeof(all));
}

static void touch_in_guest(const struct guest *guest)
{
	int err = guest_run(guest);

	if (err)
		die("%s: the guest cannot write: %s", current->name, strerror(-err));
}

/* One whose guest has touched all of a new mapping of the area, which it returns */
static char *open_touched_guest(struct guest *guest, struct area *area)
{
	char *addr = map(area);

	open_guest(guest, area, addr);
	touch_in_guest(guest);
	return addr;
}

static uint64_t exits(const struct guest *guest)
{
	uint64_t count;
	char path[64];
	FILE *f;

	snprintf(path, sizeof(path), "/sys/kernel/debug/kvm/%d-%d/exits", getpid(), guest->fd);
	f = fopen(path, "re");
	if (!f || fscanf(f, "%" SCNu64, &count) != 1)
		die("cannot read %s", path);
	fclose(f);
	return count;
}

static void case_guest(struct area *area, struct figures *f)
{
	char *addr = map(area);
	struct guest guest;
	uint64_t again, before;

	open_guest(&guest, area, addr);
	before = exits(&guest);
	*f = begin();
	touch_in_guest(&guest);
	end(f);
	/* One is the guest's word that it is done. */
	f->faults = exits(&guest) - before - 1;
	again = begin_again();
	touch_in_guest(&guest);
	end_again(f, again);
	guest_close(&guest);
	unmap(area, addr);
}

static void case_guest_slot(struct area *area, struct figures *f)
{
	struct guest guest;
	char *addr = open_touched_guest(&guest, area);
	uint64_t start, worked;

	*f = begin();
	start = now_on(CLOCK_THREAD_CPUTIME_ID);
	guest_set_slot(&guest, 1, GUEST_FREE, NULL, 0, 0);
	worked = now_on(CLOCK_THREAD_CPUTIME_ID) - start;
	end(f);
	/* Not counted: KVM waits for the readers of the old slots, until the next timer interrupt. */
	f->instructions = worked;
	guest_close(&guest);
	unmap(area, addr);
}

static void case_guest_munmap(struct area *area, struct figures *f)
{
	struct guest guest;
	char *addr = open_touched_guest(&guest, area);

	*f = begin();
	unmap(area, addr);
	end(f);
	guest_close(&guest);
}

static void case_guest_mprotect_page(struct area *area, struct figures *f)
{
	struct guest guest;
	char *addr = open_touched_guest(&guest, area);
	uint64_t size, first = middle_page(area, &size);
	int ret;

	*f = begin();
	ret = mprotect(addr + first, size, PROT_READ);
	end(f);
	if (ret)
		die("%s: mprotect: %s", current->name, strerror(errno));
	guest_close(&guest);
	unmap(area, addr);
}

enum memory {
	NEW,		/* a new object each time */
	TOUCHED,	/* one whose memory is there already */
	OWN,		/* the case makes its own objects */
};

static const struct test {
	const char *name, *what;
	void (*run)(struct area *area, struct figures *f);
	enum memory memory;
	int sizes[6];		/* MiB */
} tests[] = {
	{ "touch", "first touch of each page, in order", case_sequential, NEW,
	  { 2, 16, 64, 256, 1024 } },
	{ "touch-random", "the same in random order", case_random, NEW, { 256 } },
	{ "touch-misaligned", "the same at an address where only 4 KiB entries fit",
	  case_misaligned, NEW, { 256 } },
	{ "touch-byte", "first touch of one byte", case_byte, NEW, { 256, 1024 } },
	{ "touch-again", "first touch of an object that was mapped and touched before",
	  case_sequential, TOUCHED, { 2, 256, 1024 } },
	{ "mmap", "mmap() alone", case_mmap, TOUCHED, { 256, 1024 } },
	{ "munmap", "munmap() alone", case_munmap, TOUCHED, { 256, 1024 } },
	{ "cycle", "mmap(), touch of each page, munmap()", case_cycle, TOUCHED, { 256, 1024 } },
	{ "frame", "mmap(), MADV_POPULATE_WRITE or a touch where it fails, munmap()",
	  case_frame, TOUCHED, { 33 } },
	{ "frame-empty", "mmap() and munmap(), without entries", case_frame_empty, TOUCHED, { 33 } },
	{ "fork", "fork() with the mapping live", case_fork, TOUCHED, { 256, 1024 } },
	{ "mprotect", "all of it read-only and back, with the faults that follow",
	  case_mprotect, TOUCHED, { 256, 1024 } },
	{ "mprotect-page", "the same with one page in the middle",
	  case_mprotect_page, TOUCHED, { 256, 1024 } },
	{ "memset", "memset() of a new mapping", case_memset, TOUCHED, { 64 } },
	{ "memcpy-in", "memcpy() into a new mapping", case_memcpy_in, TOUCHED, { 64 } },
	{ "memcpy-out", "memcpy() out of a new mapping", case_memcpy_out, TOUCHED, { 64 } },
	{ "objects", "mmap() and touch of 300 objects of 64 KiB to 8 MiB",
	  case_objects, OWN, { 252 } },
	{ "evicted", "touch of an object that was pushed out of VRAM", case_evicted, OWN, { 32 } },
	{ "returned", "touch of an object that was brought back", case_returned, OWN, { 32, 1024 } },
	{ "threads-1", "a thread touches its object", case_threads, OWN, { 64 } },
	{ "threads-2", "2 threads, each on an object of 64 MiB", case_threads, OWN, { 128 } },
	{ "threads-3", "3 threads", case_threads, OWN, { 192 } },
	{ "threads-4", "4 threads", case_threads, OWN, { 256 } },
	{ "guest", "first touch of each page by the guest of a virtual machine; its exits",
	  case_guest, TOUCHED, { 256, 1024 } },
	{ "guest-slot", "deleting the memory slot after that", case_guest_slot, TOUCHED,
	  { 256, 1024 } },
	{ "guest-munmap", "munmap() instead", case_guest_munmap, TOUCHED, { 256, 1024 } },
	{ "guest-mprotect-page", "mprotect() of a page in the middle instead, without the faults that follow",
	  case_guest_mprotect_page, TOUCHED, { 256, 1024 } },
};

static bool applies(const struct test *test, const struct mapping *m, uint64_t size)
{
	if ((test->run == case_evicted || test->run == case_returned) &&
	    !(m->ttm && m->placement == BO_VRAM))
		return false;
	/* Unpatched, it oopses. */
	if ((test->run == case_mprotect_page || test->run == case_guest_mprotect_page) &&
	    m->open == open_vfio && size >= GiB && saved_switch < 0)
		return false;
	if (!strncmp(test->name, "guest", strlen("guest")) && guest_kvm() < 0)
		return false;
	/* Only where memory belongs to the object is there a difference. */
	if (!strcmp(test->name, "touch-again") && m->lifetime != OBJECT)
		return false;
	/* It has the same entries everywhere, and others none of 4 KiB. */
	if (test->run == case_misaligned && (m->granule || m->lifetime == MAPPING))
		return false;
	if (test->run == case_objects)
		size = mix_kib[0] * KiB;
	else if (test->run == case_threads)
		size = THREAD_SIZE;
	return !m->granule || size % m->granule == 0;
}

/*
 * How many runs of what the first one took: up to 20 within 300 million instructions. There are only
 * five answers, so that they hardly ever depend on an interrupt: each run leaves the free memory in
 * another order, and with it the runs of pages that the next one finds.
 */
static int runs(uint64_t first)
{
	const uint64_t enough = 300000000;

	for (int n = 20; n > 1; n /= 2) {
		if (n * first <= enough)
			return n;
	}
	return 1;
}

/*
 * The best of some runs, as an interrupt that falls into one makes it longer. It may also make the
 * part longer that is subtracted.
 */
static struct figures best_of(const struct test *test, const struct area *kept, uint64_t size)
{
	const uint64_t start = now();
	struct figures best = { 0 };
	int n = 1;

	for (int i = 0; i < n; i++) {
		struct area area = { .size = size };
		struct figures f;

		if (test->memory == TOUCHED) {
			area = *kept;
		} else if (test->memory == NEW) {
			int err = area_open(size, &area);

			if (err)
				die("%s: cannot create %" PRIu64 " MiB: %s", current->name,
				    size / MiB, strerror(-err));
		}
		test->run(&area, &f);
		if (test->memory == NEW)
			area_close(&area);
		if (!i)
			n = runs(now() - start);
		if (!i || f.instructions < best.instructions) {
			if (i && best.again < f.again)
				f.again = best.again;
			best = f;
		} else if (f.again < best.again) {
			best.again = f.again;
		}
	}
	best.instructions -= best.again < best.instructions ? best.again : best.instructions;
	return best;
}

/* In a process of its own, so that nothing depends on what was measured before */
static struct figures run(const struct test *test, const struct area *kept, uint64_t size)
{
	/* What fork() makes of a child queues behind it. */
	const struct sched_param priority = { .sched_priority = 1 };
	static struct figures *result;
	int status;
	pid_t pid;

	if (!result) {
		result = mmap(NULL, sizeof(*result), PROT_READ | PROT_WRITE,
			      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
		if (result == MAP_FAILED)
			die("no memory: %s", strerror(errno));
	}
	pid = fork();
	if (pid < 0)
		die("cannot fork: %s", strerror(errno));
	if (!pid) {
		sched_setscheduler(0, SCHED_FIFO, &priority);
		/* The program's own pages are there before anything is counted. */
		mlockall(MCL_CURRENT);
		munlockall();
		*result = begin();
		end(result);
		*result = best_of(test, kept, size);
		_exit(EXIT_SUCCESS);
	}
	if (waitpid(pid, &status, 0) != pid || WIFSIGNALED(status))
		die("%s of %s, %" PRIu64 " MiB, was killed", test->name, current->name, size / MiB);
	/* It has said why. */
	if (status)
		exit(EXIT_FAILURE);
	return *result;
}

static int total;	/* of measurements */

/* Whether @m can be measured here: not on a kernel without the switch if it is not off. */
static bool available(const struct mapping *m)
{
	struct area area;
	void *addr;

	if (m->ttm && saved_switch < 0 && m->huge_faults)
		return false;
	current = m;
	if (area_open(m->granule ? m->granule : 2 * MiB, &area))
		return false;
	/* Only this shows whether there are huge pages in hugetlbfs. */
	addr = try_map(&area);
	if (addr != MAP_FAILED)
		munmap(addr, area.size);
	area_close(&area);
	return addr != MAP_FAILED;
}

/* "vram" stands for vram-0, vram-1 and vram-2. */
static bool has_name(const struct mapping *m, const char *name)
{
	size_t length = strlen(name);

	return !strncmp(m->name, name, length) && (!m->name[length] || m->name[length] == '-');
}

static void check_names(char **names, const char *only)
{
	bool found = !only;

	for (const struct test *test = tests; test < tests + ARRAY_SIZE(tests); test++)
		found |= only && !strcmp(only, test->name);
	if (!found)
		bad_usage("no such case: '%s'; see 'bench --list'", only);
	for (; *names; names++) {
		found = false;
		for (const struct mapping *m = mappings; m < mappings + ARRAY_SIZE(mappings); m++)
			found |= has_name(m, *names);
		if (!found)
			bad_usage("no such mapping: '%s'; see 'bench --list'", *names);
	}
}

static bool asked_for(const struct mapping *m, char **names)
{
	if (!*names)
		return true;
	for (; *names; names++) {
		if (has_name(m, *names))
			return true;
	}
	return false;
}

static bool has_size(const struct test *test, int mib)
{
	for (const int *size = test->sizes; *size; size++)
		if (*size == mib)
			return true;
	return false;
}

/* An object for all cases of a size, whose memory is there */
static void keep(struct area *kept, uint64_t size)
{
	int err = area_open(size, kept);
	char *addr;

	if (err)
		die("%s: cannot create %" PRIu64 " MiB: %s", current->name, size / MiB,
		    strerror(-err));
	if (current->lifetime == OBJECT) {
		addr = map(kept);
		touch(addr, size);
		unmap(kept, addr);
	}
}

static void print(const struct test *test, int mib, const struct figures *f)
{
	static int done;
	char name[32];

	if (saved_switch >= 0)
		snprintf(name, sizeof(name), "%s", current->name);
	else
		snprintf(name, sizeof(name), "%.*s-7.3",
			 (int)strcspn(current->name, current->ttm ? "-" : ""), current->name);
	printf("%s,%s,%d,%" PRIu64 ",%" PRId64 ",%" PRIu64 "\n", test->name, name, mib, f->faults,
	       f->pgtable_kib, f->instructions);
	fflush(stdout);
	fprintf(stderr, "bench: %d of %d: %s of %s, %d MiB\n", ++done, total, test->name, name,
		mib);
}

/* On qxl it takes all of 8 GiB of VRAM, and so of the host: for those who ask for it */
static bool takes_vram(const struct test *test, int mib)
{
	return test->run == case_returned && mib >= 1024;
}

/* All cases of the current mapping, or counts them only, by size, so that they share objects */
static void visit(const char *only, bool count)
{
	const int largest = 1024;
	struct area kept = { 0 };
	struct figures f;

	for (int mib = 1; mib <= largest; mib++) {
		bool have = false;

		for (const struct test *test = tests; test < tests + ARRAY_SIZE(tests); test++) {
			if (!has_size(test, mib) || (only && strcmp(only, test->name)) ||
			    !applies(test, current, mib * MiB) ||
			    (!only && takes_vram(test, mib)))
				continue;
			if (count) {
				total++;
				continue;
			}
			/* Another object of this size beside the one that is kept may not fit. */
			if (have != (test->memory == TOUCHED)) {
				if (have)
					area_close(&kept);
				else
					keep(&kept, mib * MiB);
				have = !have;
			}
			f = run(test, &kept, mib * MiB);
			print(test, mib, &f);
		}
		if (have)
			area_close(&kept);
	}
}

static void list(void)
{
	puts("mappings");
	for (size_t i = 0; i < ARRAY_SIZE(mappings); i++)
		printf("  %-16s %s\n", mappings[i].name, mappings[i].what);
	puts("cases");
	for (size_t i = 0; i < ARRAY_SIZE(tests); i++)
		printf("  %-16s %s\n", tests[i].name, tests[i].what);
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "case", required_argument, NULL, 'c' },
		{ "list", no_argument, NULL, 'l' },
		{ "help", no_argument, NULL, 'h' },
		{ "version", no_argument, NULL, 'V' },
		{ }
	};
	const char *only = NULL;
	int opt;

	atexit(close_stdout);
	opterr = 0;
	while ((opt = getopt_long(argc, argv, ":c:lh", options, NULL)) != -1) {
		switch (opt) {
		case 'c':
			only = optarg;
			break;
		case 'l':
			list();
			return 0;
		case 'h':
			fputs(usage, stdout);
			return 0;
		case 'V':
			print_version();
			return 0;
		default:
			bad_option(opt, argv);
		}
	}

	check_names(argv + optind, only);
	bo_restore_huge_faults_at_exit();
	saved_switch = bo_get_huge_faults();

	puts("case,mapping,size_mib,faults,pgtable_kib,instructions");
	for (int count = 1; count >= 0; count--) {
		for (const struct mapping *m = mappings; m < mappings + ARRAY_SIZE(mappings); m++) {
			if (!asked_for(m, argv + optind))
				continue;
			if (!available(m)) {
				if (count && !m->huge_faults)
					fprintf(stderr, "bench: this guest has no %s\n", m->name);
				continue;
			}
			if (m->ttm && saved_switch >= 0 && bo_set_huge_faults(m->huge_faults))
				die("cannot set ttm.huge_faults");
			visit(only, count);
		}
		if (!total)
			die("nothing to measure here; see 'bench --list'");
	}
	return 0;
}
