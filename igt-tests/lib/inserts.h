/* SPDX-License-Identifier: MIT */
/*
 * What mm says of the entries that it makes for a pfn mapping, in a fault or in remap_pfn_range():
 * its event pfnmap:pfnmap_insert, which is the same for vfio, sysfs, /dev/mem and DRM.
 */
#ifndef INSERTS_H
#define INSERTS_H

#include "views.h"

struct inserts {
	uint64_t events;
	struct bo_levels levels;	/* sums of their entries */
	/* Of the last event: its address in the object, and the entry there */
	uint64_t offset;
	enum bo_level level;
	char limit[16];			/* the reason why that is not larger */
};

/* Skips where the kernel cannot trace the event. */
void require_inserts(void);
/*
 * Has the kernel trace the event, from before the mapping is made if need be; and ends that, and
 * sums up the events at the addresses of @view.
 */
void inserts_start(void);
struct inserts inserts_stop(const struct view *view);

/* Asserts that there were @events, and that page tables hold what these inserted in @view. */
void assert_inserts(const struct view *view, const struct inserts *inserts, uint64_t events);
/* Asserts that of one event, and that its entry is not larger because of @limit. */
void assert_one_insert(const struct view *view, const struct inserts *inserts, const char *limit);

/*
 * The reason why an entry of @level is not larger: @limit, unless there are no PUD entries. Then
 * nothing else keeps a PMD entry from being larger.
 */
const char *limit_here(enum bo_level level, const char *limit);

#endif
