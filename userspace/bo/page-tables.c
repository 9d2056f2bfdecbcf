// SPDX-License-Identifier: MIT
/*
 * The page tables of this process, and what it took to fill them
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/param.h>
#include <sys/resource.h>
#include <unistd.h>

#include "bo.h"
#include "ptdump.h"

const char *bo_level_name(enum bo_level level)
{
	return level_info[level].name;
}

uint64_t bo_wrong_page_size(void)
{
	uint64_t size = sysconf(_SC_PAGESIZE);

	return size == BO_PTE_SIZE ? 0 : size;
}

/* Whether a line of /proc/cpuinfo says that the CPU has PUD entries */
static bool says_pud_entries(const char *line)
{
#if defined(__x86_64__)
	return !strncmp(line, "flags", 5) && strstr(line, " pdpe1gb");
#elif defined(__riscv)
	/* With three levels, as of Sv39, the PUD is the root, and Linux has no leaves in it. */
	return !strncmp(line, "mmu", 3) && (strstr(line, "sv48") || strstr(line, "sv57"));
#else
	(void)line;
	return false;
#endif
}

bool bo_has_pud_entries(void)
{
	static int known = -1;
	char line[4096];
	FILE *f;

	if (known >= 0)
		return known;
	f = fopen("/proc/cpuinfo", "re");
	for (known = 0; f && !known && fgets(line, sizeof(line), f);)
		known = says_pud_entries(line);
	if (f)
		fclose(f);
	return known;
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
	bool listed = false;
	char line[256];
	int ret = 0;
	FILE *f;

	/*
	 * The kernel walks everything before the first byte comes out, a few times over
	 * until its buffer fits; leaving early saves only the copying.
	 */
	if (bo_wrong_page_size())
		return -ENOEXEC;
	f = fopen(BO_PAGE_TABLES, "re");
	if (!f)
		return -errno;
	setvbuf(f, NULL, _IOFBF, 1 << 16);

	while (!ret && reached < end && fgets(line, sizeof(line), f)) {
		struct bo_extent extent, gap = { .start = reached };

		if (!parse_extent(line, &extent))
			continue;
		listed = true;
		if (extent.end <= reached)
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

	/* riscv does not list what is not mapped. */
	if (!ret && listed)
		ret = append_extent(&list, &(struct bo_extent){ .start = reached, .end = end });
	else if (!ret && reached < end)
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
