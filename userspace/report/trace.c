// SPDX-License-Identifier: MIT
/*
 * Tracepoints: ttm:ttm_bo_vm_fault, and pfnmap:pfnmap_insert where that is all there is
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "report.h"

const char *const limit_names[LIMITS] = {
	[LIMIT_SWITCH] = "switch",
	[LIMIT_NOHUGEPAGE] = "nohugepage",
	[LIMIT_VMA] = "vma",
	[LIMIT_RUN] = "run",
	[LIMIT_ALIGNMENT] = "alignment",
	[LIMIT_OCCUPIED] = "occupied",
	[LIMIT_DRIVER] = "driver",
	[LIMIT_CPU] = "cpu",
	[LIMIT_MEMORY] = "memory-type",
};

const char *const limit_texts[LIMITS] = {
	[LIMIT_SWITCH] = "ttm.huge_faults allows no larger entry",
	[LIMIT_NOHUGEPAGE] = "the program asked for small entries, with madvise()",
	[LIMIT_VMA] = "the mapping is smaller than the next larger entry",
	[LIMIT_RUN] = "the memory of the object is in pieces, which are smaller than the next larger entry",
	[LIMIT_ALIGNMENT] = "address and memory are not aligned alike",
	[LIMIT_OCCUPIED] = "a page table with smaller entries was there already",
	[LIMIT_DRIVER] = "the driver takes no larger entries",
	[LIMIT_CPU] = "the processor or the kernel's configuration has no larger entries",
	[LIMIT_MEMORY] = "the memory has more than one cache mode",
};

static char instance[64], pfnmap_event[PATH_MAX], ttm_event[PATH_MAX];
static bool has_ttm;

static int write_file(const char *folder, const char *name, const char *text)
{
	char path[PATH_MAX];
	int fd, ret = 0;

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	fd = open(path, O_WRONLY | O_CLOEXEC | O_TRUNC);
	if (fd < 0)
		return -errno;
	if (*text && write(fd, text, strlen(text)) < 0)
		ret = -errno;
	close(fd);
	return ret;
}

int trace_open(void)
{
	const char *const roots[] = { "/sys/kernel/tracing", "/sys/kernel/debug/tracing" };
	char pid[16];
	int ret = -ENOENT;

	for (size_t i = 0; i < 2 && ret; i++) {
		snprintf(instance, sizeof(instance), "%s/instances/bo-map-%d", roots[i], getpid());
		ret = mkdir(instance, 0700) ? -errno : 0;
	}
	if (ret) {
		instance[0] = '\0';
		return ret;
	}
	snprintf(ttm_event, sizeof(ttm_event), "%s/events/ttm/ttm_bo_vm_fault", instance);
	snprintf(pfnmap_event, sizeof(pfnmap_event), "%s/events/pfnmap/pfnmap_insert", instance);
	has_ttm = !access(ttm_event, F_OK);
	if (!has_ttm && access(pfnmap_event, F_OK))
		ret = -EOPNOTSUPP;
	/* Nobody else's faults */
	snprintf(pid, sizeof(pid), "%d", getpid());
	if (!ret)
		ret = write_file(instance, "set_event_pid", pid);
	if (ret)
		trace_close();
	return ret;
}

void trace_close(void)
{
	if (instance[0])
		rmdir(instance);
	instance[0] = '\0';
}

void trace_start(void)
{
	if (!instance[0])
		return;
	write_file(instance, "trace", "");
	write_file(has_ttm ? ttm_event : pfnmap_event, "enable", "1");
}

/* The number or the word after "@name=" */
static const char *value_of(const char *line, const char *name)
{
	const char *found = line;
	size_t length = strlen(name);

	while ((found = strstr(found, name))) {
		if (found > line && found[-1] == ' ' && found[length] == '=')
			return found + length + 1;
		found += length;
	}
	return NULL;
}

static uint64_t number_of(const char *line, const char *name)
{
	const char *value = value_of(line, name);

	return value ? strtoull(value, NULL, 0) : 0;
}

static void count_fault(const char *line, struct faults *faults)
{
	char word[16] = "";
	const char *limit = value_of(line, "limit"), *memory = value_of(line, "mem_type");

	faults->events++;
	faults->pte += number_of(line, "ptes");
	faults->pmd += number_of(line, "pmds");
	faults->pud += number_of(line, "puds");
	if (memory)
		sscanf(memory, "%15s", faults->memory);
	if (limit)
		sscanf(limit, "%15s", word);
	/* mm's word for what TTM calls the switch */
	if (!strcmp(word, "order"))
		strcpy(word, "switch");
	for (int i = 0; i < LIMITS; i++)
		faults->limit[i] += !strcmp(word, limit_names[i]);
}

void trace_stop(const void *map, size_t length, struct faults *faults)
{
	uintptr_t start = (uintptr_t)map;
	char path[PATH_MAX], line[1024];
	FILE *f;

	*faults = (struct faults){ 0 };
	if (!instance[0])
		return;
	write_file(has_ttm ? ttm_event : pfnmap_event, "enable", "0");
	snprintf(path, sizeof(path), "%s/trace", instance);
	f = fopen(path, "re");
	if (!f)
		return;
	while (fgets(line, sizeof(line), f)) {
		uint64_t address = number_of(line, "address");

		if (line[0] != '#' && address >= start && address - start < length)
			count_fault(line, faults);
	}
	fclose(f);
}
