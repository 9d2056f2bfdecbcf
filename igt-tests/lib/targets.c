// SPDX-License-Identifier: MIT
#define _GNU_SOURCE 1
#include "targets.h"

#include <errno.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "igt_device_scan.h"
#include "kernel.h"
#include "pci.h"

#define MAX_CARDS	16

static struct target targets[MAX_CARDS * 2];
static char names[MAX_CARDS * 2][32];
static int target_count;
static int saved_switch = -1;

/* What target_new_bo() has made for the current target. */
static struct kept_bo {
	struct bo bo;
	struct kept_bo *next;
} *kept_bos;

/* Those that are asked for, as bits. */
static uint64_t cards_to_test(void)
{
	int filters = igt_device_filter_count();
	uint64_t cards = 0;

	for (int i = 0; i < (filters ? filters : 1); i++) {
		int fd = filters ? drm_open_filtered_card(i) : __drm_open_driver(DRIVER_ANY);
		struct stat st;

		igt_require_f(fd >= 0 || filters, "no card in /dev/dri\n");
		igt_require_f(fd >= 0, "no card matches the device filter %s\n",
			      igt_device_filter_get(i));
		igt_assert_eq(fstat(fd, &st), 0);
		if (minor(st.st_rdev) < MAX_CARDS)
			cards |= UINT64_C(1) << minor(st.st_rdev);
		drm_close_driver(fd);
	}
	return cards;
}

static void find_targets(void)
{
	static const enum bo_placement placements[] = { BO_VRAM, BO_SYSTEM };
	const char *drivers[MAX_CARDS];

	bo_limit_cards(cards_to_test());
	target_count = 0;
	for (int card = 0; card < MAX_CARDS; card++) {
		int fd = bo_open_card(card), nth = 1;

		drivers[card] = fd < 0 ? "" : bo_driver(fd);
		for (int i = 0; i < card; i++)
			nth += !strcmp(drivers[i], drivers[card]);
		for (size_t i = 0; drivers[card][0] && i < ARRAY_SIZE(placements); i++) {
			char *name = names[target_count];

			if (!bo_supported(fd, placements[i]))
				continue;
			if (nth == 1)
				snprintf(name, sizeof(names[0]), "%s-%s", drivers[card],
					 bo_placement_name(placements[i]));
			else
				snprintf(name, sizeof(names[0]), "%s-%d-%s", drivers[card], nth,
					 bo_placement_name(placements[i]));
			targets[target_count++] = (struct target){
				.name = name,
				.card = card,
				.fd = -1,
				.placement = placements[i],
			};
		}
		if (fd >= 0)
			close(fd);
	}
}

void unmap_files(const char *name)
{
	FILE *f = fopen("/proc/self/maps", "re");
	uintptr_t start, end;
	char line[512];

	igt_assert(f);
	while (fgets(line, sizeof(line), f)) {
		if (strstr(line, name) &&
		    sscanf(line, "%" SCNxPTR "-%" SCNxPTR, &start, &end) == 2)
			munmap((void *)start, end - start);
	}
	fclose(f);
}

void close_targets(void)
{
	/* What a failed or skipped subtest has left mapped keeps its objects alive. */
	unmap_files(" /dev/dri/card");
	unmap_files(" /dmabuf:");
	for (int i = 0; i < target_count; i++)
		target_close(&targets[i]);
}

static void restore_all(int sig)
{
	(void)sig;
	restore_knobs();
	if (saved_switch >= 0)
		bo_set_huge_faults(saved_switch);
	/* Last, as it can fail. */
	close_targets();
	plug_in_again();
}

void ttm_huge_init(void)
{
	int value = bo_get_huge_faults();

	igt_require_f(value >= 0, "this kernel has no %s: huge entries for TTM are not in it\n",
		      BO_HUGE_FAULTS);
	igt_assert_f(!bo_wrong_page_size(), "built for pages of %" PRIu64 " KiB, not of %" PRIu64
		     " KiB\n", BO_PTE_SIZE / KiB, bo_wrong_page_size() / KiB);
	igt_require_f(!access(BO_PAGE_TABLES, R_OK),
		      "no ptdump: CONFIG_PTDUMP_DEBUGFS, debugfs mounted, and root are needed\n");
	find_targets();
	igt_require_f(target_count, "no card with a driver that this project knows\n");

	note_kernel_warnings();
	saved_switch = value;
	igt_install_exit_handler(restore_all);
}

static void forget_bos(void)
{
	while (kept_bos) {
		struct kept_bo *next = kept_bos->next;

		free(kept_bos);
		kept_bos = next;
	}
}

void ttm_huge_fini(void)
{
	restore_all(0);
}

static void target_open(struct target *target)
{
	target->fd = bo_open_card(target->card);
	igt_assert_f(target->fd >= 0, "card%d does not open again: %s\n", target->card,
		     strerror(-target->fd));
}

const struct target *target_next(const struct target *target)
{
	struct target *next = target ? &targets[target - targets + 1] : targets;

	restore_knobs();
	/* A subtest that jumped out of the loop has left its target open. */
	close_targets();
	plug_in_again();
	forget_bos();

	if (next == targets + target_count)
		return NULL;
	target_open(next);
	set_huge_faults(HUGE_PUD);
	return next;
}

void target_close(const struct target *target)
{
	struct target *own = &targets[target - targets];

	if (own->fd >= 0)
		close(own->fd);
	own->fd = -1;
}

void target_reopen(const struct target *target)
{
	target_close(target);
	target_open(&targets[target - targets]);
}

bool on_vram(const struct target *target)
{
	return target->placement == BO_VRAM;
}

bool on_system(const struct target *target)
{
	return target->placement == BO_SYSTEM;
}

void set_huge_faults(int value)
{
	int ret = bo_set_huge_faults(value);

	igt_assert_f(!ret && bo_get_huge_faults() == value, "%s does not take %d: %s\n",
		     BO_HUGE_FAULTS, value, strerror(-ret));
}

/*
 * Room
 */

/* Bytes of free system memory in pieces of at least 2 MiB. */
static uint64_t free_huge_pieces(void)
{
	FILE *f = fopen("/proc/buddyinfo", "re");
	uint64_t bytes = 0, blocks;
	char line[512], *at;
	int used;

	igt_assert(f);
	while (fgets(line, sizeof(line), f)) {
		at = strstr(line, "zone");
		/* ZONE_DMA is kept for those who ask for it. */
		if (!at || strstr(at, " DMA "))
			continue;
		at += strlen("zone");
		at += strspn(at, " ");
		at += strcspn(at, " ");
		for (int order = 0; sscanf(at, "%" SCNu64 "%n", &blocks, &used) == 1; order++) {
			if (BO_PTE_SIZE << order >= BO_PMD_SIZE)
				bytes += blocks * (BO_PTE_SIZE << order);
			at += used;
		}
	}
	fclose(f);
	return bytes;
}

static void require_system_room(const struct target *target, uint64_t size)
{
	/* The kernel keeps some back: watermarks and zone reserves. */
	uint64_t wanted = size < BO_PMD_SIZE ? 0 : size + size / 4 + 64 * MiB;

	if (free_huge_pieces() < wanted) {
		write_value("/proc/sys/vm/drop_caches", "1");
		write_value("/proc/sys/vm/compact_memory", "1");
	}
	target_require(target, free_huge_pieces() >= wanted,
		       "%" PRIu64 " MiB free in pieces of 2 MiB, wanted %" PRIu64 " MiB",
		       free_huge_pieces() / MiB, wanted / MiB);
}

void require_room(const struct target *target, uint64_t size)
{
	uint64_t largest = bo_max_size(target->fd, target->placement);
	uint64_t vram = bo_vram_size(target->fd);

	target_require(target, size % BO_PTE_SIZE == 0, "%" PRIu64 " KiB are no pages of %" PRIu64
		       " KiB", size / KiB, BO_PTE_SIZE / KiB);
	target_require(target, size <= largest,
		       "objects have at most %" PRIu64 " KiB, wanted %" PRIu64 " KiB",
		       largest / KiB, size / KiB);
	if (target->placement == BO_SYSTEM)
		require_system_room(target, size);
	else
		/* Pinned framebuffers and alignment take their part. */
		target_require(target, size <= vram - vram / 8,
			       "%" PRIu64 " KiB of VRAM, wanted %" PRIu64 " KiB of it",
			       vram / KiB, size / KiB);
}

void require_room_outside(const struct target *target, uint64_t size)
{
	struct target outside = *target;

	outside.placement = BO_SYSTEM;
	require_room(&outside, size);
}

void require_blocks_outside(const struct target *target, uint64_t size)
{
	/* TTM finds blocks of 2 MiB even in memory that is nearly full, but not of 512 MiB. */
	if (BO_PMD_SIZE > 2 * MiB)
		require_room_outside(target, size);
}

void require_small_vram(const struct target *target, uint64_t most)
{
	uint64_t vram = bo_vram_size(target->fd);

	target_require(target, vram <= most, "%" PRIu64 " MiB of VRAM take too long to fill",
		       vram / MiB);
}

struct bo target_bo(const struct target *target, uint64_t size)
{
	struct bo bo;
	int ret;

	require_room(target, size);
	ret = bo_create(target->fd, target->placement, size, &bo);
	target_assert(target, !ret, "no object of %" PRIu64 " KiB: %s", size / KiB, strerror(-ret));
	return bo;
}

const struct bo *target_keep_bo(const struct bo *bo)
{
	struct kept_bo *kept = malloc(sizeof(*kept));

	igt_assert(kept);
	*kept = (struct kept_bo){ .bo = *bo, .next = kept_bos };
	kept_bos = kept;
	return &kept->bo;
}

const struct bo *target_new_bo(const struct target *target, uint64_t size)
{
	struct bo bo = target_bo(target, size);

	return target_keep_bo(&bo);
}

void require_4k_pages(void)
{
	igt_require_f(BO_PTE_SIZE == 4 * KiB, "for pages of 4 KiB, the kernel has pages of %" PRIu64
		      " KiB\n", BO_PTE_SIZE / KiB);
}

void require_pud_entries(void)
{
#ifdef __x86_64__
	igt_require_f(bo_has_pud_entries(), "the CPU has no entries of 1 GiB\n");
#else
	igt_require_f(bo_has_pud_entries(),
		      "Linux has no PUD entries for processes on this architecture\n");
#endif
}

uint64_t size_of_all_levels(const struct target *target)
{
	uint64_t small = 2 * BO_PMD_SIZE + BO_PTE_SIZE, large = BO_PUD_SIZE + small;

	if (bo_has_pud_entries() && on_vram(target) && large <= bo_max_size(target->fd, BO_VRAM) &&
	    large <= bo_vram_size(target->fd) / 2)
		return large;
	return small;
}
