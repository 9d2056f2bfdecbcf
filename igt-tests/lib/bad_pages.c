// SPDX-License-Identifier: MIT
#define _GNU_SOURCE 1
#include <setjmp.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "bad_pages.h"
#include "kernel.h"
#include "processes.h"

#define HWPOISON	"/sys/kernel/debug/hwpoison/"

void require_bad_pages(void)
{
	igt_require_f(!access(HWPOISON "corrupt-pfn", W_OK), "no CONFIG_HWPOISON_INJECT\n");
	igt_require_f(!access(UNMAP_BAD_PAGES, W_OK), "no vm.memory_failure_pfn_unmap\n");
}

static void write_pfn(const char *path, const struct pci_address *device, uint64_t offset)
{
	char resource[128], pfn[32];
	uint64_t start;
	int ret;

	snprintf(resource, sizeof(resource), "/sys/bus/pci/devices/%s/resource", device->name);
	igt_assert_eq(scan_file(resource, "%*x %*x %*x %*x %*x %*x %" SCNx64, &start), 1);
	snprintf(pfn, sizeof(pfn), "%#" PRIx64, (start + offset) / BO_PTE_SIZE);
	ret = write_value(path, pfn);
	igt_assert_f(!ret, "%s: %s: %s\n", path, pfn, strerror(-ret));
}

void break_page(struct view *view, const struct pci_address *device, uint64_t offset)
{
	fork_and_wait() {
		unmap(view);
		write_pfn(HWPOISON "corrupt-pfn", device, offset);
	}
}

void mend_page(const struct pci_address *device, uint64_t offset)
{
	write_pfn(HWPOISON "unpoison-pfn", device, offset);
}

static sigjmp_buf on_bus_error;
static siginfo_t bus_error;

static void keep_bus_error(int sig, siginfo_t *info, void *context)
{
	(void)sig;
	(void)context;
	bus_error = *info;
	siglongjmp(on_bus_error, 1);
}

void assert_bus_error(const char *page, void (*use)(void *data), void *data)
{
	const struct sigaction action = { .sa_sigaction = keep_bus_error, .sa_flags = SA_SIGINFO };
	struct sigaction before;

	memset(&bus_error, 0, sizeof(bus_error));
	igt_assert_eq(sigaction(SIGBUS, &action, &before), 0);
	if (!sigsetjmp(on_bus_error, 1))
		use(data);
	sigaction(SIGBUS, &before, NULL);
	igt_assert_eq(bus_error.si_signo, SIGBUS);
	igt_assert_eq(bus_error.si_code, BUS_MCEERR_AR);
	igt_assert((uintptr_t)bus_error.si_addr / BO_PTE_SIZE == (uintptr_t)page / BO_PTE_SIZE);
	igt_assert_eq(1 << bus_error.si_addr_lsb, BO_PTE_SIZE);
}

static void read_page(void *data)
{
	(void)*(volatile const char *)data;
}

void assert_broken(const char *page)
{
	assert_bus_error(page, read_page, (void *)page);
}
