/* SPDX-License-Identifier: MIT */
/*
 * What tests of vttm share: objects made as they are asked for, where they are, and the entries
 * that their blocks allow.
 */
#ifndef VTTM_OPS_H
#define VTTM_OPS_H

#include "ttm_huge.h"
#include "vttm.h"

#define SYSTEM	DRM_VTTM_DOMAIN_SYSTEM
#define GTT	DRM_VTTM_DOMAIN_GTT
#define VRAM	DRM_VTTM_DOMAIN_VRAM
#define TINY	DRM_VTTM_DOMAIN_TINY
#define ANY	(SYSTEM | GTT | VRAM | TINY)
#define UNCLEARED	DRM_VTTM_CREATE_UNCLEARED

/* For struct subtest: once for each vttm device; it has a target for each placement. */
bool is_vttm(const struct target *target);
/* Whether the devices' memory has; it is uncached then. */
bool vttm_has_struct_pages(void);
#define ON_VTTM(function, array)						\
	.on = is_vttm, .test_member = (function), FAMILY(array)

/*
 * An object, or all of one that lasts until the next target: .size, .domains and what else of
 * struct drm_vttm_create is not 0.
 */
#define vttm_bo(target, ...)							\
	vttm_bo_from(target, (struct drm_vttm_create){ __VA_ARGS__ })
#define vttm_new_view(target, ...)						\
	vttm_new_view_from(target, (struct drm_vttm_create){ __VA_ARGS__ })
struct bo vttm_bo_from(const struct target *target, struct drm_vttm_create how);
struct view vttm_new_view_from(const struct target *target, struct drm_vttm_create how);

const char *domain_name(uint32_t domain);

/* The domain that the object is in now. */
uint32_t domain_of(const struct bo *bo);
void assert_domain(const struct view *view, uint32_t expected);
void move_to(const struct view *view, uint32_t domain);
size_t count_blocks(const struct bo *bo);

/*
 * Asserts that each entry of a view, all of whose pages were touched, is as large as the blocks of
 * its object, the addresses, the ends of the view and the switch at @huge_faults allow.
 */
void assert_entries(const struct view *view, int huge_faults);
/* Reads every page of a view of any size, and asserts this. */
void assert_entries_of_all(const struct view *view, int huge_faults);
/* The same of a small view with the switch at HUGE_PUD, whose object is in @domain. */
void assert_entries_in(const struct view *view, uint32_t domain);

#endif
