// SPDX-License-Identifier: MIT
/**
 * TEST: ttm huge gup
 * Category: Core
 * Mega feature: General Core features
 * Sub-category: Memory management tests
 * Functionality: mmap
 * Description: Whatever wants to hold on to the pages behind a mapping is refused on huge entries
 *              as it is on 4 KiB entries, without a reference to any page; ptrace works as there.
 */
#define _GNU_SOURCE 1
#include <errno.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include <linux/io_uring.h>

#include "ttm_huge.h"

IGT_TEST_DESCRIPTION("No references to pages through huge entries of TTM buffer objects");

#define CHUNK	(64 * KiB)	/* what a pipe takes, and two file system blocks and more */

/*
 * A way to the pages behind an address: returns how many bytes it could use or
 * a negative errno, and lets go of them again.
 */
struct way {
	const char *name;
	long (*use)(const struct way *way, char *addr, size_t length);
	unsigned long command;	/* of gup_test */
	bool writes;		/* out of the pages, to a file or to another process */
	bool pins;		/* rather than takes a reference that nothing counts */
	bool remote;
};

static long or_errno(long ret)
{
	return ret < 0 ? -errno : ret;
}

/* What is at the other side. */
static char buffer[2 * BO_PMD_SIZE];

/* On a disk: tmpfs has no direct I/O. */
static long direct_io(const struct way *way, char *addr, size_t length)
{
	char path[] = "/var/tmp/ttm_huge_gup.XXXXXX";
	long ret;
	int fd;

	igt_require_f(length <= 64 * MiB, "a file of %zu MiB takes too much room\n", length / MiB);
	fd = mkostemp(path, O_CLOEXEC);
	igt_assert_fd(fd);
	unlink(path);
	igt_assert(write(fd, buffer, length) == (ssize_t)length);
	igt_assert_eq(fsync(fd), 0);
	igt_require_f(!fcntl(fd, F_SETFL, O_DIRECT), "no direct I/O in /var/tmp: %s\n",
		      strerror(errno));

	ret = or_errno(way->writes ? pwrite(fd, addr, length, 0) : pread(fd, addr, length, 0));
	close(fd);
	return ret;
}

static long vmsplice_way(const struct way *way, char *addr, size_t length)
{
	(void)way;
	return splice_pages(addr, length);
}

/* From a child. */
static long remote_access(const struct way *way, char *addr, size_t length)
{
	struct iovec local = { .iov_base = buffer, .iov_len = length };
	struct iovec remote = { .iov_base = addr, .iov_len = length };

	return or_errno((way->writes ? process_vm_writev : process_vm_readv)
			(getppid(), &local, 1, &remote, 1, 0));
}

static long fixed_buffer(const struct way *way, char *addr, size_t length)
{
	struct io_uring_params params = { 0 };
	struct iovec iov = { .iov_base = addr, .iov_len = length };
	int ring = syscall(__NR_io_uring_setup, 1, &params);
	long ret;

	(void)way;
	igt_require_f(ring >= 0, "no io_uring: %s\n", strerror(errno));
	ret = or_errno(syscall(__NR_io_uring_register, ring, IORING_REGISTER_BUFFERS, &iov, 1));
	close(ring);
	return ret < 0 ? ret : (long)length;
}

/* The interface of CONFIG_GUP_TEST, which has no header for user space. */
struct gup_request {
	uint64_t get_usec, put_usec;
	uint64_t addr, size;	/* size: in, bytes wanted; out, bytes had */
	uint32_t pages_per_call, gup_flags, test_flags, pages_to_dump[8];
};

#define GUP_TEST(number)	_IOWR('g', number, struct gup_request)
#define GUP_FLAG_WRITE		1

static long kernel_gup(const struct way *way, char *addr, size_t length)
{
	/* All in one call is rounded up to what was asked for, page by page is exact. */
	const size_t steps[] = { length, BO_PTE_SIZE };
	/* It does not say why it stops at the first page. */
	long had = -EFAULT;
	int fd = open("/sys/kernel/debug/gup_test", O_RDWR | O_CLOEXEC);

	igt_require_f(fd >= 0, "no gup_test: CONFIG_GUP_TEST and debugfs are needed\n");
	for (size_t i = 0; i < ARRAY_SIZE(steps); i++) {
		struct gup_request request = {
			.addr = (uintptr_t)addr,
			.size = length,
			.pages_per_call = steps[i] / BO_PTE_SIZE,
			.gup_flags = GUP_FLAG_WRITE,
		};

		igt_assert_eq(ioctl(fd, way->command, &request), 0);
		if (request.size)
			had = request.size;
	}
	close(fd);
	return had;
}

static const struct way ways[] = {
	{ "o-direct-read", direct_io, .pins = true },
	{ "o-direct-write", direct_io, .writes = true, .pins = true },
	{ "vmsplice", vmsplice_way, .pins = false },
	{ "process-vm-readv", remote_access, .pins = true, .remote = true },
	{ "process-vm-writev", remote_access, .writes = true, .pins = true, .remote = true },
	{ "io-uring-fixed-buffer", fixed_buffer, .pins = true },
	{ "gup-fast", kernel_gup, .command = GUP_TEST(1) },
	{ "pin-fast", kernel_gup, .command = GUP_TEST(2), .pins = true },
	{ "pin-longterm", kernel_gup, .command = GUP_TEST(3), .pins = true },
	{ "gup-slow", kernel_gup, .command = GUP_TEST(4) },
	{ "pin-slow", kernel_gup, .command = GUP_TEST(5), .pins = true },
};

struct pins {
	uint64_t taken, held;
};

static struct pins count_pins(void)
{
	static const char * const names[] = { "nr_foll_pin_acquired", "nr_foll_pin_released" };
	uint64_t values[ARRAY_SIZE(names)];

	/* Adds up what the processors have counted for themselves. */
	igt_assert_eq(write_value("/proc/sys/vm/stat_refresh", "1"), 0);
	igt_assert(read_vmstat(names, values, ARRAY_SIZE(names)));
	return (struct pins){ .taken = values[0], .held = values[0] - values[1] };
}

/* That the way leads somewhere at all: ordinary memory is not refused. */
static void check_ordinary_memory(char *ordinary, const struct way *way)
{
	uint64_t before = count_pins().taken;
	long ret = way->use(way, ordinary, CHUNK);

	igt_assert_f(ret == (long)CHUNK, "%s of ordinary memory: %ld, expected %ld\n", way->name,
		     ret, (long)CHUNK);
	igt_assert_f(!way->pins || count_pins().taken > before,
		     "%s pins ordinary memory, but nr_foll_pin_acquired does not count it\n",
		     way->name);
}

/*
 * The counters are the whole system's, and others pin pages as well: igt_runner, when it writes
 * results, and whoever does I/O on behalf of the test. They let go of them soon; pages
 * that a refused access has taken are held, once more each time.
 */
#define ATTEMPTS	50
#define PAUSE_US	20000

struct mappings {
	struct view view, small;	/* each with CHUNK bytes of ordinary memory below it */
};

static struct view map_above_memory(const struct target *target, const struct bo *bo)
{
	/* Room for that memory, at a distance from the boundary that keeps the view congruent. */
	char *room = free_address(BO_PMD_SIZE + bo->size, BO_PUD_SIZE, BO_PUD_SIZE - BO_PMD_SIZE);
	char *addr = room + BO_PMD_SIZE;

	igt_assert(mmap(addr - CHUNK, CHUNK, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS |
			MAP_POPULATE | MAP_FIXED_NOREPLACE, -1, 0) == addr - CHUNK);
	return map_part(target, bo, 0, addr, bo->size, PROT_READ | PROT_WRITE, MAP_FIXED_NOREPLACE);
}

static void assert_untouched(const struct mappings *m)
{
	assert_levels(&m->view, HUGE_PUD);
	assert_levels(&m->small, HUGE_NONE);
	assert_contents(&m->view, view_step(&m->view), 1);
}

static struct mappings set_up(const struct target *target)
{
	const struct bo *bo = target_new_bo(target, size_of_all_levels(target));
	struct mappings m = { map_above_memory(target, bo), map_above_memory(target, bo) };

	igt_assert_eq(madvise(m.small.addr, m.small.length, MADV_NOHUGEPAGE), 0);
	/* Nothing of what follows may need a fault. */
	touch(&m.view, true);
	touch(&m.small, true);
	fill(&m.view, view_step(&m.view), 1);
	assert_untouched(&m);
	return m;
}

/* Of a buffer that begins @below bytes, in ordinary memory, before @offset of the object. */
static void check_refused(const struct mappings *m, const struct way *way, uint64_t offset,
			  size_t length, size_t below)
{
	const struct view *view = &m->view;
	const char *from = below ? " from the page below on" : "";
	char *addr = view->addr + offset - below;
	uint64_t before, pins = 1;
	long found, expected;

	expected = way->use(way, m->small.addr + offset - below, length);
	view_assert_at(view, offset, below ? expected < (long)length : expected == -EFAULT,
		       "%s of %zu KiB%s through 4 KiB entries: %ld, expected %s", way->name,
		       length / KiB, from, expected, below ? "less" : "EFAULT");
	found = way->use(way, addr, length);
	view_assert_at(view, offset, found == expected,
		       "%s of %zu KiB%s through a %s entry: %ld, expected %ld as with 4 KiB "
		       "entries", way->name, length / KiB, from,
		       bo_level_name(expected_level(view, offset, HUGE_PUD)), found, expected);
	for (int i = 0; pins && i < ATTEMPTS; i++) {
		usleep(i ? PAUSE_US : 0);
		before = count_pins().held;
		way->use(way, addr, length);
		pins = count_pins().held - before;
	}
	view_assert_at(view, offset, !pins, "%s%s was refused, but %" PRIu64 " pages stay pinned",
		       way->name, from, pins);
}

static void check_way(const struct mappings *m, const struct way *way)
{
	const uint64_t length = m->view.length;
	/* The first page of a piece of the page pool is the only one with a count of its own. */
	const uint64_t offsets[] = {
		0, BO_PMD_SIZE - BO_PTE_SIZE, BO_PMD_SIZE + CHUNK, length / 2 & ~(BO_PMD_SIZE - 1),
		(length & ~(BO_PMD_SIZE - 1)) - BO_PMD_SIZE, length - BO_PTE_SIZE,
	};

	check_ordinary_memory(m->view.addr - CHUNK, way);
	for (size_t i = 0; i < ARRAY_SIZE(offsets); i++) {
		check_refused(m, way, offsets[i], BO_PTE_SIZE, 0);
		if (offsets[i] + CHUNK <= length)
			check_refused(m, way, offsets[i], CHUNK, 0);
	}
	check_refused(m, way, 0, 2 * BO_PMD_SIZE, 0);
	check_refused(m, way, 0, 2 * BO_PTE_SIZE, BO_PTE_SIZE);
}

/**
 * SUBTEST: %s
 * Description: %arg[1] of a mapped object is refused at every level with the errno of 4 KiB
 *              entries. No page is pinned, not even for a moment, no entry changes, and neither
 *              does the object. Ordinary memory is accepted.
 *
 * arg[1]:
 *
 * @o-direct-read:		Direct I/O from a file into it
 * @o-direct-write:		Direct I/O to a file out of it
 * @vmsplice:			vmsplice() to a pipe
 * @process-vm-readv:		process_vm_readv() from another process
 * @process-vm-writev:		process_vm_writev() from another process
 * @io-uring-fixed-buffer:	Registration as a fixed buffer
 * @gup-fast:			get_user_pages_fast()
 * @pin-fast:			pin_user_pages_fast()
 * @pin-longterm:		pin_user_pages(FOLL_LONGTERM)
 * @gup-slow:			get_user_pages()
 * @pin-slow:			pin_user_pages()
 */
static void test_way(const struct target *target, const void *member)
{
	const struct way *way = member;
	struct mappings m = set_up(target);

	igt_fork(child, way->remote)
		check_way(&m, way);
	igt_waitchildren();
	if (!way->remote)
		check_way(&m, way);
	assert_untouched(&m);
}

static int write_by_ptrace(pid_t pid, void *addr, uint64_t word)
{
	errno = 0;
	ptrace(PTRACE_POKEDATA, pid, addr, word);
	return -errno;
}

/* A way of reading and writing another process's memory, and what it answers. */
static const struct access {
	const char *name;
	int (*read)(pid_t pid, const void *addr, uint64_t *word);
	int (*write)(pid_t pid, void *addr, uint64_t word);
	bool attach;		/* which stops that process meanwhile */
} accesses[] = {
	{ "ptrace", read_by_ptrace, write_by_ptrace, .attach = true },
	{ "proc-mem", read_mem, write_mem, .attach = false },
};

struct answer {
	int read, write;
};

/* At byte @offset of @view, through the @level entry that maps it at @addr. */
static struct answer access_word(const struct view *view, uint64_t offset, char *addr,
				 const char *level, const struct access *access)
{
	volatile uint64_t *word = (volatile uint64_t *)(view->addr + offset);
	uint64_t before = *word, found = before;
	struct answer answer = { .read = access->read(getppid(), addr, &found) };

	answer.write = access->write(getppid(), addr, ~before);
	view_assert_at(view, offset, *word == (answer.write ? before : ~before),
		       "writing through a %s entry said %d, found %#" PRIx64 ", before %#" PRIx64,
		       level, answer.write, *word, before);
	view_assert_at(view, offset, answer.read || found == before, "read %#" PRIx64
		       " through a %s entry, expected %#" PRIx64, found, level, before);
	*word = before;
	return answer;
}

static void check_access(const struct mappings *m, uint64_t offset, const struct access *access)
{
	const struct view *view = &m->view;
	const char *level = bo_level_name(expected_level(view, offset, HUGE_PUD));
	struct answer small = access_word(view, offset, m->small.addr + offset, "4 KiB", access);
	struct answer huge = access_word(view, offset, view->addr + offset, level, access);

	view_assert_at(view, offset, huge.read == small.read && huge.write == small.write,
		       "through a %s entry reading says %d and writing %d, expected %d and %d "
		       "as with 4 KiB entries", level, huge.read, huge.write, small.read,
		       small.write);
	/* The kernel maps system memory itself; VRAM takes a driver that can read it. */
	view_assert_at(view, offset, on_vram(view->target) || (!huge.read && !huge.write),
		       "reading says %d and writing %d, expected both to work", huge.read,
		       huge.write);
}

/**
 * SUBTEST: ptrace
 * Description: PTRACE_PEEKDATA and PTRACE_POKEDATA give the same answer on entries of every level:
 *              the word for system memory, for VRAM whatever the driver can do.
 *
 * SUBTEST: proc-mem
 * Description: The same for reading and writing /proc/PID/mem.
 */
static void test_access(const struct target *target, const void *member)
{
	const struct access *access = member;
	const struct mappings m = set_up(target);
	const uint64_t end = m.view.length;
	const uint64_t offsets[] = { 0, BO_PMD_SIZE + BO_PTE_SIZE + 8, end - BO_PMD_SIZE, end - 8 };

	fork_and_wait() {
		if (access->attach)
			attach_to(getppid());
		for (size_t i = 0; i < ARRAY_SIZE(offsets); i++)
			check_access(&m, offsets[i], access);
		if (access->attach)
			detach_from(getppid());
	}
	assert_untouched(&m);
}

static const struct subtest subtests[] = {
	{ "%s", "Refused, without a reference to a page", .test_member = test_way, FAMILY(ways) },
	{ "%s", "Shows another process what it shows through 4 KiB entries",
	  .test_member = test_access, FAMILY(accesses) },
};

int igt_main()
{
	run_test(subtests);
}
