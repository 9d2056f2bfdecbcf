/* SPDX-License-Identifier: MIT */
/* Failing threads; see igt.h */
#ifndef IGT_THREAD_H
#define IGT_THREAD_H

/* Fails the subtest if an assertion has failed in one of its threads. */
void igt_thread_assert_no_failures(void);

#endif
