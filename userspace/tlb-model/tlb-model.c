// SPDX-License-Identifier: MIT
/*
 * Models the translation lookaside buffers (TLBs) of published processors: how often an access
 * pattern misses them, and how many page-table entries that makes the processor read, with the
 * entries that a page-table listing shows and with smaller ones for the same memory.
 *
 * An access asks the L1 TLB, then the L2 TLB, then walks the tables; what it finds is put into
 * each level that it asked in vain. A set replaces what was used longest ago.
 *
 * In a virtual machine, the processor translates each address of the guest's tables, and the one
 * that they lead to, by the host's tables. A TLB holds the smaller of the two entries.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cli.h"
#include "ptdump.h"

#define LINE_SIZE	64	/* a cache line, what a pattern goes on by */

static const char usage[] =
"Usage: tlb-model [OPTION]... --accesses=FILE\n"
"  or:  tlb-model [OPTION]... --pattern=PATTERN --size=MIB\n"
"Count the TLB misses of memory accesses on processors with published TLBs,\n"
"and the page-table entries read for them.\n"
"\n"
"  -a, --accesses=FILE    recorded accesses, as below; - for standard input\n"
"  -p, --pattern=PATTERN  sequential: every 64 bytes, and again from the start;\n"
"                         stride: every --step bytes, and again from 64 bytes further on;\n"
"                         random: any multiple of 8 bytes\n"
"  -s, --size=MIB         the memory that the pattern covers (random: all that --tables\n"
"                         maps, by default)\n"
"  -b, --begin=ADDRESS    its address (default: the first that --tables maps, or 0)\n"
"      --step=BYTES       (default 4096)\n"
"  -n, --count=N          accesses (default: one for every 64 bytes, random: 1000000)\n"
"      --seed=N           of random (default 1)\n"
"  -w, --write            the pattern writes (default: it reads)\n"
"  -r, --repeat=N         the whole, N times (default 1); the TLBs are empty at first\n"
"\n"
"  -t, --tables=FILE      page tables: what the kernel lists in\n"
"                         /sys/kernel/debug/page_tables, or lines START END LEVEL with\n"
"                         addresses in hexadecimal, and pte, pmd or pud\n"
"                         (default: pud everywhere)\n"
"      --nested=LEVEL     these are tables of a guest, and the host maps all of its memory\n"
"                         with pte, pmd or pud\n"
"      --nested=FILE      the same, with host entries as listed for the addresses accessed,\n"
"                         and pte for the guest's tables\n"
"  -g, --geometry=NAME    one processor of --list (default: all of them)\n"
"  -g, --geometry=NAME=TLBS  another processor, as below\n"
"  -l, --list             print the processors, their TLBs, and the sources of the figures\n"
"  -c, --csv              geometry,entry,accesses,l1_misses,l2_misses,walk_loads\n"
"  -h, --help, --version\n"
"\n"
"For each processor, there is a result for the page tables as they are, and for the same\n"
"memory with entries of at most 2 MiB and 4 KiB: \"entry\" is the largest entry allowed,\n"
"with --nested the guest's.\n"
"\n"
"Recorded accesses are lines ADDRESS [r|w [COUNT STEP]]: an address in hexadecimal, a read\n"
"(default) or a write, and for a run of COUNT of them the bytes from each to the next, in\n"
"decimal, maybe negative. # starts a comment.\n"
"\n"
"TLBS are l1|l2 [loads|stores] ENTRIES/WAYS HELD[,HELD]..., separated by semicolons; WAYS\n"
"may be full. HELD is 4K, 2M, 1G for the entries of these pages; PDE, PDPE, PML4E (l2) for\n"
"the entries above, which a walk then need not read. HELD:SIZE is held as an entry for SIZE\n"
"bytes: a part of it if that is smaller; else as many as are there if one line of the tables\n"
"maps them all. HELD@FIRST-LAST is held in these ways only. Stores fill what loads use, too.\n"
"\n"
"The exit code is 0, 1 for bad input, 2 for a bad command line.\n";

static const struct {
	const char *name;
	const char *tlbs;
	const char *sources;
} geometries[] = {
	{ "zen4",
	  "l1 72/full 4K,2M,1G; l2 3072/24 4K,2M,PDE; l2 64/full 1G,PDPE,PML4E",
	  "AMD, Software Optimization Guide for the Zen 4 Microarchitecture (57647), as quoted in\n"
	  "public notes: l1, l2 with PDEs, and a page directory cache of 64 entries. What that\n"
	  "holds: Chips and Cheese, Zen 5's Leaked Slides, 2023 (\"since Zen 1\"). All entries, and\n"
	  "64 for 1G: CPUID 80000005h, 80000006h, 80000019h of a Ryzen 9 7900X (libcpuid,\n"
	  "tests/amd/zen4). Not confirmed: that these 64 are the page directory cache." },
	{ "zen4-16k",
	  "l1 72/full 4K:16K,2M,1G; l2 3072/24 4K:16K,2M,PDE; l2 64/full 1G,PDPE,PML4E",
	  "As zen4, with each aligned four 4K pages of a line of the tables in one entry, which is\n"
	  "what zen4 does at best: they must also be adjacent in memory, which is not listed.\n"
	  "The same notes; Linux, tools/perf/pmu-events/arch/x86/amdzen4/memory.json, event\n"
	  "ls_l1_d_tlb_miss.tlb_reload_coalesced_page_hit." },
	{ "zen5",
	  "l1 96/full 4K,2M,1G; l2 4096/16 4K,2M,PDE; l2 64/full PDPE,PML4E",
	  "AMD, Software Optimization Guide for the Zen 5 Microarchitecture (58455): l1 and l2, as\n"
	  "quoted by J. Chen, AMD Zen 5 (blog, amd_zen5.md), who measured the 96. AMD, Next\n"
	  "Generation Zen 5 Core, Hot Chips 2024: l2 has \"everything but 1G\"; CPUID of a Ryzen 9\n"
	  "9950X (libcpuid, tests/amd/zen5) has the 4096, as 128 times 32 (80000021h, EAX bit 14),\n"
	  "and 1024 entries for 1G, left out here.\n"
	  "Not confirmed: PDE, PDPE and PML4E, which are as in zen4." },
	{ "zen5-16k",
	  "l1 96/full 4K:16K,2M,1G; l2 4096/16 4K:16K,2M,PDE; l2 64/full PDPE,PML4E",
	  "As zen5, with coalesced pages as in zen4-16k (event in amdzen5/load-store.json)." },
	{ "golden-cove",
	  "l1 loads 96/6 4K; l1 loads 32/4 2M; l1 loads 8/full 1G; l1 stores 16/full 4K,2M,1G;"
	  " l2 2048/16 4K,2M@0-7,1G@8-15",
	  "Intel, 64 and IA-32 Architectures Optimization Reference Manual, volume 1 (671488):\n"
	  "l1, and 2048 entries of l2, as quoted by J. Chen, Intel Golden Cove (blog,\n"
	  "intel_golden_cove.md), who measured the 96. l2: CPUID 18h of a Core i9-12900K (libcpuid,\n"
	  "tests/intel/core_12th_gen), 1024/8 for 4K,2M and 1024/8 for 4K,1G, and l1 but for 4K.\n"
	  "Not published: the sizes of its paging-structure caches; there are none here." },
	{ "neoverse-v2",
	  "l1 48/full 4K,2M,1G:512M; l2 2048/8 4K,2M,1G",
	  "Arm, Neoverse V2 Core Technical Reference Manual (102375), as quoted by J. Chen, ARM\n"
	  "Neoverse V2 (blog, arm_neoverse_v2.md), who measured the 48: l1 holds at most 512M.\n"
	  "Not confirmed for this core: that l2 holds 1G, as that of the Cortex-A76 does (manual\n"
	  "100798, A5.2). Not published: the size of its walk cache; there is none here." },
	{ "neoverse-v2-64k",
	  "l1 48/full 4K:64K,2M,1G:512M; l2 2048/8 4K:64K,2M,1G",
	  "As neoverse-v2, with each aligned 16 4K pages of a line of the tables in one entry, as\n"
	  "pages with the contiguous bit are: they must also be adjacent and aligned in memory, which\n"
	  "is not listed. That l1 has entries for 64K: the same quotation. Not confirmed for this\n"
	  "core: that l2 does, as that of the Neoverse N1 (manual 100616, 6.2) and the Cortex-A76." },
};

/* What a TLB can hold: leaf entries, by page size, and entries that point to tables. */
enum kind {
	PAGE_4K,
	PAGE_2M,
	PAGE_1G,
	PDE,
	PDPE,
	PML4E,
	KINDS
};

static const struct {
	const char *name;
	unsigned int shift;	/* of the memory it stands for */
} kind_info[KINDS] = {
	[PAGE_4K] = { "4K", 12 },
	[PAGE_2M] = { "2M", 21 },
	[PAGE_1G] = { "1G", 30 },
	[PDE] = { "PDE", 21 },
	[PDPE] = { "PDPE", 30 },
	[PML4E] = { "PML4E", 39 },
};

struct slot {
	uint64_t page;
	uint64_t used;		/* time of the last use, 0 if empty */
	enum kind kind;
	unsigned int shift;	/* of the page */
};

struct tlb {
	unsigned int level;	/* 1 or 2 */
	bool loads, stores;
	unsigned int sets, ways;
	struct {
		bool held;
		unsigned int shift;
		unsigned int first, last;	/* ways */
	} kinds[KINDS];
	struct slot *slots;	/* set by set */
	struct slot *recent;	/* the last hit, where the next is most likely */
};

#define MAX_TLBS	8

struct processor {
	char *name;
	struct tlb tlbs[MAX_TLBS];
	unsigned int count;
	uint64_t time;
};

/* Accesses to address, address + step, ... */
struct run {
	uint64_t address;
	uint64_t count;
	int64_t step;
	bool write;
};

/* Page tables: what is listed, or all memory with entries of one level. */
struct tables {
	const char *name;
	struct bo_extent *extents;	/* by address */
	size_t count;
	const struct bo_extent *recent;	/* the last one is often the next one */
	struct bo_extent all;
};

struct access {
	uint64_t address;
	bool write;
	const struct bo_extent *mapped, *nested;	/* by which line of the tables */
	enum kind guest, host;		/* the tables' entries */
	enum kind page;			/* the smaller one, which a TLB holds */
};

struct result {
	uint64_t accesses, l1_misses, l2_misses, walk_loads;
};

static struct run *runs;
static size_t run_count;
static double access_count;	/* of all runs; they may be more than 64 bits count */
static struct tables tables = { .all = { .end = UINTPTR_MAX, .level = BO_PUD } };
static struct tables nested = { .all = { .end = UINTPTR_MAX } };
static bool is_nested;

static enum kind kind_of(const struct bo_extent *extent)
{
	return PAGE_4K + (extent->level - BO_PTE);
}

/* Room for one more of the @count elements at @array. */
static void *grow(void *array, size_t count, size_t size)
{
	if (count & (count - 1))	/* there is room up to the next power of two */
		return array;
	array = realloc(array, (count ? count * 2 : 1) * size);
	if (!array)
		die("out of memory");
	return array;
}

/* A line on a terminal while something takes long. */
static bool progress_shown;

static void clear_progress(void)
{
	if (progress_shown)
		fputs("\r\033[K", stderr);
	progress_shown = false;
}

static void show_progress(const char *what, const char *of_what, double done, double all)
{
	static time_t next;
	time_t now = time(NULL);

	if (!next)
		next = now + 3;
	if (now < next || !isatty(STDERR_FILENO))
		return;
	next = now + 1;
	progress_shown = true;
	fprintf(stderr, "\r\033[Ktlb-model: %s %s: %.0f%%", what, of_what, 100 * done / all);
}

#define PROGRESS	(1 << 20)	/* accesses before it is worth a look at the clock */

/* A whole word, with or without 0x. */
static bool parse_address(const char *text, uint64_t *address)
{
	char *end;

	errno = 0;
	*address = strtoull(text, &end, 16);
	return !errno && end != text && !*end && *text != '-';
}

/*
 * TLBs
 */

static bool is_one_line(const struct bo_extent *extent, uint64_t address, unsigned int shift)
{
	uint64_t start = address >> shift << shift;

	return extent->start <= start && extent->end - start >= UINT64_C(1) << shift;
}

/* The size of what @tlb holds of it: of several entries in one only if all are there. */
static unsigned int held_shift(const struct tlb *tlb, enum kind kind, const struct access *access)
{
	unsigned int shift = tlb->kinds[kind].shift;

	if (shift > kind_info[kind].shift &&
	    !(is_one_line(access->mapped, access->address, shift) &&
	      is_one_line(access->nested, access->address, shift)))
		return kind_info[kind].shift;
	return shift;
}

static struct slot *find_set(struct tlb *tlb, uint64_t page)
{
	return &tlb->slots[page % tlb->sets * tlb->ways];
}

static bool is_slot_for(const struct slot *slot, enum kind kind, uint64_t page, unsigned int shift)
{
	return slot->used && slot->kind == kind && slot->page == page && slot->shift == shift;
}

static bool tlb_find(struct tlb *tlb, enum kind kind, const struct access *access, uint64_t time)
{
	unsigned int shift = held_shift(tlb, kind, access);
	uint64_t page = access->address >> shift;
	struct slot *slot = tlb->recent;

	if (!is_slot_for(slot, kind, page, shift)) {
		struct slot *set = find_set(tlb, page), *end = set + tlb->kinds[kind].last + 1;

		for (slot = set + tlb->kinds[kind].first; slot < end; slot++) {
			if (is_slot_for(slot, kind, page, shift))
				break;
		}
		if (slot == end)
			return false;
		tlb->recent = slot;
	}
	slot->used = time;
	return true;
}

static void tlb_insert(struct tlb *tlb, enum kind kind, const struct access *access, uint64_t time)
{
	unsigned int shift = held_shift(tlb, kind, access);
	uint64_t page = access->address >> shift;
	struct slot *set = find_set(tlb, page), *oldest = set + tlb->kinds[kind].first;

	for (unsigned int way = tlb->kinds[kind].first; way <= tlb->kinds[kind].last; way++) {
		if (set[way].used < oldest->used)
			oldest = &set[way];
	}
	*oldest = (struct slot){ page, time, kind, shift };
}

/* The TLB of @level that holds @kind for such an access: the first if several do. */
static struct tlb *tlb_for(struct processor *p, unsigned int level, enum kind kind, bool write)
{
	for (struct tlb *tlb = p->tlbs; tlb < p->tlbs + p->count; tlb++) {
		if (tlb->level == level && tlb->kinds[kind].held &&
		    (write ? tlb->stores : tlb->loads))
			return tlb;
	}
	return NULL;
}

#define LEVELS	4

/* How many entries there are from the top to a leaf. */
static unsigned int levels_to(enum kind leaf)
{
	return LEVELS - leaf;
}

/*
 * Reads tables from the lowest one that a TLB knows the address of, or from the top, down to
 * the leaf. Returns how many entries that takes.
 *
 * In a virtual machine, the TLB knows where the guest's table is in the host's memory. The
 * address of each table further down is the guest's, as is that of the page in the end, so each
 * of these takes a walk of the host's tables.
 */
static unsigned int walk(struct processor *p, const struct access *access)
{
	static const enum kind above[] = { PDE, PDPE, PML4E };
	const enum kind leaf = access->guest;
	unsigned int known = leaf, entries, addresses;

	for (; known < LEVELS - 1; known++) {
		struct tlb *tlb = tlb_for(p, 2, above[known], access->write);

		if (tlb && tlb_find(tlb, above[known], access, p->time))
			break;
	}
	for (unsigned int read = leaf; read < known; read++) {
		struct tlb *tlb = tlb_for(p, 2, above[read], access->write);

		if (tlb)
			tlb_insert(tlb, above[read], access, p->time);
	}
	entries = known - leaf + 1;
	if (!is_nested)
		return entries;
	addresses = known < LEVELS - 1 ? entries - 1 : entries;	/* of tables */
	return entries + addresses * levels_to(kind_of(&nested.all)) + levels_to(access->host);
}

static void model_access(struct processor *p, const struct access *access, struct result *result)
{
	const enum kind page = access->page;
	struct tlb *l1 = tlb_for(p, 1, page, access->write);
	struct tlb *l2 = tlb_for(p, 2, page, access->write);

	p->time++;
	result->accesses++;
	if (l1 && tlb_find(l1, page, access, p->time))
		return;
	result->l1_misses++;
	if (!l2 || !tlb_find(l2, page, access, p->time)) {
		result->l2_misses++;
		result->walk_loads += walk(p, access);
		if (l2)
			tlb_insert(l2, page, access, p->time);
	}
	if (l1)
		tlb_insert(l1, page, access, p->time);
	if (access->write) {
		struct tlb *loads = tlb_for(p, 1, page, false);

		if (loads && loads != l1 && !tlb_find(loads, page, access, p->time))
			tlb_insert(loads, page, access, p->time);
	}
}

/* Size as in 16K, 512M; its logarithm, or 0. */
static unsigned int parse_shift(const char *text)
{
	char unit, rest;
	unsigned int n, shift;

	if (sscanf(text, "%u%c%c", &n, &unit, &rest) != 2 || !n || n & (n - 1))
		return 0;
	shift = unit == 'K' ? 10 : unit == 'M' ? 20 : unit == 'G' ? 30 : 0;
	return shift ? shift + __builtin_ctz(n) : 0;
}

/* KIND[:SIZE][@FIRST-LAST] */
static bool parse_held(char *text, struct tlb *tlb)
{
	char *at = strchr(text, '@'), *colon, rest;
	unsigned int first = 0, last = tlb->ways - 1, shift = 0;

	if (at) {
		*at = '\0';
		if (sscanf(at + 1, "%u-%u%c", &first, &last, &rest) != 2 || first > last ||
		    last >= tlb->ways)
			return false;
	}
	colon = strchr(text, ':');
	if (colon) {
		*colon = '\0';
		shift = parse_shift(colon + 1);
		if (shift < 12)
			return false;
	}
	for (enum kind kind = 0; kind < KINDS; kind++) {
		if (strcmp(text, kind_info[kind].name))
			continue;
		tlb->kinds[kind].held = true;
		tlb->kinds[kind].shift = shift ? shift : kind_info[kind].shift;
		tlb->kinds[kind].first = first;
		tlb->kinds[kind].last = last;
		return true;
	}
	return false;
}

/* l1|l2 [loads|stores] ENTRIES/WAYS HELD[,HELD]... */
static bool parse_tlb(char *text, struct tlb *tlb)
{
	char *save, *held, *word = strtok_r(text, " ", &save), ways[8], rest;
	unsigned int entries;

	*tlb = (struct tlb){ .loads = true, .stores = true };
	if (!word || word[0] != 'l' || (word[1] != '1' && word[1] != '2') || word[2])
		return false;
	tlb->level = word[1] - '0';
	word = strtok_r(NULL, " ", &save);
	if (word && (!strcmp(word, "loads") || !strcmp(word, "stores"))) {
		tlb->loads = word[0] == 'l';
		tlb->stores = !tlb->loads;
		word = strtok_r(NULL, " ", &save);
	}
	if (!word || sscanf(word, "%u/%7s", &entries, ways) != 2)
		return false;
	if (!strcmp(ways, "full"))
		tlb->ways = entries;
	else if (sscanf(ways, "%u%c", &tlb->ways, &rest) != 1)
		return false;
	if (!tlb->ways || !entries || entries % tlb->ways || entries > 1 << 20)
		return false;
	tlb->sets = entries / tlb->ways;
	held = strtok_r(NULL, " ", &save);
	if (!held || strtok_r(NULL, " ", &save))
		return false;
	for (word = strtok_r(held, ",", &save); word; word = strtok_r(NULL, ",", &save)) {
		if (!parse_held(word, tlb))
			return false;
	}
	tlb->slots = calloc(entries, sizeof(*tlb->slots));
	if (!tlb->slots)
		die("out of memory");
	return true;
}

static void parse_processor(const char *name, const char *tlbs, struct processor *p)
{
	char *text = strdup(tlbs), *save, *part;

	p->name = strdup(name);
	p->count = 0;
	for (part = strtok_r(text, ";", &save); part; part = strtok_r(NULL, ";", &save)) {
		char *copy = strdup(part);

		if (p->count == MAX_TLBS)
			bad_usage("%s has more than %d TLBs", name, MAX_TLBS);
		if (!parse_tlb(part, &p->tlbs[p->count++]))
			bad_usage("%s: '%s' is not a TLB; try 'tlb-model --help'", name, copy);
		free(copy);
	}
	free(text);
	if (!p->count)
		bad_usage("%s has no TLBs", name);
}

static void empty_tlbs(struct processor *p)
{
	p->time = 0;
	for (struct tlb *tlb = p->tlbs; tlb < p->tlbs + p->count; tlb++) {
		memset(tlb->slots, 0, sizeof(*tlb->slots) * tlb->sets * tlb->ways);
		tlb->recent = tlb->slots;
	}
}

/*
 * Accesses
 */

#define MAX_RUNS	(1 << 25)	/* 1 GiB */

static void add_run(uint64_t address, uint64_t count, int64_t step, bool write)
{
	if (run_count == MAX_RUNS)
		die("more than %d runs of accesses; a random access is a run of its own",
		    MAX_RUNS);
	runs = grow(runs, run_count, sizeof(*runs));
	runs[run_count++] = (struct run){ address, count, step, write };
	access_count += count;
}

/* ADDRESS [r|w [COUNT STEP]] */
static bool parse_access(char *line, struct run *run)
{
	char *words[5], *save, *word, *end;
	int n = 0;

	for (word = strtok_r(line, " \t", &save); word && n < 5; word = strtok_r(NULL, " \t", &save))
		words[n++] = word;
	*run = (struct run){ .count = 1 };
	if (n < 1 || n == 3 || n > 4 || !parse_address(words[0], &run->address))
		return false;
	if (n > 1) {
		if (strcmp(words[1], "r") && strcmp(words[1], "w"))
			return false;
		run->write = words[1][0] == 'w';
	}
	if (n > 2) {
		errno = 0;
		run->count = strtoull(words[2], &end, 10);
		if (errno || *end || !run->count || words[2][0] == '-')
			return false;
		run->step = strtoll(words[3], &end, 10);
		if (errno || *end)
			return false;
	}
	return true;
}

static void read_accesses(const char *name)
{
	bool from_stdin = !strcmp(name, "-");
	FILE *f = from_stdin ? stdin : fopen(name, "re");
	char line[256];

	if (!f)
		die("cannot open %s: %s", name, strerror(errno));
	for (unsigned long number = 1; fgets(line, sizeof(line), f); number++) {
		struct run run;

		line[strcspn(line, "#\n")] = '\0';
		if (!line[strspn(line, " \t")])
			continue;
		if (!parse_access(line, &run))
			die("%s:%lu: not ADDRESS [r|w [COUNT STEP]]", name, number);
		add_run(run.address, run.count, run.step, run.write);
	}
	if (ferror(f))
		die("cannot read %s: %s", name, strerror(errno));
	if (!from_stdin)
		fclose(f);
	if (!run_count)
		die("%s has no accesses", name);
}

/* Goes through the memory in steps, and again from a line further, until there are @count. */
static void make_steps(uint64_t begin, uint64_t size, uint64_t step, uint64_t count, bool write)
{
	if (step > size)
		step = size;
	for (uint64_t offset = 0; count; offset = (offset + LINE_SIZE) % step) {
		uint64_t n = (size - offset + step - 1) / step;

		if (n > count)
			n = count;
		add_run(begin + offset, n, step, write);
		count -= n;
	}
}

/* splitmix64: the same on every machine. */
static uint64_t next_random(uint64_t *state)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
	z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
	return z ^ (z >> 31);
}

static void make_random(uint64_t begin, uint64_t size, uint64_t count, uint64_t seed, bool write)
{
	while (count--)
		add_run(begin + next_random(&seed) % (size / 8) * 8, 1, 0, write);
}

/* The same in all that is mapped. */
static void make_random_mapped(const struct tables *t, uint64_t count, uint64_t seed, bool write)
{
	uint64_t size = 0;

	for (size_t i = 0; i < t->count; i++)
		size += t->extents[i].end - t->extents[i].start;
	while (count--) {
		uint64_t offset = next_random(&seed) % (size / 8) * 8;
		const struct bo_extent *extent = t->extents;

		for (; offset >= extent->end - extent->start; extent++)
			offset -= extent->end - extent->start;
		add_run(extent->start + offset, 1, 0, write);
	}
}

/*
 * Page tables
 */

static enum bo_level parse_level(const char *name)
{
	for (enum bo_level l = BO_PTE; l <= BO_PUD; l++) {
		if (!strcmp(name, level_info[l].name))
			return l;
	}
	return BO_NONE;
}

static bool parse_listed(const char *line, struct bo_extent *extent)
{
	char start[32], end[32], level[8], rest;

	*extent = (struct bo_extent){ 0 };
	if (sscanf(line, "%31s %31s %7s %c", start, end, level, &rest) != 3 ||
	    !parse_address(start, &extent->start) || !parse_address(end, &extent->end))
		return false;
	extent->level = parse_level(level);
	return extent->level != BO_NONE;
}

static int by_address(const void *a, const void *b)
{
	const struct bo_extent *x = a, *y = b;

	return x->start < y->start ? -1 : x->start > y->start;
}

static void read_tables(const char *name, struct tables *t)
{
	FILE *f = fopen(name, "re");
	char line[256];

	if (!f)
		die("cannot open %s: %s", name, strerror(errno));
	for (unsigned long number = 1; fgets(line, sizeof(line), f); number++) {
		struct bo_extent extent;
		uint64_t mask;

		line[strcspn(line, "#\n")] = '\0';
		/* ptdump has headings, such as ---[ User Space ]--- */
		if (!line[strspn(line, " \t")] || !strncmp(line, "---[", 4))
			continue;
		if (!parse_listed(line, &extent) && !parse_extent(line, &extent))
			die("%s:%lu: neither START END LEVEL nor a line of ptdump", name,
				  number);
		if (extent.level == BO_NONE)
			continue;
		mask = level_info[extent.level].size - 1;
		if (extent.start >= extent.end || (extent.start | extent.end) & mask)
			die("%s:%lu: not a stretch of %s entries", name, number,
				  level_info[extent.level].name);
		t->extents = grow(t->extents, t->count, sizeof(*t->extents));
		t->extents[t->count++] = extent;
	}
	if (ferror(f))
		die("cannot read %s: %s", name, strerror(errno));
	fclose(f);
	if (!t->count)
		die("%s maps nothing", name);
	t->name = name;

	qsort(t->extents, t->count, sizeof(*t->extents), by_address);
	for (size_t i = 1; i < t->count; i++) {
		if (t->extents[i].start < t->extents[i - 1].end)
			die("%s maps 0x%" PRIxPTR " twice", name, t->extents[i].start);
	}
}

static const struct bo_extent *extent_at(struct tables *t, uint64_t address)
{
	size_t low = 0, high = t->count;

	if (!t->extents)
		return &t->all;
	if (!t->recent || address < t->recent->start || address >= t->recent->end) {
		while (high - low > 1) {
			size_t middle = (low + high) / 2;

			if (address < t->extents[middle].start)
				high = middle;
			else
				low = middle;
		}
		t->recent = &t->extents[low];
		if (address < t->recent->start || address >= t->recent->end) {
			clear_progress();
			die("0x%" PRIx64 " is accessed and not mapped by %s", address, t->name);
		}
	}
	return t->recent;
}

/*
 * Results
 */

static enum kind smaller(enum kind a, enum kind b)
{
	return a < b ? a : b;
}

/* All accesses, as if the tables had no entry larger than @largest. */
static struct result model(struct processor *p, enum kind largest, uint64_t repeat)
{
	const double all = access_count * repeat;
	struct result result = { 0 };

	empty_tlbs(p);
	while (repeat--) {
		for (const struct run *run = runs; run < runs + run_count; run++) {
			uint64_t address = run->address;

			for (uint64_t i = 0; i < run->count; i++, address += run->step) {
				struct access access = {
					.address = address,
					.write = run->write,
					.mapped = extent_at(&tables, address),
				};

				access.guest = smaller(kind_of(access.mapped), largest);
				access.nested = is_nested ? extent_at(&nested, address) :
							    access.mapped;
				access.host = kind_of(access.nested);
				access.page = is_nested ? smaller(access.guest, access.host) :
							  access.guest;
				model_access(p, &access, &result);
				if (!(result.accesses % PROGRESS))
					show_progress(p->name, kind_info[largest].name,
						      result.accesses, all);
			}
		}
	}
	clear_progress();
	return result;
}

static void report(struct processor *p, enum kind largest, uint64_t repeat, bool csv)
{
	for (enum kind entry = PAGE_4K; entry <= largest; entry++) {
		struct result r = model(p, entry, repeat);

		if (csv)
			printf("%s,%s,%" PRIu64 ",%" PRIu64 ",%" PRIu64 ",%" PRIu64 "\n", p->name,
			       kind_info[entry].name, r.accesses, r.l1_misses, r.l2_misses,
			       r.walk_loads);
		else
			printf("%-15s %-5s %12" PRIu64 " %6.2f%% %12" PRIu64 " %6.2f%% %12" PRIu64
			       "\n", entry == PAGE_4K ? p->name : "", kind_info[entry].name,
			       r.l1_misses, 100.0 * r.l1_misses / r.accesses, r.l2_misses,
			       100.0 * r.l2_misses / r.accesses, r.walk_loads);
	}
}

static void print_shares(const char *before, const uint64_t *counts, uint64_t all)
{
	for (enum kind k = PAGE_4K; k <= PAGE_1G; k++)
		printf("%s %.1f%% by %s entries", k ? "," : before, 100.0 * counts[k] / all,
		       kind_info[k].name);
}

/* How much of it is mapped how; returns the largest entry that is accessed. */
static enum kind summarize(uint64_t repeat, bool csv)
{
	uint64_t counts[PAGE_1G + 1] = { 0 }, host_counts[PAGE_1G + 1] = { 0 }, all, done = 0;
	enum kind largest;

	for (const struct run *run = runs; run < runs + run_count; run++) {
		uint64_t address = run->address;

		for (uint64_t i = 0; i < run->count; i++, address += run->step) {
			counts[kind_of(extent_at(&tables, address))]++;
			if (is_nested)
				host_counts[kind_of(extent_at(&nested, address))]++;
			if (!(++done % PROGRESS))
				show_progress("finding", "entries", done, access_count);
		}
	}
	clear_progress();
	largest = counts[PAGE_1G] ? PAGE_1G : counts[PAGE_2M] ? PAGE_2M : PAGE_4K;
	all = counts[PAGE_4K] + counts[PAGE_2M] + counts[PAGE_1G];
	if (csv) {
		puts("geometry,entry,accesses,l1_misses,l2_misses,walk_loads");
	} else {
		printf("%" PRIu64 " accesses", all * repeat);
		print_shares(is_nested ? "; in the guest" : ";", counts, all);
		if (is_nested)
			print_shares("; in the host", host_counts, all);
		printf("\n\n%-14s %-5s %20s %20s %12s\n", "", "entry", "L1 misses", "L2 misses",
		       "walk loads");
	}
	return largest;
}

static void list(void)
{
	for (size_t i = 0; i < sizeof(geometries) / sizeof(*geometries); i++) {
		printf("%s%s\n  %s\n  ", i ? "\n" : "", geometries[i].name, geometries[i].tlbs);
		for (const char *c = geometries[i].sources; *c; c++)
			printf(*c == '\n' ? "\n  " : "%c", *c);
		putchar('\n');
	}
}

static struct processor *processors;
static size_t processor_count;

static void add_processor(const char *name, const char *tlbs)
{
	processors = grow(processors, processor_count, sizeof(*processors));
	parse_processor(name, tlbs, &processors[processor_count++]);
}

/* NAME, or NAME=TLBS; all of them if it is NULL. */
static void choose_processor(const char *text)
{
	const char *equals = text ? strchr(text, '=') : NULL;
	bool found = false;

	if (equals) {
		char *name = strndup(text, equals - text);

		add_processor(name, equals + 1);
		free(name);
		return;
	}
	for (size_t i = 0; i < sizeof(geometries) / sizeof(*geometries); i++) {
		if (!text || !strcmp(text, geometries[i].name)) {
			add_processor(geometries[i].name, geometries[i].tlbs);
			found = true;
		}
	}
	if (!found)
		bad_usage("there is no geometry '%s'; try 'tlb-model --list'", text);
}

int main(int argc, char **argv)
{
	enum { STEP = 256, SEED, NESTED, VERSION_OPTION };
	static const struct option options[] = {
		{ "accesses", required_argument, NULL, 'a' },
		{ "pattern", required_argument, NULL, 'p' },
		{ "size", required_argument, NULL, 's' },
		{ "begin", required_argument, NULL, 'b' },
		{ "step", required_argument, NULL, STEP },
		{ "count", required_argument, NULL, 'n' },
		{ "seed", required_argument, NULL, SEED },
		{ "write", no_argument, NULL, 'w' },
		{ "repeat", required_argument, NULL, 'r' },
		{ "tables", required_argument, NULL, 't' },
		{ "nested", required_argument, NULL, NESTED },
		{ "geometry", required_argument, NULL, 'g' },
		{ "list", no_argument, NULL, 'l' },
		{ "csv", no_argument, NULL, 'c' },
		{ "help", no_argument, NULL, 'h' },
		{ "version", no_argument, NULL, VERSION_OPTION },
		{ }
	};
	const char *accesses = NULL, *pattern = NULL, *listing = NULL, *host = NULL;
	uint64_t size = 0, begin = 0, step = 4096, count = 0, seed = 1, repeat = 1;
	bool begin_given = false, write = false, csv = false;
	enum kind largest;
	int opt;

	atexit(close_stdout);
	opterr = 0;
	while ((opt = getopt_long(argc, argv, ":a:p:s:b:n:wr:t:g:lch", options, NULL)) != -1) {
		switch (opt) {
		case 'a':
			accesses = optarg;
			break;
		case 'p':
			pattern = optarg;
			break;
		case 's':
			size = parse_number(optarg, "size", 1, 1 << 24) << 20;
			break;
		case 'b':
			if (!parse_address(optarg, &begin))
				bad_usage("begin must be an address in hexadecimal, not '%s'",
					  optarg);
			begin_given = true;
			break;
		case STEP:
			step = parse_number(optarg, "step", LINE_SIZE, 1 << 30);
			break;
		case 'n':
			count = parse_number(optarg, "count", 1, UINT64_C(1) << 40);
			break;
		case SEED:
			seed = parse_number(optarg, "seed", 0, UINT64_MAX);
			break;
		case 'w':
			write = true;
			break;
		case 'r':
			repeat = parse_number(optarg, "repeat", 1, 1 << 30);
			break;
		case 't':
			listing = optarg;
			break;
		case NESTED:
			host = optarg;
			break;
		case 'g':
			choose_processor(optarg);
			break;
		case 'l':
			list();
			return 0;
		case 'c':
			csv = true;
			break;
		case 'h':
			fputs(usage, stdout);
			return 0;
		case VERSION_OPTION:
			print_version();
			return 0;
		default:
			bad_option(opt, argv);
		}
	}
	if (optind != argc)
		bad_usage("unknown argument '%s'; try 'tlb-model --help'", argv[optind]);
	if (!accesses == !pattern)
		bad_usage("either --accesses or --pattern is needed; try 'tlb-model --help'");
	if (pattern && !size) {
		if (strcmp(pattern, "random"))
			bad_usage("--pattern needs --size");
		if (!listing)
			bad_usage("--pattern=random needs --size or --tables");
		if (begin_given)
			bad_usage("--begin needs --size");
	}
	if (!processor_count)
		choose_processor(NULL);

	if (listing)
		read_tables(listing, &tables);
	if (listing && !begin_given)
		begin = tables.extents[0].start;
	if (host) {
		is_nested = true;
		nested.all.level = parse_level(host);
		if (nested.all.level == BO_NONE) {
			if (access(host, R_OK))
				bad_usage("nested must be pte, pmd, pud or a file, not '%s': %s", host,
					  strerror(errno));
			nested.all.level = BO_PTE;
			read_tables(host, &nested);
		}
	}
	if (accesses)
		read_accesses(accesses);
	else if (!strcmp(pattern, "sequential"))
		make_steps(begin, size, LINE_SIZE, count ? count : size / LINE_SIZE, write);
	else if (!strcmp(pattern, "stride"))
		make_steps(begin, size, step, count ? count : size / LINE_SIZE, write);
	else if (!strcmp(pattern, "random") && !size)
		make_random_mapped(&tables, count ? count : 1000000, seed, write);
	else if (!strcmp(pattern, "random"))
		make_random(begin, size, count ? count : 1000000, seed, write);
	else
		bad_usage("pattern must be sequential, stride or random, not '%s'", pattern);

	largest = summarize(repeat, csv);
	for (size_t i = 0; i < processor_count; i++)
		report(&processors[i], largest, repeat, csv);
	return 0;
}
