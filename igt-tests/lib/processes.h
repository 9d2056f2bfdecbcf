/* SPDX-License-Identifier: MIT */
/* Accesses by and to other processes, signals that they raise, and turns of parent and child. */
#ifndef PROCESSES_H
#define PROCESSES_H

#include "views.h"

/* CLOCK_MONOTONIC */
uint64_t now_ns(void);

/* @handler on SIGALRM after @first and then each @again nanoseconds, unless they are 0. */
void set_alarm(uint64_t first, uint64_t again, void (*handler)(int sig));
/* Zeroes that children of fork() share with their parent. */
void *shared_memory(size_t size);
/* Kills a child of fork() and waits for it; asserts that this is how it ended. */
void kill_child(pid_t pid);

/* The statement that follows runs in a child, whose end this waits for. */
#define fork_and_wait()								\
	for (bool __forked = false; !__forked; __forked = true, igt_waitchildren())	\
		igt_fork(__child, 1)

/* 0, or the signal that reading or writing one byte at @addr raises. */
int signal_of_read(const void *addr);
int signal_of_write(void *addr);
/*
 * The same for copying a word, for those who ask often: after catch_signals() SIGSEGV and SIGBUS
 * are for nothing else.
 */
void catch_signals(void);
int signal_of_copy(volatile uint64_t *to, const volatile uint64_t *from);
/*
 * The kernel copies the word by way of a pipe, and SIGSEGV is where it cannot: its faults come
 * without the VMA lock. A negative errno if the pipe does not work.
 */
int signal_of_kernel_copy(const int pipe[2], volatile uint64_t *to, const volatile uint64_t *from);

/*
 * Has the kernel take pages by get_user_pages_fast(), and lets go of them: the number of bytes, or a
 * negative errno.
 */
long splice_pages(void *addr, size_t length);

/* Stops a process, so that ptrace can read it, and lets it go on. */
void attach_to(pid_t pid);
void detach_from(pid_t pid);
/*
 * A word of a process's memory: by way of /proc/PID/mem, or of ptrace for a process that this one
 * has attached to. Return 0 or a negative errno.
 */
int read_mem(pid_t pid, const void *addr, uint64_t *word);
int write_mem(pid_t pid, void *addr, uint64_t word);
int read_by_ptrace(pid_t pid, const void *addr, uint64_t *word);

/*
 * A process and one forked child take turns. The child begins:
 *
 *	in_child(&turns) {
 *		...			the parent waits
 *		next_turn(&turns);
 *		...			once the parent has said so
 *	}
 *	...				after the child's first next_turn()
 *	last_turn(&turns);		the child goes on to its end, which this waits for
 *
 * Waiting fails the subtest if the other side has died.
 */
enum side {
	PARENT,
	CHILD,
};

struct turns {
	int fd[2];
	enum side side;
};

#define in_child(turns)	for (turns_open(turns); turns_fork(turns); exit(0))

/* Lets the other side go on, and waits for its next_turn(). */
void next_turn(struct turns *turns);
void last_turn(struct turns *turns);
/* The child is not needed any more. */
void no_more_turns(struct turns *turns);

void turns_open(struct turns *turns);
bool turns_fork(struct turns *turns);

/*
 * @take takes the memory of @view's object away while a child has its mappings, too: @view, with the
 * contents of @seed and entries of every level, and @small with 4 KiB entries, if it is not NULL.
 * In both processes all entries are gone at once, and the contents are still there, in the largest
 * entries of system memory that fit; what the child writes afterwards (the contents of @seed + 1) the
 * parent reads.
 */
void check_taken_away(const struct view *view, const struct view *small, uint64_t seed,
		      void (*take)(const struct view *view));

/*
 * Processes that write numbers to words of their own all over the views, and expect to find the
 * last ones again, wherever the objects have gone meanwhile. Stopping them waits for their end.
 */
struct writers {
	volatile bool *stop;
};

void start_writers(struct writers *writers, int processes, const struct view *views, int count);
void stop_writers(struct writers *writers);

#endif
