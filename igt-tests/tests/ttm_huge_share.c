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
#define _GNU_SOURCE 1
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>

#include <xf86drm.h>

#include "ttm_huge.h"

IGT_TEST_DESCRIPTION("Huge mappings of exported TTM buffer objects");

#define READ_WRITE	(PROT_READ | PROT_WRITE)

static int export_bo(const struct target *target, const struct bo *bo, int flags)
{
	int fd = -1, ret = drmPrimeHandleToFD(bo->fd, bo->handle, O_CLOEXEC | flags, &fd);

	target_assert(target, !ret, "object of %" PRIu64 " KiB cannot be exported: %s",
		      bo->size / KiB, strerror(errno));
	return fd;
}

/* The object from byte @first on, through its dma-buf @fd, at @addr. */
static struct view map_dmabuf_part(const struct target *target, const struct bo *bo, int fd,
				   uint64_t first, char *addr, int prot)
{
	struct view view = { target, bo, first, .length = bo->size - first };

	view.addr = mmap(addr, view.length, prot, MAP_SHARED | (addr ? MAP_FIXED_NOREPLACE : 0),
			 fd, first);
	view_assert_at(&view, first, view.addr != MAP_FAILED, "mmap of %zu KiB of the dma-buf: %s",
		       view.length / KiB, strerror(errno));
	return view;
}

/* All of it, where mm likes: at an address that suits it as the object's own file does. */
static struct view map_dmabuf(const struct target *target, const struct bo *bo, int fd, int prot)
{
	struct view view = map_dmabuf_part(target, bo, fd, 0, NULL, prot);

	assert_congruent(&view);
	return view;
}

static void assert_refused(int dmabuf, size_t length, int prot, int flags, off_t first, int error)
{
	void *addr = mmap(NULL, length, prot, flags, dmabuf, first);

	igt_assert_f(addr == MAP_FAILED && errno == error,
		     "mmap of %zu KiB of the dma-buf, offset %#jx, prot %d, flags %d: %p, %s, "
		     "expected %s\n", length / KiB, (uintmax_t)first, prot, flags, addr,
		     strerror(errno), strerror(error));
}

/**
 * SUBTEST: mmap
 * Description: A dma-buf is mapped at the same levels as its object, with every value of the
 *              switch. What is written through either is read through the other, and the dma-buf
 *              keeps the object when its handle is closed.
 */
static void test_mmap(const struct target *target)
{
	struct bo bo = target_bo(target, size_of_all_levels(target));
	struct view own = map_whole(target, &bo, READ_WRITE), view;
	int dmabuf = export_bo(target, &bo, O_RDWR);
	const uint64_t step = view_step(&own);

	igt_assert(lseek(dmabuf, 0, SEEK_END) == (off_t)bo.size);
	for (int value = HUGE_NONE; value <= HUGE_PUD; value++) {
		set_huge_faults(value);
		view = map_dmabuf(target, &bo, dmabuf, READ_WRITE);
		touch_levels(&view, true, value);
		fill(&view, step, value);
		assert_contents(&own, step, value);
		fill(&own, step, value + 10);
		assert_contents(&view, step, value + 10);
		unmap(&view);
	}

	unmap(&own);
	bo_destroy(&bo);
	view = map_dmabuf(target, &bo, dmabuf, READ_WRITE);
	close(dmabuf);
	check_view(&view, HUGE_PUD, step, HUGE_PUD + 10);
	/* The object ends here, before the kernel is asked for warnings. */
	unmap(&view);
}

/**
 * SUBTEST: mmap-part
 * Description: Parts of a dma-buf, which may begin at any page, are mapped with the largest entries
 *              that fit between address and offset, and not beyond the object's end.
 */
static void test_mmap_part(const struct target *target)
{
	struct view own = new_filled(target, size_of_all_levels(target), 1), view;
	const uint64_t size = own.length, step = view_step(&own);
	int dmabuf = export_bo(target, own.bo, O_RDWR);
	const struct {
		uint64_t first, skew;	/* of the address, modulo 1 GiB, against the offset */
	} parts[] = {
		{ BO_PMD_SIZE, 0 },
		{ BO_PMD_SIZE, BO_PTE_SIZE },
		{ BO_PTE_SIZE, 0 },
		{ BO_PTE_SIZE, BO_PMD_SIZE },
		{ BO_PTE_SIZE, BO_PUD_SIZE - BO_PTE_SIZE },
		{ size - BO_PTE_SIZE, 0 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(parts); i++) {
		uint64_t first = parts[i].first, length = size - first;

		view = map_dmabuf_part(target, own.bo, dmabuf, first,
				       free_address(length, BO_PUD_SIZE, first + parts[i].skew),
				       READ_WRITE);
		check_view(&view, HUGE_PUD, step, 1);
		unmap(&view);
		assert_refused(dmabuf, length + BO_PTE_SIZE, PROT_READ, MAP_SHARED, first, EINVAL);
	}

	/* Wherever mm likes: what fits there. */
	view = map_dmabuf_part(target, own.bo, dmabuf, 0, NULL, READ_WRITE);
	check_view(&view, HUGE_PUD, step, 1);
	close(dmabuf);
}

/**
 * SUBTEST: mmap-refused
 * Description: A dma-buf that was exported for reading cannot be mapped for writing, and none can
 *              be mapped private and writable. Read-only mappings have the same levels, and no
 *              writable entry.
 */
static void test_mmap_refused(const struct target *target)
{
	const struct bo *bo = target_new_bo(target, size_of_all_levels(target));
	int dmabuf = export_bo(target, bo, 0);
	struct view view;

	assert_refused(dmabuf, bo->size, READ_WRITE, MAP_SHARED, 0, EACCES);
	assert_refused(dmabuf, bo->size, READ_WRITE, MAP_PRIVATE, 0, EINVAL);

	view = map_dmabuf(target, bo, dmabuf, PROT_READ);
	touch_levels(&view, false, HUGE_PUD);
	assert_read_only(&view);
	igt_assert_eq(mprotect(view.addr, view.length, READ_WRITE), -1);
	igt_assert_eq(signal_of_write(view.addr), SIGSEGV);
	igt_assert_eq(signal_of_write(view.addr + view.length - 1), SIGSEGV);
	close(dmabuf);
}

/**
 * SUBTEST: evict
 * Description: Mappings of a dma-buf, also those of a child, lose their entries when the object
 *              leaves VRAM, and follow it with the same contents.
 */
static void test_evict(const struct target *target)
{
	const struct bo *bo = target_new_bo(target, 6 * MiB + 4 * KiB);
	int dmabuf = export_bo(target, bo, O_RDWR);
	struct view view = map_dmabuf(target, bo, dmabuf, READ_WRITE);

	touch_levels(&view, true, HUGE_PUD);
	fill(&view, BO_EVERY_PAGE, 1);
	check_taken_away(&view, NULL, 1, evict);
	close(dmabuf);
}

/* Reading through the dma-buf says the same as through @own: 0 and the word, or an error. */
static void check_peek(const struct view *own, const struct view *view, uint64_t offset,
		       int (*read_word)(pid_t pid, const void *addr, uint64_t *word))
{
	uint64_t expected = 0, found = 0;
	int own_ret = read_word(getppid(), own->addr + offset, &expected);
	int ret = read_word(getppid(), view->addr + offset - view->first, &found);

	view_assert_at(view, offset, ret == own_ret && (ret || found == expected),
		       "reading the dma-buf's mapping says %d and %#" PRIx64 ", expected %d and %#"
		       PRIx64 " as through the object's own", ret, found, own_ret, expected);
	/* The kernel maps system memory itself; VRAM takes a driver that can read it. */
	view_assert_at(view, offset, on_vram(view->target) || !ret, "reading says %d", ret);
	igt_assert(ret || found == bo_pattern(1, offset));
}

/**
 * SUBTEST: ptrace
 * Description: ptrace and /proc/PID/mem read a dma-buf's mapping, also one that begins within the
 *              object, as they read a mapping of the object itself.
 */
static void test_ptrace(const struct target *target)
{
	struct view own = new_view(target, size_of_all_levels(target));
	int dmabuf = export_bo(target, own.bo, O_RDWR);
	const uint64_t first = BO_PMD_SIZE + BO_PTE_SIZE;
	struct view views[] = {
		map_dmabuf(target, own.bo, dmabuf, READ_WRITE),
		map_dmabuf_part(target, own.bo, dmabuf, first, NULL, PROT_READ),
	};
	const uint64_t offsets[] = { first, first + 8, 2 * BO_PMD_SIZE, own.length - 8 };

	touch(&own, true);
	for (size_t i = 0; i < ARRAY_SIZE(offsets); i++)
		*(volatile uint64_t *)(own.addr + offsets[i]) = bo_pattern(1, offsets[i]);
	for (size_t v = 0; v < ARRAY_SIZE(views); v++)
		touch(&views[v], false);

	igt_fork(child, 1) {
		attach_to(getppid());
		for (size_t v = 0; v < ARRAY_SIZE(views); v++) {
			for (size_t i = 0; i < ARRAY_SIZE(offsets); i++) {
				check_peek(&own, &views[v], offsets[i], read_by_ptrace);
				check_peek(&own, &views[v], offsets[i], read_mem);
			}
		}
		detach_from(getppid());
	}
	igt_waitchildren();
	close(dmabuf);
}

/**
 * SUBTEST: import-self
 * Description: Another file of the same card that imports the dma-buf has the object itself, and
 *              maps it at the same levels.
 */
static void test_import_self(const struct target *target)
{
	struct bo bo = target_bo(target, size_of_all_levels(target)), other;
	struct view view = map_filled(target, &bo, 1), imported;
	int dmabuf = export_bo(target, &bo, O_RDWR), fd = bo_open_card(target->card);

	igt_assert_fd(fd);
	igt_assert_eq(bo_import(fd, dmabuf, &other), 0);
	igt_assert_eq_u64(other.size, bo.size);
	igt_assert_eq_u64(other.offset, bo.offset);
	imported = map_whole(target, &other, READ_WRITE);
	assert_contents(&imported, view_step(&view), 1);
	touch_levels(&imported, true, HUGE_PUD);
	fill(&imported, view_step(&view), 2);
	check_view(&view, HUGE_PUD, view_step(&view), 2);

	unmap(&view);
	bo_destroy(&bo);
	close(dmabuf);
	assert_contents(&imported, view_step(&imported), 2);
	unmap(&imported);
	close(fd);
}

/* Tries to import the dma-buf on every other card. Returns how many there are. */
static int import_elsewhere(const struct view *view, int dmabuf)
{
	int count = 0;

	for (int card = 0; card < 16; card++) {
		int fd = bo_open_card(card), ret;
		struct bo other;

		if (fd < 0)
			continue;
		/* Not a radeon whose GART does not work: it warns, if it gets so far. */
		if (card != view->target->card && bo_driver(fd)[0] && bo_can_pin(fd)) {
			ret = bo_import(fd, dmabuf, &other);
			view_assert(view, ret == -ENOSYS || ret == -EINVAL,
				    "card%d says %d to importing it, expected %d or %d", card, ret,
				    -ENOSYS, -EINVAL);
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
	struct view view = new_view(target, 4 * MiB + 4 * KiB), shared;
	int dmabuf = export_bo(target, view.bo, O_RDWR);

	target_require(target, bo_can_pin(target->fd),
		       "objects are pinned in the GART, which does not work here (7.3 warns)");
	shared = map_dmabuf(target, view.bo, dmabuf, READ_WRITE);
	for (int value = HUGE_NONE; value <= HUGE_PUD; value++) {
		set_huge_faults(value);
		touch(&view, true);
		touch(&shared, true);
		fill(&view, BO_EVERY_PAGE, value);
		igt_require_f(import_elsewhere(&view, dmabuf), "there is no other card\n");
		assert_contents(&view, BO_EVERY_PAGE, value);
		assert_contents(&shared, BO_EVERY_PAGE, value);
	}
	close(dmabuf);
}

static const struct subtest subtests[] = {
	{ "mmap", "Through the dma-buf as through the card", .test = test_mmap },
	{ "mmap-part", "Parts of a dma-buf", .test = test_mmap_part },
	{ "mmap-refused", "Rights of a dma-buf's mapping", .test = test_mmap_refused },
	{ "evict", "Mappings of a dma-buf follow the object", test_evict, .on = on_vram },
	{ "ptrace", "Reading a dma-buf's mapping from outside", .test = test_ptrace },
	{ "import-self", "Back on the same card", .test = test_import_self },
	{ "import-elsewhere", "Refused on every other card", .test = test_import_elsewhere },
};

int igt_main()
{
	run_test(subtests);
}
