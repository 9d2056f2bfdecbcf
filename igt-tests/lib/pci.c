// SPDX-License-Identifier: MIT
#define _GNU_SOURCE 1
#include "pci.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>

#include "igt_device_scan.h"
#include "kernel.h"

#define DEVICES		"/sys/bus/pci/devices"
#define PROBE		"/sys/bus/pci/drivers_probe"

static void write_address(const struct pci_address *device, const char *path)
{
	int ret = write_value(path, device->name);

	igt_assert_f(!ret, "%s to %s: %s\n", device->name, path, strerror(-ret));
}

struct path {
	char text[128];
};

static struct path file_of(const struct pci_address *device, const char *file)
{
	struct path path;

	snprintf(path.text, sizeof(path.text), DEVICES "/%s/%s", device->name, file);
	return path;
}

/* The last part of what a symbolic link of the device leads to; "" if there is none. */
static void read_link(const struct pci_address *device, const char *file, char *name, size_t size)
{
	char target[PATH_MAX];
	ssize_t length = readlink(file_of(device, file).text, target, sizeof(target) - 1);

	target[length < 0 ? 0 : length] = '\0';
	snprintf(name, size, "%s", length < 0 ? "" : strrchr(target, '/') + 1);
}

/*
 * Unplug
 */

static struct pci_address unplugged;

/*
 * radeon of 7.3 has no remove callback: its device is freed while it is registered, with all
 * that it has, and the kernel panics in drm_mode_config_cleanup().
 */
static bool can_unbind(const struct target *target)
{
	return strcmp(bo_driver(target->fd), "radeon");
}

bool may_unplug(const struct target *target)
{
	return can_unbind(target) && igt_device_filter_count();
}

struct pci_address pci_address(const struct target *target)
{
	struct pci_address device;
	char path[PATH_MAX];

	igt_require_f(can_unbind(target),
		      "%s: radeon does not unregister its device when it is unbound, the kernel "
		      "panics\n", target->name);
	igt_require_f(igt_device_filter_count(),
		      "%s: only a device that was asked for is unbound; name it by --device or "
		      "IGT_DEVICE\n", target->name);
	igt_assert_eq(bo_device(target->fd, path, sizeof(path)), 0);
	snprintf(device.name, sizeof(device.name), "%s", strrchr(path, '/') + 1);
	return device;
}

void unplug(const struct pci_address *device)
{
	unplugged = *device;
	write_address(device, file_of(device, "driver/unbind").text);
}

void plug_in(const struct target *target, const struct pci_address *device)
{
	char card[32];

	target_close(target);
	write_address(device, PROBE);
	unplugged.name[0] = '\0';

	/* It has another number as long as somebody uses what was there before. */
	snprintf(card, sizeof(card), "drm/card%d", target->card);
	igt_assert_f(!access(file_of(device, card).text, F_OK),
		     "%s: not card%d any more: something is still in use\n", target->name,
		     target->card);
	target_reopen(target);
}

void plug_in_again(void)
{
	if (unplugged.name[0])
		write_value(PROBE, unplugged.name);
	unplugged.name[0] = '\0';
}

/*
 * Memory
 */

struct bar {
	uint64_t address, size;
};

static struct bar bar2(const struct pci_address *device)
{
	FILE *f = fopen(file_of(device, "resource").text, "re");
	uint64_t start = 0, end = 0;

	for (int bar = 0; f && bar <= 2; bar++) {
		if (fscanf(f, "%" SCNx64 " %" SCNx64 " %*x", &start, &end) != 2)
			start = end = 0;
	}
	if (f)
		fclose(f);
	return (struct bar){ start, end ? end - start + 1 : 0 };
}

uint64_t pci_memory_address(const struct pci_address *device)
{
	return bar2(device).address;
}

static bool is_device(const struct pci_address *device, const char *vendor, const char *id)
{
	char found_vendor[16], found_id[16];

	return read_value(file_of(device, "vendor").text, found_vendor, sizeof(found_vendor)) &&
	       read_value(file_of(device, "device").text, found_id, sizeof(found_id)) &&
	       !strcmp(found_vendor, vendor) && !strcmp(found_id, id);
}

static bool is_free_ivshmem(const struct pci_address *device, uint64_t size)
{
	char driver[32];

	read_link(device, "driver", driver, sizeof(driver));
	return is_device(device, "0x1af4", "0x1110") &&
	       (!driver[0] || !strcmp(driver, "vfio-pci")) && bar2(device).size >= size;
}

static bool find_device(bool (*fits)(const struct pci_address *device, uint64_t arg), uint64_t arg,
			struct pci_address *device)
{
	struct dirent *entry;
	bool found = false;
	DIR *devices = opendir(DEVICES);

	igt_require_f(devices, "no " DEVICES "\n");
	while (!found && (entry = readdir(devices))) {
		snprintf(device->name, sizeof(device->name), "%.31s", entry->d_name);
		found = fits(device, arg);
	}
	closedir(devices);
	return found;
}

struct pci_address pci_memory(uint64_t size)
{
	const char *named = getenv(PCI_MEMORY);
	struct pci_address device = { "" };

	if (named) {
		snprintf(device.name, sizeof(device.name), "%s", named);
		igt_require_f(bar2(&device).size >= size,
			      PCI_MEMORY "=%s: no PCI device with %" PRIu64 " MiB in BAR 2\n",
			      named, size / MiB);
		return device;
	}
	igt_require_f(find_device(is_free_ivshmem, size, &device),
		      "no QEMU ivshmem with %" PRIu64 " MiB in BAR 2 that is free; "
		      PCI_MEMORY " names another device\n", size / MiB);
	return device;
}

/*
 * vfio
 */

#define NOIOMMU		"/sys/module/vfio/parameters/enable_unsafe_noiommu_mode"

/* A device that was lent to vfio-pci, and its driver and driver_override of before. */
static struct {
	struct pci_address device;
	char driver[32], override[32];
} lent;

/* The kernel waits for these to be closed before the device goes back. */
static void close_vfio_files(void)
{
	unmap_files("anon_inode:[vfio-device]");
	for (int fd = 3; fd < 1024; fd++) {
		char path[32], target[64];
		ssize_t length;

		snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
		length = readlink(path, target, sizeof(target) - 1);
		target[length < 0 ? 0 : length] = '\0';
		if (strstr(target, "/dev/vfio/") == target ||
		    strstr(target, "anon_inode:[vfio") == target)
			close(fd);
	}
}

static void give_back(int sig)
{
	char path[64];

	(void)sig;
	if (lent.device.name[0]) {
		close_vfio_files();
		write_value(file_of(&lent.device, "driver/unbind").text, lent.device.name);
		/* An empty line is what the kernel calls "(null)". */
		write_value(file_of(&lent.device, "driver_override").text,
			    strcmp(lent.override, "(null)") ? lent.override : "\n");
	}
	restore_knobs();
	if (lent.driver[0]) {
		snprintf(path, sizeof(path), "/sys/bus/pci/drivers/%s/bind", lent.driver);
		write_value(path, lent.device.name);
	}
	lent.device.name[0] = lent.driver[0] = '\0';
}

static int try_vfio_group(const struct pci_address *device, const char *prefix)
{
	char driver[32], group[32], path[64];

	errno = 0;
	read_link(device, "driver", driver, sizeof(driver));
	read_link(device, "iommu_group", group, sizeof(group));
	if (strcmp(driver, "vfio-pci") || !group[0])
		return -1;
	snprintf(path, sizeof(path), "/dev/vfio/%s%s", prefix, group);
	return open(path, O_RDWR | O_CLOEXEC);
}

int open_vfio_group(const struct pci_address *device)
{
	int group;

	igt_require_f(!access(NOIOMMU, W_OK),
		      "no " NOIOMMU ": CONFIG_VFIO_NOIOMMU and root are needed\n");
	igt_install_exit_handler(give_back);
	set_knob(NOIOMMU, "1");
	group = try_vfio_group(device, "noiommu-");
	if (group >= 0)
		return group;
	igt_require_f(errno != EBUSY, "%s: a vfio group in use, by a virtual machine perhaps\n",
		      device->name);

	read_link(device, "driver", lent.driver, sizeof(lent.driver));
	igt_assert(read_value(file_of(device, "driver_override").text, lent.override,
			      sizeof(lent.override)));
	lent.device = *device;
	write_address(&(struct pci_address){ "vfio-pci" },
		      file_of(device, "driver_override").text);
	/* A device that vfio-pci had before the switch was set has no group either. */
	if (lent.driver[0])
		write_address(device, file_of(device, "driver/unbind").text);
	write_address(device, PROBE);

	group = try_vfio_group(device, "noiommu-");
	igt_require_f(group >= 0, "%s: vfio-pci gives no group without an IOMMU\n", device->name);
	return group;
}

static bool is_edu(const struct pci_address *device, uint64_t arg)
{
	(void)arg;
	return is_device(device, "0x1234", "0x11e8");
}

int open_edu_group(struct pci_address *device)
{
	int group = find_device(is_edu, 0, device) ? try_vfio_group(device, "") : -1;

	igt_require_f(group >= 0, "no QEMU edu with an IOMMU that vfio-pci has\n");
	return group;
}
