// SPDX-License-Identifier: MIT
/*
 * The first program in a guest of check-arch: runs the selftest, and turns the guest off.
 */
#include <stdio.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

int main(void)
{
	int status = -1;

	mkdir("/tmp", 01777);
	if (mount("devtmpfs", "/dev", "devtmpfs", 0, NULL) ||
	    mount("proc", "/proc", "proc", 0, NULL) ||
	    mount("sysfs", "/sys", "sysfs", 0, NULL) ||
	    mount("debugfs", "/sys/kernel/debug", "debugfs", 0, NULL))
		perror("check-arch: mount");

	if (!fork()) {
		execl("/huge_pfnmap", "huge_pfnmap", NULL);
		perror("check-arch: huge_pfnmap");
		_exit(127);
	}
	wait(&status);
	printf("check-arch: selftest: status %#x\n", status);
	fflush(stdout);
	sleep(1);	/* until the console has printed it */
	reboot(RB_POWER_OFF);
	return 1;
}
