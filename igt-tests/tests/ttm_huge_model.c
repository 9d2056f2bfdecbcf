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
#include <limits.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "calls.h"
#include "options.h"
#include "random.h"
#include "vttm_ops.h"

IGT_TEST_DESCRIPTION("Random operations on mapped TTM buffer objects against a model");

#define PROCESSES	3
#define SHARED		3	/* objects that all processes use; the others are their own */
#define MAX_OBJECTS	6
#define MAX_MAPPINGS	60
#define MAX_SEALED	2	/* mappings of a process that stay until it ends */
#define MAX_KINDS	96	/* of operations and calls, each */
#define UNKNOWN		UINT64_MAX
#define SEEDS		50
#define STEPS		150

#ifndef __NR_mseal
#define __NR_mseal	462
#endif

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
	int index, step, pipe[2];
	uint64_t number;	/* the last stamp */
	struct object objects[MAX_OBJECTS];
	struct mapping mappings[MAX_MAPPINGS];
};

#define for_each_mapping(p, m)							\
	for (struct mapping *m = (p)->mappings; m < (p)->mappings + MAX_MAPPINGS; m++)	\
		if (m->length)

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

/*
 * Accesses
 */

/* 0 or the signal that it raises. */
static int copy_word(uint64_t *to, uint64_t *from)
{
	int sig = signal_of_copy(to, from);

	/* A signal handler begins with what no key allows. */
	if (sig && write_key >= 0)
		pkey_set(write_key, PKEY_DISABLE_WRITE);
	return sig;
}

/* In each page another place; the words of all processes lie next to each other. */
static uint64_t *word_of(const struct process *p, const struct mapping *m, uint64_t page)
{
	return (uint64_t *)(m->addr + page * BO_PTE_SIZE - m->first + page % 128 * 32) + p->index;
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
	uint64_t *to = write ? word : &value, *from = write ? &value : word;

	found = one_in(p, 8) ? signal_of_kernel_copy(p->pipe, to, from) : copy_word(to, from);
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

static uint64_t random_page(struct process *p, const struct mapping *m)
{
	return m->first / BO_PTE_SIZE + below(p, m->length / BO_PTE_SIZE);
}

/* Every page that this process has written to, and as many again of the others. */
static void check_mapping(struct process *p, struct mapping *m)
{
	const uint64_t *stamps = p->objects[m->object].stamps;
	uint64_t first = m->first / BO_PTE_SIZE, pages = m->length / BO_PTE_SIZE;
	uint64_t some = pages > 64 ? pages / 64 : 1;

	for (uint64_t page = first; page < first + pages; page++)
		if ((stamps[page] && stamps[page] != UNKNOWN) || page % some == 0)
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

	require_at(p, m, m->first, copy_word(&value, word_of(p, m, random_page(p, m))) == SIGSEGV,
		   "%s and still accessible", how);
}

/*
 * Objects and mappings
 */

/* One that can be mapped */
static int find_object(struct process *p)
{
	for (int start = below(p, MAX_OBJECTS), i = start; i < start + MAX_OBJECTS; i++)
		if (p->objects[i % MAX_OBJECTS].bo.handle)
			return i % MAX_OBJECTS;
	return -1;
}

static struct mapping *find_mapping(struct process *p)
{
	for (int start = below(p, MAX_MAPPINGS), i = start; i < start + MAX_MAPPINGS; i++)
		if (p->mappings[i % MAX_MAPPINGS].length)
			return &p->mappings[i % MAX_MAPPINGS];
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
	uint64_t unit = one_of(p, BO_PTE_SIZE, BO_PMD_SIZE);
	struct mapping *m = find_mapping(p);
	struct part part;

	if (!m || m->sealed || unit > m->length || one_in(p, 4))
		return m;
	part = random_part(&p->random, m->length, unit);
	if (part.offset)
		m = cut(p, m, part.offset);
	return m && (part.length == m->length || cut(p, m, part.length)) ? m : NULL;
}

/*
 * Operations, on what is given or found at random
 */

static int random_prot(struct process *p)
{
	return one_of(p, PROT_READ | PROT_WRITE, PROT_READ | PROT_WRITE, PROT_READ, PROT_NONE);
}

static uint64_t random_size(struct process *p)
{
	/* Not those of PMD entries: with pages of 64 KiB, the small device has no room for one. */
	static const struct { uint64_t least, count, unit; } sizes[] = {
		{ 1, 16, BO_PTE_SIZE }, { 1, 3, 2 * MiB },
		{ 2 * MiB / BO_PTE_SIZE - 2, 5, BO_PTE_SIZE },
		{ 1, 10 * MiB / BO_PTE_SIZE, BO_PTE_SIZE },
	};
	uint64_t i = below(p, ARRAY_SIZE(sizes));

	return (sizes[i].least + below(p, sizes[i].count)) * sizes[i].unit;
}

static struct drm_vttm_create random_object(struct process *p)
{
	struct drm_vttm_create how = {
		.size = random_size(p),
		.alignment = one_of(p, 0, 0, BO_PTE_SIZE, 64 * KiB, 2 * MiB),
		.domains = 1 + below(p, ANY),
		.caching = below(p, 3),
		.layout = below(p, 3),
	};

	if (how.alignment)
		how.size = (how.size + how.alignment - 1) / how.alignment * how.alignment;
	return how;
}

/* Says what to do; whether the driver has done it. All of VRAM may be in use just now. */
#define done(p, call, what, args...) ({						\
	int __ret;								\
										\
	say(p, what, ##args);							\
	__ret = (call);								\
	require(p, !__ret || __ret == -ENOSPC ||				\
		(__ret == -ENODEV && READ_ONCE(shared->unplugged)),		\
		what ": %s", ##args, strerror(-__ret));				\
	!__ret;									\
})

/* The same for a system call that changes a mapping: no sealed one is changed. */
#define changed(p, m, failed, what, args...) ({					\
	int __error, __expected = (m)->sealed ? EPERM : 0;			\
										\
	say(p, what, ##args);							\
	__error = (failed) ? errno : 0;						\
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

	if (!done(p, vttm_create(p->target->fd, *how, &bo), "create %d: %" PRIu64 " KiB, domains "
		  "%#x, caching %u, layout %u, alignment %" PRIu64 " KiB", o,
		  (uint64_t)how->size / KiB, how->domains, how->caching, how->layout,
		  (uint64_t)how->alignment / KiB))
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
 * Maps bytes [first, first + length) of an object at @to or elsewhere: DRM maps from the start
 * only, so the start is unmapped again. NULL if the device is gone.
 */
static char *map_object(struct process *p, int o, uint64_t first, size_t length, int prot, char *to)
{
	char *addr = bo_map(&p->objects[o].bo, to, first + length, prot,
			    to ? MAP_SHARED | MAP_FIXED_NOREPLACE : 0);

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
	*m = (struct mapping){ .object = o, .first = first, .prot = prot };
	m->addr = map_object(p, o, first, length, prot, wish);
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

/* With -1 this is mprotect(): the key stays. */
static void protect(struct process *p, struct mapping *m, int key)
{
	int prot = random_prot(p);

	if (changed(p, m, pkey_mprotect(m->addr, m->length, prot, key), "pkey_mprotect(%d, %d)",
		    prot, key)) {
		m->prot = prot;
		m->keyed = key < 0 ? m->keyed : key == write_key;
	}
	check_some(p, m);
}

static void do_protect(struct process *p, struct mapping *m)
{
	protect(p, m, -1);
}

static void do_key(struct process *p, struct mapping *m)
{
	protect(p, m, write_key < 0 || one_in(p, 2) ? write_key : 0);
}

static void do_advise(struct process *p, struct mapping *m)
{
	int how = one_in(p, 8) ? MADV_DONTFORK :
		  one_of(p, MADV_NOHUGEPAGE, MADV_HUGEPAGE, MADV_RANDOM, MADV_NORMAL);

	say(p, "advice %d", how);
	require_at(p, m, m->first, !madvise(m->addr, m->length, how), "madvise(%d): %s", how,
		   strerror(errno));
	m->unforked |= how == MADV_DONTFORK;
	check_some(p, m);
}

static void do_mremap(struct process *p, struct mapping *m)
{
	uint64_t align = m->length >= BO_PUD_SIZE ? BO_PUD_SIZE : BO_PMD_SIZE;
	uint64_t skew = one_of(p, 0, BO_PMD_SIZE, 64 * KiB, BO_PTE_SIZE);
	char *to = free_address(m->length, align, ((uintptr_t)m->addr + skew) % align);
	struct mapping old = *m;

	if (changed(p, m, mremap(m->addr, m->length, m->length, MREMAP_MAYMOVE | MREMAP_FIXED, to)
		    != to, "mremap() from %p to %p", m->addr, to)) {
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
		if (one_in(p, 3) || ++page >= (m->first + m->length) / BO_PTE_SIZE)
			page = random_page(p, m);
	}
}

/* The child finds everything as it is here, and the parent what the child has written. */
static void do_fork(struct process *p, struct mapping *m)
{
	uint64_t pages[8];
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
		for (size_t i = 0; i < ARRAY_SIZE(pages); i++)
			check_page(p, m, pages[i], true);
		for_each_mapping(p, other)
			check_page(p, other, random_page(p, other), false);
		check_mapping(p, m);
		_exit(0);
	}
	require(p, waitpid(pid, &status, 0) == pid, "waitpid(): %s", strerror(errno));
	require(p, !status, "a child ended with status %#x", status);
	for (size_t i = 0; i < ARRAY_SIZE(pages); i++)
		if (rights(m) & PROT_WRITE && !m->unforked)
			p->objects[m->object].stamps[pages[i]] = p->number + 1 + i;
	p->number += ARRAY_SIZE(pages);
}

static bool do_move(struct process *p, int o)
{
	uint32_t domain = 1 << below(p, 4);

	return p->objects[o].domains & domain &&
	       done(p, vttm_move(&p->objects[o].bo, domain), "move %d, %" PRIu64 " KiB, to %s", o,
		    p->objects[o].bo.size / KiB, domain_name(domain));
}

static bool do_evict(struct process *p)
{
	uint32_t heap = one_of(p, VRAM, VRAM, TINY, GTT);

	/* To copy 1 GiB takes as long as many sequences. */
	return (p->objects[0].bo.size <= GiB || one_in(p, 8)) &&
	       done(p, vttm_evict_all(p->target->fd, heap), "evict all of %s", domain_name(heap));
}

static bool do_busy(struct process *p, int o)
{
	unsigned int ms = 1 + below(p, 10);

	return done(p, vttm_busy(&p->objects[o].bo, ms), "busy %d for %u ms", o, ms);
}

static bool do_track(struct process *p, int o)
{
	uint32_t op = one_in(p, 2) ? DRM_VTTM_DIRTY_START : DRM_VTTM_DIRTY_STOP;

	return done(p, vttm_dirty(&p->objects[o].bo, op, NULL), "%s tracking of %d",
		    op == DRM_VTTM_DIRTY_START ? "start" : "stop", o);
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
	if (call->right && !(rights(m) & call->right))
		expected = EINVAL;
	require_at(p, m, m->first, found == expected || (call->missing && found == call->missing),
		   "%s: %s, expected %s", call->name, strerror(found), strerror(expected));
	check_some(p, m);
	tally(calls[which]);
}

static bool do_seal(struct process *p)
{
	struct mapping *m;
	int sealed = 0;

	for_each_mapping(p, other)
		sealed += other->sealed;
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
	if (!error) {
		m->first = 0;
		m->keyed = m->unforked = false;
	} else if (!m->sealed) {
		check_gone(p, m, "not remapped");
		forget_mapping(p, m);
		return;
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

	require_at(p, m, m->first, !copy_word(&value, word) && !value && !copy_word(word, &stamp) &&
		   !copy_word(&value, word) && value == stamp,
		   "a memfd in its place holds %#" PRIx64, value);
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
	bool whole;	/* not only a part of it */
} operations[] = {
	{ "create", 3, .run = do_create },
	{ "destroy", 2, .run = do_destroy },
	{ "map", 10, .on_object = do_map },
	{ "unmap", 6, .on_mapping = do_unmap },
	{ "protect", 6, .on_mapping = do_protect },
	{ "advise", 3, .on_mapping = do_advise },
	{ "mremap", 6, .on_mapping = do_mremap },
	{ "touch", 28, .on_mapping = do_touch, .whole = true },
	{ "verify", 4, .on_mapping = check_mapping, .whole = true },
	{ "fork", 1, .on_mapping = do_fork, .whole = true },
	{ "move", 8, .on_object = do_move },
	{ "evict", 1, .run = do_evict },
	{ "busy", 3, .on_object = do_busy },
	{ "track", 1, .on_object = do_track },
	{ "switch", 3, .run = do_switch },
	{ "call", 8, .on_mapping = do_call },
	{ "key", 3, .on_mapping = do_key },
	{ "seal", 1, .run = do_seal },
	{ "remap", 1, .on_mapping = do_remap_file },
	{ "replace", 2, .on_mapping = do_replace },
};

static bool run(struct process *p, const struct operation *operation)
{
	int o = operation->on_object ? find_object(p) : -1;
	struct mapping *m;

	if (operation->on_object)
		return o >= 0 && operation->on_object(p, o);
	if (operation->run)
		return operation->run(p);
	m = operation->whole ? find_mapping(p) : some_part(p);
	if (!m)
		return false;
	say(p, "%s %d: %#" PRIx64 "+%#zx", operation->name, m->object, m->first, m->length);
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

/* @p is a copy of the one that has the shared objects. */
static void run_process(struct process *p, int index)
{
	p->random = p->seed * PROCESSES + index;
	p->index = index;
	p->number = (uint64_t)(index + 1) << 32;
	igt_assert_eq(pipe(p->pipe), 0);
	catch_signals();

	for (p->step = 0; p->step < (int)steps; p->step++)
		random_operation(p);

	/* No entry is writable that must not be; of one mapping, as the kernel lists them slowly */
	for_each_mapping(p, m) {
		struct bo_levels levels;

		if (m->prot & PROT_WRITE)
			continue;
		igt_assert_eq(bo_levels(m->addr, m->length, &levels), 0);
		require_at(p, m, m->first, !levels.writable, "%" PRIu64 " KiB are writable",
			   levels.writable / KiB);
		break;
	}
	for_each_mapping(p, m)
		check_mapping(p, m);
	/* What is not mapped here has kept its contents, too. */
	for (int o = 0; o < MAX_OBJECTS && !READ_ONCE(shared->unplugged); o++) {
		const struct bo *bo = &p->objects[o].bo;
		struct mapping m = { .object = o, .length = bo->size, .prot = PROT_READ };

		m.addr = bo->handle ? bo_map(bo, NULL, bo->size, PROT_READ, 0) : MAP_FAILED;
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
		.target = target, .seed = number, .index = PROCESSES,
		.random = number * PROCESSES + PROCESSES,
	}, *p = &controller;
	bool with_unplug = one_in(p, 10) && may_unplug(target);
	struct pci_address device;

	/* On the console, which tells it even if the kernel stops here */
	igt_kmsg(KMSG_INFO "%s: seed %u%s\n", target->name, number, with_unplug ? ", unplug" : "");
	say(p, "%s", with_unplug ? "with unplug" : "without unplug");
	set_huge_faults(HUGE_PUD);
	shared->unplugged = false;
	for (int o = 0; o < SHARED; o++) {
		struct drm_vttm_create how = random_object(p);

		/* The first of all has room anywhere. */
		how.domains |= o ? 0 : VRAM | SYSTEM;
		/* Now and then one with entries of 1 GiB; it takes long to move and to fill. */
		if (!o && one_in(p, 20) && bo_vram_size(target->fd) > 2 * GiB)
			how = (struct drm_vttm_create){ .size = GiB + how.size, .domains = VRAM,
							.flags = DRM_VTTM_CREATE_UNCLEARED };
		require(p, create_object(p, o, &how) || o, "no room for %" PRIu64 " KiB",
			(uint64_t)how.size / KiB);
	}

	igt_fork(child, PROCESSES)
		run_process(p, child);
	if (with_unplug) {
		usleep(below(p, 300 * 1000));
		WRITE_ONCE(shared->unplugged, true);
		device = pci_address(target);
		unplug(&device);
	}
	igt_waitchildren();

	set_huge_faults(HUGE_PUD);
	for (struct object *o = p->objects; o < p->objects + SHARED; o++) {
		if (o->domains && !with_unplug)
			check_at_rest(target, o);
		if (o->domains)
			bo_destroy(&o->bo);
		free(o->stamps);
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
	if (expected < (uint64_t)SEEDS * PROCESSES * STEPS)
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

static const struct number numbers[] = {
	{ "seed", 'r', UINT_MAX, &seed },
	{ "seeds", 'n', UINT_MAX, &seeds },
	{ "seconds", 's', INT_MAX, &seconds },
	{ "steps", 't', INT_MAX, &steps },
	{ }
};

int igt_main_args("r:n:s:t:", number_options(numbers),
		  "  --seed N\tof the first sequence (default: the time)\n"
		  "  --seeds N\tnumber of sequences for each device (default 50)\n"
		  "  --seconds N\tas many sequences as take so long, for each device\n"
		  "  --steps N\tof each process (default 150)\n"
		  "  --seed N --seeds 1 repeats a sequence, --debug shows its steps.\n",
		  parse_number, (void *)numbers)
{
	igt_fixture() {
		seed = seed ? seed : 1 + time(NULL) % 1000000;
		shared = shared_memory(sizeof(*shared));
		igt_assert(call_count <= MAX_KINDS);
		write_key = pkey_alloc(0, PKEY_DISABLE_WRITE);
	}
	run_test(subtests);
}
