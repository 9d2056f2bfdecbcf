/* SPDX-License-Identifier: MIT */
/* Memory of objects that moves, or is taken away. */
#ifndef MOVES_H
#define MOVES_H

#include "views.h"

/*
 * Moves the view's object out of VRAM, or back in (skips where the driver has no way); nothing
 * of it is mapped then.
 */
void evict(const struct view *view);
void return_to_vram(const struct view *view);
/* The same while others touch it, which may map it at once. */
void return_in_use(const struct view *view);
void assert_where(const struct target *target, const struct bo *bo, enum bo_placement expected);
/* bo_vram_place(), which must find the object; @pieces may be NULL. */
uint64_t vram_address(const struct target *target, const struct bo *bo, size_t *pieces);

/*
 * Swaps out every object of every card that has memory of its own and is not pinned, and returns
 * how many pages that were. Skip where there is no way to do it.
 */
long swap_out_all(void);
void require_swap_out(void);
/* Frees what TTM keeps of the memory of objects that are gone. */
void empty_page_pool(void);

#endif
