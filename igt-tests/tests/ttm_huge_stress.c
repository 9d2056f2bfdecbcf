// SPDX-License-Identifier: MIT
/**
 * TEST: ttm huge stress
 * Category: Core
 * Mega feature: General Core features
 * Sub-category: Memory management tests
 * Functionality: mmap
 * Description: Page tables of buffer objects come and go, at every level, under those who use them.
 */
#define _GNU_SOURCE 1
#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "igt_thread.h"
#include "options.h"
#include "ttm_huge.h"

IGT_TEST_DESCRIPTION("Threads that touch, unmap and fork while objects move");

#define TOUCHERS	3
/* Each has words of its own in every page: the touchers, and the one that maps and unmaps. */
#define WRITERS		(TOUCHERS + 1)
#define MAX_OBJECTS	4

static unsigned int seconds = 10;	/* for each target */
static unsigned int seed;

struct object {
	struct view view;
	uint64_t step, slots;		/* a slot is one page in @step */
	uint64_t *last[WRITERS];	/* what each has written to each slot */
};

struct stress {
	const struct target *target;
	int count;
	struct object objects[MAX_OBJECTS];
	volatile bool stop;
	unsigned long touches, mappings, mremaps, forks, moves;
};

struct writer {
	struct stress *stress;
	int index;
	int pipe[2];
	unsigned int random;
	uint64_t touches;		/* how many, and the last number it has written */
	pthread_t thread;
};

static uint64_t random_below(unsigned int *random, uint64_t limit)
{
	return (((uint64_t)rand_r(random) << 31) ^ rand_r(random)) % limit;
}

static struct object *random_object(struct writer *writer)
{
	return &writer->stress->objects[rand_r(&writer->random) % writer->stress->count];
}

/* The byte in the object; each time another page of the step. */
static uint64_t place_of(const struct object *object, uint64_t slot)
{
	return (slot * object->step + slot % object->step) * BO_PTE_SIZE;
}

static uint64_t *word_of(const struct writer *writer, const struct object *object,
			 const struct view *view, uint64_t slot)
{
	return (uint64_t *)(view->addr + place_of(object, slot) - view->first) + writer->index;
}

/* Lets the kernel do it now and then, whose faults come without the VMA lock. */
static void copy_word(const struct writer *writer, bool by_kernel, volatile uint64_t *to,
		      volatile uint64_t *from)
{
	if (by_kernel) {
		igt_assert_eq(write(writer->pipe[1], (void *)from, 8), 8);
		igt_assert_eq(read(writer->pipe[0], (void *)to, 8), 8);
	} else {
		*to = *from;
	}
}

static void assert_slot(const struct writer *writer, const struct object *object,
			const struct view *view, uint64_t slot, bool by_kernel)
{
	uint64_t found, expected = object->last[writer->index][slot];

	copy_word(writer, by_kernel, &found, word_of(writer, object, view, slot));
	view_assert_at(view, place_of(object, slot), found == expected,
		       "writer %d found %" PRIu64 ", expected %" PRIu64, writer->index, found,
		       expected);
}

/* Expects the last number, and writes the next one, to random slots of the view. */
static void touch_some(struct writer *writer, const struct object *object,
		       const struct view *view, int count)
{
	while (count-- && !writer->stress->stop) {
		uint64_t place = view->first + random_below(&writer->random, view->length);
		uint64_t slot = place / BO_PTE_SIZE / object->step;
		bool by_kernel;

		if (slot == object->slots)
			continue;
		place = place_of(object, slot);
		if (place < view->first || place >= view->first + view->length)
			continue;
		by_kernel = rand_r(&writer->random) % 8 == 0;
		assert_slot(writer, object, view, slot, by_kernel);
		writer->touches++;
		copy_word(writer, by_kernel, word_of(writer, object, view, slot), &writer->touches);
		object->last[writer->index][slot] = writer->touches;
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
	for (struct object *o = stress->objects; o < stress->objects + stress->count; o++) {
		o->last[index] = calloc(o->slots, sizeof(uint64_t));
		igt_assert(o->last[index]);
		for (uint64_t slot = 0; slot < o->slots; slot++)
			*word_of(writer, o, &o->view, slot) = 0;
	}
}

static void writer_close(struct writer *writer)
{
	struct stress *stress = writer->stress;

	for (struct object *o = stress->objects; o < stress->objects + stress->count; o++) {
		for (uint64_t slot = 0; slot < o->slots; slot++)
			assert_slot(writer, o, &o->view, slot, false);
		free(o->last[writer->index]);
	}
	close(writer->pipe[0]);
	close(writer->pipe[1]);
	target_assert(stress->target, writer->touches, "writer %d touched nothing", writer->index);
	stress->touches += writer->touches;
}

static void *touch_until(void *data)
{
	struct writer *writer = data;

	while (!writer->stress->stop) {
		struct object *object = random_object(writer);

		touch_some(writer, object, &object->view, 16);
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

/* Where the part ends up is congruent to 1 GiB, 2 MiB, or 4 KiB. */
static void move(struct writer *writer, struct view *part)
{
	static const uint64_t skews[] = { 0, BO_PMD_SIZE, BO_PTE_SIZE };
	uint64_t align = wanted_alignment(part->length);
	uint64_t skew = skews[rand_r(&writer->random) % ARRAY_SIZE(skews)];
	size_t size = part->length + 3 * align;
	char *area, *to, *behind;

	/* Reserved, as other threads map what they like; what lies before and behind goes back. */
	area = mmap(NULL, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	igt_assert(area != MAP_FAILED);
	to = (char *)((uintptr_t)area / align * align + align);
	to += ((uintptr_t)part->addr + skew) % align;
	igt_assert(mremap(part->addr, part->length, part->length, MREMAP_MAYMOVE | MREMAP_FIXED,
			  to) == to);
	behind = to + part->length;
	igt_assert_eq(munmap(area, to - area), 0);
	igt_assert_eq(munmap(behind, area + size - behind), 0);
	part->addr = to;
	writer->stress->mremaps++;
}

/* For the tables to be copied. */
static void fork_once(struct stress *stress, const struct view *view)
{
	pid_t child = fork();
	int status;

	target_assert(stress->target, child >= 0, "fork: %s", strerror(errno));
	if (!child)
		_exit(*(volatile char *)view->addr & 0);
	igt_assert_eq(waitpid(child, &status, 0), child);
	igt_assert_eq(status, 0);
	stress->forks++;
}

/* Maps an object once more; moves or unmaps a part, then the rest. */
static void *remap_until(void *data)
{
	struct writer *writer = data;
	struct stress *stress = writer->stress;

	while (!stress->stop) {
		struct object *object = random_object(writer);
		struct view view = map_whole(stress->target, object->view.bo,
					     PROT_READ | PROT_WRITE);
		struct view part = random_part(writer, &view);
		uint64_t end = part.first + part.length;
		struct view rest[] = {
			sub_view(&view, 0, part.first),
			sub_view(&view, end, view.length - end),
		};

		touch_some(writer, object, &view, 16);
		if (rand_r(&writer->random) % 4 == 0)
			fork_once(stress, &view);
		if (rand_r(&writer->random) % 2) {
			move(writer, &part);
			touch_some(writer, object, &part, 16);
		}
		unmap(&part);
		for (int i = 0; i < 2; i++) {
			if (rest[i].length) {
				touch_some(writer, object, &rest[i], 8);
				unmap(&rest[i]);
			}
		}
		stress->mappings++;
	}
	return NULL;
}

/*
 * Pushes all objects out of VRAM with @count others, or as many as it takes if @count is 0; returns
 * how many that was. Where an object is takes too long to ask each time.
 */
static int evict_all(const struct stress *stress, int count)
{
	const struct bo *last = stress->objects[stress->count - 1].view.bo;
	const struct target *target = stress->target;
	uint64_t chunk = (bo_vram_size(target->fd) / 8) & ~(BO_PTE_SIZE - 1);
	enum bo_placement where = BO_VRAM;
	struct bo other[32];
	int n = 0;

	do {
		target_assert(target, n < (int)ARRAY_SIZE(other), "%d objects of %" PRIu64
			      " KiB do not evict others", n, chunk / KiB);
		igt_assert_eq(bo_create(target->fd, BO_VRAM, chunk, &other[n++]), 0);
		/* The one that came back last goes last. */
		if (!count)
			igt_assert_eq(bo_where(last, &where), 0);
	} while (count ? n < count : where == BO_VRAM);

	for (int i = 0; i < n; i++)
		bo_destroy(&other[i]);
	return n;
}

static void return_all(const struct stress *stress)
{
	for (int i = 0; i < stress->count; i++) {
		const struct view *view = &stress->objects[i].view;
		int ret = bo_return_to_vram(view->bo);

		target_require(stress->target, ret != -EOPNOTSUPP,
			       "the driver moves nothing back to VRAM");
		view_assert(view, !ret, "it cannot return to VRAM: %s", strerror(-ret));
	}
}

static void add_object(struct stress *stress, uint64_t size)
{
	/* Of large objects one page in 64 KiB, or they take too long to check. */
	uint64_t step = size > LARGE_VIEW ? 16 : 1;

	stress->objects[stress->count++] = (struct object){
		.view = new_view(stress->target, size),
		.step = step,
		.slots = size / BO_PTE_SIZE / step,
	};
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
	struct timespec start = { 0 };
	unsigned int random = seed, elapsed, minutes = 0;
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

	while ((elapsed = igt_nsec_elapsed(&start) / 1000000000) < seconds) {
		usleep(random_below(&random, 100 * 1000));
		set_huge_faults(rand_r(&random) % (HUGE_PUD + 1));
		evict_all(&stress, count);
		usleep(random_below(&random, 100 * 1000));
		set_huge_faults(rand_r(&random) % (HUGE_PUD + 1));
		return_all(&stress);
		stress.moves++;
		if (elapsed / 60 > minutes) {
			igt_info("%s: %lu moves so far\n", target->name, stress.moves);
			minutes = elapsed / 60;
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
		touch(&stress.objects[i].view, false);
		assert_levels(&stress.objects[i].view, HUGE_PUD);
	}
	for (int i = 0; i < WRITERS; i++)
		writer_close(&writer[i]);
	igt_info("%s: seed %u, %lu touches, %lu mappings, %lu mremaps, %lu forks, %lu moves out and"
		 " back\n", target->name, seed, stress.touches, stress.mappings, stress.mremaps,
		 stress.forks, stress.moves);
	target_assert(target, stress.mappings && stress.mremaps && stress.forks && stress.moves,
		      "%lu mappings, %lu mremaps, %lu forks, %lu moves, expected some of each",
		      stress.mappings, stress.mremaps, stress.forks, stress.moves);
}

static int parse(int opt, int index, void *data)
{
	(void)index;
	(void)data;
	if (opt == 's')
		return number_option("--seconds", optarg, 1, INT_MAX, &seconds);
	if (opt == 'r')
		return number_option("--seed", optarg, 1, UINT_MAX, &seed);
	return -2;	/* IGT_OPT_HANDLER_ERROR */
}

static const struct option options[] = {
	{ "seconds", required_argument, NULL, 's' },
	{ "seed", required_argument, NULL, 'r' },
	{ }
};

static const struct subtest threads = {
	"threads", "Touch, unmap, move and fork while objects move", test_threads, .on = on_vram,
};

int igt_main_args("s:r:", options,
		  "  --seconds N\tfor each card (default 10)\n  --seed N\tof what is random\n",
		  parse, NULL)
{
	igt_fixture() {
		if (!seed)
			seed = time(NULL);
		ttm_huge_init();
	}

	run_subtest(&threads);

	igt_fixture()
		ttm_huge_fini();
}
