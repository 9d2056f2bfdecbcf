// SPDX-License-Identifier: MIT
/*
 * Devices: their nodes, and their files in sysfs and debugfs
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <xf86drm.h>

#include "drivers.h"

static uint64_t usable_cards = UINT64_MAX;

int bo_ioctl(int fd, unsigned long request, void *arg)
{
	return drmIoctl(fd, request, arg) ? -errno : 0;
}

void bo_limit_cards(uint64_t cards)
{
	usable_cards = cards;
}

int bo_open_card(int index)
{
	char path[32];
	int fd;

	if (index < 64 && !(usable_cards >> index & 1))
		return -ENODEV;
	snprintf(path, sizeof(path), "/dev/dri/card%d", index);
	fd = open(path, O_RDWR | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

int bo_device_path(int fd, const char *name, char *path, size_t size)
{
	struct stat st;

	if (fstat(fd, &st))
		return -errno;
	snprintf(path, size, "/sys/dev/char/%u:%u/device/%s", major(st.st_rdev),
		 minor(st.st_rdev), name);
	return 0;
}

int bo_device(int fd, char *path, size_t size)
{
	char link[128], *found;
	int ret = bo_device_path(fd, "", link, sizeof(link));

	if (ret)
		return ret;
	found = realpath(link, NULL);
	if (!found)
		return -errno;
	snprintf(path, size, "%s", found);
	free(found);
	return 0;
}

int bo_open_debugfs(int fd, const char *name)
{
	char path[128];
	struct stat st;
	int ret;

	if (fstat(fd, &st))
		return -errno;
	snprintf(path, sizeof(path), "/sys/kernel/debug/dri/%u/%s", minor(st.st_rdev), name);
	ret = open(path, O_RDONLY | O_CLOEXEC);
	if (ret < 0) {
		/* radeon makes its files before it has a directory of its own. */
		snprintf(path, sizeof(path), "/sys/kernel/debug/%s", name);
		ret = open(path, O_RDONLY | O_CLOEXEC);
	}
	return ret < 0 ? -errno : ret;
}

int bo_open_bar(int fd, int bar)
{
	char path[128], name[32];
	int ret;

	snprintf(name, sizeof(name), "resource%d_wc", bar);
	ret = bo_device_path(fd, name, path, sizeof(path));
	if (ret)
		return ret;
	ret = open(path, O_RDONLY | O_CLOEXEC);
	return ret < 0 ? -errno : ret;
}
