// SPDX-License-Identifier: MIT
/*
 * "bo-map --report": one text file on how the cards of a machine have their objects mapped, for
 * somebody who has no such card
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/param.h>
#include <time.h>
#include <unistd.h>

#include <xf86drm.h>

#include "cli.h"
#include "report.h"
#include "timing.h"

#define MAX_CARDS	16
#define KIB(n)		((uint64_t)(n) << 10)
#define MIB(n)		((uint64_t)(n) << 20)

static const uint64_t sizes[] = {
	KIB(64), KIB(256), MIB(1), MIB(2), MIB(4), MIB(16), MIB(64), MIB(256), MIB(1024),
};
#define SIZES	(sizeof(sizes) / sizeof(sizes[0]))
#define ROWS	(2 * SIZES * 2)

struct card {
	int fd;
	char node[64], driver[32];
	enum bo_placement placement[2];
	int placements;
	uint64_t room[2];
	int error[2];		/* errno, if the driver does not tell what room there is */
};

static struct card cards[MAX_CARDS];
static int card_count;
static uint64_t pages_done, pages_planned, spent_ns, clock_step;
static bool counting;
static unsigned int rows_done, rows_planned;

/*
 * Ctrl-C
 */

static volatile sig_atomic_t stop_signals;
static struct sigaction old_actions[NSIG];

bool stopped(void)
{
	return stop_signals;
}

/* The first time, what is under way ends; the second time, the program. */
static void on_stop(int sig)
{
	if (stop_signals++) {
		sigaction(sig, &old_actions[sig], NULL);
		raise(sig);
	}
}

static void catch_signals(void)
{
	static const int signals[] = { SIGHUP, SIGINT, SIGTERM };
	const struct sigaction action = { .sa_handler = on_stop, .sa_flags = SA_RESTART };

	for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++) {
		sigaction(signals[i], NULL, &old_actions[signals[i]]);
		/* nohup has some of them ignored. */
		if (old_actions[signals[i]].sa_handler != SIG_IGN)
			sigaction(signals[i], &action, NULL);
	}
}

/*
 * Cards
 */

const char *size_text(uint64_t size, char text[SIZE_TEXT])
{
	static const char units[][4] = { "B", "KiB", "MiB", "GiB", "TiB" };
	size_t unit = 0;

	while (size && size % 1024 == 0 && unit + 1 < sizeof(units) / sizeof(units[0])) {
		size /= 1024;
		unit++;
	}
	snprintf(text, SIZE_TEXT, "%" PRIu64 " %s", size, units[unit]);
	return text;
}

/* How large an object may be here, so that it disturbs nobody */
static uint64_t room(int fd, enum bo_placement placement, int *error)
{
	uint64_t most = bo_max_size(fd, placement), free;

	*error = most ? 0 : errno;
	free = placement == BO_VRAM ? bo_vram_size(fd) / 2 : available_memory() / 4;
	return MIN(most, free);
}

static bool add_card(const char *node, int fd)
{
	struct card *card = &cards[card_count];
	drmVersion *version = drmGetVersion(fd);

	if (!version)
		return false;
	*card = (struct card){ .fd = fd };
	snprintf(card->node, sizeof(card->node), "%s", node);
	snprintf(card->driver, sizeof(card->driver), "%s", version->name);
	drmFreeVersion(version);
	if (!*bo_driver(fd)) {
		card->placement[card->placements++] = BO_DUMB;
	} else {
		card->placement[card->placements++] = BO_VRAM;
		card->placement[card->placements++] = BO_SYSTEM;
	}
	for (int p = 0; p < card->placements; p++) {
		card->room[p] = room(fd, card->placement[p], &card->error[p]);
		for (size_t i = 0; i < SIZES && sizes[i] <= card->room[p]; i++) {
			pages_planned += 2 * sizes[i] / BO_PTE_SIZE;
			rows_planned += 2;
		}
	}
	card_count++;
	return true;
}

static void find_cards(const char *device)
{
	int error = ENODEV;

	if (device) {
		int fd = open(device, O_RDWR | O_CLOEXEC);

		if (fd < 0)
			die("cannot open %s: %s", device, strerror(errno));
		if (!add_card(device, fd))
			die("%s is not a DRM device", device);
		return;
	}
	for (int i = 0; i < MAX_CARDS; i++) {
		char node[32];
		int fd = bo_open_card(i);

		snprintf(node, sizeof(node), "/dev/dri/card%d", i);
		if (fd >= 0) {
			/* Whoever opens a card first is its master, which a desktop wants to be. */
			drmDropMaster(fd);
			if (!add_card(node, fd))
				close(fd);
		} else if (fd != -ENOENT) {
			error = -fd;
		}
	}
	if (!card_count)
		die("no card in /dev/dri can be opened: %s", strerror(error));
}

/*
 * Progress, on stderr
 */

/* What a measurement and each page of it took at first */
static double row_ns, page_ns;

static double expected(unsigned int rows, uint64_t pages)
{
	return rows * row_ns + pages * page_ns;
}

static void progress(const struct card *card, enum bo_placement placement, uint64_t size)
{
	double left = expected(rows_planned - rows_done, pages_planned - pages_done) / 1e9;
	char text[SIZE_TEXT];

	/* The machine may have become slower, or faster. */
	if (rows_done)
		left *= spent_ns / expected(rows_done, pages_done);
	if (isatty(STDERR_FILENO))
		fputs("\r\033[K", stderr);
	fprintf(stderr, "[%u/%u] %s, %s, %s", ++rows_done, rows_planned, card->node,
		bo_placement_name(placement), size_text(size, text));
	fprintf(stderr, ": about %.0f s left", left);
	if (!isatty(STDERR_FILENO))
		fputc('\n', stderr);
}

static void progress_note(const char *text)
{
	fprintf(stderr, "%s%s\n", isatty(STDERR_FILENO) ? "\r\033[K" : "", text);
}

/*
 * The tables
 */

struct entry {
	enum bo_placement placement;
	uint64_t size;
	const char *huge;
	struct row row;
};

static void print_reasons(FILE *out, const struct faults *faults)
{
	const char *comma = "";

	if (!faults->events)
		fputs("-", out);
	for (int i = 0; i < LIMITS; i++) {
		if (!faults->limit[i])
			continue;
		fprintf(out, "%s%s", comma, limit_names[i]);
		if (faults->limit[i] > 1)
			fprintf(out, " (%u)", faults->limit[i]);
		comma = ", ";
	}
}

static void print_row(FILE *out, const struct entry *e)
{
	const struct row *row = &e->row;
	uint64_t entries[3];
	char text[SIZE_TEXT];

	fprintf(out, "  %-8s %9s  %-4s", bo_placement_name(e->placement),
		size_text(e->size, text), e->huge);
	if (row->failed) {
		fprintf(out, " cannot %s: %s\n", row->failed, row->error ? strerror(-row->error) :
			strcmp(row->failed, "touch") ? "wrong contents, or SIGBUS" : "SIGBUS");
		return;
	}
	fprintf(out, " %8" PRIu64 " %9" PRId64, row->page_faults, row->table_kib);
	if (row_entries(row, entries))
		fprintf(out, " %8" PRIu64 " %6" PRIu64 " %6" PRIu64 "  ", entries[0], entries[1],
			entries[2]);
	else
		fprintf(out, " %8s %6s %6s  ", "-", "-", "-");
	print_reasons(out, &row->faults);
	fputc('\n', out);
}

static void print_time(FILE *out, uint64_t ns)
{
	if (ns < clock_step)
		fprintf(out, " %*s%.0f", clock_step < 10000000 ? 8 : 4, "<", clock_step / 1e3);
	else
		fprintf(out, " %12.1f", ns / 1e3);
}

static void print_per_page(FILE *out, int64_t value, uint64_t size)
{
	if (value < 0)
		fprintf(out, " %9s", "-");
	else
		fprintf(out, " %9.2f", (double)value / (size / BO_PTE_SIZE));
}

static void print_costs(FILE *out, const struct entry *entries, int count)
{
	char text[SIZE_TEXT];

	fprintf(out, "\n  Cost: microseconds for a word in each page%s\n\n"
		"  placement     size  huge  first touch      writing      reading%s\n", counting ?
		"; cycles and TLB misses for each page" : "", counting ?
		"   cycles,   misses,   cycles,   misses,\n"
		"                                                                "
		"  writing   writing   reading   reading" : "");
	for (const struct entry *e = entries; e < entries + count; e++) {
		if (e->row.failed)
			continue;
		fprintf(out, "  %-8s %9s  %-4s", bo_placement_name(e->placement),
			size_text(e->size, text), e->huge);
		print_time(out, e->row.touch_ns);
		print_time(out, e->row.write_ns);
		print_time(out, e->row.read_ns);
		if (counting) {
			print_per_page(out, e->row.write.value[CYCLES], e->size);
			print_per_page(out, e->row.write.value[DTLB_WRITE], e->size);
			print_per_page(out, e->row.read.value[CYCLES], e->size);
			print_per_page(out, e->row.read.value[DTLB_READ], e->size);
		}
		fputc('\n', out);
	}
}

/* The largest object of each placement, in words */
static void print_short(FILE *out, const struct entry *entries, int count)
{
	static const char *const levels[] = { "PTE", "PMD", "PUD" };

	fputs("\n  In short\n\n", out);
	for (const struct entry *e = entries; e < entries + count; e++) {
		uint64_t n[3];
		char text[SIZE_TEXT];
		bool last = e + 1 == entries + count || e[1].placement != e->placement;

		if (e + 1 < entries + count && e[1].size == e->size)
			last = e + 2 == entries + count || e[2].placement != e->placement;
		if (!last || e->row.failed)
			continue;
		fprintf(out, "  %s in %s, huge entries %s: %" PRIu64 " fault%s, %" PRId64
			" KiB of page tables", size_text(e->size, text),
			bo_placement_name(e->placement), e->huge, e->row.page_faults,
			e->row.page_faults == 1 ? "" : "s", e->row.table_kib);
		for (int i = 0; row_entries(&e->row, n) && i < 3; i++) {
			if (n[i])
				fprintf(out, ", %" PRIu64 " %s", n[i], levels[i]);
		}
		fputc('\n', out);
	}
}

const char *set_switch(int value, int most)
{
	if (most < 0)
		return "-";
	bo_set_huge_faults(value);
	return value ? "on" : "off";
}

static void report_rows(FILE *out, const struct card *card, int most)
{
	static struct entry entries[ROWS];
	int count = 0;

	fputs("\n  Entries of an object after a write to each page\n\n"
	      "  placement     size  huge   faults  KiB of      4 KiB  2 MiB  1 GiB  why no larger"
	      " entries\n"
	      "                                     tables    entries\n", out);
	for (int p = 0; p < card->placements; p++) {
		for (size_t i = 0; i < SIZES && sizes[i] <= card->room[p]; i++) {
			for_each_switch(value, most) {
				struct entry *e = &entries[count++];
				uint64_t start;

				*e = (struct entry){ .placement = card->placement[p],
						     .size = sizes[i],
						     .huge = set_switch(value, most) };
				progress(card, e->placement, e->size);
				start = now();
				measure(card->fd, e->placement, e->size, &e->row);
				spent_ns += now() - start;
				print_row(out, e);
				fflush(out);
				pages_done += sizes[i] / BO_PTE_SIZE;
			}
		}
		if (card->room[p] < sizes[SIZES - 1])
			fprintf(out, "  %-8s %9s\n", bo_placement_name(card->placement[p]),
				card->room[p] ? "no room here for more" :
				card->error[p] ? strerror(card->error[p]) : "none of TTM");
	}
	print_costs(out, entries, count);
	print_short(out, entries, count);
}

static void report_card(FILE *out, const struct card *card, int most)
{
	fprintf(out, "\nCard %s: %s\n", card->node, card->driver);
	describe_card(out, card->fd);
	if (card->placement[0] == BO_DUMB)
		fputs("  bo-map does not support this driver, and tries only dumb buffers (for a display).\n",
		      out);
	report_rows(out, card, most);
	if (stopped())
		return;
	progress_note("pushing an object out of the card's memory, and checks");
	if (card->placement[0] == BO_VRAM && card->room[0])
		report_eviction(out, card->fd, most);
	fputs("\n  Checks\n\n", out);
	for (int p = 0; p < card->placements; p++) {
		if (card->room[p])
			report_checks(out, card->fd, card->placement[p]);
	}
	fflush(out);
}

/*
 * The kernel's log: only lines of a bug, which a report must not leave out
 */

static int open_log(void)
{
	int fd = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);

	if (fd >= 0)
		lseek(fd, 0, SEEK_END);
	return fd;
}

static void report_log(FILE *out, int fd)
{
	static const char *const bad[] = { "WARNING: ", "BUG: ", "Oops", "bad pmd", "bad pud",
					   "bad pgd", "x86/PAT: " };
	char record[8192];
	unsigned int found = 0;
	ssize_t length;

	fputs("\nKernel log\n", out);
	if (fd < 0) {
		fputs("  cannot be read\n", out);
		return;
	}
	while ((length = read(fd, record, sizeof(record) - 1)) > 0 || errno == EPIPE) {
		char *text;

		if (length <= 0)
			continue;
		record[length] = '\0';
		text = strchr(record, ';');
		for (size_t i = 0; text && i < sizeof(bad) / sizeof(bad[0]); i++) {
			if (!strncmp(text + 1, bad[i], strlen(bad[i])) && found++ < 10)
				fprintf(out, "  %.*s\n", (int)MIN(strcspn(text + 1, "\n"), 110),
					text + 1);
		}
	}
	fprintf(out, "  %u warnings while this ran\n", found);
	close(fd);
}

static void explain(FILE *out)
{
	fputs("\nWords\n"
	      "  vram, system       memory of the card; memory of the machine\n"
	      "  huge off, on       ttm.huge_faults is 0: entries of 4 KiB only; is 2: up to 1 GiB\n"
	      "  PTE, PMD, PUD      entries of 4 KiB, 2 MiB, 1 GiB\n"
	      "  faults             page faults for the first touch of all pages\n"
	      "  KiB of tables      page tables for this\n"
	      "  why no larger      why entries are not larger, and for how many faults, if more\n"
	      "                     than one; nothing if they are the largest that there are\n", out);
	for (int i = 0; i < LIMITS; i++)
		fprintf(out, "    %-16s %s\n", limit_names[i], limit_texts[i]);
	fputs("  -                  not known on this kernel or processor\n", out);
}

static FILE *create_file(const char *path)
{
	const char *uid = getenv("SUDO_UID"), *gid = getenv("SUDO_GID");
	FILE *out = fopen(path, "we");

	if (!out)
		die("cannot create %s: %s", path, strerror(errno));
	/* It is for the one who has typed "sudo". */
	if (uid && gid && fchown(fileno(out), atoi(uid), atoi(gid)))
		fprintf(stderr, "bo-map: cannot give %s to the user of sudo: %s\n", path, strerror(errno));
	return out;
}

/* The time of a measurement on the first card */
static double trial(uint64_t size)
{
	const struct card *card = &cards[0];
	uint64_t start = now();
	struct row row;

	measure(card->fd, card->placement[card->placements - 1], size, &row);
	return now() - start;
}

static void announce(const char *path)
{
	const uint64_t most = MIB(16);

	/* A clock with coarse steps may find nothing. */
	row_ns = MAX(trial(BO_PTE_SIZE), 1e6);
	page_ns = MAX(trial(most) - row_ns, 0) / (most / BO_PTE_SIZE);
	/* Checks and eviction take some seconds for each card. */
	fprintf(stderr, "%d card(s), %u measurements: this takes about %.0f s, more if memory is"
		" slow.\n"
		"Ctrl-C ends it early; %s keeps the part that is done.\n", card_count, rows_planned,
		expected(rows_planned, pages_planned) / 1e9 + 3 * card_count, path);
}

/* The least of some steps of the clock, which may be a timer's */
static uint64_t clock_steps(void)
{
	uint64_t least = UINT64_MAX;

	for (int i = 0; i < 10; i++) {
		uint64_t start = now(), t;

		while ((t = now()) == start)
			;
		least = MIN(least, t - start);
	}
	return least;
}

void report(const char *path, const char *device)
{
	int most = bo_get_huge_faults() < 0 ? -1 : 2, log, traced, uncounted, err;
	char date[16];
	time_t day = time(NULL);
	FILE *out;

	find_cards(device);
	if (most > 0 && access(BO_HUGE_FAULTS, W_OK))
		die("cannot set ttm.huge_faults, which needs root: %s", strerror(errno));
	out = create_file(path);
	bo_restore_huge_faults_at_exit();
	catch_signals();
	log = open_log();
	traced = trace_open();
	uncounted = counters_open();
	counting = !uncounted;
	clock_step = clock_steps();
	if (most < 0)
		pages_planned /= 2, rows_planned /= 2;
	announce(path);

	strftime(date, sizeof(date), "%Y-%m-%d", gmtime(&day));
	fprintf(out, "Huge page-table entries for GPU buffer objects: a report\n\n"
		"bo-map %s, %s. It has no names, addresses or serial numbers of the machine and its"
		" user.\n", VERSION, date);
	describe_machine(out);
	fputs("\nInstruments\n", out);
	err = bo_levels(&day, 1, &(struct bo_levels){ 0 });
	fprintf(out, "  %-22s %s\n", "page tables", err ? strerror(-err) : "read (ptdump)");
	fprintf(out, "  %-22s %s\n", "tracepoints", !traced ? "read" : traced == -EOPNOTSUPP ?
		"this kernel has none for these faults" : strerror(-traced));
	fprintf(out, "  %-22s %s\n", "performance counters", counting ? "read" : strerror(-uncounted));
	if (clock_step > 1000)
		fprintf(out, "  %-22s steps of %.1f microseconds\n", "clock", clock_step / 1e3);
	fflush(out);

	for (int i = 0; i < card_count && !stopped(); i++)
		report_card(out, &cards[i], most);
	trace_close();
	report_log(out, log);
	explain(out);
	fputs(stopped() ? "\nEnded early, by Ctrl-C: what is missing was not tried.\n" :
			  "\nEnd of the report\n", out);
	err = close_output(out, path);
	if (err)
		die("cannot write %s: %s", path, strerror(-err));
	progress_note(stopped() ? "ended early" : "done");
	printf("%s\n", path);
}
