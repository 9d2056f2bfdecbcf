// SPDX-License-Identifier: MIT
/*
 * One object: created, mapped, touched, written and read
 */
#define _GNU_SOURCE
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/param.h>

#include "report.h"
#include "timing.h"

static sigjmp_buf back;

static void on_signal(int signal)
{
	siglongjmp(back, signal);
}

bool survives(void (*access)(void *data), void *data)
{
	const struct sigaction action = { .sa_handler = on_signal };
	struct sigaction old_bus, old_segv;
	volatile bool fine = false;
	sigjmp_buf outer;

	/* @access may ask this of a part of what it does. */
	memcpy(&outer, &back, sizeof(back));
	sigaction(SIGBUS, &action, &old_bus);
	sigaction(SIGSEGV, &action, &old_segv);
	if (!sigsetjmp(back, 1)) {
		access(data);
		fine = true;
	}
	sigaction(SIGBUS, &old_bus, NULL);
	sigaction(SIGSEGV, &old_segv, NULL);
	memcpy(&back, &outer, sizeof(back));
	return fine;
}

struct work {
	struct row *row;
	void *map;
	uint64_t size;
	int64_t wrong;
};

static void touch(void *data)
{
	struct work *work = data;
	volatile char *map = work->map;
	uint64_t start = now();

	for (uint64_t i = 0; i < work->size; i += BO_PTE_SIZE)
		map[i] = 0;
	work->row->touch_ns = now() - start;
}

/* A word in each page, for the best of some times; the counters are those of the last. */
#define PASSES	3

static void write_and_read(void *data)
{
	struct work *work = data;
	struct row *row = work->row;

	row->write_ns = row->read_ns = UINT64_MAX;
	for (int i = 0; i < PASSES && work->wrong < 0; i++) {
		uint64_t start;

		counters_start();
		start = now();
		bo_fill(work->map, 0, work->size, BO_EVERY_PAGE, i);
		row->write_ns = MIN(row->write_ns, now() - start);
		counters_stop(&row->write);
		counters_start();
		start = now();
		work->wrong = bo_check(work->map, 0, work->size, BO_EVERY_PAGE, i);
		row->read_ns = MIN(row->read_ns, now() - start);
		counters_stop(&row->read);
	}
}

void measure(int fd, enum bo_placement placement, uint64_t size, struct row *row)
{
	struct work work = { .row = row, .size = size, .wrong = -1 };
	uint64_t faults;
	struct bo bo;
	int64_t kib;

	*row = (struct row){ .failed = "create" };
	row->error = bo_create(fd, placement, size, &bo);
	if (row->error)
		return;
	row->failed = "map";
	work.map = bo_map(&bo, NULL, size, PROT_READ | PROT_WRITE, 0);
	if (work.map == MAP_FAILED) {
		row->error = -errno;
		bo_destroy(&bo);
		return;
	}

	row->failed = "touch";
	trace_start();
	/* Pages of this program that are needed are there from now on. */
	now();
	bo_pgtable_kib();
	kib = bo_pgtable_kib();
	faults = bo_faults();
	if (survives(touch, &work)) {
		row->page_faults = bo_faults() - faults;
		row->table_kib = bo_pgtable_kib() - kib;
		trace_stop(work.map, size, &row->faults);
		row->no_levels = bo_levels(work.map, size, &row->levels);
		row->failed = "read back";
		if (survives(write_and_read, &work) && work.wrong < 0)
			row->failed = NULL;
	} else {
		trace_stop(work.map, size, &row->faults);
	}
	munmap(work.map, size);
	bo_destroy(&bo);
}

bool row_entries(const struct row *row, uint64_t entries[3])
{
	entries[0] = row->no_levels ? row->faults.pte : row->levels.pte;
	entries[1] = row->no_levels ? row->faults.pmd : row->levels.pmd;
	entries[2] = row->no_levels ? row->faults.pud : row->levels.pud;
	return !row->no_levels || row->faults.events;
}
