/* SPDX-License-Identifier: (GPL-2.0 WITH Linux-syscall-note) OR MIT */
#ifndef _UAPI_VTTM_DRM_H_
#define _UAPI_VTTM_DRM_H_

#include "drm.h"

#if defined(__cplusplus)
extern "C" {
#endif

/**
 * DOC: vttm ioctls
 *
 * All of them are for render nodes, too. What they return apart from success:
 *
 * - ENOENT: there is no object with this handle;
 * - EACCES: the call, or a flag of it, needs CAP_SYS_ADMIN;
 * - EINVAL: an argument cannot work: unknown bits or values, a reserved field
 *   that is not 0, a size or alignment that is none, a domain that the object or
 *   the device does not have;
 * - EFAULT: an address is not accessible;
 * - ENOMEM: no system memory;
 * - ENOSPC: no room in any of the domains, not even after other objects had to
 *   make room, apart from those that somebody else uses just then;
 * - EBUSY: the object is pinned, because another driver uses its dma-buf;
 * - EINTR: a signal came while waiting; the call is to be repeated as it is;
 * - ENODEV: the device was unplugged.
 *
 * On any of these nothing has changed but that other objects may have had to make room,
 * unless said otherwise below.
 */

/**
 * DOC: vttm domains
 *
 * Where objects can be, as bits.
 *
 * .. c:macro:: DRM_VTTM_DOMAIN_SYSTEM
 *
 * System memory that the device would not get at. It may be swapped out.
 *
 * .. c:macro:: DRM_VTTM_DOMAIN_GTT
 *
 * System memory that the device would reach through a translation table. There
 * may be as much of it in use as the device has memory.
 *
 * .. c:macro:: DRM_VTTM_DOMAIN_VRAM
 *
 * The device's memory, always write-combined.
 *
 * .. c:macro:: DRM_VTTM_DOMAIN_TINY
 *
 * The end of the device's memory if the module option ``tiny_mib`` is set:
 * a second heap, always uncached.
 */
#define DRM_VTTM_DOMAIN_SYSTEM		(1 << 0)
#define DRM_VTTM_DOMAIN_GTT		(1 << 1)
#define DRM_VTTM_DOMAIN_VRAM		(1 << 2)
#define DRM_VTTM_DOMAIN_TINY		(1 << 3)

/**
 * enum drm_vttm_caching - how system memory of an object is mapped
 *
 * It says nothing about the device's memory, see above.
 */
enum drm_vttm_caching {
	/** @DRM_VTTM_CACHED: write-back */
	DRM_VTTM_CACHED,
	/** @DRM_VTTM_WRITE_COMBINED: write-combined */
	DRM_VTTM_WRITE_COMBINED,
	/** @DRM_VTTM_UNCACHED: uncached */
	DRM_VTTM_UNCACHED,
};

/**
 * enum drm_vttm_layout - of which blocks an object is made in the device's memory
 */
enum drm_vttm_layout {
	/**
	 * @DRM_VTTM_LAYOUT_ANY: What the buddy allocator has: the largest blocks
	 * first, each aligned to its size.
	 */
	DRM_VTTM_LAYOUT_ANY,
	/** @DRM_VTTM_LAYOUT_CONTIGUOUS: One block. */
	DRM_VTTM_LAYOUT_CONTIGUOUS,
	/**
	 * @DRM_VTTM_LAYOUT_WORST: Blocks as small as the alignment allows, in
	 * descending order, so that none goes on where the one before it ended.
	 */
	DRM_VTTM_LAYOUT_WORST,
};

/**
 * struct drm_vttm_heap - ask for the size of a domain
 *
 * Argument of %DRM_IOCTL_VTTM_HEAP.
 */
struct drm_vttm_heap {
	/**
	 * @domain: in: %DRM_VTTM_DOMAIN_GTT, %DRM_VTTM_DOMAIN_VRAM or
	 * %DRM_VTTM_DOMAIN_TINY
	 */
	__u32 domain;

	/** @pad: in: must be 0 */
	__u32 pad;

	/** @size: out: bytes, 0 if the device does not have it */
	__u64 size;

	/** @used: out: bytes that objects occupy now */
	__u64 used;
};

/**
 * DRM_VTTM_CREATE_UNCLEARED - the object may hold what was there before, which may be
 * what others left; needs CAP_SYS_ADMIN
 */
#define DRM_VTTM_CREATE_UNCLEARED	(1 << 0)

/**
 * struct drm_vttm_create - create an object
 *
 * Argument of %DRM_IOCTL_VTTM_CREATE. The object is put into the first of these
 * domains that is allowed and has room for it, or can be made to have: VRAM,
 * TINY, GTT, SYSTEM. It holds zeroes.
 *
 * An object that has to make room for another one goes to GTT if that is
 * allowed, else to system memory. If that is not allowed, the next access through a
 * mapping moves the object back to where it may be; otherwise it stays
 * until %DRM_IOCTL_VTTM_MOVE.
 */
struct drm_vttm_create {
	/** @size: in: bytes, a multiple of the page size and of @alignment */
	__u64 size;

	/**
	 * @alignment: in: of each block in the device's memory, and the least size of
	 * one: a power of two from the page size on, or 0 for the page size
	 */
	__u64 alignment;

	/** @domains: in: where it may be: one or more of DRM_VTTM_DOMAIN_* */
	__u32 domains;

	/** @caching: in: one of &enum drm_vttm_caching */
	__u32 caching;

	/** @layout: in: one of &enum drm_vttm_layout */
	__u32 layout;

	/** @flags: in: 0 or %DRM_VTTM_CREATE_UNCLEARED */
	__u32 flags;

	/** @handle: out: GEM handle of the object */
	__u32 handle;

	/** @pad: in: must be 0 */
	__u32 pad;
};

/**
 * struct drm_vttm_mmap_offset - ask where to mmap() an object
 *
 * Argument of %DRM_IOCTL_VTTM_MMAP_OFFSET.
 */
struct drm_vttm_mmap_offset {
	/** @handle: in: GEM handle */
	__u32 handle;

	/** @pad: in: must be 0 */
	__u32 pad;

	/** @offset: out: offset for mmap() of the device file */
	__u64 offset;
};

/**
 * struct drm_vttm_move - move an object
 *
 * Argument of %DRM_IOCTL_VTTM_MOVE. Waits until the object is no longer busy, keeps the
 * contents and unmaps the object from user space. Does nothing if it is
 * there already.
 */
struct drm_vttm_move {
	/** @handle: in: GEM handle */
	__u32 handle;

	/** @domain: in: one of the domains that are allowed for the object */
	__u32 domain;
};

/**
 * struct drm_vttm_evict_all - move all objects out of a domain
 *
 * Argument of %DRM_IOCTL_VTTM_EVICT_ALL. They go where they would go to make room.
 * Pinned objects stay. Waits for those that are busy, whatever signals come, and for
 * ever if objects keep coming back. So it needs CAP_SYS_ADMIN. After an error some may
 * have been moved.
 */
struct drm_vttm_evict_all {
	/**
	 * @domain: in: %DRM_VTTM_DOMAIN_GTT, %DRM_VTTM_DOMAIN_VRAM or
	 * %DRM_VTTM_DOMAIN_TINY
	 */
	__u32 domain;

	/** @pad: in: must be 0 */
	__u32 pad;
};

/**
 * struct drm_vttm_block - contiguous memory of the device
 */
struct drm_vttm_block {
	/**
	 * @offset: of the first byte from the start of the BAR, which is aligned
	 * to its size. So this is aligned like the physical address.
	 */
	__u64 offset;

	/** @size: bytes */
	__u64 size;
};

/**
 * struct drm_vttm_query - ask where an object is
 *
 * Argument of %DRM_IOCTL_VTTM_QUERY. The answer may be outdated when it arrives, if
 * somebody else moves the object.
 */
struct drm_vttm_query {
	/** @handle: in: GEM handle */
	__u32 handle;

	/** @domain: out: where it is now: one of DRM_VTTM_DOMAIN_* */
	__u32 domain;

	/** @domains: out: where it may be */
	__u32 domains;

	/** @caching: out: one of &enum drm_vttm_caching */
	__u32 caching;

	/** @layout: out: one of &enum drm_vttm_layout */
	__u32 layout;

	/**
	 * @num_blocks: in: length of the array at @blocks; out: number of blocks of
	 * the object, 0 if it is in system memory. Blocks are in the order of the
	 * object, and none goes on where the one before it ended.
	 */
	__u32 num_blocks;

	/** @size: out: bytes */
	__u64 size;

	/** @alignment: out: of blocks, in bytes */
	__u64 alignment;

	/**
	 * @blocks: in: address of an array of &struct drm_vttm_block. Filled as far as
	 * it goes, if it is shorter than needed. Must be 0 if @num_blocks is.
	 */
	__u64 blocks;
};

/** DRM_VTTM_BUSY_MAX_MS - how long an object can be made busy at once */
#define DRM_VTTM_BUSY_MAX_MS		10000

/**
 * struct drm_vttm_busy - let an object be in use by the device
 *
 * Argument of %DRM_IOCTL_VTTM_BUSY. Adds a fence as that of a move, for which page faults
 * and moves wait, and returns at once. Does not end what earlier calls have begun. When the
 * device is unplugged, all fences end. As others may have to wait for the object, it needs
 * CAP_SYS_ADMIN.
 */
struct drm_vttm_busy {
	/** @handle: in: GEM handle */
	__u32 handle;

	/** @duration_ms: in: from 1 to %DRM_VTTM_BUSY_MAX_MS */
	__u32 duration_ms;
};

/**
 * enum drm_vttm_dirty_op - what %DRM_IOCTL_VTTM_DIRTY does
 */
enum drm_vttm_dirty_op {
	/** @DRM_VTTM_DIRTY_STOP: Stop tracking, if it was on. */
	DRM_VTTM_DIRTY_STOP,
	/**
	 * @DRM_VTTM_DIRTY_START: Start tracking, unless it is on. Pages that are mapped and
	 * were written to before are dirty, and with them the others of their page-table
	 * entries.
	 */
	DRM_VTTM_DIRTY_START,
	/** @DRM_VTTM_DIRTY_READ: Read which pages are dirty. */
	DRM_VTTM_DIRTY_READ,
	/**
	 * @DRM_VTTM_DIRTY_READ_CLEAR: The same, and all pages are clean from then on, also
	 * if EFAULT is returned.
	 */
	DRM_VTTM_DIRTY_READ_CLEAR,
};

/**
 * struct drm_vttm_dirty - track writes to an object
 *
 * Argument of %DRM_IOCTL_VTTM_DIRTY. A page is dirty if it was written to through a user space
 * mapping since it was clean. While an object is tracked, writable mappings of it get no
 * huge page-table entries, and those from before end with the first write to them. Moves
 * change nothing about it. Writes by ptrace() are not recorded.
 */
struct drm_vttm_dirty {
	/** @handle: in: GEM handle */
	__u32 handle;

	/** @op: in: one of &enum drm_vttm_dirty_op */
	__u32 op;

	/**
	 * @bitmap: in: to read, address of an array of __u64 with a bit for each page
	 * of the object, the least significant bit first; else 0
	 */
	__u64 bitmap;

	/** @bitmap_size: in: to read, bytes of that array, exactly; else 0 */
	__u64 bitmap_size;
};

#define DRM_VTTM_HEAP			0x00
#define DRM_VTTM_CREATE			0x01
#define DRM_VTTM_MMAP_OFFSET		0x02
#define DRM_VTTM_MOVE			0x03
#define DRM_VTTM_EVICT_ALL		0x04
#define DRM_VTTM_QUERY			0x05
#define DRM_VTTM_BUSY			0x06
#define DRM_VTTM_DIRTY			0x07

#define DRM_IOCTL_VTTM_HEAP \
	DRM_IOWR(DRM_COMMAND_BASE + DRM_VTTM_HEAP, struct drm_vttm_heap)
#define DRM_IOCTL_VTTM_CREATE \
	DRM_IOWR(DRM_COMMAND_BASE + DRM_VTTM_CREATE, struct drm_vttm_create)
#define DRM_IOCTL_VTTM_MMAP_OFFSET \
	DRM_IOWR(DRM_COMMAND_BASE + DRM_VTTM_MMAP_OFFSET, struct drm_vttm_mmap_offset)
#define DRM_IOCTL_VTTM_MOVE \
	DRM_IOW(DRM_COMMAND_BASE + DRM_VTTM_MOVE, struct drm_vttm_move)
#define DRM_IOCTL_VTTM_EVICT_ALL \
	DRM_IOW(DRM_COMMAND_BASE + DRM_VTTM_EVICT_ALL, struct drm_vttm_evict_all)
#define DRM_IOCTL_VTTM_QUERY \
	DRM_IOWR(DRM_COMMAND_BASE + DRM_VTTM_QUERY, struct drm_vttm_query)
#define DRM_IOCTL_VTTM_BUSY \
	DRM_IOW(DRM_COMMAND_BASE + DRM_VTTM_BUSY, struct drm_vttm_busy)
#define DRM_IOCTL_VTTM_DIRTY \
	DRM_IOW(DRM_COMMAND_BASE + DRM_VTTM_DIRTY, struct drm_vttm_dirty)

#if defined(__cplusplus)
}
#endif

#endif /* _UAPI_VTTM_DRM_H_ */
