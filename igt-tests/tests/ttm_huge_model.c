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
#define _GNU_SOURCE 1
#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "calls.h"
#include "options.h"
#include "pci.h"
#include "vttm_ops.h"

IGT_TEST_DESCRIPTION("Random operations on mapped TTM buffer objects against a model");

#define PROCESSES	3
#define SHARED		3	/* objects that all processes use; the others are their own */
#define MAX_OBJECTS	6
#define MAX_MAPPINGS	60
#define MAX_SEALED	2	/* mappings of a process that stay until it ends */
#define MAX_KINDS	96	/* of operations and calls, each */
#define UNKNOWN		UINT64_MAX

#ifndef __NR_mseal
#define __NR_mseal	462
#endif

#define SEEDS		50
#define STEPS		150

static unsigned int seed;	/* of the first sequence */
static unsigned int seeds = SEEDS;	/* how many, for each device */
static unsigned int seconds;	/* instead: for how long */
static unsigned int steps = STEPS;	/* of each process, for each seed */

/* What all processes of a sequence see, and what all of a device have done. */
static struct {
	bool unplugged;		/* or about to be */
	uint64_t steps;		/* whether or not there was something to do */
	uint64_t operations[MAX_KINDS], calls[MAX_KINDS];
	uint64_t reads, writes, signals;	/* of pages */
} *shared;

#define tally(what)	__atomic_fetch_add(&shared->what, 1, __ATOMIC_RELAXED)

/* Writing to what has this protection key raises SIGSEGV; -1 if the CPU or the kernel has none. */
static int write_key = -1;

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
	bool keyed;		/* has write_key */
	bool sealed;		/* refuses to be changed */
	bool unforked;		/* MADV_DONTFORK */
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

#define for_each_mapping(p, m)							\
	for ((m) = (p)->mappings; (m) < (p)->mappings + MAX_MAPPINGS; (m)++)	\
		if ((m)->length)

#define require(p, condition, format, args...)					\
	igt_assert_f(condition, "%s: seed %u, process %d, step %d: " format "\n",	\
		     (p)->target->name, (p)->seed, (p)->index, (p)->step, ##args)
/* @at: a byte of the object */
#define require_at(p, m, at, condition, format, args...)			\
	require(p, condition, "object %d of %" PRIu64 " KiB, offset %#" PRIx64 " of a mapping of " \
		"%zu KiB at %p, prot %d: " format, (m)->object,			\
		(p)->objects[(m)->object].bo.size / KiB, (uint64_t)(at), (m)->length / KiB, \
		(m)->addr, (m)->prot, ##args)

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

/* 0 or the signal that it raises. */
static int access_word(uint64_t *word, bool write, uint64_t *value)
{
	int sig = signal_of_word(word, write, value);

	/* A signal handler begins with what no key allows. */
	if (sig && write_key >= 0)
		pkey_set(write_key, PKEY_DISABLE_WRITE);
	return sig;
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

static int rights(const struct mapping *m)
{
	return m->keyed ? m->prot & ~PROT_WRITE : m->prot;
}

/* Reads or writes a page of the object, and expects what the model says. */
static void check_page(struct process *p, const struct mapping *m, uint64_t page, bool write)
{
	uint64_t *stamp = &p->objects[m->object].stamps[page], at = page * BO_PTE_SIZE;
	int expected = rights(m) & (write ? PROT_WRITE : PROT_READ) ? 0 : SIGSEGV, found;
	uint64_t *word = word_of(p, m, page), value = ++p->number;

	found = one_in(p, 8) ? access_by_kernel(p, word, write, &value) :
			       access_word(word, write, &value);
	require_at(p, m, at, found == expected, "%s raised signal %d, expected %d",
		   write ? "writing" : "reading", found, expected);
	if (found) {
		tally(signals);
	} else if (write) {
		tally(writes);
		*stamp = value;
	} else {
		tally(reads);
		require_at(p, m, at, value == *stamp || *stamp == UNKNOWN ||
			   READ_ONCE(shared->unplugged), "found %#" PRIx64 ", expected %#" PRIx64,
			   value, *stamp);
	}
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
static void check_mapping(struct process *p, struct mapping *m)
{
	const struct object *object = &p->objects[m->object];
	uint64_t some = page_count(m) > 64 ? page_count(m) / 64 : 1;

	for (uint64_t page = first_page(m); page < first_page(m) + page_count(m); page++)
		if ((object->stamps[page] && object->stamps[page] != UNKNOWN) || page % some == 0)
			check_page(p, m, page, false);
}

/* Rights and contents of some page */
static void check_some(struct process *p, const struct mapping *m)
{
	check_page(p, m, random_page(p, m), false);
	check_page(p, m, random_page(p, m), true);
}

/* Nothing is where a mapping was. */
static void check_gone(struct process *p, const struct mapping *m, const char *how)
{
	uint64_t value;

	require_at(p, m, m->first,
		   access_word(word_of(p, m, random_page(p, m)), false, &value) == SIGSEGV,
		   "%s and still accessible", how);
}

/*
 * Objects and mappings
 */

/* One that can be mapped */
static int find_object(struct process *p)
{
	int start = below(p, MAX_OBJECTS);

	for (int i = 0; i < MAX_OBJECTS; i++) {
		int o = (start + i) % MAX_OBJECTS;

		if (p->objects[o].domains && p->objects[o].bo.handle)
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
	struct mapping *m;

	if (p->objects[o].bo.handle)
		return;
	for_each_mapping(p, m)
		if (m->object == o)
			return;
	free(p->objects[o].stamps);
	p->objects[o] = (struct object){ 0 };
}

static void forget_mapping(struct process *p, struct mapping *m)
{
	m->length = 0;
	forget_object(p, m->object);
}

/* Makes two mappings of one, in the model. Returns the second, NULL if there is no room for it. */
static struct mapping *cut(struct process *p, struct mapping *m, uint64_t at)
{
	struct mapping *rest = free_mapping(p);

	if (rest) {
		*rest = *m;
		rest->first += at;
		rest->addr += at;
		rest->length -= at;
		m->length = at;
	}
	return rest;
}

/*
 * Makes a random part of a random mapping a mapping of its own, in the model. NULL if there is
 * none. Those that are sealed stay in one, as their parts would never be given back.
 */
static struct mapping *some_part(struct process *p)
{
	static const uint64_t units[] = { BO_PTE_SIZE, BO_PMD_SIZE };
	uint64_t unit = units[below(p, 2)], start, length;
	struct mapping *m = find_mapping(p);

	if (!m || m->sealed || unit > m->length || one_in(p, 4))
		return m;
	start = below(p, m->length / unit) * unit;
	length = (1 + below(p, (m->length - start) / unit)) * unit;
	if (start)
		m = cut(p, m, start);
	return m && (length == m->length || cut(p, m, length)) ? m : NULL;
}

/*
 * Operations, on what is given or found at random
 */

static int random_prot(struct process *p)
{
	static const int prots[] = { PROT_READ | PROT_WRITE, PROT_READ | PROT_WRITE, PROT_READ,
				     PROT_NONE };

	return prots[below(p, ARRAY_SIZE(prots))];
}

static uint64_t random_size(struct process *p)
{
	static const struct {
		uint64_t least, count, unit;
	} sizes[] = {
		{ 1, 16, BO_PTE_SIZE },
		{ 1, 3, BO_PMD_SIZE },
		{ 510, 5, BO_PTE_SIZE },
		{ 1, 2560, BO_PTE_SIZE },
	}, *size;

	size = &sizes[below(p, ARRAY_SIZE(sizes))];
	return (size->least + below(p, size->count)) * size->unit;
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

/* Whether the driver has done it. All of VRAM may be in use just now. */
#define done(p, ret, what, args...) ({						\
	int __ret = (ret);							\
										\
	require(p, !__ret || __ret == -ENOSPC ||				\
		(__ret == -ENODEV && READ_ONCE(shared->unplugged)),		\
		what ": %s", ##args, strerror(-__ret));				\
	!__ret;									\
})

/* Whether a system call has changed a mapping: no sealed one is changed. */
#define changed(p, m, ret, what, args...) ({					\
	int __error = (ret) ? errno : 0, __expected = (m)->sealed ? EPERM : 0;	\
										\
	require_at(p, m, (m)->first, __error == __expected, what ": %s, expected %s", \
		   ##args, strerror(__error), strerror(__expected));		\
	if (__error)								\
		check_some(p, m);						\
	!__error;								\
})

static bool create_object(struct process *p, int o, const struct drm_vttm_create *how)
{
	struct object *object = &p->objects[o];
	uint64_t pages = how->size / BO_PTE_SIZE;
	struct bo bo;

	say(p, "create %d: %" PRIu64 " KiB, domains %#x, caching %u, layout %u, alignment %" PRIu64
	    " KiB", o, (uint64_t)how->size / KiB, how->domains, how->caching, how->layout,
	    (uint64_t)how->alignment / KiB);
	if (!done(p, vttm_create(p->target->fd, *how, &bo), "no object of %" PRIu64 " KiB",
		  (uint64_t)how->size / KiB))
		return false;
	*object = (struct object){ bo, how->domains, calloc(pages, sizeof(uint64_t)) };
	igt_assert(object->stamps);
	if (how->flags & DRM_VTTM_CREATE_UNCLEARED)
		memset(object->stamps, 0xff, pages * sizeof(uint64_t));
	return true;
}

static bool do_create(struct process *p)
{
	struct drm_vttm_create how = random_object(p);
	int o;

	for (o = SHARED; o < MAX_OBJECTS && p->objects[o].domains; o++)
		;
	return o < MAX_OBJECTS && create_object(p, o, &how);
}

/* Its mappings stay. */
static bool do_destroy(struct process *p)
{
	int o = SHARED + below(p, MAX_OBJECTS - SHARED);

	if (!p->objects[o].bo.handle)
		return false;
	say(p, "destroy %d", o);
	bo_destroy(&p->objects[o].bo);
	forget_object(p, o);
	return true;
}

/*
 * Maps bytes [first, first + length) of an object at @wish or elsewhere: DRM maps from the start
 * only, so the start is unmapped again. NULL if the device is gone.
 */
static char *map_object(struct process *p, int o, uint64_t first, size_t length, int prot,
			char *wish)
{
	char *addr = bo_map(&p->objects[o].bo, wish, first + length, prot,
			    wish ? MAP_SHARED | MAP_FIXED_NOREPLACE : 0);

	if (addr == MAP_FAILED && errno == ENODEV && READ_ONCE(shared->unplugged))
		return NULL;
	require(p, addr != MAP_FAILED, "mmap() of %" PRIu64 " KiB: %s",
		(first + length) / KiB, strerror(errno));
	if (first)
		require(p, !munmap(addr, first), "munmap() of the start: %s", strerror(errno));
	return addr + first;
}

static bool do_map(struct process *p, int o)
{
	uint64_t size = p->objects[o].bo.size, first, length;
	struct mapping *m = free_mapping(p);
	int prot = random_prot(p);
	char *wish = NULL;

	if (!m)
		return false;
	first = one_in(p, 2) ? 0 : below(p, size / BO_PTE_SIZE) * BO_PTE_SIZE;
	length = one_in(p, 2) ? size - first :
		 (1 + below(p, (size - first) / BO_PTE_SIZE)) * BO_PTE_SIZE;
	if (one_in(p, 4))
		wish = free_address(first + length, BO_PMD_SIZE, below(p, 512) * BO_PTE_SIZE);
	say(p, "map %d: %#" PRIx64 "+%#" PRIx64 ", prot %d, at %p", o, first, length, prot, wish);
	*m = (struct mapping){
		.object = o,
		.first = first,
		.addr = map_object(p, o, first, length, prot, wish),
		.prot = prot,
	};
	m->length = m->addr ? length : 0;
	return m->length;
}

static void do_unmap(struct process *p, struct mapping *m)
{
	if (changed(p, m, munmap(m->addr, m->length), "munmap()")) {
		check_gone(p, m, "unmapped");
		forget_mapping(p, m);
	}
}

static void do_protect(struct process *p, struct mapping *m)
{
	int prot = random_prot(p);

	say(p, "prot %d", prot);
	if (changed(p, m, mprotect(m->addr, m->length, prot), "mprotect(%d)", prot))
		m->prot = prot;
	check_some(p, m);
}

static void do_advise(struct process *p, struct mapping *m)
{
	static const int advice[] = { MADV_NOHUGEPAGE, MADV_HUGEPAGE, MADV_RANDOM, MADV_NORMAL };
	int how = one_in(p, 8) ? MADV_DONTFORK : advice[below(p, ARRAY_SIZE(advice))];

	say(p, "advice %d", how);
	require_at(p, m, m->first, !madvise(m->addr, m->length, how), "madvise(%d): %s", how,
		   strerror(errno));
	m->unforked |= how == MADV_DONTFORK;
	check_some(p, m);
}

static void do_mremap(struct process *p, struct mapping *m)
{
	static const uint64_t skews[] = { 0, BO_PMD_SIZE, 64 * KiB, BO_PTE_SIZE };
	uint64_t align = m->length >= BO_PUD_SIZE ? BO_PUD_SIZE : BO_PMD_SIZE;
	uint64_t skew = skews[below(p, ARRAY_SIZE(skews))];
	char *to = free_address(m->length, align, ((uintptr_t)m->addr + skew) % align);
	struct mapping old = *m;

	say(p, "from %p to %p", m->addr, to);
	if (changed(p, m, mremap(m->addr, m->length, m->length, MREMAP_MAYMOVE | MREMAP_FIXED, to)
		    != to, "mremap() to %p", to)) {
		check_gone(p, &old, "moved away");
		m->addr = to;
	}
	check_page(p, m, random_page(p, m), false);
}

static void do_touch(struct process *p, struct mapping *m)
{
	uint64_t page = random_page(p, m);
	bool write = below(p, 7) < 4;

	for (int i = below(p, 24); i >= 0; i--) {
		check_page(p, m, page, write);
		/* Neighbours now and then */
		if (one_in(p, 3) || ++page >= first_page(m) + page_count(m))
			page = random_page(p, m);
	}
}

/* The child finds everything as it is here, and the parent what the child has written. */
static void do_fork(struct process *p, struct mapping *m)
{
	uint64_t pages[8], number = p->number;
	struct mapping *other;
	int status;
	pid_t pid;

	for (size_t i = 0; i < ARRAY_SIZE(pages); i++)
		pages[i] = random_page(p, m);
	fflush(NULL);
	pid = fork();
	require(p, pid >= 0, "fork(): %s", strerror(errno));
	if (!pid) {
		/* What was not to be copied is not there, as if it had no rights. */
		for_each_mapping(p, other)
			other->prot = other->unforked ? PROT_NONE : other->prot;
		for (size_t i = 0; i < ARRAY_SIZE(pages); i++) {
			p->number = number + i;
			check_page(p, m, pages[i], true);
		}
		for_each_mapping(p, other)
			check_page(p, other, random_page(p, other), false);
		check_mapping(p, m);
		_exit(0);
	}
	require(p, waitpid(pid, &status, 0) == pid, "waitpid(): %s", strerror(errno));
	require(p, !status, "a child ended with status %#x", status);
	for (size_t i = 0; i < ARRAY_SIZE(pages); i++) {
		p->number++;
		if (rights(m) & PROT_WRITE && !m->unforked)
			p->objects[m->object].stamps[pages[i]] = p->number;
	}
}

static bool do_move(struct process *p, int o)
{
	uint32_t domain = 1 << below(p, 4);

	if (!(p->objects[o].domains & domain))
		return false;
	say(p, "move %d to %s", o, domain_name(domain));
	return done(p, vttm_move(&p->objects[o].bo, domain),
		    "object %d of %" PRIu64 " KiB cannot move to %s", o,
		    p->objects[o].bo.size / KiB, domain_name(domain));
}

static bool do_evict(struct process *p)
{
	static const uint32_t domains[] = { VRAM, VRAM, TINY, GTT };
	uint32_t domain = domains[below(p, ARRAY_SIZE(domains))];

	/* To copy 1 GiB takes as long as many sequences. */
	if (p->objects[0].bo.size > GiB && !one_in(p, 8))
		return false;
	say(p, "evict all of %s", domain_name(domain));
	return done(p, vttm_evict_all(p->target->fd, domain), "%s cannot be evicted",
		    domain_name(domain));
}

static bool do_busy(struct process *p, int o)
{
	unsigned int ms = 1 + below(p, 10);

	say(p, "busy %d for %u ms", o, ms);
	return done(p, vttm_busy(&p->objects[o].bo, ms), "object %d cannot be busy", o);
}

static bool do_track(struct process *p, int o)
{
	uint32_t op = one_in(p, 2) ? DRM_VTTM_DIRTY_START : DRM_VTTM_DIRTY_STOP;

	say(p, "%s tracking of %d", op == DRM_VTTM_DIRTY_START ? "start" : "stop", o);
	return done(p, vttm_dirty(&p->objects[o].bo, op, NULL), "object %d cannot be tracked", o);
}

static bool do_switch(struct process *p)
{
	int value = below(p, HUGE_PUD + 1);

	say(p, "switch to %d", value);
	bo_set_huge_faults(value);
	return true;
}

/* A call that changes nothing */
static void do_call(struct process *p, struct mapping *m)
{
	size_t which = below(p, call_count);
	const struct call *call = &calls[which];
	int expected = m->sealed && call->sealed ? call->sealed : call->expected, found;

	say(p, "%s", call->name);
	found = call->make(m->addr, m->length, call->arg);
	require_at(p, m, m->first, found == expected || (call->missing && found == call->missing),
		   "%s: %s, expected %s", call->name, strerror(found), strerror(expected));
	check_some(p, m);
	tally(calls[which]);
}

/* Without keys this is mprotect(). */
static void do_key(struct process *p, struct mapping *m)
{
	bool keyed = write_key >= 0 && one_in(p, 2);
	int prot = random_prot(p), key = keyed || write_key < 0 ? write_key : 0;

	say(p, "prot %d, key %d", prot, key);
	if (changed(p, m, pkey_mprotect(m->addr, m->length, prot, key), "pkey_mprotect(%d, %d)",
		    prot, key)) {
		m->prot = prot;
		m->keyed = keyed;
	}
	check_some(p, m);
}

static bool do_seal(struct process *p)
{
	struct mapping *m;
	int sealed = 0;

	for_each_mapping(p, m)
		sealed += m->sealed;
	m = sealed < MAX_SEALED ? some_part(p) : NULL;
	if (!m)
		return false;
	say(p, "seal %d: %#" PRIx64 "+%#zx", m->object, m->first, m->length);
	require_at(p, m, m->first, !syscall(__NR_mseal, m->addr, m->length, 0), "mseal(): %s",
		   strerror(errno));
	m->sealed = true;
	changed(p, m, munmap(m->addr, m->length), "munmap()");
	changed(p, m, mprotect(m->addr, m->length, PROT_NONE), "mprotect()");
	changed(p, m, mremap(m->addr, m->length, m->length, MREMAP_MAYMOVE | MREMAP_FIXED,
			     free_address(m->length, BO_PMD_SIZE, 0)) == MAP_FAILED, "mremap()");
	return true;
}

/*
 * Maps the start of the object in place of what is there, with the same rights. What is there has
 * gone before the driver is asked, so that a refusal leaves a hole; there is no object at offset 0.
 */
static void do_remap_file(struct process *p, struct mapping *m)
{
	const struct bo *bo = &p->objects[m->object].bo;
	uint64_t offset = bo->handle ? bo->offset : 0;
	int error;

	say(p, "to %#" PRIx64, offset);
	error = syscall(SYS_remap_file_pages, m->addr, m->length, 0, offset / BO_PTE_SIZE, 0) ?
		errno : 0;
	require_at(p, m, m->first,
		   error == (m->sealed ? EPERM : offset ? 0 : EINVAL) ||
		   (error == ENODEV && !m->sealed && READ_ONCE(shared->unplugged)),
		   "remap_file_pages(): %s", strerror(error));
	if (error && !m->sealed) {
		check_gone(p, m, "not remapped");
		forget_mapping(p, m);
		return;
	}
	if (!error) {
		m->first = 0;
		m->keyed = m->unforked = false;
	}
	check_some(p, m);
}

/* Memory of a file takes the place of a mapping, and a new mapping takes it back, if one can. */
static void do_replace(struct process *p, struct mapping *m)
{
	uint64_t *word = word_of(p, m, random_page(p, m)), stamp = ++p->number, value = 0;
	struct mapping fresh = { .object = m->object, .first = m->first, .prot = m->prot };
	int fd = memfd_create("model", MFD_CLOEXEC);
	bool replaced;

	require(p, fd >= 0 && !ftruncate(fd, m->length), "memfd: %s", strerror(errno));
	replaced = changed(p, m, mmap(m->addr, m->length, PROT_READ | PROT_WRITE,
				      MAP_SHARED | MAP_FIXED, fd, 0) == MAP_FAILED,
			   "mmap() of a memfd");
	close(fd);
	if (!replaced)
		return;

	require_at(p, m, m->first, !access_word(word, false, &value) && !value &&
		   !access_word(word, true, &stamp) && !access_word(word, false, &value) &&
		   value == stamp, "a memfd in its place holds %#" PRIx64, value);
	if (p->objects[m->object].bo.handle)
		fresh.addr = map_object(p, m->object, m->first, m->length, m->prot, NULL);
	if (!fresh.addr) {
		require(p, !munmap(m->addr, m->length), "munmap() of a memfd: %s", strerror(errno));
		forget_mapping(p, m);
		return;
	}
	fresh.length = m->length;
	check_some(p, &fresh);
	require_at(p, m, m->first, mremap(fresh.addr, m->length, m->length, MREMAP_MAYMOVE |
		   MREMAP_FIXED, m->addr) == m->addr, "mremap() over a memfd: %s", strerror(errno));
	fresh.addr = m->addr;
	*m = fresh;
	check_some(p, m);
}

/* Each has one function. The first two kinds return whether there was something to do. */
static const struct operation {
	const char *name;
	int weight;
	bool (*run)(struct process *p);
	bool (*on_object)(struct process *p, int o);
	void (*on_mapping)(struct process *p, struct mapping *m);
	void (*on_part)(struct process *p, struct mapping *m);
} operations[] = {
	{ "create", 3, .run = do_create },
	{ "destroy", 2, .run = do_destroy },
	{ "map", 10, .on_object = do_map },
	{ "unmap", 6, .on_part = do_unmap },
	{ "protect", 6, .on_part = do_protect },
	{ "advise", 3, .on_part = do_advise },
	{ "mremap", 6, .on_part = do_mremap },
	{ "touch", 28, .on_mapping = do_touch },
	{ "verify", 4, .on_mapping = check_mapping },
	{ "fork", 1, .on_mapping = do_fork },
	{ "move", 8, .on_object = do_move },
	{ "evict", 1, .run = do_evict },
	{ "busy", 3, .on_object = do_busy },
	{ "track", 1, .on_object = do_track },
	{ "switch", 3, .run = do_switch },
	{ "call", 8, .on_part = do_call },
	{ "key", 3, .on_part = do_key },
	{ "seal", 1, .run = do_seal },
	{ "remap", 1, .on_part = do_remap_file },
	{ "replace", 2, .on_part = do_replace },
};

static bool run(struct process *p, const struct operation *operation)
{
	struct mapping *m;
	int o;

	if (operation->run)
		return operation->run(p);
	if (operation->on_object) {
		o = find_object(p);
		return o >= 0 && operation->on_object(p, o);
	}
	m = operation->on_part ? some_part(p) : find_mapping(p);
	if (!m)
		return false;
	say(p, "%s %d: %#" PRIx64 "+%#zx", operation->name, m->object, m->first, m->length);
	if (operation->on_part)
		operation->on_part(p, m);
	else
		operation->on_mapping(p, m);
	return true;
}

static void random_operation(struct process *p)
{
	int total = 0, number;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(operations); i++)
		total += operations[i].weight;
	number = below(p, total);
	for (i = 0; number >= operations[i].weight; i++)
		number -= operations[i].weight;
	if (run(p, &operations[i]))
		tally(operations[i]);
	tally(steps);
}

/* No entry is writable that must not be. */
static void check_page_tables(struct process *p)
{
	struct bo_levels levels;
	struct mapping *m;

	for_each_mapping(p, m) {
		if (m->prot & PROT_WRITE)
			continue;
		igt_assert_eq(bo_levels(m->addr, m->length, &levels), 0);
		require_at(p, m, m->first, !levels.writable, "%" PRIu64 " KiB are writable",
			   levels.writable / KiB);
		/* The kernel lists them slowly. */
		return;
	}
}

static void run_process(const struct target *target, const struct object *objects,
			unsigned int number, int index)
{
	struct process *p = calloc(1, sizeof(*p));
	struct mapping *mapping;

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
	for_each_mapping(p, mapping)
		check_mapping(p, mapping);
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
	faults_of_touching(&view, false);
	if (domain_of(&object->bo) & (VRAM | TINY))
		assert_entries(&view, HUGE_PUD);
	unmap(&view);
}

static void run_sequence(const struct target *target, unsigned int number)
{
	struct process controller = {
		.target = target,
		.seed = number,
		.random = number * PROCESSES + PROCESSES,
		.index = PROCESSES,
	}, *p = &controller;
	bool with_unplug = one_in(p, 10) && may_unplug(target);
	struct pci_address device;
	struct object *objects = p->objects;

	/* On the console, which tells it even if the kernel stops here */
	igt_kmsg(KMSG_INFO "%s: seed %u%s\n", target->name, number, with_unplug ? ", unplug" : "");
	say(p, "%s", with_unplug ? "with unplug" : "without unplug");
	set_huge_faults(HUGE_PUD);
	shared->unplugged = false;
	for (int o = 0; o < SHARED; o++) {
		struct drm_vttm_create how = random_object(p);
		bool created;

		/* The first of all has room anywhere. */
		how.domains |= o ? 0 : VRAM | SYSTEM;
		/* Now and then one with entries of 1 GiB; it takes long to move and to fill. */
		if (!o && one_in(p, 20) && bo_vram_size(target->fd) > 2 * GiB)
			how = (struct drm_vttm_create){
				.size = GiB + how.size,
				.domains = VRAM,
				.flags = DRM_VTTM_CREATE_UNCLEARED,
			};
		created = create_object(p, o, &how);
		require(p, created || o, "no room for %" PRIu64 " KiB", (uint64_t)how.size / KiB);
	}

	igt_fork(child, PROCESSES)
		run_process(target, objects, number, child);
	if (with_unplug) {
		usleep(below(p, 300 * 1000));
		WRITE_ONCE(shared->unplugged, true);
		device = pci_address(target);
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
	/* What the processes have left without handles ends with the file. */
	if (with_unplug)
		plug_in(target, &device);
	else
		target_reopen(target);
	assert_no_kernel_warning(target->name);
}

/* How much was done; in a run of the default length there is some of everything. */
static void report(const struct target *target, unsigned int sequences)
{
	uint64_t expected = (uint64_t)sequences * PROCESSES * steps;
	bool enough = expected >= (uint64_t)SEEDS * PROCESSES * STEPS;
	char text[1024] = "";
	size_t length = 0;

	for (size_t i = 0; i < ARRAY_SIZE(operations); i++)
		length += snprintf(text + length, sizeof(text) - length, ", %s %" PRIu64,
				   operations[i].name, shared->operations[i]);
	igt_info("%s: %" PRIu64 " steps%s; pages: %" PRIu64 " read, %" PRIu64 " written, %" PRIu64
		 " signals%s\n", target->name, shared->steps, text, shared->reads, shared->writes,
		 shared->signals, write_key < 0 ? "; no protection keys" : "");
	target_assert(target, shared->steps == expected, "%" PRIu64 " steps, expected %" PRIu64,
		      shared->steps, expected);
	if (!enough)
		return;
	target_assert(target, shared->reads && shared->writes && shared->signals,
		      "nothing was read, written, or refused");
	for (size_t i = 0; i < ARRAY_SIZE(operations); i++)
		target_assert(target, shared->operations[i], "no %s in %" PRIu64 " steps",
			      operations[i].name, shared->steps);
	for (size_t i = 0; i < call_count; i++)
		target_assert(target, shared->calls[i], "no %s in %" PRIu64 " steps",
			      calls[i].name, shared->steps);
}

/**
 * SUBTEST: sequences
 * Description: Processes create, map, read, write, protect, advise, move, unmap and destroy at
 *              random, fork, move objects between domains, evict, keep them busy, track them and
 *              turn the switch, make every other system call that takes addresses, and now and then
 *              the device is unplugged. Every access succeeds or raises SIGSEGV as the model says,
 *              and finds what this process has written last; every call answers as it should. In
 *              the end objects are mapped with the entries that their blocks allow.
 */
static void test_sequences(const struct target *target)
{
	time_t end = time(NULL) + seconds, next = time(NULL) + 60;
	unsigned int count = 0;

	*shared = (__typeof__(*shared)){ 0 };
	igt_info("%s: seeds from %u on\n", target->name, seed);
	for (; seconds ? time(NULL) < end : count < seeds; count++) {
		if (time(NULL) >= next) {
			igt_info("%s: %u sequences so far\n", target->name, count);
			next += 60;
		}
		run_sequence(target, seed + count);
	}
	igt_info("%s: seeds %u to %u, %u steps in each of %d processes\n", target->name, seed,
		 seed + count - 1, steps, PROCESSES);
	report(target, count);
}

static const struct subtest subtests[] = {
	{ "sequences", "Random operations against a model", .test = test_sequences, .on = is_vttm },
};

static int parse(int opt, int index, void *data)
{
	(void)index;
	(void)data;
	switch (opt) {
	case 'r':
		return number_option("--seed", optarg, 1, UINT_MAX, &seed);
	case 'n':
		return number_option("--seeds", optarg, 1, UINT_MAX, &seeds);
	case 's':
		return number_option("--seconds", optarg, 1, INT_MAX, &seconds);
	case 't':
		return number_option("--steps", optarg, 1, INT_MAX, &steps);
	}
	return -2;
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
	igt_fixture() {
		if (!seed)
			seed = 1 + time(NULL) % 1000000;
		ttm_huge_init();
		shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE,
			      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
		igt_assert(shared != MAP_FAILED);
		igt_assert(call_count <= MAX_KINDS);
		write_key = pkey_alloc(0, PKEY_DISABLE_WRITE);
	}
	run_subtests(subtests);
	igt_fixture()
		ttm_huge_fini();
}
