// SPDX-License-Identifier: MIT
/*
 * Writes what a card shows to a file: the buffer that the first lit CRTC scans out, read through a
 * mapping of 4 KiB entries. With a command, runs that and looks right before it ends, when what it
 * drew last is still there.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include <drm_fourcc.h>
#include <xf86drm.h>
#include <xf86drmMode.h>

#include "bo.h"
#include "cli.h"
#include "ppm.h"

static const char usage[] =
"Usage: scanout DEVICE FILE [COMMAND...]\n"
"Write the picture on a DRM device (say, /dev/dri/card0) to a PPM file, now or when COMMAND ends.\n"
"Exits with the command's status if that is not 0. Needs root.\n";

/* The framebuffer of the first CRTC that has one */
static drmModeFB2 *lit_framebuffer(int fd)
{
	drmModeRes *resources = drmModeGetResources(fd);
	uint32_t id = 0;
	drmModeFB2 *fb;

	if (!resources)
		die("cannot ask for the CRTCs: %s", strerror(errno));
	for (int i = 0; !id && i < resources->count_crtcs; i++) {
		drmModeCrtc *crtc = drmModeGetCrtc(fd, resources->crtcs[i]);

		if (crtc && crtc->mode_valid)
			id = crtc->buffer_id;
		drmModeFreeCrtc(crtc);
	}
	drmModeFreeResources(resources);
	if (!id)
		die("the card shows nothing");
	fb = drmModeGetFB2(fd, id);
	if (!fb)
		die("cannot ask for framebuffer %u: %s", id, strerror(errno));
	return fb;
}

static void capture(int fd, const char *file)
{
	drmModeFB2 *fb = lit_framebuffer(fd);
	const char *map;
	struct bo bo;
	int err;

	/* That is how the kernel refuses. */
	if (!fb->handles[0])
		die("cannot read the framebuffer: that needs root or the DRM master");
	if (fb->pixel_format != DRM_FORMAT_XRGB8888 && fb->pixel_format != DRM_FORMAT_ARGB8888)
		die("format %.4s is not supported", (const char *)&fb->pixel_format);
	if (fb->flags & DRM_MODE_FB_MODIFIERS) {
		if (fb->modifier != DRM_FORMAT_MOD_LINEAR)
			die("the framebuffer is tiled, with modifier %#llx, which is not supported",
			    (unsigned long long)fb->modifier);
	} else {
		err = bo_tiled(fd, fb->handles[0]);
		if (err < 0)
			die("cannot ask whether the framebuffer is tiled: %s", strerror(-err));
		if (err)
			die("the framebuffer is tiled, which is not supported");
	}
	err = bo_from_dumb(fd, fb->handles[0],
			   fb->offsets[0] + (uint64_t)fb->pitches[0] * fb->height, &bo);
	if (err)
		die("cannot map the framebuffer: %s", strerror(-err));
	map = bo_map_4k(&bo);
	if (map == MAP_FAILED)
		die("cannot map the framebuffer: %s", strerror(errno));
	err = ppm_write(file, map + fb->offsets[0], fb->width, fb->height, fb->pitches[0]);
	if (err)
		die("cannot write %s: %s", file, strerror(-err));
	drmModeFreeFB2(fb);
}

/* Starts a command that stops once before it is started and once before it ends. */
static pid_t start(char **command)
{
	pid_t pid = fork();
	int status;

	if (pid < 0)
		die("cannot fork: %s", strerror(errno));
	if (!pid) {
		ptrace(PTRACE_TRACEME, 0, NULL, NULL);
		raise(SIGSTOP);
		execvp(command[0], command);
		die("cannot run %s: %s", command[0], strerror(errno));
	}
	if (waitpid(pid, &status, 0) != pid || !WIFSTOPPED(status) ||
	    ptrace(PTRACE_SETOPTIONS, pid, NULL, PTRACE_O_TRACEEXIT | PTRACE_O_EXITKILL))
		die("cannot trace %s", command[0]);
	return pid;
}

int main(int argc, char **argv)
{
	bool wait = argc > 3;
	int fd, status, signal = 0;
	pid_t pid;

	atexit(close_stdout);
	if (argc == 2 && (!strcmp(argv[1], "-h") || !strcmp(argv[1], "--help"))) {
		fputs(usage, stdout);
		return 0;
	}
	if (argc == 2 && !strcmp(argv[1], "--version")) {
		print_version();
		return 0;
	}
	if (argc < 3)
		bad_usage("name a device and a file; try 'scanout --help'");
	fd = open(argv[1], O_RDWR | O_CLOEXEC);
	if (fd < 0)
		die("cannot open %s: %s", argv[1], strerror(errno));
	/* Whoever opened the device first is its master, and the command wants to be that. */
	drmDropMaster(fd);
	if (!wait) {
		capture(fd, argv[2]);
		return 0;
	}

	for (pid = start(argv + 3);; signal = 0) {
		ptrace(PTRACE_CONT, pid, NULL, signal);
		if (waitpid(pid, &status, 0) != pid)
			die("lost %s: %s", argv[3], strerror(errno));
		if (!WIFSTOPPED(status))
			break;
		if (status >> 8 == (SIGTRAP | PTRACE_EVENT_EXIT << 8))
			capture(fd, argv[2]);
		else if (WSTOPSIG(status) != SIGTRAP)
			signal = WSTOPSIG(status);
	}
	if (WIFSIGNALED(status))
		die("%s was ended by signal %d", argv[3], WTERMSIG(status));
	return WEXITSTATUS(status);
}
