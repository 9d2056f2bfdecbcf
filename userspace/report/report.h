/* SPDX-License-Identifier: MIT */
/*
 * The parts of "bo-map --report"
 */
#ifndef REPORT_H
#define REPORT_H

#include <stdio.h>

#include "bo.h"

/*
 * Writes a report about the card @device, or about all cards if that is NULL, to @path. Exits if
 * that cannot be done.
 */
void report(const char *path, const char *device);

/* machine.c: kernel, processor, memory; and what a card is */
void describe_machine(FILE *out);
void describe_card(FILE *out, int fd);
uint64_t available_memory(void);

/*
 * trace.c: what the kernel's tracepoints say of the faults of this process, in an instance of the
 * trace buffer of its own
 */
enum limit {
	LIMIT_SWITCH,
	LIMIT_NOHUGEPAGE,
	LIMIT_VMA,
	LIMIT_RUN,
	LIMIT_ALIGNMENT,
	LIMIT_OCCUPIED,
	LIMIT_DRIVER,
	LIMIT_CPU,
	LIMIT_MEMORY,
	LIMITS
};

struct faults {
	unsigned int events;		/* 0: nobody has told */
	uint64_t pte, pmd, pud;		/* entries that they made */
	unsigned int limit[LIMITS];	/* faults whose entry was not the largest that there is, by reason */
	char memory[16];		/* where the object was at the last one, in TTM's words */
};

extern const char *const limit_names[LIMITS], *const limit_texts[LIMITS];

/* 0 or a negative errno: there are no events, or they cannot be read. */
int trace_open(void);
void trace_start(void);
/* Of faults in a mapping since trace_start() */
void trace_stop(const void *map, size_t length, struct faults *faults);
void trace_close(void);

/* counters.c: what the processor counts, in user space and in the kernel */
enum counter {
	CYCLES,
	DTLB_READ,
	DTLB_WRITE,
	COUNTERS
};

struct counts {
	int64_t value[COUNTERS];	/* -1: not counted */
};

/* 0, or a negative errno if nothing can be counted */
int counters_open(void);
void counters_start(void);
void counters_stop(struct counts *counts);

/* measure.c: an object is created, mapped, touched, written and read. */
struct row {
	const char *failed;		/* the step that failed, NULL if none */
	int error;			/* of that: a negative errno; 0: SIGBUS or wrong contents */
	uint64_t page_faults;
	int64_t table_kib;
	int no_levels;			/* a negative errno: the page tables cannot be read */
	struct bo_levels levels;
	struct faults faults;
	uint64_t touch_ns, write_ns, read_ns;
	struct counts write, read;
};

void measure(int fd, enum bo_placement placement, uint64_t size, struct row *row);
/* Entries by the page tables, or else by the tracepoint; false if neither tells. */
bool row_entries(const struct row *row, uint64_t entries[3]);

/* Runs @access(@data) and says whether it ended without a SIGBUS or SIGSEGV. */
bool survives(void (*access)(void *data), void *data);

/*
 * Huge entries off, then on: @value of ttm.huge_faults is 0, then @most. Without this parameter
 * @most is -1, and there is nothing to compare.
 */
#define for_each_switch(value, most)							\
	for (int value = 0; value <= ((most) < 0 ? 0 : (most)) && !stopped();		\
	     value += (most) > 0 ? (most) : 1)

/* Sets it, where there is one, and returns the word for it in the tables. */
const char *set_switch(int value, int most);

/* evict.c */
void report_eviction(FILE *out, int fd, int most);

/* checks.c */
void report_checks(FILE *out, int fd, enum bo_placement placement);

/* Somebody has pressed Ctrl-C. */
bool stopped(void);

/* "64 KiB", "1 GiB" */
#define SIZE_TEXT	48
const char *size_text(uint64_t size, char text[SIZE_TEXT]);

#endif
