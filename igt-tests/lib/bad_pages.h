/* SPDX-License-Identifier: MIT */
/* Pages of a BAR that fail, as far as the kernel is told. */
#ifndef BAD_PAGES_H
#define BAD_PAGES_H

#include "pci.h"
#include "views.h"

/* For set_knob(): whether the kernel unmaps bad pages, "1", or leaves them mapped, "0". */
#define UNMAP_BAD_PAGES	"/proc/sys/vm/memory_failure_pfn_unmap"

/* Skips where no failure can be injected. */
void require_bad_pages(void);

/*
 * The page at byte @offset of BAR 2 fails, while a process runs that does not map @view; and is in
 * order again.
 */
void break_page(struct view *view, const struct pci_address *device, uint64_t offset);
void mend_page(const struct pci_address *device, uint64_t offset);

/* Asserts that reading at @page raises SIGBUS as memory failure does, with the right address. */
void assert_broken(const char *page);
/* The same of @use, which the signal ends. */
void assert_bus_error(const char *page, void (*use)(void *data), void *data);

#endif
