/* SPDX-License-Identifier: MIT */
/* What tests of vttm share: where an object is, and the entries that its blocks allow. */
#ifndef VTTM_OPS_H
#define VTTM_OPS_H

#include "ttm_huge.h"
#include "vttm.h"

#define SYSTEM	DRM_VTTM_DOMAIN_SYSTEM
#define GTT	DRM_VTTM_DOMAIN_GTT
#define VRAM	DRM_VTTM_DOMAIN_VRAM
#define TINY	DRM_VTTM_DOMAIN_TINY
#define ANY	(SYSTEM | GTT | VRAM | TINY)

/* Whether the target stands for a vttm device; it has a target for each placement. */
bool is_vttm(const struct target *target);
/* A dynamic subtest for each device. */
#define igt_dynamic_vttm(t)							\
	igt_dynamic_targets_if(t, is_vttm(t))

const char *domain_name(uint32_t domain);

/* The domain that the object is in now. */
uint32_t domain_of(const struct bo *bo);
size_t count_blocks(const struct bo *bo);

/*
 * Asserts that each entry of a view, all of whose pages were touched, is as large as the blocks of
 * its object, the addresses, the ends of the view and the switch at @huge_faults allow.
 */
void assert_entries(const struct view *view, int huge_faults);

#endif
