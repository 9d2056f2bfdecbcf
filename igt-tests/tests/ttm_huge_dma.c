// SPDX-License-Identifier: MIT
/**
 * TEST: ttm huge dma
 * Category: Core
 * Mega feature: General Core features
 * Sub-category: Memory management tests
 * Functionality: mmap
 * Description: vfio maps objects for DMA by another device, here QEMU's edu behind an IOMMU.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include <linux/pci_regs.h>
#include <linux/vfio.h>

#include "vttm_ops.h"

IGT_TEST_DESCRIPTION("TTM buffer objects, mapped for DMA by vfio");

/* The device has addresses of 28 bits, and a buffer that only DMA reads and writes. */
#define OBJECT_IOVA	0
#define OBJECT_MOST	(64 * MiB)
/* The SMMU has interrupts at 128 MiB. */
#define BOUNCE_IOVA	(96 * MiB)
#define EDU_BUFFER	0x40000
#define EDU_SOURCE	0x80
#define EDU_DESTINATION	0x88
#define EDU_COUNT	0x90
#define EDU_COMMAND	0x98
#define EDU_START	1
#define EDU_TO_MEMORY	2

static int container = -1, device = -1;
static volatile char *registers;
static uint64_t *bounce;		/* memory that the device can always reach */

static int map_dma(void *addr, uint64_t iova, uint64_t size)
{
	struct vfio_iommu_type1_dma_map map = {
		.argsz = sizeof(map),
		.flags = VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE,
		.vaddr = (uintptr_t)addr,
		.iova = iova,
		.size = size,
	};

	return ioctl(container, VFIO_IOMMU_MAP_DMA, &map) ? -errno : 0;
}

static void unmap_dma(uint64_t iova, uint64_t size)
{
	struct vfio_iommu_type1_dma_unmap unmap = {
		.argsz = sizeof(unmap),
		.iova = iova,
		.size = size,
	};

	igt_assert_eq(ioctl(container, VFIO_IOMMU_UNMAP_DMA, &unmap), 0);
	igt_assert_eq_u64(unmap.size, size);
}

/* The device, with an IOMMU that maps nothing of objects */
static void open_device(void)
{
	struct vfio_region_info config = { .argsz = sizeof(config),
					   .index = VFIO_PCI_CONFIG_REGION_INDEX };
	struct vfio_region_info bar = { .argsz = sizeof(bar), .index = VFIO_PCI_BAR0_REGION_INDEX };
	const uint16_t command = PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER;
	struct pci_address edu;
	int group = open_edu_group(&edu);

	container = open("/dev/vfio/vfio", O_RDWR | O_CLOEXEC);
	igt_assert_fd(container);
	igt_assert_eq(ioctl(group, VFIO_GROUP_SET_CONTAINER, &container), 0);
	igt_assert_eq(ioctl(container, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU), 0);
	device = ioctl(group, VFIO_GROUP_GET_DEVICE_FD, edu.name);
	igt_assert_f(device >= 0, "%s: %s\n", edu.name, strerror(errno));

	igt_assert_eq(ioctl(device, VFIO_DEVICE_GET_REGION_INFO, &config), 0);
	igt_assert_eq(pwrite(device, &command, sizeof(command), config.offset + PCI_COMMAND),
		      sizeof(command));
	igt_assert_eq(ioctl(device, VFIO_DEVICE_GET_REGION_INFO, &bar), 0);
	registers = mmap(NULL, bar.size, PROT_READ | PROT_WRITE, MAP_SHARED, device, bar.offset);
	igt_assert(registers != MAP_FAILED);

	bounce = mmap(NULL, BO_PTE_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	igt_assert(bounce != MAP_FAILED);
	igt_assert_eq(map_dma(bounce, BOUNCE_IOVA, BO_PTE_SIZE), 0);
}

static void set_register(unsigned int offset, uint32_t value)
{
	*(volatile uint32_t *)(registers + offset) = value;
}

static void copy(uint32_t source, uint32_t destination, uint32_t command)
{
	set_register(EDU_SOURCE, source);
	set_register(EDU_DESTINATION, destination);
	set_register(EDU_COUNT, sizeof(uint64_t));
	set_register(EDU_COMMAND, EDU_START | command);
	for (int ms = 0; *(volatile uint32_t *)(registers + EDU_COMMAND) & EDU_START; ms++) {
		igt_assert_f(ms < 10000, "the device does not end a copy\n");
		usleep(1000);
	}
}

/* The device reads a word of the object. */
static uint64_t device_read(uint64_t offset)
{
	*bounce = ~0ull;
	copy(OBJECT_IOVA + offset, EDU_BUFFER, 0);
	copy(EDU_BUFFER, BOUNCE_IOVA, EDU_TO_MEMORY);
	return *(volatile uint64_t *)bounce;
}

static void device_write(uint64_t offset, uint64_t value)
{
	*(volatile uint64_t *)bounce = value;
	copy(BOUNCE_IOVA, EDU_BUFFER, 0);
	copy(EDU_BUFFER, OBJECT_IOVA + offset, EDU_TO_MEMORY);
}

/**
 * SUBTEST: evict
 * Description: A device reads and writes an object in VRAM that vfio has mapped for DMA. vfio keeps
 *              the pfns: when the object has moved, the device still reads the memory of before.
 *              vfio refuses to map the object while it is in system memory; when it is back in VRAM,
 *              the device reads it again.
 */
static void test_evict(const struct target *target)
{
	struct view view = new_view(target, size_of_all_levels(target));
	const uint64_t size = view.length < OBJECT_MOST ? view.length : OBJECT_MOST;
	const uint64_t offsets[] = { 0, size / 2 + BO_PTE_SIZE, size - BO_PTE_SIZE };
	volatile uint64_t *words[ARRAY_SIZE(offsets)];

	touch_levels(&view, true, HUGE_PUD);
	for (size_t i = 0; i < ARRAY_SIZE(offsets); i++) {
		words[i] = (volatile uint64_t *)(view.addr + offsets[i]);
		*words[i] = 1 + i;
	}
	igt_assert_eq(map_dma(view.addr, OBJECT_IOVA, size), 0);
	for (size_t i = 0; i < ARRAY_SIZE(offsets); i++) {
		igt_assert_eq_u64(device_read(offsets[i]), 1 + i);
		device_write(offsets[i], 11 + i);
		igt_assert_eq_u64(*words[i], 11 + i);
	}

	evict(&view);
	for (size_t i = 0; i < ARRAY_SIZE(offsets); i++) {
		igt_assert_eq_u64(*words[i], 11 + i);
		*words[i] = 21 + i;
		igt_assert_eq_u64(device_read(offsets[i]), 11 + i);
	}
	unmap_dma(OBJECT_IOVA, size);
	igt_assert_eq(map_dma(view.addr, OBJECT_IOVA, size), -EFAULT);

	return_to_vram(&view);
	igt_assert_eq(map_dma(view.addr, OBJECT_IOVA, size), 0);
	for (size_t i = 0; i < ARRAY_SIZE(offsets); i++)
		igt_assert_eq_u64(device_read(offsets[i]), 21 + i);
	unmap_dma(OBJECT_IOVA, size);
}

static const struct subtest subtests[] = {
	{ "evict", "Moves an object that is mapped for DMA", test_evict, .on = is_vttm },
};

int igt_main()
{
	igt_fixture() {
		ttm_huge_init();
		open_device();
	}
	run_subtests(subtests);
	igt_fixture()
		ttm_huge_fini();
}
