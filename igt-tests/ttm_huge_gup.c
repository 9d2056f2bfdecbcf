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
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>

#include <linux/io_uring.h>

#include "ttm_huge.h"

IGT_TEST_DESCRIPTION("No references to pages through huge entries of TTM buffer objects");

#define CHUNK	(64 * KiB)	/* what a pipe takes, and two file system blocks and more */

/*
 * Ways to the pages behind an address. Each returns how many bytes it could use or
 * a negative errno, and lets go of them again.
 */

/* On a disk: tmpfs has no direct I/O. */
static long direct_io(char *addr, size_t length, bool write_it)
{
	char path[] = "/var/tmp/ttm_huge_gup.XXXXXX", *zeroes = calloc(1, length);
	int fd = mkostemp(path, O_CLOEXEC);
	long ret;

	igt_assert_fd(fd);
	unlink(path);
	igt_assert(write(fd, zeroes, length) == (ssize_t)length);
	free(zeroes);
	igt_assert_eq(fsync(fd), 0);
	igt_require_f(!fcntl(fd, F_SETFL, O_DIRECT), "no direct I/O in /var/tmp: %s\n",
		      strerror(errno));

	ret = write_it ? pwrite(fd, addr, length, 0) : pread(fd, addr, length, 0);
	if (ret < 0)
		ret = -errno;
	close(fd);
	return ret;
}

static long direct_read(char *addr, size_t length)
{
	return direct_io(addr, length, false);
}

static long direct_write(char *addr, size_t length)
{
	return direct_io(addr, length, true);
}

static long splice_pages(char *addr, size_t length)
{
	struct iovec iov = { .iov_base = addr, .iov_len = length };
	int fds[2];
	long ret;

	igt_assert_eq(pipe2(fds, O_CLOEXEC), 0);
	ret = vmsplice(fds[1], &iov, 1, SPLICE_F_NONBLOCK);
	if (ret < 0)
		ret = -errno;
	close(fds[0]);
	close(fds[1]);
	return ret;
}

/* The other process of process_vm_readv() and process_vm_writev(). */
static pid_t remote_pid;

static long remote_access(typeof(process_vm_readv) *access, char *addr, size_t length)
{
	char *buffer = calloc(1, length);
	struct iovec local = { .iov_base = buffer, .iov_len = length };
	struct iovec remote = { .iov_base = addr, .iov_len = length };
	long ret;

	ret = access(remote_pid, &local, 1, &remote, 1, 0);
	if (ret < 0)
		ret = -errno;
	free(buffer);
	return ret;
}

static long remote_read(char *addr, size_t length)
{
	return remote_access(process_vm_readv, addr, length);
}

static long remote_write(char *addr, size_t length)
{
	return remote_access(process_vm_writev, addr, length);
}

static long fixed_buffer(char *addr, size_t length)
{
	struct io_uring_params params = { 0 };
	struct iovec iov = { .iov_base = addr, .iov_len = length };
	int ring = syscall(__NR_io_uring_setup, 1, &params);
	long ret;

	igt_require_f(ring >= 0, "no io_uring: %s\n", strerror(errno));
	ret = syscall(__NR_io_uring_register, ring, IORING_REGISTER_BUFFERS, &iov, 1);
	ret = ret < 0 ? -errno : (long)length;
	close(ring);
	return ret;
}

/* The interface of CONFIG_GUP_TEST, which has no header for user space. */
struct gup_request {
	uint64_t get_usec, put_usec;
	uint64_t addr, size;	/* size: in, bytes wanted; out, bytes had */
	uint32_t pages_per_call;
	uint32_t gup_flags;
	uint32_t test_flags;
	uint32_t pages_to_dump[8];
};

#define GUP_FAST		_IOWR('g', 1, struct gup_request)
#define PIN_FAST		_IOWR('g', 2, struct gup_request)
#define PIN_LONGTERM		_IOWR('g', 3, struct gup_request)
#define GUP_SLOW		_IOWR('g', 4, struct gup_request)
#define PIN_SLOW		_IOWR('g', 5, struct gup_request)
#define GUP_FLAG_WRITE		1

static long kernel_gup_by(size_t step, unsigned long command, char *addr, size_t length)
{
	struct gup_request request = {
		.addr = (uintptr_t)addr,
		.size = length,
		.pages_per_call = step / BO_PTE_SIZE,
		.gup_flags = GUP_FLAG_WRITE,
	};
	int fd = open("/sys/kernel/debug/gup_test", O_RDWR | O_CLOEXEC);
	int ret;

	igt_require_f(fd >= 0, "no gup_test: CONFIG_GUP_TEST and debugfs are needed\n");
	ret = ioctl(fd, command, &request);
	close(fd);
	igt_assert_eq(ret, 0);
	return request.size;
}

static long kernel_gup(unsigned long command, char *addr, size_t length)
{
	/* All in one call is rounded up to what was asked for, page by page is exact. */
	long at_once = kernel_gup_by(length, command, addr, length);
	long exact = kernel_gup_by(BO_PTE_SIZE, command, addr, length);

	if (exact || at_once)
		return exact ? exact : at_once;
	/* It does not say why it stopped at the first page. */
	return -EFAULT;
}

static long gup_fast(char *addr, size_t length)
{
	return kernel_gup(GUP_FAST, addr, length);
}

static long pin_fast(char *addr, size_t length)
{
	return kernel_gup(PIN_FAST, addr, length);
}

static long pin_longterm(char *addr, size_t length)
{
	return kernel_gup(PIN_LONGTERM, addr, length);
}

static long gup_slow(char *addr, size_t length)
{
	return kernel_gup(GUP_SLOW, addr, length);
}

static long pin_slow(char *addr, size_t length)
{
	return kernel_gup(PIN_SLOW, addr, length);
}

static const struct way {
	const char *name;
	long (*use)(char *addr, size_t length);
	bool pins;	/* rather than takes a reference that nothing counts */
	bool remote;
} ways[] = {
	{ "o-direct-read", direct_read, .pins = true },
	{ "o-direct-write", direct_write, .pins = true },
	{ "vmsplice", splice_pages, .pins = false },
	{ "process-vm-readv", remote_read, .pins = true, .remote = true },
	{ "process-vm-writev", remote_write, .pins = true, .remote = true },
	{ "io-uring-fixed-buffer", fixed_buffer, .pins = true },
	{ "gup-fast", gup_fast, .pins = false },
	{ "pin-fast", pin_fast, .pins = true },
	{ "pin-longterm", pin_longterm, .pins = true },
	{ "gup-slow", gup_slow, .pins = false },
	{ "pin-slow", pin_slow, .pins = true },
};

static uint64_t vmstat(const char *name)
{
	FILE *f;
	char line[128], key[64];
	uint64_t value = 0, found;

	/* Reading this file adds up what the processors have counted for themselves. */
	f = fopen("/proc/sys/vm/stat_refresh", "re");
	igt_assert(f);
	(void)!fgets(line, sizeof(line), f);
	fclose(f);

	f = fopen("/proc/vmstat", "re");
	igt_assert(f);
	while (fgets(line, sizeof(line), f))
		if (sscanf(line, "%63s %" SCNu64, key, &found) == 2 && !strcmp(key, name))
			value = found;
	fclose(f);
	return value;
}

static uint64_t pins_taken(void)
{
	return vmstat("nr_foll_pin_acquired");
}

static uint64_t pins_held(void)
{
	return pins_taken() - vmstat("nr_foll_pin_released");
}

/* That the way leads somewhere at all: ordinary memory is not refused. */
static void check_ordinary_memory(char *ordinary, const struct way *way)
{
	uint64_t before = pins_taken();
	long ret = way->use(ordinary, CHUNK);

	igt_assert_f(ret == (long)CHUNK, "%s of ordinary memory: %ld, expected %ld\n", way->name,
		     ret, (long)CHUNK);
	igt_assert_f(!way->pins || pins_taken() > before,
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

static void check_refused(const struct view *view, const struct view *small,
			  const struct way *way, uint64_t offset, size_t length)
{
	uint64_t before, pins;
	long found, expected;
	int i;

	if (offset + length > view->length)
		return;

	expected = way->use(small->addr + offset, length);
	igt_assert_f(expected == -EFAULT,
		     "%s: object of %" PRIu64 " KiB, offset %#" PRIx64
		     ": %s of %zu KiB through 4 KiB entries: %ld, expected EFAULT\n",
		     view->target->name, view->bo->size / KiB, offset, way->name, length / KiB,
		     expected);

	found = way->use(view->addr + offset, length);
	igt_assert_f(found == expected,
		     "%s: object of %" PRIu64 " KiB, offset %#" PRIx64
		     ": %s of %zu KiB through a %s entry: %ld, expected %ld as with 4 KiB entries\n",
		     view->target->name, view->bo->size / KiB, offset, way->name, length / KiB,
		     bo_level_name(expected_level(view, offset, HUGE_PUD)), found, expected);

	for (i = 0, pins = 1; pins && i < ATTEMPTS; i++) {
		if (i)
			usleep(PAUSE_US);
		before = pins_held();
		way->use(view->addr + offset, length);
		pins = pins_held() - before;
	}
	igt_assert_f(!pins,
		     "%s: object of %" PRIu64 " KiB, offset %#" PRIx64
		     ": %s was refused, but %" PRIu64 " pages stay pinned\n",
		     view->target->name, view->bo->size / KiB, offset, way->name, pins);
}

/* A buffer that begins in ordinary memory, right below the object. */
static void check_from_below(const struct view *view, const struct view *small,
			     const struct way *way)
{
	const size_t length = 2 * BO_PTE_SIZE;
	uint64_t before;
	long found, expected;
	int i = 0;

	expected = way->use(small->addr - BO_PTE_SIZE, length);
	igt_assert_f(expected < (long)length, "%s: %s goes on into the object: %ld\n",
		     view->target->name, way->name, expected);
	found = way->use(view->addr - BO_PTE_SIZE, length);
	igt_assert_f(found == expected,
		     "%s: object of %" PRIu64 " KiB, offset 0: %s from the page below on into a %s "
		     "entry: %ld, expected %ld as with 4 KiB entries\n",
		     view->target->name, view->bo->size / KiB, way->name,
		     bo_level_name(expected_level(view, 0, HUGE_PUD)), found, expected);
	do {
		if (i)
			usleep(PAUSE_US);
		before = pins_held();
		way->use(view->addr - BO_PTE_SIZE, length);
	} while (pins_held() != before && ++i < ATTEMPTS);
	igt_assert_f(i < ATTEMPTS, "%s: object of %" PRIu64 " KiB: %s never lets go of pages\n",
		     view->target->name, view->bo->size / KiB, way->name);
}

/* A mapping of @bo with a page of ordinary memory below it. */
static struct view map_above_page(const struct target *target, const struct bo *bo)
{
	/* Room for the page, at a distance from the boundary that keeps the view congruent. */
	char *room = free_address(BO_PMD_SIZE + bo->size, BO_PUD_SIZE, BO_PUD_SIZE - BO_PMD_SIZE);
	char *addr = room + BO_PMD_SIZE, *page = addr - BO_PTE_SIZE;

	igt_assert(mmap(page, BO_PTE_SIZE, PROT_READ | PROT_WRITE,
			MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) == page);
	*page = 1;
	return map_part(target, bo, 0, addr, bo->size, PROT_READ | PROT_WRITE,
			MAP_FIXED_NOREPLACE);
}

struct mappings {
	struct bo bo;
	struct view view, small;
	char *ordinary;		/* CHUNK bytes that nobody refuses to use */
};

static void set_up(struct mappings *m, const struct target *target)
{
	m->bo = target_bo(target, size_of_all_levels(target));
	m->view = map_above_page(target, &m->bo);
	m->small = map_above_page(target, &m->bo);
	igt_assert_eq(madvise(m->small.addr, m->small.length, MADV_NOHUGEPAGE), 0);
	m->ordinary = mmap(NULL, CHUNK, PROT_READ | PROT_WRITE,
			   MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	igt_assert(m->ordinary != MAP_FAILED);

	/* Nothing of what follows may need a fault. */
	touch(&m->view, true);
	touch(&m->small, true);
	fill(&m->view, view_step(&m->view), 1);
	assert_levels(&m->view, HUGE_PUD);
	assert_levels(&m->small, HUGE_NONE);
}

static void assert_untouched(const struct mappings *m)
{
	assert_levels(&m->view, HUGE_PUD);
	assert_levels(&m->small, HUGE_NONE);
	assert_contents(&m->view, view_step(&m->view), 1);
}

static void check_way(const struct mappings *m, const struct way *way)
{
	const struct view *view = &m->view, *small = &m->small;
	/* The first page of a piece of the page pool is the only one with a count of its own. */
	const uint64_t offsets[] = {
		0,
		BO_PMD_SIZE - BO_PTE_SIZE,
		BO_PMD_SIZE + CHUNK,
		view->length / 2 & ~(BO_PMD_SIZE - 1),
		(view->length & ~(BO_PMD_SIZE - 1)) - BO_PMD_SIZE,
		view->length - BO_PTE_SIZE,
	};

	check_ordinary_memory(m->ordinary, way);
	for (size_t i = 0; i < ARRAY_SIZE(offsets); i++) {
		check_refused(view, small, way, offsets[i], BO_PTE_SIZE);
		check_refused(view, small, way, offsets[i], CHUNK);
	}
	check_refused(view, small, way, 0, 2 * BO_PMD_SIZE);
	check_from_below(view, small, way);
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
static void test_way(const struct target *target, const struct way *way)
{
	struct mappings m;

	set_up(&m, target);
	if (way->remote) {
		igt_fork(child, 1) {
			remote_pid = getppid();
			check_way(&m, way);
		}
		igt_waitchildren();
	} else {
		check_way(&m, way);
	}
	assert_untouched(&m);
	assert_no_kernel_warning(target);
}

/* What one way of reading and writing another process's memory answers, and what it read. */
struct answer {
	long read, write;
	uint64_t word;
};

static struct answer ptrace_access(pid_t pid, char *addr, uint64_t word)
{
	struct answer answer;

	errno = 0;
	answer.word = ptrace(PTRACE_PEEKDATA, pid, addr, NULL);
	answer.read = -errno;
	errno = 0;
	ptrace(PTRACE_POKEDATA, pid, addr, word);
	answer.write = -errno;
	return answer;
}

static struct answer mem_access(pid_t pid, char *addr, uint64_t word)
{
	char path[64];
	struct answer answer = { 0 };
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/mem", pid);
	fd = open(path, O_RDWR | O_CLOEXEC);
	igt_assert_fd(fd);
	errno = 0;
	answer.read = pread(fd, &answer.word, sizeof(word), (uintptr_t)addr) < 0 ? -errno : 0;
	answer.write = pwrite(fd, &word, sizeof(word), (uintptr_t)addr) < 0 ? -errno : 0;
	close(fd);
	return answer;
}

static void check_access(const struct mappings *m, uint64_t offset,
			 struct answer (*access_at)(pid_t pid, char *addr, uint64_t word))
{
	volatile uint64_t *word = (volatile uint64_t *)(m->view.addr + offset);
	const uint64_t before = *word;
	struct answer small, huge;
	const char *level = bo_level_name(expected_level(&m->view, offset, HUGE_PUD));

	small = access_at(getppid(), m->small.addr + offset, ~before);
	igt_assert_f(*word == (small.write ? before : ~before),
		     "%s: offset %#" PRIx64 ": writing through a 4 KiB entry said %ld, found %#"
		     PRIx64 "\n", m->view.target->name, offset, small.write, *word);
	*word = before;
	huge = access_at(getppid(), m->view.addr + offset, ~before);
	igt_assert_f(huge.read == small.read && huge.write == small.write,
		     "%s: object of %" PRIu64 " KiB, offset %#" PRIx64
		     ": through a %s entry reading says %ld and writing %ld, expected %ld and %ld "
		     "as with 4 KiB entries\n",
		     m->view.target->name, m->bo.size / KiB, offset, level, huge.read, huge.write,
		     small.read, small.write);
	igt_assert_f((huge.read || huge.word == before) && (small.read || small.word == before),
		     "%s: object of %" PRIu64 " KiB, offset %#" PRIx64
		     ": read %#" PRIx64 " through a %s entry, %#" PRIx64
		     " through a 4 KiB entry, expected %#" PRIx64 "\n",
		     m->view.target->name, m->bo.size / KiB, offset, huge.word, level, small.word,
		     before);
	igt_assert_f(*word == (huge.write ? before : ~before),
		     "%s: object of %" PRIu64 " KiB, offset %#" PRIx64
		     ": writing through a %s entry said %ld, found %#" PRIx64 "\n",
		     m->view.target->name, m->bo.size / KiB, offset, level, huge.write, *word);
	/* The kernel maps system memory itself; VRAM takes a driver that can read it. */
	igt_assert_f(m->view.target->placement == BO_VRAM || (!huge.read && !huge.write),
		     "%s: object of %" PRIu64 " KiB, offset %#" PRIx64
		     ": reading says %ld and writing %ld, expected both to work\n",
		     m->view.target->name, m->bo.size / KiB, offset, huge.read, huge.write);
	*word = before;
}

static void check_accesses(const struct mappings *m,
			   struct answer (*access_at)(pid_t pid, char *addr, uint64_t word))
{
	const uint64_t offsets[] = {
		0,
		BO_PMD_SIZE + BO_PTE_SIZE + 8,
		m->bo.size - BO_PMD_SIZE,
		m->bo.size - 8,
	};

	for (size_t i = 0; i < ARRAY_SIZE(offsets); i++)
		check_access(m, offsets[i], access_at);
}

/**
 * SUBTEST: ptrace
 * Description: PTRACE_PEEKDATA and PTRACE_POKEDATA give the same answer on entries of every level:
 *              the word for system memory, for VRAM whatever the driver can do.
 */
static void test_ptrace(const struct target *target)
{
	struct mappings m;

	set_up(&m, target);
	igt_fork(child, 1) {
		pid_t pid = getppid();

		igt_assert_eq(ptrace(PTRACE_ATTACH, pid, NULL, NULL), 0);
		igt_assert_eq(waitpid(pid, NULL, __WALL), pid);
		check_accesses(&m, ptrace_access);
		igt_assert_eq(ptrace(PTRACE_DETACH, pid, NULL, NULL), 0);
	}
	igt_waitchildren();
	assert_untouched(&m);
}

/**
 * SUBTEST: proc-mem
 * Description: The same for reading and writing /proc/PID/mem.
 */
static void test_proc_mem(const struct target *target)
{
	struct mappings m;

	set_up(&m, target);
	igt_fork(child, 1)
		check_accesses(&m, mem_access);
	igt_waitchildren();
	assert_untouched(&m);
}

int igt_main()
{
	struct target *target;

	igt_fixture()
		ttm_huge_init();

	for (size_t i = 0; i < ARRAY_SIZE(ways); i++) {
		igt_describe("Refused, without a reference to a page");
		igt_subtest_with_dynamic(ways[i].name)
			igt_dynamic_targets(target)
				test_way(target, &ways[i]);
	}

	igt_describe("ptrace sees what it sees through 4 KiB entries");
	igt_subtest_with_dynamic("ptrace")
		igt_dynamic_targets(target)
			test_ptrace(target);

	igt_describe("/proc/PID/mem shows what it shows through 4 KiB entries");
	igt_subtest_with_dynamic("proc-mem")
		igt_dynamic_targets(target)
			test_proc_mem(target);

	igt_fixture()
		ttm_huge_fini();
}
