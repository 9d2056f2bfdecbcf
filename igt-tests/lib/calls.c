// SPDX-License-Identifier: MIT
#define _GNU_SOURCE 1
#include "calls.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <linux/io_uring.h>
#include <linux/mempolicy.h>
#include <linux/userfaultfd.h>

#include "bo.h"
#include "igt.h"
#include "kernel.h"

/* For C libraries and headers that are older than the kernel */
#ifndef MADV_DONTNEED_LOCKED
#define MADV_DONTNEED_LOCKED	24
#endif
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE		25
#endif
#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL	102
#define MADV_GUARD_REMOVE	103
#endif
#ifndef UFFD_FEATURE_WP_ASYNC
#define UFFD_FEATURE_WP_ASYNC	(1 << 15)
#endif
#ifndef PR_SET_VMA
#define PR_SET_VMA		0x53564d41
#define PR_SET_VMA_ANON_NAME	0
#endif

#define PAGE	BO_PTE_SIZE

static int error_of(long ret)
{
	return ret < 0 ? errno : 0;
}

static int advise(char *addr, size_t length, int advice)
{
	return error_of(madvise(addr, length, advice));
}

/*
 * Both halves of it at once, for a process that is this one by chance. Not for advice that changes
 * a flag: the first half would become a VMA of its own, and these are never merged again.
 */
static int advise_process(char *addr, size_t length, int advice)
{
	size_t half = length / 2 / PAGE * PAGE;
	struct iovec vec[] = { { addr, half }, { addr + half, length - half } };
	int pidfd = syscall(SYS_pidfd_open, getpid(), 0), error;
	ssize_t done;

	if (pidfd < 0)
		return errno;
	done = half ? process_madvise(pidfd, vec, 2, advice, 0) :
		      process_madvise(pidfd, vec + 1, 1, advice, 0);
	error = error_of(done);
	close(pidfd);
	return !error && done != (ssize_t)length ? EIO : error;
}

static int lock(char *addr, size_t length, int flags)
{
	return error_of(mlock2(addr, length, flags));
}

static int unlock(char *addr, size_t length, int arg)
{
	(void)arg;
	return error_of(munlock(addr, length));
}

static int sync_file(char *addr, size_t length, int flags)
{
	return error_of(msync(addr, length, flags));
}

static int ask_core(char *addr, size_t length, int arg)
{
	unsigned char *vec = malloc(length / PAGE);
	int error = vec ? error_of(mincore(addr, length, vec)) : ENOMEM;

	(void)arg;
	free(vec);
	return error;
}

/*
 * mremap()
 */

static int error_of_map(const void *map)
{
	return map == MAP_FAILED ? errno : 0;
}

static int grow(char *addr, size_t length, int flags)
{
	return error_of_map(mremap(addr, length, length + PAGE, flags));
}

static int duplicate(char *addr, size_t length, int flags)
{
	return error_of_map(mremap(addr, 0, length, flags));
}

static int leave_behind(char *addr, size_t length, int flags)
{
	return error_of_map(mremap(addr, length, length, flags, NULL));
}

/* To give rights along is not allowed. */
static int remap_pages(char *addr, size_t length, int prot)
{
	return error_of(syscall(SYS_remap_file_pages, addr, length, prot, 0, 0));
}

/*
 * Nodes
 */

static long bind_to_node(char *addr, size_t length, int mode, int flags)
{
	unsigned long nodes = 1;

	return mode == MPOL_DEFAULT ? syscall(SYS_mbind, addr, length, mode, NULL, 0, flags) :
				      syscall(SYS_mbind, addr, length, mode, &nodes, 64, flags);
}

/* MPOL_MF_STRICT has the kernel look at all entries, although it can move nothing. */
static int bind_strictly(char *addr, size_t length, int flags)
{
	return error_of(bind_to_node(addr, length, MPOL_BIND, MPOL_MF_STRICT | flags));
}

static int bind_by_default(char *addr, size_t length, int flags)
{
	return error_of(bind_to_node(addr, length, MPOL_DEFAULT, flags));
}

/* ENOENT if the policy that comes before has none to set */
static int set_home(char *addr, size_t length, int mode)
{
	if (bind_to_node(addr, length, mode, 0))
		return errno;
	return error_of(syscall(__NR_set_mempolicy_home_node, addr, length, 0, 0));
}

/* Of the first and the last page, the answers are in an array. */
static int move_to_node(char *addr, size_t length, int move)
{
	void *pages[] = { addr, addr + length - PAGE };
	int nodes[] = { 0, 0 }, status[] = { 0, 0 };

	if (syscall(SYS_move_pages, 0, 2, pages, move ? nodes : NULL, status, MPOL_MF_MOVE))
		return errno;
	return status[0] == status[1] ? -status[0] : EIO;
}

/*
 * Pages that others want to hold, or to know of
 */

static int register_buffer(char *addr, size_t length, int arg)
{
	struct iovec buffer = { addr, length < 16 * PAGE ? length : 16 * PAGE };
	struct io_uring_params params = { 0 };
	int ring = syscall(SYS_io_uring_setup, 1, &params), error;

	(void)arg;
	if (ring < 0)
		return errno;
	error = error_of(syscall(SYS_io_uring_register, ring, IORING_REGISTER_BUFFERS, &buffer, 1));
	close(ring);
	return error;
}

/* WP_ASYNC takes any other mapping. */
static int register_fault(char *addr, size_t length, int mode)
{
	struct uffdio_api api = {
		.api = UFFD_API,
		.features = mode == UFFDIO_REGISTER_MODE_WP ? UFFD_FEATURE_WP_ASYNC : 0,
	};
	struct uffdio_register range = {
		.range = { (uintptr_t)addr, length },
		.mode = mode,
	};
	int fd = syscall(SYS_userfaultfd, O_CLOEXEC), error;

	if (fd < 0)
		return errno;
	error = ioctl(fd, UFFDIO_API, &api) ? ENOSYS : error_of(ioctl(fd, UFFDIO_REGISTER, &range));
	close(fd);
	return error;
}

static int copy_process(char *addr, size_t length, int write)
{
	uint64_t word = 0;
	struct iovec local = { &word, sizeof(word) }, remote = { addr + length / 2, sizeof(word) };

	return error_of(write ? process_vm_writev(getpid(), &local, 1, &remote, 1, 0) :
				process_vm_readv(getpid(), &local, 1, &remote, 1, 0));
}

static int show_maps(char *addr, size_t length, int arg)
{
	(void)addr;
	(void)length;
	(void)arg;
	read_maps();
	return 0;
}

/* There is no page to tell of (bit 63), nor a swap entry (bit 62). */
static int show_pages(char *addr, size_t length, int arg)
{
	size_t count = length / PAGE < 64 ? length / PAGE : 64;
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC), error = 0;
	uint64_t words[64];

	(void)arg;
	if (fd < 0)
		return errno;
	if (pread(fd, words, count * 8, (uintptr_t)addr / PAGE * 8) != (ssize_t)count * 8)
		error = EIO;
	for (size_t i = 0; i < count && !error; i++)
		error = words[i] >> 62 ? EBADMSG : 0;
	close(fd);
	return error;
}

static int set_name(char *addr, size_t length, int arg)
{
	(void)arg;
	return error_of(prctl(PR_SET_VMA, PR_SET_VMA_ANON_NAME, addr, length, "object"));
}

#define ADVICE(advice, ...)	{ #advice, advise, advice, __VA_ARGS__ }
#define BY_PROCESS(advice, ...)	{ "process_madvise " #advice, advise_process, advice, __VA_ARGS__ }

/* MADV_DONTFORK changes what a child has; MADV_HWPOISON and MADV_SOFT_OFFLINE take pages away. */
const struct call calls[] = {
	ADVICE(MADV_NORMAL, .expected = 0),
	ADVICE(MADV_RANDOM, .expected = 0),
	ADVICE(MADV_SEQUENTIAL, .expected = 0),
	ADVICE(MADV_WILLNEED, .expected = 0),
	ADVICE(MADV_DONTNEED, .expected = EINVAL),
	ADVICE(MADV_DONTNEED_LOCKED, .expected = EINVAL),
	ADVICE(MADV_FREE, .expected = EINVAL),
	ADVICE(MADV_REMOVE, .expected = ENODEV),
	ADVICE(MADV_DOFORK, .expected = EINVAL),
	ADVICE(MADV_MERGEABLE, .expected = 0, .missing = EINVAL),
	ADVICE(MADV_UNMERGEABLE, .expected = 0, .missing = EINVAL),
	ADVICE(MADV_HUGEPAGE, .expected = 0),
	ADVICE(MADV_NOHUGEPAGE, .expected = 0),
	ADVICE(MADV_COLLAPSE, .expected = EINVAL),
	ADVICE(MADV_DONTDUMP, .expected = 0),
	ADVICE(MADV_DODUMP, .expected = EINVAL),
	ADVICE(MADV_WIPEONFORK, .expected = EINVAL),
	ADVICE(MADV_KEEPONFORK, .expected = 0),
	ADVICE(MADV_COLD, .expected = EINVAL),
	ADVICE(MADV_PAGEOUT, .expected = EINVAL),
	ADVICE(MADV_POPULATE_READ, .expected = 0, .right = PROT_READ),
	ADVICE(MADV_POPULATE_WRITE, .expected = 0, .right = PROT_WRITE),
	ADVICE(MADV_GUARD_INSTALL, .expected = EINVAL),
	ADVICE(MADV_GUARD_REMOVE, .expected = EINVAL),
	BY_PROCESS(MADV_KEEPONFORK, .expected = 0),
	BY_PROCESS(MADV_WILLNEED, .expected = 0),
	BY_PROCESS(MADV_DONTNEED, .expected = EINVAL),
	BY_PROCESS(MADV_PAGEOUT, .expected = EINVAL),
	/* Nothing is locked, so nothing has to be faulted in. */
	{ "mlock2", lock, 0, .expected = 0 },
	{ "mlock2 MLOCK_ONFAULT", lock, MLOCK_ONFAULT, .expected = 0 },
	{ "munlock", unlock, .expected = 0 },
	{ "msync MS_ASYNC", sync_file, MS_ASYNC, .expected = 0 },
	{ "msync MS_INVALIDATE", sync_file, MS_INVALIDATE, .expected = 0 },
	{ "msync MS_SYNC", sync_file, MS_SYNC, .expected = EINVAL },
	{ "mincore", ask_core, .expected = 0 },
	{ "mremap to grow", grow, 0, .expected = EFAULT, .sealed = EPERM },
	{ "mremap to grow elsewhere", grow, MREMAP_MAYMOVE, .expected = EFAULT, .sealed = EPERM },
	{ "mremap of no bytes", duplicate, MREMAP_MAYMOVE, .expected = EFAULT, .sealed = EPERM },
	{ "mremap MREMAP_DONTUNMAP", leave_behind, MREMAP_MAYMOVE | MREMAP_DONTUNMAP,
	  .expected = EINVAL, .sealed = EPERM },
	{ "remap_file_pages with rights", remap_pages, PROT_READ, .expected = EINVAL },
	{ "mbind MPOL_MF_STRICT", bind_strictly, 0, .expected = 0, .missing = ENOSYS },
	{ "mbind MPOL_MF_MOVE", bind_strictly, MPOL_MF_MOVE, .expected = 0, .missing = ENOSYS },
	{ "mbind MPOL_DEFAULT", bind_by_default, .expected = 0, .missing = ENOSYS },
	{ "set_mempolicy_home_node", set_home, MPOL_BIND, .expected = 0, .missing = ENOSYS },
	{ "set_mempolicy_home_node without a policy", set_home, MPOL_DEFAULT,
	  .expected = ENOENT, .missing = ENOSYS },
	{ "move_pages", move_to_node, true, .expected = EFAULT, .missing = ENOSYS },
	{ "move_pages that asks", move_to_node, false, .expected = ENOENT, .missing = ENOSYS },
	{ "io_uring_register", register_buffer, .expected = EFAULT, .missing = ENOSYS },
	{ "userfaultfd for missing pages", register_fault, UFFDIO_REGISTER_MODE_MISSING,
	  .expected = EINVAL, .missing = ENOSYS },
	{ "userfaultfd for writes", register_fault, UFFDIO_REGISTER_MODE_WP,
	  .expected = EINVAL, .missing = ENOSYS },
	{ "process_vm_readv", copy_process, false, .expected = EFAULT, .missing = ENOSYS },
	{ "process_vm_writev", copy_process, true, .expected = EFAULT, .missing = ENOSYS },
	{ "PR_SET_VMA_ANON_NAME", set_name, .expected = EBADF, .missing = EINVAL },
	{ "smaps and numa_maps", show_maps, .expected = 0 },
	{ "pagemap", show_pages, .expected = 0, .missing = ENOENT },
};

const size_t call_count = ARRAY_SIZE(calls);
