/* SPDX-License-Identifier: MIT */
/*
 * The one place that knows how to create and map a buffer object on each
 * driver, and how to ask the kernel what its page tables really hold.
 *
 * Functions return 0 or a negative errno unless they say otherwise; nothing
 * here prints or exits unless it is asked to, so tests, clients and
 * benchmarks can all use it.
 *
 * It takes the drivers' ioctls, not libdrm's libraries for amdgpu, nouveau and
 * radeon: these map objects themselves, where they like, and keep mappings.
 */
#ifndef BO_H
#define BO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

/*
 * The kernel's page size, which arm64 can choose: -DBO_PAGE_SHIFT=16 is for pages of 64 KiB. Then PMD
 * entries map 512 MiB. bo_wrong_page_size() tells of a program that was built for another kernel.
 */
#ifndef BO_PAGE_SHIFT
#define BO_PAGE_SHIFT	12
#endif
/* A page table is a page of entries of 8 bytes. */
#define BO_TABLE_SHIFT	(BO_PAGE_SHIFT - 3)
#define BO_ENTRIES	(1 << BO_TABLE_SHIFT)

#define BO_PTE_SIZE	(UINT64_C(1) << BO_PAGE_SHIFT)
#define BO_PMD_SIZE	(BO_PTE_SIZE << BO_TABLE_SHIFT)
#define BO_PUD_SIZE	(BO_PMD_SIZE << BO_TABLE_SHIFT)

/* Page size of the kernel if it is not BO_PTE_SIZE, else 0. */
uint64_t bo_wrong_page_size(void);

enum bo_placement {
	BO_VRAM,	/* device memory, mapped through a PCI BAR */
	BO_SYSTEM,	/* system memory from TTM's page pool */
	BO_DUMB,	/* where the driver puts dumb buffers; for any driver that has them */
	BO_UNKNOWN,	/* imported */
};

struct bo {
	int fd;
	uint32_t handle;
	uint64_t size;		/* bytes, a multiple of the page size */
	uint64_t offset;	/* fake offset for mmap() */
	enum bo_placement placement;
};

/* drmIoctl() */
int bo_ioctl(int fd, unsigned long request, void *arg);

/* Opens /dev/dri/card@index for reading and writing; a negative errno if it is not there. */
int bo_open_card(int index);

/*
 * From now on bo_open_card() opens only cards whose bit, 1 << index, is set in @cards, and answers
 * -ENODEV for the others. bo_return_to_vram() of qxl opens a second card, and keeps to that, too.
 */
void bo_limit_cards(uint64_t cards);

/* Name of the driver behind @fd ("qxl", "radeon", "vttm"); "" if this library does not know it. */
const char *bo_driver(int fd);

/* The device's folder in sysfs, which ends with the name of the device. */
int bo_device(int fd, char *path, size_t size);

/* "vram", "system", "dumb" or "unknown". */
const char *bo_placement_name(enum bo_placement placement);

/* Whether objects can be created in @placement through this driver. */
bool bo_supported(int fd, enum bo_placement placement);

/*
 * Bytes of device memory that objects can use; 0 if the driver has none, with errno if it was not
 * to be asked.
 */
uint64_t bo_vram_size(int fd);

/* The largest object that the driver's interface can ask for, room or not; 0 likewise. */
uint64_t bo_max_size(int fd, enum bo_placement placement);

/*
 * Creates an object of @size bytes (a multiple of 4 KiB). What it holds is
 * undefined. (xe rounds up to its pages; what is beyond @size is not used.)
 */
int bo_create(int fd, enum bo_placement placement, uint64_t size, struct bo *bo);
void bo_destroy(struct bo *bo);

/* The object that a dma-buf exports, through card @fd; where it is, is not known. */
int bo_import(int fd, int dmabuf, struct bo *bo);
/* For mapping an object that others have made; the driver must have dumb buffers. */
int bo_from_dumb(int fd, uint32_t handle, uint64_t size, struct bo *bo);
/*
 * Whether the driver says that the pixels of a buffer are not in rows: 1, 0 or a negative errno. A
 * buffer with a DRM format modifier has that instead.
 */
int bo_tiled(int fd, uint32_t handle);
/* Whether the driver can pin its objects, as it does when another device imports one. */
bool bo_can_pin(int fd);

/*
 * mmap() of @bo from its start: @addr and @flags as for mmap(), @flags without
 * a sharing type means MAP_SHARED. Returns MAP_FAILED with errno on failure.
 */
void *bo_map(const struct bo *bo, void *addr, size_t length, int prot, int flags);

/* The same from byte @first of the object on, where the driver takes that (DRM does not). */
void *bo_map_part(const struct bo *bo, uint64_t first, void *addr, size_t length, int prot,
		  int flags);

/*
 * A mapping of the whole object made of 4 KiB entries only, whatever the switch says
 * (MADV_NOHUGEPAGE before the first touch).
 */
void *bo_map_4k(const struct bo *bo);

/*
 * Reads an object without any user mapping of it:
 *
 * - system memory (all drivers): vm_ops->access, by way of /proc/self/mem;
 * - radeon VRAM: the driver's own debugfs file radeon_vram;
 * - vttm VRAM: vm_ops->access, too;
 * - qxl VRAM, and that of nouveau before Tesla: the PCI BAR through sysfs, as the driver offers
 *   nothing.
 *
 * For VRAM, bo_reader_open() must find out where the object is: it writes a mark into
 * the object's first 8 bytes for a moment (through a 4 KiB mapping), and fails with -ENXIO
 * if the mark turns up at the start of no allocation. The place is not followed when the
 * object moves.
 */
struct bo_reader {
	int fd;
	void *window;		/* of /proc/self/mem readers: the mapping it reads at */
	uint64_t size;
	uint64_t base;		/* position of the object in fd */
	bool mmapped;		/* fd can be mapped but not read */
};

int bo_reader_open(const struct bo *bo, struct bo_reader *reader);
/* @offset and @length are multiples of 8. Bytes read or a negative errno. */
ssize_t bo_reader_read(struct bo_reader *reader, void *buf, size_t length, uint64_t offset);
void bo_reader_close(struct bo_reader *reader);

/* bo_reader_open(), one bo_reader_read(), bo_reader_close(). */
ssize_t bo_pread(const struct bo *bo, void *buf, size_t length, uint64_t offset);

/*
 * Where the object is now, told by the driver if it does (vttm), else by the cache attribute of a
 * fresh mapping's first entry (system memory is write-back, VRAM is not).
 */
int bo_where(const struct bo *bo, enum bo_placement *where);

/*
 * Offset in VRAM of the first byte of an object, and how many contiguous pieces the object is in;
 * -ENXIO if it is not in VRAM.
 */
int bo_vram_place(const struct bo *bo, uint64_t *place, size_t *pieces);

/*
 * Pushes a VRAM object out to system memory. vttm is just told to; otherwise by creating other
 * objects (destroyed again) until it has gone, which needs about as much time as writing
 * all of VRAM once. -ENOSPC if it would not go.
 */
int bo_evict(const struct bo *bo);

/* Lets an evicted VRAM object back in; -EOPNOTSUPP where the driver offers no way. */
int bo_return_to_vram(const struct bo *bo);

/* Has the driver lock the object for a moment; -EOPNOTSUPP where it offers no way. */
int bo_hold(const struct bo *bo);

/*
 * Contents: a 64-bit value that depends on @seed and on the position in the object, at every
 * multiple of @step bytes in [first, first + length) of the object. @map is where byte @first is
 * mapped. What was written at one of these steps can be checked at those below it.
 */
#define BO_EVERY_WORD	UINT64_C(8)
#define BO_EVERY_PAGE	(BO_PTE_SIZE - 8)	/* at a different place in each page */
/* At a different place in each block that a PMD entry maps */
#define BO_EVERY_BLOCK	(BO_EVERY_PAGE * (BO_ENTRIES - 1))

uint64_t bo_pattern(uint64_t seed, uint64_t offset);
void bo_fill(void *map, uint64_t first, uint64_t length, uint64_t step, uint64_t seed);
/* Offset of the first wrong value, -1 if there is none. */
int64_t bo_check(const void *map, uint64_t first, uint64_t length, uint64_t step, uint64_t seed);
/* The same through a reader; @error is a negative errno if a read failed at the offset returned. */
int64_t bo_check_reader(struct bo_reader *reader, uint64_t first, uint64_t length, uint64_t step,
			uint64_t seed, int *error);

enum bo_level {
	BO_NONE,
	BO_PTE,
	BO_PMD,
	BO_PUD,
};

/* "none", "pte", "pmd", "pud". */
const char *bo_level_name(enum bo_level level);

/*
 * The kernel's listing of the page tables of the process that reads it, and its words for memory types.
 * Those of arm64 and riscv are not in Linux 7.3; the series adds them.
 */
#if defined(__aarch64__)
#define BO_PAGE_TABLES		"/sys/kernel/debug/current_user_page_tables"
#define BO_CACHED		"MEM/NORMAL"
#define BO_WRITE_COMBINED	"MEM/NORMAL-NC"
#define BO_UNCACHED		"DEVICE/nGnRnE"
#elif defined(__riscv)
#define BO_PAGE_TABLES		"/sys/kernel/debug/current_user_page_tables"
#define BO_CACHED		"WB"
#define BO_WRITE_COMBINED	"MT(NC)"
#define BO_UNCACHED		"MT(IO)"
#else
#define BO_PAGE_TABLES		"/sys/kernel/debug/page_tables/current_kernel"
#define BO_CACHED		"WB"
#define BO_WRITE_COMBINED	"PWT"
#define BO_UNCACHED		"PCD"
#endif

/* Whether the kernel maps memory of processes by PUD entries here: on x86 and riscv, if the CPU has them. */
bool bo_has_pud_entries(void);

/* A stretch of addresses that the page tables map alike. */
struct bo_extent {
	uintptr_t start, end;
	enum bo_level level;
	bool writable;		/* the CPU lets the process write, if need be after it has set the dirty bit */
	char cache[20];		/* what ptdump says; BO_CACHED if that is nothing */
};

/*
 * What the kernel's ptdump says about [addr, addr + length), from its start to its end
 * without gaps (what is not mapped is BO_NONE). The caller frees *@extents.
 */
int bo_extents(const void *addr, size_t length, struct bo_extent **extents, size_t *count);

/* Writes what of it is mapped, for tlb-model. */
int bo_print_tables(FILE *f, const void *addr, size_t length);

/* What the page tables hold for a range of the calling process. */
struct bo_levels {
	uint64_t pte;		/* entries of each level that map memory of the range */
	uint64_t pmd;
	uint64_t pud;
	uint64_t writable;	/* bytes of the range with a writable entry */
	uint64_t mapped;	/* bytes of the range with any entry */
	char cache[20];		/* as in struct bo_extent; "mixed"; "" if none */
};

/* Entries per level in [addr, addr + length). */
int bo_levels(const void *addr, size_t length, struct bo_levels *levels);

/* Minor + major faults of this process so far. */
uint64_t bo_faults(void);

/* VmPTE of this process in KiB. */
uint64_t bo_pgtable_kib(void);

/* The run-time switch. -ENOENT on a kernel without it. */
#define BO_HUGE_FAULTS	"/sys/module/ttm/parameters/huge_faults"
int bo_get_huge_faults(void);
int bo_set_huge_faults(int value);

/*
 * For a program to call once, before its first bo_set_huge_faults(): when it ends, by exit() or by
 * a signal (Ctrl-C, SIGTERM, SIGBUS, ...), the switch gets back the value that it has now. Of
 * SIGBUS it also says on stderr what that means. SIGKILL and _exit() leave the switch as it is.
 */
void bo_restore_huge_faults_at_exit(void);

#endif
