// SPDX-License-Identifier: MIT
/*
 * Maps one buffer object, touches every page of it and reports what that took:
 * page faults, page tables, and the entries that map it. What to run on a GPU to
 * see whether its objects get huge page-table entries.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "bo.h"

static const char usage[] =
"Usage: bo-map [OPTION]... DEVICE\n"
"Map a buffer object of a DRM device (say, /dev/dri/card0) and show how.\n"
"\n"
"  -p, --placement=vram|system  where the object is (default vram)\n"
"  -s, --size=MIB               its size in MiB (default 256)\n"
"  -m, --misalign               map it one page beside a huge boundary, so that only\n"
"                               4 KiB entries fit\n"
"  -f, --huge-faults=0|1|2      set ttm.huge_faults first, and back at the end\n"
"  -c, --csv                    one line: driver,placement,size_mib,huge_faults,\n"
"                               faults,pgtable_kib,pte,pmd,pud,instructions\n"
"  -h, --help                   this text\n"
"\n"
"\"instructions\" are nanoseconds spent on the first touch of every page beyond those\n"
"of a second one: instructions where the clock counts them (qemu -icount shift=0).\n"
"Needs root, debugfs and CONFIG_PTDUMP_DEBUGFS for the entries.\n";

static int saved_switch = -1;

static void restore_switch(void)
{
	if (saved_switch >= 0)
		bo_set_huge_faults(saved_switch);
}

__attribute__((format(printf, 1, 2), noreturn))
static void die(const char *format, ...)
{
	va_list args;

	fputs("bo-map: ", stderr);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
	exit(EXIT_FAILURE);
}

static uint64_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000ull + t.tv_nsec;
}

/*
 * Returns right after a timer interrupt, so that the next one, which would be counted as
 * thousands of instructions, is as far away as can be.
 */
static void await_tick(void)
{
	const uint64_t start = now(), longest = 20000000, interrupt = 2000;
	uint64_t last = start, t;

	while ((t = now()) - last < interrupt && t - start < longest)
		last = t;
}

/* A write to each page, as cheap as it gets: what is left is the faults. */
static uint64_t touch(volatile char *map, uint64_t size)
{
	uint64_t start;

	await_tick();
	start = now();
	for (uint64_t i = 0; i < size; i += BO_PTE_SIZE)
		map[i] = i >> 12;
	return now() - start;
}

/* A free address for @size bytes that no entry larger than 4 KiB can start at. */
static void *misaligned_address(uint64_t size)
{
	uint64_t length = size + 2 * BO_PMD_SIZE;
	char *start = mmap(NULL, length, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (start == MAP_FAILED)
		die("no address space for the object: %s", strerror(errno));
	munmap(start, length);
	return (void *)(((uintptr_t)start | (BO_PMD_SIZE - 1)) + 1 + BO_PTE_SIZE);
}

static long parse_number(const char *text, const char *what, long min, long max)
{
	char *end;
	long n;

	errno = 0;
	n = strtol(text, &end, 10);
	if (errno || end == text || *end || n < min || n > max)
		die("%s must be a number from %ld to %ld, not '%s'", what, min, max, text);
	return n;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "placement", required_argument, NULL, 'p' },
		{ "size", required_argument, NULL, 's' },
		{ "misalign", no_argument, NULL, 'm' },
		{ "huge-faults", required_argument, NULL, 'f' },
		{ "csv", no_argument, NULL, 'c' },
		{ "help", no_argument, NULL, 'h' },
		{ }
	};
	enum bo_placement placement = BO_VRAM;
	uint64_t size = 256, kib, faults, instructions, again;
	struct bo_levels levels;
	int huge_faults = -1;
	bool csv = false, misalign = false;
	int fd, opt, err;
	int64_t wrong;
	struct bo bo;
	void *map;

	while ((opt = getopt_long(argc, argv, "p:s:mf:ch", options, NULL)) != -1) {
		switch (opt) {
		case 'p':
			if (!strcmp(optarg, "vram"))
				placement = BO_VRAM;
			else if (!strcmp(optarg, "system"))
				placement = BO_SYSTEM;
			else
				die("placement must be vram or system, not '%s'", optarg);
			break;
		case 's':
			size = parse_number(optarg, "size", 1, 1 << 20);
			break;
		case 'm':
			misalign = true;
			break;
		case 'f':
			huge_faults = parse_number(optarg, "huge-faults", 0, 2);
			break;
		case 'c':
			csv = true;
			break;
		case 'h':
			fputs(usage, stdout);
			return 0;
		default:
			die("try 'bo-map --help'");
		}
	}
	if (optind != argc - 1)
		die("name one device, say /dev/dri/card0; try 'bo-map --help'");

	fd = open(argv[optind], O_RDWR | O_CLOEXEC);
	if (fd < 0)
		die("cannot open %s: %s", argv[optind], strerror(errno));
	if (!*bo_driver(fd))
		die("%s: no known driver; bo-map supports qxl and radeon", argv[optind]);
	if (!bo_supported(fd, placement))
		die("%s: %s has no objects in %s", argv[optind], bo_driver(fd),
		    bo_placement_name(placement));

	if (huge_faults >= 0) {
		saved_switch = bo_get_huge_faults();
		/* A kernel without the switch has 4 KiB entries only. */
		if (saved_switch < 0 && huge_faults)
			die("this kernel has no ttm.huge_faults");
		atexit(restore_switch);
		if (saved_switch >= 0) {
			err = bo_set_huge_faults(huge_faults);
			if (err)
				die("cannot set ttm.huge_faults: %s", strerror(-err));
		}
	} else {
		huge_faults = bo_get_huge_faults();
		if (huge_faults < 0)
			huge_faults = 0;
	}

	err = bo_create(fd, placement, size << 20, &bo);
	if (err)
		die("cannot create %llu MiB in %s: %s", (unsigned long long)size,
		    bo_placement_name(placement), strerror(-err));
	map = bo_map(&bo, misalign ? misaligned_address(bo.size) : NULL, bo.size,
		     PROT_READ | PROT_WRITE, misalign ? MAP_FIXED_NOREPLACE : 0);
	if (map == MAP_FAILED)
		die("cannot map the object: %s", strerror(errno));

	/* Pages of this program that the loop needs are there from now on. */
	now();
	bo_pgtable_kib();
	kib = bo_pgtable_kib();
	faults = bo_faults();
	instructions = touch(map, bo.size);
	faults = bo_faults() - faults;
	/* A coarse clock may find the second one longer. */
	again = touch(map, bo.size);
	instructions = instructions > again ? instructions - again : 0;
	kib = bo_pgtable_kib() - kib;

	err = bo_levels(map, bo.size, &levels);
	if (err)
		die("cannot read the page tables from debugfs: %s", strerror(-err));

	bo_fill(map, 0, bo.size, BO_EVERY_PAGE, size);
	wrong = bo_check(map, 0, bo.size, BO_EVERY_PAGE, size);
	if (wrong >= 0)
		die("wrong contents at byte %lld", (long long)wrong);

	printf(csv ? "%s,%s%s,%llu,%d,%llu,%llu,%llu,%llu,%llu,%llu\n" :
	       "%1$s, object of %2$s%3$s memory, %4$llu MiB, ttm.huge_faults=%5$d\n"
	       "  faults        %6$llu\n"
	       "  page tables   %7$llu KiB\n"
	       "  PTE entries   %8$llu\n"
	       "  PMD entries   %9$llu\n"
	       "  PUD entries   %10$llu\n"
	       "  instructions  %11$llu\n",
	       bo_driver(fd), bo_placement_name(placement), misalign ? "-misaligned" : "",
	       (unsigned long long)size,
	       huge_faults, (unsigned long long)faults, (unsigned long long)kib,
	       (unsigned long long)levels.pte, (unsigned long long)levels.pmd,
	       (unsigned long long)levels.pud, (unsigned long long)instructions);

	munmap(map, bo.size);
	bo_destroy(&bo);
	return 0;
}
