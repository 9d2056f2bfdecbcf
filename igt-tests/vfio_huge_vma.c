// SPDX-License-Identifier: MIT
/*
 * 1 GiB entries that vfio-pci made, and everything that user space can do to
 * their VMA. Unmodified 7.3 oopses, warns or prints "bad pud" in most of these;
 * no GPU is needed, only an ivshmem-plain device with a BAR of 2 GiB.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include <linux/vfio.h>

#include "vma_ops.h"

/**
 * TEST: vfio huge vma
 * Category: Core
 * Mega feature: General Core features
 * Sub-category: Memory management tests
 * Description: VMA operations on 1 GiB entries of a vfio-pci mapping keep the
 *	kernel alive, the contents right and the rest of the mapping in place
 *
 * SUBTEST: munmap-%s
 * Description: munmap() of %arg[1]
 *
 * SUBTEST: mprotect-read-%s
 * Description: mprotect(PROT_READ) of %arg[1]
 *
 * SUBTEST: mprotect-none-%s
 * Description: mprotect(PROT_NONE) of %arg[1], and back
 *
 * SUBTEST: madvise-random-%s
 * Description: madvise(MADV_RANDOM) of %arg[1]
 *
 * SUBTEST: madvise-dontfork-%s
 * Description: madvise(MADV_DONTFORK) of %arg[1]
 *
 * SUBTEST: madvise-nohugepage-%s
 * Description: madvise(MADV_NOHUGEPAGE) of %arg[1]
 *
 * SUBTEST: mremap-%s
 * Description: mremap() of %arg[1] to an address that is congruent to its offset
 *
 * SUBTEST: mremap-%s-to-4k
 * Description: mremap() of %arg[1] to an address where only 4 KiB entries fit
 *
 * arg[1]:
 *
 * @page:	one page inside the first entry, off every 2 MiB boundary
 * @2m:		an aligned 2 MiB part of the first entry
 * @entry:	exactly the first of two entries
 * @across:	the upper half of the first entry and the lower half of the
 *		second, both cut off every 2 MiB boundary
 *
 * SUBTEST: mremap-whole-to-2m
 * Description: Moved as a whole to a 2 MiB boundary, it comes back as 2 MiB entries
 *
 * SUBTEST: mremap-whole
 * Description: Moved as a whole to a 1 GiB boundary, the entries move as they are
 *
 * SUBTEST: split-%s
 * Description: A border around %arg[1] costs the entries that it cuts and no others, each of them
 *		is replaced by the 512 that map the same, and using them takes no fault
 *
 * SUBTEST: read-while-split
 * Description: Threads that read all the time never miss what is split beside them
 *
 * SUBTEST: look
 * Description: Reading smaps, numa_maps and pagemap, and mincore(), split nothing
 *
 * SUBTEST: fork-after-split
 * Description: A child inherits the split mapping; writes go both ways
 *
 * SUBTEST: split-in-child
 * Description: A child splits its copy of an entry; the parent's stays whole
 *
 * SUBTEST: exit-after-split
 * Description: A process exits with an entry split and nothing touched again
 *
 * SUBTEST: munmap-while-none
 * Description: munmap() of one page inside an entry that is not accessible, which the rest is
 *		again afterwards
 *
 * SUBTEST: mremap-while-none
 * Description: Entries that are not accessible move as they are
 *
 * SUBTEST: fork-while-none
 * Description: A child inherits entries that are not accessible, and can have access again
 */

IGT_TEST_DESCRIPTION("VMA operations on 1 GiB entries of a vfio-pci mapping");

#define IVSHMEM_VENDOR	0x1af4
#define IVSHMEM_DEVICE	0x1110
#define IVSHMEM_BAR	VFIO_PCI_BAR2_REGION_INDEX
#define BAR_SIZE	(2 * GiB)

static const struct {
	const char *name;
	struct part part;
	struct bo_levels split;	/* entries of the whole mapping, with borders around the part */
} parts[] = {
	{ "page", { GiB / 2 + 4 * KiB, 4 * KiB }, { .pud = 1, .pmd = 511, .pte = 512 } },
	{ "2m", { GiB / 2, 2 * MiB }, { .pud = 1, .pmd = 512 } },
	{ "entry", { 0, GiB }, { .pud = 2 } },
	{ "across", { GiB / 2 + 4 * KiB, GiB + 4 * KiB }, { .pmd = 2 * 511, .pte = 2 * 512 } },
};

#define PAGE_PART	(parts[0].part)

/* The BAR looks like a VRAM object that begins at a 1 GiB boundary, so ttm_huge.h applies. */
struct vfio {
	struct target target;
	struct bo bar;
	int group;
	int container;
	int log;
};

/* A file of PCI device @name in sysfs; the next call overwrites it. */
static const char *pci_file(const char *name, const char *file)
{
	static char path[PATH_MAX];

	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/%s", name, file);
	return path;
}

static bool sysfs_write(const char *path, const char *value)
{
	int fd = open(path, O_WRONLY);
	bool written;

	if (fd < 0)
		return false;

	written = write(fd, value, strlen(value)) > 0;
	close(fd);
	return written;
}

static unsigned int pci_id(const char *name, const char *file)
{
	FILE *id = fopen(pci_file(name, file), "r");
	unsigned int value = 0;

	if (!id)
		return 0;

	if (fscanf(id, "%x", &value) != 1)
		value = 0;
	fclose(id);
	return value;
}

static uint64_t bar_size(const char *name)
{
	FILE *resource = fopen(pci_file(name, "resource"), "r");
	uint64_t start = 0, end = 0;

	if (!resource)
		return 0;

	for (int bar = 0; bar <= IVSHMEM_BAR; bar++)
		if (fscanf(resource, "%" SCNx64 " %" SCNx64 " %*x", &start, &end) != 2)
			start = end = 0;
	fclose(resource);
	return end ? end - start + 1 : 0;
}

/* The PCI address of an ivshmem device with room for the entries. */
static bool find_device(char *name, size_t size)
{
	DIR *devices = opendir("/sys/bus/pci/devices");
	struct dirent *entry;
	bool found = false;

	if (!devices)
		return false;

	while (!found && (entry = readdir(devices))) {
		found = pci_id(entry->d_name, "vendor") == IVSHMEM_VENDOR &&
			pci_id(entry->d_name, "device") == IVSHMEM_DEVICE &&
			bar_size(entry->d_name) >= BAR_SIZE;
		if (found)
			snprintf(name, size, "%s", entry->d_name);
	}
	closedir(devices);
	return found;
}

/* Gives the device to vfio-pci in a no-IOMMU group and returns the group's file. */
static int bind_device(const char *name)
{
	char group[PATH_MAX], path[PATH_MAX];
	ssize_t len;

	if (!sysfs_write("/sys/module/vfio/parameters/enable_unsafe_noiommu_mode", "1"))
		return -1;

	sysfs_write(pci_file(name, "driver_override"), "vfio-pci");
	/* Bound before the switch was set, it would have no group. */
	sysfs_write(pci_file(name, "driver/unbind"), name);
	sysfs_write("/sys/bus/pci/drivers_probe", name);

	len = readlink(pci_file(name, "iommu_group"), group, sizeof(group) - 1);
	if (len < 0)
		return -1;
	group[len] = '\0';

	snprintf(path, sizeof(path), "/dev/vfio/noiommu-%d", atoi(basename(group)));
	return open(path, O_RDWR);
}

static void open_device(struct vfio *vfio, const char *name)
{
	struct vfio_region_info info = {
		.argsz = sizeof(info),
		.index = IVSHMEM_BAR,
	};
	int device;

	vfio->group = bind_device(name);
	igt_require_f(vfio->group >= 0, "%s: vfio-pci gives no no-IOMMU group\n", name);

	vfio->container = open("/dev/vfio/vfio", O_RDWR);
	igt_assert_fd(vfio->container);
	igt_assert_eq(ioctl(vfio->group, VFIO_GROUP_SET_CONTAINER, &vfio->container), 0);
	igt_assert_eq(ioctl(vfio->container, VFIO_SET_IOMMU, VFIO_NOIOMMU_IOMMU), 0);

	device = ioctl(vfio->group, VFIO_GROUP_GET_DEVICE_FD, name);
	igt_assert_fd(device);
	igt_assert_eq(ioctl(device, VFIO_DEVICE_GET_REGION_INFO, &info), 0);

	vfio->bar = (struct bo){
		.fd = device,
		.size = BAR_SIZE,
		.offset = info.offset,
		.placement = BO_VRAM,
	};
	vfio->target = (struct target){
		.name = "vfio-bar",
		.fd = device,
		.placement = BO_VRAM,
	};
}

static struct view map_bar(struct vfio *vfio)
{
	lseek(vfio->log, 0, SEEK_END);
	return map_part(&vfio->target, &vfio->bar, 0, free_address(BAR_SIZE, GiB, 0), BAR_SIZE,
			PROT_READ | PROT_WRITE, MAP_FIXED_NOREPLACE);
}

/* That a "bad pud" was found is only a message: the entry is gone and nothing else shows it. */
static void check_log(struct vfio *vfio)
{
	char record[2048];
	ssize_t len;

	while ((len = read(vfio->log, record, sizeof(record) - 1)) >= 0 || errno == EPIPE) {
		record[len < 0 ? 0 : len] = '\0';
		igt_assert_f(!strstr(record, ": bad p") && !strstr(record, "WARNING: "),
			     "the kernel says %s\n", record);
	}
}

static struct view map_vfio_filled(struct vfio *vfio)
{
	struct view view = map_bar(vfio);

	fill(&view, BO_EVERY_BLOCK, 1);
	touch(&view, false);
	assert_levels(&view, HUGE_PUD);
	return view;
}

static void assert_entries(const struct view *view, const struct bo_levels *expected)
{
	struct bo_levels found;

	igt_assert_eq(bo_levels(view->addr, view->length, &found), 0);
	igt_assert_f(found.pud == expected->pud && found.pmd == expected->pmd &&
		     found.pte == expected->pte,
		     "%s: %zu KiB at offset %#" PRIx64 ": found %" PRIu64 " PUD, %" PRIu64
		     " PMD, %" PRIu64 " PTE, expected %" PRIu64 ", %" PRIu64 ", %" PRIu64 "\n",
		     view->target->name, view->length / KiB, view->first,
		     found.pud, found.pmd, found.pte,
		     expected->pud, expected->pmd, expected->pte);
}

/* MADV_RANDOM splits the VMA and changes no entry by itself. */
static void test_split(struct vfio *vfio, struct part part, const struct bo_levels *expected)
{
	struct view view = map_vfio_filled(vfio);
	uint64_t faults;

	igt_assert_eq(madvise(view.addr + part.offset, part.length, MADV_RANDOM), 0);
	assert_entries(&view, expected);
	faults = bo_faults();
	assert_contents(&view, BO_EVERY_BLOCK, 1);
	fill(&view, BO_EVERY_BLOCK, 2);
	assert_contents(&view, BO_EVERY_BLOCK, 2);
	igt_assert_eq(bo_faults() - faults, 0);
	assert_entries(&view, expected);
	unmap(&view);
	check_log(vfio);
}

struct reader {
	const struct view *view;
	atomic_bool stop;
	atomic_int wrong;	/* words that did not hold the pattern */
	atomic_int rounds;
};

static void *read_on(void *data)
{
	struct reader *reader = data;
	const struct view *view = reader->view;

	while (!atomic_load(&reader->stop)) {
		if (bo_check(view->addr, view->first, view->length, BO_EVERY_BLOCK, 1) >= 0)
			atomic_fetch_add(&reader->wrong, 1);
		atomic_fetch_add(&reader->rounds, 1);
	}
	return NULL;
}

static void test_read_while_split(struct vfio *vfio)
{
	for (int i = 0; i < 8; i++) {
		struct view view = map_vfio_filled(vfio);
		struct reader reader = { .view = &view };
		uint64_t faults = bo_faults();
		pthread_t thread[2];

		for (size_t t = 0; t < ARRAY_SIZE(thread); t++)
			igt_assert_eq(pthread_create(&thread[t], NULL, read_on, &reader), 0);
		/* Each advice cuts one more entry of 2 MiB, the first two one of 1 GiB as well. */
		for (int n = 0; n < 64 || atomic_load(&reader.rounds) < 4; n++) {
			char *page = view.addr + n % 2 * GiB + n / 2 % 500 * 2 * MiB + 4 * KiB;

			igt_assert_eq(madvise(page, 4 * KiB, MADV_RANDOM), 0);
		}
		atomic_store(&reader.stop, true);
		for (size_t t = 0; t < ARRAY_SIZE(thread); t++)
			igt_assert_eq(pthread_join(thread[t], NULL), 0);
		igt_assert_eq(atomic_load(&reader.wrong), 0);
		igt_info("%d rounds, %" PRIu64 " faults\n", atomic_load(&reader.rounds),
			 bo_faults() - faults);
		unmap(&view);
	}
	check_log(vfio);
}

static void read_all(const char *path)
{
	char buf[4096];
	int fd = open(path, O_RDONLY);

	if (fd < 0 && errno == ENOENT)
		return;
	igt_assert_fd(fd);
	while (read(fd, buf, sizeof(buf)) > 0)
		;
	close(fd);
}

static void test_look(struct vfio *vfio)
{
	static const struct bo_levels whole = { .pud = 2 };
	struct view view = map_vfio_filled(vfio);
	unsigned char *vec = malloc(BAR_SIZE / BO_PTE_SIZE);
	uint64_t word;
	int pagemap = open("/proc/self/pagemap", O_RDONLY);

	read_all("/proc/self/smaps");
	read_all("/proc/self/smaps_rollup");
	read_all("/proc/self/numa_maps");
	igt_assert_fd(pagemap);
	igt_assert_eq(pread(pagemap, &word, sizeof(word),
			    (uintptr_t)view.addr / BO_PTE_SIZE * sizeof(word)), sizeof(word));
	close(pagemap);
	igt_assert(vec);
	igt_assert_eq(mincore(view.addr, BAR_SIZE, vec), 0);
	for (size_t i = 0; i < BAR_SIZE / BO_PTE_SIZE; i++)
		igt_assert_eq(vec[i] & 1, 1);
	free(vec);
	assert_entries(&view, &whole);
	unmap(&view);
	check_log(vfio);
}

static void test_fork_after_split(struct vfio *vfio)
{
	struct view view = map_vfio_filled(vfio);
	char *page = view.addr + PAGE_PART.offset;

	igt_assert_eq(mprotect(page, PAGE_PART.length, PROT_READ), 0);
	assert_contents(&view, BO_EVERY_BLOCK, 1);

	igt_fork(child, 1) {
		struct view left = sub_view(&view, 0, PAGE_PART.offset);

		assert_contents(&view, BO_EVERY_BLOCK, 1);
		igt_assert_eq(signal_of_write(page), SIGSEGV);
		fill(&left, BO_EVERY_BLOCK, 2);
	}
	igt_waitchildren();

	view.length = PAGE_PART.offset;
	assert_contents(&view, BO_EVERY_BLOCK, 2);
	igt_assert_eq(munmap(view.addr, BAR_SIZE), 0);
	check_log(vfio);
}

static void test_split_in_child(struct vfio *vfio)
{
	struct view view = map_vfio_filled(vfio);

	igt_fork(child, 1) {
		struct view left = sub_view(&view, 0, PAGE_PART.offset);

		assert_levels(&view, HUGE_PUD);
		igt_assert_eq(munmap(view.addr + PAGE_PART.offset, PAGE_PART.length), 0);
		touch(&left, false);
		assert_levels(&left, HUGE_PUD);
	}
	igt_waitchildren();

	assert_levels(&view, HUGE_PUD);
	assert_contents(&view, BO_EVERY_BLOCK, 1);
	unmap(&view);
	check_log(vfio);
}

static void test_exit_after_split(struct vfio *vfio)
{
	struct view view = map_vfio_filled(vfio);

	igt_fork(child, 1)
		igt_assert_eq(mprotect(view.addr + PAGE_PART.offset, PAGE_PART.length,
				       PROT_NONE), 0);
	igt_waitchildren();

	assert_levels(&view, HUGE_PUD);
	assert_contents(&view, BO_EVERY_BLOCK, 1);
	unmap(&view);
	check_log(vfio);
}

static void allow(const struct view *view, bool access)
{
	igt_assert_eq(mprotect(view->addr, view->length,
			       access ? PROT_READ | PROT_WRITE : PROT_NONE), 0);
	igt_assert_eq(signal_of_read(view->addr), access ? 0 : SIGSEGV);
}

static void test_munmap_while_none(struct vfio *vfio)
{
	const uint64_t end = PAGE_PART.offset + PAGE_PART.length;
	struct view view = map_vfio_filled(vfio);
	struct view left = sub_view(&view, 0, PAGE_PART.offset);
	struct view right = sub_view(&view, end, BAR_SIZE - end);

	/* Each view's last word is part of its pattern. */
	fill(&left, BO_EVERY_BLOCK, 1);
	fill(&right, BO_EVERY_BLOCK, 1);
	allow(&view, false);
	igt_assert_eq(munmap(view.addr + PAGE_PART.offset, PAGE_PART.length), 0);
	allow(&left, true);
	allow(&right, true);
	assert_contents(&left, BO_EVERY_BLOCK, 1);
	assert_contents(&right, BO_EVERY_BLOCK, 1);
	igt_assert_eq(signal_of_read(view.addr + PAGE_PART.offset), SIGSEGV);
	unmap(&view);
	check_log(vfio);
}

static void test_mremap_while_none(struct vfio *vfio)
{
	struct view view = map_vfio_filled(vfio), moved = view;

	allow(&view, false);
	moved.addr = free_address(BAR_SIZE, GiB, 0);
	igt_assert(mremap(view.addr, BAR_SIZE, BAR_SIZE, MREMAP_MAYMOVE | MREMAP_FIXED,
			  moved.addr) == moved.addr);
	igt_assert_eq(signal_of_read(moved.addr), SIGSEGV);
	allow(&moved, true);
	assert_levels(&moved, HUGE_PUD);
	assert_contents(&moved, BO_EVERY_BLOCK, 1);
	unmap(&moved);
	check_log(vfio);
}

static void test_fork_while_none(struct vfio *vfio)
{
	struct view view = map_vfio_filled(vfio);

	allow(&view, false);
	igt_fork(child, 1) {
		allow(&view, true);
		assert_levels(&view, HUGE_PUD);
		assert_contents(&view, BO_EVERY_BLOCK, 1);
		fill(&view, BO_EVERY_BLOCK, 2);
	}
	igt_waitchildren();
	igt_assert_eq(signal_of_read(view.addr), SIGSEGV);
	allow(&view, true);
	assert_levels(&view, HUGE_PUD);
	assert_contents(&view, BO_EVERY_BLOCK, 2);
	unmap(&view);
	check_log(vfio);
}

static void test_op(struct vfio *vfio, const struct vma_op *op, struct part part)
{
	struct view view = map_bar(vfio);

	check_vma_op(&view, HUGE_PUD, op, part);
	check_log(vfio);
}

static void test_mremap(struct vfio *vfio, struct part part, uint64_t skew)
{
	struct view view = map_bar(vfio);

	check_mremap(&view, HUGE_PUD, part, skew);
	check_log(vfio);
}

int igt_main()
{
	static const struct part whole = { 0, BAR_SIZE };
	const struct vma_op *op;
	struct vfio vfio = {};

	igt_fixture() {
		char name[NAME_MAX + 1];

		igt_require_f(find_device(name, sizeof(name)),
			      "no ivshmem device with a BAR of 2 GiB or more\n");
		open_device(&vfio, name);
		vfio.log = open("/dev/kmsg", O_RDONLY | O_NONBLOCK);
		igt_assert_fd(vfio.log);
	}

	for (size_t i = 0; i < ARRAY_SIZE(parts); i++) {
		for_each_vma_op(op)
			igt_subtest_f("%s-%s", op->name, parts[i].name)
				test_op(&vfio, op, parts[i].part);

		igt_subtest_f("mremap-%s", parts[i].name)
			test_mremap(&vfio, parts[i].part, 0);

		igt_subtest_f("mremap-%s-to-4k", parts[i].name)
			test_mremap(&vfio, parts[i].part, 4 * KiB);

		igt_subtest_f("split-%s", parts[i].name)
			test_split(&vfio, parts[i].part, &parts[i].split);
	}

	igt_subtest("read-while-split")
		test_read_while_split(&vfio);

	igt_subtest("look")
		test_look(&vfio);

	igt_subtest("mremap-whole")
		test_mremap(&vfio, whole, 0);

	igt_subtest("mremap-whole-to-2m")
		test_mremap(&vfio, whole, 2 * MiB);

	igt_subtest("fork-after-split")
		test_fork_after_split(&vfio);

	igt_subtest("split-in-child")
		test_split_in_child(&vfio);

	igt_subtest("exit-after-split")
		test_exit_after_split(&vfio);

	igt_subtest("munmap-while-none")
		test_munmap_while_none(&vfio);

	igt_subtest("mremap-while-none")
		test_mremap_while_none(&vfio);

	igt_subtest("fork-while-none")
		test_fork_while_none(&vfio);

	igt_fixture() {
		close(vfio.bar.fd);
		close(vfio.container);
		close(vfio.group);
		close(vfio.log);
	}
}
