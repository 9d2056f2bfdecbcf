// SPDX-License-Identifier: MIT
/**
 * TEST: ttm huge model
 * Category: Core
 * Mega feature: General Core features
 * Sub-category: Memory management tests
 * Functionality: mmap
 * Description: Random operations of several processes on vttm's objects and their mappings, each
 *              checked against a model that knows nothing of page tables.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <getopt.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "vttm_ops.h"

IGT_TEST_DESCRIPTION("Random operations on mapped TTM buffer objects against a model");

#define PROCESSES	3
#define SHARED		3	/* objects that all processes use; the others are their own */
#define MAX_OBJECTS	6
#define MAX_MAPPINGS	40
#define UNKNOWN		UINT64_MAX

static unsigned int seed;	/* of the first sequence */
static unsigned int seeds = 50;	/* how many, for each device */
static unsigned int seconds;	/* instead: for how long */
static unsigned int steps = 150;	/* of each process, for each seed */

/* What all processes of a sequence see. */
static struct {
	bool unplugged;		/* or about to be */
} *shared;

struct object {
	struct bo bo;		/* without a handle: only its mappings are left */
	uint32_t domains;	/* 0: there is no such object */
	uint64_t *stamps;	/* what this process has written to its word of each page */
};

struct mapping {
	int object;
	uint64_t first;		/* byte of the object */
	char *addr;
	size_t length;		/* 0: there is no such mapping */
	int prot;
};

/* A process, and all that it knows: the model. */
struct process {
	const struct target *target;
	unsigned int seed, random;
	int index, step;
	uint64_t number;	/* the last stamp */
	int pipe[2];
	struct object objects[MAX_OBJECTS];
	struct mapping mappings[MAX_MAPPINGS];
};

#define require(p, condition, format, args...)					\
	igt_assert_f(condition, "%s: seed %u, process %d, step %d: " format "\n",	\
		     (p)->target->name, (p)->seed, (p)->index, (p)->step, ##args)

#define say(p, format, args...)							\
	igt_debug("seed %u, process %d, step %d: " format "\n", (p)->seed, (p)->index,	\
		  (p)->step, ##args)

static uint64_t below(struct process *p, uint64_t limit)
{
	return (((uint64_t)rand_r(&p->random) << 31) ^ rand_r(&p->random)) % limit;
}

static bool one_in(struct process *p, int n)
{
	return below(p, n) == 0;
}

/*
 * Accesses
 */

static sigjmp_buf landing;

static void land(int sig)
{
	siglongjmp(landing, sig);
}

static void catch_signals(void)
{
	struct sigaction action = { .sa_handler = land, .sa_flags = SA_NODEFER };

	sigaction(SIGSEGV, &action, NULL);
	sigaction(SIGBUS, &action, NULL);
}

/* 0 or the signal that it raises. */
static int access_word(volatile uint64_t *word, bool write, uint64_t *value)
{
	int sig = sigsetjmp(landing, 0);

	if (sig)
		return sig;
	if (write)
		*word = *value;
	else
		*value = *word;
	return 0;
}

/* The same by the kernel. */
static int access_by_kernel(struct process *p, uint64_t *word, bool write_it, uint64_t *value)
{
	if (write_it) {
		require(p, write(p->pipe[1], value, 8) == 8, "pipe: %s", strerror(errno));
		if (read(p->pipe[0], word, 8) == 8)
			return 0;
		/* What could not be read by the kernel is still there. */
		require(p, errno == EFAULT, "read() to a mapping: %s", strerror(errno));
		require(p, read(p->pipe[0], value, 8) == 8, "pipe: %s", strerror(errno));
		return SIGSEGV;
	}
	if (write(p->pipe[1], word, 8) != 8) {
		require(p, errno == EFAULT, "write() from a mapping: %s", strerror(errno));
		return SIGSEGV;
	}
	require(p, read(p->pipe[0], value, 8) == 8, "pipe: %s", strerror(errno));
	return 0;
}

/* In each page another place; the words of all processes lie next to each other. */
static uint64_t *word_of(const struct process *p, const struct mapping *m, uint64_t page)
{
	uint64_t place = page * BO_PTE_SIZE + page % 128 * 32 + p->index * 8;

	return (uint64_t *)(m->addr + place - m->first);
}

/* Reads or writes a page of the object, and expects what the model says. */
static void check_page(struct process *p, const struct mapping *m, uint64_t page, bool write)
{
	struct object *object = &p->objects[m->object];
	int needed = write ? PROT_WRITE : PROT_READ, found;
	int expected = m->prot & needed ? 0 : SIGSEGV;
	uint64_t *word = word_of(p, m, page), value = ++p->number;

	found = one_in(p, 8) ? access_by_kernel(p, word, write, &value) :
			       access_word(word, write, &value);
	require(p, found == expected,
		"object %d of %" PRIu64 " KiB, offset %#" PRIx64 ": %s raised signal %d, "
		"expected %d (mapped at %p, prot %d)", m->object, object->bo.size / KiB,
		page * BO_PTE_SIZE, write ? "writing" : "reading", found, expected, m->addr,
		m->prot);
	if (found)
		return;
	if (write)
		object->stamps[page] = value;
	else
		require(p, value == object->stamps[page] || object->stamps[page] == UNKNOWN ||
			READ_ONCE(shared->unplugged),
			"object %d of %" PRIu64 " KiB, offset %#" PRIx64 ": found %#" PRIx64
			", expected %#" PRIx64 " (mapped at %p)", m->object,
			object->bo.size / KiB, page * BO_PTE_SIZE, value, object->stamps[page],
			m->addr);
}

static uint64_t first_page(const struct mapping *m)
{
	return m->first / BO_PTE_SIZE;
}

static uint64_t page_count(const struct mapping *m)
{
	return m->length / BO_PTE_SIZE;
}

static uint64_t random_page(struct process *p, const struct mapping *m)
{
	return first_page(m) + below(p, page_count(m));
}

/* Every page that this process has written to, and as many again of the others. */
static void check_mapping(struct process *p, const struct mapping *m)
{
	const struct object *object = &p->objects[m->object];
	uint64_t some = page_count(m) > 64 ? page_count(m) / 64 : 1;

	for (uint64_t page = first_page(m); page < first_page(m) + page_count(m); page++)
		if ((object->stamps[page] && object->stamps[page] != UNKNOWN) || page % some == 0)
			check_page(p, m, page, false);
}

/*
 * Objects and mappings
 */

static int find_object(struct process *p, bool with_handle)
{
	int start = below(p, MAX_OBJECTS);

	for (int i = 0; i < MAX_OBJECTS; i++) {
		int o = (start + i) % MAX_OBJECTS;

		if (p->objects[o].domains && (!with_handle || p->objects[o].bo.handle))
			return o;
	}
	return -1;
}

static struct mapping *find_mapping(struct process *p)
{
	int start = below(p, MAX_MAPPINGS);

	for (int i = 0; i < MAX_MAPPINGS; i++) {
		struct mapping *m = &p->mappings[(start + i) % MAX_MAPPINGS];

		if (m->length)
			return m;
	}
	return NULL;
}

static struct mapping *free_mapping(struct process *p)
{
	for (int i = 0; i < MAX_MAPPINGS; i++)
		if (!p->mappings[i].length)
			return &p->mappings[i];
	return NULL;
}

/* An object that nobody can map any more, and nobody has mapped, is gone. */
static void forget_object(struct process *p, int o)
{
	if (p->objects[o].bo.handle)
		return;
	for (int i = 0; i < MAX_MAPPINGS; i++)
		if (p->mappings[i].length && p->mappings[i].object == o)
			return;
	free(p->objects[o].stamps);
	p->objects[o] = (struct object){ 0 };
}

/*
 * Makes a random part of a mapping a mapping of its own, in the model. NULL if there is no room for
 * what is left of it.
 */
static struct mapping *carve(struct process *p, struct mapping *m)
{
	static const uint64_t units[] = { BO_PTE_SIZE, BO_PMD_SIZE };
	uint64_t unit = units[below(p, 2)], start, length;
	struct mapping *before = NULL, *behind = NULL;

	if (unit > m->length || one_in(p, 4)) {
		start = 0;
		length = m->length;
	} else {
		start = below(p, m->length / unit) * unit;
		length = (1 + below(p, (m->length - start) / unit)) * unit;
	}
	if (start) {
		before = free_mapping(p);
		if (!before)
			return NULL;
		*before = *m;
		before->length = start;
	}
	if (start + length < m->length) {
		behind = free_mapping(p);
		if (!behind) {
			if (before)
				before->length = 0;
			return NULL;
		}
		*behind = *m;
		behind->first += start + length;
		behind->addr += start + length;
		behind->length -= start + length;
	}
	m->first += start;
	m->addr += start;
	m->length = length;
	return m;
}

/*
 * Operations. Each takes what it needs at random, and does nothing if there is none.
 */

static uint64_t random_size(struct process *p)
{
	switch (below(p, 4)) {
	case 0:
		return (1 + below(p, 16)) * BO_PTE_SIZE;
	case 1:
		return (1 + below(p, 3)) * BO_PMD_SIZE;
	case 2:
		return (510 + below(p, 5)) * BO_PTE_SIZE;
	default:
		return (1 + below(p, 2560)) * BO_PTE_SIZE;
	}
}

static struct drm_vttm_create random_object(struct process *p)
{
	static const uint64_t alignments[] = { 0, 0, 4 * KiB, 64 * KiB, 2 * MiB };
	struct drm_vttm_create how = {
		.size = random_size(p),
		.alignment = alignments[below(p, ARRAY_SIZE(alignments))],
		.domains = 1 + below(p, ANY),
		.caching = below(p, 3),
		.layout = below(p, 3),
	};

	if (how.alignment)
		how.size = (how.size + how.alignment - 1) / how.alignment * how.alignment;
	return how;
}

static void add_object(struct process *p, int o, const struct drm_vttm_create *how,
		       const struct bo *bo)
{
	uint64_t pages = how->size / BO_PTE_SIZE;

	p->objects[o] = (struct object){
		.bo = *bo,
		.domains = how->domains,
		.stamps = calloc(pages, sizeof(uint64_t)),
	};
	igt_assert(p->objects[o].stamps);
	if (how->flags & DRM_VTTM_CREATE_UNCLEARED)
		memset(p->objects[o].stamps, 0xff, pages * sizeof(uint64_t));
}

static bool may_be(int ret)
{
	/* All of VRAM may be in use just now. */
	return !ret || ret == -ENOSPC || (ret == -ENODEV && READ_ONCE(shared->unplugged));
}

static void do_create(struct process *p)
{
	struct drm_vttm_create how = random_object(p);
	struct bo bo;
	int o, ret;

	for (o = SHARED; o < MAX_OBJECTS && p->objects[o].domains; o++)
		;
	if (o == MAX_OBJECTS)
		return;
	say(p, "create %d: %" PRIu64 " KiB, domains %#x, caching %u, layout %u, alignment %" PRIu64
	    " KiB", o, (uint64_t)how.size / KiB, how.domains, how.caching, how.layout,
	    (uint64_t)how.alignment / KiB);
	ret = vttm_create(p->target->fd, how, &bo);
	require(p, may_be(ret), "no object of %" PRIu64 " KiB: %s",
		(uint64_t)how.size / KiB, strerror(-ret));
	if (!ret)
		add_object(p, o, &how, &bo);
}

/* Its mappings stay. */
static void do_destroy(struct process *p)
{
	int o = SHARED + below(p, MAX_OBJECTS - SHARED);

	if (!p->objects[o].bo.handle)
		return;
	say(p, "destroy %d", o);
	bo_destroy(&p->objects[o].bo);
	forget_object(p, o);
}

static void do_map(struct process *p)
{
	static const int prots[] = { PROT_READ | PROT_WRITE, PROT_READ | PROT_WRITE, PROT_READ,
				     PROT_NONE };
	struct mapping *m = free_mapping(p);
	int o = find_object(p, true);
	uint64_t first, length;
	struct object *object;
	char *addr, *wish = NULL;
	int prot, flags = 0;

	if (!m || o < 0)
		return;
	object = &p->objects[o];
	first = one_in(p, 2) ? 0 : below(p, object->bo.size / BO_PTE_SIZE) * BO_PTE_SIZE;
	length = one_in(p, 2) ? object->bo.size - first :
		 (1 + below(p, (object->bo.size - first) / BO_PTE_SIZE)) * BO_PTE_SIZE;
	prot = prots[below(p, ARRAY_SIZE(prots))];
	if (one_in(p, 4)) {
		wish = free_address(first + length, BO_PMD_SIZE, below(p, 512) * BO_PTE_SIZE);
		flags = MAP_SHARED | MAP_FIXED_NOREPLACE;
	}
	say(p, "map %d: %#" PRIx64 "+%#" PRIx64 ", prot %d, at %p", o, first, length, prot, wish);
	/* DRM maps from the start only. */
	addr = bo_map(&object->bo, wish, first + length, prot, flags);
	if (addr == MAP_FAILED && errno == ENODEV && READ_ONCE(shared->unplugged))
		return;
	require(p, addr != MAP_FAILED, "mmap() of %" PRIu64 " KiB: %s", (first + length) / KiB,
		strerror(errno));
	if (first)
		require(p, !munmap(addr, first), "munmap() of the start: %s", strerror(errno));
	*m = (struct mapping){
		.object = o,
		.first = first,
		.addr = addr + first,
		.length = length,
		.prot = prot,
	};
}

static void do_unmap(struct process *p)
{
	struct mapping *m = find_mapping(p), part;
	uint64_t value;

	if (!m || !(m = carve(p, m)))
		return;
	part = *m;
	m->length = 0;
	say(p, "munmap %d: %#" PRIx64 "+%#zx", part.object, part.first, part.length);
	require(p, !munmap(part.addr, part.length), "munmap() of %zu KiB: %s", part.length / KiB,
		strerror(errno));
	require(p, access_word(word_of(p, &part, random_page(p, &part)), false, &value) == SIGSEGV,
		"object %d, offset %#" PRIx64 ": unmapped and still accessible", part.object,
		part.first);
	forget_object(p, part.object);
}

static void do_protect(struct process *p)
{
	static const int prots[] = { PROT_READ | PROT_WRITE, PROT_READ, PROT_NONE };
	struct mapping *m = find_mapping(p);

	if (!m || !(m = carve(p, m)))
		return;
	m->prot = prots[below(p, ARRAY_SIZE(prots))];
	say(p, "mprotect %d: %#" PRIx64 "+%#zx, prot %d", m->object, m->first, m->length, m->prot);
	require(p, !mprotect(m->addr, m->length, m->prot), "mprotect() of %zu KiB: %s",
		m->length / KiB, strerror(errno));
	check_page(p, m, random_page(p, m), false);
	check_page(p, m, random_page(p, m), true);
}

static void do_advise(struct process *p)
{
	static const int advice[] = { MADV_NOHUGEPAGE, MADV_HUGEPAGE, MADV_RANDOM, MADV_NORMAL };
	int how = advice[below(p, ARRAY_SIZE(advice))];
	struct mapping *m = find_mapping(p);

	if (!m || !(m = carve(p, m)))
		return;
	say(p, "madvise %d: %#" PRIx64 "+%#zx, %d", m->object, m->first, m->length, how);
	require(p, !madvise(m->addr, m->length, how), "madvise(%d) of %zu KiB: %s", how,
		m->length / KiB, strerror(errno));
}

static void do_mremap(struct process *p)
{
	static const uint64_t skews[] = { 0, BO_PMD_SIZE, 64 * KiB, BO_PTE_SIZE };
	struct mapping *m = find_mapping(p);
	uint64_t skew = skews[below(p, ARRAY_SIZE(skews))];
	uint64_t align = BO_PMD_SIZE, value;
	struct mapping old;
	char *to;

	if (!m || !(m = carve(p, m)))
		return;
	old = *m;
	if (m->length >= BO_PUD_SIZE)
		align = BO_PUD_SIZE;
	to = free_address(m->length, align, ((uintptr_t)m->addr + skew) % align);
	say(p, "mremap %d: %#" PRIx64 "+%#zx, from %p to %p", m->object, m->first, m->length,
	    m->addr, to);
	m->addr = mremap(m->addr, m->length, m->length, MREMAP_MAYMOVE | MREMAP_FIXED, to);
	require(p, m->addr == to, "mremap() of %zu KiB from %p to %p: %s", m->length / KiB,
		old.addr, to, strerror(errno));
	require(p, access_word(word_of(p, &old, random_page(p, &old)), false, &value) == SIGSEGV,
		"object %d, offset %#" PRIx64 ": moved away and still accessible", m->object,
		m->first);
	check_page(p, m, random_page(p, m), false);
}

static void touch_some(struct process *p, bool write)
{
	struct mapping *m = find_mapping(p);
	uint64_t page;

	if (!m)
		return;
	say(p, "%s %d: %#" PRIx64 "+%#zx", write ? "write" : "read", m->object, m->first,
	    m->length);
	page = random_page(p, m);
	for (int i = below(p, 24); i >= 0; i--) {
		check_page(p, m, page, write);
		/* Neighbours now and then */
		if (one_in(p, 3) || ++page >= first_page(m) + page_count(m))
			page = random_page(p, m);
	}
}

static void do_read(struct process *p)
{
	touch_some(p, false);
}

static void do_write(struct process *p)
{
	touch_some(p, true);
}

static void do_verify(struct process *p)
{
	struct mapping *m = find_mapping(p);

	if (!m)
		return;
	say(p, "verify %d: %#" PRIx64 "+%#zx", m->object, m->first, m->length);
	check_mapping(p, m);
}

/* The child finds everything as it is here, and the parent what the child has written. */
static void do_fork(struct process *p)
{
	struct mapping *m = find_mapping(p);
	uint64_t pages[8], number = p->number;
	int status;
	pid_t pid;

	if (!m)
		return;
	say(p, "fork, write %d: %#" PRIx64 "+%#zx", m->object, m->first, m->length);
	for (size_t i = 0; i < ARRAY_SIZE(pages); i++)
		pages[i] = random_page(p, m);
	fflush(NULL);
	pid = fork();
	require(p, pid >= 0, "fork(): %s", strerror(errno));
	if (!pid) {
		for (size_t i = 0; i < ARRAY_SIZE(pages); i++) {
			p->number = number + i;
			check_page(p, m, pages[i], true);
		}
		for (int i = 0; i < MAX_MAPPINGS; i++)
			if (p->mappings[i].length)
				check_page(p, &p->mappings[i],
					   random_page(p, &p->mappings[i]), false);
		check_mapping(p, m);
		_exit(0);
	}
	require(p, waitpid(pid, &status, 0) == pid, "waitpid(): %s", strerror(errno));
	require(p, !status, "a child ended with status %#x", status);
	for (size_t i = 0; i < ARRAY_SIZE(pages); i++) {
		p->number++;
		if (m->prot & PROT_WRITE)
			p->objects[m->object].stamps[pages[i]] = p->number;
	}
}

static void do_move(struct process *p)
{
	uint32_t domain = 1 << below(p, 4);
	int o = find_object(p, true), ret;

	if (o < 0 || !(p->objects[o].domains & domain))
		return;
	say(p, "move %d to %s", o, domain_name(domain));
	ret = vttm_move(&p->objects[o].bo, domain);
	require(p, may_be(ret), "object %d of %" PRIu64 " KiB cannot move to %s: %s", o,
		p->objects[o].bo.size / KiB, domain_name(domain), strerror(-ret));
}

static void do_evict(struct process *p)
{
	static const uint32_t domains[] = { VRAM, VRAM, TINY, GTT };
	uint32_t domain = domains[below(p, ARRAY_SIZE(domains))];
	int ret;

	/* To copy 1 GiB takes as long as many sequences. */
	if (p->objects[0].bo.size > GiB && !one_in(p, 8))
		return;
	say(p, "evict all of %s", domain_name(domain));
	ret = vttm_evict_all(p->target->fd, domain);
	require(p, may_be(ret), "%s cannot be evicted: %s", domain_name(domain),
		strerror(-ret));
}

static void do_busy(struct process *p)
{
	unsigned int ms = 1 + below(p, 10);
	int o = find_object(p, true), ret;

	if (o < 0)
		return;
	say(p, "busy %d for %u ms", o, ms);
	ret = vttm_busy(&p->objects[o].bo, ms);
	require(p, may_be(ret), "object %d cannot be busy: %s", o, strerror(-ret));
}

static void do_track(struct process *p)
{
	static const uint32_t ops[] = { DRM_VTTM_DIRTY_START, DRM_VTTM_DIRTY_STOP };
	uint32_t op = ops[below(p, 2)];
	int o = find_object(p, true), ret;

	if (o < 0)
		return;
	say(p, "%s tracking of %d", op == DRM_VTTM_DIRTY_START ? "start" : "stop", o);
	ret = vttm_dirty(&p->objects[o].bo, op, NULL);
	require(p, may_be(ret), "object %d cannot be tracked: %s", o, strerror(-ret));
}

static void do_switch(struct process *p)
{
	int value = below(p, HUGE_PUD + 1);

	say(p, "switch to %d", value);
	bo_set_huge_faults(value);
}

static const struct {
	void (*run)(struct process *p);
	int weight;
} operations[] = {
	{ do_create, 3 },
	{ do_destroy, 2 },
	{ do_map, 10 },
	{ do_unmap, 6 },
	{ do_protect, 6 },
	{ do_advise, 3 },
	{ do_mremap, 6 },
	{ do_read, 12 },
	{ do_write, 16 },
	{ do_verify, 4 },
	{ do_fork, 1 },
	{ do_move, 8 },
	{ do_evict, 1 },
	{ do_busy, 3 },
	{ do_track, 1 },
	{ do_switch, 3 },
};

static void random_operation(struct process *p)
{
	int total = 0, number;

	for (size_t i = 0; i < ARRAY_SIZE(operations); i++)
		total += operations[i].weight;
	number = below(p, total);
	for (size_t i = 0; i < ARRAY_SIZE(operations); i++) {
		number -= operations[i].weight;
		if (number < 0) {
			operations[i].run(p);
			return;
		}
	}
}

/* No entry is writable that must not be. */
static void check_page_tables(struct process *p)
{
	for (int i = 0; i < MAX_MAPPINGS; i++) {
		const struct mapping *m = &p->mappings[i];
		struct bo_levels levels;

		if (!m->length || m->prot & PROT_WRITE)
			continue;
		igt_assert_eq(bo_levels(m->addr, m->length, &levels), 0);
		require(p, !levels.writable, "object %d, offset %#" PRIx64 ": %" PRIu64
			" KiB of a mapping with prot %d are writable", m->object, m->first,
			levels.writable / KiB, m->prot);
		/* The kernel lists them slowly. */
		return;
	}
}

static void run_process(const struct target *target, const struct object *objects,
			unsigned int number, int index)
{
	struct process *p = calloc(1, sizeof(*p));

	igt_assert(p);
	p->target = target;
	p->seed = number;
	p->random = number * PROCESSES + index;
	p->index = index;
	p->number = (uint64_t)(index + 1) << 32;
	memcpy(p->objects, objects, SHARED * sizeof(*objects));
	igt_assert_eq(pipe(p->pipe), 0);
	catch_signals();

	for (p->step = 0; p->step < (int)steps; p->step++)
		random_operation(p);

	check_page_tables(p);
	for (int i = 0; i < MAX_MAPPINGS; i++)
		if (p->mappings[i].length)
			check_mapping(p, &p->mappings[i]);
	/* What is not mapped here has kept its contents, too. */
	for (int o = 0; o < MAX_OBJECTS && !READ_ONCE(shared->unplugged); o++) {
		struct bo *bo = &p->objects[o].bo;
		struct mapping m = {
			.object = o,
			.addr = bo->handle ? bo_map(bo, NULL, bo->size, PROT_READ, 0) : MAP_FAILED,
			.length = bo->size,
			.prot = PROT_READ,
		};

		if (m.addr != MAP_FAILED)
			check_mapping(p, &m);
	}
}

/*
 * Sequences
 */

/* All that is needed to be mapped as it should: rights, tracking, the switch. */
static void check_at_rest(const struct target *target, const struct object *object)
{
	struct view view = map_whole(target, &object->bo, PROT_READ | PROT_WRITE);

	igt_assert_eq(vttm_dirty(&object->bo, DRM_VTTM_DIRTY_STOP, NULL), 0);
	if (object->domains & VRAM)
		igt_assert_eq(vttm_move(&object->bo, VRAM), 0);
	for (uint64_t o = 0; o < view.length; o += BO_PTE_SIZE)
		(void)*(volatile char *)(view.addr + o);
	if (domain_of(&object->bo) & (VRAM | TINY))
		assert_entries(&view, HUGE_PUD);
	unmap(&view);
}

static void run_sequence(struct target *target, unsigned int number)
{
	struct process controller = {
		.target = target,
		.seed = number,
		.random = number * PROCESSES + PROCESSES,
		.index = PROCESSES,
	}, *p = &controller;
	bool with_unplug = one_in(p, 10);
	struct pci_address device = pci_address(target);
	struct object *objects = p->objects;

	/* On the console, which tells it even if the kernel stops here */
	igt_kmsg(KMSG_INFO "%s: seed %u%s\n", target->name, number, with_unplug ? ", unplug" : "");
	say(p, "%s", with_unplug ? "with unplug" : "without unplug");
	set_huge_faults(HUGE_PUD);
	shared->unplugged = false;
	for (int o = 0; o < SHARED; o++) {
		struct drm_vttm_create how = random_object(p);
		struct bo bo;
		int ret;

		/* The first of all has room anywhere. */
		how.domains |= o ? 0 : VRAM | SYSTEM;
		/* Now and then one with entries of 1 GiB; it takes long to move and to fill. */
		if (!o && one_in(p, 20) && bo_vram_size(target->fd) > 2 * GiB)
			how = (struct drm_vttm_create){
				.size = GiB + how.size,
				.domains = VRAM,
				.flags = DRM_VTTM_CREATE_UNCLEARED,
			};
		ret = vttm_create(target->fd, how, &bo);
		if (ret == -ENOSPC && o)
			continue;
		require(p, !ret, "no object of %" PRIu64 " KiB: %s", (uint64_t)how.size / KiB,
			strerror(-ret));
		add_object(p, o, &how, &bo);
	}

	igt_fork(child, PROCESSES)
		run_process(target, objects, number, child);
	if (with_unplug) {
		usleep(below(p, 300 * 1000));
		WRITE_ONCE(shared->unplugged, true);
		unplug(&device);
	}
	igt_waitchildren();

	set_huge_faults(HUGE_PUD);
	for (int o = 0; o < SHARED; o++) {
		if (objects[o].domains && !with_unplug)
			check_at_rest(target, &objects[o]);
		if (objects[o].domains)
			bo_destroy(&objects[o].bo);
		free(objects[o].stamps);
	}
	if (with_unplug) {
		plug_in(target, &device);
	} else {
		/* What the processes have left without handles ends with the file. */
		close(target->fd);
		target->fd = bo_open_card(target->card);
		igt_assert_fd(target->fd);
	}
	assert_no_kernel_warning(target);
}

/**
 * SUBTEST: sequences
 * Description: Processes create, map, read, write, protect, advise, move, unmap and destroy at
 *              random, fork, move objects between domains, evict, keep them busy, track them and
 *              turn the switch, and now and then the device is unplugged. Every access succeeds or
 *              raises SIGSEGV as the model says, and finds what this process has written last. In the end
 *              objects are mapped with the entries that their blocks allow.
 */
static void test_sequences(struct target *target)
{
	time_t end = time(NULL) + seconds, report = time(NULL) + 60;
	unsigned int count = 0;

	igt_info("%s: seeds from %u on\n", target->name, seed);
	for (; seconds ? time(NULL) < end : count < seeds; count++) {
		if (time(NULL) >= report) {
			igt_info("%s: %u sequences so far\n", target->name, count);
			report += 60;
		}
		run_sequence(target, seed + count);
	}
	igt_info("%s: seeds %u to %u, %u steps in each of %d processes\n", target->name, seed,
		 seed + count - 1, steps, PROCESSES);
}

static int parse(int opt, int index, void *data)
{
	unsigned int *const values[] = {
		['r'] = &seed, ['n'] = &seeds, ['s'] = &seconds, ['t'] = &steps,
	};

	(void)index;
	(void)data;
	if (opt < 0 || opt >= (int)ARRAY_SIZE(values) || !values[opt])
		return -2;
	*values[opt] = strtoul(optarg, NULL, 0);
	return 0;
}

static const struct option options[] = {
	{ "seed", required_argument, NULL, 'r' },
	{ "seeds", required_argument, NULL, 'n' },
	{ "seconds", required_argument, NULL, 's' },
	{ "steps", required_argument, NULL, 't' },
	{ }
};

int igt_main_args("r:n:s:t:", options,
		  "  --seed N\tof the first sequence (default: the time)\n"
		  "  --seeds N\tnumber of sequences for each device (default 50)\n"
		  "  --seconds N\tas many sequences as take so long, for each device\n"
		  "  --steps N\tof each process (default 150)\n"
		  "  --seed N --seeds 1 repeats a sequence, --debug shows its steps.\n",
		  parse, NULL)
{
	struct target *target;

	igt_fixture() {
		if (!seed)
			seed = time(NULL) % 1000000;
		ttm_huge_init();
		shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE,
			      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
		igt_assert(shared != MAP_FAILED);
	}

	igt_describe("Random operations against a model");
	igt_subtest_with_dynamic("sequences")
		igt_dynamic_vttm(target)
			test_sequences(target);

	igt_fixture()
		ttm_huge_fini();
}
