// SPDX-License-Identifier: MIT
/*
 * What must hold whatever the entries are. Nothing here needs the device for itself.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "report.h"

#define SIZE	(8 * BO_PMD_SIZE)
#define MIDDLE	(3 * BO_PMD_SIZE + 5 * BO_PTE_SIZE)
#define SEED	11

/* One object of SIZE bytes, filled through @map. A check returns NULL, or what is wrong. */
struct subject {
	struct bo bo;
	char *map;
	const char *(*check)(struct subject *s);
	const char *wrong;
};

static bool right(const struct subject *s, const char *map, uint64_t first, uint64_t length)
{
	(void)s;
	return bo_check(map, first, length, BO_EVERY_PAGE, SEED) < 0;
}

static bool all_but_middle(const struct subject *s)
{
	const uint64_t rest = MIDDLE + BO_PTE_SIZE;

	return right(s, s->map, 0, MIDDLE) && right(s, s->map + rest, rest, SIZE - rest);
}

static void read_byte(void *at)
{
	(void)*(volatile char *)at;
}

static void write_byte(void *at)
{
	volatile char *byte = at;

	*byte = *byte;
}

static const char *small_entries(struct subject *s)
{
	void *map = bo_map_4k(&s->bo);
	bool fine = map != MAP_FAILED && right(s, map, 0, SIZE);

	if (map != MAP_FAILED)
		munmap(map, SIZE);
	return fine ? NULL : "other contents";
}

static const char *read_only(struct subject *s)
{
	char *map = bo_map(&s->bo, NULL, SIZE, PROT_READ, 0);
	const char *wrong = NULL;

	if (map == MAP_FAILED)
		return "not mapped";
	if (!right(s, map, 0, SIZE))
		wrong = "other contents";
	else if (survives(write_byte, map + MIDDLE))
		wrong = "it can be written";
	munmap(map, SIZE);
	return wrong;
}

static const char *unmap_page(struct subject *s)
{
	munmap(s->map + MIDDLE, BO_PTE_SIZE);
	if (survives(read_byte, s->map + MIDDLE))
		return "the page is still there";
	return all_but_middle(s) ? NULL : "the rest has other contents";
}

static const char *protect_page(struct subject *s)
{
	if (mprotect(s->map + MIDDLE, BO_PTE_SIZE, PROT_READ))
		return strerror(errno);
	if (survives(write_byte, s->map + MIDDLE))
		return "the page can be written";
	if (!survives(write_byte, s->map + MIDDLE + BO_PTE_SIZE))
		return "the page beside it cannot be written";
	return right(s, s->map, 0, SIZE) ? NULL : "other contents";
}

static const char *forked(struct subject *s)
{
	pid_t pid = fork();
	int status;

	if (!pid) {
		bool fine = right(s, s->map, 0, SIZE);

		s->map[0]++;
		_exit(!fine);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid || status)
		return "the child sees other contents";
	s->map[0]--;
	return right(s, s->map, 0, SIZE) ? NULL : "the child's write is not seen";
}

static const char *moved(struct subject *s)
{
	char *to = mmap(NULL, SIZE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *map = to == MAP_FAILED ? to :
		    mremap(s->map, SIZE, SIZE, MREMAP_MAYMOVE | MREMAP_FIXED, to);

	if (map == MAP_FAILED)
		return strerror(errno);
	s->map = map;
	return right(s, s->map, 0, SIZE) ? NULL : "other contents";
}

static const char *held(struct subject *s)
{
	struct iovec piece = { s->map + MIDDLE, BO_PTE_SIZE };
	int ends[2];
	ssize_t ret;

	if (pipe2(ends, O_CLOEXEC | O_NONBLOCK))
		return strerror(errno);
	ret = vmsplice(ends[1], &piece, 1, SPLICE_F_NONBLOCK);
	close(ends[0]);
	close(ends[1]);
	return ret < 0 ? NULL : "it was given";
}

static const char *private(struct subject *s)
{
	void *map = bo_map(&s->bo, NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE);

	if (map == MAP_FAILED)
		return NULL;
	munmap(map, SIZE);
	return "it was given";
}

static const struct {
	const char *text;
	const char *(*run)(struct subject *s);
} checks[] = {
	{ "a mapping of 4 KiB entries has the same contents", small_entries },
	{ "a read-only mapping can be read and not written", read_only },
	{ "munmap() of a page removes that page and no other", unmap_page },
	{ "mprotect() of a page protects that page and no other", protect_page },
	{ "a child after fork() sees the object, and the parent what it writes", forked },
	{ "mremap() keeps the contents", moved },
	{ "a reference to one of its pages is refused (vmsplice)", held },
	{ "a private mapping is refused", private },
};

static void fill_and_check(void *subject)
{
	struct subject *s = subject;

	bo_fill(s->map, 0, SIZE, BO_EVERY_PAGE, SEED);
	s->wrong = s->check(s);
}

void report_checks(FILE *out, int fd, enum bo_placement placement)
{
	for (size_t i = 0; i < sizeof(checks) / sizeof(checks[0]) && !stopped(); i++) {
		struct subject s = { .check = checks[i].run };
		int ret = bo_create(fd, placement, SIZE, &s.bo);

		if (ret) {
			fprintf(out, "  skip  %-8s %s: %s\n", bo_placement_name(placement),
				checks[i].text, strerror(-ret));
			continue;
		}
		s.map = bo_map(&s.bo, NULL, SIZE, PROT_READ | PROT_WRITE, 0);
		if (s.map == MAP_FAILED)
			s.wrong = strerror(errno);
		else if (!survives(fill_and_check, &s))
			s.wrong = "SIGBUS, or SIGSEGV";
		fprintf(out, "  %s  %-8s %s%s%s\n", s.wrong ? "FAIL" : "pass",
			bo_placement_name(placement), checks[i].text, s.wrong ? ": " : "",
			s.wrong ? s.wrong : "");
		if (s.map != MAP_FAILED)
			munmap(s.map, SIZE);
		bo_destroy(&s.bo);
	}
}
