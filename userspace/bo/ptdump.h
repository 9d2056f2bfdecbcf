/* SPDX-License-Identifier: MIT */
/*
 * The kernel's listing of page tables as x86, arm64 and riscv print it: of the running process
 * (page-tables.c) or from a file (tlb-model.c).
 */
#ifndef PTDUMP_H
#define PTDUMP_H

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

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
 * One line of ptdump, for example on x86 and, each in one line, on arm64 and riscv
 * 0x00007f0000000000-0x00007f0010000000         256M USR RW PWT     PSE         NX pmd
 * 0x0000ffff80000000-0x0000ffff90000000         256M PMD   USR ro DBM NX SHD AF NG
 *						     BLK UXN    MEM/NORMAL-NC
 * 0x00007fff80000000-0x00007fff90000000    0x0000000450000000       256M PMD
 *						     . MT(NC) RSW(1) D A . U . W R V
 * What is not present has only the level. On arm64 it may also have an F, and bits without a meaning. On
 * riscv it has such bits without a V, or is not listed.
 */
static inline bool parse_extent(char *line, struct bo_extent *extent)
{
	enum bo_level level = BO_NONE;
	bool present = false, invalid = false;
	char *word, *save;

	*extent = (struct bo_extent){ 0 };
	if (sscanf(line, "0x%" SCNxPTR "-0x%" SCNxPTR, &extent->start, &extent->end) != 2)
		return false;

	strtok_r(line, " \n", &save);	/* the addresses */
	strtok_r(NULL, " \n", &save);	/* the size */
	while ((word = strtok_r(NULL, " \n", &save))) {
		if (!strcmp(word, "RW") || !strcmp(word, "ro")) {
			present = true;
			extent->writable |= word[0] == 'R';
		} else if (!strcmp(word, "V")) {
			present = true;
		} else if (!strcmp(word, "DBM") || !strcmp(word, "W")) {
			extent->writable = true;	/* "ro", or without a "D", as long as it is clean */
		} else if (!strcmp(word, "F")) {
			invalid = true;
		} else if (!strncmp(word, "MEM/", 4) || !strncmp(word, "DEVICE/", 7) ||
			   !strncmp(word, "MT(", 3)) {
			if (strlen(word) >= sizeof(extent->cache))
				return false;
			strcpy(extent->cache, word);
		} else if (!strcmp(word, "PWT") || !strcmp(word, "PCD") || !strcmp(word, "PAT")) {
			/* Twice; nor is there room. */
			if (strstr(extent->cache, word) ||
			    strlen(extent->cache) + strlen(word) + 1 >= sizeof(extent->cache))
				return false;
			if (extent->cache[0])
				strcat(extent->cache, "+");
			strcat(extent->cache, word);
		}
		for (enum bo_level l = BO_PTE; l <= BO_PUD; l++) {
			if (!strcasecmp(word, level_info[l].name))
				level = l;
		}
	}
	if (present && !invalid) {
		extent->level = level;
		if (!extent->cache[0])
			strcpy(extent->cache, "WB");
	} else {
		extent->writable = false;
		extent->cache[0] = '\0';
	}
	return true;
}

#endif
