// SPDX-License-Identifier: MIT
#define _GNU_SOURCE 1
#include "inserts.h"

#include <string.h>

#include "kernel.h"

#define EVENT	"pfnmap/pfnmap_insert"

/* What trace_stop() collects, and for which view */
static struct inserts found;
static const struct view *found_in;

void require_inserts(void)
{
	require_event(EVENT);
}

void inserts_start(void)
{
	trace_start(EVENT);
}

static enum bo_level level_of_order(unsigned int order)
{
	uint64_t size = BO_PTE_SIZE << order;

	return size >= BO_PUD_SIZE ? BO_PUD : size >= BO_PMD_SIZE ? BO_PMD : BO_PTE;
}

static void add_event(const char *fields)
{
	uint64_t address, offset, pte, pmd, pud;
	unsigned int order;
	char limit[sizeof(found.limit)];
	int got = sscanf(fields, "dev=%*u:%*u ino=%*u address=%" SCNx64 " pgoff=%*x pfn=%*x "
			 "before=%*u after=%*u ptes=%" SCNu64 " pmds=%" SCNu64 " puds=%" SCNu64
			 " order=%u limit=%15s", &address, &pte, &pmd, &pud, &order, limit);

	igt_assert_f(got == 6, "cannot read event after %d fields: %s\n", got, fields);
	offset = address - (uintptr_t)found_in->addr;
	if (offset >= found_in->length)
		return;
	found.events++;
	found.levels.pte += pte;
	found.levels.pmd += pmd;
	found.levels.pud += pud;
	found.offset = found_in->first + offset;
	found.level = level_of_order(order);
	strcpy(found.limit, limit);
}

struct inserts inserts_stop(const struct view *view)
{
	found = (struct inserts){ 0 };
	found_in = view;
	trace_stop(EVENT, add_event);
	return found;
}

void assert_inserts(const struct view *view, const struct inserts *inserts, uint64_t events)
{
	const struct bo_levels *said = &inserts->levels;
	struct bo_levels levels = levels_of(view);

	view_assert(view, inserts->events == events, "%" PRIu64 " events of mm, expected %" PRIu64,
		    inserts->events, events);
	view_assert(view, said->pud == levels.pud && said->pmd == levels.pmd &&
		    said->pte == levels.pte, "events say %" PRIu64 " pud, %" PRIu64 " pmd, %" PRIu64
		    " pte, and there are %" PRIu64 " pud, %" PRIu64 " pmd, %" PRIu64 " pte",
		    said->pud, said->pmd, said->pte, levels.pud, levels.pmd, levels.pte);
}

void assert_one_insert(const struct view *view, const struct inserts *inserts, const char *limit)
{
	const char *expected = limit_here(inserts->level, limit);

	assert_inserts(view, inserts, 1);
	assert_level(view, inserts->offset, BO_PTE_SIZE, inserts->level);
	view_assert_at(view, inserts->offset, !strcmp(inserts->limit, expected),
		       "the event of mm says limit=%s of a %s entry, expected %s", inserts->limit,
		       bo_level_name(inserts->level), expected);
}

const char *limit_here(enum bo_level level, const char *limit)
{
	return level == BO_PMD && !bo_has_pud_entries() ? "cpu" : limit;
}
