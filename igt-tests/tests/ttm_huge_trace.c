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
#define _GNU_SOURCE 1
#include <limits.h>
#include <sys/mman.h>

#include "inserts.h"
#include "vttm_ops.h"

IGT_TEST_DESCRIPTION("Tracepoint and counters of faults on TTM buffer objects");

#define EVENT		"ttm/ttm_bo_vm_fault"

/* /sys/kernel/debug/dri/DEVICE/ttm_faults */
enum { FAULTS, ERRORS, PTES, PMDS, PUDS, COUNTERS };

static const char * const counter_names[] = {
	"faults counted", "errors counted", "ptes counted", "pmds counted", "puds counted",
};

struct event {
	char device[32];
	int minor;
	uint64_t mmap_offset, size, address, page_offset, pfn, before, after;
	uint64_t offset;		/* of the address, in the object */
	uint64_t counters[COUNTERS];	/* what it adds to them */
	char access[8], mem_type[8], mapped[8], limit[16], result[32];
};

/* What became of the faults on a view between record_start() and record_stop(). */
static struct {
	struct view view;
	char device[64];
	uint64_t page_faults;			/* of the process */
	uint64_t counters[COUNTERS];		/* of the device */
	struct event *events;
	size_t count;
} record;

static void read_counters(const char *device, uint64_t *c)
{
	char path[128];
	int got;

	snprintf(path, sizeof(path), "/sys/kernel/debug/dri/%s/ttm_faults", device);
	got = scan_file(path, "faults: %" SCNu64 " errors: %" SCNu64 " ptes: %" SCNu64
			" pmds: %" SCNu64 " puds: %" SCNu64, &c[FAULTS], &c[ERRORS], &c[PTES],
			&c[PMDS], &c[PUDS]);
	igt_assert_f(got == COUNTERS, "%s: not the counters that are known\n", path);
}

static void record_start(const struct view *view)
{
	char path[PATH_MAX];

	record.view = *view;
	record.count = 0;
	igt_assert_eq(bo_device(view->target->fd, path, sizeof(path)), 0);
	snprintf(record.device, sizeof(record.device), "%.63s", strrchr(path, '/') + 1);

	trace_start(EVENT);
	read_counters(record.device, record.counters);
	record.page_faults = bo_faults();
}

static void parse_event(const char *text)
{
	const struct view *view = &record.view;
	struct event e = { .counters[FAULTS] = 1 };
	uint64_t *c = e.counters;
	int got = sscanf(text, "device=%31s minor=%d bo=%*s mmap_offset=%" SCNx64 " size=%" SCNu64
			 " address=%" SCNx64 " page_offset=%" SCNu64 " %7s mem_type=%7s pfn=%"
			 SCNx64 " before=%" SCNu64 " after=%" SCNu64 " ptes=%" SCNu64 " pmds=%"
			 SCNu64 " puds=%" SCNu64 " mapped=%7s limit=%15s result=%31s",
			 e.device, &e.minor, &e.mmap_offset, &e.size, &e.address, &e.page_offset,
			 e.access, e.mem_type, &e.pfn, &e.before, &e.after, &c[PTES], &c[PMDS],
			 &c[PUDS], e.mapped, e.limit, e.result);

	target_assert(view->target, got == 17, "cannot read event after %d fields: %s", got, text);
	c[ERRORS] = strstr(e.result, "OOM") || strstr(e.result, "SIGBUS");
	e.offset = e.address - (uintptr_t)view->addr;
	if (e.mmap_offset != view->bo->offset || e.offset >= view->length)
		return;

	e.offset += view->first;
	record.events = realloc(record.events, (record.count + 1) * sizeof(e));
	igt_assert(record.events);
	record.events[record.count++] = e;
}

static void record_stop(void)
{
	uint64_t page_faults = bo_faults(), counters[COUNTERS];

	record.page_faults = page_faults - record.page_faults;
	read_counters(record.device, counters);
	for (int i = 0; i < COUNTERS; i++)
		record.counters[i] = counters[i] - record.counters[i];
	trace_stop(EVENT, parse_event);
}

static void assert_equal(uint64_t found, const char *what, uint64_t expected, const char *as)
{
	view_assert(&record.view, found == expected, "switch at %d: %" PRIu64 " %s, expected %"
		    PRIu64 ": %s", bo_get_huge_faults(), found, what, expected, as);
}

/* The sums of the events are the counters. */
static void assert_counted(void)
{
	for (int c = 0; c < COUNTERS; c++) {
		uint64_t sum = 0;

		for (size_t i = 0; i < record.count; i++)
			sum += record.events[i].counters[c];
		assert_equal(record.counters[c], counter_names[c], sum, "in events");
	}
}

static enum bo_level level_in(const struct bo_extent *extents, size_t count, uint64_t address)
{
	for (size_t i = 0; i < count; i++)
		if (address >= extents[i].start && address < extents[i].end)
			return extents[i].level;
	return BO_NONE;
}

static void assert_says(const struct event *e, const char *field, const char *found,
			const char *expected)
{
	view_assert_at(&record.view, e->offset, !strcmp(found, expected),
		       "switch at %d: the event says %s=%s, expected %s", bo_get_huge_faults(),
		       field, found, expected);
}

/* What an event says that can be known from elsewhere. */
static void assert_event(const struct event *e, bool write)
{
	const struct view *view = &record.view;
	uint64_t page = e->offset / BO_PTE_SIZE;
	bool in_system = !strcmp(e->mem_type, "system") || !strcmp(e->mem_type, "tt");

	assert_says(e, "device", e->device, record.device);
	assert_equal(e->minor, "is the minor", view->target->card, "that of the card");
	assert_equal(e->size, "bytes", view->bo->size, "that of the object");
	assert_equal(e->page_offset, "is the page", page, "where it is mapped");
	assert_says(e, "access", e->access, write ? "write" : "read");
	view_assert(view, in_system == on_system(view->target), "the event says %s", e->mem_type);
	view_assert(view, e->before <= page && page + e->after < view->bo->size / BO_PTE_SIZE,
		    "%" PRIu64 " pages before page %" PRIu64 ", %" PRIu64
		    " after it are not in the object", e->before, page, e->after);
	assert_says(e, "result", e->result, "NOPAGE");
}

/* Events, counters, the process and its page tables agree about what touch() has done. */
static void assert_agree(bool write)
{
	const struct view *view = &record.view;
	struct bo_levels levels = levels_of(view);
	struct bo_extent *extents;
	size_t count;

	assert_equal(record.count, "events", record.page_faults, "page faults");
	assert_counted();
	assert_equal(record.counters[PTES], counter_names[PTES], levels.pte, "mapped");
	assert_equal(record.counters[PMDS], counter_names[PMDS], levels.pmd, "mapped");
	assert_equal(record.counters[PUDS], counter_names[PUDS], levels.pud, "mapped");

	igt_assert_eq(bo_extents(view->addr, view->length, &extents, &count), 0);
	for (size_t i = 0; i < record.count; i++) {
		const struct event *e = &record.events[i];
		enum bo_level level = level_in(extents, count, e->address);

		assert_event(e, write);
		assert_says(e, "mapped", e->mapped, bo_level_name(level));
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
	uint64_t sizes[] = {
		BO_PTE_SIZE, BO_PMD_SIZE - BO_PTE_SIZE, 16 * BO_PMD_SIZE,
		size_of_all_levels(target),
	};

	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		struct bo bo = target_bo(target, sizes[i]);

		for (int value = HUGE_NONE; value <= HUGE_PUD; value++) {
			bool write = value != HUGE_PMD;
			struct view view;

			set_huge_faults(value);
			view = map_whole(target, &bo, PROT_READ | PROT_WRITE);
			record_start(&view);
			touch(&view, write);
			record_stop();
			assert_agree(write);
			unmap(&view);
		}
		bo_destroy(&bo);
	}
}

/* A first read of the page at @offset is mapped at @level, and no higher because of @limit. */
static void assert_limit(struct view view, uint64_t offset, enum bo_level level, const char *limit)
{
	struct view page = sub_view(&view, offset, BO_PTE_SIZE);

	record_start(&view);
	touch(&page, false);
	record_stop();
	assert_equal(record.count, "events", 1, "one page was touched");
	assert_counted();
	assert_says(record.events, "mapped", record.events->mapped, bo_level_name(level));
	assert_says(record.events, "limit", record.events->limit, limit_here(level, limit));
	assert_level(&view, offset, BO_PTE_SIZE, level);
}

#define UNCLEARED_VRAM	.domains = VRAM, .flags = DRM_VTTM_CREATE_UNCLEARED

/* In VRAM; only vttm has objects in several. */
static struct view map_one_piece(const struct target *target, uint64_t size, uint64_t align,
				 uint64_t skew)
{
	struct bo bo = is_vttm(target) ? vttm_bo(target, UNCLEARED_VRAM, .size = size,
						 .layout = DRM_VTTM_LAYOUT_CONTIGUOUS) :
					 target_bo(target, size);

	return map_at(target, target_keep_bo(&bo), align, skew);
}

static bool has_1g(const struct target *target)
{
	return size_of_all_levels(target) > BO_PUD_SIZE;
}

static bool is_vttm_1g(const struct target *target)
{
	return is_vttm(target) && has_1g(target);
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
static void test_none(const struct target *target)
{
	assert_limit(new_view(target, size_of_all_levels(target)), BO_PUD_SIZE / 2, BO_PUD, "none");
}

static void test_switch(const struct target *target)
{
	struct view view = new_view(target, 4 * BO_PMD_SIZE);

	set_huge_faults(HUGE_NONE);
	assert_limit(view, 2 * BO_PMD_SIZE, BO_PTE, "switch");
	set_huge_faults(HUGE_PMD);
	view = map_whole(target, view.bo, PROT_READ | PROT_WRITE);
	assert_limit(view, 2 * BO_PMD_SIZE, BO_PMD, "switch");
}

static void test_nohugepage(const struct target *target)
{
	assert_limit(new_4k(target, 4 * BO_PMD_SIZE), 2 * BO_PMD_SIZE, BO_PTE, "nohugepage");
}

static void test_vma(const struct target *target)
{
	struct view view;

	/* Objects that are smaller than the next entry */
	assert_limit(new_view(target, BO_PMD_SIZE - BO_PTE_SIZE), BO_PMD_SIZE / 2, BO_PTE, "vma");
	view = new_view(target, 4 * BO_PMD_SIZE);
	assert_limit(view, 2 * BO_PMD_SIZE, BO_PMD, "vma");

	/* Part of a mapping */
	view = map_whole(target, view.bo, PROT_READ | PROT_WRITE);
	igt_assert_eq(munmap(view.addr, BO_PTE_SIZE), 0);
	assert_limit(sub_view(&view, BO_PTE_SIZE, view.length - BO_PTE_SIZE),
		     BO_PMD_SIZE / 2, BO_PTE, "vma");
}

static void test_alignment(const struct target *target)
{
	assert_limit(map_one_piece(target, 4 * BO_PMD_SIZE, BO_PMD_SIZE, BO_PTE_SIZE),
		     2 * BO_PMD_SIZE, BO_PTE, "alignment");
}

static void test_alignment_1g(const struct target *target)
{
	/* What is aligned to 1 GiB begins 2 MiB into the object, and ends before it does. */
	assert_limit(map_one_piece(target, size_of_all_levels(target), BO_PUD_SIZE,
				   BO_PUD_SIZE - BO_PMD_SIZE), BO_PUD_SIZE / 2, BO_PMD, "alignment");
}

static void test_occupied(const struct target *target)
{
	struct view view = new_view(target, size_of_all_levels(target));

	/* That fills one page table, so no larger entry has room in the first GiB. */
	set_huge_faults(HUGE_NONE);
	assert_limit(view, 0, BO_PTE, "switch");
	set_huge_faults(HUGE_PUD);
	assert_limit(view, BO_PUD_SIZE / 2, BO_PMD, "occupied");
}

/* In pieces of @alignment bytes */
static void check_run(const struct target *target, uint64_t size, uint64_t alignment,
		      enum bo_level level)
{
	assert_limit(vttm_new_view(target, UNCLEARED_VRAM, .size = size, .alignment = alignment,
				   .layout = DRM_VTTM_LAYOUT_WORST), size / 2, level, "run");
}

static void test_run(const struct target *target)
{
	check_run(target, 2 * BO_PMD_SIZE, 16 * BO_PTE_SIZE, BO_PTE);
}

static void test_run_1g(const struct target *target)
{
	check_run(target, BO_PUD_SIZE, BO_PMD_SIZE, BO_PMD);
}

static void test_driver(const struct target *target)
{
	struct view view = vttm_new_view(target, UNCLEARED_VRAM, .size = 2 * BO_PMD_SIZE);

	igt_assert_eq(vttm_dirty(view.bo, DRM_VTTM_DIRTY_START, NULL), 0);
	assert_limit(view, BO_PMD_SIZE, BO_PTE, "driver");
}

/* Reads a byte while the first @times allocations fail, which raises the signal @expected. */
static void read_failing(const struct view *view, const char *times, int expected)
{
	/* The page below, with which the byte shares what page tables it can. */
	char *below = mmap(view->addr - BO_PTE_SIZE, BO_PTE_SIZE, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
	int sig;

	igt_assert(below == view->addr - BO_PTE_SIZE);
	*below = 1;
	record_start(view);
	fail_pages(times);
	sig = signal_of_read(view->addr);
	fail_no_pages();
	record_stop();
	munmap(below, BO_PTE_SIZE);
	view_assert(view, sig == expected, "signal %d, expected %d", sig, expected);
	assert_counted();
}

/**
 * SUBTEST: errors-table
 * Description: A fault that has no memory for a page table is counted as an error, and repeated
 *              until there is some.
 */
static void test_errors_table(const struct target *target)
{
	struct view view = new_view(target, 2 * BO_PMD_SIZE);

	/* Its memory is there already, and so are the page tables above the one in question. */
	touch(&view, false);
	unmap(&view);
	view = map_at(target, view.bo, BO_PUD_SIZE, BO_PUD_SIZE / 2);

	set_huge_faults(HUGE_NONE);
	read_failing(&view, "8", 0);
	target_assert(target, record.counters[ERRORS], "no fault has failed");
	assert_equal(record.count, "events", record.counters[ERRORS] + 1, "the last one works");
	for (const struct event *e = record.events, *last = e + record.count - 1; e <= last; e++)
		assert_says(e, "result", e->result, e == last ? "NOPAGE" : "OOM");
}

/**
 * SUBTEST: errors-object
 * Description: A fault that has no memory for the object is counted as an error, and has an event
 *              with SIGBUS.
 */
static void test_errors_object(const struct target *target)
{
	struct view view = map_at(target, target_new_bo(target, 16 * BO_PTE_SIZE), BO_PMD_SIZE,
				  BO_PMD_SIZE / 2);

	/* A driver may give an object its memory when it makes it. */
	swap_out_all();
	empty_page_pool();
	read_failing(&view, "64", SIGBUS);
	assert_equal(record.counters[ERRORS], counter_names[ERRORS], 1, "one fault");
	assert_equal(record.count, "events", 1, "one fault");
	assert_says(record.events, "result", record.events->result, "SIGBUS");
	assert_equal(record.counters[PTES], counter_names[PTES], 0, "nothing is mapped");

	/* With memory it works, and is no error. */
	assert_limit(view, 0, BO_PTE, "vma");
}

#define LIMIT	"The event says why the entry is not larger"

static const struct subtest subtests[] = {
	{ "agree", "Events, counters, page faults and page tables agree", .test = test_agree },
	{ "limit-none", LIMIT, .test = test_none, .on = has_1g },
	{ "limit-switch", LIMIT, .test = test_switch },
	{ "limit-nohugepage", LIMIT, .test = test_nohugepage },
	{ "limit-vma", LIMIT, .test = test_vma },
	{ "limit-alignment", LIMIT, .test = test_alignment, .on = on_vram },
	{ "limit-alignment-1g", LIMIT, .test = test_alignment_1g, .on = has_1g },
	{ "limit-occupied", LIMIT, .test = test_occupied, .on = has_1g },
	{ "limit-run", LIMIT, .test = test_run, .on = is_vttm },
	{ "limit-run-1g", LIMIT, .test = test_run_1g, .on = is_vttm_1g },
	{ "limit-driver", LIMIT, .test = test_driver, .on = is_vttm },
};

static const struct subtest errors[] = {
	{ "errors-table", "No memory for a page table", .test = test_errors_table },
	{ "errors-object", "No memory for an object", .test = test_errors_object, .on = on_system },
};

int igt_main()
{
	igt_fixture() {
		ttm_huge_init();
		require_event(EVENT);
		/* So that what runs between two looks at bo_faults() does not fault itself. */
		igt_assert_eq(mlockall(MCL_CURRENT), 0);
	}
	run_subtests(subtests);
	igt_subtest_group() {
		igt_fixture() {
			igt_require_f(!access(FAIL_PAGES "verbose", W_OK) &&
				      !access(FAIL_TASK, W_OK), "CONFIG_FAIL_PAGE_ALLOC and "
				      "CONFIG_FAULT_INJECTION_DEBUG_FS are needed\n");
			require_swap_out();
		}
		run_subtests(errors);
	}
	igt_fixture()
		ttm_huge_fini();
}
