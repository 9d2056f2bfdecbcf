// SPDX-License-Identifier: MIT
/**
 * TEST: ttm huge stress
 * Category: Core
 * Mega feature: General Core features
 * Sub-category: Memory management tests
 * Functionality: mmap
 * Description: Page tables of buffer objects come and go, at every level, under those who use them.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <getopt.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ttm_huge.h"

IGT_TEST_DESCRIPTION("Threads that touch, unmap and fork while objects move");

#define TOUCHERS	3
/* Each has words of its own in every page: the touchers, and the one that maps and unmaps. */
#define WRITERS		(TOUCHERS + 1)
#define MAX_OBJECTS	4

static unsigned int seconds = 10;	/* for each target */
static unsigned int seed;

struct stress {
	const struct target *target;
	int count;
	struct bo bo[MAX_OBJECTS];
	struct view view[MAX_OBJECTS];
	volatile bool stop;
	unsigned long touches, remaps, forks, moves;
};

struct writer {
	struct stress *stress;
	int index;
	int pipe[2];
	unsigned int random;
	uint64_t number;
	uint64_t *last[MAX_OBJECTS];	/* what it has written to each page */
	unsigned long touches;
	pthread_t thread;
};

static uint64_t random_below(unsigned int *random, uint64_t limit)
{
	return (((uint64_t)rand_r(random) << 31) ^ rand_r(random)) % limit;
}

/* Of large objects one page in 64 KiB, each time another one, or they take too long to check. */
static uint64_t step_of(const struct stress *stress, int object)
{
	return stress->bo[object].size > LARGE_VIEW ? 16 : 1;
}

static uint64_t slots_of(const struct stress *stress, int object)
{
	return stress->bo[object].size / BO_PTE_SIZE / step_of(stress, object);
}

/* The byte in the object. */
static uint64_t place_of(const struct stress *stress, int object, uint64_t slot)
{
	uint64_t step = step_of(stress, object);

	return (slot * step + slot % step) * BO_PTE_SIZE;
}

static void assert_found(const struct writer *writer, int object, uint64_t slot, uint64_t found)
{
	const struct stress *stress = writer->stress;

	igt_assert_f(found == writer->last[object][slot],
		     "%s: object of %" PRIu64 " KiB, offset %#" PRIx64 ": writer %d found %" PRIu64
		     ", expected %" PRIu64 "\n", stress->target->name,
		     stress->bo[object].size / KiB, place_of(stress, object, slot), writer->index,
		     found, writer->last[object][slot]);
}

static volatile uint64_t *word_of(const struct writer *writer, const struct view *view, int object,
				  uint64_t slot)
{
	uint64_t place = place_of(writer->stress, object, slot);

	return (volatile uint64_t *)(view->addr + place - view->first) + writer->index;
}

/*
 * Expects the last number, and writes the next one. @through_kernel lets the kernel do it, whose
 * faults come without the VMA lock.
 */
static void touch_slot(struct writer *writer, const struct view *view, int object, uint64_t slot,
		       bool through_kernel)
{
	volatile uint64_t *word = word_of(writer, view, object, slot);
	uint64_t found;

	if (through_kernel) {
		igt_assert_eq(write(writer->pipe[1], (void *)word, 8), 8);
		igt_assert_eq(read(writer->pipe[0], &found, 8), 8);
	} else {
		found = *word;
	}
	assert_found(writer, object, slot, found);

	writer->number++;
	if (through_kernel) {
		igt_assert_eq(write(writer->pipe[1], &writer->number, 8), 8);
		igt_assert_eq(read(writer->pipe[0], (void *)word, 8), 8);
	} else {
		*word = writer->number;
	}
	writer->last[object][slot] = writer->number;
	writer->touches++;
}

static void touch_some(struct writer *writer, const struct view *view, int object, int count)
{
	const struct stress *stress = writer->stress;

	while (count-- && !stress->stop) {
		uint64_t place = view->first + random_below(&writer->random, view->length);
		uint64_t slot = place / BO_PTE_SIZE / step_of(stress, object);

		if (slot == slots_of(stress, object))
			continue;
		place = place_of(stress, object, slot);
		if (place >= view->first && place < view->first + view->length)
			touch_slot(writer, view, object, slot,
				   rand_r(&writer->random) % 8 == 0);
	}
}

static void writer_open(struct writer *writer, struct stress *stress, int index)
{
	*writer = (struct writer){
		.stress = stress,
		.index = index,
		.random = seed + index,
	};
	igt_assert_eq(pipe(writer->pipe), 0);
	for (int i = 0; i < stress->count; i++) {
		writer->last[i] = calloc(slots_of(stress, i), sizeof(uint64_t));
		igt_assert(writer->last[i]);
		for (uint64_t slot = 0; slot < slots_of(stress, i); slot++)
			*word_of(writer, &stress->view[i], i, slot) = 0;
	}
}

static void writer_close(struct writer *writer)
{
	struct stress *stress = writer->stress;

	for (int i = 0; i < stress->count; i++) {
		for (uint64_t slot = 0; slot < slots_of(stress, i); slot++)
			assert_found(writer, i, slot, *word_of(writer, &stress->view[i], i, slot));
		free(writer->last[i]);
	}
	close(writer->pipe[0]);
	close(writer->pipe[1]);
	stress->touches += writer->touches;
}

static void *touch_until(void *data)
{
	struct writer *writer = data;
	struct stress *stress = writer->stress;

	while (!stress->stop) {
		int object = rand_r(&writer->random) % stress->count;

		touch_some(writer, &stress->view[object], object, 16);
	}
	return NULL;
}

/* A random part of a view, at boundaries of a random level. */
static struct view random_part(struct writer *writer, const struct view *view)
{
	static const uint64_t units[] = { BO_PTE_SIZE, BO_PMD_SIZE, BO_PUD_SIZE };
	uint64_t unit, start, length;

	do
		unit = units[rand_r(&writer->random) % ARRAY_SIZE(units)];
	while (unit > view->length);
	start = random_below(&writer->random, view->length / unit) * unit;
	length = (1 + random_below(&writer->random, (view->length - start) / unit)) * unit;
	return sub_view(view, view->first + start, length);
}

static void give_back(char *start, char *end)
{
	if (start < end)
		igt_assert_eq(munmap(start, end - start), 0);
}

/* Where the part ends up is congruent to 1 GiB, 2 MiB, or 4 KiB. */
static void move(struct writer *writer, struct view *part)
{
	static const uint64_t skews[] = { 0, BO_PMD_SIZE, BO_PTE_SIZE };
	uint64_t align = wanted_alignment(part->length);
	uint64_t skew = skews[rand_r(&writer->random) % ARRAY_SIZE(skews)];
	char *area, *to;

	/* Reserved, as other threads map what they like. */
	area = mmap(NULL, part->length + 3 * align, PROT_NONE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	igt_assert(area != MAP_FAILED);
	to = (char *)(((uintptr_t)area + align - 1) & ~(align - 1));
	to += ((uintptr_t)part->addr + skew) % align;
	igt_assert(mremap(part->addr, part->length, part->length, MREMAP_MAYMOVE | MREMAP_FIXED,
			  to) == to);
	give_back(area, to);
	give_back(to + part->length, area + part->length + 3 * align);
	part->addr = to;
}

/* Maps an object once more; moves or unmaps a part; forks, for the tables to be copied. */
static void *remap_until(void *data)
{
	struct writer *writer = data;
	struct stress *stress = writer->stress;

	while (!stress->stop) {
		int object = rand_r(&writer->random) % stress->count;
		struct view view = map_whole(stress->target, &stress->bo[object],
					     PROT_READ | PROT_WRITE);
		struct view part = random_part(writer, &view);
		struct view before = sub_view(&view, 0, part.first);
		struct view behind = sub_view(&view, part.first + part.length,
					      view.length - part.first - part.length);

		touch_some(writer, &view, object, 16);
		if (rand_r(&writer->random) % 4 == 0) {
			pid_t child = fork();
			int status;

			igt_assert_f(child >= 0, "%s: fork: %s\n", stress->target->name,
				     strerror(errno));
			if (!child)
				_exit(*(volatile char *)view.addr & 0);
			igt_assert_eq(waitpid(child, &status, 0), child);
			igt_assert_eq(status, 0);
			stress->forks++;
		}
		if (rand_r(&writer->random) % 2) {
			move(writer, &part);
			touch_some(writer, &part, object, 16);
		}
		unmap(&part);
		if (before.length) {
			touch_some(writer, &before, object, 8);
			unmap(&before);
		}
		if (behind.length) {
			touch_some(writer, &behind, object, 8);
			unmap(&behind);
		}
		stress->remaps++;
	}
	return NULL;
}

/*
 * Pushes all objects out of VRAM with @count others, or as many as it takes if @count is 0; returns
 * how many that was. Where an object is takes too long to ask each time.
 */
static int evict_all(const struct stress *stress, int count)
{
	const struct target *target = stress->target;
	uint64_t chunk = (bo_vram_size(target->fd) / 8) & ~(BO_PTE_SIZE - 1);
	enum bo_placement where = BO_VRAM;
	struct bo other[32];
	int n = 0;

	do {
		igt_assert_f(n < (int)ARRAY_SIZE(other), "%s: %d objects of %" PRIu64
			     " KiB do not evict others\n", target->name, n, chunk / KiB);
		igt_assert_eq(bo_create(target->fd, BO_VRAM, chunk, &other[n++]), 0);
		/* The one that came back last goes last. */
		if (!count)
			igt_assert_eq(bo_where(&stress->bo[stress->count - 1], &where), 0);
	} while (count ? n < count : where == BO_VRAM);

	for (int i = 0; i < n; i++)
		bo_destroy(&other[i]);
	return n;
}

static void return_all(struct stress *stress)
{
	for (int i = 0; i < stress->count; i++) {
		int ret = bo_return_to_vram(&stress->bo[i]);

		igt_require_f(ret != -EOPNOTSUPP, "%s: the driver moves nothing back to VRAM\n",
			      stress->target->name);
		igt_assert_f(!ret, "%s: object of %" PRIu64 " KiB cannot return to VRAM: %s\n",
			     stress->target->name, stress->bo[i].size / KiB, strerror(-ret));
	}
}

static void add_object(struct stress *stress, uint64_t size)
{
	stress->bo[stress->count] = target_bo(stress->target, size);
	stress->view[stress->count] = map_whole(stress->target, &stress->bo[stress->count],
						PROT_READ | PROT_WRITE);
	stress->count++;
}

/**
 * SUBTEST: threads
 * Description: Threads write all over mapped objects and read back what they wrote, one of them
 *              through mappings that it unmaps, moves and forks in parts, while the objects leave
 *              VRAM and return with the switch at any value. Afterwards they can be
 *              mapped with the same levels as at first.
 */
static void test_threads(const struct target *target)
{
	/* A failure in this thread leaves the others running. */
	static struct stress stress;
	static struct writer writer[WRITERS];
	unsigned int random = seed;
	time_t end, report;
	int count;

	stress = (struct stress){ .target = target };
	add_object(&stress, size_of_all_levels(target));
	add_object(&stress, 6 * MiB + 4 * KiB);
	add_object(&stress, 4 * MiB - 4 * KiB);
	add_object(&stress, 2 * MiB);

	/* Drivers that cannot move them back skip here. */
	count = evict_all(&stress, 0);
	return_all(&stress);

	igt_info("%s: seed %u, %u seconds\n", target->name, seed, seconds);
	for (int i = 0; i < WRITERS; i++)
		writer_open(&writer[i], &stress, i);
	for (int i = 0; i < WRITERS; i++)
		igt_assert_eq(pthread_create(&writer[i].thread, NULL,
					     i < TOUCHERS ? touch_until : remap_until,
					     &writer[i]), 0);

	report = time(NULL) + 60;
	end = time(NULL) + seconds;
	while (time(NULL) < end) {
		usleep(random_below(&random, 100 * 1000));
		set_huge_faults(rand_r(&random) % (HUGE_PUD + 1));
		evict_all(&stress, count);
		usleep(random_below(&random, 100 * 1000));
		set_huge_faults(rand_r(&random) % (HUGE_PUD + 1));
		return_all(&stress);
		stress.moves++;
		if (time(NULL) >= report) {
			igt_info("%s: %lu moves so far\n", target->name, stress.moves);
			report += 60;
		}
	}

	stress.stop = true;
	for (int i = 0; i < WRITERS; i++)
		pthread_join(writer[i].thread, NULL);
	igt_thread_assert_no_failures();

	set_huge_faults(HUGE_PUD);
	evict_all(&stress, 0);
	return_all(&stress);
	for (int i = 0; i < stress.count; i++) {
		touch(&stress.view[i], false);
		assert_levels(&stress.view[i], HUGE_PUD);
	}
	for (int i = 0; i < WRITERS; i++)
		writer_close(&writer[i]);
	igt_info("%s: seed %u, %lu touches, %lu mappings, %lu forks, %lu moves out and back\n",
		 target->name, seed, stress.touches, stress.remaps, stress.forks, stress.moves);
	assert_no_kernel_warning(target);
}

static int parse(int opt, int index, void *data)
{
	(void)index;
	(void)data;
	switch (opt) {
	case 's':
		seconds = strtoul(optarg, NULL, 0);
		return 0;
	case 'r':
		seed = strtoul(optarg, NULL, 0);
		return 0;
	}
	return -2;
}

static const struct option options[] = {
	{ "seconds", required_argument, NULL, 's' },
	{ "seed", required_argument, NULL, 'r' },
	{ }
};

int igt_main_args("s:r:", options,
		  "  --seconds N\tfor each card (default 10)\n  --seed N\tof what is random\n",
		  parse, NULL)
{
	struct target *target;

	igt_fixture() {
		if (!seed)
			seed = time(NULL);
		ttm_huge_init();
	}

	igt_describe("Touch, unmap, move and fork while objects move");
	igt_subtest_with_dynamic("threads")
		igt_dynamic_targets_if(target, target->placement == BO_VRAM)
			test_threads(target);

	igt_fixture()
		ttm_huge_fini();
}
