// SPDX-License-Identifier: MIT
#define _GNU_SOURCE 1
#include "processes.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/wait.h>

uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * UINT64_C(1000000000) + ts.tv_nsec;
}

void *shared_memory(size_t size)
{
	void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	igt_assert(memory != MAP_FAILED);
	return memory;
}

/*
 * Signals
 */

void set_alarm(uint64_t first, uint64_t again, void (*handler)(int sig))
{
	const struct sigaction action = { .sa_handler = handler };
	const struct itimerval timer = {
		.it_value.tv_usec = first / 1000,
		.it_interval.tv_usec = again / 1000,
	};

	igt_assert_eq(sigaction(SIGALRM, &action, NULL), 0);
	igt_assert_eq(setitimer(ITIMER_REAL, &timer, NULL), 0);
}

void kill_child(pid_t pid)
{
	int status;

	kill(pid, SIGKILL);
	igt_assert_eq(waitpid(pid, &status, 0), pid);
	igt_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

static sigjmp_buf signal_landing;

static void land(int sig)
{
	siglongjmp(signal_landing, sig);
}

void catch_signals(void)
{
	struct sigaction action = { .sa_handler = land, .sa_flags = SA_NODEFER };

	sigaction(SIGSEGV, &action, NULL);
	sigaction(SIGBUS, &action, NULL);
}

int signal_of_copy(volatile uint64_t *to, const volatile uint64_t *from)
{
	int sig = sigsetjmp(signal_landing, 0);

	if (!sig)
		*to = *from;
	return sig;
}

static int result_of(ssize_t bytes)
{
	if (bytes < 0)
		return -errno;
	return bytes == sizeof(uint64_t) ? 0 : -EIO;
}

int signal_of_kernel_copy(const int pipe[2], volatile uint64_t *to, const volatile uint64_t *from)
{
	int ret = result_of(write(pipe[1], (const void *)from, sizeof(*from)));
	uint64_t left;

	if (!ret) {
		ret = result_of(read(pipe[0], (void *)to, sizeof(*to)));
		/* What the kernel could not put there is still in the pipe. */
		if (ret == -EFAULT && read(pipe[0], &left, sizeof(left)) != sizeof(left))
			return -EIO;
	}
	return ret == -EFAULT ? SIGSEGV : ret;
}

long splice_pages(void *addr, size_t length)
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

static int signal_of_access(volatile char *byte, bool write)
{
	struct sigaction segv, bus;
	int sig;

	sigaction(SIGSEGV, NULL, &segv);
	sigaction(SIGBUS, NULL, &bus);
	catch_signals();
	sig = sigsetjmp(signal_landing, 0);
	if (!sig) {
		if (write)
			*byte = *byte;
		else
			(void)*byte;
	}
	sigaction(SIGSEGV, &segv, NULL);
	sigaction(SIGBUS, &bus, NULL);
	return sig;
}

int signal_of_read(const void *addr)
{
	return signal_of_access((volatile char *)addr, false);
}

int signal_of_write(void *addr)
{
	return signal_of_access(addr, true);
}

/*
 * Other processes
 */

void attach_to(pid_t pid)
{
	igt_assert_eq(ptrace(PTRACE_ATTACH, pid, NULL, NULL), 0);
	igt_assert_eq(waitpid(pid, NULL, __WALL), pid);
}

void detach_from(pid_t pid)
{
	igt_assert_eq(ptrace(PTRACE_DETACH, pid, NULL, NULL), 0);
}

static int open_mem(pid_t pid, int flags)
{
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/mem", pid);
	fd = open(path, flags | O_CLOEXEC);
	igt_assert_f(fd >= 0, "%s: %s\n", path, strerror(errno));
	return fd;
}

int read_mem(pid_t pid, const void *addr, uint64_t *word)
{
	int fd = open_mem(pid, O_RDONLY);
	int ret = result_of(pread(fd, word, sizeof(*word), (uintptr_t)addr));

	close(fd);
	return ret;
}

int write_mem(pid_t pid, void *addr, uint64_t word)
{
	int fd = open_mem(pid, O_RDWR);
	int ret = result_of(pwrite(fd, &word, sizeof(word), (uintptr_t)addr));

	close(fd);
	return ret;
}

int read_by_ptrace(pid_t pid, const void *addr, uint64_t *word)
{
	errno = 0;
	*word = ptrace(PTRACE_PEEKDATA, pid, addr, NULL);
	return -errno;
}

/*
 * Parent and child
 */

static void tell(struct turns *turns)
{
	igt_assert_eq(send(turns->fd[turns->side], "", 1, MSG_NOSIGNAL), 1);
}

static void wait_for_turn(struct turns *turns)
{
	char word;

	igt_assert_f(read(turns->fd[turns->side], &word, 1) == 1, "the %s process is gone\n",
		     turns->side == PARENT ? "child" : "parent");
}

void turns_open(struct turns *turns)
{
	igt_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, turns->fd), 0);
}

bool turns_fork(struct turns *turns)
{
	bool child = __igt_fork();

	turns->side = child ? CHILD : PARENT;
	/* With the other end closed here, reading ends when the other process does. */
	close(turns->fd[!turns->side]);
	if (!child)
		wait_for_turn(turns);
	return child;
}

void next_turn(struct turns *turns)
{
	tell(turns);
	wait_for_turn(turns);
}

void last_turn(struct turns *turns)
{
	tell(turns);
	igt_waitchildren();
	close(turns->fd[PARENT]);
}

void no_more_turns(struct turns *turns)
{
	igt_kill_children(SIGKILL);
	close(turns->fd[PARENT]);
}

static void assert_gone(const struct view *view, const struct view *small)
{
	assert_unmapped(view);
	if (small)
		assert_unmapped(small);
}

static void assert_both(const struct view *view, const struct view *small, uint64_t seed)
{
	assert_contents(view, view_step(view), seed);
	if (small)
		assert_contents(small, view_step(small), seed);
}

void check_taken_away(const struct view *view, const struct view *small, uint64_t seed,
		      void (*take)(const struct view *view))
{
	struct turns turns;

	in_child(&turns) {
		assert_levels(view, HUGE_PUD);
		next_turn(&turns);
		assert_gone(view, small);
		assert_both(view, small, seed);
		assert_levels(view, HUGE_PMD);
		fill(view, view_step(view), seed + 1);
	}
	take(view);
	assert_gone(view, small);
	last_turn(&turns);
	assert_both(view, small, seed + 1);
}

/*
 * Writers
 */

/* The word of a page that belongs to a process. */
static volatile uint64_t *own_word(const struct view *view, uint64_t page, int process)
{
	return (volatile uint64_t *)(view->addr + page * BO_PTE_SIZE) + process;
}

static void assert_own_word(const struct view *view, uint64_t page, int process, uint64_t wrote,
			    const char *when)
{
	uint64_t found = *own_word(view, page, process);

	view_assert_at(view, page * BO_PTE_SIZE, found == wrote,
		       "%s process %d found %" PRIu64 ", but wrote %" PRIu64, when, process, found,
		       wrote);
}

static void write_until(const volatile bool *stop, int process, const struct view *views, int count)
{
	uint64_t **last = calloc(count, sizeof(*last)), number = 0;
	unsigned int random = process;

	igt_assert(last);
	for (int i = 0; i < count; i++) {
		uint64_t pages = views[i].length / BO_PTE_SIZE;

		last[i] = calloc(pages, sizeof(*last[i]));
		igt_assert(last[i]);
		for (uint64_t page = 0; page < pages; page++)
			*own_word(&views[i], page, process) = 0;
	}

	while (!*stop) {
		int i = rand_r(&random) % count;
		uint64_t page = rand_r(&random) % (views[i].length / BO_PTE_SIZE);

		assert_own_word(&views[i], page, process, last[i][page], "meanwhile");
		last[i][page] = *own_word(&views[i], page, process) = ++number;
	}

	for (int i = 0; i < count; i++)
		for (uint64_t page = 0; page < views[i].length / BO_PTE_SIZE; page++)
			assert_own_word(&views[i], page, process, last[i][page], "at the end");
}

void start_writers(struct writers *writers, int processes, const struct view *views, int count)
{
	writers->stop = shared_memory(sizeof(*writers->stop));
	igt_fork(child, processes)
		write_until(writers->stop, child, views, count);
}

void stop_writers(struct writers *writers)
{
	*writers->stop = true;
	igt_waitchildren();
	munmap((void *)writers->stop, sizeof(*writers->stop));
}
