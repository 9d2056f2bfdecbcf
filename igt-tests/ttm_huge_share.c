// SPDX-License-Identifier: MIT
/**
 * TEST: ttm huge share
 * Category: Core
 * Mega feature: General Core features
 * Sub-category: Memory management tests
 * Functionality: prime
 * Description: Objects that are exported as dma-bufs are mapped through them with the same entries
 *              as through their card, and what other devices were refused before they still are.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <xf86drm.h>

#include "ttm_huge.h"

IGT_TEST_DESCRIPTION("Huge mappings of exported TTM buffer objects");

static int export_bo(const struct target *target, const struct bo *bo, int flags)
{
	int fd = -1, ret = drmPrimeHandleToFD(bo->fd, bo->handle, O_CLOEXEC | flags, &fd);

	igt_assert_f(!ret, "%s: object of %" PRIu64 " KiB cannot be exported: %s\n", target->name,
		     bo->size / KiB, strerror(errno));
	return fd;
}

/* A part of the object from byte @first on, through its dma-buf, at @addr. */
static struct view map_dmabuf_part(const struct target *target, const struct bo *bo, int dmabuf,
				   uint64_t first, char *addr, size_t length, int prot)
{
	struct view view = {
		.target = target,
		.bo = bo,
		.first = first,
		.length = length,
	};

	view.addr = mmap(addr, length, prot, MAP_SHARED | (addr ? MAP_FIXED_NOREPLACE : 0), dmabuf,
			 first);
	igt_assert_f(view.addr != MAP_FAILED,
		     "%s: object of %" PRIu64 " KiB, offset %#" PRIx64
		     ": mmap of %zu KiB of the dma-buf: %s\n", target->name, bo->size / KiB, first,
		     length / KiB, strerror(errno));
	return view;
}

/* All of it, where the largest entries fit: dma-bufs leave the address to mm. */
static struct view map_dmabuf(const struct target *target, const struct bo *bo, int dmabuf, int prot)
{
	return map_dmabuf_part(target, bo, dmabuf, 0, free_address(bo->size, BO_PUD_SIZE, 0),
			       bo->size, prot);
}

/**
 * SUBTEST: mmap
 * Description: A dma-buf is mapped at the same levels as its object, with every value of the switch.
 *              What is written through either is read through the other, and the dma-buf keeps the
 *              object when its handle is closed.
 */
static void test_mmap(const struct target *target)
{
	struct bo bo = target_bo(target, size_of_all_levels(target));
	struct view own = map_whole(target, &bo, PROT_READ | PROT_WRITE), view;
	int dmabuf = export_bo(target, &bo, O_RDWR);
	const uint64_t step = view_step(&own);

	igt_assert(lseek(dmabuf, 0, SEEK_END) == (off_t)bo.size);
	for (int value = HUGE_NONE; value <= HUGE_PUD; value++) {
		set_huge_faults(value);
		view = map_dmabuf(target, &bo, dmabuf, PROT_READ | PROT_WRITE);
		touch(&view, true);
		assert_levels(&view, value);
		fill(&view, step, value);
		assert_contents(&own, step, value);
		fill(&own, step, value + 10);
		assert_contents(&view, step, value + 10);
		unmap(&view);
	}

	unmap(&own);
	bo_destroy(&bo);
	view = map_dmabuf(target, &bo, dmabuf, PROT_READ | PROT_WRITE);
	close(dmabuf);
	assert_contents(&view, step, HUGE_PUD + 10);
	touch(&view, false);
	assert_levels(&view, HUGE_PUD);
	unmap(&view);
	assert_no_kernel_warning(target);
}

/**
 * SUBTEST: mmap-part
 * Description: Parts of a dma-buf, which may begin at any page, are mapped with the largest entries
 *              that fit between address and offset, and not beyond the object's end.
 */
static void test_mmap_part(const struct target *target)
{
	struct bo bo = target_bo(target, size_of_all_levels(target));
	struct view own = map_whole(target, &bo, PROT_READ | PROT_WRITE), view;
	int dmabuf = export_bo(target, &bo, O_RDWR);
	const uint64_t step = view_step(&own);
	const struct {
		uint64_t first, skew;	/* of the address, modulo 1 GiB, against the offset */
	} parts[] = {
		{ BO_PMD_SIZE, 0 },
		{ BO_PMD_SIZE, BO_PTE_SIZE },
		{ BO_PTE_SIZE, 0 },
		{ BO_PTE_SIZE, BO_PMD_SIZE },
		{ BO_PTE_SIZE, BO_PUD_SIZE - BO_PTE_SIZE },
		{ bo.size - BO_PTE_SIZE, 0 },
	};

	touch(&own, true);
	fill(&own, step, 1);
	for (size_t i = 0; i < ARRAY_SIZE(parts); i++) {
		uint64_t first = parts[i].first, length = bo.size - first;

		view = map_dmabuf_part(target, &bo, dmabuf, first,
				       free_address(length, BO_PUD_SIZE, first + parts[i].skew),
				       length, PROT_READ | PROT_WRITE);
		touch(&view, false);
		assert_levels(&view, HUGE_PUD);
		assert_contents(&view, step, 1);
		unmap(&view);

		igt_assert(mmap(NULL, length + BO_PTE_SIZE, PROT_READ, MAP_SHARED, dmabuf, first) ==
			   MAP_FAILED);
		igt_assert_eq(errno, EINVAL);
	}

	/* Wherever mm likes: what fits there. */
	view = map_dmabuf_part(target, &bo, dmabuf, 0, NULL, bo.size, PROT_READ | PROT_WRITE);
	touch(&view, false);
	assert_levels(&view, HUGE_PUD);
	assert_contents(&view, step, 1);
	close(dmabuf);
	assert_no_kernel_warning(target);
}

/**
 * SUBTEST: mmap-refused
 * Description: A dma-buf that was exported for reading cannot be mapped for writing, and none can be
 *              mapped private and writable. Read-only mappings have the same levels, and no
 *              writable entry.
 */
static void test_mmap_refused(const struct target *target)
{
	struct bo bo = target_bo(target, size_of_all_levels(target));
	int dmabuf = export_bo(target, &bo, 0);
	struct view view;

	igt_assert(mmap(NULL, bo.size, PROT_READ | PROT_WRITE, MAP_SHARED, dmabuf, 0) == MAP_FAILED);
	igt_assert_eq(errno, EACCES);
	igt_assert(mmap(NULL, bo.size, PROT_READ | PROT_WRITE, MAP_PRIVATE, dmabuf, 0) ==
		   MAP_FAILED);
	igt_assert_eq(errno, EINVAL);

	view = map_dmabuf(target, &bo, dmabuf, PROT_READ);
	touch(&view, false);
	assert_levels(&view, HUGE_PUD);
	assert_read_only(&view);
	igt_assert_eq(mprotect(view.addr, view.length, PROT_READ | PROT_WRITE), -1);
	igt_assert_eq(signal_of_write(view.addr), SIGSEGV);
	igt_assert_eq(signal_of_write(view.addr + view.length - 1), SIGSEGV);
	close(dmabuf);
	assert_no_kernel_warning(target);
}

/**
 * SUBTEST: evict
 * Description: Mappings of a dma-buf, also those of a child, lose their entries when the object
 *              leaves VRAM, and follow it with the same contents.
 */
static void test_evict(const struct target *target)
{
	struct bo bo = target_bo(target, 6 * MiB + 4 * KiB);
	int dmabuf = export_bo(target, &bo, O_RDWR);
	struct view view = map_dmabuf(target, &bo, dmabuf, PROT_READ | PROT_WRITE);
	struct handshake hs;

	touch(&view, true);
	fill(&view, BO_EVERY_PAGE, 1);
	assert_levels(&view, HUGE_PUD);

	handshake_open(&hs);
	igt_fork(child, 1) {
		handshake_take(&hs, CHILD);
		assert_levels(&view, HUGE_PUD);
		handshake_tell(&hs);
		handshake_wait(&hs);
		assert_unmapped(&view);
		assert_contents(&view, BO_EVERY_PAGE, 1);
		assert_levels(&view, HUGE_PMD);
		fill(&view, BO_EVERY_PAGE, 2);
		handshake_close(&hs);
	}
	handshake_take(&hs, PARENT);
	handshake_wait(&hs);
	evict(&view);
	handshake_finish(&hs);
	assert_contents(&view, BO_EVERY_PAGE, 2);
	close(dmabuf);
	assert_no_kernel_warning(target);
}

/* What reading a word of another process answers: a negative errno, or 0 and the word. */
struct answer {
	long error;
	uint64_t word;
};

static struct answer peek(pid_t pid, const char *addr)
{
	struct answer answer;

	errno = 0;
	answer.word = ptrace(PTRACE_PEEKDATA, pid, addr, NULL);
	answer.error = -errno;
	return answer;
}

static struct answer read_mem(pid_t pid, const char *addr)
{
	struct answer answer = { 0 };
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/mem", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	igt_assert_fd(fd);
	errno = 0;
	if (pread(fd, &answer.word, sizeof(answer.word), (uintptr_t)addr) < 0)
		answer.error = -errno;
	close(fd);
	return answer;
}

static void check_peek(const struct view *own, const struct view *view, uint64_t offset,
		       struct answer (*read_word)(pid_t pid, const char *addr))
{
	struct answer expected = read_word(getppid(), own->addr + offset);
	struct answer found = read_word(getppid(), view->addr + offset - view->first);

	igt_assert_f(found.error == expected.error && (found.error || found.word == expected.word),
		     "%s: object of %" PRIu64 " KiB, offset %#" PRIx64
		     ": reading the dma-buf's mapping says %ld and %#" PRIx64 ", expected %ld and %#"
		     PRIx64 " as through the object's own\n", view->target->name,
		     view->bo->size / KiB, offset, found.error, found.word, expected.error,
		     expected.word);
	/* The kernel maps system memory itself; VRAM takes a driver that can read it. */
	igt_assert_f(view->target->placement == BO_VRAM || !found.error,
		     "%s: object of %" PRIu64 " KiB, offset %#" PRIx64 ": reading says %ld\n",
		     view->target->name, view->bo->size / KiB, offset, found.error);
	igt_assert(found.error || found.word == bo_pattern(1, offset));
}

/**
 * SUBTEST: ptrace
 * Description: ptrace and /proc/PID/mem read a dma-buf's mapping, also one that begins within the
 *              object, as they read a mapping of the object itself.
 */
static void test_ptrace(const struct target *target)
{
	struct bo bo = target_bo(target, size_of_all_levels(target));
	struct view own = map_whole(target, &bo, PROT_READ | PROT_WRITE);
	int dmabuf = export_bo(target, &bo, O_RDWR);
	const uint64_t first = BO_PMD_SIZE + BO_PTE_SIZE;
	struct view views[] = {
		map_dmabuf(target, &bo, dmabuf, PROT_READ | PROT_WRITE),
		map_dmabuf_part(target, &bo, dmabuf, first, NULL, bo.size - first, PROT_READ),
	};
	const uint64_t offsets[] = { first, first + 8, 2 * BO_PMD_SIZE, bo.size - 8 };

	touch(&own, true);
	for (size_t i = 0; i < ARRAY_SIZE(offsets); i++)
		*(volatile uint64_t *)(own.addr + offsets[i]) = bo_pattern(1, offsets[i]);
	for (size_t v = 0; v < ARRAY_SIZE(views); v++)
		touch(&views[v], false);

	igt_fork(child, 1) {
		pid_t pid = getppid();

		igt_assert_eq(ptrace(PTRACE_ATTACH, pid, NULL, NULL), 0);
		igt_assert_eq(waitpid(pid, NULL, __WALL), pid);
		for (size_t v = 0; v < ARRAY_SIZE(views); v++) {
			for (size_t i = 0; i < ARRAY_SIZE(offsets); i++) {
				check_peek(&own, &views[v], offsets[i], peek);
				check_peek(&own, &views[v], offsets[i], read_mem);
			}
		}
		igt_assert_eq(ptrace(PTRACE_DETACH, pid, NULL, NULL), 0);
	}
	igt_waitchildren();
	close(dmabuf);
	assert_no_kernel_warning(target);
}

/**
 * SUBTEST: import-self
 * Description: Another file of the same card that imports the dma-buf has the object itself, and
 *              maps it at the same levels.
 */
static void test_import_self(const struct target *target)
{
	struct bo bo = target_bo(target, size_of_all_levels(target)), other;
	struct view view = map_whole(target, &bo, PROT_READ | PROT_WRITE), imported;
	int dmabuf = export_bo(target, &bo, O_RDWR), fd = bo_open_card(target->card);

	touch(&view, true);
	fill(&view, view_step(&view), 1);

	igt_assert_fd(fd);
	igt_assert_eq(bo_import(fd, dmabuf, &other), 0);
	igt_assert_eq_u64(other.size, bo.size);
	igt_assert_eq_u64(other.offset, bo.offset);
	imported = map_whole(target, &other, PROT_READ | PROT_WRITE);
	assert_contents(&imported, view_step(&view), 1);
	touch(&imported, true);
	assert_levels(&imported, HUGE_PUD);
	fill(&imported, view_step(&view), 2);
	assert_contents(&view, view_step(&view), 2);
	assert_levels(&view, HUGE_PUD);

	unmap(&view);
	bo_destroy(&bo);
	close(dmabuf);
	assert_contents(&imported, view_step(&imported), 2);
	unmap(&imported);
	close(fd);
	assert_no_kernel_warning(target);
}

/* Tries to import the dma-buf on every other card. Returns how many there are. */
static int import_elsewhere(const struct target *target, const struct bo *bo, int dmabuf)
{
	struct stat self, st;
	int count = 0;

	igt_assert_eq(fstat(target->fd, &self), 0);
	for (int card = 0; card < 16; card++) {
		int fd = bo_open_card(card), ret;
		struct bo other;

		if (fd < 0)
			continue;
		igt_assert_eq(fstat(fd, &st), 0);
		/* Not a radeon whose GART does not work: it warns, if it gets so far. */
		if (bo_driver(fd)[0] && bo_can_pin(fd) && st.st_rdev != self.st_rdev) {
			ret = bo_import(fd, dmabuf, &other);
			igt_assert_f(ret == -ENOSYS || ret == -EINVAL,
				     "%s: object of %" PRIu64 " KiB: card%d says %d to importing "
				     "it, expected %d or %d\n", target->name, bo->size / KiB, card,
				     ret, -ENOSYS, -EINVAL);
			count++;
		}
		close(fd);
	}
	return count;
}

/**
 * SUBTEST: import-elsewhere
 * Description: No other card can import an object, with or without huge mappings, just as before.
 *              The object may move for that, but keeps its contents, and its mappings follow.
 */
static void test_import_elsewhere(const struct target *target)
{
	struct bo bo = target_bo(target, 4 * MiB + 4 * KiB);
	struct view view = map_whole(target, &bo, PROT_READ | PROT_WRITE), shared;
	int dmabuf = export_bo(target, &bo, O_RDWR);

	igt_require_f(bo_can_pin(target->fd),
		      "%s: objects are pinned in the GART, which does not work here (7.3 warns)\n",
		      target->name);
	shared = map_dmabuf(target, &bo, dmabuf, PROT_READ | PROT_WRITE);
	for (int value = HUGE_NONE; value <= HUGE_PUD; value++) {
		set_huge_faults(value);
		touch(&view, true);
		touch(&shared, true);
		fill(&view, BO_EVERY_PAGE, value);
		igt_require_f(import_elsewhere(target, &bo, dmabuf), "there is no other card\n");
		assert_contents(&view, BO_EVERY_PAGE, value);
		assert_contents(&shared, BO_EVERY_PAGE, value);
	}
	close(dmabuf);
	assert_no_kernel_warning(target);
}

int igt_main()
{
	static const struct {
		const char *name, *description;
		bool vram_only;
		void (*test)(const struct target *target);
	} tests[] = {
		{ "mmap", "Through the dma-buf as through the card", false, test_mmap },
		{ "mmap-part", "Parts of a dma-buf", false, test_mmap_part },
		{ "mmap-refused", "Rights of a dma-buf's mapping", false, test_mmap_refused },
		{ "evict", "Mappings of a dma-buf follow the object", true, test_evict },
		{ "ptrace", "Reading a dma-buf's mapping from outside", false, test_ptrace },
		{ "import-self", "Back on the same card", false, test_import_self },
		{ "import-elsewhere", "Refused on every other card", false, test_import_elsewhere },
	};
	struct target *target;

	igt_fixture()
		ttm_huge_init();

	for (size_t i = 0; i < ARRAY_SIZE(tests); i++) {
		igt_describe(tests[i].description);
		igt_subtest_with_dynamic(tests[i].name)
			igt_dynamic_targets_if(target, !tests[i].vram_only || target->placement == BO_VRAM)
				tests[i].test(target);
	}

	igt_fixture()
		ttm_huge_fini();
}
