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
#include <limits.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "igt_thread.h"
#include "options.h"
#include "random.h"

IGT_TEST_DESCRIPTION("Threads that touch, unmap and fork while objects move");

#define TOUCHERS	3
/* Each has words of its own in every page: the touchers, and the one that maps and unmaps. */
#define WRITERS		(TOUCHERS + 1)
#define OBJECTS		4

static unsigned int seconds = 10;	/* for each target */
static unsigned int seed;

struct object {
	struct view view;
	uint64_t step, slots;		/* a slot is one page in @step */
	uint64_t (*last)[WRITERS];	/* what each has written to each slot */
};

struct writer {
	int index, pipe[2];
	unsigned int random;
	uint64_t touches;		/* how many, and the last number it has written */
	pthread_t thread;
};

/* A failure in the main thread leaves the others running. */
static struct stress {
	struct object objects[OBJECTS];
	struct writer writers[WRITERS];
	unsigned int random;
	volatile bool stop;
	unsigned long touches, mappings, mremaps, forks, moves;
} stress;

#define for_each_object(o)							\
	for (struct object *o = stress.objects; o < stress.objects + OBJECTS; o++)
#define for_each_writer(w)							\
	for (struct writer *w = stress.writers; w < stress.writers + WRITERS; w++)

/* The byte in the object; each time another page of the step. */
static uint64_t place_of(const struct object *o, uint64_t slot)
{
	return (slot * o->step + slot % o->step) * BO_PTE_SIZE;
}

static uint64_t *word_of(const struct writer *w, const struct object *o, const struct view *view,
			 uint64_t slot)
{
	return (uint64_t *)(view->addr + place_of(o, slot) - view->first) + w->index;
}

/* Lets the kernel do it now and then, whose faults come without the VMA lock. */
static void copy_word(const struct writer *w, bool by_kernel, volatile uint64_t *to,
		      volatile uint64_t *from)
{
	if (by_kernel)
		igt_assert_eq(signal_of_kernel_copy(w->pipe, to, from), 0);
	else
		*to = *from;
}

static void assert_slot(const struct writer *w, const struct object *o, const struct view *view,
			uint64_t slot, bool by_kernel)
{
	uint64_t found, expected = o->last[slot][w->index];

	copy_word(w, by_kernel, &found, word_of(w, o, view, slot));
	view_assert_at(view, place_of(o, slot), found == expected, "writer %d found %" PRIu64
		       ", expected %" PRIu64, w->index, found, expected);
}

/* Expects the last number, and writes the next one, to random slots of the view. */
static void touch_some(struct writer *w, const struct object *o, const struct view *view, int count)
{
	while (count-- && !stress.stop) {
		uint64_t slot = (view->first + below(w, view->length)) / BO_PTE_SIZE / o->step;
		uint64_t place = place_of(o, slot);
		bool by_kernel = one_in(w, 8);

		if (slot == o->slots || place < view->first || place >= view->first + view->length)
			continue;
		assert_slot(w, o, view, slot, by_kernel);
		w->touches++;
		copy_word(w, by_kernel, word_of(w, o, view, slot), &w->touches);
		o->last[slot][w->index] = w->touches;
	}
}

/* Where the part ends up is congruent to 1 GiB, 2 MiB, or 4 KiB. */
static void move(struct writer *w, struct view *part)
{
	uint64_t align = wanted_alignment(part->length);
	uint64_t skew = one_of(w, 0, BO_PMD_SIZE, BO_PTE_SIZE);
	size_t size = part->length + 3 * align;
	char *area, *to;

	/* Reserved, as other threads map what they like; what lies before and behind goes back. */
	area = mmap(NULL, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	igt_assert(area != MAP_FAILED);
	to = area + align + ((uintptr_t)part->addr + skew - (uintptr_t)area) % align;
	*part = move_view(part, to);
	igt_assert_eq(munmap(area, to - area), 0);
	igt_assert_eq(munmap(to + part->length, area + size - to - part->length), 0);
	stress.mremaps++;
}

/* For the tables to be copied. */
static void fork_once(const struct view *view)
{
	pid_t child = fork();
	int status;

	target_assert(view->target, child >= 0, "fork: %s", strerror(errno));
	if (!child)
		_exit(*(volatile char *)view->addr & 0);
	igt_assert_eq(waitpid(child, &status, 0), child);
	igt_assert_eq(status, 0);
	stress.forks++;
}

/* Maps an object once more; moves or unmaps a part at boundaries of any level, then the rest. */
static void remap(struct writer *w, const struct object *o)
{
	/* At an address that suits the switch of the moment, which others change */
	struct view view = map_all(o->view.target, o->view.bo, NULL, MAP_SHARED);
	struct pieces p;
	uint64_t unit;

	while ((unit = one_of(w, BO_PTE_SIZE, BO_PMD_SIZE, BO_PUD_SIZE)) > view.length)
		;
	p = cut_out(&view, random_part(&w->random, view.length, unit));
	touch_some(w, o, &view, 16);
	if (one_in(w, 4))
		fork_once(&view);
	if (one_in(w, 2)) {
		move(w, &p.part);
		touch_some(w, o, &p.part, 16);
	}
	unmap(&p.part);
	for (int i = 0; i < 2; i++) {
		struct view *rest = i ? &p.right : &p.left;

		if (rest->length) {
			touch_some(w, o, rest, 8);
			unmap(rest);
		}
	}
	stress.mappings++;
}

static void *use_objects(void *data)
{
	struct writer *w = data;

	while (!stress.stop) {
		const struct object *o = &stress.objects[below(w, OBJECTS)];

		if (w->index < TOUCHERS)
			touch_some(w, o, &o->view, 16);
		else
			remap(w, o);
	}
	return NULL;
}

/*
 * Pushes all objects out of VRAM with @count others, or as many as it takes if @count is 0; returns
 * how many that was. Where an object is takes too long to ask each time.
 */
static unsigned int evict_all(const struct target *target, unsigned int count)
{
	uint64_t chunk = (bo_vram_size(target->fd) / 8) & ~(BO_PTE_SIZE - 1);
	enum bo_placement where = BO_VRAM;
	struct bo other[32];
	unsigned int n;

	for (n = 0; count ? n < count : where == BO_VRAM; n++) {
		target_assert(target, n < ARRAY_SIZE(other), "%u objects of %" PRIu64
			      " KiB do not evict others", n, chunk / KiB);
		igt_assert_eq(bo_create(target->fd, BO_VRAM, chunk, &other[n]), 0);
		/* The one that came back last goes last. */
		if (!count)
			igt_assert_eq(bo_where(stress.objects[OBJECTS - 1].view.bo, &where), 0);
	}
	for (unsigned int i = 0; i < n; i++)
		bo_destroy(&other[i]);
	return n;
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
	const uint64_t sizes[OBJECTS] = {
		size_of_all_levels(target), 6 * MiB + 4 * KiB, 4 * MiB - 4 * KiB, 2 * MiB,
	};
	struct timespec start = { 0 };
	unsigned int count, elapsed, minutes = 0;

	stress = (struct stress){ .random = seed };
	for (int i = 0; i < OBJECTS; i++) {
		/* Of large objects one page in 64 KiB, or they take too long to check. */
		uint64_t step = sizes[i] > LARGE_VIEW ? 16 : 1;

		stress.objects[i] = (struct object){
			.view = new_view(target, sizes[i]),
			.step = step,
			.slots = sizes[i] / BO_PTE_SIZE / step,
		};
	}

	count = evict_all(target, 0);
	for_each_object(o) {
		/* Drivers that cannot move them back skip here. */
		return_in_use(&o->view);
		o->last = calloc(o->slots, sizeof(*o->last));
		igt_assert(o->last);
	}

	igt_info("%s: seed %u, %u seconds\n", target->name, seed, seconds);
	for (int i = 0; i < WRITERS; i++) {
		struct writer *w = &stress.writers[i];

		*w = (struct writer){ .index = i, .random = seed + i };
		igt_assert_eq(pipe(w->pipe), 0);
		for_each_object(o)
			for (uint64_t slot = 0; slot < o->slots; slot++)
				*word_of(w, o, &o->view, slot) = 0;
	}
	for_each_writer(w)
		igt_assert_eq(pthread_create(&w->thread, NULL, use_objects, w), 0);

	while ((elapsed = igt_nsec_elapsed(&start) / 1000000000) < seconds) {
		usleep(below(&stress, 100 * 1000));
		set_huge_faults(below(&stress, HUGE_PUD + 1));
		evict_all(target, count);
		usleep(below(&stress, 100 * 1000));
		set_huge_faults(below(&stress, HUGE_PUD + 1));
		for_each_object(o)
			return_in_use(&o->view);
		stress.moves++;
		if (elapsed / 60 > minutes)
			igt_info("%s: %lu moves so far\n", target->name, stress.moves);
		minutes = elapsed / 60;
	}

	stress.stop = true;
	for_each_writer(w)
		pthread_join(w->thread, NULL);
	igt_thread_assert_no_failures();

	set_huge_faults(HUGE_PUD);
	evict_all(target, 0);
	for_each_object(o)
		return_in_use(&o->view);
	for_each_object(o)
		touch_levels(&o->view, false, HUGE_PUD);
	for_each_writer(w) {
		for_each_object(o)
			for (uint64_t slot = 0; slot < o->slots; slot++)
				assert_slot(w, o, &o->view, slot, false);
		close(w->pipe[0]);
		close(w->pipe[1]);
		target_assert(target, w->touches, "writer %d touched nothing", w->index);
		stress.touches += w->touches;
	}
	for_each_object(o)
		free(o->last);
	igt_info("%s: seed %u, %lu touches, %lu mappings, %lu mremaps, %lu forks, "
		 "%lu moves out and back\n", target->name, seed, stress.touches, stress.mappings,
		 stress.mremaps, stress.forks, stress.moves);
	target_assert(target, stress.mappings && stress.mremaps && stress.forks && stress.moves,
		      "%lu mappings, %lu mremaps, %lu forks, %lu moves, expected some of each",
		      stress.mappings, stress.mremaps, stress.forks, stress.moves);
}

static const struct number numbers[] = {
	{ "seconds", 's', INT_MAX, &seconds },
	{ "seed", 'r', UINT_MAX, &seed },
	{ }
};

static const struct subtest subtests[] = { {
	"threads", "Touch, unmap, move and fork while objects move", test_threads, .on = on_vram,
} };

int igt_main_args("s:r:", number_options(numbers),
		  "  --seconds N\tfor each card (default 10)\n  --seed N\tof what is random\n",
		  parse_number, (void *)numbers)
{
	igt_fixture()
		seed = seed ? seed : time(NULL);
	run_test(subtests);
}
