// SPDX-License-Identifier: MIT
/*
 * Performance counters
 */
#include <errno.h>
#include <linux/perf_event.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "report.h"

#define DTLB_MISS(op)	(PERF_COUNT_HW_CACHE_DTLB | PERF_COUNT_HW_CACHE_OP_##op << 8 | \
			 PERF_COUNT_HW_CACHE_RESULT_MISS << 16)

static int counter_fd[COUNTERS] = { -1, -1, -1 };

int counters_open(void)
{
	static const struct {
		uint32_t type;
		uint64_t config;
	} kinds[COUNTERS] = {
		[CYCLES] = { PERF_TYPE_HARDWARE, PERF_COUNT_HW_CPU_CYCLES },
		[DTLB_READ] = { PERF_TYPE_HW_CACHE, DTLB_MISS(READ) },
		[DTLB_WRITE] = { PERF_TYPE_HW_CACHE, DTLB_MISS(WRITE) },
	};
	int ret = -ENOENT;

	for (int i = 0; i < COUNTERS; i++) {
		struct perf_event_attr attr = {
			.size = sizeof(attr),
			.type = kinds[i].type,
			.config = kinds[i].config,
			.disabled = 1,
		};

		counter_fd[i] = syscall(SYS_perf_event_open, &attr, 0, -1, -1,
					PERF_FLAG_FD_CLOEXEC);
		if (counter_fd[i] >= 0)
			ret = 0;
		else if (ret)
			ret = -errno;
	}
	return ret;
}

void counters_start(void)
{
	for (int i = 0; i < COUNTERS; i++) {
		if (counter_fd[i] >= 0) {
			ioctl(counter_fd[i], PERF_EVENT_IOC_RESET, 0);
			ioctl(counter_fd[i], PERF_EVENT_IOC_ENABLE, 0);
		}
	}
}

void counters_stop(struct counts *counts)
{
	for (int i = 0; i < COUNTERS; i++) {
		uint64_t value;

		counts->value[i] = -1;
		if (counter_fd[i] < 0)
			continue;
		ioctl(counter_fd[i], PERF_EVENT_IOC_DISABLE, 0);
		if (read(counter_fd[i], &value, sizeof(value)) == sizeof(value))
			counts->value[i] = value;
	}
}
