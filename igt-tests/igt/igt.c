// SPDX-License-Identifier: MIT
/*
 * A stand-in for libigt where the distribution has none, as Debian on arm64 and riscv64. It has the part
 * of the library that igt.h declares and the tests call, with the options, the exit codes and the lines
 * of output of igt-gpu-tools 2.5. There are no backtraces, and a device filter is drm:/dev/dri/cardN.
 */
#define _GNU_SOURCE 1
#include "igt.h"

#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <getopt.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <sys/ioctl.h>
#include <sys/utsname.h>
#include <sys/wait.h>

#include <drm.h>

#include "igt_device_scan.h"
#include "igt_thread.h"

#define LIBRARY		"igt_core"

enum outcome { SUCCESS, SKIP, FAIL, CRASH };

/* The subtest or dynamic subtest that runs */
struct block {
	char name[256];
	bool running;
	struct timespec start;
};

jmp_buf igt_subtest_jmpbuf;
jmp_buf igt_dynamic_jmpbuf;

static pid_t main_pid;
static bool listing, describing, exiting;
/* NULL for all */
static const char *subtest_pattern, *dynamic_pattern;
static bool any_matched;

static struct block subtest, dynamic;
static bool in_fixture;
/* SKIP or FAIL once a fixture has ended so: the outcome of the subtests that follow */
static enum outcome henceforth;
/* A subtest has dynamic subtests. Of these, some did not skip, some have failed. */
static bool is_container, dynamic_ran, dynamic_failed;

static bool any_passed, any_skipped;
/* Of the first failure */
static int exit_code;

static atomic_bool thread_failed;

static void kill_and_reap(int sig);

const char *igt_test_name(void)
{
	return program_invocation_short_name;
}

static bool is_child(void)
{
	return getpid() != main_pid;
}

static bool is_thread(void)
{
	return gettid() != getpid();
}

/*
 * Log
 */

#define LOG_LINES	256

static pthread_mutex_t log_mutex = PTHREAD_MUTEX_INITIALIZER;
static enum igt_log_level log_level = IGT_LOG_INFO;
static bool sentinels_on_stderr;
/* What the block has logged, at any level, in a ring */
static char *log_lines[LOG_LINES];
static size_t log_count;

static void lock_log(void)
{
	pthread_mutex_lock(&log_mutex);
}

static void unlock_log(void)
{
	pthread_mutex_unlock(&log_mutex);
}

static void forget_log(void)
{
	lock_log();
	for (size_t i = 0; i < LOG_LINES; i++) {
		free(log_lines[i]);
		log_lines[i] = NULL;
	}
	log_count = 0;
	unlock_log();
}

static void dump_log(const char *kind, const char *name)
{
	fprintf(stderr, "%s %s failed.\n", kind, name);
	lock_log();
	if (log_count) {
		fputs("**** DEBUG ****\n", stderr);
		for (size_t i = 0; i < LOG_LINES; i++) {
			const char *line = log_lines[(log_count + i) % LOG_LINES];

			fputs(line ? line : "", stderr);
		}
		fputs("****  END  ****\n", stderr);
	} else {
		fputs("No log.\n", stderr);
	}
	unlock_log();
	forget_log();
}

static __igt_printf(3, 0)
void vlog(const char *domain, enum igt_log_level level, const char *fmt, va_list args)
{
	static const char * const names[] = { "DEBUG", "INFO", "WARNING", "CRITICAL" };
	static __thread bool continued;
	char *text, *line, thread[32] = "";
	struct timespec now;

	if (vasprintf(&text, fmt, args) < 0)
		return;
	if (is_thread())
		snprintf(thread, sizeof(thread), " [thread:%d]", gettid());
	clock_gettime(CLOCK_MONOTONIC, &now);
	if (continued)
		line = strdup(text);
	else if (asprintf(&line, "[%lld.%06ld] (%s:%d)%s %s%s%s: %s", (long long)now.tv_sec,
			  now.tv_nsec / 1000, igt_test_name(), getpid(), thread,
			  domain ? domain : "", domain ? "-" : "", names[level], text) < 0)
		line = NULL;
	continued = *text && text[strlen(text) - 1] != '\n';

	lock_log();
	if (line && level >= log_level) {
		fputs(level == IGT_LOG_INFO ? text : line, level < IGT_LOG_WARN ? stdout : stderr);
		/* Else it comes after what stderr gets next. */
		fflush(stdout);
	}
	free(log_lines[log_count % LOG_LINES]);
	log_lines[log_count++ % LOG_LINES] = line;
	unlock_log();
	free(text);
}

void igt_log(const char *domain, enum igt_log_level level, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	vlog(domain, level, fmt, args);
	va_end(args);
}

void igt_kmsg(const char *fmt, ...)
{
	int fd = open("/dev/kmsg", O_WRONLY | O_CLOEXEC);
	char line[512];
	va_list args;

	va_start(args, fmt);
	vsnprintf(line, sizeof(line), fmt, args);
	va_end(args);
	if (fd < 0 || write(fd, line, strlen(line)) < 0)
		igt_debug("/dev/kmsg: %s\n", strerror(errno));
	if (fd >= 0)
		close(fd);
}

/* A line that a runner looks for */
static __igt_printf(1, 2) void sentinel(const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	vprintf(fmt, args);
	fflush(stdout);
	va_end(args);
	if (!sentinels_on_stderr)
		return;
	va_start(args, fmt);
	vfprintf(stderr, fmt, args);
	va_end(args);
}

/*
 * The end of a block
 */

static void note_failure(enum outcome outcome, int code)
{
	/* A child may exit with the code for skips, too. */
	if (outcome >= FAIL && !exit_code)
		exit_code = code == IGT_EXIT_SKIP ? IGT_EXIT_FAILURE : code;
}

static void count_subtest(enum outcome outcome)
{
	any_passed |= outcome == SUCCESS;
	any_skipped |= outcome == SKIP;
}

static void begin_block(struct block *block, const char *prefix, const char *name)
{
	snprintf(block->name, sizeof(block->name), "%s", name);
	block->running = true;
	clock_gettime(CLOCK_MONOTONIC, &block->start);
	thread_failed = false;
	forget_log();
	igt_kmsg(KMSG_INFO "%s: starting %ssubtest %s\n", igt_test_name(), prefix, name);
	sentinel("Starting %ssubtest: %s\n", prefix, name);
	errno = 0;
}

static const char * const outcomes[] = { "SUCCESS", "SKIP", "FAIL", "CRASH" };

static void end_block(struct block *block, const char *prefix, enum outcome outcome)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	block->running = false;
	/* Processes that the block has left */
	kill_and_reap(SIGKILL);
	sentinel("%subtest %s: %s (%.3fs)\n", prefix, block->name, outcomes[outcome],
		 now.tv_sec - block->start.tv_sec + (now.tv_nsec - block->start.tv_nsec) / 1e9);
	igt_kmsg(KMSG_INFO "%s: finished %ssubtest %s, %s\n", igt_test_name(),
		 block == &dynamic ? "dynamic " : "", block->name, outcomes[outcome]);
}

/* Ends the innermost block of the main thread of the main process. */
static __igt_noreturn void leave_block(enum outcome outcome, int code)
{
	note_failure(outcome, code);
	if (dynamic.running) {
		dynamic_ran |= outcome != SKIP;
		dynamic_failed |= outcome >= FAIL;
		end_block(&dynamic, "Dynamic s", outcome);
		siglongjmp(igt_dynamic_jmpbuf, 1);
	}
	if (subtest.running) {
		count_subtest(outcome);
		end_block(&subtest, "S", outcome);
	} else if (in_fixture) {
		henceforth = outcome;
		in_fixture = false;
	} else {
		/* Outside of all blocks there is nothing to go on with. */
		count_subtest(outcome);
		igt_exit();
	}
	siglongjmp(igt_subtest_jmpbuf, 1);
}

static void fail_thread(void)
{
	thread_failed = true;
	pthread_exit(NULL);
}

void igt_thread_assert_no_failures(void)
{
	if (!atomic_exchange(&thread_failed, false))
		return;
	igt_log("igt_thread", IGT_LOG_CRITICAL, "Failure in a thread!\n");
	igt_fail(IGT_EXIT_FAILURE);
}

void igt_success(void)
{
	igt_thread_assert_no_failures();
	if (!dynamic.running && is_container && dynamic_failed)
		leave_block(FAIL, exit_code);
	if (!dynamic.running && is_container && !dynamic_ran)
		igt_skip("No dynamic tests executed.\n");
	leave_block(SUCCESS, 0);
}

static __igt_noreturn void end_skipped(void)
{
	if (is_thread())
		fail_thread();
	if (is_child()) {
		igt_log(LIBRARY, IGT_LOG_CRITICAL, "a child must not skip\n");
		igt_fail(IGT_EXIT_FAILURE);
	}
	leave_block(SKIP, 0);
}

void igt_skip(const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	vlog(NULL, IGT_LOG_INFO, fmt, args);
	va_end(args);
	end_skipped();
}

void __igt_skip_check(const char *file, const int line, const char *func, const char *check,
		      const char *fmt, ...)
{
	int error = errno;
	va_list args;

	igt_info("Test requirement not met in function %s, file %s:%d:\n", func, file, line);
	igt_info("Test requirement: %s\n", check);
	if (fmt) {
		va_start(args, fmt);
		vlog(NULL, IGT_LOG_INFO, fmt, args);
		va_end(args);
	}
	if (error)
		igt_info("Last errno: %d, %s\n", error, strerror(error));
	end_skipped();
}

void igt_fail(int exitcode)
{
	if (is_thread())
		fail_thread();
	if (dynamic.running)
		dump_log("Dynamic subtest", dynamic.name);
	else if (subtest.running)
		dump_log("Subtest", subtest.name);
	else
		dump_log("Test", igt_test_name());
	if (is_child())
		exit(exitcode);
	leave_block(FAIL, exitcode);
}

void __igt_fail_assert(const char *domain, const char *file, const int line, const char *func,
		       const char *assertion, const char *fmt, ...)
{
	int error = errno;
	va_list args;

	igt_log(domain, IGT_LOG_CRITICAL, "Test assertion failure function %s, file %s:%d:\n",
		func, file, line);
	igt_log(domain, IGT_LOG_CRITICAL, "Failed assertion: %s\n", assertion);
	if (error)
		igt_log(domain, IGT_LOG_CRITICAL, "Last errno: %d, %s\n", error, strerror(error));
	if (fmt) {
		va_start(args, fmt);
		vlog(domain, IGT_LOG_CRITICAL, fmt, args);
		va_end(args);
	}
	igt_fail(IGT_EXIT_FAILURE);
}

/*
 * Signals and the end of the program
 */

static igt_exit_handler_t exit_handlers[16];
static size_t exit_handler_count;

void igt_install_exit_handler(igt_exit_handler_t fn)
{
	for (size_t i = 0; i < exit_handler_count; i++)
		if (exit_handlers[i] == fn)
			return;
	igt_assert(exit_handler_count < ARRAY_SIZE(exit_handlers));
	exit_handlers[exit_handler_count++] = fn;
}

static void run_exit_handlers(int sig)
{
	/* One that fails is not called again. */
	while (exit_handler_count)
		exit_handlers[--exit_handler_count](sig);
	kill_and_reap(SIGKILL);
}

static void exit_of_program(void)
{
	if (is_child())
		return;
	run_exit_handlers(0);
	if (exiting)
		return;
	fprintf(stderr, "%s: exit() in the middle of the test\n", igt_test_name());
	_exit(IGT_EXIT_ABORT);
}

static void fatal_signal(int sig)
{
	static const char before[] = "Received signal SIG", after[] = ".\n";
	bool is_crash = sig == SIGSEGV || sig == SIGBUS || sig == SIGFPE;
	const char *name = sigabbrev_np(sig);

	if (is_crash || sig == SIGABRT || sig == SIGQUIT) {
		if (write(STDERR_FILENO, before, strlen(before)) < 0 ||
		    write(STDERR_FILENO, name, strlen(name)) < 0 ||
		    write(STDERR_FILENO, after, strlen(after)) < 0)
			_exit(IGT_EXIT_ABORT);
	}
	if (is_crash && is_child())
		_exit(128 + sig);
	if (is_crash && is_thread())
		fail_thread();
	if (is_crash && (subtest.running || dynamic.running))
		leave_block(CRASH, 128 + sig);
	if (!is_child())
		run_exit_handlers(sig);
	signal(sig, SIG_DFL);
	raise(sig);
}

static void catch_fatal_signals(void)
{
	static const int signals[] = { SIGHUP, SIGINT, SIGPIPE, SIGTERM, SIGQUIT, SIGABRT,
				       SIGSEGV, SIGBUS, SIGFPE };
	/* raise() in the handler takes effect at once. */
	const struct sigaction action = { .sa_handler = fatal_signal, .sa_flags = SA_NODEFER };

	for (size_t i = 0; i < ARRAY_SIZE(signals); i++)
		sigaction(signals[i], &action, NULL);
}

void igt_exit(void)
{
	if (!any_matched) {
		igt_log(LIBRARY, IGT_LOG_CRITICAL, "Unknown subtest: %s\n", subtest_pattern);
		exit_code = IGT_EXIT_INVALID;
	} else if (!exit_code && !any_passed && any_skipped) {
		exit_code = IGT_EXIT_SKIP;
	}
	if (!listing)
		igt_kmsg(KMSG_INFO "%s: exiting, ret=%d\n", igt_test_name(), exit_code);
	igt_log(LIBRARY, IGT_LOG_DEBUG, "Exiting with status code %d\n", exit_code);
	exiting = true;
	exit(exit_code);
}

/*
 * Blocks
 */

static char description[512];

void igt_describe_f(const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	vsnprintf(description, sizeof(description), fmt, args);
	va_end(args);
}

/* Patterns, with commas between them. The last that matches decides, "!" turns it around. */
static bool matches(const char *name, const char *patterns)
{
	char *all = strdup(patterns), *next = all, *pattern;
	bool result = false;

	while ((pattern = strsep(&next, ","))) {
		bool not = *pattern == '!';

		if (!fnmatch(pattern + not, name, 0))
			result = !not;
	}
	free(all);
	return result;
}

bool __igt_fixture(void)
{
	in_fixture = !listing && !henceforth;
	errno = 0;
	return in_fixture;
}

void __igt_fixture_complete(void)
{
	in_fixture = false;
	kill_and_reap(SIGKILL);
}

void __igt_subtest_group_save(int *save, int *desc)
{
	*save = henceforth;
	*desc = 0;
}

void __igt_subtest_group_restore(int save, int desc)
{
	(void)desc;
	henceforth = save;
}

bool __igt_run_subtest(const char *name, const char *file, const int line)
{
	bool selected = !subtest_pattern || matches(name, subtest_pattern);
	char text[sizeof(description)];

	memcpy(text, description, sizeof(text));
	description[0] = '\0';
	if (listing && !describing) {
		puts(name);
		return false;
	}
	any_matched |= selected;
	if (!selected)
		return false;
	if (describing) {
		printf("SUB %s %s:%d:\n  %s\n\n", name, file, line,
		       *text ? text : "NO DOCUMENTATION!");
		return false;
	}
	if (henceforth) {
		count_subtest(henceforth);
		sentinel("Subtest %s: %s (0.000s)\n", name, outcomes[henceforth]);
		return false;
	}
	is_container = false;
	dynamic_ran = false;
	dynamic_failed = false;
	begin_block(&subtest, "", name);
	return true;
}

bool __igt_enter_dynamic_container(void)
{
	is_container = true;
	return true;
}

bool __igt_run_dynamic_subtest(const char *name)
{
	if (dynamic_pattern && !matches(name, dynamic_pattern))
		return false;
	begin_block(&dynamic, "dynamic ", name);
	return true;
}

/*
 * Processes
 */

/* A child of igt_fork(); 0 once it is waited for */
static pid_t *children;
static size_t child_count;

bool __igt_fork(void)
{
	pid_t pid;

	children = reallocarray(children, child_count + 1, sizeof(*children));
	igt_assert(children);
	fflush(NULL);
	pid = fork();
	igt_assert(pid >= 0);
	/* The others are no children of the child. */
	if (!pid)
		child_count = 0;
	else
		children[child_count++] = pid;
	return !pid;
}

static void kill_and_reap(int sig)
{
	if (is_child())
		return;
	for (size_t i = 0; i < child_count; i++)
		if (children[i])
			kill(children[i], sig);
	for (size_t i = 0; i < child_count; i++)
		while (children[i] && waitpid(children[i], NULL, 0) < 0 && errno == EINTR)
			;
	child_count = 0;
}

void igt_kill_children(int signal)
{
	kill_and_reap(signal);
}

/* The exit code of a status that waitpid() gave; 0 for success */
static int report_child(size_t child, int status)
{
	if (WIFSIGNALED(status)) {
		printf("child %zu died with signal %d, %s\n", child, WTERMSIG(status),
		       strsignal(WTERMSIG(status)));
		return 128 + WTERMSIG(status);
	}
	if (WEXITSTATUS(status))
		printf("child %zu failed with exit status %d\n", child, WEXITSTATUS(status));
	return WEXITSTATUS(status);
}

void igt_waitchildren(void)
{
	size_t left = child_count;
	int code = 0, status;

	while (left && !code) {
		pid_t pid = wait(&status);

		if (pid < 0 && errno != EINTR)
			break;
		for (size_t i = 0; i < child_count; i++) {
			if (pid <= 0 || children[i] != pid)
				continue;
			children[i] = 0;
			left--;
			code = report_child(i, status);
		}
	}
	/* The rest, once one has failed */
	kill_and_reap(SIGKILL);
	if (code)
		igt_fail(code);
}

/*
 * Cards
 */

static char *filters[16];
static int filter_count;

static void add_filters(char *text)
{
	char *filter;

	while ((filter = strsep(&text, ";"))) {
		if (strncmp(filter, "drm:/dev/dri/", strlen("drm:/dev/dri/"))) {
			fprintf(stderr, "%s: a device filter is drm:/dev/dri/cardN, not '%s'\n",
				igt_test_name(), filter);
			exit(IGT_EXIT_INVALID);
		}
		if (filter_count < (int)ARRAY_SIZE(filters))
			filters[filter_count++] = filter;
	}
}

int igt_device_filter_count(void)
{
	return filter_count;
}

const char *igt_device_filter_get(int num)
{
	return num >= 0 && num < filter_count ? filters[num] : NULL;
}

int drm_open_filtered_card(int idx)
{
	const char *filter = igt_device_filter_get(idx);

	return filter ? open(filter + strlen("drm:"), O_RDWR | O_CLOEXEC) : -1;
}

/* @chipset: DRIVER_ANY */
int __drm_open_driver(int chipset)
{
	static const char * const others[] = { "vgem", "vkms", "virtio_gpu" };

	(void)chipset;
	if (filter_count)
		return drm_open_filtered_card(0);
	for (int card = 0; card < 64; card++) {
		char path[32], name[32] = "";
		struct drm_version version = { .name = name, .name_len = sizeof(name) - 1 };
		bool wanted;
		int fd;

		snprintf(path, sizeof(path), "/dev/dri/card%d", card);
		fd = open(path, O_RDWR | O_CLOEXEC);
		if (fd < 0)
			continue;
		wanted = !ioctl(fd, DRM_IOCTL_VERSION, &version);
		for (size_t i = 0; i < ARRAY_SIZE(others); i++)
			wanted &= !!strcmp(name, others[i]);
		if (wanted)
			return fd;
		close(fd);
	}
	return -1;
}

int drm_close_driver(int fd)
{
	return close(fd);
}

uint64_t igt_nsec_elapsed(struct timespec *start)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	if (!start->tv_sec && !start->tv_nsec) {
		*start = now;
		return 0;
	}
	return (now.tv_sec - start->tv_sec) * INT64_C(1000000000) + now.tv_nsec - start->tv_nsec;
}

/*
 * The program
 */

enum { OPT_LIST = 1000, OPT_RUN, OPT_DYNAMIC, OPT_DEBUG, OPT_DESCRIBE, OPT_DEVICE };

static const struct option own_options[] = {
	{ "list-subtests", no_argument, NULL, OPT_LIST },
	{ "run-subtest", required_argument, NULL, OPT_RUN },
	{ "dynamic-subtest", required_argument, NULL, OPT_DYNAMIC },
	{ "debug", no_argument, NULL, OPT_DEBUG },
	{ "describe", optional_argument, NULL, OPT_DESCRIBE },
	{ "device", required_argument, NULL, OPT_DEVICE },
	{ "help", no_argument, NULL, 'h' },
};

static void print_usage(FILE *to, const char *help)
{
	fprintf(to, "Usage: %s [OPTIONS]\n"
		"  --list-subtests\n"
		"  --run-subtest <pattern>\n"
		"  --dynamic-subtest <pattern>\n"
		"  --debug\n"
		"  --describe[=pattern]\n"
		"  --device filters\n"
		"  --help|-h\n"
		"%s\n", igt_test_name(), help ? help : "");
}

static void print_version(void)
{
	struct utsname name;

	uname(&name);
	printf("IGT-Version: 2.5-stand-in (%s) (%s: %s %s)\n", name.machine, name.sysname,
	       name.release, name.machine);
}

int igt_subtest_init_parse_opts(int *argc, char **argv, const char *short_opts,
				const struct option *long_opts, const char *help,
				igt_opt_handler_t handler, void *data)
{
	const char *device = getenv("IGT_DEVICE");
	struct option options[ARRAY_SIZE(own_options) + 32] = { 0 };
	size_t count = ARRAY_SIZE(own_options);
	char letters[64];
	int opt, fd, index = 0;

	main_pid = getpid();
	sentinels_on_stderr = getenv("IGT_SENTINEL_ON_STDERR");
	memcpy(options, own_options, sizeof(own_options));
	for (; long_opts && long_opts->name && count < ARRAY_SIZE(options) - 1; long_opts++)
		options[count++] = *long_opts;
	snprintf(letters, sizeof(letters), "h%s", short_opts ? short_opts : "");

	while ((opt = getopt_long(*argc, argv, letters, options, &index)) != -1) {
		switch (opt) {
		case OPT_LIST:
			listing = true;
			break;
		case OPT_RUN:
			subtest_pattern = optarg;
			break;
		case OPT_DYNAMIC:
			dynamic_pattern = optarg;
			break;
		case OPT_DEBUG:
			log_level = IGT_LOG_DEBUG;
			break;
		case OPT_DESCRIBE:
			describing = true;
			listing = true;
			subtest_pattern = optarg;
			break;
		case OPT_DEVICE:
			device = optarg;
			break;
		case 'h':
			print_usage(stdout, help);
			exit(IGT_EXIT_SUCCESS);
		default:
			if (opt == '?')
				print_usage(stderr, help);
			else if (handler && !handler(opt, index, data))
				break;
			exit(IGT_EXIT_INVALID);
		}
	}
	if (device && *device)
		add_filters(strdup(device));

	setlinebuf(stdout);
	/* A child that forks while a thread logs needs the lock as well. */
	pthread_atfork(lock_log, unlock_log, unlock_log);
	if (describing && &__igt_test_description)
		printf("%s\n\n", __igt_test_description);
	if (listing && !describing)
		subtest_pattern = NULL;
	any_matched = !subtest_pattern;
	if (listing)
		return 0;

	/* Memory that runs out costs the test, and not the runner. */
	fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
	if (fd >= 0) {
		if (write(fd, "1000", 4) < 0)
			igt_debug("no oom_score_adj: %s\n", strerror(errno));
		close(fd);
	}
	atexit(exit_of_program);
	catch_fatal_signals();
	print_version();
	igt_kmsg(KMSG_INFO "%s: executing\n", igt_test_name());
	return 0;
}
