// SPDX-License-Identifier: MIT
/*
 * Draws with Mesa into scanout buffers of a card and compares each pixel with what it must be. On a
 * card that Mesa has no driver for, it draws in software, through mappings of dumb buffers.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <EGL/egl.h>
#include <EGL/eglext.h>
#include <GLES2/gl2.h>
#include <drm_fourcc.h>
#include <gbm.h>
#include <xf86drmMode.h>

#include "bo.h"
#include "cli.h"
#include "ppm.h"

static const char usage[] =
"Usage: gbm-render [OPTION]... DEVICE\n"
"Draw with Mesa into buffers of a DRM device (say, /dev/dri/card0), and verify them.\n"
"\n"
"  -s, --size=WIDTHxHEIGHT  of the picture, at most 4096x4096 (default 1024x768)\n"
"  -n, --frames=N           how many pictures (default 3)\n"
"  -d, --display            show them on the first connected output\n"
"  -o, --output=FILE        write the last one to a PPM file\n"
"  -h, --help, --version\n";

/*
 * The picture: a different colour for each pixel, so that none can be in the wrong place, and on top
 * of it triangles that turn from frame to frame.
 */

#define TRIANGLES 3

struct point {
	int x, y;	/* pixels from the lower left corner */
};

struct triangle {
	struct point corner[3];
	uint32_t colour;
};

static void make_triangles(struct triangle *triangle, int width, int height, int frame)
{
	const int radius = (width < height ? width : height) / 2 - 1;

	for (int t = 0; t < TRIANGLES; t++) {
		for (int i = 0; i < 3; i++) {
			double angle = 2 * M_PI * (i / 3.0 + t / 10.0 + frame / 36.0);

			triangle[t].corner[i].x = width / 2 + lround(cos(angle) * radius / (t + 1));
			triangle[t].corner[i].y = height / 2 + lround(sin(angle) * radius / (t + 1));
		}
		triangle[t].colour = 0x2040c0 >> t | 0x800000 >> 8 * t;
	}
}

/* Positive if the middle of a pixel is inside, negative if outside, 0 on an edge. */
static int inside(const struct triangle *triangle, int x, int y)
{
	int least = 1;

	for (int i = 0; i < 3; i++) {
		const struct point *a = &triangle->corner[i], *b = &triangle->corner[(i + 1) % 3];
		int64_t side = (int64_t)(b->x - a->x) * (2 * y + 1 - 2 * a->y) -
			       (int64_t)(b->y - a->y) * (2 * x + 1 - 2 * a->x);
		int sign = (side > 0) - (side < 0);

		if (sign < least)
			least = sign;
	}
	return least;
}

static const char vertex_shader[] =
	"attribute vec2 position;\n"
	"void main() { gl_Position = vec4(position, 0.0, 1.0); }\n";

static const char background_shader[] =
	"precision highp float;\n"
	"void main() {\n"
	"	vec2 pixel = floor(gl_FragCoord.xy), tile = floor(pixel / 256.0);\n"
	"	gl_FragColor = vec4(pixel - tile * 256.0, tile.x + 16.0 * tile.y, 255.0) / 255.0;\n"
	"}\n";

static uint32_t background(uint32_t x, uint32_t y)
{
	return x % 256 << 16 | y % 256 << 8 | (x / 256 + 16 * (y / 256));
}

static const char triangle_shader[] =
	"precision highp float;\n"
	"uniform vec4 colour;\n"
	"void main() { gl_FragColor = colour; }\n";

static bool right_pixel(const struct triangle *triangle, int x, int y, uint32_t pixel)
{
	pixel &= 0xffffff;
	for (int t = TRIANGLES - 1; t >= 0; t--) {
		int where = inside(&triangle[t], x, y);

		/* Whose an edge is would be known too, but is not worth the words. */
		if (where >= 0 && pixel == triangle[t].colour)
			return true;
		if (where > 0)
			return false;
	}
	return pixel == background(x, y);
}

static void verify(const void *pixels, uint32_t stride, const struct triangle *triangle,
		   int width, int height, const char *how)
{
	for (int row = 0; row < height; row++) {
		const uint32_t *line = (const uint32_t *)((const char *)pixels + (size_t)row * stride);

		for (int x = 0; x < width; x++) {
			if (!right_pixel(triangle, x, height - 1 - row, line[x]))
				die("wrong pixel %06x at %d,%d, seen through %s", line[x] & 0xffffff,
				    x, row, how);
		}
	}
}

/*
 * OpenGL
 */

static GLuint make_program(const char *fragment_source)
{
	const char *source[] = { vertex_shader, fragment_source };
	const GLenum type[] = { GL_VERTEX_SHADER, GL_FRAGMENT_SHADER };
	GLuint program = glCreateProgram();
	GLint fine;

	for (int i = 0; i < 2; i++) {
		GLuint shader = glCreateShader(type[i]);

		glShaderSource(shader, 1, &source[i], NULL);
		glCompileShader(shader);
		glAttachShader(program, shader);
	}
	glBindAttribLocation(program, 0, "position");
	glLinkProgram(program);
	glGetProgramiv(program, GL_LINK_STATUS, &fine);
	if (!fine)
		die("the shaders do not compile");
	return program;
}

static void draw(const GLuint program[2], const struct triangle *triangle, int width, int height)
{
	static const GLfloat everything[] = { -1, -1, 3, -1, -1, 3 };

	glVertexAttribPointer(0, 2, GL_FLOAT, GL_FALSE, 0, everything);
	glUseProgram(program[0]);
	glDrawArrays(GL_TRIANGLES, 0, 3);

	glUseProgram(program[1]);
	for (int t = 0; t < TRIANGLES; t++) {
		uint32_t colour = triangle[t].colour;
		GLfloat position[6];

		for (int i = 0; i < 3; i++) {
			position[2 * i] = 2.0f * triangle[t].corner[i].x / width - 1;
			position[2 * i + 1] = 2.0f * triangle[t].corner[i].y / height - 1;
		}
		glVertexAttribPointer(0, 2, GL_FLOAT, GL_FALSE, 0, position);
		glUniform4f(glGetUniformLocation(program[1], "colour"), (colour >> 16) / 255.0f,
			    (colour >> 8 & 255) / 255.0f, (colour & 255) / 255.0f, 1);
		glDrawArrays(GL_TRIANGLES, 0, 3);
	}
	if (glGetError())
		die("OpenGL could not draw");
}

static EGLConfig find_config(EGLDisplay display)
{
	static const EGLint wanted[] = {
		EGL_SURFACE_TYPE, EGL_WINDOW_BIT,
		EGL_RENDERABLE_TYPE, EGL_OPENGL_ES2_BIT,
		EGL_NONE,
	};
	EGLConfig config[256];
	EGLint count, format;

	if (eglChooseConfig(display, wanted, config, 256, &count)) {
		for (int i = 0; i < count; i++) {
			eglGetConfigAttrib(display, config[i], EGL_NATIVE_VISUAL_ID, &format);
			if (format == GBM_FORMAT_XRGB8888)
				return config[i];
		}
	}
	die("EGL has no configuration for XRGB8888");
}

static EGLDisplay make_current(struct gbm_device *gbm, struct gbm_surface *window,
			       EGLSurface *surface)
{
	static const EGLint version[] = { EGL_CONTEXT_CLIENT_VERSION, 2, EGL_NONE };
	EGLDisplay display = eglGetPlatformDisplay(EGL_PLATFORM_GBM_KHR, gbm, NULL);
	EGLContext context;
	EGLConfig config;

	if (!eglInitialize(display, NULL, NULL))
		die("EGL does not start: error %#x", eglGetError());
	config = find_config(display);
	context = eglCreateContext(display, config, EGL_NO_CONTEXT, version);
	*surface = eglCreatePlatformWindowSurface(display, config, window, NULL);
	if (!eglMakeCurrent(display, *surface, *surface, context))
		die("EGL cannot draw into the buffers: error %#x", eglGetError());
	return display;
}

/*
 * The display
 */

struct output {
	uint32_t connector, crtc;
	drmModeModeInfo mode;
};

static struct output find_output(int fd, int width, int height)
{
	drmModeRes *resources = drmModeGetResources(fd);
	struct output output = { 0 };

	for (int i = 0; resources && !output.connector && i < resources->count_connectors; i++) {
		drmModeConnector *connector = drmModeGetConnector(fd, resources->connectors[i]);

		for (int j = 0; connector && connector->connection == DRM_MODE_CONNECTED &&
		     !output.connector && j < connector->count_modes; j++) {
			drmModeEncoder *encoder;

			if (connector->modes[j].hdisplay != width ||
			    connector->modes[j].vdisplay != height || !connector->count_encoders)
				continue;
			encoder = drmModeGetEncoder(fd, connector->encoders[0]);
			for (int c = 0; encoder && c < resources->count_crtcs; c++) {
				if (!output.connector && encoder->possible_crtcs & 1 << c)
					output = (struct output){
						connector->connector_id, resources->crtcs[c],
						connector->modes[j],
					};
			}
			drmModeFreeEncoder(encoder);
		}
		drmModeFreeConnector(connector);
	}
	drmModeFreeResources(resources);
	if (!output.connector)
		die("no connected output has a mode of %dx%d", width, height);
	return output;
}

static void show(int fd, struct output *output, struct gbm_bo *buffer)
{
	uint32_t handles[4] = { gbm_bo_get_handle(buffer).u32 };
	uint32_t strides[4] = { gbm_bo_get_stride(buffer) }, offsets[4] = { 0 }, id;

	if (drmModeAddFB2(fd, gbm_bo_get_width(buffer), gbm_bo_get_height(buffer),
			  GBM_FORMAT_XRGB8888, handles, strides, offsets, &id, 0) ||
	    drmModeSetCrtc(fd, output->crtc, id, 0, 0, &output->connector, 1, &output->mode))
		die("cannot show the picture: %s", strerror(errno));
}

/* Verifying takes pixels in rows, as was asked for: not all drivers know that wish. */
static void require_rows(int fd, struct gbm_bo *buffer)
{
	uint64_t modifier = gbm_bo_get_modifier(buffer);
	int tiled = modifier != DRM_FORMAT_MOD_LINEAR;

	if (modifier == DRM_FORMAT_MOD_INVALID)
		tiled = bo_tiled(fd, gbm_bo_get_handle(buffer).u32);
	if (tiled < 0)
		die("cannot ask whether the buffer is tiled: %s", strerror(-tiled));
	if (tiled)
		die("Mesa made a tiled buffer, with modifier %#llx, which is not supported",
		    (unsigned long long)modifier);
}

/* What is in the buffer, seen through mappings that Mesa and this program make now. */
static void check(int fd, struct gbm_bo *buffer, const struct triangle *triangle, const char *file)
{
	uint32_t width = gbm_bo_get_width(buffer), height = gbm_bo_get_height(buffer), stride;
	void *map, *data = NULL;
	struct bo bo;
	int err;

	map = gbm_bo_map(buffer, 0, 0, width, height, GBM_BO_TRANSFER_READ, &stride, &data);
	if (!map)
		die("Mesa cannot map the buffer: %s", strerror(errno));
	verify(map, stride, triangle, width, height, "Mesa's mapping");
	gbm_bo_unmap(buffer, data);

	err = bo_from_dumb(fd, gbm_bo_get_handle(buffer).u32,
			   (uint64_t)gbm_bo_get_stride(buffer) * height, &bo);
	if (err)
		die("the buffer cannot be mapped: %s", strerror(-err));
	map = bo_map_4k(&bo);
	if (map == MAP_FAILED)
		die("the buffer cannot be mapped: %s", strerror(errno));
	verify(map, gbm_bo_get_stride(buffer), triangle, width, height, "4 KiB entries");
	err = file ? ppm_write(file, map, width, height, gbm_bo_get_stride(buffer)) : 0;
	if (err)
		die("cannot write %s: %s", file, strerror(-err));
	munmap(map, bo.size);
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "size", required_argument, NULL, 's' },
		{ "frames", required_argument, NULL, 'n' },
		{ "display", no_argument, NULL, 'd' },
		{ "output", required_argument, NULL, 'o' },
		{ "help", no_argument, NULL, 'h' },
		{ "version", no_argument, NULL, 'V' },
		{ }
	};
	int width = 1024, height = 768, frames = 3, fd, opt;
	struct triangle triangle[TRIANGLES];
	struct output output = { 0 };
	struct gbm_surface *window;
	const char *file = NULL;
	struct gbm_device *gbm;
	bool display = false;
	GLuint program[2];
	EGLSurface surface;
	EGLDisplay egl;
	char rest;

	atexit(close_stdout);
	opterr = 0;
	while ((opt = getopt_long(argc, argv, ":s:n:do:h", options, NULL)) != -1) {
		switch (opt) {
		case 's':
			if (sscanf(optarg, "%dx%d%c", &width, &height, &rest) != 2 ||
			    width < 16 || height < 16 || width > 4096 || height > 4096)
				bad_usage("size must be like 1024x768, from 16x16 to 4096x4096, not '%s'",
				    optarg);
			break;
		case 'n':
			frames = parse_number(optarg, "frames", 1, INT_MAX);
			break;
		case 'd':
			display = true;
			break;
		case 'o':
			file = optarg;
			break;
		case 'h':
			fputs(usage, stdout);
			return 0;
		case 'V':
			print_version();
			return 0;
		default:
			bad_option(opt, argv);
		}
	}
	if (optind != argc - 1)
		bad_usage("name one device, say /dev/dri/card0; try 'gbm-render --help'");

	fd = open(argv[optind], O_RDWR | O_CLOEXEC);
	if (fd < 0)
		die("cannot open %s: %s", argv[optind], strerror(errno));
	if (display)
		output = find_output(fd, width, height);
	gbm = gbm_create_device(fd);
	if (!gbm)
		die("GBM does not take %s: %s", argv[optind], strerror(errno));
	window = gbm_surface_create(gbm, width, height, GBM_FORMAT_XRGB8888,
				    GBM_BO_USE_SCANOUT | GBM_BO_USE_RENDERING |
				    GBM_BO_USE_LINEAR);
	if (!window)
		die("GBM has no buffers of %dx%d: %s", width, height, strerror(errno));
	egl = make_current(gbm, window, &surface);
	program[0] = make_program(background_shader);
	program[1] = make_program(triangle_shader);
	glEnableVertexAttribArray(0);
	glDisable(GL_DITHER);
	glViewport(0, 0, width, height);

	for (int frame = 0; frame < frames; frame++) {
		uint64_t faults = bo_faults();
		struct gbm_bo *buffer;

		make_triangles(triangle, width, height, frame);
		draw(program, triangle, width, height);
		glFinish();
		faults = bo_faults() - faults;
		if (!eglSwapBuffers(egl, surface))
			die("EGL cannot finish a frame: error %#x", eglGetError());
		buffer = gbm_surface_lock_front_buffer(window);
		if (!buffer)
			die("GBM does not hand out the buffer");
		require_rows(fd, buffer);
		if (display)
			show(fd, &output, buffer);
		check(fd, buffer, triangle, frame == frames - 1 ? file : NULL);
		gbm_surface_release_buffer(window, buffer);
		printf("%s, %s: frame %d of %dx%d drawn with %llu faults, all pixels right\n",
		       bo_driver(fd), glGetString(GL_RENDERER), frame, width, height,
		       (unsigned long long)faults);
	}
	return 0;
}
