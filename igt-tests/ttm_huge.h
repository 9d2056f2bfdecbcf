/* SPDX-License-Identifier: MIT */
/*
 * What the ttm_huge tests share: the devices and placements to test on, and what
 * the page tables of a mapping should hold.
 */
#ifndef TTM_HUGE_H
#define TTM_HUGE_H

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

/*
 * Skips unless the kernel has the switch and ptdump, and a card this project knows.
 * The switch gets its value back when the program ends.
 */
void ttm_huge_init(void);
void ttm_huge_fini(void);

/*
 * Every target in turn, clean: opened anew, with nothing of any card mapped
 * or allocated by this process, and the switch at HUGE_PUD.
 */
struct target *target_next(struct target *target);
#define for_each_target(t)	for ((t) = target_next(NULL); (t); (t) = target_next(t))
/* A dynamic subtest for every target for which @condition holds. */
#define igt_dynamic_targets_if(t, condition)					\
	for_each_target(t)							\
		if (condition)							\
			igt_dynamic((t)->name)
/* A dynamic subtest for every target. */
#define igt_dynamic_targets(t)	igt_dynamic_targets_if(t, true)

void set_huge_faults(int value);

/*
 * Writes @value to one of the kernel's files. What was there before comes back with the next
 * target, and when the program ends.
 */
void set_knob(const char *path, const char *value);
void restore_knobs(void);
/* Just writes. Returns 0 or a negative errno. */
int write_value(const char *path, const char *value);

#define FAIL_TASK	"/proc/thread-self/make-it-fail"
#define FAIL_PAGES	"/sys/kernel/debug/fail_page_alloc/"
/*
 * Lets allocations of pages fail in tasks that are marked by FAIL_TASK, also those that may wait, and
 * single pages; how many do is up to FAIL_PAGES "times" and "probability".
 */
void set_up_failing_pages(void);

/*
 * Fails if the kernel has warned, oopsed or switched lockdep off since the program began.
 * That lasts until the next boot, so only the first subtest to see it fails.
 */
void assert_no_kernel_warning(const struct target *target);

/* An object of the target's placement. Skips if there is no room for @size bytes. */
struct bo target_bo(const struct target *target, uint64_t size);
/* A size whose mapping has entries of every level that the target has room for. */
uint64_t size_of_all_levels(const struct target *target);
/*
 * Skips unless objects of @size bytes have room: in VRAM, or in free pieces of system
 * memory that are large enough for PMD entries, so that what a mapping
 * should hold is known exactly.
 */
void require_room(const struct target *target, uint64_t size);

/* A mapping of a part of an object. */
struct view {
	const struct target *target;
	const struct bo *bo;
	uint64_t first;		/* byte of the object that is mapped at addr */
	char *addr;
	size_t length;
};

/* All of @bo, where the kernel likes, shared. Asserts that the kernel likes it congruent. */
struct view map_whole(const struct target *target, const struct bo *bo, int prot);
struct view map_part(const struct target *target, const struct bo *bo, uint64_t first,
		     void *addr, size_t length, int prot, int flags);
/*
 * The same with every page touched, in the largest entries that fit, and filled from @seed in steps
 * of view_step().
 */
struct view map_filled(const struct target *target, const struct bo *bo, uint64_t seed);
/* All of @bo in 4 KiB entries (MADV_NOHUGEPAGE). */
struct view map_4k(const struct target *target, const struct bo *bo);
/* The same view of the same mapping, cut down to bytes [first, first + length) of the object. */
struct view sub_view(const struct view *view, uint64_t first, size_t length);
void unmap(struct view *view);
/* An address that is free for @length bytes, and @offset above a multiple of @align. */
char *free_address(size_t length, uint64_t align, uint64_t offset);

/*
 * Asserts that the view's addresses are congruent to offsets in the object, modulo the size of
 * the largest entry that its length has room for.
 */
void assert_congruent(const struct view *view);

/* The size of the largest entry that fits into @length bytes. */
uint64_t wanted_alignment(uint64_t length);
bool is_congruent(const struct view *view, uint64_t alignment);

/*
 * Touches every page of small views, of large ones every page of the first and last
 * 2 MiB and one page of each 2 MiB between. Writing leaves a 1 in the first byte of each.
 */
void touch(const struct view *view, bool write);
#define LARGE_VIEW	(32 * MiB)

/*
 * The level that maps byte @offset of the object, once all of the view was touched with the
 * switch at @huge_faults: the largest entry whose range lies inside the view, at an address
 * that is congruent to its offset in the object, where the memory is contiguous.
 */
enum bo_level expected_level(const struct view *view, uint64_t offset, int huge_faults);

/* Asserts that for the whole view, after touch(). */
void assert_levels(const struct view *view, int huge_faults);
/* Asserts that bytes [offset, offset + length) of the object are mapped at @level only. */
void assert_level(const struct view *view, uint64_t offset, uint64_t length, enum bo_level level);
/* Asserts that no entry of the view is larger than 4 KiB. */
void assert_no_huge(const struct view *view);
/* Asserts that nothing of the view is mapped. */
void assert_unmapped(const struct view *view);
/* Asserts that no entry of the view is writable. */
void assert_read_only(const struct view *view);

/* Writes, or asserts, the pattern of @seed; @step as for bo_fill(). */
void fill(const struct view *view, uint64_t step, uint64_t seed);
void assert_contents(const struct view *view, uint64_t step, uint64_t seed);
/* Asserts it for the object without any mapping, through the driver's own read path. */
void assert_contents_read(const struct target *target, const struct bo *bo, uint64_t step,
			  uint64_t seed);
/* The same step for any size of view: every page, or of large views a page of each 2 MiB. */
uint64_t view_step(const struct view *view);

/*
 * Moves the view's object out of VRAM, or back in (skips where the driver has no way); nothing
 * of it is mapped then.
 */
void evict(const struct view *view);
void return_to_vram(const struct view *view);
void assert_where(const struct target *target, const struct bo *bo, enum bo_placement expected);

/*
 * Swaps out every object of every card that has memory of its own and is not pinned, and returns
 * how many pages that were. Skip where there is no way to do it.
 */
long swap_out_all(void);
void require_swap_out(void);
/* Frees what TTM keeps of the memory of objects that are gone. */
void empty_page_pool(void);

/*
 * Takes the driver away from the target's device, in use or not, and gives it back; nobody may have
 * the card of before open then, but the target. The device's address is its name on the PCI bus;
 * asking for it skips the test where the driver cannot be taken away.
 */
struct pci_address {
	char name[32];
};

struct pci_address pci_address(const struct target *target);
void unplug(const struct pci_address *device);
void plug_in(struct target *target, const struct pci_address *device);

/* 0, or the signal that reading or writing one byte at @addr raises. */
int signal_of_read(const void *addr);
int signal_of_write(void *addr);

/*
 * Turn-taking between a process and one forked child: open it, fork, let each take its side.
 * Waiting fails the subtest if the other side has died.
 */
enum side {
	PARENT,
	CHILD,
};

struct handshake {
	int fd[2];
	enum side side;
};

void handshake_open(struct handshake *hs);
void handshake_take(struct handshake *hs, enum side side);
void handshake_tell(struct handshake *hs);
void handshake_wait(struct handshake *hs);
void handshake_close(struct handshake *hs);
/* The last word of the parent: lets the child go on, and waits for its end. */
void handshake_finish(struct handshake *hs);

#endif
