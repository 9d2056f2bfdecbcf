// SPDX-License-Identifier: MIT
/*
 * For LD_PRELOAD, to see how the mappings of DRM objects are mapped that a program's libraries make:
 * each time one is about to be unmapped, and for those left when the program exits, appends to the
 * file that DRM_LEVELS names
 *
 *   PROGRAM,LIBRARY,DEVICE,OFFSET,KIB,PTE,PMD,PUD,CACHE
 *
 * LIBRARY is what unmaps. Mesa maps a dumb buffer to draw into it, and unmaps it when a frame is done.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "bo.h"

struct mapping {
	uintptr_t start, end;
	uint64_t offset;
	char device[32];
};

/* The next mapping of a DRM device in a file like /proc/self/maps */
static bool next_mapping(FILE *maps, struct mapping *mapping)
{
	char line[512];

	while (fgets(line, sizeof(line), maps)) {
		if (sscanf(line, "%" SCNxPTR "-%" SCNxPTR " %*s %" SCNx64 " %*s %*s /dev/dri/%31s",
			   &mapping->start, &mapping->end, &mapping->offset, mapping->device) == 4)
			return true;
	}
	return false;
}

static void report(int fd, const char *library, const struct mapping *mapping)
{
	uint64_t length = mapping->end - mapping->start;
	const char *name = strrchr(library, '/');
	struct bo_levels levels;
	int err;

	err = bo_levels((const void *)mapping->start, length, &levels);
	dprintf(fd, "%s,%s,%s,%#" PRIx64 ",%" PRIu64, program_invocation_short_name,
		name ? name + 1 : library, mapping->device, mapping->offset, length >> 10);
	if (err)
		dprintf(fd, ",no page tables: %s\n", strerror(-err));
	else
		dprintf(fd, ",%" PRIu64 ",%" PRIu64 ",%" PRIu64 ",%s\n", levels.pte, levels.pmd,
			levels.pud, levels.cache);
}

/* Of the mappings that [@addr, @addr + @length) is a part of */
static void report_range(const char *library, uintptr_t addr, size_t length)
{
	const char *path = getenv("DRM_LEVELS");
	struct mapping mapping;
	FILE *maps;
	int fd;

	if (!path)
		return;
	fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644);
	maps = fopen("/proc/self/maps", "re");
	while (fd >= 0 && maps && next_mapping(maps, &mapping)) {
		if (mapping.start < addr + length && addr < mapping.end)
			report(fd, library, &mapping);
	}
	if (maps)
		fclose(maps);
	if (fd >= 0)
		close(fd);
}

int munmap(void *addr, size_t length)
{
	Dl_info caller;
	int err = errno;

	if (!dladdr(__builtin_return_address(0), &caller) || !caller.dli_fname)
		caller.dli_fname = "?";
	report_range(caller.dli_fname, (uintptr_t)addr, length);
	errno = err;
	return syscall(SYS_munmap, addr, length);
}

__attribute__((destructor))
static void exiting(void)
{
	report_range("exit", 0, SIZE_MAX);
}
