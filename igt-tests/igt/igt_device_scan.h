/* SPDX-License-Identifier: MIT */
/* Device filters (--device, IGT_DEVICE); see igt.h */
#ifndef IGT_DEVICE_SCAN_H
#define IGT_DEVICE_SCAN_H

int igt_device_filter_count(void);
/* The text of a filter; NULL beyond the last. */
const char *igt_device_filter_get(int num);

#endif
