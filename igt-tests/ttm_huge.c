// SPDX-License-Identifier: MIT
#define _GNU_SOURCE
#include "ttm_huge.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/mman.h>
#include <sys/socket.h>

#define MAX_CARDS	16

static struct target targets[MAX_CARDS * 2];
static char names[MAX_CARDS * 2][32];
static int target_count;
static int saved_switch = -1;
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

/* One word; where all choices are listed, that in brackets. */
static bool read_value(const char *path, char *value, size_t size)
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

static void restore_all(int sig)
{
	(void)sig;
	restore_knobs();
	if (saved_switch >= 0)
		bo_set_huge_faults(saved_switch);
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

void assert_no_kernel_warning(const struct target *target)
{
	if (warned_before)
		return;
	warned_before = kernel_has_warned();
	igt_assert_f(!warned_before, "%s: the kernel has warned; see its log\n", target->name);
}

static void find_targets(void)
{
	static const enum bo_placement placements[] = { BO_VRAM, BO_SYSTEM };
	const char *drivers[MAX_CARDS];

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

void ttm_huge_init(void)
{
	int value = bo_get_huge_faults();

	igt_require_f(value >= 0, "this kernel has no %s: huge entries for TTM are not in it\n",
		      BO_HUGE_FAULTS);
	igt_require_f(!access("/sys/kernel/debug/page_tables/current_kernel", R_OK),
		      "no ptdump: CONFIG_PTDUMP_DEBUGFS, debugfs mounted, and root are needed\n");
	find_targets();
	igt_require_f(target_count, "no card of a known driver in /dev/dri\n");

	warned_before = kernel_has_warned();
	saved_switch = value;
	igt_install_exit_handler(restore_all);
}

/* What a failed or skipped subtest has left mapped keeps its objects alive. */
static void unmap_all_cards(void)
{
	FILE *f = fopen("/proc/self/maps", "re");
	uintptr_t start, end;
	char line[512];

	igt_assert(f);
	while (fgets(line, sizeof(line), f)) {
		if ((strstr(line, " /dev/dri/card") || strstr(line, " /dmabuf:")) &&
		    sscanf(line, "%" SCNxPTR "-%" SCNxPTR, &start, &end) == 2)
			munmap((void *)start, end - start);
	}
	fclose(f);
}

static void close_target(struct target *target)
{
	unmap_all_cards();
	if (target->fd >= 0)
		close(target->fd);
	target->fd = -1;
}

void ttm_huge_fini(void)
{
	for (int i = 0; i < target_count; i++)
		close_target(&targets[i]);
	restore_all(0);
}

struct target *target_next(struct target *target)
{
	restore_knobs();
	/* A subtest that jumped out of the loop has left its target open. */
	for (int i = 0; i < target_count; i++)
		close_target(&targets[i]);

	target = target ? target + 1 : targets;
	if (target == targets + target_count)
		return NULL;
	target->fd = bo_open_card(target->card);
	igt_assert_f(target->fd >= 0, "card%d does not open again: %s\n", target->card,
		     strerror(-target->fd));
	set_huge_faults(HUGE_PUD);
	return target;
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
	igt_require_f(free_huge_pieces() >= wanted,
		      "%s: %" PRIu64 " MiB free in pieces of 2 MiB, wanted %" PRIu64 " MiB\n",
		      target->name, free_huge_pieces() / MiB, wanted / MiB);
}

void require_room(const struct target *target, uint64_t size)
{
	uint64_t largest = bo_max_size(target->fd, target->placement);
	uint64_t vram = bo_vram_size(target->fd);

	igt_require_f(size <= largest,
		      "%s: objects have at most %" PRIu64 " KiB, wanted %" PRIu64 " KiB\n",
		      target->name, largest / KiB, size / KiB);
	if (target->placement == BO_SYSTEM)
		require_system_room(target, size);
	else
		/* Pinned framebuffers and alignment take their part. */
		igt_require_f(size <= vram - vram / 8,
			      "%s: %" PRIu64 " KiB of VRAM, wanted %" PRIu64 " KiB of it\n",
			      target->name, vram / KiB, size / KiB);
}

struct bo target_bo(const struct target *target, uint64_t size)
{
	struct bo bo;
	int ret;

	require_room(target, size);
	ret = bo_create(target->fd, target->placement, size, &bo);
	igt_assert_f(!ret, "%s: no object of %" PRIu64 " KiB: %s\n", target->name, size / KiB,
		     strerror(-ret));
	return bo;
}

uint64_t size_of_all_levels(const struct target *target)
{
	uint64_t small = 2 * BO_PMD_SIZE + BO_PTE_SIZE, large = BO_PUD_SIZE + small;

	if (target->placement == BO_VRAM && large <= bo_max_size(target->fd, BO_VRAM) &&
	    large <= bo_vram_size(target->fd) / 2)
		return large;
	return small;
}

/*
 * Views
 */

struct view map_part(const struct target *target, const struct bo *bo, uint64_t first,
		     void *addr, size_t length, int prot, int flags)
{
	struct view view = {
		.target = target,
		.bo = bo,
		.first = first,
		.addr = bo_map_part(bo, first, addr, length, prot, flags),
		.length = length,
	};

	igt_assert_f(view.addr != MAP_FAILED,
		     "%s: object of %" PRIu64 " KiB, offset %#" PRIx64
		     ": mmap of %zu KiB at %p: %s\n",
		     target->name, bo->size / KiB, first, length / KiB, addr, strerror(errno));
	return view;
}

struct view map_whole(const struct target *target, const struct bo *bo, int prot)
{
	struct view view = map_part(target, bo, 0, NULL, bo->size, prot, 0);

	/* Without this, nothing huge would be expected at an address that is no good for it. */
	assert_congruent(&view);
	return view;
}

struct view map_filled(const struct target *target, const struct bo *bo, uint64_t seed)
{
	struct view view = map_whole(target, bo, PROT_READ | PROT_WRITE);

	touch(&view, true);
	assert_levels(&view, HUGE_PUD);
	fill(&view, view_step(&view), seed);
	return view;
}

uint64_t wanted_alignment(uint64_t length)
{
	if (length >= BO_PUD_SIZE)
		return BO_PUD_SIZE;
	return length >= BO_PMD_SIZE ? BO_PMD_SIZE : BO_PTE_SIZE;
}

bool is_congruent(const struct view *view, uint64_t alignment)
{
	return ((uintptr_t)view->addr - view->first) % alignment == 0;
}

void assert_congruent(const struct view *view)
{
	uint64_t alignment = wanted_alignment(view->length);

	igt_assert_f(is_congruent(view, alignment),
		     "%s: object of %" PRIu64 " KiB, offset %#" PRIx64
		     ": mapped at %p, expected an address congruent to the offset modulo %" PRIu64
		     " KiB\n",
		     view->target->name, view->bo->size / KiB, view->first, view->addr,
		     alignment / KiB);
}

struct view map_4k(const struct target *target, const struct bo *bo)
{
	struct view view = {
		.target = target,
		.bo = bo,
		.addr = bo_map_4k(bo),
		.length = bo->size,
	};

	igt_assert_f(view.addr != MAP_FAILED,
		     "%s: object of %" PRIu64 " KiB: no mapping with MADV_NOHUGEPAGE: %s\n",
		     target->name, bo->size / KiB, strerror(errno));
	return view;
}

struct view sub_view(const struct view *view, uint64_t first, size_t length)
{
	struct view part = *view;

	part.addr += first - view->first;
	part.first = first;
	part.length = length;
	return part;
}

char *free_address(size_t length, uint64_t align, uint64_t offset)
{
	uintptr_t addr;
	void *area;

	area = mmap(NULL, length + 2 * align, PROT_NONE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	igt_assert(area != MAP_FAILED);
	munmap(area, length + 2 * align);
	addr = ((uintptr_t)area + align - 1) & ~(align - 1);
	return (char *)(addr + offset % align);
}

void unmap(struct view *view)
{
	igt_assert_eq(munmap(view->addr, view->length), 0);
	view->addr = MAP_FAILED;
}

static void touch_byte(const struct view *view, uint64_t pos, bool write)
{
	volatile char *byte = view->addr + pos;

	if (write)
		*byte = 1;
	else
		(void)*byte;
}

void touch(const struct view *view, bool write)
{
	uint64_t pos = 0;

	while (pos < view->length) {
		touch_byte(view, pos, write);
		if (view->length <= LARGE_VIEW || pos < BO_PMD_SIZE ||
		    pos + BO_PMD_SIZE >= view->length)
			pos += BO_PTE_SIZE;
		else if (pos + 2 * BO_PMD_SIZE >= view->length)
			pos = view->length - BO_PMD_SIZE;
		else
			pos += BO_PMD_SIZE;
	}
}

enum bo_level expected_level(const struct view *view, uint64_t offset, int huge_faults)
{
	static const struct {
		enum bo_level level;
		uint64_t size;
	} huge[] = {
		{ BO_PUD, BO_PUD_SIZE },
		{ BO_PMD, BO_PMD_SIZE },
	};
	uintptr_t start = (uintptr_t)view->addr, at = start + (offset - view->first);

	for (size_t i = 0; i < ARRAY_SIZE(huge); i++) {
		uintptr_t block = at & ~(huge[i].size - 1);

		if (huge[i].level == BO_PUD && huge_faults < HUGE_PUD)
			continue;
		if (huge[i].level == BO_PMD && huge_faults < HUGE_PMD)
			continue;
		/* TTM's pool has no piece of system memory that large. */
		if (huge[i].level == BO_PUD && view->target->placement == BO_SYSTEM)
			continue;
		/* VRAM is aligned to the largest block that the object can fill. */
		if (view->bo->size < huge[i].size)
			continue;
		if (block < start || block + huge[i].size > start + view->length)
			continue;
		if ((view->first + (block - start)) % huge[i].size)
			continue;
		return huge[i].level;
	}
	return BO_PTE;
}

static void assert_as_expected(bool as_expected, const struct view *view, uint64_t offset,
			       enum bo_level found, const char *expected)
{
	igt_assert_f(as_expected,
		     "%s: object of %" PRIu64 " KiB, offset %#" PRIx64
		     ": found %s, expected %s (at %p of a mapping of %zu KiB at %p)\n",
		     view->target->name, view->bo->size / KiB, offset, bo_level_name(found),
		     expected, view->addr + (offset - view->first), view->length / KiB,
		     view->addr);
}

static struct bo_extent *view_extents(const struct view *view, size_t *count)
{
	struct bo_extent *extents;
	int ret = bo_extents(view->addr, view->length, &extents, count);

	igt_assert_f(!ret, "%s: ptdump of %p: %s\n", view->target->name, view->addr,
		     strerror(-ret));
	return extents;
}

static uint64_t view_offset(const struct view *view, uintptr_t at)
{
	return view->first + (at - (uintptr_t)view->addr);
}

void assert_levels(const struct view *view, int huge_faults)
{
	enum bo_level found = BO_NONE, expected = BO_NONE;
	struct bo_extent *extents;
	uint64_t offset = 0;
	bool right = true;
	size_t count;

	extents = view_extents(view, &count);
	for (size_t i = 0; i < count && right; i++) {
		uintptr_t at = extents[i].start;

		/* What is expected changes at multiples of 2 MiB only. */
		for (; at < extents[i].end && right; at = (at | (BO_PMD_SIZE - 1)) + 1) {
			offset = view_offset(view, at);
			expected = expected_level(view, offset, huge_faults);
			found = extents[i].level;
			right = found == expected ||
				/* touch() leaves gaps between the 4 KiB entries of a large view. */
				(found == BO_NONE && expected == BO_PTE &&
				 view->length > LARGE_VIEW);
		}
	}
	free(extents);
	assert_as_expected(right, view, offset, found, bo_level_name(expected));
}

/* Asserts that every extent of a view passes @test. */
static void assert_extents(const struct view *view, const char *expected,
			   bool (*test)(const struct bo_extent *extent, enum bo_level level),
			   enum bo_level level)
{
	struct bo_extent *extents, extent = { 0 };
	bool right = true;
	size_t count;

	extents = view_extents(view, &count);
	for (size_t i = 0; i < count && right; i++) {
		extent = extents[i];
		right = test(&extent, level);
	}
	free(extents);
	assert_as_expected(right, view, view_offset(view, extent.start), extent.level, expected);
}

static bool is_level(const struct bo_extent *extent, enum bo_level level)
{
	return extent->level == level;
}

static bool is_at_most(const struct bo_extent *extent, enum bo_level level)
{
	return extent->level <= level;
}

static bool is_read_only(const struct bo_extent *extent, enum bo_level level)
{
	(void)level;
	return !extent->writable;
}

void assert_level(const struct view *view, uint64_t offset, uint64_t length, enum bo_level level)
{
	struct view part = sub_view(view, offset, length);

	assert_extents(&part, bo_level_name(level), is_level, level);
}

void assert_no_huge(const struct view *view)
{
	assert_extents(view, "at most pte", is_at_most, BO_PTE);
}

void assert_unmapped(const struct view *view)
{
	assert_extents(view, "none", is_level, BO_NONE);
}

void assert_read_only(const struct view *view)
{
	assert_extents(view, "read-only, but it is writable", is_read_only, BO_NONE);
}

uint64_t view_step(const struct view *view)
{
	return view->length <= LARGE_VIEW ? BO_EVERY_PAGE : BO_EVERY_BLOCK;
}

void fill(const struct view *view, uint64_t step, uint64_t seed)
{
	bo_fill(view->addr, view->first, view->length, step, seed);
}

void assert_contents(const struct view *view, uint64_t step, uint64_t seed)
{
	int64_t wrong = bo_check(view->addr, view->first, view->length, step, seed);
	struct bo_levels levels = { 0 };
	const char *level;

	if (wrong < 0)
		return;
	bo_levels(view->addr + (wrong - view->first), 8, &levels);
	level = levels.pud ? "pud" : levels.pmd ? "pmd" : levels.pte ? "pte" : "none";
	igt_assert_f(wrong < 0,
		     "%s: object of %" PRIu64 " KiB, offset %#" PRIx64 ": wrong contents: found %#"
		     PRIx64 ", expected %#" PRIx64 " (through a %s entry)\n",
		     view->target->name, view->bo->size / KiB, wrong,
		     *(volatile uint64_t *)(view->addr + (wrong - view->first)),
		     bo_pattern(seed, wrong), level);
}

void assert_contents_read(const struct target *target, const struct bo *bo, uint64_t step,
			  uint64_t seed)
{
	struct bo_reader reader;
	int64_t wrong;
	int ret;

	ret = bo_reader_open(bo, &reader);
	igt_assert_f(!ret, "%s: object of %" PRIu64 " KiB: no way to read it: %s\n", target->name,
		     bo->size / KiB, strerror(-ret));
	wrong = bo_check_reader(&reader, 0, bo->size, step, seed, &ret);
	bo_reader_close(&reader);
	igt_assert_f(wrong < 0,
		     "%s: object of %" PRIu64 " KiB, offset %#" PRIx64 ": the driver reads %s\n",
		     target->name, bo->size / KiB, wrong,
		     ret ? strerror(-ret) : "something else than the mapping wrote");
}

/*
 * Moves
 */

void assert_where(const struct target *target, const struct bo *bo, enum bo_placement expected)
{
	enum bo_placement found;

	igt_assert_eq(bo_where(bo, &found), 0);
	igt_assert_f(found == expected, "%s: object of %" PRIu64 " KiB is in %s, expected in %s\n",
		     target->name, bo->size / KiB, bo_placement_name(found),
		     bo_placement_name(expected));
}

void evict(const struct view *view)
{
	int ret = bo_evict(view->bo);

	igt_assert_f(!ret, "%s: object of %" PRIu64 " KiB cannot be evicted: %s\n",
		     view->target->name, view->bo->size / KiB, strerror(-ret));
	assert_unmapped(view);
	assert_where(view->target, view->bo, BO_SYSTEM);
}

void return_to_vram(const struct view *view)
{
	int ret = bo_return_to_vram(view->bo);

	igt_require_f(ret != -EOPNOTSUPP, "%s: the driver moves nothing back to VRAM\n",
		      view->target->name);
	igt_assert_f(!ret, "%s: object of %" PRIu64 " KiB cannot return to VRAM: %s\n",
		     view->target->name, view->bo->size / KiB, strerror(-ret));
	assert_unmapped(view);
	assert_where(view->target, view->bo, BO_VRAM);
}

/*
 * Memory taken away
 */

/* Reading these does it. */
#define SWAP_OUT	"/sys/kernel/debug/ttm/tt_shrink"	/* one object */
#define SHRINK_POOL	"/sys/kernel/debug/ttm/page_pool_shrink"

void require_swap_out(void)
{
	igt_require_f(!access(SWAP_OUT, R_OK) && !access(SHRINK_POOL, R_OK),
		      "no %s: debugfs and root are needed\n", SWAP_OUT);
}

long swap_out_all(void)
{
	long pages, total = 0;

	do {
		FILE *f = fopen(SWAP_OUT, "re");

		igt_assert(f && fscanf(f, "%ld", &pages) == 1);
		fclose(f);
		igt_assert_f(pages >= 0, "swapping out fails: %s\n", strerror(-pages));
		total += pages;
	} while (pages);
	return total;
}

void empty_page_pool(void)
{
	unsigned long pages, left;

	do {
		FILE *f = fopen(SHRINK_POOL, "re");

		igt_assert(f);
		/* Node, pages before, pages freed */
		for (left = 0; fscanf(f, "%*d: %lu/%*u", &pages) == 1;)
			left += pages;
		fclose(f);
	} while (left);
}

/*
 * Unplug
 */

/*
 * radeon of 7.3 has no remove callback: its device is freed while it is registered, with all
 * that it has, and the kernel panics in drm_mode_config_cleanup().
 */
struct pci_address pci_address(const struct target *target)
{
	struct pci_address device;
	char path[PATH_MAX];

	igt_require_f(strcmp(bo_driver(target->fd), "radeon"),
		      "%s: radeon does not unregister its device when it is unbound, the kernel "
		      "panics\n", target->name);
	igt_assert_eq(bo_device(target->fd, path, sizeof(path)), 0);
	snprintf(device.name, sizeof(device.name), "%s", strrchr(path, '/') + 1);
	return device;
}

static void write_address(const struct pci_address *device, const char *path)
{
	int ret = write_value(path, device->name);

	igt_assert_f(!ret, "%s to %s: %s\n", device->name, path, strerror(-ret));
}

void unplug(const struct pci_address *device)
{
	char path[96];

	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/driver/unbind", device->name);
	write_address(device, path);
}

void plug_in(struct target *target, const struct pci_address *device)
{
	char path[96];

	if (target->fd >= 0)
		close(target->fd);
	write_address(device, "/sys/bus/pci/drivers_probe");

	/* It has another number as long as somebody uses what was there before. */
	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/drm/card%d", device->name,
		 target->card);
	igt_assert_f(!access(path, F_OK), "%s: not card%d any more: something is still in use\n",
		     target->name, target->card);
	target->fd = bo_open_card(target->card);
	igt_assert_f(target->fd >= 0, "%s: card%d does not open: %s\n", target->name,
		     target->card, strerror(-target->fd));
}

/*
 * Signals
 */

static sigjmp_buf signal_landing;

static void land(int sig)
{
	siglongjmp(signal_landing, sig);
}

static int signal_of_access(volatile char *byte, bool write)
{
	struct sigaction action = { .sa_handler = land }, segv, bus;
	int sig;

	sigaction(SIGSEGV, &action, &segv);
	sigaction(SIGBUS, &action, &bus);
	sig = sigsetjmp(signal_landing, 1);
	if (!sig) {
		if (write)
			*byte = *byte;
		else
			(void)*byte;
	}
	sigaction(SIGSEGV, &segv, NULL);
	sigaction(SIGBUS, &bus, NULL);
	return sig;
}

int signal_of_read(const void *addr)
{
	return signal_of_access((volatile char *)addr, false);
}

int signal_of_write(void *addr)
{
	return signal_of_access(addr, true);
}

/*
 * Parent and child
 */

void handshake_open(struct handshake *hs)
{
	igt_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, hs->fd), 0);
}

void handshake_take(struct handshake *hs, enum side side)
{
	/* With the other end closed here, reading ends when the other process does. */
	close(hs->fd[!side]);
	hs->side = side;
}

void handshake_tell(struct handshake *hs)
{
	igt_assert_eq(send(hs->fd[hs->side], "", 1, MSG_NOSIGNAL), 1);
}

void handshake_wait(struct handshake *hs)
{
	char word;

	igt_assert_f(read(hs->fd[hs->side], &word, 1) == 1, "the %s process is gone\n",
		     hs->side == PARENT ? "child" : "parent");
}

void handshake_close(struct handshake *hs)
{
	close(hs->fd[hs->side]);
}

void handshake_finish(struct handshake *hs)
{
	handshake_tell(hs);
	igt_waitchildren();
	handshake_close(hs);
}
