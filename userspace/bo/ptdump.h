/* SPDX-License-Identifier: MIT */
/*
 * The kernel's listing of page tables (/sys/kernel/debug/page_tables) as x86 prints it: of
 * the running process (page-tables.c) or from a file (tlb-model.c).
 */
#ifndef PTDUMP_H
#define PTDUMP_H

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "bo.h"

static const struct {
	const char *name;
	uint64_t size;
} level_info[] = {
	[BO_NONE] = { "none", 1 },
	[BO_PTE] = { "pte", BO_PTE_SIZE },
	[BO_PMD] = { "pmd", BO_PMD_SIZE },
	[BO_PUD] = { "pud", BO_PUD_SIZE },
};

/*
 * One line of ptdump, for example
 * 0x00007f0000000000-0x00007f0010000000         256M USR RW PWT     PSE         NX pmd
 * What is not present has only the level.
 */
static inline bool parse_extent(char *line, struct bo_extent *extent)
{
	enum bo_level level = BO_NONE;
	bool present = false;
	char *word, *save;

	*extent = (struct bo_extent){ 0 };
	if (sscanf(line, "0x%" SCNxPTR "-0x%" SCNxPTR, &extent->start, &extent->end) != 2)
		return false;

	strtok_r(line, " \n", &save);	/* the addresses */
	strtok_r(NULL, " \n", &save);	/* the size */
	while ((word = strtok_r(NULL, " \n", &save))) {
		if (!strcmp(word, "RW") || !strcmp(word, "ro")) {
			present = true;
			extent->writable = word[0] == 'R';
		} else if (!strcmp(word, "PWT") || !strcmp(word, "PCD") || !strcmp(word, "PAT")) {
			if (strstr(extent->cache, word))
				return false;	/* twice; nor is there room */
			if (extent->cache[0])
				strcat(extent->cache, "+");
			strcat(extent->cache, word);
		}
		for (enum bo_level l = BO_PTE; l <= BO_PUD; l++) {
			if (!strcmp(word, level_info[l].name))
				level = l;
		}
	}
	if (present)
		extent->level = level;
	if (present && !extent->cache[0])
		strcpy(extent->cache, "WB");
	return true;
}

#endif
