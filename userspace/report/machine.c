// SPDX-License-Identifier: MIT
/*
 * Kernel, processor, memory and cards: what a developer asks for first, and nothing that names the
 * machine or its user
 */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <xf86drm.h>

#include "report.h"

static void say(FILE *out, const char *what, const char *value)
{
	if (value && *value)
		fprintf(out, "  %-22s %s\n", what, value);
}

/* The first line of a file without its end, "" if there is none */
static const char *first_line(const char *path, char *line, size_t size)
{
	FILE *f = fopen(path, "re");

	line[0] = '\0';
	if (!f)
		return line;
	if (!fgets(line, size, f))
		line[0] = '\0';
	fclose(f);
	line[strcspn(line, "\n")] = '\0';
	return line;
}

/* What follows "NAME ... :" in a file such as /proc/cpuinfo */
static bool find_value(const char *path, const char *name, char *value, size_t size)
{
	FILE *f = fopen(path, "re");
	bool found = false;
	char line[8192];

	value[0] = '\0';
	while (f && !found && fgets(line, sizeof(line), f)) {
		char *colon = strchr(line, ':');

		if (!colon || strncmp(line, name, strlen(name)) ||
		    !strchr("\t :", line[strlen(name)]))
			continue;
		found = true;
		colon += 1 + strspn(colon + 1, " \t");
		colon[strcspn(colon, "\n")] = '\0';
		snprintf(value, size, "%s", colon);
	}
	if (f)
		fclose(f);
	return found;
}

static bool has_word(const char *words, const char *word)
{
	size_t length = strlen(word);

	for (const char *at = words; (at = strstr(at, word)); at += length) {
		if ((at == words || at[-1] == ' ') && (!at[length] || at[length] == ' '))
			return true;
	}
	return false;
}

uint64_t available_memory(void)
{
	char value[64];

	find_value("/proc/meminfo", "MemAvailable", value, sizeof(value));
	return strtoull(value, NULL, 10) << 10;
}

/* Of the kernel's configuration and command line, what has to do with it */
static const char *const options[] = {
	"TRANSPARENT_HUGEPAGE", "ARCH_SUPPORTS_HUGE_PFNMAP", "ARCH_SUPPORTS_PMD_PFNMAP",
	"ARCH_SUPPORTS_PUD_PFNMAP", "PT_RECLAIM", "PER_VMA_LOCK", "PTDUMP_DEBUGFS", "X86_PAT",
	"AMD_MEM_ENCRYPT", "DRM_TTM", "DRM_AMDGPU", "DRM_I915", "DRM_NOUVEAU", "DRM_QXL",
	"DRM_RADEON", "DRM_XE", "IOMMU_DEFAULT_DMA_STRICT", "IOMMU_DEFAULT_DMA_LAZY",
	"IOMMU_DEFAULT_PASSTHROUGH", "DEBUG_VM", "PAGE_TABLE_CHECK", "PROVE_LOCKING", "KASAN",
};

static const char *const parameters[] = {
	"amd_iommu=", "amdgpu.", "default_hugepagesz=", "hugepages=", "hugepagesz=", "i915.",
	"intel_iommu=", "iommu=", "iommu.", "l1tf=", "mem_encrypt=", "mitigations=", "noexec=",
	"nouveau.", "pci=", "qxl.", "radeon.", "transparent_hugepage=", "ttm.", "vttm.", "xe.",
};

static void describe_config(FILE *out, const char *release)
{
	const char *const places[] = { "/boot/config-%s", "/lib/modules/%s/config",
				       "/usr/lib/modules/%s/config" };
	char path[PATH_MAX], line[512];
	FILE *f = NULL;
	bool piped;

	piped = !access("/proc/config.gz", R_OK);
	if (piped)
		f = popen("zcat /proc/config.gz", "re");
	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]) && !f; i++) {
		snprintf(path, sizeof(path), places[i], release);
		f = fopen(path, "re");
		piped = false;
	}
	if (!f) {
		say(out, "configuration", "not found");
		return;
	}
	while (fgets(line, sizeof(line), f)) {
		size_t length = strcspn(line, "=");

		for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++) {
			if (!strncmp(line, "CONFIG_", 7) && length == strlen(options[i]) + 7 &&
			    !strncmp(line + 7, options[i], length - 7))
				fprintf(out, "  %s", line);
		}
	}
	if (piped)
		pclose(f);
	else
		fclose(f);
}

static void describe_command_line(FILE *out)
{
	char line[4096], *word, *save;

	first_line("/proc/cmdline", line, sizeof(line));
	for (word = strtok_r(line, " ", &save); word; word = strtok_r(NULL, " ", &save)) {
		for (size_t i = 0; i < sizeof(parameters) / sizeof(parameters[0]); i++) {
			if (!strncmp(word, parameters[i], strlen(parameters[i])))
				say(out, "command line", word);
		}
	}
}

void describe_machine(FILE *out)
{
	struct utsname name;
	char value[8192];
	int iommus = 0;
	struct dirent *entry;
	DIR *dir;

	uname(&name);
	fputs("\nKernel\n", out);
	say(out, "release", name.release);
	say(out, "version", name.version);
	say(out, "architecture", name.machine);
	snprintf(value, sizeof(value), "%d", bo_get_huge_faults());
	say(out, "ttm.huge_faults", bo_get_huge_faults() < 0 ?
	    "this kernel has no such switch: it does not have the series" : value);
	say(out, "transparent huge pages",
	    first_line("/sys/kernel/mm/transparent_hugepage/enabled", value, sizeof(value)));
	say(out, "lockdown", first_line("/sys/kernel/security/lockdown", value, sizeof(value)));
	describe_command_line(out);
	describe_config(out, name.release);

	fputs("\nProcessor and memory\n", out);
	if (find_value("/proc/cpuinfo", "model name", value, sizeof(value)) ||
	    find_value("/proc/cpuinfo", "uarch", value, sizeof(value)) ||
	    find_value("/proc/cpuinfo", "CPU part", value, sizeof(value)))
		say(out, "processor", value);
	snprintf(value, sizeof(value), "%ld", sysconf(_SC_NPROCESSORS_ONLN));
	say(out, "processors online", value);
	if (find_value("/proc/cpuinfo", "address sizes", value, sizeof(value)))
		say(out, "address sizes", value);
	if (find_value("/proc/cpuinfo", "flags", value, sizeof(value)))
		say(out, "pages of 1 GiB", has_word(value, "pdpe1gb") ? "yes" : "no");
	snprintf(value, sizeof(value), "%ld bytes", sysconf(_SC_PAGESIZE));
	say(out, "page size", value);
	if (find_value("/proc/meminfo", "MemTotal", value, sizeof(value)))
		say(out, "memory", value);
	say(out, "L1TF", first_line("/sys/devices/system/cpu/vulnerabilities/l1tf", value,
				    sizeof(value)));

	dir = opendir("/sys/class/iommu");
	while (dir && (entry = readdir(dir))) {
		if (entry->d_name[0] != '.') {
			say(out, "IOMMU", entry->d_name);
			iommus++;
		}
	}
	if (dir)
		closedir(dir);
	if (!iommus)
		say(out, "IOMMU", "none");
}

/* Bit n of resourceN_resize: the BAR can have 2^n MiB. */
static void describe_bars(FILE *out, const char *device)
{
	char path[PATH_MAX + 64], line[128], text[SIZE_TEXT];
	uint64_t start, end, flags, sizes;
	FILE *f;

	snprintf(path, sizeof(path), "%s/resource", device);
	f = fopen(path, "re");
	for (int bar = 0; f && bar < 6; bar++) {
		if (fscanf(f, "%" SCNx64 " %" SCNx64 " %" SCNx64, &start, &end, &flags) != 3)
			break;
		/* IORESOURCE_MEM */
		if (!end || !(flags & 0x200))
			continue;
		fprintf(out, "  BAR %-18d %s%s%s", bar, size_text(end - start + 1, text),
			flags & 0x100000 ? ", 64-bit" : "", flags & 0x2000 ? ", prefetchable" : "");
		snprintf(path, sizeof(path), "%s/resource%d_resize", device, bar);
		sizes = strtoull(first_line(path, line, sizeof(line)), NULL, 16);
		if (sizes)
			fprintf(out, ", resizable to at most %s",
				size_text(UINT64_C(1) << (63 - __builtin_clzll(sizes) + 20), text));
		fputc('\n', out);
	}
	if (f)
		fclose(f);
}

void describe_card(FILE *out, int fd)
{
	static const struct {
		const char *what, *file;
	} files[] = {
		{ "vendor", "vendor" }, { "device", "device" }, { "revision", "revision" },
		{ "subsystem", "subsystem_device" }, { "link speed", "current_link_speed" },
		{ "link width", "current_link_width" }, { "IOMMU domain", "iommu_group/type" },
	};
	char device[PATH_MAX], path[PATH_MAX + 64], value[128], text[SIZE_TEXT];
	char *render = drmGetRenderDeviceNameFromFd(fd);
	uint64_t vram;

	if (render)
		say(out, "render node", render);
	free(render);
	if (!bo_device(fd, device, sizeof(device))) {
		for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
			snprintf(path, sizeof(path), "%s/%s", device, files[i].file);
			say(out, files[i].what, first_line(path, value, sizeof(value)));
		}
		describe_bars(out, device);
		snprintf(path, sizeof(path), "%s/mem_info_vram_total", device);
		vram = strtoull(first_line(path, value, sizeof(value)), NULL, 10);
		if (vram)
			say(out, "memory of the card", size_text(vram, text));
	}
	vram = bo_vram_size(fd);
	if (vram)
		say(out, "memory that CPUs map", size_text(vram, text));
	else
		say(out, "memory that CPUs map", errno ? strerror(errno) : "none");
}
