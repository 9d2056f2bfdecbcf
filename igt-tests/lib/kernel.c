// SPDX-License-Identifier: MIT
#define _GNU_SOURCE 1
#include "kernel.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "igt.h"

static bool warned_before;

/* A file of the kernel, and what it held. */
static struct knob {
	char path[128];
	char value[128];
} knobs[16];
static int knob_count;

int write_value(const char *path, const char *value)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC), ret;

	if (fd < 0)
		return -errno;
	ret = write(fd, value, strlen(value)) < 0 ? -errno : 0;
	close(fd);
	return ret;
}

int scan_file(const char *path, const char *format, ...)
{
	FILE *f = fopen(path, "re");
	va_list args;
	int count;

	igt_assert_f(f, "no %s: %s\n", path, strerror(errno));
	va_start(args, format);
	count = vfscanf(f, format, args);
	va_end(args);
	fclose(f);
	return count;
}

bool read_value(const char *path, char *value, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t length;
	char *word;

	if (fd < 0)
		return false;
	length = read(fd, value, size - 1);
	close(fd);
	if (length <= 0)
		return false;
	value[length] = '\0';
	word = strchr(value, '[');
	if (word)
		memmove(value, word + 1, strlen(word));
	value[strcspn(value, "]\n")] = '\0';
	return true;
}

void set_knob(const char *path, const char *value)
{
	struct knob *knob;
	int ret;

	igt_assert(knob_count < (int)ARRAY_SIZE(knobs));
	knob = &knobs[knob_count];
	snprintf(knob->path, sizeof(knob->path), "%s", path);
	igt_assert_f(read_value(path, knob->value, sizeof(knob->value)), "cannot read %s: %s\n",
		     path, strerror(errno));
	knob_count++;
	ret = write_value(path, value);
	igt_assert_f(!ret, "%s does not take %s: %s\n", path, value, strerror(-ret));
}

void restore_knobs(void)
{
	/* The last first, as one may have been set twice. */
	while (knob_count) {
		knob_count--;
		write_value(knobs[knob_count].path, knobs[knob_count].value);
	}
}

void read_maps(void)
{
	static const char * const files[] = { "smaps", "smaps_rollup", "numa_maps" };
	char path[32], buf[4096];

	for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
		int fd;

		snprintf(path, sizeof(path), "/proc/self/%s", files[i]);
		fd = open(path, O_RDONLY | O_CLOEXEC);
		/* Each is there or not by the kernel's configuration. */
		if (fd < 0 && errno == ENOENT)
			continue;
		igt_assert_fd(fd);
		while (read(fd, buf, sizeof(buf)) > 0)
			;
		close(fd);
	}
}

void read_pagemap(const void *addr)
{
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	uint64_t word;

	igt_assert_fd(fd);
	igt_assert_eq(pread(fd, &word, sizeof(word), (uintptr_t)addr / getpagesize() * sizeof(word)),
		      sizeof(word));
	close(fd);
}

#define TRACING	"/sys/kernel/tracing/"

static const char *event_switch(const char *event)
{
	static char path[128];

	snprintf(path, sizeof(path), TRACING "events/%s/enable", event);
	return path;
}

void require_event(const char *event)
{
	const char *path = event_switch(event);

	igt_require_f(!access(path, W_OK), "no %s: CONFIG_FTRACE, CONFIG_EVENT_TRACING, "
		      "tracefs mounted, and root are needed\n", path);
}

void trace_start(const char *event)
{
	/* Opening it this way empties it. */
	FILE *f = fopen(TRACING "trace", "we");

	igt_assert_f(f, "cannot empty " TRACING "trace: %s\n", strerror(errno));
	fclose(f);
	igt_assert_eq(write_value(event_switch(event), "1"), 0);
}

void trace_stop(const char *event, void (*each)(const char *fields))
{
	uint64_t kept = 0, written = 0;
	char line[1024], name[64];
	FILE *f;

	igt_assert_eq(write_value(event_switch(event), "0"), 0);
	snprintf(name, sizeof(name), " %s: ", strchr(event, '/') + 1);
	f = fopen(TRACING "trace", "re");
	igt_assert_f(f, "no " TRACING "trace: %s\n", strerror(errno));
	while (fgets(line, sizeof(line), f)) {
		const char *found = strstr(line, name);

		sscanf(line, "# entries-in-buffer/entries-written: %" SCNu64 "/%" SCNu64, &kept,
		       &written);
		if (found)
			each(found + strlen(name));
	}
	fclose(f);
	igt_assert_f(kept == written, "the trace has lost %" PRIu64 " of %" PRIu64 " events\n",
		     written - kept, written);
}

bool read_vmstat(const char * const *names, uint64_t *values, size_t count)
{
	static char text[1 << 14] = "\n";
	int fd = open("/proc/vmstat", O_RDONLY | O_CLOEXEC);
	char line[64], *found;
	size_t length = 1;
	ssize_t ret;

	if (fd < 0)
		return false;
	while ((ret = read(fd, text + length, sizeof(text) - 1 - length)) > 0)
		length += ret;
	close(fd);
	text[length] = '\0';

	for (size_t i = 0; i < count; i++) {
		snprintf(line, sizeof(line), "\n%s ", names[i]);
		found = strstr(text, line);
		if (!found)
			return false;
		values[i] = strtoull(found + strlen(line), NULL, 10);
	}
	return true;
}

/* Whether lockdep has switched itself off, as it does after its first report. */
static bool lockdep_off(void)
{
	FILE *f = fopen("/proc/lockdep_stats", "re");
	char line[128];
	int on = 1;

	while (f && fgets(line, sizeof(line), f))
		sscanf(line, " debug_locks: %d", &on);
	if (f)
		fclose(f);
	return !on;
}

static bool kernel_has_warned(void)
{
	/* Bad page, died, warned: Documentation/admin-guide/tainted-kernels.rst */
	const unsigned long bad = 1 << 5 | 1 << 7 | 1 << 9;
	FILE *f = fopen("/proc/sys/kernel/tainted", "re");
	unsigned long taint = 0;

	if (f) {
		if (fscanf(f, "%lu", &taint) != 1)
			taint = 0;
		fclose(f);
	}
	return taint & bad || lockdep_off();
}

void set_up_failing_pages(void)
{
	set_knob(FAIL_PAGES "verbose", "0");
	set_knob(FAIL_PAGES "ignore-gfp-wait", "N");
	set_knob(FAIL_PAGES "ignore-gfp-highmem", "N");
	set_knob(FAIL_PAGES "min-order", "0");
	set_knob(FAIL_PAGES "task-filter", "Y");
}

void fail_pages(const char *times)
{
	set_up_failing_pages();
	set_knob(FAIL_PAGES "times", times);
	set_knob(FAIL_PAGES "probability", "100");
	igt_assert_eq(write_value(FAIL_TASK, "1"), 0);
}

void fail_no_pages(void)
{
	igt_assert_eq(write_value(FAIL_TASK, "0"), 0);
	restore_knobs();
}

void note_kernel_warnings(void)
{
	warned_before = kernel_has_warned();
}

void assert_no_kernel_warning(const char *where)
{
	if (warned_before)
		return;
	note_kernel_warnings();
	igt_assert_f(!warned_before, "%s: the kernel has warned; see its log\n", where);
}
