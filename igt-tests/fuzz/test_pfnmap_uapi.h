/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */
/*
 * /dev/test_pfnmap maps memory of its own as drivers map that of their devices,
 * with the page-table entries that a test asks for, and tells their size.
 */
#ifndef _LIB_TEST_PFNMAP_UAPI_H
#define _LIB_TEST_PFNMAP_UAPI_H

#include <linux/ioctl.h>
#include <linux/types.h>

/**
 * enum test_pfnmap_way - how mmap() and faults insert entries
 * @TEST_PFNMAP_REMAP: all by remap_pfn_range() in mmap()
 * @TEST_PFNMAP_INSERT: one a fault, vmf_insert_pfn_pud() and the like
 * @TEST_PFNMAP_SPECIAL: one a fault, vmf_insert_pfn_pud_special() and the like
 * @TEST_PFNMAP_RANGE: a run a fault, vmf_insert_pfn_range_special()
 */
enum test_pfnmap_way {
	TEST_PFNMAP_REMAP,
	TEST_PFNMAP_INSERT,
	TEST_PFNMAP_SPECIAL,
	TEST_PFNMAP_RANGE,
};

/* The memory types of the entries: that of memory, and two of devices. */
enum test_pfnmap_type {
	TEST_PFNMAP_CACHED,
	TEST_PFNMAP_WRITECOMBINE,
	TEST_PFNMAP_NONCACHED,
};

/**
 * struct test_pfnmap_info - what there is
 * @size: bytes of memory, which is physically contiguous and aligned to its size
 * @pfn: its first pfn
 * @mkwrites: how often ->pfn_mkwrite() was called for this file
 * @faults: how often ->fault() and ->huge_fault() were
 * @max_order: order of the largest entry that a pfn mapping can have here
 * @keeps_tables: whether page tables stay when all of their entries are zapped
 */
struct test_pfnmap_info {
	__u64 size;
	__u64 pfn;
	__u64 mkwrites;
	__u64 faults;
	__u32 max_order;
	__u32 keeps_tables;
};

/**
 * enum test_pfnmap_answer - what a fault handler does
 * @TEST_PFNMAP_MAP: maps the memory
 * @TEST_PFNMAP_RETRY: lets go of the lock first, once, and asks to be called again
 * @TEST_PFNMAP_WAIT: sleeps for a moment, or until there is a signal, and maps
 *	nothing, as if somebody held the memory
 * @TEST_PFNMAP_SIGBUS: has nothing there
 * @TEST_PFNMAP_HWPOISON: has a page that is broken
 * @TEST_PFNMAP_OOM: has no memory for page tables
 */
enum test_pfnmap_answer {
	TEST_PFNMAP_MAP,
	TEST_PFNMAP_RETRY,
	TEST_PFNMAP_WAIT,
	TEST_PFNMAP_SIGBUS,
	TEST_PFNMAP_HWPOISON,
	TEST_PFNMAP_OOM,
};

/* Have ->pfn_mkwrite() called for the first write to each page. */
#define TEST_PFNMAP_MKWRITE	0x1

/**
 * struct test_pfnmap_config - how this file is mapped from now on
 * @run: pages that are taken for contiguous: no entry and no insert goes beyond a
 *	multiple of it; 0 for all
 * @answer_from: page from which on faults are answered with @answer
 * @max_order: order of the largest entry to ask for, in faults
 * @way: an enum test_pfnmap_way; for later calls of mmap() if it is
 *	%TEST_PFNMAP_REMAP or was so, otherwise for faults as well
 * @flags: %TEST_PFNMAP_MKWRITE, for later calls of mmap(), where faults insert
 * @answer: an enum test_pfnmap_answer
 *
 * A new file inserts runs as long as all of the memory, with entries of every
 * order.
 */
struct test_pfnmap_config {
	__u64 run;
	__u64 answer_from;
	__u32 max_order;
	__u32 way;
	__u32 flags;
	__u32 answer;
};

/**
 * struct test_pfnmap_range - a part of the memory
 * @offset: in bytes, a multiple of the page size
 * @length: the same
 */
struct test_pfnmap_range {
	__u64 offset;
	__u64 length;
};

#define TEST_PFNMAP_IS_WRITABLE	0x1
#define TEST_PFNMAP_IS_SPECIAL	0x2

/**
 * struct test_pfnmap_entry - the page-table entry that maps an address
 * @addr: (in) user address of the caller, in any pfn mapping
 * @pfn: (out) the pfn at @addr
 * @order: (out) order of the entry
 * @type: (out) an enum test_pfnmap_type
 * @flags: (out) TEST_PFNMAP_IS_*
 * @reserved: 0
 */
struct test_pfnmap_entry {
	__u64 addr;
	__u64 pfn;
	__u32 order;
	__u32 type;
	__u32 flags;
	__u32 reserved;
};

#define TEST_PFNMAP_INFO	_IOR('P', 0x00, struct test_pfnmap_info)
#define TEST_PFNMAP_CONFIG	_IOW('P', 0x01, struct test_pfnmap_config)
/* The type of all of the memory. Takes every mapping of it away before. */
#define TEST_PFNMAP_TYPE	_IOW('P', 0x02, __u32)
/* Take the entries away, from all processes. */
#define TEST_PFNMAP_ZAP		_IOW('P', 0x03, struct test_pfnmap_range)
/* ENOENT if nothing is mapped there, EFAULT if it is outside of all mappings */
#define TEST_PFNMAP_ENTRY	_IOWR('P', 0x04, struct test_pfnmap_entry)
/*
 * The order that the device declares for its file, for later calls of mmap() and
 * mremap(): that of the largest entry, which it is when the file is opened, or
 * less, or 0 to declare none.
 */
#define TEST_PFNMAP_LEAF_ORDER	_IOW('P', 0x08, __u32)
/*
 * What a machine check does: the page at an offset in bytes has failed, and the
 * caller has just read from it.
 */
#define TEST_PFNMAP_CONSUME	_IOW('P', 0x09, __u64)

#endif /* _LIB_TEST_PFNMAP_UAPI_H */
