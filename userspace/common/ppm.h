/* SPDX-License-Identifier: MIT */
#ifndef PPM_H
#define PPM_H

#include <errno.h>
#include <stdint.h>
#include <stdio.h>

#include "cli.h"

/*
 * Writes an XRGB8888 picture whose rows are @pitch bytes apart. Returns 0 or a negative errno, and
 * leaves no file then.
 */
static inline int ppm_write(const char *path, const void *pixels, uint32_t width, uint32_t height,
			    uint32_t pitch)
{
	FILE *f = fopen(path, "we");

	if (!f)
		return -errno;
	fprintf(f, "P6\n%u %u\n255\n", width, height);
	for (uint32_t y = 0; y < height; y++) {
		const uint32_t *row = (const uint32_t *)((const char *)pixels + (size_t)y * pitch);

		for (uint32_t x = 0; x < width; x++) {
			putc_unlocked(row[x] >> 16 & 0xff, f);
			putc_unlocked(row[x] >> 8 & 0xff, f);
			putc_unlocked(row[x] & 0xff, f);
		}
	}
	return close_output(f, path);
}

#endif
