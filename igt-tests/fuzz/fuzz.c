// SPDX-License-Identifier: MIT
/*
 * Runs a fuzzer, as a user without rights, on buffer objects of all cards, on a PCI BAR, by way of
 * sysfs and of vfio, and on /dev/test_pfnmap in each of its ways: mapped.so, from this program's
 * folder, puts them where the fuzzer expects its own memory. Meanwhile objects are pushed out of
 * VRAM, the test device is zapped and the switch is turned. Fails if the fuzzer has not got at each
 * of these, or has left something behind.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <inttypes.h>
#include <libgen.h>
#include <limits.h>
#include <linux/vfio.h>
#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <xf86drm.h>

#include "bo.h"
#include "fuzz.h"
#include "test_pfnmap_uapi.h"
#include "vttm.h"

#define MiB	(UINT64_C(1) << 20)
#define GiB	(UINT64_C(1) << 30)
#define BAR	2	/* of ivshmem-plain: memory that nobody uses */
#define TEST_DEVICE	"/dev/test_pfnmap"
/* From here on, out of the way of the fuzzer's own files. */
#define HIGH_FD	900

static const char usage[] =
	"usage: fuzz [--beside PID] SECONDS COMMAND...\n"
	"  --beside PID  no longer than this test runs, which moves objects itself\n";

static const struct {
	const char *name;
	struct test_pfnmap_config config;
} files[] = {
	[FUZZ_SYSFS] = { .name = "BAR by sysfs" },
	[FUZZ_VFIO] = { .name = "BAR by vfio" },
	[FUZZ_TEST] = { .name = "test device by remap" },
	{
		.name = "test device by insert",
		.config = { .way = TEST_PFNMAP_INSERT, .answer = TEST_PFNMAP_RETRY },
	}, {
		.name = "test device by special",
		.config = { .way = TEST_PFNMAP_SPECIAL, .flags = TEST_PFNMAP_MKWRITE },
	}, {
		.name = "test device by range",
		.config = { .way = TEST_PFNMAP_RANGE },
	}, {
		/* Runs of 3 MiB: entries of 2 MiB beside those of 4 KiB */
		.name = "test device by range in pieces",
		.config = { .way = TEST_PFNMAP_RANGE, .flags = TEST_PFNMAP_MKWRITE, .run = 768 },
	},
};

_Static_assert(sizeof(files) / sizeof(files[0]) == FUZZ_FILES, "each file has a name");

struct splits {
	unsigned long puds, pmds;
};

struct fuzzer {
	const char *name;
	char **command;
	const struct passwd *user;
	struct fuzz_state *state;
	int beside;		/* pidfd of a test, or -1 */
	pid_t pid;
	time_t started, end;
	int runs, short_runs;
	unsigned int random;
	unsigned long moves, zaps;
	struct splits by_zaps;
};

struct counts {
	unsigned long faults[FUZZ_CARDS];
	struct splits splits;
	uint64_t used[FUZZ_CARDS];	/* of vttm's VRAM */
};

__attribute__((format(printf, 1, 2), noreturn))
static void die(const char *format, ...)
{
	va_list args;

	fflush(stdout);
	fprintf(stderr, "fuzz: ");
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
	exit(1);
}

static time_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec;
}

/* For the fuzzer to inherit. */
static int high(int fd)
{
	int new = fcntl(fd, F_DUPFD, HIGH_FD);

	if (new < 0)
		die("no file descriptor from %d on: %s", HIGH_FD, strerror(errno));
	close(fd);
	return new;
}

/*
 * What is mapped
 */

static void find_cards(struct fuzz_state *state)
{
	for (int i = 0; i < FUZZ_CARDS; i++) {
		struct fuzz_card *card = &state->card[state->cards];
		int fd = bo_open_card(i);

		if (fd < 0)
			continue;
		if (!*bo_driver(fd)) {
			close(fd);
			continue;
		}
		card->fd = high(fd);
		card->vttm = !strcmp(bo_driver(fd = card->fd), "vttm");
		card->vram = bo_supported(fd, BO_VRAM);
		card->system = bo_supported(fd, BO_SYSTEM);
		card->vram_size = bo_vram_size(fd);
		state->cards++;
	}
	if (!state->cards)
		die("no card of a known driver in /dev/dri");
}

static bool is_vfio(const char *device)
{
	char path[PATH_MAX], driver[PATH_MAX];
	ssize_t length;

	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/driver", device);
	length = readlink(path, driver, sizeof(driver) - 1);
	if (length < 0)
		return false;
	driver[length] = '\0';
	return !strcmp(basename(driver), "vfio-pci");
}

/* The device that vfio-pci has; it is nobody else's then. */
static void find_device(char *name, size_t size)
{
	DIR *devices = opendir("/sys/bus/pci/devices");
	struct dirent *entry;

	*name = '\0';
	while (devices && !*name && (entry = readdir(devices))) {
		if (is_vfio(entry->d_name))
			snprintf(name, size, "%s", entry->d_name);
	}
	if (devices)
		closedir(devices);
	if (!*name)
		die("no PCI device is bound to vfio-pci; see guest/run --vfio");
}

static void open_bar(struct fuzz_state *state)
{
	struct vfio_region_info info = { .argsz = sizeof(info), .index = BAR };
	struct fuzz_file *sysfs = &state->file[FUZZ_SYSFS], *vfio = &state->file[FUZZ_VFIO];
	char name[NAME_MAX + 1], path[PATH_MAX], link[PATH_MAX];
	int group, container, device;
	ssize_t length;

	find_device(name, sizeof(name));
	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/resource%d", name, BAR);
	sysfs->fd = open(path, O_RDWR | O_SYNC | O_CLOEXEC);
	if (sysfs->fd < 0)
		die("%s: %s", path, strerror(errno));
	sysfs->fd = high(sysfs->fd);

	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/iommu_group", name);
	length = readlink(path, link, sizeof(link) - 1);
	if (length < 0)
		die("%s: %s; vfio's no-IOMMU mode must be on when the device is bound", path,
		    strerror(errno));
	link[length] = '\0';
	snprintf(path, sizeof(path), "/dev/vfio/noiommu-%s", basename(link));
	group = open(path, O_RDWR | O_CLOEXEC);
	if (group < 0)
		die("%s: %s", path, strerror(errno));
	container = open("/dev/vfio/vfio", O_RDWR | O_CLOEXEC);
	if (container < 0 || ioctl(group, VFIO_GROUP_SET_CONTAINER, &container) ||
	    ioctl(container, VFIO_SET_IOMMU, VFIO_NOIOMMU_IOMMU))
		die("vfio's container: %s", strerror(errno));
	device = ioctl(group, VFIO_GROUP_GET_DEVICE_FD, name);
	if (device < 0 || ioctl(device, VFIO_DEVICE_GET_REGION_INFO, &info))
		die("vfio, %s: %s", name, strerror(errno));
	vfio->fd = high(device);
	vfio->offset = info.offset;
	sysfs->size = info.size;
	vfio->size = info.size;
	if (vfio->size < GiB)
		die("%s: its BAR has %" PRIu64 " MiB, wanted 1024", name, vfio->size / MiB);
}

static struct test_pfnmap_info test_info(const struct fuzz_file *file)
{
	struct test_pfnmap_info info;

	if (ioctl(file->fd, TEST_PFNMAP_INFO, &info))
		die("TEST_PFNMAP_INFO: %s", strerror(errno));
	return info;
}

/* Only root may open it, but whoever inherits a file may use it. */
static void open_test_device(struct fuzz_state *state)
{
	for (int i = FUZZ_TEST; i < FUZZ_FILES; i++) {
		struct test_pfnmap_config config = files[i].config;
		struct fuzz_file *file = &state->file[i];
		struct test_pfnmap_info info;

		file->fd = open(TEST_DEVICE, O_RDWR | O_CLOEXEC);
		if (file->fd < 0)
			die(TEST_DEVICE ": %s", strerror(errno));
		file->fd = high(file->fd);
		info = test_info(file);
		if (info.size < 2 * GiB)
			die(TEST_DEVICE " has %" PRIu64 " MiB, wanted 2048; see igt-tests/run/soak",
			    (uint64_t)info.size / MiB);
		config.max_order = info.max_order;
		if (ioctl(file->fd, TEST_PFNMAP_CONFIG, &config))
			die("TEST_PFNMAP_CONFIG: %s", strerror(errno));
		/* Only what faults have mapped comes back after a zap. */
		file->offset = i == FUZZ_TEST ? 0 : GiB;
		file->size = GiB;
	}
}

static void add_victim(const struct passwd *user, int fd)
{
	char path[64];
	int file;

	/* It must not look empty. */
	snprintf(path, sizeof(path), FUZZ_VICTIMS "/%d", fd);
	file = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (file < 0 || ftruncate(file, 2 * MiB) || fchown(file, user->pw_uid, user->pw_gid))
		die("%s: %s", path, strerror(errno));
	close(file);
}

/* dma-bufs of each card, the BAR and the test device. */
static void make_victims(const struct fuzz_state *state, const struct passwd *user)
{
	if (mkdir(FUZZ_VICTIMS, 0755) && errno != EEXIST)
		die("mkdir " FUZZ_VICTIMS ": %s", strerror(errno));
	for (int i = 0; i < state->cards; i++) {
		const struct fuzz_card *card = &state->card[i];
		int dmabuf, ret;
		struct bo bo;

		ret = bo_create(card->fd, card->vram ? BO_VRAM : BO_SYSTEM, 4 * MiB, &bo);
		if (ret)
			die("%s: no object: %s", bo_driver(card->fd), strerror(-ret));
		if (drmPrimeHandleToFD(card->fd, bo.handle, DRM_RDWR, &dmabuf))
			die("%s: no dma-buf: %s", bo_driver(card->fd), strerror(errno));
		bo_destroy(&bo);
		add_victim(user, high(dmabuf));
	}
	add_victim(user, state->file[FUZZ_SYSFS].fd);
	for (int i = FUZZ_TEST; i < FUZZ_FILES; i++)
		add_victim(user, state->file[i].fd);
}

/* Returns the file descriptor that the fuzzer inherits. */
static int make_state(struct fuzz_state **state)
{
	int fd = memfd_create("fuzz", 0);

	if (fd < 0 || ftruncate(fd, sizeof(**state)))
		die("memfd_create: %s", strerror(errno));
	fd = high(fd);
	*state = mmap(NULL, sizeof(**state), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (*state == MAP_FAILED)
		die("mmap: %s", strerror(errno));
	return fd;
}

/*
 * What has happened
 */

static unsigned long number_in(const char *path, const char *key)
{
	FILE *f = fopen(path, "re");
	unsigned long value = 0;
	char word[64];
	bool found = false;

	if (!f)
		die("%s: %s", path, strerror(errno));
	while (!found && fscanf(f, "%63s %lu", word, &value) == 2)
		found = !strcmp(word, key);
	fclose(f);
	if (!found)
		die("%s: no '%s'", path, key);
	return value;
}

static struct splits count_splits(void)
{
	return (struct splits){
		.puds = number_in("/proc/vmstat", "thp_split_pud"),
		.pmds = number_in("/proc/vmstat", "thp_split_pmd"),
	};
}

static struct counts count(const struct fuzz_state *state)
{
	struct counts counts = { .splits = count_splits() };

	for (int i = 0; i < state->cards; i++) {
		const struct fuzz_card *card = &state->card[i];
		struct drm_vttm_heap heap = { .domain = DRM_VTTM_DOMAIN_VRAM };
		char device[PATH_MAX], path[PATH_MAX];

		if (bo_device(card->fd, device, sizeof(device)))
			die("card %d of %d has no folder in sysfs", i + 1, state->cards);
		snprintf(path, sizeof(path), "/sys/kernel/debug/dri/%s/ttm_faults", basename(device));
		counts.faults[i] = number_in(path, "faults:");
		if (card->vttm && !bo_ioctl(card->fd, DRM_IOCTL_VTTM_HEAP, &heap))
			counts.used[i] = heap.used;
	}
	return counts;
}

/*
 * The fuzzer
 */

static void limit(int resource, rlim_t value)
{
	const struct rlimit limit = { value, value };

	if (setrlimit(resource, &limit))
		die("setrlimit: %s", strerror(errno));
}

static void start(struct fuzzer *fuzzer)
{
	fflush(stdout);
	fuzzer->started = now();
	fuzzer->runs++;
	fuzzer->pid = fork();
	if (fuzzer->pid < 0)
		die("fork: %s", strerror(errno));
	if (fuzzer->pid)
		return;

	/* Of the guest's memory, it takes no more than what leaves room for others. */
	limit(RLIMIT_CORE, 0);
	limit(RLIMIT_DATA, 256 * MiB);
	limit(RLIMIT_FSIZE, 16 * MiB);
	limit(RLIMIT_MEMLOCK, 64 * MiB);
	limit(RLIMIT_NOFILE, 1024);
	limit(RLIMIT_NPROC, 300);
	/* The objects move however many processes there are. */
	if (nice(10) < 0 || setsid() < 0 || setgroups(0, NULL) || setgid(fuzzer->user->pw_gid) ||
	    setuid(fuzzer->user->pw_uid))
		die("cannot become %s: %s", fuzzer->user->pw_name, strerror(errno));
	execvp(fuzzer->command[0], fuzzer->command);
	die("%s: %s", fuzzer->command[0], strerror(errno));
}

/* Whoever is left of the fuzzer, whatever session it has moved to. */
static void kill_all(const struct fuzzer *fuzzer)
{
	pid_t pid = fork();

	if (pid < 0)
		die("fork: %s", strerror(errno));
	if (!pid) {
		if (!setgid(fuzzer->user->pw_gid) && !setuid(fuzzer->user->pw_uid))
			kill(-1, SIGKILL);
		_exit(0);
	}
	waitpid(pid, NULL, 0);
}

/* Of the fuzzer that has ended: whether that is a reason to give up. */
static void ended(struct fuzzer *fuzzer, int status)
{
	time_t lasted = now() - fuzzer->started;

	kill_all(fuzzer);
	fuzzer->pid = 0;
	if (lasted >= 5 || now() >= fuzzer->end)
		return;
	printf("fuzz: %s ended after %ld s: %s %d\n", fuzzer->name, (long)lasted,
	       WIFSIGNALED(status) ? "signal" : "exit status",
	       WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
	if (++fuzzer->short_runs == 3)
		die("%s ends each time it is started", fuzzer->name);
}

/* Gives it @seconds to end by itself. */
static void stop(struct fuzzer *fuzzer, int seconds)
{
	time_t end = now() + seconds;

	if (fuzzer->pid)
		kill(fuzzer->pid, SIGINT);
	while (fuzzer->pid && now() < end) {
		if (waitpid(fuzzer->pid, NULL, WNOHANG) == fuzzer->pid)
			fuzzer->pid = 0;
		usleep(100 * 1000);
	}
	kill_all(fuzzer);
	if (fuzzer->pid)
		waitpid(fuzzer->pid, NULL, 0);
	fuzzer->pid = 0;
}

/* Pushes objects out, which those who map them do not see but for a fault. */
static void move(struct fuzzer *fuzzer)
{
	for (int i = 0; i < fuzzer->state->cards; i++) {
		const struct fuzz_card *card = &fuzzer->state->card[i];
		struct bo other[12];
		int n = 0;

		if (card->vttm) {
			fuzzer->moves += !vttm_evict_all(card->fd, DRM_VTTM_DOMAIN_VRAM);
			vttm_evict_all(card->fd, DRM_VTTM_DOMAIN_TINY);
		} else if (card->vram && card->vram_size <= 128 * MiB) {
			uint64_t size = card->vram_size / 8 & ~(BO_PTE_SIZE - 1);

			while (n < (int)(sizeof(other) / sizeof(other[0])) &&
			       !bo_create(card->fd, BO_VRAM, size, &other[n]))
				n++;
			fuzzer->moves += !!n;
			while (n)
				bo_destroy(&other[--n]);
		}
	}
	bo_set_huge_faults(rand_r(&fuzzer->random) % 3);
}

/* All that faults have mapped of the test device, or a part of it. */
static void zap(struct fuzzer *fuzzer)
{
	const struct fuzz_file *file = &fuzzer->state->file[FUZZ_FILES - 1];
	struct test_pfnmap_range range = { .offset = file->offset, .length = file->size };
	struct splits before = count_splits(), after;

	if (rand_r(&fuzzer->random) % 2) {
		uint64_t skipped = rand_r(&fuzzer->random) % (file->size / BO_PTE_SIZE);
		uint64_t left = file->size / BO_PTE_SIZE - skipped;

		range.offset += skipped * BO_PTE_SIZE;
		range.length = (rand_r(&fuzzer->random) % left + 1) * BO_PTE_SIZE;
	}
	if (ioctl(file->fd, TEST_PFNMAP_ZAP, &range))
		die("TEST_PFNMAP_ZAP: %s", strerror(errno));
	fuzzer->zaps++;

	/* With what the fuzzer has split meanwhile: better too few for it than too many. */
	after = count_splits();
	fuzzer->by_zaps.puds += after.puds - before.puds;
	fuzzer->by_zaps.pmds += after.pmds - before.pmds;
}

static void run(struct fuzzer *fuzzer)
{
	/* Of none if there is no test; readable once it has ended. */
	struct pollfd test = { .fd = fuzzer->beside, .events = POLLIN };
	int status;

	while (now() < fuzzer->end && poll(&test, 1, 50 + rand_r(&fuzzer->random) % 200) <= 0) {
		if (!fuzzer->pid)
			start(fuzzer);
		if (fuzzer->state->alone)
			move(fuzzer);
		zap(fuzzer);
		if (waitpid(fuzzer->pid, &status, WNOHANG) == fuzzer->pid)
			ended(fuzzer, status);
	}
	stop(fuzzer, 60);
}

/*
 * What it says
 */

static void report(const struct fuzzer *fuzzer, long seconds)
{
	const struct fuzz_state *state = fuzzer->state;

	printf("fuzz: %s: %ld s, %d runs, %lu zaps\n", fuzzer->name, seconds, fuzzer->runs,
	       fuzzer->zaps);
	printf("fuzz: %s: %lu times there was no room for an object\n", fuzzer->name,
	       state->refused);
	for (int i = 0; i < state->cards; i++) {
		const struct fuzz_card *card = &state->card[i];

		printf("fuzz: %s: %lu objects mapped on card %d of %d (%s)\n", fuzzer->name,
		       card->mappings, i + 1, state->cards, bo_driver(card->fd));
		if (!card->mappings)
			die("%s has mapped no object of card %d of %d (%s)", fuzzer->name, i + 1,
			    state->cards, bo_driver(card->fd));
	}
	for (int i = 0; i < FUZZ_FILES; i++) {
		const struct fuzz_file *file = &state->file[i];
		unsigned long faults = i > FUZZ_TEST ? test_info(file).faults : 0;

		printf("fuzz: %s: %s mapped %lu times", fuzzer->name, files[i].name,
		       file->mappings);
		if (i > FUZZ_TEST)
			printf(", %lu faults", faults);
		putchar('\n');
		if (!file->mappings)
			die("%s has not mapped the %s", fuzzer->name, files[i].name);
		if (i > FUZZ_TEST && !faults)
			die("%s took no fault on the %s", fuzzer->name, files[i].name);
	}
}

/* What is known if nobody else uses the cards. */
static void report_counts(const struct fuzzer *fuzzer, const struct counts *before,
			  const struct counts *after)
{
	unsigned long puds = after->splits.puds - before->splits.puds - fuzzer->by_zaps.puds;
	unsigned long pmds = after->splits.pmds - before->splits.pmds - fuzzer->by_zaps.pmds;
	unsigned long faults = 0;

	for (int i = 0; i < fuzzer->state->cards; i++)
		faults += after->faults[i] - before->faults[i];
	printf("fuzz: %s: %lu faults on objects, %lu moves; split: %lu of 1 GiB, %lu of 2 MiB\n",
	       fuzzer->name, faults, fuzzer->moves, puds, pmds);
	if (!faults)
		die("%s took no fault on any object", fuzzer->name);
	/* No memory but objects, BARs and the test device has these. */
	if (!puds)
		die("%s has split no entry of 1 GiB", fuzzer->name);
	if (!fuzzer->moves)
		die("no object was moved while %s ran", fuzzer->name);
	for (int i = 0; i < fuzzer->state->cards; i++) {
		if (after->used[i] > before->used[i])
			die("%s has gone, but %" PRIu64 " KiB of vttm's VRAM are still in use",
			    fuzzer->name, (after->used[i] - before->used[i]) / 1024);
	}
}

/* The kernel takes a moment to free what a process has left. */
static struct counts count_at_rest(const struct fuzz_state *state, const struct counts *before)
{
	struct counts after;
	bool more = true;

	for (int tries = 0; more && tries < 100; tries++) {
		if (tries)
			usleep(100 * 1000);
		after = count(state);
		more = false;
		for (int i = 0; i < state->cards; i++)
			more |= after.used[i] > before->used[i];
	}
	return after;
}

static long positive(const char *name, const char *text)
{
	char *end;
	long value;

	errno = 0;
	value = strtol(text, &end, 10);
	if (end == text || *end || errno || value < 1 || value > INT_MAX)
		die("%s must be a positive number, not '%s'", name, text);
	return value;
}

int main(int argc, char **argv)
{
	struct fuzzer fuzzer = { .random = 1, .beside = -1 };
	char self[PATH_MAX], text[PATH_MAX + 16];
	struct counts before, after;
	time_t started;
	long seconds;
	int fd;

	argv++;
	if (argc > 2 && !strcmp(argv[0], "--beside")) {
		fuzzer.beside = syscall(SYS_pidfd_open, positive("PID", argv[1]), 0);
		if (fuzzer.beside < 0)
			die("process %s: %s", argv[1], strerror(errno));
		argv += 2;
		argc -= 2;
	}
	if (argc < 3) {
		fputs(usage, stderr);
		return 1;
	}
	seconds = positive("SECONDS", argv[0]);
	fuzzer.command = argv + 1;
	fuzzer.name = argv[1];

	fuzzer.user = getpwnam("nobody");
	if (geteuid() || !fuzzer.user)
		die("root, and a user 'nobody', are needed");
	if (!realpath("/proc/self/exe", self))
		die("/proc/self/exe: %s", strerror(errno));
	snprintf(text, sizeof(text), "%s/mapped.so", dirname(self));
	if (access(text, R_OK))
		die("%s: %s", text, strerror(errno));

	fd = make_state(&fuzzer.state);
	fuzzer.state->alone = fuzzer.beside < 0;
	find_cards(fuzzer.state);
	open_bar(fuzzer.state);
	open_test_device(fuzzer.state);
	make_victims(fuzzer.state, fuzzer.user);
	if (fuzzer.state->alone)
		bo_restore_huge_faults_at_exit();

	setenv("LD_PRELOAD", text, 1);
	snprintf(text, sizeof(text), "%d", fd);
	setenv(FUZZ_STATE, text, 1);

	before = count(fuzzer.state);
	started = now();
	fuzzer.end = started + seconds;
	run(&fuzzer);
	report(&fuzzer, now() - started);
	if (fuzzer.state->alone) {
		after = count_at_rest(fuzzer.state, &before);
		report_counts(&fuzzer, &before, &after);
	}
	return 0;
}
