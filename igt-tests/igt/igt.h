/* SPDX-License-Identifier: MIT */
/*
 * Declarations of the part of the IGT library (libigt.so, igt-gpu-tools 2.5)
 * that the tests use.
 *
 * Distributions ship the library without its headers. Names and behaviour are
 * IGT's, and each file of this folder has the name of the header that declares the same
 * there, so that the tests also build inside an IGT tree, with its own headers.
 */
#ifndef IGT_H
#define IGT_H

#include <inttypes.h>
#include <setjmp.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

struct option;

#define __igt_printf(fmt, args)	__attribute__((format(printf, fmt, args)))
#define __igt_noreturn		__attribute__((noreturn))

#ifndef IGT_LOG_DOMAIN
#define IGT_LOG_DOMAIN		NULL
#endif

/* What a test program's exit status means. */
#define IGT_EXIT_SUCCESS	0
#define IGT_EXIT_SKIP		77
#define IGT_EXIT_INVALID	79
#define IGT_EXIT_FAILURE	98
#define IGT_EXIT_ABORT		112

#define __igt_paste(a, b)	a ## b
#define igt_tokencat(a, b)	__igt_paste(a, b)
#define igt_unique(name)	igt_tokencat(igt_tokencat(__igt_, name), __LINE__)

#ifndef ARRAY_SIZE
#define ARRAY_SIZE(a)		(sizeof(a) / sizeof((a)[0]))
#endif
#ifndef READ_ONCE
#define READ_ONCE(x)		(*(const volatile __typeof__(x) *)&(x))
#define WRITE_ONCE(x, v)	(*(volatile __typeof__(x) *)&(x) = (v))
#endif

/*
 * The program: int igt_main() { ... }
 *
 * The block becomes a function of its own; main() parses IGT's options first.
 */
typedef int (*igt_opt_handler_t)(int opt, int opt_index, void *data);

int igt_subtest_init_parse_opts(int *argc, char **argv, const char *short_opts,
				const struct option *long_opts, const char *help,
				igt_opt_handler_t handler, void *data);
__igt_noreturn void igt_exit(void);
const char *igt_test_name(void);

#define igt_main_args(short_opts, long_opts, help, handler, data)		\
	main(int argc, char **argv);						\
	static void igt_unique(body)(void);					\
	int main(int argc, char **argv)						\
	{									\
		igt_subtest_init_parse_opts(&argc, argv, short_opts, long_opts,	\
					    help, handler, data);		\
		igt_unique(body)();						\
		igt_exit();							\
	}									\
	static void igt_unique(body)(void)
#define igt_main()	igt_main_args(NULL, NULL, NULL, NULL, NULL)

extern const char *__igt_test_description __attribute__((weak));
#define IGT_TEST_DESCRIPTION(text)	const char *__igt_test_description = (text)

__igt_printf(1, 2) void igt_describe_f(const char *fmt, ...);
#define igt_describe(text)	igt_describe_f("%s", text)

/*
 * Blocks. Each is a loop that the library lets run at most once; skipping and
 * failing jump back to the sigsetjmp() in its head, and the loop then ends.
 */
extern jmp_buf igt_subtest_jmpbuf;
extern jmp_buf igt_dynamic_jmpbuf;

bool __igt_fixture(void);
void __igt_fixture_complete(void);
__igt_noreturn void __igt_fixture_end(void);
bool __igt_run_subtest(const char *name, const char *file, const int line);
bool __igt_enter_dynamic_container(void);
bool __igt_run_dynamic_subtest(const char *name);
void __igt_subtest_group_save(int *save, int *desc);
void __igt_subtest_group_restore(int save, int desc);
void igt_success(void);
const char *igt_subtest_name(void);
const char *igt_dynamic_subtest_name(void);
bool igt_only_list_subtests(void);

/*
 * Landing there ends the block, so what a block has changed is not looked at again; IGT builds
 * without this warning too.
 */
#pragma GCC diagnostic ignored "-Wclobbered"

#define __igt_landing(buf)	(sigsetjmp(buf, 1) == 0)

/* Skipped when the program only lists its subtests. */
#define igt_fixture()								\
	for (volatile int igt_unique(once) = 0;					\
	     !igt_unique(once) && __igt_fixture() &&				\
	     __igt_landing(igt_subtest_jmpbuf);					\
	     igt_unique(once) = 1, __igt_fixture_complete())

#define igt_subtest(name)							\
	for (; __igt_run_subtest((name), __FILE__, __LINE__) &&			\
	       __igt_landing(igt_subtest_jmpbuf);				\
	     igt_success())

#define igt_subtest_with_dynamic(name)						\
	for (; __igt_run_subtest((name), __FILE__, __LINE__) &&			\
	       __igt_enter_dynamic_container() &&				\
	       __igt_landing(igt_subtest_jmpbuf);				\
	     igt_success())

#define igt_dynamic(name)							\
	for (; __igt_run_dynamic_subtest(name) &&				\
	       __igt_landing(igt_dynamic_jmpbuf);				\
	     igt_success())

/* The same with a printf() format for the name. */
#define __igt_named(buf, args...)						\
	char buf[256]; snprintf(buf, sizeof(buf), args),

#define igt_subtest_f(args...)							\
	for (__igt_named(igt_unique(name), args)				\
	     __igt_run_subtest(igt_unique(name), __FILE__, __LINE__) &&		\
	     __igt_landing(igt_subtest_jmpbuf);					\
	     igt_success())

#define igt_subtest_with_dynamic_f(args...)					\
	for (__igt_named(igt_unique(name), args)				\
	     __igt_run_subtest(igt_unique(name), __FILE__, __LINE__) &&		\
	     __igt_enter_dynamic_container() &&					\
	     __igt_landing(igt_subtest_jmpbuf);					\
	     igt_success())

#define igt_dynamic_f(args...)							\
	for (__igt_named(igt_unique(name), args)				\
	     __igt_run_dynamic_subtest(igt_unique(name)) &&			\
	     __igt_landing(igt_dynamic_jmpbuf);					\
	     igt_success())

/* A failing fixture inside a group takes only that group with it. */
#define igt_subtest_group()							\
	for (int igt_unique(once) = 0, igt_unique(save) = 0, igt_unique(desc) = 0; \
	     !igt_unique(once) &&						\
	     (__igt_subtest_group_save(&igt_unique(save), &igt_unique(desc)), true); \
	     igt_unique(once) = 1,						\
	     __igt_subtest_group_restore(igt_unique(save), igt_unique(desc)))

/* Log */
enum igt_log_level {
	IGT_LOG_DEBUG,
	IGT_LOG_INFO,
	IGT_LOG_WARN,
	IGT_LOG_CRITICAL,
	IGT_LOG_NONE,
};

__igt_printf(3, 4)
void igt_log(const char *domain, enum igt_log_level level, const char *fmt, ...);
#define igt_debug(args...)	igt_log(IGT_LOG_DOMAIN, IGT_LOG_DEBUG, args)
#define igt_info(args...)	igt_log(IGT_LOG_DOMAIN, IGT_LOG_INFO, args)
/* A warning turns a passed subtest into "warn": igt_runner counts that as not passed. */
#define igt_warn(args...)	igt_log(IGT_LOG_DOMAIN, IGT_LOG_WARN, args)
#define igt_critical(args...)	igt_log(IGT_LOG_DOMAIN, IGT_LOG_CRITICAL, args)

__igt_printf(1, 2) void igt_kmsg(const char *fmt, ...);
#define KMSG_INFO	"<6>[IGT] "

/* Skipping. Never in a child of igt_fork(): there it counts as a failure. */
__igt_noreturn __igt_printf(1, 2) void igt_skip(const char *fmt, ...);
__igt_noreturn __igt_printf(5, 6)
void __igt_skip_check(const char *file, const int line, const char *func,
		      const char *check, const char *fmt, ...);

#define __igt_skip_unless(ok, text, args...) do {				\
	if (!(ok))								\
		__igt_skip_check(__FILE__, __LINE__, __func__, text, args);	\
} while (0)

#define igt_require(cond)		__igt_skip_unless(cond, #cond, NULL)
#define igt_require_f(cond, args...)	__igt_skip_unless(cond, #cond, args)
#define igt_skip_on(cond)		__igt_skip_unless(!(cond), "!(" #cond ")", NULL)
#define igt_skip_on_f(cond, args...)	__igt_skip_unless(!(cond), "!(" #cond ")", args)
#define igt_require_fd(fd)		igt_require_f((fd) >= 0, "no file descriptor " #fd "\n")

/*
 * Failing. In a thread other than the main one this ends the thread, and the
 * subtest fails when it ends or calls igt_thread_assert_no_failures() (igt_thread.h).
 */
__igt_noreturn void igt_fail(int exitcode);
__igt_noreturn __igt_printf(6, 7)
void __igt_fail_assert(const char *domain, const char *file, const int line,
		       const char *func, const char *assertion, const char *fmt, ...);

#define __igt_fail_unless(ok, text, args...) do {				\
	if (!(ok))								\
		__igt_fail_assert(IGT_LOG_DOMAIN, __FILE__, __LINE__, __func__,	\
				  text, args);					\
} while (0)

#define igt_assert(cond)		__igt_fail_unless(cond, #cond, NULL)
#define igt_assert_f(cond, args...)	__igt_fail_unless(cond, #cond, args)
#define igt_fail_on(cond)		igt_assert(!(cond))
#define igt_fail_on_f(cond, args...)	igt_assert_f(!(cond), args)
#define igt_assert_fd(fd)		igt_assert_f((fd) >= 0, "no file descriptor " #fd "\n")

#define __igt_compare(type, conv, a, op, b) do {				\
	type __igt_a = (type)(a);						\
	type __igt_b = (type)(b);						\
	__igt_fail_unless(__igt_a op __igt_b, #a " " #op " " #b,		\
			  "not true: " conv " " #op " " conv "\n",		\
			  __igt_a, __igt_b);					\
} while (0)

#define igt_assert_eq(a, b)		__igt_compare(int, "%d", a, ==, b)
#define igt_assert_neq(a, b)		__igt_compare(int, "%d", a, !=, b)
#define igt_assert_lt(a, b)		__igt_compare(int, "%d", a, <, b)
#define igt_assert_lte(a, b)		__igt_compare(int, "%d", a, <=, b)
#define igt_assert_eq_u32(a, b)		__igt_compare(uint32_t, "%#" PRIx32, a, ==, b)
#define igt_assert_neq_u32(a, b)	__igt_compare(uint32_t, "%#" PRIx32, a, !=, b)
#define igt_assert_lt_u32(a, b)		__igt_compare(uint32_t, "%#" PRIx32, a, <, b)
#define igt_assert_lte_u32(a, b)	__igt_compare(uint32_t, "%#" PRIx32, a, <=, b)
#define igt_assert_eq_u64(a, b)		__igt_compare(uint64_t, "%#" PRIx64, a, ==, b)
#define igt_assert_neq_u64(a, b)	__igt_compare(uint64_t, "%#" PRIx64, a, !=, b)
#define igt_assert_lt_u64(a, b)		__igt_compare(uint64_t, "%#" PRIx64, a, <, b)
#define igt_assert_lte_u64(a, b)	__igt_compare(uint64_t, "%#" PRIx64, a, <=, b)
#define igt_assert_eq_s64(a, b)		__igt_compare(int64_t, "%" PRId64, a, ==, b)
#define igt_assert_lt_s64(a, b)		__igt_compare(int64_t, "%" PRId64, a, <, b)
#define igt_assert_lte_s64(a, b)	__igt_compare(int64_t, "%" PRId64, a, <=, b)

/* Processes */
bool __igt_fork(void);
/* Waits for all igt_fork() children and fails the subtest with the first that failed. */
void igt_waitchildren(void);
void igt_waitchildren_timeout(int seconds, const char *reason);
void igt_kill_children(int signal);

#define igt_fork(child, count)							\
	for (int child = 0; child < (count); child++)				\
		for (; __igt_fork(); exit(0))

/* A process in the background whose failure does not matter. */
struct igt_helper_process {
	bool running;
	bool use_SIGKILL;
	pid_t pid;
	int id;
};

bool __igt_fork_helper(struct igt_helper_process *proc);
int igt_wait_helper(struct igt_helper_process *proc);
void igt_stop_helper(struct igt_helper_process *proc);

#define igt_fork_helper(proc)	for (; __igt_fork_helper(proc); exit(0))

/* Runs at exit and on fatal signals (@sig is 0 or the signal). */
typedef void (*igt_exit_handler_t)(int sig);
void igt_install_exit_handler(igt_exit_handler_t fn);

/* Fails the subtest when @seconds pass before igt_reset_timeout(). */
void igt_set_timeout(unsigned int seconds, const char *op);
void igt_reset_timeout(void);

/* Nanoseconds since the first call with a zeroed @start. */
uint64_t igt_nsec_elapsed(struct timespec *start);

/*
 * Cards. Both return a file descriptor or a negative number: the first card that there is (with
 * DRIVER_ANY not one of vgem, virtio or vkms), unless device filters name others, or
 * the card that filter @idx names.
 */
#define DRIVER_VGEM	(1 << 2)
#define DRIVER_VKMS	(1 << 9)
#define DRIVER_VIRTIO	(1 << 10)
#define DRIVER_ANY	~(DRIVER_VGEM | DRIVER_VKMS | DRIVER_VIRTIO)

int __drm_open_driver(int chipset);
int drm_open_filtered_card(int idx);
int drm_close_driver(int fd);

#endif
