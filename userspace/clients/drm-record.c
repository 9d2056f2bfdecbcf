// SPDX-License-Identifier: MIT
/*
 * For LD_PRELOAD, to see how a library accesses the DRM object that it maps: Mesa the dumb buffer
 * that it draws into. Of the first mapping that a library makes, once it is unmapped or the program
 * ends, writes what tlb-model reads:
 *
 *   DRM_TABLES=FILE    its page tables;
 *   DRM_ACCESSES=FILE  each access to another page than the last two of these, and each first write
 *                      to one of them after a read, which makes all pages but these inaccessible,
 *                      so ask for that in a run of its own. The other accesses hit any TLB; what
 *                      they change in the order in which it replaces entries is lost.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <ucontext.h>
#include <unistd.h>

#include "bo.h"
#include "cli.h"

#define DRM_MAJOR	226
#define MAX_ACCESSES	(64 << 20)
#define WRITE		1	/* in the address of an access */

static uintptr_t start, end;	/* the mapping, while it is there */
static bool done;		/* There was one. */
static uintptr_t accessible[2];	/* pages, the older one first */
static uint32_t *accesses;	/* offsets of pages, and WRITE */
static size_t count;
static struct sigaction old_action;

static bool was_write(uintptr_t page, const ucontext_t *user)
{
#ifdef __x86_64__
	/* Bit 1 of the error code of a page fault */
	(void)page;
	return user->uc_mcontext.gregs[REG_ERR] & 2;
#else
	/* The first fault makes a page readable, so a second one is a write. */
	(void)user;
	return page == accessible[0] || page == accessible[1];
#endif
}

static void on_fault(int signal, siginfo_t *info, void *context)
{
	const uintptr_t page = (uintptr_t)info->si_addr & -BO_PTE_SIZE;
	const bool write = was_write(page, context);

	if (page < start || page >= end || count == MAX_ACCESSES) {
		if (count == MAX_ACCESSES)
			dprintf(STDERR_FILENO, "drm-record: more than %d accesses\n", MAX_ACCESSES);
		/* It happens again, as what it is. */
		sigaction(signal, &old_action, NULL);
		return;
	}
	accesses[count++] = (page - start) | (write ? WRITE : 0);
	if (page != accessible[0] && page != accessible[1]) {
		if (accessible[0])
			mprotect((void *)accessible[0], BO_PTE_SIZE, PROT_NONE);
		accessible[0] = accessible[1];
		accessible[1] = page;
	}
	mprotect((void *)page, BO_PTE_SIZE, write ? PROT_READ | PROT_WRITE : PROT_READ);
}

static void begin(void *addr, size_t length)
{
	const struct sigaction action = { .sa_sigaction = on_fault, .sa_flags = SA_SIGINFO };

	done = true;
	start = (uintptr_t)addr;
	end = start + length;
	if (!getenv("DRM_ACCESSES"))
		return;
	accesses = mmap(NULL, MAX_ACCESSES * sizeof(*accesses), PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (accesses == MAP_FAILED || mprotect(addr, length, PROT_NONE) ||
	    sigaction(SIGSEGV, &action, &old_action)) {
		perror("drm-record");
		_exit(EXIT_FAILURE);
	}
}

static FILE *create_file(const char *variable)
{
	const char *path = getenv(variable);
	FILE *f = path ? fopen(path, "we") : NULL;

	if (path && !f)
		fprintf(stderr, "drm-record: cannot create %s: %s\n", path, strerror(errno));
	return f;
}

static void close_file(FILE *f, const char *variable)
{
	const char *path = getenv(variable);
	int err = close_output(f, path);

	if (err)
		fprintf(stderr, "drm-record: cannot write %s: %s\n", path, strerror(-err));
}

static void finish(void)
{
	FILE *f = create_file("DRM_TABLES");

	if (f) {
		int err = bo_print_tables(f, (void *)start, end - start);

		if (err)
			fprintf(stderr, "drm-record: no page tables: %s\n", strerror(-err));
		close_file(f, "DRM_TABLES");
	}
	f = create_file("DRM_ACCESSES");
	if (f) {
		sigaction(SIGSEGV, &old_action, NULL);
		for (size_t i = 0; i < count; i++)
			fprintf(f, "%" PRIxPTR " %c\n", start + (accesses[i] & ~WRITE),
				accesses[i] & WRITE ? 'w' : 'r');
		close_file(f, "DRM_ACCESSES");
	}
	start = end = 0;
}

/* Not the program itself: it may map the object to look at the picture. */
static bool is_library(const void *caller)
{
	const char *name;
	Dl_info info;

	if (!dladdr(caller, &info) || !info.dli_fname)
		return false;
	name = strrchr(info.dli_fname, '/');
	return strcmp(name ? name + 1 : info.dli_fname, program_invocation_short_name);
}

static bool is_drm(int fd)
{
	struct stat st;

	return fd >= 0 && !fstat(fd, &st) && S_ISCHR(st.st_mode) && major(st.st_rdev) == DRM_MAJOR;
}

void *mmap(void *addr, size_t length, int prot, int flags, int fd, off_t offset)
{
	const void *caller = __builtin_return_address(0);
	void *map = (void *)syscall(SYS_mmap, addr, length, prot, flags, fd, offset);

	if (!done && map != MAP_FAILED && is_drm(fd) && is_library(caller))
		begin(map, length);
	return map;
}

void *mmap64(void *addr, size_t length, int prot, int flags, int fd, off_t offset)
	__attribute__((alias("mmap")));

int munmap(void *addr, size_t length)
{
	if (start && (uintptr_t)addr == start)
		finish();
	return syscall(SYS_munmap, addr, length);
}

__attribute__((destructor))
static void exiting(void)
{
	if (start)
		finish();
}
