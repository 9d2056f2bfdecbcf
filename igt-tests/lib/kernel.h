/* SPDX-License-Identifier: MIT */
/* Files of the kernel that tests write to, and what the kernel has to say of the tests. */
#ifndef KERNEL_H
#define KERNEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Just writes. Returns 0 or a negative errno. */
int write_value(const char *path, const char *value);
/* fscanf() of all of a file, which must be there. */
int scan_file(const char *path, const char *format, ...) __attribute__((format(scanf, 2, 3)));
/* The first word of a file, or where it lists all choices that in brackets. */
bool read_value(const char *path, char *value, size_t size);

/*
 * Writes @value to one of the kernel's files. The value of before comes back with the next
 * target, and when the program ends.
 */
void set_knob(const char *path, const char *value);
void restore_knobs(void);

/* Has the kernel look at all mappings of this process: smaps, smaps_rollup and numa_maps. */
void read_maps(void);
/* The same for the page at @addr, in pagemap. */
void read_pagemap(const void *addr);

/*
 * Counters of /proc/vmstat, all of one moment; false if there is no such counter. It causes no
 * fault but the first time.
 */
bool read_vmstat(const char * const *names, uint64_t *values, size_t count);

/* Skips where the kernel cannot trace an event ("SYSTEM/NAME"). */
void require_event(const char *event);
/*
 * Has the kernel trace an event in all processes, until trace_stop() ends that and calls @each with the
 * fields of each event. Nothing may have been lost.
 */
void trace_start(const char *event);
void trace_stop(const char *event, void (*each)(const char *fields));

#define FAIL_TASK	"/proc/thread-self/make-it-fail"
#define FAIL_PAGES	"/sys/kernel/debug/fail_page_alloc/"
/*
 * Lets allocations of pages fail in tasks that are marked by FAIL_TASK, also those that may wait, and
 * single pages; how many do is up to FAIL_PAGES "times" and "probability".
 */
void set_up_failing_pages(void);
/* From now on the first @times allocations of pages by this task fail; and ends that. */
void fail_pages(const char *times);
void fail_no_pages(void);

/* From here on warnings count. */
void note_kernel_warnings(void);
/*
 * Fails if the kernel has warned, oopsed or switched lockdep off since note_kernel_warnings().
 * That lasts until the next boot, so only the first subtest to see it fails.
 */
void assert_no_kernel_warning(const char *where);

#endif
