// SPDX-License-Identifier: MIT
/*
 * The first program in a guest of check-arch: runs the selftests that the command line names, says how
 * those inside of i915 ended, and ends the guest.
 */
#include <stdio.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

int main(int argc, char *argv[])
{
	mkdir("/tmp", 01777);
	if (mount("devtmpfs", "/dev", "devtmpfs", 0, NULL) ||
	    mount("proc", "/proc", "proc", 0, NULL) ||
	    mount("sysfs", "/sys", "sysfs", 0, NULL) ||
	    mount("debugfs", "/sys/kernel/debug", "debugfs", 0, NULL))
		perror("check-arch: mount");

	for (int i = 1; i < argc; i++) {
		/* Others end here as well: the tests' orphans. */
		const pid_t test = fork();
		int status = -1;

		if (!test) {
			chdir("/");
			execl(argv[i], argv[i], NULL);
			perror("check-arch");
			_exit(127);
		}
		waitpid(test, &status, 0);
		printf("check-arch: %s: status %#x\n", argv[i], status);
		fflush(stdout);
	}

	FILE *mock = fopen("/sys/module/i915/parameters/mock_selftests", "r");
	int result;

	if (mock && fscanf(mock, "%d", &result) == 1)
		printf("check-arch: i915.mock_selftests: %d\n", result);
	fflush(stdout);
	sleep(1);	/* until the console has printed it */
	reboot(RB_AUTOBOOT);	/* With -no-reboot QEMU ends, on x86 without ACPI, too. */
	return 1;
}
