// SPDX-License-Identifier: MIT
/**
 * TEST: ttm huge trace
 * Category: Core
 * Mega feature: General Core features
 * Sub-category: Memory management tests
 * Functionality: mmap
 * Description: What the ttm_bo_vm_fault event and the counters in debugfs say of faults is what
 *              happened: as many as the process had, with the entries that the page tables hold,
 *              and the reason why they are no larger.
 */
#define _GNU_SOURCE
#include <limits.h>
#include <sys/mman.h>

#include "vttm_ops.h"

IGT_TEST_DESCRIPTION("Tracepoint and counters of faults on TTM buffer objects");

#define TRACING		"/sys/kernel/tracing/"
#define EVENT		TRACING "events/ttm/ttm_bo_vm_fault/enable"

/* /sys/kernel/debug/ttm/DEVICE/faults */
struct counters {
	uint64_t faults, errors, ptes, pmds, puds;
};

struct event {
	char device[32];
	int minor;
	uint64_t mmap_offset, size, address, page_offset;
	char access[8];
	char mem_type[8];
	uint64_t pfn, before, after;
	uint64_t ptes, pmds, puds;
	char mapped[8];
	char limit[16];
	char result[32];
};

/* What became of the faults on a view between record_start() and record_stop(). */
struct record {
	const struct view *view;
	char device[64];
	uint64_t page_faults;		/* of the process */
	struct counters counters;	/* of the device */
	struct event *events;
	size_t count;
};

/*
 * Recording
 */

static struct counters read_counters(const struct record *record)
{
	struct counters c;
	char path[128];
	FILE *f;
	int got;

	snprintf(path, sizeof(path), "/sys/kernel/debug/ttm/%s/faults", record->device);
	f = fopen(path, "re");
	igt_assert_f(f, "no %s\n", path);
	got = fscanf(f, "faults: %" SCNu64 " errors: %" SCNu64 " ptes: %" SCNu64 " pmds: %" SCNu64
		     " puds: %" SCNu64, &c.faults, &c.errors, &c.ptes, &c.pmds, &c.puds);
	fclose(f);
	igt_assert_f(got == 5, "%s: not the counters that are known\n", path);
	return c;
}

static struct record record_start(const struct view *view)
{
	struct record record = { .view = view };
	char path[PATH_MAX];
	FILE *f;

	igt_assert_eq(bo_device(view->target->fd, path, sizeof(path)), 0);
	snprintf(record.device, sizeof(record.device), "%.63s", strrchr(path, '/') + 1);

	/* Opening it this way empties it. */
	f = fopen(TRACING "trace", "we");
	igt_assert(f);
	fclose(f);
	igt_assert_eq(write_value(EVENT, "1"), 0);

	record.counters = read_counters(&record);
	record.page_faults = bo_faults();
	return record;
}

static void parse_event(struct record *record, const char *text)
{
	const struct view *view = record->view;
	struct event e = { 0 };
	int got;

	got = sscanf(text, "device=%31s minor=%d bo=%*s mmap_offset=%" SCNx64 " size=%" SCNu64
		     " address=%" SCNx64 " page_offset=%" SCNu64 " %7s mem_type=%7s pfn=%" SCNx64
		     " before=%" SCNu64 " after=%" SCNu64 " ptes=%" SCNu64 " pmds=%" SCNu64
		     " puds=%" SCNu64 " asked=%*s mapped=%7s limit=%15s result=%31s",
		     e.device, &e.minor, &e.mmap_offset, &e.size, &e.address, &e.page_offset,
		     e.access, e.mem_type, &e.pfn, &e.before, &e.after, &e.ptes, &e.pmds, &e.puds,
		     e.mapped, e.limit, e.result);
	igt_assert_f(got == 17, "%s: cannot read the event after %d fields: %s\n",
		     view->target->name, got, text);
	if (e.mmap_offset != view->bo->offset || e.address < (uintptr_t)view->addr ||
	    e.address >= (uintptr_t)view->addr + view->length)
		return;

	record->events = realloc(record->events, (record->count + 1) * sizeof(e));
	igt_assert(record->events);
	record->events[record->count++] = e;
}

static void record_stop(struct record *record)
{
	const struct counters *before = &record->counters;
	uint64_t page_faults = bo_faults();
	static const char name[] = " ttm_bo_vm_fault: ";
	uint64_t kept = 0, written = 0;
	struct counters after;
	char line[1024];
	FILE *f;

	igt_assert_eq(write_value(EVENT, "0"), 0);
	record->page_faults = page_faults - record->page_faults;
	after = read_counters(record);
	record->counters = (struct counters){
		.faults = after.faults - before->faults,
		.errors = after.errors - before->errors,
		.ptes = after.ptes - before->ptes,
		.pmds = after.pmds - before->pmds,
		.puds = after.puds - before->puds,
	};

	f = fopen(TRACING "trace", "re");
	igt_assert(f);
	while (fgets(line, sizeof(line), f)) {
		const char *text = strstr(line, name);

		sscanf(line, "# entries-in-buffer/entries-written: %" SCNu64 "/%" SCNu64, &kept,
		       &written);
		if (text)
			parse_event(record, text + strlen(name));
	}
	fclose(f);
	igt_assert_f(kept == written, "%s: the trace has lost %" PRIu64 " of %" PRIu64
		     " events\n", record->view->target->name, written - kept, written);
}

/*
 * Comparing
 */

static void assert_equal(const struct record *record, uint64_t found, const char *what,
			 uint64_t expected, const char *as)
{
	const struct view *view = record->view;

	igt_assert_f(found == expected,
		     "%s: object of %" PRIu64 " KiB, switch at %d: %" PRIu64 " %s, expected %"
		     PRIu64 ": %s\n", view->target->name, view->bo->size / KiB,
		     bo_get_huge_faults(), found, what, expected, as);
}

static bool is_error(const struct event *e)
{
	return strstr(e->result, "OOM") || strstr(e->result, "SIGBUS");
}

/* The sums of the events are the counters. */
static void assert_counted(const struct record *record)
{
	const struct counters *counters = &record->counters;
	struct counters sum = { .faults = record->count };

	for (size_t i = 0; i < record->count; i++) {
		const struct event *e = &record->events[i];

		sum.errors += is_error(e);
		sum.ptes += e->ptes;
		sum.pmds += e->pmds;
		sum.puds += e->puds;
	}
	assert_equal(record, counters->faults, "faults counted", sum.faults, "events");
	assert_equal(record, counters->errors, "errors counted", sum.errors, "in events");
	assert_equal(record, counters->ptes, "ptes counted", sum.ptes, "in events");
	assert_equal(record, counters->pmds, "pmds counted", sum.pmds, "in events");
	assert_equal(record, counters->puds, "puds counted", sum.puds, "in events");
}

static enum bo_level level_in(const struct bo_extent *extents, size_t count, uint64_t address)
{
	for (size_t i = 0; i < count; i++) {
		if (address >= extents[i].start && address < extents[i].end)
			return extents[i].level;
	}
	return BO_NONE;
}

/* What an event says that can be known from elsewhere. */
static void assert_event(const struct record *record, const struct event *e, bool write)
{
	const struct view *view = record->view;
	const struct target *target = view->target;
	uint64_t page = (view->first + (e->address & ~(BO_PTE_SIZE - 1)) -
			 (uintptr_t)view->addr) / BO_PTE_SIZE;
	bool in_system = !strcmp(e->mem_type, "system") || !strcmp(e->mem_type, "tt");

	igt_assert_f(!strcmp(e->device, record->device) && e->minor == target->card,
		     "%s: the event is of %s, minor %d, expected %s, minor %d\n", target->name,
		     e->device, e->minor, record->device, target->card);
	assert_equal(record, e->size, "bytes", view->bo->size, "that of the object");
	assert_equal(record, e->page_offset, "is the page", page, "where it is mapped");
	igt_assert_f(!strcmp(e->access, write ? "write" : "read"), "%s: %s, expected the other\n",
		     target->name, e->access);
	igt_assert_f(in_system == (target->placement == BO_SYSTEM), "%s: the event says %s\n",
		     target->name, e->mem_type);
	igt_assert_f(e->before <= page && page + e->after < view->bo->size / BO_PTE_SIZE,
		     "%s: object of %" PRIu64 " KiB: %" PRIu64 " pages before page %" PRIu64
		     ", %" PRIu64 " after it are not in the object\n", target->name,
		     view->bo->size / KiB, e->before, page, e->after);
	igt_assert_f(!strcmp(e->result, "NOPAGE"), "%s: result %s, expected NOPAGE\n",
		     target->name, e->result);
}

/* Events, counters, the process and its page tables agree about what touch() has done. */
static void assert_agree(const struct record *record, bool write)
{
	const struct view *view = record->view;
	struct bo_extent *extents;
	struct bo_levels levels;
	size_t count;

	assert_equal(record, record->count, "events", record->page_faults, "page faults");
	assert_counted(record);

	igt_assert_eq(bo_levels(view->addr, view->length, &levels), 0);
	assert_equal(record, record->counters.ptes, "ptes counted", levels.pte, "mapped");
	assert_equal(record, record->counters.pmds, "pmds counted", levels.pmd, "mapped");
	assert_equal(record, record->counters.puds, "puds counted", levels.pud, "mapped");

	igt_assert_eq(bo_extents(view->addr, view->length, &extents, &count), 0);
	for (size_t i = 0; i < record->count; i++) {
		const struct event *e = &record->events[i];
		enum bo_level level = level_in(extents, count, e->address);

		assert_event(record, e, write);
		igt_assert_f(!strcmp(e->mapped, bo_level_name(level)),
			     "%s: object of %" PRIu64 " KiB, switch at %d: the event says %s, %#"
			     PRIx64 " is mapped by a %s\n", view->target->name,
			     view->bo->size / KiB, bo_get_huge_faults(), e->mapped, e->address,
			     bo_level_name(level));
	}
	free(extents);
}

/**
 * SUBTEST: agree
 * Description: Touching an object takes as many page faults as there are events, and as the device
 *              has counted; the entries that events and counters have are those of the page
 *              tables, and each event names the entry that maps its address.
 */
static void test_agree(const struct target *target)
{
	const uint64_t sizes[] = {
		4 * KiB,
		2 * MiB - 4 * KiB,
		32 * MiB,
		size_of_all_levels(target),
	};

	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		struct bo bo = target_bo(target, sizes[i]);

		for (int value = HUGE_NONE; value <= HUGE_PUD; value++) {
			struct view view = map_whole(target, &bo, PROT_READ | PROT_WRITE);
			bool write = value != HUGE_PMD;
			struct record record;

			set_huge_faults(value);
			record = record_start(&view);
			touch(&view, write);
			record_stop(&record);

			assert_agree(&record, write);
			free(record.events);
			unmap(&view);
		}
		bo_destroy(&bo);
	}
	assert_no_kernel_warning(target);
}

/*
 * Limits
 */

/* A first read of the page at @offset is mapped at @level, and no higher because of @limit. */
static void assert_limit(const struct view *view, uint64_t offset, enum bo_level level,
			 const char *limit)
{
	struct view page = sub_view(view, offset, BO_PTE_SIZE);
	struct record record = record_start(view);
	const struct event *e;

	touch(&page, false);
	record_stop(&record);
	assert_equal(&record, record.count, "events", 1, "one page was touched");
	assert_counted(&record);

	e = record.events;
	igt_assert_f(!strcmp(e->mapped, bo_level_name(level)) && !strcmp(e->limit, limit),
		     "%s: object of %" PRIu64 " KiB, offset %#" PRIx64 ", switch at %d: mapped=%s "
		     "limit=%s, expected %s and %s\n", view->target->name, view->bo->size / KiB,
		     offset, bo_get_huge_faults(), e->mapped, e->limit, bo_level_name(level),
		     limit);
	assert_level(view, offset, BO_PTE_SIZE, level);
	free(record.events);
}

static struct view map_at(const struct target *target, const struct bo *bo, uint64_t align,
			  uint64_t skew)
{
	return map_part(target, bo, 0, free_address(bo->size, align, skew), bo->size,
			PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED_NOREPLACE);
}

static struct bo vttm_bo(const struct target *target, struct drm_vttm_create how)
{
	struct bo bo;

	how.domains = VRAM;
	how.flags = DRM_VTTM_CREATE_UNCLEARED;
	igt_assert_eq(vttm_create(target->fd, how, &bo), 0);
	return bo;
}

/* In VRAM; only vttm has objects in several. */
static struct bo bo_in_one_piece(const struct target *target, uint64_t size)
{
	if (is_vttm(target))
		return vttm_bo(target, (struct drm_vttm_create){
			.size = size,
			.layout = DRM_VTTM_LAYOUT_CONTIGUOUS,
		});
	return target_bo(target, size);
}

static bool is_any(const struct target *target)
{
	return target->fd >= 0;
}

static bool is_vram(const struct target *target)
{
	return target->placement == BO_VRAM;
}

static bool has_1g(const struct target *target)
{
	return size_of_all_levels(target) > GiB;
}

static bool is_vttm_1g(const struct target *target)
{
	return is_vttm(target) && has_1g(target);
}

static void test_none(const struct target *target)
{
	struct bo bo = target_bo(target, size_of_all_levels(target));
	struct view view = map_whole(target, &bo, PROT_READ | PROT_WRITE);

	assert_limit(&view, 512 * MiB, BO_PUD, "none");
}

static void test_switch(const struct target *target)
{
	struct bo bo = target_bo(target, 8 * MiB);

	for (int value = HUGE_NONE; value < HUGE_PUD; value++) {
		struct view view = map_whole(target, &bo, PROT_READ | PROT_WRITE);

		set_huge_faults(value);
		assert_limit(&view, 4 * MiB, value ? BO_PMD : BO_PTE, "switch");
		unmap(&view);
	}
}

static void test_nohugepage(const struct target *target)
{
	struct bo bo = target_bo(target, 8 * MiB);
	struct view view = map_whole(target, &bo, PROT_READ | PROT_WRITE);

	igt_assert_eq(madvise(view.addr, view.length, MADV_NOHUGEPAGE), 0);
	assert_limit(&view, 4 * MiB, BO_PTE, "nohugepage");
}

static void test_vma(const struct target *target)
{
	struct bo small = target_bo(target, 2 * MiB - 4 * KiB), bo = target_bo(target, 8 * MiB);
	struct view view = map_whole(target, &small, PROT_READ | PROT_WRITE);

	/* Objects that are smaller than the next entry */
	assert_limit(&view, 1 * MiB, BO_PTE, "vma");
	view = map_whole(target, &bo, PROT_READ | PROT_WRITE);
	assert_limit(&view, 4 * MiB, BO_PMD, "vma");
	unmap(&view);

	/* Part of a mapping */
	view = map_whole(target, &bo, PROT_READ | PROT_WRITE);
	igt_assert_eq(munmap(view.addr, BO_PTE_SIZE), 0);
	view = sub_view(&view, BO_PTE_SIZE, view.length - BO_PTE_SIZE);
	assert_limit(&view, 1 * MiB, BO_PTE, "vma");
}

static void test_alignment(const struct target *target)
{
	struct bo bo = bo_in_one_piece(target, 8 * MiB);
	struct view view = map_at(target, &bo, BO_PMD_SIZE, BO_PTE_SIZE);

	assert_limit(&view, 4 * MiB, BO_PTE, "alignment");
}

static void test_alignment_1g(const struct target *target)
{
	struct bo bo = bo_in_one_piece(target, size_of_all_levels(target));
	/* What is aligned to 1 GiB begins 2 MiB into the object, and ends before it does. */
	struct view view = map_at(target, &bo, BO_PUD_SIZE, BO_PUD_SIZE - BO_PMD_SIZE);

	assert_limit(&view, 512 * MiB, BO_PMD, "alignment");
}

static void test_occupied(const struct target *target)
{
	struct bo bo = target_bo(target, size_of_all_levels(target));
	struct view view = map_whole(target, &bo, PROT_READ | PROT_WRITE);

	/* That fills one page table, so no larger entry has room in the first GiB. */
	set_huge_faults(HUGE_NONE);
	assert_limit(&view, 0, BO_PTE, "switch");
	set_huge_faults(HUGE_PUD);
	assert_limit(&view, 512 * MiB, BO_PMD, "occupied");
}

static void test_run(const struct target *target)
{
	struct bo bo = vttm_bo(target, (struct drm_vttm_create){
		.size = 4 * MiB,
		.alignment = 64 * KiB,
		.layout = DRM_VTTM_LAYOUT_WORST,
	});
	struct view view = map_whole(target, &bo, PROT_READ | PROT_WRITE);

	assert_limit(&view, 2 * MiB, BO_PTE, "run");
}

static void test_run_1g(const struct target *target)
{
	struct bo bo = vttm_bo(target, (struct drm_vttm_create){
		.size = 1 * GiB,
		.alignment = 2 * MiB,
		.layout = DRM_VTTM_LAYOUT_WORST,
	});
	struct view view = map_whole(target, &bo, PROT_READ | PROT_WRITE);

	assert_limit(&view, 512 * MiB, BO_PMD, "run");
}

static void test_driver(const struct target *target)
{
	struct bo bo = vttm_bo(target, (struct drm_vttm_create){ .size = 4 * MiB });
	struct view view = map_whole(target, &bo, PROT_READ | PROT_WRITE);

	igt_assert_eq(vttm_dirty(&bo, DRM_VTTM_DIRTY_START, NULL), 0);
	assert_limit(&view, 2 * MiB, BO_PTE, "driver");
}

/**
 * SUBTEST: limit-%s
 * Description: The event of a fault says what kept the entry from being larger: %arg[1].
 *
 * arg[1]:
 *
 * @none:		nothing, it is the largest
 * @switch:		ttm.huge_faults
 * @nohugepage:		MADV_NOHUGEPAGE
 * @vma:		the mapping ends, or the object
 * @alignment:		an address that is not aligned as the memory is
 * @alignment-1g:	the same, with 2 MiB entries
 * @occupied:		a page table in the place of a 1 GiB entry
 * @run:		memory in pieces (vttm)
 * @run-1g:		the same, with 2 MiB entries
 * @driver:		tracking of writes (vttm)
 */
static const struct {
	const char *name;
	bool (*applies)(const struct target *target);
	void (*test)(const struct target *target);
} limits[] = {
	{ "none", has_1g, test_none },
	{ "switch", is_any, test_switch },
	{ "nohugepage", is_any, test_nohugepage },
	{ "vma", is_any, test_vma },
	{ "alignment", is_vram, test_alignment },
	{ "alignment-1g", has_1g, test_alignment_1g },
	{ "occupied", has_1g, test_occupied },
	{ "run", is_vttm, test_run },
	{ "run-1g", is_vttm_1g, test_run_1g },
	{ "driver", is_vttm, test_driver },
};

/*
 * Errors
 */

/* From now on the first @times allocations of pages by this task fail. */
static void fail_pages(const char *times)
{
	set_up_failing_pages();
	set_knob(FAIL_PAGES "times", times);
	set_knob(FAIL_PAGES "probability", "100");
	igt_assert_eq(write_value(FAIL_TASK, "1"), 0);
}

static void fail_no_more(void)
{
	igt_assert_eq(write_value(FAIL_TASK, "0"), 0);
	restore_knobs();
}

/* The page below, so that whatever page tables the page at @addr shares with it are there. */
static void *touch_page_below(char *addr)
{
	char *page = mmap(addr - BO_PTE_SIZE, BO_PTE_SIZE, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);

	igt_assert(page == addr - BO_PTE_SIZE);
	*page = 1;
	return page;
}

/* Reads a byte while the first @times allocations fail, which raises the signal @expected. */
static struct record read_failing(const struct view *view, const char *times, int expected)
{
	struct record record = record_start(view);
	int sig;

	fail_pages(times);
	sig = signal_of_read(view->addr);
	fail_no_more();
	record_stop(&record);
	igt_assert_f(sig == expected, "%s: object of %" PRIu64 " KiB: signal %d, expected %d\n",
		     view->target->name, view->bo->size / KiB, sig, expected);
	assert_counted(&record);
	return record;
}

/**
 * SUBTEST: errors-table
 * Description: A fault that has no memory for a page table is counted as an error, and repeated
 *              until there is some.
 */
static void test_errors_table(const struct target *target)
{
	struct bo bo = target_bo(target, 4 * MiB);
	struct view view = map_whole(target, &bo, PROT_READ | PROT_WRITE);
	struct record record;
	void *below;

	/* Its memory is there already, and so are the page tables above the one in question. */
	touch(&view, false);
	unmap(&view);
	view = map_at(target, &bo, BO_PUD_SIZE, 512 * MiB);
	below = touch_page_below(view.addr);

	set_huge_faults(HUGE_NONE);
	record = read_failing(&view, "8", 0);
	igt_assert_f(record.counters.errors, "%s: no fault has failed\n", target->name);
	assert_equal(&record, record.count, "events", record.counters.errors + 1,
		     "the last one works");
	for (size_t i = 0; i < record.count; i++) {
		const char *expected = i + 1 == record.count ? "NOPAGE" : "OOM";

		igt_assert_f(!strcmp(record.events[i].result, expected),
			     "%s: result %s, expected %s\n", target->name, record.events[i].result,
			     expected);
	}
	free(record.events);
	munmap(below, BO_PTE_SIZE);
	assert_no_kernel_warning(target);
}

/**
 * SUBTEST: errors-object
 * Description: A fault that has no memory for the object is counted as an error, and has an event
 *              with SIGBUS.
 */
static void test_errors_object(const struct target *target)
{
	struct bo bo = target_bo(target, 64 * KiB);
	struct view view = map_at(target, &bo, BO_PMD_SIZE, 1 * MiB);
	void *below = touch_page_below(view.addr);
	struct record record;

	empty_page_pool();
	record = read_failing(&view, "64", SIGBUS);
	assert_equal(&record, record.counters.errors, "errors counted", 1, "one fault");
	assert_equal(&record, record.count, "events", 1, "one fault");
	igt_assert_f(!strcmp(record.events[0].result, "SIGBUS"), "%s: result %s, expected SIGBUS\n",
		     target->name, record.events[0].result);
	assert_equal(&record, record.counters.ptes, "ptes counted", 0, "nothing is mapped");
	free(record.events);

	/* With memory it works, and is no error. */
	assert_limit(&view, 0, BO_PTE, "vma");
	munmap(below, BO_PTE_SIZE);
	assert_no_kernel_warning(target);
}

int igt_main()
{
	struct target *target;

	igt_fixture() {
		ttm_huge_init();
		igt_require_f(!access(EVENT, W_OK), "no %s: CONFIG_FTRACE, CONFIG_EVENT_TRACING, "
			      "tracefs mounted, and root are needed\n", EVENT);
		/* So that what runs between two looks at bo_faults() does not fault itself. */
		igt_assert_eq(mlockall(MCL_CURRENT), 0);
	}

	igt_describe("Events, counters, page faults and page tables agree");
	igt_subtest_with_dynamic("agree")
		igt_dynamic_targets(target)
			test_agree(target);

	for (size_t i = 0; i < ARRAY_SIZE(limits); i++) {
		igt_describe("The event says why the entry is not larger");
		igt_subtest_with_dynamic_f("limit-%s", limits[i].name) {
			for_each_target(target) {
				if (!limits[i].applies(target))
					continue;
				igt_dynamic(target->name) {
					limits[i].test(target);
					assert_no_kernel_warning(target);
				}
			}
		}
	}

	igt_subtest_group() {
		igt_fixture() {
			igt_require_f(!access(FAIL_PAGES "verbose", W_OK) &&
				      !access(FAIL_TASK, W_OK), "CONFIG_FAIL_PAGE_ALLOC and "
				      "CONFIG_FAULT_INJECTION_DEBUG_FS are needed\n");
			require_swap_out();
		}

		igt_describe("A fault without memory for a page table is counted as an error");
		igt_subtest_with_dynamic("errors-table")
			igt_dynamic_targets(target)
				test_errors_table(target);

		igt_describe("A fault without memory for the object is counted as an error");
		igt_subtest_with_dynamic("errors-object")
			igt_dynamic_targets_if(target, target->placement == BO_SYSTEM)
				test_errors_object(target);
	}

	igt_fixture()
		ttm_huge_fini();
}
