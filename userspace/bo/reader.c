// SPDX-License-Identifier: MIT
/*
 * Reading an object without its mapping
 */
#define _GNU_SOURCE 1
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/param.h>
#include <unistd.h>

#include "drivers.h"

ssize_t bo_reader_read(struct bo_reader *reader, void *buf, size_t length, uint64_t offset)
{
	ssize_t done;

	if (offset % 8 || length % 8)
		return -EINVAL;
	length = offset < reader->size ? MIN(length, reader->size - offset) : 0;
	if (!length)
		return 0;

	if (reader->mmapped) {
		uint64_t pos = reader->base + offset;
		size_t skip = pos % BO_PTE_SIZE;
		void *map = mmap(NULL, skip + length, PROT_READ, MAP_SHARED, reader->fd,
				 pos - skip);

		if (map == MAP_FAILED)
			return -errno;
		memcpy(buf, (char *)map + skip, length);
		munmap(map, skip + length);
		return length;
	}

	done = pread(reader->fd, buf, length, reader->base + offset);
	return done < 0 ? -errno : done;
}

/* Finds the page of VRAM that starts with @mark. */
static int search_vram(const struct bo_driver *driver, int fd, struct bo_reader *reader,
		       uint64_t mark)
{
	const uint64_t size = driver->vram_size(fd);
	const volatile uint64_t *vram = mmap(NULL, size, PROT_READ, MAP_SHARED, reader->fd, 0);
	int ret = -ENXIO;

	if (vram == MAP_FAILED)
		return -errno;
	for (uint64_t at = 0; ret && at + reader->size <= size; at += BO_PTE_SIZE) {
		if (vram[at / 8] == mark) {
			reader->base = at;
			ret = 0;
		}
	}
	munmap((void *)vram, size);
	return ret;
}

/* Finds the allocation that starts with @mark and has the object's size. */
static int find_in_vram(const struct bo_driver *driver, int fd, struct bo_reader *reader,
			uint64_t mark)
{
	int list = bo_open_debugfs(fd, driver->vram_allocations), ret = -ENXIO;
	uint64_t start, end, found;
	char line[256];
	FILE *f;

	if (list < 0)
		return list;
	f = fdopen(list, "r");
	if (!f) {
		close(list);
		return -ENOMEM;
	}
	while (ret && fgets(line, sizeof(line), f)) {
		if (!strstr(line, "used\n") ||
		    sscanf(line, "0x%" SCNx64 "-0x%" SCNx64, &start, &end) != 2 ||
		    (end - start) * BO_PTE_SIZE != reader->size)
			continue;
		reader->base = start * BO_PTE_SIZE;
		if (bo_reader_read(reader, &found, sizeof(found), 0) == sizeof(found) &&
		    found == mark)
			ret = 0;
	}
	fclose(f);
	return ret;
}

static int reader_open_vram(const struct bo *bo, struct bo_reader *reader)
{
	const struct bo_driver *driver = bo_driver_of(bo->fd);
	volatile uint64_t *map;
	uint64_t mark, saved;
	int ret;

	if (!driver->open_vram)
		return -EOPNOTSUPP;
	reader->fd = driver->open_vram(bo->fd, &reader->mmapped);
	if (reader->fd < 0)
		return reader->fd;

	map = bo_map_start_4k(bo, BO_PTE_SIZE);
	if (map == MAP_FAILED) {
		ret = -errno;
	} else {
		saved = map[0];
		mark = bo_pattern(getpid(), saved);
		map[0] = mark;
		__sync_synchronize();	/* out of the write-combining buffer */
		ret = driver->vram_allocations ? find_in_vram(driver, bo->fd, reader, mark) :
						 search_vram(driver, bo->fd, reader, mark);
		map[0] = saved;
		__sync_synchronize();
		munmap((void *)map, BO_PTE_SIZE);
	}
	if (ret)
		bo_reader_close(reader);
	return ret;
}

int bo_reader_open(const struct bo *bo, struct bo_reader *reader)
{
	uint64_t word;
	int ret;

	*reader = (struct bo_reader){ .fd = -1, .size = bo->size };

	/* Follows the object wherever it is, but only some drivers let it read VRAM. */
	reader->window = bo_map(bo, NULL, bo->size, PROT_READ, 0);
	if (reader->window == MAP_FAILED)
		return -errno;
	reader->base = (uintptr_t)reader->window;
	reader->fd = open("/proc/self/mem", O_RDONLY | O_CLOEXEC);
	if (reader->fd < 0)
		ret = -errno;
	else if (bo_reader_read(reader, &word, sizeof(word), 0) == sizeof(word))
		return 0;
	else
		ret = -EIO;
	bo_reader_close(reader);
	return ret == -EIO && bo->placement == BO_VRAM ? reader_open_vram(bo, reader) : ret;
}

void bo_reader_close(struct bo_reader *reader)
{
	if (reader->window)
		munmap(reader->window, reader->size);
	if (reader->fd >= 0)
		close(reader->fd);
	reader->window = NULL;
	reader->fd = -1;
}

ssize_t bo_pread(const struct bo *bo, void *buf, size_t length, uint64_t offset)
{
	struct bo_reader reader;
	ssize_t ret = bo_reader_open(bo, &reader);

	if (!ret) {
		ret = bo_reader_read(&reader, buf, length, offset);
		bo_reader_close(&reader);
	}
	return ret;
}
