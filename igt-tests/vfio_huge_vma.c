// SPDX-License-Identifier: MIT
/*
 * A 1 GiB entry that vfio-pci made, and everything that user space can do to
 * its VMA. Unmodified 7.3 oopses, warns or prints "bad pud" in most of these;
 * no GPU is needed, only an ivshmem-plain device with a BAR of 1 GiB or more.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <linux/vfio.h>

#include "bo.h"
#include "igt.h"

/**
 * TEST: vfio huge vma
 * Category: Core
 * Mega feature: General Core features
 * Sub-category: Memory management tests
 * Description: VMA operations on a 1 GiB entry of a vfio-pci mapping keep the
 *	kernel alive, the contents right and the rest of the mapping in place
 *
 * SUBTEST: %s-page
 * Description: After %arg[1] of one page that is not 2 MiB aligned only that
 *	page changes; everything around it comes back at the largest level left
 *
 * SUBTEST: %s-2m
 * Description: The same for an aligned 2 MiB part, which leaves no 4 KiB entry
 *
 * arg[1]:
 *
 * @mprotect:	mprotect
 * @munmap:	munmap
 * @madvise:	madvise
 *
 * SUBTEST: mremap-congruent
 * Description: Moved as a whole to a 1 GiB boundary, the entry moves as it is
 *
 * SUBTEST: mremap-incongruent-2m
 * Description: Moved as a whole to a 2 MiB boundary, it comes back as 2 MiB entries
 *
 * SUBTEST: mremap-incongruent-4k
 * Description: Moved as a whole to a 4 KiB boundary, it comes back as 4 KiB entries
 *
 * SUBTEST: mremap-half
 * Description: The upper 512 MiB move away and the lower half stays
 *
 * SUBTEST: mremap-page
 * Description: One page in the middle moves away and the rest stays
 *
 * SUBTEST: fork-after-split
 * Description: A child inherits the split mapping with the same contents
 *
 * SUBTEST: split-in-child
 * Description: A child splits its copy of the entry; the parent's stays whole
 *
 * SUBTEST: exit-after-split
 * Description: A process exits with the entry split and nothing touched again
 */

IGT_TEST_DESCRIPTION("VMA operations on a 1 GiB entry of a vfio-pci mapping");

#define SZ_4K	0x1000ul
#define SZ_2M	0x200000ul
#define SZ_1G	0x40000000ul

#define IVSHMEM_VENDOR	0x1af4
#define IVSHMEM_DEVICE	0x1110
#define IVSHMEM_BAR	2

/* What the operations hit: the middle of the entry, off every 2 MiB boundary. */
#define PAGE_AT		(SZ_1G / 2 + SZ_4K)
#define PART_AT		(SZ_1G / 2)

static const uint64_t probes[] = {
	0,
	SZ_2M - SZ_4K,
	SZ_2M,
	SZ_1G / 2 - SZ_4K,
	PART_AT,
	PAGE_AT,
	PAGE_AT + SZ_4K,
	PART_AT + SZ_2M - SZ_4K,
	PART_AT + SZ_2M,
	SZ_1G - SZ_2M,
	SZ_1G - SZ_4K,
};

struct vfio {
	int container;
	int group;
	int device;
	uint64_t region;	/* offset of the BAR in the device's file */
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

/* The PCI address of an ivshmem device that can hold a 1 GiB entry. */
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
			bar_size(entry->d_name) >= SZ_1G;
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
		.index = VFIO_PCI_BAR2_REGION_INDEX,
	};

	vfio->group = bind_device(name);
	igt_require_f(vfio->group >= 0, "%s: vfio-pci gives no no-IOMMU group\n", name);

	vfio->container = open("/dev/vfio/vfio", O_RDWR);
	igt_assert_fd(vfio->container);
	igt_assert_eq(ioctl(vfio->group, VFIO_GROUP_SET_CONTAINER, &vfio->container), 0);
	igt_assert_eq(ioctl(vfio->container, VFIO_SET_IOMMU, VFIO_NOIOMMU_IOMMU), 0);

	vfio->device = ioctl(vfio->group, VFIO_GROUP_GET_DEVICE_FD, name);
	igt_assert_fd(vfio->device);
	igt_assert_eq(ioctl(vfio->device, VFIO_DEVICE_GET_REGION_INFO, &info), 0);
	vfio->region = info.offset;
}

static uint64_t word_of(uint64_t offset, unsigned int round)
{
	return offset * 0x9e3779b97f4a7c15ull + round;
}

static volatile uint64_t *at(char *map, uint64_t offset)
{
	return (volatile uint64_t *)(map + offset);
}

/*
 * Whether the kernel can read or write there on the process's behalf: it
 * faults like the process would, and reports EFAULT instead of SIGSEGV.
 */
static bool can_read(const void *addr)
{
	int fds[2];
	bool can;

	igt_assert_eq(pipe(fds), 0);
	can = write(fds[1], addr, 1) == 1;
	close(fds[0]);
	close(fds[1]);
	return can;
}

static bool can_write(void *addr)
{
	char byte = *(volatile char *)addr;
	int fds[2];
	bool can;

	igt_assert_eq(pipe(fds), 0);
	igt_assert_eq(write(fds[1], &byte, 1), 1);
	can = read(fds[0], addr, 1) == 1;
	close(fds[0]);
	close(fds[1]);
	return can;
}

/* Room of 1 GiB at a 1 GiB boundary plus @off, with nothing mapped around it. */
static char *reserve(uint64_t off)
{
	char *room = mmap(NULL, 3 * SZ_1G, PROT_NONE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	char *addr;

	igt_assert(room != MAP_FAILED);
	addr = (char *)(((uintptr_t)room + SZ_1G - 1) & ~(SZ_1G - 1)) + off;
	igt_assert_eq(munmap(room, 3 * SZ_1G), 0);
	return addr;
}

static void assert_level(const char *what, const char *map, uint64_t offset,
			 uint64_t length, uint64_t pte, uint64_t pmd, uint64_t pud)
{
	struct bo_levels found;

	igt_assert_eq(bo_levels(map + offset, length, &found), 0);
	igt_assert_f(found.pte == pte && found.pmd == pmd && found.pud == pud,
		     "BAR, %s, offset %#" PRIx64 ", length %#" PRIx64
		     ": found %" PRIu64 " pte, %" PRIu64 " pmd, %" PRIu64 " pud"
		     "; expected %" PRIu64 ", %" PRIu64 ", %" PRIu64 "\n",
		     what, offset, length, found.pte, found.pmd, found.pud, pte, pmd, pud);
}

static void assert_word(char *map, uint64_t offset, uint64_t object, unsigned int round)
{
	uint64_t found = *at(map, offset);

	igt_assert_f(found == word_of(object, round),
		     "BAR, offset %#" PRIx64 ": found %#" PRIx64 ", expected %#" PRIx64 "\n",
		     object, found, word_of(object, round));
}

/* Every probe outside [hole, hole + length), and what the device itself holds. */
static void check_words(const struct vfio *vfio, char *map, uint64_t hole,
			uint64_t length, unsigned int round)
{
	for (unsigned int i = 0; i < ARRAY_SIZE(probes); i++) {
		uint64_t word;

		if (probes[i] < hole || probes[i] >= hole + length)
			assert_word(map, probes[i], probes[i], round);

		igt_assert_eq(pread(vfio->device, &word, sizeof(word),
				    vfio->region + probes[i]), sizeof(word));
		igt_assert_f(word == word_of(probes[i], round),
			     "BAR, device offset %#" PRIx64 ": found %#" PRIx64
			     ", expected %#" PRIx64 "\n",
			     probes[i], word, word_of(probes[i], round));
	}
}

/* Writes through the mapping, so that a stale one would show in the device. */
static void write_words(char *map, uint64_t hole, uint64_t length, unsigned int round)
{
	for (unsigned int i = 0; i < ARRAY_SIZE(probes); i++)
		if (probes[i] < hole || probes[i] >= hole + length)
			*at(map, probes[i]) = word_of(probes[i], round);
}

static char *map_entry(const struct vfio *vfio, unsigned int round)
{
	char *map = mmap(reserve(0), SZ_1G, PROT_READ | PROT_WRITE,
			 MAP_SHARED | MAP_FIXED, vfio->device, vfio->region);

	igt_assert(map != MAP_FAILED);
	write_words(map, 0, 0, round);
	assert_level("mapped", map, 0, SZ_1G, 0, 0, 1);
	return map;
}

enum op {
	OP_MPROTECT,
	OP_MUNMAP,
	OP_MADVISE,
};

static void apply(enum op op, char *addr, uint64_t length)
{
	switch (op) {
	case OP_MPROTECT:
		igt_assert_eq(mprotect(addr, length, PROT_READ), 0);
		break;
	case OP_MUNMAP:
		igt_assert_eq(munmap(addr, length), 0);
		break;
	case OP_MADVISE:
		igt_assert_eq(madvise(addr, length, MADV_RANDOM), 0);
		break;
	}
}

static void check_part(enum op op, char *addr)
{
	igt_assert_eq(can_read(addr), op != OP_MUNMAP);
	if (op != OP_MUNMAP)
		igt_assert_eq(can_write(addr), op == OP_MADVISE);
}

static void test_part(const struct vfio *vfio, enum op op, uint64_t offset, uint64_t length)
{
	unsigned int round = 1;
	char *map = map_entry(vfio, round);
	bool gone = op == OP_MUNMAP;

	apply(op, map + offset, length);
	check_part(op, map + offset);
	check_words(vfio, map, offset, gone ? length : 0, round);
	assert_level("left of it", map, 0, SZ_2M, 0, 1, 0);
	assert_level("left of it", map, PART_AT - SZ_2M, SZ_2M, 0, 1, 0);
	assert_level("right of it", map, PART_AT + SZ_2M, SZ_2M, 0, 1, 0);
	assert_level("right of it", map, SZ_1G - SZ_2M, SZ_2M, 0, 1, 0);
	if (length == SZ_2M)
		assert_level("part", map, offset, length, 0, !gone, 0);
	else
		assert_level("part", map, offset, length, !gone, 0, 0);

	/* The part keeps the words of the first round where it may not be written. */
	if (op == OP_MADVISE) {
		write_words(map, 0, 0, ++round);
		check_words(vfio, map, 0, 0, round);
	}
	check_part(op, map + offset);

	igt_assert_eq(munmap(map, SZ_1G), 0);
}

static void test_move(const struct vfio *vfio, uint64_t off)
{
	char *map = map_entry(vfio, 1);
	char *to = reserve(off);

	igt_assert(mremap(map, SZ_1G, SZ_1G, MREMAP_MAYMOVE | MREMAP_FIXED, to) == to);
	igt_assert(!can_read(map));
	igt_assert(!can_read(map + SZ_1G - SZ_4K));
	/* Not touched yet: the entry itself has moved. */
	if (!off)
		assert_level("moved", to, 0, SZ_1G, 0, 0, 1);

	check_words(vfio, to, 0, 0, 1);
	write_words(to, 0, 0, 2);
	check_words(vfio, to, 0, 0, 2);
	if (!off)
		assert_level("touched", to, 0, SZ_1G, 0, 0, 1);
	else if (off % SZ_2M)
		assert_level("touched", to, PAGE_AT, SZ_4K, 1, 0, 0);
	else
		assert_level("touched", to, SZ_1G - SZ_2M, SZ_2M, 0, 1, 0);

	igt_assert_eq(munmap(to, SZ_1G), 0);
}

static void test_move_part(const struct vfio *vfio, uint64_t offset, uint64_t length)
{
	char *map = map_entry(vfio, 1);
	char *to = reserve(offset % SZ_2M);

	igt_assert(mremap(map + offset, length, length,
			  MREMAP_MAYMOVE | MREMAP_FIXED, to) == to);
	igt_assert(!can_read(map + offset));
	igt_assert(!can_read(map + offset + length - SZ_4K));
	check_words(vfio, map, offset, length, 1);
	for (unsigned int i = 0; i < ARRAY_SIZE(probes); i++)
		if (probes[i] >= offset && probes[i] < offset + length)
			assert_word(to, probes[i] - offset, probes[i], 1);

	assert_level("stayed", map, 0, SZ_2M, 0, 1, 0);
	if (length >= SZ_2M)
		assert_level("moved", to, 0, SZ_2M, 0, 1, 0);
	else
		assert_level("moved", to, 0, SZ_4K, 1, 0, 0);

	igt_assert_eq(munmap(to, length), 0);
	igt_assert_eq(munmap(map, SZ_1G), 0);
}

static void test_fork_after_split(const struct vfio *vfio)
{
	char *map = map_entry(vfio, 1);

	igt_assert_eq(mprotect(map + PAGE_AT, SZ_4K, PROT_READ), 0);
	check_words(vfio, map, 0, 0, 1);

	igt_fork(child, 1) {
		check_words(vfio, map, 0, 0, 1);
		igt_assert(!can_write(map + PAGE_AT));
		write_words(map, PAGE_AT, SZ_4K, 2);
	}
	igt_waitchildren();

	assert_word(map, 0, 0, 2);
	assert_word(map, PAGE_AT, PAGE_AT, 1);
	assert_word(map, SZ_1G - SZ_4K, SZ_1G - SZ_4K, 2);
	igt_assert_eq(munmap(map, SZ_1G), 0);
}

static void test_split_in_child(const struct vfio *vfio)
{
	char *map = map_entry(vfio, 1);

	igt_fork(child, 1) {
		assert_level("child", map, 0, SZ_1G, 0, 0, 1);
		igt_assert_eq(munmap(map + PAGE_AT, SZ_4K), 0);
		check_words(vfio, map, PAGE_AT, SZ_4K, 1);
	}
	igt_waitchildren();

	assert_level("parent", map, 0, SZ_1G, 0, 0, 1);
	check_words(vfio, map, 0, 0, 1);
	igt_assert_eq(munmap(map, SZ_1G), 0);
}

static void test_exit_after_split(const struct vfio *vfio)
{
	char *map = map_entry(vfio, 1);

	igt_fork(child, 1)
		igt_assert_eq(mprotect(map + PAGE_AT, SZ_4K, PROT_NONE), 0);
	igt_waitchildren();

	assert_level("parent", map, 0, SZ_1G, 0, 0, 1);
	check_words(vfio, map, 0, 0, 1);
	igt_assert_eq(munmap(map, SZ_1G), 0);
}

int igt_main()
{
	static const struct {
		const char *name;
		enum op op;
	} ops[] = {
		{ "mprotect", OP_MPROTECT },
		{ "munmap", OP_MUNMAP },
		{ "madvise", OP_MADVISE },
	};
	struct vfio vfio = {};

	igt_fixture() {
		char name[NAME_MAX + 1];

		igt_require_f(find_device(name, sizeof(name)),
			      "no ivshmem device with a BAR of 1 GiB or more\n");
		open_device(&vfio, name);
	}

	for (unsigned int i = 0; i < ARRAY_SIZE(ops); i++) {
		igt_subtest_f("%s-page", ops[i].name)
			test_part(&vfio, ops[i].op, PAGE_AT, SZ_4K);

		igt_subtest_f("%s-2m", ops[i].name)
			test_part(&vfio, ops[i].op, PART_AT, SZ_2M);
	}

	igt_subtest("mremap-congruent")
		test_move(&vfio, 0);

	igt_subtest("mremap-incongruent-2m")
		test_move(&vfio, SZ_2M);

	igt_subtest("mremap-incongruent-4k")
		test_move(&vfio, SZ_4K);

	igt_subtest("mremap-half")
		test_move_part(&vfio, PART_AT, SZ_1G / 2);

	igt_subtest("mremap-page")
		test_move_part(&vfio, PAGE_AT, SZ_4K);

	igt_subtest("fork-after-split")
		test_fork_after_split(&vfio);

	igt_subtest("split-in-child")
		test_split_in_child(&vfio);

	igt_subtest("exit-after-split")
		test_exit_after_split(&vfio);

	igt_fixture() {
		close(vfio.device);
		close(vfio.group);
		close(vfio.container);
	}
}
