// SPDX-License-Identifier: MIT
/*
 * For LD_PRELOAD: gives a program that fuzzes its own memory buffer objects, PCI BARs and the
 * memory of the test device instead.
 *
 * Most calls of mmap() get a new object, mapped where and as they wanted their memory: anonymous or
 * of a file, shared in either case. The handle is closed at once, so that the mapping is all
 * there is of the object. What malloc(), the loader and syscall(2) map stays what it is. For the
 * latter there are the files in FUZZ_VICTIMS.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "bo.h"
#include "fuzz.h"
#include "vttm.h"

#define MiB		(UINT64_C(1) << 20)
#define GiB		(UINT64_C(1) << 30)
/* More than that is address space to be cut up. */
#define MAX_LENGTH	(64 * MiB)
/* Shared memory of less is how the program's processes talk to each other. */
#define MIN_SHARED	(64 * 1024)

static struct fuzz_state *state;
/* The program's first process, whose mappings the others inherit. */
static pid_t first;

static void *real_mmap(void *addr, size_t length, int prot, int flags, int fd, off_t offset)
{
	return (void *)syscall(SYS_mmap, addr, length, prot, flags, fd, offset);
}

__attribute__((constructor))
static void set_up(void)
{
	const char *fd = getenv(FUZZ_STATE);
	void *map;

	if (!fd)
		return;
	map = real_mmap(NULL, sizeof(*state), PROT_READ | PROT_WRITE, MAP_SHARED, atoi(fd), 0);
	if (map == MAP_FAILED)
		return;
	state = map;
	first = getpid();
}

/* A different number for each @call, and for each @salt. */
static uint64_t mix(uint64_t call, uint64_t salt)
{
	uint64_t x = (call * 8 + salt) * UINT64_C(0x9e3779b97f4a7c15);

	x ^= x >> 32;
	x *= UINT64_C(0xd6e8feb86659fd93);
	return x ^ x >> 32;
}

static bool create(const struct fuzz_card *card, uint64_t call, uint64_t size, struct bo *bo)
{
	static const uint32_t domains[] = {
		/* The one that returns by itself when it is touched comes first, and twice. */
		DRM_VTTM_DOMAIN_VRAM,
		DRM_VTTM_DOMAIN_VRAM,
		DRM_VTTM_DOMAIN_VRAM | DRM_VTTM_DOMAIN_SYSTEM,
		DRM_VTTM_DOMAIN_TINY | DRM_VTTM_DOMAIN_GTT,
		DRM_VTTM_DOMAIN_GTT,
		DRM_VTTM_DOMAIN_SYSTEM,
	};
	bool vram = card->vram && (!card->system || size >= GiB || mix(call, 1) % 3);
	struct drm_vttm_create how = {
		.size = size,
		.domains = domains[mix(call, 1) % (sizeof(domains) / sizeof(domains[0]))],
		.caching = mix(call, 2) % (DRM_VTTM_UNCACHED + 1),
		.layout = mix(call, 3) % (DRM_VTTM_LAYOUT_WORST + 1),
	};

	if (card->vttm)
		return !vttm_create(card->fd, how, bo);
	return !bo_create(card->fd, vram ? BO_VRAM : BO_SYSTEM, size, bo);
}

/* How much is mapped where @length bytes are wanted, so that they are part of larger entries. */
static uint64_t whole_object(const struct fuzz_card *card, uint64_t call, uint64_t length)
{
	static const uint64_t sizes[] = { 2 * MiB, 4 * MiB, 6 * MiB + 4096 };
	static bool had_large;
	uint64_t size = sizes[mix(call, 4) % (sizeof(sizes) / sizeof(sizes[0]))];

	/* One of 1 GiB, where nobody moves it, as that takes long. */
	if (state->alone && !had_large && !card->vttm && card->vram_size >= 4 * GiB) {
		had_large = true;
		size = GiB;
	}
	return size > length ? size : length;
}

static void *map_object(struct fuzz_card *card, uint64_t call, void *addr, uint64_t length,
			int prot, int flags)
{
	struct bo bo;
	void *map;

	if (!create(card, call, length, &bo))
		return MAP_FAILED;
	map = real_mmap(addr, length, prot, flags, card->fd, bo.offset);
	bo_destroy(&bo);
	if (map == MAP_FAILED)
		return MAP_FAILED;
	atomic_fetch_add(&card->mappings, 1);
	/* Variables, perhaps. Large memory is filled by who takes it; vttm has cleared it. */
	if (length < MIN_SHARED && !card->vttm && prot & PROT_WRITE)
		memset(map, 0, length);
	return map;
}

/* A free address for an entry of 1 GiB, which sysfs' files do not look for. */
static char *aligned_to_gib(void)
{
	char *area = real_mmap(NULL, 2 * GiB, PROT_NONE,
			       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	char *start = (char *)(((uintptr_t)area + GiB - 1) & ~(GiB - 1));

	if (area == MAP_FAILED)
		return NULL;
	munmap(area, start - area);
	munmap(start + GiB, area + GiB - start);
	return start;
}

static void *map_file(struct fuzz_file *file, uint64_t call, void *addr, uint64_t length, int prot,
		      int flags)
{
	/* Most addresses are aligned to 2 MiB: let memory and address go together. */
	uint64_t unit = length % (2 * MiB) ? 4096 : length % GiB ? 2 * MiB : GiB;
	uint64_t room = file->size - length;
	uint64_t from = mix(call, 5) % (room / unit + 1) * unit;
	void *map;

	if (!addr && length == GiB) {
		addr = aligned_to_gib();
		flags |= addr ? MAP_FIXED : 0;
	}
	map = real_mmap(addr, length, prot, flags, file->fd, file->offset + from);
	if (map != MAP_FAILED)
		atomic_fetch_add(&file->mappings, 1);
	return map;
}

/* A flag of x86 */
#ifndef MAP_32BIT
#define MAP_32BIT	0
#endif

static void *map_instead(uint64_t call, void *addr, size_t asked, int prot, int flags)
{
	const int fixed = MAP_FIXED | MAP_FIXED_NOREPLACE | MAP_32BIT;
	static atomic_uint turn;
	uint64_t length = (asked + 4095) & ~UINT64_C(4095), whole = length;
	/* The few of the first process go round. */
	uint64_t target = (getpid() == first ? turn++ : mix(call, 6)) % (state->cards + FUZZ_FILES);
	struct fuzz_file *file = NULL;
	struct fuzz_card *card = NULL;
	bool larger = !addr && !(flags & fixed);
	char *map;

	if (target < (uint64_t)state->cards)
		card = &state->card[target];
	else
		file = &state->file[target - state->cards];

	flags &= fixed | MAP_LOCKED | MAP_NORESERVE | MAP_POPULATE | MAP_NONBLOCK;
	flags |= MAP_SHARED;
	/*
	 * The first process keeps its mappings. Others unmap no more than they know of; only those of
	 * a file are larger then, as that takes no memory.
	 */
	if (larger && getpid() == first)
		whole = file ? GiB : whole_object(card, call, length);
	else if (larger && file && length >= MiB)
		whole = GiB;

	map = file ? map_file(file, call, addr, whole, prot, flags) :
		     map_object(card, call, addr, whole, prot, flags);
	if (map == MAP_FAILED)
		return MAP_FAILED;
	/* What a fork is to copy has to be there. */
	if (getpid() == first && prot & (PROT_READ | PROT_WRITE)) {
		for (uint64_t o = 0; o < whole; o += 2 * MiB)
			(void)*(volatile char *)(map + o);
	}
	return map + mix(call, 7) % ((whole - length) / 4096 + 1) * 4096;
}

/*
 * Memory that the program works with. Of what its first process maps that is what it takes from a
 * file (/dev/zero, too), since the rest is its own bookkeeping.
 */
static bool wanted(uint64_t call, size_t length, int flags, int fd)
{
	if (!length || length > MAX_LENGTH || flags & (MAP_HUGETLB | MAP_GROWSDOWN))
		return false;
	if (getpid() == first)
		return fd >= 0;
	if (flags & MAP_SHARED && flags & MAP_ANONYMOUS && !(flags & MAP_FIXED) &&
	    length < MIN_SHARED)
		return false;
	return mix(call, 0) % 4;
}

void *mmap(void *addr, size_t length, int prot, int flags, int fd, off_t offset)
{
	static __thread bool inside;
	void *map = MAP_FAILED;
	uint64_t call;
	int error = errno;

	if (state && !inside) {
		inside = true;
		call = atomic_fetch_add(&state->calls, 1);
		if (wanted(call, length, flags, fd)) {
			map = map_instead(call, addr, length, prot, flags);
			if (map == MAP_FAILED)
				atomic_fetch_add(&state->refused, 1);
		}
		inside = false;
	}
	errno = error;
	return map == MAP_FAILED ? real_mmap(addr, length, prot, flags, fd, offset) : map;
}

void *mmap64(void *addr, size_t length, int prot, int flags, int fd, off_t offset)
	__attribute__((alias("mmap")));

/* A copy of the file descriptor that @path stands for, -1 if it is an ordinary path. */
static int victim(const char *path)
{
	static const char folder[] = FUZZ_VICTIMS "/";

	if (!state || !path || strncmp(path, folder, strlen(folder)))
		return -1;
	return dup(atoi(path + strlen(folder)));
}

int open(const char *path, int flags, ...)
{
	int fd = victim(path);
	unsigned int mode;
	va_list args;

	va_start(args, flags);
	mode = flags & (O_CREAT | __O_TMPFILE) ? va_arg(args, unsigned int) : 0;
	va_end(args);
	return fd < 0 ? (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode) : fd;
}

FILE *fopen(const char *path, const char *mode)
{
	int fd = victim(path);

	return fd < 0 ? fopen64(path, mode) : fdopen(fd, mode);
}
