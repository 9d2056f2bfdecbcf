/* SPDX-License-Identifier: MIT */
/* All that the ttm_huge tests share. */
#ifndef TTM_HUGE_H
#define TTM_HUGE_H

#include "kernel.h"
#include "moves.h"
#include "pci.h"
#include "processes.h"
#include "subtests.h"
#include "targets.h"
#include "views.h"

#endif
