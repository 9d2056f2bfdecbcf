// SPDX-License-Identifier: MIT
/*
 * The switch: ttm.huge_faults
 */
#define _GNU_SOURCE 1
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bo.h"

int bo_get_huge_faults(void)
{
	FILE *f = fopen(BO_HUGE_FAULTS, "re");
	int value, ret = -EINVAL;

	if (!f)
		return -errno;
	if (fscanf(f, "%d", &value) == 1)
		ret = value;
	fclose(f);
	return ret;
}

static volatile bool switch_was_set;

int bo_set_huge_faults(int value)
{
	int fd = open(BO_HUGE_FAULTS, O_WRONLY | O_CLOEXEC), ret;

	if (fd < 0)
		return -errno;
	switch_was_set = true;
	ret = dprintf(fd, "%d\n", value) < 0 ? -errno : 0;
	close(fd);
	return ret;
}

/* For restore_switch() and restore_and_die() */
static int switch_before;
static char sigbus_message[128];

/* Signal handlers can call it, so it does without stdio. */
static void restore_switch(void)
{
	const char digit = '0' + switch_before;
	int fd;

	if (!switch_was_set || switch_before < 0)
		return;
	fd = open(BO_HUGE_FAULTS, O_WRONLY | O_CLOEXEC);
	if (fd >= 0 && write(fd, &digit, 1) == 1)
		close(fd);
}

static void restore_and_die(int sig)
{
	restore_switch();
	if (sig == SIGBUS)
		(void)!write(STDERR_FILENO, sigbus_message, strlen(sigbus_message));
	raise(sig);
}

void bo_restore_huge_faults_at_exit(void)
{
	static const int signals[] = { SIGHUP, SIGINT, SIGQUIT, SIGPIPE, SIGTERM, SIGBUS };
	struct sigaction action = { .sa_handler = restore_and_die, .sa_flags = SA_RESETHAND }, old;

	switch_before = bo_get_huge_faults();
	snprintf(sigbus_message, sizeof(sigbus_message),
		 "%s: the kernel could not map the object (SIGBUS); see dmesg\n",
		 program_invocation_short_name);
	atexit(restore_switch);
	for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++) {
		/* nohup has some of them ignored. */
		if (!sigaction(signals[i], NULL, &old) && old.sa_handler == SIG_DFL)
			sigaction(signals[i], &action, NULL);
	}
}
