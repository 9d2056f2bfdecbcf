// SPDX-License-Identifier: MIT
/*
 * The only program of check-pae's guest: get_user_pages_fast() against page-table entries of two
 * words that come and go.
 *
 * Half of the memory maps an object of qxl, which moves from VRAM to system memory and is replaced
 * by another one; nothing there may ever be taken for pages. The other half changes between such an
 * object and anonymous memory with transparent huge pages, where some of it may. The high word of an
 * entry is 0 for system memory and anything else for VRAM, which lies above 4 GiB.
 */
#define _GNU_SOURCE
#define _FILE_OFFSET_BITS 64
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include <drm.h>
#include <qxl_drm.h>

#define MiB		(1u << 20)
#define PAGE		4096u
#define SIZE		(8 * MiB)
#define OBJECT		((char *)0x40000000)	/* always maps an object */
#define MIXED		((char *)0x50000000)	/* an object or anonymous memory */
#define VRAM		(128 * MiB)	/* 64 of surfaces, and where they go next */
#define FILLERS		32

/* mm/gup_test.h */
struct gup_request {
	uint64_t get_usec, put_usec;
	uint64_t addr, size;	/* size: in, bytes wanted; out, bytes had */
	uint32_t pages_per_call;
	uint32_t gup_flags;
	uint32_t test_flags;
	uint32_t pages_to_dump[8];
};

#define GUP_FAST	_IOWR('g', 1, struct gup_request)
#define PIN_FAST	_IOWR('g', 2, struct gup_request)
#define GUP_FLAG_WRITE	1

struct object {
	uint32_t handle;
	uint64_t offset;
};

struct worker {
	pthread_t thread;
	char *base;
	unsigned int seed;
	uint64_t tried, had;
};

static bool stop;
static int card;

__attribute__((format(printf, 1, 2), noreturn))
static void end(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	printf("check-pae: ");
	vprintf(format, args);
	putchar('\n');
	fflush(stdout);
	va_end(args);
	sync();
	tcdrain(1);
	reboot(RB_AUTOBOOT);
	for (;;)
		pause();
}

static bool stopped(void)
{
	return __atomic_load_n(&stop, __ATOMIC_RELAXED);
}

/* Whether the kernel gives out the page at @addr. */
static bool gup(int fd, unsigned long command, char *addr)
{
	struct gup_request request = {
		.addr = (uintptr_t)addr,
		.size = PAGE,
		.pages_per_call = 1,
		.gup_flags = GUP_FLAG_WRITE,
	};

	if (ioctl(fd, command, &request))
		end("FAIL: gup_test: %s", strerror(errno));
	return request.size;
}

static void *gup_in_loop(void *arg)
{
	struct worker *w = arg;
	int fd = open("/sys/kernel/debug/gup_test", O_RDWR);

	if (fd < 0)
		end("FAIL: gup_test: %s", strerror(errno));
	while (!stopped()) {
		char *page = w->base + rand_r(&w->seed) % (SIZE / PAGE) * PAGE;

		/* There is an entry, if none takes it away now. */
		*(volatile char *)page = 1;
		w->had += gup(fd, w->tried % 2 ? PIN_FAST : GUP_FAST, page);
		w->tried++;
	}
	return NULL;
}

static void *touch_in_loop(void *arg)
{
	struct worker *w = arg;

	while (!stopped()) {
		char *base = rand_r(&w->seed) % 2 ? OBJECT : MIXED;

		for (unsigned int i = 0; i < SIZE && !stopped(); i += PAGE)
			*(volatile char *)(base + i) = 1;
		w->tried++;
	}
	return NULL;
}

static struct object object_create(unsigned int size)
{
	/* The driver allocates stride * height + stride bytes. */
	struct drm_qxl_alloc_surf surf = {
		.format = 32,	/* SPICE_SURFACE_FMT_32_xRGB */
		.width = 1,
		.height = 1,
		.stride = size / 2,
	};
	struct drm_qxl_map map = { 0 };

	if (ioctl(card, DRM_IOCTL_QXL_ALLOC_SURF, &surf))
		end("FAIL: cannot create an object: %s", strerror(errno));
	map.handle = surf.handle;
	if (ioctl(card, DRM_IOCTL_QXL_MAP, &map))
		end("FAIL: cannot ask where to map an object: %s", strerror(errno));
	return (struct object){ .handle = surf.handle, .offset = map.offset };
}

static void object_close(struct object *object)
{
	struct drm_gem_close close = { .handle = object->handle };

	if (object->handle)
		ioctl(card, DRM_IOCTL_GEM_CLOSE, &close);
	object->handle = 0;
}

/* In place of what is there, without a moment between. */
static void map_object(char *addr, const struct object *object)
{
	if (mmap(addr, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, card,
		 object->offset) != addr)
		end("FAIL: cannot map an object: %s", strerror(errno));
}

static void map_anonymous(char *addr)
{
	if (mmap(addr, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED,
		 -1, 0) != addr)
		end("FAIL: cannot map anonymous memory: %s", strerror(errno));
}

/* What longest was in VRAM goes. */
static void evict(void)
{
	struct object fillers[FILLERS];
	int count = 0;

	while (count < FILLERS && count * SIZE < VRAM + VRAM / 2)
		fillers[count++] = object_create(SIZE);
	while (count)
		object_close(&fillers[--count]);
}

struct entries {
	bool vram, system, huge;
};

static struct entries entries_of(const char *base)
{
	FILE *f = fopen("/sys/kernel/debug/page_tables/current_kernel", "re");
	struct entries found = { 0 };
	unsigned long start, last;
	char line[256];

	if (!f)
		end("FAIL: no ptdump: %s", strerror(errno));
	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, "0x%lx-0x%lx", &start, &last) != 2 ||
		    last <= (uintptr_t)base || start >= (uintptr_t)base + SIZE ||
		    (!strstr(line, " RW ") && !strstr(line, " ro ")))
			continue;
		if (strstr(line, " PWT "))
			found.vram = true;
		else
			found.system = true;
		if (strstr(line, " PSE "))
			found.huge = true;
	}
	fclose(f);
	return found;
}

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

static long number_in(const char *path, const char *format)
{
	FILE *f = fopen(path, "re");
	char line[256];
	long value = 0;

	while (f && fgets(line, sizeof(line), f) && sscanf(line, format, &value) != 1)
		;
	if (f)
		fclose(f);
	return value;
}

static bool vram_is_high(void)
{
	FILE *f = fopen("/sys/class/drm/card0/device/resource", "re");
	unsigned long long start = 0;

	for (int bar = 0; f && bar <= 4; bar++) {
		if (fscanf(f, "%llx %*x %*x", &start) != 1)
			break;
	}
	if (f)
		fclose(f);
	return start >> 32;
}

int main(void)
{
	const char *seconds = getenv("seconds");
	double deadline;
	struct worker object_gup = { .base = OBJECT, .seed = 1 };
	struct worker mixed_gup = { .base = MIXED, .seed = 2 };
	struct worker touchers[] = { { .seed = 3 }, { .seed = 4 } };
	unsigned int moved = 0, replaced = 0, huge = 0;
	struct object object, mixed;
	int fd;

	mount("dev", "/dev", "devtmpfs", 0, NULL);
	mount("proc", "/proc", "proc", 0, NULL);
	mount("sys", "/sys", "sysfs", 0, NULL);
	mount("debug", "/sys/kernel/debug", "debugfs", 0, NULL);

	card = open("/dev/dri/card0", O_RDWR);
	if (card < 0)
		end("FAIL: no card: %s", strerror(errno));
	if (!vram_is_high())
		end("FAIL: VRAM is below 4 GiB, where the high word is 0 as everywhere else");

	/* It can succeed at all. */
	map_anonymous(MIXED);
	*(volatile char *)MIXED = 1;
	fd = open("/sys/kernel/debug/gup_test", O_RDWR);
	if (fd < 0 || !gup(fd, GUP_FAST, MIXED) || !gup(fd, PIN_FAST, MIXED))
		end("FAIL: gup-fast does not get anonymous memory");
	if (!entries_of(MIXED).huge)
		end("FAIL: no transparent huge page");

	object = object_create(SIZE);
	map_object(OBJECT, &object);
	mixed = object_create(SIZE);

	deadline = now() + (seconds ? atoi(seconds) : 30);
	pthread_create(&object_gup.thread, NULL, gup_in_loop, &object_gup);
	pthread_create(&mixed_gup.thread, NULL, gup_in_loop, &mixed_gup);
	for (int i = 0; i < 2; i++)
		pthread_create(&touchers[i].thread, NULL, touch_in_loop, &touchers[i]);

	while (now() < deadline) {
		struct object new = object_create(SIZE);
		struct entries before, after;

		map_object(OBJECT, &new);
		map_object(MIXED, &mixed);
		object_close(&object);
		object = new;
		replaced++;
		usleep(20000);
		before = entries_of(OBJECT);

		evict();
		usleep(20000);
		after = entries_of(OBJECT);
		moved += before.vram && after.system;
		if (before.huge || after.huge)
			end("FAIL: an object has a huge entry");

		map_anonymous(MIXED);
		usleep(20000);
		huge += entries_of(MIXED).huge;
	}
	__atomic_store_n(&stop, true, __ATOMIC_RELAXED);
	pthread_join(object_gup.thread, NULL);
	pthread_join(mixed_gup.thread, NULL);
	for (int i = 0; i < 2; i++)
		pthread_join(touchers[i].thread, NULL);

	/* Pages that were kept would be missed here. */
	munmap(OBJECT, SIZE);
	munmap(MIXED, SIZE);
	object_close(&object);
	object_close(&mixed);

	printf("check-pae: objects: %u replaced, %u moved; gup: %llu tried, %llu had\n",
	       replaced, moved, (unsigned long long)object_gup.tried,
	       (unsigned long long)object_gup.had);
	printf("check-pae: mixed: %u times huge; gup: %llu tried, %llu had\n", huge,
	       (unsigned long long)mixed_gup.tried, (unsigned long long)mixed_gup.had);
	if (object_gup.had)
		end("FAIL: gup-fast took an object's memory for pages");
	if (!moved || !huge || !mixed_gup.had || mixed_gup.had == mixed_gup.tried)
		end("FAIL: something never happened");
	/* Bad page, died, warned: Documentation/admin-guide/tainted-kernels.rst */
	if (number_in("/proc/sys/kernel/tainted", "%ld") & (1 << 5 | 1 << 7 | 1 << 9))
		end("FAIL: the kernel has warned");
	if (!number_in("/proc/lockdep_stats", " debug_locks: %ld"))
		end("FAIL: lockdep has switched itself off");
	end("passed");
}
