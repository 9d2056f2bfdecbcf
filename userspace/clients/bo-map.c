// SPDX-License-Identifier: MIT
/*
 * Maps a buffer object, or one for each of some threads, touches every page and reports what
 * that took: page faults, page tables, and the entries that map them. What to run on a GPU to
 * see whether its objects get huge page-table entries.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <xf86drm.h>

#include "bo.h"
#include "cli.h"
#include "report.h"
#include "timing.h"

static const char usage[] =
"Usage: bo-map [OPTION]... DEVICE\n"
"       bo-map --report[=FILE] [DEVICE]\n"
"Map a buffer object of a DRM device (say, /dev/dri/card0) and show how.\n"
"\n"
"  -p, --placement=vram|system|dumb\n"
"                               place of the object (default vram); dumb: a dumb buffer, for\n"
"                               any driver with a display\n"
"  -s, --size=MIB               its size in MiB (default 256)\n"
"  -m, --misalign               map it one page beside a huge boundary, so that only\n"
"                               4 KiB entries fit\n"
"  -t, --threads=N              N threads at once, each on an object of its own; figures are\n"
"                               sums (default 1)\n"
"  -f, --huge-faults=0|1|2      set ttm.huge_faults, and restore it at the end\n"
"  -c, --csv                    one line: driver,placement,size_mib,huge_faults,\n"
"                               faults,pgtable_kib,pte,pmd,pud,instructions,threads\n"
"  -r, --record=NAME            write the page tables to NAME.tables and the accesses to\n"
"                               NAME.accesses, for tlb-model\n"
"  -R, --report[=FILE]          try all placements and sizes on all cards, or on one, with huge\n"
"                               entries off and on, and write a text file to attach to a mail\n"
"                               (default ttm-huge-report.txt)\n"
"  -h, --help, --version\n"
"\n"
"\"first touch\", in CSV \"instructions\", is the time of the first touch of every page beyond that of\n"
"a later one, in nanoseconds: instructions if the clock counts them (qemu -icount shift=0).\n"
"Entries and --record need root, debugfs, CONFIG_PTDUMP_DEBUGFS, and x86-64, or arm64 or riscv64 with\n"
"the series. Otherwise entries are \"-\", and empty in CSV.\n";

#define MAX_THREADS 64

/* What a thread maps and touches, the first of them in the main thread. */
static struct mapping {
	pthread_t thread;
	struct bo bo;
	volatile char *map;
} mappings[MAX_THREADS];

static int threads = 1;
static pthread_barrier_t barrier;

/* A write to each page, as cheap as it gets: what is left is the faults. */
static void touch(const struct mapping *m)
{
	volatile char *map = m->map;
	const uint64_t size = m->bo.size;

	pthread_barrier_wait(&barrier);
	for (uint64_t i = 0; i < size; i += BO_PTE_SIZE)
		map[i] = i >> 12;
	pthread_barrier_wait(&barrier);
}

/* The first time, and then for what it costs without faults */
#define TOUCHES 4

static void *touch_again_and_again(void *mapping)
{
	for (int i = 0; i < TOUCHES; i++)
		touch(mapping);
	return NULL;
}

/* All threads together */
static uint64_t timed_touch(void)
{
	uint64_t start;

	await_tick();
	start = now();
	touch(&mappings[0]);
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

#define NO_PAGE_TABLES	"cannot read the page tables, which needs root, debugfs, " \
			"CONFIG_PTDUMP_DEBUGFS, and x86-64, or arm64 or riscv64 with the series: %s"

/* What --record writes, all of it at the end */
struct record {
	char path[PATH_MAX];
	FILE *f;
};

static struct record create_record(const char *name, const char *suffix)
{
	struct record record;

	snprintf(record.path, sizeof(record.path), "%s.%s", name, suffix);
	record.f = fopen(record.path, "we");
	if (!record.f)
		die("cannot create %s: %s", record.path, strerror(errno));
	return record;
}

static void close_record(struct record *record)
{
	int err = close_output(record->f, record->path);

	if (err)
		die("cannot write %s: %s", record->path, strerror(-err));
}

/* The mappings' page tables, and one touch of each, in the formats of tlb-model. */
static void write_record(const char *name)
{
	struct record tables = create_record(name, "tables");
	struct record accesses = create_record(name, "accesses");

	for (struct mapping *m = mappings; m < mappings + threads; m++) {
		int err = bo_print_tables(tables.f, (void *)m->map, m->bo.size);

		if (err)
			die(NO_PAGE_TABLES, strerror(-err));
		fprintf(accesses.f, "%" PRIxPTR " w %" PRIu64 " %" PRIu64 "\n", (uintptr_t)m->map,
			m->bo.size / BO_PTE_SIZE, BO_PTE_SIZE);
	}
	close_record(&tables);
	close_record(&accesses);
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "placement", required_argument, NULL, 'p' },
		{ "size", required_argument, NULL, 's' },
		{ "misalign", no_argument, NULL, 'm' },
		{ "threads", required_argument, NULL, 't' },
		{ "huge-faults", required_argument, NULL, 'f' },
		{ "record", required_argument, NULL, 'r' },
		{ "report", optional_argument, NULL, 'R' },
		{ "csv", no_argument, NULL, 'c' },
		{ "help", no_argument, NULL, 'h' },
		{ "version", no_argument, NULL, 'V' },
		{ }
	};
	enum bo_placement placement = BO_VRAM, where;
	uint64_t size = 256, most, faults, instructions, again = 0;
	struct bo_levels levels = { 0 }, one;
	int huge_faults = -1, current, no_tables = 0;
	bool csv = false, misalign = false;
	const char *record = NULL, *report_file = NULL;
	drmVersion *version;
	int fd, opt, err;
	int64_t kib, wrong;

	atexit(close_stdout);
	opterr = 0;
	while ((opt = getopt_long(argc, argv, ":p:s:mt:f:r:R::ch", options, NULL)) != -1) {
		switch (opt) {
		case 'p':
			if (!strcmp(optarg, "vram"))
				placement = BO_VRAM;
			else if (!strcmp(optarg, "system"))
				placement = BO_SYSTEM;
			else if (!strcmp(optarg, "dumb"))
				placement = BO_DUMB;
			else
				bad_usage("placement must be vram, system or dumb, not '%s'",
					  optarg);
			break;
		case 's':
			size = parse_number(optarg, "size", 1, 1 << 20);
			break;
		case 'm':
			misalign = true;
			break;
		case 't':
			threads = parse_number(optarg, "threads", 1, MAX_THREADS);
			break;
		case 'f':
			huge_faults = parse_number(optarg, "huge-faults", 0, 2);
			break;
		case 'r':
			record = optarg;
			break;
		case 'R':
			report_file = optarg ? optarg : "ttm-huge-report.txt";
			break;
		case 'c':
			csv = true;
			break;
		case 'h':
			fputs(usage, stdout);
			return 0;
		case 'V':
			print_version();
			return 0;
		default:
			bad_option(opt, argv);
		}
	}
	if (bo_wrong_page_size())
		die("the kernel has pages of %" PRIu64 " KiB; build bo-map for them, with "
		    "CPPFLAGS=-DBO_PAGE_SHIFT=%d", bo_wrong_page_size() >> 10,
		    __builtin_ctzll(bo_wrong_page_size()));
	if (report_file) {
		if (optind < argc - 1)
			bad_usage("--report takes one device at most; try 'bo-map --help'");
		report(report_file, argv[optind]);
		return 0;
	}
	if (optind != argc - 1)
		bad_usage("name one device, say /dev/dri/card0; try 'bo-map --help'");

	fd = open(argv[optind], O_RDWR | O_CLOEXEC);
	if (fd < 0)
		die("cannot open '%s': %s%s", argv[optind], strerror(errno),
		    errno == EACCES ? "; run as root, or as a user of its group" : "");
	version = drmGetVersion(fd);
	if (!version)
		die("%s is not a DRM device", argv[optind]);
	if (!*bo_driver(fd) && placement != BO_DUMB)
		die("%s: bo-map does not support %s; try --placement=dumb", argv[optind],
		    version->name);
	most = bo_max_size(fd, placement) >> 20;
	if (!most || (placement == BO_VRAM && !bo_vram_size(fd)))
		die("%s: %s has no objects in %s%s%s", argv[optind], version->name,
		    bo_placement_name(placement), errno ? ": " : "", errno ? strerror(errno) : "");
	/* A page first: what is wrong with that is not the size. */
	err = bo_create(fd, placement, BO_PTE_SIZE, &mappings[0].bo);
	if (err)
		die("%s: %s has no objects in %s: %s", argv[optind], version->name,
		    bo_placement_name(placement), strerror(-err));
	bo_destroy(&mappings[0].bo);
	if (size > most)
		die("%s: an object in %s has at most %" PRIu64 " MiB, not %" PRIu64, argv[optind],
		    bo_placement_name(placement), most, size);

	if (record) {
		err = bo_levels(usage, 1, &one);
		if (err)
			die(NO_PAGE_TABLES, strerror(-err));
	}

	bo_restore_huge_faults_at_exit();
	current = bo_get_huge_faults();
	/* A kernel without the switch has 4 KiB entries only. */
	if (current < 0 && huge_faults > 0)
		die("this kernel has no ttm.huge_faults");
	if (huge_faults < 0) {
		huge_faults = current < 0 ? 0 : current;
	} else if (current >= 0) {
		err = bo_set_huge_faults(huge_faults);
		if (err)
			die("cannot set ttm.huge_faults, which needs root: %s", strerror(-err));
	}

	pthread_barrier_init(&barrier, NULL, threads);
	for (struct mapping *m = mappings; m < mappings + threads; m++) {
		err = bo_create(fd, placement, size << 20, &m->bo);
		if (err)
			die("cannot create %" PRIu64 " MiB in %s: %s", size,
			    bo_placement_name(placement), strerror(-err));
		m->map = bo_map(&m->bo, misalign ? misaligned_address(m->bo.size) : NULL,
				m->bo.size, PROT_READ | PROT_WRITE,
				misalign ? MAP_FIXED_NOREPLACE : 0);
		if (m->map == MAP_FAILED)
			die("cannot map the object: %s", strerror(errno));
	}
	for (struct mapping *m = mappings + 1; m < mappings + threads; m++) {
		err = pthread_create(&m->thread, NULL, touch_again_and_again, m);
		if (err)
			die("cannot start a thread: %s", strerror(err));
	}
	/* Until all of them wait at the barrier */
	if (threads > 1)
		usleep(100000);

	/* Pages of this program that the loop needs are there from now on. */
	now();
	bo_pgtable_kib();
	kib = bo_pgtable_kib();
	faults = bo_faults();
	instructions = timed_touch();
	faults = bo_faults() - faults;
	for (int i = 1; i < TOUCHES; i++) {
		uint64_t one = timed_touch();

		/* That with the fewest interrupts */
		if (i == 1 || one < again)
			again = one;
	}
	/* A coarse clock may find a later one longer. */
	instructions = instructions > again ? instructions - again : 0;
	kib = bo_pgtable_kib() - kib;

	where = placement;
	for (struct mapping *m = mappings; m < mappings + threads; m++) {
		enum bo_placement found;
		void *map = (void *)m->map;

		if (m != mappings)
			pthread_join(m->thread, NULL);
		err = bo_levels(map, m->bo.size, &one);
		if (err)
			no_tables = err;
		levels.pte += one.pte;
		levels.pmd += one.pmd;
		levels.pud += one.pud;
		if (placement != BO_DUMB && !bo_where(&m->bo, &found) && found != placement)
			where = found;

		bo_fill(map, 0, m->bo.size, BO_EVERY_PAGE, size);
		wrong = bo_check(map, 0, m->bo.size, BO_EVERY_PAGE, size);
		if (wrong >= 0)
			die("wrong contents at byte %lld", (long long)wrong);
	}

	if (no_tables)
		fprintf(stderr, "bo-map: " NO_PAGE_TABLES "\n", strerror(-no_tables));
	if (csv) {
		printf("%s,%s%s,%" PRIu64 ",%d,%" PRIu64 ",%" PRId64 ",", version->name,
		       bo_placement_name(where), misalign ? "-misaligned" : "", size, huge_faults,
		       faults, kib);
		if (no_tables)
			printf(",,");
		else
			printf("%" PRIu64 ",%" PRIu64 ",%" PRIu64, levels.pte, levels.pmd,
			       levels.pud);
		printf(",%" PRIu64 ",%d\n", instructions, threads);
	} else {
		printf("%s, object of %s%s memory, %" PRIu64 " MiB, ttm.huge_faults=%d, "
		       "%d thread(s)\n", version->name, bo_placement_name(placement),
		       misalign ? "-misaligned" : "", size, huge_faults, threads);
		if (where != placement)
			printf("  placement     %s, although %s was asked for\n",
			       bo_placement_name(where), bo_placement_name(placement));
		printf("  faults        %" PRIu64 "\n"
		       "  page tables   %" PRId64 " KiB\n", faults, kib);
		if (no_tables)
			puts("  PTE entries   -\n"
			     "  PMD entries   -\n"
			     "  PUD entries   -");
		else
			printf("  PTE entries   %" PRIu64 "\n"
			       "  PMD entries   %" PRIu64 "\n"
			       "  PUD entries   %" PRIu64 "\n", levels.pte, levels.pmd, levels.pud);
		printf("  first touch   %" PRIu64 " ns\n", instructions);
	}

	if (record)
		write_record(record);

	for (struct mapping *m = mappings; m < mappings + threads; m++) {
		munmap((void *)m->map, m->bo.size);
		bo_destroy(&m->bo);
	}
	drmFreeVersion(version);
	return 0;
}
