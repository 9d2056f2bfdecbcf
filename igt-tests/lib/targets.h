/* SPDX-License-Identifier: MIT */
/* The devices and placements that tests run on. */
#ifndef TARGETS_H
#define TARGETS_H

#include "bo.h"
#include "igt.h"

#define KiB	(UINT64_C(1) << 10)
#define MiB	(UINT64_C(1) << 20)
#define GiB	(UINT64_C(1) << 30)

/* Values of the switch, ttm.huge_faults. */
enum {
	HUGE_NONE,
	HUGE_PMD,
	HUGE_PUD,
};

/* One placement on one card. */
struct target {
	const char *name;	/* "qxl-vram"; "qxl-2-vram" on a second card of that driver */
	int card;		/* N of /dev/dri/cardN */
	int fd;
	enum bo_placement placement;
};

#define target_assert(target, condition, format, args...)			\
	igt_assert_f(condition, "%s: " format "\n", (target)->name, ##args)
#define target_require(target, condition, format, args...)			\
	igt_require_f(condition, "%s: " format "\n", (target)->name, ##args)

/*
 * The cards to test are those that IGT's device filters name (--device, IGT_DEVICE), or without
 * filters the one that IGT takes; bo_open_card() opens no others afterwards. Skips unless there is
 * one that this project knows, and the kernel has the switch and ptdump. The switch gets its
 * value back when the program ends.
 */
void ttm_huge_init(void);
void ttm_huge_fini(void);

/*
 * Every target in turn, clean: opened anew, with nothing of any card mapped
 * or allocated by this process, and the switch at HUGE_PUD.
 */
const struct target *target_next(const struct target *target);
#define for_each_target(t)	for ((t) = target_next(NULL); (t); (t) = target_next(t))
/* Unmaps everything that this process maps of files whose names contain @name. */
void unmap_files(const char *name);
/* Closes all cards, with nothing of any left mapped. */
void close_targets(void);
/* Closes the target's card, with which its objects end, or opens it anew. */
void target_close(const struct target *target);
void target_reopen(const struct target *target);

/* For struct subtest */
bool on_vram(const struct target *target);
bool on_system(const struct target *target);

void set_huge_faults(int value);

/* An object of the target's placement. Skips if there is no room for @size bytes. */
struct bo target_bo(const struct target *target, uint64_t size);
/* The same, which lasts until the next target. */
const struct bo *target_new_bo(const struct target *target, uint64_t size);
/* An object that the caller has made, for as long. */
const struct bo *target_keep_bo(const struct bo *bo);
/* Skips where the kernel's pages are larger. */
void require_4k_pages(void);
/* Skips unless bo_has_pud_entries(). */
void require_pud_entries(void);

/* A size whose mapping has entries of every level that the target has room for. */
uint64_t size_of_all_levels(const struct target *target);
/*
 * Skips unless objects of @size bytes have room: in VRAM, or in free pieces of system
 * memory that are large enough for PMD entries, so that the levels of a
 * mapping are known exactly.
 */
void require_room(const struct target *target, uint64_t size);
/* The same for system memory, where objects of VRAM go when they are evicted. */
void require_room_outside(const struct target *target, uint64_t size);
/* The same for an object that is as huge there as in VRAM. */
void require_blocks_outside(const struct target *target, uint64_t size);
/* Skips where VRAM is larger than @most: filling it, as to evict an object, takes too long. */
void require_small_vram(const struct target *target, uint64_t most);

#endif
