// SPDX-License-Identifier: MIT
/*
 * An object that others push out of the card's memory, and that comes back
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/param.h>

#include "report.h"

#define SIZE		(UINT64_C(64) << 20)
#define SEED		7
#define MOST_OTHERS	32

struct object {
	struct bo bo;
	void *map;
	const char *huge;
	int64_t wrong;
};

static void read_all(void *data)
{
	struct object *object = data;

	object->wrong = bo_check(object->map, 0, object->bo.size, BO_EVERY_PAGE, SEED);
}

static void read_one(void *data)
{
	struct object *object = data;

	(void)*(volatile char *)object->map;
}

static void fill(void *data)
{
	struct object *object = data;

	bo_fill(object->map, 0, object->bo.size, BO_EVERY_PAGE, SEED);
}

/* A look at the mapping begins: faults from now on are its own. */
static uint64_t begin(void)
{
	trace_start();
	return bo_faults();
}

/* Reads all of it, and prints how it is mapped then. @faults is from begin(). */
static bool look(FILE *out, const char *when, struct object *object, uint64_t faults)
{
	struct row row = { 0 };
	uint64_t entries[3];
	enum bo_placement where;
	bool fine;

	fine = survives(read_all, object);
	row.page_faults = bo_faults() - faults;
	trace_stop(object->map, object->bo.size, &row.faults);
	row.no_levels = bo_levels(object->map, object->bo.size, &row.levels);
	if (fine && !row.faults.memory[0] && !bo_where(&object->bo, &where))
		snprintf(row.faults.memory, sizeof(row.faults.memory), "%s",
			 bo_placement_name(where));

	fprintf(out, "  %-16s %-4s  %-8s %6" PRIu64, when, object->huge,
		row.faults.memory[0] ? row.faults.memory : "-", row.page_faults);
	if (row_entries(&row, entries))
		fprintf(out, " %8" PRIu64 " %6" PRIu64 " %6" PRIu64, entries[0], entries[1],
			entries[2]);
	else
		fprintf(out, " %8s %6s %6s", "-", "-", "-");
	fprintf(out, "  %s\n", !fine ? "SIGBUS" : object->wrong < 0 ? "right" : "WRONG");
	return fine;
}

/* Whether it has moved: then the mapping is empty, and a touch of it is a fault since @faults. */
static bool moved(struct object *object, uint64_t faults)
{
	survives(read_one, object);
	return bo_faults() > faults;
}

static void push_out(FILE *out, struct object *object, uint64_t vram)
{
	uint64_t chunk = MIN(vram / 8 & -BO_PMD_SIZE, bo_max_size(object->bo.fd, BO_VRAM)), faults;
	struct bo other[MOST_OTHERS];
	bool gone = false;
	int count = 0, ret = 0;

	moved(object, 0);
	while (!ret && !gone && count < MOST_OTHERS && !stopped()) {
		ret = bo_create(object->bo.fd, BO_VRAM, chunk, &other[count]);
		count += !ret;
		faults = begin();
		gone = moved(object, faults);
	}
	if (gone)
		look(out, "pushed out", object, faults);
	else if (ret)
		fprintf(out, "  it stayed: after %d others, no more could be created: %s\n", count,
			strerror(-ret));
	else
		fprintf(out, "  it stayed, with %d others in the card's memory\n", count);
	while (count)
		bo_destroy(&other[--count]);
	if (!gone)
		return;
	ret = bo_return_to_vram(&object->bo);
	if (ret)
		fprintf(out, "  not brought back: %s\n", ret == -EOPNOTSUPP ?
			"this driver offers no way without its GPU" : strerror(-ret));
	else
		look(out, "brought back", object, begin());
}

/* @huge: the word for the value of the switch */
static void evict(FILE *out, int fd, uint64_t vram, uint64_t size, const char *huge)
{
	struct object object = { .huge = huge };
	int ret = bo_create(fd, BO_VRAM, size, &object.bo);

	if (ret) {
		fprintf(out, "  none: %s\n", strerror(-ret));
		return;
	}
	object.map = bo_map(&object.bo, NULL, size, PROT_READ | PROT_WRITE, 0);
	if (object.map != MAP_FAILED) {
		if (!survives(fill, &object))
			fputs("  SIGBUS\n", out);
		munmap(object.map, size);
		/* From nothing, as the other times */
		object.map = bo_map(&object.bo, NULL, size, PROT_READ | PROT_WRITE, 0);
	}
	if (object.map == MAP_FAILED) {
		fprintf(out, "  cannot be mapped: %s\n", strerror(errno));
	} else {
		if (look(out, "at first", &object, begin()))
			push_out(out, &object, vram);
		munmap(object.map, size);
	}
	bo_destroy(&object.bo);
}

void report_eviction(FILE *out, int fd, int most)
{
	uint64_t vram = bo_vram_size(fd), size = MIN(SIZE, vram / 8 & -BO_PMD_SIZE);
	char text[SIZE_TEXT];

	fputs("\n  An object that others push out of the card's memory, read each time\n\n", out);
	if (!size) {
		fprintf(out, "  none: %s\n", strerror(ENOSPC));
		return;
	}
	fprintf(out, "  %-16s %-4s  %-8s %6s %8s %6s %6s  %s\n", size_text(size, text), "huge",
		"memory", "faults", "4 KiB", "2 MiB", "1 GiB", "contents");
	for_each_switch(value, most)
		evict(out, fd, vram, size, set_switch(value, most));
}
